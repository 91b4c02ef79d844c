//! The store on the disk keeps what it is given, within its limit, and gives nothing that was damaged.

use lattice_testkit::ScratchDir;
use proptest::prelude::*;

use super::*;

const BYTES_MAX: u64 = 1 << 20;

fn entry(number: u8) -> Entry {
    Entry {
        row: (0..8).map(|i| f32::from(number) + i as f32 / 8.0).collect(),
        tokens: number.into(),
        tokens_before: 300,
    }
}

fn key(number: u8) -> Key {
    Key([number; Key::BYTES])
}

fn filled(dir: &Path, count: u8) -> Disk {
    let mut disk = Disk::open(dir, BYTES_MAX).unwrap();
    for number in 0..count {
        disk.put(key(number), &entry(number));
    }
    disk
}

#[test]
fn what_was_kept_is_there_for_the_next_run() {
    let dir = ScratchDir::new().unwrap();
    drop(filled(dir.path(), 20));
    let mut disk = Disk::open(dir.path(), BYTES_MAX).unwrap();
    for number in 0..20 {
        assert_eq!(disk.get(&key(number)), Some(entry(number)));
    }
    assert_eq!(disk.get(&key(99)), None);
    assert_eq!(disk.fill().corrupt, 0);
    assert!(disk.take_notes().is_empty());
}

#[test]
fn one_process_at_a_time() {
    let dir = ScratchDir::new().unwrap();
    let disk = filled(dir.path(), 1);
    let error = Disk::open(dir.path(), BYTES_MAX).err().unwrap().to_string();
    assert!(error.contains("another process"), "{error}");
    drop(disk);
    assert!(Disk::open(dir.path(), BYTES_MAX).is_ok());
}

#[test]
fn the_oldest_go_and_the_limit_holds() {
    let dir = ScratchDir::new().unwrap();
    let limit = 8 * 1024;
    let mut disk = Disk::open(dir.path(), limit).unwrap();
    for number in 0..=255 {
        disk.put(key(number), &entry(number));
        let files = fs::read_dir(dir.path()).unwrap();
        let bytes: u64 = files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        assert!(bytes <= limit, "{bytes}");
    }
    assert_eq!(disk.get(&key(0)), None);
    assert_eq!(disk.get(&key(255)), Some(entry(255)));
    // A smaller limit holds from the next opening on.
    drop(disk);
    let disk = Disk::open(dir.path(), limit / 2).unwrap();
    assert!(disk.fill().bytes <= limit / 2 && disk.fill().entries > 0);
}

#[test]
fn a_file_of_another_version_is_replaced() {
    let dir = ScratchDir::new().unwrap();
    fs::write(dir.path().join("00000000.vectors"), b"LATTVEC\x02....").unwrap();
    fs::write(dir.path().join("notes.txt"), b"not ours").unwrap();
    let mut disk = filled(dir.path(), 1);
    assert_eq!(disk.fill().corrupt, 1);
    let notes = disk.take_notes();
    assert!(notes[0].contains("00000000.vectors: byte 0"), "{notes:?}");
    assert_eq!(disk.get(&key(0)), Some(entry(0)));
    assert!(dir.path().join("notes.txt").exists());
}

#[test]
fn a_byte_that_changes_while_it_is_open_is_seen() {
    let dir = ScratchDir::new().unwrap();
    let mut disk = filled(dir.path(), 2);
    let path = dir.path().join("00000000.vectors");
    let mut bytes = fs::read(&path).unwrap();
    bytes[MAGIC.len() + HEAD_BYTES] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(disk.get(&key(0)), None);
    assert_eq!(disk.get(&key(1)), Some(entry(1)));
    assert!(disk.take_notes()[0].contains("checksum"));
    disk.put(key(0), &entry(0));
    assert_eq!(disk.get(&key(0)), Some(entry(0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_damage_gives_a_wrong_vector(at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>()) {
        let dir = ScratchDir::new().unwrap();
        drop(filled(dir.path(), 9));
        let path = dir.path().join("00000000.vectors");
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        match cut {
            true => bytes.truncate(at),
            false => bytes[at] ^= 1 << bit,
        }
        fs::write(&path, &bytes).unwrap();
        let mut disk = Disk::open(dir.path(), BYTES_MAX).unwrap();
        for number in 0..9 {
            let found = disk.get(&key(number));
            prop_assert!(found.is_none() || found == Some(entry(number)));
            disk.put(key(number), &entry(number));
            prop_assert_eq!(disk.get(&key(number)), Some(entry(number)));
        }
    }
}
