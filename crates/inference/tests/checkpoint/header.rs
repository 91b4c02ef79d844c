//! The rules of the safetensors header.

use lattice_inference::checkpoint::{Checkpoint, Dtype, LoadError};
use proptest::prelude::*;

use crate::{Folder, file, open, refusal, safetensors, says};

#[test]
fn a_file_without_a_whole_header_is_refused() {
    for bytes in [0, 7] {
        says(
            &refusal(vec![0; bytes]),
            &["model.safetensors", "header truncated"],
        );
    }
    says(&refusal(vec![0; 8]), &["header truncated", "length is 0"]);
    says(&refusal(vec![0; 80]), &["header truncated", "length is 0"]);
}

#[test]
fn a_header_length_that_lies_is_refused() {
    for length in [1 << 63, u64::MAX, 100_000_001] {
        let mut bytes = file("{}", &[]);
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        says(&refusal(bytes), &[&length.to_string(), "at most 100000000"]);
    }
    let mut bytes = file("{}", &[]);
    let length = bytes.len() as u64;
    bytes[..8].copy_from_slice(&length.to_le_bytes());
    says(&refusal(bytes), &["header truncated", "10 bytes"]);
}

#[test]
fn a_header_over_the_limit_is_refused_though_the_file_has_it() {
    let folder = Folder::new();
    let path = folder.write("model.safetensors", 150_000_000u64.to_le_bytes());
    let file = std::fs::File::options()
        .write(true)
        .open(path)
        .expect("it was just written");
    file.set_len(200_000_000)
        .expect("a file with a hole can be made");
    let error = Checkpoint::open(&folder.files())
        .expect_err("must be refused")
        .to_string();
    says(&error, &["header of 150000000 bytes, at most 100000000"]);
}

#[test]
fn a_cut_data_section_names_the_first_tensor_that_does_not_fit() {
    let bytes = vec![1u8; 10_000];
    let names = ["a", "b", "c", "d"];
    let whole = safetensors(&names.map(|name| (name, "U8", &[10_000][..], &bytes[..])));
    let data = whole.len() - 40_000;
    for cut in (4096..whole.len()).step_by(4096) {
        let error = open(whole[..cut].to_vec()).expect_err("must be refused");
        let LoadError::Truncated {
            tensor,
            end,
            file_bytes,
            ..
        } = error
        else {
            panic!("{error}");
        };
        let hit = (cut - data) / 10_000;
        assert_eq!(tensor, names[hit]);
        assert_eq!(end as usize, data + (hit + 1) * 10_000);
        assert_eq!(file_bytes as usize, cut);
    }
}

#[test]
fn data_that_is_not_tiled_is_refused() {
    let two = |a: &str, b: &str| {
        format!(
            r#"{{"a":{{"dtype":"U8","shape":[4],"data_offsets":{a}}},
               "b":{{"dtype":"U8","shape":[4],"data_offsets":{b}}}}}"#
        )
    };
    says(
        &refusal(file(two("[0,4]", "[3,7]"), &[0; 7])),
        &["tensor b", "overlaps a by 1 bytes"],
    );
    says(
        &refusal(file(two("[3,7]", "[0,4]"), &[0; 7])),
        &["tensor a", "overlaps b by 1 bytes"],
    );
    says(
        &refusal(file(two("[0,4]", "[5,9]"), &[0; 9])),
        &["tensor b", "1 bytes before it"],
    );
    says(
        &refusal(file(two("[1,5]", "[5,9]"), &[0; 9])),
        &["tensor a", "1 bytes before it"],
    );
    says(
        &refusal(file(two("[0,4]", "[4,8]"), &[0; 9])),
        &["1 bytes behind the last tensor"],
    );
    says(
        &refusal(file(two("[0,4]", "[8,4]"), &[0; 8])),
        &["tensor b", "begin at 8 and end at 4"],
    );
    says(
        &refusal(file(two("[0,4]", "[4,9]"), &[0; 9])),
        &["tensor b", "takes 4 bytes", "span 5"],
    );
    let far = format!("[4,{}]", u64::MAX);
    says(
        &refusal(file(two("[0,4]", &far), &[0; 8])),
        &["tensor b", "span"],
    );
}

#[test]
fn a_tensor_far_behind_the_end_does_not_overflow() {
    let huge = (1u64 << 60) + 8;
    let header = format!(
        r#"{{"a":{{"dtype":"U8","shape":[{huge}],"data_offsets":[{},{}]}}}}"#,
        u64::MAX - huge,
        u64::MAX
    );
    says(
        &refusal(file(header, &[0; 8])),
        &["tensor a ends at byte", "file has"],
    );
}

#[test]
fn a_shape_that_is_none_is_refused() {
    let shaped = |shape: &str| {
        file(
            format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,0]}}}}"#),
            &[],
        )
    };
    says(
        &refusal(shaped("[4294967296,4294967296]")),
        &["tensor a", "overflows"],
    );
    says(&refusal(shaped("[-1]")), &["tensor a", "-1"]);
    says(&refusal(shaped("[1.0]")), &["tensor a", "floating point"]);
    says(&refusal(shaped("[\"1\"]")), &["tensor a", "string"]);
    says(&refusal(shaped("[1e2]")), &["tensor a", "floating point"]);
    says(&refusal(shaped("4")), &["tensor a", "integer `4`"]);
    says(
        &refusal(shaped("[0,0,0,0,0,0,0,0,0]")),
        &["tensor a", "at most 8 dimensions"],
    );
    says(&refusal(shaped("null")), &["tensor a", "null"]);
}

