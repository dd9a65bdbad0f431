//! The sockets: the server's, and one for each relayed address.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use tokio::{net::UdpSocket, sync::mpsc, task::AbortHandle};

use super::{
    Counters, Credentials, Parts,
    allow::is_public,
    server::{Do, Out, Server, Wanted},
};

/// Packets that wait from relayed addresses; more are dropped, as on a network.
const WAITING: usize = 1024;
/// No packet is longer.
const MAX_PACKET: usize = 2048;

struct Socket {
    socket: Arc<UdpSocket>,
    reading: AbortHandle,
    minutes: Minutes,
}

/// The minutes of an address, from when it was given on, in which it relayed anything.
struct Minutes {
    begun: Duration,
    last: Option<u64>,
}

impl Minutes {
    fn new(begun: Duration) -> Minutes {
        Minutes { begun, last: None }
    }

    /// It relays something; whether that is the first of a minute.
    fn relays(&mut self, now: Duration) -> bool {
        let minute = Some(now.saturating_sub(self.begun).as_secs() / 60);
        std::mem::replace(&mut self.last, minute) != minute
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// From a relayed address: which, from whom, what.
type Came = (SocketAddr, SocketAddr, Bytes);

struct Relay {
    parts: Parts,
    local: SocketAddr,
    server: Server,
    sockets: HashMap<SocketAddr, Socket>,
    counters: Arc<Counters>,
    back: mpsc::Sender<Came>,
}

/// Serves until the hub stops.
pub(super) async fn run(
    parts: Parts,
    local: SocketAddr,
    credentials: Arc<Credentials>,
    counters: Arc<Counters>,
) {
    let (back, mut came) = mpsc::channel(WAITING);
    let mut stop = parts.stop.clone();
    let mut r = Relay { parts, local, server: Server::new(local), sockets: HashMap::new(), counters, back };
    let mut buf = [0; MAX_PACKET];
    loop {
        let now = r.parts.world.clock.monotonic();
        let (todo, until) = r.server.turn(now);
        let more = todo.iter().any(|d| matches!(d, Do::Allocate(_)));
        for d in todo {
            r.carry_out(d).await;
        }
        if more {
            // The answers to those who asked.
            continue;
        }
        let clock = r.parts.world.clock.clone();
        let out = tokio::select! {
            _ = stop.wait_for(|s| *s) => return,
            got = r.parts.socket.recv_from(&mut buf) => match got {
                Ok((n, from)) => {
                    let (time, now) = (clock.now(), clock.monotonic());
                    let may = |ip, port| may(&r.parts, &r.sockets, ip, port);
                    r.server.client(from, buf.get(..n).unwrap_or_default(), &credentials, &may, time, now)
                }
                // What an earlier packet met (ICMP) is told here.
                Err(_) => None,
            },
            Some((relay, from, data)) = came.recv() => {
                let out = r.server.peer(relay, from, &data, clock.monotonic());
                if out.is_some() {
                    r.counters.to_clients.fetch_add(data.len() as u64, Relaxed);
                    r.meter(relay);
                }
                out
            }
            () = clock.sleep(until.saturating_sub(now)) => None,
        };
        if let Some(out) = out {
            r.send(out).await;
        }
    }
}

/// Whether a port of an address may be relayed to; without a port, whether any of it may.
fn may(parts: &Parts, sockets: &HashMap<SocketAddr, Socket>, to: IpAddr, port: Option<u16>) -> bool {
    let ip = to.to_canonical();
    is_public(ip)
        || parts.config.peers.iter().any(|n| n.has(ip))
        || parts.own.iter().any(|a| a.ip() == ip && port.is_none_or(|p| a.port() == p))
        // Another client's relayed address.
        || match port {
            Some(port) => sockets.contains_key(&SocketAddr::new(to, port)),
            None => parts.address == ip && !sockets.is_empty(),
        }
}

impl Relay {
    async fn carry_out(&mut self, d: Do) {
        match d {
            Do::Send(out) => self.send(out).await,
            Do::Close(relay) => {
                self.sockets.remove(&relay);
                self.counters.relays.store(self.sockets.len() as u64, Relaxed);
            }
            Do::Allocate(wanted) => {
                let relay = self.allocate(wanted).await;
                let now = self.parts.world.clock.monotonic();
                self.server.allocated(wanted, relay, now);
            }
        }
    }

    /// An address relays something.
    fn meter(&mut self, relay: SocketAddr) {
        let now = self.parts.world.clock.monotonic();
        if self.sockets.get_mut(&relay).is_some_and(|s| s.minutes.relays(now)) {
            self.parts.meter.minute();
        }
    }

    async fn send(&mut self, out: Out) {
        if out.from != self.local && self.may(out.to) {
            self.meter(out.from);
        }
        let sent = if out.from == self.local {
            self.parts.socket.send_to(&out.data, out.to).await
        } else if let Some(s) = self.sockets.get(&out.from).filter(|_| self.may(out.to)) {
            self.counters.to_peers.fetch_add(out.data.len() as u64, Relaxed);
            s.socket.send_to(&out.data, out.to).await
        } else {
            tracing::debug!(from = %out.from, to = %out.to, "not relayed: turn.peers does not have it");
            return;
        };
        if let Err(e) = sent {
            tracing::debug!(error = %e, to = %out.to, "a packet was not relayed");
        }
    }

    fn may(&self, to: SocketAddr) -> bool {
        may(&self.parts, &self.sockets, to.ip(), Some(to.port()))
    }

    async fn allocate(&mut self, wanted: Wanted) -> Option<SocketAddr> {
        let address = self.parts.address;
        if wanted.v6 != address.is_ipv6() || self.server.relays() >= self.parts.config.allocations {
            return None;
        }
        let socket = Arc::new(UdpSocket::bind((self.local.ip(), 0)).await.ok()?);
        let relay = SocketAddr::new(address, socket.local_addr().ok()?.port());
        let (back, from) = (self.back.clone(), socket.clone());
        let reading = tokio::spawn(async move {
            let mut buf = [0; MAX_PACKET];
            loop {
                match from.recv_from(&mut buf).await {
                    Ok((n, peer)) => {
                        let _ = back.try_send((
                            relay,
                            peer,
                            Bytes::copy_from_slice(buf.get(..n).unwrap_or_default()),
                        ));
                    }
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        let minutes = Minutes::new(self.parts.world.clock.monotonic());
        self.sockets.insert(relay, Socket { socket, reading: reading.abort_handle(), minutes });
        self.counters.relays.store(self.sockets.len() as u64, Relaxed);
        self.counters.allocated.fetch_add(1, Relaxed);
        Some(relay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_minute_in_which_something_is_relayed_counts_once() {
        let mut m = Minutes::new(Duration::from_secs(1000));
        let of = [1000, 1001, 1059, 1060, 1119, 1300, 1301].map(|s| m.relays(Duration::from_secs(s)));
        assert_eq!(of, [true, false, false, true, false, true, false]);
    }
}
