//! The `/v1` JSON of `docs/api.md`: credentials in, errors out.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use access::{Action, Credentials, Denied, Gate, Permit};
use axum::{
    extract::{FromRequest, FromRequestParts, Request, rejection::JsonRejection},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use base64::Engine as _;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use world::Arn;

use crate::aws::{AwsError, body::Bodies};

/// The console's cookie.
pub const COOKIE: &str = "rushes_session";

/// The address of ours that a connection came to: the listener leaves it among a request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local(pub SocketAddr);

/// An error in the API's form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// One word for programs.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl ApiError {
    /// Any status and code.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        ApiError { status, code, message: message.into() }
    }
    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }
    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }
    /// 409.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message)
    }
    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", message)
    }
    /// 500.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal", message)
    }
}

impl From<Denied> for ApiError {
    fn from(d: Denied) -> Self {
        match &d {
            Denied::NotPermitted { .. } => Self::new(StatusCode::FORBIDDEN, "NotPermitted", d.to_string()),
            Denied::TooManyAttempts { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "SlowDown", d.to_string())
            }
            Denied::Unavailable(_) => Self::unavailable(d.to_string()),
            _ => Self::new(StatusCode::UNAUTHORIZED, "NotAuthenticated", d.to_string()),
        }
    }
}

impl From<AwsError> for ApiError {
    /// A body was not read.
    fn from(e: AwsError) -> Self {
        let status = StatusCode::from_u16(e.status).unwrap_or(StatusCode::BAD_REQUEST);
        let code = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "TooLarge",
            StatusCode::REQUEST_TIMEOUT => "Timeout",
            StatusCode::SERVICE_UNAVAILABLE => "Unavailable",
            _ => "BadRequest",
        };
        ApiError::new(status, code, e.message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({"error": {"code": self.code, "message": self.message}});
        let mut r = (self.status, axum::Json(body)).into_response();
        r.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        r
    }
}

/// Who is calling, as the request says; nothing is believed until [`Caller::admit`].
#[derive(Clone, PartialEq, Eq)]
pub struct Caller {
    who: Who,
    /// From where; wrong secrets are counted by it.
    source: Option<IpAddr>,
}

#[derive(Clone, PartialEq, Eq)]
enum Who {
    /// No credentials.
    Anonymous,
    /// HTTP Basic.
    Key {
        /// Access key id.
        id: String,
        /// Secret access key.
        secret: String,
    },
    /// The console's cookie.
    Console(String),
}

impl Caller {
    /// Passes the gate for one action on one resource.
    pub async fn admit(&self, gate: &Gate, action: Action, resource: &Arn) -> Result<Permit, ApiError> {
        Ok(self.gate(gate).admit(self.credentials(), action, resource).await?)
    }
    /// The gate as met from where the caller is.
    pub fn gate(&self, gate: &Gate) -> Gate {
        self.source.map_or_else(|| gate.clone(), |s| gate.at(s))
    }
    /// In the gate's words.
    pub fn credentials(&self) -> Credentials<'_> {
        match &self.who {
            Who::Anonymous => Credentials::Anonymous,
            Who::Key { id, secret } => Credentials::AccessKey { id, secret },
            Who::Console(cookie) => Credentials::Console(cookie),
        }
    }
    /// The cookie's value, if that is how the caller comes.
    pub fn cookie(&self) -> Option<&str> {
        match &self.who {
            Who::Console(c) => Some(c),
            _ => None,
        }
    }
    /// Reads the headers. `source` is the peer's address, where it is known.
    pub fn from_headers(
        headers: &HeaderMap,
        method: &Method,
        source: Option<IpAddr>,
    ) -> Result<Caller, ApiError> {
        Ok(Caller { who: Who::from_headers(headers, method)?, source })
    }
}

impl Who {
    fn from_headers(headers: &HeaderMap, method: &Method) -> Result<Who, ApiError> {
        if let Some(auth) = headers.get(header::AUTHORIZATION) {
            let bad = || {
                ApiError::bad_request(
                    "Authorization: only \"Basic base64(ACCESS_KEY_ID:SECRET)\" is understood here",
                )
            };
            let auth = auth.to_str().map_err(|_| bad())?;
            let (scheme, rest) = auth.split_once(' ').ok_or_else(bad)?;
            if !scheme.eq_ignore_ascii_case("basic") {
                return Err(bad());
            }
            let raw = base64::engine::general_purpose::STANDARD.decode(rest.trim()).map_err(|_| bad())?;
            let text = String::from_utf8(raw).map_err(|_| bad())?;
            let (id, secret) = text.split_once(':').ok_or_else(bad)?;
            return Ok(Who::Key { id: id.into(), secret: secret.into() });
        }
        let cookie = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(';'))
            .filter_map(|kv| kv.trim().split_once('='))
            .find(|(k, _)| *k == COOKIE)
            .map(|(_, v)| v.to_owned());
        match cookie {
            None => Ok(Who::Anonymous),
            // Another site's form can send the cookie but not this header.
            Some(_) if !method.is_safe() && !headers.contains_key("x-rushes-console") => Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "NotPermitted",
                "a change made with the console's cookie must carry the header X-Rushes-Console",
            )),
            Some(c) => Ok(Who::Console(c)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // The listener leaves the peer's address here.
        let source = parts.extensions.get::<SocketAddr>().map(SocketAddr::ip);
        Caller::from_headers(&parts.headers, &parts.method, source)
    }
}

/// Bytes of a body at most.
const BODY: usize = 256 << 10;

/// The request, its body read: in time, and within what all such bodies may take, since nobody has asked yet whose it is.
async fn whole(mut req: Request) -> Result<Request, ApiError> {
    // Left there by who lets requests through to here; nobody does in tests of a router alone.
    let Some(bodies) = req.extensions_mut().remove::<Arc<Bodies>>() else { return Ok(req) };
    let (parts, body) = req.into_parts();
    let body = bodies.read(body, BODY).await?;
    Ok(Request::from_parts(parts, Bytes::copy_from_slice(&body).into()))
}

/// A body of any form, read whole.
pub struct Whole(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Whole {
    type Rejection = ApiError;
    async fn from_request(req: Request, s: &S) -> Result<Self, ApiError> {
        let read = Bytes::from_request(whole(req).await?, s).await;
        read.map(Whole).map_err(|e| ApiError::new(e.status(), "BadRequest", e.body_text()))
    }
}

/// A JSON body; what is wrong with it is said in the API's form.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;
    async fn from_request(req: Request, s: &S) -> Result<Self, ApiError> {
        match axum::Json::<T>::from_request(whole(req).await?, s).await {
            Ok(axum::Json(v)) => Ok(Body(v)),
            Err(JsonRejection::MissingJsonContentType(_)) => {
                Err(ApiError::bad_request("Content-Type must be application/json"))
            }
            Err(e) => Err(ApiError::bad_request(e.body_text())),
        }
    }
}

/// A query string; what is wrong with it is said in the API's form.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, s: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::<T>::from_request_parts(parts, s).await {
            Ok(axum::extract::Query(v)) => Ok(Query(v)),
            Err(e) => Err(ApiError::bad_request(e.body_text())),
        }
    }
}

/// Whether a text may name a stream or a camera.
pub fn valid_name(name: &str) -> Result<(), ApiError> {
    let ok = (1..=256).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if ok && name != "." && name != ".." {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("{name:?} cannot be a name: 1 to 256 of a-z A-Z 0-9 _ . -")))
}
