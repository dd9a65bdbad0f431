//! A range of a stream as one file: MP4 (`moov` first, its length known before the first byte) or Matroska (one pass).
//!
//! **What is in it.** It begins with the last key frame shown at or before the start (so that its first picture can be
//! decoded, and is no later than was asked for) and ends with the last frame that begins before the end, with the
//! pictures which that one needs. The same bytes as were recorded: nothing is encoded again, but for sound where that is
//! asked for.
//!
//! **Memory.** One fragment at a time, and for MP4 what its `moov` needs (about 24 bytes a sample): so the range is
//! limited in fragments, and few exports run at once.

mod body;
mod http;
mod trim;

use std::sync::Arc;

use access::{Permit, actions};
use bytes::{Bytes, BytesMut};
use log::{SharedLog, Unreadable};
use media::{Codec, Gaps, LeftOut, Table, Track, mkv, mp4file};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use world::Timestamp;

use crate::{
    Audio, By, Fragment, Video, VideoError, index::InitHash, mp4, sound, store::Paging, streams::Stream,
};

pub(crate) use http::export as handler;

/// Exports at once.
pub(crate) const AT_ONCE: usize = 4;
/// Fragments of a Matroska file, which costs 32 bytes for each.
const MAX_MKV: usize = 1_000_000;
/// Configurations looked for in a range before a Matroska file is begun.
const MAX_DECLARED: usize = 64;

/// Which kind of file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// ISO/IEC 14496-12, `moov` first.
    #[default]
    Mp4,
    /// RFC 9559.
    Mkv,
}

/// What is to be exported.
#[derive(Clone, Copy, Debug)]
pub struct ExportAsk {
    /// Start; the file begins with the key frame at or before it.
    pub from: Timestamp,
    /// End; what begins at it or later is left out.
    pub to: Timestamp,
    /// The clock that they are of.
    pub by: By,
    /// Which kind of file.
    pub form: Form,
    /// What becomes of the time in which nothing was recorded.
    pub gaps: Gaps,
    /// What becomes of sound that players may not know.
    pub audio: Audio,
}

/// A file that is ready to be sent.
pub struct Export {
    /// Its length in bytes, where that is known before it is made (MP4).
    pub len: Option<u64>,
    /// About how long it is.
    pub estimate: u64,
    /// Fragments that it is made of.
    pub fragments: usize,
    /// Those of them of which some producer times are this server's estimate.
    pub estimated: usize,
    /// When its first frame is shown, and when the last of its fragments ends, by the producer's clock.
    pub covers: (Timestamp, Timestamp),
    /// What could not be put into it, as far as is known before it is made (MP4).
    pub left_out: Vec<String>,
    maker: Maker,
    job: Job,
}

enum Maker {
    Mp4(Box<mp4file::Head>),
    Mkv(Box<mkv::Writer>),
}

/// What is read.
struct Job {
    video: Arc<Video>,
    stream: Arc<Stream>,
    ask: ExportAsk,
    /// The fragments with something in the range, and their number in the plan.
    positions: Vec<u64>,
    /// What in the range cannot be read any more, for people.
    lost: Vec<String>,
    _one: OwnedSemaphorePermit,
}

impl Job {
    fn log(&self) -> &SharedLog {
        &self.video.log
    }

    /// A fragment's table, cut to the range if it is the first or the last, and what is to be thought of as following
    /// its payload: sound that was made of its own.
    async fn table(&self, f: &Arc<Fragment>) -> Result<(Arc<Table>, Vec<Bytes>), VideoError> {
        let table = self.video.tables.get(self.log(), &self.stream, f).await?;
        let (table, made) = self.with_sound(f, table).await?;
        // From the asked clock to the producer's.
        let late = match self.ask.by {
            By::Producer => 0,
            By::Server => f.payload.arrival.micros().saturating_sub(f.end(By::Producer).micros()),
        };
        let local = |t: Timestamp| Timestamp(t.micros().saturating_sub(late));
        let first = self.positions.first() == Some(&f.position());
        let from = first.then(|| local(self.ask.from));
        let to = (f.end(self.ask.by) > self.ask.to).then(|| local(self.ask.to));
        if from.is_none() && to.is_none() {
            return Ok((table, made));
        }
        Ok((Arc::new(trim::trim(&table, from, to)), made))
    }

