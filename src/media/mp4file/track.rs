use std::sync::Arc;

use bytes::Bytes;

use crate::trak::Entry;
use crate::{Codec, MediaError, RandomAccess, Sample, Track, opus};

/// So many samples of the same value in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub count: u32,
    pub value: u32,
}

/// Samples of one track, one after another in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub offset: u64,
    pub samples: u32,
    /// From 0.
    pub description: u32,
}

/// One configuration of a track.
#[derive(Debug)]
pub(super) struct Description {
    pub track: Arc<Track>,
    /// Bytes of a NAL unit's length.
    pub length: u8,
    pub entry: Entry,
    /// Its parameter sets, framed as samples are.
    pub sets: Bytes,
}

/// A track of the file: its tables, as they grow.
#[derive(Debug)]
pub(super) struct Out {
    pub id: u8,
    pub codec: Codec,
    pub timescale: u32,
    pub descriptions: Vec<Description>,
    /// The fragment from which on there is more than one, and key frames bring their parameter sets.
    pub changed: Option<usize>,
    pub sizes: Vec<u32>,
    pub durations: Vec<Run>,
    pub offsets: Vec<Run>,
    /// Numbers, from 1, of the samples at which decoding can start.
    pub sync: Vec<u32>,
    pub chunks: Vec<Chunk>,
    /// The first sample's decode time.
    pub start: i64,
    /// The last sample's, as the durations add up to it.
    at: i64,
    last_duration: u32,
    /// Whether samples may be shown before the first, and are to be.
    open: bool,
    /// The first presented time, and where the last one ends.
    pub shown_from: i64,
    pub shown_to: i64,
}

const MOST: i64 = i32::MAX as i64;

impl Out {
    pub fn new(track: &Track) -> Out {
        Out {
            id: track.id,
            codec: track.codec,
            timescale: track.timescale,
            descriptions: vec![],
            changed: None,
            sizes: vec![],
            durations: vec![],
            offsets: vec![],
            sync: vec![],
            chunks: vec![],
            start: 0,
            at: 0,
            last_duration: 0,
            open: false,
            shown_from: 0,
            shown_to: 0,
        }
    }

    /// Which description a track's samples have, if it was accepted.
    pub fn description(&self, track: &Arc<Track>, length: u8) -> Option<usize> {
        // The newest first: it is nearly always that one.
        self.descriptions.iter().rposition(|d| {
            let same = || {
                let (a, b) = (&*d.track, &**track);
                a.config == b.config
                    && a.kind == b.kind
                    && a.framing == b.framing
                    && a.timescale == b.timescale
            };
            d.length == length && (Arc::ptr_eq(&d.track, track) || same())
        })
    }

    /// Accepts a description, if it can be written.
    pub fn describe(&mut self, track: &Arc<Track>, length: u8) -> Result<usize, MediaError> {
        let entry = Entry::of(track, length)?;
        let sets = parameter_sets(track, length);
        self.descriptions.push(Description { track: track.clone(), length, entry, sets });
        Ok(self.descriptions.len() - 1)
    }

    /// Adds a sample whose times are in this track's timescale already.
    pub fn push(&mut self, s: &Sample, size: u32) {
        if self.sizes.is_empty() {
            (self.start, self.at) = (s.dts, s.dts);
            self.open = matches!(s.access, RandomAccess::Open | RandomAccess::Recovery);
            (self.shown_from, self.shown_to) = (s.pts, s.pts);
        } else {
            // Never 0, so that times rise; what does not fit is caught up with by the samples that follow.
            let duration = s.dts.saturating_sub(self.at).clamp(1, MOST);
            run(&mut self.durations, duration as u32);
            self.at = self.at.saturating_add(duration);
        }
        let offset = s.pts.saturating_sub(self.at).clamp(0, MOST);
        let pts = self.at.saturating_add(offset);
        run(&mut self.offsets, offset as u32);
        self.sizes.push(size);
        if s.access.is_start() {
            self.sync.push(self.sizes.len() as u32);
        }
        if !self.open {
            self.shown_from = self.shown_from.min(pts);
        }
        self.shown_to = self.shown_to.max(pts.saturating_add(i64::from(s.duration.max(1))));
        self.last_duration = s.duration.max(1);
    }

    /// Notes that the last `samples` samples begin at `offset` in the file.
    pub fn chunk(&mut self, offset: u64, samples: u32, description: usize) {
        self.chunks.push(Chunk { offset, samples, description: description as u32 });
    }

    /// Closes the tables after the last sample.
    pub fn end(&mut self) {
        if self.sizes.is_empty() {
            return;
        }
        let duration = self.last_duration.min(MOST as u32);
        run(&mut self.durations, duration);
        // What an Opus decoder drops at its start is not presented.
        if let Some(head) = self.descriptions.first().and_then(|d| opus::Head::parse(&d.track.config).ok())
            && self.codec == Codec::Opus
        {
            let skip = crate::timeline::rescale(i64::from(head.pre_skip), opus::RATE, self.timescale);
            self.shown_from = self.shown_from.saturating_add(skip).min(self.shown_to.saturating_sub(1));
        }
    }

    pub fn is_video(&self) -> bool {
        self.descriptions.first().is_some_and(|d| d.track.is_video())
    }

    /// Gives the tables back, once they are written.
    pub fn forget_samples(&mut self) {
        (self.sizes, self.sync, self.chunks) = Default::default();
        (self.durations, self.offsets) = Default::default();
    }

    /// How long its samples are together, in its ticks.
    pub fn length(&self) -> u64 {
        self.durations.iter().map(|r| u64::from(r.count) * u64::from(r.value)).sum()
    }

    /// Whether every sample is one to start at.
    pub fn all_sync(&self) -> bool {
        self.sync.len() == self.sizes.len()
    }
}

/// Parameter sets of a configuration, each preceded by its length; nothing where one is too long for that.
fn parameter_sets(track: &Track, length: u8) -> Bytes {
    let mut out = vec![];
    for unit in track.parameter_sets() {
        let len = (unit.len() as u64).to_be_bytes();
        let (zeros, len) = len.split_at(8 - usize::from(length.clamp(1, 4)));
        if zeros.iter().any(|b| *b != 0) {
            return Bytes::new();
        }
        out.extend(len);
        out.extend(&unit);
    }
    out.into()
}

fn run(runs: &mut Vec<Run>, value: u32) {
    match runs.last_mut() {
        Some(last) if last.value == value => last.count += 1,
        _ => runs.push(Run { count: 1, value }),
    }
}
