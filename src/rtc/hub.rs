//! All sessions, on the two ports that they share.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use access::{Gate, Permit};
use bytes::Bytes;
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::{mpsc, watch},
};
use wire::v1::ApiError;
use world::{Home, World};

use crate::{
    Mixers, Publish, Source,
    clock::Instants,
    desk::Desk,
    peer::{Ground, Peer, Refused},
    play, publish, sdp,
    session::{Role, Session},
    sockets,
    table::{Control, Entry, Table, Way},
    talk::{Ear, Talks},
    turn::{self, Grant, Turn},
};

/// Packets that wait for a session: a key frame's worth.
const WAITING: usize = 512;
/// Streams of which it is known that no browser can be sent them.
const KNOWN: usize = 10_000;

/// What may be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where peers reach the ports, from outside (behind NAT, in a container). Empty: found out.
    pub addresses: Vec<IpAddr>,
    /// Sessions at once.
    pub sessions: usize,
    /// How often a publisher is asked for a key frame.
    pub key_frames: Duration,
    /// The TURN server, where there is one.
    pub turn: turn::Config,
}

/// What a hub is made of.
pub struct Parts {
    /// The world.
    pub world: World,
    /// The gate that requests pass.
    pub gate: Gate,
    /// Account and region.
    pub home: Home,
    /// Who has live streams.
    pub source: Arc<dyn Source>,
    /// Who takes them.
    pub publish: Arc<dyn Publish>,
    /// Who mixes what viewers of storage sessions say.
    pub mixers: Arc<dyn Mixers>,
    /// The UDP port.
    pub udp: UdpSocket,
    /// The TCP port, of the same number.
    pub tcp: TcpListener,
    /// The TURN server's port, if there is to be one, and who counts what it relays.
    pub turn: Option<(UdpSocket, Arc<dyn turn::Metered>)>,
}

/// All sessions.
pub struct Hub {
    pub(crate) world: World,
    pub(crate) gate: Gate,
    pub(crate) home: Home,
    pub(crate) source: Arc<dyn Source>,
    publish: Arc<dyn Publish>,
    mixers: Arc<dyn Mixers>,
    pub(crate) config: Config,
    pub(crate) udp: UdpSocket,
    local: SocketAddr,
    ground: Ground,
    pub(crate) instants: Instants,
    pub(crate) table: Table,
    /// What viewers say to masters.
    pub(crate) talks: Talks,
    /// Streams whose pictures come in another order than they are shown in, with the configuration that says so.
    reordered: Mutex<HashMap<String, Bytes>>,
    turn: OnceLock<Turn>,
    stop: watch::Sender<bool>,
    /// How many sessions have not ended.
    running: watch::Sender<usize>,
}

/// A session that was agreed upon.
pub(crate) struct Agreed {
    pub(crate) id: String,
    pub(crate) ufrag: String,
    pub(crate) answer: String,
}

impl Hub {
    /// Begins to serve.
    pub fn open(parts: Parts, config: Config) -> Result<Arc<Hub>, String> {
        let Parts { world, gate, home, source, publish, mixers, udp, tcp, turn } = parts;
        let local = udp.local_addr().map_err(|e| e.to_string())?;
        sockets::widen(&udp);
        let most = config.sessions.saturating_mul(2);
        let hub = Arc::new(Hub {
            ground: Ground::new(world.random16())?,
            instants: Instants::new(world.clock.clone()),
            world,
            gate,
            home,
            source,
            publish,
            mixers,
            config,
            udp,
            local,
            table: Table::default(),
            talks: Talks::default(),
            reordered: Mutex::default(),
            turn: OnceLock::new(),
            stop: watch::channel(false).0,
            running: watch::channel(0).0,
        });
        if let Some((socket, meter)) = turn {
            let own = hub.addresses(None);
            let address = own.first().map(SocketAddr::ip).ok_or("no address of this server is known")?;
            let (world, config) = (hub.world.clone(), hub.config.turn.clone());
            let stop = hub.stop.subscribe();
            let turn = Turn::open(turn::Parts { world, socket, address, own, config, meter, stop })?;
            // It is empty until here.
            let _ = hub.turn.set(turn);
        }
        tokio::spawn(sockets::udp(hub.clone()));
        tokio::spawn(sockets::tcp(hub.clone(), tcp, most));
        Ok(hub)
    }

    /// The address of the ports.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The servers that help peers reach each other, for an hour; none where TURN is off.
    pub(crate) fn ice_servers(&self, asked: Option<IpAddr>) -> Option<IceServers> {
        let turn = self.turn.get()?;
        let at = |a: SocketAddr| format!("turn:{}?transport=udp", SocketAddr::new(a.ip(), turn.port()));
        let uris = self.addresses(asked).into_iter().map(at).collect();
        Some(IceServers { uris, grant: turn.grant() })
    }

    /// What the TURN server relays; none where it is off.
    pub fn relayed(&self) -> Option<turn::Tally> {
        self.turn.get().map(Turn::tally)
    }

