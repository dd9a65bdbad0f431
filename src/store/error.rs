//! What servers say, as [`world::Store`]'s errors.

use std::{
    fmt,
    io::{self, ErrorKind},
};

use object_store::Error;

/// The longest that is repeated of what a server said.
const WORDS: usize = 300;

/// What a server answered, inside the [`io::Error`] that a store gives (`get_ref`, `downcast_ref`).
#[derive(Debug)]
pub struct Answer {
    /// The object, as a URL.
    pub url: String,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The error's code: `NoSuchBucket`. Empty if it has none.
    pub code: String,
    words: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.url, self.words)
    }
}

impl std::error::Error for Answer {}

impl Answer {
    /// Within an error.
    pub fn of(e: &io::Error) -> Option<&Answer> {
        e.get_ref()?.downcast_ref()
    }
    /// Whether it says that there is no such bucket or container at all.
    pub fn no_bucket(&self) -> bool {
        matches!(self.code.as_str(), "NoSuchBucket" | "ContainerNotFound")
    }
}

fn tag<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let at = xml.find(&format!("<{name}>"))? + name.len() + 2;
    let end = xml[at..].find(&format!("</{name}>"))?;
    Some(xml[at..at + end].trim())
}

fn shortened(s: &str) -> String {
    let line: Vec<&str> = s.split_whitespace().collect();
    let mut out: String = line.join(" ").chars().take(WORDS).collect();
    out.retain(|c| !c.is_control());
    out
}

/// Status and body, from `object_store`'s words: it gives them in no other way.
fn status(said: &str) -> Option<(u16, &str, &str)> {
    let rest = &said[said.find("status code: ")? + "status code: ".len()..];
    let status = rest.get(..3)?.parse().ok()?;
    let (name, body) = rest.split_once(": ").unwrap_or((rest, ""));
    Some((status, name.get(3..).unwrap_or_default().trim(), body))
}

fn deepest(e: &Error) -> String {
    let mut at: &dyn std::error::Error = e;
    while let Some(next) = at.source() {
        at = next;
    }
    shortened(&at.to_string())
}

/// An error of `url`.
pub(crate) fn of(url: String, e: Error) -> io::Error {
    let said = e.to_string();
    let (kind, answer) = match status(&said) {
        Some((status, name, body)) => answered(url, &e, status, name, body),
        None => unanswered(url, &e, &said),
    };
    io::Error::new(kind, answer)
}

fn answered(url: String, e: &Error, status: u16, name: &str, body: &str) -> (ErrorKind, Answer) {
    let code = tag(body, "Code").map(shortened).unwrap_or_default();
    let detail = match tag(body, "Message") {
        Some(m) => shortened(&format!("{code}: {m}")),
        None if body.contains('<') => code.clone(),
        None => shortened(body),
    };
    let more = if detail.is_empty() { detail } else { format!(": {detail}") };
    let kind = match (status, code.as_str()) {
        (_, "NoSuchBucket" | "ContainerNotFound") => ErrorKind::Other,
        (_, "XAdminUserNotFound") => ErrorKind::PermissionDenied,
        // Nothing else that is not found is the object: not a page of whoever else answers at this address.
        (404, "NoSuchKey" | "NoSuchVersion" | "BlobNotFound" | "ResourceNotFound") => ErrorKind::NotFound,
        (404, "") if body.trim().is_empty() => ErrorKind::NotFound,
        // These pass: another write to the same key is under way.
        (409, "ConditionalRequestConflict" | "OperationAborted") => ErrorKind::Other,
        (412, _) => ErrorKind::AlreadyExists,
        (409, _) if matches!(e, Error::AlreadyExists { .. }) => ErrorKind::AlreadyExists,
        (401 | 403, _) | (_, "ExpiredToken" | "InvalidToken") => ErrorKind::PermissionDenied,
        (416, _) => ErrorKind::UnexpectedEof,
        (501, _) | (_, "NotImplemented") => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    };
    let words = match kind {
        ErrorKind::UnexpectedEof => "is shorter than that".into(),
        ErrorKind::AlreadyExists => "exists".into(),
        _ => format!("the store answered {status} {name}{more}"),
    };
    (kind, Answer { url, status: Some(status), code, words })
}

