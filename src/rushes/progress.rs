//! How far a long job is, on one line of a terminal's standard error; nothing where that is not one.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::Arc,
    time::Duration,
};

use world::{Clock, World};

/// How often the line is drawn.
const EVERY: Duration = Duration::from_millis(200);
const BAR: usize = 24;

/// A bar that fills as bytes pass.
pub struct Progress {
    what: String,
    total: u64,
    done: u64,
    clock: Arc<dyn Clock>,
    begun: Duration,
    drawn: Option<Duration>,
    shown: bool,
}

impl Progress {
    /// Of so many bytes, as far as is known.
    pub fn new(what: impl Into<String>, total: u64, quiet: bool) -> Progress {
        let clock = World::real(".").clock;
        let shown = !quiet && std::io::stderr().is_terminal();
        Progress { what: what.into(), total, done: 0, begun: clock.monotonic(), clock, drawn: None, shown }
    }

    /// Seconds since it began, and the bytes until now.
    pub fn so_far(&self) -> (f64, u64) {
        (self.clock.monotonic().saturating_sub(self.begun).as_secs_f64(), self.done)
    }

    /// So many more.
    pub fn add(&mut self, bytes: u64) {
        self.done += bytes;
        let now = self.clock.monotonic();
        if self.shown && self.drawn.is_none_or(|d| now.saturating_sub(d) >= EVERY) {
            self.drawn = Some(now);
            self.draw();
        }
    }

    fn draw(&self) {
        let part = (self.done as f64 / self.total.max(1) as f64).clamp(0.0, 1.0);
        let full = (part * BAR as f64) as usize;
        let mb = |n: u64| n as f64 / 1e6;
        let rate = mb(self.done) / self.so_far().0.max(0.001);
        let bar = format!("{}{}", "#".repeat(full), ".".repeat(BAR - full));
        // Whoever closed our standard error does not want to see it.
        let _ = write!(
            std::io::stderr(),
            "\r{} [{bar}] {:3.0} %  {:.1} of {:.1} MB, {rate:.1} MB/s \x1b[K",
            self.what,
            part * 100.0,
            mb(self.done),
            mb(self.total)
        );
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
