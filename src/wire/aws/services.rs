//! Where requests for AWS's services come in.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use access::{Credentials, Denied, Gate, Known, SignatureFault};
use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tower::ServiceExt as _;
use world::{Home, World};

use crate::v1::Local;

use super::{
    AwsError, Call, Protocol, Service,
    body::Bodies,
    event,
    room::Room,
    service::{Answer, Came, Incoming, Operation, Takes},
    signature::{self, Signed},
};

/// What stands for a body that is not hashed, in the habits of AWS's own clients: SHA-256 of nothing, and two words
/// (Signature Version 4 for Amazon S3, "Authenticating requests: chunked upload" and "unsigned payload").
const STREAMED: [&str; 3] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "UNSIGNED-PAYLOAD",
];
const ANYBODY: HeaderValue = HeaderValue::from_static("*");
/// What pages may read of an answer.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-amzn-RequestId,x-amz-RequestId,x-amzn-ErrorType,x-amz-ErrorType,x-amz-id-2,Content-Type,Date",
);
/// What all bodies of requests that are being read may take: of those that may be somebody's, and of those that are not for
/// these services (`crate::v1`), of which that is found out later.
const BODIES: usize = 256 << 20;
const OTHERS: usize = 32 << 20;
/// What all large answers that are under way may take.
const ANSWERS: usize = 512 << 20;
/// What REST services answer with 403.
const UNKNOWN_CALLER: [&str; 6] = [
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
];

/// All services behind one address.
pub struct Services {
    world: World,
    gate: Gate,
    home: Arc<Home>,
    services: Vec<Service>,
    bodies: Arc<Bodies>,
    others: Arc<Bodies>,
    answers: Arc<Room>,
}

/// In which form an answer to this request is written.
#[derive(Clone, Copy)]
enum Form {
    In(Protocol),
    /// It came in no protocol of ours: a little XML, as AWS's front does.
    Xml,
}

impl Services {
    /// None yet.
    pub fn new(world: World, gate: Gate, home: Home) -> Self {
        let bodies = Bodies::new(world.clone(), BODIES);
        let others = Bodies::new(world.clone(), OTHERS);
        let busy = "Too many bytes of answers are under way. Please try again.";
        let answers = Arc::new(Room::new(world.clone(), ANSWERS, busy));
        Services { world, gate, home: Arc::new(home), services: Vec::new(), bodies, others, answers }
    }

    /// Adds one.
    #[must_use]
    pub fn with(mut self, service: Service) -> Self {
        self.services.push(service);
        self
    }

    /// Answers what is meant for these services, and lets `router` have the rest.
    pub fn in_front_of(self, router: Router) -> Router {
        let both = Arc::new((self, router));
        Router::new().fallback(move |request| {
            let both = both.clone();
            async move { both.0.answer_before(&both.1, request).await }
        })
    }

    /// The same for one request: the shortest way, since many a stream's records come one by one.
    pub async fn answer_before(&self, router: &Router, request: Request) -> Response {
        match self.answer(request).await {
            Ok(r) => r,
            Err(mut request) => {
                request.extensions_mut().insert(self.others.clone());
                let Ok(r) = router.clone().oneshot(request).await;
                r
            }
        }
    }

    /// The answer, or the request back if it is not meant for these services.
    pub async fn answer(&self, request: Request) -> Result<Response, Request> {
        if let Some(allowed) = self.preflight(&request) {
            return Ok(allowed);
        }
        let cross = request.headers().contains_key(header::ORIGIN);
        let route = self.route(&request);
        if route.is_none() && !meant(&request) {
            return Err(request);
        }
        let random = self.world.random16();
        let id = request_id(random);
        let (parts, body) = request.into_parts();
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let form = match route {
            Some(_) => Form::In(Protocol::Rest),
            None => content_type.and_then(Protocol::of).map_or(Form::Xml, Form::In),
        };
        let mut response = match self.run(&id, form, route, &parts, body).await {
            Ok(r) => r,
            Err(e) => {
                let target = text(&parts.headers, "x-amz-target");
                tracing::debug!(request = id, target, code = e.code, message = e.message, "refused");
                refusal(form, &e)
            }
        };
        let headers = response.headers_mut();
        if let Ok(v) = HeaderValue::from_str(&id) {
            if route.is_some() {
                // Clients of REST services look for either.
                headers.insert("x-amz-requestid", v.clone());
            }
            headers.insert("x-amzn-requestid", v);
        }
        headers.insert("x-amz-id-2", id2(random));
        if cross {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANYBODY);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        Ok(response)
    }

