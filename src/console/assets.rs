//! The pages, as they were built: with the best encoding that the client takes, and with tags, so that what it has it need
//! not fetch again.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

/// A file, as it is and compressed where that is shorter.
struct Asset {
    plain: &'static [u8],
    br: Option<&'static [u8]>,
    gz: Option<&'static [u8]>,
    /// Of its content.
    tag: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; \
                      worker-src 'self' blob:; style-src 'self'; object-src 'none'; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

const MISSING: &str = "<!doctype html><meta charset=utf-8><title>Rushes</title><p>This binary was built without its \
                       console. Run <code>make web</code> and build again; the APIs and playback work as they are.";

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or("") {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "json" | "webmanifest" => "application/json",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.binary_search_by(|(n, _)| (*n).cmp(name)).ok().map(|i| &ASSETS[i].1)
}

/// Whether a client takes a content coding (RFC 9110 §12.5.3); one that it does not name it does not take.
fn takes(headers: &HeaderMap, coding: &str) -> bool {
    let all = headers.get_all(header::ACCEPT_ENCODING);
    all.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).any(|one| {
        let mut parts = one.split(';');
        let named = parts.next().is_some_and(|n| n.trim().eq_ignore_ascii_case(coding));
        let refused = parts.any(|p| {
            let quality = p.trim().strip_prefix("q=").and_then(|q| q.trim().parse::<f32>().ok());
            quality.is_some_and(|q| q <= 0.0)
        });
        named && !refused
    })
}

impl Asset {
    /// What to send, and how it is encoded.
    fn best(&self, headers: &HeaderMap) -> (&'static [u8], Option<&'static str>) {
        match (self.br, self.gz) {
            (Some(b), _) if takes(headers, "br") => (b, Some("br")),
            (_, Some(b)) if takes(headers, "gzip") => (b, Some("gzip")),
            _ => (self.plain, None),
        }
    }
}

/// The page or asset for a path; paths without a dot are the page's own routes.
pub async fn serve(request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let path = request.uri().path().trim_start_matches('/');
    let api = ["v1/", "hls/"].iter().any(|p| path.starts_with(p));
    let (name, asset) = match find(path) {
        Some(a) if !path.is_empty() => (path, Some(a)),
        _ if api || path.contains('.') => {
            return wire::v1::ApiError::not_found(format!("there is nothing at /{path}")).into_response();
        }
        _ => ("index.html", find("index.html")),
    };
    let mut r = match asset {
        Some(a) => encoded(a, request.headers()),
        None => MISSING.into_response(),
    };
    let h = r.headers_mut();
    h.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(name)));
    // Vite puts a hash into the names below assets/.
    let cache = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    h.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    h.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    h.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    h.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    r
}

fn encoded(asset: &Asset, headers: &HeaderMap) -> Response {
    let (body, coding) = asset.best(headers);
    let etag = format!("\"{}{}\"", asset.tag, coding.map(|c| format!("-{c}")).unwrap_or_default());
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    let same = known.flat_map(|v| v.split(',')).any(|t| t.trim().trim_start_matches("W/") == etag);
    let mut r = if same { StatusCode::NOT_MODIFIED.into_response() } else { body.into_response() };
    let mut set = |name: HeaderName, value: &str| {
        // Digits and fixed texts: all are header values.
        if let Ok(v) = HeaderValue::from_str(value) {
            r.headers_mut().insert(name, v);
        }
    };
    set(header::ETAG, &etag);
    set(header::VARY, "Accept-Encoding");
    if let (Some(c), false) = (coding, same) {
        set(header::CONTENT_ENCODING, c);
    }
    r
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Asset = Asset { plain: b"plain", br: Some(b"b"), gz: Some(b"g"), tag: "7" };

    fn asked(encodings: &str) -> (&'static [u8], Option<&'static str>) {
        let mut h = HeaderMap::new();
        h.insert(header::ACCEPT_ENCODING, encodings.parse().unwrap());
        ONE.best(&h)
    }

    #[test]
    fn what_the_client_takes_is_sent() {
        assert_eq!(ONE.best(&HeaderMap::new()), (&b"plain"[..], None));
        assert_eq!(asked("gzip, deflate, br, zstd"), (&b"b"[..], Some("br")));
        assert_eq!(asked("GZIP;q=0.5"), (&b"g"[..], Some("gzip")));
        assert_eq!(asked("br;q=0, gzip ; q=1"), (&b"g"[..], Some("gzip")));
        assert_eq!(asked("identity, xbr"), (&b"plain"[..], None));
        let bare = Asset { br: None, ..ONE };
        let mut h = HeaderMap::new();
        h.insert(header::ACCEPT_ENCODING, "br".parse().unwrap());
        assert_eq!(bare.best(&h), (&b"plain"[..], None));
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let mut h = HeaderMap::new();
        h.insert(header::ACCEPT_ENCODING, "br".parse().unwrap());
        let r = encoded(&ONE, &h);
        assert_eq!(
            (r.status(), r.headers()[header::CONTENT_ENCODING].to_str().unwrap()),
            (StatusCode::OK, "br")
        );
        let tag = r.headers()[header::ETAG].clone();
        h.insert(header::IF_NONE_MATCH, tag.clone());
        let r = encoded(&ONE, &h);
        assert_eq!(
            (r.status(), r.headers().contains_key(header::CONTENT_ENCODING)),
            (StatusCode::NOT_MODIFIED, false)
        );
        // Another encoding is another thing.
        h.remove(header::ACCEPT_ENCODING);
        assert_eq!(encoded(&ONE, &h).status(), StatusCode::OK);
    }
}
