//! The other proxies, and what processes use.

use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use openshell_tests::origin::Authority;
use openshell_tests::servers::free_port;
use openshell_tests::world::World;

/// A running proxy.
pub struct Peer {
    pub process: Process,
    pub port: u16,
    /// The certificate it signs with.
    pub ca: String,
}

/// A process and all it started; gone when dropped.
pub struct Process(Child);

/// What processes have used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    pub cpu_seconds: f64,
    pub resident_kib: u64,
}

/// A process as `/proc` shows it.
pub struct Seen {
    pub command: String,
    group: u32,
}

/// Each peer, or why it is not here. `origins`: the certificate that origins' are signed with.
pub fn all(world: &World, origins: &str) -> Vec<(&'static str, Result<Peer>)> {
    vec![
        ("Squid, ssl-bump", squid(world, origins)),
        ("mitmproxy", mitmproxy(world, origins)),
        ("hudsucker, no handler", hudsucker(world, origins)),
    ]
}

fn authority(world: &World, name: &str) -> Result<(String, String)> {
    let authority = Authority::new()?;
    let write =
        |file: &str, text: &str| anyhow::Ok(world.write(&format!("{name}/{file}"), text)?.display().to_string());
    Ok((write("ca.pem", authority.pem())?, write("ca-key.pem", &authority.key_pem())?))
}

fn squid(world: &World, origins: &str) -> Result<Peer> {
    let (ca, key) = authority(world, "squid")?;
    let (port, directory) = (free_port()?, world.path("squid"));
    let certgen = "/usr/lib/squid/security_file_certgen";
    ensure!(Path::new(certgen).is_file(), "squid-openssl is not installed");
    let database = directory.join("db");
    let made = Command::new(certgen).args(["-c", "-s"]).arg(&database).args(["-M", "16MB"]).output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    ensure!(Command::new("chown").args(["-R", "proxy"]).arg(&directory).status()?.success(), "chown");
    let settings = format!(
        "http_port 127.0.0.1:{port} ssl-bump tls-cert={ca} tls-key={key} generate-host-certificates=on dynamic_cert_mem_cache_size=16MB\n\
         sslcrtd_program {certgen} -s {} -M 16MB\nssl_bump bump all\ntls_outgoing_options cafile={origins}\nhttp_access allow all\n\
         cache deny all\naccess_log none\ncache_log {}/log\npid_filename none\nvisible_hostname bench\ncoredump_dir none\n\
         shutdown_lifetime 1 seconds\ncache_effective_user proxy\n",
        database.display(),
        directory.display()
    );
    let settings = world.write("squid/squid.conf", &settings)?;
    let mut command = Command::new("squid");
    command.arg("-N").arg("-f").arg(settings);
    Ok(Peer { process: Process::start(command, port)?, port, ca })
}

fn mitmproxy(world: &World, origins: &str) -> Result<Peer> {
    let program = std::env::var("MITMDUMP").context("MITMDUMP names no program")?;
    let (port, directory) = (free_port()?, world.path("mitmproxy"));
    std::fs::create_dir(&directory)?;
    let mut command = Command::new(program);
    command.args(["-q", "--listen-host", "127.0.0.1", "-p", &port.to_string()]);
    command.args(["--set", &format!("confdir={}", directory.display())]);
    command.args(["--set", &format!("ssl_verify_upstream_trusted_ca={origins}")]);
    let process = Process::start(command, port)?;
    Ok(Peer { process, port, ca: directory.join("mitmproxy-ca-cert.pem").display().to_string() })
}

fn hudsucker(world: &World, origins: &str) -> Result<Peer> {
    let program = std::env::var("HUDSUCKER").context("HUDSUCKER names no program")?;
    let (ca, key) = authority(world, "hudsucker")?;
    let port = free_port()?;
    let mut command = Command::new(program);
    command.args([&port.to_string(), &ca, &key, origins]);
    Ok(Peer { process: Process::start(command, port)?, port, ca })
}

impl Process {
    /// Starts it and waits until it listens.
    pub fn start(mut command: Command, port: u16) -> Result<Self> {
        let child = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut process = Self(child.with_context(|| format!("{command:?}"))?);
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = process.0.try_wait()? {
                bail!("{command:?} ended with {status}");
            }
            ensure!(start.elapsed() < Duration::from_secs(30), "{command:?} does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(process)
    }

    /// What it and all it started have used.
    pub fn usage(&self) -> Usage {
        usage(|process| process.group == self.0.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-9", "--", &format!("-{}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

/// What a world's supervisors have used.
pub fn supervisor(world: &World) -> Usage {
    let root = world.root().to_string_lossy();
    usage(|process| process.command.contains("openshell-supervisor") && process.command.contains(root.as_ref()))
}

/// What one process has used.
pub fn process(pid: u32) -> Usage {
    look(&PathBuf::from(format!("/proc/{pid}"))).map(|(_, usage)| usage).unwrap_or_default()
}

/// What the processes have used that `of` picks.
fn usage(of: impl Fn(&Seen) -> bool) -> Usage {
    let mut total = Usage::default();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some((_, usage)) = look(&entry.path()).filter(|(seen, _)| of(seen)) else { continue };
        total.cpu_seconds += usage.cpu_seconds;
        total.resident_kib += usage.resident_kib;
    }
    total
}

/// A process by its directory in `/proc`.
fn look(directory: &Path) -> Option<(Seen, Usage)> {
    let read = |file: &str| std::fs::read_to_string(directory.join(file)).unwrap_or_default();
    // After the name, which may hold anything: state is field 3 of proc_pid_stat(5).
    let stat = read("stat");
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    let seen = Seen { command: read("cmdline").replace('\0', " "), group: field(5) as u32 };
    // Clock ticks, a hundred a second on Linux.
    let cpu_seconds = (field(14) + field(15)) as f64 / 100.0;
    let status = read("status");
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    Some((seen, Usage { cpu_seconds, resident_kib: resident.unwrap_or(0) }))
}
