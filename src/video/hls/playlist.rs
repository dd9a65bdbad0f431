//! Media playlists (RFC 8216 §4.3.3), rendered from index entries.

use std::{fmt::Write, sync::Arc, time::Duration};

use world::Timestamp;

use crate::{
    index::{InitHash, TrackEntry},
    store::{By, Fragment},
};

/// Holes of more entries than this together are not told one by one: the playlist begins behind the one that is too much.
const MOST_GAPS: u64 = 10_000;
/// What an entry that is not there lasts at least, in seconds.
const LEAST_GAP: f64 = 0.001;

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
    /// Numbers before it that name no entry, and since when there is none.
    lost: Option<(u64, Timestamp)>,
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
    /// What stands for the numbers before it that name no entry, and how long that lasts.
    fn gap(&self, by: By, target: u32) -> Option<Gap> {
        let (count, from) = self.lost?;
        Some(Gap::new(count, from, self.time(by), target))
    }
    /// How long it lasts, with the gap before it.
    fn with_gap(&self, by: By, target: u32) -> f64 {
        self.seconds() + self.gap(by, target).map_or(0.0, |g| g.count as f64 * g.seconds)
    }
}

/// Entries that are not there any more: each keeps its number, so that what follows keeps its own, and says
/// `EXT-X-GAP` (RFC 8216bis §4.4.4.7).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    pub count: u64,
    from: Timestamp,
    /// How long one lasts: what the hole lasts is divided among them, as far as the target duration allows.
    pub seconds: f64,
}

impl Gap {
    /// So many, from the end of the entry before to the beginning of the one after.
    pub fn new(count: u64, from: Timestamp, to: Timestamp, target: u32) -> Gap {
        let each = to.since(from).as_secs_f64() / count.max(1) as f64;
        Gap { count, from, seconds: each.clamp(LEAST_GAP, f64::from(target)) }
    }

    /// Their entries; `uri` of each, counted from 0 on, leads nowhere.
    pub fn items(self, uri: impl Fn(u64) -> String) -> impl Iterator<Item = Item> {
        (0..self.count).map(move |n| Item {
            gap: true,
            date: Some(self.from + Duration::from_secs_f64(self.seconds * n as f64)),
            seconds: self.seconds,
            uri: uri(n),
            ..Item::default()
        })
    }
}

/// Renders one. `None` without a single entry.
///
/// * Fragments in which the track has no samples have no entry; ordinals are the track's own, so they stay dense.
/// * Video entries at the beginning at which decoding cannot start are left out; where there are more of them near
///   the end of a sliding playlist, `EXT-X-START` points before them, so that no player starts there.
/// * Where several discontinuities lie between two entries, as many tags do, so that the counts of all tracks agree.
/// * Where fragments are missing in between (lost, or removed around something pinned) a comment says from when to when. In
///   a playlist that never changes what follows continues nothing. In one that does, where a media sequence number must not
///   come to name another segment, each that is missing keeps its own: `EXT-X-GAP`.
pub fn media(m: &Media) -> Option<String> {
    let p = plan(m)?;
    Some(write(&p.list, p.items.into_iter().map(|(item, _)| item)))
}

/// What a media playlist says, before it is written.
pub(crate) struct Planned<'a> {
    pub list: List,
    /// Each with the fragment that it is made of; without one, one that is not there any more.
    pub items: Vec<(Item, Option<&'a Fragment>)>,
    /// The configuration at the end.
    pub init: Option<InitHash>,
}