    /// A table with the sound that is made instead of that which is stored. Made twice for MP4 (once to plan with), it is
    /// the same both times, and if it were not the file would break off.
    async fn with_sound(
        &self,
        f: &Arc<Fragment>,
        table: Arc<Table>,
    ) -> Result<(Arc<Table>, Vec<Bytes>), VideoError> {
        let mut new = Table { tracks: Vec::new(), samples: Vec::new() };
        let (mut bytes, mut end) = (Vec::new(), f.media_len());
        for track in &table.tracks {
            let made = sound::made(track, self.ask.audio);
            let entry = f.entry.track(track.id).copied();
            let (Some(made), Some(entry)) = (made, entry) else { continue };
            for (k, data) in self.video.sound_packets(&self.stream, f, &entry, &made).await?.iter() {
                new.samples.push(sound::sample(&made, *k, end, data.len()));
                end += data.len() as u64;
                bytes.push(data.clone());
            }
            new.tracks.push(Arc::new(made.track));
        }
        if new.tracks.is_empty() {
            return Ok((table, bytes));
        }
        let instead = |id: u8| new.tracks.iter().find(|t| t.id == id).cloned();
        let stored = table.samples.iter().filter(|s| instead(s.track).is_none()).cloned();
        let mut samples: Vec<_> = stored.chain(new.samples.iter().cloned()).collect();
        let tracks: Vec<_> =
            table.tracks.iter().map(|t| instead(t.id).unwrap_or_else(|| t.clone())).collect();
        // Beside what is decoded at the same time.
        let scale = |id: u8| tracks.iter().find(|t| t.id == id).map_or(1, |t| t.timescale);
        samples.sort_by_cached_key(|s| i128::from(s.dts) * 1_000_000_000 / i128::from(scale(s.track).max(1)));
        Ok((Arc::new(Table { tracks, samples }), bytes))
    }

    /// A fragment's samples, and what was made of some.
    async fn payload(&self, f: &Fragment, made: &[Bytes]) -> Result<Bytes, VideoError> {
        let read = self.log().read_payload(&f.payload, 0..f.media_len()).await;
        let stored = read.map_err(|e| self.stream.log_error(e))?;
        if made.is_empty() {
            return Ok(stored);
        }
        let mut all = BytesMut::with_capacity(stored.len() + len(made) as usize);
        all.extend_from_slice(&stored);
        made.iter().for_each(|b| all.extend_from_slice(b));
        Ok(all.freeze())
    }

    fn bad(&self, f: &Fragment) -> impl Fn(media::MediaError) -> VideoError + '_ {
        mp4::damaged(self.stream.name(), f.position())
    }

    /// The fragments again, in order.
    fn pages(&self) -> Paging {
        let (first, last) = (self.positions.first(), self.positions.last());
        Paging::new(first.copied().unwrap_or(1), last.copied().unwrap_or(0))
    }
}

