//! The HTTP listener: HTTP/1.1 and HTTP/2, in the clear or under TLS, on one port; drains at shutdown.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use wire::{intake::Intake, v1::Local};
use world::World;

use crate::{Failure, answers::Answers, config::WebRtc, stall::Stalling};

/// Connections at once; more wait in the system's queue.
const CONNECTIONS: usize = 4096;
/// How long requests that are under way may take once the server is asked to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How often another port is tried.
const TRIES: usize = 16;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take to send its request's head.
const HEAD: Duration = Duration::from_secs(20);
/// How long a connection may be open without any request: longer than [`HEAD`], which holds once it is known to be
/// HTTP/1.1.
const FIRST: Duration = Duration::from_secs(25);
/// How long a client may read nothing of what there is for it.
const STALL: Duration = Duration::from_secs(120);
/// Header fields of a request, and what a client of HTTP/1.1 may send before its head is there. It is read from as much, too.
const HEADERS: usize = 128;
const HEAD_BYTES: usize = 128 << 10;
/// What an HTTP/2 client may send before it is read: for a stream, for a connection.
const WINDOW: u32 = 1 << 20;
/// Requests that are answered at once, by all connections. One whose answer waits takes some 6 KB.
const ANSWERS: usize = 1 << 16;
/// Streams that a client may reset before they were looked at (CVE-2023-44487) before its connection is closed.
const RESETS: usize = 32;

/// What answers requests. The address of whoever sent one is among its extensions.
pub trait App: Clone + Send + Sync + 'static {
    /// Never fails: what is refused is answered.
    fn answer(self, request: Request) -> impl Future<Output = Response> + Send + 'static;
}

impl App for Router {
    async fn answer(self, request: Request) -> Response {
        let Ok(response) = self.oneshot(request).await;
        response
    }
}

/// What finds each request a place first.
#[derive(Clone)]
struct Placed<A> {
    app: A,
    answers: Answers,
}

impl<A: App> App for Placed<A> {
    async fn answer(self, request: Request) -> Response {
        self.answers.one(|| self.app.answer(request)).await
    }
}

/// Binds, with an error that says what to do.
pub async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|e| {
        let hint = match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!("another program uses this port; stop it, or give another with {flag}")
            }
            std::io::ErrorKind::AddrNotAvailable => {
                format!("this machine has no such address; give another with {flag}")
            }
            std::io::ErrorKind::PermissionDenied => {
                format!("ports below 1024 need more rights; give another with {flag}")
            }
            _ => e.to_string(),
        };
        Failure(format!("cannot listen on {address}: {hint}"))
    })
}

/// Binds the two ports of WebRTC's, which have one number.
pub async fn bind_webrtc(wanted: WebRtc) -> Result<Option<(UdpSocket, TcpListener)>, Failure> {
    let both = async |address: SocketAddr| {
        let tcp = TcpListener::bind(address).await?;
        Ok::<_, std::io::Error>((UdpSocket::bind(tcp.local_addr()?).await?, tcp))
    };
    match wanted {
        WebRtc::Off => Ok(None),
        WebRtc::At(a) if a.port() != 0 => {
            let tcp = bind(a, "--webrtc").await?;
            let udp = UdpSocket::bind(a).await;
            let udp = udp.map_err(|e| {
                Failure(format!("cannot listen on {a} (UDP): {e}; give another with --webrtc"))
            })?;
            Ok(Some((udp, tcp)))
        }
        WebRtc::At(a) | WebRtc::About(a) => {
            let mut last = both(a).await;
            // A port that is free for TCP may be taken for UDP.
            for _ in 0..TRIES {
                if last.is_ok() {
                    break;
                }
                last = both(SocketAddr::new(a.ip(), 0)).await;
            }
            last.map(Some).map_err(|e| Failure(format!("cannot listen for WebRTC on {a}: {e}")))
        }
    }
}

/// Binds the TURN server's port.
pub async fn bind_turn(wanted: Option<SocketAddr>) -> Result<Option<UdpSocket>, Failure> {
    let Some(a) = wanted else { return Ok(None) };
    let bound = UdpSocket::bind(a).await;
    bound
        .map(Some)
        .map_err(|e| Failure(format!("cannot listen on {a} (UDP): {e}; give another as turn.listen")))
}

/// Serves until `stop` turns true, then drains.
pub async fn serve(
    world: World,
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    app: impl App,
    stop: watch::Receiver<bool>,
) {
    accept(world, listener, tls, Placed { app, answers: Answers::new(ANSWERS) }, stop).await;
}

