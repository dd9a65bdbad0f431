//! Files, whole in memory, as tracks of samples; and those as fragments.

use std::sync::Arc;

use bytes::Bytes;
use media::mkv::{Event, Reader};
use media::mp4read::{Movie, next_box};
use media::{DtsFiller, RandomAccess, Sample, Stamp, Table, Track, random_access, reorder_depth, table};

use crate::Result;

/// One track. Times are since 1970.
pub struct Loaded {
    /// Its configurations.
    pub tracks: Vec<Arc<Track>>,
    /// With the configuration that each has, and its bytes.
    pub samples: Vec<(usize, Sample, Bytes)>,
}

impl Loaded {
    /// Nanoseconds.
    pub fn ns(&self, ticks: i64) -> i128 {
        i128::from(ticks) * 1_000_000_000 / i128::from(self.tracks[0].timescale)
    }
}

/// Where a file does not say.
const SOME_DAY: i64 = 1_700_000_000_000;

/// Reads a file of either kind.
pub fn load(data: &Bytes) -> Result<Vec<Loaded>> {
    let mut out = if data.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]) { matroska(data)? } else { mp4(data)? };
    for track in &mut out {
        for (i, sample, bytes) in &mut track.samples {
            // What the bytes themselves say is finer; but not all that says "sync" can be seen in the bytes.
            let seen = random_access(&track.tracks[*i], bytes);
            if seen != RandomAccess::None {
                sample.access = seen;
            }
        }
    }
    out.retain(|t| !t.samples.is_empty());
    Ok(out)
}

fn mp4(data: &Bytes) -> Result<Vec<Loaded>> {
    let mut movie: Option<Movie> = None;
    let mut out: Vec<Loaded> = vec![];
    let mut at = 0;
    let mut moofs = vec![];
    while let Some(found) = next_box(&data[at..])? {
        let end = found
            .len
            .map_or(data.len(), |len| (at as u64).saturating_add(len).min(data.len() as u64) as usize);
        let content = data.slice((at + usize::from(found.head)).min(end)..end);
        match &found.kind {
            b"moov" => movie = Some(Movie::parse(&content)?),
            b"moof" => moofs.push((at, content)),
            _ => {}
        }
        at = end;
    }
    let mut movie = movie.ok_or("no moov")?;
    let epoch = movie.created.unwrap_or(SOME_DAY);
    let mut found = vec![];
    for track in &movie.tracks {
        let tracks = track.descriptions.iter().cloned().map(Arc::new).collect();
        out.push(Loaded { tracks, samples: vec![] });
        found.push(track.samples(data.len() as u64).collect::<std::result::Result<Vec<_>, _>>()?);
    }
    for (at, moof) in moofs {
        for run in movie.fragment(&moof, at as u64)? {
            found[run.track].extend(run.samples);
        }
    }
    for ((loaded, track), samples) in out.iter_mut().zip(&movie.tracks).zip(found) {
        let shift = track.shift + epoch * i64::from(track.timescale) / 1_000;
        for s in samples {
            let bytes = data
                .get(s.offset as usize..s.offset as usize + s.len as usize)
                .ok_or("a sample beyond the file")?;
            let access = if s.sync { RandomAccess::Idr } else { RandomAccess::None };
            let sample = Sample {
                track: track.descriptions[0].id,
                dts: s.dts + shift,
                pts: s.pts + shift,
                duration: s.duration,
                access,
                offset: 0,
                len: s.len,
            };
            loaded.samples.push((s.description, sample, data.slice_ref(bytes)));
        }
    }
    Ok(out)
}

