//! What DTLS 1.2 needs (RFC 5246, RFC 5289, RFC 7905): key agreement, signatures, hashes, authenticated encryption.

use aes::cipher::{BlockEncrypt, KeyInit, generic_array::GenericArray};
use dimpl::{
    CryptoError, CryptoOperation,
    crypto::{
        Aad, ActiveKeyExchange, Buf, Cipher, CryptoProvider, Dtls12CipherSuite, Dtls13CipherSuite,
        HashAlgorithm, HashContext, HashProvider, HmacProvider, KeyProvider, NamedGroup, Nonce, SecureRandom,
        SignatureAlgorithm, SignatureVerifier, SigningKey, SupportedDtls12CipherSuite,
        SupportedDtls13CipherSuite, SupportedKxGroup, TmpBuf, check_verify_scheme,
    },
};
use ring::{
    aead::{self, LessSafeKey, UnboundKey},
    agreement::{self, EphemeralPrivateKey, UnparsedPublicKey},
    digest, hmac,
    rand::{SecureRandom as _, SystemRandom},
    signature::{self, EcdsaKeyPair, EcdsaVerificationAlgorithm},
};

use super::certificate::{Bad, Curve, public_key};

pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: GROUPS,
        signature_verification: &Signatures,
        key_provider: &Signatures,
        secure_random: &Random,
        hash_provider: &Digests,
        hmac_provider: &Digests,
        cipher_suites: SUITES,
        // `dimpl` wants one of DTLS 1.3's, too, which is never offered here.
        dtls13_cipher_suites: &[&Suite13],
    }
}

fn failed(what: CryptoOperation) -> CryptoError {
    CryptoError::OperationFailed(what)
}

fn length(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

#[allow(clippy::disallowed_methods, reason = "ring makes keys from no other randomness than its own")]
fn random() -> SystemRandom {
    SystemRandom::new()
}

#[derive(Debug)]
pub(super) struct Random;

impl SecureRandom for Random {
    fn fill(&self, buf: &mut [u8]) -> Result<(), CryptoError> {
        random().fill(buf).map_err(|_| failed(CryptoOperation::FillRandom))
    }
}

// Hashes.

#[derive(Debug)]
struct Digests;

impl HashProvider for Digests {
    fn create_hash(&self, algorithm: HashAlgorithm) -> Box<dyn HashContext> {
        // Asked for the hashes of `SUITES` alone.
        let algorithm = if algorithm == HashAlgorithm::SHA384 { &digest::SHA384 } else { &digest::SHA256 };
        Box::new(Hash(digest::Context::new(algorithm)))
    }
}

struct Hash(digest::Context);

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash")
    }
}

impl HashContext for Hash {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
    fn clone_and_finalize(&self, out: &mut Buf) {
        out.clear();
        out.extend_from_slice(self.0.clone().finish().as_ref());
    }
}

impl HmacProvider for Digests {
    fn hmac(
        &self,
        hash: HashAlgorithm,
        key: &[u8],
        data: &[u8],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let algorithm = match hash {
            HashAlgorithm::SHA256 => hmac::HMAC_SHA256,
            HashAlgorithm::SHA384 => hmac::HMAC_SHA384,
            other => return Err(CryptoError::UnsupportedHmacHash(other)),
        };
        let tag = hmac::sign(&hmac::Key::new(algorithm, key), data);
        let tag = tag.as_ref();
        out[..tag.len()].copy_from_slice(tag);
        Ok(tag.len())
    }
}

// Key agreement.

#[derive(Debug)]
struct Group(NamedGroup);

const GROUPS: &[&dyn SupportedKxGroup] =
    &[&Group(NamedGroup::X25519), &Group(NamedGroup::Secp256r1), &Group(NamedGroup::Secp384r1)];

fn agreement(group: NamedGroup) -> Result<&'static agreement::Algorithm, CryptoError> {
    match group {
        NamedGroup::X25519 => Ok(&agreement::X25519),
        NamedGroup::Secp256r1 => Ok(&agreement::ECDH_P256),
        NamedGroup::Secp384r1 => Ok(&agreement::ECDH_P384),
        other => Err(CryptoError::UnsupportedKeyExchangeGroup(other)),
    }
}

