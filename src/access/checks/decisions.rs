//! Who may do what, as a table.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use world::Arn;

use super::{HOUR, KEY, ROOT, Site, WRONG, list, word};
use crate::{Action, AuditSink, Credentials, Decision, Denied, Principal, actions, stream_actions};

/// Resources by a letter each.
fn resource(site: &Site, letter: char) -> Arn {
    let h = &site.home;
    match letter {
        'y' => h.video_stream("yard"),
        'Y' => h.arn("kinesisvideo", "stream/yard/1767225600000"),
        'g' => h.video_stream("gate"),
        'l' => h.video_stream("yard2"),
        's' => h.video_stream("yar"),
        'n' => h.arn("kinesisvideo", "stream/yard/nested/1"),
        '*' => h.video_stream("*"),
        'd' => h.arn("kinesis", "stream/yard/*"),
        'c' => h.own("camera/yard"),
        'r' => Arn(format!("arn:aws:kinesisvideo:us-east-1:{}:stream/yard/*", h.account)),
        'o' => Arn("arn:aws:kinesisvideo:eu-west-1:999999999999:stream/yard/*".into()),
        'b' => Arn("yard".into()),
        'e' => Arn(String::new()),
        _ => unreachable!("not in the table"),
    }
}

const RESOURCES: &str = "yYglsn*dcrobe";

/// Who, which actions (`None`: all), on which resources the answer is yes; on everything else it is the word.
type Row<'a> = (Credentials<'a>, Option<&'a [Action]>, &'a str, &'a str);

#[tokio::test]
async fn the_table_holds() {
    let site = Site::new();
    let gate = site.gate().await;
    let session = gate.sign_in(ROOT).await.unwrap();
    let publish = gate.publish_token("yard").await.unwrap();
    let view = gate.playback_token("yard", site.world.clock.now() + HOUR).unwrap();
    let old_view = gate.playback_token("yard", site.world.clock.now()).unwrap();
    let service = gate.seal_token("hls", b"{}");
    let publishing = [actions::PUT_MEDIA, actions::DESCRIBE_STREAM];
    let viewing = [
        actions::DESCRIBE_STREAM,
        actions::GET_MEDIA,
        actions::LIST_FRAGMENTS,
        actions::GET_HLS_STREAMING_SESSION_URL,
        actions::GET_DASH_STREAMING_SESSION_URL,
        actions::GET_IMAGES,
    ];
    let everything = "yYglsn*dcr";
    let table: &[Row<'_>] = &[
        (Credentials::Anonymous, None, "", "who?"),
        (ROOT, None, everything, "no"),
        (Credentials::Console(&session.cookie), None, everything, "no"),
        (Credentials::Token(&publish), Some(&publishing), "yY", "no"),
        (Credentials::Playback(&view), Some(&viewing), "yY", "no"),
        (Credentials::Playback(&old_view), None, "", "expired"),
        // Everything in the place of everything else.
        (Credentials::Console(&publish), None, "", "who?"),
        (Credentials::Console(&view), None, "", "who?"),
        (Credentials::Console(&service), None, "", "who?"),
        (Credentials::Console(KEY.1), None, "", "who?"),
        (Credentials::Console(""), None, "", "who?"),
        (Credentials::Playback(&publish), None, "", "who?"),
        (Credentials::Playback(&session.cookie), None, "", "who?"),
        (Credentials::Playback(&service), None, "", "who?"),
    ];
    for (cred, actions, resources, otherwise) in table {
        for action in actions::ALL.iter().chain(stream_actions::ALL) {
            for letter in RESOURCES.chars() {
                let arn = resource(&site, letter);
                let r = gate.admit(*cred, *action, &arn).await;
                let yes = resources.contains(letter) && actions.is_none_or(|a| a.contains(action));
                let want = if yes { "yes" } else { otherwise };
                assert_eq!(word(&r), want, "{cred:?}, {action}, {arn}");
                if let Ok(p) = r {
                    assert_eq!((p.action(), p.resource()), (*action, &arn));
                }
            }
        }
    }
}

