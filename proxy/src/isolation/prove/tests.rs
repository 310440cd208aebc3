//! Which findings are taken, and what they come to.

use super::*;

fn finding(name: &str) -> Finding {
    Finding { name: name.into(), expected: "EPERM".into(), seen: "EPERM".into(), proven: true, wall: None }
}

/// What a probe tells that finds every wall standing.
fn whole() -> Vec<Finding> {
    CHECKS.iter().map(|name| finding(name)).collect()
}

/// What such findings come to after a change.
fn judged(change: impl FnOnce(&mut Vec<Finding>), degraded: &[Wall], taken: &str) -> String {
    let mut findings = whole();
    change(&mut findings);
    match judge(findings, degraded, |check| check == taken) {
        Ok(enforcement) => enforcement.summary().replace(&CHECKS.len().to_string(), "all"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn findings_are_about_exactly_the_checks_of_a_probe() {
    let check = |change: fn(&mut Vec<Finding>), expected: &str| {
        let expected = match expected {
            "" => "all/all proven".to_owned(),
            differs => format!("the probe of the sandbox's walls answers {differs} is due"),
        };
        assert_eq!(judged(change, &[], ""), expected);
    };
    check(|_| {}, "");
    check(|findings| findings.clear(), r#""nothing" where "capabilities-inh""#);
    check(|findings| drop(findings.pop()), r#""nothing" where "host-sockets""#);
    check(|findings| drop(findings.remove(0)), r#""capabilities-prm" where "capabilities-inh""#);
    check(|findings| findings.push(finding("dial-v9")), r#""dial-v9" where "nothing""#);
    check(|findings| findings.push(finding("nothing")), r#""nothing" where "nothing""#);
    check(|findings| findings.push(finding("host-sockets")), r#""host-sockets" where "nothing""#);
    check(|findings| findings.insert(1, finding("capabilities-inh")), r#""capabilities-inh" where "capabilities-prm""#);
    check(|findings| findings[0] = finding("capabilities-prm"), r#""capabilities-prm" where "capabilities-inh""#);
    check(|findings| findings.swap(0, 1), r#""capabilities-prm" where "capabilities-inh""#);
    check(|findings| findings[0].name = "\u{1b}[2J".into(), r#""\u{1b}[2J" where "capabilities-inh""#);
}

#[test]
fn no_check_has_the_name_of_another() {
    let names: std::collections::BTreeSet<_> = CHECKS.iter().collect();
    assert_eq!(names.len(), CHECKS.len());
}

/// The first check failed, which the lack of this wall explains.
fn unproven(wall: Option<Wall>) -> impl FnOnce(&mut Vec<Finding>) {
    move |findings| {
        findings[0].proven = false;
        findings[0].wall = wall;
    }
}

#[test]
fn a_wall_is_proven_waived_or_failed() {
    let most = CHECKS.len() - 1;
    assert_eq!(judged(unproven(None), &Wall::ALL, ""), format!("{most}/all proven, 1 failed"));
    assert_eq!(judged(unproven(Some(Wall::Landlock)), &[], ""), format!("{most}/all proven, 1 failed"));
    assert_eq!(
        judged(unproven(Some(Wall::Landlock)), &[Wall::PrivateProc], ""),
        format!("{most}/all proven, 1 failed")
    );
    assert_eq!(judged(unproven(Some(Wall::Landlock)), &[Wall::Landlock], ""), format!("{most}/all proven, 1 waived"));
    // Whatever the probe says of it.
    assert_eq!(judged(|_| {}, &Wall::ALL, "host-loopback"), format!("{most}/all proven, 1 failed"));
}

#[test]
fn findings_are_read_line_by_line() {
    let mut text = Vec::new();
    for finding in whole() {
        text.extend(serde_json::to_vec(&finding).unwrap());
        text.push(b'\n');
    }
    assert_eq!(parse(&text).unwrap(), whole());
    assert!(parse(b"").unwrap().is_empty());
    text.truncate(text.len() - 3);
    assert!(parse(&text).is_err());
}

#[tokio::test]
async fn a_probe_is_heard_to_its_end_and_not_without_end() {
    use std::io::{Read as _, Write as _};
    let (socket, theirs) = socket_pair().unwrap();
    let probe = std::thread::spawn(move || {
        let mut socket = UnixStream::from(theirs);
        socket.read_exact(&mut [0]).unwrap();
        socket.write_all(b"one\n").unwrap();
        socket.write_all(b"two\n").unwrap();
    });
    assert_eq!(hear(socket).await.unwrap(), b"one\ntwo\n");
    probe.join().unwrap();

    let (socket, theirs) = socket_pair().unwrap();
    let endless = std::thread::spawn(move || {
        let mut socket = UnixStream::from(theirs);
        while socket.write_all(&[b' '; 4096]).is_ok() {}
    });
    assert_eq!(hear(socket).await.unwrap_err().to_string(), "more than 1048576 bytes");
    endless.join().unwrap();
}
