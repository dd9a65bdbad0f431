//! `rushes stream tail`: the records of all shards, through splits and merges.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{data::Kinesis, text};
use crate::Failure;

/// Between two looks at a shard: a shard answers five times a second.
const LOOK: Duration = Duration::from_millis(250);
/// How often the rate is said, to a person.
const RATE: Duration = Duration::from_secs(5);
/// Colours of shards.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

struct Reader {
    iterator: String,
    /// Where it began.
    begin: Value,
    /// The last number that was read.
    last: Option<String>,
}

/// Which shards follow which, and how far they are read.
#[derive(Default)]
struct Lineage {
    /// Of every shard that there is, its parents.
    parents: BTreeMap<String, Vec<String>>,
    /// Being read.
    open: BTreeSet<String>,
    /// To be read once their parents are.
    waiting: BTreeSet<String>,
    /// Read to their ends.
    ended: BTreeSet<String>,
}

impl Lineage {
    /// A shard is read to its end: `children` come after it.
    fn end(&mut self, shard: &str, children: impl Iterator<Item = String>) {
        self.open.remove(shard);
        self.ended.insert(shard.to_owned());
        // A child of two parents is told of by both.
        let new = children.filter(|c| !self.open.contains(c) && !self.ended.contains(c)).collect::<Vec<_>>();
        self.waiting.extend(new);
    }

    /// Takes out those that wait and whose parents have nothing any more that is to be read.
    fn ready(&mut self) -> Vec<String> {
        let ready = self.waiting.iter().filter(|c| !self.ancestors_unread(c)).cloned().collect::<Vec<_>>();
        for c in &ready {
            self.waiting.remove(c);
            self.open.insert(c.clone());
        }
        ready
    }

    /// Whether something before a shard is still read, or will be. What was there before we began is neither.
    fn ancestors_unread(&self, shard: &str) -> bool {
        let of = |s: &str| self.parents.get(s).into_iter().flatten();
        let (mut rest, mut seen) = (of(shard).collect::<Vec<_>>(), BTreeSet::new());
        while let Some(p) = rest.pop() {
            if self.open.contains(p) || self.waiting.contains(p) {
                return true;
            }
            if !self.ended.contains(p) && seen.insert(p) {
                rest.extend(of(p));
            }
        }
        false
    }
}

