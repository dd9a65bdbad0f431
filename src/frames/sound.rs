//! Sound by FFmpeg: decoded, and encoded as AAC or Opus. Runs in a worker only.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ffmpeg_next::{
    self as ffmpeg, ChannelLayout, Dictionary, Packet as Encoded, Rational, codec, decoder, encoder,
    format::{Sample, sample::Type},
    frame,
};
use media::Codec;

use crate::{FramesError, Job, Packet};

/// Samples of a packet of AAC.
const AAC_FRAME: usize = 1024;
/// Packets of Opus a second.
const OPUS_PACKETS: u32 = 50;

/// Bits a second and channel: telephone sound needs no more than half of what music does.
fn bits(rate: u32, channels: u8) -> usize {
    usize::from(channels) * if rate > 16_000 { 64_000 } else { 32_000 }
}

fn failed(what: &'static str) -> impl Fn(ffmpeg::Error) -> FramesError {
    move |e| FramesError::Unsupported(format!("encoding {what} failed: {e}"))
}

fn memory() -> FramesError {
    FramesError::TooLarge("the sound needs more memory than a worker is given".into())
}

pub(crate) struct Encoder {
    encoder: encoder::audio::Encoder,
    what: &'static str,
    rate: u32,
    channels: u8,
    /// Samples of a packet.
    frame: usize,
    next: i64,
}

impl Encoder {
    fn new(
        found: ffmpeg::Codec,
        what: &'static str,
        (rate, channels): (u32, u8),
        frame: usize,
        bits: usize,
        options: Dictionary<'_>,
    ) -> Result<Encoder, FramesError> {
        let bad = failed(what);
        let mut audio = codec::Context::new_with_codec(found).encoder().audio().map_err(&bad)?;
        audio.set_rate(rate as i32);
        audio.set_channel_layout(ChannelLayout::default(i32::from(channels)));
        audio.set_channels(i32::from(channels));
        audio.set_format(Encoder::format(what));
        audio.set_time_base(Rational(1, rate as i32));
        audio.set_bit_rate(bits);
        let encoder = audio.open_as_with(found, options).map_err(&bad)?;
        Ok(Encoder { encoder, what, rate, channels, frame, next: 0 })
    }

    /// Of packets of so many samples, which last 10, 20, 40 or 60 ms.
    pub(crate) fn opus(rate: u32, channels: u8, frame: usize, bits: usize) -> Result<Encoder, FramesError> {
        let Some(found) = encoder::find_by_name("libopus") else {
            return Err(FramesError::Unsupported("this FFmpeg cannot write Opus".into()));
        };
        let mut options = Dictionary::new();
        // The transform coder alone: it carries little from packet to packet, so that separately encoded stretches join.
        options.set("application", "lowdelay");
        options.set("vbr", "on");
        options.set("frame_duration", &(frame * 1_000 / rate.max(1) as usize).to_string());
        Encoder::new(found, "Opus", (rate, channels), frame, bits, options)
    }

    pub(crate) fn frame(&self) -> usize {
        self.frame
    }

    /// One packet of as many samples as it has.
    pub(crate) fn next(&mut self, block: &[u8]) -> Result<Bytes, FramesError> {
        let mut out = Vec::new();
        self.push(block)?;
        self.take(&mut out);
        let none = || FramesError::Unsupported(format!("encoding {} gave no packet", self.what));
        out.pop().map(|(_, data)| data).ok_or_else(none)
    }

    fn format(what: &str) -> Sample {
        Sample::F32(if what == "AAC" { Type::Planar } else { Type::Packed })
    }

    /// Encodes one packet's worth of samples, silence after them if there are fewer.
    fn push(&mut self, block: &[u8]) -> Result<(), FramesError> {
        let wide = usize::from(self.channels);
        let format = Encoder::format(self.what);
        let mut f = frame::Audio::new(format, self.frame, ChannelLayout::default(i32::from(self.channels)));
        f.set_rate(self.rate);
        f.set_pts(Some(self.next));
        self.next += self.frame as i64;
        let samples = block.as_chunks::<2>().0.iter().map(|s| f32::from(i16::from_le_bytes(*s)) / 32_768.0);
        if format == Sample::F32(Type::Planar) {
            if f.planes() < wide {
                return Err(memory());
            }
            for channel in 0..wide {
                let plane = f.plane_mut::<f32>(channel);
                plane.fill(0.0);
                for (to, from) in plane.iter_mut().zip(samples.clone().skip(channel).step_by(wide)) {
                    *to = from;
                }
            }
        } else {
            let data = f.data_mut(0);
            if data.len() < self.frame * wide * 4 {
                return Err(memory());
            }
            data.fill(0);
            for (to, from) in data.as_chunks_mut::<4>().0.iter_mut().zip(samples) {
                *to = from.to_ne_bytes();
            }
        }
        self.encoder.send_frame(&f).map_err(failed(self.what))
    }

