//! MPEG transport streams (ISO/IEC 13818-1) for HLS: one segment at a time, each whole by itself (RFC 8216 §3.2).
//!
//! A segment begins with the program's tables and says at the first packet of everything that counters begin anew. Units of
//! pictures begin with a delimiter, key frames with their parameter sets; AAC is framed by ADTS. Times are those of the samples in
//! 90 kHz, of which 33 bits go over the wire.

use bytes::Bytes;

use crate::{
    Codec, MediaError, Sample, Track,
    aac::Asc,
    error::invalid,
    fmp4::{Piece, Run},
    h264, h265, nals,
    timeline::rescale,
};

const WHAT: &str = "MPEG transport stream";
const PACKET: usize = 188;
const PMT: u16 = 0x1000;
/// Of the first track; those after it follow.
const FIRST: u16 = 0x100;
/// Most tracks.
const MOST: usize = 8;
/// How much earlier than its picture is decoded the clock stands at a picture: what a decoder may buffer.
const AHEAD: i64 = 63_000;
/// Frames of sound that are sent together at most, and their bytes.
const TOGETHER: (usize, usize) = (6, 2_800);
/// Bits of a time.
const TIME: u64 = (1 << 33) - 1;

/// Whether a track has a form here.
pub fn carries(track: &Track) -> bool {
    match track.codec {
        Codec::H264 | Codec::H265 => true,
        Codec::Aac => adts(track, 0).is_ok(),
        _ => false,
    }
}

/// A segment of some tracks' samples. Tracks that have no form here are left out; of a payload whose framing is broken the
/// units before the break are kept. Fails with nothing to send.
pub fn segment(runs: &[Run]) -> Result<Bytes, MediaError> {
    let runs: Vec<&Run> = runs.iter().filter(|r| carries(r.track) && !r.pieces.is_empty()).collect();
    if runs.is_empty() || runs.len() > MOST {
        return invalid(WHAT, "no tracks that it has a form for, or too many");
    }
    let mut units = Vec::new();
    for (n, run) in runs.iter().enumerate() {
        if run.track.is_video() {
            pictures(n, run, &mut units);
        } else {
            sounds(n, run, &mut units)?;
        }
    }
    // In the order of decoding; of one track's as they were.
    units.sort_by_key(|u| u.dts);
    let clock = runs.iter().position(|r| r.track.is_video()).unwrap_or(0);
    let bytes: usize = units.iter().map(|u| u.data.len() + 2 * PACKET).sum();
    let mut out = Out { bytes: Vec::with_capacity(bytes + 2 * PACKET), counters: vec![None; runs.len()] };
    out.tables(&runs, clock);
    for u in &units {
        out.unit(u, runs[u.run].track.is_video(), u.run == clock);
    }
    Ok(out.bytes.into())
}

/// What goes into one packet of the elementary stream.
struct Unit {
    run: usize,
    pts: i64,
    dts: i64,
    key: bool,
    data: Vec<u8>,
}

fn time(ticks: i64, track: &Track) -> i64 {
    rescale(ticks, track.timescale, 90_000)
}

fn pictures(n: usize, run: &Run, units: &mut Vec<Unit>) {
    let hevc = run.track.codec == Codec::H265;
    let kind = |nal: &[u8]| if hevc { h265::nal_type(nal) } else { h264::nal_type(nal) };
    let (delimiter, sets): (&[u8], Vec<Bytes>) = if hevc {
        let c = h265::Config::parse(&run.track.config).ok();
        (&[h265::AUD << 1, 1, 0x50], c.map(|c| [c.vps, c.sps, c.pps].concat()).unwrap_or_default())
    } else {
        let c = h264::Config::parse(&run.track.config).ok();
        (&[h264::AUD, 0xf0], c.map(|c| [c.sps, c.pps].concat()).unwrap_or_default())
    };
    for Piece { sample, data } in run.pieces {
        let key = sample.access.is_start();
        let mut out = Vec::with_capacity(data.len() + 64);
        let mut put = |nal: &[u8]| {
            out.extend([0, 0, 0, 1]);
            out.extend_from_slice(nal);
        };
        put(delimiter);
        if key {
            sets.iter().for_each(|s| put(s));
        }
        for nal in nals(run.track.framing, data).map_while(Result::ok) {
            if kind(nal) != if hevc { h265::AUD } else { h264::AUD } {
                put(nal);
            }
        }
        units.push(Unit {
            run: n,
            pts: time(sample.pts, run.track),
            dts: time(sample.dts, run.track),
            key,
            data: out,
        });
    }
}

