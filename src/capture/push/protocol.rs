//! The server's side of ANNOUNCE, SETUP and RECORD (RFC 2326 §10) as a state machine. Without I/O: what takes some is
//! asked of the connection, which comes back with the outcome.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use super::message::{Request, Response};
use crate::intake::Intake;
use crate::sdp::{self, Description, Media};

const PUBLIC: &str = "OPTIONS, ANNOUNCE, SETUP, RECORD, TEARDOWN, GET_PARAMETER, SET_PARAMETER";
/// Told to clients as the time after which a silent session is ended.
pub(super) const TIMEOUT_S: u64 = 60;

/// What a request calls for.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing but this answer.
    Reply(Response),
    /// Ask whether this may be published; then [`Protocol::admitted`].
    Admit(Publisher),
    /// Open a pair of UDP ports for a medium, for packets from these ports; then [`Protocol::bound`].
    Bind { media: usize, client: (u16, u16) },
    /// Begin the session on this stream; then [`Protocol::recorded`].
    Record(String),
    /// End the session; then answer 200 and close.
    Teardown,
}

/// Who wants to publish where.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Publisher {
    pub stream: String,
    pub user: Option<String>,
    pub password: Option<String>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// Where a medium's packets come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    /// RTP and RTCP channel in the connection.
    Channels(u8, u8),
    Udp,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Init,
    Announced {
        stream: String,
        /// The path of the URI without a slash at its end; controls are relative to it.
        base: String,
        description: Description,
        intake: Box<Intake>,
    },
    Recording,
}

/// One connection's protocol.
#[derive(Debug)]
pub(super) struct Protocol {
    state: State,
    session: String,
    pending: Option<(String, Description)>,
    setups: Vec<(usize, Carrier)>,
}

impl Protocol {
    /// `session` is the id that the client is told, unguessable.
    pub(super) fn new(session: String) -> Protocol {
        Protocol { state: State::Init, session, pending: None, setups: Vec::new() }
    }

    #[cfg(test)]
    pub(super) fn recording(&self) -> bool {
        matches!(self.state, State::Recording)
    }

    /// The medium of an interleaved channel, and whether it is RTCP.
    pub(super) fn channel(&self, channel: u8) -> Option<(usize, bool)> {
        self.setups.iter().find_map(|(media, carrier)| match carrier {
            Carrier::Channels(rtp, _) if *rtp == channel => Some((*media, false)),
            Carrier::Channels(_, rtcp) if *rtcp == channel => Some((*media, true)),
            _ => None,
        })
    }

    /// Takes a request.
    pub(super) fn request(&mut self, r: &Request) -> Step {
        if r.header("CSeq").is_none() {
            return refuse(400, "a request without CSeq");
        }
        if let Some(id) = r.header("Session")
            && id.split(';').next().unwrap_or_default().trim() != self.session
        {
            return refuse(454, "no such session");
        }
        match r.method.as_str() {
            "OPTIONS" => Step::Reply(Response::ok().with("Public", PUBLIC)),
            "ANNOUNCE" => self.announce(r),
            "SETUP" => self.setup(r),
            "RECORD" => self.record(),
            "TEARDOWN" => Step::Teardown,
            "GET_PARAMETER" | "SET_PARAMETER" => Step::Reply(self.ok()),
            "DESCRIBE" | "PLAY" | "PAUSE" => Step::Reply(
                Response::refuse(405, "Rushes receives by RTSP; to watch, ask it for an HLS link")
                    .with("Allow", PUBLIC),
            ),
            _ => refuse(501, "an unknown method"),
        }
    }

    fn announce(&mut self, r: &Request) -> Step {
        if !matches!(self.state, State::Init) {
            return refuse(455, "this connection has announced already");
        }
        let path = path_of(&r.uri);
        // Not its first part alone: /a/b would end up in a stream that nobody meant.
        let stream = percent_decode_str(path.trim_matches('/')).decode_utf8_lossy().into_owned();
        if !is_stream_name(&stream) {
            return refuse(
                404,
                "the path must be a stream's name: 1 to 256 letters, digits, '.', '_', '-', as in rtsp://host/front-door",
            );
        }
        if r.header("Content-Type").is_some_and(|t| !t.to_ascii_lowercase().contains("application/sdp")) {
            return refuse(415, "a description other than SDP");
        }
        let description = match sdp::parse(&r.body) {
            Ok(d) => d,
            Err(words) => return refuse(400, words),
        };
        let (user, password) = match r.header("Authorization").map(basic) {
            Some(Some((user, password))) => (Some(user), Some(password)),
            _ => (None, None),
        };
        self.pending = Some((path.trim_end_matches('/').to_string(), description));
        Step::Admit(Publisher { stream, user, password })
    }

