//! From a producer's Matroska to fragments: what is asked of each, and where it goes. The connection is [`super::put`]'s.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use media::{
    AccessUnit, Codec, Framing, Kind, RandomAccess, Track,
    mkv::{END_OF_FRAGMENT, Frame, Part, Splitter, TrackEntry},
};
use ring::digest;
use world::{StreamUid, Timestamp};

use super::{
    ack::{Acks, Fault, Which},
    number,
};
use crate::{
    BuildError, MAX_UNIT, Session, VideoError,
    ingest::{Came, Stored},
};

/// What AWS's limits are (Kinesis Video Streams Developer Guide, "Service quotas").
pub struct Bounds {
    /// Bytes of a fragment.
    pub bytes: u64,
    /// How long one is.
    pub duration: Duration,
    /// Tracks.
    pub tracks: usize,
    /// Tags of a fragment.
    pub tags: usize,
}

/// Amazon's.
pub const AWS: Bounds = Bounds { bytes: 50_000_000, duration: Duration::from_secs(20), tracks: 3, tags: 10 };
/// Without: what one payload, and one fragment's table, can have.
pub const OFF: Bounds = Bounds {
    bytes: 1 << 30,
    duration: Duration::from_secs(32),
    tracks: crate::index::MAX_TRACKS,
    tags: 1000,
};

/// Bytes of a tag's name and value.
const TAG: (usize, usize) = (128, 256);
/// Frames of a fragment: what a sample table holds.
const FRAMES: usize = 200_000;
/// Frames and bytes of a fragment that wait for the first one of another track.
const HELD: (usize, usize) = (256, 4 << 20);
/// Producer times are before this: the year 2200.
const LATEST: i64 = 7_258_118_400_000;

/// Why it ends.
#[derive(Debug)]
pub struct Ended {
    /// In the service's words.
    pub fault: Fault,
    /// In ours.
    pub why: String,
}

impl Ended {
    pub(super) fn new(fault: Fault, why: impl Into<String>) -> Ended {
        Ended { fault, why: why.into() }
    }
}

impl From<VideoError> for Ended {
    fn from(e: VideoError) -> Ended {
        let fault = match &e {
            VideoError::NoStream(_) | VideoError::Deleted(_) => Fault::StreamDeleted,
            VideoError::Superseded(_) => Fault::StreamReadError,
            VideoError::Build(_, BuildError::UnitSize(_)) => Fault::MaxFragmentSizeReached,
            VideoError::Build(_, BuildError::Time(_)) => Fault::InvalidProducerTimestamp,
            VideoError::Build(..) => Fault::InvalidMkvData,
            VideoError::Log(_, log::LogError::Key(..)) => Fault::KmsKeyUnavailable,
            VideoError::Log(_, log::LogError::TooLarge { .. }) => Fault::MaxFragmentSizeReached,
            // Not the writing of it.
            VideoError::Log(_, log::LogError::Io(_) | log::LogError::Damaged(_)) => Fault::InternalError,
            VideoError::Log(..) => Fault::ArchivalError,
            _ => Fault::InternalError,
        };
        Ended { fault, why: e.to_string() }
    }
}

/// The fragment that is being received.
struct Open {
    which: Which,
    /// Its time in nanoseconds, as said.
    time: i64,
    digest: digest::Context,
    bytes: u64,
    /// Frames of each track, in the order of the tracks.
    frames: Vec<usize>,
    /// Its first frames, while one of a track that a frame may [refine](media::refined) is still to come.
    held: Vec<Frame>,
}

/// One connection's worth.
pub struct Producer {
    splitter: Splitter,
    session: Session,
    uid: StreamUid,
    acks: Acks,
    bounds: &'static Bounds,
    /// Nanoseconds since the Unix epoch of the Matroska's time 0.
    zero: i128,
    /// Whether fragments stay.
    keeps: bool,
    /// A gap longer than this is a break.
    gap: Duration,
    /// Numbers of tracks, and what they are here.
    tracks: BTreeMap<u64, (usize, Arc<Track>)>,
    open: Option<Open>,
    /// The time of the fragment before, and the latest of its frames.
    before: Option<(i64, i64)>,
    /// A fragment was complete and is not on its way to the log yet.
    complete: bool,
}

