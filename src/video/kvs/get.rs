//! GetMedia, GetMediaForFragmentList and ListFragments.

use std::{convert::Infallible, sync::Arc, vec};

use access::{Permit, actions};
use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::stream;
use log::{Head, Query};
use media::mkv;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, watch};
use wire::aws::{AwsError, Call, Pattern, Shown, Time};
use world::Timestamp;

use super::{
    Kvs, error, find,
    input::{Selector, input},
    number,
    rates::Bucket,
};
use crate::{By, Fragment, VideoError, streams::Stream};

static NUMBER: Pattern = Pattern::new("^[0-9]+$");
static TOKEN: Pattern = Pattern::new(r"^[a-zA-Z0-9_\.\-]+$");
static NEXT: Pattern = Pattern::new("[a-zA-Z0-9+/]+={0,2}");
const CLOCKS: [&str; 2] = ["PRODUCER_TIMESTAMP", "SERVER_TIMESTAMP"];
const SELECTORS: [&str; 6] =
    ["FRAGMENT_NUMBER", "SERVER_TIMESTAMP", "PRODUCER_TIMESTAMP", "NOW", "EARLIEST", "CONTINUATION_TOKEN"];
/// Fragments on a page unless asked for otherwise (API_reader_ListFragments).
const PAGE: usize = 100;
/// Entries read at once while following.
const AHEAD: usize = 32;
/// How long after a fragment's receipt began it may have arrived at the latest.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(120);

/// API_dataplane_StartSelector
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct StartSelector {
    start_selector_type: Option<String>,
    after_fragment_number: Option<String>,
    start_timestamp: Option<Time>,
    continuation_token: Option<String>,
}
impl Shown for StartSelector {}

input! {
    /// API_dataplane_GetMedia
    stream GetMedia {
        selector: StartSelector = "StartSelector" => |v, x| {
            v.any("startSelector", x).required().nested(|s, v| {
                v.text("startSelectorType", &s.start_selector_type).required().one_of(&SELECTORS);
                v.text("afterFragmentNumber", &s.after_fragment_number).pattern(&NUMBER).length(1, 128);
                v.text("continuationToken", &s.continuation_token).pattern(&TOKEN).length(1, 128);
            });
        };
    }
}
input! {
    /// API_reader_GetMediaForFragmentList
    stream GetMediaForFragmentList {
        fragments: Vec<String> = "Fragments" ["wire::aws::few"] => |v, x| { v.list("fragments", x).required().count(1, 1000).each_length(1, 128); };
    }
}
input! {
    /// API_reader_ListFragments
    stream ListFragments {
        max_results: i64 = "MaxResults" => |v, x| { v.number("maxResults", x).range(1, 1000); };
        next_token: String = "NextToken" => |v, x| { v.text("nextToken", x).pattern(&NEXT).length(1, 4096); };
        selector: Selector = "FragmentSelector" => |v, x| {
            v.any("fragmentSelector", x).nested(|s, v| {
                v.text("fragmentSelectorType", &s.fragment_selector_type).required().one_of(&CLOCKS);
                v.any("timestampRange", &s.timestamp_range).required().nested(|r, v| {
                    v.any("startTimestamp", &r.start_timestamp).required();
                    v.any("endTimestamp", &r.end_timestamp).required();
                });
            });
        };
    }
}

/// API_reader_Fragment
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    fragment_number: String,
    fragment_size_in_bytes: u64,
    producer_timestamp: Time,
    server_timestamp: Time,
    fragment_length_in_milliseconds: i64,
}

/// API_reader_ListFragments
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListOutput {
    fragments: Vec<Listed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// Where the next page begins, and of what.
#[derive(Serialize, Deserialize)]
struct Page {
    uid: String,
    from: u64,
    to: u64,
    range: Option<(By, Timestamp, Timestamp)>,
}

fn clock(s: Option<&str>) -> By {
    if s == Some("SERVER_TIMESTAMP") { By::Server } else { By::Producer }
}

/// A time to the millisecond that is nearest.
fn time(t: Timestamp) -> Time {
    Time(Timestamp::from_millis(find::round(t)))
}

fn webm<S>(stream: &Stream, chunks: S) -> Response
where
    S: futures_util::Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
{
    let mut r = Response::new(Body::from_stream(stream.meter.out().through(chunks)));
    r.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("video/webm"));
    r
}

