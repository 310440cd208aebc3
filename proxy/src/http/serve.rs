//! One HTTP request: agree on where it goes, judge it, send it, judge the response, answer.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use openshell_api::decision::Stage;
use openshell_policy_host::{HttpRequest, HttpResponse, Scheme, View};

use super::body::{Cuttable, buffer};
use super::credentials::{Aim, Purse, Signer};
use super::destination::{Destination, HostPort};
use super::dial::DialError;
use super::form::Form;
use super::interim::Interim;
use super::judge::{Decide, Granted, Lasting};
use super::permit::{Permit, default_port};
use super::refusal::{Cause, Refusal};
use super::session::{Local, Session};
use super::tls::Versions;
use super::upstream::UpstreamError;
use super::view::MessageView;
use super::{headers, path, websocket};
use crate::inference::{Body, BoxError, whole};

/// Longest body that is held in memory to be signed, in bytes.
const SIGNED_BODY: usize = 1024 * 1024;

/// A request that was judged, ready to be sent.
pub(super) struct Judged {
    pub(super) decide: Arc<dyn Decide>,
    pub(super) permit: Permit,
    pub(super) granted: Granted,
    /// As policies saw it.
    pub(super) facts: HttpRequest,
    pub(super) view: Arc<dyn View>,
}

/// Answers one request; every refusal is an answer.
pub(super) async fn answer(session: &Arc<Session>, scheme: Scheme, request: Request<Body>) -> Response<Body> {
    let form = Form::of(request.headers());
    let version = request.version();
    let mut response = match serve(session, scheme, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.answer(&form),
    };
    *response.version_mut() = if version == Version::HTTP_2 { version } else { Version::HTTP_11 };
    response
}

async fn serve(session: &Arc<Session>, scheme: Scheme, mut request: Request<Body>) -> Result<Response<Body>, Refusal> {
    let decide = session.proxy.enforced.now();
    let refuse = |cause, detail| session.facts.refuse(Stage::Request, decide.generation(), cause, detail);
    let tunnel = websocket::from_stream(&mut request);
    if let Some(local) = session.local() {
        agree(session, scheme, &mut request).map_err(|(cause, detail)| refuse(cause, detail))?;
        let caller = Arc::clone(&session.caller.caller);
        return match (local, &session.proxy.inference) {
            (Local::Policy, _) => Ok(session.proxy.policy_local.serve(caller, request).await),
            (Local::Inference, Some(inference)) => Ok(inference.serve(caller, request).await),
            (Local::Inference, None) => Err(refuse(
                Cause::InferenceUnavailable,
                "inference is not set up in this sandbox; see openshell inference backend add".to_owned(),
            )),
        };
    }
    let permit = session.permit(&*decide)?;
    agree(session, scheme, &mut request).map_err(|(cause, detail)| refuse(cause, detail))?;
    let versions = if request.version() == Version::HTTP_2 { Versions::Http2 } else { Versions::Http1 };
    let facts = read_head(scheme, &mut request).map_err(|(cause, detail)| refuse(cause, detail))?;
    let websocket = tunnel.map(websocket::Client::Stream).or_else(|| websocket::Client::upgrading(&mut request));
    let (mut parts, incoming) = request.into_parts();
    // A policy that judges answers has not judged what comes before one.
    let interim = parts.extensions.remove::<Interim>().filter(|_| !decide.watches_responses());
    // Before anybody judges them: what is judged is what is sent.
    headers::clean_request(&mut parts.headers);
    if websocket.is_some() {
        websocket::mark(&mut parts.headers);
    }
    let body_bytes = incoming.size_hint().exact();
    // What is empty is at hand; whoever waits for a body that nobody asks for holds up a stream for nothing.
    let cap = match decide.body_cap() {
        0 => 0,
        cap if incoming.is_end_stream() => cap,
        _ => decide.body_wanted(&session.facts.connection, &facts, &view(session, &parts.headers, None)),
    } as usize;
    let (seen, body) = if cap == 0 {
        (None, incoming)
    } else {
        buffer(incoming, cap, &session.proxy.held)
            .await
            .map_err(|error| refuse(Cause::BadRequest, format!("the body broke off: {error}")))?
    };
    let form = Form::of_message(&parts.headers, seen.as_deref());
    let view = view(session, &parts.headers, seen);
    let granted = match session.facts.request(&*decide, &facts, &view, body_bytes) {
        Ok(granted) => granted,
        Err(refusal) => return Ok(refusal.answer(&form)),
    };
    let judged = Judged { decide: Arc::clone(&decide), permit, granted, facts, view };

    let (judged, signer) = dress(session, scheme, judged, &mut parts)?;
    let (judged, parts, body) = match signer {
        Some(signer) => Box::pin(sign(judged, signer, parts, body)).await?,
        None => (judged, parts, body),
    };
    let mut outgoing = Request::new(body);
    (*outgoing.method_mut(), *outgoing.uri_mut(), *outgoing.headers_mut()) = (parts.method, parts.uri, parts.headers);
    if let Some(client) = websocket {
        return Box::pin(websocket::serve(session, scheme, judged, outgoing, client)).await;
    }
    if let Some(interim) = interim {
        outgoing.extensions_mut().insert(interim);
    }
    relay(session, scheme, versions, judged, outgoing).await
}