fn sounds(n: usize, run: &Run, units: &mut Vec<Unit>) -> Result<(), MediaError> {
    let mut open: Option<(usize, Unit)> = None;
    for Piece { sample: Sample { pts, .. }, data } in run.pieces {
        let head = adts(run.track, data.len())?;
        let (frames, unit) = match &mut open {
            Some((frames, unit)) if *frames < TOGETHER.0 && unit.data.len() + data.len() < TOGETHER.1 => {
                (frames, unit)
            }
            _ => {
                let pts = time(*pts, run.track);
                let new = Unit { run: n, pts, dts: pts, key: true, data: Vec::new() };
                units.extend(open.replace((0, new)).map(|(_, u)| u));
                match &mut open {
                    Some((frames, unit)) => (frames, unit),
                    None => continue,
                }
            }
        };
        *frames += 1;
        unit.data.extend(head);
        unit.data.extend_from_slice(data);
    }
    units.extend(open.map(|(_, u)| u));
    Ok(())
}

/// The head of an ADTS frame (ISO/IEC 14496-3 §1.A.2) around so many bytes.
fn adts(track: &Track, len: usize) -> Result<[u8; 7], MediaError> {
    let asc = Asc::parse(&track.config)?;
    let rate = crate::aac::rate_index(asc.rate);
    let (Some(rate), 1..=4, 1..=7) = (rate, asc.object_type, asc.channel_configuration) else {
        return invalid(WHAT, "AAC of a kind that ADTS cannot say");
    };
    let Some(len) = u16::try_from(len + 7).ok().filter(|l| *l < 1 << 13) else {
        return invalid(WHAT, "a frame of AAC of 8 KiB or more");
    };
    let channels = asc.channel_configuration;
    Ok([
        0xff,
        0xf1,
        (asc.object_type - 1) << 6 | rate << 2 | channels >> 2,
        (channels & 3) << 6 | (len >> 11) as u8,
        (len >> 3) as u8,
        (len as u8 & 7) << 5 | 0x1f,
        0xfc,
    ])
}

struct Out {
    bytes: Vec<u8>,
    /// Of each track, the next packet's; none before the first.
    counters: Vec<Option<u8>>,
}

impl Out {
    /// The program association and the program map (§2.4.4).
    fn tables(&mut self, runs: &[&Run], clock: usize) {
        let pid = |n: usize| FIRST + n as u16;
        let mut pat = vec![0x00, 0xb0, 0, 0, 1, 0xc1, 0, 0, 0, 1];
        pat.extend((0xe000 | PMT).to_be_bytes());
        let mut pmt = vec![0x02, 0xb0, 0, 0, 1, 0xc1, 0, 0];
        pmt.extend((0xe000 | pid(clock)).to_be_bytes());
        pmt.extend([0xf0, 0]);
        for (n, run) in runs.iter().enumerate() {
            pmt.push(match run.track.codec {
                Codec::H264 => 0x1b,
                Codec::H265 => 0x24,
                _ => 0x0f,
            });
            pmt.extend((0xe000 | pid(n)).to_be_bytes());
            pmt.extend([0xf0, 0]);
        }
        for (pid, mut table) in [(0, pat), (PMT, pmt)] {
            // What follows the length: at most eight tracks.
            let len = table.len() + 4 - 3;
            table[1] |= (len >> 8) as u8;
            table[2] = len as u8;
            table.extend(crc(&table).to_be_bytes());
            table.insert(0, 0);
            table.resize(PACKET - 6, 0xff);
            self.packet(pid, true, 0, Some(vec![0x80]), &table);
        }
    }

    /// One unit as a packetised elementary stream (§2.4.3.6).
    fn unit(&mut self, u: &Unit, video: bool, clock: bool) {
        let both = u.pts != u.dts;
        let mut pes = vec![0, 0, 1, if video { 0xe0 } else { 0xc0 | u.run as u8 }];
        let head = if both { 10 } else { 5 };
        let len = 3 + head + u.data.len();
        // Of pictures none is said.
        let len = if video { 0 } else { u16::try_from(len).unwrap_or(0) };
        pes.extend(len.to_be_bytes());
        pes.extend([0x84, if both { 0xc0 } else { 0x80 }, head as u8]);
        pes.extend(stamp(if both { 3 } else { 2 }, u.pts));
        if both {
            pes.extend(stamp(1, u.dts));
        }
        pes.extend_from_slice(&u.data);
        let first = self.counters[u.run].is_none();
        let mut af = None;
        if first || clock || u.key && video {
            let flags = u8::from(first) << 7 | u8::from(u.key) << 6 | u8::from(clock) << 4;
            let mut a = vec![flags];
            if clock {
                let base = (u.dts - AHEAD) as u64 & TIME;
                a.extend([(base >> 25) as u8, (base >> 17) as u8, (base >> 9) as u8, (base >> 1) as u8]);
                a.extend([(base as u8 & 1) << 7 | 0x7e, 0]);
            }
            af = Some(a);
        }
        let (mut rest, mut start) = (&pes[..], true);
        while !rest.is_empty() {
            let counter = self.counters[u.run].unwrap_or(0);
            self.counters[u.run] = Some((counter + 1) & 15);
            let used = self.packet(FIRST + u.run as u16, start, counter, af.take(), rest);
            rest = &rest[used..];
            start = false;
        }
    }

