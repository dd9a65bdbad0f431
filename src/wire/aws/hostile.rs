//! What the fuzz targets (`fuzz/`) and this room's own tests do with arbitrary bytes. A panic here is a bug.

use std::collections::BTreeMap;

use axum::http::Request;
use serde::{Deserialize, Serialize};

use super::{Blob, Protocol, Time, signature};

/// All kinds of members.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Everything {
    text: Option<String>,
    number: Option<i64>,
    flag: Option<bool>,
    blob: Option<Blob>,
    time: Option<Time>,
    list: Option<Vec<Everything>>,
    map: Option<BTreeMap<String, Option<String>>>,
}

fn body(protocol: Protocol, data: &[u8]) {
    let Ok(e) = protocol.decode::<Everything>(data) else { return };
    // What was understood is written and read as the same again.
    if let Ok(out) = protocol.encode(&e) {
        assert_eq!(protocol.decode::<Everything>(&out).ok(), Some(e));
    }
}

/// A body in JSON.
pub fn json(data: &[u8]) {
    body(Protocol::Json11, data);
}

/// A body in CBOR.
pub fn cbor(data: &[u8]) {
    body(Protocol::Cbor, data);
}

/// A request's head: the first line is path and query, each further one a header.
pub fn signature(data: &[u8]) {
    let mut lines = data.split(|b| *b == b'\n');
    let mut request = Request::builder().method("POST").uri(lines.next().unwrap_or_default());
    for line in lines {
        let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        request = request.header(&line[..colon], line.get(colon + 1..).unwrap_or_default());
    }
    if let Ok(r) = request.body(()) {
        signature::hostile(&r.into_parts().0);
    }
}
