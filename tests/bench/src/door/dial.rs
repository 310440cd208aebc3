//! The client: connects, again and again or all at once.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::report::Samples;

/// Rest between two connections, so that closing one is not measured with the next.
const REST: Duration = Duration::from_millis(1);

/// Where to connect, and how.
#[derive(Debug, Clone, Args)]
pub struct Dial {
    /// Host name or address.
    #[arg(long)]
    pub host: String,
    /// Its port.
    #[arg(long)]
    pub port: u16,
    /// How many times.
    #[arg(long)]
    pub count: u32,
    /// So many processes sleep meanwhile.
    #[arg(long, default_value_t = 0)]
    pub beside: u32,
    /// Keep all connections open until standard input ends.
    #[arg(long)]
    pub hold: bool,
}

/// Times of `connect(2)`, in nanoseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dialled {
    pub median_ns: f64,
    pub p99_ns: f64,
}

/// Sleeping processes; gone when dropped.
struct Beside(Vec<Child>);

impl Drop for Beside {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Dials; one that fails is an error.
pub fn run(dial: &Dial) -> Result<Dialled> {
    let mut addresses = (dial.host.as_str(), dial.port).to_socket_addrs()?;
    let address = addresses.find(SocketAddr::is_ipv4).context("no address")?;
    let sleep = || Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().context("sleep");
    let _beside = Beside((0..dial.beside).map(|_| sleep()).collect::<Result<_>>()?);
    let mut held = Vec::new();
    let mut times = Vec::new();
    for _ in 0..dial.count {
        let start = Instant::now();
        let stream = TcpStream::connect(address)?;
        times.push(start.elapsed().as_nanos() as f64);
        if dial.hold {
            held.push(stream);
        } else {
            drop(stream);
            std::thread::sleep(REST);
        }
    }
    if dial.hold {
        std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    let samples = Samples::from(times);
    Ok(Dialled { median_ns: samples.quantile(0.5), p99_ns: samples.quantile(0.99) })
}
