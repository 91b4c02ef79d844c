//! A hub that behaves: what comes, what does not come again, who waits for whom.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::time::Duration;

use common::{
    LARGE_BYTES, NAME, assert_absent, assert_whole, contents, model, noise, options, pull,
    pull_with,
};
use lattice_hub::{Choice, Event, Hub, HubError, HubOptions, ModelName, Record, Taken, Token};
use lattice_testkit::{FakeHub, FakeReply, ScratchDir};

#[test]
fn a_model_comes_whole_and_only_once() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let hub = FakeHub::start(vec![model.clone()]);
    let (mut done, mut bytes) = (0, 0);
    let record = pull_with(options(&hub.endpoint()), dir.path(), &mut |event| {
        match event {
            Event::Done { .. } => done += 1,
            Event::Bytes { have, .. } => bytes = bytes.max(*have),
            _ => {}
        }
        true
    });
    let record = record.unwrap();
    assert_eq!(
        (record.name.as_str(), record.revision.as_str()),
        (NAME, "main")
    );
    assert_eq!(done, record.files.len());
    assert_whole(dir.path(), &model);
    assert_eq!(hub.sent_large(), LARGE_BYTES);
    for file in &record.files {
        file.verify(&dir.path().join(NAME), |_| Ok(())).unwrap();
    }
    hub.forget();
    assert_eq!(pull(options(&hub.endpoint()), dir.path()).unwrap(), record);
    assert_eq!(hub.requests().len(), 2, "only what main leads to is asked");
}

#[test]
fn files_of_one_content_do_not_meet() {
    let (dir, mut model) = (ScratchDir::new().unwrap(), model());
    let twin = noise(300_000, 4);
    for path in [
        "vocab.json",
        "merges.txt",
        "tokenizer.model",
        "added_tokens.json",
    ] {
        model.files.push((path.to_owned(), twin.clone()));
    }
    let hub = FakeHub::start(vec![model.clone()]);
    hub.spoil(|_, mut reply| {
        reply.pace = Duration::from_millis(1);
        reply
    });
    pull(options(&hub.endpoint()), dir.path()).unwrap();
    assert_whole(dir.path(), &model);
}

#[test]
fn a_newer_commit_costs_what_changed() {
    let (dir, mut newer) = (ScratchDir::new().unwrap(), model());
    let hub = FakeHub::start(vec![newer.clone()]);
    pull(options(&hub.endpoint()), dir.path()).unwrap();
    newer.commit = "b".repeat(40);
    let shard = newer
        .files
        .iter_mut()
        .find(|(path, _)| path.starts_with("model-00002"));
    shard.unwrap().1 = noise(900_000, 9);
    newer
        .files
        .retain(|(path, _)| path != "1_Pooling/config.json");
    hub.set_models(vec![newer.clone()]);
    hub.forget();
    pull(options(&hub.endpoint()), dir.path()).unwrap();
    assert_whole(dir.path(), &newer);
    assert_eq!(hub.sent_large(), 900_000);
}

#[test]
fn a_file_of_the_old_one_that_was_damaged_is_fetched_again() {
    let (dir, mut newer) = (ScratchDir::new().unwrap(), model());
    let hub = FakeHub::start(vec![newer.clone()]);
    pull(options(&hub.endpoint()), dir.path()).unwrap();
    let shard = dir
        .path()
        .join(NAME)
        .join("model-00001-of-00002.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    bytes[500_000] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let record = Record::open(&dir.path().join(NAME)).unwrap().unwrap();
    let file = record.file("model-00001-of-00002.safetensors").unwrap();
    let error = file.verify(&dir.path().join(NAME), |_| Ok(())).unwrap_err();
    assert!(matches!(error, HubError::Hash { .. }), "{error}");
    newer.commit = "c".repeat(40);
    hub.set_models(vec![newer.clone()]);
    pull(options(&hub.endpoint()), dir.path()).unwrap();
    assert_whole(dir.path(), &newer);
}

#[test]
fn revisions_lie_side_by_side_and_unknown_ones_are_named() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let hub = FakeHub::start(vec![model.clone()]);
    let asked = |name: &str| -> Result<Record, HubError> {
        let hub = Hub::new(options(&hub.endpoint()))?;
        let listing = hub.listing(&name.parse()?)?;
        let choice = Choice::of(&listing, &[])?;
        let watch = &mut |_event: Event<'_>| std::ops::ControlFlow::Continue(());
        match hub.take(dir.path(), listing, choice, watch)? {
            Taken::There(record) => Ok(record),
            Taken::Pull(pull) => pull.fetch(watch),
        }
    };
    let name = format!("{NAME}@{}", model.commit);
    asked(&name).unwrap();
    assert_absent(dir.path());
    assert!(dir.path().join(&name).join("config.json").is_file());
    let words = asked("org/name@v2").unwrap_err().to_string();
    assert_eq!(words, "org/name: has no revision v2");
    let words = asked("org/none").unwrap_err().to_string();
    assert!(words.contains("org/none: http://127.0.0.1"), "{words}");
    assert!(
        words.ends_with("has no such model, or it is private and wants a token"),
        "{words}"
    );
}

