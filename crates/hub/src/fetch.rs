//! One file, until it is whole: asked for again where it broke off, from where it broke off.
//!
//! In: where it lies on the hub, what there is of it. Out: all of it, compared with its hash.
//! A file is begun anew only where the server does not go on with it, has another content now, or the hash is wrong; the
//! last of these once.

use std::io::Read as _;
use std::time::Duration;

use crate::client::{Answer, Client};
use crate::listing::PAGE;
use crate::part::Part;
use crate::{HubError, RemoteFile};

/// Bytes read at a time.
const STEP_BYTES: usize = 256 << 10;
/// The longest wait between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Hears how far a file is, and stops it.
pub(crate) trait Hearer {
    /// So many bytes of it are there now.
    fn have(&mut self, bytes: u64) -> Result<(), HubError>;
    /// It broke off, and is asked for again after a pause.
    fn again(&mut self, error: &HubError, pause: Duration) -> Result<(), HubError>;
}

/// Fetches what is missing of a file from `url`.
pub(crate) fn fetch(
    client: &Client<'_>,
    url: &str,
    target: &RemoteFile,
    part: &mut Part<'_>,
    hearer: &mut dyn Hearer,
) -> Result<(), HubError> {
    let mut wrong = false;
    loop {
        until_complete(client, url, target, part, hearer)?;
        match part.check() {
            Ok(()) => return Ok(()),
            Err(error) => {
                part.restart()?;
                if wrong {
                    return Err(error);
                }
                wrong = true;
                hearer.again(&error, Duration::ZERO)?;
                hearer.have(0)?;
            }
        }
    }
}

fn until_complete(
    client: &Client<'_>,
    url: &str,
    target: &RemoteFile,
    part: &mut Part<'_>,
    hearer: &mut dyn Hearer,
) -> Result<(), HubError> {
    let options = &client.hub.options;
    let (mut failures, mut furthest) = (0, part.have());
    while part.have() < target.bytes {
        let Err(error) = once(client, url, target, part, hearer) else {
            continue;
        };
        if !error.may_pass() {
            return Err(error);
        }
        // Only ground that was never reached before counts: a server that cuts every answer at the same byte, or makes us
        // begin anew each time, comes to an end.
        failures = if part.have() > furthest {
            1
        } else {
            failures + 1
        };
        furthest = furthest.max(part.have());
        if failures >= options.tries.max(1) {
            return Err(error);
        }
        let wanted = match &error {
            HubError::Status { retry_s, .. } => retry_s.map(Duration::from_secs),
            _ => None,
        };
        let doubled = options.pause.saturating_mul(1 << (failures - 1).min(10));
        let pause = wanted.unwrap_or(doubled.min(PAUSE_MAX));
        hearer.again(&error, pause)?;
        hearer.have(part.have())?;
    }
    Ok(())
}

/// One request, and what comes of it.
fn once(
    client: &Client<'_>,
    url: &str,
    target: &RemoteFile,
    part: &mut Part<'_>,
    hearer: &mut dyn Hearer,
) -> Result<(), HubError> {
    let range = format!("bytes={}-", part.have());
    let tag = part.tag().map(str::to_owned);
    let mut headers = Vec::new();
    if part.have() > 0 {
        headers.push(("range", range.as_str()));
        // Whose content has changed sends all of it instead of the rest.
        headers.extend(tag.as_deref().map(|tag| ("if-range", tag)));
    }
    let answer = client.get(url, &headers)?;
    if answer.status.as_u16() == 416 {
        part.restart()?;
        return Err(HubError::content(
            &target.path,
            "the server has no such range of it",
        ));
    }
    let answer = answer.good()?;
    check(&answer, target)?;
    let (start, total) = span(&answer, target)?;
    if total.is_some_and(|total| total != target.bytes) {
        part.restart()?;
        let reason = format!(
            "the server sends a file of {} bytes, it has {}",
            total.unwrap_or(0),
            target.bytes
        );
        return Err(HubError::content(&target.path, reason));
    }
    let found = answer.header("etag").map(str::to_owned);
    if start > 0 && tag.is_some() && found.is_some() && tag != found {
        part.restart()?;
        return Err(HubError::content(&target.path, "has changed on the server"));
    }
    if start != part.have() {
        part.restart()?;
        if start > 0 {
            return Err(HubError::content(
                &target.path,
                "the server sends another range",
            ));
        }
        hearer.have(0)?;
    }
    part.keep_tag(found.as_deref())?;
    read(answer, target, part, hearer)
}

