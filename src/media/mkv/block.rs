use std::ops::Range;

use super::{WHAT, ebml};
use crate::MediaError;
use crate::bits::Cursor;
use crate::error::{invalid, truncated};

/// A Block or SimpleBlock (RFC 9559 §10), taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub track: u64,
    /// Against its Cluster's.
    pub timecode: i16,
    pub flags: u8,
    /// Where its frames lie in it. 1 to 256, none reaches beyond it.
    pub frames: Vec<Range<usize>>,
}

impl Block {
    pub fn parse(data: &[u8]) -> Result<Block, MediaError> {
        let Some((track, len)) = ebml::vint(data) else { return truncated(WHAT) };
        let mut c = Cursor::new(WHAT, &data[len..]);
        let (timecode, flags) = (c.u16()? as i16, c.u8()?);
        let lacing = flags >> 1 & 3;
        let mut sizes = vec![];
        if lacing > 0 {
            let others = usize::from(c.u8()?);
            match lacing {
                1 => {
                    for _ in 0..others {
                        sizes.push(xiph(&mut c)?);
                    }
                }
                2 => {
                    let each = c.rest.len() / (others + 1);
                    if each * (others + 1) != c.rest.len() {
                        return invalid(WHAT, "frames of equal size that do not fill their block");
                    }
                    sizes = vec![each; others];
                }
                _ => sizes = differences(&mut c, others)?,
            }
        }
        let mut at = data.len() - c.rest.len();
        let mut frames = Vec::with_capacity(sizes.len() + 1);
        for size in sizes {
            match at.checked_add(size).filter(|end| *end <= data.len()) {
                Some(end) => {
                    frames.push(at..end);
                    at = end;
                }
                None => return invalid(WHAT, "a laced frame beyond its block"),
            }
        }
        frames.push(at..data.len());
        Ok(Block { track, timecode, flags, frames })
    }
}

/// As many bytes of 255 as fit, and the rest.
fn xiph(c: &mut Cursor) -> Result<usize, MediaError> {
    let mut size = 0usize;
    loop {
        let b = c.u8()?;
        size = size.saturating_add(usize::from(b));
        if b < 255 {
            return Ok(size);
        }
    }
}

/// A size, then how much larger each is than the one before.
fn differences(c: &mut Cursor, count: usize) -> Result<Vec<usize>, MediaError> {
    let mut sizes = vec![];
    let mut size = 0i64;
    for i in 0..count {
        let Some((v, len)) = ebml::vint(c.rest) else { return truncated(WHAT) };
        c.take(len)?;
        let bias = if i == 0 { 0 } else { (1i64 << (7 * len - 1)) - 1 };
        // Both are below 2^56.
        size = size.saturating_add(v as i64 - bias);
        match usize::try_from(size) {
            Ok(size) => sizes.push(size),
            Err(_) => return invalid(WHAT, "a laced frame of a size below 0"),
        }
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(data: &[u8]) -> Option<Vec<usize>> {
        Block::parse(data).ok().map(|b| b.frames.iter().map(Range::len).collect())
    }

    #[test]
    fn lacings() {
        let block = Block::parse(&[0x81, 0xff, 0xfe, 0x80, 7, 8]).unwrap();
        assert_eq!((block.track, block.timecode, block.flags), (1, -2, 0x80));
        assert!(block.frames.iter().eq([&(4..6)]));
        // Sizes in the head, the last frame takes the rest.
        let mut xiph = vec![0x40, 0x81, 0, 0, 0x02, 2, 255, 1, 3];
        xiph.extend([9; 256 + 3 + 5]);
        assert_eq!(sizes(&xiph), Some(vec![256, 3, 5]));
        assert_eq!(sizes(&[0x81, 0, 0, 0x04, 2, 1, 2, 3, 4, 5, 6]), Some(vec![2, 2, 2]));
        assert_eq!(sizes(&[0x81, 0, 0, 0x04, 2, 1, 2, 3, 4]), None);
        // 3, then one less, then the rest.
        assert_eq!(sizes(&[0x81, 0, 0, 0x06, 2, 0x83, 0xbe, 1, 1, 1, 2, 2, 3, 3, 3]), Some(vec![3, 2, 3]));
        assert_eq!(sizes(&[0x81, 0, 0, 0x06, 2, 0x81, 0x80, 1, 1, 1]), None);
        assert_eq!(sizes(&[0x81, 0, 0, 0x02, 1, 200, 1]), None);
        assert_eq!(sizes(&[0x81, 0, 0]), None);
        assert_eq!(sizes(&[0, 0, 0, 0]), None);
        assert_eq!(sizes(&[0; 20]), None);
    }
}
