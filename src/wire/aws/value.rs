//! Values that each protocol writes in its own way, so that one struct serves them all.

use std::{fmt, io, ops::Deref};

use base64_simd::Out;
use bytes::Bytes;
use ciborium::tag::Required;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::ser::Formatter;
use world::Timestamp;

/// Bytes: base64 in JSON, a byte string in CBOR.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Blob(pub Bytes);

impl Deref for Blob {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Blob {
    fn from(v: Vec<u8>) -> Self {
        Blob(v.into())
    }
}

impl fmt::Debug for Blob {
    /// How many, not which.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Blob {
    /// As bytes, which [`super::Protocol`] writes in base64 into JSON.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() { d.deserialize_bytes(Base64) } else { d.deserialize_byte_buf(Raw) }
    }
}

/// How JSON is written: without spaces, bytes in base64. It goes straight into the body, since nothing in it is to be
/// escaped: records are most of what is read.
pub(crate) struct Compact {
    text: [u8; STEP / 3 * 4],
}

impl Default for Compact {
    fn default() -> Self {
        Compact { text: [0; STEP / 3 * 4] }
    }
}

/// Bytes that are written at once: a multiple of three, so that there is no padding between.
const STEP: usize = 3 << 9;

impl Formatter for Compact {
    fn write_byte_array<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: &[u8]) -> io::Result<()> {
        writer.write_all(b"\"")?;
        for bytes in value.chunks(STEP) {
            writer.write_all(base64_simd::STANDARD.encode(bytes, Out::from_slice(&mut self.text)))?;
        }
        writer.write_all(b"\"")
    }
}

struct Base64;

impl de::Visitor<'_> for Base64 {
    type Value = Blob;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Blob")
    }
    fn visit_str<E: de::Error>(self, s: &str) -> Result<Blob, E> {
        self.visit_bytes(s.as_bytes())
    }
    /// A text's bytes, of which nobody has to know whether they are UTF-8.
    fn visit_bytes<E: de::Error>(self, s: &[u8]) -> Result<Blob, E> {
        // Straight from the request's buffer into the record.
        match base64_simd::STANDARD.decode_to_vec(s) {
            Ok(v) => Ok(v.into()),
            Err(_) if !s.len().is_multiple_of(4) => Err(E::custom(format!(
                "can not be converted to a Blob: Base64 encoded length is expected a multiple of 4 bytes but found: {}",
                s.len()
            ))),
            Err(_) => Err(E::custom("can not be converted to a Blob: Invalid Base64 character")),
        }
    }
}

struct Raw;

impl de::Visitor<'_> for Raw {
    type Value = Blob;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Blob")
    }
    fn visit_bytes<E: de::Error>(self, b: &[u8]) -> Result<Blob, E> {
        Ok(Blob(Bytes::copy_from_slice(b)))
    }
    fn visit_byte_buf<E: de::Error>(self, b: Vec<u8>) -> Result<Blob, E> {
        Ok(b.into())
    }
}

/// A time, in whole milliseconds on the wire: seconds since 1970 with a fraction in JSON; in CBOR milliseconds, tagged 1
/// (as AWS's CBOR has it, against RFC 8949 §3.4.2, whose tag 1 counts seconds). Text in RFC 3339 is taken, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Timestamp);

/// The year 9999 and as far back: what no time lies beyond.
const SECONDS: u64 = 253_402_300_800;

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let ms = self.0.millis();
        if s.is_human_readable() {
            // Exact to the millisecond until far beyond year 9999.
            s.serialize_f64(ms as f64 / 1000.0)
        } else {
            Required::<i64, 1>(ms).serialize(s)
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() { d.deserialize_any(Seconds) } else { Time::of(i64::deserialize(d)?) }
    }
}

impl Time {
    fn of<E: de::Error>(ms: i64) -> Result<Time, E> {
        if ms.unsigned_abs() > SECONDS * 1000 {
            return Err(E::custom("a Timestamp is out of range"));
        }
        Ok(Time(Timestamp::from_millis(ms)))
    }
}

struct Seconds;

impl de::Visitor<'_> for Seconds {
    type Value = Time;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Timestamp")
    }
    fn visit_i64<E: de::Error>(self, s: i64) -> Result<Time, E> {
        self.visit_f64(s as f64)
    }
    fn visit_u64<E: de::Error>(self, s: u64) -> Result<Time, E> {
        self.visit_f64(s as f64)
    }
    fn visit_f64<E: de::Error>(self, s: f64) -> Result<Time, E> {
        // What is no number, or too large for one, is out of range all the same.
        let ms = (s * 1000.0).round();
        Time::of(if ms.is_nan() { i64::MAX } else { ms as i64 })
    }
    fn visit_str<E: de::Error>(self, s: &str) -> Result<Time, E> {
        let t = s.parse::<jiff::Timestamp>().map_err(|_| E::custom("not a Timestamp"))?;
        Time::of(t.as_millisecond())
    }
}

/// Of operations that answer with nothing: an empty body. As input: an object of which nothing is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Empty {}

impl Serialize for Empty {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_unit()
    }
}
