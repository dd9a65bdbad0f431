//! Checking sealed blocks where they lie: each byte is read once, in the order of the file, and opened in place.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ring::digest;
use seal::{BlockKey, CHUNK, DataKey, Salt, TAG};
use world::{DiskFile, ShardId, StreamUid};

use crate::{
    entry::{Entry, Sealed},
    findings::Finding,
    payload::first16,
};

/// All data keys, by stream and generation.
pub(crate) type DataKeys = BTreeMap<(StreamUid, u32), Arc<DataKey>>;

/// Bytes read at once, of a file.
const PIECE: usize = 1 << 20;
/// Findings named for one file; beyond it they are counted.
pub(crate) const NAMED: usize = 200;
const STEP: u64 = (CHUNK + TAG) as u64;

/// One sealed chunk in the file.
struct Chunk {
    offset: u64,
    len: u32,
    entry: u32,
    number: u32,
    last: bool,
}

/// What is known of an entry while its chunks pass.
struct Passing {
    crc: u32,
    /// Of the tags; `None` for a block of one chunk.
    tags: Option<digest::Context>,
    next: u32,
    bad: bool,
}

/// A piece of the file.
struct Piece<'f> {
    file: &'f dyn DiskFile,
    buf: Vec<u8>,
    at: u64,
    filled: usize,
    limit: u64,
    size: usize,
}

impl Piece<'_> {
    /// These bytes, to be changed at will: they are asked for once.
    fn get(&mut self, at: u64, len: usize) -> std::io::Result<&mut [u8]> {
        let end = at + len as u64;
        if at < self.at || end > self.at + self.filled as u64 {
            let want = (self.limit - at).min(self.size.max(len) as u64) as usize;
            if self.buf.len() < want {
                self.buf.resize(want, 0);
            }
            self.filled = 0;
            self.file.read_exact_at(&mut self.buf[..want], at)?;
            (self.at, self.filled) = (at, want);
        }
        let from = (at - self.at) as usize;
        Ok(&mut self.buf[from..from + len])
    }
}

/// Checks blocks of one file.
pub(crate) struct Blocks<'k> {
    keys: &'k DataKeys,
    opened: HashMap<(StreamUid, u32, Salt), BlockKey>,
    /// Bytes read at once.
    pub piece: usize,
    /// Blocks looked at.
    pub blocks: u64,
    /// Bytes looked at.
    pub bytes: u64,
}

/// Block keys kept derived.
const KEYS: usize = 4096;

impl<'k> Blocks<'k> {
    pub fn new(keys: &'k DataKeys) -> Self {
        Blocks { keys, opened: HashMap::new(), piece: PIECE, blocks: 0, bytes: 0 }
    }

    fn key(&mut self, stream: StreamUid, s: &Sealed) -> Option<&BlockKey> {
        let name = (stream, s.generation, s.writer.salt);
        if self.opened.len() >= KEYS && !self.opened.contains_key(&name) {
            self.opened.clear();
        }
        match self.opened.entry(name) {
            std::collections::hash_map::Entry::Occupied(e) => Some(e.into_mut()),
            std::collections::hash_map::Entry::Vacant(e) => {
                let data = self.keys.get(&(stream, s.generation))?;
                Some(e.insert(BlockKey::new(data, &s.writer.salt, stream, s.generation)))
            }
        }
    }

    /// Whether a stream has any key.
    pub fn has_keys(&self, stream: StreamUid) -> bool {
        self.keys.range((stream, 0)..=(stream, u32::MAX)).next().is_some()
    }

