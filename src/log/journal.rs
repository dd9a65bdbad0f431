//! The journal's files and frames. `docs/formats/journal.md` is the layout, byte for byte.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crc32c::crc32c_append;
use seal::{Block, BlockKey, DataKey, Salt};
use world::{Disk, DiskFile, Mode, ShardId, StreamUid, Timestamp};

use crate::{
    codec::{Put, Reader},
    entry::{Directory, Writer},
};

/// The folder that it lives in.
pub(crate) const DIR: &str = "journal";
const MAGIC: &[u8; 8] = b"rushesj\0";
const VERSION: u32 = 1;
/// The header has a page to itself, so that no frame's write ever touches it.
pub(crate) const HEADER: u32 = 4096;
const HEADER_USED: usize = 128;
/// What stands before a frame's directory.
pub(crate) const FRAME: usize = 24;
/// The most that a frame holds beyond its first entry, so that rounds stay short and files are filled.
pub(crate) const MAX_FRAME: usize = 8 << 20;
/// The most entries that a frame has, which bounds what reading one of them costs.
pub(crate) const MAX_ENTRIES: usize = 16 << 10;
/// The reserved id under which the journal's own key is kept.
pub(crate) const JOURNAL: StreamUid = StreamUid([0; 16]);

/// A place in the journal. File numbers and offsets fit 32 bits (see [`crate::Limits::journal_file`]), which keeps the
/// index of what is in the journal small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Loc {
    pub file: u32,
    pub offset: u32,
}

pub(crate) fn file_name(number: u32) -> String {
    format!("{DIR}/{number:016x}.j")
}

/// What a file's first page says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub number: u32,
    /// Of the journal key.
    pub generation: u32,
    /// Fresh for each file: frames of an earlier life of the file can never pass for this one's.
    pub salt: Salt,
    /// Whose blocks its frames hold.
    pub writer: Writer,
    /// The file before this one and where it ends; frames beyond were never acknowledged. `None` in the first.
    pub prev: Option<Loc>,
    pub created: Timestamp,
}

/// Why a header cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum HeaderError {
    #[error("has format {0}; this program knows up to {VERSION}")]
    Newer(u32),
    #[error("its header is damaged")]
    Damaged,
}

impl Header {
    pub fn encode(&self) -> Vec<u8> {
        let mut b = Vec::with_capacity(HEADER as usize);
        b.extend_from_slice(MAGIC);
        b.put_u32(VERSION);
        b.put_u32(self.generation);
        b.put_u64(self.number.into());
        b.put_u64(self.writer.epoch);
        b.extend_from_slice(&self.salt);
        b.extend_from_slice(&self.writer.salt);
        b.put_u64(self.prev.map_or(0, |p| p.file.into()));
        b.put_u64(self.prev.map_or(0, |p| p.offset.into()));
        b.put_u64(self.created.0 as u64);
        b.put_u32(crc32c::crc32c(&b));
        debug_assert_eq!(b.len(), HEADER_USED - 4);
        b.resize(HEADER as usize, 0);
        b
    }

    pub fn parse(b: &[u8]) -> Result<Header, HeaderError> {
        let damaged = |_| HeaderError::Damaged;
        if b.len() < HEADER_USED || &b[..8] != MAGIC {
            return Err(HeaderError::Damaged);
        }
        let mut r = Reader::new(&b[8..]);
        let version = r.u32().map_err(damaged)?;
        // First, as a later version may keep its checksum elsewhere.
        if version != VERSION {
            return Err(HeaderError::Newer(version));
        }
        let crc = crc32c::crc32c(&b[..HEADER_USED - 8]);
        if b[HEADER_USED - 8..HEADER_USED - 4] != crc.to_le_bytes() {
            return Err(HeaderError::Damaged);
        }
        let mut parse = || {
            let generation = r.u32()?;
            let number = r.u64()?;
            let epoch = r.u64()?;
            let salt = r.array()?;
            let writer = Writer { epoch, salt: r.array()? };
            let (file, offset) = (r.u64()?, r.u64()?);
            Ok((generation, number, salt, writer, file, offset, Timestamp(r.u64()? as i64)))
        };
        let (generation, number, salt, writer, file, offset, created) =
            parse().map_err(|_: crate::codec::Malformed| HeaderError::Damaged)?;
        let small = |v: u64| u32::try_from(v).map_err(|_| HeaderError::Damaged);
        let prev = if file == 0 { None } else { Some(Loc { file: small(file)?, offset: small(offset)? }) };
        Ok(Header { number: small(number)?, generation, salt, writer, prev, created })
    }
}

