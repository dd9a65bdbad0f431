//! What comes out: against FFmpeg's own command, by a measure of the difference.
#![cfg(feature = "ffmpeg")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use bytes::Bytes;
use common::{ffmpeg, frames, h264, job, options, pixels, psnr};
use frames::{Format, FramesError, Job};
use media::{Codec, Framing, nals};

/// The same units with their lengths in front, and `avcC` of the parameter sets.
fn lengths(annex_b: &[u8]) -> (Bytes, Bytes) {
    let (mut sps, mut pps, mut data) = (vec![], vec![], vec![]);
    for nal in nals(Framing::AnnexB, annex_b).map(Result::unwrap) {
        match nal[0] & 0x1f {
            7 => sps = nal.to_vec(),
            8 => pps = nal.to_vec(),
            _ => {
                data.extend_from_slice(&(nal.len() as u32).to_be_bytes());
                data.extend_from_slice(nal);
            }
        }
    }
    let mut config = vec![1, sps[1], sps[2], sps[3], 0xff, 0xe1];
    for (set, more) in [(&sps, Some(1)), (&pps, None)] {
        config.extend_from_slice(&(set.len() as u16).to_be_bytes());
        config.extend_from_slice(set);
        config.extend(more);
    }
    (config.into(), data.into())
}

#[tokio::test]
async fn a_key_frame_looks_as_ffmpeg_shows_it() {
    let frames = frames(options());
    let clip = h264("testsrc2=size=640x360:rate=1", 1);
    let want = ffmpeg("-f h264 -i pipe:0 -f rawvideo -pix_fmt rgb24", &clip);
    let p = frames.picture(job(clip.clone())).await.unwrap();
    assert_eq!((p.width, p.height), (640, 360));
    let db = psnr(&pixels(&p), &want);
    assert!(db > 36.0, "{db} dB");

    // Lengths and avcC give the same bytes.
    let (config, data) = lengths(&clip);
    let same = Job { config, data, framing: Framing::Length(4), ..job(clip.clone()) };
    assert_eq!(frames.picture(same).await.unwrap(), p);

    // Scaled down, with the aspect kept, even, and never up.
    let small = frames.picture(Job { width: Some(215), ..job(clip.clone()) }).await.unwrap();
    assert_eq!((small.width, small.height), (216, 120));
    let want = ffmpeg("-f h264 -i pipe:0 -vf scale=216:120:flags=area -f rawvideo -pix_fmt rgb24", &clip);
    let db = psnr(&pixels(&small), &want);
    assert!(db > 30.0, "{db} dB");
    let large = frames.picture(Job { width: Some(8000), ..job(clip.clone()) }).await.unwrap();
    assert_eq!((large.width, large.height), (640, 360));
    let tiny = frames.picture(Job { width: Some(1), ..job(clip.clone()) }).await.unwrap();
    assert_eq!((tiny.width, tiny.height), (16, 16));

    // Quality is worth its bytes.
    let mut last = (0, 0.0);
    let want = ffmpeg("-f h264 -i pipe:0 -f rawvideo -pix_fmt rgb24", &clip);
    for quality in [10, 50, 80, 100] {
        let p = frames.picture(Job { format: Format::Jpeg { quality }, ..job(clip.clone()) }).await.unwrap();
        let now = (p.bytes.len(), psnr(&pixels(&p), &want));
        assert!(now.0 > last.0 && now.1 > last.1, "{quality}: {now:?} after {last:?}");
        last = now;
    }
    assert_eq!(frames.stats().started, 1);
    frames.shutdown().await;
}

