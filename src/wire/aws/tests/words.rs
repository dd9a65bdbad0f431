//! Violations in AWS's words, and values in both protocols.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::aws::hostile;

fn said(f: impl FnOnce(&mut Violations)) -> String {
    let mut v = Violations::default();
    f(&mut v);
    v.into_result().map_or_else(|e| e.message, |()| String::new())
}

#[test]
fn each_kind_of_constraint() {
    let text = |s: &str| Some(s.to_owned());
    let map = |n: usize| Some((0..n).map(|i| (format!("k{i}"), "v".repeat(i))).collect::<BTreeMap<_, _>>());
    for (got, wanted) in [
        (
            said(|v| {
                v.text("a", &None).required().length(1, 2);
            }),
            "Value null at 'a' failed to satisfy constraint: Member must not be null",
        ),
        (
            said(|v| {
                v.text("a", &text("abc")).length(1, 2);
            }),
            "Value 'abc' at 'a' failed to satisfy constraint: Member must have length less than or equal to 2",
        ),
        (
            said(|v| {
                v.text("a", &text("x")).one_of(&["A", "B"]);
            }),
            "Value 'x' at 'a' failed to satisfy constraint: Member must satisfy enum value set: [A, B]",
        ),
        (
            said(|v| {
                v.number("n", &Some(11)).range(1, 10);
            }),
            "Value '11' at 'n' failed to satisfy constraint: Member must have value less than or equal to 10",
        ),
        (
            said(|v| {
                v.blob("b", &Some(vec![0; 3].into())).length(0, 2);
            }),
            "Value 'java.nio.HeapByteBuffer[pos=0 lim=3 cap=3]' at 'b' failed to satisfy constraint: Member must have length less than or equal to 2",
        ),
        (
            said(|v| {
                v.list::<String>("l", &Some(vec![])).count(1, 2);
            }),
            "Value '[]' at 'l' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ),
        (
            said(|v| {
                v.list("l", &Some(vec!["ab".to_owned(), String::new()])).each_length(1, 9);
            }),
            "Value '[ab, ]' at 'l' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 9, Member must have length greater than or equal to 1]",
        ),
        (
            said(|v| {
                v.map("m", &map(2)).count(3, 4);
            }),
            "Value '{k0=, k1=v}' at 'm' failed to satisfy constraint: Member must have length greater than or equal to 3",
        ),
        (
            said(|v| {
                v.any("s", &Some(1)).nested(|_, v| {
                    v.text("t", &None).required();
                });
            }),
            "Value null at 's.t' failed to satisfy constraint: Member must not be null",
        ),
    ] {
        assert_eq!(got, format!("1 validation error detected: {wanted}"));
    }
    let entries: Vec<Entry> = (0..600).map(|_| Entry::default()).collect();
    let many = said(|v| {
        let entries = Some(entries.clone());
        v.list("records", &entries).count(1, 500).each(|e, v| {
            v.blob("data", &e.data).required();
        });
    });
    assert!(
        many.starts_with("10 validation errors detected: Value '[com.amazonaws.kinesis.v20131202.Entry@0, ")
    );
    assert!(many.len() < 4096, "{}", many.len());
    assert_eq!(
        said(|v| {
            v.text("a", &text("ä😀")).length(3, 3);
        }),
        "",
        "UTF-16 units, as Java counts"
    );
}

#[test]
fn patterns_are_javas_and_match_the_whole() {
    let p = Pattern::new(r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+");
    assert!(p.is_good() && p.matches("arn:aws:kinesis:us-east-1:000000000000:stream/x"));
    assert!(!p.matches("arn:aws:kinesis:us-east-1:٠٠٠٠٠٠٠٠٠٠٠٠:stream/x"), "ASCII digits only");
    assert!(!p.matches("xarn:aws:kinesis:us-east-1:000000000000:stream/x"));
    assert!(!NAME.matches("a\n") && !NAME.matches("") && NAME.matches("a.b-C_9"));
    let hash = Pattern::new(r"0|([1-9]\d{0,38})");
    assert!(
        hash.matches("0")
            && hash.matches(&"9".repeat(39))
            && !hash.matches("01")
            && !hash.matches(&"9".repeat(40))
    );
    assert!(!Pattern::new("(").is_good());
}

#[test]
fn times() {
    let json = |s: &str| serde_json::from_str::<Time>(s).map(|t| t.0.micros()).ok();
    for (text, us) in [
        ("1459799926.480", Some(1_459_799_926_480_000)),
        ("1459799926", Some(1_459_799_926_000_000)),
        ("1.45979992648E9", Some(1_459_799_926_480_000)),
        ("-1.5", Some(-1_500_000)),
        ("\"2016-04-04T19:58:46.480-00:00\"", Some(1_459_799_926_480_000)),
        ("\"2016-04-04T21:58:46.480+02:00\"", Some(1_459_799_926_480_000)),
        ("1e300", None),
        ("\"x\"", None),
        ("true", None),
    ] {
        assert_eq!(json(text), us, "{text}");
    }
    assert_eq!(
        serde_json::to_string(&Time(world::Timestamp(1_459_799_926_000_999))).unwrap(),
        "1459799926.0"
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        name in proptest::option::of("\\PC{0,20}"),
        data in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..100)),
        ms in proptest::option::of(-62_000_000_000_000i64..250_000_000_000_000),
        limit in proptest::option::of(any::<i64>()),
    ) {
        let put = Put {
            stream_name: name,
            data: data.map(Blob::from),
            at: ms.map(|ms| Time(world::Timestamp::from_millis(ms))),
            limit,
            ..Put::default()
        };
        for p in [Protocol::Json11, Protocol::Cbor] {
            prop_assert_eq!(&p.decode::<Put>(&p.encode(&put).unwrap()).unwrap(), &put);
        }
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        hostile::json(&data);
        hostile::cbor(&data);
        hostile::signature(&data);
    }

    /// Mostly well-formed CBOR: items of random kinds behind the names that matter.
    #[test]
    fn nearly_right_bodies(parts in proptest::collection::vec((0usize..7, 0usize..14), 0..12), indefinite: bool) {
        const NAMES: [&str; 7] = ["Text", "Number", "Flag", "Blob", "Time", "List", "Map"];
        const ITEMS: [&[u8]; 14] = [
            b"\x61x", b"\x18\xff", b"\x39\x01\x00", b"\xf5", b"\x43abc", b"\x5f\x41a\xff", b"\x7f\x61a\xff",
            b"\xc1\x1a\x00\x01\x02\x03", b"\x80", b"\x9f\xa0\xff", b"\xbf\xff", b"\xf6", b"\xfb\x40\x09\x21\xfb\x54\x44\x2d\x18",
            b"\xc2\x49\x01\0\0\0\0\0\0\0\0",
        ];
        let mut out = vec![if indefinite { 0xbf } else { 0xa0 | parts.len() as u8 }];
        for (n, i) in parts {
            out.push(0x60 | NAMES[n].len() as u8);
            out.extend(NAMES[n].as_bytes());
            out.extend(ITEMS[i]);
        }
        if indefinite { out.push(0xff); }
        hostile::cbor(&out);
    }

    #[test]
    fn heads_of_requests(
        query in "(\\?(X-Amz-[A-Z][a-zA-Z]{3,12}=[a-zA-Z0-9%/;]{0,20}&?){0,6})?",
        authorization in "(AWS4-HMAC-SHA256)? ?(Credential=[a-z/0-9]{0,30})?,? ?(SignedHeaders=[a-z;-]{0,20})?, ?(Signature=[0-9a-f]{0,64})?",
        date in "[0-9]{0,8}T?[0-9]{0,6}Z?",
    ) {
        hostile::signature(format!("/a/../{query}\nhost:x\nauthorization:{authorization}\nx-amz-date:{date}").as_bytes());
    }
}

