//! Checks every checksum and seal of a log: keys, rows, segments, the journal, files that nothing refers to.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    sync::Arc,
};

use catalog::{RunRow, SegmentRow, SegmentState};
use world::{DiskFile, ShardId};

use crate::{
    Archive, Finding, OpenError, Report, Seen, Severity,
    archive::{ALL, ROWS},
    blocks::{Blocks, NAMED},
    entry::SegmentId,
    forgotten::Forgotten,
    objects,
    open_segment::{DIR, closed_name, parse_name},
    opening::io,
    progress::Progress,
    segment::{self, FooterError, HEADER, Root},
};

/// What to check.
#[derive(Clone, Debug, Default)]
pub struct Verify {
    /// Nobody writes to the log: the journal can be checked, too.
    pub alone: bool,
    /// Goes on where an interrupted check ended: segments that it found sound are not read again.
    pub resume: bool,
}

/// Bytes of an object asked for at once.
const OBJECT_PIECE: usize = 8 << 20;

/// Gathers what is told.
pub(crate) struct Teller<'t> {
    to: &'t mut (dyn FnMut(Seen) + Send),
    pub report: Report,
}

impl Teller<'_> {
    pub fn tell(&mut self, f: Finding) {
        match f.severity {
            Severity::Notice => self.report.notices += 1,
            Severity::Unchecked => self.report.unchecked += 1,
            Severity::Damage => {
                self.report.damaged += 1;
                self.report.damaged_bytes += f.bytes;
            }
        }
        (self.to)(Seen::Finding(f));
    }
}

/// What reading a file gave.
#[derive(Default)]
pub(crate) struct Checked {
    pub findings: Vec<Finding>,
    /// Findings that are not named.
    more: u64,
    more_bytes: u64,
    pub blocks: u64,
    pub bytes: u64,
}

impl Checked {
    pub fn tell(&mut self, f: Finding) {
        if self.findings.len() < NAMED {
            self.findings.push(f);
        } else {
            self.more += 1;
            self.more_bytes += f.bytes;
        }
    }
    pub fn sound(&self) -> bool {
        self.findings.is_empty()
    }
    pub fn report(self, place: &str, to: &mut Teller<'_>) {
        self.findings.into_iter().for_each(|f| to.tell(f));
        if self.more > 0 {
            to.tell(
                Finding::damage(place, format!("{} more blocks are damaged", self.more))
                    .bytes(self.more_bytes),
            );
        }
        to.report.blocks += self.blocks;
        to.report.bytes += self.bytes;
    }
}

impl Archive {
    /// Checks everything, telling as it goes. An error means that it could not go on; damage is no error.
    pub async fn verify(
        self: &Arc<Self>,
        what: Verify,
        to: &mut (dyn FnMut(Seen) + Send),
    ) -> Result<Report, OpenError> {
        let mut to = Teller { to, report: Report::default() };
        self.locked.iter().for_each(|f| to.tell(f.clone()));
        let flushed = self.verify_rows(&mut to).await?;
        self.verify_segments(what.resume, &mut to).await?;
        let mut wanted = BTreeSet::new();
        if what.alone {
            to.report.journal = true;
            let forgotten = Forgotten::load(&*self.catalog).await?;
            wanted = self.verify_journal(flushed, forgotten, &mut to).await?;
        }
        self.verify_names(what.alone, &wanted, &mut to).await?;
        Ok(to.report)
    }

    /// Rows against each other; returns up to where each shard is in segments.
    async fn verify_rows(&self, to: &mut Teller<'_>) -> Result<BTreeMap<ShardId, u64>, OpenError> {
        let mut flushed = BTreeMap::new();
        for shard in self.catalog.shards(None).await? {
            let place = format!("catalog, shard {}", shard.shard);
            if !Blocks::new(&self.keys).has_keys(shard.shard.stream) {
                let f =
                    Finding::damage(&place, "its stream has no key that opens: nothing of it can be read");
                to.tell(f.of(shard.shard, shard.trim, shard.next));
            }
            if shard.trim > shard.next || shard.closed.is_some_and(|c| c < shard.next) {
                to.tell(Finding::damage(&place, "its positions do not fit each other"));
            }
            let runs = self.catalog.runs(shard.shard, ALL).await?;
            for pair in runs.windows(2) {
                if let [a, b] = pair
                    && a.end > b.first
                {
                    let what = format!("runs overlap: one ends at {}, the next begins at {}", a.end, b.first);
                    to.tell(Finding::damage(&place, what).of(shard.shard, b.first, a.end.min(b.end)));
                }
            }
            for r in &runs {
                if r.end > shard.closed.unwrap_or(u64::MAX) {
                    to.tell(Finding::damage(&place, "a run goes beyond its shard's end").run(r));
                }
                if self.catalog.segment(r.segment).await?.is_none() && self.still(r).await? {
                    let what = format!("a run is in {}, which is not listed", closed_name(&r.segment));
                    to.tell(Finding::damage(&place, what).run(r));
                }
            }
            flushed.insert(shard.shard, runs.last().map_or(0, |r| r.end).max(shard.trim));
        }
        Ok(flushed)
    }

