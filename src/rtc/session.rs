//! One session's task: packets, time and media in turn, until it ends.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use access::Permit;
use bytes::Bytes;
use media::Codec;
use str0m::{Event, net::Protocol, rtp::RtpHeader};
use tokio::sync::mpsc;
use world::Timestamp;

use crate::{
    Feed, Follow, Next, Unit,
    burst::Burst,
    desk::{Desk, News, Sound},
    hub::{Hub, REORDERED},
    link::Verdict,
    peer::{Peer, Turn},
    play::{Play, Sent},
    publish::{self, Publishing},
    table::{Control, Packet, Restart},
    talk::{Ear, Overhears, Said},
};

/// From the answer to the first media.
const CONNECT: Duration = Duration::from_secs(30);
/// A peer that sends nothing for so long is gone (RFC 7675 §5.1).
const SILENT: Duration = Duration::from_secs(30);
/// Packets that are out of order are looked at so often.
const TICK: Duration = Duration::from_millis(100);
/// A key frame is not asked for more often.
const ASK: Duration = Duration::from_millis(500);
/// Ways back that a session remembers.
const CONNECTIONS: usize = 32;
/// Packets taken at once before looking at anything else.
const BATCH: usize = 64;

/// Which half it is.
pub(crate) enum Role {
    /// `says`: what it says goes to the stream's master.
    Play {
        play: Box<Play>,
        permit: Option<Permit>,
        follow: Option<Box<dyn Follow>>,
        says: bool,
        /// What others say who watch with it, if there is no sound in which that is mixed.
        others: Option<Box<(Overhears, Ear)>>,
    },
    /// `desk`: where what viewers say is heard, and mixed into its sound.
    Publish { publishing: Publishing, feed: Box<dyn Feed>, received: Timestamp, desk: Option<Box<Desk>> },
}

impl Role {
    pub(crate) fn play(play: Play, permit: Permit, says: bool) -> Role {
        Role::Play { play: Box::new(play), permit: Some(permit), follow: None, says, others: None }
    }
    pub(crate) fn publish(publishing: Publishing, feed: Box<dyn Feed>, desk: Option<Desk>) -> Role {
        Role::Publish { publishing, feed, received: Timestamp(0), desk: desk.map(Box::new) }
    }
}

pub(crate) struct Session {
    hub: Arc<Hub>,
    id: String,
    stream: String,
    peer: Peer,
    role: Role,
    incoming: mpsc::Receiver<Packet>,
    told: mpsc::Receiver<Control>,
    tcp: HashMap<SocketAddr, mpsc::Sender<Bytes>>,
    burst: Burst,
    connected: bool,
    /// When something was last received.
    heard: Instant,
    /// When a key frame was last asked for.
    asked: Option<Instant>,
}

enum Happened {
    Told(Option<Control>),
    Packet(Option<Packet>),
    Next(Next),
    Desk(News),
    Others(Option<Said>),
    Time,
}

impl Session {
    pub(crate) fn new(
        hub: Arc<Hub>,
        id: String,
        stream: String,
        peer: Peer,
        role: Role,
        incoming: mpsc::Receiver<Packet>,
        told: mpsc::Receiver<Control>,
    ) -> Session {
        let heard = hub.instants.now();
        let (tcp, burst) = (HashMap::new(), Burst::default());
        Session {
            hub,
            id,
            stream,
            peer,
            role,
            incoming,
            told,
            tcp,
            burst,
            connected: false,
            heard,
            asked: None,
        }
    }

