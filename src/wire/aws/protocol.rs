//! How values and errors are written in a body.

use axum::http::HeaderValue;
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{AwsError, shape::Shaped, spare::Spare, value::Compact, written::Written};

/// Deeper than any input of a model; what is not in the model may not be deeper either. (JSON's limit is serde_json's
/// own, 128.)
const DEPTH: usize = 64;

/// The protocol of a request, and so of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `application/x-amz-json-1.0`
    Json10,
    /// `application/x-amz-json-1.1`; `application/json` is taken for it.
    Json11,
    /// `application/x-amz-cbor-1.1`
    Cbor,
    /// `application/json`, of services whose operations are known by method and path. The error's name is in a header.
    Rest,
}

impl Protocol {
    /// By the content type; `None` for any other.
    pub fn of(content_type: &str) -> Option<Protocol> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let is = |t: &str| essence.eq_ignore_ascii_case(t);
        match () {
            () if is("application/x-amz-json-1.1") || is("application/json") => Some(Protocol::Json11),
            () if is("application/x-amz-json-1.0") => Some(Protocol::Json10),
            () if is("application/x-amz-cbor-1.1") => Some(Protocol::Cbor),
            () => None,
        }
    }

    /// The content type of answers.
    pub fn content_type(self) -> &'static str {
        match self {
            Protocol::Json10 => "application/x-amz-json-1.0",
            Protocol::Json11 => "application/x-amz-json-1.1",
            Protocol::Cbor => "application/x-amz-cbor-1.1",
            Protocol::Rest => "application/json",
        }
    }

    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.content_type())
    }

    /// Reads a structure. `SerializationException` for all that is not one of this shape.
    pub fn decode<T: DeserializeOwned>(self, body: &[u8]) -> Result<T, AwsError> {
        match self {
            // No body: no members.
            Protocol::Rest if body.is_empty() => Protocol::Rest.decode(b"{}"),
            Protocol::Json10 | Protocol::Json11 | Protocol::Rest => {
                match body.iter().find(|b| !b.is_ascii_whitespace()) {
                    Some(b'{') => {}
                    Some(b'[') => {
                        return Err(AwsError::serialization("Start of list found where not expected"));
                    }
                    _ => return Err(AwsError::serialization("")),
                }
                let read = serde_json::from_slice::<Shaped<T>>(body).map_err(|e| match e.classify() {
                    serde_json::error::Category::Data => AwsError::serialization(wording(&e.to_string())),
                    _ => AwsError::serialization(""),
                });
                read.map(|Shaped(value)| value)
            }
            Protocol::Cbor => {
                // A map, of any kind: major type 5.
                if body.first().is_none_or(|b| b >> 5 != 5) {
                    return Err(AwsError::serialization(""));
                }
                let mut rest = body;
                let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH).map_err(
                    |e| match e {
                        ciborium::de::Error::Semantic(_, m) => AwsError::serialization(wording(&m)),
                        _ => AwsError::serialization(""),
                    },
                )?;
                if rest.is_empty() { Ok(value) } else { Err(AwsError::serialization("")) }
            }
        }
    }

    /// Reads a structure of which some members did not come in the body; these hold where both have one.
    pub(crate) fn decode_with<T: DeserializeOwned>(
        self,
        body: &[u8],
        bound: serde_json::Map<String, serde_json::Value>,
    ) -> Result<T, AwsError> {
        if bound.is_empty() {
            return self.decode(body);
        }
        let mut all: serde_json::Map<String, serde_json::Value> = self.decode(body)?;
        all.extend(bound);
        serde_json::from_value(serde_json::Value::Object(all))
            .map(|Shaped(value)| value)
            .map_err(|e| AwsError::serialization(wording(&e.to_string())))
    }

    /// Writes a structure that writes its own JSON.
    pub(crate) fn write<T: Written + ?Sized>(self, value: &T) -> Result<Bytes, AwsError> {
        if self == Protocol::Cbor {
            return self.encode(value);
        }
        let mut out = Spare::take();
        out.0.reserve(value.bytes());
        value.write(&mut out.0);
        Ok(out.into_bytes())
    }

    /// Writes a structure; nothing (in REST-JSON an object without members) for unit and [`super::Empty`].
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Bytes, AwsError> {
        let failed =
            |e: &dyn std::fmt::Display| AwsError::internal(format!("the answer cannot be written: {e}"));
        let mut out = Spare::take();
        let nothing: &[u8] = match self {
            Protocol::Json10 | Protocol::Json11 | Protocol::Rest => {
                let mut json = serde_json::Serializer::with_formatter(&mut out.0, Compact::default());
                value.serialize(&mut json).map_err(|e| failed(&e))?;
                b"null"
            }
            Protocol::Cbor => {
                ciborium::into_writer(value, &mut out.0).map_err(|e| failed(&e))?;
                b"\xf6"
            }
        };
        Ok(match self {
            _ if out.0 != nothing => out.into_bytes(),
            Protocol::Rest => Bytes::from_static(b"{}"),
            _ => Bytes::new(),
        })
    }

    /// The body that tells an error: `__type`, and `message` (`Message` where AWS writes it so); in REST-JSON the latter
    /// alone, as the headers have the name.
    pub fn error(self, e: &AwsError) -> Bytes {
        #[derive(Serialize)]
        struct Told<'a> {
            __type: &'a str,
            #[serde(rename = "message", skip_serializing_if = "Option::is_none")]
            small: Option<&'a str>,
            #[serde(rename = "Message", skip_serializing_if = "Option::is_none")]
            capital: Option<&'a str>,
        }
        let message = (!e.message.is_empty()).then_some(e.message.as_str());
        if self == Protocol::Rest {
            return serde_json::json!({ "Message": message }).to_string().into();
        }
        let capital = e.code == "SerializationException";
        let told = Told {
            __type: e.code,
            small: message.filter(|_| !capital),
            capital: message.filter(|_| capital),
        };
        self.encode(&told).unwrap_or_default()
    }
}

/// Serde's words about a value of the wrong type in AWS's.
fn wording(serde: &str) -> String {
    let serde = serde.split(" at line ").next().unwrap_or_default();
    let Some((found, wanted)) =
        serde.strip_prefix("invalid type: ").and_then(|s| s.split_once(", expected "))
    else {
        return serde.to_owned();
    };
    let found = match found.split_once(' ').map_or(found, |(f, _)| f) {
        "map" => return "Start of structure or map found where not expected.".into(),
        "sequence" => return "Start of list found where not expected".into(),
        "string" => "STRING_VALUE",
        "integer" => "NUMBER_VALUE",
        "floating" => "DECIMAL_VALUE",
        "boolean" if found.contains("true") => "TRUE_VALUE",
        "boolean" => "FALSE_VALUE",
        "null" | "Option" | "unit" => "NULL_VALUE",
        other => other,
    };
    let wanted = match wanted {
        "a string" => "a String",
        "a boolean" => "a Boolean",
        "a sequence" => return "Expected list or null".into(),
        "a map" => return "Expected map or null".into(),
        // Whatever we read it as: numbers in inputs are integers in the models.
        "i32" | "u32" | "i64" | "u64" => "an Integer",
        w if w.starts_with("struct ") => return "Expected null".into(),
        w => w,
    };
    format!("{found} can not be converted to {wanted}")
}
