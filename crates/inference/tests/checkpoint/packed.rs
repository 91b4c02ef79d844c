//! Packed tensors: what a right file gives, and that a wrong one is refused by name.

use std::sync::LazyLock;

use lattice_inference::checkpoint::{
    Checkpoint, Form, LoadError, Mapping, ModelFiles, OpenOptions, Renamed, Wanted,
};
use lattice_kernels::{PackedScheme, PackedShape};
use lattice_testkit::{PackedFile, SplitMix64, StoredTensor};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::{Folder, open, refusal, says};

/// Rows, columns and segment of the packed tensor.
const SHAPE: (usize, usize, usize) = (20, 70, 10);

fn right() -> PackedFile {
    let (rows, columns, segment) = SHAPE;
    let values = SplitMix64::new(1).normals(rows * columns, 1.0);
    PackedFile::new(vec![
        StoredTensor::packed("w", PackedScheme::Q8, &[2, 10, columns], segment, &values),
        StoredTensor::dense("norm", "F32", &[2], &[0, 0, 128, 63, 0, 0, 0, 64]),
        StoredTensor::dense("odd", "U8", &[3], &[1, 2, 3]),
    ])
}

fn shape() -> PackedShape {
    let (rows, columns, segment) = SHAPE;
    PackedShape::new(PackedScheme::Q8, rows, columns, segment).expect("the shape is plain")
}

/// The words with which the file is refused after a change to it.
fn refused(change: impl Fn(&mut PackedFile)) -> String {
    let mut file = right();
    change(&mut file);
    refusal(file.bytes())
}

/// The file with another entry for the packed tensor.
fn entry(text: &str) -> String {
    refused(|file| {
        let key = "lattice.packed/w".to_owned();
        file.metadata.insert(key, text.to_owned());
    })
}

fn sums(checkpoint: &Checkpoint) -> Result<(), LoadError> {
    let names: Vec<&str> = checkpoint.names().collect();
    names
        .into_iter()
        .try_for_each(|name| checkpoint.check_sum(name))
}

#[test]
fn a_packed_tensor_has_its_own_shape_and_form() {
    let checkpoint = open(right().bytes()).expect("the file is right");
    let w = checkpoint
        .require("w", &[2, 10, 70])
        .expect("the shape of the matrices");
    assert_eq!(w.form, Form::Packed(shape()));
    assert_eq!(
        (w.form.to_string(), w.form.dtype()),
        ("q8".to_owned(), None)
    );
    assert_eq!((w.count(), w.bytes.len()), (1400, 8192));
    assert!(checkpoint.has_checksums());
    sums(&checkpoint).expect("nothing has changed");
    let error = checkpoint
        .require("w", &[20, 70])
        .expect_err("another shape")
        .to_string();
    says(
        &error,
        &["tensor w", "shape [2, 10, 70], expected [20, 70]"],
    );
    let error = checkpoint
        .require("odd", &[3])
        .expect_err("no weight")
        .to_string();
    says(&error, &["tensor odd", "stored as U8"]);
}

#[test]
fn renaming_takes_the_form_along() {
    let checkpoint = open(right().bytes()).expect("the file is right");
    let renamed = checkpoint.rename(|name| match name {
        "w" => Renamed::Keep("matrix".into()),
        other => Renamed::Keep(other.to_owned().into()),
    });
    let renamed = renamed.expect("no name twice");
    let matrix = renamed.tensor("matrix").expect("it is there");
    assert_eq!(matrix.form, Form::Packed(shape()));
    assert_eq!(renamed.original("matrix"), Some("w"));
    sums(&renamed).expect("nothing has changed");
}

#[test]
fn the_bytes_are_used_where_a_file_has_them_and_copied_from_an_odd_address() {
    let folder = Folder::new();
    folder.write("model.safetensors", right().bytes());
    for mapping in [Mapping::Mapped, Mapping::Copied] {
        let checkpoint = Checkpoint::open_with(&folder.files(), OpenOptions { mapping })
            .expect("the file is right");
        assert!(
            checkpoint
                .tensor("w")
                .is_some_and(|w| w.as_packed().is_some())
        );
        assert!(!checkpoint.aligned("w").expect("it is there").is_copy());
    }
    // A program's own bytes lie anywhere; here one beyond a multiple of 64.
    let bytes = right().bytes();
    let room: &'static mut [u8] = vec![0; bytes.len() + 128].leak();
    let start = room.as_ptr().align_offset(64) + 1;
    room[start..][..bytes.len()].copy_from_slice(&bytes);
    let bytes: &'static [u8] = &room[start..][..bytes.len()];
    let files: &'static [(&str, &[u8])] = vec![("model.safetensors", bytes)].leak();
    let checkpoint = Checkpoint::open(&ModelFiles::embedded("test", files)).expect("it is right");
    let w = checkpoint.tensor("w").expect("it is there");
    assert!(w.as_packed().is_none());
    let held = checkpoint.aligned("w").expect("it is there");
    assert!(held.is_copy() && held.as_ptr().addr().is_multiple_of(64));
    assert_eq!(&held[..], w.bytes);
}

