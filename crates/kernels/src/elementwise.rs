//! Operations on one element at a time: sum, activation, gated activation.
//!
//! Layout: `[rows, width]` where rows matter, else flat. Contract: lane-wise; activations are those
//! of `math`, with its limits.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), AVX-512, one thread: glu with SiLU 0.24 us a row of
//! 1,024.

use crate::cpu::Cpu;
use crate::lanes::{Body, LANES, Lanes};
use crate::math;
use crate::parts::Parts;

/// A function of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x / (1 + e^-x).
    Silu,
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// x (1 + erf(x / sqrt 2)) / 2.
    Gelu,
    /// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
    GeluTanh,
    /// The larger of x and 0.
    Relu,
    /// tanh(x).
    Tanh,
}

impl Activation {
    /// As [`Activation::apply`] for results that are rounded to 8 bits.
    #[inline(always)]
    pub(crate) fn apply_coarse<L: Lanes, const V: usize>(self, mut x: [L; V]) -> [L; V] {
        if self == Activation::Gelu {
            return math::gelu_coarse(x);
        }
        for v in 0..V {
            x[v] = self.apply(x[v]);
        }
        x
    }

    #[inline(always)]
    pub(crate) fn apply<L: Lanes>(self, x: L) -> L {
        match self {
            Activation::Silu => math::silu(x),
            Activation::Sigmoid => math::sigmoid(x),
            Activation::Gelu => math::gelu(x),
            Activation::GeluTanh => math::gelu_tanh(x),
            // NaN stays: `max` gives its second operand then.
            Activation::Relu => L::zero().max(x),
            Activation::Tanh => math::tanh(x),
        }
    }
}

/// `out[i] = a[i] + b[i]`.
///
/// # Panics
/// If the lengths differ.
pub fn add(cpu: &Cpu, a: &[f32], b: &[f32], out: &mut [f32]) {
    assert_eq!(a.len(), out.len(), "left side of a sum");
    assert_eq!(b.len(), out.len(), "right side of a sum");
    each_part(cpu, out, |range, out| {
        cpu.isa().run(Add {
            a: &a[range.clone()],
            b: &b[range],
            out,
        });
    });
}

/// `x[i] = x[i] + b[i]`.
///
/// # Panics
/// If the lengths differ.
pub fn add_to(cpu: &Cpu, x: &mut [f32], b: &[f32]) {
    assert_eq!(b.len(), x.len(), "right side of a sum");
    each_part(cpu, x, |range, x| cpu.isa().run(AddTo { x, b: &b[range] }));
}

/// `out[i] = activation(x[i])`.
///
/// # Panics
/// If the lengths differ.
pub fn act(cpu: &Cpu, activation: Activation, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "input of an activation");
    each_part(cpu, out, |range, out| {
        cpu.isa().run(Act {
            activation,
            x: &x[range],
            out,
        })
    });
}

/// `out[t, i] = activation(gate[t, i]) * up[t, i]`, or `activation(gate[t]) * up[t, i]` where
/// `gate_width` is 1. `gate`: `[rows, gate_width]`; `up`, `out`: `[rows, width]`.
///
/// # Panics
/// If a length does not fit, or `gate_width` is neither 1 nor `width`.
pub fn glu(
    cpu: &Cpu,
    activation: Activation,
    gate: &[f32],
    gate_width: usize,
    up: &[f32],
    width: usize,
    out: &mut [f32],
) {
    assert!(
        width > 0 && up.len().is_multiple_of(width),
        "up of {} by {width}",
        up.len()
    );
    assert_eq!(up.len(), out.len(), "output of a gate");
    assert!(
        gate_width == width || gate_width == 1,
        "gate of {gate_width} for {width} columns"
    );
    assert_eq!(
        gate.len(),
        up.len() / width * gate_width,
        "elements of the gate"
    );
    if gate_width == width {
        each_part(cpu, out, |range, out| {
            let (gate, up) = (&gate[range.clone()], &up[range]);
            cpu.isa().run(Glu {
                activation,
                gate,
                up,
                out,
            });
        });
        return;
    }
    let rows = up.len() / width;
    let out = Parts::new(out);
    cpu.run_ranges(rows, width, |rows| {
        let range = rows.start * width..rows.end * width;
        // SAFETY: each row belongs to one range.
        let out = unsafe { out.part(range.clone()) };
        cpu.isa().run(GluRow {
            activation,
            gate: &gate[rows],
            up: &up[range],
            width,
            out,
        });
    });
}

/// Cuts `out` into parts that are worth a task, on whole vectors.
fn each_part(cpu: &Cpu, out: &mut [f32], task: impl Fn(std::ops::Range<usize>, &mut [f32]) + Sync) {
    let len = out.len();
    let out = Parts::new(out);
    cpu.run_ranges(len.div_ceil(LANES), LANES, |vectors| {
        let range = vectors.start * LANES..(vectors.end * LANES).min(len);
        // SAFETY: the ranges are disjoint.
        task(range.clone(), unsafe { out.part(range) });
    });
}

struct Add<'a> {
    a: &'a [f32],
    b: &'a [f32],
    out: &'a mut [f32],
}

impl Body for Add<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        for i in (0..self.out.len()).step_by(LANES) {
            L::get(self.a, i).add(L::get(self.b, i)).put(self.out, i);
        }
    }
}

struct AddTo<'a> {
    x: &'a mut [f32],
    b: &'a [f32],
}

impl Body for AddTo<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        for i in (0..self.x.len()).step_by(LANES) {
            L::get(self.x, i).add(L::get(self.b, i)).put(self.x, i);
        }
    }
}

struct Act<'a> {
    activation: Activation,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Body for Act<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        for i in (0..self.out.len()).step_by(LANES) {
            self.activation.apply(L::get(self.x, i)).put(self.out, i);
        }
    }
}

struct Glu<'a> {
    activation: Activation,
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Body for Glu<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        for i in (0..self.out.len()).step_by(LANES) {
            let gate = self.activation.apply(L::get(self.gate, i));
            gate.mul(L::get(self.up, i)).put(self.out, i);
        }
    }
}

struct GluRow<'a> {
    activation: Activation,
    gate: &'a [f32],
    up: &'a [f32],
    width: usize,
    out: &'a mut [f32],
}

impl Body for GluRow<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let rows = self
            .up
            .chunks_exact(self.width)
            .zip(self.out.chunks_exact_mut(self.width));
        for ((up, out), &gate) in rows.zip(self.gate) {
            let gate = self.activation.apply(L::splat(gate));
            for i in (0..out.len()).step_by(LANES) {
                gate.mul(L::get(up, i)).put(out, i);
            }
        }
    }
}
