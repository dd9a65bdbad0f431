//! From a source's session to durable fragments.
//!
//! Bytes go to the log's payload writer as they arrive, are sealed there chunk by chunk and copied nowhere else. When
//! a fragment ends its sample table follows them, and the commit (a group commit with others) runs beside the next
//! fragment's first units; a second fragment that ends before it is done waits.

use std::sync::{
    Arc,
    atomic::Ordering::{Relaxed, SeqCst},
};

use log::{LogError, PayloadWriter, SharedLog};
use media::{AccessUnit, RandomAccess, Track};
use tokio::task::JoinHandle;
use world::Timestamp;

use crate::{
    Closed, FragmentBuilder, Rules, VideoError,
    builder::primary,
    hls::low::Taken,
    index::{Matroska, time_of},
    streams::Stream,
};

mod tail;

pub(crate) use tail::Tail;

/// What is stored with a fragment that came as Matroska, and who wants to know of it.
pub(crate) struct Came {
    /// All that is no frame, as stored.
    pub skeleton: Vec<u8>,
    /// Of its frames.
    pub digest: [u8; 16],
    /// Told once it is durable; dropped without if it never will be.
    pub done: Box<dyn FnOnce(Stored) + Send>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its number; that of the fragment that it repeats, if it does.
    pub number: u64,
}

/// One source's session on a stream. Units come in the order in which they were received; nothing is skipped.
/// Dropped without [`Session::end`], what it has taken is still made durable, in the background.
pub struct Session {
    inner: Option<Inner>,
}

struct Inner {
    stream: Arc<Stream>,
    log: SharedLog,
    id: u64,
    /// What it takes is happening now: whoever watches live is shown it.
    live: bool,
    builder: FragmentBuilder,
    primary: Option<u8>,
    tracks: Arc<[Arc<Track>]>,
    writer: Option<Box<dyn PayloadWriter>>,
    /// Units in the open fragment.
    open_units: u64,
    committing: Option<JoinHandle<Result<(), VideoError>>>,
    failed: Option<VideoError>,
    /// The open fragment's number; the next one's, if it was given out already.
    number: u64,
    next_number: Option<u64>,
    /// How the fragment that ends next came.
    came: Option<Came>,
    /// There will be no fragment after the open one.
    ending: bool,
}

impl Session {
    /// Takes the stream over: whoever published to it until now gets [`VideoError::Superseded`].
    pub(crate) fn new(stream: Arc<Stream>, log: SharedLog) -> Session {
        let id = stream.session.fetch_add(1, SeqCst) + 1;
        stream.publishing.store(id, SeqCst);
        Session::with(stream, log, id, true)
    }

    /// For what was recorded elsewhere: begins only if nobody publishes to the stream, and is not shown to who watches live.
    pub(crate) fn alone(stream: Arc<Stream>, log: SharedLog) -> Option<Session> {
        // Held by a number that no session has until this one has its own.
        stream.publishing.compare_exchange(0, u64::MAX, SeqCst, SeqCst).ok()?;
        let id = stream.session.fetch_add(1, SeqCst) + 1;
        // Whoever came in between takes over, as from any other session.
        let _ = stream.publishing.compare_exchange(u64::MAX, id, SeqCst, SeqCst);
        Some(Session::with(stream, log, id, false))
    }

    /// Takes the stream over for fragments that end where they are said to.
    pub(crate) async fn told(stream: Arc<Stream>, log: SharedLog) -> Result<Session, VideoError> {
        {
            // Numbers go on from what is stored, whatever the clock says.
            let mut tail = stream.tail.lock().await;
            if tail.is_none() {
                *tail = Some(Tail::load(&log, &stream).await?);
            }
            stream.numbers.fetch_max(tail.as_ref().map_or(0, |t| t.number), SeqCst);
        }
        let mut s = Session::new(stream, log);
        if let Some(i) = &mut s.inner {
            i.builder = FragmentBuilder::new(Rules { told: true, ..i.stream.rules });
        }
        Ok(s)
    }

