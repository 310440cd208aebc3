//! What the engine is asked for: one container per sandbox, with as little as its supervisor can do with.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, DeviceRequest, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType, RestartPolicy,
    RestartPolicyNameEnum,
};
use openshell_api::sandbox::Volume;

use super::files::{self, Owner};
use super::image::Image;
use super::{Start, labels, seccomp};

/// With what power the supervisor raises its walls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// As an ordinary user without a capability: it makes a user namespace.
    Unprivileged,
    /// As root with [`CAPABILITIES`], where user namespaces are forbidden.
    Capable,
}

impl Mode {
    /// As a label says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unprivileged => "unprivileged",
            Self::Capable => "capabilities",
        }
    }

    /// As a label says it. A container without that label was made before there were others.
    pub fn of_word(word: Option<&str>) -> Self {
        if word == Some(Self::Capable.word()) { Self::Capable } else { Self::Unprivileged }
    }

    /// As the supervisor reports it among the missing protections.
    pub fn degraded(self) -> Option<String> {
        (self == Self::Capable).then(|| "user-namespace".to_owned())
    }
}

/// What raising the walls takes without a user namespace: namespaces and mounts, the loopback interface, the callers'
/// sockets; and becoming the workload's user for what runs inside.
pub(super) const CAPABILITIES: [&str; 10] = [
    "SYS_ADMIN",
    "NET_ADMIN",
    "SYS_PTRACE",
    "SETUID",
    "SETGID",
    "SETPCAP",
    "CHOWN",
    "KILL",
    "NET_BIND_SERVICE",
    "DAC_OVERRIDE",
];

/// Paths outside `/proc` that Docker hides by default. Those inside `/proc` must stay visible to the container's first
/// process, or the kernel refuses the sandbox a `/proc` of its own; the sandbox hides them itself.
const MASKED: [&str; 2] = ["/sys/firmware", "/sys/devices/virtual/powercap"];

/// Everything a container is made from.
pub(super) struct Plan<'a> {
    pub gateway: &'a str,
    pub runtime: &'a str,
    pub start: &'a Start,
    pub image: &'a Image,
    pub mode: Mode,
    /// Path of the supervisor on the engine's host; absent: it is copied into the container.
    pub supervisor: Option<String>,
    /// Directory with the gateway's socket on the engine's host; absent: the gateway is dialled over the network.
    pub link: Option<String>,
    pub network: String,
    pub apparmor: bool,
}

