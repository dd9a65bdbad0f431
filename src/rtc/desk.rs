//! A master's end of a storage session: its sound on the way to the stream, with what viewers say mixed into it, and what it hears
//! of them. Whatever cannot be mixed in time goes on as it came.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::mpsc;
use world::{Clock, Timestamp};

use crate::{
    Blend, Mixers,
    order::Order,
    peer::Peer,
    room::Room,
    talk::{Ear, Hears, Said},
};

/// Blends on their way to the mixer.
const WAITING: usize = 16;
/// A mixer that has nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(30);
/// One that fell behind is given so long to catch up.
const REST: Duration = Duration::from_secs(2);
/// After a failure another is tried.
const AGAIN: Duration = Duration::from_secs(10);
/// Bytes of a packet before its payload.
const HEAD: usize = 12;
/// A mix is never larger, or the packet would not fit through the network.
const LARGEST: usize = 1_100;

/// A packet of the master's sound, on its way to the stream.
#[derive(Debug)]
pub(crate) struct Sound {
    /// Its medium's place.
    pub(crate) media: usize,
    /// RTP, a head of 12 bytes and the payload.
    pub(crate) packet: Bytes,
    pub(crate) received: Timestamp,
}

/// One, and whose voices are mixed into it.
#[derive(Debug)]
struct Stored {
    sound: Sound,
    who: Vec<Arc<str>>,
}

/// What a viewer says, on its way to those who hear it, and for whom there is a mix without him.
#[derive(Debug)]
struct Heard {
    said: Said,
    who: Vec<Arc<str>>,
}

/// What a mixer's task tells.
#[derive(Debug)]
pub(crate) enum Told {
    Ready,
    Made(u64, Vec<Bytes>),
    Failed(String),
}

/// What happens at a desk.
#[derive(Debug)]
pub(crate) enum News {
    Said(Said),
    /// Another master listens.
    Replaced,
    Told(Told),
    /// The mixer has ended.
    Ended,
}

/// A mixer's task, as the desk holds it.
struct Works {
    blends: mpsc::Sender<(u64, Blend)>,
    told: mpsc::Receiver<Told>,
    ready: bool,
}

pub(crate) struct Desk {
    stream: String,
    hears: Hears,
    /// Nobody is heard here any more.
    replaced: bool,
    ear: Option<Ear>,
    mixers: Arc<dyn Mixers>,
    clock: Arc<dyn Clock>,
    works: Option<Works>,
    /// Nothing is mixed until then.
    rests: Option<Instant>,
    tickets: u64,
    stored: Order<Stored>,
    heard: Order<Heard>,
    /// Why it could not be mixed the last time.
    failed: Option<String>,
}

impl Desk {
    pub(crate) fn new(
        stream: &str,
        hears: Hears,
        ear: Option<Ear>,
        mixers: Arc<dyn Mixers>,
        clock: Arc<dyn Clock>,
    ) -> Desk {
        Desk {
            stream: stream.into(),
            hears,
            replaced: false,
            ear,
            mixers,
            clock,
            works: None,
            rests: None,
            tickets: 0,
            stored: Order::default(),
            heard: Order::default(),
            failed: None,
        }
    }

    /// Waits for what happens next. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> News {
        let told = async {
            match &mut self.works {
                Some(w) => w.told.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            t = told => t.map_or(News::Ended, News::Told),
            s = self.hears.next(), if !self.replaced => s.map_or(News::Replaced, News::Said),
        }
    }

