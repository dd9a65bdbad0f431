//! The configuration: one table of keys serves the file, its documentation, and the check for unknown keys.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    Failure,
    cli::ServeArgs,
    costs::{Prices, UNITS},
    units,
};

mod keys;

pub use keys::documented;
use keys::{CURRENCY, KEYS, known};

/// WebRTC's, unless it is taken.
const WEBRTC_PORT: u16 = 8555;

/// The configuration in force.
#[derive(Clone, Debug)]
pub struct Config {
    pub data: PathBuf,
    pub listen: SocketAddr,
    pub rtsp: Option<SocketAddr>,
    pub webrtc: WebRtc,
    pub rtc: rtc::Config,
    pub turn: Option<SocketAddr>,
    pub home: world::Home,
    pub public_host: Option<String>,
    pub tls: Option<TlsConfig>,
    /// Whether every signature will do on AWS's APIs.
    pub any_signature: bool,
    pub streams: streams::Config,
    pub prices: Prices,
    pub kvs: video::kvs::Config,
    pub log_filter: String,
    pub log_json: bool,
    pub video: video::Config,
    pub still_workers: usize,
    pub mixers: usize,
    pub limits: log::Limits,
    pub store: Option<StoreConfig>,
    pub retention: RetentionConfig,
    pub snapshots: Snapshots,
    pub root: Option<(String, String)>,
}

/// Where WebRTC's media go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebRtc {
    Off,
    /// There, or at any port if that one is taken.
    About(SocketAddr),
    At(SocketAddr),
}

/// What holds for the whole store, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionConfig {
    pub total: Option<u64>,
    /// `None`: by the size of the disk.
    pub free_floor: Option<u64>,
    /// `None`: by the size of the disk.
    pub reserve: Option<u64>,
    pub trust_clock: bool,
}

impl RetentionConfig {
    /// On a disk of so many bytes.
    pub fn policy(&self, disk: u64) -> log::StorePolicy {
        log::StorePolicy {
            bytes: self.total,
            free_floor: self.free_floor.unwrap_or((2 << 30).min(disk / 20)),
            reserve: self.reserve.unwrap_or((128 << 20).min(disk / 40)),
            trust_clock: self.trust_clock,
        }
    }
}

/// Where finished segments go.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub url: String,
    pub options: store::Options,
}

/// When snapshots of the catalog are made.
#[derive(Clone, Debug)]
pub struct Snapshots {
    /// `None`: never.
    pub every: Option<Duration>,
    pub keep: usize,
    /// Where, if there is no store.
    pub folder: Option<String>,
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsConfig {
    /// Given.
    Files { certificate: PathBuf, key: PathBuf },
    /// Made here.
    SelfSigned,
}

type Values = BTreeMap<&'static str, (toml::Value, String)>;

fn flatten(table: &toml::Table, prefix: &str, from: &str, out: &mut Values) -> Result<(), Failure> {
    for (name, value) in table {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(t) if !t.is_empty() => flatten(t, &path, from, out)?,
            v => {
                out.insert(known(&path, from)?.path, (v.clone(), from.to_owned()));
            }
        }
    }
    Ok(())
}

fn parse(text: &str, from: &str) -> Result<toml::Table, Failure> {
    text.parse::<toml::Table>()
        .map_err(|e| Failure(format!("{from}: {}", e.to_string().trim().replace('\n', " "))))
}

struct Reader(Values);

