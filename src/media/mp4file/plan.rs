use std::sync::Arc;

use bytes::Bytes;

use super::emit::{self, Part, Planned};
use super::layout::{groups, length};
use super::moov::{self, ftyp};
use super::track::Out;
use crate::error::invalid;
use crate::timeline::{Gaps, Timeline, from_ns, rescale, to_ns};
use crate::{Codec, LeftOut, MediaError, Sample, Table, Track, table};

pub(super) const WHAT: &str = "MP4 file";

/// Samples in one file: five days of a camera with sound. A day took 64 MB to plan, and 110 MB with its head.
pub const MAX_SAMPLES: usize = 1 << 25;
/// Sample descriptions of one file, and the bytes of their configurations together.
const MAX_DESCRIPTIONS: usize = 4096;
const MAX_CONFIGS: usize = 1 << 24;

/// Collects what a file's `moov` has to say; see the [module](super).
#[derive(Debug)]
pub struct Plan {
    pub(super) timeline: Timeline,
    pub(super) outs: Vec<Out>,
    fragments: Vec<Planned>,
    samples: usize,
    configs: (usize, usize),
    /// Where the next sample's bytes go: in the file, or in `mdat` when that is not known yet.
    pub(super) at: u64,
    left_out: Vec<LeftOut>,
}

impl Default for Plan {
    fn default() -> Self {
        Plan::new(Gaps::Keep)
    }
}

impl Plan {
    /// Nothing yet.
    pub fn new(gaps: Gaps) -> Plan {
        Plan {
            timeline: Timeline::new(gaps),
            outs: vec![],
            fragments: vec![],
            samples: 0,
            configs: (0, 0),
            at: 0,
            left_out: vec![],
        }
    }

    /// Whether a fragment's payload is needed to plan it: [`add_payload`](Self::add_payload).
    pub fn needs_payload(table: &Table) -> bool {
        table.tracks.iter().any(|t| matches!(t.codec, Codec::H264 | Codec::H265) && length(t).is_none())
    }

    /// Plans the next fragment by its table alone: its payload, of so many bytes, will go out as it is.
    ///
    /// Fails if the table is not sound ([`table::check`]), if it [needs its payload](Self::needs_payload), or beyond
    /// [`MAX_SAMPLES`]. After an error the plan is as before, but for tracks that were listed as left out.
    pub fn add(&mut self, table: &Table, payload_len: u64) -> Result<(), MediaError> {
        if Self::needs_payload(table) {
            return Err(MediaError::Unsupported {
                what: WHAT,
                why: "a payload framed as Annex B is needed to plan with",
            });
        }
        self.put(table, payload_len, None)
    }

    /// Plans the next fragment with its payload at hand: NAL units in any framing, and of payloads whose framing is
    /// broken those before the break. Nothing of the payload is kept.
    pub fn add_payload(&mut self, table: &Table, payload: &Bytes) -> Result<(), MediaError> {
        self.put(table, payload.len() as u64, Some(payload))
    }

    fn put(&mut self, table: &Table, payload_len: u64, payload: Option<&Bytes>) -> Result<(), MediaError> {
        table::check(table, payload_len)?;
        if self.samples + table.samples.len() > MAX_SAMPLES {
            return Err(MediaError::Unsupported { what: WHAT, why: "so many samples; take a shorter range" });
        }
        let lens = table.samples.iter().map(|s| u64::from(s.len)).sum::<u64>();
        if lens > payload_len {
            return invalid(WHAT, "samples that share bytes");
        }
        let rewrite = payload.is_some_and(|payload| emit::must_rewrite(table, payload));
        let sizes = match payload.filter(|_| rewrite) {
            Some(payload) => emit::rewritten_sizes(table, payload)?,
            None => table.samples.iter().map(|s| s.len).collect(),
        };
        let places = self.describe(table, rewrite)?;
        let longest = table.tracks.iter().map(|t| to_ns(i64::from(i32::MAX), t.timescale)).min();
        let shift = self.timeline.place(table, longest.unwrap_or(i128::MAX));
        let from = self.at;
        let mut samples = 0;
        let wanted: Vec<Option<Bytes>> = places.iter().map(|p| p.map(|_| Bytes::new())).collect();
        for (i, list) in groups(table, &wanted) {
            let Some((out, description)) = places[i] else { continue };
            let (track, out) = (&table.tracks[i], &mut self.outs[out]);
            out.chunk(self.at, list.len() as u32, description);
            let sets = out.changed.map_or(0, |_| out.descriptions[description].sets.len() as u32);
            let move_by = from_ns(shift, out.timescale);
            for n in list {
                let s = &table.samples[n as usize];
                let size = sizes[n as usize].saturating_add(if s.access.is_start() { sets } else { 0 });
                let time = |t| rescale(t, track.timescale, out.timescale).saturating_add(move_by);
                let duration = rescale(i64::from(s.duration), track.timescale, out.timescale);
                let duration = duration.clamp(0, i64::from(u32::MAX)) as u32;
                out.push(&Sample { dts: time(s.dts), pts: time(s.pts), duration, ..s.clone() }, size);
                self.at = self.at.saturating_add(u64::from(size));
                samples += 1;
            }
        }
        self.samples += samples as usize;
        self.fragments.push(Planned { bytes: self.at - from, samples, rewrite });
        Ok(())
    }

