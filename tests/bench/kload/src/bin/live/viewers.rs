//! Viewers that only count: what RTP there is is not decrypted, so that this costs next to nothing beside the server.
use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use str0m::{Event, Input, media::Direction};

use crate::{Error, peer::Peer};

#[derive(Default)]
struct Seen {
    /// Viewers that have got a packet.
    begun: AtomicUsize,
    /// Whether it counts.
    counts: AtomicBool,
    packets: AtomicU64,
    bytes: AtomicU64,
    /// Sequence numbers that were left out.
    missing: AtomicU64,
    ended: AtomicBool,
}

pub fn run(whep: &str, token: &str, count: usize, seconds: f64) -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(all(whep, token, count, seconds))
}

async fn all(whep: &str, token: &str, count: usize, seconds: f64) -> Result<(), Error> {
    let seen: &'static Seen = Box::leak(Box::default());
    let mut tasks = Vec::new();
    for _ in 0..count {
        let peer = Peer::agree(whep, token, Direction::RecvOnly)?;
        tasks.push(tokio::spawn(async move { view(peer, seen).await }));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let end = Instant::now() + Duration::from_secs(30);
    while seen.begun.load(Relaxed) < count {
        if Instant::now() > end {
            return Err(format!("{} of {count} viewers got anything", seen.begun.load(Relaxed)).into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What a beginning costs is not what is asked.
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("{{}}");
    seen.counts.store(true, Relaxed);
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    seen.counts.store(false, Relaxed);
    let took = begun.elapsed().as_secs_f64();
    println!(
        "{}",
        serde_json::json!({
            "viewers": count, "seconds": took, "packets": seen.packets.load(Relaxed), "bytes": seen.bytes.load(Relaxed),
            "missing": seen.missing.load(Relaxed),
        })
    );
    seen.ended.store(true, Relaxed);
    for t in tasks {
        t.await??;
    }
    Ok(())
}

/// RTP's (RFC 5761 §4): the first byte 128 to 191, the payload type none that RTCP has.
fn is_rtp(data: &[u8]) -> bool {
    data.len() > 12 && (128..192).contains(&data[0]) && !(64..96).contains(&(data[1] & 0x7f))
}

async fn view(mut peer: Peer, seen: &'static Seen) -> Result<(), Error> {
    let own = peer.socket.try_clone()?;
    own.set_nonblocking(true)?;
    let socket = tokio::net::UdpSocket::from_std(own)?;
    let (mut buffer, mut last, mut over) = ([0; 2000], None::<u16>, false);
    while !seen.ended.load(Relaxed) {
        let wait = peer.turn(|e| over |= matches!(e, Event::Closed))?;
        if over {
            return Err("a viewer was sent away".into());
        }
        let mut wanted = None;
        // What is counted needs no look at the protocol, which has its own times.
        let timer = tokio::time::sleep_until(wait.min(Instant::now() + Duration::from_secs(1)).into());
        tokio::pin!(timer);
        while wanted.is_none() {
            tokio::select! {
                got = socket.recv_from(&mut buffer) => {
                    let (n, from) = got?;
                    let data = &buffer[..n];
                    if !is_rtp(data) {
                        wanted = (!(128..192).contains(&data[0])).then_some((n, from));
                        continue;
                    }
                    let number = u16::from_be_bytes([data[2], data[3]]);
                    let gap = last.map_or(0, |l| number.wrapping_sub(l).wrapping_sub(1));
                    if last.is_none() {
                        seen.begun.fetch_add(1, Relaxed);
                    }
                    last = Some(number);
                    if seen.counts.load(Relaxed) {
                        seen.packets.fetch_add(1, Relaxed);
                        seen.bytes.fetch_add(n as u64, Relaxed);
                        // What comes late is no gap.
                        seen.missing.fetch_add(if gap < 0x8000 { gap.into() } else { 0 }, Relaxed);
                    }
                }
                () = &mut timer => break,
            }
        }
        match wanted {
            Some((n, from)) => peer.receive(Instant::now(), from, &buffer[..n])?,
            None => peer.rtc.handle_input(Input::Timeout(Instant::now()))?,
        }
    }
    Ok(())
}
