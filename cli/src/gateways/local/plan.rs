//! As what, and with which arguments, a gateway is started.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::entry::Form;
use super::super::private;
use crate::args::gateway::StartArgs;
use crate::error::{Error, GatewayError};

const FILE: &str = "start.json";

/// What the gateway heeds of its environment, beside what begins with [`PREFIX`].
const HEEDED: [&str; 5] = ["DOCKER_HOST", "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_RUNTIME_DIR", "TMPDIR"];
/// How the gateway's own variables begin.
const PREFIX: &str = "OPENSHELL_";
/// How those of a bucket begin; some of them are secret. Heeded only where modules are in one.
const BUCKET_PREFIX: &str = "AWS_";
/// The one that says so, where the arguments do not.
const MODULES: &str = "OPENSHELL_MODULES";
/// The one that says where the database is.
const DATABASE: &str = "OPENSHELL_DATABASE";
/// Those of the command line, some of them secret.
const OURS: [&str; 4] = ["OPENSHELL_GATEWAY", "OPENSHELL_TOKEN", "OPENSHELL_CA_FILE", "OPENSHELL_SSH"];

/// How a gateway was started last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// As what.
    pub form: Form,
    /// What it heeds of the environment it was started from.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// With which arguments.
    #[serde(flatten)]
    pub args: StartArgs,
}

impl Plan {
    /// From this environment. A database's URL joins it: it may hold a password, and arguments are seen by everybody.
    pub fn new(form: Form, mut args: StartArgs) -> Self {
        let in_bucket = args.modules.is_some() || std::env::var_os(MODULES).is_some();
        let heeded = |name: &str| {
            HEEDED.contains(&name)
                || (name.starts_with(PREFIX) && !OURS.contains(&name))
                || (name.starts_with(BUCKET_PREFIX) && in_bucket)
        };
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok().filter(|name| heeded(name))?, value.into_string().ok()?))
        });
        let database = args.database.take().map(|url| (DATABASE.to_owned(), url));
        Self { form, environment: environment.chain(database).collect(), args }
    }

    /// As it is kept in a state directory; a process without arguments where nothing is.
    pub fn of(state_dir: &Path) -> Result<Self, Error> {
        Ok(Self::kept(state_dir)?.unwrap_or_else(|| Self::new(Form::Process, StartArgs::default())))
    }

    /// As it is kept; `None`: it never was.
    pub fn kept(state_dir: &Path) -> Result<Option<Self>, Error> {
        let path = state_dir.join(FILE);
        let Some(bytes) = private::read(&path)? else { return Ok(None) };
        let damaged = |e: serde_json::Error| GatewayError::Damaged { path, reason: e.to_string() };
        Ok(Some(serde_json::from_slice(&bytes).map_err(damaged)?))
    }

    /// Keeps it.
    pub fn save(&self, state_dir: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::io("write a gateway's plan")(e.into()))?;
        private::write(&state_dir.join(FILE), &text)
    }

    /// What `openshell-gateway` is given.
    pub fn words(state_dir: &Path, args: &StartArgs) -> Vec<String> {
        use crate::output::word;
        let mut words = vec!["run".to_owned(), "--state-dir".to_owned(), state_dir.to_string_lossy().into_owned()];
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                words.extend([name.to_owned(), value]);
            }
        };
        let path = |path: &std::path::PathBuf| path.to_string_lossy().into_owned();
        option("--listen", args.listen.map(|listen| listen.to_string()));
        option("--upstream-ca", args.upstream_ca.as_ref().map(path));
        option("--runtime", args.runtime.map(|runtime| word(&runtime)));
        option("--default-image", args.default_image.clone());
        option("--proxy-socket", args.proxy_socket.as_ref().map(path));
        option("--public-url", args.public_url.clone());
        option("--modules", args.modules.clone());
        option("--modules-endpoint", args.modules_endpoint.clone());
        option("--modules-region", args.modules_region.clone());
        option("--modules-keys", args.modules_keys.as_ref().map(path));
        words.extend(args.more.iter().cloned());
        words
    }
}
