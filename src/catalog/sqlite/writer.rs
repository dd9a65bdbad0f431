//! The one thread that writes. Commits that wait together share one transaction and one sync, each under its own
//! savepoint, so that one that fails leaves the others alone. Nobody is answered before the whole is durable: even a
//! refusal may rest on what another of the same transaction did.

use std::{thread, time::Duration};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::Fail;
use crate::CatalogError;

/// Commits that may wait; beyond it callers do.
const QUEUE: usize = 1024;
/// Commits in one transaction.
const GROUP: usize = 256;

pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What remains to be done after a commit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Nothing,
    /// Cut the write-ahead log to nothing, as it holds what was to be destroyed.
    Truncate,
}

trait Job: Send {
    /// Whether it succeeded (else its savepoint is rolled back).
    fn run(&mut self, conn: &Connection) -> bool;
    fn after(&self) -> After;
    /// `failed`: why nothing of the transaction is certain.
    fn reply(self: Box<Self>, failed: Option<&str>);
}

struct Work<F, T> {
    f: Option<F>,
    result: Option<Result<T, CatalogError>>,
    after: After,
    reply: oneshot::Sender<Result<T, CatalogError>>,
}

impl<F, T> Job for Work<F, T>
where
    F: FnOnce(&Connection) -> Result<T, Fail> + Send,
    T: Send,
{
    fn run(&mut self, conn: &Connection) -> bool {
        self.result = self.f.take().map(|f| f(conn).map_err(CatalogError::from));
        matches!(self.result, Some(Ok(_)))
    }
    fn after(&self) -> After {
        if matches!(self.result, Some(Ok(_))) { self.after } else { After::Nothing }
    }
    fn reply(self: Box<Self>, failed: Option<&str>) {
        let failed = failed.map(|why| Err(CatalogError::Engine(why.to_owned())));
        // Whoever asked may have gone.
        let _ = self.reply.send(failed.or(self.result).unwrap_or_else(|| Err(stopped())));
    }
}

fn stopped() -> CatalogError {
    CatalogError::Engine("its writer has stopped".into())
}

impl Writer {
    /// `guard` is held for as long as the thread writes.
    pub(super) fn start(conn: Connection, guard: impl Send + 'static) -> std::io::Result<Writer> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new().name("catalog".into()).spawn(move || {
            let _guard = guard;
            serve(conn, jobs);
        })?;
        Ok(Writer { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs `f` in a transaction; durable when this returns. Goes on to the end if the caller does not wait for it.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        after: After,
        f: impl FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, CatalogError> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Work { f: Some(f), result: None, after, reply });
        self.queue.as_ref().ok_or_else(stopped)?.send(job).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    /// Finishes what was accepted, so that the file is free when this returns.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}

fn serve(conn: Connection, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
    // Set while the log still holds what a commit was to destroy.
    let mut truncate = false;
    while let Some(first) = jobs.blocking_recv() {
        let mut group = vec![first];
        let failed =
            transaction(&conn, &mut group, &mut jobs).err().map(|e| CatalogError::from(e).to_string());
        if failed.is_some() && !conn.is_autocommit() {
            // Nothing else can be done if even this fails; the next BEGIN will say so.
            let _ = conn.execute_batch("ROLLBACK");
        }
        truncate |= failed.is_none() && group.iter().any(|j| j.after() == After::Truncate);
        let kept = if truncate { cut_log(&conn).err() } else { None };
        truncate = kept.is_some();
        for job in group {
            let late = if job.after() == After::Truncate { kept.as_deref() } else { None };
            job.reply(failed.as_deref().or(late));
        }
    }
    if truncate {
        let _ = cut_log(&conn);
    }
}

/// Takes in what waits, until the group is full. An error means that nothing of the group is certain.
fn transaction(
    conn: &Connection,
    group: &mut Vec<Box<dyn Job>>,
    jobs: &mut mpsc::Receiver<Box<dyn Job>>,
) -> Result<(), Fail> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let mut next = 0;
    while let Some(job) = group.get_mut(next) {
        conn.prepare_cached("SAVEPOINT job")?.execute([])?;
        let good = job.run(conn);
        if conn.is_autocommit() {
            // A full disk or a failed read makes SQLite roll everything back by itself.
            return Err(CatalogError::Engine("a write failed and took its transaction with it".into()).into());
        }
        if !good {
            conn.prepare_cached("ROLLBACK TO job")?.execute([])?;
        }
        conn.prepare_cached("RELEASE job")?.execute([])?;
        next += 1;
        if next == group.len()
            && next < GROUP
            && let Ok(job) = jobs.try_recv()
        {
            group.push(job);
        }
    }
    conn.execute_batch("COMMIT")?;
    Ok(())
}

/// Moves the write-ahead log into the file and cuts it to nothing; waits for readers as long as for locks.
fn cut_log(conn: &Connection) -> Result<(), String> {
    let busy: rusqlite::Result<bool> = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0));
    match busy {
        Ok(false) => Ok(()),
        Ok(true) => Err("it is committed, but a long read kept the old bytes in the log: try again".into()),
        Err(e) => Err(format!("it is committed, but the old bytes are still in the log: {e}")),
    }
}

/// How long a lock is waited for.
pub(super) const BUSY: Duration = Duration::from_secs(10);
