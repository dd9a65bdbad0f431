use super::description::{boxes, find};
use super::movie::Movie;
use super::{MovieSample, WHAT};
use crate::MediaError;
use crate::bits::Cursor;
use crate::error::{invalid, truncated};

/// Samples of one `moof`.
const MAX_SAMPLES: usize = 1 << 20;

/// One track's samples of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovieRun {
    /// An index into [`Movie::tracks`].
    pub track: usize,
    /// Samples in decode order; offsets count from the start of the file.
    pub samples: Vec<MovieSample>,
}

impl Movie {
    /// Reads the content of a `moof` box (without its head) whose head stands `at` bytes from the start of the file.
    /// Fragments are to be given in the order of the file: those without a decode time go on where the last ended.
    /// Samples may be said to lie beyond the end of the file; that is for who reads them to find.
    ///
    /// Tracks that [`Movie::parse`] left aside are passed over. At most 2²⁰ samples.
    pub fn fragment(&mut self, moof: &[u8], at: u64) -> Result<Vec<MovieRun>, MediaError> {
        let mut out: Vec<MovieRun> = vec![];
        let mut left = MAX_SAMPLES;
        // Where data goes on when nothing else is said: after the track fragment before, at first at the `moof`.
        let mut end = at;
        for traf in boxes(moof).filter(|b| &b.kind == b"traf") {
            let Some(run) = self.track_fragment(traf.content, at, &mut end, &mut left)? else { continue };
            out.push(run);
        }
        Ok(out)
    }

    fn track_fragment(
        &mut self,
        traf: &[u8],
        at: u64,
        end: &mut u64,
        left: &mut usize,
    ) -> Result<Option<MovieRun>, MediaError> {
        let Some(tfhd) = find(traf, b"tfhd") else { return invalid(WHAT, "a fragment without tfhd") };
        let mut c = Cursor::new(WHAT, tfhd);
        let set = c.u32()? & 0xff_ffff;
        let id = c.u32()?;
        let base = if set & 1 != 0 {
            c.u64()?
        } else if set & 0x2_0000 != 0 {
            at
        } else {
            *end
        };
        let mut optional = |bit: u32| if set & bit != 0 { c.u32().map(Some) } else { Ok(None) };
        let (description, duration, size, flags) =
            (optional(2)?, optional(8)?, optional(0x10)?, optional(0x20)?);
        let Some(track) = self.tracks.iter().position(|t| t.id == id) else { return Ok(None) };
        let extends = self.tracks[track].extends;
        let description = description.unwrap_or(extends.description).saturating_sub(1) as usize;
        let defaults = Defaults {
            duration: duration.unwrap_or(extends.duration),
            size: size.unwrap_or(extends.size),
            flags: flags.unwrap_or(extends.flags),
        };
        let mut dts = extends.next;
        if let Some(tfdt) = find(traf, b"tfdt") {
            let mut c = Cursor::new(WHAT, tfdt);
            let time = if c.u32()? >> 24 == 1 { c.u64()? } else { u64::from(c.u32()?) };
            dts = match i64::try_from(time) {
                Ok(time) => time,
                Err(_) => return invalid(WHAT, "a decode time beyond 63 bits"),
            };
        }
        let mut samples = vec![];
        *end = base;
        for trun in boxes(traf).filter(|b| &b.kind == b"trun") {
            read_run(trun.content, base, defaults, description, &mut dts, end, left, &mut samples)?;
        }
        // Where pictures are shown before they are "decoded", all decode times are moved back from here on.
        let behind = samples.iter().map(|s: &MovieSample| s.dts.saturating_sub(s.pts)).max().unwrap_or(0);
        let state = &mut self.tracks[track].extends;
        state.next = dts;
        state.lead = state.lead.max(behind);
        let mut last = None;
        for s in &mut samples {
            s.dts = s.dts.saturating_sub(state.lead);
            if let Some(last) = last {
                s.dts = s.dts.max(i64::saturating_add(last, 1));
            }
            s.pts = s.pts.max(s.dts);
            last = Some(s.dts);
        }
        Ok(Some(MovieRun { track, samples }))
    }
}

#[derive(Clone, Copy)]
struct Defaults {
    duration: u32,
    size: u32,
    flags: u32,
}

#[allow(clippy::too_many_arguments)]
fn read_run(
    trun: &[u8],
    base: u64,
    defaults: Defaults,
    description: usize,
    dts: &mut i64,
    end: &mut u64,
    left: &mut usize,
    samples: &mut Vec<MovieSample>,
) -> Result<(), MediaError> {
    let mut c = Cursor::new(WHAT, trun);
    let set = c.u32()? & 0xff_ffff;
    let count = c.u32()? as usize;
    if set & 1 != 0 {
        *end = match base.checked_add_signed(i64::from(c.u32()? as i32)) {
            Some(offset) => offset,
            None => return invalid(WHAT, "samples before the start of the file"),
        };
    }
    let first_flags = if set & 4 != 0 { Some(c.u32()?) } else { None };
    let each = (set >> 8 & 0xf).count_ones() as usize * 4;
    if count > *left {
        return invalid(WHAT, "more than 2^20 samples in a fragment");
    }
    if c.rest.len() < each * count {
        return truncated(WHAT);
    }
    *left -= count;
    for i in 0..count {
        let mut field = |bit: u32| if set & bit != 0 { c.u32().map(Some) } else { Ok(None) };
        let duration = field(0x100)?.unwrap_or(defaults.duration);
        let len = field(0x200)?.unwrap_or(defaults.size);
        let own = field(0x400)?.or(first_flags.filter(|_| i == 0)).unwrap_or(defaults.flags);
        let offset = i64::from(field(0x800)?.unwrap_or(0) as i32);
        samples.push(MovieSample {
            offset: *end,
            len,
            dts: *dts,
            pts: dts.saturating_add(offset),
            duration,
            sync: own & 0x1_0000 == 0,
            description,
        });
        *dts = dts.saturating_add(i64::from(duration));
        *end = end.saturating_add(u64::from(len));
    }
    Ok(())
}
