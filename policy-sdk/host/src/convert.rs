//! Between the contract's generated types and ours. Arguments are borrowed; answers are checked.

use http::{HeaderName, HeaderValue};

#[cfg(feature = "compile")]
use crate::artifact::{Example, Expectation};
use crate::bindings::exports::openshell::policy::{launch as wit_launch, route as wit_route};
use crate::bindings::openshell::policy::types as wit;
use crate::cidr::Cidr;
use crate::failure::Failure;
use crate::types::{
    Backend, Capture, Connection, Constraints, Denial, Finding, Grant, HeaderEdit, HttpRequest, InferenceRequest,
    Inspection, Locality, Message, Process, RouteDecision, Scheme, Sensitivity, Verdict, Workload,
};

/// Text in one answer, in bytes.
pub(crate) const MAX_TEXT: usize = 64 << 10;
/// Header edits, or private ranges, in one grant.
const MAX_ITEMS: usize = 64;
/// Paths in one list of a launch's constraints.
const MAX_PATHS: usize = 1000;
/// Findings in one route decision.
const MAX_FINDINGS: usize = 10_000;

/// Headers that frame a message, belong to one hop, or name its target: no policy edits them.
const PROTECTED: [&str; 12] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

pub(crate) fn process(process: &Process) -> wit::ProcessParam<'_> {
    wit::ProcessParam { executable: &process.executable, digest: &process.digest, script: process.script.as_deref() }
}

pub(crate) fn connection(connection: &Connection) -> wit::ConnectionParam<'_> {
    wit::ConnectionParam {
        sandbox: &connection.sandbox,
        process: process(&connection.process),
        host: &connection.host,
        port: connection.port,
        capture: match connection.capture {
            Capture::Transparent => wit::Capture::Transparent,
            Capture::Tunnel => wit::Capture::Tunnel,
            Capture::Forward => wit::Capture::Forward,
        },
    }
}

pub(crate) fn request(request: &HttpRequest) -> wit::HttpRequestParam<'_> {
    wit::HttpRequestParam {
        method: &request.method,
        scheme: match request.scheme {
            Scheme::Http => wit::Scheme::Http,
            Scheme::Https => wit::Scheme::Https,
        },
        path: &request.path,
        query: request.query.as_deref(),
    }
}

pub(crate) fn verdict(verdict: wit::Verdict) -> Result<Verdict, Failure> {
    let mut text = Text(0);
    Ok(match verdict {
        wit::Verdict::Abstain => Verdict::Abstain,
        wit::Verdict::Deny(denial) => Verdict::Deny(text.denial(denial)?),
        wit::Verdict::Allow(grant) => Verdict::Allow(text.grant(grant)?),
    })
}

/// An example of a module's own.
#[cfg(feature = "compile")]
pub(crate) fn example(example: crate::bindings::exports::openshell::policy::configure::Example) -> Example {
    use crate::bindings::exports::openshell::policy::configure::Expectation as WitExpectation;

    let connection = example.connection;
    Example {
        connection: Connection {
            sandbox: connection.sandbox,
            process: Process {
                executable: connection.process.executable,
                digest: connection.process.digest,
                script: connection.process.script,
            },
            host: connection.host,
            port: connection.port,
            capture: match connection.capture {
                wit::Capture::Transparent => Capture::Transparent,
                wit::Capture::Tunnel => Capture::Tunnel,
                wit::Capture::Forward => Capture::Forward,
            },
        },
        request: example.request.map(|request| HttpRequest {
            method: request.method,
            scheme: match request.scheme {
                wit::Scheme::Http => Scheme::Http,
                wit::Scheme::Https => Scheme::Https,
            },
            path: request.path,
            query: request.query,
        }),
        expect: match example.expect {
            WitExpectation::Abstain => Expectation::Abstain,
            WitExpectation::Allow => Expectation::Allow,
            WitExpectation::Deny => Expectation::Deny,
        },
    }
}

fn invalid(detail: impl Into<String>) -> Failure {
    Failure::Output { detail: detail.into() }
}

/// Counts the text of one answer.
struct Text(usize);

