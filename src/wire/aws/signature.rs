//! Signature Version 4 on a request: taking it apart, and its canonical form (IAM User Guide, "Elements of an AWS API
//! request signature"). No secret is here: `access` has it.

use std::{borrow::Cow, time::Duration};

use access::{SignedRequest, hex};
use axum::http::{HeaderMap, header, request::Parts};
use jiff::{civil, fmt::rfc2822, tz::TimeZone};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use ring::digest;
use world::Timestamp;

use super::{AwsError, error::basic};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// All but RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What the request says of its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    key_id: String,
    day: String,
    region: String,
    service: String,
    time: Timestamp,
    time_text: String,
    expires: Option<Duration>,
    session_token: Option<String>,
    signature: String,
    /// Their names in the order given, with semicolons between.
    headers: String,
    presigned: bool,
}

impl Signed {
    /// Takes the headers or the query apart.
    pub(crate) fn read(parts: &Parts) -> Result<Signed, AwsError> {
        let query = Query::of(parts);
        let authorization = parts.headers.get(header::AUTHORIZATION);
        match (authorization, query.get("X-Amz-Algorithm")) {
            (Some(_), Some(_)) => Err(AwsError::signature(
                "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
            )),
            (None, None) => {
                Err(AwsError::new("MissingAuthenticationTokenException", "Missing Authentication Token"))
            }
            (Some(a), None) => Self::from_header(&String::from_utf8_lossy(a.as_bytes()), &parts.headers),
            (None, Some(_)) => Self::from_query(&query),
        }
    }

    fn from_header(authorization: &str, headers: &HeaderMap) -> Result<Signed, AwsError> {
        let mut words = authorization.split([',', ' ']).filter(|w| !w.is_empty());
        let algorithm = words.next().unwrap_or_default();
        let params: Vec<(&str, &str)> = words.filter_map(|w| w.split_once('=')).collect();
        let get = |name: &str| params.iter().find(|(k, v)| *k == name && !v.is_empty()).map(|(_, v)| *v);
        let mut missing = String::new();
        for name in ["Credential", "Signature", "SignedHeaders"] {
            if get(name).is_none() {
                missing.push_str(&format!("Authorization header requires '{name}' parameter. "));
            }
        }
        let date = headers.get("x-amz-date").or_else(|| headers.get(header::DATE));
        if date.is_none() {
            missing.push_str(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ",
            );
        }
        if !missing.is_empty() {
            return Err(AwsError::incomplete(format!("{missing}Authorization={authorization}")));
        }
        if algorithm != ALGORITHM {
            return Err(AwsError::incomplete(format!("Unsupported AWS 'algorithm': '{algorithm}'.")));
        }
        let date = date.map(|d| String::from_utf8_lossy(d.as_bytes())).unwrap_or_default();
        let token = headers.get("x-amz-security-token").map(|t| String::from_utf8_lossy(t.as_bytes()));
        Self::put_together(
            get("Credential").unwrap_or_default(),
            get("Signature").unwrap_or_default(),
            get("SignedHeaders").unwrap_or_default(),
            &date,
            None,
            token,
        )
    }

    fn from_query(query: &Query) -> Result<Signed, AwsError> {
        let mut missing = String::new();
        for name in
            ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"]
        {
            if query.get(name).is_none_or(|v| v.is_empty()) {
                missing.push_str(&format!("AWS query-string parameters must include '{name}'. "));
            }
        }
        if !missing.is_empty() {
            return Err(AwsError::incomplete(format!("{missing}Re-examine the query-string parameters.")));
        }
        let get = |name| query.get(name).unwrap_or_default();
        if get("X-Amz-Algorithm") != ALGORITHM {
            let a = get("X-Amz-Algorithm");
            return Err(AwsError::incomplete(format!("Unsupported AWS 'algorithm': '{a}'.")));
        }
        let expires = match query.get("X-Amz-Expires") {
            None => None,
            Some(e) => {
                Some(e.parse().ok().filter(|s| *s <= 604_800).map(Duration::from_secs).ok_or_else(|| {
                    AwsError::incomplete("X-Amz-Expires must be a number of seconds, at most 604800.")
                })?)
            }
        };
        Self::put_together(
            &get("X-Amz-Credential"),
            &get("X-Amz-Signature"),
            &get("X-Amz-SignedHeaders"),
            &get("X-Amz-Date"),
            Some(expires),
            query.get("X-Amz-Security-Token"),
        )
    }

