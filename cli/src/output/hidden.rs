//! What is typed and not shown.

use crate::error::Error;
use crate::sys;

/// Asks for a line on the terminal without showing what is typed.
pub fn hidden(prompt: &str) -> Result<String, Error> {
    eprint!("{prompt} (not shown): ");
    let _mode = sys::TerminalMode::no_echo().map_err(Error::io("hide what is typed"))?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(Error::io("read what is typed"))?;
    Ok(line)
}
