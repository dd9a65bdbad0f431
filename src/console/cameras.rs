//! `/v1/cameras` of `docs/api.md`.

use access::actions;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use capture::{
    cameras::{Camera, CameraError, Source, sub_stream},
    pull, redact,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wire::v1::{ApiError, Body, Caller, Query, valid_name};
use world::Timestamp;

use crate::Console;

pub fn router(console: Console) -> Router {
    Router::new()
        .route("/v1/cameras", get(list).post(add))
        .route("/v1/cameras/probe", post(probe))
        .route("/v1/cameras/{name}", get(show).patch(update).delete(remove))
        .route("/v1/cameras/{name}/publish-url", post(publish_url))
        .with_state(console)
}

/// A camera in the API's form.
#[derive(Serialize, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct View {
    pub name: String,
    enabled: bool,
    #[serde(with = "wire::time::serde_text")]
    created: Timestamp,
    #[serde(flatten)]
    main: SourceView,
    sub: Option<SubView>,
}

impl View {
    /// Of its sources, in order.
    pub fn states(&self) -> (&'static str, Option<&'static str>) {
        (self.main.state, self.sub.as_ref().map(|s| s.of.state))
    }
}

/// A camera's sub source.
#[derive(Serialize, Clone, PartialEq)]
struct SubView {
    stream: String,
    #[serde(flatten)]
    of: SourceView,
}

/// One of a camera's sources, what it is doing, and what its stream has.
#[derive(Serialize, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
struct SourceView {
    source: Value,
    state: &'static str,
    detail: String,
    #[serde(with = "wire::time::serde_text")]
    since: Timestamp,
    #[serde(with = "wire::time::serde_option")]
    last_frame: Option<Timestamp>,
    bitrate: u64,
    units_in: u64,
    units_out: u64,
    lost: u64,
    clock_warning: Option<String>,
    times_estimated: bool,
    tracks: Vec<video::TrackView>,
    recorded: Option<Recorded>,
}

#[derive(Serialize, Clone, PartialEq)]
struct Recorded {
    #[serde(with = "wire::time::serde_text")]
    from: Timestamp,
    #[serde(with = "wire::time::serde_text")]
    to: Timestamp,
    bytes: u64,
}

fn state(s: capture::State) -> &'static str {
    match s {
        capture::State::Connecting => "connecting",
        capture::State::Running => "running",
        capture::State::Stalled => "stalled",
        capture::State::Failed => "failed",
        capture::State::Rejected => "rejected",
        capture::State::Waiting => "waiting",
        capture::State::Stopped => "stopped",
    }
}

fn pull_view(p: &pull::Source) -> Value {
    json!({"kind": "pull", "url": redact(&p.url), "transport": p.transport, "tlsInsecure": p.tls_insecure})
}

/// Puts together what the camera, its sources and their streams know.
pub async fn view(c: &Console, camera: Camera) -> View {
    let source = match &camera.source {
        Source::Push => json!({"kind": "push"}),
        Source::Pull(p) => pull_view(p),
    };
    let sub = match (&camera.sub, camera.sub_stream()) {
        (Some(p), Some(stream)) => {
            Some(SubView { of: source_view(c, &stream, pull_view(p), camera.created).await, stream })
        }
        _ => None,
    };
    View {
        main: source_view(c, &camera.name, source, camera.created).await,
        name: camera.name,
        enabled: camera.enabled,
        created: camera.created,
        sub,
    }
}

