//! `openshell inference …`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use openshell_api::{Name, inference as wire};
use openshell_inference_format::endpoint as format;

use super::parse;

/// Commands about inference.
#[derive(Debug, Subcommand)]
pub enum InferenceCommand {
    /// The backends that https://inference.local may use.
    #[command(subcommand)]
    Backend(BackendCommand),
    /// What was used, and what it cost.
    #[command(after_help = USAGE_EXAMPLES)]
    Usage(UsageArgs),
    /// Budgets, model aliases and models of a sandbox: show them, or change those that are named.
    #[command(after_help = RULES_EXAMPLES)]
    Rules(RulesArgs),
    /// What conversations have contained, and having it forgotten.
    #[command(subcommand)]
    Session(SessionCommand),
    /// Say what the router makes of a request, sending nothing.
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(Box<ExplainArgs>),
}

const USAGE_EXAMPLES: &str = "\
Examples:
  openshell inference usage
  openshell inference usage --sandbox demo --by day,model --since 7d
  openshell inference usage --compare";

const RULES_EXAMPLES: &str = "\
Examples:
  openshell inference rules demo
  openshell inference rules demo --budget day=5 --budget month@cloud=50 --tokens day=2000000
  openshell inference rules demo --alias fast=gpt-4o-mini --model gpt-4o-mini
  openshell inference rules demo --first small --check refusal --check json --check logprob=-1.5
  openshell inference rules demo --clear";

/// Arguments of `inference usage`.
#[derive(Debug, Args)]
pub struct UsageArgs {
    /// Only of this sandbox.
    #[arg(long, value_name = "NAME")]
    pub sandbox: Option<Name>,
    /// What to break it down by.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [UsageBy::Sandbox, UsageBy::Model])]
    pub by: Vec<UsageBy>,
    /// Only from the day on that was so long ago: 24h, 7d.
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    pub since: Option<Duration>,
    /// Say also what the same tokens would have cost on each backend alone.
    #[arg(long)]
    pub compare: bool,
}

/// What usage is broken down by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UsageBy {
    /// The sandbox.
    Sandbox,
    /// The model that served.
    Model,
    /// The backend that served.
    Backend,
    /// The day, in UTC.
    Day,
}

/// Arguments of `inference rules`.
#[derive(Debug, Args)]
pub struct RulesArgs {
    /// Sandbox.
    pub sandbox: Name,
    /// Dollars it may spend in a day, a month or in total, on all backends or one: day=5, total@cloud=20.
    #[arg(long = "budget", value_name = "PERIOD[@BACKEND]=DOLLARS", value_parser = parse::budget)]
    pub budgets: Vec<wire::Budget>,
    /// Tokens it may use in a day, a month or in total, on all backends or one.
    #[arg(long = "tokens", value_name = "PERIOD[@BACKEND]=TOKENS", value_parser = parse::token_budget)]
    pub tokens: Vec<wire::Budget>,
    /// A name that it may ask for, and the model that it stands for.
    #[arg(long = "alias", value_name = "NAME=MODEL", value_parser = parse::alias)]
    pub aliases: Vec<(String, String)>,
    /// A model that it may ask for; `*` at the end stands for anything. Without any: every model.
    #[arg(long = "model", value_name = "MODEL")]
    pub models: Vec<String>,
    /// Try this backend first, and escalate when its answer does not pass a `--check`; `-`: no cascade.
    #[arg(long, value_name = "BACKEND")]
    pub first: Option<String>,
    /// What its answer must pass: refusal, json, cut, short=CHARACTERS, logprob=MEAN. Replaces all there were.
    #[arg(long = "check", value_name = "CHECK")]
    pub checks: Vec<wire::Check>,
    /// Forget what it had before.
    #[arg(long)]
    pub clear: bool,
}