impl Video {
    /// Prepares a file of what was recorded in a range ([`actions::GET_CLIP`]). For MP4 this reads the sample tables of
    /// all its fragments.
    ///
    /// Fails if there is nothing in the range, if it has too many fragments or samples for one file, if too many
    /// exports run already, or if no track can be put into such a file.
    pub async fn export(
        self: &Arc<Video>,
        permit: Permit,
        name: &str,
        mut ask: ExportAsk,
    ) -> Result<Export, VideoError> {
        self.check(&permit, &[actions::GET_CLIP], name)?;
        if ask.to < ask.from {
            return Err(VideoError::Bad("the range ends before it begins".into()));
        }
        ask.to = ask.to.max(Timestamp(ask.from.micros().saturating_add(1)));
        let one = self.exports.clone().try_acquire_owned().map_err(|_| {
            VideoError::Busy(format!("{AT_ONCE} exports run already: try again when one has ended"))
        })?;
        let stream = self.streams.get(name)?;
        let mut job =
            Job { video: self.clone(), stream, ask, positions: Vec::new(), lost: Vec::new(), _one: one };
        let most = match ask.form {
            Form::Mp4 => self.config.max_range,
            Form::Mkv => MAX_MKV,
        };
        let found = scan(&mut job, most).await?;
        let nothing = || VideoError::NoMedia(format!("video stream {name:?} has nothing in this range"));
        let estimate = found.bytes;
        match ask.form {
            Form::Mp4 => {
                let (head, covers) = plan(&mut job).await?.ok_or_else(nothing)?;
                let left_out = head.left_out.iter().map(left_out).chain(job.lost.iter().cloned()).collect();
                let (len, fragments) = (Some(head.total), job.positions.len());
                let maker = Maker::Mp4(Box::new(head));
                let estimated = found.estimated;
                Ok(Export { len, estimate, fragments, estimated, covers, left_out, maker, job })
            }
            Form::Mkv => {
                let Some((start, end)) = found.covers else { return Err(nothing()) };
                let mut writer = mkv::Writer::new(ask.gaps);
                writer.declare(&found.tracks);
                let fragments = job.positions.len();
                let maker = Maker::Mkv(Box::new(writer));
                let covers = (start, end);
                let (len, estimated, left_out) = (None, found.estimated, job.lost.clone());
                Ok(Export { len, estimate, fragments, estimated, covers, left_out, maker, job })
            }
        }
    }
}

impl Video {
    /// The same of whole fragments that somebody has chosen (positions ascending), as MP4, for whoever has asked the gate.
    pub(crate) async fn export_of(
        self: &Arc<Video>,
        stream: Arc<Stream>,
        positions: Vec<u64>,
    ) -> Result<Export, VideoError> {
        let one = self.exports.clone().try_acquire_owned().map_err(|_| {
            VideoError::Busy(format!("{AT_ONCE} exports run already: try again when one has ended"))
        })?;
        let ask = ExportAsk {
            from: Timestamp::MIN,
            to: Timestamp::MAX,
            by: By::Producer,
            form: Form::Mp4,
            gaps: Gaps::Keep,
            audio: Audio::AsIs,
        };
        let mut job = Job { video: self.clone(), stream, ask, positions, lost: Vec::new(), _one: one };
        let nothing = || VideoError::NoMedia("there is nothing in these fragments".into());
        let (head, covers) = plan(&mut job).await?.ok_or_else(nothing)?;
        let left_out = head.left_out.iter().map(left_out).collect();
        let (len, fragments, estimate) = (Some(head.total), job.positions.len(), head.total);
        let maker = Maker::Mp4(Box::new(head));
        Ok(Export { len, estimate, fragments, estimated: 0, covers, left_out, maker, job })
    }
}

struct Scanned {
    bytes: u64,
    estimated: usize,
    covers: Option<(Timestamp, Timestamp)>,
    tracks: Vec<Arc<Track>>,
}

/// Walks the index of the range.
async fn scan(job: &mut Job, most: usize) -> Result<Scanned, VideoError> {
    let (log, stream, ask) = (job.video.log.clone(), job.stream.clone(), job.ask);
    let mut out = Scanned { bytes: 0, estimated: 0, covers: None, tracks: Vec::new() };
    let Some((first, last)) = stream.ends(&log, ask.by, ask.from, ask.to).await? else { return Ok(out) };
    let shown = first.position();
    let lead = stream.lead(&log, first).await?;
    let mut pages = Paging::new(lead.position(), last.position());
    let mut inits: Vec<InitHash> = Vec::new();
    while let Some(f) = pages.next(&stream, &log).await? {
        if f.position() >= shown && !(f.end(ask.by) > ask.from && f.start(ask.by) < ask.to) {
            continue;
        }
        if job.positions.len() == most {
            return Err(VideoError::Bad(format!(
                "the range has more fragments than the {most} of one such file: ask for a shorter one"
            )));
        }
        job.positions.push(f.position());
        out.bytes += f.media_len();
        out.estimated += usize::from(f.entry.estimated);
        let (start, end) = (f.start(By::Producer), f.end(By::Producer));
        out.covers = Some(out.covers.map_or((start, end), |(s, e)| (s.min(start), e.max(end))));
        for t in &f.entry.tracks {
            if ask.form == Form::Mkv && !inits.contains(&t.init) && inits.len() < MAX_DECLARED {
                inits.push(t.init);
                let track = job.video.tables.track(&log, &stream, &f, t.init).await?;
                let made = track.as_ref().and_then(|t| sound::made(t, ask.audio)).map(|m| Arc::new(m.track));
                out.tracks.extend(made.or(track));
            }
        }
    }
    job.lost = stream.lost.between(lead.position(), last.position()).iter().map(lost).collect();
    Ok(out)
}