    /// `presigned`: whether it is, and how long it then says it is good for.
    fn put_together(
        credential: &str,
        signature: &str,
        headers: &str,
        date: &str,
        presigned: Option<Option<Duration>>,
        session_token: Option<Cow<'_, str>>,
    ) -> Result<Signed, AwsError> {
        let scope: Vec<&str> = credential.split('/').collect();
        let [key_id, day, region, service, end] = scope[..] else {
            return Err(AwsError::incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'"
            )));
        };
        if end != "aws4_request" {
            return Err(AwsError::signature(format!(
                "Credential should be scoped with a valid terminator: 'aws4_request', not '{end}'."
            )));
        }
        let time = parse_time(date).ok_or_else(|| {
            AwsError::incomplete(format!(
                "Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"
            ))
        })?;
        // Any other form is signed in this one.
        let time_text = if date.len() == 16 { date.to_owned() } else { basic(time) };
        if !time_text.starts_with(day) || day.len() != 8 {
            return Err(AwsError::signature(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{day}' != '{}', from '{time_text}'.",
                time_text.get(..8).unwrap_or_default()
            )));
        }
        let headers = headers.to_ascii_lowercase();
        if !headers.split(';').any(|h| h == "host" || h == ":authority") {
            return Err(AwsError::signature(
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
            ));
        }
        Ok(Signed {
            key_id: key_id.into(),
            day: day.into(),
            region: region.into(),
            service: service.into(),
            time,
            time_text,
            expires: presigned.flatten(),
            session_token: session_token.map(Cow::into_owned),
            signature: signature.into(),
            headers,
            presigned: presigned.is_some(),
        })
    }

    /// Whether it is meant for this service, and covers what the request does.
    pub(crate) fn check(&self, service: &str, headers: &HeaderMap) -> Result<(), AwsError> {
        if self.service != service {
            return Err(AwsError::signature(format!(
                "Credential should be scoped to correct service: '{service}'."
            )));
        }
        // Else somebody on the way could make another operation of it.
        if headers.contains_key("x-amz-target") && !self.headers.split(';').any(|h| h == "x-amz-target") {
            return Err(AwsError::signature(
                "'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization.",
            ));
        }
        Ok(())
    }

    /// SHA-256 of the canonical form. `payload`: SHA-256 of the body, in hexadecimal digits, or what stands for it.
    pub(crate) fn canonical(&self, parts: &Parts, payload: &str) -> [u8; 32] {
        let text = self.canonical_text(parts, payload);
        let mut out = [0; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, &text).as_ref());
        out
    }

    fn canonical_text(&self, parts: &Parts, payload: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(parts.method.as_str().as_bytes());
        out.push(b'\n');
        out.extend_from_slice(path(parts.uri.path()).as_bytes());
        out.push(b'\n');
        out.extend_from_slice(Query::of(parts).canonical(self.presigned).as_bytes());
        out.push(b'\n');
        for name in self.headers.split(';') {
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            let mut values = parts.headers.get_all(name).iter().peekable();
            match parts.uri.authority() {
                // HTTP/2 has the host in :authority, which hyper puts into the URI.
                Some(a) if values.peek().is_none() && (name == "host" || name == ":authority") => {
                    out.extend_from_slice(a.as_str().as_bytes());
                }
                _ => {}
            }
            let mut first = true;
            for v in values {
                if !first {
                    out.push(b',');
                }
                first = false;
                let words = v.as_bytes().split(|b| *b == b' ' || *b == b'\t').filter(|w| !w.is_empty());
                for (i, w) in words.enumerate() {
                    if i > 0 {
                        out.push(b' ');
                    }
                    out.extend_from_slice(w);
                }
            }
            out.push(b'\n');
        }
        out.push(b'\n');
        out.extend_from_slice(self.headers.as_bytes());
        out.push(b'\n');
        out.extend_from_slice(payload.as_bytes());
        out
    }

    /// In the gate's words.
    pub(crate) fn request(&self, canonical: [u8; 32]) -> SignedRequest<'_> {
        SignedRequest {
            key_id: &self.key_id,
            day: &self.day,
            region: &self.region,
            service: &self.service,
            time_text: &self.time_text,
            time: self.time,
            expires: self.expires,
            session_token: self.session_token.as_deref(),
            canonical,
            signature: &self.signature,
        }
    }
}