impl Text {
    fn count(&mut self, bytes: usize) -> Result<(), Failure> {
        self.0 = self.0.saturating_add(bytes);
        if self.0 > MAX_TEXT {
            return Err(invalid(format!("more than {MAX_TEXT} bytes of text")));
        }
        Ok(())
    }

    /// Text for people: control characters become spaces, so that it can be printed and sent anywhere.
    fn words(&mut self, words: String) -> Result<String, Failure> {
        self.count(words.len())?;
        if words.contains(char::is_control) {
            return Ok(words.replace(char::is_control, " "));
        }
        Ok(words)
    }

    fn denial(&mut self, denial: wit::Denial) -> Result<Denial, Failure> {
        Ok(Denial {
            rule: self.words(denial.rule)?,
            reason: self.words(denial.reason)?,
            hint: denial.hint.map(|hint| self.words(hint)).transpose()?,
        })
    }

    fn grant(&mut self, grant: wit::Grant) -> Result<Grant, Failure> {
        if grant.headers.len() > MAX_ITEMS || grant.private_ranges.len() > MAX_ITEMS {
            return Err(invalid(format!("more than {MAX_ITEMS} header edits or private ranges")));
        }
        let credential = grant.credential.map(|name| self.words(name)).transpose()?;
        if credential.as_ref().is_some_and(String::is_empty) {
            return Err(invalid("a credential without a name"));
        }
        Ok(Grant {
            rule: self.words(grant.rule)?,
            inspection: match grant.inspection {
                wit::Inspection::Automatic => Inspection::Automatic,
                wit::Inspection::Required => Inspection::Required,
                wit::Inspection::Opaque => Inspection::Opaque,
            },
            credential,
            private_ranges: grant
                .private_ranges
                .into_iter()
                .map(|range| self.range(range))
                .collect::<Result<_, _>>()?,
            headers: grant.headers.into_iter().map(|edit| self.edit(edit)).collect::<Result<_, _>>()?,
            audit: grant.audit.map(|denial| self.denial(denial)).transpose()?,
        })
    }

    fn range(&mut self, range: String) -> Result<String, Failure> {
        self.count(range.len())?;
        match range.parse::<Cidr>() {
            Ok(_) => Ok(range),
            Err(_) => Err(invalid(format!("`{}` is not a CIDR range", range.escape_debug()))),
        }
    }

    fn edit(&mut self, edit: wit::HeaderEdit) -> Result<HeaderEdit, Failure> {
        match edit {
            wit::HeaderEdit::Set((name, value)) => {
                self.count(value.len())?;
                let name = self.header(name)?;
                if HeaderValue::from_str(&value).is_err() {
                    return Err(invalid(format!("header `{name}` can't have this value")));
                }
                Ok(HeaderEdit::Set(name, value))
            }
            wit::HeaderEdit::Remove(name) => Ok(HeaderEdit::Remove(self.header(name)?)),
        }
    }

    /// A header's name in lower case.
    fn header(&mut self, name: String) -> Result<String, Failure> {
        self.count(name.len())?;
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid(format!("`{}` is not a header's name", name.escape_debug())))?;
        let name = parsed.as_str();
        if PROTECTED.contains(&name) || name.starts_with("x-openshell-") {
            return Err(invalid(format!("header `{name}` is not a policy's to edit")));
        }
        Ok(name.to_owned())
    }
}

fn sensitivity(sensitivity: Sensitivity) -> wit_route::Sensitivity {
    match sensitivity {
        Sensitivity::Public => wit_route::Sensitivity::Public,
        Sensitivity::Internal => wit_route::Sensitivity::Internal,
        Sensitivity::Confidential => wit_route::Sensitivity::Confidential,
        Sensitivity::Restricted => wit_route::Sensitivity::Restricted,
    }
}

pub(crate) fn messages(messages: &[Message]) -> Vec<wit_route::Message<'_>> {
    messages.iter().map(|message| wit_route::Message { role: &message.role, text: &message.text }).collect()
}

pub(crate) fn strings(strings: &[String]) -> Vec<&str> {
    strings.iter().map(String::as_str).collect()
}

