//! `openshell policy …`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use openshell_api::Name;

use super::SourceArg;

/// Commands about policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Write a new policy crate: about twenty lines of Rust, and a unit test.
    #[command(after_help = "Examples:\n  openshell policy new my-policy\n  openshell policy new ./policies/read-only")]
    New(NewArgs),
    /// Build a policy crate into a component.
    #[command(after_help = "Examples:\n  openshell policy build ./my-policy\n  \
                            openshell policy build ./my-policy --out my-policy.wasm")]
    Build(BuildArgs),
    /// Run a policy crate's unit tests natively, then ask the built component its `cases.yaml` in the real engine.
    #[command(after_help = TEST_EXAMPLES)]
    Test(TestArgs),
    /// Measure one decision of a policy: by a fresh instance, by a reused one, and remembered.
    #[command(after_help = "Examples:\n  openshell policy bench ./my-policy\n  \
                            openshell policy bench ./my-policy --decisions 20000 -o json")]
    Bench(BenchArgs),
    /// Show what a policy is: hooks, imports, size, digest, settings.
    #[command(after_help = "Examples:\n  openshell policy inspect ./my-policy\n  \
                            openshell policy inspect my-policy.wasm -o json")]
    Inspect(SourceArg),
    /// Make a publisher's pair of keys.
    #[command(after_help = "Examples:\n  openshell policy keygen publisher.pem")]
    Keygen(KeygenArgs),
    /// Vouch for a policy: sign its bytes, name and version.
    #[command(after_help = "Examples:\n  openshell policy sign my-policy.wasm --key publisher.pem --version 1.2.0\n  \
                            openshell policy sign ./my-policy --key publisher.pem --out my-policy.sig")]
    Sign(SignArgs),
    /// Fetch a policy from an OCI registry into a file.
    #[command(after_help = "Examples:\n  openshell policy pull oci://registry.example.com/policies/github:1.2.0\n  \
                            openshell policy pull oci://localhost:5000/github:latest --out github.wasm")]
    Pull(PullArgs),
    /// Build if need be, upload, and enforce on sandboxes: on all of them, or on none.
    #[command(after_help = PUSH_EXAMPLES)]
    Push(PushArgs),
    /// List the policies a sandbox is bound to.
    #[command(visible_alias = "ls", after_help = "Examples:\n  openshell policy list demo")]
    List(super::sandbox::NameArg),
    /// Show policies that a few sandboxes have first, and how they do there.
    #[command(after_help = "Examples:\n  openshell policy status\n  openshell policy status -o json")]
    Status,
    /// List a sandbox's generations.
    #[command(after_help = "Examples:\n  openshell policy history demo")]
    History(super::sandbox::NameArg),
    /// Bring an earlier generation's content back, under a new number.
    #[command(after_help = "Examples:\n  openshell policy rollback demo\n  openshell policy rollback demo --to 3\n  \
                            openshell policy rollback --canary api-reader")]
    Rollback(RollbackArgs),
    /// Ask recorded decisions again with a candidate in the chain, and show which would flip; exit code 2 if any would.
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// Show what one policy may do and another may not, and requests that they answer differently; exit code 2 if any.
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(DiffArgs),
    /// Say why a decision came out as it did, and how it would be allowed.
    #[command(after_help = "Examples:\n  openshell policy explain 01KBXJ3M5YV2N7E4Q0R8S6T1WZ")]
    Explain(ExplainArgs),
    /// Write the smallest rules file that covers what a sandbox was seen doing.
    #[command(after_help = SUGGEST_EXAMPLES)]
    Suggest(SuggestArgs),
    /// Show what policies pushed with --shadow would have changed.
    #[command(after_help = "Examples:\n  openshell policy shadow-report demo\n  \
                            openshell policy shadow-report demo -o json")]
    ShadowReport(super::sandbox::NameArg),
    /// Obey a shadow from now on, if it would have changed little enough; or bring a canary to all.
    #[command(after_help = "Examples:\n  openshell policy promote demo\n  \
                            openshell policy promote demo --binding api-reader --max-flips 3\n  \
                            openshell policy promote demo --discard\n  \
                            openshell policy promote --canary api-reader --min-decisions 100")]
    Promote(PromoteArgs),
    /// Replace a sandbox's policies by a YAML rules file, judged by the built-in module `rules`.
    #[command(after_help = "Examples:\n  openshell policy set demo --policy rules.yaml\n  \
                            generate-rules | openshell policy set demo --policy -")]
    Set(SetArgs),
    /// Show a sandbox's bindings and the YAML its rules came from.
    #[command(after_help = "Examples:\n  openshell policy get demo\n  openshell policy get demo -o json")]
    Get(super::sandbox::NameArg),
}