/// What goes wrong in the middle, as the service tells it.
fn failure(id: u16, code: &str) -> Bytes {
    mkv::tags(&[("AWS_KINESISVIDEO_ERROR_CODE", code), ("AWS_KINESISVIDEO_ERROR_ID", &id.to_string())])
}

fn told(e: &VideoError) -> Bytes {
    match e {
        VideoError::Gone(_) | VideoError::NoMedia(_) => failure(4000, "FRAGMENT_NOT_FOUND"),
        VideoError::Log(_, log::LogError::Key(..)) => failure(4503, "KMS_KEY_UNAVAILABLE"),
        _ => failure(5000, "INTERNAL_ERROR"),
    }
}

impl Kvs {
    /// The stream, and one of so many connections to it.
    fn reader(
        &self,
        name: &str,
        of: fn(&Stream) -> &Arc<tokio::sync::Semaphore>,
        code: &'static str,
    ) -> Result<(Arc<Stream>, Option<OwnedSemaphorePermit>), AwsError> {
        let stream = self.video.streams.get(name)?;
        if !self.config.limits {
            return Ok((stream, None));
        }
        match of(&stream).clone().try_acquire_owned() {
            Ok(p) => Ok((stream, Some(p))),
            Err(_) => {
                Err(AwsError::new(code, "The limit of concurrent connections to the stream is exceeded."))
            }
        }
    }

    /// API_dataplane_GetMedia
    pub(super) async fn get_media(&self, _: Call, permit: Permit, i: GetMedia) -> Result<Response, AwsError> {
        let (name, made) = i.stream()?;
        self.described((name.clone(), made)).await?;
        self.video.check(&permit, &[actions::GET_MEDIA], &name)?;
        let s = i.selector.unwrap_or_default();
        if self.config.limits {
            self.video.streams.get(&name)?.get_calls.call(self.video.world.clock.monotonic())?;
        }
        let (stream, place) = self.reader(&name, |s| &s.getting, "ConnectionLimitExceededException")?;
        let log = &self.video.log;
        let head = log.watch(stream.shard).map_err(|e| stream.log_error(e))?;
        let next = head.borrow().next;
        let missing = |what: &str| error::argument(format!("The StartSelector needs {what}."));
        let at = |f: Option<Arc<Fragment>>| f.map_or(next, |f| f.position());
        let number = match s.start_selector_type.as_deref() {
            Some("FRAGMENT_NUMBER") => {
                Some(s.after_fragment_number.ok_or_else(|| missing("AfterFragmentNumber"))?)
            }
            Some("CONTINUATION_TOKEN") => {
                Some(s.continuation_token.ok_or_else(|| missing("ContinuationToken"))?)
            }
            _ => None,
        };
        let from = match (s.start_selector_type.as_deref(), &number) {
            (_, Some(n)) => match number::parse(stream.info.uid, n) {
                Some(n) => at(self.at_number(&stream, n.saturating_add(1)).await?),
                None => {
                    let error = failure(4000, "FRAGMENT_NOT_FOUND");
                    return Ok(webm(&stream, stream::once(std::future::ready(Ok(error)))));
                }
            },
            (Some(by @ ("SERVER_TIMESTAMP" | "PRODUCER_TIMESTAMP")), _) => {
                let from = s.start_timestamp.ok_or_else(|| missing("StartTimestamp"))?.0;
                at(self.at_time(&stream, clock(Some(by)), from).await?)
            }
            (Some("EARLIEST"), _) => 0,
            // The newest, and what comes after it.
            _ => at(stream.last(log).await?),
        };
        let following = Following {
            kvs: self.clone(),
            stream: stream.clone(),
            head,
            at: from,
            stopping: self.stopping.subscribe(),
            page: Vec::new().into_iter(),
            ready: Vec::new().into_iter(),
            over: false,
            rate: self.config.limits.then(Bucket::get),
            _place: place,
        };
        let chunks = stream::unfold(following, |mut f| async move { f.next().await.map(|b| (Ok(b), f)) });
        Ok(webm(&stream, chunks))
    }