/// The first half of [`media`].
pub(crate) fn plan<'a>(m: &Media<'a>) -> Option<Planned<'a>> {
    let fixed = m.growth == Growth::Fixed;
    let (mut holes, mut hole, mut before) = (0, None, None::<&Fragment>);
    let mut lines: Vec<Line> = Vec::with_capacity(m.fragments.len());
    for f in m.fragments {
        if let Some(b) = before
            && f.entry.ordinal > b.entry.ordinal.saturating_add(1)
            && f.entry.discontinuities == b.entry.discontinuities
            && fixed
        {
            (holes, hole) = (holes + 1, hole.or(Some(b.end(m.by))));
        }
        before = Some(f);
        let track = f.entry.track(m.track).filter(|t| t.mp4 || m.made);
        if let Some(track) = track.filter(|_| !m.key_only || f.entry.key.is_some()) {
            let lost = lines.last().filter(|_| !fixed).and_then(|b| {
                let lost = track.ordinal.saturating_sub(b.track.ordinal.saturating_add(1));
                (lost > 0).then(|| (lost, b.time(m.by) + Duration::from_secs_f64(b.seconds())))
            });
            lines.push(Line { fragment: f, track, holes, hole: hole.take(), lost });
        }
    }
    let mut told = 0u64;
    let too_many = |l: &Line| {
        told = told.saturating_add(l.lost.map_or(0, |(n, _)| n));
        told > MOST_GAPS
    };
    let after = lines.iter().rposition(too_many).unwrap_or(0);
    let begin = lines.iter().skip(after).position(Line::can_start).map_or(lines.len(), |n| after + n);
    if let Some(l) = lines.get_mut(begin) {
        l.lost = None;
    }
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
    let mut items = Vec::with_capacity(lines.len());
    for (n, l) in lines.iter().enumerate() {
        let told = |from: Timestamp| format!("nothing from {} to {}", date(from), date(l.time(m.by)));
        if let Some(gap) = l.gap(m.by, target) {
            let (from, first) = (gap.from, l.track.ordinal - gap.count);
            let entries = gap.items(|n| format!("{}/gap-{}.m4s", m.track, first + n));
            items.extend(entries.enumerate().map(|(n, item)| {
                // Of key frames alone what has none is left out, and is there.
                let comment = (n == 0 && !m.key_only).then(|| told(from));
                (Item { comment, ..item }, None)
            }));
        }
        let hole = l.hole.filter(|_| n > 0);
        let before = std::mem::replace(&mut discontinuities, count(l));
        let new = init.replace(l.track.init) != Some(l.track.init);
        let item = Item {
            comment: hole.map(told),
            discontinuities: count(l).saturating_sub(before),
            map: new.then(|| init_uri(m.track, l.track.init)),
            date: Some(l.time(m.by)),
            seconds: l.seconds(),
            gap: false,
            uri: format!("{}/{}.m4s", m.track, l.fragment.position()),
        };
        items.push((item, Some(l.fragment)));
    }
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
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// `EXT-X-GAP`: it cannot be had.
    pub gap: bool,
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
    let gap = if i.gap { "#EXT-X-GAP\n" } else { "" };
    let _ = writeln!(out, "#EXTINF:{:.5},\n{gap}{}", i.seconds, i.uri);
}

