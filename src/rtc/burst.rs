//! Packets that go to one peer together, in one call of the system: a picture's, all but the last of one length
//! (generic segmentation offload, `UDP_SEGMENT` of udp(7)). Calls are a third of what a viewer costs.

use std::{io, net::SocketAddr};

use bytes::BufMut;
use socket2::{MsgHdr, SockRef};
use tokio::{io::Interest, net::UdpSocket};

/// What the system takes at once: packets (`UDP_MAX_SEGMENTS` of older kernels), and bytes.
const PACKETS: usize = 64;
const BYTES: usize = 60_000;
/// `SOL_UDP` and `UDP_SEGMENT` of Linux.
const LEVEL: i32 = 17;
const SEGMENT: i32 = 103;

/// What waits to be sent. [`Burst::flush`] follows the last [`Burst::add`].
#[derive(Debug, Default)]
pub(crate) struct Burst {
    to: Option<SocketAddr>,
    data: Vec<u8>,
    /// Of each packet but the last, which may be shorter.
    length: usize,
    /// The last is shorter, or there is no room.
    full: bool,
    /// The system did not take a burst (a small MTU on the way, IPsec): each packet goes by itself from now on.
    singly: bool,
}

impl Burst {
    /// Takes a packet; what cannot go together with it is sent before.
    pub(crate) async fn add(&mut self, socket: &UdpSocket, to: SocketAddr, packet: &[u8]) {
        if self.full || self.to != Some(to) || packet.len() > self.length {
            self.flush(socket).await;
        }
        if self.data.is_empty() {
            (self.to, self.length) = (Some(to), packet.len());
        }
        self.data.extend_from_slice(packet);
        let next = self.data.len() + self.length;
        self.full = packet.len() < self.length || next > BYTES.min(self.length * PACKETS) || self.singly;
    }

    /// Sends what there is. What the network does not take is lost, as on any network.
    pub(crate) async fn flush(&mut self, socket: &UdpSocket) {
        let Some(to) = self.to.take() else { return };
        if self.data.len() > self.length {
            let (data, length) = (&self.data, self.length);
            match socket.async_io(Interest::WRITABLE, || together(socket, to, data, length)).await {
                Ok(()) => self.data.clear(),
                Err(e) => {
                    tracing::debug!(error = %e, %to, "packets are sent one by one");
                    self.singly = true;
                }
            }
        }
        for packet in self.data.chunks(self.length.max(1)) {
            if let Err(e) = socket.send_to(packet, to).await {
                tracing::debug!(error = %e, %to, "a packet was not sent");
            }
        }
        self.data.clear();
        self.full = false;
    }
}

fn together(socket: &UdpSocket, to: SocketAddr, data: &[u8], length: usize) -> io::Result<()> {
    let length = u16::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
    let (to, bytes, control) = (to.into(), [io::IoSlice::new(data)], control(length));
    let message = MsgHdr::new().with_addr(&to).with_buffers(&bytes).with_control(&control);
    SockRef::from(socket).sendmsg(&message, 0).map(|_| ())
}

/// A `cmsghdr` (cmsg(3)) and the packets' length, as long as `CMSG_SPACE` says.
fn control(length: u16) -> Vec<u8> {
    const HEAD: usize = size_of::<usize>() + 8;
    let mut out = Vec::with_capacity(HEAD + size_of::<usize>());
    out.put_slice(&(HEAD + 2).to_ne_bytes());
    out.put_i32_ne(LEVEL);
    out.put_i32_ne(SEGMENT);
    out.put_u16_ne(length);
    out.resize(HEAD + size_of::<usize>(), 0);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn sockets() -> (UdpSocket, [UdpSocket; 2]) {
        let any = || UdpSocket::bind("127.0.0.1:0");
        (any().await.unwrap(), [any().await.unwrap(), any().await.unwrap()])
    }

    /// Each with where it goes to; a mark of its own in each.
    fn packets(lengths: &[(bool, usize)]) -> Vec<(usize, Vec<u8>)> {
        lengths.iter().enumerate().map(|(n, (b, l))| (usize::from(*b), vec![n as u8; *l])).collect()
    }

    /// What came, as long as anything does.
    fn received(socket: &UdpSocket) -> Vec<Vec<u8>> {
        let mut buf = [0; 4096];
        std::iter::from_fn(|| socket.try_recv(&mut buf).ok().map(|n| buf[..n].to_vec())).collect()
    }

    /// Packets in the order in which they came, at each of two sockets.
    type Received = [Vec<Vec<u8>>; 2];

    async fn sent(packets: &[(usize, Vec<u8>)], singly: bool) -> Received {
        let (from, to) = sockets().await;
        let mut burst = Burst { singly, ..Burst::default() };
        for (which, p) in packets {
            burst.add(&from, to[*which].local_addr().unwrap(), p).await;
        }
        burst.flush(&from).await;
        assert!(burst.data.is_empty() && burst.to.is_none() && burst.singly == singly);
        // The loopback has delivered when the call returns; the runtime wants to be told once.
        let mut out = [Vec::new(), Vec::new()];
        for (i, socket) in to.iter().enumerate() {
            if packets.iter().any(|p| p.0 == i) {
                socket.readable().await.unwrap();
                out[i] = received(socket);
            }
        }
        out
    }

    /// What came at each of the two, and what was to.
    fn run(lengths: &[(bool, usize)], singly: bool) -> (Received, Received) {
        let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let packets = packets(lengths);
        let of = |i| packets.iter().filter(|p| p.0 == i).map(|p| p.1.clone()).collect();
        (rt.block_on(sent(&packets, singly)), [of(0), of(1)])
    }

    #[test]
    fn a_key_frame_of_more_than_one_call_takes_arrives_whole() {
        for length in [1150, 300] {
            let mut lengths = vec![(false, length); 70];
            lengths.push((false, 17));
            let (came, wanted) = run(&lengths, false);
            assert!(came == wanted, "{length}: {} of {} packets", came[0].len(), wanted[0].len());
        }
    }

    #[test]
    fn what_the_system_does_not_take_together_goes_one_by_one() {
        let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        rt.block_on(async {
            let (from, [to, _]) = sockets().await;
            // Longer than any message by UDP.
            let mut burst = Burst { length: 1000, ..Burst::default() };
            (burst.to, burst.data) = (Some(to.local_addr().unwrap()), vec![7; 70_000]);
            burst.flush(&from).await;
            assert!(burst.singly && burst.data.is_empty());
            to.readable().await.unwrap();
            assert_eq!(received(&to), vec![vec![7; 1000]; 70]);
            burst.add(&from, to.local_addr().unwrap(), &[1; 20]).await;
            burst.add(&from, to.local_addr().unwrap(), &[2; 20]).await;
            burst.flush(&from).await;
            to.readable().await.unwrap();
            assert_eq!(received(&to), [vec![1; 20], vec![2; 20]]);
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn packets_arrive_as_they_were_in_their_order(
            lengths in prop::collection::vec((any::<bool>(), prop_oneof![1usize..40, Just(1150usize)]), 1..100),
            singly in any::<bool>(),
        ) {
            let (came, wanted) = run(&lengths, singly);
            prop_assert_eq!(came, wanted);
        }
    }
}
