//! What opens the link: the credential of the start file until the gateway has given better ones, and those from then on.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use openshell_api::link::Sensitive;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::state::{StateDir, StateError};

/// The file that holds them.
const FILE: &str = "link.json";

/// A pair as it is kept: readable by the supervisor's user alone.
#[derive(Clone, Serialize, Deserialize)]
struct Pair {
    /// Hash of the start file's credential. A sandbox that is started anew has another one, and what came of the old one is void.
    of: String,
    key: Sensitive,
    refresh: Sensitive,
    /// When the key expires, in seconds since the Unix epoch, by this machine's clock.
    until: i64,
}

struct Held {
    pair: Option<Pair>,
    /// The same by a clock that nobody sets.
    until: Option<Instant>,
    /// The gateway did not take the key.
    refused: bool,
}

/// The link's credentials. A pair is kept on disk before it counts.
pub struct Credentials {
    state: Arc<StateDir>,
    first: Sensitive,
    held: Mutex<Held>,
}

/// A credential to be shown.
pub(super) enum Shown {
    /// The key, which lives still as far as is known.
    Key(Sensitive),
    /// The refresh, or the first credential: good once.
    Refresh(Sensitive),
}

impl Credentials {
    /// Those that came of the start file's credential, if any did.
    pub fn open(state: Arc<StateDir>, first: &str) -> Result<Self, StateError> {
        let of = hash(first);
        let kept = state.read(FILE)?.and_then(|text| serde_json::from_slice::<Pair>(&text).ok());
        let pair = kept.filter(|pair| pair.of == of);
        let held = Mutex::new(Held { pair, until: None, refused: false });
        Ok(Self { state, first: Sensitive(first.to_owned()), held })
    }

    /// What to show next. A key that has expired by either clock is not shown; one that was refused is not shown again.
    pub(super) fn next(&self) -> Shown {
        let held = self.held();
        let Some(pair) = &held.pair else { return Shown::Refresh(self.first.clone()) };
        let expired =
            held.until.is_some_and(|until| until <= Instant::now()) || pair.until <= jiff::Timestamp::now().as_second();
        match expired || held.refused {
            true => Shown::Refresh(pair.refresh.clone()),
            false => Shown::Key(pair.key.clone()),
        }
    }

    /// The gateway did not take what was shown.
    pub(super) fn refused(&self, shown: &Shown) {
        // After a refresh that was refused the key may be tried again: the gateway may have been set back.
        self.held().refused = matches!(shown, Shown::Key(_));
    }

    /// Keeps a pair, durably. Refuses, and goes on with what it had, where the disk does not take it.
    pub(super) fn keep(&self, key: Sensitive, refresh: Sensitive, lifetime_s: u64) -> Result<(), StateError> {
        let life = Duration::from_secs(lifetime_s);
        let until = (jiff::Timestamp::now() + life).as_second();
        let pair = Pair { of: hash(&self.first.0), key, refresh, until };
        let text = serde_json::to_vec(&pair)
            .map_err(|error| StateError::Io { path: PathBuf::from(FILE), source: error.into() })?;
        self.state.write(FILE, &text)?;
        *self.held() = Held { pair: Some(pair), until: Some(Instant::now() + life), refused: false };
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    /// Its text.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Key(text) | Self::Refresh(text) => &text.0,
        }
    }
}

fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_credential_is_shown_and_what_is_kept_outlives_the_process() {
        let root = tempfile::tempdir().unwrap();
        let open = |first: &str| {
            let state = Arc::new(StateDir::open(root.path()).unwrap());
            Credentials::open(state, first).unwrap()
        };
        let text = |credentials: &Credentials| credentials.next().text().to_owned();
        let sensitive = |text: &str| Sensitive(text.to_owned());

        let credentials = open("first");
        assert_eq!(text(&credentials), "first");
        credentials.keep(sensitive("key"), sensitive("refresh"), 3600).unwrap();
        assert_eq!(text(&credentials), "key");
        credentials.refused(&credentials.next());
        assert_eq!(text(&credentials), "refresh");
        credentials.refused(&credentials.next());
        assert_eq!(text(&credentials), "key", "both are tried for as long as neither is taken");
        drop(credentials);

        let credentials = open("first");
        assert_eq!(text(&credentials), "key");
        credentials.keep(sensitive("short"), sensitive("long"), 0).unwrap();
        assert_eq!(text(&credentials), "long", "what has expired is not shown");
        drop(credentials);
        assert_eq!(text(&open("another")), "another", "what was kept is void once the sandbox is started anew");

        let mode =
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(root.path().join(FILE)).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}
