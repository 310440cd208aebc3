//! `openshell-origin`: an origin on loopback, for the demo and for trying things out.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use openshell_tests::origin::{Authority, Origin, OriginConfig};
use tokio::net::TcpListener;

/// Serves files, an echo and a small OpenAI-compatible model on loopback until it is stopped.
#[derive(Parser)]
struct Args {
    /// Port on 127.0.0.1; 0: any free one, printed on stdout.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// How the model calls itself.
    #[arg(long, default_value = "origin")]
    name: String,
    /// Serve files from here.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Append each request seen to this file, as JSON lines.
    #[arg(long)]
    log: Option<PathBuf>,
    /// Speak TLS for these names; the authority's certificate goes to --ca-out.
    #[arg(long = "tls-name")]
    tls_names: Vec<String>,
    /// Where to write the authority's certificate (PEM).
    #[arg(long, requires = "tls_names")]
    ca_out: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await.context("binding the port")?;
    let config = OriginConfig { name: args.name, directory: args.dir, log: args.log };
    let authority = Authority::new()?;
    if let Some(path) = &args.ca_out {
        std::fs::write(path, authority.pem()).with_context(|| format!("writing {}", path.display()))?;
    }
    let tls = (!args.tls_names.is_empty()).then_some((&authority, args.tls_names.as_slice()));
    let origin = Origin::start(listener, config, tls)?;
    println!("{}", origin.address.port());
    std::future::pending::<()>().await;
    Ok(())
}
