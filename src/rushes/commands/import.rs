use std::path::Path;

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use video::units::{self, Record};
use world::Timestamp;

use super::{bytes, query, segment, short};
use crate::{
    Failure,
    cli::ImportArgs,
    client::Client,
    import::{Found, Source},
    progress::Progress,
    serve::Signals,
};

/// Sent at once.
const PIECE: usize = 256 << 10;

/// One file on the stream's time line.
struct Planned {
    source: Source,
    zero: i128,
    range: (Timestamp, Timestamp),
    says: String,
}

/// Puts files into a stream.
pub async fn run(args: ImportArgs) -> Result<(), Failure> {
    let client = Client::new(&args.client)?;
    let mut signals = Signals::new()?;
    let mut at = match &args.start {
        None => None,
        Some(t) => Some(wire::time::parse(t).map_err(|e| Failure(format!("--start: {e}")))?),
    };
    // All of them are looked at before the first is sent.
    let mut plan = Vec::new();
    for file in &args.files {
        let planned = look(file, at)?;
        at = at.map(|_| planned.range.1);
        plan.push((file, planned));
    }
    let mut done = Vec::new();
    for (file, p) in plan {
        let (range, says) = (p.range, p.says.clone());
        let len = p.source.len();
        for l in p.source.left_out() {
            eprintln!("rushes: {}: left out: {l}", file.display());
        }
        let answer = tokio::select! {
            r = send(&client, &args, file, p) => r.map_err(|e| with_rest(e, &done))?,
            () = signals.next() => {
                return Err(with_rest(Failure(format!("stopped within {}; --resume goes on there", file.display())), &done));
            }
        };
        let text = wire::time::format;
        let units = answer["units"].clone();
        if !args.client.json {
            println!(
                "{}: {}, {} to {} (by {says}), {units} units",
                file.display(),
                bytes(&json!(len)),
                short(&text(range.0)),
                short(&text(range.1)),
            );
        }
        done.push(json!({"file": file, "from": text(range.0), "to": text(range.1), "startBy": says, "units": units, "bytes": answer["bytes"]}));
    }
    if args.client.json {
        println!("{:#}", json!({"stream": args.name, "files": done}));
    }
    Ok(())
}

fn with_rest(e: Failure, done: &[Value]) -> Failure {
    match done.len() {
        0 => e,
        n => Failure(format!("{e} (the {n} files before it are imported)")),
    }
}

/// Where a file goes: at `start`, else where it says itself, else so that it ended when it was last written to.
fn look(file: &Path, start: Option<Timestamp>) -> Result<Planned, Failure> {
    let source = Source::open(file)?;
    let t = source.times();
    let ns = |t: Timestamp| i128::from(t.micros()) * 1_000;
    let (zero, says) = match (start, t.zero) {
        (Some(start), _) => (ns(start) - t.shown.0, "--start".to_owned()),
        (None, Some((zero, says))) => (zero, says.to_owned()),
        (None, None) => {
            let at = std::fs::metadata(file).and_then(|m| m.modified()).ok();
            let at = at.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            let at = at.ok_or_else(|| {
                Failure(format!("{}: does not say when it was recorded: give --start", file.display()))
            })?;
            (at.as_nanos() as i128 - t.shown.1, "the file's modification time, taken for its end".to_owned())
        }
    };
    let us = |ns: i128| Timestamp(i64::try_from(ns.div_euclid(1_000)).unwrap_or(i64::MAX));
    let range = (us(zero + t.shown.0), us(zero + t.shown.1));
    if range.0 < Timestamp(0) {
        return Err(Failure(format!("{}: would begin before 1970: give --start", file.display())));
    }
    Ok(Planned { zero, range, says, source })
}

async fn send(client: &Client, args: &ImportArgs, file: &Path, p: Planned) -> Result<Value, Failure> {
    let (from, to) = p.range;
    let text = wire::time::format;
    let path = |from, to| {
        let q = query(&[("from", Some(text(from).as_str())), ("to", Some(text(to).as_str()))]);
        format!("/v1/streams/{}/import{q}", segment(&args.name))
    };
    let have = client.call(Method::GET, &path(from, to), None).await?;
    let mut resume = Vec::new();
    let mut begin = from;
    if !have["recorded"].is_null() {
        let r = &have["recorded"];
        if !args.resume {
            return Err(Failure(format!(
                "{}: stream {:?} has recordings from {} to {} already, where this file would go ({} to {} by {}).\n  \
                 If an import of it was cut off: --resume. Else give another --start, or another stream.",
                file.display(),
                args.name,
                short(super::text(r, "from")),
                short(super::text(r, "to")),
                short(&text(from)),
                short(&text(to)),
                p.says
            )));
        }
        for t in r["tracks"].as_array().into_iter().flatten() {
            if let (Some(id), Some(dts)) = (t["id"].as_u64(), t["lastDts"].as_i64()) {
                resume.push((id, dts));
            }
        }
        begin = wire::time::parse(super::text(r, "to")).map_err(Failure::new)?.min(to);
    }
    let mut progress =
        Progress::new(format!("importing {}", file.display()), p.source.len(), args.client.json);
    let (tx, rx) = mpsc::channel::<(Bytes, u64)>(4);
    let (source, zero) = (p.source, p.zero);
    // Files are read on a thread of their own.
    let reading = tokio::task::spawn_blocking(move || read(source, zero, &resume, &tx));
    let mut read_to = 0;
    let body = ReceiverStream::new(rx).map(move |(b, at)| {
        progress.add(at.saturating_sub(read_to));
        read_to = read_to.max(at);
        Ok::<_, std::convert::Infallible>(Frame::data(b))
    });
    let answer =
        client.send(Method::POST, &path(begin, to), Some(units::MEDIA_TYPE), StreamBody::new(body)).await;
    let read = reading.await.map_err(Failure::new)?;
    match (answer, read) {
        (Ok(answer), Ok(())) => client.json(answer).await,
        (Ok(_), Err(e)) => Err(Failure(format!("{e}; what came before it is imported"))),
        // The reader only knows that nobody listens any more.
        (Err(e), _) => Err(Failure(format!("{}: {e}", file.display()))),
    }
}

/// Reads a file and passes its units on; those that are there already (by the last decode time of each track) are not.
fn read(
    source: Source,
    zero: i128,
    resume: &[(u64, i64)],
    tx: &mpsc::Sender<(Bytes, u64)>,
) -> Result<(), Failure> {
    let gone = |_| Failure("the server takes no more".into());
    let mut out = BytesMut::new();
    let mut at = 0;
    let mut tracks = None;
    let read = source.read(zero, &mut |found| {
        match found {
            Found::Tracks(list) => tracks = Some(list),
            Found::Unit(unit, here) => {
                at = here;
                let last = resume.iter().find(|(id, _)| *id == u64::from(unit.track)).map(|(_, dts)| *dts);
                if last.is_some_and(|last| unit.dts.unwrap_or(unit.pts) <= last) {
                    return Ok(());
                }
                if let Some(list) = tracks.take() {
                    units::encode(&Record::Tracks(list), &mut out);
                }
                units::encode(&Record::Unit(unit), &mut out);
            }
        }
        if out.len() >= PIECE {
            tx.blocking_send((out.split().freeze(), at)).map_err(gone)?;
        }
        Ok(())
    });
    // Also after an error in the file: what came before it is whole.
    units::encode(&Record::End, &mut out);
    let sent = tx.blocking_send((out.freeze(), at)).map_err(gone);
    read.and(sent)
}