/// Commands about sessions.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// What a sandbox's sessions have contained, as far as it is more than public.
    #[command(visible_alias = "ls", after_help = "Examples:\n  openshell inference session list demo")]
    List(SessionsArgs),
    /// Have it forgotten: what comes next is judged by itself alone.
    #[command(after_help = RESET_EXAMPLES)]
    Reset(ResetArgs),
}

const RESET_EXAMPLES: &str = "\
Examples:
  openshell inference session reset demo --session sandbox
  openshell inference session reset demo --header review-42
  openshell inference session reset demo --all";

/// Arguments of `inference session list`.
#[derive(Debug, Args)]
pub struct SessionsArgs {
    /// Sandbox.
    pub sandbox: Name,
}

/// Arguments of `inference session reset`.
#[derive(Debug, Args)]
pub struct ResetArgs {
    /// Sandbox.
    pub sandbox: Name,
    #[command(flatten)]
    pub which: Which,
}

/// Sessions to be forgotten.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// One of them, as `session list` shows it; `sandbox`: that of all requests that name none.
    #[arg(long, value_name = "SESSION")]
    pub session: Option<String>,
    /// The one that requests name in x-openshell-session.
    #[arg(long, value_name = "NAME")]
    pub header: Option<String>,
    /// All of them.
    #[arg(long)]
    pub all: bool,
}

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  openshell inference explain -f request.json
  openshell inference explain --jsonl yesterday.jsonl --sandbox demo -o json
  openshell inference explain -f request.json --catalogue backends.yaml --router ./my-router";

/// Arguments of `inference explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// One request: its JSON body, or {"url", "headers", "body"}; `-` and the default: standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with = "jsonl")]
    pub file: Option<PathBuf>,
    /// One request a line; `-`: standard input.
    #[arg(long, value_name = "FILE")]
    pub jsonl: Option<PathBuf>,
    /// Ask this sandbox's router, with its settings; by default the one that comes with OpenShell.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["router", "settings"])]
    pub sandbox: Option<Name>,
    /// Ask this router: a policy crate's directory, or a built component.
    #[arg(long, value_name = "DIR|FILE")]
    pub router: Option<PathBuf>,
    /// Settings of the router: JSON, or a file that holds it.
    #[arg(long, value_name = "JSON|FILE")]
    pub settings: Option<String>,
    /// Backends to choose from, as `inference backend list -o json` prints them; by default the gateway's.
    #[arg(long, value_name = "FILE")]
    pub catalogue: Option<PathBuf>,
    /// Endpoint that every request was sent to; by default its `url`, or what its keys suggest.
    #[arg(long, value_enum)]
    pub endpoint: Option<Endpoint>,
    /// What the session counted as before.
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub so_far: Option<Sensitivity>,
}

/// An operation of an inference API.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Endpoint {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's completions.
    Completions,
    /// OpenAI's responses.
    Responses,
    /// OpenAI's embeddings.
    Embeddings,
    /// Anthropic's messages.
    Messages,
    /// Anthropic's count_tokens.
    CountTokens,
}

impl From<Endpoint> for format::Endpoint {
    fn from(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Chat => Self::Chat,
            Endpoint::Completions => Self::Completions,
            Endpoint::Responses => Self::Responses,
            Endpoint::Embeddings => Self::Embeddings,
            Endpoint::Messages => Self::Messages,
            Endpoint::CountTokens => Self::CountTokens,
        }
    }
}

/// Commands about backends.
#[derive(Debug, Subcommand)]
pub enum BackendCommand {
    /// Add a backend.
    #[command(after_help = ADD_EXAMPLES)]
    Add(Box<AddArgs>),
    /// Change a backend: what is not named stays as it is.
    #[command(after_help = SET_EXAMPLES)]
    Set(Box<SetArgs>),
    /// Ask backends for their models, with their keys, from the gateway's host.
    #[command(after_help = "Examples:\n  openshell inference backend test\n  openshell inference backend test cheap")]
    Test(TestArgs),
    /// List backends.
    #[command(visible_alias = "ls", after_help = "Examples:\n  openshell inference backend list")]
    List,
    /// Remove backends.
    #[command(visible_alias = "rm", after_help = "Examples:\n  openshell inference backend remove cheap")]
    Remove(RemoveArgs),
}

