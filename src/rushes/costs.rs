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

/// A unit that has a price.
pub struct Unit {
    /// Its name among the prices.
    pub name: &'static str,
    /// The key of the configuration that says its price.
    pub key: &'static str,
    of: Kind,
    quantity: Quantity,
    /// How much of the quantity one is.
    one: f64,
    /// What it is, as the configuration says it.
    pub doc: &'static str,
}

macro_rules! units {
    ($($name:ident: $one:expr, $kind:ident $quantity:ident, $doc:literal;)*) => {
        /// All of them, in the order in which the configuration documents them: the one place that names them.
        pub const UNITS: &[Unit] = &[$(Unit {
            name: stringify!($name),
            key: concat!("usage.", stringify!($name)),
            of: Kind::$kind,
            quantity: Quantity::$quantity,
            one: $one,
            doc: $doc,
        }),*];
    };
}

units! {
    shard_hour: MS_IN_HOUR, DataStream ShardMs, "An hour of an open shard.";
    put_units_million: 1e6, DataStream PutUnits, "A million PUT payload units: 25 KiB, at least one a record.";
    extended_shard_hour: MS_IN_HOUR, DataStream ExtendedShardMs, "An hour of an open shard whose records are kept for longer than 24 hours.";
    on_demand_hour: MS_IN_HOUR, DataStream OnDemandMs, "An hour of an on-demand stream.";
    on_demand_gb_in: GB / 1024.0, DataStream OnDemandKibIn, "1 GB put into on-demand streams, in steps of 1 KiB.";
    gb_out: GB, DataStream BytesOut, "1 GB read with GetRecords.";
    gb_month: KIB_SECONDS_IN_GB_MONTH, DataStream StoredKibSeconds, "1 GB stored for 30 days.";
    consumer_shard_hour: MS_IN_HOUR, Consumer ShardMs, "An hour of a registered consumer on a shard.";
    consumer_gb_out: GB, Consumer BytesOut, "1 GB pushed to consumers.";
    video_gb_in: GB, VideoStream BytesIn, "1 GB of video stored, whichever way it came.";
    video_gb_out: GB, VideoStream BytesOut, "1 GB of video read (GetMedia and its like, GetClip), exported or watched by WebRTC.";
    video_hls_gb_out: GB, VideoStream HlsBytesOut, "1 GB of video played by HLS or DASH, the console's included.";
    video_gb_month: KIB_SECONDS_IN_GB_MONTH, VideoStream StoredKibSeconds, "1 GB of video stored for 30 days.";
    video_images_million: 1e6, VideoStream Images, "A million images of up to 1080p that GetImages answers with.";
    video_large_images_million: 1e6, VideoStream LargeImages, "A million larger images that GetImages answers with.";
    signaling_channel_month: 1.0, SignalingChannel ActiveMonths, "A signaling channel to which anybody connects in a month.";
    signaling_messages_million: 1e6, SignalingChannel Messages, "A million messages that signaling channels pass on.";
    turn_minutes_thousand: 1e3, TurnServer TurnMinutes, "A thousand minutes in which the TURN server relays for a client.";
}

/// What units cost. Nothing, unless configured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices {
    /// As it is shown, such as `EUR`.
    pub currency: String,
    /// By the units' names; those that cost nothing are missing.
    pub each: BTreeMap<&'static str, f64>,
}

impl Prices {
    fn of(&self, kind: Kind, amounts: &Amounts) -> f64 {
        let cost = |u: &Unit| {
            let each = self.each.get(u.name).filter(|_| u.of == kind)?;
            Some(amounts.of(u.quantity) as f64 / u.one * each)
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
