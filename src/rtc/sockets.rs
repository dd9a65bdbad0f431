//! The two ports: UDP, and TCP with a length before each packet (RFC 4571), each for all sessions.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
    sync::{Semaphore, mpsc},
};

use crate::{hub::Hub, table::Packet};

/// No packet of WebRTC's is longer.
const MAX_PACKET: usize = 2000;
/// How long a connection may take to say which session it is of, and how long it may be silent.
const FIRST: Duration = Duration::from_secs(10);
const SILENT: Duration = Duration::from_secs(60);
/// Packets that wait for a slow connection; more are dropped, as a network would.
const WAITING: usize = 256;
/// What the system is asked to hold for us, as a picture's packets come at once.
const BUFFER: usize = 4 << 20;

/// Asks for room; what is not given is not needed to go on.
pub(crate) fn widen(socket: &tokio::net::UdpSocket) {
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(socket, BUFFER);
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(socket, BUFFER);
}

/// Receives until the hub stops.
pub(crate) async fn udp(hub: Arc<Hub>) {
    let mut buf = [0; 2048];
    loop {
        let got = tokio::select! {
            () = hub.stopped() => return,
            got = hub.udp.recv_from(&mut buf) => got,
        };
        match got {
            Ok((n, source)) => {
                if n <= MAX_PACKET {
                    hand_on(&hub, None, source, &buf[..n]);
                }
            }
            // What an earlier packet met (ICMP) is told here.
            Err(e) => {
                tracing::debug!(error = %e, "receiving failed");
                tokio::task::yield_now().await;
            }
        }
    }
}

fn hand_on(hub: &Hub, tcp: Option<&mpsc::Sender<Bytes>>, source: SocketAddr, data: &[u8]) -> bool {
    let Some(to) = hub.table.route(tcp.is_some(), source, data) else { return false };
    let packet = Packet {
        source,
        tcp: tcp.cloned(),
        data: Bytes::copy_from_slice(data),
        at: hub.instants.now(),
        received: hub.world.clock.now(),
    };
    // A session that does not keep up loses packets, as on a network.
    let _ = to.try_send(packet);
    true
}

/// Accepts until the hub stops.
pub(crate) async fn tcp(hub: Arc<Hub>, listener: TcpListener, most: usize) {
    let room = Arc::new(Semaphore::new(most));
    loop {
        let accepted = tokio::select! {
            () = hub.stopped() => return,
            a = listener.accept() => a,
        };
        let (stream, peer) = match accepted {
            Ok(a) => a,
            Err(e) => {
                tracing::warn!(error = %e, "accepting a connection failed");
                hub.world.clock.sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // One too many is closed at once.
        let Ok(permit) = room.clone().try_acquire_owned() else { continue };
        let hub = hub.clone();
        tokio::spawn(async move {
            let _permit = permit;
            connection(&hub, stream, peer).await;
        });
    }
}

async fn connection(hub: &Arc<Hub>, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let (mut read, mut write) = stream.into_split();
    let (back, mut waiting) = mpsc::channel::<Bytes>(WAITING);
    let writing = async move {
        let mut out = BytesMut::new();
        while let Some(data) = waiting.recv().await {
            out.clear();
            frame(&data, &mut out);
            while let Ok(more) = waiting.try_recv() {
                frame(&more, &mut out);
            }
            if write.write_all(&out).await.is_err() {
                return;
            }
        }
    };
    let reading = async {
        let mut buf = BytesMut::with_capacity(MAX_PACKET);
        let mut patience = FIRST;
        loop {
            let read = tokio::select! {
                r = packet(&mut read, &mut buf) => r,
                () = hub.world.clock.sleep(patience) => false,
            };
            if !read || !hand_on(hub, Some(&back), peer, &buf) {
                return;
            }
            patience = SILENT;
        }
    };
    tokio::select! {
        () = hub.stopped() => {}
        () = writing => {}
        () = reading => {}
    }
}

fn frame(data: &[u8], out: &mut BytesMut) {
    if let Ok(n) = u16::try_from(data.len()) {
        out.extend_from_slice(&n.to_be_bytes());
        out.extend_from_slice(data);
    }
}

/// Reads one packet; false: there is none, or it is none.
async fn packet(read: &mut OwnedReadHalf, buf: &mut BytesMut) -> bool {
    let Ok(n) = read.read_u16().await else { return false };
    let n = usize::from(n);
    if n == 0 || n > MAX_PACKET {
        return false;
    }
    buf.resize(n, 0);
    read.read_exact(buf).await.is_ok()
}
