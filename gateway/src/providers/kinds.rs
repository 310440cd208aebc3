//! Types of providers: how the credential of each is attached, where to, and what its workload calls it.

use openshell_api::provider::{Attach, CreateProvider, CredentialRule};

use crate::error::{ApiResult, refuse};

/// What is usual for a type.
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

/// How the secrets of a type begin.
pub(super) fn prefix(kind: &str) -> &'static str {
    KINDS.iter().find(|known| known.name == kind).map_or("", |known| known.prefix)
}

/// How and where a provider's credential is attached: as asked, else as is usual for its type.
pub(super) fn rule(create: &CreateProvider) -> ApiResult<CredentialRule> {
    let kind = KINDS.iter().find(|known| known.name == create.kind).ok_or_else(|| {
        let names: Vec<&str> = KINDS.iter().map(|known| known.name).collect();
        refuse(422, "unknown_provider_type", format!("there is no provider type {:?}", create.kind))
            .hint(format!("there are: {}; generic takes `attach` and `hosts`", names.join(", ")))
    })?;
    let incomplete = |what| {
        refuse(422, "incomplete_provider", format!("a provider of type {} needs `{what}`", kind.name))
            .hint("say how the secret is attached and which hosts may receive it")
    };
    let attach = create.attach.clone().or_else(kind.attach).ok_or_else(|| incomplete("attach"))?;
    if kind.name == "aws" && !matches!(attach, Attach::Sigv4 { .. }) {
        return Err(incomplete("attach` as `sigv4"));
    }
    match &attach {
        Attach::Header { name } => check_header(name)?,
        Attach::Query { name } => check_word(name, "parameter")?,
        Attach::Sigv4 { access_key_id } => check_word(access_key_id, "access key id")?,
        Attach::Bearer | Attach::Basic { .. } => {}
    }
    let env = create.env.clone().or_else(|| kind.env.map(str::to_owned));
    if let Some(variable) = env.as_deref().filter(|variable| !is_variable(variable)) {
        return Err(refuse(422, "bad_env", format!("{variable:?} can't be a variable's name"))
            .hint("use A-Z, 0-9 and _, beginning with a letter"));
    }
    let mut rule = CredentialRule { env, ..CredentialRule::new(attach) };
    let hosts = create.hosts.clone().unwrap_or_else(|| kind.hosts.iter().map(|&host| host.to_owned()).collect());
    if hosts.is_empty() {
        return Err(incomplete("hosts"));
    }
    rebind(&mut rule, Some(hosts), Some(create.paths.clone()), Some(create.binaries.clone()))?;
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
            let found = match rule(&create) {
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