fn unanswered(url: String, e: &Error, said: &str) -> (ErrorKind, Answer) {
    // Several objects are deleted by one request, which has an answer for each.
    if let Some(code) = said.split("(code: ").nth(1).and_then(|c| c.split(')').next()) {
        let kind = match code {
            // Azure gives the status instead of a code.
            "AccessDenied" | "InvalidAccessKeyId" | "ExpiredToken" | "401" | "403" => {
                ErrorKind::PermissionDenied
            }
            "404" if said.contains("blob does not exist") => ErrorKind::NotFound,
            _ => ErrorKind::Other,
        };
        let words = format!("the store answered {}", shortened(&deepest(e)));
        return (kind, Answer { url, status: None, code: code.to_owned(), words });
    }
    let why = deepest(e);
    let (kind, words) = match e {
        Error::NotFound { .. } => (ErrorKind::NotFound, why),
        Error::AlreadyExists { .. } | Error::Precondition { .. } => {
            (ErrorKind::AlreadyExists, "exists".into())
        }
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => (ErrorKind::PermissionDenied, why),
        Error::NotSupported { .. } | Error::NotImplemented { .. } => (ErrorKind::Unsupported, why),
        Error::InvalidPath { .. } => (ErrorKind::InvalidInput, why),
        // Credentials were looked for where a cloud's machines have them.
        _ if ["169.254.", "metadata.google.internal", "metadata/"].iter().any(|m| said.contains(m)) => (
            ErrorKind::Other,
            format!(
                "no credentials: none are in the environment, and this machine has no metadata service that gives some ({why})"
            ),
        ),
        _ if said.contains("redirect without LOCATION") => (
            ErrorKind::Other,
            "the store answered with a redirection: the bucket is in another region (store.region)".into(),
        ),
        _ => (ErrorKind::Other, format!("cannot be reached: {why}")),
    };
    (kind, Answer { url, status: None, code: String::new(), words })
}

/// The time that a call may take is over.
pub(crate) fn late(url: String, seconds: f32) -> io::Error {
    let words = format!("the store did not answer within {seconds:.0} s");
    io::Error::new(ErrorKind::TimedOut, Answer { url, status: None, code: String::new(), words })
}

/// An error with words of our own.
pub(crate) fn plain(kind: ErrorKind, url: String, words: &str) -> io::Error {
    io::Error::new(kind, Answer { url, status: None, code: String::new(), words: words.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(said: &str) -> Error {
        Error::Generic { store: "S3", source: said.into() }
    }

    #[test]
    fn what_the_server_said_is_repeated() {
        let said = "Error performing PUT http://h/b/k in 1.2s, after 3 retries, max_retries: 3, retry_timeout: 30s  - \
             Server returned non-2xx status code: 503 Service Unavailable: <?xml version=\"1.0\"?><Error>\
             <Code>SlowDown</Code><Message>Please reduce\nyour request rate.</Message></Error>";
        let e = of("s3://b/k".into(), generic(said));
        assert_eq!(e.kind(), ErrorKind::Other);
        assert_eq!(
            e.to_string(),
            "s3://b/k: the store answered 503 Service Unavailable: SlowDown: Please reduce your request rate."
        );
        assert_eq!(Answer::of(&e).map(|a| (a.status, a.code.as_str())), Some((Some(503), "SlowDown")));
    }

    #[test]
    fn kinds() {
        for (status, code, kind) in [
            ("404 Not Found", "NoSuchKey", ErrorKind::NotFound),
            ("404 Not Found", "NoSuchBucket", ErrorKind::Other),
            ("404 Not Found", "", ErrorKind::Other),
            ("404 Not Found", "XAdminUserNotFound", ErrorKind::PermissionDenied),
            ("403 Forbidden", "InvalidAccessKeyId", ErrorKind::PermissionDenied),
            ("400 Bad Request", "ExpiredToken", ErrorKind::PermissionDenied),
            ("412 Precondition Failed", "PreconditionFailed", ErrorKind::AlreadyExists),
            ("409 Conflict", "ConditionalRequestConflict", ErrorKind::Other),
            ("416 Range Not Satisfiable", "InvalidRange", ErrorKind::UnexpectedEof),
            ("501 Not Implemented", "NotImplemented", ErrorKind::Unsupported),
            ("500 Internal Server Error", "", ErrorKind::Other),
        ] {
            let said = format!(
                "- Server returned non-2xx status code: {status}: <Error><Code>{code}</Code></Error>"
            );
            assert_eq!(of("u".into(), generic(&said)).kind(), kind, "{status} {code}");
        }
        let head = "Server returned non-2xx status code: 404 Not Found: ";
        assert_eq!(of("u".into(), generic(head)).kind(), ErrorKind::NotFound);
        let said = "DeleteObjects request failed for key k: Access Denied (code: AccessDenied)";
        assert_eq!(of("u".into(), generic(said)).kind(), ErrorKind::PermissionDenied);
        let said =
            "Error performing PUT http://169.254.169.254/latest/api/token in 2s - HTTP error: timed out";
        assert!(of("u".into(), generic(said)).to_string().contains("no credentials"));
    }

    #[test]
    fn a_strange_answer_does_no_harm() {
        for said in [
            "status code: ",
            "status code: 4",
            "status code: é04: x",
            "(code: ",
            "status code: 404",
            "<Code>",
        ] {
            let _ = of("u".into(), generic(said)).to_string();
        }
        let long = format!("x status code: 500 I: {}", "é".repeat(100_000));
        assert!(of("u".into(), generic(&long)).to_string().len() < 1000);
    }
}
