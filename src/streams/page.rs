//! Records as they are answered, and how an answer of many is written.

use std::ops::Range;

use serde::{Serialize, Serializer, ser::SerializeStruct as _};
use wire::aws::{
    Time,
    written::{self, Written},
};

use crate::{
    map::Shard,
    record::DataRecord,
    sequence::{Digits, SequenceNumber},
};

/// API_Record
#[derive(Debug)]
pub struct RecordOutput {
    pub(crate) number: Digits,
    pub(crate) arrived: Time,
    pub(crate) record: DataRecord,
}

/// Of a record that was put while a key of the user's choice was in force.
const ENCRYPTION: &str = "KMS";

/// Bytes, which [`wire::aws::Protocol`] writes in base64 into JSON.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(self.0)
    }
}

impl Serialize for RecordOutput {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let r = &self.record;
        let members = 3 + usize::from(!r.key().is_empty()) + usize::from(r.kms());
        let mut s = s.serialize_struct("Record", members)?;
        s.serialize_field("SequenceNumber", &self.number)?;
        s.serialize_field("ApproximateArrivalTimestamp", &self.arrived)?;
        s.serialize_field("Data", &Raw(r.data()))?;
        // None if it was put without one, to a stream that needs none.
        if !r.key().is_empty() {
            s.serialize_field("PartitionKey", r.key_text())?;
        }
        if r.kms() {
            s.serialize_field("EncryptionType", ENCRYPTION)?;
        }
        s.end()
    }
}

/// Of a record's JSON besides its data and key: names, number, time.
const AROUND: usize = 192;

impl RecordOutput {
    fn bytes(&self) -> usize {
        self.record.data().len().div_ceil(3) * 4 + self.record.key().len() + AROUND
    }

    /// Those that arrived together say the same time, which lies in `out` already: `said`, and where.
    fn write(&self, out: &mut Vec<u8>, said: &mut Option<(Time, Range<usize>)>) {
        out.extend_from_slice(b"{\"SequenceNumber\":\"");
        out.extend_from_slice(self.number.ascii());
        out.extend_from_slice(b"\",\"ApproximateArrivalTimestamp\":");
        let time = self.arrived;
        match said {
            Some((t, at)) if *t == time => out.extend_from_within(at.clone()),
            _ => {
                let begun = out.len();
                written::time(out, time);
                *said = Some((time, begun..out.len()));
            }
        }
        out.extend_from_slice(b",\"Data\":");
        written::blob(out, self.record.data());
        let key = self.record.key();
        if !key.is_empty() {
            out.extend_from_slice(b",\"PartitionKey\":");
            written::utf8(out, key);
        }
        if self.record.kms() {
            out.extend_from_slice(b",\"EncryptionType\":");
            written::text(out, ENCRYPTION);
        }
        out.push(b'}');
    }
}

/// API_ChildShard
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChildShard {
    pub(crate) shard_id: String,
    pub(crate) parent_shards: Vec<String>,
    pub(crate) hash_key_range: HashKeyRange,
}

/// API_HashKeyRange
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HashKeyRange {
    starting_hash_key: String,
    ending_hash_key: String,
}

impl HashKeyRange {
    pub(crate) fn of(s: &Shard) -> HashKeyRange {
        HashKeyRange { starting_hash_key: s.range.0.to_string(), ending_hash_key: s.range.1.to_string() }
    }
}

/// API_GetRecords
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetRecordsOutput {
    pub(crate) records: Vec<RecordOutput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_shard_iterator: Option<String>,
    pub(crate) millis_behind_latest: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) child_shards: Option<Vec<ChildShard>>,
}

impl Written for GetRecordsOutput {
    fn bytes(&self) -> usize {
        1024 + self.records.iter().map(|r| r.bytes() + 1).sum::<usize>()
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"Records\":[");
        let mut said = None;
        for (i, r) in self.records.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            r.write(out, &mut said);
        }
        out.push(b']');
        if let Some(next) = &self.next_shard_iterator {
            out.extend_from_slice(b",\"NextShardIterator\":");
            written::text(out, next);
        }
        out.extend_from_slice(b",\"MillisBehindLatest\":");
        written::any(out, &self.millis_behind_latest);
        if let Some(children) = &self.child_shards {
            out.extend_from_slice(b",\"ChildShards\":");
            written::any(out, children);
        }
        out.push(b'}');
    }
}

/// A page of a shard.
pub(crate) struct Page {
    pub records: Vec<RecordOutput>,
    /// Data and keys.
    pub bytes: usize,
    /// Where to go on; `None` at the end of a closed shard.
    pub next: Option<u64>,
    /// The latest number that was read, or passed over.
    pub last: Option<SequenceNumber>,
    pub behind: i64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::aws::Protocol;
    use world::Timestamp;

    use super::*;
    use crate::record;

    fn record() -> impl Strategy<Value = RecordOutput> {
        (
            any::<(u32, u64, bool)>(),
            prop_oneof![0i64..4_000_000_000_000, Just(1_700_000_000_120)],
            any::<Vec<u8>>(),
            "\\PC{0,20}|[a-z]{0,20}",
        )
            .prop_map(|((shard, position, kms), ms, data, key)| RecordOutput {
                number: SequenceNumber::of(7, shard, position, 9).digits(),
                arrived: Time(Timestamp::from_millis(ms)),
                record: record::decode(record::encode(&key, &data, kms)).unwrap(),
            })
    }

    proptest! {
        #[test]
        fn it_writes_what_serde_does(
            records in prop::collection::vec(record(), 0..4),
            next in prop::option::of("\\PC{0,9}"),
            behind: i64,
            children in prop::option::of(0usize..3),
        ) {
            let child = |_| ChildShard {
                shard_id: "shardId-1".into(),
                parent_shards: vec!["a".into(), "b".into()],
                hash_key_range: HashKeyRange { starting_hash_key: "0".into(), ending_hash_key: "1".into() },
            };
            let page = GetRecordsOutput {
                records,
                next_shard_iterator: next,
                millis_behind_latest: behind,
                child_shards: children.map(|n| (0..n).map(child).collect()),
            };
            let mut out = Vec::new();
            page.write(&mut out);
            prop_assert!(out.len() <= page.bytes() + 1024);
            let serde = Protocol::Json11.encode(&page).unwrap();
            prop_assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&serde));
        }
    }
}
