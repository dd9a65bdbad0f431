//! Reading a request's body: into one buffer, hashed while it comes, bounded in bytes, in time, and over all requests.

use std::{
    mem,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::body::{Body, HttpBody as _};
use http_body_util::BodyExt as _;
use ring::digest;
use world::World;

use super::{
    AwsError,
    room::{Part, Room},
};

/// How far room is reserved ahead of what has come.
const AHEAD: usize = 64 << 10;
/// How long what nobody wants is read.
const WAIT: Duration = Duration::from_secs(5);
/// A body must come within this, and so much longer as it is large at [`SLOWEST`].
const TIME: Duration = Duration::from_secs(20);
/// Bytes a second.
const SLOWEST: usize = 32 << 10;
/// What is read and thrown away of a body that is too large, so that its sender reads the answer.
const DRAINED: usize = 32 << 20;
/// Buffers kept for the next, and how large one may be for that.
const KEPT: usize = 16;
const KEPT_BYTES: usize = 2 << 20;

/// Where bodies are read.
pub(crate) struct Bodies {
    world: World,
    room: Room,
    kept: Mutex<Vec<Vec<u8>>>,
}

/// A body, read. Its buffer goes back when this is dropped.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// SHA-256 of it.
    pub(crate) hash: [u8; 32],
    from: Arc<Bodies>,
    _room: Part,
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.from.give_back(mem::take(&mut self.bytes));
    }
}

impl Bodies {
    /// `budget`: what all bodies that are being read may take.
    pub(crate) fn new(world: World, budget: usize) -> Arc<Bodies> {
        let busy = "Too many bytes of requests are under way. Please try again.";
        Arc::new(Bodies { room: Room::new(world.clone(), budget, busy), world, kept: Mutex::default() })
    }

    fn give_back(&self, mut v: Vec<u8>) {
        if v.capacity() > 0 && v.capacity() <= KEPT_BYTES {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < KEPT {
                v.clear();
                kept.push(v);
            }
        }
    }

    /// Reads a body of at most `max` bytes.
    pub(crate) async fn read(self: &Arc<Self>, body: Body, max: usize) -> Result<Buffer, AwsError> {
        // What its header announces, if anything.
        let announced = body.size_hint().exact().map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        let time = TIME + Duration::from_secs((announced.unwrap_or(max).min(max) / SLOWEST) as u64);
        tokio::select! {
            // First: most bodies are there when they are asked for, and then no timer is set.
            biased;
            r = self.collect(body, announced, max) => r,
            () = self.world.clock.sleep(time) => {
                Err(AwsError::with_status(408, "RequestTimeout", "The body did not arrive in time."))
            }
        }
    }

    async fn collect(
        self: &Arc<Self>,
        mut body: Body,
        announced: Option<usize>,
        max: usize,
    ) -> Result<Buffer, AwsError> {
        let mut room = Part::default();
        let mut hash = digest::Context::new(&digest::SHA256);
        let bytes = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let mut buffer = Buffer { bytes, hash: [0; 32], from: self.clone(), _room: Part::default() };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| AwsError::serialization(format!("the body broke off: {e}")))?;
            // Trailers say nothing to us.
            let Ok(data) = frame.into_data() else { continue };
            let len = buffer.bytes.len() + data.len();
            if len > max {
                drop(buffer);
                self.drain(body).await;
                return Err(AwsError::too_large(max));
            }
            // Room is taken for what is there, not for what is announced.
            self.room.grow(&mut room, len).await?;
            if buffer.bytes.is_empty() {
                // No more than that beyond what has come, until more has.
                let first = announced.unwrap_or(0).min(max).min(data.len().saturating_mul(4).max(AHEAD));
                buffer.bytes.reserve(first);
            }
            hash.update(&data);
            buffer.bytes.extend_from_slice(&data);
        }
        buffer.hash.copy_from_slice(hash.finish().as_ref());
        buffer._room = room;
        Ok(buffer)
    }

    /// Reads a body that nobody wants, for a while, without keeping anything: whoever sends one reads the answer
    /// afterwards.
    pub(crate) async fn drain(&self, mut body: Body) {
        let drain = async {
            let mut n = 0;
            while let Some(Ok(f)) = body.frame().await {
                n += f.data_ref().map_or(0, |d| d.len());
                if n > DRAINED {
                    break;
                }
            }
        };
        tokio::select! { () = drain => {}, () = self.world.clock.sleep(WAIT) => {} }
    }
}
