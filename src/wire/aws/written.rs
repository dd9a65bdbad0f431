//! Answers that write their own JSON. What serde writes, byte for byte, in a fraction of the time: for records, which are
//! most of what is ever read.

use serde::Serialize;

use super::{Time, value::Compact};

/// An answer that writes its own JSON.
pub trait Written: Serialize {
    /// How many bytes that will be, about.
    fn bytes(&self) -> usize;
    /// Appends what [`Serialize`] would give.
    fn write(&self, out: &mut Vec<u8>);
}

/// Bytes in Base64.
pub fn blob(out: &mut Vec<u8>, b: &[u8]) {
    out.push(b'"');
    base64_simd::STANDARD.encode_append(b, out);
    out.push(b'"');
}

/// Whether it is no JSON as it is.
fn has_escapes(s: &[u8]) -> bool {
    // All of it, rather than up to the first: so that many bytes are looked at at once.
    s.iter().fold(false, |escaped, &b| escaped | (b < b' ') | (b == b'"') | (b == b'\\'))
}

/// A text, of which most need no escapes.
pub fn text(out: &mut Vec<u8>, s: &str) {
    utf8(out, s.as_bytes());
}

/// A text of which its bytes are at hand, which must be UTF-8.
pub fn utf8(out: &mut Vec<u8>, s: &[u8]) {
    if has_escapes(s) {
        return any(out, &*String::from_utf8_lossy(s));
    }
    out.push(b'"');
    out.extend_from_slice(s);
    out.push(b'"');
}

/// Seconds since 1970, to the millisecond.
pub fn time(out: &mut Vec<u8>, t: Time) {
    // Seconds of ten digits, from 2001 to 2286; serde writes what lies before and after.
    let ms = u64::try_from(t.0.millis()).ok();
    let Some(ms) = ms.filter(|ms| (1_000_000_000_000..10_000_000_000_000).contains(ms)) else {
        return any(out, &t);
    };
    let mut digits = *b"0000000000.000";
    let mut rest = ms;
    for digit in digits.iter_mut().rev().filter(|d| **d != b'.') {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    // Zeros at the end are left out, except for one right after the point.
    let zeros = match ms % 1000 {
        ms if ms % 100 == 0 => 2,
        ms if ms % 10 == 0 => 1,
        _ => 0,
    };
    out.extend_from_slice(digits.get(..digits.len() - zeros).unwrap_or_default());
}

/// Whatever serde can write.
pub fn any<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let begun = out.len();
    let mut s = serde_json::Serializer::with_formatter(&mut *out, Compact::default());
    if value.serialize(&mut s).is_err() {
        // Only what is no JSON at all, such as a map whose keys are no texts.
        out.truncate(begun);
        out.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use world::Timestamp;

    use super::*;
    use crate::aws::{Blob, Protocol};

    fn same<T: Serialize>(value: &T, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = b"[".to_vec();
        write(&mut out);
        assert_eq!(
            String::from_utf8_lossy(&out[1..]),
            String::from_utf8_lossy(&Protocol::Json11.encode(value).unwrap())
        );
    }

    proptest! {
        #[test]
        fn all_is_written_as_serde_does(s in "\\PC{0,40}|[a-z0-9]{0,40}|[\\x00-\\x7f]{0,9}", data: Vec<u8>, ms in -9_000_000_000_000i64..20_000_000_000_000, round in 0u32..4) {
            let t = Time(Timestamp::from_millis(ms / 10i64.pow(round) * 10i64.pow(round)));
            same(&s, |out| text(out, &s));
            same(&t, |out| time(out, t));
            let b = Blob::from(data);
            same(&b, |out| blob(out, &b));
        }
    }
}
