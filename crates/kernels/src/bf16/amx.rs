//! bf16 products by AMX.
//!
//! Layout: operand A is 16 weight rows by 32 columns, straight from memory where the rows lie
//! evenly and are whole lines of 64 bytes, else from a copy; operand B is 32 columns of 16 input
//! rows, see [`super::rows`]. A tile of sums is 16 outputs by 16 input rows.
//! Contract: a sum adds 32 columns with each instruction, in order, the last ones filled up with
//! zeros; then + bias. Input rows that fill a group up have no part in another row's sums.
//! A task has some pairs of A and a block of input rows. A pair meets two groups of input rows at a
//! time, in four sums. The first groups ask for the weight rows that come next.
//! Measured: see [`crate::linear`].

use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ops::Range;

use super::rows::{GROUP, Rounded, Rows, STEP};
use crate::amx::{self, Tiles};
use crate::cpu::Cpu;
use crate::lanes::avx512::transposed;
use crate::linear::Shared;
use crate::scratch;

/// Weight rows of a pair of operands.
const PAIR: usize = 2 * amx::ROWS;
/// Weight rows of a task while its input rows are many: whole pairs.
const TASK_ROWS: usize = 64;
/// Bytes of weight in a task while its input rows are few.
const FEW_ROWS_BYTES: usize = 128 * 1024;
/// Bytes of input rows in a task, about: they should lie in the second cache.
const BLOCK_BYTES: usize = 768 * 1024;
/// Floats of a tile of sums.
const REGISTER: usize = amx::ROWS * GROUP;

thread_local! {
    static KEPT: RefCell<Rounded> = const { RefCell::new(Rounded::new()) };
}

/// All input rows by all weight rows.
///
/// # Safety
/// The machine has [`crate::Bf16Isa::AmxBf16`].
pub(super) unsafe fn product(cpu: &Cpu, weight: &[u16], shared: Shared<'_>) {
    let inputs = shared.inputs;
    // Taken out rather than borrowed: a nested call finds an empty one and allocates its own.
    let mut kept = KEPT.take();
    kept.fill(cpu, inputs, Rows::Pairs);
    let row_bytes = 2 * inputs.columns;
    let outputs = if inputs.rows <= GROUP {
        (FEW_ROWS_BYTES / row_bytes).next_multiple_of(PAIR)
    } else {
        TASK_ROWS
    };
    let block = (BLOCK_BYTES / (GROUP * row_bytes))
        .next_multiple_of(2)
        .max(2);
    let (tasks, groups) = (
        shared.outputs.div_ceil(outputs),
        inputs.rows.div_ceil(GROUP),
    );
    cpu.run(tasks * groups.div_ceil(block), &|i| {
        let (first, start) = (i % tasks * outputs, i / tasks * block);
        let range = first..shared.outputs.min(first + outputs);
        // SAFETY: the caller's promise.
        let tiles = unsafe { Tiles::configure([amx::ROWS; 8]) };
        let copied = 2 * amx::ROWS * kept.steps() * STEP / 2;
        scratch::with(4 * REGISTER + copied, |scratch| {
            let (sums, copies) = scratch.split_at_mut(4 * REGISTER);
            let mut task = Block {
                weight,
                shared,
                x: &kept,
                sums,
                copies,
            };
            // SAFETY: the caller's promise; tiles are configured.
            unsafe { task.run(range, start..groups.min(start + block)) };
        });
        drop(tiles);
    });
    KEPT.set(kept);
}

/// Weight rows by groups of input rows.
struct Block<'a> {
    weight: &'a [u16],
    shared: Shared<'a>,
    x: &'a Rounded,
    /// Four tiles of sums.
    sums: &'a mut [f32],
    /// Two A operands of all columns.
    copies: &'a mut [f32],
}

/// 16 weight rows of all columns, filled up: the first and the bytes from one to the next.
#[derive(Clone, Copy)]
struct Operand {
    start: *const u8,
    stride: usize,
}

