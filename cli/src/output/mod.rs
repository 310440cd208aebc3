//! What is written: data to standard output, everything else to standard error.

mod hidden;
mod progress;
mod table;
#[cfg(test)]
mod tests;

use std::io::Write as _;

use serde::Serialize;

pub use hidden::hidden;
pub use progress::Progress;
pub use table::{Table, facts, line, printable};

use crate::args::{Format, Global};
use crate::error::Error;
pub use openshell_api::word;

/// Where a command writes, and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
    quiet: bool,
}

impl Output {
    /// As the command line says.
    pub fn new(global: &Global) -> Self {
        Self { format: global.output, quiet: global.quiet }
    }

    /// Whether data goes out as a table, for people.
    pub fn is_table(self) -> bool {
        self.format == Format::Table
    }

    /// Writes one document: `table` builds what people see, `data` is what programs read.
    pub fn data<T: Serialize + ?Sized>(self, data: &T, table: impl FnOnce() -> String) -> Result<(), Error> {
        let text = match self.format {
            Format::Table => table(),
            Format::Json => json(data, true)?,
            Format::Yaml => yaml(data)?,
        };
        self.text(&text)
    }

    /// Writes one record of a stream: a JSON line, or a YAML document of its own.
    pub fn record<T: Serialize + ?Sized>(self, data: &T, line: impl FnOnce() -> String) -> Result<(), Error> {
        let text = match self.format {
            Format::Table => line(),
            Format::Json => json(data, false)?,
            Format::Yaml => format!("---\n{}", yaml(data)?),
        };
        self.text(&text)
    }

    /// Writes several records of a stream at once.
    pub fn records<T: Serialize>(self, data: &[T], line: impl Fn(&T) -> String) -> Result<(), Error> {
        let mut text = String::new();
        for record in data {
            match self.format {
                Format::Table => text.push_str(&line(record)),
                Format::Json => {
                    text.push_str(&json(record, false)?);
                    text.push('\n');
                }
                Format::Yaml => text.push_str(&format!("---\n{}", yaml(record)?)),
            }
        }
        self.text(&text)
    }

    /// Writes text and a line end, if it has none, to standard output. Empty text writes nothing.
    pub fn text(self, text: &str) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        let end = if text.ends_with('\n') { "" } else { "\n" };
        out.write_all(text.as_bytes())
            .and_then(|()| out.write_all(end.as_bytes()))
            .and_then(|()| out.flush())
            .map_err(Error::io("write to standard output"))
    }

    /// Tells people something on standard error, unless `--quiet`.
    pub fn note(self, text: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{}", text.as_ref());
        }
    }

    /// Shows that something is going on, if it takes a second or more.
    pub fn progress(self, what: impl Into<String>) -> Progress {
        Progress::start(what.into(), self.quiet)
    }
}

/// Tells people what they must know on standard error, `--quiet` or not.
pub fn warn(text: &str) {
    // Nowhere is left to report that this failed.
    let _ = writeln!(std::io::stderr(), "warning: {text}");
}

/// Writes a fact and its hint to standard error.
pub fn error(error: &Error) {
    // Nowhere is left to report that this failed.
    let _ = std::io::stderr().write_all(error_text(error).as_bytes());
}

/// A fact and its hint, a line each.
pub fn error_text(error: &Error) -> String {
    let mut text = format!("error: {error}\n");
    if let Some(hint) = error.hint() {
        text.push_str(&format!("hint: {hint}\n"));
    }
    text
}

fn json<T: Serialize + ?Sized>(data: &T, pretty: bool) -> Result<String, Error> {
    let text = if pretty { serde_json::to_string_pretty(data) } else { serde_json::to_string(data) };
    text.map_err(|e| Error::Io { doing: "write JSON".into(), source: e.into() })
}

fn yaml<T: Serialize + ?Sized>(data: &T) -> Result<String, Error> {
    serde_saphyr::to_string(&data)
        .map_err(|e| Error::Io { doing: "write YAML".into(), source: std::io::Error::other(e.to_string()) })
}

/// How long ago something was, in its largest unit: `5s`, `12m`, `3h`, `9d`.
pub fn age(at: jiff::Timestamp, now: jiff::Timestamp) -> String {
    match now.duration_since(at).as_secs().max(0) {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86_400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

/// A number of bytes in binary units: `812 B`, `84.1 KiB`, `3.2 MiB`.
pub fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

/// A span given in nanoseconds, with three digits or so: `850 ns`, `12.3 µs`, `4.56 ms`, `1.23 s`.
pub fn span(nanoseconds: u64) -> String {
    let n = nanoseconds as f64;
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{:.1} µs", n / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", n / 1e6),
        _ => format!("{:.2} s", n / 1e9),
    }
}

/// The first characters of a `sha256:<hex>` digest: enough to tell two apart by eye.
pub fn short_digest(digest: &str) -> &str {
    let hex_start = digest.find(':').map_or(0, |i| i + 1);
    digest.get(..hex_start + 12).unwrap_or(digest)
}

/// A list for a cell; `-` if it is empty, so that columns stay countable.
pub fn list<T: AsRef<str>>(items: &[T]) -> String {
    if items.is_empty() { "-".into() } else { items.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ") }
}
