use super::plan::{Plan, WHAT};
use super::track::{Out, Run};
use crate::boxes::{boxed, full, u16, u32, u64};
use crate::date;
use crate::error::invalid;
use crate::timeline::{NS, to_ns};
use crate::trak::{Entry, Head, movie_head, sized, trak};
use crate::{Codec, MediaError, Track};

pub(super) fn ftyp() -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    boxed(&mut out, b"ftyp", |out| {
        out.extend(b"isom");
        u32(out, 0x200);
        out.extend(b"isomiso2mp41");
    });
    out
}

/// The head of an `mdat` that holds so many bytes; 16 bytes of head if `wide`, else 8.
pub(super) fn mdat(out: &mut Vec<u8>, len: u64, wide: bool) {
    u32(out, if wide { 1 } else { (len + 8) as u32 });
    out.extend(b"mdat");
    if wide {
        u64(out, len + 16);
    }
}

/// Where a table of chunk offsets begins in the bytes written, and how many there are.
pub(super) type Offsets = (usize, usize);

/// Adds what comes before the samples to every chunk offset.
pub(super) fn shift_offsets(out: &mut [u8], places: &[Offsets], wide: bool, by: u64) {
    let each = if wide { 8 } else { 4 };
    for (at, count) in places {
        for entry in out[*at..*at + count * each].chunks_exact_mut(each) {
            let value = entry.iter().fold(0u64, |v, b| v << 8 | u64::from(*b)).wrapping_add(by).to_be_bytes();
            entry.copy_from_slice(&value[8 - each..]);
        }
    }
}

/// Ticks a second of the movie: such that all tracks' starts can be told exactly, if that is not beyond reason.
fn movie_timescale(outs: &[Out]) -> u32 {
    let gcd = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a.max(1)
    };
    let mut all = 1u64;
    for out in outs {
        let t = u64::from(out.timescale.max(1));
        all = all / gcd(all, t) * t;
        if all > 10_000_000 {
            return outs.iter().map(|o| o.timescale).max().unwrap_or(0).clamp(1_000, 10_000_000);
        }
    }
    // A multiple, where the tracks' own is too coarse for others to understand.
    let all = if all < 1_000 { all * 1_000 } else { all };
    all as u32
}

/// Writes `moov`, and says where chunk offsets stand in it.
pub(super) fn write(out: &mut Vec<u8>, plan: &mut Plan, wide: bool) -> Result<Vec<Offsets>, MediaError> {
    plan.outs.retain(|o| !o.sizes.is_empty());
    if plan.outs.is_empty() {
        return match plan.left_out().first() {
            Some(left) => Err(left.why),
            None => invalid(WHAT, "no samples"),
        };
    }
    // Players that take one track of each kind, and people, look for pictures first.
    plan.outs.sort_by_key(|o| !o.is_video());
    for o in &mut plan.outs {
        o.end();
    }
    let outs = &plan.outs;
    let timescale = movie_timescale(outs);
    // Of track time in ticks of the movie; rounded down, so that differences are right to a tick.
    let movie =
        |o: &Out, t: i64| (i128::from(t) * i128::from(timescale)).div_euclid(i128::from(o.timescale.max(1)));
    let start = outs.iter().map(|o| movie(o, o.shown_from)).min().unwrap_or(0);
    let start_ns = outs.iter().map(|o| to_ns(o.shown_from, o.timescale)).min().unwrap_or(0);
    let seconds = start_ns.div_euclid(NS) + i128::from(date::SINCE_1904);
    let created = u64::try_from(seconds).unwrap_or(0);
    let ticks = |v: i128| u64::try_from(v).unwrap_or(0);
    let edits: Vec<(u64, u64)> = outs
        .iter()
        .map(|o| {
            let (from, to) = (movie(o, o.shown_from), movie(o, o.shown_to));
            (ticks(from - start), ticks((to - from).max(1)))
        })
        .collect();
    let shown = edits.iter().map(|(empty, shown)| empty.saturating_add(*shown)).max().unwrap_or(0);
    let mut places = vec![];
    boxed(out, b"moov", |out| {
        let head = Head { id: 0, created, shown, length: 0 };
        movie_head(out, timescale, &head, outs.len() as u32 + 1);
        for (i, (o, (empty, shown))) in outs.iter().zip(edits).enumerate() {
            let head =
                Head { id: i as u32 + 1, created, shown: empty.saturating_add(shown), length: o.length() };
            let descriptions: Vec<(&Track, &Entry)> =
                o.descriptions.iter().map(|d| (&*d.track, &d.entry)).collect();
            let skip = o.shown_from.saturating_sub(o.start).max(0) as u64;
            trak(
                out,
                &head,
                &descriptions,
                |out| edit_list(out, empty, shown, skip),
                |out| places.push(tables(out, o, wide)),
            );
        }
        if let Ok(ms) = i64::try_from(start_ns.div_euclid(1_000_000)) {
            let text = date::write(ms);
            boxed(out, b"udta", |out| {
                boxed(out, b"\xa9day", |out| {
                    u16(out, text.len() as u16);
                    u16(out, 0x55c4); // "und"
                    out.extend(text.as_bytes());
                });
            });
        }
    });
    Ok(places)
}

