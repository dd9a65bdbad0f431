//! Multivariant playlists (RFC 8216 §4.3.4): which tracks there are.

use std::{fmt::Write, sync::Arc};

use media::{Kind, Track};

/// One track to choose.
#[derive(Clone, Debug)]
pub struct Rendition {
    /// The track.
    pub track: Arc<Track>,
    /// Bits a second of its densest segment.
    pub peak: u64,
    /// Bits a second over all.
    pub average: u64,
    /// Pictures a second.
    pub fps: Option<f64>,
}

/// What is added for the boxes around each segment's samples (bits a second).
const OVERHEAD: u64 = 4_000;

/// Renders one: a variant for each track of video, with the sound beside it; or, without video, one for each track of
/// sound. What is left out is said in comments; `uri` says where a track's playlist is. `None` without a track.
pub fn multivariant(all: &[Rendition], left_out: &[String], uri: impl Fn(u8) -> String) -> Option<String> {
    let (video, audio): (Vec<_>, Vec<_>) =
        all.iter().partition(|r| matches!(r.track.kind, Kind::Video { .. }));
    let mut out = String::from("#EXTM3U\n#EXT-X-VERSION:7\n");
    for l in left_out {
        let _ = writeln!(out, "# {l}");
    }
    let grouped: &[&Rendition] = if video.is_empty() { &[] } else { &audio };
    for (i, r) in grouped.iter().enumerate() {
        let Kind::Audio { channels, .. } = r.track.kind else { continue };
        let _ = writeln!(
            out,
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"{} {}\",DEFAULT={},AUTOSELECT=YES,CHANNELS=\"{}\",\
             URI=\"{}\"",
            media::codec_name(&r.track),
            r.track.id,
            if i == 0 { "YES" } else { "NO" },
            channels.max(1),
            uri(r.track.id)
        );
    }
    for r in if video.is_empty() { &audio } else { &video } {
        // A variant's rate is that of its densest combination of renditions.
        let with = grouped.iter().max_by_key(|a| a.peak);
        let peak = r.peak + with.map_or(0, |a| a.peak + OVERHEAD) + OVERHEAD;
        let average = r.average + with.map_or(0, |a| a.average + OVERHEAD) + OVERHEAD;
        let mut codecs = vec![media::codec_string(&r.track)];
        for c in grouped.iter().map(|a| media::codec_string(&a.track)) {
            if !codecs.contains(&c) {
                codecs.push(c);
            }
        }
        let _ = write!(
            out,
            "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\"",
            peak.max(average),
            average,
            codecs.join(",")
        );
        if let Kind::Video { width: width @ 1.., height: height @ 1.. } = r.track.kind {
            let _ = write!(out, ",RESOLUTION={width}x{height}");
        }
        if let Some(fps) = r.fps.filter(|f| f.is_finite() && *f > 0.0) {
            let _ = write!(out, ",FRAME-RATE={fps:.3}");
        }
        if !grouped.is_empty() {
            out.push_str(",AUDIO=\"audio\"");
        }
        let _ = writeln!(out, "\n{}", uri(r.track.id));
    }
    (!all.is_empty()).then_some(out)
}