    /// The number that the next fragment will have, receipt of which began at `received`.
    pub(crate) fn begin(&mut self, received: Timestamp) -> Result<u64, VideoError> {
        let s = self.inner()?;
        let n = s.stream.number(received);
        s.next_number = Some(n);
        Ok(n)
    }

    /// The open fragment ends before the next unit, or with [`Session::flush`], and came so.
    pub(crate) async fn came(&mut self, came: Came) -> Result<(), VideoError> {
        let s = self.inner()?;
        s.check().await?;
        s.came = Some(came);
        s.builder.end_with_next();
        Ok(())
    }

    /// Ends the fragment that was said to end, without waiting for what comes next.
    pub(crate) async fn flush(&mut self) -> Result<(), VideoError> {
        let s = self.inner()?;
        s.check().await?;
        if s.came.is_none() {
            return Ok(());
        }
        let closed = s.builder.end();
        s.close(closed).await
    }

    fn with(stream: Arc<Stream>, log: SharedLog, id: u64, live: bool) -> Session {
        let builder = FragmentBuilder::new(stream.rules);
        Session {
            inner: Some(Inner {
                stream,
                log,
                id,
                live,
                builder,
                primary: None,
                tracks: Arc::new([]),
                writer: None,
                open_units: 0,
                committing: None,
                failed: None,
                number: 0,
                next_number: None,
                came: None,
                ending: false,
            }),
        }
    }

    fn inner(&mut self) -> Result<&mut Inner, VideoError> {
        // Only `end` and `drop` take it, and they take the session with it.
        self.inner.as_mut().ok_or_else(|| VideoError::Bad("the session has ended".into()))
    }

    /// Declares the tracks: once before the first unit, and again whenever a configuration changed (which ends the
    /// fragment). Track ids are the session's own, from 1, stable through changes.
    pub async fn tracks(&mut self, tracks: Vec<Arc<Track>>) -> Result<(), VideoError> {
        let s = self.inner()?;
        s.check().await?;
        let closed = s.builder.tracks(tracks).map_err(|e| VideoError::Build(s.stream.name().into(), e))?;
        s.close(closed).await?;
        s.tracks = s.builder.declared().into();
        s.primary = primary(&s.tracks);
        if s.live {
            s.stream.live.declare(s.tracks.clone());
        }
        Ok(())
    }

    /// Takes one access unit, received (its last byte) at `received`. Waits when the disk is slow.
    pub async fn write(&mut self, unit: AccessUnit, received: Timestamp) -> Result<(), VideoError> {
        let s = self.inner()?;
        s.check().await?;
        let closed = s.builder.push(&unit).map_err(|e| VideoError::Build(s.stream.name().into(), e))?;
        let counters = &s.stream.live.counters;
        counters.units_in.fetch_add(1, Relaxed);
        counters.bytes_in.fetch_add(unit.data.len() as u64, Relaxed);
        counters.last.store(received.micros(), Relaxed);
        let first = closed.is_some() || s.open_units == 0;
        s.close(closed).await?;
        if first {
            s.number = s.next_number.take().unwrap_or_else(|| s.stream.number(received));
        }
        if let Some(sample) = s.builder.latest().filter(|_| s.live) {
            s.stream.live.publish(&s.tracks, sample, &unit.data, first);
            s.stream.live.low.take(&Taken {
                session: s.id,
                tracks: &s.tracks,
                sample,
                data: &unit.data,
                first,
                breaks: s.builder.breaks(),
                unsettled: s.builder.unsettled(unit.track),
                received,
                target: s.stream.part.as_secs_f64(),
            });
            if sample.access != RandomAccess::None
                && Some(unit.track) == s.primary
                && let Some(track) = s.tracks.iter().find(|t| t.id == unit.track)
            {
                s.stream.live.keep_key_frame(track, &unit.data, time_of(sample.pts, track.timescale));
            }
        }
        s.open_units += 1;
        s.put(&unit).await
    }

    /// The source's time line broke: what follows does not continue what was.
    pub async fn discontinuity(&mut self, why: &str) -> Result<(), VideoError> {
        let s = self.inner()?;
        s.check().await?;
        tracing::debug!(stream = s.stream.name(), why, "discontinuity");
        let closed = s.builder.discontinuity();
        s.close(closed).await
    }

