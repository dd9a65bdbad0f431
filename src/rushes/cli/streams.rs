//! `rushes stream`: video streams and data streams.

use clap::{Args, Subcommand};

use super::ClientArgs;

#[derive(Subcommand)]
pub enum StreamCommand {
    #[command(flatten)]
    Data(DataStreamCommand),
    /// List video streams and what is recorded of them, and data streams
    List(ClientArgs),
    /// Make a video stream (data streams: create)
    Add {
        /// The stream's name
        name: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show one video stream (data streams: describe)
    Show {
        /// The stream's name
        name: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Say how long a stream's recordings stay, and how much they may take; takes effect at once
    Set(SetArgs),
    /// Keep what is recorded between two times, whatever retention says
    Pin(PinArgs),
    /// Take a pin away
    Unpin {
        /// The stream's name
        name: String,
        /// The pin, as `rushes stream pins` shows it
        id: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// List what is pinned
    Pins {
        /// The stream's name
        name: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Delete a video stream with everything recorded, pinned or not; its keys are destroyed
    Remove {
        /// The stream's name
        name: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Print an HLS link: live, from a time on, or from one time to another
    HlsUrl {
        /// The stream's name
        name: String,
        /// RFC 3339, or milliseconds since 1970
        #[arg(long)]
        from: Option<String>,
        /// The same; with --from
        #[arg(long, requires = "from")]
        to: Option<String>,
        /// Whose clock the times are: server or producer
        #[arg(long, default_value = "server")]
        by: String,
        /// What becomes of sound: asIs leaves out what HLS has no form for (G.711); aac makes AAC of what is not; aacOrOpus
        /// leaves Opus as well as AAC and makes AAC of the rest; opus leaves both and makes Opus of the rest
        #[arg(long, value_parser = ["asIs", "aac", "aacOrOpus", "opus"], default_value = "asIs")]
        audio: String,
        /// How long the link is good for, in seconds
        #[arg(long, value_name = "SECONDS")]
        expires: Option<u64>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show what is recorded, and where the gaps are
    Timeline {
        /// The stream's name
        name: String,
        /// RFC 3339, or milliseconds since 1970 [default: a day before --to]
        #[arg(long)]
        from: Option<String>,
        /// The same [default: now]
        #[arg(long)]
        to: Option<String>,
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// Data streams, over the API that AWS's SDKs use.
#[derive(Subcommand)]
pub enum DataStreamCommand {
    /// Make a data stream
    Create {
        /// The stream's name
        name: String,
        /// How many shards
        #[arg(long, default_value = "1", conflicts_with = "on_demand")]
        shards: u32,
        /// As many shards as the load needs
        #[arg(long)]
        on_demand: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show a data stream and its shards
    Describe {
        /// The stream's name
        name: String,
        /// Closed shards, too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Put records into a data stream: each argument is one, or each line of standard input
    Put {
        /// The stream's name
        name: String,
        /// Records
        #[arg(value_name = "RECORD")]
        records: Vec<String>,
        /// Their partition key [default: another one for each]
        #[arg(long)]
        key: Option<String>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Print a data stream's records as they come, of all its shards, through splits and merges
    Tail {
        /// The stream's name
        name: String,
        /// Where to begin: latest, oldest, or a time (RFC 3339, or milliseconds since 1970)
        #[arg(long, default_value = "latest")]
        from: String,
        /// End once everything that is there is printed
        #[arg(long)]
        no_follow: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Split a shard of a data stream in two
    Split {
        /// The stream's name
        name: String,
        /// The shard, such as shardId-000000000000 or 0
        shard: String,
        /// The first hash key of the upper half [default: the middle]
        #[arg(long, value_name = "HASH_KEY")]
        at: Option<u128>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Merge two neighbouring shards of a data stream
    Merge {
        /// The stream's name
        name: String,
        /// One shard, such as shardId-000000000000 or 0
        shard: String,
        /// The other
        adjacent: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Give a data stream another number of shards, of equal size
    Scale {
        /// The stream's name
        name: String,
        /// How many
        shards: u32,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Delete a data stream with its records and consumers; its keys are destroyed
    Delete {
        /// The stream's name
        name: String,
        #[command(flatten)]
        client: ClientArgs,
    },
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["retention", "bytes", "on_full"]))]
pub struct SetArgs {
    /// The stream's name
    pub name: String,
    /// How long recordings stay, such as 30d, 12h or 10y; 0 keeps the live window only; "unlimited", or "default" for
    /// what the server's configuration says
    #[arg(long, value_name = "AGE")]
    pub retention: Option<String>,
    /// How much they may take, such as 500GB (pinned ranges aside); "unlimited" or "default"
    #[arg(long, value_name = "SIZE")]
    pub bytes: Option<String>,
    /// What happens when there is no room: overwrite the oldest, or refuse more
    #[arg(long, value_name = "WHAT", value_parser = ["overwrite", "refuse", "default"])]
    pub on_full: Option<String>,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Args)]
pub struct PinArgs {
    /// The stream's name
    pub name: String,
    /// RFC 3339, or milliseconds since 1970
    #[arg(long)]
    pub from: String,
    /// The same
    #[arg(long)]
    pub to: String,
    /// Whose clock the times are: server (when it was received), or producer (when it was seen; for imported files)
    #[arg(long, default_value = "server", value_parser = ["producer", "server"])]
    pub by: String,
    /// Why, for people
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    #[command(flatten)]
    pub client: ClientArgs,
}
