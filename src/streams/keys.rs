//! Whether the keys that users named may be used: asked of whoever holds them, and believed for a while.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use seal::KeyProvider;
use wire::aws::AwsError;
use world::Clock;

use crate::error;

/// How long an answer of yes is believed: so long a key that was switched off may still be used.
pub(crate) const TRUST: Duration = Duration::from_secs(300);
/// How long others go on by the last answer while one asks again.
const ASKING: Duration = Duration::from_secs(10);
/// Answers kept before those that are out of date are forgotten.
const KEPT: usize = 1024;

/// The keys of all streams.
pub(crate) struct Keys {
    provider: Arc<dyn KeyProvider>,
    clock: Arc<dyn Clock>,
    /// Until when a key is taken for usable.
    good: Mutex<HashMap<String, Duration>>,
}

impl Keys {
    pub fn new(provider: Arc<dyn KeyProvider>, clock: Arc<dyn Clock>) -> Keys {
        Keys { provider, clock, good: Mutex::default() }
    }

    fn good(&self) -> MutexGuard<'_, HashMap<String, Duration>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks now; one of the KMS errors if the key may not be used.
    pub async fn ask(&self, name: &str) -> Result<(), AwsError> {
        let answer = self.provider.usable(name).await;
        let now = self.clock.monotonic();
        let mut good = self.good();
        match answer {
            Ok(()) => {
                if good.len() >= KEPT {
                    good.retain(|_, until| *until > now);
                }
                good.insert(name.to_owned(), now + TRUST);
                Ok(())
            }
            Err(fault) => {
                good.remove(name);
                Err(error::key(fault))
            }
        }
    }

    /// The same, by what was answered lately. One asks again when that is out of date; the others do not wait for it.
    pub async fn usable(&self, name: &str) -> Result<(), AwsError> {
        {
            let now = self.clock.monotonic();
            let mut good = self.good();
            if let Some(until) = good.get_mut(name) {
                if now < *until {
                    return Ok(());
                }
                *until = now + ASKING;
            }
        }
        self.ask(name).await
    }
}
