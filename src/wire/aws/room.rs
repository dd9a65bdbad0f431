//! Memory for what is large and under way: bodies that come, answers that go. Bounded over all requests, so that clients
//! who send or read slowly, however many, take no more than that.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use world::World;

use super::AwsError;

/// 2^16 bytes.
const UNIT: u32 = 16;
/// How long one may wait for others to go.
const WAIT: Duration = Duration::from_secs(5);

/// So many bytes in all.
pub(crate) struct Room {
    world: World,
    units: Arc<Semaphore>,
    /// What is told to who finds none.
    busy: &'static str,
}

/// A part of it; given back when dropped.
#[derive(Default)]
pub(crate) struct Part(Option<OwnedSemaphorePermit>);

fn units(bytes: usize) -> usize {
    (bytes >> UNIT) + 1
}

impl Room {
    pub(crate) fn new(world: World, bytes: usize, busy: &'static str) -> Room {
        Room { world, units: Arc::new(Semaphore::new(bytes >> UNIT)), busy }
    }

    fn busy(&self) -> AwsError {
        AwsError::unavailable(self.busy)
    }

    /// Makes a part at least so large; waits a little for others to go.
    pub(crate) async fn grow(&self, part: &mut Part, bytes: usize) -> Result<(), AwsError> {
        let more = units(bytes).saturating_sub(part.units());
        if more == 0 {
            return Ok(());
        }
        let n = u32::try_from(more).map_err(|_| self.busy())?;
        tokio::select! {
            biased;
            p = self.units.clone().acquire_many_owned(n) => {
                part.merge(p.map_err(|_| self.busy())?);
                Ok(())
            }
            () = self.world.clock.sleep(WAIT) => Err(self.busy()),
        }
    }
}

impl Part {
    fn units(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    fn merge(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.0 {
            Some(p) => p.merge(more),
            None => self.0 = Some(more),
        }
    }

    /// Gives back what these bytes do not need, and the rest once they are dropped.
    pub(crate) fn hold(mut self, bytes: Bytes) -> Bytes {
        let Some(permit) = &mut self.0 else { return bytes };
        let spare = permit.num_permits().saturating_sub(units(bytes.len()));
        drop(permit.split(spare));
        Bytes::from_owner(Held { bytes, _part: self })
    }
}

struct Held {
    bytes: Bytes,
    _part: Part,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use world::sim::Sim;

    use super::*;

    #[tokio::test]
    async fn what_is_held_is_taken_and_given_back() {
        let sim = Sim::new(1);
        let room = Arc::new(Room::new(sim.world.clone(), 10 << UNIT, "full"));
        let mut part = Part::default();
        room.grow(&mut part, 5 << UNIT).await.unwrap();
        room.grow(&mut part, 3 << UNIT).await.unwrap();
        assert_eq!(room.units.available_permits(), 4);
        let kept = part.hold(Bytes::from(vec![1; 1 << UNIT]));
        assert_eq!((room.units.available_permits(), kept.len()), (8, 1 << UNIT));
        let piece = kept.slice(5..9);
        drop(kept);
        assert_eq!(room.units.available_permits(), 8, "a piece of it is still there");
        // Who finds no room waits, and is told so.
        let other = room.clone();
        let waiting = tokio::spawn(async move { other.grow(&mut Part::default(), 9 << UNIT).await });
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        sim.clock.advance(WAIT);
        assert_eq!(waiting.await.unwrap().unwrap_err().message, "full");
        drop(piece);
        assert_eq!(room.units.available_permits(), 10);
        room.grow(&mut Part::default(), 9 << UNIT).await.unwrap();
    }
}
