//! Types of providers: how the credential of each is attached, where to, and what its workload calls it.

use openshell_api::provider::{Attach, CreateProvider, CredentialRule, ProviderType};

use crate::error::{ApiResult, refuse};

/// Longest beginning of a type's secrets, in bytes.
const MAX_PREFIX: usize = 32;

/// What is usual for a type that is built in.
struct Kind {
    name: &'static str,
    attach: fn() -> Option<Attach>,
    hosts: &'static [&'static str],
    /// Variable in which its programs look for the credential.
    env: Option<&'static str>,
    /// How its secrets begin: some programs look at that.
    prefix: &'static str,
}

const KINDS: [Kind; 8] = [
    Kind {
        name: "openai",
        attach: || Some(Attach::Bearer),
        hosts: &["api.openai.com"],
        env: Some("OPENAI_API_KEY"),
        prefix: "sk-",
    },
    Kind {
        name: "anthropic",
        attach: || Some(Attach::Header { name: "x-api-key".into() }),
        hosts: &["api.anthropic.com"],
        env: Some("ANTHROPIC_API_KEY"),
        prefix: "sk-ant-",
    },
    Kind {
        name: "github",
        attach: || Some(Attach::Bearer),
        hosts: &["api.github.com", "uploads.github.com"],
        env: Some("GITHUB_TOKEN"),
        prefix: "ghp_",
    },
    Kind {
        name: "gitlab",
        attach: || Some(Attach::Header { name: "private-token".into() }),
        hosts: &["gitlab.com"],
        env: Some("GITLAB_TOKEN"),
        prefix: "glpat-",
    },
    Kind {
        name: "pypi",
        attach: || Some(Attach::Basic { username: "__token__".into() }),
        hosts: &["upload.pypi.org"],
        env: Some("TWINE_PASSWORD"),
        prefix: "pypi-",
    },
    Kind {
        name: "npm",
        attach: || Some(Attach::Bearer),
        hosts: &["registry.npmjs.org"],
        env: Some("NPM_TOKEN"),
        prefix: "npm_",
    },
    // Which access key it is must be said, and of which services.
    Kind { name: "aws", attach: || None, hosts: &[], env: Some("AWS_SECRET_ACCESS_KEY"), prefix: "" },
    Kind { name: "generic", attach: || None, hosts: &[], env: None, prefix: "" },
];

/// The types that the gateway brings along.
fn built_in() -> impl Iterator<Item = ProviderType> {
    KINDS.iter().filter_map(|kind| {
        Some(ProviderType {
            name: kind.name.parse().ok()?,
            attach: (kind.attach)(),
            hosts: kind.hosts.iter().map(|&host| host.to_owned()).collect(),
            paths: Vec::new(),
            env: kind.env.map(str::to_owned),
            prefix: kind.prefix.to_owned(),
            built_in: true,
        })
    })
}

/// Every type: built in, and this gateway's own.
pub(crate) struct Kinds(Vec<ProviderType>);

impl Kinds {
    /// With these of the gateway's own.
    pub(crate) fn with(own: Vec<ProviderType>) -> Self {
        let mut kinds: Vec<ProviderType> = built_in().chain(own).collect();
        kinds.sort_by(|one, other| one.name.cmp(&other.name));
        Self(kinds)
    }

    /// Them, by name.
    pub(crate) fn into_vec(self) -> Vec<ProviderType> {
        self.0
    }

    fn named(&self, name: &str) -> Option<&ProviderType> {
        self.0.iter().find(|kind| kind.name.as_str() == name)
    }

    /// How the secrets of a type begin.
    pub(crate) fn prefix(&self, kind: &str) -> &str {
        self.named(kind).map_or("", |kind| &kind.prefix)
    }

    /// How and where a provider's credential is attached: as asked, else as is usual for its type.
    pub(super) fn rule(&self, create: &CreateProvider) -> ApiResult<CredentialRule> {
        let kind = self.named(&create.kind).ok_or_else(|| {
            let names: Vec<&str> = self.0.iter().map(|known| known.name.as_str()).collect();
            refuse(422, "unknown_provider_type", format!("there is no provider type {:?}", create.kind))
                .hint(format!("there are: {}; generic takes `attach` and `hosts`", names.join(", ")))
        })?;
        rule(kind, create)
    }
}

/// Refuses a type that means nothing, or has the name of one that is built in.
pub(super) fn check(kind: &ProviderType) -> ApiResult<ProviderType> {
    if built_in().any(|known| known.name == kind.name) || kind.built_in {
        return Err(refuse(422, "built_in", format!("the type {} is the gateway's own", kind.name))
            .hint("give yours another name; a single provider may differ from its type anyway"));
    }
    let mut rule = CredentialRule::new(Attach::Bearer);
    if !kind.hosts.is_empty() {
        rebind(&mut rule, Some(kind.hosts.clone()), None, None)?;
    }
    rebind(&mut rule, None, Some(kind.paths.clone()), None)?;
    kind.attach.as_ref().map_or(Ok(()), check_attach)?;
    check_env(kind.env.as_deref())?;
    if !kind.prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        || kind.prefix.len() > MAX_PREFIX
    {
        return Err(refuse(422, "bad_prefix", format!("{:?} is not how a secret begins", kind.prefix))
            .hint(format!("letters, digits, -, _ and ., at most {MAX_PREFIX} of them, such as ghp_")));
    }
    Ok(ProviderType { hosts: rule.hosts, paths: rule.paths, ..kind.clone() })
}

