//! EBML's few forms (RFC 8794 §4 to §7).

use super::WHAT;
use crate::MediaError;
use crate::error::{invalid, truncated};

/// The head of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub id: u32,
    /// Bytes of content; `None`: unknown.
    pub size: Option<u64>,
    /// Bytes of the head itself.
    pub len: usize,
}

/// Reads the head of an element; `None` where there are too few bytes.
pub(super) fn head(data: &[u8]) -> Result<Option<Head>, MediaError> {
    let Some(&first) = data.first() else { return Ok(None) };
    let id_len = first.leading_zeros() as usize + 1;
    if id_len > 4 {
        return invalid(WHAT, "an element id of more than four bytes");
    }
    let Some((id, rest)) = data.split_at_checked(id_len) else { return Ok(None) };
    let id = id.iter().fold(0u32, |v, b| v << 8 | u32::from(*b));
    if rest.first() == Some(&0) {
        return invalid(WHAT, "a size of more than eight bytes");
    }
    let Some((size, len)) = vint(rest) else { return Ok(None) };
    let unknown = (1u64 << (7 * len)) - 1;
    Ok(Some(Head { id, size: Some(size).filter(|s| *s != unknown), len: id_len + len }))
}

/// A number of variable length, without its marker, and how many bytes it took; `None` if they are not all there, or
/// the first is 0.
pub(super) fn vint(data: &[u8]) -> Option<(u64, usize)> {
    let first = *data.first()?;
    let len = first.leading_zeros() as usize + 1;
    let rest = data.get(1..len)?;
    let marked = u64::from(first) & ((1u64 << 8usize.checked_sub(len)?) - 1);
    Some((rest.iter().fold(marked, |v, b| v << 8 | u64::from(*b)), len))
}

/// The elements of a content that is all there.
pub(super) fn children(content: &[u8]) -> impl Iterator<Item = Result<(u32, &[u8]), MediaError>> {
    let mut rest = content;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let read = match head(rest) {
            Ok(Some(Head { id, size: Some(size), len })) => {
                match usize::try_from(size).ok().and_then(|size| rest[len..].split_at_checked(size)) {
                    Some((content, after)) => {
                        rest = after;
                        return Some(Ok((id, content)));
                    }
                    None => invalid(WHAT, "an element larger than the one around it"),
                }
            }
            Ok(Some(_)) => invalid(WHAT, "an element whose size must be known"),
            Ok(None) => truncated(WHAT),
            Err(e) => Err(e),
        };
        rest = &[];
        Some(read)
    })
}

/// An unsigned number of 0 to 8 bytes.
pub(super) fn uint(content: &[u8]) -> Result<u64, MediaError> {
    if content.len() > 8 {
        return invalid(WHAT, "a number of more than eight bytes");
    }
    Ok(content.iter().fold(0, |v, b| v << 8 | u64::from(*b)))
}

/// A signed number of 0 to 8 bytes.
pub(super) fn int(content: &[u8]) -> Result<i64, MediaError> {
    let unused = 64 - 8 * content.len().min(8) as u32;
    Ok(if unused == 64 { 0 } else { (uint(content)? as i64) << unused >> unused })
}

/// A floating-point number of 0, 4 or 8 bytes.
pub(super) fn float(content: &[u8]) -> Result<f64, MediaError> {
    match content.len() {
        0 => Ok(0.0),
        4 => Ok(f64::from(f32::from_bits(uint(content)? as u32))),
        8 => Ok(f64::from_bits(uint(content)?)),
        _ => invalid(WHAT, "a floating-point number of another length than 4 or 8"),
    }
}

/// Text up to its first zero byte; at most 4 KiB of it.
pub(super) fn text(content: &[u8]) -> String {
    let end = content.iter().position(|b| *b == 0).unwrap_or(content.len()).min(4096);
    String::from_utf8_lossy(&content[..end]).into_owned()
}

pub(super) fn put_id(out: &mut Vec<u8>, id: u32) {
    out.extend(id.to_be_bytes().iter().skip_while(|b| **b == 0));
}

/// A size, or another number of variable length, in as few bytes as can be. Beyond 56 bits nothing can be that long.
pub(super) fn put_vint(out: &mut Vec<u8>, v: u64) {
    let len = (1..8).find(|n| v < (1u64 << (7 * n)) - 1).unwrap_or(8);
    put_vint_in(out, v, len);
}

pub(super) fn put_vint_in(out: &mut Vec<u8>, v: u64, len: usize) {
    let marked = v & ((1u64 << (7 * len)) - 1) | 1u64 << (7 * len);
    out.extend(&marked.to_be_bytes()[8 - len..]);
}

pub(super) fn put(out: &mut Vec<u8>, id: u32, content: &[u8]) {
    put_id(out, id);
    put_vint(out, content.len() as u64);
    out.extend(content);
}

pub(super) fn put_uint(out: &mut Vec<u8>, id: u32, v: u64) {
    let bytes = v.to_be_bytes();
    let zeros = (v.leading_zeros() as usize / 8).min(7);
    put(out, id, &bytes[zeros..]);
}

pub(super) fn put_float(out: &mut Vec<u8>, id: u32, v: f64) {
    put(out, id, &v.to_bits().to_be_bytes());
}

pub(super) fn put_master(out: &mut Vec<u8>, id: u32, content: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = vec![];
    content(&mut inner);
    put(out, id, &inner);
}

/// A Void that takes so many bytes with its head: 2 to 128.
pub(super) fn put_void(out: &mut Vec<u8>, len: usize) {
    put(out, super::ids::VOID, &vec![0; len.saturating_sub(2)]);
}