    pub(crate) async fn run(mut self) {
        let why = loop {
            match self.step().await {
                Ok(()) => {}
                Err(why) => break why,
            }
        };
        // The peer is told, if it is still there.
        let _ = self.peer.rtc.close();
        self.peer.timeout(self.hub.instants.now());
        for _ in 0..BATCH {
            match self.peer.turn() {
                Turn::Send { protocol, to, data } => self.send(protocol, to, data).await,
                Turn::Event(_) | Turn::Again(_) => {}
                Turn::Wait(_) | Turn::Over(_) => break,
            }
        }
        self.burst.flush(&self.hub.udp).await;
        let (id, stream) = (&self.id[..8], &self.stream);
        match self.role {
            Role::Play { .. } if !self.connected => {
                tracing::info!(stream, id, why, "a viewer did not connect")
            }
            Role::Play { .. } => tracing::debug!(stream, id, why, "a viewer has gone"),
            Role::Publish { mut feed, desk, .. } => {
                let now = self.hub.instants.now();
                if let Some(mut desk) = desk {
                    while let Some(s) = desk.rest(now) {
                        feed.rtp(s.media, s.packet, s.received);
                    }
                }
                match feed.end().await {
                    Ok(()) if !self.connected => {
                        tracing::info!(stream, id, why, "a publisher did not connect")
                    }
                    Ok(()) => tracing::info!(stream, id, why, "a publisher has gone"),
                    Err(e) => tracing::warn!(stream, id, error = e, "what was published could not be stored"),
                }
            }
        }
    }

    /// One thing that happens, and what follows from it. The error is why it is over.
    async fn step(&mut self) -> Result<(), String> {
        let wait = self.turns().await?;
        let instants = self.hub.instants.clone();
        let now = instants.now();
        if now.saturating_duration_since(self.heard) >= if self.connected { SILENT } else { CONNECT } {
            return Err(if self.connected { "nothing was received" } else { "it never connected" }.into());
        }
        let mut latest = now + Duration::from_secs(1);
        if let Role::Publish { desk, .. } = &self.role {
            let due = desk.as_ref().and_then(|d| d.due());
            latest = due.into_iter().fold(now + TICK, Instant::min);
        }
        let next = async {
            match &mut self.role {
                Role::Play { follow: Some(f), others: Some(o), .. } => tokio::select! {
                    said = o.0.next() => Happened::Others(said),
                    next = f.next() => Happened::Next(next),
                },
                Role::Play { follow: Some(f), .. } => Happened::Next(f.next().await),
                Role::Publish { desk: Some(desk), .. } => Happened::Desk(desk.next().await),
                _ => std::future::pending().await,
            }
        };
        let happened = tokio::select! {
            biased;
            c = self.told.recv() => Happened::Told(c),
            p = self.incoming.recv() => Happened::Packet(p),
            n = next => n,
            () = instants.until(wait.min(latest)) => Happened::Time,
        };
        match happened {
            Happened::Told(Some(Control::KeyFrame)) => {
                self.ask_key_frame();
                Ok(())
            }
            Happened::Told(Some(Control::Restart(r))) => {
                self.restart(r);
                Ok(())
            }
            Happened::Told(Some(Control::End) | None) => Err("it was ended".into()),
            Happened::Packet(None) => Err("the server has no more".into()),
            Happened::Packet(Some(first)) => self.packets(first).await,
            Happened::Next(n) => self.media(n),
            Happened::Others(said) => {
                self.overheard(said);
                Ok(())
            }
            Happened::Desk(News::Said(said)) => {
                self.desk(Some(News::Said(said)));
                Ok(())
            }
            Happened::Desk(news) => {
                self.desk(Some(news));
                self.store().await
            }
            Happened::Time => self.time().await,
        }
    }

    fn restart(&mut self, r: Restart) {
        let now = self.hub.instants.now();
        let answer = self.peer.restart(&r.ufrag, &r.pwd, now).map_err(|e| e.to_string());
        if answer.is_ok() {
            self.hub.table.renamed(&self.id, &self.peer.ufrag, &r.ufrag);
            tracing::debug!(stream = self.stream, id = &self.id[..8], "ICE is restarted");
        }
        // Fails when nobody waits any more.
        let _ = r.answer.send(answer);
    }

    /// Sends and notes all that there is, until there is nothing but to wait.
    async fn turns(&mut self) -> Result<Instant, String> {
        loop {
            match self.peer.turn() {
                Turn::Wait(until) => {
                    self.burst.flush(&self.hub.udp).await;
                    return Ok(until);
                }
                Turn::Over(why) => return Err(why),
                Turn::Send { protocol, to, data } => self.send(protocol, to, data).await,
                Turn::Event(e) => self.event(e)?,
                Turn::Again(p) => self.published(p.at, &p.header, &p.payload),
            }
        }
    }