impl Plan<'_> {
    /// As whom the supervisor runs.
    pub fn supervisor_owner(&self) -> Owner {
        match self.mode {
            Mode::Unprivileged => self.image.owner,
            Mode::Capable => Owner { uid: 0, gid: 0 },
        }
    }

    /// The request.
    pub fn body(&self) -> ContainerCreateBody {
        let Owner { uid, gid } = self.supervisor_owner();
        ContainerCreateBody {
            image: Some(self.image.id.clone()),
            hostname: Some(self.start.launch.sandbox.to_string()),
            user: Some(format!("{uid}:{gid}")),
            working_dir: Some("/".into()),
            entrypoint: Some(vec![files::SUPERVISOR.into()]),
            cmd: Some(["--first-process", "--launch", files::LAUNCH].map(Into::into).to_vec()),
            // Without '=' a variable of the image is taken away.
            env: Some(vec![format!("SSL_CERT_FILE={}", files::ROOTS), "SSL_CERT_DIR".into(), "OPENSHELL_LOG".into()]),
            labels: Some(self.labels()),
            stop_signal: Some("SIGTERM".into()),
            // The engine would run an image's health check outside the walls, with the supervisor's network.
            healthcheck: Some(HealthConfig { test: Some(vec!["NONE".into()]), ..Default::default() }),
            tty: Some(false),
            host_config: Some(self.host_config()),
            ..Default::default()
        }
    }

    fn labels(&self) -> HashMap<String, String> {
        let mut all = labels::all(self.gateway, self.runtime, self.start);
        all.insert(labels::MODE.into(), self.mode.word().into());
        all
    }

    fn host_config(&self) -> HostConfig {
        let spec = &self.start.spec;
        let mut security = vec!["no-new-privileges:true".to_owned(), format!("seccomp={}", seccomp::profile())];
        if self.apparmor {
            // Docker's own profile refuses every mount, and so the walls.
            security.push("apparmor=unconfined".into());
        }
        let memory = spec.memory.and_then(|bytes| i64::try_from(bytes).ok());
        HostConfig {
            cap_drop: Some(vec!["ALL".into()]),
            cap_add: (self.mode == Mode::Capable).then(|| CAPABILITIES.map(Into::into).to_vec()),
            security_opt: Some(security),
            masked_paths: (self.mode == Mode::Unprivileged).then(|| MASKED.map(Into::into).to_vec()),
            readonly_paths: (self.mode == Mode::Unprivileged).then(Vec::new),
            privileged: Some(false),
            init: Some(false),
            ipc_mode: Some("private".into()),
            network_mode: Some(self.network.clone()),
            restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".into()),
                config: Some(HashMap::from([("max-size".into(), "1m".into()), ("max-file".into(), "2".into())])),
            }),
            nano_cpus: spec.cpu.map(|cores| (cores * 1e9) as i64),
            memory,
            memory_swap: memory,
            pids_limit: spec.pids.map(i64::from),
            device_requests: spec.gpu.then(|| {
                let every = DeviceRequest {
                    count: Some(-1),
                    capabilities: Some(vec![vec!["gpu".into()]]),
                    ..Default::default()
                };
                vec![every]
            }),
            mounts: Some(self.mounts()),
            ..Default::default()
        }
    }

    fn mounts(&self) -> Vec<Mount> {
        let bind = |source: &str, target: &str, read_only: bool| Mount {
            typ: Some(MountType::BIND),
            source: Some(source.to_owned()),
            target: Some(target.to_owned()),
            read_only: Some(read_only),
            ..Default::default()
        };
        let ours = [(&self.supervisor, files::SUPERVISOR), (&self.link, files::LINK)];
        let ours = ours.into_iter().filter_map(|(source, target)| Some(bind(source.as_ref()?, target, true)));
        let asked = self.start.spec.volumes.iter().map(|volume| match is_path(volume) {
            true => bind(&volume.source, &volume.target, volume.read_only),
            false => Mount { typ: Some(MountType::VOLUME), ..bind(&volume.source, &volume.target, volume.read_only) },
        });
        ours.chain(asked).collect()
    }
}

/// Whether a volume is a directory of the engine's host; else it has a name.
pub(super) fn is_path(volume: &Volume) -> bool {
    volume.source.starts_with('/')
}

/// Why a volume can't be shown inside.
pub(super) fn volume_refusal(volume: &Volume) -> Option<String> {
    let target = std::path::Path::new(&volume.target);
    let plain = |part| matches!(part, std::path::Component::RootDir | std::path::Component::Normal(_));
    if !target.is_absolute() || !target.components().all(plain) {
        return Some(format!("the volume's target {:?} is not an absolute path", volume.target));
    }
    if target == std::path::Path::new("/") {
        return Some("a volume can't stand in the place of the whole filesystem".into());
    }
    if target == std::path::Path::new(files::WORKSPACE) {
        return Some(format!(
            "the volume's target {} is the workspace, which belongs to the sandbox's user: choose a directory beside or below it",
            volume.target
        ));
    }
    let taken = ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", files::HOME];
    if let Some(taken) = taken.into_iter().find(|taken| target.starts_with(taken)) {
        return Some(format!("the volume's target {} lies in {taken}, which is the sandbox's own", volume.target));
    }
    let name_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let is_name =
        volume.source.starts_with(|c: char| c.is_ascii_alphanumeric()) && volume.source.chars().all(name_char);
    if !is_path(volume) && !is_name {
        return Some(format!("{:?} is neither an absolute path nor a volume's name", volume.source));
    }
    None
}