type Planned = (mp4file::Head, (Timestamp, Timestamp));

/// Reads all sample tables; fragments of which nothing is left are taken out of the job.
async fn plan(job: &mut Job) -> Result<Option<Planned>, VideoError> {
    let mut plan = mp4file::Plan::new(job.ask.gaps);
    let mut kept = Vec::with_capacity(job.positions.len());
    let mut covers: Option<(Timestamp, Timestamp)> = None;
    let mut each = Each::new(job);
    while let Some(f) = each.next(job).await? {
        let (table, made) = job.table(&f).await?;
        if table.samples.is_empty() {
            continue;
        }
        let whole = |e| VideoError::Bad(format!("fragment {}: {e}", f.position()));
        if f.entry.tracks.iter().any(|t| t.rewrite) || mp4file::Plan::needs_payload(&table) {
            plan.add_payload(&table, &job.payload(&f, &made).await?).map_err(whole)?;
        } else {
            plan.add(&table, f.media_len() + len(&made)).map_err(whole)?;
        }
        kept.push(f.position());
        let (start, end) = trim::covers(&table);
        covers = Some(covers.map_or((start, end), |(s, e)| (s.min(start), e.max(end))));
    }
    job.positions = kept;
    let Some(covers) = covers else { return Ok(None) };
    let none = plan.left_out().first().map(left_out);
    let head = plan.finish().map_err(|e| VideoError::NoMedia(none.unwrap_or_else(|| e.to_string())))?;
    Ok(Some((head, covers)))
}

fn len(parts: &[Bytes]) -> u64 {
    parts.iter().map(|b| b.len() as u64).sum()
}

/// Goes through a job's fragments.
struct Each {
    pages: Paging,
    at: usize,
}

impl Each {
    fn new(job: &Job) -> Each {
        Each { pages: job.pages(), at: 0 }
    }

    /// The next; an error where it is not there any more.
    async fn next(&mut self, job: &Job) -> Result<Option<Arc<Fragment>>, VideoError> {
        let Some(want) = job.positions.get(self.at).copied() else { return Ok(None) };
        while let Some(f) = self.pages.next(&job.stream, job.log()).await? {
            if f.position() == want {
                self.at += 1;
                return Ok(Some(f));
            }
            if f.position() > want {
                break;
            }
        }
        let what = format!("fragment {want} of video stream {:?}", job.stream.name());
        Err(VideoError::Gone(format!("{what} is gone: retention has removed it meanwhile")))
    }
}

/// For people, on one line and in a list that `; ` divides.
fn lost(u: &Unreadable) -> String {
    let (from, to) = (wire::time::format(u.arrival.0), wire::time::format(u.arrival.1));
    format!("what arrived from {from} to {to} cannot be read: {}", u.why.replace(';', ","))
}

/// For people.
fn left_out(l: &LeftOut) -> String {
    let codec = match l.codec {
        Codec::Other(four) => String::from_utf8_lossy(&four).trim().to_owned(),
        Codec::Pcmu => "G.711 µ-law".into(),
        Codec::Pcma => "G.711 A-law".into(),
        c => format!("{c:?}"),
    };
    format!("track {} ({codec}): {}", l.track, l.why)
}
