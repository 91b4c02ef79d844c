//! https: a certificate and its key from files.
//!
//! Cryptography is graviola's: Rust and assembly, no C. It wants a processor of 2013 or later with AES instructions, or an
//! ARM one; elsewhere https is refused in words. TLS 1.2 and 1.3, no certificates of clients.
//! A certificate that was renewed is taken up while the server runs; one that is wrong leaves the old one where it is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A file of certificates, or a key, is far below this.
const PEM_BYTES_MAX: u64 = 16 << 20;

/// Why there is no https.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// This processor computes none.
    #[error("{0}")]
    Processor(&'static str),
    /// A file is not what it has to be.
    #[error("{}: {reason}", file.display())]
    File {
        /// Which one.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Certificate and key do not belong together, or are of a kind that is not known.
    #[error("{} with {}: {reason}", certificate.display(), key.display())]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// A certificate with its key, read from two files of PEM: the server's certificate first, then those of the
/// authorities between it and one that clients know.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    now: RwLock<Read>,
}

/// What was read, and when the files were written.
struct Read {
    config: Arc<ServerConfig>,
    written: [Option<SystemTime>; 2],
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("certificate", &self.0.certificate)
            .field("key", &self.0.key)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file is wrong, and why.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Tls, TlsError> {
        let read = read(certificate, key)?;
        Ok(Tls(Arc::new(Inner {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            now: RwLock::new(read),
        })))
    }

    /// Reads the files again where they were written since. Whether they were.
    ///
    /// # Errors
    /// As [`Self::from_files`]; what was read before stays.
    pub fn renew(&self) -> Result<bool, TlsError> {
        let Inner {
            certificate, key, ..
        } = &*self.0;
        let known = {
            let now = self.0.now.read().unwrap_or_else(PoisonError::into_inner);
            now.written
        };
        if known == [written(certificate), written(key)] {
            return Ok(false);
        }
        let read = read(certificate, key)?;
        *self.0.now.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(true)
    }

    /// What shakes hands with the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let now = self.0.now.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&now.config))
    }
}

fn written(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

fn read(certificate: &Path, key: &Path) -> Result<Read, TlsError> {
    if let Some(missing) = lattice_hub::https_missing() {
        return Err(TlsError::Processor(missing));
    }
    // Before the files are read: what is written meanwhile is read the next time.
    let written = [written(certificate), written(key)];
    let chain = CertificateDer::pem_slice_iter(&pem(certificate)?).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| wrong(certificate, &error))?;
    if chain.is_empty() {
        let file = certificate.to_owned();
        let reason = "has no certificate in it (PEM)".to_owned();
        return Err(TlsError::File { file, reason });
    }
    let secret = match PrivateKeyDer::from_pem_slice(&pem(key)?) {
        Ok(secret) => secret,
        Err(PemError::NoItemsFound) => {
            let file = key.to_owned();
            let reason = "has no private key in it (PEM, without a password)".to_owned();
            return Err(TlsError::File { file, reason });
        }
        Err(error) => return Err(wrong(key, &error)),
    };
    let config = config(chain, secret).map_err(|error| TlsError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(Read {
        config: Arc::new(config),
        written,
    })
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls_graviola::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn config(
    _chain: Vec<CertificateDer<'static>>,
    _key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    Err(rustls::Error::General("no cryptography".to_owned()))
}

fn pem(path: &Path) -> Result<Vec<u8>, TlsError> {
    let refused = |reason: String| TlsError::File {
        file: path.to_owned(),
        reason,
    };
    let metadata = std::fs::metadata(path).map_err(|error| refused(error.to_string()))?;
    if !metadata.is_file() || metadata.len() > PEM_BYTES_MAX {
        return Err(refused("is no file of PEM".to_owned()));
    }
    std::fs::read(path).map_err(|error| refused(error.to_string()))
}

fn wrong(path: &Path, error: &PemError) -> TlsError {
    TlsError::File {
        file: path.to_owned(),
        reason: format!("is no good PEM: {error}"),
    }
}
