//! Floor 6: the binary: command line, configuration, assembling the services, listeners.
//!
//! Nothing of substance lives here. [`serve`] opens the rooms below in order and wires them to each other; the
//! commands for people speak to a running server over `docs/api.md`.

mod answers;
mod cli;
mod client;
mod commands;
mod config;
mod costs;
mod demo;
mod folder;
mod import;
mod listen;
mod master;
mod metrics;
mod progress;
mod serve;
mod snapshot;
mod snapshots;
mod stall;
mod storage;
mod stores;
mod tls;
mod units;
mod visit;
mod wiring;

use std::process::ExitCode;

/// See `docs/decisions/allocator.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use clap::Parser as _;

fn main() -> ExitCode {
    // Before there is a second thread; a kernel that has none of them is as well.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let cli = cli::Cli::parse();
    // The worker decodes hostile pictures under tight limits: it starts no runtime and reads no configuration.
    if let cli::Command::FramesWorker = cli.command {
        frames::worker_main();
    }
    match run(cli) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("rushes: {e}");
            ExitCode::FAILURE
        }
    }
}

/// One line for people: what went wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

impl Failure {
    /// From anything that says what it is.
    pub fn new(e: impl std::fmt::Display) -> Failure {
        Failure(e.to_string())
    }
}

fn run(cli: cli::Cli) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::new)?;
    let done = runtime.block_on(async {
        let done: Result<(), Failure> = match cli.command {
            cli::Command::Serve(args) => serve::run(args).await,
            cli::Command::Stream(c) => commands::stream::run(c).await,
            cli::Command::Camera(c) => commands::camera::run(c).await,
            cli::Command::Export(args) => commands::export::run(args).await,
            cli::Command::Import(args) => commands::import::run(args).await,
            cli::Command::Catalog(c) => commands::catalog::run(c).await,
            cli::Command::Key(c) => commands::key::run(c).await,
            cli::Command::Segment(c) => commands::segment::run(c).await,
            cli::Command::Verify(c) => return Ok(commands::verify::run(c).await),
            cli::Command::Usage(args) => commands::usage::run(args).await,
            cli::Command::Link(c) => commands::link::run(c).await,
            cli::Command::Config => {
                print!("{}", config::documented());
                Ok(())
            }
            cli::Command::Demo(args) => demo::run(args).await,
            cli::Command::FramesWorker => unreachable!("handled before the runtime starts"),
        };
        done.map(|()| ExitCode::SUCCESS)
    });
    // Blocking calls that hang (a dead disk) must not keep a finished process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    done
}
