//! What came of asking again.

use std::collections::{BTreeMap, HashMap};

use openshell_api::decision::Verdict;
use openshell_api::shadow::FlipGroup;
use serde::Serialize;

use super::question::Unasked;
use crate::output::{Table, facts, word};

/// Most groups that are shown.
const SHOWN: usize = 50;

/// Counts of one thread; they add up.
#[derive(Debug, Default)]
pub struct Tally {
    /// Records read.
    pub decisions: u64,
    /// Decisions asked again.
    pub asked: u64,
    /// Of them, those with a part that was withheld from the record.
    pub approximate: u64,
    /// Questions the candidate gave no answer to.
    pub failures: BTreeMap<String, u64>,
    /// Records that were not asked, and why.
    pub unasked: BTreeMap<Unasked, u64>,
    flips: HashMap<Key, FlipGroup>,
}

/// One decision that would be the other way.
pub struct Flip {
    /// What it would be.
    pub to: Verdict,
    /// The rule that decides; empty: none.
    pub rule: String,
    /// Why it would be denied.
    pub reason: Option<String>,
    /// `host:port`.
    pub destination: String,
    /// HTTP method.
    pub method: Option<String>,
    /// HTTP path.
    pub path: Option<String>,
    /// Id of the decision.
    pub id: String,
}

type Key = (bool, String, String, Option<String>);

impl Tally {
    /// Takes note of a flip.
    pub fn flip(&mut self, flip: Flip) {
        let Flip { to, rule, reason, destination, method, path, id } = flip;
        let allows = to == Verdict::Allow;
        let key = (allows, rule.clone(), destination.clone(), method.clone());
        let group = self.flips.entry(key).or_insert_with(|| FlipGroup {
            from: if allows { Verdict::Deny } else { Verdict::Allow },
            to,
            rule,
            destination,
            method,
            count: 0,
            example: String::new(),
            path: None,
            reason: None,
        });
        group.count += 1;
        if group.example <= id {
            (group.example, group.path, group.reason) = (id, path, reason);
        }
    }

    /// Takes over what another thread counted.
    pub fn add(&mut self, other: Self) {
        self.decisions += other.decisions;
        self.asked += other.asked;
        self.approximate += other.approximate;
        for (reason, count) in other.failures {
            *self.failures.entry(reason).or_default() += count;
        }
        for (reason, count) in other.unasked {
            *self.unasked.entry(reason).or_default() += count;
        }
        for (key, group) in other.flips {
            match self.flips.entry(key) {
                std::collections::hash_map::Entry::Vacant(vacant) => {
                    vacant.insert(group);
                }
                std::collections::hash_map::Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    known.count += group.count;
                    if known.example < group.example {
                        let count = known.count;
                        *known = FlipGroup { count, ..group };
                    }
                }
            }
        }
    }

    /// In the end.
    pub fn report(self, candidate: String, digest: String, took_ms: u64) -> Report {
        let mut groups: Vec<FlipGroup> = self.flips.into_values().collect();
        groups.sort_by(|one, other| {
            (other.count, &one.destination, &one.rule).cmp(&(one.count, &other.destination, &other.rule))
        });
        Report {
            candidate,
            digest,
            decisions: self.decisions,
            asked: self.asked,
            approximate: self.approximate,
            flips: groups.iter().map(|group| group.count).sum(),
            failures: self.failures,
            not_asked: self.unasked.into_iter().map(|(why, count)| (why.to_string(), count)).collect(),
            groups,
            took_ms,
        }
    }
}

/// How a replay went.
#[derive(Debug, Serialize)]
pub struct Report {
    candidate: String,
    digest: String,
    /// Records read.
    decisions: u64,
    /// Decisions asked again.
    asked: u64,
    /// Of them, those whose question was not recorded whole.
    approximate: u64,
    /// Decisions that would be the other way.
    pub flips: u64,
    /// Questions the candidate gave no answer to, by kind.
    pub failures: BTreeMap<String, u64>,
    /// Records that were not asked, by reason.
    not_asked: BTreeMap<String, u64>,
    /// The flips, most frequent first.
    groups: Vec<FlipGroup>,
    took_ms: u64,
}

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        let mut pairs = vec![
            ("candidate", self.candidate.clone()),
            ("decisions", format!("{} recorded, {} asked again", self.decisions, self.asked)),
        ];
        if self.approximate > 0 {
            let note = format!("{} with placeholders for parts of the query that were not recorded", self.approximate);
            pairs.push(("approximate", note));
        }
        pairs.push(("flips", self.flips.to_string()));
        pairs.push(("took", format!("{:.1} s", self.took_ms as f64 / 1000.0)));
        let mut text = facts(&pairs);
        for (why, count) in &self.not_asked {
            text.push_str(&format!("not asked: {count} × {why}\n"));
        }
        for (kind, count) in &self.failures {
            text.push_str(&format!("no answer: {count} × {kind}\n"));
        }
        if !self.groups.is_empty() {
            text.push('\n');
            text.push_str(&flip_table(&self.groups, SHOWN));
        }
        text
    }
}

/// Groups of flips, the first so many.
pub fn flip_table(groups: &[FlipGroup], most: usize) -> String {
    let mut table = Table::new(["COUNT", "FLIP", "RULE", "DESTINATION", "EXAMPLE", "DECISION"]);
    for group in groups.iter().take(most) {
        let path = group.path.as_deref().unwrap_or_default();
        let example = group.method.as_ref().map_or_else(|| "connect".to_owned(), |method| format!("{method} {path}"));
        table.row([
            group.count.to_string(),
            format!("{} → {}", word(&group.from), word(&group.to)),
            if group.rule.is_empty() { "(nobody allows it)".to_owned() } else { group.rule.clone() },
            group.destination.clone(),
            example,
            group.example.clone(),
        ]);
    }
    let mut text = table.render();
    if groups.len() > most {
        text.push_str(&format!("… and {} more groups: see -o json\n", groups.len() - most));
    }
    text
}