    /// Takes it. What can go on then, does by [`Desk::goes`] and [`Desk::hear`].
    pub(crate) fn take(&mut self, news: News, now: Instant) {
        match news {
            News::Said(said) => self.said(said, now),
            News::Replaced => self.replaced = true,
            News::Told(Told::Ready) => {
                tracing::debug!(stream = self.stream, "viewers' sound is mixed");
                self.works.iter_mut().for_each(|w| w.ready = true);
                self.failed = None;
            }
            News::Told(Told::Made(ticket, made)) => {
                // Too late for either, if neither waits.
                let _ = self.stored.made(ticket, made.clone()) || self.heard.made(ticket, made);
            }
            News::Told(Told::Failed(why)) => {
                if self.failed.as_ref() != Some(&why) {
                    tracing::warn!(stream = self.stream, why, "viewers' sound is not mixed");
                }
                self.failed = Some(why);
                self.rests = Some(now + AGAIN);
                self.end();
            }
            News::Ended => self.end(),
        }
    }

    fn end(&mut self) {
        self.works = None;
        self.stored.give_up();
        self.heard.give_up();
    }

    /// A viewer that has the floor says something.
    fn said(&mut self, said: Said, now: Instant) {
        let overheard = self.hears.overheard();
        if self.ear.is_none() && !overheard {
            return;
        }
        let due = |r: &mut Room| r.heard(said.voice?, &said.data, overheard, now);
        let (mut who, mut ticket) = (Vec::new(), None);
        if self.may(2, now)
            && let Some(due) = self.hears.room(due).flatten()
        {
            ticket = self.ask(due.blend, now);
            who = due.who;
        }
        self.heard.push(Heard { said, who }, ticket, now);
    }

    /// The master says something: the next of [`Desk::goes`], or one after it.
    pub(crate) fn master(&mut self, sound: Sound, now: Instant) {
        let mut who = Vec::new();
        let mut ticket = None;
        if self.may(1, now)
            && let Some(due) =
                self.hears.room(|r| r.stored(&sound.packet[HEAD.min(sound.packet.len())..], now)).flatten()
        {
            ticket = self.ask(due.blend, now);
            who = due.who;
        }
        self.stored.push(Stored { sound, who }, ticket, now);
    }

    /// Whether so many speak, and there is one who can mix what they say. One is got if not.
    fn may(&mut self, voices: usize, now: Instant) -> bool {
        if self.rests.is_some_and(|r| now < r)
            || self.hears.room(|r| r.voices(now)).is_none_or(|n| n < voices)
        {
            return false;
        }
        self.rests = None;
        if self.works.is_none() {
            let (blends, asked) = mpsc::channel(WAITING);
            let (tells, told) = mpsc::channel(WAITING);
            self.works = Some(Works { blends, told, ready: false });
            tokio::spawn(work(self.mixers.clone(), self.clock.clone(), asked, tells));
        }
        self.works.as_ref().is_some_and(|w| w.ready)
    }

    /// Has it mixed; its ticket.
    fn ask(&mut self, blend: Blend, now: Instant) -> Option<u64> {
        let works = self.works.as_ref()?;
        self.tickets += 1;
        if works.blends.try_send((self.tickets, blend)).is_err() {
            self.behind(now);
            return None;
        }
        Some(self.tickets)
    }

    /// The mixer does not keep up.
    fn behind(&mut self, now: Instant) {
        if self.rests.is_none() {
            tracing::info!(
                stream = self.stream,
                "viewers' sound is not mixed for a while: the mixer fell behind"
            );
        }
        self.rests = Some(now + REST);
    }

    /// The next packet of the master's that goes on to the stream, as it is stored.
    pub(crate) fn goes(&mut self, now: Instant) -> Option<Sound> {
        let next = self.stored.pop(now)?;
        if next.late {
            self.behind(now);
        }
        let Stored { mut sound, who } = next.packet;
        if let Some(made) = next.made.filter(|m| fits(m))
            && let Some((head, plain)) = sound.packet.split_at_checked(HEAD)
        {
            let whole = [head, made.first().map_or(plain, |b| b)].concat().into();
            let plain = sound.packet.slice(HEAD..);
            self.hears.room(|r| r.remember(made, who, plain, now));
            sound.packet = whole;
        }
        Some(sound)
    }

    /// What waits to be stored, at the end.
    pub(crate) fn rest(&mut self, now: Instant) -> Option<Sound> {
        self.stored.give_up();
        self.goes(now)
    }

