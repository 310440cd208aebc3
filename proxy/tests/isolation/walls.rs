//! What a program inside can't do, and what it can't see.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Failed;
use openshell_proxy::isolation::{Overlay, Sandbox, SealConfig, SealError, Stdio};

use crate::world::{Kept, World};

crate::tests![
    no_capabilities_and_no_way_to_any,
    namespaces_of_its_own,
    refused_system_calls,
    the_filesystem_is_what_the_walls_show,
    what_is_hidden_has_no_other_name,
    sockets_of_the_host_are_masked,
    own_files,
    root_is_refused,
    strict_walls_need_every_path,
    rootless,
];

async fn no_capabilities_and_no_way_to_any() -> Result<(), Failed> {
    let world = World::new().await;
    let seal = &world.sandbox.seal;
    let zero = "0000000000000000";
    let expected = format!(
        "Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapInh:\t{zero}\nCapPrm:\t{zero}\nCapEff:\t{zero}\nCapBnd:\t{zero}\nCapAmb:\t{zero}\n\
         NoNewPrivs:\t1\nSeccomp:\t2",
        uid = seal.uid
    );
    world.check(&["grep", "-E", "^(Uid|Cap...|NoNewPrivs|Seccomp):", "/proc/self/status"], &expected).await?;
    world.check(&["sh", "-c", "ulimit -c; ulimit -Hc; id -un; hostname"], "0\n0\nsandbox\nsandbox").await?;
    // Refused, or ignored where init has the same user.
    world.run(&["sh", "-c", "kill -9 1; kill -9 -1"]).await;
    world.check(&["echo", "init lives"], "init lives").await?;
    // Killed before the supervisor where memory runs out.
    world.check(&["cat", "/proc/self/oom_score_adj"], "500").await
}

async fn namespaces_of_its_own() -> Result<(), Failed> {
    let world = World::new().await;
    let kinds = ["mnt", "net", "pid", "ipc", "uts", "cgroup", "user"];
    // A sandbox that root seals stays in its user namespace, and drops what root can do there.
    let shared = if nix::unistd::Uid::effective().is_root() { &kinds[6..] } else { &[] };
    let script = kinds.map(|kind| format!("readlink /proc/self/ns/{kind}")).join("; ");
    let outcome = world.run(&["sh", "-c", &script]).await;
    let inside: Vec<&str> = outcome.output.lines().collect();
    assert_eq!(inside.len(), kinds.len(), "{}", outcome.output);
    for (kind, inside) in kinds.into_iter().zip(inside) {
        let here = std::fs::read_link(format!("/proc/self/ns/{kind}"))?;
        assert_eq!(here == Path::new(inside), shared.contains(&kind), "{kind}: {inside}");
    }
    // Nothing of System V's is shared: what is made here is not seen there.
    world.check(&["sh", "-c", "ls /proc/sysvipc/shm >/dev/null && wc -l < /proc/sysvipc/shm"], "1").await
}

async fn refused_system_calls() -> Result<(), Failed> {
    let world = World::new().await;
    let rows = [
        ("io_uring_setup", "S(425, 8, P)", libc::ENOSYS),
        ("clone3", "S(435, P, 88)", libc::ENOSYS),
        ("unshare a user namespace", "S(272, 0x10000000)", libc::EPERM),
        ("unshare a network namespace", "S(272, 0x40000000)", libc::EPERM),
        ("mount", "S(165, b'x', b'/tmp', b'tmpfs', 0, 0)", libc::EPERM),
        ("ptrace", "S(101, 0, 0, 0, 0)", libc::EPERM),
        ("process_vm_readv", "S(310, 1, P, 1, P, 1, 0)", libc::EPERM),
        ("bpf", "S(321, 0, P, 8)", libc::EPERM),
        ("keyctl", "S(250, 0, 0, 0)", libc::EPERM),
        ("raw socket", "S(41, 2, 3, 1)", libc::EPERM),
        ("packet socket", "S(41, 17, 3, 0)", libc::EPERM),
        ("vsock", "S(41, 40, 1, 0)", libc::EAFNOSUPPORT),
        ("x32 getpid", "S(0x40000000 + 39)", libc::ENOSYS),
        ("setuid(0)", "S(105, 0)", libc::EPERM),
        ("sethostname", "S(170, b'x', 1)", libc::EPERM),
    ];
    if cfg!(not(target_arch = "x86_64")) {
        return Ok(());
    }
    for (name, call, errno) in rows {
        let code = format!(
            "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
P = ctypes.create_string_buffer(256)
def S(*a): return libc.syscall(*[ctypes.c_long(x) if isinstance(x, int) else x for x in a])
r = {call}; print(r, ctypes.get_errno())"
        );
        world.python(&code, &format!("-1 {errno}")).await.map_err(|failed| format!("{name}: {failed:?}"))?;
    }
    Ok(())
}

