//! The table of keys, and the file that documents them.

use std::sync::LazyLock;

use crate::{Failure, costs::UNITS};

/// One key of the file: its path, its default as written in TOML, and what it means.
#[derive(Clone, Copy)]
pub struct Key {
    pub path: &'static str,
    pub default: &'static str,
    doc: &'static str,
}

const fn key(path: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { path, default, doc }
}

/// Every key there is, by table, in the order in which the file documents them; prices come after their currency.
pub static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let prices = || UNITS.iter().map(|u| key(u.key, "0", u.doc));
    let with_prices = |k: &Key| {
        let more = (k.path == CURRENCY).then(prices);
        std::iter::once(*k).chain(more.into_iter().flatten()).collect::<Vec<_>>()
    };
    OWN.iter().flat_map(with_prices).collect()
});

pub const CURRENCY: &str = "usage.currency";

/// Those that nothing else names.
const OWN: &[Key] = &[
    key(
        "data",
        r#""rushes-data""#,
        "Folder that holds everything: journal, segments, catalog, keys. Made if absent.",
    ),
    key("listen", r#""127.0.0.1:4566""#, "HTTP: the console, the APIs, playback. Port 0 takes a free one."),
    key("rtsp", r#""127.0.0.1:8554""#, "RTSP, to which cameras and encoders publish; \"off\" for none."),
    key("account", r#""000000000000""#, "Account id in the names (ARNs) of resources: twelve digits."),
    key("region", r#""us-east-1""#, "Region in the names of resources."),
    key(
        "public_host",
        r#""""#,
        "Host name under which clients reach this machine, for publish URLs. Empty: as in the request.",
    ),
    key("tls.certificate", r#""""#, "Certificate chain for HTTPS, PEM. With tls.key."),
    key("tls.key", r#""""#, "Its private key, PEM."),
    key("tls.self_signed", "false", "Make and use a self-signed certificate (kept in the data folder)."),
    key(
        "aws.auth",
        r#""verify""#,
        "Signatures on AWS's APIs: verify; or any, which takes every signed request for root's, whatever its key. For tests only.",
    ),
    key(
        "streams.limits",
        r#""aws""#,
        "Quotas of data streams: aws, as Amazon's; or off, as much as the machine can do.",
    ),
    key("streams.shard_quota", "20000", "Open shards in all data streams."),
    key("streams.on_demand_quota", "50", "Data streams whose capacity is on demand."),
    key(
        "streams.transition_ms",
        "0",
        "How long a data stream is shown as CREATING, UPDATING or DELETING at least, for clients that are to see it.",
    ),
    key(
        CURRENCY,
        r#""""#,
        "Currency of the prices below, as `rushes usage` shows it. A price of 0 is none; there are none unless you set them.",
    ),
    key(
        "store.url",
        r#""""#,
        "Where finished segments go: s3://BUCKET/PREFIX, gs://, az://, or a folder on another disk. Empty: they stay in the data folder. (Also as store = URL, above the tables.)",
    ),
    key(
        "store.endpoint",
        r#""""#,
        "Its server, if it is not AWS's, Google's or Azure's: http://127.0.0.1:9000.",
    ),
    key("store.region", r#""""#, "S3: the bucket's region. Empty: AWS_REGION, else us-east-1."),
    key("store.path_style", "true", "S3: the bucket is in the path; false: in the host name."),
    key(
        "store.access_key_id",
        r#""""#,
        "S3: an access key. Empty: AWS_ACCESS_KEY_ID and its like, else what the container or machine is given.",
    ),
    key("store.secret_access_key", r#""""#, "Its secret."),
    key("store.ca_file", r#""""#, "Certificates to trust besides the system's, PEM."),
    key("store.connect_seconds", "5", "How long a connection may take to come about."),
    key(
        "store.request_seconds",
        "30",
        "How long a request may take, retries included; a large one longer by its bytes at 64 KiB/s.",
    ),
    key(
        "store.conditional_writes",
        "true",
        "Refuse a store that lets what exists be created again. false: a second server on it is not noticed.",
    ),
    key(
        "log.filter",
        r#""info""#,
        "What to log: error, warn, info, debug, trace, or per room: \"info,capture=debug\".",
    ),
    key("log.json", "false", "Log lines as JSON."),
    key(
        "video.limits",
        r#""aws""#,
        "Limits of Kinesis Video Streams' APIs: aws, as Amazon's; or off, as much as the machine can do.",
    ),
    key(
        "video.endpoint",
        r#""""#,
        "What GetDataEndpoint answers, such as https://video.example.org. Empty: the address that the client called.",
    ),
    key("video.target_seconds", "2", "A fragment closes at the first key frame after so many seconds."),
    key("video.max_seconds", "10", "It closes without one after so many."),
    key("video.live_window_seconds", "600", "How far a live playlist reaches back."),
    key(
        "video.part_seconds",
        "0.2",
        "How long a part is in low-latency HLS, 0.05 to 2; 0: live playlists have whole fragments only.",
    ),
    key("video.session_seconds", "43200", "How long a playback link is good for, unless it says so."),
    key("video.still_workers", "1", "Processes that decode stills, started when somebody looks."),
    key(
        "webrtc.listen",
        r#""auto""#,
        "WebRTC's media, one UDP and one TCP port of the same number for all sessions; auto: port 8555, or another if it is taken, at the IP address of `listen`; \"off\" for none. (Also as webrtc = ADDRESS, above the tables.)",
    ),
    key(
        "webrtc.addresses",
        r#""""#,
        "IP addresses at which browsers reach that port, such as \"203.0.113.5, 10.0.0.9\": behind NAT, in a container. Empty: found out.",
    ),
    key("webrtc.sessions", "256", "Publishers and viewers by WebRTC at once."),
    key(
        "webrtc.mixers",
        "4",
        "Storage sessions at once in which what viewers say is mixed, each by a process that is started when somebody speaks; 0: none is, and one viewer at a time is heard.",
    ),
    key(
        "turn.listen",
        r#""off""#,
        "A TURN server's UDP port, such as \"0.0.0.0:3478\", for peers of signaling channels, publishers and viewers whose packets find no other way.",
    ),
    key(
        "turn.peers",
        r#""""#,
        "Networks that it relays to besides the Internet, such as \"192.168.0.0/16, 10.0.0.9\". This server's own WebRTC port and other relayed addresses are always among them.",
    ),
    key("turn.allocations", "100", "Addresses that it relays at once."),
    key(
        "retention.total",
        r#""unlimited""#,
        "What all recordings together may take, such as \"2TB\". This table is read again on SIGHUP.",
    ),
    key(
        "retention.free_floor",
        r#""auto""#,
        "What is left free on the disk of the data folder, such as \"10GB\". auto: 2 GiB or 5 %, whichever is less.",
    ),
    key(
        "retention.reserve",
        r#""auto""#,
        "Set aside for the day the disk is full, so that making room has room. auto: 128 MiB or 2.5 %.",
    ),
    key(
        "retention.trust_clock",
        "false",
        "Age goes by the clock at once, however far ahead it is of the time that has gone by since it was last seen.",
    ),
    key(
        "retention.default_age",
        r#""unlimited""#,
        "How long recordings stay unless their stream says otherwise: \"30d\", \"12h\", at most \"10y\".",
    ),
    key(
        "retention.default_bytes",
        r#""unlimited""#,
        "What a stream may take unless it says otherwise: \"500GB\".",
    ),
    key(
        "retention.default_on_full",
        r#""overwrite""#,
        "What a stream does when there is no room: overwrite its oldest, or refuse more.",
    ),
    key(
        "catalog.snapshot_minutes",
        "60",
        "How often a snapshot of the catalog is kept, in the store or catalog.snapshot_folder. 0: never.",
    ),
    key("catalog.snapshot_keep", "48", "So many of the newest stay."),
    key(
        "catalog.snapshot_folder",
        r#""""#,
        "Where snapshots are kept when there is no store; best on another disk. Empty: none are.",
    ),
    key("shard_log.inflight_mib", "64", "Bytes accepted and not yet durable; beyond it writers wait."),
    key("shard_log.tail_mib", "64", "Memory for the newest records and fragments, over all streams."),
    key("shard_log.journal_file_mib", "64", "Size of a journal file."),
    key(
        "shard_log.journal_backlog_mib",
        "4096",
        "Journal not yet moved to segments; beyond it writers wait, and after 5 seconds are refused.",
    ),
    key("shard_log.segment_mib", "256", "A segment closes at this size ..."),
    key("shard_log.segment_seconds", "600", "... and at this age."),
    key(
        "shard_log.upload_backlog_mib",
        "65536",
        "Finished segments that may wait for the store; beyond it writers wait, and after 5 seconds are refused.",
    ),
    key("shard_log.cache_mib", "16384", "Segments kept as files although the store has them."),
];

/// The file that documents itself.
pub fn documented() -> String {
    let mut out = String::from(
        "# Rushes: every key with its default. Flags and RUSHES_* variables win over this file:\n\
         # `data` is RUSHES_DATA, and so on; `rushes serve --set video.target_seconds=4` sets any key.\n",
    );
    let mut table = "";
    for k in KEYS.iter() {
        let (t, name) = k.path.rsplit_once('.').unwrap_or(("", k.path));
        if t != table {
            out.push_str(&format!("\n[{t}]\n"));
            table = t;
        }
        out.push_str(&format!("\n# {}\n{name} = {}\n", k.doc, k.default));
    }
    out
}

/// The key that is meant.
pub fn known(path: &str, from: &str) -> Result<&'static Key, Failure> {
    // Its URL is mostly all that is said of a store.
    let path = match path {
        "store" => "store.url",
        "webrtc" => "webrtc.listen",
        path => path,
    };
    KEYS.iter().find(|k| k.path == path).ok_or_else(|| {
        let near = KEYS.iter().max_by(|a, b| {
            let by = |k: &Key| strsim::jaro_winkler(path, k.path);
            by(a).total_cmp(&by(b))
        });
        Failure(format!("{from}: unknown key {path:?}; did you mean {:?}?", near.map_or("", |k| k.path)))
    })
}
