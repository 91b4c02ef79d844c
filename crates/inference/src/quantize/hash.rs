//! The two hashes of a written tensor: XXH3-64, which every load checks, and SHA-256, which names it for good.

use std::hash::Hasher as _;

use sha2::{Digest as _, Sha256};
use twox_hash::XxHash3_64;

/// Hashes of a stretch of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hashes {
    pub(super) xxh3: u64,
    /// Lower-case hex.
    pub(super) sha256: String,
}

/// Takes bytes as they come.
#[derive(Default)]
pub(super) struct Hashing {
    xxh3: XxHash3_64,
    sha256: Sha256,
}

impl Hashing {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.xxh3.write(bytes);
        self.sha256.update(bytes);
    }

    pub(super) fn finish(self) -> Hashes {
        Hashes {
            xxh3: self.xxh3.finish(),
            sha256: hex(&self.sha256.finalize()),
        }
    }
}

/// SHA-256 as lower-case hex, as the manifest writes it.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        let mut hashing = Hashing::default();
        hashing.update(b"a");
        hashing.update(b"bc");
        let hashes = hashing.finish();
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hashes.sha256, sha256);
        assert_eq!(hashes.xxh3, 0x78af_5f94_892f_3950);
        assert_eq!(Hashing::default().finish().xxh3, 0x2d06_8005_38d3_94c2);
    }
}
