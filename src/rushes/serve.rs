//! `rushes serve`: opens the rooms from the ground floor up, wires them, serves, drains.

use std::{io::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use access::Gate;
use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, StatusCode, header::X_CONTENT_TYPE_OPTIONS},
    response::Response,
    routing::get,
};
use capture::{
    cameras::{Cameras, Pushes},
    feed::Feeds,
};
use catalog::{Catalog, SqliteCatalog};
use console::Console;
use frames::Frames;
use log::{LocalLog, Log};
use rtc::signaling::Signaling;
use seal::KeyProvider;
use streams::DataStreams;
use tokio::{
    net::{TcpListener, UdpSocket},
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tracing_subscriber::EnvFilter;
use usage::Usage;
use video::{Video, kvs::Kvs};
use wire::aws::Services;
use world::{Store, World};

use crate::{
    Failure,
    cli::ServeArgs,
    config::{self, Config},
    costs,
    folder::DataFolder,
    listen, master,
    metrics::{Metrics, Sources},
    snapshots::Snapshots,
    storage::Gauge,
    stores, tls, visit,
    wiring::{IntoFeeds, IntoMixes, IntoStreams, LiveStreams, Pictures, Publishers, TheChannels, TheRelay},
};

/// How long captures may take to hand over what they received.
const DRAIN: Duration = Duration::from_secs(15);

fn start_logging(config: &Config) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&config.log_filter)
        .map_err(|e| Failure(format!("log.filter = {:?}: {e}", config.log_filter)))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    if config.log_json {
        builder.json().init()
    } else {
        builder.with_ansi(ansi).init()
    }
    Ok(())
}

/// Everything that runs, in the order in which it was opened.
struct Running {
    log: Arc<LocalLog>,
    gate: Gate,
    video: Arc<Video>,
    frames: Arc<Frames>,
    push: Option<Arc<capture::push::Server>>,
    rtc: Option<Arc<rtc::Hub>>,
    cameras: Arc<Cameras>,
    streams: DataStreams,
    usage: Usage,
    gauge: Arc<Gauge>,
}

async fn open(
    world: &World,
    folder: &DataFolder,
    config: &Config,
    rtsp: Option<TcpListener>,
    webrtc: Option<(UdpSocket, TcpListener)>,
    turn: Option<UdpSocket>,
) -> Result<(Running, Arc<Pictures>), Failure> {
    let at = |e: &dyn std::fmt::Display| Failure(format!("{}: {e}", folder.path.display()));
    folder.check_catalog()?;
    let policy = config.retention.policy(world.disk.space().map_err(|e| at(&e))?.total);
    let given = log::make_way(&*world.disk, &policy).map_err(|e| at(&e))?;
    if given > 0 {
        tracing::warn!(given, "the disk is full: the reserve was given up");
    }
    master::keys(folder, world)?;
    let file = Arc::new(
        SqliteCatalog::open(&folder.path.join("catalog.sqlite"), world.clone()).map_err(|e| at(&e))?,
    );
    let catalog: Arc<dyn Catalog> = file.clone();
    master::settle(folder, &*catalog).await?;
    let keys: Arc<dyn KeyProvider> = Arc::new(master::keys(folder, world)?);
    let snapshot_keys = keys.clone();
    let (gate, new_root) =
        Gate::open(world.clone(), catalog.clone(), keys.clone(), config.home.clone(), config.root.clone())
            .await
            .map_err(|e| at(&e))?;
    let made = new_root.is_some();
    // A stop may have come between the key and its file, or the catalog been restored into a new folder.
    if config.root.is_none()
        && let Some(root) = match new_root {
            Some(new) => Some(new),
            None => gate.stored_root_key().await.map_err(|e| at(&e))?,
        }
        && folder.root_key_id().as_deref() != Some(&root.id)
    {
        folder.write_root_key(&root.id, &root.secret)?;
        let what = if made { "made the root access key" } else { "wrote down the root access key again" };
        tracing::info!("{what}; it is in {}", folder.path.join("root-key.json").display());
    }
    let log = LocalLog::open(world.clone(), catalog.clone(), keys, config.limits.clone(), policy)
        .await
        .map_err(|e| at(&e))?;
    let command: [std::ffi::OsString; 2] =
        [std::env::current_exe().map_err(Failure::new)?.into(), "frames-worker".into()];
    let frames = Frames::new(
        world.clone(),
        frames::Options {
            workers: config.still_workers,
            mixers: config.mixers,
            ..frames::Options::new(command)
        },
    );
    let pictures = Arc::new(Pictures(frames.clone()));
    let usage = Usage::new(world.clone(), catalog.clone());
    let parts = video::Parts {
        world: world.clone(),
        catalog: catalog.clone(),
        log: log.clone(),
        gate: gate.clone(),
        home: config.home.clone(),
        stills: Some(pictures.clone()),
        usage: usage.clone(),
    };
    let video = Video::open(parts, config.video.clone()).await.map_err(|e| at(&e))?;
    let parts = streams::Parts {
        world: world.clone(),
        catalog: catalog.clone(),
        log: log.clone(),
        gate: gate.clone(),
        home: config.home.clone(),
        keys: snapshot_keys.clone(),
        usage: usage.clone(),
    };
    let streams = DataStreams::open(parts, config.streams.clone()).await.map_err(|e| at(&e))?;
    let sink = Arc::new(IntoStreams(video.clone()));
    let push = match rtsp {
        None => None,
        Some(listener) => {
            let local = listener.local_addr().map_err(Failure::new)?;
            let admit = Arc::new(Publishers { gate: gate.clone(), home: config.home.clone() });
            Some(capture::push::Server::on(world.clone(), listener, local, admit, sink.clone()))
        }
    };
    let feeds = Arc::new(Feeds::new(world.clone(), sink.clone(), push.as_deref()));
    let rtc = match webrtc {
        None => None,
        Some((udp, tcp)) => {
            let parts = rtc::Parts {
                world: world.clone(),
                gate: gate.clone(),
                home: config.home.clone(),
                source: Arc::new(LiveStreams(video.clone())),
                publish: Arc::new(IntoFeeds(feeds.clone())),
                mixers: Arc::new(IntoMixes(frames.clone())),
                udp,
                tcp,
                turn: turn
                    .map(|socket| (socket, Arc::new(TheRelay::of(&usage)) as Arc<dyn rtc::turn::Metered>)),
            };
            Some(rtc::Hub::open(parts, config.rtc.clone()).map_err(Failure)?)
        }
    };
    let pushes = (push.is_some() || rtc.is_some()).then_some(feeds as Arc<dyn Pushes>);
    let cameras = Cameras::open(world.clone(), catalog, gate.clone(), config.home.clone(), sink, pushes)
        .await
        .map_err(|e| at(&e))?;
    keep_snapshots(world, folder, config, file, snapshot_keys).await?;
    let gauge = Gauge::new(world.clone(), log.clone());
    Ok((Running { log, gate, video, frames, push, rtc, cameras, streams, usage, gauge }, pictures))
}

