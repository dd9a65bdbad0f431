//! The suite that every store must pass, on a real server: the S3 server that `RUSHES_S3` names (deploy/s3.sh), or
//! whatever `RUSHES_TEST_STORE` is the URL of, an empty bucket or prefix (`RUSHES_TEST_ENDPOINT` its server, credentials
//! from the environment). Without either there is nothing to speak to, and the first test does nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::{
    io::ErrorKind,
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use store::{Answer, Options, probe};
use world::{Body, Disk, Mode, Store, real::Folder};

/// A server in a process of its own.
struct Server {
    process: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const KEY: &str = "test-access-key";

fn start(binary: &str) -> (Server, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("bucket")).unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let process = Command::new(binary)
        .args(["--port", &address, "--access", KEY, "--secret", "test-secret", "--quiet", "posix"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server { process, _folder: folder };
    let endpoint = format!("http://{address}");
    // Asked until it answers, as often as that takes.
    let o = Options { retries: 1000, ..options(&endpoint) };
    let there = store::open("s3://bucket", &o).unwrap().len("x");
    assert!(matches!(there, Ok(None)), "the server does not answer: {there:?}");
    (server, endpoint)
}

fn options(endpoint: &str) -> Options {
    let access_key = Some((KEY.to_owned(), "test-secret".to_owned()));
    Options { endpoint: Some(endpoint.to_owned()), access_key, ..Options::default() }
}

#[test]
fn a_server_conforms() {
    let env = |name| std::env::var(name).ok();
    let (url, options, _server) = match (env("RUSHES_TEST_STORE"), env("RUSHES_S3")) {
        (Some(url), _) => {
            (url, Options { endpoint: env("RUSHES_TEST_ENDPOINT"), ..Options::default() }, None)
        }
        (None, Some(binary)) => {
            let (server, endpoint) = start(&binary);
            ("s3://bucket/prefix".to_owned(), options(&endpoint), Some(server))
        }
        (None, None) => return,
    };
    let s = store::open(&url, &options).unwrap();
    probe(&*s, [1; 16]).unwrap();
    world::conformance::store(&*s);

    // Without conditional writes it looks first.
    let looks = Options { conditional_writes: false, ..options.clone() };
    world::conformance::store(&*store::open(&url, &looks).unwrap());

    // A prefix sees nothing of its neighbours, whose names begin alike.
    let below = store::open(&format!("{url}/inner"), &options).unwrap();
    s.put("inner-neighbour", Body::Bytes(b"1")).unwrap();
    world::conformance::store(&*below);
    s.delete("inner-neighbour").unwrap();

    files(&s, &url, &options);
    threads(&s, &url, &options);
    many(&*s);
    refusals(&url, &options);
}

fn files(s: &Arc<dyn Store>, url: &str, options: &Options) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Folder::new(dir.path());
    let file = disk.open("segment", Mode::CreateNew).unwrap();
    let content: Vec<u8> = (0..9_000_001u32).map(|i| (i % 251) as u8).collect();
    file.write_all_at(&content, 0).unwrap();
    s.put("from/a file", Body::File(&*file, 9_000_000)).unwrap();
    assert_eq!(s.len("from/a file").unwrap(), Some(9_000_000));
    let mut there = vec![0; 9_000_000];
    s.read_exact_at("from/a file", &mut there, 0).unwrap();
    assert!(there == content[..9_000_000], "a file arrived as something else");
    let e = s.put("from/a file", Body::File(&*file, 9_000_002)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::UnexpectedEof, "{e}");
    // In parts.
    let parts = store::open(url, &Options { largest_put: 5 << 20, ..options.clone() }).unwrap();
    parts.put("from/a file", Body::File(&*file, 9_000_001)).unwrap();
    let mut there = vec![0; 9_000_001];
    s.read_exact_at("from/a file", &mut there, 0).unwrap();
    assert!(there == content, "parts arrived as something else");
    s.delete("from/a file").unwrap();
}

/// From a runtime's blocking threads, from plain ones, and dropped on a worker.
fn threads(s: &Arc<dyn Store>, url: &str, options: &Options) {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let racing = |n: u8| {
        let s = s.clone();
        move || s.create("raced", &[n]).is_ok()
    };
    let won = runtime.block_on(async {
        let tasks: Vec<_> = (0..4).map(|n| tokio::task::spawn_blocking(racing(n))).collect();
        let plain: Vec<_> = (4..8).map(|n| std::thread::spawn(racing(n))).collect();
        let mut won = 0;
        for t in tasks {
            won += usize::from(t.await.unwrap());
        }
        won += plain.into_iter().map(|p| usize::from(p.join().unwrap())).sum::<usize>();
        drop(store::open(url, options).unwrap());
        won
    });
    assert_eq!(won, 1, "of several creations at once exactly one succeeds");
    s.delete("raced").unwrap();
}

/// More objects than a server lists at once, in pieces of any size.
fn many(s: &dyn Store) {
    let keys: Vec<String> = (0..1030).map(|n| format!("many/{n:05}")).collect();
    std::thread::scope(|scope| {
        for part in keys.chunks(130) {
            scope.spawn(move || part.iter().for_each(|k| s.put(k, Body::Bytes(b"x")).unwrap()));
        }
    });
    let listed: Vec<String> = s.list("many/", None, 5000).unwrap().into_iter().map(|o| o.key).collect();
    assert_eq!(listed, keys);
    assert_eq!(s.list("many/", Some("many/00500"), 2).unwrap()[1].key, "many/00502");
    assert_eq!(s.list("many/0102", Some("many/00500"), 2000).unwrap().len(), 10);
    std::thread::scope(|scope| {
        for part in keys.chunks(130) {
            scope.spawn(move || part.iter().for_each(|k| s.delete(k).unwrap()));
        }
    });
    assert!(s.list("", None, 1).unwrap().is_empty());
}

fn refusals(url: &str, options: &Options) {
    let nowhere = url.replacen("://", "://no-such-bucket-", 1);
    let missing = store::open(&nowhere, options).unwrap();
    let e = probe(&*missing, [2; 16]).unwrap_err();
    assert!(e.is_final() && e.to_string().contains("bucket does not exist"), "{e}");
    let e = missing.len("x").unwrap_err();
    assert!(
        Answer::of(&e).is_some_and(Answer::no_bucket),
        "a bucket that is gone is not an object that is gone: {e}"
    );
    let e = missing.read_exact_at("x", &mut [0], 0).unwrap_err();
    assert_ne!(e.kind(), ErrorKind::NotFound, "{e}");
    for key in ["", "/x", "x/", "a//b", "a/../b"] {
        let s = store::open(url, options).unwrap();
        assert_eq!(s.put(key, Body::Bytes(b"")).unwrap_err().kind(), ErrorKind::InvalidInput, "{key:?}");
    }
    if let Some((ours, _)) = &options.access_key {
        for id in ["nobody", ours] {
            let wrong = Options { access_key: Some((id.into(), "hidden-secret".into())), ..options.clone() };
            let e = probe(&*store::open(url, &wrong).unwrap(), [3; 16]).unwrap_err();
            assert!(e.is_final() && e.to_string().contains("credentials were refused"), "{e}");
            assert!(!e.to_string().contains("hidden-secret"));
        }
    }
}

/// How much memory a large segment takes (`cargo test -p store --test server -- --ignored --nocapture`).
#[test]
#[ignore = "a measurement"]
fn memory_of_a_large_put() {
    let Ok(binary) = std::env::var("RUSHES_S3") else { return };
    let (_server, endpoint) = start(&binary);
    let s = store::open("s3://bucket/x", &options(&endpoint)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = Folder::new(dir.path()).open("segment", Mode::CreateNew).unwrap();
    for n in 0..256 {
        file.write_all_at(&vec![n as u8; 1 << 20], n << 20).unwrap();
    }
    let anonymous = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let (before, done) = (anonymous(), std::sync::atomic::AtomicBool::new(false));
    let peak = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                peak = peak.max(anonymous());
            }
            peak
        });
        s.put("segment", Body::File(&*file, 256 << 20)).unwrap();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        watch.join().unwrap()
    });
    assert_eq!(s.len("segment").unwrap(), Some(256 << 20));
    eprintln!("256 MiB put: {} KiB of heap at most", peak.saturating_sub(before));
    assert!(peak < before + (32 << 10), "{before} KiB before, {peak} at most");
}

#[test]
fn a_server_that_is_away_is_said_to_be() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let o = Options {
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        access_key: Some(("id".into(), "hidden-secret".into())),
        retries: 1,
        ..Options::default()
    };
    let s = store::open("s3://bucket/prefix", &o).unwrap();
    let e = s.put("a/b", Body::Bytes(b"x")).unwrap_err();
    let said = e.to_string();
    assert!(said.starts_with("s3://bucket/prefix/a/b: cannot be reached"), "{said}");
    assert!(said.contains("refused") && !said.contains("hidden"), "{said}");
    assert!(!probe(&*s, [4; 16]).unwrap_err().is_final());
}

/// Takes everything and never answers.
#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let o = Options {
        endpoint: Some(format!("http://{}", listener.local_addr().unwrap())),
        access_key: Some(("id".into(), "secret".into())),
        request_timeout: Duration::from_millis(300),
        ..Options::default()
    };
    let s = store::open("s3://bucket", &o).unwrap();
    let e = s.read_exact_at("x", &mut [0; 10], 0).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::TimedOut, "{e}");
}
