//! What every engine must do, run on each. A failure panics, as an assertion in a test does.
#![allow(clippy::unwrap_used, reason = "a test, though other crates may run it too")]

use std::{sync::Arc, time::Duration};

use world::{ShardId, StreamUid, Timestamp, World};

use crate::{
    Catalog, CatalogError, Change, Document, Filter, KeyRow, LogUpdate, Mark, RunQuery, RunRow, SegmentRow,
    SegmentState, ShardRow, testing,
};

/// An engine under test.
pub trait Engine {
    /// A catalog with nothing in it, apart from those given out before.
    fn fresh(&mut self, world: World) -> Arc<dyn Catalog>;
    /// The same catalog after its process went and came back. An engine without that returns what it was given.
    fn reopen(&mut self, catalog: Arc<dyn Catalog>, world: World) -> Arc<dyn Catalog>;
}

/// Runs everything. Must be called within a tokio runtime of several threads.
pub async fn run(engine: &mut dyn Engine) {
    documents(engine).await;
    listings(engine).await;
    transactions(engine).await;
    races(engine).await;
    leases(engine).await;
    keys(engine).await;
    projection(engine).await;
    spans(engine).await;
    rewrapping(engine).await;
    forgetting(engine).await;
    refusals(engine).await;
}

/// A document for tests.
pub fn doc(kind: &str, id: &str, body: &str, keys: &[(&str, &str)]) -> Document {
    Document {
        kind: kind.into(),
        id: id.into(),
        version: 0,
        body: body.into(),
        keys: keys.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
    }
}

fn put(doc: Document, expect: u64) -> Change {
    Change::Put { doc, expect }
}

fn delete(kind: &str, id: &str, expect: u64) -> Change {
    Change::Delete { kind: kind.into(), id: id.into(), expect }
}

fn conflict<T: std::fmt::Debug>(r: Result<T, CatalogError>, kind: &str, id: &str) {
    match r {
        Err(CatalogError::Conflict { kind: k, id: i }) => assert_eq!((&*k, &*i), (kind, id)),
        r => panic!("expected a conflict over {kind} {id}, got {r:?}"),
    }
}

async fn rewrapping(e: &mut dyn Engine) {
    let (world, _) = testing::world(11);
    let c = e.fresh(world.clone());
    let key = |n: u8, generation: u32, provider: &str| KeyRow {
        stream: StreamUid([n; 16]),
        generation,
        provider: provider.into(),
        wrapped: format!("{provider} {n} {generation}").into(),
        created: Timestamp(i64::from(n)),
    };
    assert_eq!(c.all_keys().await.unwrap(), []);
    for (n, g) in [(2, 1), (1, 2), (1, 1), (255, 1), (0, 1)] {
        c.put_key(key(n, g, "old")).await.unwrap();
    }
    let all =
        |p: &'static str| [(0, 1), (1, 1), (1, 2), (2, 1), (255, 1)].map(|(n, g)| key(n, g, p)).to_vec();
    assert_eq!(c.all_keys().await.unwrap(), all("old"), "by stream and generation");
    // One that is not there: none is changed.
    let mut more = all("new");
    more.push(key(3, 1, "new"));
    assert!(matches!(c.rewrap(more).await, Err(CatalogError::Conflict { .. })));
    assert_eq!(c.all_keys().await.unwrap(), all("old"));
    c.rewrap(all("new")).await.unwrap();
    c.rewrap(all("new")).await.unwrap();
    c.rewrap(Vec::new()).await.unwrap();
    let c = e.reopen(c, world);
    assert_eq!(c.all_keys().await.unwrap(), all("new"));
    assert_eq!(c.keys(StreamUid([1; 16])).await.unwrap(), [key(1, 1, "new"), key(1, 2, "new")]);
}

