//! Causal depthwise convolution over time, with a state of the last inputs.
//!
//! Layout: inputs `[t, channels]`, weight `[channels, kernel]` (last tap = current token), state
//! `[kernel - 1, channels]`, oldest first.
//! Contract: per channel, acc = fma(weight\[j\], input\[t - kernel + 1 + j\], acc) for j ascending from
//! acc = 0, then the activation. Lanes are channels; a row depends on its own past alone.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), AVX-512, 6,144 channels, 4 taps, SiLU, one thread,
//! best of many on a busy machine: 18.3 us for a single row, 2.8 us a row of 64.

use crate::cpu::Cpu;
use crate::elementwise::Activation;
use crate::lanes::{Body, LANES, Lanes};
use crate::parts::Parts;
use crate::spans::{StateSpan, check_states};

/// The longest kernel: each length has its own body, with the past in registers.
const KERNEL_MAX: usize = 8;

/// The shape of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Channels, each with its own taps.
    pub channels: usize,
    /// Taps, 1 to 8.
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

impl Body for Conv<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        match self.shape.kernel {
            1 => self.channels::<L, 1>(),
            2 => self.channels::<L, 2>(),
            3 => self.channels::<L, 3>(),
            4 => self.channels::<L, 4>(),
            5 => self.channels::<L, 5>(),
            6 => self.channels::<L, 6>(),
            7 => self.channels::<L, 7>(),
            _ => self.channels::<L, 8>(),
        }
    }
}

impl Conv<'_> {
    /// This group of channels over all rows of the span; K is the kernel.
    #[inline(always)]
    fn channels<L: Lanes, const K: usize>(&self) {
        let taps = self.taps::<L, K>();
        // The inputs under the taps, oldest first; the newest joins them at K - 1.
        let mut past = [L::zero(); K];
        for j in 0..K - 1 {
            past[j] = L::get(self.state(j), 0);
        }
        for t in self.span.rows.clone() {
            past[K - 1] = L::get(&self.x[self.place(t)], 0);
            let mut sum = L::zero();
            for j in 0..K {
                sum = taps[j].fma(past[j], sum);
            }
            if let Some(activation) = self.shape.activation {
                sum = activation.apply(sum);
            }
            // SAFETY: this group of channels of this row is ours alone.
            sum.put(unsafe { self.out.part(self.place(t)) }, 0);
            for j in 1..K {
                past[j - 1] = past[j];
            }
        }
        for j in 0..K - 1 {
            past[j].put(self.state(j), 0);
        }
    }

    /// The taps of the group's channels.
    #[inline(always)]
    fn taps<L: Lanes, const K: usize>(&self) -> [L; K] {
        let mut columns = [[0.0; LANES]; K];
        let weight = &self.weight[self.channel * K..(self.channel + self.lanes) * K];
        for (l, row) in weight.as_chunks::<K>().0.iter().enumerate().take(LANES) {
            for j in 0..K {
                columns[j][l] = row[j];
            }
        }
        let mut taps = [L::zero(); K];
        for (tap, column) in taps.iter_mut().zip(columns) {
            *tap = L::from_array(column);
        }
        taps
    }

    /// Where the group's channels of row `row` lie.
    #[inline(always)]
    fn place(&self, row: usize) -> std::ops::Range<usize> {
        let start = row * self.shape.channels + self.channel;
        start..start + self.lanes
    }

    /// The group's channels of the `j`-th oldest input.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the state is shared out by channels")]
    fn state(&self, j: usize) -> &mut [f32] {
        let place = self.place(j);
        // SAFETY: this group of channels of this state is ours alone, and no part of it is kept.
        unsafe {
            self.states
                .part(self.span.state + place.start..self.span.state + place.end)
        }
    }
}
