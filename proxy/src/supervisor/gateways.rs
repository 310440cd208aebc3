//! Where the gateway answers: at the address of the start file, and wherever else it says that it does.

use std::sync::{Mutex, PoisonError};

use rustls::pki_types::ServerName;

use super::dialer::AddressError;

/// Most addresses that are kept: a gateway of more replicas is none of ours.
const MOST: usize = 64;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Host and port.
    pub authority: String,
    /// The host alone, without brackets.
    pub host: String,
    /// The port alone.
    pub port: u16,
    /// Whose certificate it must have.
    pub server: ServerName<'static>,
}

impl Address {
    /// Of an `https` URL with a host and nothing behind it.
    pub(super) fn parse(url: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError::Url(url.to_owned());
        let uri = url.parse::<http::Uri>().map_err(|_| wrong())?;
        if uri.scheme() != Some(&http::uri::Scheme::HTTPS) || !uri.path().trim_end_matches('/').is_empty() {
            return Err(wrong());
        }
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(443);
        let server = ServerName::try_from(host.clone())?;
        Ok(Self { authority: format!("{}:{port}", authority.host()), host, port, server })
    }
}

/// All of them, in the order in which they are tried.
#[derive(Default)]
pub struct Gateways(Mutex<State>);

#[derive(Default)]
struct State {
    /// The one of the start file, which never goes.
    first: Option<Address>,
    list: Vec<Address>,
}

impl Gateways {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of the start file.
    pub(super) fn begin(&self, address: Address) {
        *self.state() = State { first: Some(address.clone()), list: vec![address] };
    }

    /// The gateway says where it answers. The one that is in use stays the first; what is no address is left out.
    pub(super) fn told(&self, urls: &[String]) {
        let mut state = self.state();
        let known =
            state.list.first().cloned().into_iter().chain(urls.iter().filter_map(|url| Address::parse(url).ok()));
        let known = known.chain(state.first.clone());
        let mut list: Vec<Address> = Vec::new();
        for address in known {
            if !list.contains(&address) && list.len() < MOST {
                list.push(address);
            }
        }
        state.list = list;
    }

    /// In the order in which they are to be tried.
    pub(super) fn list(&self) -> Vec<Address> {
        self.state().list.clone()
    }

    /// This one took the link: it comes first.
    pub(super) fn prefer(&self, address: &Address) {
        let mut state = self.state();
        if let Some(at) = state.list.iter().position(|known| known == address) {
            state.list[..=at].rotate_right(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(gateways: &Gateways) -> Vec<String> {
        gateways.list().into_iter().map(|address| address.authority).collect()
    }

    #[test]
    fn the_one_in_use_comes_first_and_the_first_one_never_goes() {
        let gateways = Gateways::default();
        gateways.begin(Address::parse("https://a.test:7443").unwrap());
        let told = |urls: &[&str]| gateways.told(&urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>());
        told(&["https://b.test:1", "http://plain.test", "https://c.test", "https://b.test:1", "https://me@x.test"]);
        assert_eq!(list(&gateways), ["a.test:7443", "b.test:1", "c.test:443"]);
        gateways.prefer(&Address::parse("https://c.test").unwrap());
        assert_eq!(list(&gateways), ["c.test:443", "a.test:7443", "b.test:1"]);
        told(&["https://d.test"]);
        assert_eq!(list(&gateways), ["c.test:443", "d.test:443", "a.test:7443"]);
        told(
            &(0..200)
                .map(|n| format!("https://h{n}.test"))
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        );
        assert_eq!(list(&gateways).len(), MOST);
    }
}
