//! One job by FFmpeg: decode, scale, JPEG or PNG. Runs in a worker only.

use bytes::Bytes;
use ffmpeg_next::{
    self as ffmpeg, Dictionary, Packet, Rational, codec, color, decoder, encoder, format::Pixel, frame,
    software::scaling,
};
use media::Codec;

use crate::{Format, FramesError, Job, MAX_SIDE, Picture, pictures};

/// Narrower than this nothing is scaled: the scaler's filters have a bound of their own.
const MIN_SIDE: u32 = 16;

/// Does the job.
pub(crate) fn picture(job: &Job) -> Result<Picture, FramesError> {
    ffmpeg::log::set_level(ffmpeg::log::Level::Error);
    let packets = pictures::packets(job)?;
    let full = decode(job.codec, packets)?;
    let (width, height) = match (job.width, job.height) {
        (Some(w), Some(h)) => (u32::from(w), u32::from(h)),
        (most, _) => target(&full, most),
    };
    let scaled = scale(full, width, height)?;
    let bytes = match job.format {
        Format::Jpeg { quality } => jpeg(&scaled, quality)?,
        Format::Png => png(scaled)?,
        _ => return Err(FramesError::Unsupported("sound is no picture".into())),
    };
    // Both are at most MAX_SIDE.
    Ok(Picture { bytes, width: width as u16, height: height as u16 })
}

/// The last picture in decode order, or the last that could be decoded.
fn decode(codec: Codec, packets: Vec<Vec<u8>>) -> Result<frame::Video, FramesError> {
    let (id, name) = match codec {
        Codec::H264 => (codec::Id::H264, "H.264"),
        Codec::H265 => (codec::Id::HEVC, "H.265"),
        Codec::VP8 => (codec::Id::VP8, "VP8"),
        Codec::VP9 => (codec::Id::VP9, "VP9"),
        Codec::AV1 => (codec::Id::AV1, "AV1"),
        other => return Err(FramesError::Unsupported(format!("pictures cannot be made of {other:?}"))),
    };
    let Some(found) = decoder::find(id) else {
        return Err(FramesError::Unsupported(format!("this FFmpeg cannot decode {name}")));
    };
    let side = u64::from(MAX_SIDE);
    let mut options = Dictionary::new();
    options.set("threads", "1");
    options.set("max_pixels", &(side * side).to_string());
    let mut decoder = codec::Context::new().decoder().open_as_with(found, options).map_err(undecodable)?;
    let mut best: Option<frame::Video> = None;
    let mut last_error = None;
    let mut take = |decoder: &mut decoder::Opened| {
        loop {
            let mut frame = frame::Video::empty();
            match decoder.receive_frame(&mut frame) {
                Ok(()) if best.as_ref().is_none_or(|b| b.pts() <= frame.pts()) => best = Some(frame),
                Ok(()) => {}
                Err(e) => return e,
            }
        }
    };
    for (at, bytes) in packets.into_iter().enumerate() {
        let mut packet = Packet::copy(&bytes);
        drop(bytes);
        // Which picture came from which packet.
        packet.set_pts(i64::try_from(at).ok());
        if let Err(e) = decoder.send_packet(&packet) {
            // One broken picture does not spoil those after it.
            last_error = Some(e);
        }
        take(&mut decoder);
    }
    if decoder.send_eof().is_ok() {
        match take(&mut decoder) {
            ffmpeg::Error::Eof => {}
            e => last_error = Some(e),
        }
    }
    let Some(frame) = best else {
        return Err(last_error.map_or_else(
            || FramesError::Undecodable("nothing in the data could be shown".into()),
            undecodable,
        ));
    };
    let max = u32::from(MAX_SIDE);
    if frame.width() > max || frame.height() > max {
        return Err(FramesError::TooLarge(format!(
            "the picture is {}×{}; at most {max}×{max} is taken",
            frame.width(),
            frame.height()
        )));
    }
    if frame.width() == 0 || frame.height() == 0 || frame.planes() == 0 {
        return Err(FramesError::Undecodable("an empty picture".into()));
    }
    Ok(frame)
}

fn undecodable(e: ffmpeg::Error) -> FramesError {
    match e {
        ffmpeg::Error::Other { errno } if errno == ffmpeg::error::ENOMEM => memory(),
        ffmpeg::Error::InvalidData => FramesError::Undecodable("the data is damaged or incomplete".into()),
        e => FramesError::Undecodable(e.to_string()),
    }
}

