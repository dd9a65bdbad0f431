use std::{
    fs::File,
    io::{BufWriter, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Method, Response, body::Incoming};
use serde_json::json;

use super::{bytes, query, segment, short};
use crate::{Failure, cli::ExportArgs, client::Client, progress::Progress, serve::Signals};

/// A file that is there under its name only when it is whole.
struct Partial {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Partial {
    fn new(beside: &Path) -> Result<Partial, Failure> {
        let name = beside.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let path = beside.with_file_name(format!(".{name}.{}.partial", std::process::id()));
        let file = File::create(&path).map_err(|e| Failure(format!("{}: {e}", path.display())))?;
        Ok(Partial { path, file: Some(BufWriter::with_capacity(1 << 20, file)) })
    }

    fn write(&mut self, data: &[u8]) -> std::io::Result<()> {
        match &mut self.file {
            Some(f) => f.write_all(data),
            None => Ok(()),
        }
    }

    fn finish(mut self, name: &Path, patches: &[(u64, Vec<u8>)]) -> std::io::Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let mut file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        for (at, bytes) in patches {
            file.seek(SeekFrom::Start(*at))?;
            file.write_all(bytes)?;
        }
        file.sync_all()?;
        std::fs::rename(&self.path, name)?;
        self.path = PathBuf::new();
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            // Nothing more can be done about one that stays.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Writes a range of a stream into a file.
pub async fn run(args: ExportArgs) -> Result<(), Failure> {
    let file = args.file.display();
    let format = match args.file.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref()
    {
        Some("mp4" | "m4v" | "m4a") => "mp4",
        Some("mkv" | "mka") => "mkv",
        _ => {
            return Err(Failure(format!(
                "{file}: its name must end in .mp4 or .mkv, which says what to write"
            )));
        }
    };
    if !args.force && args.file.exists() {
        return Err(Failure(format!("{file} is there already: give another name, or --force to replace it")));
    }
    let client = Client::new(&args.client)?;
    let mut partial = Partial::new(&args.file)?;
    let q = query(&[
        ("from", Some(args.from.as_str())),
        ("to", args.to.as_deref()),
        ("by", Some(args.by.as_str())),
        ("gaps", Some(args.gaps.as_str())),
        ("audio", Some(args.audio.as_str())),
        ("format", Some(format)),
    ]);
    let path = format!("/v1/streams/{}/export{q}", segment(&args.name));
    let mut signals = Signals::new()?;
    let work = async {
        let response = client.send(Method::GET, &path, None, Empty::<Bytes>::new()).await?;
        receive(&args, response, &mut partial).await
    };
    let received = tokio::select! {
        r = work => r?,
        () = signals.next() => return Err(Failure(format!("stopped: {file} was not written"))),
    };
    partial.finish(&args.file, &received.patches).map_err(|e| Failure(format!("{file}: {e}")))?;
    for l in received.left_out.split("; ").filter(|l| !l.is_empty()) {
        eprintln!("rushes: left out: {l}");
    }
    if args.client.json {
        let left_out: Vec<_> = received.left_out.split("; ").filter(|l| !l.is_empty()).collect();
        println!(
            "{:#}",
            json!({"file": args.file, "bytes": received.bytes, "from": received.from, "to": received.to, "leftOut": left_out,
                "estimatedFragments": received.estimated})
        );
    } else {
        println!(
            "{file}: {}, {} to {}",
            bytes(&json!(received.bytes)),
            short(&received.from),
            short(&received.to)
        );
        if received.estimated > 0 {
            println!("times are the server's estimate in part: of {} fragments", received.estimated);
        }
    }
    Ok(())
}

struct Received {
    bytes: u64,
    from: String,
    to: String,
    left_out: String,
    /// Fragments of which some times are the server's estimate.
    estimated: u64,
    patches: Vec<(u64, Vec<u8>)>,
}

async fn receive(
    args: &ExportArgs,
    response: Response<Incoming>,
    partial: &mut Partial,
) -> Result<Received, Failure> {
    let head = |name: &str| {
        response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
    };
    let mut out = Received {
        bytes: 0,
        from: head("x-rushes-from"),
        to: head("x-rushes-to"),
        left_out: head("x-rushes-left-out"),
        estimated: head("x-rushes-estimated-fragments").parse().unwrap_or(0),
        patches: Vec::new(),
    };
    let total = head("x-rushes-estimated-length").parse().unwrap_or(0);
    let mut progress = Progress::new(format!("exporting {}", args.name), total, args.client.json);
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Failure(format!("the server broke off, its log says why: {e}")))?;
        match frame.into_data() {
            Ok(data) => {
                partial.write(&data).map_err(|e| Failure(format!("{}: {e}", args.file.display())))?;
                out.bytes += data.len() as u64;
                progress.add(data.len() as u64);
            }
            Err(frame) => {
                let Some(t) = frame.trailers_ref() else { continue };
                let text = |n: &str| t.get(n).and_then(|v| v.to_str().ok()).unwrap_or_default();
                out.left_out = text("x-rushes-left-out").to_owned();
                out.patches = text("x-rushes-patches").split(',').filter_map(patch).collect();
            }
        }
    }
    out.patches.retain(|(at, bytes)| at.saturating_add(bytes.len() as u64) <= out.bytes);
    Ok(out)
}

/// `AT:HEX`
fn patch(text: &str) -> Option<(u64, Vec<u8>)> {
    let (at, hex) = text.split_once(':')?;
    let byte = |i| u8::from_str_radix(hex.get(i..i + 2)?, 16).ok();
    let bytes = (0..hex.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>()?;
    Some((at.parse().ok()?, bytes))
}
