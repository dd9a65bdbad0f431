use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, builder::FalseyValueParser};

mod streams;

pub use streams::{DataStreamCommand, PinArgs, SetArgs, StreamCommand};

/// Live video and data streams on your own machines: encrypted, time-indexed, played back in a browser.
#[derive(Parser)]
#[command(name = "rushes", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run the server
    Serve(Box<ServeArgs>),
    /// List, make, inspect and remove streams; print playable links
    #[command(subcommand)]
    Stream(StreamCommand),
    /// List, add, inspect and remove cameras
    #[command(subcommand)]
    Camera(CameraCommand),
    /// Write what was recorded in a range into an MP4 or Matroska file
    ///
    /// The file begins with the last key frame at or before --from, so that its first picture can be decoded, and ends
    /// with the last frame that begins before --to. Nothing is encoded again: pictures and sound are those recorded.
    /// Where nothing was recorded the last picture stands, unless --gaps close.
    Export(ExportArgs),
    /// Put MP4 or Matroska files into a stream, with their times
    ///
    /// A file's time is its creation time (MP4) or date (Matroska); else it is taken to have ended when it was last
    /// written to; --start says otherwise. Nothing is encoded again. Where the stream has recordings already nothing is
    /// imported; --resume goes on with a file whose import was cut off.
    Import(ImportArgs),
    /// Check every checksum and seal of a data folder
    ///
    /// Reads the catalog, every finished segment and, while no server runs on the folder, the journal; opens every
    /// block. Says what is wrong where, whose records it is and how much, and goes on after each. Nothing is changed but
    /// the file verify.state, by which an interrupted check can go on. Exits with 0 if all is sound, 1 if something is
    /// damaged, 2 if something could not be checked.
    Verify(VerifyArgs),
    /// Back the catalog up, or put a backup back
    ///
    /// The catalog has every key and every name; without it, nothing recorded can be read. A backup (a snapshot) is
    /// sealed under the master key: keep that elsewhere, too.
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Change the master key, or see which are there
    #[command(subcommand)]
    Key(KeyCommand),
    /// Look into finished segments
    #[command(subcommand)]
    Segment(SegmentCommand),
    /// What each stream and consumer used, and what that would cost
    ///
    /// Bytes in and out, PUT payload units, hours of shards, what was stored and for how long: for the last 30 days, or
    /// since --since. Hours are told apart for three days, then days for 400. Costs are shown if prices are configured
    /// (`rushes config`, the table [usage]).
    Usage(UsageArgs),
    /// Print a link that opens the console signed in
    Link(ClientArgs),
    /// Print the configuration file, documented, with every default
    Config,
    /// Run the server with two cameras, as `make demo` does
    #[command(hide = true)]
    Demo(DemoArgs),
    /// Decode pictures for a server (started by it)
    #[command(hide = true)]
    FramesWorker,
}

#[derive(Args)]
pub struct UsageArgs {
    /// From then on: an age such as 24h or 7d, or a time such as 2026-11-24T06:00:00Z [default: 30d]
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Flags win over RUSHES_* variables, these over the file, the file over defaults.
#[derive(Args, Default)]
pub struct ServeArgs {
    /// Configuration file (`rushes config` prints one that documents itself)
    #[arg(long, env = "RUSHES_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder that holds everything [default: rushes-data]
    #[arg(long, env = "RUSHES_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address for HTTP: console, APIs, playback [default: 127.0.0.1:4566]
    #[arg(long, env = "RUSHES_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Address to which cameras and encoders publish by RTSP, or "off" [default: 127.0.0.1:8554]
    #[arg(long, env = "RUSHES_RTSP", value_name = "ADDR:PORT")]
    pub rtsp: Option<String>,
    /// Address for WebRTC's media (UDP and TCP), or "off" [default: port 8555 where --listen is, or any if it is taken]
    #[arg(long, env = "RUSHES_WEBRTC", value_name = "ADDR:PORT")]
    pub webrtc: Option<String>,
    /// Where finished segments go: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, or a folder on
    /// another disk [default: they stay in the data folder]
    #[arg(long, env = "RUSHES_STORE", value_name = "URL")]
    pub store: Option<String>,
    /// Certificate chain for HTTPS, PEM
    #[arg(long, env = "RUSHES_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, env = "RUSHES_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Make and use a self-signed certificate
    #[arg(long, env = "RUSHES_TLS_SELF_SIGNED", value_parser = FalseyValueParser::new())]
    pub tls_self_signed: bool,
    /// What to log: error, warn, info, debug, trace, or per room such as "info,capture=debug"
    #[arg(long, env = "RUSHES_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// Log lines as JSON
    #[arg(long, env = "RUSHES_LOG_JSON", value_parser = FalseyValueParser::new())]
    pub log_json: bool,
    /// Any other key of the configuration file (several in the variable: separated by semicolons)
    #[arg(long = "set", env = "RUSHES_SET", value_delimiter = ';', value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Id of the root access key, instead of the one made at the first start
    #[arg(long, env = "RUSHES_ROOT_ACCESS_KEY_ID", value_name = "ID", requires = "root_secret_access_key")]
    pub root_access_key_id: Option<String>,
    /// Its secret (better given by the variable: flags can be seen by other users)
    #[arg(
        long,
        env = "RUSHES_ROOT_SECRET_ACCESS_KEY",
        hide_env_values = true,
        value_name = "SECRET",
        requires = "root_access_key_id"
    )]
    pub root_secret_access_key: Option<String>,
    /// When ready, print one line of JSON with the addresses and the console's link
    #[arg(long, env = "RUSHES_READY_JSON", value_parser = FalseyValueParser::new())]
    pub ready_json: bool,
}

