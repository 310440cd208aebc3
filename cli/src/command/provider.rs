//! `openshell provider …`.

use std::io::{IsTerminal as _, Read as _};

use openshell_api::provider::{Attach, CreateProvider, Provider};

use super::{Context, DONE};
use crate::args::provider::{CreateArgs, ProviderCommand};
use crate::error::{Error, SecretError};
use crate::output::{Table, age, list};
use crate::sys;

/// Does one of the commands.
pub async fn run(cx: &Context, command: ProviderCommand) -> Result<u8, Error> {
    match command {
        ProviderCommand::Create(args) => create(cx, args).await,
        ProviderCommand::List => {
            let providers = cx.client()?.providers().await?;
            cx.out.data(&providers, || table(&providers).render_or("no providers"))?;
            Ok(DONE)
        }
        ProviderCommand::Delete(args) => {
            let client = cx.client()?;
            for name in &args.names {
                client.delete_provider(name).await?;
                cx.out.note(format!("deleted provider {name}"));
            }
            Ok(DONE)
        }
    }
}

async fn create(cx: &Context, args: CreateArgs) -> Result<u8, Error> {
    let client = cx.client()?;
    let secret = checked(read_secret(&args)?).map_err(Error::Secret)?;
    let attach = match (args.header, args.basic, args.bearer) {
        (Some(name), ..) => Some(Attach::Header { name }),
        (None, Some(username), _) => Some(Attach::Basic { username }),
        (None, None, true) => Some(Attach::Bearer),
        (None, None, false) => None,
    };
    let hosts = (!args.hosts.is_empty()).then_some(args.hosts);
    let request = CreateProvider { name: args.name, kind: args.kind, attach, hosts, shared: args.shared, secret };
    let provider = client.create_provider(&request).await?;
    cx.out.data(&provider, || table(std::slice::from_ref(&provider)).render())?;
    Ok(DONE)
}

/// Reads the secret from where the arguments say: a variable, a file, a prompt, or standard input.
fn read_secret(args: &CreateArgs) -> Result<Vec<u8>, Error> {
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
        eprint!("Secret for provider {} (not shown): ", args.name);
        let _mode = sys::TerminalMode::no_echo().map_err(Error::io("hide what is typed"))?;
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map_err(Error::io("read the secret"))?;
        return Ok(line.into_bytes());
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

fn table(providers: &[Provider]) -> Table {
    let now = jiff::Timestamp::now();
    let mut table = Table::new(["NAME", "TYPE", "OWNER", "ATTACHED AS", "HOSTS", "AGE"]);
    for provider in providers {
        let attached = match &provider.rule.attach {
            Attach::Bearer => "bearer".to_owned(),
            Attach::Basic { username } => format!("basic ({username})"),
            Attach::Header { name } => format!("header {name}"),
        };
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