    /// What a browser asks before a page of another origin may call an operation (Fetch Standard §3.2.2). Any may: what admits
    /// is the signature, and no cookie is looked at.
    fn preflight(&self, r: &Request) -> Option<Response> {
        let wanted = r.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        if r.method() != Method::OPTIONS || !r.headers().contains_key(header::ORIGIN) {
            return None;
        }
        let method = Method::from_bytes(wanted.as_bytes()).ok()?;
        let path = r.uri().path();
        let all = self.services.iter().flat_map(|s| s.operations.values()).filter(|o| o.when.is_none());
        let ours = all.filter_map(|o| o.route.as_ref()).any(|route| route.matches(&method, path));
        if !ours && (path != "/" || method != Method::POST) {
            return None;
        }
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANYBODY);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, wanted.clone());
        if let Some(asked) = r.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("172800"));
        Some(response)
    }

    async fn run(
        &self,
        id: &str,
        form: Form,
        route: Option<(&Service, &Operation)>,
        parts: &Parts,
        body: Body,
    ) -> Result<Response, AwsError> {
        let (operation, signed) = match self.expected(form, route, parts) {
            Ok(found) => found,
            Err(e) => {
                self.refuse(body, route).await;
                return Err(e);
            }
        };
        let Form::In(protocol) = form else { return Err(AwsError::internal("no protocol")) };
        let bound = operation.route.as_ref().map(|r| r.members(parts)).unwrap_or_default();
        if operation.takes == Takes::Whole {
            let body = self.bodies.read(body, operation.max_body).await?;
            let hash = signature::payload(&body.hash);
            let (call, gate, known) =
                self.authenticate(id, protocol, operation, signed, parts, &[&hash]).await?;
            let room = self.answers.clone();
            let incoming = Incoming { call, gate, known, body: Came::Whole(body), room, bound };
            return Ok(respond(protocol, (operation.run)(incoming).await?));
        }
        let said = text(&parts.headers, "x-amz-content-sha256");
        let payloads: &[&str] = match STREAMED.iter().position(|p| *p == said) {
            Some(i) => &STREAMED[i..=i],
            // Clients have habits of their own, and do not all say which.
            None => &STREAMED,
        };
        match self.authenticate(id, protocol, operation, signed, parts, payloads).await {
            Ok((call, gate, known)) => {
                let body = match operation.takes {
                    Takes::Connection => Came::Head(Box::new(parts.clone())),
                    _ => Came::Stream(body),
                };
                let room = self.answers.clone();
                let incoming = Incoming { call, gate, known, body, room, bound };
                Ok(respond(protocol, (operation.run)(incoming).await?))
            }
            Err(e) => {
                self.refuse(body, route).await;
                Err(e)
            }
        }
    }

    /// Reads what nobody wants for a while; a stream that may never end beside the answer, not before it.
    async fn refuse(&self, body: Body, route: Option<(&Service, &Operation)>) {
        let bodies = self.bodies.clone();
        match route {
            Some((_, o)) if o.takes != Takes::Whole => {
                tokio::spawn(async move { bodies.drain(body).await });
            }
            _ => bodies.drain(body).await,
        }
    }

    /// The operation whose method and path a request has.
    fn route(&self, r: &Request) -> Option<(&Service, &Operation)> {
        if r.headers().contains_key("x-amz-target") {
            return None;
        }
        let mut all = self.services.iter().flat_map(|s| s.operations.values().map(move |o| (s, o)));
        all.find(|(_, o)| {
            o.route.as_ref().is_some_and(|route| route.matches(r.method(), r.uri().path()))
                && o.when.is_none_or(|when| when(r.uri(), r.headers()))
        })
    }

    /// Whether it is worth reading the body: the operation is there, and the signature may be somebody's.
    fn expected<'a>(
        &'a self,
        form: Form,
        route: Option<(&'a Service, &'a Operation)>,
        parts: &Parts,
    ) -> Result<(&'a Operation, Signed), AwsError> {
        let (service, operation) = match route {
            Some(found) => found,
            None => self.operation(form, parts)?,
        };
        let signed = Signed::read(parts)?;
        signed.check(service.signing_name, &parts.headers)?;
        self.gate_for(parts).expects(&signed.request([0; 32]), operation.action)?;
        Ok((operation, signed))
    }

    fn operation(&self, form: Form, parts: &Parts) -> Result<(&Service, &Operation), AwsError> {
        let target = text(&parts.headers, "x-amz-target").rsplit_once('.');
        let undetermined = || {
            AwsError::with_status(
                403,
                "AccessDeniedException",
                "Unable to determine service/operation name to be authorized",
            )
        };
        let Form::In(_) = form else {
            return Err(match target {
                Some((s, o)) if !s.is_empty() && !o.is_empty() => {
                    AwsError::with_status(404, "UnknownOperationException", "")
                }
                _ => undetermined(),
            });
        };
        if parts.method != Method::POST {
            return Err(undetermined());
        }
        let found = target.and_then(|(prefix, name)| {
            let service = self.services.iter().find(|s| s.target == prefix && !prefix.is_empty())?;
            Some((service, service.operations.get(name)?))
        });
        found.ok_or_else(|| AwsError::new("UnknownOperationException", ""))
    }

    /// Who it is. `payloads`: what may stand for the body in what was signed.
    async fn authenticate(
        &self,
        id: &str,
        protocol: Protocol,
        operation: &Operation,
        signed: Signed,
        parts: &Parts,
        payloads: &[&str],
    ) -> Result<(Call, Gate, Known), AwsError> {
        let gate = self.gate_for(parts);
        let mut result = Err(AwsError::internal("nothing was signed"));
        for payload in payloads {
            let request = signed.request(signed.canonical(parts, payload));
            match gate.authenticate(Credentials::Signature(&request), operation.action).await {
                Ok(known) => {
                    let authority = parts.uri.authority().map(|a| a.as_str());
                    let host = Some(text(&parts.headers, "host")).filter(|h| !h.is_empty()).or(authority);
                    let call = Call {
                        request_id: id.to_owned(),
                        protocol,
                        remote: source(parts),
                        local: parts.extensions.get::<Local>().map(|l| l.0.ip()),
                        region: request.region.to_owned(),
                        home: self.home.clone(),
                        host: host.map(str::to_owned),
                        forwarded_secure: text(&parts.headers, "x-forwarded-proto")
                            .eq_ignore_ascii_case("https"),
                    };
                    return Ok((call, gate, known));
                }
                // It may have been signed otherwise.
                Err(d @ Denied::Signature(SignatureFault::Mismatch)) => result = Err(d.into()),
                Err(d) => return Err(d.into()),
            }
        }
        result
    }

    /// The gate as met from where the request comes.
    fn gate_for(&self, parts: &Parts) -> Gate {
        source(parts).map_or_else(|| self.gate.clone(), |ip| self.gate.at(ip))
    }
}

