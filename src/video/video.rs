use std::{sync::Arc, time::Duration};

use access::{Action, Gate, Permit, Principal, actions};
use bytes::Bytes;
use catalog::Catalog;
use log::{LogError, SharedLog, Unreadable};
use tokio::sync::{Semaphore, watch};
use usage::Looks;
use world::{Home, Timestamp, World};

use crate::{
    Audio, By, Config, Fragment, Frames, IngestStatus, KeyFrame, Mode, Parts, Playback, Session, Stills,
    StreamConfig, StreamInfo, Timeline, TrackView, VideoError, export,
    hls::{self, Segment, Source, low::ask::Directives},
    index::InitHash,
    mp4,
    sound::{self, Sounds},
    still::{self, Album},
    streams::{Stream, Streams},
    tables::Tables,
    timeline,
};

/// Requests for what is to come that wait at a time; a player has up to four.
const MAX_WAITING: usize = 4096;

/// What of a stream is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Start of its oldest fragment, by the producer's clock.
    pub from: Timestamp,
    /// End of its newest.
    pub to: Timestamp,
    /// Sealed bytes.
    pub bytes: u64,
    /// Whether the producer's times of the newest are an estimate of the server's.
    pub estimated: bool,
}

/// What is asked of a playback session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Without: on demand if there is an end, else live.
    pub mode: Option<Mode>,
    /// Start.
    pub from: Option<Timestamp>,
    /// End.
    pub to: Option<Timestamp>,
    /// The clock that they are of.
    pub by: By,
    /// What of each fragment.
    pub frames: Frames,
    /// What is changed of its sound.
    pub audio: Audio,
    /// How long the session lasts.
    pub lasts: Option<Duration>,
}

/// A playback session's way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Playable {
    /// Path of its multivariant playlist.
    pub path: String,
    /// When it ends.
    pub expires: Timestamp,
}

/// The video streams.
pub struct Video {
    pub(crate) world: World,
    pub(crate) gate: Gate,
    pub(crate) home: Home,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) log: SharedLog,
    pub(crate) config: Config,
    pub(crate) streams: Streams,
    pub(crate) tables: Tables,
    pub(crate) stills: Option<Arc<dyn Stills>>,
    album: Album,
    pub(crate) sounds: Sounds,
    /// Segments that are rewritten in memory at one time.
    pub(crate) rewriting: Semaphore,
    /// Exports under way.
    pub(crate) exports: Arc<Semaphore>,
    /// Requests that wait for what is to come.
    pub(crate) waiting: Semaphore,
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) looks: Looks,
}

impl Video {
    /// Opens what the catalog has; finishes what a crash interrupted.
    pub async fn open(parts: Parts, config: Config) -> Result<Arc<Video>, VideoError> {
        let streams = Streams::open(&parts, config.clone()).await?;
        let Parts { world, catalog, log, gate, home, stills, .. } = parts;
        Ok(Arc::new(Video {
            looks: Looks::new(world.clock.monotonic()),
            world,
            gate,
            home,
            catalog,
            log,
            config,
            streams,
            tables: Tables::default(),
            stills,
            album: Album::default(),
            sounds: Sounds::default(),
            rewriting: Semaphore::new(4),
            exports: Arc::new(Semaphore::new(export::AT_ONCE)),
            waiting: Semaphore::new(MAX_WAITING),
            stopping: watch::channel(false).0,
        }))
    }

    /// Answers all who wait for what is to come: the server stops.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Requests for what is to come that wait at present.
    pub fn waiting(&self) -> usize {
        MAX_WAITING - self.waiting.available_permits()
    }

    /// Whether a permit is for what it is used for.
    pub(crate) fn check(&self, permit: &Permit, wanted: &[Action], name: &str) -> Result<(), VideoError> {
        if wanted.contains(&permit.action()) && *permit.resource() == self.home.video_stream(name) {
            return Ok(());
        }
        Err(VideoError::NotPermitted {
            action: permit.action().0,
            resource: permit.resource().to_string(),
            stream: name.into(),
        })
    }

    // --- Streams ---

    /// Makes a stream ([`actions::CREATE_STREAM`]).
    pub async fn create_stream(
        &self,
        permit: Permit,
        name: &str,
        config: StreamConfig,
    ) -> Result<StreamInfo, VideoError> {
        self.check(&permit, &[actions::CREATE_STREAM], name)?;
        Ok(self.streams.create(name, config).await?.info.clone())
    }

