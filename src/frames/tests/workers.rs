//! Workers that die, hang, lie, run out of memory, are idle; and many who ask at once.
#![cfg(feature = "ffmpeg")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{process::Command, time::Duration};

use common::{frames, h264, job, options, script, wait_until};
use frames::{FramesError, Options};

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

/// Gone, or waiting to be reaped.
/// With all its threads: until the last of them, its pipes are open, and a job could still be given to it.
fn ended(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |s| s.contains(") Z "))
        && std::fs::read_dir(format!("/proc/{pid}/task")).map_or(true, |tasks| tasks.count() <= 1)
}

fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn a_worker_that_dies_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("second");
    // The first dies with the job in its hands.
    let command = script(&format!(
        "if [ -e '{0}' ]; then exec $W; fi; touch '{0}'; HELLO; head -c 1000 >/dev/null; kill -9 $$",
        marker.display()
    ));
    let frames = frames(Options { command, workers: 1, ..options() });
    let clip = h264("testsrc2=size=320x180:rate=1", 1);
    let e = frames.picture(job(clip.clone())).await.unwrap_err();
    assert!(matches!(&e, FramesError::Died(how) if how.contains("killed")), "{e:?}");
    frames.picture(job(clip.clone())).await.unwrap();

    // One that dies while idle costs nobody anything.
    let pids = frames.stats().pids;
    assert_eq!(pids.len(), 1);
    kill(pids[0]);
    wait_until("it is dead", || ended(pids[0])).await;
    frames.picture(job(clip)).await.unwrap();
    let stats = frames.stats();
    assert_eq!((stats.started, stats.lost, stats.pictures, stats.failed), (3, 1, 2, 1));
    assert_ne!(stats.pids, pids);
    frames.shutdown().await;
    assert_eq!(frames.stats().pids, []);
}

#[tokio::test]
async fn a_worker_killed_in_the_middle_of_real_work() {
    let frames = frames(Options { workers: 1, ..options() });
    // Long enough to be caught at it.
    let clip = h264("testsrc2=size=1920x1080:rate=25", 250);
    let task = tokio::spawn({
        let (frames, job) = (frames.clone(), job(clip));
        async move { frames.picture(job).await }
    });
    wait_until("a worker is there", || !frames.stats().pids.is_empty()).await;
    kill(frames.stats().pids[0]);
    let e = task.await.unwrap().unwrap_err();
    assert!(matches!(e, FramesError::Died(_)), "{e:?}");
    frames.picture(job(h264("testsrc2=size=320x180:rate=1", 1))).await.unwrap();
    frames.shutdown().await;
}

#[tokio::test]
async fn a_worker_that_hangs_is_stopped() {
    let command = script("HELLO; exec sleep 1000");
    let timeout = Duration::from_millis(200);
    let frames = frames(Options { command, timeout, ..options() });
    let e = frames.picture(job(h264("testsrc2=size=320x180:rate=1", 1))).await.unwrap_err();
    assert_eq!(e, FramesError::TimedOut(timeout));
    assert_eq!((frames.stats().lost, frames.stats().pids), (1, vec![]));
}

#[tokio::test]
async fn a_worker_that_lies_is_not_believed() {
    let clip = h264("testsrc2=size=320x180:rate=1", 1);
    for (answer, how) in [
        ("printf '\\377\\377\\377\\377'", "a length beyond all bounds"),
        ("printf '\\001\\000\\000\\000\\000'", "a picture without a size"),
        ("printf '\\001\\000\\000\\000\\011'", "a kind that there is not"),
        ("printf '\\100\\000\\000\\000\\000'; exit 0", "less than was promised"),
    ] {
        let frames = frames(Options {
            command: script(&format!("HELLO; {answer}; exec cat >/dev/null")),
            ..options()
        });
        let e = frames.picture(job(clip.clone())).await.unwrap_err();
        assert!(matches!(e, FramesError::Died(_)), "{how}: {e:?}");
        assert_eq!(frames.stats().pids, [], "{how}");
    }
    for command in ["exit 3", "printf '\\003\\000\\000\\000abc'", "printf '\\377\\377\\377\\377'"] {
        let frames = frames(Options { command: script(command), ..options() });
        let e = frames.picture(job(clip.clone())).await.unwrap_err();
        assert!(matches!(e, FramesError::NotStarted(_)), "{command}: {e:?}");
    }
    let frames = frames(Options { command: vec!["/nowhere/rushes".into()], ..options() });
    let e = frames.picture(job(clip)).await.unwrap_err();
    assert!(matches!(&e, FramesError::NotStarted(w) if w.contains("/nowhere/rushes")), "{e:?}");
}