    /// Whether a run is still there: a server may have gone on meanwhile.
    async fn still(&self, r: &RunRow) -> Result<bool, OpenError> {
        let q = catalog::RunQuery::Positions((r.first, r.first));
        Ok(self.catalog.runs(r.shard, q).await?.iter().any(|x| x.segment == r.segment))
    }

    async fn verify_segments(self: &Arc<Self>, resume: bool, to: &mut Teller<'_>) -> Result<(), OpenError> {
        let mut progress = Progress::open(&*self.world.disk, resume).map_err(io)?;
        let (mut total, mut after) = (0, None);
        loop {
            let rows = self.catalog.segments(after, ROWS).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.id);
            total += rows.iter().map(|r| r.bytes).sum::<u64>();
        }
        let (mut done, mut after) = (0, None);
        loop {
            let rows = self.catalog.segments(after, ROWS).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.id);
            for row in rows {
                (to.to)(Seen::Progress { done, total: total.max(done) });
                if progress.has(&row) {
                    to.report.resumed += 1;
                } else if self.verify_segment(&row, to).await? {
                    progress.add(&row).map_err(io)?;
                }
                done += row.bytes;
            }
        }
        (to.to)(Seen::Progress { done, total: total.max(done) });
        progress.finish(&*self.world.disk).map_err(io)
    }

    /// `true` if it is sound.
    async fn verify_segment(
        self: &Arc<Self>,
        row: &SegmentRow,
        to: &mut Teller<'_>,
    ) -> Result<bool, OpenError> {
        let place = self.place(row);
        let (s, r) = (self.clone(), row.clone());
        let opened = blocking(move || {
            let file = s.file(&r)?;
            let root = s.root(&*file, &r.id);
            Ok::<_, std::io::Error>((file, root))
        })
        .await?;
        let what = match opened {
            Ok((file, Ok(root))) => {
                let rows = self.rows(&row.id, &root).await?;
                let (s, row) = (self.clone(), row.clone());
                let checked = blocking(move || check(&s, &*file, &row, &root, &rows)).await?;
                to.report.segments += 1;
                let sound = checked.sound();
                checked.report(&place, to);
                return Ok(sound);
            }
            Ok((_, Err(FooterError::Io(e)))) | Err(e) if e.kind() == ErrorKind::NotFound => {
                // Deleted, or moved to the store, meanwhile by a server that runs?
                match self.catalog.segment(row.id).await? {
                    Some(now) if now == *row => {}
                    _ => return Ok(false),
                }
                if row.state == SegmentState::Stored && self.world.store.is_none() {
                    (Severity::Unchecked, "is in a store that was not given (--store)".into())
                } else {
                    (Severity::Damage, "is missing".into())
                }
            }
            Ok((_, Err(FooterError::Io(e)))) | Err(e) => (Severity::Unchecked, e.to_string()),
            Ok((_, Err(e))) => (Severity::Damage, e.to_string()),
        };
        to.report.segments += 1;
        let mut found = false;
        for shard in self.catalog.shards(None).await? {
            for r in self.catalog.runs(shard.shard, ALL).await?.iter().filter(|r| r.segment == row.id) {
                found = true;
                to.tell(Finding::new(what.0, &place, &what.1).run(r));
            }
        }
        if !found {
            to.tell(Finding::new(what.0, &place, &what.1));
        }
        Ok(false)
    }

    /// Files and objects that nothing refers to. `wanted`: segments that the journal refers to.
    async fn verify_names(
        &self,
        alone: bool,
        wanted: &BTreeSet<SegmentId>,
        to: &mut Teller<'_>,
    ) -> Result<(), OpenError> {
        for e in self.world.disk.list(DIR).map_err(io)? {
            let place = format!("{DIR}/{}", e.name);
            let Some((id, closed)) = parse_name(&e.name) else {
                to.tell(Finding::new(Severity::Notice, place, "is no file of Rushes").bytes(e.len));
                continue;
            };
            // Beside a server an open segment is its own, and a finished one may be about to be known.
            let known =
                wanted.contains(&id) || !alone || (closed && self.catalog.segment(id).await?.is_some());
            if !known {
                let what = "nothing refers to it: the next start removes it, or takes it up if it has what is missing";
                to.tell(Finding::new(Severity::Notice, place, what).bytes(e.len));
            }
        }
        self.verify_objects(alone, to).await
    }

    async fn verify_objects(&self, alone: bool, to: &mut Teller<'_>) -> Result<(), OpenError> {
        let Some(store) = self.world.store.clone() else { return Ok(()) };
        let mut after: Option<String> = None;
        loop {
            let (s, a) = (store.clone(), after.clone());
            let page = match blocking(move || s.list(objects::PREFIX, a.as_deref(), ROWS)).await? {
                Ok(page) => page,
                Err(e) => {
                    to.tell(Finding::new(Severity::Unchecked, store.url(), format!("cannot be listed: {e}")));
                    return Ok(());
                }
            };
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.key.clone());
            for o in page {
                let row = match objects::parse_key(&o.key) {
                    Some(id) => self.catalog.segment(id).await?,
                    None => None,
                };
                // Beside a server it may be one that is being uploaded.
                if alone && row.is_none() {
                    let place = format!("{}/{}", store.url(), o.key);
                    to.tell(Finding::new(Severity::Notice, place, "nothing refers to it").bytes(o.len));
                }
            }
        }
    }
}

