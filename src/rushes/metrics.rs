//! `GET /metrics`: Prometheus text, made when it is asked for.

use std::{fmt, sync::Arc};

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use capture::cameras::Cameras;
use frames::Frames;
use log::{LocalLog, Log};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use video::Video;

/// What is asked.
pub struct Metrics {
    registry: Registry,
}

struct Sources {
    log: Arc<LocalLog>,
    cameras: Arc<Cameras>,
    video: Arc<Video>,
    frames: Arc<Frames>,
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
        let f = self.frames.stats();
        counter("frames_pictures", "Pictures made", f.pictures)?;
        counter("frames_failed", "Pictures that could not be decoded", f.failed)?;
        let mut gauge = |name: &str, help: &str, v: u64| {
            let m = ConstGauge::new(i64::try_from(v).unwrap_or(i64::MAX));
            m.encode(e.encode_descriptor(name, help, None, m.metric_type())?)
        };
        gauge("log_inflight_bytes", "Bytes accepted and not yet durable", s.inflight_bytes)?;
        gauge("log_journal_bytes", "Journal not yet moved to segments", s.journal_bytes)?;
        gauge("log_tail_bytes", "Newest records and fragments in memory", s.tail_bytes)?;
        gauge("log_open_segments", "Segments being written", s.open_segments)?;
        gauge("video_streams", "Video streams", self.video.stream_names().len() as u64)?;
        self.cameras(&mut e)
    }
}

impl Sources {
    fn cameras(&self, e: &mut DescriptorEncoder) -> fmt::Result {
        let all: Vec<_> =
            self.cameras.names().into_iter().map(|n| (self.cameras.seen(&n).status, n)).collect();
        type Read = fn(&capture::Status) -> u64;
        let counters: [(&str, &str, Read); 5] = [
            ("camera_units_in", "Access units received", |s| s.units_in),
            ("camera_units_out", "Access units handed on to be stored", |s| s.units_out),
            ("camera_packets_lost", "RTP packets known to be lost", |s| s.lost),
            ("camera_received_bytes", "Payload bytes received", |s| s.bytes),
            ("camera_connects", "Connections made", |s| s.connects),
        ];
        for (name, help, read) in counters {
            let mut family =
                e.encode_descriptor(name, help, None, prometheus_client::metrics::MetricType::Counter)?;
            for (status, camera) in &all {
                let labels = [("camera", camera.as_str())];
                ConstCounter::new(read(status)).encode(family.encode_family(&labels)?)?;
            }
        }
        let mut family = e.encode_descriptor(
            "camera_up",
            "1 while frames arrive",
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        for (status, camera) in &all {
            let labels = [("camera", camera.as_str())];
            ConstGauge::new(i64::from(status.state == capture::State::Running))
                .encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Metrics {
    pub fn new(log: Arc<LocalLog>, cameras: Arc<Cameras>, video: Arc<Video>, frames: Arc<Frames>) -> Metrics {
        let mut registry = Registry::with_prefix("rushes");
        registry.register_collector(Box::new(Sources { log, cameras, video, frames }));
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
