//! Clients that don't trust what they are shown, and those that only look like it.

use std::sync::Arc;
use std::time::Duration;

use openshell_api::decision::Verdict;
use openshell_policy_host::Inspection::Automatic;
use openshell_policy_host::Outcome;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::world::{HOST, Rules, World, allow, get, send_h1};
use crate::caller::Intended;
use crate::http::CertificateAuthority;

/// What a client does.
#[derive(Debug, Clone, Copy)]
enum Client {
    /// It asks for something.
    Asks,
    /// It says goodbye, with these protocols offered.
    SaysGoodbye(&'static [&'static str]),
    /// It just goes, with these protocols offered.
    HangsUp(&'static [&'static str]),
    /// It breaks off with a reset.
    Resets,
    /// It goes when it has seen the first of the answer to its ClientHello.
    StopsHalfway,
    /// It knows other roots, and says so.
    Refuses,
    /// It goes when it has waited for a while.
    Waits,
}

fn config(roots: &str) -> Arc<ClientConfig> {
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from_pem_slice(roots.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(store).with_no_client_auth())
}

async fn act(world: &World, client: Client) {
    let name = ServerName::try_from(HOST).unwrap();
    let ours = config(world.proxy.certificate());
    match client {
        Client::Asks => {
            let io = world.tls(world.raw().await, HOST, &["http/1.1"]).await.unwrap();
            send_h1(io, get(world, "/")).await;
        }
        Client::SaysGoodbye(alpn) => {
            world.tls(world.raw().await, HOST, alpn).await.unwrap().shutdown().await.unwrap();
        }
        Client::HangsUp(alpn) => drop(world.tls(world.raw().await, HOST, alpn).await.unwrap()),
        Client::Resets => {
            let io = TlsConnector::from(ours).connect(name, world.raw().await).await.unwrap();
            io.get_ref().0.set_zero_linger().unwrap();
        }
        Client::StopsHalfway => {
            let mut hello = Vec::new();
            ClientConnection::new(ours, name).unwrap().write_tls(&mut hello).unwrap();
            let mut tcp = world.raw().await;
            tcp.write_all(&hello).await.unwrap();
            tcp.read_u8().await.unwrap();
        }
        Client::Refuses => {
            let others = config(CertificateAuthority::generate("other").unwrap().pem());
            TlsConnector::from(others).connect(name, world.raw().await).await.unwrap_err();
        }
        Client::Waits => {
            let io = world.tls(world.raw().await, HOST, &["h2"]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2500)).await;
            drop(io);
        }
    }
}

/// `expected`: what is recorded of the client's trust; empty: nothing.
async fn check(client: Client, connect: fn(&openshell_policy_host::Connection) -> Outcome, expected: &str) {
    let world = World::new(Rules { connect, ..Rules::default() }).await;
    *world.known.intended.lock().unwrap() = Some(Intended { host: HOST.to_owned(), port: world.tls_port });
    act(&world, client).await;
    match expected {
        "" => tokio::time::sleep(Duration::from_millis(200)).await,
        _ => world.until(|records| records.iter().any(|record| record.error.as_deref() == Some(expected))).await,
    }
    let mut told = world.records();
    told.retain(|record| record.error.as_deref().is_some_and(|error| error.starts_with("client_tls")));
    assert_eq!(told.len(), usize::from(!expected.is_empty()), "{client:?}: {told:?}");
    for record in told {
        let reason = record.reason.unwrap_or_default();
        let (verdict, words) = match expected {
            "client_tls" => (Verdict::Deny, "refused the certificate for origin.test"),
            _ => (Verdict::Allow, "closed the connection as soon as it was shown the certificate for origin.test"),
        };
        assert_eq!(record.verdict, verdict, "{client:?}: nothing was denied that is only suspected");
        assert!(reason.starts_with("/usr/bin/curl ") && reason.contains(words), "{client:?}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_at_once_is_suspected_and_who_says_why_is_known() {
    const SUSPECTED: &str = "client_tls_suspected";
    for (client, expected) in [
        (Client::Asks, ""),
        (Client::SaysGoodbye(&["h2"]), SUSPECTED),
        (Client::SaysGoodbye(&["http/1.1"]), SUSPECTED),
        (Client::SaysGoodbye(&[]), SUSPECTED),
        (Client::HangsUp(&["h2"]), SUSPECTED),
        (Client::HangsUp(&["http/1.1"]), SUSPECTED),
        (Client::HangsUp(&[]), SUSPECTED),
        (Client::Resets, SUSPECTED),
        (Client::StopsHalfway, SUSPECTED),
        (Client::Refuses, "client_tls"),
        (Client::Waits, ""),
    ] {
        check(client, |_| allow(Automatic), expected).await;
    }
    // Its requests would be refused anyway.
    check(Client::HangsUp(&["h2"]), |_| Outcome::Unanswered, "").await;
}
