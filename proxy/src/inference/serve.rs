//! One inference request, from its head to its record.

use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use http::{Request, Response};
use openshell_api::decision::{DecisionRecord, RouteRecord};
use openshell_api::inference::{Backend, Budget, Catalogue, InferenceRules};
use openshell_inference_format::contract;
use openshell_inference_format::document::{Document, Json};
use openshell_inference_format::endpoint::{self, Endpoint};
use openshell_inference_format::question::{self, Unclean, sanitize};
use openshell_inference_format::texts::{self, Piece};
use openshell_policy_host::{Hook, InferenceRequest};

use super::asking::{ask, off_the_path, unserved};
use super::attempts::{Attempts, Unserved};
use super::clearance::{Content, Contents};
use super::forecast::{Marks, Outputs, Prefixes};
use super::head;
use super::health::Health;
use super::intake::{candidates, collect, unknown_endpoint};
use super::ledger::{Ledger, Limits};
use super::models::models;
use super::probe::Probes;
use super::purse::Purse;
use super::records::findings;
use super::refusal::{Cause, Refusal};
use super::router::{Latencies, Router};
use super::service::{Body, Inference};
use super::sessions::{self, Sessions};
use super::upstream::{Pooled, Transport};
use crate::active::{Live, Secrets};
use crate::caller::Caller;
use crate::http::Upstreams;
use crate::record::Record;

/// Responses of which it is remembered who keeps them.
const RESPONSES: u64 = 50_000;

/// What the service needs.
pub struct InferenceOptions {
    /// Name of the sandbox.
    pub sandbox: String,
    /// What is enforced now.
    pub live: Live,
    /// Values of credentials; a backend's key is the one of its provider.
    pub secrets: Secrets,
    /// Where decisions go.
    pub record: Arc<dyn Record>,
    /// What conversations have contained.
    pub sessions: Arc<Sessions>,
    /// What has been spent.
    pub ledger: Arc<Ledger>,
    /// Who deals out shares of budgets.
    pub purse: Arc<dyn Purse>,
    /// Connections to backends.
    pub upstreams: Arc<Upstreams>,
}

/// Answers `https://inference.local`.
pub struct InferenceService {
    pub(super) sandbox: String,
    live: Live,
    secrets: Secrets,
    pub(super) record: Arc<dyn Record>,
    pub(super) sessions: Arc<Sessions>,
    ledger: Arc<Ledger>,
    purse: Arc<dyn Purse>,
    transport: Arc<dyn Transport>,
    latencies: Latencies,
    health: Arc<Health>,
    probes: Probes,
    pub(super) outputs: Arc<Outputs>,
    pub(super) prefixes: Arc<Prefixes>,
    /// Which backend keeps which response.
    pub(super) responses: moka::sync::Cache<String, String>,
    /// `None`: there was no chance to make one, so nothing is redacted.
    placeholder_key: Option<[u8; 32]>,
}

/// What a request is judged under.
pub(super) struct Terms<'a> {
    pub generation: u64,
    pub router: Option<&'a dyn Router>,
    pub catalogue: &'a Catalogue,
    pub rules: &'a InferenceRules,
    /// Budgets that the sandbox shares.
    pub shared: &'a [Budget],
}

/// A request that was read.
pub(super) struct Case<'a> {
    pub terms: &'a Terms<'a>,
    pub router: &'a dyn Router,
    pub parts: &'a Parts,
    pub endpoint: Endpoint,
    pub document: &'a Document,
    /// The model that it asks for, aliases resolved.
    pub model: &'a str,
    pub session: String,
    pub marks: Marks,
}

#[async_trait::async_trait]
impl Inference for InferenceService {
    async fn serve(&self, caller: Arc<Caller>, request: Request<Body>) -> Response<Body> {
        let active = self.live.load_full();
        let router = active.router.as_ref().filter(|policy| policy.has(Hook::Route));
        let terms = Terms {
            generation: active.generation,
            router: router.map(|policy| policy as &dyn Router),
            catalogue: &active.catalogue,
            rules: &active.inference,
            shared: &active.owner_budgets,
        };
        let (parts, body) = request.into_parts();
        self.answer(&terms, &caller, parts, body).await
    }
}

impl InferenceService {
    /// A service over the sandbox's own connections.
    pub fn new(options: InferenceOptions) -> Self {
        let transport = Arc::new(Pooled(Arc::clone(&options.upstreams)));
        Self::with_transport(options, transport)
    }

