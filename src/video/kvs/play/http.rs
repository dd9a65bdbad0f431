//! `/hls/v1/…` and `/dash/v1/…`: what a session's URL leads to. The token admits; nothing else is asked for.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, header},
    middleware::from_fn,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use wire::v1::{ApiError, Query};

use super::{
    ask::opened,
    dash, hls,
    session::{Kind, Mode, Session},
    window::{self, Shown},
};
use crate::{
    Frames, VideoError,
    hls::{Segment, multivariant::Rendition, renditions},
    http::{Answer, CHANGES, FIXED, cors, mp4, sent, set},
    index::InitHash,
    kvs::Kvs,
    sound,
    streams::Stream,
};

/// Fragments that tracks are judged by.
const SAMPLED: usize = 500;

/// What the addresses of a session say.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    session_token: String,
    track_number: Option<u8>,
    fragment_number: Option<String>,
    sequence_number: Option<u64>,
}

/// The paths that sessions' URLs are of.
pub fn router(kvs: &Kvs) -> Router {
    let of = |kind: Kind| {
        Router::new()
            .route("/getMP4InitFragment.mp4", get(move |k, q, h| init(kind, k, q, h)))
            .route("/getMP4MediaFragment.mp4", get(move |k, q, h| media(kind, k, q, h)))
    };
    let hls = of(Kind::Hls)
        .route("/getHLSMasterPlaylist.m3u8", get(master))
        .route("/getHLSMediaPlaylist.m3u8", get(playlist))
        .route("/getTSFragment.ts", get(transport));
    let dash = of(Kind::Dash).route("/getDASHManifest.mpd", get(manifest));
    Router::new().nest("/hls/v1", hls).nest("/dash/v1", dash).layer(from_fn(cors)).with_state(kvs.clone())
}

fn text(body: String, kind: &'static str, session: &Session) -> Response {
    let mut r = body.into_response();
    set(&mut r, header::CONTENT_TYPE, kind);
    set(&mut r, header::CACHE_CONTROL, if session.mode == Mode::OnDemand { FIXED } else { CHANGES });
    r
}

fn nothing(stream: &Stream, left_out: &[String]) -> VideoError {
    let name = stream.name();
    VideoError::NoMedia(match left_out {
        [] => format!("video stream {name:?} has nothing to play in this session"),
        all => format!("video stream {name:?}: {}", all.join("; ")),
    })
}

impl Kvs {
    async fn shown(&self, session: &Session, stream: &Stream) -> Result<Shown, VideoError> {
        window::shown(&self.video, &self.memory, stream, session).await
    }

    async fn renditions(
        &self,
        session: &Session,
        stream: &Stream,
        shown: &Shown,
    ) -> Result<(Vec<Rendition>, Vec<String>), VideoError> {
        let v = &self.video;
        let items = &shown.items[..shown.items.len().min(SAMPLED)];
        let (latest, audio) = (session.mode == Mode::Live, self.audio(session.transport));
        let (mut all, mut left_out) =
            renditions(&v.source(stream), &v.tables, items, latest, audio, |_| true).await?;
        if session.transport {
            let not = all.extract_if(.., |r| !media::ts::carries(&r.track));
            left_out.extend(not.map(|r| r.track));
        }
        Ok((all, left_out.iter().map(|t| self.why_not(t, session.transport)).collect()))
    }
}

async fn master(State(k): State<Kvs>, Query(q): Query<Named>) -> Answer {
    let (session, stream) = opened(&k, Kind::Hls, &q.session_token)?;
    let shown = k.shown(&session, &stream).await?;
    let (renditions, left_out) = k.renditions(&session, &stream, &shown).await?;
    let made = hls::master(&session, &q.session_token, &renditions, &left_out);
    Ok(text(made.ok_or_else(|| nothing(&stream, &left_out))?, "application/vnd.apple.mpegurl", &session))
}

async fn playlist(State(k): State<Kvs>, Query(q): Query<Named>) -> Answer {
    let (session, stream) = opened(&k, Kind::Hls, &q.session_token)?;
    let track = match (session.transport, q.track_number) {
        (true, _) => None,
        (false, Some(t)) => Some(t),
        (false, None) => return Err(ApiError::bad_request("TrackNumber is missing")),
    };
    let shown = k.shown(&session, &stream).await?;
    let forms = k.forms(&session, &stream, &shown).await?;
    let made = hls::media(&session, &stream, &q.session_token, track, &shown, &forms);
    Ok(text(made.ok_or_else(|| nothing(&stream, &[]))?, "application/vnd.apple.mpegurl", &session))
}

