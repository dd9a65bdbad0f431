//! A client's connection: what it sends is passed on, what is for it is sent, until one of them has enough.

use std::time::Duration;

use axum::{
    extract::{
        FromRequestParts as _,
        ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade, close_code},
    },
    http::request::Parts,
    response::Response,
};
use wire::{aws::AwsError, intake::Intake};

use super::{
    MOST, Seat, Signaling,
    board::Sends,
    message::{self, MAX_MESSAGE},
};

/// How long a connection may last, and how long before its end that is said; how long nothing may be heard (service
/// quotas).
const LASTS: Duration = Duration::from_secs(3600);
const GRACE: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(600);
/// How long a client may take to read what it is sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is read of a message: more than it may have, so that who sends one too large is told so and not cut off in the
/// middle of it. Beyond, the connection breaks.
const READ: usize = 2 << 20;
/// What is read at once, and kept for each connection.
const AT_ONCE: usize = 8 << 10;
/// Of a control frame from a client, besides its payload (RFC 6455 §5.2).
const CONTROL: usize = 6;

/// What a connection's age asks for. Times are monotonic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Age {
    began: Duration,
    heard: Duration,
    told: bool,
    limits: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Nothing, until then.
    Wait(Duration),
    /// It is said that it will end.
    Warn,
    /// It ends.
    End(&'static str),
}

impl Age {
    fn due(&self, now: Duration) -> Due {
        let idle = self.heard + IDLE;
        if now >= idle {
            return Due::End("idle");
        }
        if !self.limits {
            return Due::Wait(idle);
        }
        let end = self.began + LASTS;
        match (now, self.told) {
            (n, _) if n >= end => Due::End("the connection has lasted an hour"),
            (n, false) if n >= end - GRACE => Due::Warn,
            (_, false) => Due::Wait(idle.min(end - GRACE)),
            (_, true) => Due::Wait(idle.min(end)),
        }
    }
}

/// Counts connections.
struct Running(Signaling);

impl Running {
    fn begin(signaling: &Signaling) -> Result<Running, AwsError> {
        let mut room = false;
        signaling.0.running.send_modify(|n| {
            room = *n < MOST;
            *n += usize::from(room);
        });
        if !room {
            return Err(AwsError::unavailable(format!("There are {MOST} connections, which are the most.")));
        }
        Ok(Running(signaling.clone()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.running.send_modify(|n| *n -= 1);
    }
}

/// Takes a connection over. `ttl`: how long what it sends waits for its receiver.
pub(super) async fn connect(
    seat: impl FnOnce() -> Result<Seat, AwsError>,
    signaling: &Signaling,
    mut head: Parts,
    ttl: Duration,
) -> Result<Response, AwsError> {
    let upgrade = WebSocketUpgrade::from_request_parts(&mut head, &())
        .await
        .map_err(|e| AwsError::new("InvalidArgumentException", format!("No WebSocket begins: {e}")))?;
    if *signaling.0.stop.borrow() {
        return Err(AwsError::unavailable("The server is stopping."));
    }
    let running = Running::begin(signaling)?;
    let seat = seat()?;
    // Which the listener leaves there.
    let intake = head.extensions.get::<Intake>().cloned().unwrap_or_default();
    let upgrade = upgrade
        .read_buffer_size(AT_ONCE)
        .max_message_size(READ)
        .max_frame_size(READ)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_MESSAGE * 4);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let _running = running;
        let now = seat.signaling.now();
        let limits = seat.signaling.0.limits;
        let age = Age { began: now, heard: now, told: false, limits };
        let (channels, arn) = (seat.signaling.0.channels.clone(), seat.arn.clone());
        intake.bound(&seat.signaling.0.reading);
        let connection = Connection { seat, ttl, socket, intake, age, warned: None, sends: Sends::default() };
        tokio::join!(channels.connected(&arn), connection.run());
    }))
}

struct Connection {
    seat: Seat,
    ttl: Duration,
    socket: WebSocket,
    intake: Intake,
    age: Age,
    /// When it was last warned that what it knows of the TURN server ends. Monotonic.
    warned: Option<Duration>,
    sends: Sends,
}

/// Why it ends: a status code of RFC 6455 §7.4, and words.
type End = (u16, String);

impl Connection {
    async fn run(mut self) {
        let why = loop {
            if let Err(end) = self.step().await {
                break end;
            }
        };
        if let Some((code, words)) = why {
            tracing::debug!(channel = self.seat.arn, who = ?self.seat.who, words, "a signaling connection ends");
            let frame = Frame::Close(Some(CloseFrame { code, reason: words.into() }));
            if self.send(frame).await.is_ok() {
                // The other side's closing is waited for, so that it reads ours.
                let clock = self.seat.signaling.0.world.clock.clone();
                tokio::select! {
                    () = async { while let Some(Ok(_)) = self.socket.recv().await {} } => {}
                    () = clock.sleep(PATIENCE) => {}
                }
            }
        }
    }

