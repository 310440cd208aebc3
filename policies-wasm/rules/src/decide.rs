//! The verdicts.

use openshell_policy_sdk::{Connection, Grant, HttpRequest, Inspection, Verdict};

use crate::Unlisted;
use crate::index::Index;
use crate::network::{Access, Endpoint, Level, Network};
use crate::operation::{self, Operation};

/// An endpoint that speaks of the connection, and the policy it stands in.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    network: &'a Network,
    endpoint: &'a Endpoint,
}

pub(crate) fn connect(index: &Index, networks: &[Network], unlisted: Unlisted, connection: &Connection) -> Verdict {
    match candidates(index, networks, connection) {
        Ok(candidates) => Verdict::Allow(grant(&candidates, candidates[0])),
        Err(denial) => denial.verdict(unlisted, connection),
    }
}

/// Many servers take empty segments of a path out (`//admin`), and others do not: both readings are judged, and the stricter
/// verdict holds.
pub(crate) fn request(
    index: &Index,
    networks: &[Network],
    unlisted: Unlisted,
    connection: &Connection,
    request: &HttpRequest,
) -> Verdict {
    let verdict = reading(index, networks, unlisted, connection, request);
    let Some(path) = without_empty_segments(&request.path) else { return verdict };
    let merged = reading(index, networks, unlisted, connection, &HttpRequest { path, ..request.clone() });
    match (verdict, merged) {
        (allowed @ Verdict::Allow(_), Verdict::Allow(Grant { audit: None, .. })) => allowed,
        (Verdict::Allow(_), stricter) => stricter,
        (verdict, _) => verdict,
    }
}

/// `None`: the path has none. One at its end is a path's own.
fn without_empty_segments(path: &str) -> Option<String> {
    if !path.contains("//") {
        return None;
    }
    let mut merged = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    Some(merged)
}

/// The verdict on one reading of a request.
fn reading(
    index: &Index,
    networks: &[Network],
    unlisted: Unlisted,
    connection: &Connection,
    request: &HttpRequest,
) -> Verdict {
    let mut candidates = match candidates(index, networks, connection) {
        Ok(candidates) => candidates,
        Err(denial) => return denial.verdict(unlisted, connection),
    };
    let listed = candidates[0];
    candidates.retain(|candidate| candidate.endpoint.covers(&request.path));
    let Some(&nearest) = candidates.first() else { return not_allowed(connection, request, listed) };

    let judged: Vec<_> = candidates.iter().map(|&candidate| Judged::read(candidate, request)).collect();
    if let Some((denial, audit)) = judged.iter().find_map(|judged| judged.denial(connection, request)) {
        return if audit { audited(denial, &candidates, nearest) } else { denial };
    }
    if let Some(allowing) = judged.iter().find(|judged| judged.allows(request)) {
        let credential = allowing.candidate.endpoint.credential.clone();
        return Verdict::Allow(Grant { credential, ..grant(&candidates, allowing.candidate) });
    }
    let denial = judged[0].not_allowed(connection, request);
    match candidates.iter().find(|candidate| candidate.endpoint.audit) {
        Some(&auditing) => audited(denial, &candidates, auditing),
        None => denial,
    }
}

/// An endpoint that speaks of a request, and what it takes the request to ask for.
struct Judged<'a> {
    candidate: Candidate<'a>,
    /// Empty where it judges the request as such. An error: why that can't be told.
    operations: Result<Vec<Operation>, String>,
}

impl<'a> Judged<'a> {
    fn read(candidate: Candidate<'a>, request: &HttpRequest) -> Self {
        let operations = match candidate.endpoint.level {
            Level::Operation(language) => operation::read(language, request),
            _ => Ok(Vec::new()),
        };
        Self { candidate, operations }
    }

