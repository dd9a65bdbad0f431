//! A fragment as Matroska, in the service's form: the producer's own bytes between the service's tags.

use std::sync::Arc;

use bytes::Bytes;
use media::{
    Gaps, Table,
    mkv::{self, Skeleton},
};

use super::{Kvs, find, number};
use crate::{By, Fragment, VideoError, mp4::damaged, streams::Stream};

/// The most bytes of a skeleton.
const MAX_SKELETON: u32 = 16 << 20;

impl Kvs {
    /// One fragment: its document's beginning, tags that name it, its Cluster and what follows.
    pub(super) async fn matroska(
        &self,
        stream: &Stream,
        f: &Arc<Fragment>,
    ) -> Result<Vec<Bytes>, VideoError> {
        let v = &self.video;
        let named = [
            ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number::of(stream.info.uid, f)),
            ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", find::seconds(find::server_start(f))),
            ("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", find::seconds(f.start(By::Producer))),
        ];
        let tags = mkv::tags(&named.each_ref().map(|(k, v)| (*k, v.as_str())));
        let read = |range| v.log.read_payload(&f.payload, range);
        let media = read(0..f.media_len()).await.map_err(|e| stream.log_error(e))?;
        let table = v.tables.get(&v.log, stream, f).await?;
        let bad = damaged(stream.name(), f.position());
        let Some(m) = &f.entry.matroska else {
            let (opening, rest) = made(&table, &media).map_err(bad)?;
            return Ok([vec![opening, tags], rest].concat());
        };
        if m.skeleton_len > MAX_SKELETON {
            return Err(bad(media::MediaError::Invalid { what: "a skeleton", why: "it is too long" }));
        }
        let bytes = read(f.media_len()..f.table_from()).await.map_err(|e| stream.log_error(e))?;
        let skeleton = Skeleton::decode(bytes).map_err(&bad)?;
        let mut samples: Vec<_> = table.samples.iter().map(|s| (s.offset, s.len)).collect();
        samples.sort_unstable();
        if skeleton.pieces.len() != samples.len() + 1 {
            return Err(bad(media::MediaError::Invalid {
                what: "a skeleton",
                why: "it is of another number of frames than the sample table",
            }));
        }
        let mut out = Vec::with_capacity(2 * samples.len() + 3);
        out.extend([skeleton.opening(), tags]);
        for (i, piece) in skeleton.pieces.into_iter().enumerate() {
            out.push(piece);
            if let Some((at, len)) = samples.get(i) {
                // `check` has held the table against the payload.
                let end = at + u64::from(*len);
                out.push(media.slice(*at as usize..end as usize));
            }
        }
        Ok(out)
    }
}

/// What came otherwise is written as a file of one fragment, and taken apart where the service's tags go.
fn made(table: &Table, media: &Bytes) -> Result<(Bytes, Vec<Bytes>), media::MediaError> {
    let mut writer = mkv::Writer::absolute(Gaps::Keep);
    let slices = writer.fragment(table, media)?;
    let whole: Vec<u8> = slices.concat();
    let mut splitter = mkv::Splitter::new(u64::from(u32::MAX));
    splitter.push(&whole);
    let (mut opening, mut frames, mut rest, mut ended) = (None, Vec::new(), Vec::new(), false);
    loop {
        match splitter.part()? {
            Some(mkv::Part::Frame(f)) => frames.push(f.data),
            Some(mkv::Part::End { skeleton, .. }) => {
                opening.get_or_insert_with(|| skeleton.opening());
                let mut of = std::mem::take(&mut frames).into_iter();
                for piece in skeleton.pieces {
                    rest.push(piece);
                    rest.extend(of.next());
                }
            }
            Some(_) => {}
            None if ended => break,
            None => {
                splitter.end()?;
                ended = true;
            }
        }
    }
    match opening {
        Some(o) => Ok((o, rest)),
        None => Err(media::MediaError::Invalid { what: "a fragment", why: "there is nothing in it" }),
    }
}
