//! Rates of the operations at the shapes of a 0.8B model.
//!
//! `cargo run --release -p lattice-kernels --example rates [-- [ISA [THREADS [small | delta | attend | exp |
//! linear [BF16_ISA] | q8 | q4 | q4_32 | g4_64m (or another grouped one) [INT_ISA]]]]]`
#![allow(clippy::print_stdout, reason = "a table for people")]
#![allow(unsafe_code, reason = "the loop that measures the peak")]

use std::hint::black_box;
use std::time::Instant;

use lattice_kernels::*;

/// The best time of a call in seconds, after one call to warm up: a busy machine disturbs it least.
fn seconds(runs: usize, mut call: impl FnMut()) -> f64 {
    call();
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            call();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[0]
}

fn values(n: usize) -> Vec<f32> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    std::iter::repeat_with(next).take(n).collect()
}

fn bf16(n: usize) -> Vec<u16> {
    values(n)
        .iter()
        .map(|x| (x.to_bits() >> 16) as u16)
        .collect()
}

fn linears(cpu: &Cpu) {
    println!("bf16 products on {}", cpu.bf16_isa());
    #[cfg(target_arch = "x86_64")]
    if cpu.bf16_isa() == Bf16Isa::AmxBf16 {
        println!("bf16 peak {:.0} GFLOP/s", tile_peak(cpu, TileTurn::Bf16));
    }
    println!("linear, bf16 weights      rows        ms      GB/s   GFLOP/s");
    for (outputs, columns) in [(3584, 1024), (1024, 3584), (6144, 1024), (248_320, 1024)] {
        // Several copies: a model's weights come from memory, not from a cache.
        let copies = (600_000_000 / (outputs * columns * 2)).max(1);
        let bits = bf16(outputs * columns * copies);
        let weights: Vec<Dense<'_>> = bits
            .chunks_exact(outputs * columns)
            .map(|w| Dense::new(DenseData::Bf16(w), outputs, columns))
            .collect();
        for rows in [1, 2, 4, 8, 16, 64, 512] {
            if rows * outputs > 40_000_000 {
                continue;
            }
            let x = values(rows * columns);
            let mut out = vec![0.0; rows * outputs];
            let mut turn = 0;
            let runs = (1200 / rows).clamp(25, 300);
            let t = seconds(runs, || {
                linear(cpu, weights[turn % copies], None, black_box(&x), &mut out);
                turn += 1;
            });
            let (bytes, flops) = (outputs * columns * 2, 2 * outputs * columns * rows);
            println!(
                "  {outputs:>7} x {columns:<6} {rows:>12} {:>9.3} {:>9.2} {:>9.1}",
                t * 1e3,
                bytes as f64 / t / 1e9,
                flops as f64 / t / 1e9
            );
        }
    }
}

/// Attention of one layer after another, as a model with six such layers has it: the keys and values
/// of a long sequence come from memory, not from a cache.
fn attention(cpu: &Cpu, depth: usize, rows: usize, format: &str) {
    const LAYERS: usize = 6;
    let shape = AttendShape {
        heads: 8,
        kv_heads: 2,
        head_dim: 256,
        scale: 0.0625,
        sees: Sees::Past,
    };
    let page = match format {
        "int8" => shape.layout().page_len_int8(),
        _ => shape.layout().page_len(),
    };
    let pages: Vec<u32> = (0..depth.div_ceil(PAGE_TOKENS) as u32).collect();
    let elements = pages.len() * page * LAYERS;
    let of = |its: &str| if its == format { elements } else { 0 };
    let wide = values(of("f32"));
    let narrow = vec![0x2e66; of("f16")];
    let bytes = vec![0x2e; of("int8")];
    let (memory, size) = match format {
        "f32" => (KvView::F32(&wide), 4),
        "f16" => (KvView::F16(&narrow), 2),
        _ => (KvView::Int8(&bytes), 1),
    };
    let span = KvSpan {
        rows: 0..rows,
        first_position: depth - rows,
        page_table: &pages,
    };
    let q = values(rows * 8 * 256);
    let mut out = vec![0.0; q.len()];
    let mut layer = 0;
    let t = seconds(if rows == 1 { 300 } else { 13 }, || {
        let place = KvPlace {
            page_stride: page * LAYERS,
            layer_offset: layer * page,
        };
        layer = (layer + 1) % LAYERS;
        attend(
            cpu,
            shape,
            place,
            memory,
            std::slice::from_ref(&span),
            black_box(&q),
            &mut out,
        );
    });
    let bytes = elements / LAYERS * size;
    let pairs: usize = (0..rows).map(|r| depth - rows + r + 1).sum();
    println!(
        "attend {format:>4} depth {depth:>5} rows {rows:>4}: {:>9.1} us {:>8.2} GB/s {:>8.1} GFLOP/s",
        t * 1e6,
        bytes as f64 / t / 1e9,
        (pairs * 8 * 256 * 4) as f64 / t / 1e9
    );
}

