//! Stills: the latest key frame, or the one at a time. Decoding is somebody else's job ([`Stills`]), done only when
//! a picture is asked for, once for all who ask for the same.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use log::{Query, SharedLog};
use tokio::sync::OnceCell;
use world::{StreamUid, Timestamp};

use crate::{
    KeyFrame, VideoError,
    builder::primary,
    index::time_of,
    store::{By, Fragment},
    streams::Stream,
    tables::Tables,
};

/// Pictures kept.
const MAX_STILLS: usize = 256;
/// Their bytes.
const MAX_BYTES: usize = 32 << 20;
/// Fragments without a key frame that are passed over on the way back.
const MAX_BACK: usize = 64;

/// What a picture comes out as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageForm {
    /// JPEG of a quality from 1 to 100; otherwise PNG.
    pub jpeg: Option<u8>,
    /// Its width and height in pixels; otherwise as large as it is.
    pub size: Option<(u16, u16)>,
}

/// A picture that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// In the form that was asked for.
    pub bytes: Bytes,
    /// Width and height in pixels.
    pub size: (u16, u16),
}

/// Makes pictures of key frames, and other sound of sound; the binary gives one.
#[async_trait::async_trait]
pub trait Stills: Send + Sync + 'static {
    /// A JPEG, scaled to a width if one is given. Errors are sentences for people.
    async fn jpeg(&self, frame: &KeyFrame, width: Option<u32>) -> Result<Bytes, String>;

    /// A picture of the last of some access units, which follow one another in decode order and begin where decoding can
    /// start.
    async fn image(&self, track: &media::Track, data: Bytes, form: ImageForm) -> Result<Image, String> {
        let _ = (track, data, form);
        Err("pictures cannot be decoded here".into())
    }

    /// AAC-LC packets of sound (channels interleaved), each with the number (from 0) of the 1,024 samples that a decoder
    /// gives once it has it; what comes before the first has negative ones.
    async fn aac(&self, pcm: Vec<i16>, rate: u32, channels: u8) -> Result<Vec<(i32, Bytes)>, String> {
        let _ = (pcm, rate, channels);
        Err("sound cannot be encoded here".into())
    }

    /// Opus packets of 20 ms, each with the number (from 0) of the 20 ms of the input that a decoder gives for it once it
    /// has had some before. 8000, 12000, 16000, 24000 or 48000 samples a second.
    async fn opus(&self, pcm: Vec<i16>, rate: u32, channels: u8) -> Result<Vec<(i32, Bytes)>, String> {
        let _ = (pcm, rate, channels);
        Err("sound cannot be encoded here".into())
    }

    /// Decodes packets of sound: of each that gave some, its number from 0 on, and its samples (16-bit little-endian,
    /// channels interleaved).
    async fn pcm(
        &self,
        codec: media::Codec,
        packets: Vec<Bytes>,
        rate: u32,
        channels: u8,
    ) -> Result<Vec<(i32, Bytes)>, String> {
        let _ = (codec, packets, rate, channels);
        Err("sound cannot be decoded here".into())
    }
}

type Key = (StreamUid, Timestamp, Option<u32>);
type Cell = Arc<OnceCell<Bytes>>;

/// Pictures made lately.
#[derive(Default)]
pub(crate) struct Album(Mutex<VecDeque<(Key, Cell)>>);

impl Album {
    /// The picture of a frame. Whoever asks for the same meanwhile waits for the same.
    pub async fn get(
        &self,
        stills: &dyn Stills,
        uid: StreamUid,
        frame: &KeyFrame,
        width: Option<u32>,
    ) -> Result<Bytes, VideoError> {
        let cell = self.cell((uid, frame.time, width));
        let made = cell.get_or_try_init(|| stills.jpeg(frame, width)).await;
        made.cloned().map_err(VideoError::Picture)
    }

    fn cell(&self, key: Key) -> Cell {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(i) = all.iter().position(|(k, _)| *k == key)
            && let Some(found) = all.remove(i)
        {
            let cell = found.1.clone();
            all.push_back(found);
            return cell;
        }
        let size = |c: &Cell| c.get().map_or(0, Bytes::len);
        let mut bytes: usize = all.iter().map(|(_, c)| size(c)).sum();
        while all.len() >= MAX_STILLS || bytes > MAX_BYTES {
            let Some((_, old)) = all.pop_front() else { break };
            bytes -= size(&old).min(bytes);
        }
        let cell = Cell::default();
        all.push_back((key, cell.clone()));
        cell
    }
}

/// The latest key frame, or the last one shown at or before a time by the producer's clock.
pub(crate) async fn key_frame(
    log: &SharedLog,
    tables: &Tables,
    stream: &Stream,
    at: Option<Timestamp>,
) -> Result<Option<KeyFrame>, VideoError> {
    if let Some(k) = stream.live.key_frame()
        && at.is_none_or(|at| at >= k.time)
    {
        return Ok(Some(k));
    }
    let mut query = match at {
        None => Query::Positions(0, u64::MAX),
        Some(at) => Query::Producer(Timestamp::MIN, at),
    };
    for _ in 0..MAX_BACK {
        let Some(f) = stream.end(log, query, true).await? else { return Ok(None) };
        if let Some(k) = of_fragment(log, tables, stream, &f, at.unwrap_or(Timestamp::MAX)).await? {
            return Ok(Some(k));
        }
        let Some(before) = f.position().checked_sub(1) else { return Ok(None) };
        query = Query::Positions(0, before);
    }
    Ok(None)
}

/// The last key frame of a fragment up to a time.
async fn of_fragment(
    log: &SharedLog,
    tables: &Tables,
    stream: &Stream,
    f: &Fragment,
    at: Timestamp,
) -> Result<Option<KeyFrame>, VideoError> {
    if f.entry.key.is_none() || f.start(By::Producer) > at {
        return Ok(None);
    }
    let table = tables.get(log, stream, f).await?;
    let Some(track) = primary(&table.tracks).and_then(|id| table.tracks.iter().find(|t| t.id == id)) else {
        return Ok(None);
    };
    let key = table
        .samples
        .iter()
        .filter(|s| s.track == track.id && s.access != media::RandomAccess::None)
        .map(|s| (time_of(s.pts, track.timescale), s))
        .rfind(|(time, _)| *time <= at);
    let Some((time, s)) = key else { return Ok(None) };
    let data = log.read_payload(&f.payload, s.offset..s.offset + u64::from(s.len)).await;
    Ok(Some(KeyFrame { track: track.clone(), data: data.map_err(|e| stream.log_error(e))?, time }))
}
