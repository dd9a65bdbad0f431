//! Services and their operations.

use std::{collections::BTreeMap, net::IpAddr, pin::Pin, sync::Arc};

use access::{Action, Gate, Known, Permit};
use axum::{
    body::Body,
    http::{HeaderMap, Uri, request::Parts},
    response::Response,
};
use bytes::Bytes;
use futures_util::Stream;
use serde::{Serialize, de::DeserializeOwned};
use world::{Arn, Home};

use super::{
    AwsError, Event, Protocol, Violations,
    body::Buffer,
    event,
    rest::{Bind, Route},
    room::{Part, Room},
    written::Written,
};

/// An answer larger than this takes room among all that are under way.
const LARGE: usize = 256 << 10;

/// What an operation takes. Its members are `Option`s: what the model requires is asked for in [`Input::check`], so that
/// its absence is reported as AWS reports it.
pub trait Input: DeserializeOwned + Send + 'static {
    /// Collects what violates the model (not what needs the service's state to be known).
    fn check(&self, v: &mut Violations);
    /// What the gate is asked about: the resource that the input names, by name or ARN. An error where it names none.
    fn resource(&self, home: &Home) -> Result<Arn, AwsError>;
    /// How many bytes its answer may have, if that may be many: an operation runs once there is room for them.
    fn answer_bytes(&self) -> usize {
        0
    }
    /// The same, for an input that names it by a token which the gate sealed.
    fn resource_by(&self, gate: &Gate, home: &Home) -> Result<Arn, AwsError> {
        let _ = gate;
        self.resource(home)
    }
}

/// What an operation may want to know besides its input.
#[derive(Clone, Debug)]
pub struct Call {
    /// As in the answer's `x-amzn-RequestId`.
    pub request_id: String,
    /// The protocol of request and answer.
    pub protocol: Protocol,
    /// From where.
    pub remote: Option<IpAddr>,
    /// To which address of this machine.
    pub local: Option<IpAddr>,
    /// The region that the signature's scope names. Any is accepted; resources are in [`Call::home`]'s.
    pub region: String,
    /// Account and region of resources.
    pub home: Arc<Home>,
    /// The address that the client called, as it says: host, and port if there was one.
    pub host: Option<String>,
    /// Whether a proxy says that the client came by TLS.
    pub forwarded_secure: bool,
}

pub(crate) enum Answer {
    Body(Bytes),
    Events(Body),
    Raw(Response),
}

/// A request that is known to be somebody's.
pub(crate) struct Incoming {
    pub(crate) call: Call,
    pub(crate) gate: Gate,
    pub(crate) known: Known,
    pub(crate) body: Came,
    /// Of answers.
    pub(crate) room: Arc<Room>,
    /// Members of the input that are not in the body.
    pub(crate) bound: serde_json::Map<String, serde_json::Value>,
}

/// What came as the body.
pub(crate) enum Came {
    Whole(Buffer),
    /// Nobody has read it yet.
    Stream(Body),
    /// There is none; what the request's head says is the operation's to see.
    Head(Box<Parts>),
}

/// How an operation takes its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Whole, as its input.
    Whole,
    /// As a stream of bytes that is its own to read.
    Stream,
    /// Not at all: it takes the connection.
    Connection,
}

type Running = Pin<Box<dyn Future<Output = Result<Answer, AwsError>> + Send>>;

pub(crate) struct Operation {
    pub(crate) action: Action,
    pub(crate) max_body: usize,
    pub(crate) takes: Takes,
    /// In REST-JSON.
    pub(crate) route: Option<Route>,
    /// Beside the route: which requests are for it.
    pub(crate) when: Option<fn(&Uri, &HeaderMap) -> bool>,
    pub(crate) run: Box<dyn Fn(Incoming) -> Running + Send + Sync>,
}

/// One service: its name in signatures, its prefix in `X-Amz-Target`, its operations.
pub struct Service {
    pub(crate) signing_name: &'static str,
    pub(crate) target: &'static str,
    pub(crate) operations: BTreeMap<&'static str, Operation>,
    /// The name of the error for what violates the model.
    invalid: &'static str,
}

/// What of a request is not its input.
#[derive(Default)]
struct Rest {
    body: Body,
    head: Option<Box<Parts>>,
}

