//! `GET /v1/storage`.

use access::actions;
use axum::{
    Json, Router,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use wire::v1::{ApiError, Caller};

use crate::Console;

/// How full the disk is and how long it lasts; the binary knows.
#[async_trait::async_trait]
pub trait StorageView: Send + Sync + 'static {
    /// None when the disk cannot be asked.
    async fn storage(&self) -> Option<Storage>;
}

/// Bytes.
#[derive(Serialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// What recordings take.
    pub used: u64,
    /// What is free on the file system.
    pub free: u64,
    /// The file system's size.
    pub total: u64,
    /// What a day takes at the present rate.
    pub bytes_per_day: u64,
    /// How many days the free space lasts, down to what is left free; null while nothing is recorded.
    pub days_left: Option<f64>,
    /// What holds for everything together.
    pub limits: Limits,
}

/// What holds for the whole store.
#[derive(Serialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Bytes that all recordings may take; null for no bound.
    pub total: Option<u64>,
    /// Bytes that are left free on the file system.
    pub free_floor: u64,
    /// Whether recordings go to an object store: the file system is then a cache, and does not end them.
    pub remote: bool,
}

pub fn router(console: Console) -> Router {
    Router::new().route("/v1/storage", get(show)).with_state(console)
}

async fn show(State(c): State<Console>, caller: Caller) -> Result<Response, ApiError> {
    caller.admit(&c.gate, actions::READ_STORAGE, &c.home.own("storage")).await?;
    let s = c
        .storage
        .storage()
        .await
        .ok_or_else(|| ApiError::unavailable("the disk cannot be asked how full it is"))?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(s)).into_response())
}
