//! `GET /metrics`: Prometheus text, made when it is asked for.

use std::{fmt, sync::Arc};

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use capture::cameras::Cameras;
use frames::Frames;
use log::{LocalLog, Log};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use rtc::signaling::Signaling;
use store::Counted;
use streams::DataStreams;
use video::Video;

/// Data streams, video streams, and consumers, that have figures of their own.
const STREAMS: usize = 1000;
const CONSUMERS: usize = 5000;

/// What is asked.
pub struct Metrics {
    registry: Registry,
}

/// Who tells.
pub struct Sources {
    pub log: Arc<LocalLog>,
    pub cameras: Arc<Cameras>,
    pub video: Arc<Video>,
    pub streams: DataStreams,
    pub frames: Arc<Frames>,
    pub store: Option<Arc<Counted>>,
    pub rtc: Option<Arc<rtc::Hub>>,
    pub signaling: Signaling,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources")
    }
}

impl Collector for Sources {
    fn encode(&self, mut e: DescriptorEncoder) -> fmt::Result {
        let s = self.log.stats();
        let mut counter = |name: &str, help: &str, v: u64| {
            let m = ConstCounter::new(v);
            m.encode(e.encode_descriptor(name, help, None, m.metric_type())?)
        };
        counter("log_appended", "Records and fragments made durable", s.appended)?;
        counter("log_appended_bytes", "Their bytes", s.appended_bytes)?;
        counter("log_rounds", "Group commits", s.rounds)?;
        counter("log_sync_failures", "Failed syncs of the journal or a segment", s.sync_failures)?;
        counter("log_uploads", "Segments brought to the store", s.uploads)?;
        counter("log_uploaded_bytes", "Their bytes", s.uploaded_bytes)?;
        counter("log_upload_failures", "Attempts at the store that failed", s.upload_failures)?;
        counter(
            "log_slowed",
            "Writes that waited because too much is to be moved to segments or the store",
            s.slowed,
        )?;
        counter("log_compacted", "Segments rewritten into others", s.compacted)?;
        let f = self.frames.stats();
        counter("frames_pictures", "Pictures made", f.pictures)?;
        counter("frames_failed", "Pictures that could not be decoded", f.failed)?;
        counter("frames_mixed", "Packets of sound into which voices were mixed", f.mixed)?;
        {
            let mut family = e.encode_descriptor(
                "log_removed_bytes",
                "Bytes that retention removed: too old (age), over the stream's or the store's budget, the disk too full (space)",
                None,
                prometheus_client::metrics::MetricType::Counter,
            )?;
            let r = s.removed;
            for (why, n) in [("age", r.age), ("stream", r.stream), ("store", r.store), ("space", r.space)] {
                ConstCounter::new(n).encode(family.encode_family(&[("reason", why)])?)?;
            }
        }
        let mut gauge = |name: &str, help: &str, v: u64| {
            let m = ConstGauge::new(i64::try_from(v).unwrap_or(i64::MAX));
            m.encode(e.encode_descriptor(name, help, None, m.metric_type())?)
        };
        gauge("log_inflight_bytes", "Bytes accepted and not yet durable", s.inflight_bytes)?;
        gauge("log_journal_bytes", "Journal not yet moved to segments", s.journal_bytes)?;
        gauge("log_tail_bytes", "Newest records and fragments in memory", s.tail_bytes)?;
        gauge("log_open_segments", "Segments being written", s.open_segments)?;
        gauge("log_upload_backlog_bytes", "Finished segments that wait for the store", s.upload_backlog)?;
        gauge("log_cached_bytes", "Stored segments that are in the data folder, too", s.cached_bytes)?;
        gauge(
            "log_clock_leap_seconds",
            "How far the clock is ahead of the time that age goes by, while it is in doubt",
            s.clock_leap.as_secs(),
        )?;
        gauge("video_streams", "Video streams", self.video.stream_names().len() as u64)?;
        gauge("hls_waiting", "Requests of players that wait for live video", self.video.waiting() as u64)?;
        self.cameras(&mut e)?;
        self.data_streams(&mut e)?;
        self.video_streams(&mut e)?;
        self.webrtc(&mut e)?;
        self.signaling(&mut e)?;
        self.store(&mut e)
    }
}

