//! One peer connection, without I/O: packets and time in, packets and events out.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use str0m::{
    Candidate, Event, Input, Output, Rtc, RtcConfig, RtcError,
    change::{SdpAnswer, SdpOffer, SdpPendingOffer},
    config::{CryptoProvider, DtlsCert, DtlsVersion},
    media::{Direction, MediaKind, Mid},
    net::{Protocol, Receive, TcpType},
    rtp::{RawPacket, RtpHeader},
};

use crate::{
    early::{Early, Held},
    pace::Pace,
    sdp,
};

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

/// Why it is over, to whoever reads the log.
const WITHOUT_ECDSA: &str =
    "the peer has no certificate with ECDSA, and RSA is not taken: see docs/webrtc.md, GStreamer";

/// Likewise.
const OTHER_CURVE: &str =
    "the key of the peer's certificate is neither on P-256 nor on P-384: see docs/webrtc.md, FFmpeg";

/// How DTLS says that it was given no certificate, and that it cannot use the one that it was given. There are no more than words
/// for it here, to which the tests with such peers hold it. It takes nothing more of the peer then.
const UNFIT: [(&str, &str); 2] =
    [("no client certificate received", WITHOUT_ECDSA), ("unsupported EC curve", OTHER_CURVE)];

/// What came of looking.
#[allow(clippy::large_enum_variant, reason = "looked at where it is made, and never kept")]
pub(crate) enum Turn {
    /// To be sent.
    Send { protocol: Protocol, to: SocketAddr, data: Vec<u8> },
    /// Something happened.
    Event(Event),
    /// A publisher's packet came that it was asked for.
    Again(Again),
    /// Nothing more, until then.
    Wait(Instant),
    /// It is over, and why.
    Over(String),
}

/// A packet that was sent again, as it was before: `str0m` did not take it, for it is too far behind the newest.
pub(crate) struct Again {
    pub(crate) at: Instant,
    pub(crate) header: RtpHeader,
    pub(crate) payload: Vec<u8>,
}

/// After any change, [`Peer::turn`] is called until it waits: `str0m` demands it.
pub(crate) struct Peer {
    pub(crate) rtc: Rtc,
    /// Where packets are said to have arrived: of the addresses that were told, the first stands for all.
    local: SocketAddr,
    /// By which its first packets are known.
    pub(crate) ufrag: String,
    /// What was answered, whoever offered.
    pub(crate) answer: String,
    /// What it offered.
    offer: String,
    /// What was offered to it, until it answers.
    pending: Option<SdpPendingOffer>,
    /// What is wrong with its certificate.
    unfit: Option<&'static str>,
    /// The media that were offered, in order; what is neither a picture nor a sound, too.
    pub(crate) media: Vec<(Mid, Option<MediaKind>)>,
    /// Of a publisher: pictures' packets, until they are in order.
    early: Option<Early>,
    /// What was sent again, until it is known whether `str0m` took it.
    again: Option<Again>,
    /// Of a viewer: pictures' packets, if its link is slow.
    pace: Pace,
    /// The latest time that is known.
    now: Instant,
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

/// Notes by what the peer's certificate is to be known, or says why it could not be: that would not connect.
fn known(rtc: &mut Rtc, what: &str, text: &str) -> Result<(), Refused> {
    let fingerprint = sdp::fingerprint(text).map_err(|e| Refused::Nothing(format!("the {what}'s {e}")))?;
    if let Some(fingerprint) = fingerprint {
        rtc.direct_api().set_remote_fingerprint(fingerprint);
    }
    Ok(())
}

impl Peer {
    /// Offers: the peer, and the offer. Until [`Peer::answered`] it does nothing.
    pub(crate) fn offer(
        config: RtcConfig,
        kinds: &[(MediaKind, Direction)],
        addresses: &[SocketAddr],
        now: Instant,
    ) -> Result<(Peer, String), Refused> {
        let (mut rtc, local) = Self::begin(config, addresses, now)?;
        let ufrag = rtc.direct_api().local_ice_credentials().ufrag;
        let mut api = rtc.sdp_api();
        let media = kinds.iter().map(|(k, way)| (api.add_media(*k, *way, None, None, None), Some(*k)));
        let media = media.collect();
        let (offer, pending) = api.apply().ok_or_else(|| Refused::Own("there is nothing to offer".into()))?;
        let pending = Some(pending);
        let peer = Peer {
            rtc,
            local,
            ufrag,
            answer: String::new(),
            offer: String::new(),
            pending,
            unfit: None,
            media,
            early: None,
            again: None,
            pace: Pace::default(),
            now,
        };
        Ok((peer, offer.to_sdp_string()))
    }