impl Reader {
    fn wrong(&self, path: &str, want: &str) -> Failure {
        let (v, from) = &self.0[path];
        Failure(format!("{from}: {path} = {v} should be {want}"))
    }
    fn text(&self, path: &str) -> Result<String, Failure> {
        self.0[path].0.as_str().map(str::to_owned).ok_or_else(|| self.wrong(path, "a text in quotes"))
    }
    fn flag(&self, path: &str) -> Result<bool, Failure> {
        self.0[path].0.as_bool().ok_or_else(|| self.wrong(path, "true or false"))
    }
    fn number(&self, path: &str, min: u64, max: u64) -> Result<u64, Failure> {
        let n = self.0[path]
            .0
            .as_integer()
            .and_then(|n| u64::try_from(n).ok())
            .filter(|n| (min..=max).contains(n));
        n.ok_or_else(|| self.wrong(path, &format!("a whole number from {min} to {max}")))
    }
    fn seconds(&self, path: &str, max: f64) -> Result<Duration, Failure> {
        let v = &self.0[path].0;
        let n = v.as_float().or_else(|| v.as_integer().map(|n| n as f64)).filter(|n| *n > 0.0 && *n <= max);
        n.map(Duration::from_secs_f64)
            .ok_or_else(|| self.wrong(path, &format!("seconds, more than 0 and at most {max}")))
    }
    fn price(&self, path: &str) -> Result<f64, Failure> {
        let v = &self.0[path].0;
        let n = v.as_float().or_else(|| v.as_integer().map(|n| n as f64));
        n.filter(|n| (0.0..=1e12).contains(n)).ok_or_else(|| self.wrong(path, "a price, not below 0"))
    }
    fn mib(&self, path: &str) -> Result<u64, Failure> {
        Ok(self.number(path, 1, 1 << 20)? << 20)
    }
    /// A size, or the word that stands for none.
    fn size(&self, path: &str, none: &str) -> Result<Option<u64>, Failure> {
        let v = &self.0[path].0;
        if v.as_str().is_some_and(|t| t == none) {
            return Ok(None);
        }
        let n = v.as_str().map_or_else(|| v.as_integer().and_then(|n| n.try_into().ok()), units::size);
        n.map(Some).ok_or_else(|| self.wrong(path, &format!("a size such as \"500GB\", or {none:?}")))
    }
    fn retention(&self) -> Result<log::Retention, Failure> {
        let path = "retention.default_age";
        let age = match self.text(path)?.as_str() {
            "unlimited" => None,
            t => Some(units::age(t).ok_or_else(|| {
                self.wrong(path, "a time such as \"30d\", at most \"10y\", or \"unlimited\"")
            })?),
        };
        let path = "retention.default_on_full";
        let on_full = match self.text(path)?.as_str() {
            "overwrite" => log::OnFull::Overwrite,
            "refuse" => log::OnFull::Refuse,
            _ => return Err(self.wrong(path, "\"overwrite\" or \"refuse\"")),
        };
        Ok(log::Retention { age, bytes: self.size("retention.default_bytes", "unlimited")?, on_full })
    }
    fn address(&self, path: &str) -> Result<SocketAddr, Failure> {
        self.text(path)?
            .parse()
            .map_err(|_| self.wrong(path, "an address and a port, such as 127.0.0.1:4566"))
    }
}

/// Puts flags, variables, file and defaults together.
pub fn load(args: &ServeArgs) -> Result<Config, Failure> {
    let mut values = Values::new();
    for k in KEYS.iter() {
        let v = parse(&format!("v = {}", k.default), "defaults")?.remove("v");
        values.insert(k.path, (v.unwrap_or(toml::Value::Boolean(false)), "default".into()));
    }
    if let Some(file) = &args.config {
        let text = std::fs::read_to_string(file).map_err(|e| Failure(format!("{}: {e}", file.display())))?;
        let from = file.display().to_string();
        flatten(&parse(&text, &from)?, "", &from, &mut values)?;
    }
    for s in &args.set {
        let (path, v) =
            s.split_once('=').ok_or_else(|| Failure(format!("--set {s}: should be KEY=VALUE")))?;
        let k = known(path.trim(), "--set")?;
        let v = parse(&format!("v = {v}"), "--set")
            .or_else(|_| parse(&format!("v = {v:?}"), "--set"))?
            .remove("v");
        values.insert(k.path, (v.unwrap_or(toml::Value::Boolean(false)), "--set".into()));
    }
    let text = |p: &Path| toml::Value::String(p.display().to_string());
    let mut flag = |path: &'static str, v: Option<toml::Value>| {
        if let Some(v) = v {
            let name = path.trim_end_matches(".url").trim_end_matches(".listen").replace(['.', '_'], "-");
            values.insert(path, (v, format!("--{name}")));
        }
    };
    flag("data", args.data.as_deref().map(text));
    flag("listen", args.listen.map(|a| toml::Value::String(a.to_string())));
    flag("rtsp", args.rtsp.clone().map(toml::Value::String));
    flag("webrtc.listen", args.webrtc.clone().map(toml::Value::String));
    flag("store.url", args.store.clone().map(toml::Value::String));
    flag("tls.certificate", args.tls_certificate.as_deref().map(text));
    flag("tls.key", args.tls_key.as_deref().map(text));
    flag("tls.self_signed", args.tls_self_signed.then_some(toml::Value::Boolean(true)));
    flag("log.filter", args.log.clone().map(toml::Value::String));
    flag("log.json", args.log_json.then_some(toml::Value::Boolean(true)));
    let mut config = read(&Reader(values))?;
    config.root = args.root_access_key_id.clone().zip(args.root_secret_access_key.clone());
    Ok(config)
}

