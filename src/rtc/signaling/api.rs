//! The operations: connecting (`ConnectAsMaster`, `ConnectAsViewer`), and `kinesis-video-signaling`'s.

use std::time::Duration;

use access::{Permit, actions};
use axum::http::{HeaderMap, Uri, header, request::Parts};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use wire::aws::{AwsError, Bind, Call, Empty, Input, Pattern, Service, Violations};
use world::{Arn, Home};

use super::{
    Signaling,
    board::Who,
    message::{Kind, Message},
    socket,
};

const INVALID: &str = "InvalidArgumentException";
/// Bytes of a request.
const SMALL: usize = 64 << 10;

static ARN: Pattern =
    Pattern::new(r"arn:[a-z\d-]+:kinesisvideo:[a-z0-9-]+:[0-9]+:[a-z]+/[a-zA-Z0-9_.-]+/[0-9]+");
static ID: Pattern = Pattern::new("[a-zA-Z0-9_.-]+");
static BASE64: Pattern = Pattern::new("[a-zA-Z0-9+/=]+");

/// What the gate is asked about: the channel of an ARN.
fn resource(arn: Option<&str>, home: &Home) -> Result<Arn, AwsError> {
    let mut parts = arn.unwrap_or_default().splitn(6, ':').nth(5).unwrap_or_default().split('/');
    match (parts.next(), parts.next()) {
        (Some("channel"), Some(name)) => Ok(home.of(arn).arn("kinesisvideo", &format!("channel/{name}/*"))),
        _ => Err(AwsError::new(INVALID, "The ARN is not that of a signaling channel.")),
    }
}

fn arn(v: &mut Violations, arn: &Option<String>) {
    v.text("channelARN", arn).required().pattern(&ARN).length(1, 1024);
}

/// ConnectAsMaster, ConnectAsViewer
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Connect {
    #[serde(rename = "ChannelARN")]
    arn: Option<String>,
    client_id: Option<String>,
}
impl Input for Connect {
    fn check(&self, v: &mut Violations) {
        arn(v, &self.arn);
        v.text("clientId", &self.client_id).pattern(&ID).length(1, 256);
    }
    fn resource(&self, home: &Home) -> Result<Arn, AwsError> {
        resource(self.arn.as_deref(), home)
    }
}

/// API_signaling_GetIceServerConfig
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct GetIceServerConfig {
    #[serde(rename = "ChannelARN")]
    arn: Option<String>,
    client_id: Option<String>,
    service: Option<String>,
    username: Option<String>,
}
impl Input for GetIceServerConfig {
    fn check(&self, v: &mut Violations) {
        arn(v, &self.arn);
        v.text("clientId", &self.client_id).pattern(&ID).length(1, 256);
        v.text("service", &self.service).one_of(&["TURN"]);
        v.text("username", &self.username).pattern(&ID).length(1, 256);
    }
    fn resource(&self, home: &Home) -> Result<Arn, AwsError> {
        resource(self.arn.as_deref(), home)
    }
}