    /// What a deny rule says, and whether it is only audited. What can't be told might be what a deny rule speaks of.
    fn denial(&self, connection: &Connection, request: &HttpRequest) -> Option<(Verdict, bool)> {
        let Candidate { network: Network { key, .. }, endpoint } = self.candidate;
        let operations = match &self.operations {
            Ok(operations) => operations,
            Err(_) if endpoint.has_deny_rules() => {
                return Some((self.not_allowed(connection, request), endpoint.audit));
            }
            Err(_) => return None,
        };
        let rule = endpoint.denying(request, operations)?;
        let what = subject(connection, request, operations);
        let reason = format!("{what} is denied by a deny rule of network_policies.{key}");
        let hint = "a deny rule wins over every allow: do without this request, or ask for the rule's removal";
        Some((Verdict::deny(format!("{key}.deny_rules[{rule}]"), reason).hint(hint), endpoint.audit))
    }

    fn allows(&self, request: &HttpRequest) -> bool {
        self.operations.as_ref().is_ok_and(|operations| self.candidate.endpoint.allows(request, operations))
    }

    fn not_allowed(&self, connection: &Connection, request: &HttpRequest) -> Verdict {
        let Candidate { network: Network { key, .. }, endpoint } = self.candidate;
        match (&self.operations, endpoint.level) {
            (Err(reason), _) => {
                let what = subject(connection, request, &[]);
                Verdict::deny(key.clone(), format!("{what} can't be judged by network_policies.{key}: {reason}"))
            }
            (Ok(operations), Level::Operation(language)) => {
                let refused = operations.iter().find(|asked| !endpoint.allows_operation(language, asked));
                operation_not_allowed(connection, request, self.candidate, refused)
            }
            _ => not_allowed(connection, request, self.candidate),
        }
    }
}

/// Why no endpoint speaks of a connection.
enum NotListed<'a> {
    Host,
    Port(Vec<Candidate<'a>>),
    Binary(Vec<Candidate<'a>>),
}

/// Endpoints that match host, port and binary, in the document's order; never an empty list.
fn candidates<'a>(
    index: &Index,
    networks: &'a [Network],
    connection: &Connection,
) -> Result<Vec<Candidate<'a>>, NotListed<'a>> {
    let at = |position: crate::index::Position| {
        let network = networks.get(position.network as usize)?;
        Some(Candidate { network, endpoint: network.endpoints.get(position.endpoint as usize)? })
    };
    let hosts: Vec<_> = index.of_host(&connection.host).into_iter().filter_map(at).collect();
    if hosts.is_empty() {
        return Err(NotListed::Host);
    }
    let mut ports = hosts.clone();
    ports.retain(|candidate| candidate.endpoint.ports.contains(&connection.port));
    if ports.is_empty() {
        return Err(NotListed::Port(hosts));
    }
    let mut binaries = ports.clone();
    binaries.retain(|candidate| candidate.network.lists(&connection.process));
    if binaries.is_empty() { Err(NotListed::Binary(ports)) } else { Ok(binaries) }
}

impl NotListed<'_> {
    fn verdict(self, unlisted: Unlisted, connection: &Connection) -> Verdict {
        if unlisted == Unlisted::Abstain {
            return Verdict::Abstain;
        }
        let Connection { host, port, process, .. } = connection;
        let executable = match process.executable.as_str() {
            "" => "an unknown executable",
            executable => executable,
        };
        match self {
            Self::Host => Verdict::deny("host-not-listed", format!("no network policy lists {host}")).hint(format!(
                "add `- {{ host: {host}, port: {port} }}` to the endpoints of a network policy whose binaries include {executable}"
            )),
            Self::Port(listed) => {
                let key = &listed[0].network.key;
                let reason = format!("network_policies.{key} lists {host}, but not port {port}");
                let hint = format!("add port {port} to the endpoint {} of network_policies.{key}", listed[0].endpoint.host);
                Verdict::deny("port-not-listed", reason).hint(hint)
            }
            Self::Binary(listed) => {
                if let Some(place) = listed.iter().find(|candidate| candidate.network.lists_place(process)) {
                    let key = &place.network.key;
                    let what = format!("network_policies.{key} lists {executable}, but not with this digest, script or ancestor");
                    let hint = "the record of this denial shows its digest and script";
                    return Verdict::deny("binary-not-listed", what).hint(hint);
                }
                let key = &listed[0].network.key;
                let reason = format!("{executable} is not among the binaries of network_policies.{key}");
                let hint = match process.executable.as_str() {
                    "" => "the calling process ended, or could not be identified: try again".to_owned(),
                    executable => format!("add `- path: {executable}` to the binaries of network_policies.{key}"),
                };
                Verdict::deny("binary-not-listed", reason).hint(hint)
            }
        }
    }
}

