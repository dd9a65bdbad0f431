//! What the account is set to, as a document of the catalog.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use catalog::{Catalog, Change, Document};
use serde::{Deserialize, Serialize};
use wire::aws::AwsError;
use world::Timestamp;

use crate::{error, stream::Tools};

const KIND: &str = "data-streams-account";
const ID: &str = "settings";
/// How long a commitment lasts at least (API_MinimumThroughputBillingCommitmentInput).
pub(crate) const LEAST: Duration = Duration::from_secs(24 * 3600);

/// A minimum of throughput that is paid for (on-demand advantage), as it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commitment {
    v: u32,
    /// It was asked for and not ended since.
    committed: bool,
    /// When it, or the last one, began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended, or is to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<Timestamp>,
}

impl Commitment {
    /// Whether there is one.
    fn holds(&self, now: Timestamp) -> bool {
        self.committed || self.end.is_some_and(|e| e > now)
    }
    /// As the API has it.
    pub fn status(&self, now: Timestamp) -> &'static str {
        match (self.committed, self.holds(now)) {
            (true, _) => "ENABLED",
            (false, true) => "ENABLED_UNTIL_EARLIEST_ALLOWED_END",
            (false, false) => "DISABLED",
        }
    }
    /// Since when there is none any more.
    pub fn ended(&self, now: Timestamp) -> Option<Timestamp> {
        self.end.filter(|_| !self.holds(now))
    }
    /// Before this it does not end; none if there is none.
    pub fn earliest_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.started.filter(|_| self.holds(now)).map(|s| s + LEAST)
    }
    /// One that is asked for, or ended as soon as it may be. `least`: how long it lasts.
    fn set(self, on: bool, now: Timestamp, least: Duration) -> Commitment {
        let there = self.holds(now);
        match on {
            true if there => Commitment { committed: true, end: None, ..self },
            true => Commitment { v: 1, committed: true, started: Some(now), end: None },
            false if self.committed => {
                let end = self.started.map_or(now, |s| (s + least).max(now));
                Commitment { committed: false, end: Some(end), ..self }
            }
            false => self,
        }
    }
}

/// The account's settings.
pub(crate) struct Account {
    commitment: Mutex<Commitment>,
    turn: tokio::sync::Mutex<u64>,
    /// How long a commitment lasts.
    least: Duration,
}

impl Account {
    /// `limits`: whether a commitment lasts as long as at Amazon.
    pub async fn open(catalog: &dyn Catalog, limits: bool) -> Result<Account, AwsError> {
        let (body, version) = match catalog.get(KIND, ID).await.map_err(error::catalog)? {
            None => (Commitment::default(), 0),
            Some(doc) => (serde_json::from_slice(&doc.body).map_err(error::internal)?, doc.version),
        };
        let least = if limits { LEAST } else { Duration::ZERO };
        Ok(Account { commitment: Mutex::new(body), turn: tokio::sync::Mutex::new(version), least })
    }
    fn state(&self) -> MutexGuard<'_, Commitment> {
        self.commitment.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// What there is of a commitment.
    pub fn commitment(&self) -> Commitment {
        *self.state()
    }
    /// Whether it pays for a minimum of throughput (on-demand advantage).
    pub fn committed(&self, now: Timestamp) -> bool {
        self.state().holds(now)
    }
    /// Durable when it returns.
    pub async fn set(&self, tools: &Tools, on: bool) -> Result<(), AwsError> {
        let mut version = self.turn.lock().await;
        let new = self.commitment().set(on, tools.world.clock.now(), self.least);
        let body = serde_json::to_vec(&new).map_err(error::internal)?;
        let doc = Document { kind: KIND.into(), id: ID.into(), version: 0, body, keys: Vec::new() };
        tools.catalog.commit(vec![Change::Put { doc, expect: *version }]).await.map_err(error::catalog)?;
        *version += 1;
        *self.state() = new;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(hours * 3_600_000)
    }

    #[test]
    fn a_commitment_lasts_a_day_and_may_be_kept_after_all() {
        let shown = |c: &Commitment, h| {
            let t = at(h);
            (c.status(t), c.started, c.ended(t), c.earliest_end(t))
        };
        let none = Commitment::default();
        assert_eq!(shown(&none.set(false, at(0), LEAST), 0), ("DISABLED", None, None, None));
        let on = none.set(true, at(1), LEAST);
        assert_eq!(shown(&on, 30), ("ENABLED", Some(at(1)), None, Some(at(25))));
        let off = on.set(false, at(5), LEAST);
        let until = "ENABLED_UNTIL_EARLIEST_ALLOWED_END";
        assert_eq!(shown(&off, 24), (until, Some(at(1)), None, Some(at(25))));
        assert_eq!(off.set(false, at(6), LEAST), off);
        assert_eq!(shown(&off, 25), ("DISABLED", Some(at(1)), Some(at(25)), None));
        assert_eq!(off.set(true, at(24), LEAST), on, "it was not ended in time");
        assert_eq!(shown(&off.set(true, at(26), LEAST), 26), ("ENABLED", Some(at(26)), None, Some(at(50))));
        assert_eq!(shown(&on.set(false, at(40), LEAST), 40), ("DISABLED", Some(at(1)), Some(at(40)), None));
        // Without limits.
        assert_eq!(on.set(false, at(2), Duration::ZERO).status(at(2)), "DISABLED");
        // One of before times were kept.
        let old: Commitment = serde_json::from_str(r#"{"v":1,"committed":true}"#).unwrap();
        assert_eq!(shown(&old, 1), ("ENABLED", None, None, None));
        assert_eq!(old.set(false, at(2), LEAST).status(at(2)), "DISABLED");
    }
}
