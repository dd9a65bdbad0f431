//! Live video's figures: one line of JSON each.
//!
//! - `live viewers WHEP TOKEN COUNT SECONDS`: so many viewers that do ICE and DTLS and then only count packets. Says `{}` once
//!   all are there, and what they got in the time that follows.
//! - `live relay WHIP WHEP TOKEN SECONDS`: a publisher and a viewer; from packet in to packet out.
//! - `live parts RTSP SECONDS`: a publisher by RTSP and a player of low latency; from a part's last picture in
//!   to the part out. The address of the media playlist comes by the standard input.

/// The server's, as a browser has one of its own.
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../../../src/rtc/crypto/mod.rs"]
mod crypto;
mod http;
mod parts;
mod peer;
mod picture;
mod relay;
mod viewers;

pub type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["viewers", whep, token, count, seconds] => viewers::run(whep, token, count.parse()?, seconds.parse()?),
        ["relay", whip, whep, token, seconds] => relay::run(whip, whep, token, seconds.parse()?),
        ["parts", rtsp, seconds] => parts::run(rtsp, seconds.parse()?),
        _ => Err("live viewers WHEP TOKEN COUNT SECONDS | relay WHIP WHEP TOKEN SECONDS | parts RTSP PLAYLIST SECONDS".into()),
    }
}

/// Quantiles of milliseconds, and how many there are.
pub fn summary(mut ms: Vec<f64>) -> serde_json::Value {
    ms.sort_by(f64::total_cmp);
    let quantile = |q: f64| ms.get((ms.len().saturating_sub(1) as f64 * q).round() as usize);
    serde_json::json!({
        "count": ms.len(), "p50_ms": quantile(0.5), "p90_ms": quantile(0.9), "p99_ms": quantile(0.99), "max_ms": ms.last(),
    })
}