    /// The error is why it ends; none: the client has gone.
    async fn step(&mut self) -> Result<(), Option<End>> {
        let signaling = self.seat.signaling.clone();
        let now = signaling.now();
        let until = match self.age.due(now) {
            Due::Wait(until) => until,
            Due::Warn => {
                self.age.told = true;
                return self.send(Frame::Text(message::notice("GO_AWAY").into())).await;
            }
            Due::End(why) => return Err(Some((close_code::NORMAL, why.into()))),
        };
        let until = match self.relay_due(now) {
            Some(due) if due <= now => return self.relay_ends().await,
            // Who asks for credentials later is warned an hour later, which is after what is waited for here.
            Some(due) => until.min(due),
            None => until,
        };
        tokio::select! {
            event = self.seat.events.recv() => match event {
                Some(e) => self.send(Frame::Text(e.write().into())).await,
                None => {
                    self.send(Frame::Text(message::notice("GO_AWAY").into())).await?;
                    Err(Some((close_code::NORMAL, "another connection took this one's place".into())))
                }
            },
            got = self.socket.recv() => match got {
                None => Err(None),
                Some(Err(e)) => Err(Some((close_code::SIZE, format!("it cannot be read: {e}")))),
                Some(Ok(frame)) => {
                    self.age.heard = signaling.now();
                    match &frame {
                        // These come between the parts of a message, too.
                        Frame::Ping(p) | Frame::Pong(p) => self.intake.passed(p.len() + CONTROL),
                        _ => self.intake.message(),
                    }
                    self.frame(frame).await
                }
            },
            () = signaling.stopped() => {
                // The TURN server stops, too.
                if self.relay_due(signaling.now()).is_some() {
                    self.relay_ends().await?;
                }
                self.send(Frame::Text(message::notice("GO_AWAY").into())).await?;
                Err(Some((close_code::AWAY, "the server is stopping".into())))
            }
            () = signaling.0.world.clock.sleep(until.saturating_sub(now)) => Ok(()),
        }
    }

    fn relay_due(&self, now: Duration) -> Option<Duration> {
        self.seat.signaling.relays().due(&self.seat.arn, &self.seat.who, self.warned, now)
    }

    /// It is to ask for the TURN server's configuration anew (WebRTC Developer Guide, "Disconnect").
    async fn relay_ends(&mut self) -> Result<(), Option<End>> {
        self.warned = Some(self.seat.signaling.now());
        self.send(Frame::Text(message::notice("RECONNECT_ICE_SERVER").into())).await
    }

    async fn frame(&mut self, frame: Frame) -> Result<(), Option<End>> {
        let text = match &frame {
            Frame::Text(t) => t.as_str(),
            Frame::Binary(_) => return Err(Some((close_code::UNSUPPORTED, "messages are text".into()))),
            Frame::Close(_) => return Err(None),
            Frame::Ping(_) | Frame::Pong(_) => return Ok(()),
        };
        if text.len() > MAX_MESSAGE {
            let why = format!("a message of {} bytes: {MAX_MESSAGE} are the most", text.len());
            return Err(Some((close_code::SIZE, why)));
        }
        let signaling = &self.seat.signaling;
        let done = message::read(text, signaling.0.limits).and_then(|m| {
            let sends = signaling.0.limits.then_some(&mut self.sends);
            signaling
                .pass(&self.seat.arn, &self.seat.who, &m, sends, self.ttl)
                .map_err(|fault| (m.correlation, fault))
        });
        match done {
            Ok(()) => Ok(()),
            Err((correlation, fault)) => {
                tracing::debug!(channel = self.seat.arn, who = ?self.seat.who, ?fault, "a message went nowhere");
                match correlation {
                    Some(c) => self.send(Frame::Text(message::status(&c, &fault).into())).await,
                    None => Ok(()),
                }
            }
        }
    }

    async fn send(&mut self, frame: Frame) -> Result<(), Option<End>> {
        let clock = self.seat.signaling.0.world.clock.clone();
        tokio::select! {
            sent = self.socket.send(frame) => sent.map_err(|_| None),
            () = clock.sleep(PATIENCE) => Err(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_ten_minutes_of_silence_and_a_warning() {
        let s = |n: u64| Duration::from_secs(1000 + n);
        let age = |heard, told, limits| Age { began: s(0), heard: s(heard), told, limits };
        assert_eq!(age(0, false, true).due(s(0)), Due::Wait(s(600)));
        assert_eq!(age(0, false, true).due(s(600)), Due::End("idle"));
        assert_eq!(age(3000, false, true).due(s(3100)), Due::Wait(s(3540)));
        assert_eq!(age(3500, false, true).due(s(3540)), Due::Warn);
        assert_eq!(age(3500, true, true).due(s(3540)), Due::Wait(s(3600)));
        assert!(matches!(age(3590, true, true).due(s(3600)), Due::End(_)));
        assert_eq!(age(9000, false, false).due(s(9001)), Due::Wait(s(9600)));
    }
}
