//! What server and worker say to each other, over the worker's standard input and output.
//!
//! Both ways: messages of a `u32` length (little endian, as all numbers here) and so many bytes. A worker first says
//! [`HELLO`]; then each job is answered by one answer, in order. Both ends are of the same binary, so that there is
//! nothing to negotiate; the greeting finds a binary that was replaced under a running server.
//!
//! Job: codec (5 bytes), framing (1), width or 0 (2), quality or channels (1), 0 or the rate of sound (4), what is made (1: 0 JPEG, 1 AAC, 2 Opus, 3 plain sound, 4 PNG, 5 a [`Blend`](crate::Blend)),
//! height or 0 (2), length of the configuration (4), configuration, data. Answer: kind (1), then a picture's width (2), height (2) and
//! bytes, or an error's words. Of sound the bytes are packets, each its number (4), its length (4), itself; width and
//! height are 1.

use bytes::{Buf, BufMut, Bytes};
use media::{Codec, Framing};

use crate::{Format, FramesError, Job, MAX_CONFIG, MAX_INPUT, MAX_OUTPUT, Packet, Picture};

/// The worker's first message.
pub(crate) const HELLO: &[u8] = b"rushes frames 5";
/// Longest message to a worker.
pub(crate) const MAX_JOB: usize = MAX_INPUT + HEAD;
/// Longest message from a worker.
pub(crate) const MAX_ANSWER: usize = MAX_OUTPUT + 8;
/// How much of an error's words is kept.
const MAX_WORDS: usize = 1024;
/// Bytes of a job before its configuration.
const HEAD: usize = 20;

/// What a worker says of a job.
pub(crate) type Answer = Result<Picture, FramesError>;

/// The bytes of a message are not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message of the frames protocol: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// The message's length and everything up to the job's data, which follows as it is. The job has been checked.
pub(crate) fn job_head(job: &Job) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + HEAD + job.config.len());
    // Both fit: the job has been checked against MAX_INPUT.
    let len = HEAD + job.config.len() + job.data.len();
    out.put_u32_le(u32::try_from(len).unwrap_or(u32::MAX));
    let (codec, name) = match job.codec {
        Codec::H264 => (0, [0; 4]),
        Codec::H265 => (1, [0; 4]),
        Codec::Aac => (2, [0; 4]),
        Codec::Opus => (3, [0; 4]),
        Codec::Pcmu => (4, [0; 4]),
        Codec::Pcma => (5, [0; 4]),
        Codec::Other(name) => (6, name),
    };
    out.put_u8(codec);
    out.put_slice(&name);
    out.put_u8(match job.framing {
        Framing::Raw => 0,
        Framing::Length(n) => n,
        Framing::AnnexB => 0xff,
    });
    out.put_u16_le(job.width.unwrap_or(0));
    let (small, rate, form) = match job.format {
        Format::Jpeg { quality } => (quality, 0, 0),
        Format::Aac { rate, channels } => (channels, rate, 1),
        Format::Opus { rate, channels } => (channels, rate, 2),
        Format::Pcm { rate, channels } => (channels, rate, 3),
        Format::Png => (0, 0, 4),
        Format::Blend => (0, 0, 5),
    };
    out.put_u8(small);
    out.put_u32_le(rate);
    out.put_u8(form);
    out.put_u16_le(job.height.unwrap_or(0));
    out.put_u32_le(u32::try_from(job.config.len()).unwrap_or(u32::MAX));
    out.put_slice(&job.config);
    out
}

