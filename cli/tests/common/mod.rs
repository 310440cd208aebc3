//! The built binary, run in a home of its own.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What a run printed and how it ended.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A directory with the command line's state, data and configuration.
pub struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The binary, ready to run here, with none of the caller's settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_openshell"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        for (variable, below) in [
            ("XDG_STATE_HOME", "state"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_CACHE_HOME", "cache"),
        ] {
            command.env(variable, self.path().join(below));
        }
        for variable in ["OPENSHELL_GATEWAY", "OPENSHELL_TOKEN", "OPENSHELL_CA_FILE", "COLUMNS"] {
            command.env_remove(variable);
        }
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.finish(self.command(arguments).output().expect("the binary runs"))
    }

    /// What was printed, with this home's path replaced, so that it can be compared.
    pub fn finish(&self, output: Output) -> Ran {
        let home = self.path().display().to_string();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace(&home, "HOME");
        Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    /// Everything in one text.
    pub fn whole(&self) -> String {
        let mut text = format!("exit code: {}\n", self.code);
        // Progress is shown of what takes over a second: whether it does is up to the machine.
        let told: Vec<&str> = self.stderr.lines().filter(|line| !line.ends_with(" …")).collect();
        for (name, part) in [("stdout", &self.stdout), ("stderr", &told.join("\n"))] {
            if !part.is_empty() {
                text.push_str(&format!("--- {name}\n{}\n", part.trim_end()));
            }
        }
        text
    }
}
