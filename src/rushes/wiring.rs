//! Where services meet: what one declares and another provides.

use std::{net::IpAddr, sync::Arc, time::Duration};

use access::{Credentials, Denied, Gate, Permit, actions};
use base64::Engine as _;
use bytes::Bytes;
use capture::SinkError;
use frames::{Format, Frames, Job};
use media::{AccessUnit, Track};
use rtc::signaling::{Channel, Channels};
use usage::{Quantity, Resource, Usage};
use video::{Video, kvs::Kvs};
use wire::{aws::AwsError, v1::ApiError};
use world::{Home, Timestamp};

/// Received media goes into video streams.
pub struct IntoStreams(pub Arc<Video>);

fn failed(e: video::VideoError) -> SinkError {
    SinkError { retry: e.retry(), message: e.to_string() }
}

#[async_trait::async_trait]
impl capture::Sink for IntoStreams {
    async fn open(&self, permit: Permit, stream: &str) -> Result<Box<dyn capture::Session>, SinkError> {
        let session = self.0.ingest(permit, stream).await.map_err(failed)?;
        Ok(Box::new(IntoStream(session)))
    }

    async fn open_sub(
        &self,
        permit: Permit,
        stream: &str,
        camera: &str,
    ) -> Result<Box<dyn capture::Session>, SinkError> {
        self.0.ensure_sub_stream(&permit, stream, camera).await.map_err(failed)?;
        self.open(permit, stream).await
    }
}

struct IntoStream(video::Session);

#[async_trait::async_trait]
impl capture::Session for IntoStream {
    async fn tracks(&mut self, tracks: Vec<Arc<Track>>) -> Result<(), SinkError> {
        self.0.tracks(tracks).await.map_err(failed)
    }
    async fn write(&mut self, unit: AccessUnit, received: Timestamp) -> Result<(), SinkError> {
        self.0.write(unit, received).await.map_err(failed)
    }
    async fn discontinuity(&mut self, why: &str) -> Result<(), SinkError> {
        self.0.discontinuity(why).await.map_err(failed)
    }
    async fn estimated(&mut self, estimated: bool) -> Result<(), SinkError> {
        self.0.estimated(estimated);
        Ok(())
    }
    async fn end(self: Box<Self>) -> Result<(), SinkError> {
        self.0.end().await.map_err(failed)
    }
}

/// Who may publish by RTSP: an access key, or a token that is good for one stream.
pub struct Publishers {
    pub gate: Gate,
    pub home: Home,
}

#[async_trait::async_trait]
impl capture::Admit for Publishers {
    async fn publish(
        &self,
        peer: IpAddr,
        stream: &str,
        user: Option<&str>,
        password: Option<&str>,
    ) -> Result<Permit, Denied> {
        let credentials = match (user, password) {
            (None, _) => Credentials::Anonymous,
            (Some(token), None | Some("")) => Credentials::Token(token),
            (Some(id), Some(secret)) => Credentials::AccessKey { id, secret },
        };
        self.gate.at(peer).admit(credentials, actions::PUT_MEDIA, &self.home.video_stream(stream)).await
    }
}

/// Live streams, for those who watch them by WebRTC.
pub struct LiveStreams(pub Arc<Video>);

impl rtc::Source for LiveStreams {
    fn tracks(&self, stream: &str) -> Result<Arc<[Arc<Track>]>, ApiError> {
        Ok(self.0.live_tracks(stream)?)
    }
    fn follow(&self, permit: Permit, stream: &str) -> Result<Box<dyn rtc::Follow>, ApiError> {
        let units = self.0.follow(permit, stream)?;
        Ok(Box::new(Following { units, tap: self.0.tap(stream)? }))
    }
    fn key_frame(&self, stream: &str) -> Option<rtc::Unit> {
        let k = self.0.live_key_frame(stream)?;
        let pts = i128::from(k.time.micros()) * i128::from(k.track.timescale) / 1_000_000;
        Some(rtc::Unit {
            pts: i64::try_from(pts).ok()?,
            access: media::random_access(&k.track, &k.data),
            track: k.track,
            data: k.data,
        })
    }
}

struct Following {
    units: tokio::sync::broadcast::Receiver<video::LiveSample>,
    tap: video::Tap,
}

