use super::{SPS, nal_type};
use crate::MediaError;
use crate::bits::Bits;
use crate::error::invalid;
use crate::vui::{self, Colour, Timing};

const WHAT: &str = "H.264 sequence parameter set";

/// A sequence parameter set (§7.3.2.1), as far as anything but a decoder needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// 0 to 31.
    pub id: u8,
    /// `profile_idc`.
    pub profile: u8,
    /// The byte of constraint flags.
    pub constraints: u8,
    /// `level_idc`: ten times the level.
    pub level: u8,
    /// 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format: u8,
    /// Bits of a luma sample, 8 to 14.
    pub luma_bits: u8,
    /// Bits of a chroma sample, 8 to 14.
    pub chroma_bits: u8,
    /// `pic_order_cnt_type`, 0 to 2; with 2, output order is decoding order.
    pub poc_type: u8,
    /// `max_num_ref_frames`.
    pub ref_frames: u8,
    /// Whether every picture is a frame (otherwise it may be a field).
    pub frames_only: bool,
    /// Width in pixels after cropping.
    pub width: u16,
    /// Height in pixels after cropping.
    pub height: u16,
    /// Width to height of one pixel, where said.
    pub sample_aspect: Option<(u16, u16)>,
    /// Colours, where said.
    pub colour: Option<Colour>,
    /// The clock, where said: two ticks a frame.
    pub timing: Option<Timing>,
    /// `max_num_reorder_frames`, where said.
    pub reorder_frames: Option<u8>,
    /// What the level's memory allows: `MaxDpbFrames` (§A.3.1).
    pub dpb_frames: u8,
}

