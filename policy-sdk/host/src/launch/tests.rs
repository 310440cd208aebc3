//! Rows: what several policies say, and what it comes to.

use super::*;

/// `r:/a w:/b u:user strict`, or nothing.
fn said(text: &str) -> Constraints {
    let mut constraints = Constraints::default();
    for word in text.split_whitespace() {
        match word.split_once(':') {
            Some(("r", path)) => constraints.read_only.push(path.to_owned()),
            Some(("w", path)) => constraints.read_write.push(path.to_owned()),
            Some(("u", user)) => constraints.user = Some(user.to_owned()),
            _ => constraints.strict = word == "strict",
        }
    }
    constraints
}

fn shown(launch: &Launch) -> String {
    let mut words = Vec::new();
    if let Some(files) = &launch.files {
        words.extend(files.read_only.iter().map(|path| format!("r:{path}")));
        words.extend(files.read_write.iter().map(|path| format!("w:{path}")));
        words.extend((files.read_only.is_empty() && files.read_write.is_empty()).then(|| "none".to_owned()));
    }
    words.extend(launch.user.iter().map(|user| format!("u:{user}")));
    words.extend(launch.strict.then(|| "strict".to_owned()));
    words.join(" ")
}

#[track_caller]
fn check(policies: &[&str], expected: &str) {
    let narrowed = |policies: &mut dyn Iterator<Item = &&str>| -> Result<Launch, LaunchRefusal> {
        let mut launch = Launch::default();
        for text in policies {
            let said = Launch::of(said(text), "/home/work")
                .map_err(|path| LaunchRefusal::BadPath { binding: "p".into(), path })?;
            launch = launch.narrow(said)?;
        }
        Ok(launch)
    };
    let text = |result: Result<Launch, LaunchRefusal>| result.map_or_else(|e| e.to_string(), |launch| shown(&launch));
    assert_eq!(text(narrowed(&mut policies.iter())), expected, "{policies:?}");
    if !expected.contains("policies want") {
        assert_eq!(text(narrowed(&mut policies.iter().rev())), expected, "{policies:?}, the other way round");
    }
}

#[test]
fn the_narrowest_wins() {
    check(&[], "");
    check(&["", "strict", ""], "strict");
    check(&["r:/usr r:/etc w:/data"], "r:/etc r:/usr w:/data");
    check(&["r:/usr/ r:/usr/lib r://data/./x w:/data w:/data/x"], "r:/usr w:/data");
    check(&["r:/usr w:.", ""], "r:/usr w:/home/work");
    check(&["r:/usr w:/data", "r:/ w:/data/in"], "r:/data r:/usr w:/data/in");
    check(&["r:/usr w:/data", "r:/data"], "r:/data");
    check(&["r:/usr/lib r:/opt", "r:/usr r:/optional"], "r:/usr/lib");
    check(&["r:/usr", "r:/etc"], "none");
    check(&["w:/data", "w:/database"], "none");
    check(&["u:agent r:/usr", "u:agent"], "r:/usr u:agent");
    check(&["u:agent", "u:other"], "policies want it to run as agent and as other");
    check(&["r:usr"], "policy p: \"usr\" is not an absolute path without `..`");
    check(&["w:/a/../b"], "policy p: \"/a/../b\" is not an absolute path without `..`");
}

#[test]
fn differences_are_named() {
    let of = |text: &str| Launch::of(said(text), "/w").unwrap();
    assert!(of("r:/usr u:a").differences(&of("r:/usr/ u:a")).is_empty());
    let changes = of("r:/usr").differences(&of("r:/usr w:/data u:a strict"));
    let expected = ["read_write from [] to [/data]", "the user from unsaid to a", "strictness from false to true"];
    assert_eq!(changes, expected);
    assert_eq!(of("").differences(&of("r:/usr"))[0], "read_only from unsaid to [/usr]");
}
