//! `openshell export …`.

use clap::{Args, Subcommand, ValueEnum};
use openshell_api::{Name, export as wire};

/// Commands about where decisions are sent.
#[derive(Debug, Subcommand)]
pub enum ExportCommand {
    /// Send decisions somewhere as they come, each at least once.
    #[command(after_help = ADD_EXAMPLES)]
    Add(AddArgs),
    /// Where decisions are sent, and how much was delivered.
    #[command(visible_alias = "ls", after_help = "Examples:\n  openshell export list\n  openshell export list -o json")]
    List,
    /// Send nothing there any more.
    #[command(visible_alias = "rm", after_help = "Examples:\n  openshell export remove siem")]
    Remove(RemoveArgs),
}

const ADD_EXAMPLES: &str = "\
Examples:
  openshell export add siem https://siem.example/ingest --format ocsf --only deny --provider siem
  openshell export add lake https://logs.example/openshell --from-beginning
  openshell export add traces http://127.0.0.1:4318 --format otlp-traces";

/// Arguments of `export add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// What it is to be called.
    pub name: Name,
    /// Where to: https, or http on the gateway's own machine. Of OTLP the part before /v1/logs and /v1/traces.
    pub url: String,
    /// How it is said.
    #[arg(long, value_enum, default_value_t = Format::JsonLines)]
    pub format: Format,
    /// Only decisions that ended so.
    #[arg(long, value_enum)]
    pub only: Option<Only>,
    /// Whose credential the gateway sends along; the provider must be bound to the URL's host.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<Name>,
    /// Send what is kept already, too.
    #[arg(long)]
    pub from_beginning: bool,
}

/// How an export says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A decision a line, as `openshell decisions -o json` shows it.
    JsonLines,
    /// OCSF 1.6: HTTP Activity and Network Activity.
    Ocsf,
    /// OpenTelemetry: a log record for each.
    OtlpLogs,
    /// OpenTelemetry: a span for each request, in the trace that its traceparent names.
    OtlpTraces,
}

impl From<Format> for wire::ExportFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::JsonLines => Self::JsonLines,
            Format::Ocsf => Self::Ocsf,
            Format::OtlpLogs => Self::OtlpLogs,
            Format::OtlpTraces => Self::OtlpTraces,
        }
    }
}

/// How a decision ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Only {
    /// Allowed.
    Allow,
    /// Denied.
    Deny,
}

/// Arguments of `export remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Exports.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<Name>,
}
