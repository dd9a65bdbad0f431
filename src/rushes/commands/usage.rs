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
    let is = |kind: &'static str| move |r: &&Value| text(r, "kind") == kind;
    let (video, others): (Vec<_>, Vec<_>) =
        v["rows"].as_array().into_iter().flatten().partition(is("video-stream"));
    let (channels, others): (Vec<_>, Vec<_>) = others.into_iter().partition(is("signaling-channel"));
    let (relays, data): (Vec<_>, Vec<_>) = others.into_iter().partition(is("turn-server"));
    let show = |head: &[&'static str], rows: Vec<&Value>, cells: fn(&Value) -> Vec<String>| {
        let mut head = head.to_vec();
        head.extend(priced.then_some("COST"));
        let cost = |r: &Value| priced.then(|| format!("{:.4}", r["cost"].as_f64().unwrap_or_default()));
        let rows: Vec<Vec<String>> =
            rows.into_iter().map(|r| [cells(r), cost(r).into_iter().collect()].concat()).collect();
        table(&head, &rows);
    };
    if !data.is_empty() || video.is_empty() && channels.is_empty() && relays.is_empty() {
        show(&["STREAM", "CONSUMER", "IN", "UNITS", "OUT", "SHARD HOURS", "STORED GB MONTHS"], data, of_data);
    }
    if !video.is_empty() {
        let head =
            ["VIDEO STREAM", "IN", "OUT", "BY HLS", "IMAGES", "LARGE IMAGES", "STILLS", "STORED GB MONTHS"];
        show(&head, video, of_video);
    }
    if !channels.is_empty() {
        show(&["CHANNEL", "MESSAGES", "ACTIVE MONTHS"], channels, |r| {
            vec![text(r, "stream").to_owned(), count(r, "messages"), count(r, "activeMonths")]
        });
    }
    if !relays.is_empty() {
        show(&["RELAY", "MINUTES"], relays, |r| vec![text(r, "stream").to_owned(), count(r, "turnMinutes")]);
    }
    if let Some(cost) = v["cost"].as_f64() {
        println!("{cost:.4} {} in all, at the prices of this server's configuration", text(&v, "currency"));
    }
    Ok(())
}

fn size(r: &Value, name: &str) -> String {
    if r["used"][name].is_null() { String::new() } else { bytes(&r["used"][name]) }
}

fn count(r: &Value, name: &str) -> String {
    r["used"][name].as_u64().map(|n| n.to_string()).unwrap_or_default()
}

fn gb_months(r: &Value) -> String {
    let used = r["used"]["storedKibSeconds"].as_f64();
    used.map(|k| format!("{:.3}", k * 1024.0 / 1e9 / (30.0 * 86_400.0))).unwrap_or_default()
}

fn of_data(r: &Value) -> Vec<String> {
    let hours = r["used"]["shardMs"].as_f64().map(|ms| format!("{:.2}", ms / 3_600_000.0));
    vec![
        text(r, "stream").to_owned(),
        text(r, "consumer").to_owned(),
        size(r, "bytesIn"),
        count(r, "putUnits"),
        size(r, "bytesOut"),
        hours.unwrap_or_default(),
        gb_months(r),
    ]
}

fn of_video(r: &Value) -> Vec<String> {
    vec![
        text(r, "stream").to_owned(),
        size(r, "bytesIn"),
        size(r, "bytesOut"),
        size(r, "hlsBytesOut"),
        count(r, "images"),
        count(r, "largeImages"),
        count(r, "stills"),
        gb_months(r),
    ]
}
