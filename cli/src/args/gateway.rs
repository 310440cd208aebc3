//! `openshell gateway …`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use openshell_api::Name;
use openshell_api::sandbox::RuntimeKind;
use serde::{Deserialize, Serialize};

use super::parse;
use crate::gateways::entry::Form;

/// Commands about gateways: those of other machines, and the one on this machine.
#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// Add a gateway: one that answers at a URL, or one that is put on another machine over SSH.
    #[command(after_help = "Examples:\n  openshell gateway add https://gateway.example\n  \
                            openshell gateway add team https://intranet.example/openshell --ca company-ca.pem\n  \
                            openshell gateway add ci https://gateway.example --token-file token\n  \
                            openshell gateway add https://gateway.example --service-token-file headers\n  \
                            openshell gateway add big --remote me@big.example")]
    Add(AddArgs),
    /// List the gateways that were added, and ask each how it is.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  openshell gateway list\n  openshell gateway list -o json"
    )]
    List,
    /// Say which gateway commands mean that name none. `local` is the one of this machine.
    #[command(after_help = "Examples:\n  openshell gateway select team\n  openshell gateway select local")]
    Select(SelectArgs),
    /// Show whether a gateway answers, where, and whom it takes you for.
    #[command(after_help = "Examples:\n  openshell gateway status\n  openshell gateway status team -o json")]
    Status(NameArgs),
    /// Log in to a gateway by a browser, or with a token.
    #[command(after_help = "Examples:\n  openshell gateway login team\n  openshell gateway login team --device\n  \
                            openshell gateway login ci --token-file token")]
    Login(LoginArgs),
    /// Log out of a gateway: forget its session or token, and have the provider take the session back.
    #[command(after_help = "Examples:\n  openshell gateway logout team")]
    Logout(NameArgs),
    /// Forget a gateway. With --purge, remove it from its machine with all its sandboxes.
    #[command(
        visible_alias = "rm",
        after_help = "Examples:\n  openshell gateway remove team\n  \
                            openshell gateway remove big --purge\n  openshell gateway remove local --purge --yes"
    )]
    Remove(RemoveArgs),
    /// Put this version's gateway in the place of the one that runs; its sandboxes go on meanwhile.
    #[command(after_help = "Examples:\n  openshell gateway upgrade\n  openshell gateway upgrade big")]
    Upgrade(NameArgs),
    /// Start the gateway on this machine and wait until it answers.
    #[command(after_help = "Examples:\n  openshell gateway start\n  openshell gateway start --form service\n  \
                            openshell gateway start --upstream-ca ./company-ca.pem --listen 127.0.0.1:7443\n  \
                            openshell gateway start --modules s3://acme-modules/openshell --modules-keys ./bucket-keys\n  \
                            openshell gateway start -- --start-timeout 120")]
    Start(StartCommand),
    /// Stop the gateway; its sandboxes keep enforcing what they last acknowledged.
    #[command(after_help = "Examples:\n  openshell gateway stop")]
    Stop,
    /// Write everything of the gateway on this machine into one file, while it runs: database, keys, authority.
    #[command(after_help = "Examples:\n  openshell gateway backup monday.backup\n  \
                            openshell gateway backup monday.backup --passphrase-file /etc/openshell/backup.pass\n  \
                            openshell gateway backup --unencrypted -")]
    Backup(BackupArgs),
    /// Make the gateway on this machine what it was when a backup was made. It must not run; all of the backup is checked first.
    #[command(after_help = "Examples:\n  openshell gateway restore monday.backup\n  \
                            openshell gateway restore monday.backup --force --passphrase-file /etc/openshell/backup.pass")]
    Restore(RestoreArgs),
    /// Turn the key that protects stored credentials; the old one opens nothing any more.
    #[command(after_help = "Examples:\n  openshell gateway rotate-keys")]
    RotateKeys,
    /// Make the gateway a new authority for its certificate, and tell every sandbox, while everything runs. The one before is trusted
    /// until `--finish`.
    #[command(after_help = "Examples:\n  openshell gateway rotate-ca\n  \
                            openshell gateway rotate-ca --finish")]
    RotateCa(RotateCaArgs),
    /// Make the gateway a new key that signs what sandboxes enforce, and sign everything anew, while everything runs. What the one before has
    /// signed is taken until `--finish`.
    #[command(after_help = "Examples:\n  openshell gateway rotate-signing-key\n  \
                            openshell gateway rotate-signing-key --finish")]
    RotateSigningKey(RotateSigningKeyArgs),
    /// Say whose policies this gateway takes: with one publisher or more, only what they signed.
    #[command(subcommand)]
    Trust(TrustCommand),
    /// Print where the gateway on this machine answers, its authority and its token: for `gateway add --remote`.
    #[command(hide = true, after_help = "Examples:\n  openshell gateway reveal")]
    Reveal,
}

