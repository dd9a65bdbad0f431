//! Floor 4: video streams: fragments, time, packagers. No C libraries.
//!
//! **In.** A source opens a [`Session`] on a stream and hands it access units. [`FragmentBuilder`] (without I/O) says
//! where fragments end; the bytes go to the log as they come, the sample table after them, and what playlists and
//! searches need into the fragment's [`index::Entry`]. A fragment is one large payload of shard 0 of the stream; its
//! position is its number.
//!
//! **Out.** Everything is made from index entries, sample tables and payload bytes when it is asked for: [`hls`]
//! playlists and segments, the [`Timeline`], key frames for [`Stills`]. [`Live`] passes samples on as they arrive,
//! before they are durable, to whoever must not wait.
//!
//! **What it promises.** No access unit that was taken is skipped, merged or reordered within its track; payloads come
//! out bit-exact. Playlists are functions of what is stored and of the session's token: a restart, or another node,
//! gives the same. `docs/playback.md` and `docs/formats/fragment-index.md` are this room's pages.

mod builder;
mod config;
mod describe;
mod error;
mod export;
pub mod hls;
mod http;
mod http_retention;
mod import;
pub mod index;
mod ingest;
pub mod kvs;
mod live;
mod lost;
mod meter;
mod mp4;
mod retention;
mod sound;
mod still;
mod store;
mod streams;
mod tables;
mod timeline;
pub mod units;
mod video;

pub use builder::{BuildError, Closed, FragmentBuilder, MAX_CONFIG, MAX_UNIT, Rules};
pub use config::{Config, Parts};
pub use describe::TrackView;
pub use error::VideoError;
pub use export::{Export, ExportAsk, Form};
pub use hls::token::{Frames, Mode, Session as Playback};
pub use http::router;
pub use ingest::Session;
pub use live::{IngestStatus, KeyFrame, Live, LiveSample};
pub use meter::{Tally, Tap};
pub use retention::{Bound, MAX_HOURS, RetentionChange, StreamRetention, Unlimited};
pub use sound::Audio;
pub use still::{Image, ImageForm, Stills};
pub use store::{By, Fragment};
pub use streams::{StreamConfig, StreamInfo};
pub use timeline::{Span, Timeline};
pub use video::{Ask, Playable, Recorded, Video};