    /// One packet with as much of `data` as fits; how much that was.
    fn packet(
        &mut self,
        pid: u16,
        start: bool,
        counter: u8,
        adaptation: Option<Vec<u8>>,
        data: &[u8],
    ) -> usize {
        let room = PACKET - 4 - adaptation.as_ref().map_or(0, |a| a.len() + 1);
        let used = data.len().min(room);
        let left = room - used;
        let adaptation = match adaptation {
            Some(mut a) => {
                a.resize(a.len() + left, 0xff);
                Some(a)
            }
            None if left == 0 => None,
            // The length alone, or it, flags and stuffing.
            None => {
                let mut a = vec![0xff; left - 1];
                if let Some(flags) = a.first_mut() {
                    *flags = 0;
                }
                Some(a)
            }
        };
        let control = if adaptation.is_some() { 0x30 } else { 0x10 };
        self.bytes.extend([0x47, u8::from(start) << 6 | (pid >> 8) as u8, pid as u8, control | counter]);
        if let Some(a) = adaptation {
            self.bytes.push(a.len() as u8);
            self.bytes.extend(a);
        }
        self.bytes.extend_from_slice(&data[..used]);
        used
    }
}

/// A time in five bytes (§2.4.3.7).
fn stamp(kind: u8, t: i64) -> [u8; 5] {
    let t = t as u64 & TIME;
    [
        kind << 4 | (t >> 29) as u8 & 0x0e | 1,
        (t >> 22) as u8,
        (t >> 14) as u8 | 1,
        (t >> 7) as u8,
        (t << 1) as u8 | 1,
    ]
}

