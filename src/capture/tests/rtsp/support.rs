use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use access::{Credentials, Denied, Gate, Permit, actions};
use capture::{Admit, Session, Sink, SinkError};
use media::{AccessUnit, Codec, Track};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use world::{Home, Timestamp, World};

/// Longer than anything here takes, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const KEY: (&str, &str) = ("AKIDTEST", "s+e/c:r@t=%41");

/// A gate, a world, and a sink that remembers.
pub struct Site {
    pub world: World,
    pub gate: Gate,
    pub home: Home,
    pub sink: Arc<Recorder>,
    pub dir: tempfile::TempDir,
}

impl Site {
    pub async fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let world = World::real(dir.path());
        let catalog = Arc::new(catalog::MemoryCatalog::new(world.clone()));
        let keys = Arc::new(seal::LocalKey::new(seal::DataKey::new(world.random32())));
        let home = Home::default();
        let root = Some((KEY.0.to_string(), KEY.1.to_string()));
        let (gate, _) = Gate::open(world.clone(), catalog, keys, home.clone(), root).await.unwrap();
        Site { world, gate, home, sink: Arc::default(), dir }
    }

    pub fn permits(&self, stream: &str) -> Arc<dyn Fn() -> Permit + Send + Sync> {
        let (gate, arn) = (self.gate.clone(), self.home.video_stream(stream));
        Arc::new(move || gate.internal(actions::PUT_MEDIA, &arn))
    }

    pub fn admit(&self) -> Arc<dyn Admit> {
        Arc::new(Door { gate: self.gate.clone(), home: self.home.clone() })
    }

    pub async fn server(&self) -> Arc<capture::push::Server> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        capture::push::Server::start(self.world.clone(), any, self.admit(), self.sink.clone()).await.unwrap()
    }

    pub fn pull(&self, url: &str, stream: &str) -> capture::pull::Handle {
        self.pull_by(source(url), stream)
    }

    pub fn pull_by(&self, source: capture::pull::Source, stream: &str) -> capture::pull::Handle {
        let sink = self.sink.clone();
        capture::pull::spawn(self.world.clone(), source, stream.into(), self.permits(stream), sink)
    }
}

pub fn source(url: &str) -> capture::pull::Source {
    capture::pull::Source::new(url.parse().unwrap(), capture::pull::Transport::Tcp, false)
}

struct Door {
    gate: Gate,
    home: Home,
}

#[async_trait::async_trait]
impl Admit for Door {
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

/// What a sink was told.
#[derive(Clone, Debug)]
pub enum Event {
    Open,
    Tracks(Vec<Arc<Track>>),
    Unit(AccessUnit, Timestamp),
    Discontinuity(String),
    End,
}

/// Remembers everything, per stream, in order.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    streams: Mutex<HashMap<String, Vec<Event>>>,
    changed: watch::Sender<u64>,
    /// While false, writes wait.
    open: watch::Sender<bool>,
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder(Arc::new(Inner {
            streams: Mutex::default(),
            changed: watch::Sender::new(0),
            open: watch::Sender::new(true),
        }))
    }
}

impl Recorder {
    fn push(&self, stream: &str, event: Event) {
        self.0.streams.lock().unwrap().entry(stream.into()).or_default().push(event);
        self.0.changed.send_modify(|n| *n += 1);
    }

    /// Lets writes pass, or not.
    pub fn gate(&self, open: bool) {
        self.0.open.send_replace(open);
    }

    pub fn events(&self, stream: &str) -> Vec<Event> {
        self.0.streams.lock().unwrap().get(stream).cloned().unwrap_or_default()
    }