impl Producer {
    /// Before the first byte. `zero`: what times are counted from.
    pub fn new(
        session: Session,
        uid: StreamUid,
        acks: Acks,
        bounds: &'static Bounds,
        zero: Timestamp,
        keeps: bool,
        gap: Duration,
    ) -> Producer {
        Producer {
            splitter: Splitter::new(MAX_UNIT as u64 + 64),
            session,
            uid,
            acks,
            bounds,
            zero: i128::from(zero.micros()) * 1000,
            keeps,
            gap,
            tracks: BTreeMap::new(),
            open: None,
            before: None,
            complete: false,
        }
    }

    /// The fragment that is being received.
    pub fn which(&self) -> Option<&Which> {
        self.open.as_ref().map(|o| &o.which)
    }

    /// Takes bytes that came at a time.
    pub async fn push(&mut self, data: &[u8], now: Timestamp) -> Result<(), Ended> {
        self.splitter.push(data);
        self.parts(now).await
    }

    /// All has come: what is complete is durable when this returns.
    pub async fn end(mut self, now: Timestamp) -> Result<(), (Producer, Ended)> {
        let ended = match self.splitter.end() {
            Ok(()) => self.parts(now).await,
            Err(e) => Err(Ended::new(Fault::InvalidMkvData, e.to_string())),
        };
        let flushed = match ended {
            Ok(()) => self.session.flush().await.map_err(Ended::from),
            e => e,
        };
        match flushed {
            Ok(()) => {
                let which = self.which().cloned();
                let acks = self.acks.clone();
                if let Err(e) = self.session.end().await {
                    acks.error(Ended::from(e).fault, which.as_ref());
                }
                Ok(())
            }
            Err(e) => Err((self, e)),
        }
    }

    /// Gives up what is not complete; what is, is durable when this returns.
    pub async fn abandon(mut self) -> Result<(), VideoError> {
        if self.complete {
            self.session.flush().await?;
        }
        self.session.abandon().await
    }

    async fn parts(&mut self, now: Timestamp) -> Result<(), Ended> {
        let bad = |e: media::MediaError| Ended::new(Fault::InvalidMkvData, e.to_string());
        while let Some(part) = self.splitter.part().map_err(bad)? {
            match part {
                Part::Tracks(all) => self.declare(&all).await?,
                Part::Begin { time } => self.begin(time, now).await?,
                Part::Frame(f) => self.frame(f, now).await?,
                Part::End { skeleton, tags, told } => {
                    self.check_tags(&tags)?;
                    self.release(now).await?;
                    self.complete(skeleton.encode()).await?;
                    if told {
                        self.session.flush().await?;
                        self.complete = false;
                    }
                }
            }
        }
        Ok(())
    }

    async fn declare(&mut self, all: &[TrackEntry]) -> Result<(), Ended> {
        if all.len() > self.bounds.tracks {
            let why = format!("{} tracks, more than {}", all.len(), self.bounds.tracks);
            return Err(Ended::new(Fault::MoreThanAllowedTracksFound, why));
        }
        self.tracks = BTreeMap::new();
        for (i, entry) in all.iter().enumerate() {
            let track = Arc::new(track(entry, i as u8 + 1)?);
            if self.tracks.insert(entry.number, (i, track)).is_some() {
                return Err(Ended::new(Fault::InvalidMkvData, format!("two tracks {}", entry.number)));
            }
        }
        self.say_tracks().await
    }

    async fn say_tracks(&mut self) -> Result<(), Ended> {
        let mut tracks: Vec<_> = self.tracks.values().cloned().collect();
        tracks.sort_by_key(|(i, _)| *i);
        self.session.tracks(tracks.into_iter().map(|(_, t)| t).collect()).await?;
        self.complete = false;
        Ok(())
    }

    /// Takes a frame. A fragment's first ones wait until each track that they may tell more of than the Tracks do has one: a
    /// track that changes would otherwise end the fragment.
    async fn frame(&mut self, f: Frame, now: Timestamp) -> Result<(), Ended> {
        let known = self.tracks.contains_key(&f.track);
        let Some(open) = self.open.as_mut().filter(|o| o.frames.iter().all(|n| *n == 0) && known) else {
            return self.take(f, now).await;
        };
        open.held.push(f);
        let waits = |number: &u64, track: &Track| {
            matches!(track.codec, Codec::VP8 | Codec::VP9 | Codec::AV1)
                && open.held.iter().all(|f| f.track != *number)
        };
        let bytes: usize = open.held.iter().map(|f| f.data.len()).sum();
        let enough = open.held.len() >= HELD.0 || bytes >= HELD.1;
        if !enough && self.tracks.iter().any(|(n, (_, t))| waits(n, t)) {
            return Ok(());
        }
        self.release(now).await
    }