fn read(r: &Reader) -> Result<Config, Failure> {
    let account = r.text("account")?;
    if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
        return Err(r.wrong("account", "twelve digits"));
    }
    let rtsp = match r.text("rtsp")?.as_str() {
        "off" | "" => None,
        _ => Some(r.address("rtsp")?),
    };
    let listen = r.address("listen")?;
    let webrtc = match r.text("webrtc.listen")?.as_str() {
        "off" => WebRtc::Off,
        "auto" => WebRtc::About(SocketAddr::new(listen.ip(), WEBRTC_PORT)),
        _ => WebRtc::At(r.address("webrtc.listen")?),
    };
    let addresses = r.text("webrtc.addresses")?;
    let addresses = addresses.split(',').map(str::trim).filter(|a| !a.is_empty()).map(str::parse);
    let addresses = addresses
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| r.wrong("webrtc.addresses", "IP addresses with commas between them"))?;
    let peers = r.text("turn.peers")?;
    let peers = peers.split(',').map(str::trim).filter(|a| !a.is_empty()).map(str::parse);
    let peers = peers
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| r.wrong("turn.peers", "networks such as 192.168.0.0/16, with commas between them"))?;
    let turn = match r.text("turn.listen")?.as_str() {
        "off" => None,
        _ => Some(r.address("turn.listen")?),
    };
    if turn.is_some() && webrtc == WebRtc::Off {
        return Err(Failure("turn.listen: WebRTC is off (webrtc.listen), and TURN with it".into()));
    }
    let some = |s: String| (!s.is_empty()).then_some(s);
    let tls = match (some(r.text("tls.certificate")?), some(r.text("tls.key")?), r.flag("tls.self_signed")?) {
        (Some(c), Some(k), false) => Some(TlsConfig::Files { certificate: c.into(), key: k.into() }),
        (None, None, true) => Some(TlsConfig::SelfSigned),
        (None, None, false) => None,
        (Some(_), Some(_), true) => {
            return Err(Failure("tls: give a certificate and its key, or self_signed, not both".into()));
        }
        _ => return Err(Failure("tls: certificate and key go together".into())),
    };
    let (target, max) = (r.seconds("video.target_seconds", 60.0)?, r.seconds("video.max_seconds", 120.0)?);
    if max < target {
        return Err(r.wrong("video.max_seconds", "at least video.target_seconds"));
    }
    let part = match r.0["video.part_seconds"].0.to_string().as_str() {
        "0" | "0.0" => Duration::ZERO,
        _ => r.seconds("video.part_seconds", 2.0)?,
    };
    if !part.is_zero() && part < Duration::from_millis(50) {
        return Err(r.wrong("video.part_seconds", "0.05 to 2 seconds, or 0"));
    }
    Ok(Config {
        data: r.text("data")?.into(),
        listen,
        rtsp,
        webrtc,
        rtc: rtc::Config {
            addresses,
            sessions: r.number("webrtc.sessions", 1, 100_000)? as usize,
            key_frames: target,
            turn: rtc::turn::Config { peers, allocations: r.number("turn.allocations", 1, 10_000)? as usize },
        },
        turn,
        home: world::Home { account, region: r.text("region")? },
        public_host: some(r.text("public_host")?),
        tls,
        any_signature: match r.text("aws.auth")?.as_str() {
            "verify" => false,
            "any" => true,
            _ => return Err(r.wrong("aws.auth", "\"verify\" or \"any\"")),
        },
        streams: streams::Config {
            limits: match r.text("streams.limits")?.as_str() {
                "aws" => true,
                "off" => false,
                _ => return Err(r.wrong("streams.limits", "\"aws\" or \"off\"")),
            },
            shard_quota: r.number("streams.shard_quota", 1, 1_000_000)? as u32,
            on_demand_quota: r.number("streams.on_demand_quota", 0, 1_000_000)? as u32,
            transition: Duration::from_millis(r.number("streams.transition_ms", 0, 600_000)?),
            ..streams::Config::default()
        },
        prices: prices(r)?,
        kvs: video::kvs::Config {
            limits: match r.text("video.limits")?.as_str() {
                "aws" => true,
                "off" => false,
                _ => return Err(r.wrong("video.limits", "\"aws\" or \"off\"")),
            },
            endpoint: match some(r.text("video.endpoint")?) {
                Some(e) if !e.starts_with("http://") && !e.starts_with("https://") => {
                    return Err(r.wrong("video.endpoint", "a URL that begins with http:// or https://"));
                }
                e => e,
            },
            ..video::kvs::Config::default()
        },
        log_filter: r.text("log.filter")?,
        log_json: r.flag("log.json")?,
        video: video::Config {
            rules: video::Rules { target, max, ..video::Rules::default() },
            window: r.seconds("video.live_window_seconds", 86_400.0)?,
            part,
            session: r.seconds("video.session_seconds", 604_800.0)?,
            retention: r.retention()?,
            ..video::Config::default()
        },
        still_workers: r.number("video.still_workers", 1, 64)? as usize,
        mixers: r.number("webrtc.mixers", 0, 1_000)? as usize,
        limits: log::Limits {
            inflight_bytes: r.mib("shard_log.inflight_mib")? as usize,
            tail_bytes: r.mib("shard_log.tail_mib")? as usize,
            journal_file: r.mib("shard_log.journal_file_mib")?,
            journal_backlog: r.mib("shard_log.journal_backlog_mib")?,
            segment_bytes: r.mib("shard_log.segment_mib")?,
            segment_age: r.seconds("shard_log.segment_seconds", 86_400.0)?,
            upload_backlog: r.mib("shard_log.upload_backlog_mib")?,
            cache_bytes: r.number("shard_log.cache_mib", 0, 1 << 20)? << 20,
            ..log::Limits::default()
        },
        store: store(r)?,
        retention: RetentionConfig {
            total: r.size("retention.total", "unlimited")?,
            free_floor: r.size("retention.free_floor", "auto")?,
            reserve: r.size("retention.reserve", "auto")?,
            trust_clock: r.flag("retention.trust_clock")?,
        },
        snapshots: Snapshots {
            every: match r.number("catalog.snapshot_minutes", 0, 1 << 20)? {
                0 => None,
                n => Some(Duration::from_secs(60 * n)),
            },
            keep: r.number("catalog.snapshot_keep", 1, 1 << 20)? as usize,
            folder: some(r.text("catalog.snapshot_folder")?),
        },
        root: None,
    })
}

