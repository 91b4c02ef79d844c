//! Causal depthwise convolution over time, with a state of the last inputs.
//!
//! Layout: inputs `[t, channels]`, taps `[kernel, channels]` (last tap = current token), state
//! `[kernel - 1, channels]`, oldest first.
//! Contract: per channel, acc = fma(tap\[j\], input\[t - kernel + 1 + j\], acc) for j ascending from
//! acc = 0, then the activation. Lanes are channels; a row depends on its own past alone.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), AVX-512, 6,144 channels, 4 taps, SiLU, one thread,
//! best of many on a busy machine, in turn with one vector of channels at a time and taps laid
//! `[channels, kernel]`: 6.8 us for a single row (18.1), 2.1 us a row of 256 (2.5). On an Intel Xeon
//! (family 6 model 207), whose shared cache is farther, the old way took 20 us a row of 256 in a model.

use std::ops::Range;

use crate::cpu::Cpu;
use crate::elementwise::Activation;
use crate::lanes::{Body, LANES, Lanes};
use crate::linear::prefetch;
use crate::parts::Parts;
use crate::spans::{StateSpan, check_states};

/// The longest kernel: each length has its own body.
const KERNEL_MAX: usize = 8;
/// Channels of a task.
const CHANNELS: usize = 256;
/// Vectors of channels that are worked on together: of each row some lines that follow each other.
const VECTORS: usize = 4;
/// Rows that inputs and outputs are asked for in advance: they lie too far apart for the processor to
/// guess. Rows of a power of two share sets of the first cache: no more than those hold.
const AHEAD: usize = 5;

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

/// Convolves the rows of each span and moves its state on. `x`, `out`: `[rows, channels]`; `taps`:
/// `[kernel, channels]`, see [`conv_taps`]; `states` holds one state of [`ConvShape::state_len`] per span. Rows outside
/// of all spans are left alone.
///
/// # Panics
/// If a length does not fit, spans do not ascend, or states overlap.
pub fn conv1d_causal(
    cpu: &Cpu,
    shape: ConvShape,
    spans: &[StateSpan],
    taps: &[f32],
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
    assert_eq!(taps.len(), channels * shape.kernel, "taps of a convolution");
    assert_eq!(x.len(), out.len(), "output of a convolution");
    assert!(
        x.len().is_multiple_of(channels),
        "rows of {channels} channels"
    );
    check_states(spans, x.len() / channels, shape.state_len(), states.len());
    let blocks = channels.div_ceil(CHANNELS);
    let tokens: usize = spans.iter().map(|s| s.rows.len()).sum();
    let (states, out) = (Parts::new(states), Parts::new(out));
    cpu.run_ranges(blocks, CHANNELS * tokens * shape.kernel, |range| {
        for block in range {
            let first = block * CHANNELS;
            for span in spans {
                // SAFETY: a block of channels belongs to one range, spans are disjoint in rows and
                // states, and the body touches only these channels of this span.
                cpu.isa().run(Conv {
                    shape,
                    span,
                    channels: first..channels.min(first + CHANNELS),
                    taps,
                    x,
                    states: &states,
                    out: &out,
                });
            }
        }
    });
}

/// Taps as [`conv1d_causal`] takes them, `[kernel, channels]`, of a weight `[channels, kernel]`.
///
/// # Panics
/// If the weight is not whole channels.
pub fn conv_taps(weight: &[f32], kernel: usize) -> Vec<f32> {
    assert!(
        kernel > 0 && weight.len().is_multiple_of(kernel),
        "taps of a convolution"
    );
    let tap = |j: usize| weight.iter().skip(j).step_by(kernel).copied();
    (0..kernel).flat_map(tap).collect()
}

struct Conv<'a> {
    shape: ConvShape,
    span: &'a StateSpan,
    channels: Range<usize>,
    taps: &'a [f32],
    x: &'a [f32],
    states: &'a Parts<'a, f32>,
    out: &'a Parts<'a, f32>,
}

impl Body for Conv<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        match self.shape.kernel {
            1 => self.block::<L, 1>(),
            2 => self.block::<L, 2>(),
            3 => self.block::<L, 3>(),
            4 => self.block::<L, 4>(),
            5 => self.block::<L, 5>(),
            6 => self.block::<L, 6>(),
            7 => self.block::<L, 7>(),
            _ => self.block::<L, 8>(),
        }
    }
}

impl Conv<'_> {
    /// The block's channels over all rows of the span; K is the kernel.
    #[inline(always)]
    fn block<L: Lanes, const K: usize>(&self) {
        let mut at = self.channels.clone();
        while at.len() >= VECTORS * LANES {
            self.columns::<L, K, VECTORS>(at.start..at.start + VECTORS * LANES);
            at.start += VECTORS * LANES;
        }
        while !at.is_empty() {
            self.columns::<L, K, 1>(at.start..at.end.min(at.start + LANES));
            at.start = at.end.min(at.start + LANES);
        }
    }

    /// Channels `at`, N full vectors or one that may be cut, over all rows of the span.
    #[inline(always)]
    fn columns<L: Lanes, const K: usize, const N: usize>(&self, at: Range<usize>) {
        let mut taps = [[L::zero(); N]; K];
        // The inputs under the taps, oldest first; the newest joins them at K - 1.
        let mut past = [[L::zero(); N]; K];
        for j in 0..K {
            taps[j] = vectors(&self.taps[self.place(j, &at)]);
        }
        for j in 0..K - 1 {
            past[j] = vectors(self.state(j, &at));
        }
        for t in self.span.rows.clone() {
            let ahead = self.place(t + AHEAD, &at).start;
            past[K - 1] = vectors(&self.x[self.place(t, &at)]);
            // SAFETY: these channels of this row are ours alone.
            let out = unsafe { self.out.part(self.place(t, &at)) };
            for n in 0..N {
                prefetch(self.x.as_ptr().wrapping_add(ahead + n * LANES));
                self.out.ask(ahead + n * LANES);
                let mut sum = L::zero();
                for j in 0..K {
                    sum = taps[j][n].fma(past[j][n], sum);
                }
                if let Some(activation) = self.shape.activation {
                    sum = activation.apply(sum);
                }
                sum.put(out, n * LANES);
            }
            for j in 1..K {
                past[j - 1] = past[j];
            }
        }
        for j in 0..K - 1 {
            for n in 0..N {
                past[j][n].put(self.state(j, &at), n * LANES);
            }
        }
    }

    /// Where channels `at` of row `row` lie.
    #[inline(always)]
    fn place(&self, row: usize, at: &Range<usize>) -> Range<usize> {
        let start = row * self.shape.channels;
        start + at.start..start + at.end
    }

    /// Channels `at` of the `j`-th oldest input that the state remembers.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the state is shared out by channels")]
    fn state(&self, j: usize, at: &Range<usize>) -> &mut [f32] {
        let place = self.place(j, at);
        // SAFETY: these channels of this state are ours alone, and no part of it is kept.
        unsafe {
            self.states
                .part(self.span.state + place.start..self.span.state + place.end)
        }
    }
}

/// N vectors of `x`.
#[inline(always)]
fn vectors<L: Lanes, const N: usize>(x: &[f32]) -> [L; N] {
    let mut vectors = [L::zero(); N];
    for n in 0..N {
        vectors[n] = L::get(x, n * LANES);
    }
    vectors
}