/// Which server to speak to, and as whom.
#[derive(Args, Clone, Default)]
pub struct ClientArgs {
    /// The server's URL [default: that of the server that runs on --data]
    #[arg(long, env = "RUSHES_SERVER", value_name = "URL", global = true)]
    pub server: Option<String>,
    /// The server's data folder, for its address, root key and certificate
    #[arg(long, env = "RUSHES_DATA", value_name = "DIR", default_value = "rushes-data", global = true)]
    pub data: PathBuf,
    /// Access key id [default: the root key in the data folder]
    #[arg(long, env = "RUSHES_ROOT_ACCESS_KEY_ID", value_name = "ID", global = true)]
    pub access_key_id: Option<String>,
    /// Its secret
    #[arg(
        long,
        env = "RUSHES_ROOT_SECRET_ACCESS_KEY",
        hide_env_values = true,
        value_name = "SECRET",
        global = true
    )]
    pub secret_access_key: Option<String>,
    /// Print JSON, as the API answers
    #[arg(long, global = true)]
    pub json: bool,
}

/// Which data folder to look at.
#[derive(Args, Clone)]
pub struct FolderArgs {
    /// The data folder; a server may be running on it
    #[arg(long, env = "RUSHES_DATA", value_name = "DIR", default_value = "rushes-data", global = true)]
    pub data: PathBuf,
    /// The store that finished segments and snapshots are in, if there is one
    #[arg(long, env = "RUSHES_STORE", value_name = "URL", global = true)]
    pub store: Option<String>,
    /// The server's configuration file, for its store
    #[arg(long, env = "RUSHES_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Any key of it, such as store.endpoint
    #[arg(long = "set", env = "RUSHES_SET", value_delimiter = ';', value_name = "KEY=VALUE", global = true)]
    pub set: Vec<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum CatalogCommand {
    /// Write a snapshot of the catalog to a file; a server may be running
    Backup {
        /// The file; it must not exist
        file: PathBuf,
        #[command(flatten)]
        folder: FolderArgs,
    },
    /// Put a snapshot in the place of a catalog that is lost or damaged
    ///
    /// The server is stopped first. The master key that the snapshot was made under is in the data folder (master.key, or
    /// retired.keys after a change). The next start takes up the segments that were finished since the snapshot.
    Restore(RestoreArgs),
}

#[derive(Args)]
pub struct RestoreArgs {
    /// The snapshot; or give --store
    #[arg(conflicts_with_all = ["list", "latest", "at"])]
    pub file: Option<PathBuf>,
    /// List the store's snapshots and change nothing
    #[arg(long)]
    pub list: bool,
    /// Take the store's newest snapshot (as without --at)
    #[arg(long, conflicts_with_all = ["list", "at"])]
    pub latest: bool,
    /// Take the store's newest snapshot from before this time: RFC 3339, or milliseconds since 1970
    #[arg(long, value_name = "TIME", conflicts_with = "list")]
    pub at: Option<String>,
    /// Put it in the place of a catalog that is whole, too (which is kept under another name)
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub folder: FolderArgs,
}

#[derive(Subcommand)]
pub enum KeyCommand {
    /// Name the master key in force, and retired ones
    Show(FolderArgs),
    /// Make a new master key and wrap every other key under it; no recording is touched
    ///
    /// The server is stopped first. The old key goes to retired.keys, which opens the snapshots and backups made until
    /// then.
    Rotate(FolderArgs),
    /// Destroy the retired master keys: older snapshots and backups open no more
    ForgetRetired(FolderArgs),
}

#[derive(Subcommand)]
pub enum SegmentCommand {
    /// List finished segments
    List(FolderArgs),
    /// Show one: whose records it has, of when
    Show {
        /// Its id, 32 hexadecimal digits
        id: String,
        /// Each batch and payload, too
        #[arg(long)]
        entries: bool,
        #[command(flatten)]
        folder: FolderArgs,
    },
    /// Print all that its index says, a line of JSON for each run and block
    Dump {
        /// Its id, 32 hexadecimal digits
        id: String,
        #[command(flatten)]
        folder: FolderArgs,
    },
}

#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub folder: FolderArgs,
    /// Go on with an interrupted check: skip segments that it found sound
    #[arg(long)]
    pub resume: bool,
}

