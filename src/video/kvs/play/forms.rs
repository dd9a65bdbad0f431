//! What a session's tracks go out as: as they are, or, of sound that its container has no form for, as AAC that is made when
//! it is asked for. A session of the service cannot ask: it has what plays.

use std::collections::HashMap;

use media::{Codec, Track};

use super::{session::Session, window::Shown};
use crate::{
    Audio, VideoError,
    index::{InitHash, TrackEntry},
    kvs::Kvs,
    mp4,
    sound::{self, Made},
    streams::Stream,
};

/// Configurations whose fragments' entries say that MP4 has no form for them, and that play all the same: as sound that is
/// made, or because there is a form now.
#[derive(Default)]
pub(super) struct Forms(HashMap<InitHash, Option<Made>>);

impl Forms {
    /// Whether a fragment's track has a segment.
    pub fn plays(&self, t: &TrackEntry) -> bool {
        t.mp4 || self.0.contains_key(&t.init)
    }

    /// Its timescale, and when its segment begins and how long it lasts in that.
    pub fn times(&self, t: &TrackEntry) -> (u32, i64, u64) {
        match self.0.get(&t.init) {
            Some(Some(made)) => {
                let (first, lasts) = made.times(t);
                (made.track.timescale, first, lasts)
            }
            _ => (t.timescale, t.first_dts, t.duration),
        }
    }
}

impl Kvs {
    /// What becomes of sound: transport streams have AAC alone, MP4 has Opus as well. Nothing where nobody encodes.
    pub(super) fn audio(&self, transport: bool) -> Audio {
        match (self.video.stills.is_some(), transport) {
            (false, _) => Audio::AsIs,
            (true, true) => Audio::Aac,
            (true, false) => Audio::AacOrOpus,
        }
    }

    /// The forms of what a session shows.
    pub(super) async fn forms(
        &self,
        session: &Session,
        stream: &Stream,
        shown: &Shown,
    ) -> Result<Forms, VideoError> {
        let (v, audio) = (&self.video, self.audio(session.transport));
        let mut known = HashMap::new();
        for f in &shown.items {
            for t in f.entry.tracks.iter().filter(|t| !t.mp4) {
                if known.contains_key(&t.init) {
                    continue;
                }
                let track = v.tables.track(&v.log, stream, f, t.init).await?;
                let form = track.and_then(|track| match sound::made(&track, audio) {
                    None => mp4::carries(&track).then_some(None),
                    made => Some(made),
                });
                known.insert(t.init, form);
            }
        }
        Ok(Forms(known.into_iter().filter_map(|(init, form)| Some((init, form?))).collect()))
    }

    /// Why a track is left out of a session, and what would do instead.
    pub(super) fn why_not(&self, track: &Track, transport: bool) -> String {
        let what = format!("track {} ({}) is left out", track.id, media::codec_name(track));
        let file = "GetMedia and GetMediaForFragmentList give it as it is";
        if transport && mp4::carries(track) {
            return format!(
                "{what}: MPEG transport streams have no form for it; FRAGMENTED_MP4 and MPEG-DASH have"
            );
        }
        if track.codec == Codec::VP8 {
            return format!(
                "{what}: players play VP8 by WebRTC alone: watch it live by WHEP, or have a file by GetClip; {file}"
            );
        }
        if self.video.stills.is_none() && sound::made(track, Audio::Aac).is_some() {
            return format!(
                "{what}: this server was built without FFmpeg, which would make AAC of it; {file}"
            );
        }
        format!("{what}: it cannot be played; {file}")
    }
}