    /// Makes a stream unless it is there: for those who publish to it ([`actions::PUT_MEDIA`] or
    /// [`actions::CREATE_STREAM`]). A publish token's holder may only use it.
    pub async fn ensure_stream(&self, permit: &Permit, name: &str) -> Result<StreamInfo, VideoError> {
        self.ensure(permit, name, StreamConfig::default()).await
    }

    /// The same for what a camera's sub source is recorded in. A stream of that name which is anything else is refused
    /// ([`VideoError::Exists`]).
    pub async fn ensure_sub_stream(
        &self,
        permit: &Permit,
        name: &str,
        camera: &str,
    ) -> Result<StreamInfo, VideoError> {
        let sub_of = Some(camera.to_owned());
        let stream = self
            .ensure(permit, name, StreamConfig { sub_of: sub_of.clone(), ..StreamConfig::default() })
            .await?;
        if stream.config.sub_of == sub_of { Ok(stream) } else { Err(VideoError::Exists(name.into())) }
    }

    async fn ensure(
        &self,
        permit: &Permit,
        name: &str,
        config: StreamConfig,
    ) -> Result<StreamInfo, VideoError> {
        self.check(permit, &[actions::PUT_MEDIA, actions::CREATE_STREAM], name)?;
        match self.streams.get(name) {
            Ok(s) => return Ok(s.info.clone()),
            Err(e) if !matches!(permit.principal(), Principal::Root | Principal::Server) => return Err(e),
            Err(_) => {}
        }
        match self.streams.create(name, config).await {
            Ok(s) => Ok(s.info.clone()),
            // Somebody else was faster.
            Err(VideoError::Exists(_)) => Ok(self.streams.get(name)?.info.clone()),
            Err(e) => Err(e),
        }
    }

    /// Deletes a stream ([`actions::DELETE_STREAM`]): its keys are destroyed, sessions that publish to it fail, its
    /// publish token stops working.
    pub async fn delete_stream(&self, permit: Permit, name: &str) -> Result<(), VideoError> {
        self.check(&permit, &[actions::DELETE_STREAM], name)?;
        self.streams.delete(name).await?;
        self.gate
            .revoke_publish_token(name)
            .await
            .map_err(|e| VideoError::Catalog(name.into(), e.to_string()))
    }

    /// All streams by name ([`actions::LIST_STREAMS`] on the stream `*`).
    pub fn streams(&self, permit: Permit) -> Result<Vec<StreamInfo>, VideoError> {
        self.check(&permit, &[actions::LIST_STREAMS], "*")?;
        Ok(self.streams.list().iter().map(|s| s.info.clone()).collect())
    }

    /// Names of all streams, for the server's own use.
    pub fn stream_names(&self) -> Vec<String> {
        self.streams.list().iter().map(|s| s.info.name.clone()).collect()
    }

    /// One stream, for the server's own use; whoever serves it to others asks the gate first.
    pub fn stream(&self, name: &str) -> Result<StreamInfo, VideoError> {
        Ok(self.streams.get(name)?.info.clone())
    }

    /// What is stored of a stream; none if nothing is.
    pub async fn recorded(&self, name: &str) -> Result<Option<Recorded>, VideoError> {
        Ok(self.recorded_and_not(name).await?.0)
    }

    /// What is stored of a stream and can be read, and what of it cannot: at its two ends, and where anybody came upon it.
    pub async fn recorded_and_not(
        &self,
        name: &str,
    ) -> Result<(Option<Recorded>, Vec<Unreadable>), VideoError> {
        let s = self.streams.get(name)?;
        let (first, mut unreadable) = s.outermost(&self.log, false).await?;
        let (last, beyond) = s.outermost(&self.log, true).await?;
        unreadable.extend(beyond);
        let oldest = self.log.watch(s.shard).map_err(|e| s.log_error(e))?.borrow().oldest;
        unreadable.extend(s.lost.between(oldest, u64::MAX));
        unreadable.sort_by_key(|u| u.positions);
        unreadable.dedup_by_key(|u| u.positions);
        let (Some(first), Some(last)) = (first, last) else { return Ok((None, unreadable)) };
        let bytes = self.log.stored_bytes(Some(s.info.uid)).await.map_err(|e| s.log_error(e))?;
        let recorded = Recorded {
            from: first.start(By::Producer),
            to: last.end(By::Producer),
            bytes,
            estimated: last.entry.estimated,
        };
        Ok((Some(recorded), unreadable))
    }

