//! A TURN server (RFC 8656), and with it a STUN server, on a UDP port of its own: for peers that cannot reach each other. The
//! protocol is `turn-server-proto`, which does no I/O; the sockets are ours, and so is the choice of where they lead
//! ([`allow`]).

mod allow;
mod credentials;
mod relay;
mod server;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
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

/// The server, as others see it.
pub(crate) struct Turn {
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
    pub(crate) stop: watch::Receiver<bool>,
}

impl Turn {
    /// Begins to serve.
    pub(crate) fn open(parts: Parts) -> Result<Turn, String> {
        let local = parts.socket.local_addr().map_err(|e| e.to_string())?;
        let secret = [parts.world.random16(), parts.world.random16()].concat();
        let credentials = Arc::new(Credentials::new(&secret));
        let turn = Turn { local, world: parts.world.clone(), credentials: credentials.clone() };
        tokio::spawn(relay::run(parts, local, credentials));
        Ok(turn)
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