/// Runs something that reads files, off the runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OpenError> {
    tokio::task::spawn_blocking(f).await.map_err(|e| OpenError::Io(format!("a disk task failed: {e}")))
}

/// Reads a segment through: header, footer, and every block of the runs that the catalog refers to.
fn check(a: &Archive, file: &dyn DiskFile, row: &SegmentRow, root: &Root, rows: &[RunRow]) -> Checked {
    let place = a.place(row);
    let mut out = Checked::default();
    let len = file.len().unwrap_or(0);
    if len != row.bytes || root.base != row.footer {
        let what = format!(
            "has {len} bytes, its blocks end at {}; by the catalog {} and {}",
            root.base, row.bytes, row.footer
        );
        out.tell(Finding::damage(&place, what));
    }
    if row.state == SegmentState::Stored && a.world.store.is_none() {
        let what = "its object is in a store that was not given; the copy in the data folder was checked";
        out.tell(Finding::new(Severity::Notice, &place, what));
    }
    let mut head = [0; HEADER as usize];
    match file
        .read_exact_at(&mut head, 0)
        .map_err(Into::into)
        .and_then(|()| segment::check_header(&head, &row.id))
    {
        Ok(()) => {}
        Err(e) => out.tell(Finding::damage(&place, format!("the header: {e}")).at(0)),
    }
    match index_crc(file, root) {
        Ok(crc) if crc == root.index_crc => {}
        Ok(_) => out.tell(
            Finding::damage(&place, "the index has another checksum than the trailer says").at(root.base),
        ),
        Err(e) => out.tell(Finding::damage(&place, format!("the index cannot be read: {e}")).at(root.base)),
    }
    out.bytes = len - root.base.min(len) + HEADER;
    let mut blocks = Blocks::new(&a.keys);
    if row.state == SegmentState::Stored {
        blocks.piece = OBJECT_PIECE;
    }
    let mut entries = Vec::new();
    for r in rows {
        let ordinal = r.ordinal as usize;
        let Some(run) = root.runs.get(ordinal).filter(|x| {
            (x.shard, x.first, x.end, x.bytes, x.arrival) == (r.shard, r.first, r.end, r.bytes, r.arrival)
        }) else {
            out.tell(
                Finding::damage(&place, "its footer is not the one that the catalog knows")
                    .at(root.base)
                    .run(r),
            );
            continue;
        };
        let (mut position, mut bytes) = (run.first, 0);
        for (n, page) in run.pages.iter().enumerate() {
            match root.read_page(file, ordinal, n) {
                Ok(page) => {
                    for e in page {
                        if e.first() < position || e.end() > run.end {
                            out.tell(
                                Finding::damage(&place, "positions of its index do not rise")
                                    .entry(r.shard, &e),
                            );
                        }
                        position = e.end();
                        bytes += match &e {
                            crate::entry::Entry::Batch(b) => b.len.into(),
                            crate::entry::Entry::Large(l) => l.sealed_bytes(),
                        };
                        entries.push((r.shard, e));
                    }
                }
                Err(e) => {
                    let f = Finding::damage(&place, format!("a page of the index: {e}")).at(page.offset);
                    let share = r.bytes / run.pages.len() as u64;
                    let f = Finding { arrival: Some(page.arrival), bytes: share, ..f };
                    out.tell(f.of(r.shard, page.first, page.end));
                    bytes = r.bytes;
                    position = page.end;
                }
            }
        }
        if bytes != r.bytes && out.sound() {
            let what = format!("its index lists {bytes} bytes, the catalog {}", r.bytes);
            out.tell(Finding::damage(&place, what).run(r));
        }
    }
    blocks.check(file, &place, root.base, &entries, true, &mut |f| out.tell(f));
    out.blocks = blocks.blocks;
    out.bytes += blocks.bytes;
    out
}

fn index_crc(file: &dyn DiskFile, root: &Root) -> std::io::Result<u32> {
    let (mut crc, mut at) = (0, root.base);
    let mut buf = vec![0; (root.end - root.base).min(1 << 20) as usize];
    while at < root.end {
        let n = ((root.end - at) as usize).min(buf.len());
        file.read_exact_at(&mut buf[..n], at)?;
        crc = crc32c::crc32c_append(crc, &buf[..n]);
        at += n as u64;
    }
    Ok(crc)
}
