//! What was taken and is still to be moved on: the journal's bytes to segments, segments to the store. Both are bounded.
//!
//! Who writes when a bound is reached is held up first: something may be moved on at any moment, and a store that is merely
//! slow then slows its writers down to what it takes. That is bounded, too: in time, in bytes that wait in memory, and to
//! what can help. Where somebody has waited in vain and nothing at all was moved on, nobody else waits until something is.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, Semaphore};

use crate::{LogError, shared::Shared};

pub(crate) struct Backlog {
    /// How often something was moved on.
    moves: AtomicU64,
    moved: Notify,
    /// How often it was, and one, when somebody had waited in vain for the next time.
    vain: AtomicU64,
    /// Permits are bytes of those that may wait.
    waiting: Semaphore,
}

impl Backlog {
    pub fn new(bytes: usize) -> Backlog {
        Backlog {
            moves: AtomicU64::new(0),
            moved: Notify::new(),
            vain: AtomicU64::new(0),
            waiting: Semaphore::new(bytes),
        }
    }
    /// Something was moved on, or there is nothing to wait for any more.
    pub fn moved(&self) {
        self.moves.fetch_add(1, Ordering::AcqRel);
        self.moved.notify_waiters();
    }
    fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }
}

impl Shared {
    /// Whether there is room for more.
    fn admit_more(&self) -> Result<(), LogError> {
        self.admit_journal()?;
        self.admit_backlog()
    }

    /// Waits, where too much is to be moved on, until it is less. `bytes`: what the caller holds meanwhile. Nothing may be
    /// held that a flush or an upload waits for.
    pub async fn admit_bytes(&self, bytes: usize) -> Result<(), LogError> {
        self.admit()?;
        let Err(full) = self.admit_more() else { return Ok(()) };
        self.wait_for_room(bytes, full).await.inspect_err(|e| self.say_refused(e))
    }

    async fn wait_for_room(&self, bytes: usize, full: LogError) -> Result<(), LogError> {
        let (b, clock) = (&self.backlog, &self.world.clock);
        let before = b.moves();
        if self.limits.backlog_wait.is_zero() || b.vain.load(Ordering::Acquire) == before + 1 {
            return Err(full);
        }
        // More than may wait at all does so alone.
        let bytes = bytes.clamp(1, self.limits.inflight_bytes) as u32;
        let Ok(_held) = b.waiting.try_acquire_many(bytes) else { return Err(full) };
        self.say_slowed(&full);
        self.counters.slowed.fetch_add(1, Ordering::Relaxed);
        // Rather now than when it looks by itself.
        self.flush.notify_one();
        let until = clock.monotonic() + self.limits.backlog_wait;
        loop {
            // From here on it is heard.
            let moved = b.moved.notified();
            self.admit()?;
            let Err(full) = self.admit_more() else { return Ok(()) };
            let left = until.saturating_sub(clock.monotonic());
            if left.is_zero() {
                if b.moves() == before {
                    b.vain.store(before + 1, Ordering::Release);
                }
                return Err(full);
            }
            tokio::select! {
                biased;
                () = moved => {}
                () = clock.sleep(left) => {}
            }
        }
    }
}
