//! `GET /v1/streams/NAME/export` of `docs/api.md`.

use access::actions;
use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body::Frame;
use http_body_util::{StreamBody, combinators::UnsyncBoxBody};
use media::Gaps;
use serde::Deserialize;
use wire::v1::{ApiError, Caller, Query};
use world::Timestamp;

use super::{Export, ExportAsk, Form, body::Piece};
use crate::{
    Audio, By, VideoError,
    http::{Answer, Shared, set, time},
};

const LENGTH: HeaderName = HeaderName::from_static("x-rushes-estimated-length");
const FROM: HeaderName = HeaderName::from_static("x-rushes-from");
const TO: HeaderName = HeaderName::from_static("x-rushes-to");
const LEFT_OUT: HeaderName = HeaderName::from_static("x-rushes-left-out");
const ESTIMATED: HeaderName = HeaderName::from_static("x-rushes-estimated-fragments");
const PATCHES: HeaderName = HeaderName::from_static("x-rushes-patches");

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum GapsAsk {
    #[default]
    Keep,
    Close,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    from: Option<String>,
    to: Option<String>,
    #[serde(default)]
    by: By,
    #[serde(default)]
    format: Form,
    #[serde(default)]
    gaps: GapsAsk,
    #[serde(default)]
    audio: Audio,
}

pub(crate) async fn export(
    State(v): Shared,
    caller: Caller,
    Path(name): Path<String>,
    Query(q): Query<Asked>,
) -> Answer {
    let permit = v.admit(&caller, actions::GET_CLIP, &name).await?;
    let Some(from) = time("from", &q.from)? else {
        return Err(ApiError::bad_request("from: say where the export begins"));
    };
    let to = time("to", &q.to)?.unwrap_or_else(|| v.world.clock.now());
    let gaps = match q.gaps {
        GapsAsk::Keep => Gaps::Keep,
        GapsAsk::Close => Gaps::Close,
    };
    let made = v
        .export(permit, &name, ExportAsk { from, to, by: q.by, form: q.format, gaps, audio: q.audio })
        .await?;
    let mut r = Response::new(Body::empty());
    let (kind, ending) = match q.format {
        Form::Mp4 => ("video/mp4", "mp4"),
        Form::Mkv => ("video/x-matroska", "mkv"),
    };
    set(&mut r, header::CONTENT_TYPE, kind);
    set(&mut r, header::CACHE_CONTROL, "no-store");
    let file = format!("attachment; filename=\"{name}-{}.{ending}\"", compact(made.covers.0));
    set(&mut r, header::CONTENT_DISPOSITION, &file);
    set(&mut r, FROM, &wire::time::format(made.covers.0));
    set(&mut r, TO, &wire::time::format(made.covers.1));
    set(&mut r, ESTIMATED, &made.estimated.to_string());
    set(&mut r, LENGTH, &made.len.unwrap_or(made.estimate).to_string());
    match made.len {
        Some(len) => {
            set(&mut r, header::CONTENT_LENGTH, &len.to_string());
            set(&mut r, LEFT_OUT, &ascii(&made.left_out));
        }
        None => set(&mut r, header::TRAILER, &format!("{PATCHES}, {LEFT_OUT}")),
    }
    *r.body_mut() = Body::new(made.body());
    Ok(r)
}

impl Export {
    /// The file as an HTTP body. Of Matroska, what is known only at the end comes as trailers.
    pub fn body(self) -> UnsyncBoxBody<Bytes, VideoError> {
        let tap = self.job.stream.meter.out();
        let frames = self.pieces().map(move |p| {
            p.map(|p| match p {
                Piece::Bytes(b) => {
                    tap.sent(b.len());
                    Frame::data(b)
                }
                Piece::End { patches, left_out } => Frame::trailers(trailers(&patches, &left_out)),
            })
        });
        UnsyncBoxBody::new(StreamBody::new(frames))
    }
}

/// `AT:HEX,AT:HEX`: bytes in hexadecimal, to be written at an offset.
fn trailers(patches: &[media::mkv::Patch], left_out: &[String]) -> HeaderMap {
    let hex = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let patches: Vec<_> = patches.iter().map(|p| format!("{}:{}", p.at, hex(&p.bytes))).collect();
    let mut out = HeaderMap::new();
    for (name, value) in [(PATCHES, patches.join(",")), (LEFT_OUT, ascii(left_out))] {
        if let Ok(v) = HeaderValue::from_str(&value) {
            out.insert(name, v);
        }
    }
    out
}

/// For a header: `; ` between them, nothing but ASCII.
fn ascii(all: &[String]) -> String {
    let plain = |c: char| if c.is_ascii() && !c.is_ascii_control() { c } else { '?' };
    all.join("; ").replace('µ', "u").chars().map(plain).take(4000).collect()
}

/// `20260501T120000Z`
fn compact(t: Timestamp) -> String {
    let text = wire::time::format(t);
    let text = text.split_once('.').map_or(text.as_str(), |(s, _)| s);
    format!("{}Z", text.trim_end_matches('Z').replace(['-', ':'], ""))
}