pub async fn run(k: &Kinesis, name: &str, from: &str, no_follow: bool, json: bool) -> Result<(), Failure> {
    let (filter, begin) = match from {
        "latest" => (json!({"Type": "AT_LATEST"}), json!({"ShardIteratorType": "LATEST"})),
        "oldest" => (json!({"Type": "AT_TRIM_HORIZON"}), json!({"ShardIteratorType": "TRIM_HORIZON"})),
        t => {
            let t = wire::time::parse(t).map_err(|e| Failure(format!("--from: {e}, latest or oldest")))?;
            let seconds = t.millis() as f64 / 1000.0;
            (
                json!({"Type": "AT_TIMESTAMP", "Timestamp": seconds}),
                json!({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": seconds}),
            )
        }
    };
    let mut open = BTreeMap::new();
    for s in k.shards(name, filter).await? {
        let id = text(&s, "ShardId").to_owned();
        let iterator = iterator(k, name, &id, begin.clone()).await?;
        open.insert(id, Reader { iterator, begin: begin.clone(), last: None });
    }
    let mut lineage = Lineage { open: open.keys().cloned().collect(), ..<_>::default() };
    let colour = std::io::stdout().is_terminal();
    let person = !json && std::io::stderr().is_terminal();
    let clock = k.world.clock.clone();
    let (mut count, mut bytes, mut said) = (0u64, 0u64, clock.monotonic());
    loop {
        let (mut idle, mut refused, mut ends) = (true, false, false);
        for id in open.keys().cloned().collect::<Vec<_>>() {
            let Some(reader) = open.get_mut(&id) else { continue };
            let page = match k.call("GetRecords", json!({"ShardIterator": reader.iterator})).await {
                Ok(page) => page,
                Err(e) if e.code == "ProvisionedThroughputExceededException" => {
                    (idle, refused) = (false, true);
                    continue;
                }
                Err(e) if e.code == "ExpiredIteratorException" => {
                    let at = match &reader.last {
                        Some(n) => {
                            json!({"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": n})
                        }
                        None => reader.begin.clone(),
                    };
                    reader.iterator = iterator(k, name, &id, at).await?;
                    idle = false;
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            for r in page["Records"].as_array().into_iter().flatten() {
                let data = STANDARD.decode(text(r, "Data")).unwrap_or_default();
                (count, bytes) = (count + 1, bytes + data.len() as u64);
                reader.last = Some(text(r, "SequenceNumber").to_owned());
                if !print(&id, r, &data, json, colour) {
                    // Nobody reads our output any more.
                    return Ok(());
                }
            }
            idle &= page["MillisBehindLatest"].as_i64() == Some(0);
            match page["NextShardIterator"].as_str() {
                Some(next) => reader.iterator = next.to_owned(),
                None => {
                    (idle, ends) = (false, true);
                    open.remove(&id);
                    let children = page["ChildShards"].as_array().into_iter().flatten();
                    lineage.end(&id, children.map(|c| text(c, "ShardId").to_owned()));
                }
            }
        }
        if ends {
            let all = k.shards(name, json!({"Type": "FROM_TRIM_HORIZON"})).await?;
            let parents = |s: &Value| {
                let ids =
                    ["ParentShardId", "AdjacentParentShardId"].map(|p| s[p].as_str().map(str::to_owned));
                ids.into_iter().flatten().collect()
            };
            lineage.parents = all.iter().map(|s| (text(s, "ShardId").to_owned(), parents(s))).collect();
        }
        for id in lineage.ready() {
            let begin = json!({"ShardIteratorType": "TRIM_HORIZON"});
            let iterator = iterator(k, name, &id, begin.clone()).await?;
            open.insert(id, Reader { iterator, begin, last: None });
            idle = false;
        }
        if idle && no_follow {
            return Ok(());
        }
        if !idle && no_follow && !refused {
            continue;
        }
        let now = clock.monotonic();
        if person && now - said >= RATE {
            let s = (now - said).as_secs_f64();
            eprintln!(
                "{:.1} records/s, {:.1} kB/s, {} shards",
                count as f64 / s,
                bytes as f64 / s / 1000.0,
                open.len()
            );
            (count, bytes, said) = (0, 0, now);
        }
        clock.sleep(LOOK).await;
    }
}

async fn iterator(k: &Kinesis, name: &str, shard: &str, mut at: Value) -> Result<String, Failure> {
    (at["StreamName"], at["ShardId"]) = (json!(name), json!(shard));
    loop {
        match k.call("GetShardIterator", at.clone()).await {
            Ok(v) => return Ok(text(&v, "ShardIterator").to_owned()),
            Err(e) if e.code == "ProvisionedThroughputExceededException" => k.world.clock.sleep(LOOK).await,
            Err(e) => return Err(e.into()),
        }
    }
}

/// Whether somebody still reads it.
fn print(shard: &str, r: &Value, data: &[u8], json: bool, colour: bool) -> bool {
    let mut out = std::io::stdout().lock();
    let written = if json {
        let mut r = r.clone();
        r["ShardId"] = json!(shard);
        writeln!(out, "{r}")
    } else {
        let number: usize = shard.trim_start_matches("shardId-").parse().unwrap_or(0);
        let c = COLOURS[number % COLOURS.len()];
        let (on, off) = if colour { (format!("\x1b[{c}m"), "\x1b[0m") } else { (String::new(), "") };
        // What a terminal would take for an order is shown, not sent.
        let shown: String = String::from_utf8_lossy(data)
            .chars()
            .map(|c| if c.is_control() && c != '\t' { '·' } else { c })
            .collect();
        let key: String = text(r, "PartitionKey").chars().filter(|c| !c.is_control()).collect();
        writeln!(out, "{on}{number:>4}{off}  {key}  {shown}")
    };
    written.and_then(|()| out.flush()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_waits_for_all_that_is_read_before_it() {
        let ids = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let children = |all: &[&str]| ids(all).into_iter();
        // 0 became 2 and 3; 3 and 1 became 4.
        let tree = [("2", vec!["0"]), ("3", vec!["0"]), ("4", vec!["3", "1"])];
        let parents = || tree.iter().map(|(s, p)| ((*s).to_owned(), ids(p))).collect();
        let mut l =
            Lineage { parents: parents(), open: ids(&["0", "1"]).into_iter().collect(), ..<_>::default() };
        l.end("1", children(&["4"]));
        assert!(l.ready().is_empty(), "3 is to be read first, which nobody has told of yet");
        l.end("0", children(&["2", "3"]));
        assert_eq!(l.ready(), ["2", "3"], "and not 4");
        l.end("3", children(&["4"]));
        assert_eq!(l.ready(), ["4"]);
        l.end("4", children(&[]));
        l.end("2", children(&["4"]));
        assert!(l.ready().is_empty(), "nothing twice");
        // What we never read holds up nothing.
        let mut l = Lineage { parents: parents(), open: ids(&["1"]).into_iter().collect(), ..<_>::default() };
        l.end("1", children(&["4"]));
        assert_eq!(l.ready(), ["4"]);
    }
}
