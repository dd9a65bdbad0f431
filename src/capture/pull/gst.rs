//! `rtsps://` (and anything else, if asked) by GStreamer's `rtspsrc`. Only its packets are used, as they leave its
//! jitter buffer.
//!
//! Threads of GStreamer's own bring them, and nothing here may hold those up: a blocked jitter buffer grows without
//! bound. So what the sink is too slow for is dropped at a bounded queue; it is then missing from the sequence of
//! packets, where it is noticed and counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_sdp as gst_sdp;
use tokio::sync::{mpsc, oneshot};
use world::Clock;

use super::engine::{Connected, Item, Puller, QUEUE, Raw, USER_AGENT};
use super::trouble::{Kind, Trouble};
use crate::intake::Intake;
use crate::sdp;
use crate::source::Source;

/// How long packets that came out of order are waited for.
const UDP_LATENCY_MS: u32 = 200;
/// A sender's clock is looked at so often.
const REPORT_EVERY: u64 = 1_000_000_000;
const FAREWELL: Duration = Duration::from_secs(2);

pub(super) struct Rtspsrc;

type Tx = mpsc::Sender<Result<Item, Trouble>>;

/// Ends the pipeline when dropped, on a thread that may block.
struct Running {
    pipeline: gst::Pipeline,
    ended: Option<oneshot::Sender<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let (pipeline, ended) = (self.pipeline.clone(), self.ended.take());
        let end = move || {
            let _ = pipeline.set_state(gst::State::Null);
            if let Some(bus) = pipeline.bus() {
                bus.unset_sync_handler();
            }
            drop(pipeline);
            if let Some(ended) = ended {
                let _ = ended.send(());
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(handle) => drop(handle.spawn_blocking(end)),
            Err(_) => end(),
        }
    }
}

fn setup(e: impl std::fmt::Display) -> Trouble {
    Trouble::new(Kind::Setup, format!("GStreamer: {e}"))
}

#[async_trait::async_trait]
impl Puller for Rtspsrc {
    async fn connect(&self, source: &Source, tcp: bool, clock: Arc<dyn Clock>) -> Result<Connected, Trouble> {
        gst::init().map_err(setup)?;
        let (tx, mut rx) = mpsc::channel(QUEUE);
        let (described, description) = oneshot::channel();
        let (ended, has_ended) = oneshot::channel();
        let running = Running { pipeline: gst::Pipeline::new(), ended: Some(ended) };
        build(&running.pipeline, source, tcp, &clock, tx, described)?;
        let pipeline = running.pipeline.clone();
        // Returns at once: the source connects in a thread of its own.
        tokio::task::spawn_blocking(move || pipeline.set_state(gst::State::Playing))
            .await
            .map_err(setup)?
            .map_err(|_| setup("the pipeline does not start"))?;

        let mut early = Vec::new();
        let mut description = description;
        let text: String = loop {
            tokio::select! {
                biased;
                item = rx.recv() => match item {
                    Some(Ok(item)) => early.push(Ok(item)),
                    Some(Err(t)) => return Err(t),
                    None => return Err(Trouble::new(Kind::Closed, "the camera closed the connection")),
                },
                text = &mut description => {
                    break text.map_err(|_| Trouble::new(Kind::NotRtsp, "the camera gave no description"))?;
                }
            }
        };
        let description = sdp::parse(text.as_bytes()).map_err(|e| Trouble::new(Kind::NotRtsp, e))?;
        let intake = Intake::new(&description.media).map_err(|e| Trouble::new(Kind::UnsupportedCodec, e))?;
        // It only counts as connected when it plays: the first packet, or a refusal, is waited for.
        let first = rx.recv().await;
        let first = match first {
            Some(Err(t)) => return Err(t),
            None => return Err(Trouble::new(Kind::Closed, "the camera closed the connection")),
            Some(item) => item,
        };
        early.push(first);
        let mut early = early.into_iter();
        let feed = futures_util::stream::poll_fn(move |cx| {
            let _held = &running;
            match early.next() {
                Some(item) => std::task::Poll::Ready(Some(item)),
                None => rx.poll_recv(cx),
            }
        });
        let farewell = Box::pin(async move {
            tokio::select! {
                _ = has_ended => {}
                () = clock.sleep(FAREWELL) => {}
            }
        });
        let server = description.tool.or(description.name);
        Ok(Connected { intake, feed: Box::pin(feed), server, farewell })
    }
}

