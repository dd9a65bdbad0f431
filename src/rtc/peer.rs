//! One peer connection, without I/O: packets and time in, packets and events out.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use str0m::{
    Candidate, Event, Input, Output, Rtc, RtcConfig,
    change::SdpOffer,
    config::{CryptoProvider, DtlsCert, DtlsVersion},
    media::{MediaKind, Mid},
    net::{Protocol, Receive, TcpType},
};

use crate::sdp;

/// What all sessions have in common.
pub(crate) struct Ground {
    crypto: Arc<CryptoProvider>,
    certificate: DtlsCert,
}

/// Why an offer was not accepted, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// It is no offer.
    #[error("the offer cannot be read: {0}")]
    Offer(String),
    /// Nothing in it can be served.
    #[error("{0}")]
    Nothing(String),
    /// The fault is ours.
    #[error("no connection can be made: {0}")]
    Own(String),
}

/// What came of looking.
#[allow(clippy::large_enum_variant, reason = "looked at where it is made, and never kept")]
pub(crate) enum Turn {
    /// To be sent.
    Send { protocol: Protocol, to: SocketAddr, data: Vec<u8> },
    /// Something happened.
    Event(Event),
    /// Nothing more, until then.
    Wait(Instant),
    /// It is over, and why.
    Over(String),
}

/// After any change, [`Peer::turn`] is called until it waits: `str0m` demands it.
pub(crate) struct Peer {
    pub(crate) rtc: Rtc,
    /// Where packets are said to have arrived: of the addresses that were told, the first stands for all.
    local: SocketAddr,
    /// By which its first packets are known.
    pub(crate) ufrag: String,
    /// The answer to its offer.
    pub(crate) answer: String,
    /// The media that it offered, in order; what is neither a picture nor a sound, too.
    pub(crate) media: Vec<(Mid, Option<MediaKind>)>,
}

impl Ground {
    pub(crate) fn new(serial: [u8; 16]) -> Result<Ground, String> {
        Ok(Ground {
            crypto: Arc::new(crate::crypto::provider()),
            certificate: crate::crypto::certificate(serial).map_err(|e| e.to_string())?,
        })
    }

    /// Without codecs.
    pub(crate) fn config(&self) -> RtcConfig {
        Rtc::builder()
            .set_crypto_provider(self.crypto.clone())
            .set_dtls_cert(self.certificate.clone())
            .set_dtls_version(DtlsVersion::Dtls12)
            .clear_codecs()
    }
}

impl Peer {
    /// Accepts an offer. `addresses` is where the server can be reached, by UDP and by TCP.
    pub(crate) fn accept(
        config: RtcConfig,
        offer: &str,
        addresses: &[SocketAddr],
        now: Instant,
    ) -> Result<Peer, Refused> {
        sdp::check(offer).map_err(Refused::Offer)?;
        let kind = |k: &str| match k {
            "video" => Some(MediaKind::Video),
            "audio" => Some(MediaKind::Audio),
            _ => None,
        };
        let media = sdp::media(offer).into_iter().map(|(k, mid)| (Mid::from(mid), kind(k))).collect();
        let text = offer;
        let offer = SdpOffer::from_sdp_string(offer).map_err(|e| Refused::Offer(e.to_string()))?;
        let mut rtc = config.set_ice_lite(true).build(now);
        let own = |e: &dyn std::fmt::Display| Refused::Own(e.to_string());
        let local = *addresses.first().ok_or_else(|| own(&"no address of this server is known"))?;
        for a in addresses {
            rtc.add_local_candidate(Candidate::host(*a, "udp").map_err(|e| own(&e))?);
            let tcp = Candidate::builder().tcp().host(*a).tcptype(TcpType::Passive).build();
            rtc.add_local_candidate(tcp.map_err(|e| own(&e))?);
        }
        let ufrag = rtc.direct_api().local_ice_credentials().ufrag;
        let answer = rtc.sdp_api().accept_offer(offer).map_err(|e| Refused::Offer(e.to_string()))?;
        let answer = sdp::complete(&answer.to_sdp_string(), text);
        let mut peer = Peer { rtc, local, ufrag, answer, media };
        peer.timeout(now);
        loop {
            match peer.turn() {
                Turn::Event(_) | Turn::Send { .. } => {}
                Turn::Wait(_) => return Ok(peer),
                Turn::Over(why) => return Err(Refused::Offer(why)),
            }
        }
    }

    /// Takes a packet. What is none of WebRTC's, or not for this peer, is passed over.
    pub(crate) fn receive(&mut self, now: Instant, protocol: Protocol, source: SocketAddr, data: &[u8]) {
        let Ok(receive) = Receive::new(protocol, source, self.local, data) else { return };
        if let Err(e) = self.rtc.handle_input(Input::Receive(now, receive)) {
            tracing::debug!(error = %e, "a packet was passed over");
        }
    }

    /// Time has gone by.
    pub(crate) fn timeout(&mut self, now: Instant) {
        if let Err(e) = self.rtc.handle_input(Input::Timeout(now)) {
            tracing::debug!(error = %e, "a timer failed");
        }
    }

    pub(crate) fn turn(&mut self) -> Turn {
        match self.rtc.poll_output() {
            Ok(Output::Timeout(t)) if self.rtc.is_alive() => Turn::Wait(t),
            Ok(Output::Timeout(_)) => Turn::Over("closed".into()),
            Ok(Output::Transmit(t)) => {
                Turn::Send { protocol: t.proto, to: t.destination, data: t.contents.into() }
            }
            Ok(Output::Event(e)) => Turn::Event(e),
            Err(e) => Turn::Over(e.to_string()),
        }
    }
}