    /// Publishers and viewers that there are now.
    pub fn sessions(&self) -> (usize, usize) {
        (self.table.count(Way::In), self.table.count(Way::Out))
    }

    /// Ends all sessions; everything that was received is durable when this returns.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        for control in self.table.all() {
            let _ = control.send(Control::End).await;
        }
        // Fails when the sender is gone, which is here.
        let _ = self.running.subscribe().wait_for(|n| *n == 0).await;
    }

    pub(crate) async fn stopped(&self) {
        let _ = self.stop.subscribe().wait_for(|s| *s).await;
    }

    /// Whoever publishes to a stream by WebRTC is asked for a key frame.
    pub(crate) fn want_key_frame(&self, stream: &str) {
        for control in self.table.publishers(stream) {
            let _ = control.try_send(Control::KeyFrame);
        }
    }

    /// Remembers that a stream's pictures come in another order than they are shown in.
    pub(crate) fn remember_reordered(&self, stream: &str, config: &Bytes) {
        let mut known = self.reordered.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(stream.into(), config.clone());
    }

    fn reordered(&self, stream: &str) -> Option<Bytes> {
        self.reordered.lock().unwrap_or_else(PoisonError::into_inner).get(stream).cloned()
    }

    /// Where peers can reach this server: what is configured; else the address that the port is bound to; else the one
    /// that the request came to, and the one that packets leave from.
    fn addresses(&self, asked: Option<IpAddr>) -> Vec<SocketAddr> {
        let mut out: Vec<IpAddr> = self.config.addresses.clone();
        if out.is_empty() && !self.local.ip().is_unspecified() {
            out.push(self.local.ip());
        }
        if out.is_empty() {
            let v6 = self.local.is_ipv6();
            let usable = |ip: &IpAddr| !ip.is_unspecified() && (v6 || ip.is_ipv4());
            let found = [asked.map(|ip| ip.to_canonical()), route(Ipv4Addr::UNSPECIFIED.into())];
            let found = found.into_iter().chain([v6.then(|| route(Ipv6Addr::UNSPECIFIED.into())).flatten()]);
            for ip in found.flatten().filter(usable) {
                if !out.contains(&ip) {
                    out.push(ip);
                }
            }
        }
        out.into_iter().map(|ip| SocketAddr::new(ip, self.local.port())).collect()
    }

    /// Agrees with a viewer.
    pub(crate) fn play(
        self: &Arc<Self>,
        permit: Permit,
        stream: &str,
        offer: &str,
        asked: Option<IpAddr>,
    ) -> Result<Agreed, ApiError> {
        let tracks = self.live(stream)?;
        let (peer, play) =
            play::negotiate(&self.ground, offer, &tracks, &self.addresses(asked), self.instants.now())
                .map_err(refused)?;
        if !play.left_out.is_empty() {
            tracing::debug!(stream, left_out = play.left_out.join(", "), "a viewer is not sent everything");
        }
        self.begin(Way::Out, stream, offer, peer, |_| Role::play(play, permit, false))
    }

    /// Agrees with a publisher.
    pub(crate) fn take(
        self: &Arc<Self>,
        permit: Permit,
        stream: &str,
        offer: &str,
        asked: Option<IpAddr>,
    ) -> Result<Agreed, ApiError> {
        let (peer, publishing) =
            publish::negotiate(&self.ground, offer, &self.addresses(asked), self.instants.now())
                .map_err(refused)?;
        let feed = self.publish.open(permit, stream, &peer.answer)?;
        self.begin(Way::In, stream, offer, peer, |_| Role::publish(publishing, feed, None))
    }

    /// Offers to receive what will be published to a stream.
    pub(crate) fn propose_to_take(
        self: &Arc<Self>,
        asked: Option<IpAddr>,
    ) -> Result<(Peer, String), ApiError> {
        self.room()?;
        publish::propose(&self.ground, &self.addresses(asked), self.instants.now()).map_err(refused)
    }

    /// The answer to that: it begins.
    pub(crate) fn take_proposed(
        self: &Arc<Self>,
        permit: Permit,
        stream: &str,
        mut peer: Peer,
        answer: &str,
    ) -> Result<Agreed, ApiError> {
        let now = self.instants.now();
        let (publishing, description) = publish::agreed(&mut peer, answer, now).map_err(refused)?;
        let feed = self.publish.open(permit, stream, &description)?;
        let (hears, clock) = (self.talks.listen(stream), self.world.clock.clone());
        let desk = Desk::new(stream, hears, Ear::of(&peer), self.mixers.clone(), clock);
        self.begin(Way::In, stream, answer, peer, |_| Role::publish(publishing, feed, Some(desk)))
    }

    /// Offers to send what is published to a stream.
    pub(crate) fn propose_to_play(
        self: &Arc<Self>,
        stream: &str,
        asked: Option<IpAddr>,
    ) -> Result<Proposed, ApiError> {
        self.room()?;
        let tracks = self.live(stream)?;
        let (peer, offer) = play::propose(&self.ground, &tracks, &self.addresses(asked), self.instants.now())
            .map_err(refused)?;
        Ok(Proposed { peer, offer, tracks })
    }

    /// The answer to that: it begins.
    pub(crate) fn play_proposed(
        self: &Arc<Self>,
        permit: Permit,
        stream: &str,
        proposed: Proposed,
        answer: &str,
    ) -> Result<Agreed, ApiError> {
        let Proposed { mut peer, tracks, .. } = proposed;
        let now = self.instants.now();
        let play = play::agreed(&self.ground, &mut peer, &tracks, answer, now).map_err(refused)?;
        self.begin(Way::Out, stream, answer, peer, |_| Role::play(play, permit, true))
    }

    /// Ends a session. Everything that was published by it is durable when this returns.
    pub(crate) async fn end(&self, id: &str) {
        if let Some(e) = self.table.get(id) {
            // Fails when it ends by itself.
            let _ = e.control.send(Control::End).await;
            e.control.closed().await;
        }
    }

    /// Returns once a session is no more.
    pub(crate) async fn ended(&self, id: &str) {
        if let Some(e) = self.table.get(id) {
            e.control.closed().await;
        }
    }

    /// What is published to a stream, as far as it can be sent at all.
    fn live(&self, stream: &str) -> Result<Arc<[Arc<media::Track>]>, ApiError> {
        let tracks = self.source.tracks(stream)?;
        if tracks.is_empty() {
            let m = format!("nobody publishes to {stream:?}");
            return Err(ApiError::new(axum::http::StatusCode::CONFLICT, "NotLive", m));
        }
        if self.reordered(stream).is_some_and(|c| tracks.iter().any(|t| t.is_video() && t.config == c)) {
            return Err(refused(Refused::Nothing(REORDERED.into())));
        }
        Ok(tracks)
    }

    /// Whether one more session may be.
    fn room(&self) -> Result<(), ApiError> {
        if *self.stop.borrow() {
            return Err(ApiError::unavailable("the server is stopping"));
        }
        if self.table.len() >= self.config.sessions {
            return Err(full(self.config.sessions));
        }
        Ok(())
    }

    fn begin(
        self: &Arc<Self>,
        way: Way,
        stream: &str,
        offer: &str,
        peer: Peer,
        role: impl FnOnce(&Peer) -> Role,
    ) -> Result<Agreed, ApiError> {
        let id: String = self.world.random16().iter().map(|b| format!("{b:02x}")).collect();
        let (packets, incoming) = mpsc::channel(WAITING);
        let (control, told) = mpsc::channel(4);
        let entry = Entry {
            way,
            stream: stream.into(),
            ufrag: peer.ufrag.clone(),
            remote_ufrag: sdp::fragment(offer).ok().and_then(|f| f.ufrag),
            packets,
            control,
        };
        if *self.stop.borrow() {
            return Err(ApiError::unavailable("the server is stopping"));
        }
        if !self.table.insert(&id, entry, self.config.sessions) {
            return Err(full(self.config.sessions));
        }
        let agreed = Agreed { id: id.clone(), ufrag: peer.ufrag.clone(), answer: peer.answer.clone() };
        let role = role(&peer);
        let session = Session::new(self.clone(), id.clone(), stream.into(), peer, role, incoming, told);
        self.running.send_modify(|n| *n += 1);
        let guard = Running { hub: self.clone(), id };
        tokio::spawn(async move {
            let _guard = guard;
            session.run().await;
        });
        Ok(agreed)
    }
}

