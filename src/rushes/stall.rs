//! Connections whose client does not read what it asked for, or never ends what it sends.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::intake::Intake;
use world::World;

/// A connection that is given up when its client has read nothing for so long though there was something to read: what is
/// held for it is held for nobody.
pub(crate) struct Stalling<S> {
    inner: S,
    intake: Intake,
    world: World,
    most: Duration,
    /// Runs while a write waits.
    waiting: Option<BoxFuture<'static, ()>>,
}

impl<S> Stalling<S> {
    /// `intake`: asked before each read.
    pub(crate) fn new(inner: S, intake: Intake, world: World, most: Duration) -> Self {
        Stalling { inner, intake, world, most, waiting: None }
    }

    fn watched<T>(&mut self, cx: &mut Context<'_>, step: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if step.is_ready() {
            self.waiting = None;
            return step;
        }
        let (world, most) = (&self.world, self.most);
        let timer = self.waiting.get_or_insert_with(|| {
            let clock = world.clock.clone();
            Box::pin(async move { clock.sleep(most).await })
        });
        timer.as_mut().poll(cx).map(|()| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read what it asked for"))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.intake.poll_read(cx))?;
        let before = buf.filled().len();
        let step = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.intake.read(buf.filled().len() - before);
        step
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.watched(cx, step)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.watched(cx, step)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.inner).poll_flush(cx);
        self.watched(cx, step)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watched(cx, step)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use world::sim::Sim;

    use super::*;

    const MOST: Duration = Duration::from_secs(60);

    /// Lets the other tasks go as far as they can.
    async fn settle() {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_reads_nothing_is_given_up_and_who_reads_slowly_is_not() {
        let sim = Sim::new(1);
        let (ours, mut theirs) = duplex(8);
        let mut ours = Stalling::new(ours, Intake::default(), sim.world.clone(), MOST);
        let writing = tokio::spawn(async move {
            ours.write_all(&[7; 24]).await?;
            ours.write_all(&[7; 8]).await
        });
        let mut got = [0; 8];
        // Eight bytes in a little less than a minute each.
        for _ in 0..2 {
            settle().await;
            sim.clock.advance(MOST - Duration::from_secs(1));
            settle().await;
            theirs.read_exact(&mut got).await.unwrap();
        }
        settle().await;
        sim.clock.advance(MOST - Duration::from_secs(1));
        settle().await;
        assert!(!writing.is_finished());
        sim.clock.advance(Duration::from_secs(1));
        assert_eq!(writing.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
