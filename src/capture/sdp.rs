//! Session descriptions (RFC 8866), as far as RTSP needs them: which media there are, and how RTP carries them.
//!
//! What cannot be read is passed over, line by line: cameras write many things here.

use crate::rtp::Carried;

/// More than any camera says.
const MAX_BYTES: usize = 64 << 10;
const MAX_MEDIA: usize = 16;

/// A session description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// `a=tool:`, what made it.
    pub tool: Option<String>,
    /// `s=`, what it is called.
    pub name: Option<String>,
    /// In order.
    pub media: Vec<Media>,
}

/// One `m=` section, with the first of its formats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// `video`, `audio`, `application`, in lower case.
    pub kind: String,
    /// RTP payload type, below 128.
    pub payload_type: u8,
    /// Encoding name in upper case: `H264`, `MPEG4-GENERIC`; of the static types too; empty if unknown.
    pub encoding: String,
    /// Ticks a second of RTP timestamps, 0 if unknown.
    pub clock_rate: u32,
    /// Channels, 0 if not said.
    pub channels: u8,
    /// Format parameters, keys in lower case.
    pub fmtp: Vec<(String, String)>,
    /// `a=control:` as it stands.
    pub control: Option<String>,
}

impl Media {
    /// A format parameter's value.
    pub fn param(&self, key: &str) -> Option<&str> {
        self.fmtp.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// How RTP carries it, or in words what cannot be received: `MP4V-ES video`.
    pub fn carried(&self) -> Result<Carried, String> {
        Carried::of(self)
    }
}

/// Reads a description. The error says what is wrong, for people.
pub fn parse(text: &[u8]) -> Result<Description, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("the session description is longer than {MAX_BYTES} bytes"));
    }
    let text = String::from_utf8_lossy(text);
    let mut out = Description::default();
    let mut seen = false;
    for line in text.split(['\r', '\n']) {
        let Some((key, value)) = line.split_once('=') else { continue };
        match (key.trim(), value.trim()) {
            ("v", _) => seen = true,
            ("s", v) if !matches!(v, "" | "-") => out.name = Some(v.into()),
            ("m", v) => {
                if out.media.len() == MAX_MEDIA {
                    return Err(format!("the session description has more than {MAX_MEDIA} media"));
                }
                out.media.push(media_line(v));
            }
            ("a", v) => attribute(&mut out, v),
            _ => {}
        }
    }
    match seen || !out.media.is_empty() {
        true => Ok(out),
        false => Err("the session description is not one".into()),
    }
}

/// `video 0 RTP/AVP 96 97`
fn media_line(value: &str) -> Media {
    let mut words = value.split_ascii_whitespace();
    let kind = words.next().unwrap_or_default().to_ascii_lowercase();
    let payload_type = words.nth(2).and_then(|w| w.parse::<u8>().ok()).filter(|t| *t < 128).unwrap_or(127);
    let (encoding, clock_rate, channels) = match payload_type {
        0 => ("PCMU", 8000, 1),
        3 => ("GSM", 8000, 1),
        4 => ("G723", 8000, 1),
        8 => ("PCMA", 8000, 1),
        9 => ("G722", 8000, 1),
        10 => ("L16", 44_100, 2),
        11 => ("L16", 44_100, 1),
        14 => ("MPA", 90_000, 0),
        26 => ("JPEG", 90_000, 0),
        32 => ("MPV", 90_000, 0),
        33 => ("MP2T", 90_000, 0),
        34 => ("H263", 90_000, 0),
        _ => ("", 0, 0),
    };
    Media { kind, payload_type, encoding: encoding.into(), clock_rate, channels, ..Media::default() }
}

fn attribute(out: &mut Description, value: &str) {
    let (key, value) = value.split_once(':').unwrap_or((value, ""));
    let (key, value) = (key.trim(), value.trim());
    let Some(media) = out.media.last_mut() else {
        if key == "tool" {
            out.tool = Some(value.into());
        }
        return;
    };
    // `96 H264/90000`: only what is said of the first format counts.
    let mine = |v: &str| -> Option<String> {
        let (format, rest) = v.split_once(' ')?;
        (format.parse() == Ok(media.payload_type)).then(|| rest.trim().to_string())
    };
    match key {
        "control" => media.control = Some(value.into()),
        "rtpmap" => {
            let Some(map) = mine(value) else { return };
            let mut parts = map.split('/');
            media.encoding = parts.next().unwrap_or_default().trim().to_ascii_uppercase();
            media.clock_rate = parts.next().and_then(|p| p.trim().parse().ok()).unwrap_or(0);
            media.channels = parts.next().and_then(|p| p.trim().parse().ok()).unwrap_or(0);
        }
        "fmtp" => {
            let Some(params) = mine(value) else { return };
            for param in params.split(';') {
                let (k, v) = param.split_once('=').unwrap_or((param, ""));
                if !k.trim().is_empty() {
                    media.fmtp.push((k.trim().to_ascii_lowercase(), v.trim().into()));
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAMERA: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.5\r\ns=Media Presentation\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
        a=tool:LIVE555 Streaming Media v2013.04.08\r\na=control:*\r\n\
        m=video 0 RTP/AVP 96 97\r\na=rtpmap:96 H264/90000 \r\na=rtpmap:97 JPEG/90000\r\n\
        a=fmtp:96 packetization-mode=1;profile-level-id=4D001F; sprop-parameter-sets=Z00AH5WoFAFuQA==,aO48gA==\r\n\
        a=control:trackID=0\r\n\
        m=audio 0 RTP/AVP 8\r\na=control:trackID=1\r\n\
        m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\na=control:trackID=3\r\n";

    #[test]
    fn a_cameras_description() {
        let d = parse(CAMERA.as_bytes()).unwrap();
        assert_eq!(d.tool.as_deref(), Some("LIVE555 Streaming Media v2013.04.08"));
        assert_eq!(d.name.as_deref(), Some("Media Presentation"));
        let [video, audio, other] = &d.media[..] else { panic!("{d:?}") };
        assert_eq!((video.encoding.as_str(), video.clock_rate, video.payload_type), ("H264", 90_000, 96));
        assert_eq!(video.param("sprop-parameter-sets"), Some("Z00AH5WoFAFuQA==,aO48gA=="));
        assert_eq!(video.control.as_deref(), Some("trackID=0"));
        assert_eq!((audio.encoding.as_str(), audio.clock_rate, audio.channels), ("PCMA", 8000, 1));
        assert_eq!(other.carried().unwrap_err(), "VND.ONVIF.METADATA application");
    }

    #[test]
    fn not_a_description() {
        assert!(parse(b"<html>404</html>").is_err());
        assert!(parse(&vec![b'a'; MAX_BYTES + 1]).is_err());
        assert!(parse(format!("v=0\n{}", "m=video 0 RTP/AVP 96\n".repeat(17)).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in prop::collection::vec(any::<u8>(), 0..2000), cut in 0..CAMERA.len(), junk in any::<Vec<u8>>()) {
            let _ = parse(&text);
            let mut t = CAMERA.as_bytes()[..cut].to_vec();
            t.extend(junk);
            if let Ok(d) = parse(&t) {
                for m in &d.media {
                    let _ = m.carried();
                }
            }
        }
    }
}
