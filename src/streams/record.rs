//! How a data record lies in the log (`docs/formats/data-record.md`).
//!
//! `head u8 | key length u16 BE | partition key | data`. The head's lower four bits are the format, 1; bit 7 says that the
//! record was put while the stream's encryption was on.

use bytes::{BufMut, Bytes};
use serde::{Serialize, Serializer};

const FORMAT: u8 = 1;
const KMS: u8 = 0x80;
/// Bytes before the partition key.
const HEAD: usize = 3;

/// A partition key where it lies in its record, without a copy.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Key(Bytes);

impl Key {
    /// Its UTF-8.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
    /// None was given, to a stream that needs none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// As text.
    pub fn text(&self) -> &str {
        // It was looked at when it was made.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl From<String> for Key {
    fn from(s: String) -> Key {
        Key(s.into())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.text().fmt(f)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.text())
    }
}

/// A record as producers and consumers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataRecord {
    /// At most 256 characters.
    pub partition_key: Key,
    /// The payload.
    pub data: Bytes,
    /// Put while the stream was encrypted under a key of the user's choice.
    pub kms: bool,
}

/// One of its bytes is not as the format says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a data record: {0}")]
pub struct NotARecord(&'static str);

/// The stored form. Partition keys have at most 1,024 bytes (256 characters).
pub fn encode(partition_key: &str, data: &[u8], kms: bool) -> Bytes {
    let mut out = Vec::with_capacity(HEAD + partition_key.len() + data.len());
    out.put_u8(FORMAT | if kms { KMS } else { 0 });
    out.put_u16(partition_key.len() as u16);
    out.put_slice(partition_key.as_bytes());
    out.put_slice(data);
    out.into()
}

/// The inverse of [`encode`], without copying key or data.
pub fn decode(stored: &Bytes) -> Result<DataRecord, NotARecord> {
    let Some((&[head, a, b], rest)) = stored.split_first_chunk::<HEAD>() else {
        return Err(NotARecord("it is too short"));
    };
    if head & !KMS != FORMAT {
        return Err(NotARecord("its format is unknown"));
    }
    let len = usize::from(u16::from_be_bytes([a, b]));
    let key = rest.get(..len).ok_or(NotARecord("its key is cut off"))?;
    // Most are ASCII, which is seen sooner.
    if !key.is_ascii() && std::str::from_utf8(key).is_err() {
        return Err(NotARecord("its key is not UTF-8"));
    }
    Ok(DataRecord {
        partition_key: Key(stored.slice(HEAD..HEAD + len)),
        data: stored.slice(HEAD + len..),
        kms: head & KMS != 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(key in "\\PC{1,256}", data: Vec<u8>, kms: bool) {
            let r = decode(&encode(&key, &data, kms)).unwrap();
            prop_assert_eq!(r, DataRecord { partition_key: key.into(), data: data.into(), kms });
        }
        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            if let Ok(r) = decode(&bytes) {
                prop_assert_eq!(encode(r.partition_key.text(), &r.data, r.kms), bytes);
            }
        }
    }
}
