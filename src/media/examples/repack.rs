//! Takes a fragmented MP4 (`ffmpeg … -movflags empty_moov+default_base_moof+frag_keyframe`) apart and puts it together
//! again through the stored form: decode times forgotten and derived, tables encoded and decoded, one segment for each
//! fragment and track. For looking at what players make of it:
//!
//! ```sh
//! cargo run -p media --example repack -- in.mp4 out.mp4 && ffmpeg -v warning -i out.mp4 -f null -
//! ```

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use media::{DtsFiller, RandomAccess, Table, Track, fmp4, random_access, reorder_depth, table};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(from), Some(to)) = (args.next(), args.next()) else {
        return Err("repack IN.mp4 OUT.mp4".into());
    };
    let data = Bytes::from(std::fs::read(from)?);
    let tracks: Vec<Arc<Track>> = fmp4::read_init(&data)?.into_iter().map(Arc::new).collect();
    for t in &tracks {
        let (name, string) = (media::codec_name(t), media::codec_string(t));
        println!("{}: {name} {string} {:?} reorder {}", t.id, t.kind, reorder_depth(t));
    }
    let mut out = fmp4::init(&tracks)?.to_vec();
    let mut fillers: Vec<DtsFiller> = tracks.iter().map(|t| DtsFiller::new(reorder_depth(t))).collect();
    let mut sequence = 0;
    for (start, end) in fragments(&data) {
        let payload = data.slice(start..end);
        let mut stored = Table { tracks: tracks.clone(), samples: vec![] };
        for run in fmp4::read_segment(&payload)?.runs {
            let at = tracks.iter().position(|t| u32::from(t.id) == run.track).ok_or("an unknown track")?;
            let epoch = 1_700_000_000 * i64::from(tracks[at].timescale);
            let mut stamps = vec![];
            for s in &run.samples {
                stamps.extend(fillers[at].push(s.pts + epoch));
            }
            stamps.extend(fillers[at].flush());
            for (mut s, stamp) in run.samples.into_iter().zip(stamps) {
                (s.dts, s.pts) = (stamp.dts, stamp.pts);
                let bytes = &payload[s.offset as usize..][..s.len as usize];
                let access = random_access(&tracks[at], bytes);
                if access.is_start() != s.access.is_start() {
                    println!("track {} {}: {access:?}, but the file says {:?}", run.track, s.dts, s.access);
                }
                s.access = if access == RandomAccess::None { s.access } else { access };
                stored.samples.push(s);
            }
        }
        let bytes = table::encode(&stored);
        println!("{} samples, table of {} bytes", stored.samples.len(), bytes.len());
        let stored = table::decode(&bytes)?;
        table::check(&stored, payload.len() as u64)?;
        for track in &tracks {
            let pieces = fmp4::pieces(&stored, &payload, track.id)?;
            if !pieces.is_empty() {
                sequence += 1;
                for slice in fmp4::segment(sequence, &[fmp4::Run { track, pieces: &pieces }])? {
                    out.extend_from_slice(&slice);
                }
            }
        }
    }
    std::fs::write(to, out)?;
    Ok(())
}

/// From each `moof` to the next.
fn fragments(data: &[u8]) -> Vec<(usize, usize)> {
    let mut starts = vec![];
    let mut at = 0;
    while let Some(head) = data.get(at..at + 8) {
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        match &head[4..] {
            b"moof" => starts.push(at),
            b"mfra" => break,
            _ => {}
        }
        at += size.max(8);
    }
    let ends = starts.iter().skip(1).copied().chain([at.min(data.len())]);
    starts.iter().copied().zip(ends).collect()
}
