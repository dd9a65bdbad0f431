//! Tags of streams and of their consumers.

use std::{collections::BTreeMap, sync::Arc};

use access::Permit;
use serde::Serialize;
use wire::aws::{AwsError, Empty};
use world::Home;

use crate::{
    body::Status,
    error, input,
    service::{DataStreams, consumer_parts},
    stream::Stream,
};

/// Tags of a resource.
const TAGS: usize = 50;

/// API_Tag
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    key: String,
    value: String,
}

/// API_ListTagsForStream
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTagsForStreamOutput {
    tags: Vec<Tag>,
    has_more_tags: bool,
}

/// API_ListTagsForResource
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTagsForResourceOutput {
    tags: Vec<Tag>,
}

/// Whether these may be a resource's tags; `there`: how many others it has.
pub(crate) fn check_tags(
    name: &str,
    home: &Home,
    tags: &BTreeMap<String, String>,
    there: usize,
) -> Result<(), AwsError> {
    let fine =
        |s: &str| s.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c));
    if !tags.iter().all(|(k, v)| fine(k) && fine(v)) {
        return Err(error::argument(
            "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . : / = + - @.",
        ));
    }
    if tags.keys().any(|k| k.to_ascii_lowercase().starts_with("aws:")) {
        return Err(error::argument("Tag keys beginning with \"aws:\" are reserved."));
    }
    if there + tags.len() > TAGS {
        return Err(error::argument(format!(
            "Failed to add tags to stream {name} under account {} because a given stream cannot have more than {TAGS} tags associated with it.",
            home.account
        )));
    }
    Ok(())
}

fn listed(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(k, v)| Tag { key: k.clone(), value: v.clone() }).collect()
}

impl DataStreams {
    /// Changes a stream's tags; not before it is made (API_CreateStream).
    async fn change_tags(
        &self,
        stream: &Stream,
        f: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), AwsError> + Send,
    ) -> Result<Empty, AwsError> {
        stream
            .change(&self.inner.tools, |b, _| {
                if matches!(b.status, Status::Creating | Status::Deleting) {
                    return Err(error::not_active(&self.inner.home, &stream.name, b.status));
                }
                f(&mut b.tags).map(|()| Empty {})
            })
            .await
    }

    async fn add_tags(&self, stream: &Stream, tags: BTreeMap<String, String>) -> Result<Empty, AwsError> {
        self.change_tags(stream, |its| {
            let there = its.keys().filter(|k| !tags.contains_key(*k)).count();
            check_tags(&stream.name, &self.inner.home, &tags, there)?;
            its.extend(tags);
            Ok(())
        })
        .await
    }

    async fn remove_tags(&self, stream: &Stream, keys: &[String]) -> Result<Empty, AwsError> {
        self.change_tags(stream, |its| {
            its.retain(|k, _| !keys.contains(k));
            Ok(())
        })
        .await
    }

    /// API_AddTagsToStream
    pub async fn add_tags_to_stream(
        &self,
        permit: Permit,
        i: input::AddTagsToStream,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        self.account_call("AddTagsToStream", 5.0)?;
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        self.add_tags(&stream, i.tags.unwrap_or_default()).await
    }

    /// API_RemoveTagsFromStream
    pub async fn remove_tags_from_stream(
        &self,
        permit: Permit,
        i: input::RemoveTagsFromStream,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        self.account_call("RemoveTagsFromStream", 5.0)?;
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        let keys = i.tag_keys.unwrap_or_default();
        self.remove_tags(&stream, &keys).await
    }

    /// API_ListTagsForStream
    pub async fn list_tags_for_stream(
        &self,
        permit: Permit,
        i: input::ListTagsForStream,
    ) -> Result<ListTagsForStreamOutput, AwsError> {
        drop(permit);
        self.account_call("ListTagsForStream", 5.0)?;
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        let tags = stream.read().body.tags.clone();
        let after = i.exclusive_start_tag_key.unwrap_or_default();
        let limit = i.limit.and_then(|l| usize::try_from(l).ok()).unwrap_or(TAGS);
        let mut rest = tags.into_iter().filter(|(k, _)| *k > after);
        let page: BTreeMap<String, String> = rest.by_ref().take(limit).collect();
        Ok(ListTagsForStreamOutput { tags: listed(&page), has_more_tags: rest.next().is_some() })
    }

    /// A resource's ARN: a stream's, or one of its consumers'.
    pub(crate) fn resource(
        &self,
        arn: &str,
    ) -> Result<(Arc<Stream>, Option<crate::consumers::Consumer>), AwsError> {
        let (stream, consumer) = consumer_parts(arn);
        let stream = self.find(None, Some(stream))?;
        match consumer {
            None => Ok((stream, None)),
            Some(rest) => {
                let c = self.consumer_by(&stream, rest, arn)?;
                Ok((stream, Some(c)))
            }
        }
    }

    /// API_TagResource
    pub async fn tag_resource(&self, permit: Permit, i: input::TagResource) -> Result<Empty, AwsError> {
        drop(permit);
        self.account_call("TagResource", 5.0)?;
        let tags = i.tags.unwrap_or_default();
        match self.resource(i.resource_arn.as_deref().unwrap_or_default())? {
            (stream, None) => self.add_tags(&stream, tags).await,
            (stream, Some(mut c)) => {
                let there = c.tags.keys().filter(|k| !tags.contains_key(*k)).count();
                check_tags(&stream.name, &self.inner.home, &tags, there)?;
                c.tags.extend(tags);
                self.inner.consumers.put(&self.inner.tools, stream.uid, c).await.map(|()| Empty {})
            }
        }
    }

    /// API_UntagResource
    pub async fn untag_resource(&self, permit: Permit, i: input::UntagResource) -> Result<Empty, AwsError> {
        drop(permit);
        self.account_call("UntagResource", 5.0)?;
        let keys = i.tag_keys.unwrap_or_default();
        match self.resource(i.resource_arn.as_deref().unwrap_or_default())? {
            (stream, None) => self.remove_tags(&stream, &keys).await,
            (stream, Some(mut c)) => {
                c.tags.retain(|k, _| !keys.contains(k));
                self.inner.consumers.put(&self.inner.tools, stream.uid, c).await.map(|()| Empty {})
            }
        }
    }

    /// API_ListTagsForResource
    pub async fn list_tags_for_resource(
        &self,
        permit: Permit,
        i: input::ListTagsForResource,
    ) -> Result<ListTagsForResourceOutput, AwsError> {
        drop(permit);
        self.account_call("ListTagsForResource", 5.0)?;
        let tags = match self.resource(i.resource_arn.as_deref().unwrap_or_default())? {
            (stream, None) => listed(&stream.read().body.tags),
            (_, Some(c)) => listed(&c.tags),
        };
        Ok(ListTagsForResourceOutput { tags })
    }
}
