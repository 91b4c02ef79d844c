//! Packed copies of models: what stands in them, what is refused, and that an end in the middle loses nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use lattice_inference::Error;
use lattice_inference::checkpoint::{Checkpoint, Dtype, Kept, ModelFiles, OpenOptions, Tensor};
use lattice_inference::quantize::{
    Progress, QuantizeError, Recipe, Report, Scheme, Source, Staged, Target, WriteOptions,
    plan_tensors, sha256, write,
};
use lattice_kernels::{PackedScheme, pack};
use lattice_testkit::{ScratchDir, SplitMix64, TensorBytes, f32_bytes, families, write_checkpoint};
use serde_json::{Value, json};
use twox_hash::XxHash3_64;

const PAGE: usize = 4096;

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/lattice-tiny")
}

fn family(name: &str) -> PathBuf {
    let golden = families().into_iter().find(|golden| golden.name == name);
    golden.unwrap().dir
}

fn open(dir: &Path) -> Source {
    Source::open(&ModelFiles::open(dir).unwrap(), &OpenOptions::default()).unwrap()
}

fn q8() -> Recipe {
    Recipe::new(PackedScheme::Q8)
}

fn options() -> WriteOptions {
    WriteOptions {
        threads: 2,
        ..WriteOptions::default()
    }
}

fn stage(source: &Source, recipe: &Recipe, out: &Path) -> Result<Staged, Error> {
    write(source, recipe, out, &options(), &mut |_| {
        ControlFlow::Continue(())
    })
}

fn make(source: &Source, recipe: &Recipe, out: &Path) -> Report {
    stage(source, recipe, out).unwrap().publish(None).unwrap()
}

/// Every file of a directory.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// A written file, taken apart by hand.
struct Written {
    header: Value,
    bytes: Vec<u8>,
    data_begin: usize,
}

impl Written {
    fn open(dir: &Path) -> Self {
        let bytes = fs::read(dir.join("model.safetensors")).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        Self {
            header: serde_json::from_slice(&bytes[8..8 + length]).unwrap(),
            bytes,
            data_begin: 8 + length,
        }
    }

    fn place(&self, name: &str) -> (usize, usize) {
        let offsets = &self.header[name]["data_offsets"];
        let at = |index: usize| self.data_begin + offsets[index].as_u64().unwrap() as usize;
        (at(0), at(1))
    }

    fn tensor(&self, name: &str) -> &[u8] {
        let (begin, end) = self.place(name);
        &self.bytes[begin..end]
    }

    fn metadata(&self, key: &str) -> Option<&str> {
        self.header["__metadata__"][key].as_str()
    }
}

fn values(tensor: &Tensor<'_>) -> Vec<f32> {
    let pairs = tensor.bytes.as_chunks::<2>().0.iter();
    match tensor.form.dtype().unwrap() {
        Dtype::F32 => {
            let words = tensor.bytes.as_chunks::<4>().0.iter();
            words.map(|word| f32::from_le_bytes(*word)).collect()
        }
        Dtype::BF16 => pairs
            .map(|pair| half::bf16::from_le_bytes(*pair).to_f32())
            .collect(),
        _ => pairs
            .map(|pair| half::f16::from_le_bytes(*pair).to_f32())
            .collect(),
    }
}

fn check_tensor(written: &Written, target: &Target, stored: &Tensor<'_>) {
    let (name, found) = (&target.name, written.tensor(&target.name));
    let packed = written.metadata(&format!("lattice.packed/{name}"));
    match target.form {
        Kept::Dense(dtype) => {
            assert!(found == stored.bytes && packed.is_none(), "{name}");
            assert_eq!(written.header[name]["dtype"], dtype.name());
            assert_eq!(written.header[name]["shape"], json!(target.shape));
        }
        Kept::Packed(shape) => {
            let mut expected = vec![0; shape.bytes()];
            pack(&values(stored), shape, &mut expected).unwrap();
            expected.resize(shape.bytes().next_multiple_of(PAGE), 0);
            assert!(found == expected, "{name}");
            assert!(written.place(name).0.is_multiple_of(PAGE), "{name}");
            assert_eq!(written.header[name]["dtype"], "U8");
            assert_eq!(written.header[name]["shape"], json!([expected.len()]));
            let entry: Value = serde_json::from_str(packed.unwrap()).unwrap();
            let segment = shape.segment();
            let said =
                json!({"scheme": target.scheme(), "shape": target.shape, "segment": segment});
            assert_eq!(entry, said, "{name}");
        }
    }
    let digits = format!("{:016x}", XxHash3_64::oneshot(found));
    let said = written.metadata(&format!("lattice.xxh3/{name}"));
    assert_eq!(said, Some(digits.as_str()), "{name}");
}

