//! MP4 and MOV, fragmented or not.

use bytes::Bytes;
use media::{
    AccessUnit,
    mp4read::{Movie, MovieRun, MovieSample, next_box},
};

use super::{ABSOLUTE, Found, NS, Place, Take, Times, lane::Lane};
use crate::Failure;

/// The largest `moov` or `moof` that is read: far beyond a day's.
const MAX_HEAD: u64 = 512 << 20;
/// Tracks of a stream.
const MAX_TRACKS: usize = 8;

pub struct Mp4 {
    pub file: Place,
    pub times: Times,
    pub left_out: Vec<String>,
    movie: Movie,
    /// Where the fragments' heads are: offset and length of each box, and of its head.
    moofs: Vec<(u64, u64, u8)>,
}

impl Mp4 {
    pub fn open(mut file: Place) -> Result<Mp4, Failure> {
        let mut moov = None;
        let mut moofs = Vec::new();
        let mut at = 0;
        while at < file.len {
            let head = file.read(at, 16.min(file.len - at))?;
            let Some(found) = next_box(&head).map_err(|e| file.wrong(at, e))? else { break };
            let len = found.len.unwrap_or(file.len - at).min(file.len - at);
            let whole = found.len.is_none_or(|l| l <= file.len - at);
            match &found.kind {
                b"moov" | b"moof" if !whole => return Err(file.wrong(at, "the file ends within its index")),
                b"moov" | b"moof" if len > MAX_HEAD => {
                    return Err(file.wrong(at, "an index of more than 512 MiB"));
                }
                b"moov" if moov.is_none() => {
                    let content = file.read(at, len)?;
                    let content = Bytes::from(content).slice(usize::from(found.head).min(len as usize)..);
                    moov = Some(Movie::parse(&content).map_err(|e| file.wrong(at, e))?);
                }
                b"moof" => moofs.push((at, len, found.head)),
                _ => {}
            }
            at += len.max(8);
        }
        let movie = moov.ok_or_else(|| {
            file.wrong(file.len, "there is no moov: the file was cut off, or never finished")
        })?;
        let mut left_out = Vec::new();
        for t in movie.tracks.iter().skip(MAX_TRACKS) {
            left_out.push(format!("track {}: a stream has at most {MAX_TRACKS}", t.id));
        }
        if movie.tracks.iter().any(|t| t.edited) {
            left_out.push("its edit list: all samples are taken, also those cut out".into());
        }
        let times = Times { shown: (0, 0), zero: None };
        let mut out = Mp4 { file, times, left_out, movie, moofs };
        out.measure()?;
        Ok(out)
    }

    /// Finds out when it begins and ends.
    fn measure(&mut self) -> Result<(), Failure> {
        let (mut from, mut to) = (i128::MAX, i128::MIN);
        let mut count = |pts: i64, duration: u32, shift: i64, scale: u32| {
            let start = ns(pts.saturating_add(shift), scale);
            from = from.min(start);
            to = to.max(start + ns(i64::from(duration), scale));
        };
        for t in self.movie.tracks.iter().take(MAX_TRACKS) {
            for s in t.samples(self.file.len).map_while(Result::ok) {
                count(s.pts, s.duration, t.shift, t.timescale);
            }
        }
        let mut movie = self.movie.clone();
        for i in 0..self.moofs.len() {
            for run in self.fragment(&mut movie, i)? {
                let Some(t) = self.movie.tracks.get(run.track).filter(|_| run.track < MAX_TRACKS) else {
                    continue;
                };
                for s in &run.samples {
                    count(s.pts, s.duration, t.shift, t.timescale);
                }
            }
        }
        if from > to {
            return Err(self.file.wrong(0, "there are no pictures and no sound in it"));
        }
        let zero = if from >= ABSOLUTE {
            Some((0, "its own times"))
        } else {
            self.movie.created.map(|ms| (i128::from(ms) * 1_000_000, "its creation time"))
        };
        self.times = Times { shown: (from, to), zero };
        Ok(())
    }

    fn fragment(&mut self, movie: &mut Movie, i: usize) -> Result<Vec<MovieRun>, Failure> {
        let (at, len, head) = self.moofs[i];
        let moof = self.file.read(at, len)?;
        let content = moof.get(usize::from(head)..).unwrap_or_default();
        movie.fragment(content, at).map_err(|e| self.file.wrong(at, e))
    }

