//! Which files are opened, and what happens when they change.

use std::path::Path;
use std::time::{Duration, SystemTime};

use lattice_inference::checkpoint::{Checkpoint, LoadError, Mapping, ModelFiles, OpenOptions};

use crate::{Folder, safetensors, says};

fn weights() -> Vec<u8> {
    safetensors(&[("a", "F32", &[4096], &[7; 16_384])])
}

fn model() -> (Folder, std::path::PathBuf) {
    let folder = Folder::new();
    let path = folder.write("model.safetensors", weights());
    (folder, path)
}

fn open(folder: &Folder, mapping: Mapping) -> Checkpoint {
    Checkpoint::open_with(&folder.files(), OpenOptions { mapping }).expect("it is right")
}

#[test]
fn mapped_and_copied_hold_the_same_bytes() {
    let (folder, _) = model();
    for mapping in [Mapping::Mapped, Mapping::Copied] {
        let checkpoint = open(&folder, mapping);
        assert_eq!(
            checkpoint.tensor("a").map(|a| a.bytes),
            Some(&[7; 16_384][..])
        );
        checkpoint.unchanged().expect("nobody touched it");
    }
}

#[test]
fn a_truncated_file_is_noticed_and_a_copy_does_not_care() {
    let (folder, path) = model();
    let (mapped, copied) = (
        open(&folder, Mapping::Mapped),
        open(&folder, Mapping::Copied),
    );
    let file = std::fs::File::options()
        .write(true)
        .open(path)
        .expect("it is there");
    file.set_len(4096).expect("it can be cut");
    let error = mapped.unchanged().expect_err("it was cut").to_string();
    says(
        &error,
        &[
            "model.safetensors",
            "changed while it was in use",
            "now 4096",
        ],
    );
    copied.unchanged().expect("a copy is ours");
    assert_eq!(copied.tensor("a").map(|a| a.bytes[16_383]), Some(7));
}

#[test]
fn a_file_is_only_copied_when_its_header_fits_its_length() {
    let (folder, path) = model();
    let file = std::fs::File::options()
        .write(true)
        .open(path)
        .expect("it is there");
    // As long as no memory: reading it first would end the test.
    file.set_len(1 << 38)
        .expect("a file with a hole can be made");
    let options = OpenOptions {
        mapping: Mapping::Copied,
    };
    let error = Checkpoint::open_with(&folder.files(), options).expect_err("must be refused");
    says(&error.to_string(), &["bytes behind the last tensor"]);
    file.set_len(100).expect("it can be cut");
    let error = Checkpoint::open_with(&folder.files(), options).expect_err("must be refused");
    says(
        &error.to_string(),
        &["tensor a ends at byte", "file has 100"],
    );
}

#[test]
fn a_file_written_in_place_is_noticed() {
    let (folder, path) = model();
    let checkpoint = open(&folder, Mapping::Mapped);
    let file = std::fs::File::options()
        .write(true)
        .open(path)
        .expect("it is there");
    file.set_modified(SystemTime::now() + Duration::from_secs(5))
        .expect("its time can be set");
    assert!(matches!(
        checkpoint.unchanged(),
        Err(LoadError::Changed { .. })
    ));
}

#[cfg(unix)]
#[test]
fn a_replaced_or_removed_file_does_no_harm_and_the_old_bytes_live_on() {
    let (folder, path) = model();
    let checkpoint = open(&folder, Mapping::Mapped);
    let other = folder.write("other", safetensors(&[("a", "F32", &[4096], &[9; 16_384])]));
    std::fs::rename(other, &path).expect("it can be replaced");
    let old = Some(&[7; 16_384][..]);
    assert_eq!(checkpoint.tensor("a").map(|a| a.bytes), old);
    assert!(checkpoint.unchanged().is_ok());
    std::fs::remove_file(path).expect("it can be removed");
    assert!(checkpoint.unchanged().is_ok());
    assert_eq!(checkpoint.tensor("a").map(|a| a.bytes), old);
}

