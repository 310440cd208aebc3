//! The steps that bring a database's schema up to date, in the order of their numbers. Both databases have the same steps from the one on
//! that brought the second.

use std::path::Path;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// Name of a step's file, and what is in it.
type Step = (&'static str, &'static str);

macro_rules! steps {
    ($directory:literal: $($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!("../../../migrations/", $directory, "/", $file)))),*]
    };
}

const SQLITE: &[Step] = steps!("sqlite":
    "0001_init.sql",
    "0002_enforcement.sql",
    "0010_usage.sql",
    "0020_cached_tokens.sql",
    "0030_trust.sql",
    "0040_identities.sql",
    "0050_audit.sql",
    "0060_signed_head.sql",
    "0061_replicas.sql",
    "0070_idempotency.sql",
    "0080_shared_budgets.sql",
    "0090_exports.sql",
    "0100_provider_types.sql",
    "0110_module_places.sql",
    "0120_runtimes.sql",
    "0125_spending.sql",
    "0130_keyring.sql",
    "0140_module_puts.sql",
    "0150_log_trims.sql",
);

const POSTGRES: &[Step] = steps!("postgres":
    "0060_init.sql",
    "0061_replicas.sql",
    "0070_idempotency.sql",
    "0080_shared_budgets.sql",
    "0090_exports.sql",
    "0100_provider_types.sql",
    "0110_module_places.sql",
    "0120_runtimes.sql",
    "0125_spending.sql",
    "0130_keyring.sql",
    "0140_module_puts.sql",
    "0150_log_trims.sql",
);

pub(super) fn sqlite() -> Migrator {
    migrator(SQLITE)
}

pub(super) fn postgres() -> Migrator {
    migrator(POSTGRES)
}

fn migrator(steps: &[Step]) -> Migrator {
    let steps = steps.iter().filter_map(|(file, sql)| {
        let (number, name) = Path::new(file).file_stem()?.to_str()?.split_once('_')?;
        let name = name.replace('_', " ").into();
        Some(Migration::new(number.parse().ok()?, name, MigrationType::Simple, sql.into_sql_str(), false))
    });
    Migrator::with_migrations(steps.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_step() {
        for (directory, steps) in [("sqlite", SQLITE), ("postgres", POSTGRES)] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(directory);
            let files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut files: Vec<String> = files.collect();
            files.sort();
            assert_eq!(files, steps.iter().map(|(file, _)| *file).collect::<Vec<_>>(), "{directory}");
            let versions: Vec<i64> = migrator(steps).iter().map(|step| step.version).collect();
            assert_eq!(versions.len(), files.len(), "a number can't be read: {versions:?}");
            assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
        }
    }
}
