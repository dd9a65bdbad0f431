//! `/v1/streams…` and `/hls/…` of `docs/api.md`.

use std::sync::Arc;

use access::{Action, Permit, actions};
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, RawQuery, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wire::v1::{self, ApiError, Caller, Query};
use world::Timestamp;

use crate::{
    Ask, Audio, By, Frames, Mode, StreamConfig, StreamInfo, Video, VideoError, hls::Segment, index::InitHash,
    streams::Stream,
};

pub(crate) type Answer = Result<Response, ApiError>;
pub(crate) type Shared = State<Arc<Video>>;

/// Fragments listed at most, and unless told.
const MAX_LISTED: usize = 10_000;
const LISTED: usize = 1_000;

const IMMUTABLE: &str = "public, max-age=31536000, immutable";
pub(crate) const CHANGES: &str = "no-cache";
pub(crate) const FIXED: &str = "private, max-age=300";

/// The routes of this room.
pub fn router(video: Arc<Video>) -> Router {
    let hls = Router::new()
        .route("/hls/{token}/{file}", get(playlist))
        .route("/hls/{token}/{track}/{file}", get(media))
        .layer(from_fn(cors));
    Router::new()
        .route("/v1/streams", get(list).post(create))
        .route("/v1/streams/{name}", get(describe).delete(delete))
        .route("/v1/streams/{name}/timeline", get(timeline))
        .route("/v1/streams/{name}/sessions", post(session))
        .route("/v1/streams/{name}/live.m3u8", get(live))
        .route("/v1/streams/{name}/still.jpg", get(still))
        .route("/v1/streams/{name}/fragments", get(fragments))
        .route("/v1/streams/{name}/export", get(crate::export::handler))
        .route("/v1/streams/{name}/import", get(crate::import::look).post(crate::import::import))
        .merge(hls)
        .with_state(video.clone())
        .merge(crate::http_retention::router(video))
}

impl From<VideoError> for ApiError {
    fn from(e: VideoError) -> ApiError {
        let m = e.to_string();
        let forbidden = |m| ApiError::new(StatusCode::FORBIDDEN, "NotPermitted", m);
        match &e {
            VideoError::NoStream(_) | VideoError::NoMedia(_) | VideoError::Deleted(_) => {
                ApiError::not_found(m)
            }
            VideoError::Exists(_) | VideoError::Superseded(_) => ApiError::conflict(m),
            VideoError::BadName(_) | VideoError::Bad(_) | VideoError::Build(..) => ApiError::bad_request(m),
            VideoError::NotPermitted { .. } | VideoError::BadToken | VideoError::Expired => forbidden(m),
            VideoError::Gone(_) => ApiError::new(StatusCode::GONE, "Gone", m),
            VideoError::Picture(_) | VideoError::Busy(_) => ApiError::unavailable(m),
            VideoError::Log(..) | VideoError::Catalog(..) if e.retry() => ApiError::unavailable(m),
            VideoError::Log(..) | VideoError::Catalog(..) | VideoError::Damaged(..) => {
                tracing::error!(error = %m, "a request failed");
                ApiError::internal(m)
            }
        }
    }
}

impl Video {
    pub(crate) async fn admit(
        &self,
        caller: &Caller,
        action: Action,
        name: &str,
    ) -> Result<Permit, ApiError> {
        caller.admit(&self.gate, action, &self.home.video_stream(name)).await
    }

    pub(crate) async fn view(&self, s: &StreamInfo) -> Result<Value, VideoError> {
        let time = wire::time::format;
        let (recorded, unreadable) = self.recorded_and_not(&s.name).await?;
        let recorded = recorded.map(
            |r| json!({"from": time(r.from), "to": time(r.to), "bytes": r.bytes, "estimated": r.estimated}),
        );
        let unreadable: Vec<Value> = unreadable
            .iter()
            .map(|u| json!({"from": time(u.arrival.0), "to": time(u.arrival.1), "bytes": u.bytes, "why": u.why}))
            .collect();
        Ok(json!({
            "name": s.name,
            "arn": s.arn.0,
            "created": wire::time::format(s.created),
            "recorded": recorded,
            "unreadable": unreadable,
            "tracks": self.tracks(&s.name).await?,
            "subOf": s.config.sub_of,
            "retention": crate::http_retention::view(
                &self.retention(&s.name).await?,
                &self.own_retention(&s.name)?,
            ),
        }))
    }
}

