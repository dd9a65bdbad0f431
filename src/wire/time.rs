//! Times in text: RFC 3339, or milliseconds since the Unix epoch.

use jiff::tz::TimeZone;
use world::Timestamp;

/// `2026-11-24T06:00:00.123456Z`; saturates outside the years −9999 to 9999.
pub fn format(t: Timestamp) -> String {
    let t = jiff::Timestamp::from_microsecond(t.micros()).unwrap_or(if t.micros() < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    });
    t.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// RFC 3339 with any offset, or a whole number of milliseconds.
pub fn parse(s: &str) -> Result<Timestamp, String> {
    if let Ok(ms) = s.parse::<i64>() {
        return Ok(Timestamp::from_millis(ms));
    }
    s.parse::<jiff::Timestamp>().map(|t| Timestamp(t.as_microsecond())).map_err(|_| {
        format!("{s:?} is not a time: RFC 3339 (2026-11-24T06:00:00Z) or milliseconds since 1970")
    })
}

/// For serde fields of type [`Timestamp`].
pub mod serde_text {
    use super::*;
    /// Writes RFC 3339.
    pub fn serialize<S: serde::Serializer>(t: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&format(*t))
    }
    /// Reads what [`parse`] takes, or a number of milliseconds.
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
        super::serde_option::deserialize(d)?.ok_or_else(|| serde::de::Error::custom("a time is missing"))
    }
}

/// For serde fields of type `Option<Timestamp>` (add `#[serde(default)]`).
pub mod serde_option {
    use super::*;
    use serde::Deserialize;
    /// Writes RFC 3339 or null.
    pub fn serialize<S: serde::Serializer>(t: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
        match t {
            Some(t) => s.serialize_some(&format(*t)),
            None => s.serialize_none(),
        }
    }
    /// Reads what [`parse`] takes, a number of milliseconds, or null.
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            Millis(i64),
        }
        match Option::<Either>::deserialize(d)? {
            None => Ok(None),
            Some(Either::Millis(ms)) => Ok(Some(Timestamp::from_millis(ms))),
            Some(Either::Text(s)) => parse(&s).map(Some).map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(us in -62_000_000_000_000_000i64..250_000_000_000_000_000) {
            prop_assert_eq!(parse(&format(Timestamp(us))), Ok(Timestamp(us)));
        }
        #[test]
        fn any_text_is_a_time_or_an_error(s in "\\PC{0,40}") {
            let _ = parse(&s);
        }
    }

    #[test]
    fn offsets_and_milliseconds() {
        assert_eq!(parse("1970-01-01T01:00:00+01:00"), Ok(Timestamp(0)));
        assert_eq!(parse("1500"), Ok(Timestamp(1_500_000)));
        assert!(parse("yesterday").unwrap_err().contains("yesterday"));
    }
}
