//! Names into addresses, by DNS and `/etc/hosts` alone.
//!
//! The C library is not asked. In a container it would obey the image's `nsswitch.conf` and load the image's own code
//! into the supervisor.

use std::fs;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::{Resolver, TokioResolver};

const CONFIGURATION: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

type Stamp = [Option<SystemTime>; CONFIGURATION.len()];

/// Resolves as `/etc/resolv.conf` says at the time; answers are kept as long as they may be.
#[derive(Clone, Default)]
pub(crate) struct Names(Arc<Mutex<Option<Current>>>);

/// The resolver in use, and when the files were written that it was made from.
struct Current {
    made_from: Stamp,
    resolver: Arc<TokioResolver>,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names")
    }
}

impl Names {
    /// Addresses of a host. Refuses, in words, when it has none or nobody answers.
    pub async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let resolver = self.resolver()?;
        let found = resolver.lookup_ip(host).await.map_err(|error| error.to_string())?;
        Ok(found.iter().collect())
    }

    /// The resolver for the configuration as it is now.
    fn resolver(&self) -> Result<Arc<TokioResolver>, String> {
        let stamp = CONFIGURATION.map(|path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok());
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = current.as_ref().filter(|current| current.made_from == stamp) {
            return Ok(current.resolver.clone());
        }
        let unusable = |error: &dyn std::fmt::Display| format!("no resolver is configured: {error}");
        let mut builder = Resolver::builder_tokio().map_err(|error| unusable(&error))?;
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let resolver = Arc::new(builder.build().map_err(|error| unusable(&error))?);
        *current = Some(Current { made_from: stamp, resolver: resolver.clone() });
        Ok(resolver)
    }
}
