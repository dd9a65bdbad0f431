//! Sizes and times as people write them.

use std::time::Duration;

/// `500GB`, `2TB`, `512MiB`, `1.5TB`, or bytes.
pub fn size(text: &str) -> Option<u64> {
    let (n, unit) = split(text)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "p" | "pb" => 1e15,
        "kib" => 1024.0,
        "mib" => 1024f64.powi(2),
        "gib" => 1024f64.powi(3),
        "tib" => 1024f64.powi(4),
        _ => return None,
    };
    let bytes = n * factor;
    (bytes <= 9e18).then_some(bytes as u64)
}

/// `30d`, `12h`, `90m`, `45s`, `2w`, `1y` (365 days), or `0`.
pub fn age(text: &str) -> Option<Duration> {
    let (n, unit) = split(text)?;
    let seconds = match unit {
        "" if n == 0.0 => 0.0,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        "w" => 604_800.0,
        "y" => 31_536_000.0,
        _ => return None,
    };
    let seconds = n * seconds;
    // Ten years.
    (seconds <= 3600.0 * video::MAX_HOURS).then(|| Duration::from_secs_f64(seconds))
}

fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let n: f64 = text[..at].parse().ok()?;
    Some((n, text[at..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_read_as_people_write_them() {
        for (text, want) in [
            ("500GB", Some(500_000_000_000)),
            ("1.5 tb", Some(1_500_000_000_000)),
            ("512MiB", Some(512 << 20)),
            ("0", Some(0)),
            ("7", Some(7)),
            ("7 apples", None),
            ("-1", None),
            ("", None),
            ("GB", None),
            ("99999999PB", None),
        ] {
            assert_eq!(size(text), want, "{text}");
        }
        for (text, want) in [
            ("30d", Some(2_592_000)),
            ("0", Some(0)),
            ("1.5h", Some(5400)),
            ("10y", Some(315_360_000)),
            ("11y", None),
            ("5", None),
            ("d", None),
            ("1 fortnight", None),
        ] {
            assert_eq!(age(text).map(|a| a.as_secs()), want, "{text}");
        }
    }
}
