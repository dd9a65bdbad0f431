//! What is read of session descriptions before and beside `str0m`, which reads the rest.

use str0m::config::Fingerprint;

/// Longer than any browser's.
pub(crate) const MAX_BYTES: usize = 64 << 10;
/// A picture and a sound, and what browsers add.
const MAX_MEDIA: usize = 8;
const MAX_LINES: usize = 2000;

/// Whether a description may be looked at more closely; the error is for people.
pub(crate) fn check(text: &str) -> Result<(), String> {
    if text.len() > MAX_BYTES {
        return Err(format!("it is longer than {MAX_BYTES} bytes"));
    }
    if text.lines().count() > MAX_LINES {
        return Err(format!("it has more than {MAX_LINES} lines"));
    }
    let media = text.lines().filter(|l| l.starts_with("m=")).count();
    if media > MAX_MEDIA {
        return Err(format!("it has more than {MAX_MEDIA} media"));
    }
    Ok(())
}

/// What is wrong with a description, for people: in one line, and without where in our memory it stood.
pub(crate) fn why(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let lines: Vec<_> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let said: Vec<_> = lines.iter().copied().filter(|l| !l.contains("PointerOffset(")).collect();
    match (said.len() == lines.len(), said.is_empty()) {
        (true, _) => said.join("; "),
        (false, true) => "it is no session description".into(),
        (false, false) => format!("it is no session description: {}", said.join("; ")),
    }
}

/// By what the peer's certificate will be known (RFC 8122 §5). `str0m` takes the first that is said, and compares with SHA-256
/// whatever that is; others may stand beside it. `None` if nothing is said: `str0m` refuses that. The error is for people.
pub(crate) fn fingerprint(text: &str) -> Result<Option<Fingerprint>, String> {
    let mut other = None;
    for said in text.lines().filter_map(|l| l.trim_end().strip_prefix("a=fingerprint:")) {
        let (hash, value) = said.split_once(' ').unwrap_or((said, ""));
        if !hash.eq_ignore_ascii_case("sha-256") {
            other = other.or(Some(hash));
            continue;
        }
        let byte = |b: &str| {
            let hex = b.len() == 2 && b.bytes().all(|c| c.is_ascii_hexdigit());
            u8::from_str_radix(b, 16).ok().filter(|_| hex)
        };
        let bytes: Option<Vec<u8>> = value.split(':').map(byte).collect();
        let Some(bytes) = bytes.filter(|b| b.len() == 32) else {
            return Err("a=fingerprint:sha-256 is not followed by 32 bytes as XX:XX:…".into());
        };
        return Ok(Some(Fingerprint { hash_func: "sha-256".into(), bytes }));
    }
    let Some(hash) = other else { return Ok(None) };
    let hash: String = hash.chars().take(32).collect();
    Err(format!("a=fingerprint is {hash}: only sha-256 is accepted"))
}

/// The names of the codecs that a description offers for `video` or `audio`, each once, without those that only help
/// others (retransmission, forward error correction, comfort noise, tones).
pub(crate) fn offered(text: &str, kind: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut mine = false;
    for line in text.lines() {
        if let Some(m) = line.strip_prefix("m=") {
            mine = m.split_ascii_whitespace().next() == Some(kind);
        }
        let name = line.strip_prefix("a=rtpmap:").and_then(|v| v.split_once(' ')?.1.split('/').next());
        if let Some(name) = name.filter(|_| mine) {
            let helps = ["rtx", "red", "ulpfec", "flexfec-03", "CN", "telephone-event"];
            if !helps.iter().any(|h| h.eq_ignore_ascii_case(name)) && !out.iter().any(|o| o == name) {
                out.push(name.chars().take(32).collect());
            }
        }
    }
    out
}

/// The media of a description: what each is (`video`), and by what name it is spoken of (`a=mid`).
pub(crate) fn media(text: &str) -> Vec<(&str, &str)> {
    let mut out: Vec<(&str, &str)> = Vec::new();
    for line in text.lines().map(str::trim_end) {
        if let Some(m) = line.strip_prefix("m=") {
            out.push((m.split_ascii_whitespace().next().unwrap_or_default(), ""));
        }
        if let (Some(mid), Some(last)) = (line.strip_prefix("a=mid:"), out.last_mut()) {
            last.1 = mid;
        }
    }
    out
}

/// The same description with other ICE credentials, and none of the candidates that went with those before.
pub(crate) fn restarted(text: &str, ufrag: &str, pwd: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines().map(str::trim_end) {
        match line.split_once(':').map(|l| l.0) {
            Some("a=ice-ufrag") => out.push_str(&format!("a=ice-ufrag:{ufrag}")),
            Some("a=ice-pwd") => out.push_str(&format!("a=ice-pwd:{pwd}")),
            Some("a=candidate") => continue,
            _ if line == "a=end-of-candidates" => continue,
            _ => out.push_str(line),
        }
        out.push_str("\r\n");
    }
    out
}

