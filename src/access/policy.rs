//! What each principal may do. The policy language will take this place.

use world::{Arn, Home};

use crate::{Action, Principal, actions};

const PUBLISH: &[Action] = &[actions::PUT_MEDIA, actions::DESCRIBE_STREAM];
const VIEW: &[Action] = &[
    actions::DESCRIBE_STREAM,
    actions::GET_MEDIA,
    actions::LIST_FRAGMENTS,
    actions::GET_HLS_STREAMING_SESSION_URL,
    actions::GET_DASH_STREAMING_SESSION_URL,
    actions::GET_IMAGES,
];

pub(crate) fn permits(home: &Home, principal: &Principal, action: Action, resource: &Arn) -> bool {
    match principal {
        Principal::Root | Principal::Server => account(resource) == Some(&home.account),
        Principal::Publisher { stream } => PUBLISH.contains(&action) && is_stream(home, resource, stream),
        Principal::Viewer { stream } => VIEW.contains(&action) && is_stream(home, resource, stream),
    }
}

/// `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`
fn account(arn: &Arn) -> Option<&str> {
    let mut parts = arn.0.splitn(6, ':');
    let (arn, account) = (parts.next()?, parts.nth(3)?);
    parts.next().filter(|r| !r.is_empty() && arn == "arn").map(|_| account)
}

/// Whether it is that video stream: `stream/NAME/*` as asked for by name, or `stream/NAME/CREATED` in full.
fn is_stream(home: &Home, arn: &Arn, name: &str) -> bool {
    let full = arn.0.strip_prefix(&home.arn("kinesisvideo", "stream/").0);
    full.and_then(|r| r.strip_prefix(name)?.strip_prefix('/'))
        .is_some_and(|made| made == "*" || (!made.is_empty() && made.bytes().all(|b| b.is_ascii_digit())))
}

/// A stream's name as AWS has it: 1 to 256 of `a-z A-Z 0-9 _ . -`.
pub(crate) fn is_stream_name(name: &str) -> bool {
    (1..=256).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}
