//! What this room asks of `media` about MP4, in one place.

use bytes::Bytes;
use media::{Codec, Framing, Sample, Table, Track, fmp4};

use crate::VideoError;

/// Whether HLS can carry a track: its codec has a form in MP4 that players know, and its configuration can be read.
pub(crate) fn carries(track: &Track) -> bool {
    let known = match track.codec {
        Codec::VP9 | Codec::AV1 => true,
        // Of these VP8 has a form, which no browser plays.
        Codec::Pcmu | Codec::Pcma | Codec::Other(_) => false,
        _ => true,
    };
    known && init(track).is_ok()
}

/// A track's initialisation segment.
pub(crate) fn init(track: &Track) -> Result<Bytes, media::MediaError> {
    fmp4::init(&[std::sync::Arc::new(track.clone())])
}

/// Whether a unit must be rewritten on its way into MP4: another framing than lengths of four bytes, or a broken one.
pub(crate) fn needs_rewrite(track: &Track, data: &[u8]) -> bool {
    match track.framing {
        Framing::Raw => false,
        // An empty NAL unit is passed over by `nals` and would be missing here.
        Framing::Length(4) => {
            let whole =
                media::nals(track.framing, data).try_fold(0, |n, nal| nal.map(|nal| n + 4 + nal.len()));
            whole != Ok(data.len())
        }
        _ => true,
    }
}

/// A media segment that is to be streamed: its boxes, then stretches of the fragment's payload.
pub(crate) struct Plan {
    pub head: Bytes,
    /// (offset, length), adjacent ones joined.
    pub extents: Vec<(u64, u64)>,
}

/// Plans the segment of one track of a fragment whose units need no rewriting.
pub(crate) fn plan(
    table: &Table,
    track: u8,
    sequence: u32,
    key_only: bool,
) -> Result<Plan, media::MediaError> {
    let (track, samples) = select(table, track, key_only)?;
    let head = fmp4::head(sequence, &track, &samples)?;
    let mut extents: Vec<(u64, u64)> = Vec::new();
    for s in &samples {
        match extents.last_mut() {
            Some((at, len)) if *at + *len == s.offset => *len += u64::from(s.len),
            _ if s.len == 0 => {}
            _ => extents.push((s.offset, u64::from(s.len))),
        }
    }
    Ok(Plan { head, extents })
}

/// The same segment where units must be rewritten: whole, around the fragment's media bytes.
pub(crate) fn rewrite(
    table: &Table,
    track: u8,
    sequence: u32,
    key_only: bool,
    payload: &Bytes,
) -> Result<Vec<Bytes>, media::MediaError> {
    let (track, samples) = select(table, track, key_only)?;
    let one = Table { tracks: Vec::new(), samples };
    let pieces = fmp4::pieces(&one, payload, track.id)?;
    fmp4::segment(sequence, &[fmp4::Run { track: &track, pieces: &pieces }])
}

fn select(table: &Table, id: u8, key_only: bool) -> Result<(Track, Vec<Sample>), media::MediaError> {
    const NONE: media::MediaError =
        media::MediaError::Invalid { what: "a fragment", why: "it has no samples of this track" };
    let track = table.tracks.iter().find(|t| t.id == id).ok_or(NONE)?;
    let mut samples: Vec<_> = table.samples.iter().filter(|s| s.track == id).cloned().collect();
    if key_only {
        let pieces: Vec<_> =
            samples.into_iter().map(|sample| fmp4::Piece { sample, data: Bytes::new() }).collect();
        samples = fmp4::keyframe(&pieces).into_iter().map(|p| p.sample).collect();
    }
    if samples.is_empty() {
        return Err(NONE);
    }
    Ok(((**track).clone(), samples))
}

/// Damage, said with the fragment it is in.
pub(crate) fn damaged(stream: &str, position: u64) -> impl Fn(media::MediaError) -> VideoError + '_ {
    move |e| VideoError::Damaged(stream.into(), format!("fragment {position}: {e}"))
}