    /// Packets that are ready: when each begins, in samples of the input, and its bytes.
    fn take(&mut self, out: &mut Vec<(i64, Bytes)>) {
        loop {
            let mut packet = Encoded::empty();
            if self.encoder.receive_packet(&mut packet).is_err() {
                return;
            }
            if let Some(data) = packet.data() {
                out.push((packet.pts().unwrap_or(0), Bytes::copy_from_slice(data)));
            }
        }
    }

    fn all(mut self, data: &[u8]) -> Result<Vec<(i64, Bytes)>, FramesError> {
        let mut out = Vec::new();
        for block in data.chunks(self.frame * 2 * usize::from(self.channels)) {
            self.push(block)?;
            self.take(&mut out);
        }
        self.encoder.send_eof().map_err(failed(self.what))?;
        self.take(&mut out);
        Ok(out)
    }
}

/// Numbers packets by when they begin.
fn numbered(all: Vec<(i64, Bytes)>, frame: usize) -> Vec<Packet> {
    let number = |pts: i64| i32::try_from(pts.div_euclid(frame as i64)).ok();
    all.into_iter().filter_map(|(pts, data)| Some(Packet { number: number(pts)?, data })).collect()
}

/// Encodes 16-bit little-endian samples, channels interleaved, as AAC-LC.
pub(crate) fn aac(data: &Bytes, rate: u32, channels: u8) -> Result<Vec<Packet>, FramesError> {
    ffmpeg::log::set_level(ffmpeg::log::Level::Error);
    let Some(found) = encoder::find(codec::Id::AAC) else {
        return Err(FramesError::Unsupported("this FFmpeg cannot write AAC".into()));
    };
    let encoder =
        Encoder::new(found, "AAC", (rate, channels), AAC_FRAME, bits(rate, channels), Dictionary::new())?;
    Ok(numbered(encoder.all(data)?, AAC_FRAME))
}

/// … as Opus, packets of 20 ms. The encoder's delay is taken out: packet n is what a decoder makes the nth 20 ms of the
/// input of, once it has had some before; so the last packet lacks the end of its sound.
pub(crate) fn opus(data: &Bytes, rate: u32, channels: u8) -> Result<Vec<Packet>, FramesError> {
    ffmpeg::log::set_level(ffmpeg::log::Level::Error);
    let frame = (rate / OPUS_PACKETS) as usize;
    let open = || Encoder::opus(rate, channels, frame, bits(rate, channels));
    // How long the delay is, its first packet's time says.
    let mut first = Vec::new();
    let mut probe = open()?;
    probe.push(&[])?;
    probe.push(&[])?;
    probe.take(&mut first);
    let delay = first.first().map_or(0, |(pts, _)| usize::try_from(-pts).unwrap_or(0));
    let data = data.get(delay * 2 * usize::from(channels)..).unwrap_or_default();
    let all = open()?.all(data)?;
    let all = all.into_iter().map(|(pts, data)| (pts.saturating_add(delay as i64), data)).collect();
    Ok(numbered(all, frame))
}

/// Makes 16-bit samples of packets.
pub(crate) struct Decoder(decoder::Audio);

impl Decoder {
    /// Of Opus, MP3, AC-3 or E-AC-3.
    pub(crate) fn new(codec: Codec) -> Result<Decoder, FramesError> {
        let (name, id) = match codec {
            Codec::Opus => ("libopus", codec::Id::OPUS),
            Codec::Other(four) => match &four {
                b".mp3" => ("mp3", codec::Id::MP3),
                b"ac-3" => ("ac3", codec::Id::AC3),
                b"ec-3" => ("eac3", codec::Id::EAC3),
                _ => return Err(unsupported(codec)),
            },
            other => return Err(unsupported(other)),
        };
        let Some(found) = decoder::find_by_name(name).or_else(|| decoder::find(id)) else {
            return Err(unsupported(codec));
        };
        let undecodable = |e: ffmpeg::Error| FramesError::Undecodable(e.to_string());
        let opened = codec::Context::new().decoder().open_as(found).map_err(undecodable)?;
        Ok(Decoder(opened.audio().map_err(undecodable)?))
    }

