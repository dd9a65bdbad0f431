//! Kinesis Video Streams' signaling channels: a master and its viewers connect by WebSocket and pass each other offers,
//! answers and candidates (Kinesis Video Streams with WebRTC Developer Guide, "WebSocket endpoint APIs"). What passes is not
//! looked into. `docs/kvs.md` is the page.

mod api;
mod board;
mod message;
mod relays;
mod socket;
mod storage;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

pub use api::service;
use tokio::sync::watch;
use wire::{aws::AwsError, intake::Budget};
use world::World;

use crate::Hub;

use self::{
    board::{Board, Entered, Sends, Who},
    message::{Fault, Message},
    relays::Relays,
};

/// A signaling channel, as whoever keeps them knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its ARN, of which no other channel ever is.
    pub arn: String,
    /// How long a message waits for its receiver.
    pub message_ttl: Duration,
    /// The stream in which its media are stored, where that is switched on.
    pub stores_in: Option<String>,
}

/// Who keeps the channels. Implemented by the binary.
#[async_trait::async_trait]
pub trait Channels: Send + Sync + 'static {
    /// A channel by its ARN; `ResourceNotFoundException` where there is none.
    async fn channel(&self, arn: &str) -> Result<Channel, AwsError>;
    /// Somebody has connected to a channel.
    async fn connected(&self, arn: &str);
    /// A message of a channel was passed on.
    fn passed(&self, arn: &str);
}

/// All that is connected. Cloning is cheap.
#[derive(Clone)]
pub struct Signaling(Arc<Inner>);

struct Inner {
    world: World,
    channels: Arc<dyn Channels>,
    /// Where the server's own sessions are, if it has any.
    hub: Option<Arc<Hub>>,
    /// Whether AWS's limits hold.
    limits: bool,
    board: Mutex<Board>,
    relays: Mutex<Relays>,
    /// Messages passed on since the start.
    passed: AtomicU64,
    /// For messages that are being read.
    reading: Budget,
    stop: watch::Sender<bool>,
    /// Connections that there are.
    running: watch::Sender<usize>,
}

/// Connections at once, of all channels.
const MOST: usize = 4096;
/// Bytes of messages that are being read, of all connections, beyond what each keeps by itself.
const READING: usize = 64 << 20;

impl Signaling {
    /// `limits`: whether AWS's hold; what bounds memory holds always.
    pub fn new(world: World, channels: Arc<dyn Channels>, hub: Option<Arc<Hub>>, limits: bool) -> Signaling {
        Signaling(Arc::new(Inner {
            reading: Budget::new(world.clone(), READING),
            world,
            channels,
            hub,
            limits,
            board: Mutex::default(),
            relays: Mutex::default(),
            passed: AtomicU64::default(),
            stop: watch::channel(false).0,
            running: watch::channel(0).0,
        }))
    }

    /// Tells all to come back later, and ends their connections.
    pub async fn stop(&self) {
        self.0.stop.send_replace(true);
        // Fails when the sender is gone, which is here.
        let _ = self.0.running.subscribe().wait_for(|n| *n == 0).await;
    }

    /// Returns once the server stops.
    async fn stopped(&self) {
        let _ = self.0.stop.subscribe().wait_for(|s| *s).await;
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.0.world.clock.monotonic()
    }

    fn relays(&self) -> MutexGuard<'_, Relays> {
        self.0.relays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client was told credentials of the TURN server that are good for so long.
    fn granted(&self, arn: &str, who: Who, ttl: Duration) {
        let here = self.board().has(arn, &who);
        self.relays().granted(arn, who, here, ttl, self.now());
    }

    /// Who is connected, by role: the master, viewers, and the server itself where it stores or shows media.
    pub fn seats(&self) -> [(&'static str, usize); 3] {
        self.board().seats()
    }

    /// Messages that were passed on, or kept for who was not there, since the start.
    pub fn passed(&self) -> u64 {
        self.0.passed.load(Relaxed)
    }

    /// Passes a message on, or keeps it: the one way that all of them go.
    fn pass(
        &self,
        arn: &str,
        from: &Who,
        message: &Message,
        sends: Option<&mut Sends>,
        ttl: Duration,
    ) -> Result<(), Fault> {
        self.board().send(arn, from, message, sends, ttl, self.now())?;
        self.0.passed.fetch_add(1, Relaxed);
        self.0.channels.passed(arn);
        Ok(())
    }

    fn enter(&self, arn: &str, who: Who, of: Option<&str>) -> Result<Seat, AwsError> {
        let Entered { serial, events } = self.board().enter(arn, &who, of, self.0.limits, self.now())?;
        self.relays().entered(arn, &who);
        Ok(Seat { signaling: self.clone(), arn: arn.into(), who, serial, events })
    }
}

impl From<Fault> for AwsError {
    fn from(f: Fault) -> AwsError {
        AwsError::new(f.code, f.words)
    }
}

/// What is read of a client's message.
pub(crate) fn hostile(text: &str) {
    for limits in [true, false] {
        let Ok(m) = message::read(text, limits) else { continue };
        let event = message::Event { kind: m.kind, payload: m.payload.clone(), sender: m.recipient.clone() };
        let written: Result<serde_json::Value, _> = serde_json::from_str(&event.write());
        assert_eq!(
            written.ok().and_then(|v| v["messagePayload"].as_str().map(str::to_owned)),
            Some(m.payload.to_string())
        );
        if let Some(c) = &m.correlation {
            assert!(message::is_id(c));
            assert!(message::status(c, &Fault::argument("x")).contains(c.as_str()));
        }
        let _ = storage::described(&event);
    }
}

/// A seat at a channel, given up when this is dropped.
struct Seat {
    signaling: Signaling,
    arn: String,
    who: Who,
    serial: u64,
    events: tokio::sync::mpsc::Receiver<message::Event>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.signaling.board().leave(&self.arn, &self.who, self.serial);
    }
}
