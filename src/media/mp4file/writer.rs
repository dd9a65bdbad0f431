use bytes::Bytes;

use super::moov::{self, ftyp};
use super::plan::Plan;
use crate::timeline::Gaps;
use crate::{LeftOut, MediaError, Table};

/// Writes a file in one pass, its `moov` last: [`start`](Self::start), then each [`fragment`](Self::fragment), then
/// [`finish`](Self::finish), each to be appended to the file.
#[derive(Debug)]
pub struct Writer {
    plan: Plan,
}

impl Writer {
    /// A file of which nothing is written.
    pub fn new(gaps: Gaps) -> Writer {
        let mut plan = Plan::new(gaps);
        plan.at = ftyp().len() as u64;
        Writer { plan }
    }

    /// What a file begins with.
    pub fn start(&self) -> Bytes {
        ftyp().into()
    }

    /// The next fragment as slices: the head of an `mdat`, then the payload's own bytes. Fails as
    /// [`Plan::add_payload`] does; then nothing is to be written, and the file can be finished or go on.
    pub fn fragment(&mut self, table: &Table, payload: &Bytes) -> Result<Vec<Bytes>, MediaError> {
        // Sizes of 32 bits unless the payload, rewritten or with parameter sets, could reach beyond them.
        let config = table.tracks.iter().map(|t| t.config.len() as u64).max().unwrap_or(0);
        let wide = payload.len() as u64 + config.saturating_mul(2 * table.samples.len() as u64) > 1 << 30;
        let before = self.plan.at;
        self.plan.at += if wide { 16 } else { 8 };
        if let Err(e) = self.plan.add_payload(table, payload) {
            self.plan.at = before;
            return Err(e);
        }
        let data = self.plan.last_slices(table, payload)?;
        let len = data.iter().map(|d| d.len() as u64).sum::<u64>();
        let mut head = vec![];
        moov::mdat(&mut head, len, wide);
        let mut out = vec![Bytes::from(head)];
        out.extend(data);
        Ok(out)
    }

    /// What could not be put into the file so far.
    pub fn left_out(&self) -> &[LeftOut] {
        self.plan.left_out()
    }

    /// What the file ends with. Fails if there was no sample.
    pub fn finish(mut self) -> Result<Bytes, MediaError> {
        let mut out = vec![];
        let wide = self.plan.at > u64::from(u32::MAX);
        moov::write(&mut out, &mut self.plan, wide)?;
        Ok(out.into())
    }
}
