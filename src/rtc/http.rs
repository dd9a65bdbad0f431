//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) as HTTP has them. `docs/webrtc.md` is their page.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use access::{Action, Credentials, Permit, actions};
use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{any, post},
};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;
use wire::v1::{self, ApiError, Caller, Local, Whole};

use crate::{
    hub::{Agreed, Hub},
    sdp,
    table::{Control, Entry, Restart, Way},
};

type Answer = Result<Response, ApiError>;
type Shared = State<Arc<Hub>>;

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
/// How long a viewing token is good for, unless told, and at most.
const LASTS: u64 = 43_200;
const LONGEST: u64 = 604_800;

/// The routes of this room.
pub fn router(hub: Arc<Hub>) -> Router {
    let way = |way: Way| {
        let name = if way == Way::In { "whip" } else { "whep" };
        Router::new()
            .route(&format!("/{name}/{{stream}}"), any(endpoint))
            .route(&format!("/{name}/{{stream}}/{{id}}"), any(resource))
            .layer(Extension(way))
    };
    let open = way(Way::In).merge(way(Way::Out)).layer(from_fn(cors));
    Router::new()
        .merge(open)
        .route("/v1/streams/{stream}/whep", post(token))
        .layer(DefaultBodyLimit::max(sdp::MAX_BYTES + 1))
        .with_state(hub)
}

