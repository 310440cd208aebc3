//! Help and the refusal of command lines, as people see them.

mod common;

use common::Home;

#[test]
fn help_of_every_command() {
    let home = Home::new();
    for (name, words) in [
        ("openshell", ""),
        ("gateway", "gateway"),
        ("gateway-start", "gateway start"),
        ("gateway-stop", "gateway stop"),
        ("gateway-status", "gateway status"),
        ("gateway-add", "gateway add"),
        ("gateway-list", "gateway list"),
        ("gateway-select", "gateway select"),
        ("gateway-login", "gateway login"),
        ("gateway-logout", "gateway logout"),
        ("gateway-remove", "gateway remove"),
        ("gateway-upgrade", "gateway upgrade"),
        ("sandbox", "sandbox"),
        ("sandbox-create", "sandbox create"),
        ("sandbox-list", "sandbox list"),
        ("sandbox-get", "sandbox get"),
        ("sandbox-verify", "sandbox verify"),
        ("sandbox-exec", "sandbox exec"),
        ("sandbox-ssh-config", "sandbox ssh-config"),
        ("sandbox-logs", "sandbox logs"),
        ("sandbox-delete", "sandbox delete"),
        ("policy", "policy"),
        ("policy-new", "policy new"),
        ("policy-build", "policy build"),
        ("policy-test", "policy test"),
        ("policy-inspect", "policy inspect"),
        ("policy-keygen", "policy keygen"),
        ("policy-sign", "policy sign"),
        ("policy-status", "policy status"),
        ("policy-pull", "policy pull"),
        ("policy-push", "policy push"),
        ("policy-list", "policy list"),
        ("policy-history", "policy history"),
        ("policy-rollback", "policy rollback"),
        ("policy-set", "policy set"),
        ("policy-get", "policy get"),
        ("policy-bench", "policy bench"),
        ("policy-replay", "policy replay"),
        ("policy-diff", "policy diff"),
        ("policy-explain", "policy explain"),
        ("policy-suggest", "policy suggest"),
        ("policy-shadow-report", "policy shadow-report"),
        ("policy-promote", "policy promote"),
        ("gateway-trust", "gateway trust"),
        ("gateway-trust-add", "gateway trust add"),
        ("gateway-trust-list", "gateway trust list"),
        ("gateway-trust-remove", "gateway trust remove"),
        ("runtime", "runtime"),
        ("runtime-add", "runtime add"),
        ("runtime-update", "runtime update"),
        ("export", "export"),
        ("export-add", "export add"),
        ("proposal", "proposal"),
        ("proposal-list", "proposal list"),
        ("proposal-show", "proposal show"),
        ("proposal-approve", "proposal approve"),
        ("proposal-reject", "proposal reject"),
        ("provider", "provider"),
        ("provider-create", "provider create"),
        ("provider-list", "provider list"),
        ("provider-get", "provider get"),
        ("provider-update", "provider update"),
        ("provider-delete", "provider delete"),
        ("provider-type", "provider type"),
        ("provider-type-set", "provider type set"),
        ("gateway-rotate-keys", "gateway rotate-keys"),
        ("gateway-rotate-ca", "gateway rotate-ca"),
        ("gateway-rotate-signing-key", "gateway rotate-signing-key"),
        ("inference", "inference"),
        ("inference-explain", "inference explain"),
        ("inference-usage", "inference usage"),
        ("inference-rules", "inference rules"),
        ("inference-session", "inference session"),
        ("inference-session-list", "inference session list"),
        ("inference-session-reset", "inference session reset"),
        ("inference-backend", "inference backend"),
        ("inference-backend-add", "inference backend add"),
        ("inference-backend-set", "inference backend set"),
        ("inference-backend-test", "inference backend test"),
        ("inference-backend-list", "inference backend list"),
        ("inference-backend-remove", "inference backend remove"),
        ("user", "user"),
        ("user-create", "user create"),
        ("user-list", "user list"),
        ("user-update", "user update"),
        ("user-budget", "user budget"),
        ("user-delete", "user delete"),
        ("user-whoami", "user whoami"),
        ("token", "token"),
        ("token-create", "token create"),
        ("token-list", "token list"),
        ("token-revoke", "token revoke"),
        ("audit", "audit"),
        ("audit-list", "audit list"),
        ("audit-verify", "audit verify"),
        ("audit-export", "audit export"),
        ("decisions", "decisions"),
        ("status", "status"),
        ("doctor", "doctor"),
        ("ssh-proxy", "ssh-proxy"),
        ("doctor-tls", "doctor tls"),
        ("completions", "completions"),
    ] {
        let words: Vec<&str> = words.split_whitespace().chain(["--help"]).collect();
        insta::assert_snapshot!(format!("help-{name}"), home.run(&words).whole());
    }
}

#[test]
fn command_lines_that_make_no_sense_end_with_2() {
    let home = Home::new();
    for (name, words) in [
        ("nothing", &[][..]),
        ("unknown-command", &["polcy", "push"]),
        ("push-without-sandbox", &["policy", "push", "."]),
        ("bad-name", &["sandbox", "create", "--name", "Not A Name"]),
        ("bad-add-host", &["sandbox", "create", "--add-host", "api.test"]),
        ("exec-without-command", &["sandbox", "exec", "demo"]),
        ("bad-span", &["decisions", "--since", "yesterday"]),
        ("two-secret-sources", &["provider", "create", "a", "--type", "b", "--from-env", "A", "--from-file", "b"]),
        ("bad-format", &["status", "-o", "xml"]),
    ] {
        let ran = home.run(words);
        assert_eq!(ran.code, 2, "{words:?}: {}", ran.whole());
        assert_eq!(ran.stdout, "", "{words:?}");
        insta::assert_snapshot!(format!("usage-{name}"), ran.whole());
    }
}

#[test]
fn completions_name_every_command() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = home.run(&["completions", shell]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{shell}");
        for command in ["gateway", "sandbox", "policy", "provider", "inference", "decisions", "status", "doctor"] {
            assert!(ran.stdout.contains(command), "{shell} knows nothing of {command}");
        }
    }
}
