//! What the fuzz target (`fuzz/`) and this room's own tests do with arbitrary bytes: feed them to everything that reads
//! what is stored, and check what must hold of whatever was understood. A panic here is a bug.
//!
//! Most of what is stored is sealed, so bytes that were changed do not open. That is checked here too; and what is inside
//! is also read directly, as if whoever holds the keys had written it.

use std::sync::Arc;

use bytes::Bytes;
use seal::{Block, BlockKey, DataKey};
use world::{Disk, DiskFile, Mode, ShardId, StreamUid, Timestamp, sim::SimDisk};

use crate::{
    Place,
    entry::{
        Batch, Directory, DirectoryWriter, Entry, Event, Extent, Large, Sealed, Slot, Writer, blank_large,
        decode_records,
    },
    journal::{FRAME, HEADER, Header, JournalFile, Look, Window},
    place::Located,
    segment::{self, IndexWriter},
};

const ID: [u8; 16] = [7; 16];
const FRAMES: u32 = 3;

/// The first byte chooses what the rest is given to.
pub fn stored(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    match choice % 7 {
        0 => plain(rest),
        1 => journal(rest),
        2 => footer(rest),
        3 => block(rest),
        4 => secrets(rest),
        5 => raw_journal(rest),
        _ => raw_segment(rest),
    }
}

fn key() -> DataKey {
    DataKey::new([1; 32])
}

fn shard() -> ShardId {
    ShardId { stream: StreamUid([3; 16]), shard: 0 }
}

fn writer() -> Arc<Writer> {
    Arc::new(Writer { epoch: 5, salt: [2; 32] })
}

fn header() -> Header {
    let writer = Writer { epoch: 5, salt: [2; 32] };
    Header { number: 1, generation: 1, salt: [9; 32], writer, prev: None, created: Timestamp(1_000_000) }
}

/// Files in memory; one of them.
fn file(bytes: &[u8]) -> Option<Arc<dyn DiskFile>> {
    let f = SimDisk::new(1).open("f", Mode::CreateNew).ok()?;
    f.write_all_at(bytes, 0).ok()?;
    Some(f)
}

/// Changes bytes of what was written: three bytes of the data each, a place and what to put over it there. Where the first
/// is that is another now; two changes of one may cancel out.
fn changed(whole: &mut [u8], data: &[u8]) -> Option<usize> {
    let before = whole.to_vec();
    for c in data.as_chunks::<3>().0 {
        let at = usize::from(u16::from_le_bytes([c[0], c[1]]));
        if let Some(b) = whole.get_mut(at) {
            *b ^= c[2];
        }
    }
    before.iter().zip(whole).position(|(b, w)| b != w)
}

/// The insides of sealed things.
fn plain(data: &[u8]) {
    let _ = Header::parse(data);
    let _ = Located::parse(&Place(Bytes::copy_from_slice(data)));
    if let Ok(d) = Directory::parse(data, &writer(), 4096, 1 << 20) {
        assert!(d.slots.len() <= data.len() && d.events.len() <= data.len());
        for (slot, event) in &d.events {
            assert!((*slot as usize) < d.slots.len());
            if let Event::Batch(b) = event {
                assert!(b.offset >= 4096 && b.offset + u64::from(b.len) <= 4096 + (1 << 20));
            }
        }
    }
    if let Ok((_, runs)) = segment::parse_root(data, 64, 1 << 20) {
        let pages = runs.iter().flat_map(|r| &r.pages);
        assert!(pages.clone().count() <= data.len());
        assert!(pages.clone().all(|p| p.offset >= 64 && p.offset + u64::from(p.len) <= 1 << 20));
    }
    if let Some(entries) = segment::parse_page(&[writer()], ID, data).ok().filter(|e| !e.is_empty()) {
        assert!(entries.len() <= data.len() && entries.iter().all(|e| e.end() >= e.first()));
    }
    let records = Bytes::copy_from_slice(data);
    let total: usize = decode_records(&records).flatten().map(|r| r.len()).sum();
    assert!(total <= data.len());
}

