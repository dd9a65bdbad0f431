//! The world's clock as `str0m` wants it.

use std::{sync::Arc, time::Instant};

use world::Clock;

/// Monotonic time as instants, which can only be made from one that the system gave.
#[derive(Clone)]
pub(crate) struct Instants {
    origin: Instant,
    clock: Arc<dyn Clock>,
}

impl Instants {
    #[allow(clippy::disallowed_methods, reason = "an origin; all that is measured is the world's")]
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Instants {
        Instants { origin: Instant::now() - clock.monotonic(), clock }
    }

    pub(crate) fn now(&self) -> Instant {
        self.origin + self.clock.monotonic()
    }

    /// Returns at `then`, or at once if it has been.
    pub(crate) async fn until(&self, then: Instant) {
        self.clock.sleep(then.saturating_duration_since(self.now())).await;
    }
}
