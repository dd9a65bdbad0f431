//! From a session to the fragments that its playlists are made of.

use std::sync::Arc;

use log::{Query, SharedLog};
use media::Track;
use world::Timestamp;

use crate::{
    Audio, Config, VideoError,
    hls::{
        multivariant::{Rendition, multivariant},
        playlist::{Growth, Media, media},
        token::{Frames, Mode, Session},
    },
    index::{InitHash, TrackEntry},
    mp4, sound,
    store::Fragment,
    streams::Stream,
    tables::Tables,
};

/// Fragments that a multivariant playlist of a range is judged by.
const SAMPLED: usize = 500;
/// Of a full window that begins in the past, the part that lies behind where a player at normal speed is.
const BEHIND: usize = 5;

/// Where a session's fragments are read.
pub(crate) struct Source<'a> {
    pub stream: &'a Stream,
    pub log: &'a SharedLog,
    pub config: &'a Config,
}

/// The fragments of a session now.
struct Shown {
    items: Vec<Arc<Fragment>>,
    growth: Growth,
    start: Option<Timestamp>,
}

/// `EXT-X-TARGETDURATION` for a session that begins now: what the stream's fragments last at present. (The longest
/// that they are allowed to last would make players stay three times as far behind live.)
pub(crate) async fn plan_target(s: &Source<'_>) -> Result<u32, VideoError> {
    let window = s.stream.window(s.log, s.config.max_entries).await?;
    let longest = window.iter().map(|f| f.duration()).max().unwrap_or_default().max(s.stream.rules.target);
    Ok((longest.as_secs_f64().round() as u32).max(1))
}

/// A track's media playlist.
pub(crate) async fn media_playlist(
    s: &Source<'_>,
    tables: &Tables,
    session: &Session,
    track: u8,
    now: Timestamp,
) -> Result<String, VideoError> {
    let shown = shown(s, session, now, None).await?;
    let mut made = false;
    let open = |t: &&TrackEntry| !t.mp4 && (t.video || session.audio != Audio::AsIs);
    if let Some((f, t)) = shown.items.iter().find_map(|f| Some((f, f.entry.track(track).filter(open)?))) {
        let found = tables.track(s.log, s.stream, f, t.init).await?;
        // What was stored before MP4 had a form for it here says that it has none.
        made = found.is_some_and(|t| sound::made(&t, session.audio).is_some() || mp4::carries(&t));
    }
    let m = Media {
        fragments: &shown.items,
        track,
        growth: shown.growth,
        target: session.target,
        by: session.by,
        key_only: session.frames == Frames::Key,
        made,
        start: shown.start,
    };
    media(&m).ok_or_else(|| nothing(s, session))
}

/// The multivariant playlist.
pub(crate) async fn multivariant_playlist(
    s: &Source<'_>,
    tables: &Tables,
    session: &Session,
    now: Timestamp,
) -> Result<String, VideoError> {
    let shown = shown(s, session, now, Some(SAMPLED)).await?;
    // What a player starts with: the end of a live window, the beginning of anything else.
    let latest = shown.growth == Growth::Sliding && shown.start.is_none();
    let of = |t: &TrackEntry| wanted(t, session);
    let (renditions, left_out) = renditions(s, tables, &shown.items, latest, session.audio, of).await?;
    let left_out: Vec<String> = left_out.iter().map(|t| sound::why_not(t)).collect();
    let uri = |track| format!("{track}.m3u8");
    multivariant(&renditions, &left_out, uri).ok_or_else(|| match &left_out[..] {
        [] => nothing(s, session),
        all => VideoError::NoMedia(format!("video stream {:?}: {}", s.stream.name(), all.join("; "))),
    })
}

/// The tracks that fragments have, by id, and those that cannot be played. A track is described as it is in the first
/// or, with `latest`, the last fragment that has it.
pub(crate) async fn renditions(
    s: &Source<'_>,
    tables: &Tables,
    items: &[Arc<Fragment>],
    latest: bool,
    audio: Audio,
    wanted: impl Fn(&TrackEntry) -> bool,
) -> Result<(Vec<Rendition>, Vec<Arc<Track>>), VideoError> {
    let mut found: Vec<Found> = Vec::new();
    for f in items {
        for t in f.entry.tracks.iter().filter(|t| wanted(t)) {
            let i = found.iter().position(|k| k.id == t.id).unwrap_or_else(|| {
                found.push(Found { id: t.id, init: t.init, fragment: f.clone(), ..Found::default_of(f) });
                found.len() - 1
            });
            let k = &mut found[i];
            if latest {
                (k.init, k.fragment) = (t.init, f.clone());
            }
            let seconds = t.seconds();
            let bits = t.bytes.saturating_mul(8);
            k.bits += bits;
            k.seconds += seconds;
            k.samples += t.samples;
            if seconds >= 0.5 {
                k.peak = k.peak.max((bits as f64 / seconds) as u64);
            }
        }
    }
    found.sort_by_key(|k| k.id);
    let (mut renditions, mut left_out) = (Vec::new(), Vec::new());
    for k in &found {
        if let Some(track) = tables.track(s.log, s.stream, &k.fragment, k.init).await? {
            let average = (k.bits as f64 / k.seconds.max(0.001)) as u64;
            let fps = (track.is_video() && k.samples > 1).then(|| k.samples as f64 / k.seconds.max(0.001));
            match sound::made(&track, audio) {
                Some(made) => {
                    let bits = made.bits();
                    renditions.push(Rendition {
                        track: Arc::new(made.track),
                        peak: bits,
                        average: bits,
                        fps: None,
                    });
                }
                None if mp4::carries(&track) => {
                    renditions.push(Rendition { track, peak: k.peak.max(average), average, fps });
                }
                None => left_out.push(track),
            }
        }
    }
    Ok((renditions, left_out))
}