fn matroska(data: &Bytes) -> Result<Vec<Loaded>> {
    let mut reader = Reader::default();
    let mut out: Vec<(u64, Loaded, DtsFiller, Vec<Stamp>)> = vec![];
    let mut epoch = SOME_DAY * 1_000_000;
    let mut chunks = data.chunks(50_000);
    loop {
        let Some(event) = reader.event()? else {
            match chunks.next() {
                Some(chunk) => reader.push(chunk),
                None => break,
            }
            continue;
        };
        take(event, &mut epoch, &mut out)?;
    }
    if let Err(e) = reader.end() {
        println!("  at its end: {e}; what is whole is taken");
    }
    while let Some(event) = reader.event()? {
        take(event, &mut epoch, &mut out)?;
    }
    let mut loaded = vec![];
    for (_, mut track, mut filler, mut stamps) in out {
        stamps.extend(filler.flush());
        let next: Vec<i64> = stamps.iter().skip(1).map(|s| s.dts).collect();
        let mut usual = 1;
        for (i, ((_, sample, _), stamp)) in track.samples.iter_mut().zip(&stamps).enumerate() {
            (sample.dts, sample.pts) = (stamp.dts, stamp.pts);
            usual = next.get(i).map_or(usual, |next| (next - stamp.dts) as u32);
            sample.duration = usual;
        }
        loaded.push(track);
    }
    Ok(loaded)
}

fn take(event: Event, epoch: &mut i64, out: &mut Vec<(u64, Loaded, DtsFiller, Vec<Stamp>)>) -> Result<()> {
    match event {
        Event::Info(info) => *epoch = info.date.unwrap_or(*epoch),
        // Documents that follow one another repeat them.
        Event::Tracks(entries) if out.is_empty() => {
            for entry in entries {
                let track = entry.track(out.len() as u8 + 1)?;
                let filler = DtsFiller::new(reorder_depth(&track));
                let loaded = Loaded { tracks: vec![Arc::new(track)], samples: vec![] };
                out.push((entry.number, loaded, filler, vec![]));
            }
        }
        Event::Frame(f) => {
            let (_, track, filler, stamps) =
                out.iter_mut().find(|t| t.0 == f.track).ok_or("an unknown track")?;
            let scale = i128::from(track.tracks[0].timescale);
            let ns = i128::from(*epoch) + i128::from(f.time);
            let pts = ((ns * scale + 500_000_000).div_euclid(1_000_000_000)) as i64;
            let access = if f.key { RandomAccess::Idr } else { RandomAccess::None };
            let (id, len) = (track.tracks[0].id, f.data.len() as u32);
            let sample = Sample { track: id, dts: pts, pts, duration: 0, access, offset: 0, len };
            track.samples.push((0, sample, f.data));
            stamps.extend(filler.push(pts));
        }
        _ => {}
    }
    Ok(())
}

/// Cuts at the key frames of the first track of pictures, or each two seconds of sound alone; through the stored form.
pub fn fragments(source: &[Loaded]) -> Result<Vec<(Table, Bytes)>> {
    let lead = source.iter().position(|t| t.tracks[0].is_video());
    let mut next = vec![0; source.len()];
    let mut out = vec![];
    let mut table = Table::default();
    let mut payload = vec![];
    let mut started = 0;
    loop {
        // Of the tracks' next samples, the one to be decoded first.
        let first = (0..source.len())
            .filter_map(|i| source[i].samples.get(next[i]).map(|s| (source[i].ns(s.1.dts), i)))
            .min();
        let Some((at, i)) = first else { break };
        let (configuration, sample, bytes) = &source[i].samples[next[i]];
        next[i] += 1;
        let track = &source[i].tracks[*configuration];
        let changes = table.tracks.iter().any(|t| t.id == track.id && t != track);
        let cut = match lead {
            Some(lead) => i == lead && sample.access.is_start(),
            None => at - started > 2_000_000_000,
        };
        if !table.samples.is_empty() && (cut || changes) {
            out.push(stored(std::mem::take(&mut table), std::mem::take(&mut payload))?);
        }
        if table.samples.is_empty() {
            started = at;
        }
        if !table.tracks.contains(track) {
            table.tracks.push(track.clone());
        }
        table.samples.push(Sample { offset: payload.len() as u64, ..sample.clone() });
        payload.extend_from_slice(bytes);
    }
    out.push(stored(table, payload)?);
    Ok(out)
}

fn stored(made: Table, payload: Vec<u8>) -> Result<(Table, Bytes)> {
    table::check(&made, payload.len() as u64)?;
    Ok((table::decode(&table::encode(&made))?, payload.into()))
}
