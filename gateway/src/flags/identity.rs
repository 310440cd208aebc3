//! Flags that say how the gateway knows its callers.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use ipnet::IpNet;
use openshell_api::user::Role;
use openshell_gateway::identity::IdentityOptions;
use openshell_gateway::identity::jwt::{KeySource, Trust};

/// Shortest life of a supervisor's key, in seconds.
const LEAST_KEY_LIFE: u64 = 10;

/// How callers are known.
#[derive(Args)]
pub struct Identity {
    /// OpenID provider whose tokens are taken, exactly as its `iss` says.
    #[arg(long, value_name = "URL", env = "OPENSHELL_OIDC_ISSUER", requires = "oidc_audience")]
    oidc_issuer: Option<String>,
    /// Whom its tokens must be for: one of `aud`.
    #[arg(long, value_name = "AUDIENCE", env = "OPENSHELL_OIDC_AUDIENCE", requires = "oidc_issuer")]
    oidc_audience: Option<String>,
    /// Client that users log in as [default: the audience].
    #[arg(long, value_name = "ID", env = "OPENSHELL_OIDC_CLIENT_ID", requires = "oidc_issuer")]
    oidc_client_id: Option<String>,
    /// Scopes that clients ask for, with commas between.
    #[arg(long, value_name = "SCOPES", env = "OPENSHELL_OIDC_SCOPES", value_delimiter = ',')]
    #[arg(default_values_t = ["openid", "profile", "email", "offline_access"].map(str::to_owned))]
    oidc_scopes: Vec<String>,
    /// Claim that names the user.
    #[arg(long, value_name = "CLAIM", env = "OPENSHELL_OIDC_USER_CLAIM", default_value = "sub")]
    oidc_user_claim: String,
    /// Claim that says the role: a text or a list; dots lead into objects, as in realm_access.roles.
    #[arg(long, value_name = "CLAIM", env = "OPENSHELL_OIDC_ROLE_CLAIM", requires = "oidc_issuer")]
    oidc_role_claim: Option<String>,
    /// What that claim holds for a role, as admin=platform-admins; may be repeated, or have commas between.
    #[arg(long, value_name = "ROLE=VALUE", env = "OPENSHELL_OIDC_ROLE", value_delimiter = ',', value_parser = role_value)]
    oidc_role: Vec<(Role, String)>,
    /// Role of users for whom none matches [default: they are refused].
    #[arg(long, value_name = "ROLE", env = "OPENSHELL_OIDC_DEFAULT_ROLE")]
    oidc_default_role: Option<Role>,
    /// Team domain of the Cloudflare Access that stands in front, as https://TEAM.cloudflareaccess.com.
    #[arg(long, value_name = "URL", env = "OPENSHELL_ACCESS_ISSUER", requires = "access_audience")]
    access_issuer: Option<String>,
    /// Audience tag of its application.
    #[arg(long, value_name = "TAG", env = "OPENSHELL_ACCESS_AUDIENCE", requires = "access_issuer")]
    access_audience: Option<String>,
    /// Claim that names the user.
    #[arg(long, value_name = "CLAIM", env = "OPENSHELL_ACCESS_USER_CLAIM", default_value = "email")]
    access_user_claim: String,
    /// Claim that says the role.
    #[arg(long, value_name = "CLAIM", env = "OPENSHELL_ACCESS_ROLE_CLAIM", requires = "access_issuer")]
    access_role_claim: Option<String>,
    /// What that claim holds for a role.
    #[arg(long, value_name = "ROLE=VALUE", env = "OPENSHELL_ACCESS_ROLE", value_delimiter = ',', value_parser = role_value)]
    access_role: Vec<(Role, String)>,
    /// Role of users for whom none matches [default: they are refused].
    #[arg(long, value_name = "ROLE", env = "OPENSHELL_ACCESS_DEFAULT_ROLE")]
    access_default_role: Option<Role>,
    /// Reverse proxies whose X-Forwarded-For is believed, as addresses or networks; with commas between.
    #[arg(long, value_name = "CIDR", env = "OPENSHELL_TRUSTED_PROXY", value_delimiter = ',', value_parser = network)]
    trusted_proxy: Vec<IpNet>,
    /// How long a supervisor's key lives, in seconds; it is renewed while its sandbox is connected.
    #[arg(long, value_name = "SECONDS", env = "OPENSHELL_SUPERVISOR_KEY_LIFE", default_value_t = 3600)]
    supervisor_key_life: u64,
}

