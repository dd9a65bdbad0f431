//! What the streams stand on, and what they are set to.

use std::{sync::Arc, time::Duration};

use access::Gate;
use catalog::Catalog;
use log::SharedLog;
use usage::Usage;
use world::{Home, World};

use crate::{Rules, Stills};

/// What holds for all streams that are not set otherwise.
#[derive(Clone, Debug)]
pub struct Config {
    /// When fragments end.
    pub rules: Rules,
    /// How far a live playlist reaches back.
    pub window: Duration,
    /// How long a part of a fragment lasts in low-latency HLS; zero: there is none.
    pub part: Duration,
    /// Most entries of a playlist that changes.
    pub max_entries: usize,
    /// Most fragments of an on-demand session.
    pub max_range: usize,
    /// How long a playback session lasts unless asked otherwise …
    pub session: Duration,
    /// … and at most.
    pub max_session: Duration,
    /// How long recordings stay.
    pub retention: log::Retention,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            rules: Rules::default(),
            window: Duration::from_secs(600),
            part: Duration::from_millis(200),
            max_entries: 5_000,
            max_range: 50_000,
            session: Duration::from_secs(12 * 3600),
            max_session: Duration::from_secs(7 * 24 * 3600),
            retention: log::Retention { on_full: log::OnFull::Overwrite, ..log::Retention::default() },
        }
    }
}

/// What the streams stand on.
pub struct Parts {
    /// Time, randomness and the disk.
    pub world: World,
    /// Where streams are written down.
    pub catalog: Arc<dyn Catalog>,
    /// Where the fragments are.
    pub log: SharedLog,
    /// What admits, and seals sessions' tokens.
    pub gate: Gate,
    /// Account and region of the streams.
    pub home: Home,
    /// Who makes pictures and sound, if anybody does.
    pub stills: Option<Arc<dyn Stills>>,
    /// What is metered.
    pub usage: Usage,
}