/// Reads the input, checks it, and passes the gate.
fn admit<I: Input>(
    incoming: Incoming,
    action: Action,
    invalid: &'static str,
) -> Result<(Call, Permit, I, Rest), AwsError> {
    let Incoming { call, gate, known, body, bound, room: _ } = incoming;
    let (input, body): (I, Rest) = match body {
        // The buffer is free for the next request after this.
        Came::Whole(b) => (call.protocol.decode_with(&b, bound)?, Rest::default()),
        Came::Stream(b) => (call.protocol.decode_with(b"{}", bound)?, Rest { body: b, head: None }),
        Came::Head(h) => {
            (call.protocol.decode_with(b"{}", bound)?, Rest { body: Body::empty(), head: Some(h) })
        }
    };
    let mut violations = Violations::default();
    input.check(&mut violations);
    violations.into_result().map_err(|e| AwsError { code: invalid, ..e })?;
    let permit = gate.authorize(known, action, &input.resource_by(&gate, &call.home)?)?;
    Ok((call, permit, input, body))
}

impl Service {
    /// One without operations. `signing_name`: such as `kinesis`; `target`: such as `Kinesis_20131202`.
    pub fn new(signing_name: &'static str, target: &'static str) -> Self {
        Service { signing_name, target, operations: BTreeMap::new(), invalid: "ValidationException" }
    }

    /// A REST-JSON service without operations. `invalid`: the error for what violates the model.
    pub fn rest(signing_name: &'static str, invalid: &'static str) -> Self {
        Service { signing_name, target: "", operations: BTreeMap::new(), invalid }
    }

