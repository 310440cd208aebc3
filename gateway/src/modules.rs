//! Modules: checked, stored by digest, baked and compiled once per settings.

mod artifacts;
mod homes;
pub mod moving;
mod signing;
pub(crate) mod sweep;
mod trust;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use openshell_api::Name;
use openshell_api::module::{Binding, Module, default_deadline_ms};
use openshell_api::signature::ModuleSignature;
use openshell_api::signing::GatewayKey;
use openshell_policy_host::{Compiler, SigningKey, allocator, check, digest};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use artifacts::Artifacts;
pub use artifacts::Transfer;
pub use homes::{Homes, HomesError};

use crate::audit::Change;
use crate::error::{ApiError, ApiResult, refuse};
use crate::identity::{Operate, Permit};
use crate::store::{By, Home, Store, StoreModule};

/// Modules that come with the gateway.
const BUILTINS: [&str; 2] = ["rules", "privacy-router"];
/// Longest version, in bytes.
const MAX_VERSION: usize = 64;
/// Longest deadline a binding may ask for, in milliseconds.
const MAX_DEADLINE_MS: u32 = 10_000;
/// Artifacts of which it is remembered which key signed them.
const UNDER_KEY: u64 = 10_000;
/// How a module is to be bound.
pub struct BindRequest<'a> {
    /// The module.
    pub module: &'a Module,
    /// The binding's name; absent: the module's.
    pub name: Option<&'a Name>,
    /// Its settings.
    pub settings: serde_json::Value,
    /// Decisions per instance.
    pub reuse: u32,
    /// Deadline; absent: the default.
    pub deadline_ms: Option<u32>,
}

/// How a module comes in.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Its version may mean other bytes from now on.
    pub replace: bool,
    /// Who vouches for it.
    pub signature: Option<ModuleSignature>,
    /// The JSON Schema of its settings, where that is known; else the module is compiled and asked.
    settings_schema: Option<serde_json::Value>,
}

impl Registration {
    /// Of a user's module.
    pub fn new(replace: bool, signature: Option<ModuleSignature>) -> Self {
        Self { replace, signature, settings_schema: None }
    }
}

/// Checks, compiles and hands out modules.
pub struct Modules {
    compiler: Arc<Compiler>,
    compiling: tokio::sync::Mutex<()>,
    artifacts: Artifacts,
    /// By artifact and key: the same artifact under that key.
    under_key: moka::future::Cache<(String, GatewayKey), String>,
    homes: Homes,
}

impl Modules {
    /// Starts the compiler, which keeps there what it made of functions.
    pub fn new(compile_cache: &Path, homes: Homes) -> ApiResult<Self> {
        let compiler = Arc::new(Compiler::remembering(Some(compile_cache))?);
        Ok(Self {
            compiler,
            compiling: tokio::sync::Mutex::default(),
            artifacts: Artifacts::new(),
            under_key: moka::future::Cache::new(UNDER_KEY),
            homes,
        })
    }

    /// Where bytes of modules are.
    pub fn homes(&self) -> &Homes {
        &self.homes
    }

    /// Stores the modules that come with the gateway, in the database: it starts without asking anybody else. A version that changed
    /// with it takes the place of the old one.
    pub async fn register_builtins(&self, store: &Store) -> ApiResult<()> {
        for name in BUILTINS {
            let missing = || ApiError::internal(format!("the built-in module {name} is missing from this build"));
            let module = openshell_bundle::builtin(name).ok_or_else(missing)?;
            let name = Name::parse(name).map_err(ApiError::internal)?;
            let bytes = Bytes::from_static(module.component);
            let settings_schema = serde_json::from_str(module.settings_schema).map_err(ApiError::internal)?;
            let registration = Registration { replace: true, signature: None, settings_schema: Some(settings_schema) };
            let change = Change::new(None, "module.upload", name.to_string());
            self.register(store, name, module.version, bytes, registration, (By::GATEWAY, change)).await?;
        }
        Ok(())
    }

