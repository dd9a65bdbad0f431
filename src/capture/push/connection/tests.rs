use std::{
    pin::Pin,
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Poll},
};

use tokio::{
    io::{DuplexStream, ReadBuf, duplex},
    sync::Semaphore,
    task::JoinHandle,
};
use world::sim::{Sim, SimClock};

use super::*;
use crate::{Admit, Session, Sink, SinkError};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nobody gets so far as to ask it.
struct Nobody;

#[async_trait::async_trait]
impl Admit for Nobody {
    async fn publish(&self, _: IpAddr, _: &str, _: Option<&str>, _: Option<&str>) -> Result<Permit, Denied> {
        panic!("it is not asked");
    }
}

#[async_trait::async_trait]
impl Sink for Nobody {
    async fn open(&self, _: Permit, _: &str) -> Result<Box<dyn Session>, SinkError> {
        panic!("it is not asked");
    }
}

/// A connection whose last word is held up by the client, as TLS's is.
struct Held<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for Held<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Held<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Pending
    }
}

/// A connection that is served, on a clock that stands still.
struct Served {
    clock: Arc<SimClock>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Served {
    fn start(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Served {
        let Sim { world, clock, .. } = Sim::new(1);
        let shared = Shared {
            world,
            admit: Arc::new(Nobody),
            sink: Arc::new(Nobody),
            registry: Arc::default(),
            places: Arc::new(Semaphore::new(1)),
            next: AtomicU64::new(0),
        };
        let (stop, stopped) = watch::channel(false);
        let end = SocketAddr::from(([127, 0, 0, 1], 554));
        let serving =
            tokio::spawn(async move { Connection::new(&shared, io, 0, end, end).run(stopped).await });
        Served { clock, stop, serving }
    }

    async fn ended(self) {
        tokio::time::timeout(PATIENCE, self.serving).await.expect("it ends").unwrap();
    }
}

/// Says what is no RTSP, and reads so much of the answer.
async fn refused(client: &mut DuplexStream, answer: &[u8]) {
    client.write_all(b"hello\r\n").await.unwrap();
    let mut got = vec![0; answer.len()];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(got, answer);
}

const ANSWER: &[u8] = b"RTSP/1.0 400 this is not RTSP: neither a request nor media\r\n";

/// A client that was refused, has read its answer to the end, and sends.
async fn sending() -> (Served, DuplexStream) {
    let (io, mut client) = duplex(1 << 10);
    let served = Served::start(io);
    refused(&mut client, ANSWER).await;
    client.read_to_end(&mut Vec::new()).await.unwrap();
    client.write_all(&[b'x'; 1 << 16]).await.unwrap();
    (served, client)
}

#[tokio::test]
async fn what_a_refused_client_sends_is_read_for_so_long_and_no_longer() {
    let (served, mut client) = sending().await;
    served.clock.advance(CLOSE - Duration::from_millis(1));
    client.write_all(&[b'x'; 1 << 16]).await.unwrap();
    assert!(!served.serving.is_finished());
    served.clock.advance(Duration::from_millis(1));
    served.ended().await;
    assert!(client.write_all(b"x").await.is_err());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_what_is_still_sent() {
    let (served, _client) = sending().await;
    served.stop.send_replace(true);
    served.ended().await;
}

#[tokio::test]
async fn nor_is_a_last_word_waited_for_that_nobody_reads() {
    for stop in [false, true] {
        let (io, mut client) = duplex(1 << 10);
        let served = Served::start(Held(io));
        refused(&mut client, ANSWER).await;
        match stop {
            true => drop(served.stop.send_replace(true)),
            false => served.clock.advance(CLOSE),
        }
        served.ended().await;
    }
}
