//! From a job's bytes to what a decoder takes: one packet for each picture, framed by start codes.
//!
//! FFmpeg would take `avcC` and `hvcC` as they are, but only beside payloads framed by lengths; start codes with the
//! parameter sets in front serve every framing.

use media::{Codec, nals};

use crate::{FramesError, Job};

/// How many pictures one job may decode: a long group of pictures, and far from what hostile input could ask for.
const MAX_PICTURES: usize = 2000;

/// The job's access units, of codecs with NAL units each as an Annex B byte stream; the first begins with the configuration's parameter
/// sets. What follows a break in the framing is left out. At least one.
pub(crate) fn packets(job: &Job) -> Result<Vec<Vec<u8>>, FramesError> {
    if !job.codec.has_nals() {
        return match job.data.is_empty() {
            true => Err(FramesError::Undecodable("there is no picture in the data".into())),
            false => Ok(vec![job.data.to_vec()]),
        };
    }
    let mut packets = Vec::new();
    let mut now = Vec::new();
    for nal in parameter_sets(job.codec, &job.config) {
        put(&mut now, nal);
    }
    // Whether `now` has a slice of a picture yet.
    let mut shown = false;
    for nal in nals(job.framing, &job.data).map_while(Result::ok) {
        let role = role(job.codec, nal);
        if shown && matches!(role, Role::First | Role::Before) {
            packets.push(std::mem::take(&mut now));
            shown = false;
            if packets.len() >= MAX_PICTURES {
                return Err(FramesError::TooLarge(format!(
                    "more than {MAX_PICTURES} pictures to decode for one"
                )));
            }
        }
        shown |= matches!(role, Role::First | Role::More);
        put(&mut now, nal);
    }
    if shown {
        packets.push(now);
    }
    if packets.is_empty() {
        return Err(FramesError::Undecodable("there is no picture in the data".into()));
    }
    Ok(packets)
}

fn put(out: &mut Vec<u8>, nal: &[u8]) {
    out.extend_from_slice(&[0, 0, 0, 1]);
    out.extend_from_slice(nal);
}

/// What a NAL unit says of where pictures begin (ITU-T H.264 §7.4.1.2.3, H.265 §7.4.2.4.4).
enum Role {
    /// The first slice of a picture.
    First,
    /// Another slice.
    More,
    /// Begins a picture's access unit if there was a slice before.
    Before,
    /// Stays with the picture before it.
    Other,
}

fn role(codec: Codec, nal: &[u8]) -> Role {
    let head = nal.first().copied().unwrap_or(0);
    if codec == Codec::H264 {
        match head & 0x1f {
            // first_mb_in_slice, ue(v), is 0 where its first bit is set.
            1 | 2 | 5 if nal.get(1).is_some_and(|b| b & 0x80 != 0) => Role::First,
            1..=5 => Role::More,
            6..=9 | 14..=18 => Role::Before,
            _ => Role::Other,
        }
    } else {
        match head >> 1 & 0x3f {
            // first_slice_segment_in_pic_flag.
            0..=31 if nal.get(2).is_some_and(|b| b & 0x80 != 0) => Role::First,
            0..=31 => Role::More,
            32..=35 | 39 | 41..=44 | 48..=55 => Role::Before,
            _ => Role::Other,
        }
    }
}

/// The NAL units in `avcC` (ISO/IEC 14496-15 §5.3.3.1.2) or `hvcC` (§8.3.3.1.2); as far as they can be read, since a
/// decoder may find others in the data.
fn parameter_sets(codec: Codec, config: &[u8]) -> Vec<&[u8]> {
    let mut sets = Vec::new();
    let _ = if codec == Codec::H264 { avcc(config, &mut sets) } else { hvcc(config, &mut sets) };
    sets
}

fn avcc<'a>(config: &'a [u8], sets: &mut Vec<&'a [u8]>) -> Option<()> {
    let mut rest = config.get(5..)?;
    for mask in [0x1f, 0xff] {
        let (count, after) = rest.split_first()?;
        rest = after;
        for _ in 0..count & mask {
            sets.push(sized(&mut rest)?);
        }
    }
    Some(())
}

