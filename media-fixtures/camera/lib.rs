//! A camera that plays a file: an RTSP server for the demo, for tests and for benchmarks. Not a part of Rushes.
//!
//! The file is read into memory once; every client shares one session of it, as with a real camera's encoder. At its
//! end it begins again with rising times, so that a client sees one endless stream.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use gstreamer::{self as gst, glib, prelude::*};
use gstreamer_app::{AppSink, AppSrc};
use gstreamer_rtsp_server::gio;
use gstreamer_rtsp_server::{self as server, prelude::*};

/// Files larger than this are not held in memory.
const MAX_FILE: u64 = 512 << 20;

/// Why the camera could not start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SimulatorError(String);

fn failed(e: impl std::fmt::Display) -> SimulatorError {
    SimulatorError(e.to_string())
}

/// One track of the file, in memory.
struct Track {
    caps: gst::Caps,
    buffers: Vec<gst::Buffer>,
}

/// A running camera; stops when dropped.
pub struct Simulator {
    url: String,
    sub: Option<String>,
    main_loop: glib::MainLoop,
    thread: Option<JoinHandle<()>>,
}

impl Simulator {
    /// Plays `file`, and `sub` at a second path if there is one, at `listen` (port 0: a free one), asking for `login` if one
    /// is given; over and over if `again`.
    pub fn start(
        listen: SocketAddr,
        file: &Path,
        sub: Option<&Path>,
        login: Option<(String, String)>,
        again: bool,
    ) -> Result<Simulator, SimulatorError> {
        gst::init().map_err(failed)?;
        let context = glib::MainContext::new();
        let main_loop = glib::MainLoop::new(Some(&context), false);
        let srv = server::RTSPServer::new();
        srv.set_address(&listen.ip().to_string());
        srv.set_service(&listen.port().to_string());
        let main = factory(&Arc::new(read(file)?), again)?;
        let sub = sub.map(|file| factory(&Arc::new(read(file)?), again)).transpose()?;
        let mut user_info = String::new();
        if let Some((user, password)) = login {
            protect(&srv, [Some(&main), sub.as_ref()].into_iter().flatten(), &user, &password);
            let enc = |s: &str| {
                percent_encoding::utf8_percent_encode(s, percent_encoding::NON_ALPHANUMERIC).to_string()
            };
            user_info = format!("{}:{}@", enc(&user), enc(&password));
        }
        let mounts = srv.mount_points().ok_or_else(|| failed("the RTSP server has no mount points"))?;
        let has_sub = sub.is_some();
        mounts.add_factory("/main", main);
        if let Some(sub) = sub {
            mounts.add_factory("/sub", sub);
        }
        let source = srv
            .create_source(gio::Cancellable::NONE)
            .map_err(|e| failed(format!("cannot listen on {listen}: {e}")))?;
        source.attach(Some(&context));
        let base = format!("rtsp://{user_info}{}:{}", listen.ip(), srv.bound_port());
        let l = main_loop.clone();
        let thread = std::thread::Builder::new()
            .name("camera".into())
            .spawn(move || {
                let _srv = srv;
                // Where the context is this thread's, so that the server's callbacks run here.
                let _ = context.with_thread_default(|| l.run());
            })
            .map_err(failed)?;
        let sub = has_sub.then(|| format!("{base}/sub"));
        Ok(Simulator { url: format!("{base}/main"), sub, main_loop, thread: Some(thread) })
    }

