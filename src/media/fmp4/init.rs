use std::sync::Arc;

use bytes::Bytes;

use crate::boxes::{boxed, full, u32, zeros};
use crate::error::invalid;
use crate::trak::{Entry, Head, movie_head, trak};
use crate::{MediaError, Track};

const WHAT: &str = "MP4 initialisation segment";

/// An initialisation segment for one or several tracks. NAL units are announced with four-byte lengths, as
/// [`segment`](super::segment) writes them. Fails for codecs that MP4 has no name for here, and where the
/// configuration is missing or cannot be read.
pub fn init(tracks: &[Arc<Track>]) -> Result<Bytes, MediaError> {
    if tracks.is_empty() {
        return invalid(WHAT, "no tracks");
    }
    let entries = tracks.iter().map(|t| Ok((t, Entry::of(t, 4)?))).collect::<Result<Vec<_>, MediaError>>()?;
    let mut out = Vec::with_capacity(1024);
    boxed(&mut out, b"ftyp", |out| {
        out.extend(b"iso6");
        u32(out, 0);
        out.extend(b"iso6mp41");
    });
    boxed(&mut out, b"moov", |out| {
        let next = tracks.iter().map(|t| u32::from(t.id)).max().unwrap_or(0) + 1;
        movie_head(out, 1000, &Head::default(), next);
        for (track, entry) in &entries {
            let head = Head { id: u32::from(track.id), ..Head::default() };
            trak(
                out,
                &head,
                &[(track, entry)],
                |_| (),
                |out| {
                    full(out, b"stts", 0, 0, |out| u32(out, 0));
                    full(out, b"stsc", 0, 0, |out| u32(out, 0));
                    full(out, b"stsz", 0, 0, |out| zeros(out, 8));
                    full(out, b"stco", 0, 0, |out| u32(out, 0));
                },
            );
        }
        boxed(out, b"mvex", |out| {
            for track in tracks {
                full(out, b"trex", 0, 0, |out| {
                    u32(out, u32::from(track.id));
                    u32(out, 1); // sample description
                    zeros(out, 12);
                });
            }
        });
    });
    Ok(out.into())
}
