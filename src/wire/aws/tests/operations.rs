//! Operations in both protocols, errors in theirs.

use super::*;

#[tokio::test]
async fn json_in_json_out() {
    let site = Site::new().await;
    let body = r#"{"StreamName":"s","Data":"aGVsbG8=","At":1459799926.48,"Unknown":[{}],"Limit":null}"#;
    let a = site.json("PutRecord", body).await;
    assert_eq!(
        (a.status, a.text()),
        (
            200,
            r#"{"Resource":"arn:aws:kinesis:eu-west-1:111122223333:stream/s","Bytes":5,"Data":"aGVsbG8=","At":1459799926.48}"#
        )
    );
    assert_eq!(a.headers["content-type"], JSON);
    let id = a.headers["x-amzn-requestid"].to_str().unwrap();
    assert!(id.len() == 36 && id.as_bytes()[14] == b'4' && id.as_bytes()[8] == b'-', "{id}");
    assert_eq!(a.headers["x-amz-id-2"].len(), 96);
    let records = vec![r#"{"Data":"AAAA","PartitionKey":"k"}"#; 500].join(",");
    let a = site.json("PutRecord", &format!(r#"{{"StreamName":"s","Records":[{records}]}}"#)).await;
    assert_eq!(a.json()["Bytes"], 1500);
    let a = site.json("Nothing", r#"{"StreamName":"s"}"#).await;
    assert_eq!((a.status, a.text()), (200, ""));
}

#[tokio::test]
async fn cbor_in_cbor_out() {
    let site = Site::new().await;
    // As Jackson writes it: an indefinite map, a tagged time in milliseconds, here also text in pieces.
    let mut body = vec![0xbf];
    body.extend(b"\x6aStreamName\x7f\x61a\x61b\xff");
    body.extend(b"\x64Data\x5f\x42\x01\x02\x41\x03\xff");
    body.extend(b"\x62At\xc1\x1b\x00\x00\x01\x53\xe2\x9d\x29\x30");
    body.extend(b"\x65Limit\xf6");
    body.extend(b"\x67Unknown\x9f\xbf\x61x\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00\xff\xff");
    body.push(0xff);
    let a = site.send(signed("PutRecord", CBOR, body)).await;
    assert_eq!((a.status, a.headers["content-type"].to_str().unwrap()), (200, CBOR));
    let v: ciborium::Value = ciborium::from_reader(&a.body[..]).unwrap();
    let get = |k: &str| {
        v.as_map().unwrap().iter().find(|(n, _)| n.as_text() == Some(k)).map(|(_, v)| v.clone()).unwrap()
    };
    assert_eq!(get("Resource").as_text(), Some("arn:aws:kinesis:eu-west-1:111122223333:stream/ab"));
    assert_eq!(get("Data").as_bytes().map(Vec::as_slice), Some(&[1, 2, 3][..]));
    assert_eq!(get("At"), ciborium::Value::Tag(1, Box::new(1_459_795_863_856_u64.into())));
    let a = site.send(signed("Fail", CBOR, b"\xa1\x6aStreamName\x61s".to_vec())).await;
    assert_eq!(a.status, 400);
    let e: std::collections::BTreeMap<String, String> = ciborium::from_reader(&a.body[..]).unwrap();
    assert_eq!((&*e["__type"], &*e["message"]), ("ResourceInUseException", "Stream x is \"busy\""));
}

#[tokio::test]
async fn errors_have_aws_words_and_codes() {
    let site = Site::new().await;
    for (operation, body, error) in [
        ("Fail", r#"{"StreamName":"s"}"#, "400 ResourceInUseException: Stream x is \"busy\""),
        ("Nonesuch", "{}", "400 UnknownOperationException: "),
        ("PutRecord", "", "400 SerializationException: "),
        ("PutRecord", "hello", "400 SerializationException: "),
        ("PutRecord", "null", "400 SerializationException: "),
        ("PutRecord", r#"{"StreamName":"s"}{}"#, "400 SerializationException: "),
        ("PutRecord", r#"{"StreamName":"s""#, "400 SerializationException: "),
        ("PutRecord", "[]", "400 SerializationException: Start of list found where not expected"),
        (
            "PutRecord",
            r#"{"StreamName":1}"#,
            "400 SerializationException: NUMBER_VALUE can not be converted to a String",
        ),
        (
            "PutRecord",
            r#"{"StreamName":true}"#,
            "400 SerializationException: TRUE_VALUE can not be converted to a String",
        ),
        (
            "PutRecord",
            r#"{"Limit":"1"}"#,
            "400 SerializationException: STRING_VALUE can not be converted to an Integer",
        ),
        ("PutRecord", r#"{"Records":"x"}"#, "400 SerializationException: Expected list or null"),
        (
            "PutRecord",
            r#"{"Records":{}}"#,
            "400 SerializationException: Start of structure or map found where not expected.",
        ),
        (
            "PutRecord",
            r#"{"Data":"AAA"}"#,
            "400 SerializationException: can not be converted to a Blob: Base64 encoded length is expected a multiple of 4 bytes but found: 3",
        ),
        ("PutRecord", "{}", "400 InvalidArgumentException: one of name and ARN is needed"),
        (
            "PutRecord",
            r#"{"StreamARN":"arn:aws:kinesis:eu-west-1:999999999999:stream/x"}"#,
            "400 AccessDeniedException: User is not authorized to perform: kinesis:PutRecord on resource: arn:aws:kinesis:eu-west-1:999999999999:stream/x",
        ),
        (
            "PutRecord",
            r#"{"StreamName":"","Limit":0}"#,
            "400 ValidationException: 3 validation errors detected: Value '' at 'streamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+; Value '' at 'streamName' failed to satisfy constraint: Member must have length greater than or equal to 1; Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1",
        ),
        (
            "PutRecord",
            r#"{"StreamName":"s","Records":[{"Data":"","PartitionKey":"k"},{"Data":""}]}"#,
            "400 ValidationException: 1 validation error detected: Value null at 'records.2.member.partitionKey' failed to satisfy constraint: Member must not be null",
        ),
    ] {
        let a = site.json(operation, body).await;
        assert_eq!(a.error(), error, "{operation} {body}");
        assert_eq!(a.headers["content-type"], JSON);
        let told = a.json();
        let capital = told["__type"] == "SerializationException";
        assert!(told.get(if capital { "message" } else { "Message" }).is_none(), "{told}");
    }
}

#[tokio::test]
async fn what_is_in_no_protocol_is_answered_as_by_aws_front() {
    let site = Site::new().await;
    let denied = "<AccessDeniedException>\n  <Message>Unable to determine service/operation name to be authorized</Message>\n</AccessDeniedException>\n";
    for (content_type, target, method, status, body) in [
        ("text/plain", "Kinesis_20131202.PutRecord", "POST", 404, "<UnknownOperationException/>\n"),
        ("text/plain", "nothing", "POST", 403, denied),
        ("", "", "POST", 403, denied),
    ] {
        let r = Request::builder()
            .method(method)
            .uri("/")
            .header("content-type", content_type)
            .header("x-amz-target", target)
            .body(Body::from("{}"))
            .unwrap();
        let a = site.send(r).await;
        assert_eq!((a.status, a.text()), (status, body), "{content_type} {target}");
        assert!(a.headers.contains_key("x-amzn-requestid"));
    }
    let r = Request::post("/").header("content-type", JSON).body(Body::from("{}")).unwrap();
    assert_eq!(site.send(r).await.error(), "400 UnknownOperationException: ");
    // All else is not for these services.
    for (method, path) in [("GET", "/"), ("POST", "/v1/cameras"), ("POST", "/")] {
        let r = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        assert_eq!(site.send(r).await.text(), "not for AWS", "{method} {path}");
    }
}

/// Headers and payload of the first message, and the rest. Checks both checksums.
fn unpack(m: &[u8]) -> (Vec<(String, String)>, &[u8], &[u8]) {
    let be = |r: std::ops::Range<usize>| u32::from_be_bytes(m[r].try_into().unwrap()) as usize;
    let (total, head) = (be(0..4), be(4..8));
    assert_eq!(be(8..12), crc32fast::hash(&m[..8]) as usize);
    assert_eq!(be(total - 4..total), crc32fast::hash(&m[..total - 4]) as usize);
    let mut h = &m[12..12 + head];
    let mut headers = Vec::new();
    while !h.is_empty() {
        let n = usize::from(h[0]);
        let (name, rest) = h[1..].split_at(n);
        assert_eq!(rest[0], 7);
        let n = usize::from(u16::from_be_bytes([rest[1], rest[2]]));
        let (value, rest) = rest[3..].split_at(n);
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
        headers.push((text(name), text(value)));
        h = rest;
    }
    (headers, &m[12 + head..total - 4], &m[total..])
}

#[tokio::test]
async fn events_come_in_messages() {
    let site = Site::new().await;
    let a = site.json("Ticks", r#"{"StreamName":"s","Limit":2}"#).await;
    assert_eq!(
        (a.status, &a.headers["content-type"]),
        (200, &"application/vnd.amazon.eventstream".parse().unwrap())
    );
    let mut rest = &a.body[..];
    let mut told = Vec::new();
    while !rest.is_empty() {
        let (headers, payload, more) = unpack(rest);
        assert_eq!(headers[1], (":content-type".into(), JSON.into()));
        told.push(format!("{} {} {}", headers[2].1, headers[0].1, String::from_utf8_lossy(payload)));
        rest = more;
    }
    assert_eq!(
        told,
        [
            "event initial-response {}",
            r#"event TickEvent {"N":0,"Data":"AAAA"}"#,
            r#"event TickEvent {"N":1,"Data":"AQEB"}"#,
            r#"exception InternalFailureException {"__type":"InternalFailure","message":"that was all"}"#,
        ]
    );
    let a = site.json("Ticks", r#"{"StreamName":"s"}"#).await;
    assert_eq!(a.error(), "400 ResourceNotFoundException: no limit");
    let a = site.send(signed("Ticks", CBOR, b"\xa2\x6aStreamName\x61s\x65Limit\x01".to_vec())).await;
    let (headers, payload, rest) = unpack(&a.body);
    assert_eq!((headers[1].1.as_str(), payload), (CBOR, &[0xa0][..]));
    let tick: ciborium::Value = ciborium::from_reader(unpack(rest).1).unwrap();
    assert_eq!(tick.as_map().unwrap()[1].1.as_bytes().map(Vec::as_slice), Some(&[0, 0, 0][..]));
}