    /// Where to pull from, with user name and password if it asks for them.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same for the sub source, if there is one.
    pub fn sub_url(&self) -> Option<&str> {
        self.sub.as_deref()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.main_loop.quit();
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}

fn protect<'a>(
    srv: &server::RTSPServer,
    factories: impl Iterator<Item = &'a server::RTSPMediaFactory>,
    user: &str,
    password: &str,
) {
    let auth = server::RTSPAuth::new();
    let token =
        server::RTSPToken::builder().field(server::RTSP_TOKEN_MEDIA_FACTORY_ROLE.as_str(), "viewer").build();
    auth.add_digest(user, password, &token);
    auth.add_basic(&server::RTSPAuth::make_basic(user, password), &token);
    auth.set_supported_methods(gstreamer_rtsp::RTSPAuthMethod::Digest);
    srv.set_auth(Some(&auth));
    let role = gst::Structure::builder("viewer")
        .field(server::RTSP_PERM_MEDIA_FACTORY_ACCESS.as_str(), true)
        .field(server::RTSP_PERM_MEDIA_FACTORY_CONSTRUCT.as_str(), true)
        .build();
    for factory in factories {
        factory.add_role_from_structure(&role);
    }
}

/// Reads all tracks that we can send.
fn read(file: &Path) -> Result<Vec<Track>, SimulatorError> {
    let len = std::fs::metadata(file).map_err(|e| failed(format!("{}: {e}", file.display())))?.len();
    if len > MAX_FILE {
        return Err(failed(format!(
            "{}: {len} bytes are more than a simulated camera holds ({MAX_FILE})",
            file.display()
        )));
    }
    let pipeline = gst::Pipeline::new();
    let src = gst::ElementFactory::make("filesrc").property("location", file).build().map_err(failed)?;
    let parse = gst::ElementFactory::make("parsebin").build().map_err(failed)?;
    pipeline.add_many([&src, &parse]).map_err(failed)?;
    src.link(&parse).map_err(failed)?;
    let sinks = Arc::new(std::sync::Mutex::new(Vec::<AppSink>::new()));
    let (p, s) = (pipeline.downgrade(), sinks.clone());
    parse.connect_pad_added(move |_, pad| {
        let Some(p) = p.upgrade() else { return };
        let sink = AppSink::builder().sync(false).build();
        // A demuxer feeds all tracks from one thread: without a queue, the first sink's preroll would keep it from the others.
        let Ok(queue) = gst::ElementFactory::make("queue")
            .property("max-size-buffers", 0u32)
            .property("max-size-bytes", 0u32)
            .property("max-size-time", 0u64)
            .build()
        else {
            return;
        };
        let linked = p
            .add_many([&queue, sink.upcast_ref()])
            .and_then(|()| queue.link(&sink))
            .and_then(|()| sink.sync_state_with_parent())
            .and_then(|()| queue.sync_state_with_parent())
            .is_ok_and(|()| queue.static_pad("sink").is_some_and(|to| pad.link(&to).is_ok()));
        if linked && let Ok(mut all) = s.lock() {
            all.push(sink);
        }
    });
    let bus = pipeline.bus().ok_or_else(|| failed("a pipeline has no bus"))?;
    pipeline.set_state(gst::State::Paused).map_err(failed)?;
    // Preroll: every track has its sink once this is through.
    let told = bus.timed_pop_filtered(
        gst::ClockTime::from_seconds(20),
        &[gst::MessageType::AsyncDone, gst::MessageType::Error],
    );
    if let Some(gst::MessageView::Error(e)) = told.as_ref().map(|m| m.view()) {
        let _ = pipeline.set_state(gst::State::Null);
        return Err(failed(format!("{}: {}", file.display(), e.error())));
    }
    pipeline.set_state(gst::State::Playing).map_err(failed)?;
    let sinks = sinks.lock().map(|s| s.clone()).unwrap_or_default();
    // Side by side: a demuxer waits while one of its tracks is not taken from.
    let reading: Vec<_> = sinks.into_iter().map(|sink| std::thread::spawn(move || take(&sink))).collect();
    let tracks: Vec<Track> = reading.into_iter().filter_map(|t| t.join().ok().flatten()).collect();
    let _ = pipeline.set_state(gst::State::Null);
    if tracks.is_empty() {
        return Err(failed(format!(
            "{}: no H.264, H.265 or AAC track that a simulated camera could send",
            file.display()
        )));
    }
    Ok(tracks)
}

