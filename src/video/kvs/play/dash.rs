//! A session's manifest (ISO/IEC 23009-1): a Period for each stretch of one configuration whose time does not go back, an
//! AdaptationSet for each track, and a SegmentList with a SegmentTimeline, so that each segment has an address of its own
//! whatever its time is.

use std::{
    fmt::{Display, Write},
    sync::Arc,
    time::Duration,
};

use media::Kind;
use world::Timestamp;

use super::{
    forms::Forms,
    hls::init_uri,
    session::{Mode, Session},
    window::{Run, Shown, goes_on, there},
};
use crate::{
    By, Fragment,
    hls::multivariant::Rendition,
    index::{TrackEntry, ticks_of},
    kvs::{find, number},
    streams::Stream,
};

/// Of the attributes `kvs:ts` and `kvs:fn`.
const NAMESPACE: &str = "urn:amazon:kinesisvideo:dash";

/// Fragments of one Period.
struct Period {
    run: Run,
    items: Vec<Arc<Fragment>>,
}

fn periods(shown: &Shown) -> Vec<Period> {
    let mut out: Vec<Period> = Vec::new();
    for f in &shown.items {
        match out.last_mut() {
            Some(p) if p.items.last().is_some_and(|last| goes_on(last, f)) => p.items.push(f.clone()),
            Some(p) => {
                let run = Run { number: p.run.number + 1, first: f.clone() };
                out.push(Period { run, items: vec![f.clone()] });
            }
            None => {
                let run = shown.slid.run.clone().unwrap_or(Run { number: 0, first: f.clone() });
                out.push(Period { run, items: vec![f.clone()] });
            }
        }
    }
    out
}

/// The first moment of a fragment that is decoded, by the producer's clock.
fn begins(f: &Fragment) -> Timestamp {
    let first = f.entry.tracks.iter().map(|t| crate::index::time_of(t.first_dts, t.timescale)).min();
    first.unwrap_or_else(|| f.start(By::Producer))
}

/// How long a Period lasts whose first moment is `from`: to the end of the track that ends last, wherever its last sample
/// is. Never shorter than its segments: dash.js, once it has played on beyond the end that it was told, goes back half a
/// second and stays there.
fn lasts<'t>(from: Timestamp, tracks: impl Iterator<Item = &'t TrackEntry>) -> Duration {
    let ends = tracks.map(|t| {
        let ticks =
            t.first_dts.saturating_add_unsigned(t.duration).saturating_sub(ticks_of(from, t.timescale));
        microseconds(u64::try_from(ticks).unwrap_or(0), t.timescale)
    });
    ends.max().unwrap_or_default()
}

/// Rounded up.
fn microseconds(ticks: u64, timescale: u32) -> Duration {
    let us = (u128::from(ticks) * 1_000_000).div_ceil(timescale.max(1).into());
    Duration::from_micros(u64::try_from(us).unwrap_or(u64::MAX))
}

/// The tracks of a manifest.
pub(super) struct Tracks {
    /// Those that are described.
    pub renditions: Vec<Rendition>,
    /// Why others are not, each in a sentence.
    pub left_out: Vec<String>,
    /// What they go out as.
    pub forms: Forms,
}

/// Renders it. `None` without anything to play.
pub(super) fn manifest(
    session: &Session,
    stream: &Stream,
    token: &str,
    tracks: &Tracks,
    shown: &Shown,
    now: Timestamp,
) -> Option<String> {
    let periods = periods(shown);
    let longest = shown.items.iter().map(|f| f.duration()).max()?;
    let live = session.mode != Mode::OnDemand;
    // When each begins: as long after the first as it was received, or, at once, one after the other.
    let mut starts = Vec::with_capacity(periods.len());
    let mut at = Duration::ZERO;
    for p in &periods {
        let (first, last) = (&p.run.first, p.items.last()?);
        let (from, start) =
            (begins(first), if live { there(first).since(session.origin).max(at) } else { at });
        starts.push(start);
        let all = p.items.iter().flat_map(|f| &f.entry.tracks);
        at = start + lasts(from, all).max(last.end(By::Producer).since(from));
    }
    let mut out = String::with_capacity(2048 + shown.items.len() * 600);
    out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = write!(
        out,
        "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" xmlns:kvs=\"{NAMESPACE}\" \
         profiles=\"urn:mpeg:dash:profile:full:2011\" type=\"{}\" minBufferTime=\"{}\"",
        if live { "dynamic" } else { "static" },
        iso(longest),
    );
    if live {
        let window: Duration = shown.items.iter().map(|f| f.duration()).sum();
        let _ = write!(
            out,
            " availabilityStartTime=\"{}\" publishTime=\"{}\" timeShiftBufferDepth=\"{}\" \
             suggestedPresentationDelay=\"{}\" maxSegmentDuration=\"{}\"",
            wire::time::format(session.available),
            wire::time::format(now),
            iso(window),
            iso(longest * 2),
            iso(longest),
        );
        if !shown.over {
            out.push_str(" minimumUpdatePeriod=\"PT1S\"");
        }
    }
    if !live || shown.over {
        let _ = write!(out, " mediaPresentationDuration=\"{}\"", iso(at));
    }
    out.push_str(">\n");
    for l in &tracks.left_out {
        // Names of codecs come from producers; two hyphens end a comment.
        let _ = writeln!(out, "<!-- {} -->", l.replace('-', "\u{2010}"));
    }
    for (p, start) in periods.iter().zip(&starts) {
        let _ = writeln!(out, " <Period id=\"{}\" start=\"{}\">", p.run.number, iso(*start));
        for r in &tracks.renditions {
            set(&mut out, session, stream, token, (r, &tracks.forms), p);
        }
        out.push_str(" </Period>\n");
    }
    out.push_str("</MPD>\n");
    Some(out)
}

