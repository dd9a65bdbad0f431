//! NAL units in payloads, whatever their framing.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::invalid;
use crate::{Framing, MediaError};

const WHAT: &str = "NAL unit framing";

/// The NAL units of a payload, without copying. Empty ones are passed over; after an error there is nothing more.
///
/// Annex B: a NAL unit ends at the next start code, and zero bytes before it (`zero_byte`, `trailing_zero_8bits`) are
/// not part of it, since no NAL unit ends in a zero byte (ITU-T H.264 §7.4.1, B.1).
///
/// `Framing::Raw` is an error: it has none.
pub fn nals(framing: Framing, payload: &[u8]) -> Nals<'_> {
    let state = match framing {
        Framing::Length(n @ (1 | 2 | 4)) => State::Length(usize::from(n)),
        Framing::AnnexB => State::Start,
        Framing::Length(_) => State::Bad("the length size is not 1, 2 or 4"),
        Framing::Raw => State::Bad("the payload is not made of NAL units"),
    };
    Nals { state, rest: payload }
}

/// See [`nals`].
#[derive(Clone, Debug)]
pub struct Nals<'a> {
    state: State,
    rest: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
enum State {
    Length(usize),
    /// Before the first start code.
    Start,
    /// Just after a start code.
    AnnexB,
    Bad(&'static str),
    End,
}

impl<'a> Nals<'a> {
    fn fail(&mut self, why: &'static str) -> Option<Result<&'a [u8], MediaError>> {
        self.state = State::End;
        Some(invalid(WHAT, why))
    }
}

impl<'a> Iterator for Nals<'a> {
    type Item = Result<&'a [u8], MediaError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.state {
                State::End => return None,
                State::Bad(why) => return self.fail(why),
                State::Length(n) => {
                    if self.rest.is_empty() {
                        return None;
                    }
                    let Some((head, rest)) = self.rest.split_at_checked(n) else {
                        return self.fail("the payload ends within a length");
                    };
                    let len = head.iter().fold(0usize, |len, b| len << 8 | usize::from(*b));
                    let Some((nal, rest)) = rest.split_at_checked(len) else {
                        return self.fail("a length reaches beyond the payload");
                    };
                    self.rest = rest;
                    if !nal.is_empty() {
                        return Some(Ok(nal));
                    }
                }
                State::Start => match start_code(self.rest) {
                    Some(at) if self.rest[..at].iter().all(|b| *b == 0) => {
                        self.rest = &self.rest[at + 3..];
                        self.state = State::AnnexB;
                    }
                    None if self.rest.iter().all(|b| *b == 0) => return None,
                    _ => return self.fail("bytes before the first start code"),
                },
                State::AnnexB => {
                    let nal = match start_code(self.rest) {
                        Some(at) => {
                            let (nal, rest) = self.rest.split_at(at);
                            self.rest = &rest[3..];
                            nal
                        }
                        None => {
                            self.state = State::End;
                            self.rest
                        }
                    };
                    let nal = trim(nal);
                    if !nal.is_empty() {
                        return Some(Ok(nal));
                    }
                }
            }
        }
    }
}

/// Without the zero bytes at its end.
pub(crate) fn trim(nal: &[u8]) -> &[u8] {
    let end = nal.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    &nal[..end]
}

/// Where the next `00 00 01` begins.
fn start_code(data: &[u8]) -> Option<usize> {
    let mut i = 2;
    while let Some(&b) = data.get(i) {
        match b {
            // The last of three bytes decides how far the next candidate is.
            2.. => i += 3,
            1 if data[i - 1] == 0 && data[i - 2] == 0 => return Some(i - 2),
            1 => i += 3,
            0 => i += 1,
        }
    }
    None
}

/// The payload with every NAL unit preceded by its length in four bytes: no copy where it is so already, one copy
/// otherwise. `Framing::Raw` payloads come back as they are. An error where the framing is broken.
pub fn to_length4(framing: Framing, payload: &Bytes) -> Result<Bytes, MediaError> {
    match framing {
        Framing::Raw => return Ok(payload.clone()),
        Framing::Length(4) => {
            let mut used = 0;
            for nal in nals(framing, payload) {
                used += 4 + nal?.len();
            }
            // Otherwise it has empty NAL units, which players take for errors.
            if used == payload.len() {
                return Ok(payload.clone());
            }
        }
        _ => {}
    }
    let mut count = 0;
    let mut used = 0;
    for nal in nals(framing, payload) {
        count += 1;
        used += nal?.len();
    }
    let mut out = BytesMut::with_capacity(used + 4 * count);
    for nal in nals(framing, payload).flatten() {
        put4(&mut out, nal)?;
    }
    Ok(out.freeze())
}

