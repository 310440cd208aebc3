//! `openshell provider …`.

use std::io::{IsTerminal as _, Read as _};

use openshell_api::Name;
use openshell_api::provider::{Attach, CreateProvider, Provider, ProviderType, Refresh, UpdateProvider};

use super::{Context, DONE};
use crate::args::provider::{
    AttachArgs, CreateArgs, ProviderCommand, SecretArgs, SetTypeArgs, TypeCommand, UpdateArgs,
};
use crate::error::{Error, SecretError};
use crate::output::{Table, age, facts, hidden, list};

/// Does one of the commands.
pub async fn run(cx: &Context, command: ProviderCommand) -> Result<u8, Error> {
    match command {
        ProviderCommand::Create(args) => create(cx, *args).await,
        ProviderCommand::List => {
            let providers = cx.client().await?.providers().await?;
            cx.out.data(&providers, || table(&providers).render_or("no providers"))?;
            Ok(DONE)
        }
        ProviderCommand::Get(args) => {
            let provider = cx.client().await?.provider(&args.name).await?;
            cx.out.data(&provider, || shown(&provider))?;
            Ok(DONE)
        }
        ProviderCommand::Update(args) => update(cx, args).await,
        ProviderCommand::Type(command) => types(cx, command).await,
        ProviderCommand::Delete(args) => {
            let client = cx.client().await?;
            for name in &args.names {
                client.delete_provider(name).await?;
                cx.out.note(format!("deleted provider {name}"));
            }
            Ok(DONE)
        }
    }
}

async fn create(cx: &Context, args: CreateArgs) -> Result<u8, Error> {
    let client = cx.client().await?;
    let secret = checked(read_secret(&args.name, &args.source)?).map_err(Error::Secret)?;
    let refresh = match (args.token_url, args.client_id) {
        (Some(token_url), Some(client_id)) => {
            let read = |file: &std::path::PathBuf| {
                let bytes = std::fs::read(file).map_err(Error::io(format!("read {}", file.display())))?;
                checked(bytes).map_err(Error::Secret)
            };
            let client_secret = args.client_secret_file.as_ref().map(read).transpose()?;
            Some(Refresh { token_url, client_id, client_secret })
        }
        _ => None,
    };
    let request = CreateProvider {
        name: args.name,
        kind: args.kind,
        attach: attach(args.attach),
        hosts: (!args.hosts.is_empty()).then_some(args.hosts),
        paths: args.paths,
        binaries: args.binaries,
        env: args.env,
        shared: args.shared,
        refresh,
        secret,
    };
    let provider = client.create_provider(&request).await?;
    cx.out.data(&provider, || table(std::slice::from_ref(&provider)).render())?;
    Ok(DONE)
}

/// How it is attached, if that was said.
fn attach(args: AttachArgs) -> Option<Attach> {
    // Of these, one at most was given.
    args.header
        .map(|name| Attach::Header { name })
        .or(args.basic.map(|username| Attach::Basic { username }))
        .or(args.query.map(|name| Attach::Query { name }))
        .or(args.access_key.map(|access_key_id| Attach::Sigv4 { access_key_id }))
        .or(args.bearer.then_some(Attach::Bearer))
}

async fn types(cx: &Context, command: TypeCommand) -> Result<u8, Error> {
    let client = cx.client().await?;
    match command {
        TypeCommand::List => {
            let kinds = client.provider_types().await?;
            cx.out.data(&kinds, || type_table(&kinds).render())?;
        }
        TypeCommand::Set(args) => {
            let SetTypeArgs { name, hosts, paths, env, prefix, attach } = args;
            let kind = ProviderType { name, attach: self::attach(attach), hosts, paths, env, prefix, built_in: false };
            let kind = client.set_provider_type(&kind).await?;
            cx.out.data(&kind, || type_table(std::slice::from_ref(&kind)).render())?;
        }
        TypeCommand::Delete(args) => {
            for name in &args.names {
                client.delete_provider_type(name).await?;
                cx.out.note(format!("deleted type {name}"));
            }
        }
    }
    Ok(DONE)
}

fn type_table(kinds: &[ProviderType]) -> Table {
    let mut table = Table::new(["TYPE", "ATTACHED AS", "HOSTS", "VARIABLE", "PREFIX", "BUILT IN"]);
    for kind in kinds {
        table.row([
            kind.name.to_string(),
            kind.attach.as_ref().map(attached).unwrap_or_default(),
            list(&kind.hosts),
            kind.env.clone().unwrap_or_default(),
            kind.prefix.clone(),
            if kind.built_in { "yes" } else { "" }.to_owned(),
        ]);
    }
    table
}