/// API_signaling_IceServer
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct IceServer {
    uris: Vec<String>,
    username: String,
    password: String,
    ttl: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct IceServers {
    ice_server_list: Vec<IceServer>,
}

/// API_signaling_SendAlexaOfferToMaster
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct SendOffer {
    #[serde(rename = "ChannelARN")]
    arn: Option<String>,
    sender_client_id: Option<String>,
    message_payload: Option<String>,
}
impl Input for SendOffer {
    fn check(&self, v: &mut Violations) {
        arn(v, &self.arn);
        v.text("senderClientId", &self.sender_client_id).required().pattern(&ID).length(1, 256);
        v.text("messagePayload", &self.message_payload).required().pattern(&BASE64).length(1, 10_000);
    }
    fn resource(&self, home: &Home) -> Result<Arn, AwsError> {
        resource(self.arn.as_deref(), home)
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answered {
    answer: String,
}

/// API_webrtc_JoinStorageSession, API_webrtc_JoinStorageSessionAsViewer
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Join {
    channel_arn: Option<String>,
    client_id: Option<String>,
}
impl Input for Join {
    fn check(&self, v: &mut Violations) {
        v.text("channelArn", &self.channel_arn).required().pattern(&ARN);
        v.text("clientId", &self.client_id).pattern(&ID).length(1, 256);
    }
    fn resource(&self, home: &Home) -> Result<Arn, AwsError> {
        resource(self.channel_arn.as_deref(), home)
    }
}

/// The same, of a viewer.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
struct JoinAsViewer(Join);
impl Input for JoinAsViewer {
    fn check(&self, v: &mut Violations) {
        v.text("clientId", &self.0.client_id).required();
        self.0.check(v);
    }
    fn resource(&self, home: &Home) -> Result<Arn, AwsError> {
        self.0.resource(home)
    }
}

const BINDS: &[Bind] =
    &[Bind::Query("X-Amz-ChannelARN", "ChannelARN"), Bind::Query("X-Amz-ClientId", "ClientId")];

fn is_websocket(headers: &HeaderMap) -> bool {
    let of = headers.get(header::UPGRADE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    of.split(',').any(|p| p.trim().eq_ignore_ascii_case("websocket"))
}
fn has_client(uri: &Uri) -> bool {
    uri.query().unwrap_or_default().split('&').any(|p| p.starts_with("X-Amz-ClientId="))
}

/// The operations of signaling and of its storage sessions, which sign as `kinesisvideo`.
pub fn service(signaling: &Signaling) -> Service {
    let with = || signaling.clone();
    let (master, viewer, ice, offer, join, look) = (with(), with(), with(), with(), with(), with());
    Service::rest("kinesisvideo", INVALID)
        .upgrade(
            "ConnectAsMaster",
            actions::CONNECT_AS_MASTER,
            ("GET /", BINDS),
            |uri, headers| is_websocket(headers) && !has_client(uri),
            move |_, permit, input, head| {
                let s = master.clone();
                async move { s.connect(permit, input, head).await }
            },
        )
        .upgrade(
            "ConnectAsViewer",
            actions::CONNECT_AS_VIEWER,
            ("GET /", BINDS),
            |uri, headers| is_websocket(headers) && has_client(uri),
            move |_, permit, input, head| {
                let s = viewer.clone();
                async move { s.connect(permit, input, head).await }
            },
        )
        .at(
            "GetIceServerConfig",
            actions::GET_ICE_SERVER_CONFIG,
            ("POST /v1/get-ice-server-config", &[]),
            SMALL,
            move |call, permit, input| {
                let s = ice.clone();
                async move { s.ice_servers(call, permit, input).await }
            },
        )
        .at(
            "SendAlexaOfferToMaster",
            actions::SEND_ALEXA_OFFER_TO_MASTER,
            ("POST /v1/send-alexa-offer-to-master", &[]),
            SMALL,
            move |call, permit, input| {
                let s = offer.clone();
                async move { s.send_offer(call, permit, input).await }
            },
        )
        .at(
            "JoinStorageSession",
            actions::JOIN_STORAGE_SESSION,
            ("POST /joinStorageSession", &[]),
            SMALL,
            move |call, permit, input: Join| {
                let s = join.clone();
                async move { s.join_storage("JoinStorageSession", call, permit, input, false).await }
            },
        )
        .at(
            "JoinStorageSessionAsViewer",
            actions::JOIN_STORAGE_SESSION_AS_VIEWER,
            ("POST /joinStorageSessionAsViewer", &[]),
            SMALL,
            move |call, permit, input: JoinAsViewer| {
                let s = look.clone();
                async move { s.join_storage("JoinStorageSessionAsViewer", call, permit, input.0, true).await }
            },
        )
}

impl Signaling {
    async fn connect(&self, permit: Permit, i: Connect, head: Parts) -> Result<Response, AwsError> {
        drop(permit);
        let channel = self.0.channels.channel(i.arn.as_deref().unwrap_or_default()).await?;
        let who = i.client_id.map_or(Who::Master, Who::Viewer);
        socket::connect(|| self.enter(&channel.arn, who, None), self, head, channel.message_ttl).await
    }

    async fn ice_servers(
        &self,
        call: Call,
        permit: Permit,
        i: GetIceServerConfig,
    ) -> Result<IceServers, AwsError> {
        drop(permit);
        let channel = self.0.channels.channel(i.arn.as_deref().unwrap_or_default()).await?;
        if self.0.limits {
            self.board().call(&channel.arn, "GetIceServerConfig", self.now())?;
        }
        let servers = self.0.hub.as_ref().and_then(|h| h.ice_servers(call.local));
        if let Some(s) = &servers {
            let who = i.client_id.map_or(Who::Master, Who::Viewer);
            self.granted(&channel.arn, who, Duration::from_secs(s.grant.ttl));
        }
        let server = servers.map(|s| IceServer {
            uris: s.uris,
            username: s.grant.username,
            password: s.grant.password,
            ttl: s.grant.ttl,
        });
        Ok(IceServers { ice_server_list: server.into_iter().collect() })
    }

    async fn join_storage(
        &self,
        name: &'static str,
        call: Call,
        permit: Permit,
        i: Join,
        viewer: bool,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        let channel = self.0.channels.channel(i.channel_arn.as_deref().unwrap_or_default()).await?;
        if self.0.limits {
            self.board().call(&channel.arn, name, self.now())?;
        }
        self.join(&channel, i.client_id.filter(|_| viewer), call.local)?;
        Ok(Empty {})
    }

    /// Waits for the master's answer as long as the channel keeps messages, also for one that comes later.
    async fn send_offer(&self, _: Call, permit: Permit, i: SendOffer) -> Result<Answered, AwsError> {
        drop(permit);
        let channel = self.0.channels.channel(i.arn.as_deref().unwrap_or_default()).await?;
        if self.0.limits {
            self.board().call(&channel.arn, "SendAlexaOfferToMaster", self.now())?;
        }
        let who = Who::Caller(i.sender_client_id.unwrap_or_default());
        let mut seat = self.enter(&channel.arn, who.clone(), None)?;
        let payload = i.message_payload.unwrap_or_default().into();
        let offer = Message { kind: Kind::Offer, payload, recipient: None, correlation: None };
        self.pass(&channel.arn, &who, &offer, None, channel.message_ttl)?;
        tokio::select! {
            answer = seat.events.recv() => match answer {
                Some(e) => Ok(Answered { answer: e.payload.to_string() }),
                None => Err(AwsError::new("ClientLimitExceededException", "Another offer of the same SenderClientId took this one's place.")),
            },
            () = self.0.world.clock.sleep(channel.message_ttl) => {
                let m = format!("No master answered within {} s.", channel.message_ttl.as_secs());
                Err(AwsError::with_status(404, "ResourceNotFoundException", m))
            }
            () = self.stopped() => Err(AwsError::unavailable("The server is stopping.")),
        }
    }
}
