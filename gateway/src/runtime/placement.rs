//! Where a sandbox goes that names no runtime: to an engine that answers, has the labels that are asked for and room, the emptiest
//! first.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use openshell_api::Name;
use openshell_api::sandbox::CreateSandbox;

use super::docker::Capacity;

/// What sandboxes of a runtime have been promised.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Promised {
    /// How many there are.
    pub sandboxes: u64,
    /// Cores, of those that have a limit.
    pub cpus: f64,
    /// Bytes, of those that have a limit.
    pub memory: u64,
}

impl Promised {
    /// The same with one more.
    pub fn add(&mut self, spec: &CreateSandbox) {
        self.sandboxes += 1;
        self.cpus += spec.cpu.unwrap_or_default();
        self.memory = self.memory.saturating_add(spec.memory.unwrap_or_default());
    }
}

/// A runtime that may be chosen.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub name: Name,
    pub labels: BTreeMap<String, String>,
    /// On another machine than the gateway's.
    pub far: bool,
    /// How large it is, if it answers; else what was heard instead.
    pub answer: Result<Capacity, String>,
    /// What it can't honour.
    pub refusal: Option<String>,
    pub promised: Promised,
}

impl Candidate {
    /// The part of it that is not promised yet, of what there is least; a reason if the sandbox does not fit.
    fn room(&self, spec: &CreateSandbox) -> Result<f64, String> {
        if let Some((key, value)) = lacking(&self.labels, &spec.on) {
            return Err(format!("it lacks the label {key}={value}"));
        }
        if self.far && spec.on.is_empty() && spec.volumes.iter().any(|volume| volume.source.starts_with('/')) {
            return Err("it is another machine, and a directory of the host is to be shown".to_owned());
        }
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        let capacity = self.answer.as_ref().map_err(|heard| format!("it does not answer: {heard}"))?;
        let (free_cpus, free_memory) =
            (capacity.cpus - self.promised.cpus, capacity.memory.saturating_sub(self.promised.memory));
        if let Some(asked) = spec.cpu.filter(|asked| *asked > free_cpus) {
            return Err(format!(
                "{asked} cores are asked for, and {} of {} are free",
                free_cpus.max(0.0),
                capacity.cpus
            ));
        }
        if let Some(asked) = spec.memory.filter(|asked| *asked > free_memory) {
            return Err(format!(
                "{} MiB are asked for, and {} of {} are free",
                mib(asked),
                mib(free_memory),
                mib(capacity.memory)
            ));
        }
        let part = |free: f64, whole: f64| if whole > 0.0 { free / whole } else { 0.0 };
        Ok(part(free_cpus, capacity.cpus).min(part(free_memory as f64, capacity.memory as f64)))
    }
}

fn mib(bytes: u64) -> u64 {
    bytes / (1024 * 1024)
}

/// The first label that is asked for and not there.
pub(super) fn lacking<'a>(
    labels: &BTreeMap<String, String>,
    asked: &'a BTreeMap<String, String>,
) -> Option<(&'a String, &'a String)> {
    asked.iter().find(|(key, value)| labels.get(*key) != Some(value))
}

/// The one with the most room; among equals the one with the fewest sandboxes. Refuses with the reason of each.
pub(super) fn place<'a>(candidates: &'a [Candidate], spec: &CreateSandbox) -> Result<&'a Candidate, String> {
    let mut reasons = String::new();
    let mut best: Option<(f64, &Candidate)> = None;
    for candidate in candidates {
        match candidate.room(spec) {
            Err(reason) => {
                let _ = write!(reasons, "\n  {}: {reason}", candidate.name);
            }
            Ok(room) => {
                let better = best.is_none_or(|(most, other)| {
                    let fewer = candidate.promised.sandboxes < other.promised.sandboxes;
                    room > most || (room >= most && fewer)
                });
                if better {
                    best = Some((room, candidate));
                }
            }
        }
    }
    best.map(|(_, candidate)| candidate).ok_or(reasons)
}