    /// For each track of a table, which track of the file it becomes, with which description.
    fn describe(&mut self, table: &Table, rewrite: bool) -> Result<Vec<Option<(usize, usize)>>, MediaError> {
        let mut places = vec![];
        for track in &table.tracks {
            let length = announced(track, rewrite);
            let out = self.outs.iter().position(|o| o.id == track.id && o.codec == track.codec);
            if let Some(out) = out
                && let Some(description) = self.outs[out].description(track, length)
            {
                places.push(Some((out, description)));
                continue;
            }
            let (count, bytes) = (self.configs.0 + 1, self.configs.1 + track.config.len());
            if count > MAX_DESCRIPTIONS || bytes > MAX_CONFIGS {
                return Err(MediaError::Unsupported { what: WHAT, why: "so many changes of configuration" });
            }
            let mut new = Out::new(track);
            let described = match out {
                Some(out) => self.outs[out].describe(track, length).map(|d| (out, d)),
                None => new.describe(track, length).map(|d| (self.outs.len(), d)),
            };
            match described {
                Ok(place) => {
                    self.configs = (count, bytes);
                    match out {
                        Some(out) => {
                            self.outs[out].changed = self.outs[out].changed.or(Some(self.fragments.len()))
                        }
                        None => self.outs.push(new),
                    }
                    places.push(Some(place));
                }
                Err(why) => {
                    let left = LeftOut { track: track.id, codec: track.codec, why };
                    if !self.left_out.contains(&left) && self.left_out.len() < MAX_DESCRIPTIONS {
                        self.left_out.push(left);
                    }
                    places.push(None);
                }
            }
        }
        Ok(places)
    }

    /// The fragment that was added last, as slices.
    pub(super) fn last_slices(&self, table: &Table, payload: &Bytes) -> Result<Vec<Bytes>, MediaError> {
        let Some(planned) = self.fragments.last() else { return Ok(vec![]) };
        let wanted = wanted(&self.outs, self.fragments.len() - 1, table, planned.rewrite);
        emit::slices(planned, table, payload, &wanted)
    }

    /// What was left out so far.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Writes everything that comes before the first sample. Fails if there is none.
    pub fn finish(mut self) -> Result<Head, MediaError> {
        let data = self.at;
        let mut bytes = ftyp();
        let large = data + 8 > u64::from(u32::MAX);
        // What `moov` takes at most; whether offsets need 64 bits must be known before it is written.
        let most = self.samples as u64 * 44 + self.configs.1 as u64 + (self.configs.0 as u64 + 1) * 2048;
        let wide = data + most + 64 > u64::from(u32::MAX);
        let places = moov::write(&mut bytes, &mut self, wide)?;
        let first = bytes.len() as u64 + if large { 16 } else { 8 };
        moov::shift_offsets(&mut bytes, &places, wide, first);
        moov::mdat(&mut bytes, data, large);
        self.outs.iter_mut().for_each(Out::forget_samples);
        Ok(Head {
            total: bytes.len() as u64 + data,
            bytes: bytes.into(),
            left_out: self.left_out,
            fragments: self.fragments,
            outs: self.outs,
        })
    }
}

/// The beginning of a file whose `moov` comes first, and what is needed to write the rest.
///
/// The file is [`bytes`](Self::bytes), then for each fragment, in the order of planning, what
/// [`parts`](Self::parts) names, or [`slices`](Self::slices) makes of its payload; nothing after.
#[derive(Debug)]
pub struct Head {
    /// `ftyp`, `moov`, and the head of `mdat`.
    pub bytes: Bytes,
    /// Bytes of the whole file.
    pub total: u64,
    /// What could not be put into it.
    pub left_out: Vec<LeftOut>,
    fragments: Vec<Planned>,
    outs: Vec<Out>,
}

impl Head {
    /// How many fragments were planned.
    pub fn fragments(&self) -> usize {
        self.fragments.len()
    }

    /// Bytes of the file that a fragment fills; 0 of one that was not planned.
    pub fn len_of(&self, fragment: usize) -> u64 {
        self.fragments.get(fragment).map_or(0, |f| f.bytes)
    }

    /// A fragment's part of the file, from its table alone, in order. Neighbouring ranges are joined; where pictures and
    /// sound alternate in the payload there is nevertheless one for nearly each picture.
    ///
    /// Fails if the table is not the one that was planned with, or if the payload has to be rewritten.
    pub fn parts(&self, fragment: usize, table: &Table) -> Result<Vec<Part>, MediaError> {
        let planned = self.planned(fragment)?;
        emit::parts(&planned, table, &wanted(&self.outs, fragment, table, planned.rewrite))
    }

    /// A fragment's part of the file, as slices of its payload (NAL units that are written anew are copied).
    ///
    /// Fails if the table or the payload is not the one that was planned with.
    pub fn slices(&self, fragment: usize, table: &Table, payload: &Bytes) -> Result<Vec<Bytes>, MediaError> {
        let planned = self.planned(fragment)?;
        emit::slices(&planned, table, payload, &wanted(&self.outs, fragment, table, planned.rewrite))
    }

    fn planned(&self, fragment: usize) -> Result<Planned, MediaError> {
        match self.fragments.get(fragment) {
            Some(planned) => Ok(*planned),
            None => invalid(WHAT, "a fragment that was not planned"),
        }
    }
}

/// For each track of a table, what goes before its key frames; `None` of those that have no place in the file.
fn wanted(outs: &[Out], fragment: usize, table: &Table, rewrite: bool) -> Vec<Option<Bytes>> {
    let place = |track: &Arc<Track>| {
        let out = outs.iter().find(|o| o.id == track.id && o.codec == track.codec)?;
        let description = &out.descriptions[out.description(track, announced(track, rewrite))?];
        let sets = out.changed.is_some_and(|from| from <= fragment);
        Some(if sets { description.sets.clone() } else { Bytes::new() })
    };
    table.tracks.iter().map(place).collect()
}

fn announced(track: &Track, rewrite: bool) -> u8 {
    if rewrite { 4 } else { length(track).unwrap_or(4) }
}