impl SupportedKxGroup for Group {
    fn name(&self) -> NamedGroup {
        self.0
    }
    fn start_exchange(&self, mut buf: Buf) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        let key = EphemeralPrivateKey::generate(agreement(self.0)?, &random())
            .map_err(|_| failed(CryptoOperation::GenerateEphemeralKey))?;
        let public = key.compute_public_key().map_err(|_| failed(CryptoOperation::ComputePublicKey))?;
        buf.clear();
        buf.extend_from_slice(public.as_ref());
        Ok(Box::new(Exchange { group: self.0, key, public: buf }))
    }
}

struct Exchange {
    group: NamedGroup,
    key: EphemeralPrivateKey,
    public: Buf,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Exchange").field(&self.group).finish()
    }
}

impl ActiveKeyExchange for Exchange {
    fn pub_key(&self) -> &[u8] {
        &self.public
    }
    fn complete(self: Box<Self>, peer: &[u8], out: &mut Buf) -> Result<(), CryptoError> {
        let peer = UnparsedPublicKey::new(agreement(self.group)?, peer);
        // Refuses points that would make the secret known (RFC 7748 §6.1).
        agreement::agree_ephemeral(self.key, &peer, |secret| {
            out.clear();
            out.extend_from_slice(secret);
        })
        .map_err(|_| CryptoError::InvalidPublicKey(self.group))
    }
    fn group(&self) -> NamedGroup {
        self.group
    }
}

// Signatures.

#[derive(Debug)]
struct Signatures;

impl KeyProvider for Signatures {
    fn load_private_key(&self, pkcs8: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        let key = EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &random());
        Ok(Box::new(Key(key.map_err(|_| CryptoError::InvalidPrivateKey)?)))
    }
}

/// As [`super::certificate`] makes them.
struct Key(EcdsaKeyPair);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl SigningKey for Key {
    fn sign(&mut self, data: &[u8], hash: HashAlgorithm, out: &mut Buf) -> Result<(), CryptoError> {
        if hash != HashAlgorithm::SHA256 {
            return Err(CryptoError::SigningKeyHashMismatch {
                key_hash: HashAlgorithm::SHA256,
                requested: hash,
            });
        }
        let signature = self.0.sign(&random(), data).map_err(|_| failed(CryptoOperation::Sign))?;
        out.clear();
        out.extend_from_slice(signature.as_ref());
        Ok(())
    }
    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }
    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        &[HashAlgorithm::SHA256]
    }
}

impl SignatureVerifier for Signatures {
    fn verify_signature(
        &self,
        certificate: &[u8],
        data: &[u8],
        signature: &[u8],
        hash: HashAlgorithm,
        kind: SignatureAlgorithm,
    ) -> Result<(), CryptoError> {
        if kind != SignatureAlgorithm::ECDSA {
            return Err(CryptoError::UnsupportedSignatureAlgorithm(kind));
        }
        let (curve, key) = public_key(certificate).map_err(|bad| match bad {
            Bad::Form => CryptoError::CertificateParseFailed,
            Bad::Kind => CryptoError::UnsupportedPublicKeyAlgorithm,
            Bad::Curve => CryptoError::UnsupportedEcCurve,
        })?;
        let group = match curve {
            Curve::P256 => NamedGroup::Secp256r1,
            Curve::P384 => NamedGroup::Secp384r1,
        };
        check_verify_scheme(kind, hash, group)?;
        let algorithm: &EcdsaVerificationAlgorithm = match (curve, hash) {
            (Curve::P256, HashAlgorithm::SHA384) => &signature::ECDSA_P256_SHA384_ASN1,
            (Curve::P256, _) => &signature::ECDSA_P256_SHA256_ASN1,
            (Curve::P384, HashAlgorithm::SHA384) => &signature::ECDSA_P384_SHA384_ASN1,
            (Curve::P384, _) => &signature::ECDSA_P384_SHA256_ASN1,
        };
        signature::UnparsedPublicKey::new(algorithm, key)
            .verify(data, signature)
            .map_err(|_| CryptoError::SignatureVerificationFailed { signature: kind, hash, group })
    }
}

// Encryption.

#[derive(Debug)]
struct Suite {
    suite: Dtls12CipherSuite,
    hash: HashAlgorithm,
    key_len: usize,
    /// The part of the nonce that is agreed upon, and the part that each record carries.
    nonce: (usize, usize),
}

