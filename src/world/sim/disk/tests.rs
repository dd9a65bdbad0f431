use super::*;

fn file(d: &SimDisk, name: &str) -> Arc<dyn DiskFile> {
    d.open(name, Mode::CreateNew).unwrap()
}

fn content(d: &SimDisk, name: &str) -> Option<Vec<u8>> {
    let f = d.open(name, Mode::Read).ok()?;
    let mut b = vec![0; f.len().unwrap() as usize];
    f.read_exact_at(&mut b, 0).unwrap();
    Some(b)
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_may_lose_the_rest() {
    let (mut lost, mut kept, mut torn, mut unnamed) = (0, 0, 0, 0);
    for seed in 0..200 {
        let d = SimDisk::new(seed);
        let f = file(&d, "a");
        f.write_all_at(&[1; 2000], 0).unwrap();
        f.sync_data().unwrap();
        d.sync_dir("").unwrap();
        f.write_all_at(&[2; 2000], 1000).unwrap();
        let g = file(&d, "b");
        g.write_all_at(b"x", 0).unwrap();
        g.sync_data().unwrap();
        d.restart();
        assert!(f.len().is_err(), "a handle outlived the power cut");
        let a = content(&d, "a").unwrap();
        assert_eq!(a[..1000], [1; 1000]);
        match a.iter().filter(|b| **b == 2).count() {
            0 => lost += 1,
            2000 => kept += 1,
            _ => torn += 1,
        }
        unnamed += u32::from(content(&d, "b").is_none());
    }
    assert!(lost > 20 && kept > 20 && torn > 20 && unnamed > 20, "{lost} {kept} {torn} {unnamed}");
}

#[test]
fn a_failed_sync_drops_its_pages_for_good() {
    let d = SimDisk::new(3);
    let f = file(&d, "a");
    d.sync_dir("").unwrap();
    let mut lost = 0;
    for i in 0..40u64 {
        d.set_faults(Faults { sync: 1, ..Faults::default() });
        f.write_all_at(&[7; 100], i * 100).unwrap();
        assert!(f.sync_data().is_err());
        d.set_faults(Faults::default());
        // The next one says that all is well, and the pages can still be read.
        f.sync_data().unwrap();
    }
    assert_eq!(content(&d, "a").unwrap(), [7; 4000]);
    d.restart();
    let a = content(&d, "a").unwrap();
    lost += 4000 - a.iter().filter(|b| **b == 7).count();
    assert!(lost > 0);
}

#[test]
fn the_power_goes_at_the_call_that_was_said_and_the_same_seed_does_the_same() {
    let run = |seed| {
        let d = SimDisk::new(seed);
        d.keep_log();
        d.set_faults(Faults { write: 3, ..Faults::default() });
        d.cut_after(20);
        let f = file(&d, "a");
        let mut done = 1;
        while !d.is_off() {
            let _ = f.write_all_at(&[done as u8; 900], done * 100);
            done += 1;
        }
        d.restart();
        (done, d.trace(), content(&d, "a"), d.take_log())
    };
    assert_eq!(run(1).0, 21);
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).1, run(2).1);
}

#[test]
fn a_full_disk_takes_what_fits_and_says_so() {
    let d = SimDisk::new(1);
    d.set_capacity(Some(1000));
    let full = |r: io::Result<()>| assert_eq!(r.unwrap_err().kind(), ErrorKind::StorageFull);
    let (a, b) = (file(&d, "a"), file(&d, "b"));
    a.allocate(600).unwrap();
    full(b.allocate(401));
    full(b.write_all_at(&[1; 500], 0));
    assert_eq!(d.space().unwrap(), Space { total: 1000, free: 0 });
    assert_eq!(content(&d, "b").unwrap(), [1; 400], "as much as fits");
    a.write_all_at(&[2; 600], 0).unwrap();
    full(a.write_all_at(&[2; 2], 599));
    d.remove("b").unwrap();
    assert_eq!(d.space().unwrap().free, 400);
    a.write_all_at(&[2; 400], 600).unwrap();
    d.set_capacity(None);
    a.write_all_at(&[2; 9], 1000).unwrap();
}
