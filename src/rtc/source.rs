//! What this room asks of those who have streams. Implemented by the binary.

use std::sync::Arc;

use access::Permit;
use bytes::Bytes;
use media::{RandomAccess, Track};
use wire::v1::ApiError;
use world::Timestamp;

/// An access unit as it arrives.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its track, as it is now.
    pub track: Arc<Track>,
    /// When it is shown, in the track's ticks since the Unix epoch.
    pub pts: i64,
    /// Whether decoding can start here.
    pub access: RandomAccess,
    /// Framed as its track says.
    pub data: Bytes,
}

/// What a follower is told.
#[derive(Clone, Debug)]
pub enum Next {
    /// The next unit.
    Unit(Unit),
    /// Some were missed.
    Missed,
    /// There is nothing more, ever.
    End,
}

/// Units as they arrive.
#[async_trait::async_trait]
pub trait Follow: Send {
    /// Waits for the next. May be dropped while it waits; nothing is lost by that.
    async fn next(&mut self) -> Next;
    /// So many bytes of units were sent on, without what the network puts around them.
    fn sent(&mut self, bytes: usize);
}

/// Live streams to be watched.
pub trait Source: Send + Sync + 'static {
    /// The tracks of what is published at present, or was at last; none if nothing ever was.
    fn tracks(&self, stream: &str) -> Result<Arc<[Arc<Track>]>, ApiError>;
    /// Follows a stream. The permit is for `GetMedia`.
    fn follow(&self, permit: Permit, stream: &str) -> Result<Box<dyn Follow>, ApiError>;
    /// The latest key frame, if one is at hand.
    fn key_frame(&self, stream: &str) -> Option<Unit>;
}

/// The next stretch of several sounds at once, in Opus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blend {
    /// 0 or 1. Each desk remembers who is in its blends from one to the next, apart from the other.
    pub desk: u8,
    /// What comes of it, at 48 kHz: 480, 960, 1920 or 2880.
    pub samples: u16,
    /// What goes in. Who has less than `samples` is silent after them; what there is more waits for the next blend.
    pub parts: Vec<Part>,
    /// Who is left out of each mix that is to be made, 0 for nobody.
    pub without: Vec<u32>,
}

/// What came of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, not 0.
    pub who: u32,
    /// Packets of Opus, in order.
    pub packets: Vec<Arc<[u8]>>,
}

/// Who decodes, mixes and encodes.
#[async_trait::async_trait]
pub trait Mixers: Send + Sync + 'static {
    /// One more. The error is for people: there are as many as there may be, or it cannot be had.
    async fn open(&self) -> Result<Box<dyn Mixer>, String>;
}

/// Mixes the sounds of one session.
#[async_trait::async_trait]
pub trait Mixer: Send {
    /// A packet of Opus for each mix of a blend, in order, soon. After an error, which is for people, it is of no use.
    async fn mix(&mut self, blend: Blend) -> Result<Vec<Bytes>, String>;
}

/// Streams that can be published to.
pub trait Publish: Send + Sync + 'static {
    /// Begins to publish. `description` is a session description (RFC 8866) of which the first format of each medium is
    /// what will be sent. The permit is for `PutMedia`.
    fn open(&self, permit: Permit, stream: &str, description: &str) -> Result<Box<dyn Feed>, ApiError>;
}

/// One publisher's packets on their way to its stream. `media` is a medium's place in the description.
#[async_trait::async_trait]
pub trait Feed: Send {
    /// Takes an RTP packet (RFC 3550 §5.1); they may come out of order.
    fn rtp(&mut self, media: usize, packet: Bytes, received: Timestamp);
    /// Takes a sender report's clocks: NTP's 32.32 fixed point, and the same moment as an RTP timestamp.
    fn report(&mut self, media: usize, ntp: u64, rtp: u32, received: Timestamp);
    /// Whether pictures broke since this was last asked: decoding goes on at the next key frame.
    fn broken(&mut self) -> bool;
    /// Hands on what is complete. Waits as long as the disk does. The error is for people; nothing more is taken then.
    async fn drain(&mut self) -> Result<(), String>;
    /// Ends it: everything that came is durable when this returns.
    async fn end(self: Box<Self>) -> Result<(), String>;
}
