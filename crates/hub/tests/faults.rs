//! Hubs that misbehave: what comes is right, or is refused in words, and nothing half stands under a model's name.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{
    LARGE_BYTES, NAME, assert_absent, assert_whole, contents, model, noise, options, pull,
};
use lattice_hub::{HubError, Token};
use lattice_testkit::{FakeHub, FakeModel, FakeReply, FakeRequest, ScratchDir, sha256_hex};

/// A hub whose answers with large files are spoiled: by their number, from 0.
fn spoiled(
    model: &FakeModel,
    spoil: impl Fn(usize, &FakeRequest, FakeReply) -> FakeReply + Send + Sync + 'static,
) -> FakeHub {
    let hub = FakeHub::start(vec![model.clone()]);
    let count = AtomicUsize::new(0);
    hub.spoil(move |request, reply| {
        if request.path.starts_with("/storage/") {
            spoil(count.fetch_add(1, Ordering::SeqCst), request, reply)
        } else {
            reply
        }
    });
    hub
}

#[test]
fn a_connection_cut_anywhere_is_gone_on_with() {
    for share in [0.01, 0.5, 0.999] {
        let (dir, model) = (ScratchDir::new().unwrap(), model());
        let hub = spoiled(&model, move |_, request, mut reply| {
            if request.header("range").is_none() {
                reply.cut = Some((reply.body.len() as f64 * share) as usize);
            }
            reply
        });
        pull(options(&hub.endpoint()), dir.path()).unwrap();
        assert_whole(dir.path(), &model);
        // What the server wrote before a cut may be lost on the way; nothing more is sent twice.
        let sent = hub.sent_large();
        assert!(
            (LARGE_BYTES..=LARGE_BYTES * 3 / 2).contains(&sent),
            "{share}: {sent}"
        );
    }
}

#[test]
fn a_server_that_cuts_every_answer_is_got_to_the_end_of_and_one_that_stands_still_is_given_up() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let hub = spoiled(&model, |_, _, mut reply| {
        reply.cut = Some(200_000);
        reply
    });
    pull(options(&hub.endpoint()), dir.path()).unwrap();
    assert_whole(dir.path(), &model);
    let dir = ScratchDir::new().unwrap();
    let hub = spoiled(&model, |_, _, mut reply| {
        reply.cut = Some(0);
        reply
    });
    let words = pull(options(&hub.endpoint()), dir.path())
        .unwrap_err()
        .to_string();
    assert!(
        words.contains("/storage/") && !words.contains("signature"),
        "{words}"
    );
    assert_absent(dir.path());
}

#[test]
fn a_server_that_ignores_ranges_is_begun_anew_with() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let whole = model.clone();
    let hub = spoiled(&model, move |count, request, mut reply| {
        if count < 3 {
            reply.cut = Some(60_000);
            return reply;
        }
        let asked = |bytes: &[u8]| request.path.contains(&sha256_hex(bytes));
        let found = whole.files.iter().find(|(_, bytes)| asked(bytes));
        FakeReply::new(200, "application/octet-stream", found.unwrap().1.clone())
    });
    pull(options(&hub.endpoint()), dir.path()).unwrap();
    assert_whole(dir.path(), &model);
}

#[test]
fn another_tag_midway_begins_the_file_anew() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let hub = spoiled(&model, |count, _, mut reply| {
        if count < 3 {
            reply.cut = Some(50_000);
            return reply.with("ETag", "\"old\"");
        }
        reply.with("ETag", "\"new\"")
    });
    pull(options(&hub.endpoint()), dir.path()).unwrap();
    assert_whole(dir.path(), &model);
    let resumed = hub
        .requests()
        .into_iter()
        .filter(|r| r.header("if-range") == Some("\"old\""));
    assert!(
        resumed.count() > 0,
        "what was begun is asked for under its tag"
    );
}

#[test]
fn a_range_that_was_not_asked_for_is_not_taken() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let hub = spoiled(&model, |count, _, mut reply| {
        if count < 3 {
            reply.cut = Some(50_000);
        } else if count < 6 {
            reply = reply.with("Content-Range", "bytes 7-99999/1000003");
        }
        reply
    });
    pull(options(&hub.endpoint()), dir.path()).unwrap();
    assert_whole(dir.path(), &model);
}