    /// Opens every chunk of these entries, which lie before `limit` in `file`, and tells what is wrong with any.
    /// `crcs`: whether the entries know their blocks' checksums.
    pub fn check(
        &mut self,
        file: &dyn DiskFile,
        place: &str,
        limit: u64,
        entries: &[(ShardId, Entry)],
        crcs: bool,
        tell: &mut dyn FnMut(Finding),
    ) {
        let (mut chunks, mut passing) = (Vec::new(), Vec::with_capacity(entries.len()));
        for (n, (shard, e)) in entries.iter().enumerate() {
            let before = chunks.len();
            let placed = place_chunks(e, n as u32, limit, &mut chunks);
            if !placed {
                chunks.truncate(before);
                let what = "is listed as being where no blocks are";
                tell(Finding::damage(place, describe(e, what)).entry(*shard, e).bytes(sealed_bytes(e)));
            }
            let many = chunks.len() - before > 1;
            passing.push(Passing {
                crc: 0,
                tags: many.then(|| digest::Context::new(&digest::SHA256)),
                next: 0,
                bad: !placed,
            });
        }
        // Payloads that were under way together lie between each other. Each one's own chunks rise.
        chunks.sort_unstable_by_key(|c| c.offset);
        let mut piece = Piece { file, buf: Vec::new(), at: 0, filled: 0, limit, size: self.piece };
        for c in &chunks {
            let (shard, e) = &entries[c.entry as usize];
            let p = &mut passing[c.entry as usize];
            self.bytes += u64::from(c.len);
            self.blocks += u64::from(c.last);
            let mut wrong = |what: String| {
                tell(Finding::damage(place, what).at(c.offset).entry(*shard, e).bytes(c.len.into()));
            };
            if c.number != p.next && !p.bad {
                p.bad = true;
                wrong(describe(e, "has its chunks in another order than it was written in"));
            }
            p.next = c.number + 1;
            let bytes = match piece.get(c.offset, c.len as usize) {
                Ok(b) => b,
                Err(e) => {
                    p.bad = true;
                    wrong(format!("cannot be read: {e}"));
                    continue;
                }
            };
            p.crc = if c.number == 0 { crc32c::crc32c(bytes) } else { crc32c::crc32c_append(p.crc, bytes) };
            let (_, tag) = bytes.split_at(bytes.len().saturating_sub(TAG));
            let mut last_tag = [0; TAG];
            if tag.len() == TAG {
                last_tag.copy_from_slice(tag);
            }
            if let Some(t) = &mut p.tags {
                t.update(&last_tag);
            }
            let sealed = match e {
                Entry::Batch(b) => &b.sealed,
                Entry::Large(l) => &l.sealed,
            };
            match self.key(shard.stream, sealed) {
                None => {
                    p.bad = true;
                    wrong(describe(
                        e,
                        &format!("cannot be opened: there is no key of generation {}", sealed.generation),
                    ));
                }
                Some(key) => {
                    if let Err(x) = key.open_chunk(&sealed.block(*shard), c.number, c.last, bytes) {
                        p.bad = true;
                        wrong(describe(e, &format!("{x} (chunk {})", c.number)));
                    }
                }
            }
            if c.last && !p.bad {
                let digest = p.tags.take().map_or(last_tag, |t| first16(t.finish().as_ref()));
                if digest != sealed.digest {
                    wrong(describe(e, "is another one than its index says"));
                } else if crcs && p.crc != crc_of(e) {
                    wrong(describe(e, "has another checksum than its index says"));
                }
            }
        }
    }
}

fn crc_of(e: &Entry) -> u32 {
    match e {
        Entry::Batch(b) => b.crc,
        Entry::Large(l) => l.crc,
    }
}

fn sealed_bytes(e: &Entry) -> u64 {
    match e {
        Entry::Batch(b) => b.len.into(),
        Entry::Large(l) => l.sealed_bytes(),
    }
}

fn describe(e: &Entry, what: &str) -> String {
    match e {
        Entry::Batch(b) => format!("a block of {} records {what}", b.count),
        Entry::Large(_) => format!("a payload {what}"),
    }
}

/// Where an entry's chunks are. `false` if some would not be before `limit`.
fn place_chunks(e: &Entry, entry: u32, limit: u64, out: &mut Vec<Chunk>) -> bool {
    let mut number = 0;
    let mut stretch = |offset: u64, len: u64, last: bool| {
        if offset.checked_add(len).is_none_or(|end| end > limit) {
            return false;
        }
        let mut done = 0;
        while done < len {
            let n = (len - done).min(STEP);
            done += n;
            let last = last && done == len;
            out.push(Chunk { offset: offset + done - n, len: n as u32, entry, number, last });
            number += 1;
        }
        true
    };
    match e {
        Entry::Batch(b) => b.len as usize >= TAG && stretch(b.offset, b.len.into(), true),
        Entry::Large(l) => {
            let count = l.extents.len();
            l.extents.iter().enumerate().all(|(i, x)| {
                // A chunk is never split: all but the last extent are whole chunks.
                let last = i + 1 == count;
                x.len > 0 && (last || x.len % STEP == 0) && stretch(x.offset, x.len, last)
            })
        }
    }
}
