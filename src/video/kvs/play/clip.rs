//! GetClip: the fragments of a range as one MP4 file.

use access::{Permit, actions};
use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use wire::aws::{AwsError, Call};

use super::{
    ask::{CLOCKS, Form, range},
    session::{Mode, Session},
    window,
};
use crate::{
    By, VideoError,
    kvs::{
        Kvs, error,
        input::{Selector, input},
    },
};

/// Fragments, and bytes of media, of a clip (Kinesis Video Streams quotas: "100 MB", of which this is the larger reading).
const FRAGMENTS: usize = 200;
const BYTES: u64 = 100 << 20;

input! {
    /// API_reader_GetClip
    stream GetClip {
        selector: Selector = "ClipFragmentSelector" => |v, x| {
            v.any("clipFragmentSelector", x).required().nested(|s, v| {
                v.text("fragmentSelectorType", &s.fragment_selector_type).required().one_of(&CLOCKS);
                v.any("timestampRange", &s.timestamp_range).required().nested(|r, v| {
                    v.any("startTimestamp", &r.start_timestamp).required();
                    v.any("endTimestamp", &r.end_timestamp).required();
                });
            });
        };
    }
}

fn too_much(what: String) -> AwsError {
    AwsError::new(
        "ClientLimitExceededException",
        format!("A clip has at most {what}: ask for a shorter range."),
    )
}

impl Kvs {
    /// API_reader_GetClip. Whole fragments; of those that begin at the same producer time the one with the highest number.
    pub(in crate::kvs) async fn get_clip(
        &self,
        _: Call,
        permit: Permit,
        i: GetClip,
    ) -> Result<Response, AwsError> {
        let named = i.stream()?;
        let d = self.described(named.clone()).await?;
        self.video.check(&permit, &[actions::GET_CLIP], &named.0)?;
        if !self.keeps(&d).await? {
            return Err(error::no_retention());
        }
        let v = &self.video;
        let stream = v.streams.get(&d.info.name)?;
        let now = v.world.clock.now();
        let s = i.selector.unwrap_or_default();
        let by = if s.fragment_selector_type.as_deref() == Some("SERVER_TIMESTAMP") {
            By::Server
        } else {
            By::Producer
        };
        let r = s.timestamp_range.unwrap_or_default();
        let mut session = Session::new(&d.info.name, stream.info.uid, Mode::OnDemand, by, now);
        (session.from, session.to) = range(Mode::OnDemand, by, (r.start_timestamp, r.end_timestamp), now)?;
        let most = if self.config.limits { FRAGMENTS } else { v.config.max_range };
        session.most = most + 1;
        let items = window::shown(v, &self.memory, &stream, &session).await?.items;
        if items.len() > most {
            return Err(too_much(format!("{most} fragments")));
        }
        if self.config.limits && items.iter().map(|f| f.media_len()).sum::<u64>() > BYTES {
            return Err(too_much("100 MB".into()));
        }
        // Nothing can be shown before the first key frame.
        let begin = items.iter().position(|f| f.entry.independent).unwrap_or(0);
        let items = &items[begin..];
        let Some(first) = items.first() else {
            return Err(AwsError::with_status(
                404,
                "ResourceNotFoundException",
                "The stream has no fragments in the requested range.",
            ));
        };
        self.playable(&stream, first, Form::File).await?;
        let mut positions: Vec<u64> = items.iter().map(|f| f.position()).collect();
        positions.sort_unstable();
        let clip = v.export_of(stream, positions).await.map_err(|e| match e {
            VideoError::Bad(m) | VideoError::Damaged(_, m) => AwsError::new(
                "InvalidMediaFrameException",
                format!("Frames of the clip cannot be parsed: {m}"),
            ),
            e => e.into(),
        })?;
        let len = clip.len;
        let mut r = Response::new(Body::new(clip.body()));
        r.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
        if let Some(len) = len {
            r.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(len));
        }
        Ok(r)
    }
}
