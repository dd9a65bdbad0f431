//! Messages as clients write them and read them (Kinesis Video Streams with WebRTC, "SendSdpOffer" and its siblings,
//! "Asynchronous message reception"). No I/O.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

/// Characters of an identifier.
const ID: usize = 256;
/// Characters of a payload (service quotas: "10k").
const PAYLOAD: usize = 10 << 10;
/// Bytes of a message, whether or not limits hold.
pub(crate) const MAX_MESSAGE: usize = 128 << 10;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Offer,
    Answer,
    Candidate,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Offer => "SDP_OFFER",
            Kind::Answer => "SDP_ANSWER",
            Kind::Candidate => "ICE_CANDIDATE",
        }
    }
}

/// A message that a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    /// In base64, as it came.
    pub(crate) payload: Arc<str>,
    /// To whom; nobody: whoever it can only be meant for.
    pub(crate) recipient: Option<String>,
    /// What an error is to be told by. Without it none is.
    pub(crate) correlation: Option<String>,
}

/// A message on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: Kind,
    pub(crate) payload: Arc<str>,
    /// From whom; nobody: from the master.
    pub(crate) sender: Option<String>,
}

/// Why a message went nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: &'static str,
    pub(crate) words: String,
}

impl Fault {
    pub(crate) fn argument(words: impl Into<String>) -> Fault {
        Fault { code: "InvalidArgumentException", words: words.into() }
    }
    pub(crate) fn limit(words: impl Into<String>) -> Fault {
        Fault { code: "ClientLimitExceededException", words: words.into() }
    }
}

/// Members by either of the cases in which clients write them; what else there is (`IceServerList`) is passed over.
#[derive(Deserialize)]
struct Wire {
    #[serde(alias = "Action")]
    action: Option<String>,
    #[serde(rename = "messagePayload", alias = "MessagePayload")]
    payload: Option<String>,
    #[serde(rename = "recipientClientId", alias = "RecipientClientId")]
    recipient: Option<String>,
    #[serde(rename = "correlationId", alias = "CorrelationId")]
    correlation: Option<String>,
}

/// Whether it is an identifier: `[a-zA-Z0-9_.-]+`, 1 to 256.
pub(crate) fn is_id(s: &str) -> bool {
    (1..=ID).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// Reads a message. With an error comes what it is to be told by, as far as that could be read.
pub(crate) fn read(text: &str, limits: bool) -> Result<Message, (Option<String>, Fault)> {
    let wire: Wire = serde_json::from_str(text)
        .map_err(|e| (None, Fault::argument(format!("The message is not the JSON that is expected: {e}"))))?;
    let correlation = wire.correlation.filter(|c| !c.is_empty());
    if correlation.as_deref().is_some_and(|c| !is_id(c)) {
        return Err((None, Fault::argument("correlationId: 1 to 256 of [a-zA-Z0-9_.-].")));
    }
    let fail = |words: String| Err((correlation.clone(), Fault::argument(words)));
    let kind = match wire.action.as_deref() {
        Some("SDP_OFFER") => Kind::Offer,
        Some("SDP_ANSWER") => Kind::Answer,
        Some("ICE_CANDIDATE") => Kind::Candidate,
        _ => return fail("action: one of SDP_OFFER, SDP_ANSWER and ICE_CANDIDATE.".into()),
    };
    let recipient = wire.recipient.filter(|r| !r.is_empty());
    if recipient.as_deref().is_some_and(|r| !is_id(r)) {
        return fail("recipientClientId: 1 to 256 of [a-zA-Z0-9_.-].".into());
    }
    let payload = wire.payload.unwrap_or_default();
    if payload.is_empty() {
        return fail("messagePayload is required.".into());
    }
    if limits && payload.len() > PAYLOAD {
        return fail(format!("messagePayload has {} characters; {PAYLOAD} are the most.", payload.len()));
    }
    if !payload.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)) {
        return fail("messagePayload is not base64.".into());
    }
    Ok(Message { kind, payload: payload.into(), recipient, correlation })
}

impl Event {
    /// As a client reads it.
    pub(crate) fn write(&self) -> String {
        let mut out = json!({"messageType": self.kind.name(), "messagePayload": &*self.payload});
        if let Some(sender) = &self.sender {
            out["senderClientId"] = sender.as_str().into();
        }
        out.to_string()
    }
}

/// What a client is told of a message that went nowhere.
pub(crate) fn status(correlation: &str, fault: &Fault) -> String {
    let said = json!({
        "correlationId": correlation, "errorType": fault.code, "statusCode": "400", "description": fault.words,
    });
    json!({"messageType": "STATUS_RESPONSE", "statusResponse": said}).to_string()
}

/// `GO_AWAY`, `RECONNECT_ICE_SERVER`
pub(crate) fn notice(name: &str) -> String {
    json!({"messageType": name}).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_habits_of_writing_are_read() {
        let js = r#"{"action":"SDP_OFFER","messagePayload":"eyJ9","recipientClientId":"v-1","correlationId":"c.1"}"#;
        let c = r#"{"action": "SDP_OFFER", "RecipientClientId": "v-1", "MessagePayload": "eyJ9", "CorrelationId": "c.1",
            "IceServerList": [{"Password": "x", "Ttl": 300, "Uris": ["turns:x"], "Username": "y"}]}"#;
        let want = Message {
            kind: Kind::Offer,
            payload: "eyJ9".into(),
            recipient: Some("v-1".into()),
            correlation: Some("c.1".into()),
        };
        assert_eq!(read(js, true), Ok(want.clone()));
        assert_eq!(read(c, true), Ok(want));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let big = format!(r#"{{"action":"SDP_OFFER","messagePayload":"{}"}}"#, "a".repeat(PAYLOAD + 1));
        assert!(read(&big, false).is_ok());
        for (text, word) in [
            ("[1]", "JSON"),
            (r#"{"action":"PING","messagePayload":"aa"}"#, "action"),
            (r#"{"action":"SDP_OFFER"}"#, "messagePayload"),
            (r#"{"action":"SDP_OFFER","messagePayload":"a b"}"#, "base64"),
            (
                r#"{"action":"SDP_OFFER","messagePayload":"aa","recipientClientId":"a b"}"#,
                "recipientClientId",
            ),
            (r#"{"action":"SDP_OFFER","messagePayload":"aa","correlationId":"ä"}"#, "correlationId"),
            (&big, "messagePayload"),
        ] {
            let (_, fault) = read(text, true).unwrap_err();
            assert!(fault.words.contains(word) && fault.code == "InvalidArgumentException", "{fault:?}");
        }
        let (told, _) = read(r#"{"action":"x","correlationId":"c"}"#, true).unwrap_err();
        assert_eq!(told.as_deref(), Some("c"));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC{0,200}", cut in 0usize..90) {
            let _ = read(&text, true);
            let whole = r#"{"action":"ICE_CANDIDATE","messagePayload":"eyJ9","recipientClientId":"v"}"#;
            let _ = read(&whole[..cut.min(whole.len())], true);
        }

        #[test]
        fn what_is_written_is_read_by_its_names(payload in "[a-zA-Z0-9+/]{1,99}", sender in proptest::option::of("[a-z.]{1,9}")) {
            let e = Event { kind: Kind::Answer, payload: payload.clone().into(), sender: sender.clone() };
            let v: serde_json::Value = serde_json::from_str(&e.write()).unwrap();
            prop_assert_eq!(v["messagePayload"].as_str(), Some(&payload[..]));
            prop_assert_eq!(v.get("senderClientId").and_then(|s| s.as_str()), sender.as_deref());
        }
    }
}
