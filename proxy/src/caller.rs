//! Who opened a connection, and where it meant to go.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use openshell_api::decision::ProcessRecord;
use openshell_policy_host::Process;
use tokio::net::{TcpListener, TcpStream};

/// A process as the kernel reported it when it connected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// Executable, its digest and, for interpreters, the script.
    pub process: Process,
    /// Process id inside the sandbox.
    pub pid: u32,
    /// User id inside the sandbox.
    pub uid: u32,
    /// Its argv.
    pub arguments: Vec<String>,
    /// Executables of its ancestors, nearest first.
    pub ancestors: Vec<String>,
}

impl Caller {
    /// As decision records name it.
    pub fn record(&self) -> ProcessRecord {
        let Process { executable, digest, script } = &self.process;
        ProcessRecord { executable: executable.clone(), digest: digest.clone(), script: script.clone(), pid: self.pid }
    }
}

/// Where a connection meant to go: a name where one is known, else the address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Intended {
    /// Lowercase DNS name without trailing dot, or an IP address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// What is known of an accepted connection.
#[derive(Debug, Clone)]
pub struct Attribution {
    /// Who opened it.
    pub caller: Arc<Caller>,
    /// Set when it was caught on its way elsewhere; absent when the program spoke to the proxy on purpose.
    pub intended: Option<Intended>,
}

/// Where connections of the workload arrive.
pub trait Accept: Send + Sync {
    /// The next one, and its address. Safe to cancel: none is lost.
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self).await
    }
}

impl<A: Accept> Accept for Arc<A> {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        A::accept(self).await
    }
}

/// Says who is behind an accepted connection.
#[async_trait::async_trait]
pub trait Attribute: Send + Sync {
    /// `peer` and `local` are the accepted socket's addresses inside the sandbox. `None`: unknown, which denies.
    async fn attribute(&self, peer: SocketAddr, local: SocketAddr) -> Option<Attribution>;

    /// Nobody will ask who is behind this connection.
    fn forget(&self, _peer: SocketAddr) {}
}
