//! What is read of a connection that was taken over from HTTP (RFC 9110 §7.8) and kept until it is a whole message: bounded
//! over all such connections, so that clients who send slowly, however many, take no more than that.
//!
//! The listener leaves an [`Intake`] among a request's extensions and asks it before each read. Until the connection is
//! taken over it bounds nothing: what HTTP keeps has bounds of its own.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use world::World;

/// What a connection may keep without taking of the budget.
pub const OWN: usize = 16 << 10;
/// What it takes of it at a time: 2^16 bytes.
const UNIT: usize = 16;
/// Within this a message that is larger than [`OWN`] is there, or the connection ends: nobody keeps what others wait for.
const TIME: Duration = Duration::from_secs(20);

/// What all connections of a kind may keep, beyond [`OWN`] each.
#[derive(Clone)]
pub struct Budget {
    world: World,
    units: Arc<Semaphore>,
}

impl Budget {
    /// So many bytes.
    pub fn new(world: World, bytes: usize) -> Budget {
        Budget { world, units: Arc::new(Semaphore::new(bytes >> UNIT)) }
    }
}

/// How much of one connection is kept. Cloning is cheap: the listener and whoever took the connection over have the same.
#[derive(Clone, Default)]
pub struct Intake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    budget: Option<Budget>,
    /// Bytes read since the last message.
    kept: usize,
    taken: Option<OwnedSemaphorePermit>,
    waiting: Option<BoxFuture<'static, Result<OwnedSemaphorePermit, AcquireError>>>,
    /// Runs while there is more than it may keep by itself.
    late: Option<BoxFuture<'static, ()>>,
}

impl Intake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on what is read counts.
    pub fn bound(&self, budget: &Budget) {
        let mut s = self.state();
        s.budget = Some(budget.clone());
        s.kept(0);
    }
    /// A message is whole, and nothing of another is there but what came along with its end.
    pub fn message(&self) {
        self.state().kept(0);
    }
    /// So many bytes did not belong to one.
    pub fn passed(&self, bytes: usize) {
        let mut s = self.state();
        let left = s.kept.saturating_sub(bytes);
        s.kept(left);
    }
    /// So many bytes were read.
    pub fn read(&self, bytes: usize) {
        let mut s = self.state();
        if s.budget.is_some() {
            s.kept += bytes;
        }
    }
    /// Whether more may be read: `TimedOut` once a large message has taken too long.
    pub fn poll_read(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state().poll(cx)
    }
}

impl State {
    fn kept(&mut self, bytes: usize) {
        self.kept = bytes;
        if bytes < OWN {
            (self.taken, self.waiting, self.late) = (None, None, None);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(budget) = self.budget.as_ref().filter(|_| self.kept >= OWN) else {
            return Poll::Ready(Ok(()));
        };
        let late = self.late.get_or_insert_with(|| {
            let clock = budget.world.clock.clone();
            Box::pin(async move { clock.sleep(TIME).await })
        });
        if late.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "a large message did not come in time",
            )));
        }
        loop {
            let taken = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) << UNIT;
            if self.kept < OWN + taken {
                return Poll::Ready(Ok(()));
            }
            let waiting = self.waiting.get_or_insert_with(|| Box::pin(budget.units.clone().acquire_owned()));
            let more = ready!(waiting.as_mut().poll(cx));
            self.waiting = None;
            let more = more.map_err(|e| io::Error::other(e.to_string()))?;
            match &mut self.taken {
                Some(t) => t.merge(more),
                None => self.taken = Some(more),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use world::sim::Sim;

    use super::*;

    async fn now(intake: &Intake) -> Option<io::Result<()>> {
        let asked = poll_fn(|cx| Poll::Ready(intake.poll_read(cx)));
        match asked.await {
            Poll::Ready(r) => Some(r),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_taken_of_the_budget_and_given_back() {
        let sim = Sim::new(1);
        let budget = Budget::new(sim.world.clone(), 2 << UNIT);
        let (a, b) = (Intake::default(), Intake::default());
        // HTTP's own.
        a.read(1 << 30);
        assert!(now(&a).await.unwrap().is_ok());
        a.bound(&budget);
        b.bound(&budget);
        a.read(OWN - 1);
        assert!(now(&a).await.unwrap().is_ok());
        assert_eq!(budget.units.available_permits(), 2, "of its own");
        a.read(1);
        assert!(now(&a).await.unwrap().is_ok());
        assert_eq!(budget.units.available_permits(), 1);
        a.read(1 << UNIT);
        assert!(now(&a).await.unwrap().is_ok());
        assert_eq!(budget.units.available_permits(), 0);
        // Others wait; those with little do not.
        b.read(OWN - 1);
        assert!(now(&b).await.unwrap().is_ok());
        b.read(10);
        assert!(now(&b).await.is_none());
        a.message();
        assert!(now(&b).await.unwrap().is_ok());
        assert_eq!(budget.units.available_permits(), 1);
        b.passed(10);
        assert_eq!(budget.units.available_permits(), 2);
        b.read(10);
        assert!(now(&b).await.unwrap().is_ok());
        drop(b);
        assert_eq!(budget.units.available_permits(), 2, "a connection that is gone keeps nothing");
    }

    #[tokio::test]
    async fn a_large_message_that_does_not_come_ends_its_connection() {
        let sim = Sim::new(1);
        let budget = Budget::new(sim.world.clone(), 1 << UNIT);
        let (a, b) = (Intake::default(), Intake::default());
        a.bound(&budget);
        b.bound(&budget);
        a.read(OWN);
        assert!(now(&a).await.unwrap().is_ok());
        sim.clock.advance(TIME - Duration::from_millis(1));
        assert!(now(&a).await.unwrap().is_ok());
        b.read(OWN);
        assert!(now(&b).await.is_none());
        sim.clock.advance(Duration::from_millis(1));
        assert_eq!(now(&a).await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        // As does one that waited for its turn.
        sim.clock.advance(TIME);
        assert_eq!(now(&b).await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        // One that came in time starts anew.
        let c = Intake::default();
        c.bound(&budget);
        drop((a, b));
        for _ in 0..3 {
            c.read(OWN);
            assert!(now(&c).await.unwrap().is_ok());
            sim.clock.advance(TIME - Duration::from_millis(1));
            assert!(now(&c).await.unwrap().is_ok());
            c.message();
        }
    }
}