    pub async fn wait(&self, stream: &str, what: &str, is: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let mut changes = self.0.changed.subscribe();
        let waiting = async {
            loop {
                if is(self.0.streams.lock().unwrap().get(stream).map_or(&[], |e| &e[..])) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, waiting).await;
        let seen = self.events(stream);
        if in_time.is_err() {
            let others: Vec<_> = seen.iter().filter(|e| !matches!(e, Event::Unit(..))).collect();
            panic!("waited for {what}; saw {} events, of which not units: {others:?}", seen.len());
        }
        seen
    }

    pub async fn ended(&self, stream: &str) -> Vec<Event> {
        self.wait(stream, "the end", |e| matches!(e.last(), Some(Event::End))).await
    }
}

#[async_trait::async_trait]
impl Sink for Recorder {
    async fn open(&self, permit: Permit, stream: &str) -> Result<Box<dyn Session>, SinkError> {
        assert!(permit.resource().0.contains(&format!("stream/{stream}/")));
        if stream == "refused" {
            return Err(SinkError { message: "this stream takes nothing".into(), retry: false });
        }
        self.push(stream, Event::Open);
        Ok(Box::new(Recording { stream: stream.into(), to: self.clone() }))
    }
}

struct Recording {
    stream: String,
    to: Recorder,
}

#[async_trait::async_trait]
impl Session for Recording {
    async fn tracks(&mut self, tracks: Vec<Arc<Track>>) -> Result<(), SinkError> {
        self.to.push(&self.stream, Event::Tracks(tracks));
        Ok(())
    }
    async fn write(&mut self, unit: AccessUnit, received: Timestamp) -> Result<(), SinkError> {
        let mut open = self.to.0.open.subscribe();
        drop(open.wait_for(|o| *o).await.unwrap());
        if self.stream == "full" {
            return Err(SinkError { message: "nothing more is taken".into(), retry: false });
        }
        self.to.push(&self.stream, Event::Unit(unit, received));
        Ok(())
    }
    async fn discontinuity(&mut self, why: &str) -> Result<(), SinkError> {
        self.to.push(&self.stream, Event::Discontinuity(why.into()));
        Ok(())
    }
    async fn end(self: Box<Self>) -> Result<(), SinkError> {
        self.to.push(&self.stream, Event::End);
        Ok(())
    }
}

/// The access units of a track among events, by codec.
pub fn units(events: &[Event], codec: Codec) -> Vec<AccessUnit> {
    let tracks = events.iter().find_map(|e| match e {
        Event::Tracks(t) => Some(t.clone()),
        _ => None,
    });
    let id = tracks.iter().flatten().find(|t| t.codec == codec).expect("a track of this codec").id;
    let unit = |e: &Event| match e {
        Event::Unit(u, _) if u.track == id => Some(u.clone()),
        _ => None,
    };
    events.iter().filter_map(unit).collect()
}

pub fn tracks(events: &[Event]) -> Vec<Arc<Track>> {
    let all = events.iter().filter_map(|e| match e {
        Event::Tracks(t) => Some(t.clone()),
        _ => None,
    });
    all.last().expect("tracks were declared")
}

pub fn discontinuities(events: &[Event]) -> Vec<String> {
    let words = events.iter().filter_map(|e| match e {
        Event::Discontinuity(w) => Some(w.clone()),
        _ => None,
    });
    words.collect()
}

/// A clip made by FFmpeg: what its tracks hold, as FFmpeg itself tells it.
pub struct Clip {
    pub path: PathBuf,
    /// NAL units of the pictures, without parameter sets and delimiters.
    pub nals: Vec<Vec<u8>>,
    /// Access units.
    pub pictures: usize,
    /// AAC access units, raw.
    pub sounds: Vec<Vec<u8>>,
}

/// How a clip is made.
#[derive(Clone, Copy)]
pub struct Recipe {
    pub seconds: u32,
    pub video: &'static [&'static str],
    pub audio: bool,
}

pub const H264: &[&str] = &["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-b:v", "1M"];
pub const H264_B: &[&str] = &[
    "-c:v",
    "libx264",
    "-preset",
    "veryfast",
    "-g",
    "25",
    "-bf",
    "2",
    "-b:v",
    "1M",
    "-x264-params",
    "slices=3",
];
pub const H265: &[&str] = &[
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-x265-params",
    "keyint=25:log-level=none",
    "-tag:v",
    "hvc1",
];

pub async fn ffmpeg(args: &[&str]) -> String {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-y", "-v", "error"]).args(args);
    finish(command).await
}

/// Runs to the end, which must be a good one; returns what it said.
pub async fn finish(mut command: Command) -> String {
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let out = tokio::time::timeout(PATIENCE, run).await.expect("in time").expect("it is installed");
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{command:?}: {said}");
    said
}

/// Starts something that is ended when the test is.
pub fn start(mut command: Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

pub async fn clip(dir: &Path, recipe: Recipe) -> Clip {
    let path = dir.join("clip.mp4");
    let p = path.to_str().unwrap();
    let seconds = recipe.seconds.to_string();
    let picture = "testsrc2=size=320x180:rate=25";
    let mut args = vec!["-f", "lavfi", "-i", picture];
    if recipe.audio {
        args.extend(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]);
    }
    args.extend(["-t", &seconds, "-pix_fmt", "yuv420p"]);
    args.extend(recipe.video);
    if recipe.audio {
        args.extend(["-c:a", "aac", "-ac", "2", "-b:a", "64k"]);
    }
    args.push(p);
    ffmpeg(&args).await;

    let h265 = recipe.video.contains(&"libx265");
    let pictures = samples(&path, "v").await;
    let nals = pictures.iter().flat_map(|p| plain_nals(media::Framing::Length(4), p, h265)).collect();
    let sounds = if recipe.audio { samples(&path, "a").await } else { Vec::new() };
    Clip { path, nals, pictures: pictures.len(), sounds }
}