    /// A stream's tracks: of the session that publishes now, else of the latest fragment.
    pub async fn tracks(&self, name: &str) -> Result<Vec<TrackView>, VideoError> {
        let s = self.streams.get(name)?;
        let last = s.last(&self.log).await?;
        let fps = |id| {
            let t = last.as_ref()?.entry.track(id)?;
            (t.samples > 1).then(|| t.samples as f64 / t.seconds().max(0.001))
        };
        let live = s.live.tracks();
        if !live.is_empty() {
            return Ok(live.iter().map(|t| TrackView::new(t, fps(t.id))).collect());
        }
        let Some(f) = &last else { return Ok(Vec::new()) };
        let table = match self.tables.get(&self.log, &s, f).await {
            Ok(t) => t,
            Err(
                e @ (VideoError::Damaged(..) | VideoError::Log(_, LogError::Io(_) | LogError::Damaged(_))),
            ) => {
                // What can be said without it is said.
                tracing::error!(error = %e, "the tracks of the latest fragment cannot be read");
                return Ok(Vec::new());
            }
            Err(e) => return Err(e),
        };
        Ok(table.tracks.iter().map(|t| TrackView::new(t, fps(t.id))).collect())
    }

    /// What a stream's ingest is doing.
    pub fn ingest_status(&self, name: &str) -> Result<IngestStatus, VideoError> {
        Ok(self.streams.get(name)?.live.status())
    }

    // --- In ---

    /// Begins to publish to a stream, which is made if it is not there ([`Video::ensure_stream`] says when). Whoever
    /// published to it until now is superseded.
    pub async fn ingest(&self, permit: Permit, name: &str) -> Result<Session, VideoError> {
        self.check(&permit, &[actions::PUT_MEDIA], name)?;
        self.ensure_stream(&permit, name).await?;
        Ok(Session::new(self.streams.get(name)?, self.log.clone()))
    }

    // --- Out ---

    /// Follows a stream's samples as they arrive ([`actions::GET_MEDIA`]).
    pub fn follow(
        &self,
        permit: Permit,
        name: &str,
    ) -> Result<tokio::sync::broadcast::Receiver<crate::LiveSample>, VideoError> {
        self.check(&permit, &[actions::GET_MEDIA], name)?;
        Ok(self.streams.get(name)?.live.follow())
    }

    /// The tracks of what is published to a stream at present, or was at last since the start of the process.
    pub fn live_tracks(&self, name: &str) -> Result<Arc<[Arc<media::Track>]>, VideoError> {
        Ok(self.streams.get(name)?.live.tracks())
    }

    /// A stream's latest key frame since the start of the process. For who follows it already.
    pub fn live_key_frame(&self, name: &str) -> Option<crate::KeyFrame> {
        self.streams.get(name).ok()?.live.key_frame()
    }

