//! Dates as files write them.

/// From the Unix epoch to 1904, where MP4 counts from, in seconds.
pub(crate) const SINCE_1904: i64 = 2_082_844_800;
/// From the Unix epoch to 2001, where Matroska counts from, in seconds.
pub(crate) const TO_2001: i64 = 978_307_200;

/// `2024-05-01T12:00:00.123Z` (RFC 3339), of milliseconds since 1970; brought into the years 0 to 9999.
pub(crate) fn write(ms: i64) -> String {
    let ms = ms.clamp(-62_167_219_200_000, 253_402_300_799_999);
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (s, ms) = (rest / 1000, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z", s / 3600, s / 60 % 60, s % 60)
}

/// Milliseconds since 1970 of an RFC 3339 time with a zone; `None` for anything else.
pub(crate) fn read(text: &str) -> Option<i64> {
    let b = text.as_bytes();
    let number = |at: usize, len: usize| -> Option<i64> {
        let digits = b.get(at..at + len)?;
        digits
            .iter()
            .all(u8::is_ascii_digit)
            .then(|| digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
    };
    let is = |at: usize, c: u8| b.get(at) == Some(&c);
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let separated =
        is(4, b'-') && is(7, b'-') && (is(10, b'T') || is(10, b' ')) && is(13, b':') && is(16, b':');
    if !separated || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut ms = 0;
    if is(at, b'.') {
        at += 1;
        let digits = b[at..].iter().take_while(|c| c.is_ascii_digit()).count();
        for i in 0..3 {
            ms = ms * 10 + if i < digits { i64::from(b[at + i] - b'0') } else { 0 };
        }
        at += digits;
    }
    let zone = match b.get(at)? {
        b'Z' | b'z' if b.len() == at + 1 => 0,
        sign @ (b'+' | b'-') => {
            let colon = usize::from(is(at + 3, b':'));
            let minutes = number(at + 1, 2)? * 60 + number(at + 3 + colon, 2)?;
            if b.len() != at + 5 + colon {
                return None;
            }
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    Some(((days(year, month, day) * 24 + hour) * 60 + minute - zone) * 60_000 + second * 1000 + ms)
}

/// Year, month and day of a day counted from 1970 (proleptic Gregorian calendar; eras of 400 years from a March).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
    let mp = if month > 2 { month - 3 } else { month + 9 };
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + (153 * mp + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_dates() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_714_564_799_999, "2024-05-01T11:59:59.999Z"),
            (TO_2001 * 1000, "2001-01-01T00:00:00.000Z"),
            (-SINCE_1904 * 1000, "1904-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(write(ms), text);
            assert_eq!(read(text), Some(ms));
        }
        assert_eq!(read("2024-05-01T13:59:59+02:00"), Some(1_714_564_799_000));
        assert_eq!(read("2024-05-01T13:59:59.5+0200"), Some(1_714_564_799_500));
        for bad in ["", "2024", "2024-05-01T13:59:59", "2024-13-01T00:00:00Z", "2024-05-01T13:59:59+02:00x"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(ms in -62_167_219_200_000i64..253_402_300_800_000) {
            prop_assert_eq!(read(&write(ms)), Some(ms));
        }

        #[test]
        fn anything_is_survived(ms in any::<i64>(), text in ".{0,30}", near in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.+Z-]{0,20}") {
            let _ = (write(ms), read(&text), read(&near));
        }
    }
}
