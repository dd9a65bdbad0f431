//! What the log costs over a bare writer on the same disk. Prints one line of JSON.
//!
//! `logbench throughput|latency [--seconds N] [--dir DIR] [--tiering]`
//!
//! * `throughput`: 64 appenders, each with 32 appends of 1 KiB in flight, against a bare writer that appends 1 MiB and
//!   calls `fdatasync`; the two take turns.
//! * `latency`: 16 appenders with one append of 1 KiB in flight each, against a bare writer that appends 4 KiB and calls
//!   `fdatasync`; p99 of both.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use catalog::SqliteCatalog;
use log::{Limits, LocalLog, Log, StorePolicy};
use seal::{DataKey, LocalKey};
use world::{Clock, ShardId, StreamUid, World};

const APPENDERS: u32 = 64;
const IN_FLIGHT: usize = 32;
const RECORD: usize = 1024;

struct Args {
    what: String,
    seconds: u64,
    dir: PathBuf,
    tiering: bool,
}

fn args() -> Result<Args, String> {
    let mut a = Args { what: String::new(), seconds: 60, dir: std::env::temp_dir(), tiering: false };
    let mut it = std::env::args().skip(1);
    while let Some(x) = it.next() {
        let mut value = || it.next().ok_or(format!("{x} needs a value"));
        match x.as_str() {
            "--seconds" => a.seconds = value()?.parse().map_err(|e| format!("--seconds: {e}"))?,
            "--dir" => a.dir = value()?.into(),
            "--tiering" => a.tiering = true,
            "throughput" | "latency" => a.what = x,
            _ => return Err(format!("{x}: not known")),
        }
    }
    if a.what.is_empty() { Err("say throughput or latency".into()) } else { Ok(a) }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let a = args()?;
    let rt = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let clock = World::real("/").clock;
    let line = rt.block_on(async {
        match a.what.as_str() {
            "throughput" => throughput(&a, &clock).await,
            _ => latency(&a, &clock).await,
        }
    })?;
    println!("{line}");
    Ok(())
}

type Result_<T> = Result<T, Box<dyn std::error::Error>>;

async fn open(dir: &Path, tiering: bool) -> Result_<Arc<LocalLog>> {
    let world = World::real(dir);
    let catalog = Arc::new(SqliteCatalog::open(&dir.join("catalog.db"), world.clone())?);
    let keys = Arc::new(LocalKey::new(DataKey::new(world.random32())));
    let limits = Limits { tiering, journal_backlog: 64 << 30, ..Limits::default() };
    let log = LocalLog::open(world, catalog, keys, limits, StorePolicy::default()).await?;
    let stream = StreamUid([1; 16]);
    log.create_stream(stream).await?;
    for shard in 1..APPENDERS {
        log.open_shard(ShardId { stream, shard }, &[]).await?;
    }
    Ok(log)
}

fn record(seed: u32) -> Bytes {
    let mut x = seed.wrapping_mul(2_654_435_761) | 1;
    (0..RECORD)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            x as u8
        })
        .collect::<Vec<u8>>()
        .into()
}

/// Bytes written, and over how long.
async fn log_throughput(
    dir: &Path,
    tiering: bool,
    clock: &Arc<dyn Clock>,
    d: Duration,
) -> Result_<(u64, Duration, u64, f64)> {
    let log = open(dir, tiering).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let bytes = Arc::new(AtomicU64::new(0));
    let (start, cpu) = (clock.monotonic(), cpu());
    let mut tasks = Vec::new();
    for i in 0..APPENDERS as usize * IN_FLIGHT {
        let (log, stop, bytes) = (log.clone(), stop.clone(), bytes.clone());
        let shard = ShardId { stream: StreamUid([1; 16]), shard: i as u32 % APPENDERS };
        let data = record(i as u32);
        tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                log.append(shard, vec![data.clone()]).await?;
                bytes.fetch_add(RECORD as u64, Ordering::Relaxed);
            }
            Ok::<_, log::LogError>(())
        }));
    }
    clock.sleep(d).await;
    stop.store(true, Ordering::Relaxed);
    for t in tasks {
        t.await??;
    }
    let took = clock.monotonic() - start;
    let rounds = log.stats().rounds;
    Ok((bytes.load(Ordering::Relaxed), took, rounds, self::cpu() - cpu))
}

