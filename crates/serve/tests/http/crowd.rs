//! Company changes nothing of an answer.

use serde_json::{Value, json};

use crate::chat::{say, tools};
use crate::client::{Client, chat, post_bytes};
use crate::server::{Server, Shape};
use crate::stream::{added_up, whole};

const CROWD: usize = 48;

fn request(number: usize) -> Value {
    let topics = [
        "a dog",
        "the sea",
        "a red ball",
        "Tom and Lily",
        "the moon",
        "bread",
    ];
    let topic = topics[number % topics.len()];
    let more = match number % 6 {
        0 => json!({"max_tokens": 4 + number % 20}),
        1 => json!({"max_tokens": 20, "stop": ["."]}),
        2 => json!({"response_format": {"type": "json_object"}, "max_tokens": 24}),
        3 => json!({"logprobs": true, "top_logprobs": 2, "max_tokens": 10}),
        4 => json!({"tools": tools(), "tool_choice": "required", "max_tokens": 60}),
        _ => json!({"temperature": 1, "seed": number, "max_tokens": 16}),
    };
    let text = format!(
        "{} Tell me about {topic}.",
        "Hello there. ".repeat(number % 17)
    );
    say(&text, more)
}

#[test]
fn answers_in_a_crowd_are_those_alone() {
    let shape = Shape {
        places: 16,
        ..Shape::default()
    };
    let server = Server::start(lattice_serve::ServeOptions::default(), shape);
    let address = server.address;
    let crowd: Vec<_> = (0..CROWD)
        .map(|number| {
            std::thread::Builder::new()
                .spawn(move || {
                    let mut body = request(number);
                    body["stream"] = json!(true);
                    if number % 8 == 7 {
                        // Some leave in the middle.
                        let mut client = Client::new(address);
                        client.send(&post_bytes(
                            "/v1/chat/completions",
                            "",
                            body.to_string().as_bytes(),
                        ));
                        client.head().unwrap();
                        client.chunk().unwrap();
                        return None;
                    }
                    Some(added_up(&chat(address, &body).events()))
                })
                .unwrap()
        })
        .collect();
    let crowd: Vec<_> = crowd
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    for (number, answer) in crowd.into_iter().enumerate() {
        if let Some(answer) = answer {
            let alone = chat(address, &request(number)).json();
            assert_eq!(answer, whole(&alone), "{number}");
        }
    }
}

#[test]
fn the_same_request_twice_at_once_is_two_requests() {
    let shape = Shape::default();
    let server = Server::start(lattice_serve::ServeOptions::default(), shape);
    let address = server.address;
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::Builder::new()
                .spawn(move || chat(address, &request(0)).json())
                .unwrap()
        })
        .collect();
    let replies: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert!(
        replies
            .iter()
            .all(|reply| whole(reply) == whole(&replies[0]))
    );
}
