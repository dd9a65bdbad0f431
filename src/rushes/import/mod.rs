//! Files of other programs, taken apart into access units with their times.
//!
//! Files are read where they lie and not as a whole: of MP4 the `moov` is held, of Matroska one element. Nothing in a
//! file is trusted; what is wrong is said with the file's name and the place in it.

mod lane;
mod mkv;
mod mp4;

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    sync::Arc,
};

use media::{AccessUnit, Track};

use crate::Failure;

/// Nanoseconds of a second.
const NS: i128 = 1_000_000_000;
/// Times from here on (2000-01-01) count from 1970 rather than from a file's beginning.
const ABSOLUTE: i128 = 946_684_800 * NS;

/// What is known of a file before it is read.
pub struct Times {
    /// When its first frame is shown and its last one ends, in nanoseconds of its own time line.
    pub shown: (i128, i128),
    /// When its own time 0 was, in nanoseconds since 1970, and what says so; none if nothing does.
    pub zero: Option<(i128, &'static str)>,
}

/// What is found in a file, in the order of decoding.
pub enum Found {
    /// The tracks are these from here on.
    Tracks(Vec<Arc<Track>>),
    /// A unit; and how far in the file reading has come.
    Unit(AccessUnit, u64),
}

/// Takes what is found; an error ends the reading.
pub type Take<'t> = &'t mut dyn FnMut(Found) -> Result<(), Failure>;

/// A file that can be imported.
pub enum Source {
    Mp4(mp4::Mp4),
    Mkv(mkv::Mkv),
}

impl Source {
    /// Looks at a file: what it is, and its times.
    pub fn open(path: &Path) -> Result<Source, Failure> {
        let mut file = Place::open(path)?;
        let head = file.read(0, 12.min(file.len))?;
        if head.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]) {
            return Ok(Source::Mkv(mkv::Mkv::open(file)?));
        }
        let boxes = [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"pnot"];
        if head.get(4..8).is_some_and(|k| boxes.iter().any(|b| k == *b)) {
            return Ok(Source::Mp4(mp4::Mp4::open(file)?));
        }
        Err(file.wrong(0, "it is neither MP4 nor Matroska"))
    }

    /// Its times.
    pub fn times(&self) -> &Times {
        match self {
            Source::Mp4(m) => &m.times,
            Source::Mkv(m) => &m.times,
        }
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        match self {
            Source::Mp4(m) => m.file.len,
            Source::Mkv(m) => m.file.len,
        }
    }

    /// What is left aside, for people.
    pub fn left_out(&self) -> &[String] {
        match self {
            Source::Mp4(m) => &m.left_out,
            Source::Mkv(m) => &m.left_out,
        }
    }

    /// Reads it; its own time 0 is at so many nanoseconds since 1970.
    pub fn read(self, zero: i128, take: Take) -> Result<(), Failure> {
        match self {
            Source::Mp4(m) => m.read(zero, take),
            Source::Mkv(m) => m.read(zero, take),
        }
    }
}

/// A file with its name.
pub struct Place {
    name: String,
    file: File,
    pub len: u64,
}

impl Place {
    fn open(path: &Path) -> Result<Place, Failure> {
        let name = path.display().to_string();
        let bad = |e: std::io::Error| Failure(format!("{name}: {e}"));
        let file = File::open(path).map_err(bad)?;
        let about = file.metadata().map_err(bad)?;
        if !about.is_file() {
            return Err(Failure(format!("{name}: is not a file")));
        }
        Ok(Place { file, len: about.len(), name })
    }

    /// These bytes, all of them.
    fn read(&mut self, at: u64, len: u64) -> Result<Vec<u8>, Failure> {
        let mut out = vec![0; usize::try_from(len).map_err(|_| self.wrong(at, "too long"))?];
        let read = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.read_exact(&mut out));
        match read {
            Ok(()) => Ok(out),
            Err(e) => Err(self.wrong(at, e)),
        }
    }

    /// What is wrong, and where.
    fn wrong(&self, at: u64, what: impl std::fmt::Display) -> Failure {
        Failure(format!("{}: at byte {at}: {what}", self.name))
    }
}
