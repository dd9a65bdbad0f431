//! VP8 (RFC 6386): where decoding can start, and how large the pictures are.

use bytes::Bytes;

use crate::bits::Cursor;
use crate::error::invalid;
use crate::{Codec, Framing, Kind, MediaError, Track};

const WHAT: &str = "VP8 frame header";

/// Reads the header of a key frame (§9.1): width and height in pixels. An error for any other frame.
pub fn key_frame(frame: &[u8]) -> Result<(u16, u16), MediaError> {
    let mut c = Cursor::new(WHAT, frame);
    let tag: [u8; 3] = c.array()?;
    if tag[0] & 1 != 0 {
        return invalid(WHAT, "not a key frame");
    }
    if c.array()? != [0x9d, 0x01, 0x2a] {
        return invalid(WHAT, "a key frame without its start code");
    }
    // Two bits of each say how a player may scale it; nobody does.
    let [a, b, d, e]: [u8; 4] = c.array()?;
    let (width, height) = (u16::from_le_bytes([a, b]) & 0x3fff, u16::from_le_bytes([d, e]) & 0x3fff);
    if width == 0 || height == 0 {
        return invalid(WHAT, "a picture of no size");
    }
    Ok((width, height))
}

/// A track as a key frame describes it: 90 kHz, no configuration.
pub fn track(id: u8, frame: &[u8]) -> Result<Track, MediaError> {
    let (width, height) = key_frame(frame)?;
    Ok(Track {
        id,
        codec: Codec::VP8,
        kind: Kind::Video { width, height },
        timescale: 90_000,
        framing: Framing::Raw,
        config: Bytes::new(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The beginning of one by libvpx.
    pub(crate) const KEY: [u8; 10] = [0x50, 0x42, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00];

    #[test]
    fn a_key_frame_says_its_size() {
        assert_eq!(key_frame(&KEY), Ok((320, 240)));
        let scaled = [0x50, 0x42, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x41, 0xf0, 0x80];
        assert_eq!(key_frame(&scaled), Ok((320, 240)));
        let mut delta = KEY;
        delta[0] |= 1;
        assert!(key_frame(&delta).is_err() && key_frame(&KEY[..9]).is_err());
        assert!(key_frame(&[0x50, 0x42, 0x00, 0x9d, 0x01, 0x2b, 0x40, 0x01, 0xf0, 0x00]).is_err());
        assert_eq!(track(1, &KEY).map(|t| t.kind), Ok(Kind::Video { width: 320, height: 240 }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(frame in proptest::collection::vec(any::<u8>(), 0..30), good in any::<bool>()) {
            let frame = if good { [&KEY[..6], &frame].concat() } else { frame };
            if let Ok((w, h)) = key_frame(&frame) {
                prop_assert!(w > 0 && h > 0 && w < 1 << 14 && h < 1 << 14);
            }
        }
    }
}
