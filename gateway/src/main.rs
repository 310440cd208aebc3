//! `openshell-gateway`: runs the control plane.

mod copies;
mod flags;
mod moves;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use openshell_api::sandbox::RuntimeKind;
use openshell_gateway::secrets::Passphrase;
use openshell_gateway::{InvalidPublicUrl, Options, PublicUrl, Running, StartError};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Control plane of OpenShell: sandboxes, policies, credentials.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a gateway until SIGTERM or SIGINT. Its sandboxes outlive it.
    #[command(after_help = "Examples:\n  openshell-gateway run --state-dir /var/lib/openshell --listen 127.0.0.1:7443")]
    Run(Box<Run>),
    /// Write everything of a gateway, which may run meanwhile, into one file: database, keys, authority.
    #[command(after_help = "Examples:\n  \
        openshell-gateway backup --state-dir /var/lib/openshell --passphrase-file /etc/openshell/backup.pass monday.backup\n  \
        openshell-gateway backup --state-dir /var/lib/openshell --unencrypted - | gpg -er ops@example.test >monday.gpg")]
    Backup(Backup),
    /// Put a backup's state into a directory on which no gateway runs. All of it is checked before anything is changed.
    #[command(after_help = "Examples:\n  \
        openshell-gateway restore --state-dir /var/lib/openshell --passphrase-file /etc/openshell/backup.pass monday.backup")]
    Restore(Restore),
    /// Move the bytes of all modules into a bucket, or back into the database, while the gateway does not run. What is in a bucket stays
    /// there, too: backups may speak of it.
    #[command(after_help = "Examples:\n  \
        openshell-gateway move-modules --state-dir /var/lib/openshell --modules s3://acme-modules/openshell --to bucket\n  \
        openshell-gateway move-modules --state-dir /var/lib/openshell --modules s3://acme-modules/openshell --to database")]
    MoveModules(Box<MoveModules>),
    /// Print the OpenAPI document of the gateway's API.
    Openapi,
}

#[derive(Args)]
struct Run {
    /// Directory for its database, keys and sandboxes; made if need be. `endpoint.json` in it says where it answers.
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// Address to listen on; port 0 takes the port it had last, else any.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[command(flatten)]
    database: flags::Database,
    #[command(flatten)]
    modules: flags::Modules,
    /// Unix socket for a reverse proxy on this machine, which does TLS itself: plain HTTP is spoken there. Whoever may write to it
    /// (mode 0660) still needs a token.
    #[arg(long, value_name = "PATH")]
    proxy_socket: Option<PathBuf>,
    /// Where other gateways of the same database, and supervisors, reach this one [default: where it listens].
    #[arg(long, value_name = "URL", env = "OPENSHELL_INTERNAL_URL", value_parser = internal_url)]
    internal_url: Option<String>,
    /// Where users reach the gateway, if by a proxy. It answers below the path of this URL too, for proxies that pass it on.
    #[arg(long, value_name = "URL", value_parser = public_url)]
    public_url: Option<PublicUrl>,
    /// Where compiled functions are kept for the next start, up to 256 MiB; nobody else may write there [default: compile-cache in
    /// the gateway's directory].
    #[arg(long, value_name = "DIR", env = "OPENSHELL_COMPILE_CACHE")]
    compile_cache: Option<PathBuf>,
    /// Sandboxes are containers, or none: for a gateway that is in a container itself.
    #[arg(long)]
    containers_only: bool,
    /// PEM file of further CAs that sandboxes trust upstream, beside the system's.
    #[arg(long, value_name = "FILE")]
    upstream_ca: Option<PathBuf>,
    /// The supervisor's executable [default: openshell-supervisor beside this one].
    #[arg(long, value_name = "PATH")]
    supervisor: Option<PathBuf>,
    /// Where sandboxes go that name no runtime [default: docker where an engine answers, else process].
    #[arg(long, value_name = "RUNTIME", env = "OPENSHELL_RUNTIME", value_parser = runtime)]
    runtime: Option<RuntimeKind>,
    /// Image of sandboxes in Docker that name none.
    #[arg(long, value_name = "IMAGE", env = "OPENSHELL_IMAGE", default_value = "debian:stable-slim")]
    default_image: String,
    /// Longest wait for a new sandbox to run, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    start_timeout: u64,
    /// After how long a silence an engine is lost, and its sandboxes may be started elsewhere, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    runtime_lost_after: u64,
    /// File whose first line is a passphrase that protects the key of stored secrets [default: the rights of its file do].
    #[arg(long, value_name = "FILE", env = "OPENSHELL_PASSPHRASE_FILE")]
    passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    identity: flags::Identity,
}

