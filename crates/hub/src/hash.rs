//! The two hashes that the hub has for a file.
//!
//! Large files have a SHA-256; small ones have git's: the SHA-1 of `blob <length>`, a NUL and the content.

use std::fmt;
use std::io::{self, Read};

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::HubError;

/// Bytes read at a time.
const STEP_BYTES: usize = 1 << 20;

/// What a file's content must hash to; lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256 of the content.
    Sha256(String),
    /// Git's name of the content.
    Git(String),
}

impl Hash {
    /// A SHA-256, if it looks like one.
    pub(crate) fn sha256(text: &str) -> Option<Self> {
        is_hex(text, 64).then(|| Self::Sha256(text.to_owned()))
    }

    /// Git's name of a blob, if it looks like one.
    pub(crate) fn git(text: &str) -> Option<Self> {
        is_hex(text, 40).then(|| Self::Git(text.to_owned()))
    }

    /// A name for the unfinished content of the file at `path`: two files may have one content.
    pub(crate) fn part_name(&self, path: &str) -> String {
        let (Self::Sha256(content) | Self::Git(content)) = self;
        let path = hex(&Sha256::digest(path));
        format!("{content}-{}", &path[..16])
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(hex) => write!(f, "SHA-256 {hex}"),
            Self::Git(hex) => write!(f, "git {hex}"),
        }
    }
}

/// Takes a file's bytes as they come.
#[derive(Clone)]
pub(crate) struct Hashing {
    sha256: Sha256,
    git: Sha1,
}

impl Hashing {
    /// For a file of `bytes` bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let mut git = Sha1::new();
        git.update(format!("blob {bytes}\0"));
        Self {
            sha256: Sha256::new(),
            git,
        }
    }

    /// Takes in bytes; of git's hash only where that is what will be compared.
    pub(crate) fn update(&mut self, bytes: &[u8], expected: &Hash) {
        self.sha256.update(bytes);
        if let Hash::Git(_) = expected {
            self.git.update(bytes);
        }
    }

    /// Takes in what a reader has, in steps. `between` is told of each one's bytes, `failed` names a reader that fails.
    pub(crate) fn read(
        &mut self,
        mut reader: impl Read,
        expected: &Hash,
        mut between: impl FnMut(usize) -> Result<(), HubError>,
        failed: &dyn Fn(io::Error) -> HubError,
    ) -> Result<(), HubError> {
        let mut buffer = vec![0; STEP_BYTES];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => {
                    self.update(&buffer[..read], expected);
                    between(read)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// The SHA-256, and the hash of the expected kind.
    pub(crate) fn finish(self, expected: &Hash) -> (String, Hash) {
        let sha256 = hex(&self.sha256.finalize());
        let found = match expected {
            Hash::Sha256(_) => Hash::Sha256(sha256.clone()),
            Hash::Git(_) => Hash::Git(hex(&self.git.finalize())),
        };
        (sha256, found)
    }
}

pub(crate) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        let git = Hash::git("b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0").unwrap();
        let mut hashing = Hashing::new(5);
        hashing.update(b"hello", &git);
        let (sha256, found) = hashing.finish(&git);
        assert_eq!(found, git, "printf hello | git hash-object --stdin");
        let expected = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(sha256, expected);
        assert!(Hash::sha256(expected).is_some() && Hash::git(expected).is_none());
        for wrong in ["", "../x", &expected.to_uppercase(), &expected[1..]] {
            assert!(Hash::sha256(wrong).is_none(), "{wrong}");
        }
    }
}
