//! What must be the same, by our own readers and by FFmpeg.

use std::path::Path;
use std::process::Command;

use media::to_length4;

use crate::Result;
use crate::load::Loaded;

/// What FFmpeg makes of a file: (seconds, hash).
pub struct Decoded {
    /// Decoded pictures.
    pub pictures: Vec<(f64, String)>,
    /// Packets of sound, not decoded: how much a decoder drops at the start is told differently by each container.
    pub sound: Vec<(f64, String)>,
}

fn run(program: &str, args: &[&str], file: &Path) -> Result<(String, String)> {
    let mut command = Command::new(program);
    command.args(["-v", "warning"]).args(&args[..1]).arg(file).args(&args[1..]);
    let out = command.output().map_err(|e| format!("{program}: {e}"))?;
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if !out.status.success() {
        return Err(format!("{program} failed: {stderr}").into());
    }
    Ok((stdout.into_owned(), stderr.into_owned()))
}

/// FFmpeg and ffprobe have nothing to say against it.
pub fn silent(file: &Path) -> Result<()> {
    let (_, probe) = run("ffprobe", &["-i", "-show_format", "-show_streams", "-of", "compact"], file)?;
    let (_, decode) =
        run("ffmpeg", &["-i", "-map", "0", "-fps_mode", "passthrough", "-f", "null", "-"], file)?;
    // Said of all uncompressed sound, whatever the file.
    let known = |line: &&str| !line.is_empty() && !line.starts_with("Guessed Channel Layout");
    let complaints: Vec<&str> = probe.lines().chain(decode.lines()).map(str::trim).filter(known).collect();
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("; ").into()) }
}

/// Decodes the pictures and copies the sound. What has no packets of its own (`whole`: G.711) is compared as one.
pub fn decoded(file: &Path, whole: bool) -> Result<Decoded> {
    let hashes = |map: &str, codec: &[&str]| {
        let mut args = vec!["-i", "-map", map, "-fps_mode", "passthrough", "-copyts"];
        args.extend(codec);
        args.extend(["-f", "framemd5", "-"]);
        let (out, _) = run("ffmpeg", &args, file).or_else(|e| {
            // A file without such a track.
            if e.to_string().contains("matches no streams") { Ok(Default::default()) } else { Err(e) }
        })?;
        let mut scale = 0.0;
        let mut list = vec![];
        for line in out.lines() {
            if let Some(base) = line.strip_prefix("#tb 0: ") {
                let (n, d) = base.split_once('/').ok_or("no time base")?;
                scale = n.parse::<f64>()? / d.parse::<f64>()?;
            } else if !line.starts_with('#') {
                let fields: Vec<&str> = line.split(',').map(str::trim).collect();
                let [_, _, pts, _, _, hash, ..] = fields[..] else { return Err("an unknown line".into()) };
                list.push((pts.parse::<f64>()? * scale, hash.to_string()));
            }
        }
        Ok::<_, Box<dyn std::error::Error>>(list)
    };
    // Finer than a frame, which pictures' times would be rounded to.
    let pictures = hashes("0:v:0", &["-enc_time_base", "1:90000"])?;
    let sound = match whole {
        true => {
            vec![(0.0, run("ffmpeg", &["-i", "-map", "0:a:0", "-c", "pcm_s16le", "-f", "md5", "-"], file)?.0)]
        }
        false => hashes("0:a:0", &["-c", "copy"])?,
    };
    Ok(Decoded { pictures, sound })
}

/// The same pictures and packets, at the same distances in time, to so many seconds.
pub fn same_decoded(a: &Decoded, b: &Decoded, tolerance: f64) -> Result<()> {
    for (what, a, b) in [("pictures", &a.pictures, &b.pictures), ("packets of sound", &a.sound, &b.sound)] {
        if a.len() != b.len() {
            return Err(format!("{} {what}, {} before", b.len(), a.len()).into());
        }
        if let Some(i) = (0..a.len()).find(|i| a[*i].1 != b[*i].1) {
            return Err(format!("{what} differ from number {i} on").into());
        }
    }
    let zero = |d: &Decoded| d.pictures.first().or(d.sound.first()).map(|f| f.0);
    let (Some(za), Some(zb)) = (zero(a), zero(b)) else { return Ok(()) };
    let pairs = a.pictures.iter().zip(&b.pictures).chain(a.sound.iter().zip(&b.sound));
    for (x, y) in pairs.filter(|(x, _)| !x.1.starts_with("MD5=")) {
        let off = (x.0 - za) - (y.0 - zb);
        if off.abs() > tolerance {
            return Err(format!("what was at {:.4} s is {off:.4} s away from there", x.0 - za).into());
        }
    }
    Ok(())
}

/// The same samples, by our own readers: bytes, order, times against the first sample's.
pub fn same_samples(a: &[Loaded], b: &[Loaded], tolerance: i128) -> Result<()> {
    if a.len() != b.len() {
        return Err(format!("{} tracks, {} before", b.len(), a.len()).into());
    }
    let zero = |list: &[Loaded]| list.iter().map(|t| t.ns(t.samples[0].1.pts)).next().unwrap_or(0);
    let (za, zb) = (zero(a), zero(b));
    for (a, b) in a.iter().zip(b) {
        if a.tracks[0].codec != b.tracks[0].codec || a.tracks[0].kind != b.tracks[0].kind {
            return Err(format!("{:?} became {:?}", a.tracks[0], b.tracks[0]).into());
        }
        if a.samples.len() != b.samples.len() {
            return Err(format!("{} samples, {} before", b.samples.len(), a.samples.len()).into());
        }
        for (i, ((ta, x, bytes), (tb, y, same))) in a.samples.iter().zip(&b.samples).enumerate() {
            if to_length4(a.tracks[*ta].framing, bytes)? != to_length4(b.tracks[*tb].framing, same)? {
                return Err(format!("sample {i} has other bytes").into());
            }
            let off = (a.ns(x.pts) - za) - (b.ns(y.pts) - zb);
            if off.abs() > tolerance {
                return Err(format!("sample {i} is {off} ns from its time").into());
            }
            if x.access.is_start() != y.access.is_start() {
                return Err(format!("sample {i} is {:?}, was {:?}", y.access, x.access).into());
            }
        }
    }
    Ok(())
}
