//! An RTSP server that encoders publish to: `rtsp://KEY_ID:SECRET@host:8554/NAME` (ANNOUNCE, SETUP, RECORD).
//!
//! Credentials come by Basic authentication (RFC 7617): an access key's id and secret, or a token as the user name
//! with an empty password; ask the [`Admit`]. Digest is not offered: it would need the secrets in clear. Over a
//! network that is not trusted, publish with `rtsps://`.
//!
//! Media come within the connection or by UDP. Within the connection a slow disk slows the sender and nothing is lost;
//! by UDP what does not fit a bounded queue is dropped, noticed, and counted. At TEARDOWN everything received is handed
//! over and stored before the answer.

mod connection;
mod message;
mod protocol;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use world::World;

use crate::registry::Registry;
use crate::{Admit, Sink, Status};
use connection::Connection;

/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 1024;
/// How long a client may take for TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long sessions may take to be stored when the server stops.
const STOP: Duration = Duration::from_secs(15);

/// What all connections share.
pub(crate) struct Shared {
    world: World,
    admit: Arc<dyn Admit>,
    sink: Arc<dyn Sink>,
    registry: Arc<Registry>,
    places: Arc<Semaphore>,
    next: AtomicU64,
}

/// A server that is listening. Dropping it stops it, without waiting.
pub struct Server {
    shared: Arc<Shared>,
    local: SocketAddr,
    stop: watch::Sender<bool>,
    listeners: Mutex<Vec<JoinHandle<()>>>,
}

impl Server {
    /// Listens for `rtsp://`. The error says what is wrong with the address.
    pub async fn start(
        world: World,
        address: SocketAddr,
        admit: Arc<dyn Admit>,
        sink: Arc<dyn Sink>,
    ) -> io::Result<Arc<Server>> {
        let (listener, local) = bind(address).await?;
        Ok(Server::on(world, listener, local, admit, sink))
    }

    /// Listens for `rtsp://` on a socket that is bound already, at `local`.
    pub fn on(
        world: World,
        listener: TcpListener,
        local: SocketAddr,
        admit: Arc<dyn Admit>,
        sink: Arc<dyn Sink>,
    ) -> Arc<Server> {
        let shared = Arc::new(Shared {
            world,
            admit,
            sink,
            registry: Arc::default(),
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            next: AtomicU64::new(0),
        });
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(shared.clone(), listener, None, stopped));
        Arc::new(Server { shared, local, stop, listeners: Mutex::new(vec![task]) })
    }

    /// Listens for `rtsps://` as well, for the same streams. Returns where.
    pub async fn listen_tls(&self, address: SocketAddr, tls: Arc<ServerConfig>) -> io::Result<SocketAddr> {
        let (listener, local) = bind(address).await?;
        let task =
            tokio::spawn(accept(self.shared.clone(), listener, Some(tls.into()), self.stop.subscribe()));
        self.listeners.lock().unwrap_or_else(|e| e.into_inner()).push(task);
        Ok(local)
    }

    /// Where it listens for `rtsp://`.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.shared.registry.clone()
    }

    /// Who publishes: streams, sorted, and how it goes.
    pub fn sessions(&self) -> Vec<(String, Status)> {
        self.shared.registry.sessions()
    }

    /// How a stream's publisher does, if it has one.
    pub fn status(&self, stream: &str) -> Option<Status> {
        self.shared.registry.status(stream)
    }

    /// Ends the session on a stream, if there is one. It does not wait.
    pub fn end(&self, stream: &str) {
        self.shared.registry.end(stream, "ended by the server");
    }

    /// Accepts no more, ends all sessions, and waits until what they received is stored, for at most 15 seconds.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let listeners = std::mem::take(&mut *self.listeners.lock().unwrap_or_else(|e| e.into_inner()));
        for task in listeners {
            let _ = task.await;
        }
        tokio::select! {
            _ = self.shared.places.acquire_many(CONNECTIONS as u32) => {}
            () = self.shared.world.clock.sleep(STOP) => {
                tracing::warn!("some publishers' last access units could not be stored in time");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("cannot listen for RTSP on {address}: {e}"));
    let listener = TcpListener::bind(address).await.map_err(named)?;
    let local = listener.local_addr().map_err(named)?;
    Ok((listener, local))
}

async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    stop: watch::Receiver<bool>,
) {
    let mut stopped = stop.clone();
    loop {
        let place = tokio::select! {
            () = until(&mut stopped) => return,
            // Never closed.
            place = shared.places.clone().acquire_owned() => match place { Ok(p) => p, Err(_) => return },
        };
        let accepted = tokio::select! {
            () = until(&mut stopped) => return,
            a = listener.accept() => a,
        };
        let (socket, peer) = match accepted {
            Ok(a) => a,
            Err(e) => {
                // Out of file descriptors, most likely: going on at once would only spin.
                tracing::warn!(error = %e, "a connection could not be accepted");
                shared.world.clock.sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (shared, tls, stop) = (shared.clone(), tls.clone(), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            serve(&shared, socket, peer, tls, stop).await;
        });
    }
}

async fn serve(
    shared: &Shared,
    socket: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    stop: watch::Receiver<bool>,
) {
    let Ok(local) = socket.local_addr() else { return };
    let _ = socket.set_nodelay(true);
    let id = shared.next.fetch_add(1, Ordering::Relaxed);
    match tls {
        None => Connection::new(shared, socket, id, local, peer).run(stop).await,
        Some(tls) => {
            let done = tokio::select! {
                done = tls.accept(socket) => done,
                () = shared.world.clock.sleep(HANDSHAKE) => return,
            };
            match done {
                Ok(socket) => Connection::new(shared, socket, id, local, peer).run(stop).await,
                Err(e) => tracing::debug!(%peer, error = %e, "no TLS"),
            }
        }
    }
}

/// Until it is true, or nobody is left to say so.
async fn until(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|s| *s).await;
}

/// See [`crate::hostile::rtsp`].
pub(crate) fn hostile_rtsp(mut data: &[u8]) {
    use message::{Incoming, Response, parse};
    let mut protocol = protocol::Protocol::new("s".into());
    while let Ok(Some((n, incoming))) = parse(data) {
        assert!(n > 0 && n <= data.len());
        data = &data[n..];
        let request = match incoming {
            Incoming::Request(r) => r,
            Incoming::Frame(channel, _) => {
                let _ = protocol.channel(channel);
                continue;
            }
        };
        let response = match protocol.request(&request) {
            protocol::Step::Reply(r) => r,
            protocol::Step::Admit(who) => protocol.admitted(&who.stream, Ok(())),
            protocol::Step::Bind { media, client } => protocol.bound(media, client, Ok((5000, 5001))),
            protocol::Step::Record(_) => protocol.recorded().map_or_else(Response::ok, |(_, r)| r),
            protocol::Step::Teardown => return,
        };
        let mut out = Vec::new();
        response.write(Some(&request), &mut out);
        // No header of ours can be made to end early.
        assert!(out.ends_with(b"\r\n\r\n") && out.windows(4).filter(|w| w == b"\r\n\r\n").count() == 1);
    }
}
