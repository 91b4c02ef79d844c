//! What a repository holds at one commit.
//!
//! In: a model's name. Out: its files with lengths and hashes, at the commit that the revision leads to now.
//! A listing is refused as a whole where a file's name could lead out of a directory, or its hash is none.

use std::io::Read as _;

use lattice_files::check_relative;

use crate::client::Answer;
use crate::hash::is_hex;
use crate::{Hash, Hub, HubError, ModelName, url};

/// Bytes of an answer in JSON.
const JSON_BYTES_MAX: u64 = 32 << 20;
/// Pages of a listing; each has up to a thousand entries.
const PAGES_MAX: usize = 50;
/// Files of a repository.
const FILES_MAX: usize = 50_000;

/// A file on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its path in the repository; a plain relative one.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// What its content must hash to.
    pub hash: Hash,
}

/// A repository's files at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The model asked for.
    pub name: ModelName,
    /// The commit that its revision leads to.
    pub commit: String,
    /// All files, in the hub's order.
    pub files: Vec<RemoteFile>,
}

#[derive(serde::Deserialize)]
struct Revision {
    sha: String,
}

#[derive(serde::Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    oid: String,
    #[serde(default)]
    size: u64,
    lfs: Option<Lfs>,
}

#[derive(serde::Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Hub {
    /// Asks what the model's revision is now, and lists its files.
    ///
    /// # Errors
    /// [`HubError::Offline`], [`HubError::NoModel`], [`HubError::NoRevision`], [`HubError::Gated`]; what the network says;
    /// [`HubError::Answer`] for a listing that breaks a rule.
    pub fn listing(&self, name: &ModelName) -> Result<Listing, HubError> {
        let client = self.client(name)?;
        let api = format!(
            "{}/api/models/{}",
            self.base,
            url::encoded(name.repository())
        );
        let revision = url::encoded(name.revision()).replace('/', "%2F");
        let first = format!("{api}/revision/{revision}");
        let answer = client.patiently(&first, &[])?;
        let answer = refusal(answer, name, &self.base)?;
        let Revision { sha: commit } = json(answer)?;
        if !is_hex(&commit, 40) && !is_hex(&commit, 64) {
            return Err(HubError::answer(&first, "names no commit"));
        }
        let mut files = Vec::new();
        let mut next = Some(format!("{api}/tree/{commit}?recursive=true"));
        for _ in 0..PAGES_MAX {
            let Some(page) = next.take() else { break };
            let answer = refusal(client.patiently(&page, &[])?, name, &self.base)?;
            next = next_page(&answer)?;
            let entries: Vec<Entry> = json(answer)?;
            for entry in entries.into_iter().filter(|entry| entry.kind == "file") {
                files.push(checked(entry).map_err(|reason| HubError::answer(&page, reason))?);
            }
            if files.len() > FILES_MAX {
                return Err(HubError::answer(&page, "lists too many files"));
            }
        }
        if next.is_some() {
            return Err(HubError::answer(&first, "lists files without an end"));
        }
        Ok(Listing {
            name: name.clone(),
            commit,
            files,
        })
    }
}

/// The hub's refusals that have words of their own.
fn refusal(answer: Answer, name: &ModelName, endpoint: &str) -> Result<Answer, HubError> {
    let (model, endpoint) = (name.repository().to_owned(), endpoint.to_owned());
    match (answer.status.as_u16(), answer.header("x-error-code")) {
        (_, Some("RevisionNotFound")) => Err(HubError::NoRevision {
            name: model,
            revision: name.revision().to_owned(),
        }),
        (_, Some("GatedRepo")) => Err(HubError::Gated {
            name: model,
            endpoint,
        }),
        (401 | 404, _) => Err(HubError::NoModel {
            name: model,
            endpoint,
        }),
        _ => answer.good(),
    }
}

/// Reads an answer as JSON of a bounded size.
fn json<T: serde::de::DeserializeOwned>(answer: Answer) -> Result<T, HubError> {
    let url = answer.url.clone();
    if answer.kind().contains("html") {
        return Err(HubError::answer(&url, PAGE));
    }
    let mut bytes = Vec::new();
    let mut reader = answer.into_reader().take(JSON_BYTES_MAX + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| HubError::network(&url, error))?;
    if bytes.len() as u64 > JSON_BYTES_MAX {
        return Err(HubError::answer(
            &url,
            "answers more than any listing takes",
        ));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| HubError::answer(&url, format!("is no listing: {error}")))
}

/// Said of a web page where data should be.
pub(crate) const PAGE: &str = "a web page came in its place: is this the hub's address, and must one log in to the network here?";

/// The URL of the next page, on the same hub.
fn next_page(answer: &Answer) -> Result<Option<String>, HubError> {
    let Some(links) = answer.header("link") else {
        return Ok(None);
    };
    let next = links.split(',').find(|link| link.contains("rel=\"next\""));
    let target = next.and_then(|link| link.trim().strip_prefix('<')?.split('>').next());
    let Some(target) = target else {
        return Ok(None);
    };
    url::join(&answer.url, target).map(Some)
}

fn checked(entry: Entry) -> Result<RemoteFile, String> {
    let path = entry.path;
    check_relative(&path).map_err(|reason| format!("lists a file {path:?}: {reason}"))?;
    let (bytes, hash) = match entry.lfs {
        Some(lfs) => {
            let hash = Hash::sha256(lfs.oid.strip_prefix("sha256:").unwrap_or(&lfs.oid));
            (lfs.size, hash)
        }
        None => (entry.size, Hash::git(&entry.oid)),
    };
    let hash = hash.ok_or_else(|| format!("lists {path:?} without a hash"))?;
    Ok(RemoteFile { path, bytes, hash })
}
