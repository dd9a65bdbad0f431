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

/// What is wrong with a source.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct SourceError(pub String);

impl Source {
    /// Whether it could work at all.
    pub fn check(&self) -> Result<(), SourceError> {
        let Source::Pull(p) = self else { return Ok(()) };
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
}

/// The document's body. The URL is sealed: it may hold a password.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Stored {
    Pull {
        sealed_url: Vec<u8>,
        transport: pull::Transport,
        tls_insecure: bool,
        enabled: bool,
        created: Timestamp,
    },
    Push {
        enabled: bool,
        created: Timestamp,
    },
}

fn context(name: &str) -> Vec<u8> {
    format!("camera url\0{name}").into_bytes()
}

impl Camera {
    /// Whether it was added, rather than seen to publish.
    pub fn is_kept(&self) -> bool {
        self.version > 0
    }

    pub(super) fn encode(&self, gate: &Gate) -> Document {
        let (enabled, created) = (self.enabled, self.created);
        let stored = match &self.source {
            Source::Push => Stored::Push { enabled, created },
            Source::Pull(p) => Stored::Pull {
                sealed_url: gate.seal_secret(&context(&self.name), p.url.as_str().as_bytes()),
                transport: p.transport,
                tls_insecure: p.tls_insecure,
                enabled,
                created,
            },
        };
        let body = serde_json::to_vec(&stored).expect("plain data has a JSON form");
        Document { kind: KIND.into(), id: self.name.clone(), version: self.version, body, keys: Vec::new() }
    }

    pub(super) fn decode(doc: &Document, gate: &Gate) -> Result<Camera, SourceError> {
        let bad = |e: &dyn std::fmt::Display| {
            SourceError(format!("the document of camera {:?} is damaged: {e}", doc.id))
        };
        let (source, enabled, created) = match serde_json::from_slice(&doc.body).map_err(|e| bad(&e))? {
            Stored::Push { enabled, created } => (Source::Push, enabled, created),
            Stored::Pull { sealed_url, transport, tls_insecure, enabled, created } => {
                let url = gate.open_secret(&context(&doc.id), &sealed_url).map_err(|e| bad(&e))?;
                let url = std::str::from_utf8(&url).map_err(|e| bad(&e))?.parse().map_err(|e| bad(&e))?;
                (Source::Pull(pull::Source::new(url, transport, tls_insecure)), enabled, created)
            }
        };
        Ok(Camera { name: doc.id.clone(), source, enabled, created, version: doc.version })
    }
}