#[async_trait::async_trait]
impl rtc::Follow for Following {
    async fn next(&mut self) -> rtc::Next {
        use tokio::sync::broadcast::error::RecvError;
        match self.units.recv().await {
            Err(RecvError::Lagged(_)) => rtc::Next::Missed,
            Err(RecvError::Closed) => rtc::Next::End,
            Ok(s) => match s.tracks.iter().find(|t| t.id == s.sample.track) {
                None => rtc::Next::Missed,
                Some(track) => rtc::Next::Unit(rtc::Unit {
                    track: track.clone(),
                    pts: s.sample.pts,
                    access: s.sample.access,
                    data: s.data,
                }),
            },
        }
    }
    fn sent(&mut self, bytes: usize) {
        self.tap.sent(bytes);
    }
}

/// The signaling channels, for those who serve them.
pub struct TheChannels(pub Kvs, pub Usage, pub Arc<dyn world::Clock>);

#[async_trait::async_trait]
impl Channels for TheChannels {
    async fn channel(&self, arn: &str) -> Result<Channel, AwsError> {
        let c = self.0.channel(arn).await?;
        let name = |arn: String| arn.split('/').nth(1).map(str::to_owned);
        Ok(Channel {
            arn: c.arn.0,
            message_ttl: Duration::from_secs(c.message_ttl.unsigned_abs()),
            stores_in: c.stores_in.and_then(name),
        })
    }
    async fn connected(&self, arn: &str) {
        let Some(of) = metered(arn) else { return };
        if let Err(e) = self.1.once(of, Quantity::ActiveMonths, month(self.2.now())).await {
            tracing::warn!(arn, error = %e, "it is not known whether the channel was active this month");
        }
    }
    fn passed(&self, arn: &str) {
        if let Some(of) = metered(arn) {
            self.1.meter(of).add(Quantity::Messages, 1);
        }
    }
}

/// A signaling channel, by its ARN: `…:channel/NAME/CREATED`.
fn metered(arn: &str) -> Option<Resource> {
    let mut parts = arn.split('/').skip(1);
    let (name, created) = (parts.next()?, parts.next()?);
    let (stream, uid) = (name.to_owned(), format!("{name}:{created}"));
    Some(Resource { kind: usage::Kind::SignalingChannel, stream, uid, consumer: String::new() })
}

/// When a moment's month began, in UTC.
fn month(t: Timestamp) -> Timestamp {
    let text = wire::time::format(t);
    wire::time::parse(&format!("{}-01T00:00:00Z", text.get(..7).unwrap_or_default())).unwrap_or(t)
}

/// What the TURN server relays.
pub struct TheRelay(Arc<usage::Meter>);

impl TheRelay {
    /// Counts it.
    pub fn of(usage: &Usage) -> TheRelay {
        let name = "turn".to_owned();
        let (kind, consumer) = (usage::Kind::TurnServer, String::new());
        TheRelay(usage.meter(Resource { kind, stream: name.clone(), uid: name, consumer }))
    }
}

impl rtc::turn::Metered for TheRelay {
    fn minute(&self) {
        self.0.add(Quantity::TurnMinutes, 1);
    }
}

/// What comes by WebRTC goes the way of what comes by RTSP.
pub struct IntoFeeds(pub Arc<capture::feed::Feeds>);

impl rtc::Publish for IntoFeeds {
    fn open(&self, permit: Permit, stream: &str, description: &str) -> Result<Box<dyn rtc::Feed>, ApiError> {
        let feed = self
            .0
            .feed(permit, stream, description)
            .map_err(|m| ApiError::new(axum::http::StatusCode::NOT_ACCEPTABLE, "NotAcceptable", m))?;
        Ok(Box::new(Feed(feed)))
    }
}

struct Feed(capture::feed::Feed);

#[async_trait::async_trait]
impl rtc::Feed for Feed {
    fn rtp(&mut self, media: usize, packet: Bytes, received: Timestamp) {
        self.0.rtp(media, packet, received);
    }
    fn report(&mut self, media: usize, ntp: u64, rtp: u32, received: Timestamp) {
        self.0.report(media, ntp, rtp, received);
    }
    fn broken(&mut self) -> bool {
        self.0.broken()
    }
    async fn drain(&mut self) -> Result<(), String> {
        self.0.drain().await
    }
    async fn end(self: Box<Self>) -> Result<(), String> {
        self.0.end().await
    }
}

/// Pictures from key frames.
pub struct Pictures(pub Arc<Frames>);

const QUALITY: u8 = 80;
/// Wide enough for a dialog.
const PROBE_WIDTH: u16 = 640;

