//! Checking an archive: what is sound is said to be, and every flipped bit, missing or swapped file is found, named with
//! its place and what it affects, while the rest is checked on.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::{fs, sync::Arc};

use common::{Engine, Local, bytes, files, flip, payload, records, small_limits, stream};
use log::{Archive, Finding, Report, Seen, Severity, Verify};
use seal::{DataKey, LocalKey};
use world::ShardId;

const S: ShardId = ShardId { stream: world::StreamUid([1; 16]), shard: 0 };

async fn verify(e: &Local, what: Verify) -> (Report, Vec<Finding>) {
    let key = LocalKey::new(DataKey::new([7; 32]));
    let archive = Archive::open(e.world.0.clone(), e.catalog.clone(), &key).await.unwrap();
    let mut findings = Vec::new();
    let mut tell = |s| {
        if let Seen::Finding(f) = s {
            findings.push(f);
        }
    };
    let report = Arc::new(archive).verify(what, &mut tell).await.unwrap();
    (report, findings)
}

fn alone() -> Verify {
    Verify { alone: true, resume: false }
}

/// Records and payloads in segments, and some of both still in the journal and an open segment.
async fn filled() -> Local {
    let e = Local::with(small_limits(), true);
    let log = e.open().await;
    for n in 1..=2 {
        log.create_stream(stream(n)).await.unwrap();
        let s = ShardId { stream: stream(n), shard: 0 };
        for i in 0..20 {
            log.append(s, records(i, 3, 400)).await.unwrap();
        }
        if n == 1 {
            payload(&log, s, &bytes(1, 700_000), 70_000, (10, 20), b"one").await.unwrap();
            payload(&log, s, &bytes(2, 5_000), 1000, (20, 30), b"two").await.unwrap();
        }
    }
    e.settle(&log).await;
    log.rotate_key(S.stream).await.unwrap();
    log.append(S, records(7, 2, 500)).await.unwrap();
    payload(&log, S, &bytes(3, 300_000), 50_000, (30, 40), b"three").await.unwrap();
    payload(&log, S, &bytes(4, 1_000), 1000, (40, 50), b"four").await.unwrap();
    log.append(S, records(8, 1, 500)).await.unwrap();
    // As a process that is killed leaves it.
    drop(log);
    e
}

#[tokio::test]
async fn what_is_sound_is_said_to_be() {
    let e = filled().await;
    let (report, findings) = verify(&e, alone()).await;
    assert_eq!(findings, []);
    assert_eq!((report.segments, report.damaged, report.unchecked, report.notices), (2, 0, 0, 0));
    // Forty batches, four payloads, two batches of the journal.
    assert_eq!((report.blocks, report.journal), (46, true));
    assert!(report.bytes > 1_000_000);
    let (report, findings) = verify(&e, Verify::default()).await;
    assert_eq!((findings, report.blocks, report.journal), (vec![], 42, false));
    // And a start finds all as it was.
    assert!(e.open().await.watch(S).unwrap().borrow().next > 60);
}

#[tokio::test]
async fn every_flipped_bit_is_found_and_named() {
    let e = filled().await;
    let mut paths = files(&e, "segments", "seg");
    paths.extend(files(&e, "segments", "open"));
    let journal = files(&e, "journal", "j").pop().unwrap();
    for path in &paths {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let len = fs::metadata(path).unwrap().len();
        // All but the trailer's last, unused word, and the zeroes after an open segment's header, which nothing reads.
        let open = name.ends_with("open");
        let last = if open { len } else { len - 4 };
        let mut at = if open { 64 } else { 0 };
        let mut seen = 0;
        while at < last {
            // The header's zeroes are in no checksum.
            if !(44..64).contains(&at) {
                flip(path, at);
                let (report, findings) = verify(&e, alone()).await;
                assert!(report.damaged > 0, "a bit at {at} of {name} went unseen");
                assert!(findings.iter().all(|f| f.place == format!("segments/{name}")), "{at}: {findings:?}");
                // It says whose, unless it is the header.
                let whose =
                    findings.iter().any(|f| f.shard.is_some() && f.positions.is_some() && f.bytes > 0);
                assert!(whose || at < 64 || at > len - 4000, "{at} of {len}: {findings:?}");
                // What else there is was looked at all the same.
                assert!(report.segments == 2 && report.journal, "{report:?}");
                flip(path, at);
                seen += 1;
            }
            at += (len / 40).max(13);
        }
        assert!(seen > 30, "{name}: {seen}");
    }
    // The header, and a frame that others follow, beyond what is in segments.
    let mark = e.catalog.mark().await.unwrap().offset;
    for at in [0, 9, 40, 70, mark, mark + 4, mark + 9, mark + 17, mark + 22, mark + 60, mark + 700] {
        flip(&journal, at);
        let (report, findings) = verify(&e, alone()).await;
        assert!(report.damaged > 0, "a bit at {at} of the journal went unseen");
        assert!(findings.iter().any(|f| f.place.starts_with("journal/")), "{findings:?}");
        flip(&journal, at);
    }
    assert_eq!(verify(&e, alone()).await.1, []);
}

