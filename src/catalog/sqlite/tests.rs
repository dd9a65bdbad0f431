use std::{fs, io::Write, os::unix::fs::PermissionsExt};

use rusqlite::{Connection, StatementStatus};
use tempfile::TempDir;

use super::*;
use crate::{
    conformance::{self, Engine, doc, run_row, shard},
    testing,
};

/// Each catalog in a folder of its own.
#[derive(Default)]
struct Files {
    dirs: Vec<TempDir>,
}

impl Engine for Files {
    fn fresh(&mut self, world: World) -> Arc<dyn Catalog> {
        let dir = tempfile::tempdir().unwrap();
        let c = SqliteCatalog::open(&dir.path().join("catalog.db"), world).unwrap();
        self.dirs.push(dir);
        Arc::new(c)
    }
    fn reopen(&mut self, catalog: Arc<dyn Catalog>, world: World) -> Arc<dyn Catalog> {
        drop(catalog);
        Arc::new(SqliteCatalog::open(&self.dirs.last().unwrap().path().join("catalog.db"), world).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    conformance::run(&mut Files::default()).await;
}

fn open(dir: &TempDir) -> Result<SqliteCatalog, CatalogError> {
    SqliteCatalog::open(&dir.path().join("catalog.db"), testing::world(0).0)
}

#[tokio::test]
async fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let c = open(&dir).unwrap();
    let e = open(&dir).err().unwrap();
    assert!(matches!(&e, CatalogError::Locked(path) if path.ends_with("catalog.db")), "{e}");
    drop(c);
    open(&dir).unwrap();
}

#[tokio::test]
async fn owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let c = open(&dir).unwrap();
    c.commit(vec![Change::Put { doc: doc("k", "a", "", &[]), expect: 0 }]).await.unwrap();
    let mut seen = 0;
    for f in fs::read_dir(dir.path()).unwrap() {
        let f = f.unwrap();
        assert_eq!(f.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", f.path());
        seen += 1;
    }
    assert_eq!(seen, 4, "the file, its log, the log's index, the lock");
}

#[tokio::test]
async fn a_newer_format_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir).unwrap());
    let path = dir.path().join("catalog.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", schema::FORMAT + 1).unwrap();
    let e = open(&dir).err().unwrap();
    assert!(
        matches!(e, CatalogError::Newer { found, known } if found == known + 1 && known == schema::FORMAT),
        "{e}"
    );
}

#[tokio::test]
async fn what_is_no_catalog_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    fs::write(&path, [b'x'; 5000]).unwrap();
    assert!(matches!(open(&dir).err(), Some(CatalogError::Damaged(_))));
    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(matches!(open(&dir).err(), Some(CatalogError::Damaged(_))));
    let e = SqliteCatalog::open(&dir.path().join("none/catalog.db"), testing::world(0).0).err().unwrap();
    assert!(e.to_string().contains("none/catalog.db"), "{e}");
}

#[tokio::test]
async fn a_damaged_page_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    let c = open(&dir).unwrap();
    for i in 0..200 {
        let d = doc("k", &format!("{i:04}"), &"x".repeat(300), &[]);
        c.commit(vec![Change::Put { doc: d, expect: 0 }]).await.unwrap();
    }
    drop(c);
    let len = fs::metadata(&path).unwrap().len();
    let f = OpenOptions::new().write(true).open(&path).unwrap();
    for page in 2..len / 4096 {
        std::os::unix::fs::FileExt::write_all_at(&f, &[0xee; 64], page * 4096).unwrap();
    }
    let c = open(&dir).unwrap();
    let e = c.list(Filter::kind("k")).await.unwrap_err();
    assert!(matches!(e, CatalogError::Damaged(_)), "{e}");
}