fn check_attach(attach: &Attach) -> ApiResult<()> {
    match attach {
        Attach::Header { name } => check_header(name),
        Attach::Query { name } => check_word(name, "parameter"),
        Attach::Sigv4 { access_key_id } => check_word(access_key_id, "access key id"),
        Attach::Bearer | Attach::Basic { .. } => Ok(()),
    }
}

fn check_env(variable: Option<&str>) -> ApiResult<()> {
    match variable.filter(|variable| !is_variable(variable)) {
        None => Ok(()),
        Some(variable) => Err(refuse(422, "bad_env", format!("{variable:?} can't be a variable's name"))
            .hint("use A-Z, 0-9 and _, beginning with a letter")),
    }
}

fn rule(kind: &ProviderType, create: &CreateProvider) -> ApiResult<CredentialRule> {
    let incomplete = |what| {
        refuse(422, "incomplete_provider", format!("a provider of type {} needs `{what}`", kind.name))
            .hint("say how the secret is attached and which hosts may receive it")
    };
    let attach = create.attach.clone().or_else(|| kind.attach.clone()).ok_or_else(|| incomplete("attach"))?;
    if kind.name.as_str() == "aws" && !matches!(attach, Attach::Sigv4 { .. }) {
        return Err(incomplete("attach` as `sigv4"));
    }
    check_attach(&attach)?;
    let env = create.env.clone().or_else(|| kind.env.clone());
    check_env(env.as_deref())?;
    let mut rule = CredentialRule { env, ..CredentialRule::new(attach) };
    let hosts = create.hosts.clone().unwrap_or_else(|| kind.hosts.clone());
    if hosts.is_empty() {
        return Err(incomplete("hosts"));
    }
    let paths = if create.paths.is_empty() { &kind.paths } else { &create.paths };
    rebind(&mut rule, Some(hosts), Some(paths.clone()), Some(create.binaries.clone()))?;
    Ok(rule)
}

/// Binds a rule to other hosts, paths or programs; what is absent stays. Refuses what binds to nothing, or means nothing.
pub(super) fn rebind(
    rule: &mut CredentialRule,
    hosts: Option<Vec<String>>,
    paths: Option<Vec<String>>,
    binaries: Option<Vec<String>>,
) -> ApiResult<()> {
    if let Some(hosts) = hosts {
        if hosts.is_empty() {
            return Err(refuse(422, "bad_host", "a secret is bound to one host or more")
                .hint("name the hosts that may receive it"));
        }
        rule.hosts = hosts.iter().map(|host| check_host(host)).collect::<ApiResult<_>>()?;
    }
    if let Some(paths) = paths {
        if let Some(path) = paths.iter().find(|path| !is_path(path)) {
            return Err(refuse(422, "bad_path", format!("{path:?} is not a path that a secret can be bound to")).hint(
                "write it as it is requested, such as /v1/chat: no query, no dots, no wildcards; all below it counts",
            ));
        }
        rule.paths = paths;
    }
    if let Some(binaries) = binaries {
        let plain = |path: &String| {
            path.starts_with('/') && !path.contains(['\0', '*']) && !path.split('/').any(|part| part == "..")
        };
        if let Some(path) = binaries.iter().find(|path| !plain(path)) {
            return Err(refuse(422, "bad_binary", format!("{path:?} is not a program that a secret can be bound to"))
                .hint("write the absolute path of an executable, such as /usr/bin/git"));
        }
        rule.binaries = binaries;
    }
    Ok(())
}

fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'*' | b'%'))
        && !path.split('/').any(|part| part == "." || part == "..")
}

fn is_variable(name: &str) -> bool {
    name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn check_word(word: &str, what: &str) -> ApiResult<()> {
    match !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        true => Ok(()),
        false => Err(refuse(422, "bad_name", format!("{word:?} can't be the name of a {what}"))),
    }
}

