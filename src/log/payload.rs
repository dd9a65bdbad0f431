//! A large payload on its way in: sealed and written chunk by chunk, off the runtime; in memory up to two chunks.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use ring::digest;
use seal::{CHUNK, TAG};
use tokio::sync::oneshot;
use world::{DiskFile, Timestamp};

use crate::{
    Committed, LogError, MAX_INDEX, PayloadWriter,
    committer::{Fail, LargeOp, Op},
    entry::{Extent, Large, Sealed, blank_large},
    index::Shard,
    keys::{Sealer, lock},
    open_segment::OpenSegment,
    shared::{Running, Shared},
};

/// What a chunk has room for at first.
const SMALL: usize = 16 << 10;

/// The segment that it is being written into, with the handle that keeps it so.
#[derive(Clone)]
struct Target {
    segment: Arc<OpenSegment>,
    file: Arc<dyn DiskFile>,
}

/// What is on disk of it so far. Goes to the disk tasks and comes back.
struct Written {
    sealed: Sealed,
    sealer: Arc<Sealer>,
    target: Option<Target>,
    extents: Vec<Extent>,
    chunks: u32,
    crc: u32,
    tags: digest::Context,
    last_tag: [u8; TAG],
}

/// The chunk before the one that is being filled may still be on its way.
enum Progress {
    Here(Box<Written>),
    Going(Running<Result<Box<Written>, LogError>>),
}

impl Progress {
    async fn here(self) -> Result<Box<Written>, LogError> {
        match self {
            Progress::Here(w) => Ok(w),
            Progress::Going(g) => g.end().await?,
        }
    }
}

pub(crate) struct LocalPayload {
    shared: Arc<Shared>,
    shard: Arc<Shard>,
    /// The chunk that is being filled. Sealed only once more follows or nothing will: the last one is marked.
    buf: Vec<u8>,
    len: u64,
    /// `None` after a failure, and of a call that was given up.
    written: Option<Progress>,
    /// Plain chunks for the tail, while there are few enough.
    plain: Option<Vec<Bytes>>,
}

impl LocalPayload {
    pub fn new(shared: Arc<Shared>, shard: Arc<Shard>, sealer: Arc<Sealer>) -> Self {
        let id = shared.ids.fetch_add(1, Ordering::Relaxed);
        let sealed = Sealed {
            writer: shared.writer.clone(),
            generation: sealer.generation,
            id,
            codec: 0,
            digest: [0; 16],
        };
        let written = Written {
            sealed,
            sealer,
            target: None,
            extents: Vec::new(),
            chunks: 0,
            crc: 0,
            tags: digest::Context::new(&digest::SHA256),
            last_tag: [0; TAG],
        };
        LocalPayload {
            shared,
            shard,
            buf: Vec::new(),
            len: 0,
            written: Some(Progress::Here(Box::new(written))),
            plain: Some(Vec::new()),
        }
    }

    /// Makes room for `n` bytes more in `buf`, in few steps: each is memory that was not used before.
    fn grow(&mut self, n: usize) {
        let wanted = self.buf.len() + n;
        if wanted > self.buf.capacity() {
            // A payload that has filled one chunk fills most of another.
            let first = self.len <= CHUNK as u64;
            let room = if first {
                wanted.next_power_of_two().max(4 * self.buf.capacity()).max(SMALL)
            } else {
                CHUNK
            };
            self.buf.reserve_exact(room.min(CHUNK) - self.buf.len());
        }
    }

