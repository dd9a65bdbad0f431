//! Storage sessions: the server joins a channel as a peer of its own, which stores what the master sends into the channel's
//! stream, or sends a viewer what the master does (Kinesis Video Streams with WebRTC, "WebRTC ingestion"). It is the server
//! that offers, by the channel; the answer comes the same way.

use std::{net::IpAddr, sync::Arc};

use access::actions;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::json;
use wire::{aws::AwsError, v1::ApiError};

use super::{
    Channel, Seat, Signaling,
    board::Who,
    message::{Event, Kind, Message},
};
use crate::hub::{Hub, Proposed};

/// What was offered, and what is wanted.
enum Offered {
    /// The master's media.
    Master(Box<crate::peer::Peer>),
    /// A viewer's eyes.
    Viewer(Box<Proposed>),
}

/// A description in a payload.
#[derive(Deserialize)]
struct Description {
    sdp: String,
}

/// The description in a message's payload; the error is for people.
pub(crate) fn described(e: &Event) -> Result<String, String> {
    let plain = STANDARD.decode(&*e.payload).map_err(|e| format!("its payload is not base64: {e}"))?;
    let d: Description =
        serde_json::from_slice(&plain).map_err(|e| format!("its payload is no description: {e}"))?;
    Ok(d.sdp)
}

fn in_aws_words(e: ApiError) -> AwsError {
    match e.code {
        "NotLive" | "NotFound" => AwsError::with_status(404, "ResourceNotFoundException", e.message),
        "NotAcceptable" => AwsError::new("InvalidArgumentException", e.message),
        _ => AwsError::new("ClientLimitExceededException", e.message),
    }
}

impl Signaling {
    /// JoinStorageSession, and JoinStorageSessionAsViewer where there is a `viewer`. Returns once the offer is on its way.
    pub(super) fn join(
        &self,
        channel: &Channel,
        viewer: Option<String>,
        asked: Option<IpAddr>,
    ) -> Result<(), AwsError> {
        let Some(stream) = channel.stores_in.clone() else {
            return Err(AwsError::new(
                "InvalidArgumentException",
                "The channel's media storage is not ENABLED: see UpdateMediaStorageConfiguration.",
            ));
        };
        let Some(hub) = self.0.hub.clone() else {
            return Err(AwsError::unavailable("WebRTC is switched off here (webrtc.listen)."));
        };
        let (offered, sdp) = match viewer {
            None => {
                let (peer, offer) = hub.propose_to_take(asked).map_err(in_aws_words)?;
                (Offered::Master(Box::new(peer)), offer)
            }
            Some(_) => {
                let mut p = hub.propose_to_play(&stream, asked).map_err(in_aws_words)?;
                let offer = std::mem::take(&mut p.offer);
                (Offered::Viewer(Box::new(p)), offer)
            }
        };
        let id: String = self.0.world.random16().iter().take(8).map(|b| format!("{b:02x}")).collect();
        let who = Who::Storage(format!("storage-{id}"));
        let seat = self.enter(&channel.arn, who.clone(), viewer.as_deref())?;
        let payload = STANDARD.encode(json!({"type": "offer", "sdp": sdp}).to_string()).into();
        let offer = Message { kind: Kind::Offer, payload, recipient: viewer, correlation: None };
        self.pass(&channel.arn, &who, &offer, None, channel.message_ttl)?;
        tokio::spawn(run(self.clone(), hub, seat, offered, stream, channel.clone()));
        Ok(())
    }
}

/// From the offer to the end.
async fn run(
    signaling: Signaling,
    hub: Arc<Hub>,
    mut seat: Seat,
    offered: Offered,
    stream: String,
    channel: Channel,
) {
    let clock = signaling.0.world.clock.clone();
    let answer = async {
        loop {
            match seat.events.recv().await {
                Some(e) if e.kind == Kind::Answer => return Some(e),
                // The server is ICE-lite: a peer's candidates are nothing to it.
                Some(_) => {}
                None => return None,
            }
        }
    };
    let answer = tokio::select! {
        a = answer => a,
        () = clock.sleep(channel.message_ttl) => None,
    };
    let Some(answer) = answer else {
        tracing::info!(channel = channel.arn, "a storage session's offer was not answered");
        return;
    };
    let begun = described(&answer).and_then(|sdp| {
        let resource = hub.home.video_stream(&stream);
        let begun = match offered {
            Offered::Master(peer) => {
                hub.take_proposed(hub.gate.internal(actions::PUT_MEDIA, &resource), &stream, *peer, &sdp)
            }
            Offered::Viewer(p) => {
                hub.play_proposed(hub.gate.internal(actions::GET_MEDIA, &resource), &stream, *p, &sdp)
            }
        };
        begun.map_err(|e| e.message)
    });
    let id = match begun {
        Ok(agreed) => agreed.id,
        Err(e) => {
            tracing::warn!(channel = channel.arn, error = e, "a storage session did not begin");
            return;
        }
    };
    let replaced = async { while seat.events.recv().await.is_some() {} };
    tokio::select! {
        () = hub.ended(&id) => {}
        // A newer one begins.
        () = replaced => hub.end(&id).await,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(payload: &str) -> Event {
        Event { kind: Kind::Answer, payload: payload.into(), sender: None }
    }

    #[test]
    fn descriptions_are_json_in_base64() {
        let good = STANDARD.encode(r#"{"type":"answer","sdp":"v=0\r\n"}"#);
        assert_eq!(described(&answer(&good)), Ok("v=0\r\n".into()));
        assert!(described(&answer("=")).is_err());
        assert!(described(&answer(&STANDARD.encode("{}"))).is_err());
    }

    proptest! {
        #[test]
        fn any_payload_is_survived(text in "\\PC{0,80}") {
            let _ = described(&answer(&text));
            let _ = described(&answer(&STANDARD.encode(&text)));
        }
    }
}
