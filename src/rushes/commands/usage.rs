//! `rushes usage`.

use hyper::Method;
use serde_json::Value;
use world::World;

use super::{bytes, query, short, table, text};
use crate::{Failure, cli::UsageArgs, client::Client, units};

pub async fn run(args: UsageArgs) -> Result<(), Failure> {
    let since = match &args.since {
        None => None,
        Some(text) => Some(match units::age(text) {
            Some(age) => wire::time::format(World::real(".").clock.now() - age),
            None => wire::time::format(
                wire::time::parse(text)
                    .map_err(|e| Failure(format!("--since: {e}, or an age such as 24h or 7d")))?,
            ),
        }),
    };
    let path = format!("/v1/usage{}", query(&[("since", since.as_deref())]));
    let v = Client::new(&args.client)?.call(Method::GET, &path, None).await?;
    if args.client.json {
        println!("{v:#}");
        return Ok(());
    }
    println!("{} to {}", short(text(&v, "since")), short(text(&v, "until")));
    let priced = v["cost"].is_number();
    let mut head = vec!["STREAM", "CONSUMER", "IN", "UNITS", "OUT", "SHARD HOURS", "STORED GB MONTHS"];
    if priced {
        head.push("COST");
    }
    let rows: Vec<_> = v["rows"].as_array().into_iter().flatten().map(|r| row(r, priced)).collect();
    table(&head, &rows);
    if let Some(cost) = v["cost"].as_f64() {
        println!("{cost:.4} {} in all, at the prices of this server's configuration", text(&v, "currency"));
    }
    Ok(())
}

fn row(r: &Value, priced: bool) -> Vec<String> {
    let used = &r["used"];
    let number = |name: &str| used[name].as_f64();
    let size = |name: &str| if used[name].is_null() { String::new() } else { bytes(&used[name]) };
    let hours = number("shardMs").map(|ms| format!("{:.2}", ms / 3_600_000.0));
    let stored = number("storedKibSeconds").map(|k| format!("{:.3}", k * 1024.0 / 1e9 / (30.0 * 86_400.0)));
    let mut cells = vec![
        text(r, "stream").to_owned(),
        text(r, "consumer").to_owned(),
        size("bytesIn"),
        used["putUnits"].as_u64().map(|n| n.to_string()).unwrap_or_default(),
        size("bytesOut"),
        hours.unwrap_or_default(),
        stored.unwrap_or_default(),
    ];
    if priced {
        cells.push(format!("{:.4}", r["cost"].as_f64().unwrap_or_default()));
    }
    cells
}
