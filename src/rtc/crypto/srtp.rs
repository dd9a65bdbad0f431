//! The ciphers of SRTP: AES in counter mode (RFC 3711 §4.1.1) and AES-GCM (RFC 7714).

use aes::cipher::{BlockEncrypt, KeyInit, KeyIvInit, StreamCipher, generic_array::GenericArray};
use ring::aead::{self, LessSafeKey, UnboundKey};
use str0m_proto::crypto::{
    AeadAes128GcmCipher, AeadAes256GcmCipher, Aes128CmSha1_80Cipher, CryptoError, SrtpProvider,
    SupportedAeadAes128Gcm, SupportedAeadAes256Gcm, SupportedAes128CmSha1_80,
};

type Counter = ctr::Ctr128BE<aes::Aes128>;

#[derive(Debug)]
pub(super) struct Provider;

impl SrtpProvider for Provider {
    fn aes_128_cm_sha1_80(&self) -> &'static dyn SupportedAes128CmSha1_80 {
        &Provider
    }
    fn aead_aes_128_gcm(&self) -> &'static dyn SupportedAeadAes128Gcm {
        &Provider
    }
    fn aead_aes_256_gcm(&self) -> &'static dyn SupportedAeadAes256Gcm {
        &Provider
    }
    fn srtp_aes_128_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        round(&aes::Aes128::new(GenericArray::from_slice(key)), input, output);
    }
    fn srtp_aes_256_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        round(&aes::Aes256::new(GenericArray::from_slice(key)), input, output);
    }
}

/// One block. The caller has room for a second, which OpenSSL would fill with padding; nobody reads it.
fn round(cipher: &impl BlockEncrypt<BlockSize = aes::cipher::consts::U16>, input: &[u8], output: &mut [u8]) {
    let mut block = GenericArray::clone_from_slice(&input[..16]);
    cipher.encrypt_block(&mut block);
    output[..16].copy_from_slice(&block);
}

impl SupportedAes128CmSha1_80 for Provider {
    fn create_cipher(&self, key: [u8; 16], _: bool) -> Box<dyn Aes128CmSha1_80Cipher> {
        Box::new(CounterMode(key))
    }
}

struct CounterMode([u8; 16]);

impl std::fmt::Debug for CounterMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CounterMode")
    }
}

impl Aes128CmSha1_80Cipher for CounterMode {
    fn encrypt(&mut self, iv: &[u8; 16], input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        let output = output.get_mut(..input.len()).ok_or_else(|| short("encrypt"))?;
        output.copy_from_slice(input);
        Counter::new(&self.0.into(), iv.into()).apply_keystream(output);
        Ok(())
    }
    fn decrypt(&mut self, iv: &[u8; 16], input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        self.encrypt(iv, input, output)
    }
}

fn short(what: &str) -> CryptoError {
    CryptoError::Other(format!("{what}: wrong length"))
}

fn failed(_: ring::error::Unspecified) -> CryptoError {
    CryptoError::Other("a packet is not what was sealed".into())
}

#[derive(Debug)]
struct Gcm(LessSafeKey);

impl Gcm {
    #[allow(clippy::expect_used, reason = "the callers' types have the length")]
    fn new(algorithm: &'static aead::Algorithm, key: &[u8]) -> Gcm {
        Gcm(LessSafeKey::new(UnboundKey::new(algorithm, key).expect("a key of the algorithm's length")))
    }

    fn seal(&self, iv: &[u8; 12], aad: &[u8], input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        if output.len() < input.len() + aead::AES_128_GCM.tag_len() {
            return Err(short("seal"));
        }
        let (body, rest) = output.split_at_mut(input.len());
        body.copy_from_slice(input);
        let nonce = aead::Nonce::assume_unique_for_key(*iv);
        let tag = self.0.seal_in_place_separate_tag(nonce, aead::Aad::from(aad), body).map_err(failed)?;
        rest[..tag.as_ref().len()].copy_from_slice(tag.as_ref());
        Ok(())
    }

    fn open(
        &self,
        iv: &[u8; 12],
        aads: &[&[u8]],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let plain = input.len().checked_sub(aead::AES_128_GCM.tag_len()).ok_or_else(|| short("open"))?;
        let joined;
        let aad = match aads {
            [one] => *one,
            more => {
                joined = more.concat();
                &joined[..]
            }
        };
        if output.len() < plain {
            return Err(short("open"));
        }
        let nonce = aead::Nonce::assume_unique_for_key(*iv);
        // Where the output has no room for the tag, there is no opening in place.
        let mut work = input.to_vec();
        let opened = self.0.open_in_place(nonce, aead::Aad::from(aad), &mut work).map_err(failed)?;
        output[..plain].copy_from_slice(opened);
        Ok(plain)
    }
}

macro_rules! gcm {
    ($supported:ident, $cipher:ident, $len:literal, $algorithm:ident) => {
        impl $supported for Provider {
            fn create_cipher(&self, key: [u8; $len], _: bool) -> Box<dyn $cipher> {
                Box::new(Gcm::new(&aead::$algorithm, &key))
            }
        }
        impl $cipher for Gcm {
            fn encrypt(
                &mut self,
                iv: &[u8; 12],
                aad: &[u8],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<(), CryptoError> {
                self.seal(iv, aad, input, output)
            }
            fn decrypt(
                &mut self,
                iv: &[u8; 12],
                aads: &[&[u8]],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<usize, CryptoError> {
                self.open(iv, aads, input, output)
            }
        }
    };
}

gcm!(SupportedAeadAes128Gcm, AeadAes128GcmCipher, 16, AES_128_GCM);
gcm!(SupportedAeadAes256Gcm, AeadAes256GcmCipher, 32, AES_256_GCM);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_mode_is_that_of_rfc_3711() {
        // Appendix B.2.
        let key =
            [0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c];
        let iv =
            [0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0x00, 0x00];
        let mut out = [0; 20];
        CounterMode(key).encrypt(&iv, &[0; 20], &mut out).unwrap();
        assert_eq!(out[..4], [0xe0, 0x3e, 0xad, 0x09]);
        assert_eq!(out[16..], [0xd2, 0x35, 0x13, 0x16]);
        assert!(CounterMode(key).encrypt(&iv, &[0; 20], &mut out[..19]).is_err());
        let mut block = [0; 32];
        Provider.srtp_aes_128_ecb_round(&key, &iv, &mut block);
        assert_eq!(block[..4], [0xe0, 0x3e, 0xad, 0x09]);
    }

    #[test]
    fn what_was_sealed_opens_and_nothing_else_does() {
        let gcm = Gcm::new(&aead::AES_128_GCM, &[3; 16]);
        let mut sealed = [0; 21];
        gcm.seal(&[1; 12], b"headerheader", b"frame", &mut sealed).unwrap();
        let mut out = [0; 5];
        assert_eq!(gcm.open(&[1; 12], &[b"header", b"header"], &sealed, &mut out).ok(), Some(5));
        assert_eq!(&out, b"frame");
        assert!(gcm.open(&[1; 12], &[b"header"], &sealed, &mut out).is_err());
        assert!(gcm.open(&[1; 12], &[b"headerheader"], &sealed[..15], &mut out).is_err());
    }
}
