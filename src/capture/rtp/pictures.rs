//! VP8 (RFC 7741), VP9 (RFC 9628) and AV1 ("RTP Payload Format For AV1" 1.0) over RTP: a head before a part of a frame.
//!
//! A frame ends with the marker bit, or where the timestamp changes. With packets missing, the frame that they belonged to is
//! dropped whole, as for H.264. Layers of space are put one after another, as a decoder takes them.

use bytes::Bytes;
use media::{Codec, RandomAccess, Track, av1};

use super::{Broken, Frame, MAX_UNIT, Packet};

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Vp8,
    Vp9,
    Av1,
}

#[derive(Debug)]
pub(crate) struct Depacketizer {
    form: Form,
    rate: u32,
    /// As of the last key frame; its id is 0.
    track: Option<Track>,
    /// Of the frame that is being received; the allocation is kept.
    buf: Vec<u8>,
    /// AV1: a unit that goes on in the next packet.
    unit: Option<Vec<u8>>,
    /// The timestamp of what is in `buf`, if it is whole so far.
    open: Option<u32>,
    /// What is still to come of this timestamp is of no use.
    skip: Option<u32>,
}

/// What a packet's head says, and what it carries.
struct Part<'a> {
    /// A frame can begin here.
    begins: bool,
    data: &'a [u8],
}

impl Depacketizer {
    pub(crate) fn new(form: Form, rate: u32) -> Depacketizer {
        let (buf, unit, open, skip) = Default::default();
        Depacketizer { form, rate, track: None, buf, unit, open, skip }
    }

    pub(crate) fn codec(&self) -> Codec {
        match self.form {
            Form::Vp8 => Codec::VP8,
            Form::Vp9 => Codec::VP9,
            Form::Av1 => Codec::AV1,
        }
    }

    pub(crate) fn track(&self, id: u8) -> Option<Track> {
        Some(Track { id, ..self.track.clone()? })
    }

    pub(crate) fn push(&mut self, p: &Packet<'_>, lost: bool, out: &mut Vec<Frame>) -> Result<(), Broken> {
        if lost && let Some(t) = self.open.take() {
            // Of the frame before, or of this one.
            self.skip = Some(t);
        } else if self.open.is_some_and(|t| t != p.timestamp) {
            self.emit(out);
        }
        if self.skip.is_some_and(|t| t != p.timestamp) {
            self.skip = None;
        }
        if self.skip.is_some() || p.payload.is_empty() {
            return Ok(());
        }
        let part = match self.form {
            Form::Vp8 => vp8(p.payload),
            Form::Vp9 => vp9(p.payload),
            Form::Av1 => av1_part(p.payload),
        };
        let Some(part) = part else { return self.spoil(p, "a packet whose head cannot be read") };
        if self.open.is_none() {
            if !part.begins {
                // Its beginning was lost, which is no news.
                self.skip = Some(p.timestamp);
                return Ok(());
            }
            self.clear();
            self.open = Some(p.timestamp);
        }
        if self.buf.len() + self.unit.as_ref().map_or(0, Vec::len) + part.data.len() > MAX_UNIT {
            return self.spoil(p, "a frame beyond 16 MiB");
        }
        match self.form {
            Form::Av1 => {
                if self.elements(p.payload).is_none() {
                    return self.spoil(p, "units that do not fit their packet");
                }
            }
            _ => self.buf.extend_from_slice(part.data),
        }
        if p.marker {
            self.emit(out);
        }
        Ok(())
    }

    /// Nothing more comes: what has no end yet may have lost it.
    pub(crate) fn end(&mut self) {
        self.open = None;
        self.clear();
    }

    fn spoil(&mut self, p: &Packet<'_>, why: &'static str) -> Result<(), Broken> {
        self.open = None;
        self.skip = Some(p.timestamp);
        self.clear();
        Err(Broken(why))
    }

