//! Matroska and WebM.

use std::collections::VecDeque;

use media::{
    AccessUnit, DtsFiller, MediaError,
    mkv::{Event, Frame, Info, Reader},
    reorder_depth,
};

use super::{ABSOLUTE, Found, Place, Take, Times, lane::Lane, mp4::ticks};
use crate::Failure;

const PIECE: u64 = 1 << 20;
const MAX_TRACKS: usize = 8;
/// Frames after which it is known when a file begins: pictures are shown in another order than they come.
const FIRST: usize = 64;

pub struct Mkv {
    pub file: Place,
    pub times: Times,
    pub left_out: Vec<String>,
}

/// Reads events from a file.
struct Events<'f> {
    file: &'f mut Place,
    reader: Reader,
    at: u64,
    ended: bool,
}

impl Events<'_> {
    fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            let at = self.reader.offset();
            if let Some(e) = self.reader.event().map_err(|e| self.file.wrong(at, e))? {
                return Ok(Some(e));
            }
            if self.ended {
                return Ok(None);
            }
            let len = PIECE.min(self.file.len - self.at);
            if len == 0 {
                self.ended = true;
                // An element that is cut off is left aside: recorders that lose power leave such files.
                match self.reader.end() {
                    Ok(()) | Err(MediaError::Truncated { .. }) => {}
                    Err(e) => return Err(self.file.wrong(self.at, e)),
                }
                continue;
            }
            let piece = self.file.read(self.at, len)?;
            self.at += len;
            self.reader.push(&piece);
        }
    }
}

fn events(file: &mut Place) -> Events<'_> {
    Events { file, reader: Reader::default(), at: 0, ended: false }
}

impl Mkv {
    pub fn open(mut file: Place) -> Result<Mkv, Failure> {
        let mut left_out = Vec::new();
        let mut info = Info::default();
        let (mut first, mut last, mut frames) = (i128::MAX, i128::MIN, 0);
        let mut date = None;
        let mut all = events(&mut file);
        while let Some(e) = all.next()? {
            match e {
                Event::Info(i) => {
                    date = date.or(i.date);
                    info = i;
                }
                Event::Tracks(list) if frames == 0 => {
                    for (i, t) in list.iter().enumerate() {
                        if i >= MAX_TRACKS {
                            left_out.push(format!("track {}: a stream has at most {MAX_TRACKS}", t.number));
                        } else if let Err(e) = t.track(1) {
                            left_out.push(format!("track {} ({}): {e}", t.number, t.codec_id));
                        }
                    }
                }
                Event::Frame(f) => {
                    let at = zero_of(&info, date) + i128::from(f.time);
                    first = first.min(at);
                    last = last.max(at + i128::from(f.duration.unwrap_or(40_000_000)));
                    frames += 1;
                    if let Some(d) = info.duration.filter(|d| d.is_finite() && *d > 0.0 && frames >= FIRST) {
                        last = last.max((d * info.timestamp_scale as f64) as i128);
                        break;
                    }
                }
                _ => {}
            }
        }
        if frames == 0 {
            return Err(file.wrong(0, "there are no pictures and no sound in it"));
        }
        let zero = if first >= ABSOLUTE {
            Some((0, "its own times"))
        } else {
            date.map(|ns| (i128::from(ns), "its date"))
        };
        Ok(Mkv { times: Times { shown: (first, last), zero }, left_out, file })
    }

    pub fn read(mut self, zero: i128, take: Take) -> Result<(), Failure> {
        let mut out = Out { lanes: Vec::new(), declared: false, documents: 0, zero };
        let mut info = Info::default();
        let mut date = None;
        let mut all = events(&mut self.file);
        while let Some(e) = all.next()? {
            match e {
                Event::Info(i) => {
                    date = date.or(i.date);
                    info = i;
                }
                Event::Tracks(list) => {
                    let tracks =
                        list.iter().take(MAX_TRACKS).filter_map(|t| Some((t.number, t.track(0).ok()?)));
                    for (number, mut track) in tracks {
                        let have = out.lanes.len();
                        match out.lanes.iter_mut().find(|l| l.number == number) {
                            // Documents that follow one another say again what their tracks are.
                            Some(l) => {
                                track.id = l.lane.track.id;
                                out.documents += 1;
                                out.declared &= !l.lane.describe(&track, out.documents);
                            }
                            None if have < MAX_TRACKS => {
                                track.id = have as u8 + 1;
                                out.lanes.push(OfTrack::new(number, Lane::new(track)));
                                out.declared = false;
                            }
                            None => {}
                        }
                    }
                }
                Event::Frame(f) => {
                    let at = all.at;
                    out.frame(&f, zero_of(&info, date), at, take)?;
                }
                _ => {}
            }
        }
        let len = all.at;
        out.flush(len, take)
    }
}

