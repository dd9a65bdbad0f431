//! The cryptography of WebRTC, all of it by `ring` but for AES in counter mode, which `ring` does not have.
//!
//! `str0m` and `dimpl` (its DTLS) take it from outside, so that no second library comes into the program. DTLS 1.2
//! alone: every browser speaks it.

mod certificate;
mod handshake;
mod srtp;

use std::{sync::Arc, time::Instant};

use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};
use ring::{digest, hmac};
use str0m_proto::crypto::{
    CryptoError, CryptoProvider, DtlsVersion, Sha1HmacProvider, Sha256Provider,
    dtls::{DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion as Version},
};

/// For [`str0m::RtcConfig::set_crypto_provider`].
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider {
        srtp_provider: &srtp::Provider,
        sha1_hmac_provider: &Hashes,
        sha256_provider: &Hashes,
        dtls_provider: &Dtls,
    }
}

#[derive(Debug)]
struct Hashes;

impl Sha1HmacProvider for Hashes {
    fn sha1_hmac(&self, key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        let mut of = hmac::Context::with_key(&key);
        payloads.iter().for_each(|p| of.update(p));
        let mut out = [0; 20];
        out.copy_from_slice(of.sign().as_ref());
        out
    }
}

impl Sha256Provider for Hashes {
    fn sha256(&self, data: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
        out
    }
}

/// A certificate of the server's own, by whose hash its peers know it (RFC 8122): made at each start, never stored.
pub(crate) fn certificate(serial: [u8; 16]) -> Result<DtlsCert, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "rushes");
    params.distinguished_name = name;
    params.is_ca = IsCa::NoCa;
    // Firefox refuses two certificates of one issuer with one number.
    params.serial_number = Some(serial.to_vec().into());
    let certificate = params.self_signed(&key)?.der().to_vec();
    Ok(DtlsCert { certificate, private_key: key.serialize_der() })
}

#[derive(Debug)]
struct Dtls;

impl DtlsProvider for Dtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        let mut serial = [0; 16];
        dimpl::crypto::SecureRandom::fill(&handshake::Random, &mut serial).ok()?;
        certificate(serial).ok()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        if version != DtlsVersion::Dtls12 {
            return Err(CryptoError::Other(format!("{version} is not spoken here")));
        }
        let certificate = dimpl::DtlsCertificate {
            certificate: cert.certificate.clone(),
            private_key: cert.private_key.clone(),
        };
        // ICE has found out already that the peer is where it says: no cookie.
        let mut config =
            dimpl::Config::builder().use_server_cookie(false).with_crypto_provider(handshake::provider());
        if let Some(mtu) = mtu {
            config = config.mtu(mtu);
        }
        let config = config.build().map_err(|e| CryptoError::Other(e.to_string()))?;
        Ok(Box::new(Instance(dimpl::Dtls::new_12(Arc::new(config), certificate, now))))
    }
}

struct Instance(dimpl::Dtls);

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DTLS")
    }
}

impl DtlsInstance for Instance {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }
    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        self.0.poll_output(buf)
    }
    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }
    fn send_application_data(&mut self, data: &[u8]) -> Result<(), DtlsImplError> {
        self.0.send_application_data(data)
    }
    fn is_active(&self) -> bool {
        self.0.is_active()
    }
    fn protocol_version(&self) -> Option<Version> {
        self.0.protocol_version()
    }
    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }
    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_rfcs() {
        // RFC 2202 §3, case 2, in two pieces; FIPS 180-2 appendix B.1.
        let mac = Hashes.sha1_hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(mac[..4], [0xef, 0xfc, 0xdf, 0x6a]);
        assert_eq!(Hashes.sha256(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    /// `dimpl` holds what it is given to vectors of its own.
    #[test]
    fn the_handshakes_cryptography_passes_dimpls_own_checks() {
        handshake::provider().validate().unwrap();
    }
}
