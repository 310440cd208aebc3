//! What a login brought: kept in a private file, renewed in time by one process at a time, taken back in the end.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use openshell_api::Name;
use openshell_api::discovery::Oidc;
use serde::{Deserialize, Serialize};

use super::super::book::Book;
use super::super::private::{self, Lock};
use super::now;
use super::provider::{Claims, Provider, Tokens};
use crate::client::access::{Keeper, Trust};
use crate::error::{Error, GatewayError};

/// So long before its end a token is renewed, in seconds.
const AHEAD: i64 = 60;
/// How far a provider's clock may be behind ours, in seconds.
const LEEWAY: i64 = 60;

/// A login that is kept.
#[derive(Clone, Serialize, Deserialize)]
pub struct Session {
    /// The provider, and for whom tokens are made.
    #[serde(flatten)]
    oidc: Oidc,
    /// Further authority that the provider is known by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
    /// What the gateway is shown.
    bearer: String,
    /// When that ends, by this machine's clock, in seconds since 1970.
    ends: i64,
    access_token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// What the provider calls who logged in.
    pub user: String,
}

impl Session {
    /// Checks what came of a login (OpenID Connect Core 3.1.3.7). A login by a device may bring no ID token; one that was
    /// told a nonce must.
    pub fn begin(provider: &Provider, oidc: &Oidc, tokens: Tokens, nonce: Option<&str>) -> Result<Self, Error> {
        let refuse = |reason: String| GatewayError::Provider { issuer: oidc.issuer.clone(), reason };
        let (bearer, ends) = shown(oidc, &tokens)?;
        let Some(id) = tokens.id_token.as_deref() else {
            if nonce.is_some() {
                return Err(refuse("it does not say who logged in".into()).into());
            }
            let user = Claims::of(&bearer).map(|claims| claims.user()).unwrap_or_default();
            return Ok(Self::new(oidc, bearer, ends, tokens, user));
        };
        let claims = Claims::of(id).ok_or_else(|| refuse("its ID token is none".into()))?;
        if claims.iss != provider.at.issuer {
            return Err(refuse(format!("its ID token was made by {}", claims.iss)).into());
        }
        if !claims.aud.contains(&oidc.client_id) {
            return Err(refuse("its ID token was made for somebody else".into()).into());
        }
        if claims.exp + LEEWAY < now() {
            return Err(refuse("its ID token has ended already: do the clocks agree?".into()).into());
        }
        if nonce.is_some() && claims.nonce.as_deref() != nonce {
            return Err(refuse("its ID token belongs to another login".into()).into());
        }
        Ok(Self::new(oidc, bearer, ends, tokens, claims.user()))
    }

    fn new(oidc: &Oidc, bearer: String, ends: i64, tokens: Tokens, user: String) -> Self {
        let Tokens { access_token, refresh_token, .. } = tokens;
        Self { oidc: oidc.clone(), ca: None, bearer, ends, access_token, refresh_token, user }
    }

    /// The same, of a provider that is known by a further authority.
    pub fn known_by(self, ca: Option<String>) -> Self {
        Self { ca, ..self }
    }

    /// What to show the gateway.
    pub fn bearer(&self) -> &str {
        &self.bearer
    }

    /// Keeps it for a gateway of the book.
    pub fn keep(&self, book: &Book, name: &Name) -> Result<(), Error> {
        book.entry(name)?;
        self.save(&book.session(name))
    }

    fn save(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::io("write a session")(e.into()))?;
        private::write(path, &text)
    }

    fn load(path: &Path) -> Result<Option<Self>, Error> {
        let Some(bytes) = private::read(path)? else { return Ok(None) };
        // What does not fit may be a secret: it is not repeated.
        let damaged = |_| GatewayError::Damaged { path: path.to_owned(), reason: "it is no session".into() };
        Ok(Some(serde_json::from_slice(&bytes).map_err(damaged)?))
    }

    fn lasts(&self) -> bool {
        self.ends - now() > AHEAD
    }

    fn trust(&self) -> Trust {
        self.ca.as_ref().map_or(Trust::System, |ca| Trust::Also(ca.clone().into_bytes()))
    }

    /// The next one. `Err` inside: the provider wants a new login.
    async fn renewed(&self) -> Result<Result<Self, String>, Error> {
        let Some(refresh_token) = &self.refresh_token else {
            return Ok(Err("its provider gave nothing to renew it with".into()));
        };
        let provider = Provider::find(&self.oidc, self.trust()).await?;
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token.as_str()),
            ("client_id", self.oidc.client_id.as_str()),
        ];
        let tokens: Tokens = match provider.ask(&provider.at.token_endpoint, &form).await? {
            Ok(tokens) => tokens,
            Err(refusal) => return Ok(Err(refusal.to_string())),
        };
        let (bearer, ends) = shown(&self.oidc, &tokens)?;
        // One that is not replaced stays good (RFC 6749, 6).
        let refresh_token = tokens.refresh_token.or_else(|| self.refresh_token.clone());
        Ok(Ok(Self { bearer, ends, access_token: tokens.access_token, refresh_token, ..self.clone() }))
    }
}

