//! GetHLSStreamingSessionURL and GetDASHStreamingSessionURL: what they take, and what becomes of it.

use std::{sync::Arc, time::Duration};

use access::{Permit, actions};
use media::Codec;
use serde::Serialize;
use wire::aws::{AwsError, Call, Time, Violations};
use world::Timestamp;

use super::{
    session::{Cuts, Kind, Mode, Session},
    window::{self, there},
};
use crate::{
    By, Fragment, VideoError,
    kvs::{
        Kvs, error,
        input::{Selector, input},
    },
    mp4, sound,
    streams::Stream,
};

const MODES: [&str; 3] = ["LIVE", "LIVE_REPLAY", "ON_DEMAND"];
pub(super) const CLOCKS: [&str; 2] = ["PRODUCER_TIMESTAMP", "SERVER_TIMESTAMP"];
const SHOWN: [&str; 2] = ["ALWAYS", "NEVER"];
/// Seconds that a session lasts unless asked otherwise.
const EXPIRES: i64 = 300;
/// The longest range.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A stream has something live if it got a fragment within this time.
const LIVE: Duration = Duration::from_secs(30);
/// Fragments of a playlist unless asked otherwise: of one that slides, and of one on demand.
const USUAL: (usize, usize) = (5, 1000);

fn mode(v: &mut Violations, x: &Option<String>) {
    v.text("playbackMode", x).one_of(&MODES);
}
fn times(v: &mut Violations, x: &Option<String>) {
    v.text("displayFragmentTimestamp", x).one_of(&SHOWN);
}
fn expires(v: &mut Violations, x: &Option<i64>) {
    v.number("expires", x).range(300, 43_200);
}

input! {
    /// API_reader_GetHLSStreamingSessionURL
    stream GetHlsSession {
        mode: String = "PlaybackMode" => mode;
        selector: Selector = "HLSFragmentSelector" => |v, x| {
            v.any("hLSFragmentSelector", x).nested(|s, v| {
                v.text("fragmentSelectorType", &s.fragment_selector_type).one_of(&CLOCKS);
            });
        };
        container: String = "ContainerFormat" => |v, x| {
            v.text("containerFormat", x).one_of(&["FRAGMENTED_MP4", "MPEG_TS"]);
        };
        cuts: String = "DiscontinuityMode" => |v, x| {
            v.text("discontinuityMode", x).one_of(&["ALWAYS", "NEVER", "ON_DISCONTINUITY"]);
        };
        times: String = "DisplayFragmentTimestamp" => times;
        expires: i64 = "Expires" => expires;
        most: i64 = "MaxMediaPlaylistFragmentResults" => |v, x| {
            v.number("maxMediaPlaylistFragmentResults", x).range(1, 5000);
        };
    }
}
input! {
    /// API_reader_GetDASHStreamingSessionURL
    stream GetDashSession {
        mode: String = "PlaybackMode" => mode;
        selector: Selector = "DASHFragmentSelector" => |v, x| {
            v.any("dASHFragmentSelector", x).nested(|s, v| {
                v.text("fragmentSelectorType", &s.fragment_selector_type).one_of(&CLOCKS);
            });
        };
        times: String = "DisplayFragmentTimestamp" => times;
        numbers: String = "DisplayFragmentNumber" => |v, x| {
            v.text("displayFragmentNumber", x).one_of(&SHOWN);
        };
        expires: i64 = "Expires" => expires;
        most: i64 = "MaxManifestFragmentResults" => |v, x| {
            v.number("maxManifestFragmentResults", x).range(1, 5000);
        };
    }
}

/// API_reader_GetHLSStreamingSessionURL
#[derive(Debug, Serialize)]
pub struct HlsUrl {
    #[serde(rename = "HLSStreamingSessionURL")]
    url: String,
}

/// API_reader_GetDASHStreamingSessionURL
#[derive(Debug, Serialize)]
pub struct DashUrl {
    #[serde(rename = "DASHStreamingSessionURL")]
    url: String,
}

/// What media go out as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Fragments of MP4.
    Fragments,
    /// Transport streams.
    Transport,
    /// One MP4 file.
    File,
}

/// What both take.
struct Ask {
    stream: (String, Option<i64>),
    mode: Option<String>,
    selector: Option<Selector>,
    expires: Option<i64>,
    most: Option<i64>,
}

fn always(s: Option<&str>) -> bool {
    s == Some("ALWAYS")
}

