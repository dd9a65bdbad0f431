//! Viewers whose link is slower than the camera: less is sent, whole; and those on networks that are only bad, who get it all.

use std::{collections::BTreeSet, time::Duration};

use str0m::{
    Event,
    media::{Direction, MediaKind},
};

use super::{lossy::shown, *};
use crate::{
    link::Verdict,
    play::{self, Sent},
};

const FRAME: Duration = Duration::from_millis(40);

/// What became of a viewer's pictures.
struct Saw {
    /// When what was judged, in seconds.
    verdicts: Vec<(u32, Verdict)>,
    /// Second by second: pictures that were sent, and that came with all that they are made from.
    sent: Vec<u32>,
    came: Vec<u32>,
}

impl Saw {
    /// In a hundred of those sent, from one second to another.
    fn shown(&self, from: usize, to: usize) -> u32 {
        let sum = |all: &[u32]| all[from..to].iter().sum::<u32>();
        sum(&self.came) * 100 / sum(&self.sent).max(1)
    }
}

/// Watches what is so many times as large as usual; the link carries so many bytes a second until then, and then all.
fn watches(
    seed: u64,
    (loss, jitter): (u64, u64),
    times: usize,
    narrow: Option<(u64, u32)>,
    seconds: u32,
) -> Saw {
    let (ground, now, track) = (ground(), instants().now(), h264());
    let config = ground.config().enable_h264(true);
    let client = Client::new(config, &[MediaKind::Video], Direction::RecvOnly, now);
    let tracks = [track.clone()];
    let (peer, mut play) = play::negotiate(&ground, &client.offer, &tracks, &[server_at()], now).unwrap();
    let mut pair = Pair::new(peer, client, now, network(seed, 0, jitter));
    pair.connect();
    pair.network.loss = loss;
    pair.network.narrow = narrow.map(|n| (n.0, Duration::from_millis(400)));
    let begun = pair.now;
    let mut saw = Saw { verdicts: vec![], sent: vec![0; seconds as usize], came: vec![0; seconds as usize] };
    let (mut went, mut got) = (Vec::new(), BTreeSet::new());
    for n in 0..seconds * 25 {
        if narrow.is_some_and(|w| w.1 == n / 25) {
            pair.network.narrow = None;
        }
        let sent = play.send(&mut pair.server, &larger(&track, n, times), pair.now);
        assert!(matches!(sent, Sent::Yes | Sent::Waits), "{sent:?}");
        went.extend((sent == Sent::Yes).then_some(n));
        pair.run(begun + FRAME * (n + 1));
        for e in pair.at_server.drain(..) {
            if let Event::MediaEgressStats(s) = e {
                let verdict = play.reported(&mut pair.server, &s).filter(|v| *v != Verdict::More);
                saw.verdicts.extend(verdict.map(|v| (n / 25, v)));
            }
        }
        pair.when.clear();
        got.extend(shown(&pair.at_client));
        pair.at_client.clear();
    }
    let mut whole = false;
    for n in went {
        whole = got.contains(&n) && (whole || n % 50 == 0);
        saw.sent[(n / 25) as usize] += 1;
        saw.came[(n / 25) as usize] += u32::from(whole);
    }
    saw
}

#[test]
fn a_viewer_on_a_bad_network_is_sent_everything() {
    for times in [1, 4] {
        for (loss, jitter) in [(0, 0), (0, 200), (5, 0), (5, 50), (5, 200), (8, 100)] {
            for seed in 41..45 {
                let saw = watches(seed, (loss, jitter), times, None, 60);
                assert_eq!(saw.verdicts, [], "{loss} %, {jitter} ms, {times} times, seed {seed}");
                assert!(saw.sent.iter().all(|n| *n == 25));
            }
        }
    }
}

#[test]
fn a_viewer_on_a_slow_link_is_sent_what_it_carries() {
    // 2.7 Mbit/s over 2 and 1, for a minute.
    for (rate, loss, jitter) in [(250_000, 0, 0), (125_000, 0, 0), (125_000, 2, 30)] {
        for seed in 51..53 {
            let saw = watches(seed, (loss, jitter), 4, Some((rate, 60)), 200);
            let (sent, came) = (&saw.sent, &saw.came);
            let why = format!(
                "{rate} B/s, {loss} %, seed {seed}: {:?}\nsent {sent:?}\ncame {came:?}",
                saw.verdicts
            );
            assert!(
                matches!(saw.verdicts[0], (5..12, Verdict::Slow(r)) if r < rate && r > rate / 2),
                "{why}"
            );
            // Most of what is sent can be shown, where hardly any could when all was.
            assert!(saw.shown(9, 60) > 40 && saw.shown(9, 60) > 2 * saw.shown(2, 6), "{why}");
            assert_eq!(saw.verdicts.last().map(|v| v.1), Some(Verdict::Carries), "{why}");
            assert!(sent[190..].iter().all(|n| *n == 25) && (loss > 0 || saw.shown(190, 199) > 99), "{why}");
        }
    }
}

#[test]
fn a_network_that_loses_whatever_is_sent_is_not_a_slow_one() {
    for seed in [61, 62] {
        let saw = watches(seed, (40, 10), 4, None, 120);
        assert_eq!(saw.verdicts.last().map(|v| v.1), Some(Verdict::Carries), "{:?}", saw.verdicts);
        assert!(saw.sent[60..].iter().all(|n| *n == 25), "{:?}", saw.verdicts);
    }
}
