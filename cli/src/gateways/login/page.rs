//! The two pages that a login shows in the browser. They load nothing, run nothing, and can't be framed.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode};

/// What every answer of ours is.
pub type Answer = Response<Full<Bytes>>;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:12vh auto;padding:0 1em;color:#1b1f24;\
background:#fff}code{font:700 2em ui-monospace,monospace;letter-spacing:.08em;display:block;margin:.6em 0}\
a.go{display:inline-block;padding:.6em 1.4em;border-radius:.4em;background:#1f5fbf;color:#fff;text-decoration:none}\
small{color:#57606a}@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}small{color:#8d96a0}}";

/// Before the provider is asked: does the terminal show the same code?
pub fn confirm(gateway: &str, code: &str, go: &str) -> String {
    page(
        "Log in to OpenShell",
        &format!(
            "<p>A command line on this machine wants to log in to the gateway <b>{}</b>.</p>\
             <p>Go on only if your terminal shows this code:</p><code id=\"code\">{}</code>\
             <p><a class=\"go\" id=\"go\" href=\"{}\">It does: log in</a></p>\
             <p><small>It does not? Close this page: somebody else began this.</small></p>",
            escaped(gateway),
            escaped(code),
            escaped(go)
        ),
    )
}

/// In the end.
pub fn done(code: &str) -> String {
    page(
        "Logged in",
        &format!(
            "<p>You can close this page and go back to the terminal that shows</p><code id=\"code\">{}</code>",
            escaped(code)
        ),
    )
}

/// When it came to nothing.
pub fn failed(why: &str) -> String {
    page(
        "Not logged in",
        &format!("<p id=\"why\">{}</p><p><small>Begin again in the terminal.</small></p>", escaped(why)),
    )
}

/// An answer that is kept nowhere.
pub fn answer(status: StatusCode, html: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(html)));
    *answer.status_mut() = status;
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        (
            "content-security-policy",
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
        ),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-opener-policy", "same-origin"),
        ("connection", "close"),
    ] {
        answer.headers_mut().insert(name, hyper::header::HeaderValue::from_static(value));
    }
    answer
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style>\
         <h1>{title}</h1>{body}</html>"
    )
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
        escaped
    })
}
