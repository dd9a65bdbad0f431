mod decisions;
mod secrets;
mod sessions;
mod signatures;
mod tokens;
mod unsteady;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use catalog::{Catalog, testing};
use seal::{DataKey, LocalKey};
use world::{Arn, Home, World, sim::SimClock};

use crate::{Credentials, Denied, Gate, Permit, RootKey, actions};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A catalog and what is needed to open gates on it.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) home: Home,
    /// Whether the catalog is out of order.
    pub(crate) fails: Arc<AtomicBool>,
}

impl Site {
    pub(crate) fn new() -> Site {
        let (world, clock) = testing::world(7);
        let home = Home { account: "111122223333".into(), region: "eu-west-1".into() };
        let (catalog, fails) = unsteady::Unsteady::catalog(world.clone());
        Site { catalog: Arc::new(catalog), world, clock, home, fails }
    }
    /// Opens a gate, as each start and each node does.
    pub(crate) async fn open(&self, root: Option<(&str, &str)>) -> (Gate, Option<RootKey>) {
        let keys = Arc::new(LocalKey::new(DataKey::new([5; 32])));
        let root = root.map(|(id, secret)| (id.to_owned(), secret.to_owned()));
        Gate::open(self.world.clone(), self.catalog.clone(), keys, self.home.clone(), root).await.unwrap()
    }
    /// A gate with a root key that is known.
    pub(crate) async fn gate(&self) -> Gate {
        self.open(Some((KEY.0, KEY.1))).await.0
    }
    pub(crate) fn yard(&self) -> Arn {
        self.home.video_stream("yard")
    }
}

pub(crate) const KEY: (&str, &str) = ("AKIAROOTROOTROOTROOT", "correct horse battery staple");
pub(crate) const ROOT: Credentials<'static> = Credentials::AccessKey { id: KEY.0, secret: KEY.1 };
pub(crate) const WRONG: Credentials<'static> = Credentials::AccessKey { id: KEY.0, secret: "wrong horse" };

/// Root's everyday request.
pub(crate) async fn list(gate: &Gate, site: &Site, cred: Credentials<'_>) -> Result<Permit, Denied> {
    gate.admit(cred, actions::LIST_STREAMS, &site.home.video_stream("*")).await
}

/// What kind of answer it is.
pub(crate) fn word<T>(r: &Result<T, Denied>) -> &'static str {
    match r {
        Ok(_) => "yes",
        Err(Denied::NotAuthenticated(_)) => "who?",
        Err(Denied::Signature(_)) => "signature",
        Err(Denied::Expired) => "expired",
        Err(Denied::NotPermitted { .. }) => "no",
        Err(Denied::TooManyAttempts { .. }) => "slowly",
        Err(Denied::Unavailable(_)) => "unavailable",
    }
}
