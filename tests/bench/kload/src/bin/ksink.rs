//! `ksink PORT MODE`: the transport limit. An HTTP/1.1 server that answers
//! every POST with a fixed body. MODE: `discard` drops frames as they come;
//! `collect` joins the body; `sha` also hashes it (SigV4 payload hash);
//! `parse` also parses the PutRecords JSON (serde_json, borrowed) and decodes
//! base64.
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;

#[derive(Deserialize)]
struct Put<'a> {
    #[serde(borrow, rename = "Records", default)]
    records: Vec<Rec<'a>>,
    #[serde(borrow, rename = "Data", default)]
    data: Option<&'a str>,
}
#[derive(Deserialize)]
struct Rec<'a> {
    #[serde(borrow, rename = "Data")]
    data: &'a str,
    #[serde(borrow, rename = "PartitionKey")]
    key: &'a str,
}

fn answer(n: usize) -> Bytes {
    let one = r#"{"SequenceNumber":"49590338271490256608559692538361571095921575989136588898","ShardId":"shardId-000000000000"}"#;
    format!("{{\"FailedRecordCount\":0,\"Records\":[{}]}}", vec![one; n].join(",")).into()
}

/// The answer to PutRecord.
fn small() -> Bytes {
    Bytes::from_static(br#"{"SequenceNumber":"49590338271490256608559692538361571095921575989136588898","ShardId":"shardId-000000000000"}"#)
}

async fn handle(
    mode: u8,
    full: Bytes,
    req: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let mut body = req.into_body();
    if mode == 0 {
        while let Some(f) = body.frame().await {
            f?;
        }
        return Ok(Response::new(Full::new(Bytes::from_static(b"{\"FailedRecordCount\":0}"))));
    }
    let all = body.collect().await?.to_bytes();
    let one_record = all.len() < 4096 && memchr::memmem::find(&all, b"\"Records\"").is_none();
    if mode >= 2 {
        std::hint::black_box(ring::digest::digest(&ring::digest::SHA256, &all));
    }
    if mode >= 3 {
        let put: Put = serde_json::from_slice(&all).expect("json");
        let mut out = Vec::with_capacity(all.len());
        for d in put
            .records
            .iter()
            .map(|r| {
                std::hint::black_box(r.key);
                r.data
            })
            .chain(put.data)
        {
            base64_simd::STANDARD.decode_append(d.as_bytes(), &mut out).expect("base64");
        }
        std::hint::black_box(&out);
    }
    let n = if one_record { small() } else { full };
    Ok(Response::new(Full::new(n)))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let port: u16 = args.next().unwrap_or("4800".into()).parse()?;
    let mode = match args.next().as_deref() {
        Some("collect") => 1,
        Some("sha") => 2,
        Some("parse") => 3,
        _ => 0,
    };
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    rt.block_on(async move {
        let l = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        let full = answer(500);
        loop {
            let (s, _) = l.accept().await?;
            s.set_nodelay(true)?;
            let full = full.clone();
            tokio::spawn(async move {
                let svc = service_fn(move |r| handle(mode, full.clone(), r));
                let _ = hyper::server::conn::http1::Builder::new()
                    .max_buf_size(1 << 20)
                    .serve_connection(TokioIo::new(s), svc)
                    .await;
            });
        }
    })
}