fn memory() -> FramesError {
    FramesError::TooLarge("the picture needs more memory than a decoder is given".into())
}

/// The size to show: square pixels, no wider than `most`, even where anything changes.
fn target(frame: &frame::Video, most: Option<u16>) -> (u32, u32) {
    let (mut w, mut h) = (f64::from(frame.width()), f64::from(frame.height()));
    let ratio = f64::from(frame.aspect_ratio());
    if ratio > 1.0 && ratio < 8.0 {
        h /= ratio;
    } else if ratio < 1.0 && ratio > 0.125 {
        w *= ratio;
    }
    if let Some(most) = most.map(f64::from).filter(|most| *most < w) {
        h *= most / w;
        w = most;
    }
    let even = |side: f64, of: u32| {
        // An unscaled side stays as it is, odd or not.
        if side == f64::from(of) {
            of
        } else {
            (((side / 2.0).round() as u32) * 2).clamp(MIN_SIDE.min(of), of)
        }
    };
    (even(w, frame.width()), even(h, frame.height()))
}

/// To planar 4:2:0, full range, BT.601: what JFIF says a JPEG is.
fn scale(from: frame::Video, width: u32, height: u32) -> Result<frame::Video, FramesError> {
    let same = width == from.width() && height == from.height();
    let space = from.color_space();
    let flags =
        if same { scaling::Flags::BILINEAR } else { scaling::Flags::AREA } | scaling::Flags::ACCURATE_RND;
    let to = Pixel::YUVJ420P;
    let mut scaler =
        scaling::Context::get(from.format(), from.width(), from.height(), to, width, height, flags).map_err(
            |_| {
                FramesError::Unsupported(format!(
                    "{:?} of {}×{} cannot be scaled to {width}×{height}",
                    from.format(),
                    from.width(),
                    from.height()
                ))
            },
        )?;
    let mut out = frame::Video::new(to, width, height);
    if out.planes() < 3 {
        return Err(memory());
    }
    let tall = from.height();
    scaler.run(&from, &mut out).map_err(undecodable)?;
    drop(from);
    if let Some(matrix) = to_601(space, tall) {
        apply(&mut out, matrix);
    }
    Ok(out)
}

/// `[y from cb, y from cr, cb, cb from cr, cr from cb, cr]`, in 1/65536.
type Matrix = [i32; 6];

/// From a picture's own colour matrix to BT.601's; `None` if that is what it has. Where a stream does not say, the
/// custom holds: BT.709 from 720 lines up.
fn to_601(space: color::Space, height: u32) -> Option<Matrix> {
    use color::Space;
    // The weights of red and blue in luma (ITU-T H.273, table 4).
    let (kr, kb) = match space {
        Space::BT709 => (0.2126, 0.0722),
        Space::BT2020NCL | Space::BT2020CL => (0.2627, 0.0593),
        Space::SMPTE240M => (0.212, 0.087),
        Space::Unspecified if height >= 720 => (0.2126, 0.0722),
        _ => return None,
    };
    let (kg, r6, b6) = (1.0 - kr - kb, 0.299, 0.114);
    let g6 = 1.0 - r6 - b6;
    // Red, green and blue less luma, of one unit of cb or cr in the source; then luma and chroma of those in BT.601.
    let column = |r: f64, g: f64, b: f64| {
        let y = r6 * r + g6 * g + b6 * b;
        [y, (b - y) / (2.0 * (1.0 - b6)), (r - y) / (2.0 * (1.0 - r6))]
    };
    let cb = column(0.0, -2.0 * (1.0 - kb) * kb / kg, 2.0 * (1.0 - kb));
    let cr = column(2.0 * (1.0 - kr), -2.0 * (1.0 - kr) * kr / kg, 0.0);
    Some([cb[0], cr[0], cb[1], cr[1], cb[2], cr[2]].map(|c| (c * 65536.0).round() as i32))
}

