//! Packets that somebody else receives, such as WebRTC's: the same way to the sink as RTSP's, with the same clocks, and
//! one publisher a stream among all.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use access::Permit;
use bytes::Bytes;
use world::{Timestamp, World};

use crate::board::{Board, Flow, Opening};
use crate::cameras::Pushes;
use crate::intake::Intake;
use crate::push::Server;
use crate::registry::{Place, Registry};
use crate::rtp::Reorder;
use crate::{Sink, State, Status, sdp};

/// Sessions of the push server are counted from 0.
const FIRST: u64 = 1 << 63;

/// Where feeds begin.
pub struct Feeds {
    world: World,
    sink: Arc<dyn Sink>,
    registry: Arc<Registry>,
    next: AtomicU64,
}

impl Feeds {
    /// For the streams of a push server, if there is one.
    pub fn new(world: World, sink: Arc<dyn Sink>, beside: Option<&Server>) -> Feeds {
        let registry = beside.map(Server::registry).unwrap_or_default();
        Feeds { world, sink, registry, next: AtomicU64::new(FIRST) }
    }

    /// A feed of the media in a session description, of which the first format of each is what comes. Whoever publishes to
    /// the stream goes on until the first packet. The error names what cannot be received.
    pub fn feed(&self, permit: Permit, stream: &str, description: &str) -> Result<Feed, String> {
        let media = sdp::parse(description.as_bytes())?.media;
        let intake = Intake::new(&media)?;
        let opening = Opening { sink: self.sink.clone(), permit, stream: stream.into() };
        let (board, status) = Board::new(self.world.clock.clone());
        Ok(Feed {
            world: self.world.clone(),
            registry: self.registry.clone(),
            id: self.next.fetch_add(1, Ordering::Relaxed),
            stream: stream.into(),
            reorder: (0..media.len()).map(|m| (m, Reorder::with_retransmission())).collect(),
            flow: Flow::new(intake, opening),
            board,
            status: Some(status),
            place: None,
            seen: 0,
        })
    }
}

/// Who publishes, by whatever protocol.
impl Pushes for Feeds {
    fn status(&self, stream: &str) -> Option<Status> {
        self.registry.status(stream)
    }
    fn streams(&self) -> Vec<String> {
        self.registry.sessions().into_iter().map(|(name, _)| name).collect()
    }
    fn end(&self, stream: &str) {
        self.registry.end(stream, "ended by the server");
    }
}

/// One publisher's packets.
pub struct Feed {
    world: World,
    registry: Arc<Registry>,
    id: u64,
    stream: String,
    /// By medium.
    reorder: Vec<(usize, Reorder)>,
    flow: Flow,
    board: Board,
    /// Until it is registered.
    status: Option<tokio::sync::watch::Receiver<Status>>,
    place: Option<Place>,
    /// Packets that were missing or broken when last asked.
    seen: u64,
}

impl Feed {
    fn ms(&self) -> u64 {
        self.world.clock.monotonic().as_millis() as u64
    }

    /// Takes an RTP packet of a medium of the description; they may come out of order, and twice.
    pub fn rtp(&mut self, media: usize, packet: Bytes, received: Timestamp) {
        let now = self.ms();
        let intake = &mut self.flow.intake;
        if let Some((_, reorder)) = self.reorder.iter_mut().find(|(m, _)| *m == media) {
            reorder.push(packet, now, &mut |p| intake.rtp(media, &p, received));
        }
    }

    /// Takes a sender report's clocks: NTP's 32.32 fixed point, and the same moment as an RTP timestamp.
    pub fn report(&mut self, media: usize, ntp: u64, rtp: u32, received: Timestamp) {
        self.flow.intake.report(media, ntp, rtp, received);
    }

    /// Whether packets were missed since this was last asked.
    pub fn broken(&mut self) -> bool {
        let counts = self.flow.intake.counts();
        let now = counts.lost + counts.broken;
        std::mem::replace(&mut self.seen, now) != now
    }

    /// Hands on what is complete, and gives up what was waited for too long: to be called every 100 ms or so, too. Takes the
    /// stream over when there is something. After an error, which is for people, nothing more is taken.
    pub async fn drain(&mut self) -> Result<(), String> {
        let (now, received) = (self.ms(), self.world.clock.now());
        for (media, reorder) in &mut self.reorder {
            let (intake, media) = (&mut self.flow.intake, *media);
            reorder.expire(now, &mut |p| intake.rtp(media, &p, received));
        }
        if self.flow.intake.waiting()
            && let Some(status) = self.status.take()
        {
            let place = self.registry.take(&self.stream, self.id, status, &*self.world.clock).await?;
            self.place = Some(place);
            self.board.connected();
        }
        if let Some(place) = &self.place
            && let Some(why) = *place.end.borrow()
        {
            return Err(why.into());
        }
        self.flow.drain(&mut self.board).await.map_err(|e| e.message)
    }

    /// Ends it: everything that came is durable when this returns.
    pub async fn end(mut self) -> Result<(), String> {
        let received = self.world.clock.now();
        for (media, reorder) in &mut self.reorder {
            let (intake, media) = (&mut self.flow.intake, *media);
            reorder.flush(&mut |p| intake.rtp(media, &p, received));
        }
        if self.place.is_none() {
            // It never had the stream, and does not take it now.
            return Ok(());
        }
        let ended = self.flow.end(&mut self.board).await.map_err(|e| e.message);
        self.board.state(State::Stopped, "the publisher ended it");
        ended
    }
}
