//! What a playback session is: all of it is in its token, sealed by the gate, so no node keeps a table of sessions.

use std::time::Duration;

use access::Gate;
use serde::{Deserialize, Serialize};
use world::{StreamUid, Timestamp};

use crate::{Audio, VideoError, store::By};

const KIND: &str = "hls";
/// Longer texts are not opened.
const MAX_TOKEN: usize = 2048;

/// How a session moves through time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// A window at the live edge; with a start, a window that begins there and joins live.
    Live,
    /// From a start on, growing, nothing removed.
    Event,
    /// From a start to an end.
    OnDemand,
}

/// What of each fragment is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Frames {
    /// Everything.
    #[default]
    All,
    /// Key frames of video, each as long as its fragment: for playing fast.
    Key,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The stream's name.
    #[serde(rename = "n")]
    pub stream: String,
    /// Its unique id: a stream made anew under the name is another.
    #[serde(rename = "u")]
    uid: String,
    /// How it moves through time.
    #[serde(rename = "m")]
    pub mode: Mode,
    /// Start; none: the live window.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// End.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// The clock that start, end and programme date-times are of.
    #[serde(rename = "b")]
    pub by: By,
    /// What of each fragment.
    #[serde(rename = "k")]
    pub frames: Frames,
    /// What is changed of its sound.
    #[serde(rename = "a", default)]
    pub audio: Audio,
    /// When it was made.
    #[serde(rename = "c")]
    pub created: Timestamp,
    /// When it ends.
    #[serde(rename = "e")]
    pub expires: Timestamp,
    /// `EXT-X-TARGETDURATION` in seconds: constant in a session.
    #[serde(rename = "d")]
    pub target: u32,
}

impl Session {
    /// A session of a stream; everything else is set afterwards.
    pub fn new(stream: &str, uid: StreamUid, mode: Mode, created: Timestamp, lasts: Duration) -> Session {
        Session {
            stream: stream.into(),
            uid: uid.to_string(),
            mode,
            from: None,
            to: None,
            by: By::default(),
            frames: Frames::default(),
            audio: Audio::default(),
            created,
            expires: created + lasts,
            target: 1,
        }
    }

    /// Whether it is of this stream rather than of an earlier one of the same name.
    pub fn is_of(&self, uid: StreamUid) -> bool {
        self.uid == uid.to_string()
    }

    /// As a text for URLs.
    pub fn seal(&self, gate: &Gate) -> String {
        // Of strings and numbers: this cannot fail.
        gate.seal_token(KIND, &serde_json::to_vec(self).unwrap_or_default())
    }

    /// The inverse of [`Session::seal`]; neither a forged token nor one that has expired opens.
    pub fn open(gate: &Gate, token: &str, now: Timestamp) -> Result<Session, VideoError> {
        if token.len() > MAX_TOKEN {
            return Err(VideoError::BadToken);
        }
        let plain = gate.open_token(KIND, token).map_err(|_| VideoError::BadToken)?;
        let s: Session = serde_json::from_slice(&plain).map_err(|_| VideoError::BadToken)?;
        if now >= s.expires {
            return Err(VideoError::Expired);
        }
        Ok(s)
    }
}
