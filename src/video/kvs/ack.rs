//! Acknowledgements of PutMedia (API_dataplane_PutMedia, "Response syntax"): lines of JSON, sent as they become true.

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;

/// Lines that wait for a client that does not read; beyond it the connection ends.
pub const WAITING: usize = 4096;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are the service's own words")]
pub enum Fault {
    StreamReadError,
    MaxFragmentSizeReached,
    MaxFragmentDurationReached,
    MaxConnectionDurationReached,
    FragmentTimecodeLesserThanPrevious,
    InvalidMkvData,
    InvalidProducerTimestamp,
    FragmentMetadataLimitReached,
    TrackNumberMismatch,
    FramesMissingForTrack,
    MoreThanAllowedTracksFound,
    KmsKeyUnavailable,
    StreamDeleted,
    InternalError,
    ArchivalError,
}

impl Fault {
    /// Its number and name.
    pub fn told(self) -> (u16, &'static str) {
        match self {
            Fault::StreamReadError => (4000, "STREAM_READ_ERROR"),
            Fault::MaxFragmentSizeReached => (4001, "MAX_FRAGMENT_SIZE_REACHED"),
            Fault::MaxFragmentDurationReached => (4002, "MAX_FRAGMENT_DURATION_REACHED"),
            Fault::MaxConnectionDurationReached => (4003, "MAX_CONNECTION_DURATION_REACHED"),
            Fault::FragmentTimecodeLesserThanPrevious => (4004, "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS"),
            Fault::InvalidMkvData => (4006, "INVALID_MKV_DATA"),
            Fault::InvalidProducerTimestamp => (4007, "INVALID_PRODUCER_TIMESTAMP"),
            Fault::FragmentMetadataLimitReached => (4009, "FRAGMENT_METADATA_LIMIT_REACHED"),
            Fault::TrackNumberMismatch => (4010, "TRACK_NUMBER_MISMATCH"),
            Fault::FramesMissingForTrack => (4011, "FRAMES_MISSING_FOR_TRACK"),
            Fault::MoreThanAllowedTracksFound => (4012, "MORE_THAN_ALLOWED_TRACKS_FOUND"),
            Fault::KmsKeyUnavailable => (4503, "KMS_KEY_UNAVAILABLE"),
            Fault::StreamDeleted => (4507, "STREAM_DELETED"),
            Fault::InternalError => (5000, "INTERNAL_ERROR"),
            Fault::ArchivalError => (5001, "ARCHIVAL_ERROR"),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line<'a> {
    event_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fragment_timecode: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fragment_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_id: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
}

/// Which fragment is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    /// Its Cluster's time in milliseconds.
    pub timecode: i64,
    /// Its number.
    pub number: String,
}

/// Sends acknowledgements.
#[derive(Clone)]
pub struct Acks {
    to: mpsc::Sender<Bytes>,
    /// The client wants no other lines than errors.
    quiet: bool,
}

impl Acks {
    /// And what is sent.
    pub fn new(quiet: bool) -> (Acks, mpsc::Receiver<Bytes>) {
        let (to, from) = mpsc::channel(WAITING);
        (Acks { to, quiet }, from)
    }

    /// Says what became of a fragment; false if the client does not read.
    pub fn say(&self, event: &str, which: Option<&Which>) -> bool {
        self.quiet || self.line(event, which, None)
    }

    /// Says why it ends.
    pub fn error(&self, fault: Fault, which: Option<&Which>) {
        self.line("ERROR", which, Some(fault));
    }

    fn line(&self, event: &str, which: Option<&Which>, fault: Option<Fault>) -> bool {
        let line = Line {
            event_type: event,
            fragment_timecode: which.map(|w| w.timecode),
            fragment_number: which.map(|w| w.number.as_str()),
            error_id: fault.map(|f| f.told().0),
            error_code: fault.map(|f| f.told().1),
        };
        // Plain values: this cannot fail.
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        match self.to.try_send(text.into()) {
            Ok(()) => true,
            // One that is gone is found out by its body.
            Err(mpsc::error::TrySendError::Closed(_)) => true,
            Err(mpsc::error::TrySendError::Full(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_as_the_sdks_parse_them() {
        let (acks, mut from) = Acks::new(false);
        let w = Which { timecode: 5, number: "9".repeat(47) };
        assert!(acks.say("PERSISTED", Some(&w)) && acks.say("IDLE", None));
        acks.error(Fault::InvalidMkvData, Some(&w));
        let mut next = async || String::from_utf8(from.recv().await.unwrap().to_vec()).unwrap();
        let n = &w.number;
        let want =
            format!("{{\"EventType\":\"PERSISTED\",\"FragmentTimecode\":5,\"FragmentNumber\":\"{n}\"}}\n");
        assert_eq!(next().await, want);
        assert_eq!(next().await, "{\"EventType\":\"IDLE\"}\n");
        let want = format!(
            "{{\"EventType\":\"ERROR\",\"FragmentTimecode\":5,\"FragmentNumber\":\"{n}\",\"ErrorId\":4006,\"ErrorCode\":\"INVALID_MKV_DATA\"}}\n"
        );
        assert_eq!(next().await, want);
        let (acks, mut from) = Acks::new(true);
        acks.say("RECEIVED", Some(&w));
        acks.error(Fault::InternalError, None);
        assert!(from.recv().await.unwrap().starts_with(b"{\"EventType\":\"ERROR\""));
    }

    #[test]
    fn a_client_that_does_not_read_is_noticed() {
        let (acks, _from) = Acks::new(false);
        assert!((0..WAITING).all(|_| acks.say("IDLE", None)));
        assert!(!acks.say("IDLE", None));
    }
}
