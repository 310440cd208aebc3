//! Processes: started, signalled, reaped; and everything's end.

use std::io::BufRead as _;
use std::time::Duration;

use libtest_mimic::Failed;
use openshell_proxy::isolation::{ExitStatus, SpawnError, Stdio};

use crate::world::World;

crate::tests![
    exit_codes_and_signals,
    programs_that_can_not_run,
    a_terminal,
    orphans_are_reaped,
    the_end_of_the_sandbox,
    the_end_of_the_supervisor,
];

async fn exit_codes_and_signals() -> Result<(), Failed> {
    let world = World::new().await;
    for (script, expected) in [
        ("exit 0", ExitStatus::Code(0)),
        ("exit 41", ExitStatus::Code(41)),
        ("kill -TERM $$", ExitStatus::Signal(libc::SIGTERM)),
    ] {
        assert_eq!(world.run(&["sh", "-c", script]).await.status, expected, "{script}");
    }
    // Nothing is blocked that a program would wait for: some shells wait for SIGCHLD.
    world.check(&["grep", "^SigBlk", "/proc/self/status"], "SigBlk:\t0000000000000000").await?;
    let mut child = world.sandbox.spawner.spawn(world.request(&["sleep", "1000"], Stdio::null()?)).await?;
    child.signal(libc::SIGTERM)?;
    assert_eq!(child.wait().await?, ExitStatus::Signal(libc::SIGTERM));
    child.signal(libc::SIGTERM)?;
    Ok(())
}

async fn programs_that_can_not_run() -> Result<(), Failed> {
    let world = World::new().await;
    for (program, errno) in [("/nowhere", libc::ENOENT), ("nowhere", libc::ENOENT), ("/etc/hosts", libc::EACCES)] {
        match world.sandbox.spawner.spawn(world.request(&[program], Stdio::null()?)).await {
            Err(SpawnError::Exec { source, .. }) => assert_eq!(source.raw_os_error(), Some(errno), "{program}"),
            Err(other) => return Err(other.into()),
            Ok(_) => return Err(program.into()),
        }
    }
    let mut nowhere = world.request(&["/bin/true"], Stdio::null()?);
    nowhere.cwd = "/etc/hosts".into();
    match world.sandbox.spawner.spawn(nowhere).await {
        Err(error @ SpawnError::Directory { .. }) => assert_eq!(
            error.to_string(),
            "can't use /etc/hosts as the working directory: Not a directory (os error 20)"
        ),
        Err(other) => return Err(other.into()),
        Ok(_) => return Err("a file is no directory".into()),
    }
    assert!(matches!(
        world.sandbox.spawner.spawn(world.request(&[], Stdio::null()?)).await,
        Err(SpawnError::NoCommand)
    ));
    Ok(())
}

async fn a_terminal() -> Result<(), Failed> {
    let world = World::new().await;
    let script = "tty; stty size; read line; stty size; echo got $line; kill -INT $$; echo never";
    let request = world.request(&["bash", "-c", script], Stdio::Terminal { columns: 101, rows: 33 });
    let mut child = world.sandbox.spawner.spawn(request).await?;
    let pty = child.pty.take().ok_or("no terminal")?;
    let mut output = String::new();
    let mut buffer = [0; 1024];
    while !output.contains("33 101") {
        let length = pty.read(&mut buffer).await?;
        output.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    assert!(output.starts_with("/dev/pts/0"), "{output}");
    pty.resize(77, 22)?;
    pty.handle().write_all(b"hello\n").await?;
    loop {
        match pty.read(&mut buffer).await? {
            0 => break,
            length => output.push_str(&String::from_utf8_lossy(&buffer[..length])),
        }
    }
    assert!(output.contains("22 77") && output.contains("got hello") && !output.contains("never"), "{output}");
    assert_eq!(child.wait().await?, ExitStatus::Signal(libc::SIGINT));
    Ok(())
}

async fn orphans_are_reaped() -> Result<(), Failed> {
    let world = World::new().await;
    world.check(&["sh", "-c", "(sleep 0.05 &) ; (sh -c 'sleep 0.05 & exit' &)"], "").await?;
    let zombies = "for n in 1 2 3 4 5 6 7 8 9; do grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null || exit 0; sleep 0.3; done; exit 1";
    world.check(&["sh", "-c", &format!("sleep 0.2; {zombies}")], "").await
}

async fn the_end_of_the_sandbox() -> Result<(), Failed> {
    let world = World::new().await;
    let mut child = world.sandbox.spawner.spawn(world.request(&["sleep", "1000"], Stdio::null()?)).await?;
    let init = world.sandbox.seal.init_pid;
    world.sandbox.spawner.kill();
    assert!(matches!(child.wait().await, Err(SpawnError::Gone)));
    world.sandbox.spawner.ended().await;
    assert!(!std::path::Path::new(&format!("/proc/{init}")).exists());
    let again = world.sandbox.spawner.spawn(world.request(&["true"], Stdio::null()?)).await;
    assert!(matches!(again, Err(SpawnError::Gone | SpawnError::Control(_))));
    Ok(())
}

/// The other half of [`the_end_of_the_supervisor`]: seals, starts a workload that ignores signals, waits to be killed.
pub async fn supervise() -> ! {
    let world = World::new().await;
    let request = world.request(&["sh", "-c", "trap '' TERM HUP INT; sleep 1000"], Stdio::null().unwrap());
    let _child = world.sandbox.spawner.spawn(request).await.unwrap();
    println!("{}", world.sandbox.seal.init_pid);
    std::future::pending().await
}

async fn the_end_of_the_supervisor() -> Result<(), Failed> {
    let mut supervisor = std::process::Command::new(std::env::current_exe()?)
        .arg("--supervise")
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    std::io::BufReader::new(supervisor.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let init: u32 = line.trim().parse()?;
    let children = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children"))?;
    let workload: u32 = children.trim().parse()?;
    supervisor.kill()?;
    supervisor.wait()?;
    // PID 1 is gone only after everyone in its namespace is.
    for _ in 0..200 {
        let alive = |pid: u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
        if !alive(init) && !alive(workload) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("the workload outlived its supervisor".into())
}
