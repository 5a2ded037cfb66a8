//! The frames of a stack (`traceback2`).
//!
//! Goroutines on the same stack differ in the words of their arguments and in where the stack is. So the text of
//! a stack is made once, with gaps for these.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::rc::Rc;

use super::arguments::{UNKNOWN, write_words};
use super::{FrameLimit, REMEMBERED, Traceback, values};
use crate::addr::Addr;
use crate::go_names::printed;
use crate::model::{Frame, Goroutine, Language, Stack, StackFrame, StackId, StrId};
use crate::report::clean::clean;
use crate::report::text::Role;

/// `_TracebackMaxFrames` in runtime/runtime2.go, to 1.20: physical frames that are looked at.
const PHYSICAL_FRAMES: usize = 100;
/// `tracebackInnerFrames` and `tracebackOuterFrames` in runtime/traceback.go, from 1.21 on.
const END_FRAMES: usize = 50;

/// Whether the words of a goroutine's arguments belong to the stack that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arguments {
    Words,
    Unknown,
}

/// The text of a stack.
#[derive(Debug, Default)]
pub(super) struct Body {
    text: String,
    /// What goes in after so many bytes of it.
    gaps: Vec<(usize, Gap)>,
}

#[derive(Clone, Copy, Debug)]
enum Gap {
    /// Arguments of a physical frame, by its number from the innermost.
    Arguments { index: usize, fp_offset: u64 },
    /// Where on the stack the frame is.
    Place { fp_offset: u64, sp_offset: u64 },
    /// A line with the values of its arguments.
    Values { index: usize, fp_offset: u64, function: StrId, entry: Addr },
}

impl Body {
    fn gap(&mut self, gap: Gap) {
        self.gaps.push((self.text.len(), gap));
    }

    /// Memory that it takes, about, in bytes.
    fn size(&self) -> usize {
        self.text.len().saturating_add(size_of_val(self.gaps.as_slice()))
    }
}

/// A frame, and the number of its physical frame from the innermost.
type Numbered<'s> = (usize, &'s StackFrame);

/// What is printed of a stack.
#[derive(Default)]
struct Shown<'s> {
    head: Vec<Numbered<'s>>,
    /// The line between.
    elided: Option<String>,
    tail: Vec<Numbered<'s>>,
}

