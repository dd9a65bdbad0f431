//! Signatures of AWS's Signature Version 4 (IAM User Guide, "Create a signed AWS API request"): who holds the secret of
//! an access key proves it by an HMAC over the request. `wire` takes requests apart; here the secret is.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ring::{digest, hmac};
use world::Timestamp;
use zeroize::Zeroizing;

/// How far a request's time may be from ours, either way: "within five minutes of the time stamp in the request".
pub const SKEW: Duration = Duration::from_secs(5 * 60);
/// How long a presigned request may be good for.
pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Signing keys remembered: one a day for each region and service that rightful callers name.
const REMEMBERED: usize = 256;

/// A signed request, taken apart. Nothing in it is believed before the gate has looked.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    /// The access key's id.
    pub key_id: &'a str,
    /// The scope's day: `20130524`.
    pub day: &'a str,
    /// The scope's region.
    pub region: &'a str,
    /// The scope's service.
    pub service: &'a str,
    /// When it was signed, as text: `20130524T000000Z`.
    pub time_text: &'a str,
    /// The same as a time.
    pub time: Timestamp,
    /// How long it is good for, if it says so (presigned). Otherwise [`SKEW`].
    pub expires: Option<Duration>,
    /// `X-Amz-Security-Token`.
    pub session_token: Option<&'a str>,
    /// SHA-256 of the canonical request.
    pub canonical: [u8; 32],
    /// The signature, 64 hexadecimal digits.
    pub signature: &'a str,
}

/// What is wrong with a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureFault {
    /// No such access key, or a session token that is none of ours.
    #[error("the access key id or session token is not known")]
    UnknownKey,
    /// The signature is not what the secret gives for this request.
    #[error("the signature does not match: wrong secret, or the request was changed on its way")]
    Mismatch,
    /// Signed too long ago, or a presigned request past its end.
    #[error("the signature has expired")]
    TooOld {
        /// When it was signed.
        signed: Timestamp,
        /// Until when it was good.
        until: Timestamp,
        /// What time it is here.
        now: Timestamp,
    },
    /// Signed in the future.
    #[error("the signature is not good yet: is the clock right?")]
    TooNew {
        /// When it was signed.
        signed: Timestamp,
        /// What time it is here.
        now: Timestamp,
    },
}

/// A secret that signs, and the keys that were derived from it.
pub(crate) struct Signer {
    secret: Zeroizing<String>,
    keys: Mutex<HashMap<String, hmac::Key>>,
}

impl Signer {
    pub(crate) fn new(secret: &str) -> Signer {
        Signer { secret: Zeroizing::new(secret.to_owned()), keys: Mutex::default() }
    }

    /// Whether the request is in time. Says nothing about the signature.
    pub(crate) fn in_time(r: &SignedRequest<'_>, now: Timestamp) -> Result<(), SignatureFault> {
        let signed = r.time;
        if signed > now + SKEW {
            return Err(SignatureFault::TooNew { signed, now });
        }
        let until = signed + r.expires.unwrap_or(SKEW).min(LONGEST);
        if until < now {
            return Err(SignatureFault::TooOld { signed, until, now });
        }
        Ok(())
    }

    /// Whether the secret gives this signature for this request. Takes as long for every wrong one.
    pub(crate) fn signed(&self, r: &SignedRequest<'_>) -> bool {
        let scope = format!("{}/{}/{}/aws4_request", r.day, r.region, r.service);
        let text = string_to_sign(r.time_text, &scope, &r.canonical);
        let Some(given) = unhex(r.signature) else { return false };
        let known = self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(&scope).cloned();
        let (key, new) = match known {
            Some(k) => (k, false),
            None => (self.derive(r), true),
        };
        let right = hmac::verify(&key, text.as_bytes(), &given).is_ok();
        // Only scopes that rightful callers name are remembered: nobody else can push them out.
        if right && new {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            if keys.len() >= REMEMBERED {
                keys.clear();
            }
            keys.insert(scope, key);
        }
        right
    }

