//! `openshell completions`.

use clap::CommandFactory as _;

use super::DONE;
use crate::args::Cli;
use crate::error::Error;
use crate::output::Output;

/// Prints a completion script.
pub fn print(shell: clap_complete::Shell, out: Output) -> Result<u8, Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "openshell", &mut script);
    out.text(&String::from_utf8_lossy(&script))?;
    Ok(DONE)
}