/// The token that the gateway wants: the one that is made for its audience. And when it ends by our clock.
fn shown(oidc: &Oidc, tokens: &Tokens) -> Result<(String, i64), Error> {
    let candidates = [Some(&tokens.access_token), tokens.id_token.as_ref()];
    for token in candidates.into_iter().flatten() {
        if let Some(claims) = Claims::of(token)
            && claims.aud.iter().any(|audience| audience == oidc.audience())
        {
            // How long it lasts is the same by every clock.
            let lasts = claims.iat.map_or(claims.exp - now(), |iat| claims.exp - iat);
            return Ok((token.clone(), now() + lasts));
        }
    }
    let reason = format!("it made no token for {}", oidc.audience());
    Err(GatewayError::Provider { issuer: oidc.issuer.clone(), reason }.into())
}

/// Keeps a session good.
pub struct SessionKeeper {
    gateway: String,
    path: PathBuf,
    latest: Mutex<Session>,
}

/// Of a gateway of the book, if it has a session.
pub fn keeper(book: &Book, name: &Name) -> Result<Option<SessionKeeper>, Error> {
    let path = book.session(name);
    let Some(session) = Session::load(&path)? else { return Ok(None) };
    Ok(Some(SessionKeeper { gateway: name.to_string(), path, latest: Mutex::new(session) }))
}

impl SessionKeeper {
    fn latest(&self) -> Session {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, session: Session) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    fn ended(&self, reason: String) -> Error {
        GatewayError::SessionEnded { name: self.gateway.clone(), reason }.into()
    }
}

#[async_trait::async_trait]
impl Keeper for SessionKeeper {
    async fn bearer(&self) -> Result<Option<String>, Error> {
        self.current().await.map(Some)
    }
}

impl SessionKeeper {
    async fn current(&self) -> Result<String, Error> {
        let session = self.latest();
        if session.lasts() {
            return Ok(session.bearer);
        }
        // A provider may take everything back that uses one refresh token twice: one process renews, the others wait.
        let _lock = lock(&self.path).await?;
        let kept = Session::load(&self.path)?.ok_or_else(|| self.ended("you have logged out".into()))?;
        if kept.lasts() {
            self.set(kept.clone());
            return Ok(kept.bearer);
        }
        match kept.renewed().await {
            Ok(Ok(next)) => {
                next.save(&self.path)?;
                self.set(next.clone());
                Ok(next.bearer)
            }
            Ok(Err(reason)) => Err(self.ended(reason)),
            // The provider is away; the token may do for a little longer.
            Err(_) if kept.ends > now() => Ok(kept.bearer),
            Err(error) => Err(error),
        }
    }
}

async fn lock(session: &Path) -> Result<Lock, Error> {
    let path = session.with_extension("lock");
    let lock = tokio::task::spawn_blocking(move || Lock::take(&path)).await;
    lock.map_err(|e| Error::io("lock the session")(e.into()))?
}

/// Forgets a gateway's session, token and service token, and has the provider take back what it gave. Answers whether there was any; what the
/// provider did not do is an error, and everything is forgotten here all the same.
pub async fn log_out(book: &Book, name: &Name) -> Result<bool, Error> {
    let path = book.session(name);
    let _lock = lock(&path).await?;
    let session = Session::load(&path);
    private::remove(&path)?;
    let had_token = book.token(name)?.is_some() || book.service_token(name)?.is_some();
    book.set_token(name, None)?;
    book.set_service_token(name, None)?;
    let Some(session) = session? else { return Ok(had_token) };
    let provider = Provider::find(&session.oidc, session.trust()).await?;
    if let Some(url) = &provider.at.revocation_endpoint {
        let client_id = &session.oidc.client_id;
        if let Some(token) = &session.refresh_token {
            provider.revoke(url, token, "refresh_token", client_id).await?;
        }
        provider.revoke(url, &session.access_token, "access_token", client_id).await?;
    }
    Ok(true)
}
