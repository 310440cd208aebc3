//! Where Java runtimes keep the certificates they trust.

use std::fs;
use std::path::{Path, PathBuf};

/// What the runtimes of a system share: their own store often is a link to one of these.
const SHARED: [&str; 3] =
    ["/etc/ssl/certs/java/cacerts", "/etc/pki/ca-trust/extracted/java/cacerts", "/etc/pki/java/cacerts"];
/// Directories with runtimes in them, and what the names of those hold.
const HOMES: [(&str, &str); 6] = [
    ("/usr/lib/jvm", ""),
    ("/usr/lib64/jvm", ""),
    ("/opt/java", ""),
    ("/usr/java", ""),
    ("/opt", "jdk"),
    ("/usr/local", "jdk"),
];
/// In a runtime, and up to Java 8 in a development kit.
const WITHIN: [&str; 2] = ["lib/security/cacerts", "jre/lib/security/cacerts"];

/// Names that are looked at in each directory.
const MOST_NAMES: usize = 256;
/// Trust stores that are taken.
const MOST: usize = 16;

/// The trust stores that exist, each once, by the path that no link leads on from: the one of `home` (`$JAVA_HOME`), those that
/// runtimes share, those of runtimes in the usual places. The first 16.
pub fn stores(home: Option<&Path>) -> Vec<PathBuf> {
    among(home, &SHARED, &HOMES)
}

fn among<P: AsRef<Path>>(home: Option<&Path>, shared: &[P], homes: &[(P, &str)]) -> Vec<PathBuf> {
    let within = |home: &Path| WITHIN.map(|store| home.join(store));
    let runtimes = homes.iter().flat_map(|(directory, part)| named(directory.as_ref(), part));
    let candidates = home
        .into_iter()
        .flat_map(within)
        .chain(shared.iter().map(|store| store.as_ref().to_path_buf()))
        .chain(runtimes.flat_map(|home| within(&home)));
    let mut found = Vec::new();
    for candidate in candidates {
        let Ok(store) = fs::canonicalize(candidate) else { continue };
        if found.contains(&store) {
            continue;
        }
        if found.len() == MOST {
            tracing::warn!(most = MOST, "there are more of Java's trust stores: those are left as they are");
            break;
        }
        found.push(store);
    }
    found
}

/// What a directory holds whose name holds `part`, in order.
fn named(directory: &Path, part: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().take(MOST_NAMES).flatten();
    let chosen = entries.filter(|entry| entry.file_name().to_string_lossy().contains(part));
    let mut paths: Vec<PathBuf> = chosen.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::slice::from_ref;

    use super::*;

    #[test]
    fn each_store_is_found_once() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        let store = |path: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        for path in [
            "etc/cacerts",
            "home/lib/security/cacerts",
            "jvm/b/lib/security/cacerts",
            "jvm/old/jre/lib/security/cacerts",
            "opt/openjdk-21/lib/security/cacerts",
            "opt/other/lib/security/cacerts",
        ] {
            store(path);
        }
        // Links, as systems have them: to a shared store, to a runtime, and to nothing.
        fs::create_dir_all(root.join("jvm/a/lib/security")).unwrap();
        symlink(root.join("etc/cacerts"), root.join("jvm/a/lib/security/cacerts")).unwrap();
        symlink("b", root.join("jvm/default")).unwrap();
        symlink("gone", root.join("jvm/dangling")).unwrap();
        let (shared, jvm, opt) = (root.join("etc/cacerts"), root.join("jvm"), root.join("opt"));
        let check = |home: Option<&str>, expected: &[&str]| {
            let home = home.map(|home| root.join(home));
            let found = among(home.as_deref(), from_ref(&shared), &[(jvm.clone(), ""), (opt.clone(), "jdk")]);
            let expected: Vec<PathBuf> = expected.iter().map(|path| root.join(path)).collect();
            assert_eq!(found, expected, "{home:?}");
        };
        let usual = [
            "etc/cacerts",
            "jvm/b/lib/security/cacerts",
            "jvm/old/jre/lib/security/cacerts",
            "opt/openjdk-21/lib/security/cacerts",
        ];
        check(None, &usual);
        check(Some("nowhere"), &usual);
        check(Some("home"), &[&["home/lib/security/cacerts"][..], &usual[..]].concat());
        check(Some("jvm/old"), &[usual[2], usual[0], usual[1], usual[3]]);
        for number in 0..2 * MOST {
            store(&format!("jvm/many-{number}/lib/security/cacerts"));
        }
        assert_eq!(among(None, from_ref(&shared), &[(jvm.clone(), "")]).len(), MOST);
    }
}
