//! A world: the built binaries, a gateway with a state of its own, and a directory that goes away.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};

/// One gateway and whatever it runs. Dropping it deletes the sandboxes and stops the gateway.
pub struct World {
    directory: tempfile::TempDir,
    binaries: PathBuf,
    environment: Vec<(String, String)>,
}

/// What a command printed and how it ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Exit code; -1: ended by a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// The same, if it succeeded; else its whole output as an error.
    pub fn ok(self) -> Result<Self> {
        ensure!(self.code == 0, "exit code {}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr);
        Ok(self)
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("not JSON: {}{}", self.stdout, self.stderr))
    }
}

/// Where `make build` put the binaries: `OPENSHELL_BIN_DIR`, else `dist` in the target directory this test was built in.
pub fn binaries() -> Result<PathBuf> {
    let found = match std::env::var_os("OPENSHELL_BIN_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => {
            let test = std::env::current_exe()?;
            let target = test.ancestors().find(|path| path.join("dist").is_dir());
            target.context("no target/dist above this test; run: make build")?.join("dist")
        }
    };
    ensure!(found.join("openshell").is_file(), "{} holds no openshell binary; run: make build", found.display());
    Ok(found)
}

impl World {
    /// An empty world. Nothing runs yet: the first command that needs a gateway starts one.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("openshell-world-").tempdir()?;
        // Workloads run as another user and must be able to walk through.
        std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        // Whether a Docker engine answers on this machine must not change what is tested.
        let environment = vec![("OPENSHELL_RUNTIME".to_owned(), "process".to_owned())];
        Ok(Self { directory, binaries: binaries()?, environment })
    }

    /// The same with the programs of another directory.
    #[must_use]
    pub fn with_binaries(mut self, directory: &Path) -> Self {
        self.binaries = directory.to_owned();
        self
    }

    /// The same with a variable set for every command, and so for the gateway.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file or directory of this world.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    /// Writes a file of this world.
    pub fn write(&self, relative: &str, contents: &str) -> Result<PathBuf> {
        let path = self.path(relative);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, contents)?;
        Ok(path)
    }

    /// A command line `openshell …` in this world, ready to run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.binaries.join("openshell"));
        command
            .args(arguments)
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_DATA_HOME", self.path("data"))
            .env_remove("OPENSHELL_GATEWAY")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `openshell …` to its end.
    pub fn run(&self, arguments: &[&str]) -> Result<Ran> {
        Ok(finished(self.command(arguments).output().context("running openshell")?))
    }

    /// Runs a shell script in a sandbox.
    pub fn shell(&self, sandbox: &str, script: &str) -> Result<Ran> {
        self.run(&["sandbox", "exec", sandbox, "--", "sh", "-c", script])
    }

    /// The world's directory.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }
}

/// Runs a command to its end, without holding up whatever else this runtime serves.
pub async fn finish(mut command: Command) -> Result<Ran> {
    let output = tokio::task::spawn_blocking(move || command.output()).await?;
    Ok(finished(output.context("running openshell")?))
}

fn finished(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let Ok(listed) = self.run(&["sandbox", "list", "-g", "local", "-o", "json"]) else { return };
        let names = listed.json().ok().and_then(|value| {
            Some(value.as_array()?.iter().filter_map(|s| s["name"].as_str().map(str::to_owned)).collect::<Vec<_>>())
        });
        for name in names.unwrap_or_default() {
            let _ = self.run(&["sandbox", "delete", "-g", "local", &name]);
        }
        let _ = self.run(&["gateway", "stop", "-g", "local"]);
    }
}
