//! `openshell sandbox verify`, and how a proof of enforcement is shown.

use openshell_api::Name;
use openshell_api::enforcement::{Check, Enforcement};

use super::{Context, DONE};
use crate::error::Error;
use crate::output::{Table, word};

/// Has a sandbox prove its walls again. Refuses when one did not hold, after showing every check.
pub async fn verify(cx: &Context, name: &Name) -> Result<u8, Error> {
    let client = cx.client().await?;
    let progress = cx.out.progress(format!("trying to get out of sandbox {name}"));
    let enforcement = client.verify_sandbox(name).await?;
    drop(progress);
    cx.out.data(&enforcement, || text(&enforcement))?;
    if enforcement.holds() {
        return Ok(DONE);
    }
    let failed = enforcement.failures().map(|check| check.name.as_str()).collect::<Vec<_>>().join(", ");
    Err(Error::NotProven { name: name.to_string(), failed })
}

/// The count, then every check: what did not hold comes first.
pub fn text(enforcement: &Enforcement) -> String {
    let mut table = Table::new(["CHECK", "OUTCOME", "EXPECTED", "SEEN"]);
    let mut checks: Vec<&Check> = enforcement.checks.iter().collect();
    checks.sort_by_key(|check| std::cmp::Reverse(check.outcome as u8));
    for check in checks {
        table.row([check.name.clone(), word(&check.outcome), check.expected.clone(), check.seen.clone()]);
    }
    format!("enforcement: {}\n{}", enforcement.summary(), table.render())
}
