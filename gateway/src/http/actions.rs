//! What each call is called where permissions and the audit trail speak of it.

use axum::http::Method;

/// Calls that change something, or reach into a sandbox.
pub(super) const ACTIONS: [(&str, &str, &str); 44] = [
    ("POST", "/v1/modules", "module.upload"),
    ("POST", "/v1/pushes", "policy.push"),
    ("PUT", "/v1/ceiling", "ceiling.set"),
    ("POST", "/v1/sandboxes", "sandbox.create"),
    ("DELETE", "/v1/sandboxes/{name}", "sandbox.delete"),
    ("POST", "/v1/sandboxes/{name}/stop", "sandbox.stop"),
    ("POST", "/v1/sandboxes/{name}/start", "sandbox.start"),
    ("POST", "/v1/sandboxes/{name}/verify", "sandbox.verify"),
    ("GET", "/v1/sandboxes/{name}/streams", "sandbox.stream"),
    ("POST", "/v1/sandboxes/{name}/rollback", "policy.rollback"),
    ("POST", "/v1/sandboxes/{name}/promote", "policy.promote"),
    ("PUT", "/v1/sandboxes/{name}/inference", "inference.set"),
    ("DELETE", "/v1/sandboxes/{name}/inference/sessions", "sessions.reset"),
    ("POST", "/v1/proposals/{id}/approve", "proposal.approve"),
    ("POST", "/v1/proposals/{id}/reject", "proposal.reject"),
    ("POST", "/v1/rollouts/{id}/promote", "rollout.promote"),
    ("POST", "/v1/rollouts/{id}/rollback", "rollout.rollback"),
    ("POST", "/v1/publishers", "publisher.add"),
    ("DELETE", "/v1/publishers/{name}", "publisher.remove"),
    ("POST", "/v1/runtimes", "runtime.add"),
    ("PUT", "/v1/runtimes/{name}", "runtime.set"),
    ("DELETE", "/v1/runtimes/{name}", "runtime.remove"),
    ("POST", "/v1/exports", "export.add"),
    ("DELETE", "/v1/exports/{name}", "export.remove"),
    ("POST", "/v1/providers", "provider.create"),
    ("PUT", "/v1/providers/{name}", "provider.update"),
    ("DELETE", "/v1/providers/{name}", "provider.delete"),
    ("PUT", "/v1/provider-types/{name}", "provider_type.set"),
    ("DELETE", "/v1/provider-types/{name}", "provider_type.delete"),
    ("POST", "/v1/keys/rotate", "keys.rotate"),
    ("POST", "/v1/authority/turn", "authority.turn"),
    ("POST", "/v1/authority/finish", "authority.finish"),
    ("POST", "/v1/signing-key/turn", "signing_key.turn"),
    ("POST", "/v1/signing-key/finish", "signing_key.finish"),
    ("POST", "/v1/inference/backends", "backend.add"),
    ("PUT", "/v1/inference/backends/{name}", "backend.set"),
    ("DELETE", "/v1/inference/backends/{name}", "backend.remove"),
    ("POST", "/v1/inference/backends/{name}/test", "backend.test"),
    ("POST", "/v1/users", "user.create"),
    ("PUT", "/v1/users/{name}", "user.update"),
    ("DELETE", "/v1/users/{name}", "user.delete"),
    ("PUT", "/v1/users/{name}/budgets", "budgets.set"),
    ("POST", "/v1/users/{name}/tokens", "token.create"),
    ("DELETE", "/v1/tokens/{id}", "token.revoke"),
];

/// Name of a call; `read` for those that only look.
pub(super) fn of(method: &Method, path: &str) -> Option<&'static str> {
    // A HEAD is answered by whatever answers GET.
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let named = ACTIONS.iter().find(|(verb, template, _)| method == verb && path == *template);
    named.map(|(_, _, action)| *action).or_else(|| (*method == Method::GET).then_some("read"))
}
