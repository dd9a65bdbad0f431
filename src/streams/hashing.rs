//! Which shard a record belongs to: the MD5 of its partition key, or the hash key given, and the shard whose range holds it.

use md5::{Digest, Md5};

/// The hash key of a partition key: its MD5, as an unsigned number (API_PutRecord).
pub fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

/// An explicit hash key: a decimal number below 2^128.
pub fn parse_hash_key(text: &str) -> Option<u128> {
    let plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    if plain { text.parse().ok() } else { None }
}

/// `count` ranges of equal size that cover all hash keys, both ends inclusive; the last takes what is left over.
pub fn uniform(count: u32) -> impl Iterator<Item = (u128, u128)> {
    let size = match u128::from(count) {
        0 | 1 => u128::MAX,
        n => u128::MAX / n + u128::from(u128::MAX % n == n - 1),
    };
    (0..u128::from(count.max(1))).map(move |n| {
        let last = n + 1 >= u128::from(count.max(1));
        (n * size, if last { u128::MAX } else { (n + 1) * size - 1 })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn uniform_ranges_cover_everything_once(count in 1u32..2000) {
            let ranges: Vec<_> = uniform(count).collect();
            prop_assert_eq!(ranges.len(), count as usize);
            prop_assert_eq!(ranges[0].0, 0);
            prop_assert_eq!(ranges.last().unwrap().1, u128::MAX);
            prop_assert!(ranges.windows(2).all(|w| w[0].1 + 1 == w[1].0 && w[0].0 <= w[0].1));
        }
    }

    #[test]
    fn as_the_service_places_them() {
        assert_eq!(hash_key("a").to_string(), "16955237001963240173058271559858726497");
        // DescribeStream of a stream of two and of four shards (API_DescribeStream).
        let ends = |n| uniform(n).map(|(_, e)| e.to_string()).collect::<Vec<_>>();
        assert_eq!(
            ends(2),
            ["170141183460469231731687303715884105727", "340282366920938463463374607431768211455"]
        );
        assert_eq!(ends(4)[0], "85070591730234615865843651857942052863");
        assert_eq!(ends(3)[0], "113427455640312821154458202477256070484");
    }

    #[test]
    fn hash_keys_are_plain_numbers() {
        assert_eq!(parse_hash_key("0"), Some(0));
        assert_eq!(parse_hash_key(&u128::MAX.to_string()), Some(u128::MAX));
        for bad in ["", "00", "01", "-1", "+1", "1e3", " 1", "340282366920938463463374607431768211456"] {
            assert_eq!(parse_hash_key(bad), None, "{bad:?}");
        }
    }
}