    fn clear(&mut self) {
        // One huge frame must not keep its memory for ever.
        if self.buf.capacity() > 1 << 20 && self.buf.len() < self.buf.capacity() / 8 {
            self.buf.shrink_to(1 << 18);
        }
        self.buf.clear();
        self.unit = None;
    }

    fn emit(&mut self, out: &mut Vec<Frame>) {
        let Some(timestamp) = self.open.take() else { return };
        if self.unit.is_some() || self.buf.is_empty() {
            // Its end never came.
            self.clear();
            return;
        }
        let made = match self.form {
            Form::Vp8 => media::vp8::track(0, &self.buf),
            Form::Vp9 => media::vp9::track(0, &self.buf),
            Form::Av1 => match av1::access(&self.buf) {
                RandomAccess::None => Err(media::MediaError::Truncated { what: "a key frame" }),
                _ => av1::track(0, &self.buf),
            },
        };
        // What describes itself is where decoding can start.
        let access = if made.is_ok() { RandomAccess::Idr } else { RandomAccess::None };
        let made = made.ok().map(|t| Track { timescale: self.rate, ..t });
        let changed = made.is_some() && made != self.track;
        self.track = made.or(self.track.take());
        out.push(Frame {
            timestamp,
            data: Bytes::copy_from_slice(&self.buf),
            access,
            duration: None,
            changed,
        });
        self.clear();
    }

    /// AV1: the elements of a packet (§4.4), each a unit or a part of one. `None` if they do not fit.
    fn elements(&mut self, payload: &[u8]) -> Option<()> {
        let (head, mut rest) = payload.split_first()?;
        let (continues, open, count) = (head & 0x80 != 0, head & 0x40 != 0, usize::from(head >> 4 & 3));
        let mut n = 0;
        while !rest.is_empty() {
            n += 1;
            let element = if count != 0 && n == count {
                std::mem::take(&mut rest)
            } else {
                let (len, after) = av1::leb128(rest).ok()?;
                let (element, after) = after.split_at_checked(usize::try_from(len).ok()?)?;
                rest = after;
                element
            };
            let mut unit = match (n, continues) {
                (1, true) => self.unit.take()?,
                _ if self.unit.is_some() => return None,
                _ => Vec::new(),
            };
            unit.extend_from_slice(element);
            if rest.is_empty() && open {
                self.unit = Some(unit);
            } else if !unit.is_empty() {
                self.close(&unit)?;
            }
        }
        Some(())
    }

    /// One unit, whole. Senders leave its length out; what goes between temporal units is none of theirs.
    fn close(&mut self, unit: &[u8]) -> Option<()> {
        let (obu, rest) = av1::Obu::split(unit).ok()?;
        if !rest.is_empty() {
            return None;
        }
        if !matches!(obu.kind(), av1::TEMPORAL_DELIMITER | av1::TILE_LIST | av1::PADDING) {
            obu.put(&mut self.buf);
        }
        Some(())
    }
}

/// RFC 7741 §4.2.
fn vp8(payload: &[u8]) -> Option<Part<'_>> {
    let (head, mut rest) = payload.split_first()?;
    let begins = head & 0x10 != 0 && head & 7 == 0;
    if head & 0x80 != 0 {
        let (more, after) = rest.split_first()?;
        rest = after;
        if more & 0x80 != 0 {
            rest = picture_id(rest)?;
        }
        // TL0PICIDX; TID and KEYIDX together.
        rest = rest.get(usize::from(more & 0x40 != 0) + usize::from(more & 0x30 != 0)..)?;
    }
    Some(Part { begins, data: rest })
}

