//! What the lists in text have in common: addresses, and a line for each frame after a `#`.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::go_names::{is_hidden_by_profiles, printed};
use crate::model::{FrameId, ProfileStack, SymbolPool};
use crate::report::clean::clean;

/// The rest of a sample's line: its return addresses.
pub(super) fn addresses(out: &mut dyn Write, stack: &ProfileStack) -> io::Result<()> {
    for pc in &stack.pcs {
        write!(out, " {pc}")?;
    }
    writeln!(out)
}

/// A line for each frame that the runtime recorded, and an empty one. The runtime's own at the top are left out
/// unless `all` are wanted, or there are no others (`printStackRecord` in runtime/pprof/pprof.go).
pub(super) fn frames(
    out: &mut dyn Write,
    symbols: &SymbolPool,
    stack: &ProfileStack,
    minor: u32,
    all: bool,
) -> io::Result<()> {
    let frames = stack.frames(symbols).take(stack.recorded).filter_map(|id| symbols.frame(id));
    let frames: Vec<_> = frames.map(|frame| (frame, symbols.str(frame.function))).collect();
    let first = frames.iter().position(|(_, name)| !is_hidden_by_profiles(name, minor));
    let skipped = if all { 0 } else { first.unwrap_or(0) };
    let mut lines = Vec::new();
    for (frame, name) in frames.iter().skip(skipped).filter(|(_, name)| *name != EXIT) {
        let pc = if frame.pc > frame.entry { frame.pc.0 - 1 } else { frame.pc.0 };
        let offset = pc.wrapping_sub(frame.entry.0);
        let file = clean(symbols.str(frame.file));
        let name = shown_name(name, minor);
        lines.push([format!("{pc:#x}"), format!("{}+{offset:#x}", clean(&name)), format!("{file}:{}", frame.line)]);
    }
    if frames.is_empty() {
        writeln!(out, "#\t0x0")?;
    }
    let width = |column: fn(&[String; 3]) -> &String| lines.iter().map(|line| column(line).chars().count()).max();
    let (pcs, names) = (width(|[pc, _, _]| pc).unwrap_or(0), width(|[_, name, _]| name).unwrap_or(0));
    for [pc, name, place] in &lines {
        writeln!(out, "#\t{pc}{}{name}{}{place}", tabs(pc, pcs), tabs(name, names))?;
    }
    writeln!(out)
}

/// The tabs after a cell in a column of which the widest cell has `width` characters, at tabs of 8
/// (`tabwriter.NewWriter(w, 1, 8, 1, '\t', 0)`).
fn tabs(cell: &str, width: usize) -> String {
    const TAB: usize = 8;
    let column = (width + 1).next_multiple_of(TAB);
    "\t".repeat(column.saturating_sub(cell.chars().count()).div_ceil(TAB))
}

/// The function that every goroutine returns to.
const EXIT: &str = "runtime.goexit";

/// A function as profiles name it. Other than in tracebacks, `gopanic` has its own name here.
pub(crate) fn shown_name(name: &str, minor: u32) -> Cow<'_, str> {
    if name == "runtime.gopanic" { Cow::Borrowed(name) } else { printed(name, minor) }
}

/// The frames of a stack but for the one that every goroutine returns to.
pub(super) fn without_exit(symbols: &SymbolPool, stack: &ProfileStack) -> impl Iterator<Item = FrameId> {
    let name = |id: &FrameId| symbols.frame(*id).map_or("", |frame| symbols.str(frame.function));
    stack.frames(symbols).filter(move |id| name(id) != EXIT)
}
