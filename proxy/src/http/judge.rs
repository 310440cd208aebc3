//! Asks the enforced generation, records what it answered, and turns the answer into a permit, a grant or a refusal.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use openshell_api::decision::{DecisionRecord, Stage, Subject, Verdict};
use openshell_api::provider::CredentialRule;
use openshell_policy_host::{
    Connection, Decision, Grant, HeaderEdit, HttpRequest, HttpResponse, Inspection, Outcome, PolicyRef, View,
};

use super::permit::{self, Permit};
use super::refusal::{Cause, Refusal};
use super::{account, address, trace};
use crate::active::Active;
use crate::caller::Caller;
use crate::record::Record;

/// One enforced generation, as the proxy needs it.
pub trait Decide: Send + Sync {
    /// Its number.
    fn generation(&self) -> u64;
    /// Decides about a connection.
    fn connect(&self, connection: &Connection, view: &Arc<dyn View>) -> Decision;
    /// Decides about a request.
    fn request(&self, connection: &Connection, request: &HttpRequest, view: &Arc<dyn View>) -> Decision;
    /// Decides about a response; `None`: no policy wants to see responses.
    fn response(
        &self,
        connection: &Connection,
        request: &HttpRequest,
        response: HttpResponse,
        view: &dyn Fn() -> Arc<dyn View>,
    ) -> Option<Decision>;
    /// Whether any policy wants to see responses.
    fn watches_responses(&self) -> bool;
    /// Longest request body that a policy may want to see, in bytes.
    fn body_cap(&self) -> u32;
    /// The same for this request, of which `view` shows all but the body: 0 where nobody will ask for it.
    fn body_wanted(&self, connection: &Connection, request: &HttpRequest, view: &Arc<dyn View>) -> u32;
    /// Where and how credentials may be attached, by name.
    fn credentials(&self) -> &BTreeMap<String, CredentialRule>;
}

/// Says which generation is enforced now.
pub trait Enforced: Send + Sync {
    /// The generation that a request starting now belongs to, until it ends.
    fn now(&self) -> Arc<dyn Decide>;
}

impl<D: Decide + 'static> Enforced for ArcSwap<D> {
    fn now(&self) -> Arc<dyn Decide> {
        self.load_full()
    }
}

impl Decide for Active {
    fn generation(&self) -> u64 {
        self.generation
    }
    fn connect(&self, connection: &Connection, view: &Arc<dyn View>) -> Decision {
        self.chains.connect(connection, view)
    }
    fn request(&self, connection: &Connection, request: &HttpRequest, view: &Arc<dyn View>) -> Decision {
        self.chains.request(connection, request, view)
    }
    fn response(
        &self,
        connection: &Connection,
        request: &HttpRequest,
        response: HttpResponse,
        view: &dyn Fn() -> Arc<dyn View>,
    ) -> Option<Decision> {
        self.chains.watches_responses().then(|| self.chains.response(connection, request, response, &view()))
    }
    fn watches_responses(&self) -> bool {
        self.chains.watches_responses()
    }
    fn body_cap(&self) -> u32 {
        self.chains.body_cap()
    }
    fn body_wanted(&self, connection: &Connection, request: &HttpRequest, view: &Arc<dyn View>) -> u32 {
        self.chains.body_wanted(connection, request, view)
    }
    fn credentials(&self) -> &BTreeMap<String, CredentialRule> {
        &self.credentials
    }
}

/// What every decision about one connection has in common.
pub(super) struct Facts {
    pub(super) connection: Connection,
    pub(super) caller: Arc<Caller>,
    /// What policies may see of it before there is a request.
    pub(super) view: Arc<dyn View>,
    pub(super) recorder: Arc<dyn Record>,
}

/// What was allowed and lives on.
pub(super) struct Lasting {
    /// The request, where one was judged.
    pub(super) request: Option<(HttpRequest, Arc<dyn View>)>,
    /// What the grant said of a connection whose bytes are not judged; `None`: there is a request.
    pub(super) inspection: Option<Inspection>,
    /// Where it leads.
    pub(super) address: IpAddr,
}