/// A wrapped key is nowhere on the disk once its stream is forgotten, nor is what ended up in free pages.
#[tokio::test]
async fn forgotten_keys_leave_no_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let c = open(&dir).unwrap();
    let (gone, kept) = (shard(1, 0).stream, shard(2, 0).stream);
    for generation in 1..60 {
        for (stream, mark) in [(gone, b"GONE"), (kept, b"KEPT")] {
            let wrapped = mark.repeat(20);
            let key =
                KeyRow { stream, generation, provider: "p".into(), wrapped, created: world::Timestamp(0) };
            c.put_key(key).await.unwrap();
        }
    }
    let on_disk = |what: &[u8]| {
        fs::read_dir(dir.path())
            .unwrap()
            .any(|f| fs::read(f.unwrap().path()).unwrap().windows(what.len()).any(|w| w == what))
    };
    assert!(on_disk(b"GONEGONE"));
    c.forget_stream(gone).await.unwrap();
    assert!(!on_disk(b"GONE"));
    assert!(on_disk(b"KEPTKEPT"));
    assert_eq!(c.keys(kept).await.unwrap().len(), 59);
}

/// A commit that returned is in a copy of the files made while they are open, as a crash would leave them.
#[tokio::test]
async fn a_commit_outlives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let c = open(&dir).unwrap();
    c.commit(vec![Change::Put { doc: doc("k", "a", "body", &[("n", "v")]), expect: 0 }]).await.unwrap();
    let copy = tempfile::tempdir().unwrap();
    for f in ["catalog.db", "catalog.db-wal"] {
        fs::copy(dir.path().join(f), copy.path().join(f)).unwrap();
    }
    // Torn in the middle of what would have been the next commit.
    let mut wal = OpenOptions::new().append(true).open(copy.path().join("catalog.db-wal")).unwrap();
    wal.write_all(&[7; 3000]).unwrap();
    let again = open(&copy).unwrap();
    assert_eq!(again.get("k", "a").await.unwrap().unwrap().body, b"body");
}

/// Dropping an asker does not drop what it asked for, and closing waits for it.
#[tokio::test]
async fn what_was_accepted_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let c = open(&dir).unwrap();
    let work =
        (0..100).map(|i| c.commit(vec![Change::Put { doc: doc("k", &i.to_string(), "", &[]), expect: 0 }]));
    let mut work: Vec<_> = work.collect();
    // Each is asked once, none is waited for.
    std::future::poll_fn(|cx| {
        for w in &mut work {
            let _ = w.as_mut().poll(cx);
        }
        std::task::Poll::Ready(())
    })
    .await;
    drop(work);
    drop(c);
    assert_eq!(open(&dir).unwrap().list(Filter::kind("k")).await.unwrap().len(), 100);
}

/// The plans are searches of indexes, never scans of tables: 100,000 runs cost what 100 do.
#[tokio::test]
async fn a_span_among_many_runs_is_a_short_scan() {
    let dir = tempfile::tempdir().unwrap();
    let c = open(&dir).unwrap();
    let s = shard(1, 0);
    let n = 20_000u64;
    for from in (0..n).step_by(5_000) {
        // Ten seconds each, every hundredth spans an hour.
        let runs = (from..from + 5_000).map(|i| {
            let t = i64::try_from(i).unwrap() * 10;
            run_row(s, i * 10, i * 10 + 10, (t, t + if i % 100 == 0 { 3600 } else { 10 }))
        });
        c.log_update(LogUpdate { runs: runs.collect(), ..LogUpdate::default() }).await.unwrap();
    }
    let at = |s: u64| world::Timestamp(i64::try_from(s).unwrap() * 1_000_000);
    // Steps of SQLite's machine, counted on a connection of our own.
    let conn = connect(&dir.path().join("catalog.db")).map_err(CatalogError::from).unwrap();
    for mid in [0, n * 5, n * 10 - 10] {
        for (query, at_most) in [
            (RunQuery::Positions((mid, mid + 20)), 200),
            (RunQuery::Arrival((at(mid), at(mid + 20))), 200),
            (RunQuery::Producer((at(mid), at(mid + 20))), 2_000),
        ] {
            let found = runs::find(&conn, s, query).map_err(CatalogError::from).unwrap();
            let steps: i32 = runs::STATEMENTS
                .iter()
                .map(|sql| conn.prepare_cached(sql).unwrap().reset_status(StatementStatus::VmStep))
                .sum();
            assert!(!found.is_empty() && found.len() < 12, "{query:?} found {}", found.len());
            assert!((1..at_most).contains(&steps), "{query:?} took {steps} steps");
        }
    }
}
