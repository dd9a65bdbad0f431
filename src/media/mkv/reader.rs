use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::WHAT;
use super::block::Block;
use super::ebml::{self, children, float, int, text, uint};
use super::entry::TrackEntry;
use super::ids::*;
use crate::error::{invalid, truncated};
use crate::{MediaError, date};

/// How much is taken of any one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one block, or group with its block.
    pub block: u64,
    /// Bytes of an element that is read whole otherwise (Info, Tracks, Tags).
    pub header: u64,
    /// Tracks of a Segment.
    pub tracks: usize,
    /// Tags of one Tags element.
    pub tags: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { block: 64 << 20, header: 8 << 20, tracks: 128, tags: 4096 }
    }
}

/// What a Segment says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Nanoseconds of one tick of every time in the Segment.
    pub timestamp_scale: u64,
    /// When the Segment's time 0 was, in nanoseconds since the Unix epoch.
    pub date: Option<i64>,
    /// In ticks.
    pub duration: Option<f64>,
    /// Title.
    pub title: String,
    /// What made the file.
    pub writing_app: String,
}

impl Default for Info {
    fn default() -> Self {
        Info {
            timestamp_scale: 1_000_000,
            date: None,
            duration: None,
            title: String::new(),
            writing_app: String::new(),
        }
    }
}

/// A SimpleTag with text. Of nested ones, the outer first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// TagName.
    pub name: String,
    /// TagString; empty if it has none.
    pub value: String,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its track's number, which the Tracks need not have named.
    pub track: u64,
    /// Its block's time in ticks: the Cluster's and its own.
    pub timecode: i64,
    /// When it is presented, in nanoseconds from the Segment's time 0: the above, by DefaultDuration if others come
    /// before it in its block, less the track's CodecDelay.
    pub time: i64,
    /// How many frames come before it in its block.
    pub lace: u8,
    /// Whether it says that it depends on no other.
    pub key: bool,
    /// Whether it says that no other depends on it.
    pub discardable: bool,
    /// Its block's duration in nanoseconds.
    pub duration: Option<i64>,
    /// Where its bytes begin, counted from the first byte pushed.
    pub offset: u64,
    /// How many bytes it has there; `data` has more where headers were stripped.
    pub stored: u64,
    /// The frame.
    pub data: Bytes,
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An EBML header that begins a document. What was said by an earlier one no longer holds.
    Document {
        /// Where it begins.
        offset: u64,
    },
    /// A Segment's Info.
    Info(Info),
    /// A Segment's Tracks.
    Tracks(Vec<TrackEntry>),
    /// Tags, also those between Clusters.
    Tags {
        /// Where the element begins.
        offset: u64,
        /// What is in it.
        tags: Vec<Tag>,
    },
    /// A Cluster whose Timestamp is known now.
    Cluster {
        /// Where it begins.
        offset: u64,
        /// In ticks.
        timecode: u64,
    },
    /// A frame of the Cluster.
    Frame(Frame),
    /// The Cluster is complete.
    ClusterEnd {
        /// Where what follows it begins.
        offset: u64,
    },
}

#[derive(Debug)]
struct Cluster {
    offset: u64,
    end: Option<u64>,
    timecode: Option<u64>,
}

/// Reads Matroska and WebM as it comes: [`push`](Self::push) bytes, take every [`event`](Self::event), push more.
///
/// What is buffered is one element that is not complete, of at most [`Limits`], and what was pushed beyond it.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    buf: BytesMut,
    /// Where `buf` begins in all that was pushed.
    at: u64,
    /// Bytes to pass over from there.
    skip: u64,
    document: bool,
    /// Whether a Segment is open, and where it ends.
    segment: Option<Option<u64>>,
    cluster: Option<Cluster>,
    info: Info,
    tracks: Vec<TrackEntry>,
    ready: VecDeque<Event>,
    failed: Option<MediaError>,
}

impl Default for Reader {
    fn default() -> Self {
        Reader::new(Limits::default())
    }
}

impl Reader {
    /// Before the first byte.
    pub fn new(limits: Limits) -> Reader {
        Reader {
            limits,
            buf: BytesMut::new(),
            at: 0,
            skip: 0,
            document: false,
            segment: None,
            cluster: None,
            info: Info::default(),
            tracks: vec![],
            ready: VecDeque::new(),
            failed: None,
        }
    }

