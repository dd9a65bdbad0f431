//! From a planned fragment's table and payload to its bytes in the file.

use std::ops::Range;

use bytes::Bytes;

use super::layout::groups;
use super::plan::WHAT;
use crate::error::invalid;
use crate::{Codec, Framing, MediaError, Sample, Table, nals, salvage_length4};

/// What a fragment was when it was planned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    /// Bytes in the file.
    pub bytes: u64,
    pub samples: u32,
    /// Whether NAL units are written anew, as their payload demanded.
    pub rewrite: bool,
}

/// A piece of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// These bytes of the fragment's payload, as they are.
    Payload(Range<u64>),
    /// These bytes: parameter sets.
    Bytes(Bytes),
}

/// `wanted`: for each track of the table that takes part, what goes before its key frames.
pub(super) fn parts(
    planned: &Planned,
    table: &Table,
    wanted: &[Option<Bytes>],
) -> Result<Vec<Part>, MediaError> {
    if planned.rewrite {
        return invalid(WHAT, "this fragment's payload is to be rewritten, not copied");
    }
    let mut out = vec![];
    let (mut bytes, mut samples) = (0u64, 0);
    for (i, list) in groups(table, wanted) {
        for n in list {
            let s = &table.samples[n as usize];
            let end = s.offset.saturating_add(u64::from(s.len));
            if let Some(sets) = sets(wanted, i, s) {
                bytes += sets.len() as u64;
                out.push(Part::Bytes(sets));
            }
            bytes = bytes.saturating_add(u64::from(s.len));
            samples += 1;
            match out.last_mut() {
                Some(Part::Payload(last)) if last.end == s.offset => last.end = end,
                _ if s.len > 0 => out.push(Part::Payload(s.offset..end)),
                _ => {}
            }
        }
    }
    if (bytes, samples) != (planned.bytes, planned.samples) {
        return invalid(WHAT, "another table than was planned with");
    }
    Ok(out)
}

fn sets(wanted: &[Option<Bytes>], track: usize, s: &Sample) -> Option<Bytes> {
    wanted.get(track)?.as_ref().filter(|sets| s.access.is_start() && !sets.is_empty()).cloned()
}

pub(super) fn slices(
    planned: &Planned,
    table: &Table,
    payload: &Bytes,
    wanted: &[Option<Bytes>],
) -> Result<Vec<Bytes>, MediaError> {
    if !planned.rewrite {
        let slice = |part: Part| match part {
            Part::Bytes(bytes) => Ok(bytes),
            Part::Payload(r) => match (usize::try_from(r.start), usize::try_from(r.end)) {
                (Ok(start), Ok(end)) if start <= end && end <= payload.len() => Ok(payload.slice(start..end)),
                _ => invalid(WHAT, "a sample beyond the payload"),
            },
        };
        return parts(planned, table, wanted)?.into_iter().map(slice).collect();
    }
    let mut out = vec![];
    let (mut bytes, mut samples) = (0u64, 0);
    for (i, list) in groups(table, wanted) {
        for n in list {
            let s = &table.samples[n as usize];
            let data = slice_of(s, payload)?;
            let data = match table.tracks[i].codec {
                Codec::H264 | Codec::H265 => salvage_length4(table.tracks[i].framing, &data),
                _ => data,
            };
            samples += 1;
            for data in sets(wanted, i, s).into_iter().chain([data]).filter(|d| !d.is_empty()) {
                bytes += data.len() as u64;
                out.push(data);
            }
        }
    }
    if (bytes, samples) != (planned.bytes, planned.samples) {
        return invalid(WHAT, "another table or payload than was planned with");
    }
    Ok(out)
}

fn slice_of(s: &Sample, payload: &Bytes) -> Result<Bytes, MediaError> {
    let start = usize::try_from(s.offset).ok();
    let end = start.and_then(|start| start.checked_add(s.len as usize)).filter(|end| *end <= payload.len());
    match (start, end) {
        (Some(start), Some(end)) => Ok(payload.slice(start..end)),
        _ => invalid(WHAT, "a sample beyond the payload"),
    }
}

/// The framing of each track that has NAL units, by id; `Raw` of others.
fn framings(table: &Table) -> [Framing; 256] {
    let mut framing = [Framing::Raw; 256];
    for track in table.tracks.iter().filter(|t| matches!(t.codec, Codec::H264 | Codec::H265)) {
        framing[usize::from(track.id)] = track.framing;
    }
    framing
}

/// Whether any sample's NAL units are not framed by sound lengths without empty units.
pub(super) fn must_rewrite(table: &Table, payload: &Bytes) -> bool {
    let framings = framings(table);
    table.samples.iter().any(|s| {
        let framing = framings[usize::from(s.track)];
        let n = match framing {
            Framing::Raw => return false,
            Framing::Length(n @ (1 | 2 | 4)) => usize::from(n),
            _ => return true,
        };
        let Ok(data) = slice_of(s, payload) else { return true };
        let mut used = 0;
        for nal in nals(framing, &data) {
            let Ok(nal) = nal else { return true };
            used += nal.len() + n;
        }
        used != data.len()
    })
}

/// How many bytes [`salvage_length4`] makes of each sample.
pub(super) fn rewritten_sizes(table: &Table, payload: &Bytes) -> Result<Vec<u32>, MediaError> {
    let framings = framings(table);
    let size = |s: &Sample| {
        let framing = framings[usize::from(s.track)];
        if framing == Framing::Raw {
            return Ok(s.len);
        }
        let data = slice_of(s, payload)?;
        let size: usize = nals(framing, &data).map_while(Result::ok).map(|nal| nal.len() + 4).sum();
        u32::try_from(size).or_else(|_| invalid(WHAT, "a sample of 4 GiB or more"))
    };
    table.samples.iter().map(size).collect()
}
