use bytes::Bytes;

use crate::boxes::{boxed, full, patch, u32, u64};
use crate::error::invalid;
use crate::nal::salvage_length4;
use crate::{MediaError, RandomAccess, Sample, Table, Track};

const WHAT: &str = "MP4 media segment";

/// A sample with its bytes, framed as its track says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Times and kind; `offset` and `len` are not used here.
    pub sample: Sample,
    /// The payload.
    pub data: Bytes,
}

/// One track's part of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The track.
    pub track: &'a Track,
    /// Its samples in decode order.
    pub pieces: &'a [Piece],
}

/// One track's samples of a fragment, with slices of its payload. An error if the table reaches beyond the payload.
pub fn pieces(table: &Table, payload: &Bytes, track: u8) -> Result<Vec<Piece>, MediaError> {
    let mut out = vec![];
    for sample in table.samples.iter().filter(|s| s.track == track) {
        let start = usize::try_from(sample.offset).ok();
        let end = start.and_then(|s| s.checked_add(sample.len as usize)).filter(|end| *end <= payload.len());
        let (Some(start), Some(end)) = (start, end) else {
            return invalid(WHAT, "a sample beyond the payload");
        };
        out.push(Piece { sample: sample.clone(), data: payload.slice(start..end) });
    }
    Ok(out)
}

/// The picture to show for a whole fragment when playing fast: its first sample that decoding can start at, lasting as
/// long as all the samples do, shown when decoded. `None` if there is no such sample.
pub fn keyframe(pieces: &[Piece]) -> Option<Piece> {
    let key = pieces.iter().find(|p| p.sample.access.is_start())?;
    let (first, last) = (&pieces.first()?.sample, &pieces.last()?.sample);
    let whole = last.dts.saturating_sub(first.dts).saturating_add(i64::from(last.duration));
    let duration = u32::try_from(whole.max(1)).unwrap_or(u32::MAX);
    let sample = Sample { dts: key.sample.pts, duration, ..key.sample.clone() };
    Some(Piece { sample, data: key.data.clone() })
}

/// A media segment as a list of slices to be sent one after another: the boxes, then the payloads themselves.
///
/// Each sample lasts until the next one's decode time, so that decode times come out exactly; the last lasts as long
/// as it says. `sequence` is for `mfhd`. Runs without samples are left out. NAL units come out framed by four-byte
/// lengths; of a payload whose framing is broken, the units before the break (a player gives up at a broken length).
/// Presentation times that differ from decode times by more than 31 bits are brought into range.
///
/// Fails with nothing to send, times before 1970, or a segment of 2 GiB or more.
pub fn segment(sequence: u32, runs: &[Run]) -> Result<Vec<Bytes>, MediaError> {
    let mut payloads = vec![];
    let mut parts = vec![];
    for run in runs {
        let mut samples = vec![];
        for piece in run.pieces {
            let data = salvage_length4(run.track.framing, &piece.data);
            let Ok(size) = u32::try_from(data.len()) else { return invalid(WHAT, "2 GiB or more") };
            samples.push((&piece.sample, size));
            payloads.push(data);
        }
        parts.push(Part { track: run.track, samples });
    }
    let mut slices = Vec::with_capacity(1 + payloads.len());
    slices.push(boxes(sequence, &parts)?);
    slices.extend(payloads.into_iter().filter(|p| !p.is_empty()));
    Ok(slices)
}

/// What [`segment`] puts first, for samples of one track whose payloads go out as they are (NAL units framed by
/// four-byte lengths) and need not be at hand: `len` says their sizes. They are to follow in the same order.
pub fn head<'a>(
    sequence: u32,
    track: &Track,
    samples: impl IntoIterator<Item = &'a Sample>,
) -> Result<Bytes, MediaError> {
    let samples = samples.into_iter().map(|s| (s, s.len)).collect();
    boxes(sequence, &[Part { track, samples }])
}

/// One track's samples with the sizes that they go out with.
struct Part<'a> {
    track: &'a Track,
    samples: Vec<(&'a Sample, u32)>,
}

