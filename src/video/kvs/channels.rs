//! Signaling channels: made, described, changed, deleted; where they are to be reached; what is stored of their media.
//!
//! A channel is a document of its own (kind `kvs-channel`, id its name). What goes over it is somebody else's work: they ask
//! [`Kvs::channel`].

use std::collections::BTreeMap;

use access::Permit;
use catalog::{CatalogError, Change, Document, Filter};
use serde::{Deserialize, Serialize};
use wire::aws::{AwsError, Call, Empty, Time};
use world::{Arn, Home, Timestamp};

use super::{Kvs, error, input::parts, tags};
use crate::{VideoError, streams::version};

mod shapes;

use shapes::{
    ChannelInfo, CreateChannel, Created, DeleteChannel, DescribeChannel, DescribeMediaStorage, Described,
    EndpointItem, Endpoints, GetChannelEndpoint, ListChannels, Listed, MediaStorage, MediaStorageOutput,
    SingleMaster, UpdateChannel, UpdateMediaStorage,
};

const KIND: &str = "kvs-channel";
/// Channels of an account (with [`super::Config::limits`]).
const MOST: usize = 10_000;
/// Channels on a page unless asked for otherwise.
const PAGE: usize = 10_000;
/// Seconds that a message waits for its receiver unless said otherwise.
const TTL: i64 = 60;
/// How often a change is tried while others change the same.
const CHANGES: usize = 5;

/// A channel.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// `arn:aws:kinesisvideo:REGION:ACCOUNT:channel/NAME/CREATED_MS`
    pub arn: Arn,
    /// When it was made.
    pub created: Timestamp,
    /// Seconds that a message waits for its receiver.
    pub message_ttl: i64,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// The ARN of the stream in which its media are stored, where that is switched on.
    pub stores_in: Option<String>,
}

/// A channel's document.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    v: u32,
    created: Timestamp,
    arn: String,
    ttl: i64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media: Option<MediaStorage>,
}

/// The channel that an input names; the ARN's creation time, if it was named so.
fn named(name: Option<&str>, arn: Option<&str>) -> Result<(String, Option<i64>), AwsError> {
    match (name, arn) {
        (Some(n), None) => Ok((n.to_owned(), None)),
        (None, Some(a)) => match parts(a) {
            Some(("channel", name, made)) => Ok((name.to_owned(), made)),
            _ => Err(error::argument(format!("{a} is not the ARN of a signaling channel."))),
        },
        (Some(_), Some(_)) => {
            Err(error::argument("ChannelARN and ChannelName cannot be provided at the same time."))
        }
        (None, None) => Err(error::argument("Either ChannelARN or ChannelName must be provided.")),
    }
}

/// What the gate is asked about.
pub(super) fn resource(home: &Home, name: &str) -> Arn {
    home.arn("kinesisvideo", &format!("channel/{name}/*"))
}

/// Where the next page begins.
#[derive(Serialize, Deserialize)]
struct Page {
    after: String,
}

fn not_found() -> AwsError {
    AwsError::with_status(
        404,
        "ResourceNotFoundException",
        "The requested signaling channel is not found or not active.",
    )
}

fn catalog_error(e: CatalogError) -> AwsError {
    VideoError::catalog("*")(e).into()
}

fn parse(doc: &Document) -> Result<Body, AwsError> {
    let bad = |e: String| VideoError::Damaged(doc.id.clone(), format!("its document does not parse: {e}"));
    let b: Body = serde_json::from_slice(&doc.body).map_err(|e| bad(e.to_string()))?;
    if b.v != 1 {
        return Err(bad(format!("version {}, this program knows 1", b.v)).into());
    }
    Ok(b)
}

fn info(doc: &Document) -> Result<ChannelInfo, AwsError> {
    let b = parse(doc)?;
    Ok(ChannelInfo {
        channel_name: doc.id.clone(),
        arn: b.arn,
        channel_type: "SINGLE_MASTER",
        channel_status: "ACTIVE",
        creation_time: Time(b.created),
        single_master_configuration: SingleMaster { message_ttl_seconds: Some(b.ttl) },
        version: version(doc),
    })
}