fn frames(journal: &JournalFile) -> Vec<(Vec<u8>, u32)> {
    (0..FRAMES)
        .map(|seq| {
            let mut directory = DirectoryWriter::default();
            directory.batch(0, 0, u64::from(seq), 1, 2, 40, &[4; 16]);
            let slots = [Slot { shard: shard(), base: u64::from(seq) * 2, arrival: Timestamp(7) }];
            let mut out = Vec::new();
            let body = [seq as u8; 40];
            journal.frame(
                &mut out,
                seq,
                |d| directory.finish(Timestamp(7), &slots, d),
                std::iter::once(&body[..]),
            );
            (out, seq)
        })
        .collect()
}

/// A journal file whose frames were changed: those before the first change are read, and what is read was written.
fn journal(data: &[u8]) {
    let Some(empty) = file(&[]) else { return };
    let made = frames(&JournalFile::new(header(), empty, &key()));
    let whole: Vec<u8> = made.iter().flat_map(|(f, _)| f.clone()).collect();
    let mut spoilt = whole.clone();
    let change = changed(&mut spoilt, data);
    let Some(disk) = file(&[&header().encode()[..], &spoilt].concat()) else { return };
    let read = walk(&JournalFile::new(header(), disk, &key()), HEADER as u64 + spoilt.len() as u64);
    let (mut end, mut whole_before) = (0, 0);
    for (f, _) in &made {
        end += f.len();
        whole_before += usize::from(change.is_none_or(|c| c >= end));
    }
    assert_eq!(read.len(), whole_before, "exactly the frames before the first change at {change:?}");
    for (d, (_, seq)) in read.iter().zip(&made) {
        assert!(matches!(&d.events[..], [(0, Event::Batch(b))] if b.first == u64::from(*seq) * 2));
    }
}

/// Frames as recovery takes them, one after another until one is not whole.
fn walk(journal: &JournalFile, limit: u64) -> Vec<Directory> {
    let (mut out, mut at) = (Vec::new(), u64::from(HEADER));
    let mut window = Window::default();
    while let Ok(Look::Frame(head, sealed)) = journal.look(&mut window, at, limit) {
        assert!(head.len() >= FRAME as u64 && at + head.len() <= limit);
        if !journal.body_holds(at, &head).unwrap_or(false) {
            break;
        }
        let Ok(d) = journal.directory(at, &head, sealed) else { break };
        out.push(d);
        at += head.len();
    }
    let _ = journal.find_later(at, 0, limit);
    out
}

/// Any bytes as a journal file, with our mark where a frame would begin so that its head is looked at.
fn raw_journal(data: &[u8]) {
    let Some(empty) = file(&[]) else { return };
    let made = frames(&JournalFile::new(header(), empty, &key()));
    let Some((mark, _)) = made.first().and_then(|(f, _)| f.split_first_chunk::<4>()) else { return };
    let whole = [&header().encode()[..], mark, data].concat();
    let limit = whole.len() as u64;
    let Some(disk) = file(&whole) else { return };
    assert!(walk(&JournalFile::new(header(), disk, &key()), limit).is_empty(), "nobody sealed this");
}

fn entries() -> Vec<Entry> {
    let sealed = |id| Sealed { writer: writer(), generation: 1, id, codec: 0, digest: [4; 16] };
    let at = Timestamp(9);
    let batch = Batch { first: 0, count: 3, arrival: at, sealed: sealed(1), offset: 64, len: 100, crc: 5 };
    let len = 1000;
    let large = Large {
        len,
        extents: vec![Extent { offset: 164, len: seal::sealed_len(len) }],
        index: Bytes::from_static(b"index"),
        segment: ID,
        ..blank_large(3, at, sealed(2))
    };
    vec![Entry::Batch(batch), Entry::Large(Arc::new(large))]
}

