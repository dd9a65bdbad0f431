//! What a session's token holds.

use access::Gate;
use serde::{Deserialize, Serialize};
use world::{StreamUid, Timestamp};

use crate::{By, Fragment, VideoError, kvs::find};

/// Longer texts are not opened.
const MAX_TOKEN: usize = 2048;

/// Which kind of playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// GetHLSStreamingSessionURL
    Hls,
    /// GetDASHStreamingSessionURL
    Dash,
}

impl Kind {
    /// Tokens of the one are none of the other.
    fn name(self) -> &'static str {
        match self {
            Kind::Hls => "kvs-hls",
            Kind::Dash => "kvs-dash",
        }
    }
}

/// `PlaybackMode`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// The newest fragments, as they come.
    #[serde(rename = "l")]
    Live,
    /// Fragments from a moment on, as their time passes.
    #[serde(rename = "r")]
    LiveReplay,
    /// All of a range at once.
    #[serde(rename = "d")]
    OnDemand,
}

/// `DiscontinuityMode`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cuts {
    /// Between any two fragments.
    #[serde(rename = "a")]
    Always,
    /// Nowhere.
    #[serde(rename = "n")]
    Never,
    /// Where there is more than 50 ms of nothing, or of both.
    #[serde(rename = "o")]
    Where,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The stream's name.
    #[serde(rename = "s")]
    pub stream: String,
    /// Its unique id.
    #[serde(rename = "u")]
    uid: String,
    /// How it goes through time.
    #[serde(rename = "m")]
    pub mode: Mode,
    /// The clock that fragments are chosen by.
    #[serde(rename = "b")]
    pub by: By,
    /// The first moment at which a fragment may begin.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// The last one.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// Fragments in a playlist at most.
    #[serde(rename = "n")]
    pub most: usize,
    /// Where discontinuities are marked.
    #[serde(rename = "d")]
    pub cuts: Cuts,
    /// Fragments' times are shown.
    #[serde(rename = "dt", default)]
    pub times: bool,
    /// Fragments' numbers are shown.
    #[serde(rename = "dn", default)]
    pub numbers: bool,
    /// Segments are MPEG transport streams.
    #[serde(rename = "ts", default)]
    pub transport: bool,
    /// The position before which it has nothing (but for sessions on demand).
    #[serde(rename = "p")]
    pub base: u64,
    /// When what is at that position was received.
    #[serde(rename = "o")]
    pub origin: Timestamp,
    /// When it is there to be played: `availabilityStartTime`.
    #[serde(rename = "a")]
    pub available: Timestamp,
    /// `EXT-X-TARGETDURATION`
    #[serde(rename = "g")]
    pub target: u32,
    /// When it was made.
    #[serde(rename = "c")]
    pub created: Timestamp,
    /// When it ends.
    #[serde(rename = "e")]
    pub expires: Timestamp,
}

impl Session {
    /// One of a stream of which nothing else is said yet.
    pub fn new(stream: &str, uid: StreamUid, mode: Mode, by: By, created: Timestamp) -> Session {
        Session {
            stream: stream.into(),
            uid: uid.to_string(),
            mode,
            by,
            from: None,
            to: None,
            most: 1,
            cuts: Cuts::Never,
            times: false,
            numbers: false,
            transport: false,
            base: 0,
            origin: created,
            available: created,
            target: 1,
            created,
            expires: created,
        }
    }

    /// Whether it is of this stream rather than of an earlier one of the same name.
    pub fn is_of(&self, uid: StreamUid) -> bool {
        self.uid == uid.to_string()
    }

    /// Whether a fragment begins within its range.
    pub fn within(&self, f: &Fragment) -> bool {
        let range = (self.from.unwrap_or(Timestamp::MIN), self.to.unwrap_or(Timestamp::MAX));
        find::within(f, self.by, range)
    }

    /// Whether whoever has the token may have a fragment.
    pub fn shows(&self, f: &Fragment) -> bool {
        self.within(f) && (self.mode == Mode::OnDemand || f.position() >= self.base)
    }

    /// As a text for URLs.
    pub fn seal(&self, gate: &Gate, kind: Kind) -> String {
        // Of strings and numbers: this cannot fail.
        gate.seal_token(kind.name(), &serde_json::to_vec(self).unwrap_or_default())
    }

    /// The inverse of [`Session::seal`]; neither a forged token nor one that has expired opens.
    pub fn open(gate: &Gate, kind: Kind, token: &str, now: Timestamp) -> Result<Session, VideoError> {
        if token.len() > MAX_TOKEN {
            return Err(VideoError::BadToken);
        }
        let plain = gate.open_token(kind.name(), token).map_err(|_| VideoError::BadToken)?;
        let s: Session = serde_json::from_slice(&plain).map_err(|_| VideoError::BadToken)?;
        if now >= s.expires { Err(VideoError::Expired) } else { Ok(s) }
    }
}