impl Sources {
    fn webrtc(&self, e: &mut DescriptorEncoder) -> fmt::Result {
        let Some(hub) = &self.rtc else { return Ok(()) };
        let help = "Publishers (in) and viewers (out) by WebRTC";
        let mut family = e.encode_descriptor("webrtc_sessions", help, None, MetricType::Gauge)?;
        let (publishers, viewers) = hub.sessions();
        for (way, n) in [("in", publishers), ("out", viewers)] {
            ConstGauge::new(n as i64).encode(family.encode_family(&[("way", way)])?)?;
        }
        let Some(turn) = hub.relayed() else { return Ok(()) };
        let help = "Addresses that the TURN server relays at present";
        ConstGauge::new(i64::try_from(turn.relays).unwrap_or(i64::MAX)).encode(e.encode_descriptor(
            "turn_relays",
            help,
            None,
            MetricType::Gauge,
        )?)?;
        let help = "Addresses that the TURN server was asked for and gave";
        let allocated = ConstCounter::new(turn.allocated);
        allocated.encode(e.encode_descriptor("turn_allocated", help, None, MetricType::Counter)?)?;
        let help = "Payload that the TURN server relayed, to its clients' peers and to its clients";
        let mut family = e.encode_descriptor("turn_relayed_bytes", help, None, MetricType::Counter)?;
        for (to, n) in [("peer", turn.to_peers), ("client", turn.to_clients)] {
            ConstCounter::new(n).encode(family.encode_family(&[("to", to)])?)?;
        }
        Ok(())
    }

    fn signaling(&self, e: &mut DescriptorEncoder) -> fmt::Result {
        let help = "Who is connected to signaling channels; storage: the server itself";
        let mut family = e.encode_descriptor("signaling_connections", help, None, MetricType::Gauge)?;
        for (role, n) in self.signaling.seats() {
            ConstGauge::new(n as i64).encode(family.encode_family(&[("role", role)])?)?;
        }
        let help = "Messages that signaling channels passed on, or kept for who was not there";
        let passed = ConstCounter::new(self.signaling.passed());
        passed.encode(e.encode_descriptor("signaling_messages", help, None, MetricType::Counter)?)
    }

