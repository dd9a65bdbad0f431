//! A media segment on its way out: boxes, then stretches of the stored payload, read and opened a chunk at a time.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures_util::Stream as Chunks;
use log::{Payload, SharedLog};

use crate::mp4::Plan;

/// What is read at once: the chunk in which payloads are sealed, so each is opened once.
const WINDOW: u64 = seal::CHUNK as u64;
/// Stretches shorter than this are sent together.
const SMALL: u64 = 16 << 10;

/// A segment.
pub(crate) enum Segment {
    /// Read as it is sent.
    Planned { plan: Plan, payload: Payload },
    /// In memory.
    Whole(Vec<Bytes>),
}

impl Segment {
    pub fn len(&self) -> u64 {
        match self {
            Segment::Planned { plan, .. } => {
                plan.head.len() as u64 + plan.extents.iter().map(|(_, len)| len).sum::<u64>()
            }
            Segment::Whole(parts) => parts.iter().map(|p| p.len() as u64).sum(),
        }
    }

    /// The bytes in a range of it (which must lie within).
    pub fn bytes(
        self,
        log: SharedLog,
        range: Range<u64>,
    ) -> impl Chunks<Item = Result<Bytes, log::LogError>> + Send {
        let (head, extents, payload) = match self {
            Segment::Planned { plan, payload } => {
                let (head, skip, left) = cut(plan.head, range.start, range.end - range.start);
                (vec![head], cut_extents(plan.extents, skip, left), Some(payload))
            }
            Segment::Whole(parts) => {
                let (mut skip, mut left) = (range.start, range.end - range.start);
                let mut out = Vec::with_capacity(parts.len());
                for p in parts {
                    let part;
                    (part, skip, left) = cut(p, skip, left);
                    out.push(part);
                }
                (out, Vec::new(), None)
            }
        };
        let state = Reader {
            head: head.into_iter(),
            extents: extents.into_iter().peekable(),
            payload,
            log,
            window: None,
        };
        futures_util::stream::unfold(Some(state), |state| async move {
            let mut r = state?;
            match r.next().await {
                Ok(Some(b)) => Some((Ok(b), Some(r))),
                Ok(None) => None,
                Err(e) => Some((Err(e), None)),
            }
        })
    }
}

/// Skips, then takes at most `left`; what remains to skip and to take.
fn cut(b: Bytes, skip: u64, left: u64) -> (Bytes, u64, u64) {
    let from = skip.min(b.len() as u64);
    let take = left.min(b.len() as u64 - from);
    (b.slice(from as usize..(from + take) as usize), skip - from, left - take)
}

fn cut_extents(extents: Vec<(u64, u64)>, mut skip: u64, mut left: u64) -> Vec<(u64, u64)> {
    let mut out = Vec::with_capacity(extents.len());
    for (at, len) in extents {
        let from = skip.min(len);
        skip -= from;
        let take = left.min(len - from);
        left -= take;
        if take > 0 {
            out.push((at + from, take));
        }
    }
    out
}

struct Reader {
    head: std::vec::IntoIter<Bytes>,
    extents: std::iter::Peekable<std::vec::IntoIter<(u64, u64)>>,
    payload: Option<Payload>,
    log: SharedLog,
    window: Option<(u64, Bytes)>,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, log::LogError> {
        if let Some(b) = self.head.find(|b| !b.is_empty()) {
            return Ok(Some(b));
        }
        let mut gathered = BytesMut::new();
        while let Some((at, len)) = self.extents.next() {
            let end = (at / WINDOW + 1) * WINDOW;
            let now = len.min(end - at);
            if now < len {
                // The rest lies in the next window.
                self.push_front(at + now, len - now);
            }
            let b = self.window(at, now, end).await?;
            if gathered.is_empty() && now >= SMALL {
                return Ok(Some(b));
            }
            gathered.extend_from_slice(&b);
            if gathered.len() as u64 >= SMALL || self.extents.peek().is_some_and(|(_, len)| *len >= SMALL) {
                break;
            }
        }
        Ok((!gathered.is_empty()).then(|| gathered.freeze()))
    }

    fn push_front(&mut self, at: u64, len: u64) {
        let rest: Vec<_> = std::iter::once((at, len)).chain(self.extents.by_ref()).collect();
        self.extents = rest.into_iter().peekable();
    }

    /// Bytes `at..at + len`, which lie in one window that ends at `end`.
    async fn window(&mut self, at: u64, len: u64, end: u64) -> Result<Bytes, log::LogError> {
        if let Some((from, b)) = &self.window
            && let Some(start) = at.checked_sub(*from)
            && start + len <= b.len() as u64
        {
            return Ok(b.slice(start as usize..(start + len) as usize));
        }
        let Some(payload) = &self.payload else { return Ok(Bytes::new()) };
        // More only if more of this window is wanted.
        let until = match self.extents.peek() {
            Some((next, _)) if *next < end => end.min(payload.len),
            _ => at + len,
        };
        let b = self.log.read_payload(payload, at..until).await?;
        let got = b.slice(..(len as usize).min(b.len()));
        self.window = Some((at, b));
        Ok(got)
    }
}
