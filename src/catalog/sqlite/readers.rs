use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::{sync::Semaphore, task};

use super::{Fail, Lock};
use crate::CatalogError;

/// Reads at once; more wait their turn.
const CONNECTIONS: usize = 4;

/// Connections that only read, lent to blocking threads.
pub(super) struct Readers {
    turns: Arc<Semaphore>,
    idle: Arc<Idle>,
}

struct Idle {
    conns: Mutex<Vec<Connection>>,
    // After the connections, as long as whose read outlives its caller's patience.
    _lock: Option<Arc<Lock>>,
}

/// Gives the connection back however the read ends.
struct Loan {
    conn: Option<Connection>,
    from: Arc<Idle>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.from.conns.lock().unwrap_or_else(PoisonError::into_inner).extend(self.conn.take());
    }
}

impl Readers {
    pub(super) fn open(
        connect: impl Fn() -> Result<Connection, Fail>,
        lock: Option<Arc<Lock>>,
    ) -> Result<Readers, Fail> {
        let conns = (0..CONNECTIONS).map(|_| connect()).collect::<Result<Vec<_>, _>>()?;
        for c in &conns {
            c.pragma_update(None, "query_only", true)?;
        }
        let idle = Arc::new(Idle { conns: Mutex::new(conns), _lock: lock });
        Ok(Readers { turns: Arc::new(Semaphore::new(CONNECTIONS)), idle })
    }

    /// Runs `f` on one snapshot, which has every commit that has returned.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, CatalogError> {
        let gone = |what: &str| CatalogError::Engine(format!("a read was broken off: {what}"));
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| gone("closed"))?;
        let idle = self.idle.clone();
        task::spawn_blocking(move || {
            let _turn = turn;
            let conn = idle.conns.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let loan = Loan { conn, from: idle };
            let conn = loan.conn.as_ref().ok_or_else(|| gone("no connection"))?;
            let tx = conn.unchecked_transaction().map_err(Fail::from)?;
            let found = f(&tx)?;
            tx.finish().map_err(Fail::from)?;
            Ok(found)
        })
        .await
        .map_err(|e| gone(&e.to_string()))?
    }
}
