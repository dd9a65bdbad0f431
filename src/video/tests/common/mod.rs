//! What the tests of this room share: a world with a clock that is set, a rig of video streams over a memory log, a
//! camera that makes access units.
#![allow(dead_code, clippy::unwrap_used, reason = "tests: each binary uses its part")]

pub mod check;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

use access::{Action, Credentials, Gate, Permit};
use axum::{
    body::Body,
    http::{Request, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use catalog::{Catalog, MemoryCatalog};
use http_body_util::BodyExt;
use log::{Limits, MemoryLog, SharedLog};
use media::{AccessUnit, Codec, Framing, Kind, RandomAccess, Track};
use seal::{DataKey, LocalKey};
use tower::ServiceExt;
use usage::Usage;
use video::{Config, Parts, Session, Stills, Video};
use world::{Clock, Home, Timestamp, World};

/// 2026-05-01T12:00:00Z
pub const NOON: Timestamp = Timestamp(1_777_636_800_000_000);

pub struct SetClock(pub AtomicI64);

#[async_trait::async_trait]
impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(SeqCst))
    }
    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.0.load(SeqCst) as u64)
    }
    async fn sleep(&self, _: Duration) {
        std::future::pending().await
    }
}

/// Everything that survives a restart, and what was started on it.
pub struct Rig {
    pub world: World,
    pub clock: Arc<SetClock>,
    pub catalog: Arc<dyn Catalog>,
    pub log: SharedLog,
    pub gate: Gate,
    pub home: Home,
    pub config: Config,
    pub video: Arc<Video>,
    pub usage: Usage,
    _dir: tempfile::TempDir,
}

pub async fn rig() -> Rig {
    rig_with(Config::default(), None).await
}

pub async fn rig_with(config: Config, stills: Option<Arc<dyn Stills>>) -> Rig {
    rig_within(Limits::default(), config, stills).await
}

/// Over a log with such limits.
pub async fn rig_within(limits: Limits, config: Config, stills: Option<Arc<dyn Stills>>) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(AtomicI64::new(NOON.micros())));
    let world = World { clock: clock.clone(), ..World::real(dir.path()) };
    let catalog: Arc<dyn Catalog> = Arc::new(MemoryCatalog::new(world.clone()));
    let log: SharedLog = MemoryLog::new(world.clone(), limits);
    let home = Home::default();
    let keys = Arc::new(LocalKey::new(DataKey::new([7; 32])));
    let (gate, _) = Gate::open(world.clone(), catalog.clone(), keys, home.clone(), None).await.unwrap();
    let usage = Usage::new(world.clone(), catalog.clone());
    let parts = Parts {
        world: world.clone(),
        catalog: catalog.clone(),
        log: log.clone(),
        gate: gate.clone(),
        home: home.clone(),
        stills,
        usage: usage.clone(),
    };
    let video = Video::open(parts, config.clone()).await.unwrap();
    Rig { usage, world, clock, catalog, log, gate, home, config, video, _dir: dir }
}

impl Rig {
    pub fn permit(&self, action: Action, stream: &str) -> Permit {
        self.gate.internal(action, &self.home.video_stream(stream))
    }
    pub fn set(&self, t: Timestamp) {
        self.clock.0.store(t.micros(), SeqCst);
    }
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
    /// Forgets everything but log and catalog.
    pub async fn restart(&mut self) {
        self.usage = Usage::new(self.world.clone(), self.catalog.clone());
        self.open(None).await;
    }
    pub async fn open(&mut self, stills: Option<Arc<dyn Stills>>) {
        let parts = Parts {
            world: self.world.clone(),
            catalog: self.catalog.clone(),
            log: self.log.clone(),
            gate: self.gate.clone(),
            home: self.home.clone(),
            stills,
            usage: self.usage.clone(),
        };
        self.video = Video::open(parts, self.config.clone()).await.unwrap();
    }
    pub async fn session(&self, stream: &str) -> Session {
        self.video.ingest(self.permit(access::actions::PUT_MEDIA, stream), stream).await.unwrap()
    }
    pub async fn play(&self, stream: &str, ask: video::Ask) -> String {
        let p = self.permit(access::actions::GET_HLS_STREAMING_SESSION_URL, stream);
        self.video.hls_session(p, stream, ask).await.unwrap().path
    }
    pub async fn get(&self, path: &str) -> (StatusCode, Response<Bytes>) {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }
    pub async fn send(&self, req: Request<Body>) -> (StatusCode, Response<Bytes>) {
        let r = video::router(self.video.clone()).oneshot(req).await.unwrap();
        let (parts, body) = r.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status, Response::from_parts(parts, bytes))
    }
    pub async fn text(&self, path: &str) -> String {
        let (status, r) = self.get(path).await;
        let text = String::from_utf8(r.into_body().to_vec()).unwrap();
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        text
    }
    pub async fn bytes(&self, path: &str) -> Bytes {
        let (status, r) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {:?}", r.body());
        r.into_body()
    }
    /// As root, by HTTP Basic.
    pub fn signed(
        &self,
        method: &str,
        path: &str,
        secret: &str,
        body: Option<serde_json::Value>,
    ) -> Request<Body> {
        use base64::Engine as _;
        let id = self.gate.root_key_id();
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
        let b = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Basic {basic}"))
            .header(header::CONTENT_TYPE, "application/json");
        b.body(body.map_or(Body::empty(), |v| Body::from(v.to_string()))).unwrap()
    }
}

