//! GetImages: pictures at moments, each decoded from the key frame before it up to the very one, and only when asked for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use access::{Permit, actions};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use media::{Codec, RandomAccess, Track};
use serde::{Deserialize, Serialize};
use wire::aws::{AwsError, Call, Pattern, Time};
use world::Timestamp;

use super::ask::CLOCKS;
use crate::{
    By, Fragment, Image as Picture, ImageForm, VideoError,
    builder::primary,
    index::time_of,
    kvs::{
        Kvs, error,
        input::input,
        settings::{often_enough, quality},
    },
    mp4::damaged,
    streams::Stream,
};

static NEXT: Pattern = Pattern::new("[a-zA-Z0-9+/]+={0,2}");
/// Milliseconds between images unless asked otherwise.
const INTERVAL: i64 = 3000;
/// The longest range.
const LONGEST: Duration = Duration::from_secs(300);
/// Images of an answer unless asked otherwise.
const PAGE: usize = 25;
/// Letters of Base64 in an answer.
const MOST_LETTERS: usize = 6_291_456;
/// Images made at one time for one request.
const AT_ONCE: usize = 2;
/// Bytes that are decoded for one image.
const MOST_BYTES: u64 = 40 << 20;
/// JPEG's quality unless asked otherwise.
const QUALITY: u8 = 80;
/// Fragments of a range.
const FRAGMENTS: usize = 5_000;

input! {
    /// API_reader_GetImages
    stream GetImages {
        by: String = "ImageSelectorType" => |v, x| { v.text("imageSelectorType", x).required().one_of(&CLOCKS); };
        start: Time = "StartTimestamp" => |v, x| { v.any("startTimestamp", x).required(); };
        end: Time = "EndTimestamp" => |v, x| { v.any("endTimestamp", x).required(); };
        interval: i64 = "SamplingInterval";
        format: String = "Format" => |v, x| { v.text("format", x).required().one_of(&["JPEG", "PNG"]); };
        config: BTreeMap<String, String> = "FormatConfig" => |v, x| { v.map("formatConfig", x).count(1, 1).values_length(0, 256); };
        width: i64 = "WidthPixels" => |v, x| { v.number("widthPixels", x).range(1, 3840); };
        height: i64 = "HeightPixels" => |v, x| { v.number("heightPixels", x).range(1, 2160); };
        most: i64 = "MaxResults" => |v, x| { v.number("maxResults", x).range(1, 100); };
        next_token: String = "NextToken" => |v, x| { v.text("nextToken", x).pattern(&NEXT).length(1, 4096); };
    }
}

/// API_reader_Image
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    time_stamp: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_content: Option<String>,
}

/// API_reader_GetImages
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Images {
    images: Vec<Image>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// Where the next page begins, and of what.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Page {
    stream: String,
    start: Timestamp,
    end: Timestamp,
    interval: i64,
    next: usize,
}

/// Why there is no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    NoMedia,
    MediaError,
}

impl GetImages {
    /// What the images come out as; what the model does not say of it.
    fn form(&self) -> Result<ImageForm, AwsError> {
        quality(&self.config).map_err(error::argument)?;
        let jpeg = match self.format.as_deref() {
            Some("PNG") if self.config.is_some() => {
                return Err(error::argument("FormatConfig is not supported for the format PNG."));
            }
            Some("PNG") => None,
            _ => {
                let said = self.config.iter().flatten().find_map(|(_, v)| v.parse().ok());
                Some(said.unwrap_or(QUALITY))
            }
        };
        let side = |n: i64| u16::try_from(n).unwrap_or(u16::MAX);
        let size = match (self.width, self.height) {
            (Some(w), Some(h)) => Some((side(w), side(h))),
            (None, None) => None,
            _ => return Err(error::argument("WidthPixels and HeightPixels must be provided together.")),
        };
        Ok(ImageForm { jpeg, size })
    }
}

