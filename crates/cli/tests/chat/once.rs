//! One question, one answer.

use super::{Home, QUESTION, words};

#[test]
fn the_same_question_has_the_same_answer() {
    let home = Home::new();
    let args = ["-p", QUESTION, "--temperature", "0", "--max-tokens", "24"];
    let first = home.answer(&args);
    assert!(first.trim().len() > 3 && first.ends_with('\n'), "{first:?}");
    assert_eq!(home.answer(&args), first);
    let seeded = ["-p", QUESTION, "--seed", "5", "--max-tokens", "24"];
    assert_eq!(home.answer(&seeded), home.answer(&seeded));
}

#[test]
fn stdin_is_the_prompt_with_and_without_a_dash() {
    let home = Home::new();
    let greedy = ["--temperature", "0", "--max-tokens", "24"];
    let given = home.answer(&[&["-p", QUESTION], &greedy[..]].concat());
    let line = format!("{QUESTION}\n");
    for args in [&greedy[..], &[&["-p", "-"], &greedy[..]].concat()] {
        let output = home.run(args, line.as_bytes());
        assert!(output.status.success(), "{}", words(&output));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), given);
    }
}

#[test]
fn a_pipe_gets_the_text_and_nothing_else() {
    let home = Home::new();
    let output = home.run(
        &[
            "-p",
            QUESTION,
            "--think",
            "--max-tokens",
            "40",
            "--seed",
            "1",
        ],
        b"",
    );
    assert!(!output.stdout.contains(&0x1b));
    assert_eq!(words(&output), "");
}

#[test]
fn an_empty_prompt_is_an_error() {
    let home = Home::new();
    for (args, stdin) in [
        (&["-p", ""][..], &b""[..]),
        (&["-p", " \n "], b""),
        (&["-p", "-"], b"\n"),
        (&[], b""),
    ] {
        let output = home.run(args, stdin);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert_eq!(words(&output), "lattice: the prompt is empty\n");
        assert!(output.stdout.is_empty());
    }
    let output = home.run(&["-p", "-"], b"\xff\xfe");
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("UTF-8"), "{}", words(&output));
}

#[test]
fn a_flag_out_of_range_is_named() {
    let home = Home::new();
    for (flag, value) in [
        ("--temperature", "-1"),
        ("--temperature", "nan"),
        ("--top-p", "2"),
        ("--min-p", "-0.5"),
        ("--repetition-penalty", "0"),
        ("--presence-penalty", "-3"),
        ("--frequency-penalty", "1e9"),
        ("--stop", ""),
    ] {
        let output = home.run(&["-p", "x", flag, value], b"");
        assert_eq!(output.status.code(), Some(2), "{flag} {value}");
        assert!(words(&output).contains(flag), "{}", words(&output));
    }
}

#[test]
fn an_unknown_model_says_what_is_there() {
    let home = Home::new();
    std::fs::create_dir(home.path().join("other")).unwrap();
    std::fs::write(home.path().join("other/config.json"), "{}").unwrap();
    let output = home.run(&["-m", "nobody", "-p", "x"], b"");
    assert_eq!(output.status.code(), Some(1));
    let words = words(&output);
    for part in ["nobody", "other", "lattice-tiny (bundled)"] {
        assert!(words.contains(part), "{words}");
    }
}

#[test]
fn a_home_is_not_needed() {
    let home = Home::new();
    for value in [None, Some("")] {
        let mut command = home.chat(&["-p", QUESTION, "--max-tokens", "2"]);
        match value {
            None => command.env_remove("HOME"),
            Some(value) => command.env("HOME", value),
        };
        let output = command.env_remove("LATTICE_MODEL_CACHE").output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
    }
}

#[cfg(unix)]
#[test]
fn a_model_lies_anywhere() {
    use std::os::unix::fs::symlink;
    let home = Home::new();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/lattice-tiny");
    let path = home.path().join("two words 🦊");
    symlink(model, &path).unwrap();
    let args = ["-p", QUESTION, "--temperature", "0", "--max-tokens", "8"];
    let from_path = home.answer(&[&args[..], &["-m", path.to_str().unwrap()]].concat());
    assert_eq!(from_path, home.answer(&args));
}

#[cfg(unix)]
#[test]
fn a_name_that_is_no_text_is_refused_in_words() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let home = Home::new();
    let mut command = home.chat(&["-p", "x", "-m"]);
    let output = command.arg(OsStr::from_bytes(b"\xff")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!words(&output).contains("panicked"), "{}", words(&output));
}

#[test]
fn stop_strings_never_leak() {
    let home = Home::new();
    let args = ["-p", QUESTION, "--temperature", "0", "--max-tokens", "48"];
    let whole = home.answer(&args);
    let whole = whole.trim_end_matches('\n');
    let at = |index: usize| whole.char_indices().nth(index).map_or(0, |(at, _)| at);
    let count = whole.chars().count();
    // One character, some across token edges, and the whole answer.
    for (from, to) in [(5, 6), (2, 9), (count / 2, count / 2 + 5), (0, count)] {
        let stop = &whole[at(from)..if to >= count { whole.len() } else { at(to) }];
        let before = whole.split(stop).next().unwrap();
        let answer = home.answer(&[&args[..], &["--stop", stop]].concat());
        assert_eq!(
            answer.trim_end_matches('\n'),
            before.trim_end_matches('\n'),
            "{stop:?}"
        );
    }
    let five = ["a", "é", "🦊", "the ", "zzz"];
    let stops: Vec<&str> = five.iter().flat_map(|stop| ["--stop", stop]).collect();
    let answer = home.answer(&[&args[..], &stops[..]].concat());
    assert!(five.iter().all(|stop| !answer.contains(stop)), "{answer}");
    assert!(whole.starts_with(answer.trim_end_matches('\n')));
}

#[test]
fn a_prompt_longer_than_the_context_is_refused_with_both_counts() {
    let home = Home::new();
    let prompt = "word ".repeat(200);
    let output = home.run(&["-p", &prompt, "--context", "64"], b"");
    assert_eq!(output.status.code(), Some(1));
    let words = words(&output);
    assert!(words.contains("64"), "{words}");
    assert!(words.contains("tokens"), "{words}");
}