/// Where the TURN server is, and who may use it.
pub(crate) struct IceServers {
    pub(crate) uris: Vec<String>,
    pub(crate) grant: Grant,
}

/// What was offered to a viewer.
pub(crate) struct Proposed {
    peer: Peer,
    pub(crate) offer: String,
    tracks: Arc<[Arc<media::Track>]>,
}

fn full(sessions: usize) -> ApiError {
    ApiError::unavailable(format!("there are {sessions} WebRTC sessions, as many as webrtc.sessions allows"))
}

/// However a session ends, it is gone.
struct Running {
    hub: Arc<Hub>,
    id: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.hub.table.remove(&self.id);
        self.hub.running.send_modify(|n| *n -= 1);
    }
}

pub(crate) const REORDERED: &str = "the pictures are not shown in the order in which they come (B-frames), which browsers do not take by WebRTC: \
     publish without them, or watch it by HLS";

fn refused(r: Refused) -> ApiError {
    let message = r.to_string();
    match r {
        Refused::Offer(_) => ApiError::bad_request(message),
        Refused::Nothing(_) => {
            ApiError::new(axum::http::StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
        }
        Refused::Own(_) => ApiError::unavailable(message),
    }
}

/// The address from which packets would leave for anywhere else. Nothing is sent.
fn route(any: IpAddr) -> Option<IpAddr> {
    let far: SocketAddr = match any {
        // Documentation's (RFC 5737, RFC 3849): routed like any other.
        IpAddr::V4(_) => (Ipv4Addr::new(192, 0, 2, 1), 9).into(),
        IpAddr::V6(_) => (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into(),
    };
    let socket = std::net::UdpSocket::bind((any, 0)).ok()?;
    socket.connect(far).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