const TEST_EXAMPLES: &str = "\
Examples:
  openshell policy test ./my-policy
  openshell policy test ./my-policy -- --nocapture
  openshell policy test my-policy.wasm --cases cases.yaml";

const REPLAY_EXAMPLES: &str = "\
Examples:
  openshell policy replay ./my-policy --sandbox demo --since 24h
  openshell policy replay rules.yaml --sandbox demo";

const DIFF_EXAMPLES: &str = "\
Examples:
  openshell policy diff rules.yaml stricter.yaml
  openshell policy diff ./my-policy rules.yaml --sandbox demo --since 7d
  openshell policy diff old.wasm new.wasm --settings-b new.json -o json";

const SUGGEST_EXAMPLES: &str = "\
Examples:
  openshell policy suggest demo > rules.yaml
  openshell policy suggest demo --exact --since 2h --out rules.yaml";

const PUSH_EXAMPLES: &str = "\
Examples:
  openshell policy push ./my-policy --sandbox demo
  openshell policy push ./my-policy --sandbox demo --settings '{\"hosts\": [\"example.com\"]}'
  openshell policy push oci://registry.example.com/policies/github:1.2.0 --sandbox demo
  openshell policy push ./my-policy --oci-out oci://registry.example.com/policies/my-policy:1.0.0
  openshell policy push ./my-policy --selector team=red --canary 10%     # then: policy status, policy promote --canary
  openshell policy push ./my-policy --sign-key publisher.pem --sandbox demo
  openshell policy push my-policy.wasm --version 2.0.0 --sandbox demo --sandbox ci --replace-all";

/// Arguments of `policy new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Directory to create.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Name of the policy and its crate; the directory's if absent.
    #[arg(long, value_name = "NAME")]
    pub name: Option<Name>,
    /// What it begins as.
    #[arg(short, long, value_enum, default_value_t = Template::Request)]
    pub template: Template,
}

/// What a new policy begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// Judges connections: hosts and programs.
    Connect,
    /// Judges HTTP requests.
    Request,
    /// Counts requests, and only narrows.
    RateLimit,
    /// Chooses backends for inference requests.
    Router,
    /// Finds what is to be replaced in inference requests.
    Redact,
}

/// Arguments of `policy build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The crate's directory.
    #[arg(value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// Copy the component here.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `policy test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// A policy crate's directory, or a built component (`.wasm`).
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    pub source: PathBuf,
    /// Questions with known answers; the crate's `cases.yaml` if absent.
    #[arg(long, value_name = "FILE")]
    pub cases: Option<PathBuf>,
    /// Passed on to the native test program.
    #[arg(last = true, value_name = "ARGUMENT")]
    pub arguments: Vec<String>,
}

/// Arguments of `policy bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// A policy crate's directory, or a built component (`.wasm`).
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    pub source: PathBuf,
    /// The question; the first one in the crate's `cases.yaml` if absent.
    #[arg(long, value_name = "QUESTION")]
    pub ask: Option<String>,
    /// Settings for the policy: a JSON document, or a file that holds one.
    #[arg(long, value_name = "FILE|JSON")]
    pub settings: Option<String>,
    /// How many decisions of each kind.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    pub decisions: u32,
}

