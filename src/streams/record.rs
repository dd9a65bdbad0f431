//! How a data record lies in the log (`docs/formats/data-record.md`).
//!
//! `head u8 | key length u16 BE | partition key | data`. The head's lower four bits are the format, 1; bit 7 says that the
//! record was put while the stream's encryption was on.

use bytes::{BufMut, Bytes, BytesMut};

const FORMAT: u8 = 1;
const KMS: u8 = 0x80;
/// Bytes before the partition key.
const HEAD: usize = 3;

/// A record as producers and consumers know it, in one piece as it lies in the log.
#[derive(Clone, PartialEq, Eq)]
pub struct DataRecord {
    stored: Bytes,
    /// Where its data begin.
    data: usize,
}

impl DataRecord {
    /// The partition key's UTF-8, of at most 256 characters; empty if none was given, to a stream that needs none.
    pub fn key(&self) -> &[u8] {
        self.stored.get(HEAD..self.data).unwrap_or_default()
    }
    /// The same as text.
    pub fn key_text(&self) -> &str {
        // It was looked at when it was made.
        std::str::from_utf8(self.key()).unwrap_or_default()
    }
    /// The payload.
    pub fn data(&self) -> &[u8] {
        self.stored.get(self.data..).unwrap_or_default()
    }
    /// Whether it was put while the stream was encrypted under a key of the user's choice.
    pub fn kms(&self) -> bool {
        self.stored.first().is_some_and(|head| head & KMS != 0)
    }
}

impl std::fmt::Debug for DataRecord {
    /// How many bytes of data, not which.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (key, kms) = (self.key_text(), if self.kms() { ", KMS" } else { "" });
        write!(f, "{key:?}: {} bytes{kms}", self.data().len())
    }
}

/// One of its bytes is not as the format says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a data record: {0}")]
pub struct NotARecord(&'static str);

/// The length of the stored form.
pub fn encoded_len(key: usize, data: usize) -> usize {
    HEAD + key + data
}

/// Appends the stored form. Partition keys have at most 1,024 bytes (256 characters).
pub fn encode_into(out: &mut BytesMut, partition_key: &str, data: &[u8], kms: bool) {
    out.reserve(encoded_len(partition_key.len(), data.len()));
    out.put_u8(FORMAT | if kms { KMS } else { 0 });
    out.put_u16(partition_key.len() as u16);
    out.put_slice(partition_key.as_bytes());
    out.put_slice(data);
}

/// The same, alone.
#[cfg(test)]
pub fn encode(partition_key: &str, data: &[u8], kms: bool) -> Bytes {
    let mut out = BytesMut::new();
    encode_into(&mut out, partition_key, data, kms);
    out.freeze()
}

/// The inverse of [`encode`], without copying key or data.
pub fn decode(stored: Bytes) -> Result<DataRecord, NotARecord> {
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
    Ok(DataRecord { data: HEAD + len, stored })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(key in "\\PC{1,256}", data: Vec<u8>, kms: bool) {
            let r = decode(encode(&key, &data, kms)).unwrap();
            prop_assert_eq!((r.key_text(), r.key(), r.data(), r.kms()), (&*key, key.as_bytes(), &*data, kms));
        }
        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            if let Ok(r) = decode(bytes.clone()) {
                prop_assert_eq!(encode(r.key_text(), r.data(), r.kms()), bytes);
            }
        }
    }
}
