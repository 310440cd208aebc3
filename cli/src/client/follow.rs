//! Following what goes on: an answer of JSON lines that does not end.

use openshell_api::Name;
use openshell_api::decision::DecisionRecord;
use openshell_api::sandbox::LogLine;
use reqwest::Response;
use serde::de::DeserializeOwned;

use super::rest::{self, Chain, Client};
use crate::error::Error;

/// Longest line that is taken, in bytes.
const MAX_LINE: usize = 4 * 1024 * 1024;

/// Records as they come.
pub struct Follow<T> {
    response: Response,
    what: String,
    /// Bytes that came and are not handed out yet; none before `searched` is a line's end.
    pending: Vec<u8>,
    searched: usize,
    record: std::marker::PhantomData<fn() -> T>,
}

impl Client {
    /// `GET /v1/sandboxes/{name}/logs?follow=true`.
    pub async fn follow_logs(&self, name: &Name, query: &[(&str, String)]) -> Result<Follow<LogLine>, Error> {
        Follow::open(self, &format!("/v1/sandboxes/{name}/logs"), query).await
    }

    /// `GET /v1/decisions?follow=true`.
    pub async fn follow_decisions(&self, query: &[(&str, String)]) -> Result<Follow<DecisionRecord>, Error> {
        Follow::open(self, "/v1/decisions", query).await
    }
}

impl<T: DeserializeOwned> Follow<T> {
    async fn open(client: &Client, path: &str, query: &[(&str, String)]) -> Result<Self, Error> {
        let response = client.open_stream(path, query).await?;
        let what = format!("GET {path}");
        Ok(Self { response, what, pending: Vec::new(), searched: 0, record: std::marker::PhantomData })
    }

    /// The next record; nothing once the gateway has ended the answer. A connection that breaks is an error. Nothing
    /// is lost if the future is dropped before it is ready.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(at) = self.pending[self.searched..].iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=self.searched + at).collect();
                self.searched = 0;
                if !line.trim_ascii().is_empty() {
                    return rest::parse(&line, &self.what).map(Some);
                }
                continue;
            }
            self.searched = self.pending.len();
            if self.searched > MAX_LINE {
                return Err(self.broken(format!("a line is longer than {MAX_LINE} bytes")));
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.pending.extend_from_slice(&chunk),
                Ok(None) => return Ok(None),
                Err(error) => return Err(self.broken(Chain(&error).to_string())),
            }
        }
    }

    fn broken(&self, reason: String) -> Error {
        Error::Answer { request: self.what.clone(), reason }
    }
}
