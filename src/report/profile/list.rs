//! What the lists in text have in common: addresses, and a line for each frame after a `#`.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::go_names::printed;
use crate::model::{ProfileStack, SymbolPool};
use crate::report::clean::clean;

/// Whether a function is one that profiles leave out at the top of a stack (runtime/pprof; 1.19 to 1.27).
pub(super) fn is_runtime(function: &str, minor: u32) -> bool {
    function.starts_with("runtime.") || (minor >= 24 && function.starts_with("internal/runtime/"))
}

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
    let first = frames.iter().position(|(_, name)| !is_runtime(name, minor));
    let skipped = if all { 0 } else { first.unwrap_or(0) };
    for (frame, name) in frames.into_iter().skip(skipped).filter(|(_, name)| *name != "runtime.goexit") {
        let pc = if frame.pc > frame.entry { frame.pc.0 - 1 } else { frame.pc.0 };
        let offset = pc.wrapping_sub(frame.entry.0);
        let file = clean(symbols.str(frame.file));
        // Other than in tracebacks, `gopanic` has its own name here.
        let name = if name == "runtime.gopanic" { Cow::Borrowed(name) } else { printed(name, minor) };
        writeln!(out, "#\t{pc:#x}\t{}+{offset:#x}\t{file}:{}", clean(&name), frame.line)?;
    }
    writeln!(out)
}
