//! A recorded decision as a question, and what a policy may read while it answers it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use openshell_api::decision::{AnswerKind, Asked, DecisionRecord, KEPT_HEADERS, ProcessRecord, Stage, VoteRecord};
use openshell_policy_host::{
    Capture, Connection, Decision, Denial, Failure, Grant, HttpRequest, HttpResponse, Inspection, PolicyRef, Process,
    ReadNames, Scheme, Stance, Verdict, View, Vote,
};

/// Why a record can't be asked again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unasked {
    /// It answers no question of a policy's: the host's own refusal.
    HostsOwn,
    /// It is about an inference request, whose texts are never recorded.
    Inference,
    /// A live connection, judged again: the decision that let it in is asked.
    Reevaluation,
    /// It was made by a version that did not record the question.
    Old,
    /// The policy reads what is not recorded.
    Reads(String),
}

impl std::fmt::Display for Unasked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::HostsOwn => f.write_str("the host's own refusal, which no policy was asked about"),
            Self::Inference => f.write_str("an inference request, whose text is never recorded"),
            Self::Reevaluation => f.write_str("a live connection judged again"),
            Self::Old => f.write_str("recorded by an older version, without the question"),
            Self::Reads(what) => write!(f, "the policy reads `{what}`, which is never recorded"),
        }
    }
}

/// What was asked.
pub struct Question {
    /// Who, and where to.
    pub connection: Connection,
    /// Absent: the question was about the connection.
    pub request: Option<HttpRequest>,
    /// Present: the question was about a response.
    pub response: Option<HttpResponse>,
    /// A part of it was withheld from the record, and something else stands in its place.
    pub approximate: bool,
}

/// The question behind a record, and what belongs to it.
pub fn of(record: DecisionRecord) -> Result<(Question, Asked, Vec<VoteRecord>), Unasked> {
    match record.stage {
        Stage::Route => return Err(Unasked::Inference),
        Stage::Reevaluate => return Err(Unasked::Reevaluation),
        Stage::Connect | Stage::Request | Stage::Response | Stage::Dial => {}
    }
    let Some(mut asked) = record.asked else {
        let known = record.error.is_some() && record.error.as_deref() != Some("policy_denied");
        return Err(if known || record.stage == Stage::Dial { Unasked::HostsOwn } else { Unasked::Old });
    };
    let ProcessRecord { executable, digest, script, pid: _ } = record.process;
    let connection = Connection {
        sandbox: record.sandbox,
        process: Process { executable, digest, script },
        host: record.host,
        port: record.port,
        capture: match asked.capture.as_str() {
            "transparent" => Capture::Transparent,
            "forward" => Capture::Forward,
            _ => Capture::Tunnel,
        },
    };
    let scheme = if asked.scheme.as_deref() == Some("http") { Scheme::Http } else { Scheme::Https };
    let request = match (record.stage, record.method, record.path) {
        (Stage::Request | Stage::Response, Some(method), Some(path)) => {
            Some(HttpRequest { method, scheme, path, query: asked.query.take() })
        }
        _ => None,
    };
    let response = match (record.stage, record.status) {
        (Stage::Response, Some(status)) => Some(HttpResponse { status }),
        (Stage::Response, None) => return Err(Unasked::Old),
        _ => None,
    };
    let approximate = asked.withheld.iter().any(|part| part == "query");
    Ok((Question { connection, request, response, approximate }, asked, record.votes))
}

/// What was recorded of what a policy could read. Takes note of a read that can't be answered.
pub struct Recorded {
    asked: Asked,
    kind: Kind,
    body_cap: u64,
    labels: Option<Arc<BTreeMap<String, String>>>,
    missing: OnceLock<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connection,
    Request,
    Response,
}

impl Recorded {
    /// `labels`: those of the sandbox, if it still exists. `body_cap`: the longest body the policy wants to see.
    pub fn new(
        asked: Asked,
        question: &Question,
        body_cap: u32,
        labels: Option<Arc<BTreeMap<String, String>>>,
    ) -> Self {
        let kind = match (&question.request, question.response) {
            (_, Some(_)) => Kind::Response,
            (Some(_), None) => Kind::Request,
            (None, None) => Kind::Connection,
        };
        Self { asked, kind, body_cap: body_cap.into(), labels, missing: OnceLock::new() }
    }

    /// What was read and is not recorded.
    pub fn missing(&self) -> Option<&str> {
        self.missing.get().map(String::as_str)
    }

    fn miss(&self, what: impl Into<String>) {
        // Only the first is told.
        let _ = self.missing.set(what.into());
    }
}

impl View for Recorded {
    fn header(&self, name: &str) -> Option<String> {
        if self.kind == Kind::Connection {
            return None;
        }
        let name = name.to_ascii_lowercase();
        let kept = self.asked.headers.iter().find(|(given, _)| *given == name);
        let part = format!("header {name}");
        if kept.is_none() && (!KEPT_HEADERS.contains(&name.as_str()) || self.asked.withheld.contains(&part)) {
            self.miss(part);
        }
        kept.map(|(_, value)| value.clone())
    }
    fn headers(&self) -> Vec<u8> {
        if self.kind != Kind::Connection {
            self.miss("headers");
        }
        Vec::new()
    }
    fn body(&self) -> Option<Bytes> {
        if self.kind != Kind::Request || self.body_cap == 0 {
            return None;
        }
        match self.asked.body_bytes {
            Some(0) => Some(Bytes::new()),
            Some(length) if length > self.body_cap => None,
            _ => {
                self.miss("body");
                None
            }
        }
    }
    fn arguments(&self) -> Vec<String> {
        self.miss("arguments");
        Vec::new()
    }
    fn ancestors(&self) -> Vec<String> {
        self.asked.ancestors.clone().unwrap_or_else(|| {
            self.miss("ancestors");
            Vec::new()
        })
    }
    fn label(&self, name: &str) -> Option<String> {
        match &self.labels {
            Some(labels) => labels.get(name).cloned(),
            None => {
                self.miss(format!("label {name}"));
                None
            }
        }
    }
}

/// A recorded vote as one that can be weighed again.
pub fn vote(record: VoteRecord) -> Vote {
    let VoteRecord { binding, policy, digest, answer, rule, reason, hint, credential, audit, .. } = record;
    let rule = rule.unwrap_or_default();
    let said = |verdict| Stance::Said(Arc::new(verdict));
    let denial = |rule: String, reason: String, hint| Denial { rule, reason, hint };
    let stance = match answer {
        AnswerKind::Abstain => said(Verdict::Abstain),
        AnswerKind::Allow => said(Verdict::Allow(Grant {
            rule,
            inspection: Inspection::Opaque,
            credential,
            private_ranges: Vec::new(),
            headers: Vec::new(),
            audit: audit.map(|reason| denial(String::new(), reason, None)),
        })),
        AnswerKind::Deny => said(Verdict::Deny(denial(rule, reason.unwrap_or_default(), hint))),
        AnswerKind::Failed => Stance::Failed(Failure::Trap { message: reason.unwrap_or_default() }),
        AnswerKind::Later => Stance::Later,
        AnswerKind::None => Stance::None,
    };
    Vote {
        binding: binding.into(),
        policy: Arc::new(PolicyRef { name_version: policy, digest }),
        stance,
        memoized: false,
        read: ReadNames::default(),
    }
}

/// The one vote of a decision by a chain of one.
pub fn only_vote(decision: Decision) -> Option<Vote> {
    decision.own.into_iter().next()
}
