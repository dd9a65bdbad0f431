//! `make demo`: the server and two cameras, each a process of its own, as strangers would have them.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{Failure, cli::ClientArgs, cli::DemoArgs, client::Client};

const PULLED: &str = "front-door";
const PUSHED: &str = "workshop";
/// How long a child may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(20);

fn say(text: &str) {
    eprintln!("demo: {text}");
}

/// What is played.
struct Videos {
    pulled: PathBuf,
    /// The same in fewer pixels. Of files that were named there is none: encoding all of one takes too long.
    sub: Option<PathBuf>,
    pushed: PathBuf,
}

/// What to play: files that were named, recordings of a folder, or pictures made here.
async fn videos(args: &DemoArgs) -> Result<Videos, Failure> {
    let mut found = args.video.clone();
    if let Some(missing) = found.iter().find(|v| !v.exists()) {
        return Err(Failure(format!("{}: there is no such file", missing.display())));
    }
    if let Some(dir) = args.footage.as_deref().filter(|d| !d.as_os_str().is_empty()) {
        let mut files: Vec<_> = std::fs::read_dir(dir)
            .map_err(|e| Failure(format!("{}: {e}", dir.display())))?
            .flatten()
            .map(|e| e.path())
            .filter(|p| matches!(p.extension().and_then(|e| e.to_str()), Some("mp4" | "mkv" | "mov")))
            .collect();
        // Recordings are mostly named by their time: the latest first.
        files.sort_by(|a, b| b.cmp(a));
        found.extend(files);
    }
    while found.len() < 2 {
        found.push(generate(&args.data, found.len()).await?);
    }
    let pushed = publishable(&args.data, &found.swap_remove(1)).await?;
    let pulled = found.swap_remove(0);
    let sub = match pulled.starts_with(args.data.with_extension("videos")) {
        true => Some(smaller(&args.data, &pulled).await?),
        false => None,
    };
    Ok(Videos { pulled, sub, pushed })
}

/// FFmpeg cannot publish every recording as it is (a Matroska file may carry its parameter sets where the RTSP muxer does
/// not look for them), so the one that is published is encoded anew, once.
async fn publishable(data: &Path, file: &Path) -> Result<PathBuf, Failure> {
    let dir = data.with_extension("videos");
    if file.starts_with(&dir) {
        return Ok(file.to_owned());
    }
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let input = ["-i".into(), file.as_os_str().to_owned()];
    encode(&dir, &name, &format!("encoding {} for publishing", file.display()), &input, "2M").await
}

/// What a camera would send as its sub source.
async fn smaller(data: &Path, file: &Path) -> Result<PathBuf, Failure> {
    let name = format!("{}-sub", file.file_stem().unwrap_or_default().to_string_lossy());
    let mut input = vec![OsString::from("-i"), file.as_os_str().to_owned()];
    input.extend(["-an", "-vf", "scale=640:-2"].map(OsString::from));
    let what = "encoding the same in fewer pixels (a few seconds)";
    encode(&data.with_extension("videos"), &name, what, &input, "300k").await
}

/// A minute of a test picture with sound, encoded once and kept.
async fn generate(data: &Path, n: usize) -> Result<PathBuf, Failure> {
    let picture =
        ["testsrc2=size=1280x720:rate=25", "smptehdbars=size=1280x720:rate=25,hue=H=2*PI*t/20"][n % 2];
    let sound = "sine=frequency=330:beep_factor=4:sample_rate=48000";
    let input = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-t", "60"].map(OsString::from);
    let what = format!("generating video {} of 2 (about 20 s)", n + 1);
    encode(&data.with_extension("videos"), &format!("generated-{n}"), &what, &input, "2M").await
}

/// H.264 with a key frame every two seconds, and AAC if there is sound; kept under `name`.
async fn encode(
    dir: &Path,
    name: &str,
    what: &str,
    input: &[OsString],
    bits: &str,
) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(dir).map_err(Failure::new)?;
    let (file, tmp) = (dir.join(format!("{name}.mp4")), dir.join(format!("{name}.tmp.mp4")));
    if file.exists() {
        return Ok(file);
    }
    say(what);
    let status = Command::new("ffmpeg")
        .args(["-v", "fatal", "-stats", "-y"])
        .args(input)
        .args([
            "-c:v", "libx264", "-preset", "veryfast", "-b:v", bits, "-g", "50", "-bf", "0", "-pix_fmt",
            "yuv420p",
        ])
        .args(["-c:a", "aac", "-b:a", "96k"])
        .arg(&tmp)
        .stdin(Stdio::null())
        .status()
        .await
        .map_err(|e| Failure(format!("ffmpeg: {e}")))?;
    if !status.success() {
        return Err(Failure(format!("ffmpeg could not make {}", file.display())));
    }
    std::fs::rename(&tmp, &file).map_err(Failure::new)?;
    Ok(file)
}

fn spawn(command: &mut Command, name: &str) -> Result<Child, Failure> {
    // In groups of their own: Ctrl-C reaches us, and we end them in order.
    command
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Failure(format!("{name}: {e}")))
}

