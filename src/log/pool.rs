//! Buffers for sealed batches, used again: they are filled on one thread and let go of on another, a whole round at a
//! time, which an allocator likes least of all.

use std::sync::Mutex;

use crate::keys::lock;

/// Larger buffers are not kept.
const EACH: usize = 4 << 10;
/// Nor more than this many.
const MOST: usize = 1024;

#[derive(Default)]
pub(crate) struct Pool(Mutex<Vec<Vec<u8>>>);

impl Pool {
    /// An empty buffer that holds `n` bytes without growing.
    pub fn take(&self, n: usize) -> Vec<u8> {
        let kept = if n <= EACH { lock(&self.0).pop() } else { None };
        let mut b = kept.unwrap_or_default();
        if b.capacity() < n {
            // A little more than asked for, so that it fits the next who asks.
            b.reserve_exact(if n <= EACH { n.next_power_of_two().max(256) } else { n });
        }
        b
    }
    /// Takes back what it may keep.
    pub fn give(&self, buffers: impl Iterator<Item = Vec<u8>>) {
        let mut kept = lock(&self.0);
        for mut b in buffers {
            if b.capacity() <= EACH && b.capacity() > 0 && kept.len() < MOST {
                b.clear();
                kept.push(b);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_the_pool_is_bounded() {
        let p = Pool::default();
        let mut b = p.take(1040);
        b.extend_from_slice(&[1; 1040]);
        let at = b.as_ptr();
        p.give([b, Vec::with_capacity(EACH + 1)].into_iter());
        let b = p.take(1000);
        assert!(b.is_empty() && b.as_ptr() == at);
        assert!(p.take(5000).capacity() >= 5000);
        p.give((0..2 * MOST).map(|_| Vec::with_capacity(100)));
        assert_eq!(lock(&p.0).len(), MOST);
    }
}
