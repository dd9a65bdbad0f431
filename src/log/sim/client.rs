//! A client that does one thing after another and remembers what it was told.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use world::{ShardId, Timestamp, sim::Dice};

use super::{
    model::{Kept, Model, read_all},
    stream,
};
use crate::{LocalLog, Log, LogError, OnFull, Retention};

pub struct Client {
    log: Arc<LocalLog>,
    model: Arc<Mutex<Model>>,
    dice: Dice,
    /// Makes its contents its own.
    tag: u64,
    sent: u64,
}

/// Streams that come and go; the first stays.
const STREAMS: usize = 4;

impl Client {
    pub fn new(log: Arc<LocalLog>, model: Arc<Mutex<Model>>, seed: u64, n: u64, life: u64) -> Client {
        Client { log, model, dice: Dice::new(seed), tag: life << 32 | n << 16, sent: 0 }
    }

    fn content(&mut self) -> Bytes {
        self.sent += 1;
        let mut v = (self.tag | self.sent).to_le_bytes().to_vec();
        let len = [0, 10, 300, 3000][self.dice.below(4)];
        v.extend((0..len).map(|i| i as u8 ^ self.sent as u8));
        v.into()
    }

    fn shard(&mut self) -> ShardId {
        let n = self.dice.below(STREAMS);
        // Mostly the first, which is there the longest; its children and theirs.
        let shard = [0, 0, 0, 0, 0, 0, 0, 1, 2, 3][self.dice.below(10)];
        ShardId { stream: stream(n as u64), shard }
    }

    pub async fn run(mut self, steps: usize) {
        for _ in 0..steps {
            let s = self.shard();
            match self.dice.below(30) {
                0..=2 => self.create(s).await,
                3..=10 => self.append(s).await,
                11..=15 => self.payload(s).await,
                16 | 17 => self.trim(s).await,
                18 | 24 => self.reshard(s).await,
                19 => drop(self.log.rotate_key(s.stream).await),
                20 => self.delete(s).await,
                21 => self.retain(s).await,
                22 => self.pin(s).await,
                23 => self.unpin(s).await,
                28 | 29 => self.forget(s).await,
                _ => self.read(s).await,
            }
        }
    }

    async fn create(&mut self, s: ShardId) {
        let id = ShardId { shard: 0, ..s };
        {
            let mut m = self.model.lock().unwrap();
            if m.maybe_deleted.contains(&s.stream) {
                // An id is never used again.
                return;
            }
            m.shard(id);
            *m.creating.entry(s.stream).or_default() += 1;
        }
        let done = self.log.create_stream(s.stream).await;
        let mut m = self.model.lock().unwrap();
        *m.creating.entry(s.stream).or_default() -= 1;
        if done.is_ok() {
            m.shard(id).told = true;
        }
    }

    async fn append(&mut self, s: ShardId) {
        let batch: Vec<Bytes> = (0..1 + self.dice.below(4)).map(|_| self.content()).collect();
        self.maybe(s, &batch);
        match self.log.append(s, batch.clone()).await {
            Ok(c) => {
                let mut m = self.model.lock().unwrap();
                for (p, b) in (c.first..).zip(batch) {
                    m.keep(s, p, c.arrival, Kept::Record(b));
                }
                m.acknowledged += 1;
            }
            Err(e) => self.not(s, &batch, &e),
        }
    }

    /// Sent: it may be there from now on.
    fn maybe(&self, s: ShardId, batch: &[Bytes]) {
        self.model.lock().unwrap().shard(s).maybe.extend(batch.iter().cloned());
    }

    /// Refused: it must not be there.
    fn not(&self, s: ShardId, batch: &[Bytes], e: &LogError) {
        if matches!(e, LogError::Unknown(_)) {
            return;
        }
        let mut m = self.model.lock().unwrap();
        for b in batch {
            assert!(m.shard(s).maybe.remove(b), "{s}: refused with {e}, and read by somebody");
        }
    }