fn attentions(cpu: &Cpu) {
    for (depth, rows) in [(256, 1), (4096, 1), (16384, 1), (4096, 512)] {
        for format in ["f16", "f32", "int8"] {
            attention(cpu, depth, rows, format);
        }
    }
}

fn deltas(cpu: &Cpu) {
    for rows in [1, 64, 512] {
        delta(cpu, rows);
    }
}

fn delta(cpu: &Cpu, rows: usize) {
    let shape = DeltaShape {
        key_heads: 16,
        value_heads: 16,
        key_dim: 128,
        value_dim: 128,
    };
    let qkv = values(rows * shape.qkv_width());
    let (a, b) = (values(rows * 16), values(rows * 16));
    let (a_log, dt_bias) = (values(16), values(16));
    let inputs = DeltaInputs {
        qkv: &qkv,
        a: &a,
        b: &b,
        a_log: &a_log,
        dt_bias: &dt_bias,
    };
    let mut states = vec![0.0; shape.state_len()];
    let mut out = vec![0.0; rows * shape.out_width()];
    let spans = [StateSpan {
        rows: 0..rows,
        state: 0,
    }];
    let t = seconds(51, || {
        gated_delta(cpu, shape, &spans, inputs, &mut states, &mut out)
    });
    println!(
        "gated_delta rows {rows:>4}: {:>8.2} us per token",
        t * 1e6 / rows as f64
    );
}

fn convolution(cpu: &Cpu, rows: usize) {
    let shape = ConvShape {
        channels: 6144,
        kernel: 4,
        activation: Some(Activation::Silu),
    };
    let (x, taps) = (values(rows * 6144), values(6144 * 4));
    let (mut states, mut out) = (vec![0.0; shape.state_len()], vec![0.0; x.len()]);
    let spans = [StateSpan {
        rows: 0..rows,
        state: 0,
    }];
    let t = seconds(51, || {
        conv1d_causal(cpu, shape, &spans, &taps, &x, &mut states, &mut out);
    });
    println!("conv1d   {rows:>4} x 6144: {:>8.2} us", t * 1e6);
}

fn small(cpu: &Cpu) {
    let (x, gain) = (values(512 * 1024), values(1024));
    let mut out = vec![0.0; x.len()];
    for rows in [1, 512] {
        let n = rows * 1024;
        let t = seconds(51, || rms_norm(cpu, &x[..n], &gain, 1e-6, &mut out[..n]));
        println!("rms_norm {rows:>4} x 1024: {:>8.2} us", t * 1e6);
        let t = seconds(51, || {
            glu(
                cpu,
                Activation::Silu,
                &x[..n],
                1024,
                &x[..n],
                1024,
                &mut out[..n],
            );
        });
        println!("glu silu {rows:>4} x 1024: {:>8.2} us", t * 1e6);
    }
    for rows in [1, 64, 256] {
        convolution(cpu, rows);
    }
    let t = seconds(10_001, || cpu.run(cpu.threads(), &|_| ()));
    println!(
        "empty region on {} threads: {:.2} us",
        cpu.threads(),
        t * 1e6
    );
}

