//! The router in question, in the engine that sandboxes run it in, and the backends it may choose from.

use std::path::Path;
use std::time::{Duration, Instant};

use openshell_api::inference::{Backend, Catalogue, Sensitivity};
use openshell_api::module::Binding;
use openshell_inference_format::endpoint::Endpoint;
use openshell_inference_format::question::{self, Unclean, sanitize};
use openshell_inference_format::{contract, texts};
use openshell_policy_host::{
    Artifact, Engine, EngineOptions, Hook, LoadOptions, NoLog, Policy, Process, SigningKey, digest,
};

use super::report::{Explanation, Facts};
use super::requests::Request;
use crate::args::inference::ExplainArgs;
use crate::command::policy::workbench::compiler;
use crate::command::{Context, policy};
use crate::error::Error;

/// Name of the router that sandboxes get unless another was pushed.
const BUILT_IN: &str = "privacy-router";
/// Time for one answer: generous, because nobody waits for the request.
const DEADLINE: Duration = Duration::from_secs(10);

/// A router ready to be asked.
pub struct Router {
    policy: Policy,
    catalogue: Catalogue,
    sandbox: String,
    endpoint: Option<Endpoint>,
    so_far: Sensitivity,
}

/// A component, its name and version, and settings to bake it with.
struct Module {
    bytes: Vec<u8>,
    name: String,
    version: String,
    settings: serde_json::Value,
}

impl Router {
    /// Finds module and catalogue as the arguments say, and bakes and loads the module. Asks a gateway for what the arguments
    /// leave open, and for nothing else.
    pub async fn load(cx: &Context, args: &ExplainArgs) -> Result<Self, Error> {
        let catalogue = match &args.catalogue {
            Some(path) => read_catalogue(path)?,
            None => Catalogue { backends: cx.client().await?.backends().await? },
        };
        let module = module(cx, args).await?;
        let progress = cx.out.progress(format!("compiling {}@{}", module.name, module.version));
        let task = tokio::task::spawn_blocking(move || bake(&module));
        let policy = task.await.map_err(|e| Error::Io { doing: "compile".into(), source: e.into() })??;
        drop(progress);
        Ok(Self {
            policy,
            catalogue,
            sandbox: args.sandbox.as_ref().map_or_else(|| "explain".to_owned(), ToString::to_string),
            endpoint: args.endpoint.map(Into::into),
            so_far: args.so_far.map_or(Sensitivity::Public, Into::into),
        })
    }

    /// The endpoint that every request was sent to, where the user said so.
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint
    }

    /// Asks about one request. Fails where the router gives no answer.
    pub fn explain(&self, request: &Request) -> Result<Explanation, String> {
        let candidates: Vec<&Backend> =
            self.catalogue.backends.iter().filter(|b| request.endpoint.carried_to(b)).collect();
        let mut texts = texts::of(&request.document, request.endpoint);
        let places = texts.places.clone();
        let unread = texts.oversized || texts.encoded;
        let so_far = self.so_far.max(request.label);
        let mut asked = question::of(&request.document, &mut texts, &self.sandbox, &Process::default(), so_far);
        let offered: Vec<_> = candidates.iter().map(|b| contract::offered(b, &asked.model, 0)).collect();
        let start = Instant::now();
        let answer = question::ask(&mut asked, |asked| self.policy.route(asked, &offered));
        let took = start.elapsed();
        let failed = |failure| format!("the router gives no answer: {failure}");
        let decision = answer.result.map_err(failed)?;
        // A denial does not say what was found. With somewhere to go there is no reason to deny, and it does.
        let read = match &decision {
            Ok(decision) => Some(decision.clone()),
            Err(_) => self.policy.route(&asked, &[anywhere(&asked.model)]).result.map_err(failed)?.ok(),
        };
        let redacted = decision.as_ref().ok().filter(|decision| decision.redact).map(|decision| {
            let unclean = Unclean {
                document: &request.document,
                endpoint: request.endpoint,
                pieces: &texts.pieces,
                asked: &asked,
                decision,
                key: b"explain",
            };
            sanitize(&unclean, |asked| self.policy.route(asked, &offered))
        });
        Ok(Explanation::of(&Facts {
            request,
            asked: &asked,
            places: &places,
            catalogue: &self.catalogue,
            candidates: &candidates,
            redacted: redacted.as_ref(),
            unread: unread || (asked.messages.is_empty() && !places.is_empty()),
            decision: &decision,
            read: read.as_ref(),
            took,
            router: self.policy.reference(),
        }))
    }
}

