//! The gateway as a container of this machine's Docker engine: it comes back after a failure and a reboot.
//!
//! Its image is made here of one static program, `FROM scratch`: no registry is needed. It shares the machine's network,
//! so it answers on loopback as in every form, and sees its state under the same path as the machine does: what it has
//! the engine mount into sandboxes (its socket, the supervisor) is found there. It runs as the user who starts it, without
//! a capability; what it may do, it may do by the engine's socket.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use openshell_api::status::Status;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::{endpoint, private};
use super::daemon::{PROGRAM, log_file};
use super::engine::Engine;
use super::{Plan, STOP_LIMIT, healthy, own_name};
use crate::client::Client;
use crate::error::{Error, GatewayError};
use crate::paths;

const REPOSITORY: &str = "openshell/gateway";
const SUPERVISOR: &str = "openshell-supervisor";
/// Where the engine's socket is in the container.
const SOCKET: &str = "/var/run/docker.sock";
/// Where programs look for the machine's roots first.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Variables that name files of this machine which the gateway reads.
const FILES: [&str; 4] =
    ["AWS_SHARED_CREDENTIALS_FILE", "OPENSHELL_PASSPHRASE_FILE", "OPENSHELL_DATABASE_FILE", "OPENSHELL_MODULES_KEYS"];
/// Variables that mean nothing in a container: it has one runtime, and writes nowhere but to its state directory.
const NOT_THERE: [&str; 2] = ["OPENSHELL_RUNTIME", "OPENSHELL_COMPILE_CACHE"];
/// Files with all of a machine's roots, by distribution.
const BUNDLES: [&str; 4] =
    [ROOTS, "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];

/// Makes the image if need be and the container anew, starts it, and waits until the gateway answers.
pub(super) async fn start(state_dir: &Path, plan: &Plan) -> Result<(Client, Status), Error> {
    let engine = Engine::find().await?;
    let program = paths::program(PROGRAM).ok_or(Error::NoGatewayProgram)?;
    let supervisor = paths::program(SUPERVISOR).ok_or(GatewayError::NoSupervisor)?;
    let state_dir = state_dir.canonicalize().map_err(Error::io(format!("read {}", state_dir.display())))?;
    // A path of the machine's that stays: sandboxes have it mounted, also those that start again after an upgrade.
    let programs = state_dir.join("bin");
    private::directory(&programs)?;
    side_load(&supervisor, &programs.join(SUPERVISOR))?;
    let image = image(&engine, &program).await?;
    let info = engine.get("/info").await?.unwrap_or_default();
    let body = body(&state_dir, plan, &engine.socket, &image, &info)?;
    let name = own_name(&state_dir);
    engine.delete(&format!("/containers/{name}?force=true")).await?;
    engine.post(&format!("/containers/create?name={name}"), &body).await?;
    engine.post(&format!("/containers/{name}/start"), &Value::Null).await?;
    healthy(
        &state_dir,
        |_| true,
        async || {
            let state = engine.get(&format!("/containers/{name}/json")).await?.unwrap_or_default();
            let state = &state["State"];
            if state["Restarting"] != true && state["Running"] != false {
                return Ok(None);
            }
            // For whoever is told of the failure: where a gateway's last words are looked for in every form.
            let words = engine.logs(&name).await?;
            private::write(&log_file(&state_dir), &words)?;
            Ok(Some(format!("its container ended with code {}", state["ExitCode"])))
        },
    )
    .await
}

/// Stops the container; it stays, and starts again only when asked to. Its sandboxes go on.
pub(super) async fn stop(state_dir: &Path) -> Result<String, Error> {
    let engine = Engine::find().await?;
    let name = own_name(state_dir);
    if !runs(&engine, &name).await? {
        return Err(Error::NoGateway { endpoint: state_dir.join("endpoint.json") });
    }
    engine.post(&format!("/containers/{name}/stop?t={}", STOP_LIMIT.as_secs()), &Value::Null).await?;
    Ok(format!("container {name}"))
}

/// Whether there is an engine that a gateway may run in.
pub(super) async fn answers() -> bool {
    Engine::find().await.is_ok()
}

pub(super) async fn is_running(state_dir: &Path) -> bool {
    let Ok(engine) = Engine::find().await else { return false };
    endpoint::read(state_dir).is_ok() && runs(&engine, &own_name(state_dir)).await.unwrap_or(false)
}

async fn runs(engine: &Engine, name: &str) -> Result<bool, Error> {
    let state = engine.get(&format!("/containers/{name}/json")).await?.unwrap_or_default();
    Ok(state["State"]["Running"] == true)
}

/// Removes the container, and its images and the sandboxes' network unless others of this engine use them: two gateways
/// of one version share them. Answers what else could not be removed.
pub(super) async fn remove(state_dir: &Path) -> Result<Vec<String>, Error> {
    let engine = Engine::find().await?;
    engine.delete(&format!("/containers/{}?force=true", own_name(state_dir))).await?;
    let mut left = Vec::new();
    let filters = encoded(&json!({ "reference": [REPOSITORY] }).to_string());
    let images = engine.get(&format!("/images/json?filters={filters}")).await?.unwrap_or_default();
    for image in images.as_array().into_iter().flatten() {
        let id = image["Id"].as_str().unwrap_or_default();
        if let Err(error) = engine.delete_unused(&format!("/images/{id}?force=false")).await {
            left.push(format!("an image stays: {error}"));
        }
    }
    if let Err(error) = engine.delete_unused("/networks/openshell").await {
        left.push(format!("the network stays: {error}"));
    }
    Ok(left)
}

/// Copies a program so that whoever starts it finds the old one or the new one.
fn side_load(program: &Path, to: &Path) -> Result<(), Error> {
    let copying = || format!("copy {} to {}", program.display(), to.display());
    let beside = to.with_extension("new");
    std::fs::copy(program, &beside).map_err(Error::io(copying()))?;
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&beside, executable).map_err(Error::io(copying()))?;
    std::fs::rename(&beside, to).map_err(Error::io(copying()))
}