const ADD_EXAMPLES: &str = "\
Examples:
  openshell inference backend add cheap --url https://api.openai.com/v1 --model gpt-4o-mini \\
      --locality public --clearance internal --input-price 0.15 --output-price 0.60 --provider openai
  openshell inference backend add home --url http://127.0.0.1:11434/v1 --locality host --clearance restricted";

/// Arguments of `inference backend add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Name.
    pub name: Name,
    /// Base URL up to and including the version segment.
    #[arg(long, value_name = "URL")]
    pub url: String,
    /// What it is: decides which APIs it speaks and how it takes its key.
    #[arg(long, value_enum, default_value_t = Kind::Openai)]
    pub kind: Kind,
    /// An API it speaks, where they are not those of its kind.
    #[arg(long = "api", value_enum, value_name = "API")]
    pub apis: Vec<Endpoint>,
    /// Model to ask it for; the one the caller asked for if absent.
    #[arg(long)]
    pub model: Option<String>,
    /// Where it runs.
    #[arg(long, value_enum)]
    pub locality: Locality,
    /// The most sensitive request it may receive.
    #[arg(long, value_enum, default_value_t = Sensitivity::Public)]
    pub clearance: Sensitivity,
    /// Dollars per million input tokens.
    #[arg(long, value_name = "DOLLARS", value_parser = parse::price, default_value = "0")]
    pub input_price: u64,
    /// Dollars per million output tokens.
    #[arg(long, value_name = "DOLLARS", value_parser = parse::price, default_value = "0")]
    pub output_price: u64,
    /// Dollars per million input tokens that its prompt cache holds; by default those of all input.
    #[arg(long, value_name = "DOLLARS", value_parser = parse::price)]
    pub cached_input_price: Option<u64>,
    /// Dollars per million input tokens that are written to its prompt cache; by default those of all input.
    #[arg(long, value_name = "DOLLARS", value_parser = parse::price)]
    pub cache_write_price: Option<u64>,
    /// Let it have what it is not cleared for, once what was found is replaced by placeholders.
    #[arg(long)]
    pub redact: bool,
    /// Context window, in tokens.
    #[arg(long, value_name = "TOKENS", default_value_t = 128_000)]
    pub context: u32,
    /// What it can do: tools, vision, json, embeddings.
    #[arg(long = "feature", value_name = "FEATURE")]
    pub features: Vec<String>,
    /// Provider whose credential is its key; absent: it needs none.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<Name>,
    /// Give up a stream that is silent for longer, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 120_000)]
    pub idle_timeout_ms: u64,
}

const SET_EXAMPLES: &str = "\
Examples:
  openshell inference backend set cheap --input-price 0.10 --output-price 0.40
  openshell inference backend set home --clearance confidential
  openshell inference backend set cheap --cached-input-price 0.075 --redact yes";