/// One file of the journal, open.
pub(crate) struct JournalFile {
    pub header: Header,
    pub writer: Arc<Writer>,
    pub disk: Arc<dyn DiskFile>,
    key: BlockKey,
    mark: u32,
    seed: u32,
    /// Where its frames end.
    pub end: AtomicU64,
    /// How many entries its frames have.
    pub entries: AtomicU64,
    /// A write or sync failed: it is never written again, not even as a recycled file.
    pub failed: AtomicBool,
}

/// A frame's first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub seq: u32,
    pub dir: u32,
    pub body: u32,
    body_crc: u32,
    crc: u32,
}

impl FrameHead {
    /// Offset of its end from its start.
    pub fn len(&self) -> u64 {
        FRAME as u64 + u64::from(self.dir) + u64::from(self.body)
    }
}

/// What is at a place where a frame may be.
pub(crate) enum Look {
    /// A frame whose head and directory are whole.
    Frame(FrameHead, Vec<u8>),
    /// Nothing that this file's writer wrote.
    Nothing,
}

impl JournalFile {
    pub fn new(header: Header, disk: Arc<dyn DiskFile>, journal_key: &DataKey) -> Self {
        let key = BlockKey::new(journal_key, &header.salt, JOURNAL, header.generation);
        let seed = crc32c::crc32c(&header.salt);
        let mark = crc32c_append(seed, b"frame");
        let writer = Arc::new(header.writer.clone());
        JournalFile {
            header,
            writer,
            disk,
            key,
            mark,
            seed,
            end: AtomicU64::new(HEADER.into()),
            entries: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        }
    }

    /// The sub-key is the file's alone, so counting frames is enough for nonces.
    fn block(&self, seq: u32) -> Block {
        let shard = ShardId { stream: JOURNAL, shard: self.header.number };
        Block { shard, epoch: self.writer.epoch, id: seq.into() }
    }

    /// Makes a frame in `buf` (which is cleared): the plain directory is sealed, the bodies follow.
    pub fn frame<'b>(
        &self,
        buf: &mut Vec<u8>,
        seq: u32,
        directory: impl FnOnce(&mut Vec<u8>),
        bodies: impl Iterator<Item = &'b [u8]>,
    ) {
        buf.clear();
        buf.resize(FRAME, 0);
        directory(buf);
        self.key.seal_chunk(&self.block(seq), 0, true, buf, FRAME);
        let body = buf.len();
        bodies.for_each(|b| buf.extend_from_slice(b));
        let head = FrameHead {
            seq,
            dir: (body - FRAME) as u32,
            body: (buf.len() - body) as u32,
            body_crc: crc32c_append(self.seed, &buf[body..]),
            crc: 0,
        };
        let fixed = self.encode_head(&head);
        let crc = crc32c_append(crc32c_append(self.seed, &fixed), &buf[FRAME..body]);
        buf[..20].copy_from_slice(&fixed);
        buf[20..24].copy_from_slice(&crc.to_le_bytes());
    }

    fn encode_head(&self, h: &FrameHead) -> [u8; 20] {
        let mut b = [0; 20];
        for (i, v) in [self.mark, h.seq, h.dir, h.body, h.body_crc].into_iter().enumerate() {
            b[4 * i..4 * i + 4].copy_from_slice(&v.to_le_bytes());
        }
        b
    }

    /// `None` if it does not start as this file's frames do, or runs over `limit`.
    fn parse_head(&self, b: &[u8], at: u64, limit: u64) -> Option<FrameHead> {
        let mut r = Reader::new(b);
        let mut next = || r.u32().ok();
        if next()? != self.mark {
            return None;
        }
        let h = FrameHead { seq: next()?, dir: next()?, body: next()?, body_crc: next()?, crc: next()? };
        (h.dir as usize >= seal::TAG && at + h.len() <= limit).then_some(h)
    }

    fn head_holds(&self, h: &FrameHead, sealed: &[u8]) -> bool {
        crc32c_append(crc32c_append(self.seed, &self.encode_head(h)), sealed) == h.crc
    }

    /// Looks for a frame at `at`, through a window that spares a read per small frame.
    pub fn look(&self, window: &mut Window, at: u64, limit: u64) -> io::Result<Look> {
        if at + FRAME as u64 > limit {
            return Ok(Look::Nothing);
        }
        let Some(head) = self.parse_head(window.get(&*self.disk, at, FRAME, limit)?, at, limit) else {
            return Ok(Look::Nothing);
        };
        let sealed = window.get(&*self.disk, at + FRAME as u64, head.dir as usize, limit)?;
        Ok(if self.head_holds(&head, sealed) { Look::Frame(head, sealed.to_vec()) } else { Look::Nothing })
    }

    /// Whether a frame's body is as it was written.
    pub fn body_holds(&self, at: u64, head: &FrameHead) -> io::Result<bool> {
        let mut crc = self.seed;
        let mut buf = vec![0; (head.body as usize).min(1 << 20)];
        let (mut from, end) = (at + FRAME as u64 + u64::from(head.dir), at + head.len());
        while from < end {
            let n = buf.len().min((end - from) as usize);
            self.disk.read_exact_at(&mut buf[..n], from)?;
            crc = crc32c_append(crc, &buf[..n]);
            from += n as u64;
        }
        Ok(crc == head.body_crc)
    }

    /// Opens and parses a frame's sealed directory.
    pub fn directory(&self, at: u64, head: &FrameHead, mut sealed: Vec<u8>) -> Result<Directory, String> {
        let plain =
            self.key.open_chunk(&self.block(head.seq), 0, true, &mut sealed).map_err(|e| e.to_string())?;
        let body = at + FRAME as u64 + u64::from(head.dir);
        Directory::parse(plain, &self.writer, body, head.body.into()).map_err(|e| e.to_string())
    }

    /// Reads the directory of a frame that is known to be there. The inner error says that it is damaged.
    pub fn read_directory(&self, at: u32) -> io::Result<Result<Directory, String>> {
        let limit = self.end.load(Ordering::Acquire);
        Ok(match self.look(&mut Window::default(), at.into(), limit)? {
            Look::Frame(head, sealed) => self.directory(at.into(), &head, sealed),
            Look::Nothing => Err("no whole frame is there".into()),
        })
    }

    /// Looks for a whole frame of number `seq` or later, anywhere at or after `from`: the sign that what stands before
    /// it was once durable.
    pub fn find_later(&self, from: u64, seq: u32, limit: u64) -> io::Result<Option<u64>> {
        const STEP: usize = 1 << 20;
        let mark = self.mark.to_le_bytes();
        let mut window = Window::default();
        let mut buf = vec![0; STEP + 3];
        let mut at = from;
        while at + FRAME as u64 <= limit {
            let n = buf.len().min((limit - at) as usize);
            self.disk.read_exact_at(&mut buf[..n], at)?;
            for i in 0..n.saturating_sub(3) {
                if buf[i..i + 4] == mark
                    && let Look::Frame(head, _) = self.look(&mut window, at + i as u64, limit)?
                    && head.seq >= seq
                {
                    return Ok(Some(at + i as u64));
                }
            }
            at += STEP as u64;
        }
        Ok(None)
    }
}