/// Guesses, which are slowed, each at a gate of its own.
#[tokio::test]
async fn wrong_secrets_are_refused() {
    let site = Site::new();
    let gate = site.gate().await;
    let publish = gate.publish_token("yard").await.unwrap();
    let session = gate.sign_in(ROOT).await.unwrap();
    let view = gate.playback_token("yard", site.world.clock.now() + HOUR).unwrap();
    let key = |id, secret| Credentials::AccessKey { id, secret };
    let (longer, shorter) = (format!("{}x", KEY.1), &KEY.1[..KEY.1.len() - 1]);
    let shifted = (format!("{}{}", KEY.0, &KEY.1[..1]), &KEY.1[1..]);
    let bad = [
        WRONG,
        key(KEY.0, ""),
        key("", KEY.1),
        key("", ""),
        key(KEY.1, KEY.0),
        key(KEY.0, &longer),
        key(KEY.0, shorter),
        key(&shifted.0, shifted.1),
        key("AKIAROOTROOTROOTROOT ", KEY.1),
        key(&publish, ""),
        Credentials::Token(&session.cookie),
        Credentials::Token(&view),
        Credentials::Token(KEY.1),
        Credentials::Token(""),
        Credentials::Token("rpub_AAAAAAAAAAAAAAAAAAAAAA"),
    ];
    for (n, cred) in (0u32..).zip(bad) {
        let gate = gate.at(IpAddr::V4(n.into()));
        assert_eq!(word(&gate.admit(cred, actions::PUT_MEDIA, &site.yard()).await), "who?", "{cred:?}");
    }
}

#[tokio::test]
async fn who_it_was_is_on_the_permit() {
    let site = Site::new();
    let gate = site.gate().await;
    let token = gate.publish_token("yard").await.unwrap();
    let by_token = gate.admit(Credentials::Token(&token), actions::PUT_MEDIA, &site.yard()).await.unwrap();
    assert_eq!(by_token.principal(), &Principal::Publisher { stream: "yard".into() });
    let by_root = gate.admit(ROOT, actions::PUT_MEDIA, &site.yard()).await.unwrap();
    assert_eq!(by_root.principal(), &Principal::Root);
    let own = gate.internal(actions::PUT_MEDIA, &site.yard());
    assert_eq!(
        (own.principal(), own.action(), own.resource()),
        (&Principal::Server, actions::PUT_MEDIA, &site.yard())
    );
}

#[tokio::test]
async fn refusals_say_what_was_refused_and_nothing_secret() {
    let site = Site::new();
    let gate = site.gate().await;
    let token = gate.publish_token("yard").await.unwrap();
    let no = gate.admit(Credentials::Token(&token), actions::GET_MEDIA, &site.yard()).await.unwrap_err();
    assert_eq!(
        no.to_string(),
        "kinesisvideo:GetMedia on arn:aws:kinesisvideo:eu-west-1:111122223333:stream/yard/* is not permitted"
    );
    // A wrong id and a wrong secret are told apart by nobody.
    let wrong_id =
        list(&gate, &site, Credentials::AccessKey { id: "AKIA", secret: KEY.1 }).await.unwrap_err();
    let wrong_secret = list(&gate, &site, WRONG).await.unwrap_err();
    assert_eq!(wrong_id, wrong_secret);
    assert!(!format!("{WRONG:?}").contains("horse"));
}

/// Twenty wrong ones at once, then one a second; from elsewhere nothing is noticed.
#[tokio::test]
async fn guessing_is_slowed() {
    let site = Site::new();
    let gate = site.gate().await;
    let session = gate.sign_in(ROOT).await.unwrap();
    let (here, there) = (gate.at([10, 0, 0, 1].into()), gate.at([10, 0, 0, 2].into()));
    // Right ones cost nothing.
    for _ in 0..100 {
        list(&here, &site, ROOT).await.unwrap();
    }
    for n in 0..20 {
        assert_eq!(word(&list(&here, &site, WRONG).await), "who?", "{n}");
    }
    let slowed = list(&here, &site, WRONG).await.unwrap_err();
    assert_eq!(slowed, Denied::TooManyAttempts { retry_after: Duration::from_secs(1) });
    assert_eq!(slowed.to_string(), "too many failed attempts: try again in 1 s");
    assert_eq!(word(&list(&here, &site, ROOT).await), "slowly", "not even the right one is looked at");
    assert_eq!(
        word(&here.admit(Credentials::Token("rpub_"), actions::PUT_MEDIA, &site.yard()).await),
        "slowly"
    );
    assert_eq!(
        word(&list(&here, &site, Credentials::Console(&session.cookie)).await),
        "yes",
        "sessions go on"
    );
    list(&there, &site, ROOT).await.unwrap();
    list(&gate, &site, ROOT).await.unwrap();
    // Being turned away costs nothing more.
    site.clock.advance(Duration::from_secs(1));
    list(&here, &site, ROOT).await.unwrap();
    assert_eq!(word(&list(&here, &site, WRONG).await), "who?");
    assert_eq!(word(&list(&here, &site, WRONG).await), "slowly");
    // Setting the wall clock does not help.
    site.clock.set(site.world.clock.now() + HOUR);
    assert_eq!(word(&list(&here, &site, WRONG).await), "slowly");
    site.clock.advance(Duration::from_secs(20));
    for _ in 0..20 {
        assert_eq!(word(&list(&here, &site, WRONG).await), "who?");
    }
    assert_eq!(word(&list(&here, &site, WRONG).await), "slowly");
}