    /// API_reader_GetMediaForFragmentList. In the order of their numbers.
    pub(super) async fn get_media_for_list(
        &self,
        _: Call,
        permit: Permit,
        i: GetMediaForFragmentList,
    ) -> Result<Response, AwsError> {
        let (name, made) = i.stream()?;
        self.described((name.clone(), made)).await?;
        self.video.check(&permit, &[actions::GET_MEDIA_FOR_FRAGMENT_LIST], &name)?;
        let (stream, place) = self.reader(&name, |s| &s.listing, "ClientLimitExceededException")?;
        let mut wanted = i.fragments.unwrap_or_default();
        wanted.sort();
        wanted.dedup();
        let mut found = Vec::with_capacity(wanted.len());
        for n in &wanted {
            if !NUMBER.matches(n) {
                return Err(error::argument(format!("{n:?} is not a fragment number.")));
            }
            let f = self.by_number(&stream, n).await?;
            found.push(f.ok_or_else(|| {
                AwsError::with_status(
                    404,
                    "ResourceNotFoundException",
                    format!("The fragment {n} is not found in the stream {name}."),
                )
            })?);
        }
        let state = (self.clone(), stream.clone(), found.into_iter(), Vec::new().into_iter(), place);
        let chunks = stream::unfold(state, |(kvs, stream, mut found, mut ready, place)| async move {
            loop {
                if let Some(b) = ready.next() {
                    return Some((Ok(b), (kvs, stream, found, ready, place)));
                }
                let f: Arc<Fragment> = found.next()?;
                let made = kvs.matroska(&stream, &f).await;
                ready = match made {
                    Ok(parts) => parts.into_iter(),
                    Err(e) => {
                        tracing::warn!(stream = stream.name(), error = %e, "a fragment could not be given out");
                        found = Vec::new().into_iter();
                        vec![told(&e)].into_iter()
                    }
                };
            }
        });
        Ok(webm(&stream, chunks))
    }

    /// API_reader_ListFragments. By position.
    pub(super) async fn list_fragments(
        &self,
        _: Call,
        permit: Permit,
        i: ListFragments,
    ) -> Result<ListOutput, AwsError> {
        let (name, made) = i.stream()?;
        self.described((name.clone(), made)).await?;
        self.video.check(&permit, &[actions::LIST_FRAGMENTS], &name)?;
        let stream = self.video.streams.get(&name)?;
        let log = &self.video.log;
        let uid = stream.info.uid.to_string();
        let page = match &i.next_token {
            Some(t) => self.open_token::<Page>("list-fragments", t)?,
            None => {
                let range = i.selector.map(|s| {
                    let r = s.timestamp_range.unwrap_or_default();
                    let at = |t: Option<Time>| t.unwrap_or_default().0;
                    (clock(s.fragment_selector_type.as_deref()), at(r.start_timestamp), at(r.end_timestamp))
                });
                if range.is_some_and(|(_, from, to)| from > to) {
                    return Err(error::argument("StartTimestamp must not be after EndTimestamp."));
                }
                let ms = std::time::Duration::from_millis(1);
                let q = match range {
                    None => Query::Positions(0, u64::MAX),
                    Some((By::Producer, from, to)) => Query::Producer(from - ms, to + ms),
                    Some((By::Server, from, to)) => Query::Arrival(from - ms, to + LONGEST),
                };
                let (first, last) = (stream.end(log, q, false).await?, stream.end(log, q, true).await?);
                match (first, last) {
                    (Some(a), Some(b)) => {
                        Page { uid: uid.clone(), from: a.position(), to: b.position(), range }
                    }
                    _ => return Ok(ListOutput { fragments: Vec::new(), next_token: None }),
                }
            }
        };
        if page.uid != uid {
            return Err(error::argument("The value of NextToken is not valid."));
        }
        let most = i.max_results.and_then(|n| usize::try_from(n).ok()).unwrap_or(PAGE);
        let (mut found, mut from, mut more) = (Vec::new(), page.from, false);
        'pages: while from <= page.to {
            let some = stream.page(log, from, page.to, most + 1).await?;
            if some.is_empty() {
                break;
            }
            for f in some {
                if !page.range.is_none_or(|(by, a, b)| find::within(&f, by, (a, b))) {
                    from = f.position() + 1;
                    continue;
                }
                if found.len() == most {
                    (from, more) = (f.position(), true);
                    break 'pages;
                }
                from = f.position() + 1;
                found.push(f);
            }
        }
        let next_token = more
            .then(|| self.seal_token("list-fragments", &Page { from, uid, to: page.to, range: page.range }));
        let fragments = found
            .iter()
            .map(|f| Listed {
                fragment_number: number::of(stream.info.uid, f),
                fragment_size_in_bytes: f.table_from(),
                producer_timestamp: time(f.start(By::Producer)),
                server_timestamp: time(find::server_start(f)),
                fragment_length_in_milliseconds: i64::try_from(f.duration().as_millis()).unwrap_or(i64::MAX),
            })
            .collect();
        Ok(ListOutput { fragments, next_token })
    }
}