async fn relay(
    session: &Arc<Session>,
    scheme: Scheme,
    versions: Versions,
    judged: Judged,
    outgoing: Request<Body>,
) -> Result<Response<Body>, Refusal> {
    let origin = match headers::logs_connection_in(outgoing.headers()) {
        true => session.own_origin(scheme, versions),
        false => session.origin(&judged.permit, scheme, versions),
    };
    let sent = session.proxy.upstreams.send_on(&origin, &judged.permit, scheme, versions, outgoing).await;
    match sent {
        Ok((response, address)) => respond(session, judged, response, address),
        Err(error) => Err(unsent(session, judged, &error)),
    }
}

/// Judges a response's head and lets it pass, or refuses it in the origin's place. `address`: where it came from.
pub(super) fn respond(
    session: &Arc<Session>,
    judged: Judged,
    mut response: Response<Body>,
    address: IpAddr,
) -> Result<Response<Body>, Refusal> {
    let Judged { decide, granted, facts, view, .. } = judged;
    let status = response.status();
    headers::clean_response(response.headers_mut());
    let response_view = || self::view(session, response.headers(), None);
    let seen = HttpResponse { status: status.as_u16() };
    match session.facts.response(&*decide, &facts, seen, &response_view) {
        None => {}
        Some(Ok(edits)) => {
            if let Err(error) = headers::edit(response.headers_mut(), &edits) {
                granted.record.answered(StatusCode::FORBIDDEN.as_u16());
                let detail = error.to_string();
                return Err(session.facts.refuse(Stage::Response, decide.generation(), Cause::PolicyFailed, detail));
            }
        }
        Some(Err(refusal)) => {
            granted.record.answered(refusal.cause.status().as_u16());
            return Err(refusal);
        }
    }
    granted.record.answered(status.as_u16());
    if headers::lives_long(response.headers()) {
        let (registry, enforced) = (&session.proxy.registry, &*session.proxy.enforced);
        let lasting = Lasting { request: Some((facts, view)), inspection: None, address };
        let registration = registry.register(&session.facts, lasting, decide.generation(), enforced);
        response = response.map(|body| Body::new(Cuttable::new(body, registration)));
    }
    Ok(response)
}

/// Why nothing came back. What the host itself refused is recorded as a decision of its own.
pub(super) fn unsent(session: &Arc<Session>, judged: Judged, error: &UpstreamError) -> Refusal {
    let generation = judged.decide.generation();
    let record = judged.granted.record;
    let refusal = unreachable(session, generation, error, record.id());
    record.answered(refusal.cause.status().as_u16());
    refusal
}

/// The refusal for an upstream that was not reached.
pub(super) fn unreachable(session: &Session, generation: u64, error: &UpstreamError, decision: &str) -> Refusal {
    let (cause, own) = match error {
        UpstreamError::Dial(DialError::Forbidden { .. }) => (Cause::SsrfDenied, true),
        UpstreamError::Handshake { .. } => (Cause::UpstreamTls, true),
        UpstreamError::TimedOut { .. } | UpstreamError::Dial(DialError::TimedOut { .. }) => {
            (Cause::UpstreamTimeout, false)
        }
        UpstreamError::Dial(_) | UpstreamError::Http { .. } | UpstreamError::Accept { .. } => {
            (Cause::UpstreamUnreachable, false)
        }
    };
    let detail = error.to_string();
    let address = match error {
        UpstreamError::Dial(DialError::Forbidden { address, .. }) => Some(*address),
        _ => None,
    };
    let mut refusal = if own {
        session.facts.refuse_address(Stage::Dial, generation, cause, detail, address)
    } else {
        let decision = decision.to_owned();
        Refusal { cause, detail, layer: Stage::Dial, policy: None, rule: None, hint: None, generation, decision }
    };
    if cause == Cause::SsrfDenied {
        refusal.hint = Some("a rule may grant the private range, such as allowed_ips in a rules file".to_owned());
    }
    refusal
}

type Objection = (Cause, String);

