//! Sounds that are mixed: what is asked of a [`Mixer`](crate::Mixer), and its bytes.
//!
//! All little endian: desk (1), samples (2), how many parts (1) and mixes (1); of each part who it is (4), how many packets (1),
//! of each its length (2) and itself; of each mix who is left out (4).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::FramesError;

/// Desks of a mixer.
pub const DESKS: u8 = 2;
/// Parts of a blend, and mixes of them.
pub const MAX_PARTS: usize = 16;
/// Packets of a part in one blend.
pub const MAX_PACKETS: usize = 32;
/// Longest packet in bytes.
pub const MAX_PACKET: usize = 1_500;
/// Nobody's number: a mix without nobody has everybody.
pub const NOBODY: u32 = 0;

/// The next stretch of several sounds at once, in Opus.
///
/// A desk keeps a decoder for each part and an encoder for each mix from one blend to the next, of those that are in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blend {
    /// Less than [`DESKS`].
    pub desk: u8,
    /// What comes of it, at 48 kHz: 480, 960, 1920 or 2880.
    pub samples: u16,
    /// What goes in. A part that has less than `samples` is silent after them, what it has more is for the next blend.
    pub parts: Vec<Part>,
    /// Who is left out of each mix that is made, [`NOBODY`] for everybody's.
    pub without: Vec<u32>,
}

/// What came of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number.
    pub who: u32,
    /// Packets of Opus, in order.
    pub packets: Vec<Bytes>,
}

fn malformed(why: &str) -> FramesError {
    FramesError::Invalid(format!("a blend of sounds {why}"))
}

impl Blend {
    /// Its bytes; [`FramesError::Invalid`] if it is beyond the bounds.
    pub(crate) fn write(&self) -> Result<Bytes, FramesError> {
        let mut out = BytesMut::new();
        out.put_u8(self.desk);
        out.put_u16_le(self.samples);
        let count = |n: usize| u8::try_from(n).map_err(|_| malformed("of too many"));
        out.put_u8(count(self.parts.len())?);
        out.put_u8(count(self.without.len())?);
        for part in &self.parts {
            out.put_u32_le(part.who);
            out.put_u8(count(part.packets.len())?);
            for p in &part.packets {
                out.put_u16_le(u16::try_from(p.len()).map_err(|_| malformed("has too long a packet"))?);
                out.put_slice(p);
            }
        }
        self.without.iter().for_each(|w| out.put_u32_le(*w));
        self.check()?;
        Ok(out.freeze())
    }

    /// Of such bytes, checked.
    pub(crate) fn read(mut data: Bytes) -> Result<Blend, FramesError> {
        let cut = |_| malformed("is cut off");
        let (desk, samples) = (data.try_get_u8().map_err(cut)?, data.try_get_u16_le().map_err(cut)?);
        let (parts, mixes) = (data.try_get_u8().map_err(cut)?, data.try_get_u8().map_err(cut)?);
        let mut blend = Blend { desk, samples, parts: Vec::new(), without: Vec::new() };
        for _ in 0..parts {
            let (who, count) = (data.try_get_u32_le().map_err(cut)?, data.try_get_u8().map_err(cut)?);
            let mut packets = Vec::new();
            for _ in 0..count {
                let len = usize::from(data.try_get_u16_le().map_err(cut)?);
                if len > data.len() {
                    return Err(malformed("has a packet that is longer than it"));
                }
                packets.push(data.split_to(len));
            }
            blend.parts.push(Part { who, packets });
        }
        for _ in 0..mixes {
            blend.without.push(data.try_get_u32_le().map_err(cut)?);
        }
        if !data.is_empty() {
            return Err(malformed("is longer than it says"));
        }
        blend.check()?;
        Ok(blend)
    }

    fn check(&self) -> Result<(), FramesError> {
        if self.desk >= DESKS || !matches!(self.samples, 480 | 960 | 1920 | 2880) {
            return Err(malformed("of an impossible length, or at no desk"));
        }
        let counts = [self.parts.len(), self.without.len()];
        if !counts.iter().all(|n| (1..=MAX_PARTS).contains(n)) {
            return Err(malformed("of none or too many"));
        }
        let too_much =
            |p: &Part| p.packets.len() > MAX_PACKETS || p.packets.iter().any(|p| p.len() > MAX_PACKET);
        if self.parts.iter().any(too_much) {
            return Err(malformed("has too much of one"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn blends() -> impl Strategy<Value = Blend> {
        let packet = vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        let part = (any::<u32>(), vec(packet, 0..4)).prop_map(|(who, packets)| Part { who, packets });
        let samples = prop_oneof![Just(480u16), Just(960), Just(1920), Just(2880)];
        (0..DESKS, samples, vec(part, 1..=MAX_PARTS), vec(any::<u32>(), 1..=MAX_PARTS))
            .prop_map(|(desk, samples, parts, without)| Blend { desk, samples, parts, without })
    }

    proptest! {
        #[test]
        fn blends_come_through(blend in blends(), cut in 0usize..1000) {
            let bytes = blend.write().unwrap();
            prop_assert_eq!(Blend::read(bytes.clone()), Ok(blend));
            prop_assert!(Blend::read(bytes.slice(..cut.min(bytes.len() - 1))).is_err());
        }

        #[test]
        fn hostile_bytes_are_refused_or_within_bounds(bytes in vec(any::<u8>(), 0..300)) {
            if let Ok(b) = Blend::read(bytes.clone().into()) {
                prop_assert_eq!(b.write(), Ok(bytes.into()));
            }
        }
    }

    #[test]
    fn what_is_beyond_the_bounds_is_refused() {
        let part = Part { who: 1, packets: vec![Bytes::from_static(&[0xf8, 0xff, 0xfe])] };
        let good = Blend { desk: 0, samples: 960, parts: vec![part.clone()], without: vec![NOBODY] };
        assert!(good.write().is_ok());
        let long = Part { who: 1, packets: vec![Bytes::from(vec![0; MAX_PACKET + 1])] };
        let many = Part { who: 1, packets: vec![Bytes::new(); MAX_PACKETS + 1] };
        for bad in [
            Blend { desk: DESKS, ..good.clone() },
            Blend { samples: 961, ..good.clone() },
            Blend { parts: vec![], ..good.clone() },
            Blend { parts: vec![part; MAX_PARTS + 1], ..good.clone() },
            Blend { without: vec![], ..good.clone() },
            Blend { without: vec![NOBODY; 300], ..good.clone() },
            Blend { parts: vec![long], ..good.clone() },
            Blend { parts: vec![many], ..good },
        ] {
            assert!(matches!(bad.write(), Err(FramesError::Invalid(_))), "{bad:?}");
        }
    }
}
