//! A flame graph: an SVG that a browser lets zoom and search.

use std::collections::BTreeMap;
use std::io::{self, Write};

use inferno::flamegraph::{Options, from_lines};

/// Frames that would be narrower than that many percent are left out, so that the file stays small.
const LEAST_WIDTH: f64 = 0.02;

/// Writes lines of frames, root first, with their time, ns.
pub(super) fn write(out: &mut dyn Write, title: &str, notes: &str, lines: &BTreeMap<String, u64>) -> io::Result<()> {
    let mut options = Options::default();
    title.clone_into(&mut options.title);
    options.subtitle = Some(notes.to_owned());
    options.count_name = "ms".to_owned();
    options.name_type = "Function:".to_owned();
    // Microseconds in, milliseconds shown.
    options.factor = 0.001;
    options.min_width = LEAST_WIDTH;
    // The same name has the same colour in all graphs.
    options.hash = true;
    let lines: Vec<String> = lines.iter().map(|(line, ns)| format!("{line} {}", ns / 1_000)).collect();
    if lines.iter().all(|line| line.ends_with(" 0")) {
        return empty(out, title);
    }
    from_lines(&mut options, lines.iter().map(String::as_str), out)
}

/// A graph without frames, which is no error: nothing was done in that time.
fn empty(out: &mut dyn Write, title: &str) -> io::Result<()> {
    let mut options = Options::default();
    title.clone_into(&mut options.title);
    from_lines(&mut options, ["[nothing was seen] 1"], out)
}
