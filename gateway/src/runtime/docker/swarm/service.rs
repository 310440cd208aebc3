//! What a Swarm is asked for: one service with one task per sandbox, which it never starts again by itself.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::models::{
    EndpointSpec, EndpointSpecModeEnum, HealthConfig, Limit, NetworkAttachmentConfig, ResourceObject, SecretSpec,
    ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated, TaskSpec, TaskSpecContainerSpec,
    TaskSpecContainerSpecFile, TaskSpecContainerSpecPrivileges, TaskSpecContainerSpecPrivilegesAppArmor,
    TaskSpecContainerSpecPrivilegesAppArmorModeEnum as AppArmor, TaskSpecContainerSpecPrivilegesSeccomp,
    TaskSpecContainerSpecPrivilegesSeccompModeEnum as Seccomp, TaskSpecContainerSpecSecrets, TaskSpecLogDriver,
    TaskSpecPlacement, TaskSpecResources, TaskSpecRestartPolicy, TaskSpecRestartPolicyConditionEnum as Restart,
};
use openshell_api::sandbox::CreateSandbox;

use super::super::container::CAPABILITIES;
use super::super::{HOST_GATEWAY, Start, files, labels, seccomp};

/// How long a supervisor may take to end when the Swarm ends it, in nanoseconds.
const GRACE_NS: i64 = 5_000_000_000;

/// Everything a service is made from.
pub(super) struct Plan<'a> {
    pub gateway: &'a str,
    pub runtime: &'a str,
    pub start: &'a Start,
    /// `registry/name@sha256:…`.
    pub image: &'a str,
    /// Id of the secret that holds the start file.
    pub secret: &'a str,
    /// Labels that a node must have.
    pub on: BTreeMap<String, String>,
    /// Ids of nodes that must not get it.
    pub not_on: Vec<String>,
}

/// Name of a sandbox's service and of its secret.
pub(super) fn name(sandbox: &str) -> String {
    format!("openshell-{}", sandbox.to_ascii_lowercase())
}

/// What of a specification no service can be asked for.
pub(super) fn refusal(spec: &CreateSandbox) -> Option<String> {
    if spec.network.as_deref() == Some("none") {
        return Some("a sandbox of a Swarm reaches its gateway over a network: it can't have none".into());
    }
    if let Some(volume) = spec.volumes.first() {
        let target = &volume.target;
        return Some(format!(
            "a Swarm can't show the volume at {target}: each of its nodes has volumes and directories of its own"
        ));
    }
    if spec.gpu {
        return Some("a service of a Swarm can't be given the GPUs of whichever node it is on".into());
    }
    let host = spec.add_hosts.iter().find(|(_, address)| *address == HOST_GATEWAY);
    host.map(|(host, _)| {
        format!("{HOST_GATEWAY} (for {host}) is not known in a Swarm before its scheduler has picked a node")
    })
}

