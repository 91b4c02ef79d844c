//! What the integration tests share: random checkpoints for any plan, and running ids through a runner.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use lattice_inference::backend::cpu::Cpu;
use lattice_inference::backend::{
    Backend, Batch, Entry, LoadOptions, OutputRows, Runner, SequenceId, reference::Reference,
};
use lattice_inference::checkpoint::{Checkpoint, Mapping, ModelFiles, OpenOptions, Tensor};
use lattice_inference::plan::{Plan, packing};
use lattice_kernels::{GroupBits, GroupColumns, PackedScheme};
use lattice_testkit::{
    PackedFile, ScratchDir, SplitMix64, StoredTensor, TensorBytes, bf16_bytes, f16_bytes,
    f32_bytes, write_checkpoint,
};

/// How the tests store weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    F32,
    F16,
    Bf16,
    Packed(PackedScheme),
}

/// Our own packed schemes, and a grouped one for all of them.
pub(crate) const SCHEMES: [PackedScheme; 4] = [
    PackedScheme::OWN[0],
    PackedScheme::OWN[1],
    PackedScheme::OWN[2],
    PackedScheme::Grouped {
        bits: GroupBits::Four,
        group: GroupColumns::Of64,
        minimum: true,
    },
];

/// All of them.
pub(crate) fn formats() -> impl Iterator<Item = Format> {
    let packed = SCHEMES.into_iter().map(Format::Packed);
    [Format::F32, Format::F16, Format::Bf16]
        .into_iter()
        .chain(packed)
}

impl Format {
    /// As a header names it, or its scheme.
    pub(crate) fn name(self) -> String {
        match self {
            Self::F32 => "F32".to_owned(),
            Self::F16 => "F16".to_owned(),
            Self::Bf16 => "BF16".to_owned(),
            Self::Packed(scheme) => scheme.to_string(),
        }
    }

    /// Of what is not packed: f32 beside packed matrices.
    fn dense_name(self) -> String {
        match self {
            Self::Packed(_) => Self::F32.name(),
            dense => dense.name(),
        }
    }

    fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 | Self::Packed(_) => f32_bytes(values),
            Self::F16 => f16_bytes(values),
            Self::Bf16 => bf16_bytes(values),
        }
    }
}

/// A checkpoint with random values for every tensor the plan reads.
pub(crate) fn random_checkpoint(plan: &Plan, format: Format, seed: u64) -> Arc<Checkpoint> {
    let tensors: BTreeMap<&str, &[usize]> = plan
        .weights
        .iter()
        .map(|w| (w.tensor.as_str(), w.stored.as_slice()))
        .collect();
    let mut random = SplitMix64::new(seed);
    let name = format.dense_name();
    let values: Vec<(&str, &[usize], Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, shape)| {
            let fan_in = if shape.len() > 1 {
                *shape.last().unwrap()
            } else {
                4
            };
            let values = random.normals(shape.iter().product(), 1.0 / (fan_in as f32).sqrt());
            (name, shape, format.bytes(&values))
        })
        .collect();
    let tensors: Vec<TensorBytes<'_>> = values
        .iter()
        .map(|(tensor, shape, bytes)| (*tensor, name.as_str(), *shape, bytes.as_slice()))
        .collect();
    let dir = ScratchDir::new().unwrap();
    write_checkpoint(dir.path(), "{}", &tensors).unwrap();
    let files = ModelFiles::open(dir.path()).unwrap();
    let options = OpenOptions {
        mapping: Mapping::Copied,
    };
    let dense = Checkpoint::open_with(&files, options).unwrap();
    match format {
        Format::Packed(scheme) => packed_checkpoint(plan, &dense, scheme),
        Format::F32 | Format::F16 | Format::Bf16 => Arc::new(dense),
    }
}

/// The file of a checkpoint stored in f32 with every matrix packed. Tensors have the names that the plan calls them by.
pub(crate) fn packed_file(plan: &Plan, dense: &Checkpoint, scheme: PackedScheme) -> PackedFile {
    let packing = packing(plan);
    let tensor = |tensor: Tensor<'_>| match packing.get(tensor.name) {
        None => StoredTensor::dense(tensor.name, "F32", tensor.shape, tensor.bytes),
        Some(packing) => {
            let values = f32s(tensor.bytes);
            StoredTensor::packed(tensor.name, scheme, tensor.shape, packing.segment, &values)
        }
    };
    PackedFile::new(dense.tensors().map(tensor).collect())
}

/// The values of a tensor stored in f32.
pub(crate) fn f32s(bytes: &[u8]) -> Vec<f32> {
    let words = bytes.as_chunks::<4>().0.iter();
    words.copied().map(f32::from_le_bytes).collect()
}

/// [`packed_file`], opened.
pub(crate) fn packed_checkpoint(
    plan: &Plan,
    dense: &Checkpoint,
    scheme: PackedScheme,
) -> Arc<Checkpoint> {
    open_packed(&packed_file(plan, dense, scheme))
}

/// The checkpoint of a file in memory.
pub(crate) fn open_packed(file: &PackedFile) -> Arc<Checkpoint> {
    let dir = ScratchDir::new().unwrap();
    std::fs::write(dir.path().join("model.safetensors"), file.bytes()).unwrap();
    let files = ModelFiles::open(dir.path()).unwrap();
    let options = OpenOptions {
        mapping: Mapping::Copied,
    };
    Arc::new(Checkpoint::open_with(&files, options).unwrap())
}

pub(crate) fn backends() -> [&'static dyn Backend; 2] {
    [&Reference, &Cpu]
}

pub(crate) fn load(
    backend: &dyn Backend,
    plan: &Arc<Plan>,
    weights: &Arc<Checkpoint>,
    options: &LoadOptions,
) -> Box<dyn Runner> {
    backend
        .load(Arc::clone(plan), Arc::clone(weights), options)
        .unwrap()
}

/// Feeds `ids` in pieces of `piece` and returns every row's output.
pub(crate) fn feed(
    runner: &mut dyn Runner,
    sequence: SequenceId,
    ids: &[u32],
    piece: usize,
) -> Vec<f32> {
    let mut rows = Vec::new();
    for ids in ids.chunks(piece) {
        let entries = [Entry {
            sequence,
            ids,
            types: &[],
            outputs: OutputRows::All,
        }];
        rows.extend_from_slice(runner.run(&Batch { entries: &entries }).unwrap().rows);
    }
    rows
}

/// [`feed`] in a sequence of its own.
pub(crate) fn feed_alone(runner: &mut dyn Runner, ids: &[u32], piece: usize) -> Vec<f32> {
    let sequence = runner.open().unwrap();
    let rows = feed(runner, sequence, ids, piece);
    runner.close(sequence);
    rows
}

/// Pseudo-random ids below `vocab`.
pub(crate) fn some_ids(count: usize, vocab: usize, seed: u64) -> Vec<u32> {
    let mut random = SplitMix64::new(seed);
    (0..count)
        .map(|_| (random.next_u64() % vocab as u64) as u32)
        .collect()
}

/// Equality to the bit, with the first difference named.
#[track_caller]
pub(crate) fn assert_same_bits(what: &str, left: &[f32], right: &[f32]) {
    assert_eq!(left.len(), right.len(), "{what}: lengths");
    for (index, (l, r)) in left.iter().zip(right).enumerate() {
        assert_eq!(
            l.to_bits(),
            r.to_bits(),
            "{what}: value {index}: {l} and {r}"
        );
    }
}

/// Of two vectors, in f64.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b);
        products.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