    /// Takes the answer to what was offered.
    pub(crate) fn answered(&mut self, answer: &str, now: Instant) -> Result<(), Refused> {
        sdp::check(answer).map_err(Refused::Offer)?;
        let bad = |e: &dyn std::fmt::Display| Refused::Offer(sdp::why(e));
        let pending = self.pending.take().ok_or_else(|| bad(&"nothing was offered"))?;
        let parsed = SdpAnswer::from_sdp_string(answer).map_err(|e| bad(&e))?;
        known(&mut self.rtc, "answer", answer)?;
        self.rtc.sdp_api().accept_answer(pending, parsed).map_err(|e| bad(&e))?;
        self.answer = answer.into();
        self.settle(now)
    }

    /// The peer restarts ICE (RFC 8445 §9), with new credentials: a fragment with the server's. What was agreed upon stays.
    pub(crate) fn restart(&mut self, ufrag: &str, pwd: &str, now: Instant) -> Result<String, Refused> {
        let bad = |e: &dyn std::fmt::Display| Refused::Offer(sdp::why(e));
        let text = sdp::restarted(&self.offer, ufrag, pwd);
        let offer = SdpOffer::from_sdp_string(&text).map_err(|e| bad(&e))?;
        let answer = self.rtc.sdp_api().accept_offer(offer).map_err(|e| bad(&e))?;
        self.ufrag = self.rtc.direct_api().local_ice_credentials().ufrag;
        self.timeout(now);
        Ok(sdp::ice_of(&answer.to_sdp_string()))
    }

    fn begin(
        config: RtcConfig,
        addresses: &[SocketAddr],
        now: Instant,
    ) -> Result<(Rtc, SocketAddr), Refused> {
        let mut rtc = config.set_ice_lite(true).build(now);
        let own = |e: &dyn std::fmt::Display| Refused::Own(e.to_string());
        let local = *addresses.first().ok_or_else(|| own(&"no address of this server is known"))?;
        for a in addresses {
            rtc.add_local_candidate(Candidate::host(*a, "udp").map_err(|e| own(&e))?);
            let tcp = Candidate::builder().tcp().host(*a).tcptype(TcpType::Passive).build();
            rtc.add_local_candidate(tcp.map_err(|e| own(&e))?);
        }
        Ok((rtc, local))
    }

    /// Until there is nothing but to wait.
    fn settle(&mut self, now: Instant) -> Result<(), Refused> {
        self.timeout(now);
        loop {
            match self.turn() {
                Turn::Event(_) | Turn::Again(_) | Turn::Send { .. } => {}
                Turn::Wait(_) => return Ok(()),
                Turn::Over(why) => return Err(Refused::Offer(why)),
            }
        }
    }

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
        let offer = SdpOffer::from_sdp_string(offer).map_err(|e| Refused::Offer(sdp::why(&e)))?;
        let (mut rtc, local) = Self::begin(config, addresses, now)?;
        let ufrag = rtc.direct_api().local_ice_credentials().ufrag;
        known(&mut rtc, "offer", text)?;
        let answer = rtc.sdp_api().accept_offer(offer).map_err(|e| Refused::Offer(sdp::why(&e)))?;
        let answer = sdp::complete(&answer.to_sdp_string(), text);
        let offer = text.to_owned();
        let mut peer = Peer {
            rtc,
            local,
            ufrag,
            answer,
            offer,
            pending: None,
            unfit: None,
            media,
            early: None,
            again: None,
            pace: Pace::default(),
            now,
        };
        peer.settle(now)?;
        Ok(peer)
    }

    /// From now on pictures' packets are put in order, and those that are missing asked for when they are not merely late.
    pub(crate) fn put_in_order(&mut self) {
        let again = self.rtc.codec_config().params().iter();
        let again = again.filter(|p| p.spec().codec.is_video());
        self.early = Some(Early::new(again.filter_map(|p| Some((*p.pt(), *p.resend()?))).collect()));
    }

    /// From now on pictures' packets leave at so many bytes a second, or as they are made.
    pub(crate) fn pace(&mut self, rate: Option<u64>) {
        let pictures = self.rtc.codec_config().params().iter().filter(|p| p.spec().codec.is_video());
        let kinds = pictures.flat_map(|p| [Some(p.pt()), p.resend()]).flatten().map(|pt| *pt).collect();
        self.pace.set(rate, kinds);
    }

    /// Takes a packet. What is none of WebRTC's, or not for this peer, is passed over.
    pub(crate) fn receive(&mut self, now: Instant, protocol: Protocol, source: SocketAddr, data: &[u8]) {
        self.now = self.now.max(now);
        match &mut self.early {
            Some(early) if early.is_picture(data) => {
                early.push(Held { at: now, protocol, source, data: data.into() });
            }
            _ => self.take(now, protocol, source, data),
        }
    }

