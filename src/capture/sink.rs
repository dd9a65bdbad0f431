use std::{net::IpAddr, sync::Arc};

use access::Permit;
use media::{AccessUnit, Track};
use world::Timestamp;

/// Why a sink did not take something. `retry` says whether the source should try again later by itself.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct SinkError {
    /// For people.
    pub message: String,
    /// Whether it may pass.
    pub retry: bool,
}

/// Where received media goes. Implemented by the binary over the video streams.
#[async_trait::async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Begins a session that publishes to a stream.
    async fn open(&self, permit: Permit, stream: &str) -> Result<Box<dyn Session>, SinkError>;

    /// The same for a camera's sub source. A stream that has to be made for it is to be known as that camera's.
    async fn open_sub(
        &self,
        permit: Permit,
        stream: &str,
        camera: &str,
    ) -> Result<Box<dyn Session>, SinkError> {
        let _ = camera;
        self.open(permit, stream).await
    }
}

/// One source's session. Units come in the order in which they were received; nothing is skipped.
#[async_trait::async_trait]
pub trait Session: Send {
    /// Declares the tracks: once before the first unit, and again whenever a configuration changed (which ends the
    /// fragment). Track ids are the session's own, from 1, stable through changes.
    async fn tracks(&mut self, tracks: Vec<Arc<Track>>) -> Result<(), SinkError>;
    /// Takes one access unit. Waits when the disk is slow (a TCP source is thereby slowed; a UDP source drops and
    /// counts). `received` is when its last packet came.
    async fn write(&mut self, unit: AccessUnit, received: Timestamp) -> Result<(), SinkError>;
    /// The source's time line broke (packets lost, a timestamp jump, a reconnect): what follows does not continue
    /// what was.
    async fn discontinuity(&mut self, why: &str) -> Result<(), SinkError>;
    /// Whether the times of units from here on are the server's estimate rather than the source's own clock's; before
    /// the first call they are not.
    async fn estimated(&mut self, estimated: bool) -> Result<(), SinkError> {
        let _ = estimated;
        Ok(())
    }
    /// Ends it: everything taken is durable when this returns.
    async fn end(self: Box<Self>) -> Result<(), SinkError>;
}

/// Who may publish by push: asked once a connection, before anything is received.
#[async_trait::async_trait]
pub trait Admit: Send + Sync + 'static {
    /// `user` and `password` as the client sent them, percent-decoding done; `peer` is where it connects from.
    async fn publish(
        &self,
        peer: IpAddr,
        stream: &str,
        user: Option<&str>,
        password: Option<&str>,
    ) -> Result<Permit, access::Denied>;
}

/// What a source is doing, in words and numbers. Kept up to date by the source, read by the console.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Status {
    /// The state.
    pub state: State,
    /// For people: what is wrong, or what is received.
    pub detail: String,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// Access units received, and handed on: equal unless something is wrong.
    pub units_in: u64,
    /// See `units_in`.
    pub units_out: u64,
    /// RTP packets known to be lost.
    pub lost: u64,
    /// Payload bytes received.
    pub bytes: u64,
    /// Connections made.
    pub connects: u64,
    /// When the last access unit came.
    pub last_unit: Option<Timestamp>,
    /// Why the source's own clock is not used, in words; `None` if it is, or if it told none.
    pub clock_warning: Option<String>,
    /// Whether times are this server's estimate, for want of sender reports that could be used.
    pub times_estimated: bool,
}

/// A source's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum State {
    /// Not yet connected, or again trying to.
    #[default]
    Connecting,
    /// Receiving.
    Running,
    /// Connected, but nothing has come for a while.
    Stalled,
    /// It failed and will be tried again (`detail` says what and when).
    Failed,
    /// It cannot work without somebody changing something: wrong credentials, an unsupported codec.
    Rejected,
    /// A push camera to which nobody publishes.
    Waiting,
    /// Stopped on purpose.
    Stopped,
}