async fn documents(e: &mut dyn Engine) {
    let (world, _) = testing::world(1);
    let c = e.fresh(world.clone());
    assert_eq!(c.get("camera", "door").await.unwrap(), None);
    let first = doc("camera", "door", "one", &[("stream", "b"), ("stream", "a"), ("stream", "b")]);
    c.commit(vec![put(first.clone(), 0)]).await.unwrap();
    let stored = c.get("camera", "door").await.unwrap().unwrap();
    assert_eq!(
        stored,
        Document { version: 1, ..first.clone() },
        "keys keep their order, the version is counted"
    );
    conflict(c.commit(vec![put(first.clone(), 0)]).await, "camera", "door");
    conflict(c.commit(vec![put(first.clone(), 2)]).await, "camera", "door");
    conflict(c.commit(vec![put(first.clone(), u64::MAX)]).await, "camera", "door");
    let second = doc("camera", "door", "", &[]);
    c.commit(vec![put(second.clone(), 1)]).await.unwrap();
    let c = e.reopen(c, world);
    assert_eq!(c.get("camera", "door").await.unwrap().unwrap(), Document { version: 2, ..second });
    assert_eq!(c.get("stream", "door").await.unwrap(), None, "kinds are apart");
    conflict(c.commit(vec![delete("camera", "door", 1)]).await, "camera", "door");
    conflict(c.commit(vec![delete("camera", "gate", 0)]).await, "camera", "gate");
    c.commit(vec![delete("camera", "door", 2)]).await.unwrap();
    conflict(c.commit(vec![delete("camera", "door", 2)]).await, "camera", "door");
    c.commit(vec![put(first, 0)]).await.unwrap();
    assert_eq!(c.get("camera", "door").await.unwrap().unwrap().version, 1, "created anew");
}

async fn listings(e: &mut dyn Engine) {
    let (world, _) = testing::world(2);
    let c = e.fresh(world);
    // Bytes decide the order: capitals first, then what is not ASCII; no wildcard is special.
    let ids = ["", "A", "Z", "a", "a%", "a/b", "a\0", "aa", "b", "é", "日"];
    let changes = ids
        .iter()
        .rev()
        .map(|id| put(doc("k", id, id, &[("even", if id.len() % 2 == 0 { "y" } else { "n" })]), 0));
    c.commit(changes.collect()).await.unwrap();
    c.commit(vec![put(doc("l", "a", "", &[("even", "y"), ("even", "y")]), 0)]).await.unwrap();
    let ids_of = async |f: Filter| c.list(f).await.unwrap().into_iter().map(|d| d.id).collect::<Vec<_>>();
    let mut sorted = ids.map(String::from).to_vec();
    sorted.sort();
    let k = || Filter::kind("k");
    assert_eq!(ids_of(k()).await, sorted);
    assert_eq!(ids_of(Filter { limit: Some(3), ..k() }).await, sorted[..3]);
    assert_eq!(ids_of(Filter { limit: Some(0), ..k() }).await, [""; 0]);
    assert_eq!(ids_of(Filter { after: Some("aa".into()), ..k() }).await, ["b", "é", "日"]);
    assert_eq!(ids_of(Filter { prefix: Some("a".into()), ..k() }).await, ["a", "a\0", "a%", "a/b", "aa"]);
    let page = Filter { prefix: Some("a".into()), after: Some("a\0".into()), limit: Some(2), ..k() };
    assert_eq!(ids_of(page).await, ["a%", "a/b"]);
    assert_eq!(ids_of(Filter { prefix: Some("a".into()), after: Some("A".into()), ..k() }).await.len(), 5);
    let even = Some(("even".into(), "y".into()));
    assert_eq!(ids_of(Filter { key: even.clone(), ..k() }).await, ["", "a\0", "a%", "aa", "é"]);
    let page =
        Filter { key: even.clone(), after: Some("".into()), limit: Some(2), prefix: Some("a".into()), ..k() };
    assert_eq!(ids_of(page).await, ["a\0", "a%"]);
    assert_eq!(
        ids_of(Filter { key: even, ..Filter::kind("l") }).await,
        ["a"],
        "once, though it has the key twice"
    );
    assert_eq!(ids_of(Filter::kind("none")).await, [""; 0]);
    // A key that was taken away finds nothing any more.
    c.commit(vec![put(doc("l", "a", "", &[]), 1)]).await.unwrap();
    assert_eq!(ids_of(Filter { key: Some(("even".into(), "y".into())), ..Filter::kind("l") }).await, [""; 0]);
}

