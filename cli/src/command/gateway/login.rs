//! Logging in and out.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use openshell_api::Name;
use openshell_api::discovery::{AuthMethod, Discovery, Oidc};
use openshell_api::user::WhoAmI;

use super::{Context, DONE, known};
use crate::args::gateway::{LoginArgs, WayArgs};
use crate::client::access::{Keeper, Nobody, Token, Trust};
use crate::client::{Access, Client, ServiceToken};
use crate::error::{Error, GatewayError, SecretError};
use crate::gateways::Entry;
use crate::gateways::login::{self, Session, Told, Way};
use crate::output::hidden;

/// What a login brought.
pub enum Credential {
    /// Nothing yet.
    None,
    /// A token.
    Token(String),
    /// A session.
    Session(Box<Session>),
    /// What Cloudflare Access says of a service token.
    Asserted,
}

impl Credential {
    /// Who would ask with it, if it is one.
    fn bearer(&self) -> Option<&str> {
        match self {
            Self::None | Self::Asserted => None,
            Self::Token(token) => Some(token),
            Self::Session(session) => Some(session.bearer()),
        }
    }
}

/// `gateway login`.
pub async fn run(cx: &Context, args: LoginArgs) -> Result<u8, Error> {
    let name = known(cx, args.name.as_ref(), "one of this machine is its user's without a login")?;
    let Entry::Url { url, ca } = cx.book.entry(&name)? else {
        let why = "whoever may log in to its machine by ssh is its administrator";
        return Err(GatewayError::Kind { name: name.to_string(), why }.into());
    };
    let service_token = match service_token(&args.way)? {
        Some(given) => Some(given),
        None => cx.book.service_token(&name)?,
    };
    let access = openly(&url, ca.as_deref(), service_token);
    let welcome = welcome(&access).await?;
    let credential = ask(&access, ca, &welcome, name.as_str(), &args.way).await?;
    let whoami = check(&access, &credential).await?;
    match &credential {
        Credential::Session(session) => session.keep(&cx.book, &name)?,
        // Else a session or a token would be asked with.
        Credential::Asserted => drop(login::log_out(&cx.book, &name).await?),
        Credential::Token(token) => {
            // Else the session would be asked with.
            login::log_out(&cx.book, &name).await?;
            cx.book.set_token(&name, Some(token))?;
        }
        Credential::None => return Err(GatewayError::TokensAlone { name: name.to_string() }.into()),
    }
    cx.book.set_service_token(&name, access.service_token.as_ref())?;
    cx.out.note(format!("logged in to gateway {name}{}", as_whom(whoami.as_ref(), &credential)));
    Ok(DONE)
}

/// `gateway logout`.
pub async fn out(cx: &Context, name: Option<&Name>) -> Result<u8, Error> {
    let name = known(cx, name, "one of this machine is its user's without a login")?;
    if !matches!(cx.book.entry(&name)?, Entry::Url { .. }) {
        let why = "its token is its machine's; `gateway remove` forgets it";
        return Err(GatewayError::Kind { name: name.to_string(), why }.into());
    }
    let was = login::log_out(&cx.book, &name).await?;
    cx.out.note(match was {
        true => format!("logged out of gateway {name}"),
        false => format!("you were not logged in to gateway {name}"),
    });
    Ok(DONE)
}

/// A gateway that is asked without a token.
pub fn openly(url: &str, ca: Option<&str>, service_token: Option<ServiceToken>) -> Access {
    let trust = ca.map_or(Trust::System, |ca| Trust::Only(ca.as_bytes().to_vec()));
    Access { url: url.to_owned(), trust, service_token, keeper: std::sync::Arc::new(Nobody) }
}

/// The service token that the options name.
pub fn service_token(way: &WayArgs) -> Result<Option<ServiceToken>, Error> {
    let Some(file) = &way.service_token_file else { return Ok(None) };
    let bytes = contents(file)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::Secret(SecretError::NotText))?;
    let wrong = |reason| GatewayError::ServiceToken { file: file.clone(), reason };
    Ok(Some(ServiceToken::parse(text).map_err(wrong)?))
}

/// How the gateway lets people in. Refuses what is no gateway.
pub async fn welcome(access: &Access) -> Result<Discovery, Error> {
    let not = |reason: String| GatewayError::NotAGateway { url: access.url.clone(), reason };
    match Client::new(access.clone()).await?.discovery().await {
        Ok(Some(welcome)) => Ok(welcome),
        Ok(None) => Ok(Discovery { version: String::new(), auth: vec![AuthMethod::Token] }),
        // A login of something else's, or its refusal.
        Err(Error::Refused(problem)) if matches!(problem.status, 301..=308 | 401 | 403) => {
            let hint = problem.hint.clone().unwrap_or_default();
            Err(GatewayError::InFront { reason: problem.detail, hint }.into())
        }
        Err(Error::Refused(problem)) => Err(not(problem.to_string()).into()),
        Err(Error::Answer { reason, .. }) => Err(not(reason).into()),
        Err(error) => Err(error),
    }
}