/// Whether a track may be part of a session.
fn wanted(t: &TrackEntry, session: &Session) -> bool {
    t.video || session.frames == Frames::All
}

struct Found {
    id: u8,
    init: InitHash,
    fragment: Arc<Fragment>,
    bits: u64,
    seconds: f64,
    samples: u64,
    peak: u64,
}

impl Found {
    fn default_of(f: &Arc<Fragment>) -> Found {
        Found { id: 0, init: InitHash(0), fragment: f.clone(), bits: 0, seconds: 0.0, samples: 0, peak: 0 }
    }
}

/// The fragment of a session that has a track under a configuration.
pub(crate) async fn with_init(
    s: &Source<'_>,
    session: &Session,
    init: InitHash,
    now: Timestamp,
) -> Result<Arc<Fragment>, VideoError> {
    let shown = shown(s, session, now, None).await?;
    let of = |f: &&Arc<Fragment>| f.entry.tracks.iter().any(|t| t.init == init);
    shown.items.iter().rev().find(of).cloned().ok_or_else(|| {
        VideoError::Gone(format!(
            "video stream {:?} has no such configuration in this session",
            s.stream.name()
        ))
    })
}

/// `most` shortens a range that does not slide.
async fn shown(
    s: &Source<'_>,
    session: &Session,
    now: Timestamp,
    most: Option<usize>,
) -> Result<Shown, VideoError> {
    let (stream, log) = (s.stream, s.log);
    let by = session.by;
    let Some(from) = session.from else {
        let items = stream.window(log, s.config.max_entries).await?;
        return Ok(Shown { items, growth: Growth::Sliding, start: None });
    };
    match session.mode {
        Mode::OnDemand => {
            let to = session.to.unwrap_or(session.created);
            let found = stream.range(log, by, from, to, most.unwrap_or(s.config.max_range)).await?;
            Ok(Shown { items: found.items, growth: Growth::Fixed, start: Some(from) })
        }
        Mode::Event => {
            let to = session.to.unwrap_or(Timestamp::MAX);
            let found = stream.range(log, by, from, to, most.unwrap_or(s.config.max_entries)).await?;
            // A fragment that begins before the end is durable at most so long after it.
            let over = found.more && most.is_none() || now > to + stream.rules.max * 2;
            Ok(Shown { items: found.items, growth: Growth::Growing(over), start: Some(from) })
        }
        Mode::Live => {
            let most = most.unwrap_or(s.config.max_entries);
            let (items, start) = joining(s, session, from, now, most).await?;
            Ok(Shown { items, growth: Growth::Sliding, start: Some(start) })
        }
    }
}

/// A window that begins at `from` and joins live. While everything since fits, it is all there. Beyond that the window
/// goes along with a player at normal speed (who is as long after `from` as the session is old), a fifth of it behind
/// the player, until its end meets the live edge. It depends on nothing but token, time and index.
async fn joining(
    s: &Source<'_>,
    session: &Session,
    from: Timestamp,
    now: Timestamp,
    most: usize,
) -> Result<(Vec<Arc<Fragment>>, Timestamp), VideoError> {
    let (stream, log, by) = (s.stream, s.log, session.by);
    let Some((first, _)) = stream.ends(log, by, from, Timestamp::MAX).await? else {
        return Ok((Vec::new(), from));
    };
    let first = stream.lead(log, first).await?;
    let Some(last) = stream.last(log).await? else { return Ok((Vec::new(), from)) };
    let count = |a: &Fragment, b: &Fragment| b.entry.ordinal.saturating_sub(a.entry.ordinal) + 1;
    let most64 = most as u64;
    if count(&first, &last) <= most64 {
        return Ok((stream.page(log, first.position(), u64::MAX, most).await?, from));
    }
    let player = from + now.since(session.created);
    let at = match stream.ends(log, by, player, Timestamp::MAX).await? {
        Some((at, _)) if at.position() > first.position() => at,
        _ => first.clone(),
    };
    let behind = most64 / BEHIND as u64;
    let q = Query::Positions(first.position(), at.position());
    let items = if count(&at, &last) <= most64 - behind {
        tail(s, first.position(), most).await?
    } else {
        let back = log
            .readable_payloads(stream.shard, q, behind as usize, true)
            .await
            .map_err(|e| stream.log_error(e))?;
        let begin = back.0.first().map_or(at.position(), |p| p.position);
        stream.page(log, begin, u64::MAX, most).await?
    };
    Ok((items, player.max(from)))
}

/// The last `most` fragments from a position on.
async fn tail(s: &Source<'_>, from: u64, most: usize) -> Result<Vec<Arc<Fragment>>, VideoError> {
    // What is lost is passed over, as by the pages.
    let last = s.log.readable_payloads(s.stream.shard, Query::Positions(from, u64::MAX), most, true).await;
    let begin = last.map_err(|e| s.stream.log_error(e))?.0.first().map_or(from, |p| p.position);
    s.stream.page(s.log, begin, u64::MAX, most).await
}

pub(crate) fn nothing(s: &Source<'_>, session: &Session) -> VideoError {
    let name = s.stream.name();
    VideoError::NoMedia(match session.from {
        None => format!("video stream {name:?} has nothing to play yet"),
        Some(from) => {
            format!("video stream {name:?} has nothing to play from {} on", wire::time::format(from))
        }
    })
}