impl Traceback<'_> {
    pub(super) fn write_stack(
        &mut self,
        out: &mut dyn Write,
        goroutine: &Goroutine,
        id: StackId,
        arguments: Arguments,
    ) -> io::Result<()> {
        let Some(stack) = self.index.snapshot().symbols.stack(id) else { return Ok(()) };
        let body = match self.bodies.get(&id) {
            Some(known) => Rc::clone(known),
            None => {
                let body = Rc::new(self.body(stack));
                if self.remembered.saturating_add(body.size()) <= REMEMBERED {
                    self.remembered = self.remembered.saturating_add(body.size());
                    self.bodies.insert(id, Rc::clone(&body));
                }
                body
            }
        };
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        self.fill(&mut text, &body, goroutine, arguments);
        let result = out.write_all(text.as_bytes());
        self.text = text;
        result
    }

    /// Adds the text of `body` with what is the goroutine's own in the gaps.
    fn fill(&self, text: &mut String, body: &Body, goroutine: &Goroutine, arguments: Arguments) {
        let details = self.index.snapshot().traceback.as_ref().filter(|_| arguments == Arguments::Words);
        let words = details.and_then(|details| details.arguments.of(goroutine.addr));
        let mut done = 0;
        for &(at, gap) in &body.gaps {
            text.push_str(body.text.get(done..at).unwrap_or_default());
            done = at;
            match gap {
                Gap::Values { index, fp_offset, function, entry } => {
                    let words = words.and_then(|words| words.frame(index, fp_offset));
                    let line = details.zip(words).and_then(|(details, words)| {
                        let parameters = details.parameters.as_ref()?.get(&entry)?;
                        values::in_words(details, self.index.snapshot().symbols.str(function), parameters, &words)
                    });
                    if let Some(line) = line {
                        text.push_str(&self.options.style.paint(Role::Dim, &format!("\tat entry: {line}")));
                        text.push('\n');
                    }
                }
                Gap::Arguments { index, fp_offset } => match words.and_then(|words| words.frame(index, fp_offset)) {
                    Some(words) => write_words(text, &words),
                    None => text.push_str(UNKNOWN),
                },
                Gap::Place { fp_offset, sp_offset } => {
                    let at = |offset| goroutine.sp.0.wrapping_add(offset);
                    let place = format!(" fp={:#x} sp={:#x}", at(fp_offset), at(sp_offset));
                    text.push_str(&self.options.style.paint(Role::Dim, &place));
                }
            }
        }
        text.push_str(body.text.get(done..).unwrap_or_default());
    }

    /// The frames. At the normal level hidden ones are left out, unless nothing would be left.
    fn body(&self, stack: &Stack) -> Body {
        // A snapshot that was read back from JSON does not have them.
        let places = self.options.system && stack.frames.iter().any(|frame| frame.fp_offset > 0);
        let mut body = Body::default();
        let Shown { head, elided, tail } = self.shown(stack);
        for frame in head {
            self.frame(&mut body, frame, places);
        }
        body.text.extend(elided);
        for frame in tail {
            self.frame(&mut body, frame, places);
        }
        body
    }

    /// Which frames are printed.
    fn shown<'s>(&self, stack: &'s Stack) -> Shown<'s> {
        let symbols = &self.index.snapshot().symbols;
        let mut physical = 0;
        let numbered = stack.frames.iter().map(|frame| {
            let number = physical;
            physical += usize::from(symbols.frame(frame.frame).is_none_or(|frame| !frame.inlined));
            (number, frame)
        });
        let by_physical = self.options.frames == FrameLimit::Runtime && self.options.minor < 21;
        let numbered: Vec<Numbered<'s>> =
            numbered.take_while(|(number, _)| !by_physical || *number < PHYSICAL_FRAMES).collect();
        let show_all = self.options.system || numbered.iter().all(|(_, frame)| frame.hidden);
        let mut shown = numbered;
        shown.retain(|(_, frame)| show_all || !frame.hidden);
        let additional = || Some("...additional frames elided...\n".to_owned());
        let elided = |count: usize| Some(format!("...{count} frames elided...\n"));
        match self.options.frames {
            FrameLimit::None => Shown { head: shown, ..Shown::default() },
            FrameLimit::Runtime if by_physical => {
                let elided = if shown.len() == PHYSICAL_FRAMES { additional() } else { None };
                Shown { head: shown, elided, ..Shown::default() }
            }
            FrameLimit::Runtime => {
                // The runtime starts anew after the inner frames, and leaves out a panic in the first one that it
                // meets (showframe).
                let is_panic = |(_, frame): &Numbered<'_>| symbols.function(frame.frame) == "runtime.gopanic";
                if !show_all && shown.get(END_FRAMES).is_some_and(is_panic) {
                    shown.remove(END_FRAMES);
                }
                let mut tail = shown.split_off(shown.len().min(END_FRAMES));
                let skipped = tail.len().saturating_sub(END_FRAMES);
                tail.drain(..skipped);
                Shown { head: shown, elided: (skipped > 0).then(|| elided(skipped)).flatten(), tail }
            }
            FrameLimit::Most(most) if shown.len() > most => {
                let mut rest = shown.split_off(most.div_ceil(2));
                let tail = rest.split_off(rest.len().saturating_sub(most / 2));
                Shown { head: shown, elided: elided(rest.len()), tail }
            }
            FrameLimit::Most(_) => Shown { head: shown, ..Shown::default() },
        }
    }

    /// One frame; with `places`, where on the stack it is.
    fn frame(&self, body: &mut Body, (index, stack_frame): Numbered<'_>, places: bool) {
        let symbols = &self.index.snapshot().symbols;
        let Some(frame) = symbols.frame(stack_frame.frame) else { return };
        let function = symbols.str(frame.function);
        if frame.language == Language::Foreign {
            return self.foreign_frame(&mut body.text, frame);
        }
        let &StackFrame { fp_offset, sp_offset, .. } = stack_frame;
        body.text.push_str(&clean(&printed(function, self.options.minor)));
        body.text.push('(');
        if frame.inlined {
            body.text.push_str(UNKNOWN);
        } else {
            body.gap(Gap::Arguments { index, fp_offset });
        }
        let paint = |text: &str| self.options.style.paint(Role::Dim, text);
        body.text.push_str(")\n\t");
        body.text.push_str(&paint(&self.source(frame)));
        if self.options.system && !frame.inlined {
            if places {
                body.gap(Gap::Place { fp_offset, sp_offset });
            }
            body.text.push_str(&paint(&format!(" pc={}", frame.pc)));
        }
        body.text.push('\n');
        if self.options.values && !frame.inlined {
            body.gap(Gap::Values { index, fp_offset, function: frame.function, entry: frame.entry });
        }
    }

    /// `printOneCgoTraceback`
    fn foreign_frame(&self, text: &mut String, frame: &Frame) {
        let symbols = &self.index.snapshot().symbols;
        let function = symbols.str(frame.function);
        let name = if function.is_empty() { "non-Go function".into() } else { clean(function) };
        // Writing to a String cannot fail.
        let _ = write!(text, "{name}\n\t");
        let file = symbols.str(frame.file);
        if !file.is_empty() {
            let _ = write!(text, "{}:{} ", clean(file), frame.line);
        }
        let _ = writeln!(text, "pc={}", frame.pc);
    }
}
