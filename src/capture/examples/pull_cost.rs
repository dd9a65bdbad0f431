//! What pulling costs: `pull_cost ENGINE TRANSPORT CAMERAS SECONDS URL` pulls from a URL so many times at once into
//! nothing, and prints one line of JSON with the CPU time of this process, after a warm-up of five seconds.
//! See `docs/decisions/rtsp-pull-by-retina.md`.

use std::sync::Arc;
use std::time::Duration;

use access::{Gate, Permit, actions};
use capture::pull::{self, Engine, Source, Transport};
use capture::{Session, Sink, SinkError};
use media::{AccessUnit, Track};
use world::{Home, Timestamp, World};

struct Nothing;

#[async_trait::async_trait]
impl Sink for Nothing {
    async fn open(&self, _: Permit, _: &str) -> Result<Box<dyn Session>, SinkError> {
        Ok(Box::new(Nothing))
    }
}

#[async_trait::async_trait]
impl Session for Nothing {
    async fn tracks(&mut self, _: Vec<Arc<Track>>) -> Result<(), SinkError> {
        Ok(())
    }
    async fn write(&mut self, _: AccessUnit, _: Timestamp) -> Result<(), SinkError> {
        Ok(())
    }
    async fn discontinuity(&mut self, why: &str) -> Result<(), SinkError> {
        eprintln!("{why}");
        Ok(())
    }
    async fn end(self: Box<Self>) -> Result<(), SinkError> {
        Ok(())
    }
}

/// User and system time of this process in seconds (proc(5): fields 14 and 15, in hundredths).
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|f| f.parse().unwrap_or(0.0))
        .collect();
    (fields[11] + fields[12]) / 100.0
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, engine, transport, cameras, seconds, url] = &args[..] else {
        return Err("pull_cost retina|gstreamer tcp|udp CAMERAS SECONDS URL".into());
    };
    let world = World::real(std::env::temp_dir());
    let catalog = Arc::new(catalog::MemoryCatalog::new(world.clone()));
    let keys = Arc::new(seal::LocalKey::new(seal::DataKey::new(world.random32())));
    let home = Home::default();
    let (gate, _) = Gate::open(world.clone(), catalog, keys, home.clone(), None).await?;
    let transport = if transport == "udp" { Transport::Udp } else { Transport::Tcp };
    let engine = if engine == "gstreamer" { Engine::GStreamer } else { Engine::Retina };
    let source = Source { engine, ..Source::new(url.parse()?, transport, false) };
    let cameras: u32 = cameras.parse()?;
    let sink = Arc::new(Nothing);
    let handles: Vec<_> = (0..cameras)
        .map(|i| {
            let (gate, arn) = (gate.clone(), home.video_stream("x"));
            let permit = Arc::new(move || gate.internal(actions::PUT_MEDIA, &arn));
            pull::spawn(world.clone(), source.clone(), format!("camera-{i}"), permit, sink.clone())
        })
        .collect();
    let counts = || {
        handles.iter().fold((0, 0, 0), |(i, o, b), h| {
            let s = h.status().borrow().clone();
            (i + s.units_in, o + s.units_out, b + s.bytes)
        })
    };
    world.clock.sleep(Duration::from_secs(5)).await;
    let (cpu0, at0, before) = (cpu(), world.clock.monotonic(), counts());
    world.clock.sleep(Duration::from_secs(seconds.parse()?)).await;
    let (cpu1, at1, after) = (cpu(), world.clock.monotonic(), counts());
    let minutes = (at1 - at0).as_secs_f64() / 60.0 * f64::from(cameras);
    println!(
        "{}",
        serde_json::json!({
            "cpuSecondsPerCameraMinute": (cpu1 - cpu0) / minutes,
            "unitsIn": after.0 - before.0,
            "unitsOut": after.1 - before.1,
            "megabitsPerSecond": (after.2 - before.2) as f64 * 8e-6 / (at1 - at0).as_secs_f64() / f64::from(cameras),
        })
    );
    for h in handles {
        h.stop().await;
    }
    Ok(())
}