impl Plan<'_> {
    /// Labels of the service, its container and its secret.
    pub fn labels(&self) -> HashMap<String, String> {
        labels::all(self.gateway, self.runtime, self.start)
    }

    /// The request.
    pub fn service(&self) -> ServiceSpec {
        let networks = self
            .start
            .spec
            .network
            .as_ref()
            .map(|network| vec![NetworkAttachmentConfig { target: Some(network.clone()), ..Default::default() }]);
        ServiceSpec {
            name: Some(name(&self.start.launch.sandbox_id)),
            labels: Some(self.labels()),
            task_template: Some(TaskSpec {
                container_spec: Some(self.container()),
                resources: Some(self.resources()),
                restart_policy: Some(TaskSpecRestartPolicy { condition: Some(Restart::NONE), ..Default::default() }),
                placement: Some(TaskSpecPlacement { constraints: Some(self.constraints()), ..Default::default() }),
                log_driver: Some(TaskSpecLogDriver {
                    name: Some("json-file".into()),
                    options: Some(HashMap::from([("max-size".into(), "1m".into()), ("max-file".into(), "2".into())])),
                }),
                networks,
                ..Default::default()
            }),
            mode: Some(ServiceSpecMode {
                replicated: Some(ServiceSpecModeReplicated { replicas: Some(1) }),
                ..Default::default()
            }),
            // Nothing dials in: no virtual address is needed, and no port published.
            endpoint_spec: Some(EndpointSpec { mode: Some(EndpointSpecModeEnum::DNSRR), ports: None }),
            ..Default::default()
        }
    }

    /// A service can't uncover what the engine hides in `/proc`, without which no user namespace gets a `/proc` of its own: the walls are
    /// raised with capabilities instead, as where user namespaces are forbidden.
    fn container(&self) -> TaskSpecContainerSpec {
        let start_file = TaskSpecContainerSpecFile {
            name: Some(files::LAUNCH.into()),
            uid: Some("0".into()),
            gid: Some("0".into()),
            mode: Some(0o400),
        };
        TaskSpecContainerSpec {
            image: Some(self.image.to_owned()),
            labels: Some(self.labels()),
            hostname: Some(self.start.launch.sandbox.to_string()),
            user: Some("0:0".into()),
            dir: Some("/".into()),
            command: Some(vec![files::SUPERVISOR.into()]),
            args: Some(["--first-process", "--launch", files::LAUNCH].map(Into::into).to_vec()),
            // Without '=' a variable of the image is taken away.
            env: Some(vec![format!("SSL_CERT_FILE={}", files::ROOTS), "SSL_CERT_DIR".into(), "OPENSHELL_LOG".into()]),
            stop_signal: Some("SIGTERM".into()),
            stop_grace_period: Some(GRACE_NS),
            // The engine would run an image's health check outside the walls, with the supervisor's network.
            health_check: Some(HealthConfig { test: Some(vec!["NONE".into()]), ..Default::default() }),
            tty: Some(false),
            init: Some(false),
            capability_drop: Some(vec!["ALL".into()]),
            capability_add: Some(CAPABILITIES.map(|name| format!("CAP_{name}")).to_vec()),
            privileges: Some(TaskSpecContainerSpecPrivileges {
                no_new_privileges: Some(true),
                seccomp: Some(TaskSpecContainerSpecPrivilegesSeccomp {
                    mode: Some(Seccomp::CUSTOM),
                    profile: Some(STANDARD.encode(seccomp::profile())),
                }),
                // Docker's own profile refuses every mount, and so the walls.
                app_armor: Some(TaskSpecContainerSpecPrivilegesAppArmor { mode: Some(AppArmor::DISABLED) }),
                ..Default::default()
            }),
            secrets: Some(vec![TaskSpecContainerSpecSecrets {
                file: Some(start_file),
                secret_id: Some(self.secret.to_owned()),
                secret_name: Some(name(&self.start.launch.sandbox_id)),
            }]),
            ..Default::default()
        }
    }

    /// What is promised is kept free: the scheduler counts reservations.
    fn resources(&self) -> TaskSpecResources {
        let spec = &self.start.spec;
        let nano_cpus = spec.cpu.map(|cores| (cores * 1e9) as i64);
        let memory_bytes = spec.memory.and_then(|bytes| i64::try_from(bytes).ok());
        TaskSpecResources {
            limits: Some(Limit { nano_cpus, memory_bytes, pids: spec.pids.map(i64::from) }),
            reservations: Some(ResourceObject { nano_cpus, memory_bytes, generic_resources: None }),
            ..Default::default()
        }
    }

    fn constraints(&self) -> Vec<String> {
        let on = self.on.iter().map(|(key, value)| format!("node.labels.{key}=={value}"));
        let not_on = self.not_on.iter().map(|id| format!("node.id!={id}"));
        on.chain(not_on).collect()
    }
}

/// A sandbox's start file as a secret: the managers keep it encrypted, and its node has it in memory alone.
pub(super) fn secret(gateway: &str, runtime: &str, start: &Start, launch: &[u8]) -> SecretSpec {
    SecretSpec {
        name: Some(name(&start.launch.sandbox_id)),
        labels: Some(labels::ours(gateway, runtime, start)),
        data: Some(STANDARD.encode(launch)),
        ..Default::default()
    }
}
