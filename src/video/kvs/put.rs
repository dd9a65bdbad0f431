//! PutMedia: a producer's connection. The body is Matroska that comes for as long as the producer likes; the answer begins
//! with it, and its lines say what became of each fragment (API_dataplane_PutMedia).

use std::{sync::Arc, time::Duration};

use access::{Permit, actions};
use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt as _;
use tokio::sync::watch;
use wire::aws::{AwsError, Bind, Call};
use world::{Timestamp, World};

use super::{
    Kvs,
    ack::{Acks, Fault},
    error,
    input::input,
    producer::{AWS, Ended, OFF, Producer},
};
use crate::{Session, streams::Stream};

/// The headers that the input comes in.
pub const BINDS: &[Bind] = &[
    Bind::Header("x-amzn-stream-name", "StreamName"),
    Bind::Header("x-amzn-stream-arn", "StreamARN"),
    Bind::Header("x-amzn-fragment-timecode-type", "FragmentTimecodeType"),
    Bind::Header("x-amzn-producer-start-timestamp", "ProducerStartTimestamp"),
    Bind::Header("x-amzn-fragment-acknowledgment-required", "AcknowledgmentRequired"),
];

/// A connection that has sent nothing for so long is told that it is idle …
const IDLE: Duration = Duration::from_secs(10);
/// … and ended after so many times.
const IDLES: u32 = 3;
/// Who sends nothing for so long has gone, as far as another producer is concerned.
const QUIET: Duration = Duration::from_secs(5);
/// How long a connection lasts (with limits).
const LONGEST: Duration = Duration::from_secs(45 * 60);
/// How long what still comes is read after an error, so that the client reads what it was answered.
const DRAIN: Duration = Duration::from_secs(2);

input! {
    /// API_dataplane_PutMedia
    stream PutMedia {
        timecodes: String = "FragmentTimecodeType" => |v, x| {
            v.text("fragmentTimecodeType", x).required().one_of(&["ABSOLUTE", "RELATIVE"]);
        };
        start: String = "ProducerStartTimestamp";
        acks: String = "AcknowledgmentRequired";
    }
}

/// A producer's start: seconds since 1970, with a fraction. One of fewer than three digits counts milliseconds, as some
/// producers write them without the zeros before them.
fn start(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = |s: &str| s.len() <= 18 && s.bytes().all(|b| b.is_ascii_digit());
    if seconds.is_empty() || !digits(seconds) || !digits(fraction) {
        return None;
    }
    let seconds: i64 = seconds.parse().ok().filter(|s| *s < 1 << 40)?;
    let micros = match fraction.len() {
        0 => 0,
        1 | 2 => fraction.parse::<i64>().ok()? * 1000,
        _ => format!("{fraction:0<6}")[..6].parse().ok()?,
    };
    Some(Timestamp(seconds * 1_000_000 + micros))
}

impl Kvs {
    /// API_dataplane_PutMedia
    pub(super) async fn put_media(
        &self,
        _: Call,
        permit: Permit,
        i: PutMedia,
        body: Body,
    ) -> Result<Response, AwsError> {
        let v = &self.video;
        let d = match self.begin_put(&i).await {
            Ok(d) => d,
            Err(e) => {
                refuse(v.world.clone(), body);
                return Err(e);
            }
        };
        let (name, zero, keeps) = d;
        v.check(&permit, &[actions::PUT_MEDIA], &name)?;
        let stream = v.streams.get(&name)?;
        let session = Session::told(stream.clone(), v.log.clone()).await?;
        let (acks, from) = Acks::new(matches!(i.acks.as_deref(), Some("0" | "false")));
        let producer = Producer::new(
            session,
            stream.info.uid,
            acks.clone(),
            if self.config.limits { &AWS } else { &OFF },
            zero,
            keeps,
            stream.rules.max,
        );
        let connection = Connection {
            world: v.world.clone(),
            name,
            acks,
            stream: self.config.limits.then(|| stream.clone()),
            until: self.config.limits.then(|| v.world.clock.monotonic() + LONGEST),
            stopping: self.stopping.subscribe(),
        };
        tokio::spawn(connection.run(producer, body));
        let lines = stream::unfold(from, |mut from| async move {
            from.recv().await.map(|line| (Ok::<Bytes, std::convert::Infallible>(line), from))
        });
        let mut r = Response::new(Body::from_stream(lines));
        r.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(r)
    }