/// A job from a message's bytes. It has been checked when it comes out.
pub(crate) fn read_job(message: Bytes) -> Result<Job, Malformed> {
    let head = message.first_chunk::<HEAD>().ok_or(Malformed("a job ends within its head"))?;
    let codec = match head[0] {
        0 => Codec::H264,
        1 => Codec::H265,
        2 => Codec::Aac,
        3 => Codec::Opus,
        4 => Codec::Pcmu,
        5 => Codec::Pcma,
        6 => Codec::Other([head[1], head[2], head[3], head[4]]),
        _ => return Err(Malformed("an unknown codec")),
    };
    let framing = match head[5] {
        0 => Framing::Raw,
        0xff => Framing::AnnexB,
        n => Framing::Length(n),
    };
    let width = u16::from_le_bytes([head[6], head[7]]);
    let height = u16::from_le_bytes([head[14], head[15]]);
    let config = u32::from_le_bytes([head[16], head[17], head[18], head[19]]) as usize;
    let (rate, channels) = (u32::from_le_bytes([head[9], head[10], head[11], head[12]]), head[8]);
    let format = match head[13] {
        0 => Format::Jpeg { quality: head[8] },
        1 => Format::Aac { rate, channels },
        2 => Format::Opus { rate, channels },
        3 => Format::Pcm { rate, channels },
        4 => Format::Png,
        5 => Format::Blend,
        _ => return Err(Malformed("an unknown form")),
    };
    if config > MAX_CONFIG || HEAD + config > message.len() {
        return Err(Malformed("a configuration that is longer than the job"));
    }
    let job = Job {
        codec,
        framing,
        width: (width != 0).then_some(width),
        height: (height != 0).then_some(height),
        format,
        config: message.slice(HEAD..HEAD + config),
        data: message.slice(HEAD + config..),
    };
    job.check().map_err(|_| Malformed("a job beyond the bounds"))?;
    Ok(job)
}

/// The message's length and its bytes up to the picture's, which follow as they are.
pub(crate) fn answer_head(answer: &Answer) -> (Vec<u8>, &[u8]) {
    let mut head = Vec::with_capacity(9);
    let rest: &[u8] = match answer {
        Ok(p) => &p.bytes,
        Err(FramesError::Unsupported(w) | FramesError::TooLarge(w) | FramesError::Undecodable(w)) => {
            w.as_bytes()
        }
        Err(_) => b"something unexpected went wrong",
    };
    let rest = if answer.is_ok() { rest } else { &rest[..rest.len().min(MAX_WORDS)] };
    let before = if answer.is_ok() { 5 } else { 1 };
    head.put_u32_le(u32::try_from(before + rest.len()).unwrap_or(u32::MAX));
    match answer {
        Ok(p) => {
            head.put_u8(0);
            head.put_u16_le(p.width);
            head.put_u16_le(p.height);
        }
        Err(FramesError::Unsupported(_)) => head.put_u8(1),
        Err(FramesError::TooLarge(_)) => head.put_u8(2),
        Err(_) => head.put_u8(3),
    }
    (head, rest)
}

/// An answer from a message's bytes.
pub(crate) fn read_answer(message: Bytes) -> Result<Answer, Malformed> {
    let Some((&kind, rest)) = message.split_first() else { return Err(Malformed("an empty answer")) };
    if kind == 0 {
        let [w0, w1, h0, h1] = *rest.first_chunk::<4>().ok_or(Malformed("a picture ends within its size"))?;
        let (width, height) = (u16::from_le_bytes([w0, w1]), u16::from_le_bytes([h0, h1]));
        if width == 0 || height == 0 || rest.len() == 4 {
            return Err(Malformed("an empty picture"));
        }
        return Ok(Ok(Picture { bytes: message.slice(5..), width, height }));
    }
    // A worker that a picture has taken over could say anything: what reaches a person is bounded and printable.
    let words: String = String::from_utf8_lossy(&rest[..rest.len().min(MAX_WORDS)])
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    Ok(Err(match kind {
        1 => FramesError::Unsupported(words),
        2 => FramesError::TooLarge(words),
        3 => FramesError::Undecodable(words),
        _ => return Err(Malformed("an unknown kind of answer")),
    }))
}

/// Packets of sound as a picture's bytes.
#[cfg(feature = "ffmpeg")]
pub(crate) fn write_packets(packets: &[Packet]) -> Bytes {
    let mut out = Vec::new();
    for p in packets {
        out.put_i32_le(p.number);
        out.put_u32_le(u32::try_from(p.data.len()).unwrap_or(u32::MAX));
        out.put_slice(&p.data);
    }
    out.into()
}