    /// Whether the times of units from here on are an estimate of the server's; at first they are not. A fragment of
    /// which one unit's is, is marked so.
    pub fn estimated(&mut self, estimated: bool) {
        if let Some(s) = &mut self.inner {
            s.builder.estimated(estimated);
        }
    }

    /// Ends it without its open fragment: what fragments there are is durable when this returns, the rest is forgotten.
    pub async fn abandon(mut self) -> Result<(), VideoError> {
        let Some(mut s) = self.inner.take() else { return Ok(()) };
        s.writer = None;
        s.committed().await
    }

    /// Ends it: everything taken is durable when this returns.
    pub async fn end(mut self) -> Result<(), VideoError> {
        match self.inner.take() {
            Some(mut s) => s.finish().await,
            None => Ok(()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(mut s) = self.inner.take() else { return };
        // Of what is told where it ends, a part is not a fragment.
        if s.builder.is_empty() || s.failed.is_some() || s.builder.is_told() && s.came.is_none() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let name = s.stream.name().to_owned();
                if let Err(e) = s.finish().await {
                    tracing::warn!(stream = name, error = %e, "a dropped session's last fragment is lost");
                }
            });
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let (stream, id) = (self.stream.clone(), self.id);
        match (self.committing.take(), tokio::runtime::Handle::try_current()) {
            // As in `fail`.
            (Some(task), Ok(runtime)) => {
                runtime.spawn(async move {
                    let _ = task.await;
                    stream.live.low.end_of(id, None);
                });
            }
            _ => stream.live.low.end_of(id, None),
        }
        // Nobody publishes now, unless somebody has taken over.
        let _ = self.stream.publishing.compare_exchange(self.id, 0, SeqCst, SeqCst);
    }
}

impl Inner {
    /// Whether this session may go on. One that was superseded commits what it has.
    async fn check(&mut self) -> Result<(), VideoError> {
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        if self.committing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.committed().await?;
        }
        if self.stream.deleted.load(Relaxed) {
            return self.fail(VideoError::Deleted(self.stream.name().into())).await;
        }
        if self.stream.session.load(Relaxed) != self.id {
            if self.builder.is_told() && self.came.is_none() {
                self.committed().await?;
            } else {
                self.finish().await?;
            }
            return self.fail(VideoError::Superseded(self.stream.name().into())).await;
        }
        Ok(())
    }

    async fn fail<T>(&mut self, e: VideoError) -> Result<T, VideoError> {
        self.writer = None;
        self.failed = Some(e.clone());
        // Which number was shown in vain is known once what is being stored is stored, or is not.
        if let Some(task) = &mut self.committing {
            if let Ok(Err(e)) = task.await {
                tracing::warn!(stream = self.stream.name(), error = %e, "the fragment before it is lost, too");
            }
            self.committing = None;
        }
        self.stream.live.low.end_of(self.id, None);
        Err(e)
    }

    async fn put(&mut self, unit: &AccessUnit) -> Result<(), VideoError> {
        if self.writer.is_none() {
            match self.log.payload(self.stream.shard).await {
                Ok(w) => self.writer = Some(w),
                Err(e) => return self.fail(self.stream.log_error(e)).await,
            }
        }
        let Some(w) = &mut self.writer else { return Ok(()) };
        match w.write(&unit.data).await {
            Ok(()) => Ok(()),
            Err(e) => self.fail(self.stream.log_error(e)).await,
        }
    }

    /// Awaits the commit that is under way.
    async fn committed(&mut self) -> Result<(), VideoError> {
        let Some(task) = &mut self.committing else { return Ok(()) };
        let done = task.await;
        self.committing = None;
        let e = match done {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(e)) => e,
            Err(e) => VideoError::Damaged(self.stream.name().into(), format!("a commit ended: {e}")),
        };
        self.fail(e).await
    }

    async fn close(&mut self, closed: Option<Closed>) -> Result<(), VideoError> {
        let Some(closed) = closed else { return Ok(()) };
        let part = self.stream.live.low.end(self.id, &closed);
        self.committed().await?;
        let units = std::mem::take(&mut self.open_units);
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let (log, stream, id) = (self.log.clone(), self.stream.clone(), self.id);
        let (number, came) = (self.number, self.came.take());
        let ahead = !self.ending && stream.live.low.shows(id);
        self.committing = Some(tokio::spawn(async move {
            let done = commit(&log, &stream, writer, closed, (id, part, ahead), number, came).await;
            // Of one that is not stored the parts are gone, too; of one that is, the playlist says more now.
            match done {
                Ok(true) => stream.live.low.wake(),
                _ => stream.live.low.end_of(id, part),
            }
            done?;
            stream.live.counters.units_out.fetch_add(units, Relaxed);
            stream.live.counters.fragments.fetch_add(1, Relaxed);
            Ok(())
        }));
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), VideoError> {
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        let closed = self.builder.end();
        self.ending = true;
        self.close(closed).await?;
        self.committed().await
    }
}