/// Parameter sets of x264 for 320×180, High, 25 pictures a second, two pictures reordered.
pub fn h264_track() -> Arc<Track> {
    let config =
        "0164000cffe1001a6764000cacd941419f9f011000000300100000030320f142996001000668ebe3cb22c0fdf8f800";
    Arc::new(Track {
        id: 1,
        codec: Codec::H264,
        kind: Kind::Video { width: 320, height: 180 },
        timescale: 90_000,
        framing: Framing::Length(4),
        config: hex(config).into(),
    })
}

pub fn aac_track() -> Arc<Track> {
    Arc::new(Track {
        id: 2,
        codec: Codec::Aac,
        kind: Kind::Audio { rate: 48_000, channels: 2 },
        timescale: 48_000,
        framing: Framing::Raw,
        config: hex("1190").into(),
    })
}

pub fn hex(s: &str) -> Vec<u8> {
    (0..s.len() / 2).map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// A picture's access unit: one NAL unit that carries its number.
pub fn picture(n: u64, key: bool, len: usize) -> Bytes {
    let mut nal = vec![if key { 0x65 } else { 0x41 }];
    nal.extend(n.to_be_bytes().map(|b| b | 0x80));
    nal.resize(len.max(10), 0x99);
    let mut out = (nal.len() as u32).to_be_bytes().to_vec();
    out.extend(nal);
    out.into()
}

pub fn ticks(t: Timestamp, scale: u32) -> i64 {
    (i128::from(t.micros()) * i128::from(scale) / 1_000_000) as i64
}

/// A camera that makes 25 pictures a second and, where `audio`, 48 kHz AAC.
pub struct Camera {
    pub start: Timestamp,
    pub gop: u64,
    pub audio: bool,
    pub next: u64,
    pub heard: u64,
    pub len: usize,
}

impl Camera {
    pub fn new(start: Timestamp) -> Camera {
        Camera { start, gop: 50, audio: true, next: 0, heard: 0, len: 500 }
    }
    pub fn tracks(&self) -> Vec<Arc<Track>> {
        if self.audio { vec![h264_track(), aac_track()] } else { vec![h264_track()] }
    }
    /// The next picture and the sound up to it, with the time of its arrival.
    pub fn units(&mut self) -> (Vec<AccessUnit>, Timestamp) {
        let n = self.next;
        self.next += 1;
        let at = self.start + Duration::from_millis(40 * n);
        let key = n.is_multiple_of(self.gop);
        let pts = ticks(self.start, 90_000) + 3600 * n as i64;
        let mut out = vec![AccessUnit {
            track: 1,
            pts,
            dts: Some(pts),
            duration: None,
            access: if key { RandomAccess::Idr } else { RandomAccess::None },
            data: picture(n, key, self.len),
        }];
        while self.audio && self.heard * 1024 < (n + 1) * 1920 {
            let pts = ticks(self.start, 48_000) + 1024 * self.heard as i64;
            let data = Bytes::from(vec![0x21, self.heard as u8, (self.heard >> 8) as u8, 3]);
            out.push(AccessUnit {
                track: 2,
                pts,
                dts: None,
                duration: None,
                access: RandomAccess::Idr,
                data,
            });
            self.heard += 1;
        }
        (out, at)
    }
    /// Sends pictures with their sound, setting the clock along.
    pub async fn send(&mut self, rig: &Rig, session: &mut Session, pictures: u64) {
        for _ in 0..pictures {
            let (units, at) = self.units();
            rig.set(at.max(rig.now()));
            for u in units {
                session.write(u, at).await.unwrap();
            }
        }
    }
}

/// Publishes so many pictures in one session.
pub async fn record(rig: &Rig, stream: &str, start: Timestamp, pictures: u64) {
    let mut camera = Camera::new(start);
    let mut s = rig.session(stream).await;
    s.tracks(camera.tracks()).await.unwrap();
    camera.send(rig, &mut s, pictures).await;
    s.end().await.unwrap();
}

pub fn credentials<'a>() -> Credentials<'a> {
    Credentials::Anonymous
}
