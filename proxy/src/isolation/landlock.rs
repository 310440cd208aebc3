//! The filesystem wall, held a second time: what the view shows, Landlock limits to reading or lets be written.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};

/// Newest set of rights we know; an older kernel enforces those it has.
const NEWEST: ABI = ABI::V7;

/// Why Landlock does not hold.
#[derive(Debug, thiserror::Error)]
pub(super) enum LandlockError {
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
    #[error("the kernel lacks Landlock, or it is switched off")]
    Absent,
    #[error("the kernel enforces only a part of it")]
    Partial,
}

/// Restricts the calling thread and all its descendants. Paths that don't exist are skipped. With `strict`, a right
/// that the kernel lacks is an error; without, only a kernel that has none of them is.
pub(super) fn restrict(read_only: &[PathBuf], read_write: &[PathBuf], strict: bool) -> Result<(), LandlockError> {
    let all = AccessFs::from_all(NEWEST);
    let read = AccessFs::from_read(NEWEST);
    let level = if strict { CompatLevel::HardRequirement } else { CompatLevel::BestEffort };
    let mut rules =
        Ruleset::default().set_compatibility(level).handle_access(all)?.scope(Scope::from_all(NEWEST))?.create()?;
    // Names may be listed from the root down, contents not.
    if let Some(rule) = beneath(Path::new("/"), AccessFs::ReadDir.into()) {
        rules = rules.add_rule(rule)?;
    }
    for (paths, access) in [(read_only, read), (read_write, all)] {
        for path in paths {
            if let Some(rule) = beneath(path, access) {
                rules = rules.add_rule(rule)?;
            }
        }
    }
    match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced if strict => Err(LandlockError::Partial),
        RulesetStatus::PartiallyEnforced => Ok(()),
        RulesetStatus::NotEnforced => Err(LandlockError::Absent),
    }
}

/// A rule for a path; rights that only directories have are left out for files.
fn beneath(path: &Path, access: BitFlags<AccessFs>) -> Option<PathBeneath<PathFd>> {
    let opened = PathFd::new(path).ok()?;
    let directory = path.is_dir();
    Some(PathBeneath::new(opened, if directory { access } else { access & AccessFs::from_file(NEWEST) }))
}
