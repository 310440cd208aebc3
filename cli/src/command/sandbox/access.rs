//! Ways into a running sandbox: commands, shells, files, ports.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use openshell_api::Name;
use openshell_api::sandbox::{ExecRequest, WindowSize};
use openshell_api::stream::StreamRequest;
use openshell_transfer::Summary;
use tokio::net::{TcpListener, TcpStream};

use crate::args::sandbox::{ConnectArgs, DownloadArgs, ExecArgs, ForwardArgs, PortMapping, UploadArgs};
use crate::client::{Access, exec, files, forward};
use crate::command::{Context, DONE, exit_code};
use crate::error::Error;
use crate::output;
use crate::sys;

/// Where no terminal says otherwise.
const DEFAULT_SIZE: WindowSize = WindowSize { rows: 24, cols: 80 };
/// The best shell there is.
const SHELL: &str = "command -v bash >/dev/null 2>&1 && exec bash -l; exec sh -l";

/// `sandbox exec`.
pub async fn execute(cx: &Context, args: ExecArgs) -> Result<u8, Error> {
    command(cx, &args.name, args.command, args.env, args.workdir, args.tty).await
}

/// `sandbox connect`.
pub async fn connect(cx: &Context, args: ConnectArgs) -> Result<u8, Error> {
    let command = match args.shell {
        Some(shell) => vec![shell],
        None => ["sh", "-c", SHELL].map(str::to_owned).to_vec(),
    };
    command_note(cx, &args.name);
    self::command(cx, &args.name, command, Vec::new(), None, true).await
}

fn command_note(cx: &Context, name: &Name) {
    cx.out.note(format!("connected to sandbox {name}; leave with `exit`"));
}

async fn command(
    cx: &Context,
    name: &Name,
    command: Vec<String>,
    env: Vec<(String, String)>,
    workdir: Option<String>,
    tty: bool,
) -> Result<u8, Error> {
    if tty && !std::io::stdin().is_terminal() {
        return Err(Error::NotATerminal);
    }
    let client = cx.client().await?;
    let mut env: BTreeMap<String, String> = env.into_iter().collect();
    if tty && let Ok(term) = std::env::var("TERM") {
        env.entry("TERM".into()).or_insert(term);
    }
    let size = tty.then(|| sys::window_size().unwrap_or(DEFAULT_SIZE));
    let request = ExecRequest { command, env, workdir, tty: size };
    // A raw terminal does not go to the line's begin by itself.
    let note = |text: &str| cx.out.note(if tty { format!("\r{text}\r") } else { text.to_owned() });
    exec::run(client.access(), name, request, &note).await.map(exit_code)
}

/// `sandbox upload`.
pub async fn upload(cx: &Context, args: UploadArgs) -> Result<u8, Error> {
    let client = cx.client().await?;
    let progress = cx.out.progress(format!("uploading {}", args.source.display()));
    let path = args.path.as_deref().unwrap_or("./");
    let summary = files::upload(client.access(), &args.name, &args.source, path).await?;
    drop(progress);
    report(cx, "uploaded", &summary);
    Ok(DONE)
}

/// `sandbox download`.
pub async fn download(cx: &Context, args: DownloadArgs) -> Result<u8, Error> {
    let client = cx.client().await?;
    let progress = cx.out.progress(format!("downloading {}", args.path));
    let destination = args.destination.as_deref().unwrap_or(Path::new("./"));
    let summary = files::download(client.access(), &args.name, &args.path, destination).await?;
    drop(progress);
    report(cx, "downloaded", &summary);
    Ok(DONE)
}

fn report(cx: &Context, done: &str, summary: &Summary) {
    let (files, size) = (summary.files, output::bytes(summary.bytes));
    cx.out.note(format!("{done} {files} {}, {size}", if files == 1 { "file" } else { "files" }));
    if summary.skipped > 0 {
        cx.out.note(format!("warning: left out {} sockets, pipes or devices", summary.skipped));
    }
}

/// `sandbox forward`. Ends with the signal that ends this process.
pub async fn forward(cx: &Context, args: ForwardArgs) -> Result<u8, Error> {
    let client = cx.client().await?;
    // Refuse early what would fail with each connection.
    client.sandbox(&args.name).await?;
    let mut serving = tokio::task::JoinSet::new();
    for PortMapping { address, local, remote } in args.ports {
        let bind = SocketAddr::new(address.unwrap_or(IpAddr::from([127, 0, 0, 1])), local);
        let listener = TcpListener::bind(bind).await.map_err(Error::io(format!("listen on {bind}")))?;
        let bound = listener.local_addr().map_err(Error::io("ask for the listener's address"))?;
        let mapping = serde_json::json!({ "local": bound.to_string(), "sandbox": args.name, "port": remote });
        cx.out.record(&mapping, || format!("{bound} -> {} port {remote}", args.name))?;
        serving.spawn(serve(listener, client.access().clone(), args.name.clone(), remote, cx.out));
    }
    while serving.join_next().await.is_some() {}
    Ok(DONE)
}

async fn serve(listener: TcpListener, access: Access, sandbox: Name, port: u16, out: output::Output) {
    let shared = Arc::new((access, sandbox, out));
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            // Out of descriptors, most likely: others will be closed.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            let (access, sandbox, out) = &*shared;
            if let Err(error) = carry(access, sandbox, port, socket).await {
                out.note(format!("a connection to port {port} failed: {error}"));
            }
        });
    }
}

async fn carry(access: &Access, sandbox: &Name, port: u16, socket: TcpStream) -> Result<(), Error> {
    // Small answers must not wait for each other.
    socket.set_nodelay(true).map_err(Error::io("set up a connection"))?;
    let (read, write) = socket.into_split();
    forward::carry(access, sandbox, &StreamRequest::Forward { port }, read, write).await
}