    /// The outcome of [`Step::Admit`].
    pub(super) fn admitted(&mut self, stream: &str, outcome: Result<(), access::Denied>) -> Response {
        let Some((base, description)) = self.pending.take() else {
            return Response::refuse(455, "nothing was announced");
        };
        match outcome {
            Ok(()) => {}
            Err(d @ (access::Denied::NotAuthenticated(_) | access::Denied::Expired)) => {
                return Response::refuse(401, d.to_string())
                    .with("WWW-Authenticate", "Basic realm=\"Rushes\", charset=\"UTF-8\"");
            }
            Err(d @ access::Denied::NotPermitted { .. }) => return Response::refuse(403, d.to_string()),
            Err(d) => return Response::refuse(503, d.to_string()),
        }
        match Intake::new(&description.media) {
            Err(words) => Response::refuse(415, words),
            Ok(intake) => {
                self.state =
                    State::Announced { stream: stream.into(), base, description, intake: Box::new(intake) };
                self.ok()
            }
        }
    }

    fn setup(&mut self, r: &Request) -> Step {
        let State::Announced { base, description, .. } = &self.state else {
            return refuse(
                455,
                "SETUP before ANNOUNCE; Rushes receives by RTSP, to watch ask it for an HLS link",
            );
        };
        let taken: Vec<usize> = self.setups.iter().map(|(m, _)| *m).collect();
        let Some(media) = find(&description.media, base, &r.uri, &taken) else {
            return refuse(404, "this was not announced");
        };
        if taken.contains(&media) {
            return refuse(455, "this is set up already");
        }
        // The first that we can do, in the client's order (§12.39).
        for option in r.header("Transport").unwrap_or_default().split(',') {
            let mut params = option.split(';').map(str::trim);
            let kind = params.next().unwrap_or_default().to_ascii_uppercase();
            let value = |key: &str| {
                option
                    .split(';')
                    .filter_map(|p| p.trim().split_once('='))
                    .find(|(k, _)| k.eq_ignore_ascii_case(key))
            };
            if option.to_ascii_lowercase().contains("multicast")
                || value("mode").is_some_and(|(_, m)| m.trim_matches('"').eq_ignore_ascii_case("play"))
            {
                continue;
            }
            match kind.as_str() {
                "RTP/AVP/TCP" => {
                    let default = (2 * media as u8, 2 * media as u8 + 1);
                    let (rtp, rtcp) =
                        value("interleaved").map_or(Some(default), |(_, v)| pair(v)).unwrap_or(default);
                    if self.channel(rtp).is_some() || self.channel(rtcp).is_some() {
                        return refuse(461, "a channel that is taken");
                    }
                    self.setups.push((media, Carrier::Channels(rtp, rtcp)));
                    let transport = format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp};mode=record");
                    return Step::Reply(self.ok().with("Transport", transport));
                }
                "RTP/AVP" | "RTP/AVP/UDP" => {
                    if let Some(client) = value("client_port").and_then(|(_, v)| pair::<u16>(v)) {
                        return Step::Bind { media, client };
                    }
                }
                _ => {}
            }
        }
        refuse(461, "no transport that is understood: RTP/AVP over TCP or UDP, unicast")
    }

    /// The outcome of [`Step::Bind`]: our ports, or why there are none.
    pub(super) fn bound(
        &mut self,
        media: usize,
        client: (u16, u16),
        ours: Result<(u16, u16), String>,
    ) -> Response {
        match ours {
            Err(words) => Response::refuse(500, words),
            Ok((rtp, rtcp)) => {
                self.setups.push((media, Carrier::Udp));
                let (a, b) = client;
                self.ok().with(
                    "Transport",
                    format!("RTP/AVP;unicast;client_port={a}-{b};server_port={rtp}-{rtcp};mode=record"),
                )
            }
        }
    }

    fn record(&mut self) -> Step {
        match &self.state {
            State::Announced { stream, .. } if !self.setups.is_empty() => Step::Record(stream.clone()),
            State::Announced { .. } => refuse(455, "RECORD before SETUP"),
            State::Recording => Step::Reply(self.ok()),
            State::Init => refuse(455, "RECORD before ANNOUNCE"),
        }
    }

    /// The outcome of [`Step::Record`]: the intake that media go to, or the answer that says why not.
    pub(super) fn recorded(&mut self) -> Option<(Intake, Response)> {
        match std::mem::take(&mut self.state) {
            State::Announced { intake, .. } => {
                self.state = State::Recording;
                Some((*intake, self.ok()))
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    /// A good answer within the session.
    pub(super) fn ok(&self) -> Response {
        match self.state {
            State::Init => Response::ok(),
            _ => Response::ok().with("Session", format!("{};timeout={TIMEOUT_S}", self.session)),
        }
    }
}

fn refuse(status: u16, words: impl Into<String>) -> Step {
    Step::Reply(Response::refuse(status, words))
}

/// What AWS allows for the name of a video stream.
fn is_stream_name(name: &str) -> bool {
    (1..=256).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// `/a/b` of `rtsp://user@host:port/a/b?query`.
fn path_of(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest.find('/').map_or("", |at| &rest[at..]));
    rest.split(['?', '#']).next().unwrap_or_default()
}

/// User and password of `Basic …` (RFC 7617).
fn basic(value: &str) -> Option<(String, String)> {
    let (scheme, rest) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':').unwrap_or((&decoded, ""));
    Some((user.into(), password.into()))
}

/// `5000-5001`, or `5000` alone, which means the next as well.
fn pair<T: std::str::FromStr + Copy + TryFrom<u32> + Into<u32>>(text: &str) -> Option<(T, T)> {
    match text.split_once('-') {
        Some((a, b)) => Some((a.trim().parse().ok()?, b.trim().parse().ok()?)),
        None => {
            let a: T = text.trim().parse().ok()?;
            Some((a, T::try_from(a.into() + 1).ok()?))
        }
    }
}

/// Which medium a SETUP means, by its control URL (RFC 2326 §C.1.1).
fn find(media: &[Media], base: &str, uri: &str, taken: &[usize]) -> Option<usize> {
    let path = path_of(uri).trim_end_matches('/');
    let named = |m: &Media| {
        let Some(control) = &m.control else { return false };
        if control.contains("://") {
            return path_of(control).trim_end_matches('/') == path || control == uri;
        }
        path.strip_prefix(base).is_some_and(|rest| rest.trim_start_matches('/') == control.trim_matches('/'))
            || uri.ends_with(&format!("/{control}"))
    };
    if let Some(at) = media.iter().position(named) {
        return Some(at);
    }
    // A client that gave no controls sets up its media in their order.
    let unnamed = |at: &usize| media[*at].control.is_none() && !taken.contains(at);
    (0..media.len()).find(unnamed)
}

/// Whether a packet may come from there: the sender's own address, however mapped.
pub(super) fn same_host(a: IpAddr, b: IpAddr) -> bool {
    a.to_canonical() == b.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::message::{Incoming, parse};

    const SDP: &str = "v=0\r\ns=x\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:streamid=0\r\n\
        m=audio 0 RTP/AVP 97\r\na=rtpmap:97 OPUS/48000/2\r\na=control:streamid=1\r\n";

    fn request(method: &str, uri: &str, headers: &str, body: &str) -> Request {
        let text = format!(
            "{method} {uri} RTSP/1.0\r\nCSeq: 1\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        match parse(text.as_bytes()).unwrap().unwrap().1 {
            Incoming::Request(r) => r,
            other => panic!("{other:?}"),
        }
    }

    fn reply(step: Step) -> Response {
        match step {
            Step::Reply(r) => r,
            other => panic!("{other:?}"),
        }
    }

    fn announced(uri: &str) -> Protocol {
        let mut p = Protocol::new("s1".into());
        let step = p.request(&request("ANNOUNCE", uri, "Content-Type: application/sdp\r\n", SDP));
        let Step::Admit(who) = step else { panic!("{step:?}") };
        assert_eq!(p.admitted(&who.stream, Ok(())).status, 200);
        p
    }

    #[test]
    fn credentials_and_path_are_understood() {
        let mut p = Protocol::new("s".into());
        // id:s+/%e=
        let auth = format!("Authorization: Basic {}\r\n", STANDARD.encode("id:s+/%e=:x"));
        let Step::Admit(who) = p.request(&request("ANNOUNCE", "rtsp://h:8554/front%2Ddoor/?b", &auth, SDP))
        else {
            panic!()
        };
        assert_eq!(who.stream, "front-door");
        assert_eq!((who.user.as_deref(), who.password.as_deref()), (Some("id"), Some("s+/%e=:x")));
        assert!(!format!("{who:?}").contains("%e"));
        let refused = p.admitted("front-door", Err(access::Denied::NotAuthenticated("wrong".into())));
        let mut text = Vec::new();
        refused.write(None, &mut text);
        assert!(String::from_utf8(text).unwrap().contains("WWW-Authenticate: Basic realm="));
        for bad in ["rtsp://h", "rtsp://h/", "rtsp://h/a%20b", "rtsp://h/%2e%2e%2f", "rtsp://h/a/b"] {
            assert_eq!(reply(p.request(&request("ANNOUNCE", bad, "", SDP))).status, 404, "{bad}");
        }
        let denied = access::Denied::NotPermitted { action: "a", resource: "r".into() };
        let Step::Admit(_) = p.request(&request("ANNOUNCE", "rtsp://h/x", "", SDP)) else { panic!() };
        assert_eq!(p.admitted("x", Err(denied)).status, 403);
    }

    #[test]
    fn media_are_set_up_by_their_controls() {
        let mut p = announced("rtsp://h/door");
        let tcp = "Transport: RTP/AVP/TCP;unicast;interleaved=4-5;mode=record\r\n";
        assert_eq!(reply(p.request(&request("SETUP", "rtsp://h/door/streamid=1", tcp, ""))).status, 200);
        assert_eq!((p.channel(4), p.channel(5), p.channel(0)), (Some((1, false)), Some((1, true)), None));
        assert_eq!(reply(p.request(&request("SETUP", "rtsp://h/door/streamid=0", tcp, ""))).status, 461);
        let udp = "Transport: RTP/AVP/UDP;unicast;client_port=7000-7001;mode=record\r\n";
        match p.request(&request("SETUP", "rtsp://h/door/streamid=0", udp, "")) {
            Step::Bind { media: 0, client: (7000, 7001) } => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(p.bound(0, (7000, 7001), Ok((9000, 9001))).status, 200);
        assert_eq!(reply(p.request(&request("SETUP", "rtsp://h/door/streamid=2", udp, ""))).status, 404);
        assert!(
            matches!(p.request(&request("RECORD", "rtsp://h/door", "Session: s1\r\n", "")), Step::Record(s) if s == "door")
        );
        assert!(p.recorded().is_some() && p.recording());
        assert_eq!(
            reply(p.request(&request("RECORD", "rtsp://h/door", "Session: other\r\n", ""))).status,
            454
        );
        assert!(matches!(
            p.request(&request("TEARDOWN", "rtsp://h/door", "Session: s1\r\n", "")),
            Step::Teardown
        ));
    }

    #[test]
    fn what_is_out_of_place_is_refused_in_words() {
        let mut p = Protocol::new("s".into());
        for (method, status) in [
            ("DESCRIBE", 405),
            ("PLAY", 405),
            ("SETUP", 455),
            ("RECORD", 455),
            ("FOO", 501),
            ("OPTIONS", 200),
        ] {
            assert_eq!(reply(p.request(&request(method, "rtsp://h/x", "", ""))).status, status, "{method}");
        }
        let mut p = announced("rtsp://h/door");
        assert_eq!(reply(p.request(&request("ANNOUNCE", "rtsp://h/door", "", SDP))).status, 455);
        assert_eq!(reply(p.request(&request("RECORD", "rtsp://h/door", "", ""))).status, 455);
        let play = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=play,RTP/AVP;multicast\r\n";
        assert_eq!(reply(p.request(&request("SETUP", "rtsp://h/door/streamid=0", play, ""))).status, 461);
    }
}
