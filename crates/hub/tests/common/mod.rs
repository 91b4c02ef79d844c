//! What the tests of this crate share: a model, a hub that answers at once, and the way through a download.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use lattice_hub::{Choice, Event, Hub, HubError, HubOptions, ModelName, Record, Taken};
use lattice_testkit::{FakeModel, SplitMix64};

pub const NAME: &str = "org/name";

/// Bytes that no two lengths or seeds have in common.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = SplitMix64::new(seed);
    (0..bytes.div_ceil(8))
        .flat_map(|_| random.next_u64().to_le_bytes())
        .take(bytes)
        .collect()
}

/// A model of two shards of a MB, small files in a folder and at the top, and a file that nobody wants.
pub fn model() -> FakeModel {
    FakeModel::new(
        NAME,
        &[
            (".gitattributes", b"*.safetensors filter=lfs"),
            ("config.json", b"{}"),
            ("tokenizer.json", &noise(100_000, 7)),
            ("1_Pooling/config.json", b"{\"pooling\": 1}"),
            ("model-00001-of-00002.safetensors", &noise(1_000_003, 1)),
            ("model-00002-of-00002.safetensors", &noise(1_000_001, 2)),
            ("model.safetensors.index.json", b"{\"weight_map\": {}}"),
            ("pytorch_model.bin", &noise(5_000, 3)),
            ("empty/LICENSE", b""),
            ("LICENSE", b""),
        ],
    )
}

/// The shards of [`model`].
pub const LARGE_BYTES: usize = 1_000_003 + 1_000_001 + 100_000;

pub fn options(endpoint: &str) -> HubOptions {
    HubOptions {
        endpoint: endpoint.to_owned(),
        silence: Duration::from_secs(5),
        tries: 6,
        pause: Duration::from_millis(1),
        ..HubOptions::default()
    }
}

/// Gets a model the whole way, with `hear` told of every event.
pub fn pull_with(
    options: HubOptions,
    root: &Path,
    hear: &mut dyn FnMut(&Event<'_>) -> bool,
) -> Result<Record, HubError> {
    let hub = Hub::new(options)?;
    let name: ModelName = NAME.parse()?;
    let listing = hub.listing(&name)?;
    let choice = Choice::of(&listing, &[])?;
    let watch = &mut |event: Event<'_>| match hear(&event) {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    };
    match hub.take(root, listing, choice, watch)? {
        Taken::There(record) => Ok(record),
        Taken::Pull(pull) => pull.fetch(watch),
    }
}

pub fn pull(options: HubOptions, root: &Path) -> Result<Record, HubError> {
    pull_with(options, root, &mut |_| true)
}

/// Paths below a directory, and what stands there.
pub fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(dir: &Path, inside: &str, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{inside}{}", entry.file_name().into_string().unwrap());
            if entry.path().is_dir() {
                walk(&entry.path(), &format!("{name}/"), found);
            } else {
                found.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(dir, "", &mut found);
    found
}

/// Whether the model is there as the hub has it, and nothing else is but its record.
pub fn assert_whole(root: &Path, model: &FakeModel) {
    let mut found = contents(&root.join(NAME));
    let record = found.remove("lattice-pull.json").expect("a record");
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["commit"], model.commit.as_str());
    let wanted = model.files.iter().filter(|(path, _)| {
        !path.starts_with(".git") && !path.ends_with(".bin") && !path.starts_with("empty/")
    });
    let wanted: BTreeMap<String, Vec<u8>> = wanted.cloned().collect();
    let paths = |map: &BTreeMap<String, Vec<u8>>| map.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(&found), paths(&wanted));
    assert!(found == wanted, "contents differ");
    let org = fs::read_dir(root.join("org")).unwrap();
    let names: Vec<_> = org.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["name"]);
}

/// Whether nothing carries the model's name.
pub fn assert_absent(root: &Path) {
    assert!(!root.join(NAME).exists());
}
