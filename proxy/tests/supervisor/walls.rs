//! The walls as policies want them, and their proof before anything runs.

use openshell_api::enforcement::{Enforcement, Outcome};
use openshell_api::generation::Content;
use openshell_api::launch::LaunchSpec;
use openshell_api::link::{FromSupervisor, ToSupervisor};
use openshell_policy_host::Compiled;

use super::exec::{finish, request};
use super::gateway::{Heard, Link};
use super::world::{Supervisor, World, binding, can_seal, compile};

/// What is said about the start: the walls as they were proven, then `running` or why not.
async fn started(link: &mut Link) -> (Option<Enforcement>, String) {
    let mut proof = None;
    loop {
        match link.hear().await.expect("the link is up") {
            Heard::Said(FromSupervisor::Enforcement { enforcement, .. }) => proof = Some(enforcement),
            Heard::Said(FromSupervisor::Running) => return (proof, "running".to_owned()),
            Heard::Said(FromSupervisor::Failed { reason }) => return (proof, reason),
            _ => {}
        }
    }
}

/// Starts a sandbox whose first generation binds these policies.
async fn begin(world: &World, supervisor: Supervisor, policies: &[(&str, &Compiled)]) -> (Supervisor, Link) {
    let mut link = world.gateway.accept().await;
    assert_eq!(link.hello().await, 0);
    let staged = stage(world, &mut link, 1, policies).await;
    assert_eq!(staged, "staged");
    link.say(&ToSupervisor::Activate { push: "1".to_owned() }).await;
    (supervisor, link)
}

async fn stage(world: &World, link: &mut Link, number: u64, policies: &[(&str, &Compiled)]) -> String {
    let chain = policies.iter().map(|(name, compiled)| binding(name, compiled)).collect();
    let name = number.to_string();
    let mut answer = link.stage(&name, world.sign(number, Content { chain, ..Content::default() })).await;
    if answer.starts_with("need ") {
        for (channel, (_, compiled)) in (1000 * number..).zip(policies) {
            if answer.contains(&compiled.digest) {
                link.artifact(channel, &compiled.digest, &compiled.bytes).await;
            }
        }
        answer = link.outcome(&name).await;
    }
    answer
}

async fn shell(link: &mut Link, channel: u64, script: &str) -> String {
    link.say(&ToSupervisor::Open { channel, request: request(&["/bin/sh", "-c", script]) }).await;
    let outcome = finish(link, channel).await;
    format!("{}{}", outcome.stdout, outcome.stderr).trim_end().to_owned()
}

#[tokio::test]
async fn nothing_runs_before_the_walls_are_proven_and_they_are_proven_again() {
    if !can_seal() {
        return;
    }
    let world = World::running(&["sh", "-c", "exec sleep 1000"]).await;
    let (_supervisor, mut link) = begin(&world, world.start(), &[]).await;
    let (proof, phase) = started(&mut link).await;
    assert_eq!(phase, "running", "{}", world.log());
    let proof = proof.expect("the proof comes before the workload");
    assert!(proof.holds() && proof.checks.len() >= 50, "{}", proof.summary());

    link.say(&ToSupervisor::Verify { id: "again".to_owned() }).await;
    let again = link.until(|message| match message {
        FromSupervisor::Verified { id, result } if id == "again" => Some(result),
        _ => None,
    });
    let again = again.await.expect("it can be tried");
    assert!(again.holds(), "{again:?}");
    let names = |proof: &Enforcement| proof.checks.iter().map(|check| check.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&again), names(&proof));
}

/// A kernel that says it did and does not: the call, and what its first argument must be.
struct Lie {
    call: libc::c_long,
    first: Option<u32>,
    /// What it answers; 0: success.
    errno: i32,
    caught_by: &'static str,
}