#[test]
fn wrong_lengths_are_refused_before_they_are_kept() {
    for (length, words) in [
        ("17", "a file of 17 bytes"),
        ("9999999999999", "a file of 9999999999999 bytes"),
    ] {
        let (dir, model) = (ScratchDir::new().unwrap(), model());
        let hub = spoiled(&model, move |_, _, reply| {
            reply.with("Content-Length", length)
        });
        let error = pull(options(&hub.endpoint()), dir.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{error}");
        assert_absent(dir.path());
    }
    // Without a length, what is too much is not written down.
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let hub = spoiled(&model, |_, _, mut reply| {
        reply.body.extend(noise(3_000_000, 5));
        let chunk = format!("{:x}\r\n", reply.body.len()).into_bytes();
        reply.body = [chunk, reply.body, b"\r\n0\r\n\r\n".to_vec()].concat();
        reply.with("Transfer-Encoding", "chunked")
    });
    let error = pull(options(&hub.endpoint()), dir.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("sends more than its"), "{error}");
    assert_absent(dir.path());
    let kept: usize = contents(dir.path()).values().map(Vec::len).sum();
    assert!(kept < LARGE_BYTES, "{kept}");
}

#[test]
fn a_wrong_hash_costs_that_file_alone_and_is_never_seen() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let hub = spoiled(&model, |count, _, mut reply| {
        if count == 0 {
            reply.body[3] ^= 1;
        }
        reply
    });
    pull(options(&hub.endpoint()), dir.path()).unwrap();
    assert_whole(dir.path(), &model);
    assert!(hub.sent_large() <= LARGE_BYTES + 1_000_003);
    let dir = ScratchDir::new().unwrap();
    let hub = spoiled(&model, |_, request, mut reply| {
        if request.path.contains(&sha256_hex(&noise(1_000_001, 2))) {
            let last = reply.body.len() - 1;
            reply.body[last] ^= 1;
        }
        reply
    });
    let error = pull(options(&hub.endpoint()), dir.path()).unwrap_err();
    assert!(matches!(error, HubError::Hash { .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("model-00002-of-00002.safetensors: its bytes"),
        "{error}"
    );
    assert_absent(dir.path());
    // The small files' hashes are git's, and are looked at as well.
    let dir = ScratchDir::new().unwrap();
    let hub = FakeHub::start(vec![model]);
    hub.spoil(|request, mut reply| {
        if request.path.ends_with("/config.json") && !request.path.contains("1_Pooling") {
            reply.body = b"[]".to_vec();
        }
        reply
    });
    let error = pull(options(&hub.endpoint()), dir.path())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("config.json: its bytes are others: git "),
        "{error}"
    );
}

#[test]
fn names_that_lead_out_refuse_the_listing() {
    for name in [
        "../../.bashrc",
        "/etc/passwd",
        "a\\..\\b",
        "C:evil",
        "a/../../b",
        "nul\0",
        "a//b",
    ] {
        let (dir, mut model) = (ScratchDir::new().unwrap(), model());
        model.files.push((name.to_owned(), b"x".to_vec()));
        let hub = FakeHub::start(vec![model]);
        let error = pull(options(&hub.endpoint()), dir.path()).unwrap_err();
        assert!(matches!(error, HubError::Answer { .. }), "{name}: {error}");
        assert!(contents(dir.path()).is_empty());
    }
}

#[test]
fn hashes_and_commits_that_are_none_are_refused() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    for (from, to) in [
        ("\"oid\":\"", "\"oid\":\"../"),
        ("\"sha\":\"", "\"sha\":\"../../"),
        ("[{", "{\"a\": [{"),
    ] {
        let hub = FakeHub::start(vec![model.clone()]);
        hub.spoil(move |_, mut reply| {
            let text = String::from_utf8_lossy(&reply.body).replace(from, to);
            reply.body = text.into_bytes();
            reply
        });
        let error = pull(options(&hub.endpoint()), dir.path()).unwrap_err();
        assert!(matches!(error, HubError::Answer { .. }), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn planted_links_are_not_written_through() {
    use std::os::unix::fs::symlink;
    let model = model();
    let hub = FakeHub::start(vec![model.clone()]);
    let path = sha256_hex(b"model-00001-of-00002.safetensors");
    let shard = format!("{}-{}", sha256_hex(&noise(1_000_003, 1)), &path[..16]);
    let links = [
        ("org/name.partial/.parts".to_owned(), true),
        (format!("org/name.partial/.parts/{shard}"), false),
        ("org/name.partial/1_Pooling".to_owned(), true),
        ("org/name.partial/lock".to_owned(), false),
        ("org/name.partial".to_owned(), true),
        ("org".to_owned(), true),
        ("org/name".to_owned(), true),
    ];
    for (link, is_dir) in links {
        let dir = ScratchDir::new().unwrap();
        let (root, away) = (dir.path().join("root"), dir.path().join("away"));
        fs::create_dir(&root).unwrap();
        match is_dir {
            true => fs::create_dir(&away).unwrap(),
            false => fs::write(&away, "kept").unwrap(),
        }
        let link = root.join(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(&away, &link).unwrap();
        let result = pull(options(&hub.endpoint()), &root);
        assert!(result.is_err(), "{}", link.display());
        match is_dir {
            true => assert!(fs::read_dir(&away).unwrap().next().is_none()),
            false => assert_eq!(fs::read_to_string(&away).unwrap(), "kept"),
        }
    }
    // One in the place of a finished file is removed, not followed.
    let dir = ScratchDir::new().unwrap();
    fs::write(dir.path().join("away"), "{}").unwrap();
    fs::create_dir_all(dir.path().join("root/org/name.partial")).unwrap();
    symlink(
        dir.path().join("away"),
        dir.path().join("root/org/name.partial/config.json"),
    )
    .unwrap();
    symlink(
        dir.path().join("away"),
        dir.path().join("root/org/name.partial/lattice-pull.json"),
    )
    .unwrap();
    pull(options(&hub.endpoint()), &dir.path().join("root")).unwrap();
    assert_whole(&dir.path().join("root"), &model);
    assert_eq!(fs::read_to_string(dir.path().join("away")).unwrap(), "{}");
}

#[test]
fn what_others_put_there_is_not_replaced() {
    let dir = ScratchDir::new().unwrap();
    let hub = FakeHub::start(vec![model()]);
    fs::create_dir_all(dir.path().join(NAME)).unwrap();
    fs::write(dir.path().join(NAME).join("config.json"), "mine").unwrap();
    let words = pull(options(&hub.endpoint()), dir.path())
        .unwrap_err()
        .to_string();
    assert!(
        words.contains("was not pulled, and is not replaced"),
        "{words}"
    );
    assert_eq!(
        fs::read_to_string(dir.path().join(NAME).join("config.json")).unwrap(),
        "mine"
    );
}

#[test]
fn directories_that_cannot_be_written_are_named() {
    let dir = ScratchDir::new().unwrap();
    let hub = FakeHub::start(vec![model()]);
    fs::write(dir.path().join("file"), "x").unwrap();
    let words = pull(options(&hub.endpoint()), &dir.path().join("file/models"))
        .unwrap_err()
        .to_string();
    assert!(words.contains("file/models: cannot create"), "{words}");
    fs::write(dir.path().join("org"), "x").unwrap();
    let words = pull(options(&hub.endpoint()), dir.path())
        .unwrap_err()
        .to_string();
    assert!(
        words.contains("org: is a file where a folder should be"),
        "{words}"
    );
}

#[test]
fn the_token_stays_with_the_hub() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let storage = FakeHub::start(vec![model.clone()]);
    let hub = FakeHub::start_with(vec![model.clone()], Some(&storage));
    let mut with = options(&hub.endpoint());
    with.token = Some(Token::new("hf_secret").unwrap());
    pull(with, dir.path()).unwrap();
    assert_whole(dir.path(), &model);
    assert!(!storage.requests().is_empty());
    assert!(
        storage
            .requests()
            .iter()
            .all(|request| request.header("authorization").is_none())
    );
    let known = |request: &FakeRequest| request.header("authorization") == Some("Bearer hf_secret");
    assert!(hub.requests().iter().all(known));
}

#[test]
fn redirects_that_go_round_or_nowhere_end() {
    for target in [
        "/loop",
        "file:///etc/passwd",
        "http://",
        "x y",
        "http://127.0.0.1:1/x",
    ] {
        let (dir, model) = (ScratchDir::new().unwrap(), model());
        let hub = FakeHub::start(vec![model]);
        hub.spoil(move |request, reply| {
            if request.path.contains("/resolve/") || request.path == "/loop" {
                return FakeReply::new(302, "text/plain", "").with("Location", target);
            }
            reply
        });
        let error = pull(options(&hub.endpoint()), dir.path()).unwrap_err();
        assert!(
            matches!(error, HubError::Answer { .. } | HubError::Network { .. }),
            "{target}: {error}"
        );
        assert_absent(dir.path());
    }
}

#[test]
fn pages_and_compressed_streams_are_no_weights() {
    let page = "<html>Please log in to this network</html>";
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let hub = FakeHub::start(vec![model.clone()]);
    hub.spoil(move |_, _| FakeReply::new(200, "text/html; charset=utf-8", page));
    let words = pull(options(&hub.endpoint()), dir.path())
        .unwrap_err()
        .to_string();
    assert!(words.contains("a web page came in its place"), "{words}");
    let hub = spoiled(&model, move |_, _, _| {
        FakeReply::new(200, "text/html", page)
    });
    let words = pull(options(&hub.endpoint()), dir.path())
        .unwrap_err()
        .to_string();
    assert!(
        words.contains(".safetensors: a web page") || words.contains("tokenizer.json: a web page"),
        "{words}"
    );
    // The first bytes of a stream of gzip that would grow a thousandfold.
    let hub = spoiled(&model, |_, _, mut reply| {
        reply.body = [&[0x1f, 0x8b, 8, 0][..], &noise(1000, 4)].concat();
        reply.with("Content-Encoding", "gzip")
    });
    let words = pull(options(&hub.endpoint()), dir.path())
        .unwrap_err()
        .to_string();
    assert!(words.contains("sends it as \"gzip\""), "{words}");
    assert_absent(dir.path());
    let asked = hub.requests();
    assert!(
        asked
            .iter()
            .all(|request| request.header("accept-encoding") == Some("identity"))
    );
    // A listing without an end is not read to it.
    let hub = FakeHub::start(vec![model]);
    hub.spoil(|request, reply| match request.path.contains("/tree/") {
        true => FakeReply::new(200, "application/json", vec![b' '; 33 << 20]),
        false => reply,
    });
    let words = pull(options(&hub.endpoint()), dir.path())
        .unwrap_err()
        .to_string();
    assert!(words.contains("more than any listing"), "{words}");
}

#[test]
fn passing_trouble_passes_and_a_refusal_is_told_in_the_servers_words() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let hub = FakeHub::start(vec![model.clone()]);
    let count = AtomicUsize::new(0);
    hub.spoil(move |_, reply| match count.fetch_add(1, Ordering::SeqCst) {
        0 | 3 | 6 => FakeReply::new(503, "text/plain", "busy"),
        4 => FakeReply::new(429, "text/plain", "slowly").with("Retry-After", "0"),
        _ => reply,
    });
    pull(options(&hub.endpoint()), dir.path()).unwrap();
    assert_whole(dir.path(), &model);
    let dir = ScratchDir::new().unwrap();
    let hub = spoiled(&model, |_, _, _| {
        FakeReply::new(451, "text/plain", "x")
            .with("X-Error-Message", "Access to this resource is disabled.")
    });
    let words = pull(options(&hub.endpoint()), dir.path())
        .unwrap_err()
        .to_string();
    assert!(
        words.contains("answers 451: Access to this resource is disabled."),
        "{words}"
    );
}

#[test]
fn a_silent_server_is_given_up() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let hub = spoiled(&model, |_, _, mut reply| {
        reply.pace = Duration::from_secs(30);
        reply
    });
    let mut impatient = options(&hub.endpoint());
    impatient.silence = Duration::from_millis(50);
    impatient.tries = 2;
    let words = pull(impatient, dir.path()).unwrap_err().to_string();
    assert!(words.contains("/storage/"), "{words}");
    assert_absent(dir.path());
}

#[test]
fn pages_of_a_listing_are_followed_on_the_same_hub_alone() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let hub = FakeHub::start(vec![model.clone()]);
    let endless = |request: &FakeRequest, reply: FakeReply| match request.path.contains("/tree/") {
        true => reply.with("Link", &format!("<{}>; rel=\"next\"", request.path)),
        false => reply,
    };
    hub.spoil(endless);
    let words = pull(options(&hub.endpoint()), dir.path())
        .unwrap_err()
        .to_string();
    assert!(words.contains("without an end"), "{words}");
    hub.spoil(|request, reply| {
        if !request.path.contains("/tree/") {
            return reply;
        }
        let all: Vec<serde_json::Value> = serde_json::from_slice(&reply.body).unwrap();
        let second = request.path.contains("cursor=2");
        let half = if second { &all[5..] } else { &all[..5] };
        let page = FakeReply::new(
            200,
            "application/json",
            serde_json::to_string(half).unwrap(),
        );
        if second {
            return page;
        }
        page.with(
            "Link",
            &format!("<{}&cursor=2>; rel=\"next\"", request.path),
        )
    });
    pull(options(&hub.endpoint()), dir.path()).unwrap();
    assert_whole(dir.path(), &model);
}
