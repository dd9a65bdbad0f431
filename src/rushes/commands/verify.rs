//! `rushes verify`.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use log::{Finding, Report, Seen, Severity, Verify};
use serde_json::{Value, json};
use world::Clock;

use super::time;
use crate::{Failure, cli::VerifyArgs, visit};

/// How often progress is shown on a terminal, and else.
const BAR: Duration = Duration::from_millis(200);
const LINE: Duration = Duration::from_secs(10);

/// Exits with 0: sound, 1: damaged, 2: could not be checked.
pub async fn run(args: VerifyArgs) -> ExitCode {
    match check(args).await {
        Ok(r) if r.damaged > 0 => ExitCode::from(1),
        Ok(r) if r.unchecked > 0 => ExitCode::from(2),
        Ok(_) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("rushes: {e}");
            ExitCode::from(2)
        }
    }
}

async fn check(args: VerifyArgs) -> Result<Report, Failure> {
    let v = visit::open(&args.folder).await?;
    let alone = v.folder.alone();
    let mut show = Show::new(args.folder.json, v.world.clock.clone());
    let bad = v.catalog.integrity().await.map_err(Failure::new)?;
    for what in &bad {
        show.finding(&Finding::damaged("catalog.sqlite", what));
    }
    let done = v.archive.verify(Verify { alone, resume: args.resume }, &mut |s| show.seen(s)).await;
    show.clear();
    let mut report = done.map_err(|e| Failure(format!("{}: {e}", args.folder.data.display())))?;
    report.damaged += bad.len() as u64;
    show.end(&report);
    Ok(report)
}

/// Where findings and progress go.
struct Show {
    json: bool,
    clock: Arc<dyn Clock>,
    begun: Duration,
    shown: Option<Duration>,
    terminal: bool,
    findings: u64,
    /// Looked at when the first was: what a resumed check need not read.
    first: Option<u64>,
}

impl Show {
    fn new(json: bool, clock: Arc<dyn Clock>) -> Show {
        let terminal = std::io::stderr().is_terminal();
        let begun = clock.monotonic();
        if json {
            print!("{{\"findings\":[");
        }
        Show { json, clock, begun, shown: None, terminal, findings: 0, first: None }
    }

    fn seen(&mut self, s: Seen) {
        match s {
            Seen::Finding(f) => self.finding(&f),
            Seen::Progress { done, total } => self.progress(done, total),
        }
    }

    fn finding(&mut self, f: &Finding) {
        self.clear();
        self.findings += 1;
        if self.json {
            let comma = if self.findings > 1 { "," } else { "" };
            print!("{comma}\n{}", as_json(f));
        } else {
            println!("{}", as_text(f));
        }
    }

    fn progress(&mut self, done: u64, total: u64) {
        let now = self.clock.monotonic();
        let first = *self.first.get_or_insert(done);
        let every = if self.terminal { BAR } else { LINE };
        if self.shown.is_some_and(|s| now - s < every) || (!self.terminal && now - self.begun < LINE) {
            return;
        }
        self.shown = Some(now);
        let seconds = (now - self.begun).as_secs_f64();
        let rate = (done - first) as f64 / seconds.max(0.001);
        let left = if rate > 0.0 { (total - done) as f64 / rate } else { 0.0 };
        let part = if total == 0 { 1.0 } else { done as f64 / total as f64 };
        let size = |n: u64| super::bytes(&json!(n));
        let text = format!(
            "{:3.0} %  {} of {}  {}/s  {left:.0} s left",
            part * 100.0,
            size(done),
            size(total),
            size(rate as u64)
        );
        let mut err = std::io::stderr().lock();
        // Progress that nobody sees is no reason to stop.
        let _ = if self.terminal {
            let full = (part * 30.0) as usize;
            write!(err, "\r\x1b[K[{}{}] {text}", "#".repeat(full), " ".repeat(30 - full.min(30)))
        } else {
            writeln!(err, "{text}")
        };
        let _ = err.flush();
    }

    /// Takes the bar away, so that a line can be printed.
    fn clear(&mut self) {
        if self.terminal && self.shown.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }

    fn end(&self, r: &Report) {
        let seconds = (self.clock.monotonic() - self.begun).as_secs_f64();
        if self.json {
            let report = json!({
                "sound": r.damaged == 0 && r.unchecked == 0,
                "segments": r.segments, "resumedSegments": r.resumed, "bytes": r.bytes, "blocks": r.blocks,
                "journalChecked": r.journal, "damaged": r.damaged, "damagedBytes": r.damaged_bytes,
                "unchecked": r.unchecked, "notices": r.notices, "seconds": seconds,
            });
            println!("],\n\"report\":{report}}}");
            return;
        }
        let size = |n: u64| super::bytes(&json!(n));
        let resumed =
            if r.resumed > 0 { format!(", {} known from before", r.resumed) } else { String::new() };
        println!(
            "{} segments{resumed}, {} blocks, {} read in {seconds:.1} s ({}/s)",
            r.segments,
            r.blocks,
            size(r.bytes),
            size((r.bytes as f64 / seconds.max(0.001)) as u64)
        );
        if !r.journal {
            println!("the journal was not checked: a server runs on this folder; stop it to check that, too");
        }
        if r.damaged > 0 {
            println!("DAMAGED: {} places, {}", r.damaged, size(r.damaged_bytes));
        }
        if r.unchecked > 0 {
            println!("{} places could not be checked", r.unchecked);
        }
        if r.damaged == 0 && r.unchecked == 0 {
            println!("sound");
        }
    }
}

fn grave(s: Severity) -> &'static str {
    match s {
        Severity::Notice => "notice",
        Severity::Unchecked => "unchecked",
        Severity::Damage => "damage",
    }
}

fn as_json(f: &Finding) -> Value {
    let span = |s: Option<(world::Timestamp, world::Timestamp)>| match s {
        Some((from, to)) => json!({"from": time(from), "to": time(to)}),
        None => Value::Null,
    };
    json!({
        "severity": grave(f.severity), "place": f.place, "offset": f.offset, "what": f.what,
        "stream": f.shard.map(|s| s.stream.to_string()), "shard": f.shard.map(|s| s.shard),
        "positions": f.positions.map(|(first, end)| json!({"first": first, "end": end})),
        "arrival": span(f.arrival), "producer": span(f.producer), "bytes": f.bytes,
    })
}

fn as_text(f: &Finding) -> String {
    let mut out = format!("{}: {}", grave(f.severity), f.place);
    if let Some(at) = f.offset {
        out += &format!(" at {at}");
    }
    out += &format!(": {}", f.what);
    let mut more = Vec::new();
    if let Some(s) = f.shard {
        more.push(format!("stream {} shard {}", s.stream, s.shard));
    }
    match f.positions {
        Some((first, end)) if end == first + 1 => more.push(format!("position {first}")),
        Some((first, end)) => more.push(format!("positions {first} to {}", end.saturating_sub(1))),
        None => {}
    }
    if let Some((from, to)) = f.arrival {
        more.push(if from == to {
            format!("of {}", time(from))
        } else {
            format!("from {} to {}", time(from), time(to))
        });
    }
    if f.bytes > 0 {
        more.push(super::bytes(&json!(f.bytes)));
    }
    if more.is_empty() { out } else { format!("{out} ({})", more.join(", ")) }
}
