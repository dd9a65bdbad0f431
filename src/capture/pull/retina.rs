//! `rtsp://` by the `retina` crate, which knows many cameras' ways. Only its packets are used: see `rtp` for why.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use retina::client::{
    Credentials, InitialTimestampPolicy, PacketItem, PlayOptions, Playing, Session, SessionGroup,
    SessionIdPolicy, SessionOptions, SetupOptions, TcpTransportOptions, TeardownPolicy, Transport,
    UdpTransportOptions, UnassignedChannelDataPolicy, UnknownRtcpSsrcPolicy,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use world::Clock;

use super::engine::{Connected, Farewell, Feed, Item, Puller, QUEUE, Raw, USER_AGENT};
use super::trouble::{Kind, Trouble};
use crate::intake::Intake;
use crate::sdp::{self, Media};
use crate::source::Source;

/// How long a camera may take to hear that we are gone.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) struct Retina;

fn trouble(e: retina::Error, source: &Source) -> Trouble {
    match e.status_code() {
        // A status of success with something in it that could not be understood.
        Some(200..300) | None => Trouble::network(&e.to_string()),
        Some(code) => Trouble::status(code, source.credentials().is_some()),
    }
}

#[async_trait::async_trait]
impl Puller for Retina {
    async fn connect(&self, source: &Source, tcp: bool, clock: Arc<dyn Clock>) -> Result<Connected, Trouble> {
        let failed = |e| trouble(e, source);
        let group = Arc::new(SessionGroup::default());
        let credentials = source.credentials().map(|(username, password)| Credentials { username, password });
        let options = SessionOptions::default()
            .creds(credentials)
            .user_agent(USER_AGENT.into())
            .session_group(group.clone())
            // One attempt where the connection ends it anyway; with UDP a camera would go on sending.
            .teardown(TeardownPolicy::Auto)
            // Some send what was never set up, or what is left of a session before; that is no reason to go.
            .unassigned_channel_data(UnassignedChannelDataPolicy::Ignore)
            .session_id(SessionIdPolicy::UseFirst);
        let mut session = Session::describe(source.plain_url(), options).await.map_err(failed)?;
        let description = sdp::parse(session.sdp()).map_err(|e| Trouble::new(Kind::NotRtsp, e))?;
        let server = session.tool().map(|t| t.to_string()).or(description.name);
        let intake = Intake::new(&description.media).map_err(|e| Trouble::new(Kind::UnsupportedCodec, e))?;

        // Their streams in the order of the description, without those that could not be parsed.
        let places = places(&description.media, &session);
        for (stream, media) in places.iter().enumerate() {
            if media.is_some_and(|m| intake.takes(m)) {
                let transport = match tcp {
                    true => Transport::Tcp(TcpTransportOptions::default()),
                    false => Transport::Udp(UdpTransportOptions::default()),
                };
                session.setup(stream, SetupOptions::default().transport(transport)).await.map_err(failed)?;
            }
        }
        let play = PlayOptions::default()
            .initial_timestamp(InitialTimestampPolicy::Permissive)
            .unknown_rtcp_ssrc(UnknownRtcpSsrcPolicy::ProcessPackets);
        let session = session.play(play).await.map_err(failed)?;

        let items = items(session, places, clock.clone());
        let (feed, pump): (Feed, _) = if tcp { (Box::pin(items), None) } else { pump(items) };
        let farewell: Farewell = Box::pin(async move {
            let told = async {
                if let Some(pump) = pump {
                    let _ = pump.await;
                }
                group.await_teardown().await
            };
            tokio::select! {
                _ = told => {}
                () = clock.sleep(FAREWELL) => {}
            }
        });
        Ok(Connected { intake, feed, server, farewell })
    }
}

/// For each of retina's streams, its place in our reading of the same description.
fn places(media: &[Media], session: &Session<retina::client::Described>) -> Vec<Option<usize>> {
    let mut next = 0;
    let place = |s: &retina::client::Stream| {
        let same = |m: &Media| {
            m.payload_type == s.rtp_payload_type() && m.encoding.eq_ignore_ascii_case(s.encoding_name())
        };
        let at = next + media.get(next..)?.iter().position(same)?;
        next = at + 1;
        Some(at)
    };
    session.streams().iter().map(place).collect()
}

fn items(
    session: Session<Playing>,
    places: Vec<Option<usize>>,
    clock: Arc<dyn Clock>,
) -> impl Stream<Item = Result<Item, Trouble>> + Send + 'static {
    session.filter_map(move |item| {
        let now = clock.now();
        let item = match item {
            Ok(PacketItem::Rtp(p)) => {
                places.get(p.stream_id()).copied().flatten().map(|m| Ok(Item::Rtp(m, Raw::Retina(p), now)))
            }
            Ok(PacketItem::Rtcp(p)) => places.get(p.stream_id()).copied().flatten().and_then(|m| {
                let report = p.pkts().find_map(|p| p.as_sender_report().ok().flatten())?;
                Some(Ok(Item::Report(m, report.ntp_timestamp().0, report.rtp_timestamp(), now)))
            }),
            Ok(_) => None,
            Err(e) => Some(match e.status_code() {
                None => Ok(Item::Broken(e.to_string())),
                Some(_) => Err(Trouble::network(&e.to_string())),
            }),
        };
        std::future::ready(item)
    })
}

/// What comes by UDP must be taken at once, however long the disk takes: a task reads into a bounded queue, and what
/// does not fit is missing from the sequence of packets, where it is noticed and counted.
fn pump(items: impl Stream<Item = Result<Item, Trouble>> + Send + 'static) -> (Feed, Option<JoinHandle<()>>) {
    let (tx, mut rx) = mpsc::channel(QUEUE);
    let task = tokio::spawn(async move {
        let mut items = std::pin::pin!(items);
        loop {
            tokio::select! {
                item = items.next() => match item {
                    None => return,
                    Some(item) => { let _ = tx.try_send(item); }
                },
                () = tx.closed() => return,
            }
        }
    });
    (Box::pin(futures_util::stream::poll_fn(move |cx| rx.poll_recv(cx))), Some(task))
}
