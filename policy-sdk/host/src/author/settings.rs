//! Settings against a module's schema.

use jsonschema::{Draft, PatternOptions};
use serde_json::Value;

use crate::author::compiler::BakeError;

/// Memory for one compiled pattern of a schema, in bytes.
const MAX_PATTERN: usize = 1 << 20;
/// Complaints that are shown.
const MAX_COMPLAINTS: usize = 3;

/// Refuses settings that the schema refuses. Fetches nothing: a schema that refers to another document is not valid.
pub(crate) fn validate(schema: &Value, settings: &Value) -> Result<(), BakeError> {
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN))
        .build(schema)
        .map_err(|error| BakeError::Schema { detail: error.to_string() })?;
    let mut errors = validator.iter_errors(settings);
    let Some(first) = errors.next() else { return Ok(()) };
    let mut detail = first.to_string();
    for error in errors.by_ref().take(MAX_COMPLAINTS - 1) {
        detail += &format!("; {}: {error}", error.instance_path());
    }
    let more = errors.count();
    if more > 0 {
        detail += &format!("; and {more} more");
    }
    let at = first.instance_path().to_string();
    Err(BakeError::Settings { at: if at.is_empty() { at } else { format!(" at {at}") }, detail })
}