/// Bytes that begin on a multiple of 64: `copies` packed weights of `shape`.
fn packed(shape: PackedShape, copies: usize) -> (Vec<u8>, usize) {
    let len = shape.bytes();
    let mut memory = vec![0; len * copies + 64];
    let start = memory.as_ptr().align_offset(64);
    let weights = values(shape.rows() * shape.columns());
    let first = &mut memory[start..start + len];
    pack(&weights, shape, first).expect("finite weights");
    for i in 1..copies {
        memory.copy_within(start..start + len, start + i * len);
    }
    (memory, start)
}

/// Integer products of 8 bits per second, in 10^9 operations (a multiply and an add are two), that
/// the threads reach with everything in registers.
#[cfg(target_arch = "x86_64")]
fn peak(cpu: &Cpu) -> Option<f64> {
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn turn(times: usize) -> i32 {
        let (a, b) = (_mm512_set1_epi8(3), black_box(_mm512_set1_epi8(1)));
        let mut sums = [_mm512_setzero_si512(); 16];
        for _ in 0..times {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        let total = sums.into_iter().reduce(|a, b| _mm512_add_epi32(a, b));
        total.map_or(0, |x| _mm512_reduce_add_epi32(x))
    }

    match cpu.int_isa() {
        IntIsa::AmxInt8 => return Some(tile_peak(cpu, TileTurn::Int8)),
        IntIsa::Avx512Vnni => {}
        _ => return None,
    }
    let times = 100_000;
    let t = seconds(20, || {
        cpu.run(cpu.threads() * 4, &|_| {
            // SAFETY: the processor's set says that the machine has it.
            black_box(unsafe { turn(times) });
        });
    });
    Some((cpu.threads() * 4 * times * 16 * 64 * 2) as f64 / t / 1e9)
}

/// What tiles multiply.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, PartialEq)]
enum TileTurn {
    Int8,
    Bf16,
}

/// Products of tiles per second, in 10^9 operations, with everything in tiles.
#[cfg(target_arch = "x86_64")]
fn tile_peak(cpu: &Cpu, turn: TileTurn) -> f64 {
    use std::arch::asm;

    #[repr(align(64))]
    struct Config([u8; 64]);
    let mut config = Config([0; 64]);
    config.0[0] = 1;
    for i in 0..8 {
        (config.0[16 + 2 * i], config.0[48 + i]) = (64, 16);
    }
    macro_rules! products {
        ($instruction:literal) => {
            asm!(
                concat!($instruction, " tmm0, tmm6, tmm7"),
                concat!($instruction, " tmm1, tmm6, tmm7"),
                concat!($instruction, " tmm2, tmm6, tmm7"),
                concat!($instruction, " tmm3, tmm6, tmm7"),
                options(nomem, nostack, preserves_flags)
            )
        };
    }
    let times = 10_000;
    let t = seconds(20, || {
        cpu.run(cpu.threads() * 4, &|_| {
            // SAFETY: the processor's sets say that the machine has tiles, which nothing else here
            // uses; the configuration is a valid one of 64 bytes.
            unsafe {
                asm!("ldtilecfg [{}]", "tilezero tmm6", "tilezero tmm7", in(reg) &raw const config,
                    options(readonly, nostack, preserves_flags));
                for _ in 0..times {
                    match turn {
                        TileTurn::Int8 => products!("tdpbssd"),
                        TileTurn::Bf16 => products!("tdpbf16ps"),
                    }
                }
                asm!("tilerelease", options(nomem, nostack, preserves_flags));
            }
        });
    });
    let operations = if turn == TileTurn::Int8 {
        32_768
    } else {
        16_384
    };
    (cpu.threads() * 4 * times * 4 * operations) as f64 / t / 1e9
}

#[cfg(not(target_arch = "x86_64"))]
fn peak(_: &Cpu) -> Option<f64> {
    None
}

/// What the threads read from memory, in GB/s.
fn read_rate(cpu: &Cpu) -> f64 {
    let memory = vec![0x3f80u16; 250 << 20 >> 1];
    let step = memory.len() / 256;
    let t = seconds(20, || {
        cpu.run(256, &|i| {
            let part = &memory[i * step..(i + 1) * step];
            black_box(reading(part));
        });
    });
    (memory.len() * 2) as f64 / t / 1e9
}

/// The bits that any of `part` has.
fn reading(part: &[u16]) -> u16 {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn wide(part: &[u16]) -> u16 {
        narrow(part)
    }

    #[inline(always)]
    fn narrow(part: &[u16]) -> u16 {
        let mut sums = [0; 128];
        for part in part.chunks_exact(128) {
            for (sum, x) in sums.iter_mut().zip(part) {
                *sum |= x;
            }
        }
        sums.iter().fold(0, |a, b| a | b)
    }

    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: just asked.
        return unsafe { wide(part) };
    }
    narrow(part)
}