    /// Checks a user's component and stores it. Refuses what is no policy, a version that means other bytes unless
    /// `replace`, and a name that another user's modules have.
    pub async fn upload(
        &self,
        store: &Store,
        permit: &Permit<Operate>,
        name: Name,
        version: &str,
        bytes: Bytes,
        registration: Registration,
    ) -> ApiResult<Module> {
        let by = By { user: permit.user(), admin: permit.is_admin() };
        let change = permit.change(&name);
        self.register(store, name, version, bytes, registration, (by, change)).await
    }

    async fn register(
        &self,
        store: &Store,
        name: Name,
        version: &str,
        bytes: Bytes,
        Registration { replace, signature, settings_schema }: Registration,
        (by, change): (By<'_>, Change),
    ) -> ApiResult<Module> {
        check_version(version)?;
        let found = digest(&bytes);
        let signature = self.checked(store, name.as_str(), version, &found, signature).await?;
        let is_builtin = by.user == By::GATEWAY.user;
        if store.module_version(name.as_str(), version).await?.as_deref() == Some(&found)
            && store.module(&found).await?.is_some()
        {
            if replace && !is_builtin {
                self.homes.renew(store, &found, &bytes).await?;
            }
            return self.signed(store, &found, signature).await;
        }
        let component = bytes.clone();
        let checking = move |compiler: &Compiler| -> ApiResult<_> {
            let checked = check(&component)?;
            let schema = settings_schema.map_or_else(|| compiler.schema(&component), Ok)?;
            Ok((checked, schema))
        };
        let (checked, settings_schema) = self.work(checking).await??;
        let module = Module {
            digest: checked.digest,
            name,
            version: version.to_owned(),
            size: bytes.len() as u64,
            contract: checked.contract,
            hooks: checked.hooks.iter().map(|hook| hook.name().to_owned()).collect(),
            imports: checked.imports,
            pure_verdicts: checked.pure_verdicts,
            settings_schema,
            signed_by: Vec::new(),
            created_at: jiff::Timestamp::now(),
        };
        let now = json!({ "version": version, "digest": module.digest, "imports": module.imports });
        let before =
            store.module_version(module.name.as_str(), version).await?.map(|digest| json!({ "digest": digest }));
        let change = change.before(before).after(now);
        // What is refused anyway is not put anywhere.
        let outcome = match store.may_put(&module, replace, by).await? {
            StoreModule::Stored => {
                let home = match is_builtin {
                    true => Home::Database(&*bytes),
                    false => self.homes.keep(store, &module.digest, &bytes).await?,
                };
                let outcome = store.put_module(&module, &home, replace, by, &change).await?;
                match outcome {
                    StoreModule::Stored => {}
                    StoreModule::Late => self.homes.too_late(store, &home).await?,
                    _ => self.homes.give_up(store, &home).await,
                }
                outcome
            }
            refused => refused,
        };
        match outcome {
            StoreModule::Stored | StoreModule::Known => self.signed(store, &module.digest, signature).await,
            StoreModule::Late => Err(homes::late()),
            StoreModule::Foreign { owner } => {
                Err(refuse(403, "not_yours", format!("modules named {} are those of {owner}", module.name))
                    .hint("give the policy another name; an administrator may store it under any"))
            }
            StoreModule::Taken { digest } => Err(refuse(
                409,
                "version_exists",
                format!("{}@{version} is stored already, with other bytes ({digest})", module.name),
            )
            .hint("raise `version` in the policy's Cargo.toml, or replace it on purpose with `replace=true`")),
        }
    }

    /// Makes a binding: bakes and compiles the module with these settings, unless that was done before.
    pub async fn bind(&self, store: &Store, key: &SigningKey, request: BindRequest<'_>) -> ApiResult<Binding> {
        let deadline_ms = request.deadline_ms.unwrap_or_else(default_deadline_ms);
        if !(1..=MAX_DEADLINE_MS).contains(&deadline_ms) {
            return Err(refuse(422, "bad_deadline", format!("a deadline of {deadline_ms} ms is out of bounds"))
                .hint(format!("use 1 to {MAX_DEADLINE_MS} ms")));
        }
        let module = request.module;
        let publisher = self.vouched(store, module).await?;
        let settings = match request.settings {
            serde_json::Value::Null => serde_json::Value::Object(serde_json::Map::new()),
            settings => settings,
        };
        let artifact = self.compile(store, key, module, &settings).await?;
        Ok(Binding {
            name: request.name.unwrap_or(&module.name).clone(),
            version: module.version.clone(),
            module: module.digest.clone(),
            artifact,
            settings,
            reuse: request.reuse,
            deadline_ms,
            granted_imports: module.imports.clone(),
            publisher,
        })
    }

    /// The same binding with an artifact that this gateway's engine can still run: compiled again after an upgrade.
    pub async fn refresh(&self, store: &Store, key: &SigningKey, binding: &Binding) -> ApiResult<Binding> {
        let mut module =
            store.module(&binding.module).await?.ok_or_else(|| ApiError::not_found("module", &binding.module))?;
        module.version.clone_from(&binding.version);
        let artifact = self.compile(store, key, &module, &binding.settings).await?;
        Ok(Binding { artifact, ..binding.clone() })
    }

    /// Digest of the artifact of a module with these settings.
    async fn compile(
        &self,
        store: &Store,
        key: &SigningKey,
        module: &Module,
        settings: &serde_json::Value,
    ) -> ApiResult<String> {
        let compatibility = self.compiler.compatibility();
        let parts = Parts {
            module: &module.digest,
            name: module.name.as_str(),
            version: &module.version,
            settings,
            compatibility: &compatibility,
        };
        let cache_key = parts.under(key)?;
        if let Some(digest) = store.artifact_digest(&cache_key).await? {
            return Ok(digest);
        }
        let _one_at_a_time = self.compiling.lock().await;
        if let Some(digest) = store.artifact_digest(&cache_key).await? {
            return Ok(digest);
        }
        let component = self.homes.read(store, &module.digest).await?;
        let (key, settings) = (key.clone(), settings.clone());
        let (name, version) = (module.name.to_string(), module.version.clone());
        let compile = move |compiler: &Compiler| compiler.compile(&component, &name, &version, &settings, &key);
        let compiled = self.work(compile).await??;
        store.put_artifact(&compiled.digest, &cache_key, &compiled.bytes).await?;
        self.artifacts.keep(&compiled.digest, compiled.bytes.into()).await;
        Ok(compiled.digest)
    }

    /// Has the compiler work where blocking is fine, and gives back the memory that it took.
    async fn work<T: Send + 'static>(&self, work: impl FnOnce(&Compiler) -> T + Send + 'static) -> ApiResult<T> {
        let compiler = self.compiler.clone();
        let working = move || {
            let done = work(&compiler);
            allocator::give_back();
            done
        };
        Ok(tokio::task::spawn_blocking(working).await?)
    }