const LIES: &[Lie] = &[
    Lie { call: libc::SYS_prctl, first: Some(libc::PR_CAPBSET_DROP as u32), errno: 0, caught_by: "capabilities-bnd" },
    Lie {
        call: libc::SYS_prctl,
        first: Some(libc::PR_SET_NO_NEW_PRIVS as u32),
        errno: 0,
        caught_by: "no-new-privileges",
    },
    Lie { call: libc::SYS_landlock_restrict_self, first: None, errno: 0, caught_by: "leaked-handle" },
    Lie { call: libc::SYS_mount_setattr, first: None, errno: 0, caught_by: "set-uid-mounts" },
    Lie { call: libc::SYS_setresuid, first: None, errno: 0, caught_by: "user" },
];

/// A filter under which the call is answered and never made.
fn lying(lie: &Lie) -> Vec<libc::sock_filter> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let first = match lie.first {
        Some(first) => vec![step(LOAD, 16, 0, 0), step(EQUAL, first, 0, 1)],
        None => vec![],
    };
    let rest = first.len() as u8 + 1;
    let mut filter = vec![step(LOAD, 0, 0, 0), step(EQUAL, lie.call as u32, 0, rest)];
    filter.extend(first);
    filter.extend([
        step(RETURN, libc::SECCOMP_RET_ERRNO | lie.errno as u32, 0, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ]);
    filter
}

/// Starts a supervisor on such a kernel.
fn start_deceived(world: &World, spec: &LaunchSpec, lie: &Lie) -> Supervisor {
    let filter = lying(lie);
    world.start_with(spec, move |command| {
        let install = move || {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
            // SAFETY: the kernel copies the program, which outlives the call; nothing else happens between fork and exec.
            match unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &program) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        // SAFETY: `install` makes one system call and allocates nothing.
        unsafe { command.pre_exec(install) };
    })
}

#[tokio::test]
async fn a_missing_wall_stops_the_start() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: a kernel can be made to lie by root alone");
        return;
    }
    for lie in LIES {
        let world = World::running(&["touch", "it-ran"]).await;
        let (_supervisor, mut link) = begin(&world, start_deceived(&world, &world.spec(), lie), &[]).await;
        let (proof, reason) = started(&mut link).await;
        let named = reason.starts_with("the walls are not proven") && reason.contains(lie.caught_by);
        assert!(named, "{}: {reason}\n{}", lie.caught_by, world.log());
        let proof = proof.expect("what was found is told");
        let failed = |name| proof.checks.iter().any(|check| check.name == name && check.outcome == Outcome::Failed);
        assert!(failed(lie.caught_by), "{}: {proof:?}", lie.caught_by);
        assert_eq!(shell(&mut link, 5, "echo in").await, "", "nothing runs in it afterwards either");
        assert!(!world.path("workspace/it-ran").exists(), "{}", lie.caught_by);
    }
}

#[tokio::test]
async fn a_kernel_without_landlock_takes_leave_and_says_so() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: a kernel can be made to lie by root alone");
        return;
    }
    let lacking =
        Lie { call: libc::SYS_landlock_create_ruleset, first: None, errno: libc::ENOSYS, caught_by: "leaked-handle" };
    let world = World::running(&["touch", "it-ran"]).await;
    let (_supervisor, mut link) = begin(&world, start_deceived(&world, &world.spec(), &lacking), &[]).await;
    let (proof, reason) = started(&mut link).await;
    assert!(proof.is_none() && reason.starts_with("this kernel can't raise the wall Landlock"), "{reason}");
    assert!(!world.path("workspace/it-ran").exists());

    let world = World::running(&["sleep", "1000"]).await;
    let spec = LaunchSpec { allow_degraded: true, ..world.spec() };
    let (_supervisor, mut link) = begin(&world, start_deceived(&world, &spec, &lacking), &[]).await;
    let told = link.until(|message| match message {
        FromSupervisor::Enforcement { degraded, enforcement } => Some((degraded, enforcement)),
        FromSupervisor::Failed { reason } => panic!("{reason}"),
        _ => None,
    });
    let (degraded, proof) = told.await;
    assert_eq!(degraded, ["landlock"]);
    let waived = proof.checks.iter().filter(|check| check.outcome == Outcome::Waived);
    assert_eq!(waived.map(|check| check.name.as_str()).collect::<Vec<_>>(), [lacking.caught_by], "{proof:?}");
    // Where nothing would refuse it, the workload must not find it in the probe's hands.
    let handle = proof.checks.iter().find(|check| check.name == lacking.caught_by);
    assert!(handle.is_some_and(|check| check.seen.starts_with("not tried")), "{proof:?}");
    assert!(proof.holds(), "{}", proof.summary());
    assert_eq!(started(&mut link).await.1, "running");
}

