//! Two products by AMX and the gate between them, without their outputs in memory.
//!
//! Layout: a task has 256 columns of both weights, which stay in the second cache, and some groups of
//! input rows, of which four at a time pass by: their outputs stand in the task's own memory, are gated
//! there and leave as one block of integers, grouped for the product that reads them.
//! Contract: the integers of exactly the floats that [`super::linear`] and [`crate::glu`] would give.
//! Measured: see [`super::linear`].

use std::ops::Range;

use super::activations::{Activations, Slots};
use super::amx::{self, Configured, Product, QUAD, SPAN, Target, WeightTile};
use super::amx_linear::{expanded_floats, operands};
use super::round::round_block;
use super::{BLOCK, Packed, TILE};
use crate::cpu::Cpu;
use crate::elementwise::Activation;
use crate::lanes::{Body, LANES, Lanes};
use crate::parts::Parts;
use crate::scratch;

/// Tiles of a weight that a task has.
const TILES: usize = BLOCK / TILE;
/// Four tiles at a time of both weights.
const QUADS: usize = 2 * TILES / QUAD;
/// Floats from a row of a task's outputs to the next: rows of a power of two would share cache sets.
const STRIDE: usize = BLOCK + LANES;
/// Floats of the outputs of one weight.
const OUTPUTS: usize = SPAN * TILE * STRIDE;
/// Tasks for each thread, about.
const TASKS: usize = 4;

/// A gate over the products of `x` with two weights.
pub(super) struct Gate<'a> {
    pub(super) activation: Activation,
    /// That of the gate, then the one that is let through.
    pub(super) weights: [Packed<'a>; 2],
    pub(super) x: &'a Activations,
}

