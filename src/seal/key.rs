use ring::{hkdf, hmac};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{KeyFault, SealError, is_key_name};

/// A 256-bit key. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; 32]);

impl DataKey {
    /// From 32 unpredictable bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        DataKey(bytes)
    }
    /// HKDF-SHA256 (RFC 5869): a key for one purpose, bound to `salt` and `info`.
    pub fn derive(&self, salt: &[u8], info: &[&[u8]]) -> DataKey {
        struct L;
        impl hkdf::KeyType for L {
            fn len(&self) -> usize {
                32
            }
        }
        let mut out = [0; 32];
        // A length of 32 is always within HKDF's bound.
        hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
            .extract(&self.0)
            .expand(info, L)
            .and_then(|okm| okm.fill(&mut out))
            .expect("32 bytes of HKDF output");
        DataKey(out)
    }
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
    /// Eight bytes of an HMAC of a constant, in hexadecimal: tells keys apart and says nothing about them.
    pub fn fingerprint(&self) -> String {
        let k = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        hmac::sign(&k, b"rushes key fingerprint v1").as_ref()[..8]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataKey(…)")
    }
}

/// What a writer's start is known by: 32 fresh random bytes, stored in the clear beside what it wrote.
pub type Salt = [u8; 32];

/// A data key as it may be stored: sealed under a provider's key, with the context it is valid in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// Which master key wraps it ([`KeyProvider::id`]).
    pub provider: String,
    /// Opaque to everybody but the provider.
    pub bytes: Vec<u8>,
}

/// Whoever holds the master key: a local file here; KMS, Vault or an external KMS in rooms above.
///
/// `context` is bound as additional data: a key wrapped for one stream does not open for another.
#[async_trait::async_trait]
pub trait KeyProvider: Send + Sync + 'static {
    /// Names the master key in force, such as `local:0123456789abcdef`.
    fn id(&self) -> String;
    /// Seals a data key. `salt` must be fresh random bytes.
    async fn wrap(&self, key: &DataKey, context: &[u8], salt: Salt) -> Result<Wrapped, SealError>;
    /// Opens one.
    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<DataKey, SealError>;
    /// Whether the key that a user named (an id, an alias, or the ARN of either) may be used now. Unless a provider says
    /// otherwise it has no keys but its master key, and every name of the right form stands for that one.
    async fn usable(&self, name: &str) -> Result<(), KeyFault> {
        if is_key_name(name) { Ok(()) } else { Err(KeyFault::NotFound(format!("Invalid keyId '{name}'"))) }
    }
}

/// A master key that lies in this process's memory, read from an owner-readable file by whoever made it.
pub struct LocalKey {
    key: DataKey,
    id: String,
}

impl LocalKey {
    /// Takes the 32 bytes of the key file.
    pub fn new(key: DataKey) -> Self {
        let id = format!("local:{}", key.fingerprint());
        LocalKey { key, id }
    }
}

#[async_trait::async_trait]
impl KeyProvider for LocalKey {
    fn id(&self) -> String {
        self.id.clone()
    }
    async fn wrap(&self, key: &DataKey, context: &[u8], salt: Salt) -> Result<Wrapped, SealError> {
        Ok(Wrapped { provider: self.id(), bytes: crate::seal_secret(&self.key, salt, context, key.bytes()) })
    }
    async fn unwrap(&self, w: &Wrapped, context: &[u8]) -> Result<DataKey, SealError> {
        if w.provider != self.id {
            return Err(SealError::WrongMasterKey { wanted: w.provider.clone(), have: self.id() });
        }
        let mut plain = crate::open_secret(&self.key, context, &w.bytes)?;
        let key =
            <[u8; 32]>::try_from(plain.as_slice()).map_err(|_| SealError::Malformed("a key has 32 bytes"));
        plain.zeroize();
        key.map(DataKey::new)
    }
}

/// Local master keys: one in force, which wraps, and others that open what they wrapped before.
pub struct LocalKeys {
    current: LocalKey,
    others: Vec<LocalKey>,
}

impl LocalKeys {
    /// `current` wraps.
    pub fn new(current: LocalKey, others: Vec<LocalKey>) -> Self {
        LocalKeys { current, others }
    }
}

#[async_trait::async_trait]
impl KeyProvider for LocalKeys {
    fn id(&self) -> String {
        self.current.id()
    }
    async fn wrap(&self, key: &DataKey, context: &[u8], salt: Salt) -> Result<Wrapped, SealError> {
        self.current.wrap(key, context, salt).await
    }
    async fn unwrap(&self, w: &Wrapped, context: &[u8]) -> Result<DataKey, SealError> {
        let key = self.others.iter().find(|k| k.id == w.provider).unwrap_or(&self.current);
        key.unwrap(w, context).await
    }
}
