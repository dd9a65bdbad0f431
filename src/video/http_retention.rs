//! Retention and pins in `/v1/streams/NAME…` of `docs/api.md`.

use std::sync::Arc;

use access::actions;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
    routing::{delete, get, patch},
};
use log::{OnFull, Pin, Retention};
use serde::Deserialize;
use serde_json::{Value, json};
use wire::v1::{self, Caller};
use world::Timestamp;

use crate::{
    By, RetentionChange, StreamRetention, Video,
    http::{Answer, Shared},
};

pub(crate) fn router(video: Arc<Video>) -> Router {
    Router::new()
        .route("/v1/streams/{name}", patch(update))
        .route("/v1/streams/{name}/pins", get(list).post(pin))
        .route("/v1/streams/{name}/pins/{id}", delete(unpin))
        .with_state(video)
}

/// As `docs/api.md` has it: what is in force, and which of that the stream itself is set to.
pub(crate) fn view(r: &Retention, own: &StreamRetention) -> Value {
    let set =
        [("hours", own.hours.is_some()), ("bytes", own.bytes.is_some()), ("onFull", own.on_full.is_some())];
    json!({
        "set": set.into_iter().filter(|(_, own)| *own).map(|(name, _)| name).collect::<Vec<_>>(),
        "hours": r.age.map(|a| a.as_secs_f64() / 3600.0),
        "bytes": r.bytes,
        "onFull": match r.on_full { OnFull::Overwrite => "overwrite", OnFull::Refuse => "refuse" },
    })
}

fn pin_view(p: &Pin) -> Value {
    let text = wire::time::format;
    json!({"id": p.id, "from": text(p.from), "to": text(p.to), "note": p.note, "created": text(p.created)})
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    #[serde(default)]
    retention: RetentionChange,
}

async fn update(
    State(v): Shared,
    caller: Caller,
    Path(name): Path<String>,
    v1::Body(b): v1::Body<Update>,
) -> Answer {
    let permit = v.admit(&caller, actions::UPDATE_DATA_RETENTION, &name).await?;
    v.set_retention(permit, &name, b.retention).await?;
    Ok(Json(v.view(&v.stream(&name)?).await?).into_response())
}

async fn list(State(v): Shared, caller: Caller, Path(name): Path<String>) -> Answer {
    let permit = v.admit(&caller, actions::LIST_PINS, &name).await?;
    let pins: Vec<_> = v.pins(permit, &name).await?.iter().map(pin_view).collect();
    Ok(Json(json!({ "pins": pins })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PinAsk {
    #[serde(with = "wire::time::serde_option")]
    from: Option<Timestamp>,
    #[serde(with = "wire::time::serde_option")]
    to: Option<Timestamp>,
    #[serde(default)]
    note: String,
    /// Whose clock the times are; the server's unless it is said.
    by: Option<By>,
}

async fn pin(
    State(v): Shared,
    caller: Caller,
    Path(name): Path<String>,
    v1::Body(b): v1::Body<PinAsk>,
) -> Answer {
    let permit = v.admit(&caller, actions::PIN_RECORDING, &name).await?;
    let (Some(from), Some(to)) = (b.from, b.to) else {
        return Err(v1::ApiError::bad_request("a pin needs \"from\" and \"to\""));
    };
    let p = v.pin(permit, &name, b.by.unwrap_or(By::Server), (from, to), &b.note).await?;
    Ok((StatusCode::CREATED, Json(pin_view(&p))).into_response())
}

async fn unpin(State(v): Shared, caller: Caller, Path((name, id)): Path<(String, String)>) -> Answer {
    let permit = v.admit(&caller, actions::UNPIN_RECORDING, &name).await?;
    v.unpin(permit, &name, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