impl Pictures {
    async fn jpeg(
        &self,
        track: &Track,
        data: Bytes,
        width: Option<u16>,
    ) -> Result<Bytes, frames::FramesError> {
        let job = Job {
            codec: track.codec,
            config: track.config.clone(),
            framing: track.framing,
            data,
            width,
            height: None,
            format: Format::Jpeg { quality: QUALITY },
        };
        Ok(self.0.picture(job).await?.bytes)
    }
}

fn packets(made: Result<Vec<frames::Packet>, frames::FramesError>) -> Result<Vec<(i32, Bytes)>, String> {
    Ok(made.map_err(|e| e.to_string())?.into_iter().map(|p| (p.number, p.data)).collect())
}

#[async_trait::async_trait]
impl video::Stills for Pictures {
    async fn jpeg(&self, frame: &video::KeyFrame, width: Option<u32>) -> Result<Bytes, String> {
        let width = width.map(|w| u16::try_from(w).unwrap_or(u16::MAX));
        Pictures::jpeg(self, &frame.track, frame.data.clone(), width).await.map_err(|e| e.to_string())
    }
    async fn image(
        &self,
        track: &Track,
        data: Bytes,
        form: video::ImageForm,
    ) -> Result<video::Image, String> {
        let job = Job {
            codec: track.codec,
            config: track.config.clone(),
            framing: track.framing,
            data,
            width: form.size.map(|(w, _)| w),
            height: form.size.map(|(_, h)| h),
            format: form.jpeg.map_or(Format::Png, |quality| Format::Jpeg { quality }),
        };
        let made = self.0.picture(job).await.map_err(|e| e.to_string())?;
        Ok(video::Image { bytes: made.bytes, size: (made.width, made.height) })
    }
    async fn aac(&self, pcm: Vec<i16>, rate: u32, channels: u8) -> Result<Vec<(i32, Bytes)>, String> {
        packets(self.0.aac(&pcm, rate, channels).await)
    }
    async fn opus(&self, pcm: Vec<i16>, rate: u32, channels: u8) -> Result<Vec<(i32, Bytes)>, String> {
        packets(self.0.opus(&pcm, rate, channels).await)
    }
    async fn pcm(
        &self,
        codec: media::Codec,
        sound: Vec<Bytes>,
        rate: u32,
        channels: u8,
    ) -> Result<Vec<(i32, Bytes)>, String> {
        packets(self.0.pcm(codec, &sound, rate, channels).await)
    }
}

#[async_trait::async_trait]
impl console::ProbeStills for Pictures {
    async fn data_url(&self, track: &Track, data: Bytes) -> Option<String> {
        let jpeg = Pictures::jpeg(self, track, data, Some(PROBE_WIDTH)).await.ok()?;
        Some(format!("data:image/jpeg;base64,{}", base64::engine::general_purpose::STANDARD.encode(jpeg)))
    }
}

/// What is said in storage sessions is mixed where stills are made.
pub struct IntoMixes(pub Arc<Frames>);

#[async_trait::async_trait]
impl rtc::Mixers for IntoMixes {
    async fn open(&self) -> Result<Box<dyn rtc::Mixer>, String> {
        match self.0.mixer().await {
            Ok(mixer) => Ok(Box::new(Mixer(mixer))),
            Err(frames::FramesError::Busy) => {
                Err("as many sessions are mixed already as webrtc.mixers allows".into())
            }
            Err(e) => Err(e.to_string()),
        }
    }
}

struct Mixer(frames::Mixer);

#[async_trait::async_trait]
impl rtc::Mixer for Mixer {
    async fn mix(&mut self, blend: rtc::Blend) -> Result<Vec<Bytes>, String> {
        let part = |p: rtc::Part| frames::Part {
            who: p.who,
            packets: p.packets.iter().map(|p| Bytes::copy_from_slice(p)).collect(),
        };
        let rtc::Blend { desk, samples, parts, without } = blend;
        let blend = frames::Blend { desk, samples, parts: parts.into_iter().map(part).collect(), without };
        self.0.blend(&blend).await.map_err(|e| match e {
            frames::FramesError::Died(how) => format!("the mixer ended ({how})"),
            frames::FramesError::TimedOut(after) => format!("the mixer took more than {after:?}"),
            other => other.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months() {
        let of = |text: &str| wire::time::format(month(wire::time::parse(text).unwrap()));
        assert_eq!(of("2026-02-28T23:59:59.999Z"), of("2026-02-01T00:00:00Z"));
        assert!(of("2026-03-01T00:00:00Z").starts_with("2026-03-01T00:00:00"));
    }
}
