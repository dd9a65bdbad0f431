//! What is kept of Matroska besides its frames, so that the very same bytes can be given back. `docs/formats/skeleton.md` is
//! its page.

use bytes::{Buf, Bytes};

use super::{WHAT, ebml, ids};
use crate::MediaError;
use crate::error::{invalid, truncated};

/// The only version so far.
const VERSION: u8 = 1;
/// More than any fragment has: a piece before each frame and one after.
const MAX_PIECES: u64 = 1 << 20 | 1;

/// One fragment's bytes that are no frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skeleton {
    /// The EBML header of its document, and what stands between it and the Segment.
    pub document: Bytes,
    /// What stands between the head of the Segment and the first Cluster: SeekHead, Info, Tracks, Tags.
    pub header: Bytes,
    /// What stands before each of its frames, in their order, and after the last: one more than frames.
    pub pieces: Vec<Bytes>,
}

impl Skeleton {
    /// As stored.
    pub fn encode(&self) -> Vec<u8> {
        let bytes: usize = self.pieces.iter().map(|p| p.len() + 2).sum();
        let mut out = Vec::with_capacity(bytes + self.document.len() + self.header.len() + 16);
        out.push(VERSION);
        for part in [&self.document, &self.header] {
            varint(&mut out, part.len() as u64);
            out.extend_from_slice(part);
        }
        varint(&mut out, self.pieces.len() as u64);
        for p in &self.pieces {
            varint(&mut out, p.len() as u64);
            out.extend_from_slice(p);
        }
        out
    }

    /// The inverse. The parts are slices of `data`.
    pub fn decode(mut data: Bytes) -> Result<Skeleton, MediaError> {
        match data.try_get_u8() {
            Ok(VERSION) => {}
            Ok(_) => {
                return Err(MediaError::Unsupported { what: WHAT, why: "a skeleton of another version" });
            }
            Err(_) => return truncated(WHAT),
        }
        let (document, header) = (part(&mut data)?, part(&mut data)?);
        let count = get(&mut data)?;
        // Each takes a byte at least.
        if count > MAX_PIECES || count > data.len() as u64 {
            return invalid(WHAT, "a skeleton of more pieces than it has room for");
        }
        let pieces = (0..count).map(|_| part(&mut data)).collect::<Result<Vec<_>, _>>()?;
        if !data.is_empty() {
            return invalid(WHAT, "bytes after a skeleton's end");
        }
        Ok(Skeleton { document, header, pieces })
    }

    /// The beginning of a document that holds this fragment: header, a Segment of unknown size, what the producer said
    /// of itself.
    pub fn opening(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.document.len() + self.header.len() + 12);
        out.extend_from_slice(&self.document);
        ebml::put_id(&mut out, ids::SEGMENT);
        out.extend_from_slice(&UNKNOWN);
        out.extend_from_slice(&self.header);
        out.into()
    }
}

/// An unknown size of eight bytes.
const UNKNOWN: [u8; 8] = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// A Tags element with one Tag for the whole Segment, as the service writes it: all sizes have four bytes.
pub fn tags(all: &[(&str, &str)]) -> Bytes {
    let element = |out: &mut Vec<u8>, id, content: &[u8]| {
        ebml::put_id(out, id);
        ebml::put_vint_in(out, content.len() as u64, 4);
        out.extend_from_slice(content);
    };
    let (mut out, mut tag) = (vec![], vec![]);
    for (name, value) in all {
        let mut simple = vec![];
        element(&mut simple, ids::TAG_NAME, name.as_bytes());
        element(&mut simple, ids::TAG_STRING, value.as_bytes());
        element(&mut tag, ids::SIMPLE_TAG, &simple);
    }
    let mut one = vec![];
    element(&mut one, ids::TAG, &tag);
    element(&mut out, ids::TAGS, &one);
    out.into()
}

/// Takes the beginning of a document apart at the head of its Segment.
pub(super) fn apart(all: &Bytes) -> Option<(Bytes, Bytes)> {
    let mut at = 0;
    loop {
        let head = ebml::head(all.get(at..)?).ok()??;
        if head.id == ids::SEGMENT {
            return Some((all.slice(..at), all.slice(at + head.len..)));
        }
        at = at.checked_add(head.len)?.checked_add(usize::try_from(head.size?).ok()?)?;
    }
}

fn part(data: &mut Bytes) -> Result<Bytes, MediaError> {
    match usize::try_from(get(data)?) {
        Ok(len) if len <= data.len() => Ok(data.split_to(len)),
        _ => truncated(WHAT),
    }
}

fn varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn get(data: &mut Bytes) -> Result<u64, MediaError> {
    let mut v = 0u64;
    for shift in (0..63).step_by(7) {
        let Ok(b) = data.try_get_u8() else { return truncated(WHAT) };
        v |= u64::from(b & 0x7f) << shift;
        if b < 0x80 {
            return Ok(v);
        }
    }
    invalid(WHAT, "a number of more than 63 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..most).prop_map(Bytes::from)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(document in bytes(40), header in bytes(300), pieces in vec(bytes(20), 0..40)) {
            let s = Skeleton { document, header, pieces };
            prop_assert_eq!(Skeleton::decode(s.encode().into()), Ok(s));
        }
        #[test]
        fn any_bytes_are_a_skeleton_or_an_error(mut b in vec(any::<u8>(), 0..100)) {
            let _ = Skeleton::decode(b.clone().into());
            if let Some(first) = b.first_mut() {
                *first = VERSION;
            }
            if let Ok(s) = Skeleton::decode(b.clone().into()) {
                prop_assert!(s.pieces.len() <= b.len());
            }
        }
    }

    #[test]
    fn tags_are_written_as_the_service_writes_them() {
        let t = tags(&[("A", "bc")]);
        let want = [
            &[0x12, 0x54, 0xc3, 0x67, 0x10, 0, 0, 0x1b, 0x73, 0x73, 0x10, 0, 0, 0x15][..],
            &[
                0x67, 0xc8, 0x10, 0, 0, 0x0f, 0x45, 0xa3, 0x10, 0, 0, 1, b'A', 0x44, 0x87, 0x10, 0, 0, 2,
                b'b', b'c',
            ],
        ];
        assert_eq!(t, want.concat());
    }
}
