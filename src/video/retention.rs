//! How long a stream's recordings stay, and what of them is pinned. The log does it; here is what people set.

use std::time::Duration;

use access::{Permit, actions};
use log::{OnFull, Pin, Retention};
use serde::{Deserialize, Deserializer, Serialize};
use world::Timestamp;

use crate::{By, Video, VideoError};

/// Ten years, the most that AWS's and our retention reach; "unlimited" is the word for more.
pub const MAX_HOURS: f64 = 87_600.0;

/// A bound, or none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Bound<T> {
    /// At most so much.
    At(T),
    /// As much as comes.
    Unlimited(Unlimited),
}

/// The word `"unlimited"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unlimited {
    /// The word.
    #[serde(rename = "unlimited")]
    Unlimited,
}

impl<T: Copy> Bound<T> {
    fn get(&self) -> Option<T> {
        match self {
            Bound::At(n) => Some(*n),
            Bound::Unlimited(_) => None,
        }
    }
}

/// What a stream's retention is set to; what is absent is as the server's [`crate::Config`] says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamRetention {
    /// Hours that recordings stay (AWS: `DataRetentionInHours`); 0 keeps the live window only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Bound<f64>>,
    /// Bytes that they may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Bound<u64>>,
    /// What happens when there is no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_full: Option<OnFull>,
}

/// A change of it: absent stays, null is as the server's configuration says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetentionChange {
    /// See [`StreamRetention::hours`].
    #[serde(default, deserialize_with = "given")]
    pub hours: Option<Option<Bound<f64>>>,
    /// See [`StreamRetention::bytes`].
    #[serde(default, deserialize_with = "given")]
    pub bytes: Option<Option<Bound<u64>>>,
    /// See [`StreamRetention::on_full`].
    #[serde(default, deserialize_with = "given")]
    pub on_full: Option<Option<OnFull>>,
}

fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(d).map(Some)
}

impl RetentionChange {
    /// What comes of it.
    pub fn apply(&self, to: StreamRetention) -> Result<StreamRetention, VideoError> {
        if let Some(Some(Bound::At(h))) = self.hours
            && !(0.0..=MAX_HOURS).contains(&h)
        {
            return Err(VideoError::Bad(format!("hours: 0 to {MAX_HOURS}, or \"unlimited\"")));
        }
        Ok(StreamRetention {
            hours: self.hours.unwrap_or(to.hours),
            bytes: self.bytes.unwrap_or(to.bytes),
            on_full: self.on_full.unwrap_or(to.on_full),
        })
    }
}

impl StreamRetention {
    /// What is in force. Live players are never cut short by age.
    pub(crate) fn effective(&self, default: Retention, window: Duration) -> Retention {
        let age = match self.hours {
            Some(h) => h.get().map(|h| Duration::from_secs_f64(h * 3600.0)),
            None => default.age,
        };
        Retention {
            age: age.map(|a| a.max(window)),
            bytes: self.bytes.map_or(default.bytes, |b| b.get()),
            on_full: self.on_full.unwrap_or(default.on_full),
        }
    }
}

impl Video {
    /// What holds for a stream, for the server's own use; whoever shows it to others asks the gate first.
    pub async fn retention(&self, name: &str) -> Result<Retention, VideoError> {
        let s = self.streams.get(name)?;
        self.log.retention(s.info.uid).await.map_err(|e| s.log_error(e))
    }

    /// What of it the stream itself is set to; for the server's own use like [`Video::retention`].
    pub fn own_retention(&self, name: &str) -> Result<StreamRetention, VideoError> {
        let s = self.streams.get(name)?;
        let own = *s.own.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(own)
    }

    /// Says what holds for streams that are not set otherwise, from now on.
    pub async fn set_default_retention(&self, default: Retention) -> Result<(), VideoError> {
        self.streams.set_default_retention(default).await
    }

