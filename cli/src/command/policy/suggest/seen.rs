//! What a sandbox did, by endpoint and program.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use openshell_api::decision::{AnswerKind, DecisionRecord, Stage, Verdict};

/// Paths kept of one endpoint and program.
const MAX_PATHS: usize = 200;
/// Addresses of clouds' metadata services: no suggestion opens them.
const METADATA: [&str; 4] = ["169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"];

/// Everything seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// By host, port and program.
    pub uses: BTreeMap<(String, u16, String), Use>,
    /// Private addresses that names turned out to have, and that stayed refused.
    pub private: BTreeMap<(String, u16), BTreeSet<IpAddr>>,
    /// Metadata addresses asked for.
    pub metadata: BTreeSet<IpAddr>,
    /// What was refused on purpose, by somebody's rule: `host:port` and the rule.
    pub refused: BTreeMap<(String, String), u64>,
    /// Programs that could not be identified.
    pub unknown_programs: u64,
    /// Decisions that count.
    pub decisions: u64,
    /// The first and the last of them.
    pub span: Option<(jiff::Timestamp, jiff::Timestamp)>,
}

/// What one program did at one endpoint.
#[derive(Debug, Default)]
pub struct Use {
    /// Connections, allowed or not.
    pub connections: u64,
    /// Of them, those that were let through.
    pub connected: u64,
    /// HTTP requests by method.
    pub methods: BTreeMap<String, u64>,
    /// HTTP requests by method and path, with what looks like an identifier replaced by `*`.
    pub paths: BTreeMap<(String, String), u64>,
    /// There were more paths than are kept.
    pub more_paths: bool,
}

impl Seen {
    /// Takes a record into account.
    pub fn add(&mut self, record: &DecisionRecord) {
        let endpoint = (record.host.clone(), record.port);
        match record.stage {
            Stage::Dial => {
                let address = record.address.as_deref().and_then(|address| address.parse::<IpAddr>().ok());
                match address {
                    Some(address) if METADATA.contains(&address.to_string().as_str()) => {
                        self.metadata.insert(address);
                    }
                    Some(address) => {
                        self.private.entry(endpoint).or_default().insert(address);
                    }
                    None => {}
                }
                return;
            }
            Stage::Connect | Stage::Request => {}
            Stage::Response | Stage::Route | Stage::Reevaluate => return,
        }
        if record.asked.is_none() {
            return;
        }
        let denying = record.votes.iter().find(|vote| vote.answer == AnswerKind::Deny && !lists(vote.rule.as_deref()));
        if let (Verdict::Deny, Some(vote)) = (record.verdict, denying) {
            let rule = format!("{} of {}", vote.rule.as_deref().unwrap_or("a rule"), vote.policy);
            *self.refused.entry((format!("{}:{}", record.host, record.port), rule)).or_default() += 1;
            return;
        }
        self.decisions += 1;
        let (first, last) = self.span.unwrap_or((record.at, record.at));
        self.span = Some((first.min(record.at), last.max(record.at)));
        let program = record.process.executable.clone();
        if program.is_empty() || program.contains('*') {
            self.unknown_programs += 1;
            return;
        }
        let uses = self.uses.entry((record.host.clone(), record.port, program)).or_default();
        match (&record.method, &record.path) {
            (Some(method), Some(path)) => uses.request(method, path),
            _ => {
                uses.connections += 1;
                uses.connected += u64::from(record.verdict == Verdict::Allow);
            }
        }
    }
}

/// Whether a denial only says that nothing lists what was asked for: the missing rule, rather than a refusal.
fn lists(rule: Option<&str>) -> bool {
    matches!(rule, Some("host-not-listed" | "port-not-listed" | "binary-not-listed"))
}

impl Use {
    fn request(&mut self, method: &str, path: &str) {
        *self.methods.entry(method.to_owned()).or_default() += 1;
        let key = (method.to_owned(), general(path));
        if self.paths.len() < MAX_PATHS || self.paths.contains_key(&key) {
            *self.paths.entry(key).or_default() += 1;
        } else {
            self.more_paths = true;
        }
    }

    /// How many requests it made.
    pub fn requests(&self) -> u64 {
        self.methods.values().sum()
    }
}

/// A path with numbers, UUIDs, digests and the like replaced by `*`.
pub fn general(path: &str) -> String {
    let segment = |segment: &str| {
        let hex = segment.len() >= 8 && segment.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        let digits = segment.bytes().filter(u8::is_ascii_digit).count();
        let number = !segment.is_empty() && digits == segment.len();
        let long = segment.len() >= 20 && digits >= 4 && !segment.contains('.');
        if number || (hex && digits > 0) || long || segment.contains('*') { "*".to_owned() } else { segment.to_owned() }
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}
