//! From packet in to packet out. A server that forwards whole pictures packs them anew, so packets are told by what they carry:
//! one is late by the time since that packet was sent which had its last byte.
use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use str0m::{
    Event,
    media::{Direction, Pt},
    rtp::{RtpPacket, RtpWrite},
};

use crate::{Error, peer::Peer, picture, summary};

/// By a picture's number: where in its slice each packet ends, and when that was sent.
type Sent = Mutex<HashMap<u32, Vec<(usize, Instant)>>>;

/// Of a publisher before there is a viewer, and of a viewer before it counts.
const BEFORE: Duration = Duration::from_secs(5);

pub fn run(whip: &str, whep: &str, token: &str, seconds: f64) -> Result<(), Error> {
    let (sent, stop, pictures) = (Sent::default(), AtomicBool::new(false), AtomicU32::new(0));
    let peer = Peer::agree(whip, token, Direction::SendOnly)?;
    let seen = std::thread::scope(|s| {
        let publisher = s.spawn(|| {
            let r = publish(peer, &sent, &stop, &pictures);
            stop.store(true, Relaxed);
            r
        });
        let seen = watch(whep, token, seconds, &sent, &stop, &pictures);
        stop.store(true, Relaxed);
        publisher.join().map_err(|_| "the publisher panicked")??;
        seen
    })?;
    let mut out = summary(seen.late);
    out["unknown"] = seen.unknown.into();
    println!("{out}");
    Ok(())
}

/// Sends pictures, each at its time with all its packets at once, until told to stop.
fn publish(mut peer: Peer, sent: &Sent, stop: &AtomicBool, pictures: &AtomicU32) -> Result<(), Error> {
    let (mut connected, mut buffer) = (false, [0; 2000]);
    let (mut begun, mut n, mut number) = (Instant::now(), 0u32, 0u64);
    let pt =
        peer.rtc.media(peer.mid).and_then(|m| m.remote_pts().first().copied()).ok_or("no payload type")?;
    while !stop.load(Relaxed) {
        let wait = peer.turn(|e| connected |= matches!(e, Event::Connected))?;
        if !connected {
            begun = Instant::now();
            peer.wait(wait, &mut buffer)?;
            continue;
        }
        let due = begun + Duration::from_secs(1) / picture::RATE * n;
        if Instant::now() < due {
            peer.wait(wait.min(due), &mut buffer)?;
            continue;
        }
        send(&mut peer, pt, n, &mut number, sent)?;
        n += 1;
        pictures.store(n, Relaxed);
    }
    Ok(())
}

fn send(peer: &mut Peer, pt: Pt, n: u32, number: &mut u64, sent: &Sent) -> Result<(), Error> {
    let nals = picture::nals(n);
    let mid = peer.mid;
    for (i, nal) in nals.iter().enumerate() {
        let last_nal = i + 1 == nals.len();
        let payloads = picture::payloads(nal);
        let count = payloads.len();
        for (j, (payload, end)) in payloads.into_iter().enumerate() {
            let marker = last_nal && j + 1 == count;
            let now = Instant::now();
            if last_nal {
                sent.lock().map_err(|_| "poisoned")?.entry(n).or_default().push((end, now));
            }
            let time = n.wrapping_mul(picture::TICKS).wrapping_add(1_000_000);
            let write = RtpWrite::new(pt, (*number).into(), time, now, payload).marker(marker);
            let mut api = peer.rtc.direct_api();
            api.stream_tx_by_mid(mid, None).ok_or("no stream to send")?.write_rtp(write);
            *number += 1;
            peer.rtc.handle_input(str0m::Input::Timeout(now))?;
            peer.turn(|_| {})?;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Seen {
    late: Vec<f64>,
    /// Packets that could not be told.
    unknown: u64,
    /// The picture that is coming, and how much of its slice there is.
    now: Option<(u32, usize)>,
}

fn watch(
    whep: &str,
    token: &str,
    seconds: f64,
    sent: &Sent,
    stop: &AtomicBool,
    pictures: &AtomicU32,
) -> Result<Seen, Error> {
    let patience = Instant::now() + Duration::from_secs(30);
    while pictures.load(Relaxed) < picture::GOP * 2 {
        if Instant::now() > patience || stop.load(Relaxed) {
            return Err("the publisher did not connect".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut peer = Peer::agree(whep, token, Direction::RecvOnly)?;
    let (mut seen, mut buffer, mut packets) = (Seen::default(), [0; 2000], Vec::new());
    let from = Instant::now() + BEFORE;
    let end = from + Duration::from_secs_f64(seconds);
    while Instant::now() < end && !stop.load(Relaxed) {
        let wait = peer.turn(|e| {
            if let Event::RtpPacket(p) = e {
                packets.push(p);
            }
        })?;
        for p in packets.drain(..) {
            seen.packet(&p, sent, from)?;
        }
        peer.wait(wait.min(end), &mut buffer)?;
    }
    Ok(seen)
}

impl Seen {
    /// When it came is `timestamp`: taken before the packet was looked at.
    fn packet(&mut self, p: &RtpPacket, sent: &Sent, from: Instant) -> Result<(), Error> {
        let payload = &p.payload[..];
        let (first, body) = match (payload.first().map(|b| b & 31), payload.len()) {
            (Some(28), 3..) => (payload[1] & 0x80 != 0, &payload[2..]),
            (Some(1 | 5), _) => (true, &payload[1..]),
            // Parameter sets.
            _ => return Ok(()),
        };
        if first {
            self.now = picture::numbers(body).map(|n| (n.0, 1));
        }
        let Some((n, so_far)) = &mut self.now else {
            self.unknown += 1;
            return Ok(());
        };
        *so_far += body.len();
        let mut sent = sent.lock().map_err(|_| "poisoned")?;
        sent.retain(|k, _| k + picture::RATE * 10 > *n);
        let at = sent.get(n).and_then(|s| s.iter().find(|(end, _)| end >= so_far)).map(|s| s.1);
        match at {
            Some(at) if p.timestamp >= from => {
                self.late.push(p.timestamp.saturating_duration_since(at).as_secs_f64() * 1e3)
            }
            Some(_) => {}
            None => self.unknown += 1,
        }
        Ok(())
    }
}
