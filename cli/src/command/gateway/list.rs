//! All gateways at once. Each is asked by itself and has a time of its own: one that fails hides no other.

use std::time::Duration;

use futures_util::future::join_all;
use openshell_api::Name;
use openshell_api::user::WhoAmI;
use serde::Serialize;

use super::{Context, DONE, PATIENCE, SSH_PATIENCE};
use crate::client::Client;
use crate::error::{Error, GatewayError};
use crate::gateways::entry::Entry;
use crate::gateways::remote::Manners;
use crate::gateways::{LOCAL, Place};
use crate::output::Table;

/// What came of asking a gateway.
#[derive(Debug, Serialize)]
pub struct Asked {
    /// Its name.
    pub name: String,
    /// Whether commands mean it that name none.
    pub selected: bool,
    /// `local`, `url` or `ssh`; absent: its entry can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// Where it is.
    pub address: String,
    /// In a word.
    pub state: State,
    /// Its version, if it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its sandboxes, if it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandboxes: Option<u64>,
    /// Whom it takes us for, if it knows users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whoami: Option<WhoAmI>,
    /// Why it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How a gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It answers.
    Answers,
    /// None runs in its directory.
    Stopped,
    /// It wants a login.
    LoggedOut,
    /// Something is wrong.
    Fails,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Stopped => "stopped",
            Self::LoggedOut => "logged out",
            Self::Fails => "FAILS",
        }
    }

    fn of(error: &Error) -> Self {
        match error {
            Error::NoGateway { .. } => Self::Stopped,
            Error::Gateway(GatewayError::LoggedOut { .. } | GatewayError::SessionEnded { .. }) => Self::LoggedOut,
            Error::Refused(problem) if problem.status == 401 => Self::LoggedOut,
            _ => Self::Fails,
        }
    }
}

/// `gateway list`.
pub async fn run(cx: &Context) -> Result<u8, Error> {
    let progress = cx.out.progress("asking the gateways");
    let asked = ask_all(cx).await?;
    drop(progress);
    cx.out.data(&asked, || table(&asked))?;
    Ok(DONE)
}

/// Asks this machine's own gateway and all that were added, side by side.
pub async fn ask_all(cx: &Context) -> Result<Vec<Asked>, Error> {
    let selected = cx.book.selected().ok().flatten();
    let names = cx.book.names()?;
    let local = Place::local()?;
    let own = async {
        let asked = Asked::new(LOCAL, selected.is_none(), Some("local"), local.spelled());
        ask(cx, asked, Ok(local), PATIENCE).await
    };
    let others = names.iter().map(|name| one(cx, name, selected.as_ref() == Some(name)));
    let (own, others) = tokio::join!(own, join_all(others));
    Ok(std::iter::once(own).chain(others).collect())
}

async fn one(cx: &Context, name: &Name, selected: bool) -> Asked {
    let entry = cx.book.entry(name);
    let (kind, address) = match &entry {
        Ok(entry) => (Some(entry.kind()), entry.address()),
        Err(_) => (None, String::new()),
    };
    let patience = if matches!(entry, Ok(Entry::Ssh(_))) { SSH_PATIENCE } else { PATIENCE };
    let place = entry.and_then(|_| Place::named(name, &cx.book));
    ask(cx, Asked::new(name.as_str(), selected, kind, address), place, patience).await
}

async fn ask(cx: &Context, mut asked: Asked, place: Result<Place, Error>, patience: Duration) -> Asked {
    let answer = async {
        // Nobody can tell which of several would be asking for a password.
        let client = Client::new(place?.access(&cx.book, Manners::Quiet).await?).await?;
        let status = client.status().await?;
        Ok::<_, Error>((status, client.whoami_if_known().await?))
    };
    let answer = match tokio::time::timeout(patience, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Unreachable {
            url: asked.address.clone(),
            reason: format!("nothing came within {} s", patience.as_secs()),
        }),
    };
    match answer {
        Ok((status, whoami)) => {
            asked.state = State::Answers;
            asked.version = Some(status.version);
            asked.sandboxes = Some(status.sandboxes);
            asked.whoami = whoami;
        }
        Err(error) => {
            asked.state = State::of(&error);
            asked.error = Some(error.to_string());
            asked.hint = error.hint();
        }
    }
    asked
}

impl Asked {
    fn new(name: &str, selected: bool, kind: Option<&'static str>, address: String) -> Self {
        Self {
            name: name.to_owned(),
            selected,
            kind,
            address,
            state: State::Fails,
            version: None,
            sandboxes: None,
            whoami: None,
            error: None,
            hint: None,
        }
    }
}

/// The table, and below it what went wrong with whom.
pub fn table(asked: &[Asked]) -> String {
    let mut table = Table::new(["GATEWAY", "KIND", "STATE", "VERSION", "SANDBOXES", "YOU ARE", "ADDRESS"]);
    for one in asked {
        let name = if one.selected { format!("{} *", one.name) } else { one.name.clone() };
        let you = one.whoami.as_ref().map(|who| format!("{} ({})", who.user, who.role)).unwrap_or_default();
        table.row([
            name,
            one.kind.unwrap_or_default().to_owned(),
            one.state.word().to_owned(),
            one.version.clone().unwrap_or_default(),
            one.sandboxes.map(|count| count.to_string()).unwrap_or_default(),
            you,
            one.address.clone(),
        ]);
    }
    let mut text = table.render();
    for one in asked.iter().filter(|one| matches!(one.state, State::Fails | State::LoggedOut)) {
        let error = one.error.as_deref().unwrap_or_default();
        text.push_str(&format!("\n{}: {}", one.name, crate::output::printable(error)));
        if let Some(hint) = &one.hint {
            text.push_str(&format!("\n  {}", crate::output::printable(hint)));
        }
    }
    text
}
