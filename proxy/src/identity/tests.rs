use super::memory::Memory;
use super::status::Status;
use super::{Identifier, Proc, script};

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
    let text = "Name:\tcurl\nTgid:\t70\nPid:\t71\nPPid:\t60\nNStgid:\t70\t9\nNSpid:\t71\t10\n";
    let status = Status::parse(text).unwrap();
    assert_eq!(status, Status { parent: 60, inner_pid: 9 });
    for broken in ["", "Name:\tx\nPPid:\t1\n", "PPid:\tone\nNStgid:\t1\n"] {
        assert!(Status::parse(broken).is_err(), "{broken:?}");
    }
}

#[test]
fn this_process() {
    let identifier = Identifier::new(1);
    let executable = std::env::current_exe().unwrap();
    use sha2::Digest as _;
    let digest = hex::encode(sha2::Sha256::digest(std::fs::read(&executable).unwrap()));
    for _ in 0..2 {
        let caller = identifier.identify(std::process::id(), || ()).unwrap();
        assert_eq!(caller.process.executable, executable.to_string_lossy());
        assert_eq!(caller.process.digest, digest);
        assert_eq!(caller.arguments, std::env::args().collect::<Vec<_>>());
        assert_eq!(caller.uid, nix::unistd::geteuid().as_raw());
        assert!(!caller.ancestors.is_empty());
    }
}

/// A shell that runs what it is told, line by line, and says when it has; its children are its own.
struct Shell {
    child: std::process::Child,
    said: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Shell {
    fn start() -> Self {
        use std::io::BufRead as _;
        let piped = std::process::Stdio::piped;
        let mut child = std::process::Command::new("/bin/bash").stdin(piped()).stdout(piped()).spawn().unwrap();
        let said = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, said }
    }

    fn tell(&mut self, line: &str) {
        use std::io::Write as _;
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn hear(&mut self) -> String {
        self.said.next().unwrap().unwrap()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_changes_of_a_process_or_its_ancestors_is_seen_though_both_are_known() {
    let here = i32::try_from(std::process::id()).unwrap();
    let identifier = Identifier::new(here);
    let directory = tempfile::tempdir().unwrap();
    let (tool, link) = (directory.path().join("tool"), directory.path().join("link"));
    std::fs::copy("/bin/bash", &tool).unwrap();
    std::fs::hard_link(&tool, &link).unwrap();
    let (tool, link) = (tool.to_str().unwrap(), link.to_str().unwrap());
    let bash = std::fs::canonicalize("/bin/bash").unwrap();
    let bash = bash.to_str().unwrap();

    let mut shell = Shell::start();
    let caller = |pid: u32| {
        let caller = identifier.identify(pid, || ()).unwrap();
        (caller.process.executable.clone(), caller.arguments[1..].to_vec(), caller.ancestors.clone())
    };
    let none: [String; 0] = [];
    for _ in 0..2 {
        assert_eq!(caller(shell.child.id()), (bash.to_owned(), none.to_vec(), none.to_vec()));
    }
    shell.tell(&format!("exec {bash} --norc 2>/dev/null"));
    shell.tell("echo");
    shell.hear();
    let norc = vec!["--norc".to_owned()];
    for _ in 0..2 {
        assert_eq!(caller(shell.child.id()), (bash.to_owned(), norc.clone(), none.to_vec()));
    }
    // A child of a child, and what each of them becomes without a new number: another name of the same file, too.
    shell.tell(&format!("{tool} --norc 2>/dev/null"));
    shell.tell(&format!("{bash} --norc 2>/dev/null"));
    shell.tell("echo $PPID $$");
    let pids: Vec<u32> = shell.hear().split(' ').map(|pid| pid.parse().unwrap()).collect();
    for _ in 0..2 {
        assert_eq!(caller(pids[1]), (bash.to_owned(), norc.clone(), vec![tool.to_owned(), bash.to_owned()]));
    }
    shell.tell(&format!("exec {link} --norc -i 2>/dev/null"));
    shell.tell("PS1= ; echo $PPID $$");
    assert_eq!(shell.hear(), format!("{} {}", pids[0], pids[1]));
    let interactive = vec!["--norc".to_owned(), "-i".to_owned()];
    assert_eq!(caller(pids[1]), (link.to_owned(), interactive.clone(), vec![tool.to_owned(), bash.to_owned()]));
    std::fs::rename(tool, directory.path().join("moved")).unwrap();
    let moved = directory.path().join("moved").to_str().unwrap().to_owned();
    assert_eq!(caller(pids[1]).2, [moved, bash.to_owned()]);

    // Its parent ends: it is somebody else's child, and not of whoever gets that number.
    let parent = nix::unistd::Pid::from_raw(i32::try_from(pids[0]).unwrap());
    nix::sys::signal::kill(parent, nix::sys::signal::Signal::SIGKILL).unwrap();
    let gone = || !std::path::Path::new(&format!("/proc/{}/exe", pids[0])).exists();
    while !gone() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    for _ in 0..2 {
        let ancestors = caller(pids[1]).2;
        assert!(!ancestors.iter().any(|executable| executable.contains("moved")), "{ancestors:?}");
    }
}

#[test]
fn memory_is_a_processes_until_it_executes_something_or_ends() {
    let here = std::process::id();
    let parent = i32::try_from(here).unwrap();
    let of = |pid: u32| Memory::of(&Proc::open(pid).unwrap(), pid, parent);
    assert!(of(here).is_none(), "it is shared");
    let mut shell = Shell::start();
    let first = of(shell.child.id()).unwrap();
    assert!(first.lives() && first.lives());
    shell.tell("exec bash");
    shell.tell("echo");
    shell.hear();
    let second = of(shell.child.id()).unwrap();
    assert!(!first.lives() && second.lives());
    shell.child.kill().unwrap();
    shell.child.wait().unwrap();
    assert!(!second.lives());
}

#[test]
fn nobody() {
    assert!(Identifier::new(1).identify(u32::MAX >> 1, || ()).is_err());
}
