//! Low-latency media playlists as text (§4.4.3, §4.4.4, §4.4.5).

use std::{fmt::Write, sync::Arc};

use super::{chain::Part, serve::Tip};
use crate::{
    By,
    hls::playlist::{Item, Planned, date, init_uri, write_before, write_entry, write_head},
};

/// Segments that end further from the end than so many target durations may be skipped.
const SKIP: f64 = 6.0;
/// Players keep so many part targets from the end.
const HOLD_BACK: f64 = 3.0;

/// Writes one; with `skip` without what is old.
pub(super) fn write(p: &Planned, tip: &Tip, track: u8, by: By, skip: bool) -> String {
    let until = SKIP * f64::from(p.list.target);
    let open: f64 = tip.open.iter().flat_map(|o| &o.parts).map(|p| p.seconds).sum();
    let skipped = if skip { skippable(p, until, open) } else { 0 };
    let mut out = String::with_capacity(1024 + (p.items.len() - skipped) * 112);
    out.push_str("#EXTM3U\n#EXT-X-VERSION:9\n");
    write_head(&mut out, &p.list);
    let _ = writeln!(
        out,
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={until:.3},PART-HOLD-BACK={:.3}\n\
         #EXT-X-PART-INF:PART-TARGET={:.3}",
        HOLD_BACK * tip.target,
        tip.target
    );
    if skipped > 0 {
        let _ = writeln!(out, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}");
    }
    let with_parts = p.items.len().saturating_sub(tip.parts.len());
    // What was said of the configuration may be among what is skipped.
    let mut said = skipped == 0;
    for (n, (item, f)) in p.items.iter().enumerate().skip(skipped) {
        let again = f.filter(|_| !said).and_then(|f| f.entry.track(track));
        match again {
            Some(t) => write_before(&mut out, &Item { map: Some(init_uri(track, t.init)), ..item.clone() }),
            None => write_before(&mut out, item),
        }
        said |= f.is_some();
        if let Some(parts) = n.checked_sub(with_parts).and_then(|i| tip.parts.iter().rev().nth(i)) {
            write_parts(&mut out, parts, tip.epoch, track);
        }
        write_entry(&mut out, item);
    }
    if let Some(o) = &tip.open {
        if o.discontinuity {
            out.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if p.init != Some(o.init) {
            let _ = writeln!(out, "#EXT-X-MAP:URI=\"{}\"", init_uri(track, o.init));
        }
        // By the server's clock a fragment's time is known when it has arrived.
        if let Some(t) = o.start.filter(|_| by == By::Producer) {
            let _ = writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", date(t));
        }
        write_parts(&mut out, &o.parts, tip.epoch, track);
    }
    if let Some(seq) = tip.hint {
        let _ = writeln!(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{}\"", uri(track, tip.epoch, seq));
    }
    for (id, msn, part) in &tip.reports {
        let _ = write!(out, "#EXT-X-RENDITION-REPORT:URI=\"{id}.m3u8\",LAST-MSN={msn}");
        if let Some(part) = part {
            let _ = write!(out, ",LAST-PART={part}");
        }
        out.push('\n');
    }
    out
}

fn uri(track: u8, epoch: u64, seq: u64) -> String {
    format!("{track}/part-{epoch}-{seq}.m4s")
}

fn write_parts(out: &mut String, parts: &[Arc<Part>], epoch: u64, track: u8) {
    for part in parts {
        let _ =
            write!(out, "#EXT-X-PART:DURATION={:.5},URI=\"{}\"", part.seconds, uri(track, epoch, part.seq));
        out.push_str(if part.independent { ",INDEPENDENT=YES\n" } else { "\n" });
    }
}

/// How many of the first segments end before the skip boundary.
fn skippable(p: &Planned, until: f64, open: f64) -> usize {
    let mut after = open;
    let near = p.items.iter().rev().take_while(|(i, _)| {
        let near = after < until;
        after += i.seconds;
        near
    });
    p.items.len() - near.count()
}