/// The tables' checksum (annex A).
fn crc(data: &[u8]) -> u32 {
    data.iter().fold(u32::MAX, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b) << 24, |c, _| c << 1 ^ if c >> 31 == 1 { 0x04c1_1db7 } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{RandomAccess, aac};

    fn hex(s: &str) -> Vec<u8> {
        (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
    }

    /// Units of a packet identifier: (pts, dts, data).
    type Units = Vec<(u64, u64, Vec<u8>)>;

    fn read_stamp(b: &[u8]) -> u64 {
        assert!(b[0] & 1 == 1 && b[2] & 1 == 1 && b[4] & 1 == 1);
        let n = |i: usize| u64::from(b[i]);
        (n(0) >> 1 & 7) << 30 | n(1) << 22 | (n(2) >> 1) << 15 | n(3) << 7 | n(4) >> 1
    }

    /// Takes a stream apart; every rule about packets is held.
    fn taken_apart(ts: &[u8]) -> BTreeMap<u16, Units> {
        assert_eq!(ts.len() % PACKET, 0);
        let (mut open, mut counters) = (BTreeMap::<u16, Vec<Vec<u8>>>::new(), BTreeMap::<u16, u8>::new());
        for p in ts.chunks(PACKET) {
            assert_eq!(p[0], 0x47);
            let pid = u16::from(p[1] & 0x1f) << 8 | u16::from(p[2]);
            let (mut at, mut cut) = (4, false);
            if p[3] & 0x20 != 0 {
                at += 1 + usize::from(p[4]);
                cut = p[4] > 0 && p[5] & 0x80 != 0;
            }
            let counter = p[3] & 15;
            let before = counters.insert(pid, counter);
            assert!(cut || before.is_some_and(|b| (b + 1) & 15 == counter), "{pid}");
            let units = open.entry(pid).or_default();
            if p[1] & 0x40 != 0 {
                units.push(Vec::new());
            }
            units.last_mut().unwrap().extend_from_slice(&p[at..]);
        }
        for (pid, tables) in open.iter().filter(|(pid, _)| [0, PMT].contains(pid)) {
            let t = &tables[0][1..];
            let len = usize::from(u16::from_be_bytes([t[1] & 0xf, t[2]])) + 3;
            assert_eq!(crc(&t[..len]), 0, "{pid}");
        }
        let media = open.into_iter().filter(|(pid, _)| (FIRST..PMT).contains(pid));
        media
            .map(|(pid, units)| {
                let units = units.into_iter().map(|u| {
                    assert_eq!(&u[..3], [0, 0, 1]);
                    let len = usize::from(u16::from_be_bytes([u[4], u[5]]));
                    assert!(len == 0 || len + 6 == u.len());
                    let pts = read_stamp(&u[9..]);
                    let dts = if u[7] & 0x40 != 0 { read_stamp(&u[14..]) } else { pts };
                    (pts, dts, u[9 + usize::from(u[8])..].to_vec())
                });
                (pid, units.collect())
            })
            .collect()
    }

    fn video() -> Track {
        let sps = hex("674d4028eca03c0113f2e022000003000200000300641e30632c");
        h264::track_from_parameter_sets(1, &[&sps], &[&hex("68ce0fc8")]).unwrap()
    }

    fn piece(track: &Track, n: i64, data: Vec<u8>, access: RandomAccess, late: i64) -> Piece {
        let dts = 1_700_000_000 * i64::from(track.timescale) + n * 1024;
        let sample = Sample {
            track: track.id,
            dts,
            pts: dts + late,
            duration: 1024,
            access,
            offset: 0,
            len: data.len() as u32,
        };
        Piece { sample, data: data.into() }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            // Bytes of the units' bodies: sizes around those of packets matter.
            pictures in vec((0usize..800, 0i64..3), 1..12), sounds in vec(1usize..900, 0..20),
        ) {
            let (v, a) = (video(), aac::track(2, &[0x11, 0x90]).unwrap());
            let of_video: Vec<_> = pictures.iter().enumerate().map(|(n, (len, late))| {
                let access = if n == 0 { RandomAccess::Idr } else { RandomAccess::None };
                let mut data = (*len as u32 + 2).to_be_bytes().to_vec();
                data.extend([if n == 0 { 0x65 } else { 0x41 }, 0x88]);
                data.extend((0..*len).map(|i| 0x80 | i as u8));
                piece(&v, n as i64, data, access, late * 1024)
            }).collect();
            let of_sound: Vec<_> = sounds.iter().enumerate()
                .map(|(n, len)| piece(&a, n as i64, vec![n as u8; *len], RandomAccess::Idr, 0)).collect();
            let ts = segment(&[Run { track: &v, pieces: &of_video }, Run { track: &a, pieces: &of_sound }]).unwrap();
            let got = taken_apart(&ts);
            let units = &got[&FIRST];
            prop_assert_eq!(units.len(), of_video.len());
            for ((pts, dts, data), p) in units.iter().zip(&of_video) {
                let want = |t| time(t, &v) as u64 & TIME;
                prop_assert_eq!((*pts, *dts), (want(p.sample.pts), want(p.sample.dts)));
                let all: Vec<_> = nals(crate::Framing::AnnexB, data).map(|n| n.unwrap().to_vec()).collect();
                let sets = if p.sample.access == RandomAccess::Idr { 2 } else { 0 };
                prop_assert_eq!(all.len(), 2 + sets);
                prop_assert_eq!(h264::nal_type(&all[0]), h264::AUD);
                prop_assert_eq!(&all[1 + sets][..], &p.data[4..]);
            }
            let mut heard = Vec::new();
            for (_, _, data) in got.get(&(FIRST + 1)).into_iter().flatten() {
                let mut rest = &data[..];
                while !rest.is_empty() {
                    let (head, frame, more) = aac::split_adts(rest).unwrap();
                    prop_assert_eq!((head.object_type, head.rate, head.channel_configuration), (2, 48_000, 2));
                    heard.push(frame.to_vec());
                    rest = more;
                }
            }
            prop_assert_eq!(heard, of_sound.iter().map(|p| p.data.to_vec()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_has_no_form_is_refused() {
        let g711 = crate::g711_track(1, Codec::Pcmu, 8_000, 1);
        let pieces = [piece(&g711, 0, vec![0; 100], RandomAccess::Idr, 0)];
        assert!(!carries(&g711) && segment(&[Run { track: &g711, pieces: &pieces }]).is_err());
        assert!(segment(&[]).is_err());
        let v = video();
        assert!(carries(&v) && segment(&[Run { track: &v, pieces: &[] }]).is_err());
    }
}
