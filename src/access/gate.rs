use std::{net::IpAddr, sync::Arc};

use catalog::{Catalog, CatalogError};
use seal::{KeyProvider, SealError};
use serde::{Deserialize, Serialize};
use world::{Arn, Home, Timestamp, World};

use crate::{
    Action, AuditSink, ConsoleSession, Credentials, Decision, Denied, Known, Permit, Principal, RootKey,
    actions,
    audit::NoAudit,
    keyring::{Keyring, SharedKeyring},
    policy, publish,
    root::Root,
    session::Sessions,
    signature::{SignatureFault, SignedRequest, Signer},
    throttle::{self, Throttle},
};

/// Why the gate could not be opened or could not do something for a service.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The catalog's key cannot be had: a wrong or missing master key.
    #[error("the catalog's key {0}")]
    Key(#[source] SealError),
    /// A sealed secret does not open.
    #[error("a stored secret {0}")]
    Secret(#[source] SealError),
    /// The root key given cannot be one.
    #[error("the root access key given cannot be used: {0}")]
    BadRootKey(String),
    /// No stream can have this name.
    #[error("{0:?} is not a stream's name: 1 to 256 of a-z A-Z 0-9 _ . -")]
    BadName(String),
    /// What is stored does not parse.
    #[error("damaged: {0}")]
    Damaged(String),
}

/// The gate. Cloning is cheap; all clones are the same gate.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
    audit: Arc<dyn AuditSink>,
    source: Option<IpAddr>,
    any_signature: bool,
}

struct Inner {
    world: World,
    catalog: Arc<dyn Catalog>,
    home: Home,
    ring: SharedKeyring,
    root: Root,
    sessions: Sessions,
    /// For secrets and tokens.
    throttle: Throttle,
    /// For signatures.
    signatures: Throttle,
}

/// Ours begin with `gate`, so that no service's kind is one of ours.
fn service_kind(kind: &str) -> String {
    format!("service/{kind}")
}

fn service_context(context: &[u8]) -> Vec<u8> {
    [b"service\0", context].concat()
}

const VIEWING_KIND: &str = "gate/viewing";

#[derive(Serialize, Deserialize)]
struct Viewing {
    stream: String,
    expires: Timestamp,
}

impl Gate {
    /// Opens the gate: unwraps the catalog's key (or makes it), and takes the root key given as (id, secret), else
    /// the stored one, else makes one, which is returned. A key given is not stored.
    pub async fn open(
        world: World,
        catalog: Arc<dyn Catalog>,
        keys: Arc<dyn KeyProvider>,
        home: Home,
        root: Option<(String, String)>,
    ) -> Result<(Gate, Option<RootKey>), AccessError> {
        let ring = Arc::new(Keyring::open(&world, &*catalog, &*keys).await?);
        let (root, made) = Root::open(&world, &*catalog, &ring, root).await?;
        let sessions =
            Sessions::open(world.clone(), catalog.clone(), ring.clone(), root.mark.clone()).await?;
        let (throttle, signatures) = (Throttle::new(throttle::TYPED), Throttle::new(throttle::SIGNED));
        let inner = Inner { world, catalog, home, ring, root, sessions, throttle, signatures };
        let gate =
            Gate { inner: Arc::new(inner), audit: Arc::new(NoAudit), source: None, any_signature: false };
        Ok((gate, made))
    }

    /// The root key that is in the catalog, for its owner's file. `None` if there never was one.
    pub async fn stored_root_key(&self) -> Result<Option<RootKey>, AccessError> {
        Root::stored(&*self.inner.catalog, &self.inner.ring).await
    }

    /// The same gate, telling `sink` what it decides.
    #[must_use]
    pub fn with_audit(&self, sink: Arc<dyn AuditSink>) -> Gate {
        Gate { audit: sink, ..self.clone() }
    }

    /// The same gate, taking every signed request for root's without looking at key or signature: for tests on a
    /// machine of one's own, where clients are given made-up keys. Everything else is checked as ever.
    #[must_use]
    pub fn accepting_any_signature(&self) -> Gate {
        Gate { any_signature: true, ..self.clone() }
    }

    /// The same gate as met from an address: wrong secrets are counted for it alone. Without, all who come so are
    /// counted together.
    #[must_use]
    pub fn at(&self, source: IpAddr) -> Gate {
        Gate { source: Some(source), ..self.clone() }
    }

    /// Lets one action on one resource pass, or says why not.
    pub async fn admit(
        &self,
        cred: Credentials<'_>,
        action: Action,
        resource: &Arn,
    ) -> Result<Permit, Denied> {
        let by = cred.kind();
        match self.recognise(cred).await {
            Ok(principal) => self.authorize(Known { principal, by }, action, resource),
            Err(d) => {
                self.decided(by, None, action, resource, Some(&d));
                Err(d)
            }
        }
    }