#[tokio::test]
async fn the_last_of_several_pictures_is_shown() {
    let frames = frames(options());
    // With B-frames: the last to be decoded is not the last to be shown.
    let clip: Bytes = ffmpeg(
        "-f lavfi -i testsrc2=size=320x180:rate=5 -frames:v 8 -c:v libx264 -bf 0 -g 100 -slices 3 -f h264",
        &[],
    )
    .into();
    let all = ffmpeg("-f h264 -i pipe:0 -f rawvideo -pix_fmt rgb24", &clip);
    let size = 320 * 180 * 3;
    assert_eq!(all.len(), 8 * size);
    let p = frames.picture(job(clip)).await.unwrap();
    let shown: Vec<f64> = all.chunks(size).map(|f| psnr(f, &pixels(&p))).collect();
    assert!(shown[7] > 34.0 && shown[..7].iter().all(|s| *s < shown[7] - 3.0), "{shown:?}");
    frames.shutdown().await;
}

#[tokio::test]
async fn frames_without_nal_units_are_shown() {
    let frames = frames(options());
    for (codec, encoder, form) in [
        (Codec::VP8, "libvpx -crf 4 -b:v 5M", "ivf"),
        (Codec::VP9, "libvpx-vp9 -crf 10 -b:v 0", "ivf"),
        (Codec::AV1, "libaom-av1 -crf 10 -cpu-used 8", "obu"),
    ] {
        let source = "-f lavfi -i testsrc2=size=320x180:rate=1 -frames:v 1 -pix_fmt yuv420p";
        let clip: Bytes = ffmpeg(&format!("{source} -c:v {encoder} -f {form}"), &[]).into();
        let want = ffmpeg(&format!("-f {form} -i pipe:0 -f rawvideo -pix_fmt rgb24"), &clip);
        // A file's and a frame's head.
        let data = if form == "ivf" { clip.slice(32 + 12..) } else { clip };
        let p = frames.picture(Job { codec, framing: Framing::Raw, ..job(data.clone()) }).await.unwrap();
        assert_eq!((p.width, p.height), (320, 180));
        let db = psnr(&pixels(&p), &want);
        assert!(db > 32.0, "{codec:?}: {db} dB");
        let cut = Job { codec, framing: Framing::Raw, ..job(data.slice(..20)) };
        assert!(matches!(frames.picture(cut).await, Err(FramesError::Undecodable(_))), "{codec:?}");
        assert!(frames.picture(Job { codec, ..job(data) }).await.is_err(), "not framed so");
    }
    frames.shutdown().await;
}

#[tokio::test]
async fn colours_and_shapes_are_right() {
    let frames = frames(options());
    // BT.709, as cameras send high definition: it must be brought to a JPEG's BT.601.
    let clip: Bytes = ffmpeg(
        "-f lavfi -i smptehdbars=size=1280x720:rate=1 -frames:v 1 -vf scale=out_color_matrix=bt709,format=yuv420p \
         -colorspace bt709 -color_primaries bt709 -color_trc bt709 -c:v libx264 -preset ultrafast -crf 10 -f h264",
        &[],
    )
    .into();
    let want = ffmpeg("-f h264 -i pipe:0 -vf scale=in_color_matrix=bt709 -f rawvideo -pix_fmt rgb24", &clip);
    let p = frames.picture(job(clip)).await.unwrap();
    let db = psnr(&pixels(&p), &want);
    assert!(db > 34.0, "{db} dB");

    // 10-bit H.265.
    let clip: Bytes = ffmpeg(
        "-f lavfi -i testsrc2=size=320x180:rate=1 -frames:v 1 -pix_fmt yuv420p10le -c:v libx265 \
         -x265-params log-level=none:crf=10 -f hevc",
        &[],
    )
    .into();
    let want = ffmpeg("-f hevc -i pipe:0 -f rawvideo -pix_fmt rgb24", &clip);
    let p = frames.picture(Job { codec: Codec::H265, ..job(clip) }).await.unwrap();
    let db = psnr(&pixels(&p), &want);
    assert!(db > 34.0, "{db} dB");

    // Pixels that are not square, full range, 4:2:2, and an odd height (cropped).
    let clip: Bytes = ffmpeg(
        "-f lavfi -i testsrc2=size=720x576:rate=1 -frames:v 1 -vf setsar=16/11 -c:v libx264 -f h264",
        &[],
    )
    .into();
    let p = frames.picture(job(clip)).await.unwrap();
    assert_eq!((p.width, p.height), (720, 396));
    for form in ["yuvj420p", "yuv422p", "yuv444p"] {
        let clip: Bytes = ffmpeg(
            &format!("-f lavfi -i testsrc2=size=322x182:rate=1 -frames:v 1 -pix_fmt {form} -c:v libx264 -crf 10 -f h264"),
            &[],
        )
        .into();
        let want = ffmpeg("-f h264 -i pipe:0 -f rawvideo -pix_fmt rgb24", &clip);
        let p = frames.picture(job(clip)).await.unwrap();
        let db = psnr(&pixels(&p), &want);
        assert!(db > 30.0, "{form}: {db} dB");
    }
    frames.shutdown().await;
}