impl Identity {
    /// As the gateway takes them. Refuses what would let nobody in, or anybody.
    pub fn options(self) -> anyhow::Result<IdentityOptions> {
        if self.supervisor_key_life < LEAST_KEY_LIFE {
            bail!("a supervisor's key must live for {LEAST_KEY_LIFE} seconds or more");
        }
        let oidc = match self.oidc_issuer {
            None => None,
            Some(issuer) => Some(checked(Trust {
                issuer,
                audience: self.oidc_audience.context("--oidc-audience is missing")?,
                client_id: self.oidc_client_id,
                keys: KeySource::Discovery,
                user_claim: self.oidc_user_claim,
                role_claim: self.oidc_role_claim,
                roles: self.oidc_role,
                default_role: self.oidc_default_role,
            })?),
        };
        let access = match self.access_issuer {
            None => None,
            Some(issuer) => {
                let certificates = format!("{}/cdn-cgi/access/certs", issuer.trim_end_matches('/'));
                Some(checked(Trust {
                    issuer,
                    audience: self.access_audience.context("--access-audience is missing")?,
                    client_id: None,
                    keys: KeySource::Certificates(certificates),
                    user_claim: self.access_user_claim,
                    role_claim: self.access_role_claim,
                    roles: self.access_role,
                    default_role: self.access_default_role,
                })?)
            }
        };
        Ok(IdentityOptions {
            oidc,
            oidc_scopes: self.oidc_scopes,
            access,
            proxies: self.trusted_proxy,
            key_life: Duration::from_secs(self.supervisor_key_life),
            ..IdentityOptions::default()
        })
    }
}

fn checked(trust: Trust) -> anyhow::Result<Trust> {
    if trust.default_role.is_none() && (trust.roles.is_empty() || trust.role_claim.is_none()) {
        bail!(
            "nobody whom {} vouches for would have a role: name a claim and what it holds for a role, or a default role",
            trust.issuer
        );
    }
    Ok(trust)
}

fn role_value(given: &str) -> Result<(Role, String), String> {
    let (role, value) = given.split_once('=').ok_or("write ROLE=VALUE, such as admin=platform-admins")?;
    if value.is_empty() {
        return Err("the value is empty".to_owned());
    }
    Ok((role.parse()?, value.to_owned()))
}

fn network(given: &str) -> Result<IpNet, String> {
    let address = given.parse::<std::net::IpAddr>().map(IpNet::from);
    address.or_else(|_| given.parse()).map_err(|_| format!("{given:?} is neither an address nor a network"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        identity: Identity,
    }

    #[test]
    fn providers_need_all_that_makes_them_good_for_something() {
        let check = |line: &str, expected: &str| {
            let parsed = Line::try_parse_from(std::iter::once("x").chain(line.split_whitespace()));
            let found = match parsed.map(|line| line.identity.options()) {
                Ok(Ok(options)) => format!(
                    "{} {} {:?}",
                    options.oidc.map_or("-".into(), |trust| trust.issuer),
                    options.access.map_or_else(|| "-".into(), |trust| format!("{:?}", trust.keys)),
                    options.proxies
                ),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.kind().to_string(),
            };
            assert!(found.starts_with(expected), "{line}: {found}");
        };
        let oidc = "--oidc-issuer https://id.test --oidc-audience openshell";
        check("", "- - []");
        check("--oidc-issuer https://id.test", "one or more required arguments were not provided");
        check(oidc, "nobody whom https://id.test vouches for would have a role");
        check(&format!("{oidc} --oidc-default-role viewer"), "https://id.test -");
        check(&format!("{oidc} --oidc-role-claim groups --oidc-role admin=a,viewer=b"), "https://id.test -");
        check(&format!("{oidc} --oidc-role admin=a"), "nobody whom");
        check(&format!("{oidc} --oidc-role-claim groups --oidc-role root=a"), "invalid value");
        check(
            "--access-issuer https://t.cloudflareaccess.com/ --access-audience x --access-default-role operator",
            "- Certificates(\"https://t.cloudflareaccess.com/cdn-cgi/access/certs\")",
        );
        check("--trusted-proxy 10.0.0.0/8,192.0.2.1", "- - [10.0.0.0/8, 192.0.2.1/32]");
        check("--trusted-proxy ten", "invalid value");
        check("--supervisor-key-life 1", "a supervisor's key must live");
    }
}
