//! Waits until what a player asks for is there, and answers.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use tokio::sync::{SemaphorePermit, watch};

use super::{
    ask::{Directives, Edge, Ready},
    chain::{Chain, LiveFragment, Part, Strip},
    text,
};
use crate::{
    Audio, Fragment, Frames, Mode, Playback, Video, VideoError,
    hls::{
        Segment, Source,
        playlist::{Growth, Media, Planned, plan},
        serve::{media_playlist, nothing},
    },
    sound,
    streams::Stream,
};

/// Parts are listed of segments that begin no further from the end than so many target durations (§6.2.2).
const LISTED: f64 = 3.0;
/// What is blocked for so many target durations is given up (§6.2.5.2).
const PATIENCE: u32 = 3;

/// Whether a session can be one of low latency: the live window, with all its frames.
pub(crate) fn may_be(s: &Source<'_>, session: &Playback) -> bool {
    let live = session.mode == Mode::Live && session.from.is_none();
    live && session.frames == Frames::All && !s.config.part.is_zero()
}

/// What a playlist says beyond its whole segments.
pub(super) struct Tip {
    pub epoch: u64,
    /// `PART-TARGET` in seconds.
    pub target: f64,
    /// Parts of the last items, of each as many as it has: how many items from the end.
    pub parts: Vec<Vec<Arc<Part>>>,
    pub open: Option<Open>,
    /// The part that comes next.
    pub hint: Option<u64>,
    /// The other tracks: media sequence number and part at their ends.
    pub reports: Vec<(u8, u64, Option<u64>)>,
}

/// The segment that is being made.
pub(super) struct Open {
    pub discontinuity: bool,
    pub init: crate::index::InitHash,
    pub start: Option<world::Timestamp>,
    pub parts: Vec<Arc<Part>>,
}

/// Somebody who waits: for so long, in a place of which there are so many.
struct Waiter<'a> {
    video: &'a Video,
    changed: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    until: Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
    lasts: Duration,
    place: Option<SemaphorePermit<'a>>,
}

impl<'a> Waiter<'a> {
    fn new(video: &'a Video, stream: &Stream, target: u32) -> Waiter<'a> {
        let lasts = Duration::from_secs(target.into()) * PATIENCE;
        Waiter {
            video,
            changed: stream.live.low.subscribe(),
            stopping: video.stopping.subscribe(),
            until: video.world.clock.sleep(lasts),
            lasts,
            place: None,
        }
    }

    /// From here on a change is one that was not seen.
    fn look(&mut self) {
        self.changed.borrow_and_update();
    }

    async fn wait(&mut self, stream: &Stream) -> Result<(), VideoError> {
        if self.place.is_none() {
            let full = |_| VideoError::Busy("too many players wait for live video: try again".into());
            self.place = Some(self.video.waiting.try_acquire().map_err(full)?);
        }
        tokio::select! {
            changed = self.changed.changed() => {
                changed.map_err(|_| VideoError::Deleted(stream.name().into()))
            }
            () = &mut self.until => Err(VideoError::Busy(format!(
                "video stream {:?} has had nothing new for {} seconds", stream.name(), self.lasts.as_secs()
            ))),
            _ = self.stopping.wait_for(|s| *s) => Err(VideoError::Busy("the server stops".into())),
        }
    }
}

impl Video {
    /// A track's media playlist of a live session, as soon as it has what is asked for.
    pub(crate) async fn low_playlist(
        &self,
        stream: &Stream,
        session: &Playback,
        track: u8,
        asked: Directives,
    ) -> Result<String, VideoError> {
        let source = self.source(stream);
        let mut waiter = Waiter::new(self, stream, session.target);
        loop {
            waiter.look();
            let now = self.world.clock.now();
            let window = stream.window(&self.log, self.config.max_entries).await?;
            let last = window.last().ok_or_else(|| nothing(&source, session))?;
            if self.is_made(stream, session, last).await? {
                // A player that has to wait for the sound gains nothing by earlier pictures.
                return media_playlist(&source, &self.tables, session, track, now).await;
            }
            stream.live.low.want(now);
            let media = Media {
                fragments: &window,
                track,
                growth: Growth::Sliding,
                target: session.target,
                by: session.by,
                key_only: false,
                made: false,
                start: None,
            };
            let planned = plan(&media).ok_or_else(|| nothing(&source, session))?;
            let tip = (stream.publishing.load(SeqCst) != 0)
                .then(|| tip(stream.live.low.chain().as_ref(), &planned, last, track, stream.part));
            let (edge, target) = match &tip {
                Some((tip, edge)) => (*edge, tip.target),
                None => (Edge { next: next_of(&planned), ..Edge::default() }, stream.part.as_secs_f64()),
            };
            match asked.until.map_or(Ready::Now, |until| edge.ready(until, target)) {
                Ready::Now => {}
                Ready::TooFar => return Err(too_far(asked, &edge)),
                Ready::Later => {
                    drop((tip, planned));
                    waiter.wait(stream).await?;
                    continue;
                }
            }
            return Ok(match tip {
                Some((tip, _)) => text::write(&planned, &tip, track, session.by, asked.skip),
                None => crate::hls::playlist::write(&planned.list, planned.items.into_iter().map(|(i, _)| i)),
            });
        }
    }