/// Two products of 3,584 x 1,024 with a gate, rounded: one after the other, and together where that is a gain.
fn gate(cpu: &Cpu, scheme: PackedScheme, rows: usize) {
    let shape = PackedShape::new(scheme, 3584, 1024, 3584).expect("a shape");
    let copies = 100;
    let (memory, start) = packed(shape, copies);
    let weights: Vec<Packed<'_>> = memory[start..start + copies * shape.bytes()]
        .chunks_exact(shape.bytes())
        .map(|w| Packed::new(w, shape).expect("as packed"))
        .collect();
    let mut turn = 0;
    let mut next = || {
        turn += 2;
        (weights[turn % copies], weights[turn % copies + 1])
    };
    let (mut x, mut out) = (Activations::new(), Activations::new());
    quantise_rows(cpu, &values(rows * 1024), 1024, &mut x);
    let mut products = [vec![0.0; rows * 3584], vec![0.0; rows * 3584]];
    let apart = seconds(50, || {
        let (gate, up) = next();
        let [gate_out, up_out] = &mut products;
        linear_packed_quantised(cpu, gate, None, &x, gate_out);
        linear_packed_quantised(cpu, up, None, &x, up_out);
        quantise_glu(cpu, Activation::Silu, gate_out, up_out, 3584, &mut out);
    });
    print!("gate {scheme} {rows:>4} x 3584: {:>8.3} ms", apart * 1e3);
    if fuses_gate(cpu, weights[0], weights[1], rows) {
        let together = seconds(50, || {
            let (gate, up) = next();
            gate_packed(cpu, Activation::Silu, gate, up, &x, &mut out);
        });
        print!(", with its products {:>8.3} ms", together * 1e3);
    }
    println!();
}

fn packed_linears(cpu: &Cpu, scheme: PackedScheme) {
    let read = read_rate(cpu);
    let peak = peak(cpu);
    println!(
        "reading {read:.1} GB/s, int8 peak {:.0} GOP/s",
        peak.unwrap_or(0.0)
    );
    println!(
        "linear, {scheme:<5} weights   rows        ms      GB/s   GOP/s  % of reading  of peak"
    );
    for (outputs, columns) in [(3584, 1024), (1024, 3584), (6144, 1024), (248_320, 1024)] {
        let shape = PackedShape::new(scheme, outputs, columns, outputs).expect("a shape");
        let copies = (400_000_000 / shape.bytes()).max(1);
        let (memory, start) = packed(shape, copies);
        let weights: Vec<Packed<'_>> = memory[start..start + copies * shape.bytes()]
            .chunks_exact(shape.bytes())
            .map(|w| Packed::new(w, shape).expect("as packed"))
            .collect();
        for rows in [1, 2, 4, 8, 16, 64, 256, 512] {
            if rows * outputs > 40_000_000 {
                continue;
            }
            let x = values(rows * columns);
            let mut out = vec![0.0; rows * outputs];
            let mut turn = 0;
            let runs = (1200 / rows).clamp(25, 300);
            let t = seconds(runs, || {
                linear_packed(cpu, weights[turn % copies], None, black_box(&x), &mut out);
                turn += 1;
            });
            let rate = shape.bytes() as f64 / t / 1e9;
            let operations = (2 * outputs * columns * rows) as f64 / t / 1e9;
            println!(
                "  {outputs:>7} x {columns:<6} {rows:>10} {:>9.3} {rate:>9.2} {operations:>7.1} {:>13.0} {:>8.0}",
                t * 1e3,
                100.0 * rate / read,
                // Both planes: two products for each of the weight.
                peak.map_or(f64::NAN, |peak| 200.0 * operations / peak),
            );
        }
    }
    let shape = PackedShape::new(scheme, 1024, 1024, 1024).expect("a shape");
    let (weights, mut out) = (values(1024 * 1024), vec![0; shape.bytes()]);
    let t = seconds(5, || {
        pack(&weights, shape, &mut out).expect("finite weights")
    });
    println!("pack {scheme} 1024 x 1024, one thread: {:>8.2} ms", t * 1e3);
    for rows in [64, 256, 512] {
        gate(cpu, scheme, rows);
    }
    for rows in [1, 512] {
        let x = values(rows * 1024);
        let mut out = Activations::new();
        let t = seconds(51, || quantise_rows(cpu, &x, 1024, &mut out));
        println!("quantise {rows:>4} x 1024: {:>8.2} us", t * 1e6);
    }
}