    /// Decodes one, if it can be, to little-endian samples, channels interleaved. The error is for what is not `rate`, or of too
    /// many channels.
    pub(crate) fn push(
        &mut self,
        data: &[u8],
        number: Option<i64>,
        rate: u32,
        channels: u8,
        out: &mut BytesMut,
    ) -> Result<(), FramesError> {
        let mut packet = Encoded::copy(data);
        packet.set_pts(number);
        // One broken packet does not spoil those after it.
        let _ = self.0.send_packet(&packet);
        let mut f = frame::Audio::empty();
        while self.0.receive_frame(&mut f).is_ok() {
            if f.rate() != rate {
                return Err(FramesError::Unsupported(format!(
                    "sound of {} Hz said to be of {rate}",
                    f.rate()
                )));
            }
            put(&f, channels, out)?;
        }
        Ok(())
    }
}

/// Decodes packets, each preceded by its length (`u32`, little endian), to 16-bit samples, channels interleaved: for
/// each packet that gives some, its number and they.
pub(crate) fn pcm(job: &Job, rate: u32, channels: u8) -> Result<Vec<Packet>, FramesError> {
    ffmpeg::log::set_level(ffmpeg::log::Level::Error);
    let mut decoder = Decoder::new(job.codec)?;
    let mut out: Vec<Packet> = Vec::new();
    let mut total = 0;
    let mut data = job.data.clone();
    let mut number = 0i32;
    while let Some(rest) = data.split_at_checked(4).map(|(_, rest)| rest.len()) {
        let len = data.get_u32_le() as usize;
        if len > rest {
            return Err(FramesError::Invalid("a packet that is longer than the job".into()));
        }
        let mut samples = BytesMut::new();
        decoder.push(&data.split_to(len), Some(number.into()), rate, channels, &mut samples)?;
        total += samples.len();
        if total > crate::MAX_SOUND {
            return Err(FramesError::TooLarge("more sound than is decoded at once".into()));
        }
        if !samples.is_empty() {
            out.push(Packet { number, data: samples.freeze() });
        }
        number = number.saturating_add(1);
    }
    if out.is_empty() {
        return Err(FramesError::Undecodable("nothing in the data could be heard".into()));
    }
    Ok(out)
}

fn unsupported(codec: Codec) -> FramesError {
    FramesError::Unsupported(format!("{codec:?} sound cannot be decoded here"))
}

/// A frame's samples with as many channels as are wanted: one for both, or the mean of two.
fn put(f: &frame::Audio, channels: u8, out: &mut BytesMut) -> Result<(), FramesError> {
    let (n, wide) = (f.samples(), usize::from(f.channels()));
    if !(1..=2).contains(&wide) {
        return Err(FramesError::Unsupported(format!("sound of {wide} channels")));
    }
    let sample = |channel: usize, i: usize| -> Option<i32> {
        let float =
            |b: &[u8; 4]| (f32::from_ne_bytes(*b) * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i32;
        let (plane, at) = if f.is_planar() { (channel, i) } else { (0, i * wide + channel) };
        if plane >= f.planes() {
            return None;
        }
        match f.format() {
            Sample::I16(_) => {
                f.data(plane).as_chunks::<2>().0.get(at).map(|b| i32::from(i16::from_ne_bytes(*b)))
            }
            Sample::F32(_) => f.data(plane).as_chunks::<4>().0.get(at).map(float),
            _ => None,
        }
    };
    let lacking = || FramesError::Unsupported(format!("samples of the form {:?}", f.format()));
    out.reserve(n * usize::from(channels) * 2);
    for i in 0..n {
        let left = sample(0, i).ok_or_else(lacking)?;
        let right = if wide == 2 { sample(1, i).ok_or_else(lacking)? } else { left };
        let pair = if channels == 1 { [(left + right) / 2; 2] } else { [left, right] };
        for s in &pair[..usize::from(channels).min(2)] {
            out.put_i16_le(i16::try_from(*s).unwrap_or(if *s < 0 { i16::MIN } else { i16::MAX }));
        }
    }
    Ok(())
}