impl Kvs {
    /// API_reader_GetImages
    pub(in crate::kvs) async fn get_images(
        &self,
        _: Call,
        permit: Permit,
        i: GetImages,
    ) -> Result<Images, AwsError> {
        let (name, made) = i.stream()?;
        let d = self.described((name.clone(), made)).await?;
        self.video.check(&permit, &[actions::GET_IMAGES], &name)?;
        if !self.keeps(&d).await? {
            return Err(error::no_retention());
        }
        let form = i.form()?;
        let by = if i.by.as_deref() == Some("SERVER_TIMESTAMP") { By::Server } else { By::Producer };
        let (start, end) = (i.start.unwrap_or_default().0, i.end.unwrap_or_default().0);
        if end < start {
            return Err(error::argument("EndTimestamp must not be before StartTimestamp."));
        }
        if end.since(start) > LONGEST {
            return Err(error::argument("EndTimestamp must be within 300 seconds of StartTimestamp."));
        }
        let interval = i.interval.unwrap_or(INTERVAL);
        often_enough(interval).map_err(error::argument)?;
        let stream = self.video.streams.get(&name)?;
        let page = |next| Page { stream: stream.info.uid.to_string(), start, end, interval, next };
        let begin = match &i.next_token {
            None => 0,
            Some(t) => {
                let p: Page = self.open_token("get-images", t)?;
                if p != page(p.next) {
                    return Err(error::argument("The NextToken is of another request."));
                }
                p.next
            }
        };
        let step = Duration::from_millis(u64::try_from(interval).unwrap_or(1));
        // The first in any case, the others as long as they lie before the end.
        let all =
            usize::try_from(end.since(start).as_millis().div_ceil(step.as_millis())).unwrap_or(0).max(1);
        let most = i.most.and_then(|n| usize::try_from(n).ok()).unwrap_or(PAGE);
        let moments: Vec<Timestamp> =
            (begin..all.min(begin + most)).map(|n| start + step * u32::try_from(n).unwrap_or(0)).collect();
        let fragments = match (moments.first(), moments.last()) {
            (Some(a), Some(b)) => stream.range(&self.video.log, by, *a, *b, FRAGMENTS).await?.items,
            _ => Vec::new(),
        };
        let (mut images, mut sizes, mut letters) = (Vec::with_capacity(moments.len()), Vec::new(), 0);
        let mut making = futures_util::stream::iter(moments.clone())
            .map(|t| self.image(&stream, &fragments, by, t, form))
            .buffered(AT_ONCE);
        while let Some(made) = making.next().await {
            let time_stamp = Time(moments[images.len()]);
            let image = match made? {
                Ok(i) if i.bytes.len().div_ceil(3) * 4 > MOST_LETTERS => Err(Missing::MediaError),
                made => made,
            };
            let size = image.as_ref().ok().map(|i| i.size);
            let (error, image_content) = match image {
                Ok(i) => (None, Some(STANDARD.encode(&i.bytes))),
                Err(Missing::NoMedia) => (Some("NO_MEDIA"), None),
                Err(Missing::MediaError) => (Some("MEDIA_ERROR"), None),
            };
            letters += image_content.as_ref().map_or(0, String::len);
            if letters > MOST_LETTERS {
                break;
            }
            images.push(Image { time_stamp, error, image_content });
            sizes.extend(size);
        }
        drop(making);
        sizes.into_iter().for_each(|size| stream.meter.image(size));
        let next = begin + images.len();
        let next_token = (next < all).then(|| self.seal_token("get-images", &page(next)));
        Ok(Images { images, next_token })
    }

    /// What is shown at a moment.
    async fn image(
        &self,
        stream: &Stream,
        fragments: &[Arc<Fragment>],
        by: By,
        at: Timestamp,
        form: ImageForm,
    ) -> Result<Result<Picture, Missing>, AwsError> {
        let here =
            |f: &Arc<Fragment>| f.start(by) <= at && at < f.end(by) && f.entry.tracks.iter().any(|t| t.video);
        // Of several the newest.
        let Some(n) = fragments.iter().rposition(here) else { return Ok(Err(Missing::NoMedia)) };
        let local = fragments[n].start(By::Producer) + at.since(fragments[n].start(by));
        let found = match self.units(stream, &fragments[..=n], local).await {
            Ok(found) => found,
            Err(VideoError::Gone(_)) => return Ok(Err(Missing::NoMedia)),
            Err(VideoError::Damaged(..)) => return Ok(Err(Missing::MediaError)),
            Err(e) => return Err(e.into()),
        };
        let (Some((track, data)), Some(stills)) = (found, &self.video.stills) else {
            return Ok(Err(Missing::MediaError));
        };
        Ok(stills.image(&track, data, form).await.map_err(|e| {
            tracing::debug!(stream = stream.name(), error = e, "no image");
            Missing::MediaError
        }))
    }