fn check_header(name: &str) -> ApiResult<()> {
    const FRAMING: [&str; 7] =
        ["host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "proxy-authorization"];
    match http::HeaderName::from_bytes(name.as_bytes()) {
        Ok(parsed) if !FRAMING.contains(&parsed.as_str()) => Ok(()),
        _ => Err(refuse(422, "bad_header", format!("a secret can't be sent as header {name:?}"))),
    }
}

/// A host name, or `*.` and one: lowercase, without port and trailing dot.
fn check_host(host: &str) -> ApiResult<String> {
    let lower = host.to_ascii_lowercase();
    let lower = lower.strip_suffix('.').unwrap_or(&lower);
    let bare = lower.strip_prefix("*.").unwrap_or(lower);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
    };
    let address = bare.parse::<std::net::IpAddr>().is_ok() && bare == lower;
    let name = bare.len() <= 253 && bare.split('.').all(label) && (bare == lower || bare.contains('.'));
    if address || name {
        return Ok(lower.to_owned());
    }
    Err(refuse(422, "bad_host", format!("{host:?} is not a host that a secret can be bound to"))
        .hint("write a name such as api.example.com, or *.example.com for one label in front of it; no port, no URL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_bound_to_hosts_that_mean_something() {
        let check = |host: &str, expected: Option<&str>| {
            assert_eq!(check_host(host).ok().as_deref(), expected, "{host}");
        };
        check("api.example.com", Some("api.example.com"));
        check("API.Example.com.", Some("api.example.com"));
        check("*.example.com", Some("*.example.com"));
        check("localhost", Some("localhost"));
        check("127.0.0.1", Some("127.0.0.1"));
        check("::1", Some("::1"));
        for bad in ["", "*", "*.com", "*.*.example.com", "https://x", "x:443", "a b", "-a.example", "*.127.0.0.1/"] {
            check(bad, None);
        }
    }

    #[test]
    fn types_say_how_and_where() {
        let check = |kind: &str, expected: &str| {
            let create = CreateProvider {
                name: "p".parse().unwrap(),
                kind: kind.into(),
                attach: None,
                hosts: None,
                paths: Vec::new(),
                binaries: Vec::new(),
                env: None,
                shared: false,
                refresh: None,
                secret: "s".into(),
            };
            let found = match Kinds::with(Vec::new()).rule(&create) {
                Ok(rule) => rule.hosts.join(","),
                Err(error) => error.0.code,
            };
            assert_eq!(found, expected, "{kind}");
        };
        check("openai", "api.openai.com");
        check("anthropic", "api.anthropic.com");
        check("github", "api.github.com,uploads.github.com");
        check("gitlab", "gitlab.com");
        check("pypi", "upload.pypi.org");
        check("npm", "registry.npmjs.org");
        check("aws", "incomplete_provider");
        check("generic", "incomplete_provider");
        check("other", "unknown_provider_type");
    }

    #[test]
    fn a_gateway_may_have_types_of_its_own() {
        let kind = |change: serde_json::Value| {
            let mut kind =
                serde_json::json!({ "name": "forge", "attach": { "scheme": "bearer" }, "hosts": ["Forge.test"] });
            kind.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            serde_json::from_value::<ProviderType>(kind).unwrap()
        };
        let refused = |change| check(&kind(change)).err().map_or("fine".to_owned(), |error| error.0.code);
        for (change, expected) in [
            (serde_json::json!({}), "fine"),
            (serde_json::json!({ "hosts": [], "attach": null }), "fine"),
            (serde_json::json!({ "name": "github" }), "built_in"),
            (serde_json::json!({ "built_in": true }), "built_in"),
            (serde_json::json!({ "hosts": ["https://x"] }), "bad_host"),
            (serde_json::json!({ "paths": ["x"] }), "bad_path"),
            (serde_json::json!({ "env": "a b" }), "bad_env"),
            (serde_json::json!({ "prefix": "a b" }), "bad_prefix"),
            (serde_json::json!({ "attach": { "scheme": "header", "name": "host" } }), "bad_header"),
        ] {
            assert_eq!(refused(change.clone()), expected, "{change}");
        }
        let kinds = Kinds::with(vec![check(&kind(serde_json::json!({ "prefix": "fg_", "paths": ["/api"] }))).unwrap()]);
        assert_eq!((kinds.prefix("forge"), kinds.prefix("github"), kinds.prefix("nobody")), ("fg_", "ghp_", ""));
        let create = serde_json::json!({ "name": "p", "type": "forge", "secret": "s" });
        let rule = kinds.rule(&serde_json::from_value(create).unwrap()).unwrap();
        assert_eq!(
            (rule.hosts.as_slice(), rule.paths.as_slice()),
            (&["forge.test".to_owned()][..], &["/api".to_owned()][..])
        );
    }

    #[test]
    fn secrets_are_bound_to_paths_and_programs_that_mean_something() {
        let check = |paths: &[&str], binaries: &[&str], expected: &str| {
            let texts = |texts: &[&str]| Some(texts.iter().map(|&text| text.to_owned()).collect());
            let mut rule = CredentialRule::new(Attach::Bearer);
            let found = rebind(&mut rule, None, texts(paths), texts(binaries))
                .err()
                .map_or("fine".into(), |error| error.0.code);
            assert_eq!(found, expected, "{paths:?} {binaries:?}");
        };
        check(&["/", "/v1", "/v1/chat/"], &["/usr/bin/git"], "fine");
        for bad in ["v1", "", "/a/../b", "/a?b", "/a*", "/%2e", "/a b"] {
            check(&[bad], &[], "bad_path");
        }
        for bad in ["git", "", "/usr/../bin/git", "/usr/bin/*"] {
            check(&[], &[bad], "bad_binary");
        }
    }
}
