//! `cases.yaml`: questions with known answers.

use std::collections::BTreeMap;
use std::fmt;

use openshell_policy_host::{Backend, Capture, Inspection, Message, Process, Sensitivity};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// Settings for the cases that state none.
    #[serde(default)]
    pub settings: serde_json::Value,
    /// At least one.
    pub cases: Vec<Spanned<Case>>,
}

/// One question and its answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows; the question where absent.
    pub name: Option<String>,
    /// The question; absent: it is an inference request, in `route`.
    pub ask: Option<Spanned<String>>,
    /// An inference request.
    pub route: Option<Route>,
    /// Settings of the policy for this case alone.
    pub settings: Option<serde_json::Value>,
    /// Asked before it, whatever the answers: what a policy that counts has seen.
    #[serde(default)]
    pub after: Vec<Spanned<String>>,
    /// Name of the sandbox.
    pub sandbox: Option<String>,
    /// SHA-256 of the executable.
    pub digest: Option<String>,
    /// Script that the executable runs.
    pub script: Option<String>,
    /// How the connection reached the proxy.
    pub capture: Option<Capture>,
    /// The message's headers, in order.
    #[serde(default)]
    pub headers: Headers,
    /// The request's body.
    #[serde(default)]
    pub body: String,
    /// Arguments of the calling process.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Its ancestors' executables, nearest first.
    #[serde(default)]
    pub ancestors: Vec<String>,
    /// Labels of the sandbox.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Status of a response: asks the `response` hook.
    pub response: Option<u16>,
    /// The answer.
    pub expect: Spanned<Expected>,
}

/// An inference request, and what it may be sent to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Model the caller asked for.
    #[serde(default = "any_model")]
    pub model: String,
    /// Its texts.
    #[serde(default)]
    pub messages: Vec<Message>,
    /// Features it needs.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Estimated input tokens.
    #[serde(default)]
    pub input_tokens: u32,
    /// Upper bound of output tokens.
    #[serde(default)]
    pub output_tokens: u32,
    /// Output tokens of such requests lately; by default the bound.
    #[serde(default)]
    pub expected_output_tokens: Option<u32>,
    /// The most sensitive its session has been.
    #[serde(default = "public")]
    pub so_far: Sensitivity,
    /// Who asks.
    #[serde(default)]
    pub process: Option<Process>,
    /// What it may be sent to.
    pub backends: Vec<Backend>,
}

fn any_model() -> String {
    "any".into()
}

fn public() -> Sensitivity {
    Sensitivity::Public
}

/// Headers in the order they were written in.
#[derive(Debug, Default)]
pub struct Headers(pub Vec<(String, String)>);

/// What is expected; what is not stated may be anything.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// How it answers.
    pub verdict: Option<Kind>,
    /// The rule's name.
    pub rule: Option<String>,
    /// A part of the reason.
    pub reason: Option<String>,
    /// A part of the hint.
    pub hint: Option<String>,
    /// Name of the credential to attach.
    pub credential: Option<String>,
    /// What may happen to the bytes.
    pub inspection: Option<Inspection>,
    /// Private ranges granted.
    pub private_ranges: Option<Vec<String>>,
    /// Header edits: `name: value` sets, `name: null` removes.
    pub headers: Option<BTreeMap<String, Option<String>>>,
    /// A part of the reason of the denial it would have been.
    pub audit: Option<String>,
    /// Names of the backends, best first.
    pub order: Option<Vec<String>>,
    /// What the inference request counts as.
    pub sensitivity: Option<Sensitivity>,
    /// Kinds of what was found, in order.
    pub findings: Option<Vec<String>>,
    /// Whether the findings are to be replaced.
    pub redact: Option<bool>,
}

/// An [`Expect`], in full or in short: `abstain`, `allow read-only`, `deny`, `fail trap`.
#[derive(Debug, PartialEq, Eq)]
pub struct Expected(pub Expect);

/// The four ways to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// No opinion.
    Abstain,
    /// Allowed; for an inference request: routed.
    Allow,
    /// Denied.
    Deny,
    /// No answer: it trapped, ran out of time …
    Fail,
}

/// Why a file of cases can't be used. Shows line and column where there is one.
pub fn parse(text: &str) -> Result<Cases, String> {
    let cases: Cases = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if cases.cases.is_empty() {
        return Err("it holds no case".into());
    }
    Ok(cases)
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Headers;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of header names to values")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = Vec::new();
                while let Some(header) = map.next_entry()? {
                    headers.push(header);
                }
                Ok(Headers(headers))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Expected;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`abstain`, `allow [rule]`, `deny [rule]`, `fail [kind]`, or a mapping")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Expected, E> {
                let (word, rule) = match text.trim().split_once(' ') {
                    Some((word, rule)) => (word, Some(rule.trim().to_owned())),
                    None => (text.trim(), None),
                };
                let verdict = match word {
                    "abstain" if rule.is_none() => Kind::Abstain,
                    "allow" => Kind::Allow,
                    "deny" => Kind::Deny,
                    "fail" => Kind::Fail,
                    _ => return Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                };
                Ok(Expected(Expect { verdict: Some(verdict), rule, ..Expect::default() }))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Expected, A::Error> {
                Expect::deserialize(MapAccessDeserializer::new(map)).map(Expected)
            }
        }
        deserializer.deserialize_any(Either)
    }
}
