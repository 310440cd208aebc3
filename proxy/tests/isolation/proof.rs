//! The proof of enforcement: whole walls are proven, a missing one is noticed.

use std::process::Command;

use libtest_mimic::Failed;
use openshell_api::enforcement::{Enforcement, Outcome};
use openshell_proxy::isolation::Wall;

use crate::world::World;

crate::tests![
    every_wall_is_proven,
    a_live_sandbox_is_proven_again,
    probes_take_turns,
    a_way_out_is_noticed,
    files_in_sight_are_noticed,
    sockets_in_sight_are_noticed,
    a_workload_can_not_forge_its_proof,
    the_end_of_the_sandbox_proves_nothing,
];

/// Checks that every sandbox makes, whatever the machine.
const ALWAYS: &[&str] = &[
    "interfaces",
    "routes",
    "dial-v4",
    "dial-v6",
    "metadata",
    "fast-open",
    "udp-v4",
    "udp-v6",
    "quic",
    "resolver",
    "raw-v4",
    "packet",
    "vsock",
    "proxy-port",
    "host-loopback",
    "abstract-socket",
    "host-sockets",
    "capabilities-bnd",
    "no-new-privileges",
    "seccomp",
    "user",
    "become-root",
    "core-dumps",
    "resource-limits",
    "ptrace",
    "read-memory",
    "mount",
    "user-namespace",
    "enter-namespace",
    "bpf",
    "keyring",
    "io-uring",
    "signal-supervisor",
    "write-outside",
    "kernel-switches",
    "init-files",
    "leaked-handle",
    "private-proc",
    "device-node",
];

/// `name: expected …, saw …` of each check that is not proven.
fn unproven(enforcement: &Enforcement) -> Vec<String> {
    let unproven = enforcement.checks.iter().filter(|check| check.outcome != Outcome::Proven);
    unproven.map(|check| format!("{}: expected {}, saw {}", check.name, check.expected, check.seen)).collect()
}

fn names(enforcement: &Enforcement) -> Vec<&str> {
    enforcement.failures().map(|check| check.name.as_str()).collect()
}

async fn every_wall_is_proven() -> Result<(), Failed> {
    let state = tempfile::tempdir()?;
    std::fs::write(state.path().join("status.json"), "secret")?;
    let world = World::with(|config| config.hidden.push(state.path().into())).await;
    let enforcement = world.sandbox.prover.prove().await?;
    assert!(enforcement.holds(), "{:#?}", unproven(&enforcement));
    let missing: Vec<_> =
        ALWAYS.iter().filter(|name| enforcement.checks.iter().all(|check| check.name != **name)).collect();
    assert!(missing.is_empty(), "not tried: {missing:?}");
    assert!(enforcement.checks.len() >= 50, "{}", enforcement.summary());
    // What a probe does is nobody's doing.
    assert!(world.refused().is_empty(), "{:?}", world.refused());
    assert!(world.seen.lock().unwrap().is_empty());
    assert_eq!(world.sandbox.callers.pending(), 0);
    Ok(())
}

async fn a_live_sandbox_is_proven_again() -> Result<(), Failed> {
    let world = World::new().await;
    let code = "
import socket
for n in range(200):
    s = socket.create_connection(('192.0.2.%d' % (n % 200 + 1), 80)); s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
    assert s.makefile('rb').read().endswith(b'192.0.2.%d:80' % (n % 200 + 1))
print('all named')";
    let (run, proof) = tokio::join!(world.python(code, "all named"), world.sandbox.prover.prove());
    run?;
    let enforcement = proof?;
    assert!(enforcement.holds(), "{:#?}", unproven(&enforcement));
    Ok(())
}

async fn probes_take_turns() -> Result<(), Failed> {
    let world = World::new().await;
    let prover = &world.sandbox.prover;
    for proof in futures_util::future::join_all((0..3).map(|_| prover.prove())).await {
        assert!(proof?.holds());
    }
    world.check(&["echo", "still works"], "still works").await
}

/// Runs a command in the sandbox's namespaces, as only the host's root can.
fn from_outside(world: &World, arguments: &[&str]) -> Result<bool, Failed> {
    let init = world.sandbox.seal.init_pid.to_string();
    Ok(Command::new("nsenter").args(["-t", &init]).args(arguments).status()?.success())
}

async fn a_way_out_is_noticed() -> Result<(), Failed> {
    let world = World::new().await;
    assert!(world.sandbox.prover.prove().await?.holds());
    if !nix::unistd::Uid::effective().is_root() {
        return Ok(());
    }
    // An interface with an address and a default route, put there from the host.
    let steps = [
        "ip link add name out type bridge",
        "ip addr add 10.99.0.2/24 dev out",
        "ip link set out up",
        "ip route add default via 10.99.0.1",
    ];
    for step in steps {
        let words: Vec<&str> = ["-n", "--"].into_iter().chain(step.split(' ')).collect();
        if !from_outside(&world, &words)? {
            return Err(format!("{step} failed").into());
        }
    }
    let enforcement = world.sandbox.prover.prove().await?;
    let failed = names(&enforcement);
    assert!(failed.contains(&"interfaces") && failed.contains(&"routes"), "{failed:?}");
    assert!(!failed.contains(&"dial-v4"), "the door catches what a route would let out: {failed:?}");
    Ok(())
}