    /// Takes what waits. Where the first key frame of a track says what the Tracks do not, the track is what it says.
    async fn release(&mut self, now: Timestamp) -> Result<(), Ended> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let held = std::mem::take(&mut open.held);
        let mut new = false;
        for (number, (_, track)) in &mut self.tracks {
            let first = held.iter().find(|f| f.track == *number);
            if let Some(refined) = first.and_then(|f| media::refined(track, &f.data)) {
                (*track, new) = (Arc::new(refined), true);
            }
        }
        if new {
            self.say_tracks().await?;
        }
        for f in held {
            self.take(f, now).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, time: i64, now: Timestamp) -> Result<(), Ended> {
        if self.tracks.is_empty() {
            return Err(Ended::new(Fault::InvalidMkvData, "a Cluster before any Tracks"));
        }
        let number = self.next(now)?;
        let which = Which { timecode: time.div_euclid(1_000_000), number };
        self.open = Some(self.opened(which, time));
        let ms = (self.zero + i128::from(time)).div_euclid(1_000_000);
        if !(0..LATEST).contains(&i64::try_from(ms).unwrap_or(-1)) {
            return Err(Ended::new(Fault::InvalidProducerTimestamp, format!("{ms} ms since 1970")));
        }
        if let Some((start, latest)) = self.before {
            if time <= start {
                let why = format!("a Cluster at {time} ns after one at {start}");
                return Err(Ended::new(Fault::FragmentTimecodeLesserThanPrevious, why));
            }
            if i128::from(time) - i128::from(latest) > self.gap.as_nanos() as i128 {
                if self.complete {
                    self.session.flush().await?;
                    self.complete = false;
                }
                self.session.discontinuity("a gap between Clusters").await?;
            }
        }
        self.say("BUFFERING")
    }

    fn next(&mut self, now: Timestamp) -> Result<String, Ended> {
        Ok(number::text(self.uid, self.session.begin(now)?))
    }

    fn opened(&self, which: Which, time: i64) -> Open {
        let digest = digest::Context::new(&digest::SHA256);
        Open { which, time, digest, bytes: 0, frames: vec![0; self.tracks.len()], held: Vec::new() }
    }

    fn say(&self, event: &str) -> Result<(), Ended> {
        match self.acks.say(event, self.which()) {
            true => Ok(()),
            false => Err(Ended::new(Fault::StreamReadError, "the client does not read what it is answered")),
        }
    }

    async fn take(&mut self, f: Frame, now: Timestamp) -> Result<(), Ended> {
        let Some(open) = &mut self.open else {
            return Err(Ended::new(Fault::InvalidMkvData, "a frame outside of a Cluster"));
        };
        let Some((index, track)) = self.tracks.get(&f.track) else {
            let why = format!("a frame of track {}, which the Tracks do not have", f.track);
            return Err(Ended::new(Fault::TrackNumberMismatch, why));
        };
        open.bytes += f.data.len() as u64;
        if open.bytes > self.bounds.bytes || f.data.len() > MAX_UNIT {
            return Err(Ended::new(Fault::MaxFragmentSizeReached, format!("{} bytes", open.bytes)));
        }
        let into = i128::from(f.time) - i128::from(open.time);
        let frames: usize = open.frames.iter().sum();
        if into > self.bounds.duration.as_nanos() as i128 || frames >= FRAMES {
            return Err(Ended::new(Fault::MaxFragmentDurationReached, format!("{} ms", into / 1_000_000)));
        }
        if let Some((_, latest)) = self.before.filter(|_| frames == 0)
            && f.time <= latest
            && *index == 0
            && matches!(track.kind, Kind::Audio { .. })
        {
            // The pictures of a fragment may be shown before the last ones of the fragment before; sound may not.
            let why = format!("a frame at {} ns after one at {latest}", f.time);
            return Err(Ended::new(Fault::FragmentTimecodeLesserThanPrevious, why));
        }
        let at = self.zero + i128::from(f.time);
        let pts = (at * i128::from(track.timescale)).div_euclid(1_000_000_000);
        let Ok(pts) = i64::try_from(pts) else {
            return Err(Ended::new(Fault::InvalidProducerTimestamp, format!("{at} ns since 1970")));
        };
        open.digest.update(&f.track.to_be_bytes());
        open.digest.update(&at.to_be_bytes());
        open.digest.update(&(f.data.len() as u64).to_be_bytes());
        open.digest.update(&f.data);
        open.frames[*index] += 1;
        let access = match media::random_access(track, &f.data) {
            // What cannot be looked into is as it says.
            RandomAccess::None if f.key && !looked_into(track.codec) => RandomAccess::Idr,
            seen => seen,
        };
        let unit = AccessUnit {
            track: track.id,
            pts,
            dts: None,
            duration: media::payload_duration(track, &f.data),
            access,
            data: f.data,
        };
        let latest = self.before.map_or(i64::MIN, |(_, l)| l).max(f.time);
        let time = open.time;
        self.session.write(unit, now).await?;
        // The one before is on its way.
        self.complete = false;
        self.before = Some((time, latest));
        Ok(())
    }

