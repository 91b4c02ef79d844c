//! Vectors and ranks.

use std::sync::{Arc, LazyLock};

use lattice_embed::{
    EmbeddingModel, EmbeddingService as _, NativeEmbeddingService, NativeRerankService,
};
use lattice_serve::{ModelEntry, ModelKind, ModelMemory, ServeOptions};
use lattice_testkit::{cross_encoders, encoder};
use serde_json::{Value, json};

use crate::client::{Reply, ask, post};
use crate::server::Server;

/// An embedder called `vec` and a ranker called `rank`.
pub(crate) fn entries() -> Vec<ModelEntry> {
    let vectors = EmbeddingModel::Local(encoder("bert_mean").dir);
    let scores = EmbeddingModel::Local(cross_encoders().remove(0).dir);
    let entry = |name: &str, kind| ModelEntry {
        name: name.to_owned(),
        aliases: Vec::new(),
        kind,
        memory: ModelMemory::default(),
    };
    let vectors = ModelKind::Vectors(Arc::new(NativeEmbeddingService::default()), vectors);
    let scores = ModelKind::Scores(Arc::new(NativeRerankService::default()), scores);
    vec![entry("vec", vectors), entry("rank", scores)]
}

fn server() -> &'static Server {
    static SERVER: LazyLock<Server> =
        LazyLock::new(|| Server::with(entries(), ServeOptions::default()));
    &SERVER
}

fn good(reply: Reply) -> Value {
    let json = reply.json();
    assert_eq!(reply.status, 200, "{json}");
    json
}

fn numbers(value: &Value) -> Vec<f32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap() as f32)
        .collect()
}

fn from_base64(text: &str) -> Vec<f32> {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for letter in text.bytes().take_while(|&letter| letter != b'=') {
        let six = letters.iter().position(|&other| other == letter).unwrap() as u32;
        bits = bits << 6 | six;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect()
}

#[test]
fn vectors_are_those_of_the_service() {
    let address = server().address;
    let texts = ["hello world", "a", "hello world"];
    let body = json!({"model": "vec", "input": texts, "user": "me"});
    let reply = post(address, "/v1/embeddings", &body);
    assert_eq!(reply.headers["x-lattice-ignored"], "user");
    let reply = good(reply);
    let model = EmbeddingModel::Local(encoder("bert_mean").dir);
    let service = NativeEmbeddingService::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let alone = runtime
        .block_on(service.embed_one("hello world", model))
        .unwrap();
    let data = reply["data"].as_array().unwrap();
    assert_eq!(
        (data.len(), numbers(&data[0]["embedding"])),
        (3, alone.clone())
    );
    assert_eq!(data[0]["embedding"], data[2]["embedding"]);
    assert!(reply["usage"]["total_tokens"].as_u64().unwrap() > 3);
    let packed = good(post(
        address,
        "/v1/embeddings",
        &json!({"input": "hello world", "encoding_format": "base64"}),
    ));
    assert_eq!(
        from_base64(packed["data"][0]["embedding"].as_str().unwrap()),
        alone
    );
}

#[test]
fn ids_have_the_vectors_of_their_texts() {
    let address = server().address;
    let model = EmbeddingModel::Local(encoder("bert_mean").dir);
    let EmbeddingModel::Local(dir) = &model else {
        unreachable!()
    };
    let files = lattice_inference::checkpoint::ModelFiles::open(dir).unwrap();
    let options = lattice_embed::EmbedderOptions::default();
    let embedder =
        lattice_embed::Embedder::open(&files, &lattice_inference::backend::cpu::Cpu, &options);
    let side = std::sync::Arc::clone(&embedder.unwrap().encoder().text);
    let texts = ["hello world", "a b c, hello"];
    let framed: Vec<Vec<u32>> = texts
        .iter()
        .map(|text| side.tokenise(text).unwrap().ids)
        .collect();
    let bare: Vec<&[u32]> = framed.iter().map(|ids| &ids[1..ids.len() - 1]).collect();
    let vectors = |input: Value| {
        let body = json!({"model": "vec", "input": input});
        good(post(address, "/v1/embeddings", &body))
    };
    let expected = vectors(json!(texts));
    // All that comes is the same, the count of tokens too.
    assert_eq!(vectors(json!(framed)), expected);
    assert_eq!(vectors(json!(bare)), expected);
    assert_eq!(vectors(json!([texts[0], bare[1]])), expected);
    assert_eq!(vectors(json!(bare[0]))["data"][0], expected["data"][0]);
}

#[test]
fn ranks_come_best_first() {
    let body = json!({"model": "rank", "query": "hello", "documents": ["world", {"text": "hello"}, "a b c"], "return_documents": true});
    let reply = good(post(server().address, "/v1/rerank", &body));
    let results = reply["results"].as_array().unwrap();
    let scores: Vec<_> = results
        .iter()
        .map(|result| result["relevance_score"].as_f64().unwrap())
        .collect();
    assert_eq!(scores.len(), 3);
    assert!(scores.is_sorted_by(|a, b| a >= b));
    let mut top = body.clone();
    top["top_n"] = json!(1);
    assert_eq!(
        good(post(server().address, "/v1/rerank", &top))["results"],
        json!([results[0]])
    );
}

#[test]
fn what_is_wrong_is_named() {
    let address = server().address;
    for (body, param) in [
        (json!({}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": [1, "a"]}), "input"),
        (json!({"input": [-1]}), "input"),
        (json!({"input": [1.5]}), "input"),
        (json!({"input": [99_999_999]}), "input"),
        (json!({"input": [4_294_967_296u64]}), "input"),
        (json!({"input": [["a"]]}), "input"),
        (json!({"input": [[5], []]}), "input"),
        (json!({"input": vec![5; 5000]}), "input"),
        (json!({"input": "a", "dimensions": 0}), "dimensions"),
        (json!({"input": "a", "dimensions": 60000}), "dimensions"),
        (
            json!({"input": "a", "encoding_format": "hex"}),
            "encoding_format",
        ),
        (json!({"input": "a", "model": "rank"}), "model"),
        (json!({"input": "word ".repeat(5000)}), "input"),
        (json!({"input": "a", "input_type": "song"}), "input_type"),
    ] {
        let reply = post(address, "/v1/embeddings", &body);
        assert_eq!(
            (reply.status, reply.error()["param"].clone()),
            (400, json!(param))
        );
    }
    for (body, param) in [
        (json!({"documents": ["a"]}), "query"),
        (json!({"query": "a"}), "documents"),
        (json!({"query": "a", "documents": [1]}), "documents[0]"),
        (
            json!({"query": "a", "documents": ["a"], "top_n": 0}),
            "top_n",
        ),
    ] {
        let reply = post(address, "/v1/rerank", &body);
        assert_eq!(
            (reply.status, reply.error()["param"].clone()),
            (400, json!(param))
        );
    }
    let chat = post(
        address,
        "/v1/chat/completions",
        &json!({"messages": [{"role": "user", "content": "hi"}]}),
    );
    assert_eq!(
        (chat.status, chat.error()["param"].clone()),
        (400, json!("model"))
    );
    assert_eq!(
        ask(address, "GET", "/v1/models/vec", "").json()["kind"],
        "embedding"
    );
    assert_eq!(ask(address, "GET", "/readyz", "").status, 200);
}
