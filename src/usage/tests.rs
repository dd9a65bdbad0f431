use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering::SeqCst},
};

use catalog::{
    CatalogError, MemoryCatalog,
    testing::{self, Between, Call, Steps},
};
use world::sim::SimClock;

use super::*;

const HOUR_LONG: Duration = Duration::from_secs(3600);

fn stream(name: &str) -> Resource {
    Resource {
        kind: Kind::DataStream,
        stream: name.into(),
        uid: format!("{name}00"),
        consumer: String::new(),
    }
}

struct Site {
    world: World,
    clock: Arc<SimClock>,
    catalog: Arc<Between<Unsteady>>,
}

impl Site {
    fn new() -> Site {
        let (world, clock) = testing::world(1);
        let inner = Arc::new(MemoryCatalog::new(world.clone()));
        let catalog = Arc::new(Between { inner, steps: Unsteady(AtomicU8::new(0)) });
        Site { world, clock, catalog }
    }
    fn open(&self) -> Usage {
        Usage::new(self.world.clone(), self.catalog.clone())
    }
    async fn bytes(&self, usage: &Usage, since: Timestamp) -> Vec<(String, u64)> {
        let used = usage.used(since).await.unwrap();
        used.into_iter()
            .map(|u| {
                (format!("{}{}", u.resource.stream, u.resource.consumer), u.amounts.of(Quantity::BytesIn))
            })
            .collect()
    }
}

#[tokio::test]
async fn what_was_written_down_survives_and_is_added_to() {
    let site = Site::new();
    let (start, usage) = (site.world.clock.now(), site.open());
    let (a, b) = (usage.meter(stream("a")), usage.meter(stream("b")));
    a.add(Quantity::BytesIn, 5);
    b.add(Quantity::BytesIn, 7);
    usage.flush().await.unwrap();
    a.add(Quantity::BytesIn, 1);
    usage.flush().await.unwrap();
    a.add(Quantity::BytesIn, 1000);
    // Killed here: another start knows all but the last.
    let usage = site.open();
    let all = |a, b| vec![("a".to_owned(), a), ("b".to_owned(), b)];
    assert_eq!(site.bytes(&usage, start).await, all(6, 7));
    usage.meter(stream("a")).add(Quantity::BytesIn, 10);
    let c = Resource { kind: Kind::Consumer, consumer: "c".into(), ..stream("a") };
    usage.meter(c).add(Quantity::BytesIn, 2);
    assert_eq!(site.bytes(&usage, start).await, [("a".to_owned(), 16), ("b".into(), 7), ("ac".into(), 2)]);
    usage.flush().await.unwrap();
    assert!(usage.live().is_empty(), "nobody holds them");
    site.clock.advance(HOUR_LONG);
    let later = site.world.clock.now();
    usage.meter(stream("b")).add(Quantity::BytesIn, 3);
    assert_eq!(site.bytes(&usage, later).await, [("b".to_owned(), 3)]);
    assert_eq!(site.bytes(&usage, start).await.len(), 3);
}

#[tokio::test]
async fn hours_become_days_and_days_are_forgotten() {
    let site = Site::new();
    let (start, usage) = (site.world.clock.now(), site.open());
    let meter = usage.meter(stream("a"));
    let days = 10u64;
    for _ in 0..24 * days {
        meter.add(Quantity::BytesIn, 1);
        usage.flush().await.unwrap();
        site.clock.advance(HOUR_LONG);
    }
    let sum = vec![("a".to_owned(), 24 * days)];
    assert_eq!(site.bytes(&usage, start).await, sum);
    usage.roll().await.unwrap();
    usage.roll().await.unwrap();
    assert_eq!(site.bytes(&usage, start).await, sum);
    let docs = site.catalog.list(Filter::kind(KIND)).await.unwrap();
    let hours = docs.iter().filter(|d| d.id.starts_with("h/")).count();
    assert!((72..=96).contains(&hours) && docs.len() - hours <= 8, "{hours} of {}", docs.len());
    // The last day alone, and a stretch that begins within a day: the whole of that day.
    assert_eq!(site.bytes(&usage, site.world.clock.now() - 5 * HOUR_LONG).await, [("a".to_owned(), 5)]);
    site.clock.advance(HOUR_LONG * 24 * 401);
    usage.roll().await.unwrap();
    usage.roll().await.unwrap();
    assert_eq!(site.catalog.list(Filter::kind(KIND)).await.unwrap(), []);
}

