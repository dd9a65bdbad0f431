use access::Gate;
use catalog::Document;
use serde::{Deserialize, Serialize};
use world::Timestamp;

use super::KIND;
use crate::pull;

/// A camera, as people describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Camera {
    /// Its name, and its stream's.
    pub name: String,
    /// Where its pictures come from.
    pub source: Source,
    /// The same view in fewer pixels, if the camera has that: recorded in the stream [`Camera::sub_stream`].
    pub sub: Option<pull::Source>,
    /// Whether it is to be received.
    pub enabled: bool,
    /// When it was added.
    pub created: Timestamp,
    /// The document's version; 0 for a push that was never added.
    pub(super) version: u64,
}

/// Where a camera's pictures come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// We connect to it.
    Pull(pull::Source),
    /// It connects to us.
    Push,
}

/// What a sub source's stream is called: its camera's name and this.
pub const SUB: &str = ".sub";

/// The name of a camera's sub stream.
pub fn sub_stream(camera: &str) -> String {
    format!("{camera}{SUB}")
}

/// What is wrong with a source.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct SourceError(pub String);

impl Source {
    /// Whether it could work at all.
    pub fn check(&self) -> Result<(), SourceError> {
        match self {
            Source::Pull(p) => check(p),
            Source::Push => Ok(()),
        }
    }
}

/// Whether a source to pull from could work at all.
pub(super) fn check(p: &pull::Source) -> Result<(), SourceError> {
    let scheme = p.url.scheme();
    if !matches!(scheme, "rtsp" | "rtsps") {
        return Err(SourceError(format!(
            "{scheme}:// is not supported: a camera's URL begins with rtsp:// or rtsps://"
        )));
    }
    if p.url.host_str().is_none_or(str::is_empty) {
        return Err(SourceError("the URL names no host".into()));
    }
    Ok(())
}

/// The document's body. What was written before there were subs has none.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Stored {
    Pull {
        #[serde(flatten)]
        main: StoredPull,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sub: Option<StoredPull>,
        enabled: bool,
        created: Timestamp,
    },
    Push {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sub: Option<StoredPull>,
        enabled: bool,
        created: Timestamp,
    },
}

/// A source to pull from. The URL is sealed: it may hold a password.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredPull {
    sealed_url: Vec<u8>,
    transport: pull::Transport,
    tls_insecure: bool,
}

/// What a sealed URL is bound to: which camera's it is, and which of its sources.
fn context(what: &str, name: &str) -> Vec<u8> {
    format!("{what}\0{name}").into_bytes()
}

const MAIN_URL: &str = "camera url";
const SUB_URL: &str = "camera sub url";

impl StoredPull {
    fn seal(gate: &Gate, what: &str, name: &str, p: &pull::Source) -> StoredPull {
        StoredPull {
            sealed_url: gate.seal_secret(&context(what, name), p.url.as_str().as_bytes()),
            transport: p.transport,
            tls_insecure: p.tls_insecure,
        }
    }

    fn open(&self, gate: &Gate, what: &str, name: &str) -> Result<pull::Source, String> {
        let url = gate.open_secret(&context(what, name), &self.sealed_url).map_err(|e| e.to_string())?;
        let url = std::str::from_utf8(&url).map_err(|e| e.to_string())?;
        let url = url.parse().map_err(|e: url::ParseError| e.to_string())?;
        Ok(pull::Source::new(url, self.transport, self.tls_insecure))
    }
}

impl Camera {
    /// Whether it was added, rather than seen to publish.
    pub fn is_kept(&self) -> bool {
        self.version > 0
    }

    /// The stream that its sub is recorded in, if it has one.
    pub fn sub_stream(&self) -> Option<String> {
        self.sub.as_ref().map(|_| sub_stream(&self.name))
    }

    pub(super) fn encode(&self, gate: &Gate) -> Document {
        let (enabled, created) = (self.enabled, self.created);
        let sub = self.sub.as_ref().map(|p| StoredPull::seal(gate, SUB_URL, &self.name, p));
        let stored = match &self.source {
            Source::Push => Stored::Push { sub, enabled, created },
            Source::Pull(p) => {
                Stored::Pull { main: StoredPull::seal(gate, MAIN_URL, &self.name, p), sub, enabled, created }
            }
        };
        let body = serde_json::to_vec(&stored).expect("plain data has a JSON form");
        Document { kind: KIND.into(), id: self.name.clone(), version: self.version, body, keys: Vec::new() }
    }

    pub(super) fn decode(doc: &Document, gate: &Gate) -> Result<Camera, SourceError> {
        let bad = |e: String| SourceError(format!("the document of camera {:?} is damaged: {e}", doc.id));
        let stored = serde_json::from_slice(&doc.body).map_err(|e| bad(e.to_string()))?;
        let (source, sub, enabled, created) = match stored {
            Stored::Push { sub, enabled, created } => (Source::Push, sub, enabled, created),
            Stored::Pull { main, sub, enabled, created } => {
                let main = main.open(gate, MAIN_URL, &doc.id).map_err(bad)?;
                (Source::Pull(main), sub, enabled, created)
            }
        };
        let sub = sub.map(|s| s.open(gate, SUB_URL, &doc.id)).transpose().map_err(bad)?;
        Ok(Camera { name: doc.id.clone(), source, sub, enabled, created, version: doc.version })
    }
}