/// The first line that a child prints, as JSON.
async fn first_line(child: &mut Child, name: &str) -> Result<Value, Failure> {
    let out = child.stdout.take().ok_or_else(|| Failure(format!("{name} has no output")))?;
    let mut lines = BufReader::new(out).lines();
    let line = lines
        .next_line()
        .await
        .map_err(Failure::new)?
        .ok_or_else(|| Failure(format!("{name} did not start; its message is above")))?;
    serde_json::from_str(&line).map_err(|e| Failure(format!("{name} said {line:?}: {e}")))
}

async fn end(mut child: Child, name: &str) {
    let Some(pid) = child.id().and_then(|p| i32::try_from(p).ok()).and_then(rustix::process::Pid::from_raw)
    else {
        return;
    };
    // It may have ended by itself meanwhile.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
        say(&format!("{name} did not end in {} s: killing it", PATIENCE.as_secs()));
        let _ = child.kill().await;
    }
}

/// Runs it all until Ctrl-C.
pub async fn run(args: DemoArgs) -> Result<(), Failure> {
    let mut signals = crate::serve::Signals::new()?;
    let me = std::env::current_exe().map_err(Failure::new)?;
    let videos = videos(&args).await?;
    say("starting the server");
    let mut server = spawn(
        Command::new(&me)
            .args([
                "serve",
                "--ready-json",
                "--listen",
                &args.listen.to_string(),
                "--rtsp",
                &args.rtsp.to_string(),
                "--data",
            ])
            .arg(&args.data)
            .env("RUSHES_LOG", std::env::var("RUSHES_LOG").unwrap_or_else(|_| "warn".into()))
            .stdout(Stdio::piped()),
        "rushes serve",
    )?;
    let ready = first_line(&mut server, "rushes serve").await?;
    let mut children = vec![];
    let outcome = cameras(&args, &me, &videos, &ready, &mut children).await;
    if outcome.is_ok() {
        println!(
            "\nTwo cameras are running. Open this link:\n\n  {}\n\nCtrl-C ends everything.\n",
            ready["console"].as_str().unwrap_or("")
        );
        tokio::select! {
            () = signals.next() => {}
            s = server.wait() => say(&format!("the server ended: {}", s.map(|s| s.to_string()).unwrap_or_default())),
        }
        say("stopping");
    }
    // The server first: it ends its sessions cleanly, and has no camera's sudden end to complain of.
    end(server, "rushes serve").await;
    for (name, child) in children {
        end(child, name).await;
    }
    outcome
}

async fn cameras(
    args: &DemoArgs,
    me: &Path,
    videos: &Videos,
    ready: &Value,
    children: &mut Vec<(&'static str, Child)>,
) -> Result<(), Failure> {
    say("starting a camera from which the server pulls");
    let mut simulator = spawn(
        Command::new(me.with_file_name("rushes-camera"))
            .arg("--video")
            .arg(&videos.pulled)
            .args(videos.sub.iter().flat_map(|sub| [OsStr::new("--sub"), sub.as_os_str()]))
            .stdout(Stdio::piped()),
        "rushes-camera",
    )?;
    let camera = first_line(&mut simulator, "the camera").await?;
    children.push(("the camera", simulator));
    let client = Client::new(&ClientArgs {
        server: ready["url"].as_str().map(str::to_owned),
        data: args.data.clone(),
        ..ClientArgs::default()
    })?;
    let source = json!({"kind": "pull", "url": camera["url"]});
    let sub = camera["sub"].as_str().map(|url| json!({"url": url}));
    let path = format!("/v1/cameras/{PULLED}");
    if client.call(hyper::Method::GET, &path, None).await.is_ok() {
        // Its port is another at each start.
        client
            .call(hyper::Method::PATCH, &path, Some(json!({"source": source, "sub": sub, "enabled": true})))
            .await?;
    } else {
        client
            .call(
                hyper::Method::POST,
                "/v1/cameras",
                Some(json!({"name": PULLED, "source": source, "sub": sub})),
            )
            .await?;
    }
    say("starting a camera that publishes");
    let path = format!("/v1/cameras/{PUSHED}");
    let added = match client.call(hyper::Method::GET, &path, None).await {
        Ok(_) => client.call(hyper::Method::POST, &format!("{path}/publish-url"), Some(json!({}))).await?,
        Err(_) => {
            client
                .call(
                    hyper::Method::POST,
                    "/v1/cameras",
                    Some(json!({"name": PUSHED, "source": {"kind": "push"}})),
                )
                .await?
        }
    };
    let url =
        added["publishUrl"].as_str().ok_or_else(|| Failure("the server gave no URL to publish to".into()))?;
    let publisher = spawn(
        Command::new("ffmpeg")
            .args(["-v", "error", "-re", "-stream_loop", "-1", "-i"])
            .arg(&videos.pushed)
            .args(["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", url])
            .stdout(Stdio::null()),
        "ffmpeg",
    )?;
    children.push(("ffmpeg", publisher));
    Ok(())
}