/// RFC 9628 §4.2.
fn vp9(payload: &[u8]) -> Option<Part<'_>> {
    let (head, mut rest) = payload.split_first()?;
    let on = |bit: u8| head & bit != 0;
    let (flexible, layered) = (on(0x10), on(0x20));
    let mut layer = 0;
    if on(0x80) {
        rest = picture_id(rest)?;
    }
    if layered {
        let (l, after) = rest.split_first()?;
        layer = l >> 1 & 7;
        rest = after.get(usize::from(!flexible)..)?;
    }
    if flexible && on(0x40) {
        for n in 0.. {
            let (diff, after) = rest.split_first()?;
            rest = after;
            if diff & 1 == 0 {
                break;
            }
            if n == 2 {
                return None;
            }
        }
    }
    if on(0x02) {
        let (s, after) = rest.split_first()?;
        rest = after;
        if s & 0x10 != 0 {
            rest = rest.get(4 * (usize::from(s >> 5) + 1)..)?;
        }
        if s & 0x08 != 0 {
            let (pictures, after) = rest.split_first()?;
            rest = after;
            for _ in 0..*pictures {
                let (g, after) = rest.split_first()?;
                rest = after.get(usize::from(g >> 2 & 3)..)?;
            }
        }
    }
    Some(Part { begins: on(0x08) && layer == 0, data: rest })
}

/// Seven or fifteen bits.
fn picture_id(rest: &[u8]) -> Option<&[u8]> {
    let long = rest.first()? & 0x80 != 0;
    rest.get(1 + usize::from(long)..)
}

