use bollard::models::{
    ContainerConfig, ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as Status, EndpointSettings,
    NetworkSettings,
};

use super::container::{Mode, volume_refusal};
use super::files::Owner;
use super::image::{look_up, numeric, tagged};
use super::made::Made;
use super::watch::{Ending, State, state};
use openshell_api::sandbox::Volume;

#[test]
fn a_user_is_read_as_docker_does_but_never_root() {
    let nobody = Some((65532, 65532));
    for (user, expected) in [
        ("", nobody),
        ("root", nobody),
        ("0", nobody),
        ("0:0", nobody),
        ("root:1000", nobody),
        ("1000", Some((1000, 1000))),
        ("1000:0", Some((1000, 1000))),
        ("1000:100", Some((1000, 100))),
        ("node", None),
        ("1000:node", None),
    ] {
        assert_eq!(numeric(user).map(|owner| (owner.uid, owner.gid)), expected, "{user}");
    }
}

#[test]
fn names_are_looked_up_in_the_images_own_files() {
    let passwd = "root:x:0:0::/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\nodd:x:1:0::/:/bin/sh\nbroken:x\n";
    let group = "root:x:0:\nstaff:x:50:node\n";
    for (user, expected) in [
        ("node", Some((1000, 1001))),
        ("node:staff", Some((1000, 50))),
        ("node:7", Some((1000, 7))),
        ("1000:staff", Some((1000, 50))),
        ("odd", Some((1, 1))),
        ("root", Some((65532, 65532))),
        ("ghost", None),
        ("node:ghosts", None),
        ("broken", None),
    ] {
        assert_eq!(look_up(user, passwd, group), expected.map(|(uid, gid)| Owner { uid, gid }), "{user}");
    }
    assert_eq!(look_up("node", "", ""), None);
}

#[test]
fn an_image_without_a_tag_means_the_latest() {
    for (name, expected) in [
        ("debian", "debian:latest"),
        ("debian:12", "debian:12"),
        ("host.test:5000/team/agent", "host.test:5000/team/agent:latest"),
        ("agent@sha256:00", "agent@sha256:00"),
    ] {
        assert_eq!(tagged(name), expected);
    }
}

#[test]
fn volumes_stay_out_of_what_is_the_sandboxes_own() {
    for (source, target, refused) in [
        ("/srv/data", "/data", None),
        ("cache", "/home/agent/.cache", None),
        ("cache", "data", Some("not an absolute path")),
        ("cache", "/a/../b", Some("not an absolute path")),
        ("cache", "/", Some("whole filesystem")),
        ("cache", "/.openshell/x", Some("the sandbox's own")),
        ("cache", "/proc", Some("the sandbox's own")),
        ("/srv/src", "/sandbox/src", None),
        ("/srv/src", "/sandbox", Some("is the workspace")),
        ("/srv/src", "/sandbox/", Some("is the workspace")),
        ("cache", "/tmp/x", Some("the sandbox's own")),
        ("../up", "/data", Some("neither an absolute path nor")),
        ("", "/data", Some("neither an absolute path nor")),
    ] {
        let volume = Volume { source: source.into(), target: target.into(), read_only: false };
        let found = volume_refusal(&volume);
        match refused {
            None => assert_eq!(found, None, "{source}:{target}"),
            Some(text) => {
                assert!(found.as_deref().is_some_and(|found| found.contains(text)), "{source}:{target}: {found:?}")
            }
        }
    }
}

#[test]
fn an_ending_is_told_in_words() {
    let ending = |code, out_of_memory, error: &str| Ending { code, out_of_memory, error: error.into() }.to_string();
    assert_eq!(ending(0, false, ""), "its container ended with exit code 0");
    assert_eq!(ending(137, true, ""), "its container was killed, out of memory");
    assert_eq!(ending(127, false, "no such file"), "its container ended with exit code 127: no such file");
}

#[test]
fn a_paused_container_runs_and_one_that_is_being_removed_is_none() {
    let ended = || Some(State::Ended(Ending { code: 137, ..Ending::default() }));
    for (status, running, expected) in [
        (Status::RUNNING, true, Some(State::Running)),
        (Status::PAUSED, true, Some(State::Running)),
        (Status::EXITED, false, ended()),
        (Status::CREATED, false, ended()),
        (Status::REMOVING, false, None),
        (Status::DEAD, false, None),
    ] {
        let found = ContainerState {
            status: Some(status),
            running: Some(running),
            exit_code: Some(137),
            ..ContainerState::default()
        };
        assert_eq!(state(found), expected, "{status:?}");
    }
}

#[test]
fn a_container_is_known_by_ids() {
    let network = EndpointSettings { network_id: Some("d4af".into()), ..EndpointSettings::default() };
    let settings = NetworkSettings {
        networks: Some([("openshell".to_owned(), network), ("none".to_owned(), EndpointSettings::default())].into()),
        ..NetworkSettings::default()
    };
    let found = |mode: &str| ContainerInspectResponse {
        image: Some("sha256:4fc4".into()),
        config: Some(ContainerConfig {
            labels: Some([("dev.openshell.mode".to_owned(), mode.to_owned())].into()),
            ..ContainerConfig::default()
        }),
        network_settings: Some(settings.clone()),
        ..ContainerInspectResponse::default()
    };
    let made = |mode| Made {
        image: "sha256:4fc4".into(),
        mode,
        networks: [("openshell".to_owned(), "d4af".to_owned())].into(),
    };
    for mode in [Mode::Unprivileged, Mode::Capable] {
        assert_eq!(Made::of(found(mode.word())), made(mode));
    }
    assert_eq!(Made::of(ContainerInspectResponse::default()).mode, Mode::Unprivileged);
}

#[test]
fn the_profile_lets_the_supervisor_work_and_keeps_out_what_no_sandbox_needs() {
    let profile: serde_json::Value = serde_json::from_str(&super::seccomp::profile()).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let allowed: Vec<&str> = profile["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule["action"] == "SCMP_ACT_ALLOW")
        .flat_map(|rule| rule["names"].as_array().unwrap())
        .filter_map(|name| name.as_str())
        .collect();
    for needed in ["unshare", "mount", "pivot_root", "seccomp", "pidfd_getfd", "landlock_restrict_self", "execve"] {
        assert!(allowed.contains(&needed), "{needed}");
    }
    for refused in ["bpf", "ptrace", "io_uring_setup", "kexec_load", "init_module", "setns", "keyctl", "userfaultfd"] {
        assert!(!allowed.contains(&refused), "{refused}");
    }
}
