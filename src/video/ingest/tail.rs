//! What the next fragment of a stream continues: its numbers, of which none is given twice.

use log::{LogError, Query, SharedLog};

use crate::{
    VideoError,
    index::{Entry, MAX_ABSENT},
    streams::Stream,
};

/// What the next fragment of a stream continues.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    /// Its ordinal.
    pub ordinal: u64,
    /// Discontinuities so far.
    pub discontinuities: u64,
    /// Fragments that had samples of each track so far.
    pub tracks: Vec<(u8, u64)>,
    /// The session that made the latest fragment; none of this process at first.
    pub session: Option<u64>,
    /// The latest fragment's number.
    pub number: u64,
}

impl Tail {
    pub(super) fn after(e: &Entry) -> Tail {
        let mut tracks: Vec<_> = e.tracks.iter().map(|t| (t.id, t.ordinal + 1)).collect();
        tracks.extend(&e.absent);
        let (ordinal, discontinuities) = (e.ordinal + 1, e.discontinuities);
        Tail { ordinal, discontinuities, tracks, session: None, number: e.number }
    }

    /// What the latest fragment says, as far as it can be read. Recording goes on in any case: of what cannot be read,
    /// and of what is gone, the positions are known, and no fragment was without one.
    pub(super) async fn load(log: &SharedLog, stream: &Stream) -> Result<Tail, VideoError> {
        let name = stream.name();
        let all = Query::Positions(0, u64::MAX);
        let last = match log.readable_payloads(stream.shard, all, 1, true).await {
            Ok((found, unreadable)) => {
                for u in unreadable {
                    tracing::error!(stream = name, positions = ?u.positions, bytes = u.bytes, "cannot be read: {}", u.why);
                }
                found.into_iter().next_back()
            }
            Err(e @ (LogError::Io(_) | LogError::Damaged(_))) => {
                tracing::error!(stream = name, error = %e, "the latest fragment cannot be read; recording goes on");
                None
            }
            Err(e) => return Err(stream.log_error(e)),
        };
        let entry = last.as_ref().and_then(|p| match Entry::decode(&p.index) {
            Ok(e) => Some((e, p.position)),
            Err(e) => {
                tracing::error!(stream = name, position = p.position, error = %e, "index entry");
                None
            }
        });
        let next = log.watch(stream.shard).map_err(|e| stream.log_error(e))?.borrow().next;
        let known = entry.as_ref().map_or(0, |(_, position)| position + 1);
        let tail = match entry {
            Some((e, position)) => Tail::found(&e, position, next),
            None => Tail::default().skip(next),
        };
        if tail.ordinal > 0 && next > known {
            tracing::warn!(
                stream = name,
                ordinal = tail.ordinal,
                skipped = next - known,
                "ordinals were skipped"
            );
        }
        Ok(tail)
    }

    /// What the fragment at a position says, where the log goes on at `next`. What was shown after the last one went with
    /// the process that showed it.
    fn found(e: &Entry, position: u64, next: u64) -> Tail {
        let unknown = next.saturating_sub(position + 1);
        let mut tail = Tail::after(e);
        if e.ahead && unknown == 0 {
            tail.pass_over(e.tracks.iter().map(|t| t.id));
        }
        // After those of which nothing is known, which has which tracks is not known either.
        tail.skip(unknown + u64::from(e.ahead && unknown > 0))
    }

    /// What follows so many fragments of which nothing is known but that there may have been no more.
    fn skip(mut self, fragments: u64) -> Tail {
        if fragments == 0 {
            return self;
        }
        // Any of them may have had any track.
        for id in 1..=MAX_ABSENT as u8 {
            if self.tracks.iter().all(|(t, _)| *t != id) {
                self.tracks.push((id, 0));
            }
        }
        self.tracks.sort_unstable();
        self.tracks.iter_mut().for_each(|(_, n)| *n += fragments);
        self.ordinal += fragments;
        self.discontinuities += fragments;
        self
    }

    /// A fragment with these tracks was shown to players and then lost: its numbers are not given again (RFC 8216 §3: a media
    /// sequence number names one segment).
    pub(super) fn pass_over(&mut self, tracks: impl IntoIterator<Item = u8>) {
        for id in tracks {
            match self.tracks.iter_mut().find(|(t, _)| *t == id) {
                Some((_, n)) => *n += 1,
                None => self.tracks.push((id, 1)),
            }
        }
        self.ordinal += 1;
    }

    /// Numbers a fragment as the next.
    pub(super) fn number(&self, e: &mut Entry, session: u64) {
        e.ordinal = self.ordinal;
        e.discontinuity = self.ordinal > 0 && (e.discontinuity || self.session != Some(session));
        e.discontinuities = self.discontinuities + u64::from(e.discontinuity);
        let count = |id| self.tracks.iter().find(|(t, _)| *t == id).map_or(0, |(_, n)| *n);
        for t in &mut e.tracks {
            t.ordinal = count(t.id);
        }
        let absent = self.tracks.iter().filter(|(id, _)| e.tracks.iter().all(|t| t.id != *id));
        e.absent = absent.take(MAX_ABSENT).copied().collect();
    }
}

#[cfg(test)]
mod tests {
    use world::Timestamp;

    use super::*;
    use crate::index::TrackEntry;

    /// What follows a stream's fragment 7 at position 7, of which pictures had all, where the log goes on at a position.
    fn after(ahead: bool, next: u64) -> (u64, u64) {
        let track = TrackEntry::picture(Timestamp(0), 2000, 7);
        let tail =
            Tail::found(&Entry { ordinal: 7, tracks: vec![track], ahead, ..Entry::default() }, 7, next);
        (tail.ordinal, tail.tracks.iter().find(|(id, _)| *id == 1).map_or(0, |(_, n)| *n))
    }

    #[test]
    fn what_was_shown_ahead_keeps_its_number_whether_or_not_the_newest_can_be_read() {
        assert_eq!([(false, 8), (true, 8)].map(|(ahead, next)| after(ahead, next)), [(8, 8), (9, 9)]);
        // Two that cannot be read, and what was being made after them.
        assert_eq!([(false, 10), (true, 10)].map(|(ahead, next)| after(ahead, next)), [(10, 10), (11, 11)]);
    }
}