#[test]
fn metadata_that_breaks_a_rule_is_refused_by_name() {
    let version = refused(|file| {
        file.metadata
            .insert("lattice.packed".to_owned(), "2".to_owned());
    });
    says(
        &version,
        &["model.safetensors", "version \"2\"", "reads \"1\""],
    );
    let none = refused(|file| {
        file.metadata.remove("lattice.packed");
    });
    says(&none, &["lattice.packed/w", "no \"lattice.packed\""]);
    let stranger = refused(|file| {
        file.metadata
            .insert("lattice.packed/v".to_owned(), "{}".to_owned());
    });
    says(
        &stranger,
        &["\"lattice.packed/v\" names a tensor that is not there"],
    );
    let no_sum = refused(|file| {
        file.metadata.remove("lattice.xxh3/norm");
    });
    says(&no_sum, &["tensor norm", "no \"lattice.xxh3\""]);
    for digits in [
        "",
        "123",
        "2D06800538D394C2",
        "+d06800538d394c2",
        "2d06800538d394c2 ",
    ] {
        let bad = refused(|file| {
            file.metadata
                .insert("lattice.xxh3/norm".to_owned(), digits.to_owned());
        });
        says(&bad, &["tensor norm", "not 16 lower-case hex digits"]);
    }
    let unpacked = refused(|file| {
        file.metadata.remove("lattice.packed/w");
        file.metadata.insert(
            "lattice.packed/norm".to_owned(),
            right().metadata["lattice.packed/w"].clone(),
        );
    });
    says(&unpacked, &["tensor norm", "stored as F32 [2]"]);
}

#[test]
fn an_entry_that_does_not_fit_its_tensor_is_refused_by_name() {
    let rows: [(&str, &[&str]); 10] = [
        ("", &["entry is broken"]),
        (
            r#"{"scheme":"q8","shape":[2,10,70]}"#,
            &["missing field `segment`"],
        ),
        (
            r#"{"scheme":"q8","shape":[2,10,70],"segment":10,"x":1}"#,
            &["unknown field `x`"],
        ),
        (
            r#"{"scheme":"q8","scheme":"q8","shape":[20,70],"segment":10}"#,
            &["duplicate field"],
        ),
        (
            r#"{"scheme":"q3","shape":[2,10,70],"segment":10}"#,
            &["\"q3\"", "expected q8"],
        ),
        (
            r#"{"scheme":"q8","shape":[1400],"segment":10}"#,
            &["[1400] is no shape of matrices"],
        ),
        (
            r#"{"scheme":"q8","shape":[2,10,70],"segment":0}"#,
            &["no whole segments of 0"],
        ),
        (
            r#"{"scheme":"q8","shape":[2,10,70],"segment":3}"#,
            &["no whole segments of 3"],
        ),
        (
            r#"{"scheme":"q8","shape":[200,70],"segment":200}"#,
            &["takes", "it has 8192"],
        ),
        (
            r#"{"scheme":"q8","shape":[18446744073709551615,2,2],"segment":1}"#,
            &["overflows"],
        ),
    ];
    for (text, words) in rows {
        let error = entry(text);
        says(&error, &["model.safetensors: tensor w: packed:"]);
        says(&error, words);
    }
}

#[test]
fn a_packed_tensor_is_refused_where_values_or_other_parts_are_read() {
    let checkpoint = open(right().bytes()).expect("the file is right");
    let check = |segment| {
        checkpoint.check(&[Wanted {
            tensor: "w".to_owned(),
            shape: vec![2, 10, 70],
            segment,
        }])
    };
    assert_eq!(check(Some(20)).expect("whole segments"), ["norm", "odd"]);
    let error = check(None).expect_err("a vector").to_string();
    says(&error, &["tensor w", "packed as q8", "value by value"]);
    let error = check(Some(5)).expect_err("half a segment").to_string();
    says(&error, &["tensor w", "segments of 10 rows", "parts of 5"]);
}

