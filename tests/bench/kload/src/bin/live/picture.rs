//! Pictures that no server decodes: H.264 with real parameter sets, and slices that have nothing in them but a number.

/// 1280×720, Constrained Baseline, without reordering: by libx264.
pub const SPS: [u8; 23] = [
    0x67, 0x42, 0xc0, 0x1f, 0xda, 0x01, 0x40, 0x16, 0xec, 0x04, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40, 0x00,
    0x00, 0x0f, 0x23, 0xc6, 0x0c, 0xa8,
];
pub const PPS: [u8; 4] = [0x68, 0xce, 0x0f, 0xc8];

/// A second's pictures, and those from one key frame to the next.
pub const RATE: u32 = 25;
pub const GOP: u32 = 50;
/// Ticks of RTP's clock from one to the next.
pub const TICKS: u32 = 90_000 / RATE;
/// What fits into a packet.
const MTU: usize = 1180;
/// Before the number. Its first bit is the end of a slice's `pic_parameter_set_id` of zero.
const MAGIC: [u8; 4] = [0xe7, 0x4c, 0xc1, 0xd3];

/// The `n`th picture's NAL units: 2 Mb/s with a key frame of 60 kB.
pub fn nals(n: u32) -> Vec<Vec<u8>> {
    let key = n.is_multiple_of(GOP);
    // Then `first_mb_in_slice` 0, `slice_type` 7 (I) or 5 (P).
    let mut slice = if key { vec![0x65, 0x88] } else { vec![0x41, 0x9a] };
    slice.extend(MAGIC);
    // Seven bits a byte, so that no start code comes about.
    slice.extend([21, 14, 7, 0].map(|by| (n >> by) as u8 | 0x80));
    slice.resize(if key { 60_000 } else { 9_000 }, 0xab);
    match key {
        true => vec![SPS.to_vec(), PPS.to_vec(), slice],
        false => vec![slice],
    }
}

/// The number of the first picture in some bytes, and of the last.
pub fn numbers(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut found = bytes.windows(8).filter(|w| w[..4] == MAGIC);
    let of = |w: &[u8]| w[4..].iter().fold(0, |n, b| n << 7 | u32::from(b & 0x7f));
    let first = of(found.next()?);
    Some((first, found.next_back().map_or(first, of)))
}

/// RTP payloads of a NAL unit (RFC 6184 §5.6, §5.8), each with where in the unit it ends.
pub fn payloads(nal: &[u8]) -> Vec<(Vec<u8>, usize)> {
    if nal.len() <= MTU {
        return vec![(nal.to_vec(), nal.len())];
    }
    let (head, body) = (nal[0], &nal[1..]);
    let count = body.len().div_ceil(MTU);
    let piece = |(i, c): (usize, &[u8])| {
        let ends = u8::from(i == 0) << 7 | u8::from(i + 1 == count) << 6;
        let mut out = vec![head & 0xe0 | 28, ends | head & 0x1f];
        out.extend_from_slice(c);
        (out, 1 + i * MTU + c.len())
    };
    body.chunks(MTU).enumerate().map(piece).collect()
}
