//! Packed weights that own their bytes, and what the tests do with them.

use super::*;

/// The instruction sets for integers, each with one thread and three, the definition first.
pub(crate) fn int_cpus() -> Vec<Cpu> {
    if !IntIsa::AmxInt8.is_available() {
        eprintln!("skipped: this machine has no {}", IntIsa::AmxInt8);
    }
    let pairs = IntIsa::available()
        .into_iter()
        .flat_map(|isa| [(isa, 1), (isa, 3)]);
    pairs
        .map(|(isa, threads)| fast(threads).with_int_isa(isa).expect("an available one"))
        .collect()
}

/// Bytes that begin on a multiple of 64.
pub(crate) struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(crate) fn new(len: usize) -> Aligned {
        let memory = vec![0xa5; len + 64];
        let start = memory.as_ptr().align_offset(64);
        Aligned { memory, start, len }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

pub(crate) struct Owned {
    pub(crate) memory: Aligned,
    pub(crate) shape: PackedShape,
}

impl Owned {
    pub(crate) fn new(scheme: PackedScheme, weights: &[f32], rows: usize, columns: usize) -> Owned {
        Owned::segmented(scheme, weights, rows, columns, rows)
    }

    pub(crate) fn segmented(
        scheme: PackedScheme,
        weights: &[f32],
        rows: usize,
        columns: usize,
        segment: usize,
    ) -> Owned {
        let shape = PackedShape::new(scheme, rows, columns, segment).expect("a shape");
        let mut memory = Aligned::new(shape.bytes());
        pack(weights, shape, memory.bytes_mut()).expect("finite weights");
        Owned { memory, shape }
    }

    pub(crate) fn random(scheme: PackedScheme, seed: u64, rows: usize, columns: usize) -> Owned {
        Owned::new(scheme, &values(seed, rows * columns), rows, columns)
    }

    pub(crate) fn view(&self) -> Packed<'_> {
        Packed::new(self.memory.bytes(), self.shape).expect("as packed")
    }

    pub(crate) fn unpacked(&self) -> Vec<f32> {
        unpacked(self.view())
    }

    pub(crate) fn linear(&self, cpu: &Cpu, bias: Option<&[f32]>, x: &[f32]) -> Vec<f32> {
        linear_of(cpu, self.view(), bias, x)
    }
}

pub(crate) fn unpacked(weight: Packed<'_>) -> Vec<f32> {
    let mut out = vec![f32::NAN; weight.rows() * weight.columns()];
    unpack(weight, &mut out);
    out
}

pub(crate) fn linear_of(
    cpu: &Cpu,
    weight: Packed<'_>,
    bias: Option<&[f32]>,
    x: &[f32],
) -> Vec<f32> {
    let rows = x.len() / weight.columns();
    let mut out = vec![f32::NAN; rows * weight.rows()];
    linear_packed(cpu, weight, bias, x, &mut out);
    out
}

/// Our own schemes, and of the grouped ones each kind of bits, columns and minima.
pub(crate) const SCHEMES: [PackedScheme; 9] = [
    PackedScheme::OWN[0],
    PackedScheme::OWN[1],
    PackedScheme::OWN[2],
    grouped(GroupBits::Eight, GroupColumns::Of16, false),
    grouped(GroupBits::Four, GroupColumns::Of16, true),
    grouped(GroupBits::Eight, GroupColumns::Of32, false),
    grouped(GroupBits::Eight, GroupColumns::Of128, true),
    grouped(GroupBits::Four, GroupColumns::Of64, true),
    grouped(GroupBits::Four, GroupColumns::Of32, false),
];

pub(crate) const fn grouped(bits: GroupBits, group: GroupColumns, minimum: bool) -> PackedScheme {
    PackedScheme::Grouped {
        bits,
        group,
        minimum,
    }
}

/// Each scheme with each of `items`.
pub(crate) fn with_schemes<T: Copy>(items: &[T]) -> Vec<(PackedScheme, T)> {
    let pairs = SCHEMES.into_iter();
    pairs
        .flat_map(|scheme| items.iter().map(move |&item| (scheme, item)))
        .collect()
}
