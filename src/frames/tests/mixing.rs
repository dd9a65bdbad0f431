//! Sounds that are mixed: each is in every mix but its own, as loud as it was.
#![cfg(feature = "ffmpeg")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{f64::consts::TAU, process::Command};

use bytes::Bytes;
use common::{frames, options, wait_until};
use frames::{Blend, Frames, FramesError, Mixer, NOBODY, Options, Part};
use media::Codec;

const RATE: f64 = 48_000.0;
/// Of who has the numbers 1, 2 and 3. Whole periods fit into 20 ms, so that none is heard in another's place.
const TONES: [f64; 3] = [450.0, 1_000.0, 1_700.0];

/// A second of a tone, as packets of 20 ms.
async fn tone(frames: &Frames, hz: f64, loud: f64) -> Vec<Bytes> {
    let at = |n: i32| ((f64::from(n) / RATE * hz * TAU).sin() * loud) as i16;
    let samples: Vec<i16> = (0..49_920).map(at).collect();
    frames.opus(&samples, 48_000, 1).await.unwrap().into_iter().map(|p| p.data).collect()
}

/// How loud a tone is in what packets (10 to 45 of them, once all has settled) decode to.
async fn loud(frames: &Frames, packets: &[Bytes], hz: f64) -> f64 {
    let back = frames.pcm(Codec::Opus, packets, 48_000, 1).await.unwrap();
    let settled = back.iter().filter(|p| (10..45).contains(&p.number));
    let bytes: Vec<u8> = settled.flat_map(|p| p.data.to_vec()).collect();
    let samples: Vec<f64> =
        bytes.as_chunks::<2>().0.iter().map(|b| f64::from(i16::from_le_bytes(*b))).collect();
    assert!(samples.len() > 16_000, "{} samples", samples.len());
    let part = |f: fn(f64) -> f64| -> f64 {
        let all = samples.iter().enumerate().map(|(n, s)| s * f(n as f64 / RATE * hz * TAU));
        all.sum::<f64>() * 2.0 / samples.len() as f64
    };
    part(f64::sin).hypot(part(f64::cos))
}

fn part(who: u32, packets: &[Bytes]) -> Part {
    Part { who, packets: packets.to_vec() }
}

/// A second of blends: what comes of each mix.
async fn mixed(mixer: &mut Mixer, said: &[Vec<Bytes>], without: &[u32], desk: u8) -> Vec<Vec<Bytes>> {
    let mut out = vec![Vec::new(); without.len()];
    for n in 0..50 {
        let parts = said.iter().zip(1..).map(|(s, who)| part(who, &s[n..=n])).collect();
        let blend = Blend { desk, samples: 960, parts, without: without.to_vec() };
        let made = mixer.blend(&blend).await.unwrap();
        out.iter_mut().zip(made).for_each(|(o, p)| o.push(p));
    }
    out
}

#[tokio::test]
async fn everybody_is_in_all_mixes_but_the_own() {
    let frames = frames(options());
    let mut said = Vec::new();
    for hz in TONES {
        said.push(tone(&frames, hz, 8_000.0).await);
    }
    let mut mixer = frames.mixer().await.unwrap();
    let without = [NOBODY, 2, 3];
    let all = mixed(&mut mixer, &said, &without, 0).await;
    for (mix, out) in without.iter().zip(&all) {
        assert!(out.iter().all(|p| p.len() < 500), "a packet is no larger than what RTP carries");
        for (hz, who) in TONES.into_iter().zip(1..) {
            let heard = loud(&frames, out, hz).await;
            let wanted = if who == *mix { 0.0..80.0 } else { 7_000.0..9_000.0 };
            assert!(wanted.contains(&heard), "{hz} Hz is {heard} in the mix without {mix}");
        }
    }
    // The other desk knows nothing of it, and who is in no blend any more is forgotten.
    let two = mixed(&mut mixer, &said[..2], &[1], 1).await;
    assert!(loud(&frames, &two[0], TONES[0]).await < 80.0);
    assert!((7_000.0..9_000.0).contains(&loud(&frames, &two[0], TONES[1]).await));
}