async fn list(State(v): Shared, caller: Caller) -> Answer {
    let permit = v.admit(&caller, actions::LIST_STREAMS, "*").await?;
    let mut out = Vec::new();
    for s in v.streams(permit)? {
        match v.view(&s).await {
            Ok(view) => out.push(view),
            // Deleted meanwhile.
            Err(VideoError::NoStream(_) | VideoError::Deleted(_)) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(Json(json!({ "streams": out })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
}

async fn create(State(v): Shared, caller: Caller, v1::Body(b): v1::Body<Create>) -> Answer {
    let permit = v.admit(&caller, actions::CREATE_STREAM, &b.name).await?;
    let s = v.create_stream(permit, &b.name, StreamConfig::default()).await?;
    Ok((StatusCode::CREATED, Json(v.view(&s).await?)).into_response())
}

async fn describe(State(v): Shared, caller: Caller, Path(name): Path<String>) -> Answer {
    let _permit = v.admit(&caller, actions::DESCRIBE_STREAM, &name).await?;
    let s = v.stream(&name)?;
    Ok(Json(v.view(&s).await?).into_response())
}

async fn delete(State(v): Shared, caller: Caller, Path(name): Path<String>) -> Answer {
    let permit = v.admit(&caller, actions::DELETE_STREAM, &name).await?;
    v.delete_stream(permit, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeAsk {
    from: Option<String>,
    to: Option<String>,
    #[serde(default)]
    by: By,
    limit: Option<usize>,
}

pub(crate) fn time(what: &str, text: &Option<String>) -> Result<Option<Timestamp>, ApiError> {
    let parsed = text.as_deref().map(wire::time::parse).transpose();
    parsed.map_err(|e| ApiError::bad_request(format!("{what}: {e}")))
}

#[derive(Serialize)]
struct SpanView {
    from: String,
    to: String,
    estimated: bool,
}

async fn timeline(
    State(v): Shared,
    caller: Caller,
    Path(name): Path<String>,
    Query(q): Query<RangeAsk>,
) -> Answer {
    let permit = v.admit(&caller, actions::LIST_FRAGMENTS, &name).await?;
    let now = v.world.clock.now();
    let from = time("from", &q.from)?.unwrap_or(Timestamp(0));
    let to = time("to", &q.to)?.unwrap_or(now);
    let t = v.timeline(permit, &name, q.by, from, to).await?;
    let text = wire::time::format;
    let spans: Vec<_> = t
        .spans
        .iter()
        .map(|s| SpanView { from: text(s.from), to: text(s.to), estimated: s.estimated })
        .collect();
    Ok(Json(json!({
        "from": text(from), "to": text(to), "now": text(now),
        "earliest": t.earliest.map(text), "latest": t.latest.map(text), "spans": spans,
    }))
    .into_response())
}

async fn fragments(
    State(v): Shared,
    caller: Caller,
    Path(name): Path<String>,
    Query(q): Query<RangeAsk>,
) -> Answer {
    let permit = v.admit(&caller, actions::LIST_FRAGMENTS, &name).await?;
    let from = time("from", &q.from)?.unwrap_or(Timestamp(0));
    let to = time("to", &q.to)?.unwrap_or(Timestamp::MAX);
    let limit = q.limit.unwrap_or(LISTED).clamp(1, MAX_LISTED);
    let found = v.fragments(permit, &name, q.by, (from, to), limit).await?;
    let text = wire::time::format;
    let out: Vec<_> = found
        .iter()
        .map(|f| {
            json!({
                "position": f.position(),
                "producerStart": text(f.start(By::Producer)),
                "producerEnd": text(f.end(By::Producer)),
                "serverTime": text(f.payload.arrival),
                "bytes": f.media_len(),
                "keyFrame": f.entry.key.is_some(),
                "discontinuity": f.entry.discontinuity,
                "estimated": f.entry.estimated,
            })
        })
        .collect();
    Ok(Json(json!({ "fragments": out })).into_response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SessionAsk {
    protocol: Option<String>,
    mode: Option<Mode>,
    #[serde(default, with = "wire::time::serde_option")]
    from: Option<Timestamp>,
    #[serde(default, with = "wire::time::serde_option")]
    to: Option<Timestamp>,
    by: Option<By>,
    frames: Option<Frames>,
    audio: Option<Audio>,
    expires_in_seconds: Option<u64>,
}

async fn session(
    State(v): Shared,
    caller: Caller,
    Path(name): Path<String>,
    v1::Body(b): v1::Body<SessionAsk>,
) -> Answer {
    let permit = v.admit(&caller, actions::GET_HLS_STREAMING_SESSION_URL, &name).await?;
    if let Some(p) = b.protocol.as_deref().filter(|p| *p != "hls") {
        return Err(ApiError::bad_request(format!("protocol {p:?} is not known: \"hls\"")));
    }
    let ask = Ask {
        mode: b.mode,
        from: b.from,
        to: b.to,
        by: b.by.unwrap_or_default(),
        frames: b.frames.unwrap_or_default(),
        audio: b.audio.unwrap_or_default(),
        lasts: b.expires_in_seconds.map(std::time::Duration::from_secs),
    };
    let p = v.hls_session(permit, &name, ask).await?;
    Ok((StatusCode::CREATED, Json(json!({"url": p.path, "expires": wire::time::format(p.expires)})))
        .into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LiveAsk {
    audio: Option<Audio>,
}

/// An address that does not end, for what keeps one for years: it leads whoever asks to a live session of its own. Players are told
/// how to say who they are, as many say nothing until they are asked.
async fn live(
    State(v): Shared,
    caller: Caller,
    Path(name): Path<String>,
    Query(q): Query<LiveAsk>,
) -> Response {
    let session = async {
        let permit = v.admit(&caller, actions::GET_HLS_STREAMING_SESSION_URL, &name).await?;
        let audio = q.audio.unwrap_or(Audio::Aac);
        let ask = Ask { audio, lasts: Some(v.config.max_session), ..Ask::default() };
        Ok::<_, ApiError>(v.hls_session(permit, &name, ask).await?)
    };
    match session.await {
        Ok(p) => {
            let mut r = StatusCode::FOUND.into_response();
            set(&mut r, header::LOCATION, &p.path);
            set(&mut r, header::CACHE_CONTROL, "no-store");
            r
        }
        Err(e) => {
            // Here alone: elsewhere browsers would ask the console's users in a dialog of their own.
            let asked = e.status == StatusCode::UNAUTHORIZED;
            let mut r = e.into_response();
            if asked {
                set(&mut r, header::WWW_AUTHENTICATE, "Basic realm=\"Rushes\"");
            }
            r
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StillAsk {
    at: Option<String>,
    width: Option<u32>,
}

async fn still(
    State(v): Shared,
    caller: Caller,
    Path(name): Path<String>,
    Query(q): Query<StillAsk>,
    headers: HeaderMap,
) -> Answer {
    let permit = v.admit(&caller, actions::GET_IMAGES, &name).await?;
    let at = time("at", &q.at)?;
    if q.width.is_some_and(|w| !(16..=7680).contains(&w)) {
        return Err(ApiError::bad_request("width: 16 to 7680 pixels"));
    }
    let Some(frame) = v.key_frame(permit, &name, at).await? else {
        let m = format!("video stream {name:?} has no key frame there");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "NoFrame", m));
    };
    let etag = format!("\"{}-{}\"", frame.time.micros(), q.width.unwrap_or(0));
    let mut r = if matches(&headers, header::IF_NONE_MATCH, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let jpeg = v.picture(&name, &frame, q.width).await?;
        v.sent_still(&name);
        ([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response()
    };
    set(&mut r, header::ETAG, &etag);
    set(&mut r, header::CACHE_CONTROL, "private, no-cache");
    set(&mut r, HeaderName::from_static("x-rushes-time"), &wire::time::format(frame.time));
    Ok(r)
}

async fn playlist(
    State(v): Shared,
    Path((token, file)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer {
    let no = || ApiError::not_found(format!("there is no {file:?} in a playback session"));
    let track = match file.strip_suffix(".m3u8") {
        Some("main") => None,
        Some(id) => Some(id.parse().map_err(|_| no())?),
        None => return Err(no()),
    };
    let (text, fixed) = v.playlist(&token, track, query.as_deref()).await?;
    let mut r = text.into_response();
    set(&mut r, header::CONTENT_TYPE, "application/vnd.apple.mpegurl");
    set(&mut r, header::CACHE_CONTROL, if fixed { FIXED } else { CHANGES });
    Ok(r)
}

async fn media(
    State(v): Shared,
    Path((token, track, file)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Answer {
    let no = || ApiError::not_found(format!("there is no {track}/{file} in a playback session"));
    let id: u8 = track.parse().map_err(|_| no())?;
    if let Some(hash) = file.strip_prefix("init-").and_then(|f| f.strip_suffix(".mp4")) {
        let hash = u64::from_str_radix(hash, 16).map_err(|_| no())?;
        let (init, stream) = v.init_segment(&token, InitHash(hash)).await?;
        let segment = Segment::Whole(vec![init]);
        return Ok(sent(&v, &stream, segment, &headers, &format!("\"i{hash:016x}\""), "video/mp4"));
    }
    if let Some(name) = file.strip_prefix("part-").and_then(|f| f.strip_suffix(".m4s")) {
        let (epoch, seq) = name.split_once('-').ok_or_else(no)?;
        let number = |s: &str| s.parse::<u64>().map_err(|_| no());
        let (epoch, seq) = (number(epoch)?, number(seq)?);
        let (segment, video, stream) = v.part(&token, id, epoch, seq).await?;
        return Ok(sent(&v, &stream, segment, &headers, &format!("\"p{epoch}-{id}-{seq}\""), mp4(video)));
    }
    let position: u64 = file.strip_suffix(".m4s").and_then(|p| p.parse().ok()).ok_or_else(no)?;
    let (segment, video, stream) = v.segment(&token, id, position).await?;
    let etag = format!("\"{position}-{id}-{}\"", segment.len());
    Ok(sent(&v, &stream, segment, &headers, &etag, mp4(video)))
}

/// A segment's media type.
pub(crate) fn mp4(video: bool) -> &'static str {
    if video { "video/mp4" } else { "audio/mp4" }
}

/// Answers with a segment of a session, or the range of it that is asked for: the one way out of all of them.
pub(crate) fn sent(
    v: &Video,
    stream: &Stream,
    segment: Segment,
    headers: &HeaderMap,
    etag: &str,
    kind: &'static str,
) -> Response {
    let (log, tap) = (v.log.clone(), stream.meter.session());
    let part = part(headers, etag, segment.len());
    part.respond(kind, |range| Body::from_stream(tap.through(segment.bytes(log, range))))
}

/// What of an immutable thing is answered (RFC 9110 §13, §14).
struct Part {
    etag: String,
    len: u64,
    what: What,
}

enum What {
    Unchanged,
    All,
    Range(std::ops::Range<u64>),
    Outside,
}

fn part(headers: &HeaderMap, etag: &str, len: u64) -> Part {
    let what = if matches(headers, header::IF_NONE_MATCH, etag) {
        What::Unchanged
    } else if headers.contains_key(header::IF_RANGE) && !matches(headers, header::IF_RANGE, etag) {
        What::All
    } else {
        match headers.get(header::RANGE).and_then(|r| r.to_str().ok()).and_then(|r| range(r, len)) {
            None => What::All,
            Some(Some(r)) => What::Range(r),
            Some(None) => What::Outside,
        }
    };
    Part { etag: etag.to_owned(), len, what }
}

/// One byte range: none if it is not one (then it is ignored), `Some(None)` if it lies outside.
fn range(text: &str, len: u64) -> Option<Option<std::ops::Range<u64>>> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let number = |s: &str| if s.bytes().all(|b| b.is_ascii_digit()) { s.parse::<u64>().ok() } else { None };
    let (from, to) = (from.trim(), to.trim());
    if from.is_empty() {
        let n = number(to)?;
        return Some((n > 0 && len > 0).then(|| len.saturating_sub(n)..len));
    }
    let from = number(from)?;
    let to = if to.is_empty() { len.saturating_sub(1) } else { number(to)? };
    if from > to && from < len {
        return None;
    }
    Some((from < len).then(|| from..to.saturating_add(1).min(len)))
}

impl Part {
    fn respond(self, kind: &'static str, body: impl FnOnce(std::ops::Range<u64>) -> Body) -> Response {
        let (status, range) = match self.what {
            What::Unchanged => (StatusCode::NOT_MODIFIED, None),
            What::All => (StatusCode::OK, Some(0..self.len)),
            What::Range(r) => (StatusCode::PARTIAL_CONTENT, Some(r)),
            What::Outside => (StatusCode::RANGE_NOT_SATISFIABLE, None),
        };
        let mut r = Response::new(Body::empty());
        *r.status_mut() = status;
        if status == StatusCode::PARTIAL_CONTENT
            && let Some(range) = &range
        {
            set(
                &mut r,
                header::CONTENT_RANGE,
                &format!("bytes {}-{}/{}", range.start, range.end - 1, self.len),
            );
        } else if status == StatusCode::RANGE_NOT_SATISFIABLE {
            set(&mut r, header::CONTENT_RANGE, &format!("bytes */{}", self.len));
        }
        if let Some(range) = range {
            set(&mut r, header::CONTENT_LENGTH, &(range.end - range.start).to_string());
            set(&mut r, header::CONTENT_TYPE, kind);
            *r.body_mut() = body(range);
        }
        set(&mut r, header::ACCEPT_RANGES, "bytes");
        set(&mut r, header::ETAG, &self.etag);
        set(&mut r, header::CACHE_CONTROL, IMMUTABLE);
        r
    }
}

fn matches(headers: &HeaderMap, name: HeaderName, etag: &str) -> bool {
    let all = headers.get_all(name);
    let mut tags = all.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    tags.any(|t| t.trim() == etag || t.trim() == "*")
}

pub(crate) fn set(r: &mut Response, name: HeaderName, value: &str) {
    // Digits, hexadecimal and fixed texts: all are header values.
    if let Ok(v) = HeaderValue::from_str(value) {
        r.headers_mut().insert(name, v);
    }
}

/// Any page may play: the token is what admits.
pub(crate) async fn cors(req: Request, next: Next) -> Response {
    let mut r = if req.method() == Method::OPTIONS {
        let mut r = StatusCode::NO_CONTENT.into_response();
        set(&mut r, header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS");
        set(
            &mut r,
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Range, If-Range, If-None-Match, Cache-Control, Content-Type",
        );
        set(&mut r, header::ACCESS_CONTROL_MAX_AGE, "86400");
        r
    } else {
        next.run(req).await
    };
    set(&mut r, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(
        &mut r,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        "Accept-Ranges, Cache-Control, Content-Length, Content-Range, Date, ETag",
    );
    r
}
