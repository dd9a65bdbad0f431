//! One worker process, as the server holds it.

use std::{
    ffi::OsString,
    io,
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};
use world::Clock;

use crate::{
    Job, Options,
    protocol::{self, Answer, HELLO, MAX_ANSWER},
    worker::MEMORY,
};

/// How much of what a worker says on standard error is kept for each job.
const LOG_PER_JOB: i64 = 4096;
/// How long a line of that may be.
const LOG_LINE: usize = 400;
/// How long a worker may take to end by itself, or to be reaped.
const GOODBYE: Duration = Duration::from_secs(2);

/// A running worker. Killed when dropped.
pub(crate) struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    log_left: Arc<AtomicI64>,
    /// Its process id.
    pub(crate) pid: u32,
    /// Jobs it has done.
    pub(crate) jobs: u32,
}

impl Worker {
    /// Starts one and waits for its greeting.
    pub(crate) async fn start(options: &Options) -> io::Result<Worker> {
        let (program, arguments) =
            options.command.split_first().ok_or_else(|| io::Error::other("no command"))?;
        let mut command = Command::new(program);
        // The worker's environment holds nothing of the server's, whose environment may carry secrets.
        command.args(arguments).env_clear();
        for name in ["PATH", "LD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env(MEMORY, OsString::from(options.memory.to_string()))
            // Each arena of glibc's allocator maps 64 MiB of addresses, which would count against the bound.
            .env("MALLOC_ARENA_MAX", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C at a terminal is for the server, which lets what was begun be finished.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", program.to_string_lossy())))?;
        let pipe = || io::Error::other("a pipe is missing");
        let stdin = child.stdin.take().ok_or_else(pipe)?;
        let stdout = child.stdout.take().ok_or_else(pipe)?;
        let stderr = child.stderr.take().ok_or_else(pipe)?;
        let log_left = Arc::new(AtomicI64::new(LOG_PER_JOB));
        let pid = child.id().ok_or_else(|| io::Error::other("it has no process id"))?;
        tokio::spawn(drain(stderr, log_left.clone(), pid));
        let mut worker = Worker { child, stdin, stdout, log_left, pid, jobs: 0 };
        let hello = read_message(&mut worker.stdout, HELLO.len()).await;
        match hello {
            Ok(m) if m == HELLO => Ok(worker),
            Ok(_) => {
                Err(io::Error::other(format!("{} is no worker of this version", program.to_string_lossy())))
            }
            Err(e) => Err(io::Error::other(format!(
                "{} ended before it was ready ({e})",
                program.to_string_lossy()
            ))),
        }
    }

    /// Whether it still runs, as far as the system has said.
    pub(crate) fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Hands it a job and waits for the answer. After an error, or when this is dropped before it ends, the worker
    /// is out of step and must be dropped.
    pub(crate) async fn ask(&mut self, job: &Job) -> io::Result<Answer> {
        self.log_left.store(LOG_PER_JOB, Ordering::Relaxed);
        self.stdin.write_all(&protocol::job_head(job)).await?;
        self.stdin.write_all(&job.data).await?;
        self.stdin.flush().await?;
        let answer = read_message(&mut self.stdout, MAX_ANSWER).await?;
        self.jobs += 1;
        protocol::read_answer(answer).map_err(io::Error::other)
    }

    /// Lets an idle one end by itself, and kills it if it does not.
    pub(crate) async fn retire(self, clock: &dyn Clock) {
        let Worker { mut child, stdin, .. } = self;
        drop(stdin);
        if within(clock, GOODBYE, child.wait()).await.is_none() {
            kill(child, clock).await;
        }
    }

    /// Ends it at once; what it had to say of its end.
    pub(crate) async fn end(self, clock: &dyn Clock) -> String {
        let Worker { mut child, stdin, .. } = self;
        drop(stdin);
        // One that has died by itself is given the moment in which the system says how.
        match within(clock, Duration::from_millis(200), child.wait()).await {
            Some(Ok(status)) => words(status),
            _ => {
                kill(child, clock).await;
                "it was stopped".into()
            }
        }
    }
}

async fn kill(mut child: Child, clock: &dyn Clock) {
    if child.start_kill().is_ok() {
        // Reaped here if it goes quickly, else by the runtime.
        within(clock, GOODBYE, child.wait()).await;
    }
}

fn words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(9), _) => "it was killed: by somebody, or by the system for want of memory".into(),
        (Some(6 | 7 | 11), _) => "it crashed".into(),
        (Some(signal), _) => format!("by signal {signal}"),
        (_, code) => format!("with exit code {}", code.unwrap_or(-1)),
    }
}

/// `None` when `d` passes first.
pub(crate) async fn within<T>(clock: &dyn Clock, d: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = clock.sleep(d) => None,
    }
}

async fn read_message(from: &mut (impl AsyncRead + Unpin), most: usize) -> io::Result<Bytes> {
    let len = from.read_u32_le().await? as usize;
    if len > most {
        return Err(io::Error::other(protocol::Malformed("longer than allowed")));
    }
    // Grows as bytes come, not as they are promised.
    let mut message = Vec::new();
    from.take(len as u64).read_to_end(&mut message).await?;
    if message.len() != len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(message.into())
}

/// Passes what a worker says on standard error to the log, within bounds, and reads on whatever happens: a worker
/// must not come to wait for us.
async fn drain(mut stderr: ChildStderr, left: Arc<AtomicI64>, pid: u32) {
    let mut chunk = [0; 1024];
    let mut line = Vec::new();
    while let Ok(n) = stderr.read(&mut chunk).await {
        for &b in &chunk[..n] {
            if b != b'\n' {
                if line.len() < LOG_LINE {
                    line.push(b);
                }
                continue;
            }
            say(&mut line, &left, pid);
        }
        if n == 0 {
            break;
        }
    }
    say(&mut line, &left, pid);
}

fn say(line: &mut Vec<u8>, left: &AtomicI64, pid: u32) {
    let cost = line.len() as i64;
    if cost > 0 && left.fetch_sub(cost, Ordering::Relaxed) >= cost {
        tracing::debug!(pid, "decoder: {:?}", String::from_utf8_lossy(line));
    }
    line.clear();
}