/// A buffered view of a file that is walked through once.
#[derive(Default)]
pub(crate) struct Window {
    buf: Vec<u8>,
    at: u64,
}

impl Window {
    /// `n` bytes at `at`; at most up to `limit`, which the file reaches.
    fn get(&mut self, disk: &dyn DiskFile, at: u64, n: usize, limit: u64) -> io::Result<&[u8]> {
        let have = self.at..self.at + self.buf.len() as u64;
        if !(have.contains(&at) && at + n as u64 <= have.end) {
            // The first look is a small one: a reader of one frame wants no more.
            let want = if self.buf.is_empty() { 4096 } else { 64 << 10 };
            let want = n.max(want.min(limit.saturating_sub(at) as usize));
            self.buf.clear();
            self.buf.resize(want, 0);
            self.at = at;
            if let Err(e) = disk.read_exact_at(&mut self.buf, at) {
                self.buf.clear();
                return Err(e);
            }
        }
        let from = (at - self.at) as usize;
        Ok(&self.buf[from..from + n])
    }
}

/// Where new files come from: released ones, overwritten in place, so that a sync has no metadata to write.
pub(crate) struct Spares {
    names: Vec<String>,
}

/// More released files than this are removed.
const MAX_SPARES: usize = 4;

impl Spares {
    pub fn new(names: Vec<String>) -> Self {
        Spares { names }
    }

    /// Makes file `header.number`: when this returns its header and its name are durable.
    pub fn start(&mut self, disk: &dyn Disk, header: &Header, size: u64) -> io::Result<Arc<dyn DiskFile>> {
        let name = file_name(header.number);
        let (from, file) = loop {
            match self.names.pop() {
                Some(spare) => match disk.open(&spare, Mode::ReadWrite) {
                    Ok(f) => break (spare, f),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(e),
                },
                None => {
                    let fresh = format!("{DIR}/{:016x}.new", header.number);
                    // A leftover of an attempt that failed.
                    match disk.remove(&fresh) {
                        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                        _ => {}
                    }
                    let f = disk.open(&fresh, Mode::CreateNew)?;
                    if let Err(e) = f.allocate(size) {
                        // On a full disk nothing must be left of an attempt.
                        let _ = disk.remove(&fresh);
                        return Err(e);
                    }
                    break (fresh, f);
                }
            }
        };
        let made = (|| {
            file.write_all_at(&header.encode(), 0)?;
            file.sync_data()?;
            disk.rename(&from, &name)?;
            disk.sync_dir(DIR)
        })();
        if let Err(e) = made {
            // Whatever name it has by now, it has no frame; but a recovery must not take it for the journal's next file
            // if this one is made again.
            let _ = disk.remove(&from);
            let _ = disk.remove(&name);
            return Err(e);
        }
        Ok(file)
    }