#[derive(Args)]
struct Backup {
    /// The gateway's directory.
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// File whose first line is the passphrase to encrypt it with; `-`: standard input.
    #[arg(long, value_name = "FILE", required_unless_present = "unencrypted")]
    passphrase_file: Option<PathBuf>,
    /// Don't encrypt it: whoever can read it has all of the gateway's credentials.
    #[arg(long, conflicts_with = "passphrase_file")]
    unencrypted: bool,
    /// Where to write it; a file that is there stays. `-`: standard output.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args)]
struct Restore {
    /// The directory to put it into; made if need be.
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// File whose first line is the passphrase that it was encrypted with; `-`: standard input.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Put it in the place of the state that is there, which is kept aside in `before-restore`.
    #[arg(long)]
    force: bool,
    /// The backup.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args)]
struct MoveModules {
    /// The gateway's directory.
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    #[command(flatten)]
    database: flags::Database,
    #[command(flatten)]
    modules: flags::Modules,
    /// PEM file of further CAs, beside the system's.
    #[arg(long, value_name = "FILE")]
    upstream_ca: Option<PathBuf>,
    /// Where they are to be.
    #[arg(long, value_enum, value_name = "HOME")]
    to: Home,
}

/// Where bytes of modules are.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Home {
    /// In the bucket.
    Bucket,
    /// In the database.
    Database,
}

fn public_url(given: &str) -> Result<PublicUrl, String> {
    given.parse().map_err(|error: InvalidPublicUrl| error.to_string())
}

fn internal_url(given: &str) -> Result<String, String> {
    let url: url::Url = given.parse().map_err(|error: url::ParseError| error.to_string())?;
    match url.scheme() == "https" && url.host().is_some() && url.path() == "/" {
        true => Ok(given.trim_end_matches('/').to_owned()),
        false => Err("write https://HOST:PORT".to_owned()),
    }
}

fn runtime(given: &str) -> Result<RuntimeKind, String> {
    match given {
        "process" => Ok(RuntimeKind::Process),
        "docker" => Ok(RuntimeKind::Docker),
        _ => Err("there are: process, docker".to_owned()),
    }
}

fn main() -> ExitCode {
    openshell_policy_host::allocator::map_what_is_large();
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("OPENSHELL_LOG").unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    // A log that can't be written (a full disk) must not end what wanted to write it: told of on stderr, it would panic.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.log_internal_errors(false).init();
    let outcome = match cli.command {
        Command::Run(run) => serve(*run),
        Command::Backup(backup) => copies::backup(backup),
        Command::Restore(restore) => copies::restore(restore),
        Command::MoveModules(moved) => moves::run(*moved),
        Command::Openapi => print_document(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if let Some(hint) = error.downcast_ref().and_then(StartError::hint) {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn print_document() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string_pretty(&openshell_gateway::http::document())?)?;
    Ok(())
}

fn serve(run: Run) -> anyhow::Result<()> {
    let supervisor = match run.supervisor {
        Some(path) => std::path::absolute(path)?,
        None => std::env::current_exe()?.with_file_name("openshell-supervisor"),
    };
    // A supervisor's link, a client's streams, a database: each takes descriptors.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    }
    // A core dump would hold every secret.
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    let passphrase = match &run.passphrase_file {
        None => None,
        Some(path) => Some(Passphrase::read(path).with_context(|| format!("reading {}", path.display()))?),
    };
    let options = Options {
        state_dir: run.state_dir,
        database: run.database.url()?,
        modules: run.modules.options(),
        internal_url: run.internal_url,
        listen: run.listen,
        proxy_socket: run.proxy_socket,
        public_url: run.public_url,
        compile_cache: run.compile_cache,
        containers_only: run.containers_only,
        upstream_ca: run.upstream_ca,
        supervisor,
        runtime: None,
        default_runtime: run.runtime,
        default_image: run.default_image,
        start_timeout: Duration::from_secs(run.start_timeout),
        lost_after: Duration::from_secs(run.runtime_lost_after),
        identity: run.identity.options()?,
        passphrase,
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let running = Running::start(options).await?;
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        running.stop().await;
        Ok(())
    })
}