impl Gate<'_> {
    /// Its rows, to `out`.
    ///
    /// # Safety
    /// The machine has [`crate::IntIsa::AmxInt8`]; the rows of `x` are grouped; the weights have as many
    /// rows, in segments of whole tiles, and are not themselves grouped.
    pub(super) unsafe fn run(&self, cpu: &Cpu, out: &mut Activations) {
        let x = self.x;
        let columns = self.weights[0].rows();
        out.resize(x.rows(), columns, x.height());
        let slots = &out.slots();
        let blocks = columns.div_ceil(BLOCK);
        let parts = (TASKS * cpu.threads()).div_ceil(blocks);
        let span = x.groups().div_ceil(parts).next_multiple_of(SPAN);
        let room: usize = self.weights.map(expanded_floats).iter().sum();
        let room = TILES / QUAD * room;
        cpu.run(blocks * x.groups().div_ceil(span), &|i| {
            let (block, start) = (i % blocks, i / blocks * span);
            let groups = start..x.groups().min(start + span);
            scratch::with(amx::FLOATS + 2 * OUTPUTS + room, |floats| {
                // SAFETY: the caller's promise; a block meets a group of rows in one task alone.
                unsafe { self.block(cpu, slots, block, groups, floats) };
            });
        });
    }

    /// Block `block` of the outputs of `groups`.
    ///
    /// # Safety
    /// As [`Gate::run`]; nobody else has this block of these groups.
    unsafe fn block(
        &self,
        cpu: &Cpu,
        slots: &Slots<'_>,
        block: usize,
        groups: Range<usize>,
        floats: &mut [f32],
    ) {
        let (sums, floats) = floats.split_at_mut(amx::FLOATS);
        let (outputs, room) = floats.split_at_mut(2 * OUTPUTS);
        let quads = self.quads(cpu, block, room);
        let passes = groups.len().div_ceil(SPAN);
        for (pass, start) in groups.clone().step_by(SPAN).enumerate() {
            let groups = start..groups.end.min(start + SPAN);
            for (weight, outputs) in outputs.chunks_exact_mut(OUTPUTS).enumerate() {
                let floats = &Parts::new(outputs);
                // SAFETY: the caller's promise; the outputs are this task's own.
                let product = unsafe { self.product(floats, block, start) };
                for (n, (tiles, count)) in
                    quads[weight * QUADS / 2..][..QUADS / 2].iter().enumerate()
                {
                    if *count > 0 {
                        let ahead = self.ahead(weight, block, n, (pass, passes));
                        product.multiply(groups.clone(), &tiles[..*count], ahead, sums);
                    }
                }
            }
            let (gate, up) = outputs.split_at(OUTPUTS);
            for group in groups {
                cpu.isa().run(GateGroup {
                    activation: self.activation,
                    slots,
                    group,
                    block,
                    width: BLOCK.min(self.weights[0].rows() - block * BLOCK),
                    row: (group - start) * self.x.height(),
                    gate,
                    up,
                });
            }
        }
    }

    /// A product whose outputs are the columns of `block` of the groups from `start` on.
    ///
    /// # Safety
    /// As [`Gate::run`]; `floats` are this thread's own.
    unsafe fn product<'f>(
        &'f self,
        floats: &'f Parts<'f, f32>,
        block: usize,
        start: usize,
    ) -> Configured<'f> {
        let product = Product {
            x: self.x,
            bias: None,
            out: Target {
                floats,
                stride: STRIDE,
                row: start * self.x.height(),
                column: block * BLOCK,
                far: false,
            },
        };
        // SAFETY: the caller's promise.
        unsafe { product.configure() }
    }

    /// The tiles of `block` of both weights, four at a time, with how many there are; expanded to `room`
    /// where they are stored otherwise.
    fn quads<'t>(
        &'t self,
        cpu: &Cpu,
        block: usize,
        mut room: &'t mut [f32],
    ) -> [([WeightTile<'t>; QUAD], usize); QUADS] {
        std::array::from_fn(|i| {
            let weight = self.weights[i / (QUADS / 2)];
            let first = block * TILES + i % (QUADS / 2) * QUAD;
            let count = weight.tiles().saturating_sub(first).min(QUAD);
            // Of none the last one there is stands in, and is not multiplied.
            let first = first.min(weight.tiles() - 1);
            let (here, rest) = std::mem::take(&mut room).split_at_mut(expanded_floats(weight));
            room = rest;
            (
                operands(cpu.int_isa(), weight, first, count.max(1), here),
                count,
            )
        })
    }

    /// What pass `pass` of `passes` asks for: its share of the next block's tiles, as if they followed.
    fn ahead(
        &self,
        weight: usize,
        block: usize,
        quad: usize,
        (pass, passes): (usize, usize),
    ) -> (*const u8, usize) {
        let weight = self.weights[weight];
        let here = weight
            .tile((block * TILES + quad * QUAD).min(weight.tiles() - 1))
            .bytes;
        let bytes = QUAD * here.len();
        let share = bytes.div_ceil(passes);
        let next = here.as_ptr().wrapping_add(TILES * here.len());
        (next.wrapping_add(pass * share), share)
    }
}

/// One block of the rows of a group: gated and rounded.
struct GateGroup<'a> {
    activation: Activation,
    slots: &'a Slots<'a>,
    group: usize,
    block: usize,
    width: usize,
    /// Where the group's first row stands in both outputs.
    row: usize,
    gate: &'a [f32],
    up: &'a [f32],
}

impl Body for GateGroup<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Slots { rows, height, .. } = *self.slots;
        // SAFETY: the task has this block of this group alone.
        let mut slot = unsafe { self.slots.block(self.group, self.block) };
        for n in 0..height {
            if self.group * height + n >= rows {
                slot.put_nothing(n);
                continue;
            }
            let start = (self.row + n) * STRIDE;
            let (gate, up) = (
                &self.gate[start..][..self.width],
                &self.up[start..][..self.width],
            );
            let mut room = [0.0; BLOCK];
            let gated = &mut room[..self.width];
            for i in (0..self.width).step_by(LANES) {
                let gate = self.activation.apply(L::get(gate, i));
                gate.mul(L::get(up, i)).put(gated, i);
            }
            round_block::<L>(gated, &mut slot, n, &mut []);
        }
    }
}