/// Everything before the first payload.
fn boxes(sequence: u32, parts: &[Part]) -> Result<Bytes, MediaError> {
    let count: usize = parts.iter().map(|p| p.samples.len()).sum();
    if count == 0 {
        return invalid(WHAT, "no samples");
    }
    let mut out = Vec::with_capacity(128 + 100 * parts.len() + 16 * count);
    // Where each data offset stands, and what it counts within `mdat`.
    let mut offsets = vec![];
    let mut total = 0u64;
    let mut failed = None;
    boxed(&mut out, b"moof", |out| {
        full(out, b"mfhd", 0, 0, |out| u32(out, sequence));
        for part in parts {
            match put_part(out, part) {
                Ok(Some(at)) => offsets.push((at, total)),
                Ok(None) => {}
                Err(e) => failed = Some(e),
            }
            total += part.samples.iter().map(|(_, size)| u64::from(*size)).sum::<u64>();
        }
    });
    if let Some(e) = failed {
        return Err(e);
    }
    let first = out.len() as u64 + 8;
    if first + total > i32::MAX as u64 {
        return invalid(WHAT, "2 GiB or more");
    }
    for (at, start) in offsets {
        patch(&mut out, at, (first + start) as u32);
    }
    u32(&mut out, (8 + total) as u32);
    out.extend(b"mdat");
    Ok(out.into())
}

/// Sample flags (§8.8.3.1): does not depend on others; depends on others and is no sync sample.
const SYNC: u32 = 0x0200_0000;
const NOT_SYNC: u32 = 0x0101_0000;

/// Writes a `traf`, if there are samples, and returns where its data offset stands.
fn put_part(out: &mut Vec<u8>, part: &Part) -> Result<Option<usize>, MediaError> {
    let Some((first, _)) = part.samples.first() else { return Ok(None) };
    let Ok(base) = u64::try_from(first.dts) else { return invalid(WHAT, "a time before 1970") };
    let times = times(&part.samples);
    let flags = |s: &Sample| if s.access == RandomAccess::None { NOT_SYNC } else { SYNC };
    let same_flags = part.samples.iter().all(|(s, _)| flags(s) == flags(first));
    let same_duration = times.iter().all(|t| t.duration == times[0].duration);
    let no_cts = times.iter().all(|t| t.cts == 0);
    let mut at = 0;
    boxed(out, b"traf", |out| {
        let tfhd = 0x2_0000 | if same_duration { 0x8 } else { 0 } | if same_flags { 0x20 } else { 0 };
        full(out, b"tfhd", 0, tfhd, |out| {
            u32(out, u32::from(part.track.id));
            if same_duration {
                u32(out, times[0].duration);
            }
            if same_flags {
                u32(out, flags(first));
            }
        });
        full(out, b"tfdt", 1, 0, |out| u64(out, base));
        let trun = 0x201
            | if same_duration { 0 } else { 0x100 }
            | if same_flags { 0 } else { 0x400 }
            | if no_cts { 0 } else { 0x800 };
        full(out, b"trun", 1, trun, |out| {
            u32(out, part.samples.len() as u32);
            at = out.len();
            u32(out, 0);
            for ((sample, size), time) in part.samples.iter().zip(&times) {
                if !same_duration {
                    u32(out, time.duration);
                }
                u32(out, *size);
                if !same_flags {
                    u32(out, flags(sample));
                }
                if !no_cts {
                    u32(out, time.cts as u32);
                }
            }
        });
    });
    Ok(Some(at))
}

struct Time {
    duration: u32,
    cts: i32,
}

/// Durations such that decode times add up again, and offsets from what they add up to.
fn times(samples: &[(&Sample, u32)]) -> Vec<Time> {
    let mut dts = samples.first().map_or(0, |(s, _)| s.dts);
    let next = samples.iter().skip(1).map(|(s, _)| Some(s.dts)).chain([None]);
    samples
        .iter()
        .zip(next)
        .map(|((sample, _), next)| {
            let until = next.map_or(i64::from(sample.duration.max(1)), |next| next.saturating_sub(dts));
            let duration = until.clamp(0, i64::from(u32::MAX)) as u32;
            let cts = sample.pts.saturating_sub(dts).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
            dts = dts.saturating_add(i64::from(duration));
            Time { duration, cts }
        })
        .collect()
}
