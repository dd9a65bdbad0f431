//! The journal's part of a check. Nobody writes to it meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use world::{Mode, ShardId};

use crate::{
    Archive, Finding, OpenError, Severity,
    blocks::Blocks,
    entry::{Directory, Entry, Event, SegmentId},
    forgotten::Forgotten,
    journal::{DIR, HEADER, Header, JournalFile, Look, Window, file_name},
    open_segment::{closed_name, open_name},
    opening,
    recovery::UNMADE,
    verify::{Checked, Teller, blocking},
};

/// What is in the journal and not in segments, or may be.
struct Pending {
    /// Up to where each shard is in segments, or trimmed.
    done: BTreeMap<ShardId, u64>,
    /// Of these nothing is wanted.
    forgotten: Forgotten,
    /// Payloads by the segment that they are in.
    payloads: BTreeMap<SegmentId, Vec<(ShardId, Entry)>>,
}

impl Archive {
    /// Returns the segments that the journal refers to.
    pub(crate) async fn verify_journal(
        self: &Arc<Self>,
        done: BTreeMap<ShardId, u64>,
        forgotten: Forgotten,
        to: &mut Teller<'_>,
    ) -> Result<BTreeSet<SegmentId>, OpenError> {
        let mark = self.catalog.mark().await?;
        let mut numbers = Vec::new();
        for e in self.world.disk.list(DIR).map_err(opening::io)? {
            if let Some((n, "j")) = e.name.split_once('.')
                && let Ok(n) = u32::from_str_radix(n, 16)
                && u64::from(n) >= mark.file
            {
                numbers.push(n);
            }
        }
        numbers.sort_unstable();
        let mut expected = mark.file.max(1);
        for n in &numbers {
            if u64::from(*n) != expected {
                let what =
                    format!("is missing, and what follows up to file {n:x}, or the catalog is another's");
                to.tell(Finding::damage(format!("{DIR}/{expected:016x}.j"), what));
            }
            expected = u64::from(*n) + 1;
        }
        if numbers.is_empty() && mark.file > 0 && mark.offset != UNMADE {
            to.tell(Finding::damage(format!("{DIR}/{:016x}.j", mark.file), "is missing"));
        }
        let mut pending = Pending { done, forgotten, payloads: BTreeMap::new() };
        // A file says where the one before it ends.
        let mut files: Vec<(u32, Result<Arc<JournalFile>, String>)> = Vec::new();
        for n in numbers {
            let s = self.clone();
            files.push((n, blocking(move || s.journal_file(n)).await?));
        }
        for i in 0..files.len() {
            let (n, file) = &files[i];
            let file = match file {
                Ok(f) => f.clone(),
                Err(e) => {
                    to.tell(Finding::damage(file_name(*n), e).at(0));
                    continue;
                }
            };
            let limit = files.get(i + 1).and_then(|(_, f)| f.as_ref().ok()?.header.prev).map(|p| p.offset);
            let from =
                if u64::from(*n) == mark.file { mark.offset.max(HEADER.into()) } else { HEADER.into() };
            let (s, place) = (self.clone(), file_name(*n));
            let walked = blocking(move || walk(&s, &file, from, limit.map(Into::into), pending)).await?;
            let (checked, back) = walked;
            pending = back;
            match checked {
                Ok(c) => c.report(&place, to),
                Err(e) => to.tell(Finding::new(Severity::Unchecked, &place, e.to_string())),
            }
        }
        let wanted = pending.payloads.keys().copied().collect();
        for (id, mut entries) in pending.payloads {
            let done = &pending.done;
            entries.retain(|(shard, e)| e.end() > done.get(shard).copied().unwrap_or(0));
            if entries.is_empty() {
                continue;
            }
            let s = self.clone();
            let (place, checked) = blocking(move || s.open_segment(&id, &entries)).await?;
            checked.report(&place, to);
        }
        Ok(wanted)
    }

    fn journal_file(&self, n: u32) -> Result<Arc<JournalFile>, String> {
        let file = self.world.disk.open(&file_name(n), Mode::Read).map_err(|e| e.to_string())?;
        let mut page = vec![0; HEADER as usize];
        file.read_exact_at(&mut page, 0).map_err(|e| format!("its header cannot be read: {e}"))?;
        let header = Header::parse(&page).map_err(|e| e.to_string())?;
        if header.number != n {
            return Err(format!("is file {:x} under another name", header.number));
        }
        let key = self.journal_key(header.generation);
        let key =
            key.ok_or_else(|| format!("there is no journal key of generation {}", header.generation))?;
        Ok(Arc::new(JournalFile::new(header, file, &key)))
    }

