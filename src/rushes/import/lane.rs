//! One track on its way out of a file.

use std::sync::Arc;

use media::{Codec, Framing, RandomAccess, Track, h264, h265};

/// Parameter sets that came in the stream itself.
enum Sets {
    H264(h264::ParameterSets),
    H265(h265::ParameterSets),
    None,
}

/// A track with the configuration that it has by now.
pub struct Lane {
    pub track: Arc<Track>,
    sets: Sets,
    /// Which of the file's descriptions it was last given.
    description: usize,
}

impl Lane {
    pub fn new(track: Track) -> Lane {
        Lane { sets: sets(&track), track: Arc::new(track), description: 0 }
    }

    /// From here on the file describes it thus. What parameter sets in the stream said holds until the description
    /// changes. True if it is something else now.
    pub fn describe(&mut self, track: &Track, description: usize) -> bool {
        if std::mem::replace(&mut self.description, description) == description {
            return false;
        }
        let changed = *self.track != *track;
        *self = Lane { description, ..Lane::new(track.clone()) };
        changed
    }

    /// Looks at a payload: whether decoding can start there (`sync`: as the file says, for what cannot be seen), and
    /// whether it brought along another configuration.
    pub fn look(&mut self, data: &[u8], sync: bool) -> (RandomAccess, bool) {
        let access = match media::random_access(&self.track, data) {
            RandomAccess::None if sync && self.starts(data) => RandomAccess::Recovery,
            seen => seen,
        };
        let mut changed = false;
        let units = media::nals(self.track.framing, data).map_while(Result::ok);
        let made = match &mut self.sets {
            Sets::H264(s) => {
                units.for_each(|n| changed |= s.update(n));
                if changed { s.track(self.track.id) } else { None }
            }
            Sets::H265(s) => {
                units.for_each(|n| changed |= s.update(n));
                if changed { s.track(self.track.id) } else { None }
            }
            Sets::None => None,
        };
        if let Some(new) = media::refined(&self.track, data) {
            self.track = Arc::new(new);
            return (access, true);
        }
        let Some(Ok(made)) = made else { return (access, false) };
        let mut config = made.config.to_vec();
        // The length size of what is stored, where configurations say it.
        let at = if self.track.codec == Codec::H264 { 4 } else { 21 };
        if let (Framing::Length(n), Some(b)) = (self.track.framing, config.get_mut(at)) {
            *b = (*b & !3) | (n.clamp(1, 4) - 1);
        }
        let new = Track { config: config.into(), kind: made.kind, ..(*self.track).clone() };
        let changed = new != *self.track;
        self.track = Arc::new(new);
        (access, changed)
    }
}

impl Lane {
    /// Of a picture that only the file calls a start: whether it can be one. Encoders that refresh gradually call the
    /// beginning of each refresh so, and say how many pictures it takes.
    fn starts(&self, data: &[u8]) -> bool {
        let mut units = media::nals(self.track.framing, data).map_while(Result::ok);
        !match self.track.codec {
            Codec::H264 => units.any(|n| {
                h264::nal_type(n) == h264::SEI && h264::recovery_frame_count(n).is_some_and(|n| n > 0)
            }),
            Codec::H265 => units.any(|n| h265::recovery_poc_count(n).is_some_and(|n| n != 0)),
            // Of these what begins can be seen.
            Codec::VP8 | Codec::VP9 | Codec::AV1 => true,
            _ => false,
        }
    }
}

fn sets(track: &Track) -> Sets {
    match track.codec {
        Codec::H264 => Sets::H264(h264::ParameterSets::from_config(&track.config).unwrap_or_default()),
        Codec::H265 => Sets::H265(h265::ParameterSets::from_config(&track.config).unwrap_or_default()),
        _ => Sets::None,
    }
}
