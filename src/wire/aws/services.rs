//! Where requests for AWS's services come in.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use access::{Credentials, Gate};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::Response,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use world::{Home, World};

use super::{
    AwsError, Call, Protocol, Service,
    body::{Bodies, Buffer},
    event,
    service::{Answer, Incoming, Operation},
    signature::{self, Signed},
};

/// All services behind one address.
pub struct Services {
    world: World,
    gate: Gate,
    home: Arc<Home>,
    services: Vec<Service>,
    bodies: Arc<Bodies>,
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
        let bodies = Bodies::new(world.clone());
        Services { world, gate, home: Arc::new(home), services: Vec::new(), bodies }
    }

    /// Adds one.
    #[must_use]
    pub fn with(mut self, service: Service) -> Self {
        self.services.push(service);
        self
    }

    /// Answers what is meant for these services, and lets `router` have the rest.
    pub fn in_front_of(self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(Arc::new(self), entry))
    }

    /// The answer, or the request back if it is not meant for these services.
    pub async fn answer(&self, request: Request) -> Result<Response, Request> {
        if !meant(&request) {
            return Err(request);
        }
        let id = self.request_id();
        let (parts, body) = request.into_parts();
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let form = content_type.and_then(Protocol::of).map_or(Form::Xml, Form::In);
        let mut response = match self.run(&id, form, &parts, body).await {
            Ok(r) => r,
            Err(e) => {
                let target = text(&parts.headers, "x-amz-target");
                tracing::debug!(request = id, target, code = e.code, message = e.message, "refused");
                refusal(form, &e)
            }
        };
        let headers = response.headers_mut();
        if let Ok(v) = HeaderValue::from_str(&id) {
            headers.insert("x-amzn-requestid", v);
        }
        headers.insert("x-amz-id-2", self.id2());
        Ok(response)
    }

    async fn run(&self, id: &str, form: Form, parts: &Parts, body: Body) -> Result<Response, AwsError> {
        let (operation, signed) = match self.expected(form, parts) {
            Ok(found) => found,
            Err(e) => {
                self.bodies.drain(body).await;
                return Err(e);
            }
        };
        let Form::In(protocol) = form else { return Err(AwsError::internal("no protocol")) };
        let body = self.bodies.read(body, operation.max_body).await?;
        let incoming = self.authenticate(id, protocol, operation, signed, parts, body).await?;
        let answer = (operation.run)(incoming).await?;
        let (content_type, body) = match answer {
            Answer::Body(b) => (protocol.header(), Body::from(b)),
            Answer::Events(b) => (HeaderValue::from_static(event::CONTENT_TYPE), b),
        };
        let mut r = Response::new(body);
        r.headers_mut().insert(header::CONTENT_TYPE, content_type);
        Ok(r)
    }

    /// Whether it is worth reading the body: the operation is there, and the signature may be somebody's.
    fn expected(&self, form: Form, parts: &Parts) -> Result<(&Operation, Signed), AwsError> {
        let (service, operation) = self.operation(form, parts)?;
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
            let service = self.services.iter().find(|s| s.target == prefix)?;
            Some((service, service.operations.get(name)?))
        });
        found.ok_or_else(|| AwsError::new("UnknownOperationException", ""))
    }

    async fn authenticate(
        &self,
        id: &str,
        protocol: Protocol,
        operation: &Operation,
        signed: Signed,
        parts: &Parts,
        body: Buffer,
    ) -> Result<Incoming, AwsError> {
        let gate = self.gate_for(parts);
        let canonical = signed.canonical(parts, &signature::payload(&body.hash));
        let request = signed.request(canonical);
        let known = gate.authenticate(Credentials::Signature(&request), operation.action).await?;
        let call = Call {
            request_id: id.to_owned(),
            protocol,
            remote: source(parts),
            region: request.region.to_owned(),
            home: self.home.clone(),
        };
        Ok(Incoming { call, gate, known, body })
    }

    /// The gate as met from where the request comes.
    fn gate_for(&self, parts: &Parts) -> Gate {
        source(parts).map_or_else(|| self.gate.clone(), |ip| self.gate.at(ip))
    }

    /// A random UUID (RFC 9562 §5.4).
    fn request_id(&self) -> String {
        let mut b = self.world.random16();
        b[6] = b[6] & 0x0f | 0x40;
        b[8] = b[8] & 0x3f | 0x80;
        let h = access::hex(&b);
        format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
    }

    /// What AWS's front adds for its own use: 72 bytes that say nothing.
    fn id2(&self) -> HeaderValue {
        let b = [self.world.random32(), self.world.random32(), self.world.random32()].concat();
        HeaderValue::from_str(&STANDARD.encode(&b[..72])).unwrap_or(HeaderValue::from_static(""))
    }
}

async fn entry(State(services): State<Arc<Services>>, request: Request, next: Next) -> Response {
    match services.answer(request).await {
        Ok(r) => r,
        Err(request) => next.run(request).await,
    }
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
        Form::Xml if e.message.is_empty() => (None, format!("<{}/>\n", e.code).into_bytes()),
        // No message of these has anything in it that came from outside.
        Form::Xml => {
            (None, format!("<{0}>\n  <Message>{1}</Message>\n</{0}>\n", e.code, e.message).into_bytes())
        }
    };
    let mut r = Response::new(Body::from(body));
    *r.status_mut() = StatusCode::from_u16(e.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(c) = content_type {
        r.headers_mut().insert(header::CONTENT_TYPE, c);
    }
    r
}