#[tokio::test]
async fn damage_is_said_in_words_and_costs_no_worker() {
    let frames = frames(options());
    let clip = h264("testsrc2=size=320x180:rate=1", 1);
    let good = frames.picture(job(clip.clone())).await.unwrap();

    // No parameter sets: nothing can be decoded.
    let (_, data) = lengths(&clip);
    let e = frames.picture(Job { framing: Framing::Length(4), ..job(data) }).await.unwrap_err();
    assert!(matches!(e, FramesError::Undecodable(_)), "{e:?}");
    let e = frames.picture(job(Bytes::from_static(b"not a picture"))).await.unwrap_err();
    assert!(matches!(e, FramesError::Undecodable(_)), "{e:?}");
    let e = frames.picture(Job { codec: Codec::H265, ..job(clip.clone()) }).await.unwrap_err();
    assert!(matches!(e, FramesError::Undecodable(_)), "{e:?}");

    // Bits turned over, ends cut off: a picture as far as it goes, or words.
    let mut seed = 1u32;
    for round in 0..60 {
        let mut bad = clip.to_vec();
        for _ in 0..20 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = seed as usize % bad.len();
            bad[at] ^= 1 << (seed >> 29);
        }
        bad.truncate(bad.len() - round * bad.len() / 100);
        match frames.picture(job(bad.into())).await {
            Ok(_)
            | Err(FramesError::Undecodable(_) | FramesError::TooLarge(_) | FramesError::Unsupported(_)) => {}
            Err(e) => panic!("round {round}: {e:?}"),
        }
    }
    assert_eq!(frames.picture(job(clip)).await.unwrap(), good);
    assert_eq!((frames.stats().started, frames.stats().lost), (1, 0));
    frames.shutdown().await;
}

#[tokio::test]
async fn impossible_jobs_are_refused_before_a_worker_sees_them() {
    let frames = frames(options());
    let with = |f: fn(&mut Job)| {
        let mut job = job(Bytes::from_static(&[0, 0, 1, 0x65]));
        f(&mut job);
        frames.picture(job)
    };
    let e = with(|j| j.data = vec![0; frames::MAX_INPUT + 1].into()).await.unwrap_err();
    assert!(matches!(e, FramesError::TooLarge(_)), "{e:?}");
    let e = with(|j| j.config = vec![0; frames::MAX_CONFIG + 1].into()).await.unwrap_err();
    assert!(matches!(e, FramesError::TooLarge(_)), "{e:?}");
    let e = with(|j| j.format = Format::Jpeg { quality: 0 }).await.unwrap_err();
    assert!(matches!(e, FramesError::Invalid(_)), "{e:?}");
    let e = with(|j| j.framing = Framing::Length(3)).await.unwrap_err();
    assert!(matches!(e, FramesError::Invalid(_)), "{e:?}");
    let e = with(|j| j.codec = Codec::Aac).await.unwrap_err();
    assert!(matches!(e, FramesError::Unsupported(_)), "{e:?}");
    assert_eq!(frames.stats().started, 0);
}
