//! What comes out of a checkpoint that is right.

use std::borrow::Cow;

use lattice_inference::checkpoint::{Checkpoint, Dtype, Form, LoadError, Renamed, Wanted};
use proptest::prelude::*;

use crate::{open, safetensors, says};

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn one(name: &str, shape: &[u64], values: &[f32]) -> Checkpoint {
    open(safetensors(&[(name, "F32", shape, &bytes_of(values))])).expect("it is right")
}

#[test]
fn tensors_come_out_as_they_were_stored() {
    let checkpoint = open(safetensors(&[
        (
            "w",
            "BF16",
            &[2, 2],
            &[0x80, 0x3f, 0, 0x40, 0x40, 0x40, 0x80, 0x40],
        ),
        ("a", "F16", &[1], &[0, 0x3c]),
        ("i", "I64", &[1], &[0; 8]),
    ]))
    .expect("it is right");
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "i", "w"]);
    let w = checkpoint.tensor("w").expect("it is there");
    assert_eq!(
        (w.form, w.shape, w.count()),
        (Form::Dense(Dtype::BF16), &[2, 2][..], 4)
    );
    assert_eq!(w.file, "model.safetensors");
    assert_eq!(w.bytes, [0x80, 0x3f, 0, 0x40, 0x40, 0x40, 0x80, 0x40]);
    assert_eq!(checkpoint.weight_bytes(), 18);
    assert!(checkpoint.tensor("x").is_none());
    assert!(matches!(
        checkpoint.require("i", &[1]),
        Err(LoadError::Dtype { .. })
    ));
}

#[test]
fn single_numbers_and_empty_tensors_are_tensors() {
    let checkpoint = open(safetensors(&[
        ("empty", "F32", &[0, 3], &[]),
        ("scale", "F32", &[], &1.5f32.to_le_bytes()),
        ("void", "F32", &[0], &[]),
    ]))
    .expect("it is right");
    let scale = checkpoint.require("scale", &[]).expect("a single number");
    assert_eq!(scale.count(), 1);
    assert_eq!(
        checkpoint
            .require("empty", &[0, 3])
            .expect("an empty one")
            .count(),
        0
    );
    assert_eq!(checkpoint.aligned("void").expect("it is there").len(), 0);
}

#[test]
fn every_known_dtype_is_listed() {
    for (name, bytes) in [
        ("F64", 8),
        ("C64", 8),
        ("BOOL", 1),
        ("F8_E4M3", 1),
        ("U16", 2),
    ] {
        let checkpoint = open(safetensors(&[("t", name, &[1], &vec![0; bytes])]));
        let checkpoint = checkpoint.expect("the format has it");
        let tensor = checkpoint.tensor("t").expect("it is there");
        assert_eq!(tensor.form.to_string(), name);
        assert_eq!(Dtype::from_name(name), tensor.form.dtype());
    }
    let nibbles = open(safetensors(&[("t", "F4", &[4], &[0; 2])])).expect("two in a byte");
    assert_eq!(nibbles.tensor("t").expect("it is there").count(), 4);
}

#[test]
fn a_tensor_at_an_odd_address_is_copied_once_and_never_cast() {
    let values = [1.0f32, -2.0, 3.5];
    let (mut aligned, mut copied) = (0, 0);
    // Names of 1 to 4 letters shift the data section through every remainder.
    for name in ["a", "ab", "abc", "abcd"] {
        let checkpoint = one(name, &[3], &values);
        let tensor = checkpoint.tensor(name).expect("it is there");
        let held = checkpoint.aligned(name).expect("it is there");
        assert_eq!(bytemuck::cast_slice::<u8, f32>(&held), values);
        assert_eq!(tensor.as_f32().is_some(), tensor.is_aligned());
        assert_eq!(held.is_copy(), !tensor.is_aligned());
        assert_eq!((tensor.as_bf16(), tensor.as_f16()), (None, None));
        if held.is_copy() {
            copied += 1
        } else {
            aligned += 1
        }
    }
    assert_eq!((aligned, copied), (1, 3));
}

#[test]
fn aligned_bytes_outlive_the_checkpoint() {
    let held = one("abc", &[2], &[1.0, 2.0])
        .aligned("abc")
        .expect("it is there");
    assert_eq!(bytemuck::cast_slice::<u8, f32>(&held), [1.0, 2.0]);
}

#[test]
fn what_is_not_finite_is_counted_and_found() {
    let mut values = vec![0.5f32; 10_000];
    assert_eq!(
        one("w", &[10_000], &values)
            .tensor("w")
            .and_then(|w| w.non_finite()),
        None
    );
    (values[5000], values[5001], values[9999]) = (f32::NAN, f32::NEG_INFINITY, f32::INFINITY);
    let checkpoint = one("w", &[10_000], &values);
    let error = checkpoint
        .check_finite("w")
        .expect_err("there are three")
        .to_string();
    says(
        &error,
        &[
            "model.safetensors",
            "tensor w",
            "3 values",
            "first at index 5000",
        ],
    );
}

