//! Certificate and key from PEM files.

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use tidegate::core::{Error, Result};
use tokio_rustls::TlsAcceptor;

/// TLS 1.2 and 1.3, without client certificates.
///
/// # Errors
/// `Reconfigure`: a file can't be read, is no PEM, or key and certificate don't fit.
pub(crate) fn acceptor(certificates: &Path, key: &Path) -> Result<TlsAcceptor> {
    let unreadable = |what: &str, path: &Path, error: rustls::pki_types::pem::Error| {
        Error::reconfigure(format!("no {what} can be read from {}; it must be a PEM file", path.display()))
            .because(error)
    };
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|e| unreadable("certificate", certificates, e))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable("private key", key, e))?;
    let unfit = |error: rustls::Error| {
        Error::reconfigure(format!(
            "the certificate of {} and the key of {} can't be used",
            certificates.display(),
            key.display()
        ))
        .because(error)
    };
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unfit)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