    /// Payloads in a segment that is not finished.
    fn open_segment(&self, id: &SegmentId, entries: &[(ShardId, Entry)]) -> (String, Checked) {
        let mut out = Checked::default();
        let disk = &*self.world.disk;
        let mut place = open_name(id);
        let mut file = disk.open(&place, Mode::Read);
        if file.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            // It was being finished.
            place = closed_name(id);
            file = disk.open(&place, Mode::Read);
        }
        match file.and_then(|f| Ok((f.len()?, f))) {
            Ok((len, file)) => {
                let mut blocks = Blocks::new(&self.keys);
                blocks.check(&*file, &place, len, entries, true, &mut |f| out.tell(f));
                (out.blocks, out.bytes) = (blocks.blocks, blocks.bytes);
            }
            Err(x) => {
                place = open_name(id);
                for (shard, e) in entries {
                    let what = format!("cannot be read, and the journal refers to it: {x}");
                    out.tell(Finding::damage(&place, what).entry(*shard, e));
                }
            }
        }
        (place, out)
    }
}

/// Checks a file's frames from `from` up to `limit`, or to where it ends or tore.
#[allow(clippy::type_complexity, reason = "used once")]
fn walk(
    a: &Archive,
    file: &JournalFile,
    from: u64,
    limit: Option<u64>,
    mut pending: Pending,
) -> (io::Result<Checked>, Pending) {
    let mut out = Checked::default();
    let done = frames(a, file, from, limit, &mut pending, &mut out);
    (done.map(|()| out), pending)
}

fn frames(
    a: &Archive,
    file: &JournalFile,
    from: u64,
    limit: Option<u64>,
    pending: &mut Pending,
    out: &mut Checked,
) -> io::Result<()> {
    let place = file_name(file.header.number);
    let len = file.disk.len()?;
    let stop = limit.unwrap_or(len);
    if stop > len || from > stop {
        let what = format!("has {len} bytes, fewer than what follows it says");
        out.tell(Finding::damage(&place, what).at(len));
    }
    let stop = stop.min(len);
    let mut window = Window::default();
    let mut blocks = Blocks::new(&a.keys);
    let (mut at, mut seq) = (from, None);
    while at < stop {
        let whole = match file.look(&mut window, at, stop)? {
            Look::Frame(head, sealed) if seq.is_none_or(|s| head.seq == s) => {
                Some((head, sealed)).filter(|(h, _)| file.body_holds(at, h).is_ok_and(|b| b))
            }
            _ => None,
        };
        let Some((head, sealed)) = whole else {
            let next = seq.unwrap_or(0);
            match file.find_later(at + 1, next, stop)? {
                Some(later) => {
                    let what = format!("a frame is damaged; whole ones follow at {later}");
                    out.tell(Finding::damage(&place, what).at(at).bytes(later - at));
                    (at, seq) = (later, None);
                    continue;
                }
                None if limit.is_some() => {
                    let what = format!("a frame is damaged; the journal goes on at {stop}");
                    out.tell(Finding::damage(&place, what).at(at).bytes(stop - at));
                }
                // The end, or a torn write that was never acknowledged.
                None => {}
            }
            break;
        };
        seq = Some(head.seq + 1);
        out.bytes += head.len();
        match file.directory(at, &head, sealed) {
            Ok(dir) => take(file, (&place, at + head.len()), dir, &mut blocks, pending, out),
            Err(e) => out.tell(Finding::damage(&place, format!("a directory: {e}")).at(at).bytes(head.len())),
        }
        at += head.len();
    }
    out.blocks += blocks.blocks;
    Ok(())
}

/// Opens the batches of a frame and notes its payloads.
fn take(
    file: &JournalFile,
    (place, end): (&str, u64),
    dir: Directory,
    blocks: &mut Blocks<'_>,
    pending: &mut Pending,
    out: &mut Checked,
) {
    let mut batches = Vec::new();
    for (slot, e) in dir.events {
        let shard = dir.slots[slot as usize].shard;
        // Of a stream that was deleted since, or a shard that was forgotten.
        if !blocks.has_keys(shard.stream) || pending.forgotten.has(shard) {
            continue;
        }
        let done = pending.done.entry(shard).or_default();
        match e {
            Event::Batch(b) if b.first + u64::from(b.count) > *done => batches.push((shard, Entry::Batch(b))),
            Event::Large(l) if l.position >= *done => {
                pending.payloads.entry(l.segment).or_default().push((shard, Entry::Large(l)));
            }
            Event::Trim { before } => *done = before.max(*done),
            _ => {}
        }
    }
    // Of the body's bytes, which the frame's checksum has covered.
    blocks.check(&*file.disk, place, end, &batches, false, &mut |f| out.tell(f));
}
