//! `disk DIR BYTES SECONDS`: a bare writer. Appends of BYTES, each followed by `fdatasync`, to a new file in DIR, which
//! begins anew at 4 GiB. One line of JSON: mb_per_s, p50_ms, p99_ms.
use std::{fs::File, io::Write, path::Path, time::Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or("disk DIR BYTES SECONDS");
    let (dir, unit, seconds): (String, usize, f64) = (next()?, next()?.parse()?, next()?.parse()?);
    let path = Path::new(&dir).join("append.tmp");
    let mut file = File::create(&path)?;
    let bytes: Vec<u8> = (0..unit).map(|i| (i * 31) as u8).collect();
    let (start, mut written, mut took) = (Instant::now(), 0u64, Vec::new());
    let mut total = 0u64;
    while start.elapsed().as_secs_f64() < seconds {
        if written >= 4 << 30 {
            file = File::create(&path)?;
            written = 0;
        }
        let before = Instant::now();
        file.write_all(&bytes)?;
        rustix::fs::fdatasync(&file)?;
        took.push(before.elapsed().as_secs_f64() * 1e3);
        written += unit as u64;
        total += unit as u64;
    }
    let elapsed = start.elapsed().as_secs_f64();
    took.sort_by(f64::total_cmp);
    std::fs::remove_file(&path)?;
    println!(
        "{}",
        serde_json::json!({
            "mb_per_s": total as f64 / elapsed / 1e6,
            "p50_ms": took[took.len() / 2],
            "p99_ms": took[took.len() * 99 / 100],
        })
    );
    Ok(())
}
