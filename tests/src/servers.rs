//! Servers from packages, each on a loopback port of its own and gone when dropped.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// Longest wait for a server to listen.
const START: Duration = Duration::from_secs(30);

/// A running server.
pub struct Server {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    child: Child,
    directory: tempfile::TempDir,
}

impl Server {
    /// PostgreSQL with TLS on, user `postgres`, no password.
    pub fn postgres() -> Result<Self> {
        let binaries = newest("/usr/lib/postgresql", "bin/initdb")?;
        let directory = directory("postgres")?;
        let data = directory.path().join("data");
        let initdb = binaries.join("bin/initdb");
        run(as_owner("postgres", directory.path(), &initdb)?
            .arg("-D")
            .arg(&data)
            .args(["-A", "trust", "-U", "postgres"]))?;
        run(Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=db", "-keyout"])
            .arg(data.join("server.key"))
            .arg("-out")
            .arg(data.join("server.crt")))?;
        run(Command::new("chown").args(["-R", "--reference"]).arg(&data).arg(&data))?;
        run(Command::new("chmod").arg("600").arg(data.join("server.key")))?;
        let port = free_port()?;
        let mut command = as_owner("postgres", directory.path(), &binaries.join("bin/postgres"))?;
        command.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-c", "ssl=on", "-p", &port.to_string(), "-k"]);
        command.arg(directory.path());
        // It listens before it answers.
        let mut ask = Command::new(binaries.join("bin/pg_isready"));
        ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
        Self::start_until(command, port, directory, || ask.status().is_ok_and(|status| status.success()))
    }

