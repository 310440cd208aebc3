//! What the supervisors that are linked to any gateway of a database have said of whom they trust.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::Replicas;
use crate::error::ApiResult;
use crate::gateway::Gateway;
use crate::link::{Link, Trusts};
use crate::store::{Replica, SandboxRow};

/// Where a gateway asks another one.
pub(crate) const PATH: &str = "/internal/v1/keys";
/// Longest wait for another gateway's answer.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Longest answer, in bytes.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// What a supervisor has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Says {
    /// Since when it trusts the CAs that it does; absent: it did not say, or can't be told of others.
    pub ca: Option<u64>,
    /// Whether it trusts the newest signing key.
    pub key: Knows,
}

/// Whether a supervisor trusts the newest signing key: the next one, where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Knows {
    /// It has said nothing yet.
    Unheard,
    /// It can't say.
    Unsaid,
    /// It says so.
    Yes,
    /// It says that it does not.
    No,
}

/// What a gateway has heard from those that are linked to it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Heard {
    /// Number of the keys that this gateway has.
    number: u64,
    links: HashMap<String, Says>,
}

/// What all gateways have heard.
pub struct View {
    here: Heard,
    there: HashMap<String, Heard>,
    /// URLs of gateways that live, and can't be asked or have other keys than this one.
    pub lag: Vec<String>,
}

impl View {
    /// What a sandbox's supervisor has said; `None`: it is linked to none that could be asked.
    pub fn of(&self, row: &SandboxRow) -> Option<Says> {
        let there = || self.there.get(row.linked_to.as_ref()?)?.links.get(&row.id);
        self.here.links.get(&row.id).or_else(there).copied()
    }

    /// Whether every gateway, and every supervisor that is linked to one, knows the newest signing key.
    pub fn all_know(&self) -> bool {
        let heard = || std::iter::once(&self.here).chain(self.there.values());
        self.lag.is_empty() && heard().flat_map(|heard| heard.links.values()).all(|says| says.key == Knows::Yes)
    }
}

impl Gateway {
    /// What this gateway has heard.
    pub fn heard(&self) -> Heard {
        let number = self.replicas.as_ref().map_or(0, |replicas| replicas.keyring.number());
        let newest = self.signing.next().unwrap_or_else(|| self.signing.public());
        let says = |link: &Link| Says {
            ca: link.trusts(),
            key: match link.signing_keys() {
                Trusts::Unheard => Knows::Unheard,
                Trusts::Unsaid => Knows::Unsaid,
                trusts if trusts.has(&newest) => Knows::Yes,
                Trusts::These(_) => Knows::No,
            },
        };
        let open = self.links.all().into_iter().filter(|link| !link.is_closed());
        Heard { number, links: open.map(|link| (link.sandbox_id().to_owned(), says(&link))).collect() }
    }

    /// What all gateways have heard. Each that lives is asked; one that has other keys than this one counts as one that can't be.
    pub async fn view(&self) -> ApiResult<View> {
        self.store.adopt().await?;
        let here = self.heard();
        let Some(replicas) = &self.replicas else {
            return Ok(View { here, there: HashMap::new(), lag: Vec::new() });
        };
        let others: Vec<Replica> =
            self.store.replicas().await?.into_iter().filter(|one| one.id != replicas.me.id).collect();
        let answers = join_all(others.iter().map(|there| ask(replicas, there))).await;
        let (mut there, mut lag) = (HashMap::new(), Vec::new());
        for (replica, answer) in others.into_iter().zip(answers) {
            match answer {
                Ok(heard) if heard.number == here.number => drop(there.insert(replica.id, heard)),
                Ok(heard) => {
                    tracing::debug!(there = replica.url, number = heard.number, "another gateway has other keys");
                    lag.push(replica.url);
                }
                Err(reason) => {
                    tracing::debug!(there = replica.url, reason, "another gateway can't be asked about keys");
                    lag.push(replica.url);
                }
            }
        }
        Ok(View { here, there, lag })
    }
}

async fn ask(replicas: &Replicas, there: &Replica) -> Result<Heard, String> {
    let asked = replicas.client().get(format!("{}{PATH}", there.url)).bearer_auth(replicas.token()).timeout(PATIENCE);
    let answer = asked.send().await.map_err(|error| crate::upstream::reason(&error))?;
    let answer = answer.error_for_status().map_err(|error| error.to_string())?;
    let body = crate::upstream::body(answer, MAX_ANSWER).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}
