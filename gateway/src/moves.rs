//! `openshell-gateway move-modules`.

use std::io::Write as _;

use anyhow::{Context as _, anyhow};
use openshell_gateway::modules::moving::{self, Move};
use serde_json::json;

use crate::{Home, MoveModules};

pub fn run(args: MoveModules) -> anyhow::Result<()> {
    let bucket = args.modules.options().context("--modules is missing: it says which bucket")?;
    let asked = Move {
        state_dir: args.state_dir,
        database: args.database.url()?,
        bucket,
        into_bucket: args.to == Home::Bucket,
        extra_ca: args.upstream_ca,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let moved = runtime.block_on(moving::move_all(&asked)).map_err(|error| match error.hint() {
        Some(hint) => anyhow!("{error}\nhint: {hint}"),
        None => anyhow!(error),
    })?;
    let report = json!({ "modules": moved.modules, "bucket": moved.place });
    writeln!(std::io::stdout().lock(), "{report}").context("writing to standard output")
}