    /// When something goes on at the latest.
    pub(crate) fn due(&self) -> Option<Instant> {
        [self.stored.due(), self.heard.due()].into_iter().flatten().min()
    }

    /// Lets the master hear what it can, as far as `str0m`'s queue, and viewers each other, where they do so here. The peer's turn
    /// is next.
    pub(crate) fn hear(&mut self, peer: &mut Peer, connected: bool, now: Instant) {
        while let Some(said) = self.heard(now) {
            if let Some(ear) = self.ear.as_mut().filter(|_| connected) {
                ear.hear(peer, &said, now);
            }
        }
    }

    /// The next of what viewers say, as the master hears it; viewers are told.
    fn heard(&mut self, now: Instant) -> Option<Said> {
        let next = self.heard.pop(now)?;
        if next.late {
            self.behind(now);
        }
        let Heard { mut said, who } = next.packet;
        // Nobody hears itself, mixed or not.
        let mut others = vec![(said.who.clone(), None)];
        if let Some(made) = next.made.filter(|m| fits(m)) {
            let mut made = made.into_iter();
            said.data = made.next().map_or(said.data, |mix| mix[..].into());
            if !who.is_empty() {
                others = who.into_iter().zip(made.map(Some)).collect();
            }
        }
        self.hears.tell(&said, &others);
        Some(said)
    }
}

/// Whether what was made can be sent on.
fn fits(made: &[Bytes]) -> bool {
    made.iter().all(|b| (1..=LARGEST).contains(&b.len()))
}

