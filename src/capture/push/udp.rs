//! A pair of UDP ports for one medium, and the task that empties them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use world::{Clock, Entropy, Timestamp};

use super::protocol::same_host;

/// Packets that wait when the sink is slow: at most about 6 MB. What does not fit is dropped, and missed.
pub(super) const QUEUE: usize = 4096;
/// Room in the kernel for the packets of a big key frame.
const KERNEL: usize = 4 << 20;
const TRIES: u32 = 50;

/// A packet of a medium.
pub(super) struct Datagram {
    pub media: usize,
    pub rtcp: bool,
    pub data: Bytes,
    pub received: Timestamp,
}

/// An even port and the next (RFC 3550 §11), on the address that the client reached us at.
async fn bind(ip: IpAddr, entropy: &dyn Entropy) -> std::io::Result<(UdpSocket, UdpSocket)> {
    let mut last = None;
    for _ in 0..TRIES {
        let mut r = [0; 2];
        entropy.fill(&mut r);
        let port = 10_000 + (u16::from_le_bytes(r) % 25_000) * 2;
        let rtp = UdpSocket::bind(SocketAddr::new(ip, port)).await;
        let rtcp = UdpSocket::bind(SocketAddr::new(ip, port + 1)).await;
        match (rtp, rtcp) {
            (Ok(rtp), Ok(rtcp)) => return Ok((rtp, rtcp)),
            (Err(e), _) | (_, Err(e)) => last = Some(e),
        }
    }
    Err(last.unwrap_or_else(|| std::io::Error::other("no ports")))
}

/// The task of one medium's ports; ends when dropped.
pub(super) struct Ports {
    pub rtp: u16,
    pub rtcp: u16,
    task: JoinHandle<()>,
}

impl Drop for Ports {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Ports {
    /// Opens ports and sends what comes from `peer` to `to`. The error is for people.
    pub(super) async fn open(
        media: usize,
        local: IpAddr,
        peer: IpAddr,
        entropy: &dyn Entropy,
        clock: Arc<dyn Clock>,
        to: mpsc::Sender<Datagram>,
    ) -> Result<Ports, String> {
        let (rtp, rtcp) = bind(local, entropy).await.map_err(|e| format!("no UDP ports: {e}"))?;
        // More than the usual limit takes a privilege; less loses packets when the machine is busy.
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&rtp, KERNEL).is_err() {
            let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&rtp, KERNEL);
        }
        let port = |s: &UdpSocket| s.local_addr().map(|a| a.port()).map_err(|e| e.to_string());
        let (rtp_port, rtcp_port) = (port(&rtp)?, port(&rtcp)?);
        let task = tokio::spawn(async move {
            // One after the other within a burst: a report that came after packets must not overtake them by much,
            // and packets are the more urgent.
            let (mut a, mut b) = (vec![0; 65_536], vec![0; 2048]);
            loop {
                let (data, from, rtcp) = tokio::select! {
                    biased;
                    r = rtp.recv_from(&mut a) => match r {
                        Ok((n, from)) => (&a[..n], from, false),
                        Err(_) => continue,
                    },
                    r = rtcp.recv_from(&mut b) => match r {
                        Ok((n, from)) => (&b[..n], from, true),
                        Err(_) => continue,
                    },
                };
                if !same_host(from.ip(), peer) {
                    continue;
                }
                let packet =
                    Datagram { media, rtcp, data: Bytes::copy_from_slice(data), received: clock.now() };
                if let Err(mpsc::error::TrySendError::Closed(_)) = to.try_send(packet) {
                    return;
                }
            }
        });
        Ok(Ports { rtp: rtp_port, rtcp: rtcp_port, task })
    }
}

/// After the end was announced, packets may still be under way: so long after the last, no more will come.
pub(super) const QUIET: Duration = Duration::from_millis(150);
