//! The memory engine by the conformance suite, and random histories on all engines at once.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use world::{StreamUid, Timestamp, World};

use crate::{
    Catalog, CatalogError, Change, Document, Filter, KeyRow, Lease, LogUpdate, Mark, MemoryCatalog, RunQuery,
    RunRow, SegmentRow, SegmentState, ShardRow, SqliteCatalog, conformance, testing,
};

struct Memory;

impl conformance::Engine for Memory {
    fn fresh(&mut self, world: World) -> Arc<dyn Catalog> {
        Arc::new(MemoryCatalog::new(world))
    }
    fn reopen(&mut self, catalog: Arc<dyn Catalog>, _: World) -> Arc<dyn Catalog> {
        catalog
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_conforms() {
    conformance::run(&mut Memory).await;
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Change>),
    List(Filter),
    Acquire(String, String, u64),
    /// The how-many-th lease that was ever given out.
    Renew(prop::sample::Index, u64),
    Release(prop::sample::Index),
    Pass(u64),
    PutKey(StreamUid, u32),
    Forget(StreamUid),
    /// Appends runs at the tip of a shard: (length, arrival step, producer start and length), and moves the mark.
    Append(u8, u32, Vec<(u64, u64, i64, i64)>, Option<Mark>),
    /// Removes or merges with its neighbour the how-many-th run of a shard.
    Remove(u8, u32, prop::sample::Index),
    Merge(u8, u32, prop::sample::Index),
    Find(u8, u32, RunQuery),
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "ab", "b", "é"]).prop_map(String::from)
}

