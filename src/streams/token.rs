//! What clients hold: shard iterators and page tokens: self-contained, sealed, good for five minutes on every node.

use std::time::Duration;

use access::Gate;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wire::aws::AwsError;
use world::{StreamUid, Timestamp};

use crate::error;

/// How long an iterator, or a page's token, is good (API_GetShardIterator, API_ListShards).
pub const LIFE: Duration = Duration::from_secs(300);

/// Where a reader stands in a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iterator {
    /// The stream's id: an iterator of a deleted stream is not one of its successor.
    #[serde(with = "uid")]
    pub u: StreamUid,
    /// The stream's name.
    pub n: String,
    /// The shard.
    pub s: u32,
    /// The next position.
    pub p: u64,
    /// When it was given out.
    pub t: Timestamp,
}

mod uid {
    use super::*;
    pub fn serialize<S: serde::Serializer>(u: &StreamUid, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(u)
    }
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<StreamUid, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

const ITERATOR: &str = "shard-iterator";

impl Iterator {
    /// As a client holds it: at most 512 characters.
    pub fn seal(&self, gate: &Gate) -> String {
        gate.seal_token(ITERATOR, &pack(self))
    }
    /// What it says, however old it is; `None` for what is no iterator.
    pub fn peek(gate: &Gate, token: &str) -> Option<Iterator> {
        gate.open_token(ITERATOR, token).ok().and_then(|plain| unpack(&plain))
    }
    /// The inverse of [`Iterator::seal`]; `InvalidArgument` for what is none, `ExpiredIterator` for one that is too old.
    pub fn open(gate: &Gate, token: &str, now: Timestamp) -> Result<Iterator, AwsError> {
        let it = Iterator::peek(gate, token).ok_or_else(|| error::argument("Invalid ShardIterator."))?;
        if now.since(it.t) >= LIFE {
            return Err(AwsError::new(
                "ExpiredIteratorException",
                format!(
                    "Iterator expired. The iterator was created at time {} while right now it is {} which is further in the future than the tolerated delay of {} milliseconds.",
                    wire::time::format(it.t),
                    wire::time::format(now),
                    LIFE.as_millis()
                ),
            ));
        }
        Ok(it)
    }
}

fn pack<T: Serialize>(t: &T) -> Vec<u8> {
    // Plain values: this cannot fail.
    serde_json::to_vec(t).unwrap_or_default()
}
fn unpack<T: DeserializeOwned>(plain: &[u8]) -> Option<T> {
    serde_json::from_slice(plain).ok()
}

#[derive(Serialize, Deserialize)]
struct Paged<T> {
    t: Timestamp,
    q: T,
}

/// A page's token: `what` names the operation, `q` says where the next page begins and of what.
pub fn page<T: Serialize>(gate: &Gate, what: &str, now: Timestamp, q: T) -> String {
    gate.seal_token(what, &pack(&Paged { t: now, q }))
}
/// What a page's token says, however old it is; `None` for what is none.
pub fn peek_page<T: DeserializeOwned>(gate: &Gate, what: &str, token: &str) -> Option<T> {
    let p: Paged<T> = unpack(&gate.open_token(what, token).ok()?)?;
    Some(p.q)
}
/// The inverse of [`page`]; `InvalidArgument` for what is none, `ExpiredNextToken` for one that is too old.
pub fn open_page<T: DeserializeOwned>(
    gate: &Gate,
    what: &str,
    token: &str,
    now: Timestamp,
) -> Result<T, AwsError> {
    let plain = gate.open_token(what, token).map_err(|_| error::argument("Invalid NextToken."))?;
    let p: Paged<T> = unpack(&plain).ok_or_else(|| error::argument("Invalid NextToken."))?;
    if now.since(p.t) >= LIFE {
        return Err(error::expired_token("The pagination token passed to the operation is expired."));
    }
    Ok(p.q)
}
