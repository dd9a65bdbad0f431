//! Small values, each under a key of its own: `version u8 = 1 | salt 32 | ciphertext | tag 16`, the key derived from
//! the salt, the nonce zero.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::{DataKey, Salt, SealError, TAG};

const VERSION: u8 = 1;

fn key(key: &DataKey, salt: &[u8], purpose: &[u8]) -> LessSafeKey {
    let k = key.derive(salt, &[b"rushes secret v1\0", purpose]);
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, k.bytes()).expect("AES-256 keys have 32 bytes"))
}

fn seal(k: &DataKey, salt: Salt, purpose: &[u8], context: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(33 + plain.len() + TAG);
    out.push(VERSION);
    out.extend_from_slice(&salt);
    out.extend_from_slice(plain);
    let tag = key(k, &salt, purpose)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key([0; 12]), Aad::from(context), &mut out[33..])
        .expect("within AES-GCM's length");
    out.extend_from_slice(tag.as_ref());
    out
}

fn open(k: &DataKey, purpose: &[u8], context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    if sealed.len() < 33 + TAG {
        return Err(SealError::Malformed("too short"));
    }
    if sealed[0] != VERSION {
        return Err(SealError::Malformed("of a version that is not known here"));
    }
    let mut buf = sealed[33..].to_vec();
    let n = key(k, &sealed[1..33], purpose)
        .open_in_place(Nonce::assume_unique_for_key([0; 12]), Aad::from(context), &mut buf)
        .map_err(|_| SealError::Broken)?
        .len();
    buf.truncate(n);
    Ok(buf)
}

/// Seals a small value for storage. `salt` must be fresh random bytes; `context` says where it belongs and is needed
/// to open it.
pub fn seal_secret(k: &DataKey, salt: Salt, context: &[u8], plain: &[u8]) -> Vec<u8> {
    seal(k, salt, b"at rest", context, plain)
}

/// The inverse of [`seal_secret`].
pub fn open_secret(k: &DataKey, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    open(k, b"at rest", context, sealed)
}

/// Seals what a client will hold and bring back: it can neither read nor change it. `kind` keeps one kind of token
/// from passing for another.
pub fn seal_token(k: &DataKey, salt: Salt, kind: &str, plain: &[u8]) -> Vec<u8> {
    seal(k, salt, b"token", kind.as_bytes(), plain)
}

/// The inverse of [`seal_token`]. Expiry is the caller's to check.
pub fn open_token(k: &DataKey, kind: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    open(k, b"token", kind.as_bytes(), sealed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn opens_only_whole_in_its_place(plain in proptest::collection::vec(any::<u8>(), 0..200), salt: [u8; 32], k: [u8; 32], flip in any::<prop::sample::Index>()) {
            let k = DataKey::new(k);
            let sealed = seal_secret(&k, salt, b"here", &plain);
            prop_assert_eq!(open_secret(&k, b"here", &sealed).unwrap(), plain.clone());
            prop_assert_eq!(open_secret(&k, b"there", &sealed), Err(SealError::Broken));
            prop_assert!(open_token(&k, "here", &sealed).is_err());
            let mut bad = sealed.clone();
            bad[flip.index(sealed.len())] ^= 1;
            prop_assert!(open_secret(&k, b"here", &bad).is_err());
            prop_assert!(open_secret(&k, b"here", &sealed[..sealed.len() - 1]).is_err());
        }
    }
}