/// Seconds from the beginning (or, negative, from the end) where playing should begin; none: where a player likes.
fn start_offset(m: &Media, lines: &[Line], target: u32) -> Option<f64> {
    if let Some(at) = m.start {
        let mut before = 0.0;
        for l in lines {
            let (start, seconds) = (l.time(m.by), l.seconds());
            let into = at.since(start).as_secs_f64();
            let gap = l.with_gap(m.by, target) - seconds;
            if into < seconds {
                return Some(before + gap + into);
            }
            before += gap + seconds;
        }
        return None;
    }
    if m.growth != Growth::Sliding || lines.iter().all(Line::can_start) {
        return None;
    }
    // Players begin three target durations before the end; the last entry up to there where decoding can start.
    let mut left: f64 = lines.iter().map(|l| l.with_gap(m.by, target)).sum();
    let mut best = None;
    for l in lines {
        left -= l.with_gap(m.by, target) - l.seconds();
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

#[cfg(test)]
mod tests {
    use log::Payload;
    use world::{ShardId, StreamUid};

    use super::*;
    use crate::index::Entry;

    const NOON: Timestamp = Timestamp(1_777_636_800_000_000);

    /// A fragment of two seconds: its ordinal, which is its position, and when it begins.
    fn fragment((ordinal, seconds): (u64, u64)) -> Arc<Fragment> {
        let (at, two) = (NOON + Duration::from_secs(seconds), Duration::from_secs(2));
        let track = TrackEntry::picture(at, 2000, ordinal);
        let payload = Payload {
            shard: ShardId { stream: StreamUid([1; 16]), shard: 0 },
            position: ordinal,
            arrival: at + two,
            producer: (at, at + two),
            len: 1,
            index: Default::default(),
            place: Default::default(),
        };
        let entry = Entry { independent: true, tracks: vec![track], ordinal, ..Entry::default() };
        Arc::new(Fragment { payload, entry })
    }

    fn of(growth: Growth, all: &[(u64, u64)]) -> String {
        let fragments: Vec<_> = all.iter().map(|f| fragment(*f)).collect();
        let (track, target, by, key_only, made, start) = (1, 2, By::Producer, false, false, None);
        media(&Media { fragments: &fragments, track, growth, target, by, key_only, made, start })
            .expect("entries")
    }

    fn entries(text: &str) -> Vec<&str> {
        text.lines().filter(|l| !l.starts_with('#')).collect()
    }

    #[test]
    fn what_is_missing_keeps_its_number_where_a_playlist_changes() {
        let all = [(3, 0), (4, 2), (7, 7), (8, 9)];
        for growth in [Growth::Sliding, Growth::Growing(false), Growth::Ended] {
            let text = of(growth, &all);
            assert!(
                text.contains("#EXT-X-MEDIA-SEQUENCE:3\n") && !text.contains("#EXT-X-DISCONTINUITY\n"),
                "{text}"
            );
            assert_eq!(
                entries(&text),
                ["1/3.m4s", "1/4.m4s", "1/gap-5.m4s", "1/gap-6.m4s", "1/7.m4s", "1/8.m4s"]
            );
            // Three seconds for two; the first is told.
            let first = "# nothing from 2026-05-01T12:00:04.000Z to 2026-05-01T12:00:07.000Z\n\
                         #EXT-X-PROGRAM-DATE-TIME:2026-05-01T12:00:04.000Z\n#EXTINF:1.50000,\n#EXT-X-GAP\n1/gap-5.m4s\n\
                         #EXT-X-PROGRAM-DATE-TIME:2026-05-01T12:00:05.500Z\n#EXTINF:1.50000,\n#EXT-X-GAP\n1/gap-6.m4s\n";
            assert!(text.contains(first), "{text}");
        }
        let text = of(Growth::Fixed, &all);
        assert!(!text.contains("GAP") && text.matches("#EXT-X-DISCONTINUITY\n").count() == 1, "{text}");
        assert_eq!(entries(&text).len(), 4);
    }

    #[test]
    fn what_is_left_out_of_key_frames_alone_is_not_said_to_be_missing() {
        let mut fragments: Vec<_> = [(3, 0), (4, 2), (5, 4)].map(fragment).into();
        for n in [0, 2] {
            let f = Arc::get_mut(&mut fragments[n]).expect("nobody else has it");
            f.entry.key = Some(crate::index::Key { offset: 0, len: 1 });
        }
        let (track, target, by, key_only, made, start) = (1, 2, By::Producer, true, false, None);
        let growth = Growth::Sliding;
        let text = media(&Media { fragments: &fragments, track, growth, target, by, key_only, made, start })
            .expect("entries");
        assert_eq!(entries(&text), ["1/3.m4s", "1/gap-4.m4s", "1/5.m4s"]);
        assert!(text.contains("#EXT-X-GAP\n") && !text.contains("# nothing"), "{text}");
    }

    #[test]
    fn a_gap_is_no_longer_than_an_entry_may_be_and_a_wide_hole_begins_anew() {
        let text = of(Growth::Sliding, &[(3, 0), (5, 100)]);
        assert!(text.contains("#EXTINF:2.00000,\n#EXT-X-GAP\n"), "{text}");
        // By a clock that went back.
        let text = of(Growth::Sliding, &[(3, 50), (5, 0)]);
        assert!(text.contains("#EXTINF:0.00100,\n#EXT-X-GAP\n"), "{text}");
        let text = of(Growth::Sliding, &[(3, 0), (5, 4), (5 + MOST_GAPS + 2, 90_000)]);
        assert!(text.contains(&format!("#EXT-X-MEDIA-SEQUENCE:{}\n", 5 + MOST_GAPS + 2)), "{text}");
        assert!(entries(&text).len() == 1 && !text.contains("GAP") && !text.contains("# nothing"), "{text}");
        let text = of(Growth::Sliding, &[(3, 0), (3 + MOST_GAPS + 1, 90_000)]);
        assert_eq!(entries(&text).len() as u64, MOST_GAPS + 2);
        // Several holes, each of which is narrow enough.
        let half = MOST_GAPS / 2;
        let text = of(
            Growth::Sliding,
            &[(0, 0), (1 + half, 20_000), (2 + 2 * half, 40_000), (4 + 2 * half, 60_000)],
        );
        assert!(text.contains(&format!("#EXT-X-MEDIA-SEQUENCE:{}\n", 1 + half)), "{text}");
        assert_eq!(entries(&text).len() as u64, half + 4);
    }
}
