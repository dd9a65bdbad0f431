//! What every RTSP client here does: connect, say what is offered, bring packets.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use world::{Clock, Timestamp, World};

use super::trouble::{Kind, Trouble};
use crate::intake::Intake;
#[cfg(feature = "gstreamer")]
use crate::source::Engine;
use crate::source::{Source, Transport};

/// How long a camera may take until it plays.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
/// Packets that wait when we cannot keep up with a source that we cannot slow: at most about 6 MB.
pub(super) const QUEUE: usize = 4096;
pub(super) const USER_AGENT: &str = concat!("Rushes/", env!("CARGO_PKG_VERSION"));

/// One thing that came.
pub(crate) enum Item {
    /// An RTP packet of a medium of the description.
    Rtp(usize, Raw, Timestamp),
    /// What a sender report said: NTP time, RTP timestamp.
    Report(usize, u64, u32, Timestamp),
    /// Something that made no sense; what comes next may be good again.
    Broken(String),
}

/// A packet's bytes, whoever owns them.
pub(crate) enum Raw {
    #[cfg_attr(not(feature = "gstreamer"), allow(dead_code, reason = "only GStreamer brings them"))]
    Bytes(Bytes),
    Retina(retina::rtp::ReceivedPacket),
}

impl AsRef<[u8]> for Raw {
    fn as_ref(&self) -> &[u8] {
        match self {
            Raw::Bytes(b) => b,
            Raw::Retina(p) => p.raw(),
        }
    }
}

impl Item {
    /// Gives it to the intake; returns what was broken.
    pub(crate) fn give(self, intake: &mut Intake) -> Option<String> {
        match self {
            Item::Rtp(media, packet, received) => {
                // The server told where play time starts, and it is not at this first packet by our own assumption.
                if let Raw::Retina(p) = &packet
                    && intake.fresh(media)
                    && p.timestamp().elapsed() != 0
                {
                    intake.play_start(media, p.timestamp().start());
                }
                intake.rtp(media, packet.as_ref(), received);
            }
            Item::Report(media, ntp, rtp, received) => intake.report(media, ntp, rtp, received),
            Item::Broken(why) => return Some(why),
        }
        None
    }
}

pub(crate) type Feed = Pin<Box<dyn Stream<Item = Result<Item, Trouble>> + Send>>;

/// A camera that plays.
pub(crate) struct Connected {
    /// Made for what was set up.
    pub intake: Intake,
    /// Packets; ends when the camera does. What it holds ends when it is dropped.
    pub feed: Feed,
    /// What the camera calls itself.
    pub server: Option<String>,
    /// To wait, briefly, until the camera was told that we are gone.
    pub farewell: Farewell,
}

pub(crate) type Farewell = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A client of RTSP.
#[async_trait::async_trait]
pub(super) trait Puller: Send + Sync {
    /// Connects, sets up what can be received, plays. `tcp`: within the connection, not by UDP. Cancelled by dropping.
    async fn connect(&self, source: &Source, tcp: bool, clock: Arc<dyn Clock>) -> Result<Connected, Trouble>;
}

/// Connects with the engine that the source calls for, in time.
pub(crate) async fn connect(world: &World, source: &Source, tcp: bool) -> Result<Connected, Trouble> {
    let puller: &dyn Puller = match source.engine_to_use().map_err(|e| Trouble::new(Kind::Setup, e))? {
        #[cfg(feature = "gstreamer")]
        Engine::GStreamer => &super::gst::Rtspsrc,
        _ => &super::retina::Retina,
    };
    if source.url.host_str().is_none_or(str::is_empty) {
        return Err(Trouble::new(Kind::Setup, "the URL names no host"));
    }
    tokio::select! {
        connected = puller.connect(source, tcp, world.clock.clone()) => connected,
        () = world.clock.sleep(CONNECT) => Err(Trouble::timed_out(CONNECT)),
    }
}

/// Whether to begin with TCP.
pub(crate) fn tcp_first(transport: Transport) -> bool {
    transport != Transport::Udp
}