    fn derive(&self, r: &SignedRequest<'_>) -> hmac::Key {
        let sign =
            |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
        let first = Zeroizing::new([b"AWS4", self.secret.as_bytes()].concat());
        let day = sign(&first, r.day);
        let region = sign(day.as_ref(), r.region);
        let service = sign(region.as_ref(), r.service);
        hmac::Key::new(hmac::HMAC_SHA256, sign(service.as_ref(), "aws4_request").as_ref())
    }

    #[cfg(test)]
    fn remembered(&self) -> usize {
        self.keys.lock().unwrap().len()
    }
}

/// The signature of a request that we send, 64 hexadecimal digits: what [`SignedRequest::signature`] should be. What that is
/// in `r` is not looked at.
pub fn sign(secret: &str, r: &SignedRequest<'_>) -> String {
    let scope = format!("{}/{}/{}/aws4_request", r.day, r.region, r.service);
    let text = string_to_sign(r.time_text, &scope, &r.canonical);
    hex(hmac::sign(&Signer::new(secret).derive(r), text.as_bytes()).as_ref())
}

fn string_to_sign(time: &str, scope: &str, canonical: &[u8; 32]) -> String {
    format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(canonical))
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// SHA-256, in 64 hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&sha256(bytes))
}

/// In lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = Vec::with_capacity(2 * bytes.len());
    for b in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
    }
    String::from_utf8(out).unwrap_or_default()
}

fn unhex(s: &str) -> Option<[u8; 32]> {
    let s: &[u8; 64] = s.as_bytes().try_into().ok()?;
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut out = [0; 32];
    for (o, pair) in out.iter_mut().zip(s.chunks_exact(2)) {
        *o = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the IAM User Guide, "Create a signed AWS API request": GetObject's canonical request aside, the
    /// key derivation is that of `AWS4` + secret → 20150830 → us-east-1 → iam.
    #[test]
    fn the_published_signing_key() {
        let s = Signer::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let canonical = "GET\n/\nAction=ListUsers&Version=2010-05-08\ncontent-type:application/x-www-form-urlencoded; charset=utf-8\nhost:iam.amazonaws.com\nx-amz-date:20150830T123600Z\n\ncontent-type;host;x-amz-date\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let hash: [u8; 32] =
            digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref().try_into().unwrap();
        assert_eq!(hex(&hash), "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59");
        let r = SignedRequest {
            key_id: "AKIDEXAMPLE",
            day: "20150830",
            region: "us-east-1",
            service: "iam",
            time_text: "20150830T123600Z",
            time: Timestamp(0),
            expires: None,
            session_token: None,
            canonical: hash,
            signature: "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        };
        assert!(s.signed(&r));
        assert_eq!(
            sign("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", &SignedRequest { signature: "", ..r }),
            r.signature
        );
        assert!(s.signed(&r), "also by the key remembered");
        assert_eq!(s.remembered(), 1);
        for wrong in [
            SignedRequest { signature: &r.signature[1..], ..r },
            SignedRequest { signature: &r.signature.replace('5', "6"), ..r },
            SignedRequest { signature: &"é".repeat(32), ..r },
            SignedRequest { region: "us-east-2", ..r },
            SignedRequest { service: "sts", ..r },
            SignedRequest { day: "20150831", ..r },
            SignedRequest { time_text: "20150830T123601Z", ..r },
            SignedRequest { canonical: [0; 32], ..r },
        ] {
            assert!(!s.signed(&wrong));
        }
        assert_eq!(s.remembered(), 1, "a wrong one is not remembered");
    }

    #[test]
    fn memory_for_keys_is_bounded() {
        let s = Signer::new("secret");
        for n in 0..2 * REMEMBERED {
            let region = format!("r{n}");
            let mut r = SignedRequest {
                key_id: "k",
                day: "20150830",
                region: &region,
                service: "iam",
                time_text: "t",
                time: Timestamp(0),
                expires: None,
                session_token: None,
                canonical: [1; 32],
                signature: "",
            };
            let scope = format!("20150830/{region}/iam/aws4_request");
            let text = string_to_sign("t", &scope, &r.canonical);
            let right = hex(hmac::sign(&s.derive(&r), text.as_bytes()).as_ref());
            r.signature = &right;
            assert!(s.signed(&r));
            assert!(s.remembered() <= REMEMBERED);
        }
    }
}