/// What of a description a fragment has that answers a restart (RFC 9725 §4.3.3): how the server does ICE, its first
/// medium, its credentials and candidates.
pub(crate) fn ice_of(text: &str) -> String {
    let (mut out, mut media) = (String::new(), 0);
    for line in text.lines().map(str::trim_end) {
        let medium = line.starts_with("m=");
        media += usize::from(medium);
        if media > 1 {
            break;
        }
        let wanted = ["a=ice-", "a=group:BUNDLE", "a=mid:", "a=candidate:", "a=end-of-candidates"];
        if medium || wanted.iter().any(|w| line.starts_with(w)) {
            out.push_str(line);
            out.push_str("\r\n");
        }
    }
    out
}

/// A description of some of its media, by their places.
pub(crate) fn only(text: &str, keep: impl Fn(usize) -> bool) -> String {
    let (mut out, mut seen) = (String::with_capacity(text.len()), 0);
    for line in text.lines().map(str::trim_end) {
        seen += usize::from(line.starts_with("m="));
        if seen == 0 || keep(seen - 1) {
            out.push_str(line);
            out.push_str("\r\n");
        }
    }
    out
}

/// An answer as browsers take it: a medium that is declined names a format all the same (RFC 3264 §6), the offer's first.
pub(crate) fn complete(answer: &str, offer: &str) -> String {
    let first = |m: &str| m.split_ascii_whitespace().nth(3).unwrap_or("0").to_owned();
    let mut offered = offer.lines().filter_map(|l| l.strip_prefix("m=")).map(first);
    let mut out = String::with_capacity(answer.len() + 64);
    // Said at the end of the medium.
    let mut map: Option<&str> = None;
    let end = |out: &mut String, map: &mut Option<&str>| {
        if let Some(map) = map.take() {
            out.push_str(map.trim_end());
            out.push_str("\r\n");
        }
    };
    for line in answer.lines() {
        let media = line.strip_prefix("m=");
        if media.is_some() {
            end(&mut out, &mut map);
        }
        out.push_str(line.trim_end());
        if let Some(m) = media {
            let format = offered.next().unwrap_or_else(|| "0".into());
            if m.split_ascii_whitespace().count() == 3 {
                out.push(' ');
                out.push_str(&format);
                map = offer.lines().find(|l| l.starts_with(&format!("a=rtpmap:{format} ")));
            }
        }
        out.push_str("\r\n");
    }
    end(&mut out, &mut map);
    out
}

/// What a fragment for trickling (RFC 8840 §9) says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// Whose candidates they are; another one than before asks for a restart.
    pub(crate) ufrag: Option<String>,
    /// The password that goes with it.
    pub(crate) pwd: Option<String>,
    /// How many there are.
    pub(crate) candidates: usize,
}

