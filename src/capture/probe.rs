//! A look at a camera before it is added.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use media::{RandomAccess, Track};
use world::World;

use crate::intake::{Intake, Out, describe};
use crate::pull::{Connected, Kind, Source, Transport, Trouble, connect};

/// How long a look may take altogether.
const PROBE: Duration = Duration::from_secs(10);

/// What a look at a camera found.
#[derive(Clone, Debug)]
pub struct ProbeResult {
    /// What it sends, as far as it can be received.
    pub tracks: Vec<Arc<Track>>,
    /// Its first picture; none if it sends only sound, or none came in time.
    pub key_frame: Option<ProbeFrame>,
    /// What it calls itself, where it says so.
    pub server: Option<String>,
    /// The same for people: `H.264 1920×1080 and AAC`.
    pub words: String,
}

/// An access unit at which decoding can start.
#[derive(Clone, Debug)]
pub struct ProbeFrame {
    /// Its track.
    pub track: Arc<Track>,
    /// Its bytes, framed as the track says.
    pub data: Bytes,
}

/// Connects, waits for the tracks and a picture to start from, and leaves; ten seconds at most. A camera that sends
/// tracks but no such picture in that time is no error.
pub async fn probe(world: &World, source: &Source) -> Result<ProbeResult, Trouble> {
    let mut seen = ProbeResult { tracks: Vec::new(), key_frame: None, server: None, words: String::new() };
    let result = tokio::select! {
        r = look(world, source, &mut seen) => r,
        () = world.clock.sleep(PROBE) => Err(Trouble::timed_out(PROBE)),
    };
    match result {
        Err(_) if !seen.tracks.is_empty() => {}
        Err(t) => return Err(t),
        Ok(()) => {}
    }
    seen.words = seen.tracks.iter().map(|t| describe(t)).collect::<Vec<_>>().join(" and ");
    Ok(seen)
}

async fn look(world: &World, source: &Source, seen: &mut ProbeResult) -> Result<(), Trouble> {
    let connected = match connect(world, source, source.transport != Transport::Udp).await {
        Err(t) if t.kind == Kind::TransportRefused && source.transport == Transport::Auto => {
            connect(world, source, false).await
        }
        other => other,
    };
    let Connected { mut intake, mut feed, server, farewell } = connected?;
    seen.server = server;
    let found = loop {
        match feed.next().await {
            None => break Err(Trouble::new(Kind::Closed, "the camera closed the connection")),
            Some(Err(t)) => break Err(t),
            Some(Ok(item)) => {
                if let Some(why) = item.give(&mut intake)
                    && seen.tracks.is_empty()
                    && intake.counts().broken > 16
                {
                    break Err(Trouble::network(&why));
                }
                if take(&mut intake, seen) {
                    break Ok(());
                }
            }
        }
    };
    drop(feed);
    farewell.await;
    found
}

/// True when there is nothing more to wait for.
fn take(intake: &mut Intake, seen: &mut ProbeResult) -> bool {
    while let Some(out) = intake.next() {
        match out {
            Out::Tracks(tracks) => seen.tracks = tracks,
            Out::Unit(unit, _) => {
                let track = seen.tracks.iter().find(|t| t.id == unit.track);
                if let Some(track) = track
                    && track.is_video()
                    && unit.access != RandomAccess::None
                {
                    seen.key_frame = Some(ProbeFrame { track: track.clone(), data: unit.data });
                    return true;
                }
            }
            Out::Discontinuity(_) | Out::Estimated(_) => {}
        }
    }
    !seen.tracks.is_empty() && !seen.tracks.iter().any(|t| t.is_video())
}