#[test]
fn a_gated_or_private_model_opens_with_a_token() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let hub = FakeHub::start(vec![model.clone()]);
    hub.spoil(|request, reply| {
        let opens = request.header("authorization") == Some("Bearer hf_secret");
        if opens || request.path.starts_with("/storage/") {
            return reply;
        }
        FakeReply::new(403, "text/plain", "no").with("X-Error-Code", "GatedRepo")
    });
    let words = pull(options(&hub.endpoint()), dir.path())
        .unwrap_err()
        .to_string();
    assert!(words.contains("accepted their terms"), "{words}");
    let mut with = options(&hub.endpoint());
    with.token = Some(Token::new(" hf_secret\n").unwrap());
    assert!(!format!("{with:?}").contains("hf_secret"));
    pull(with, dir.path()).unwrap();
    assert_whole(dir.path(), &model);
    assert!(
        Token::new("a b").is_err() && Token::new("").is_err() && Token::new("a\r\nX: y").is_err()
    );
}

#[test]
fn the_first_bytes_of_weights_come_before_the_weights() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let fake = FakeHub::start(vec![model.clone()]);
    let hub = Hub::new(options(&fake.endpoint())).unwrap();
    let name: ModelName = NAME.parse().unwrap();
    let listing = hub.listing(&name).unwrap();
    let choice = Choice::of(&listing, &[]).unwrap();
    let watch = &mut |_event: Event<'_>| std::ops::ControlFlow::Continue(());
    let Taken::Pull(pull) = hub.take(dir.path(), listing, choice, watch).unwrap() else {
        panic!("it is not there yet");
    };
    let room = pull.room();
    assert_eq!(room.needed, pull.choice().bytes());
    pull.check_room().unwrap();
    pull.fetch_small(watch).unwrap();
    assert!(pull.path().join("config.json").is_file());
    assert!(pull.room().needed >= 2_000_004 && pull.room().needed < room.needed);
    fake.forget();
    let shard = &pull.choice().weights[0];
    assert_eq!(pull.head(shard, 1000).unwrap(), noise(1_000_003, 1)[..1000]);
    assert_eq!(fake.sent_large(), 1000);
    assert_eq!(pull.head(shard, u64::MAX).unwrap().len(), 1_000_003);
    pull.fetch(watch).unwrap();
    assert_whole(dir.path(), &model);
}

#[test]
fn of_two_that_want_one_model_one_fetches_and_one_waits() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let hub = FakeHub::start(vec![model.clone()]);
    hub.spoil(|_, mut reply| {
        reply.pace = Duration::from_millis(5);
        reply
    });
    let waited = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut hear = |event: &Event<'_>| {
                    if matches!(event, Event::Waiting) {
                        waited.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    }
                    true
                };
                pull_with(options(&hub.endpoint()), dir.path(), &mut hear).unwrap();
            });
        }
    });
    assert_whole(dir.path(), &model);
    assert_eq!(hub.sent_large(), LARGE_BYTES);
    assert!(waited.into_inner() > 0);
}

#[test]
fn a_stop_keeps_what_came() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let hub = FakeHub::start(vec![model.clone()]);
    hub.spoil(|_, mut reply| {
        reply.pace = Duration::from_millis(2);
        reply
    });
    let error = pull_with(
        options(&hub.endpoint()),
        dir.path(),
        &mut |event| !matches!(event, Event::Bytes { have, .. } if *have > 300_000),
    );
    assert!(matches!(error, Err(HubError::Stopped)), "{error:?}");
    assert_absent(dir.path());
    let kept: usize = contents(dir.path()).values().map(Vec::len).sum();
    assert!(kept > 300_000);
    hub.spoil(|_, reply| reply);
    hub.forget();
    pull(options(&hub.endpoint()), dir.path()).unwrap();
    assert_whole(dir.path(), &model);
    assert!(hub.sent_large() <= LARGE_BYTES - 300_000);
}

#[test]
fn a_server_that_falls_silent_is_left_at_once_when_asked() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let hub = FakeHub::start(vec![model]);
    hub.spoil(|request, mut reply| {
        if request.path.starts_with("/storage/") {
            reply.pace = Duration::from_secs(60);
        }
        reply
    });
    let started = std::time::Instant::now();
    let mut ticks = 0;
    let result = pull_with(options(&hub.endpoint()), dir.path(), &mut |event| {
        ticks += usize::from(matches!(event, Event::Tick));
        ticks < 3
    });
    assert!(matches!(result, Err(HubError::Stopped)), "{result:?}");
    // Far below the server's minute and our own patience of several seconds a try.
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn offline_no_socket_is_opened() {
    let dir = ScratchDir::new().unwrap();
    let hub = FakeHub::start(vec![model()]);
    let offline = HubOptions {
        offline: true,
        proxy: Some(lattice_hub::Proxy {
            url: hub.endpoint(),
            bypass: Vec::new(),
        }),
        ..options(&hub.endpoint())
    };
    let error = pull(offline, dir.path()).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    assert!(hub.requests().is_empty());
}

#[test]
fn endpoints_that_cannot_be_are_refused() {
    for endpoint in [
        "",
        "hub.example",
        "ftp://hub.example",
        "https://user:word@hub.example",
        "https://x/?q",
        "https:///x",
    ] {
        let error = Hub::new(options(endpoint)).unwrap_err();
        assert!(
            matches!(
                error,
                HubError::Option {
                    option: "endpoint",
                    ..
                }
            ),
            "{endpoint}: {error}"
        );
        assert!(!error.to_string().contains("word"), "{error}");
    }
    assert_eq!(
        Hub::new(options("https://hub.example/mirror/"))
            .unwrap()
            .endpoint(),
        "https://hub.example/mirror"
    );
}
