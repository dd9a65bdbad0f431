//! Whether a store does what is relied on, asked before anything is entrusted to it.

use std::io::{self, ErrorKind};

use world::{Body, Store};

use crate::Answer;

/// What a store does not do, in words for whoever runs the server.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There is no such bucket.
    #[error("{url}: the bucket does not exist; make it first")]
    NoBucket {
        /// The store.
        url: String,
    },
    /// The credentials are wrong, or do not allow all that is needed.
    #[error("credentials were refused when {doing}: {said}")]
    Refused {
        /// What was tried.
        doing: &'static str,
        /// What the store said.
        said: io::Error,
    },
    /// An object that exists can be created again.
    #[error(
        "{url}: no conditional writes: the store {said}. A second server on the same bucket and prefix could not be noticed; if there is none, set store.conditional_writes = false"
    )]
    NoConditionalWrites {
        /// The store.
        url: String,
        /// What it did instead.
        said: String,
    },
    /// What was written is not what is there.
    #[error("{url}: this store cannot be relied on: {what}")]
    Unreliable {
        /// The store.
        url: String,
        /// What went wrong.
        what: String,
    },
    /// No answer that says anything; it may pass by itself.
    #[error("when {doing}: {said}")]
    Away {
        /// What was tried.
        doing: &'static str,
        /// What happened.
        said: io::Error,
    },
}

impl ProbeError {
    /// Whether it will not pass by itself.
    pub fn is_final(&self) -> bool {
        !matches!(self, ProbeError::Away { .. })
    }
}

fn failed(url: &str, doing: &'static str, said: io::Error) -> ProbeError {
    if Answer::of(&said).is_some_and(Answer::no_bucket) {
        return ProbeError::NoBucket { url: url.to_owned() };
    }
    match said.kind() {
        ErrorKind::PermissionDenied => ProbeError::Refused { doing, said },
        _ => ProbeError::Away { doing, said },
    }
}

/// Writes, reads, lists and deletes a small object whose key nobody else uses (`id` is random), and tries to create it
/// a second time. Six requests.
pub fn probe(store: &dyn Store, id: [u8; 16]) -> Result<(), ProbeError> {
    let name: String = id.iter().map(|b| format!("{b:02x}")).collect();
    let key = format!(".probe/{name}");
    let done = attempt(store, &key, name.as_bytes());
    if done.is_err() {
        // Whether it is there is not known.
        let _ = store.delete(&key);
    }
    done
}

fn attempt(store: &dyn Store, key: &str, content: &[u8]) -> Result<(), ProbeError> {
    let url = store.url();
    let on = |doing| {
        let url = &url;
        move |e| failed(url, doing, e)
    };
    let unreliable = |what: String| ProbeError::Unreliable { url: url.clone(), what };
    let lacks = |said: String| ProbeError::NoConditionalWrites { url: url.clone(), said };
    match store.create(key, content) {
        Err(e) if e.kind() == ErrorKind::Unsupported => return Err(lacks(format!("refuses them ({e})"))),
        r => r.map_err(on("creating an object"))?,
    }
    let mut there = vec![0; content.len()];
    match store.read_exact_at(key, &mut there, 0) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(unreliable("an object was not there after it had been written".into()));
        }
        r => r.map_err(on("reading an object"))?,
    }
    if there != content {
        return Err(unreliable("an object was read back as something else".into()));
    }
    let listed = store.list(".probe/", None, 10_000).map_err(on("listing objects"))?;
    if !listed.iter().any(|o| o.key == key && o.len == content.len() as u64) {
        return Err(unreliable("an object was not listed after it had been written".into()));
    }
    let other: Vec<u8> = content.iter().rev().copied().collect();
    match store.create(key, &other) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        Err(e) if e.kind() == ErrorKind::Unsupported => return Err(lacks(format!("refuses them ({e})"))),
        Err(e) => return Err(failed(&url, "creating an object twice", e)),
        Ok(()) => return Err(lacks("let an object that exists be created again".into())),
    }
    store.put(key, Body::Bytes(&other)).map_err(on("overwriting an object"))?;
    store.delete(key).map_err(on("deleting an object"))?;
    match store.len(key).map_err(on("asking for an object's length"))? {
        None => Ok(()),
        Some(_) => Err(unreliable("an object was still there after it had been deleted".into())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use world::{
        Object,
        sim::{SimStore, StoreFaults},
    };

    use super::*;

    /// A store with a lack.
    struct Lacking(SimStore, &'static str, AtomicBool);

    impl Store for Lacking {
        fn url(&self) -> String {
            "s3://bucket".into()
        }
        fn put(&self, key: &str, body: Body<'_>) -> io::Result<()> {
            self.0.put(key, body)
        }
        fn create(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
            match self.1 {
                "conditions" => self.0.put(key, Body::Bytes(bytes)),
                "support" => Err(ErrorKind::Unsupported.into()),
                "rights" => Err(ErrorKind::PermissionDenied.into()),
                _ => self.0.create(key, bytes),
            }
        }
        fn read_exact_at(&self, key: &str, buf: &mut [u8], offset: u64) -> io::Result<()> {
            self.0.read_exact_at(key, buf, offset)
        }
        fn len(&self, key: &str) -> io::Result<Option<u64>> {
            self.0.len(key)
        }
        fn delete(&self, key: &str) -> io::Result<()> {
            // The clean-up after a failure works.
            if self.1 == "deletion" && !self.2.swap(true, Ordering::Relaxed) {
                return Ok(());
            }
            self.0.delete(key)
        }
        fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> io::Result<Vec<Object>> {
            if self.1 == "listing" { Ok(Vec::new()) } else { self.0.list(prefix, after, limit) }
        }
    }

    #[test]
    fn a_good_store_passes_and_is_left_as_it_was() {
        let s = SimStore::new(1);
        probe(&s, [7; 16]).unwrap();
        assert!(s.objects().is_empty());
    }

    #[test]
    fn every_lack_is_found_and_nothing_is_left() {
        for (lack, words) in [
            ("conditions", "conditional_writes = false"),
            ("support", "conditional_writes = false"),
            ("rights", "credentials were refused"),
            ("listing", "not listed"),
            ("deletion", "still there"),
        ] {
            let s = Lacking(SimStore::new(1), lack, AtomicBool::new(false));
            let e = probe(&s, [7; 16]).unwrap_err();
            assert!(e.to_string().contains(words), "{lack}: {e}");
            assert!(e.is_final(), "{lack}");
            assert!(s.0.objects().is_empty(), "{lack}: something is left");
        }
        let s = SimStore::new(1);
        s.set_faults(StoreFaults { away: true, ..StoreFaults::default() });
        assert!(!probe(&s, [7; 16]).unwrap_err().is_final());
    }
}