/// Refuses an answer that is no file, before a byte of it is kept.
fn check(answer: &Answer, target: &RemoteFile) -> Result<(), HubError> {
    let coding = answer.header("content-encoding").unwrap_or("identity");
    if !coding.trim().eq_ignore_ascii_case("identity") {
        let reason = format!("the server sends it as {coding:?}, which was not asked for");
        return Err(HubError::content(&target.path, reason));
    }
    if answer.kind().contains("html") && !target.path.ends_with(".html") {
        return Err(HubError::content(&target.path, PAGE));
    }
    Ok(())
}

/// Where an answer's bytes begin in the file, and how long the server says the file is.
fn span(answer: &Answer, target: &RemoteFile) -> Result<(u64, Option<u64>), HubError> {
    if answer.status.as_u16() != 206 {
        let length = answer.header("content-length");
        return Ok((0, length.and_then(|text| text.trim().parse().ok())));
    }
    let text = answer.header("content-range").unwrap_or_default();
    let parsed = text.strip_prefix("bytes ").and_then(|rest| {
        let (range, total) = rest.split_once('/')?;
        let (start, _) = range.split_once('-')?;
        let total = if total == "*" {
            None
        } else {
            Some(total.trim().parse().ok()?)
        };
        Some((start.trim().parse().ok()?, total))
    });
    parsed.ok_or_else(|| {
        HubError::content(&target.path, format!("the server sends a range {text:?}"))
    })
}

/// Takes in an answer's bytes, and not one more than the file has.
fn read(
    answer: Answer,
    target: &RemoteFile,
    part: &mut Part<'_>,
    hearer: &mut dyn Hearer,
) -> Result<(), HubError> {
    let url = answer.url.clone();
    let mut reader = answer.into_reader();
    let mut buffer = vec![0; STEP_BYTES];
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(HubError::network(&url, format!("broke off: {error}"))),
        };
        let left = target.bytes - part.have();
        if read as u64 > left {
            part.restart()?;
            let reason = format!("the server sends more than its {} bytes", target.bytes);
            return Err(HubError::content(&target.path, reason));
        }
        if read == 0 {
            if left == 0 {
                return Ok(());
            }
            let reason = format!("broke off with {left} bytes to come");
            return Err(HubError::network(&url, reason));
        }
        part.append(&buffer[..read])?;
        hearer.have(part.have())?;
    }
}

/// The first `bytes` of a file, and no more than these where the server keeps to ranges.
pub(crate) fn head(
    client: &Client<'_>,
    url: &str,
    target: &RemoteFile,
    bytes: u64,
) -> Result<Vec<u8>, HubError> {
    if bytes == 0 {
        return Ok(Vec::new());
    }
    let range = format!("bytes=0-{}", bytes - 1);
    let answer = client.patiently(url, &[("range", &range)])?.good()?;
    check(&answer, target)?;
    if span(&answer, target)?.0 != 0 {
        return Err(HubError::content(
            &target.path,
            "the server sends another range",
        ));
    }
    let url = answer.url.clone();
    let mut head = Vec::new();
    answer
        .into_reader()
        .take(bytes)
        .read_to_end(&mut head)
        .map_err(|error| HubError::network(&url, format!("broke off: {error}")))?;
    if (head.len() as u64) < bytes {
        return Err(HubError::network(&url, "broke off"));
    }
    Ok(head)
}
