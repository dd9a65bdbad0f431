//! Every operation asks the gate, about the right thing.

use std::sync::{Arc, Mutex};

use access::{AuditSink, Credentials, Decision};
use wire::aws::Input as _;
use world::Home;

use super::Site;
use crate::{actions, input::*};

#[tokio::test]
async fn every_action_is_somebody_s_and_every_operation_has_its_own() {
    let site = Site::new().await;
    let s = site.open().await;
    let arn = s.inner.home.arn("kinesis", "stream/s");
    let publish = site.gate.publish_token("s").await.unwrap();
    let view = site.gate.playback_token("s", world::Timestamp::MAX).unwrap();
    for action in actions::ALL {
        for powerless in [Credentials::Anonymous, Credentials::Token(&publish), Credentials::Playback(&view)]
        {
            assert!(site.gate.admit(powerless, *action, &arn).await.is_err(), "{action} by {powerless:?}");
        }
    }
    let service = crate::service(&s);
    for (name, action) in service.names().zip(service.actions()) {
        assert_eq!(action.0, format!("kinesis:{name}"));
    }
    let mut asked: Vec<&str> = service.actions().map(|a| a.0).collect();
    let mut all: Vec<&str> = actions::ALL.iter().map(|a| a.0).collect();
    asked.sort_unstable();
    all.sort_unstable();
    assert_eq!(asked, all);
}

#[tokio::test]
async fn tokens_are_asked_for_by_the_stream_that_they_are_of() {
    let site = Site::new().await;
    let s = site.open().await;
    let home = Home::default();
    s.make("s", 2).await;
    s.make("t", 1).await;
    let arn = |resource: &str| home.arn("kinesis", resource);
    let it = s.from("s", "shardId-000000000000", "LATEST", None).await.unwrap();
    let of_t = Some(s.get("t").unwrap().arn.0.clone());
    let i = GetRecords { shard_iterator: Some(it), stream_arn: of_t, ..<_>::default() };
    assert_eq!(i.resource_by(&site.gate, &home).unwrap(), arn("stream/s"), "whatever else is said");
    let e = s.get_records(s.permit(), i).await.unwrap_err();
    assert_eq!(e.code, "InvalidArgumentException", "an iterator of another stream");
    let i = GetRecords { shard_iterator: Some("AAAA".into()), ..<_>::default() };
    assert_eq!(i.resource_by(&site.gate, &home).unwrap(), arn("stream/*"));
    let i = ListShards { stream_name: Some("s".into()), max_results: Some(1), ..<_>::default() };
    let page = serde_json::to_value(s.list_shards(s.permit(), i).await.unwrap()).unwrap();
    let i = ListShards { next_token: page["NextToken"].as_str().map(Into::into), ..<_>::default() };
    assert_eq!(i.resource_by(&site.gate, &home).unwrap(), arn("stream/s"));
    let arn_of = "arn:aws:kinesis:eu-west-1:000000000000:stream/s/consumer/c:17";
    let i = DescribeStreamConsumer { consumer_arn: Some(arn_of.into()), ..<_>::default() };
    assert_eq!(i.resource(&home).unwrap(), arn("stream/s/consumer/c:17"), "of this region");
    let i = DescribeStreamConsumer {
        stream_arn: Some("arn:aws:kinesis:eu-west-1:000000000000:stream/s".into()),
        consumer_name: Some("c".into()),
        ..<_>::default()
    };
    assert_eq!(i.resource(&home).unwrap(), arn("stream/s/consumer/c:*"));
}

#[tokio::test]
async fn a_consumers_arn_does_not_name_its_stream() {
    let site = Site::new().await;
    let s = site.open().await;
    s.make("s", 1).await;
    let consumer = super::fanout::consumer(&s, "s", "c").await;
    for arn in [consumer, format!("{}/x", s.get("s").unwrap().arn)] {
        let i = DeleteStream { stream_arn: Some(arn.clone()), ..<_>::default() };
        assert!(i.resource(&Home::default()).unwrap().0.ends_with(&arn), "nor is the gate asked about it");
        let enforce = Some(true);
        let i = DeleteStream { enforce_consumer_deletion: enforce, stream_arn: Some(arn), ..<_>::default() };
        let e = s.delete_stream(s.permit(), i).await.unwrap_err();
        assert_eq!(e.code, "ResourceNotFoundException");
        s.put("s", "k", b"x").await.unwrap();
    }
}

