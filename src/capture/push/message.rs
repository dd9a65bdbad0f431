//! RTSP/1.0 messages (RFC 2326) as a server meets them: requests, and media between them. Without I/O.

/// A request's line and headers may have so many bytes, its body so many.
const MAX_HEAD: usize = 16 << 10;
const MAX_BODY: usize = 64 << 10;
/// What a reader must be able to hold: a whole request, or a whole frame.
pub(super) const MAX_MESSAGE: usize = MAX_HEAD + MAX_BODY;

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub method: String,
    pub uri: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// A header's value, the name in any case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// What stands at the start of the bytes received.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming<'a> {
    Request(Request),
    /// Interleaved media (§10.12): channel and bytes.
    Frame(u8, &'a [u8]),
}

/// Why the bytes are no RTSP; nothing after them can be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Bad(pub &'static str);

/// Reads one message and says how many bytes it took; `None` if it is not all there yet.
pub(super) fn parse(buf: &[u8]) -> Result<Option<(usize, Incoming<'_>)>, Bad> {
    // Some clients end a body with an empty line more.
    let blank = buf.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let data = &buf[blank..];
    if blank > MAX_HEAD {
        return Err(Bad("nothing but empty lines"));
    }
    let Some(&first) = data.first() else { return Ok(None) };
    if first == b'$' {
        let Some(&[_, channel, a, b]) = data.first_chunk() else { return Ok(None) };
        let len = usize::from(u16::from_be_bytes([a, b]));
        return Ok(data.get(4..4 + len).map(|frame| (blank + 4 + len, Incoming::Frame(channel, frame))));
    }
    if !first.is_ascii_uppercase() {
        return Err(Bad("neither a request nor media"));
    }
    let window = &data[..data.len().min(MAX_HEAD)];
    let Some((head_len, head)) = head(window) else {
        return match data.len() >= MAX_HEAD {
            true => Err(Bad("a request's headers are too long")),
            false => Ok(None),
        };
    };
    let text = std::str::from_utf8(head).map_err(|_| Bad("a request's headers are not text"))?;
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().split_ascii_whitespace();
    let (Some(method), Some(uri), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Bad("not a request line"));
    };
    if !version.starts_with("RTSP/1.") {
        return Err(Bad("not RTSP/1.0"));
    }
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = headers.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().into(), value.trim().into()));
        }
    }
    let mut request = Request { method: method.into(), uri: uri.into(), headers, body: Vec::new() };
    let body_len = match request.header("Content-Length") {
        None => 0,
        Some(v) => v.parse::<usize>().map_err(|_| Bad("a length that is no number"))?,
    };
    if body_len > MAX_BODY {
        return Err(Bad("a request's body is too long"));
    }
    let Some(body) = data.get(head_len..head_len + body_len) else { return Ok(None) };
    request.body = body.to_vec();
    Ok(Some((blank + head_len + body_len, Incoming::Request(request))))
}

/// How long the head is with the empty line that ends it, and the head without it.
fn head(data: &[u8]) -> Option<(usize, &[u8])> {
    let mut at = 0;
    loop {
        at += data.get(at..)?.iter().position(|b| *b == b'\n')? + 1;
        match data.get(at..)? {
            [b'\n', ..] => return Some((at + 1, &data[..at])),
            [b'\r', b'\n', ..] => return Some((at + 2, &data[..at])),
            _ => {}
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub status: u16,
    reason: String,
    headers: Vec<(&'static str, String)>,
}

impl Response {
    /// `200 OK`
    pub(super) fn ok() -> Response {
        Response { status: 200, reason: "OK".into(), headers: Vec::new() }
    }

    /// A refusal. The words stand in the status line, which is what clients show, and once more in full as a header.
    pub(super) fn refuse(status: u16, words: impl Into<String>) -> Response {
        let words: String = words.into().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let short = words.chars().take(120).collect();
        Response { status, reason: short, headers: Vec::new() }.with("X-Rushes-Error", words)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.push((name, value.into()));
        self
    }

    /// The bytes, as the answer to a request.
    pub(super) fn write(&self, request: Option<&Request>, out: &mut Vec<u8>) {
        let mut text = format!("RTSP/1.0 {} {}\r\n", self.status, self.reason);
        if let Some(cseq) = request.and_then(|r| r.header("CSeq")) {
            let cseq: String = cseq.chars().filter(|c| !c.is_control()).collect();
            text += &format!("CSeq: {cseq}\r\n");
        }
        text += concat!("Server: Rushes/", env!("CARGO_PKG_VERSION"), "\r\n");
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANNOUNCE: &[u8] = b"ANNOUNCE rtsp://h/door RTSP/1.0\r\ncseq: 2\r\nAuthorization: Basic eA==\r\n\
        Content-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n";

    #[test]
    fn requests_and_frames() {
        let mut data = ANNOUNCE.to_vec();
        data.extend(b"\r\n$\x01\x00\x03abc");
        let (n, Incoming::Request(r)) = parse(&data).unwrap().unwrap() else { panic!() };
        assert_eq!((n, r.method.as_str(), r.uri.as_str()), (ANNOUNCE.len(), "ANNOUNCE", "rtsp://h/door"));
        assert_eq!((r.header("CSEQ"), &r.body[..]), (Some("2"), &b"v=0\r\n"[..]));
        assert_eq!(parse(&data[n..]), Ok(Some((9, Incoming::Frame(1, b"abc")))));
        let mut out = Vec::new();
        Response::refuse(403, "no\r\nInjected: yes").write(Some(&r), &mut out);
        let out = String::from_utf8(out).unwrap();
        assert!(out.starts_with("RTSP/1.0 403 no  Injected: yes\r\nCSeq: 2\r\n"), "{out}");
    }

    #[test]
    fn what_is_no_rtsp_is_refused_at_once_or_at_the_bound() {
        assert!(parse(b"\x16\x03\x01").is_err());
        assert!(parse(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").is_err());
        assert!(parse(&[b'A'; MAX_HEAD]).is_err());
        assert!(parse(&[b'\n'; MAX_HEAD + 1]).is_err());
        assert!(parse(b"OPTIONS * RTSP/1.0\r\nContent-Length: 99999999\r\n\r\n").is_err());
        assert_eq!(parse(&[b'A'; 100]), Ok(None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived_and_every_cut_waits(data in prop::collection::vec(any::<u8>(), 0..300), cut in 0..ANNOUNCE.len()) {
            if let Ok(Some((n, _))) = parse(&data) {
                prop_assert!(n > 0 && n <= data.len());
            }
            prop_assert_eq!(parse(&ANNOUNCE[..cut]), Ok(None));
            let mut mixed = ANNOUNCE[..cut].to_vec();
            mixed.extend(data);
            let _ = parse(&mixed);
        }
    }
}
