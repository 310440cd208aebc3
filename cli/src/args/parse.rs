//! Parsers of single arguments. Each refuses what it can't honour, in words that show the right form.

use std::net::IpAddr;
use std::time::Duration;

/// `KEY=VALUE`; the key is not empty.
pub fn key_value(given: &str) -> Result<(String, String), String> {
    match given.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".into()),
    }
}

/// `NAME:ADDRESS`, as Docker's `--add-host`. An IPv6 address may stand in brackets.
pub fn add_host(given: &str) -> Result<(String, IpAddr), String> {
    let (name, address) = given.split_once(':').ok_or("write it as NAME:ADDRESS, such as api.test:127.0.0.1")?;
    if name.is_empty() {
        return Err("the name before ':' is empty".into());
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let address = bare.parse().map_err(|_| format!("{address:?} is not an IP address"))?;
    Ok((name.to_ascii_lowercase(), address))
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
