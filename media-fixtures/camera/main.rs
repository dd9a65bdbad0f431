//! `rushes-camera --video FILE [--sub FILE]`: serves a file as an RTSP camera would, and another as its sub source, and
//! says where in one line of JSON.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Parser;

/// Serve a video file as an RTSP camera would, until it is killed
#[derive(Parser)]
struct Args {
    /// Address; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// H.264 or H.265, AAC, Opus or G.711, in MP4 or Matroska; played over and over
    #[arg(long)]
    video: PathBuf,
    /// Another file, served as the camera's sub source
    #[arg(long)]
    sub: Option<PathBuf>,
    /// Require this user name
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// And this password
    #[arg(long, requires = "user")]
    password: Option<String>,
    /// End the stream at the end of the file
    #[arg(long)]
    once: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let login = args.user.zip(args.password);
    match camera::Simulator::start(args.listen, &args.video, args.sub.as_deref(), login, !args.once) {
        Ok(camera) => {
            println!("{}", serde_json::json!({"url": camera.url(), "sub": camera.sub_url()}));
            loop {
                std::thread::park();
            }
        }
        Err(e) => {
            eprintln!("rushes-camera: {e}");
            ExitCode::FAILURE
        }
    }
}
