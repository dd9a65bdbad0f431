//! Keeps a [`Status`] up to date and hands media on, counting on both sides.

use std::sync::Arc;

use access::Permit;
use tokio::sync::watch;
use world::{Clock, Timestamp};

use crate::intake::{Intake, Out};
use crate::{Session, Sink, SinkError, State, Status};

/// A status that others watch. They are woken when the state changes and about once a second, not with every unit.
pub(crate) struct Board {
    clock: Arc<dyn Clock>,
    status: watch::Sender<Status>,
    woken: Timestamp,
}

impl Board {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> (Board, watch::Receiver<Status>) {
        let now = clock.now();
        let (status, watch) = watch::channel(Status { since: now, ..Status::default() });
        (Board { clock, status, woken: now }, watch)
    }

    pub(crate) fn state(&mut self, state: State, detail: impl Into<String>) {
        let (now, detail) = (self.clock.now(), detail.into());
        self.woken = now;
        self.status.send_if_modified(|s| {
            if s.state == state && s.detail == detail {
                return false;
            }
            if s.state != state {
                s.since = now;
            }
            s.state = state;
            s.detail = detail;
            true
        });
    }

    pub(crate) fn connected(&mut self) {
        self.status.send_modify(|s| s.connects += 1);
    }

    pub(crate) fn state_now(&self) -> State {
        self.status.borrow().state
    }

    fn count(&mut self, now: Timestamp, change: impl FnOnce(&mut Status)) {
        let wake = now.since(self.woken).as_millis() >= 1000 || now < self.woken;
        if wake {
            self.woken = now;
        }
        self.status.send_if_modified(|s| {
            change(s);
            wake
        });
    }
}

/// Where a session begins once there is something to say.
pub(crate) struct Opening {
    pub sink: Arc<dyn Sink>,
    pub permit: Permit,
    pub stream: String,
}

/// One connection's media on their way to the sink.
pub(crate) struct Flow {
    pub intake: Intake,
    opening: Option<Opening>,
    session: Option<Box<dyn Session>>,
    /// What the intake had counted when last asked.
    seen: crate::intake::Counts,
    /// When the last access unit came, on the monotonic clock.
    pub last_unit: Option<std::time::Duration>,
}

impl Flow {
    pub(crate) fn new(intake: Intake, opening: Opening) -> Flow {
        Flow { intake, opening: Some(opening), session: None, seen: Default::default(), last_unit: None }
    }

    /// Begins the session now, not with the first access unit.
    pub(crate) async fn open(&mut self) -> Result<(), SinkError> {
        if let Some(Opening { sink, permit, stream }) = self.opening.take() {
            self.session = Some(sink.open(permit, &stream).await?);
        }
        Ok(())
    }

    /// Tells the sink all that the intake has for it. Waits as long as the sink does.
    pub(crate) async fn drain(&mut self, board: &mut Board) -> Result<(), SinkError> {
        while let Some(out) = self.intake.next() {
            self.open().await?;
            if let Out::Unit(_, received) = &out {
                if board.state_now() != State::Running {
                    board.state(State::Running, self.intake.words());
                }
                self.last_unit = Some(board.clock.monotonic());
                // In before, out after: in between, a watcher sees what waits for the disk.
                self.count_in(board, Some(*received));
            }
            let Some(session) = &mut self.session else {
                return Err(SinkError { message: "the session has ended".into(), retry: true });
            };
            match out {
                Out::Tracks(tracks) => {
                    session.tracks(tracks).await?;
                    board.state(State::Running, self.intake.words());
                }
                Out::Estimated(estimated) => session.estimated(estimated).await?,
                Out::Discontinuity(why) => session.discontinuity(&why).await?,
                Out::Unit(unit, received) => {
                    session.write(unit, received).await?;
                    board.count(received, |s| s.units_out += 1);
                }
            }
        }
        if self.seen != self.intake.counts() {
            self.count_in(board, None);
        }
        Ok(())
    }

    fn count_in(&mut self, board: &mut Board, received: Option<Timestamp>) {
        let (now, old) = (self.intake.counts(), self.seen);
        self.seen = now;
        let (warning, estimated) = (self.intake.clock_warning(), self.intake.estimated());
        let at = received.unwrap_or_else(|| board.clock.now());
        board.count(at, |s| {
            s.units_in += now.units - old.units;
            s.bytes += now.bytes - old.bytes;
            s.lost += now.lost - old.lost;
            s.last_unit = received.or(s.last_unit);
            s.times_estimated = estimated;
            if s.clock_warning.as_deref() != warning {
                s.clock_warning = warning.map(String::from);
            }
        });
    }

    /// Flushes and ends the session: everything is durable when this returns.
    pub(crate) async fn end(mut self, board: &mut Board) -> Result<(), SinkError> {
        self.intake.end(board.clock.now());
        let drained = self.drain(board).await;
        let ended = match self.session.take() {
            Some(session) => session.end().await,
            None => Ok(()),
        };
        drained.and(ended)
    }
}
