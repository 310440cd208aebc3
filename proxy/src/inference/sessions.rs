//! What conversations have contained. Sensitivity only rises.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use openshell_api::inference::{Sensitivity, Session};
use openshell_inference_format::document::{Document, Json};
use tokio::sync::mpsc;

/// Sessions remembered one by one; beyond that, new ones count towards the whole sandbox, which is stricter.
const MOST: usize = 50_000;
/// What the gateway is told, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A session's sensitivity rose.
    Rise(Session),
    /// Sessions were forgotten, as this question asked.
    Reset(String),
}

/// The sensitivity of every session of a sandbox. Only rises, until a user has it forgotten.
#[derive(Debug)]
pub struct Sessions {
    known: Mutex<BTreeMap<String, Sensitivity>>,
    told: mpsc::UnboundedSender<Told>,
}

impl Sessions {
    /// An empty store, and where each rise is announced, for the gateway to keep.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Told>) {
        let (told, announced) = mpsc::unbounded_channel();
        (Self { known: Mutex::default(), told }, announced)
    }

    /// What the session counts as: `Public` if nothing is known. Never less than the sandbox's overflow.
    pub fn get(&self, session: &str) -> Sensitivity {
        let known = self.lock();
        let own = known.get(session).copied().unwrap_or_default();
        let overflow = if known.len() >= MOST {
            known.get(Session::SANDBOX).copied().unwrap_or_default()
        } else {
            Sensitivity::Public
        };
        own.max(overflow)
    }

    /// Raises a session to at least `sensitivity`, announces a rise, and answers what it counts as now.
    pub fn raise(&self, session: &str, sensitivity: Sensitivity) -> Sensitivity {
        let mut known = self.lock();
        let key = if known.len() < MOST || known.contains_key(session) { session } else { Session::SANDBOX };
        let before = known.get(key).copied().unwrap_or_default();
        let now = before.max(sensitivity);
        if now > before {
            known.insert(key.to_owned(), now);
            // Nobody listens once the sandbox shuts down.
            let _ = self.told.send(Told::Rise(Session { session: key.to_owned(), sensitivity: now }));
        }
        now
    }

    /// Takes over what the gateway remembers, by maximum; announces nothing.
    pub fn merge(&self, remembered: BTreeMap<String, Sensitivity>) {
        let mut known = self.lock();
        for (session, sensitivity) in remembered {
            let entry = known.entry(session).or_default();
            *entry = (*entry).max(sensitivity);
        }
    }

    /// Forgets one session, or all of them, and announces it behind every rise that came before.
    pub fn reset(&self, session: Option<&str>, question: String) {
        let mut known = self.lock();
        match session {
            Some(session) => drop(known.remove(session)),
            None => known.clear(),
        }
        // Nobody listens once the sandbox shuts down.
        let _ = self.told.send(Told::Reset(question));
    }

    /// Everything known, to tell a gateway that may have missed a rise.
    pub fn all(&self) -> BTreeMap<String, Sensitivity> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Sensitivity>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The session a request belongs to: its header, else the API's own conversation, else the sandbox as a whole.
pub fn key(headers: &HeaderMap, document: &Document) -> String {
    if let Some(header) = headers.get("x-openshell-session").filter(|h| !h.is_empty()) {
        return Session::of_header(header.as_bytes());
    }
    let conversation = document.get("conversation").and_then(|c| c.text().or_else(|| c.get("id").and_then(Json::text)));
    if conversation.is_none()
        && let Some(previous) = document.get("previous_response_id").and_then(Json::text)
    {
        return after(previous);
    }
    let user =
        document.get("metadata").and_then(|m| m.get("user_id")).and_then(Json::text).filter(|u| u.contains("session"));
    match conversation.or(user) {
        Some(id) => Session::key("conversation", id.as_bytes()),
        None => Session::SANDBOX.to_owned(),
    }
}

/// The session of whatever follows a response that a backend keeps.
pub fn after(response: &str) -> String {
    Session::key("response", response.as_bytes())
}