fn hvcc<'a>(config: &'a [u8], sets: &mut Vec<&'a [u8]>) -> Option<()> {
    let (arrays, mut rest) = config.get(22..)?.split_first()?;
    for _ in 0..*arrays {
        let (head, after) = rest.split_at_checked(3)?;
        rest = after;
        for _ in 0..u16::from_be_bytes([head[1], head[2]]) {
            sets.push(sized(&mut rest)?);
        }
    }
    Some(())
}

/// What a length in two bytes says.
fn sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_at_checked(2)?;
    let (nal, after) = after.split_at_checked(usize::from(u16::from_be_bytes([len[0], len[1]])))?;
    *rest = after;
    Some(nal)
}

#[cfg(test)]
mod tests {
    use media::Framing;
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::Format;

    fn job(codec: Codec, framing: Framing, config: &[u8], data: &[u8]) -> Job {
        Job {
            codec,
            config: config.to_vec().into(),
            framing,
            data: data.to_vec().into(),
            width: None,
            height: None,
            format: Format::Jpeg { quality: 80 },
        }
    }

    #[test]
    fn access_units_are_told_apart() {
        // avcC with one SPS (67 aa) and one PPS (68 bb).
        let config = [1, 0, 0, 0, 0xff, 0xe1, 0, 2, 0x67, 0xaa, 1, 0, 2, 0x68, 0xbb];
        // SEI, IDR in two slices; delimiter, P; P.
        let data = [2, 0x06, 0x01, 2, 0x65, 0x88, 2, 0x65, 0x11, 2, 0x09, 0x10, 2, 0x41, 0x9a, 2, 0x41, 0x9b];
        let start = [0, 0, 0, 1];
        let want = [
            [
                &start[..],
                &[0x67, 0xaa],
                &start,
                &[0x68, 0xbb],
                &start,
                &[0x06, 0x01],
                &start,
                &[0x65, 0x88],
                &start,
                &[0x65, 0x11],
            ]
            .concat(),
            [&start[..], &[0x09, 0x10], &start, &[0x41, 0x9a]].concat(),
            [&start[..], &[0x41, 0x9b]].concat(),
        ];
        assert_eq!(packets(&job(Codec::H264, Framing::Length(1), &config, &data)).unwrap(), want);
    }

    #[test]
    fn data_without_a_picture_is_refused() {
        for (codec, sei) in [(Codec::H264, 6), (Codec::H265, 39 << 1)] {
            let e = packets(&job(codec, Framing::AnnexB, &[], &[0, 0, 0, 1, sei, 1])).unwrap_err();
            assert!(matches!(e, FramesError::Undecodable(_)), "{e:?}");
        }
        let many = [1, 0x65].repeat(MAX_PICTURES).into_iter().chain([2, 0x65, 0x88].repeat(MAX_PICTURES + 1));
        let e = packets(&job(Codec::H264, Framing::Length(1), &[], &many.collect::<Vec<_>>())).unwrap_err();
        assert!(matches!(e, FramesError::TooLarge(_)), "{e:?}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_split_within_bounds(
            config in vec(any::<u8>(), 0..100), data in vec(any::<u8>(), 0..500), h265 in any::<bool>(),
            framing in prop_oneof![Just(Framing::AnnexB), Just(Framing::Length(1)), Just(Framing::Length(4))],
        ) {
            let codec = if h265 { Codec::H265 } else { Codec::H264 };
            if let Ok(packets) = packets(&job(codec, framing, &config, &data)) {
                let bytes: usize = packets.iter().map(Vec::len).sum();
                prop_assert!(bytes <= 5 * (config.len() + data.len()));
                prop_assert!(packets.iter().all(|p| p.starts_with(&[0, 0, 0, 1])));
            }
        }
    }
}
