//! What the tests share: processors, numbers, and small owners of operations' inputs.
#![allow(dead_code, reason = "each test file uses its part")]

use lattice_kernels::*;

pub(crate) mod packed;

/// One processor per available instruction set and thread count, the plainest first.
pub(crate) fn cpus() -> Vec<Cpu> {
    let pairs = Isa::available()
        .into_iter()
        .flat_map(|isa| [(isa, 1), (isa, 3)]);
    pairs.map(|(isa, threads)| cpu(isa, threads)).collect()
}

/// A processor whose bits are those of every other: it multiplies bf16 in f32.
pub(crate) fn cpu(isa: Isa, threads: usize) -> Cpu {
    let cpu = Cpu::new(CpuOptions {
        isa: Some(isa),
        bf16_isa: Some(Bf16Isa::F32Fma),
        threads,
        ..CpuOptions::default()
    });
    cpu.expect("an available instruction set")
}

pub(crate) fn fast(threads: usize) -> Cpu {
    cpu(Isa::detect(), threads)
}

/// Numbers between -2 and 2, with a few zeros among them.
pub(crate) fn values(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if state >> 60 == 0 {
            0.0
        } else {
            (state >> 40) as f32 / (1 << 22) as f32 - 2.0
        }
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// The bits of each value, all NaNs being one.
pub(crate) fn bits(x: &[f32]) -> Vec<u32> {
    x.iter()
        .map(|x| {
            if x.is_nan() {
                f32::NAN.to_bits()
            } else {
                x.to_bits()
            }
        })
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    F32,
    F16,
    Bf16,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::F32, Kind::F16, Kind::Bf16];

/// A weight and the memory it borrows.
pub(crate) struct Weight {
    kind: Kind,
    wide: Vec<f32>,
    narrow: Vec<u16>,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Weight {
    pub(crate) fn new(kind: Kind, seed: u64, rows: usize, columns: usize) -> Weight {
        let values = values(seed, rows * columns);
        let narrow: Vec<u16> = match kind {
            Kind::F32 => Vec::new(),
            Kind::F16 => values
                .iter()
                .map(|&x| half::f16::from_f32(x).to_bits())
                .collect(),
            Kind::Bf16 => values
                .iter()
                .map(|&x| half::bf16::from_f32(x).to_bits())
                .collect(),
        };
        let wide = match kind {
            Kind::F32 => values,
            Kind::F16 => narrow
                .iter()
                .map(|&b| half::f16::from_bits(b).to_f32())
                .collect(),
            Kind::Bf16 => narrow
                .iter()
                .map(|&b| half::bf16::from_bits(b).to_f32())
                .collect(),
        };
        Weight {
            kind,
            wide,
            narrow,
            rows,
            columns,
        }
    }

    pub(crate) fn dense(&self) -> Dense<'_> {
        let data = match self.kind {
            Kind::F32 => DenseData::F32(&self.wide),
            Kind::F16 => DenseData::F16(&self.narrow),
            Kind::Bf16 => DenseData::Bf16(&self.narrow),
        };
        Dense::new(data, self.rows, self.columns)
    }

    /// The elements, widened.
    pub(crate) fn wide(&self) -> &[f32] {
        &self.wide
    }
}

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kv {
    F32,
    F16,
    Int8,
}

pub(crate) const KVS: [Kv; 3] = [Kv::F32, Kv::F16, Kv::Int8];

impl Kv {
    /// What is left of rows of `head_dim` values.
    pub(crate) fn kept(self, rows: &[f32], head_dim: usize) -> Vec<f32> {
        match self {
            Kv::F32 => rows.to_vec(),
            Kv::F16 => {
                let kept = rows.iter().map(|&x| half::f16::from_f32_const(x).to_f32());
                kept.collect()
            }
            Kv::Int8 => rows.chunks_exact(head_dim).flat_map(kept_int8).collect(),
        }
    }
}

/// The definition of int8, in plain words.
fn kept_int8(row: &[f32]) -> Vec<f32> {
    let most = row.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let scale = half::f16::from_f32_const(most / 127.0).to_f32();
    let kept = row.iter().map(|x| match scale {
        _ if !row.iter().all(|x| x.is_finite()) || scale.is_infinite() => f32::NAN,
        0.0 => 0.0,
        _ => (x / scale).round_ties_even().clamp(-127.0, 127.0) * scale,
    });
    kept.collect()
}

/// Paged keys and values, stored and attended to.
pub(crate) struct Memory {
    pub(crate) shape: AttendShape,
    pub(crate) place: KvPlace,
    f32: Vec<f32>,
    f16: Vec<u16>,
    int8: Vec<i8>,
    kv: Kv,
}

impl Memory {
    /// `pages` pages of two layers of which the second is used, full of NaN (in int8, of scales that are).
    pub(crate) fn new(shape: AttendShape, pages: usize, kv: Kv) -> Memory {
        let len = match kv {
            Kv::F32 | Kv::F16 => shape.layout().page_len(),
            Kv::Int8 => shape.layout().page_len_int8(),
        };
        let place = KvPlace {
            page_stride: 2 * len,
            layer_offset: len,
        };
        let of = |its: Kv| if its == kv { pages * 2 * len } else { 0 };
        Memory {
            shape,
            place,
            f32: vec![f32::NAN; of(Kv::F32)],
            f16: vec![0x7e00; of(Kv::F16)],
            int8: vec![0x7e; of(Kv::Int8)],
            kv,
        }
    }

    pub(crate) fn store(&mut self, cpu: &Cpu, spans: &[KvSpan<'_>], k: &[f32], v: &[f32]) {
        let memory = match self.kv {
            Kv::F32 => KvSlice::F32(&mut self.f32),
            Kv::F16 => KvSlice::F16(&mut self.f16),
            Kv::Int8 => KvSlice::Int8(&mut self.int8),
        };
        kv_store(cpu, self.shape.layout(), self.place, memory, spans, k, v);
    }

    pub(crate) fn attend(&self, cpu: &Cpu, spans: &[KvSpan<'_>], q: &[f32]) -> Vec<f32> {
        let memory = match self.kv {
            Kv::F32 => KvView::F32(&self.f32),
            Kv::F16 => KvView::F16(&self.f16),
            Kv::Int8 => KvView::Int8(&self.int8),
        };
        let mut out = vec![0.0; q.len()];
        attend(cpu, self.shape, self.place, memory, spans, q, &mut out);
        out
    }
}

/// Inputs of a gated delta layer.
pub(crate) struct Delta {
    pub(crate) shape: DeltaShape,
    pub(crate) qkv: Vec<f32>,
    pub(crate) a: Vec<f32>,
    pub(crate) b: Vec<f32>,
    pub(crate) a_log: Vec<f32>,
    pub(crate) dt_bias: Vec<f32>,
}

impl Delta {
    pub(crate) fn new(shape: DeltaShape, rows: usize, seed: u64) -> Delta {
        Delta {
            shape,
            qkv: values(seed, rows * shape.qkv_width()),
            a: values(seed + 1, rows * shape.value_heads),
            b: values(seed + 2, rows * shape.value_heads),
            a_log: values(seed + 3, shape.value_heads),
            dt_bias: values(seed + 4, shape.value_heads),
        }
    }

    pub(crate) fn inputs(&self) -> DeltaInputs<'_> {
        DeltaInputs {
            qkv: &self.qkv,
            a: &self.a,
            b: &self.b,
            a_log: &self.a_log,
            dt_bias: &self.dt_bias,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.a.len() / self.shape.value_heads
    }

    pub(crate) fn run(&self, cpu: &Cpu, spans: &[StateSpan], states: &mut [f32]) -> Vec<f32> {
        let mut out = vec![0.0; self.rows() * self.shape.out_width()];
        gated_delta(cpu, self.shape, spans, self.inputs(), states, &mut out);
        out
    }
}
