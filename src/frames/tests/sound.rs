//! Sound: what a decoder makes of what was encoded lies where it was.
#![cfg(feature = "ffmpeg")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use bytes::Bytes;
use common::{frames, options};
use frames::FramesError;
use media::Codec;

const HZ: f64 = 440.0;

fn tone(rate: u32, samples: usize) -> Vec<i16> {
    let at = |n: usize| (n as f64 / f64::from(rate) * HZ * std::f64::consts::TAU).sin();
    (0..samples).map(|n| (at(n) * 12_000.0) as i16).collect()
}

fn samples(data: &[u8]) -> Vec<i16> {
    data.as_chunks::<2>().0.iter().map(|b| i16::from_le_bytes(*b)).collect()
}

#[tokio::test]
async fn opus_is_in_its_place() {
    let frames = frames(options());
    for (rate, channels) in [(8_000, 1), (16_000, 1), (48_000, 2)] {
        let one = tone(rate, rate as usize);
        let input: Vec<i16> = one.iter().flat_map(|s| vec![*s; channels]).collect();
        let packets = frames.opus(&input, rate, channels as u8).await.unwrap();
        let numbers: Vec<_> = packets.iter().map(|p| p.number).collect();
        assert_eq!(numbers[..50], (0..50).collect::<Vec<_>>(), "{rate}");
        let data: Vec<Bytes> = packets.into_iter().map(|p| p.data).collect();
        let back = frames.pcm(Codec::Opus, &data, 48_000, 1).await.unwrap();
        let want = tone(48_000, 48_000);
        let (mut power, mut noise) = (0.0, 0.0);
        // Once it has settled, and before what is not whole.
        for p in back.iter().filter(|p| (10..45).contains(&p.number)) {
            let have = samples(&p.data);
            assert_eq!(have.len(), 960);
            for (a, b) in want[p.number as usize * 960..].iter().zip(have) {
                power += f64::from(*a).powi(2);
                noise += (f64::from(*a) - f64::from(b)).powi(2);
            }
        }
        let db = 10.0 * (power / noise).log10();
        assert!(power > 0.0 && db > 25.0, "{rate}: {db} dB");
    }
}

#[tokio::test]
async fn what_cannot_be_decoded_is_said() {
    let frames = frames(options());
    let junk = [Bytes::from_static(&[0xff; 40]), Bytes::new()];
    assert!(matches!(
        frames.pcm(Codec::Other(*b"ac-3"), &junk, 48_000, 2).await,
        Err(FramesError::Undecodable(_))
    ));
    let other = frames.pcm(Codec::Other(*b"what"), &junk, 48_000, 2).await;
    assert!(matches!(other, Err(FramesError::Unsupported(_))));
    assert!(matches!(frames.opus(&[0; 100], 44_100, 1).await, Err(FramesError::Unsupported(_))));
    // It is of one rate: what says another is not believed.
    let packets = frames.opus(&tone(48_000, 48_000), 48_000, 1).await.unwrap();
    let data: Vec<Bytes> = packets.into_iter().map(|p| p.data).collect();
    assert!(matches!(frames.pcm(Codec::Opus, &data, 8_000, 1).await, Err(FramesError::Unsupported(_))));
    assert_eq!(frames.stats().lost, 0, "no worker was lost over it");
}