/// Arguments of `gateway rotate-ca`.
#[derive(Debug, clap::Args)]
pub struct RotateCaArgs {
    /// Let the authority before the present one go. Refused while a sandbox that runs does not trust the present one.
    #[arg(long)]
    pub finish: bool,
    /// Finish also where sandboxes do not trust it yet: they are cut off until they are stopped and started.
    #[arg(long, requires = "finish")]
    pub force: bool,
}

/// Arguments of `gateway rotate-signing-key`.
#[derive(Debug, clap::Args)]
pub struct RotateSigningKeyArgs {
    /// Let the key before the present one go: sandboxes refuse what it signed. Refused while one that runs does not enforce what the present
    /// one has signed.
    #[arg(long)]
    pub finish: bool,
    /// Finish without waiting for sandboxes: they learn of it when they are linked again.
    #[arg(long, requires = "finish")]
    pub force: bool,
}

/// Arguments of `gateway add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// What to call it (if left out: as its host), and where it answers: https://host:port/prefix, or the state directory of a
    /// gateway on this machine.
    #[arg(value_name = "NAME|URL|DIR", num_args = 0..=2)]
    pub words: Vec<String>,
    /// Put it on the machine that `ssh` reaches so: user@host, or a Host of its configuration.
    #[arg(long, value_name = "USER@HOST")]
    pub remote: Option<String>,
    /// As what it runs there: docker, service or process. If left out: docker where an engine answers, else service where a
    /// systemd of yours does, else process.
    #[arg(long, value_enum, value_name = "FORM", requires = "remote", hide_possible_values = true)]
    pub form: Option<Form>,
    /// Where sandboxes go there that name no runtime: `docker` or `process`.
    #[arg(long, value_name = "RUNTIME", value_parser = parse::runtime, requires = "remote")]
    pub runtime: Option<RuntimeKind>,
    /// Image of sandboxes in Docker there that name none.
    #[arg(long, value_name = "IMAGE", requires = "remote")]
    pub default_image: Option<String>,
    /// PEM file of the only authority whose certificates to take for it; absent: this machine's.
    #[arg(long, value_name = "FILE", conflicts_with = "remote")]
    pub ca: Option<PathBuf>,
    /// Add it without logging in.
    #[arg(long, conflicts_with_all = ["remote", "token_file", "token_env"])]
    pub no_login: bool,
    /// How to log in.
    #[command(flatten)]
    pub way: WayArgs,
}

/// How to log in.
#[derive(Debug, Args)]
pub struct WayArgs {
    /// File with a token that an administrator gave out; `-`: standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["token_env", "device", "no_browser"])]
    pub token_file: Option<PathBuf>,
    /// Environment variable with such a token.
    #[arg(long, value_name = "VARIABLE", conflicts_with_all = ["device", "no_browser"])]
    pub token_env: Option<String>,
    /// File with a service token of the Cloudflare Access in front of the gateway: its two headers, a line each, as CF-Access-Client-Id: …
    /// and CF-Access-Client-Secret: …; `-`: standard input. Sent with every request.
    #[arg(long, value_name = "FILE")]
    pub service_token_file: Option<PathBuf>,
    /// Log in by a browser on another machine: print an address and a code.
    #[arg(long, conflicts_with = "no_browser")]
    pub device: bool,
    /// Open no browser: print the address to open on this machine.
    #[arg(long)]
    pub no_browser: bool,
}

/// Arguments of `gateway login`.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// The gateway; if left out, the selected one.
    pub name: Option<Name>,
    /// How to log in.
    #[command(flatten)]
    pub way: WayArgs,
}

/// A gateway that may be left out.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// The gateway; if left out, the selected one.
    pub name: Option<Name>,
}

/// Arguments of `gateway select`.
#[derive(Debug, Args)]
pub struct SelectArgs {
    /// The gateway.
    pub name: Name,
}

/// Arguments of `gateway remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// The gateway.
    pub name: Name,
    /// Remove it from its machine too: its sandboxes, its state, its programs.
    #[arg(long)]
    pub purge: bool,
    /// Don't ask.
    #[arg(short, long, requires = "purge")]
    pub yes: bool,
}

