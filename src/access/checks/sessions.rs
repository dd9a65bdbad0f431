//! Console sessions and links.

use std::time::Duration;

use super::{HOUR, KEY, ROOT, Site, WRONG, list, word};
use crate::Credentials;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_session_lasts_its_time_and_outlives_a_restart() {
    let site = Site::new();
    let gate = site.gate().await;
    let s = gate.sign_in(ROOT).await.unwrap();
    assert_eq!(s.expires, site.world.clock.now() + 168 * HOUR);
    assert!(
        s.cookie.len() < 1000 && s.cookie.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    );
    assert!(!format!("{s:?}").contains(&s.cookie));
    let cred = Credentials::Console(&s.cookie);
    let restarted = site.gate().await;
    list(&restarted, &site, cred).await.unwrap();
    assert_eq!(restarted.session_expires(&s.cookie).await.unwrap(), s.expires);
    site.clock.advance(168 * HOUR - SECOND);
    list(&gate, &site, cred).await.unwrap();
    // One that is good may be made anew.
    let longer = gate.sign_in(cred).await.unwrap();
    site.clock.advance(SECOND);
    assert_eq!(word(&list(&gate, &site, cred).await), "expired");
    assert_eq!(word(&gate.session_expires(&s.cookie).await), "expired");
    assert_eq!(word(&gate.sign_in(cred).await), "expired");
    list(&gate, &site, Credentials::Console(&longer.cookie)).await.unwrap();
}

#[tokio::test]
async fn only_root_signs_in() {
    let site = Site::new();
    let gate = site.gate().await;
    let publish = gate.publish_token("yard").await.unwrap();
    let view = gate.playback_token("yard", site.world.clock.now() + HOUR).unwrap();
    for (cred, want) in [
        (WRONG, "who?"),
        (Credentials::Anonymous, "who?"),
        (Credentials::Token(&publish), "no"),
        (Credentials::Playback(&view), "no"),
    ] {
        assert_eq!(word(&gate.sign_in(cred).await), want, "{cred:?}");
    }
}

#[tokio::test]
async fn signing_out_works() {
    let site = Site::new();
    let (gate, other) = (site.gate().await, site.gate().await);
    let (a, b) = (gate.sign_in(ROOT).await.unwrap(), gate.sign_in(ROOT).await.unwrap());
    assert_ne!(a.cookie, b.cookie);
    gate.sign_out(&a.cookie).await.unwrap();
    let (a, b) = (Credentials::Console(&a.cookie), Credentials::Console(&b.cookie));
    assert_eq!(word(&list(&gate, &site, a).await), "expired", "at once");
    assert_eq!(word(&gate.sign_in(a).await), "expired", "it does not come back");
    list(&gate, &site, b).await.unwrap();
    assert_eq!(word(&list(&site.gate().await, &site, a).await), "expired", "also after a restart");
    site.clock.advance(5 * SECOND);
    assert_eq!(word(&list(&other, &site, a).await), "expired", "on other nodes soon");
    list(&other, &site, b).await.unwrap();
    // Nothing happens to what is no session, or is over.
    for cookie in ["", "rubbish", &gate.seal_token("console session", b"{}")] {
        gate.sign_out(cookie).await.unwrap();
    }
    if let Credentials::Console(c) = a {
        gate.sign_out(c).await.unwrap();
    }
    list(&gate, &site, b).await.unwrap();
}

/// The list of ended sessions does not grow for ever; when it is full, all end.
#[tokio::test]
async fn very_many_sign_outs_end_all_sessions() {
    let site = Site::new();
    let gate = site.gate().await;
    let kept = gate.sign_in(ROOT).await.unwrap();
    let size = async || site.catalog.get("ended-sessions", "console").await.unwrap().unwrap().body.len();
    let mut most = 0;
    for n in 0..1025 {
        let s = gate.sign_in(ROOT).await.unwrap();
        list(&gate, &site, Credentials::Console(&kept.cookie)).await.unwrap();
        gate.sign_out(&s.cookie).await.unwrap();
        assert_eq!(word(&list(&gate, &site, Credentials::Console(&s.cookie)).await), "expired", "{n}");
        most = most.max(size().await);
    }
    assert!(most < 100_000, "{most} bytes");
    assert_eq!(word(&list(&gate, &site, Credentials::Console(&kept.cookie)).await), "expired");
    let new = gate.sign_in(ROOT).await.unwrap();
    list(&gate, &site, Credentials::Console(&new.cookie)).await.unwrap();
    // Those that would have expired by now are forgotten.
    gate.sign_out(&new.cookie).await.unwrap();
    site.clock.advance(169 * HOUR);
    let one = gate.sign_in(ROOT).await.unwrap();
    gate.sign_out(&one.cookie).await.unwrap();
    assert!(size().await < 200);
}

#[tokio::test]
async fn another_root_key_ends_sessions_and_links() {
    let site = Site::new();
    let gate = site.gate().await;
    let (s, link) = (gate.sign_in(ROOT).await.unwrap(), gate.one_time_link());
    for other in [("AKIAROOTROOTROOTROO2", KEY.1), (KEY.0, "another secret")] {
        let (gate, _) = site.open(Some(other)).await;
        assert_eq!(word(&list(&gate, &site, Credentials::Console(&s.cookie)).await), "expired");
        assert_eq!(word(&gate.sign_in_by_link(&link).await), "expired");
    }
    list(&site.gate().await, &site, Credentials::Console(&s.cookie)).await.unwrap();
}

#[tokio::test]
async fn a_link_works_once() {
    let site = Site::new();
    let (gate, other) = (site.gate().await, site.gate().await);
    let link = gate.one_time_link();
    let s = gate.sign_in_by_link(&link).await.unwrap();
    list(&gate, &site, Credentials::Console(&s.cookie)).await.unwrap();
    assert_eq!(word(&gate.sign_in_by_link(&link).await), "expired");
    assert_eq!(word(&other.sign_in_by_link(&link).await), "expired", "nor elsewhere");
    // Raced for, one wins.
    let link = gate.one_time_link();
    let (a, b) = tokio::join!(gate.sign_in_by_link(&link), other.sign_in_by_link(&link));
    assert!(a.is_ok() != b.is_ok());
    // Within a day.
    let link = gate.one_time_link();
    site.clock.advance(24 * HOUR - SECOND);
    gate.sign_in_by_link(&link).await.unwrap();
    let link = gate.one_time_link();
    site.clock.advance(24 * HOUR);
    assert_eq!(word(&gate.sign_in_by_link(&link).await), "expired");
    // A link is no session, a session no link.
    assert_eq!(word(&list(&gate, &site, Credentials::Console(&gate.one_time_link())).await), "who?");
    let s = gate.sign_in(ROOT).await.unwrap();
    assert_eq!(word(&gate.sign_in_by_link(&s.cookie).await), "who?");
}
