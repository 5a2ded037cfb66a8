//! What `gospy capture --json` reports of the files that it has written.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::json::{SCHEMA_VERSION, schema_of, to_writer};

/// What was written.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(title = "gospy capture")]
pub struct Captures {
    /// Raised only by a change that breaks readers.
    pub schema_version: u32,
    /// Version of the gospy that wrote this.
    pub gospy_version: &'static str,
    /// Whether everything that was asked for is in all of them.
    pub complete: bool,
    /// The files, in the order in which they were written.
    pub captures: Vec<Captured>,
}

impl Default for Captures {
    fn default() -> Self {
        let gospy_version = env!("CARGO_PKG_VERSION");
        Self { schema_version: SCHEMA_VERSION, gospy_version, complete: true, captures: Vec::new() }
    }
}

/// One file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Captured {
    /// Where it is.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When the snapshot was complete; RFC 3339, UTC.
    pub captured_at: String,
    /// How many goroutines are in it, without dead ones.
    pub goroutines: u64,
    /// Whether everything that was asked for is in it.
    pub complete: bool,
}

/// Writes it as one JSON object on one line.
///
/// # Errors
/// Those of `out`.
pub fn json(out: &mut dyn Write, captures: &Captures) -> io::Result<()> {
    to_writer(out, captures)?;
    writeln!(out)
}

/// The JSON Schema of what [`json`] writes.
#[must_use]
pub fn schema() -> schemars::Schema {
    schema_of::<Captures>()
}