/// A random UUID (RFC 9562 §5.4).
fn request_id(mut b: [u8; 16]) -> String {
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let mut id = access::hex(&b);
    for dash in [8, 13, 18, 23] {
        id.insert(dash, '-');
    }
    id
}

/// What AWS's front adds for its own use: 72 bytes that say nothing, drawn out of the request's own (SplitMix64).
fn id2(random: [u8; 16]) -> HeaderValue {
    let mut state = u128::from_le_bytes(random) as u64;
    let mut b = [0; 72];
    for word in b.chunks_exact_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word.copy_from_slice(&(z ^ z >> 31).to_le_bytes());
    }
    HeaderValue::from_str(&STANDARD.encode(b)).unwrap_or(HeaderValue::from_static(""))
}

fn respond(protocol: Protocol, answer: Answer) -> Response {
    let (content_type, body) = match answer {
        Answer::Body(b) => (protocol.header(), Body::from(b)),
        Answer::Events(b) => (HeaderValue::from_static(event::CONTENT_TYPE), b),
        Answer::Raw(r) => return r,
    };
    let mut r = Response::new(body);
    r.headers_mut().insert(header::CONTENT_TYPE, content_type);
    r
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

fn source(parts: &Parts) -> Option<IpAddr> {
    // The listener leaves the peer's address here.
    parts.extensions.get::<SocketAddr>().map(SocketAddr::ip)
}

/// Whether a request is for AWS's services: it has a target; or it comes to the root in a protocol of theirs or signed.
fn meant(r: &Request) -> bool {
    if r.headers().contains_key("x-amz-target") {
        return true;
    }
    r.uri().path() == "/"
        && (text(r.headers(), "authorization").starts_with("AWS4-")
            || text(r.headers(), "content-type").starts_with("application/x-amz-")
            || r.uri().query().is_some_and(|q| q.contains("X-Amz-Algorithm")))
}

fn refusal(form: Form, e: &AwsError) -> Response {
    let (content_type, body) = match form {
        Form::In(p) => (Some(p.header()), p.error(e)),
        Form::Xml if e.message.is_empty() => (None, format!("<{}/>\n", e.code).into()),
        // No message of these has anything in it that came from outside.
        Form::Xml => (None, format!("<{0}>\n  <Message>{1}</Message>\n</{0}>\n", e.code, e.message).into()),
    };
    let mut r = Response::new(Body::from(body));
    if matches!(form, Form::In(Protocol::Rest)) {
        let name = HeaderValue::from_static(e.code);
        r.headers_mut().insert("x-amzn-errortype", name.clone());
        r.headers_mut().insert("x-amz-errortype", name);
    }
    let status = match (form, e.code) {
        (Form::In(Protocol::Rest), code) if UNKNOWN_CALLER.contains(&code) => 403,
        _ => e.status,
    };
    *r.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(c) = content_type {
        r.headers_mut().insert(header::CONTENT_TYPE, c);
    }
    r
}