async fn source_view(c: &Console, stream: &str, source: Value, created: Timestamp) -> SourceView {
    let seen = c.cameras.seen(stream);
    // A source that was never received has no stream yet.
    let tracks = c.video.tracks(stream).await.unwrap_or_default();
    let recorded = c.video.recorded(stream).await.ok().flatten();
    let mut s = seen.status;
    if s.state != capture::State::Running
        && let Ok(i) = c.video.ingest_status(stream)
    {
        // The source's own counts end with its session; the stream remembers what came and what was made durable.
        (s.units_in, s.units_out) = (i.units_in, i.units_out);
    }
    // What an earlier run received counts too.
    let last_frame = s.last_unit.or(recorded.map(|r| r.to));
    if s.since == Timestamp::default() {
        // Nobody is there to say it: since the last that came, or since there is the camera.
        s.since = last_frame.unwrap_or(created).max(created).min(c.world.clock.now());
    }
    SourceView {
        source,
        state: state(s.state),
        detail: s.detail,
        since: s.since,
        last_frame,
        bitrate: seen.bitrate,
        units_in: s.units_in,
        units_out: s.units_out,
        lost: s.lost,
        clock_warning: s.clock_warning,
        times_estimated: s.times_estimated,
        tracks,
        recorded: recorded.map(|r| Recorded { from: r.from, to: r.to, bytes: r.bytes }),
    }
}

fn failed(e: CameraError) -> ApiError {
    match e {
        CameraError::Exists(_) | CameraError::SubName { .. } => ApiError::conflict(e.to_string()),
        CameraError::NotFound(_) => ApiError::not_found(e.to_string()),
        CameraError::Source(_) => ApiError::bad_request(e.to_string()),
        CameraError::Catalog(_) | CameraError::Access(_) => {
            tracing::error!(error = %e, "a camera could not be changed");
            ApiError::internal(e.to_string())
        }
    }
}

fn fresh(body: Value) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

async fn list(State(c): State<Console>, caller: Caller) -> Result<Response, ApiError> {
    caller.admit(&c.gate, actions::LIST_CAMERAS, &c.home.own("camera/*")).await?;
    let mut all = Vec::new();
    for name in c.cameras.names() {
        if let Some(camera) = c.cameras.get(&name) {
            all.push(view(&c, camera).await);
        }
    }
    Ok(fresh(json!({"cameras": all})))
}

async fn show(
    State(c): State<Console>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    caller.admit(&c.gate, actions::DESCRIBE_CAMERA, &c.home.own(&format!("camera/{name}"))).await?;
    let camera = c.cameras.get(&name).ok_or_else(|| failed(CameraError::NotFound(name)))?;
    Ok(fresh(json!(view(&c, camera).await)))
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
enum SourceIn {
    Pull {
        url: String,
        #[serde(default)]
        transport: pull::Transport,
        #[serde(default)]
        tls_insecure: bool,
    },
    Push,
}

/// Something to pull from: a sub source, or what is to be probed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PullIn {
    #[serde(default)]
    kind: PullKind,
    url: String,
    #[serde(default)]
    transport: pull::Transport,
    #[serde(default)]
    tls_insecure: bool,
}

/// The word `"pull"`: what only can be pulled from may say so.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
enum PullKind {
    #[default]
    Pull,
}

impl PullIn {
    fn read(self) -> Result<pull::Source, ApiError> {
        let PullKind::Pull = self.kind;
        pull_source(&self.url, self.transport, self.tls_insecure)
    }
}

fn pull_source(url: &str, transport: pull::Transport, tls_insecure: bool) -> Result<pull::Source, ApiError> {
    // The text is not repeated in the error: it may hold a password.
    let url = url.trim().parse().map_err(|e| {
        ApiError::bad_request(format!("that is not a URL: {e}; it looks like rtsp://user:password@host/path"))
    })?;
    let source = pull::Source::new(url, transport, tls_insecure);
    Source::Pull(source.clone()).check().map_err(|e| ApiError::bad_request(e.to_string()))?;
    Ok(source)
}

impl SourceIn {
    fn read(self) -> Result<Source, ApiError> {
        match self {
            SourceIn::Push => Ok(Source::Push),
            SourceIn::Pull { url, transport, tls_insecure } => {
                pull_source(&url, transport, tls_insecure).map(Source::Pull)
            }
        }
    }
}

