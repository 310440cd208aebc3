//! What each command does. A command answers the exit code: 0, or that of a program it ran.

mod audit;
mod completions;
mod decisions;
mod doctor;
mod enforcement;
mod export;
mod gateway;
mod inference;
mod policy;
mod proposal;
mod provider;
mod runtime;
mod sandbox;
mod ssh;
mod status;
mod user;

pub use ssh::SshError;

use crate::args::{Cli, Command, Global};
use crate::client::Client;
use crate::error::Error;
use crate::gateways::remote::Manners;
use crate::gateways::{Book, Place};
use crate::output::Output;

/// Exit code of a command that did what was asked.
const DONE: u8 = 0;

/// What every command has at hand.
#[derive(Debug)]
struct Context {
    out: Output,
    book: Book,
    /// As `--gateway` says.
    gateway: Option<String>,
}

impl Context {
    fn new(global: &Global) -> Result<Self, Error> {
        Ok(Self { out: Output::new(global), book: Book::open()?, gateway: global.gateway.clone() })
    }

    /// The gateway that is meant.
    fn place(&self) -> Result<Place, Error> {
        Place::parse(self.gateway.as_deref(), &self.book)
    }

    /// A client of the gateway; refuses where none was started.
    async fn client(&self) -> Result<Client, Error> {
        Client::new(self.place()?.access(&self.book, Manners::Asking).await?).await
    }
}

/// Does what the command line says.
pub async fn run(cli: Cli) -> Result<u8, Error> {
    if let Command::Completions(args) = &cli.command {
        return completions::print(args.shell, Output::new(&cli.global));
    }
    let cx = Context::new(&cli.global)?;
    match cli.command {
        Command::Gateway(command) => gateway::run(&cx, command).await,
        Command::Sandbox(command) => sandbox::run(&cx, command).await,
        Command::Runtime(command) => runtime::run(&cx, command).await,
        Command::Policy(command) => policy::run(&cx, command).await,
        Command::Proposal(command) => proposal::run(&cx, command).await,
        Command::Provider(command) => provider::run(&cx, command).await,
        Command::Inference(command) => inference::run(&cx, command).await,
        Command::User(command) => user::run(&cx, command).await,
        Command::Token(command) => user::tokens(&cx, command).await,
        Command::Audit(command) => audit::run(&cx, command).await,
        Command::Decisions(args) => decisions::run(&cx, args).await,
        Command::Export(command) => export::run(&cx, command).await,
        Command::Status => status::run(&cx).await,
        Command::Doctor(args) => doctor::run(&cx, args).await,
        Command::SshProxy(args) => ssh::proxy(&cx, args).await,
        Command::Completions(_) => Ok(DONE),
    }
}

/// An exit code as the operating system can pass it on; anything else counts as failure.
fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}