fn read(file: &dyn DiskFile) -> Option<Vec<Entry>> {
    let root = segment::read_root(file, &ID, |g| (g == 1).then(|| Arc::new(key()))).ok()?;
    let mut out = Vec::new();
    for (n, run) in root.runs.iter().enumerate() {
        for page in 0..run.pages.len() {
            out.extend(root.read_page(file, n, page).ok()?);
        }
    }
    Some(out)
}

/// A segment whose footer was changed: what is read of it was written.
fn footer(data: &[u8]) {
    let mut w = IndexWriter::new(ID, (1, &key()), [9; 32]);
    w.run(shard());
    entries().iter().for_each(|e| w.add(e));
    let base = segment::HEADER as usize + 100;
    let mut whole = vec![5; base];
    whole.extend(w.finish(base as u64).bytes);
    let change = changed(&mut whole[base..], data);
    let Some(f) = file(&whole) else { return };
    match read(&*f) {
        Some(back) => assert_eq!(back, entries(), "something else was read, changed at {change:?}"),
        None => assert!(change.is_some(), "nothing was changed"),
    }
}

/// Any bytes as a segment, with a trailer before the end whose checksum holds.
fn raw_segment(data: &[u8]) {
    if let Some(f) = file(data) {
        assert!(read(&*f).is_none_or(|e| e.is_empty()), "nobody sealed this");
    }
    let Some((places, rest)) = data.split_first_chunk::<20>() else { return };
    let mut places = crate::codec::Reader::new(places);
    let (Ok(base), Ok(root), Ok(len)) = (places.u64(), places.u64(), places.u32()) else { return };
    let mut whole = vec![0; segment::HEADER as usize];
    whole.extend_from_slice(rest);
    // Near enough to be looked at now and then.
    let room = |v: u64| v % (whole.len() as u64 + 64);
    let (base, root, len) = (room(base), room(root), room(len.into()) as u32);
    let trailer = segment::Trailer { generation: 1, base, root, len, crc: 0 };
    whole.extend(trailer.encode(&ID, &[9; 32]));
    if let Some(f) = file(&whole) {
        assert!(read(&*f).is_none(), "nobody sealed this");
    }
}

/// A block that was changed or cut does not open.
fn block(data: &[u8]) {
    let key = BlockKey::new(&key(), &[2; 32], shard().stream, 1);
    let block = Block { shard: shard(), epoch: 5, id: 1 };
    // libFuzzer sees what is compared below, and so comes by a sealed block now and then.
    if let Ok(plain) = key.open(&block, data.to_vec()) {
        assert_eq!(key.seal(&block, &plain), data, "it opens, and was not sealed so");
    }
    let plain = vec![6; data.len()];
    let whole = key.seal(&block, &plain);
    let mut spoilt = whole.clone();
    if changed(&mut spoilt, data).is_some() && spoilt != whole {
        assert!(key.open(&block, spoilt).is_err());
    }
    for cut in data.iter().map(|c| usize::from(*c)).filter(|c| *c < whole.len()).take(4) {
        assert!(key.open(&block, whole[..cut].to_vec()).is_err());
    }
}

/// Secrets and tokens that nobody made.
fn secrets(data: &[u8]) {
    assert!(seal::open_secret(&key(), b"here", data).is_err());
    assert!(seal::open_token(&key(), "kind", data).is_err());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_changes_of_one_byte_may_be_none() {
        for choice in 1..4 {
            stored(&[choice, 0x3d, 0, 0x86, 0x3d, 0, 0x86]);
        }
    }

    proptest! {
        #![proptest_config(crate::testing::cases(512))]
        #[test]
        fn whatever_is_stored_is_survived(choice in 0u8..7, data in proptest::collection::vec(any::<u8>(), 0..400)) {
            stored(&[&[choice][..], &data].concat());
        }

        #[test]
        fn what_was_changed_in_one_place_is_not_read(choice in 1u8..4, at in 0u16..600, with in 1u8..) {
            let [a, b] = at.to_le_bytes();
            stored(&[choice, a, b, with]);
            stored(&[choice]);
        }
    }
}