impl Kvs {
    /// A channel by its ARN, for those that serve it; an error where there is none.
    pub async fn channel(&self, arn: &str) -> Result<Channel, AwsError> {
        let doc = self.document(&named(None, Some(arn))?).await?;
        let b = parse(&doc)?;
        let media = b.media.unwrap_or_default();
        Ok(Channel {
            name: doc.id,
            arn: Arn(b.arn),
            created: b.created,
            message_ttl: b.ttl,
            tags: b.tags,
            stores_in: media.stream_arn.filter(|_| media.status.as_deref() == Some("ENABLED")),
        })
    }

    async fn document(&self, (name, made): &(String, Option<i64>)) -> Result<Document, AwsError> {
        let doc = self.video.catalog.get(KIND, name).await.map_err(catalog_error)?.ok_or_else(not_found)?;
        if made.is_some_and(|m| parse(&doc).is_ok_and(|b| b.created.millis() != m)) {
            return Err(not_found());
        }
        Ok(doc)
    }

    /// Changes a channel, if it has the version that was said.
    async fn change_channel(
        &self,
        channel: (String, Option<i64>),
        wanted: Option<&str>,
        f: impl Fn(&mut Body) -> Result<(), AwsError>,
    ) -> Result<Empty, AwsError> {
        for left in (0..CHANGES).rev() {
            let mut doc = self.document(&channel).await?;
            if wanted.is_some_and(|v| v != version(&doc)) {
                return Err(error::version());
            }
            let mut body = parse(&doc)?;
            f(&mut body)?;
            doc.body = serde_json::to_vec(&body).map_err(|e| AwsError::internal(e.to_string()))?;
            let expect = doc.version;
            match self.video.catalog.commit(vec![Change::Put { doc, expect }]).await {
                Ok(()) => return Ok(Empty {}),
                Err(CatalogError::Conflict { .. }) if left > 0 => {}
                Err(e) => return Err(catalog_error(e)),
            }
        }
        Err(AwsError::unavailable("The signaling channel is being changed by others."))
    }

    /// API_CreateSignalingChannel
    pub(super) async fn create_channel(
        &self,
        _: Call,
        permit: Permit,
        i: CreateChannel,
    ) -> Result<Created, AwsError> {
        drop(permit);
        if i.kind.as_deref() == Some("FULL_MESH") {
            return Err(error::argument("SINGLE_MASTER is the only channel type that is supported."));
        }
        let tags = tags::of_list(i.tags);
        tags::check(&tags)?;
        let catalog = &self.video.catalog;
        if self.config.limits {
            let all = Filter { limit: Some(MOST), ..Filter::kind(KIND) };
            if catalog.list(all).await.map_err(catalog_error)?.len() >= MOST {
                return Err(AwsError::new(
                    "AccountChannelLimitExceededException",
                    format!("You have reached the maximum limit of active signaling channels: {MOST}."),
                ));
            }
        }
        let name = i.name.unwrap_or_default();
        let created = self.video.world.clock.now();
        let arn = self.video.home.arn("kinesisvideo", &format!("channel/{name}/{}", created.millis())).0;
        let ttl = i.single.and_then(|s| s.message_ttl_seconds).unwrap_or(TTL);
        let body = Body { v: 1, created, arn: arn.clone(), ttl, tags, media: None };
        let uid = world::StreamUid(self.video.world.random16()).to_string();
        let doc = Document {
            kind: KIND.into(),
            id: name.clone(),
            version: 0,
            body: serde_json::to_vec(&body).map_err(|e| AwsError::internal(e.to_string()))?,
            keys: vec![("uid".into(), uid)],
        };
        match catalog.commit(vec![Change::Put { doc, expect: 0 }]).await {
            Ok(()) => Ok(Created { arn }),
            Err(CatalogError::Conflict { .. }) => {
                Err(error::in_use(format!("The signaling channel {name} already exists.")))
            }
            Err(e) => Err(catalog_error(e)),
        }
    }