#[tokio::test]
async fn what_is_too_loud_is_cut_off() {
    let frames = frames(options());
    let said = vec![tone(&frames, 450.0, 28_000.0).await; 3];
    let mut mixer = frames.mixer().await.unwrap();
    let all = mixed(&mut mixer, &said, &[NOBODY], 0).await;
    // Close to a square wave, of which the tone is 4/π. What wraps around would have next to nothing of it.
    let heard = loud(&frames, &all[0], 450.0).await;
    assert!(heard > 34_000.0, "{heard}");
}

#[tokio::test]
async fn packets_of_other_lengths_wait_for_their_turn() {
    let frames = frames(options());
    let said = tone(&frames, 1_000.0, 8_000.0).await;
    let mut mixer = frames.mixer().await.unwrap();
    for (samples, every) in [(480u16, 2), (1_920, 1)] {
        let mut out = Vec::new();
        for n in 0..if samples == 480 { 100 } else { 25 } {
            let packets = match every {
                2 if n % 2 == 1 => vec![],
                2 => said[n / 2..=n / 2].to_vec(),
                _ => said[n * 2..n * 2 + 2].to_vec(),
            };
            let blend = Blend { desk: 0, samples, parts: vec![part(1, &packets)], without: vec![NOBODY] };
            out.extend(mixer.blend(&blend).await.unwrap());
        }
        // As they are numbered: of other lengths than `loud` thinks, but there are enough of them.
        let all: Vec<Bytes> = if samples == 480 { out } else { [out.clone(), out].concat() };
        let heard = loud(&frames, &all, 1_000.0).await;
        assert!((7_000.0..9_000.0).contains(&heard), "{samples}: {heard}");
    }
}

#[tokio::test]
async fn nonsense_is_silence() {
    let frames = frames(options());
    let said = tone(&frames, 450.0, 8_000.0).await;
    let mut mixer = frames.mixer().await.unwrap();
    let junk = [Bytes::from_static(&[0xff; 900]), Bytes::new(), Bytes::from_static(&[0xfb, 0xff, 1])];
    let mut out = Vec::new();
    for n in 0..50 {
        let parts = vec![part(1, &said[n..=n]), part(2, &junk)];
        let blend = Blend { desk: 0, samples: 960, parts, without: vec![NOBODY] };
        out.extend(mixer.blend(&blend).await.unwrap());
    }
    let heard = loud(&frames, &out, 450.0).await;
    assert!((7_000.0..9_000.0).contains(&heard), "{heard}");
    let bad = Blend { desk: 9, samples: 960, parts: vec![part(1, &said[..1])], without: vec![NOBODY] };
    assert!(matches!(mixer.blend(&bad).await, Err(FramesError::Invalid(_))));
    let good = Blend { desk: 0, ..bad };
    assert!(mixer.blend(&good).await.is_ok(), "it is none the worse for that");
}

#[tokio::test]
async fn there_are_so_many_and_the_dead_are_replaced() {
    let frames = frames(Options { mixers: 1, ..options() });
    let said = tone(&frames, 450.0, 8_000.0).await;
    let blend = Blend { desk: 0, samples: 960, parts: vec![part(1, &said[..1])], without: vec![NOBODY] };
    let before = frames.stats().pids;
    let mut mixer = frames.mixer().await.unwrap();
    assert!(matches!(frames.mixer().await, Err(FramesError::Busy)));
    assert!(mixer.blend(&blend).await.is_ok());
    let pid = frames.stats().pids.into_iter().find(|p| !before.contains(p)).unwrap();
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    assert!(matches!(mixer.blend(&blend).await, Err(FramesError::Died(_))));
    assert!(matches!(mixer.blend(&blend).await, Err(FramesError::Died(_))), "and it stays dead");
    drop(mixer);
    wait_until("it is forgotten", || !frames.stats().pids.contains(&pid)).await;
    let mut again = frames.mixer().await.unwrap();
    assert!(again.blend(&blend).await.is_ok());
    drop(again);
    frames.shutdown().await;
    assert!(matches!(frames.mixer().await, Err(FramesError::ShutDown)));
}
