//! Answers that go on: what there is, then what comes, as JSON lines. Everything is read from the store by sequence
//! number, so a slow reader costs no memory, and misses nothing but what is forgotten meanwhile. Of a log, it is told how much that is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use openshell_api::decision::DecisionRecord;
use openshell_api::sandbox::LogLine;
use serde::Serialize;
use tokio::sync::watch;

use crate::followers::Follower;
use crate::gateway::Gateway;
use crate::store::{LogPart, Numbered, StoreError, trimmed};

/// After so much silence an empty line is sent: proxies cut what is idle, most of them after a minute.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// What is followed.
#[async_trait::async_trait]
pub(super) trait Source: Send + Sync + 'static {
    type Item: Serialize + Send + 'static;

    /// What was stored after `seq`, the last that it has answered, oldest first.
    async fn after(&mut self, gateway: &Gateway, seq: i64) -> Result<Vec<Numbered<Self::Item>>, StoreError>;

    /// Whether nothing more will come.
    async fn over(&self, gateway: &Gateway) -> Result<bool, StoreError>;
}

/// Log lines of a sandbox.
pub(super) struct Logs {
    sandbox_id: String,
    /// How many lines the log had up to the last one that was asked for, forgotten ones included.
    place: u64,
    follower: Follower,
}

impl Logs {
    /// All of them, from the first that was ever written.
    pub(super) fn whole(gateway: &Gateway, sandbox_id: String) -> Self {
        Self { place: 0, follower: gateway.followers.begin(&sandbox_id), sandbox_id }
    }

    /// Those after a line that is kept.
    pub(super) async fn after_line(gateway: &Gateway, sandbox_id: String, seq: i64) -> Result<Self, StoreError> {
        let whole = Self::whole(gateway, sandbox_id);
        whole.follower.reach(seq);
        Ok(Self { place: gateway.store.log_place(&whole.sandbox_id, seq).await?, ..whole })
    }
}

#[async_trait::async_trait]
impl Source for Logs {
    type Item = LogLine;

    /// A line that says how many were forgotten, if any were, and then lines.
    async fn after(&mut self, gateway: &Gateway, seq: i64) -> Result<Vec<Numbered<LogLine>>, StoreError> {
        let LogPart { forgotten, mut lines } = gateway.store.logs_after(&self.sandbox_id, seq).await?;
        let lost = forgotten.saturating_sub(self.place);
        self.place += lost + lines.len() as u64;
        if let Some(next) = lines.first().filter(|_| lost > 0) {
            let item = trimmed(next.item.at, lost);
            lines.insert(0, Numbered { seq, item });
        }
        self.follower.reach(lines.last().map_or(seq, |last| last.seq));
        Ok(lines)
    }

    async fn over(&self, gateway: &Gateway) -> Result<bool, StoreError> {
        Ok(gateway.store.sandbox(&self.sandbox_id).await?.is_none())
    }
}

/// Decisions, of one sandbox or of all.
pub(super) struct Decisions {
    pub sandbox: Option<String>,
}

#[async_trait::async_trait]
impl Source for Decisions {
    type Item = DecisionRecord;

    async fn after(&mut self, gateway: &Gateway, seq: i64) -> Result<Vec<Numbered<DecisionRecord>>, StoreError> {
        gateway.store.decisions_after(self.sandbox.as_deref(), seq).await
    }

    async fn over(&self, _gateway: &Gateway) -> Result<bool, StoreError> {
        Ok(false)
    }
}

struct State<S: Source> {
    gateway: Arc<Gateway>,
    source: S,
    pending: VecDeque<Numbered<S::Item>>,
    seq: i64,
    changed: watch::Receiver<()>,
    sandboxes: watch::Receiver<()>,
}

/// Sends `first` and then what is stored after it, or after `seq` where there is no first one.
pub(super) fn stream_after<S: Source>(
    gateway: Arc<Gateway>,
    source: S,
    first: Vec<Numbered<S::Item>>,
    seq: i64,
    changed: watch::Receiver<()>,
) -> Response {
    let sandboxes = gateway.changed.follow_sandboxes();
    let state = State { gateway, source, pending: first.into(), seq, changed, sandboxes };
    let lines = futures_util::stream::try_unfold(state, |mut state| async move {
        let mut line = match tokio::time::timeout(SIGN_OF_LIFE, state.next()).await {
            Ok(next) => {
                let Some(item) = next? else { return Ok(None) };
                serde_json::to_vec(&item).map_err(std::io::Error::other)?
            }
            Err(_) => Vec::new(),
        };
        line.push(b'\n');
        Ok::<_, std::io::Error>(Some((Bytes::from(line), state)))
    });
    let head = [(CONTENT_TYPE.as_str(), "application/x-ndjson"), ("x-accel-buffering", "no")];
    (head, Body::from_stream(lines)).into_response()
}

impl<S: Source> State<S> {
    async fn next(&mut self) -> Result<Option<S::Item>, std::io::Error> {
        loop {
            if let Some(next) = self.pending.pop_front() {
                self.seq = next.seq;
                return Ok(Some(next.item));
            }
            self.changed.borrow_and_update();
            self.sandboxes.borrow_and_update();
            self.pending = self.source.after(&self.gateway, self.seq).await.map_err(std::io::Error::other)?.into();
            if !self.pending.is_empty() {
                continue;
            }
            if self.source.over(&self.gateway).await.map_err(std::io::Error::other)? {
                return Ok(None);
            }
            tokio::select! {
                changed = self.changed.changed() => if changed.is_err() { return Ok(None) },
                changed = self.sandboxes.changed() => if changed.is_err() { return Ok(None) },
                () = self.gateway.stopping.cancelled() => return Ok(None),
            }
        }
    }
}