async fn transactions(e: &mut dyn Engine) {
    let (world, _) = testing::world(3);
    let c = e.fresh(world);
    c.commit(Vec::new()).await.unwrap();
    c.commit(vec![put(doc("k", "a", "1", &[]), 0), put(doc("k", "b", "1", &[]), 0)]).await.unwrap();
    // The last step fails: none of the others was done.
    let changes =
        vec![put(doc("k", "a", "2", &[("n", "v")]), 1), delete("k", "b", 1), put(doc("k", "c", "", &[]), 7)];
    conflict(c.commit(changes).await, "k", "c");
    assert_eq!(c.get("k", "a").await.unwrap().unwrap().body, b"1");
    assert!(c.get("k", "b").await.unwrap().is_some());
    assert_eq!(
        c.list(Filter { key: Some(("n".into(), "v".into())), ..Filter::kind("k") }).await.unwrap(),
        []
    );
    // Steps see what the steps before them did.
    let changes = vec![put(doc("k", "a", "2", &[]), 1), put(doc("k", "a", "3", &[]), 2), delete("k", "b", 1)];
    c.commit(changes).await.unwrap();
    let a = c.get("k", "a").await.unwrap().unwrap();
    assert_eq!((a.version, &*a.body), (3, &b"3"[..]));
    c.commit(vec![delete("k", "a", 3), put(doc("k", "a", "new", &[]), 0)]).await.unwrap();
    assert_eq!(c.get("k", "a").await.unwrap().unwrap().version, 1);
    conflict(c.commit(vec![delete("k", "a", 1), put(doc("k", "a", "", &[]), 1)]).await, "k", "a");
}

/// Many writers, one counter: every success counts once, and a refusal hurts nobody else.
async fn races(e: &mut dyn Engine) {
    let (world, _) = testing::world(4);
    let c = e.fresh(world);
    c.commit(vec![put(doc("n", "all", "0", &[]), 0)]).await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let c = c.clone();
            tokio::spawn(async move {
                for i in 0..10 {
                    let own = put(doc("n", &format!("{task}-{i}"), "", &[]), 0);
                    loop {
                        let now = c.get("n", "all").await.unwrap().unwrap();
                        let n: u64 = String::from_utf8(now.body.clone()).unwrap().parse().unwrap();
                        let next = put(doc("n", "all", &(n + 1).to_string(), &[]), now.version);
                        match c.commit(vec![own.clone(), next]).await {
                            Ok(()) => break,
                            r => conflict(r, "n", "all"),
                        }
                    }
                }
            })
        })
        .collect();
    for t in tasks {
        t.await.unwrap();
    }
    let all = c.get("n", "all").await.unwrap().unwrap();
    assert_eq!((all.version, &*all.body), (81, &b"80"[..]));
    assert_eq!(c.list(Filter::kind("n")).await.unwrap().len(), 81);
}

