//! The ledger on disk: one line for what was set aside and one for what it came to, replayed when a supervisor begins anew.
//!
//! A line is handed to the kernel before its request is sent, so whatever ends the supervisor alone loses nothing.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use openshell_api::decision::{Charge, DecisionRecord, ProcessRecord, RouteRecord, Stage, Subject, Verdict};
use openshell_api::inference::{Period, Sensitivity};
use serde::{Deserialize, Serialize};

use super::keys_at;
use crate::inference::HOST;

/// A journal that grew longer than this is written anew, in bytes: some ten thousand requests, for requests wait meanwhile.
const LONG: u64 = 4 * 1024 * 1024;

/// A line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// What is spent in a window.
    Spent(Row),
    /// Room was set aside.
    Open(Lost),
    /// A request is over.
    Close {
        /// As it was opened.
        id: String,
        /// What it came to, in millionths of a millionth of a dollar.
        cost: u128,
        /// Tokens that it used.
        tokens: u64,
    },
}

/// What is spent in a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub backend: Option<String>,
    pub period: Period,
    pub window: i64,
    pub cost: u128,
    pub tokens: u64,
}

/// A request that was under way when the supervisor ended. It counts as all that was set aside for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The decision, and which attempt it is.
    pub id: String,
    /// When it was sent.
    pub at: Timestamp,
    /// The backend that it was sent to.
    pub backend: String,
    /// The model that was asked.
    pub model: String,
    /// What it counts as.
    pub sensitivity: Sensitivity,
    /// The most that it costs, in millionths of a millionth of a dollar.
    pub cost: u128,
    /// The most tokens that it uses, input and output.
    pub tokens: (u64, u64),
}

impl Lost {
    /// The decision record that never came.
    pub fn record(&self, sandbox: &str) -> DecisionRecord {
        let process = ProcessRecord { executable: String::new(), digest: String::new(), script: None, pid: 0 };
        let subject = Subject { sandbox, process, host: HOST, port: 443 };
        let charge = Charge {
            input_tokens: self.tokens.0,
            cached_tokens: 0,
            output_tokens: self.tokens.1,
            cost: u64::try_from(self.cost).unwrap_or(u64::MAX),
            estimated: true,
        };
        let reason = "the supervisor ended before the answer did".to_owned();
        DecisionRecord {
            id: self.id.clone(),
            at: self.at,
            verdict: Verdict::Allow,
            reason: Some(reason.clone()),
            route: Some(RouteRecord {
                sensitivity: self.sensitivity,
                backend: Some(self.backend.clone()),
                model: Some(self.model.clone()),
                findings: BTreeMap::new(),
                reason,
                input_tokens: None,
                output_tokens: None,
                charged: Some(charge),
                redacted: 0,
                escalated: Vec::new(),
            }),
            ..DecisionRecord::unanswered(subject, Stage::Route, 0)
        }
    }
}

/// The file, and what of it is still open.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    written: u64,
    open: BTreeMap<String, Lost>,
}

impl Journal {
    /// Reads and opens the journal at `path`, which need not be there: what is spent, and what was under way. The last line may
    /// be torn; any other that can't be read is an error, for nobody knows what it said.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Row>, Vec<Lost>)> {
        let mut spent: BTreeMap<(Option<String>, Period), Row> = BTreeMap::new();
        let mut open: BTreeMap<String, Lost> = BTreeMap::new();
        let mut add = |lost: &Lost, cost: u128, tokens: u64| {
            for ((backend, period), window) in keys_at(&lost.backend, lost.at) {
                let fresh = || Row { backend: backend.clone(), period, window, cost: 0, tokens: 0 };
                let row = spent.entry((backend.clone(), period)).or_insert_with(fresh);
                if row.window < window {
                    *row = fresh();
                }
                if row.window == window {
                    row.cost += cost;
                    row.tokens = row.tokens.saturating_add(tokens);
                }
            }
        };
        let mut rows = Vec::new();
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(file) => {
                let mut lines = BufReader::new(file).split(b'\n').peekable();
                while let Some(line) = lines.next() {
                    let line = line?;
                    match serde_json::from_slice(&line) {
                        Ok(Line::Spent(row)) => rows.push(row),
                        Ok(Line::Open(lost)) => {
                            open.insert(lost.id.clone(), lost);
                        }
                        Ok(Line::Close { id, cost, tokens }) => {
                            if let Some(lost) = open.remove(&id) {
                                add(&lost, cost, tokens);
                            }
                        }
                        Err(_) if lines.peek().is_none() => break,
                        Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                    }
                }
            }
        }
        let lost: Vec<Lost> = open.into_values().collect();
        for lost in &lost {
            add(lost, lost.cost, lost.tokens.0.saturating_add(lost.tokens.1));
        }
        for row in rows {
            // Snapshots stand at the beginning, so what came after is of their window or a later one.
            let known = spent.entry((row.backend.clone(), row.period)).or_insert_with(|| Row {
                cost: 0,
                tokens: 0,
                ..row.clone()
            });
            match known.window.cmp(&row.window) {
                std::cmp::Ordering::Less => *known = row,
                std::cmp::Ordering::Equal => {
                    known.cost += row.cost;
                    known.tokens = known.tokens.saturating_add(row.tokens);
                }
                std::cmp::Ordering::Greater => {}
            }
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let journal = Self { path: path.to_owned(), file, written: 0, open: BTreeMap::new() };
        Ok((journal, spent.into_values().collect(), lost))
    }

    /// A journal that is opened for reading alone.
    #[cfg(test)]
    pub fn unwritable(path: &Path) -> io::Result<Self> {
        std::fs::write(path, b"")?;
        Ok(Self { path: path.to_owned(), file: File::open(path)?, written: 0, open: BTreeMap::new() })
    }

    /// Hands a line to the kernel.
    pub fn write(&mut self, line: Line) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        self.file.write_all(&bytes)?;
        self.written += bytes.len() as u64;
        match line {
            Line::Open(lost) => {
                self.open.insert(lost.id.clone(), lost);
            }
            Line::Close { id, .. } => {
                self.open.remove(&id);
            }
            Line::Spent(_) => {}
        }
        Ok(())
    }

    /// Whether it is time to write it anew.
    pub fn is_long(&self) -> bool {
        self.written > LONG
    }

    /// Writes it anew: what is spent, then what is under way. After a crash the old one or the new one is there.
    pub fn compact(&mut self, rows: Vec<Row>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for line in rows.into_iter().map(Line::Spent).chain(self.open.values().cloned().map(Line::Open)) {
            serde_json::to_writer(&mut bytes, &line)?;
            bytes.push(b'\n');
        }
        let aside = self.path.with_extension("new");
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&aside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&aside, &self.path)?;
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        self.written = 0;
        Ok(())
    }
}
