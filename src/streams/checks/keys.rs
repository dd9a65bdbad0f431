use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use seal::{DataKey, KeyFault, KeyProvider, LocalKey, SealError, Wrapped};

use super::{data, fanout::consumer, made, shown};
use crate::{DataStreams, input::*, keys::TRUST};

/// A provider that says what it is told to, and counts.
#[derive(Default)]
pub(crate) struct TestKeys {
    /// The key of this name is in this state.
    pub fault: Mutex<Option<(&'static str, KeyFault)>>,
    pub asked: AtomicUsize,
}

impl TestKeys {
    fn master() -> LocalKey {
        LocalKey::new(DataKey::new([5; 32]))
    }
}

#[async_trait::async_trait]
impl KeyProvider for TestKeys {
    fn id(&self) -> String {
        TestKeys::master().id()
    }
    async fn wrap(&self, key: &DataKey, context: &[u8], salt: seal::Salt) -> Result<Wrapped, SealError> {
        TestKeys::master().wrap(key, context, salt).await
    }
    async fn unwrap(&self, w: &Wrapped, context: &[u8]) -> Result<DataKey, SealError> {
        TestKeys::master().unwrap(w, context).await
    }
    async fn usable(&self, name: &str) -> Result<(), KeyFault> {
        self.asked.fetch_add(1, SeqCst);
        let fault = self.fault.lock().unwrap().clone();
        match &fault {
            Some((of, fault)) if *of == name => Err(fault.clone()),
            _ => TestKeys::master().usable(name).await,
        }
    }
}

const ONE: &str = "shardId-000000000000";

async fn start(s: &DataStreams, key: &str) -> Result<(), &'static str> {
    let i = StartStreamEncryption {
        stream_name: Some("s".into()),
        encryption_type: Some("KMS".into()),
        key_id: Some(key.into()),
        ..<_>::default()
    };
    let done = s.start_encryption(s.permit(), i).await.map(drop).map_err(|e| e.code);
    s.rest("s").await;
    done
}

#[tokio::test]
async fn every_fault_of_a_key_is_the_api_s() {
    let text = || "why".to_owned();
    let faults = [
        (KeyFault::AccessDenied(text()), "KMSAccessDeniedException"),
        (KeyFault::Disabled(text()), "KMSDisabledException"),
        (KeyFault::InvalidState(text()), "KMSInvalidStateException"),
        (KeyFault::NotFound(text()), "KMSNotFoundException"),
        (KeyFault::OptInRequired(text()), "KMSOptInRequired"),
        (KeyFault::Throttling(text()), "KMSThrottlingException"),
        (KeyFault::Unavailable(text()), "InternalFailure"),
    ];
    let (site, clock, s) = made().await;
    let arn = consumer(&s, "s", "c").await;
    assert_eq!(start(&s, "alias/k").await, Ok(()));
    s.put("s", "k", b"sealed").await.unwrap();
    for (fault, code) in faults {
        *site.keys.fault.lock().unwrap() = Some(("alias/k", fault));
        let it = s.from("s", ONE, "TRIM_HORIZON", None).await.unwrap();
        let mut events = Box::pin(s.subscription(&arn).await.unwrap());
        // What was answered before is believed for a while.
        s.put("s", "k", b"sealed").await.unwrap();
        assert_eq!(start(&s, "alias/k").await, Err(code), "a user who asks is told at once");
        // The next subscription may take over then.
        clock.advance(Duration::from_secs(6));
        assert_eq!(s.put("s", "k", b"x").await.unwrap_err().code, code);
        let i = PutRecords {
            stream_name: Some("s".into()),
            records: Some(vec![PutRecordsRequestEntry {
                data: Some(vec![1].into()),
                partition_key: Some("k".into()),
                ..<_>::default()
            }]),
            ..<_>::default()
        };
        assert_eq!(s.put_records(s.permit(), i).await.unwrap_err().code, code, "not by record");
        let refused = s.read(&it).await.unwrap_err();
        assert_eq!((refused.code, refused.status), (code, if code == "InternalFailure" { 500 } else { 400 }));
        assert_eq!(events.next().await.unwrap().unwrap_err().code, code, "as the stream's last event");
        assert!(events.next().await.is_none());
        drop(events);
        // Restored: nothing was lost, and nothing is there that was refused.
        *site.keys.fault.lock().unwrap() = None;
        let read = s.read(&it).await.unwrap();
        assert!(data(&read).iter().all(|d| d == "sealed"));
        assert_eq!(read["Records"][0]["EncryptionType"], "KMS");
    }
}