    /// The first half of [`Gate::admit`], for what is known of the request so far; [`Gate::authorize`] is the second.
    /// A refusal is audited as one on everything that `action` could be meant for.
    pub async fn authenticate(&self, cred: Credentials<'_>, action: Action) -> Result<Known, Denied> {
        let by = cred.kind();
        match self.recognise(cred).await {
            Ok(principal) => Ok(Known { principal, by }),
            Err(d) => Err(self.stranger(by, action, d)),
        }
    }

    /// Whether a signed request may be anybody's: the key is known, the time is right. Asked before a body is read whose
    /// hash the signature needs (what stands for it in `canonical` is not looked at): strangers' are not worth it.
    /// No substitute for [`Gate::authenticate`], by which a refusal is audited as here.
    pub fn expects(&self, r: &SignedRequest<'_>, action: Action) -> Result<(), Denied> {
        if self.any_signature {
            return Ok(());
        }
        self.inner.plausible(r).map_err(|fault| self.stranger("signature", action, fault.into()))
    }

    fn stranger(&self, by: &'static str, action: Action, denied: Denied) -> Denied {
        let service = action.0.split_once(':').map_or(action.0, |(service, _)| service);
        self.decided(by, None, action, &self.inner.home.arn(service, "*"), Some(&denied));
        denied
    }

    /// The second half of [`Gate::admit`].
    pub fn authorize(&self, known: Known, action: Action, resource: &Arn) -> Result<Permit, Denied> {
        let Known { principal, by } = known;
        let passed = if policy::permits(&self.inner.home, &principal, action, resource) {
            Ok(())
        } else {
            Err(Denied::NotPermitted { action: action.0, resource: resource.0.clone() })
        };
        self.decided(by, Some(&principal), action, resource, passed.as_ref().err());
        passed.map(|()| Permit::new(principal, action, resource.clone()))
    }

    /// A permit for the server's own tasks.
    pub fn internal(&self, action: Action, resource: &Arn) -> Permit {
        self.decided("internal", Some(&Principal::Server), action, resource, None);
        Permit::new(Principal::Server, action, resource.clone())
    }

    fn decided(
        &self,
        credentials: &'static str,
        principal: Option<&Principal>,
        action: Action,
        resource: &Arn,
        denied: Option<&Denied>,
    ) {
        let time = self.inner.world.clock.now();
        self.audit.decided(&Decision {
            time,
            source: self.source,
            credentials,
            principal,
            action,
            resource,
            denied,
        });
    }

    async fn recognise(&self, cred: Credentials<'_>) -> Result<Principal, Denied> {
        let i = &*self.inner;
        match cred {
            Credentials::Anonymous => Err(Denied::NotAuthenticated("no credentials were given".into())),
            Credentials::Console(cookie) => i.sessions.check(cookie).await.map(|_| Principal::Root),
            Credentials::Playback(token) => i.viewer(token),
            Credentials::Signature(_) if self.any_signature => Ok(Principal::Root),
            Credentials::Signature(r) => Ok(i.signer(r, self.source)?),
            Credentials::AccessKey { id, secret } => {
                self.guess("access key or secret", async {
                    Ok(i.root.is(id, secret).then_some(Principal::Root))
                })
                .await
            }
            Credentials::Token(token) => {
                self.guess("publish token", async {
                    Ok(publish::stream(&*i.catalog, token)
                        .await?
                        .map(|stream| Principal::Publisher { stream }))
                })
                .await
            }
        }
    }

    /// Looks at something that could be guessed.
    async fn guess(
        &self,
        what: &str,
        look: impl Future<Output = Result<Option<Principal>, Denied>>,
    ) -> Result<Principal, Denied> {
        let i = &*self.inner;
        let charge = i
            .throttle
            .charge(self.source, i.world.clock.monotonic())
            .map_err(|retry_after| Denied::TooManyAttempts { retry_after })?;
        let found = look.await;
        // Only a wrong guess costs, not our own failure to look.
        match found {
            Ok(None) => return Err(Denied::NotAuthenticated(format!("wrong {what}"))),
            _ => i.throttle.refund(charge),
        }
        found.and_then(|p| p.ok_or_else(Denied::token))
    }

    /// Starts a console session for root, by its key or by a session that is still good.
    pub async fn sign_in(&self, cred: Credentials<'_>) -> Result<ConsoleSession, Denied> {
        // Only root may; the policy says so.
        let permit = self.admit(cred, actions::SIGN_IN, &self.inner.home.own("console")).await?;
        drop(permit);
        Ok(self.inner.sessions.start())
    }

    /// The token for a link that signs its follower in as root, once, within 24 h. For whoever may read the server's
    /// output, or who has passed for [`actions::CREATE_CONSOLE_LINK`].
    pub fn one_time_link(&self) -> String {
        self.inner.sessions.link()
    }