#[test]
fn a_model_is_a_directory() {
    let (_folder, path) = model();
    let error = ModelFiles::open(&path)
        .expect_err("it is a file")
        .to_string();
    says(
        &error,
        &["is a file", "name the directory that holds its config.json"],
    );
    let error = ModelFiles::open(Path::new("/no/such/model")).expect_err("there is nothing");
    says(&error.to_string(), &["/no/such/model: cannot open"]);
}

#[test]
fn a_directory_in_place_of_a_file_is_refused() {
    let folder = Folder::new();
    std::fs::create_dir(folder.0.join("model.safetensors")).expect("a directory");
    let error = Checkpoint::open(&folder.files())
        .expect_err("must be refused")
        .to_string();
    says(
        &error,
        &["model.safetensors: is a directory, not a regular file"],
    );
}

#[test]
fn names_that_lead_out_are_refused() {
    let (folder, _) = model();
    for name in [
        "../model.safetensors",
        "/etc/passwd",
        "C:x",
        "a\\b",
        "a\0",
        "",
        "./x",
        "a//b",
    ] {
        for error in [
            folder.files().bytes(name).err(),
            folder.files().text(name, 9).err(),
        ] {
            assert!(
                matches!(error, Some(LoadError::Name { .. })),
                "{name:?}: {error:?}"
            );
        }
    }
}

#[test]
fn texts_are_bounded_and_utf8() {
    let folder = Folder::new();
    folder.write("long.txt", [b'a'; 100]);
    folder.write("broken.txt", b"ab\xff");
    folder.write("sub/inner.txt", "here");
    let files = folder.files();
    assert_eq!(
        files.text("absent.txt", 10).expect("absence is no error"),
        None
    );
    assert_eq!(
        files
            .text("long.txt", 100)
            .expect("it fits")
            .map(|text| text.len()),
        Some(100)
    );
    assert_eq!(
        files
            .text("sub/inner.txt", 9)
            .expect("it is inside")
            .as_deref(),
        Some("here")
    );
    let error = files
        .text("long.txt", 99)
        .expect_err("it is longer")
        .to_string();
    says(&error, &["long.txt", "100 bytes, at most 99"]);
    let error = files
        .text("broken.txt", 99)
        .expect_err("it is no text")
        .to_string();
    says(&error, &["broken.txt", "byte 2"]);
}

#[test]
fn embedded_files_are_used_where_they_lie() {
    const FILES: &[(&str, &[u8])] = &[("config.json", b"{}"), ("broken", b"\xff")];
    let files = ModelFiles::embedded("tiny", FILES);
    assert_eq!((files.name().as_str(), files.path()), ("tiny", None));
    let bytes = files
        .bytes("config.json")
        .expect("it is there")
        .expect("it is there");
    assert!(std::ptr::eq(&*bytes, FILES[0].1));
    assert!(files.text("config.json", 1).is_err());
    assert!(files.text("broken", 1).is_err());
    assert!(
        files
            .bytes("absent")
            .expect("absence is no error")
            .is_none()
    );
}

