//! Fills a data folder with many fragments, for `make bench`:
//! `archive DIR [--fragments N] [--large N] [--streams N] [--records-mib N] [--journal-mib N] [--start SECONDS]`
//!
//! The folder must have been made by `rushes serve` (it has the master key) and must not be in use. Small fragments have
//! 4 to 16 KiB, large ones 1 MiB; each lasts two seconds of a clock that is moved along. With `--journal-mib` the
//! program ends as if killed, with so much in the journal. `--records-mib` appends records of 1 KiB. Prints one line of JSON:
//! what was appended, and what this process wrote to the disk for it until all of it was in segments.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a benchmark: real time is what passes here, and an error ends it"
)]

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use access::{Gate, actions};
use base64::Engine as _;
use bytes::Bytes;
use catalog::{Catalog, SqliteCatalog};
use log::{Limits, LocalLog, Log as _, StorePolicy};
use media::{AccessUnit, Codec, Framing, Kind, RandomAccess, Track};
use seal::{DataKey, LocalKey};
use usage::Usage;
use video::{Config, Parts, Session, Video};
use world::{Clock, Home, ShardId, StreamUid, Timestamp, World, sim::Dice};

/// Its time is set; waiting takes real time.
struct Moved(AtomicI64);

#[async_trait::async_trait]
impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(SeqCst))
    }
    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.0.load(SeqCst) as u64)
    }
    async fn sleep(&self, d: Duration) {
        tokio::time::sleep(d).await;
    }
}

/// 2026-01-01T00:00:00Z, unless told otherwise: when the first fragment arrives.
const START: i64 = 1_767_225_600;
/// What a fragment lasts, in microseconds.
const STEP: i64 = 2_000_000;

/// x264's parameter sets for 320×180.
const CONFIG: &str =
    "0164000cffe1001a6764000cacd941419f9f011000000300100000030320f142996001000668ebe3cb22c0fdf8f800";

fn track() -> Arc<Track> {
    let config: Vec<u8> =
        (0..CONFIG.len() / 2).map(|i| u8::from_str_radix(&CONFIG[2 * i..2 * i + 2], 16).unwrap()).collect();
    Arc::new(Track {
        id: 1,
        codec: Codec::H264,
        kind: Kind::Video { width: 320, height: 180 },
        timescale: 90_000,
        framing: Framing::Length(4),
        config: config.into(),
    })
}

fn key_frame(dice: &mut Dice, len: usize) -> Bytes {
    let mut data = (len as u32 - 4).to_be_bytes().to_vec();
    data.push(0x65);
    while data.len() < len {
        // No start code, and none to be escaped: every byte has its highest bit set.
        data.extend((dice.roll() | 0x8080_8080_8080_8080).to_le_bytes());
    }
    data.truncate(len);
    data.into()
}

/// A key frame, which closes the fragment that the one before it is.
async fn send(s: &mut Session, start: i64, n: i64, data: Bytes) {
    // Of the track's clock, which began in 1970.
    let pts = (start + n * STEP) * 9 / 100;
    let access = RandomAccess::Idr;
    let unit = AccessUnit { track: 1, pts, dts: Some(pts), duration: None, access, data };
    s.write(unit, Timestamp(start + n * STEP)).await.unwrap();
}

struct Place {
    clock: Arc<Moved>,
    world: World,
    log: Arc<LocalLog>,
    gate: Gate,
    home: Home,
    video: Arc<Video>,
}

impl Place {
    async fn open(dir: &str, start: i64, tiering: bool) -> Place {
        let clock = Arc::new(Moved(AtomicI64::new(start)));
        let world = World { clock: clock.clone(), ..World::real(dir) };
        let key =
            std::fs::read_to_string(format!("{dir}/master.key")).expect("run `rushes serve` on it first");
        let key = base64::engine::general_purpose::STANDARD.decode(key.trim()).unwrap();
        let keys = Arc::new(LocalKey::new(DataKey::new(key.try_into().unwrap())));
        let file = format!("{dir}/catalog.sqlite");
        let catalog: Arc<dyn Catalog> = Arc::new(SqliteCatalog::open(file.as_ref(), world.clone()).unwrap());
        let limits = Limits { tiering, ..Limits::default() };
        let log =
            LocalLog::open(world.clone(), catalog.clone(), keys.clone(), limits, StorePolicy::default())
                .await
                .unwrap();
        let home = Home::default();
        let (gate, _) = Gate::open(world.clone(), catalog.clone(), keys, home.clone(), None).await.unwrap();
        let config = Config::default();
        let (w, h) = (world.clone(), home.clone());
        let usage = Usage::new(world.clone(), catalog.clone());
        let parts =
            Parts { world: w, catalog, log: log.clone(), gate: gate.clone(), home: h, stills: None, usage };
        let video = Video::open(parts, config).await.unwrap();
        Place { clock, world, log, gate, home, video }
    }