async fn the_filesystem_is_what_the_walls_show() -> Result<(), Failed> {
    let outside = tempfile::tempdir().unwrap();
    std::fs::set_permissions(outside.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let shown = tempfile::tempdir().unwrap();
    std::fs::set_permissions(shown.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::create_dir(shown.path().join("state")).unwrap();
    std::fs::write(shown.path().join("state/key"), "secret").unwrap();
    std::fs::write(shown.path().join("data"), "data").unwrap();
    let world = World::with(|config| {
        config.walls.read_only.push(shown.path().into());
        config.hidden.push(shown.path().join("state"));
    })
    .await;
    let (outside, shown) = (outside.path().display(), shown.path().display());
    let rows = [
        ("echo x > file && cat file".to_string(), "x"),
        ("echo x > /tmp/file && cat /tmp/file".into(), "x"),
        (format!("cat {shown}/data"), "data"),
        (format!("echo x > {shown}/data"), "!"),
        (format!("ls -A {shown}/state"), "!"),
        (format!("cat {outside}/secret"), "!"),
        ("touch /usr/x".into(), "!"),
        ("touch /etc/x".into(), "!"),
        ("touch /x".into(), "!"),
        ("touch /dev/x".into(), "!"),
        ("ls /root /home /sys /boot".into(), "!"),
        ("ls / >/dev/null && echo listed".into(), "listed"),
        ("echo x > /dev/null && head -c1 /dev/zero | wc -c".into(), "1"),
        ("ls /run".into(), ""),
        ("cat /proc/1/environ /proc/1/maps".into(), "!"),
        ("echo 1 > /proc/sys/net/ipv4/ip_forward".into(), "!"),
        ("ls -d /proc/[0-9]* | wc -l | grep -qE '^[2-6]$' && echo few".into(), "few"),
    ];
    for (script, expected) in rows {
        let outcome = world.run(&["sh", "-c", &script]).await;
        match expected {
            "!" => assert_ne!(outcome.status.shell_code(), 0, "{script}: {}", outcome.output),
            _ => assert_eq!((outcome.status.shell_code(), outcome.output.as_str()), (0, expected), "{script}"),
        }
    }
    let made = world.workspace.path().join("file").metadata().unwrap();
    assert_eq!(made.uid(), world.sandbox.seal.uid);
    assert!(!std::path::Path::new("/tmp/file").exists());
    Ok(())
}

/// A bind mount, made by the host's root; unmounted with this value.
struct Bound(PathBuf);

impl Bound {
    fn new(source: &Path, target: &Path) -> Result<Self, Failed> {
        match Command::new("mount").arg("--bind").args([source, target]).status()?.success() {
            true => Ok(Self(target.to_owned())),
            false => Err("mount failed".into()),
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

async fn what_is_hidden_has_no_other_name() -> Result<(), Failed> {
    let root = tempfile::tempdir()?;
    let path = |name: &str| root.path().join(name);
    std::fs::create_dir_all(path("real/u/state/keys"))?;
    std::fs::create_dir(path("mounted"))?;
    std::fs::write(path("real/u/state/keys/key"), "secret")?;
    std::fs::write(path("real/u/data"), "data")?;
    symlink("real", path("link"))?;
    // What is listed, whether it may be written, and what is shown of it.
    let mut rows = vec![
        ("real", false, "real/u/data"),
        ("link", true, "link/u/data"),
        ("link/u", true, "link/u/data"),
        ("link/u", false, "link/u/data"),
        ("link/u/state", false, ""),
        ("link/u/state/keys", true, ""),
        ("real/u/state/keys", false, ""),
    ];
    let _bound = match nix::unistd::Uid::effective().is_root() {
        true => {
            rows.push(("mounted", false, "mounted/data"));
            Some(Bound::new(&path("real/u"), &path("mounted"))?)
        }
        false => None,
    };
    for (listed, writable, data) in rows {
        let world = World::with(|config| {
            let walls = &mut config.walls;
            let list = if writable { &mut walls.read_write } else { &mut walls.read_only };
            list.push(path(listed));
            config.hidden.push(path("real/u/state"));
        })
        .await;
        let keys = ["real/u/state", "link/u/state", "mounted/state"].map(|state| format!("{state}/keys/key")).join(" ");
        let script = format!("cd {} 2>/dev/null && cat {keys} {data} 2>/dev/null; true", root.path().display());
        let expected = if data.is_empty() { "" } else { "data" };
        world.check(&["sh", "-c", &script], expected).await.map_err(|failed| format!("{listed}: {failed:?}"))?;
        let proof = world.sandbox.prover.prove().await?;
        assert!(proof.holds(), "{listed}: {:?}", proof.failures().collect::<Vec<_>>());
    }
    Ok(())
}

async fn sockets_of_the_host_are_masked() -> Result<(), Failed> {
    let shown = tempfile::tempdir()?;
    let path = |name: &str| shown.path().join(name);
    let mut daemons = vec![UnixListener::bind(path("daemon"))?, UnixListener::bind(path("lent"))?];
    let _log = UnixDatagram::bind(path("log"))?;
    for open in [shown.path(), &path("daemon"), &path("lent"), &path("log")] {
        std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o777))?;
    }
    let world = World::with(|config| {
        config.walls.read_only.extend([shown.path().to_owned(), path("lent")]);
        let socket = config.workspace.join("served");
        daemons.push(UnixListener::bind(&socket).unwrap());
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o777)).unwrap();
    })
    .await;
    let code = format!(
        "
import socket
for path, kind in [('{shown}/daemon', 1), ('{shown}/log', 2), ('served', 1), ('{shown}/lent', 1)]:
    try:
        socket.socket(socket.AF_UNIX, kind).connect(path)
        print('reached')
    except OSError as error: print(error.errno)",
        shown = shown.path().display()
    );
    let refused = libc::ECONNREFUSED;
    world.python(&code, &format!("{refused}\n{refused}\n{refused}\nreached")).await?;
    drop(daemons);
    Ok(())
}

async fn own_files() -> Result<(), Failed> {
    let overlay = |path: &str| Overlay { path: path.into(), content: b"ours\n".to_vec() };
    let world = World::with(|config| {
        config.overlays = vec![
            overlay("/etc/profile"),
            overlay("/run/openshell/ca.pem"),
            overlay("/etc/ssl/certs/ca-certificates.crt"),
        ];
    })
    .await;
    for path in ["/etc/profile", "/run/openshell/ca.pem", "/etc/ssl/certs/ca-certificates.crt"] {
        world.check(&["cat", path], "ours").await?;
    }
    world.check(&["cat", "/etc/resolv.conf"], "nameserver 127.0.0.1\noptions timeout:5 attempts:2").await
}

async fn refusal_of(adjust: impl FnOnce(&mut SealConfig)) -> SealError {
    let workspace = tempfile::tempdir().unwrap();
    let mut config = SealConfig::new(workspace.path());
    adjust(&mut config);
    match Sandbox::seal(config, std::sync::Arc::new(Kept::default())).await {
        Ok(_) => panic!("it was sealed"),
        Err(error) => error,
    }
}

async fn root_is_refused() -> Result<(), Failed> {
    for user in ["root", "0", "0:0", "65532:0", "nosuchuser"] {
        let error = refusal_of(|config| config.walls.user = Some(user.into())).await;
        assert!(matches!(&error, SealError::Step { step, .. } if step == "choosing the workload's user"), "{error}");
    }
    let error =
        refusal_of(|config| config.overlays.push(Overlay { path: "/usr/none/x".into(), content: vec![] })).await;
    assert!(error.to_string().contains("/usr/none/x"), "{error}");
    let error = refusal_of(|config| config.init = vec!["/bin/true".into()]).await;
    assert!(matches!(error, SealError::Ended), "{error}");
    Ok(())
}

async fn strict_walls_need_every_path() -> Result<(), Failed> {
    let error = refusal_of(|config| {
        config.walls.strict = true;
        config.walls.read_only = vec!["/usr".into(), "/nowhere".into()];
    })
    .await;
    assert!(error.to_string().contains("/nowhere"), "{error}");
    Ok(())
}

/// Runs [`rootless_check`] as an ordinary user, from a copy of this executable that such a user can read.
async fn rootless() -> Result<(), Failed> {
    if !nix::unistd::Uid::effective().is_root() {
        return rootless_check().await;
    }
    let directory = tempfile::tempdir()?;
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755))?;
    let copy = directory.path().join("test");
    std::fs::copy(std::env::current_exe()?, &copy)?;
    let run = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
        .arg(copy)
        .arg("--rootless")
        .env("TMPDIR", "/tmp")
        .output()?;
    match run.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&run.stderr).into_owned().into()),
    }
}

