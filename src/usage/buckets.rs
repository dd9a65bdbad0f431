//! Hours and days, and their documents (`docs/formats/usage.md`).

use std::collections::BTreeMap;

use catalog::Document;
use serde::{Deserialize, Serialize};
use world::Timestamp;

use crate::{Amounts, Resource, UsageError, Used};

/// The kind of the documents.
pub const KIND: &str = "usage";

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// What ids begin with.
    pub prefix: &'static str,
    seconds: i64,
}

/// An hour.
pub const HOUR: Unit = Unit { prefix: "h/", seconds: 3600 };
/// A day of UTC.
pub const DAY: Unit = Unit { prefix: "d/", seconds: 86_400 };

impl Unit {
    fn number(self, t: Timestamp) -> i64 {
        t.millis().div_euclid(1000 * self.seconds).max(0)
    }
    /// The prefix of ids, and the id after which those from a time on come.
    pub fn range(self, since: Timestamp) -> (&'static str, String) {
        (self.prefix, format!("{}{:010}", self.prefix, self.number(since)))
    }
    /// The day that an id's time is in.
    pub fn day_of(self, id: &str) -> Option<i64> {
        let number = id.strip_prefix(self.prefix)?.split('/').next()?.parse::<i64>().ok()?;
        number.checked_mul(self.seconds).map(|s| s.div_euclid(DAY.seconds))
    }
}

/// One hour, or one day.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    pub unit: Unit,
    /// Since 1970.
    pub number: i64,
}

impl Bucket {
    pub fn hour(t: Timestamp) -> Bucket {
        Bucket { unit: HOUR, number: HOUR.number(t) }
    }
    pub fn day(t: Timestamp) -> Bucket {
        Bucket { unit: DAY, number: DAY.number(t) }
    }
    /// Of all its ids.
    pub fn prefix(&self) -> String {
        format!("{}{:010}/", self.unit.prefix, self.number)
    }
    /// Of a resource's document. A stream's uid is its own; only its consumers share it.
    pub fn id(&self, r: &Resource) -> String {
        format!("{}{}/{}", self.prefix(), r.uid, r.consumer)
    }
}

#[derive(Serialize, Deserialize)]
struct Body {
    v: u32,
    #[serde(flatten)]
    resource: Resource,
    used: BTreeMap<String, u64>,
}

/// A resource's document.
pub fn document(id: &str, used: &Used) -> Result<Document, UsageError> {
    let body = Body {
        v: 1,
        resource: used.resource.clone(),
        used: used.amounts.named().into_iter().map(|(name, n)| (name.to_owned(), n)).collect(),
    };
    let body = serde_json::to_vec(&body)
        .map_err(|e| UsageError::Damaged { id: id.to_owned(), why: e.to_string() })?;
    Ok(Document { kind: KIND.into(), id: id.into(), version: 0, body, keys: Vec::new() })
}

/// The inverse.
pub fn parse(doc: &Document) -> Result<Used, UsageError> {
    let body: Body = serde_json::from_slice(&doc.body)
        .map_err(|e| UsageError::Damaged { id: doc.id.clone(), why: e.to_string() })?;
    let mut amounts = Amounts::default();
    body.used.iter().for_each(|(name, n)| amounts.set(name, *n));
    Ok(Used { resource: body.resource, amounts })
}