/// `edts`: nothing for so long, then the samples from `skip` ticks on.
fn edit_list(out: &mut Vec<u8>, empty: u64, shown: u64, skip: u64) {
    if empty == 0 && skip == 0 {
        return;
    }
    let large = empty.max(shown) > u64::from(u32::MAX) || skip > i32::MAX as u64;
    let version = u8::from(large);
    boxed(out, b"edts", |out| {
        full(out, b"elst", version, 0, |out| {
            u32(out, if empty > 0 { 2 } else { 1 });
            if empty > 0 {
                sized(out, version, empty);
                sized(out, version, if large { u64::MAX } else { u64::from(u32::MAX) }); // -1
                u32(out, 0x1_0000);
            }
            sized(out, version, shown);
            sized(out, version, skip);
            u32(out, 0x1_0000);
        });
    });
}

/// The sample tables; returns where chunk offsets stand.
fn tables(out: &mut Vec<u8>, o: &Out, wide: bool) -> Offsets {
    let runs = |out: &mut Vec<u8>, runs: &[Run]| {
        u32(out, runs.len() as u32);
        for run in runs {
            u32(out, run.count);
            u32(out, run.value);
        }
    };
    full(out, b"stts", 0, 0, |out| runs(out, &o.durations));
    if o.offsets.iter().any(|r| r.value > 0) {
        full(out, b"ctts", 0, 0, |out| runs(out, &o.offsets));
    }
    if !o.all_sync() {
        full(out, b"stss", 0, 0, |out| {
            u32(out, o.sync.len() as u32);
            o.sync.iter().for_each(|n| u32(out, *n));
        });
    }
    full(out, b"stsc", 0, 0, |out| {
        let at = out.len();
        u32(out, 0);
        let mut count = 0;
        let mut before = None;
        for (i, chunk) in o.chunks.iter().enumerate() {
            if before.replace((chunk.samples, chunk.description)) != Some((chunk.samples, chunk.description))
            {
                u32(out, i as u32 + 1);
                u32(out, chunk.samples);
                u32(out, chunk.description + 1);
                count += 1;
            }
        }
        crate::boxes::patch(out, at, count);
    });
    full(out, b"stsz", 0, 0, |out| {
        let first = o.sizes.first().copied().unwrap_or(0);
        // A constant size on a track of G.711 would read as samples of sound, not as packets.
        let constant = first > 0
            && !matches!(o.codec, Codec::Pcmu | Codec::Pcma)
            && o.sizes.iter().all(|size| *size == first);
        u32(out, if constant { first } else { 0 });
        u32(out, o.sizes.len() as u32);
        if !constant {
            o.sizes.iter().for_each(|size| u32(out, *size));
        }
    });
    let mut at = 0;
    full(out, if wide { b"co64" } else { b"stco" }, 0, 0, |out| {
        u32(out, o.chunks.len() as u32);
        at = out.len();
        for chunk in &o.chunks {
            if wide { u64(out, chunk.offset) } else { u32(out, chunk.offset as u32) }
        }
    });
    (at, o.chunks.len())
}
