//! A server on this machine that speaks the model hub's protocol, and misbehaves as a test asks it to.
//!
//! In: models, and a closure that may change any reply. Out: an address, and what was asked of it.
//! Large files are answered as the hub does: with a redirect to where they are stored, here or on another server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// Files from here on are stored apart, under their SHA-256.
const LARGE_BYTES: usize = 4096;
/// Bytes written at a time.
const STEP_BYTES: usize = 16 << 10;

/// A model of the server.
#[derive(Debug, Clone)]
pub struct FakeModel {
    /// `org/name`.
    pub name: String,
    /// What `main` leads to.
    pub commit: String,
    /// Paths and contents.
    pub files: Vec<(String, Vec<u8>)>,
}

impl FakeModel {
    /// A model whose commit is made of its contents.
    pub fn new(name: &str, files: &[(&str, &[u8])]) -> Self {
        let files = files
            .iter()
            .map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec()));
        let files: Vec<(String, Vec<u8>)> = files.collect();
        let all: Vec<u8> = files
            .iter()
            .flat_map(|(path, bytes)| [path.as_bytes(), bytes].concat())
            .collect();
        Self {
            name: name.to_owned(),
            commit: git_hash(&all),
            files,
        }
    }
}

/// What was asked.
#[derive(Debug, Clone)]
pub struct FakeRequest {
    /// GET or HEAD.
    pub method: String,
    /// With what stands behind `?`.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body that were sent in reply.
    pub sent: usize,
}

impl FakeRequest {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A reply, for a test to spoil.
#[derive(Debug, Clone)]
pub struct FakeReply {
    /// The number.
    pub status: u16,
    /// Content-Length is added where it is not among them.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub cut: Option<usize>,
    /// Wait so long before each 16 KiB.
    pub pace: Duration,
}

impl FakeReply {
    /// A reply with a body of that type.
    pub fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".to_owned(), kind.to_owned())],
            body: body.into(),
            cut: None,
            pace: Duration::ZERO,
        }
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<String> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    }

    /// Sets a header, in place of one of that name.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

type Spoil = dyn Fn(&FakeRequest, FakeReply) -> FakeReply + Send + Sync;

struct Shared {
    models: Mutex<Vec<FakeModel>>,
    /// Where large files are stored.
    storage: String,
    spoil: Mutex<Arc<Spoil>>,
    requests: Mutex<Vec<FakeRequest>>,
    ended: AtomicBool,
}

/// The running server. It ends when dropped.
pub struct FakeHub {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl FakeHub {
    /// Starts a server of these models.
    pub fn start(models: Vec<FakeModel>) -> Self {
        Self::start_with(models, None)
    }