    /// Sends, by UDP at the latest with the burst's next flush.
    async fn send(&mut self, protocol: Protocol, to: SocketAddr, data: Vec<u8>) {
        if protocol == Protocol::Udp {
            self.burst.add(&self.hub.udp, to, &data).await;
        } else if let Some(back) = self.tcp.get(&to) {
            let _ = back.try_send(data.into());
        }
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        match (event, &mut self.role) {
            (Event::Connected, _) => {
                self.connected = true;
                self.begin()?;
            }
            (Event::KeyframeRequest(_), Role::Play { .. }) => {
                self.hub.want_key_frame(&self.stream);
            }
            (Event::MediaEgressStats(s), Role::Play { play, .. }) => {
                let (stream, id) = (&self.stream, &self.id[..8]);
                match play.reported(&mut self.peer, &s) {
                    Some(Verdict::Slow(rate)) => {
                        tracing::info!(
                            stream,
                            id,
                            bytes_per_second = rate,
                            "a viewer's link is too slow: pictures are left out"
                        );
                    }
                    Some(Verdict::Carries) => {
                        tracing::info!(stream, id, "a viewer is sent all pictures again")
                    }
                    Some(Verdict::More) | None => {}
                }
            }
            (Event::MediaData(d), Role::Play { says: true, .. }) => {
                self.hub.talks.say(&self.stream, &self.id, &d, self.hub.instants.now());
            }
            (Event::RtpPacket(p), _) => self.published(p.timestamp, &p.header, &p.payload),
            (Event::SenderFeedback(f), Role::Publish { publishing, feed, received, .. }) => {
                if let (Some(media), Some((ntp, rtp))) = (publishing.place(f.mid), publish::clocks(&f)) {
                    feed.report(media, ntp, rtp, *received);
                }
            }
            (Event::Closed, _) => return Err("the peer ended it".into()),
            _ => {}
        }
        Ok(())
    }

    /// A publisher's packet: `at` is when it came, for it may have been held.
    fn published(&mut self, at: Instant, header: &RtpHeader, payload: &[u8]) {
        let Role::Publish { publishing, feed, desk, .. } = &mut self.role else { return };
        let mid = self.peer.rtc.direct_api().stream_rx(&header.ssrc).map(|rx| rx.mid());
        if let Some(media) = mid.and_then(|m| publishing.place(m)) {
            let waited = self.hub.instants.now().saturating_duration_since(at);
            let waited = i64::try_from(waited.as_micros()).unwrap_or(0);
            let received = Timestamp(self.hub.world.clock.now().0.saturating_sub(waited));
            let packet = publish::packet(header, payload);
            match desk.as_mut().filter(|_| publishing.is_sound(media)) {
                Some(desk) => {
                    desk.master(Sound { media, packet, received }, self.hub.instants.now());
                    self.desk(None);
                }
                None => feed.rtp(media, packet, received),
            }
        }
    }

    /// The connection stands: media begin.
    fn begin(&mut self) -> Result<(), String> {
        let Role::Play { play, permit, follow, says, others } = &mut self.role else {
            tracing::info!(stream = self.stream, id = &self.id[..8], "a publisher has come by WebRTC");
            return Ok(());
        };
        let Some(permit) = permit.take() else { return Ok(()) };
        if *says && !play.sounds() {
            let ear = Ear::of(&self.peer);
            *others = ear.map(|ear| Box::new((self.hub.talks.overhear(&self.stream, &self.id), ear)));
        }
        let follow = follow.insert(self.hub.source.follow(permit, &self.stream).map_err(|e| e.message)?);
        tracing::debug!(stream = self.stream, id = &self.id[..8], "a viewer has come by WebRTC");
        if let Some(still) = self.hub.source.key_frame(&self.stream)
            && play.send_still(&mut self.peer, &still, self.hub.instants.now()) == Sent::Yes
        {
            follow.sent(still.data.len());
        }
        self.hub.want_key_frame(&self.stream);
        Ok(())
    }

