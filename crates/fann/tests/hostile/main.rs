//! Files that lie: no file may panic, hang or take the memory away.
#![cfg(feature = "safetensors")]

mod targets;

use std::path::Path;

use lattice_fann::file::{
    FileError, bytes_from_int8, bytes_from_network, fann_text_from_network, int8_from_bytes,
    network_from_bytes, safetensors_from_network,
};
use lattice_fann::{Activation, Error, Int8Network, Network, NetworkBuilder};
use proptest::prelude::*;
use targets::every_reader;
use twox_hash::XxHash3_64;

fn network() -> Network {
    let builder = NetworkBuilder::new(3)
        .layer(4, Activation::Tanh)
        .layer(2, Activation::Sigmoid);
    builder.seed(1).build().expect("a right shape")
}

fn int8() -> Int8Network {
    Int8Network::from_network(&network()).expect("finite")
}

/// A right file of each format.
fn files() -> [Vec<u8>; 4] {
    let text = fann_text_from_network(&network()).expect("it has both activations");
    [
        bytes_from_network(&network()),
        bytes_from_int8(&int8()),
        safetensors_from_network(&network()).expect("finite"),
        text.into_bytes(),
    ]
}

#[test]
fn the_corpus_of_the_fuzzer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/fann");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut count = 0;
    for file in files {
        let path = file.expect("a readable folder").path();
        let data = std::fs::read(&path).expect("a readable file");
        let read = std::panic::catch_unwind(|| every_reader(&data));
        assert!(read.is_ok(), "{} panics", path.display());
        count += 1;
    }
    assert!(count > 0, "{} has no inputs", folder.display());
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let [f32, bytes, ..] = files();
    for end in 0..f32.len() {
        let found = network_from_bytes(&f32[..end]).expect_err("it is cut");
        let said = matches!(found, FileError::Format { .. } | FileError::Length { .. });
        assert!(said, "{end} bytes: {found}");
    }
    for end in 0..bytes.len() {
        int8_from_bytes(&bytes[..end]).expect_err("it is cut");
    }
    let longer = [&f32[..], &[0]].concat();
    let found = network_from_bytes(&longer);
    assert!(matches!(found, Err(FileError::Length { .. })));
    for file in files() {
        (0..file.len()).for_each(|end| every_reader(&file[..end]));
    }
}

#[test]
fn a_flipped_bit_is_refused() {
    let [f32, bytes, ..] = files();
    for bit in 0..f32.len() * 8 {
        let mut file = f32.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        network_from_bytes(&file).expect_err("a bit is flipped");
        every_reader(&file);
    }
    for bit in 0..bytes.len() * 8 {
        let mut file = bytes.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        int8_from_bytes(&file).expect_err("a bit is flipped");
        every_reader(&file);
    }
}

/// The f32 file with four bytes replaced and the checksum made right.
fn lie(at: usize, bytes: [u8; 4]) -> Result<Network, FileError> {
    let [mut file, ..] = files();
    file[at..at + 4].copy_from_slice(&bytes);
    let end = file.len() - 8;
    let sum = XxHash3_64::oneshot(&file[..end]);
    file[end..].copy_from_slice(&sum.to_le_bytes());
    network_from_bytes(&file)
}

#[test]
fn lies_are_called_by_their_name() {
    let number = |at, value: u32| lie(at, value.to_le_bytes());
    let version = FileError::Version { found: 2, known: 1 };
    assert_eq!(number(8, 2), Err(version));
    let field = |found: Result<Network, FileError>, name: &str, byte: usize| {
        let said = matches!(&found, Err(FileError::Field { field, at, .. }) if *field == name && *at == byte);
        assert!(said, "{found:?}");
    };
    field(number(12, 1), "kind", 12);
    field(number(28, 7), "activation", 28);
    field(number(32, 1), "slope", 32);
    let none = Err(FileError::Network(Error::NoLayers));
    assert_eq!(number(20, 0), none);
    for huge in [257, u32::MAX] {
        let found = number(20, huge);
        assert!(matches!(
            found,
            Err(FileError::Network(Error::TooMany { .. }))
        ));
    }
    let zero = Err(FileError::Network(Error::ZeroWidth { layer: 0 }));
    assert_eq!(number(16, 0), zero);
    for (at, value) in [(16, 4), (16, 1 << 20), (24, 5), (20, 1)] {
        let found = number(at, value);
        assert!(matches!(found, Err(FileError::Length { .. })), "{found:?}");
    }
    let found = number(24, u32::MAX);
    assert!(matches!(
        found,
        Err(FileError::Network(Error::TooMany { .. }))
    ));
    let found = lie(60, f32::NAN.to_le_bytes());
    let nan = Error::NotFinite {
        what: "parameter",
        index: 3,
    };
    assert_eq!(found, Err(FileError::Network(nan)));
    assert!(matches!(
        network_from_bytes(b"hello"),
        Err(FileError::Format { .. })
    ));
    let found = int8_from_bytes(&files()[0]);
    assert!(matches!(found, Err(FileError::Field { field: "kind", .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn changed_files(
        which in 0usize..4,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0u8..3), 1..6),
    ) {
        let mut file = files()[which].clone();
        for (at, byte, how) in changes {
            let at = at.index(file.len());
            match how {
                0 => file[at] = byte,
                1 => file.insert(at, byte),
                _ => drop(file.remove(at)),
            }
        }
        every_reader(&file);
    }

    #[test]
    fn any_bytes(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        every_reader(&data);
    }
}