    /// Starts a server whose large files are stored at another one.
    pub fn start_with(models: Vec<FakeModel>, storage: Option<&FakeHub>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let shared = Arc::new(Shared {
            models: Mutex::new(models),
            storage: storage.map_or_else(|| format!("http://{address}"), FakeHub::endpoint),
            spoil: Mutex::new(Arc::new(|_request: &FakeRequest, reply| reply)),
            requests: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        spawn(move || {
            for stream in listener.incoming() {
                if of_thread.ended.load(Ordering::SeqCst) {
                    break;
                }
                let (shared, Ok(stream)) = (Arc::clone(&of_thread), stream) else {
                    continue;
                };
                spawn(move || {
                    // A client may go away at any time.
                    let _ = serve(&shared, stream);
                });
            }
        });
        Self { address, shared }
    }

    /// Its address, as a URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes every reply from here on.
    pub fn spoil(
        &self,
        spoil: impl Fn(&FakeRequest, FakeReply) -> FakeReply + Send + Sync + 'static,
    ) {
        *lock(&self.shared.spoil) = Arc::new(spoil);
    }

    /// Replaces its models.
    pub fn set_models(&self, models: Vec<FakeModel>) {
        *lock(&self.shared.models) = models;
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<FakeRequest> {
        lock(&self.shared.requests).clone()
    }

    /// Bytes that were sent of large files.
    pub fn sent_large(&self) -> usize {
        let requests = self.requests();
        let large = requests
            .iter()
            .filter(|request| request.path.contains("/storage/"));
        large.map(|request| request.sent).sum()
    }

    /// Forgets what was asked.
    pub fn forget(&self) {
        lock(&self.shared.requests).clear();
    }
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

#[expect(clippy::disallowed_methods, reason = "a server in a test is no engine")]
fn spawn(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(work);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers the requests of one connection.
fn serve(shared: &Shared, stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(mut request) = read_request(&mut reader)? {
        let spoil = Arc::clone(&lock(&shared.spoil));
        let reply = spoil(&request, reply(shared, &request));
        let cut = reply.cut.filter(|cut| *cut < reply.body.len());
        let body = match request.method.as_str() {
            "HEAD" => &[],
            _ => &reply.body[..cut.unwrap_or(reply.body.len())],
        };
        let at = {
            let mut requests = lock(&shared.requests);
            request.sent = 0;
            requests.push(request);
            requests.len() - 1
        };
        let mut writer = &stream;
        writer.write_all(head(&reply).as_bytes())?;
        for step in body.chunks(STEP_BYTES) {
            std::thread::sleep(reply.pace);
            if let Some(request) = lock(&shared.requests).get_mut(at) {
                request.sent += step.len();
            }
            writer.write_all(step)?;
        }
        if cut.is_some() || shared.ended.load(Ordering::SeqCst) {
            return stream.shutdown(Shutdown::Both);
        }
    }
    Ok(())
}

fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<FakeRequest>> {
    let mut line = String::new();
    if reader.by_ref().take(1 << 16).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.by_ref().take(1 << 16).read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Some(FakeRequest {
        method,
        path,
        headers,
        sent: 0,
    }))
}

fn head(reply: &FakeReply) -> String {
    let mut head = format!("HTTP/1.1 {} Words\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let known = |name: &str| {
        reply
            .headers
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(name))
    };
    if !known("content-length") && !known("transfer-encoding") {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    head.push_str("\r\n");
    head
}

/// What a well-behaved hub says.
fn reply(shared: &Shared, request: &FakeRequest) -> FakeReply {
    let path = request.path.split('?').next().unwrap_or_default();
    let models = lock(&shared.models);
    if let Some(sha256) = path.strip_prefix("/storage/") {
        let mut files = models.iter().flat_map(|model| &model.files);
        let found = files.find(|(_, bytes)| sha256_hex(bytes) == sha256);
        return found.map_or_else(not_found, |(_, bytes)| ranged(request, bytes, sha256));
    }
    let api = path
        .strip_prefix("/api/models/")
        .unwrap_or(path)
        .trim_start_matches('/');
    let Some(model) = models
        .iter()
        .find(|model| api.starts_with(&format!("{}/", model.name)))
    else {
        return not_found().with("X-Error-Code", "RepoNotFound");
    };
    let rest = &api[model.name.len() + 1..];
    let (what, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let known = |revision: &str| revision == "main" || revision == model.commit;
    match what {
        "revision" if known(rest) => {
            let siblings = model
                .files
                .iter()
                .map(|(path, _)| json!({"rfilename": path}));
            let siblings: Vec<Value> = siblings.collect();
            as_json(&json!({"id": model.name, "sha": model.commit, "siblings": siblings}))
        }
        "tree" if known(rest) => as_json(&model.files.iter().map(entry).collect()),
        "resolve" => {
            let (_, name) = rest.split_once('/').unwrap_or(("", rest));
            let found = model.files.iter().find(|(path, _)| path == name);
            let Some((_, bytes)) = found else {
                return not_found().with("X-Error-Code", "EntryNotFound");
            };
            if bytes.len() < LARGE_BYTES {
                let reply = ranged(request, bytes, &git_hash(bytes));
                return reply.with("X-Repo-Commit", &model.commit);
            }
            let sha256 = sha256_hex(bytes);
            let storage = &shared.storage;
            FakeReply::new(302, "text/plain", "Found")
                .with(
                    "Location",
                    &format!("{storage}/storage/{sha256}?signature=x"),
                )
                .with("X-Repo-Commit", &model.commit)
                .with("X-Linked-Size", &bytes.len().to_string())
                .with("X-Linked-Etag", &format!("\"{sha256}\""))
        }
        _ => not_found().with("X-Error-Code", "RevisionNotFound"),
    }
}

fn not_found() -> FakeReply {
    FakeReply::new(404, "text/plain", "Not found")
}

fn as_json(value: &Value) -> FakeReply {
    FakeReply::new(200, "application/json; charset=utf-8", value.to_string())
}

/// A file as a listing has it.
fn entry((path, bytes): &(String, Vec<u8>)) -> Value {
    let mut entry =
        json!({"type": "file", "path": path, "size": bytes.len(), "oid": git_hash(bytes)});
    if bytes.len() >= LARGE_BYTES {
        entry["lfs"] = json!({"oid": sha256_hex(bytes), "size": bytes.len(), "pointerSize": 134});
    }
    entry
}

/// The part of a file that a request asks for.
fn ranged(request: &FakeRequest, bytes: &[u8], tag: &str) -> FakeReply {
    let tag = format!("\"{tag}\"");
    let whole = || FakeReply::new(200, "application/octet-stream", bytes).with("ETag", &tag);
    let range = request.header("range").and_then(|text| {
        let (start, end) = text.strip_prefix("bytes=")?.split_once('-')?;
        let end = end
            .parse::<usize>()
            .map_or(bytes.len(), |end| end.saturating_add(1));
        Some((start.parse::<usize>().ok()?, end.min(bytes.len())))
    });
    let Some((start, end)) = range else {
        return whole();
    };
    if request
        .header("if-range")
        .is_some_and(|wanted| wanted != tag)
    {
        return whole();
    }
    if start >= end {
        return FakeReply::new(416, "text/plain", "")
            .with("Content-Range", &format!("bytes */{}", bytes.len()));
    }
    FakeReply::new(206, "application/octet-stream", &bytes[start..end])
        .with("ETag", &tag)
        .with(
            "Content-Range",
            &format!("bytes {start}-{}/{}", end - 1, bytes.len()),
        )
}

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn git_hash(bytes: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