/// It is nobody's fault, and nobody pays, when the catalog cannot be asked.
#[tokio::test]
async fn a_catalog_out_of_order_opens_nothing() {
    let site = Site::new();
    let gate = site.gate().await;
    let publish = gate.publish_token("yard").await.unwrap();
    let (session, link) = (gate.sign_in(ROOT).await.unwrap(), gate.one_time_link());
    site.fails.store(true, Ordering::Relaxed);
    site.clock.advance(HOUR);
    for _ in 0..100 {
        let r = gate.admit(Credentials::Token(&publish), actions::PUT_MEDIA, &site.yard()).await;
        assert_eq!(word(&r), "unavailable");
    }
    let said = list(&gate, &site, Credentials::Console(&session.cookie)).await.unwrap_err().to_string();
    assert_eq!(said, "cannot check who is asking: the catalog failed: switched off");
    assert_eq!(word(&gate.sign_out(&session.cookie).await), "unavailable");
    assert_eq!(word(&gate.sign_in_by_link(&link).await), "unavailable");
    list(&gate, &site, ROOT).await.unwrap();
    site.fails.store(false, Ordering::Relaxed);
    list(&gate, &site, Credentials::Console(&session.cookie)).await.unwrap();
    gate.admit(Credentials::Token(&publish), actions::PUT_MEDIA, &site.yard()).await.unwrap();
}

/// What a sink was told.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl AuditSink for Heard {
    fn decided(&self, d: &Decision<'_>) {
        let who = d.principal.map_or("nobody".into(), ToString::to_string);
        let from = d.source.map_or("?".into(), |s| s.to_string());
        let how = d.denied.map_or("passed".into(), ToString::to_string);
        self.0
            .lock()
            .unwrap()
            .push(format!("{who} by {} from {from}: {} on {}: {how}", d.credentials, d.action, d.resource));
    }
}

#[tokio::test]
async fn every_decision_is_heard() {
    let site = Site::new();
    let heard = Arc::new(Heard::default());
    let gate = site.gate().await.with_audit(heard.clone());
    let token = gate.publish_token("yard").await.unwrap();
    list(&gate.at([10, 0, 0, 1].into()), &site, ROOT).await.unwrap();
    list(&gate, &site, WRONG).await.unwrap_err();
    list(&gate, &site, Credentials::Token(&token)).await.unwrap_err();
    drop(gate.internal(actions::PUT_MEDIA, &site.yard()));
    gate.sign_in(ROOT).await.unwrap();
    gate.sign_in_by_link(&gate.one_time_link()).await.unwrap();
    gate.sign_in_by_link("none").await.unwrap_err();
    let arn = "arn:aws:kinesisvideo:eu-west-1:111122223333:stream";
    let console = "rushes:SignIn on arn:aws:rushes:eu-west-1:111122223333:console";
    assert_eq!(
        *heard.0.lock().unwrap(),
        [
            format!("root by access key from 10.0.0.1: kinesisvideo:ListStreams on {arn}/*/*: passed"),
            format!(
                "nobody by access key from ?: kinesisvideo:ListStreams on {arn}/*/*: not authenticated: wrong access key or secret"
            ),
            format!(
                "publisher of yard by publish token from ?: kinesisvideo:ListStreams on {arn}/*/*: kinesisvideo:ListStreams on {arn}/*/* is not permitted"
            ),
            format!("server by internal from ?: kinesisvideo:PutMedia on {arn}/yard/*: passed"),
            format!("root by access key from ?: {console}: passed"),
            format!("root by link from ?: {console}: passed"),
            format!(
                "nobody by link from ?: {console}: not authenticated: the token is not one of this server, or was changed"
            ),
        ]
    );
}
