//! Tracks as the `/v1` API shows them.

use media::{Kind, Track};
use serde::Serialize;

use crate::mp4;

/// A track, for people and players (`Track` in `docs/api.md`).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrackView {
    /// Its id.
    pub id: u8,
    /// `video` or `audio`.
    pub kind: &'static str,
    /// RFC 6381, such as `avc1.64001f`.
    pub codec: String,
    /// Such as `H.264`.
    pub codec_name: String,
    /// What to ask `MediaSource.isTypeSupported` about; none where MP4 has no form for it.
    pub mime: Option<String>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u16>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u16>,
    /// Pictures a second, as measured, else as declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
    /// Samples a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
}

impl TrackView {
    /// Describes a track; `fps` if it was measured.
    pub fn new(track: &Track, fps: Option<f64>) -> TrackView {
        let codec = media::codec_string(track);
        let (kind, mime) = match track.kind {
            Kind::Video { .. } => ("video", "video/mp4"),
            Kind::Audio { .. } => ("audio", "audio/mp4"),
        };
        let mut view = TrackView {
            id: track.id,
            kind,
            mime: mp4::carries(track).then(|| format!("{mime}; codecs=\"{codec}\"")),
            codec,
            codec_name: media::codec_name(track).to_owned(),
            width: None,
            height: None,
            fps: None,
            rate: None,
            channels: None,
        };
        match track.kind {
            Kind::Video { width, height } => {
                (view.width, view.height) = (Some(width), Some(height));
                let declared = || media::frame_rate(track).map(|(n, d)| f64::from(n) / f64::from(d.max(1)));
                view.fps = fps.or_else(declared).map(|f| (f * 100.0).round() / 100.0);
            }
            Kind::Audio { rate, channels } => (view.rate, view.channels) = (Some(rate), Some(channels)),
        }
        view
    }
}