fn change() -> impl Strategy<Value = Change> {
    let keys = prop::collection::vec((name(), name()), 0..3);
    prop_oneof![
        (name(), name(), prop::collection::vec(any::<u8>(), 0..4), keys, 0u64..4).prop_map(
            |(kind, id, body, keys, expect)| {
                Change::Put { doc: Document { kind, id, version: 9, body, keys }, expect }
            }
        ),
        (name(), name(), 0u64..4).prop_map(|(kind, id, expect)| Change::Delete { kind, id, expect }),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let some = || prop::option::of(name());
    (name(), prop::option::of((name(), name())), some(), some(), prop::option::of(0usize..4))
        .prop_map(|(kind, key, prefix, after, limit)| Filter { kind, key, prefix, after, limit })
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![8 => -20i64..300, 1 => Just(i64::MIN), 1 => Just(i64::MAX)].prop_map(Timestamp)
}

fn query() -> impl Strategy<Value = RunQuery> {
    let position = || prop_oneof![0u64..100, Just(u64::MAX)];
    prop_oneof![
        (position(), position()).prop_map(RunQuery::Positions),
        (time(), time()).prop_map(RunQuery::Arrival),
        (time(), time()).prop_map(RunQuery::Producer),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let who = || prop::sample::select(vec!["x", "y"]).prop_map(String::from);
    let uid = || (0u8..2).prop_map(|n| StreamUid([n; 16]));
    let run = (1u64..9, 0u64..9, -9i64..200, prop_oneof![-3i64..300, Just(i64::MAX)]);
    let mark = prop::option::of((0u64..5, 0u64..5).prop_map(|(file, offset)| Mark { file, offset }));
    let place = || (0u8..2, 0u32..2);
    let index = || any::<prop::sample::Index>();
    prop_oneof![
        4 => prop::collection::vec(change(), 0..4).prop_map(Step::Commit),
        1 => filter().prop_map(Step::List),
        2 => (who(), who(), 0u64..40).prop_map(|(n, h, ttl)| Step::Acquire(n, h, ttl)),
        1 => (index(), 0u64..40).prop_map(|(i, ttl)| Step::Renew(i, ttl)),
        1 => index().prop_map(Step::Release),
        1 => (0u64..30).prop_map(Step::Pass),
        1 => (uid(), 1u32..4).prop_map(|(s, g)| Step::PutKey(s, g)),
        1 => uid().prop_map(Step::Forget),
        4 => (place(), prop::collection::vec(run, 1..5), mark).prop_map(|((a, b), r, m)| Step::Append(a, b, r, m)),
        1 => (place(), index()).prop_map(|((a, b), i)| Step::Remove(a, b, i)),
        1 => (place(), index()).prop_map(|((a, b), i)| Step::Merge(a, b, i)),
        4 => (place(), query()).prop_map(|((a, b), q)| Step::Find(a, b, q)),
    ]
}

/// What is compared: values in full, errors by what they say.
fn shown<T: std::fmt::Debug>(r: Result<T, CatalogError>) -> String {
    format!("{:?}", r.map_err(|e| e.to_string()))
}

fn runs_of(model: &[RunRow], id: world::ShardId) -> Vec<RunRow> {
    model.iter().filter(|r| r.shard == id).cloned().collect()
}

/// The update that a step makes of what the log has done so far.
fn update(
    step: &Step,
    model: &mut Vec<RunRow>,
    tips: &mut std::collections::BTreeMap<world::ShardId, (u64, i64)>,
) -> LogUpdate {
    let mut u = LogUpdate::default();
    match step {
        Step::Append(stream, n, runs, mark) => {
            let id = conformance::shard(*stream, *n);
            let (mut next, mut arrival) = tips.get(&id).copied().unwrap_or_default();
            for (len, wait, start, long) in runs {
                // Odd lengths leave a hole before them.
                let first = next + len % 2;
                let came = arrival + i64::try_from(*wait).unwrap();
                (next, arrival) = (first + len, came + i64::try_from(*len / 2).unwrap());
                u.runs.push(RunRow {
                    shard: id,
                    first,
                    end: next,
                    segment: [u8::try_from(first % 7).unwrap(); 16],
                    ordinal: 1,
                    bytes: len * 10,
                    arrival: (Timestamp(came), Timestamp(arrival)),
                    producer: (Timestamp(*start), Timestamp(start.saturating_add(*long))),
                });
                u.segments.push(SegmentRow {
                    id: [u8::try_from(first % 7).unwrap(); 16],
                    state: if len % 2 == 0 { SegmentState::Local } else { SegmentState::Stored },
                    bytes: *len,
                    footer: 1,
                    created: Timestamp(came),
                });
            }
            tips.insert(id, (next, arrival));
            u.shards.push(ShardRow {
                shard: id,
                parents: vec![7; *n as usize],
                opened: Timestamp(0),
                closed: (next > 60).then_some(next),
                trim: 0,
                next,
                last_arrival: Timestamp(arrival),
            });
            u.mark = *mark;
            model.extend(u.runs.iter().cloned());
        }
        Step::Remove(stream, n, i) => {
            let id = conformance::shard(*stream, *n);
            let runs = runs_of(model, id);
            if !runs.is_empty() {
                let r = &runs[i.index(runs.len())];
                u.removed_runs.push((id, r.first));
                u.removed_segments.push(r.segment);
                model.retain(|m| m != r);
            }
        }
        Step::Merge(stream, n, i) => {
            let id = conformance::shard(*stream, *n);
            let runs = runs_of(model, id);
            if runs.len() > 1 {
                let i = i.index(runs.len() - 1);
                let (a, b) = (&runs[i], &runs[i + 1]);
                let merged = RunRow {
                    end: b.end,
                    bytes: a.bytes + b.bytes,
                    arrival: (a.arrival.0, b.arrival.1),
                    producer: (a.producer.0.min(b.producer.0), a.producer.1.max(b.producer.1)),
                    ..a.clone()
                };
                u.removed_runs = vec![(id, a.first), (id, b.first)];
                u.runs.push(merged.clone());
                model.retain(|m| m != b);
                for m in model.iter_mut().filter(|m| *m == a) {
                    *m = merged.clone();
                }
            }
        }
        _ => {}
    }
    u
}

/// Does a step on one engine and says what came of it.
async fn act(c: &dyn Catalog, step: &Step, u: LogUpdate, leases: &[Lease]) -> (String, Option<Lease>) {
    let secs = Duration::from_secs;
    let which = |i: &prop::sample::Index| (!leases.is_empty()).then(|| leases[i.index(leases.len())].clone());
    let said = match step {
        Step::Commit(changes) => shown(c.commit(changes.clone()).await),
        Step::List(f) => shown(c.list(f.clone()).await),
        Step::Acquire(n, h, ttl) => {
            let r = c.acquire(n, h, secs(*ttl)).await;
            let lease = r.as_ref().ok().cloned().flatten();
            return (shown(r), lease);
        }
        Step::Renew(i, ttl) => match which(i) {
            Some(l) => shown(c.renew(&l, secs(*ttl)).await),
            None => String::new(),
        },
        Step::Release(i) => match which(i) {
            Some(l) => shown(c.release(l).await),
            None => String::new(),
        },
        Step::PutKey(stream, generation) => {
            let (stream, generation) = (*stream, *generation);
            let key =
                KeyRow { stream, generation, provider: "p".into(), wrapped: vec![1], created: Timestamp(3) };
            shown(c.put_key(key).await)
        }
        Step::Forget(s) => shown(c.forget_stream(*s).await),
        Step::Append(..) | Step::Remove(..) | Step::Merge(..) => shown(c.log_update(u).await),
        Step::Find(stream, shard, q) => shown(c.runs(conformance::shard(*stream, *shard), *q).await),
        Step::Pass(_) => String::new(),
    };
    (said, None)
}

/// Everything that can be read.
async fn whole(c: &dyn Catalog) -> Vec<String> {
    let mut all = vec![
        shown(c.mark().await),
        shown(c.shards(None).await),
        shown(c.segments(None, 1000).await),
        shown(c.stored_bytes(None).await),
    ];
    for kind in ["", "a", "ab", "b", "é"] {
        all.push(shown(c.list(Filter::kind(kind)).await));
    }
    for stream in 0..2 {
        let uid = StreamUid([stream; 16]);
        all.extend([
            shown(c.keys(uid).await),
            shown(c.stored_bytes(Some(uid)).await),
            shown(c.shards(Some(uid)).await),
        ]);
        for shard in 0..2 {
            all.push(shown(
                c.runs(conformance::shard(stream, shard), RunQuery::Positions((0, u64::MAX))).await,
            ));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn engines_agree_on_any_history(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.db");
        runtime.block_on(async {
            let (world, clock) = testing::world(1);
            let memory = MemoryCatalog::new(world.clone());
            let sqlite = SqliteCatalog::open(&path, world.clone()).unwrap();
            let (mut model, mut tips, mut leases) = (Vec::new(), Default::default(), Vec::new());
            for step in &steps {
                if let Step::Pass(secs) = step {
                    clock.advance(Duration::from_secs(*secs));
                }
                let u = update(step, &mut model, &mut tips);
                if let Step::Forget(s) = step {
                    model.retain(|r: &RunRow| r.shard.stream != *s);
                }
                let (want, lease) = act(&memory, step, u.clone(), &leases).await;
                let (got, _) = act(&sqlite, step, u, &leases).await;
                prop_assert_eq!(want, got, "{:?}", step);
                leases.extend(lease);
            }
            prop_assert_eq!(whole(&memory).await, whole(&sqlite).await);
            drop(sqlite);
            let sqlite = SqliteCatalog::open(&path, world).unwrap();
            prop_assert_eq!(whole(&memory).await, whole(&sqlite).await);
            Ok(())
        })?;
    }
}