#[tokio::test]
async fn what_is_in_another_account_is_not_permitted() {
    let site = Site::new().await;
    let s = site.open().await;
    s.make("s", 1).await;
    let home = Home::default();
    let stream = |account: &str| Some(format!("arn:aws:kinesis:us-east-1:{account}:stream/s"));
    let consumer = |account: &str| stream(account).map(|s| s + "/consumer/c:17");
    let asked = |account: &str| {
        [
            DescribeStream { stream_arn: stream(account), ..<_>::default() }.resource(&home),
            UpdateMaxRecordSize { stream_arn: stream(account), ..<_>::default() }.resource(&home),
            ListShards { stream_arn: stream(account), ..<_>::default() }.resource(&home),
            ListTagsForResource { resource_arn: stream(account), ..<_>::default() }.resource(&home),
            TagResource { resource_arn: consumer(account), ..<_>::default() }.resource(&home),
            SubscribeToShard { consumer_arn: consumer(account), ..<_>::default() }.resource(&home),
            DescribeStreamConsumer {
                stream_arn: stream(account),
                consumer_name: Some("c".into()),
                ..<_>::default()
            }
            .resource(&home),
        ]
    };
    for account in ["000000000000", "123456789012"] {
        for arn in asked(account) {
            let arn = arn.unwrap();
            assert!(arn.0.starts_with(&format!("arn:aws:kinesis:us-east-1:{account}:stream/s")), "{arn}");
        }
    }
    let gate = site.gate.accepting_any_signature();
    let services =
        wire::aws::Services::new(site.world.clone(), gate, Home::default()).with(crate::service(&s));
    for (account, status) in [("000000000000", 200), ("123456789012", 400)] {
        let body = format!(r#"{{"StreamARN": "{}"}}"#, stream(account).unwrap());
        let request = axum_request("DescribeStreamSummary", &body);
        let response = services.answer(request).await.map_err(drop).unwrap();
        assert_eq!(response.status(), status, "{account}");
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let denied = told["__type"].as_str().is_some_and(|t| t.ends_with("AccessDeniedException"));
        assert_eq!(denied, status == 400, "{told}");
    }
}

/// What the gate was asked.
#[derive(Default)]
struct Asked(Mutex<Vec<String>>);

impl AuditSink for Asked {
    fn decided(&self, d: &Decision<'_>) {
        self.0.lock().unwrap().push(format!("{} on {}", d.action, d.resource));
    }
}

#[tokio::test]
async fn the_gate_is_asked_about_the_stream_of_an_iterator() {
    let site = Site::new().await;
    let s = site.open().await;
    s.make("s", 1).await;
    let it = s.from("s", "shardId-000000000000", "LATEST", None).await.unwrap();
    let asked = Arc::new(Asked::default());
    let gate = site.gate.accepting_any_signature().with_audit(asked.clone());
    let services =
        wire::aws::Services::new(site.world.clone(), gate, Home::default()).with(crate::service(&s));
    let request = axum_request("GetRecords", &format!(r#"{{"ShardIterator": "{it}"}}"#));
    let response = services.answer(request).await.map_err(drop).unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        *asked.0.lock().unwrap(),
        ["kinesis:GetRecords on arn:aws:kinesis:us-east-1:000000000000:stream/s"]
    );
}

fn axum_request(operation: &str, body: &str) -> axum::extract::Request {
    let scope = "Credential=test/20270115/us-east-1/kinesis/aws4_request";
    axum::http::Request::post("/")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", format!("Kinesis_20131202.{operation}"))
        .header("host", "localhost")
        .header("x-amz-date", "20270115T080000Z")
        .header(
            "authorization",
            format!(
                "AWS4-HMAC-SHA256 {scope}, SignedHeaders=host;x-amz-date;x-amz-target, Signature={}",
                "0".repeat(64)
            ),
        )
        .body(axum::body::Body::from(body.to_owned()))
        .unwrap()
}