    pub fn read(mut self, zero: i128, take: Take) -> Result<(), Failure> {
        let movie = self.movie.clone();
        let mut out = Out { lanes: Vec::new(), zero, declared: false };
        for t in movie.tracks.iter().take(MAX_TRACKS) {
            let first =
                t.descriptions.first().ok_or_else(|| self.file.wrong(0, "a track without a description"))?;
            out.lanes.push((Lane::new(first.clone()), t.shift, t.timescale));
        }
        let mut lists: Vec<_> =
            movie.tracks.iter().take(MAX_TRACKS).map(|t| t.samples(self.file.len).peekable()).collect();
        // Of the tracks' next samples, the one to be decoded first.
        loop {
            let mut next: Option<(i128, usize)> = None;
            for (i, list) in lists.iter_mut().enumerate() {
                let at = match list.peek() {
                    Some(Ok(s)) => ns(s.dts.saturating_add(movie.tracks[i].shift), movie.tracks[i].timescale),
                    Some(Err(e)) => return Err(self.file.wrong(self.file.len, e)),
                    None => continue,
                };
                if next.is_none_or(|(t, _)| at < t) {
                    next = Some((at, i));
                }
            }
            let Some((_, i)) = next else { break };
            if let Some(Ok(s)) = lists[i].next() {
                out.sample(&mut self.file, &movie, i, &s, take)?;
            }
        }
        let mut moving = movie.clone();
        for i in 0..self.moofs.len() {
            let mut all: Vec<(i128, usize, MovieSample)> = Vec::new();
            for run in self.fragment(&mut moving, i)?.into_iter().filter(|r| r.track < MAX_TRACKS) {
                let t = &movie.tracks[run.track];
                all.extend(
                    run.samples
                        .iter()
                        .map(|s| (ns(s.dts.saturating_add(t.shift), t.timescale), run.track, *s)),
                );
            }
            all.sort_by_key(|(at, track, _)| (*at, *track));
            for (_, track, s) in &all {
                out.sample(&mut self.file, &movie, *track, s, take)?;
            }
        }
        Ok(())
    }
}

struct Out {
    /// With the shift and the timescale of each.
    lanes: Vec<(Lane, i64, u32)>,
    zero: i128,
    declared: bool,
}

impl Out {
    fn sample(
        &mut self,
        file: &mut Place,
        movie: &Movie,
        i: usize,
        s: &MovieSample,
        take: Take,
    ) -> Result<(), Failure> {
        if u64::from(s.len) > video::MAX_UNIT as u64 {
            return Err(file.wrong(s.offset, "a sample of more than 32 MiB"));
        }
        if s.offset.saturating_add(u64::from(s.len)) > file.len {
            return Err(file.wrong(s.offset, "a sample that reaches beyond the file: it was cut off"));
        }
        let data = Bytes::from(file.read(s.offset, u64::from(s.len))?);
        let lane = &mut self.lanes[i].0;
        let described = movie.tracks[i].track(s).is_some_and(|t| lane.describe(t, s.description));
        let (access, new) = lane.look(&data, s.sync);
        if described || new || !self.declared {
            self.declared = true;
            take(Found::Tracks(self.lanes.iter().map(|l| l.0.track.clone()).collect()))?;
        }
        let l = &self.lanes[i];
        let time = |t: i64| t.saturating_add(l.1).saturating_add(ticks(self.zero, l.2));
        let duration = Some(s.duration).filter(|d| *d > 0);
        let unit = AccessUnit {
            track: l.0.track.id,
            pts: time(s.pts),
            dts: Some(time(s.dts)),
            duration,
            access,
            data,
        };
        take(Found::Unit(unit, s.offset + u64::from(s.len)))
    }
}

fn ns(ticks: i64, scale: u32) -> i128 {
    (i128::from(ticks) * NS).div_euclid(i128::from(scale.max(1)))
}

/// Nanoseconds in ticks, to the nearest.
pub fn ticks(ns: i128, scale: u32) -> i64 {
    let t = (ns * i128::from(scale) + NS / 2).div_euclid(NS);
    t.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}
