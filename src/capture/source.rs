//! Where a camera is, and how to name it without its password.

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use url::Url;

/// How media come from a camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP, and UDP if the camera refuses that or sends nothing.
    #[default]
    Auto,
    /// Within the RTSP connection: nothing is lost, and a slow disk slows the camera.
    Tcp,
    /// Packets of their own: what the network or we drop is counted.
    Udp,
}

/// What speaks RTSP to the camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// See [`Source::engine_to_use`].
    #[default]
    Auto,
    /// The `retina` crate; no TLS.
    Retina,
    /// GStreamer's `rtspsrc`.
    GStreamer,
}

/// A camera to pull from. `Debug` shows no credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// `rtsp://` or `rtsps://`, with the user name and password if needed, percent-encoded.
    pub url: Url,
    /// How media come.
    pub transport: Transport,
    /// What speaks RTSP.
    pub engine: Engine,
    /// For `rtsps://`: whether any certificate will do.
    pub tls_insecure: bool,
}

impl Source {
    /// With the engine left to us.
    pub fn new(url: Url, transport: Transport, tls_insecure: bool) -> Source {
        Source { url, transport, engine: Engine::Auto, tls_insecure }
    }

    /// Which engine is used, or in words why none can be: `retina` for `rtsp://`, which costs least; GStreamer for
    /// `rtsps://`, which `retina` does not speak.
    pub fn engine_to_use(&self) -> Result<Engine, String> {
        let have_gstreamer = cfg!(feature = "gstreamer");
        match (self.url.scheme(), self.engine) {
            ("rtsp", Engine::Auto | Engine::Retina) => Ok(Engine::Retina),
            ("rtsp" | "rtsps", Engine::GStreamer) | ("rtsps", Engine::Auto) if have_gstreamer => {
                Ok(Engine::GStreamer)
            }
            ("rtsps", Engine::Retina) => Err("retina does not speak TLS: rtsps:// needs GStreamer".into()),
            ("rtsp" | "rtsps", _) => {
                Err("this program was built without GStreamer, which rtsps:// needs".into())
            }
            (scheme, _) => Err(format!("{scheme}:// is not rtsp:// or rtsps://")),
        }
    }

    /// User name and password, decoded.
    pub(crate) fn credentials(&self) -> Option<(String, String)> {
        let decode = |s: &str| percent_decode_str(s).decode_utf8_lossy().into_owned();
        let user = decode(self.url.username());
        let password = decode(self.url.password().unwrap_or_default());
        (!user.is_empty() || !password.is_empty()).then_some((user, password))
    }

    /// The URL without them.
    pub(crate) fn plain_url(&self) -> Url {
        let mut url = self.url.clone();
        // Neither can fail on a URL with a host, and those without are refused before.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("url", &redact(&self.url))
            .field("transport", &self.transport)
            .field("engine", &self.engine)
            .field("tls_insecure", &self.tls_insecure)
            .finish()
    }
}

/// A URL fit to be shown: credentials, and what looks like them in the query, are starred out.
pub fn redact(url: &Url) -> String {
    let mut url = url.clone();
    if !url.username().is_empty() || url.password().is_some() {
        let _ = url.set_username("***");
        let _ = url.set_password(None);
    }
    if let Some(query) = url.query() {
        let secret = |key: &str| {
            let key = key.to_ascii_lowercase();
            ["pass", "pwd", "user", "usr", "auth", "token", "key", "secret", "sig", "loginuse", "login"]
                .iter()
                .any(|s| key.contains(s))
        };
        let parts = query.split('&').map(|part| match part.split_once('=') {
            Some((key, _)) if secret(key) => format!("{key}=***"),
            _ => part.to_string(),
        });
        let query = parts.collect::<Vec<_>>().join("&");
        url.set_query(Some(&query));
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(url: &str, engine: Engine) -> Source {
        Source { engine, ..Source::new(url.parse().unwrap(), Transport::Auto, false) }
    }

    #[test]
    fn the_engine_follows_from_the_url() {
        let engine = |url, e| source(url, e).engine_to_use();
        assert_eq!(engine("rtsp://h/", Engine::Auto), Ok(Engine::Retina));
        assert_eq!(engine("rtsp://h/", Engine::Retina), Ok(Engine::Retina));
        assert!(engine("rtsps://h/", Engine::Retina).is_err());
        assert!(engine("http://h/", Engine::Auto).unwrap_err().contains("http://"));
        if cfg!(feature = "gstreamer") {
            assert_eq!(engine("rtsps://h/", Engine::Auto), Ok(Engine::GStreamer));
            assert_eq!(engine("rtsp://h/", Engine::GStreamer), Ok(Engine::GStreamer));
        } else {
            assert!(engine("rtsps://h/", Engine::Auto).unwrap_err().contains("without GStreamer"));
            assert!(engine("rtsp://h/", Engine::GStreamer).is_err());
        }
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let s =
            source("rtsp://ad%40min:p%2Fw%20d@cam:554/h264?channel=1&password=hush&subtype=0", Engine::Auto);
        assert_eq!(s.credentials(), Some(("ad@min".into(), "p/w d".into())));
        assert_eq!(s.plain_url().as_str(), "rtsp://cam:554/h264?channel=1&password=hush&subtype=0");
        let shown = format!("{s:?} {}", redact(&s.url));
        for secret in ["ad%40min", "ad@min", "p%2Fw", "p/w", "hush"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown.contains("rtsp://***@cam:554/h264?channel=1&password=***&subtype=0"), "{shown}");
        assert_eq!(source("rtsp://cam/", Engine::Auto).credentials(), None);
    }
}
