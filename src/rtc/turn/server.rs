//! The protocol, with bounds around it. `turn-server-proto` remembers each address that ever asked, and every user: so there are
//! generations of it. Newcomers come to the newest; when that has heard of so many, another begins, and those before go as
//! soon as nothing is relayed by them.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    time::Duration,
};

use turn_server_proto::{
    api::{SocketAllocateError, TcpConnectError, Transmit, TurnServerApi as _, TurnServerPollRet},
    server::TurnServer,
    types::{
        AddressFamily, Instant, TransportType,
        stun::{
            attribute::{Userhash, Username},
            message::Message,
        },
    },
};
use world::Timestamp;

use super::{
    credentials::{Credentials, User},
    forbid::{May, refusal},
};

/// Clients that a generation hears of.
const CLIENTS: usize = 4096;
const REALM: &str = "rushes";

/// A packet to be sent: from one of our addresses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Out {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) data: Vec<u8>,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Do {
    Send(Out),
    /// A relayed address is wanted: [`Server::allocated`] is to be called.
    Allocate(Wanted),
    /// It is wanted no more.
    Close(SocketAddr),
}

/// Who wants a relayed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    generation: u64,
    client: SocketAddr,
    pub(super) v6: bool,
}

struct Generation {
    id: u64,
    server: TurnServer,
    clients: HashSet<SocketAddr>,
    users: HashSet<String>,
    relays: HashSet<SocketAddr>,
}

pub(super) struct Server {
    local: SocketAddr,
    generations: Vec<Generation>,
    /// The generation that a relayed address is of.
    relays: HashMap<SocketAddr, u64>,
    next: u64,
}

