//! Logging in by a browser on this machine: the authorization code grant with PKCE (RFC 6749, 7636) and a redirection to
//! loopback (RFC 8252).
//!
//! What keeps others out of it: the first page has an address that nobody can guess and opens once, for one browser, which
//! is known by a cookie from then on; the code that both sides show tells the user that page and terminal belong
//! together; `state` binds the provider's answer to this login, the cookie to this browser, the verifier to this process,
//! and `nonce` the ID token to all of it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode};
use openshell_api::discovery::Oidc;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::page::{self, Answer};
use super::provider::{Provider, Refusal, Tokens};
use super::{Told, random};
use crate::error::{Error, GatewayError};

/// Longest time for a login.
const LIMIT: Duration = Duration::from_secs(10 * 60);
const COOKIE: &str = "openshell-login";
/// Letters and digits that are not taken for one another.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// How long the last page may take to be read by the browser.
const FAREWELL: Duration = Duration::from_millis(300);

/// A login under way.
struct Login {
    gateway: String,
    /// Shown in both places.
    code: String,
    /// Address of the first page, of the way on from it, and what the browser is known by.
    begin: String,
    go: String,
    cookie: String,
    /// Sent through the provider and back.
    state: String,
    authorization: String,
    issuer: String,
    host: String,
    step: Mutex<Step>,
    results: mpsc::Sender<Returned>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    New,
    Opened,
    Returned,
}

/// What the provider sent back, and where to say how it ended.
struct Returned {
    code: Result<String, Refusal>,
    page: tokio::sync::oneshot::Sender<Result<(), String>>,
}

/// What to ask a provider for.
pub fn scope(oidc: &Oidc) -> String {
    let mut scopes = vec!["openid"];
    scopes.extend(oidc.scopes.iter().map(String::as_str).filter(|scope| *scope != "openid"));
    scopes.join(" ")
}

/// Logs in. Answers the tokens, and the nonce that the ID token must hold.
pub async fn log_in(
    provider: &Provider,
    oidc: &Oidc,
    gateway: &str,
    open_it: bool,
    tell: &(dyn Fn(Told<'_>) + Sync),
) -> Result<(Tokens, String), Error> {
    let failed = |reason: String| GatewayError::Provider { issuer: oidc.issuer.clone(), reason };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(Error::io("listen on loopback"))?;
    let address = listener.local_addr().map_err(Error::io("listen on loopback"))?;
    let callback = format!("http://{address}/callback");
    let (state, nonce, verifier) = (random(24)?, random(24)?, random(48)?);
    let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));

    let mut authorization = url::Url::parse(&provider.at.authorization_endpoint).map_err(|e| failed(e.to_string()))?;
    {
        let mut query = authorization.query_pairs_mut();
        query.append_pair("response_type", "code").append_pair("client_id", &oidc.client_id);
        query.append_pair("redirect_uri", &callback).append_pair("scope", &scope(oidc));
        query.append_pair("state", &state).append_pair("nonce", &nonce);
        query.append_pair("code_challenge", &challenge).append_pair("code_challenge_method", "S256");
        if oidc.audience() != oidc.client_id {
            query.append_pair("audience", oidc.audience());
        }
    }
    let (results, mut returned) = mpsc::channel(1);
    let login = Arc::new(Login {
        gateway: gateway.to_owned(),
        code: code()?,
        begin: format!("/{}", random(24)?),
        go: format!("/{}", random(24)?),
        cookie: random(24)?,
        state,
        authorization: authorization.into(),
        issuer: provider.at.issuer.clone(),
        host: address.to_string(),
        step: Mutex::new(Step::New),
        results,
    });
    let url = format!("http://{address}{}", login.begin);
    let serving = tokio::spawn(serve(listener, login.clone()));
    if open_it {
        open(&url);
    }
    tell(Told::Browse { url: &url, code: &login.code });

    let outcome = async {
        let Returned { code, page } = returned.recv().await.ok_or_else(|| failed("the login broke off".into()))?;
        let exchanged = match code {
            Ok(code) => exchange(provider, oidc, &code, &callback, &verifier).await,
            Err(refusal) => Err(failed(format!("the login was refused: {refusal}")).into()),
        };
        let _ = page.send(exchanged.as_ref().map(drop).map_err(Error::to_string));
        // The browser must have its last page before its server goes.
        tokio::time::sleep(FAREWELL).await;
        exchanged
    };
    let outcome = tokio::time::timeout(LIMIT, outcome).await;
    serving.abort();
    match outcome {
        Ok(tokens) => Ok((tokens?, nonce)),
        Err(_) => Err(failed(format!("nobody logged in within {} minutes", LIMIT.as_secs() / 60)).into()),
    }
}

