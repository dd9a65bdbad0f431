//! Tags of streams and signaling channels.

use std::collections::BTreeMap;

use access::Permit;
use serde::Serialize;
use wire::aws::{AwsError, Call, Empty};

use super::{
    Kvs, error,
    input::{Tagged, *},
};

/// Tags of one of them.
const MOST: usize = 50;

/// API_ListTagsForStream, API_ListTagsForResource
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tags {
    tags: BTreeMap<String, String>,
}

/// What the model says of tags beyond their lengths, and what AWS keeps for itself.
pub(super) fn check(tags: &BTreeMap<String, String>) -> Result<(), AwsError> {
    for (k, v) in tags {
        if !letters(k) || !letters(v) || k.to_ascii_lowercase().starts_with("aws:") {
            return Err(error::argument(format!(
                "The tag {k:?} is not valid: letters, digits, spaces and _.:/=+-@ may be in it, and its key may not begin with aws:."
            )));
        }
    }
    if tags.len() > MOST { Err(error::too_many_tags()) } else { Ok(()) }
}

/// The model's `[\p{L}\p{Z}\p{N}_.:/=+\-@]*`.
fn letters(s: &str) -> bool {
    s.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() && !c.is_control() || "_.:/=+-@".contains(c))
}

/// Tags as they come in lists.
pub(super) fn of_list(tags: Option<Vec<Tag>>) -> BTreeMap<String, String> {
    let all = tags.into_iter().flatten();
    all.map(|t| (t.key.unwrap_or_default(), t.value.unwrap_or_default())).collect()
}

impl Kvs {
    /// API_TagStream
    pub(super) async fn tag_stream(&self, _: Call, permit: Permit, i: TagStream) -> Result<Empty, AwsError> {
        self.tag(permit, i.stream()?, i.tags.unwrap_or_default()).await
    }

    /// API_TagResource
    pub(super) async fn tag_resource(
        &self,
        _: Call,
        permit: Permit,
        i: TagResource,
    ) -> Result<Empty, AwsError> {
        let tagged = i.tagged()?;
        let tags = of_list(i.tags);
        match tagged {
            Tagged::Stream(stream) => self.tag(permit, stream, tags).await,
            Tagged::Channel(channel) => {
                drop(permit);
                self.change_channel_tags(channel, |t| t.extend(tags.clone())).await
            }
        }
    }

    /// API_UntagStream
    pub(super) async fn untag_stream(
        &self,
        _: Call,
        permit: Permit,
        i: UntagStream,
    ) -> Result<Empty, AwsError> {
        self.untag(permit, i.stream()?, i.tag_keys.unwrap_or_default()).await
    }

    /// API_UntagResource
    pub(super) async fn untag_resource(
        &self,
        _: Call,
        permit: Permit,
        i: UntagResource,
    ) -> Result<Empty, AwsError> {
        let tagged = i.tagged()?;
        let keys = i.tag_keys.unwrap_or_default();
        match tagged {
            Tagged::Stream(stream) => self.untag(permit, stream, keys).await,
            Tagged::Channel(channel) => {
                drop(permit);
                self.change_channel_tags(channel, |t| t.retain(|k, _| !keys.contains(k))).await
            }
        }
    }

    /// API_ListTagsForStream. All tags make one page.
    pub(super) async fn list_tags_for_stream(
        &self,
        _: Call,
        permit: Permit,
        i: ListTagsForStream,
    ) -> Result<Tags, AwsError> {
        drop(permit);
        Ok(Tags { tags: self.described(i.stream()?).await?.body.kvs.tags })
    }

    /// API_ListTagsForResource
    pub(super) async fn list_tags_for_resource(
        &self,
        _: Call,
        permit: Permit,
        i: ListTagsForResource,
    ) -> Result<Tags, AwsError> {
        drop(permit);
        let tags = match i.tagged()? {
            Tagged::Stream(stream) => self.described(stream).await?.body.kvs.tags,
            Tagged::Channel(channel) => self.channel_tags(&channel).await?,
        };
        Ok(Tags { tags })
    }

    async fn tag(
        &self,
        permit: Permit,
        stream: (String, Option<i64>),
        tags: BTreeMap<String, String>,
    ) -> Result<Empty, AwsError> {
        self.change(permit, stream, None, |b| {
            b.kvs.tags.extend(tags.clone());
            check(&b.kvs.tags)
        })
        .await
    }

    async fn untag(
        &self,
        permit: Permit,
        stream: (String, Option<i64>),
        keys: Vec<String>,
    ) -> Result<Empty, AwsError> {
        self.change(permit, stream, None, |b| {
            b.kvs.tags.retain(|k, _| !keys.contains(k));
            Ok(())
        })
        .await
    }
}
