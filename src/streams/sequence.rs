//! Sequence numbers in AWS's form, which is computed and never stored.
//!
//! A number is 47 hexadecimal digits written as 56 decimal ones: `2`, 9 digits of the shard's creation in seconds, 1 of
//! its index, 16 of the sequence index, `00`, 9 of the arrival in seconds, 8 of the shard's index, `2`. The sequence index
//! of a record is its position in the log plus one, so that a shard's starting number (index zero) is before all.

use std::{fmt, ops::Deref};

use serde::{Serialize, Serializer};

/// The index in the ending number of a shard that is closed.
const END: u64 = 0x7fff_ffff_ffff_ffff;
const SECONDS: u64 = (1 << 36) - 1;

/// A sequence number, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SequenceNumber {
    /// When the shard was created: seconds since 1970.
    pub created: u64,
    /// The record's position plus one; zero: before all records.
    pub index: u64,
    /// When the record arrived: seconds since 1970.
    pub arrived: u64,
    /// The shard.
    pub shard: u32,
}

impl SequenceNumber {
    /// Of the record at a position of the log.
    pub fn of(created: u64, shard: u32, position: u64, arrived: u64) -> Self {
        let index = position.saturating_add(1).min(END - 1);
        SequenceNumber { created: created & SECONDS, index, arrived: arrived & SECONDS, shard }
    }
    /// Before all records of a shard.
    pub fn starting(created: u64, shard: u32) -> Self {
        let created = created & SECONDS;
        SequenceNumber { created, index: 0, arrived: created, shard }
    }
    /// After all records of a closed shard.
    pub fn ending(created: u64, shard: u32, closed: u64) -> Self {
        SequenceNumber { created: created & SECONDS, index: END, arrived: closed & SECONDS, shard }
    }
    /// Whether it is one that is given to anybody. Its time says nothing of that: clocks are set back.
    pub fn is_given(&self) -> bool {
        self.index <= END
    }
    /// The number before this one: a reader that goes on after it reads this one next.
    pub fn before(self) -> Self {
        SequenceNumber { index: self.index.saturating_sub(1), ..self }
    }
    /// The first position at or after this number.
    pub fn at(&self) -> u64 {
        if self.index == END { u64::MAX } else { self.index.saturating_sub(1) }
    }
    /// The first position after this number.
    pub fn after(&self) -> u64 {
        if self.index == END { u64::MAX } else { self.index }
    }

    /// 188 bits: the upper 64 (60 used), the lower 128.
    fn bits(&self) -> (u64, u128) {
        let nibble = u64::from(self.shard & 15);
        // 47 digits: 2 ccccccccc n iiiiiiiiiiiiiiii 00 aaaaaaaaa ssssssss 2
        let low =
            2 | u128::from(self.shard) << 4 | u128::from(self.arrived) << 36 | u128::from(self.index) << 80;
        // The index's upper 16 bits are above bit 128.
        let high = self.index >> 48 | nibble << 16 | self.created << 20 | 2 << 56;
        (high, low)
    }

    /// From the decimal form. `None` for what is not one that this form can have.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > 57 || text.starts_with('0') {
            return None;
        }
        let (mut high, mut low) = (0u64, 0u128);
        for b in text.bytes() {
            let digit = u128::from(b.is_ascii_digit().then(|| b - b'0')?);
            // Times ten over 192 bits, the lower half in two steps.
            let (a, c) = ((low & u128::from(u64::MAX)) * 10 + digit, (low >> 64) * 10);
            let c = c + (a >> 64);
            low = (c << 64) | (a & u128::from(u64::MAX));
            high = high.checked_mul(10)?.checked_add((c >> 64) as u64)?;
        }
        let n = SequenceNumber {
            created: high >> 20 & SECONDS,
            index: (high & 0xffff) << 48 | (low >> 80 & 0xffff_ffff_ffff) as u64,
            arrived: (low >> 36) as u64 & SECONDS,
            shard: (low >> 4) as u32,
        };
        (n.bits() == (high, low)).then_some(n)
    }
}

/// The decimal form, 56 digits: records are written many at a time, so without a heap and in arithmetic of 64 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digits([u8; DIGITS]);

/// A number's leading digit of 16 is 2, so that it lies between 2¹⁸⁵ and 3·2¹⁸⁴, which have 56 digits.
const DIGITS: usize = 56;

impl SequenceNumber {
    /// As it is shown.
    pub fn digits(&self) -> Digits {
        let (high, low) = self.bits();
        let mut limbs =
            [high >> 32, high, (low >> 96) as u64, (low >> 64) as u64, (low >> 32) as u64, low as u64]
                .map(|l| l & 0xffff_ffff);
        let mut out = [0; DIGITS];
        // Eight digits at a time, the last first. After each, 26 bits less are left.
        for (i, eight) in out.rchunks_exact_mut(8).enumerate() {
            let mut rest = 0;
            for limb in limbs.iter_mut().skip(i * 26 / 32) {
                let n = rest << 32 | *limb;
                (*limb, rest) = (n / E8, n % E8);
            }
            eight.copy_from_slice(&eight_digits(rest));
        }
        Digits(out)
    }
}

const E8: u64 = 100_000_000;
const E16: u64 = E8 * E8;
/// One step of the sequence index, 2⁸⁰: its last 16 digits, and those before.
const STEP: (u64, u64) = (9_614_629_174_706_176, 120_892_581);

