//! What the account is set to, as a document of the catalog.

use std::sync::atomic::{AtomicBool, Ordering};

use catalog::{Catalog, Change, Document};
use serde::{Deserialize, Serialize};
use wire::aws::AwsError;

use crate::{error, stream::Tools};

const KIND: &str = "data-streams-account";
const ID: &str = "settings";

#[derive(Default, Serialize, Deserialize)]
struct Body {
    v: u32,
    committed: bool,
}

/// The account's settings.
pub(crate) struct Account {
    committed: AtomicBool,
    turn: tokio::sync::Mutex<u64>,
}

impl Account {
    pub async fn open(catalog: &dyn Catalog) -> Result<Account, AwsError> {
        let (body, version) = match catalog.get(KIND, ID).await.map_err(error::catalog)? {
            None => (Body::default(), 0),
            Some(doc) => (serde_json::from_slice(&doc.body).map_err(error::internal)?, doc.version),
        };
        Ok(Account { committed: AtomicBool::new(body.committed), turn: tokio::sync::Mutex::new(version) })
    }
    /// Whether it pays for a minimum of throughput (on-demand advantage).
    pub fn committed(&self) -> bool {
        self.committed.load(Ordering::Relaxed)
    }
    /// Durable when it returns.
    pub async fn set(&self, tools: &Tools, committed: bool) -> Result<(), AwsError> {
        let mut version = self.turn.lock().await;
        let body = serde_json::to_vec(&Body { v: 1, committed }).map_err(error::internal)?;
        let doc = Document { kind: KIND.into(), id: ID.into(), version: 0, body, keys: Vec::new() };
        tools.catalog.commit(vec![Change::Put { doc, expect: *version }]).await.map_err(error::catalog)?;
        *version += 1;
        self.committed.store(committed, Ordering::Relaxed);
        Ok(())
    }
}
