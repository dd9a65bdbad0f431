//! Bodies: bounded in bytes and in time.

use std::convert::Infallible;

use bytes::BytesMut;
use futures_util::{StreamExt as _, stream};

use super::*;
use crate::aws::body::Bodies;

fn chunked(n: usize, chunk: usize) -> Body {
    Body::from_stream(stream::iter((0..n).map(move |_| Ok::<_, Infallible>(Bytes::from(vec![b'a'; chunk])))))
}

#[tokio::test]
async fn a_body_too_large_is_refused_and_read_to_its_end() {
    let site = Site::new().await;
    let a = site.send(signed("Nothing", JSON, vec![b' '; 1025])).await;
    assert_eq!(a.error(), "413 RequestEntityTooLargeException: The request is larger than 1024 bytes.");
    assert_eq!(
        site.json("Nothing", &format!("{{\"StreamName\":\"s\"}}{}", " ".repeat(1006))).await.status,
        200
    );
    let mut r = signed("Nothing", JSON, vec![]);
    *r.body_mut() = chunked(100, 1000);
    assert_eq!(site.send(r).await.status, 413);
}

#[tokio::test]
async fn what_comes_in_pieces_is_one_body_and_its_hash() {
    let site = Site::new().await;
    let bodies = Bodies::new(site.world.clone(), 256 << 20);
    for (n, chunk) in [(0, 0), (1, 5), (1000, 7), (100, 10_000)] {
        let b = bodies.read(chunked(n, chunk), 1 << 20).await.unwrap();
        assert_eq!(&b[..], vec![b'a'; n * chunk]);
        assert_eq!(hex(&b.hash), sha256_hex(&b));
    }
    let mut all = BytesMut::new();
    all.extend_from_slice(b"\xff\x00");
    assert_eq!(&bodies.read(Body::from(all.freeze()), 10).await.unwrap()[..], b"\xff\x00");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for_long() {
    let site = Site::new().await;
    let mut r = signed("Nothing", JSON, vec![]);
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]);
    *r.body_mut() = Body::from_stream(first.chain(stream::pending()));
    let answer = tokio::spawn(site.router.clone().oneshot(r));
    while !answer.is_finished() {
        site.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    let a = Answered::of(answer.await.unwrap().unwrap()).await;
    assert_eq!(a.error(), "408 RequestTimeout: The body did not arrive in time.");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error() {
    let site = Site::new().await;
    let mut r = signed("Nothing", JSON, vec![]);
    let broken = [Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("reset"))];
    *r.body_mut() = Body::from_stream(stream::iter(broken));
    assert!(site.send(r).await.error().starts_with("400 SerializationException: the body broke off"));
}

#[tokio::test]
async fn all_bodies_together_are_bounded() {
    let site = Site::new().await;
    let bodies = Bodies::new(site.world.clone(), 256 << 20);
    // 16 MiB each, held.
    let mut held = Vec::new();
    for _ in 0..15 {
        held.push(bodies.read(chunked(16, 1 << 20), 16 << 20).await.unwrap());
    }
    let another = tokio::spawn({
        let bodies = bodies.clone();
        async move { bodies.read(chunked(17, 1 << 20), 32 << 20).await.map(drop) }
    });
    while !another.is_finished() {
        site.clock.advance(Duration::from_millis(500));
        tokio::task::yield_now().await;
    }
    assert_eq!(another.await.unwrap().unwrap_err().status, 503);
    drop(held);
    bodies.read(chunked(17, 1 << 20), 32 << 20).await.map(drop).unwrap();
}

#[tokio::test]
async fn strangers_bodies_take_no_room() {
    let site = Site::new().await;
    for (key, error) in [
        (
            "AKIAOTHER",
            "400 UnrecognizedClientException: The security token included in the request is invalid.",
        ),
        (KEY.0, "413 RequestEntityTooLargeException: The request is larger than 1024 bytes."),
    ] {
        let mut r = sign(unsigned("Nothing", JSON, vec![]), vec![], (key, KEY.1), NOW);
        *r.body_mut() = chunked(20, 1 << 20);
        assert_eq!(site.send(r).await.error(), error);
    }
}
