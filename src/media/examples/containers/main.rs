//! Takes MP4 and Matroska files apart into fragments as they are stored, writes every kind of file from them, and holds
//! what comes out against what went in: our own readers find the same samples at the same times, FFmpeg has nothing to
//! complain about and decodes the same frames.
//!
//! ```sh
//! media-fixtures/generate.sh && cargo run -p media --example containers
//! RUSHES_FOOTAGE=/folder/of/footage cargo run -p media --example containers
//! cargo run -p media --example containers -- FILE…      # only these; KEEP=/folder keeps what was written
//! ```

mod check;
mod load;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use media::{Codec, Framing, Gaps, Table, Track, mkv, mp4file, nals, table};

/// Errors of whatever kind.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if files.is_empty() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../media-fixtures/out");
        files.extend(clips(&fixtures).map_err(|e| format!("{e}: run media-fixtures/generate.sh"))?);
        match std::env::var_os("RUSHES_FOOTAGE") {
            Some(folder) => files.extend(clips(Path::new(&folder))?),
            None => println!("RUSHES_FOOTAGE is not set: no real footage is checked"),
        }
    }
    let mut failed = 0;
    if files.len() > 1 && std::env::args_os().len() == 1 {
        match joined(&files) {
            Ok(what) => println!("joined: {what}"),
            Err(e) => {
                failed += 1;
                println!("joined: FAILED: {e}");
            }
        }
    }
    for file in &files {
        match one(file) {
            Ok(what) => println!("{}: {what}", name(file)),
            Err(e) => {
                failed += 1;
                println!("{}: FAILED: {e}", name(file));
            }
        }
    }
    match failed {
        0 => Ok(()),
        n => Err(format!("{n} of {} files failed", files.len()).into()),
    }
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn clips(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut out = vec![];
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| ["mp4", "m4a", "mov", "mkv", "webm"].iter().any(|x| e == *x)) {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

fn one(path: &Path) -> Result<String> {
    let data = Bytes::from(std::fs::read(path)?);
    let source = load::load(&data)?;
    let fragments = load::fragments(&source)?;
    let folder = match std::env::var_os("KEEP") {
        Some(folder) => PathBuf::from(folder),
        None => std::env::temp_dir().join(format!("rushes-containers-{}", std::process::id())),
    };
    std::fs::create_dir_all(&folder)?;
    let whole = source.iter().any(|t| matches!(t.tracks[0].codec, Codec::Pcmu | Codec::Pcma));
    let reference = check::decoded(path, whole)?;
    let stem = name(path);
    let mut sizes = vec![];
    for (kind, bytes) in written(&fragments)? {
        let out = folder.join(format!("{stem}.{kind}"));
        std::fs::write(&out, &bytes)?;
        sizes.push(bytes.len());
        let again = load::load(&Bytes::from(bytes)).map_err(|e| format!("{kind}: {e}"))?;
        // Matroska's times are whole milliseconds; MP4's are exact, but its date is one in whole milliseconds, which
        // may lie between two ticks.
        let tolerance = if kind.ends_with("mkv") { 1_000_001 } else { 100_000 };
        check::same_samples(&source, &again, tolerance).map_err(|e| format!("{kind}: {e}"))?;
        check::silent(&out).map_err(|e| format!("{kind}: {e}"))?;
        check::same_decoded(&reference, &check::decoded(&out, whole)?, 0.002_1)
            .map_err(|e| format!("{kind}: {e}"))?;
        if std::env::var_os("KEEP").is_none() {
            std::fs::remove_file(&out)?;
        }
    }
    if std::env::var_os("KEEP").is_none() {
        // Not if another file, that failed, left something there.
        let _ = std::fs::remove_dir(&folder);
    }
    let tracks: Vec<String> =
        source.iter().map(|t| format!("{} {}", media::codec_name(&t.tracks[0]), t.samples.len())).collect();
    Ok(format!(
        "{} in {} fragments; {} bytes, written {:?}; {} pictures and {} pieces of sound alike",
        tracks.join(", "),
        fragments.len(),
        data.len(),
        sizes,
        reference.pictures.len(),
        reference.sound.len()
    ))
}

/// Clips of different configurations one after another, five seconds apart, as one camera that was reconfigured.
fn joined(files: &[PathBuf]) -> Result<String> {
    let clips = ["h264-gop10.mp4", "h264-bframes-aac.mp4", "h264-open-gop.mp4", "h264-gop10.mp4"];
    let mut all = vec![];
    let mut pictures = vec![];
    let mut start = 1_700_000_000;
    for clip in clips {
        let path = files.iter().find(|f| name(f) == clip).ok_or(format!("no {clip}"))?;
        let mut source = load::load(&Bytes::from(std::fs::read(path)?))?;
        for track in &mut source {
            let zero = track.samples[0].1.dts;
            let scale = i64::from(track.tracks[0].timescale);
            for (_, s, _) in &mut track.samples {
                s.dts += start * scale - zero;
                s.pts += start * scale - zero;
            }
        }
        let decoded = check::decoded(path, false)?.pictures;
        pictures.extend(decoded.into_iter().map(|(at, hash)| (at + start as f64, hash)));
        start += 15;
        all.extend(load::fragments(&source)?);
    }
    for (kind, bytes) in written(&all)? {
        let out = std::env::temp_dir().join(format!("rushes-joined-{}.{kind}", std::process::id()));
        std::fs::write(&out, &bytes)?;
        let result = check::silent(&out).and_then(|()| {
            let got = check::decoded(&out, false)?.pictures;
            let want = check::Decoded { pictures: pictures.clone(), sound: vec![] };
            check::same_decoded(&want, &check::Decoded { pictures: got, sound: vec![] }, 0.09)
        });
        match std::env::var_os("KEEP") {
            Some(folder) => drop(std::fs::rename(&out, Path::new(&folder).join(format!("joined.{kind}")))?),
            None => std::fs::remove_file(&out)?,
        }
        result.map_err(|e| format!("{kind}: {e}"))?;
    }
    Ok(format!("{} fragments of three configurations, {} pictures alike", all.len(), pictures.len()))
}

/// The same fragments in every kind of file.
fn written(fragments: &[(Table, Bytes)]) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let annex_b: Vec<_> = fragments.iter().map(|(t, p)| to_annex_b(t, p)).collect();
    let [streamed, patched] = matroska(fragments)?;
    Ok(vec![
        ("first.mp4", moov_first(fragments)?),
        ("last.mp4", moov_last(fragments)?),
        ("annexb.mp4", moov_first(&annex_b)?),
        ("streamed.mkv", streamed),
        ("patched.mkv", patched),
    ])
}

