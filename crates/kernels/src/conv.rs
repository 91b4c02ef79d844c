//! Causal depthwise convolution over time, with a state of the last inputs.
//!
//! Layout: inputs `[t, channels]`, weight `[channels, kernel]` (last tap = current token), state
//! `[kernel - 1, channels]`, oldest first.
//! Contract: per channel, acc = fma(weight\[j\], input\[t - kernel + 1 + j\], acc) for j ascending from
//! acc = 0, then the activation. Lanes are channels; a row depends on its own past alone.
//! Measured: not measured; bound by the caches.

use crate::cpu::Cpu;
use crate::elementwise::Activation;
use crate::lanes::{Body, LANES, Lanes};
use crate::parts::Parts;
use crate::spans::{StateSpan, check_states};

/// The longest kernel: taps of 16 channels are held in an array.
const KERNEL_MAX: usize = 16;

/// The shape of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Channels, each with its own taps.
    pub channels: usize,
    /// Taps, 1 to 16.
    pub kernel: usize,
    /// Applied to the sum.
    pub activation: Option<Activation>,
}

impl ConvShape {
    /// Floats of one sequence's state.
    pub fn state_len(&self) -> usize {
        (self.kernel - 1) * self.channels
    }
}

/// Convolves the rows of each span and moves its state on. `x`, `out`: `[rows, channels]`; `weight`:
/// `[channels, kernel]`; `states` holds one state of [`ConvShape::state_len`] per span. Rows outside
/// of all spans are left alone.
///
/// # Panics
/// If a length does not fit, spans do not ascend, or states overlap.
pub fn conv1d_causal(
    cpu: &Cpu,
    shape: ConvShape,
    spans: &[StateSpan],
    weight: &[f32],
    x: &[f32],
    states: &mut [f32],
    out: &mut [f32],
) {
    let channels = shape.channels;
    assert!(
        (1..=KERNEL_MAX).contains(&shape.kernel),
        "kernel of {} taps",
        shape.kernel
    );
    assert!(channels > 0, "a convolution without channels");
    assert_eq!(
        weight.len(),
        channels * shape.kernel,
        "taps of a convolution"
    );
    assert_eq!(x.len(), out.len(), "output of a convolution");
    assert!(
        x.len().is_multiple_of(channels),
        "rows of {channels} channels"
    );
    check_states(spans, x.len() / channels, shape.state_len(), states.len());
    let groups = channels.div_ceil(LANES);
    let tokens: usize = spans.iter().map(|s| s.rows.len()).sum();
    let (states, out) = (Parts::new(states), Parts::new(out));
    cpu.run_ranges(groups, LANES * tokens * shape.kernel, |range| {
        for g in range {
            for span in spans {
                let channel = g * LANES;
                let lanes = LANES.min(channels - channel);
                // SAFETY: a group of channels belongs to one range, spans are disjoint in rows and
                // states, and the body touches only these channels of this span.
                cpu.isa().run(Conv {
                    shape,
                    span,
                    channel,
                    lanes,
                    weight,
                    x,
                    states: &states,
                    out: &out,
                });
            }
        }
    });
}

struct Conv<'a> {
    shape: ConvShape,
    span: &'a StateSpan,
    channel: usize,
    lanes: usize,
    weight: &'a [f32],
    x: &'a [f32],
    states: &'a Parts<'a, f32>,
    out: &'a Parts<'a, f32>,
}

impl Conv<'_> {
    /// The taps of the group, `[kernel][16]`.
    #[inline(always)]
    fn taps(&self) -> [[f32; LANES]; KERNEL_MAX] {
        let kernel = self.shape.kernel;
        let mut taps = [[0.0; LANES]; KERNEL_MAX];
        for (l, row) in self.weight[self.channel * kernel..]
            .chunks_exact(kernel)
            .take(self.lanes)
            .enumerate()
        {
            for (tap, &w) in taps.iter_mut().zip(row) {
                tap[l] = w;
            }
        }
        taps
    }
}

impl Body for Conv<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (channels, kernel) = (self.shape.channels, self.shape.kernel);
        let taps = self.taps();
        let at =
            |row: usize| row * channels + self.channel..row * channels + self.channel + self.lanes;
        // The last inputs, oldest first; the newest joins them at kernel - 1.
        let mut past = [L::zero(); KERNEL_MAX];
        for (j, past) in past.iter_mut().take(kernel - 1).enumerate() {
            let range = at(j);
            // SAFETY: this group of channels of this state is ours alone.
            let state = unsafe {
                self.states
                    .part(self.span.state + range.start..self.span.state + range.end)
            };
            *past = L::get(state, 0);
        }
        for t in self.span.rows.clone() {
            past[kernel - 1] = L::get(&self.x[at(t)], 0);
            let mut sum = L::zero();
            for j in 0..kernel {
                sum = L::from_array(taps[j]).fma(past[j], sum);
            }
            if let Some(activation) = self.shape.activation {
                sum = activation.apply(sum);
            }
            // SAFETY: this group of channels of this row is ours alone.
            sum.put(unsafe { self.out.part(at(t)) }, 0);
            for j in 1..kernel {
                past[j - 1] = past[j];
            }
        }
        for (j, past) in past.iter().take(kernel - 1).enumerate() {
            let range = at(j);
            // SAFETY: this group of channels of this state is ours alone.
            let state = unsafe {
                self.states
                    .part(self.span.state + range.start..self.span.state + range.end)
            };
            past.put(state, 0);
        }
    }
}
