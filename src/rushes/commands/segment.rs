//! `rushes segment`: what is in segments, for support and for who writes tools.

use catalog::{SegmentRow, SegmentState};
use log::{SegmentEntry, SegmentRun};
use serde_json::{Value, json};
use world::{StreamUid, Timestamp};

use super::time;
use crate::{
    Failure,
    cli::{FolderArgs, SegmentCommand},
    visit::{self, Visited},
};

pub async fn run(c: SegmentCommand) -> Result<(), Failure> {
    match c {
        SegmentCommand::List(args) => list(&args).await,
        SegmentCommand::Show { id, entries, folder } => show(&id, entries, &folder).await,
        SegmentCommand::Dump { id, folder } => dump(&id, &folder).await,
    }
}

fn state(s: SegmentState) -> &'static str {
    match s {
        SegmentState::Local => "local",
        SegmentState::Stored => "stored",
    }
}

fn span(s: (Timestamp, Timestamp)) -> Value {
    json!({"from": time(s.0), "to": time(s.1)})
}

fn row(r: &SegmentRow) -> Value {
    json!({
        "id": log::segment_id(&r.id), "state": state(r.state), "bytes": r.bytes, "indexAt": r.footer,
        "finished": time(r.created), "name": log::segment_name(&r.id),
    })
}

fn run_json(r: &SegmentRun) -> Value {
    json!({
        "stream": r.shard.stream.to_string(), "shard": r.shard.shard,
        "positions": {"first": r.positions.0, "end": r.positions.1},
        "arrival": span(r.arrival), "producer": r.producer.map(span), "bytes": r.bytes, "pages": r.pages, "live": r.live,
    })
}

fn entry_json(e: &SegmentEntry) -> Value {
    let extents: Vec<_> = e.extents.iter().map(|x| json!({"offset": x.0, "bytes": x.1})).collect();
    json!({
        "kind": if e.plain.is_some() { "payload" } else { "batch" },
        "stream": e.shard.stream.to_string(), "shard": e.shard.shard,
        "positions": {"first": e.positions.0, "end": e.positions.1}, "arrival": time(e.arrival),
        "producer": e.producer.map(span), "plainBytes": e.plain, "extents": extents,
        "keyGeneration": e.generation, "crc32c": format!("{:08x}", e.crc),
    })
}

async fn list(args: &FolderArgs) -> Result<(), Failure> {
    let v = visit::open(args).await?;
    let (mut after, mut first) = (None, true);
    if args.json {
        print!("{{\"segments\":[");
    } else {
        println!("{:32}  {:6}  {:>9}  {:>5}  FROM                  TO", "ID", "STATE", "SIZE", "RUNS");
    }
    loop {
        let rows = v.archive.segments(after).await.map_err(Failure::new)?;
        let Some(last) = rows.last() else { break };
        after = Some(last.id);
        for r in rows {
            // One that cannot be opened is listed without what is in it.
            let runs = v.archive.segment(r.id).await;
            let runs = runs.as_ref().ok().and_then(|f| f.as_ref()).map(|(_, runs)| runs);
            let arrival = runs.and_then(|runs| {
                let from = runs.iter().map(|r| r.arrival.0).min()?;
                Some((from, runs.iter().map(|r| r.arrival.1).max()?))
            });
            if args.json {
                let mut j = row(&r);
                j["runs"] = json!(runs.map(Vec::len));
                j["arrival"] = json!(arrival.map(span));
                print!("{}\n{j}", if first { "" } else { "," });
            } else {
                let short = |t: Timestamp| super::short(&time(t));
                println!(
                    "{}  {:6}  {:>9}  {:>5}  {:20}  {}",
                    log::segment_id(&r.id),
                    state(r.state),
                    super::bytes(&json!(r.bytes)),
                    runs.map_or("?".into(), |r| r.len().to_string()),
                    arrival.map_or(String::new(), |a| short(a.0)),
                    arrival.map_or(String::new(), |a| short(a.1)),
                );
            }
            first = false;
        }
    }
    if args.json {
        println!("]}}");
    }
    Ok(())
}

async fn find(v: &Visited, id: &str) -> Result<(SegmentRow, Vec<SegmentRun>), Failure> {
    let wrong = || {
        Failure(format!(
            "{id:?} is not a segment's id: 32 hexadecimal digits, as `rushes segment list` prints them"
        ))
    };
    let uid: StreamUid = id.parse().map_err(|_| wrong())?;
    let found = v.archive.segment(uid.0).await.map_err(Failure::new)?;
    found.ok_or_else(|| Failure(format!("the catalog knows no segment {id}")))
}

async fn show(id: &str, entries: bool, args: &FolderArgs) -> Result<(), Failure> {
    let v = visit::open(args).await?;
    let (r, runs) = find(&v, id).await?;
    if args.json {
        let mut j = row(&r);
        j["runs"] = runs.iter().map(run_json).collect();
        if entries {
            let mut all = Vec::new();
            v.archive
                .entries(&r, &mut |e| {
                    all.push(entry_json(&e));
                    true
                })
                .map_err(Failure::new)?;
            j["entries"] = all.into();
        }
        println!("{j}");
        return Ok(());
    }
    println!(
        "{}\n{}, {}, finished {}, index at {}\n",
        log::segment_name(&r.id),
        state(r.state),
        super::bytes(&json!(r.bytes)),
        time(r.created),
        r.footer
    );
    let span = |s: (Timestamp, Timestamp)| format!("{} to {}", time(s.0), time(s.1));
    for r in &runs {
        println!(
            "stream {} shard {}{}\n  positions {} to {}, {} in blocks, {} pages of index\n  arrived {}{}",
            r.shard.stream,
            r.shard.shard,
            if r.live { "" } else { "  (not referred to any more)" },
            r.positions.0,
            r.positions.1.saturating_sub(1),
            super::bytes(&json!(r.bytes)),
            r.pages,
            span(r.arrival),
            r.producer.map_or(String::new(), |p| format!("\n  recorded {} by the producer's clock", span(p)))
        );
    }
    if entries {
        println!("\n{:>12}  {:7}  {:27}  {:>9}  AT", "POSITION", "KIND", "ARRIVED", "SIZE");
        v.archive
            .entries(&r, &mut |e| {
                let bytes: u64 = e.extents.iter().map(|x| x.1).sum();
                let kind = if e.plain.is_some() { "payload" } else { "batch" };
                let at = e.extents.first().map_or(0, |x| x.0);
                println!(
                    "{:>12}  {kind:7}  {:27}  {:>9}  {at}",
                    e.positions.0,
                    time(e.arrival),
                    super::bytes(&json!(bytes))
                );
                true
            })
            .map_err(Failure::new)?;
    }
    Ok(())
}

async fn dump(id: &str, args: &FolderArgs) -> Result<(), Failure> {
    let v = visit::open(args).await?;
    let (r, runs) = find(&v, id).await?;
    println!("{}", json!({"segment": row(&r)}));
    runs.iter().for_each(|r| println!("{}", json!({"run": run_json(r)})));
    v.archive
        .entries(&r, &mut |e| {
            println!("{}", json!({"entry": entry_json(&e)}));
            true
        })
        .map_err(Failure::new)
}
