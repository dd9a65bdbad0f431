//! The root access key.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use catalog::{Catalog, CatalogError, Change, Document};
use ring::hmac;
use serde::{Deserialize, Serialize};
use world::World;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{AccessError, keyring::Keyring, signature::Signer};

const KIND: &str = "root-key";
const ID: &str = "root";
const CONTEXT: &[u8] = b"gate\0root key\0";

/// A root key, for its owner to see or keep: it is stored sealed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RootKey {
    /// Twenty characters, the first four `AKIA`.
    pub id: String,
    /// Forty letters and digits (none that a URL must escape).
    pub secret: String,
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootKey({}, …)", self.id)
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    id: String,
    /// Sealed, base64.
    secret: String,
    /// Microseconds since 1970.
    created: i64,
}

/// What a key is checked against: an HMAC under a key that this process made, so that comparing takes the same time
/// for every wrong guess, whatever its length.
pub(crate) struct Root {
    id: String,
    check: hmac::Key,
    tag: hmac::Tag,
    pub(crate) signer: Signer,
    /// Tells this key (and secret) from those before it.
    pub(crate) mark: String,
}

impl Root {
    /// The key given, else the one stored, else a new one.
    pub(crate) async fn open(
        world: &World,
        catalog: &dyn Catalog,
        ring: &Keyring,
        given: Option<(String, String)>,
    ) -> Result<(Root, Option<RootKey>), AccessError> {
        if let Some((id, secret)) = given {
            let secret = Zeroizing::new(secret);
            usable(&id, &secret)?;
            return Ok((Root::new(world, ring, &id, &secret), None));
        }
        if let Some(key) = Root::stored(catalog, ring).await? {
            return Ok((Root::new(world, ring, &key.id, &key.secret), None));
        }
        let key =
            RootKey { id: format!("AKIA{}", pick(world, ID_LETTERS, 16)), secret: pick(world, LETTERS, 40) };
        let sealed = ring.seal_secret(&[CONTEXT, key.id.as_bytes()].concat(), key.secret.as_bytes());
        let stored = Stored {
            id: key.id.clone(),
            secret: STANDARD.encode(sealed),
            created: world.clock.now().micros(),
        };
        let body = serde_json::to_vec(&stored).map_err(|e| AccessError::Damaged(e.to_string()))?;
        let doc = Document { kind: KIND.into(), id: ID.into(), version: 0, body, keys: vec![] };
        match catalog.commit(vec![Change::Put { doc, expect: 0 }]).await {
            Ok(()) => Ok((Root::new(world, ring, &key.id, &key.secret), Some(key))),
            // Another node made one at the same time.
            Err(CatalogError::Conflict { .. }) => Root::stored(catalog, ring)
                .await?
                .map(|key| (Root::new(world, ring, &key.id, &key.secret), None))
                .ok_or_else(|| AccessError::Damaged("the root key was there and is gone".into())),
            Err(e) => Err(e.into()),
        }
    }

    pub(crate) async fn stored(
        catalog: &dyn Catalog,
        ring: &Keyring,
    ) -> Result<Option<RootKey>, AccessError> {
        let Some(doc) = catalog.get(KIND, ID).await? else { return Ok(None) };
        let bad = |why: &dyn fmt::Display| AccessError::Damaged(format!("the stored root key: {why}"));
        let stored: Stored = serde_json::from_slice(&doc.body).map_err(|e| bad(&e))?;
        let sealed = STANDARD.decode(&stored.secret).map_err(|e| bad(&e))?;
        let secret =
            ring.open_secret(&[CONTEXT, stored.id.as_bytes()].concat(), &sealed).map_err(|e| bad(&e))?;
        let secret = String::from_utf8(secret).map_err(|_| bad(&"is not text"))?;
        Ok(Some(RootKey { id: stored.id, secret }))
    }

    fn new(world: &World, ring: &Keyring, id: &str, secret: &str) -> Root {
        let check = hmac::Key::new(hmac::HMAC_SHA256, &*Zeroizing::new(world.random32()));
        let tag = hmac::sign(&check, &joined(id, secret));
        let mark = ring.fingerprint(&[b"root key", &joined(id, secret)]);
        Root { id: id.to_owned(), check, tag, signer: Signer::new(secret), mark }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn is(&self, id: &str, secret: &str) -> bool {
        hmac::verify(&self.check, &joined(id, secret), self.tag.as_ref()).is_ok()
    }
}

/// The length first, so that no other pair joins to the same.
fn joined(id: &str, secret: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([&(id.len() as u64).to_be_bytes(), id.as_bytes(), secret.as_bytes()].concat())
}

const ID_LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// `n` of `letters`, each as likely.
fn pick(world: &World, letters: &[u8], n: usize) -> String {
    let mut out = String::with_capacity(n);
    while out.len() < n {
        // Six bits at a time; what is beyond the last letter is thrown away.
        let bytes = Zeroizing::new(world.random32());
        let fitting = bytes.iter().filter_map(|b| letters.get(usize::from(b & 63)));
        out.extend(fitting.take(n - out.len()).map(|b| char::from(*b)));
    }
    out
}

fn usable(id: &str, secret: &str) -> Result<(), AccessError> {
    let bad = |why: &str| Err(AccessError::BadRootKey(why.into()));
    if !(3..=128).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    {
        return bad("its id must be 3 to 128 of a-z A-Z 0-9 _ . -");
    }
    if !(8..=1024).contains(&secret.len()) || secret.chars().any(char::is_control) {
        return bad("its secret must be 8 to 1,024 bytes long, without control characters");
    }
    Ok(())
}