fn at(now: Duration) -> Instant {
    Instant::from_nanos(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
}

impl Server {
    pub(super) fn new(local: SocketAddr) -> Server {
        let mut s = Server { local, generations: Vec::new(), relays: HashMap::new(), next: 0 };
        s.begin();
        s
    }

    fn begin(&mut self) {
        self.generations.retain(|g| !g.relays.is_empty());
        let server = TurnServer::new(TransportType::Udp, self.local, REALM.into());
        self.next += 1;
        self.generations.push(Generation {
            id: self.next,
            server,
            clients: HashSet::new(),
            users: HashSet::new(),
            relays: HashSet::new(),
        });
    }

    /// How many addresses are relayed.
    pub(super) fn relays(&self) -> usize {
        self.relays.len()
    }

    /// Takes a packet of a client's. `may`: where may be relayed to.
    pub(super) fn client(
        &mut self,
        from: SocketAddr,
        data: &[u8],
        credentials: &Credentials,
        may: May<'_>,
        time: Timestamp,
        now: Duration,
    ) -> Option<Out> {
        let known = self.generations.iter().position(|g| g.clients.contains(&from));
        let found = match known {
            Some(i) => i,
            None => {
                // What a stranger sends is a request, or nothing.
                Message::from_bytes(data).ok()?;
                if self.generations.last().is_none_or(|g| g.clients.len() >= CLIENTS) {
                    self.begin();
                }
                self.generations.len().checked_sub(1)?
            }
        };
        let g = self.generations.get_mut(found)?;
        g.clients.insert(from);
        if let Ok(m) = Message::from_bytes(data) {
            if m.attribute::<Userhash>().is_ok() {
                return None;
            }
            if let Ok(u) = m.attribute::<Username>() {
                match credentials.look(u.username(), time) {
                    User::Good(password) => {
                        if g.users.insert(u.username().into()) {
                            g.server.add_user(u.username().into(), password.clone());
                        }
                        if let Some(data) = refusal(&m, u.username(), password, REALM, may) {
                            return Some(Out { from: self.local, to: from, data });
                        }
                    }
                    User::Unknown => {}
                    User::Expired => return None,
                }
            }
        }
        let mut out = g.receive(data, from, self.local, now)?;
        if out.to == self.local {
            // turn-server-proto 0.7.3 addresses the answer to a binding request to the server.
            out.to = from;
        }
        Some(out)
    }

    /// Takes a packet that came to a relayed address.
    pub(super) fn peer(
        &mut self,
        relay: SocketAddr,
        from: SocketAddr,
        data: &[u8],
        now: Duration,
    ) -> Option<Out> {
        let id = *self.relays.get(&relay)?;
        self.generations.iter_mut().find(|g| g.id == id)?.receive(data, from, relay, now)
    }

    /// What is to be done now, and until when nothing is.
    pub(super) fn turn(&mut self, now: Duration) -> (Vec<Do>, Duration) {
        let (mut out, mut until) = (Vec::new(), now + Duration::from_secs(60));
        for g in &mut self.generations {
            loop {
                match g.server.poll(at(now)) {
                    TurnServerPollRet::WaitUntil(then) => {
                        let wait = then.saturating_duration_since(at(now)).max(Duration::from_millis(10));
                        until = until.min(now + wait);
                        break;
                    }
                    TurnServerPollRet::AllocateSocket {
                        client_addr, allocation_transport, family, ..
                    } => {
                        let v6 = family == AddressFamily::IPV6;
                        if allocation_transport == TransportType::Udp {
                            out.push(Do::Allocate(Wanted { generation: g.id, client: client_addr, v6 }));
                        } else {
                            let no = Err(SocketAllocateError::InsufficientCapacity);
                            let udp = TransportType::Udp;
                            g.server.allocated_socket(
                                udp,
                                self.local,
                                client_addr,
                                allocation_transport,
                                family,
                                no,
                                at(now),
                            );
                        }
                    }
                    TurnServerPollRet::TcpConnect { relayed_addr, peer_addr, listen_addr, client_addr } => {
                        let no = Err(TcpConnectError::Forbidden);
                        g.server.tcp_connected(
                            relayed_addr,
                            peer_addr,
                            listen_addr,
                            client_addr,
                            no,
                            at(now),
                        );
                    }
                    TurnServerPollRet::TcpClose { .. } => {}
                    TurnServerPollRet::SocketClose { listen_addr, .. } => {
                        g.relays.remove(&listen_addr);
                        self.relays.remove(&listen_addr);
                        out.push(Do::Close(listen_addr));
                    }
                }
            }
            while let Some(t) = g.server.poll_transmit(at(now)) {
                out.push(Do::Send(Out { from: t.from, to: t.to, data: t.data }));
            }
        }
        (out, until)
    }

    /// The relayed address that was wanted, or none.
    pub(super) fn allocated(&mut self, wanted: Wanted, relay: Option<SocketAddr>, now: Duration) {
        let Some(g) = self.generations.iter_mut().find(|g| g.id == wanted.generation) else { return };
        if let Some(a) = relay {
            g.relays.insert(a);
            self.relays.insert(a, g.id);
        }
        let (udp, relay) = (TransportType::Udp, relay.ok_or(SocketAllocateError::InsufficientCapacity));
        let family = if wanted.v6 { AddressFamily::IPV6 } else { AddressFamily::IPV4 };
        g.server.allocated_socket(udp, self.local, wanted.client, udp, family, relay, at(now));
    }
}

impl Generation {
    fn receive(&mut self, data: &[u8], from: SocketAddr, to: SocketAddr, now: Duration) -> Option<Out> {
        let t = self.server.recv(Transmit::new(data, TransportType::Udp, from, to), at(now))?.build();
        Some(Out { from: t.from, to: t.to, data: t.data })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn local() -> SocketAddr {
        ([192, 0, 2, 1], 3478).into()
    }
    /// A binding request (RFC 8489 §5).
    fn binding(n: u16) -> Vec<u8> {
        let [a, b] = n.to_be_bytes();
        vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, a, b]
    }

    #[test]
    fn it_answers_binding_requests_and_remembers_so_many() {
        let (mut s, c) = (Server::new(local()), Credentials::new(b"x"));
        for n in 0..20_000u16 {
            let from: SocketAddr = ([192, 0, 2, 2], n.max(1)).into();
            let out =
                s.client(from, &binding(n), &c, &|_, _| true, Timestamp(0), Duration::from_secs(1)).unwrap();
            assert_eq!((out.from, out.to), (local(), from));
            assert_eq!(out.data[..2], [1, 1]);
            assert!(s.generations.len() <= 2 && s.generations.iter().all(|g| g.clients.len() <= CLIENTS));
        }
    }

    proptest! {
        #[test]
        fn any_packets_are_survived(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..9), cut in 0usize..24) {
            let (mut s, c) = (Server::new(local()), Credentials::new(b"x"));
            let from: SocketAddr = ([192, 0, 2, 2], 9).into();
            let now = Duration::from_secs(1);
            for data in packets {
                let mut request = binding(7);
                request.truncate(cut);
                request.extend(&data);
                let _ = s.client(from, &data, &c, &|_, _| false, Timestamp(0), now);
                let _ = s.client(from, &request, &c, &|_, _| false, Timestamp(0), now);
                let _ = s.peer(from, from, &data, now);
                let _ = s.turn(now);
            }
        }
    }
}