/// A temporal unit may begin with any packet that neither goes on with a unit nor with a frame's tiles.
fn av1_part(payload: &[u8]) -> Option<Part<'_>> {
    let (head, data) = payload.split_first()?;
    let first = if head >> 4 & 3 == 1 { data } else { av1::leb128(data).ok()?.1 };
    let tiles = first.first().is_some_and(|b| b >> 3 & 15 == av1::TILE_GROUP);
    Some(Part { begins: head & 0x80 == 0 && !tiles, data })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::rtp::tests::rtp;

    const VP8: &[u8] = &[0x50, 0x42, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00];
    const VP9: &[u8] = &[0x82, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0e, 0xf0];
    const SEQUENCE: &[u8] = &[0x0a, 0x0b, 0, 0, 0, 4, 0x3c, 0xff, 0xbc, 0xda, 0xf9, 0, 0x40];

    /// A frame in packets of at most `most` bytes of it.
    fn packets(form: Form, frame: &[u8], most: usize) -> Vec<Vec<u8>> {
        if form == Form::Av1 {
            return av1_packets(frame, most);
        }
        let parts: Vec<_> = frame.chunks(most).collect();
        let of = |(n, part): (usize, &&[u8])| {
            let head = match (form, n) {
                // A picture's number in fifteen bits, and layers of time.
                (Form::Vp8, 0) => vec![0x90, 0xf0, 0x92, 0x34, 7, 0x20],
                (Form::Vp8, _) => vec![0x80, 0xf0, 0x92, 0x34, 7, 0x20],
                // Not flexible: layers, and at the beginning what they are.
                (_, 0) => vec![0xaa, 0x80, 0x01, 0x10, 9, 0x18, 1, 0x40, 0, 0xf0, 1, 0x04, 1],
                _ => vec![0xa0, 0x80, 0x01, 0x10, 9],
            };
            [&head, *part].concat()
        };
        parts.iter().enumerate().map(of).collect()
    }

    /// Each packet with one part of a unit, or with all of a small one and the beginning of the next.
    fn av1_packets(frame: &[u8], most: usize) -> Vec<Vec<u8>> {
        let mut out: Vec<Vec<u8>> = Vec::new();
        for obu in av1::obus(frame).map(Result::unwrap) {
            let bare = [&[obu.head & !2][..], obu.payload].concat();
            let parts: Vec<_> = bare.chunks(most).collect();
            for (n, part) in parts.iter().enumerate() {
                let z = if n > 0 { 0x80 } else { 0 };
                let y = if n + 1 < parts.len() { 0x40 } else { 0 };
                match out.last_mut() {
                    // Two that are whole, without a count: each with its length.
                    Some(last)
                        if n == 0 && y == 0 && last[0] == 0x10 && last.len() < 100 && part.len() < 100 =>
                    {
                        let before = last.split_off(1);
                        last[0] = 0;
                        last.push(before.len() as u8);
                        last.extend(before);
                        last.push(part.len() as u8);
                        last.extend_from_slice(part);
                    }
                    _ => out.push([&[z | y | 0x10][..], part].concat()),
                }
            }
        }
        out
    }

    fn send(d: &mut Depacketizer, all: &[(u32, Vec<Vec<u8>>)], lost: &[usize]) -> (Vec<Frame>, u32) {
        let (mut out, mut broken, mut at, mut missing) = (Vec::new(), 0, 0, false);
        for (timestamp, parts) in all {
            for (n, part) in parts.iter().enumerate() {
                at += 1;
                if lost.contains(&(at - 1)) {
                    missing = true;
                    continue;
                }
                let bytes = rtp(96, n + 1 == parts.len(), at as u16, *timestamp, part);
                let p = Packet::parse(&bytes).unwrap();
                broken += u32::from(d.push(&p, std::mem::take(&mut missing), &mut out).is_err());
            }
        }
        d.end();
        (out, broken)
    }

    fn frame(form: Form, key: bool, body: &[u8]) -> Vec<u8> {
        let head: &[u8] = match (form, key) {
            (Form::Vp8, true) => VP8,
            (Form::Vp8, false) => &[0x51, 0x42, 0x00],
            (Form::Vp9, true) => VP9,
            (Form::Vp9, false) => &[0x86, 0, 0x40],
            (Form::Av1, _) => {
                let mut out = if key { SEQUENCE.to_vec() } else { vec![] };
                let payload = [&[if key { 0x10 } else { 0x30 }][..], body].concat();
                av1::Obu { head: av1::FRAME << 3, extension: None, payload: &payload }.put(&mut out);
                return out;
            }
        };
        [head, body].concat()
    }

    fn form() -> impl Strategy<Value = Form> {
        prop::sample::select(vec![Form::Vp8, Form::Vp9, Form::Av1])
    }

    #[test]
    fn key_frames_bring_the_track() {
        for (form, codec) in [(Form::Vp8, "vp8"), (Form::Vp9, "vp09.00.20.08"), (Form::Av1, "av01.0.00M.08")]
        {
            let mut d = Depacketizer::new(form, 90_000);
            let sent = [
                (0, frame(form, false, &[1; 50])),
                (1, frame(form, true, &[2; 50])),
                (2, frame(form, true, &[3; 50])),
            ];
            let all: Vec<_> = sent.iter().map(|(t, f)| (*t, packets(form, f, 30))).collect();
            let (frames, broken) = send(&mut d, &all, &[]);
            let said: Vec<_> = frames.iter().map(|f| (f.access.is_start(), f.changed)).collect();
            assert_eq!((said, broken), (vec![(false, false), (true, true), (true, false)], 0), "{form:?}");
            let track = d.track(7).unwrap();
            assert_eq!((track.id, media::codec_string(&track).as_str()), (7, codec));
            assert_eq!(track.kind, media::Kind::Video { width: 320, height: 240 });
            assert_eq!(track.codec, d.codec());
        }
    }

    #[test]
    fn heads_of_all_forms_are_read() {
        for (head, begins) in [
            (&[0x10][..], true),
            (&[0x00], false),
            (&[0x11], false),
            (&[0x90, 0x80, 0x05], true),
            (&[0x90, 0x10, 0x20], true),
        ] {
            let packet = [head, b"data"].concat();
            let part = vp8(&packet).unwrap();
            assert_eq!((part.begins, part.data), (begins, &b"data"[..]), "{head:02x?}");
        }
        for (head, begins) in [
            (&[0x08][..], true),
            (&[0x98, 0x05], true),
            // Flexible, with two references.
            (&[0xd8, 0x81, 0x02, 0x03, 0x04], true),
            // The second layer of space.
            (&[0xb8, 0x05, 0x12], false),
            // Two layers' sizes.
            (&[0x0a, 0x30, 1, 0, 1, 0, 2, 0, 2, 0], true),
        ] {
            let packet = [head, b"data"].concat();
            let part = vp9(&packet).unwrap();
            assert_eq!((part.begins, part.data), (begins, &b"data"[..]), "{head:02x?}");
        }
        assert!(vp9(&[0xd8, 0x05, 0x03, 0x03, 0x03, 0x03]).is_none() && vp8(&[0x90, 0xf0, 0x80]).is_none());
    }

    #[test]
    fn what_is_none_of_the_frames_is_left_out() {
        let mut d = Depacketizer::new(Form::Av1, 90_000);
        // A delimiter, then a sequence header and a frame that say their lengths.
        let packet = [&[0x30, 2, 0x12, 0, 13][..], SEQUENCE, &[0x32, 2, 0x10, 5]].concat();
        let (frames, broken) = send(&mut d, &[(0, vec![packet])], &[]);
        assert_eq!((frames.len(), broken), (1, 0));
        assert_eq!(frames[0].data, [SEQUENCE, &[0x32, 2, 0x10, 5]].concat());
        assert_eq!(frames[0].access, RandomAccess::Idr);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            form in form(), most in 10usize..1200,
            bodies in vec((any::<bool>(), vec(any::<u8>(), 1..3000)), 1..10),
        ) {
            let sent: Vec<_> = bodies.iter().map(|(key, body)| frame(form, *key, body)).collect();
            let all: Vec<_> = sent.iter().enumerate().map(|(i, f)| (i as u32 * 3000, packets(form, f, most))).collect();
            let (frames, broken) = send(&mut Depacketizer::new(form, 90_000), &all, &[]);
            prop_assert_eq!(broken, 0);
            prop_assert_eq!(frames.iter().map(|f| f.data.to_vec()).collect::<Vec<_>>(), sent);
        }

        #[test]
        fn with_packets_lost_what_comes_out_went_in(
            form in form(), most in 10usize..400, lost in vec(0usize..40, 1..5),
            bodies in vec((Just(false), vec(any::<u8>(), 1..3000)), 1..10),
        ) {
            let sent: Vec<_> = bodies.iter().map(|(key, body)| frame(form, *key, body)).collect();
            let all: Vec<_> = sent.iter().enumerate().map(|(i, f)| (i as u32 * 3000, packets(form, f, most))).collect();
            let (frames, _) = send(&mut Depacketizer::new(form, 90_000), &all, &lost);
            for f in &frames {
                prop_assert_eq!(&f.data, &sent[f.timestamp as usize / 3000]);
            }
            let spoilt = lost.len().min(all.iter().map(|(_, p)| p.len()).sum());
            prop_assert!(frames.len() + spoilt >= sent.len());
        }

        #[test]
        fn any_packets_are_survived(
            form in form(),
            all in vec((vec(any::<u8>(), 0..60), any::<bool>(), 0u32..3, any::<bool>()), 0..60),
        ) {
            let mut d = Depacketizer::new(form, 90_000);
            let (mut out, mut taken) = (Vec::new(), 0);
            for (payload, marker, timestamp, lost) in &all {
                let p = Packet { payload_type: 96, marker: *marker, sequence: 0, timestamp: *timestamp, ssrc: 0, payload };
                let _ = d.push(&p, *lost, &mut out);
                let _ = d.track(1);
                taken += payload.len();
            }
            d.end();
            let given: usize = out.iter().map(|f| f.data.len()).sum();
            prop_assert!(given <= taken * 3 && out.iter().all(|f| !f.data.is_empty()));
        }
    }
}
