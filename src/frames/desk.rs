//! Sounds mixed by FFmpeg: decoded, added, encoded. Runs in a worker only, and remembers from one blend to the next.

use std::collections::{HashMap, hash_map::Entry};

use bytes::{Bytes, BytesMut};
use ffmpeg_next as ffmpeg;
use media::Codec;

use crate::{
    FramesError, Packet,
    blend::{Blend, DESKS},
    sound::{Decoder, Encoder},
};

const RATE: u32 = 48_000;
/// Two channels, whatever comes: Opus spends next to nothing on a second one that is the same.
const CHANNELS: u8 = 2;
const WIDE: usize = CHANNELS as usize;
/// Bits a second of a mix: speech over what a camera hears.
const BITS: usize = 64_000;
/// Samples that a part may be ahead by, of each channel: the longest packet, twice.
const AHEAD: usize = 2 * 5_760;

/// All that a mixer remembers.
#[derive(Default)]
pub(crate) struct Desks([Desk; DESKS as usize]);

#[derive(Default)]
struct Desk {
    parts: HashMap<u32, Voice>,
    mixes: HashMap<u32, Encoder>,
}

/// A part: what it says, as far as it is not mixed yet.
struct Voice {
    decoder: Decoder,
    samples: Vec<i16>,
}

impl Voice {
    fn new() -> Result<Voice, FramesError> {
        Ok(Voice { decoder: Decoder::new(Codec::Opus)?, samples: Vec::new() })
    }

    fn decode(&mut self, packet: &[u8]) {
        let mut plain = BytesMut::new();
        // One broken packet does not spoil those after it: it is silence.
        if self.decoder.push(packet, None, RATE, CHANNELS, &mut plain).is_ok() {
            self.samples.extend(plain.as_chunks::<2>().0.iter().map(|s| i16::from_le_bytes(*s)));
            let most = AHEAD * WIDE;
            self.samples.drain(..self.samples.len().saturating_sub(most));
        }
    }

    /// The next of them.
    fn take(&mut self, n: usize) -> Vec<i16> {
        self.samples.drain(..n.min(self.samples.len())).collect()
    }
}

impl Desks {
    /// A packet for each mix that is asked for, with who is left out as its number.
    pub(crate) fn blend(&mut self, data: &Bytes) -> Result<Vec<Packet>, FramesError> {
        ffmpeg::log::set_level(ffmpeg::log::Level::Error);
        let blend = Blend::read(data.clone())?;
        let nowhere = || FramesError::Invalid("there is no such desk".into());
        self.0.get_mut(usize::from(blend.desk)).ok_or_else(nowhere)?.blend(&blend)
    }
}

impl Desk {
    fn blend(&mut self, blend: &Blend) -> Result<Vec<Packet>, FramesError> {
        self.parts.retain(|who, _| blend.parts.iter().any(|p| p.who == *who));
        let frame = usize::from(blend.samples);
        self.mixes.retain(|without, e| e.frame() == frame && blend.without.contains(without));
        let (mut sum, mut said) = (vec![0i32; frame * WIDE], Vec::new());
        for part in &blend.parts {
            let voice = match self.parts.entry(part.who) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(free) => free.insert(Voice::new()?),
            };
            part.packets.iter().for_each(|p| voice.decode(p));
            let taken = voice.take(frame * WIDE);
            sum.iter_mut().zip(&taken).for_each(|(to, s)| *to += i32::from(*s));
            said.push((part.who, taken));
        }
        let mut out = Vec::new();
        for without in &blend.without {
            let mut mix = sum.clone();
            for (_, taken) in said.iter().filter(|(who, _)| who == without) {
                mix.iter_mut().zip(taken).for_each(|(to, s)| *to -= i32::from(*s));
            }
            let loudest = |s: i32| i16::try_from(s).unwrap_or(if s < 0 { i16::MIN } else { i16::MAX });
            let plain: Vec<u8> = mix.into_iter().flat_map(|s| loudest(s).to_le_bytes()).collect();
            let encoder = match self.mixes.entry(*without) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(free) => free.insert(Encoder::opus(RATE, CHANNELS, frame, BITS)?),
            };
            let data = encoder.next(&plain)?;
            out.push(Packet { number: without.cast_signed(), data });
        }
        Ok(out)
    }
}
