//! What can go wrong with a camera, in words for its owner.

use std::time::Duration;

/// What kind of trouble; it decides how soon the camera is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The camera refused the user name or password, or wants one.
    WrongCredentials,
    /// Nothing at that address: no route, refused, no such host.
    Unreachable,
    /// Nobody answered in time.
    TimedOut,
    /// The camera is there, what the URL names is not.
    NoSuchPath,
    /// Nothing that it sends can be received.
    UnsupportedCodec,
    /// Whatever answers, it is not RTSP.
    NotRtsp,
    /// It does not want the transport that was asked for.
    TransportRefused,
    /// What was received stopped coming.
    Stalled,
    /// The connection ended.
    Closed,
    /// This server could not take what came.
    Sink,
    /// It is set up in a way that cannot work here.
    Setup,
    /// Anything else.
    Other,
}

/// Why a camera is not received. The message never holds credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Trouble {
    /// The kind.
    pub kind: Kind,
    /// For people.
    pub message: String,
    /// Whether it may pass without anybody changing something.
    pub may_pass: bool,
}

impl Trouble {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Trouble {
        let rejected =
            matches!(kind, Kind::WrongCredentials | Kind::NoSuchPath | Kind::UnsupportedCodec | Kind::Setup);
        Trouble { kind, message: message.into(), may_pass: !rejected }
    }

    pub(crate) fn timed_out(after: Duration) -> Trouble {
        Trouble::new(Kind::TimedOut, format!("no answer for {} s", after.as_secs()))
    }

    /// The code that the API gives for it.
    pub fn code(&self) -> &'static str {
        match self.kind {
            Kind::WrongCredentials => "WrongCredentials",
            Kind::Unreachable => "Unreachable",
            Kind::TimedOut | Kind::Stalled => "TimedOut",
            Kind::NoSuchPath => "NoSuchPath",
            Kind::UnsupportedCodec => "UnsupportedCodec",
            Kind::NotRtsp => "NotRtsp",
            Kind::TransportRefused | Kind::Closed | Kind::Sink | Kind::Setup | Kind::Other => "Failed",
        }
    }

    /// From an RTSP status code (RFC 2326 §11). `had_credentials`: whether any were sent.
    pub(crate) fn status(code: u16, had_credentials: bool) -> Trouble {
        let (kind, message) = match code {
            401 | 407 if had_credentials => {
                (Kind::WrongCredentials, "the camera refused the user name or password".into())
            }
            401 | 407 => (Kind::WrongCredentials, "the camera asks for a user name and password".into()),
            403 => (Kind::WrongCredentials, "the camera does not allow this user to see it (403)".into()),
            404 | 410 => (Kind::NoSuchPath, format!("the camera has nothing at this path ({code})")),
            461 => (Kind::TransportRefused, "the camera refused this transport (461)".into()),
            453 => (Kind::Other, "the camera has no bandwidth left for another viewer (453)".into()),
            503 => (Kind::Other, "the camera is busy (503)".into()),
            c => (Kind::Other, format!("the camera answered with status {c}")),
        };
        Trouble::new(kind, message)
    }

    /// From the text of a network error: libraries give no more.
    pub(crate) fn network(text: &str) -> Trouble {
        let text = text.split("\n\n").next().unwrap_or(text).trim();
        let has = |s: &str| text.contains(s);
        let (kind, message) = if has("Failed to connect") {
            (Kind::Unreachable, "the camera cannot be reached".to_string())
        } else if has("lookup") || has("resolve") || has("Name or service not known") {
            (Kind::Unreachable, "no such host".to_string())
        } else if has("refused") {
            (Kind::Unreachable, "the connection was refused: nothing listens at this address and port".into())
        } else if has("No route") || has("os error 113") {
            (Kind::Unreachable, "no route to the camera".into())
        } else if has("unreachable") {
            (Kind::Unreachable, "the camera's network cannot be reached".into())
        } else if has("timed out") || has("Timeout") || has("os error 110") {
            (Kind::TimedOut, "no answer".into())
        } else if has("framing error") || has("Invalid RTSP") || has("Unable to parse SDP") {
            (Kind::NotRtsp, "what answers at this address does not speak RTSP".into())
        } else if has("EOF") || has("reset") || has("Broken pipe") || has("Incomplete RTSP message") {
            (Kind::Closed, "the camera closed the connection".into())
        } else {
            (Kind::Other, shorten(text))
        };
        Trouble::new(kind, message)
    }
}

/// One line, not too long.
fn shorten(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    line.trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_what_libraries_say() {
        let kind = |text| Trouble::network(text).kind;
        assert_eq!(
            kind("Unable to connect to RTSP server: Connection refused (os error 111)"),
            Kind::Unreachable
        );
        assert_eq!(
            kind("failed to lookup address information: Name or service not known"),
            Kind::Unreachable
        );
        assert_eq!(
            kind("RTSP framing error: Invalid RTSP message: x; buffered:\n00\n\nconn: 1"),
            Kind::NotRtsp
        );
        assert_eq!(kind("Error reading from RTSP peer: EOF while expecting response"), Kind::Closed);
        assert_eq!(Trouble::network("odd\nthing\n\nconn: 10.0.0.1").message, "odd thing");
        assert!(Trouble::status(401, true).message.contains("refused the user name or password"));
        assert!(!Trouble::status(404, true).may_pass);
        assert!(Trouble::status(503, true).may_pass);
    }
}
