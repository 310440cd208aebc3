//! `openshell`: the command line of OpenShell.
//!
//! Standard output carries data only, in the form `--output` names; progress, notes and errors go to standard error.
//! An error is a fact and a hint; its exit code is 1 (2 for a command line that does not parse). Where a command runs
//! a program in a sandbox, the program's own exit code is passed on.

mod args;
mod client;
mod command;
mod error;
mod gateways;
mod output;
mod paths;
mod sys;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    // reqwest and tokio-rustls use the process's provider: name it instead of depending on which crates link which.
    // A second installation is the only failure, and this is the first line that could install one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return fail(&error::Error::Io { doing: "start the async runtime".into(), source }),
    };
    let outcome = runtime.block_on(command::run(cli));
    // A thread may still sit in a blocking read of the terminal; don't wait for it.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &error::Error) -> ExitCode {
    output::error(error);
    ExitCode::from(error.exit_code())
}
