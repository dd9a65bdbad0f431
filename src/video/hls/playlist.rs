//! Media playlists (RFC 8216 §4.3.3), rendered from index entries.

use std::{fmt::Write, sync::Arc};

use world::Timestamp;

use crate::{
    index::{InitHash, TrackEntry},
    store::{By, Fragment},
};

/// What may become of a playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Entries come and go.
    Sliding,
    /// Entries came and went; over.
    Ended,
    /// Entries come (`EXT-X-PLAYLIST-TYPE:EVENT`); over if `true`.
    Growing(bool),
    /// Nothing changes (`EXT-X-PLAYLIST-TYPE:VOD`).
    Fixed,
}

/// What a media playlist is made of.
#[derive(Clone, Copy, Debug)]
pub struct Media<'a> {
    /// Ascending by position.
    pub fragments: &'a [Arc<Fragment>],
    /// The track.
    pub track: u8,
    /// What may become of it.
    pub growth: Growth,
    /// `EXT-X-TARGETDURATION`; raised where an entry is longer.
    pub target: u32,
    /// The clock of `EXT-X-PROGRAM-DATE-TIME`.
    pub by: By,
    /// Only fragments with a key frame, for sessions that show nothing else.
    pub key_only: bool,
    /// The track is made into something that MP4 has a form for.
    pub made: bool,
    /// Where playing should begin, by that clock.
    pub start: Option<Timestamp>,
}

/// One entry.
struct Line<'a> {
    fragment: &'a Fragment,
    track: &'a TrackEntry,
    /// Holes before it: fragments that were removed or are lost, where no discontinuity is counted.
    holes: u64,
    /// When the fragment before it ends, if that is on the other side of a hole.
    hole: Option<Timestamp>,
}

impl Line<'_> {
    fn seconds(&self) -> f64 {
        self.track.seconds()
    }
    /// When the track's first sample of this fragment is shown. By the server's clock a fragment ends when it arrives.
    fn time(&self, by: By) -> Timestamp {
        let start = self.track.start();
        match by {
            By::Producer => start,
            By::Server => self.fragment.start(by) + start.since(self.fragment.start(By::Producer)),
        }
    }
    fn can_start(&self) -> bool {
        !self.track.video || self.fragment.entry.independent
    }
}

/// Renders one. `None` without a single entry.
///
/// * Fragments in which the track has no samples have no entry; ordinals are the track's own, so they stay dense.
/// * Video entries at the beginning at which decoding cannot start are left out; where there are more of them near
///   the end of a sliding playlist, `EXT-X-START` points before them, so that no player starts there.
/// * Where several discontinuities lie between two entries, as many tags do, so that the counts of all tracks agree.
/// * Where fragments are missing in between (lost, or removed around something pinned) what follows continues nothing, and
///   a comment says from when to when; but in a sliding playlist, whose numbers have to last longer than it does.
pub fn media(m: &Media) -> Option<String> {
    let p = plan(m)?;
    Some(write(&p.list, p.items.into_iter().map(|(item, _)| item)))
}

/// What a media playlist says, before it is written.
pub(crate) struct Planned<'a> {
    pub list: List,
    /// Each with the fragment that it is made of.
    pub items: Vec<(Item, &'a Fragment)>,
    /// The configuration at the end.
    pub init: Option<InitHash>,
}

/// The first half of [`media`].
pub(crate) fn plan<'a>(m: &Media<'a>) -> Option<Planned<'a>> {
    let (mut holes, mut hole, mut before) = (0, None, None::<&Fragment>);
    let mut lines: Vec<Line> = Vec::with_capacity(m.fragments.len());
    for f in m.fragments {
        if let Some(b) = before
            && f.entry.ordinal > b.entry.ordinal.saturating_add(1)
            && f.entry.discontinuities == b.entry.discontinuities
            && m.growth != Growth::Sliding
        {
            (holes, hole) = (holes + 1, hole.or(Some(b.end(m.by))));
        }
        before = Some(f);
        let track = f.entry.track(m.track).filter(|t| t.mp4 || m.made);
        if let Some(track) = track.filter(|_| !m.key_only || f.entry.key.is_some()) {
            lines.push(Line { fragment: f, track, holes, hole: hole.take() });
        }
    }
    let begin = lines.iter().position(Line::can_start).unwrap_or(lines.len());
    let lines = lines.get(begin..).unwrap_or_default();
    let first = lines.first()?;
    let longest = lines.iter().map(Line::seconds).fold(0.0, f64::max);
    let target = m.target.max(longest.round() as u32).max(1);
    let independent =
        lines.iter().all(|l| !l.track.video || l.fragment.entry.independent && !l.fragment.entry.open);

    let list = List {
        target,
        sequence: first.track.ordinal,
        discontinuity_sequence: first.fragment.entry.discontinuities + first.holes,
        growth: m.growth,
        independent,
        start: start_offset(m, lines, target),
    };
    let mut init: Option<InitHash> = None;
    let count = |l: &Line| l.fragment.entry.discontinuities + l.holes;
    let mut discontinuities = count(first);
    let items = lines.iter().enumerate().map(|(n, l)| {
        let hole = l.hole.filter(|_| n > 0);
        let before = std::mem::replace(&mut discontinuities, count(l));
        let new = init.replace(l.track.init) != Some(l.track.init);
        let item = Item {
            comment: hole.map(|from| format!("nothing from {} to {}", date(from), date(l.time(m.by)))),
            discontinuities: count(l).saturating_sub(before),
            map: new.then(|| init_uri(m.track, l.track.init)),
            date: Some(l.time(m.by)),
            seconds: l.seconds(),
            uri: format!("{}/{}.m4s", m.track, l.fragment.position()),
        };
        (item, l.fragment)
    });
    let items = items.collect();
    Some(Planned { list, items, init })
}