/// … and back.
pub(crate) fn read_packets(mut bytes: Bytes) -> Result<Vec<Packet>, Malformed> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (Ok(number), Ok(len)) = (bytes.try_get_i32_le(), bytes.try_get_u32_le()) else {
            return Err(Malformed("a packet ends within its head"));
        };
        if len as usize > bytes.len() {
            return Err(Malformed("a packet that is longer than the answer"));
        }
        out.push(Packet { number, data: bytes.split_to(len as usize) });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn jobs() -> impl Strategy<Value = Job> {
        let codec = prop_oneof![Just(Codec::H264), Just(Codec::H265)];
        let framing = prop_oneof![
            Just(Framing::AnnexB),
            prop_oneof![Just(1u8), Just(2), Just(4)].prop_map(Framing::Length)
        ];
        let width = prop_oneof![
            Just((None, None)),
            (1u16..).prop_map(|w| (Some(w), None)),
            (1u16..=crate::MAX_SIDE, 1u16..=crate::MAX_SIDE).prop_map(|(w, h)| (Some(w), Some(h)))
        ];
        (codec, framing, width, 1u8..=100, vec(any::<u8>(), 0..200), vec(any::<u8>(), 0..2000)).prop_map(
            |(codec, framing, (width, height), quality, config, data)| Job {
                codec,
                config: config.into(),
                framing,
                data: data.into(),
                width,
                height,
                format: if quality == 100 { Format::Png } else { Format::Jpeg { quality } },
            },
        )
    }

    fn answers() -> impl Strategy<Value = Answer> {
        let words = "[a-z ]{0,40}";
        prop_oneof![
            (1u16.., 1u16.., vec(any::<u8>(), 1..500)).prop_map(|(width, height, b)| Ok(Picture {
                bytes: b.into(),
                width,
                height
            })),
            words.prop_map(|w| Err(FramesError::Unsupported(w))),
            words.prop_map(|w| Err(FramesError::TooLarge(w))),
            words.prop_map(|w| Err(FramesError::Undecodable(w))),
        ]
    }

    proptest! {
        #[test]
        fn jobs_come_through(job in jobs()) {
            let mut message = job_head(&job);
            message.extend_from_slice(&job.data);
            let len = u32::from_le_bytes(message[..4].try_into().unwrap()) as usize;
            prop_assert_eq!(len, message.len() - 4);
            prop_assert_eq!(read_job(Bytes::from(message).slice(4..)), Ok(job));
        }

        #[test]
        fn sound_comes_through(form in 0u8..3, rate in 8_000u32..48_000, channels in 1u8..3, data in vec(any::<u8>(), 0..500)) {
            let job = Job {
                codec: Codec::Pcmu,
                config: Bytes::new(),
                framing: Framing::Raw,
                data: data.into(),
                width: None,
                height: None,
                format: match form {
                    0 => Format::Aac { rate, channels },
                    1 => Format::Opus { rate: 48_000, channels },
                    _ => Format::Pcm { rate, channels },
                },
            };
            let mut message = job_head(&job);
            message.extend_from_slice(&job.data);
            prop_assert_eq!(read_job(Bytes::from(message).slice(4..)), Ok(job));
        }

        #[test]
        fn hostile_packets_are_refused_or_within_bounds(bytes in vec(any::<u8>(), 0..300)) {
            if let Ok(packets) = read_packets(bytes.clone().into()) {
                prop_assert!(packets.iter().map(|p| p.data.len() + 8).sum::<usize>() == bytes.len());
            }
        }

        #[test]
        fn answers_come_through(answer in answers()) {
            let (mut message, rest) = answer_head(&answer);
            message.extend_from_slice(rest);
            let len = u32::from_le_bytes(message[..4].try_into().unwrap()) as usize;
            prop_assert_eq!(len, message.len() - 4);
            prop_assert_eq!(read_answer(Bytes::from(message).slice(4..)), Ok(answer));
        }

        #[test]
        fn hostile_messages_are_refused_or_within_bounds(bytes in vec(any::<u8>(), 0..300)) {
            if let Ok(job) = read_job(bytes.clone().into()) {
                prop_assert!(job.check().is_ok());
                prop_assert!(job.config.len() + job.data.len() < bytes.len());
            }
            if let Ok(Err(e)) = read_answer(bytes.into()) {
                prop_assert!(!e.to_string().chars().any(char::is_control));
            }
        }

        /// A head that is nearly right: what random bytes seldom reach.
        #[test]
        fn lying_lengths_are_refused(job in jobs(), config in any::<u32>()) {
            let mut message = job_head(&job);
            message.extend_from_slice(&job.data);
            message[20..24].copy_from_slice(&config.to_le_bytes());
            let message = Bytes::from(message).slice(4..);
            let fits = config as usize <= message.len() - HEAD;
            prop_assert_eq!(read_job(message).is_ok(), fits);
        }
    }
}
