//! Templates that a model brings along: they refuse, they reach for what is not theirs, they never end.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::chat::{good, say};
use crate::client::{Reply, chat};
use crate::server::{Server, Shape, entry};

/// A copy of the bundled model with another template. It is gone with the test.
struct Model(PathBuf);

impl Model {
    fn with(name: &str, template: &str) -> Model {
        let dir = format!("lattice-serve-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        for entry in std::fs::read_dir("../../models/lattice-tiny").unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
        }
        std::fs::write(dir.join("chat_template.jinja"), template).unwrap();
        Model(dir)
    }

    fn serve(&self) -> Server {
        let shape = Shape {
            model: self.0.clone(),
            ..Shape::default()
        };
        Server::start(lattice_serve::ServeOptions::default(), shape)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn refused(reply: &Reply) -> String {
    assert_eq!(reply.status, 400, "{}", reply.json());
    let error = reply.error();
    assert_eq!(error["param"], "messages");
    error["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_template_that_refuses_says_why() {
    let template = "{%- if messages|length > 1 %}{{ raise_exception('one at a time') }}{% endif %}{{ messages[0].content }}";
    let model = Model::with("refusing", template);
    let server = model.serve();
    let user = json!({"role": "user", "content": "hi"});
    let reply = chat(server.address, &json!({"messages": [user, user]}));
    assert!(refused(&reply).contains("one at a time"));
    good(chat(
        server.address,
        &json!({"messages": [user], "max_tokens": 1}),
    ));
}

/// What the template does is chosen by the text of the message: one model, many templates.
#[test]
fn a_template_that_does_not_end_or_reaches_out_is_an_error_of_the_request() {
    let template = "{%- set m = messages[0].content %}\
        {%- macro again(n) %}{{ again(n + 1) }}{% endmacro %}\
        {%- if m == 'loops' %}{% for a in range(25000) %}{% for b in range(25000) %}x{% endfor %}{% endfor %}\
        {%- elif m == 'recursion' %}{{ again(0) }}\
        {%- elif m == 'repeat' %}{{ 'x' * 1000000000 }}\
        {%- elif m == 'class' %}{{ ''.__class__.__mro__[1].__subclasses__() }}\
        {%- elif m == 'filter' %}{{ m|system }}\
        {%- else %}{{ m }}{% endif %}";
    let model = Model::with("hostile", template);
    let server = model.serve();
    for word in ["loops", "recursion", "repeat", "class", "filter"] {
        let message = refused(&chat(server.address, &say(word, json!({}))));
        assert!(
            !message.contains("root:") && message.len() < 1000,
            "{message}"
        );
    }
    // The others live.
    good(chat(
        server.address,
        &say("hello", json!({"max_tokens": 1})),
    ));
}

/// It is no model: the others are served, and whoever asks for it hears why.
#[test]
fn a_template_that_cannot_be_is_said_of_its_model() {
    for (at, template) in [
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os }}",
        "{{ m",
        "{% for %}",
    ]
    .into_iter()
    .enumerate()
    {
        let model = Model::with(&format!("broken-{at}"), template);
        let bad = Shape {
            model: model.0.clone(),
            ..Shape::default()
        };
        let entries = vec![entry("good", Shape::default()), entry("bad", bad)];
        let server = Server::with(entries, lattice_serve::ServeOptions::default());
        let ask = |name: &str| {
            chat(
                server.address,
                &say("hi", json!({"model": name, "max_tokens": 1})),
            )
        };
        let reply = ask("bad");
        let error = reply.error();
        assert_eq!(
            (reply.status, error["code"].as_str()),
            (503, Some("model_not_loaded"))
        );
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("chat_template.jinja: line 1") && message.len() < 400,
            "{message}"
        );
        good(ask("good"));
    }
}

#[test]
fn a_request_brings_no_template_of_its_own() {
    let address = crate::server::shared().address;
    let loops = "{% for a in range(25000) %}{% for b in range(25000) %}x{% endfor %}{% endfor %}";
    for more in [
        json!({"chat_template": loops}),
        json!({"chat_template_kwargs": {"chat_template": loops}}),
        json!({"chat_template_kwargs": {"messages": []}}),
        json!({"chat_template_kwargs": {"tokenize": false}}),
    ] {
        let reply = chat(address, &say("hi", more.clone()));
        assert_eq!(reply.status, 400, "{more}");
        let param: Value = reply.error()["param"].clone();
        assert!(
            param.as_str().unwrap().starts_with("chat_template"),
            "{param}"
        );
    }
}