/// Gets a credential as it is asked for: a token that is given, else a session where there is a provider.
pub async fn ask(
    access: &Access,
    ca: Option<String>,
    welcome: &Discovery,
    name: &str,
    way: &WayArgs,
) -> Result<Credential, Error> {
    if let Some(token) = given(way)? {
        return Ok(Credential::Token(token));
    }
    let asserts = |method: &AuthMethod| matches!(method, AuthMethod::CloudflareAccess { .. });
    if access.service_token.is_some() && welcome.auth.iter().any(asserts) {
        return Ok(Credential::Asserted);
    }
    let Some(oidc) = provider(welcome) else {
        if std::io::stdin().is_terminal() && welcome.auth.contains(&AuthMethod::Token) {
            return typed(name).map(Credential::Token);
        }
        return Ok(Credential::None);
    };
    let trust = ca.as_ref().map_or(Trust::System, |ca| Trust::Also(ca.clone().into_bytes()));
    let tell = |told: Told<'_>| match told {
        Told::Browse { url, code } => {
            eprintln!("Log in with your browser; it must show this code:  {code}\nIf none opens, go to {url}");
        }
        Told::Type { url, code } => eprintln!("Log in at {url} with this code:  {code}"),
    };
    let session = login::log_in(oidc, trust, &access.url, choose(way), &tell).await?;
    Ok(Credential::Session(Box::new(session.known_by(ca))))
}

/// The provider to log in by, if there is one.
pub fn provider(welcome: &Discovery) -> Option<&Oidc> {
    welcome.auth.iter().find_map(|way| if let AuthMethod::Oidc(oidc) = way { Some(oidc) } else { None })
}

fn choose(way: &WayArgs) -> Way {
    match way {
        WayArgs { device: true, .. } => Way::Device,
        WayArgs { no_browser: true, .. } => Way::Link,
        _ => Way::Browser,
    }
}

/// Has the gateway say whom it takes us for. Refuses a credential that it does not take.
pub async fn check(access: &Access, credential: &Credential) -> Result<Option<WhoAmI>, Error> {
    let keeper: std::sync::Arc<dyn Keeper> = match credential {
        Credential::None => return Ok(None),
        credential => match credential.bearer() {
            Some(bearer) => std::sync::Arc::new(Token(bearer.to_owned())),
            None => std::sync::Arc::new(Nobody),
        },
    };
    let client = Client::new(Access { keeper, ..access.clone() }).await?;
    let whoami = client.whoami_if_known().await?;
    if whoami.is_none() {
        client.status().await?;
    }
    Ok(whoami)
}

/// Words for the end of a sentence.
pub fn as_whom(whoami: Option<&WhoAmI>, credential: &Credential) -> String {
    match (whoami, credential) {
        (Some(who), _) => format!(" as {} ({})", who.user, who.role),
        (None, Credential::Session(session)) => format!(" as {}", session.user),
        (None, _) => String::new(),
    }
}

/// The token that the options name. On a command line itself, everyone could read it.
fn given(way: &WayArgs) -> Result<Option<String>, Error> {
    let bytes = if let Some(variable) = &way.token_env {
        let value = std::env::var(variable).map_err(|_| SecretError::VariableUnset(variable.clone()));
        value.map_err(Error::Secret)?.into_bytes()
    } else if let Some(file) = &way.token_file {
        contents(file)?
    } else {
        return Ok(None);
    };
    checked(&bytes).map(Some)
}

/// A file; `-`: standard input.
fn contents(file: &Path) -> Result<Vec<u8>, Error> {
    if file.as_os_str() != "-" {
        return std::fs::read(file).map_err(Error::io(format!("read {}", file.display())));
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(Error::io("read the token from standard input"))?;
    Ok(bytes)
}

fn typed(name: &str) -> Result<String, Error> {
    checked(hidden(&format!("Token for gateway {name}"))?.as_bytes())
}

/// What can be a bearer token (RFC 6750, 2.1).
fn checked(bytes: &[u8]) -> Result<String, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::Secret(SecretError::NotText))?.trim();
    if text.is_empty() {
        return Err(Error::Secret(SecretError::Empty));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::Secret(SecretError::ControlCharacter));
    }
    Ok(text.to_owned())
}