#[tokio::test]
async fn memory_is_bounded() {
    let frames = frames(Options { memory: 24 << 20, workers: 1, ..options() });
    let large = h264("color=size=4096x2304:rate=1", 1);
    let e = frames.picture(job(large.clone())).await.unwrap_err();
    assert!(
        matches!(e, FramesError::TooLarge(_) | FramesError::Died(_) | FramesError::Undecodable(_)),
        "{e:?}"
    );
    frames.picture(job(h264("testsrc2=size=320x180:rate=1", 1))).await.unwrap();
    frames.shutdown().await;
    // It is the bound that made the difference, and the largest picture fits into what is given by default.
    let frames = common::frames(options());
    frames.picture(job(large)).await.unwrap();
    let p = frames.picture(job(h264("color=size=8192x8192:rate=1", 1))).await.unwrap();
    assert_eq!((p.width, p.height), (8192, 8192));
    frames.shutdown().await;
}

#[tokio::test]
async fn many_at_once() {
    let frames = frames(options());
    let clip = h264("testsrc2=size=640x360:rate=1", 1);
    let ask = |_| {
        let (frames, job) = (frames.clone(), job(clip.clone()));
        tokio::spawn(async move { frames.picture(job).await })
    };
    let first: Vec<_> = (0..60).map(ask).collect();
    let mut one = None;
    for task in first {
        let p = task.await.unwrap().unwrap();
        assert_eq!(*one.get_or_insert(p.clone()), p);
    }
    let stats = frames.stats();
    assert_eq!((stats.pictures, stats.lost, stats.waiting), (60, 0, 0));
    assert!(stats.started <= 2, "{stats:?}");
    frames.shutdown().await;
    assert_eq!(frames.picture(job(clip)).await, Err(FramesError::ShutDown));
}

#[tokio::test]
async fn the_queue_is_bounded() {
    // A worker that never answers; all that wait behind it are counted.
    let timeout = Duration::from_millis(400);
    let frames = frames(Options {
        command: script("HELLO; exec sleep 1000"),
        workers: 1,
        queue: 3,
        timeout,
        ..options()
    });
    let clip = h264("testsrc2=size=320x180:rate=1", 1);
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (frames, job) = (frames.clone(), job(clip.clone()));
            tokio::spawn(async move { frames.picture(job).await })
        })
        .collect();
    let mut refused = 0;
    for task in tasks {
        match task.await.unwrap() {
            Err(FramesError::Busy) => refused += 1,
            Err(FramesError::TimedOut(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!((6..=8).contains(&refused), "{refused} refused");
    assert_eq!(frames.stats().busy, refused);
}

#[tokio::test]
async fn a_caller_who_goes_away_costs_no_worker() {
    let frames = frames(Options { workers: 1, ..options() });
    let task = tokio::spawn({
        let (frames, job) = (frames.clone(), job(h264("testsrc2=size=640x360:rate=25", 50)));
        async move { frames.picture(job).await }
    });
    wait_until("a worker is there", || !frames.stats().pids.is_empty()).await;
    task.abort();
    frames.picture(job(h264("testsrc2=size=320x180:rate=1", 1))).await.unwrap();
    let stats = frames.stats();
    assert_eq!((stats.started, stats.pictures, stats.lost), (1, 2, 0));
    frames.shutdown().await;
}

#[tokio::test]
async fn idle_workers_end_and_the_last_goes_with_its_owner() {
    let idle = Duration::from_millis(50);
    let frames = frames(Options { idle, ..options() });
    let clip = h264("testsrc2=size=320x180:rate=1", 1);
    frames.picture(job(clip.clone())).await.unwrap();
    wait_until("the idle worker has ended", || frames.stats().pids.is_empty()).await;
    frames.picture(job(clip.clone())).await.unwrap();
    assert_eq!(frames.stats().started, 2);

    // No shutdown: as when the server is killed, its end of the pipe closes.
    let frames = common::frames(options());
    frames.picture(job(clip)).await.unwrap();
    let pid = frames.stats().pids[0];
    assert!(exists(pid));
    drop(frames);
    wait_until("the worker is gone", || !exists(pid)).await;
}

#[tokio::test]
async fn workers_are_poor_and_polite() {
    let frames = frames(options());
    frames.picture(job(h264("testsrc2=size=320x180:rate=1", 1))).await.unwrap();
    let pid = frames.stats().pids[0];
    let read = |what: &str| std::fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap();
    // What cannot be dumped is root's to look into: others are refused, which is as good an answer.
    match std::fs::read_to_string(format!("/proc/{pid}/limits")) {
        Ok(limits) => {
            let limits = limits.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(
                limits.contains("Max core file size 0 0") && limits.contains("Max file size 0 0"),
                "{limits}"
            );
            assert!(!limits.contains("Max address space unlimited"), "{limits}");
        }
        Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::PermissionDenied),
    }
    assert!(read("status").contains("NoNewPrivs:\t1"));
    // The nineteenth field; the second, a name in brackets, may hold spaces.
    let stat = read("stat");
    let nice = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap();
    assert_eq!(nice, "10");
    frames.shutdown().await;
}
