//! `rushes stream set|pin|unpin|pins`.

use hyper::Method;
use serde_json::{Value, json};

use super::{bytes, segment, short, table, text};
use crate::{
    Failure,
    cli::{PinArgs, SetArgs},
    client::Client,
    units,
};

/// A bound as the API takes it.
fn bound(flag: &str, text: &str, parse: impl Fn(&str) -> Option<Value>) -> Result<Value, Failure> {
    match text {
        "default" => Ok(Value::Null),
        "unlimited" => Ok(json!("unlimited")),
        t => parse(t).ok_or_else(|| {
            let want = match flag {
                "--bytes" => "a size such as 500GB",
                _ => "a time such as 30d or 12h, at most 10y",
            };
            Failure(format!("{flag} {t}: should be {want}, \"unlimited\", or \"default\""))
        }),
    }
}

/// In words.
pub fn words(r: &Value) -> String {
    let age = match r["hours"].as_f64() {
        None => "any age".to_owned(),
        Some(h) if h >= 48.0 => format!("{} days", (h / 2.4).round() / 10.0),
        Some(h) if h >= 2.0 => format!("{} hours", (h * 10.0).round() / 10.0),
        Some(h) => format!("{} minutes", (h * 60.0).round()),
    };
    let size = if r["bytes"].is_null() { "any size".to_owned() } else { bytes(&r["bytes"]) };
    let full = match text(r, "onFull") {
        "refuse" => "then refuses",
        _ => "then overwrites its oldest",
    };
    format!("up to {age} and {size}; {full}")
}

pub async fn set(args: SetArgs) -> Result<(), Failure> {
    let mut r = json!({});
    if let Some(t) = &args.retention {
        r["hours"] = bound("--retention", t, |t| Some(json!(units::age(t)?.as_secs_f64() / 3600.0)))?;
    }
    if let Some(t) = &args.bytes {
        r["bytes"] = bound("--bytes", t, |t| Some(json!(units::size(t)?)))?;
    }
    if let Some(t) = &args.on_full {
        r["onFull"] = if t == "default" { Value::Null } else { json!(t) };
    }
    let path = format!("/v1/streams/{}", segment(&args.name));
    let v = Client::new(&args.client)?.call(Method::PATCH, &path, Some(json!({ "retention": r }))).await?;
    if args.client.json {
        println!("{v:#}");
    } else {
        println!("{} keeps {}", text(&v, "name"), words(&v["retention"]));
    }
    Ok(())
}

pub async fn pin(args: PinArgs) -> Result<(), Failure> {
    let path = format!("/v1/streams/{}/pins", segment(&args.name));
    let body =
        json!({"from": args.from, "to": args.to, "by": args.by, "note": args.note.unwrap_or_default()});
    let v = Client::new(&args.client)?.call(Method::POST, &path, Some(body)).await?;
    if args.client.json {
        println!("{v:#}");
    } else {
        println!("pinned {} to {} as {}", short(text(&v, "from")), short(text(&v, "to")), text(&v, "id"));
    }
    Ok(())
}

pub async fn unpin(name: &str, id: &str, client: &crate::cli::ClientArgs) -> Result<(), Failure> {
    let path = format!("/v1/streams/{}/pins/{}", segment(name), segment(id));
    Client::new(client)?.call(Method::DELETE, &path, None).await?;
    if client.json {
        println!("{}", json!({"unpinned": id}));
    } else {
        println!("unpinned {id}: what is too old or too much goes");
    }
    Ok(())
}

pub async fn pins(name: &str, client: &crate::cli::ClientArgs) -> Result<(), Failure> {
    let path = format!("/v1/streams/{}/pins", segment(name));
    let v = Client::new(client)?.call(Method::GET, &path, None).await?;
    if client.json {
        println!("{v:#}");
        return Ok(());
    }
    let cell = |p: &Value, name: &str| text(p, name).to_owned();
    let rows: Vec<_> = v["pins"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| vec![cell(p, "id"), cell(p, "from"), cell(p, "to"), cell(p, "note")])
        .collect();
    table(&["PIN", "FROM", "TO", "NOTE"], &rows);
    Ok(())
}