#[derive(Subcommand)]
pub enum CameraCommand {
    /// List cameras and how they are
    List(ClientArgs),
    /// Add a camera: give the URL to pull from, or --push to get a URL to publish to
    Add {
        /// The camera's name, which is also its stream's
        name: String,
        /// rtsp:// or rtsps://, with user name and password if it wants them
        #[arg(required_unless_present = "push")]
        url: Option<String>,
        /// The camera connects to Rushes
        #[arg(long, conflicts_with = "url")]
        push: bool,
        /// The same view in fewer pixels, at a URL of its own: the console's grid plays it, and it stands in where a browser
        /// cannot play the other. It is recorded in the stream NAME.sub
        #[arg(long, value_name = "URL")]
        sub: Option<String>,
        /// auto, tcp or udp, for both
        #[arg(long, default_value = "auto")]
        transport: String,
        /// Accept any certificate (rtsps), of both
        #[arg(long)]
        tls_insecure: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Give a camera another URL, another sub source, or none
    ///
    /// What is recorded stays: `rushes stream set NAME.sub` says how long the sub's recordings do, `rushes stream remove
    /// NAME.sub` deletes them.
    Set(CameraSetArgs),
    /// Connect to a camera and show what it sends, without adding it
    Probe {
        /// rtsp:// or rtsps://, with user name and password if it wants them
        url: String,
        /// Its sub source, to be looked at as well
        #[arg(long, value_name = "URL")]
        sub: Option<String>,
        /// auto, tcp or udp
        #[arg(long, default_value = "auto")]
        transport: String,
        /// Accept any certificate (rtsps)
        #[arg(long)]
        tls_insecure: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show one camera
    Show {
        /// The camera's name, which is also its stream's
        name: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Remove a camera; its recordings, and its sub's, stay unless --delete-recordings
    Remove {
        /// The camera's name, which is also its stream's
        name: String,
        /// Delete its streams too
        #[arg(long)]
        delete_recordings: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Stop recording from a camera
    Disable {
        /// The camera's name, which is also its stream's
        name: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Record from it again
    Enable {
        /// The camera's name, which is also its stream's
        name: String,
        #[command(flatten)]
        client: ClientArgs,
    },
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args(["url", "sub", "no_sub"]))]
pub struct CameraSetArgs {
    /// The camera's name
    pub name: String,
    /// Where its pictures come from: rtsp:// or rtsps://, with user name and password if it wants them
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Where the same view comes from in fewer pixels; recorded in the stream NAME.sub
    #[arg(long, value_name = "URL")]
    pub sub: Option<String>,
    /// Receive no sub any more
    #[arg(long, conflicts_with = "sub")]
    pub no_sub: bool,
    /// auto, tcp or udp, for the URLs that are given
    #[arg(long, default_value = "auto")]
    pub transport: String,
    /// Accept any certificate (rtsps) of the URLs that are given
    #[arg(long)]
    pub tls_insecure: bool,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Args)]
pub struct ExportArgs {
    /// The stream's name
    pub name: String,
    /// The file to write: its ending says which kind, .mp4 or .mkv
    pub file: PathBuf,
    /// RFC 3339, or milliseconds since 1970
    #[arg(long, value_name = "TIME")]
    pub from: String,
    /// The same [default: now]
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Whose clock the times are: producer (when it was seen) or server (when it was received)
    #[arg(long, default_value = "producer", value_parser = ["producer", "server"])]
    pub by: String,
    /// Time in which nothing was recorded: keep it in the file, or close it up
    #[arg(long, default_value = "keep", value_parser = ["keep", "close"])]
    pub gaps: String,
    /// What becomes of sound: asIs keeps what was recorded (few players take G.711 in an MP4); aac makes AAC of what is
    /// not; aacOrOpus leaves Opus as well and makes AAC of the rest; opus leaves both and makes Opus of the rest
    #[arg(long, value_parser = ["asIs", "aac", "aacOrOpus", "opus"], default_value = "asIs")]
    pub audio: String,
    /// Replace the file if it is there
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Args)]
pub struct ImportArgs {
    /// The stream's name; it is made if it is not there
    pub name: String,
    /// Files, .mp4, .mov, .mkv or .webm, in the order in which they were recorded
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// When the first file begins (RFC 3339, or milliseconds since 1970); others follow one another
    #[arg(long, value_name = "TIME")]
    pub start: Option<String>,
    /// Go on with a file whose import was cut off: what is there already is passed over
    #[arg(long)]
    pub resume: bool,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Args)]
pub struct DemoArgs {
    /// Where to keep its data
    #[arg(long, env = "RUSHES_DATA", default_value = "rushes-demo")]
    pub data: PathBuf,
    /// HTTP address
    #[arg(long, env = "RUSHES_LISTEN", default_value = "127.0.0.1:4566")]
    pub listen: SocketAddr,
    /// RTSP address
    #[arg(long, env = "RUSHES_RTSP", default_value = "127.0.0.1:8554")]
    pub rtsp: SocketAddr,
    /// A video file to play instead of a generated one (twice for two)
    #[arg(long, value_name = "FILE")]
    pub video: Vec<PathBuf>,
    /// A folder of recordings to choose from
    #[arg(long, env = "RUSHES_FOOTAGE", value_name = "DIR")]
    pub footage: Option<PathBuf>,
}
