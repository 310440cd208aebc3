//! What the router got wrong on the cases for tuning; there is no such listing of the held-out ones.

use anyhow::Result;

use crate::case::{Case, Split};
use crate::{generate, router};

/// Prints every case that the router missed, or found something else in; of one kind, or of all.
pub fn print(only: Option<&str>) -> Result<()> {
    let cases = generate::cases(Split::Tune);
    for (case, found) in cases.iter().zip(router::find(&cases)?) {
        let missed = case.kind.as_ref().filter(|kind| !found.kinds.contains(kind));
        let extra: Vec<&String> = found.kinds.iter().filter(|k| Some(*k) != case.kind.as_ref()).collect();
        let concerns = |kind: &str| only.is_none_or(|o| o == kind);
        if let Some(kind) = missed.filter(|k| concerns(k)) {
            println!("MISS {kind} [{}/{}] found {:?}: {}", case.carrier, case.encoding, found.kinds, shown(case));
        } else if extra.iter().any(|k| concerns(k)) {
            println!("EXTRA {extra:?} in {:?} [{}/{}]: {}", case.kind, case.carrier, case.encoding, shown(case));
        }
    }
    Ok(())
}

fn shown(case: &Case) -> String {
    format!("{:?}", case.messages).chars().take(700).collect()
}