/// Begins to make snapshots of the catalog, if there is a place for them.
async fn keep_snapshots(
    world: &World,
    folder: &DataFolder,
    config: &Config,
    catalog: Arc<SqliteCatalog>,
    keys: Arc<dyn KeyProvider>,
) -> Result<(), Failure> {
    let Some(every) = config.snapshots.every else { return Ok(()) };
    let store = match (&world.store, &config.snapshots.folder) {
        (Some(store), _) => store.clone(),
        (None, Some(path)) => {
            let path = path.clone();
            visit::blocking(move || store::open(&path, &store::Options::default()).map_err(Failure::new))
                .await?
        }
        (None, None) => return Ok(()),
    };
    let (world, data, keep) = (world.clone(), folder.path.clone(), config.snapshots.keep);
    let s = Snapshots { world, data, catalog, keys, store, every, keep };
    tokio::spawn(Arc::new(s).run());
    Ok(())
}

/// Runs until SIGINT or SIGTERM, then drains. A second signal ends it at once.
pub async fn run(args: Box<ServeArgs>) -> Result<(), Failure> {
    let config = config::load(&args)?;
    start_logging(&config)?;
    let folder = DataFolder::open(&config.data)?;
    let mut world = World::real(&folder.path);
    // Ports first: a port that is taken is found out before anything is written.
    let listener = listen::bind(config.listen, "--listen").await?;
    let local = listener.local_addr().map_err(Failure::new)?;
    let tls = config
        .tls
        .as_ref()
        .map(|t| tls::server(t, &folder, local, config.public_host.as_deref()))
        .transpose()?;
    let rtsp = match config.rtsp {
        Some(address) => Some(listen::bind(address, "--rtsp").await?),
        None => None,
    };
    let webrtc = listen::bind_webrtc(config.webrtc).await?;
    let turn = listen::bind_turn(config.turn).await?;
    // From here on a signal drains, however early it comes.
    let mut signals = Signals::new()?;
    let store = match &config.store {
        Some(a) => Some(stores::open(a, &world, &folder.path).await?),
        None => None,
    };
    world.store = store.clone().map(|s| s as Arc<dyn Store>);
    let (running, pictures) = open(&world, &folder, &config, rtsp, webrtc, turn).await?;
    let (stop, stopped) = watch::channel(false);
    let rtsp = running.push.as_ref().map(|p| p.local_addr());
    let webrtc = running.rtc.as_ref().map(|h| h.local_addr());
    let console = console::router(Console {
        world: world.clone(),
        gate: running.gate.clone(),
        home: config.home.clone(),
        cameras: running.cameras.clone(),
        video: running.video.clone(),
        storage: running.gauge.clone(),
        stills: pictures,
        rtsp,
        public_host: config.public_host.clone(),
        secure: tls.is_some(),
        version: env!("CARGO_PKG_VERSION"),
        stop: stopped.clone(),
    });
    let kvs =
        Kvs::new(running.video.clone(), video::kvs::Config { secure: tls.is_some(), ..config.kvs.clone() });
    let channels = Arc::new(TheChannels(kvs.clone(), running.usage.clone(), world.clock.clone()));
    let signaling = Signaling::new(world.clone(), channels, running.rtc.clone(), config.kvs.limits);
    let metrics = Arc::new(Metrics::new(Sources {
        log: running.log.clone(),
        cameras: running.cameras.clone(),
        video: running.video.clone(),
        streams: running.streams.clone(),
        frames: running.frames.clone(),
        store: store.clone(),
        rtc: running.rtc.clone(),
        signaling: signaling.clone(),
    }));
    let router = Router::new()
        .merge(health(stopped.clone()))
        .merge(metrics.router())
        .merge(costs::router(
            running.usage.clone(),
            running.gate.clone(),
            config.home.clone(),
            config.prices.clone(),
            world.clock.clone(),
        ))
        .merge(video::router(running.video.clone()))
        .merge(running.rtc.clone().map(rtc::router).unwrap_or_default())
        .merge(video::kvs::router(&kvs))
        .merge(console);
    let front =
        Front(Arc::new((aws(&world, &config, &running.gate, &running.streams, &kvs, &signaling), router)));
    tokio::spawn(running.cameras.clone().measure());
    tokio::spawn(running.gauge.clone().run());
    tokio::spawn(running.streams.clone().keep());
    tokio::spawn(running.video.clone().keep());
    tokio::spawn(running.usage.clone().keep());
    let serving = tokio::spawn(listen::serve(world.clone(), listener, tls.clone(), front, stopped));
    let store = store.map(|s| s.url());
    announce(&args, &folder, &config, local, rtsp, webrtc, tls.is_some(), store, &running.gate)?;

    let reloading = tokio::spawn(reload(world.clone(), args, running.log.clone(), running.video.clone()));
    signals.next().await;
    reloading.abort();
    tracing::info!("stopping: finishing what was accepted (once more to stop at once)");
    folder.remove_address();
    tokio::select! {
        r = drain(&world, running, &kvs, &signaling, stop, serving) => r,
        () = signals.next() => Err(Failure("stopped at once; what was acknowledged is safe".into())),
    }
}

