//! Certificates: given, or made here and kept.

use std::{net::SocketAddr, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::{Failure, config::TlsConfig, folder::DataFolder};

/// Builds what the listener needs; HTTP/2 is offered first.
pub fn server(
    config: &TlsConfig,
    folder: &DataFolder,
    listen: SocketAddr,
    host: Option<&str>,
) -> Result<Arc<ServerConfig>, Failure> {
    let (chain, key, from) = match config {
        TlsConfig::Files { certificate, key } => {
            let read =
                |p: &std::path::Path| std::fs::read(p).map_err(|e| Failure(format!("{}: {e}", p.display())));
            (read(certificate)?, read(key)?, certificate.display().to_string())
        }
        TlsConfig::SelfSigned => {
            let pem = folder.file_or("self-signed.pem", || self_signed(listen, host))?;
            (pem.clone(), pem, "self-signed.pem".into())
        }
    };
    let certs = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Failure(format!("{from}: {e}")))?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|e| Failure(format!("the private key for {from}: {e}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Failure::new)?
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .map_err(|e| Failure(format!("{from}: certificate and key do not go together: {e}")))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}

fn self_signed(listen: SocketAddr, host: Option<&str>) -> Result<Vec<u8>, Failure> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".into(), "::1".into()];
    if !listen.ip().is_unspecified() && !listen.ip().is_loopback() {
        names.push(listen.ip().to_string());
    }
    names.extend(host.map(str::to_owned));
    let made = rcgen::generate_simple_self_signed(names).map_err(Failure::new)?;
    Ok(format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem()).into_bytes())
}
