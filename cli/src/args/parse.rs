//! Parsers of single arguments. Each refuses what it can't honour, in words that show the right form.

use std::net::IpAddr;
use std::time::Duration;

use super::inference::Provided;
use super::sandbox::PortMapping;
use openshell_api::Name;
use openshell_api::inference::{Budget, Period};
use openshell_api::sandbox::{RuntimeKind, Volume};

/// `KEY=VALUE`; the key is not empty.
pub fn key_value(given: &str) -> Result<(String, String), String> {
    match given.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".into()),
    }
}

/// `10%` or `10`: a share in hundredths, neither nothing nor all.
pub fn share(given: &str) -> Result<u8, String> {
    let number = given.strip_suffix('%').unwrap_or(given).parse().ok();
    number.filter(|share| (1..100).contains(share)).ok_or_else(|| "write it as 10%, from 1% to 99%".into())
}

/// `NAME:ADDRESS`, as Docker's `--add-host`. An IPv6 address may stand in brackets; `host-gateway` is whatever address
/// the sandbox's machine has for it.
pub fn add_host(given: &str) -> Result<(String, String), String> {
    let (name, address) = given.split_once(':').ok_or("write it as NAME:ADDRESS, such as api.test:127.0.0.1")?;
    if name.is_empty() {
        return Err("the name before ':' is empty".into());
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if bare != "host-gateway" && bare.parse::<IpAddr>().is_err() {
        return Err(format!("{address:?} is not an IP address"));
    }
    Ok((name.to_ascii_lowercase(), bare.to_owned()))
}

/// `process` or `docker`.
pub fn runtime(given: &str) -> Result<RuntimeKind, String> {
    match given {
        "process" => Ok(RuntimeKind::Process),
        "docker" => Ok(RuntimeKind::Docker),
        _ => Err("there are: docker, process".into()),
    }
}

/// What a gateway can be given: `docker` or `swarm`.
pub fn engine(given: &str) -> Result<RuntimeKind, String> {
    match given {
        "docker" => Ok(RuntimeKind::Docker),
        "swarm" => Ok(RuntimeKind::Swarm),
        _ => Err("there are: docker, swarm".into()),
    }
}

/// `SOURCE:TARGET[:ro]`, as Docker's `--volume`. A source that begins with `.`, `~/` or `/` is a directory of this
/// machine and becomes absolute; else it is a volume's name.
pub fn volume(given: &str) -> Result<Volume, String> {
    let wrong = || "write it as SOURCE:TARGET or SOURCE:TARGET:ro, such as ./data:/data:ro".to_owned();
    let mut parts = given.split(':');
    let (source, target) = (parts.next().unwrap_or_default(), parts.next().ok_or_else(wrong)?);
    let read_only = match parts.next() {
        None | Some("rw") => false,
        Some("ro") => true,
        Some(_) => return Err(wrong()),
    };
    if source.is_empty() || parts.next().is_some() {
        return Err(wrong());
    }
    if !target.starts_with('/') {
        return Err(format!("the target {target:?} is not an absolute path"));
    }
    let source = match source.strip_prefix("~/").zip(std::env::home_dir()) {
        Some((rest, home)) => home.join(rest),
        None => source.into(),
    };
    let source = match source.is_absolute() || source.starts_with(".") || source.starts_with("..") {
        true => std::path::absolute(&source).map_err(|error| format!("{}: {error}", source.display()))?,
        false => source,
    };
    Ok(Volume { source: source.to_string_lossy().into_owned(), target: target.to_owned(), read_only })
}

/// A positive number of processor cores.
pub fn cores(given: &str) -> Result<f64, String> {
    let wrong = || "write it as a number of cores, such as 0.5 or 2".to_owned();
    given.parse::<f64>().ok().filter(|cores| cores.is_finite() && *cores > 0.0).ok_or_else(wrong)
}

/// A size in bytes, or with `k`, `m`, `g` or `t` (1024 each, upper case and a trailing `b`, `i` or `ib` as well).
pub fn size(given: &str) -> Result<u64, String> {
    let wrong = || "write it as a number and k, m, g or t, such as 512m or 4g".to_owned();
    let lower = given.to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let power = match &lower[digits..] {
        "" | "b" => 0,
        unit => {
            let rest = unit.get(1..).ok_or_else(wrong)?;
            if !matches!(rest, "" | "b" | "i" | "ib") {
                return Err(wrong());
            }
            "kmgt".find(&unit[..1]).ok_or_else(wrong)? + 1
        }
    };
    let count: u64 = lower[..digits].parse().map_err(|_| wrong())?;
    count.checked_mul(1 << (10 * power)).filter(|size| *size > 0).ok_or_else(wrong)
}

/// `[ADDRESS:]LOCAL:REMOTE`, or one port for both.
pub fn port_mapping(given: &str) -> Result<PortMapping, String> {
    let wrong = || "write it as LOCAL:REMOTE, such as 8080:80, or ADDRESS:LOCAL:REMOTE".to_owned();
    let port = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    let (rest, remote) = given.rsplit_once(':').unwrap_or((given, given));
    let (address, local) = match rest.rsplit_once(':') {
        Some((address, local)) => {
            let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
            (Some(bare.parse().map_err(|_| format!("{address:?} is not an IP address"))?), local)
        }
        None => (None, rest),
    };
    match port(remote)? {
        0 => Err("port 0 of a sandbox leads nowhere".into()),
        remote => Ok(PortMapping { address, local: port(local)?, remote }),
    }
}

/// A span of time such as `90s`, `15m`, `24h` or `7d`.
pub fn span(given: &str) -> Result<Duration, String> {
    let wrong = || "write it as a number and s, m, h or d, such as 15m".to_owned();
    let unit = given.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = given[..given.len() - 1].parse().map_err(|_| wrong())?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// Dollars per million tokens, such as `0.25`; the answer is in millionths of a dollar.
pub fn price(given: &str) -> Result<u64, String> {
    let wrong = || "write it as dollars per million tokens, such as 0.25".to_owned();
    let (whole, fraction) = given.split_once('.').unwrap_or((given, ""));
    if fraction.len() > 6 || !fraction.bytes().all(|b| b.is_ascii_digit()) || (whole.is_empty() && fraction.is_empty())
    {
        return Err(wrong());
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
    let millionths: u64 = format!("{fraction:0<6}").parse().map_err(|_| wrong())?;
    whole.checked_mul(1_000_000).and_then(|w| w.checked_add(millionths)).ok_or_else(wrong)
}

/// `PERIOD[@BACKEND]=DOLLARS`, such as `day=5` or `month@cloud=49.50`.
pub fn budget(given: &str) -> Result<Budget, String> {
    let wrong =
        || "write it as PERIOD=DOLLARS or PERIOD@BACKEND=DOLLARS, such as day=5 or month@cloud=49.50".to_owned();
    let (budget, amount) = limited(given).ok_or_else(wrong)??;
    Ok(Budget { cost: Some(price(amount).map_err(|_| wrong())?), ..budget })
}

/// `PERIOD[@BACKEND]=TOKENS`, such as `day=2000000`.
pub fn token_budget(given: &str) -> Result<Budget, String> {
    let wrong = || "write it as PERIOD=TOKENS or PERIOD@BACKEND=TOKENS, such as day=2000000".to_owned();
    let (budget, amount) = limited(given).ok_or_else(wrong)??;
    Ok(Budget { tokens: Some(amount.parse().map_err(|_| wrong())?), ..budget })
}

/// What is limited, and the amount as it was written; `None`: there is no `=`.
fn limited(given: &str) -> Option<Result<(Budget, &str), String>> {
    let (what, amount) = given.split_once('=')?;
    let (period, backend) = what.split_once('@').map_or((what, None), |(period, backend)| (period, Some(backend)));
    let period = match period {
        "day" => Period::Day,
        "month" => Period::Month,
        "total" => Period::Total,
        other => return Some(Err(format!("{other:?} is no period: there are day, month and total"))),
    };
    let backend = match backend.map(Name::parse).transpose() {
        Ok(backend) => backend,
        Err(error) => return Some(Err(error.to_string())),
    };
    Some(Ok((Budget { period, backend, cost: None, tokens: None }, amount)))
}

/// `NAME=MODEL`, neither of them empty.
pub fn alias(given: &str) -> Result<(String, String), String> {
    match given.split_once('=') {
        Some((alias, model)) if !alias.is_empty() && !model.is_empty() => Ok((alias.to_owned(), model.to_owned())),
        _ => Err("write it as NAME=MODEL, such as fast=gpt-4o-mini".into()),
    }
}

/// A provider's name, or `-` for none.
pub fn provided(given: &str) -> Result<Provided, String> {
    match given {
        "-" => Ok(Provided(None)),
        name => Name::parse(name).map(|name| Provided(Some(name))).map_err(|error| error.to_string()),
    }
}

/// `yes` or `no`.
pub fn yes(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => Err(format!("{other:?} is neither yes nor no")),
    }
}
