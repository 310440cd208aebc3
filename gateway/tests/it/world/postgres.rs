//! PostgreSQL for tests: one cluster for all of them, a database for each; or a cluster of a test's own, to be stopped and killed.
//!
//! Tests are processes, so whoever comes first starts the cluster. Each holds a lock while it lives; a watchdog ends the cluster when
//! nobody holds it any more.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::{Flock, FlockArg};

/// Longest wait for a server to answer.
const START: Duration = Duration::from_secs(60);

/// A database of a test's own on the cluster of all.
pub fn database() -> String {
    static CLUSTER: OnceLock<(u16, Flock<File>)> = OnceLock::new();
    let (port, _) = CLUSTER.get_or_init(shared);
    create(*port)
}

fn create(port: u16) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
    let name = format!("t{now}_{process}_{number}");
    psql(&url(port, "postgres"), &format!("CREATE DATABASE {name}"));
    url(port, &name)
}

fn url(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

/// Runs statements; answers the rows, without alignment.
pub fn psql(url: &str, sql: &str) -> String {
    let output =
        Command::new("psql").args(["-qAt", "-v", "ON_ERROR_STOP=1", "-c", sql, url]).output().expect("psql runs");
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All that is in a database, as `pg_dump` writes it: bytes in hex.
pub fn dump(url: &str) -> String {
    let output = Command::new("pg_dump").args(["--inserts", url]).output().expect("pg_dump runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A cluster that is the test's alone.
pub struct Cluster {
    directory: tempfile::TempDir,
    port: u16,
    server: Option<Child>,
}

impl Cluster {
    /// Makes one and starts it.
    pub fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("openshell-postgres-").tempdir().unwrap();
        initdb(directory.path());
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut cluster = Self { directory, port, server: None };
        cluster.begin();
        cluster
    }

    /// A database on it.
    pub fn database(&self) -> String {
        create(self.port)
    }

    /// Starts the server again.
    pub fn begin(&mut self) {
        let mut command = server(self.directory.path(), self.port);
        // It must not outlive the test, however that ends.
        self.server = Some(command.spawn().expect("postgres starts"));
        answers(self.port);
    }

    /// Ends the server at once, as a crash would.
    pub fn kill(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        // Immediate shutdown: its own processes end with it.
        let _ =
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(server.id() as i32), nix::sys::signal::Signal::SIGQUIT);
        server.wait().unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The port of the cluster of all tests, and a claim on it. What it starts outlives this process.
#[allow(clippy::zombie_processes)]
fn shared() -> (u16, Flock<File>) {
    let user = nix::unistd::geteuid();
    let base = std::env::temp_dir().join(format!("openshell-tests-postgres-{user}"));
    let (directory, claims) = (base.with_extension("cluster"), base.with_extension("claims"));
    let open = |path: &Path| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
    // One at a time looks, and starts it.
    let _turn = Flock::lock(open(&base.with_extension("turn")), FlockArg::LockExclusive).map_err(|(_, e)| e).unwrap();
    let claim = Flock::lock(open(&claims), FlockArg::LockShared).map_err(|(_, error)| error).unwrap();
    let port_file = directory.join("port");
    let port = || std::fs::read_to_string(&port_file).ok()?.trim().parse::<u16>().ok();
    if let Some(port) = port().filter(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok()) {
        return (port, claim);
    }
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir(&directory).unwrap();
    initdb(&directory);
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let mut command = server(&directory, port);
    let child = command.process_group(0).spawn().expect("postgres starts");
    answers(port);
    let watch = format!(
        "while sleep 15; do flock -n -x {claims} sh -c 'kill -INT {pid}; sleep 1; rm -rf {directory}' && exit; done",
        claims = claims.display(),
        pid = child.id(),
        directory = directory.display(),
    );
    let mut watchdog = Command::new("sh");
    watchdog.args(["-c", &watch]).process_group(0).current_dir("/");
    watchdog.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a watchdog");
    std::fs::write(port_file, port.to_string()).unwrap();
    (port, claim)
}

fn binaries() -> PathBuf {
    let found = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is missing; run: scripts/test-tools.sh");
    let found =
        found.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).filter(|path| path.join("initdb").is_file());
    found.max().expect("a version of PostgreSQL")
}

/// A command of a user who is not root: the server refuses to be.
fn as_owner(program: PathBuf) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"]).arg(program);
    command
}

fn initdb(directory: &Path) {
    if nix::unistd::geteuid().is_root() {
        let done = Command::new("chown").arg("postgres").arg(directory).status().unwrap();
        assert!(done.success());
    }
    let mut command = as_owner(binaries().join("initdb"));
    command.arg("-D").arg(directory.join("data")).args([
        "-A",
        "trust",
        "-U",
        "postgres",
        "--no-sync",
        "--locale=C.UTF-8",
    ]);
    let output = command.current_dir("/").output().expect("initdb runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn server(directory: &Path, port: u16) -> Command {
    let mut command = as_owner(binaries().join("postgres"));
    let log = OpenOptions::new().create(true).append(true).open(directory.join("log")).unwrap();
    command.arg("-D").arg(directory.join("data")).arg("-k").arg(directory).args([
        "-h",
        "127.0.0.1",
        "-p",
        &port.to_string(),
    ]);
    // No test pulls the plug of its machine.
    command.args(["-c", "fsync=off", "-c", "max_connections=400", "-c", "shared_buffers=32MB"]);
    command.current_dir("/").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command
}

fn answers(port: u16) {
    let began = Instant::now();
    loop {
        let asked =
            Command::new("psql").args(["-qAt", "-c", "SELECT 1", &url(port, "postgres")]).output().expect("psql runs");
        if asked.status.success() {
            return;
        }
        assert!(began.elapsed() < START, "PostgreSQL does not answer: {}", String::from_utf8_lossy(&asked.stderr));
        std::thread::sleep(Duration::from_millis(30));
    }
}
