//! The Open Cybersecurity Schema Framework, <https://schema.ocsf.io/1.6.0>: HTTP Activity (4002) where a decision was about a request,
//! else Network Activity (4001), with the profiles `security_control` and `host`.

use openshell_api::decision::{DecisionRecord, Stage, Verdict};
use openshell_api::word;
use serde_json::{Map, Value, json};

use super::{named, sentence};

const VERSION: &str = "1.6.0";
const NETWORK_CATEGORY: u32 = 4;
const NETWORK_ACTIVITY: u32 = 4001;
const HTTP_ACTIVITY: u32 = 4002;
const OTHER: u32 = 99;
/// Of a fingerprint.
const SHA_256: u32 = 3;
/// Of a file.
const REGULAR_FILE: u32 = 1;

/// A decision as an event.
pub(super) fn event(record: &DecisionRecord) -> Value {
    let denied = record.verdict == Verdict::Deny;
    let (class, activity) = match &record.method {
        Some(method) => (HTTP_ACTIVITY, method_id(method)),
        // Open, Reset, Refuse.
        None => (
            NETWORK_ACTIVITY,
            match (denied, record.stage) {
                (false, _) => 1,
                (true, Stage::Reevaluate) => 3,
                (true, _) => 5,
            },
        ),
    };
    let mut event = json!({
        "activity_id": activity,
        "category_uid": NETWORK_CATEGORY,
        "class_uid": class,
        "type_uid": class * 100 + activity,
        "time": record.at.as_millisecond(),
        // Informational, medium.
        "severity_id": if denied { 3 } else { 1 },
        // Success, failure.
        "status_id": if denied { 2 } else { 1 },
        "message": sentence(record),
        "metadata": {
            "version": VERSION,
            "uid": record.id,
            "profiles": ["security_control", "host"],
            "product": { "name": "OpenShell", "vendor_name": "OpenShell", "version": env!("CARGO_PKG_VERSION") },
        },
        // Allowed, denied; allowed, blocked.
        "action_id": if denied { 2 } else { 1 },
        "disposition_id": if denied { 2 } else { 1 },
        "is_alert": denied,
        "actor": { "process": process(record) },
        // A sandbox is a machine to what runs in it: "Other" among the kinds of devices.
        "device": { "type_id": OTHER, "type": "Sandbox", "name": record.sandbox },
        "src_endpoint": { "name": record.sandbox },
        "dst_endpoint": destination(record),
        "unmapped": unmapped(record),
    });
    let mut set = |key: &str, value: Option<Value>| {
        if let (Some(value), Some(event)) = (value, event.as_object_mut()) {
            event.insert(key.to_owned(), value);
        }
    };
    if activity == OTHER {
        set("activity_name", record.method.as_deref().map(Value::from));
    }
    set("status_code", record.error.as_deref().map(Value::from));
    set("status_detail", record.reason.as_deref().map(Value::from));
    set("firewall_rule", record.rule.as_ref().map(|rule| json!({ "name": rule })));
    set("policy", record.policy.as_deref().map(|policy| policy_object(policy, record.digest.as_deref())));
    set("http_request", record.method.as_deref().map(|method| request(record, method)));
    set("http_response", record.status.filter(|_| record.method.is_some()).map(|status| json!({ "code": status })));
    event
}

fn method_id(method: &str) -> u32 {
    match method {
        "CONNECT" => 1,
        "DELETE" => 2,
        "GET" => 3,
        "HEAD" => 4,
        "OPTIONS" => 5,
        "POST" => 6,
        "PUT" => 7,
        "TRACE" => 8,
        "PATCH" => 9,
        _ => OTHER,
    }
}

fn process(record: &DecisionRecord) -> Value {
    let process = &record.process;
    let mut object = json!({ "pid": process.pid });
    if !process.executable.is_empty() {
        let name = process.executable.rsplit('/').next().unwrap_or_default();
        object["name"] = name.into();
        object["file"] = json!({ "name": name, "path": process.executable, "type_id": REGULAR_FILE });
        if !process.digest.is_empty() {
            object["file"]["hashes"] = json!([{ "algorithm_id": SHA_256, "value": process.digest }]);
        }
    }
    object
}

fn destination(record: &DecisionRecord) -> Value {
    let mut endpoint = json!({ "port": record.port });
    let (key, ip) = match record.host.parse::<std::net::IpAddr>() {
        Ok(_) => ("ip", None),
        Err(_) => ("hostname", record.address.as_deref()),
    };
    endpoint[key] = record.host.as_str().into();
    if let Some(ip) = ip {
        endpoint["ip"] = ip.into();
    }
    endpoint
}

fn policy_object(policy: &str, digest: Option<&str>) -> Value {
    let (name, version) = named(policy);
    let mut object = json!({ "name": name });
    if let Some(version) = version {
        object["version"] = version.into();
    }
    if let Some(digest) = digest {
        object["uid"] = digest.into();
    }
    object
}

fn request(record: &DecisionRecord, method: &str) -> Value {
    let mut url = json!({ "hostname": record.host, "port": record.port });
    if let Some(path) = &record.path {
        url["path"] = path.as_str().into();
    }
    let asked = record.asked.as_ref();
    if let Some(scheme) = asked.and_then(|asked| asked.scheme.as_deref()) {
        url["scheme"] = scheme.into();
    }
    let mut request = json!({ "http_method": method, "url": url });
    let agent = asked.and_then(|asked| asked.headers.iter().find(|(name, _)| name == "user-agent"));
    if let Some((_, agent)) = agent {
        request["user_agent"] = agent.as_str().into();
    }
    request
}

/// What the schema has no place for.
fn unmapped(record: &DecisionRecord) -> Value {
    let mut rest = Map::new();
    rest.insert("generation".into(), record.generation.into());
    rest.insert("stage".into(), word(&record.stage).into());
    rest.insert("decision_ns".into(), record.decision_ns.into());
    let texts = [("hint", &record.hint), ("credential", &record.credential), ("audit", &record.audit)];
    rest.extend(texts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.as_deref()?.into()))));
    if let Some(route) = record.route.as_ref().and_then(|route| serde_json::to_value(route).ok()) {
        rest.insert("route".into(), route);
    }
    rest.into()
}