/// What the file holds for a track, sample by sample, where ffprobe says that it lies.
async fn samples(file: &Path, track: &str) -> Vec<Vec<u8>> {
    let mut probe = Command::new("ffprobe");
    probe.args([
        "-v",
        "error",
        "-select_streams",
        track,
        "-show_entries",
        "packet=size,pos",
        "-of",
        "csv=p=0",
    ]);
    probe.arg(file);
    let table = finish(probe).await;
    let data = std::fs::read(file).unwrap();
    let number = |s: Option<&str>| s.unwrap().parse::<usize>().unwrap();
    let sample = |line: &str| {
        let mut fields = line.split(',');
        let (size, at) = (number(fields.next()), number(fields.next()));
        data[at..at + size].to_vec()
    };
    table.lines().filter(|l| !l.is_empty()).map(sample).collect()
}

/// NAL units that are neither parameter sets, nor delimiters, nor filler: what must come through to the bit.
pub fn plain_nals(framing: media::Framing, data: &[u8], h265: bool) -> Vec<Vec<u8>> {
    let plain = |n: &&[u8]| match h265 {
        false => !matches!(n[0] & 31, 7 | 8 | 9 | 12),
        true => !matches!(n[0] >> 1 & 63, 32..=35 | 38),
    };
    media::nals(framing, data).map(|n| n.unwrap()).filter(plain).map(<[u8]>::to_vec).collect()
}

impl Clip {
    pub fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Everything that the clip holds was received, to the bit, in order, and nothing else; but for the last few
    /// units of sound which the sender is known to keep to itself (see [`FFMPEG_KEEPS`] and [`GSTREAMER_KEEPS`]).
    pub fn assert_received(&self, events: &[Event], codec: Codec, keeps: usize) {
        assert_eq!(discontinuities(events), Vec::<String>::new());
        let received = events.iter().filter_map(|e| match e {
            Event::Unit(_, at) => Some(*at),
            _ => None,
        });
        assert!(received.is_sorted());
        let pictures = units(events, codec);
        assert_eq!(pictures.len(), self.pictures, "access units in = out");
        let h265 = codec == Codec::H265;
        let nals: Vec<_> =
            pictures.iter().flat_map(|u| plain_nals(media::Framing::Length(4), &u.data, h265)).collect();
        assert!(
            nals == self.nals,
            "{} NAL units came, {} were sent, or some differ",
            nals.len(),
            self.nals.len()
        );
        if !self.sounds.is_empty() {
            let sounds: Vec<_> = units(events, Codec::Aac).into_iter().map(|u| u.data.to_vec()).collect();
            assert!(self.sounds.starts_with(&sounds), "some of {} AAC units differ", sounds.len());
            assert!(
                sounds.len() + keeps >= self.sounds.len(),
                "{} of {} AAC units",
                sounds.len(),
                self.sounds.len()
            );
        }
    }
}

/// FFmpeg 5.1 gathers AAC access units into packets of up to its MTU, here seven, and does not send the last packet
/// when it ends (`ff_rtp_send_aac`): of a clip of 283 units, 280 are in the packets that it sends to a plain UDP port.
pub const FFMPEG_KEEPS: usize = 7;
/// GStreamer's `qtdemux ! aacparse` gives a clip's last one or two access units to no payloader: of 283, 282 with
/// `rtpmp4apay` and 281 with `rtpmp4gpay` come out of `udpsink`.
pub const GSTREAMER_KEEPS: usize = 2;

/// A cable between a client and a server that can be pulled.
pub struct Cable {
    pub address: SocketAddr,
    plugged: watch::Sender<bool>,
}

impl Cable {
    /// Forwards connections to a server, `host:port`.
    pub async fn to(server: &str) -> Cable {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plugged = watch::Sender::new(true);
        let (mut now, server) = (plugged.subscribe(), server.to_string());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if !*now.borrow_and_update() {
                    continue;
                }
                let (mut now, server) = (now.clone(), server.clone());
                tokio::spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = now.wait_for(|p| !*p) => {}
                    }
                });
            }
        });
        Cable { address, plugged }
    }

    pub fn plug(&self, plugged: bool) {
        self.plugged.send_replace(plugged);
    }
}

/// A certificate of nobody's making, for this machine.
pub fn tls() -> Arc<tokio_rustls::rustls::ServerConfig> {
    let cert = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    let key = tokio_rustls::rustls::pki_types::PrivateKeyDer::Pkcs8(cert.signing_key.serialize_der().into());
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.cert.der().clone()], key)
        .unwrap();
    Arc::new(config)
}

/// A port that nothing listens on.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
