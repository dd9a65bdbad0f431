//! Puts packets that came over UDP back into order (RFC 3550 leaves that to the receiver).
//!
//! A packet that is missing is waited for until so many later ones are there, or until the next comes so long after the
//! first of those that wait; then it is given up.

use bytes::Bytes;

/// Most packets held back, and the longest wait in milliseconds: unless what is missing is sent again.
const WINDOW: usize = 128;
const WAIT_MS: u64 = 200;
/// The same where it is.
const AGAIN_WINDOW: usize = 1024;
const AGAIN_WAIT_MS: u64 = 600;

/// One source's packets. Times are any monotonic milliseconds.
#[derive(Debug)]
pub(crate) struct Reorder {
    window: usize,
    wait: u64,
    next: Option<u16>,
    /// Sorted by distance from `next`: sequence number, when it came, the packet.
    held: Vec<(u16, u64, Bytes)>,
}

impl Default for Reorder {
    fn default() -> Reorder {
        Reorder { window: WINDOW, wait: WAIT_MS, next: None, held: Vec::new() }
    }
}

impl Reorder {
    /// For a sender that is asked for what is missing (RFC 4585 §6.2.1).
    pub(crate) fn with_retransmission() -> Reorder {
        Reorder { window: AGAIN_WINDOW, wait: AGAIN_WAIT_MS, ..Reorder::default() }
    }

    /// Takes a packet; gives those that are next in order to `out`. Duplicates and packets that come after they were
    /// given up vanish. What is no RTP packet is passed on as it is: the receiver counts it.
    pub(crate) fn push(&mut self, packet: Bytes, now: u64, out: &mut impl FnMut(Bytes)) {
        let Some(seq) = packet.get(2..4).map(|b| u16::from_be_bytes([b[0], b[1]])) else {
            return out(packet);
        };
        let next = *self.next.get_or_insert(seq);
        let ahead = seq.wrapping_sub(next);
        if ahead == 0 {
            self.next = Some(seq.wrapping_add(1));
            out(packet);
            return self.drain(out);
        }
        if ahead >= 0x8000 {
            // From the past; far in the past, the sender started over.
            if next.wrapping_sub(seq) > 1000 {
                self.flush(out);
                self.next = Some(seq.wrapping_add(1));
                out(packet);
            }
            return;
        }
        match self.held.binary_search_by_key(&ahead, |(s, ..)| s.wrapping_sub(next)) {
            Ok(_) => return,
            Err(at) => self.held.insert(at, (seq, now, packet)),
        }
        self.expire(now, out);
    }

    /// Gives up what was waited for too long.
    pub(crate) fn expire(&mut self, now: u64, out: &mut impl FnMut(Bytes)) {
        while self.held.len() > self.window
            || self.held.iter().map(|h| h.1).min().is_some_and(|t| now.saturating_sub(t) >= self.wait)
        {
            self.next = Some(self.held[0].0);
            self.drain(out);
        }
    }

    /// Gives everything, in order.
    pub(crate) fn flush(&mut self, out: &mut impl FnMut(Bytes)) {
        for (seq, _, packet) in self.held.drain(..) {
            self.next = Some(seq.wrapping_add(1));
            out(packet);
        }
    }

    fn drain(&mut self, out: &mut impl FnMut(Bytes)) {
        let mut n = 0;
        while let Some((seq, ..)) = self.held.get(n)
            && Some(*seq) == self.next
        {
            self.next = Some(seq.wrapping_add(1));
            n += 1;
        }
        self.held.drain(..n).for_each(|(.., packet)| out(packet));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(seq: u16) -> Bytes {
        let [a, b] = seq.to_be_bytes();
        Bytes::copy_from_slice(&[0x80, 96, a, b])
    }

    fn run(seqs: &[u16]) -> Vec<u16> {
        let (mut r, mut got) = (Reorder::default(), Vec::new());
        let mut out = |p: Bytes| got.push(u16::from_be_bytes([p[2], p[3]]));
        for s in seqs {
            r.push(packet(*s), 0, &mut out);
        }
        r.flush(&mut out);
        got
    }

    #[test]
    fn order_duplicates_and_a_start_over() {
        assert_eq!(run(&[65534, 0, 65535, 65535, 2, 1, 1]), [65534, 65535, 0, 1, 2]);
        assert_eq!(run(&[40_000, 40_001, 10, 11]), [40_000, 40_001, 10, 11]);
        assert_eq!(run(&[5, 7, 8]), [5, 7, 8], "what never comes does not hold the rest back for ever");
    }

    #[test]
    fn a_missing_packet_is_waited_for_so_long() {
        let (mut r, mut got) = (Reorder::default(), Vec::new());
        for (seq, now) in [(1, 0), (3, 10), (4, 209), (5, 211)] {
            r.push(packet(seq), now, &mut |p: Bytes| got.push((p[3], now)));
        }
        assert_eq!(got, [(1, 0), (3, 211), (4, 211), (5, 211)]);
    }

    proptest! {
        #[test]
        fn swaps_within_the_window_are_undone(start: u16, swaps in prop::collection::vec(0usize..400, 0..60)) {
            let mut seqs: Vec<u16> = (0..400).map(|i| start.wrapping_add(i)).collect();
            for s in swaps {
                // Never the first: nothing says that one came before it.
                let (a, b) = (s.max(1), (s + 7).clamp(1, 399));
                seqs.swap(a, b);
            }
            let got = run(&seqs);
            let sorted: Vec<u16> = (0..400).map(|i| start.wrapping_add(i)).collect();
            prop_assert_eq!(got, sorted);
        }

        #[test]
        fn memory_is_bounded(seqs in prop::collection::vec(any::<u16>(), 0..2000)) {
            let mut r = Reorder::default();
            for s in seqs {
                r.push(packet(s), 0, &mut |_| {});
                prop_assert!(r.held.len() <= WINDOW + 1);
            }
        }
    }
}