/// Rows of a Sinkhorn iteration: 1,000 columns, in the first cache.
fn exponentials<T: Real>(cpu: &Cpu, name: &str) {
    const COLUMNS: usize = 1000;
    const ROWS: usize = 200;
    let x: Vec<T> = values(COLUMNS)
        .iter()
        .map(|x| T::from_f64(f64::from(*x)))
        .collect();
    let low = vec![T::ZERO; COLUMNS];
    let row = LogRow {
        cost: &x,
        scale: T::from_f64(20.0),
        high: &x,
        low: &low,
        shift_high: T::ZERO,
        shift_low: T::ZERO,
    };
    let each = 1e9 / (COLUMNS * ROWS) as f64;
    let sum = seconds(50, || {
        (0..ROWS).for_each(|_| {
            black_box(exp_sum(cpu, black_box(row)));
        });
    });
    let dot = seconds(50, || {
        (0..ROWS).for_each(|_| {
            black_box(dot_real(cpu, black_box(&x), &low));
        });
    });
    println!(
        "{name}: sum of exponentials {:.3} ns a column, dot {:.3}",
        sum * each,
        dot * each
    );
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let isa = arguments.next().map(|a| a.parse()).transpose()?;
    let threads = arguments.next().map_or(Ok(0), |a| a.parse())?;
    let cpu = Cpu::new(CpuOptions {
        isa,
        threads,
        ..CpuOptions::default()
    })?;
    println!("{cpu:?}");
    match arguments.next().as_deref() {
        Some("linear") => {
            let cpu = match arguments.next() {
                Some(name) => cpu.with_bf16_isa(name.parse()?)?,
                None => cpu,
            };
            linears(&cpu);
            return Ok(());
        }
        Some("attend") => {
            attentions(&cpu);
            return Ok(());
        }
        Some("delta") => {
            deltas(&cpu);
            return Ok(());
        }
        Some("exp") => {
            exponentials::<f32>(&cpu, "f32");
            exponentials::<f64>(&cpu, "f64");
            return Ok(());
        }
        Some("small") => {
            small(&cpu);
            return Ok(());
        }
        Some(scheme) => {
            let scheme = scheme.parse()?;
            let cpu = match arguments.next() {
                Some(name) => cpu.with_int_isa(name.parse()?)?,
                None => cpu,
            };
            println!("{cpu:?}");
            packed_linears(&cpu, scheme);
            return Ok(());
        }
        None => {}
    }
    small(&cpu);
    deltas(&cpu);
    attentions(&cpu);
    linears(&cpu);
    for scheme in PackedScheme::OWN {
        packed_linears(&cpu, scheme);
    }
    Ok(())
}