/// Where a document's time 0 is on the time line of the first.
fn zero_of(info: &Info, first: Option<i64>) -> i128 {
    match (info.date, first) {
        (Some(d), Some(f)) => i128::from(d) - i128::from(f),
        _ => 0,
    }
}

struct OfTrack {
    number: u64,
    lane: Lane,
    filler: DtsFiller,
    /// Units that wait for their decode times.
    waiting: VecDeque<AccessUnit>,
    /// When the next unit of sound is due.
    due: Option<i64>,
}

impl OfTrack {
    fn new(number: u64, lane: Lane) -> OfTrack {
        let filler = DtsFiller::new(reorder_depth(&lane.track));
        OfTrack { number, lane, filler, waiting: VecDeque::new(), due: None }
    }

    /// Units whose decode times are known.
    fn stamped(&mut self, stamps: Vec<media::Stamp>) -> Vec<AccessUnit> {
        let settle = |s: media::Stamp| {
            let mut u = self.waiting.pop_front()?;
            (u.pts, u.dts) = (s.pts, Some(s.dts));
            Some(u)
        };
        stamps.into_iter().filter_map(settle).collect()
    }
}

struct Out {
    lanes: Vec<OfTrack>,
    declared: bool,
    /// Times that tracks were described.
    documents: usize,
    zero: i128,
}

impl Out {
    fn frame(&mut self, f: &Frame, document: i128, at: u64, take: Take) -> Result<(), Failure> {
        let Some(l) = self.lanes.iter_mut().find(|l| l.number == f.track) else { return Ok(()) };
        let scale = l.lane.track.timescale;
        let mut pts = ticks(self.zero + document + i128::from(f.time), scale);
        let (access, changed) = l.lane.look(&f.data, f.key);
        let duration = media::payload_duration(&l.lane.track, &f.data);
        if let Some(d) = duration {
            // Matroska's times are whole milliseconds; sound follows upon sound exactly.
            if let Some(due) = l.due.filter(|due| (pts - due).unsigned_abs() <= u64::from(scale / 800)) {
                pts = due;
            }
            l.due = Some(pts + i64::from(d));
        }
        if changed || !self.declared {
            // What waits was of the tracks as they were.
            if changed {
                let depth = reorder_depth(&l.lane.track);
                let stamps: Vec<_> = l.filler.flush().collect();
                for unit in l.stamped(stamps) {
                    if self.declared {
                        take(Found::Unit(unit, at))?;
                    }
                }
                if depth > l.filler.depth() {
                    l.filler = DtsFiller::new(depth);
                }
            }
            self.declared = true;
            take(Found::Tracks(self.lanes.iter().map(|l| l.lane.track.clone()).collect()))?;
        }
        let Some(l) = self.lanes.iter_mut().find(|l| l.number == f.track) else { return Ok(()) };
        let track = l.lane.track.id;
        l.waiting.push_back(AccessUnit { track, pts, dts: None, duration, access, data: f.data.clone() });
        let stamps: Vec<_> = l.filler.push(pts).collect();
        for unit in l.stamped(stamps) {
            take(Found::Unit(unit, at))?;
        }
        Ok(())
    }

    fn flush(&mut self, at: u64, take: Take) -> Result<(), Failure> {
        for l in &mut self.lanes {
            let stamps: Vec<_> = l.filler.flush().collect();
            for unit in l.stamped(stamps) {
                take(Found::Unit(unit, at))?;
            }
        }
        Ok(())
    }
}