async fn update(cx: &Context, args: UpdateArgs) -> Result<u8, Error> {
    let client = cx.client().await?;
    let replaces = args.source.prompt || args.source.from_env.is_some() || args.source.from_file.is_some();
    let secret = match replaces {
        true => Some(checked(read_secret(&args.name, &args.source)?).map_err(Error::Secret)?),
        false => None,
    };
    let given = |texts: Vec<String>, none: bool| (none || !texts.is_empty()).then_some(texts);
    let request = UpdateProvider {
        secret,
        hosts: given(args.hosts, false),
        paths: given(args.paths, args.any_path),
        binaries: given(args.binaries, args.any_binary),
        shared: args.shared,
    };
    let provider = client.update_provider(&args.name, &request).await?;
    cx.out.data(&provider, || shown(&provider))?;
    Ok(DONE)
}

/// Reads the secret from where the arguments say: a variable, a file, a prompt, or standard input.
fn read_secret(name: &Name, args: &SecretArgs) -> Result<Vec<u8>, Error> {
    use std::os::unix::ffi::OsStringExt as _;
    if let Some(variable) = &args.from_env {
        return match std::env::var_os(variable) {
            Some(value) => Ok(value.into_vec()),
            None => Err(Error::Secret(SecretError::VariableUnset(variable.clone()))),
        };
    }
    if let Some(file) = &args.from_file {
        return std::fs::read(file).map_err(Error::io(format!("read {}", file.display())));
    }
    if std::io::stdin().is_terminal() {
        return Ok(hidden(&format!("Secret for provider {name}"))?.into_bytes());
    }
    let mut secret = Vec::new();
    std::io::stdin().read_to_end(&mut secret).map_err(Error::io("read the secret from standard input"))?;
    Ok(secret)
}

/// The secret without the line end at its end. Refuses what can't be a header's value.
fn checked(bytes: Vec<u8>) -> Result<String, SecretError> {
    let text = String::from_utf8(bytes).map_err(|_| SecretError::NotText)?;
    let secret = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if secret.is_empty() {
        return Err(SecretError::Empty);
    }
    if secret.chars().any(char::is_control) {
        return Err(SecretError::ControlCharacter);
    }
    Ok(secret.to_owned())
}

fn attached(attach: &Attach) -> String {
    match attach {
        Attach::Bearer => "bearer".to_owned(),
        Attach::Basic { username } => format!("basic ({username})"),
        Attach::Header { name } => format!("header {name}"),
        Attach::Query { name } => format!("query {name}"),
        Attach::Sigv4 { access_key_id } => format!("AWS signature of {access_key_id}"),
    }
}

fn shown(provider: &Provider) -> String {
    let rule = &provider.rule;
    let all = |texts: &[String], all: &str| if texts.is_empty() { all.to_owned() } else { list(texts) };
    facts(&[
        ("name", provider.name.to_string()),
        ("type", provider.kind.clone()),
        ("owner", provider.owner.clone()),
        ("shared", if provider.shared { "yes" } else { "no" }.to_owned()),
        ("attached as", attached(&rule.attach)),
        ("hosts", list(&rule.hosts)),
        ("paths", all(&rule.paths, "every path")),
        ("programs", all(&rule.binaries, "every program")),
        ("placeholder in", rule.env.clone().unwrap_or_else(|| "no variable".to_owned())),
        ("access token", refreshed(provider)),
    ])
}

fn refreshed(provider: &Provider) -> String {
    match &provider.refresh {
        None => "no: the secret is the credential".to_owned(),
        Some(state) => match &state.problem {
            None => format!("until {}, renewed at {}", state.expires_at, state.token_url),
            Some(problem) => format!("until {}, and not renewed: {problem}", state.expires_at),
        },
    }
}

fn table(providers: &[Provider]) -> Table {
    let now = jiff::Timestamp::now();
    let mut table = Table::new(["NAME", "TYPE", "OWNER", "ATTACHED AS", "HOSTS", "AGE"]);
    for provider in providers {
        let attached = attached(&provider.rule.attach);
        let hosts = list(&provider.rule.hosts);
        let owner = if provider.shared { format!("{} (shared)", provider.owner) } else { provider.owner.clone() };
        let age = age(provider.created_at, now);
        table.row([provider.name.to_string(), provider.kind.clone(), owner, attached, hosts, age]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_one_line_of_text() {
        let check = |bytes: &[u8], expected: &str| {
            let found = checked(bytes.to_vec()).unwrap_or_else(|e| format!("refused: {e}"));
            assert_eq!(found, expected, "{bytes:?}");
        };
        check(b"key", "key");
        check(b"key\n", "key");
        check(b"key\r\n", "key");
        check(b"a key with spaces ", "a key with spaces ");
        check(b"", "refused: the secret is empty");
        check(b"\n", "refused: the secret is empty");
        check(b"a\nb", "refused: the secret contains a line end or another control character");
        check(b"key\n\n", "refused: the secret contains a line end or another control character");
        check(b"\xff", "refused: the secret is not UTF-8 text");
    }
}