#[test]
fn paths_of_all_kinds_work() {
    let folder = Folder::new();
    for name in [
        "with space",
        "ünïcode 模型 🦊",
        "C:\\models\\tiny",
        "trailing.",
    ] {
        if cfg!(windows) && name.contains(['\\', ':']) {
            continue;
        }
        folder.write(&format!("{name}/model.safetensors"), weights());
        let files = ModelFiles::open(&folder.0.join(name)).expect("it is there");
        assert_eq!(files.name(), name);
        Checkpoint::open(&files).expect("it is right");
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::time::Instant;

    use super::*;

    fn refused_at_once(folder: &Folder, words: &[&str]) {
        let start = Instant::now();
        let error = Checkpoint::open(&folder.files())
            .expect_err("must be refused")
            .to_string();
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "refused after {:?}",
            start.elapsed()
        );
        says(&error, words);
    }

    #[test]
    fn pipes_are_refused_without_waiting() {
        let folder = Folder::new();
        let path = folder.0.join("model.safetensors");
        let made = std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .expect("mkfifo runs");
        assert!(made.success());
        refused_at_once(&folder, &["model.safetensors: is a named pipe"]);
        assert!(ModelFiles::open(&path).is_err_and(|error| error.to_string().contains("pipe")));
    }

    #[test]
    fn devices_are_refused() {
        let error = ModelFiles::open(Path::new("/dev/zero")).expect_err("it is a device");
        says(
            &error.to_string(),
            &["/dev/zero: is a device, not a model directory"],
        );
        let folder = Folder::new();
        symlink("/dev/zero", folder.0.join("model.safetensors")).expect("a link");
        refused_at_once(&folder, &["leads outside", "/dev/zero"]);
    }

    #[test]
    fn a_file_without_permission_is_refused_where_permission_counts() {
        let (folder, path) = model();
        let nobody = std::fs::Permissions::from_mode(0o0);
        std::fs::set_permissions(&path, nobody).expect("it is ours");
        let opened = Checkpoint::open(&folder.files());
        // The system's own answer is the measure: for root, permission does not count.
        match (std::fs::File::open(&path), opened) {
            (Ok(_), opened) => assert!(opened.is_ok()),
            (Err(_), Err(error)) => says(&error.to_string(), &["model.safetensors: cannot open"]),
            (Err(_), Ok(_)) => panic!("opened a file that may not be opened"),
        }
    }

    #[test]
    fn links_inside_are_followed_and_broken_or_endless_ones_refused() {
        let (folder, path) = model();
        std::fs::rename(&path, folder.0.join("real.bin")).expect("it is there");
        symlink("real.bin", &path).expect("a link");
        Checkpoint::open(&folder.files()).expect("the link stays inside");
        std::fs::remove_file(&path).expect("it is there");
        for target in ["nowhere", "model.safetensors"] {
            symlink(target, &path).expect("a link");
            refused_at_once(&folder, &["model.safetensors: cannot follow"]);
            std::fs::remove_file(&path).expect("it is there");
        }
    }

    #[test]
    fn a_hub_snapshot_may_link_to_its_blobs_and_nowhere_else() {
        let folder = Folder::new();
        let hub = "models--org--some--model";
        folder.write(&format!("{hub}/blobs/abc"), weights());
        folder.write(&format!("{hub}/refs/main"), "0123");
        folder.write("other/blobs/abc", weights());
        folder.write(&format!("{hub}/snapshots/0123/config.json"), "{}");
        let snapshot = folder.0.join(hub).join("snapshots/0123");
        let link = snapshot.join("model.safetensors");
        let files = ModelFiles::open(&snapshot).expect("it is there");
        assert_eq!(files.name(), "org/some--model");
        symlink("../../blobs/abc", &link).expect("a link");
        Checkpoint::open(&files).expect("a snapshot is made of such links");
        for target in [
            "../../refs/main",
            "../../../other/blobs/abc",
            "../../blobs/../refs/main",
        ] {
            std::fs::remove_file(&link).expect("it is there");
            symlink(target, &link).expect("a link");
            let error = Checkpoint::open(&files)
                .expect_err("must be refused")
                .to_string();
            says(&error, &["leads outside"]);
        }
    }

    #[test]
    fn blobs_beside_a_plain_directory_are_outside() {
        let folder = Folder::new();
        folder.write("hub/blobs/abc", weights());
        folder.write("hub/plain/0123/config.json", "{}");
        let directory = folder.0.join("hub/plain/0123");
        symlink("../../blobs/abc", directory.join("model.safetensors")).expect("a link");
        let files = ModelFiles::open(&directory).expect("it is there");
        says(
            &Checkpoint::open(&files)
                .expect_err("no snapshot")
                .to_string(),
            &["leads outside"],
        );
    }

    #[test]
    fn a_name_that_is_no_text_is_a_path_like_others() {
        use std::os::unix::ffi::OsStrExt as _;
        let folder = Folder::new();
        let path = folder.0.join(std::ffi::OsStr::from_bytes(b"bad\xffname"));
        std::fs::create_dir(&path).expect("a directory");
        std::fs::write(path.join("model.safetensors"), weights()).expect("a file");
        Checkpoint::open(&ModelFiles::open(&path).expect("it is there")).expect("it is right");
    }
}
