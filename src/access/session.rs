//! Console sessions and the links that open them. Both are sealed tokens that nobody keeps a table of; what is kept is
//! the short list of those that were ended before their time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use catalog::{Catalog, CatalogError, Change, Document};
use serde::{Deserialize, Serialize};
use world::{Timestamp, World};

use crate::{Denied, keyring::SharedKeyring};

/// How long a session lasts.
const SESSION: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a link can be used, once.
const LINK: Duration = Duration::from_secs(24 * 3600);
/// How many ended sessions are remembered one by one. One more ends all there are.
const ENDED: usize = 1024;
/// After how long another node's sign-outs are seen here; our own are seen at once.
const FRESH: Duration = Duration::from_secs(5);
/// Attempts at a change that others make, too.
const TRIES: usize = 16;

const SESSION_KIND: &str = "gate/console session";
const LINK_KIND: &str = "gate/console link";
const KIND: &str = "ended-sessions";
const ID: &str = "console";

/// Somebody is signed in.
#[derive(Clone, PartialEq, Eq)]
pub struct ConsoleSession {
    /// The cookie's value: letters that need no escaping. As good as the key while it lasts.
    pub cookie: String,
    /// Until when.
    pub expires: Timestamp,
}

impl std::fmt::Debug for ConsoleSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConsoleSession(…, {:?})", self.expires)
    }
}

#[derive(Serialize, Deserialize)]
struct Token {
    /// Thirty-two hexadecimal digits.
    id: String,
    expires: Timestamp,
    /// How often all sessions had been ended when it was made.
    epoch: u64,
    /// [`crate::root::Root::mark`]: a session ends with the key that opened it.
    root: String,
}

/// The document that says which were ended.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Ended {
    /// Those made before this are.
    epoch: u64,
    /// So are these; forgotten when they would have expired anyway.
    ids: BTreeMap<String, Timestamp>,
}

struct Seen {
    ended: Arc<Ended>,
    at: Duration,
}

pub(crate) struct Sessions {
    world: World,
    catalog: Arc<dyn Catalog>,
    ring: SharedKeyring,
    root: String,
    seen: Mutex<Seen>,
}

impl Sessions {
    pub(crate) async fn open(
        world: World,
        catalog: Arc<dyn Catalog>,
        ring: SharedKeyring,
        root: String,
    ) -> Result<Sessions, CatalogError> {
        let (ended, _) = read(&*catalog).await?;
        let seen = Mutex::new(Seen { ended: Arc::new(ended), at: world.clock.monotonic() });
        Ok(Sessions { world, catalog, ring, root, seen })
    }

    fn make(&self, kind: &str, lasts: Duration) -> (String, Timestamp) {
        let id = u128::from_be_bytes(self.world.random16());
        let expires = self.world.clock.now() + lasts;
        let epoch = self.seen.lock().unwrap_or_else(PoisonError::into_inner).ended.epoch;
        let token = Token { id: format!("{id:032x}"), expires, epoch, root: self.root.clone() };
        // Strings and numbers always serialise.
        let plain = serde_json::to_vec(&token).unwrap_or_default();
        (self.ring.seal_token(kind, &plain), expires)
    }

    pub(crate) fn start(&self) -> ConsoleSession {
        let (cookie, expires) = self.make(SESSION_KIND, SESSION);
        ConsoleSession { cookie, expires }
    }

    pub(crate) fn link(&self) -> String {
        self.make(LINK_KIND, LINK).0
    }

    fn parse(&self, kind: &str, token: &str) -> Result<Token, Denied> {
        let plain = self.ring.open_token(kind, token)?;
        let t: Token = serde_json::from_slice(&plain).map_err(|_| Denied::token())?;
        if t.root != self.root || t.expires <= self.world.clock.now() {
            return Err(Denied::Expired);
        }
        Ok(t)
    }

    /// Until when a session lasts that is good now.
    pub(crate) async fn check(&self, cookie: &str) -> Result<Timestamp, Denied> {
        let t = self.parse(SESSION_KIND, cookie)?;
        if self.ended().await?.has(&t) { Err(Denied::Expired) } else { Ok(t.expires) }
    }

    async fn ended(&self) -> Result<Arc<Ended>, CatalogError> {
        let now = self.world.clock.monotonic();
        {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if now.saturating_sub(seen.at) < FRESH {
                return Ok(seen.ended.clone());
            }
        }
        let (ended, _) = read(&*self.catalog).await?;
        Ok(self.saw(ended, now))
    }

    /// Never forgets what it knew: a read may be overtaken by a sign-out here.
    fn saw(&self, mut ended: Ended, at: Duration) -> Arc<Ended> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.ended.epoch > ended.epoch {
            ended = (*seen.ended).clone();
        } else if seen.ended.epoch == ended.epoch {
            let now = self.world.clock.now();
            let known = seen.ended.ids.iter().filter(|(_, expires)| **expires > now);
            ended.ids.extend(known.map(|(id, expires)| (id.clone(), *expires)));
        }
        *seen = Seen { ended: Arc::new(ended), at: at.max(seen.at) };
        seen.ended.clone()
    }

    /// Ends a session. One that is over already needs no ending.
    pub(crate) async fn end(&self, cookie: &str) -> Result<(), Denied> {
        match self.parse(SESSION_KIND, cookie) {
            Ok(t) => self.spend(&t).await.map(|_| ()),
            Err(_) => Ok(()),
        }
    }

    /// Changes a link into a session, once.
    pub(crate) async fn follow(&self, link: &str) -> Result<ConsoleSession, Denied> {
        let t = self.parse(LINK_KIND, link)?;
        if self.spend(&t).await? { Ok(self.start()) } else { Err(Denied::Expired) }
    }

    /// Puts a token on the list; `false` if it was ended before.
    async fn spend(&self, t: &Token) -> Result<bool, Denied> {
        for _ in 0..TRIES {
            let (mut ended, version) = read(&*self.catalog).await?;
            if ended.has(t) {
                return Ok(false);
            }
            let now = self.world.clock.now();
            ended.ids.retain(|_, expires| *expires > now);
            if ended.ids.len() >= ENDED {
                ended = Ended { epoch: ended.epoch + 1, ids: BTreeMap::new() };
            } else {
                ended.ids.insert(t.id.clone(), t.expires);
            }
            let body = serde_json::to_vec(&ended).map_err(|e| Denied::Unavailable(e.to_string()))?;
            let doc = Document { kind: KIND.into(), id: ID.into(), version: 0, body, keys: vec![] };
            match self.catalog.commit(vec![Change::Put { doc, expect: version }]).await {
                Ok(()) => {
                    self.saw(ended, self.world.clock.monotonic());
                    return Ok(true);
                }
                Err(CatalogError::Conflict { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(Denied::Unavailable("too many sign out at once".into()))
    }
}

impl Ended {
    fn has(&self, t: &Token) -> bool {
        t.epoch < self.epoch || self.ids.contains_key(&t.id)
    }
}

async fn read(catalog: &dyn Catalog) -> Result<(Ended, u64), CatalogError> {
    match catalog.get(KIND, ID).await? {
        None => Ok((Ended::default(), 0)),
        Some(doc) => serde_json::from_slice(&doc.body)
            .map(|ended| (ended, doc.version))
            .map_err(|e| CatalogError::Damaged(format!("the list of ended sessions: {e}"))),
    }
}