/// Whether it was stored; not if it repeats one that is there.
async fn commit(
    log: &SharedLog,
    stream: &Stream,
    mut writer: Box<dyn PayloadWriter>,
    closed: Closed,
    (session, part, ahead): (u64, Option<u64>, bool),
    number: u64,
    came: Option<Came>,
) -> Result<bool, VideoError> {
    let producer = closed.producer();
    if let Some(c) = &came {
        writer.write(&c.skeleton).await.map_err(|e| stream.log_error(e))?;
    }
    let table = media::table::encode(&closed.table);
    writer.write(&table).await.map_err(|e| stream.log_error(e))?;
    // Held until the fragment has its place, so that fragments are numbered in the order of their positions.
    let mut tail = stream.tail.lock().await;
    let mut now = match tail.take() {
        Some(t) => t,
        None => Tail::load(log, stream).await?,
    };
    let repeats = match &came {
        Some(c) => stream.same(log, producer.0, &c.digest).await,
        None => Ok(None),
    };
    let repeats = match repeats {
        Ok(number) => number,
        Err(e) => {
            *tail = Some(Tail { session: None, ..now });
            return Err(e);
        }
    };
    if let Some(number) = repeats {
        *tail = Some(now);
        // The writer is given up: it was stored before.
        if let Some(c) = came {
            (c.done)(Stored { number });
        }
        return Ok(false);
    }
    // From here on the tail is put back whatever happens.
    stream.live.low.in_vain(session).into_iter().for_each(|tracks| now.pass_over(tracks));
    let mut entry = closed.entry();
    // Another session may have been faster.
    entry.number = number.max(now.number + 1);
    stream.numbers.fetch_max(entry.number, SeqCst);
    stream.live.low.numbered(part, session, entry.number);
    entry.matroska = came.as_ref().map(|c| Matroska {
        skeleton_len: u32::try_from(c.skeleton.len()).unwrap_or(u32::MAX),
        digest: c.digest,
    });
    entry.table_len = u32::try_from(table.len()).unwrap_or(u32::MAX);
    entry.ahead = ahead;
    now.number(&mut entry, session);
    match writer.commit(producer, entry.encode().into()).await {
        Ok(_) => {
            stream.live.low.stored(part, session);
            let us = producer.1.since(producer.0).as_micros().max(1);
            let bitrate = u64::try_from(u128::from(closed.bytes) * 8_000_000 / us).unwrap_or(u64::MAX);
            stream.live.counters.bitrate.store(bitrate, Relaxed);
            let skeleton = entry.matroska.map_or(0, |m| u64::from(m.skeleton_len));
            stream.meter.put(closed.bytes + skeleton);
            *tail = Some(Tail { session: Some(session), ..Tail::after(&entry) });
            if let Some(c) = came {
                (c.done)(Stored { number: entry.number });
            }
            Ok(true)
        }
        Err(e) => {
            *tail = Some(match e {
                // It may turn up after a restart: its numbers are not used again.
                LogError::Unknown(_) => {
                    stream.live.low.stored(part, session);
                    Tail::after(&entry)
                }
                _ => Tail { session: None, ..now },
            });
            Err(stream.log_error(e))
        }
    }
}