    /// Changes a link's token into a session. `Expired` if it was used before.
    pub async fn sign_in_by_link(&self, token: &str) -> Result<ConsoleSession, Denied> {
        let session = self.inner.sessions.follow(token).await;
        let principal = session.is_ok().then_some(&Principal::Root);
        self.decided(
            "link",
            principal,
            actions::SIGN_IN,
            &self.inner.home.own("console"),
            session.as_ref().err(),
        );
        session
    }

    /// Until when a console session lasts that is good now.
    pub async fn session_expires(&self, cookie: &str) -> Result<Timestamp, Denied> {
        self.inner.sessions.check(cookie).await
    }

    /// Ends a session for good; when this returns, the cookie is worth nothing here (within 5 s on other nodes). One
    /// that is over or never was is no error.
    pub async fn sign_out(&self, cookie: &str) -> Result<(), Denied> {
        self.inner.sessions.end(cookie).await
    }

    /// A new token that may only publish to this stream (27 characters that need no escaping). The stream's token
    /// before it stops working.
    pub async fn publish_token(&self, stream: &str) -> Result<String, AccessError> {
        publish::renew(&self.inner.world, &*self.inner.catalog, stream).await
    }

    /// The stream's publish token, if it has one, stops working.
    pub async fn revoke_publish_token(&self, stream: &str) -> Result<(), AccessError> {
        publish::revoke(&*self.inner.catalog, stream).await
    }

    /// A token for [`Credentials::Playback`]: whoever holds it may watch this stream (describe it, open sessions, read
    /// media and images) until it expires. By name: it also opens a stream made later under the same name.
    pub fn playback_token(&self, stream: &str, expires: Timestamp) -> Result<String, AccessError> {
        if !policy::is_stream_name(stream) {
            return Err(AccessError::BadName(stream.into()));
        }
        let viewing = Viewing { stream: stream.into(), expires };
        let plain = serde_json::to_vec(&viewing).map_err(|e| AccessError::Damaged(e.to_string()))?;
        Ok(self.inner.ring.seal_token(VIEWING_KIND, &plain))
    }

    /// Seals what a client will hold and bring back, unreadable and unchangeable, in base64url without padding. What
    /// it means, and until when, is the service's business. It opens on every node, and after a restart.
    pub fn seal_token(&self, kind: &str, plain: &[u8]) -> String {
        self.inner.ring.seal_token(&service_kind(kind), plain)
    }

    /// The inverse of [`Gate::seal_token`]; `NotAuthenticated` for all that it did not make under this kind.
    pub fn open_token(&self, kind: &str, token: &str) -> Result<Vec<u8>, Denied> {
        self.inner.ring.open_token(&service_kind(kind), token)
    }

    /// Seals a secret for storage. `context` says where it belongs, such as `camera/NAME/url`, and is needed to open
    /// it: put elsewhere it does not open.
    pub fn seal_secret(&self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        self.inner.ring.seal_secret(&service_context(context), plain)
    }

    /// The inverse of [`Gate::seal_secret`].
    pub fn open_secret(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, AccessError> {
        self.inner.ring.open_secret(&service_context(context), sealed).map_err(AccessError::Secret)
    }

    /// The root access key's id.
    pub fn root_key_id(&self) -> String {
        self.inner.root.id().to_owned()
    }
}

impl Inner {
    /// Whose signature it is. Unlike a wrong secret, an unknown id and a wrong time cost nothing: nothing is learnt.
    fn signer(&self, r: &SignedRequest<'_>, source: Option<IpAddr>) -> Result<Principal, Denied> {
        self.plausible(r)?;
        let charge = self
            .signatures
            .charge(source, self.world.clock.monotonic())
            .map_err(|retry_after| Denied::TooManyAttempts { retry_after })?;
        if !self.root.signer.signed(r) {
            return Err(SignatureFault::Mismatch.into());
        }
        self.signatures.refund(charge);
        Ok(Principal::Root)
    }

    fn plausible(&self, r: &SignedRequest<'_>) -> Result<(), SignatureFault> {
        // Session tokens come with STS: until then every one is unknown.
        if r.key_id != self.root.id() || r.session_token.is_some() {
            return Err(SignatureFault::UnknownKey);
        }
        Signer::in_time(r, self.world.clock.now())
    }

    fn viewer(&self, token: &str) -> Result<Principal, Denied> {
        let plain = self.ring.open_token(VIEWING_KIND, token)?;
        let v: Viewing = serde_json::from_slice(&plain).map_err(|_| Denied::token())?;
        if v.expires <= self.world.clock.now() {
            Err(Denied::Expired)
        } else {
            Ok(Principal::Viewer { stream: v.stream })
        }
    }
}
