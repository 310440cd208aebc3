//! A policy that is considered: a crate, a component, or a file of rules for the gateway's own module.

use std::path::Path;

use openshell_api::Name;

use super::{RULES, RULES_SETTING, push, read_rules, rules_module, source};
use crate::client::Client;
use crate::command::Context;
use crate::error::Error;

/// Something to compile.
pub struct Candidate {
    /// Name of its module.
    pub name: Name,
    /// The component's bytes.
    pub component: Vec<u8>,
    /// Its settings.
    pub settings: serde_json::Value,
    /// Setting it would throw away the other bindings of the chain, as `policy set` does.
    pub replaces_all: bool,
}

/// Builds or reads it. A `.yaml` file is rules, for the module of the gateway.
pub async fn load(cx: &Context, client: &Client, path: &Path, settings: Option<&str>) -> Result<Candidate, Error> {
    let is_rules = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    if is_rules {
        let text = read_rules(path)?;
        let component = client.component(&rules_module(client).await?).await?;
        let settings = serde_json::json!({ RULES_SETTING: text });
        let name = Name::parse(RULES).map_err(|_| Error::BadName { given: RULES.into() })?;
        return Ok(Candidate { name, component, settings, replaces_all: true });
    }
    let settings = settings.map(push::settings).transpose()?.unwrap_or_default();
    let component = source::component(cx.out, path).await?;
    super::inspect::check(path, &component.bytes)?;
    let name = source::name_from(&component.name)?;
    Ok(Candidate { name, component: component.bytes, settings, replaces_all: false })
}
