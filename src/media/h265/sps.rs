use super::{SPS, payload};
use crate::MediaError;
use crate::bits::Bits;
use crate::error::invalid;
use crate::vui::{self, Colour, Timing};

const WHAT: &str = "H.265 sequence parameter set";

/// What `profile_tier_level` says in general (§7.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// `general_profile_space`, 0 to 3.
    pub space: u8,
    /// `general_tier_flag`: high tier.
    pub high_tier: bool,
    /// `general_profile_idc`.
    pub profile: u8,
    /// `general_profile_compatibility_flag`, that of profile 0 in the top bit.
    pub compatibility: u32,
    /// The 48 bits of constraints that follow.
    pub constraints: [u8; 6],
    /// `general_level_idc`: thirty times the level.
    pub level: u8,
}

impl Profile {
    /// `hvc1.1.6.L93.B0` (ISO/IEC 14496-15 annex E.3).
    pub fn codec_string(&self) -> String {
        let space = ["", "A", "B", "C"][usize::from(self.space & 3)];
        let tier = if self.high_tier { 'H' } else { 'L' };
        let compatibility = self.compatibility.reverse_bits();
        let mut out = format!("hvc1.{space}{}.{compatibility:X}.{tier}{}", self.profile, self.level);
        let used = self.constraints.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        for byte in &self.constraints[..used] {
            out.push_str(&format!(".{byte:X}"));
        }
        out
    }

    /// Reads it; `sub_layers` besides the highest.
    fn parse(b: &mut Bits, sub_layers: u32) -> Result<Profile, MediaError> {
        let space = b.u(2)? as u8;
        let high_tier = b.flag()?;
        let profile = b.u(5)? as u8;
        let compatibility = b.u(32)?;
        let mut constraints = [0; 6];
        for byte in &mut constraints {
            *byte = b.byte()?;
        }
        let level = b.byte()?;
        let mut present = [(false, false); 8];
        for layer in present.iter_mut().take(sub_layers as usize) {
            *layer = (b.flag()?, b.flag()?);
        }
        if sub_layers > 0 {
            b.skip(2 * (8 - sub_layers))?;
        }
        for (with_profile, with_level) in present {
            b.skip(if with_profile { 88 } else { 0 } + if with_level { 8 } else { 0 })?;
        }
        Ok(Profile { space, high_tier, profile, compatibility, constraints, level })
    }
}

/// A sequence parameter set (§7.3.2.2), as far as anything but a decoder needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// 0 to 15.
    pub id: u8,
    /// The video parameter set that it belongs to, 0 to 15.
    pub vps_id: u8,
    /// Temporal sub-layers, 1 to 7.
    pub sub_layers: u8,
    /// `sps_temporal_id_nesting_flag`.
    pub nested: bool,
    /// Profile, tier and level.
    pub profile: Profile,
    /// 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format: u8,
    /// Bits of a luma sample, 8 to 16.
    pub luma_bits: u8,
    /// Bits of a chroma sample, 8 to 16.
    pub chroma_bits: u8,
    /// Width in pixels, the conformance window applied.
    pub width: u16,
    /// Height likewise.
    pub height: u16,
    /// `sps_max_num_reorder_pics` of the highest sub-layer.
    pub reorder: u8,
    /// Width to height of one pixel, where said.
    pub sample_aspect: Option<(u16, u16)>,
    /// Colours, where said.
    pub colour: Option<Colour>,
    /// The clock, where said: one tick a picture.
    pub timing: Option<Timing>,
}