    /// Its operations' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.operations.keys().copied()
    }

    /// What each operation asks the gate for, in the same order.
    pub fn actions(&self) -> impl Iterator<Item = Action> {
        self.operations.values().map(|o| o.action)
    }

    /// Adds an operation. `max_body`: bytes of the request's body at most.
    #[must_use]
    pub fn operation<I, O, F, Fut>(
        self,
        name: &'static str,
        action: Action,
        max_body: usize,
        handler: F,
    ) -> Self
    where
        I: Input,
        O: Serialize + 'static,
        F: Fn(Call, Permit, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, AwsError>> + Send + 'static,
    {
        let answer = |protocol: Protocol, out: O| Ok(Answer::Body(protocol.encode(&out)?));
        self.add(name, action, max_body, move |call, permit, input, _| handler(call, permit, input), answer)
    }

    /// The same for one whose answer writes its own JSON.
    #[must_use]
    pub fn written<I, O, F, Fut>(
        self,
        name: &'static str,
        action: Action,
        max_body: usize,
        handler: F,
    ) -> Self
    where
        I: Input,
        O: Written + 'static,
        F: Fn(Call, Permit, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, AwsError>> + Send + 'static,
    {
        let answer = |protocol: Protocol, out: O| Ok(Answer::Body(protocol.write(&out)?));
        self.add(name, action, max_body, move |call, permit, input, _| handler(call, permit, input), answer)
    }

    /// Adds an operation whose answer is a stream of events. What the handler refuses is answered as by any operation;
    /// an error in the stream is its last event. The stream is asked for more only as fast as the client reads.
    #[must_use]
    pub fn event_stream<I, E, S, F, Fut>(
        self,
        name: &'static str,
        action: Action,
        max_body: usize,
        handler: F,
    ) -> Self
    where
        I: Input,
        E: Event,
        S: Stream<Item = Result<E, AwsError>> + Send + 'static,
        F: Fn(Call, Permit, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S, AwsError>> + Send + 'static,
    {
        let answer =
            |protocol, events: S| Ok(Answer::Events(Body::from_stream(event::frames(protocol, events))));
        self.add(name, action, max_body, move |call, permit, input, _| handler(call, permit, input), answer)
    }

    /// Adds an operation of a REST-JSON service. `uri`: `POST /createStream`; members in braces. `binds`: the members that
    /// come in headers and in the query.
    #[must_use]
    pub fn at<I, O, F, Fut>(
        self,
        name: &'static str,
        action: Action,
        (uri, binds): (&'static str, &'static [Bind]),
        max_body: usize,
        handler: F,
    ) -> Self
    where
        I: Input,
        O: Serialize + 'static,
        F: Fn(Call, Permit, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, AwsError>> + Send + 'static,
    {
        self.operation(name, action, max_body, handler).route(name, uri, binds)
    }

    /// The same for one whose answer is not JSON: the handler makes it whole, and may stream its body.
    #[must_use]
    pub fn download<I, F, Fut>(
        self,
        name: &'static str,
        action: Action,
        (uri, binds): (&'static str, &'static [Bind]),
        max_body: usize,
        handler: F,
    ) -> Self
    where
        I: Input,
        F: Fn(Call, Permit, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, AwsError>> + Send + 'static,
    {
        let handler = move |call, permit, input, _| handler(call, permit, input);
        self.add(name, action, max_body, handler, |_, whole| Ok(Answer::Raw(whole))).route(name, uri, binds)
    }

    /// The same for one whose body is a stream of bytes, read by the handler, which may answer long before its end. All
    /// members of the input are bound. The signature covers the head alone (see `docs/aws.md`).
    #[must_use]
    pub fn upload<I, F, Fut>(
        self,
        name: &'static str,
        action: Action,
        (uri, binds): (&'static str, &'static [Bind]),
        handler: F,
    ) -> Self
    where
        I: Input,
        F: Fn(Call, Permit, I, Body) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, AwsError>> + Send + 'static,
    {
        let handler = move |call, permit, input, rest: Rest| handler(call, permit, input, rest.body);
        let mut service =
            self.add(name, action, 0, handler, |_, whole| Ok(Answer::Raw(whole))).route(name, uri, binds);
        if let Some(o) = service.operations.get_mut(name) {
            o.takes = Takes::Stream;
        }
        service
    }

    /// The same for one that takes the connection over (RFC 9110 §7.8): the handler is given the request's head, of which
    /// `when` said that it is for this operation and no other of the same method and path.
    #[must_use]
    pub fn upgrade<I, F, Fut>(
        self,
        name: &'static str,
        action: Action,
        (uri, binds): (&'static str, &'static [Bind]),
        when: fn(&Uri, &HeaderMap) -> bool,
        handler: F,
    ) -> Self
    where
        I: Input,
        F: Fn(Call, Permit, I, Parts) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, AwsError>> + Send + 'static,
    {
        let handler = move |call, permit, input, rest: Rest| {
            let running = rest.head.map(|head| handler(call, permit, input, *head));
            async move {
                match running {
                    Some(r) => r.await,
                    None => Err(AwsError::internal("there is no connection")),
                }
            }
        };
        let mut service =
            self.add(name, action, 0, handler, |_, whole| Ok(Answer::Raw(whole))).route(name, uri, binds);
        if let Some(o) = service.operations.get_mut(name) {
            (o.takes, o.when) = (Takes::Connection, Some(when));
        }
        service
    }

    fn route(mut self, name: &'static str, uri: &'static str, binds: &'static [Bind]) -> Self {
        if let Some(o) = self.operations.get_mut(name) {
            o.route = Some(Route::new(uri, binds));
        }
        self
    }

    /// Adds what admits, runs the handler, and makes an answer of what it gives.
    fn add<I, R, F, Fut>(
        mut self,
        name: &'static str,
        action: Action,
        max_body: usize,
        handler: F,
        answer: fn(Protocol, R) -> Result<Answer, AwsError>,
    ) -> Self
    where
        I: Input,
        R: 'static,
        F: Fn(Call, Permit, I, Rest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, AwsError>> + Send + 'static,
    {
        let invalid = self.invalid;
        let run = move |incoming: Incoming| -> Running {
            let room = incoming.room.clone();
            let (call, permit, input, body) = match admit::<I>(incoming, action, invalid) {
                Ok(admitted) => admitted,
                Err(e) => return Box::pin(std::future::ready(Err(e))),
            };
            let (protocol, large) = (call.protocol, input.answer_bytes());
            let running = handler(call, permit, input, body);
            Box::pin(async move {
                let mut part = Part::default();
                if large > LARGE {
                    room.grow(&mut part, large).await?;
                }
                let bytes = match answer(protocol, running.await?)? {
                    Answer::Body(b) if b.len() > LARGE => b,
                    other => return Ok(other),
                };
                room.grow(&mut part, bytes.len()).await?;
                Ok(Answer::Body(part.hold(bytes)))
            })
        };
        let run = Box::new(run);
        let takes = Takes::Whole;
        self.operations.insert(name, Operation { action, max_body, takes, route: None, when: None, run });
        self
    }
}
