//! Reading the journal back after a start: from the catalog's mark on, up to where it tore.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use catalog::Mark;
use seal::DataKey;
use world::{Disk, Mode};

use crate::{
    entry::Directory,
    journal::{self, DIR, FrameHead, HEADER, Header, HeaderError, JournalFile, Loc, Look, Window, file_name},
    opening::OpenError,
};

/// What was found.
#[derive(Default)]
pub(crate) struct Recovered {
    /// Files that something may still be needed of, and whose frames were handed out.
    pub files: BTreeMap<u32, Arc<JournalFile>>,
    /// Numbers of files before the mark.
    pub released: Vec<u32>,
    /// Names of files that may be overwritten.
    pub spares: Vec<String>,
    /// Files are missing between the mark and this one, the first that is there (or will be made).
    pub gap: Option<u32>,
    /// Where the journal ends.
    pub end: Option<Loc>,
}

fn io(e: std::io::Error) -> OpenError {
    OpenError::Io(e.to_string())
}

fn damaged(file: u32, offset: u64, what: impl Into<String>) -> OpenError {
    OpenError::Damaged { file: file_name(file), offset, what: what.into() }
}

/// The offset of a mark at the beginning of a file that may not have been made yet: the journal was begun anew there, as
/// what was before is not there.
pub(crate) const UNMADE: u64 = 1;

/// The latest epoch under which any file of the journal was written; 0 if there is none.
pub(crate) fn newest_epoch(disk: &dyn Disk) -> Result<u64, OpenError> {
    let mut newest = 0;
    for e in disk.list(DIR).map_err(io)? {
        if e.name.ends_with(".j") && e.len >= HEADER.into() {
            let mut page = vec![0; HEADER as usize];
            disk.open(&format!("{DIR}/{}", e.name), Mode::Read)
                .and_then(|f| f.read_exact_at(&mut page, 0))
                .map_err(io)?;
            // One that cannot be used is told of by whoever needs it.
            newest = Header::parse(&page).map_or(newest, |h| newest.max(h.writer.epoch));
        }
    }
    Ok(newest)
}

/// Walks the journal and hands each frame at or after `mark` to `sink`, in order. `lenient`: the catalog
/// is older than the journal, whose files from the mark on may have been released; then it begins with the first there is.
pub(crate) fn recover(
    disk: &dyn Disk,
    keys: &BTreeMap<u32, Arc<DataKey>>,
    mark: Mark,
    lenient: bool,
    sink: &mut dyn FnMut(Loc, Directory),
) -> Result<Recovered, OpenError> {
    let mut out = Recovered::default();
    let mut numbers = Vec::new();
    for e in disk.list(DIR).map_err(io)? {
        let path = format!("{DIR}/{}", e.name);
        match e.name.split_once('.') {
            Some((n, "j")) => {
                let n = u32::from_str_radix(n, 16).ok().filter(|n| file_name(*n) == path);
                numbers.push(n.ok_or_else(|| OpenError::Io(format!("{path} is not a journal file's name")))?);
            }
            Some((_, "spare")) => out.spares.push(path),
            // Was being made.
            Some((_, "new")) => disk.remove(&path).map_err(io)?,
            _ => {}
        }
    }
    numbers.sort_unstable();
    let first = mark.file.max(1);
    let older = numbers.iter().take_while(|n| u64::from(**n) < first).count();
    out.released = numbers.drain(..older).collect();
    if !lenient && numbers.is_empty() && mark == Mark::default() && out.released.is_empty() {
        return Ok(out);
    }
    let mut first = first;
    if numbers.is_empty() && mark.offset == UNMADE {
        let file = u32::try_from(mark.file)
            .map_err(|_| OpenError::Io("the journal's mark is out of range".into()))?;
        out.end = Some(Loc { file: file.saturating_sub(1), offset: HEADER });
        return Ok(out);
    }
    if lenient && numbers.first().is_none_or(|n| u64::from(*n) > first) {
        let mark = u32::try_from(mark.file)
            .map_err(|_| OpenError::Io("the journal's mark is out of range".into()))?;
        if numbers.is_empty() {
            out.end = Some(Loc { file: mark, offset: HEADER });
        }
        first = numbers.first().map_or(u64::from(mark) + 1, |n| u64::from(*n));
        out.gap = u32::try_from(first).ok();
        if numbers.is_empty() {
            return Ok(out);
        }
    }
    for (i, expected) in (first..).take(numbers.len().max(1)).enumerate() {
        if numbers.get(i).map(|n| u64::from(*n)) != Some(expected) {
            return Err(OpenError::Damaged {
                file: format!("{DIR}/{expected:016x}.j"),
                offset: 0,
                what:
                    "is missing: it was removed, or the catalog is not the one that belongs to this journal"
                        .into(),
            });
        }
    }
    let mut files = Vec::with_capacity(numbers.len());
    for n in &numbers {
        files.push(open_file(disk, keys, *n)?);
    }
    for (i, file) in files.iter().enumerate() {
        let number = file.header.number;
        let next = files.get(i + 1);
        let limit = match next.map(|n| n.header.prev) {
            None => None,
            Some(Some(p)) if p.file == number => Some(u64::from(p.offset)),
            Some(_) => return Err(damaged(number + 1, 0, "its header does not continue the file before it")),
        };
        let from =
            if u64::from(number) == mark.file { mark.offset.max(HEADER.into()) } else { HEADER.into() };
        let end = walk(file, from, limit, sink)?;
        file.end.store(end, Ordering::Release);
        out.end = Some(Loc {
            file: number,
            offset: u32::try_from(end).map_err(|_| damaged(number, end, "is too long"))?,
        });
        out.files.insert(number, file.clone());
    }
    Ok(out)
}

