//! Law: a row's bits depend on its own input and past alone: not on the rows beside it, nor on how
//! its sequence was cut.

mod common;

use common::*;
use lattice_kernels::*;

#[test]
fn a_linear_row_is_the_same_in_every_crowd() {
    let cpu = fast(3);
    for kind in KINDS {
        for (outputs, columns) in [(37, 83), (70, 1030)] {
            let weight = Weight::new(kind, 1, outputs, columns);
            let x = values(2, 230 * columns);
            let alone: Vec<u32> = x
                .chunks_exact(columns)
                .flat_map(|x| product(&cpu, &weight, x))
                .collect();
            for rows in [2, 3, 4, 5, 6, 7, 8, 13, 25, 95, 97, 230] {
                let crowd = product(&cpu, &weight, &x[..rows * columns]);
                assert_eq!(
                    crowd,
                    alone[..rows * outputs],
                    "{kind:?} {rows} rows of {columns}"
                );
            }
        }
    }
}

fn product(cpu: &Cpu, weight: &Weight, x: &[f32]) -> Vec<u32> {
    let mut out = vec![0.0; x.len() / weight.columns * weight.rows];
    linear(cpu, weight.dense(), None, x, &mut out);
    bits(&out)
}

#[test]
fn a_weight_row_is_the_same_in_every_matrix() {
    let cpu = fast(3);
    let weight = Weight::new(Kind::Bf16, 3, 45, 100);
    let DenseData::Bf16(data) = weight.dense().data() else {
        unreachable!("made as bf16")
    };
    for rows in [1, 9] {
        let x = values(4, rows * 100);
        let all = product(&cpu, &weight, &x);
        for first in [0, 1, 7, 44] {
            let part = Dense::new(DenseData::Bf16(&data[first * 100..]), 45 - first, 100);
            let mut out = vec![0.0; rows * (45 - first)];
            linear(&cpu, part, None, &x, &mut out);
            for r in 0..rows {
                let found = &bits(&out)[r * (45 - first)..(r + 1) * (45 - first)];
                assert_eq!(found, &all[r * 45 + first..(r + 1) * 45]);
            }
        }
    }
}

#[test]
fn picked_rows_are_those_of_the_whole_product() {
    let cpu = fast(3);
    let weight = Weight::new(Kind::Bf16, 5, 40, 50);
    let (x, bias) = (values(6, 30 * 50), values(7, 40));
    let mut whole = vec![0.0; 30 * 40];
    linear(&cpu, weight.dense(), Some(&bias), &x, &mut whole);
    for picked in [
        vec![],
        vec![29],
        vec![3, 3, 0],
        (0..30).rev().collect::<Vec<u32>>(),
    ] {
        let mut out = vec![0.0; picked.len() * 40];
        linear_select(&cpu, weight.dense(), Some(&bias), &x, &picked, &mut out);
        for (out, &r) in out.chunks_exact(40).zip(&picked) {
            assert_eq!(
                bits(out),
                bits(&whole[r as usize * 40..(r as usize + 1) * 40])
            );
        }
    }
}

#[test]
fn norm_and_rope_rows_are_the_same_alone() {
    let cpu = fast(3);
    let (rows, width) = (300, 96);
    let (x, gain) = (values(8, rows * width), values(9, width));
    let table = RopeTable::new(&[1.0, 0.3, 0.1, 0.01], 400);
    let shape = RopeShape {
        heads: 4,
        head_dim: 24,
        rotary_dim: 8,
    };
    let positions: Vec<u32> = (0..rows as u32).map(|p| p * 7 % 400).collect();
    let mut whole = [vec![0.0; x.len()], vec![0.0; x.len()]];
    rms_norm(&cpu, &x, &gain, 1e-5, &mut whole[0]);
    rope(&cpu, shape, &table, &positions, &x, &mut whole[1]);
    for r in 0..rows {
        let range = r * width..(r + 1) * width;
        let mut out = vec![0.0; width];
        rms_norm(&cpu, &x[range.clone()], &gain, 1e-5, &mut out);
        assert_eq!(bits(&out), bits(&whole[0][range.clone()]));
        rope(
            &cpu,
            shape,
            &table,
            &positions[r..=r],
            &x[range.clone()],
            &mut out,
        );
        assert_eq!(bits(&out), bits(&whole[1][range]));
    }
}

