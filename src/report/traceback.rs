//! Go's own traceback text, so that everything that reads panics reads this.
//!
//! Follows traceback.go of 1.19 to 1.27: `goroutineheader`, `traceback2`, `printcreatedby`,
//! `printAncestorTraceback`. Arguments are always `...`: it is not known outside which of the words
//! are still alive. Frames are never elided unless asked for.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::analysis::Index;
use crate::go_names::{is_shown, minor_of, printed};
use crate::model::{
    Ancestor, Frame, FrameId, Goroutine, Language, NotShown, Stack, StackFrame, StackId, StackState, Status,
};
use crate::report::clean::clean;
use crate::report::text::{Role, TextStyle};

/// The version whose rules are used when the target's is unknown: the newest.
const NEWEST_MINOR: u32 = 27;
/// Bytes of text that are remembered for stacks that many goroutines share.
const REMEMBERED: usize = 64 << 20;

/// Frames that the runtime keeps of an ancestor (`tracebackInnerFrames`).
const ANCESTOR_FRAMES: usize = 50;

/// How much to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracebackOptions {
    /// Everything, as the runtime's traceback level 2 (SIGQUIT): the runtime's own frames, with
    /// their frame pointers, stack pointers and program counters.
    pub system: bool,
    /// Most frames of one stack; `None` for all.
    pub max_frames: Option<usize>,
    /// Whether headers have the program's own labels, as the runtime does with
    /// `GODEBUG=tracebacklabels=1`.
    pub labels: bool,
    /// Whether to show what goroutines do in C, which the runtime's own dumps do not.
    pub c_frames: bool,
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
        Self { system: false, max_frames: None, labels: false, c_frames: false, minor, style: TextStyle::default() }
    }
}

/// Writes goroutines as the runtime would.
#[derive(Debug)]
pub struct Traceback<'a> {
    index: &'a Index<'a>,
    options: TracebackOptions,
    bodies: FxHashMap<StackId, Rc<str>>,
    remembered: usize,
}

impl<'a> Traceback<'a> {
    /// For the goroutines of one snapshot.
    #[must_use]
    pub fn new(index: &'a Index<'a>, options: TracebackOptions) -> Self {
        Self { index, options, bodies: FxHashMap::default(), remembered: 0 }
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
        self.write_body(out, goroutine)?;
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
        self.write_stack(out, goroutine, stack)?;
        out.write_all(self.created_by(goroutine, goroutine.parent.map(|id| id.0)).as_bytes())
    }

    /// The line above a stack: `goroutine 18 [chan receive, 5 minutes, locked to thread]:`.
    #[must_use]
    pub fn header(&self, goroutine: &Goroutine) -> String {
        let mut head = format!("goroutine {}", goroutine.id.0);
        if self.options.system && self.options.minor >= 22 {
            // Writing to a String cannot fail, here and below.
            let _ = write!(head, " gp={}", goroutine.addr);
            let _ = match self.index.thread(goroutine) {
                Some(m) => write!(head, " m={} mp={}", m.id, m.addr),
                None => write!(head, " m=nil"),
            };
        }
        let minutes = self.index.since_stamp_ns(goroutine).map(|ns| ns / 60_000_000_000).filter(|minutes| *minutes > 0);
        // Leaked ones are not given a time by the runtime, as their wait is over for good.
        let minutes = minutes.filter(|_| goroutine.status != Status::Leaked);
        let _ = write!(head, " {}:", self.bracket(goroutine, minutes.map(|minutes| format!("{minutes} minutes"))));
        head
    }

    /// What stands in brackets after a goroutine's id, with `waited` as the time.
    pub(super) fn bracket(&self, goroutine: &Goroutine, waited: Option<String>) -> String {
        let mut text = self.bracket_of_group(goroutine, waited);
        if let Some(labels) = goroutine.labels.filter(|_| self.options.labels) {
            let symbols = &self.index.snapshot().symbols;
            let quoted = |id| format!("{:?}", symbols.str(id));
            let labels = symbols.labels(labels).iter();
            let labels = labels.map(|label| format!("{}: {}", quoted(label.key), quoted(label.value)));
            text.pop();
            let _ = write!(text, " labels:{{{}}}]", clean(&labels.collect::<Vec<_>>().join(", ")));
        }
        text
    }

    /// The same of a group by one of its members: without labels, in which members differ.
    pub(super) fn bracket_of_group(&self, goroutine: &Goroutine, waited: Option<String>) -> String {
        let status = match goroutine.status {
            Status::Unknown(_) => "???",
            _ => self.index.state_text(goroutine),
        };
        let mut text = format!("[{}", clean(status));
        if goroutine.status == Status::Leaked {
            text.push_str(" (leaked)");
        }
        if goroutine.scan {
            text.push_str(" (scan)");
        }
        let durable = goroutine.bubble.is_some()
            && goroutine.status == Status::Waiting
            && is_idle_in_synctest(status)
            && !status.ends_with("(durable)");
        if durable {
            text.push_str(" (durable)");
        }
        if let Some(waited) = waited {
            let _ = write!(text, ", {waited}");
        }
        if goroutine.locked {
            text.push_str(", locked to thread");
        }
        if let Some(bubble) = goroutine.bubble {
            let _ = write!(text, ", synctest bubble {bubble}");
        }
        text.push(']');
        text
    }

