//! A store in memory that does what stores have done to their users.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    sync::Mutex,
};

use super::{Dice, lock};
use crate::{Body, Object, Store};

/// How often things go wrong: once in so many calls, 0 for never.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreFaults {
    /// A call fails and did nothing.
    pub fail: u32,
    /// A write or a deletion takes effect, and then fails.
    pub late: u32,
    /// Every call fails.
    pub away: bool,
}

struct State {
    dice: Dice,
    faults: StoreFaults,
    objects: BTreeMap<String, Vec<u8>>,
    calls: u64,
    log: Option<Vec<String>>,
}

/// A store in memory. What it holds survives everything that happens to its users.
pub struct SimStore(Mutex<State>);

impl SimStore {
    /// Empty; what goes wrong follows from `seed`.
    pub fn new(seed: u64) -> SimStore {
        SimStore(Mutex::new(State {
            dice: Dice::new(seed),
            faults: StoreFaults::default(),
            objects: BTreeMap::new(),
            calls: 0,
            log: None,
        }))
    }
    /// What goes wrong from now on.
    pub fn set_faults(&self, f: StoreFaults) {
        lock(&self.0).faults = f;
    }
    /// How many calls there were, failed ones included.
    pub fn calls(&self) -> u64 {
        lock(&self.0).calls
    }
    /// Begins to write down every call, for [`SimStore::take_log`].
    pub fn keep_log(&self) {
        lock(&self.0).log.get_or_insert_default();
    }
    /// The calls written down since.
    pub fn take_log(&self) -> Vec<String> {
        lock(&self.0).log.as_mut().map(std::mem::take).unwrap_or_default()
    }
    /// What it holds, for a look: key and length.
    pub fn objects(&self) -> Vec<Object> {
        let s = lock(&self.0);
        s.objects.iter().map(|(k, v)| Object { key: k.clone(), len: v.len() as u64 }).collect()
    }
    /// Changes an object behind its user's back; `None` removes it.
    pub fn tamper(&self, key: &str, f: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
        let mut s = lock(&self.0);
        if let Some(new) = s.objects.remove(key).and_then(f) {
            s.objects.insert(key.to_owned(), new);
        }
    }

    fn call<T>(
        &self,
        what: &str,
        key: &str,
        writes: bool,
        f: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut s = lock(&self.0);
        s.calls += 1;
        if let Some(log) = &mut s.log {
            log.push(format!("{what} {key}"));
        }
        let faults = s.faults;
        let error = |e: &str| Err(io::Error::other(format!("sim://{key}: {e}")));
        if faults.away || s.dice.once_in(faults.fail) {
            return error("503 Service Unavailable");
        }
        let done = f(&mut s.objects)?;
        if writes && s.dice.once_in(faults.late) {
            return error("connection reset");
        }
        Ok(done)
    }
}

fn bytes(body: &Body<'_>) -> io::Result<Vec<u8>> {
    match body {
        Body::Bytes(b) => Ok(b.to_vec()),
        Body::File(f, n) => {
            let mut b = vec![0; *n as usize];
            f.read_exact_at(&mut b, 0)?;
            Ok(b)
        }
    }
}

fn missing(key: &str) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("sim://{key}: no such object"))
}

impl Store for SimStore {
    fn url(&self) -> String {
        "sim://".into()
    }
    fn put(&self, key: &str, body: Body<'_>) -> io::Result<()> {
        let b = bytes(&body)?;
        self.call("put", key, true, |o| {
            o.insert(key.to_owned(), b);
            Ok(())
        })
    }
    fn create(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        self.call("create", key, true, |o| {
            if o.contains_key(key) {
                return Err(io::Error::new(ErrorKind::AlreadyExists, format!("sim://{key}: exists")));
            }
            o.insert(key.to_owned(), bytes.to_vec());
            Ok(())
        })
    }
    fn read_exact_at(&self, key: &str, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.call("get", key, false, |o| {
            let all = o.get(key).ok_or_else(|| missing(key))?;
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let found = from.checked_add(buf.len()).and_then(|to| all.get(from..to));
            buf.copy_from_slice(found.ok_or_else(|| {
                io::Error::new(ErrorKind::UnexpectedEof, format!("sim://{key}: is shorter than that"))
            })?);
            Ok(())
        })
    }
    fn len(&self, key: &str) -> io::Result<Option<u64>> {
        self.call("head", key, false, |o| Ok(o.get(key).map(|b| b.len() as u64)))
    }
    fn delete(&self, key: &str) -> io::Result<()> {
        self.call("delete", key, true, |o| {
            o.remove(key);
            Ok(())
        })
    }
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> io::Result<Vec<Object>> {
        self.call("list", prefix, false, |o| {
            Ok(o.iter()
                .filter(|(k, _)| k.starts_with(prefix) && after.is_none_or(|a| ***k > *a))
                .take(limit)
                .map(|(k, v)| Object { key: k.clone(), len: v.len() as u64 })
                .collect())
        })
    }
}
