//! The catalog fails at each commit in turn; what is opened again goes on where that stopped.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::SeqCst},
};

use catalog::*;
use world::{ShardId, StreamUid};

use super::Site;
use crate::input::*;

/// A catalog of which the n-th commit and all after it fail.
pub(super) struct Failing(pub Arc<dyn Catalog>, pub AtomicI64);

#[async_trait::async_trait]
impl Catalog for Failing {
    async fn commit(&self, changes: Vec<Change>) -> Result<(), CatalogError> {
        if self.1.fetch_sub(1, SeqCst) <= 0 {
            return Err(CatalogError::Engine("it is out of order".into()));
        }
        self.0.commit(changes).await
    }
    async fn get(&self, kind: &str, id: &str) -> Result<Option<Document>, CatalogError> {
        self.0.get(kind, id).await
    }
    async fn list(&self, filter: Filter) -> Result<Vec<Document>, CatalogError> {
        self.0.list(filter).await
    }
    async fn acquire(&self, _: &str, _: &str, _: std::time::Duration) -> Result<Option<Lease>, CatalogError> {
        unreachable!()
    }
    async fn renew(&self, _: &Lease, _: std::time::Duration) -> Result<Lease, CatalogError> {
        unreachable!()
    }
    async fn release(&self, _: Lease) -> Result<(), CatalogError> {
        unreachable!()
    }
    async fn put_key(&self, _: KeyRow) -> Result<(), CatalogError> {
        unreachable!()
    }
    async fn keys(&self, _: StreamUid) -> Result<Vec<KeyRow>, CatalogError> {
        unreachable!()
    }
    async fn all_keys(&self) -> Result<Vec<KeyRow>, CatalogError> {
        unreachable!()
    }
    async fn rewrap(&self, _: Vec<KeyRow>) -> Result<(), CatalogError> {
        unreachable!()
    }
    async fn forget_stream(&self, _: StreamUid) -> Result<(), CatalogError> {
        unreachable!()
    }
    async fn log_update(&self, _: LogUpdate) -> Result<(), CatalogError> {
        unreachable!()
    }
    async fn mark(&self) -> Result<Mark, CatalogError> {
        unreachable!()
    }
    async fn shards(&self, _: Option<StreamUid>) -> Result<Vec<ShardRow>, CatalogError> {
        unreachable!()
    }
    async fn runs(&self, _: ShardId, _: RunQuery) -> Result<Vec<RunRow>, CatalogError> {
        unreachable!()
    }
    async fn segment(&self, _: [u8; 16]) -> Result<Option<SegmentRow>, CatalogError> {
        unreachable!()
    }
    async fn segments(&self, _: Option<[u8; 16]>, _: usize) -> Result<Vec<SegmentRow>, CatalogError> {
        unreachable!()
    }
    async fn segments_in(
        &self,
        _: SegmentState,
        _: Option<[u8; 16]>,
        _: usize,
    ) -> Result<Vec<SegmentRow>, CatalogError> {
        unreachable!()
    }
    async fn stored_bytes(&self, _: Option<StreamUid>) -> Result<u64, CatalogError> {
        unreachable!()
    }
}

#[tokio::test]
async fn whatever_was_begun_is_finished_by_the_next_start() {
    for n in 0..16 {
        let mut site = Site::new().await;
        site.config.patience = std::time::Duration::from_millis(20);
        let failing = Arc::new(Failing(site.catalog.clone(), AtomicI64::new(n)));
        let s = site.open_on(failing).await.unwrap();
        let made = CreateStream { stream_name: Some("s".into()), shard_count: Some(2), ..<_>::default() };
        let made = s.create_stream(s.permit(), made).await.is_ok();
        let mut put = 0;
        if s.get("s").is_ok_and(|s| s.status().text() == "ACTIVE") {
            for _ in 0..3 {
                put += usize::from(s.put("s", "k", b"x").await.is_ok());
            }
            let i = UpdateShardCount {
                stream_name: Some("s".into()),
                target_shard_count: Some(5),
                scaling_type: Some("UNIFORM_SCALING".into()),
                ..<_>::default()
            };
            let _ = s.update_shard_count(s.permit(), i).await;
        }
        // As a crash would leave it: tasks that try again are of no use, their catalog fails for good.
        drop(s);
        let s = site.open().await;
        assert_eq!(s.get("s").is_ok(), made, "{n}: a stream that was made is there, no other");
        if !made {
            continue;
        }
        s.rest("s").await;
        let stream = s.get("s").unwrap();
        assert_eq!(stream.status().text(), "ACTIVE");
        let open = stream.read().map.open_count();
        assert!(open == 2 || open == 5, "{n}: {open} shards");
        assert_eq!(s.inner.tools.log.shards(stream.uid).await.unwrap().len(), stream.read().map.all().len());
        s.put("s", "k", b"after").await.unwrap();
        let mut found = 0;
        let all: Vec<String> = stream.read().map.all().iter().map(crate::map::Shard::id).collect();
        for id in all {
            let it = s.from("s", &id, "TRIM_HORIZON", None).await.unwrap();
            found += super::data(&s.read(&it).await.unwrap()).len();
        }
        assert_eq!(found, put + 1, "{n}: nothing that was acknowledged is missing");
    }
}
