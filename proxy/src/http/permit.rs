//! Permission to dial, as a value.

use std::sync::Arc;

use http::Uri;
use ipnet::IpNet;
use openshell_policy_host::{Grant, Inspection, Scheme};

use super::destination::canonical_host;

/// Leave to open connections to one host and port. Nothing dials without one. It comes from an allowing connect
/// verdict, or from the operator who wrote a backend's base URL ([`Permit::operator`]); there is no third way.
/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Permit(Arc<Terms>);

#[derive(Debug)]
struct Terms {
    host: String,
    port: u16,
    private_ranges: Vec<IpNet>,
    inspection: Inspection,
    generation: u64,
}

/// Why an operator's base URL grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not an http or https URL with a host")]
pub struct InvalidBaseUrl {
    /// The text that was refused.
    pub given: String,
}

/// A range in a grant that is no CIDR: the grant can't be honoured as it was meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the grant's private range {given:?} is not a CIDR range")]
pub struct InvalidRange {
    /// The text that was refused.
    pub given: String,
}

impl Permit {
    /// Made by the judge alone, from an allowing connect verdict.
    pub(super) fn from_grant(host: &str, port: u16, grant: &Grant, generation: u64) -> Result<Self, InvalidRange> {
        let private_ranges = grant.private_ranges.iter().map(|text| range(text)).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Terms {
            host: host.to_owned(),
            port,
            private_ranges,
            inspection: grant.inspection,
            generation,
        })))
    }

    /// What an operator grants by writing a backend's base URL: its host and port, private and loopback addresses
    /// included (metadata addresses excepted). Also answers the scheme. Refuses anything but http and https URLs.
    pub fn operator(base_url: &str) -> Result<(Self, Scheme), InvalidBaseUrl> {
        let invalid = || InvalidBaseUrl { given: base_url.to_owned() };
        let uri: Uri = base_url.parse().map_err(|_| invalid())?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(invalid()),
        };
        let named = uri.host().ok_or_else(invalid)?;
        let host = canonical_host(named.trim_start_matches('[').trim_end_matches(']')).ok_or_else(invalid)?;
        let everywhere = [IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())];
        Ok((
            Self(Arc::new(Terms {
                host,
                port: uri.port_u16().unwrap_or(default_port(scheme)),
                private_ranges: everywhere.to_vec(),
                inspection: Inspection::Required,
                generation: 0,
            })),
            scheme,
        ))
    }

    /// Lowercase DNS name or address.
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// Port.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// What may happen to the connection's bytes.
    pub fn inspection(&self) -> Inspection {
        self.0.inspection
    }

    /// Generation it was granted under.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// Ranges the name may resolve to although they are not public.
    pub fn private_ranges(&self) -> &[IpNet] {
        &self.0.private_ranges
    }
}

/// 80 or 443.
pub(super) fn default_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    }
}

/// A CIDR range; a bare address is a range of one.
pub(super) fn range(text: &str) -> Result<IpNet, InvalidRange> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| InvalidRange { given: text.to_owned() })
}