fn moov_first(fragments: &[(Table, Bytes)]) -> Result<Vec<u8>> {
    let mut plan = mp4file::Plan::new(Gaps::Keep);
    for (table, payload) in fragments {
        table::check(table, payload.len() as u64)?;
        if mp4file::Plan::needs_payload(table) {
            plan.add_payload(table, payload)?;
        } else {
            plan.add(table, payload.len() as u64)?;
        }
    }
    let head = plan.finish()?;
    let mut out = head.bytes.to_vec();
    for (i, (table, payload)) in fragments.iter().enumerate() {
        for slice in head.slices(i, table, payload)? {
            out.extend_from_slice(&slice);
        }
    }
    if head.total != out.len() as u64 {
        return Err(format!("{} bytes were promised, {} came", head.total, out.len()).into());
    }
    Ok(out)
}

fn moov_last(fragments: &[(Table, Bytes)]) -> Result<Vec<u8>> {
    let mut writer = mp4file::Writer::new(Gaps::Keep);
    let mut out = writer.start().to_vec();
    for (table, payload) in fragments {
        for slice in writer.fragment(table, payload)? {
            out.extend_from_slice(&slice);
        }
    }
    out.extend_from_slice(&writer.finish()?);
    Ok(out)
}

fn matroska(fragments: &[(Table, Bytes)]) -> Result<[Vec<u8>; 2]> {
    let mut writer = mkv::Writer::new(Gaps::Keep);
    for (table, _) in fragments {
        writer.declare(&table.tracks);
    }
    let mut out = vec![];
    for (table, payload) in fragments {
        for slice in writer.fragment(table, payload)? {
            out.extend_from_slice(&slice);
        }
    }
    let tail = writer.finish();
    out.extend_from_slice(&tail.bytes);
    let mut patched = out.clone();
    for patch in &tail.patches {
        patched[patch.at as usize..][..patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    Ok([out, patched])
}

/// The fragment as a source that sends start codes would have left it.
fn to_annex_b(old: &Table, payload: &Bytes) -> (Table, Bytes) {
    let mut table = old.clone();
    let pictures = |t: &Track| matches!(t.codec, Codec::H264 | Codec::H265);
    for track in table.tracks.iter_mut().filter(|t| pictures(t)) {
        *track = Arc::new(Track { framing: Framing::AnnexB, ..(**track).clone() });
    }
    let mut out = vec![];
    for s in &mut table.samples {
        let data = &payload[s.offset as usize..][..s.len as usize];
        s.offset = out.len() as u64;
        match old.tracks.iter().find(|t| t.id == s.track && pictures(t)) {
            Some(track) => {
                for unit in nals(track.framing, data).map_while(std::result::Result::ok) {
                    out.extend([0, 0, 0, 1]);
                    out.extend_from_slice(unit);
                }
            }
            None => out.extend_from_slice(data),
        }
        s.len = (out.len() as u64 - s.offset) as u32;
    }
    (table, out.into())
}