/// Reads one. The error is for people.
pub(crate) fn fragment(text: &str) -> Result<Fragment, String> {
    check(text)?;
    let mut out = Fragment { ufrag: None, pwd: None, candidates: 0 };
    for line in text.lines().map(str::trim_end).filter(|l| !l.is_empty()) {
        let Some((key, value)) = line.split_once('=') else {
            return Err("a line is not KEY=VALUE".into());
        };
        match (key, value.split_once(':').unwrap_or((value, ""))) {
            ("a", ("ice-ufrag", v)) if (4..=256).contains(&v.len()) => out.ufrag = Some(v.into()),
            ("a", ("ice-ufrag", _)) => return Err("ice-ufrag has 4 to 256 characters".into()),
            ("a", ("ice-pwd", v)) if (22..=256).contains(&v.len()) => out.pwd = Some(v.into()),
            ("a", ("ice-pwd", _)) => return Err("ice-pwd has 22 to 256 characters".into()),
            ("a", ("candidate", v)) => {
                if v.split_ascii_whitespace().count() < 8 {
                    return Err("a candidate has fewer than eight parts".into());
                }
                out.candidates += 1;
            }
            _ => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn codecs_by_name() {
        let text = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:63 red/48000/2\r\n\
                    m=video 9 UDP/TLS/RTP/SAVPF 96 97 98\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\n\
                    a=rtpmap:98 VP8/90000\r\na=rtpmap:99 AV1/90000\r\n";
        assert_eq!(offered(text, "video"), ["VP8", "AV1"]);
        assert_eq!(offered(text, "audio"), ["opus"]);
        assert!(offered(text, "text").is_empty());
        assert_eq!(
            media("a=mid:x\nm=video 9 X 1\na=mid:v0\r\nm=audio 9 X 1\n"),
            [("video", "v0"), ("audio", "")]
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_addresses() {
        let parsed = |text| str0m::change::SdpOffer::from_sdp_string(text).unwrap_err();
        for text in ["", "v=0\r\n", "hello", "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nm=video 9 X 300\r\n"]
        {
            let why = why(&parsed(text));
            assert!(why.starts_with("it is no session description") && !why.contains("0x"), "{why}");
            assert!(!why.contains('\n'));
        }
        assert_eq!(why(&"No m-lines in offer"), "No m-lines in offer");
    }

    #[test]
    fn fingerprints() {
        let hex = ["0a"; 32].join(":");
        let of = |lines: &str| fingerprint(lines).map(|f| f.map(|f| (f.hash_func, f.bytes)));
        let known = Ok(Some(("sha-256".to_owned(), vec![10; 32])));
        assert_eq!(of("v=0\r\nm=video 9 X 96\r\n"), Ok(None));
        assert_eq!(of(&format!("a=fingerprint:sha-256 {hex}\r\n")), known);
        // Names of hashes are words whatever their case; one that is known may stand beside others.
        assert_eq!(
            of(&format!(
                "a=fingerprint:sha-1 AA:BB\nm=video 9 X 96\na=fingerprint:SHA-256 {}\n",
                hex.to_uppercase()
            )),
            known
        );
        let why = of("a=fingerprint:sha-1 AA:BB\r\na=fingerprint:md5 AA\r\n").unwrap_err();
        assert!(why.contains("is sha-1") && why.contains("only sha-256"), "{why}");
        let whys = ["", " ", " 0a", &format!(" {hex}:0a"), &format!(" {}", hex.replacen("0a", "+a", 1))];
        for value in whys {
            let why = of(&format!("a=fingerprint:sha-256{value}")).unwrap_err();
            assert!(why.contains("32 bytes"), "{why}");
        }
    }

    #[test]
    fn fragments() {
        let text = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
                    a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n";
        assert_eq!(
            fragment(text),
            Ok(Fragment {
                ufrag: Some("EsAw".into()),
                pwd: Some("P2uYro0UCOQ4zxjKXaWCBui1".into()),
                candidates: 1
            })
        );
        assert!(fragment("a=candidate:1 1 udp").is_err());
        assert!(fragment("a=ice-ufrag:x").is_err());
        assert!(fragment("a=ice-pwd:short").is_err());
        assert!(fragment("hello").is_err());
    }

    #[test]
    fn a_medium_that_is_declined_names_a_format() {
        let offer = "m=video 9 X 96 97\r\nm=audio 9 X 111 0\r\na=rtpmap:111 opus/48000/2\r\n";
        let answer = "v=0\r\nm=audio 0 X \r\na=mid:1\r\nm=video 9 X 97\r\na=mid:0\r\n";
        let offer_turned = "m=audio 9 X 111 0\r\na=rtpmap:111 opus/48000/2\r\nm=video 9 X 96 97\r\n";
        let whole = "m=audio 0 X 111\r\na=mid:1\r\na=rtpmap:111 opus/48000/2\r\n";
        let video = "m=video 9 X 97\r\na=mid:0\r\n";
        assert_eq!(complete(answer, offer_turned), format!("v=0\r\n{whole}{video}"));
        let answer = "v=0\r\nm=video 9 X 97\r\na=mid:0\r\nm=audio 0 X \r\na=mid:1\r\n";
        assert_eq!(complete(answer, offer), format!("v=0\r\n{video}{whole}"));
    }

    #[test]
    fn a_restart_changes_credentials_and_nothing_else() {
        let text = "v=0\r\na=ice-lite\r\na=group:BUNDLE 0 1\r\nm=audio 9 X 111\r\na=mid:0\r\na=ice-ufrag:aaaa\r\na=ice-pwd:bbbb\r\n\
                    a=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\na=rtpmap:111 opus/48000/2\r\nm=video 9 X 97\r\na=ice-ufrag:aaaa\r\n";
        let new = restarted(text, "cccc", "dddddddddddddddddddddddd");
        assert_eq!(fragment(&new).map(|f| (f.ufrag, f.candidates)), Ok((Some("cccc".into()), 0)));
        assert!(
            !new.contains("aaaa")
                && new.contains("a=ice-pwd:dddddddddddddddddddddddd")
                && new.contains("a=rtpmap:111")
        );
        assert_eq!(
            ice_of(text),
            "a=ice-lite\r\na=group:BUNDLE 0 1\r\nm=audio 9 X 111\r\na=mid:0\r\na=ice-ufrag:aaaa\r\na=ice-pwd:bbbb\r\n\
             a=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\n"
        );
    }

    #[test]
    fn some_of_the_media() {
        let text = "v=0\r\nm=audio 9 X 111\r\na=mid:0\r\nm=video 9 X 97\r\na=mid:1\r\n";
        assert_eq!(only(text, |n| n == 1), "v=0\r\nm=video 9 X 97\r\na=mid:1\r\n");
        assert_eq!(only(text, |_| true), text);
    }

    #[test]
    fn what_is_too_long_is_not_looked_at() {
        assert!(check(&"a=b\n".repeat(2001)).is_err());
        assert!(check(&"x".repeat(MAX_BYTES + 1)).is_err());
        assert!(check(&"m=video 9 x 1\n".repeat(9)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "([avm]=[ -~]{0,40}(\r\n|\n)?){0,20}|\\PC{0,200}") {
            let _ = (restarted(&text, "aaaa", "b"), ice_of(&text), fingerprint(&text));
            let _ = (media(&text), only(&text, |n| n % 2 == 0), complete(&text, "m=video 9 X 96"), check(&text), fragment(&text), offered(&text, "video"));
        }
    }
}