fn build(
    pipeline: &gst::Pipeline,
    source: &Source,
    tcp: bool,
    clock: &Arc<dyn Clock>,
    tx: Tx,
    described: oneshot::Sender<String>,
) -> Result<(), Trouble> {
    let src = gst::ElementFactory::make("rtspsrc")
        .property("location", source.plain_url().as_str())
        .property("user-agent", USER_AGENT)
        .property("latency", if tcp { 0 } else { UDP_LATENCY_MS })
        .property("tcp-timeout", 10_000_000u64)
        .property("timeout", 0u64)
        .property("do-retransmission", false)
        .property("add-reference-timestamp-meta", true)
        // Only RTP's own times matter here.
        .property_from_str("buffer-mode", "none")
        .property_from_str("protocols", if tcp { "tcp" } else { "udp" })
        .build()
        .map_err(setup)?;
    let had_credentials = source.credentials().is_some();
    if let Some((user, password)) = source.credentials() {
        src.set_property("user-id", user);
        src.set_property("user-pw", password);
    }
    // Asked only where a certificate does not stand by itself. The error that follows a refusal does not say so.
    let distrusted = Arc::new(AtomicBool::new(false));
    let (insecure, note) = (source.tls_insecure, distrusted.clone());
    src.connect("accept-certificate", false, move |_| {
        note.store(!insecure, Ordering::Relaxed);
        Some(insecure.to_value())
    });
    let described = Mutex::new(Some(described));
    src.connect("on-sdp", false, move |args| {
        let text = args.get(1)?.get::<gst_sdp::SDPMessage>().ok()?.as_text().ok()?;
        if let Ok(mut d) = described.lock()
            && let Some(d) = d.take()
        {
            let _ = d.send(text);
        }
        None
    });
    src.connect("select-stream", false, |args| {
        let supported = || -> Option<bool> {
            let caps = args.get(2)?.get::<gst::Caps>().ok()?;
            let s = caps.structure(0)?;
            Some(matches!(s.get::<&str>("media").ok()?, "video" | "audio"))
        };
        Some(supported().unwrap_or(false).to_value())
    });
    let (weak, clock, packets) = (pipeline.downgrade(), clock.clone(), tx.clone());
    src.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        // recv_rtp_src_MEDIUM_SSRC_TYPE
        let Some(media) =
            pad.name().strip_prefix("recv_rtp_src_").and_then(|n| n.split('_').next()?.parse().ok())
        else {
            return;
        };
        if let Err(e) = take(&pipeline, pad, media, packets.clone(), clock.clone()) {
            let _ = packets.try_send(Err(e));
        }
    });
    pipeline.add(&src).map_err(setup)?;
    let bus = pipeline.bus().ok_or_else(|| setup("the pipeline has no bus"))?;
    let lost = Mutex::new(None::<Trouble>);
    bus.set_sync_handler(move |_, message| {
        let trouble = match message.view() {
            gst::MessageView::Error(_) if distrusted.load(Ordering::Relaxed) => Some(Trouble::new(
                Kind::Setup,
                "the camera's certificate is not one to trust; allow it if it is yours",
            )),
            gst::MessageView::Error(e) => Some(trouble(e, had_credentials)),
            gst::MessageView::Eos(_) => Some(Trouble::new(Kind::Closed, "the camera closed the connection")),
            _ => None,
        };
        // The first error is the cause, those after it follow from it.
        if let (Some(t), Ok(mut first)) = (trouble, lost.lock())
            && first.is_none()
        {
            *first = Some(t.clone());
            let _ = tx.try_send(Err(t));
        }
        gst::BusSyncReply::Drop
    });
    Ok(())
}

fn take(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    media: usize,
    tx: Tx,
    clock: Arc<dyn Clock>,
) -> Result<(), Trouble> {
    let reported = AtomicU64::new(0);
    let sink = gst_app::AppSink::builder().sync(false).async_(false).enable_last_sample(false).build();
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let Some(buffer) = sample.buffer() else { return Ok(gst::FlowSuccess::Ok) };
                let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
                let now = clock.now();
                if let Some((ntp, rtp)) = report(buffer, &map, &reported) {
                    let _ = tx.try_send(Ok(Item::Report(media, ntp, rtp, now)));
                }
                let packet = Raw::Bytes(Bytes::copy_from_slice(&map));
                match tx.try_send(Ok(Item::Rtp(media, packet, now))) {
                    Err(mpsc::error::TrySendError::Closed(_)) => Err(gst::FlowError::Eos),
                    _ => Ok(gst::FlowSuccess::Ok),
                }
            })
            .build(),
    );
    pipeline.add(&sink).map_err(setup)?;
    sink.sync_state_with_parent().map_err(setup)?;
    let to = sink.static_pad("sink").ok_or_else(|| setup("a sink without a pad"))?;
    pad.link(&to).map_err(setup)?;
    Ok(())
}

/// The sender's clock at this packet, in NTP's form, with its RTP timestamp; about once a second.
fn report(buffer: &gst::BufferRef, packet: &[u8], last: &AtomicU64) -> Option<(u64, u32)> {
    let meta = buffer
        .iter_meta::<gst::ReferenceTimestampMeta>()
        .find(|m| m.reference().structure(0).is_some_and(|s| s.name() == "timestamp/x-ntp"))?;
    let ns = meta.timestamp().nseconds();
    if ns.abs_diff(last.load(Ordering::Relaxed)) < REPORT_EVERY {
        return None;
    }
    last.store(ns, Ordering::Relaxed);
    let (s, f) = (ns / 1_000_000_000, ns % 1_000_000_000);
    Some(((s << 32) | ((f << 32) / 1_000_000_000), crate::rtp::Packet::parse(packet)?.timestamp))
}

fn trouble(e: &gst::message::Error, had_credentials: bool) -> Trouble {
    let error = e.error();
    let details = e.debug().unwrap_or_default();
    // rtspsrc tells the status only in the text: `… (404)`.
    let status =
        ["401", "403", "404", "453", "461", "503"].iter().find(|c| details.contains(&format!("({c})")));
    match error.kind::<gst::ResourceError>() {
        Some(gst::ResourceError::NotAuthorized) => Trouble::status(401, had_credentials),
        Some(gst::ResourceError::NotFound) if status.is_some() => Trouble::status(404, had_credentials),
        _ => {
            if let Some(code) = status.and_then(|c| c.parse().ok()) {
                return Trouble::status(code, had_credentials);
            }
            if details.contains("TLS") || details.contains("certificate") {
                return Trouble::new(
                    Kind::Setup,
                    "the camera's certificate is not one to trust; allow it if it is yours",
                );
            }
            Trouble::network(&format!("{} {}", error.message(), details))
        }
    }
}
