//! Load, `kill -9`, restart, compare: everything acknowledged is there, bit for bit, in order, once.
//!
//! The test runs itself again as the process that is killed; that one says on its standard output what was
//! acknowledged. `RUSHES_SOAK=1` makes it a thousand cycles.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use catalog::SqliteCatalog;
use common::stream;
use log::{Item, Limits, LocalLog, Log, LogError, Query, SharedLog, StorePolicy};
use seal::{DataKey, LocalKey};
use world::{ShardId, Timestamp, World};

const STREAMS: u8 = 3;
/// The last stream is trimmed as it goes.
const TRIMMED: u8 = STREAMS;
/// And this one is split and merged: shard 0 into 1 and 2, these into 3, that into 4 and 5, and so on.
const FAMILY: u8 = STREAMS + 1;

fn kin(shard: u32) -> ShardId {
    ShardId { stream: stream(FAMILY), shard }
}

fn parents(shard: u32) -> Vec<u32> {
    match shard % 3 {
        0 if shard == 0 => vec![],
        0 => vec![shard - 2, shard - 1],
        n => vec![shard - n],
    }
}

/// So many generations of the family are kept; older shards are emptied and forgotten.
const KEPT: u32 = 9;

/// Appends to the shards that are open, closes them, and opens those that come next. Those of long ago go.
async fn grow(log: Arc<LocalLog>, start: u64) {
    if log.shards(stream(FAMILY)).await.unwrap().is_empty() {
        log.create_stream(stream(FAMILY)).await.unwrap();
    }
    let (mut open, mut number) = (vec![0], 0);
    loop {
        // What a killed process did is passed over.
        for s in open.iter().cycle().take(12) {
            let data = content(start, 11, number, 500);
            number += 1;
            let hash = hash(&[&data]);
            match log.append(kin(*s), vec![data]).await {
                Ok(c) => println!("kin {s} {} {hash}", c.first),
                Err(LogError::Closed(_) | LogError::NoShard(_)) => break,
                Err(e) => panic!("{e}"),
            }
        }
        for s in &open {
            match log.close_shard(kin(*s)).await {
                Ok(end) => println!("closed {s} {end}"),
                Err(LogError::Closed(_) | LogError::NoShard(_)) => {}
                Err(e) => panic!("{e}"),
            }
        }
        let last = *open.last().unwrap();
        let next = if open.len() == 1 { vec![last + 1, last + 2] } else { vec![last + 1] };
        for s in &next {
            match log.open_shard(kin(*s), &open).await {
                Ok(()) => println!("opened {s}"),
                Err(LogError::Refused(why)) if why.contains("was there before") => {}
                // A parent is gone, as this one is.
                Err(LogError::NoShard(p)) if p.shard < *s => {}
                Err(e) => panic!("{e}"),
            }
        }
        open = next;
        let old: Vec<u32> = (0..open[0].saturating_sub(KEPT)).rev().take(4).collect();
        for s in &old {
            println!("forgetting {s}");
            match log.trim(kin(*s), u64::MAX).await {
                Ok(()) | Err(LogError::NoShard(_)) => {}
                Err(e) => panic!("{e}"),
            }
        }
        let stay = log.forget_shards(stream(FAMILY), &old).await.unwrap();
        old.iter().filter(|s| !stay.contains(s)).for_each(|s| println!("forgot {s}"));
    }
}

async fn open(dir: &Path) -> (Arc<LocalLog>, Arc<SqliteCatalog>) {
    let world = World::real(dir);
    let catalog = Arc::new(SqliteCatalog::open(&dir.join("catalog.db"), world.clone()).unwrap());
    let keys = Arc::new(LocalKey::new(DataKey::new([9; 32])));
    // Small, so that files turn over and segments close many times in a cycle.
    let limits = Limits {
        journal_file: 512 << 10,
        segment_bytes: 2 << 20,
        segment_age: Duration::from_millis(700),
        tail_bytes: 256 << 10,
        ..Limits::default()
    };
    (LocalLog::open(world, catalog.clone(), keys, limits, StorePolicy::default()).await.unwrap(), catalog)
}

fn shard(n: u8) -> ShardId {
    ShardId { stream: stream(n), shard: 0 }
}

fn hash(parts: &[&[u8]]) -> String {
    let mut c = ring::digest::Context::new(&ring::digest::SHA256);
    for p in parts {
        c.update(&(p.len() as u64).to_le_bytes());
        c.update(p);
    }
    c.finish().as_ref()[..8].iter().map(|b| format!("{b:02x}")).collect()
}