/// Ways to cut 150 tokens.
const CUTS: [&[usize]; 5] = [
    &[150],
    &[1, 149],
    &[64, 64, 22],
    &[7, 31, 1, 1, 110],
    &[63, 1, 1, 1, 62, 22],
];

fn pieces(cut: &[usize]) -> impl Iterator<Item = std::ops::Range<usize>> {
    cut.iter().scan(0, |start, n| {
        let piece = *start..*start + n;
        *start += n;
        Some(piece)
    })
}

#[test]
fn a_convolution_in_pieces_is_the_whole() {
    let cpu = fast(3);
    let shape = ConvShape {
        channels: 50,
        kernel: 4,
        activation: Some(Activation::Silu),
    };
    let (x, weight) = (values(10, 150 * 50), values(11, 50 * 4));
    let run = |cut: &[usize]| {
        let (mut state, mut all) = (vec![0.0; shape.state_len()], Vec::new());
        for piece in pieces(cut) {
            let span = [StateSpan {
                rows: 0..piece.len(),
                state: 0,
            }];
            let mut out = vec![0.0; piece.len() * 50];
            let x = &x[piece.start * 50..piece.end * 50];
            conv1d_causal(&cpu, shape, &span, &weight, x, &mut state, &mut out);
            all.extend(out);
        }
        all.extend(state);
        bits(&all)
    };
    for cut in CUTS {
        assert_eq!(run(cut), run(&[1; 150]), "{cut:?}");
    }
}

#[test]
fn a_delta_rule_in_pieces_is_the_whole() {
    let cpu = fast(3);
    let shape = DeltaShape {
        key_heads: 2,
        value_heads: 4,
        key_dim: 24,
        value_dim: 72,
    };
    let delta = Delta::new(shape, 150, 12);
    let run = |cut: &[usize]| {
        let (mut state, mut all) = (vec![0.0; shape.state_len()], Vec::new());
        for piece in pieces(cut) {
            // The rows stay where they are: only the span moves.
            let range = piece.start * shape.out_width()..piece.end * shape.out_width();
            let out = delta.run(
                &cpu,
                &[StateSpan {
                    rows: piece,
                    state: 0,
                }],
                &mut state,
            );
            all.extend(&out[range]);
        }
        all.extend(state);
        bits(&all)
    };
    for cut in CUTS {
        assert_eq!(run(cut), run(&[1; 150]), "{cut:?}");
    }
}

#[test]
fn attention_in_pieces_is_the_whole() {
    let cpu = fast(3);
    for (heads, kv_heads, kv, sees) in [
        (4, 2, Kv::F16, Sees::Past),
        (3, 3, Kv::F32, Sees::Past),
        (6, 1, Kv::F16, Sees::Past),
        (4, 2, Kv::Int8, Sees::Past),
        (4, 2, Kv::F16, Sees::Last(1)),
        (6, 1, Kv::F32, Sees::Last(17)),
        (3, 3, Kv::Int8, Sees::Last(70)),
    ] {
        let shape = AttendShape {
            heads,
            kv_heads,
            head_dim: 40,
            scale: 0.2,
            sees,
        };
        let k = values(13, 150 * kv_heads * 40);
        let v = values(14, 150 * kv_heads * 40);
        let q = values(15, 150 * heads * 40);
        let run = |cut: &[usize]| {
            let (mut memory, mut all) = (Memory::new(shape, 5, kv), Vec::new());
            for piece in pieces(cut) {
                let first_position = piece.start;
                let range = piece.start * heads * 40..piece.end * heads * 40;
                let span = [KvSpan {
                    rows: piece,
                    first_position,
                    page_table: &[4, 1, 3],
                }];
                memory.store(&cpu, &span, &k, &v);
                all.extend(&memory.attend(&cpu, &span, &q)[range]);
            }
            bits(&all)
        };
        for cut in CUTS {
            assert_eq!(run(cut), run(&[1; 150]), "{cut:?}");
        }
    }
}

