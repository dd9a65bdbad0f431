//! `POST /v1/streams/NAME/import` of `docs/api.md`: access units with their own times, as a session of its own.

use std::time::Duration;

use access::actions;
use axum::{
    Json,
    extract::{Path, Request, State},
    http::{StatusCode, header},
    response::IntoResponse as _,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::json;
use wire::v1::{ApiError, Caller, Query};
use world::Timestamp;

use crate::{
    By, Session, Video,
    http::{Answer, Shared, time},
    index::time_of,
    units::{Decoder, MEDIA_TYPE, Record},
};

/// How long the sender may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// How far units may lie outside of the range that was announced.
const SLACK: Duration = Duration::from_secs(5);
/// After a refusal: what is still taken, so that the sender hears why.
const DRAIN: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    from: Option<String>,
    to: Option<String>,
}

impl Range {
    fn times(&self) -> Result<(Timestamp, Timestamp), ApiError> {
        match (time("from", &self.from)?, time("to", &self.to)?) {
            (Some(from), Some(to)) if from <= to => Ok((from, to)),
            _ => Err(ApiError::bad_request("from, to: say which range of time is imported")),
        }
    }
}

/// `GET`: what is recorded in a range already, and where an import of it stopped.
pub(crate) async fn look(
    State(v): Shared,
    caller: Caller,
    Path(name): Path<String>,
    Query(q): Query<Range>,
) -> Answer {
    let permit = v.admit(&caller, actions::LIST_FRAGMENTS, &name).await?;
    let (from, to) = q.times()?;
    v.check(&permit, &[actions::LIST_FRAGMENTS], &name)?;
    let Ok(stream) = v.streams.get(&name) else { return Ok(Json(json!({"recorded": null})).into_response()) };
    let Some((first, last)) = stream.ends(&v.log, By::Producer, from, to).await? else {
        return Ok(Json(json!({"recorded": null})).into_response());
    };
    let table = v.tables.get(&v.log, &stream, &last).await?;
    let latest = |id: u8| table.samples.iter().filter(|s| s.track == id).map(|s| s.dts).max();
    let tracks: Vec<_> = table
        .tracks
        .iter()
        .filter_map(|t| Some(json!({"id": t.id, "timescale": t.timescale, "lastDts": latest(t.id)?})))
        .collect();
    let text = wire::time::format;
    let recorded = json!({"from": text(first.start(By::Producer)), "to": text(last.end(By::Producer)), "tracks": tracks});
    Ok(Json(json!({ "recorded": recorded })).into_response())
}

/// `POST`: the units.
pub(crate) async fn import(
    State(v): Shared,
    caller: Caller,
    Path(name): Path<String>,
    Query(q): Query<Range>,
    request: Request,
) -> Answer {
    let permit = v.admit(&caller, actions::PUT_MEDIA, &name).await?;
    let (from, to) = q.times()?;
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|k| k.to_str().ok());
    if kind != Some(MEDIA_TYPE) {
        return Err(ApiError::bad_request(format!("Content-Type must be {MEDIA_TYPE}")));
    }
    let mut body = request.into_body().into_data_stream();
    v.check(&permit, &[actions::PUT_MEDIA], &name)?;
    let session = begin(&v, &permit, &name, from, to).await;
    let done = match session {
        Ok(session) => receive(&v, session, &mut body, (from, to)).await,
        Err(e) => Err(e),
    };
    match done {
        Ok(done) => {
            Ok((StatusCode::CREATED, Json(json!({"units": done.units, "bytes": done.bytes}))).into_response())
        }
        Err(e) => {
            let rest = async { while let Some(Ok(_)) = body.next().await {} };
            tokio::select! { () = rest => {}, () = v.world.clock.sleep(DRAIN) => {} }
            Err(e)
        }
    }
}

async fn begin(
    v: &Video,
    permit: &access::Permit,
    name: &str,
    from: Timestamp,
    to: Timestamp,
) -> Result<Session, ApiError> {
    v.ensure_stream(permit, name).await?;
    let stream = v.streams.get(name)?;
    if let Some((first, last)) = stream.ends(&v.log, By::Producer, from, to).await? {
        let text = wire::time::format;
        return Err(ApiError::conflict(format!(
            "video stream {name:?} has recordings from {} to {} already, within what is to be imported",
            text(first.start(By::Producer)),
            text(last.end(By::Producer))
        )));
    }
    Session::alone(stream, v.log.clone()).ok_or_else(|| {
        ApiError::conflict(format!("somebody publishes to video stream {name:?} now: import into another"))
    })
}

#[derive(Default)]
struct Done {
    units: u64,
    bytes: u64,
}

async fn receive<B>(
    v: &Video,
    mut session: Session,
    body: &mut B,
    range: (Timestamp, Timestamp),
) -> Result<Done, ApiError>
where
    B: futures_util::Stream<Item = Result<Bytes, axum::Error>> + Unpin,
{
    let done = fill(v, &mut session, body, range).await;
    // What was sent whole stays; what was cut off begins anew with a key frame when it is sent again.
    let ended = if done.is_ok() { session.end().await } else { session.abandon().await };
    let done = done?;
    ended?;
    Ok(done)
}

async fn fill<B>(
    v: &Video,
    session: &mut Session,
    body: &mut B,
    (from, to): (Timestamp, Timestamp),
) -> Result<Done, ApiError>
where
    B: futures_util::Stream<Item = Result<Bytes, axum::Error>> + Unpin,
{
    let bad = |e: &dyn std::fmt::Display| ApiError::bad_request(e.to_string());
    let mut decoder = Decoder::default();
    let mut done = Done::default();
    let mut scales = [0u32; 256];
    loop {
        let chunk = tokio::select! {
            c = body.next() => c,
            () = v.world.clock.sleep(SILENCE) => return Err(ApiError::bad_request("nothing came for a minute")),
        };
        let Some(chunk) = chunk else { break };
        decoder.push(&chunk.map_err(|e| bad(&e))?);
        while let Some(record) = decoder.record().map_err(|e| bad(&e))? {
            match record {
                Record::Tracks(tracks) => {
                    scales = [0; 256];
                    tracks.iter().for_each(|t| scales[usize::from(t.id)] = t.timescale);
                    session.tracks(tracks).await?;
                }
                Record::Break(why) => session.discontinuity(&why).await?,
                Record::Unit(unit) => {
                    let at = time_of(unit.pts, scales[usize::from(unit.track)]);
                    if at < from - SLACK || at > to + SLACK {
                        let at = wire::time::format(at);
                        return Err(bad(&format!("a unit of {at}, outside of the range that was announced")));
                    }
                    done.units += 1;
                    done.bytes += unit.data.len() as u64;
                    session.write(unit, v.world.clock.now()).await?;
                }
                Record::End => {}
            }
        }
    }
    decoder.finish().map_err(|e| bad(&e))?;
    Ok(done)
}