proptest! {
    /// The count over exponent bits is the count over numbers, in every type.
    #[test]
    fn non_finite_agrees_with_the_numbers(bits in prop::collection::vec(any::<u32>(), 1..300)) {
        let halves: Vec<u16> = bits.iter().map(|bits| (bits >> 16) as u16).collect();
        let wide: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        let narrow: Vec<u8> = halves.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        let shape = [bits.len() as u64];
        let checkpoint = open(safetensors(&[
            ("f32", "F32", &shape, &wide),
            ("f16", "F16", &shape, &narrow),
            ("bf16", "BF16", &shape, &narrow),
        ])).expect("it is right");
        let expected = |bad: Vec<bool>| {
            let first = bad.iter().position(|bad| *bad)?;
            Some((bad.iter().filter(|bad| **bad).count(), first))
        };
        let f32s = bits.iter().map(|bits| !f32::from_bits(*bits).is_finite()).collect();
        let f16s = halves.iter().map(|bits| !half::f16::from_bits(*bits).is_finite()).collect();
        let bf16s = halves.iter().map(|bits| !half::bf16::from_bits(*bits).is_finite()).collect();
        for (name, bad) in [("f32", f32s), ("f16", f16s), ("bf16", bf16s)] {
            let found = checkpoint.tensor(name).expect("it is there").non_finite();
            prop_assert_eq!(found, expected(bad), "{}", name);
        }
    }
}

fn small() -> Checkpoint {
    open(safetensors(&[
        (
            "model.layers.0.mlp.up_proj.weight",
            "BF16",
            &[4, 2],
            &[0; 16],
        ),
        ("model.norm.weight", "BF16", &[2], &[0; 4]),
        ("model.visual.patch.weight", "F16", &[1], &[0; 2]),
    ]))
    .expect("it is right")
}

#[test]
fn renaming_keeps_bytes_and_lists_what_was_left_out() {
    let checkpoint = small().rename(|name| match name.strip_prefix("model.") {
        Some(rest) if rest.starts_with("visual.") => Renamed::Ignore("no images here"),
        Some(rest) => Renamed::Keep(Cow::Borrowed(rest)),
        None => Renamed::Keep(Cow::Borrowed(name)),
    });
    let checkpoint = checkpoint.expect("no two fall on one name");
    let names: Vec<&str> = checkpoint.names().collect();
    assert_eq!(names, ["layers.0.mlp.up_proj.weight", "norm.weight"]);
    let ignored = ("model.visual.patch.weight".to_owned(), "no images here");
    assert_eq!(checkpoint.ignored(), [ignored]);
    assert_eq!(checkpoint.weight_bytes(), 20);
}

#[test]
fn two_tensors_on_one_name_are_refused() {
    let error = small().rename(|_| Renamed::Keep(Cow::Borrowed("same")));
    let error = error.expect_err("three fall on one name").to_string();
    says(
        &error,
        &[
            "same",
            "model.layers.0.mlp.up_proj.weight",
            "model.norm.weight",
        ],
    );
}

#[test]
fn what_does_not_fit_is_listed_tensor_by_tensor() {
    let checkpoint = small();
    let wanted = |name: &str, shape: &[usize]| Wanted {
        tensor: name.to_owned(),
        shape: shape.to_vec(),
        segment: None,
    };
    let error = checkpoint.check(&[
        wanted("model.layers.0.mlp.up_proj.weight", &[2, 4]),
        wanted("model.norm.weight", &[2]),
        wanted("model.layers.1.mlp.up_proj.weight", &[4, 2]),
    ]);
    let error = error.expect_err("two do not fit").to_string();
    says(&error, &["2 tensors", "shape [4, 2], expected [2, 4]"]);
    says(
        &error,
        &["layers.1.mlp.up_proj.weight is missing; there is model.layers.0.mlp.up_proj"],
    );
    let surplus = checkpoint
        .check(&[wanted("model.norm.weight", &[2])])
        .expect("it fits");
    assert_eq!(
        surplus,
        [
            "model.layers.0.mlp.up_proj.weight",
            "model.visual.patch.weight"
        ]
    );
}

#[test]
fn a_long_list_is_cut_and_says_so() {
    let wanted = |i: usize| Wanted {
        tensor: format!("layer.{i}"),
        shape: vec![1],
        segment: None,
    };
    let wanted: Vec<Wanted> = (0..50).map(wanted).collect();
    let error = small()
        .check(&wanted)
        .expect_err("none is there")
        .to_string();
    says(&error, &["50 tensors", "layer.0 is missing", "and 30 more"]);
}
