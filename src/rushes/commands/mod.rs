//! What people type. Each command is one call of `docs/api.md` and a few lines of text.

pub mod camera;
pub mod catalog;
pub mod data;
pub mod export;
pub mod import;
pub mod key;
pub mod link;
pub mod retention;
pub mod segment;
pub mod stream;
mod tail;
pub mod usage;
pub mod verify;

use serde_json::Value;

/// A path segment, escaped.
fn segment(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// `?a=b&c=d` of what is there.
fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let all: Vec<_> = pairs.iter().filter_map(|(k, v)| v.map(|v| format!("{k}={}", segment(v)))).collect();
    if all.is_empty() { String::new() } else { format!("?{}", all.join("&")) }
}

fn text<'v>(v: &'v Value, name: &str) -> &'v str {
    v[name].as_str().unwrap_or("")
}

fn time(t: world::Timestamp) -> String {
    wire::time::format(t)
}

/// A time without its microseconds.
fn short(t: &str) -> String {
    t.split_once('.').map_or(t.to_owned(), |(s, _)| format!("{s}Z"))
}

fn bytes(n: &Value) -> String {
    let mut x = n.as_f64().unwrap_or(0.0);
    for unit in ["B", "kB", "MB", "GB"] {
        if x < 1000.0 {
            return if unit == "B" { format!("{x:.0} {unit}") } else { format!("{x:.1} {unit}") };
        }
        x /= 1000.0;
    }
    format!("{x:.1} TB")
}

/// Columns, as wide as they need.
fn table(head: &[&str], rows: &[Vec<String>]) {
    let wide = |i: usize| rows.iter().map(|r| r[i].chars().count()).chain([head[i].len()]).max().unwrap_or(0);
    let widths: Vec<_> = (0..head.len()).map(wide).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<_> = cells.iter().zip(&widths).map(|(c, w)| format!("{c:w$}")).collect();
        println!("{}", padded.join("  ").trim_end());
    };
    line(head.to_vec());
    rows.iter().for_each(|r| line(r.iter().map(String::as_str).collect()));
}

fn tracks(v: &Value) -> String {
    let one = |t: &Value| match text(t, "kind") {
        "video" => format!("{} {}×{}", text(t, "codecName"), t["width"], t["height"]),
        _ => text(t, "codecName").to_owned(),
    };
    v["tracks"].as_array().map(|a| a.iter().map(one).collect::<Vec<_>>().join(", ")).unwrap_or_default()
}

fn recorded(v: &Value) -> Vec<String> {
    match &v["recorded"] {
        Value::Null => vec!["nothing yet".into(), String::new(), String::new()],
        r => vec![short(text(r, "from")), short(text(r, "to")), bytes(&r["bytes"])],
    }
}