    /// Takes the next bytes. They are copied, once.
    pub fn push(&mut self, mut data: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.buf.is_empty() {
            let pass = self.skip.min(data.len() as u64) as usize;
            data.advance(pass);
            self.skip -= pass as u64;
            self.at += pass as u64;
        }
        self.buf.extend_from_slice(data);
    }

    /// How far it has read, counted from the first byte pushed: where an error is.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// The tracks of the Segment at hand.
    pub fn tracks(&self) -> &[TrackEntry] {
        &self.tracks
    }

    /// The next event; `None`: push more. After an error there is nothing more.
    pub fn event(&mut self) -> Result<Option<Event>, MediaError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if let Some(e) = self.failed {
                return Err(e);
            }
            match self.step() {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(e) => {
                    self.failed = Some(e);
                    self.buf = BytesMut::new();
                }
            }
        }
    }

    /// There is nothing more to push. Take the events once more, for a Cluster that was open. An error if the end came
    /// within an element, whose bytes are given up.
    pub fn end(&mut self) -> Result<(), MediaError> {
        let open = |end: Option<u64>| end.is_some_and(|end| end > self.at);
        let cut = !self.buf.is_empty()
            || self.skip > 0
            || open(self.cluster.as_ref().and_then(|c| c.end))
            || open(self.segment.flatten());
        self.at += self.buf.len() as u64;
        (self.buf, self.skip, self.segment) = (BytesMut::new(), 0, None);
        self.close_cluster();
        if cut { truncated(WHAT) } else { Ok(()) }
    }

    /// Reads one element, or enters one. False: more bytes are needed.
    fn step(&mut self) -> Result<bool, MediaError> {
        if self.skip > 0 {
            let pass = self.skip.min(self.buf.len() as u64);
            self.pass(pass as usize);
            self.skip -= pass;
            if self.skip > 0 {
                return Ok(false);
            }
        }
        if self.cluster.as_ref().is_some_and(|c| c.end == Some(self.at)) {
            self.close_cluster();
            return Ok(true);
        }
        if self.segment == Some(Some(self.at)) {
            self.segment = None;
            return Ok(true);
        }
        let Some(head) = ebml::head(&self.buf)? else { return Ok(false) };
        let around = self.cluster.as_ref().and_then(|c| c.end).or(self.segment.flatten());
        if let (Some(size), Some(around)) = (head.size, around) {
            // Sizes are below 2^56.
            if self.at + head.len as u64 + size > around {
                return invalid(WHAT, "an element larger than the one around it");
            }
        }
        if self.cluster.is_some() {
            self.in_cluster(head)
        } else if self.segment.is_some() {
            self.in_segment(head)
        } else {
            self.at_top(head)
        }
    }

    fn at_top(&mut self, head: ebml::Head) -> Result<bool, MediaError> {
        let offset = self.at;
        match head.id {
            EBML => {
                let Some(content) = self.whole(head, self.limits.header.min(64 << 10))? else {
                    return Ok(false);
                };
                check_document(&content)?;
                (self.document, self.info, self.tracks) = (true, Info::default(), vec![]);
                self.ready.push_back(Event::Document { offset });
                Ok(true)
            }
            SEGMENT if self.document => {
                self.pass(head.len);
                self.segment = Some(head.size.map(|size| self.at + size));
                Ok(true)
            }
            VOID | CRC_32 if self.document => self.leave(head),
            _ if self.document => invalid(WHAT, "an element that cannot stand outside of a Segment"),
            _ => invalid(WHAT, "it does not begin with an EBML header"),
        }
    }

    fn in_segment(&mut self, head: ebml::Head) -> Result<bool, MediaError> {
        let offset = self.at;
        match head.id {
            CLUSTER => {
                self.pass(head.len);
                let end = head.size.map(|size| self.at + size);
                self.cluster = Some(Cluster { offset, end, timecode: None });
                Ok(true)
            }
            INFO => {
                let Some(content) = self.whole(head, self.limits.header)? else { return Ok(false) };
                self.info = read_info(&content)?;
                self.ready.push_back(Event::Info(self.info.clone()));
                Ok(true)
            }
            TRACKS => {
                let Some(content) = self.whole(head, self.limits.header)? else { return Ok(false) };
                let mut tracks = vec![];
                for child in children(&content) {
                    let (id, data) = child?;
                    if id == TRACK_ENTRY {
                        if tracks.len() == self.limits.tracks {
                            return invalid(WHAT, "more tracks than are taken");
                        }
                        tracks.push(TrackEntry::read(&content.slice_ref(data))?);
                    }
                }
                self.tracks.clone_from(&tracks);
                self.ready.push_back(Event::Tracks(tracks));
                Ok(true)
            }
            TAGS => {
                let Some(content) = self.whole(head, self.limits.header)? else { return Ok(false) };
                let mut tags = vec![];
                for child in children(&content) {
                    let (id, data) = child?;
                    if id == TAG {
                        read_tags(data, 0, self.limits.tags, &mut tags)?;
                    }
                }
                self.ready.push_back(Event::Tags { offset, tags });
                Ok(true)
            }
            // The next document begins within the Segment's size, or after one of unknown size.
            EBML => {
                self.segment = None;
                Ok(true)
            }
            SEGMENT if self.segment == Some(None) => {
                self.segment = None;
                Ok(true)
            }
            SEGMENT => invalid(WHAT, "a Segment within a Segment"),
            TIMESTAMP | SIMPLE_BLOCK | BLOCK_GROUP | BLOCK => invalid(WHAT, "frames outside of a Cluster"),
            _ => self.leave(head),
        }
    }

    fn in_cluster(&mut self, head: ebml::Head) -> Result<bool, MediaError> {
        let Some(cluster) = &self.cluster else { return Ok(true) };
        match head.id {
            id if top_level(id) || matches!(id, EBML | SEGMENT) => {
                if cluster.end.is_some() {
                    return invalid(WHAT, "a Cluster holds what cannot be within one");
                }
                self.close_cluster();
                Ok(true)
            }
            TIMESTAMP => {
                let (offset, again) = (cluster.offset, cluster.timecode.is_some());
                let Some(content) = self.whole(head, 8)? else { return Ok(false) };
                if again {
                    return invalid(WHAT, "a Cluster with two times");
                }
                let timecode = uint(&content)?;
                if let Some(cluster) = &mut self.cluster {
                    cluster.timecode = Some(timecode);
                }
                self.ready.push_back(Event::Cluster { offset, timecode });
                Ok(true)
            }
            SIMPLE_BLOCK | BLOCK_GROUP => {
                let Some(timecode) = cluster.timecode else {
                    return invalid(WHAT, "frames before their Cluster's time");
                };
                let offset = self.at + head.len as u64;
                let Some(content) = self.whole(head, self.limits.block)? else { return Ok(false) };
                if head.id == SIMPLE_BLOCK {
                    let block = Block::parse(&content)?;
                    let flags = (block.flags & 0x80 != 0, block.flags & 1 != 0);
                    self.frames(&content, offset, timecode, block, flags, None);
                } else {
                    self.group(&content, offset, timecode)?;
                }
                Ok(true)
            }
            _ => self.leave(head),
        }
    }

    fn group(&mut self, content: &Bytes, offset: u64, timecode: u64) -> Result<(), MediaError> {
        let (mut block, mut duration, mut key) = (None, None, true);
        for child in children(content) {
            let (id, data) = child?;
            match id {
                BLOCK if block.is_some() => return invalid(WHAT, "a group of two blocks"),
                BLOCK => block = Some(content.slice_ref(data)),
                BLOCK_DURATION => duration = Some(uint(data)?),
                REFERENCE_BLOCK => key = false,
                _ => {}
            }
        }
        let Some(data) = block else { return Ok(()) };
        let offset = offset + (data.as_ptr() as usize - content.as_ptr() as usize) as u64;
        let block = Block::parse(&data)?;
        self.frames(&data, offset, timecode, block, (key, false), duration);
        Ok(())
    }

    fn frames(
        &mut self,
        data: &Bytes,
        offset: u64,
        cluster: u64,
        block: Block,
        (key, discardable): (bool, bool),
        duration: Option<u64>,
    ) {
        let track = self.tracks.iter().find(|t| t.number == block.track);
        let scale = i128::from(self.info.timestamp_scale);
        let ns = |v: i128| v.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
        let timecode = i128::from(cluster) + i128::from(block.timecode);
        let each = i128::from(track.and_then(|t| t.default_duration).unwrap_or(0));
        let delay = i128::from(track.map_or(0, |t| t.codec_delay));
        for (i, range) in block.frames.into_iter().enumerate() {
            let mut frame = data.slice(range.clone());
            if let Some(track) = track.filter(|t| !t.stripped.is_empty()) {
                frame = [&track.stripped[..], &frame].concat().into();
            }
            self.ready.push_back(Event::Frame(Frame {
                track: block.track,
                timecode: ns(timecode),
                time: ns(timecode * scale + each * i as i128 - delay),
                lace: i as u8,
                key,
                discardable,
                duration: duration.map(|d| ns(i128::from(d) * scale)),
                offset: offset + range.start as u64,
                stored: range.len() as u64,
                data: frame,
            }));
        }
    }

    /// The content of an element once all of it has come.
    fn whole(&mut self, head: ebml::Head, limit: u64) -> Result<Option<Bytes>, MediaError> {
        let Some(size) = head.size else { return invalid(WHAT, "an element whose size must be known") };
        if size > limit {
            return invalid(WHAT, "an element larger than is taken");
        }
        let size = size as usize;
        if self.buf.len() - head.len < size {
            return Ok(None);
        }
        self.pass(head.len);
        self.at += size as u64;
        Ok(Some(self.buf.split_to(size).freeze()))
    }

    /// Passes over an element.
    fn leave(&mut self, head: ebml::Head) -> Result<bool, MediaError> {
        let Some(size) = head.size else { return invalid(WHAT, "an element whose size must be known") };
        self.pass(head.len);
        self.skip = size;
        Ok(true)
    }

    fn pass(&mut self, n: usize) {
        self.buf.advance(n);
        self.at += n as u64;
    }

    fn close_cluster(&mut self) {
        if self.cluster.take().is_some_and(|c| c.timecode.is_some()) {
            self.ready.push_back(Event::ClusterEnd { offset: self.at });
        }
    }
}