    /// What to send to a supervisor that lacks an artifact, has others, and takes what is compressed or not.
    pub async fn transfer(&self, store: &Store, digest: &str, have: &[String], zstd: bool) -> ApiResult<Transfer> {
        self.artifacts.transfer(store, digest, have, zstd).await
    }
}

fn check_version(version: &str) -> ApiResult<()> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'_');
    if !version.is_empty() && version.len() <= MAX_VERSION && version.bytes().all(legal) {
        return Ok(());
    }
    Err(refuse(422, "bad_version", format!("{version:?} is not a valid version"))
        .hint("use something like 1.2.0: letters, digits, '.', '-', '+', '_', at most 64 of them"))
}

/// What an artifact's bytes depend on, beside the key that signs it.
struct Parts<'a> {
    module: &'a str,
    name: &'a str,
    version: &'a str,
    settings: &'a serde_json::Value,
    compatibility: &'a str,
}

impl Parts<'_> {
    /// What it is found by under a key.
    fn under(&self, key: &SigningKey) -> ApiResult<String> {
        let key = GatewayKey::of(key).to_hex();
        let Self { module, name, version, settings, compatibility } = self;
        let parts = serde_json::to_vec(&(module, name, version, settings, compatibility, key))?;
        Ok(hex::encode(Sha256::digest(parts)))
    }
}