    async fn packets(&mut self, first: Packet) -> Result<(), String> {
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(p) = next {
            let protocol = if p.tcp.is_some() { Protocol::Tcp } else { Protocol::Udp };
            if let Some(back) = p.tcp
                && (self.tcp.len() < CONNECTIONS || self.tcp.contains_key(&p.source))
            {
                self.tcp.retain(|_, s| !s.is_closed());
                self.tcp.insert(p.source, back);
            }
            if let Role::Publish { received, .. } = &mut self.role {
                *received = p.received;
            }
            self.heard = p.at;
            self.peer.receive(p.at, protocol, p.source, &p.data);
            self.turns().await?;
            taken += 1;
            next = if taken < BATCH { self.incoming.try_recv().ok() } else { None };
        }
        self.store().await
    }

    /// Hands on what a publisher sent.
    async fn store(&mut self) -> Result<(), String> {
        let Role::Publish { feed, .. } = &mut self.role else { return Ok(()) };
        feed.drain().await?;
        if feed.broken() {
            self.ask_key_frame();
        }
        Ok(())
    }

    async fn time(&mut self) -> Result<(), String> {
        let now = self.hub.instants.now();
        self.peer.timeout(now);
        self.desk(None);
        self.turns().await?;
        let due = self.asked.is_none_or(|a| now.saturating_duration_since(a) >= self.hub.config.key_frames);
        if self.connected && due {
            self.ask_key_frame();
        }
        self.store().await
    }

    /// What goes on from the desk, does: to the stream and to the master.
    fn desk(&mut self, news: Option<News>) {
        let Role::Publish { feed, desk: Some(desk), .. } = &mut self.role else { return };
        let now = self.hub.instants.now();
        if let Some(news) = news {
            desk.take(news, now);
        }
        while let Some(s) = desk.goes(now) {
            feed.rtp(s.media, s.packet, s.received);
        }
        desk.hear(&mut self.peer, self.connected, now);
    }

    /// Another viewer says something, or this one itself.
    fn overheard(&mut self, said: Option<Said>) {
        let Role::Play { others: Some(o), .. } = &mut self.role else { return };
        match said {
            Some(said) => o.1.hear(&mut self.peer, &said, self.hub.instants.now()),
            None => o.1.pause(),
        }
    }

    fn ask_key_frame(&mut self) {
        let now = self.hub.instants.now();
        if let Role::Publish { publishing, .. } = &self.role
            && self.asked.is_none_or(|a| now.saturating_duration_since(a) >= ASK)
        {
            self.asked = Some(now);
            publishing.ask_key_frame(&mut self.peer);
        }
    }

    fn media(&mut self, next: Next) -> Result<(), String> {
        let Role::Play { play, .. } = &mut self.role else { return Ok(()) };
        match next {
            Next::End => Err("the stream is no more".into()),
            Next::Missed => {
                play.missed();
                self.hub.want_key_frame(&self.stream);
                Ok(())
            }
            Next::Unit(unit) => self.unit(&unit),
        }
    }

    fn unit(&mut self, unit: &Unit) -> Result<(), String> {
        let Role::Play { play, follow, says, .. } = &mut self.role else { return Ok(()) };
        // Nobody hears itself.
        let other = (*says && unit.track.codec == Codec::Opus)
            .then(|| self.hub.talks.instead(&self.stream, &self.id, &unit.data))
            .flatten();
        let other = other.map(|data| Unit { data, ..unit.clone() });
        let unit = other.as_ref().unwrap_or(unit);
        match play.send(&mut self.peer, unit, self.hub.instants.now()) {
            Sent::Yes => {
                follow.iter_mut().for_each(|f| f.sent(unit.data.len()));
                Ok(())
            }
            Sent::No | Sent::Waits => Ok(()),
            Sent::Reordered => {
                self.hub.remember_reordered(&self.stream, &unit.track.config);
                Err(REORDERED.into())
            }
            Sent::Other => Err("the stream's codec has changed".into()),
        }
    }
}