const SUITES: &[&dyn SupportedDtls12CipherSuite] = &[
    &Suite {
        suite: Dtls12CipherSuite::ECDHE_ECDSA_AES128_GCM_SHA256,
        hash: HashAlgorithm::SHA256,
        key_len: 16,
        nonce: (4, 8),
    },
    &Suite {
        suite: Dtls12CipherSuite::ECDHE_ECDSA_AES256_GCM_SHA384,
        hash: HashAlgorithm::SHA384,
        key_len: 32,
        nonce: (4, 8),
    },
    &Suite {
        suite: Dtls12CipherSuite::ECDHE_ECDSA_CHACHA20_POLY1305_SHA256,
        hash: HashAlgorithm::SHA256,
        key_len: 32,
        nonce: (12, 0),
    },
];

const TAG: usize = 16;

impl SupportedDtls12CipherSuite for Suite {
    fn suite(&self) -> Dtls12CipherSuite {
        self.suite
    }
    fn hash_algorithm(&self) -> HashAlgorithm {
        self.hash
    }
    fn key_lengths(&self) -> (usize, usize, usize) {
        (0, self.key_len, self.nonce.0)
    }
    fn explicit_nonce_len(&self) -> usize {
        self.nonce.1
    }
    fn tag_len(&self) -> usize {
        TAG
    }
    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        let algorithm = match (self.nonce.1, key.len()) {
            (0, 32) => &aead::CHACHA20_POLY1305,
            (0, n) => return Err(CryptoError::InvalidChacha20Poly1305KeySize { actual: length(n) }),
            (_, 16) => &aead::AES_128_GCM,
            (_, 32) => &aead::AES_256_GCM,
            (_, n) => return Err(CryptoError::InvalidAesGcmKeySize { actual: length(n) }),
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| failed(CryptoOperation::CreateCipher))?;
        Ok(Box::new(Sealing(LessSafeKey::new(key))))
    }
}

/// `TLS_AES_128_GCM_SHA256` (RFC 9147).
#[derive(Debug)]
struct Suite13;

impl SupportedDtls13CipherSuite for Suite13 {
    fn suite(&self) -> Dtls13CipherSuite {
        Dtls13CipherSuite::AES_128_GCM_SHA256
    }
    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }
    fn key_len(&self) -> usize {
        16
    }
    fn iv_len(&self) -> usize {
        12
    }
    fn tag_len(&self) -> usize {
        TAG
    }
    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        let key =
            UnboundKey::new(&aead::AES_128_GCM, key).map_err(|_| failed(CryptoOperation::CreateCipher))?;
        Ok(Box::new(Sealing(LessSafeKey::new(key))))
    }
    fn encrypt_sn(&self, key: &[u8], sample: &[u8; 16]) -> [u8; 16] {
        let mut block = GenericArray::from(*sample);
        aes::Aes128::new(GenericArray::from_slice(key)).encrypt_block(&mut block);
        block.into()
    }
}

#[derive(Debug)]
struct Sealing(LessSafeKey);

fn nonce(n: &Nonce) -> Result<aead::Nonce, CryptoError> {
    aead::Nonce::try_assume_unique_for_key(n).map_err(|_| CryptoError::InvalidNonce)
}

impl Cipher for Sealing {
    fn encrypt(&mut self, plain: &mut Buf, aad: Aad, n: Nonce) -> Result<(), CryptoError> {
        self.0
            .seal_in_place_append_tag(nonce(&n)?, aead::Aad::from(&aad[..]), plain)
            .map_err(|_| failed(CryptoOperation::Encrypt))
    }
    fn decrypt(&mut self, sealed: &mut TmpBuf, aad: Aad, n: Nonce) -> Result<(), CryptoError> {
        if sealed.len() < TAG {
            return Err(CryptoError::CiphertextTooShort {
                minimum: TAG as u8,
                // Below it.
                actual: sealed.len() as u8,
            });
        }
        let plain = self
            .0
            .open_in_place(nonce(&n)?, aead::Aad::from(&aad[..]), sealed.as_mut())
            .map_err(|_| failed(CryptoOperation::Decrypt))?
            .len();
        sealed.truncate(plain);
        Ok(())
    }
}
