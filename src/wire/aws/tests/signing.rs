//! Signatures: AWS's own vectors, and what is refused.

use super::*;
use crate::aws::signature::text_for_tests;

/// The parts and the body of a request in the vectors' form.
fn parse(text: &str) -> (axum::http::request::Parts, &str) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let mut r = Request::builder().method(first.next().unwrap()).uri(first.next().unwrap());
    for l in lines {
        let (k, v) = l.split_once(':').unwrap();
        r = r.header(k, v);
    }
    (r.body(()).unwrap().into_parts().0, body)
}

#[test]
fn canonical_forms_are_those_of_the_published_vectors() {
    let mut seen = 0;
    for vector in include_str!("sigv4.txt").split("\n> ").skip(1) {
        let (name, rest) = vector.split_once('\n').unwrap();
        let (request, hash) = rest.rsplit_once("\n= ").unwrap();
        let (parts, body) = parse(request);
        // The suite's presigned requests do not cover their bodies' content.
        let (_, text) = text_for_tests(&parts, &sha256_hex(body.as_bytes()));
        assert_eq!(sha256_hex(text.as_bytes()), hash.trim(), "{name}:\n{text}");
        seen += 1;
    }
    assert_eq!(seen, 57);
}

#[tokio::test]
async fn what_is_wrong_with_a_signature_is_said_in_aws_words() {
    let site = Site::new().await;
    let body = || b"{\"StreamName\":\"s\"}".to_vec();
    let plain = || unsigned("PutRecord", JSON, Vec::new());
    let mismatch = "400 InvalidSignatureException: The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.";
    let error = async |r: Request<Body>| site.send(r).await.error();
    assert_eq!(
        error(unsigned("PutRecord", JSON, body())).await,
        "400 MissingAuthenticationTokenException: Missing Authentication Token"
    );
    assert_eq!(error(sign(plain(), body(), (KEY.0, "wrong"), NOW)).await, mismatch);
    assert_eq!(
        error(sign(plain(), body(), ("AKIAOTHER", KEY.1), NOW)).await,
        "400 UnrecognizedClientException: The security token included in the request is invalid."
    );
    assert_eq!(
        error(sign(plain(), body(), KEY, "20251231T235459Z")).await,
        "400 InvalidSignatureException: Signature expired: 20251231T235459Z is now earlier than 20251231T235500Z (20260101T000000Z - 5 min.)"
    );
    assert_eq!(
        error(sign(plain(), body(), KEY, "20260101T000501Z")).await,
        "400 InvalidSignatureException: Signature not yet current: 20260101T000501Z is still later than 20260101T000500Z (20260101T000000Z + 5 min.)"
    );
    assert_eq!(site.send(sign(plain(), body(), KEY, "20251231T235500Z")).await.status, 200);
    // Changed on its way: body, target, a signed header, the region.
    let changed = |f: &dyn Fn(&mut Request<Body>)| {
        let mut r = sign(plain(), body(), KEY, NOW);
        f(&mut r);
        r
    };
    assert_eq!(error(changed(&|r| *r.body_mut() = Body::from("{\"StreamName\":\"t\"}"))).await, mismatch);
    let set = |name: &'static str, value: &'static str| {
        changed(&move |r| {
            r.headers_mut().insert(name, value.parse().unwrap());
        })
    };
    assert_eq!(error(set("x-amz-target", "Kinesis_20131202.Nothing")).await, mismatch);
    assert_eq!(error(set("host", "elsewhere")).await, mismatch);
    assert_eq!(error(changed(&|r| *r.uri_mut() = "/?a=b".parse().unwrap())).await, mismatch);
    let edit = |from: &'static str, to: &'static str| {
        changed(&move |r| {
            let a = r.headers()["authorization"].to_str().unwrap().replace(from, to);
            r.headers_mut().insert("authorization", a.parse().unwrap());
        })
    };
    assert_eq!(error(edit("us-west-2", "us-west-3")).await, mismatch);
    for (from, to, wanted) in [
        (
            "/kinesis/",
            "/dynamodb/",
            "400 InvalidSignatureException: Credential should be scoped to correct service: 'kinesis'.",
        ),
        (
            "/aws4_request",
            "/x",
            "400 InvalidSignatureException: Credential should be scoped with a valid terminator: 'aws4_request', not 'x'.",
        ),
        (
            "/20260101/",
            "/20260102/",
            "400 InvalidSignatureException: Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20260102' != '20260101', from '20260101T000000Z'.",
        ),
        (
            "host;",
            "",
            "400 InvalidSignatureException: 'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
        ),
        (
            ";x-amz-target",
            "",
            "400 InvalidSignatureException: 'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization.",
        ),
        (
            "/us-west-2",
            "",
            "400 IncompleteSignatureException: Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'AKIAROOTROOTROOTROOT/20260101/kinesis/aws4_request'",
        ),
        (
            "AWS4-HMAC-SHA256",
            "AWS4-ECDSA-P256-SHA256",
            "400 IncompleteSignatureException: Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'.",
        ),
    ] {
        assert_eq!(error(edit(from, to)).await, wanted);
    }
    let mut r = unsigned("PutRecord", JSON, body());
    r.headers_mut().insert("authorization", "X".parse().unwrap());
    assert_eq!(
        error(r).await,
        "400 IncompleteSignatureException: Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=X"
    );
    let mut r = sign(plain(), body(), KEY, NOW);
    *r.uri_mut() = "/?X-Amz-Algorithm".parse().unwrap();
    assert_eq!(
        error(r).await,
        "400 InvalidSignatureException: Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."
    );
    let mut r = unsigned("PutRecord", JSON, body());
    *r.uri_mut() = "/?X-Amz-Algorithm".parse().unwrap();
    assert!(error(r).await.starts_with(
        "400 IncompleteSignatureException: AWS query-string parameters must include 'X-Amz-Algorithm'. AWS query-string parameters must include 'X-Amz-Credential'. "
    ));
    // Extra spaces, another order, and a repeated header are all the same to the canonical form.
    let r = edit(", SignedHeaders", ",SignedHeaders");
    assert_eq!(site.send(r).await.status, 200);
    assert_eq!(site.send(set("content-type", "  application/x-amz-json-1.1 ")).await.status, 200);
    // A session token is of nobody.
    let mut r = plain();
    r.headers_mut().insert("x-amz-security-token", "token".parse().unwrap());
    assert!(error(sign(r, body(), KEY, NOW)).await.contains("UnrecognizedClientException"));
    site.clock.advance(6 * MINUTE);
    assert!(error(sign(plain(), body(), KEY, NOW)).await.contains("Signature expired"));
}

#[tokio::test]
async fn any_signature_will_do_where_that_was_asked_for() {
    let site = Site::with(|g| g.accepting_any_signature()).await;
    let body = || b"{\"StreamName\":\"s\"}".to_vec();
    let plain = || unsigned("PutRecord", JSON, Vec::new());
    assert_eq!(site.send(sign(plain(), body(), ("test", "test"), "20200101T000000Z")).await.status, 200);
    assert!(site.send(unsigned("PutRecord", JSON, body())).await.error().contains("MissingAuth"));
}