async fn leases(e: &mut dyn Engine) {
    const MIN: Duration = Duration::from_secs(60);
    let (world, clock) = testing::world(5);
    let c = e.fresh(world.clone());
    let a = c.acquire("journal", "a", MIN).await.unwrap().unwrap();
    assert_eq!((&*a.name, &*a.holder, a.epoch, a.expires), ("journal", "a", 1, world.clock.now() + MIN));
    assert_eq!(c.acquire("journal", "b", MIN).await.unwrap(), None);
    assert_eq!(c.acquire("other", "b", MIN).await.unwrap().unwrap().epoch, 1, "names are apart");
    clock.advance(MIN / 2);
    let renewed = c.renew(&a, MIN).await.unwrap();
    assert_eq!((renewed.epoch, renewed.expires), (1, world.clock.now() + MIN));
    clock.advance(MIN - Duration::from_micros(1));
    assert_eq!(c.acquire("journal", "b", MIN).await.unwrap(), None, "renewed");
    // The holder itself gets it again, under a new epoch; its old one is worth nothing.
    let again = c.acquire("journal", "a", MIN).await.unwrap().unwrap();
    assert_eq!(again.epoch, 2);
    assert!(matches!(c.renew(&renewed, MIN).await, Err(CatalogError::LeaseLost(n)) if n == "journal"));
    c.release(renewed).await.unwrap();
    assert_eq!(c.acquire("journal", "b", MIN).await.unwrap(), None, "a stale release gives nothing up");
    // Expired and nobody came: still the holder's to renew. Expired and somebody came: lost.
    clock.advance(MIN * 2);
    let again = c.renew(&again, MIN).await.unwrap();
    clock.advance(MIN);
    let b = c.acquire("journal", "b", MIN).await.unwrap().unwrap();
    assert_eq!(b.epoch, 3);
    assert!(matches!(c.renew(&again, MIN).await, Err(CatalogError::LeaseLost(_))));
    // Another holder's name on the right epoch does not do.
    let forged = crate::Lease { holder: "a".into(), ..b.clone() };
    assert!(matches!(c.renew(&forged, MIN).await, Err(CatalogError::LeaseLost(_))));
    let c = e.reopen(c, world.clone());
    assert_eq!(c.acquire("journal", "a", MIN).await.unwrap(), None, "leases outlive the process");
    c.release(b.clone()).await.unwrap();
    assert!(matches!(c.renew(&b, MIN).await, Err(CatalogError::LeaseLost(_))), "given up");
    let c = e.reopen(c, world);
    assert_eq!(
        c.acquire("journal", "a", MIN).await.unwrap().unwrap().epoch,
        4,
        "epochs outlive release and process"
    );
    assert!(matches!(
        c.renew(&crate::Lease { name: "never".into(), ..b }, MIN).await,
        Err(CatalogError::LeaseLost(_))
    ));
}

fn key(stream: StreamUid, generation: u32) -> KeyRow {
    KeyRow {
        stream,
        generation,
        provider: "local:0123".into(),
        wrapped: format!("wrapped {stream} {generation}").into(),
        created: Timestamp(i64::from(generation)),
    }
}

async fn keys(e: &mut dyn Engine) {
    let (world, _) = testing::world(6);
    let c = e.fresh(world.clone());
    let (a, b) = (StreamUid([1; 16]), StreamUid([0xff; 16]));
    for k in [key(a, 2), key(a, 1), key(b, 1), key(a, u32::MAX)] {
        c.put_key(k).await.unwrap();
    }
    conflict(c.put_key(KeyRow { wrapped: vec![], ..key(a, 2) }).await, "key", &format!("{a}/2"));
    let c = e.reopen(c, world);
    assert_eq!(c.keys(a).await.unwrap(), [key(a, 1), key(a, 2), key(a, u32::MAX)]);
    assert_eq!(c.keys(b).await.unwrap(), [key(b, 1)]);
    assert_eq!(c.keys(StreamUid([2; 16])).await.unwrap(), []);
}

/// A shard for tests.
pub fn shard(stream: u8, shard: u32) -> ShardId {
    ShardId { stream: StreamUid([stream; 16]), shard }
}

fn shard_row(id: ShardId) -> ShardRow {
    ShardRow {
        shard: id,
        parents: vec![],
        opened: Timestamp(5),
        closed: None,
        trim: 0,
        next: 10,
        last_arrival: Timestamp(7),
    }
}

/// A run for tests: positions, and arrival and producer time alike in seconds.
pub fn run_row(shard: ShardId, first: u64, end: u64, producer: (i64, i64)) -> RunRow {
    let at = |s: u64| Timestamp(i64::try_from(s).unwrap() * 1_000_000);
    RunRow {
        shard,
        first,
        end,
        segment: [u8::try_from(first % 251).unwrap(); 16],
        ordinal: 3,
        bytes: end - first,
        arrival: (at(first), at(end - 1)),
        producer: (Timestamp(producer.0 * 1_000_000), Timestamp(producer.1 * 1_000_000)),
    }
}

fn segment(n: u8) -> SegmentRow {
    SegmentRow {
        id: [n; 16],
        state: SegmentState::Local,
        bytes: 1000,
        footer: 900,
        created: Timestamp(n.into()),
    }
}

