//! Services and their operations.

use std::{collections::BTreeMap, net::IpAddr, pin::Pin, sync::Arc};

use access::{Action, Gate, Known, Permit};
use axum::body::Body;
use futures_util::Stream;
use serde::{Serialize, de::DeserializeOwned};
use world::{Arn, Home};

use super::{AwsError, Event, Protocol, Violations, body::Buffer, event};

/// What an operation takes. Its members are `Option`s: what the model requires is asked for in [`Input::check`], so that
/// its absence is reported as AWS reports it.
pub trait Input: DeserializeOwned + Send + 'static {
    /// Collects what violates the model (not what needs the service's state to be known).
    fn check(&self, v: &mut Violations);
    /// What the gate is asked about: the resource that the input names, by name or ARN. An error where it names none.
    fn resource(&self, home: &Home) -> Result<Arn, AwsError>;
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
    /// The region that the signature's scope names. Any is accepted; resources are in [`Call::home`]'s.
    pub region: String,
    /// Account and region of resources.
    pub home: Arc<Home>,
}

pub(crate) enum Answer {
    Body(Vec<u8>),
    Events(Body),
}

/// A request that is known to be somebody's.
pub(crate) struct Incoming {
    pub(crate) call: Call,
    pub(crate) gate: Gate,
    pub(crate) known: Known,
    pub(crate) body: Buffer,
}

type Running = Pin<Box<dyn Future<Output = Result<Answer, AwsError>> + Send>>;

pub(crate) struct Operation {
    pub(crate) action: Action,
    pub(crate) max_body: usize,
    pub(crate) run: Box<dyn Fn(Incoming) -> Running + Send + Sync>,
}

/// One service: its name in signatures, its prefix in `X-Amz-Target`, its operations.
pub struct Service {
    pub(crate) signing_name: &'static str,
    pub(crate) target: &'static str,
    pub(crate) operations: BTreeMap<&'static str, Operation>,
}

/// Reads the input, checks it, and passes the gate.
fn admit<I: Input>(incoming: Incoming, action: Action) -> Result<(Call, Permit, I), AwsError> {
    let Incoming { call, gate, known, body } = incoming;
    let input: I = call.protocol.decode(&body)?;
    // The buffer is free for the next request from here on.
    drop(body);
    let mut violations = Violations::default();
    input.check(&mut violations);
    violations.into_result()?;
    let permit = gate.authorize(known, action, &input.resource_by(&gate, &call.home)?)?;
    Ok((call, permit, input))
}

impl Service {
    /// One without operations. `signing_name`: such as `kinesis`; `target`: such as `Kinesis_20131202`.
    pub fn new(signing_name: &'static str, target: &'static str) -> Self {
        Service { signing_name, target, operations: BTreeMap::new() }
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
        O: Serialize,
        F: Fn(Call, Permit, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, AwsError>> + Send + 'static,
    {
        self.add(name, action, max_body, move |incoming| {
            let (call, permit, input) = match admit(incoming, action) {
                Ok(admitted) => admitted,
                Err(e) => return Box::pin(std::future::ready(Err(e))),
            };
            let protocol = call.protocol;
            let running = handler(call, permit, input);
            Box::pin(async move { Ok(Answer::Body(protocol.encode(&running.await?)?)) })
        })
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
        self.add(name, action, max_body, move |incoming| {
            let (call, permit, input) = match admit(incoming, action) {
                Ok(admitted) => admitted,
                Err(e) => return Box::pin(std::future::ready(Err(e))),
            };
            let protocol = call.protocol;
            let running = handler(call, permit, input);
            Box::pin(
                async move { Ok(Answer::Events(Body::from_stream(event::frames(protocol, running.await?)))) },
            )
        })
    }

    fn add(
        mut self,
        name: &'static str,
        action: Action,
        max_body: usize,
        run: impl Fn(Incoming) -> Running + Send + Sync + 'static,
    ) -> Self {
        self.operations.insert(name, Operation { action, max_body, run: Box::new(run) });
        self
    }
}
