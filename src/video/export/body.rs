//! The bytes of an export, made while they are sent: one fragment at a time.

use bytes::{Bytes, BytesMut};
use futures_util::Stream as Chunks;
use media::mkv::Patch;

use super::{Each, Export, Job, Maker, left_out};
use crate::VideoError;

/// Bytes sent together at most; a fragment's samples are many small slices.
const PIECE: usize = 256 << 10;

/// A piece of an export.
pub(crate) enum Piece {
    /// The next bytes.
    Bytes(Bytes),
    /// After the last: what is to be written over the file's beginning by whoever can, and what was left out.
    End { patches: Vec<Patch>, left_out: Vec<String> },
}

enum State {
    Head,
    Fragments,
    Over,
}

struct Making {
    job: Job,
    maker: Option<Maker>,
    each: Each,
    number: usize,
    state: State,
    ready: std::vec::IntoIter<Bytes>,
    tail: Option<Piece>,
}

impl Export {
    /// Sends it. An error in the middle means that the file is not whole.
    pub(crate) fn pieces(self) -> impl Chunks<Item = Result<Piece, VideoError>> + Send {
        let each = Each::new(&self.job);
        let making = Making {
            job: self.job,
            maker: Some(self.maker),
            each,
            number: 0,
            state: State::Head,
            ready: Vec::new().into_iter(),
            tail: None,
        };
        futures_util::stream::unfold(Some(making), |making| async move {
            let mut m = making?;
            match m.next().await {
                Ok(Some(p)) => Some((Ok(p), Some(m))),
                Ok(None) => None,
                Err(e) => {
                    tracing::warn!(stream = m.job.stream.name(), error = %e, "an export broke off");
                    Some((Err(e), None))
                }
            }
        })
    }
}

impl Making {
    async fn next(&mut self) -> Result<Option<Piece>, VideoError> {
        loop {
            if let Some(b) = self.ready.next() {
                return Ok(Some(Piece::Bytes(b)));
            }
            match self.state {
                State::Head => {
                    self.state = State::Fragments;
                    if let Some(Maker::Mp4(head)) = &mut self.maker {
                        self.ready = vec![std::mem::take(&mut head.bytes)].into_iter();
                    }
                }
                State::Fragments => match self.each.next(&self.job).await? {
                    Some(f) => {
                        let (table, made) = self.job.table(&f).await?;
                        let payload = self.job.payload(&f, &made).await?;
                        let slices = match &mut self.maker {
                            Some(Maker::Mp4(head)) => head.slices(self.number, &table, &payload),
                            Some(Maker::Mkv(writer)) => writer.fragment(&table, &payload),
                            None => Ok(Vec::new()),
                        };
                        self.ready = gather(slices.map_err(self.job.bad(&f))?).into_iter();
                        self.number += 1;
                    }
                    None => {
                        self.state = State::Over;
                        if let Some(Maker::Mkv(writer)) = self.maker.take() {
                            let left_out = writer
                                .left_out()
                                .iter()
                                .map(left_out)
                                .chain(self.job.lost.iter().cloned())
                                .collect();
                            let tail = writer.finish();
                            // Cues, which are the file's last bytes.
                            self.ready = gather(vec![tail.bytes]).into_iter();
                            self.tail = Some(Piece::End { patches: tail.patches, left_out });
                        }
                    }
                },
                State::Over => return Ok(self.tail.take()),
            }
        }
    }
}

/// Slices joined to pieces of a good size.
fn gather(slices: Vec<Bytes>) -> Vec<Bytes> {
    let mut out = Vec::new();
    let mut open = BytesMut::new();
    for s in slices {
        if s.len() >= PIECE {
            if !open.is_empty() {
                out.push(open.split().freeze());
            }
            out.push(s);
            continue;
        }
        if open.len() + s.len() > PIECE {
            out.push(open.split().freeze());
        }
        if open.capacity() == 0 {
            open.reserve(PIECE);
        }
        open.extend_from_slice(&s);
    }
    if !open.is_empty() {
        out.push(open.freeze());
    }
    out
}
