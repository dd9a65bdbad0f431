use bytes::Bytes;

use crate::timeline::to_ns;
use crate::{Framing, Table, Track};

/// A group's reach in nanoseconds.
const WINDOW: i128 = 1_000_000_000;

/// The order of a fragment's samples in the file, as indexes into its table: as they arrived, but second by second
/// those of each track together, so that there are few chunks and players find all tracks' samples of a moment close
/// together. Tracks whose place in `wanted` is `None` take no part. Groups of one track follow one another; each is
/// given as (place of the track, indexes).
pub(super) fn groups(table: &Table, wanted: &[Option<Bytes>]) -> Vec<(usize, Vec<u32>)> {
    let mut place = [None; 256];
    for (i, track) in table.tracks.iter().enumerate() {
        if wanted.get(i).is_some_and(Option::is_some) {
            place[usize::from(track.id)] = Some(i);
        }
    }
    let mut out = vec![];
    let mut window: Vec<Vec<u32>> = vec![vec![]; table.tracks.len()];
    let mut flush = |window: &mut Vec<Vec<u32>>| {
        for (i, list) in window.iter_mut().enumerate() {
            if !list.is_empty() {
                out.push((i, std::mem::take(list)));
            }
        }
    };
    let mut start = None;
    for (n, s) in table.samples.iter().enumerate() {
        let Some(i) = place[usize::from(s.track)] else { continue };
        let at = to_ns(s.dts, table.tracks[i].timescale);
        if start.is_some_and(|start| at - start >= WINDOW) {
            flush(&mut window);
            start = None;
        }
        start.get_or_insert(at);
        window[i].push(n as u32);
    }
    flush(&mut window);
    out
}

/// Bytes of a NAL unit's length in payloads that need no rewriting; 4 of those that have no NAL units.
pub(super) fn length(track: &Track) -> Option<u8> {
    match track.framing {
        Framing::Length(n @ (1 | 2 | 4)) => Some(n),
        Framing::Raw => Some(4),
        _ => None,
    }
}