/// Host, `:authority`, scheme and the connection's own destination must agree. Leaves exactly one `Host`.
fn agree(session: &Session, scheme: Scheme, request: &mut Request<Body>) -> Result<(), Objection> {
    let bad = |detail: &str| (Cause::BadRequest, detail.to_owned());
    if *request.method() == Method::CONNECT {
        return Err((Cause::MethodNotAllowed, "CONNECT inside a connection is not served".to_owned()));
    }
    if let Some(named) = request.uri().scheme_str() {
        let expected = if scheme == Scheme::Https { "https" } else { "http" };
        if !named.eq_ignore_ascii_case(expected) {
            return Err(mismatch(session, &format!("the scheme {named}")));
        }
    }
    let authority = request.uri().authority().map(ToString::to_string);
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next().cloned();
    if hosts.next().is_some() {
        return Err(bad("the request has more than one Host header"));
    }
    let host_text = match &host {
        Some(host) => Some(host.to_str().map_err(|_| bad("the Host header is not text"))?),
        None => None,
    };
    if host.is_none() && authority.is_none() && request.version() != Version::HTTP_10 {
        return Err(bad("the request has no Host header"));
    }
    for named in authority.as_deref().into_iter().chain(host_text) {
        let destination = Destination::parse(named).map_err(|error| (Cause::BadRequest, error.to_string()))?;
        let same_port = match destination.port {
            Some(port) => port == session.port(),
            // Many clients leave an unusual port out; a different host they may not name.
            None => true,
        };
        if destination.host != session.host() || !same_port {
            return Err(mismatch(session, named));
        }
    }
    if host.is_none() {
        let made = authority.unwrap_or_else(|| match session.port() == default_port(scheme) {
            true if !session.host().contains(':') => session.host().to_owned(),
            _ => HostPort(session.host(), session.port()).to_string(),
        });
        let value = HeaderValue::try_from(made).map_err(|_| bad("the authority is not text"))?;
        request.headers_mut().insert(HOST, value);
    }
    Ok(())
}

fn mismatch(session: &Session, named: &str) -> Objection {
    let destination = HostPort(session.host(), session.port());
    (Cause::AuthorityMismatch, format!("the connection goes to {destination}, but the request is for {named}"))
}

/// The request as policies see it. Leaves the same path in the request, in origin form: what is judged is what is sent.
fn read_head(scheme: Scheme, request: &mut Request<Body>) -> Result<HttpRequest, Objection> {
    let uri = request.uri();
    let raw = if uri.path().is_empty() { "/" } else { uri.path() };
    let path = path::normalise(raw)
        .ok_or_else(|| (Cause::BadRequest, "the path is malformed or ambiguous".to_owned()))?
        .into_owned();
    let query = uri.query().map(str::to_owned);
    if path != raw || uri.authority().is_some() {
        let text = match &query {
            Some(query) => format!("{path}?{query}"),
            None => path.clone(),
        };
        let target = PathAndQuery::try_from(text).map_err(|error| (Cause::BadRequest, error.to_string()))?;
        *request.uri_mut() = Uri::from(target);
    }
    Ok(HttpRequest { method: request.method().as_str().to_ascii_uppercase(), scheme, path, query })
}

/// Headers as the upstream gets them: edited as granted, with the granted credential.
fn dress(
    session: &Session,
    scheme: Scheme,
    mut judged: Judged,
    parts: &mut Parts,
) -> Result<(Judged, Option<Signer>), Refusal> {
    let headers = &mut parts.headers;
    let grant = &judged.granted.grant;
    let edited = headers::edit(headers, &grant.headers).map_err(|error| (Cause::PolicyFailed, error.to_string()));
    judged.granted.record.go_on(headers);
    let dressed = edited.and_then(|()| {
        let secrets = session.proxy.secrets.0.load();
        let purse = Purse { rules: judged.decide.credentials(), secrets: &secrets };
        let aim = Aim {
            host: session.host(),
            path: &judged.facts.path,
            executable: &session.caller.caller.process.executable,
            over_tls: scheme == Scheme::Https,
        };
        let dressed = purse.dress(grant.credential.as_deref(), headers, &mut parts.uri, aim);
        dressed.map_err(|error| (Cause::CredentialRefused, error.to_string()))
    });
    match dressed {
        Ok(signer) => Ok((judged, signer)),
        Err((cause, detail)) => Err(judged.granted.record.refuse(cause, detail, judged.granted.by.take())),
    }
}

/// Signs a request whose credential signs; what it holds is read for that, if nobody has said its hash.
async fn sign(
    mut judged: Judged,
    signer: Signer,
    mut parts: Parts,
    body: Body,
) -> Result<(Judged, Parts, Body), Refusal> {
    let (held, body) = match signer.wants_body() {
        false => (Some(Bytes::new()), body),
        true => {
            let held = whole(body, SIGNED_BODY).await.ok();
            (held.clone(), full(held.unwrap_or_default()))
        }
    };
    let signed = match held {
        Some(held) => signer.sign(&parts.method, &parts.uri, &mut parts.headers, &held, jiff::Timestamp::now()),
        None => Err(signer.too_long()),
    };
    match signed {
        Ok(()) => Ok((judged, parts, body)),
        Err(error) => {
            let (cause, detail) = (Cause::CredentialRefused, error.to_string());
            Err(judged.granted.record.refuse(cause, detail, judged.granted.by.take()))
        }
    }
}

fn full(bytes: Bytes) -> Body {
    Body::new(Full::new(bytes).map_err(|never| -> BoxError { match never {} }))
}

fn view(session: &Session, headers: &HeaderMap, body: Option<Bytes>) -> Arc<dyn View> {
    Arc::new(MessageView { caller: session.caller.clone(), headers: headers.clone(), body })
}