#[test]
fn times_have_milliseconds_and_bounds() {
    let cbor = |ms: i64| [b"\xa1\x64Time\x1b".to_vec(), ms.to_be_bytes().to_vec()].concat();
    for ms in [0, 253_402_300_800_000, 253_402_300_800_001, i64::MAX] {
        hostile::cbor(&cbor(ms));
        let read = Protocol::Cbor.decode::<BTreeMap<String, Time>>(&cbor(ms));
        assert_eq!(read.is_ok(), ms <= 253_402_300_800_000, "{ms}");
    }
    // As it was found: far before 1970.
    hostile::cbor(b"\xa1DTime\x1b;;\0\0\xbf`\x87\x87");
    hostile::json(br#"{"Time":"2026-11-29T09:00:00.1234567Z"}"#);
    hostile::json(br#"{"Time":"9999-12-30T22:00:00Z"}"#);
    for refused in ["1e300", "-1e300", "253402300800.01", "\"tomorrow\""] {
        let body = format!("{{\"Time\":{refused}}}");
        assert!(Protocol::Json11.decode::<BTreeMap<String, Time>>(body.as_bytes()).is_err(), "{refused}");
    }
}

#[test]
fn deep_nesting_is_an_error() {
    for depth in [10, 1_000, 1_000_000] {
        hostile::json(&[b"{\"Unknown\":".to_vec(), vec![b'['; depth]].concat());
        hostile::json(&b"{\"List\":[".repeat(depth));
        hostile::cbor(&[b"\xa1\x61x".to_vec(), vec![0x81; depth], vec![0]].concat());
        hostile::cbor(&b"\xa1\x64List\x81".repeat(depth));
        hostile::cbor(&[b"\xa1\x61x".to_vec(), vec![0xc1; depth], vec![0]].concat());
    }
    // Lengths that are announced cost nothing.
    for item in [&b"\x5b"[..], b"\x7b", b"\x9b", b"\xbb"] {
        for name in ["Blob", "Text", "List", "Map", "x"] {
            let head = [&[0xa1, 0x60 | name.len() as u8], name.as_bytes(), item].concat();
            hostile::cbor(&[head, vec![0x7f; 8]].concat());
        }
    }
}
