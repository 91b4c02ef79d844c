//! Company changes nothing of an answer.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::chat::{say, tools};
use crate::client::{Client, chat, post_bytes};
use crate::server::{Server, Shape};
use crate::stream::{added_up, whole};

const CROWD: usize = 64;
const REPEATS: usize = 5;

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
    let more = match number % 8 {
        0 => json!({"max_tokens": 4 + number % 20}),
        1 => json!({"max_tokens": 20, "stop": ["."]}),
        2 => json!({"response_format": {"type": "json_object"}, "max_tokens": 24}),
        3 => json!({"logprobs": true, "top_logprobs": 2, "max_tokens": 10}),
        5 => {
            json!({"grammar": {"regex": "[a-f]{3}(-[0-9]{2}){1,4}"}, "temperature": 1, "seed": number, "max_tokens": 24})
        }
        6 => json!({"tools": tools(), "max_tokens": 12}),
        4 => json!({"tools": tools(), "tool_choice": "required", "max_tokens": 60}),
        _ => json!({"temperature": 1, "seed": number, "max_tokens": 16}),
    };
    let text = format!(
        "{} Tell me about {topic}.",
        "Hello there. ".repeat(number % 17)
    );
    say(&text, more)
}

/// Asks for an answer as it streams. One that leaves hears some of it, and nothing comes back.
fn heard(address: SocketAddr, number: usize, leaves_after: Option<usize>) -> Option<Value> {
    let mut body = request(number);
    body["stream"] = json!(true);
    let Some(chunks) = leaves_after else {
        return Some(added_up(&chat(address, &body).events()));
    };
    let mut client = Client::new(address);
    let body = body.to_string();
    client.send(&post_bytes("/v1/chat/completions", "", body.as_bytes()));
    client.head().unwrap();
    for _ in 0..chunks {
        client.chunk()?;
    }
    None
}

/// A call that the end of the answer cut has begun in a stream, and is none in a whole answer.
fn calls_apart(mut choices: Value) -> Value {
    for choice in choices.as_array_mut().unwrap() {
        if choice["finish_reason"] == "length" {
            choice["calls"] = Value::Null;
        }
    }
    choices
}

#[test]
fn answers_in_a_crowd_are_those_alone() {
    let shape = Shape {
        places: 16,
        ..Shape::default()
    };
    let server = Server::start(lattice_serve::ServeOptions::default(), shape);
    let address = server.address;
    let ask_alone = |number| whole(&chat(address, &request(number)).json());
    let alone: Vec<Value> = (0..CROWD).map(ask_alone).collect();
    // A plain sequence of numbers decides who leaves when, another one each time.
    let mut dice = 1u64;
    for _ in 0..REPEATS {
        let mut crowd = Vec::new();
        for number in 0..CROWD {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let leaves_after = (dice >> 61 == 0).then_some((dice >> 50) as usize % 6);
            let thread = std::thread::Builder::new();
            let ask = move || heard(address, number, leaves_after);
            crowd.push(thread.spawn(ask).unwrap());
        }
        for (number, thread) in crowd.into_iter().enumerate() {
            if let Some(answer) = thread.join().unwrap() {
                assert_eq!(
                    calls_apart(answer),
                    calls_apart(alone[number].clone()),
                    "{number}"
                );
            }
        }
    }
    server.wait_for("lattice_running{model=\"lattice-tiny\"} 0");
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