async fn manifest(State(k): State<Kvs>, Query(q): Query<Named>) -> Answer {
    let (session, stream) = opened(&k, Kind::Dash, &q.session_token)?;
    let shown = k.shown(&session, &stream).await?;
    let (renditions, left_out) = k.renditions(&session, &stream, &shown).await?;
    if renditions.is_empty() {
        return Err(nothing(&stream, &left_out).into());
    }
    let forms = k.forms(&session, &stream, &shown).await?;
    let tracks = dash::Tracks { renditions, left_out, forms };
    let now = k.video.world.clock.now();
    let made = dash::manifest(&session, &stream, &q.session_token, &tracks, &shown, now);
    Ok(text(made.ok_or_else(|| nothing(&stream, &[]))?, "application/dash+xml", &session))
}

async fn init(kind: Kind, State(k): State<Kvs>, Query(q): Query<Named>, headers: HeaderMap) -> Answer {
    let (session, stream) = opened(&k, kind, &q.session_token)?;
    let (Some(id), Some(hash)) = (q.track_number, q.sequence_number) else {
        return Err(ApiError::bad_request("TrackNumber or SequenceNumber is missing"));
    };
    let hash = InitHash(hash);
    let track = match stream.tracks.get(hash) {
        Some(t) => Some(t),
        None => {
            let shown = k.shown(&session, &stream).await?;
            let has = shown.items.iter().find(|f| f.entry.tracks.iter().any(|t| t.init == hash));
            match has {
                Some(f) => k.video.tables.track(&k.video.log, &stream, f, hash).await?,
                None => None,
            }
        }
    };
    let track = track.filter(|t| t.id == id).ok_or_else(|| {
        VideoError::Gone(format!(
            "video stream {:?} has no such configuration in this session",
            stream.name()
        ))
    })?;
    let segment = Segment::Whole(vec![k.video.init_of(&track, k.audio(false))?]);
    Ok(sent(&k.video, &stream, segment, &headers, &format!("\"i{:016x}\"", hash.0), mp4(true)))
}

/// The fragment that a URL names, if the session has it.
async fn named(
    k: &Kvs,
    session: &Session,
    stream: &Stream,
    q: &Named,
) -> Result<Arc<crate::Fragment>, ApiError> {
    let Some(number) = &q.fragment_number else {
        return Err(ApiError::bad_request("FragmentNumber is missing"));
    };
    let f = k.by_number(stream, number).await?;
    f.filter(|f| session.shows(f)).ok_or_else(|| {
        VideoError::NoMedia(format!("fragment {number} is not part of this session, or gone")).into()
    })
}

async fn media(kind: Kind, State(k): State<Kvs>, Query(q): Query<Named>, headers: HeaderMap) -> Answer {
    let (session, stream) = opened(&k, kind, &q.session_token)?;
    let Some(id) = q.track_number else { return Err(ApiError::bad_request("TrackNumber is missing")) };
    let f = named(&k, &session, &stream, &q).await?;
    let (segment, video) = k.video.segment_of(&stream, &f, id, k.audio(false), Frames::All).await?;
    Ok(sent(&k.video, &stream, segment, &headers, &format!("\"{}-{id}\"", f.position()), mp4(video)))
}

async fn transport(State(k): State<Kvs>, Query(q): Query<Named>, headers: HeaderMap) -> Answer {
    let (session, stream) = opened(&k, Kind::Hls, &q.session_token)?;
    let f = named(&k, &session, &stream, &q).await?;
    let v = &k.video;
    let table = v.tables.get(&v.log, &stream, &f).await.map_err(ApiError::from)?;
    let bad = crate::mp4::damaged(stream.name(), f.position());
    // Sound first: who makes it waits for a turn of its own.
    let mut sounds = Vec::new();
    for t in &table.tracks {
        let made = sound::made(t, k.audio(true)).filter(|made| media::ts::carries(&made.track));
        if let (Some(made), Some(entry)) = (made, f.entry.track(t.id)) {
            let packets = v.sound_packets(&stream, &f, entry, &made).await?;
            sounds.push((made.pieces(&packets), made.track));
        }
    }
    let _one = v.rewriting.acquire().await.map_err(|e| VideoError::Busy(e.to_string()))?;
    let payload = v.log.read_payload(&f.payload, 0..f.media_len()).await.map_err(|e| stream.log_error(e))?;
    let mut parts = Vec::with_capacity(table.tracks.len());
    for t in &table.tracks {
        if let Some((pieces, track)) = sounds.iter().find(|(_, track)| track.id == t.id) {
            parts.push((track, pieces.clone()));
        } else if media::ts::carries(t) {
            parts.push((&**t, media::fmp4::pieces(&table, &payload, t.id).map_err(&bad)?));
        }
    }
    let runs: Vec<_> = parts.iter().map(|(track, pieces)| media::fmp4::Run { track, pieces }).collect();
    let segment = Segment::Whole(vec![media::ts::segment(&runs).map_err(&bad)?]);
    Ok(sent(v, &stream, segment, &headers, &format!("\"{}-ts\"", f.position()), "video/mp2t"))
}