    /// Changes how long a stream's recordings stay ([`actions::UPDATE_DATA_RETENTION`]), at once.
    pub async fn set_retention(
        &self,
        permit: Permit,
        name: &str,
        change: RetentionChange,
    ) -> Result<Retention, VideoError> {
        self.check(&permit, &[actions::UPDATE_DATA_RETENTION], name)?;
        self.streams.set_retention(name, change).await
    }

    /// Keeps what is recorded between two moments, whatever retention says ([`actions::PIN_RECORDING`]). Until it is
    /// unpinned, or the stream is deleted. A range by the producer's clock is that of the arrival of what is there now.
    pub async fn pin(
        &self,
        permit: Permit,
        name: &str,
        by: By,
        (from, to): (Timestamp, Timestamp),
        note: &str,
    ) -> Result<Pin, VideoError> {
        self.check(&permit, &[actions::PIN_RECORDING], name)?;
        if from > to {
            return Err(VideoError::Bad("the range ends before it begins".into()));
        }
        if note.len() > log::MAX_NOTE {
            return Err(VideoError::Bad(format!("a note has at most {} bytes", log::MAX_NOTE)));
        }
        let s = self.streams.get(name)?;
        let (from, to) = match by {
            By::Server => (from, to),
            By::Producer => {
                let ends = s.ends(&self.log, by, from, to).await?.ok_or_else(|| {
                    VideoError::NoMedia(format!("video stream {name:?} has nothing in this range"))
                })?;
                let (a, b) = (ends.0.payload.arrival, ends.1.payload.arrival);
                (a.min(b), a.max(b))
            }
        };
        self.log.pin(s.info.uid, from, to, note).await.map_err(|e| s.log_error(e))
    }

    /// Takes a pin away ([`actions::UNPIN_RECORDING`]): retention takes its course.
    pub async fn unpin(&self, permit: Permit, name: &str, id: &str) -> Result<(), VideoError> {
        self.check(&permit, &[actions::UNPIN_RECORDING], name)?;
        let s = self.streams.get(name)?;
        match self.log.unpin(s.info.uid, id).await.map_err(|e| s.log_error(e))? {
            true => Ok(()),
            false => Err(VideoError::NoMedia(format!("video stream {name:?} has no pin {id:?}"))),
        }
    }

    /// A stream's pins, the earliest first ([`actions::LIST_PINS`]).
    pub async fn pins(&self, permit: Permit, name: &str) -> Result<Vec<Pin>, VideoError> {
        self.check(&permit, &[actions::LIST_PINS], name)?;
        let s = self.streams.get(name)?;
        self.log.pins(s.info.uid).await.map_err(|e| s.log_error(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(json: &str) -> Result<RetentionChange, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[test]
    fn a_change_says_what_is_left_what_is_default_and_what_is_unlimited() {
        let day = StreamRetention { hours: Some(Bound::At(24.0)), ..StreamRetention::default() };
        let apply = |j, to| change(j).unwrap().apply(to).unwrap();
        assert_eq!(apply("{}", day), day);
        assert_eq!(apply(r#"{"hours":null}"#, day), StreamRetention::default());
        let all = apply(r#"{"hours":"unlimited","bytes":5,"onFull":"refuse"}"#, day);
        let default = Retention { age: Some(Duration::from_secs(60)), ..Retention::default() };
        let window = Duration::from_secs(600);
        let want = Retention { age: None, bytes: Some(5), on_full: OnFull::Refuse };
        assert_eq!(all.effective(default, window), want);
        let none = StreamRetention::default();
        assert_eq!(none.effective(default, window).age, Some(window), "not less than what is live");
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(text, r#"{"hours":"unlimited","bytes":5,"onFull":"refuse"}"#);
        assert_eq!(serde_json::from_str::<StreamRetention>(&text).unwrap(), all);
        assert!(change(r#"{"hour":1}"#).is_err() && change(r#"{"bytes":-1}"#).is_err());
        assert!(change(r#"{"hours":"forever"}"#).is_err());
        assert!(change(r#"{"hours":-1}"#).unwrap().apply(none).is_err());
        assert!(change(r#"{"hours":87601}"#).unwrap().apply(none).is_err());
    }
}
