//! Logging in to a gateway by an OpenID Connect provider, and staying so.
//!
//! ```text
//! provider.rs   the provider: where it answers, how it refuses, what its tokens say
//! browser.rs    authorization code with PKCE, by a browser on this machine (RFC 6749, 7636, 8252)
//! device.rs     by any browser anywhere (RFC 8628)
//! session.rs    what came of it: kept, renewed by one process at a time, revoked (RFC 7009)
//! ```

mod browser;
mod device;
mod page;
mod provider;
mod session;

use std::sync::Arc;

use openshell_api::Name;
use openshell_api::discovery::Oidc;

use super::book::Book;
use crate::client::access::{Keeper, Nobody, Token, Trust};
use crate::error::{Error, GatewayError};

pub use provider::Provider;
pub use session::{Session, log_out};

/// How to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By a browser that this command opens; by one anywhere, if there is no screen here and the provider can.
    Browser,
    /// By a browser on this machine that the user opens.
    Link,
    /// By a browser anywhere.
    Device,
}

/// What is told to whoever logs in.
pub enum Told<'a> {
    /// Go there; both sides show this code.
    Browse {
        /// Where.
        url: &'a str,
        /// To be compared.
        code: &'a str,
    },
    /// Go there and type this code.
    Type {
        /// Where.
        url: &'a str,
        /// To be typed.
        code: &'a str,
    },
}

/// Logs in; does not keep anything yet.
pub async fn log_in(
    oidc: &Oidc,
    trust: Trust,
    gateway: &str,
    way: Way,
    tell: &(dyn Fn(Told<'_>) + Sync),
) -> Result<Session, Error> {
    let provider = Provider::find(oidc, trust).await?;
    let elsewhere =
        way == Way::Browser && !browser::has_screen() && provider.at.device_authorization_endpoint.is_some();
    let way = if elsewhere { Way::Device } else { way };
    let (tokens, nonce) = match way {
        Way::Browser | Way::Link => {
            let (tokens, nonce) = browser::log_in(&provider, oidc, gateway, way == Way::Browser, tell).await?;
            (tokens, Some(nonce))
        }
        Way::Device => (device::log_in(&provider, oidc, tell).await?, None),
    };
    Session::begin(&provider, oidc, tokens, nonce.as_deref())
}

/// As whom a gateway of the book is asked: its session, else its token, else as whom Cloudflare Access takes its service token. Refuses
/// one that has none of them.
pub fn keeper(book: &Book, name: &Name) -> Result<Arc<dyn Keeper>, Error> {
    if let Some(keeper) = session::keeper(book, name)? {
        return Ok(Arc::new(keeper));
    }
    match book.token(name)? {
        Some(token) => Ok(Arc::new(Token(token))),
        None if book.service_token(name)?.is_some() => Ok(Arc::new(Nobody)),
        None => Err(GatewayError::LoggedOut { name: name.to_string() }.into()),
    }
}

/// Random letters and digits of `bytes` random bytes, safe in a URL.
fn random(bytes: usize) -> Result<String, Error> {
    use base64::Engine as _;
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(|e| Error::io("get random bytes")(std::io::Error::other(e.to_string())))?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random))
}

/// Seconds since 1970.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