async fn exchange(
    provider: &Provider,
    oidc: &Oidc,
    code: &str,
    callback: &str,
    verifier: &str,
) -> Result<Tokens, Error> {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", callback),
        ("client_id", &oidc.client_id),
        ("code_verifier", verifier),
    ];
    let refuse = |refusal: Refusal| GatewayError::Provider {
        issuer: oidc.issuer.clone(),
        reason: format!("it gave no token for its code: {refusal}"),
    };
    Ok(provider.ask(&provider.at.token_endpoint, &form).await?.map_err(refuse)?)
}

async fn serve(listener: TcpListener, login: Arc<Login>) {
    while let Ok((stream, _)) = listener.accept().await {
        let login = login.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| {
                let login = login.clone();
                async move { Ok::<_, Infallible>(login.answer(request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(hyper_util::rt::TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
            let _ = connection.await;
        });
    }
}

impl Login {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        // A name that leads here (DNS rebinding) is not ours, and neither is anything but a look at a page.
        let host = request.headers().get("host").and_then(|host| host.to_str().ok());
        if host != Some(&self.host) || request.method() != Method::GET {
            return page::answer(StatusCode::FORBIDDEN, page::failed("This is no page of this login."));
        }
        let path = request.uri().path();
        if path == self.begin {
            return self.begin();
        }
        let known =
            request.headers().get_all("cookie").iter().filter_map(|cookie| cookie.to_str().ok()).any(|cookies| {
                let wanted = format!("{COOKIE}={}", self.cookie);
                cookies.split(';').any(|cookie| same(cookie.trim(), &wanted))
            });
        if path == self.go && known {
            let mut answer = page::answer(StatusCode::SEE_OTHER, String::new());
            if let Ok(location) = HeaderValue::from_str(&self.authorization) {
                answer.headers_mut().insert("location", location);
            }
            return answer;
        }
        if path == "/callback" {
            let query = request.uri().query().unwrap_or_default();
            let query: HashMap<String, String> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            return self.back(&query, known).await;
        }
        page::answer(StatusCode::NOT_FOUND, page::failed("There is nothing here."))
    }

    /// The first page: for the first browser that asks.
    fn begin(&self) -> Answer {
        if !self.goes(Step::New, Step::Opened) {
            let why = "This page was opened before. If that was not you, end the login in the terminal.";
            return page::answer(StatusCode::GONE, page::failed(why));
        }
        let mut answer = page::answer(StatusCode::OK, page::confirm(&self.gateway, &self.code, &self.go));
        let cookie = format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Lax", self.cookie);
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            answer.headers_mut().insert("set-cookie", cookie);
        }
        answer
    }

    /// The provider has sent the browser back.
    async fn back(&self, query: &HashMap<String, String>, known: bool) -> Answer {
        let get = |name: &str| query.get(name).map(String::as_str);
        let ours = known && get("state").is_some_and(|state| same(state, &self.state));
        // A provider that says who it is must be the one that was asked (RFC 9207).
        let asked = get("iss").is_none_or(|issuer| issuer == self.issuer);
        if !ours || !asked || !self.goes(Step::Opened, Step::Returned) {
            let why = "This answer belongs to no login that goes on here.";
            return page::answer(StatusCode::BAD_REQUEST, page::failed(why));
        }
        let code = match (get("code"), get("error")) {
            (Some(code), None) => Ok(code.to_owned()),
            (_, error) => Err(Refusal {
                error: error.unwrap_or("no code came back").to_owned(),
                error_description: get("error_description").map(str::to_owned),
            }),
        };
        let (page, ended) = tokio::sync::oneshot::channel();
        let _ = self.results.send(Returned { code, page }).await;
        match ended.await {
            Ok(Ok(())) => page::answer(StatusCode::OK, page::done(&self.code)),
            Ok(Err(why)) => page::answer(StatusCode::OK, page::failed(&why)),
            Err(_) => page::answer(StatusCode::OK, page::failed("The login broke off.")),
        }
    }

    /// Takes a step; not twice, and not before the one before it.
    fn goes(&self, from: Step, to: Step) -> bool {
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let goes = *step == from;
        if goes {
            *step = to;
        }
        goes
    }
}

/// Whether two texts are the same, in a time that tells nothing of where they differ.
fn same(left: &str, right: &str) -> bool {
    Sha256::digest(left) == Sha256::digest(right)
}

/// Eight letters and digits for two pairs of eyes: `K7QM-2XWD`.
fn code() -> Result<String, Error> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|e| Error::io("get random bytes")(std::io::Error::other(e.to_string())))?;
    let mut code: String = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
    code.insert(4, '-');
    Ok(code)
}

/// Whether a browser could show itself here.
pub fn has_screen() -> bool {
    ["BROWSER", "DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Has the user's browser show a page: what `BROWSER` names, else what the desktop prefers. Whether it does can't be
/// known, so the address is told as well.
fn open(url: &str) {
    use std::process::{Command, Stdio};
    let own = std::env::var_os("BROWSER").filter(|program| !program.is_empty());
    let mut command = Command::new(own.unwrap_or_else(|| "xdg-open".into()));
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    crate::sys::detach(&mut command);
    let _ = command.spawn();
}
