use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::{
    WHAT,
    reader::{Event, Frame, Limits, Reader, Tag},
    skeleton::{Skeleton, apart},
};
use crate::MediaError;
use crate::error::invalid;

/// What ends a fragment before the next Cluster does.
pub const END_OF_FRAGMENT: &str = "AWS_KINESISVIDEO_END_OF_FRAGMENT";
/// Bytes of a document before its first Cluster: two parameter sets of the largest size, and tags.
const MAX_HEADER: u64 = 4 << 20;
/// Bytes of a fragment that are no frames.
const MAX_REST: usize = 8 << 20;

/// What comes of a producer's Matroska.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// The tracks of what follows: the first, or others than before.
    Tracks(Vec<super::TrackEntry>),
    /// A Cluster begins a fragment.
    Begin {
        /// Its time in nanoseconds.
        time: i64,
    },
    /// A frame of the fragment. Its data is what lies in the bytes: nothing is put before it again.
    Frame(Frame),
    /// The fragment is complete, with all that came up to the next.
    End {
        /// All that is no frame.
        skeleton: Skeleton,
        /// Tags among it.
        tags: Vec<Tag>,
        /// A tag ended it: what comes next begins another whenever it comes.
        told: bool,
    },
}

/// A fragment that is not complete.
#[derive(Debug, Default)]
struct Open {
    /// What came before its Cluster, after the tag that ended the fragment before.
    prelude: Bytes,
    pieces: Vec<Bytes>,
    bytes: usize,
    tags: Vec<Tag>,
    /// Its Cluster is complete.
    whole: bool,
}

impl Open {
    fn put(&mut self, piece: Bytes) {
        let prelude = std::mem::take(&mut self.prelude);
        self.pieces.push(if prelude.is_empty() { piece } else { [prelude, piece].concat().into() });
    }
}

/// Cuts Matroska into fragments as it comes: a Cluster and what follows up to the next, each with the beginning of its
/// document. [`push`](Self::push) bytes, take every [`part`](Self::part), push more. Of frames and everything else
/// together not a byte is lost; sizes are held against those around them and against limits by [`Reader`].
#[derive(Debug)]
pub struct Splitter {
    reader: Reader,
    /// Bytes that were pushed and are part of nothing yet, from `at` on.
    raw: BytesMut,
    at: u64,
    most: usize,
    scale: i128,
    document: bool,
    /// Document and header.
    opening: Option<(Bytes, Bytes)>,
    open: Option<Open>,
    ready: VecDeque<Part>,
    failed: Option<MediaError>,
}

impl Splitter {
    /// Before the first byte. `frame`: bytes of a block at most.
    pub fn new(frame: u64) -> Splitter {
        let limits = Limits { block: frame, header: MAX_HEADER, tracks: 16, tags: 1024 };
        Splitter {
            reader: Reader::new(limits),
            raw: BytesMut::new(),
            at: 0,
            most: usize::try_from(frame).unwrap_or(usize::MAX).saturating_add(MAX_REST),
            scale: 1_000_000,
            document: false,
            opening: None,
            open: None,
            ready: VecDeque::new(),
            failed: None,
        }
    }

    /// Takes the next bytes: pieces as they come from a connection, as many parts are made of them at once as they hold.
    pub fn push(&mut self, data: &[u8]) {
        if self.failed.is_none() {
            self.reader.push(data);
            self.raw.extend_from_slice(data);
        }
    }

    /// The next part; `None`: push more. After an error there is nothing more.
    pub fn part(&mut self) -> Result<Option<Part>, MediaError> {
        loop {
            if let Some(p) = self.ready.pop_front() {
                return Ok(Some(p));
            }
            if let Some(e) = self.failed {
                return Err(e);
            }
            let next = self.reader.event().and_then(|e| match e {
                Some(e) => self.take(e).map(|()| true),
                None => Ok(false),
            });
            match next {
                Ok(true) => {}
                // What is passed over is kept, too, and has its bounds.
                Ok(false) if self.raw.len() <= self.most => return Ok(None),
                Ok(false) => self.failed = invalid::<()>(WHAT, "more between frames than is taken").err(),
                Err(e) => self.failed = Some(e),
            }
            if self.failed.is_some() {
                (self.raw, self.open) = (BytesMut::new(), None);
            }
        }
    }