#[tokio::test]
async fn what_the_catalog_cannot_say_is_counted_once() {
    let site = Site::new();
    let (start, usage) = (site.world.clock.now(), site.open());
    let (a, b) = (usage.meter(stream("a")), usage.meter(stream("b")));
    let mut sums = (0, 0);
    for (n, how) in [REFUSES, TAKES, 0, TAKES, TAKES, REFUSES, REFUSES, 0].into_iter().enumerate() {
        let n = n as u64 + 1;
        a.add(Quantity::BytesIn, n);
        b.add(Quantity::BytesIn, 10 * n);
        sums = (sums.0 + n, sums.1 + 10 * n);
        site.catalog.steps.0.store(how, SeqCst);
        assert_eq!(usage.flush().await.is_ok(), how == 0, "{n}");
        if n.is_multiple_of(3) {
            site.clock.advance(HOUR_LONG);
        }
    }
    assert_eq!(site.bytes(&usage, start).await, [("a".to_owned(), sums.0), ("b".into(), sums.1)]);
}

const REFUSES: u8 = 1;
const TAKES: u8 = 2;

/// Its commits fail: before they are done, or after.
struct Unsteady(AtomicU8);

#[async_trait::async_trait]
impl Steps for Unsteady {
    async fn before(&self, call: Call) -> Result<(), CatalogError> {
        match (call, self.0.load(SeqCst)) {
            (Call::Write, REFUSES) => Err(CatalogError::Engine("refused".into())),
            _ => Ok(()),
        }
    }
    async fn written(&self) -> Result<(), CatalogError> {
        match self.0.load(SeqCst) {
            TAKES => Err(CatalogError::Engine("taken".into())),
            _ => Ok(()),
        }
    }
}

#[test]
fn what_is_stored_goes_by_the_time_between_looks() {
    let s = Duration::from_secs;
    let looks = Looks::new(s(10));
    assert_eq!(looks.again(s(309), LOOK), None);
    assert_eq!(looks.again(s(310), LOOK), Some(s(300)));
    assert_eq!(looks.again(s(311), Duration::ZERO), Some(s(1)));
    assert_eq!(looks.again(s(305), Duration::ZERO), Some(s(0)), "it does not go back");
    assert_eq!(looks.again(s(312), Duration::ZERO), Some(s(1)));
    let meter = Meter::default();
    meter.stored(1025, Duration::from_millis(1500));
    assert_eq!(meter.total(Quantity::StoredKibSeconds), 3);
    meter.stored(u64::MAX, s(u64::MAX));
}

#[tokio::test]
async fn once_in_a_month_through_restarts() {
    let site = Site::new();
    let month = site.world.clock.now();
    let q = Quantity::ActiveMonths;
    let active = async |usage: &Usage| {
        let used = usage.used(month).await.unwrap();
        used.iter().map(|u| (u.resource.stream.clone(), u.amounts.of(q))).collect::<Vec<_>>()
    };
    let usage = site.open();
    assert!(usage.once(stream("a"), q, month).await.unwrap());
    assert!(!usage.once(stream("a"), q, month).await.unwrap());
    usage.flush().await.unwrap();
    let usage = site.open();
    site.clock.advance(HOUR_LONG * 24 * 7);
    usage.roll().await.unwrap();
    assert!(!usage.once(stream("a"), q, month).await.unwrap());
    assert!(usage.once(stream("b"), q, month).await.unwrap());
    assert_eq!(active(&usage).await, [("a".to_owned(), 1), ("b".into(), 1)]);
    // The next month.
    site.clock.advance(HOUR_LONG * 24 * 30);
    let next = site.world.clock.now();
    assert!(usage.once(stream("a"), q, next).await.unwrap());
    assert!(!usage.once(stream("a"), q, next).await.unwrap());
    assert_eq!(active(&usage).await, [("a".to_owned(), 2), ("b".into(), 1)]);
}
