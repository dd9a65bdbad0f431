//! `GET /v1/usage`: what was used, and what it would cost at the prices that are configured.

use std::{collections::BTreeMap, sync::Arc};

use access::{Gate, actions};
use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use serde::{Deserialize, Serialize};
use usage::{Amounts, Kind, Quantity, Usage};
use wire::v1::{ApiError, Caller};
use world::{Home, Timestamp};

const GB: f64 = 1e9;
const MS_IN_HOUR: f64 = 3_600_000.0;
/// A month of 30 days.
const KIB_SECONDS_IN_GB_MONTH: f64 = GB / 1024.0 * 30.0 * 86_400.0;

/// A unit that has a price: key, of what, quantity, how much of it is one, what it is.
pub type Unit = (&'static str, Kind, Quantity, f64, &'static str);

/// All of them.
pub const UNITS: &[Unit] = &[
    ("shard_hour", Kind::DataStream, Quantity::ShardMs, MS_IN_HOUR, "An hour of an open shard."),
    (
        "put_units_million",
        Kind::DataStream,
        Quantity::PutUnits,
        1e6,
        "A million PUT payload units: 25 KiB, at least one a record.",
    ),
    (
        "extended_shard_hour",
        Kind::DataStream,
        Quantity::ExtendedShardMs,
        MS_IN_HOUR,
        "An hour of an open shard whose records are kept for longer than 24 hours.",
    ),
    ("on_demand_hour", Kind::DataStream, Quantity::OnDemandMs, MS_IN_HOUR, "An hour of an on-demand stream."),
    (
        "on_demand_gb_in",
        Kind::DataStream,
        Quantity::OnDemandKibIn,
        GB / 1024.0,
        "1 GB put into on-demand streams, in steps of 1 KiB.",
    ),
    ("gb_out", Kind::DataStream, Quantity::BytesOut, GB, "1 GB read with GetRecords."),
    (
        "gb_month",
        Kind::DataStream,
        Quantity::StoredKibSeconds,
        KIB_SECONDS_IN_GB_MONTH,
        "1 GB stored for 30 days.",
    ),
    (
        "consumer_shard_hour",
        Kind::Consumer,
        Quantity::ShardMs,
        MS_IN_HOUR,
        "An hour of a registered consumer on a shard.",
    ),
    ("consumer_gb_out", Kind::Consumer, Quantity::BytesOut, GB, "1 GB pushed to consumers."),
    ("video_gb_in", Kind::VideoStream, Quantity::BytesIn, GB, "1 GB of video stored, whichever way it came."),
    (
        "video_gb_out",
        Kind::VideoStream,
        Quantity::BytesOut,
        GB,
        "1 GB of video read (GetMedia and its like, GetClip), exported or watched by WebRTC.",
    ),
    (
        "video_hls_gb_out",
        Kind::VideoStream,
        Quantity::HlsBytesOut,
        GB,
        "1 GB of video played by HLS or DASH, the console's included.",
    ),
    (
        "video_gb_month",
        Kind::VideoStream,
        Quantity::StoredKibSeconds,
        KIB_SECONDS_IN_GB_MONTH,
        "1 GB of video stored for 30 days.",
    ),
    (
        "video_images_million",
        Kind::VideoStream,
        Quantity::Images,
        1e6,
        "A million images of up to 1080p that GetImages answers with.",
    ),
    (
        "video_large_images_million",
        Kind::VideoStream,
        Quantity::LargeImages,
        1e6,
        "A million larger images that GetImages answers with.",
    ),
    (
        "signaling_channel_month",
        Kind::SignalingChannel,
        Quantity::ActiveMonths,
        1.0,
        "A signaling channel to which anybody connects in a month.",
    ),
    (
        "signaling_messages_million",
        Kind::SignalingChannel,
        Quantity::Messages,
        1e6,
        "A million messages that signaling channels pass on.",
    ),
    (
        "turn_minutes_thousand",
        Kind::TurnServer,
        Quantity::TurnMinutes,
        1e3,
        "A thousand minutes in which the TURN server relays for a client.",
    ),
];

/// What units cost. Nothing, unless configured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices {
    /// As it is shown, such as `EUR`.
    pub currency: String,
    /// By the units' keys; those that cost nothing are missing.
    pub each: BTreeMap<&'static str, f64>,
}

impl Prices {
    fn of(&self, kind: Kind, amounts: &Amounts) -> f64 {
        let cost = |(key, of, quantity, one, _): &Unit| {
            let each = self.each.get(key).filter(|_| *of == kind)?;
            Some(amounts.of(*quantity) as f64 / one * each)
        };
        UNITS.iter().filter_map(cost).sum()
    }
}

struct Shown {
    usage: Usage,
    gate: Gate,
    home: Home,
    prices: Prices,
    now: Arc<dyn world::Clock>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    since: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    kind: Kind,
    stream: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    consumer: String,
    used: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(with = "wire::time::serde_text")]
    since: Timestamp,
    #[serde(with = "wire::time::serde_text")]
    until: Timestamp,
    rows: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
}

/// The route.
pub fn router(usage: Usage, gate: Gate, home: Home, prices: Prices, now: Arc<dyn world::Clock>) -> Router {
    Router::new().route("/v1/usage", get(show)).with_state(Arc::new(Shown { usage, gate, home, prices, now }))
}

async fn show(
    State(s): State<Arc<Shown>>,
    caller: Caller,
    Query(asked): Query<Asked>,
) -> Result<Json<Answer>, ApiError> {
    caller.admit(&s.gate, actions::READ_USAGE, &s.home.own("usage")).await?;
    let until = s.now.now();
    let since = match asked.since {
        None => until - std::time::Duration::from_secs(30 * 86_400),
        Some(t) => wire::time::parse(&t).map_err(|e| ApiError::bad_request(format!("since: {e}")))?,
    };
    let used = s.usage.used(since).await.map_err(|e| ApiError::unavailable(e.to_string()))?;
    let priced = !s.prices.each.is_empty();
    // Streams of one name, one after another, are one line.
    let mut by: BTreeMap<(Kind, String, String), Amounts> = BTreeMap::new();
    for u in used {
        by.entry((u.resource.kind, u.resource.stream, u.resource.consumer)).or_default().add(&u.amounts);
    }
    let row = |((kind, stream, consumer), amounts): ((Kind, String, String), Amounts)| Row {
        cost: priced.then(|| s.prices.of(kind, &amounts)),
        used: amounts.named(),
        kind,
        stream,
        consumer,
    };
    let rows: Vec<Row> = by.into_iter().map(row).collect();
    let cost = priced.then(|| rows.iter().filter_map(|r| r.cost).sum());
    let currency = priced.then(|| s.prices.currency.clone());
    Ok(Json(Answer { since, until, rows, currency, cost }))
}
