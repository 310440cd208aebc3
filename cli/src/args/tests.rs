//! Rows: what is typed, what is understood.

use clap::{CommandFactory as _, Parser as _};

use super::*;

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_shows_examples_that_begin_with_the_program() {
    fn visit(command: &clap::Command, path: &str) {
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            let path = format!("{path} {}", inner.get_name());
            if inner.has_subcommands() {
                visit(inner, &path);
            } else {
                let help = inner.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.starts_with("Examples:\n") && help.contains(&path), "`{path} --help` has no example");
            }
        }
    }
    visit(&Cli::command(), "openshell");
}

#[test]
fn examples_parse() {
    fn visit(command: &clap::Command) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let joined = help.replace("\\\n", " ");
        for line in joined.lines().filter_map(|line| line.find("openshell ").map(|at| &line[at..])) {
            let line = line.split(" # ").next().unwrap_or(line).split(" && ").next().unwrap_or(line);
            let line = line.split(" > ").next().unwrap_or(line);
            let words = line.split_whitespace().filter(|word| !word.contains(['\'', '"', '{', '}', '[', ']']));
            let words: Vec<&str> = words.collect();
            // A quoted document is dropped above; the option before it then lacks its value.
            let words: Vec<&str> = words.into_iter().filter(|word| *word != "--settings").collect();
            let understood = Cli::try_parse_from(&words);
            assert!(understood.is_ok(), "{line}: {}", understood.err().map(|e| e.to_string()).unwrap_or_default());
        }
        command.get_subcommands().for_each(visit);
    }
    visit(&Cli::command());
}

#[test]
fn single_values() {
    fn check<T: std::fmt::Debug>(found: Result<T, String>, expected: &str) {
        let found = found.map_or_else(|e| format!("refused: {e}"), |v| format!("{v:?}"));
        assert!(found.starts_with(expected), "{found}, not {expected}");
    }
    check(parse::key_value("A=b=c"), r#"("A", "b=c")"#);
    check(parse::key_value("A="), r#"("A", "")"#);
    check(parse::key_value("=b"), "refused: write it as KEY=VALUE");
    check(parse::key_value("A"), "refused: write it as KEY=VALUE");
    check(parse::share("10%"), "10");
    check(parse::share("99"), "99");
    for wrong in ["", "%", "0%", "100%", "-1%", "1.5%", "10%%", "300"] {
        check(parse::share(wrong), "refused: write it as 10%");
    }
    check(parse::add_host("Api.Test:127.0.0.1"), r#"("api.test", "127.0.0.1")"#);
    check(parse::add_host("api.test:[::1]"), r#"("api.test", "::1")"#);
    check(parse::add_host("api.test:::1"), r#"("api.test", "::1")"#);
    check(parse::add_host("api.test:host-gateway"), r#"("api.test", "host-gateway")"#);
    check(parse::add_host("api.test"), "refused: write it as NAME:ADDRESS");
    check(parse::add_host(":1.2.3.4"), "refused: the name before ':' is empty");
    check(parse::add_host("a:b"), "refused: \"b\" is not an IP address");
    check(parse::span("90s"), "90s");
    check(parse::span("2h"), "7200s");
    check(parse::span("1d"), "86400s");
    for wrong in ["", "h", "1", "1w", "-1s", "1.5h", "99999999999999999999d", "9999999999999999999d", "1ä"] {
        check(parse::span(wrong), "refused: write it as a number and s, m, h or d");
    }
    check(parse::volume("data:/data"), r#"Volume { source: "data", target: "/data", read_only: false }"#);
    check(parse::volume("/srv:/data:ro"), r#"Volume { source: "/srv", target: "/data", read_only: true }"#);
    check(parse::volume("./x:/data").map(|v| v.source.starts_with('/') && v.source.ends_with("/x")), "true");
    check(parse::volume("data:data"), "refused: the target \"data\" is not an absolute path");
    for wrong in ["", "data", ":/data", "data:/data:wx", "a:/b:ro:c"] {
        check(parse::volume(wrong), "refused: write it as SOURCE:TARGET");
    }
    check(parse::size("1024"), "1024");
    check(parse::size("512m"), "536870912");
    check(parse::size("2GiB"), "2147483648");
    check(parse::size("1kb"), "1024");
    for wrong in ["", "m", "0", "1x", "1mm", "-1", "1.5g", "99999999999t", "1ä"] {
        check(parse::size(wrong), "refused: write it as a number and k, m, g or t");
    }
    check(parse::cores("0.5"), "0.5");
    for wrong in ["", "0", "-1", "inf", "NaN", "two"] {
        check(parse::cores(wrong), "refused: write it as a number of cores");
    }
    check(parse::runtime("docker"), "Docker");
    check(parse::runtime("vm"), "refused: there are: docker, process");
    for wrong in ["", ".", "1.0000001", "-1", "1,5", "a", "99999999999999999999", "+1.5a"] {
        check(parse::price(wrong), "refused: write it as dollars per million tokens");
    }
}

#[test]
fn secrets_have_no_flag() {
    for flag in ["--secret", "--key", "--credential", "--token"] {
        let words = ["openshell", "provider", "create", "a", "--type", "openai", flag, "s3cret"];
        assert!(Cli::try_parse_from(words).is_err(), "{flag}");
    }
}