/// The payload hash of a request whose body was hashed.
pub(crate) fn payload(hash: &[u8; 32]) -> String {
    hex(hash)
}

/// ISO 8601's basic form, or what a `Date` header may hold.
fn parse_time(s: &str) -> Option<Timestamp> {
    let at = |d: civil::DateTime| {
        d.to_zoned(TimeZone::UTC).ok().map(|z| Timestamp(z.timestamp().as_microsecond()))
    };
    if s.len() == 16 && s.ends_with('Z') {
        let digits = |r: std::ops::Range<usize>| {
            s.get(r).filter(|d| d.bytes().all(|b| b.is_ascii_digit())).and_then(|d| d.parse::<i16>().ok())
        };
        let small = |r| digits(r).and_then(|n| i8::try_from(n).ok());
        if s.as_bytes()[8] != b'T' {
            return None;
        }
        let d = civil::DateTime::new(
            digits(0..4)?,
            small(4..6)?,
            small(6..8)?,
            small(9..11)?,
            small(11..13)?,
            small(13..15)?,
            0,
        );
        return at(d.ok()?);
    }
    let t = s.parse().ok().or_else(|| rfc2822::parse(s).ok().map(|z| z.timestamp()))?;
    Some(Timestamp(t.as_microsecond()))
}

/// The query's pairs, decoded.
struct Query<'a>(Vec<(Text<'a>, Text<'a>)>);

type Text<'a> = Cow<'a, [u8]>;

impl<'a> Query<'a> {
    fn of(parts: &'a Parts) -> Query<'a> {
        Query::parse(parts.uri.query().unwrap_or_default())
    }

    fn parse(query: &'a str) -> Query<'a> {
        let decode = |s: &'a str| -> Text<'a> { percent_decode_str(s).into() };
        let pairs = query.split('&').filter(|p| !p.is_empty());
        Query(
            pairs
                .map(|p| p.split_once('=').unwrap_or((p, "")))
                .map(|(k, v)| (decode(k), decode(v)))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let found = self.0.iter().find(|(k, _)| **k == *name.as_bytes());
        found.map(|(_, v)| String::from_utf8_lossy(v))
    }

    /// Encoded again, sorted; without the signature, if that is in it.
    fn canonical(&self, presigned: bool) -> String {
        let encode = |s: &[u8]| percent_encode(s, ESCAPED).to_string();
        let mut pairs: Vec<(String, String)> = self
            .0
            .iter()
            .filter(|(k, _)| !(presigned && **k == *b"X-Amz-Signature"))
            .map(|(k, v)| (encode(k), encode(v)))
            .collect();
        pairs.sort();
        let mut out = String::new();
        for (k, v) in pairs {
            if !out.is_empty() {
                out.push('&');
            }
            out.push_str(&k);
            out.push('=');
            out.push_str(&v);
        }
        out
    }
}

/// Without what is redundant (RFC 3986 §5.2.4), each part encoded once more.
fn path(raw: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for p in raw.split('/') {
        match p {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            p => parts.push(p),
        }
    }
    let mut out = String::with_capacity(raw.len() + 1);
    for p in &parts {
        out.push('/');
        out.extend(percent_encode(p.as_bytes(), ESCAPED));
    }
    if out.is_empty() || raw.ends_with('/') || raw.ends_with("/.") || raw.ends_with("/..") {
        out.push('/');
    }
    out
}

/// What the fuzz target does: whatever is read has a canonical form, and the same form twice.
pub(super) fn hostile(parts: &Parts) {
    if let Ok(s) = Signed::read(parts) {
        let a = s.canonical(parts, "x");
        assert_eq!(a, s.canonical(parts, "x"));
        let _ = s.check("kinesis", &parts.headers);
    }
    let again = path(parts.uri.path());
    assert!(again.starts_with('/') && again.is_ascii());
}

#[cfg(test)]
pub(super) fn text_for_tests(parts: &Parts, payload: &str) -> (Signed, String) {
    let s = Signed::read(parts).unwrap();
    let text = String::from_utf8(s.canonical_text(parts, payload)).unwrap();
    (s, text)
}
