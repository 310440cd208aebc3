use super::status::Status;
use super::{Identifier, script};

#[track_caller]
fn check_script(argv: &str, expected: Option<&str>) {
    let words: Vec<String> = argv.split(' ').map(String::from).collect();
    let found = script::find(&words[0], &words, || Ok("/work".into()));
    assert_eq!(found.as_deref(), expected, "{argv}");
}

#[test]
fn scripts() {
    check_script("/usr/bin/python3.11 agent.py --url x", Some("/work/agent.py"));
    check_script("/usr/bin/python3.11 -u -X dev ./lib/../agent.py", Some("/work/agent.py"));
    check_script("/usr/bin/python3 -m http.server", None);
    check_script("/usr/bin/python3 -c pass x.py", None);
    check_script("/usr/bin/python3 -Ic pass", None);
    check_script("/usr/bin/python3", None);
    check_script("/usr/bin/node --require ./hook.js /srv/app.js", Some("/srv/app.js"));
    check_script("/usr/bin/node -e 1", None);
    check_script("/bin/bash -x -o pipefail run.sh", Some("/work/run.sh"));
    check_script("/bin/bash -lc curl", None);
    check_script("/bin/sh -", None);
    check_script("/bin/bash -- -odd.sh", Some("/work/-odd.sh"));
    check_script("/usr/bin/curl https://x.test", None);
}

#[test]
fn statuses() {
    let text = "Name:\tcurl\nTgid:\t70\nPid:\t71\nPPid:\t60\nUid:\t1\t2\t3\t4\nNStgid:\t70\t9\nNSpid:\t71\t10\n";
    let status = Status::parse(text).unwrap();
    assert_eq!(status, Status { parent: 60, inner_pid: 9, uid: 2 });
    for broken in ["", "Name:\tx\nPPid:\t1\n", "PPid:\tone\nUid:\t0\t0\t0\t0\nNStgid:\t1\n"] {
        assert!(Status::parse(broken).is_err(), "{broken:?}");
    }
}

#[test]
fn this_process() {
    let caller = Identifier::new(1).identify(std::process::id()).unwrap();
    let executable = std::env::current_exe().unwrap();
    assert_eq!(caller.process.executable, executable.to_string_lossy());
    use sha2::Digest as _;
    assert_eq!(caller.process.digest, hex::encode(sha2::Sha256::digest(std::fs::read(executable).unwrap())));
    assert_eq!(caller.arguments, std::env::args().collect::<Vec<_>>());
    assert!(!caller.ancestors.is_empty());
}

#[test]
fn nobody() {
    assert!(Identifier::new(1).identify(u32::MAX >> 1).is_err());
}