/// Where a track's initialisation segment is.
pub(crate) fn init_uri(track: u8, init: InitHash) -> String {
    format!("{track}/init-{init}.mp4")
}

/// The head of a media playlist.
#[derive(Clone, Copy, Debug)]
pub struct List {
    /// `EXT-X-TARGETDURATION`
    pub target: u32,
    /// `EXT-X-MEDIA-SEQUENCE`
    pub sequence: u64,
    /// `EXT-X-DISCONTINUITY-SEQUENCE`
    pub discontinuity_sequence: u64,
    /// What may become of it.
    pub growth: Growth,
    /// `EXT-X-INDEPENDENT-SEGMENTS`
    pub independent: bool,
    /// `EXT-X-START`, in seconds from the beginning or, negative, from the end.
    pub start: Option<f64>,
}

/// One segment in a media playlist.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Said before it.
    pub comment: Option<String>,
    /// `EXT-X-DISCONTINUITY` so often.
    pub discontinuities: u64,
    /// Where the initialisation segment is, if it is another one from here on.
    pub map: Option<String>,
    /// `EXT-X-PROGRAM-DATE-TIME`
    pub date: Option<Timestamp>,
    /// `EXTINF`
    pub seconds: f64,
    /// Where it is.
    pub uri: String,
}

/// Writes a media playlist.
pub fn write(list: &List, items: impl Iterator<Item = Item>) -> String {
    let mut out = String::with_capacity(256 + items.size_hint().0 * 112);
    out.push_str("#EXTM3U\n#EXT-X-VERSION:7\n");
    write_head(&mut out, list);
    for i in items {
        write_before(&mut out, &i);
        write_entry(&mut out, &i);
    }
    if matches!(list.growth, Growth::Fixed | Growth::Ended | Growth::Growing(true)) {
        out.push_str("#EXT-X-ENDLIST\n");
    }
    out
}

/// What comes after the version.
pub(crate) fn write_head(out: &mut String, list: &List) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "#EXT-X-TARGETDURATION:{}", list.target);
    let _ = writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{}", list.sequence);
    let _ = writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", list.discontinuity_sequence);
    match list.growth {
        Growth::Sliding | Growth::Ended => {}
        Growth::Growing(_) => out.push_str("#EXT-X-PLAYLIST-TYPE:EVENT\n"),
        Growth::Fixed => out.push_str("#EXT-X-PLAYLIST-TYPE:VOD\n"),
    }
    if list.independent {
        out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    if let Some(offset) = list.start {
        let _ = writeln!(out, "#EXT-X-START:TIME-OFFSET={offset:.3},PRECISE=YES");
    }
}

/// What is said before a segment, and before its parts.
pub(crate) fn write_before(out: &mut String, i: &Item) {
    if let Some(c) = &i.comment {
        let _ = writeln!(out, "# {c}");
    }
    for _ in 0..i.discontinuities {
        out.push_str("#EXT-X-DISCONTINUITY\n");
    }
    if let Some(uri) = &i.map {
        let _ = writeln!(out, "#EXT-X-MAP:URI=\"{uri}\"");
    }
    if let Some(t) = i.date {
        let _ = writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", date(t));
    }
}

/// A segment's own lines.
pub(crate) fn write_entry(out: &mut String, i: &Item) {
    let _ = writeln!(out, "#EXTINF:{:.5},\n{}", i.seconds, i.uri);
}

/// Seconds from the beginning (or, negative, from the end) where playing should begin; none: where a player likes.
fn start_offset(m: &Media, lines: &[Line], target: u32) -> Option<f64> {
    if let Some(at) = m.start {
        let mut before = 0.0;
        for l in lines {
            let (start, seconds) = (l.time(m.by), l.seconds());
            let into = at.since(start).as_secs_f64();
            if into < seconds {
                return Some(before + into);
            }
            before += seconds;
        }
        return None;
    }
    if m.growth != Growth::Sliding || lines.iter().all(Line::can_start) {
        return None;
    }
    // Players begin three target durations before the end; the last entry up to there where decoding can start.
    let mut left: f64 = lines.iter().map(Line::seconds).sum();
    let mut best = None;
    for l in lines {
        if l.can_start() && (best.is_none() || left >= 3.0 * f64::from(target)) {
            best = Some(left);
        }
        left -= l.seconds();
    }
    best.map(|b| -b)
}

/// Milliseconds are what every player's parser takes.
pub(crate) fn date(t: Timestamp) -> String {
    let text = wire::time::format(t);
    match text.find('.') {
        Some(dot) => format!("{}Z", &text[..text.len().min(dot + 4)]),
        None => text,
    }
}