async fn files_in_sight_are_noticed() -> Result<(), Failed> {
    let root = tempfile::tempdir()?;
    let shown = root.path().join("shown");
    let state = shown.join("state");
    std::fs::create_dir_all(&state)?;
    std::fs::set_permissions(&shown, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    std::fs::write(state.join("status.json"), "secret")?;
    let link = root.path().join("link");
    std::os::unix::fs::symlink(&shown, &link)?;
    for listed in [shown, link] {
        // It is said to be hidden, and is uncovered afterwards, by the name that it is shown under.
        let world = World::with(|config| {
            config.walls.read_write.push(listed.clone());
            config.hidden.push(state.clone());
        })
        .await;
        assert!(world.sandbox.prover.prove().await?.holds());
        if !nix::unistd::Uid::effective().is_root() {
            return Ok(());
        }
        assert!(from_outside(&world, &["-m", "--", "umount", &listed.join("state").to_string_lossy()])?);
        assert_eq!(names(&world.sandbox.prover.prove().await?), ["supervisor-files"], "{}", listed.display());
    }
    Ok(())
}

async fn sockets_in_sight_are_noticed() -> Result<(), Failed> {
    let shown = tempfile::tempdir()?;
    let socket = shown.path().join("daemon.sock");
    let _daemon = std::os::unix::net::UnixListener::bind(&socket)?;
    for path in [shown.path(), &socket] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    }
    let world = World::with(|config| config.walls.read_only.push(shown.path().into())).await;
    let enforcement = world.sandbox.prover.prove().await?;
    assert!(enforcement.holds(), "{:#?}", unproven(&enforcement));
    let tried = enforcement.checks.iter().find(|check| check.name == "host-sockets").ok_or("it was not tried")?;
    assert_ne!(tried.seen, "none of 0");
    if !nix::unistd::Uid::effective().is_root() {
        return Ok(());
    }
    // With its processes, too: what is no directory umount(8) looks up in `/proc`.
    assert!(from_outside(&world, &["-m", "-p", "--", "umount", &socket.to_string_lossy()])?);
    assert_eq!(names(&world.sandbox.prover.prove().await?), ["host-sockets"]);
    Ok(())
}

/// Opens what it can of other processes' descriptors, and writes there that nothing was found; until `stop` exists. Says
/// how many it could open.
const HOSTILE: &str = "
import os
opened = 0
open('begun', 'w').close()
while not os.path.exists('stop'):
    for pid in os.listdir('/proc'):
        if not pid.isdigit() or int(pid) == os.getpid(): continue
        try: numbers = os.listdir('/proc/%s/fd' % pid)
        except OSError: continue
        for number in numbers:
            for mode in (os.O_RDWR, os.O_WRONLY, os.O_RDONLY):
                try: fd = os.open('/proc/%s/fd/%s' % (pid, number), mode | os.O_NONBLOCK)
                except OSError: continue
                opened += 1
                try: os.ftruncate(fd, 0)
                except OSError: pass
                try: os.pwrite(fd, b'[]', 0)
                except OSError: pass
                os.close(fd)
print(opened)";

async fn a_workload_can_not_forge_its_proof() -> Result<(), Failed> {
    let world = World::new().await;
    let names = |proof: &Enforcement| proof.checks.iter().map(|check| check.name.clone()).collect::<Vec<_>>();
    let undisturbed = world.sandbox.prover.prove().await?;
    let disturbed = async {
        for _ in 0..500 {
            if world.workspace.path().join("begun").exists() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let mut proofs = Vec::new();
        for _ in 0..10 {
            proofs.push(world.sandbox.prover.prove().await);
        }
        world.write("stop", "");
        proofs
    };
    let (hostile, proofs) = tokio::join!(world.run(&["/usr/bin/python3", "-c", HOSTILE]), disturbed);
    for proof in proofs {
        let proof = proof?;
        assert!(proof.holds(), "{:#?}", unproven(&proof));
        assert_eq!(names(&proof), names(&undisturbed));
    }
    assert_eq!(hostile.status.shell_code(), 0, "{}", hostile.output);
    // A supervisor without privileges has to expose the probe: its standard streams can be opened then.
    if nix::unistd::Uid::effective().is_root() {
        assert_eq!(hostile.output, "0");
    }
    Ok(())
}

async fn the_end_of_the_sandbox_proves_nothing() -> Result<(), Failed> {
    let world = World::with(|config| config.allow_degraded = Wall::ALL.into()).await;
    world.sandbox.spawner.kill();
    world.sandbox.spawner.ended().await;
    assert!(world.sandbox.prover.prove().await.is_err());
    Ok(())
}