/// What all candidates together grant: the strictest inspection, every range.
fn grant(candidates: &[Candidate<'_>], by: Candidate<'_>) -> Grant {
    let levels = || candidates.iter().map(|candidate| candidate.endpoint.level);
    let inspection = if levels().any(Level::judges_requests) {
        Inspection::Required
    } else if levels().any(|level| level == Level::Connection) {
        Inspection::Automatic
    } else {
        Inspection::Opaque
    };
    let mut private_ranges: Vec<String> =
        candidates.iter().flat_map(|candidate| candidate.endpoint.private_ranges.iter().cloned()).collect();
    private_ranges.sort();
    private_ranges.dedup();
    Grant {
        rule: by.network.key.clone(),
        inspection,
        credential: None,
        private_ranges,
        headers: Vec::new(),
        audit: None,
    }
}

fn audited(denial: Verdict, candidates: &[Candidate<'_>], by: Candidate<'_>) -> Verdict {
    match denial.audited() {
        Verdict::Allow(audited) => Verdict::Allow(Grant {
            audit: audited.audit,
            credential: by.endpoint.credential.clone(),
            ..grant(candidates, by)
        }),
        other => other,
    }
}

fn not_allowed(connection: &Connection, request: &HttpRequest, nearest: Candidate<'_>) -> Verdict {
    let Candidate { network: Network { key, .. }, endpoint } = nearest;
    let HttpRequest { method, path, .. } = request;
    let reason = format!("{method} {path} on {} is not allowed by network_policies.{key}", authority(connection));
    let preset = endpoint.access.filter(|_| endpoint.covers(path)).and(wider(method));
    let hint = match preset {
        Some(preset) => {
            format!("use a method it allows, or set `access: {preset}` on the endpoint of network_policies.{key}")
        }
        None => format!(
            "add {method} {path} to network_policies.{key}: `- allow: {{ method: {method}, path: \"{path}\" }}` in the \
             rules of endpoint {}",
            endpoint.host
        ),
    };
    Verdict::deny(key.clone(), reason).hint(hint)
}

fn operation_not_allowed(
    connection: &Connection,
    request: &HttpRequest,
    nearest: Candidate<'_>,
    refused: Option<&Operation>,
) -> Verdict {
    let Candidate { network: Network { key, .. }, endpoint } = nearest;
    let what = subject(connection, request, refused.map(std::slice::from_ref).unwrap_or_default());
    let denial = Verdict::deny(key.clone(), format!("{what} is not allowed by network_policies.{key}"));
    match refused.and_then(Operation::rule) {
        Some(rule) => {
            denial.hint(format!("add `{rule}` to the rules of endpoint {} of network_policies.{key}", endpoint.host))
        }
        None => denial,
    }
}

/// What was asked for, for people.
fn subject(connection: &Connection, request: &HttpRequest, operations: &[Operation]) -> String {
    let place = format!("{} {} on {}", request.method, request.path, authority(connection));
    match operations {
        [] => place,
        [one] => format!("{} by {place}", one.describe()),
        [first, rest @ ..] => format!("{} and {} more by {place}", first.describe(), rest.len()),
    }
}

/// The narrowest preset with the method.
fn wider(method: &str) -> Option<&'static str> {
    [(Access::ReadOnly, "read-only"), (Access::ReadWrite, "read-write"), (Access::Full, "full")]
        .into_iter()
        .find(|(access, _)| access.allows(method))
        .map(|(_, word)| word)
}

fn authority(connection: &Connection) -> String {
    if connection.port == 443 { connection.host.clone() } else { format!("{}:{}", connection.host, connection.port) }
}