/// Any page may ask: what admits is the token.
async fn cors(request: Request, next: Next) -> Response {
    let mut r = next.run(request).await;
    let headers = r.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Location, ETag, Link, Accept-Patch, Accept-Post"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, PATCH, DELETE, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-Match"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if r.status() == StatusCode::UNAUTHORIZED {
        r.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    r
}

fn not_allowed(allow: &'static str) -> Response {
    let e = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", format!("here go {allow}"));
    let mut r = e.into_response();
    r.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    r
}

/// Without parameters, in lower case.
fn content_type(headers: &HeaderMap) -> String {
    let of = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    of.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn expect_type(headers: &HeaderMap, wanted: &'static str) -> Result<(), ApiError> {
    if content_type(headers) == wanted {
        return Ok(());
    }
    let m = format!("Content-Type must be {wanted}");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", m))
}

fn text(body: &Bytes) -> Result<&str, ApiError> {
    std::str::from_utf8(body).map_err(|_| ApiError::bad_request("the body is not UTF-8"))
}

/// A bearer's token may be one for viewing or publishing, or an access key as `ID:SECRET`, for programs that have but one
/// field; whatever else [`Caller`] takes is taken, too.
async fn admit(
    hub: &Hub,
    headers: &HeaderMap,
    source: Option<SocketAddr>,
    action: Action,
    stream: &str,
) -> Result<Permit, ApiError> {
    v1::valid_name(stream)?;
    let resource = hub.home.video_stream(stream);
    let source = source.map(|s| s.ip());
    let gate = source.map_or_else(|| hub.gate.clone(), |s| hub.gate.at(s));
    let bearer = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| {
        let (scheme, token) = v.split_once(' ').unwrap_or((v, ""));
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    match bearer {
        Some(token) => {
            let credentials = match token.split_once(':') {
                Some((id, secret)) => Credentials::AccessKey { id, secret },
                None if action == actions::PUT_MEDIA => Credentials::Token(token),
                None => Credentials::Playback(token),
            };
            Ok(gate.admit(credentials, action, &resource).await?)
        }
        None => {
            let caller = Caller::from_headers(headers, &Method::POST, source)?;
            caller.admit(&hub.gate, action, &resource).await
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "each is one thing that a request brings")]
async fn endpoint(
    State(hub): Shared,
    Extension(way): Extension<Way>,
    peer: Option<Extension<SocketAddr>>,
    local: Option<Extension<Local>>,
    Path(stream): Path<String>,
    method: Method,
    headers: HeaderMap,
    Whole(body): Whole,
) -> Answer {
    if method == Method::OPTIONS {
        return Ok((StatusCode::NO_CONTENT, [(HeaderName::from_static("accept-post"), SDP)]).into_response());
    }
    if method != Method::POST {
        return Ok(not_allowed("POST, OPTIONS"));
    }
    let (source, asked) = (peer.map(|p| p.0), local.map(|l| l.0.0.ip()));
    let action = if way == Way::In { actions::PUT_MEDIA } else { actions::GET_MEDIA };
    let permit = admit(&hub, &headers, source, action, &stream).await?;
    expect_type(&headers, SDP)?;
    let offer = text(&body)?;
    let (agreed, name) = match way {
        Way::In => (hub.take(permit, &stream, offer, asked)?, "whip"),
        Way::Out => (hub.play(permit, &stream, offer, asked)?, "whep"),
    };
    let Agreed { id, ufrag, answer } = agreed;
    let head = [
        (header::CONTENT_TYPE, SDP.to_owned()),
        (header::LOCATION, format!("/{name}/{stream}/{id}")),
        (header::ETAG, format!("\"{ufrag}\"")),
        (HeaderName::from_static("accept-patch"), FRAGMENT.to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let mut response = (StatusCode::CREATED, head, answer).into_response();
    for link in links(&hub, asked) {
        response.headers_mut().append(header::LINK, link);
    }
    Ok(response)
}

/// The TURN server, as RFC 9725 §4.6 has it.
fn links(hub: &Hub, asked: Option<std::net::IpAddr>) -> Vec<HeaderValue> {
    let Some(servers) = hub.ice_servers(asked) else { return Vec::new() };
    let (user, password) = (&servers.grant.username, &servers.grant.password);
    let link = |uri: &String| {
        format!(
            "<{uri}>; rel=\"ice-server\"; username=\"{user}\"; credential=\"{password}\"; credential-type=\"password\""
        )
    };
    servers.uris.iter().filter_map(|u| HeaderValue::try_from(link(u)).ok()).collect()
}

/// A session. Its URL is a secret that only its owner was told.
async fn resource(
    State(hub): Shared,
    Extension(way): Extension<Way>,
    Path((stream, id)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
    Whole(body): Whole,
) -> Answer {
    if method == Method::OPTIONS {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let entry = hub.table.get(&id).filter(|e| e.way == way && e.stream == stream);
    let entry = entry.ok_or_else(|| ApiError::not_found("there is no such session, or it has ended"))?;
    match method {
        Method::DELETE => {
            hub.end(&id).await;
            Ok(StatusCode::OK.into_response())
        }
        Method::PATCH => patch(&hub, &id, &entry, &headers, &body).await,
        _ => Ok(not_allowed("PATCH, DELETE, OPTIONS")),
    }
}

/// Candidates of a peer that come later (RFC 9725 §4.3.2): an ICE-lite server has no use for them, since it is the peer that
/// checks. Or new credentials of the peer, by which it restarts ICE (§4.3.3).
async fn patch(hub: &Hub, id: &str, entry: &Entry, headers: &HeaderMap, body: &Bytes) -> Answer {
    expect_type(headers, FRAGMENT)?;
    let etag = format!("\"{}\"", entry.ufrag);
    let Some(tag) = headers.get(header::IF_MATCH) else {
        let m = "If-Match has to say which ICE session this is for: its ETag, or * for a restart";
        return Err(ApiError::new(StatusCode::PRECONDITION_REQUIRED, "PreconditionRequired", m));
    };
    if !tag.to_str().is_ok_and(|t| t == "*" || t.split(',').any(|t| t.trim() == etag)) {
        let m = "the session's ETag is another one";
        return Err(ApiError::new(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", m));
    }
    let fragment = sdp::fragment(text(body)?).map_err(ApiError::bad_request)?;
    let Some(ufrag) = fragment.ufrag.filter(|u| Some(u) != entry.remote_ufrag.as_ref()) else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let pwd =
        fragment.pwd.ok_or_else(|| ApiError::bad_request("there is an ice-ufrag without an ice-pwd"))?;
    let gone = || ApiError::not_found("there is no such session, or it has ended");
    let (answer, told) = oneshot::channel();
    let restart = Control::Restart(Restart { ufrag, pwd, answer });
    entry.control.send(restart).await.map_err(|_| gone())?;
    let fragment = told.await.map_err(|_| gone())?;
    let refuse = |m| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "NoRestart", m);
    let fragment = fragment.map_err(refuse)?;
    let ufrag = hub.table.get(id).ok_or_else(gone)?.ufrag;
    let head = [(header::CONTENT_TYPE, FRAGMENT.to_owned()), (header::ETAG, format!("\"{ufrag}\""))];
    Ok((StatusCode::OK, head, fragment).into_response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TokenAsk {
    expires_in_seconds: Option<u64>,
}

/// A token for a viewer that has no access key.
async fn token(
    State(hub): Shared,
    caller: Caller,
    Path(stream): Path<String>,
    v1::Body(ask): v1::Body<TokenAsk>,
) -> Answer {
    v1::valid_name(&stream)?;
    let lasts = ask.expires_in_seconds.unwrap_or(LASTS);
    if !(1..=LONGEST).contains(&lasts) {
        return Err(ApiError::bad_request(format!("expiresInSeconds: 1 to {LONGEST}")));
    }
    let permit = caller.admit(&hub.gate, actions::GET_MEDIA, &hub.home.video_stream(&stream)).await?;
    // Whether there is such a stream.
    hub.source.tracks(&stream)?;
    let expires = hub.world.clock.now() + Duration::from_secs(lasts);
    let token =
        hub.gate.playback_token(&stream, expires).map_err(|e| ApiError::bad_request(e.to_string()))?;
    drop(permit);
    let url = format!("/whep/{stream}");
    Ok((
        StatusCode::CREATED,
        Json(json!({"url": url, "token": token, "expires": wire::time::format(expires)})),
    )
        .into_response())
}
