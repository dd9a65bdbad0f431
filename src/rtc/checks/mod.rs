//! Two peers in memory, with a network between them that loses, delays and cuts.

mod codecs;
mod hostile;
mod lossy;
mod rates;
mod slow;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration, time::Instant};

use bytes::Bytes;
use media::{RandomAccess, Track};
use str0m::{
    Candidate, Event, Input, Output, Rtc, RtcConfig,
    change::{SdpAnswer, SdpPendingOffer},
    media::{Direction, MediaKind},
    net::{Protocol, Receive},
};
use world::{Clock, World};

use crate::{
    Unit,
    clock::Instants,
    peer::{Again, Ground, Peer, Turn},
};

pub(crate) fn instants() -> Instants {
    let world = World::real(std::path::Path::new("."));
    let clock: Arc<dyn Clock> = world.clock;
    Instants::new(clock)
}

fn ground() -> Ground {
    Ground::new([3; 16]).unwrap()
}

fn server_at() -> SocketAddr {
    ([192, 0, 2, 1], 8555).into()
}

fn client_at() -> SocketAddr {
    ([192, 0, 2, 2], 5000).into()
}

fn h264() -> Arc<Track> {
    let sps = [
        0x67, 0x4d, 0x40, 0x28, 0xec, 0xa0, 0x3c, 0x01, 0x13, 0xf2, 0xe0, 0x22, 0, 0, 3, 0, 2, 0, 0, 3, 0,
        0x64, 0x1e, 0x30, 0x63, 0x2c,
    ];
    Arc::new(media::h264::track_from_parameter_sets(1, &[&sps], &[&[0x68, 0xce, 0x0f, 0xc8]]).unwrap())
}

/// The `n`th picture of 25 a second, a key frame every two seconds; its number is in it. 670 kbit/s.
fn picture(track: &Arc<Track>, n: u32) -> Unit {
    larger(track, n, 1)
}

/// The same, so many times as large.
fn larger(track: &Arc<Track>, n: u32, times: usize) -> Unit {
    let key = n.is_multiple_of(50);
    let mut nal = vec![if key { 0x65 } else { 0x41 }];
    // Seven bits a byte, so that no start code comes about.
    nal.extend([21, 14, 7, 0].map(|by| (n >> by) as u8 | 0x80));
    nal.resize(times * if key { 20_000 } else { 2_500 }, 0xab);
    Unit {
        track: track.clone(),
        pts: 1_795_000_000 * 90_000 + i64::from(n) * 3_600,
        access: if key { RandomAccess::Idr } else { RandomAccess::None },
        data: media::join_length4([&nal[..]]).unwrap(),
    }
}

/// The other side: a browser, as `str0m` does it.
struct Client {
    rtc: Rtc,
    pending: Option<SdpPendingOffer>,
    offer: String,
}

impl Client {
    fn new(config: RtcConfig, kinds: &[MediaKind], direction: Direction, now: Instant) -> Client {
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(client_at(), "udp").unwrap());
        let mut api = rtc.sdp_api();
        for kind in kinds {
            api.add_media(*kind, direction, None, None, None);
        }
        let (offer, pending) = api.apply().unwrap();
        Client { rtc, pending: Some(pending), offer: offer.to_sdp_string() }
    }

    fn answered(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).unwrap();
        self.rtc.sdp_api().accept_answer(self.pending.take().unwrap(), answer).unwrap();
    }
}

/// xorshift64*, so that a run can be had again.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % n
    }
}

/// What becomes of packets.
struct Network {
    dice: Dice,
    /// In a hundred.
    loss: u64,
    delay: (Duration, Duration),
    /// From and until when nothing passes.
    cut: Option<(Instant, Instant)>,
    /// The bottleneck: bytes a second, and how long its queue is; each way.
    narrow: Option<(u64, Duration)>,
    /// When what passes the bottleneck now will have passed it: from the server, to it.
    busy: [Option<Instant>; 2],
    /// By arrival: whether to the server, and the bytes.
    flying: BTreeMap<(Instant, u64), (bool, Bytes)>,
    sent: u64,
    /// Bytes sent, whatever became of them: from the server, to it.
    bytes: [u64; 2],
}