/// Makes a sub's stream, so that it can be set up before anything is received. What else has its name stays what it is.
async fn ensure_sub(c: &Console, caller: &Caller, camera: &str) -> Result<(), ApiError> {
    let stream = sub_stream(camera);
    valid_name(&stream).map_err(|_| {
        ApiError::bad_request(format!("{camera:?} is too long a name for a camera with a sub source"))
    })?;
    let permit = caller.admit(&c.gate, actions::CREATE_STREAM, &c.home.video_stream(&stream)).await?;
    match c.video.ensure_sub_stream(&permit, &stream, camera).await {
        Ok(_) => Ok(()),
        Err(video::VideoError::Exists(_)) => Err(ApiError::conflict(format!(
            "the sub source of camera {camera:?} is recorded in the stream {stream:?}, and there is a stream of that \
             name already which is something else"
        ))),
        Err(e) => Err(ApiError::internal(e.to_string())),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    name: String,
    source: SourceIn,
    sub: Option<PullIn>,
}

async fn add(
    State(c): State<Console>,
    caller: Caller,
    headers: HeaderMap,
    Body(a): Body<Add>,
) -> Result<Response, ApiError> {
    valid_name(&a.name)?;
    let arn = c.home.own(&format!("camera/{}", a.name));
    let permit = caller.admit(&c.gate, actions::CREATE_CAMERA, &arn).await?;
    let source = a.source.read()?;
    let sub = a.sub.map(PullIn::read).transpose()?;
    let push = source == Source::Push;
    if push && c.rtsp.is_none() {
        return Err(ApiError::bad_request(
            "this server does not listen for RTSP: start it with --rtsp ADDR:PORT",
        ));
    }
    if let Some(of) = sub_of(&c, &a.name) {
        return Err(ApiError::conflict(format!(
            "there is a stream {:?} already: the sub source of camera {of:?} is, or was, recorded in it",
            a.name
        )));
    }
    // Before the camera: what publishes with a token may use its stream, not make it.
    let stream = caller.admit(&c.gate, actions::CREATE_STREAM, &c.home.video_stream(&a.name)).await?;
    if c.cameras.get(&a.name).is_none_or(|c| !c.is_kept()) {
        c.video.ensure_stream(&stream, &a.name).await.map_err(|e| ApiError::internal(e.to_string()))?;
    }
    // A name that is a camera's is told from one that is another stream's by who refuses it.
    if sub.is_some() && c.cameras.get(&a.name).is_none() && c.cameras.get(&sub_stream(&a.name)).is_none() {
        ensure_sub(&c, &caller, &a.name).await?;
    }
    let camera = c.cameras.add(permit, &a.name, source, sub).await.map_err(failed)?;
    let mut body = json!(view(&c, camera).await);
    if push {
        let permit = caller.admit(&c.gate, actions::UPDATE_CAMERA, &arn).await?;
        body["publishUrl"] = json!(new_publish_url(&c, permit, &headers, &a.name).await?);
    }
    Ok((StatusCode::CREATED, fresh(body)).into_response())
}

async fn new_publish_url(
    c: &Console,
    permit: access::Permit,
    headers: &HeaderMap,
    name: &str,
) -> Result<String, ApiError> {
    let rtsp = c.rtsp.ok_or_else(|| ApiError::bad_request("this server does not listen for RTSP"))?;
    let token = c.cameras.publish_token(permit, name).await.map_err(failed)?;
    let asked = headers.get(header::HOST).and_then(|h| h.to_str().ok()).map(|h| match h.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => h,
    });
    let host = c.public_host.as_deref().or(asked).unwrap_or("127.0.0.1");
    Ok(format!("rtsp://{token}:@{host}:{}/{name}", rtsp.port()))
}

