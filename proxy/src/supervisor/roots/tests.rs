use std::os::unix::fs::symlink;

use super::*;

const KEY: &str = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
const COPY: &str = "/run/openshell/SSL_CERT_FILE.pem";

fn authority(name: &str) -> CertificateAuthority {
    CertificateAuthority::generate(name).unwrap()
}

fn write(path: &Path, content: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_a_variable_names_is_added_to() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let root = fs::canonicalize(directory.path()).unwrap();
    let (ca, one, two) = (authority("box"), authority("one"), authority("two"));
    let own = format!("# kept as it is\n{}", one.pem());
    write(&root.join("opt/own.pem"), &own, 0o644);
    write(&root.join("opt/secret.pem"), &format!("{KEY}{}", one.pem()), 0o600);
    write(&root.join("opt/none.txt"), "no certificate", 0o644);
    write(&root.join("opt/key.pem"), KEY, 0o644);
    write(&root.join("opt/many/a.pem"), one.pem(), 0o644);
    write(&root.join("opt/many/b.pem"), two.pem(), 0o644);
    write(&root.join("work/own.pem"), &own, 0o644);
    write(&root.join("opt/hidden/own.pem"), &own, 0o644);
    write(&root.join("srv/own.pem"), &own, 0o644);
    symlink("own.pem", root.join("opt/link.pem")).unwrap();
    symlink("a.pem", root.join("opt/many/c.pem")).unwrap();
    symlink("../srv/own.pem", root.join("work/away.pem")).unwrap();

    // What is named, what is to be named, and where a copy is placed.
    let check = |value: &str, named: Option<&str>, place: Option<&str>| {
        let added = format!("MORE\n{}", ca.pem().trim_end());
        let whole = |path: &str| path.replace("ROOT", root.to_str().unwrap());
        let mut copies = Copies::new(
            &ca,
            Some("MORE\n"),
            Places {
                shown: vec![root.join("opt")],
                writable: vec![root.join("work")],
                hidden: vec![root.join("opt/hidden")],
                ..Places::default()
            },
        );
        for variable in ["SSL_CERT_FILE", "CURL_CA_BUNDLE"] {
            let told = copies.named(variable, &root.join("work"), &whole(value));
            assert_eq!(told, named.map(whole), "{value} of {variable}");
        }
        let placed: Vec<_> = copies.overlays.iter().map(|overlay| overlay.path.clone()).collect();
        assert_eq!(placed, place.map(|path| PathBuf::from(whole(path))).into_iter().collect::<Vec<_>>(), "{value}");
        let text = copies
            .overlays
            .first()
            .map_or(String::new(), |overlay| String::from_utf8(overlay.content.clone()).unwrap());
        if place.is_some() {
            assert!(text.contains(one.pem().trim()) && text.trim_end().ends_with(&added), "{value}: {text}");
        }
        assert!(!text.contains("PRIVATE KEY"), "{value}");
        text
    };
    let text = check("ROOT/opt/own.pem", Some("ROOT/opt/own.pem"), Some("ROOT/opt/own.pem"));
    assert!(text.starts_with(&own), "{text}");
    check("ROOT/opt/link.pem", Some("ROOT/opt/link.pem"), Some("ROOT/opt/own.pem"));
    check("ROOT/opt/secret.pem", Some(COPY), Some(COPY));
    check("ROOT/work/own.pem", Some(COPY), Some(COPY));
    check("own.pem", Some(COPY), Some(COPY));
    let text = check("ROOT/opt/many", Some(COPY), Some(COPY));
    assert!(text.matches("BEGIN").count() == 3 && text.contains(two.pem().trim()), "{text}");
    for nothing in ["opt/none.txt", "opt/key.pem", "opt/hidden/own.pem", "srv/own.pem", "work/away.pem", "opt/gone.pem"]
    {
        check(&format!("ROOT/{nothing}"), None, None);
    }
    check("/dev/zero", None, None);
    check("", None, None);
    check(CA_BUNDLE, Some(CA_BUNDLE), None);
}

#[test]
fn every_variable_leads_to_the_authority() {
    let ca = authority("box");
    let mut copies = Copies::new(&ca, None, Places::default());
    let file = PathBuf::from("/etc/hosts");
    copies.elsewhere.insert(fs::canonicalize(&file).unwrap(), COPY.to_owned());
    let set = [("PIP_CERT", ""), ("CURL_CA_BUNDLE", "/nowhere"), ("AWS_CA_BUNDLE", "/etc/hosts")];
    let further = [("NIX_SSL_CERT_FILE", "/etc/hosts"), ("BUNDLE_SSL_CA_CERT", "/nowhere"), ("OTHER", "/etc/hosts")];
    let pairs = set.iter().chain(&further).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut environment: BTreeMap<String, String> = pairs.collect();
    copies.tell(&mut environment, Path::new("/"));
    for variable in VARIABLES {
        let expected = if variable == "AWS_CA_BUNDLE" { COPY } else { CA_BUNDLE };
        assert_eq!(environment[variable], expected, "{variable}");
    }
    for (variable, expected) in
        [("NIX_SSL_CERT_FILE", COPY), ("BUNDLE_SSL_CA_CERT", "/nowhere"), ("OTHER", "/etc/hosts")]
    {
        assert_eq!(environment[variable], expected, "{variable}");
    }
    assert_eq!(environment.len(), VARIABLES.len() + further.len());
}

#[test]
fn copies_stand_only_where_they_take_nothing_away() {
    let mut config = SealConfig::new("/sandbox");
    config.hidden.push("/opt/hidden".into());
    config.walls.read_write.extend(["/srv/volume", "/opt/hidden/work"].map(PathBuf::from));
    let (image, machine) = (Places::of(&config, true), Places::of(&config, false));
    // Fixed and readable, in an image and on a machine.
    let check = |path: &str, expected: [[bool; 2]; 2]| {
        let path = Path::new(path);
        let found = [&image, &machine].map(|places| [places.fixed(path), places.readable(path)]);
        assert_eq!(found, expected, "{}", path.display());
    };
    check("/etc/own.pem", [[true, true], [true, true]]);
    check("/srv/own.pem", [[true, true], [false, false]]);
    check("/srv/volume/own.pem", [[false, true], [false, true]]);
    check("/sandbox/own.pem", [[false, true], [false, true]]);
    check("/run/own.pem", [[false, true], [false, false]]);
    check("/tmp/own.pem", [[false, true], [false, false]]);
    check("/opt/hidden/own.pem", [[false, false], [false, false]]);
    check("/opt/hidden/work/own.pem", [[false, true], [false, true]]);
    check("/proc/self/environ", [[false, false], [false, false]]);
}

#[test]
fn no_more_is_copied_than_there_is_room_for() {
    let ca = authority("box");
    let mut copies = Copies::new(&ca, None, Places::default());
    assert!(copies.place("/a".into(), vec![0; MOST - 1]));
    assert!(!copies.place("/b".into(), vec![0; 2]));
    assert!(copies.place("/c".into(), vec![0; 1]));
    assert_eq!(copies.overlays.len(), 2);
}
