//! The task of one camera.

use std::sync::Arc;
use std::time::Duration;

use access::Permit;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use world::World;

use super::backoff::{Backoff, LONGEST, jitter};
use super::engine::{self, Connected, connect};
use super::trouble::{Kind, Trouble};
use crate::board::{Board, Flow, Opening};
use crate::source::{Source, Transport};
use crate::{Sink, SinkError, State, Status};

/// Connected, and nothing came for so long: it is said; and for so long: it is tried anew.
const STALLED: Duration = Duration::from_secs(10);
const GIVEN_UP: Duration = Duration::from_secs(30);
/// How long a stop may wait for the sink.
const STOP: Duration = Duration::from_secs(10);
/// So many broken things in a row, and the connection is of no use.
const BROKEN: u32 = 16;
/// Packets taken at once before looking at anything else.
const BATCH: usize = 64;

/// Makes the permit for each connection's session.
pub type MakePermit = Arc<dyn Fn() -> Permit + Send + Sync>;

/// A camera that is being pulled. Dropping it stops the pull, without waiting.
pub struct Handle {
    world: World,
    status: watch::Receiver<Status>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Handle {
    /// What it is doing.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Stops it; what was taken is durable when this returns, unless the sink takes longer than ten seconds.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let Some(mut task) = self.task.take() else { return };
        tokio::select! {
            _ = &mut task => {}
            () = self.world.clock.sleep(STOP) => {
                tracing::warn!("a camera's last access units could not be stored in time");
                task.abort();
                let _ = task.await;
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Pulls from a camera into a stream until stopped. Must be called within a tokio runtime.
pub fn spawn(
    world: World,
    source: Source,
    stream: String,
    permit: MakePermit,
    sink: Arc<dyn Sink>,
) -> Handle {
    let (board, status) = Board::new(world.clock.clone());
    let (stop, stopped) = watch::channel(false);
    let camera = Camera { world: world.clone(), source, stream, permit, sink, board, stopped, udp: false };
    Handle { world, status, stop, task: Some(tokio::spawn(camera.run())) }
}

struct Camera {
    world: World,
    source: Source,
    stream: String,
    permit: MakePermit,
    sink: Arc<dyn Sink>,
    board: Board,
    stopped: watch::Receiver<bool>,
    /// TCP did not work, so UDP is tried; only where the transport is left to us.
    udp: bool,
}

impl Camera {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut stopped = self.stopped.clone();
        while !*stopped.borrow() {
            self.board.state(State::Connecting, "connecting");
            let begun = self.world.clock.monotonic();
            let trouble = match self.once().await {
                // Stopped.
                Ok(()) => break,
                Err(t) => t,
            };
            let run = self.world.clock.monotonic().saturating_sub(begun);
            let wait = match trouble.may_pass {
                true => backoff.after(run, &*self.world.entropy),
                false => jitter(LONGEST, &*self.world.entropy),
            };
            if self.source.transport == Transport::Auto
                && matches!(trouble.kind, Kind::TransportRefused | Kind::Stalled)
            {
                self.udp = !self.udp;
            }
            tracing::warn!(stream = self.stream, url = crate::redact(&self.source.url), error = %trouble, "a camera failed");
            let state = if trouble.may_pass { State::Failed } else { State::Rejected };
            let detail = format!("{}; next attempt in {} s", trouble.message, wait.as_secs_f64().ceil());
            self.board.state(state, detail);
            tokio::select! {
                _ = stopped.wait_for(|s| *s) => break,
                () = self.world.clock.sleep(wait) => {}
            }
        }
        self.board.state(State::Stopped, "stopped");
    }

    /// One connection. `Ok` if stopped.
    async fn once(&mut self) -> Result<(), Trouble> {
        let mut stopped = self.stopped.clone();
        let tcp = engine::tcp_first(self.source.transport) && !self.udp;
        let connected = tokio::select! {
            biased;
            _ = stopped.wait_for(|s| *s) => return Ok(()),
            c = connect(&self.world, &self.source, tcp) => c?,
        };
        self.board.connected();
        let Connected { intake, mut feed, farewell, .. } = connected;
        let opening =
            Opening { sink: self.sink.clone(), permit: (self.permit)(), stream: self.stream.clone() };
        let mut flow = Flow::new(intake, opening);
        let received = self.receive(&mut flow, &mut feed).await;
        // First the camera, which would go on sending.
        drop(feed);
        let ended = flow.end(&mut self.board).await.map_err(sink_trouble);
        farewell.await;
        received.and(ended)
    }

    async fn receive(&mut self, flow: &mut Flow, feed: &mut engine::Feed) -> Result<(), Trouble> {
        let clock = self.world.clock.clone();
        let begun = clock.monotonic();
        let mut stopped = self.stopped.clone();
        let mut broken = 0;
        let mut tick = clock.sleep(Duration::from_secs(1));
        loop {
            let first = tokio::select! {
                biased;
                _ = stopped.wait_for(|s| *s) => return Ok(()),
                item = feed.next() => item,
                () = &mut tick => {
                    let silent = clock.monotonic().saturating_sub(flow.last_unit.unwrap_or(begun));
                    if silent >= GIVEN_UP {
                        let words = format!("connected, but nothing was received for {} s", silent.as_secs());
                        return Err(Trouble::new(Kind::Stalled, words));
                    }
                    if silent >= STALLED && self.board.state_now() != State::Stalled {
                        flow.intake.broke(format!("nothing was received for {} s", STALLED.as_secs()));
                        self.board.state(State::Stalled, "connected, but nothing is received");
                    }
                    tick = clock.sleep(Duration::from_secs(1));
                    continue;
                }
            };
            let mut next = Some(first);
            let mut taken = 0;
            while let Some(item) = next {
                match item {
                    Some(Ok(item)) => match item.give(&mut flow.intake) {
                        None => broken = 0,
                        Some(why) => {
                            broken += 1;
                            tracing::debug!(stream = self.stream, why, "something broken was received");
                            if broken >= BROKEN {
                                return Err(Trouble::network(&why));
                            }
                        }
                    },
                    Some(Err(t)) => return Err(t),
                    None => return Err(Trouble::new(Kind::Closed, "the camera closed the connection")),
                }
                flow.drain(&mut self.board).await.map_err(sink_trouble)?;
                taken += 1;
                next = if taken < BATCH { feed.next().now_or_never() } else { None };
            }
        }
    }
}

fn sink_trouble(e: SinkError) -> Trouble {
    Trouble { kind: Kind::Sink, message: e.message, may_pass: e.retry }
}