impl Kvs {
    /// API_reader_GetHLSStreamingSessionURL
    pub(in crate::kvs) async fn get_hls_session(
        &self,
        call: Call,
        permit: Permit,
        i: GetHlsSession,
    ) -> Result<HlsUrl, AwsError> {
        let stream = i.stream()?;
        self.video.check(&permit, &[actions::GET_HLS_STREAMING_SESSION_URL], &stream.0)?;
        let ask = Ask { stream, mode: i.mode, selector: i.selector, expires: i.expires, most: i.most };
        let transport = i.container.as_deref() == Some("MPEG_TS");
        let mut session = self.session(ask, transport).await?;
        session.cuts = match i.cuts.as_deref() {
            Some("ALWAYS") => Cuts::Always,
            Some("NEVER") => Cuts::Never,
            Some(_) => Cuts::Where,
            None if session.by == By::Server => Cuts::Always,
            None => Cuts::Never,
        };
        session.transport = transport;
        session.times = always(i.times.as_deref());
        let token = session.seal(&self.video.gate, Kind::Hls);
        let url = format!("{}/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken={token}", self.endpoint(&call));
        Ok(HlsUrl { url })
    }

    /// API_reader_GetDASHStreamingSessionURL
    pub(in crate::kvs) async fn get_dash_session(
        &self,
        call: Call,
        permit: Permit,
        i: GetDashSession,
    ) -> Result<DashUrl, AwsError> {
        let stream = i.stream()?;
        self.video.check(&permit, &[actions::GET_DASH_STREAMING_SESSION_URL], &stream.0)?;
        let ask = Ask { stream, mode: i.mode, selector: i.selector, expires: i.expires, most: i.most };
        let mut session = self.session(ask, false).await?;
        session.times = always(i.times.as_deref());
        session.numbers = always(i.numbers.as_deref());
        let token = session.seal(&self.video.gate, Kind::Dash);
        let url = format!("{}/dash/v1/getDASHManifest.mpd?SessionToken={token}", self.endpoint(&call));
        Ok(DashUrl { url })
    }

    async fn session(&self, ask: Ask, transport: bool) -> Result<Session, AwsError> {
        let d = self.described(ask.stream).await?;
        if !self.keeps(&d).await? {
            return Err(error::no_retention());
        }
        let v = &self.video;
        let stream = v.streams.get(&d.info.name)?;
        let now = v.world.clock.now();
        let mode = match ask.mode.as_deref() {
            Some("LIVE_REPLAY") => Mode::LiveReplay,
            Some("ON_DEMAND") => Mode::OnDemand,
            _ => Mode::Live,
        };
        let s = ask.selector.unwrap_or_default();
        let by = match s.fragment_selector_type.as_deref() {
            Some("PRODUCER_TIMESTAMP") => By::Producer,
            _ => By::Server,
        };
        let mut session = Session::new(&d.info.name, stream.info.uid, mode, by, now);
        (session.from, session.to) = {
            let r = s.timestamp_range.unwrap_or_default();
            range(mode, by, (r.start_timestamp, r.end_timestamp), now)?
        };
        let usual = if mode == Mode::OnDemand { USUAL.1 } else { USUAL.0 };
        session.most = ask.most.and_then(|n| usize::try_from(n).ok()).unwrap_or(usual);
        let lasts = ask.expires.and_then(|n| u64::try_from(n).ok()).unwrap_or(EXPIRES as u64);
        session.expires = now + Duration::from_secs(lasts);
        let first = match mode {
            Mode::Live => {
                let items = window::latest(v, &stream, session.most).await?;
                items.last().filter(|f| now.since(f.payload.arrival) <= LIVE).ok_or_else(|| {
                    nothing("The stream has no fragments of the last 30 seconds, which LIVE needs.")
                })?;
                let first = items.iter().find(|f| f.entry.independent).or(items.first()).cloned();
                session.target = longest(&items);
                first
            }
            Mode::LiveReplay => {
                let from = session.from.unwrap_or(now);
                self.at_time(&stream, by, from).await?.filter(|f| session.within(f))
            }
            Mode::OnDemand => {
                let shown = window::shown(v, &self.memory, &stream, &session).await?;
                session.target = longest(&shown.items);
                shown.items.first().cloned()
            }
        };
        let first = first.ok_or_else(|| nothing("The stream has no fragments in the requested range."))?;
        let form = if transport { Form::Transport } else { Form::Fragments };
        self.playable(&stream, &first, form).await?;
        session.base = first.position();
        session.origin = there(&first);
        session.available = session.origin;
        if mode == Mode::LiveReplay {
            // The first fragments are there at once, as if they had come just before.
            let page = stream.page(&v.log, session.base, u64::MAX, session.most).await?;
            session.target = longest(&page);
            session.available = now - page.iter().map(|f| f.duration()).sum::<Duration>();
        }
        Ok(session)
    }

