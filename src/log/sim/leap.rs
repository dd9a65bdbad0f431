//! A clock that leaps.

use std::time::Duration;

use world::{ShardId, StreamUid, sim::Sim};

use super::{
    driven::{Driven, alone},
    limits,
    model::read_all,
    stream,
};
use crate::{Log, Retention, StorePolicy};

const S: ShardId = ShardId { stream: StreamUid([1; 16]), shard: 0 };
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Appends one record and makes a segment of it.
fn record(d: &mut Driven) {
    let l = d.log.clone();
    d.go(async move {
        l.append(S, vec![vec![1; 100].into()]).await.unwrap();
        l.flush().await.unwrap();
    });
}

/// How many records are left after a pass.
fn left(d: &mut Driven) -> usize {
    let (l, s) = (d.log.clone(), d.shared.clone());
    d.go(async move {
        s.enforce().await.unwrap();
        let oldest = l.watch(S).unwrap().borrow().oldest;
        read_all(&l, S, oldest).await.unwrap().len()
    })
}

/// Ten days of one record a day, of which thirty are kept.
fn ten_days(sim: &Sim) -> Driven {
    let mut d = Driven::new(&alone(sim), limits(), StorePolicy::default());
    let l = d.log.clone();
    d.go(l.create_stream(stream(0))).unwrap();
    let month = Retention { age: Some(30 * DAY), ..Retention::default() };
    d.go(l.set_retention(stream(0), month)).unwrap();
    for _ in 0..10 {
        record(&mut d);
        sim.clock.advance(DAY);
        assert!(left(&mut d) > 0);
    }
    d
}

#[test]
fn a_clock_that_leaps_ahead_removes_nothing_until_it_is_set_right() {
    let sim = Sim::new(1);
    let mut d = ten_days(&sim);
    let right = sim.world.clock.now();
    sim.clock.set(right + 4000 * DAY);
    assert_eq!(left(&mut d), 10);
    assert_eq!(d.log.stats().clock_leap, 4000 * DAY, "and it is said");
    record(&mut d);
    // A start does not believe it either, and what arrived by it is no witness.
    let catalog = d.kill();
    sim.disk.restart_process();
    let mut d = Driven::open(&alone(&sim), catalog, limits(), StorePolicy::default()).unwrap();
    assert_eq!(left(&mut d), 11);
    // Time goes on, and age with it.
    sim.clock.advance(3 * DAY);
    assert_eq!(left(&mut d), 11);
    sim.clock.set(right + 3 * DAY);
    assert_eq!((left(&mut d), d.log.stats().clock_leap), (11, Duration::ZERO));
    for day in 0..20 {
        sim.clock.advance(DAY);
        assert!(left(&mut d) >= 11 - day.min(10), "day {day}");
    }
    assert!(left(&mut d) <= 8);
}

#[test]
fn after_a_long_time_off_age_waits_a_week_or_for_somebody_to_say_that_the_clock_is_right() {
    for said in [false, true] {
        let sim = Sim::new(1);
        let d = ten_days(&sim);
        let catalog = d.kill();
        sim.disk.restart_process();
        sim.clock.set(sim.world.clock.now() + 90 * DAY);
        let mut d = Driven::open(&alone(&sim), catalog, limits(), StorePolicy::default()).unwrap();
        assert_eq!(left(&mut d), 10);
        if said {
            d.log.set_store_policy(StorePolicy { trust_clock: true, ..StorePolicy::default() });
        } else {
            for _ in 0..7 {
                sim.clock.advance(DAY);
                assert!(d.log.stats().clock_leap > DAY);
                d.go(d.shared.clone().age_now());
            }
        }
        assert_eq!(left(&mut d), 0, "said: {said}");
    }
}
