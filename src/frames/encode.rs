//! Plain sound as AAC by FFmpeg. Runs in a worker only.

use bytes::Bytes;
use ffmpeg_next::{
    self as ffmpeg, ChannelLayout, Packet as Encoded, Rational, codec, encoder,
    format::{Sample, sample::Type},
    frame,
};

use crate::{FramesError, Packet};

/// Samples of a packet.
const FRAME: usize = 1024;
/// Bits a second and channel: telephone sound needs no more.
const BITS: usize = 32_000;

/// Encodes 16-bit little-endian samples, channels interleaved.
pub(crate) fn aac(data: &Bytes, rate: u32, channels: u8) -> Result<Vec<Packet>, FramesError> {
    ffmpeg::log::set_level(ffmpeg::log::Level::Error);
    let failed = |e: ffmpeg::Error| FramesError::Unsupported(format!("encoding AAC failed: {e}"));
    let Some(found) = encoder::find(codec::Id::AAC) else {
        return Err(FramesError::Unsupported("this FFmpeg cannot write AAC".into()));
    };
    let layout = ChannelLayout::default(i32::from(channels));
    let planar = Sample::F32(Type::Planar);
    let mut audio = codec::Context::new_with_codec(found).encoder().audio().map_err(failed)?;
    audio.set_rate(rate as i32);
    audio.set_channel_layout(layout);
    audio.set_channels(i32::from(channels));
    audio.set_format(planar);
    audio.set_time_base(Rational(1, rate as i32));
    audio.set_bit_rate(BITS * usize::from(channels));
    let mut encoder = audio.open_as(found).map_err(failed)?;
    let mut out = Vec::new();
    let mut take = |encoder: &mut encoder::audio::Encoder| {
        loop {
            let mut packet = Encoded::empty();
            if encoder.receive_packet(&mut packet).is_err() {
                return;
            }
            let number = packet.pts().unwrap_or(0).div_euclid(FRAME as i64);
            if let (Some(data), Ok(number)) = (packet.data(), i32::try_from(number)) {
                out.push(Packet { number, data: Bytes::copy_from_slice(data) });
            }
        }
    };
    let width = usize::from(channels);
    for (n, block) in data.chunks(FRAME * 2 * width).enumerate() {
        let mut f = frame::Audio::new(planar, FRAME, layout);
        f.set_rate(rate);
        f.set_pts(i64::try_from(n * FRAME).ok());
        if f.planes() < width {
            return Err(FramesError::TooLarge("the sound needs more memory than an encoder is given".into()));
        }
        for channel in 0..width {
            let plane = f.plane_mut::<f32>(channel);
            plane.fill(0.0);
            let samples = block.as_chunks::<2>().0.iter().skip(channel).step_by(width);
            for (to, from) in plane.iter_mut().zip(samples) {
                *to = f32::from(i16::from_le_bytes(*from)) / 32_768.0;
            }
        }
        encoder.send_frame(&f).map_err(failed)?;
        take(&mut encoder);
    }
    encoder.send_eof().map_err(failed)?;
    take(&mut encoder);
    Ok(out)
}