pub(crate) fn inference<'a>(
    request: &'a InferenceRequest,
    messages: &'a [wit_route::Message<'a>],
    needs: &'a [&'a str],
) -> wit_route::InferenceRequest<'a> {
    wit_route::InferenceRequest {
        sandbox: &request.sandbox,
        process: process(&request.process),
        model: &request.model,
        messages,
        needs,
        input_tokens: request.input_tokens,
        output_tokens: request.output_tokens,
        expected_output_tokens: request.expected_output_tokens,
        so_far: sensitivity(request.so_far),
    }
}

pub(crate) fn backends<'a>(backends: &'a [Backend], features: &'a [Vec<&'a str>]) -> Vec<wit_route::Backend<'a>> {
    std::iter::zip(backends, features)
        .map(|(backend, features)| wit_route::Backend {
            name: &backend.name,
            model: &backend.model,
            locality: match backend.locality {
                Locality::Sandbox => wit_route::Locality::Sandbox,
                Locality::Host => wit_route::Locality::Host,
                Locality::Private => wit_route::Locality::Private,
                Locality::Public => wit_route::Locality::Public,
            },
            clearance: sensitivity(backend.clearance),
            input_price: backend.input_price,
            output_price: backend.output_price,
            cached_input_price: backend.cached_input_price,
            cached_tokens: backend.cached_tokens,
            redact: backend.redact,
            context: backend.context,
            features,
            latency_ms: backend.latency_ms,
        })
        .collect()
}

/// A router's answer, if every index and offset in it exists in the question.
pub(crate) fn route(
    answer: Result<wit_route::Decision, wit::Denial>,
    request: &InferenceRequest,
    backends: &[Backend],
) -> Result<Result<RouteDecision, Denial>, Failure> {
    let mut text = Text(0);
    let decision = match answer {
        Ok(decision) => decision,
        Err(denial) => return Ok(Err(text.denial(denial)?)),
    };
    if decision.findings.len() > MAX_FINDINGS {
        return Err(invalid(format!("more than {MAX_FINDINGS} findings")));
    }
    let mut seen = vec![false; backends.len()];
    for index in &decision.order {
        match seen.get_mut(*index as usize) {
            Some(seen) if !*seen => *seen = true,
            Some(_) => return Err(invalid(format!("backend {index} is named twice"))),
            None => return Err(invalid(format!("backend {index} of {} backends", backends.len()))),
        }
    }
    let mut findings = Vec::with_capacity(decision.findings.len());
    for finding in decision.findings {
        let message = request.messages.get(finding.message as usize);
        let found = message.and_then(|message| message.text.get(finding.start as usize..finding.end as usize));
        if found.is_none() {
            return Err(invalid(format!(
                "bytes {}..{} of message {} do not exist",
                finding.start, finding.end, finding.message
            )));
        }
        findings.push(Finding {
            kind: text.words(finding.kind)?,
            message: finding.message,
            start: finding.start,
            end: finding.end,
        });
    }
    Ok(Ok(RouteDecision {
        sensitivity: match decision.sensitivity {
            wit_route::Sensitivity::Public => Sensitivity::Public,
            wit_route::Sensitivity::Internal => Sensitivity::Internal,
            wit_route::Sensitivity::Confidential => Sensitivity::Confidential,
            wit_route::Sensitivity::Restricted => Sensitivity::Restricted,
        },
        findings,
        order: decision.order,
        redact: decision.redact,
        reason: text.words(decision.reason)?,
    }))
}

pub(crate) fn workload<'a>(workload: &'a Workload, command: &'a [&'a str]) -> wit_launch::Workload<'a> {
    wit_launch::Workload { sandbox: &workload.sandbox, image: workload.image.as_deref(), command }
}

/// What a policy says about a start; paths are checked where they are put to use.
pub(crate) fn constraints(
    answer: Result<wit_launch::Constraints, String>,
) -> Result<Result<Constraints, String>, Failure> {
    let mut text = Text(0);
    let wit_launch::Constraints { read_only, read_write, user, strict } = match answer {
        Ok(constraints) => constraints,
        Err(reason) => return Ok(Err(text.words(reason)?)),
    };
    if read_only.len() > MAX_PATHS || read_write.len() > MAX_PATHS {
        return Err(invalid(format!("more than {MAX_PATHS} paths")));
    }
    for path in read_only.iter().chain(&read_write).chain(&user) {
        text.count(path.len())?;
    }
    Ok(Ok(Constraints { read_only, read_write, user, strict }))
}
