//! A TURN server (RFC 8656), and with it a STUN server, on a UDP port of its own: for peers that cannot reach each other. The
//! protocol is `turn-server-proto`, which does no I/O; the sockets are ours, and so is the choice of where they lead
//! ([`allow`]).

mod allow;
mod credentials;
mod forbid;
mod relay;
mod server;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::{net::UdpSocket, sync::watch};
use world::World;

pub use allow::Net;
pub(crate) use credentials::{Credentials, Grant};

/// What may be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where may be relayed to besides the Internet.
    pub peers: Vec<Net>,
    /// Relayed addresses at once.
    pub allocations: usize,
}

/// Who counts what is relayed. Implemented by the binary.
pub trait Metered: Send + Sync + 'static {
    /// A relayed address has begun a minute in which it relays something.
    fn minute(&self);
}

/// What is relayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Relayed addresses at present.
    pub relays: u64,
    /// Those that there ever were since the start.
    pub allocated: u64,
    /// Bytes of payload that clients sent to peers since the start …
    pub to_peers: u64,
    /// … and peers to clients.
    pub to_clients: u64,
}

#[derive(Debug, Default)]
struct Counters {
    relays: AtomicU64,
    allocated: AtomicU64,
    to_peers: AtomicU64,
    to_clients: AtomicU64,
}

/// The server, as others see it.
pub(crate) struct Turn {
    counters: Arc<Counters>,
    local: SocketAddr,
    world: World,
    credentials: Arc<Credentials>,
}

/// What the server is made of.
pub(crate) struct Parts {
    pub(crate) world: World,
    pub(crate) socket: UdpSocket,
    /// The address that relays are reached at.
    pub(crate) address: IpAddr,
    /// The server's own ports of media, which may be relayed to.
    pub(crate) own: Vec<SocketAddr>,
    pub(crate) config: Config,
    pub(crate) meter: Arc<dyn Metered>,
    pub(crate) stop: watch::Receiver<bool>,
}

impl Turn {
    /// Begins to serve.
    pub(crate) fn open(parts: Parts) -> Result<Turn, String> {
        let local = parts.socket.local_addr().map_err(|e| e.to_string())?;
        let secret = [parts.world.random16(), parts.world.random16()].concat();
        let credentials = Arc::new(Credentials::new(&secret));
        let (world, counters) = (parts.world.clone(), Arc::<Counters>::default());
        tokio::spawn(relay::run(parts, local, credentials.clone(), counters.clone()));
        Ok(Turn { counters, local, world, credentials })
    }

    /// What is relayed.
    pub(crate) fn tally(&self) -> Tally {
        let c = &self.counters;
        Tally {
            relays: c.relays.load(Relaxed),
            allocated: c.allocated.load(Relaxed),
            to_peers: c.to_peers.load(Relaxed),
            to_clients: c.to_clients.load(Relaxed),
        }
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.local.port()
    }

    /// Credentials for an hour.
    pub(crate) fn grant(&self) -> Grant {
        self.credentials.grant(self.world.clock.now())
    }
}
