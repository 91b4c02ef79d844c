//! Blocks against the reference, and against themselves repacked and in another order.

use lattice_kernels::{PackedShape, unpack};
use lattice_testkit::{SplitMix64, gguf_blocks};

use super::*;
use crate::checkpoint::AlignedBytes;
use crate::checkpoint::mmap::FileBytes;

/// A matrix of one column of blocks a row.
fn column(block: GgmlBlock, rows: usize) -> Blocks {
    Blocks::new(BlockKind::Ggml(block), rows, block.values())
}

#[test]
fn values_are_those_of_the_reference() {
    let goldens = gguf_blocks();
    assert_eq!(goldens.len(), GgmlBlock::ALL.len());
    for golden in goldens {
        let block = GgmlBlock::ALL
            .into_iter()
            .find(|block| block.name() == golden.kind)
            .expect("a kind that is read");
        let rows = golden.values.len() / block.values();
        let source = BlockBytes {
            blocks: column(block, rows),
            parts: vec![&golden.bytes[..rows * block.bytes()]],
        };
        let mut bench = Bench::default();
        let found = bench.values(&source, 0..rows);
        for (index, (found, expected)) in found.iter().zip(&golden.values).enumerate() {
            // Zeros may have another sign.
            assert!(
                found == expected,
                "{} {index}: {found} {expected}",
                golden.kind
            );
        }
    }
}

/// Random blocks whose scales are numbers, as they are of most bytes.
fn random(blocks: Blocks, seed: u64) -> Vec<u8> {
    let mut random = SplitMix64::new(seed);
    let bytes = blocks.rows() * blocks.row_bytes();
    (0..bytes).map(|_| (random.next_u64() % 59) as u8).collect()
}

#[test]
fn repacked_matrices_have_the_same_values() {
    for block in GgmlBlock::ALL {
        let (rows, columns) = (37 * 2, 3 * block.values());
        let blocks = Blocks::new(BlockKind::Ggml(block), rows, columns);
        let ordered = blocks.ordered(
            Order::swapped(2, 37, 1),
            Order::swapped(3, block.values() / 32, 32),
        );
        for blocks in [blocks, ordered.expect("groups stay together")] {
            let bytes = random(blocks, 5);
            let source = BlockBytes {
                blocks,
                parts: vec![&bytes],
            };
            let scheme = blocks.scheme().expect("they are integers");
            let shape = PackedShape::new(scheme, rows, columns, 37).expect("a shape");
            let serial = |count: usize, task: &(dyn Fn(usize) + Sync)| (0..count).for_each(task);
            let fill = |out: &mut [u8]| {
                repack(source.clone(), shape, true, out, &serial, &|_rows| {})
                    .unwrap_or_else(|error| panic!("{}: {error}", block.name()));
                Ok(())
            };
            let memory = FileBytes::filled("memory".to_owned(), shape.bytes(), fill);
            let memory = std::sync::Arc::new(memory.expect("there is memory"));
            let form = crate::checkpoint::Form::Packed(shape);
            let held = AlignedBytes::of(&memory, 0..shape.bytes(), form);
            let packed = lattice_kernels::Packed::new(&held, shape).expect("its own bytes");
            let (mut found, mut bench) = (vec![0.0; rows * columns], Bench::default());
            unpack(packed, &mut found);
            let expected = bench.values(&source, 0..rows);
            for (found, expected) in found.iter().zip(expected) {
                assert!(found == expected, "{}: {found} {expected}", block.name());
            }
        }
    }
}

#[test]
fn rows_and_columns_come_in_the_models_order() {
    // Rows of two halves of 3, columns of 2 groups of 2 by 32.
    let plain = Blocks::new(BlockKind::Ggml(GgmlBlock::Q8_0), 6, 128);
    let bytes = random(plain, 9);
    let read = |blocks: Blocks| -> Vec<f32> {
        let source = BlockBytes {
            blocks,
            parts: vec![
                &bytes[..blocks.row_bytes() * 2],
                &bytes[blocks.row_bytes() * 2..],
            ],
        };
        Bench::default().values(&source, 0..6).to_vec()
    };
    let (rows, columns) = (Order::swapped(2, 3, 1), Order::swapped(2, 2, 32));
    let (before, after) = (
        read(plain),
        read(plain.ordered(rows, columns).expect("whole groups")),
    );
    for row in 0..6 {
        for column in 0..128 {
            let stored = rows.stored(row) * 128 + columns.stored(column);
            assert_eq!(after[row * 128 + column], before[stored]);
        }
    }
    // A scale's columns cannot part.
    assert_eq!(plain.ordered(Order::SAME, Order::swapped(2, 4, 16)), None);
}