/// AWS's services, which share the address with everything else.
fn aws(
    world: &World,
    config: &Config,
    gate: &Gate,
    streams: &DataStreams,
    kvs: &Kvs,
    signaling: &Signaling,
) -> Services {
    let gate = if config.any_signature {
        tracing::warn!(
            "aws.auth = \"any\": whoever reaches {} may do everything through AWS's APIs, with any key; for tests only",
            config.listen
        );
        gate.accepting_any_signature()
    } else {
        gate.clone()
    };
    Services::new(world.clone(), gate, config.home.clone())
        .with(streams::service(streams))
        .with(video::kvs::service(kvs))
        .with(rtc::signaling::service(signaling))
}

/// On SIGHUP: reads the configuration again and applies what can change while running, which is `[retention]`. A
/// configuration that does not hold changes nothing.
async fn reload(world: World, args: Box<ServeArgs>, log: Arc<LocalLog>, video: Arc<Video>) {
    let mut hup = match signal(SignalKind::hangup()) {
        Ok(s) => s,
        Err(e) => return tracing::warn!(error = %e, "SIGHUP cannot be heard"),
    };
    while hup.recv().await.is_some() {
        let new = match config::load(&args) {
            Ok(c) => c,
            Err(e) => {
                tracing::error!("the configuration is left as it is: {e}");
                continue;
            }
        };
        let disk = world.disk.clone();
        let total = match tokio::task::spawn_blocking(move || disk.space()).await {
            Ok(Ok(s)) => s.total,
            _ => {
                tracing::error!(
                    "the configuration is left as it is: the disk cannot be asked how large it is"
                );
                continue;
            }
        };
        let policy = new.retention.policy(total);
        log.set_store_policy(policy);
        match video.set_default_retention(new.video.retention).await {
            Ok(()) => tracing::info!(?policy, default = ?new.video.retention, "retention was read again"),
            Err(e) => {
                tracing::error!(error = %e, "the default retention could not be applied to all streams")
            }
        }
    }
}

