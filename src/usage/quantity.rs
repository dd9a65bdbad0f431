//! What is counted.

use std::collections::BTreeMap;

macro_rules! quantities {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal;)*) => {
        /// Something that is counted. All are whole numbers that only grow.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Quantity { $($(#[doc = $doc])* $name,)* }

        /// All of them, in the order of their numbers.
        pub const QUANTITIES: &[Quantity] = &[$(Quantity::$name),*];

        impl Quantity {
            /// Its name in documents and answers.
            pub fn name(self) -> &'static str {
                match self { $(Quantity::$name => $text,)* }
            }
        }
    };
}

quantities! {
    /// Records stored; of video: fragments.
    RecordsIn = "recordsIn";
    /// Their bytes: data and partition keys; of video: frames, and what a producer's Matroska has around them.
    BytesIn = "bytesIn";
    /// PUT payload units: 25 KiB each, at least one for a record.
    PutUnits = "putUnits";
    /// KiB stored in an on-demand stream, each record rounded up.
    OnDemandKibIn = "onDemandKibIn";
    /// Records read, or pushed to a consumer.
    RecordsOut = "recordsOut";
    /// Their bytes; of video: read, exported or watched, but by a session's URLs.
    BytesOut = "bytesOut";
    /// Bytes of media that sessions' URLs (HLS, DASH) led to.
    HlsBytesOut = "hlsBytesOut";
    /// Images of up to 1080p that `GetImages` answered with.
    Images = "images";
    /// Larger ones.
    LargeImages = "largeImages";
    /// Stills that were sent.
    Stills = "stills";
    /// Messages that a signaling channel passed on.
    Messages = "messages";
    /// Months (of UTC) in which anybody connected to a signaling channel.
    ActiveMonths = "activeMonths";
    /// Minutes in which a relayed address relayed anything, counted from when it was given.
    TurnMinutes = "turnMinutes";
    /// Open shards times milliseconds; of a consumer: the shards that it is registered for.
    ShardMs = "shardMs";
    /// The same, while records are kept for longer than 24 hours.
    ExtendedShardMs = "extendedShardMs";
    /// Milliseconds in on-demand mode.
    OnDemandMs = "onDemandMs";
    /// KiB stored (sealed) times seconds.
    StoredKibSeconds = "storedKibSeconds";
}

pub(crate) const COUNT: usize = QUANTITIES.len();

/// So much of each quantity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts(pub(crate) [u64; COUNT]);

impl Amounts {
    /// Of one quantity.
    pub fn of(&self, q: Quantity) -> u64 {
        self.0[q as usize]
    }
    /// Whether nothing was used.
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|n| *n == 0)
    }
    /// Both together.
    pub fn add(&mut self, other: &Amounts) {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a = a.saturating_add(b);
        }
    }
    /// Those that are not zero, by name.
    pub fn named(&self) -> BTreeMap<&'static str, u64> {
        QUANTITIES.iter().map(|q| (q.name(), self.of(*q))).filter(|(_, n)| *n > 0).collect()
    }
    pub(crate) fn set(&mut self, name: &str, n: u64) {
        // What a newer version counts, and we do not know, is left alone.
        if let Some(q) = QUANTITIES.iter().find(|q| q.name() == name) {
            self.0[*q as usize] = n;
        }
    }
}