/// Arguments of `policy push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// What to push.
    #[command(flatten)]
    pub source: SourceArg,
    /// Sandbox to change; several times for several.
    #[arg(short, long = "sandbox", value_name = "NAME", required_unless_present_any = ["oci_out", "selector"])]
    pub sandboxes: Vec<Name>,
    /// Change every sandbox that has this label; several times for those that have all of them.
    #[arg(short = 'l', long, value_name = "KEY=VALUE", value_parser = super::parse::key_value)]
    pub selector: Vec<(String, String)>,
    /// Begin with this share of the selected sandboxes. It is taken back by itself if it gives no answer, or one of them
    /// fails; `policy promote --canary` goes on to the rest.
    #[arg(long, value_name = "SHARE", value_parser = super::parse::share, requires = "selector")]
    #[arg(conflicts_with_all = ["sandboxes", "shadow"])]
    pub canary: Option<u8>,
    /// Answers without a verdict that are borne from a canary.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, requires = "canary")]
    pub max_failures: u64,
    /// Vouch for it with this private key.
    #[arg(long, value_name = "FILE", conflicts_with = "signature")]
    pub sign_key: Option<PathBuf>,
    /// The publisher's signature; `<component>.sig`, if there is such a file, or the registry's, if absent.
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// Name of the binding; a binding of that name is replaced. The module's name if absent.
    #[arg(long, value_name = "NAME")]
    pub binding: Option<Name>,
    /// Settings for the policy: a JSON document, or a file that holds one.
    #[arg(long, value_name = "FILE|JSON")]
    pub settings: Option<String>,
    /// Decisions an instance may serve before it is thrown away; a fresh one per decision if absent.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub reuse: u32,
    /// Deny a decision that takes longer, in milliseconds.
    #[arg(long, value_name = "MS")]
    pub deadline_ms: Option<u32>,
    /// Name of the module; the crate's, or the file's, if absent.
    #[arg(long, value_name = "NAME")]
    pub name: Option<Name>,
    /// Version of the module; the crate's if absent, or 0.0.0 for a component.
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// Let the bytes take the place of others that were stored under this name and version.
    #[arg(long)]
    pub replace_version: bool,
    /// Throw away all other bindings of the sandboxes' own chains.
    #[arg(long)]
    pub replace_all: bool,
    /// Store the component in an OCI registry as well; without --sandbox, do nothing else.
    #[arg(long, value_name = "oci://REFERENCE")]
    pub oci_out: Option<String>,
    /// Have it asked and not obeyed: what it would have changed is recorded, until it is promoted.
    #[arg(long, conflicts_with = "replace_all")]
    pub shadow: bool,
}

/// Arguments of `policy keygen`.
#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// Where to write the private key (PEM); the public one goes to FILE.pub.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `policy sign`.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// What to sign.
    #[command(flatten)]
    pub source: SourceArg,
    /// The publisher's private key (PEM).
    #[arg(short, long, value_name = "FILE")]
    pub key: PathBuf,
    /// Name of the module; the crate's, or the file's, if absent.
    #[arg(long, value_name = "NAME")]
    pub name: Option<Name>,
    /// Version of the module; the crate's if absent, or 0.0.0 for a component.
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// Write the signature here; beside the component, as FILE.sig, if absent.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `policy pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// Where it is: a registry's host and port, a repository, and a tag or a digest.
    #[arg(value_name = "oci://REFERENCE")]
    pub place: String,
    /// Write here; `<name>.wasm` if absent.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `policy replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The candidate: a crate's directory, a component (`.wasm`), or a rules file (`.yaml`).
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    pub source: PathBuf,
    /// Only this sandbox's decisions.
    #[arg(short, long, value_name = "NAME")]
    pub sandbox: Option<Name>,
    /// Only from this long ago on: 90s, 15m, 24h, 7d.
    #[arg(long, value_name = "SPAN", value_parser = super::parse::span)]
    pub since: Option<Duration>,
    /// Settings for the candidate: a JSON document, or a file that holds one.
    #[arg(long, value_name = "FILE|JSON")]
    pub settings: Option<String>,
    /// Name of the binding whose place it takes; the candidate's name if absent.
    #[arg(long, value_name = "NAME")]
    pub binding: Option<Name>,
    /// Leave all other bindings of the sandbox's own chain out. A rules file does, as `policy set` would.
    #[arg(long)]
    pub replace_all: bool,
}