    fn store(&self, e: &mut DescriptorEncoder) -> fmt::Result {
        let Some(store) = &self.store else { return Ok(()) };
        let all = store.tallies();
        let help = "Calls to the object store; refused: there is no such object, or there is one already";
        let mut family = e.encode_descriptor("store_calls", help, None, MetricType::Counter)?;
        for t in &all {
            for (outcome, n) in [("ok", t.ok), ("refused", t.refused), ("failed", t.failed)] {
                let labels = [("operation", t.operation), ("outcome", outcome)];
                ConstCounter::new(n).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Bytes written to the object store and read from it";
        let mut family = e.encode_descriptor("store_bytes", help, None, MetricType::Counter)?;
        for t in &all {
            ConstCounter::new(t.bytes).encode(family.encode_family(&[("operation", t.operation)])?)?;
        }
        let help = "How long calls to the object store took";
        let mut family = e.encode_descriptor("store_seconds", help, None, MetricType::Histogram)?;
        for t in &all {
            let labels = [("operation", t.operation)];
            let calls = t.ok + t.refused + t.failed;
            let within = t.within.iter().sum::<u64>();
            let mut buckets: Vec<_> = store::SECONDS.into_iter().zip(t.within).collect();
            buckets.push((f64::MAX, calls.saturating_sub(within)));
            family
                .encode_family(&labels)?
                .encode_histogram::<[(&str, &str); 1]>(t.seconds, calls, &buckets, None)?;
        }
        Ok(())
    }

    fn cameras(&self, e: &mut DescriptorEncoder) -> fmt::Result {
        let all: Vec<_> =
            self.cameras.streams().into_iter().map(|n| (self.cameras.seen(&n).status, n)).collect();
        type Read = fn(&capture::Status) -> u64;
        let counters: [(&str, &str, Read); 5] = [
            ("camera_units_in", "Access units received", |s| s.units_in),
            ("camera_units_out", "Access units handed on to be stored", |s| s.units_out),
            ("camera_packets_lost", "RTP packets known to be lost", |s| s.lost),
            ("camera_received_bytes", "Payload bytes received", |s| s.bytes),
            ("camera_connects", "Connections made", |s| s.connects),
        ];
        for (name, help, read) in counters {
            let mut family = e.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (status, camera) in &all {
                let labels = [("camera", camera.as_str())];
                ConstCounter::new(read(status)).encode(family.encode_family(&labels)?)?;
            }
        }
        let mut family =
            e.encode_descriptor("camera_up", "1 while frames arrive", None, MetricType::Gauge)?;
        for (status, camera) in &all {
            let labels = [("camera", camera.as_str())];
            ConstGauge::new(i64::from(status.state == capture::State::Running))
                .encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Sources {
    fn data_streams(&self, e: &mut DescriptorEncoder) -> fmt::Result {
        let mut all = self.streams.tallies();
        // Labels are bounded: of very many streams only the first by name are told apart.
        all.truncate(STREAMS);
        type Read = fn(&streams::Tally) -> u64;
        let counters: [(&str, &str, Read); 9] = [
            ("stream_put_records", "Records stored in a data stream", |t| t.put_records),
            ("stream_put_bytes", "Their bytes, partition keys included", |t| t.put_bytes),
            ("stream_put_units", "Their PUT payload units of 25 KiB", |t| t.put_units),
            ("stream_put_refused", "Records refused for a shard's rate", |t| t.put_refused),
            ("stream_get_records", "Records read by GetRecords", |t| t.get_records),
            ("stream_get_bytes", "Their bytes", |t| t.get_bytes),
            ("stream_get_refused", "GetRecords refused for a shard's rate", |t| t.get_refused),
            ("stream_pushed_records", "Records pushed to consumers of enhanced fan-out", |t| {
                t.pushed_records
            }),
            ("stream_pushed_bytes", "Their bytes", |t| t.pushed_bytes),
        ];
        for (name, help, read) in counters {
            let mut family = e.encode_descriptor(name, help, None, MetricType::Counter)?;
            for t in &all {
                ConstCounter::new(read(t)).encode(family.encode_family(&[("stream", t.stream.as_str())])?)?;
            }
        }
        let gauges: [(&str, &str, Read); 3] = [
            ("stream_open_shards", "Open shards of a data stream", |t| t.open_shards),
            ("stream_consumers", "Registered consumers", |t| t.consumers),
            (
                "stream_iterator_age_ms",
                "How far behind GetRecords left a reader at most, in the last minute or two",
                |t| t.iterator_age_ms,
            ),
        ];
        for (name, help, read) in gauges {
            let mut family = e.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for t in &all {
                let v = i64::try_from(read(t)).unwrap_or(i64::MAX);
                ConstGauge::new(v).encode(family.encode_family(&[("stream", t.stream.as_str())])?)?;
            }
        }
        type Consumed = fn(&streams::ConsumerTally) -> u64;
        let of_consumers: [(&str, &str, MetricType, Consumed); 4] = [
            (
                "consumer_records",
                "Records pushed to a consumer of enhanced fan-out",
                MetricType::Counter,
                |c| c.records,
            ),
            ("consumer_bytes", "Their bytes", MetricType::Counter, |c| c.bytes),
            ("consumer_subscriptions", "Shards that a consumer is subscribed to", MetricType::Gauge, |c| {
                c.subscriptions
            }),
            (
                "consumer_behind_ms",
                "How far a consumer is behind in the shard where it is furthest behind",
                MetricType::Gauge,
                |c| c.behind_ms,
            ),
        ];
        for (name, help, kind, read) in of_consumers {
            let mut family = e.encode_descriptor(name, help, None, kind)?;
            for (t, c) in all.iter().flat_map(|t| t.by_consumer.iter().map(move |c| (t, c))).take(CONSUMERS) {
                let labels = [("stream", t.stream.as_str()), ("consumer", c.consumer.as_str())];
                let v = read(c);
                match kind {
                    MetricType::Counter => ConstCounter::new(v).encode(family.encode_family(&labels)?)?,
                    _ => ConstGauge::new(i64::try_from(v).unwrap_or(i64::MAX))
                        .encode(family.encode_family(&labels)?)?,
                }
            }
        }
        Ok(())
    }
}

impl Sources {
    fn video_streams(&self, e: &mut DescriptorEncoder) -> fmt::Result {
        let mut all = self.video.tallies();
        all.truncate(STREAMS);
        type Read = fn(&video::Tally) -> u64;
        let counters: [(&str, &str, Read); 7] = [
            ("video_put_fragments", "Fragments stored in a video stream", |t| t.put_fragments),
            ("video_put_bytes", "Their bytes", |t| t.put_bytes),
            ("video_get_bytes", "Bytes read, exported or watched by WebRTC", |t| t.get_bytes),
            ("video_hls_bytes", "Bytes of media played by HLS or DASH", |t| t.hls_bytes),
            ("video_images", "Images of up to 1080p that GetImages answered with", |t| t.images),
            ("video_large_images", "Larger images that GetImages answered with", |t| t.large_images),
            ("video_stills", "Stills that were sent", |t| t.stills),
        ];
        for (name, help, read) in counters {
            let mut family = e.encode_descriptor(name, help, None, MetricType::Counter)?;
            for t in &all {
                ConstCounter::new(read(t)).encode(family.encode_family(&[("stream", t.stream.as_str())])?)?;
            }
        }
        let help =
            "Bytes of a video stream that are stored, sealed, when it was last looked (every five minutes)";
        let mut family = e.encode_descriptor("video_stored_bytes", help, None, MetricType::Gauge)?;
        for t in &all {
            let v = i64::try_from(t.stored_bytes).unwrap_or(i64::MAX);
            ConstGauge::new(v).encode(family.encode_family(&[("stream", t.stream.as_str())])?)?;
        }
        Ok(())
    }
}

impl Metrics {
    pub fn new(sources: Sources) -> Metrics {
        let mut registry = Registry::with_prefix("rushes");
        registry.register_collector(Box::new(sources));
        Metrics { registry }
    }

    pub fn router(self: Arc<Self>) -> Router {
        Router::new().route("/metrics", get(show)).with_state(self)
    }
}

async fn show(State(m): State<Arc<Metrics>>) -> impl IntoResponse {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = encode(&mut out, &m.registry);
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], out)
}