#[tokio::test]
async fn the_place_of_a_damaged_chunk_is_exact_and_the_rest_is_checked() {
    let e = filled().await;
    let mut segs = files(&e, "segments", "seg");
    segs.sort_by_key(|s| fs::metadata(s).unwrap().len());
    let big = segs.pop().unwrap();
    flip(&big, 64 + 300_000);
    let (report, findings) = verify(&e, alone()).await;
    let [f] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!((f.severity, f.offset, f.bytes), (Severity::Damage, Some(64 + 262_160), 262_160));
    assert_eq!((f.shard, f.positions), (Some(S), Some((60, 61))));
    assert_eq!(f.producer.unwrap().0.0, 10);
    assert!(f.what.contains("chunk 1"), "{f:?}");
    assert_eq!((report.damaged, report.damaged_bytes), (1, 262_160));
}

#[tokio::test]
async fn missing_swapped_and_stray_files_are_told_apart() {
    let e = filled().await;
    let segs = files(&e, "segments", "seg");
    let dir = e.dir.path().join("segments");
    let kept = e.dir.path().join("kept");
    fs::rename(&segs[0], &kept).unwrap();
    let (report, findings) = verify(&e, alone()).await;
    assert!(
        report.damaged > 0 && findings.iter().all(|f| f.what == "is missing" && f.bytes > 0),
        "{findings:?}"
    );
    fs::copy(&segs[1], &segs[0]).unwrap();
    let (_, findings) = verify(&e, alone()).await;
    assert!(
        findings.iter().all(|f| f.what.contains("another segment's")) && !findings.is_empty(),
        "{findings:?}"
    );
    fs::rename(&kept, &segs[0]).unwrap();
    fs::copy(&segs[0], dir.join("00112233445566778899aabbccddeeff.seg")).unwrap();
    fs::write(dir.join("a person's note"), b"hello").unwrap();
    let (report, findings) = verify(&e, alone()).await;
    assert_eq!((report.damaged, report.notices, findings.len()), (0, 2, 2));
    // A torn end of the journal is no damage; a file of it that is gone is.
    let journal = files(&e, "journal", "j").pop().unwrap();
    fs::rename(&journal, &kept).unwrap();
    let (report, findings) = verify(&e, alone()).await;
    assert!(report.damaged == 1 && findings.iter().any(|f| f.place.ends_with(".j")), "{findings:?}");
}

#[tokio::test]
async fn an_interrupted_check_goes_on_and_damage_is_looked_at_again() {
    let e = filled().await;
    let segs = files(&e, "segments", "seg");
    flip(&segs[1], 100);
    // The state as an interrupted check leaves it: what is sound is in it, the last line is torn.
    let rows = e.catalog.segments(None, 9).await.unwrap();
    let line = |i: usize| {
        let id: String = rows[i].id.iter().map(|b| format!("{b:02x}")).collect();
        format!("{id} {} {}\n", rows[i].bytes, rows[i].created.0)
    };
    fs::write(e.dir.path().join("verify.state"), format!("{}{}", line(0), &line(1)[..20])).unwrap();
    let resume = Verify { alone: true, resume: true };
    let (report, findings) = verify(&e, resume.clone()).await;
    assert_eq!((report.segments, report.resumed, findings.len()), (1, 1, 1));
    // It came to its end: nothing is left to resume.
    let (report, _) = verify(&e, resume).await;
    assert_eq!((report.segments, report.resumed), (2, 0));
}

#[tokio::test]
async fn segments_are_listed_with_what_is_in_them() {
    let e = filled().await;
    let key = LocalKey::new(DataKey::new([7; 32]));
    let a = Archive::open(e.world.0.clone(), e.catalog.clone(), &key).await.unwrap();
    let rows = a.segments(None).await.unwrap();
    assert_eq!(rows.len(), 2);
    let mut positions = 0;
    for row in &rows {
        let (found, runs) = a.segment(row.id).await.unwrap().unwrap();
        assert_eq!(&found, row);
        let mut entries = Vec::new();
        a.entries(row, &mut |e| {
            entries.push(e);
            true
        })
        .unwrap();
        for r in &runs {
            assert!(r.live && r.pages == 1);
            let of: Vec<_> = entries.iter().filter(|e| e.shard == r.shard).collect();
            assert_eq!((of[0].positions.0, of[of.len() - 1].positions.1), r.positions);
            assert_eq!(of.iter().flat_map(|e| &e.extents).map(|x| x.1).sum::<u64>(), r.bytes);
            positions += r.positions.1 - r.positions.0;
        }
    }
    assert_eq!(positions, 122);
    assert!(a.segment([9; 16]).await.unwrap().is_none());
}
