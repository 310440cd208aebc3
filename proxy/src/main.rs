//! `openshell-supervisor`: runs one sandbox.
//!
//! Exit codes: 0 after a shutdown; 2 wrong arguments; 10 the supervisor could not start (the log says why); 11 another
//! supervisor runs this sandbox; 12 the first process of a container may not make a user namespace. A workload that fails or exits ends the sandbox's work, not its supervisor.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use openshell_api::launch::LaunchSpec;
use openshell_policy_host::allocator;
use openshell_proxy::isolation;
use openshell_proxy::supervisor::{self, StartError};

/// Runs one sandbox: walls, egress proxy, workload, and the link to its gateway. Started by a gateway.
#[derive(Parser)]
#[command(name = "openshell-supervisor", version)]
struct Arguments {
    /// Start file, written by the gateway.
    #[arg(long, value_name = "FILE")]
    launch: PathBuf,
    /// Be the first process of a container as well: reap, pass signals on, and refuse to start where the container has
    /// no means to raise the walls.
    #[arg(long)]
    first_process: bool,
}

fn main() -> ExitCode {
    // A sandbox's init is this executable again. It must not have a second thread, so nothing comes before this.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == isolation::INIT_ARGUMENT) {
        let fd = arguments.next().and_then(|fd| fd.to_str()?.parse().ok());
        isolation::init::main(fd.unwrap_or(0));
    }
    let arguments = Arguments::parse();
    // Forks, so this too comes before any thread.
    if arguments.first_process
        && let Some(code) = isolation::first::enter()
    {
        return code;
    }
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("OPENSHELL_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // A log that can't be written (a full disk) must not end what wanted to write it: told of on stderr, it would panic.
        .log_internal_errors(false)
        .init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(error.downcast_ref::<StartError>().map_or(10, StartError::exit_code))
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    allocator::map_what_is_large();
    let path = &arguments.launch;
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let spec: LaunchSpec =
        serde_json::from_slice(&text).with_context(|| format!("{} is not a start file", path.display()))?;
    // Every connection takes two descriptors. What the workload may have is set when its init hardens itself.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, most, most).context("raising the limit of open files")?;
    }
    // A core dump would hold what the workload must not have.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("forbidding core dumps")?;
    // The default provider of whatever does not name its own. An error means that there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(supervisor::run(spec))?;
    Ok(())
}
