//! A gate over two products, where the processor gains by doing all three at once.
//!
//! Layout, Contract: the integers of what [`crate::linear_packed_quantised`] twice and [`crate::glu`]
//! would give; see [`super::activations`]. Only tiles gain: beside them the memory between the steps
//! takes as long as the products.
//! Measured: see [`super::linear`].

use super::Packed;
use super::activations::Activations;
#[cfg(target_arch = "x86_64")]
use super::amx_gate::Gate;
#[cfg(target_arch = "x86_64")]
use super::linear::on_tiles;
use crate::cpu::Cpu;
use crate::elementwise::Activation;

/// Whether [`gate_packed`] takes these weights for `rows` input rows here.
pub fn fuses_gate(cpu: &Cpu, gate: Packed<'_>, up: Packed<'_>, rows: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let whole = |weight: Packed<'_>| {
            on_tiles(cpu, weight, rows) && weight.shape().segment().is_multiple_of(super::TILE)
        };
        let alike = (gate.rows(), gate.columns()) == (up.rows(), up.columns());
        alike && gate.rows() > 0 && whole(gate) && whole(up)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (cpu, gate, up, rows);
        false
    }
}

/// The integers of `activation(x gate^T) * (x up^T)`, to `out`.
///
/// # Panics
/// Unless [`fuses_gate`] said that it may be called, and if the columns of `x` are others.
pub fn gate_packed(
    cpu: &Cpu,
    activation: Activation,
    gate: Packed<'_>,
    up: Packed<'_>,
    x: &Activations,
    out: &mut Activations,
) {
    assert!(
        fuses_gate(cpu, gate, up, x.rows()),
        "a gate that is not fused"
    );
    assert_eq!(x.columns(), gate.columns(), "columns of input and weights");
    #[cfg(target_arch = "x86_64")]
    super::linear::with_height(cpu, x, super::linear::group_height(cpu, x.rows()), |x| {
        let weights = [gate, up];
        let gate = Gate {
            activation,
            weights,
            x,
        };
        // SAFETY: `fuses_gate` holds, so the machine has tiles and the weights are as asked; the rows
        // have just been grouped.
        unsafe { gate.run(cpu, out) };
    });
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (activation, out);
}
