use access::{ConsoleSession, Credentials, actions};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;
use wire::v1::{ApiError, Body, COOKIE, Caller, Query};

use crate::Console;

pub fn router(console: Console) -> Router {
    Router::new()
        .route("/login", get(login))
        .route("/v1/session", get(show).post(sign_in).delete(sign_out))
        .route("/v1/session/link", post(link))
        .with_state(console)
}

fn cookie(c: &Console, value: &str, max_age: u64) -> [(header::HeaderName, String); 2] {
    let secure = if c.secure { "; Secure" } else { "" };
    // SameSite=Lax, not Strict: the link that signs in is followed from a terminal or a mail.
    [
        (
            header::SET_COOKIE,
            format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age}{secure}"),
        ),
        (header::CACHE_CONTROL, "no-store".into()),
    ]
}

fn signed_in(c: &Console, s: &ConsoleSession) -> [(header::HeaderName, String); 2] {
    let left = s.expires.since(c.world.clock.now()).as_secs();
    cookie(c, &s.cookie, left)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    link: String,
}

async fn login(
    State(c): State<Console>,
    caller: Result<Caller, ApiError>,
    Query(q): Query<Link>,
) -> Response {
    let gate = caller.map_or_else(|_| c.gate.clone(), |who| who.gate(&c.gate));
    match gate.sign_in_by_link(&q.link).await {
        Ok(s) => (signed_in(&c, &s), Redirect::to("/")).into_response(),
        // The page asks for the key instead.
        Err(_) => Redirect::to("/?link=expired").into_response(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Key {
    access_key_id: String,
    secret_access_key: String,
}

async fn sign_in(State(c): State<Console>, caller: Caller, Body(k): Body<Key>) -> Result<Response, ApiError> {
    let s = caller
        .gate(&c.gate)
        .sign_in(Credentials::AccessKey { id: &k.access_key_id, secret: &k.secret_access_key })
        .await?;
    Ok((StatusCode::NO_CONTENT, signed_in(&c, &s)).into_response())
}

async fn show(State(c): State<Console>, caller: Caller) -> Result<Response, ApiError> {
    let expires = match caller.cookie() {
        Some(cookie) => Some(c.gate.session_expires(cookie).await?),
        None => None,
    };
    caller.admit(&c.gate, actions::LIST_STREAMS, &c.home.video_stream("*")).await?;
    let body = serde_json::json!({
        "principal": "root", "accessKeyId": c.gate.root_key_id(), "version": c.version,
        "expires": expires.map(wire::time::format), "rtspPort": c.rtsp.map(|a| a.port()),
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response())
}

async fn sign_out(State(c): State<Console>, caller: Caller) -> Result<Response, ApiError> {
    if let Some(v) = caller.cookie() {
        c.gate.sign_out(v).await?;
    }
    Ok((StatusCode::NO_CONTENT, cookie(&c, "", 0)).into_response())
}

async fn link(State(c): State<Console>, caller: Caller) -> Result<Response, ApiError> {
    caller.admit(&c.gate, actions::CREATE_CONSOLE_LINK, &c.home.own("console")).await?;
    let body = serde_json::json!({"path": format!("/login?link={}", c.gate.one_time_link())});
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response())
}
