//! Floor 2: decoding, scaling, JPEG and PNG, and sound to and from AAC and Opus, by FFmpeg in worker processes.
//!
//! Pictures come from cameras, and a camera may send anything: a decoder written in C is not let into the server.
//! [`Frames`] keeps a few *worker processes* of the same binary (the binary calls [`worker_main`] when it is told
//! to) and hands each one [`Job`] at a time. A worker is bounded in memory and time, runs at low priority, cannot
//! write files, leaves no core dump, and knows no keys; a picture that kills one fails with words and the next job
//! finds a new one. Idle workers end after a while, so that a server at which nobody looks carries no decoder. A [`Mixer`] is
//! a worker of its own, for sounds that are mixed as they come.
//!
//! What this room promises: nothing of a job is written to disk; every call returns, with a picture or an error,
//! within a bounded time; no job is seen by a worker that has broken the protocol.
//!
//! Without the feature `ffmpeg` it builds and answers [`FramesError::Unsupported`].

mod blend;
#[cfg(feature = "ffmpeg")]
mod decode;
#[cfg(feature = "ffmpeg")]
mod desk;
mod mixer;
#[cfg(feature = "ffmpeg")]
mod pictures;
mod pool;
mod process;
mod protocol;
#[cfg(feature = "ffmpeg")]
mod sound;
mod worker;

use std::{ffi::OsString, time::Duration};

use bytes::Bytes;

pub use blend::{Blend, NOBODY, Part};
pub use mixer::Mixer;
pub use pool::Frames;
pub use worker::worker_main;

/// Longest input ([`Job::config`] and [`Job::data`] together) in bytes.
pub const MAX_INPUT: usize = 50 * 1024 * 1024;
/// Longest configuration in bytes.
pub const MAX_CONFIG: usize = 64 * 1024;
/// Longest sound in bytes: minutes of it.
pub const MAX_SOUND: usize = 32 * 1024 * 1024;
/// Longest side of a picture, in or out, in pixels.
pub const MAX_SIDE: u16 = 8192;
/// Longest answer in bytes: what a worker that went astray can make the server hold.
pub const MAX_OUTPUT: usize = 64 * 1024 * 1024;

/// What is to be made into a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// H.264, H.265, AV1, VP8 or VP9 (of the last two one frame); for [`Format::Pcm`] what sound is decoded. For the other forms of sound the samples are plain and
    /// this is not looked at.
    pub codec: media::Codec,
    /// Its configuration (`avcC`, `hvcC`), as [`media::Track::config`]; may be empty when parameter sets are in `data`.
    pub config: Bytes,
    /// How NAL units lie in `data`.
    pub framing: media::Framing,
    /// Access units, one after another in decode order, beginning where decoding can start. The last is shown.
    pub data: Bytes,
    /// Scale down to at most this width; never up. Both sides of a scaled picture are even.
    pub width: Option<u16>,
    /// With a width: exactly this height, and that width, stretched where need be.
    pub height: Option<u16>,
    /// What comes out.
    pub format: Format,
}

/// The form of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Baseline JPEG (JFIF, full range BT.601), square pixels.
    Jpeg {
        /// From 1 (small) to 100 (as good as it gets).
        quality: u8,
    },
    /// PNG (ISO/IEC 15948), eight bits of red, green and blue.
    Png,
    /// AAC-LC of plain sound (16-bit little-endian samples, channels interleaved): see [`Frames::aac`].
    Aac {
        /// Samples a second.
        rate: u32,
        /// 1 or 2.
        channels: u8,
    },
    /// Opus of plain sound: see [`Frames::opus`].
    Opus {
        /// Samples a second: 8000, 12000, 16000, 24000 or 48000.
        rate: u32,
        /// 1 or 2.
        channels: u8,
    },
    /// Plain sound of packets: see [`Frames::pcm`].
    Pcm {
        /// Samples a second.
        rate: u32,
        /// 1 or 2.
        channels: u8,
    },
    /// Sounds mixed: see [`Mixer::blend`]. The data are a [`Blend`]'s.
    Blend,
}

/// A packet of sound; what it is of, [`Frames::aac`], [`Frames::opus`] and [`Frames::pcm`] say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its number.
    pub number: i32,
    /// Its bytes.
    pub data: Bytes,
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// In the form that was asked for.
    pub bytes: Bytes,
    /// In pixels.
    pub width: u16,
    /// In pixels.
    pub height: u16,
}

/// How workers are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Program and arguments that end in [`worker_main`], such as `/proc/self/exe frames-worker`.
    pub command: Vec<OsString>,
    /// How many at most, at least 1.
    pub workers: usize,
    /// What one may allocate, in bytes, beyond what the program maps before it decodes anything.
    pub memory: u64,
    /// How long one job may take; a worker that takes longer is killed.
    pub timeout: Duration,
    /// After how long without a job a worker ends.
    pub idle: Duration,
    /// How many jobs may wait; beyond that they are refused.
    pub queue: usize,
    /// How many [`Mixer`]s there may be at once, each a worker beside the others.
    pub mixers: usize,
}