#[cfg(test)]
mod tests {
    use openshell_api::sandbox::Volume;

    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split(' ').filter_map(|pair| pair.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
    }

    /// `name cores MiB labels…`, and what is promised there.
    fn candidate(words: &str, (sandboxes, cpus, memory): (u64, f64, u64)) -> Candidate {
        let parts: Vec<&str> = words.splitn(4, ' ').collect();
        Candidate {
            name: Name::parse(parts[0]).unwrap(),
            labels: labels(parts.get(3).copied().unwrap_or_default()),
            far: parts[0] != "docker",
            answer: match parts[1] {
                "-" => Err("connection refused".into()),
                cpus => Ok(Capacity { cpus: cpus.parse().unwrap(), memory: parts[2].parse::<u64>().unwrap() << 20 }),
            },
            refusal: None,
            promised: Promised { sandboxes, cpus, memory: memory << 20 },
        }
    }

    fn check(candidates: &[Candidate], spec: &CreateSandbox, expected: &str) {
        let found = match place(candidates, spec) {
            Ok(candidate) => candidate.name.to_string(),
            Err(reasons) => reasons.trim().replace("\n  ", "; "),
        };
        assert_eq!(found, expected, "{spec:?}");
    }

    #[test]
    fn the_emptiest_one_that_fits_is_chosen() {
        let all = [
            candidate("docker 4 8000", (3, 0.0, 0)),
            candidate("east 8 16000 zone=east gpu=no", (1, 6.0, 1000)),
            candidate("west 8 16000 zone=west gpu=no", (5, 2.0, 8000)),
            candidate("away - -  zone=east", (0, 0.0, 0)),
        ];
        let any = CreateSandbox::default();
        check(&all, &any, "docker");
        check(&all[1..], &any, "west");
        let on = |text: &str| CreateSandbox { on: labels(text), ..CreateSandbox::default() };
        check(&all, &on("zone=east"), "east");
        check(&all, &on("gpu=no"), "west");
        let cpus = |cpu: f64| CreateSandbox { cpu: Some(cpu), ..CreateSandbox::default() };
        check(&all, &cpus(5.0), "west");
        check(
            &all[1..],
            &cpus(7.0),
            "east: 7 cores are asked for, and 2 of 8 are free; west: 7 cores are asked for, and 6 of 8 are free; \
             away: it does not answer: connection refused",
        );
        let memory = CreateSandbox { memory: Some(9000 << 20), ..CreateSandbox::default() };
        check(&all, &memory, "east");
        check(&all[..1], &memory, "docker: 9000 MiB are asked for, and 8000 of 8000 are free");
        check(
            &all[..2],
            &on("zone=north"),
            "docker: it lacks the label zone=north; east: it lacks the label zone=north",
        );
    }

    #[test]
    fn equals_are_told_apart_by_how_many_are_there() {
        let all = [
            candidate("a 2 2000", (2, 0.0, 0)),
            candidate("b 4 4000", (1, 0.0, 0)),
            candidate("c 4 4000", (1, 0.0, 0)),
        ];
        check(&all, &CreateSandbox::default(), "b");
    }

    #[test]
    fn a_directory_of_the_host_is_shown_where_it_is_said_or_here() {
        let all = [candidate("docker 4 8000", (9, 3.0, 0)), candidate("east 8 16000 zone=east", (0, 0.0, 0))];
        let volume = |source: &str| Volume { source: source.into(), target: "/data".into(), read_only: true };
        let shown = |source: &str| CreateSandbox { volumes: vec![volume(source)], ..CreateSandbox::default() };
        check(&all, &shown("/srv/data"), "docker");
        check(&all, &shown("by-name"), "east");
        check(&all, &CreateSandbox { on: labels("zone=east"), ..shown("/srv/data") }, "east");
    }
}
