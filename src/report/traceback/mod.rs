//! Go's own traceback text, so that everything that reads panics reads this.
//!
//! Follows traceback.go of 1.19 to 1.27: `goroutineheader`, `traceback2`, `printArgs`, `printcreatedby`,
//! `printAncestorTraceback`. What is printed of a goroutine that stands still is what the program itself would
//! print of it, byte for byte, but for text that acts on a terminal. Arguments that were not read are `...`.

pub(super) mod arguments;
mod body;
mod header;
mod quoted;
#[cfg(test)]
mod tests;
mod values;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::analysis::Index;
use crate::go_names::{is_shown, minor_of, printed};
use crate::model::{Ancestor, AncestorFrame, Frame, FrameId, Goroutine, NotShown, StackId, StackState};
use crate::report::clean::clean;
use crate::report::text::{Role, TextStyle};
use body::{Arguments, Body};

/// The version whose rules are used when the target's is unknown: the newest.
const NEWEST_MINOR: u32 = 27;
/// Bytes of text that are remembered for stacks that many goroutines share.
const REMEMBERED: usize = 64 << 20;

/// Which frames of a long stack to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameLimit {
    /// As the runtime: to Go 1.20 those of the 100 innermost physical frames, from 1.21 on the 50 innermost and
    /// the 50 outermost that are shown.
    Runtime,
    /// At most so many, half of them from either end.
    Most(usize),
    /// All.
    None,
}

/// How much to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracebackOptions {
    /// Everything, as the runtime's traceback level 2 (SIGQUIT): the runtime's own frames, with
    /// their frame pointers, stack pointers and program counters.
    pub system: bool,
    /// Which frames of a long stack.
    pub frames: FrameLimit,
    /// Whether headers have the program's own labels even where the program does not have them printed
    /// (`GODEBUG=tracebacklabels=1`).
    pub labels: bool,
    /// Whether to show what goroutines do in C, which the runtime's own dumps do not.
    pub c_frames: bool,
    /// Whether frames have a line with names, types and values of their arguments, where these are known; the
    /// runtime prints none.
    pub values: bool,
    /// Minor version of the target's Go, which decides some of the wording.
    pub minor: u32,
    /// Whether to colour; readers of tracebacks do not expect it.
    pub style: TextStyle,
}

impl TracebackOptions {
    /// For a target of this version, all frames that the runtime's normal level shows.
    #[must_use]
    pub fn for_version(go_version: &str) -> Self {
        let minor = minor_of(go_version).unwrap_or(NEWEST_MINOR);
        let (frames, style) = (FrameLimit::Runtime, TextStyle::default());
        Self { system: false, frames, labels: false, c_frames: false, values: false, minor, style }
    }
}

/// Writes goroutines as the runtime would.
#[derive(Debug)]
pub struct Traceback<'a> {
    index: &'a Index<'a>,
    options: TracebackOptions,
    bodies: FxHashMap<StackId, Rc<Body>>,
    remembered: usize,
    /// What is being written, for its memory.
    text: String,
}

impl<'a> Traceback<'a> {
    /// For the goroutines of one snapshot.
    #[must_use]
    pub fn new(index: &'a Index<'a>, options: TracebackOptions) -> Self {
        Self { index, options, bodies: FxHashMap::default(), remembered: 0, text: String::new() }
    }