/// Differs for every (start, writer, number), and says which it is.
fn content(start: u64, writer: u64, n: u64, len: usize) -> Bytes {
    let mut v = [start, writer, n].map(u64::to_le_bytes).concat();
    v.extend(common::bytes(start ^ (writer << 40) ^ n, len));
    v.into()
}

/// What the killed process does. Ignored unless it is that process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only as a child of the other test"]
async fn child() {
    let Ok(dir) = std::env::var("RUSHES_CRASH_DIR") else { return };
    let start: u64 = std::env::var("RUSHES_CRASH_START").unwrap().parse().unwrap();
    let (log, _catalog) = open(Path::new(&dir)).await;
    for n in 1..=STREAMS {
        log.create_stream(stream(n)).await.unwrap();
    }
    println!();
    println!("ready");
    let mut tasks = Vec::new();
    for w in 0..8u64 {
        let log = log.clone();
        tasks.push(tokio::spawn(async move {
            let n = 1 + (w % u64::from(STREAMS)) as u8;
            let mut number = 0;
            loop {
                let count = 1 + (number * 7 + w) % 5;
                let len = [20, 1000, 1000, 9000][(number + w) as usize % 4];
                let batch: Vec<Bytes> = (0..count).map(|i| content(start, w, number + i, len)).collect();
                number += count;
                let parts: Vec<&[u8]> = batch.iter().map(|b| &b[..]).collect();
                let hash = hash(&parts);
                let c = log.append(shard(n), batch).await.unwrap();
                println!("ack {n} {} {} {hash}", c.first, c.count);
            }
        }));
    }
    for w in 8..11u64 {
        let log = log.clone();
        tasks.push(tokio::spawn(async move {
            let n = 1 + (w % u64::from(STREAMS)) as u8;
            for number in 0.. {
                let len = [100, 5000, 300_000, 700_000][(number + w) as usize % 4];
                let data = content(start, w, number, len);
                let mut p = log.payload(shard(n)).await.unwrap();
                for piece in data.chunks(50_000) {
                    p.write(piece).await.unwrap();
                }
                if number % 5 == 4 {
                    continue;
                }
                let index = data.slice(..24);
                let c =
                    p.commit((Timestamp(number as i64), Timestamp(number as i64 + 1)), index).await.unwrap();
                println!("pay {n} {} {} {}", c.first, data.len(), hash(&[&data]));
            }
        }));
    }
    tasks.push(tokio::spawn(grow(log.clone(), start)));
    let trimmed = Arc::new(AtomicU64::new(0));
    tasks.push(tokio::spawn(async move {
        let mut head = log.watch(shard(TRIMMED)).unwrap();
        loop {
            let next = head.borrow_and_update().next;
            if next > trimmed.load(Ordering::Relaxed) + 400 {
                let before = next - 200;
                // Said before and after: between the two the trim may or may not be durable.
                println!("trimming {before}");
                log.trim(shard(TRIMMED), before).await.unwrap();
                trimmed.store(before, Ordering::Relaxed);
                println!("trimmed {before}");
            }
            head.changed().await.unwrap();
        }
    }));
    for t in tasks {
        t.await.unwrap();
    }
}

#[derive(Debug, Clone)]
enum Ack {
    Records { count: u64, hash: String },
    Payload { len: u64, hash: String },
}

#[derive(Default)]
struct Acknowledged {
    /// By stream and first position.
    all: BTreeMap<(u8, u64), (u64, Ack)>,
    cycle: u64,
    trimmed: u64,
    maybe_trimmed: u64,
    /// Of the family: records by shard and position, ends, and who was opened.
    kin: BTreeMap<(u32, u64), String>,
    closed: BTreeMap<u32, u64>,
    opened: BTreeSet<u32>,
    forgetting: BTreeSet<u32>,
    forgot: BTreeSet<u32>,
}

impl Acknowledged {
    fn line(&mut self, line: &str) {
        let f: Vec<&str> = line.split(' ').collect();
        let num = |i: usize| f[i].parse::<u64>().unwrap();
        let (at, ack) = match f[0] {
            "ack" if f.len() == 5 => {
                ((num(1) as u8, num(2)), Ack::Records { count: num(3), hash: f[4].into() })
            }
            "pay" if f.len() == 5 => {
                ((num(1) as u8, num(2)), Ack::Payload { len: num(3), hash: f[4].into() })
            }
            "kin" if f.len() == 4 => {
                let old = self.kin.insert((num(1) as u32, num(2)), f[3].into());
                return assert!(old.is_none(), "position {} of shard {} was given twice", num(2), num(1));
            }
            "closed" if f.len() == 3 => {
                self.closed.insert(num(1) as u32, num(2));
                return;
            }
            "opened" if f.len() == 2 => {
                self.opened.insert(num(1) as u32);
                return;
            }
            "forgetting" if f.len() == 2 => {
                self.forgetting.insert(num(1) as u32);
                return;
            }
            "forgot" if f.len() == 2 => {
                self.forgot.insert(num(1) as u32);
                return;
            }
            "trimming" if f.len() == 2 => return self.maybe_trimmed = num(1),
            "trimmed" if f.len() == 2 => return self.trimmed = num(1),
            // The test harness's own words, or the last line, cut.
            _ => return,
        };
        if let Some((cycle, old)) = self.all.insert(at, (self.cycle, ack)) {
            let now = self.cycle;
            panic!(
                "position {} of stream {} was given in cycle {cycle} ({old:?}) and again in {now}: {line}",
                at.1, at.0
            );
        }
    }
}

