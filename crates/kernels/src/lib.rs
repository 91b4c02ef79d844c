//! Vector maths, dense products and attention for CPUs.
//!
//! In: slices of f32, weights as they are stored (f32, f16, bf16, packed bytes). Out: slices of f32.
//! It does not know: models, plans, files. It reads no environment and starts threads only for a
//! [`Cpu`]; a [`Solo`] does small work where it is called.
//!
//! Every operation is written once, over a vector of 16 f32 lanes, and compiled for plain Rust, AVX2,
//! AVX-512 and NEON. All of them give the same bits, because the vector's methods do; only products
//! of bf16 weights use what the processor has for bf16, see [`Bf16Isa`]. An output row
//! depends on its own input row (and its own sequence's state) alone: not on the rows beside it, the
//! number of threads, or how a prompt was cut. Each file's head says in what order it adds.
//!
//! All functions are safe; wrong lengths panic. Inputs and outputs are distinct slices. Fastest where
//! slices begin on 64 bytes.

#![allow(
    unsafe_code,
    reason = "vector intrinsics, and tasks that share one output"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "tiles of registers read best by index"
)]

#[cfg(target_arch = "x86_64")]
mod amx;
mod attend;
mod bf16;
mod conv;
mod cpu;
mod delta;
mod dense;
mod elementwise;
mod isa;
mod kv;
mod lanes;
mod linear;
mod math;
mod norm;
mod packed;
mod panel;
mod parts;
mod pool;
mod pooling;
mod real;
mod rope;
mod scratch;
mod softmax;
mod solo;
mod spans;
pub mod vector;

pub use attend::{AttendShape, Sees, WholeInputs, attend, attend_whole, whole_format};
pub use bf16::{Bf16Isa, ParseBf16IsaError};
pub use conv::{ConvShape, conv_taps, conv1d_causal};
pub use cpu::{Cpu, CpuError, CpuOptions};
pub use delta::{DeltaInputs, DeltaShape, gated_delta};
pub use dense::{Dense, DenseData, NonFinite, Rows, embed, non_finite};
pub use elementwise::{Activation, act, add, add_to, glu};
pub use isa::{Feature, Isa, ParseIsaError, features};
pub use kv::{KvLayout, KvPlace, KvSlice, KvSpan, KvView, PAGE_TOKENS, kv_store};
pub use linear::{linear, linear_select};
pub use norm::{LayerNorm, layer_norm, layer_norm_rounded, rms_norm};
pub use packed::{
    Activations, GroupBits, GroupColumns, IntIsa, PackError, Packed, PackedError, PackedScheme,
    PackedShape, ParseIntIsaError, ParsePackedSchemeError, SubBlock, embed_packed, fuses_gate,
    gate_packed, linear_packed, linear_packed_quantised, pack, pack_grouped, quantise_glu,
    quantise_norm, quantise_rows, quantise_select, unpack,
};
pub use panel::{
    PanelFormat, PanelInput, PanelOut, PanelProduct, PanelRows, PanelWeight, Panels, Rounding,
    panel_products,
};
pub use pooling::{PoolKind, pool_rows};
pub use real::{
    LogRow, REAL_LANES, Real, dot_panel, dot_real, exp_most, exp_row, exp_sum, exp_sum_weighted,
    squared_distance_panel,
};
pub use rope::{RopeShape, RopeTable, rope};
pub use softmax::{exp_shifted, softmax};
pub use solo::{AdamStep, LayerShape, Onto, SgdStep, Solo, ask_for};
pub use spans::StateSpan;