impl Block<'_> {
    /// The weight rows of `range` by `groups`.
    ///
    /// # Safety
    /// The machine has [`crate::Bf16Isa::AmxBf16`], and tiles are configured in full.
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn run(&mut self, range: Range<usize>, groups: Range<usize>) {
        for o in range.clone().step_by(PAIR) {
            let rows = o..range.end.min(o + PAIR);
            // A pair's second half may be missing: then it is the first again, and not written.
            let a = [self.operand(0, &rows), self.operand(1, &rows)];
            for g in groups.clone().step_by(2) {
                let both = g + 1 < groups.end;
                let ask = g == groups.start;
                self.ask(&rows, g..g + 1 + usize::from(both));
                // SAFETY: the caller's promise; the operands have all columns.
                unsafe {
                    if both {
                        self.products::<true>(a, g, ask);
                        self.write(2, &rows, g + 1);
                    } else {
                        self.products::<false>(a, g, ask);
                    }
                    self.write(0, &rows, g);
                }
            }
        }
    }

    /// Asks for the cache lines of the outputs of the weight rows `rows` and `groups`, to write
    /// them: a store that waits for its line holds up the tiles stored after it.
    fn ask(&self, rows: &Range<usize>, groups: Range<usize>) {
        let outputs = self.shared.outputs;
        let end = self.shared.inputs.rows.min(groups.end * GROUP);
        for r in groups.start * GROUP..end {
            let out = self
                .shared
                .out
                .start()
                .wrapping_add(r * outputs + rows.start);
            amx::ask_to_write(out);
            amx::ask_to_write(out.wrapping_add(amx::ROWS));
        }
    }

    /// Half `half` of the weight rows `rows`.
    fn operand(&mut self, half: usize, rows: &Range<usize>) -> Operand {
        let columns = self.shared.inputs.columns;
        let stored = |o: usize| self.shared.stored.stored(o);
        let half = if rows.start + half * amx::ROWS < rows.end {
            half
        } else {
            0
        };
        let first = rows.start + half * amx::ROWS;
        let end = rows.end.min(first + amx::ROWS);
        let even = end - first == amx::ROWS && stored(end - 1) - stored(first) == amx::ROWS - 1;
        if even && columns.is_multiple_of(STEP) {
            let rows = &self.weight[stored(first) * columns..(stored(end - 1) + 1) * columns];
            return Operand {
                start: rows.as_ptr().cast(),
                stride: 2 * columns,
            };
        }
        let padded = self.x.steps() * STEP;
        let (from, weight, stored) = (
            half * amx::ROWS * padded / 2,
            self.weight,
            self.shared.stored,
        );
        let copy = &mut self.copies[from..from + amx::ROWS * padded / 2];
        copy.fill(0.0);
        // SAFETY: two numbers of bf16 are as large as a float, and any bits are valid.
        let bits = unsafe {
            std::slice::from_raw_parts_mut(copy.as_mut_ptr().cast::<u16>(), amx::ROWS * padded)
        };
        for (o, to) in (first..end).zip(bits.chunks_exact_mut(padded)) {
            let row = stored.stored(o);
            to[..columns].copy_from_slice(&weight[row * columns..(row + 1) * columns]);
        }
        Operand {
            start: bits.as_ptr().cast(),
            stride: 2 * padded,
        }
    }

    /// Both halves of a pair by group `g`, to the sums 0 and 1, and by the next group, to 2 and 3.
    ///
    /// # Safety
    /// As [`Block::run`]; the operands have all columns.
    #[inline(always)]
    unsafe fn products<const BOTH: bool>(&mut self, a: [Operand; 2], g: usize, ask: bool) {
        let one = self.x.group(g).as_ptr();
        let other = if BOTH {
            self.x.group(g + 1).as_ptr()
        } else {
            one
        };
        // SAFETY: the caller's promise; a group has 16 lines for each step.
        unsafe {
            amx::zero::<0>();
            amx::zero::<1>();
            amx::zero::<2>();
            amx::zero::<3>();
            for step in 0..self.x.steps() {
                let at = a.map(|a| a.start.wrapping_add(step * amx::ROW_BYTES));
                amx::load_strided::<4>(at[0], a[0].stride);
                amx::load::<6>(one.add(step * GROUP).cast());
                amx::dot_bf16::<0, 4, 6>();
                amx::load_strided::<5>(at[1], a[1].stride);
                amx::dot_bf16::<1, 5, 6>();
                if BOTH {
                    amx::load::<7>(other.add(step * GROUP).cast());
                    amx::dot_bf16::<2, 4, 7>();
                    amx::dot_bf16::<3, 5, 7>();
                }
                if ask {
                    for n in 0..PAIR {
                        amx::ask_far(at[0].wrapping_add((PAIR + n) * a[0].stride));
                    }
                }
            }
            let sums = self.sums.as_mut_ptr();
            amx::store::<0>(sums.cast());
            amx::store::<1>(sums.add(REGISTER).cast());
            if BOTH {
                amx::store::<2>(sums.add(2 * REGISTER).cast());
                amx::store::<3>(sums.add(3 * REGISTER).cast());
            }
        }
    }

    /// Writes the outputs of the weight rows `rows` for group `g` from the sums `first` and the
    /// next.
    ///
    /// # Safety
    /// The machine has AVX-512.
    #[inline(always)]
    unsafe fn write(&self, first: usize, rows: &Range<usize>, g: usize) {
        for (half, o) in rows.clone().step_by(amx::ROWS).enumerate() {
            let end = rows.end.min(o + amx::ROWS);
            let mask = (0xffffu32 >> (o + amx::ROWS - end)) as __mmask16;
            let sums = &self.sums[(first + half) * REGISTER..(first + half + 1) * REGISTER];
            // SAFETY: there are 16 times 16 sums; masked lanes are neither read nor written.
            unsafe {
                let mut lanes = [_mm512_setzero_ps(); GROUP];
                for (lanes, sums) in lanes.iter_mut().zip(sums.chunks_exact(GROUP)) {
                    *lanes = _mm512_loadu_ps(sums.as_ptr());
                }
                let bias = self
                    .shared
                    .bias
                    .map(|bias| _mm512_maskz_loadu_ps(mask, bias[o..end].as_ptr()));
                let left = self.shared.inputs.rows - g * GROUP;
                for (n, row) in transposed(lanes).into_iter().enumerate().take(left) {
                    let start = (g * GROUP + n) * self.shared.outputs;
                    // A weight row meets an input row in one task alone.
                    let out = self.shared.out.part(start + o..start + end);
                    let row = bias.map_or(row, |bias| _mm512_add_ps(row, bias));
                    _mm512_mask_storeu_ps(out.as_mut_ptr(), mask, row);
                }
            }
        }
    }
}
