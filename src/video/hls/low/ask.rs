//! What a player asks of a playlist (draft-pantos-hls-rfc8216bis §6.2.5), and whether it is there.

use crate::VideoError;

/// Delivery directives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directives {
    /// `_HLS_msn` and `_HLS_part`: answer once the playlist has this segment, or this part of it.
    pub until: Option<(u64, Option<u64>)>,
    /// `_HLS_skip`: leave out what is old.
    pub skip: bool,
}

/// What a playlist has at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edge {
    /// The media sequence number after that of the last whole segment.
    pub next: u64,
    /// Parts of the last whole segment, where they are known.
    pub last: Option<u64>,
    /// Parts of the segment after it.
    pub open: u64,
}

/// Whether a request can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    Now,
    Later,
    /// So far in the future that nobody who has read the playlist asks for it.
    TooFar,
}

impl Directives {
    /// From a query string. What does not begin with `_HLS_` is none of ours, and unknown directives are passed over.
    pub fn parse(query: Option<&str>) -> Result<Directives, VideoError> {
        let (mut msn, mut part, mut skip) = (None, None, false);
        for pair in query.unwrap_or_default().split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let number = || -> Result<Option<u64>, VideoError> {
                let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                let n = value.parse().ok().filter(|_| digits);
                n.map(Some).ok_or_else(|| bad(format!("{key} is a whole number, not {value:?}")))
            };
            match key {
                "_HLS_msn" => msn = number()?,
                "_HLS_part" => part = number()?,
                "_HLS_skip" if matches!(value, "YES" | "v2") => skip = true,
                "_HLS_skip" => return Err(bad(format!("_HLS_skip is YES or v2, not {value:?}"))),
                _ => {}
            }
        }
        match (msn, part) {
            (None, Some(_)) => Err(bad("_HLS_part needs _HLS_msn".into())),
            (msn, part) => Ok(Directives { until: msn.map(|m| (m, part)), skip }),
        }
    }
}

fn bad(m: String) -> VideoError {
    VideoError::Bad(m)
}

impl Edge {
    /// Whether a playlist that ends so has a segment or a part; `target` is the part target duration in seconds.
    pub fn ready(&self, (msn, part): (u64, Option<u64>), target: f64) -> Ready {
        // "The Media Sequence Number of the last Media Segment … plus two", and the Advance Part Limit.
        if msn > self.next.saturating_add(1) {
            return Ready::TooFar;
        }
        let limit = if target > 0.0 && target < 1.0 { (3.0 / target).ceil() as u64 } else { 3 };
        let of = |there: bool| if there { Ready::Now } else { Ready::Later };
        let Some(part) = part else { return of(msn < self.next) };
        let has = if msn == self.next { self.open } else { 0 };
        if msn >= self.next && part > (has + limit).saturating_sub(u64::from(has > 0)) {
            return Ready::TooFar;
        }
        if msn == self.next {
            return of(part < self.open);
        }
        if msn > self.next {
            return Ready::Later;
        }
        // A part after a segment's last is the first of the next segment.
        let beyond = msn + 1 == self.next && self.last.is_some_and(|n| part >= n);
        of(!beyond || self.open > 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(q: &str) -> Result<Directives, String> {
        Directives::parse(Some(q)).map_err(|e| e.to_string())
    }

    #[test]
    fn directives() {
        assert_eq!(Directives::parse(None).ok(), Some(Directives::default()));
        assert_eq!(
            parse("_HLS_msn=7&_HLS_part=2&x=y"),
            Ok(Directives { until: Some((7, Some(2))), skip: false })
        );
        assert_eq!(parse("_HLS_skip=v2&_HLS_msn=0"), Ok(Directives { until: Some((0, None)), skip: true }));
        assert_eq!(parse("_HLS_unknown=1"), Ok(Directives::default()));
        for (q, named) in [
            ("_HLS_part=1", "_HLS_msn"),
            ("_HLS_msn=-1", "_HLS_msn"),
            ("_HLS_msn=", "_HLS_msn"),
            ("_HLS_msn=99999999999999999999", "_HLS_msn"),
            ("_HLS_msn=1&_HLS_part=+1", "_HLS_part"),
            ("_HLS_skip=NO", "_HLS_skip"),
        ] {
            assert!(parse(q).is_err_and(|e| e.contains(named)), "{q}");
        }
    }

    #[test]
    fn what_is_there() {
        let edge = Edge { next: 10, last: Some(5), open: 3 };
        for (ask, ready) in [
            ((9, None), Ready::Now),
            ((10, None), Ready::Later),
            ((11, None), Ready::Later),
            ((12, None), Ready::TooFar),
            ((9, Some(4)), Ready::Now),
            // The sixth part of a segment that has five is the first of the next.
            ((9, Some(5)), Ready::Now),
            ((10, Some(2)), Ready::Now),
            ((10, Some(3)), Ready::Later),
            // The last is 2; at 200 ms fifteen more may be asked for.
            ((10, Some(17)), Ready::Later),
            ((10, Some(18)), Ready::TooFar),
            ((11, Some(0)), Ready::Later),
            ((11, Some(16)), Ready::TooFar),
            ((3, Some(900)), Ready::Now),
        ] {
            assert_eq!(edge.ready(ask, 0.2), ready, "{ask:?}");
        }
        assert_eq!(Edge { open: 0, ..edge }.ready((9, Some(5)), 0.2), Ready::Later);
    }

    proptest! {
        #[test]
        fn nothing_panics(q in "(_HLS_(msn|part|skip)=[0-9YESv+-]{0,22}&?){0,4}", next: u64, last: Option<u64>, open in 0u64..1 << 40, target in -1.0f64..10.0) {
            if let Ok(Directives { until: Some(ask), .. }) = Directives::parse(Some(&q)) {
                let _ = Edge { next, last, open }.ready(ask, target);
            }
        }

        /// What is not refused comes true: the same request is answered at the latest two segments on.
        #[test]
        fn what_is_waited_for_comes(next in 0u64..1000, open in 0u64..20, ahead in 0u64..3, part: Option<u8>) {
            let ask = (next + ahead, part.map(u64::from));
            let edge = Edge { next, last: Some(5), open };
            let later = Edge { next: next + 3, last: Some(5), open: 0 };
            if edge.ready(ask, 0.2) != Ready::TooFar {
                prop_assert!(later.ready(ask, 0.2) == Ready::Now || ask.0 == next + 2);
            }
        }
    }
}
