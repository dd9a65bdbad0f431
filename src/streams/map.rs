//! A stream's shards: ranges of hash keys, lineage, and who takes a key now.

use serde::{Deserialize, Serialize};
use world::Timestamp;

use crate::sequence::SequenceNumber;

/// One shard, open or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number within the stream, from 0.
    pub index: u32,
    /// The range of hash keys, both ends inclusive.
    pub range: (u128, u128),
    /// The shard that was split, or the two that were merged into this one.
    pub parents: [Option<u32>; 2],
    /// In its sequence numbers: seconds since 1970, later than its parents'.
    pub created: u64,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it was closed.
    pub closed: Option<Timestamp>,
}

impl Shard {
    /// `shardId-000000000000`
    pub fn id(&self) -> String {
        id(self.index)
    }
    /// Before all its records.
    pub fn starting(&self) -> SequenceNumber {
        SequenceNumber::starting(self.created, self.index)
    }
    /// After all its records, if it is closed.
    pub fn ending(&self) -> Option<SequenceNumber> {
        let closed = self.closed?;
        Some(SequenceNumber::ending(self.created, self.index, seconds(closed)))
    }
    /// Of the record at a position.
    pub fn number(&self, position: u64, arrival: Timestamp) -> SequenceNumber {
        SequenceNumber::of(self.created, self.index, position, seconds(arrival))
    }
    /// Whether a number is one of this shard's.
    pub fn owns(&self, n: &SequenceNumber) -> bool {
        n.shard == self.index && n.created == self.starting().created
    }
}

/// `shardId-` and twelve digits.
pub fn id(index: u32) -> String {
    format!("shardId-{index:012}")
}

/// The inverse of [`id`]; what has no prefix is taken as the number alone, as the service does.
pub fn parse_id(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("shardId-").unwrap_or(text);
    let plain = !digits.is_empty() && digits.len() <= 12 && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// Whole seconds since 1970; zero before.
pub fn seconds(t: Timestamp) -> u64 {
    u64::try_from(t.millis().div_euclid(1000)).unwrap_or(0)
}

/// All shards of a stream that there are records of, or may be.
#[derive(Clone, Debug, Default)]
pub struct ShardMap {
    /// Ascending by index; those whose records are all gone are missing.
    shards: Vec<Shard>,
    /// The open ones: (first hash key, index), ascending.
    open: Vec<(u128, u32)>,
    /// The next index.
    next: u32,
}

impl ShardMap {
    /// From stored shards, in any order. `next` is above every index that there ever was.
    pub fn new(mut shards: Vec<Shard>, next: u32) -> ShardMap {
        shards.sort_unstable_by_key(|s| s.index);
        let next = shards.last().map_or(next, |s| next.max(s.index + 1));
        let mut map = ShardMap { shards, open: Vec::new(), next };
        map.sort();
        map
    }

    fn sort(&mut self) {
        self.open = self.shards.iter().filter(|s| s.closed.is_none()).map(|s| (s.range.0, s.index)).collect();
        self.open.sort_unstable();
    }

    /// The next shard's index.
    pub fn next(&self) -> u32 {
        self.next
    }
    /// Gives out the next so many indices: they are another's from here on.
    pub fn claim(&mut self, count: usize) {
        self.next += count as u32;
    }
    /// All, ascending by index.
    pub fn all(&self) -> &[Shard] {
        &self.shards
    }
    /// The open ones, ascending by hash key.
    pub fn open(&self) -> impl ExactSizeIterator<Item = &Shard> + DoubleEndedIterator {
        self.open.iter().map(|(_, index)| &self.shards[self.place(*index)])
    }
    /// One of them, by its place in that order.
    pub fn open_at(&self, n: usize) -> Option<&Shard> {
        self.open.get(n).and_then(|(_, index)| self.get(*index))
    }
    /// How many are open.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Those of one document.
    pub fn chunk(&self, n: u32) -> &[Shard] {
        let end = n.checked_add(1).and_then(|n| n.checked_mul(CHUNK)).unwrap_or(u32::MAX);
        &self.shards[self.place(n * CHUNK)..self.place(end)]
    }

    fn place(&self, index: u32) -> usize {
        // Holes are few and at the front: most shards are where their index says, less what is gone.
        self.shards.partition_point(|s| s.index < index)
    }
    /// One shard.
    pub fn get(&self, index: u32) -> Option<&Shard> {
        self.shards.get(self.place(index)).filter(|s| s.index == index)
    }
    /// By its id, as clients give it.
    pub fn by_id(&self, id: &str) -> Option<&Shard> {
        parse_id(id).and_then(|index| self.get(index))
    }
    /// Who takes records of this hash key now. `None` only while a stream is being created.
    pub fn taking(&self, hash: u128) -> Option<&Shard> {
        let at = self.open.partition_point(|(start, _)| *start <= hash);
        let (_, index) = self.open.get(at.checked_sub(1)?)?;
        self.get(*index).filter(|s| s.range.1 >= hash)
    }
    /// Where among the open ones a shard is.
    fn open_place(&self, s: &Shard) -> Option<usize> {
        self.open.binary_search(&(s.range.0, s.index)).ok()
    }
    /// The open neighbour above in hash keys.
    pub fn above(&self, s: &Shard) -> Option<&Shard> {
        let (_, index) = self.open.get(self.open_place(s)? + 1)?;
        self.get(*index)
    }
    /// The shards that continue this one, ascending.
    pub fn children(&self, index: u32) -> impl Iterator<Item = &Shard> {
        self.shards[self.place(index)..].iter().filter(move |s| s.parents.contains(&Some(index)))
    }

    /// What a change makes of the shards: closed parents and their children.
    pub fn apply(&mut self, shards: &[Shard]) {
        for s in shards {
            let at = self.place(s.index);
            match self.shards.get_mut(at) {
                Some(there) if there.index == s.index => *there = *s,
                _ => self.shards.insert(at, *s),
            }
            self.next = self.next.max(s.index + 1);
        }
        self.sort();
    }
    /// Forgets shards whose records are gone.
    pub fn forget(&mut self, gone: &[u32]) {
        self.shards.retain(|s| !gone.contains(&s.index));
        self.sort();
    }
}

/// Shards per document: a document of some tens of kilobytes.
pub const CHUNK: u32 = 256;

/// One shard as stored.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stored {
    i: u32,
    /// Hexadecimal, `start-end`.
    r: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    p: Vec<u32>,
    c: u64,
    o: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    z: Option<Timestamp>,
}

