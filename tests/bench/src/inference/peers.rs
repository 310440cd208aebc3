//! Other gateways for models, where they are installed.

use std::process::Command;

use anyhow::{Context as _, Result};
use openshell_tests::servers::free_port;
use openshell_tests::world::World;

use crate::proxies::peers::Process;

/// A running gateway, and what the client must be told to get through it.
pub struct Gateway {
    pub process: Process,
    pub arguments: Vec<String>,
}

/// Each of them, or why it is not here. `url`: of the model.
pub fn all(world: &World, url: &str) -> Vec<(&'static str, Result<Gateway>)> {
    vec![("Portkey gateway", portkey(url)), ("LiteLLM proxy", litellm(world, url))]
}

/// `PORTKEY` names `start-server.js` of the package `@portkey-ai/gateway`.
fn portkey(url: &str) -> Result<Gateway> {
    let script = std::env::var("PORTKEY").context("PORTKEY names no script")?;
    let port = free_port()?;
    let mut command = Command::new("node");
    command.arg(script).arg(format!("--port={port}")).arg("--headless").env("NODE_ENV", "production");
    let process = Process::start(command, port)?;
    let header = |text: String| ["--header".to_owned(), text];
    let told = [header("x-portkey-provider: openai".into()), header(format!("x-portkey-custom-host: {url}"))].concat();
    Ok(Gateway { process, arguments: [vec!["--port".into(), port.to_string()], told].concat() })
}

/// `LITELLM` names the program of the package `litellm[proxy]`.
fn litellm(world: &World, url: &str) -> Result<Gateway> {
    let program = std::env::var("LITELLM").context("LITELLM names no program")?;
    let port = free_port()?;
    let model = format!("{{model: openai/small, api_base: '{url}', api_key: none}}");
    let settings = format!("model_list:\n  - model_name: small\n    litellm_params: {model}\n");
    let settings = world.write("litellm.yaml", &settings)?;
    let mut command = Command::new(program);
    command.arg("--config").arg(settings).args(["--host", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--num_workers", "1", "--telemetry", "False"]).env("LITELLM_LOG", "ERROR");
    // Its table of prices would come from the network; nobody but this machine reaches it.
    command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
    command.env("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY", "true");
    let process = Process::start(command, port)?;
    Ok(Gateway { process, arguments: vec!["--port".into(), port.to_string()] })
}