/// A backend that may have everything.
fn anywhere(model: &str) -> openshell_policy_host::Backend {
    openshell_policy_host::Backend {
        name: "anywhere".to_owned(),
        model: model.to_owned(),
        locality: openshell_policy_host::Locality::Sandbox,
        clearance: openshell_policy_host::Sensitivity::Restricted,
        input_price: 0,
        output_price: 0,
        context: u32::MAX,
        features: Vec::new(),
        latency_ms: 0,
        cached_input_price: 0,
        cached_tokens: 0,
        redact: false,
    }
}

/// The module: a candidate from a file, a sandbox's own, or the one that comes with the product.
async fn module(cx: &Context, args: &ExplainArgs) -> Result<Module, Error> {
    if let Some(source) = &args.router {
        let component = policy::source::component(cx.out, source).await?;
        policy::inspect::check(source, &component.bytes)?;
        let version = component.version.unwrap_or_else(|| "0.0.0".to_owned());
        let settings = args.settings.as_deref().map(policy::push::settings).transpose()?.unwrap_or_default();
        return Ok(Module { bytes: component.bytes, name: component.name, version, settings });
    }
    if let Some(sandbox) = &args.sandbox {
        let client = cx.client().await?;
        let router = client.policies(sandbox).await?.router;
        let Binding { name, version, module, settings, .. } =
            router.ok_or_else(|| Error::NoRouter { sandbox: sandbox.to_string() })?;
        let bytes = client.component(&module).await?;
        let found = digest(&bytes);
        if found != module {
            let reason = format!("its digest is {found}");
            return Err(Error::Answer { request: format!("GET /v1/modules/{module}/component"), reason });
        }
        return Ok(Module { bytes, name: name.to_string(), version, settings });
    }
    let built_in = openshell_bundle::builtin(BUILT_IN).ok_or(Error::NoModule { name: BUILT_IN.into() })?;
    let settings = args.settings.as_deref().map(policy::push::settings).transpose()?.unwrap_or_default();
    Ok(Module {
        bytes: built_in.component.to_vec(),
        name: BUILT_IN.to_owned(),
        version: built_in.version.to_owned(),
        settings,
    })
}

/// Bakes, compiles and loads, with the code that gateway and supervisor use.
fn bake(module: &Module) -> Result<Policy, Error> {
    let refused =
        |error: &dyn std::fmt::Display| Error::Router { name: module.name.clone(), reason: error.to_string() };
    let settings = if module.settings.is_null() { serde_json::json!({}) } else { module.settings.clone() };
    // The artifact lives and dies in this process; its key need not be secret.
    let key = SigningKey::from_bytes(&[7; 32]);
    let compiler = compiler().map_err(|e| refused(&e))?;
    let compiled =
        compiler.compile(&module.bytes, &module.name, &module.version, &settings, &key).map_err(|e| refused(&e))?;
    let artifact = Artifact::open(&compiled.bytes, &compiled.digest, &key.verifying_key()).map_err(|e| refused(&e))?;
    let engine = Engine::new(EngineOptions::default()).map_err(|e| refused(&e))?;
    let options = LoadOptions {
        deadline: DEADLINE,
        memo_bytes: 0,
        log: std::sync::Arc::new(NoLog),
        ..LoadOptions::new(module.name.as_str(), &artifact.manifest().imports)
    };
    let policy = engine.load(&artifact, options).map_err(|e| refused(&e))?;
    if policy.has(Hook::Route) { Ok(policy) } else { Err(refused(&"it does not export the hook `route`")) }
}

/// `{"backends": […]}` or a bare list, in JSON or YAML: what `inference backend list -o json` prints.
fn read_catalogue(path: &Path) -> Result<Catalogue, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::io(format!("read {}", path.display())))?;
    let list: Result<Vec<Backend>, _> = serde_saphyr::from_str(&text);
    let catalogue = match list {
        Ok(backends) => Ok(Catalogue { backends }),
        Err(first) => serde_saphyr::from_str::<Catalogue>(&text).map_err(|second| {
            if text.trim_start().starts_with(['[', '-']) { first.to_string() } else { second.to_string() }
        }),
    };
    catalogue.map_err(|reason| Error::Catalogue { path: path.to_owned(), reason })
}
