//! Access units on their way to a viewer: on one clock of the session's own, framed for RTP.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use media::{Codec, Framing, Track, av1};
use str0m::media::{Frequency, MediaTime};

use crate::Unit;

/// The source's times leap if they are so far from the server's clock than they were.
const LEAP: Duration = Duration::from_secs(2);
/// What then lies between one unit and the next.
const STEP: Duration = Duration::from_millis(40);

/// The codec's clock in RTP, in ticks a second; `None` where there is no payload format that browsers take.
pub(crate) fn rate(codec: Codec) -> Option<Frequency> {
    match codec {
        Codec::H264 | Codec::H265 | Codec::VP8 | Codec::VP9 | Codec::AV1 => Some(Frequency::NINETY_KHZ),
        Codec::Opus => Some(Frequency::FORTY_EIGHT_KHZ),
        Codec::Pcmu | Codec::Pcma => Some(Frequency::EIGHT_KHZ),
        Codec::Aac | Codec::Other(_) => None,
    }
}

/// Puts the times of all tracks on one clock that begins near zero and, whatever the source's does, never leaps.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// A moment by the source (nanoseconds since the epoch), by the session, and by the server.
    anchor: Option<(i128, Duration, Instant)>,
    /// The latest that was given out.
    latest: Duration,
}

impl Times {
    /// What comes next follows at once, whatever its time.
    pub(crate) fn forget(&mut self) {
        self.anchor = None;
    }

    /// When a unit is shown, by the session, and the same by the server.
    pub(crate) fn of(&mut self, pts: i64, timescale: u32, now: Instant) -> (Duration, Instant) {
        let source = i128::from(pts) * 1_000_000_000 / i128::from(timescale.max(1));
        let since = |(at, session, server): (i128, Duration, Instant)| -> Option<(Duration, Instant)> {
            let gone = source - at;
            let ns = u64::try_from(gone.unsigned_abs()).ok()?;
            let d = Duration::from_nanos(ns);
            let (session, server) = match gone >= 0 {
                true => (session.checked_add(d)?, server.checked_add(d)?),
                false => (session.checked_sub(d)?, server.checked_sub(d)?),
            };
            let off = now.saturating_duration_since(server) + server.saturating_duration_since(now);
            (off <= LEAP).then_some((session, server))
        };
        let (session, server) = self.anchor.and_then(since).unwrap_or_else(|| {
            let session = self.latest + STEP;
            self.anchor = Some((source, session, now));
            (session, now)
        });
        self.latest = self.latest.max(session);
        (session, server)
    }
}

/// In ticks of a codec's clock, to the nearest.
pub(crate) fn ticks(at: Duration, rate: Frequency) -> MediaTime {
    let n = (at.as_nanos() * u128::from(rate.get()) + 500_000_000) / 1_000_000_000;
    MediaTime::new(u64::try_from(n).unwrap_or(u64::MAX), rate)
}

/// A unit's payload as `str0m` takes it: NAL units after start codes, parameter sets before those where decoding starts; of
/// AV1 a temporal unit without its delimiter.
/// `None` if it cannot be read.
pub(crate) fn payload(unit: &Unit) -> Option<Arc<[u8]>> {
    let track: &Track = &unit.track;
    if track.codec == Codec::AV1 {
        return av1::plain(&unit.data).map(Arc::from);
    }
    if track.framing == Framing::Raw {
        return Some(Arc::from(&unit.data[..]));
    }
    let nals = media::nals(track.framing, &unit.data).collect::<Result<Vec<_>, _>>().ok()?;
    let is_set = |n: &&&[u8]| match track.codec {
        Codec::H264 => matches!(n.first().map(|b| b & 31), Some(7)),
        _ => matches!(n.first().map(|b| b >> 1 & 63), Some(33)),
    };
    let sets = match unit.access.is_start() && nals.iter().find(is_set).is_none() {
        true => track.parameter_sets(),
        false => Vec::new(),
    };
    let mut out = Vec::with_capacity(unit.data.len() + 256);
    for nal in sets.iter().map(|s| &s[..]).chain(nals) {
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(nal);
    }
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use media::RandomAccess;

    use super::*;

    fn now() -> Instant {
        crate::checks::instants().now()
    }

    #[test]
    fn tracks_stay_together_and_ticks_are_exact() {
        let (mut t, now) = (Times::default(), now());
        let epoch: i64 = 1_795_000_000;
        let (a, at) = t.of(epoch * 90_000, 90_000, now);
        assert_eq!((a, at), (STEP, now));
        let (b, at) = t.of(epoch * 48_000 + 960, 48_000, now);
        assert_eq!((b, at), (STEP + Duration::from_millis(20), now + Duration::from_millis(20)));
        // One tick of 90 kHz at a time.
        for n in 1..200u64 {
            let (s, _) = t.of(epoch * 90_000 + n as i64, 90_000, now);
            assert_eq!(ticks(s, Frequency::NINETY_KHZ).numer(), 3600 + n);
        }
    }

    #[test]
    fn a_leap_of_the_source_is_none_of_the_sessions() {
        let (mut t, now) = (Times::default(), now());
        t.of(1_000_000, 1_000, now);
        let later = now + Duration::from_millis(40);
        assert_eq!(t.of(1_000_040, 1_000, later).0, STEP * 2);
        for pts in [9_000_000_000, 5, i64::MAX, i64::MIN, 1_000_080] {
            let before = t.latest;
            assert_eq!(t.of(pts, 1_000, later), (before + STEP, later), "{pts}");
        }
        // A pause is no leap.
        let much = later + Duration::from_secs(60);
        assert_eq!(t.of(1_060_080, 1_000, much).0, t.latest);
        assert_eq!(t.latest, STEP * 7 + Duration::from_secs(60));
    }

    #[test]
    fn parameter_sets_come_before_where_decoding_starts() {
        let sps: &[u8] = &[
            0x67, 0x4d, 0x40, 0x28, 0xec, 0xa0, 0x3c, 0x01, 0x13, 0xf2, 0xe0, 0x22, 0, 0, 3, 0, 2, 0, 0, 3,
            0, 0x64, 0x1e, 0x30, 0x63, 0x2c,
        ];
        let pps: &[u8] = &[0x68, 0xce, 0x0f, 0xc8];
        let track = Arc::new(media::h264::track_from_parameter_sets(1, &[sps], &[pps]).unwrap());
        let unit = |nals: &[&[u8]], access| Unit {
            track: track.clone(),
            pts: 0,
            access,
            data: media::join_length4(nals.iter().copied()).unwrap(),
        };
        let code = [0, 0, 0, 1];
        let idr: &[u8] = &[0x65, 0x88];
        let all = [&code[..], sps, &code, pps, &code, idr].concat();
        assert_eq!(payload(&unit(&[idr], RandomAccess::Idr)).as_deref(), Some(&all[..]));
        assert_eq!(payload(&unit(&[sps, pps, idr], RandomAccess::Idr)).as_deref(), Some(&all[..]));
        assert_eq!(
            payload(&unit(&[idr], RandomAccess::None)).as_deref(),
            Some(&[0, 0, 0, 1, 0x65, 0x88][..])
        );
        let broken = Unit { data: Bytes::from_static(&[0, 0, 9, 9]), ..unit(&[], RandomAccess::None) };
        assert_eq!(payload(&broken), None);
    }
}