/// Arguments of `gateway backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Where to write it; a file that is there stays. `-`: standard output.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// File whose first line is the passphrase to encrypt it with; if left out, it is asked for.
    #[arg(long, value_name = "FILE", conflicts_with = "unencrypted")]
    pub passphrase_file: Option<PathBuf>,
    /// Don't encrypt it: whoever can read it has all of the gateway's credentials.
    #[arg(long)]
    pub unencrypted: bool,
}

/// Arguments of `gateway restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// File whose first line is the passphrase that it was encrypted with; if left out, it is asked for.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Put it in the place of the state that is there, which is kept aside.
    #[arg(long)]
    pub force: bool,
}

/// Commands about publishers.
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Trust a publisher. From the first one on, policies that none of them signed are refused.
    #[command(after_help = "Examples:\n  openshell gateway trust add acme --key publisher.pem.pub")]
    Add(TrustAddArgs),
    /// List trusted publishers.
    #[command(visible_alias = "ls", after_help = "Examples:\n  openshell gateway trust list")]
    List,
    /// Trust a publisher no longer. What is enforced stays so until it is replaced.
    #[command(visible_alias = "rm", after_help = "Examples:\n  openshell gateway trust remove acme")]
    Remove(TrustRemoveArgs),
}

/// Arguments of `gateway trust add`.
#[derive(Debug, Args)]
pub struct TrustAddArgs {
    /// What to call the publisher.
    pub name: Name,
    /// Its public key: a PEM file, or ed25519:HEX.
    #[arg(short, long, value_name = "FILE|KEY")]
    pub key: String,
}

/// Arguments of `gateway trust remove`.
#[derive(Debug, Args)]
pub struct TrustRemoveArgs {
    /// The publisher.
    pub name: Name,
    /// Take policies that nobody signed again, if this was the last publisher.
    #[arg(long)]
    pub allow_unsigned: bool,
}

/// Arguments of `gateway start`.
#[derive(Debug, Args)]
pub struct StartCommand {
    /// As what it runs: process, service (of your systemd) or docker. If left out: as it was started last; at first in docker
    /// where an engine answers, else a service where your systemd does, else a process.
    #[arg(long, value_enum, value_name = "FORM", hide_possible_values = true)]
    pub form: Option<Form>,
    /// What the gateway itself is given.
    #[command(flatten)]
    pub args: StartArgs,
}

/// What a gateway on this machine is started with.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct StartArgs {
    /// PEM file of further CAs that sandboxes trust upstream, beside the system's.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_ca: Option<PathBuf>,
    /// Where sandboxes go that name no runtime: `docker` or `process`; absent: docker where an engine answers.
    #[arg(long, value_name = "RUNTIME", value_parser = parse::runtime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeKind>,
    /// Image of sandboxes in Docker that name none.
    #[arg(long, value_name = "IMAGE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_image: Option<String>,
    /// Address to listen on; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Unix socket for a reverse proxy on this machine, which does TLS itself: plain HTTP is spoken there.
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_socket: Option<PathBuf>,
    /// Where users reach the gateway, if by a proxy: https://host:port/prefix.
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// PostgreSQL database to keep everything in, as postgres://USER:PASSWORD@HOST/DATABASE; absent: a file. The variable
    /// OPENSHELL_DATABASE says the same, unseen by other users.
    #[arg(long, value_name = "URL")]
    #[serde(skip)]
    pub database: Option<String>,
    /// Bucket for the bytes of modules, as s3://BUCKET/PREFIX; absent: the database. Its keys are read from the usual variables
    /// (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY …), which are kept with the gateway's arguments, or from --modules-keys.
    #[arg(long, value_name = "PLACE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules: Option<String>,
    /// URL of that bucket's server; absent: Amazon's, in the region.
    #[arg(long, value_name = "URL", requires = "modules")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules_endpoint: Option<String>,
    /// Its region; absent: as AWS_REGION says, else us-east-1.
    #[arg(long, value_name = "REGION", requires = "modules")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules_region: Option<String>,
    /// File with its keys, in the form of ~/.aws/credentials, for its owner alone; read anew for every request.
    #[arg(long, value_name = "FILE", requires = "modules")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules_keys: Option<PathBuf>,
    /// Further options of `openshell-gateway run`, after `--`. Name files by their whole paths.
    #[arg(last = true, value_name = "OPTION")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<String>,
}