/// SIGINT and SIGTERM, noticed from when this is made.
pub struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    pub fn new() -> Result<Signals, Failure> {
        let on = |kind| signal(kind).map_err(Failure::new);
        Ok(Signals { term: on(SignalKind::terminate())?, int: on(SignalKind::interrupt())? })
    }
    /// Waits for one.
    pub async fn next(&mut self) {
        tokio::select! { _ = self.term.recv() => {}, _ = self.int.recv() => {} }
    }
}

async fn drain(
    world: &World,
    running: Running,
    kvs: &Kvs,
    signaling: &Signaling,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
) -> Result<(), Failure> {
    let sources = async {
        if let Some(p) = &running.push {
            p.stop().await;
        }
        if let Some(h) = &running.rtc {
            h.stop().await;
        }
        running.cameras.shutdown().await;
    };
    tokio::select! {
        _ = async { tokio::join!(sources, signaling.stop()) } => {}
        () = world.clock.sleep(DRAIN) => tracing::warn!("some cameras did not end in time"),
    }
    running.streams.stop();
    kvs.stop();
    running.video.stop();
    stop.send_replace(true);
    // The listener has a deadline of its own.
    let _ = serving.await;
    running.frames.shutdown().await;
    // What is stored, up to now.
    running.streams.meter_stored(Duration::ZERO).await;
    running.video.meter_stored().await;
    if let Err(e) = running.usage.flush().await {
        tracing::warn!(error = %e, "what was used in the last second was not written down");
    }
    running.log.shutdown().await.map_err(Failure::new)?;
    tracing::info!("stopped; everything accepted is durable");
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "each is one thing that is said, once")]
fn announce(
    args: &ServeArgs,
    folder: &DataFolder,
    config: &Config,
    local: SocketAddr,
    rtsp: Option<SocketAddr>,
    webrtc: Option<SocketAddr>,
    tls: bool,
    store: Option<String>,
    gate: &Gate,
) -> Result<(), Failure> {
    let scheme = if tls { "https" } else { "http" };
    let host = match &config.public_host {
        Some(h) => h.clone(),
        None if local.ip().is_unspecified() => "localhost".into(),
        None if local.is_ipv6() => format!("[{}]", local.ip()),
        None => local.ip().to_string(),
    };
    let url = format!("{scheme}://{host}:{}", local.port());
    folder.write_address(&url)?;
    let link = format!("{url}/login?link={}", gate.one_time_link());
    tracing::info!(http = %local, rtsp = ?rtsp, webrtc = ?webrtc, data = %folder.path.display(), store, "ready");
    let mut out = std::io::stdout().lock();
    let written = if args.ready_json {
        let line = serde_json::json!({"listen": local.to_string(), "rtsp": rtsp.map(|a| a.to_string()), "webrtc": webrtc.map(|a| a.to_string()), "url": url, "console": link, "tls": tls, "store": store});
        writeln!(out, "{line}")
    } else {
        let rtsp = rtsp.map_or("off".into(), |a| format!("rtsp://ACCESS_KEY_ID:SECRET@{a}/NAME"));
        writeln!(
            out,
            "Rushes is ready.\n  console  {link}\n           (signs you in once; later: rushes link --data {})\n  publish  {rtsp}\n  store    {}\n  root key {}",
            folder.path.display(),
            store.as_deref().unwrap_or("the data folder"),
            folder.path.join("root-key.json").display()
        )
    };
    // Nobody reads our output any more: no reason to stop serving.
    let _ = written.and_then(|()| out.flush());
    Ok(())
}

fn health(stopped: watch::Receiver<bool>) -> Router {
    let ready = move || {
        let stopped = stopped.clone();
        async move {
            if *stopped.borrow() {
                (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
            } else {
                (StatusCode::OK, "ok\n")
            }
        }
    };
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

/// AWS's services, and behind them everything else.
#[derive(Clone)]
struct Front(Arc<(Services, Router)>);

impl listen::App for Front {
    async fn answer(self, request: Request) -> Response {
        let (services, router) = &*self.0;
        let mut r = services.answer_before(router, request).await;
        r.headers_mut().entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
        r
    }
}
