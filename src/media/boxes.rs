//! Boxes: a size of 32 bits, four characters, content.

use crate::MediaError;
use crate::bits::Cursor;
use crate::error::invalid;

/// Writes a box. Content is bounded by its callers, far below 4 GiB.
pub(crate) fn boxed(out: &mut Vec<u8>, kind: &[u8; 4], content: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([0; 4]);
    out.extend(kind);
    content(out);
    let size = (out.len() - at) as u32;
    patch(out, at, size);
}

/// A box with version and flags.
pub(crate) fn full(
    out: &mut Vec<u8>,
    kind: &[u8; 4],
    version: u8,
    flags: u32,
    content: impl FnOnce(&mut Vec<u8>),
) {
    boxed(out, kind, |out| {
        u32(out, u32::from(version) << 24 | flags & 0xff_ffff);
        content(out);
    });
}

/// Writes a number over four bytes that are there already.
pub(crate) fn patch(out: &mut [u8], at: usize, value: u32) {
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

pub(crate) fn u16(out: &mut Vec<u8>, v: u16) {
    out.extend(v.to_be_bytes());
}

pub(crate) fn u32(out: &mut Vec<u8>, v: u32) {
    out.extend(v.to_be_bytes());
}

pub(crate) fn u64(out: &mut Vec<u8>, v: u64) {
    out.extend(v.to_be_bytes());
}

pub(crate) fn zeros(out: &mut Vec<u8>, n: usize) {
    out.resize(out.len() + n, 0);
}

/// One box that was read.
pub(crate) struct Box<'a> {
    pub kind: [u8; 4],
    pub content: &'a [u8],
}

/// Takes the next box off, or `None` at the end.
pub(crate) fn next<'a>(c: &mut Cursor<'a>) -> Result<Option<Box<'a>>, MediaError> {
    if c.rest.is_empty() {
        return Ok(None);
    }
    let size = c.u32()?;
    let kind = c.array()?;
    let len = match size {
        0 => c.rest.len() as u64,
        1 => match c.u64()?.checked_sub(16) {
            Some(len) => len,
            None => return invalid(c.what, "a box smaller than its head"),
        },
        _ => match size.checked_sub(8) {
            Some(len) => u64::from(len),
            None => return invalid(c.what, "a box smaller than its head"),
        },
    };
    let content = c.take(usize::try_from(len).unwrap_or(usize::MAX))?;
    Ok(Some(Box { kind, content }))
}

/// The first box of a kind within.
pub(crate) fn find<'a>(
    what: &'static str,
    content: &'a [u8],
    kind: &[u8; 4],
) -> Result<&'a [u8], MediaError> {
    let mut c = Cursor::new(what, content);
    while let Some(found) = next(&mut c)? {
        if found.kind == *kind {
            return Ok(found.content);
        }
    }
    invalid(what, "a box that must be there is missing")
}