impl Lasting {
    /// Why it could not have begun under this grant: its bytes would be judged, or its address not be dialled.
    fn outgrown(&self, grant: &Grant) -> Option<(Cause, String)> {
        let judges_more = |before| match grant.inspection {
            Inspection::Required => true,
            Inspection::Automatic => before == Inspection::Opaque,
            Inspection::Opaque => false,
        };
        if self.inspection.is_some_and(judges_more) {
            let detail = "the grant wants requests judged that this connection's bytes may hold".to_owned();
            return Some((Cause::InspectionRequired, detail));
        }
        let address = self.address;
        let ranges: Vec<_> = grant.private_ranges.iter().filter_map(|text| permit::range(text).ok()).collect();
        let forbidden = address::check(address, &ranges).is_err();
        forbidden.then(|| (Cause::SsrfDenied, format!("it leads to {address}, which is not granted any more")))
    }
}

/// A request's grant, and the record that is kept once its outcome is known.
pub(super) struct Granted {
    pub(super) grant: Grant,
    pub(super) by: Option<PolicyRef>,
    pub(super) record: Pending,
}

/// A record that still lacks the status. Kept when dropped, whatever happens to the request.
pub(super) struct Pending {
    record: Option<Box<DecisionRecord>>,
    recorder: Arc<dyn Record>,
}

impl Facts {
    /// May this process reach this host and port? Nothing is looked up or dialled before this has said so.
    pub(super) fn connect(&self, decide: &dyn Decide) -> Result<Permit, Refusal> {
        let decision = decide.connect(&self.connection, &self.view);
        let mut record = self.record(Stage::Connect, decide.generation(), &decision);
        let permit = settle(decision.outcome, &decision.by, &record)
            .and_then(|grant| self.permit(&grant, &decision.by, &mut record));
        self.keep(record, permit.as_ref().err());
        permit
    }

    fn permit(&self, grant: &Grant, by: &Option<PolicyRef>, record: &mut DecisionRecord) -> Result<Permit, Refusal> {
        let Connection { host, port, .. } = &self.connection;
        describe_grant(record, grant);
        Permit::from_grant(host, *port, grant, record.generation).map_err(|error| Refusal {
            rule: Some(grant.rule.clone()),
            policy: by.clone(),
            ..refusal(Cause::PolicyFailed, error.to_string(), record)
        })
    }

    /// May it make this request? The record is kept when the answer's status is known.
    pub(super) fn request(
        &self,
        decide: &dyn Decide,
        request: &HttpRequest,
        view: &Arc<dyn View>,
        body_bytes: Option<u64>,
    ) -> Result<Granted, Refusal> {
        let decision = decide.request(&self.connection, request, view);
        let mut record = self.record(Stage::Request, decide.generation(), &decision);
        about(&mut record, request, &**view, body_bytes);
        match settle(decision.outcome, &decision.by, &record) {
            Ok(grant) => {
                describe_grant(&mut record, &grant);
                let record = Pending { record: Some(record), recorder: Arc::clone(&self.recorder) };
                Ok(Granted { grant, by: decision.by, record })
            }
            Err(refusal) => {
                self.keep(record, Some(&refusal));
                Err(refusal)
            }
        }
    }

    /// May this response pass, and with which edits of its headers? `None`: no policy looked.
    pub(super) fn response(
        &self,
        decide: &dyn Decide,
        request: &HttpRequest,
        response: HttpResponse,
        view: &dyn Fn() -> Arc<dyn View>,
    ) -> Option<Result<Vec<HeaderEdit>, Refusal>> {
        let decision = decide.response(&self.connection, request, response, view)?;
        let mut record = self.record(Stage::Response, decide.generation(), &decision);
        about(&mut record, request, &*view(), None);
        record.status = Some(response.status);
        let settled = match decision.outcome {
            // Nobody objects: a response passes.
            Outcome::Unanswered => {
                record.verdict = Verdict::Allow;
                Ok(Vec::new())
            }
            outcome => settle(outcome, &decision.by, &record).map(|grant| {
                describe_grant(&mut record, &grant);
                grant.headers
            }),
        };
        self.keep(record, settled.as_ref().err());
        Some(settled)
    }