const WALLED: &str = "\
version: 1
filesystem_policy: { include_workdir: false, read_only: [/usr, /etc], read_write: [/srv] }
landlock: { compatibility: best_effort }
process: { run_as_user: '12345', run_as_group: '23456' }
";

#[tokio::test]
async fn policies_build_the_walls_once() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let world = World::new().await;
    let walled = compile(WALLED, &world.key);
    let open = compile("version: 1\n", &world.key);
    let narrower =
        compile("version: 1\nfilesystem_policy: { read_only: [/usr, /opt], read_write: [/srv] }\n", &world.key);
    let both = [("walled", &walled), ("narrower", &narrower)];
    let (_supervisor, mut link) = begin(&world, world.start(), &both).await;
    let (_, phase) = started(&mut link).await;
    assert_eq!(phase, "running", "{}", world.log());
    for (channel, (script, expected)) in (10..).zip([
        ("id -u; id -g", "12345\n23456"),
        ("touch x 2>/dev/null || echo read-only", "read-only"),
        ("echo x > /tmp/x && cat /tmp/x", "x"),
        ("ls /usr/bin >/dev/null && echo shown", "shown"),
        ("test -e /etc/passwd || echo only one policy shows it", "only one policy shows it"),
        ("test -e /opt || echo only one policy shows it", "only one policy shows it"),
        ("head -c 5 /run/openshell/ca.pem", "-----"),
    ]) {
        assert_eq!(shell(&mut link, channel, script).await, expected, "{script}");
    }
    assert_eq!(
        stage(&world, &mut link, 2, &[("narrower", &narrower), ("walled", &walled), ("open", &open)]).await,
        "staged"
    );
    let refused = stage(&world, &mut link, 2, &[("walled", &walled)]).await;
    let expected =
        "it changes read_only from [/usr] to [/etc, /usr]: what a sandbox may see and as whom it runs is fixed";
    assert!(refused.starts_with(expected), "{refused}");
    let refused = stage(&world, &mut link, 2, &[("narrower", &narrower)]).await;
    assert!(refused.contains("the user from 12345:23456 to unsaid"), "{refused}");
}

#[tokio::test]
async fn a_policy_may_refuse_the_start() {
    if !can_seal() {
        return;
    }
    let world = World::new().await;
    let root = compile("version: 1\nprocess: { run_as_user: root }\n", &world.key);
    let (_supervisor, mut link) = begin(&world, world.start(), &[("root", &root)]).await;
    let (_, reason) = started(&mut link).await;
    assert!(reason.contains("the workload may not run as root"), "{reason}");

    let world = World::new().await;
    let one = compile("version: 1\nprocess: { run_as_user: '1001' }\n", &world.key);
    let other = compile("version: 1\nprocess: { run_as_user: '1002' }\n", &world.key);
    let _supervisor = world.start();
    let mut link = world.gateway.accept().await;
    assert_eq!(link.hello().await, 0);
    let refused = stage(&world, &mut link, 1, &[("one", &one), ("other", &other)]).await;
    assert_eq!(refused, "policies want it to run as 1001 and as 1002");
}