fn take(sink: &AppSink) -> Option<Track> {
    let mut track: Option<Track> = None;
    while let Ok(sample) = sink.pull_sample() {
        let (Some(caps), Some(buffer)) = (sample.caps_owned(), sample.buffer_owned()) else { continue };
        track.get_or_insert_with(|| Track { caps, buffers: Vec::new() }).buffers.push(buffer);
    }
    track.filter(|t| t.payloader().is_some())
}

impl Track {
    fn payloader(&self) -> Option<&'static str> {
        let s = self.caps.structure(0)?;
        Some(match s.name().as_str() {
            // config-interval=-1: parameter sets before every IDR, as cameras send them.
            "video/x-h264" => "h264parse config-interval=-1 ! rtph264pay aggregate-mode=zero-latency",
            "video/x-h265" => "h265parse config-interval=-1 ! rtph265pay aggregate-mode=zero-latency",
            "audio/mpeg" if s.get::<i32>("mpegversion") == Ok(4) => "aacparse ! rtpmp4gpay",
            "audio/x-opus" => "rtpopuspay",
            "audio/x-mulaw" => "rtppcmupay",
            "audio/x-alaw" => "rtppcmapay",
            _ => return None,
        })
    }
}

fn factory(tracks: &Arc<Vec<Track>>, again: bool) -> Result<server::RTSPMediaFactory, SimulatorError> {
    let parts: Vec<_> = tracks
        .iter()
        .enumerate()
        .filter_map(|(i, t)| Some(format!("appsrc name=src{i} format=time is-live=true block=true max-bytes=4000000 ! {} name=pay{i} pt={}", t.payloader()?, 96 + i)))
        .collect();
    let factory = server::RTSPMediaFactory::new();
    factory.set_launch(&format!("( {} )", parts.join(" ")));
    factory.set_shared(true);
    factory.set_latency(0);
    let tracks = tracks.clone();
    factory.connect_media_configure(move |_, media| {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        media.connect_unprepared(move |_| ended.store(true, Ordering::Relaxed));
        let element = media.element();
        let Ok(bin) = element.downcast::<gst::Bin>() else { return };
        let length = tracks.iter().map(length).max().unwrap_or_default();
        for i in 0..tracks.len() {
            let Some(src) = bin.by_name(&format!("src{i}")).and_then(|e| e.downcast::<AppSrc>().ok()) else {
                continue;
            };
            src.set_caps(Some(&tracks[i].caps));
            let (tracks, stop) = (tracks.clone(), stop.clone());
            std::thread::spawn(move || feed(&src, &tracks[i], length, again, &stop));
        }
    });
    Ok(factory)
}

fn start_of(t: &Track) -> gst::ClockTime {
    t.buffers.iter().filter_map(|b| b.dts_or_pts()).min().unwrap_or(gst::ClockTime::ZERO)
}

fn length(t: &Track) -> gst::ClockTime {
    let end = t
        .buffers
        .iter()
        .filter_map(|b| Some(b.pts()? + b.duration().unwrap_or(gst::ClockTime::from_mseconds(40))))
        .max();
    end.unwrap_or(gst::ClockTime::ZERO).saturating_sub(start_of(t))
}

/// Pushes until the media is unprepared. The source blocks when it is full, and the server's sinks keep the pace.
fn feed(src: &AppSrc, track: &Track, length: gst::ClockTime, again: bool, stop: &AtomicBool) {
    let start = start_of(track);
    let mut offset = gst::ClockTime::ZERO;
    loop {
        for b in &track.buffers {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let mut b = b.copy();
            if let Some(m) = b.get_mut() {
                m.set_pts(m.pts().map(|t| t.saturating_sub(start) + offset));
                m.set_dts(m.dts().map(|t| t.saturating_sub(start) + offset));
            }
            if src.push_buffer(b).is_err() {
                return;
            }
        }
        if !again {
            // It fails only if nobody listens any more.
            let _ = src.end_of_stream();
            return;
        }
        offset += length;
    }
}
