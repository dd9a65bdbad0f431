//! Floor 1: meters: what was put, stored, delivered, and for how long.
//!
//! A service asks for the [`Meter`] of a [`Resource`] and adds to it: that is one atomic addition. What was added is
//! written down once a second, as documents of the catalog, one for each resource and hour (`docs/formats/usage.md`); hours
//! become days after three days, and days are forgotten after 400.
//!
//! **What it promises.** What [`Usage::flush`] has returned from is durable, and is counted once, also when the catalog
//! could not say whether it took it. A crash loses what came since: a second's worth, and for what goes by time what its
//! service had not added yet. Never is anything counted that did not happen.

mod buckets;
mod meter;
mod quantity;
#[cfg(test)]
mod tests;

pub use meter::{Kind, LOOK, Looks, Meter, Resource};
pub use quantity::{Amounts, QUANTITIES, Quantity};

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use catalog::{Catalog, CatalogError, Change, Document, Filter};
use world::{Timestamp, World};

use buckets::{Bucket, DAY, HOUR, KIND};
use meter::Live;

/// How often what was added is written down.
const EVERY: Duration = Duration::from_secs(1);
/// Documents in a transaction.
const AT_ONCE: usize = 1000;
/// Hours are kept for so many days, and days for so many.
const HOURS_KEPT: i64 = 3;
const DAYS_KEPT: i64 = 400;