    /// API_DescribeSignalingChannel
    pub(super) async fn describe_channel(
        &self,
        _: Call,
        permit: Permit,
        i: DescribeChannel,
    ) -> Result<Described, AwsError> {
        drop(permit);
        let doc = self.document(&named(i.name.as_deref(), i.arn.as_deref())?).await?;
        Ok(Described { channel_info: info(&doc)? })
    }

    /// API_ListSignalingChannels. By name.
    pub(super) async fn list_channels(
        &self,
        _: Call,
        permit: Permit,
        i: ListChannels,
    ) -> Result<Listed, AwsError> {
        drop(permit);
        let after = match i.next_token.filter(|t| !t.is_empty()) {
            None => None,
            Some(t) => Some(self.open_token::<Page>("list-channels", &t)?.after),
        };
        let prefix = i.condition.and_then(|c| c.comparison_value).unwrap_or_default();
        let most = i.max_results.and_then(|n| usize::try_from(n).ok()).unwrap_or(PAGE);
        let filter = Filter {
            prefix: Some(prefix).filter(|p| !p.is_empty()),
            after,
            limit: Some(most.saturating_add(1)),
            ..Filter::kind(KIND)
        };
        let mut docs = self.video.catalog.list(filter).await.map_err(catalog_error)?;
        let more = docs.len() > most;
        docs.truncate(most);
        let next_token = docs
            .last()
            .filter(|_| more)
            .map(|d| self.seal_token("list-channels", &Page { after: d.id.clone() }));
        let channel_info_list = docs.iter().map(info).collect::<Result<_, _>>()?;
        Ok(Listed { channel_info_list, next_token })
    }

    /// API_UpdateSignalingChannel
    pub(super) async fn update_channel(
        &self,
        _: Call,
        permit: Permit,
        i: UpdateChannel,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        let new = i.single.and_then(|s| s.message_ttl_seconds);
        self.change_channel(named(None, i.arn.as_deref())?, i.current_version.as_deref(), |b| {
            b.ttl = new.unwrap_or(b.ttl);
            Ok(())
        })
        .await
    }

    /// API_DeleteSignalingChannel
    pub(super) async fn delete_channel(
        &self,
        _: Call,
        permit: Permit,
        i: DeleteChannel,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        let doc = self.document(&named(None, i.arn.as_deref())?).await?;
        if i.current_version.is_some_and(|v| v != version(&doc)) {
            return Err(error::version());
        }
        let gone = Change::Delete { kind: KIND.into(), id: doc.id, expect: doc.version };
        match self.video.catalog.commit(vec![gone]).await {
            Ok(()) => Ok(Empty {}),
            Err(CatalogError::Conflict { .. }) => Err(error::version()),
            Err(e) => Err(catalog_error(e)),
        }
    }

    /// API_GetSignalingChannelEndpoint: the address that the client called, or the configured one. WEBRTC, where storage
    /// sessions are joined, only of a channel that stores its media.
    pub(super) async fn get_channel_endpoint(
        &self,
        call: Call,
        permit: Permit,
        i: GetChannelEndpoint,
    ) -> Result<Endpoints, AwsError> {
        drop(permit);
        let body = parse(&self.document(&named(None, i.arn.as_deref())?).await?)?;
        let stores = body.media.and_then(|m| m.status).as_deref() == Some("ENABLED");
        let usual = || vec!["WSS".to_owned(), "HTTPS".to_owned()];
        let mut protocols = i.config.unwrap_or_default().protocols.unwrap_or_else(usual);
        protocols.sort();
        protocols.dedup();
        let here = self.endpoint(&call);
        let mut resource_endpoint_list = Vec::with_capacity(protocols.len());
        for protocol in protocols {
            let resource_endpoint = match protocol.as_str() {
                "WSS" => match here.split_once("://") {
                    Some(("http", rest)) => format!("ws://{rest}"),
                    Some((_, rest)) => format!("wss://{rest}"),
                    None => here.clone(),
                },
                "WEBRTC" if !stores => {
                    return Err(error::argument("The signaling channel is not configured for ingestion."));
                }
                "HTTPS" | "WEBRTC" => here.clone(),
                _ => return Err(error::argument(format!("{protocol:?} is none of WSS, HTTPS and WEBRTC."))),
            };
            resource_endpoint_list.push(EndpointItem { protocol, resource_endpoint });
        }
        Ok(Endpoints { resource_endpoint_list })
    }