    pub(super) fn write_body(&mut self, out: &mut dyn Write, goroutine: &Goroutine) -> io::Result<()> {
        match goroutine.stack {
            StackState::Known(id) => self.write_stack(out, goroutine, id),
            StackState::NotShown(why) => writeln!(out, "\t{}", not_shown(why)),
        }
    }

    fn write_stack(&mut self, out: &mut dyn Write, goroutine: &Goroutine, id: StackId) -> io::Result<()> {
        let Some(stack) = self.index.snapshot().symbols.stack(id) else { return Ok(()) };
        if self.options.system {
            // Stack pointers differ from goroutine to goroutine.
            return out.write_all(self.body(stack, goroutine).as_bytes());
        }
        if let Some(body) = self.bodies.get(&id) {
            return out.write_all(body.as_bytes());
        }
        let body: Rc<str> = self.body(stack, goroutine).into();
        if self.remembered + body.len() <= REMEMBERED {
            self.remembered += body.len();
            self.bodies.insert(id, Rc::clone(&body));
        }
        out.write_all(body.as_bytes())
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

    /// The frames. At the normal level hidden ones are left out, unless nothing would be left.
    fn body(&self, stack: &Stack, goroutine: &Goroutine) -> String {
        let show_all = self.options.system || stack.frames.iter().all(|frame| frame.hidden);
        let shown: Vec<&StackFrame> = stack.frames.iter().filter(|frame| show_all || !frame.hidden).collect();
        // A snapshot that was read back from JSON does not have them.
        let places = self.options.system && stack.frames.iter().any(|frame| frame.fp_offset > 0);
        let mut text = String::new();
        let (head, elided, tail) = match self.options.max_frames {
            Some(most) if shown.len() > most => {
                let (head, rest) = shown.split_at_checked(most.div_ceil(2)).unwrap_or((&shown, &[]));
                let elided = rest.len().saturating_sub(most / 2);
                (head, elided, rest.get(elided..).unwrap_or(&[]))
            }
            _ => (shown.as_slice(), 0, &[][..]),
        };
        for frame in head {
            self.frame(&mut text, frame, goroutine, places);
        }
        if elided > 0 {
            let _ = writeln!(text, "...{elided} frames elided...");
        }
        for frame in tail {
            self.frame(&mut text, frame, goroutine, places);
        }
        text
    }

    /// One frame; with `places`, where on the stack it is.
    fn frame(&self, text: &mut String, stack_frame: &StackFrame, goroutine: &Goroutine, places: bool) {
        let symbols = &self.index.snapshot().symbols;
        let Some(frame) = symbols.frame(stack_frame.frame) else { return };
        let function = symbols.str(frame.function);
        if frame.language == Language::Foreign {
            // printOneCgoTraceback
            let name = if function.is_empty() { "non-Go function".into() } else { clean(function) };
            let _ = write!(text, "{name}\n\t");
            let file = symbols.str(frame.file);
            if !file.is_empty() {
                let _ = write!(text, "{}:{} ", clean(file), frame.line);
            }
            let _ = writeln!(text, "pc={}", frame.pc);
            return;
        }
        let mut source = self.source(frame);
        if self.options.system && !frame.inlined {
            if places {
                let at = |offset| goroutine.sp.0.wrapping_add(offset);
                let (fp, sp) = (at(stack_frame.fp_offset), at(stack_frame.sp_offset));
                let _ = write!(source, " fp={fp:#x} sp={sp:#x}");
            }
            let _ = write!(source, " pc={}", frame.pc);
        }
        self.entry(text, &clean(&printed(function, self.options.minor)), &source);
    }

    /// A call, and below it where.
    fn entry(&self, text: &mut String, function: &str, source: &str) {
        let _ = writeln!(text, "{function}(...)\n\t{}", self.options.style.paint(Role::Dim, source));
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
        for frame in ancestor.frames.iter().filter_map(|&id| symbols.frame(id)) {
            let function = symbols.str(frame.function);
            if self.options.system || is_shown(function, self.options.minor) {
                let name = printed(function, self.options.minor);
                self.entry(&mut text, &clean(&name), &self.source(frame));
            }
        }
        if ancestor.frames.len() == ANCESTOR_FRAMES {
            text.push_str("...additional frames elided...\n");
        }
        if ancestor.id.0 != 1 {
            text.push_str(&self.creator(ancestor.creator, None));
        }
        text
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

/// `waitReason.isIdleInSynctest` (1.25 on), by text, as the numbers differ.
fn is_idle_in_synctest(reason: &str) -> bool {
    matches!(
        reason,
        "chan receive (nil chan)"
            | "chan send (nil chan)"
            | "select (no cases)"
            | "sleep"
            | "sync.Cond.Wait"
            | "synctest.Run"
            | "synctest.Wait"
            | "coroutine"
            | "chan receive (durable)"
            | "chan send (durable)"
            | "select (durable)"
            | "sync.WaitGroup.Wait (durable)"
    )
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