    /// Whether some of a session's sound is made of whole fragments.
    async fn is_made(&self, stream: &Stream, session: &Playback, f: &Fragment) -> Result<bool, VideoError> {
        if session.audio == Audio::AsIs {
            return Ok(false);
        }
        for t in f.entry.tracks.iter().filter(|t| !t.video) {
            let found = self.tables.track(&self.log, stream, f, t.init).await?;
            if found.is_some_and(|t| sound::made(&t, session.audio).is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A part of a live session, as soon as it is there if it is the next one; whether that is pictures; and the stream.
    pub(crate) async fn part(
        &self,
        token: &str,
        track: u8,
        epoch: u64,
        seq: u64,
    ) -> Result<(Segment, bool, Arc<Stream>), VideoError> {
        let (session, stream) = self.playback(token)?;
        let what = || format!("part {seq} of track {track} of video stream {:?}", stream.name());
        if !may_be(&self.source(&stream), &session) {
            return Err(VideoError::NoMedia(format!("{} is not in this session", what())));
        }
        let mut waiter = Waiter::new(self, &stream, session.target);
        loop {
            waiter.look();
            stream.live.low.want(self.world.clock.now());
            let there = match &*stream.live.low.chain() {
                Some(c) if c.epoch == epoch => match (c.part(track, seq), c.next(track)) {
                    (Some(found), _) => Some(found),
                    (None, Some(next)) if seq == next => None,
                    (None, Some(next)) if seq < next => {
                        return Err(VideoError::Gone(format!("{} is gone: its segment stays", what())));
                    }
                    _ => return Err(VideoError::NoMedia(format!("there is no {}", what()))),
                },
                // Of a chain that was, or never will be.
                _ => return Err(VideoError::Gone(format!("{} is gone: what it was of has ended", what()))),
            };
            match there {
                Some((part, video)) => return Ok((Segment::Whole(part.data.clone()), video, stream)),
                None => waiter.wait(&stream).await?,
            }
        }
    }
}

fn too_far(asked: Directives, edge: &Edge) -> VideoError {
    let (msn, part) = asked.until.unwrap_or_default();
    let what = match part {
        Some(p) if msn <= edge.next => format!("_HLS_part={p} of _HLS_msn={msn}"),
        _ => format!("_HLS_msn={msn}"),
    };
    VideoError::Bad(format!(
        "{what} is too far ahead: the segment that is being made is {} and has {} parts",
        edge.next, edge.open
    ))
}

fn next_of(p: &Planned) -> u64 {
    p.list.sequence + p.items.len() as u64
}

fn strip(f: &LiveFragment, track: u8) -> Option<&Strip> {
    f.strips.iter().find(|s| s.track == track && f.listed)
}

/// Of one track, how it goes on after the last fragment.
fn edge(chain: Option<&Chain>, last: &Fragment, track: u8, next: u64) -> Edge {
    let Some((of, open)) = chain.and_then(|c| c.find(last.entry.number)) else {
        return Edge { next, ..Edge::default() };
    };
    let parts = last.entry.track(track).and_then(|_| strip(of, track)).map(|s| s.parts.len() as u64);
    let strip = open.and_then(|o| strip(o, track));
    Edge { next, last: parts, open: strip.map_or(0, |s| s.parts.len() as u64) }
}

fn tip(chain: Option<&Chain>, p: &Planned, last: &Fragment, track: u8, wanted: Duration) -> (Tip, Edge) {
    let mut tip = Tip {
        epoch: chain.map_or(0, |c| c.epoch),
        target: 0.0,
        parts: Vec::new(),
        open: None,
        hint: chain.and_then(|c| c.next(track)),
        reports: Vec::new(),
    };
    let found = chain.and_then(|c| c.find(last.entry.number));
    if let Some(open) = found.and_then(|(_, open)| open)
        && let Some(s) = strip(open, track)
    {
        tip.target = tip.target.max(s.target);
        let (discontinuity, init, start) = (open.discontinuity, s.init, s.start);
        tip.open = (!s.parts.is_empty()).then(|| Open { discontinuity, init, start, parts: s.parts.clone() });
    }
    let mut after: f64 = tip.open.iter().flat_map(|o| &o.parts).map(|p| p.seconds).sum();
    let near = f64::from(p.list.target) * LISTED;
    let listed = p.items.iter().rev().take_while(|(item, _)| {
        let from_end = after;
        after += item.seconds;
        from_end < near
    });
    for (_, f) in listed {
        let found = chain.and_then(|c| c.find(f.as_ref()?.entry.number)).and_then(|(f, _)| strip(f, track));
        if let Some(s) = found {
            tip.target = tip.target.max(s.target);
        }
        tip.parts.push(found.map_or_else(Vec::new, |s| s.parts.clone()));
    }
    // The first that is not listed, which may be there already.
    let listed = tip.open.as_ref().map(|o| &o.parts).or(tip.parts.first());
    if let Some(p) = listed.and_then(|parts| parts.last()) {
        tip.hint = Some(p.seq + 1);
    }
    if tip.target == 0.0 {
        tip.target = wanted.as_secs_f64() * super::chain::SLACK;
    }
    for t in last.entry.tracks.iter().filter(|t| t.id != track && t.mp4) {
        let e = edge(chain, last, t.id, t.ordinal + 1);
        tip.reports.push(match e.open {
            0 => (t.id, t.ordinal, e.last.and_then(|n| n.checked_sub(1))),
            n => (t.id, e.next, Some(n - 1)),
        });
    }
    (tip, edge(chain, last, track, next_of(p)))
}
