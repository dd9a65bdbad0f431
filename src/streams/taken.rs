//! What PutRecords answers, and how that is written: many entries, of few shards.

use std::collections::HashMap;

use serde::Serialize;
use wire::aws::{
    AwsError,
    written::{self, Written},
};
use world::Timestamp;

use crate::{
    map::Shard,
    sequence::{Digits, InOrder},
};

/// API_PutRecords
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutRecordsOutput {
    failed_record_count: u32,
    records: Vec<PutRecordsResultEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_type: Option<&'static str>,
}

/// API_PutRecordsResultEntry
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutRecordsResultEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence_number: Option<Digits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
}

/// What became of a record: where it is, or why it is nowhere.
pub(crate) type Outcome = Result<(Shard, u64, Timestamp), AwsError>;

impl PutRecordsOutput {
    /// In the order of the request's records.
    pub(crate) fn new(outcomes: impl Iterator<Item = Outcome>, kms: bool) -> PutRecordsOutput {
        let (mut failed, mut shards) = (0, HashMap::new());
        let records = outcomes.map(|outcome| match outcome {
            Ok((shard, position, arrival)) => {
                let (id, numbers) =
                    shards.entry(shard.index).or_insert_with(|| (shard.id(), InOrder::default()));
                PutRecordsResultEntry {
                    sequence_number: Some(numbers.digits(shard.number(position, arrival))),
                    shard_id: Some(id.clone()),
                    ..PutRecordsResultEntry::default()
                }
            }
            Err(e) => {
                failed += 1;
                // Only throughput and internal failures are told by record (API_PutRecords).
                PutRecordsResultEntry {
                    error_code: Some(e.code),
                    error_message: Some(e.message),
                    ..PutRecordsResultEntry::default()
                }
            }
        });
        let records = records.collect();
        PutRecordsOutput { failed_record_count: failed, records, encryption_type: kms.then_some("KMS") }
    }
}

/// Of an entry's JSON: names, number, shard.
const ENTRY: usize = 128;

impl Written for PutRecordsOutput {
    fn bytes(&self) -> usize {
        let words = |e: &PutRecordsResultEntry| e.error_message.as_ref().map_or(0, |m| m.len() + 64);
        128 + self.records.iter().map(|e| ENTRY + words(e)).sum::<usize>()
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"FailedRecordCount\":");
        written::any(out, &self.failed_record_count);
        out.extend_from_slice(b",\"Records\":[");
        for (i, e) in self.records.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            match e {
                PutRecordsResultEntry {
                    sequence_number: Some(number),
                    shard_id: Some(id),
                    error_code: None,
                    error_message: None,
                } => {
                    out.extend_from_slice(b"{\"SequenceNumber\":\"");
                    out.extend_from_slice(number.ascii());
                    out.extend_from_slice(b"\",\"ShardId\":\"");
                    out.extend_from_slice(id.as_bytes());
                    out.extend_from_slice(b"\"}");
                }
                other => written::any(out, other),
            }
        }
        out.push(b']');
        if let Some(t) = self.encryption_type {
            out.extend_from_slice(b",\"EncryptionType\":");
            written::text(out, t);
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::aws::Protocol;

    use super::*;

    fn shard(index: u32) -> Shard {
        let opened = Timestamp::from_millis(1_700_000_000_000);
        Shard {
            index,
            range: (0, u128::MAX),
            parents: [None; 2],
            created: 1_700_000_000,
            opened,
            closed: None,
        }
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        let taken = (0u32..3, 0u64..5, 0i64..3).prop_map(|(n, position, later)| {
            Ok((shard(n), position, Timestamp::from_millis(1_700_000_000_000 + later * 1000)))
        });
        let refused = "\\PC{0,20}"
            .prop_map(|words| Err(AwsError { message: words, ..crate::error::throughput(String::new()) }));
        prop_oneof![4 => taken, 1 => refused]
    }

    proptest! {
        #[test]
        fn it_writes_what_serde_does(outcomes in prop::collection::vec(outcome(), 0..12), kms: bool) {
            let all = PutRecordsOutput::new(outcomes.iter().cloned(), kms);
            let mut out = Vec::new();
            all.write(&mut out);
            prop_assert!(out.len() <= all.bytes());
            let serde = Protocol::Json11.encode(&all).unwrap();
            prop_assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&serde));
            for (entry, outcome) in all.records.iter().zip(outcomes) {
                match outcome {
                    Ok((shard, position, arrival)) => {
                        prop_assert_eq!(entry.sequence_number, Some(shard.number(position, arrival).digits()));
                        prop_assert_eq!(entry.shard_id.clone(), Some(shard.id()));
                    }
                    Err(e) => prop_assert_eq!(entry.error_message.clone(), Some(e.message)),
                }
            }
        }
    }
}