impl Sps {
    /// Reads the NAL unit. Where something after the essential breaks off, what could be read is kept.
    pub fn parse(nal: &[u8]) -> Result<Sps, MediaError> {
        let mut b = Bits::escaped(WHAT, payload(WHAT, nal, SPS)?);
        let b = &mut b;
        let vps_id = b.u(4)? as u8;
        let more_layers = b.u(3)?;
        if more_layers > 6 {
            return invalid(WHAT, "more than 7 sub-layers");
        }
        let nested = b.flag()?;
        let profile = Profile::parse(b, more_layers)?;
        let id = b.ue_max(15, "an id beyond 15")? as u8;
        let chroma_format = b.ue_max(3, "an unknown chroma format")? as u8;
        let separate = chroma_format == 3 && b.flag()?;
        let coded =
            [b.ue_max(65_535, "wider than 65,535 pixels")?, b.ue_max(65_535, "higher than 65,535 pixels")?];
        let (mut crop_x, mut crop_y) = (0u64, 0u64);
        if b.flag()? {
            let mut sides = [0u64; 4];
            for side in &mut sides {
                *side = u64::from(b.ue()?);
            }
            let halved_x = matches!(chroma_format, 1 | 2) && !separate;
            let halved_y = chroma_format == 1 && !separate;
            crop_x = (sides[0] + sides[1]) * if halved_x { 2 } else { 1 };
            crop_y = (sides[2] + sides[3]) * if halved_y { 2 } else { 1 };
        }
        let cropped = |size: u32, crop: u64| {
            u64::from(size).checked_sub(crop).filter(|v| *v > 0).and_then(|v| u16::try_from(v).ok())
        };
        let (Some(width), Some(height)) = (cropped(coded[0], crop_x), cropped(coded[1], crop_y)) else {
            return invalid(WHAT, "an impossible size");
        };
        let luma_bits = 8 + b.ue_max(8, "more than 16 bits a sample")? as u8;
        let chroma_bits = 8 + b.ue_max(8, "more than 16 bits a sample")? as u8;
        let poc_bits = 4 + b.ue_max(12, "a picture order count of more than 16 bits")?;
        let every_layer = b.flag()?;
        let mut reorder = 0;
        for _ in if every_layer { 0 } else { more_layers }..=more_layers {
            b.ue()?;
            reorder = b.ue_max(15, "more than 15 pictures to reorder")? as u8;
            b.ue()?;
        }
        let mut sps = Sps {
            id,
            vps_id,
            sub_layers: more_layers as u8 + 1,
            nested,
            profile,
            chroma_format,
            luma_bits,
            chroma_bits,
            width,
            height,
            reorder,
            sample_aspect: None,
            colour: None,
            timing: None,
        };
        // Whatever comes after the point where it breaks off stays unsaid.
        let _ = sps.read_rest(b, poc_bits);
        Ok(sps)
    }

    fn read_rest(&mut self, b: &mut Bits, poc_bits: u32) -> Result<(), MediaError> {
        for _ in 0..6 {
            b.ue()?; // block sizes and transform depths
        }
        if b.flag()? && b.flag()? {
            skip_scaling_lists(b)?;
        }
        b.skip(2)?; // asymmetric partitions, sample adaptive offset
        if b.flag()? {
            b.skip(8)?;
            b.ue()?;
            b.ue()?;
            b.skip(1)?;
        }
        let count = b.ue_max(64, "more than 64 short-term sets")?;
        let mut pictures = 0;
        for index in 0..count {
            pictures = skip_short_term_set(b, index, pictures)?;
        }
        if b.flag()? {
            for _ in 0..b.ue_max(32, "more than 32 long-term pictures")? {
                b.skip(poc_bits + 1)?;
            }
        }
        b.skip(2)?; // temporal motion vectors, strong intra smoothing
        if !b.flag()? {
            return Ok(());
        }
        let mut common = vui::Common::default();
        let read = vui::common(b, &mut common);
        self.sample_aspect = common.sample_aspect;
        self.colour = common.colour;
        read?;
        b.skip(3)?; // neutral chroma, field sequence, frame or field information
        if b.flag()? {
            for _ in 0..4 {
                b.ue()?; // default display window
            }
        }
        if b.flag()? {
            self.timing = vui::timing(b)?;
        }
        Ok(())
    }

    /// Frames a second as a fraction, where the clock is said.
    pub fn frame_rate(&self) -> Option<(u32, u32)> {
        self.timing.map(|t| (t.time_scale, t.units_in_tick))
    }

    /// How many access units may come before one in decoding order and after it in output order.
    pub fn reorder_depth(&self) -> u8 {
        self.reorder
    }
}

/// §7.3.4.
fn skip_scaling_lists(b: &mut Bits) -> Result<(), MediaError> {
    for size in 0..4u32 {
        for _ in (0..6).step_by(if size == 3 { 3 } else { 1 }) {
            if !b.flag()? {
                b.ue()?;
                continue;
            }
            if size > 1 {
                b.se()?;
            }
            for _ in 0..64.min(1 << (4 + (size << 1))) {
                b.se()?;
            }
        }
    }
    Ok(())
}

/// §7.3.7. Takes how many pictures the set before has, gives how many this one has.
fn skip_short_term_set(b: &mut Bits, index: u32, before: u32) -> Result<u32, MediaError> {
    if index > 0 && b.flag()? {
        b.skip(1)?;
        b.ue()?;
        let mut pictures = 0;
        for _ in 0..=before {
            // used_by_curr_pic_flag, or else use_delta_flag
            if b.flag()? || b.flag()? {
                pictures += 1;
            }
        }
        return if pictures > 32 { invalid(WHAT, "more than 32 pictures in a set") } else { Ok(pictures) };
    }
    let pictures =
        b.ue_max(16, "more than 16 pictures before")? + b.ue_max(16, "more than 16 pictures after")?;
    for _ in 0..pictures {
        b.ue()?;
        b.skip(1)?;
    }
    Ok(pictures)
}