pub async fn rootless_check() -> Result<(), Failed> {
    let world = World::new().await;
    let curl = std::fs::canonicalize("/usr/bin/curl")?;
    world.check(&["curl", "-sS", "http://rootless.test/"], &format!("{} rootless.test:80", curl.display())).await?;
    world.check(&["grep", "CapBnd", "/proc/self/status"], "CapBnd:\t0000000000000000").await?;
    world
        .check(&["sh", "-c", "echo x > file && cat file; touch /usr/x 2>/dev/null || echo kept out"], "x\nkept out")
        .await?;
    let proof = world.sandbox.prover.prove().await?;
    assert!(proof.holds(), "{:?}", proof.failures().collect::<Vec<_>>());

    // What a port is forwarded to.
    let server = "import socket; s = socket.create_server(('127.0.0.1', 8099)); s.accept()[0].sendall(b'hello')";
    let out = Stdio::logged(tempfile::tempfile()?.into())?;
    world.sandbox.spawner.spawn(world.request(&["/usr/bin/python3", "-c", server], out)).await?;
    let mut patience = 200;
    let mut forwarded = loop {
        match world.sandbox.spawner.dial(8099).await {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused && patience > 0 => {
                patience -= 1;
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            dialled => break dialled?,
        }
    };
    let mut said = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut forwarded, &mut said).await?;
    assert_eq!(said, "hello");
    Ok(())
}