    /// The stream's name, where times are counted from, and whether fragments stay.
    async fn begin_put(&self, i: &PutMedia) -> Result<(String, Timestamp, bool), AwsError> {
        let v = &self.video;
        let now = v.world.clock.now();
        let d = self.described(i.stream()?).await?;
        let keeps = self.keeps(&d).await?;
        let said = match &i.start {
            None => None,
            Some(s) => Some(start(s).ok_or_else(|| {
                error::argument(format!("{s:?} is not a producer start timestamp: seconds since 1970."))
            })?),
        };
        let zero = match i.timecodes.as_deref() {
            Some("RELATIVE") => said.unwrap_or(now),
            _ => Timestamp(0),
        };
        let stream = v.streams.get(&d.info.name)?;
        if self.config.limits {
            stream.put_calls.call(v.world.clock.monotonic())?;
        }
        let publishing = stream.publishing.load(std::sync::atomic::Ordering::SeqCst) != 0;
        let status = stream.live.status();
        let lately = status.last_unit.is_some_and(|t| now.since(t) < QUIET);
        if self.config.limits && publishing && lately {
            return Err(AwsError::new(
                "ConnectionLimitExceededException",
                "The limit of concurrent PutMedia connections for the stream is exceeded: another producer sends to it.",
            ));
        }
        Ok((d.info.name, zero, keeps))
    }
}

/// Lets a client that is refused read why.
fn refuse(world: World, body: Body) {
    tokio::spawn(drain(world, body));
}

async fn drain(world: World, mut body: Body) {
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    tokio::select! { () = all => {}, () = world.clock.sleep(DRAIN) => {} }
}

struct Connection {
    world: World,
    name: String,
    acks: Acks,
    /// Whose rate is held.
    stream: Option<Arc<Stream>>,
    until: Option<Duration>,
    stopping: watch::Receiver<bool>,
}

impl Connection {
    async fn run(mut self, mut producer: Producer, mut body: Body) {
        tracing::info!(stream = self.name, "a producer began to put media");
        let ended = self.read(&mut producer, &mut body).await;
        let which = producer.which().cloned();
        let ended = match ended {
            Ok(true) => match producer.end(self.world.clock.now()).await {
                Ok(()) => {
                    tracing::info!(stream = self.name, "a producer has put all its media");
                    return;
                }
                Err((p, e)) => {
                    producer = p;
                    Some(e)
                }
            },
            // Cut off: what is not complete will be sent again.
            Ok(false) => None,
            Err(e) => Some(e),
        };
        if let Err(e) = producer.abandon().await {
            tracing::warn!(stream = self.name, error = %e, "what a producer had put may be lost");
        }
        match ended {
            None => tracing::info!(stream = self.name, "a producer's connection ended"),
            Some(e) => {
                tracing::warn!(stream = self.name, why = e.why, "a producer's connection is ended");
                self.acks.error(e.fault, which.as_ref());
                drop(self.acks);
                drain(self.world, body).await;
            }
        }
    }

    /// Reads until the end (true), or until it breaks off or is to end (false).
    async fn read(&mut self, producer: &mut Producer, body: &mut Body) -> Result<bool, Ended> {
        let mut idle = 0;
        loop {
            let clock = self.world.clock.clone();
            let frame = tokio::select! {
                f = body.frame() => f,
                () = clock.sleep(IDLE) => {
                    idle += 1;
                    if idle > IDLES {
                        return Ok(true);
                    }
                    self.acks.say("IDLE", None);
                    continue;
                }
                _ = self.stopping.wait_for(|s| *s) => return Ok(false),
            };
            idle = 0;
            match frame {
                None => return Ok(true),
                Some(Err(e)) => {
                    tracing::debug!(stream = self.name, error = %e, "a producer's body broke off");
                    return Ok(false);
                }
                Some(Ok(f)) => {
                    if let Ok(data) = f.into_data() {
                        producer.push(&data, self.world.clock.now()).await?;
                        if let Some(s) = &self.stream {
                            // A producer that is not read from waits.
                            let wait = s.put_bytes.owe(data.len() as f64, clock.monotonic());
                            if !wait.is_zero() {
                                clock.sleep(wait).await;
                            }
                        }
                    }
                }
            }
            if self.until.is_some_and(|t| self.world.clock.monotonic() > t) {
                return Err(Ended::new(Fault::MaxConnectionDurationReached, "it lasted for 45 minutes"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn starts_are_written_in_two_ways() {
        let ms = |s: &str| start(s).map(|t| t.millis());
        assert_eq!(ms("1700000000.5"), Some(1_700_000_000_005), "unpadded milliseconds");
        assert_eq!(ms("1700000000.50"), Some(1_700_000_000_050));
        assert_eq!(ms("1700000000.500"), Some(1_700_000_000_500));
        assert_eq!(ms("1700000000.005000"), Some(1_700_000_000_005));
        assert_eq!(ms("1700000000"), Some(1_700_000_000_000));
        for bad in ["", ".5", "-1", "now", "1e9", "99999999999999999999"] {
            assert_eq!(start(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_start_or_none(s in "\\PC{0,40}") {
            let _ = start(&s);
        }
    }
}
