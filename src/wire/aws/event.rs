//! `application/vnd.amazon.eventstream`: messages of headers and a payload, each with two checksums (Amazon Transcribe
//! Developer Guide, "Event stream encoding"; the headers' meaning: Smithy, "Amazon Event Stream").
//!
//! ```text
//! total length u32 | headers' length u32 | CRC-32 of these 8 bytes | headers | payload | CRC-32 of all before
//! header: length of name u8 | name | type u8 (7: text) | length u16 | text
//! ```

use std::{convert::Infallible, pin::pin};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use serde::Serialize;

use super::{AwsError, Protocol};

/// The content type of the stream.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";
/// A message's parts besides headers and payload.
const AROUND: usize = 16;
/// A header whose value is text.
const TEXT: u8 = 7;

/// One event of a stream.
pub trait Event: Serialize + Send + 'static {
    /// Its name in the model, such as `SubscribeToShardEvent`.
    fn name(&self) -> &'static str;
}

/// One message. Headers' names are at most 255 bytes and their values at most 65,535; what is longer is cut.
pub fn message(headers: &[(&str, &str)], payload: &[u8]) -> Bytes {
    let head: usize = headers.iter().map(|(k, v)| 4 + k.len().min(255) + v.len().min(65_535)).sum();
    let total = AROUND + head + payload.len();
    let mut out = BytesMut::with_capacity(total);
    out.put_u32(u32::try_from(total).unwrap_or(u32::MAX));
    out.put_u32(u32::try_from(head).unwrap_or(u32::MAX));
    out.put_u32(crc32fast::hash(&out));
    for (k, v) in headers {
        let (k, v) = (&k.as_bytes()[..k.len().min(255)], &v.as_bytes()[..v.len().min(65_535)]);
        out.put_u8(k.len() as u8);
        out.put_slice(k);
        out.put_u8(TEXT);
        out.put_u16(v.len() as u16);
        out.put_slice(v);
    }
    out.put_slice(payload);
    out.put_u32(crc32fast::hash(&out));
    out.freeze()
}

fn event(protocol: Protocol, name: &str, payload: &[u8]) -> Bytes {
    let headers =
        [(":event-type", name), (":content-type", protocol.content_type()), (":message-type", "event")];
    message(&headers, payload)
}

fn exception(protocol: Protocol, e: &AwsError) -> Bytes {
    // The model's name of it, which is a little longer than its code elsewhere.
    let name = if e.code == "InternalFailure" { "InternalFailureException" } else { e.code };
    let headers = [
        (":exception-type", name),
        (":content-type", protocol.content_type()),
        (":message-type", "exception"),
    ];
    message(&headers, &protocol.error(e))
}

/// The messages of an answer: `initial-response`, the events, and an exception if it ends with one.
pub(crate) fn frames<E: Event>(
    protocol: Protocol,
    events: impl Stream<Item = Result<E, AwsError>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    let nothing: &[u8] = if protocol == Protocol::Cbor { &[0xa0] } else { b"{}" };
    let first = event(protocol, "initial-response", nothing);
    let rest = stream::unfold(Some(Box::pin(events)), move |events| async move {
        let mut events = events?;
        let next = pin!(events.next()).await?;
        match next.and_then(|e| Ok((e.name(), protocol.encode(&e)?))) {
            Ok((name, payload)) => Some((event(protocol, name, &payload), Some(events))),
            Err(e) => Some((exception(protocol, &e), None)),
        }
    });
    stream::once(std::future::ready(first)).chain(rest).map(Ok)
}
