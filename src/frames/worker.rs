//! The worker's side: one thread reads jobs, one makes pictures.

use std::{
    io::{self, Read, Write},
    process::exit,
    sync::mpsc,
    thread,
};

use bytes::Bytes;

use crate::{
    FramesError,
    protocol::{self, Answer, HELLO, MAX_JOB},
};

/// The environment variable by which a worker learns how much memory it may use, in bytes.
pub(crate) const MEMORY: &str = "RUSHES_FRAMES_MEMORY";

/// Serves jobs from standard input until it ends, and never returns. Writes nothing but answers to standard output.
///
/// To be called before anything else of the program is started: threads and memory that are there already count
/// for nothing, but what a runtime allocates later would be taken from the job's share.
///
/// Exit codes: 0 when standard input ended, 2 when it carried something that is no job.
pub fn worker_main() -> ! {
    let (jobs, next) = mpsc::sync_channel::<Bytes>(0);
    // The reader also is what ends the process with its parent, in the middle of a picture if need be: the parent
    // alone holds the other end of standard input, so that its death, however it died, is the input's end.
    let reader = thread::Builder::new().name("frames-reader".into()).spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            match read_message(&mut input, MAX_JOB) {
                Ok(Some(m)) => {
                    if jobs.send(m).is_err() {
                        exit(0);
                    }
                }
                Ok(None) => exit(0),
                Err(e) => {
                    eprintln!("standard input: {e}");
                    exit(2);
                }
            }
        }
    });
    if let Err(e) = reader.and_then(|_| serve(next)) {
        eprintln!("{e}");
        exit(2);
    }
    exit(0);
}

fn serve(next: mpsc::Receiver<Bytes>) -> io::Result<()> {
    limits::apply(std::env::var(MEMORY).ok().and_then(|m| m.parse().ok()));
    let mut out = io::stdout().lock();
    write_message(&mut out, HELLO, &[])?;
    let mut desks = Desks::default();
    for message in next {
        let job = protocol::read_job(message).map_err(io::Error::other)?;
        let answer = make(&job, &mut desks);
        // A picture's memory is given back before the next is asked for.
        drop(job);
        let (head, rest) = protocol::answer_head(&answer);
        out.write_all(&head)?;
        out.write_all(rest)?;
        out.flush()?;
    }
    Ok(())
}

#[cfg(feature = "ffmpeg")]
use crate::desk::Desks;
#[cfg(not(feature = "ffmpeg"))]
type Desks = ();

#[cfg(feature = "ffmpeg")]
fn make(job: &crate::Job, desks: &mut Desks) -> Answer {
    use crate::{Format, Picture, sound};
    let packets = match job.format {
        Format::Jpeg { .. } | Format::Png => None,
        Format::Aac { rate, channels } => Some(sound::aac(&job.data, rate, channels)),
        Format::Opus { rate, channels } => Some(sound::opus(&job.data, rate, channels)),
        Format::Pcm { rate, channels } => Some(sound::pcm(job, rate, channels)),
        Format::Blend => Some(desks.blend(&job.data)),
    };
    let made = match packets {
        None => crate::decode::picture(job),
        Some(p) => p.map(|p| Picture { bytes: protocol::write_packets(&p), width: 1, height: 1 }),
    };
    match made {
        Ok(p) if p.bytes.len() > crate::MAX_OUTPUT => {
            Err(FramesError::TooLarge(format!("the picture would have {} bytes", p.bytes.len())))
        }
        answer => answer,
    }
}

#[cfg(not(feature = "ffmpeg"))]
fn make(_: &crate::Job, _: &mut Desks) -> Answer {
    Err(FramesError::Unsupported("this build of Rushes has no FFmpeg".into()))
}

/// One message's bytes; `None` when the input ended before it.
fn read_message(input: &mut impl Read, most: usize) -> io::Result<Option<Bytes>> {
    let mut len = [0; 4];
    match input.read_exact(&mut len[..1]) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        r => r?,
    }
    input.read_exact(&mut len[1..])?;
    let len = u32::from_le_bytes(len) as usize;
    if len > most {
        return Err(io::Error::other(format!("a message of {len} bytes")));
    }
    let mut message = Vec::new();
    input.take(len as u64).read_to_end(&mut message)?;
    if message.len() != len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(message.into()))
}

fn write_message(out: &mut impl Write, a: &[u8], b: &[u8]) -> io::Result<()> {
    let len = u32::try_from(a.len() + b.len()).map_err(io::Error::other)?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(a)?;
    out.write_all(b)?;
    out.flush()
}

mod limits {
    use std::fs;

    use rustix::process::{DumpableBehavior, Resource, Rlimit};

    /// Narrows what this process can do. What the system refuses is said on standard error and gone without: the
    /// server's own bound on time remains.
    pub(super) fn apply(memory: Option<u64>) {
        let set = |what: Resource, value: u64| {
            say(
                "a resource limit",
                rustix::process::setrlimit(what, Rlimit { current: Some(value), maximum: Some(value) }),
            );
        };
        if let (Some(memory), Some(mapped)) = (memory, mapped()) {
            set(Resource::As, mapped.saturating_add(memory));
        }
        // No core dump (it would hold pictures in the clear), no file ever written.
        set(Resource::Core, 0);
        set(Resource::Fsize, 0);
        say("dumpable", rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable));
        say("no_new_privs", rustix::thread::set_no_new_privs(true));
        say("low priority", rustix::process::setpriority_process(None, 10));
    }

    fn say(what: &str, result: Result<(), rustix::io::Errno>) {
        if let Err(e) = result {
            eprintln!("cannot set {what}: {e}");
        }
    }

    /// Address space in use, in bytes.
    fn mapped() -> Option<u64> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmSize:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    }
}