    /// Seals and writes the chunk in `buf`, once the one before is written: what follows is taken meanwhile. What fails
    /// then is said by the next call.
    async fn flush(&mut self, last: bool) -> Result<(), LogError> {
        self.shared.admit_bytes(self.buf.len()).await?;
        self.shared.rules.admit(self.shard.id.stream, self.buf.len() as u64)?;
        let mut w = self.written.take().ok_or_else(abandoned)?.here().await?;
        let chunk = Bytes::from(std::mem::take(&mut self.buf));
        if let Some(p) = &mut self.plain {
            // A payload that would push most others out of the tail is not kept there.
            if self.len > (self.shared.limits.tail_bytes / 8) as u64 {
                self.plain = None;
            } else {
                p.push(chunk.clone());
            }
        }
        let bytes = chunk.len().clamp(1, self.shared.limits.inflight_bytes);
        let room = self.shared.room.clone().acquire_many_owned(bytes as u32).await;
        let room = room.map_err(|_| LogError::Down)?;
        let (shared, shard) = (self.shared.clone(), self.shard.clone());
        let going = self.shared.begin(move || {
            let _room = room;
            w.chunk(&shared, &shard, &chunk, last)?;
            Ok(w)
        });
        self.written = Some(match going {
            Running::Done(w) => Progress::Here(w?),
            going => Progress::Going(going),
        });
        Ok(())
    }
}

fn abandoned() -> LogError {
    LogError::Refused("an earlier write of this payload failed or was given up".into())
}

fn refused(e: io::Error) -> LogError {
    LogError::Refused(e.to_string())
}

fn add(extents: &mut Vec<Extent>, offset: u64, len: u64) {
    match extents.last_mut() {
        Some(e) if e.offset + e.len == offset => e.len += len,
        _ => extents.push(Extent { offset, len }),
    }
}

/// Copies sealed chunks as they are. `None` if the new segment was closed meanwhile.
fn copy(old: &Target, extents: &[Extent], new: &Target) -> Result<Option<Vec<Extent>>, LogError> {
    let (mut buf, mut out) = (Vec::new(), Vec::new());
    for e in extents {
        let mut at = e.offset;
        while at < e.offset + e.len {
            // Chunks stay whole: they are full but for the last.
            let n = (e.offset + e.len - at).min((CHUNK + TAG) as u64);
            buf.resize(n as usize, 0);
            old.file.read_exact_at(&mut buf, at).map_err(refused)?;
            let Some(to) = new.segment.write(&*new.file, &buf).map_err(refused)? else { return Ok(None) };
            add(&mut out, to, n);
            at += n;
        }
    }
    Ok(Some(out))
}

impl Written {
    fn chunk(
        &mut self,
        shared: &Shared,
        shard: &Arc<Shard>,
        plain: &[u8],
        last: bool,
    ) -> Result<(), LogError> {
        let mut sealed = Vec::with_capacity(plain.len() + TAG);
        sealed.extend_from_slice(plain);
        self.sealer.key.seal_chunk(&self.sealed.block(shard.id), self.chunks, last, &mut sealed, 0);
        let tag = &sealed[plain.len()..];
        self.tags.update(tag);
        self.last_tag.copy_from_slice(tag);
        self.crc = crc32c::crc32c_append(self.crc, &sealed);
        self.chunks += 1;
        loop {
            let target = self.target(shared, shard)?;
            // `None`: closed between the two.
            if let Some(at) = target.segment.write(&*target.file, &sealed).map_err(refused)? {
                add(&mut self.extents, at, sealed.len() as u64);
                return Ok(());
            }
        }
    }

    /// Where to write: what it has, or the shard's open segment, or a new one. What was written into a segment that
    /// was closed meanwhile moves along, as it is.
    fn target(&mut self, shared: &Shared, shard: &Arc<Shard>) -> Result<Target, LogError> {
        loop {
            if shared.dead.load(Ordering::Acquire) {
                return Err(LogError::Down);
            }
            if let Some(t) = &self.target
                && t.segment.usable()
            {
                return Ok(t.clone());
            }
            let new = Written::current(shared, shard)?;
            match &self.target {
                None => self.target = Some(new),
                Some(old) => {
                    if let Some(extents) = copy(old, &self.extents, &new)? {
                        (self.extents, self.target) = (extents, Some(new));
                    }
                }
            }
        }
    }