/// Arguments of `policy diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// One policy: a crate's directory, a component (`.wasm`), or a rules file (`.yaml`).
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// The other.
    #[arg(value_name = "B")]
    pub b: PathBuf,
    /// Begin from this sandbox's recorded decisions alone; from all sandboxes' if absent.
    #[arg(short, long, value_name = "NAME")]
    pub sandbox: Option<Name>,
    /// Begin from decisions of so long ago on: 90s, 15m, 24h, 7d.
    #[arg(long, value_name = "SPAN", value_parser = super::parse::span, default_value = "24h")]
    pub since: Duration,
    /// Settings for the first: a JSON document, or a file that holds one.
    #[arg(long, value_name = "FILE|JSON")]
    pub settings_a: Option<String>,
    /// Settings for the second.
    #[arg(long, value_name = "FILE|JSON")]
    pub settings_b: Option<String>,
    /// Kinds of disagreement shown, at most.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub examples: usize,
}

/// Arguments of `policy explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The decision's id: in a refusal as `decision`, in `openshell decisions -o json` as `id`.
    #[arg(value_name = "DECISION")]
    pub id: String,
}

/// Arguments of `policy suggest`.
#[derive(Debug, Args)]
pub struct SuggestArgs {
    /// Sandbox.
    pub name: Name,
    /// Only from this long ago on: 90s, 15m, 24h, 7d.
    #[arg(long, value_name = "SPAN", value_parser = super::parse::span)]
    pub since: Option<Duration>,
    /// Methods and paths as they were seen, rather than presets of methods.
    #[arg(long)]
    pub exact: bool,
    /// Grant the private addresses that were asked for and refused. Metadata addresses are never granted.
    #[arg(long)]
    pub allow_private: bool,
    /// Write to a file rather than standard output.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `policy promote`.
#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// Sandbox whose shadow it is.
    #[arg(required_unless_present = "canary")]
    pub name: Option<Name>,
    /// Bring a canary to every selected sandbox: a rollout's id, or the name of its policy.
    #[arg(long, value_name = "ROLLOUT", conflicts_with_all = ["name", "binding", "max_flips", "discard"])]
    pub canary: Option<String>,
    /// The shadow; the only one if absent.
    #[arg(long, value_name = "NAME")]
    pub binding: Option<Name>,
    /// Refuse if it would have changed more decisions than so many.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_flips: u64,
    /// Refuse if it was asked about fewer decisions than so many.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub min_decisions: u64,
    /// Throw it away instead.
    #[arg(long, conflicts_with_all = ["max_flips", "min_decisions"])]
    pub discard: bool,
}

/// Arguments of `policy rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Sandbox.
    #[arg(required_unless_present = "canary")]
    pub name: Option<Name>,
    /// Take a canary back: a rollout's id, or the name of its policy.
    #[arg(long, value_name = "ROLLOUT", conflicts_with_all = ["name", "to"])]
    pub canary: Option<String>,
    /// Generation whose content comes back; the newest one with other policies if absent.
    #[arg(long, value_name = "GENERATION")]
    pub to: Option<u64>,
}

/// Arguments of `policy set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Sandbox.
    pub name: Name,
    /// The rules file; `-` reads standard input.
    #[arg(short, long, value_name = "FILE")]
    pub policy: PathBuf,
}