fn check_manifest(out: &Path, source: &Source, targets: &[Target], written: &Written) {
    let manifest: Value =
        serde_json::from_slice(&fs::read(out.join("lattice.json")).unwrap()).unwrap();
    assert_eq!(manifest["format"], "lattice-packed");
    assert_eq!(manifest["version"], 1);
    let tensors = manifest["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), targets.len());
    for (entry, target) in tensors.iter().zip(targets) {
        assert_eq!(entry["name"], json!(target.name));
        let hash = sha256(written.tensor(&target.name));
        assert_eq!(entry["sha256"], json!(hash), "{}", target.name);
    }
    let from = ModelFiles::open(source.files().path().unwrap()).unwrap();
    for part in ["files", "source"] {
        let list = &manifest[part];
        let list = if part == "source" {
            &list["files"]
        } else {
            list
        };
        for file in list.as_array().unwrap() {
            let bytes = from.bytes(file["file"].as_str().unwrap()).unwrap().unwrap();
            assert_eq!(file["sha256"], json!(sha256(&bytes)));
        }
    }
}

fn check_copy(dir: &Path, recipe: &Recipe) {
    let (scratch, source) = (ScratchDir::new().unwrap(), open(dir));
    let out = scratch.path().join("out");
    let report = make(&source, recipe, &out);
    let targets = plan_tensors(&source, recipe, false).unwrap().tensors;
    assert_eq!(report.tensors, targets.len());
    let written = Written::open(&out);
    assert!(written.data_begin.is_multiple_of(PAGE));
    assert_eq!(written.metadata("lattice.packed"), Some("1"));
    let entries = written.header.as_object().unwrap().len() - 1;
    assert_eq!(entries, targets.len());
    for target in &targets {
        let stored = source.stored.tensor(&target.name).unwrap();
        check_tensor(&written, target, &stored);
    }
    let packed = targets
        .iter()
        .filter(|t| matches!(t.form, Kept::Packed(_)))
        .count();
    assert!(packed > 0);
    check_manifest(&out, &source, &targets, &written);
    for name in ["config.json", "tokenizer.json", "chat_template.jinja"] {
        let there = dir.join(name).exists();
        assert_eq!(out.join(name).exists(), there, "{name}");
        assert!(!there || fs::read(out.join(name)).unwrap() == fs::read(dir.join(name)).unwrap());
    }
    assert!(!out.join("lock").exists() && !out.join("progress.jsonl").exists());
    // It is a safetensors file like any other.
    Checkpoint::open(&ModelFiles::open(&out).unwrap()).unwrap();
}

#[test]
fn a_copy_holds_what_the_packer_makes_of_each_matrix_and_the_rest_as_stored() {
    for golden in families() {
        check_copy(&golden.dir, &q8());
    }
    for scheme in PackedScheme::OWN {
        check_copy(&tiny(), &Recipe::new(scheme));
        check_copy(&family("qwen3_5_moe"), &Recipe::new(scheme));
    }
}

#[test]
fn rows_are_cut_where_the_plan_cuts_them() {
    let segment = |source: &Source, end: &str| {
        let targets = plan_tensors(source, &q8(), false).unwrap().tensors;
        let target = targets.iter().find(|t| t.name.ends_with(end)).unwrap();
        match target.form {
            Kept::Packed(shape) => (target.shape.clone(), shape.segment()),
            Kept::Dense(dtype) => panic!("{} is {dtype}", target.name),
        }
    };
    let source = open(&family("qwen3_5_moe"));
    let head_dim = source.model.config.size("head_dim").unwrap();
    let (_, cut) = segment(&source, "self_attn.q_proj.weight");
    assert_eq!(cut, head_dim, "query and gate lie head by head");
    let (shape, cut) = segment(&source, "mlp.experts.down_proj");
    assert_eq!(cut, shape[1], "an expert is packed on its own");
    let (shape, cut) = segment(&source, "mlp.experts.gate_up_proj");
    assert_eq!(cut * 2, shape[1], "gate and up stand in one tensor");
    let (shape, cut) = segment(&source, "embed_tokens.weight");
    assert_eq!(cut, shape[0]);
}

#[test]
fn a_recipe_decides_and_its_later_words_win() {
    let source = open(&family("qwen3_5_untied"));
    let scheme = |recipe: &Recipe, end: &str| {
        let targets = plan_tensors(&source, recipe, false).unwrap().tensors;
        let target = targets.iter().find(|t| t.name.ends_with(end)).unwrap();
        target.scheme()
    };
    let stored = source.stored.tensors().next().unwrap().form;
    let stored = stored.dtype().unwrap().name().to_lowercase();
    let mut recipe = q8();
    assert_eq!(scheme(&recipe, "embed_tokens.weight"), "q8");
    recipe.embed = Some(Scheme::Keep);
    recipe.head = Some(Scheme::Keep);
    assert_eq!(scheme(&recipe, "embed_tokens.weight"), stored);
    assert_eq!(scheme(&recipe, "lm_head.weight"), stored);
    assert_eq!(scheme(&recipe, "o_proj.weight"), "q8");
    let word = |pattern: &str, scheme| (pattern.to_owned(), scheme);
    let packed = Scheme::Packed(PackedScheme::Q8);
    recipe.mixed = vec![
        word("*.mlp.*", Scheme::Keep),
        word("*down_proj*", packed),
        word("lm_head.weight", packed),
    ];
    assert_eq!(scheme(&recipe, "up_proj.weight"), stored);
    assert_eq!(scheme(&recipe, "down_proj.weight"), "q8");
    assert_eq!(scheme(&recipe, "lm_head.weight"), "q8");
    recipe.mixed = vec![word("*.norm.weight", Scheme::Keep)];
    let error = plan_tensors(&source, &recipe, false).unwrap_err();
    assert!(matches!(error, QuantizeError::Pattern { .. }), "{error}");
    assert!(error.to_string().contains("*.norm.weight"), "{error}");
}

#[test]
fn a_tied_head_goes_by_its_table() {
    let recipe = Recipe {
        head: Some(Scheme::Keep),
        ..q8()
    };
    let error = plan_tensors(&open(&tiny()), &recipe, false).unwrap_err();
    assert!(matches!(error, QuantizeError::TiedHead { .. }), "{error}");
}

#[test]
fn small_matrices_keep_eight_bits_under_four() {
    let source = open(&tiny());
    for to in PackedScheme::OWN {
        let targets = plan_tensors(&source, &Recipe::new(to), false).unwrap();
        for target in targets.tensors {
            if let Kept::Packed(shape) = target.form {
                let expected = if target.shape[0] < 64 {
                    PackedScheme::Q8
                } else {
                    to
                };
                assert_eq!(shape.scheme(), expected, "{}", target.name);
            }
        }
    }
}

#[test]
fn what_the_model_does_not_read_is_left_out_or_kept_as_it_is() {
    let source = open(&tiny());
    let without = plan_tensors(&source, &q8(), false).unwrap();
    let with = plan_tensors(&source, &q8(), true).unwrap();
    assert!(without.left_out > 0 && with.left_out == 0);
    assert_eq!(with.tensors.len(), without.tensors.len() + without.left_out);
    assert_eq!(with.tensors.len(), source.stored.names().count());
    let kept = with.tensors.iter().filter(|target| !target.used);
    for target in kept {
        assert!(target.name.starts_with("mtp."), "{}", target.name);
        assert!(matches!(target.form, Kept::Dense(_)));
    }
}

fn refusal(dir: &Path, out: &Path, force: bool) -> String {
    let options = WriteOptions { force, ..options() };
    let result = write(&open(dir), &q8(), out, &options, &mut |_| {
        ControlFlow::Continue(())
    });
    match result {
        Err(Error::Quantize(error)) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("{} was accepted", out.display()),
    }
}

#[test]
fn an_output_that_would_do_harm_is_refused() {
    let scratch = ScratchDir::new().unwrap();
    let model = scratch.path().join("models/model");
    fs::create_dir_all(&model).unwrap();
    for (name, bytes) in contents(&family("llama")) {
        fs::write(model.join(name), bytes).unwrap();
    }
    let before = contents(&model);
    for force in [false, true] {
        let words = |out: &Path| refusal(&model, out, force);
        assert!(words(&model).contains("is the model"), "{}", words(&model));
        assert!(words(&model.join("q8")).contains("inside of the model"));
        let around = scratch.path().join("models");
        assert!(words(&around).contains("holds the model"));
        let file = model.join("../../file");
        fs::write(&file, "x").unwrap();
        assert!(words(&file).contains("is a file"));
        let nowhere = scratch.path().join("nowhere/out");
        assert!(words(&nowhere).contains("nowhere"));
    }
    let full = scratch.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("letter.txt"), "x").unwrap();
    assert!(refusal(&model, &full, false).contains("--force"));
    assert!(refusal(&model, &full, true).contains("no packed model"));
    assert!(full.join("letter.txt").exists() && contents(&model) == before);
    let leftovers = ["models/model.partial", "full.partial", "models.partial"];
    for left in leftovers {
        assert!(!scratch.path().join(left).exists(), "{left}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_to_the_model_is_the_model() {
    let scratch = ScratchDir::new().unwrap();
    let link = scratch.path().join("link");
    std::os::unix::fs::symlink(tiny(), &link).unwrap();
    assert!(refusal(&tiny(), &link, true).contains("is the model"));
    assert!(refusal(&link, &tiny(), true).contains("is the model"));
    assert!(refusal(&tiny(), &link.join("out"), true).contains("inside of the model"));
}

/// A llama of random f32 weights with one value replaced.
fn spoiled(tensor: &str, at: usize, value: f32) -> ScratchDir {
    let dir = ScratchDir::new().unwrap();
    let golden = family("llama");
    let config = fs::read_to_string(golden.join("config.json")).unwrap();
    let plan = open(&golden).model.plan;
    let shapes: BTreeMap<&str, &[usize]> = plan
        .weights
        .iter()
        .map(|w| (w.tensor.as_str(), w.stored.as_slice()))
        .collect();
    let mut random = SplitMix64::new(7);
    let tensors: Vec<(&str, &[usize], Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let mut values = random.normals(shape.iter().product(), 0.1);
            if name == tensor {
                values[at] = value;
            }
            (name, shape, f32_bytes(&values))
        })
        .collect();
    let tensors: Vec<TensorBytes<'_>> = tensors
        .iter()
        .map(|(name, shape, bytes)| (*name, "F32", *shape, bytes.as_slice()))
        .collect();
    write_checkpoint(dir.path(), &config, &tensors).unwrap();
    dir
}

#[test]
fn values_that_cannot_be_packed_are_named() {
    let scratch = ScratchDir::new().unwrap();
    let out = scratch.path().join("out");
    let matrix = "model.layers.1.mlp.down_proj.weight";
    let columns = open(&family("llama")).stored.tensor(matrix).unwrap().shape[1];
    let dir = spoiled(matrix, 3 * columns + 5, f32::NAN);
    let words = refusal(dir.path(), &out, false);
    let expected = format!("tensor {matrix}: row 3, column 5 is NaN");
    assert!(words.contains(&expected), "{words}");
    let dir = spoiled(matrix, 20 * columns, 1e9);
    let words = refusal(dir.path(), &out, true);
    let expected = format!("tensor {matrix}: row 20 has 1000000000, too large");
    assert!(words.contains(&expected), "{words}");
    assert!(!out.exists());
    let gain = "model.layers.0.input_layernorm.weight";
    let dir = spoiled(gain, 4, f32::INFINITY);
    let words = refusal(dir.path(), &out, true);
    assert!(words.contains(&format!("tensor {gain}")) && words.contains("is inf"));
    let allowed = WriteOptions {
        allow_non_finite: true,
        ..options()
    };
    let go_on = &mut |_: Progress<'_>| ControlFlow::Continue(());
    write(&open(dir.path()), &q8(), &out, &allowed, go_on)
        .unwrap()
        .publish(None)
        .unwrap();
}

/// Writes until `tensors` are finished, and stops there.
fn stopped_after(source: &Source, recipe: &Recipe, out: &Path, tensors: usize) {
    let mut finished = 0;
    let result = write(source, recipe, out, &options(), &mut |progress| {
        finished += usize::from(matches!(progress, Progress::Tensor { .. }));
        if finished < tensors {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    match result {
        Err(Error::Quantize(QuantizeError::Stopped { done, .. })) => assert_eq!(done, tensors),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was not stopped"),
    }
    assert!(!out.exists());
}

#[test]
fn a_run_that_goes_on_writes_the_same_bytes() {
    let (scratch, source) = (ScratchDir::new().unwrap(), open(&tiny()));
    let whole = scratch.path().join("whole");
    let count = make(&source, &q8(), &whole).tensors;
    let out = scratch.path().join("out");
    let partial = scratch.path().join("out.partial");
    for tensors in [1, 10, count] {
        stopped_after(&source, &q8(), &out, tensors);
    }
    // The last stop came when all was written.
    let staged = stage(&source, &q8(), &out).unwrap();
    assert_eq!(staged.report().resumed, count);
    drop(staged);
    // A staged copy that nobody published, with a torn line at the journal's end.
    let journal = partial.join("progress.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, &text[..text.len() - 9]).unwrap();
    let report = make(&source, &q8(), &out);
    assert_eq!(report.resumed, count - 1);
    assert!(contents(&out) == contents(&whole));
    assert!(!partial.exists());
}

#[test]
fn bytes_that_are_not_as_the_journal_says_are_written_again() {
    let (scratch, source) = (ScratchDir::new().unwrap(), open(&family("llama")));
    let whole = scratch.path().join("whole");
    make(&source, &q8(), &whole);
    let out = scratch.path().join("out");
    stopped_after(&source, &q8(), &out, 6);
    let file = scratch.path().join("out.partial/model.safetensors");
    let third = Written::open(&whole);
    let targets = plan_tensors(&source, &q8(), false).unwrap().tensors;
    let mut bytes = fs::read(&file).unwrap();
    bytes[third.place(&targets[2].name).0 + 1] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_eq!(make(&source, &q8(), &out).resumed, 2);
    assert!(contents(&out) == contents(&whole));
}

#[test]
fn other_work_begins_anew() {
    let (scratch, source) = (ScratchDir::new().unwrap(), open(&family("qwen3_5_untied")));
    let out = scratch.path().join("out");
    stopped_after(&source, &q8(), &out, 4);
    let other = Recipe {
        head: Some(Scheme::Keep),
        ..q8()
    };
    let mut anew = false;
    let staged = write(&source, &other, &out, &options(), &mut |progress| {
        anew |= matches!(progress, Progress::StartsAnew);
        ControlFlow::Continue(())
    });
    assert_eq!(staged.unwrap().publish(None).unwrap().resumed, 0);
    assert!(anew);
    let whole = scratch.path().join("whole");
    make(&source, &other, &whole);
    assert!(contents(&out) == contents(&whole));
}

#[test]
fn one_output_has_one_writer() {
    let (scratch, source) = (ScratchDir::new().unwrap(), open(&family("llama")));
    let out = scratch.path().join("out");
    let staged = stage(&source, &q8(), &out).unwrap();
    match stage(&source, &q8(), &out) {
        Err(Error::Quantize(QuantizeError::Busy { .. })) => {}
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("two writers"),
    }
    staged.publish(Some(json!({"ppl": 1.5}))).unwrap();
    let manifest = fs::read_to_string(out.join("lattice.json")).unwrap();
    assert!(manifest.contains("\"ppl\": 1.5"));
}

#[test]
fn an_old_output_is_replaced_whole_or_stays() {
    let (scratch, source) = (ScratchDir::new().unwrap(), open(&family("llama")));
    let out = scratch.path().join("out");
    make(&source, &q8(), &out);
    fs::write(out.join("mark"), "old").unwrap();
    assert!(refusal(source.files().path().unwrap(), &out, false).contains("--force"));
    let forced = WriteOptions {
        force: true,
        ..options()
    };
    let go_on = &mut |_: Progress<'_>| ControlFlow::Continue(());
    let staged = write(&source, &q8(), &out, &forced, go_on).unwrap();
    assert!(out.join("mark").exists(), "the old one stays until the end");
    drop(staged);
    // A program that died when the old one had stepped aside.
    let replaced = scratch.path().join("out.replaced");
    fs::rename(&out, &replaced).unwrap();
    let staged = write(&source, &q8(), &out, &forced, go_on).unwrap();
    assert!(out.join("mark").exists() && !replaced.exists());
    staged.publish(None).unwrap();
    assert!(!out.join("mark").exists() && !replaced.exists());
}

#[test]
fn a_packed_model_is_not_packed_again() {
    let (scratch, source) = (ScratchDir::new().unwrap(), open(&family("llama")));
    let out = scratch.path().join("out");
    make(&source, &q8(), &out);
    let again = Source::open(&ModelFiles::open(&out).unwrap(), &OpenOptions::default());
    let Ok(again) = again else {
        return; // Refused even earlier.
    };
    let error = plan_tensors(&again, &q8(), false).unwrap_err();
    assert!(
        matches!(error, QuantizeError::AlreadyPacked { .. }),
        "{error}"
    );
}
