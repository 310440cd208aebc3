//! What `make eval` runs: labelled requests, what the privacy router and others find in them, and `EVALUATION.md`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use openshell_eval::case::Split;
use openshell_eval::{generate, misses, report, speed};

/// Evaluates detectors on labelled requests of its own making.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints a split's cases, one JSON object a line.
    Generate {
        #[arg(long, value_enum, default_value = "tune")]
        split: Split,
    },
    /// Prints what the router got wrong on the split for tuning.
    Misses {
        /// Only of this kind.
        kind: Option<String>,
    },
    /// Times the router natively, without Wasm: for profiling.
    Speed,
    /// Prints the evaluation as Markdown.
    Report {
        /// Directory of other finders' answers, named `<finder>.<split>.jsonl`.
        #[arg(long)]
        others: Option<PathBuf>,
    },
}

fn main() -> Result<()> {
    match Args::parse().command {
        Command::Generate { split } => {
            for case in generate::cases(split) {
                println!("{}", serde_json::to_string(&case)?);
            }
            Ok(())
        }
        Command::Misses { kind } => misses::print(kind.as_deref()),
        Command::Speed => speed::run(),
        Command::Report { others } => report::print(others.as_deref()),
    }
}