/// Bytes of the file's data section that belong to something else each: a scale, a value, what fills the packed tensor up,
/// a dense one.
fn regions() -> [(&'static str, usize); 5] {
    let (scales, bytes) = (shape().scales_bytes(), shape().bytes());
    [
        ("w", 0),
        ("w", scales + 1),
        ("w", bytes),
        ("w", 8191),
        ("norm", 8192 + 3),
    ]
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let file = right();
    let data = 8 + file.header().len();
    for (tensor, at) in regions() {
        for bit in 0..8 {
            let mut bytes = file.bytes();
            bytes[data + at] ^= 1 << bit;
            let checkpoint = open(bytes).expect("the header is right");
            let error = sums(&checkpoint).expect_err("a bit has changed");
            assert!(matches!(error, LoadError::Checksum { .. }), "{error}");
            says(
                &error.to_string(),
                &["model.safetensors", &format!("tensor {tensor}")],
            );
        }
    }
}

/// A directory with lattice.json, changed by `change`, beside the bytes.
fn with_manifest(bytes: &[u8], change: impl Fn(&mut serde_json::Value)) -> Result<(), LoadError> {
    static SHA256: LazyLock<String> = LazyLock::new(|| {
        let file = right();
        let head = &file.bytes()[..8 + file.header().len()];
        Sha256::digest(head)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    });
    let mut manifest = serde_json::json!({
        "format": "lattice-packed", "version": 1, "header_sha256": *SHA256, "measured": null,
    });
    change(&mut manifest);
    let folder = Folder::new();
    folder.write("model.safetensors", bytes);
    folder.write("lattice.json", manifest.to_string());
    Checkpoint::open(&folder.files()).map(drop)
}

#[test]
fn the_manifest_vouches_for_the_header() {
    let file = right();
    with_manifest(&file.bytes(), |_| {}).expect("the header is the one written");
    for at in [0, 7, 8, 20, 100, 7 + file.header().len()] {
        let mut bytes = file.bytes();
        bytes[at] ^= 1;
        let error = with_manifest(&bytes, |_| {}).expect_err("a bit of the header has changed");
        assert!(matches!(error, LoadError::HeaderChecksum { .. }), "{error}");
    }
    let refused = |key: &str, value: serde_json::Value| {
        let error = with_manifest(&file.bytes(), |manifest| manifest[key] = value.clone());
        error.expect_err("the manifest is wrong").to_string()
    };
    says(
        &refused("version", 2.into()),
        &["lattice.json: version: expected 1, found 2"],
    );
    says(
        &refused("format", "other".into()),
        &["lattice.json: format"],
    );
    says(
        &refused("header_sha256", 7.into()),
        &["lattice.json: header_sha256"],
    );
    says(
        &refused("header_sha256", "00".into()),
        &["its header has changed"],
    );
}

#[test]
fn a_scale_that_is_no_number_is_found_without_the_values() {
    let mut file = right();
    // Infinity in half precision, for the third row of the second segment.
    let at = shape().segment_bytes() + 2 * 2;
    file.tensors[0].bytes[at..at + 2].copy_from_slice(&[0x00, 0x7c]);
    file.sum();
    let checkpoint = open(file.bytes()).expect("the header is right");
    sums(&checkpoint).expect("the checksum is of these bytes");
    let error = checkpoint
        .check_finite("w")
        .expect_err("a scale is infinite")
        .to_string();
    says(&error, &["tensor w", "1 scales", "row 12"]);
}

proptest! {
    #[test]
    fn no_entry_panics(text in "\\{?(\"(scheme|shape|segment)\"[:,]|\"q8\"|[0-9]{1,20}|[\\[\\]{}:,.e-]|null){0,12}\\}?") {
        let mut file = right();
        file.metadata.insert("lattice.packed/w".to_owned(), text);
        let _ = open(file.bytes());
    }

    #[test]
    fn no_shape_panics(shape in prop::collection::vec(any::<u64>(), 0..9), segment in any::<u64>()) {
        let mut file = right();
        let text = format!(r#"{{"scheme":"q8","shape":{shape:?},"segment":{segment}}}"#);
        file.metadata.insert("lattice.packed/w".to_owned(), text);
        prop_assert!(open(file.bytes()).is_err());
    }

    /// Whatever byte is changed: the file is refused, a checksum is wrong, or only its names are others.
    #[test]
    fn a_changed_file_is_refused_or_sound(place in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = right().bytes();
        let place = place.index(bytes.len());
        bytes[place] = value;
        if let Ok(checkpoint) = open(bytes) {
            let _ = sums(&checkpoint);
            for tensor in checkpoint.tensors() {
                prop_assert_eq!(tensor.shape.iter().product::<usize>(), tensor.count());
                let _ = checkpoint.check_finite(tensor.name);
            }
        }
    }
}