    /// There is nothing more to push. Take the parts once more. An error if the end came within an element.
    pub fn end(&mut self) -> Result<(), MediaError> {
        if let Some(e) = self.failed {
            return Err(e);
        }
        self.reader.end()?;
        while let Some(e) = self.reader.event()? {
            self.take(e)?;
        }
        let end = self.at + self.raw.len() as u64;
        self.close(end, false)
    }

    /// Bytes up to an offset, from where the last ones ended.
    fn upto(&mut self, offset: u64) -> Result<Bytes, MediaError> {
        let len = offset.checked_sub(self.at).and_then(|n| usize::try_from(n).ok());
        let Some(len) = len.filter(|n| *n <= self.raw.len()) else {
            return invalid(WHAT, "elements out of their order");
        };
        self.at = offset;
        Ok(self.raw.split_to(len).freeze())
    }

    fn close(&mut self, offset: u64, told: bool) -> Result<(), MediaError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let last = self.upto(offset)?;
        open.put(last);
        let (document, header) = self.opening.clone().unwrap_or_default();
        let skeleton = Skeleton { document, header, pieces: open.pieces };
        self.ready.push_back(Part::End { skeleton, tags: open.tags, told });
        Ok(())
    }

    fn take(&mut self, event: Event) -> Result<(), MediaError> {
        match event {
            Event::Document { offset } => {
                self.close(offset, false)?;
                // What stood between documents is of no use to anybody.
                self.upto(offset)?;
                (self.document, self.opening) = (true, None);
            }
            Event::Info(info) => {
                if self.opening.is_some() {
                    return invalid(WHAT, "another Info after the first Cluster");
                }
                self.scale = i128::from(info.timestamp_scale);
            }
            Event::Tracks(tracks) => {
                if self.opening.is_some() {
                    return invalid(WHAT, "other Tracks after the first Cluster");
                }
                self.ready.push_back(Part::Tracks(tracks));
            }
            Event::Tags { tags, .. } => {
                let told = tags.iter().any(|t| t.name == END_OF_FRAGMENT);
                if let Some(open) = &mut self.open {
                    open.tags.extend(tags);
                    if told {
                        let end = self.reader.offset();
                        self.close(end, true)?;
                    }
                }
            }
            Event::Cluster { offset, timecode } => {
                self.close(offset, false)?;
                let before = self.upto(offset)?;
                let mut open = Open::default();
                if self.opening.is_none() {
                    let Some(parts) = apart(&before).filter(|_| self.document) else {
                        return invalid(WHAT, "a Cluster outside of a Segment");
                    };
                    self.document = false;
                    self.opening = Some(parts);
                } else {
                    open.bytes = before.len();
                    open.prelude = before;
                }
                self.open = Some(open);
                let ns = i128::from(timecode) * self.scale;
                self.ready.push_back(Part::Begin { time: i64::try_from(ns).unwrap_or(i64::MAX) });
            }
            Event::Frame(mut frame) => {
                let piece = self.upto(frame.offset)?;
                self.upto(frame.offset + frame.stored)?;
                let Some(open) = &mut self.open else { return invalid(WHAT, "frames outside of a Cluster") };
                if open.whole {
                    return invalid(WHAT, "frames outside of a Cluster");
                }
                open.bytes += piece.len();
                if open.bytes > MAX_REST {
                    return invalid(WHAT, "more between frames than is taken");
                }
                open.put(piece);
                let stripped = frame.data.len().saturating_sub(frame.stored as usize);
                frame.data = frame.data.slice(stripped..);
                self.ready.push_back(Part::Frame(frame));
            }
            Event::ClusterEnd { .. } => {
                if let Some(open) = &mut self.open {
                    open.whole = true;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mkv::{ebml::*, ids::*};
    use proptest::prelude::*;

    fn file_tags(out: &mut Vec<u8>, name: &str) {
        put_master(out, TAGS, |t| {
            put_master(t, TAG, |t| put_master(t, SIMPLE_TAG, |t| put(t, TAG_NAME, name.as_bytes())));
        });
    }

    /// What producers send: a Segment and Clusters of unknown and known sizes, checksums, laces, tags in between and one
    /// that ends its fragment.
    fn typical_file() -> Vec<u8> {
        let mut out = vec![];
        put_master(&mut out, EBML, |e| put(e, DOC_TYPE, b"matroska"));
        put_void(&mut out, 9);
        put_id(&mut out, SEGMENT);
        out.push(0xff);
        put_void(&mut out, 40);
        put_master(&mut out, INFO, |i| put_uint(i, TIMESTAMP_SCALE, 1_000_000));
        put_master(&mut out, TRACKS, |t| {
            for n in 1..=2 {
                put_master(t, TRACK_ENTRY, |t| {
                    put_uint(t, TRACK_NUMBER, n);
                    put_uint(t, TRACK_TYPE, n);
                    put(t, CODEC_ID, b"V_UNCOMMON");
                });
            }
        });
        file_tags(&mut out, "GENERAL");
        for n in 0..5u64 {
            let mut content = vec![];
            put(&mut content, CRC_32, &[1, 2, 3, 4]);
            put_uint(&mut content, TIMESTAMP, n * 1_000);
            put(&mut content, 0xa7, &[0]);
            for i in 0..20u8 {
                let mut block = vec![0x81 + (i & 1), 0, i, if i == 0 { 0x80 } else { 0 }];
                if i == 7 {
                    block = vec![0x81, 0, i, 0x04, 1];
                }
                block.resize(block.len() + 2 * (30 + usize::from(i) * 10), i);
                put_id(&mut content, SIMPLE_BLOCK);
                put_vint_in(&mut content, block.len() as u64, if n % 2 == 0 { 8 } else { 2 });
                content.extend(block);
            }
            put_master(&mut content, BLOCK_GROUP, |g| {
                put(g, BLOCK, &[0x81, 0, 30, 0, 9, 9, 9]);
                put_uint(g, BLOCK_DURATION, 40);
            });
            put_id(&mut out, CLUSTER);
            if n < 3 {
                out.extend([0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
            } else {
                put_vint_in(&mut out, content.len() as u64, 8);
            }
            out.extend(content);
            file_tags(&mut out, if n == 1 { END_OF_FRAGMENT } else { "MINE" });
            if n == 1 {
                file_tags(&mut out, "LATE");
            }
        }
        put_void(&mut out, 50);
        out
    }

    /// Fragments put together again from what was kept and their frames, and what they began with.
    fn again(data: &[u8], step: usize) -> Result<Vec<(Skeleton, Vec<u8>)>, MediaError> {
        let mut s = Splitter::new(1 << 20);
        let (mut out, mut frames) = (vec![], vec![]);
        let mut take = |s: &mut Splitter| -> Result<(), MediaError> {
            while let Some(p) = s.part()? {
                match p {
                    Part::Frame(f) => frames.push(f.data),
                    Part::End { skeleton, .. } => {
                        assert_eq!(skeleton.pieces.len(), frames.len() + 1);
                        let mut whole = vec![];
                        for (i, piece) in skeleton.pieces.iter().enumerate() {
                            whole.extend_from_slice(piece);
                            whole.extend_from_slice(frames.get(i).map_or(&[][..], |f| f));
                        }
                        frames.clear();
                        out.push((skeleton, whole));
                    }
                    _ => {}
                }
            }
            Ok(())
        };
        for chunk in data.chunks(step.max(1)) {
            s.push(chunk);
            take(&mut s)?;
        }
        s.end()?;
        take(&mut s)?;
        Ok(out)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn not_a_byte_is_lost_however_it_is_cut(step in 1usize..5_000) {
            let file = typical_file();
            let parts = again(&file, step).unwrap();
            prop_assert!(parts.len() > 1);
            let first = &parts[0].0;
            let begin = first.document.len() + first.header.len();
            let rest: usize = parts.iter().map(|p| p.1.len()).sum();
            // But for the head of the Segment.
            let head = file.len() - begin - rest;
            prop_assert!((5..=12).contains(&head), "{}", head);
            prop_assert_eq!(&file[..first.document.len()], &first.document[..]);
            let mut all = first.header.to_vec();
            parts.iter().for_each(|p| all.extend_from_slice(&p.1));
            prop_assert_eq!(&file[first.document.len() + head..], &all[..]);
        }

        #[test]
        fn any_change_is_survived(at in any::<prop::sample::Index>(), to: u8, step in 1usize..3_000) {
            let mut file = typical_file();
            let at = at.index(file.len());
            file[at] = to;
            let _ = again(&file, step);
        }
    }

    #[test]
    fn a_file_that_is_cut_off_says_so() {
        let file = typical_file();
        assert!(again(&file[..file.len() - 40], 1_000).is_err());
        assert!(again(b"no Matroska at all", 3).is_err());
        assert!(again(&[], 1).unwrap().is_empty());
        assert_eq!(again(&file, 777).unwrap().len(), 5);
    }
}
