//! Which segments a check has found sound, so that an interrupted one can go on.

use std::{
    collections::HashSet,
    io::{self, ErrorKind},
    sync::Arc,
};

use catalog::SegmentRow;
use world::{Disk, DiskFile, Mode};

use crate::open_segment::hex;

/// In the data folder: a line for each sound segment, `ID BYTES MADE`.
const NAME: &str = "verify.state";
/// Bytes of it that are believed to be ours.
const MOST: u64 = 1 << 30;

pub(crate) struct Progress {
    known: HashSet<String>,
    file: Arc<dyn DiskFile>,
    end: u64,
}

/// Names what was checked: with another length or time it is another segment.
fn line(row: &SegmentRow) -> String {
    format!("{} {} {}\n", hex(&row.id), row.bytes, row.created.0)
}

impl Progress {
    pub fn open(disk: &dyn Disk, resume: bool) -> io::Result<Progress> {
        if resume {
            match disk.open(NAME, Mode::ReadWrite) {
                Ok(file) => {
                    let mut b = vec![0; file.len()?.min(MOST) as usize];
                    file.read_exact_at(&mut b, 0)?;
                    let text = String::from_utf8_lossy(&b);
                    // The last line may have been torn.
                    let whole = text.rfind('\n').map_or(0, |n| n + 1);
                    let known = text[..whole].split_inclusive('\n').map(str::to_owned).collect();
                    return Ok(Progress { known, file, end: whole as u64 });
                }
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        match disk.remove(NAME) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        Ok(Progress { known: HashSet::new(), file: disk.open(NAME, Mode::CreateNew)?, end: 0 })
    }

    pub fn has(&self, row: &SegmentRow) -> bool {
        self.known.contains(&line(row))
    }

    /// Not synced: a power cut costs only the time to check once more.
    pub fn add(&mut self, row: &SegmentRow) -> io::Result<()> {
        let line = line(row);
        self.file.write_all_at(line.as_bytes(), self.end)?;
        self.end += line.len() as u64;
        Ok(())
    }

    /// All was looked at: nothing is left to resume.
    pub fn finish(self, disk: &dyn Disk) -> io::Result<()> {
        disk.remove(NAME)
    }
}
