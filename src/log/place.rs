//! [`Place`]: all that is needed to read a payload's bytes, in a form that can be stored and brought back.

use std::sync::Arc;

use crate::{
    Payload, Place,
    codec::{Malformed, Put, Reader},
    entry::{Extent, Large, Sealed, SegmentId, Writer},
};
use world::ShardId;

/// A place, parsed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub segment: SegmentId,
    pub sealed: Sealed,
    pub len: u64,
    pub extents: Vec<Extent>,
}

impl Large {
    pub fn place(&self) -> Place {
        let mut b = Vec::with_capacity(96);
        b.push(1);
        b.extend_from_slice(&self.segment);
        b.put_varint(self.sealed.writer.epoch);
        b.extend_from_slice(&self.sealed.writer.salt);
        b.put_varint(self.sealed.generation.into());
        b.put_varint(self.sealed.id);
        b.put_varint(self.len);
        for e in &self.extents {
            b.put_varint(e.offset);
            b.put_varint(e.len);
        }
        Place(b.into())
    }

    pub fn payload(&self, shard: ShardId) -> Payload {
        Payload {
            shard,
            position: self.position,
            arrival: self.arrival,
            producer: self.producer,
            len: self.len,
            index: self.index.clone(),
            place: self.place(),
        }
    }
}

impl Located {
    pub fn parse(place: &Place) -> Result<Located, Malformed> {
        let mut r = Reader::new(&place.0);
        if r.u8()? != 1 {
            return Err(Malformed("is of a kind that is not known here"));
        }
        let segment = r.array()?;
        let (epoch, salt) = (r.varint()?, r.array()?);
        let (generation, id, len) = (r.varint32()?, r.varint()?, r.varint()?);
        let mut extents = Vec::new();
        let mut total = 0u64;
        while !r.is_empty() {
            let e = Extent { offset: r.varint()?, len: r.varint()? };
            total = total.checked_add(e.len).ok_or(Malformed("is too long"))?;
            e.offset.checked_add(e.len).ok_or(Malformed("is too long"))?;
            extents.push(e);
        }
        if len > 1 << 48 || total != seal::sealed_len(len) {
            return Err(Malformed("does not add up"));
        }
        let writer = Arc::new(Writer { epoch, salt });
        Ok(Located {
            segment,
            sealed: Sealed { writer, generation, id, codec: 0, digest: [0; 16] },
            len,
            extents,
        })
    }

    /// The stretches of the file that hold sealed bytes `from..to` of the block.
    pub fn stretches(&self, from: u64, to: u64) -> Vec<Extent> {
        let mut out = Vec::new();
        let mut at = 0;
        for e in &self.extents {
            let (a, b) = (from.max(at), to.min(at + e.len));
            if a < b {
                out.push(Extent { offset: e.offset + (a - at), len: b - a });
            }
            at += e.len;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::blank_large;
    use proptest::prelude::*;
    use world::Timestamp;

    proptest! {
        #![proptest_config(crate::testing::cases(256))]
        #[test]
        fn places_come_back(len in 0u64..1 << 22, id: u64, segment: [u8; 16], cut in any::<prop::sample::Index>(), offset in 0u64..1 << 40) {
            let total = seal::sealed_len(len);
            let first = (seal::CHUNK as u64 + 16).min(total);
            let mut extents = vec![Extent { offset, len: first }];
            if total > first {
                extents.push(Extent { offset: offset + 7777 + first, len: total - first });
            }
            let sealed = Sealed { writer: Arc::new(Writer { epoch: 5, salt: [1; 32] }), generation: 2, id, codec: 0, digest: [0; 16] };
            let l = Large { segment, len, extents: extents.clone(), ..blank_large(9, Timestamp(3), sealed.clone()) };
            let place = l.place();
            let back = Located::parse(&place).unwrap();
            prop_assert_eq!(&back, &Located { segment, sealed, len, extents });
            let n: u64 = back.stretches(1, total).iter().map(|e| e.len).sum();
            prop_assert_eq!(n, total - 1);
            prop_assert!(Located::parse(&Place(place.0.slice(..cut.index(place.0.len())))).is_err());
        }
    }
}