    /// Writes one goroutine, without an empty line after it.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&mut self, out: &mut dyn Write, goroutine: &Goroutine) -> io::Result<()> {
        writeln!(out, "{}", self.options.style.paint(Role::Strong, &self.header(goroutine)))?;
        if self.options.c_frames {
            out.write_all(self.c_frames(goroutine).as_bytes())?;
        }
        match goroutine.stack {
            StackState::Known(id) => self.write_stack(out, goroutine, id, Arguments::Words)?,
            StackState::NotShown(why) => writeln!(out, "\t{}", not_shown(why))?,
        }
        out.write_all(self.created_by(goroutine, goroutine.parent.map(|id| id.0)).as_bytes())?;
        let has_stack = matches!(goroutine.stack, StackState::Known(_));
        if let Some(ancestors) = goroutine.ancestors.filter(|_| has_stack) {
            for ancestor in self.index.snapshot().symbols.ancestors(ancestors) {
                out.write_all(self.ancestor(ancestor).as_bytes())?;
            }
        }
        Ok(())
    }

    /// Writes one goroutine with another stack than its own: what is known of one that died.
    ///
    /// # Errors
    /// Those of `out`.
    pub(super) fn write_with(
        &mut self,
        out: &mut dyn Write,
        goroutine: &Goroutine,
        stack: Option<StackId>,
    ) -> io::Result<()> {
        let Some(stack) = stack else { return self.write(out, goroutine) };
        writeln!(out, "{}", self.options.style.paint(Role::Strong, &self.header(goroutine)))?;
        self.write_stack(out, goroutine, stack, Arguments::Unknown)?;
        out.write_all(self.created_by(goroutine, goroutine.parent.map(|id| id.0)).as_bytes())
    }

    /// The frames of a goroutine that stands for others, without its arguments, in which they differ.
    pub(super) fn write_body(&mut self, out: &mut dyn Write, goroutine: &Goroutine) -> io::Result<()> {
        match goroutine.stack {
            StackState::Known(id) => self.write_stack(out, goroutine, id, Arguments::Unknown),
            StackState::NotShown(why) => writeln!(out, "\t{}", not_shown(why)),
        }
    }

    /// What it does in C: `[C] nanosleep (libc.so.6) +0x47`, or `[C] ?? (libc.so.6+0x1234)`.
    fn c_frames(&self, goroutine: &Goroutine) -> String {
        let symbols = &self.index.snapshot().symbols;
        let Some(stack) = goroutine.foreign.and_then(|id| symbols.foreign(id)) else { return String::new() };
        let mut text = String::new();
        for frame in &stack.frames {
            let path = symbols.str(frame.object);
            let file = match path.rsplit_once('/').map_or(path, |(_, name)| name) {
                "" => "no file".into(),
                name => clean(name),
            };
            let _ = match frame.function {
                Some(name) => write!(text, "[C] {} ({file}) +{:#x}", clean(symbols.str(name)), frame.offset),
                None => write!(text, "[C] ?? ({file}+{:#x})", frame.offset),
            };
            if self.options.system {
                let _ = write!(text, " pc={}", frame.pc);
            }
            text.push('\n');
        }
        if !stack.complete {
            text.push_str("[C] ...frames between these and Go are not known...\n");
        }
        text
    }

    /// `file:line`, and how far into the function unless the frame was inlined.
    fn source(&self, frame: &Frame) -> String {
        let symbols = &self.index.snapshot().symbols;
        let file = symbols.str(frame.file);
        let file = if file.is_empty() { "?".into() } else { clean(file) };
        let mut text = format!("{file}:{}", frame.line);
        if !frame.inlined && frame.pc > frame.entry {
            let _ = write!(text, " +{:#x}", frame.pc.0.wrapping_sub(frame.entry.0));
        }
        text
    }

    /// `created by`, two lines; nothing where the runtime prints nothing.
    pub(super) fn created_by(&self, goroutine: &Goroutine, parent: Option<u64>) -> String {
        // The main goroutine was created by the runtime's start, which is not worth showing.
        if goroutine.id.0 == 1 { String::new() } else { self.creator(goroutine.creator, parent) }
    }

    fn creator(&self, creator: Option<FrameId>, parent: Option<u64>) -> String {
        let symbols = &self.index.snapshot().symbols;
        let Some(frame) = creator.and_then(|id| symbols.frame(id)) else { return String::new() };
        let function = symbols.str(frame.function);
        if !self.options.system && !is_shown(function, self.options.minor) {
            return String::new();
        }
        let mut text = format!("created by {}", clean(&printed(function, self.options.minor)));
        if let Some(parent) = parent.filter(|parent| *parent != 0 && self.options.minor >= 21) {
            let _ = write!(text, " in goroutine {parent}");
        }
        let _ = write!(text, "\n\t{}\n", self.options.style.paint(Role::Dim, &self.source(frame)));
        text
    }

    /// `printAncestorTraceback`.
    fn ancestor(&self, ancestor: &Ancestor) -> String {
        let symbols = &self.index.snapshot().symbols;
        let mut text = format!("[originating from goroutine {}]:\n", ancestor.id.0);
        for (frame, hidden) in self.frames_of_ancestor(ancestor) {
            let Some(frame) = symbols.frame(frame).filter(|_| self.options.system || !hidden) else { continue };
            let name = clean(&printed(symbols.str(frame.function), self.options.minor)).into_owned();
            let _ = writeln!(text, "{name}(...)\n\t{}", self.options.style.paint(Role::Dim, &self.source(frame)));
        }
        // `_TracebackMaxFrames`, and from 1.21 on `tracebackInnerFrames`.
        if ancestor.frames.len() == if self.options.minor < 21 { 100 } else { 50 } {
            text.push_str("...additional frames elided...\n");
        }
        if ancestor.id.0 != 1 {
            text.push_str(&self.creator(ancestor.creator, None));
        }
        text
    }
}

impl Traceback<'_> {
    /// Each frame, and whether it is hidden at the normal level.
    fn frames_of_ancestor(&self, ancestor: &Ancestor) -> Vec<(FrameId, bool)> {
        let symbols = &self.index.snapshot().symbols;
        if !ancestor.printed.is_empty() {
            return ancestor.printed.iter().map(|&AncestorFrame { frame, hidden }| (frame, hidden)).collect();
        }
        // A snapshot that was read back from JSON.
        let hidden = |frame| !is_shown(symbols.function(frame), self.options.minor);
        ancestor.frames.iter().map(|&frame| (frame, hidden(frame))).collect()
    }
}

fn not_shown(why: NotShown) -> &'static str {
    match why {
        NotShown::Running => "goroutine running on other thread; stack unavailable",
        NotShown::Moving => "goroutine changed while it was read, on every try; stack unavailable",
        NotShown::Unreadable => "goroutine could not be read; stack unavailable",
        NotShown::NoStack => "goroutine has no stack",
        NotShown::NotAsked => "stack was not read",
    }
}

/// Writes the goroutines at `positions` with an empty line between, as a dump does.
///
/// # Errors
/// Those of `out`.
pub fn write_all(
    out: &mut dyn Write,
    index: &Index<'_>,
    positions: &[usize],
    options: TracebackOptions,
) -> io::Result<()> {
    let mut traceback = Traceback::new(index, options);
    let goroutines = &index.snapshot().goroutines;
    let mut first = true;
    for goroutine in positions.iter().filter_map(|&at| goroutines.get(at)) {
        if !first {
            writeln!(out)?;
        }
        first = false;
        traceback.write(out, goroutine)?;
    }
    Ok(())
}
