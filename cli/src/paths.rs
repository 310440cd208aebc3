//! Directories, by the XDG base directory specification.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// `$XDG_STATE_HOME/openshell`, by default `~/.local/state/openshell`.
pub fn state() -> Result<PathBuf, Error> {
    base("XDG_STATE_HOME", ".local/state")
}

/// `$XDG_DATA_HOME/openshell`, by default `~/.local/share/openshell`.
pub fn data() -> Result<PathBuf, Error> {
    base("XDG_DATA_HOME", ".local/share")
}

/// `$XDG_CONFIG_HOME/openshell`, by default `~/.config/openshell`.
pub fn config() -> Result<PathBuf, Error> {
    base("XDG_CONFIG_HOME", ".config")
}

/// `$OPENSHELL_COMPILE_CACHE`, else `$XDG_CACHE_HOME/openshell/compile-cache`, by default in `~/.cache`: where compiled functions are kept for
/// the next command. `None`: there is no home.
pub fn compile_cache() -> Option<PathBuf> {
    let given = std::env::var_os("OPENSHELL_COMPILE_CACHE").map(PathBuf::from).filter(|path| path.is_absolute());
    given.or_else(|| Some(base("XDG_CACHE_HOME", ".cache").ok()?.join("compile-cache")))
}

/// `$XDG_CONFIG_HOME/systemd/user`: where a user's own units lie.
pub fn user_units() -> Result<PathBuf, Error> {
    Ok(base("XDG_CONFIG_HOME", ".config")?.with_file_name("systemd").join("user"))
}

/// A relative path in the variable counts as absent, as the specification says.
fn base(variable: &str, below_home: &str) -> Result<PathBuf, Error> {
    let given = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(below_home));
    given
        .or_else(home)
        .map(|base| base.join("openshell"))
        .ok_or_else(|| Error::NoHome { variable: variable.to_owned() })
}

/// A program beside this executable, else in `PATH`.
pub fn program(name: &str) -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(name)));
    beside.filter(|path| is_program(path)).or_else(|| in_path(name))
}

/// A program in `PATH`.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}