fn open_file(
    disk: &dyn Disk,
    keys: &BTreeMap<u32, Arc<DataKey>>,
    number: u32,
) -> Result<Arc<JournalFile>, OpenError> {
    let f = disk.open(&file_name(number), Mode::ReadWrite).map_err(io)?;
    let mut page = vec![0; HEADER as usize];
    // A name is given only once the header is durable: whatever is wrong with it, it is not a torn write.
    if f.len().map_err(io)? < HEADER.into() {
        return Err(damaged(number, 0, "is shorter than its header"));
    }
    f.read_exact_at(&mut page, 0).map_err(io)?;
    let header = Header::parse(&page).map_err(|e| match e {
        HeaderError::Newer(_) => OpenError::Newer(format!("{} {e}", file_name(number))),
        HeaderError::Damaged => damaged(number, 0, e.to_string()),
    })?;
    if header.number != number {
        return Err(damaged(number, 0, format!("is file {} under another name", header.number)));
    }
    let key = keys.get(&header.generation).ok_or_else(|| {
        OpenError::Key(format!(
            "{}: the catalog has no journal key of generation {}",
            file_name(number),
            header.generation
        ))
    })?;
    Ok(Arc::new(JournalFile::new(header, f, key)))
}

/// Hands out a file's frames from `from` up to `limit`, or to where it ends or tore; returns that place.
fn walk(
    file: &JournalFile,
    from: u64,
    limit: Option<u64>,
    sink: &mut dyn FnMut(Loc, Directory),
) -> Result<u64, OpenError> {
    let number = file.header.number;
    let len = file.disk.len().map_err(io)?;
    let stop = limit.unwrap_or(len);
    if stop > len || from > stop {
        return Err(damaged(number, len.min(from), "ends earlier than what follows it says"));
    }
    let mut window = Window::default();
    let mut at = from;
    let mut seq = None;
    // The last frame is handed out only once it is known to be whole.
    let mut held: Option<(u64, FrameHead, Vec<u8>)> = None;
    while at < stop {
        let Look::Frame(head, sealed) = file.look(&mut window, at, stop).map_err(io)? else { break };
        if seq.is_some_and(|s| head.seq != s) {
            break;
        }
        seq = Some(head.seq + 1);
        // A frame that another follows was durable before that one was begun: its body needs no check here.
        if let Some(whole) = held.replace((at, head, sealed)) {
            give(file, whole, sink)?;
        }
        at += head.len();
    }
    if limit.is_some_and(|l| at < l) {
        return Err(damaged(number, at, format!("a frame is damaged; the journal goes on at {stop}")));
    }
    if let Some((last, head, sealed)) = held {
        if limit.is_some() || file.body_holds(last, &head).map_err(io)? {
            if limit.is_none() {
                settle(file, last, head.len()).map_err(io)?;
            }
            give(file, (last, head, sealed), sink)?;
        } else {
            at = last;
            seq = Some(head.seq);
        }
    }
    if limit.is_none() {
        // What was torn off was never acknowledged. But if a later frame is whole, then this one was once, too.
        let next = seq.unwrap_or(0);
        if let Some(later) = file.find_later(at + 1, next, len).map_err(io)? {
            return Err(damaged(number, at, format!("a frame is damaged; whole ones follow at {later}")));
        }
        tracing::debug!(file = number, offset = at, "the journal ends here");
    }
    Ok(at)
}

/// Makes the last frame durable. It was found, but perhaps only in the system's cache: the process may have been killed
/// before its sync, or the sync failed and left pages that pass for clean. What is acknowledged from now on comes after
/// it, so it must not vanish. The same bytes are written once more, as nothing else makes such pages dirty again.
fn settle(file: &JournalFile, at: u64, len: u64) -> std::io::Result<()> {
    let mut frame = vec![0; len as usize];
    file.disk.read_exact_at(&mut frame, at)?;
    file.disk.write_all_at(&frame, at)?;
    file.disk.sync_data()
}

fn give(
    file: &JournalFile,
    (at, head, sealed): (u64, FrameHead, Vec<u8>),
    sink: &mut dyn FnMut(Loc, Directory),
) -> Result<(), OpenError> {
    let number = file.header.number;
    let dir = file.directory(at, &head, sealed).map_err(|e| damaged(number, at, e))?;
    file.entries.fetch_add(dir.events.len() as u64, Ordering::Relaxed);
    let offset = u32::try_from(at).map_err(|_| damaged(number, at, "is too long"))?;
    sink(journal::Loc { file: number, offset }, dir);
    Ok(())
}
