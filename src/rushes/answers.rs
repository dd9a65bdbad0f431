//! How many requests are answered at once, over all connections. Each takes a place until the last byte of its answer was
//! sent: a client of HTTP/2 that opens no window (RFC 9113 §5.2), or one of a byte, keeps each of its answers in memory.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    Error,
    body::{Body, Bytes, HttpBody},
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse as _, Response},
};
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many at once.
#[derive(Clone)]
pub(crate) struct Answers(Arc<Semaphore>);

impl Answers {
    pub(crate) fn new(most: usize) -> Answers {
        Answers(Arc::new(Semaphore::new(most)))
    }

    /// Waits until so many places are free; whether one more is.
    #[cfg(test)]
    pub(crate) async fn free(&self, places: u32) -> bool {
        let free = self.0.acquire_many(places).await;
        free.is_ok() && self.0.try_acquire().is_ok()
    }

    /// Gives what answers a request a place, or refuses it where there is none.
    pub(crate) async fn one<F>(&self, answer: impl FnOnce() -> F) -> Response
    where
        F: Future<Output = Response>,
    {
        let Ok(place) = self.0.clone().try_acquire_owned() else {
            let soon = [(RETRY_AFTER, HeaderValue::from_static("1"))];
            return (StatusCode::SERVICE_UNAVAILABLE, soon).into_response();
        };
        let answer = answer().await;
        // Nothing of it is left once its head is written: an upgrade, too, which has places of its own.
        if answer.body().is_end_stream() {
            return answer;
        }
        answer.map(|body| Body::new(Placed { body, place: Arc::new(place) }))
    }
}

/// A body with its place. HTTP/2 takes a whole frame of it as soon as it may send a byte, and then keeps what it may not
/// send yet: so the bytes have the place, too.
struct Placed {
    body: Body,
    place: Arc<OwnedSemaphorePermit>,
}

struct Kept {
    bytes: Bytes,
    _place: Arc<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Placed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let kept = |bytes| Bytes::from_owner(Kept { bytes, _place: self.place.clone() });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(kept))))
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_place_is_kept_until_the_answer_is_taken() {
        let answers = Answers::new(1);
        let of = |body: &'static str| async move { Response::new(Body::from(body)) };
        let first = answers.one(|| of("x")).await;
        assert_eq!((first.status(), first.body().size_hint().exact()), (StatusCode::OK, Some(1)));
        let second = answers.one(|| async { panic!("there is no place for it") }).await;
        assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(second.headers()[RETRY_AFTER], "1");
        let taken = first.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(taken, "x");
        let second = answers.one(|| async { panic!("its bytes are still there") }).await;
        assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(taken);
        for _ in 0..2 {
            assert!(answers.one(|| of("")).await.status().is_success(), "what is empty keeps none");
        }
        // Nor does a client that has gone.
        drop(answers.one(|| of("x")).await);
        assert!(answers.one(|| of("x")).await.status().is_success());
    }
}
