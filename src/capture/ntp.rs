//! The wall clock in sender reports, and what to say of one that is wrong.

/// Nanoseconds.
const SECOND: i64 = 1_000_000_000;
/// Seconds from 1900 to 1970, as NTP counts (RFC 5905 §6).
const NTP_UNIX: i64 = 2_208_988_800;

/// NTP's 32.32 fixed point to nanoseconds since 1970. Seconds without the top bit are after 2036 (RFC 5905 §6, era 1),
/// except for the first years of 1900, which only clocks that were never set show.
pub(crate) fn ntp_to_unix(ntp: u64) -> i64 {
    let (seconds, fraction) = ((ntp >> 32) as i64, ntp & 0xffff_ffff);
    let era = if seconds < 0x8000_0000 && seconds > 0x1000_0000 { 1 << 32 } else { 0 };
    (seconds + era - NTP_UNIX) * SECOND + ((fraction * SECOND as u64) >> 32) as i64
}

/// Of a clock that read `ntp`, `off` nanoseconds from this server's.
pub(crate) fn warning(ntp: u64, off: i64) -> String {
    if ntp == 0 {
        return "the sender has no clock; times are this server's".into();
    }
    let side = if off < 0 { "behind" } else { "ahead of" };
    let s = off.unsigned_abs() / SECOND as u64;
    let much = match s {
        0..120 => format!("{s} s"),
        120..7200 => format!("{} min", s / 60),
        7200..172_800 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        172_800..63_072_000 => format!("{} days", s / 86_400),
        _ => format!("{} years", s / 31_557_600),
    };
    format!("the sender's clock is {much} {side} this server's and is not used; times are this server's")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const T0: i64 = 1_790_000_000_000_000;

    /// Microseconds since 1970 as NTP's.
    pub(crate) fn ntp(unix_us: i64) -> u64 {
        let s = unix_us.div_euclid(1_000_000) + NTP_UNIX;
        let f = (unix_us.rem_euclid(1_000_000) as u64) << 32;
        ((s as u64) << 32) | (f / 1_000_000)
    }

    #[test]
    fn ntp_eras() {
        assert_eq!(ntp_to_unix(ntp(T0)), T0 * 1000);
        assert_eq!(ntp_to_unix(0x2000_0000 << 32), (0x2000_0000 + (1 << 32) - NTP_UNIX) * SECOND);
        assert!(ntp_to_unix(0) < 0);
    }
}