/// Why it could not be written down or read.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The catalog failed.
    #[error("usage: {0}")]
    Catalog(#[from] CatalogError),
    /// What is stored does not parse.
    #[error("usage: the document {id:?} is damaged: {why}")]
    Damaged {
        /// Which.
        id: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What a resource used in a stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Used {
    /// Whose.
    pub resource: Resource,
    /// How much.
    pub amounts: Amounts,
}

/// All meters. Cloning is cheap.
#[derive(Clone)]
pub struct Usage {
    inner: Arc<Inner>,
}

struct Inner {
    world: World,
    catalog: Arc<dyn Catalog>,
    live: Mutex<BTreeMap<Resource, Live>>,
    books: tokio::sync::Mutex<Books>,
    once: tokio::sync::Mutex<BTreeMap<Quantity, Once>>,
}

/// Who has some of a quantity already, since a moment.
struct Once {
    since: Timestamp,
    who: BTreeSet<Resource>,
}

/// What is on its way into the catalog.
#[derive(Default)]
struct Books {
    /// Not written yet, by the document that it belongs to.
    pending: BTreeMap<String, (Resource, Amounts)>,
    /// What a transaction is to make of which documents. Not empty before the next one: that one failed, and may have been
    /// taken all the same.
    trying: BTreeMap<String, Attempt>,
    /// The documents of this hour as they are there.
    known: HashMap<String, (u64, Amounts)>,
}

struct Attempt {
    resource: Resource,
    /// The document's version and amounts before.
    before: (u64, Amounts),
    added: Amounts,
}

impl Usage {
    /// Meters that are written down in a catalog.
    pub fn new(world: World, catalog: Arc<dyn Catalog>) -> Usage {
        let (books, once) = (tokio::sync::Mutex::default(), tokio::sync::Mutex::default());
        Usage { inner: Arc::new(Inner { world, catalog, live: Mutex::default(), books, once }) }
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<Resource, Live>> {
        self.inner.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A resource's meter: the same one for all who ask while somebody holds it.
    pub fn meter(&self, resource: Resource) -> Arc<Meter> {
        self.live().entry(resource).or_default().meter.clone()
    }

    /// Adds one of a quantity, unless the resource has had some since a moment, the beginning of an hour (of a day, where hours
    /// are no longer kept). What was written down is looked through once for each such moment. Whether it was added.
    pub async fn once(&self, resource: Resource, q: Quantity, since: Timestamp) -> Result<bool, UsageError> {
        let mut all = self.inner.once.lock().await;
        if all.get(&q).is_none_or(|o| o.since != since) {
            let used = self.used(since).await?.into_iter().filter(|u| u.amounts.of(q) > 0);
            all.insert(q, Once { since, who: used.map(|u| u.resource).collect() });
        }
        let new = all.get_mut(&q).is_some_and(|o| o.who.insert(resource.clone()));
        if new {
            self.meter(resource).add(q, 1);
            // Into this hour: the next may be after the next such moment.
            self.flush().await?;
        }
        Ok(new)
    }

    /// Writes down what was added. Durable, to the moment that is returned.
    pub async fn flush(&self) -> Result<Timestamp, UsageError> {
        let mut books = self.inner.books.lock().await;
        let books = &mut *books;
        let now = self.inner.world.clock.now();
        let bucket = Bucket::hour(now);
        self.live().retain(|resource, live| {
            let added = live.take();
            if added.is_zero() {
                // Nobody holds it, and nothing is left in it.
                return live.is_held();
            }
            let (_, sum) = books
                .pending
                .entry(bucket.id(resource))
                .or_insert_with(|| (resource.clone(), Amounts::default()));
            sum.add(&added);
            true
        });
        self.settle(books).await?;
        while !books.pending.is_empty() {
            let next = books.pending.keys().nth(AT_ONCE).cloned();
            let rest = next.map(|first| books.pending.split_off(&first)).unwrap_or_default();
            let some = std::mem::replace(&mut books.pending, rest);
            if let Err(e) = self.attempt(books, &some).await {
                // Not begun yet.
                books.pending.extend(some);
                return Err(e);
            }
            self.commit(books).await?;
        }
        books.known.retain(|id, _| id.starts_with(&bucket.prefix()));
        Ok(now)
    }

    /// Looks up what the documents are now.
    async fn attempt(
        &self,
        books: &mut Books,
        some: &BTreeMap<String, (Resource, Amounts)>,
    ) -> Result<(), UsageError> {
        let mut trying = BTreeMap::new();
        for (id, (resource, added)) in some {
            let before = match books.known.get(id) {
                Some(known) => known.clone(),
                None => match self.inner.catalog.get(KIND, id).await? {
                    None => (0, Amounts::default()),
                    Some(doc) => (doc.version, buckets::parse(&doc)?.amounts),
                },
            };
            let (resource, added) = (resource.clone(), added.clone());
            trying.insert(id.clone(), Attempt { resource, before, added });
        }
        books.trying = trying;
        Ok(())
    }

    /// Writes what is tried.
    async fn commit(&self, books: &mut Books) -> Result<(), UsageError> {
        let mut changes = Vec::with_capacity(books.trying.len());
        for (id, a) in &books.trying {
            let mut amounts = a.before.1.clone();
            amounts.add(&a.added);
            let doc = buckets::document(id, &Used { resource: a.resource.clone(), amounts })?;
            changes.push(Change::Put { doc, expect: a.before.0 });
        }
        self.inner.catalog.commit(changes).await?;
        books.taken();
        Ok(())
    }

    /// Finds out what became of a transaction that failed: nobody else writes these documents, and all of it was taken or
    /// nothing.
    async fn settle(&self, books: &mut Books) -> Result<(), UsageError> {
        let Some((id, first)) = books.trying.iter().next() else { return Ok(()) };
        let there = self.inner.catalog.get(KIND, id).await?.map_or(0, |doc| doc.version);
        if there > first.before.0 {
            books.taken();
            return Ok(());
        }
        self.commit(books).await
    }

    /// What was used from the hour of `since` on (from its day on, where that is longer ago than hours are kept), by
    /// resource. Everything that was added before the call is in it.
    pub async fn used(&self, since: Timestamp) -> Result<Vec<Used>, UsageError> {
        self.flush().await?;
        let mut by: BTreeMap<Resource, Amounts> = BTreeMap::new();
        for unit in [DAY, HOUR] {
            let (prefix, mut after) = unit.range(since);
            loop {
                let filter = Filter {
                    prefix: Some(prefix.into()),
                    after: Some(after.clone()),
                    limit: Some(AT_ONCE),
                    ..Filter::kind(KIND)
                };
                let page = self.inner.catalog.list(filter).await?;
                for doc in &page {
                    let used = buckets::parse(doc)?;
                    by.entry(used.resource).or_default().add(&used.amounts);
                }
                match page.last() {
                    Some(last) if page.len() == AT_ONCE => after = last.id.clone(),
                    _ => break,
                }
            }
        }
        Ok(by.into_iter().map(|(resource, amounts)| Used { resource, amounts }).collect())
    }

    /// Makes days of the hours that are no longer kept, and forgets days that are too old.
    pub async fn roll(&self) -> Result<(), UsageError> {
        // Nobody else changes documents meanwhile.
        let _books = self.inner.books.lock().await;
        let now = self.inner.world.clock.now();
        let today = Bucket::day(now);
        loop {
            let filter =
                Filter { prefix: Some(HOUR.prefix.into()), limit: Some(AT_ONCE), ..Filter::kind(KIND) };
            let mut page = self.inner.catalog.list(filter).await?;
            page.retain(|doc| HOUR.day_of(&doc.id).is_some_and(|day| day < today.number - HOURS_KEPT));
            if page.is_empty() {
                break;
            }
            let mut days: BTreeMap<String, (u64, Used)> = BTreeMap::new();
            let mut changes = Vec::new();
            for doc in page {
                let used = buckets::parse(&doc)?;
                let id =
                    Bucket { unit: DAY, number: HOUR.day_of(&doc.id).unwrap_or_default() }.id(&used.resource);
                if !days.contains_key(&id) {
                    let (version, amounts) = match self.inner.catalog.get(KIND, &id).await? {
                        None => (0, Amounts::default()),
                        Some(doc) => (doc.version, buckets::parse(&doc)?.amounts),
                    };
                    let resource = used.resource.clone();
                    days.insert(id.clone(), (version, Used { resource, amounts }));
                }
                if let Some((_, day)) = days.get_mut(&id) {
                    day.amounts.add(&used.amounts);
                }
                changes.push(Change::Delete { kind: KIND.into(), id: doc.id, expect: doc.version });
            }
            for (id, (expect, day)) in &days {
                changes.push(Change::Put { doc: buckets::document(id, day)?, expect: *expect });
            }
            self.inner.catalog.commit(changes).await?;
        }
        loop {
            let filter =
                Filter { prefix: Some(DAY.prefix.into()), limit: Some(AT_ONCE), ..Filter::kind(KIND) };
            let mut page = self.inner.catalog.list(filter).await?;
            page.retain(|doc| DAY.day_of(&doc.id).is_some_and(|day| day < today.number - DAYS_KEPT));
            if page.is_empty() {
                return Ok(());
            }
            let gone = |d: Document| Change::Delete { kind: KIND.into(), id: d.id, expect: d.version };
            self.inner.catalog.commit(page.into_iter().map(gone).collect()).await?;
        }
    }

    /// Runs until the program ends: writes down, and makes days of hours. What fails is tried again.
    pub async fn keep(self) {
        let clock = self.inner.world.clock.clone();
        let (mut pause, mut rolled, mut failing) = (EVERY, None::<i64>, false);
        loop {
            let begun = clock.monotonic();
            let outcome = self.flush().await;
            match &outcome {
                Err(e) if !failing => {
                    tracing::warn!(error = %e, "what was used cannot be written down; trying again")
                }
                Ok(_) if failing => tracing::info!("what was used is written down again"),
                _ => {}
            }
            failing = outcome.is_err();
            let today = Bucket::day(clock.now()).number;
            if !failing && rolled != Some(today) {
                match self.roll().await {
                    Ok(()) => rolled = Some(today),
                    Err(e) => {
                        tracing::warn!(error = %e, "old hours of what was used could not be put together")
                    }
                }
            }
            // With many resources writing takes its time: a small part of it, then.
            pause = EVERY.max((clock.monotonic().saturating_sub(begun)) * 20).min(60 * EVERY).max(pause / 2);
            clock.sleep(pause).await;
        }
    }
}

impl Books {
    /// What was tried is there.
    fn taken(&mut self) {
        for (id, a) in std::mem::take(&mut self.trying) {
            let (version, mut amounts) = a.before;
            amounts.add(&a.added);
            self.known.insert(id, (version + 1, amounts));
        }
    }
}