/// A reader that follows a stream.
struct Following {
    kvs: Kvs,
    stream: Arc<Stream>,
    head: watch::Receiver<Head>,
    /// The next position that is looked at.
    at: u64,
    stopping: watch::Receiver<bool>,
    page: vec::IntoIter<Arc<Fragment>>,
    ready: vec::IntoIter<Bytes>,
    over: bool,
    rate: Option<Bucket>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Following {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(b) = self.ready.next() {
                if let Some(rate) = &self.rate {
                    let clock = &self.kvs.video.world.clock;
                    let wait = rate.owe(b.len() as f64, clock.monotonic());
                    if !wait.is_zero() {
                        clock.sleep(wait).await;
                    }
                }
                return Some(b);
            }
            if self.over {
                return None;
            }
            match self.fragment().await {
                Ok(Some(parts)) => self.ready = parts.into_iter(),
                Ok(None) => return None,
                Err(e) => {
                    tracing::warn!(stream = self.stream.name(), error = %e, "GetMedia ends");
                    self.over = true;
                    return Some(told(&e));
                }
            }
        }
    }

    /// The next fragment; waits for it. None: it is over.
    async fn fragment(&mut self) -> Result<Option<Vec<Bytes>>, VideoError> {
        let v = self.kvs.video.clone();
        let f = loop {
            if let Some(f) = self.page.next() {
                self.at = f.position() + 1;
                break f;
            }
            let next = self.head.borrow_and_update().next;
            if self.at < next {
                let page = self.stream.page(&v.log, self.at, next - 1, AHEAD).await?;
                if page.is_empty() {
                    self.at = next;
                }
                self.page = page.into_iter();
                continue;
            }
            tokio::select! {
                changed = self.head.changed() => if changed.is_err() { return Ok(None) },
                _ = self.stopping.wait_for(|s| *s) => return Ok(None),
            }
            if self.stream.deleted.load(std::sync::atomic::Ordering::Relaxed) {
                return Ok(None);
            }
        };
        let mut parts = self.kvs.matroska(&self.stream, &f).await?;
        let now = v.world.clock.now();
        let behind = now.since(f.payload.arrival).as_millis().to_string();
        let number = number::of(self.stream.info.uid, &f);
        parts.push(mkv::tags(&[
            ("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", &behind),
            ("AWS_KINESISVIDEO_CONTINUATION_TOKEN", &number),
        ]));
        Ok(Some(parts))
    }
}