    async fn payload(&mut self, s: ShardId) {
        let mut content = self.content();
        if self.dice.once_in(12) {
            // More than one chunk.
            content = [&content[..], &[7; 300_000]].concat().into();
        }
        let Ok(mut w) = self.log.payload(s).await else { return };
        let piece = 1 + self.dice.below(content.len());
        for c in content.chunks(piece.max(content.len() / 4 + 1)) {
            if w.write(c).await.is_err() {
                return;
            }
        }
        if self.dice.once_in(6) {
            return;
        }
        self.maybe(s, std::slice::from_ref(&content));
        match w.commit((Timestamp(1), Timestamp(2)), content.slice(..8)).await {
            Ok(c) => {
                let mut m = self.model.lock().unwrap();
                m.keep(s, c.first, c.arrival, Kept::Payload(content));
                m.acknowledged += 1;
            }
            Err(e) => self.not(s, &[content], &e),
        }
    }

    async fn trim(&mut self, s: ShardId) {
        let Ok(head) = self.log.watch(s).map(|w| *w.borrow()) else { return };
        let before = head.oldest + self.dice.below((head.next - head.oldest) as usize + 1) as u64;
        {
            let mut m = self.model.lock().unwrap();
            let sh = m.shard(s);
            sh.maybe_trimmed = sh.maybe_trimmed.max(before);
        }
        if self.log.trim(s, before).await.is_ok() {
            let mut m = self.model.lock().unwrap();
            let sh = m.shard(s);
            sh.trimmed = sh.trimmed.max(before);
        }
    }

    /// Splits the first shard, or merges what came of that; mostly what is next.
    async fn reshard(&mut self, s: ShardId) {
        let split = {
            let m = self.model.lock().unwrap();
            [1, 2].iter().all(|n| m.shards.get(&ShardId { shard: *n, ..s }).is_some_and(|s| s.told))
        };
        match split && !self.dice.once_in(4) {
            false => self.change(s, &[0], &[1, 2]).await,
            true => self.change(s, &[1, 2], &[3]).await,
        }
    }

    /// Closes shards and opens others after them.
    async fn change(&mut self, s: ShardId, parents: &[u32], children: &[u32]) {
        if s.stream == stream(0) {
            return;
        }
        let (at, log, model) = (|shard| ShardId { shard, ..s }, &self.log, &self.model);
        {
            let mut m = model.lock().unwrap();
            if !parents.iter().all(|p| m.shards.get(&at(*p)).is_some_and(|p| p.told)) {
                return;
            }
            for p in parents {
                m.shard(at(*p)).maybe_closed = true;
            }
        }
        for p in parents {
            if let Ok(end) = log.close_shard(at(*p)).await {
                model.lock().unwrap().shard(at(*p)).closed = Some(end);
            }
        }
        for c in children {
            model.lock().unwrap().shard(at(*c));
            if log.open_shard(at(*c), parents).await.is_ok() {
                for p in parents {
                    assert!(log.watch(at(*p)).is_err() || log.watch(at(*p)).unwrap().borrow().closed);
                }
                let mut m = model.lock().unwrap();
                assert!(!m.forgotten.contains(&at(*c)), "{} was forgotten and opened again", at(*c));
                m.shard(at(*c)).told = true;
                m.opened[*c as usize] += 1;
            }
        }
    }

    /// Wants shards forgotten, some of them after a trim of all that is in them.
    async fn forget(&mut self, s: ShardId) {
        let all: Vec<u32> = (0..4).filter(|_| self.dice.once_in(2)).collect();
        let at = |shard| ShardId { shard, ..s };
        if self.dice.once_in(2) {
            for n in &all {
                let Ok(head) = self.log.watch(at(*n)).map(|w| *w.borrow()) else { continue };
                if head.closed {
                    {
                        let mut m = self.model.lock().unwrap();
                        let sh = m.shard(at(*n));
                        sh.maybe_trimmed = sh.maybe_trimmed.max(head.next);
                    }
                    let _ = self.log.trim(at(*n), head.next).await;
                }
            }
        }
        let there: Vec<u32> = {
            let mut m = self.model.lock().unwrap();
            m.maybe_forgotten.extend(all.iter().map(|n| at(*n)));
            all.iter().copied().filter(|n| m.shard(at(*n)).told).collect()
        };
        let Ok(stay) = self.log.forget_shards(s.stream, &all).await else { return };
        let mut m = self.model.lock().unwrap();
        if m.maybe_deleted.contains(&s.stream) {
            return;
        }
        for n in there.into_iter().filter(|n| !stay.contains(n)) {
            m.is_forgotten(at(n));
        }
    }