#[tokio::test]
async fn the_provider_is_asked_once_in_five_minutes() {
    let (site, clock, s) = made().await;
    start(&s, "alias/aws/kinesis").await.unwrap();
    for _ in 0..10 {
        for _ in 0..20 {
            s.put("s", "k", b"x").await.unwrap();
            let it = s.from("s", ONE, "TRIM_HORIZON", None).await.unwrap();
            s.read(&it).await.unwrap();
        }
        clock.advance(TRUST / 2);
    }
    assert_eq!(site.keys.asked.load(SeqCst), 5);
}

#[tokio::test]
async fn records_need_the_key_that_they_were_put_under() {
    let (site, clock, s) = made().await;
    s.put("s", "k", b"none").await.unwrap();
    let mut puts = vec!["none"];
    for (key, data) in [("alias/a", "under a"), ("alias/b", "under b")] {
        clock.advance(Duration::from_secs(1));
        start(&s, key).await.unwrap();
        s.put("s", "k", data.as_bytes()).await.unwrap();
        puts.push(data);
    }
    clock.advance(Duration::from_secs(1));
    let stop = StopStreamEncryption {
        stream_name: Some("s".into()),
        encryption_type: Some("KMS".into()),
        key_id: Some("alias/b".into()),
        ..<_>::default()
    };
    s.stop_encryption(s.permit(), stop).await.unwrap();
    s.rest("s").await;
    s.put("s", "k", b"none again").await.unwrap();
    puts.push("none again");
    // A start anew has believed nothing yet.
    for (gone, readable) in [("alias/a", 1), ("alias/b", 2), ("alias/c", 4)] {
        *site.keys.fault.lock().unwrap() = Some((gone, KeyFault::Disabled(format!("{gone} is disabled."))));
        let s = site.open().await;
        s.put("s", "k", b"none again").await.unwrap();
        let mut it = s.from("s", ONE, "TRIM_HORIZON", None).await.unwrap();
        for (n, want) in puts.iter().enumerate() {
            let i = GetRecords { shard_iterator: Some(it.clone()), limit: Some(1), ..<_>::default() };
            match s.get_records(s.permit(), i).await {
                Ok(page) => {
                    let page = shown(&page);
                    assert_eq!(data(&page), [*want]);
                    it = page["NextShardIterator"].as_str().unwrap().to_owned();
                }
                Err(e) => {
                    assert_eq!((e.code, n), ("KMSDisabledException", readable), "{gone}: {e}");
                    break;
                }
            }
            assert!(n < readable, "{gone} is needed for {want}");
        }
    }
}

#[tokio::test]
async fn a_key_s_name_has_a_form() {
    let (_site, _, s) = made().await;
    assert_eq!(start(&s, "my key").await, Err("KMSNotFoundException"));
    for good in
        ["12345678-1234-1234-1234-123456789012", "arn:aws:kms:us-east-1:123456789012:alias/MyAliasName"]
    {
        assert_eq!(start(&s, good).await, Ok(()));
    }
}

#[tokio::test]
async fn encryption_is_started_and_stopped_25_times_a_day_each() {
    let (mut site, clock, s) = made().await;
    drop(s);
    site.config.limits = true;
    let s = site.open().await;
    let stop = async || {
        let i = StopStreamEncryption {
            stream_name: Some("s".into()),
            encryption_type: Some("KMS".into()),
            key_id: Some("alias/k".into()),
            ..<_>::default()
        };
        let done = s.stop_encryption(s.permit(), i).await.map(drop).map_err(|e| e.code);
        s.rest("s").await;
        done
    };
    let begun = s.now();
    for n in 0..25 {
        clock.advance(Duration::from_secs(1));
        assert_eq!(start(&s, "alias/k").await, Ok(()), "{n}");
        clock.advance(Duration::from_secs(1));
        assert_eq!(stop().await, Ok(()), "{n}");
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!(start(&s, "alias/k").await, Err("LimitExceededException"));
    // A day after the first start, and a second less after the first stop.
    clock.advance(Duration::from_secs(24 * 3600 + 1) - s.now().since(begun));
    assert_eq!(start(&s, "alias/k").await, Ok(()));
    assert_eq!(stop().await, Err("LimitExceededException"));
    clock.advance(Duration::from_secs(1));
    assert_eq!(stop().await, Ok(()));
}