    /// The segment that the shard's payloads go into now.
    fn current(shared: &Shared, shard: &Arc<Shard>) -> Result<Target, LogError> {
        let segment = {
            let mut place = lock(&shard.segment);
            match &*place {
                Some(s) if s.usable() => s.clone(),
                // Nobody would ever remove it.
                _ if shard.state().gone => return Err(LogError::NoShard(shard.id)),
                _ => {
                    let s = shared.segments.create(&shared.world, shard.id).map_err(refused)?;
                    *place = Some(s.clone());
                    s
                }
            }
        };
        let file = shared.segment_file(&segment.id)?;
        Ok(Target { segment, file })
    }

    /// Makes the bytes durable and says what the journal is to say of them.
    fn settle(&mut self, shared: &Shared, shard: &Arc<Shard>) -> Result<Arc<OpenSegment>, LogError> {
        let t = self.target(shared, shard)?;
        t.segment.sync(&*shared.world.disk, &*t.file).map_err(refused)?;
        Ok(t.segment)
    }

    fn large(
        &self,
        len: u64,
        producer: (Timestamp, Timestamp),
        index: Bytes,
        segment: &OpenSegment,
    ) -> Large {
        let mut sealed = self.sealed.clone();
        sealed.digest = match self.chunks {
            1 => self.last_tag,
            _ => first16(self.tags.clone().finish().as_ref()),
        };
        Large {
            producer,
            len,
            index,
            segment: segment.id,
            extents: self.extents.clone(),
            crc: self.crc,
            // The committer gives position and arrival.
            ..blank_large(0, Timestamp(0), sealed)
        }
    }
}

/// The first half of a SHA-256.
pub(crate) fn first16(d: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&d[..16]);
    out
}

/// What a payload is committed with, in every engine.
pub(crate) fn check_commit((start, end): (Timestamp, Timestamp), index: &[u8]) -> Result<(), LogError> {
    if index.len() > MAX_INDEX {
        let (len, limit) = (index.len() as u64, MAX_INDEX as u64);
        return Err(LogError::TooLarge { what: "an index entry", len, limit });
    }
    if start > end {
        return Err(LogError::Refused("the producer's end is before its start".into()));
    }
    Ok(())
}

#[async_trait::async_trait]
impl PayloadWriter for LocalPayload {
    async fn write(&mut self, mut data: &[u8]) -> Result<(), LogError> {
        if self.written.is_none() {
            return Err(abandoned());
        }
        let limit = self.shared.limits.payload_bytes;
        if self.len + data.len() as u64 > limit {
            self.written = None;
            let len = self.len + data.len() as u64;
            return Err(LogError::TooLarge { what: "a payload", len, limit });
        }
        self.len += data.len() as u64;
        while !data.is_empty() {
            if self.buf.len() == CHUNK {
                self.flush(false).await?;
            }
            let n = data.len().min(CHUNK - self.buf.len());
            self.grow(n);
            self.buf.extend_from_slice(&data[..n]);
            data = &data[n..];
        }
        Ok(())
    }

    async fn commit(
        mut self: Box<Self>,
        producer: (Timestamp, Timestamp),
        index: Bytes,
    ) -> Result<Committed, LogError> {
        check_commit(producer, &index)?;
        self.flush(true).await?;
        let mut w = self.written.take().ok_or_else(abandoned)?.here().await?;
        let plain: Option<Arc<[Bytes]>> = self.plain.take().map(Into::into);
        loop {
            let (shared, shard) = (self.shared.clone(), self.shard.clone());
            let (back, segment) = self
                .shared
                .blocking(move || -> Result<_, LogError> {
                    let segment = w.settle(&shared, &shard)?;
                    Ok((w, segment))
                })
                .await??;
            w = back;
            let large = Box::new(w.large(self.len, producer, index.clone(), &segment));
            let (done, outcome) = oneshot::channel();
            let op =
                Op::Large(LargeOp { shard: self.shard.clone(), large, segment, plain: plain.clone(), done });
            self.shared.queue.push(op).map_err(|_| LogError::Down)?;
            match outcome.await {
                Ok(Ok(c)) => return Ok(c),
                Ok(Err(Fail::Log(e))) => return Err(e),
                Ok(Err(Fail::Moved)) => continue,
                Err(_) => return Err(LogError::Unknown("the log stopped meanwhile".into())),
            }
        }
    }
}
