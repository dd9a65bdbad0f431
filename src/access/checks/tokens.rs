//! Publish, viewing and services' tokens.

use proptest::prelude::*;

use super::{HOUR, Site, word};
use crate::{AccessError, Credentials, Denied, Gate, actions};

async fn publish(gate: &Gate, site: &Site, stream: &str, token: &str) -> &'static str {
    word(&gate.admit(Credentials::Token(token), actions::PUT_MEDIA, &site.home.video_stream(stream)).await)
}

#[tokio::test]
async fn a_publish_token_is_for_its_stream_until_the_next() {
    let site = Site::new();
    let gate = site.gate().await;
    let (yard, door) = (gate.publish_token("yard").await.unwrap(), gate.publish_token("door").await.unwrap());
    assert_eq!(yard.len(), 27, "short enough for what takes little");
    assert!(yard.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
    assert_eq!(publish(&gate, &site, "yard", &yard).await, "yes");
    assert_eq!(publish(&gate, &site, "door", &yard).await, "no");
    assert_eq!(publish(&site.gate().await, &site, "yard", &yard).await, "yes", "also after a restart");
    let next = gate.publish_token("yard").await.unwrap();
    assert_eq!(publish(&gate, &site, "yard", &yard).await, "who?");
    assert_eq!(publish(&gate, &site, "yard", &next).await, "yes");
    gate.revoke_publish_token("yard").await.unwrap();
    gate.revoke_publish_token("yard").await.unwrap();
    gate.revoke_publish_token("never").await.unwrap();
    assert_eq!(publish(&gate, &site, "yard", &next).await, "who?");
    assert_eq!(publish(&gate, &site, "door", &door).await, "yes");
    let docs = site.catalog.list(catalog::Filter::kind("publish-token")).await.unwrap();
    assert_eq!(docs.len(), 1);
    assert!(
        !format!("{docs:?} {}", String::from_utf8_lossy(&docs[0].body)).contains(&door),
        "only its hash is kept"
    );
    for name in ["", "a/b", "*", "a b", "é", &"x".repeat(257)] {
        assert!(matches!(gate.publish_token(name).await, Err(AccessError::BadName(_))), "{name:?}");
        assert!(
            matches!(gate.playback_token(name, site.world.clock.now()), Err(AccessError::BadName(_))),
            "{name:?}"
        );
    }
}

#[tokio::test]
async fn of_two_renewals_at_once_one_token_remains() {
    let site = Site::new();
    let (a, b) = (site.gate().await, site.gate().await);
    let (x, y) = tokio::join!(a.publish_token("yard"), b.publish_token("yard"));
    let (x, y) = (x.unwrap(), y.unwrap());
    let good = [publish(&a, &site, "yard", &x).await, publish(&a, &site, "yard", &y).await];
    assert!(good == ["yes", "who?"] || good == ["who?", "yes"], "{good:?}");
}

#[tokio::test]
async fn a_viewing_token_opens_its_stream_until_it_expires() {
    let site = Site::new();
    let gate = site.gate().await;
    let token = gate.playback_token("yard", site.world.clock.now() + HOUR).unwrap();
    let view = async |stream: &str, token: &str| {
        word(
            &gate
                .admit(Credentials::Playback(token), actions::GET_MEDIA, &site.home.video_stream(stream))
                .await,
        )
    };
    assert_eq!(view("yard", &token).await, "yes");
    for other in ["door", "yard2", "yar", "*", "yard/*"] {
        assert_eq!(view(other, &token).await, "no", "{other}");
    }
    site.clock.advance(HOUR);
    assert_eq!(view("yard", &token).await, "expired");
    // What a service seals under the same words is none.
    let forged = br#"{"stream":"yard","expires":9000000000000000}"#;
    for kind in ["viewing", "gate/viewing", "../gate/viewing"] {
        assert_eq!(view("yard", &gate.seal_token(kind, forged)).await, "who?");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn tokens_come_back_whole_or_not_at_all(
        plain in prop::collection::vec(any::<u8>(), 0..300),
        kind in "[a-z]{0,8}",
        other in "[a-z]{0,8}",
        at in any::<prop::sample::Index>(),
        by in 1u8..64,
        rubbish in "\\PC{0,200}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let site = Site::new();
        let gate = runtime.block_on(site.gate());
        let token = gate.seal_token(&kind, &plain);
        prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        prop_assert_ne!(&token, &gate.seal_token(&kind, &plain));
        prop_assert_eq!(gate.open_token(&kind, &token).unwrap(), plain.clone());
        prop_assert_eq!(runtime.block_on(site.gate()).open_token(&kind, &token).unwrap(), plain.clone());
        let refused = |r: Result<Vec<u8>, Denied>| matches!(r, Err(Denied::NotAuthenticated(_)));
        if kind != other {
            prop_assert!(refused(gate.open_token(&other, &token)));
        }
        // Another letter of base64url in one place, a letter less, one more.
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut changed = token.clone().into_bytes();
        let i = at.index(changed.len());
        let was = LETTERS.iter().position(|l| *l == changed[i]).unwrap();
        changed[i] = LETTERS[(was + usize::from(by)) % 64];
        prop_assert!(refused(gate.open_token(&kind, std::str::from_utf8(&changed).unwrap())));
        prop_assert!(refused(gate.open_token(&kind, &token[..token.len() - 1])));
        prop_assert!(refused(gate.open_token(&kind, &(token.clone() + "A"))));
        prop_assert!(refused(gate.open_token(&kind, &rubbish)));
        // Of another installation.
        let elsewhere = Site { world: catalog::testing::world(99).0, ..Site::new() };
        prop_assert!(refused(runtime.block_on(elsewhere.gate()).open_token(&kind, &token)));
        // Secrets alike.
        let sealed = gate.seal_secret(kind.as_bytes(), &plain);
        prop_assert_eq!(gate.open_secret(kind.as_bytes(), &sealed).unwrap(), plain);
        let mut bad = sealed.clone();
        bad[at.index(sealed.len())] ^= by;
        prop_assert!(gate.open_secret(kind.as_bytes(), &bad).is_err());
    }
}

#[tokio::test]
async fn an_endless_token_is_not_decoded() {
    let site = Site::new();
    let gate = site.gate().await;
    assert!(gate.open_token("k", &"A".repeat(64 << 20)).is_err());
}