    /// `at` is when it came: that may have been before what was taken last.
    fn take(&mut self, at: Instant, protocol: Protocol, source: SocketAddr, data: &[u8]) {
        let Ok(receive) = Receive::new(protocol, source, self.local, data) else { return };
        if let Err(e) = self.rtc.handle_input(Input::Receive(at, receive)) {
            tracing::debug!(error = %e, "a packet was passed over");
            if let RtcError::Dtls(e) = e {
                let said = e.to_string();
                let unfit = UNFIT.iter().find(|(words, _)| said.contains(words)).map(|(_, why)| *why);
                self.unfit = self.unfit.or(unfit);
            }
        }
    }

    /// Time has gone by.
    pub(crate) fn timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        if let Err(e) = self.rtc.handle_input(Input::Timeout(now)) {
            tracing::debug!(error = %e, "a timer failed");
        }
    }

    pub(crate) fn turn(&mut self) -> Turn {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(_)) if let Some(why) = self.unfit => return Turn::Over(why.into()),
                Ok(Output::Timeout(_)) if !self.rtc.is_alive() => return Turn::Over("closed".into()),
                Ok(Output::Timeout(_)) if self.again.is_some() => {
                    if let Some(again) = self.again.take() {
                        self.note(&again.header);
                        return Turn::Again(again);
                    }
                }
                Ok(Output::Timeout(_)) if self.order() => {}
                Ok(Output::Timeout(t)) => {
                    if let Some((protocol, to, data)) = self.pace.pop(self.now) {
                        return Turn::Send { protocol, to, data };
                    }
                    let next = [self.early.as_ref().and_then(Early::next), self.pace.due()];
                    return Turn::Wait(next.into_iter().flatten().fold(t, Instant::min));
                }
                Ok(Output::Transmit(t)) => {
                    let out = (t.proto, t.destination, t.contents.into());
                    if let Some((protocol, to, data)) = self.pace.push(out) {
                        return Turn::Send { protocol, to, data };
                    }
                }
                Ok(Output::Event(Event::RawPacket(p))) => {
                    if let RawPacket::RtpRx(header, data) = *p {
                        self.sent_again(header, &data);
                    }
                }
                Ok(Output::Event(e)) => {
                    if let Event::RtpPacket(p) = &e {
                        self.again = None;
                        self.note(&p.header);
                    }
                    return Turn::Event(e);
                }
                Err(e) => return Turn::Over(e.to_string()),
            }
        }
    }

    /// Takes the next packet in order, or asks for those that are missing. Whether there was anything to do.
    fn order(&mut self) -> bool {
        let Some(early) = &mut self.early else { return false };
        if let Some(p) = early.pop(self.now) {
            self.take(p.at, p.protocol, p.source, &p.data);
            return true;
        }
        let Some(ssrc) = early.ask(self.now) else { return false };
        self.may_ask(ssrc, true);
        self.timeout(self.now);
        self.may_ask(ssrc, false);
        true
    }

    fn may_ask(&mut self, ssrc: u32, may: bool) {
        let mut api = self.rtc.direct_api();
        let Some((mid, rid)) = api.stream_rx(&ssrc.into()).map(|rx| (rx.mid(), rx.rid())) else { return };
        // Found by its medium, for then `str0m` looks anew at who may.
        if let Some(rx) = api.stream_rx_by_mid(mid, rid) {
            rx.suppress_nack(!may);
        }
    }

    /// A packet that is `str0m`'s, checked and in the clear: keeps it if it is one sent again (RFC 4588 §4) that is missing.
    fn sent_again(&mut self, mut header: RtpHeader, data: &[u8]) {
        let Some(kind) = self.early.as_ref().and_then(|e| e.again(*header.payload_type)) else { return };
        let Some((seq, payload)) = data.split_first_chunk() else { return };
        let (rid, mut api) = (header.ext_vals.rid_repair, self.rtc.direct_api());
        let source = self.media.iter().find_map(|m| {
            let rx = api.stream_rx_by_mid(m.0, rid)?;
            (rx.rtx() == Some(header.ssrc)).then(|| rx.ssrc())
        });
        let Some(ssrc) = source else { return };
        header.ssrc = ssrc;
        header.payload_type = kind.into();
        header.sequence_number = u16::from_be_bytes(*seq);
        if self.early.as_ref().is_some_and(|e| e.misses(*ssrc, header.sequence_number)) {
            self.again = Some(Again { at: self.now, header, payload: payload.into() });
        }
    }

    /// A publisher's packet is there.
    fn note(&mut self, header: &RtpHeader) {
        if let Some(early) = &mut self.early
            && early.taken(*header.ssrc, header.sequence_number, self.now)
        {
            // From now on it is told when.
            self.may_ask(*header.ssrc, false);
        }
    }
}
