//! REST-JSON: operations are known by method and path; members of the input may be in the path, the query and headers
//! (Smithy, "AWS restJson1 protocol" and "HTTP bindings").

use axum::http::{HeaderMap, Method, request::Parts};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// A member of the input that does not come in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// (header, member): text.
    Header(&'static str, &'static str),
    /// (parameter, member): text.
    Query(&'static str, &'static str),
    /// (parameter, member): a whole number; what is none is left as text, which then is the wrong type.
    Number(&'static str, &'static str),
}

/// The method and path of an operation: `POST /2015-03-31/functions/{FunctionName}`. What stands in braces is a member
/// of the input.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    method: Method,
    path: Vec<&'static str>,
    binds: &'static [Bind],
}

impl Route {
    /// What is not a method and a path matches nothing.
    pub fn new(uri: &'static str, binds: &'static [Bind]) -> Route {
        let (method, path) = uri.split_once(" /").unwrap_or(("NONE", "\0"));
        Route { method: method.parse().unwrap_or(Method::TRACE), path: path.split('/').collect(), binds }
    }

    /// Whether a request is for it.
    pub fn matches(&self, method: &Method, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else { return false };
        let mut given = path.split('/');
        let same = self
            .path
            .iter()
            .all(|want| given.next().is_some_and(|g| g == *want || want.starts_with('{') && !g.is_empty()));
        same && given.next().is_none() && self.method == *method
    }

    /// The members that are bound to other parts of the request than its body.
    pub fn members(&self, parts: &Parts) -> Map<String, Value> {
        let mut out = Map::new();
        let decoded = |s: &str| Value::String(percent_decode_str(s).decode_utf8_lossy().into_owned());
        for (want, given) in self.path.iter().zip(parts.uri.path().split('/').skip(1)) {
            if let Some(name) = want.strip_prefix('{').and_then(|w| w.strip_suffix('}')) {
                out.insert(name.into(), decoded(given));
            }
        }
        let query = |name: &str| {
            let mut pairs = parts.uri.query().unwrap_or_default().split('&');
            pairs.find_map(|p| p.split_once('=').filter(|(k, _)| *k == name)).map(|(_, v)| decoded(v))
        };
        for b in self.binds {
            let (member, value) = match b {
                Bind::Header(name, member) => (member, header(&parts.headers, name)),
                Bind::Query(name, member) => (member, query(name)),
                Bind::Number(name, member) => {
                    let number = |v: Value| match v.as_str().map(str::parse::<i64>) {
                        Some(Ok(n)) => Value::from(n),
                        _ => v,
                    };
                    (member, query(name).map(number))
                }
            };
            if let Some(v) = value {
                out.insert((*member).into(), v);
            }
        }
        out
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<Value> {
    headers.get(name).map(|v| Value::String(String::from_utf8_lossy(v.as_bytes()).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, uri: &str) -> Parts {
        axum::http::Request::builder()
            .method(method)
            .uri(uri)
            .header("X-Name", " v ")
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    #[test]
    fn members_are_in_the_path_the_query_and_headers() {
        const BINDS: &[Bind] = &[
            Bind::Header("x-name", "Name"),
            Bind::Header("x-none", "None"),
            Bind::Query("Marker", "Marker"),
            Bind::Number("MaxItems", "MaxItems"),
        ];
        let r = Route::new("GET /v1/functions/{FunctionName}/code", BINDS);
        let p = parts("GET", "/v1/functions/a%2Fb/code?Marker=x%20y&MaxItems=7");
        assert!(r.matches(&p.method, p.uri.path()));
        assert_eq!(
            Value::Object(r.members(&p)),
            serde_json::json!({"FunctionName": "a/b", "Name": "v", "Marker": "x y", "MaxItems": 7})
        );
        for (method, uri) in [
            ("POST", "/v1/functions/a/code"),
            ("GET", "/v1/functions//code"),
            ("GET", "/v1/functions/a"),
            ("GET", "/v1/functions/a/code/b"),
            ("GET", "/"),
        ] {
            let p = parts(method, uri);
            assert!(!r.matches(&p.method, p.uri.path()), "{method} {uri}");
        }
        assert!(!Route::new("nonsense", &[]).matches(&Method::GET, "/nonsense"));
    }
}