fn apply(picture: &mut frame::Video, m: Matrix) {
    let byte = |v: i32| v.clamp(0, 255) as u8;
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let strides = [picture.stride(0), picture.stride(1), picture.stride(2)];
    let half = width.div_ceil(2);
    // Planes are borrowed one at a time, so what a row adds to luma is kept beside.
    let (mut cbs, mut crs, mut more) = (vec![0; half], vec![0; half], vec![0; half]);
    for row in 0..height.div_ceil(2) {
        cbs.copy_from_slice(&picture.data(1)[row * strides[1]..][..half]);
        crs.copy_from_slice(&picture.data(2)[row * strides[2]..][..half]);
        for (at, (cb, cr)) in cbs.iter_mut().zip(&mut crs).enumerate() {
            let (b, r) = (i32::from(*cb) - 128, i32::from(*cr) - 128);
            more[at] = (m[0] * b + m[1] * r + 32768) >> 16;
            *cb = byte(128 + ((m[2] * b + m[3] * r + 32768) >> 16));
            *cr = byte(128 + ((m[4] * b + m[5] * r + 32768) >> 16));
        }
        picture.data_mut(1)[row * strides[1]..][..half].copy_from_slice(&cbs);
        picture.data_mut(2)[row * strides[2]..][..half].copy_from_slice(&crs);
        let luma = picture.data_mut(0);
        for y in 2 * row..(2 * row + 2).min(height) {
            for (x, pixel) in luma[y * strides[0]..][..width].iter_mut().enumerate() {
                *pixel = byte(i32::from(*pixel) + more[x / 2]);
            }
        }
    }
}

/// From what [`scale`] gives: the conversion's own matrix is BT.601.
fn png(picture: frame::Video) -> Result<Bytes, FramesError> {
    let (width, height, to) = (picture.width(), picture.height(), Pixel::RGB24);
    let flags = scaling::Flags::BILINEAR | scaling::Flags::ACCURATE_RND | scaling::Flags::FULL_CHR_H_INT;
    let mut scaler = scaling::Context::get(picture.format(), width, height, to, width, height, flags)
        .map_err(|e| FramesError::Unsupported(format!("the picture cannot be made RGB: {e}")))?;
    let mut rgb = frame::Video::new(to, width, height);
    if rgb.planes() < 1 {
        return Err(memory());
    }
    scaler.run(&picture, &mut rgb).map_err(undecodable)?;
    drop(picture);
    encode(&rgb, codec::Id::PNG, "PNG", Dictionary::new())
}

fn jpeg(picture: &frame::Video, quality: u8) -> Result<Bytes, FramesError> {
    let mut options = Dictionary::new();
    let scale = quantiser(quality).to_string();
    options.set("qmin", &scale);
    options.set("qmax", &scale);
    // Optimal tables need a note of every coefficient: too much memory for a large picture.
    let large = picture.width() * picture.height() > 1 << 22;
    options.set("huffman", if large { "default" } else { "optimal" });
    encode(picture, codec::Id::MJPEG, "JPEG", options)
}

/// One picture by an encoder of single pictures.
fn encode(
    picture: &frame::Video,
    id: codec::Id,
    name: &str,
    mut options: Dictionary<'_>,
) -> Result<Bytes, FramesError> {
    let Some(found) = encoder::find(id) else {
        return Err(FramesError::Unsupported(format!("this FFmpeg cannot write {name}")));
    };
    let failed = |e| match undecodable(e) {
        FramesError::TooLarge(words) => FramesError::TooLarge(words),
        other => FramesError::Unsupported(format!("writing the {name} failed: {other}")),
    };
    let mut video = codec::Context::new_with_codec(found).encoder().video().map_err(failed)?;
    video.set_width(picture.width());
    video.set_height(picture.height());
    video.set_format(picture.format());
    video.set_time_base(Rational(1, 25));
    options.set("threads", "1");
    let mut encoder = video.open_as_with(found, options).map_err(failed)?;
    encoder.send_frame(picture).map_err(failed)?;
    let mut packet = Packet::empty();
    encoder.send_eof().map_err(failed)?;
    encoder.receive_packet(&mut packet).map_err(failed)?;
    packet.data().map(Bytes::copy_from_slice).ok_or_else(memory)
}

/// FFmpeg's scale (1 is best, 31 worst) that comes near the quality of the Independent JPEG Group's.
fn quantiser(quality: u8) -> u32 {
    let q = u32::from(quality.clamp(1, 100));
    let percent = if q < 50 { 5000 / q } else { 200 - 2 * q };
    ((percent * 12 + 50) / 100).clamp(1, 31)
}