/// Mixes, until there is nothing to do for a while.
async fn work(
    mixers: Arc<dyn Mixers>,
    clock: Arc<dyn Clock>,
    mut asked: mpsc::Receiver<(u64, Blend)>,
    tells: mpsc::Sender<Told>,
) {
    // Fails, here and below, when the desk is gone.
    let mut mixer = match mixers.open().await {
        Ok(mixer) => mixer,
        Err(why) => return drop(tells.send(Told::Failed(why)).await),
    };
    if tells.send(Told::Ready).await.is_err() {
        return;
    }
    loop {
        let next = tokio::select! {
            biased;
            next = asked.recv() => next,
            () = clock.sleep(IDLE) => None,
        };
        let Some((ticket, blend)) = next else { return };
        let told = match mixer.mix(blend).await {
            Ok(made) => Told::Made(ticket, made),
            Err(why) => return drop(tells.send(Told::Failed(why)).await),
        };
        if tells.send(told).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::{Mixer, talk::Talks};

    /// A codec in which a packet of 20 ms is a number, and mixed are those that come last.
    fn sound(n: u16) -> Vec<u8> {
        [&[0xf8][..], &n.to_be_bytes()].concat()
    }
    fn number(packet: &[u8]) -> u16 {
        u16::from_be_bytes([packet[1], packet[2]])
    }

    /// How it mixes: so many times, and then not.
    struct Sums {
        opened: AtomicUsize,
        blends: usize,
        hangs: bool,
    }
    struct Sum {
        left: usize,
        hangs: bool,
    }

    #[async_trait::async_trait]
    impl Mixers for Sums {
        async fn open(&self) -> Result<Box<dyn Mixer>, String> {
            self.opened.fetch_add(1, Relaxed);
            Ok(Box::new(Sum { left: self.blends, hangs: self.hangs }))
        }
    }

    #[async_trait::async_trait]
    impl Mixer for Sum {
        async fn mix(&mut self, blend: Blend) -> Result<Vec<Bytes>, String> {
            if self.left == 0 {
                match self.hangs {
                    true => std::future::pending().await,
                    false => return Err("it has done enough".into()),
                }
            }
            self.left -= 1;
            let said = |without: u32| {
                let others = blend.parts.iter().filter(|p| p.who != without);
                others.filter_map(|p| p.packets.last()).map(|p| number(p)).sum::<u16>()
            };
            Ok(blend.without.iter().map(|w| sound(said(*w)).into()).collect())
        }
    }

    /// Two viewers, 1 and 20, and a master, 300.
    struct Scene {
        talks: Talks,
        desk: Desk,
        mixers: Arc<Sums>,
        now: Instant,
        n: u16,
    }

    impl Scene {
        fn new(blends: usize, hangs: bool) -> Scene {
            let mixers = Arc::new(Sums { opened: AtomicUsize::new(0), blends, hangs });
            let talks = Talks::default();
            let clock = world::World::real(std::path::Path::new(".")).clock;
            let hears = talks.listen("yard");
            let desk = Desk::new("yard", hears, Some(Ear::any()), mixers.clone(), clock);
            Scene { talks, desk, mixers, now: crate::checks::instants().now(), n: 0 }
        }

        /// 20 ms go by in which all say something: what is stored of them, and what the master hears; numbers in order.
        async fn goes(&mut self, speaks: [bool; 2]) -> (u16, Vec<u16>) {
            self.now += Duration::from_millis(20);
            self.n += 1;
            for (who, speaks, n) in [("a", speaks[0], 1), ("b", speaks[1], 20)] {
                let said = Said::of(who, self.n.into(), u32::from(self.n) * 960, &sound(n));
                self.talks.hear("yard", speaks, said, self.now);
            }
            let packet = [&[0; 10][..], &self.n.to_be_bytes(), &sound(300)].concat().into();
            self.desk.master(Sound { media: 1, packet, received: Timestamp(7) }, self.now);
            let mut heard = Vec::new();
            loop {
                // Who has the floor is heard before anything else; then all that is asked for is waited for.
                while let Ok(said) = self.desk.hears.try_next() {
                    self.desk.take(News::Said(said), self.now);
                }
                heard.extend(self.heard());
                if let Some(s) = self.desk.goes(self.now) {
                    assert_eq!(
                        (s.media, s.received, s.packet[..HEAD].to_vec()),
                        (1, Timestamp(7), [&[0; 10][..], &self.n.to_be_bytes()].concat())
                    );
                    if self.desk.heard.due().is_none() {
                        return (number(&s.packet[HEAD..]), heard);
                    }
                    let news = self.desk.next().await;
                    self.desk.take(news, self.now);
                    heard.extend(self.heard());
                    return (number(&s.packet[HEAD..]), heard);
                }
                let clock = self.desk.clock.clone();
                tokio::select! {
                    news = self.desk.next() => self.desk.take(news, self.now),
                    () = clock.sleep(Duration::from_millis(200)) => self.now += LATE_BY,
                }
            }
        }

        fn heard(&mut self) -> Vec<u16> {
            std::iter::from_fn(|| self.desk.heard(self.now)).map(|s| number(&s.data)).collect()
        }

        async fn ready(&mut self) {
            assert_eq!(self.goes([true, false]).await, (300, vec![1]), "there is no mixer yet");
            let news = self.desk.next().await;
            assert!(matches!(news, News::Told(Told::Ready)), "{news:?}");
            self.desk.take(news, self.now);
        }

        fn instead(&self, who: &str, stored: u16) -> Option<u16> {
            self.talks.instead("yard", who, &sound(stored)).map(|b| number(&b))
        }
    }

    const LATE_BY: Duration = Duration::from_millis(101);

    #[tokio::test]
    async fn all_are_stored_and_nobody_hears_itself() {
        let mut s = Scene::new(usize::MAX, false);
        for _ in 0..9 {
            assert_eq!(s.goes([false, false]).await, (300, vec![1]), "nothing is mixed");
        }
        assert_eq!(s.mixers.opened.load(Relaxed), 0);
        s.ready().await;
        // One alone: the master hears it as it comes, and it hears the master.
        assert_eq!(s.goes([true, false]).await, (301, vec![1]));
        assert_eq!((s.instead("a", 301), s.instead("b", 301), s.instead("a", 300)), (Some(300), None, None));
        // The other begins with some.
        assert_eq!(s.goes([true, true]).await, (301, vec![1]));
        assert_eq!(s.goes([true, true]).await, (321, vec![21]));
        assert_eq!((s.instead("a", 321), s.instead("b", 321)), (Some(320), Some(301)));
        // Silence is a part of it for a while, then all is as it was.
        for _ in 0..28 {
            assert_eq!(s.goes([false, false]).await.0, 321);
        }
        for _ in 0..5 {
            s.goes([false, false]).await;
        }
        assert_eq!(s.goes([false, false]).await, (300, vec![1]));
        assert_eq!(s.mixers.opened.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn without_a_mixer_all_goes_on_as_it_came() {
        let mut s = Scene::new(3, false);
        s.ready().await;
        assert_eq!(s.goes([true, false]).await.0, 301);
        assert_eq!(s.goes([true, false]).await.0, 301);
        assert_eq!(s.goes([true, false]).await.0, 301);
        // It fails.
        for _ in 0..9 {
            assert_eq!(s.goes([true, false]).await, (300, vec![1]));
        }
        assert_eq!(s.mixers.opened.load(Relaxed), 1);
        // Another is tried after a while.
        s.now += AGAIN;
        s.ready().await;
        assert_eq!(s.goes([true, false]).await.0, 301);
        assert_eq!(s.mixers.opened.load(Relaxed), 2);
    }

    #[tokio::test]
    async fn what_waits_too_long_goes_on_as_it_came() {
        let mut s = Scene::new(1, true);
        s.ready().await;
        assert_eq!(s.goes([true, false]).await.0, 301);
        assert_eq!(s.goes([true, false]).await, (300, vec![1]));
        // It is let be for a while, with nothing asked of it.
        assert_eq!(s.goes([true, false]).await, (300, vec![1]));
        assert!(s.desk.rests.is_some_and(|r| r > s.now) && s.desk.due().is_none());
        // What is late at the end is not lost.
        s.now += REST;
        for n in 0..WAITING as u16 + 3 {
            s.now += Duration::from_millis(1);
            s.talks.hear("yard", true, Said::of("a", 900, 0, &sound(1)), s.now);
            let packet = [&[0; 10][..], &n.to_be_bytes(), &sound(300)].concat().into();
            s.desk.master(Sound { media: 1, packet, received: Timestamp(7) }, s.now);
        }
        assert!(s.desk.goes(s.now).is_none());
        let all: Vec<u8> = std::iter::from_fn(|| s.desk.rest(s.now)).map(|s| s.packet[11]).collect();
        assert_eq!(all, (0..WAITING as u8 + 3).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn viewers_of_a_silent_master_hear_each_other() {
        let mut s = Scene::new(usize::MAX, false);
        let mut ears = ["a", "b", "c"].map(|who| s.talks.overhear("yard", who));
        s.ready().await;
        s.goes([true, false]).await;
        s.goes([true, true]).await;
        assert_eq!(s.goes([true, true]).await.1, [21]);
        let mut heard = Vec::new();
        for ear in &mut ears {
            let mut all = Vec::new();
            for _ in 0..4 {
                all.push(ear.next().await.map(|s| number(&s.data)));
            }
            heard.push(all);
        }
        // Of one alone, twice; of one and the beginning of another; of both.
        assert_eq!(heard[0], [None, None, Some(0), Some(20)]);
        assert_eq!(heard[1], [Some(1), Some(1), Some(1), Some(1)]);
        assert_eq!(heard[2], [Some(1), Some(1), Some(1), Some(21)]);
    }

    #[tokio::test]
    async fn a_newer_master_is_spoken_to() {
        let mut s = Scene::new(usize::MAX, false);
        s.ready().await;
        let hears = s.talks.listen("yard");
        let news = s.desk.next().await;
        assert!(matches!(news, News::Replaced), "{news:?}");
        s.desk.take(news, s.now);
        assert_eq!(s.goes([true, true]).await, (300, vec![]));
        drop(hears);
    }
}