    pub(super) fn with_transport(options: InferenceOptions, transport: Arc<dyn Transport>) -> Self {
        let InferenceOptions { sandbox, live, secrets, record, sessions, ledger, purse, upstreams: _ } = options;
        let mut key = [0; 32];
        let made = getrandom::fill(&mut key);
        let made = made.inspect_err(|error| tracing::error!(%error, "no key for placeholders: nothing is redacted"));
        let placeholder_key = made.is_ok().then_some(key);
        let health = Arc::<Health>::default();
        let probes = Probes {
            health: Arc::clone(&health),
            transport: Arc::clone(&transport),
            live: Arc::clone(&live),
            secrets: secrets.clone(),
        };
        Self {
            sandbox,
            live,
            secrets,
            record,
            sessions,
            ledger,
            purse,
            transport,
            latencies: Latencies::default(),
            health,
            probes,
            outputs: Arc::default(),
            prefixes: Arc::default(),
            responses: moka::sync::Cache::new(RESPONSES),
            placeholder_key,
        }
    }

    /// Answers one request. Everything that goes wrong is an answer in the caller's dialect.
    pub(super) async fn answer(&self, terms: &Terms<'_>, caller: &Caller, parts: Parts, body: Body) -> Response<Body> {
        let path = parts.uri.path();
        let guessed = endpoint::guess(&parts.headers, path);
        let endpoint = match Endpoint::parse(&parts.method, path) {
            Ok(Endpoint::Models) => return models(terms.catalogue, terms.rules, guessed, path),
            Ok(endpoint) => endpoint,
            Err(unknown) => return unknown_endpoint(unknown).answer(guessed, None, terms.generation, None),
        };
        let mut draft = Box::new(self.draft(terms, caller, &parts));
        match self.route(terms, caller, &parts, body, endpoint, &mut draft).await {
            Ok(response) => response,
            Err(refusal) => {
                let by = terms.router.map(Router::reference);
                let answer = refusal.answer(endpoint.dialect(), by.as_ref(), terms.generation, Some(&draft.id));
                self.refused(&mut draft, by.as_ref(), &refusal);
                answer
            }
        }
    }

    async fn route(
        &self,
        terms: &Terms<'_>,
        caller: &Caller,
        parts: &Parts,
        body: Body,
        endpoint: Endpoint,
        draft: &mut DecisionRecord,
    ) -> Result<Response<Body>, Refusal> {
        let router = terms.router.ok_or_else(|| {
            Refusal::new(Cause::Unavailable, "no router is bound to this sandbox, so no inference request can be judged")
                .hint("the operator binds one with `openshell policy push --router`, or adds backends with `openshell inference backend add`")
        })?;
        head::check_body_kind(&parts.headers)?;
        let label = head::label(&parts.headers)?;
        let bytes = collect(body).await?;
        let document = Document::parse(bytes).map_err(|error| Refusal::new(Cause::BadRequest, error.to_string()))?;
        let model = terms.rules.resolve(document.model());
        if !terms.rules.allows(model) {
            return Err(Refusal::new(
                Cause::ModelNotAllowed,
                format!("this sandbox may not ask for the model {model:?}"),
            )
            .hint(format!("it may ask for {}", terms.rules.models.join(", "))));
        }
        let mut texts = texts::of(&document, endpoint);
        let marks = self.prefixes.marks(&document, &texts);
        let session = sessions::key(&parts.headers, &document);
        let so_far = self.sessions.get(&session).max(label);
        let mut asked = question::of(&document, &mut texts, &self.sandbox, &caller.process, so_far);
        model.clone_into(&mut asked.model);
        asked.expected_output_tokens = self.outputs.expected(model, asked.output_tokens);
        let case = Case { terms, router, parts, endpoint, document: &document, model, session, marks };
        let counted = asked.input_tokens;
        match self.judged(&case, &texts.pieces, asked, draft).await {
            // Who has no such operation is not asked; counting sends nothing anywhere.
            Err(refusal) if endpoint == Endpoint::CountTokens && refusal.cause != Cause::PolicyFailed => {
                Ok(self.counted(&case, counted, draft))
            }
            outcome => outcome,
        }
    }

