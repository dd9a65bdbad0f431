//! What H.264 (§E.1.1) and H.265 (§E.2.1) share of their video usability information.

use crate::MediaError;
use crate::bits::Bits;

/// How samples' numbers become colours: code points of ITU-T H.273.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Colour {
    /// `colour_primaries`; 2 is "unspecified", as in the other two.
    pub primaries: u8,
    /// `transfer_characteristics`.
    pub transfer: u8,
    /// `matrix_coefficients`.
    pub matrix: u8,
    /// Whether the full range of values is used.
    pub full_range: bool,
}

impl Colour {
    /// Whether it is more than what is taken for granted.
    pub(crate) fn says_something(&self) -> bool {
        self.full_range || [self.primaries, self.transfer, self.matrix] != [2; 3]
    }
}

/// The clock that pictures are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// Units of the clock in one tick, above 0.
    pub units_in_tick: u32,
    /// Units of the clock in one second, above 0.
    pub time_scale: u32,
}

/// What is shared. Whatever was not said is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Common {
    pub sample_aspect: Option<(u16, u16)>,
    pub colour: Option<Colour>,
}

/// Reads up to and including the chroma location.
pub(crate) fn common(b: &mut Bits, out: &mut Common) -> Result<(), MediaError> {
    if b.flag()? {
        out.sample_aspect = match b.byte()? {
            255 => Some((b.u16()?, b.u16()?)),
            idc => ASPECTS.get(usize::from(idc)).copied(),
        }
        .filter(|(w, h)| *w > 0 && *h > 0);
    }
    if b.flag()? {
        b.skip(1)?; // overscan_appropriate_flag
    }
    if b.flag()? {
        b.skip(3)?; // video_format
        let full_range = b.flag()?;
        let (primaries, transfer, matrix) =
            if b.flag()? { (b.byte()?, b.byte()?, b.byte()?) } else { (2, 2, 2) };
        out.colour = Some(Colour { primaries, transfer, matrix, full_range });
    }
    if b.flag()? {
        b.ue()?;
        b.ue()?;
    }
    Ok(())
}

/// The two numbers, where both are possible.
pub(crate) fn timing(b: &mut Bits) -> Result<Option<Timing>, MediaError> {
    let (units_in_tick, time_scale) = (b.u(32)?, b.u(32)?);
    Ok((units_in_tick > 0 && time_scale > 0).then_some(Timing { units_in_tick, time_scale }))
}

/// Table E-1, by `aspect_ratio_idc`.
const ASPECTS: [(u16, u16); 17] = [
    (0, 0),
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];