async fn projection(e: &mut dyn Engine) {
    let (world, _) = testing::world(7);
    let c = e.fresh(world.clone());
    assert_eq!(c.mark().await.unwrap(), Mark::default());
    let (a, b) = (shard(1, 0), shard(1, 1));
    let closed = ShardRow { closed: Some(20), trim: 3, ..shard_row(a) };
    let child = ShardRow { parents: vec![0, 7], ..shard_row(b) };
    let other = shard_row(shard(0, 9));
    let all = RunQuery::Positions((0, u64::MAX));
    let first = LogUpdate {
        shards: vec![child.clone(), shard_row(a), other.clone()],
        segments: vec![segment(2), segment(1)],
        runs: vec![run_row(a, 0, 10, (0, 9)), run_row(a, 10, 20, (10, 19)), run_row(b, 0, 5, (0, 4))],
        mark: Some(Mark { file: 2, offset: 30 }),
        ..LogUpdate::default()
    };
    for _ in 0..2 {
        c.log_update(first.clone()).await.unwrap();
        assert_eq!(c.shards(None).await.unwrap(), [other.clone(), shard_row(a), child.clone()]);
        assert_eq!(c.shards(Some(a.stream)).await.unwrap(), [shard_row(a), child.clone()]);
        assert_eq!(c.shards(Some(StreamUid([9; 16]))).await.unwrap(), []);
        assert_eq!(c.segments(None, 10).await.unwrap(), [segment(1), segment(2)]);
        assert_eq!(c.segments(None, 1).await.unwrap(), [segment(1)]);
        assert_eq!(c.segments(Some([1; 16]), usize::MAX).await.unwrap(), [segment(2)]);
        assert_eq!(c.segments(None, 0).await.unwrap(), []);
        let local = SegmentState::Local;
        assert_eq!(c.segments_in(local, None, 10).await.unwrap(), [segment(1), segment(2)]);
        assert_eq!(c.segments_in(local, Some([1; 16]), 1).await.unwrap(), [segment(2)]);
        assert_eq!(c.segments_in(SegmentState::Stored, None, 10).await.unwrap(), []);
        assert_eq!(c.runs(a, all).await.unwrap(), first.runs[..2]);
        assert_eq!(c.stored_bytes(Some(a.stream)).await.unwrap(), 25);
        assert_eq!(c.stored_bytes(None).await.unwrap(), 25);
        assert_eq!(c.mark().await.unwrap(), Mark { file: 2, offset: 30 });
    }
    // Compaction in one step: what is removed goes first, so that its successor may begin where it began.
    let merged = RunRow { bytes: 19, ..run_row(a, 0, 20, (0, 19)) };
    let stored = SegmentRow { state: SegmentState::Stored, ..segment(2) };
    let compaction = LogUpdate {
        shards: vec![closed.clone()],
        segments: vec![stored.clone(), segment(3)],
        runs: vec![merged.clone()],
        removed_shards: vec![a, other.shard, other.shard, shard(5, 0)],
        removed_runs: vec![(a, 0), (a, 10), (a, 11), (shard(5, 0), 0), (a, u64::MAX)],
        removed_segments: vec![[1; 16], [77; 16]],
        mark: Some(Mark { file: 1, offset: 99 }),
    };
    c.log_update(compaction).await.unwrap();
    let c = e.reopen(c, world);
    assert_eq!(c.mark().await.unwrap(), Mark { file: 2, offset: 30 }, "never backwards");
    assert_eq!(c.shards(None).await.unwrap(), [closed, child], "one removed is gone, unless it is put, too");
    assert_eq!(c.segments(None, 10).await.unwrap(), [stored.clone(), segment(3)]);
    assert_eq!(c.segments_in(SegmentState::Stored, None, 10).await.unwrap(), std::slice::from_ref(&stored));
    assert_eq!(c.segments_in(SegmentState::Local, None, 10).await.unwrap(), [segment(3)]);
    assert_eq!(c.segment([2; 16]).await.unwrap(), Some(stored));
    assert_eq!(c.segment([1; 16]).await.unwrap(), None);
    assert_eq!(c.runs(a, all).await.unwrap(), [merged]);
    assert_eq!(c.stored_bytes(Some(a.stream)).await.unwrap(), 24);
    c.log_update(LogUpdate { mark: Some(Mark { file: 3, offset: 0 }), ..LogUpdate::default() })
        .await
        .unwrap();
    assert_eq!(c.mark().await.unwrap(), Mark { file: 3, offset: 0 });
    // Replaced in place: its bytes are counted once.
    c.log_update(LogUpdate {
        runs: vec![RunRow { bytes: 4, ..run_row(b, 0, 5, (0, 4)) }],
        ..LogUpdate::default()
    })
    .await
    .unwrap();
    assert_eq!(c.stored_bytes(None).await.unwrap(), 23);
    assert_eq!(c.stored_bytes(Some(StreamUid([9; 16]))).await.unwrap(), 0);
}

