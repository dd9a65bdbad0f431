//! AAC over RTP (RFC 3640, `mpeg4-generic`): several access units to a packet, or one in several packets.

use bytes::Bytes;
use media::{RandomAccess, Track, aac};

use super::{Broken, Frame, Packet};
use crate::sdp::Media;

/// An AAC access unit has at most 6144 bits a channel; this is far beyond 48 channels.
const MAX_AAC: usize = 64 << 10;

/// What the format parameters say (RFC 3640 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// `AudioSpecificConfig`.
    pub config: Vec<u8>,
    /// Samples a second of the core, and of one access unit.
    pub rate: u32,
    pub samples: u32,
    size: u32,
    index: u32,
    delta: u32,
}

impl Layout {
    /// The error says what is not supported.
    pub(super) fn of(m: &Media) -> Result<Layout, &'static str> {
        let number = |key, default| match m.param(key) {
            Some(v) => v.parse::<u32>().ok().filter(|n| *n <= 32).ok_or("format parameters"),
            None => Ok(default),
        };
        // The sizes that the modes prescribe (§3.3.5, §3.3.6), for those who leave them out.
        let (size, index) = match m.param("mode").map(str::to_ascii_lowercase).as_deref() {
            Some("aac-lbr") => (6, 2),
            Some("aac-hbr") => (13, 3),
            Some("generic") | None => (0, 0),
            _ => return Err("not AAC"),
        };
        let (size, index, delta) =
            (number("sizelength", size)?, number("indexlength", index)?, number("indexdeltalength", index)?);
        for other in ["ctsdeltalength", "dtsdeltalength", "streamstateindication", "auxiliarydatasizelength"]
        {
            if number(other, 0)? != 0 {
                return Err("format parameters");
            }
        }
        if m.param("randomaccessindication").is_some_and(|v| v != "0") {
            return Err("format parameters");
        }
        if size == 0 {
            return Err("constant size");
        }
        let config = match m.param("config").and_then(hex) {
            Some(config) => config,
            None => {
                aac::build_asc(2, m.clock_rate, m.channels.max(1)).map_err(|_| "no configuration")?.to_vec()
            }
        };
        let asc = aac::Asc::parse(&config).map_err(|_| "not AAC")?;
        Ok(Layout { config, rate: asc.rate, samples: u32::from(asc.frame_samples), size, index, delta })
    }
}

/// Pairs of hexadecimal digits, maybe in quotes.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_matches('"').as_bytes();
    let digit = |b: &u8| (*b as char).to_digit(16).map(|d| d as u8);
    if text.is_empty() || !text.len().is_multiple_of(2) || text.len() > 512 {
        return None;
    }
    text.chunks(2).map(|p| Some(digit(&p[0])? << 4 | digit(&p[1])?)).collect()
}

/// A track of these ticks a second.
pub(super) fn track(id: u8, config: &[u8], rate: u32) -> Option<Track> {
    // RTP's clock is that of the core; a player may hear twice the rate. Times stay RTP's.
    Some(Track { timescale: rate, ..aac::track(id, config).ok()? })
}

/// How long an access unit lasts in ticks of the RTP clock.
pub(super) fn duration(samples: u32, core: u32, rate: u32) -> u32 {
    (u64::from(samples) * u64::from(rate) / u64::from(core.max(1))).try_into().unwrap_or(samples)
}

#[derive(Debug)]
pub(crate) struct Depacketizer {
    layout: Layout,
    rate: u32,
    duration: u32,
    /// An access unit that comes in several packets: its timestamp, its size, what is there.
    partial: Option<(u32, usize, Vec<u8>)>,
}

impl Depacketizer {
    pub(crate) fn new(layout: Layout, rate: u32) -> Self {
        let duration = duration(layout.samples, layout.rate, rate);
        Depacketizer { layout, rate, duration, partial: None }
    }

    pub(crate) fn track(&self, id: u8) -> Option<Track> {
        track(id, &self.layout.config, self.rate)
    }

    pub(crate) fn push(&mut self, p: &Packet<'_>, lost: bool, out: &mut Vec<Frame>) -> Result<(), Broken> {
        let mut partial = if lost { None } else { self.partial.take() };
        if p.payload.is_empty() {
            return Ok(());
        }
        const SHORT: Broken = Broken("an AAC packet ends too early");
        let bits = usize::from(u16::from_be_bytes(*p.payload.first_chunk().ok_or(SHORT)?));
        let (heads, mut data) = p.payload[2..].split_at_checked(bits.div_ceil(8)).ok_or(SHORT)?;
        let mut at = 0;
        let mut n = 0u32;
        while at < bits {
            let size = read(heads, &mut at, self.layout.size, bits).ok_or(SHORT)? as usize;
            let index = if n == 0 { self.layout.index } else { self.layout.delta };
            if read(heads, &mut at, index, bits).ok_or(SHORT)? != 0 && n > 0 {
                return Err(Broken("interleaved AAC"));
            }
            let timestamp = p.timestamp.wrapping_add(self.duration.wrapping_mul(n));
            n += 1;
            let whole = match partial.take() {
                Some((t, total, mut have)) if t == timestamp && total == size => {
                    have.extend_from_slice(data);
                    data = &[];
                    match have.len().cmp(&size) {
                        std::cmp::Ordering::Less => {
                            self.partial = Some((t, total, have));
                            return Ok(());
                        }
                        std::cmp::Ordering::Equal => Bytes::from(have),
                        std::cmp::Ordering::Greater => return Err(Broken("an AAC fragment beyond its size")),
                    }
                }
                _ => match data.split_at_checked(size) {
                    Some((one, rest)) => {
                        data = rest;
                        Bytes::copy_from_slice(one)
                    }
                    None if n == 1 && at >= bits && !p.marker && size <= MAX_AAC => {
                        self.partial = Some((timestamp, size, data.to_vec()));
                        return Ok(());
                    }
                    None => return Err(SHORT),
                },
            };
            if !whole.is_empty() {
                let duration = Some(self.duration);
                out.push(Frame {
                    timestamp,
                    data: whole,
                    access: RandomAccess::Idr,
                    duration,
                    changed: false,
                });
            }
        }
        Ok(())
    }
}

/// `n` bits from a header section of `end` bits.
fn read(data: &[u8], at: &mut usize, n: u32, end: usize) -> Option<u32> {
    if *at + n as usize > end {
        return None;
    }
    let mut v = 0u64;
    for _ in 0..n {
        v = v << 1 | u64::from(data.get(*at / 8)? >> (7 - *at % 8) & 1);
        *at += 1;
    }
    u32::try_from(v).ok()
}