    /// The access units, in decode order, from where decoding can start up to the picture that is shown at a moment of the last
    /// fragment. None: there is nothing to start with.
    async fn units(
        &self,
        stream: &Stream,
        fragments: &[Arc<Fragment>],
        at: Timestamp,
    ) -> Result<Option<(Arc<Track>, Bytes)>, VideoError> {
        let v = &self.video;
        let mut parts: Vec<Bytes> = Vec::new();
        let (mut wanted, mut after): (Option<(Arc<Track>, i64)>, Option<&Fragment>) = (None, None);
        for f in fragments.iter().rev() {
            let joined = after.is_none_or(|a| {
                a.entry.ordinal == f.entry.ordinal.saturating_add(1)
                    && a.entry.discontinuities == f.entry.discontinuities
            });
            let table = v.tables.get(&v.log, stream, f).await?;
            let track = primary(&table.tracks).and_then(|id| table.tracks.iter().find(|t| t.id == id));
            let (Some(track), true) = (track, joined) else { return Ok(None) };
            let samples: Vec<_> = table.samples.iter().filter(|s| s.track == track.id).collect();
            let (pts, end) = match &wanted {
                // Of the fragment that it is in, up to the picture itself.
                None => {
                    let shown = |s: &&&media::Sample| time_of(s.pts, track.timescale) <= at;
                    let last = samples.iter().filter(shown).map(|s| s.pts).max();
                    let first = samples.iter().map(|s| s.pts).min();
                    let Some(pts) = last.or(first) else { return Ok(None) };
                    let end = samples.iter().position(|s| s.pts == pts).map_or(0, |i| i + 1);
                    wanted = Some((track.clone(), pts));
                    (pts, end)
                }
                Some((as_before, pts)) if as_before == track => (*pts, samples.len()),
                Some(_) => return Ok(None),
            };
            // Pictures that are shown before a key frame but follow it need the one before.
            let begin = samples[..end].iter().rposition(|s| s.access != RandomAccess::None && s.pts <= pts);
            // Frames of these do not say where they end: a key frame stands for what follows it.
            let alone = matches!(track.codec, Codec::VP8 | Codec::VP9);
            if alone && begin.is_none() {
                after = Some(f);
                continue;
            }
            let end = begin.filter(|_| alone).map_or(end, |b| b + 1);
            let used = &samples[begin.unwrap_or(0)..end];
            let (Some(a), Some(b)) =
                (used.iter().map(|s| s.offset).min(), used.iter().map(|s| s.offset + u64::from(s.len)).max())
            else {
                return Ok(None);
            };
            let so_far: usize = parts.iter().map(Bytes::len).sum();
            if so_far as u64 + (b - a) > MOST_BYTES {
                return Err(damaged(stream.name(), f.position())(media::MediaError::Invalid {
                    what: "a group of pictures",
                    why: "it is too long to be decoded for one image",
                }));
            }
            let bytes = v.log.read_payload(&f.payload, a..b).await.map_err(|e| stream.log_error(e))?;
            let mut joined = BytesMut::with_capacity(bytes.len());
            for s in used {
                let from = (s.offset - a) as usize;
                joined.extend_from_slice(&bytes[from..from + s.len as usize]);
            }
            parts.push(joined.freeze());
            if begin.is_some() {
                parts.reverse();
                return Ok(wanted.map(|(track, _)| (track, parts.concat().into())));
            }
            after = Some(f);
        }
        Ok(None)
    }
}