    /// Asks a new generation about something that lives on. Records a denial, which is to be cut.
    pub(super) fn reevaluate(&self, decide: &dyn Decide, lasting: &Lasting) -> bool {
        let mut decision = decide.connect(&self.connection, &self.view);
        let granted = match &decision.outcome {
            Outcome::Allow(grant) => Some(grant.clone()),
            _ => None,
        };
        if let (Some(_), Some((request, view))) = (&granted, &lasting.request) {
            decision = decide.request(&self.connection, request, view);
        }
        let mut record = self.record(Stage::Reevaluate, decide.generation(), &decision);
        if let Some((request, view)) = &lasting.request {
            about(&mut record, request, &**view, None);
        }
        let settled = settle(decision.outcome, &decision.by, &record);
        let settled = settled.and_then(|_| match granted.as_ref().and_then(|grant| lasting.outgrown(grant)) {
            None => Ok(()),
            Some((cause, detail)) => Err(Refusal { policy: decision.by, ..refusal(cause, detail, &record) }),
        });
        match settled {
            Ok(()) => true,
            Err(refusal) => {
                self.keep(record, Some(&refusal));
                false
            }
        }
    }

    /// The host's own refusal, recorded.
    pub(super) fn refuse(&self, stage: Stage, generation: u64, cause: Cause, detail: String) -> Refusal {
        self.refuse_address(stage, generation, cause, detail, None)
    }

    /// The same, about an address that must not be dialled.
    pub(super) fn refuse_address(
        &self,
        stage: Stage,
        generation: u64,
        cause: Cause,
        detail: String,
        address: Option<IpAddr>,
    ) -> Refusal {
        let mut record = self.blank(stage, generation);
        record.address = address.map(|address| address.to_string());
        let refusal = refusal(cause, detail, &record);
        self.keep(record, Some(&refusal));
        refusal
    }

    /// Something seen of a connection that nobody refused, recorded under this code.
    pub(super) fn remark(&self, stage: Stage, generation: u64, code: &str, detail: String) {
        let mut record = self.blank(stage, generation);
        record.verdict = Verdict::Allow;
        record.error = Some(code.to_owned());
        record.reason = Some(detail);
        self.keep(record, None);
    }

    fn record(&self, stage: Stage, generation: u64, decision: &Decision) -> Box<DecisionRecord> {
        let mut record = self.blank(stage, generation);
        record.decision_ns = u64::try_from(decision.elapsed.as_nanos()).unwrap_or(u64::MAX);
        record.memoized = decision.memoized;
        record.asked = Some(account::connection(&self.connection, &self.caller, decision));
        account::votes(&mut record, decision);
        if let Some(by) = &decision.by {
            record.policy = Some(by.name_version.clone());
            record.digest = Some(by.digest.clone());
        }
        record
    }

    fn blank(&self, stage: Stage, generation: u64) -> Box<DecisionRecord> {
        let Connection { sandbox, host, port, .. } = &self.connection;
        let process = self.caller.record();
        Box::new(DecisionRecord::unanswered(Subject { sandbox, process, host, port: *port }, stage, generation))
    }

    fn keep(&self, mut record: Box<DecisionRecord>, refusal: Option<&Refusal>) {
        if let Some(refusal) = refusal {
            deny(&mut record, refusal);
        }
        self.recorder.record(&record);
    }
}

impl Pending {
    /// The request was answered with this status.
    pub(super) fn answered(mut self, status: u16) {
        self.record().answered(status);
    }

