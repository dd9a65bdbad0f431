//! Reading bits and bytes, with every end checked.

use crate::error::truncated;
use crate::{MediaError, error::invalid};

/// A reader of bits, most significant first. For NAL units it leaves out emulation prevention bytes as it goes
/// (ITU-T H.264 §7.3.1), so nothing is copied and a long slice costs only its header.
pub(crate) struct Bits<'a> {
    what: &'static str,
    data: &'a [u8],
    /// Index of the next byte to load.
    next: usize,
    byte: u8,
    /// Bits of `byte` not yet read.
    left: u8,
    /// Zero bytes in a row just before `next`; `None` where nothing is escaped.
    zeros: Option<u8>,
}

impl<'a> Bits<'a> {
    /// Over the payload of a NAL unit (after its header).
    pub fn escaped(what: &'static str, data: &'a [u8]) -> Self {
        Bits { what, data, next: 0, byte: 0, left: 0, zeros: Some(0) }
    }

    /// Over bytes as they are.
    pub fn plain(what: &'static str, data: &'a [u8]) -> Self {
        Bits { what, data, next: 0, byte: 0, left: 0, zeros: None }
    }

    fn load(&mut self) -> Result<(), MediaError> {
        let Some(&(mut byte)) = self.data.get(self.next) else { return truncated(self.what) };
        self.next += 1;
        if let Some(zeros) = self.zeros {
            let mut zeros = zeros;
            if zeros >= 2 && byte == 3 {
                let Some(&after) = self.data.get(self.next) else { return truncated(self.what) };
                self.next += 1;
                byte = after;
                zeros = 0;
            }
            self.zeros = Some(if byte == 0 { zeros.saturating_add(1) } else { 0 });
        }
        self.byte = byte;
        self.left = 8;
        Ok(())
    }

    /// `n` bits, at most 32.
    pub fn u(&mut self, n: u32) -> Result<u32, MediaError> {
        let mut need = n.min(32);
        let mut value: u64 = 0;
        while need > 0 {
            if self.left == 0 {
                self.load()?;
            }
            let take = need.min(u32::from(self.left));
            let rest = u32::from(self.left) - take;
            let part = (u32::from(self.byte) >> rest) & ((1 << take) - 1);
            value = value << take | u64::from(part);
            self.left = rest as u8;
            need -= take;
        }
        Ok(value as u32)
    }

    /// One bit.
    pub fn flag(&mut self) -> Result<bool, MediaError> {
        Ok(self.u(1)? == 1)
    }

    /// Eight bits.
    pub fn byte(&mut self) -> Result<u8, MediaError> {
        Ok(self.u(8)? as u8)
    }

    /// Sixteen bits.
    pub fn u16(&mut self) -> Result<u16, MediaError> {
        Ok(self.u(16)? as u16)
    }

    /// Passes over any number of bits.
    pub fn skip(&mut self, mut n: u32) -> Result<(), MediaError> {
        while n > 0 {
            self.u(n.min(32))?;
            n = n.saturating_sub(32);
        }
        Ok(())
    }

    /// An unsigned Exp-Golomb code (§9.1).
    pub fn ue(&mut self) -> Result<u32, MediaError> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return invalid(self.what, "an Exp-Golomb code of more than 32 bits");
            }
        }
        Ok((1u32 << zeros) - 1 + self.u(zeros)?)
    }

    /// An unsigned Exp-Golomb code of at most `max`.
    pub fn ue_max(&mut self, max: u32, why: &'static str) -> Result<u32, MediaError> {
        let v = self.ue()?;
        if v > max { invalid(self.what, why) } else { Ok(v) }
    }

    /// A signed Exp-Golomb code (§9.1.1).
    pub fn se(&mut self) -> Result<i32, MediaError> {
        let v = i64::from(self.ue()?);
        let half = (v + 1) / 2;
        Ok(if v % 2 == 1 { half } else { -half } as i32)
    }

    /// How many whole bits are left, where nothing is escaped.
    pub fn bits_left(&self) -> usize {
        self.data.len().saturating_sub(self.next).saturating_mul(8) + usize::from(self.left)
    }

    /// Goes on at the next whole byte.
    pub fn align(&mut self) {
        self.left = 0;
    }
}

/// A reader of bytes, big-endian.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    pub what: &'static str,
    pub rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub fn new(what: &'static str, rest: &'a [u8]) -> Self {
        Cursor { what, rest }
    }

    pub fn take(&mut self, n: usize) -> Result<&'a [u8], MediaError> {
        match self.rest.split_at_checked(n) {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(head)
            }
            None => truncated(self.what),
        }
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], MediaError> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(*head)
            }
            None => truncated(self.what),
        }
    }

    pub fn u8(&mut self) -> Result<u8, MediaError> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u16(&mut self) -> Result<u16, MediaError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, MediaError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, MediaError> {
        Ok(u64::from_be_bytes(self.array()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_out_emulation_prevention() {
        let mut b = Bits::escaped("t", &[0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 0xff]);
        let got: Vec<u8> = (0..8).map_while(|_| b.byte().ok()).collect();
        assert_eq!(got, [0, 0, 1, 0, 0, 0, 0, 0xff]);
        assert_eq!(b.u(1), Err(MediaError::Truncated { what: "t" }));
    }

    #[test]
    fn exp_golomb() {
        // 1 | 010 | 011 | 00100 | 00101 → 0 1 2 3 4, and signed 0 1 -1 2 -2.
        let bytes = [0b1010_0110, 0b0100_0010, 0b1000_0000];
        let mut b = Bits::plain("t", &bytes);
        assert_eq!((0..5).map(|_| b.ue().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        let mut b = Bits::plain("t", &bytes);
        assert_eq!((0..5).map(|_| b.se().unwrap()).collect::<Vec<_>>(), [0, 1, -1, 2, -2]);
        let mut b = Bits::plain("t", &[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(b.ue(), Ok(u32::MAX - 1));
        assert!(Bits::plain("t", &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]).ue().is_err());
    }
}
