//! One side of a connection by WebRTC, on a UDP socket of its own: WHIP's or WHEP's client.
use std::{net::UdpSocket, sync::Arc, time::Instant};

use str0m::{
    Candidate, Event, Input, Output, Rtc, RtcConfig,
    change::SdpAnswer,
    config::DtlsVersion,
    media::{Direction, MediaKind, Mid},
    net::{Protocol, Receive},
};

use crate::{Error, crypto, http};

pub struct Peer {
    pub rtc: Rtc,
    pub socket: UdpSocket,
    pub mid: Mid,
}

impl Peer {
    /// Agrees with the server at `url`.
    pub fn agree(url: &str, token: &str, direction: Direction) -> Result<Peer, Error> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let mut rtc = RtcConfig::new()
            .set_crypto_provider(Arc::new(crypto::provider()))
            .set_dtls_version(DtlsVersion::Dtls12)
            .clear_codecs()
            .enable_h264(true)
            .set_rtp_mode(true)
            .build(Instant::now());
        rtc.add_local_candidate(Candidate::host(socket.local_addr()?, "udp")?);
        let mut api = rtc.sdp_api();
        let mid = api.add_media(MediaKind::Video, direction, None, None, None);
        let (offer, pending) = api.apply().ok_or("nothing to offer")?;
        let headers = format!("Content-Type: application/sdp\r\nAuthorization: Bearer {token}\r\n");
        let answer = http::ask("POST", url, &headers, offer.to_sdp_string().as_bytes())?;
        let text = String::from_utf8(answer.body)?;
        if answer.status != 201 {
            return Err(format!("{url}: {} {text}", answer.status).into());
        }
        rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&text)?)?;
        Ok(Peer { rtc, socket, mid })
    }

    /// Takes a packet.
    pub fn receive(&mut self, now: Instant, from: std::net::SocketAddr, data: &[u8]) -> Result<(), Error> {
        let Ok(receive) = Receive::new(Protocol::Udp, from, self.socket.local_addr()?, data) else {
            return Ok(());
        };
        Ok(self.rtc.handle_input(Input::Receive(now, receive))?)
    }

    /// Sends all that there is, and says what happened and when to come again.
    pub fn turn(&mut self, mut happened: impl FnMut(Event)) -> Result<Instant, Error> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(t) => return Ok(t),
                Output::Transmit(t) => {
                    self.socket.send_to(&t.contents, t.destination)?;
                }
                Output::Event(e) => happened(e),
            }
        }
    }

    /// Waits for one packet, or for the time that the protocol wants, or until `until`; says when a packet came.
    pub fn wait(&mut self, until: Instant, buffer: &mut [u8]) -> Result<Option<Instant>, Error> {
        let wait = until.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            self.socket.set_read_timeout(Some(wait))?;
            match self.socket.recv_from(buffer) {
                Ok((n, from)) => {
                    let now = Instant::now();
                    self.receive(now, from, &buffer[..n])?;
                    return Ok(Some(now));
                }
                Err(e)
                    if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.rtc.handle_input(Input::Timeout(Instant::now()))?;
        Ok(None)
    }
}
