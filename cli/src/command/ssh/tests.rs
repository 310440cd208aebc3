//! Rows: what `~/.ssh` holds before, and after.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

const BLOCK: &str = "Host openshell-demo\n    User sandbox\n";

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
}

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn ssh(&self) -> PathBuf {
        self.0.path().join(".ssh")
    }

    fn with(files: &[(&str, &str)]) -> Self {
        let home = Self::new();
        std::fs::create_dir(home.ssh()).expect("made");
        for (name, text) in files {
            std::fs::write(home.ssh().join(name), text).expect("written");
            chmod(&home.ssh().join(name), 0o600);
        }
        chmod(&home.ssh(), 0o700);
        home
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.ssh().join(name))
            .unwrap_or_default()
            .replace(&self.0.path().display().to_string(), "~")
    }

    fn install(&self) -> Result<usize, String> {
        let installed = install(&self.ssh(), "openshell-demo", BLOCK);
        installed.map(|changed| changed.len()).map_err(|error| error.to_string())
    }
}

#[test]
fn one_line_is_added_and_once() {
    let include = "Include ~/.ssh/openshell_config\n";
    for (before, after) in [
        ("", include.to_owned()),
        ("Host a\n  Port 1\n", format!("{include}Host a\n  Port 1\n")),
        ("# mine\nUser=me\nHost \"a b\" c # note\n", format!("{include}# mine\nUser=me\nHost \"a b\" c # note\n")),
        ("ProxyCommand sh -c \"it's\n", format!("{include}ProxyCommand sh -c \"it's\n")),
        // Inside a block it would hold for some hosts alone.
        ("Host a\n  Include openshell_config\n", format!("{include}Host a\n  Include openshell_config\n")),
        ("User me\ninclude other openshell_config\n", "User me\ninclude other openshell_config\n".to_owned()),
        ("Include = \"~/.ssh/openshell_config\"\n", "Include = \"~/.ssh/openshell_config\"\n".to_owned()),
    ] {
        let home = Home::with(&[("config", before)]);
        home.install().expect("installed");
        assert_eq!(home.read("config"), after);
        assert_eq!(home.install(), Ok(0), "a second run changes nothing");
        assert_eq!(home.read("config"), after);
    }
}

#[test]
fn where_nothing_is_all_is_made_for_the_user_alone() {
    let home = Home::new();
    assert_eq!(home.install(), Ok(2));
    let mode = |path: PathBuf| path.metadata().expect("it exists").permissions().mode() & 0o777;
    assert_eq!((mode(home.ssh()), mode(home.ssh().join("config"))), (0o700, 0o600));
    assert_eq!(home.read("openshell_config"), format!("{HEADER}\n{BLOCK}"));
}

#[test]
fn each_sandbox_has_one_block() {
    let other = "Host openshell-other\n    User x\n";
    let old = "Host openshell-demo\n    User old\n    Port 1\n";
    for (before, after) in [
        (format!("{HEADER}\n{other}"), format!("{HEADER}\n{other}\n{BLOCK}")),
        (format!("{HEADER}\n{old}\n\n{other}"), format!("{HEADER}\n{BLOCK}\n{other}")),
        (format!("{HEADER}\n{BLOCK}"), format!("{HEADER}\n{BLOCK}")),
    ] {
        let home = Home::with(&[("openshell_config", &before)]);
        home.install().expect("installed");
        assert_eq!(home.read("openshell_config"), after);
    }
}

#[test]
fn what_is_not_understood_stays_as_it_is() {
    for (name, text, expected) in [
        ("config", "Host \"a\n", "line 1: a quote is not closed"),
        ("config", "User me\n<<<<<<< HEAD\n", "line 2: this is no keyword"),
        ("config", "User\n", "line 1: a keyword without a value"),
        ("config", "User\0 me\n", "line 1: the file is not text"),
        ("openshell_config", "Host *\n  User me\n", "line 1: this file holds sandboxes alone"),
        ("openshell_config", "User me\n", "line 1: this file holds sandboxes alone"),
        ("openshell_config", "Host openshell-a b\n", "line 1: this file holds sandboxes alone"),
    ] {
        let home = Home::with(&[(name, text)]);
        let refused = home.install().expect_err(text);
        assert!(refused.ends_with(expected), "{refused}, not {expected}");
        assert_eq!(home.read(name), text);
        assert_eq!(std::fs::read_dir(home.ssh()).expect("readable").count(), 1, "nothing was written");
    }
}

#[test]
fn files_that_others_may_write_are_refused() {
    for name in [".ssh", ".ssh/config", ".ssh/openshell_config"] {
        let home = Home::with(&[("config", "User me\n"), ("openshell_config", "")]);
        chmod(&home.0.path().join(name), if name == ".ssh" { 0o770 } else { 0o620 });
        let refused = home.install().expect_err(name);
        assert!(refused.contains("others may write it"), "{refused}");
        assert_eq!(home.read("config"), "User me\n");
    }
}

#[test]
fn a_linked_configuration_stays_linked() {
    let home = Home::with(&[]);
    let kept = home.0.path().join("dotfiles");
    std::fs::write(&kept, "User me\n").expect("written");
    symlink(&kept, home.ssh().join("config")).expect("linked");
    assert_eq!(home.install(), Ok(2));
    assert!(home.ssh().join("config").is_symlink());
    assert!(std::fs::read_to_string(&kept).expect("it exists").ends_with("config\nUser me\n"));
}