    /// What is recorded in a range ([`actions::LIST_FRAGMENTS`]).
    pub async fn timeline(
        &self,
        permit: Permit,
        name: &str,
        by: By,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Timeline, VideoError> {
        self.check(&permit, &[actions::LIST_FRAGMENTS], name)?;
        if from > to {
            return Err(VideoError::Bad("the range ends before it begins".into()));
        }
        timeline::timeline(&self.log, &*self.streams.get(name)?, by, from, to).await
    }

    /// Fragments in a range, at most `limit` ([`actions::LIST_FRAGMENTS`]).
    pub async fn fragments(
        &self,
        permit: Permit,
        name: &str,
        by: By,
        (from, to): (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<Vec<Arc<Fragment>>, VideoError> {
        self.check(&permit, &[actions::LIST_FRAGMENTS], name)?;
        let s = self.streams.get(name)?;
        let found = s.range(&self.log, by, from, to, limit).await?;
        Ok(found.items.into_iter().filter(|f| f.end(by) > from && f.start(by) <= to).collect())
    }

    /// The latest key frame, or the last at or before a time by the producer's clock ([`actions::GET_IMAGES`]).
    pub async fn key_frame(
        &self,
        permit: Permit,
        name: &str,
        at: Option<Timestamp>,
    ) -> Result<Option<KeyFrame>, VideoError> {
        self.check(&permit, &[actions::GET_IMAGES], name)?;
        still::key_frame(&self.log, &self.tables, &*self.streams.get(name)?, at).await
    }

    /// A key frame as a JPEG, scaled to a width if one is given; made once for all who ask.
    pub async fn picture(
        &self,
        name: &str,
        frame: &KeyFrame,
        width: Option<u32>,
    ) -> Result<Bytes, VideoError> {
        let Some(stills) = &self.stills else {
            return Err(VideoError::Picture("this server was built without FFmpeg".into()));
        };
        let uid = self.streams.get(name)?.info.uid;
        self.album.get(stills.as_ref(), uid, frame, width).await
    }

    /// Makes a playback session ([`actions::GET_HLS_STREAMING_SESSION_URL`]).
    pub async fn hls_session(&self, permit: Permit, name: &str, ask: Ask) -> Result<Playable, VideoError> {
        self.check(&permit, &[actions::GET_HLS_STREAMING_SESSION_URL], name)?;
        let stream = self.streams.get(name)?;
        let bad = |m: &str| Err(VideoError::Bad(m.into()));
        let now = self.world.clock.now();
        let lasts = ask.lasts.unwrap_or(self.config.session);
        if lasts < Duration::from_secs(1) || lasts > self.config.max_session {
            return bad(&format!("a session lasts 1 to {} seconds", self.config.max_session.as_secs()));
        }
        let mode = ask.mode.unwrap_or(if ask.to.is_some() { Mode::OnDemand } else { Mode::Live });
        let from = match (mode, ask.from) {
            (Mode::OnDemand, None) => return bad("an on-demand session needs \"from\""),
            (Mode::Live, None) if ask.to.is_some() => return bad("\"to\" needs \"from\""),
            (Mode::Event, None) => Some(now),
            (_, from) => from,
        };
        if mode == Mode::Live && ask.to.is_some() {
            return bad(
                "a live session has no end: leave \"to\" out, or ask for the mode \"onDemand\" or \"event\"",
            );
        }
        if let (Some(from), Some(to)) = (from, ask.to)
            && to < from
        {
            return bad("the range ends before it begins");
        }
        let mut session = Playback::new(name, stream.info.uid, mode, now, lasts);
        session.from = from;
        session.by = ask.by;
        session.frames = ask.frames;
        session.audio = ask.audio;
        session.to = ask.to;
        if mode == Mode::OnDemand {
            // What is recorded later is not part of it: it is the same whenever it is read.
            let to = ask.to.unwrap_or(now).min(now);
            session.to = Some(to);
            let from = from.unwrap_or(to);
            let Some((first, last)) = stream.ends(&self.log, ask.by, from, to).await? else {
                return Err(VideoError::NoMedia(format!("video stream {name:?} has nothing in this range")));
            };
            let count = last.entry.ordinal.saturating_sub(first.entry.ordinal) + 1;
            if count > self.config.max_range as u64 {
                return bad(&format!(
                    "the range has {count} fragments, more than the {} of one session: ask for a shorter one",
                    self.config.max_range
                ));
            }
        } else {
            session.target = hls::plan_target(&self.source(&stream)).await?;
        }
        Ok(Playable {
            path: format!("/hls/{}/main.m3u8", session.seal(&self.gate)),
            expires: session.expires,
        })
    }

    pub(crate) fn source<'a>(&'a self, stream: &'a Stream) -> Source<'a> {
        Source { stream, log: &self.log, config: &self.config }
    }

    pub(crate) fn playback(&self, token: &str) -> Result<(Playback, Arc<Stream>), VideoError> {
        let session = Playback::open(&self.gate, token, self.world.clock.now())?;
        let stream = self.streams.get(&session.stream)?;
        if !session.is_of(stream.info.uid) {
            return Err(VideoError::Deleted(session.stream));
        }
        Ok((session, stream))
    }

    /// A session's multivariant playlist (no track) or one track's media playlist, and whether it stays as it is.
    pub(crate) async fn playlist(
        &self,
        token: &str,
        track: Option<u8>,
        query: Option<&str>,
    ) -> Result<(String, bool), VideoError> {
        let (session, stream) = self.playback(token)?;
        let (source, now) = (self.source(&stream), self.world.clock.now());
        let text = match track {
            None => {
                if hls::low::serve::may_be(&source, &session) {
                    stream.live.low.want(now);
                }
                hls::multivariant_playlist(&source, &self.tables, &session, now).await?
            }
            Some(track) => {
                let asked = Directives::parse(query)?;
                if hls::low::serve::may_be(&source, &session) {
                    self.low_playlist(&stream, &session, track, asked).await?
                } else {
                    hls::media_playlist(&source, &self.tables, &session, track, now).await?
                }
            }
        };
        Ok((text, session.mode == Mode::OnDemand))
    }

    /// A track's initialisation segment, and the stream that it is of.
    pub(crate) async fn init_segment(
        &self,
        token: &str,
        init: InitHash,
    ) -> Result<(Bytes, Arc<Stream>), VideoError> {
        let (session, stream) = self.playback(token)?;
        let track = match stream.tracks.get(init) {
            Some(t) => t,
            None => {
                let f = hls::with_init(&self.source(&stream), &session, init, self.world.clock.now()).await?;
                let found = self.tables.track(&self.log, &stream, &f, init).await?;
                found.ok_or_else(|| {
                    VideoError::Damaged(stream.name().into(), format!("no configuration {init}"))
                })?
            }
        };
        Ok((self.init_of(&track, session.audio)?, stream))
    }

    /// A track's initialisation segment, as it is or with the sound that is made of it.
    pub(crate) fn init_of(&self, track: &media::Track, audio: Audio) -> Result<Bytes, VideoError> {
        let made = sound::made(track, audio);
        mp4::init(made.as_ref().map_or(track, |m| &m.track))
            .map_err(|e| VideoError::NoMedia(format!("this track cannot be put into MP4: {e}")))
    }

    /// One fragment's media segment for a track; whether that is pictures; and the stream.
    pub(crate) async fn segment(
        &self,
        token: &str,
        track: u8,
        position: u64,
    ) -> Result<(Segment, bool, Arc<Stream>), VideoError> {
        let (session, stream) = self.playback(token)?;
        let f = stream.fragment(&self.log, position).await?;
        self.within(&session, &stream, &f).await?;
        let (segment, video) = self.segment_of(&stream, &f, track, session.audio, session.frames).await?;
        Ok((segment, video, stream))
    }

    /// A fragment's media segment for a track, which whoever asks may have; and whether that is pictures.
    pub(crate) async fn segment_of(
        &self,
        stream: &Stream,
        f: &Arc<Fragment>,
        track: u8,
        audio: Audio,
        frames: Frames,
    ) -> Result<(Segment, bool), VideoError> {
        let position = f.position();
        let none = || VideoError::NoMedia(format!("fragment {position} has nothing of track {track}"));
        let entry = *f.entry.track(track).ok_or_else(none)?;
        if !entry.video && (audio != Audio::AsIs || !entry.mp4) {
            let found = self.tables.track(&self.log, stream, f, entry.init).await?.ok_or_else(none)?;
            if let Some(made) = sound::made(&found, audio) {
                return Ok((Segment::Whole(self.sound(stream, f, &entry, &made).await?), false));
            }
        }
        let table = self.tables.get(&self.log, stream, f).await?;
        // What was stored before MP4 had a form for it here says that it has none.
        if !entry.mp4 && !table.tracks.iter().any(|t| t.id == track && entry.video && mp4::carries(t)) {
            return Err(none());
        }
        let key_only = frames == Frames::Key && entry.video;
        let sequence = entry.ordinal as u32;
        let bad = mp4::damaged(stream.name(), position);
        if !entry.rewrite {
            let plan = mp4::plan(&table, track, sequence, key_only).map_err(bad)?;
            return Ok((Segment::Planned { plan, payload: f.payload.clone() }, entry.video));
        }
        let _one = self.rewriting.acquire().await.map_err(|e| VideoError::Busy(e.to_string()))?;
        let payload =
            self.log.read_payload(&f.payload, 0..f.media_len()).await.map_err(|e| stream.log_error(e))?;
        let parts = mp4::rewrite(&table, track, sequence, key_only, &payload).map_err(bad)?;
        Ok((Segment::Whole(parts), entry.video))
    }

    /// A token shows what its session does, and nothing else of the stream.
    async fn within(&self, session: &Playback, stream: &Stream, f: &Arc<Fragment>) -> Result<(), VideoError> {
        let outside =
            || VideoError::NoMedia(format!("fragment {} is not part of this session", f.position()));
        let Some(from) = session.from else {
            if f.payload.arrival + stream.window + stream.rules.max * 2 >= session.created {
                return Ok(());
            }
            // The newest when it was made may have been old by then.
            let window = stream.window(&self.log, self.config.max_entries).await?;
            let shown = window.first().is_some_and(|oldest| f.position() >= oldest.position());
            return if shown { Ok(()) } else { Err(outside()) };
        };
        if session.to.is_some_and(|to| f.start(session.by) > to) {
            return Err(outside());
        }
        if f.end(session.by) > from {
            return Ok(());
        }
        // It may be what must be decoded to show the beginning.
        let to = session.to.unwrap_or(Timestamp::MAX);
        let Some((first, _)) = stream.ends(&self.log, session.by, from, to).await? else {
            return Err(outside());
        };
        let lead = stream.lead(&self.log, first.clone()).await?;
        if (lead.position()..=first.position()).contains(&f.position()) { Ok(()) } else { Err(outside()) }
    }
}