async fn accept(
    world: World,
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    app: impl App,
    mut stop: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let tls = tls.map(TlsAcceptor::from);
    let mut connections = JoinSet::new();
    loop {
        let permit = tokio::select! {
            () = stopped(&mut stop) => break,
            p = room.clone().acquire_owned() => match p { Ok(p) => p, Err(_) => break },
        };
        let (stream, peer) = tokio::select! {
            () = stopped(&mut stop) => break,
            a = listener.accept() => match a {
                Ok(a) => a,
                Err(e) => {
                    // Out of file descriptors, or a connection gone before it was taken: others go on.
                    tracing::warn!(error = %e, "accepting a connection failed");
                    world.clock.sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        while connections.try_join_next().is_some() {}
        let (world, tls, app, stop) = (world.clone(), tls.clone(), app.clone(), stop.clone());
        connections.spawn(async move {
            let _permit = permit;
            if let Err(e) = connection(&world, stream, peer, tls, app, stop).await {
                tracing::debug!(%peer, error = %e, "connection ended");
            }
        });
    }
    drop(listener);
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = world.clock.sleep(DRAIN) => tracing::warn!(open = connections.len(), "closing connections that did not finish in time"),
    }
}

/// Waits until the server is asked to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender is gone only when the server is.
    let _ = stop.wait_for(|s| *s).await;
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Has the system ask a silent client whether it is still there, so that one that went without a word is found out while
/// there is nothing to send to it.
fn keep_alive(stream: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(60))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(15))?;
    sockopt::set_tcp_keepcnt(stream, 4)
}

async fn connection(
    world: &World,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    app: impl App,
    stop: watch::Receiver<bool>,
) -> Result<(), BoxError> {
    stream.set_nodelay(true)?;
    keep_alive(&stream)?;
    let ends = (peer, Local(stream.local_addr()?));
    let Some(tls) = tls else { return http(world, stream, ends, app, stop).await };
    let mut first = [0; 1];
    let peeked = tokio::select! {
        n = stream.peek(&mut first) => n?,
        () = world.clock.sleep(HANDSHAKE) => return Err("nothing was sent".into()),
    };
    // A TLS record of type handshake begins with 22 (RFC 8446 §5.1); no HTTP method does.
    if peeked == 1 && first[0] != 22 {
        return http(world, stream, ends, redirect(), stop).await;
    }
    let stream = tokio::select! {
        s = tls.accept(stream) => s?,
        () = world.clock.sleep(HANDSHAKE) => return Err("the TLS handshake took too long".into()),
    };
    http(world, stream, ends, app, stop).await
}

async fn http<S>(
    world: &World,
    stream: S,
    (peer, local): (SocketAddr, Local),
    app: impl App,
    mut stop: watch::Receiver<bool>,
) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .max_header_list_size(64 << 10)
        .max_pending_accept_reset_streams(RESETS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(64 << 10)
        .keep_alive_interval(Duration::from_secs(30));
    let asked = Arc::new(AtomicBool::new(false));
    let (noted, intake) = (asked.clone(), Intake::default());
    let stream = Stalling::new(stream, intake.clone(), world.clone(), STALL);
    let service = service_fn(move |r: hyper::Request<hyper::body::Incoming>| {
        noted.store(true, Ordering::Relaxed);
        // In HTTP/2 a field takes a byte if it was sent before: nothing is kept of a request that has thousands.
        let answer = (r.headers().len() <= HEADERS).then(|| {
            let mut r = r.map(Body::new);
            r.extensions_mut().insert(peer);
            r.extensions_mut().insert(local);
            r.extensions_mut().insert(intake.clone());
            app.clone().answer(r)
        });
        async {
            Ok::<_, Infallible>(match answer {
                Some(answer) => answer.await,
                None => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response(),
            })
        }
    });
    let c = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(c);
    // Who says nothing, or never says which HTTP it speaks, does not keep a place that others wait for.
    let silent = async {
        world.clock.sleep(FIRST).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        r = c.as_mut() => return r,
        () = stopped(&mut stop) => {}
        () = silent => return Err("no request came".into()),
    }
    c.as_mut().graceful_shutdown();
    c.await
}

/// Sends whoever speaks plain HTTP to a TLS port to the right scheme.
fn redirect() -> Router {
    Router::new().fallback(|r: Request| async move {
        let host = r.headers().get("host").and_then(|h| h.to_str().ok()).unwrap_or("localhost");
        let to = format!("https://{host}{}", r.uri().path_and_query().map_or("/", |p| p.as_str()));
        match axum::http::HeaderValue::try_from(to) {
            Ok(to) => (StatusCode::PERMANENT_REDIRECT, [("location", to)]).into_response(),
            Err(_) => StatusCode::BAD_REQUEST.into_response(),
        }
    })
}

#[cfg(test)]
mod tests;
