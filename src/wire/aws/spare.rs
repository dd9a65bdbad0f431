//! Buffers in which answers are written, used again: a page of records is more than a megabyte, and a buffer that grows to
//! it from nothing is copied and cleared several times on its way.

use std::{
    mem,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;

/// How many are kept, and how large one may be for that.
const KEPT: usize = 8;
const KEPT_BYTES: usize = 4 << 20;
/// A smaller answer is copied, so that its buffer is free at once.
const SMALL: usize = 16 << 10;

static SPARES: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Empty when taken. Goes back when it is dropped.
pub(crate) struct Spare(pub(crate) Vec<u8>);

impl Spare {
    pub(crate) fn take() -> Spare {
        let kept = SPARES.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Spare(kept.unwrap_or_else(|| Vec::with_capacity(1024)))
    }

    /// What is in it.
    pub(crate) fn into_bytes(self) -> Bytes {
        if self.0.len() <= SMALL { Bytes::copy_from_slice(&self.0) } else { Bytes::from_owner(self) }
    }
}

impl AsRef<[u8]> for Spare {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        let mut v = mem::take(&mut self.0);
        let mut spares = SPARES.lock().unwrap_or_else(PoisonError::into_inner);
        if v.capacity() <= KEPT_BYTES && spares.len() < KEPT {
            v.clear();
            spares.push(v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, as the buffers are the process's.
    #[test]
    fn what_was_written_stays_while_others_write_and_few_are_kept() {
        let write = |byte: u8, len: usize| {
            let mut s = Spare::take();
            assert!(s.0.is_empty());
            s.0.resize(len, byte);
            s.into_bytes()
        };
        let all: Vec<Bytes> = (0..40).map(|n| write(n, if n % 2 == 0 { 100 } else { 100_000 })).collect();
        for (n, b) in all.iter().enumerate() {
            assert!(b.iter().all(|x| usize::from(*x) == n));
        }
        drop(all);
        drop(write(0, KEPT_BYTES + 1));
        let spares = SPARES.lock().unwrap();
        assert!(spares.len() <= KEPT && spares.iter().all(|s| s.capacity() <= KEPT_BYTES));
    }
}