    async fn session(&self, name: &str) -> Session {
        let arn = self.home.video_stream(name);
        let permit = self.gate.internal(actions::CREATE_STREAM, &arn);
        self.video.ensure_stream(&permit, name).await.unwrap();
        let mut s = self.video.ingest(self.gate.internal(actions::PUT_MEDIA, &arn), name).await.unwrap();
        s.tracks(vec![track()]).await.unwrap();
        s
    }
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args
        .next()
        .expect("archive DIR [--fragments N] [--large N] [--streams N] [--records-mib N] [--journal-mib N] [--start S]");
    let args: Vec<String> = args.collect();
    let options: HashMap<&str, i64> =
        args.chunks(2).map(|a| (a[0].as_str(), a[1].parse().expect("a number"))).collect();
    let option = |name: &str, usual| options.get(name).copied().unwrap_or(usual);
    let (small, large) = (option("--fragments", 10_000), option("--large", 0));
    let streams = option("--streams", 50).max(1);
    let start = option("--start", START) * 1_000_000;
    let place = Place::open(&dir, start, true).await;
    let begun = Instant::now();

    let mut dice = Dice::new(1);
    let mut sessions = Vec::new();
    for n in 0..streams {
        sessions.push(place.session(&format!("small-{n}")).await);
    }
    let steps = small / streams;
    for n in 0..=steps {
        place.clock.0.store(start + n * STEP, SeqCst);
        let mut round = tokio::task::JoinSet::new();
        for mut s in std::mem::take(&mut sessions) {
            let len = 4096 + dice.below(12 << 10);
            let data = key_frame(&mut dice, len);
            round.spawn(async move {
                send(&mut s, start, n, data).await;
                s
            });
        }
        sessions = round.join_all().await;
        if n % 1000 == 0 {
            eprintln!("{} of {small}", n * streams);
        }
    }
    for s in sessions {
        s.abandon().await.unwrap();
    }
    let mut s = place.session("large").await;
    for n in 0..=large {
        send(&mut s, start, n, key_frame(&mut dice, 1 << 20)).await;
    }
    s.abandon().await.unwrap();
    let mib = |name| (option(name, 0) as u64) << 20;
    let stream = StreamUid(place.world.random16());
    place.log.create_stream(stream).await.unwrap();
    records(&place, stream, mib("--records-mib")).await;
    place.log.flush().await.unwrap();
    let payload = place.log.stats().appended_bytes;
    println!(
        "{{\"small\":{},\"large\":{large},\"seconds\":{:.1},\"payload\":{payload},\"written\":{}}}",
        steps * streams,
        begun.elapsed().as_secs_f64(),
        written()
    );
    place.log.shutdown().await.unwrap();
    drop(place);
    let journal = mib("--journal-mib");
    if journal > 0 {
        // Nothing takes it out of the journal again.
        let place = Place::open(&dir, start + steps * STEP, false).await;
        while place.log.stats().journal_bytes < journal {
            records(&place, stream, 1 << 20).await;
        }
        std::process::abort();
    }
}

/// Batches of 512 records, eight at a time.
async fn records(place: &Place, stream: StreamUid, bytes: u64) {
    let shard = ShardId { stream, shard: 0 };
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let log = place.log.clone();
        tasks.spawn(async move {
            let mut left = bytes / 8;
            while left > 0 {
                let batch = vec![Bytes::from(vec![n; 1024]); (left / 1024).clamp(1, 512) as usize];
                left = left.saturating_sub(batch.len() as u64 * 1024);
                log.append(shard, batch).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
}

/// Bytes that this process caused to be written to the disk.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|l| l.strip_prefix("write_bytes: ")?.parse().ok()).unwrap_or(0)
}
