//! Varints and bounded reading of untrusted bytes; little endian throughout.

/// Bytes that do not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub &'static str);

/// Appends numbers to a buffer.
pub(crate) trait Put {
    /// LEB128: seven bits a byte, low ones first, the top bit says that more follow.
    fn put_varint(&mut self, v: u64);
    /// Small magnitudes of either sign stay small: `(v << 1) ^ (v >> 63)` as a varint.
    fn put_zigzag(&mut self, v: i64);
    fn put_u32(&mut self, v: u32);
    fn put_u64(&mut self, v: u64);
}

impl Put for Vec<u8> {
    fn put_varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.push(v as u8);
    }
    fn put_zigzag(&mut self, v: i64) {
        self.put_varint(((v << 1) ^ (v >> 63)) as u64);
    }
    fn put_u32(&mut self, v: u32) {
        self.extend_from_slice(&v.to_le_bytes());
    }
    fn put_u64(&mut self, v: u64) {
        self.extend_from_slice(&v.to_le_bytes());
    }
}

/// How many bytes [`Put::put_varint`] takes.
pub(crate) fn varint_len(v: u64) -> usize {
    (64 - (v | 1).leading_zeros() as usize).div_ceil(7)
}

/// Takes numbers off the front of a slice; never reads past its end.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(rest: &'a [u8]) -> Self {
        Reader { rest }
    }
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(Malformed("ends too early"))?;
        self.rest = rest;
        Ok(head)
    }
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut a = [0; N];
        a.copy_from_slice(self.bytes(N)?);
        Ok(a)
    }
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.bytes(1)?[0])
    }
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut v = 0u64;
        for shift in (0..64).step_by(7) {
            let b = self.u8()?;
            if shift == 63 && b > 1 {
                break;
            }
            v |= u64::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Ok(v);
            }
        }
        Err(Malformed("a number is too long"))
    }
    pub fn varint32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed("a number is too large"))
    }
    /// A count of things that take at least `each` bytes: bounded by what is left, so that it is safe to reserve for.
    pub fn count(&mut self, each: usize) -> Result<usize, Malformed> {
        let n = self.varint()?;
        if n > (self.rest.len() / each.max(1)) as u64 {
            return Err(Malformed("a count is larger than what follows"));
        }
        Ok(n as usize)
    }
    pub fn zigzag(&mut self) -> Result<i64, Malformed> {
        let v = self.varint()?;
        Ok((v >> 1) as i64 ^ -((v & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::testing::cases(256))]
        #[test]
        fn numbers_come_back(v: u64, i: i64, a: u32) {
            let mut b = Vec::new();
            b.put_varint(v);
            prop_assert_eq!(b.len(), varint_len(v));
            b.put_zigzag(i);
            b.put_u32(a);
            b.put_u64(v);
            let mut r = Reader::new(&b);
            prop_assert_eq!(r.varint().unwrap(), v);
            prop_assert_eq!(r.zigzag().unwrap(), i);
            prop_assert_eq!(r.u32().unwrap(), a);
            prop_assert_eq!(r.u64().unwrap(), v);
            prop_assert!(r.is_empty());
            prop_assert!(r.u8().is_err());
        }
        #[test]
        fn any_bytes_are_survived(b in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut r = Reader::new(&b);
            while !r.is_empty() {
                if r.varint().is_err() || r.count(1).is_err() {
                    break;
                }
            }
        }
    }
}