    /// API_DescribeMediaStorageConfiguration
    pub(super) async fn describe_media_storage(
        &self,
        _: Call,
        permit: Permit,
        i: DescribeMediaStorage,
    ) -> Result<MediaStorageOutput, AwsError> {
        drop(permit);
        let doc = self.document(&named(i.name.as_deref(), i.arn.as_deref())?).await?;
        let none = || MediaStorage { stream_arn: None, status: Some("DISABLED".into()) };
        let media = parse(&doc)?.media.unwrap_or_else(none);
        Ok(MediaStorageOutput { media_storage_configuration: Some(media) })
    }

    /// API_UpdateMediaStorageConfiguration
    pub(super) async fn update_media_storage(
        &self,
        _: Call,
        permit: Permit,
        i: UpdateMediaStorage,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        let channel = named(None, i.arn.as_deref())?;
        self.document(&channel).await?;
        let mut media = i.media.unwrap_or_default();
        if media.status.as_deref() == Some("ENABLED") {
            let Some(arn) = media.stream_arn.as_deref() else {
                return Err(error::argument("StreamARN is required where the Status is ENABLED."));
            };
            let home = &self.video.home;
            if home.of(Some(arn)) != *home {
                return Err(error::not_found());
            }
            let d = self.described(super::input::named(None, Some(arn))?).await?;
            if !self.keeps(&d).await? {
                return Err(error::no_retention());
            }
            // A stream's media come from one channel, whatever region its ARN was given with.
            let arn = d.info.arn.0;
            let own = self.stored_in(&arn).await?;
            if own.iter().any(|(name, _)| *name != channel.0) {
                return Err(error::in_use("The stream is mapped to another signaling channel already."));
            }
            media.stream_arn = Some(arn);
        }
        self.change_channel(channel, None, |b| {
            b.media = Some(media.clone());
            Ok(())
        })
        .await
    }

    /// The channels whose media are stored in a stream: names and ARNs.
    pub(super) async fn stored_in(&self, stream_arn: &str) -> Result<Vec<(String, String)>, AwsError> {
        let mut out = Vec::new();
        for doc in self.video.catalog.list(Filter::kind(KIND)).await.map_err(catalog_error)? {
            let b = parse(&doc)?;
            let here = |m: &MediaStorage| {
                m.stream_arn.as_deref() == Some(stream_arn) && m.status.as_deref() == Some("ENABLED")
            };
            if b.media.as_ref().is_some_and(here) {
                out.push((doc.id, b.arn));
            }
        }
        Ok(out)
    }

    /// A channel's tags.
    pub(super) async fn channel_tags(
        &self,
        channel: &(String, Option<i64>),
    ) -> Result<BTreeMap<String, String>, AwsError> {
        Ok(parse(&self.document(channel).await?)?.tags)
    }

    /// Changes a channel's tags.
    pub(super) async fn change_channel_tags(
        &self,
        channel: (String, Option<i64>),
        f: impl Fn(&mut BTreeMap<String, String>),
    ) -> Result<Empty, AwsError> {
        self.change_channel(channel, None, |b| {
            f(&mut b.tags);
            tags::check(&b.tags)
        })
        .await
    }
}
