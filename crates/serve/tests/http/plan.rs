//! What the server tells of a model in figures.

use serde_json::{Value, json};

use crate::client::{ask, post};
use crate::server::{CONTEXT, shared};

fn plan(body: Value) -> Value {
    let reply = post(shared().address, "/v1/plan", &body);
    assert_eq!(reply.status, 200, "{}", reply.json());
    reply.json()
}

#[test]
fn a_plan_has_the_figures_of_the_model() {
    let served = ask(shared().address, "GET", "/v1/plan/tiny", "").json();
    let first = ask(shared().address, "GET", "/v1/plan", "").json();
    assert_eq!(first["steps"], served["steps"]);
    assert_eq!(served["model"], "lattice-tiny");
    assert_eq!(served["family"], "qwen3_5");
    let memory = &served["memory"];
    let of = |name: &str| memory[name].as_u64().unwrap();
    assert_eq!((of("context_tokens"), of("sequences")), (CONTEXT as u64, 8));
    let each = of("kv_bytes_per_token") * of("context_tokens") + of("state_bytes");
    let all = of("weights_bytes") + of("scratch_bytes") + each * of("sequences");
    assert_eq!(of("total_bytes"), all);
    assert_eq!(served["fits_context"], true);
    assert!(plan(json!({})).get("steps").is_none());
    // The same figures, whoever asks how.
    let mut posted = plan(json!({"model": "tiny", "steps": true}));
    posted["available_bytes"] = served["available_bytes"].clone();
    assert_eq!(posted, served);
}

#[test]
fn a_plan_is_of_what_is_asked_for() {
    let few = plan(json!({"context": 100, "parallel": 1}));
    let many = plan(json!({"context": 1000, "parallel": 10}));
    let total = |plan: &Value| plan["memory"]["total_bytes"].as_u64().unwrap();
    assert!(total(&few) < total(&many));
    let huge = plan(json!({"context": 4_294_967_296u64, "parallel": 65_536}));
    assert_eq!(
        (&huge["fits_context"], &huge["fits_memory"]),
        (&json!(false), &json!(false))
    );
    let steps = plan(json!({"steps": true}));
    let steps = steps["steps"].as_array().unwrap().clone();
    assert_eq!(json!(steps.len()), few["step_count"]);
    let embed = &steps[0];
    assert_eq!(embed["op"], "embed");
    assert_eq!(embed["weights"][0]["shape"][0], few["vocab"]);
    let kinds = steps
        .iter()
        .filter_map(|step| step["state"]["kind"].as_str());
    let kinds: std::collections::BTreeSet<_> = kinds.collect();
    assert!(kinds.contains("kv") && kinds.contains("delta"), "{kinds:?}");
}

#[test]
fn what_is_wrong_is_named() {
    let address = shared().address;
    for (body, status, param) in [
        (json!({"context": 0}), 400, "context"),
        (json!({"context": "many"}), 400, "context"),
        (json!({"parallel": 65_537}), 400, "parallel"),
        (json!({"parallel": 1.5}), 400, "parallel"),
        (json!({"steps": 1}), 400, "steps"),
        (json!({"model": "nobody"}), 404, "model"),
    ] {
        let reply = post(address, "/v1/plan", &body);
        assert_eq!(
            (reply.status, reply.error()["param"].clone()),
            (status, json!(param))
        );
    }
    assert_eq!(ask(address, "GET", "/v1/plan/nobody", "").status, 404);
    let reply = post(address, "/v1/plan", &json!({"mood": "gay"}));
    assert_eq!(reply.headers["x-lattice-ignored"], "mood");
}