    /// Whether there is something to play in a fragment, as the service tells it.
    pub(super) async fn playable(
        &self,
        stream: &Stream,
        f: &Arc<Fragment>,
        form: Form,
    ) -> Result<(), AwsError> {
        let v = &self.video;
        let transport = form == Form::Transport;
        let mut any = false;
        for t in &f.entry.tracks {
            let Some(track) = v.tables.track(&v.log, stream, f, t.init).await? else { continue };
            if let Some(made) = sound::made(&track, self.audio(transport)) {
                any |= !transport || media::ts::carries(&made.track);
                continue;
            }
            // No player takes it from a playlist; a file has a form for it.
            any |= form == Form::File && track.codec == Codec::VP8;
            // What a producer calls by a name that is known, with a configuration that cannot be read.
            let bad = track.codec == Codec::Other(*b"bad ");
            // The service plays H.264, H.265 and AAC; what else players have is played, too.
            let pictures = track.codec.has_nals() || matches!(track.codec, Codec::VP9 | Codec::AV1);
            if !bad && !pictures && !matches!(track.codec, Codec::Aac | Codec::Opus) {
                continue;
            }
            if !mp4::carries(&track) {
                return Err(if track.config.is_empty() {
                    AwsError::new(
                        "MissingCodecPrivateDataException",
                        format!("No codec private data was found in track {} of the stream.", track.id),
                    )
                } else {
                    AwsError::new(
                        "InvalidCodecPrivateDataException",
                        format!("The codec private data in track {} is not valid for its codec.", track.id),
                    )
                });
            }
            any |= !transport || media::ts::carries(&track);
        }
        if any {
            return Ok(());
        }
        let can = match form {
            Form::Transport => {
                "MPEG_TS has H.264 or H.265 and AAC (FRAGMENTED_MP4 and MPEG-DASH also VP9, AV1 and Opus)"
            }
            Form::Fragments => "H.264, H.265, VP9, AV1, AAC, Opus and G.711 can (and VP8 by GetClip)",
            Form::File => "H.264, H.265, VP8, VP9, AV1, AAC, Opus and G.711 can",
        };
        Err(AwsError::new(
            "UnsupportedStreamMediaTypeException",
            format!(
                "The type of the media cannot be determined from the codec IDs of the tracks in the first fragment \
                 of the session, or cannot be played: {can}. GetMedia gives all that was put, as it is."
            ),
        ))
    }
}

fn nothing(message: &str) -> AwsError {
    AwsError::with_status(404, "ResourceNotFoundException", message)
}

fn longest(items: &[Arc<Fragment>]) -> u32 {
    let longest = items.iter().map(|f| f.duration()).max().unwrap_or_default();
    (longest.as_secs_f64().round() as u32).max(1)
}

/// A session's range, held against what the service says of it.
pub(super) fn range(
    mode: Mode,
    by: By,
    (start, end): (Option<Time>, Option<Time>),
    now: Timestamp,
) -> Result<(Option<Timestamp>, Option<Timestamp>), AwsError> {
    let bad = |m: &str| Err(error::argument(m));
    let (from, to) = (start.map(|t| t.0), end.map(|t| t.0));
    if mode == Mode::Live {
        return match (from, to) {
            (None, None) => Ok((None, None)),
            _ => bad("TimestampRange must not be set in the playback mode LIVE."),
        };
    }
    let Some(from) = from else {
        return bad(
            "TimestampRange and its StartTimestamp are required in the playback modes ON_DEMAND and LIVE_REPLAY.",
        );
    };
    match to {
        None if mode == Mode::OnDemand => bad("EndTimestamp is required in the playback mode ON_DEMAND."),
        Some(to) if to <= from => bad("EndTimestamp must be later than StartTimestamp."),
        Some(to) if to.since(from) > DAY => bad("EndTimestamp must be within 24 hours of StartTimestamp."),
        Some(to) if by == By::Server && mode == Mode::OnDemand && to > now => {
            bad("EndTimestamp must be in the past where the FragmentSelectorType is SERVER_TIMESTAMP.")
        }
        to => Ok((Some(from), to)),
    }
}

/// The session of a token, and its stream.
pub(super) fn opened(kvs: &Kvs, kind: Kind, token: &str) -> Result<(Session, Arc<Stream>), VideoError> {
    let v = &kvs.video;
    let session = Session::open(&v.gate, kind, token, v.world.clock.now())?;
    let stream = v.streams.get(&session.stream)?;
    if !session.is_of(stream.info.uid) {
        return Err(VideoError::Deleted(session.stream));
    }
    Ok((session, stream))
}