impl From<&Shard> for Stored {
    fn from(s: &Shard) -> Stored {
        Stored {
            i: s.index,
            r: format!("{:x}-{:x}", s.range.0, s.range.1),
            p: s.parents.iter().flatten().copied().collect(),
            c: s.created,
            o: s.opened,
            z: s.closed,
        }
    }
}

impl Stored {
    /// The shard, unless what is stored is damaged.
    pub fn shard(&self) -> Option<Shard> {
        let (a, z) = self.r.split_once('-')?;
        let hex = |t| u128::from_str_radix(t, 16).ok();
        Some(Shard {
            index: self.i,
            range: (hex(a)?, hex(z)?),
            parents: [self.p.first().copied(), self.p.get(1).copied()],
            created: self.c,
            opened: self.o,
            closed: self.z,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hashing::uniform;

    /// Shards that share all keys evenly.
    pub fn fresh(count: u32) -> ShardMap {
        let shard = |(n, range)| Shard {
            index: n,
            range,
            parents: [None; 2],
            created: 1_700_000_000,
            opened: Timestamp(0),
            closed: None,
        };
        ShardMap::new((0..).zip(uniform(count)).map(shard).collect(), 0)
    }

    proptest! {
        #[test]
        fn every_key_has_exactly_one_taker(count in 1u32..60, key: u128) {
            let map = fresh(count);
            let taker = *map.taking(key).unwrap();
            prop_assert!(taker.range.0 <= key && key <= taker.range.1);
            prop_assert_eq!(map.open().filter(|s| s.range.0 <= key && key <= s.range.1).count(), 1);
        }
        #[test]
        fn what_is_stored_is_read(index: u32, a: u128, z: u128, p: Option<u32>, created in 0u64..1 << 36) {
            let s = Shard { index, range: (a, z), parents: [p, None], created, opened: Timestamp(5), closed: None };
            let text = serde_json::to_string(&Stored::from(&s)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Stored>(&text).unwrap().shard(), Some(s));
        }
    }

    #[test]
    fn ids_are_read_as_the_service_reads_them() {
        assert_eq!(id(7), "shardId-000000000007");
        for (text, want) in [
            ("shardId-000000000007", Some(7)),
            ("7", Some(7)),
            ("shardId-", None),
            ("shardId-x", None),
            ("shardId--1", None),
            ("99999999999", None),
        ] {
            assert_eq!(parse_id(text), want, "{text}");
        }
    }
}
