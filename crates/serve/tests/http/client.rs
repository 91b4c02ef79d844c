//! A client that sends bytes as they are and reads what comes back.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// An answer of a server.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The error, which must be of the one form.
    pub(crate) fn error(&self) -> Value {
        let json = self.json();
        let error = &json["error"];
        assert!(
            error["message"].is_string() && error["type"].is_string(),
            "{json}"
        );
        assert!(
            error.get("param").is_some() && error.get("code").is_some(),
            "{json}"
        );
        error.clone()
    }

    /// The data of each event; the last must be `[DONE]`.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.body).unwrap();
        assert!(text.ends_with("\n\n"), "{text}");
        let lines = text.split("\n\n").filter(|line| line.starts_with("data: "));
        let mut lines: Vec<_> = lines.map(|line| &line["data: ".len()..]).collect();
        assert_eq!(lines.pop(), Some("[DONE]"), "{text}");
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Reply {
    /// The events of a stream that names them; each name must be the `type` of its data.
    pub(crate) fn named_events(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.body).unwrap();
        let event = |text: &str| {
            let (name, data) = text.split_once("\ndata: ").unwrap();
            let value: Value = serde_json::from_str(data).unwrap();
            assert_eq!(name.strip_prefix("event: "), value["type"].as_str());
            value
        };
        let events = text
            .split("\n\n")
            .filter(|text| text.starts_with("event: "));
        events.map(event).collect()
    }
}

/// A connection.
pub(crate) struct Client {
    pub(crate) stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        // A test that hangs fails.
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Client {
            stream: BufReader::new(stream),
        }
    }

    /// Sends bytes. A server that has closed already is no error: it has said why.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// Reads the head of an answer.
    pub(crate) fn head(&mut self) -> Option<Reply> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok()?;
        let status = line.split(' ').nth(1)?.parse().unwrap();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        Some(Reply {
            status,
            headers,
            body: Vec::new(),
        })
    }

    /// Reads a whole answer; `None` where the server closed the connection without one.
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        let mut reply = self.head()?;
        if let Some(length) = reply.headers.get("content-length") {
            reply.body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut reply.body).unwrap();
        } else if reply.headers.contains_key("transfer-encoding") {
            while let Some(chunk) = self.chunk() {
                reply.body.extend(chunk);
            }
        }
        Some(reply)
    }

    /// One piece of an answer that comes in pieces.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        self.stream.read_exact(&mut chunk).unwrap();
        chunk.truncate(length);
        (length > 0).then_some(chunk)
    }

    /// Whether the server has closed the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        // A reset is a close as well.
        self.stream.read_to_end(&mut rest).is_err() || rest.is_empty()
    }
}

/// The bytes of a request with a body.
pub(crate) fn post_bytes(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

const JSON: &str = "Content-Type: application/json\r\n";

/// Sends JSON.
pub(crate) fn post(address: SocketAddr, path: &str, body: &Value) -> Reply {
    raw_post(address, path, JSON, body.to_string().as_bytes())
}

/// Sends a body as it is.
pub(crate) fn raw_post(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> Reply {
    let mut client = Client::new(address);
    client.send(&post_bytes(path, headers, body));
    client.reply().unwrap()
}

/// Sends a request without a body.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> Reply {
    let mut client = Client::new(address);
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    client.send(head.as_bytes());
    if method == "HEAD" {
        return client.head().unwrap();
    }
    client.reply().unwrap()
}

/// A body with further fields.
pub(crate) fn with(mut body: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// Asks for a chat answer.
pub(crate) fn chat(address: SocketAddr, body: &Value) -> Reply {
    post(address, "/v1/chat/completions", body)
}
