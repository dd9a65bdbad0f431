//! A session's playlists (RFC 8216), in the service's shapes.

use std::{fmt::Write, sync::Arc};

use media::Kind;
use world::Timestamp;

use super::{
    forms::Forms,
    session::{Cuts, Mode, Session},
    window::{Shown, cut},
};
use crate::{
    Fragment,
    hls::{
        multivariant::{Rendition, multivariant},
        playlist::{Gap, Growth, Item, List, write},
    },
    index::InitHash,
    kvs::{find, number},
    streams::Stream,
};

/// The master playlist.
pub(super) fn master(
    session: &Session,
    token: &str,
    renditions: &[Rendition],
    left_out: &[String],
) -> Option<String> {
    if !session.transport {
        let uri = |track| format!("getHLSMediaPlaylist.m3u8?SessionToken={token}&TrackNumber={track}");
        return multivariant(renditions, left_out, uri);
    }
    // One playlist, whose segments have all tracks.
    let bits = |f: fn(&Rendition) -> u64| renditions.iter().map(f).sum::<u64>() * 11 / 10 + 10_000;
    let codecs: Vec<_> = renditions.iter().map(|r| media::codec_string(&r.track)).collect();
    let mut out = String::from("#EXTM3U\n#EXT-X-VERSION:3\n");
    for l in left_out {
        let _ = writeln!(out, "# {l}");
    }
    let (peak, average) = (bits(|r| r.peak), bits(|r| r.average));
    let _ = write!(
        out,
        "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={average},CODECS=\"{}\"",
        peak.max(average),
        codecs.join(",")
    );
    if let Some(r) = renditions.iter().find(|r| r.track.is_video()) {
        if let Kind::Video { width: width @ 1.., height: height @ 1.. } = r.track.kind {
            let _ = write!(out, ",RESOLUTION={width}x{height}");
        }
        if let Some(fps) = r.fps.filter(|f| f.is_finite() && *f > 0.0) {
            let _ = write!(out, ",FRAME-RATE={fps:.3}");
        }
    }
    let _ = writeln!(out, "\ngetHLSMediaPlaylist.m3u8?SessionToken={token}");
    (!renditions.is_empty()).then_some(out)
}

/// A track's media playlist; without a track, that of transport streams. `None` without a single entry.
pub(super) fn media(
    session: &Session,
    stream: &Stream,
    token: &str,
    track: Option<u8>,
    shown: &Shown,
    forms: &Forms,
) -> Option<String> {
    let of = |f: &Arc<Fragment>| match track {
        Some(id) => {
            f.entry.track(id).filter(|t| forms.plays(t)).map(|t| (t.seconds(), Some((id, t.init)), t.video))
        }
        None => {
            f.entry.tracks.iter().any(|t| forms.plays(t)).then(|| (f.duration().as_secs_f64(), None, true))
        }
    };
    let mut cuts = shown.slid.cuts;
    let mut before: Option<&Arc<Fragment>> = None;
    let mut entries = Vec::with_capacity(shown.items.len());
    // Numbers before the first entry that name none, and since the last one.
    let (mut skipped, mut gap) = (0, 0);
    for f in &shown.items {
        let lost = shown.lost.get(&f.position());
        cuts += before.map_or(0, |b| cut(session.cuts, b, f, lost));
        gap += lost.map_or(0, |l| track.map_or(l.all, |id| l.of(id)));
        before = Some(f);
        let Some((seconds, init, video)) = of(f) else {
            // It is counted when it slides out.
            let counts = session.mode != Mode::OnDemand && track.is_none_or(|id| f.entry.track(id).is_some());
            gap += u64::from(counts);
            continue;
        };
        // Nobody can begin in the middle of a group of pictures.
        if entries.is_empty() {
            skipped += std::mem::take(&mut gap);
        }
        if entries.is_empty() && video && !f.entry.independent {
            skipped += 1;
            continue;
        }
        entries.push((f, cuts, seconds, init, std::mem::take(&mut gap)));
    }
    let first = entries.first()?;
    let sequence = skipped
        + match track {
            Some(id) => shown.slid.gone.of(id),
            None => shown.slid.gone.all,
        };
    let longest = entries.iter().map(|(_, _, seconds, ..)| *seconds).fold(0.0, f64::max);
    let list = List {
        target: session.target.max(longest.round() as u32).max(1),
        sequence,
        discontinuity_sequence: first.1,
        growth: match session.mode {
            Mode::OnDemand => Growth::Fixed,
            Mode::Live | Mode::LiveReplay if shown.over => Growth::Ended,
            Mode::Live | Mode::LiveReplay => Growth::Sliding,
        },
        independent: entries.iter().all(|(f, ..)| f.entry.independent && !f.entry.open),
        start: None,
    };
    let date = |t: Timestamp| session.times.then(|| Timestamp::from_millis(find::round(t)));
    let uri = |number: &str| match track {
        Some(track) => {
            format!(
                "getMP4MediaFragment.mp4?FragmentNumber={number}&SessionToken={token}&TrackNumber={track}"
            )
        }
        None => format!("getTSFragment.ts?FragmentNumber={number}&SessionToken={token}"),
    };
    let (mut cuts, mut map, mut next) = (first.1, None::<InitHash>, sequence);
    let mut end = find::start(first.0, session.by);
    let mut items = Vec::with_capacity(entries.len());
    for (f, n, seconds, init, count) in &entries {
        let start = find::start(f, session.by);
        let mut discontinuities = n.saturating_sub(std::mem::replace(&mut cuts, *n));
        // Those that are lost keep their numbers (RFC 8216bis §4.4.4.7).
        for gap in Gap::new(*count, end, start, list.target).items(|n| uri(&format!("gap-{}", next + n))) {
            let of_it = u64::from(session.cuts == Cuts::Always).min(discontinuities);
            discontinuities -= of_it;
            items.push(Item { discontinuities: of_it, date: gap.date.and_then(date), ..gap });
        }
        next += count + 1;
        end = start + f.duration();
        let new = init.filter(|(_, init)| map.replace(*init) != Some(*init));
        items.push(Item {
            comment: None,
            discontinuities,
            map: new.map(|(track, init)| init_uri(token, track, init)),
            date: date(start),
            seconds: *seconds,
            gap: false,
            uri: uri(&number::of(stream.info.uid, f)),
        });
    }
    Some(write(&list, items.into_iter()))
}

/// Where a track's initialisation segment is. `SequenceNumber` tells one configuration from another.
pub(super) fn init_uri(token: &str, track: u8, init: InitHash) -> String {
    format!("getMP4InitFragment.mp4?SessionToken={token}&TrackNumber={track}&SequenceNumber={}", init.0)
}
