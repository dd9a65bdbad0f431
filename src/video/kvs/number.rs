//! Fragment numbers as clients see them: 47 decimal digits that rise, and are of one stream alone.
//!
//! ```text
//! 9 | 26 digits that the stream's unique id gives | 20 digits: the number in the fragment's index entry
//! ```
//! Of fragments that were stored before there were such numbers, the last part is their position.

use world::StreamUid;

use crate::Fragment;

/// Digits of the whole.
pub const DIGITS: usize = 47;

fn of_stream(uid: StreamUid) -> String {
    let hash = access::sha256(&uid.0);
    let n = hash[..16].iter().fold(0u128, |n, b| n << 8 | u128::from(*b));
    format!("9{:026}", n % 10u128.pow(26))
}

/// A number as text.
pub fn text(uid: StreamUid, number: u64) -> String {
    format!("{}{number:020}", of_stream(uid))
}

/// A fragment's.
pub fn of(uid: StreamUid, f: &Fragment) -> String {
    text(uid, plain(f))
}

/// The last part of a fragment's number.
pub fn plain(f: &Fragment) -> u64 {
    if f.entry.number > 0 { f.entry.number } else { f.position() }
}

/// The inverse of [`text`]; `None` for what is no number of this stream.
pub fn parse(uid: StreamUid, text: &str) -> Option<u64> {
    let rest = text.strip_prefix(&of_stream(uid))?;
    if rest.len() != 20 || text.len() != DIGITS { None } else { rest.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_rise_and_are_of_one_stream(a: u64, b: u64, uid: [u8; 16], other: [u8; 16]) {
            let (uid, other) = (StreamUid(uid), StreamUid(other));
            let (x, y) = (text(uid, a), text(uid, b));
            prop_assert_eq!(x.len(), DIGITS);
            prop_assert_eq!(a.cmp(&b), x.cmp(&y));
            prop_assert_eq!(parse(uid, &x), Some(a));
            prop_assert!(uid == other || parse(other, &x).is_none());
        }
        #[test]
        fn any_text_is_a_number_or_none(s in "\\PC{0,60}") {
            let _ = parse(StreamUid([1; 16]), &s);
        }
    }
}
