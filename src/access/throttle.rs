//! Wrong secrets are paid for: each source may get so many wrong at once ([`Rate::burst`]) and one more every so often
//! ([`Rate::interval`]). A right one costs nothing. A source that has nothing left is turned away unheard, right or wrong: else guesses in parallel would
//! be free.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How many wrong guesses are borne.
#[derive(Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) burst: u32,
    pub(crate) interval: Duration,
}

/// For what people type.
pub(crate) const TYPED: Rate = Rate { burst: 20, interval: Duration::from_secs(1) };
/// For signatures: programs make them, many to a second, and one with an old secret shares its address with rightful
/// ones. Even so ten guesses a second find no secret that is not a word.
pub(crate) const SIGNED: Rate = Rate { burst: 200, interval: Duration::from_millis(100) };

/// Sources remembered one by one; those beyond share an account.
const SOURCES: usize = 4096;

/// Requests that do not say where they come from share one account, too.
type Source = Option<IpAddr>;

pub(crate) struct Throttle {
    rate: Rate,
    /// When (monotonic) all is forgiven. Absent: nothing to forgive.
    debts: Mutex<HashMap<Source, Duration>>,
}

/// What an attempt was charged to.
pub(crate) struct Charge(Source);

/// A household's IPv6 addresses are one source.
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

impl Throttle {
    pub(crate) fn new(rate: Rate) -> Throttle {
        Throttle { rate, debts: Mutex::default() }
    }

    /// Charges an attempt before it is looked at. `Err`: how long until one will be.
    pub(crate) fn charge(&self, from: Option<IpAddr>, now: Duration) -> Result<Charge, Duration> {
        let mut debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = from.map(source);
        if !debts.contains_key(&key) && debts.len() >= SOURCES {
            debts.retain(|_, until| *until > now);
            if debts.len() >= SOURCES {
                key = None;
            }
        }
        let debt = debts.entry(key).or_insert(now);
        let owed = debt.saturating_sub(now);
        let most = self.rate.interval * (self.rate.burst - 1);
        if owed > most {
            return Err(owed - most);
        }
        *debt = now + owed + self.rate.interval;
        Ok(Charge(key))
    }

    /// It was right after all.
    pub(crate) fn refund(&self, charge: Charge) {
        let mut debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(debt) = debts.get_mut(&charge.0) {
            *debt = debt.saturating_sub(self.rate.interval);
        }
    }

    #[cfg(test)]
    pub(crate) fn sources(&self) -> usize {
        self.debts.lock().unwrap().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_sources_are_apart() {
        let t = Throttle::new(TYPED);
        for n in 0..10_000u32 {
            let _ = t.charge(Some(IpAddr::V4(n.into())), Duration::from_secs(5));
        }
        assert!(t.sources() <= SOURCES + 1);
        // Those beyond share an account, which is used up by now; those remembered have theirs.
        assert!(t.charge(Some(IpAddr::V4(20_000.into())), Duration::from_secs(5)).is_err());
        assert!(t.charge(Some(IpAddr::V4(7.into())), Duration::from_secs(5)).is_ok());
        // Later there is room again.
        assert!(t.charge(Some(IpAddr::V4(20_000.into())), Duration::from_secs(9)).is_ok());
        assert!(t.sources() < 10);
    }

    #[test]
    fn one_network_is_one_source() {
        let t = Throttle::new(TYPED);
        for n in 0..TYPED.burst {
            assert!(t.charge(Some(format!("2001:db8::{n:x}").parse().unwrap()), Duration::ZERO).is_ok());
        }
        assert!(t.charge(Some("2001:db8::ffff:1".parse().unwrap()), Duration::ZERO).is_err());
        assert!(t.charge(Some("2001:db8:0:1::1".parse().unwrap()), Duration::ZERO).is_ok());
        assert!(t.charge(Some("::ffff:10.0.0.1".parse().unwrap()), Duration::ZERO).is_ok());
        assert_eq!(source("::ffff:10.0.0.1".parse().unwrap()), source("10.0.0.1".parse().unwrap()));
    }
}
