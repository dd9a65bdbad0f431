//! How much a store is used, and how it does.

use std::{
    io::{self, ErrorKind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use world::{Body, Clock, Object, Store};

/// Upper bounds, in seconds, of the classes of [`Tally::within`].
pub const SECONDS: [f64; 9] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];

const OPERATIONS: [&str; 6] = ["put", "create", "read", "len", "delete", "list"];

#[derive(Default)]
struct Count {
    ok: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
    micros: AtomicU64,
    within: [AtomicU64; SECONDS.len()],
}

/// The calls of one kind so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    /// The method of [`Store`].
    pub operation: &'static str,
    /// Calls that did what they should.
    pub ok: u64,
    /// Calls that were answered no: there is no such object, or there is one already.
    pub refused: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Bytes written or read by those that did not fail.
    pub bytes: u64,
    /// Seconds that all calls took together.
    pub seconds: f64,
    /// How many calls took at most [`SECONDS`], and more than the class before.
    pub within: [u64; SECONDS.len()],
}

/// A store that keeps count. A call is one even where it takes several requests or is tried again.
pub struct Counted {
    inner: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    counts: [Count; OPERATIONS.len()],
}

impl Counted {
    /// Counts the use of `inner`.
    pub fn new(inner: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Counted {
        Counted { inner, clock, counts: Default::default() }
    }

    /// The counts, one for each operation.
    pub fn tallies(&self) -> Vec<Tally> {
        let get = |a: &AtomicU64| a.load(Relaxed);
        let tally = |(operation, c): (&&'static str, &Count)| Tally {
            operation,
            ok: get(&c.ok),
            refused: get(&c.refused),
            failed: get(&c.failed),
            bytes: get(&c.bytes),
            seconds: get(&c.micros) as f64 / 1e6,
            within: std::array::from_fn(|i| get(&c.within[i])),
        };
        OPERATIONS.iter().zip(&self.counts).map(tally).collect()
    }

    fn call<T>(&self, n: usize, bytes: u64, f: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let start = self.clock.monotonic();
        let done = f();
        let took: Duration = self.clock.monotonic().saturating_sub(start);
        let c = &self.counts[n];
        match &done {
            Ok(_) => {
                c.ok.fetch_add(1, Relaxed);
                c.bytes.fetch_add(bytes, Relaxed);
            }
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => {
                c.refused.fetch_add(1, Relaxed);
            }
            Err(_) => {
                c.failed.fetch_add(1, Relaxed);
            }
        }
        c.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        if let Some(class) = SECONDS.iter().position(|s| took.as_secs_f64() <= *s) {
            c.within[class].fetch_add(1, Relaxed);
        }
        done
    }
}

impl Store for Counted {
    fn url(&self) -> String {
        self.inner.url()
    }
    fn put(&self, key: &str, body: Body<'_>) -> io::Result<()> {
        self.call(0, body.len(), || self.inner.put(key, body))
    }
    fn create(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        self.call(1, bytes.len() as u64, || self.inner.create(key, bytes))
    }
    fn read_exact_at(&self, key: &str, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.call(2, buf.len() as u64, || self.inner.read_exact_at(key, buf, offset))
    }
    fn len(&self, key: &str) -> io::Result<Option<u64>> {
        self.call(3, 0, || self.inner.len(key))
    }
    fn delete(&self, key: &str) -> io::Result<()> {
        self.call(4, 0, || self.inner.delete(key))
    }
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> io::Result<Vec<Object>> {
        self.call(5, 0, || self.inner.list(prefix, after, limit))
    }
}

#[cfg(test)]
mod tests {
    use world::sim::{SimStore, StoreFaults};

    use super::*;

    #[test]
    fn calls_are_counted_by_how_they_ended() {
        let inner = Arc::new(SimStore::new(1));
        let world = world::World::real("/");
        let s = Counted::new(inner.clone(), world.clock);
        world::conformance::store(&s);
        let of = |name| s.tallies().into_iter().find(|t| t.operation == name).unwrap();
        let (puts, creates, reads) = (of("put"), of("create"), of("read"));
        assert_eq!((puts.ok, puts.failed, puts.bytes), (5, 0, 3_000_000 + 5 + 3));
        assert_eq!((creates.ok, creates.refused), (1, 1));
        assert_eq!(reads.refused, 1);
        assert_eq!(puts.within.iter().sum::<u64>(), 5);
        inner.set_faults(StoreFaults { away: true, ..StoreFaults::default() });
        assert!(s.put("x", Body::Bytes(b"1")).is_err());
        assert_eq!((of("put").ok, of("put").failed, of("put").bytes), (5, 1, puts.bytes));
    }
}