#[test]
fn a_half_byte_of_data_is_refused() {
    let header = r#"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}"#;
    says(
        &refusal(file(header, &[0; 2])),
        &["tensor a", "not whole bytes"],
    );
}

#[test]
fn an_unknown_dtype_is_refused() {
    for dtype in ["F31", "f32", "", "BF16 "] {
        let header = format!(r#"{{"a":{{"dtype":"{dtype}","shape":[],"data_offsets":[0,4]}}}}"#);
        says(
            &refusal(file(header, &[0; 4])),
            &["tensor a", "unknown dtype", dtype],
        );
    }
}

#[test]
fn keys_that_stand_twice_are_refused() {
    let info = r#"{"dtype":"U8","shape":[],"data_offsets":[0,1]}"#;
    let twice = |header: String, words: &[&str]| says(&refusal(file(header, &[0])), words);
    twice(
        format!(r#"{{"a":{info},"a":{info}}}"#),
        &["tensor a", "stands twice"],
    );
    let metadata = r#""__metadata__":{"format":"pt"}"#;
    twice(
        format!(r#"{{{metadata},{metadata},"a":{info}}}"#),
        &["__metadata__", "stands twice"],
    );
    twice(
        format!(r#"{{"__metadata__":{{"k":"1","k":"2"}},"a":{info}}}"#),
        &["\"k\" stands twice"],
    );
    let dtypes = r#"{"dtype":"U8","dtype":"I8","shape":[],"data_offsets":[0,1]}"#;
    twice(
        format!(r#"{{"a":{dtypes}}}"#),
        &["tensor a", "duplicate field"],
    );
}

#[test]
fn an_entry_with_other_fields_or_too_few_is_refused() {
    let other = r#"{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1],"strides":[1]}}"#;
    says(
        &refusal(file(other, &[0])),
        &["tensor a", "unknown field `strides`"],
    );
    let few = r#"{"a":{"dtype":"U8","shape":[]}}"#;
    says(
        &refusal(file(few, &[0])),
        &["tensor a", "missing field `data_offsets`"],
    );
    says(
        &refusal(file(r#"{"__metadata__":{"n":1}}"#, &[])),
        &["__metadata__", "integer `1`"],
    );
}

#[test]
fn a_header_that_is_no_plain_json_object_is_refused_at_its_byte() {
    says(
        &refusal(file(b"{\"a\xff\":1}", &[])),
        &["byte 11", "not UTF-8"],
    );
    says(
        &refusal(file("\u{feff}{}", &[])),
        &["byte 8", "begins with"],
    );
    says(&refusal(file(" {}", &[])), &["byte 8", "begins with"]);
    says(&refusal(file("[]", &[])), &["byte 8", "begins with"]);
    says(
        &refusal(file("{}garbage", &[])),
        &["byte 10", "trailing characters"],
    );
    says(
        &refusal(file("{}\0\0", &[])),
        &["byte 10", "trailing characters"],
    );
    says(
        &refusal(file("{\n\"a\":\n7}", &[])),
        &["byte 15", "tensor a"],
    );
}

#[test]
fn spaces_behind_the_header_are_padding() {
    let checkpoint = open(file("{}      ", &[])).expect("writers pad to 8 bytes");
    assert_eq!(checkpoint.names().count(), 0);
}

#[test]
fn deep_json_needs_no_deep_stack() {
    let headers = [
        format!("{{\"a\":{}", "[".repeat(10_000)),
        format!("{{\"a\":{{\"shape\":{}", "[".repeat(10_000)),
        "{\"a\":".repeat(10_000),
        "{\"__metadata__\":".repeat(10_000),
    ];
    let thread = std::thread::Builder::new().stack_size(128 << 10);
    let opened = thread.spawn(|| headers.map(|header| open(file(header, &[])).is_err()));
    let refused = opened
        .expect("a thread can start")
        .join()
        .expect("no stack overflow");
    assert_eq!(refused, [true; 4]);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = open(bytes);
    }

    #[test]
    fn no_header_panics(header in "\\{[\\[\\]\\{\\}\",:a-c0-9_ \\\\u.eE-]{0,80}", data in 0usize..32) {
        let _ = open(file(header, &vec![0; data]));
    }

    /// Whatever is changed in a right file: it is refused, or its tensors still tile its data.
    #[test]
    fn a_changed_file_is_refused_or_whole(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = safetensors(&[
            ("a", "F32", &[2, 3], &[0; 24]),
            ("b", "BF16", &[4], &[0; 8]),
            ("c", "U8", &[0, 7], &[]),
        ]);
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"));
        if let Ok(checkpoint) = open(bytes.clone()) {
            let bytes_max = bytes.len() as u64 - 8;
            prop_assert_eq!(checkpoint.weight_bytes(), bytes_max - length);
            for tensor in checkpoint.tensors() {
                let product: usize = tensor.shape.iter().product();
                prop_assert_eq!(product, tensor.count());
                prop_assert_eq!(product * tensor.form.dtype().map_or(0, Dtype::bits) / 8, tensor.bytes.len());
            }
        }
    }
}