async fn spans(e: &mut dyn Engine) {
    let (world, _) = testing::world(8);
    let c = e.fresh(world);
    let s = shard(1, 0);
    // Holes between runs; producer ranges that overlap, lie the wrong way round, or last for ever.
    let mut runs = vec![
        run_row(s, 10, 20, (100, 110)),
        run_row(s, 20, 30, (50, 500)),
        run_row(s, 40, 50, (105, 108)),
        run_row(s, 60, 61, (60, 60)),
        run_row(s, 70, 80, (300, 250)),
    ];
    runs.push(RunRow { producer: (Timestamp::MIN, Timestamp::MAX), ..run_row(s, 90, 95, (0, 0)) });
    c.log_update(LogUpdate { runs: runs.clone(), ..LogUpdate::default() }).await.unwrap();
    c.log_update(LogUpdate { runs: vec![run_row(shard(1, 1), 0, 99, (0, 999))], ..LogUpdate::default() })
        .await
        .unwrap();
    let firsts = async |q| c.runs(s, q).await.unwrap().iter().map(|r| r.first).collect::<Vec<_>>();
    for ((lo, hi), want) in [
        ((0, u64::MAX), &[10, 20, 40, 60, 70, 90][..]),
        ((0, 9), &[]),
        ((0, 10), &[10]),
        ((19, 20), &[10, 20]),
        ((30, 39), &[]),
        ((35, 60), &[40, 60]),
        ((61, 61), &[]),
        ((94, 94), &[90]),
        ((95, u64::MAX), &[]),
        ((u64::MAX, u64::MAX), &[]),
        ((20, 19), &[]),
    ] {
        assert_eq!(firsts(RunQuery::Positions((lo, hi))).await, want, "{lo}..={hi}");
    }
    for (after, limit, want) in [
        (0, 99, &[10, 20, 40, 60, 70, 90][..]),
        (0, 2, &[10, 20]),
        (19, 1, &[10]),
        (20, 2, &[20, 40]),
        (30, 1, &[40]),
        (30, 0, &[]),
        (95, 9, &[]),
        (u64::MAX, 9, &[]),
    ] {
        let found = c.first_runs(s, after, limit).await.unwrap();
        assert_eq!(found.iter().map(|r| r.first).collect::<Vec<_>>(), want, "{limit} after {after}");
    }
    for ((lo, hi), want) in [
        ((0, u64::MAX), &[(30, 40), (50, 60), (61, 70), (80, 90)][..]),
        ((25, 45), &[(30, 40)]),
        ((45, 60), &[(50, 60)]),
        ((30, 45), &[]),
        ((31, 39), &[]),
        ((99, u64::MAX), &[]),
        ((u64::MAX, u64::MAX), &[]),
    ] {
        assert_eq!(c.gaps(s, (lo, hi)).await.unwrap(), want, "gaps in {lo}..={hi}");
    }
    let at = |s: i64| Timestamp(s * 1_000_000);
    for ((lo, hi), want) in [
        ((Timestamp::MIN, Timestamp::MAX), &[10, 20, 40, 60, 70, 90][..]),
        ((at(19), at(20)), &[10, 20]),
        ((at(19) + Duration::from_micros(1), at(20) - Duration::from_micros(1)), &[]),
        ((at(45), at(45)), &[40]),
        ((at(60), at(60)), &[60]),
        ((at(95), Timestamp::MAX), &[]),
        ((at(30), at(20)), &[]),
    ] {
        assert_eq!(firsts(RunQuery::Arrival((lo, hi))).await, want, "arrival {lo:?} to {hi:?}");
    }
    for ((lo, hi), want) in [
        ((Timestamp::MIN, Timestamp::MAX), &[10, 20, 40, 60, 70, 90][..]),
        ((Timestamp::MIN, at(49)), &[90]),
        ((at(106), at(107)), &[10, 20, 40, 90]),
        ((at(110), at(110)), &[10, 20, 90]),
        ((at(500), at(500)), &[20, 90]),
        ((at(501), Timestamp::MAX), &[90]),
        ((at(60), at(60)), &[20, 60, 90]),
        ((at(250), at(300)), &[20, 70, 90]),
        ((at(260), at(300)), &[20, 90]),
        ((Timestamp::MAX, Timestamp::MAX), &[90]),
        ((at(107), at(106)), &[]),
    ] {
        assert_eq!(firsts(RunQuery::Producer((lo, hi))).await, want, "producer {lo:?} to {hi:?}");
    }
    assert_eq!(c.runs(shard(8, 0), RunQuery::Positions((0, 99))).await.unwrap(), []);
}