impl Sps {
    /// Reads the NAL unit. Of usability information that breaks off (some cameras' does), what could be read is kept.
    pub fn parse(nal: &[u8]) -> Result<Sps, MediaError> {
        if nal_type(nal) != SPS {
            return invalid(WHAT, "another type of NAL unit");
        }
        let mut b = Bits::escaped(WHAT, &nal[1..]);
        let b = &mut b;
        let (profile, constraints, level) = (b.byte()?, b.byte()?, b.byte()?);
        let id = b.ue_max(31, "an id beyond 31")? as u8;
        let (mut chroma_format, mut luma_bits, mut chroma_bits, mut separate) = (1, 8, 8, false);
        if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
            chroma_format = b.ue_max(3, "an unknown chroma format")? as u8;
            separate = chroma_format == 3 && b.flag()?;
            luma_bits = 8 + b.ue_max(6, "more than 14 bits a sample")? as u8;
            chroma_bits = 8 + b.ue_max(6, "more than 14 bits a sample")? as u8;
            b.skip(1)?; // qpprime_y_zero_transform_bypass_flag
            if b.flag()? {
                for list in 0..if chroma_format == 3 { 12 } else { 8 } {
                    if b.flag()? {
                        skip_scaling_list(b, if list < 6 { 16 } else { 64 })?;
                    }
                }
            }
        }
        b.ue_max(12, "a frame number of more than 16 bits")?;
        let poc_type = b.ue_max(2, "an unknown picture order count type")? as u8;
        if poc_type == 0 {
            b.ue_max(12, "a picture order count of more than 16 bits")?;
        } else if poc_type == 1 {
            b.skip(1)?;
            b.se()?;
            b.se()?;
            for _ in 0..b.ue_max(255, "too long a picture order count cycle")? {
                b.se()?;
            }
        }
        let ref_frames = b.ue_max(16, "more than 16 reference frames")? as u8;
        b.skip(1)?; // gaps_in_frame_num_value_allowed_flag
        // 4096 macroblocks are 65,536 pixels, one more than a size can say.
        let mbs_wide = b.ue_max(4094, "wider than 65,520 pixels")? + 1;
        let units_high = b.ue_max(4094, "higher than 65,520 pixels")? + 1;
        let frames_only = b.flag()?;
        let mbs_high = units_high * if frames_only { 1 } else { 2 };
        if !frames_only {
            b.skip(1)?; // mb_adaptive_frame_field_flag
        }
        b.skip(1)?; // direct_8x8_inference_flag
        let (mut crop_x, mut crop_y) = (0u64, 0u64);
        if b.flag()? {
            let mut sides = [0u64; 4];
            for side in &mut sides {
                *side = u64::from(b.ue()?);
            }
            let planar = chroma_format == 0 || separate;
            let unit_x = if planar || chroma_format == 3 { 1 } else { 2 };
            let unit_y = if planar || chroma_format != 1 { 1 } else { 2 } * if frames_only { 1 } else { 2 };
            crop_x = (sides[0] + sides[1]) * unit_x;
            crop_y = (sides[2] + sides[3]) * unit_y;
        }
        let cropped = |mbs: u32, crop: u64| {
            u64::from(mbs * 16).checked_sub(crop).filter(|v| *v > 0).and_then(|v| u16::try_from(v).ok())
        };
        let (Some(width), Some(height)) = (cropped(mbs_wide, crop_x), cropped(mbs_high, crop_y)) else {
            return invalid(WHAT, "an impossible size");
        };
        let mut sps = Sps {
            id,
            profile,
            constraints,
            level,
            chroma_format,
            luma_bits,
            chroma_bits,
            poc_type,
            ref_frames,
            frames_only,
            width,
            height,
            sample_aspect: None,
            colour: None,
            timing: None,
            reorder_frames: None,
            dpb_frames: dpb_frames(profile, constraints, level, mbs_wide * mbs_high),
        };
        if b.flag()? {
            // Whatever comes after the point where it breaks off stays unsaid.
            let _ = sps.read_vui(b);
        }
        Ok(sps)
    }

    fn read_vui(&mut self, b: &mut Bits) -> Result<(), MediaError> {
        let mut common = vui::Common::default();
        let read = vui::common(b, &mut common);
        self.sample_aspect = common.sample_aspect;
        self.colour = common.colour;
        read?;
        if b.flag()? {
            self.timing = vui::timing(b)?;
            b.skip(1)?; // fixed_frame_rate_flag
        }
        let nal_hrd = b.flag()?;
        if nal_hrd {
            skip_hrd(b)?;
        }
        let vcl_hrd = b.flag()?;
        if vcl_hrd {
            skip_hrd(b)?;
        }
        if nal_hrd || vcl_hrd {
            b.skip(1)?; // low_delay_hrd_flag
        }
        b.skip(1)?; // pic_struct_present_flag
        if b.flag()? {
            b.skip(1)?; // motion_vectors_over_pic_boundaries_flag
            for _ in 0..4 {
                b.ue()?;
            }
            self.reorder_frames = Some(b.ue_max(16, "more than 16 frames to reorder")? as u8);
        }
        Ok(())
    }

    /// Frames a second as a fraction, where the clock is said.
    pub fn frame_rate(&self) -> Option<(u32, u32)> {
        let timing = self.timing?;
        Some(match timing.units_in_tick.checked_mul(2) {
            Some(frame) => (timing.time_scale, frame),
            None => (timing.time_scale / 2, timing.units_in_tick),
        })
    }

    /// `max_num_reorder_frames`, inferred by §E.2.1 where it is not said.
    pub fn max_num_reorder_frames(&self) -> u8 {
        let intra = matches!(self.profile, 44 | 86 | 100 | 110 | 122 | 244) && self.constraints & 0x10 != 0;
        self.reorder_frames.unwrap_or(if intra { 0 } else { self.dpb_frames })
    }

    /// How many access units may come before one in decoding order and after it in output order.
    ///
    /// That is what is said; unsaid it is at most what §E.2.1 infers. But that is as much as the level's memory
    /// holds, and cameras that say nothing reorder nothing: so 0 for the Baseline profile (no B slices), for
    /// `pic_order_cnt_type` 2 and for at most one reference frame, else no more than there are reference frames.
    /// [`DtsFiller`](crate::DtsFiller) copes with streams that do otherwise. Fields count as access units.
    pub fn reorder_depth(&self) -> u8 {
        let frames = match self.reorder_frames {
            _ if self.poc_type == 2 => 0,
            Some(said) => said,
            None if self.profile == 66 || self.ref_frames <= 1 => 0,
            None => self.max_num_reorder_frames().min(self.ref_frames),
        };
        if self.frames_only { frames } else { frames * 2 }
    }
}

fn skip_scaling_list(b: &mut Bits, size: u32) -> Result<(), MediaError> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..size {
        if next != 0 {
            next = last.wrapping_add(b.se()?) & 0xff;
        }
        if next != 0 {
            last = next;
        }
    }
    Ok(())
}

fn skip_hrd(b: &mut Bits) -> Result<(), MediaError> {
    let count = b.ue_max(31, "more than 32 coded picture buffers")? + 1;
    b.skip(8)?;
    for _ in 0..count {
        b.ue()?;
        b.ue()?;
        b.skip(1)?;
    }
    b.skip(20)
}

/// Table A-1 and §A.3.1 h.
fn dpb_frames(profile: u8, constraints: u8, level: u8, frame_mbs: u32) -> u8 {
    let level_1b = level == 11 && constraints & 0x10 != 0 && matches!(profile, 66 | 77 | 88);
    let mbs: u32 = match level {
        _ if level_1b => 396,
        ..=10 => 396,
        11 => 900,
        12 | 13 | 20 => 2_376,
        21 => 4_752,
        22 | 30 => 8_100,
        31 => 18_000,
        32 => 20_480,
        40 | 41 => 32_768,
        42 => 34_816,
        50 => 110_400,
        51 | 52 => 184_320,
        _ => 696_320,
    };
    (mbs / frame_mbs.max(1)).min(16) as u8
}
