//! The root key and the catalog's key.

use std::sync::Arc;

use catalog::Filter;
use seal::{DataKey, LocalKey};
use world::StreamUid;

use super::{KEY, ROOT, Site, list, word};
use crate::{AccessError, Credentials, Gate};

#[tokio::test]
async fn the_root_key_is_made_once_and_kept_sealed() {
    let site = Site::new();
    let (gate, made) = site.open(None).await;
    let made = made.unwrap();
    assert_eq!(made.id.len(), 20);
    assert!(
        made.id.starts_with("AKIA")
            && made.id[4..].bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b))
    );
    assert!(
        made.secret.len() == 40 && made.secret.bytes().all(|b| b.is_ascii_alphanumeric()),
        "fits a URL as it is"
    );
    assert_eq!(gate.root_key_id(), made.id);
    let kept = gate.stored_root_key().await.unwrap().unwrap();
    assert_eq!((&kept.id, &kept.secret), (&made.id, &made.secret), "its owner can have it again");
    assert!(!format!("{made:?}").contains(&made.secret));
    let (again, none) = site.open(None).await;
    assert!(none.is_none());
    let cred = Credentials::AccessKey { id: &made.id, secret: &made.secret };
    list(&gate, &site, cred).await.unwrap();
    list(&again, &site, cred).await.unwrap();
    let doc = site.catalog.get("root-key", "root").await.unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&doc.body).contains(&made.secret));
    // Another site makes another.
    let (_, other) = Site { world: catalog::testing::world(8).0, ..Site::new() }.open(None).await;
    assert_ne!(other.unwrap().secret, made.secret);
}

#[tokio::test]
async fn a_key_given_wins_and_is_not_stored() {
    let site = Site::new();
    let (_, made) = site.open(None).await;
    let made = made.unwrap();
    let (gate, none) = site.open(Some(KEY)).await;
    assert!(none.is_none());
    assert_eq!(gate.root_key_id(), KEY.0);
    list(&gate, &site, ROOT).await.unwrap();
    let stored = Credentials::AccessKey { id: &made.id, secret: &made.secret };
    assert_eq!(word(&list(&gate, &site, stored).await), "who?");
    let (gate, _) = site.open(None).await;
    list(&gate, &site, stored).await.unwrap();
    assert_eq!(word(&list(&gate, &site, ROOT).await), "who?");
    // Given from the first, none is made until it is not.
    let site = Site::new();
    assert!(site.open(Some(KEY)).await.1.is_none());
    assert_eq!(site.catalog.list(Filter::kind("root-key")).await.unwrap(), []);
    assert!(site.open(None).await.1.is_some());
}

#[tokio::test]
async fn a_key_that_cannot_be_one_is_refused() {
    let site = Site::new();
    for (id, secret) in [
        ("", "long enough"),
        ("a:b", "long enough"),
        ("root", "short"),
        ("root", "line\nbreak"),
        ("ro ot", "long enough"),
    ] {
        let keys = Arc::new(LocalKey::new(DataKey::new([5; 32])));
        let root = Some((id.to_owned(), secret.to_owned()));
        let r = Gate::open(site.world.clone(), site.catalog.clone(), keys, site.home.clone(), root).await;
        assert!(matches!(r.err(), Some(AccessError::BadRootKey(_))), "{id:?} {secret:?}");
    }
}

#[tokio::test]
async fn another_master_key_is_told_by_name() {
    let site = Site::new();
    site.gate().await;
    let (right, wrong) = (LocalKey::new(DataKey::new([5; 32])), LocalKey::new(DataKey::new([6; 32])));
    let names = [&right, &wrong].map(seal::KeyProvider::id);
    let r =
        Gate::open(site.world.clone(), site.catalog.clone(), Arc::new(wrong), site.home.clone(), None).await;
    let said = r.err().unwrap().to_string();
    assert_eq!(
        said,
        format!(
            "the catalog's key is wrapped under master key {}, but the master key here is {}",
            names[0], names[1]
        )
    );
    assert_eq!(site.catalog.keys(StreamUid([0xff; 16])).await.unwrap().len(), 1, "no second key was made");
}

#[tokio::test]
async fn two_that_open_at_once_agree() {
    let site = Site::new();
    let ((a, made_a), (b, made_b)) = tokio::join!(site.open(None), site.open(None));
    assert_eq!(a.root_key_id(), b.root_key_id());
    assert!(made_a.is_some() != made_b.is_some(), "one of them made it");
    assert_eq!(b.open_token("k", &a.seal_token("k", b"x")).unwrap(), b"x");
}

#[tokio::test]
async fn secrets_open_in_their_place_only() {
    let site = Site::new();
    let gate = site.gate().await;
    let sealed = gate.seal_secret(b"camera/yard", b"hunter2");
    assert!(!sealed.windows(7).any(|w| w == b"hunter2"));
    assert_ne!(sealed, gate.seal_secret(b"camera/yard", b"hunter2"), "each under a key of its own");
    assert_eq!(
        site.gate().await.open_secret(b"camera/yard", &sealed).unwrap(),
        b"hunter2",
        "also after a restart"
    );
    assert!(matches!(gate.open_secret(b"camera/gate", &sealed), Err(AccessError::Secret(_))));
    assert!(gate.open_secret(b"camera/yard", &sealed[1..]).is_err());
    assert!(gate.open_secret(b"camera/yard", &[]).is_err());
    let mut unknown = sealed.clone();
    unknown[3] = 2;
    assert!(gate.open_secret(b"camera/yard", &unknown).is_err(), "of a generation that there is not");
    // A service cannot reach the gate's own secrets, whatever it asks for.
    let doc = site
        .open(None)
        .await
        .1
        .map(|_| site.catalog.get("root-key", "root"))
        .unwrap()
        .await
        .unwrap()
        .unwrap();
    let body: serde_json::Value = serde_json::from_slice(&doc.body).unwrap();
    let sealed =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body["secret"].as_str().unwrap())
            .unwrap();
    let context = format!("gate\0root key\0{}", body["id"].as_str().unwrap());
    assert!(gate.open_secret(context.as_bytes(), &sealed).is_err());
}
