//! One publisher's connection: reads, asks what the protocol wants asked, hands media on.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use access::{Denied, Permit};
use bytes::{Buf, BytesMut};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

use super::message::{Incoming, MAX_MESSAGE, Request, Response, parse};
use super::protocol::{Protocol, Publisher, Step, TIMEOUT_S};
use super::udp::{Datagram, Ports, QUEUE, QUIET};
use super::{Shared, until};
use crate::State;
use crate::board::{Board, Flow, Opening};
use crate::registry::Place;
use crate::rtp::Reorder;

/// From connecting to RECORD.
const BEGIN: Duration = Duration::from_secs(30);
/// Nothing was received for so long: it is said.
const STALLED: Duration = Duration::from_secs(10);
/// And for so long: the session is ended.
const SILENT: Duration = Duration::from_secs(TIMEOUT_S);
/// A client must read our answers.
const WRITE: Duration = Duration::from_secs(10);
/// How long it may take to close both sides after the last answer.
const CLOSE: Duration = Duration::from_secs(5);
const READ: usize = 64 << 10;
/// Datagrams taken at once before looking at anything else.
const BATCH: usize = 64;

struct Recording {
    stream: String,
    flow: Flow,
    board: Board,
    place: Place,
}

/// Why a connection ends.
enum End {
    /// The client said so; it gets an answer to this.
    Teardown(Request),
    /// The client went.
    Closed,
    /// Something else, in words.
    Because(String),
    /// The same, and the client has been told in an answer.
    Refused(String),
}