fn run_child(dir: &Path, start: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child", "--nocapture", "--test-threads=1"])
        .env("RUSHES_CRASH_DIR", dir)
        .env("RUSHES_CRASH_START", start.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

async fn compare(log: &SharedLog, acks: &Acknowledged) {
    for n in 1..=STREAMS {
        let s = shard(n);
        let Ok(head) = log.watch(s) else {
            assert!(acks.all.keys().all(|k| k.0 != n), "stream {n} is gone");
            continue;
        };
        let oldest = head.borrow().oldest;
        if n == TRIMMED {
            assert!(oldest >= acks.trimmed && oldest <= acks.maybe_trimmed.max(acks.trimmed));
        } else {
            assert_eq!(oldest, 0);
        }
        let mut found: BTreeMap<u64, Item> = BTreeMap::new();
        let mut seen = HashSet::new();
        let mut last: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        let (mut from, mut before, mut arrival) = (oldest, None, Timestamp(0));
        loop {
            let page = log.read(s, from, 1000, 1 << 20).await.unwrap();
            if page.items.is_empty() {
                break;
            }
            from = page.next;
            for i in page.items {
                let (position, at, id) = match &i {
                    Item::Record(r) => (r.position, r.arrival, r.data.slice(..24)),
                    Item::Payload(p) => (p.position, p.arrival, p.index.clone()),
                };
                assert!(Some(position) > before && position >= oldest, "out of order");
                assert!(at >= arrival, "arrival fell");
                (before, arrival) = (Some(position), at);
                let word = |i: usize| u64::from_le_bytes(id[8 * i..8 * i + 8].try_into().unwrap());
                assert!(seen.insert(id.clone()), "there twice");
                let writer = (word(0), word(1));
                assert!(last.insert(writer, word(2)).is_none_or(|l| l < word(2)), "a writer's order changed");
                found.insert(position, i);
            }
        }
        let listed = log.payloads(s, Query::Positions(0, u64::MAX), usize::MAX, false).await.unwrap();
        let payloads: Vec<u64> = found
            .values()
            .filter_map(|i| if let Item::Payload(p) = i { Some(p.position) } else { None })
            .collect();
        assert_eq!(listed.iter().map(|p| p.position).collect::<Vec<_>>(), payloads);
        for ((_, first), (_, ack)) in acks.all.range((n, oldest)..(n + 1, 0)) {
            match ack {
                Ack::Records { count, hash: want } => {
                    let records: Vec<&[u8]> = (*first..first + count)
                        .map(|p| match found.get(&p) {
                            Some(Item::Record(r)) => &r.data[..],
                            other => {
                                panic!("{p} of stream {n} was acknowledged as a record, and is {other:?}")
                            }
                        })
                        .collect();
                    assert_eq!(hash(&records), *want, "{first} of stream {n}");
                }
                Ack::Payload { len, hash: want } => match found.get(first) {
                    Some(Item::Payload(p)) => {
                        assert_eq!(p.len, *len);
                        let data = log.read_payload(p, 0..p.len).await.unwrap();
                        assert_eq!(hash(&[&data]), *want, "payload {first} of stream {n}");
                    }
                    other => panic!("{first} of stream {n} was acknowledged as a payload, and is {other:?}"),
                },
            }
        }
    }
}

async fn compare_family(log: &SharedLog, acks: &Acknowledged) {
    let there: BTreeMap<u32, Vec<u32>> = match log.shards(stream(FAMILY)).await {
        Ok(all) => all.into_iter().map(|(id, parents)| (id.shard, parents)).collect(),
        Err(_) => BTreeMap::new(),
    };
    for s in acks.opened.iter().chain(acks.closed.keys()).chain(acks.kin.keys().map(|k| &k.0)) {
        assert!(there.contains_key(s) || acks.forgetting.contains(s), "shard {s} is gone");
    }
    for s in &acks.forgot {
        assert!(!there.contains_key(s), "shard {s} was forgotten and is back");
        let again = log.open_shard(kin(*s), &[]).await;
        assert!(matches!(again, Err(LogError::Refused(_))), "shard {s}: {again:?}");
    }
    let mut seen = HashSet::new();
    for (s, of) in there {
        assert_eq!(of, parents(s), "the parents of {s}");
        for p in of {
            match log.watch(kin(p)) {
                Ok(head) => assert!(head.borrow().closed, "{s} is open, and its parent {p}"),
                Err(e) => assert!(acks.forgetting.contains(&p), "the parent {p} of {s}: {e}"),
            }
        }
        let head = *log.watch(kin(s)).unwrap().borrow();
        if let Some(end) = acks.closed.get(&s) {
            assert!(head.closed && head.next == *end, "{s} was closed at {end}: {head:?}");
        }
        assert!(head.oldest == 0 || acks.forgetting.contains(&s), "{s} was trimmed: {head:?}");
        let (mut from, mut found) = (head.oldest, BTreeMap::new());
        while from < head.next {
            let page = log.read(kin(s), from, 1000, 1 << 20).await.unwrap();
            from = page.next;
            for i in page.items {
                let Item::Record(r) = i else { panic!("{i:?}") };
                assert!(seen.insert(r.data.slice(..24)), "there twice");
                found.insert(r.position, hash(&[&r.data]));
            }
        }
        for ((_, position), hash) in acks.kin.range((s, head.oldest)..(s + 1, 0)) {
            assert_eq!(found.get(position), Some(hash), "{position} of shard {s}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_acknowledged_survives_kill_9() {
    if std::env::var_os("RUSHES_CRASH_DIR").is_some() {
        return;
    }
    let cycles = if std::env::var_os("RUSHES_SOAK").is_some() { 1000 } else { 25 };
    let random = World::real("/").random16();
    let mut dice = u64::from_le_bytes(random[..8].try_into().unwrap());
    println!("dice {dice}");
    let mut dir = tempfile::tempdir().unwrap();
    let mut acks = Acknowledged::default();
    let (mut total, mut largest, mut generations, mut forgotten) = (0, 0, 0, 0);
    for cycle in 0..cycles {
        if cycle % 9 == 0 {
            total += acks.all.len();
            dir = tempfile::tempdir().unwrap();
            acks = Acknowledged::default();
        }
        let path = dir.path().to_owned();
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        // Killed after so many lines: any moment of the load, however fast the disk is.
        let lines = dice % 900;
        let mut child = run_child(&path, cycle);
        let out = child.stdout.take().unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let mut said: Vec<String> = Vec::new();
            let mut reader = BufReader::new(out);
            let mut ready = false;
            let mut killed = false;
            let mut line = String::new();
            // A line that was cut off has no end, and was not said.
            while matches!(reader.read_line(&mut line), Ok(n) if n > 0) && line.ends_with('\n') {
                ready |= line.trim_end() == "ready";
                said.push(std::mem::take(&mut line).trim_end().to_owned());
                if ready && !killed && said.len() as u64 > lines {
                    child.kill().unwrap();
                    killed = true;
                }
            }
            child.wait().unwrap();
            assert!(killed, "the child ended by itself: {said:?}");
            said
        });
        acks.cycle = cycle;
        for line in read.await.unwrap() {
            acks.line(&line);
        }
        let (log, catalog) = open(&path).await;
        let shared: SharedLog = log.clone();
        compare(&shared, &acks).await;
        compare_family(&shared, &acks).await;
        generations = generations.max(acks.closed.len());
        forgotten = forgotten.max(acks.forgot.len());
        largest = largest.max(acks.all.len());
        match cycle % 4 {
            // What a restart finds is what the restart after it finds, whether or not it was moved to segments.
            1 => {
                log.flush().await.unwrap();
                compare(&shared, &acks).await;
                compare_family(&shared, &acks).await;
            }
            2 => log.shutdown().await.unwrap(),
            _ => {}
        }
        drop((log, shared));
        // The log's tasks were told to end, and hold the catalog until they do.
        while Arc::strong_count(&catalog) > 1 {
            tokio::task::yield_now().await;
        }
    }
    total += acks.all.len();
    println!("{total} acknowledged appends compared over {cycles} cycles, up to {largest} in one folder");
    assert!(total > cycles as usize * 10, "hardly any load");
    assert!(generations > 2, "no shard that was split was merged again");
    assert!(forgotten > 2, "hardly a shard was forgotten");
}
