//! https: which certificates are believed, and who computes it.
//!
//! Cryptography is graviola's: Rust and assembly, no C. It wants a processor of 2013 or later with AES instructions, or
//! an ARM one; elsewhere https is refused in words, and plain http (a mirror in one's own network) still works.
//! Believed are Mozilla's authorities, as they were when this was built, and those in a PEM file of the caller's.

use std::path::Path;
use std::sync::Arc;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::HubError;

/// A file of certificates is far below this.
const PEM_BYTES_MAX: u64 = 16 << 20;

/// What this processor lacks for https, if anything.
#[must_use]
pub fn https_missing() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let has = std::arch::is_x86_feature_detected!("aes")
            && std::arch::is_x86_feature_detected!("pclmulqdq")
            && std::arch::is_x86_feature_detected!("bmi1")
            && std::arch::is_x86_feature_detected!("adx")
            && std::arch::is_x86_feature_detected!("avx2");
        (!has).then_some("https needs a processor with AES, PCLMULQDQ, BMI1, ADX and AVX2")
    }
    #[cfg(target_arch = "aarch64")]
    {
        let has = std::arch::is_aarch64_feature_detected!("aes")
            && std::arch::is_aarch64_feature_detected!("pmull")
            && std::arch::is_aarch64_feature_detected!("sha2");
        (!has).then_some("https needs a processor with AES, PMULL and SHA2")
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        Some("https is not to be had on this kind of processor")
    }
}

/// The settings for ureq.
pub(crate) fn config(roots: Option<&Path>) -> Result<TlsConfig, HubError> {
    let mut certificates: Vec<Certificate<'static>> = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|der| Certificate::from_der(der))
        .collect();
    if let Some(path) = roots {
        certificates.extend(from_pem(path)?);
    }
    let builder = TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(certificates)));
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    let builder =
        builder.unversioned_rustls_crypto_provider(Arc::new(rustls_graviola::default_provider()));
    Ok(builder.build())
}

fn from_pem(path: &Path) -> Result<Vec<Certificate<'static>>, HubError> {
    let refused = |reason: String| HubError::Option {
        option: "certificates",
        found: path.display().to_string(),
        reason,
    };
    let metadata = std::fs::metadata(path).map_err(|error| refused(error.to_string()))?;
    if !metadata.is_file() || metadata.len() > PEM_BYTES_MAX {
        return Err(refused("is no file of certificates".to_owned()));
    }
    let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(found) = item.map_err(|error| refused(error.to_string()))? {
            certificates.push(found);
        }
    }
    if certificates.is_empty() {
        return Err(refused("has no certificate in it".to_owned()));
    }
    Ok(certificates)
}