/// One track of a Period, if it is there.
fn set(
    out: &mut String,
    session: &Session,
    stream: &Stream,
    token: &str,
    (r, forms): (&Rendition, &Forms),
    p: &Period,
) {
    let id = r.track.id;
    let entries: Vec<(&Arc<Fragment>, &TrackEntry)> =
        p.items.iter().filter_map(|f| Some((f, f.entry.track(id).filter(|t| forms.plays(t))?))).collect();
    let begin = entries.iter().position(|(f, t)| !t.video || f.entry.independent).unwrap_or(entries.len());
    let entries = entries.get(begin..).unwrap_or_default();
    let Some((_, first)) = entries.first() else { return };
    let kind = if first.video { "video" } else { "audio" };
    let _ = write!(
        out,
        "  <AdaptationSet id=\"{id}\" contentType=\"{kind}\" mimeType=\"{kind}/mp4\" segmentAlignment=\"true\" \
         startWithSAP=\"1\">\n   <Representation id=\"{}\" bandwidth=\"{}\" codecs=\"{}\"",
        named(id),
        r.peak.max(r.average).max(1),
        media::codec_string(&r.track),
    );
    match r.track.kind {
        Kind::Video { width, height } => {
            let _ = write!(out, " width=\"{width}\" height=\"{height}\"");
            if let Some(fps) = r.fps.filter(|f| f.is_finite() && *f >= 0.5) {
                let _ = write!(out, " frameRate=\"{}/1000\"", (fps * 1000.0).round());
            }
        }
        Kind::Audio { rate, .. } => {
            let _ = write!(out, " audioSamplingRate=\"{rate}\"");
        }
    }
    out.push_str(">\n");
    if let Kind::Audio { channels, .. } = r.track.kind {
        let _ = writeln!(
            out,
            "    <AudioChannelConfiguration schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" \
             value=\"{}\"/>",
            channels.max(1)
        );
    }
    let (timescale, ..) = forms.times(first);
    let _ = writeln!(
        out,
        "    <SegmentList timescale=\"{}\" presentationTimeOffset=\"{}\">\n     <Initialization sourceURL=\"{}\"/>\n     \
         <SegmentTimeline>",
        timescale,
        ticks_of(begins(&p.run.first), timescale),
        xml(&init_uri(token, id, first.init)),
    );
    for (i, (f, t)) in entries.iter().enumerate() {
        // What overlaps ends where the next begins.
        let (_, begin, lasts) = forms.times(t);
        let next = entries.get(i + 1).and_then(|(_, n)| u64::try_from(forms.times(n).1 - begin).ok());
        let _ = write!(out, "      <S t=\"{begin}\" d=\"{}\"", lasts.min(next.unwrap_or(u64::MAX)).max(1));
        if session.times {
            let _ = write!(out, " kvs:ts=\"{}\"", find::seconds(find::start(f, session.by)));
        }
        if session.numbers {
            let _ = write!(out, " kvs:fn=\"{}\"", number::of(stream.info.uid, f));
        }
        out.push_str("/>\n");
    }
    out.push_str("     </SegmentTimeline>\n");
    for (f, _) in entries {
        let number = number::of(stream.info.uid, f);
        let uri =
            format!("getMP4MediaFragment.mp4?FragmentNumber={number}&SessionToken={token}&TrackNumber={id}");
        let _ = writeln!(out, "     <SegmentURL media=\"{}\"/>", xml(&uri));
    }
    out.push_str("    </SegmentList>\n   </Representation>\n  </AdaptationSet>\n");
}

/// A Representation's id, of more than 64 letters: FFmpeg holds room for addresses that are so much longer than the
/// manifest's own as this is, in steps of 64, and cuts off what is longer. Segments' are longer by 81.
fn named(track: u8) -> String {
    format!("track-{track:0>60}")
}

/// `PT1.500000S`
fn iso(d: Duration) -> impl Display {
    format!("PT{}.{:06}S", d.as_secs(), d.subsec_micros())
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::InitHash;

    #[test]
    fn a_duration_is_never_said_to_be_shorter_than_it_is() {
        let said = |ticks, timescale| iso(microseconds(ticks, timescale)).to_string();
        assert_eq!(said(0, 48_000), "PT0.000000S");
        assert_eq!(said(72_000, 48_000), "PT1.500000S");
        assert_eq!(said(385_024, 48_000), "PT8.021334S");
        assert_eq!(said(u64::from(u32::MAX), u32::MAX), "PT1.000000S");
    }

    #[test]
    fn a_period_ends_with_the_track_that_ends_last_wherever_that_is() {
        let track = |video, timescale: u32, first: u64, duration| TrackEntry {
            id: 1 + u8::from(video),
            video,
            mp4: true,
            rewrite: false,
            init: InitHash(0),
            timescale,
            first_dts: i64::try_from(first).unwrap(),
            first_cts: 0,
            duration,
            ordinal: 0,
            samples: 1,
            bytes: 1,
        };
        // Two fragments; the last has no sound, which the one before has beyond its picture's end.
        let tracks = [
            track(true, 90_000, 900_000, 90_000),
            track(false, 48_000, 480_000, 110_000),
            track(true, 90_000, 990_000, 90_000),
        ];
        let from = Timestamp::from_millis(10_000);
        assert_eq!(lasts(from, tracks.iter()), Duration::from_micros(2_291_667));
        assert_eq!(lasts(from, tracks[2..].iter()), Duration::from_secs(2));
        assert_eq!(lasts(from, [].iter()), Duration::ZERO);
    }
}
