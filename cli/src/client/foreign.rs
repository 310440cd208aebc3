//! Answers of what stands in front of a gateway.

use openshell_api::Problem;

/// A problem for an answer that is none of the gateway's: a proxy's page, an unknown route of an older gateway.
pub(super) fn foreign(status: u16, location: Option<&str>, request: &str) -> Problem {
    let elsewhere = location.map(|location| {
        // The query of a login page holds what is nobody's business in a log.
        format!(", which leads to {}", location.split(['?', '#']).next().unwrap_or_default())
    });
    let detail =
        format!("{request} was answered with HTTP {status}{} and no explanation", elsewhere.unwrap_or_default());
    let guarded = location.is_some_and(is_cloudflare_access);
    let hint = match status {
        301..=308 if guarded => {
            "Cloudflare Access stands in front of the gateway: give a service token, with --service-token-file FILE of `openshell gateway add` \
             or `gateway login`"
        }
        401 | 403 => "something in front of the gateway refuses this: a service token may have ended, or may not do so",
        301..=308 => "something in front of the gateway wants a login of its own; see `openshell gateway login`",
        413 => "a proxy in front of the gateway limits what may be sent; with nginx: `client_max_body_size 64m`",
        502..=503 => "a proxy answers in the gateway's place: does the gateway run behind it?",
        504 => "a proxy in front of the gateway stopped waiting; the gateway goes on: see `openshell status`",
        _ => "are gateway and command line of the same version? see `openshell status`",
    };
    Problem::new(status, "foreign_answer", detail).hint(hint)
}

/// Whether this is a login page of Cloudflare Access.
fn is_cloudflare_access(location: &str) -> bool {
    let url = url::Url::parse(location).ok();
    url.is_some_and(|url| {
        let hosted = url.host_str().is_some_and(|host| host.ends_with(".cloudflareaccess.com"));
        hosted || url.path().starts_with("/cdn-cgi/access/")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_answer_is_told_from_the_gateways() {
        let check = |status: u16, location: Option<&str>, fact: &str, hint: &str| {
            let problem = foreign(status, location, "GET /v1/status");
            assert!(problem.detail.contains(fact), "{}", problem.detail);
            assert!(problem.hint.as_deref().is_some_and(|found| found.contains(hint)), "{:?}", problem.hint);
            assert_eq!(problem.is_impatience(), status == 504);
        };
        let login = Some("https://team.cloudflareaccess.com/login?token=secret#x");
        check(
            302,
            login,
            "leads to https://team.cloudflareaccess.com/login and no explanation",
            "--service-token-file",
        );
        check(302, Some("https://sso.test/login"), "leads to https://sso.test/login", "a login of its own");
        check(403, None, "HTTP 403", "a service token may have ended");
        check(413, None, "HTTP 413 and no explanation", "client_max_body_size");
        check(502, None, "HTTP 502", "does the gateway run behind it");
        check(504, None, "HTTP 504", "the gateway goes on");
        check(404, None, "HTTP 404", "of the same version");
    }
}