    async fn retain(&mut self, s: ShardId) {
        // Some streams keep everything, so that it can be seen whether anything goes that should not.
        if !s.stream.0[0].is_multiple_of(2) {
            return;
        }
        let r = Retention {
            age: self.dice.once_in(2).then(|| Duration::from_millis(self.dice.below(20_000) as u64)),
            bytes: self.dice.once_in(2).then(|| self.dice.below(40_000) as u64),
            on_full: if self.dice.once_in(3) { OnFull::Refuse } else { OnFull::Overwrite },
        };
        {
            let mut m = self.model.lock().unwrap();
            if let Some(age) = r.age {
                let least = m.ages.get(&s.stream).map_or(age, |a| age.min(*a));
                m.ages.insert(s.stream, least);
            }
            if r.on_full == OnFull::Overwrite {
                m.overwriting.insert(s.stream);
            }
            if r.bytes.is_some() {
                m.budgets.insert(s.stream);
            }
        }
        let _ = self.log.set_retention(s.stream, r).await;
    }

    /// What is seen of a range after it was pinned has to stay.
    async fn pin(&mut self, s: ShardId) {
        let now = self.model.lock().unwrap().latest;
        let from = now - Duration::from_millis(self.dice.below(30_000) as u64);
        let to = from + Duration::from_millis(self.dice.below(10_000) as u64);
        let Ok(pin) = self.log.pin(s.stream, from, to, "").await else { return };
        let Ok(head) = self.log.watch(s).map(|w| *w.borrow()) else { return };
        let Ok(found) = read_all(&self.log, s, head.oldest).await else { return };
        let mut m = self.model.lock().unwrap();
        if m.unpinned.contains(&pin.id) {
            return;
        }
        let inside = found.iter().filter(|f| from <= f.1 && f.1 <= to).map(|f| f.0).collect();
        m.shard(s).pinned.insert(pin.id, inside);
    }

    async fn unpin(&mut self, s: ShardId) {
        let Ok(pins) = self.log.pins(s.stream).await else { return };
        let Some(pin) = pins.get(self.dice.below(pins.len().max(1))) else { return };
        {
            let mut m = self.model.lock().unwrap();
            m.unpinned.insert(pin.id.clone());
            m.shards.values_mut().for_each(|s| drop(s.pinned.remove(&pin.id)));
        }
        let _ = self.log.unpin(s.stream, &pin.id).await;
    }

    async fn delete(&mut self, s: ShardId) {
        if s.stream == stream(0) || !self.dice.once_in(3) {
            return;
        }
        {
            let mut m = self.model.lock().unwrap();
            if m.creating.get(&s.stream).is_some_and(|n| *n > 0) {
                return;
            }
            m.maybe_deleted.insert(s.stream);
        }
        if self.log.delete_stream(s.stream).await.is_ok() {
            self.model.lock().unwrap().deleted.insert(s.stream);
        }
    }

    /// Whatever anybody reads has to stay.
    async fn read(&mut self, s: ShardId) {
        let Ok(head) = self.log.watch(s).map(|w| *w.borrow()) else { return };
        match read_all(&self.log, s, head.oldest).await {
            Ok(found) => {
                let mut m = self.model.lock().unwrap();
                m.shard(s).told = true;
                for (position, at, what) in found {
                    m.keep(s, position, at, what);
                }
            }
            Err(LogError::Damaged(e)) => panic!("{s}: {e}"),
            Err(_) => {}
        }
    }
}