async fn forgetting(e: &mut dyn Engine) {
    let (world, _) = testing::world(9);
    let c = e.fresh(world.clone());
    let (a, b) = (shard(1, 0), shard(2, 0));
    c.put_key(key(a.stream, 1)).await.unwrap();
    c.put_key(key(b.stream, 1)).await.unwrap();
    let update = LogUpdate {
        shards: vec![shard_row(a), shard_row(b)],
        segments: vec![segment(1)],
        runs: vec![run_row(a, 0, 10, (0, 9)), run_row(b, 0, 7, (0, 9))],
        ..LogUpdate::default()
    };
    c.log_update(update.clone()).await.unwrap();
    for _ in 0..2 {
        c.forget_stream(a.stream).await.unwrap();
        assert_eq!(c.keys(a.stream).await.unwrap(), []);
        assert_eq!(c.shards(None).await.unwrap(), [shard_row(b)]);
        assert_eq!(c.runs(a, RunQuery::Positions((0, u64::MAX))).await.unwrap(), []);
        assert_eq!(c.runs(b, RunQuery::Positions((0, u64::MAX))).await.unwrap(), update.runs[1..]);
        assert_eq!(c.stored_bytes(None).await.unwrap(), 7);
        assert_eq!(c.segments(None, 9).await.unwrap(), [segment(1)], "listed until its bytes are gone");
    }
    let c = e.reopen(c, world);
    assert_eq!(c.keys(b.stream).await.unwrap(), [key(b.stream, 1)]);
    assert_eq!(c.keys(a.stream).await.unwrap(), []);
}

/// Numbers that no engine could put in order, and runs of nothing.
async fn refusals(e: &mut dyn Engine) {
    let (world, _) = testing::world(10);
    let c = e.fresh(world);
    let s = shard(1, 0);
    let big = i64::MAX as u64 + 1;
    let good = run_row(s, 0, 10, (0, 9));
    for bad in [
        LogUpdate { runs: vec![good.clone(), RunRow { end: big, ..good.clone() }], ..LogUpdate::default() },
        LogUpdate { runs: vec![good.clone(), RunRow { end: 0, ..good.clone() }], ..LogUpdate::default() },
        LogUpdate {
            runs: vec![good.clone()],
            mark: Some(Mark { file: big, offset: 0 }),
            ..LogUpdate::default()
        },
        LogUpdate {
            runs: vec![good.clone()],
            shards: vec![ShardRow { next: big, ..shard_row(s) }],
            ..LogUpdate::default()
        },
    ] {
        assert!(matches!(c.log_update(bad).await, Err(CatalogError::Engine(_))));
        assert_eq!(c.runs(s, RunQuery::Positions((0, 99))).await.unwrap(), [], "nothing was done");
    }
}