    /// Judges a request that was read, and sends it to whoever may have it.
    async fn judged(
        &self,
        case: &Case<'_>,
        pieces: &[Piece],
        mut asked: InferenceRequest,
        draft: &mut DecisionRecord,
    ) -> Result<Response<Body>, Refusal> {
        let Case { terms, router, parts, endpoint, document, model, .. } = *case;
        let mut candidates = candidates(terms.catalogue, endpoint)?;
        self.keep_to_keeper(document, &mut candidates)?;
        let tokens = (u64::from(asked.input_tokens), u64::from(asked.output_tokens));
        let offered: Vec<_> = candidates.iter().map(|backend| self.offered(backend, &asked, &case.marks)).collect();
        let start = Instant::now();
        let decision = ask(router, &mut asked, &offered);
        draft.decision_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let decision = decision?;
        let said = contract::to_api(decision.sensitivity).max(contract::to_api(asked.so_far));
        let mayhap = decision.redact && candidates.iter().any(|b| b.redact && b.clearance < said);
        let long = question::is_long(&asked);
        let sanitized = self.placeholder_key.as_ref().filter(|_| mayhap).map(|key| {
            let unclean = Unclean { document, endpoint, pieces, asked: &asked, decision: &decision, key };
            off_the_path(long, || sanitize(&unclean, |asked| router.route(asked, &offered)))
        });
        draft.decision_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let sanitized = match sanitized {
            Some(Err(why)) => {
                tracing::debug!(%why, "a request is not redacted");
                None
            }
            Some(Ok(sanitized)) => Some(sanitized),
            None => None,
        };
        // With placeholders a session counts as what a model sees of it; see `shown`.
        let sensitivity = match &sanitized {
            None => self.sessions.raise(&case.session, said).max(said),
            Some(_) => said,
        };
        draft.route = Some(RouteRecord {
            sensitivity,
            backend: None,
            model: None,
            findings: findings(&decision),
            reason: decision.reason.clone(),
            input_tokens: None,
            output_tokens: None,
            charged: None,
            redacted: 0,
            escalated: Vec::new(),
        });
        let secrets = self.secrets.0.load_full();
        let shown = |sensitivity| {
            self.sessions.raise(&case.session, sensitivity);
        };
        let attempts = Attempts {
            transport: &*self.transport,
            secrets: &secrets,
            latencies: &self.latencies,
            health: &self.health,
            probes: &self.probes,
            ledger: &self.ledger,
            limits: Limits { own: &terms.rules.budgets, shared: terms.shared },
            purse: &*self.purse,
            cascade: terms.rules.cascade.as_ref(),
            id: &draft.id,
            contents: Contents {
                whole: Content { document, sensitivity, placeholders: None },
                redacted: sanitized.as_ref().map(|sanitized| Content {
                    document: &sanitized.document,
                    sensitivity: contract::to_api(sanitized.sensitivity),
                    placeholders: Some(&sanitized.placeholders),
                }),
            },
            endpoint,
            headers: &parts.headers,
            query: parts.uri.query(),
            model,
            tokens,
            shown: &shown,
        };
        let run = attempts.run(&candidates, &decision.order).await;
        match run {
            Ok(served) => Ok(self.served(case, served, &decision, sensitivity, draft)),
            Err(Unserved { passed, escalated }) => {
                let refusal = unserved(&candidates, &passed, sensitivity, sanitized.is_some());
                if let Some(route) = &mut draft.route {
                    route.escalated = escalated;
                }
                Err(refusal)
            }
        }
    }

    /// A backend as the router sees it, with what is known of it now.
    fn offered(&self, backend: &Backend, asked: &InferenceRequest, marks: &Marks) -> openshell_policy_host::Backend {
        let name = backend.name.as_str();
        let mut offered = contract::offered(backend, &asked.model, self.latencies.median(name));
        if backend.cached_input_price.is_some_and(|price| price < backend.input_price) {
            offered.cached_tokens = self.prefixes.held(name, marks, asked.input_tokens);
        }
        offered
    }

    /// Of the candidates, only the one that keeps the response that this one follows, if it is known.
    fn keep_to_keeper(&self, document: &Document, candidates: &mut Vec<&Backend>) -> Result<(), Refusal> {
        let Some(previous) = document.get("previous_response_id").and_then(Json::text) else { return Ok(()) };
        let Some(keeper) = self.responses.get(previous) else { return Ok(()) };
        candidates.retain(|backend| backend.name.as_str() == keeper);
        if candidates.is_empty() {
            let reason = format!("the backend {keeper}, which keeps the response that this one follows, is gone");
            return Err(Refusal::new(Cause::Unavailable, reason).hint("send the whole conversation instead"));
        }
        Ok(())
    }
}