/// The image of exactly this program; made where it is missing.
async fn image(engine: &Engine, program: &Path) -> Result<String, Error> {
    let reading = || format!("read {}", program.display());
    let bytes = std::fs::read(program).map_err(Error::io(reading()))?;
    let digest = hex::encode(&Sha256::digest(&bytes)[..8]);
    let tag = format!("{}-{digest}", env!("CARGO_PKG_VERSION"));
    let image = format!("{REPOSITORY}:{tag}");
    if engine.get(&format!("/images/{image}/json")).await?.is_some() {
        return Ok(image);
    }
    let archive = archive(&bytes).map_err(Error::io("pack the gateway's image"))?;
    let changes = encoded(r#"ENTRYPOINT ["/openshell-gateway"]"#);
    let path = format!("/images/create?fromSrc=-&repo={}&tag={tag}&changes={changes}", encoded(REPOSITORY));
    engine.post_archive(&path, archive).await?;
    Ok(image)
}

fn archive(program: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(program.len() as u64);
    archive.append_data(&mut header, PROGRAM, program)?;
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o1777);
    header.set_size(0);
    archive.append_data(&mut header, "tmp", std::io::empty())?;
    archive.into_inner()
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// What the container is made from.
fn body(state_dir: &Path, plan: &Plan, socket: &Path, image: &str, info: &Value) -> Result<Value, Error> {
    let owner = |path: &Path| path.metadata().map_err(Error::io(format!("read {}", path.display())));
    let user = owner(state_dir)?;
    let engine = owner(socket)?;
    let security: Vec<&str> =
        info["SecurityOptions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let has = |name: &str| security.iter().any(|option| option.starts_with(&format!("name={name}")));
    // To an engine without root, this user is root, and its own root is none.
    let (uid, gid) = if has("rootless") { (0, 0) } else { (user.uid(), user.gid()) };
    let mut words = Plan::words(state_dir, &plan.args);
    words.push("--containers-only".into());
    words.extend(["--supervisor".into(), state_dir.join("bin").join(SUPERVISOR).to_string_lossy().into_owned()]);
    let mut mounts = vec![bind(state_dir, state_dir, false), bind(socket, Path::new(SOCKET), false)];
    if let Some(bundle) = bundle() {
        mounts.push(bind(&bundle, Path::new(ROOTS), true));
    }
    let named = FILES.iter().filter_map(|name| plan.environment.get(*name)).map(PathBuf::from);
    for file in [&plan.args.upstream_ca, &plan.args.modules_keys].into_iter().flatten().cloned().chain(named) {
        mounts.push(bind(&file, &file, true));
    }
    if let Some(directory) = plan.args.proxy_socket.as_deref().and_then(Path::parent) {
        mounts.push(bind(directory, directory, false));
    }
    let mut environment = vec![format!("DOCKER_HOST=unix://{SOCKET}"), format!("SSL_CERT_FILE={ROOTS}")];
    // The paths and directories of the others are this machine's, and not the container's.
    let own = plan.environment.iter().filter(|(name, _)| {
        name.starts_with("AWS_") || (name.starts_with("OPENSHELL_") && !NOT_THERE.contains(&name.as_str()))
    });
    environment.extend(own.map(|(name, value)| format!("{name}={value}")));
    Ok(json!({
        "Image": image,
        "User": format!("{uid}:{gid}"),
        "Cmd": words,
        "Env": environment,
        "WorkingDir": "/",
        "StopTimeout": STOP_LIMIT.as_secs(),
        "Labels": { "dev.openshell.state": state_dir.to_string_lossy() },
        "HostConfig": {
            "NetworkMode": "host",
            "UsernsMode": if has("userns") { "host" } else { "" },
            "GroupAdd": [engine.gid().to_string()],
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "ReadonlyRootfs": true,
            "Tmpfs": { "/tmp": "rw,nosuid,nodev,noexec,size=256m" },
            "RestartPolicy": { "Name": "unless-stopped" },
            "LogConfig": { "Type": "json-file", "Config": { "max-size": "10m", "max-file": "2" } },
            "Mounts": mounts,
        },
    }))
}

fn bind(source: &Path, target: &Path, read_only: bool) -> Value {
    json!({ "Type": "bind", "Source": source.to_string_lossy(), "Target": target.to_string_lossy(), "ReadOnly": read_only })
}

/// The file with this machine's roots, if it is found.
fn bundle() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.into_iter().chain(BUNDLES.map(PathBuf::from)).find_map(|path| path.canonicalize().ok())
}
