//! Recall, precision and false alarms.

use std::collections::{BTreeMap, BTreeSet};

use crate::case::{Case, Family, Found};

/// What a finder made of one kind, or of one family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cases that hold it and where it was found.
    pub found: usize,
    /// Cases that hold it.
    pub all: usize,
    /// Cases that do not hold it and where it was found all the same.
    pub false_finds: usize,
}

impl Tally {
    pub fn recall(self) -> f64 {
        self.found as f64 / self.all.max(1) as f64
    }

    /// 1 where nothing was found at all.
    pub fn precision(self) -> f64 {
        let finds = self.found + self.false_finds;
        if finds == 0 { 1.0 } else { self.found as f64 / finds as f64 }
    }

    /// Recall counts twice as much as precision.
    pub fn f2(self) -> f64 {
        let (p, r) = (self.precision(), self.recall());
        if p + r == 0.0 { 0.0 } else { 5.0 * p * r / (4.0 * p + r) }
    }
}

/// What one finder made of all cases of a split.
#[derive(Debug, Default)]
pub struct Score {
    pub kinds: BTreeMap<(Family, String), Tally>,
    pub families: BTreeMap<Family, Tally>,
    /// Cases with nothing sensitive in which something of the family was found; and how many such cases there are.
    pub alarms: BTreeMap<Family, usize>,
    pub negatives: usize,
    /// Recall of secrets and identifiers by how the value was disguised.
    pub encodings: BTreeMap<String, Tally>,
}

/// Judges what was found. A finder names kinds; one that only says `any secret` is judged by family alone.
pub fn score(cases: &[Case], found: &[Found]) -> Score {
    let families: BTreeMap<&str, Family> = cases.iter().filter_map(|c| Some((c.kind.as_deref()?, c.family?))).collect();
    let by_id: BTreeMap<usize, &Found> = found.iter().map(|f| (f.id, f)).collect();
    let family_of = |kind: &str| if kind == "any secret" { Some(Family::Secret) } else { families.get(kind).copied() };
    let mut score = Score::default();
    for (kind, family) in &families {
        score.kinds.insert((*family, (*kind).to_owned()), Tally::default());
    }
    for case in cases {
        let kinds: Vec<&str> =
            by_id.get(&case.id).map(|f| f.kinds.iter().map(String::as_str).collect()).unwrap_or_default();
        let found: BTreeSet<Family> = kinds.iter().filter_map(|k| family_of(k)).collect();
        for ((family, kind), tally) in &mut score.kinds {
            let holds = case.kind.as_deref() == Some(kind);
            let finds = kinds.contains(&kind.as_str());
            tally.all += usize::from(holds);
            tally.found += usize::from(holds && finds);
            tally.false_finds += usize::from(!holds && finds && !implied(case, *family, kind));
        }
        for family in [Family::Secret, Family::Identifier, Family::Personal] {
            let tally = score.families.entry(family).or_default();
            let (holds, finds) = (case.family == Some(family), found.contains(&family));
            tally.all += usize::from(holds);
            tally.found += usize::from(holds && finds);
            tally.false_finds += usize::from(!holds && finds && !implied(case, family, ""));
            if case.family.is_none() {
                *score.alarms.entry(family).or_default() += usize::from(finds);
            }
        }
        score.negatives += usize::from(case.family.is_none());
        if let Some(family @ (Family::Secret | Family::Identifier)) = case.family {
            let tally = score.encodings.entry(case.encoding.clone()).or_default();
            tally.all += 1;
            tally.found += usize::from(found.contains(&family));
        }
    }
    score
}

/// What is true of a case besides its label: a key is a secret too, a database's URL may hold an address.
fn implied(case: &Case, family: Family, kind: &str) -> bool {
    let generic = matches!(kind, "secret" | "password") && case.family == Some(Family::Secret);
    let host = case.kind.as_deref() == Some("connection_string")
        && family == Family::Personal
        && matches!(kind, "" | "ip_address");
    generic || host
}