    fn check_tags(&self, tags: &[media::mkv::Tag]) -> Result<(), Ended> {
        let bad = |why: String| Err(Ended::new(Fault::FragmentMetadataLimitReached, why));
        let own = |name: &str| name.starts_with("AWS");
        const KNOWN: [&str; 4] = [
            END_OF_FRAGMENT,
            "AWS_KINESISVIDEO_IMAGE_GENERATION",
            "AWS_KINESISVIDEO_IMAGE_PREFIX",
            "AWS_KINESISVIDEO_NOTIFICATION",
        ];
        let others = tags.iter().filter(|t| !own(&t.name)).count();
        if others > self.bounds.tags {
            return bad(format!("{others} tags, more than {}", self.bounds.tags));
        }
        for t in tags {
            if own(&t.name) && !KNOWN.contains(&t.name.as_str()) {
                return bad(format!("a tag {:?}: names that begin with AWS are the service's", t.name));
            }
            if t.name.len() > TAG.0 || t.value.len() > TAG.1 {
                return bad(format!(
                    "a tag with a name of {} and a value of {} bytes",
                    t.name.len(),
                    t.value.len()
                ));
            }
        }
        Ok(())
    }

    async fn complete(&mut self, skeleton: Vec<u8>) -> Result<(), Ended> {
        let Some(open) = &self.open else { return Ok(()) };
        if let Some(i) = open.frames.iter().position(|n| *n == 0) {
            let number = self.tracks.iter().find(|(_, (at, _))| *at == i).map_or(0, |(n, _)| *n);
            let why = format!("a Cluster without a frame of track {number}");
            return Err(Ended::new(Fault::FramesMissingForTrack, why));
        }
        self.say("RECEIVED")?;
        let Some(open) = self.open.take() else { return Ok(()) };
        let mut digest = [0; 16];
        digest.copy_from_slice(&open.digest.finish().as_ref()[..16]);
        let (acks, uid, which, keeps) = (self.acks.clone(), self.uid, open.which, self.keeps);
        let done = Box::new(move |stored: Stored| {
            if keeps {
                let number = number::text(uid, stored.number);
                acks.say("PERSISTED", Some(&Which { number, ..which }));
            }
        });
        self.session.came(Came { skeleton, digest, done }).await?;
        self.complete = true;
        Ok(())
    }
}

/// Whether payloads themselves say if decoding can start at them.
fn looked_into(codec: Codec) -> bool {
    !matches!(codec, Codec::Other(_)) || matches!(codec, Codec::VP8 | Codec::VP9 | Codec::AV1)
}

/// What a track is here: what is not understood is stored as it is.
fn track(entry: &TrackEntry, id: u8) -> Result<Track, Ended> {
    let opaque = |name: [u8; 4]| {
        let kind = match entry.kind {
            2 => Kind::Audio {
                rate: entry.rate as u32,
                channels: u8::try_from(entry.channels).unwrap_or(u8::MAX),
            },
            _ => Kind::Video {
                width: u16::try_from(entry.width).unwrap_or(0),
                height: u16::try_from(entry.height).unwrap_or(0),
            },
        };
        Track {
            id,
            codec: Codec::Other(name),
            kind,
            timescale: 90_000,
            framing: Framing::Raw,
            config: entry.codec_private.clone(),
        }
    };
    if !matches!(entry.kind, 1 | 2) {
        let why = format!("track {} is neither pictures nor sound", entry.number);
        return Err(Ended::new(Fault::InvalidMkvData, why));
    }
    if entry.encoded || !entry.stripped.is_empty() {
        return Ok(opaque(*b"enc "));
    }
    // Configurations are not judged here: players say what they cannot play.
    Ok(entry.track(id).ok().filter(|t| t.timescale > 0).unwrap_or_else(|| opaque(*b"bad ")))
}
