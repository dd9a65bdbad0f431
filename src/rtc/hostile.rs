//! What the fuzz targets (`fuzz/`) and this room's own tests do with arbitrary bytes. A panic here is a bug.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use media::Track;
use str0m::net::Protocol;

use crate::{
    peer::{Ground, Peer, Turn},
    play, publish, sdp, signaling,
};

fn server_at() -> SocketAddr {
    ([192, 0, 2, 1], 8555).into()
}

fn some_h264() -> Vec<Arc<Track>> {
    let sps = [
        0x67, 0x4d, 0x40, 0x28, 0xec, 0xa0, 0x3c, 0x01, 0x13, 0xf2, 0xe0, 0x22, 0, 0, 3, 0, 2, 0, 0, 3, 0,
        0x64, 0x1e, 0x30, 0x63, 0x2c,
    ];
    let track = media::h264::track_from_parameter_sets(1, &[&sps], &[&[0x68, 0xce, 0x0f, 0xc8]]);
    track.map(Arc::new).into_iter().collect()
}

#[allow(clippy::disallowed_methods, reason = "an origin: nothing is measured")]
fn now() -> Instant {
    Instant::now()
}

/// So many turns that a peer which never waits would be noticed.
fn settle(peer: &mut Peer) {
    for _ in 0..1000 {
        if matches!(peer.turn(), Turn::Wait(_) | Turn::Over(_)) {
            return;
        }
    }
    panic!("the peer does not come to rest");
}

/// A session description: as an offer of a publisher, as a restarted one, as an answer to each kind of offer of ours, as a
/// fragment for trickling.
pub fn description(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (Ok(ground), at, now) = (Ground::new([7; 16]), [server_at()], now()) else { return };
    let _ = (sdp::fragment(&text), sdp::ice_of(&text), sdp::complete(&text, &text));
    if let Ok((mut peer, _)) = publish::negotiate(&ground, &text, &at, now) {
        if let Ok(answer) = peer.restart("abcd", "0123456789abcdef01234567", now) {
            assert!(sdp::fragment(&answer).is_ok_and(|f| f.ufrag.is_some() && f.pwd.is_some()));
        }
        settle(&mut peer);
    }
    if let Ok((mut peer, _)) = publish::propose(&ground, &at, now) {
        let _ = publish::agreed(&mut peer, &text, now);
        settle(&mut peer);
    }
    let tracks = some_h264();
    if let Ok((mut peer, _)) = play::propose(&ground, &tracks, &at, now) {
        let _ = play::agreed(&ground, &mut peer, &tracks, &text, now);
        settle(&mut peer);
    }
}

/// Packets for a publisher's session that was just agreed upon: each after two bytes of length.
pub fn packets(data: &[u8]) {
    let (Ok(ground), now) = (Ground::new([7; 16]), now()) else { return };
    let Ok((_, offer)) = play::propose(&ground, &some_h264(), &[server_at()], now) else { return };
    // As one who is not ICE-lite would offer.
    let offer = offer.replace("a=ice-lite\r\n", "");
    let Ok((mut peer, _)) = publish::negotiate(&ground, &offer, &[server_at()], now) else {
        panic!("our own offer is refused");
    };
    let mut rest = data;
    while let Some((head, after)) = rest.split_at_checked(2) {
        let n = usize::from(u16::from_be_bytes([head[0], head[1]])).min(after.len());
        let (packet, next) = after.split_at(n);
        peer.receive(now, Protocol::Udp, ([192, 0, 2, 2], 5000).into(), packet);
        settle(&mut peer);
        rest = next;
    }
}

/// A message of a signaling client, and the description in its payload.
pub fn signaling(data: &[u8]) {
    signaling::hostile(&String::from_utf8_lossy(data));
}