    /// Headers on their way upstream name this decision as what they come of, if the caller's named a trace.
    pub(super) fn go_on(&self, headers: &mut http::HeaderMap) {
        if let Some(record) = self.record.as_ref().filter(|record| record.trace.is_some()) {
            trace::go_on(headers, record);
        }
    }

    /// The policies allowed it, but the host can't honour the grant.
    pub(super) fn refuse(mut self, cause: Cause, detail: String, by: Option<PolicyRef>) -> Refusal {
        let record = self.record();
        let refusal = Refusal { policy: by, rule: record.rule.clone(), ..refusal(cause, detail, record) };
        deny(record, &refusal);
        refusal
    }

    /// Id of the record.
    pub(super) fn id(&self) -> &str {
        self.record.as_ref().map_or("", |record| &record.id)
    }

    fn record(&mut self) -> &mut DecisionRecord {
        self.record.as_mut().expect("only dropping takes it")
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.recorder.record(&record);
        }
    }
}

/// The request that was judged, as far as a record may hold it.
fn about(record: &mut DecisionRecord, request: &HttpRequest, headers: &dyn View, body_bytes: Option<u64>) {
    record.method = Some(request.method.clone());
    record.path = Some(request.path.clone());
    record.trace = headers.header(trace::TRACEPARENT.as_str()).and_then(|value| trace::read(&value));
    if let Some(asked) = &mut record.asked {
        account::request(asked, request, headers, body_bytes);
    }
}

fn describe_grant(record: &mut DecisionRecord, grant: &Grant) {
    record.verdict = Verdict::Allow;
    record.rule = Some(grant.rule.clone());
    record.credential.clone_from(&grant.credential);
    record.audit = grant.audit.as_ref().map(|denial| denial.reason.clone());
}

fn deny(record: &mut DecisionRecord, refusal: &Refusal) {
    record.verdict = Verdict::Deny;
    record.error = Some(refusal.cause.code().to_owned());
    record.rule.clone_from(&refusal.rule);
    record.reason = Some(refusal.detail.clone());
    record.hint.clone_from(&refusal.hint);
    if record.stage != Stage::Connect {
        record.status.get_or_insert(refusal.cause.status().as_u16());
    }
}

fn refusal(cause: Cause, detail: String, record: &DecisionRecord) -> Refusal {
    Refusal {
        cause,
        detail,
        layer: record.stage,
        policy: None,
        rule: None,
        hint: None,
        generation: record.generation,
        decision: record.id.clone(),
    }
}

/// Allow gives its grant; everything else is a refusal with its own reason.
fn settle(outcome: Outcome, by: &Option<PolicyRef>, record: &DecisionRecord) -> Result<Grant, Refusal> {
    let refused = |cause, detail| Refusal { policy: by.clone(), ..refusal(cause, detail, record) };
    Err(match outcome {
        Outcome::Allow(grant) => return Ok(grant),
        Outcome::Deny(denial) => {
            Refusal { rule: Some(denial.rule), hint: denial.hint, ..refused(Cause::PolicyDenied, denial.reason) }
        }
        Outcome::Failed(failure) => refused(Cause::PolicyFailed, failure.to_string()),
        Outcome::Conflict(detail) => refused(Cause::PolicyFailed, detail),
        Outcome::Unanswered => Refusal {
            hint: Some(
                "ask the sandbox's owner to allow it: openshell policy set <sandbox> --policy rules.yaml".to_owned(),
            ),
            ..refused(Cause::PolicyDenied, unanswered(record))
        },
    })
}

fn unanswered(record: &DecisionRecord) -> String {
    let program = match record.process.executable.as_str() {
        "" => "this program",
        executable => executable,
    };
    match (&record.method, &record.path) {
        (Some(method), Some(path)) => {
            format!("no policy allows {program} to {method} {path} at {}:{}", record.host, record.port)
        }
        _ => format!("no policy allows {program} to reach {}:{}", record.host, record.port),
    }
}
