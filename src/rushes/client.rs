//! The command line's way to a running server: JSON over HTTP with the root key.

use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response,
    body::{Body, Incoming},
    header,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::{Failure, cli::ClientArgs};

/// Answers larger than this are not for people.
const LIMIT: usize = 64 << 20;

const AWS_JSON: &str = "application/x-amz-json-1.1";

/// An operation of an AWS service was refused, or could not be asked for (then without a code).
pub struct AwsFailure {
    /// Such as `ResourceNotFoundException`.
    pub code: String,
    /// In words.
    pub failure: Failure,
}

impl From<Failure> for AwsFailure {
    fn from(failure: Failure) -> Self {
        AwsFailure { code: String::new(), failure }
    }
}

impl From<AwsFailure> for Failure {
    fn from(e: AwsFailure) -> Self {
        e.failure
    }
}

/// A server and the key to use.
pub struct Client {
    url: url::Url,
    authorization: String,
    id: String,
    secret: String,
    data: std::path::PathBuf,
}

fn json_file(path: &std::path::Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

impl Client {
    /// Finds both.
    pub fn new(args: &ClientArgs) -> Result<Client, Failure> {
        let data = &args.data;
        let url = match &args.server {
            Some(u) => u.clone(),
            None => json_file(&data.join("server.json"))
                .and_then(|v| v["url"].as_str().map(str::to_owned))
                .ok_or_else(|| Failure(format!("no server runs on {}: start one with `rushes serve --data {0}`, or name one with --server or --data", data.display())))?,
        };
        let url: url::Url = url.parse().map_err(|e| Failure(format!("{url}: {e}")))?;
        let (id, secret) = match (&args.access_key_id, &args.secret_access_key) {
            (Some(i), Some(s)) => (i.clone(), s.clone()),
            _ => {
                let file = data.join("root-key.json");
                let v = json_file(&file).ok_or_else(|| {
                    Failure(format!(
                        "no access key: {} cannot be read; give --access-key-id and --secret-access-key",
                        file.display()
                    ))
                })?;
                let field = |n: &str| {
                    v[n].as_str()
                        .map(str::to_owned)
                        .ok_or_else(|| Failure(format!("{}: has no {n}", file.display())))
                };
                (field("accessKeyId")?, field("secretAccessKey")?)
            }
        };
        let authorization =
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}")));
        Ok(Client { url, authorization, id, secret, data: data.clone() })
    }

    /// A URL on this server.
    pub fn absolute(&self, path: &str) -> String {
        format!("{}{path}", self.url.as_str().trim_end_matches('/'))
    }

    /// Asks; the answer is JSON, or null where there is no body.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let bytes = body.as_ref().map(|b| b.to_string().into_bytes()).unwrap_or_default();
        let kind = body.is_some().then_some("application/json");
        let response = self.send(method, path, kind, Full::new(Bytes::from(bytes))).await?;
        self.json(response).await
    }

    /// An operation of an AWS service, such as `Kinesis_20131202.ListStreams`, signed. `now`: the time of the signature.
    pub async fn aws(&self, target: &str, body: &Value, now: world::Timestamp) -> Result<Value, AwsFailure> {
        let body = body.to_string().into_bytes();
        let (address, host) = self.address()?;
        let time: String = wire::time::format(now).chars().filter(|c| !matches!(c, '-' | ':')).collect();
        let time = format!("{}Z", time.split('.').next().unwrap_or_default());
        let day = time.get(..8).unwrap_or_default().to_owned();
        let (region, service, signed) = ("us-east-1", "kinesis", "content-type;host;x-amz-date;x-amz-target");
        let canonical = format!(
            "POST\n/\n\ncontent-type:{AWS_JSON}\nhost:{host}\nx-amz-date:{time}\nx-amz-target:{target}\n\n{signed}\n{}",
            access::sha256_hex(&body)
        );
        let request = access::SignedRequest {
            key_id: &self.id,
            day: &day,
            region,
            service,
            time_text: &time,
            time: now,
            expires: None,
            session_token: None,
            canonical: access::sha256(canonical.as_bytes()),
            signature: "",
        };
        let signature = access::sign(&self.secret, &request);
        let request = Request::post("/")
            .header(header::HOST, &host)
            .header(header::CONTENT_TYPE, AWS_JSON)
            .header("x-amz-date", &time)
            .header("x-amz-target", target)
            .header(
                header::AUTHORIZATION,
                format!(
                    "AWS4-HMAC-SHA256 Credential={}/{day}/{region}/{service}/aws4_request, SignedHeaders={signed}, Signature={signature}",
                    self.id
                ),
            )
            .body(Full::new(Bytes::from(body)))
            .map_err(Failure::new)?;
        let response = self.connect(&address, request).await?;
        let fine = response.status().is_success();
        let status = response.status();
        let v = self.json(response).await?;
        if fine {
            return Ok(v);
        }
        let code = v["__type"].as_str().unwrap_or_default().to_owned();
        let words = v["message"].as_str().or(v["Message"].as_str()).map(str::to_owned);
        let words = words.unwrap_or_else(|| format!("{} answered {status} {code}", self.url));
        Err(AwsFailure { code, failure: Failure(words) })
    }

    /// Host and port, and both as one header.
    fn address(&self) -> Result<((String, u16), String), Failure> {
        let host = self.url.host_str().ok_or_else(|| Failure(format!("{}: has no host", self.url)))?;
        let port = self.url.port_or_known_default().unwrap_or(80);
        Ok(((host.to_owned(), port), format!("{host}:{port}")))
    }

    /// Asks, with a body that may be made while it is sent; the answer as it comes, if it is a success.
    pub async fn send<B>(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: B,
    ) -> Result<Response<Incoming>, Failure>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (address, host) = self.address()?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host)
            .header(header::TE, "trailers")
            .header(header::AUTHORIZATION, &self.authorization);
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.body(body).map_err(Failure::new)?;
        let response = self.connect(&address, request).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(response).await) }
    }

    /// Sends one request on a connection of its own.
    async fn connect<B>(
        &self,
        (host, port): &(String, u16),
        request: Request<B>,
    ) -> Result<Response<Incoming>, Failure>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let tcp = TcpStream::connect((host.trim_matches(['[', ']']), *port))
            .await
            .map_err(|e| Failure(format!("{} does not answer: {e}; is `rushes serve` running?", self.url)))?;
        if self.url.scheme() == "https" {
            let connector = tokio_rustls::TlsConnector::from(Arc::new(self.tls()?));
            let name = rustls::pki_types::ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                .map_err(Failure::new)?;
            let tls =
                connector.connect(name, tcp).await.map_err(|e| Failure(format!("{}: {e}", self.url)))?;
            self.exchange(TokioIo::new(tls), request).await
        } else {
            self.exchange(TokioIo::new(tcp), request).await
        }
    }

    /// A whole answer.
    pub async fn json(&self, response: Response<Incoming>) -> Result<Value, Failure> {
        let body = http_body_util::Limited::new(response.into_body(), LIMIT)
            .collect()
            .await
            .map_err(|e| Failure(format!("{}: {e}", self.url)))?
            .to_bytes();
        Ok(if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap_or(Value::Null) })
    }

    async fn refused(&self, response: Response<Incoming>) -> Failure {
        let status = response.status();
        match self.json(response).await.ok().and_then(|v| v["error"]["message"].as_str().map(str::to_owned)) {
            Some(m) => Failure(m),
            None => Failure(format!("{} answered {status}", self.url)),
        }
    }

    /// Trusts the server's own self-signed certificate, which lies in its data folder.
    fn tls(&self) -> Result<rustls::ClientConfig, Failure> {
        use rustls::pki_types::{CertificateDer, pem::PemObject as _};
        let mut roots = rustls::RootCertStore::empty();
        let own = self.data.join("self-signed.pem");
        for file in [own.as_path(), std::path::Path::new("/etc/ssl/certs/ca-certificates.crt")] {
            if let Ok(pem) = std::fs::read(file) {
                roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Failure::new)?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }

    async fn exchange<I, B>(&self, io: I, request: Request<B>) -> Result<Response<Incoming>, Failure>
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let broken = |e: hyper::Error| {
            // What made a body fail is more telling than that it did.
            let why = std::error::Error::source(&e).map(|s| s.to_string()).unwrap_or_default();
            Failure(format!(
                "{}: the connection broke: {e}{}{why}",
                self.url,
                if why.is_empty() { "" } else { ": " }
            ))
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(broken)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(broken)
    }
}