    /// Takes a file that nothing needs any more.
    pub fn give(&mut self, disk: &dyn Disk, file: &JournalFile, reusable: bool, size: u64) -> io::Result<()> {
        let name = file_name(file.header.number);
        let fits = !file.failed.load(Ordering::Relaxed) && file.disk.len().is_ok_and(|l| l == size);
        if reusable && fits && self.names.len() < MAX_SPARES {
            let spare = format!("{DIR}/{:016x}.spare", file.header.number);
            disk.rename(&name, &spare)?;
            self.names.push(spare);
            return Ok(());
        }
        disk.remove(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::testing::cases(256))]
        #[test]
        fn headers_come_back(number: u32, generation: u32, salt: [u8; 32], epoch: u64, wsalt: [u8; 32], prev in proptest::option::of((1u32.., any::<u32>())), flip in 0usize..124) {
            let h = Header {
                number, generation, salt, writer: Writer { epoch, salt: wsalt },
                prev: prev.map(|(file, offset)| Loc { file, offset }), created: Timestamp(7),
            };
            let mut b = h.encode();
            prop_assert_eq!(Header::parse(&b), Ok(h));
            b[flip] ^= 4;
            prop_assert!(Header::parse(&b).is_err());
            prop_assert!(Header::parse(&b[..100]).is_err());
        }

        #[test]
        fn frames_come_back_and_nothing_else_passes_for_one(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 16..400), 1..8),
            seq: u32,
            flip in any::<prop::sample::Index>(),
        ) {
            use crate::entry::{DirectoryWriter, Event, Slot};
            let disk = world::sim::SimDisk::new(1);
            let f = disk.open("f", Mode::CreateNew).unwrap();
            let header = |salt| Header {
                number: 3, generation: 1, salt: [salt; 32], writer: Writer { epoch: 4, salt: [5; 32] },
                prev: None, created: Timestamp(7),
            };
            let file = JournalFile::new(header(6), f.clone(), &DataKey::new([1; 32]));
            let mut d = DirectoryWriter::default();
            for (i, b) in bodies.iter().enumerate() {
                d.batch(0, 0, i as u64, 1, 1, b.len() as u32, &[i as u8; 16]);
            }
            let slots = [Slot { shard: ShardId { stream: StreamUid([2; 16]), shard: 0 }, base: 10, arrival: Timestamp(5) }];
            let mut buf = Vec::new();
            file.frame(&mut buf, seq, |b| d.finish(Timestamp(5), &slots, b), bodies.iter().map(Vec::as_slice));
            let at = u64::from(HEADER);
            f.write_all_at(&buf, at).unwrap();
            f.set_len(at + buf.len() as u64 + 100).unwrap();
            let end = f.len().unwrap();
            let Look::Frame(head, sealed) = file.look(&mut Window::default(), at, end).unwrap() else { panic!("not found") };
            prop_assert_eq!((head.seq, head.len()), (seq, buf.len() as u64));
            prop_assert!(file.body_holds(at, &head).unwrap());
            let dir = file.directory(at, &head, sealed).unwrap();
            for ((_, e), b) in dir.events.iter().zip(&bodies) {
                let Event::Batch(e) = e else { panic!("not a batch") };
                let mut got = vec![0; e.len as usize];
                f.read_exact_at(&mut got, e.offset).unwrap();
                prop_assert_eq!(&got, b);
            }
            prop_assert_eq!(file.find_later(at - 50, seq, end).unwrap(), Some(at));
            // To a file of another salt it is nothing, nor is it found there.
            let other = JournalFile::new(header(7), f.clone(), &DataKey::new([1; 32]));
            prop_assert!(matches!(other.look(&mut Window::default(), at, end).unwrap(), Look::Nothing));
            prop_assert_eq!(other.find_later(at - 50, 0, end).unwrap(), None);
            // A flipped bit anywhere is met: by the look, or by the body's checksum.
            disk.flip("f", HEADER as usize + flip.index(buf.len()), 3).unwrap();
            match file.look(&mut Window::default(), at, end).unwrap() {
                Look::Nothing => {}
                Look::Frame(head, _) => prop_assert!(!file.body_holds(at, &head).unwrap()),
            }
        }
    }
}