impl Network {
    fn send(&mut self, now: Instant, to_server: bool, data: Bytes) {
        self.sent += 1;
        self.bytes[usize::from(to_server)] += data.len() as u64;
        let cut = self.cut.is_some_and(|(from, to)| now >= from && now < to);
        if cut || self.dice.below(100) < self.loss {
            return;
        }
        let jitter = Duration::from_micros(self.dice.below(self.delay.1.as_micros() as u64 + 1));
        let mut passed = now;
        if let Some((rate, queue)) = self.narrow {
            let busy = &mut self.busy[usize::from(to_server)];
            let begins = busy.map_or(now, |b| b.max(now));
            if begins - now > queue {
                return;
            }
            passed = begins + Duration::from_micros(data.len() as u64 * 1_000_000 / rate);
            *busy = Some(passed);
        }
        self.flying.insert((passed + self.delay.0 + jitter, self.sent), (to_server, data));
    }
}

/// Both sides and the network, on a clock of their own.
struct Pair {
    now: Instant,
    server: Peer,
    client: Client,
    network: Network,
    /// When each side wants to be woken: server, client.
    wake: (Instant, Instant),
    at_server: Vec<Event>,
    /// When each of those happened.
    when: Vec<Instant>,
    /// What came again, beside.
    again: Vec<Again>,
    at_client: Vec<Event>,
}

impl Pair {
    fn new(server: Peer, mut client: Client, now: Instant, mut network: Network) -> Pair {
        client.answered(&server.answer);
        network.flying.clear();
        let wake = (now, now);
        Pair {
            now,
            server,
            client,
            network,
            wake,
            at_server: vec![],
            when: vec![],
            again: vec![],
            at_client: vec![],
        }
    }

    fn drain(&mut self) {
        loop {
            match self.server.turn() {
                Turn::Send { data, .. } => self.network.send(self.now, false, data.into()),
                Turn::Event(e) => {
                    self.at_server.push(e);
                    self.when.push(self.now);
                }
                Turn::Again(p) => self.again.push(p),
                Turn::Wait(t) => {
                    self.wake.0 = t;
                    break;
                }
                Turn::Over(why) => panic!("over: {why}"),
            }
        }
        loop {
            match self.client.rtc.poll_output().unwrap() {
                Output::Transmit(t) => self.network.send(self.now, true, Bytes::from(t.contents.to_vec())),
                Output::Event(e) => self.at_client.push(e),
                Output::Timeout(t) => {
                    self.wake.1 = t;
                    break;
                }
            }
        }
    }

    /// Lets time go by, packet by packet.
    fn run(&mut self, until: Instant) {
        loop {
            self.drain();
            let arrival = self.network.flying.keys().next().map(|k| k.0);
            let next =
                [Some(self.wake.0), Some(self.wake.1), arrival].into_iter().flatten().min().unwrap_or(until);
            if next > until {
                self.now = until;
                return;
            }
            self.now = self.now.max(next);
            if arrival.is_some_and(|a| a <= self.now) {
                let Some((_, (to_server, data))) = self.network.flying.pop_first() else { continue };
                if to_server {
                    self.server.receive(self.now, Protocol::Udp, client_at(), &data);
                } else {
                    let r = Receive::new(Protocol::Udp, server_at(), client_at(), &data).unwrap();
                    self.client.rtc.handle_input(Input::Receive(self.now, r)).unwrap();
                }
                continue;
            }
            if self.wake.0 <= self.now {
                self.server.timeout(self.now);
            }
            if self.wake.1 <= self.now {
                self.client.rtc.handle_input(Input::Timeout(self.now)).unwrap();
            }
        }
    }

    fn connect(&mut self) {
        for _ in 0..200 {
            self.run(self.now + Duration::from_millis(50));
            let up = |events: &[Event]| events.iter().any(|e| matches!(e, Event::Connected));
            if up(&self.at_server) && up(&self.at_client) {
                return;
            }
        }
        panic!("no connection within ten seconds");
    }
}

fn network(seed: u64, loss: u64, jitter_ms: u64) -> Network {
    Network {
        dice: Dice(seed),
        loss,
        delay: (Duration::from_millis(10), Duration::from_millis(jitter_ms)),
        cut: None,
        narrow: None,
        busy: [None; 2],
        bytes: [0; 2],
        flying: BTreeMap::new(),
        sent: 0,
    }
}
