//! Clients of HTTP/2 that do not take what they asked for, through the listener itself.

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    header::RETRY_AFTER,
};
use tokio::task::JoinHandle;
use world::sim::Sim;

use super::*;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Answers at once.
const MOST: u32 = 6;
/// Of each.
const ANSWER: Bytes = Bytes::from_static(&[7; 400]);

/// The listener with a small bound.
struct Site {
    address: SocketAddr,
    answers: Answers,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Site {
    async fn new() -> Site {
        let listener = bind("127.0.0.1:0".parse().unwrap(), "--listen").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Answers::new(MOST as usize);
        let app = Placed { app: Router::new().fallback(async || ANSWER), answers: answers.clone() };
        let (stop, stopped) = watch::channel(false);
        // Its clock stands still: nothing here is made free by time.
        let world = Sim::new(1).world;
        let serving = tokio::spawn(accept(world, listener, None, app, stopped));
        Site { address, answers, stop, serving }
    }

    /// `window`: how many bytes of each answer may come before it is read.
    async fn client(&self, window: u32) -> Client {
        let socket = std::net::TcpStream::connect(self.address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let stream = TcpStream::from_std(socket.try_clone().unwrap()).unwrap();
        let (asks, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Client { asks, socket }
    }

    /// Waits until so many places are free, and no more.
    async fn free(&self, places: u32) {
        let free = tokio::time::timeout(PATIENCE, self.answers.free(places));
        assert!(!free.await.expect("places become free"), "more than {places} are free");
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        tokio::time::timeout(PATIENCE, self.serving).await.expect("it stops").unwrap();
    }
}

struct Client {
    asks: SendRequest<Empty<Bytes>>,
    socket: std::net::TcpStream,
}

impl Client {
    /// An answer of which only the head is there.
    async fn ask(&mut self) -> hyper::Response<Incoming> {
        let request = hyper::Request::get("http://x/").body(Empty::new()).unwrap();
        let answer = tokio::time::timeout(PATIENCE, self.asks.send_request(request));
        answer.await.expect("a head comes in any case").unwrap()
    }

    async fn is_answered(&mut self) {
        let answer = self.ask().await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), ANSWER);
    }

    async fn is_refused(&mut self) {
        let answer = self.ask().await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[RETRY_AFTER], "1");
    }
}

/// With a window of a byte the server has already given the rest to what sends it.
#[tokio::test]
async fn answers_that_nobody_takes_are_bounded_and_make_room_when_they_are_gone() {
    for window in [0, 1] {
        let site = Site::new().await;
        let (mut silent, mut other) = (site.client(window).await, site.client(1 << 20).await);
        other.is_answered().await;
        let mut waiting = Vec::new();
        for n in 0..MOST {
            let answer = silent.ask().await;
            assert_eq!(answer.status(), StatusCode::OK, "the answer {n} with a window of {window}");
            waiting.push(answer);
        }
        silent.is_refused().await;
        other.is_refused().await;
        // Some are not wanted any more: their streams are reset.
        waiting.truncate(MOST as usize - 2);
        site.free(2).await;
        for _ in 0..MOST {
            other.is_answered().await;
            site.free(2).await;
        }
        // One is read after all, which opens a window that was there.
        if window > 0 {
            let read = waiting.pop().unwrap().into_body().collect().await.unwrap().to_bytes();
            assert_eq!(read, ANSWER);
            site.free(3).await;
        }
        // And the client goes without a word.
        silent.socket.shutdown(std::net::Shutdown::Both).unwrap();
        site.free(MOST).await;
        other.is_answered().await;
        drop((other, waiting));
        site.stop().await;
    }
}