impl Options {
    /// Two workers of 512 MiB, 5 s a job, 64 waiting, ending after 30 s idle; four mixers.
    pub fn new(command: impl IntoIterator<Item = impl Into<OsString>>) -> Options {
        Options {
            command: command.into_iter().map(Into::into).collect(),
            workers: 2,
            memory: 512 * 1024 * 1024,
            timeout: Duration::from_secs(5),
            idle: Duration::from_secs(30),
            queue: 64,
            mixers: 4,
        }
    }
}

/// Why there is no picture. For people, and for a choice of what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramesError {
    /// This build or its FFmpeg cannot do it.
    #[error("{0}")]
    Unsupported(String),
    /// Too many ask at once. Try later.
    #[error("too many pictures are being asked for at once; try again")]
    Busy,
    /// The input, the picture or the answer is beyond a bound.
    #[error("{0}")]
    TooLarge(String),
    /// The job makes no sense: an impossible quality, a framing that the codec does not have.
    #[error("{0}")]
    Invalid(String),
    /// There is no picture in these bytes.
    #[error("the picture cannot be decoded: {0}")]
    Undecodable(String),
    /// It took too long, and was stopped.
    #[error("decoding took more than {} ms and was stopped", .0.as_millis())]
    TimedOut(Duration),
    /// The worker ended in the middle.
    #[error("the decoder ended while it worked on this picture ({0})")]
    Died(String),
    /// A worker could not be started.
    #[error("the decoder could not be started: {0}")]
    NotStarted(String),
    /// [`Frames::shutdown`] has been called.
    #[error("the server is shutting down")]
    ShutDown,
}

/// What the workers have done since the start, and are doing now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Process ids of the workers that are there, busy or idle.
    pub pids: Vec<u32>,
    /// Jobs that wait for a worker.
    pub waiting: usize,
    /// Workers started.
    pub started: u64,
    /// Pictures made.
    pub pictures: u64,
    /// Jobs that failed, whatever the reason, refused ones aside.
    pub failed: u64,
    /// Jobs refused because too many waited.
    pub busy: u64,
    /// Workers that ended in the middle of a job, or were killed because they took too long.
    pub lost: u64,
    /// Stretches of sound that mixers made.
    pub mixed: u64,
}

impl Job {
    fn check_sound(&self, rate: u32, channels: u8) -> Result<(), FramesError> {
        let opus = matches!(self.format, Format::Opus { .. });
        if opus && !matches!(rate, 8_000 | 12_000 | 16_000 | 24_000 | 48_000) {
            return Err(FramesError::Unsupported(format!("Opus of sound of {rate} Hz")));
        }
        if !(1..=2).contains(&channels) || !(7_350..=96_000).contains(&rate) {
            return Err(FramesError::Unsupported(format!("sound of {channels} channels at {rate} Hz")));
        }
        if !self.config.is_empty() || self.data.len() > MAX_SOUND {
            return Err(FramesError::TooLarge(format!("{} bytes of sound at once", self.data.len())));
        }
        Ok(())
    }

    /// What can be said about a job without decoding it. The bounds that every worker relies on.
    pub(crate) fn check(&self) -> Result<(), FramesError> {
        use media::{Codec, Framing};
        let quality = match self.format {
            Format::Jpeg { quality } => quality,
            Format::Png => 100,
            Format::Aac { rate, channels }
            | Format::Opus { rate, channels }
            | Format::Pcm { rate, channels } => return self.check_sound(rate, channels),
            Format::Blend => return Blend::read(self.data.clone()).map(|_| ()),
        };
        if !(1..=100).contains(&quality) {
            return Err(FramesError::Invalid(format!(
                "the JPEG quality is {quality}; it goes from 1 to 100"
            )));
        }
        if self.width == Some(0) {
            return Err(FramesError::Invalid("a picture of width 0".into()));
        }
        if self.height.is_some_and(|h| {
            !(1..=MAX_SIDE).contains(&h) || !self.width.is_some_and(|w| (1..=MAX_SIDE).contains(&w))
        }) {
            return Err(FramesError::Invalid(format!("a picture's sides are 1 to {MAX_SIDE} pixels, both")));
        }
        if self.config.len() > MAX_CONFIG {
            return Err(FramesError::TooLarge(format!(
                "the codec's configuration has {} bytes; at most {MAX_CONFIG} are taken",
                self.config.len()
            )));
        }
        if self.config.len() + self.data.len() > MAX_INPUT {
            return Err(FramesError::TooLarge(format!(
                "the picture's data has {} bytes; at most {MAX_INPUT} are taken",
                self.data.len()
            )));
        }
        match (self.codec, self.framing) {
            (Codec::H264 | Codec::H265, Framing::Length(1 | 2 | 4) | Framing::AnnexB) => Ok(()),
            (Codec::VP8 | Codec::VP9 | Codec::AV1, Framing::Raw) => Ok(()),
            (Codec::H264 | Codec::H265 | Codec::VP8 | Codec::VP9 | Codec::AV1, other) => {
                Err(FramesError::Invalid(format!("{:?} does not come framed as {other:?}", self.codec)))
            }
            (other, _) => Err(FramesError::Unsupported(format!("pictures cannot be made of {other:?}"))),
        }
    }
}