    /// Redis, nothing kept.
    pub fn redis() -> Result<Self> {
        let (directory, port) = (directory("redis")?, free_port()?);
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string(), "--dir"]).arg(directory.path());
        Self::start(command, port, directory)
    }

    /// An OpenSSH server that lets the user of this process in with the key [`Server::path`]`("client")`.
    pub fn sshd() -> Result<Self> {
        Self::sshd_with("")
    }

    /// The same with further settings.
    pub fn sshd_with(more: &str) -> Result<Self> {
        let (directory, port) = (directory("sshd")?, free_port()?);
        let at = |name: &str| directory.path().join(name);
        for key in ["host", "client"] {
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at(key)))?;
        }
        std::fs::create_dir_all("/run/sshd").context("the folder that sshd wants")?;
        let settings = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PermitRootLogin yes\nPidFile none\nSubsystem sftp internal-sftp\n{more}\n",
            at("host").display(),
            at("client.pub").display()
        );
        std::fs::write(at("sshd_config"), settings)?;
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(at("sshd_config"));
        Self::start(command, port, directory)
    }

    /// An OCI registry in the clear.
    pub fn registry() -> Result<Self> {
        Self::registry_with("127.0.0.1", None)
    }

    /// The same at another address of this machine's, where only those are let in whom a line of htpasswd(1) names.
    pub fn registry_with(address: &str, users: Option<&str>) -> Result<Self> {
        let (directory, port) = (directory("registry")?, free_port()?);
        let at = |name: &str| directory.path().join(name).display().to_string();
        let mut settings = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}:{port}'}}\n",
            at("data")
        );
        if let Some(users) = users {
            std::fs::write(at("users"), users)?;
            settings += &format!("auth: {{htpasswd: {{realm: tests, path: {}}}}}\n", at("users"));
        }
        std::fs::write(directory.path().join("config.yml"), settings)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(directory.path().join("config.yml"));
        Self::start(command, port, directory)
    }

    /// nginx with these servers (blocks of `http`), in which `LISTEN` stands for its address and `HERE` for its directory;
    /// `files` are written there.
    pub fn nginx(servers: &str, files: &[(&str, &str)]) -> Result<Self> {
        let (directory, port) = (directory("nginx")?, free_port()?);
        for (name, contents) in files {
            std::fs::write(directory.path().join(name), contents)?;
        }
        let here = directory.path().display().to_string();
        let servers = servers.replace("LISTEN", &format!("127.0.0.1:{port}")).replace("HERE", &here);
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("    {kind}_temp_path {here}/{kind};\n"))
            .concat();
        let settings = format!(
            "daemon off;\nmaster_process off;\npid {here}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n    \
             access_log {here}/access.log;\n{temporary}{servers}}}\n"
        );
        std::fs::write(directory.path().join("nginx.conf"), settings)?;
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-p").arg(directory.path()).args(["-c", "nginx.conf"]);
        Self::start(command, port, directory)
    }

    /// A Python program that is given its port, run by the tests' own Python ([`python`]); `files` are written beside it.
    pub fn python(program: &str, files: &[(&str, &str)]) -> Result<Self> {
        Self::python_with(program, files, &[])
    }

    /// The same, given more than its port.
    pub fn python_with(program: &str, files: &[(&str, &str)], more: &[&str]) -> Result<Self> {
        Self::script(&python()?, "server.py", program, files, more)
    }

    /// A module of Node that is given its port; `files` are written beside it.
    pub fn node(program: &str, files: &[(&str, &str)]) -> Result<Self> {
        Self::script(Path::new("node"), "server.mjs", program, files, &[])
    }

    fn script(interpreter: &Path, name: &str, program: &str, files: &[(&str, &str)], more: &[&str]) -> Result<Self> {
        let (directory, port) = (directory("script")?, free_port()?);
        for (name, contents) in files.iter().chain(&[(name, program)]) {
            std::fs::write(directory.path().join(name), contents)?;
        }
        let mut command = Command::new(interpreter);
        command.args([name, &port.to_string()]).args(more).current_dir(directory.path());
        Self::start(command, port, directory)
    }

    /// A program that listens on this port.
    pub fn program(command: Command, port: u16) -> Result<Self> {
        Self::start(command, port, directory("program")?)
    }

    /// A file of its directory.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    fn start(command: Command, port: u16, directory: tempfile::TempDir) -> Result<Self> {
        Self::start_until(command, port, directory, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
    }

    /// Starts it and waits until it is `ready`.
    fn start_until(
        mut command: Command,
        port: u16,
        directory: tempfile::TempDir,
        mut ready: impl FnMut() -> bool,
    ) -> Result<Self> {
        let log = std::fs::File::create(directory.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let mut server = Self { port, child, directory };
        let start = Instant::now();
        while !ready() {
            let log = || std::fs::read_to_string(server.directory.path().join("log")).unwrap_or_default();
            if let Some(status) = server.child.try_wait()? {
                bail!("{command:?} ended with {status}: {}", log());
            }
            ensure!(start.elapsed() < START, "{command:?} does not become ready: {}", log());
            sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Python that `scripts/test.sh` prepared, with the packages of `tests/requirements.txt`.
pub fn python() -> Result<PathBuf> {
    let directory = std::env::var("OPENSHELL_TEST_PYTHON").unwrap_or_else(|_| "/opt/openshell-tests/python".into());
    let found = Path::new(&directory).join("bin/python3");
    ensure!(found.is_file(), "{} is missing; run: scripts/test-tools.sh", found.display());
    Ok(found)
}

/// A port that nobody listens on at the moment.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A directory that other users can walk through.
fn directory(name: &str) -> Result<tempfile::TempDir> {
    let directory = tempfile::Builder::new().prefix(&format!("openshell-{name}-")).tempdir()?;
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(directory)
}

/// A command that runs as `user`, who then owns `directory`: the server refuses to be root.
fn as_owner(user: &str, directory: &Path, program: &Path) -> Result<Command> {
    run(Command::new("chown").arg(user).arg(directory))?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups", "--pdeathsig", "KILL", "--"]).arg(program);
    command.current_dir(directory);
    Ok(command)
}

/// The last folder of `parent` that holds `file`.
fn newest(parent: &str, file: &str) -> Result<PathBuf> {
    let found =
        std::fs::read_dir(parent).with_context(|| format!("{parent} is missing; run: scripts/test-tools.sh"))?;
    let found = found.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.join(file).is_file()).max();
    found.with_context(|| format!("{parent} holds no {file}"))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
