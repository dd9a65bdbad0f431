//! A checker of playlists: what RFC 8216 asks of a media playlist, and of one that follows another.

use std::collections::HashMap;

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub uri: String,
    pub seconds: f64,
    pub sequence: u64,
    pub discontinuity: u64,
    pub map: String,
    pub date: Option<i64>,
    /// It cannot be had.
    pub gap: bool,
}

/// A media playlist.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Playlist {
    pub target: u64,
    pub kind: Option<String>,
    pub ended: bool,
    pub independent: bool,
    pub start: Option<f64>,
    /// Partial segments of all of them, and of the one that is being made.
    pub parts: usize,
    pub entries: Vec<Entry>,
}

/// Parses, and panics where a **must** is broken (§4.3, §6.2).
pub fn media(text: &str) -> Playlist {
    let mut p = Playlist::default();
    let mut seen: HashMap<&str, u32> = HashMap::new();
    let (mut sequence, mut discontinuity) = (0, 0);
    let (mut seconds, mut map, mut date) = (None, None, None);
    let (mut broken, mut whole, mut gap) = (false, 0, false);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("#EXTM3U"));
    for line in lines {
        assert!(!line.is_empty() && line.trim() == line, "{line:?}");
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        if line.starts_with('#') {
            *seen.entry(tag).or_default() += 1;
        }
        match tag {
            "#EXT-X-VERSION" => assert!(matches!(value, "7" | "9")),
            "#EXT-X-TARGETDURATION" => p.target = value.parse().unwrap(),
            "#EXT-X-MEDIA-SEQUENCE" | "#EXT-X-DISCONTINUITY-SEQUENCE" => {
                assert!(p.entries.is_empty() && seconds.is_none() && !broken, "{tag} after the first entry");
                let n = value.parse().unwrap();
                if tag == "#EXT-X-MEDIA-SEQUENCE" { sequence = n } else { discontinuity = n }
            }
            "#EXT-X-PLAYLIST-TYPE" => p.kind = Some(value.into()),
            "#EXT-X-INDEPENDENT-SEGMENTS" => p.independent = true,
            "#EXT-X-START" => {
                let offset = value.strip_prefix("TIME-OFFSET=").unwrap().split(',').next().unwrap();
                p.start = Some(offset.parse().unwrap());
            }
            "#EXT-X-MAP" => {
                map = Some(value.strip_prefix("URI=\"").unwrap().strip_suffix('"').unwrap().to_owned())
            }
            "#EXT-X-DISCONTINUITY" => {
                discontinuity += 1;
                broken = true;
            }
            "#EXT-X-PROGRAM-DATE-TIME" => date = Some(wire::time::parse(value).unwrap().millis()),
            "#EXTINF" => seconds = Some(value.strip_suffix(',').unwrap().parse::<f64>().unwrap()),
            "#EXT-X-GAP" => gap = true,
            "#EXT-X-ENDLIST" => p.ended = true,
            "#EXT-X-SERVER-CONTROL"
            | "#EXT-X-PART-INF"
            | "#EXT-X-RENDITION-REPORT"
            | "#EXT-X-PRELOAD-HINT" => {}
            "#EXT-X-PART" => p.parts += 1,
            _ if line.starts_with("# ") => {}
            _ if line.starts_with('#') => panic!("an unknown tag: {line}"),
            uri => {
                let seconds = seconds.take().expect("EXTINF before each URI");
                assert!(seconds > 0.0 && seconds.round() as u64 <= p.target, "{seconds} > {}", p.target);
                let map = map.clone().expect("EXT-X-MAP before the first entry");
                let date = date.take();
                p.entries.push(Entry { uri: uri.into(), seconds, sequence, discontinuity, map, date, gap });
                sequence += 1;
                (broken, whole, gap) = (false, p.parts, false);
            }
        }
    }
    assert!(seconds.is_none() && !gap && (!broken || p.parts > whole), "tags after the last entry");
    for once in
        ["#EXT-X-VERSION", "#EXT-X-TARGETDURATION", "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-DISCONTINUITY-SEQUENCE"]
    {
        assert_eq!(seen.get(once), Some(&1), "{once}");
    }
    for most in ["#EXT-X-PLAYLIST-TYPE", "#EXT-X-INDEPENDENT-SEGMENTS", "#EXT-X-START", "#EXT-X-ENDLIST"] {
        assert!(seen.get(most).is_none_or(|n| *n == 1), "{most}");
    }
    let total: f64 = p.entries.iter().map(|e| e.seconds).sum();
    assert!(p.start.is_none_or(|s| s.abs() <= total), "EXT-X-START beyond the playlist");
    assert_eq!(p.kind.as_deref() == Some("VOD"), p.ended && p.kind.as_deref() != Some("EVENT"));
    p
}

/// Holds a later version of a playlist to an earlier one (§6.2.1, §6.2.2): the same entry has the same number, and
/// nothing else goes away than from the beginning, where anything may; but for what is lost, which leaves a gap.
pub fn follows(before: &Playlist, after: &Playlist) {
    assert_eq!(before.kind, after.kind);
    let first = after.entries.first().unwrap().sequence;
    assert!(first >= before.entries.first().unwrap().sequence, "the media sequence went back");
    for e in before.entries.iter().filter(|e| e.sequence >= first) {
        let same = after.entries.iter().find(|a| a.sequence == e.sequence);
        if let Some(gap) = same.filter(|a| a.gap && !e.gap) {
            let off = gap.date.unwrap_or_default() - e.date.unwrap_or_default();
            assert!(off.abs() <= after.target as i64 * 1000, "a gap elsewhere: {gap:?} for {e:?}");
            continue;
        }
        // One that was lost may be found again.
        assert!(e.gap && same.is_some() || Some(e) == same, "an entry changed or vanished: {e:?}, {same:?}");
    }
    if before.kind.as_deref() == Some("EVENT") {
        assert_eq!(first, before.entries[0].sequence, "an event lost its beginning");
    }
}
