use std::{fmt, str::FromStr};

/// A stream's unique id: sixteen random bytes made when the stream is created, never used again. A stream that is
/// deleted and created anew under the same name shares nothing with the old one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamUid(pub [u8; 16]);

impl fmt::Display for StreamUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for StreamUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for StreamUid {
    type Err = ArnError;
    /// Thirty-two hexadecimal digits.
    fn from_str(s: &str) -> Result<Self, ArnError> {
        let bad = || ArnError(format!("{s:?} is not a stream id: 32 hexadecimal digits"));
        if s.len() != 32 || !s.is_ascii() {
            return Err(bad());
        }
        let mut out = [0; 16];
        for (i, b) in out.iter_mut().enumerate() {
            *b = u8::from_str_radix(&s[2 * i..2 * i + 2], 16).map_err(|_| bad())?;
        }
        Ok(StreamUid(out))
    }
}

/// One shard of one stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId {
    /// The stream.
    pub stream: StreamUid,
    /// Rises with every shard that the stream ever had.
    pub shard: u32,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stream, self.shard)
    }
}

/// The account and region in which this installation's resources live; part of every resource's identity.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Home {
    /// Twelve digits.
    pub account: String,
    /// Such as `us-east-1`.
    pub region: String,
}

impl Default for Home {
    fn default() -> Self {
        Home { account: "000000000000".into(), region: "us-east-1".into() }
    }
}

impl Home {
    /// `arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE`
    pub fn arn(&self, service: &str, resource: &str) -> Arn {
        Arn(format!("arn:aws:{service}:{}:{}:{resource}", self.region, self.account))
    }
    /// This region, and the account that an ARN names, if it names one: what the gate is asked about by whoever has the ARN.
    pub fn of(&self, arn: Option<&str>) -> Home {
        let account = arn.and_then(|a| a.split(':').nth(4)).unwrap_or(&self.account);
        Home { account: account.to_owned(), region: self.region.clone() }
    }
    /// A video stream's name for policies: `stream/NAME/*`, as the creation time in AWS's full form is not part of
    /// what a caller knows beforehand.
    pub fn video_stream(&self, name: &str) -> Arn {
        self.arn("kinesisvideo", &format!("stream/{name}/*"))
    }
    /// Something of this installation itself, such as `camera/NAME`.
    pub fn own(&self, resource: &str) -> Arn {
        self.arn("rushes", resource)
    }
}

/// An Amazon resource name.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Arn(pub String);

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What was wrong with a name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ArnError(pub String);