/// Of a number below 10⁸. Four digits, two and one are split off side by side in one word.
fn eight_digits(n: u64) -> [u8; 8] {
    let fours = (n / 10_000) | ((n % 10_000) << 32);
    let hundreds = ((fours * 5243) >> 19) & 0x0000_007f_0000_007f;
    let twos = hundreds | ((fours - hundreds * 100) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    let ones = tens | ((twos - tens * 10) << 8);
    (ones | 0x3030_3030_3030_3030).to_le_bytes()
}

impl Digits {
    /// In ASCII.
    pub fn ascii(&self) -> &[u8; DIGITS] {
        &self.0
    }
    /// The 16 digits that end `end` before the last.
    fn sixteen(&self, end: usize) -> u64 {
        let its = self.0.iter().rev().skip(end).take(16).rev();
        its.fold(0, |n, d| n * 10 + u64::from(d - b'0'))
    }
}

/// The last number that was shown.
struct Shown {
    number: SequenceNumber,
    digits: Digits,
    /// Its last 16 digits, and the 16 before.
    last: u64,
    before: u64,
}

/// Numbers one after the other, as records are read: the digits of most are had from those of the one before.
#[derive(Default)]
pub struct InOrder(Option<Shown>);

impl InOrder {
    /// Those of any number.
    pub fn digits(&mut self, n: SequenceNumber) -> Digits {
        if let Some(s) = &mut self.0
            && s.number.index < END
            && (SequenceNumber { index: s.number.index + 1, ..s.number }) == n
        {
            let (last, before) = (s.last + STEP.0, s.before + STEP.1);
            let (last, before) = if last < E16 { (last, before) } else { (last - E16, before + 1) };
            // Or else the upper 24 digits change: once in eighty million.
            if before < E16 {
                (s.number, s.last, s.before) = (n, last, before);
                let parts = [before / E8, before % E8, last / E8, last % E8];
                for (eight, part) in s.digits.0.rchunks_exact_mut(8).zip(parts.into_iter().rev()) {
                    eight.copy_from_slice(&eight_digits(part));
                }
                return s.digits;
            }
        }
        let digits = n.digits();
        self.0 = Some(Shown { number: n, digits, last: digits.sixteen(0), before: digits.sixteen(16) });
        digits
    }
}

impl Deref for Digits {
    type Target = str;
    fn deref(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Serialize for Digits {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self)
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.digits())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number() -> impl Strategy<Value = SequenceNumber> {
        (0..=SECONDS, 0..=END, 0..=SECONDS, any::<u32>())
            .prop_map(|(created, index, arrived, shard)| SequenceNumber { created, index, arrived, shard })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(n in number()) {
            let text = n.to_string();
            prop_assert_eq!(text.len(), 56);
            prop_assert_eq!(SequenceNumber::parse(&text), Some(n));
        }
        #[test]
        fn numbers_ascend_as_positions_do(n in number(), step in 1u64..1000, later in 0u64..10) {
            prop_assume!(n.index + step < END && n.arrived + later <= SECONDS);
            let next = SequenceNumber { index: n.index + step, arrived: n.arrived + later, ..n };
            prop_assert!(next.to_string() > n.to_string());
        }
        #[test]
        fn digits_in_order_are_those_of_each(n in number(), steps in prop::collection::vec((0u64..3, 0u64..2), 0..20)) {
            let mut in_order = InOrder::default();
            let mut n = n;
            for (step, later) in steps {
                n.index = n.index.saturating_add(step).min(END);
                n.arrived = (n.arrived + later).min(SECONDS);
                prop_assert_eq!(&in_order.digits(n), &n.digits());
            }
        }
        /// The upper digits change, too.
        #[test]
        fn digits_in_order_carry_over(n in number()) {
            let ahead = (E16 - n.digits().sixteen(16)) / (STEP.1 + 1);
            let from = n.index.saturating_add(ahead.saturating_sub(2)).min(END - 9);
            let (mut in_order, mut upper) = (InOrder::default(), std::collections::BTreeSet::new());
            for index in from..from + 9 {
                let n = SequenceNumber { index, ..n };
                let digits = in_order.digits(n);
                prop_assert_eq!(&digits, &n.digits());
                upper.insert(digits[..24].to_owned());
            }
            prop_assert_eq!(upper.len(), if from > n.index { 2 } else { upper.len() });
        }
        #[test]
        fn any_text_is_a_number_or_none(s in "[0-9]{0,60}|\\PC{0,60}") {
            if let Some(n) = SequenceNumber::parse(&s) {
                prop_assert_eq!(n.to_string(), s);
            }
        }
    }

    #[test]
    fn numbers_as_the_service_gives_them() {
        // From the documentation's examples (API_PutRecord; Lambda Developer Guide, "Using Lambda with Kinesis").
        for (text, shard) in [
            ("49543463076548007577105092703039560359975228518395019266", 0),
            ("49590338271490256608559692538361571095921575989136588898", 6),
        ] {
            let n = SequenceNumber::parse(text).unwrap();
            assert_eq!(n.shard, shard, "{n:?}");
            assert!((1_400_000_000..1_800_000_000).contains(&n.arrived), "{n:?}");
            assert_eq!(n.to_string(), text);
        }
    }

    #[test]
    fn ends_are_outside_of_all_records() {
        let (a, z) = (
            SequenceNumber::starting(1_700_000_000, 3),
            SequenceNumber::ending(1_700_000_000, 3, 1_800_000_000),
        );
        let first = SequenceNumber::of(1_700_000_000, 3, 0, 1_700_000_000);
        assert!(a < first && first < z);
        assert_eq!((a.at(), a.after(), first.at(), first.after()), (0, 0, 0, 1));
        assert_eq!((z.at(), z.after()), (u64::MAX, u64::MAX));
    }
}