async fn publish_url(
    State(c): State<Console>,
    caller: Caller,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let permit =
        caller.admit(&c.gate, actions::UPDATE_CAMERA, &c.home.own(&format!("camera/{name}"))).await?;
    match c.cameras.get(&name).map(|c| c.source) {
        Some(Source::Push) => {
            Ok(fresh(json!({"publishUrl": new_publish_url(&c, permit, &headers, &name).await?})))
        }
        Some(Source::Pull(_)) => {
            Err(ApiError::bad_request(format!("camera {name:?} is pulled from; nothing publishes to it")))
        }
        None => Err(failed(CameraError::NotFound(name))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    enabled: Option<bool>,
    source: Option<SourceIn>,
    /// Null takes it away.
    #[serde(default, deserialize_with = "given")]
    sub: Option<Option<PullIn>>,
}

fn given<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Option<PullIn>>, D::Error> {
    Option::deserialize(d).map(Some)
}

async fn update(
    State(c): State<Console>,
    caller: Caller,
    Path(name): Path<String>,
    Body(u): Body<Update>,
) -> Result<Response, ApiError> {
    let permit =
        caller.admit(&c.gate, actions::UPDATE_CAMERA, &c.home.own(&format!("camera/{name}"))).await?;
    let source = u.source.map(SourceIn::read).transpose()?;
    let sub = match u.sub {
        None => None,
        Some(None) => Some(None),
        Some(Some(s)) => {
            let sub = s.read()?;
            if c.cameras.get(&name).is_some() && c.cameras.get(&sub_stream(&name)).is_none() {
                ensure_sub(&c, &caller, &name).await?;
            }
            Some(Some(sub))
        }
    };
    let camera = c.cameras.update(permit, &name, u.enabled, source, sub).await.map_err(failed)?;
    Ok(fresh(json!(view(&c, camera).await)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    #[serde(default)]
    recordings: Recordings,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Recordings {
    #[default]
    Keep,
    Delete,
}

async fn remove(
    State(c): State<Console>,
    caller: Caller,
    Path(name): Path<String>,
    Query(q): Query<Remove>,
) -> Result<StatusCode, ApiError> {
    let permit =
        caller.admit(&c.gate, actions::DELETE_CAMERA, &c.home.own(&format!("camera/{name}"))).await?;
    let mut streams = vec![name.clone()];
    // Also that of a sub which it had once.
    streams.extend(Some(sub_stream(&name)).filter(|s| sub_of(&c, s).as_deref() == Some(&name)));
    let mut doomed = Vec::new();
    if q.recordings == Recordings::Delete {
        for stream in streams {
            let arn = c.home.video_stream(&stream);
            doomed.push((caller.admit(&c.gate, actions::DELETE_STREAM, &arn).await?, stream));
        }
    }
    c.cameras.remove(permit, &name).await.map_err(failed)?;
    for (permit, stream) in doomed {
        if c.video.stream(&stream).is_ok() {
            c.video.delete_stream(permit, &stream).await.map_err(|e| ApiError::internal(e.to_string()))?;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Whose sub a stream is, if it is one's.
fn sub_of(c: &Console, stream: &str) -> Option<String> {
    c.video.stream(stream).ok()?.config.sub_of
}

async fn probe(
    State(c): State<Console>,
    caller: Caller,
    Body(p): Body<PullIn>,
) -> Result<Response, ApiError> {
    caller.admit(&c.gate, actions::PROBE_CAMERA, &c.home.own("camera/*")).await?;
    let source = p.read()?;
    let begun = c.world.clock.monotonic();
    let seen = capture::probe(&c.world, &source)
        .await
        .map_err(|e| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, e.code(), e.to_string()))?;
    let still = match &seen.key_frame {
        Some(k) => c.stills.data_url(&k.track, k.data.clone()).await,
        None => None,
    };
    let tracks: Vec<_> = seen.tracks.iter().map(|t| video::TrackView::new(t, None)).collect();
    Ok(fresh(json!({
        "tracks": tracks, "still": still, "server": seen.server,
        "elapsedMs": (c.world.clock.monotonic() - begun).as_millis() as u64,
    })))
}
