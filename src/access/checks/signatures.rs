//! Signed requests at the gate.

use std::time::Duration;

use ring::hmac;
use world::Timestamp;

use super::{HOUR, KEY, ROOT, Site, list, word};
use crate::{Credentials, Denied, Gate, SignatureFault, SignedRequest, actions, hex};

/// 2026-01-01T00:00:00Z, when the test's clock starts.
const TIME: Timestamp = Timestamp(1_767_225_600_000_000);

fn request<'a>() -> SignedRequest<'a> {
    SignedRequest {
        key_id: KEY.0,
        day: "20260101",
        region: "eu-west-1",
        service: "kinesis",
        time_text: "20260101T000000Z",
        time: TIME,
        expires: None,
        session_token: None,
        canonical: [7; 32],
        signature: "",
    }
}

fn sign(r: &SignedRequest<'_>, secret: &str) -> String {
    let mut key = format!("AWS4{secret}").into_bytes();
    let step = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    for part in [r.day, r.region, r.service, "aws4_request"] {
        key = step(&key, part);
    }
    let (day, region, service) = (r.day, r.region, r.service);
    let scope = format!("{day}/{region}/{service}/aws4_request");
    hex(&step(&key, &format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", r.time_text, hex(&r.canonical))))
}

async fn ask(gate: &Gate, site: &Site, r: SignedRequest<'_>, secret: &str) -> Result<(), Denied> {
    let signature = sign(&r, secret);
    list(gate, site, Credentials::Signature(&SignedRequest { signature: &signature, ..r })).await.map(drop)
}

#[tokio::test]
async fn the_right_secret_in_time_passes() {
    let site = Site::new();
    let gate = site.gate().await;
    let (r, secret) = (request(), KEY.1);
    ask(&gate, &site, r, secret).await.unwrap();
    let fault = |r: Result<(), Denied>| match r {
        Err(Denied::Signature(f)) => f,
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(ask(&gate, &site, r, "wrong horse").await), SignatureFault::Mismatch);
    let other = SignedRequest { key_id: "AKIASOMEBODYELSE", ..r };
    assert_eq!(fault(ask(&gate, &site, other, secret).await), SignatureFault::UnknownKey);
    assert_eq!(
        gate.expects(&other, actions::LIST_STREAMS),
        Err(Denied::Signature(SignatureFault::UnknownKey))
    );
    assert_eq!(gate.expects(&r, actions::LIST_STREAMS), Ok(()), "whatever its signature");
    let token = SignedRequest { session_token: Some("x"), ..r };
    assert_eq!(fault(ask(&gate, &site, token, secret).await), SignatureFault::UnknownKey);
    site.clock.advance(Duration::from_secs(300));
    ask(&gate, &site, r, secret).await.unwrap();
    site.clock.advance(Duration::from_secs(1));
    assert!(matches!(fault(ask(&gate, &site, r, secret).await), SignatureFault::TooOld { .. }));
    // Presigned, it says itself how long it is good for, but no longer than a week.
    let presigned = SignedRequest { expires: Some(HOUR * 1000), ..r };
    ask(&gate, &site, presigned, secret).await.unwrap();
    site.clock.advance(HOUR * 24 * 7);
    assert!(matches!(fault(ask(&gate, &site, presigned, secret).await), SignatureFault::TooOld { .. }));
    site.clock.set(TIME - Duration::from_secs(300));
    ask(&gate, &site, presigned, secret).await.unwrap();
    site.clock.set(TIME - Duration::from_secs(301));
    assert!(matches!(fault(ask(&gate, &site, presigned, secret).await), SignatureFault::TooNew { .. }));
}

#[tokio::test]
async fn an_old_secret_in_use_does_not_lock_out_its_neighbours_soon() {
    let site = Site::new();
    let gate = site.gate().await.at("10.0.0.7".parse().unwrap());
    // A program with an unknown key, as often as it likes; one with a wrong secret ten times a second.
    let unknown = SignedRequest { key_id: "AKIASOMEBODYELSE", ..request() };
    for _ in 0..1000 {
        assert_eq!(word(&ask(&gate, &site, unknown, KEY.1).await), "signature");
    }
    for _ in 0..300 {
        assert_eq!(word(&ask(&gate, &site, request(), "wrong horse").await), "signature");
        ask(&gate, &site, request(), KEY.1).await.unwrap();
        site.clock.advance(Duration::from_millis(100));
    }
    // But guessing has an end, and does not cost those who type their secret.
    let mut heard = 0;
    while word(&ask(&gate, &site, request(), "wrong horse").await) == "signature" {
        heard += 1;
    }
    assert!((150..=200).contains(&heard), "{heard}");
    assert_eq!(word(&ask(&gate, &site, request(), KEY.1).await), "slowly");
    list(&gate, &site, ROOT).await.unwrap();
    ask(&site.gate().await.at("10.0.0.8".parse().unwrap()), &site, request(), KEY.1).await.unwrap();
    site.clock.advance(Duration::from_secs(1));
    ask(&gate, &site, request(), KEY.1).await.unwrap();
}

#[tokio::test]
async fn any_signature_passes_only_where_that_was_asked_for() {
    let site = Site::new();
    let gate = site.gate().await;
    let made_up = SignedRequest { key_id: "test", ..request() };
    assert_eq!(word(&ask(&gate, &site, made_up, "test").await), "signature");
    let open = gate.accepting_any_signature();
    assert_eq!(open.expects(&made_up, actions::LIST_STREAMS), Ok(()));
    ask(&open, &site, made_up, "test").await.unwrap();
    assert_eq!(word(&list(&open, &site, super::WRONG).await), "who?", "secrets are checked as ever");
    assert_eq!(word(&list(&open, &site, Credentials::Anonymous).await), "who?");
}

#[tokio::test]
async fn who_is_known_first_passes_as_whoever_comes_at_once() {
    let site = Site::new();
    let gate = site.gate().await;
    let known = gate.authenticate(ROOT, actions::LIST_STREAMS).await.unwrap();
    let permit = gate.authorize(known, actions::LIST_STREAMS, &site.yard()).unwrap();
    assert_eq!((permit.action(), permit.resource()), (actions::LIST_STREAMS, &site.yard()));
    let known = gate.authenticate(ROOT, actions::LIST_STREAMS).await.unwrap();
    let elsewhere = world::Arn("arn:aws:kinesisvideo:eu-west-1:999999999999:stream/yard/*".into());
    assert_eq!(word(&gate.authorize(known, actions::LIST_STREAMS, &elsewhere)), "no");
    assert_eq!(word(&gate.authenticate(super::WRONG, actions::LIST_STREAMS).await), "who?");
}
