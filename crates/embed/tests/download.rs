//! A model is got when it is first asked for, and needs no network afterwards.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::path::Path;

use common::native;
use lattice_embed::{
    EmbedError, EmbeddingModel, EmbeddingService as _, ModelSource, NativeEmbeddingService,
    NativeOptions,
};
use lattice_inference::checkpoint::ModelStore;
use lattice_testkit::{FakeHub, FakeModel, ScratchDir, encoder};
use pollster::block_on;

/// A tiny model under the name of a large one.
fn model(name: &str, dir: &Path) -> FakeModel {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            let config = std::fs::read(path.join("config.json")).unwrap();
            files.push((format!("{name}/config.json"), config));
        } else {
            files.push((name, std::fs::read(path).unwrap()));
        }
    }
    let parts: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    FakeModel::new(name, &parts)
}

fn service(root: &Path, endpoint: &str) -> NativeEmbeddingService {
    let hub = lattice_hub::HubOptions {
        endpoint: endpoint.to_owned(),
        tries: 1,
        ..lattice_hub::HubOptions::default()
    };
    NativeEmbeddingService::new(NativeOptions {
        source: Some(ModelSource {
            store: ModelStore {
                root: root.to_owned(),
                hub_cache: None,
            },
            hub: Some(hub),
        }),
        ..native(2)
    })
}

#[test]
fn the_default_model_comes_when_it_is_asked_for() {
    let golden = encoder("bert_cls");
    let hub = FakeHub::start(vec![model("BAAI/bge-small-en-v1.5", &golden.dir)]);
    let dir = ScratchDir::new().unwrap();
    let first = service(dir.path(), &hub.endpoint());
    let row = block_on(first.embed_one("a", EmbeddingModel::default())).unwrap();
    assert_eq!(row.len(), 24);
    assert!(
        dir.path()
            .join("BAAI/bge-small-en-v1.5/1_Pooling/config.json")
            .is_file()
    );
    drop(first);
    // From here on nobody answers.
    let second = service(dir.path(), "http://127.0.0.1:1");
    assert_eq!(
        block_on(second.embed_one("a", EmbeddingModel::default())).unwrap(),
        row
    );
    let error = block_on(second.embed_one("a", EmbeddingModel::AllMiniLmL6V2)).unwrap_err();
    assert!(matches!(error.root(), EmbedError::Hub(_)), "{error}");
}

#[test]
fn any_name_and_revision_may_be_asked_for() {
    let golden = encoder("bert_mean");
    let hub = FakeHub::start(vec![model("org/tiny", &golden.dir)]);
    let dir = ScratchDir::new().unwrap();
    let service = service(dir.path(), &hub.endpoint());
    let model: EmbeddingModel = "org/tiny".parse().unwrap();
    assert_eq!(block_on(service.embed_one("a", model)).unwrap().len(), 24);
    let missing: EmbeddingModel = "org/none".parse().unwrap();
    let error = block_on(service.embed_one("a", missing)).unwrap_err();
    assert!(error.to_string().contains("no such model"), "{error}");
}