#[test]
fn attention_far_into_a_sequence_is_the_whole_too() {
    // Deep enough for several blocks of keys, which few rows share out over the threads.
    const ROWS: usize = 700;
    let pages = [4, 1, 3, 0, 2, 5, 10, 9, 8, 7, 6];
    let shape = |sees| AttendShape {
        heads: 2,
        kv_heads: 1,
        head_dim: 20,
        scale: 0.2,
        sees,
    };
    let (k, v) = (values(30, ROWS * 20), values(31, ROWS * 20));
    let q = values(32, ROWS * 40);
    let run = |kv: Kv, sees: Sees, threads: usize, cut: &[usize]| {
        let (cpu, mut all) = (fast(threads), Vec::new());
        let mut memory = Memory::new(shape(sees), 11, kv);
        for piece in pieces(cut) {
            let range = piece.start * 40..piece.end * 40;
            let span = [KvSpan {
                first_position: piece.start,
                rows: piece,
                page_table: &pages,
            }];
            memory.store(&cpu, &span, &k, &v);
            all.extend(&memory.attend(&cpu, &span, &q)[range]);
        }
        bits(&all)
    };
    for (kv, sees) in [
        (Kv::F16, Sees::Past),
        (Kv::Int8, Sees::Past),
        (Kv::F16, Sees::Last(3)),
        (Kv::F32, Sees::Last(256)),
        (Kv::Int8, Sees::Last(300)),
    ] {
        let alone = run(kv, sees, 4, &[1; ROWS]);
        for threads in [1, 2, 7] {
            for cut in [&[ROWS][..], &[255, 2, 254, 1, 188], &[256, 257, 17, 170]] {
                assert_eq!(
                    run(kv, sees, threads, cut),
                    alone,
                    "{kv:?}, {sees:?}, {threads} threads, {cut:?}"
                );
            }
        }
    }
}

#[test]
fn sequences_do_not_see_each_other() {
    let cpu = fast(3);
    let delta_shape = DeltaShape {
        key_heads: 1,
        value_heads: 2,
        key_dim: 16,
        value_dim: 20,
    };
    let delta = Delta::new(delta_shape, 60, 16);
    let shape = AttendShape {
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        scale: 0.2,
        sees: Sees::Past,
    };
    let width = 64;
    let (k, v, q) = (
        values(17, 60 * width),
        values(18, 60 * width),
        values(19, 60 * 2 * width),
    );
    let rows = [0..1, 1..40, 42..43, 43..60];
    let tables: [&[u32]; 4] = [&[3], &[0], &[2], &[1]];
    let spans: Vec<KvSpan<'_>> = rows
        .iter()
        .zip(tables)
        .map(|(rows, page_table)| KvSpan {
            rows: rows.clone(),
            first_position: 0,
            page_table,
        })
        .collect();
    let len = delta_shape.state_len();
    let states: Vec<StateSpan> = (0..4)
        .map(|i| StateSpan {
            rows: rows[i].clone(),
            state: (3 - i) * len,
        })
        .collect();

    let together = delta.run(&cpu, &states, &mut vec![0.0; 4 * len]);
    for i in 0..4 {
        let alone = delta.run(&cpu, &states[i..=i], &mut vec![0.0; 4 * len]);
        let range = rows[i].start * 40..rows[i].end * 40;
        assert_eq!(bits(&alone[range.clone()]), bits(&together[range]));
    }
    for kv in KVS {
        let mut memory = Memory::new(shape, 4, kv);
        memory.store(&cpu, &spans, &k, &v);
        let together = memory.attend(&cpu, &spans, &q);
        for i in 0..4 {
            let mut memory = Memory::new(shape, 4, kv);
            memory.store(&cpu, &spans[i..=i], &k, &v);
            let alone = memory.attend(&cpu, &spans[i..=i], &q);
            let range = rows[i].start * 128..rows[i].end * 128;
            assert_eq!(bits(&alone[range.clone()]), bits(&together[range]));
        }
        // Rows of no sequence are left alone.
        assert!(together[40 * 128..42 * 128].iter().all(|&x| x == 0.0));
    }
}