fn check_document(content: &[u8]) -> Result<(), MediaError> {
    let mut doc_type = String::new();
    for child in children(content) {
        let (id, data) = child?;
        match id {
            DOC_TYPE => doc_type = text(data),
            EBML_READ_VERSION if uint(data)? > 1 => {
                return Err(MediaError::Unsupported { what: WHAT, why: "a newer EBML" });
            }
            EBML_MAX_ID if uint(data)? > 4 => {
                return Err(MediaError::Unsupported { what: WHAT, why: "ids of more than four bytes" });
            }
            EBML_MAX_SIZE if uint(data)? > 8 => {
                return Err(MediaError::Unsupported { what: WHAT, why: "sizes of more than eight bytes" });
            }
            _ => {}
        }
    }
    match doc_type.as_str() {
        "matroska" | "webm" => Ok(()),
        _ => Err(MediaError::Unsupported { what: WHAT, why: "another type of document" }),
    }
}

fn read_info(content: &[u8]) -> Result<Info, MediaError> {
    let mut info = Info::default();
    for child in children(content) {
        let (id, data) = child?;
        match id {
            TIMESTAMP_SCALE => info.timestamp_scale = uint(data)?,
            DURATION => info.duration = Some(float(data)?).filter(|d| d.is_finite()),
            DATE_UTC => info.date = int(data)?.checked_add(date::TO_2001 * 1_000_000_000),
            TITLE => info.title = text(data),
            WRITING_APP => info.writing_app = text(data),
            _ => {}
        }
    }
    if info.timestamp_scale == 0 {
        return invalid(WHAT, "a TimestampScale of 0");
    }
    Ok(info)
}

/// SimpleTags within; nested ones to a depth of 8, deeper ones are left aside.
fn read_tags(content: &[u8], depth: u8, limit: usize, out: &mut Vec<Tag>) -> Result<(), MediaError> {
    for child in children(content) {
        let (SIMPLE_TAG, data) = child? else { continue };
        if out.len() >= limit {
            return invalid(WHAT, "more tags than are taken");
        }
        let mut tag = Tag { name: String::new(), value: String::new() };
        for child in children(data) {
            let (id, data) = child?;
            match id {
                TAG_NAME => tag.name = text(data),
                TAG_STRING => tag.value = text(data),
                _ => {}
            }
        }
        out.push(tag);
        if depth < 8 {
            read_tags(data, depth + 1, limit, out)?;
        }
    }
    Ok(())
}