pub(super) struct Connection<'a, S> {
    shared: &'a Shared,
    io: S,
    id: u64,
    local: SocketAddr,
    peer: SocketAddr,
    buf: BytesMut,
    protocol: Protocol,
    permit: Option<Permit>,
    ports: Vec<Ports>,
    datagrams: (mpsc::Sender<Datagram>, mpsc::Receiver<Datagram>),
    /// For each medium that comes by UDP.
    reorder: Vec<(usize, Reorder)>,
    recording: Option<Recording>,
    /// When something was last received, on the monotonic clock.
    heard: Duration,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin + Send> Connection<'a, S> {
    pub(super) fn new(shared: &'a Shared, io: S, id: u64, local: SocketAddr, peer: SocketAddr) -> Self {
        let session = shared.world.random16()[..8].iter().map(|b| format!("{b:02x}")).collect();
        Connection {
            shared,
            io,
            id,
            local,
            peer,
            buf: BytesMut::with_capacity(READ),
            protocol: Protocol::new(session),
            permit: None,
            ports: Vec::new(),
            datagrams: mpsc::channel(QUEUE),
            reorder: Vec::new(),
            recording: None,
            heard: shared.world.clock.monotonic(),
        }
    }

    /// Until it ends; what was received is then with the sink.
    pub(super) async fn run(mut self, stop: watch::Receiver<bool>) {
        let end = match self.receive(stop.clone()).await {
            Ok(end) | Err(end) => end,
        };
        if matches!(end, End::Teardown(_) | End::Closed) && !self.ports.is_empty() {
            self.linger().await;
        }
        // Whatever the sink makes of it: no port is held longer.
        self.ports.clear();
        let mut answer = self.protocol.ok();
        if let Some(Recording { stream, flow, mut board, place }) = self.recording.take() {
            let ended = flow.end(&mut board).await;
            board.state(State::Stopped, "the publisher ended it");
            drop(place);
            let peer = self.peer;
            match (&end, &ended) {
                (_, Err(e)) => {
                    tracing::warn!(stream, %peer, error = %e, "what was published could not be stored")
                }
                (End::Because(why) | End::Refused(why), _) => {
                    tracing::warn!(stream, %peer, why, "a publisher's session was ended")
                }
                _ => tracing::info!(stream, %peer, "a publisher has gone"),
            }
            if let Err(e) = ended {
                answer = Response::refuse(500, e.message);
            }
        } else if let End::Because(why) | End::Refused(why) = &end {
            tracing::debug!(peer = %self.peer, why, "a connection was closed");
        }
        match end {
            End::Teardown(request) => {
                let _ = self.answer(&answer, &request).await;
            }
            End::Because(why) => {
                // A client that is still there may show it.
                let mut out = Vec::new();
                Response::refuse(400, why).write(None, &mut out);
                let _ = self.write(&out).await;
            }
            End::Refused(_) | End::Closed => {}
        }
        self.close(stop).await;
    }

    /// Closes our side, and reads what the client still sends until it closes its own. A socket that is closed over unread data
    /// resets the connection (RFC 1122 §4.2.2.13): the client could not read its answer any more, and its own writes would
    /// fail. All of it is bounded in time, TLS's last word too, which waits for a client that reads nothing.
    async fn close(&mut self, mut stop: watch::Receiver<bool>) {
        let mut late = self.shared.world.clock.sleep(CLOSE);
        tokio::select! {
            biased;
            _ = self.io.shutdown() => {}
            () = &mut late => return,
            () = until(&mut stop) => return,
        }
        let rest = async {
            loop {
                self.buf.clear();
                self.buf.reserve(READ);
                if !matches!(self.io.read_buf(&mut self.buf).await, Ok(1..)) {
                    return;
                }
            }
        };
        tokio::select! {
            () = rest => {}
            () = late => {}
            () = until(&mut stop) => {}
        }
    }

    async fn receive(&mut self, mut stop: watch::Receiver<bool>) -> Result<End, End> {
        let clock = self.shared.world.clock.clone();
        let begun = clock.monotonic();
        let mut tick = clock.sleep(self.tick());
        loop {
            if let Some(request) = self.take_buffered().await? {
                return Ok(End::Teardown(request));
            }
            if self.buf.capacity() - self.buf.len() < READ / 4 {
                self.buf.reserve(READ);
            }
            let ended = async {
                match &mut self.recording {
                    Some(r) => match r.place.end.wait_for(|e| e.is_some()).await {
                        Ok(why) => why.unwrap_or("ended"),
                        Err(_) => "ended",
                    },
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = until(&mut stop) => return Ok(End::Because("the server is stopping".into())),
                why = ended => return Ok(End::Because(why.into())),
                n = self.io.read_buf(&mut self.buf) => {
                    self.heard = clock.monotonic();
                    if n.map_err(|_| End::Closed)? == 0 {
                        return Ok(End::Closed);
                    }
                }
                Some(first) = self.datagrams.1.recv() => {
                    self.heard = clock.monotonic();
                    self.take_datagrams(first).await?;
                }
                () = &mut tick => {
                    self.look(clock.monotonic(), begun).await?;
                    tick = clock.sleep(self.tick());
                }
            }
        }
    }

    /// Packets that are out of order are looked at more often.
    fn tick(&self) -> Duration {
        Duration::from_millis(if self.reorder.is_empty() { 1000 } else { 100 })
    }

    /// Takes what is in the buffer. A request to end is returned: whatever follows it is not for us.
    async fn take_buffered(&mut self) -> Result<Option<Request>, End> {
        let clock = self.shared.world.clock.clone();
        let mut now = None;
        loop {
            let (n, request) = match parse(&self.buf) {
                Err(bad) => return Err(End::Because(format!("this is not RTSP: {bad}"))),
                Ok(None) if self.buf.len() > MAX_MESSAGE => {
                    return Err(End::Because("a message is too long".into()));
                }
                Ok(None) => break,
                Ok(Some((n, Incoming::Request(r)))) => (n, Some(r)),
                Ok(Some((n, Incoming::Frame(channel, data)))) => {
                    if let (Some(r), Some((media, rtcp))) =
                        (&mut self.recording, self.protocol.channel(channel))
                    {
                        let received = *now.get_or_insert_with(|| clock.now());
                        match rtcp {
                            false => r.flow.intake.rtp(media, data, received),
                            true => r.flow.intake.rtcp(media, data, received),
                        }
                        if r.flow.intake.waiting() {
                            r.flow.drain(&mut r.board).await.map_err(|e| End::Because(e.message))?;
                            now = None;
                        }
                    }
                    (n, None)
                }
            };
            self.buf.advance(n);
            if let Some(request) = request
                && let Some(end) = self.request(request).await?
            {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    async fn take_datagrams(&mut self, first: Datagram) -> Result<(), End> {
        let clock = &self.shared.world.clock;
        let now = clock.monotonic().as_millis() as u64;
        let Some(r) = &mut self.recording else { return Ok(()) };
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(Datagram { media, rtcp, data, received }) = next {
            let intake = &mut r.flow.intake;
            match self.reorder.iter_mut().find(|(m, _)| *m == media) {
                _ if rtcp => intake.rtcp(media, &data, received),
                Some((_, reorder)) => reorder.push(data, now, &mut |p| intake.rtp(media, &p, received)),
                None => {}
            }
            r.flow.drain(&mut r.board).await.map_err(|e| End::Because(e.message))?;
            taken += 1;
            next = if taken < BATCH { self.datagrams.1.try_recv().ok() } else { None };
        }
        Ok(())
    }

    /// The client has ended it, but its packets may be slower than its word.
    async fn linger(&mut self) {
        let clock = self.shared.world.clock.clone();
        loop {
            tokio::select! {
                biased;
                d = self.datagrams.1.recv() => {
                    let Some(d) = d else { break };
                    if self.take_datagrams(d).await.is_err() {
                        return;
                    }
                }
                () = clock.sleep(QUIET) => break,
            }
        }
        if let Some(r) = &mut self.recording {
            let received = clock.now();
            for (media, reorder) in &mut self.reorder {
                let (intake, media) = (&mut r.flow.intake, *media);
                reorder.flush(&mut |p| intake.rtp(media, &p, received));
            }
        }
    }

    /// Once in a while.
    async fn look(&mut self, now: Duration, begun: Duration) -> Result<(), End> {
        let Some(r) = &mut self.recording else {
            return match now.saturating_sub(begun) > BEGIN {
                true => Err(End::Because(format!("nothing was recorded for {} s", BEGIN.as_secs()))),
                false => Ok(()),
            };
        };
        let received = self.shared.world.clock.now();
        for (media, reorder) in &mut self.reorder {
            let (intake, media) = (&mut r.flow.intake, *media);
            reorder.expire(now.as_millis() as u64, &mut |p| intake.rtp(media, &p, received));
        }
        let silent = now.saturating_sub(r.flow.last_unit.unwrap_or(begun));
        if silent >= STALLED && r.board.state_now() != State::Stalled {
            r.flow.intake.broke(format!("nothing was received for {} s", STALLED.as_secs()));
            r.board.state(State::Stalled, "connected, but nothing is received");
        }
        r.flow.drain(&mut r.board).await.map_err(|e| End::Because(e.message))?;
        match now.saturating_sub(self.heard) >= SILENT {
            true => Err(End::Because(format!("nothing was received for {TIMEOUT_S} s"))),
            false => Ok(()),
        }
    }

    /// Does what a request calls for. Returns it if it ends the session.
    async fn request(&mut self, request: Request) -> Result<Option<Request>, End> {
        let response = match self.protocol.request(&request) {
            Step::Reply(r) => r,
            Step::Teardown => return Ok(Some(request)),
            Step::Admit(who) => {
                let outcome = Self::admit(self.shared, self.peer.ip(), &who).await;
                match &outcome {
                    // Many say who they are only when they are asked.
                    Err(e) if who.user.is_none() => {
                        tracing::debug!(stream = who.stream, peer = %self.peer, error = %e, "a publisher is asked who it is");
                    }
                    Err(e) => {
                        tracing::info!(stream = who.stream, peer = %self.peer, error = %e, "a publisher was not admitted");
                    }
                    Ok(_) => {}
                }
                let outcome = outcome.map(|permit| self.permit = Some(permit));
                self.protocol.admitted(&who.stream, outcome)
            }
            Step::Bind { media, client } => {
                let world = &self.shared.world;
                let (local, peer) = (self.local.ip(), self.peer.ip());
                let to = self.datagrams.0.clone();
                let ports = Ports::open(media, local, peer, &*world.entropy, world.clock.clone(), to).await;
                let ours = ports.map(|p| {
                    let pair = (p.rtp, p.rtcp);
                    self.ports.push(p);
                    self.reorder.push((media, Reorder::default()));
                    pair
                });
                self.protocol.bound(media, client, ours)
            }
            Step::Record(stream) => match self.record(stream).await? {
                Ok(r) => r,
                // Nothing can be stored: the client is told why, and goes.
                Err(words) => {
                    self.answer(&Response::refuse(503, words.clone()), &request).await?;
                    return Err(End::Refused(words));
                }
            },
        };
        self.answer(&response, &request).await?;
        Ok(None)
    }

    async fn admit(shared: &Shared, peer: IpAddr, who: &Publisher) -> Result<Permit, Denied> {
        let ask = |user: Option<String>, password: Option<String>| async move {
            shared.admit.publish(peer, &who.stream, user.as_deref(), password.as_deref()).await
        };
        let first = ask(who.user.clone(), who.password.clone()).await;
        // Some clients send what stands in the URL as it stands there.
        let decode =
            |s: &Option<String>| s.as_ref().map(|s| percent_decode_str(s).decode_utf8_lossy().into_owned());
        let (user, password) = (decode(&who.user), decode(&who.password));
        match first {
            Err(Denied::NotAuthenticated(_)) if (&user, &password) != (&who.user, &who.password) => {
                ask(user, password).await
            }
            other => other,
        }
    }

    /// The answer, or why what it sends cannot be stored.
    async fn record(&mut self, stream: String) -> Result<Result<Response, String>, End> {
        let Some(permit) = self.permit.take() else {
            return Ok(Ok(Response::refuse(455, "RECORD before ANNOUNCE")));
        };
        let shared = self.shared;
        let (mut board, status) = Board::new(shared.world.clock.clone());
        let place = match shared.registry.take(&stream, self.id, status, &*shared.world.clock).await {
            Ok(place) => place,
            Err(words) => return Ok(Ok(Response::refuse(503, words))),
        };
        let Some((intake, ok)) = self.protocol.recorded() else {
            return Ok(Ok(Response::refuse(455, "RECORD before ANNOUNCE")));
        };
        let opening = Opening { sink: shared.sink.clone(), permit, stream: stream.clone() };
        let mut flow = Flow::new(intake, opening);
        if let Err(e) = flow.open().await {
            return Ok(Err(e.message));
        }
        board.connected();
        board.state(State::Connecting, "waiting for the first picture");
        tracing::info!(stream, peer = %self.peer, "a publisher has come");
        self.recording = Some(Recording { stream, flow, board, place });
        Ok(Ok(ok))
    }

    async fn answer(&mut self, response: &Response, request: &Request) -> Result<(), End> {
        let mut out = Vec::new();
        response.write(Some(request), &mut out);
        self.write(&out).await
    }

    async fn write(&mut self, out: &[u8]) -> Result<(), End> {
        tokio::select! {
            r = async { self.io.write_all(out).await?; self.io.flush().await } => r.map_err(|_| End::Closed),
            () = self.shared.world.clock.sleep(WRITE) => Err(End::Closed),
        }
    }
}

#[cfg(test)]
mod tests;