fn prices(r: &Reader) -> Result<Prices, Failure> {
    let mut each = BTreeMap::new();
    for u in UNITS {
        let n = r.price(u.key)?;
        if n > 0.0 {
            each.insert(u.name, n);
        }
    }
    Ok(Prices { currency: r.text(CURRENCY)?, each })
}

fn store(r: &Reader) -> Result<Option<StoreConfig>, Failure> {
    let some = |path: &str| r.text(path).map(|s| (!s.is_empty()).then_some(s));
    let access_key = match (some("store.access_key_id")?, some("store.secret_access_key")?) {
        (Some(id), Some(secret)) => Some((id, secret)),
        (None, None) => None,
        _ => return Err(Failure("store: access_key_id and secret_access_key go together".into())),
    };
    let options = store::Options {
        endpoint: some("store.endpoint")?,
        region: some("store.region")?,
        path_style: r.flag("store.path_style")?,
        access_key,
        ca_file: some("store.ca_file")?.map(PathBuf::from),
        connect_timeout: r.seconds("store.connect_seconds", 600.0)?,
        request_timeout: r.seconds("store.request_seconds", 3600.0)?,
        conditional_writes: r.flag("store.conditional_writes")?,
        ..store::Options::default()
    };
    Ok(some("store.url")?.map(|url| StoreConfig { url, options }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(text: &str) -> Result<Config, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rushes.toml");
        std::fs::write(&file, text).unwrap();
        load(&ServeArgs { config: Some(file), ..ServeArgs::default() })
    }

    #[test]
    fn the_documented_file_is_the_defaults() {
        let ours = with_file(&documented()).unwrap();
        let defaults = load(&ServeArgs::default()).unwrap();
        assert_eq!(format!("{ours:?}"), format!("{defaults:?}"));
    }

    #[test]
    fn prices_come_after_their_currency_and_each_key_once() {
        let at = |path: &str| KEYS.iter().position(|k| k.path == path);
        let first = at(CURRENCY).expect("it is there") + 1;
        for (n, u) in UNITS.iter().enumerate() {
            assert_eq!(at(u.key), Some(first + n), "{}", u.key);
        }
        let paths: std::collections::BTreeSet<_> = KEYS.iter().map(|k| k.path).collect();
        assert_eq!(paths.len(), KEYS.len());
        let c = with_file("[usage]\ncurrency = \"EUR\"\nturn_minutes_thousand = 0.5\n").expect("it parses");
        assert_eq!(c.prices.each.iter().collect::<Vec<_>>(), [(&"turn_minutes_thousand", &0.5)]);
    }

    #[test]
    fn unknown_keys_are_errors_with_the_nearest_name() {
        for (text, near) in [
            ("lisen = \"x\"", "listen"),
            ("[video]\ntarget = 3", "video.target_seconds"),
            ("[tsl]\nkey = \"\"", "tls.key"),
        ] {
            let e = with_file(text).unwrap_err().to_string();
            assert!(e.contains(near), "{e}");
            assert!(!e.contains('\n'), "{e}");
        }
    }

    #[test]
    fn wrong_values_say_what_is_wanted() {
        for (text, want) in [
            ("listen = \"here\"", "an address and a port"),
            ("[video]\ntarget_seconds = -1", "seconds"),
            ("[video]\nmax_seconds = 1", "at least"),
            ("account = \"12\"", "twelve digits"),
            ("store = 3", "text in quotes"),
            ("[store]\naccess_key_id = \"x\"", "together"),
            ("[store]\nurls = \"s3://x\"", "store.url"),
            ("[tls]\nkey = \"k\"", "together"),
            ("[aws]\nauth = \"none\"", "verify"),
            ("[streams]\nlimits = \"none\"", "off"),
            ("data = ", "rushes.toml"),
            ("[retention]\ntotal = \"2 barrels\"", "a size"),
            ("[retention]\ndefault_age = \"11y\"", "30d"),
            ("[retention]\ndefault_on_full = \"explode\"", "overwrite"),
        ] {
            let e = with_file(text).unwrap_err().to_string();
            assert!(e.contains(want), "{text}: {e}");
            assert!(!e.contains('\n'), "{e}");
        }
    }

    #[test]
    fn a_store_is_its_url_or_a_table() {
        let url = |text| with_file(text).unwrap().store.map(|s| s.url);
        assert_eq!(url(""), None);
        assert_eq!(url("store = \"s3://x/y\"").as_deref(), Some("s3://x/y"));
        let table = "[store]\nurl = \"/mnt/x\"\naccess_key_id = \"a\"\nsecret_access_key = \"hidden\"";
        assert_eq!(url(table).as_deref(), Some("/mnt/x"));
        assert!(!format!("{:?}", with_file(table).unwrap()).contains("hidden"));
        let args = ServeArgs { set: vec!["store=./z".into()], ..ServeArgs::default() };
        assert_eq!(load(&args).unwrap().store.unwrap().url, "./z");
    }

    #[test]
    fn flags_win() {
        let args = ServeArgs {
            set: vec!["video.target_seconds=4".into(), "region=eu-west-1".into()],
            rtsp: Some("off".into()),
            webrtc: Some("off".into()),
            ..ServeArgs::default()
        };
        let c = load(&args).unwrap();
        assert_eq!((c.video.rules.target.as_secs(), c.home.region.as_str(), c.rtsp), (4, "eu-west-1", None));
    }
}