/// Seconds of processor time, user and system, that this process has used.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may hold anything: fields 14 and 15 of proc(5), in ticks of a hundredth.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields.iter().skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn bare(
    dir: &Path,
    block: usize,
    clock: &Arc<dyn Clock>,
    d: Duration,
) -> Result_<(u64, Duration, Vec<Duration>)> {
    let path = dir.join("bare");
    let mut f = std::fs::File::create(&path)?;
    let data: Vec<u8> = record(7).iter().copied().cycle().take(block).collect();
    let start = clock.monotonic();
    let (mut bytes, mut each) = (0, Vec::new());
    loop {
        let t = clock.monotonic();
        if t - start >= d {
            break;
        }
        f.write_all(&data)?;
        f.sync_data()?;
        bytes += block as u64;
        each.push(clock.monotonic() - t);
    }
    let took = clock.monotonic() - start;
    std::fs::remove_file(&path)?;
    Ok((bytes, took, each))
}

fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}

async fn throughput(a: &Args, clock: &Arc<dyn Clock>) -> Result_<String> {
    // Turns of at most ten seconds, so that a disk whose speed drifts treats both alike.
    let turns = a.seconds.div_ceil(10).max(1);
    let d = Duration::from_secs_f64(a.seconds as f64 / turns as f64);
    let (mut ours, mut theirs) = ((0, Duration::ZERO), (0, Duration::ZERO));
    let (mut rounds, mut used) = (0, 0.0);
    for turn in 0..turns {
        let dir = tempfile::tempdir_in(&a.dir)?;
        eprintln!("turn {} of {turns}", turn + 1);
        let (b, t, _) = bare(dir.path(), 1 << 20, clock, d)?;
        theirs = (theirs.0 + b, theirs.1 + t);
        let (b, t, r, c) = log_throughput(dir.path(), a.tiering, clock, d).await?;
        ours = (ours.0 + b, ours.1 + t);
        rounds += r;
        used += c;
    }
    let (o, t) = (rate(ours.0, ours.1), rate(theirs.0, theirs.1));
    Ok(format!(
        "{{\"figure\":\"log throughput\",\"seconds\":{},\"tiering\":{},\"records_per_s\":{:.0},\"mb_per_s\":{o:.1},\"bare_mb_per_s\":{t:.1},\"ratio\":{:.3},\"kib_per_round\":{},\"cpu_us_per_record\":{:.2}}}",
        a.seconds,
        a.tiering,
        ours.0 as f64 / RECORD as f64 / ours.1.as_secs_f64(),
        o / t,
        ours.0 / 1024 / rounds.max(1),
        used * 1e6 / (ours.0 as f64 / RECORD as f64).max(1.0),
    ))
}

fn p(each: &mut [Duration], q: f64) -> f64 {
    each.sort_unstable();
    let i = ((each.len() as f64 * q) as usize).min(each.len().saturating_sub(1));
    each.get(i).map_or(0.0, |d| d.as_secs_f64() * 1e3)
}

async fn latency(a: &Args, clock: &Arc<dyn Clock>) -> Result_<String> {
    // Short turns: the tail of both is made by whatever else the machine does.
    let turns = a.seconds.div_ceil(2).max(1);
    let d = Duration::from_secs_f64(a.seconds as f64 / turns as f64);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        let dir = tempfile::tempdir_in(&a.dir)?;
        theirs.extend(bare(dir.path(), 4096, clock, d)?.2);
        let log = open(dir.path(), a.tiering).await?;
        let start = clock.monotonic();
        let mut tasks = Vec::new();
        for i in 0..16 {
            let (log, clock, data) = (log.clone(), clock.clone(), record(i));
            let shard = ShardId { stream: StreamUid([1; 16]), shard: i };
            tasks.push(tokio::spawn(async move {
                let mut each = Vec::new();
                while clock.monotonic() - start < d {
                    let t = clock.monotonic();
                    log.append(shard, vec![data.clone()]).await?;
                    each.push(clock.monotonic() - t);
                }
                Ok::<_, log::LogError>(each)
            }));
        }
        for t in tasks {
            ours.extend(t.await??);
        }
    }
    let (o50, o99) = (p(&mut ours, 0.5), p(&mut ours, 0.99));
    let (t50, t99) = (p(&mut theirs, 0.5), p(&mut theirs, 0.99));
    Ok(format!(
        "{{\"figure\":\"log latency\",\"seconds\":{},\"appends\":{},\"p50_ms\":{o50:.3},\"p99_ms\":{o99:.3},\"bare_p50_ms\":{t50:.3},\"bare_p99_ms\":{t99:.3},\"ratio_p99\":{:.2}}}",
        a.seconds,
        ours.len(),
        o99 / t99,
    ))
}
