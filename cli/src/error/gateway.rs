//! What can go wrong with the gateways that a user knows: finding one, reaching it, bringing it up, logging in.

use std::path::PathBuf;

use crate::client::InvalidServiceToken;
use crate::output::list;

/// Why a gateway can't be had.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A name that was never added.
    #[error("there is no gateway named {name}")]
    Unknown {
        /// The name.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// A name that another gateway has.
    #[error("there is a gateway named {name} already")]
    Taken {
        /// The name.
        name: String,
    },
    /// A place that no name can be made of.
    #[error("no name can be made of {given}")]
    Nameless {
        /// The place.
        given: String,
    },
    /// Not a gateway's URL.
    #[error("{given} is no gateway's URL: {reason}")]
    Address {
        /// What was given.
        given: String,
        /// Why not.
        reason: &'static str,
    },
    /// A file that was damaged.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A private file that is none.
    #[error("{} is not for its owner alone (mode {mode:04o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A URL was given without a token.
    #[error("no token is known for {url}")]
    NoToken {
        /// The URL.
        url: String,
    },
    /// Neither token nor session is kept.
    #[error("you are not logged in to gateway {name}")]
    LoggedOut {
        /// The gateway.
        name: String,
    },
    /// A session can't be renewed.
    #[error("the session with gateway {name} has ended: {reason}")]
    SessionEnded {
        /// The gateway.
        name: String,
        /// Why.
        reason: String,
    },
    /// Something else answers there.
    #[error("what answers at {url} is no gateway: {reason}")]
    NotAGateway {
        /// The URL.
        url: String,
        /// What it did instead.
        reason: String,
    },
    /// What was given as a service token is none.
    #[error("{file} holds no service token: {reason}")]
    ServiceToken {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: InvalidServiceToken,
    },
    /// Something in front of the gateway answers in its place.
    #[error("{reason}")]
    InFront {
        /// What it did.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// There is nothing to log in with.
    #[error("gateway {name} takes tokens alone")]
    TokensAlone {
        /// The gateway.
        name: String,
    },
    /// What can only be done on the machine itself, or by its own means.
    #[error("gateway {name} is not of that kind: {why}")]
    Kind {
        /// The gateway.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// An OpenID Connect provider failed or refused.
    #[error("the login provider {issuer} failed: {reason}")]
    Provider {
        /// Its issuer URL.
        issuer: String,
        /// Why.
        reason: String,
    },
    /// A provider without device logins.
    #[error("the login provider {issuer} knows no login without a browser")]
    NoDevice {
        /// Its issuer URL.
        issuer: String,
    },
    /// Something destructive needs a yes.
    #[error("removing everything of gateway {name} needs a yes, and standard input is no terminal")]
    Unconfirmed {
        /// The gateway.
        name: String,
    },
    /// The answer was no.
    #[error("nothing was removed")]
    Declined,
    /// Something could not be removed with the rest.
    #[error("not everything is gone: {}", left.join("; "))]
    Left {
        /// What is left, and why.
        left: Vec<String>,
    },
    /// What `ssh` is given as its destination.
    #[error("{given:?} can't be reached by ssh: {reason}")]
    Destination {
        /// What was given.
        given: String,
        /// Why not.
        reason: &'static str,
    },
    /// `ssh`, or what it ran.
    #[error("ssh can't {doing} at {destination}: {reason}")]
    Ssh {
        /// Where.
        destination: String,
        /// What was tried.
        doing: &'static str,
        /// Whether `ssh` itself failed, and not what it ran.
        own: bool,
        /// Last words.
        reason: String,
    },
    /// The programs here don't run there.
    #[error("that machine is a {found}, and the programs here are for a {ours}")]
    OtherMachine {
        /// What it is.
        found: String,
        /// What this machine is.
        ours: String,
    },
    /// A program that is to be copied is nowhere.
    #[error("the program {program} is neither beside this one nor in PATH")]
    NoProgram {
        /// The program.
        program: String,
    },
    /// What came from the other machine makes no sense.
    #[error("what the other machine says of its gateway is not understood: {reason}")]
    Revealed {
        /// Why.
        reason: String,
    },
    /// Sockets have short addresses.
    #[error("{} is too long for a socket's address", path.display())]
    LongPath {
        /// The directory.
        path: PathBuf,
    },
    /// The user's systemd does not answer.
    #[error("no systemd of this user's answers")]
    NoSystemd,
    /// A word that can't stand in a unit.
    #[error("{word:?} can't be written into a unit")]
    Word {
        /// The word.
        word: String,
    },
    /// A program of the system's failed.
    #[error("`{asked}` failed: {reason}")]
    Program {
        /// What was run.
        asked: String,
        /// What it said.
        reason: String,
    },
    /// No Docker engine answers here.
    #[error("no Docker engine of this machine answers at {host}: {reason}")]
    NoEngine {
        /// Where it was looked for.
        host: String,
        /// What was heard instead.
        reason: String,
    },
    /// The engine said no.
    #[error("the Docker engine refused {asked}: {reason}")]
    Engine {
        /// What was asked.
        asked: String,
        /// Why.
        reason: String,
    },
    /// A backup was not made, or not restored.
    #[error("{reason}")]
    Copy {
        /// Why.
        reason: String,
        /// What to do about it, in the words of the gateway's program.
        hint: Option<String>,
    },
    /// A backup is encrypted, and nobody can be asked.
    #[error("no passphrase was given, and standard input is no terminal to ask for one")]
    NoPassphrase {
        /// Whether it is for a backup that is to be made.
        new: bool,
    },
    /// Too easy to guess.
    #[error("a passphrase has 8 characters or more")]
    ShortPassphrase,
    /// Typed twice, and not the same.
    #[error("those were two different passphrases")]
    OtherPassphrase,
    /// The supervisor's program is nowhere.
    #[error("the program openshell-supervisor is neither beside this one nor in PATH")]
    NoSupervisor,
}

impl GatewayError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unknown { known, .. } if known.is_empty() => {
                "add one with `openshell gateway add`; a directory is written with a slash: ./state".into()
            }
            Self::Unknown { known, .. } => format!("there are: local, {}", list(known)),
            Self::Taken { .. } => "choose another name, or remove that one with `openshell gateway remove`".into(),
            Self::Nameless { .. } => "say a name first: `openshell gateway add NAME …`".into(),
            Self::Address { .. } => "give https://host[:port][/prefix]".into(),
            Self::Damaged { .. } => {
                "if it can't be mended, remove the gateway with `openshell gateway remove` and add it again".into()
            }
            Self::Exposed { path, .. } => {
                format!("if others may have read it, log in anew; then: chmod 600 {}", path.display())
            }
            Self::NoToken { .. } => {
                "keep one with `openshell gateway add URL --token-file FILE`, or set OPENSHELL_TOKEN (and OPENSHELL_CA_FILE \
                 for a private authority)"
                    .into()
            }
            Self::LoggedOut { name } | Self::SessionEnded { name, .. } => {
                format!("log in with `openshell gateway login {name}`")
            }
            Self::ServiceToken { .. } => {
                "write its two headers, a line each: CF-Access-Client-Id: … and CF-Access-Client-Secret: …".into()
            }
            Self::InFront { hint, .. } => return Some(hint.clone()),
            Self::NotAGateway { .. } => "check the host, and the path at which the proxy puts the gateway".into(),
            Self::TokensAlone { name } => {
                format!("ask its administrator for a token, then: openshell gateway login {name} --token-file FILE")
            }
            Self::Kind { .. } => "`openshell gateway list` shows the kinds".into(),
            Self::Provider { .. } => "try again; its operator, or the gateway's, can tell more".into(),
            Self::NoDevice { .. } => "leave out --device: `--no-browser` prints an address to open yourself".into(),
            Self::Unconfirmed { .. } => "repeat it with --yes".into(),
            Self::Declined => return None,
            Self::Copy { hint, .. } => return hint.clone(),
            Self::NoPassphrase { new: true } => "name its file with --passphrase-file, or say --unencrypted".into(),
            Self::NoPassphrase { new: false } => "name its file with --passphrase-file".into(),
            Self::ShortPassphrase | Self::OtherPassphrase => "nothing was written; try again".into(),
            Self::Left { .. } => "see to what is named; other gateways may use it".into(),
            Self::Destination { .. } => "give user@host, or a Host of your ~/.ssh/config".into(),
            Self::Ssh { destination, own: true, reason, .. } => ssh_hint(destination, reason),
            Self::Ssh { own: false, reason, .. } if reason.contains("no gateway is running") => {
                "`openshell sandbox create` and `openshell gateway upgrade` start it there".into()
            }
            Self::Ssh { own: false, .. } => "that was the other machine's answer; `openshell doctor` there may tell more".into(),
            Self::OtherMachine { .. } => "run this command from a machine of the same kind".into(),
            Self::NoProgram { .. } | Self::NoSupervisor => "install all three programs in one directory".into(),
            Self::Revealed { .. } => "bring both to one version with `openshell gateway upgrade`".into(),
            Self::LongPath { .. } => "set XDG_RUNTIME_DIR to a short directory of your own".into(),
            Self::NoSystemd => "log in so that systemd starts (not by su or sudo), or use --form process or docker".into(),
            Self::Word { .. } => "leave out line ends and other control characters".into(),
            Self::Program { .. } => return None,
            Self::NoEngine { .. } => "start Docker, set DOCKER_HOST, or join the group that may use its socket".into(),
            Self::Engine { .. } => "see `docker ps -a` and the engine's log".into(),
        })
    }
}

/// What to do about what `ssh` said.
fn ssh_hint(destination: &str, reason: &str) -> String {
    let has = |words: &str| reason.contains(words);
    if has("Permission denied") {
        format!("is your key loaded (`ssh-add -l`), and known there? try: ssh {destination} true")
    } else if has("Host key verification failed") || has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        format!("run `ssh {destination}` by hand once, and compare the fingerprint with the machine's")
    } else if has("Could not resolve") || has("Name or service not known") {
        "check the host's name, or its Host block in ~/.ssh/config".into()
    } else if has("refused") || has("timed out") || has("No route") {
        format!("does its SSH server run, and is the port right? try: ssh -v {destination} true")
    } else {
        format!("try by hand: ssh -v {destination} true")
    }
}
