//! Credentials that last a while (draft-uberti-behave-turn-rest §2.2): the user is when they end, the password an HMAC of that.
//! Nothing is kept of what was given out.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;
use world::Timestamp;

/// Seconds for which credentials are good, at least.
const LASTS: i64 = 3600;
/// They end at a multiple of so many, so that there are few of them at any time.
const STEP: i64 = 600;
const NAME: &str = "rushes";

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) username: String,
    pub(crate) password: String,
    /// Seconds.
    pub(crate) ttl: u64,
}

/// Makes credentials, and knows its own.
pub(crate) struct Credentials(hmac::Key);

/// Whether a user may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// With this password.
    Good(String),
    /// It could once.
    Expired,
    /// Nobody was ever told of it.
    Unknown,
}

impl Credentials {
    /// The secret is gone with the process, as the relays are.
    pub(crate) fn new(secret: &[u8]) -> Credentials {
        // What the scheme says; it is no weaker here for SHA-1's collisions.
        Credentials(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret))
    }

    pub(crate) fn grant(&self, now: Timestamp) -> Grant {
        let now = now.millis() / 1000;
        let end = (now + LASTS + STEP - 1) / STEP * STEP;
        let username = format!("{end}:{NAME}");
        Grant { password: self.password(&username), ttl: (end - now).unsigned_abs(), username }
    }

    pub(crate) fn look(&self, username: &str, now: Timestamp) -> User {
        let now = now.millis() / 1000;
        let end =
            username.split_once(':').filter(|(_, n)| *n == NAME).and_then(|(e, _)| e.parse::<i64>().ok());
        match end {
            Some(e) if e % STEP != 0 || e > now + LASTS + STEP || username != format!("{e}:{NAME}") => {
                User::Unknown
            }
            Some(e) if e <= now => User::Expired,
            Some(_) => User::Good(self.password(username)),
            None => User::Unknown,
        }
    }

    fn password(&self, username: &str) -> String {
        STANDARD.encode(hmac::sign(&self.0, username.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_out_is_good_for_an_hour() {
        let c = Credentials::new(b"secret");
        let at = |s: i64| Timestamp::from_millis(1_795_000_123_000 + s * 1000);
        let g = c.grant(at(0));
        assert!((3600..4200).contains(&g.ttl));
        assert_eq!(c.look(&g.username, at(0)), User::Good(g.password.clone()));
        assert_eq!(c.look(&g.username, at(3599)), User::Good(g.password.clone()));
        assert_eq!(c.look(&g.username, at(4200)), User::Expired);
        assert_ne!(Credentials::new(b"other").grant(at(0)).password, g.password);
        for bad in ["", "x", "1795000123:rushes", "9795000000:rushes", "1795003800:x", "01795003800:rushes"] {
            assert_eq!(c.look(bad, at(0)), User::Unknown, "{bad}");
        }
    }
}