/// As [`to_length4`], but of a payload whose framing is broken the NAL units before the break are kept.
pub fn salvage_length4(framing: Framing, payload: &Bytes) -> Bytes {
    to_length4(framing, payload).unwrap_or_else(|_| {
        let mut out = BytesMut::new();
        for nal in nals(framing, payload).map_while(Result::ok) {
            if put4(&mut out, nal).is_err() {
                break;
            }
        }
        out.freeze()
    })
}

/// Payloads made of whole NAL units, each preceded by its length in four bytes.
pub fn join_length4<'a>(units: impl IntoIterator<Item = &'a [u8]>) -> Result<Bytes, MediaError> {
    let mut out = BytesMut::new();
    for nal in units {
        put4(&mut out, nal)?;
    }
    Ok(out.freeze())
}

fn put4(out: &mut BytesMut, nal: &[u8]) -> Result<(), MediaError> {
    let Ok(len) = u32::try_from(nal.len()) else { return invalid(WHAT, "a NAL unit of 4 GiB or more") };
    out.put_u32(len);
    out.put_slice(nal);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(framing: Framing, data: &[u8]) -> Result<Vec<Vec<u8>>, MediaError> {
        nals(framing, data).map(|n| n.map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn annex_b_zeros_are_not_part_of_a_unit() {
        let data = [0, 0, 0, 1, 9, 16, 0, 0, 0, 0, 1, 0x67, 0, 0, 3, 1, 0, 0, 1, 0x65, 7, 0, 0];
        let want = vec![vec![9, 16], vec![0x67, 0, 0, 3, 1], vec![0x65, 7]];
        assert_eq!(all(Framing::AnnexB, &data), Ok(want));
        assert_eq!(all(Framing::AnnexB, &[0, 0]), Ok(vec![]));
        assert!(all(Framing::AnnexB, &[1, 0, 0, 1, 2]).is_err());
        assert!(all(Framing::AnnexB, &[9]).is_err());
    }

    #[test]
    fn lengths_are_checked() {
        assert_eq!(all(Framing::Length(2), &[0, 1, 7, 0, 0, 0, 2, 8, 0]), Ok(vec![vec![7], vec![8, 0]]));
        assert!(all(Framing::Length(2), &[0, 3, 7]).is_err());
        assert!(all(Framing::Length(4), &[0, 0, 0]).is_err());
        assert!(all(Framing::Length(4), &[0xff, 0xff, 0xff, 0xff, 1]).is_err());
        assert!(all(Framing::Length(3), &[0, 0, 1, 1]).is_err());
        assert!(all(Framing::Raw, &[1]).is_err());
    }

    #[test]
    fn four_byte_lengths_are_not_copied() {
        let data = Bytes::from_static(&[0, 0, 0, 2, 0x65, 1, 0, 0, 0, 1, 6]);
        let out = to_length4(Framing::Length(4), &data).unwrap();
        assert_eq!(out.as_ptr(), data.as_ptr());
        let empty = Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 1, 6]);
        assert_eq!(to_length4(Framing::Length(4), &empty).unwrap(), &[0, 0, 0, 1, 6][..]);
        let broken = Bytes::from_static(&[0, 0, 0, 1, 6, 0, 0, 0, 9, 1]);
        assert!(to_length4(Framing::Length(4), &broken).is_err());
        assert_eq!(salvage_length4(Framing::Length(4), &broken), &[0, 0, 0, 1, 6][..]);
    }

    /// What an encoder can write: no start code within, no zero at the end.
    fn unit() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![3 => Just(0u8), 1 => Just(1u8), 1 => any::<u8>()], 0..40)
            .prop_map(|raw| {
                let mut out = vec![0x65];
                for b in raw {
                    if out.ends_with(&[0, 0]) && b <= 3 {
                        out.push(3);
                    }
                    out.push(b);
                }
                out.push(0x80);
                out
            })
    }

    proptest! {
        #[test]
        fn any_framing_gives_the_same_units(
            units in proptest::collection::vec(unit(), 0..8), long in any::<bool>(), trailing in 0usize..3,
        ) {
            let mut annex = vec![];
            let mut one = vec![];
            for u in &units {
                annex.extend_from_slice(if long { &[0, 0, 0, 1] } else { &[0, 0, 1] });
                annex.extend_from_slice(u);
                annex.extend(std::iter::repeat_n(0, trailing));
                one.push(u.len() as u8);
                one.extend_from_slice(u);
            }
            prop_assert_eq!(all(Framing::AnnexB, &annex), Ok(units.clone()));
            prop_assert_eq!(all(Framing::Length(1), &one), Ok(units.clone()));
            let four = to_length4(Framing::AnnexB, &Bytes::from(annex)).unwrap();
            prop_assert_eq!(&four, &to_length4(Framing::Length(1), &Bytes::from(one)).unwrap());
            prop_assert_eq!(&four, &join_length4(units.iter().map(Vec::as_slice)).unwrap());
            prop_assert_eq!(all(Framing::Length(4), &four), Ok(units));
        }
    }
}