/// Arguments of `inference backend set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Name.
    pub name: Name,
    /// Base URL up to and including the version segment.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// What it is: decides which APIs it speaks and how it takes its key.
    #[arg(long, value_enum)]
    pub kind: Option<Kind>,
    /// An API it speaks. Replaces all that were named.
    #[arg(long = "api", value_enum, value_name = "API")]
    pub apis: Vec<Endpoint>,
    /// Model to ask it for; `-`: the one the caller asked for.
    #[arg(long)]
    pub model: Option<String>,
    /// Where it runs.
    #[arg(long, value_enum)]
    pub locality: Option<Locality>,
    /// The most sensitive request it may receive.
    #[arg(long, value_enum)]
    pub clearance: Option<Sensitivity>,
    /// Dollars per million input tokens.
    #[arg(long, value_name = "DOLLARS", value_parser = parse::price)]
    pub input_price: Option<u64>,
    /// Dollars per million output tokens.
    #[arg(long, value_name = "DOLLARS", value_parser = parse::price)]
    pub output_price: Option<u64>,
    /// Dollars per million input tokens that its prompt cache holds.
    #[arg(long, value_name = "DOLLARS", value_parser = parse::price)]
    pub cached_input_price: Option<u64>,
    /// Dollars per million input tokens that are written to its prompt cache.
    #[arg(long, value_name = "DOLLARS", value_parser = parse::price)]
    pub cache_write_price: Option<u64>,
    /// Whether it may have what it is not cleared for, once what was found is replaced by placeholders.
    #[arg(long, value_name = "YES|NO", value_parser = parse::yes)]
    pub redact: Option<bool>,
    /// Context window, in tokens.
    #[arg(long, value_name = "TOKENS")]
    pub context: Option<u32>,
    /// What it can do: tools, vision, json, embeddings. Replaces all it had.
    #[arg(long = "feature", value_name = "FEATURE")]
    pub features: Vec<String>,
    /// Provider whose credential is its key; `-`: it needs none.
    #[arg(long, value_name = "NAME", value_parser = parse::provided)]
    pub provider: Option<Provided>,
    /// Give up a stream that is silent for longer, in milliseconds.
    #[arg(long, value_name = "MS")]
    pub idle_timeout_ms: Option<u64>,
}

/// A provider, or that there is none.
#[derive(Debug, Clone)]
pub struct Provided(pub Option<Name>);

/// Arguments of `inference backend test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Backends; by default all of them.
    #[arg(value_name = "NAME")]
    pub names: Vec<Name>,
}

/// Arguments of `inference backend remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Backends.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<Name>,
}

/// What a backend is.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Kind {
    /// OpenAI's API, all of it.
    Openai,
    /// OpenAI's API as Azure serves it, below /openai/v1.
    Azure,
    /// Ollama's /v1.
    Ollama,
    /// vLLM's /v1.
    Vllm,
    /// Anything compatible with OpenAI's chat completions, completions and embeddings.
    Compatible,
    /// Anthropic's Messages API.
    Anthropic,
}

/// Where a backend runs.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Locality {
    /// Inside the sandbox's own machine.
    Sandbox,
    /// On the gateway's host.
    Host,
    /// On a private network.
    Private,
    /// A public service.
    Public,
}

/// How sensitive a request may be.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Sensitivity {
    /// Anyone may see it.
    Public,
    /// For the organisation.
    Internal,
    /// For few.
    Confidential,
    /// Must stay home.
    Restricted,
}

impl From<Kind> for wire::BackendKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Openai => Self::Openai,
            Kind::Azure => Self::Azure,
            Kind::Ollama => Self::Ollama,
            Kind::Vllm => Self::Vllm,
            Kind::Compatible => Self::Compatible,
            Kind::Anthropic => Self::Anthropic,
        }
    }
}

impl From<Endpoint> for wire::Api {
    fn from(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Chat => Self::Chat,
            Endpoint::Completions => Self::Completions,
            Endpoint::Responses => Self::Responses,
            Endpoint::Embeddings => Self::Embeddings,
            Endpoint::Messages => Self::Messages,
            Endpoint::CountTokens => Self::CountTokens,
        }
    }
}

impl From<Locality> for wire::Locality {
    fn from(locality: Locality) -> Self {
        match locality {
            Locality::Sandbox => Self::Sandbox,
            Locality::Host => Self::Host,
            Locality::Private => Self::Private,
            Locality::Public => Self::Public,
        }
    }
}

impl From<Sensitivity> for wire::Sensitivity {
    fn from(sensitivity: Sensitivity) -> Self {
        match sensitivity {
            Sensitivity::Public => Self::Public,
            Sensitivity::Internal => Self::Internal,
            Sensitivity::Confidential => Self::Confidential,
            Sensitivity::Restricted => Self::Restricted,
        }
    }
}
