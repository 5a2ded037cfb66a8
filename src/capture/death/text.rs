//! What a program printed as it died, reconstructed: the lines before the stacks.
//!
//! `printpanics`, `throw`, `fatal`, `dopanic_m` (panic.go) and `fatalsignal` (signal_unix.go), Go 1.19
//! to 1.27. What the runtime adds for its own developers (`runtime: …`, instruction bytes, registers)
//! is left out.

use std::fmt::Write as _;

use super::events::{Abort, Event, EventKind};
use super::walk::{Entry, Frame, Walked, Walker};
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::model::{Death, DeathSignal, PanicValue};
use crate::process::{ReadError, Registers, SignalInfo, TargetExt as _};
use crate::runtime::mirror::g::{Fault, G};
use crate::runtime::mirror::panic::{Interface, Panic};
use crate::runtime::readers::panics::read_panics;
use crate::runtime::rules::Rules;
use crate::runtime::values::Values;

/// Longest message of `throw` or `fatal`, bytes.
const MAX_MESSAGE: u64 = 4096;
/// Largest frame that is searched for a message, bytes.
const MAX_FRAME: u64 = 4096;

/// What was printed, and its parts as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Printed {
    pub(super) text: String,
    pub(super) message: Option<String>,
    pub(super) panics: Vec<PanicValue>,
    pub(super) fault: Option<DeathSignal>,
    /// Whether nothing is missing in it.
    pub(super) certain: bool,
}

/// Prints what the runtime printed about events.
pub(super) struct Printer<'a, 'w> {
    walker: Walker<'a>,
    values: Option<&'a Values<'a>>,
    rules: Rules,
    walked: &'w Walked,
    printed: Printed,
}

impl<'a, 'w> Printer<'a, 'w> {
    pub(super) fn new(walker: Walker<'a>, values: Option<&'a Values<'a>>, rules: Rules, walked: &'w Walked) -> Self {
        Self { walker, values, rules, walked, printed: Printed { certain: true, ..Printed::default() } }
    }

    pub(super) fn finish(mut self) -> Printed {
        let end = self.printed.text.trim_end_matches('\n').len();
        self.printed.text.truncate(end);
        self.printed.certain &= !Death::cut(&mut self.printed.text);
        self.printed
    }

    /// Adds what was printed of an event.
    pub(super) fn print(&mut self, event: &Event) -> Result<(), ReadError> {
        match &event.kind {
            EventKind::Panic => {
                let g = self.walked.m.map_or(0, |m| m.curg);
                self.panics(g)?;
                self.fault(g)
            }
            EventKind::Throw => self.throw(event, "throw"),
            EventKind::Fatal => self.throw(event, "fatal"),
            EventKind::Signal(info, at, _) => {
                self.signal(event, info, at);
                Ok(())
            }
            EventKind::BadSignal | EventKind::Kernel => Ok(()),
        }
    }

    /// Writing to a String cannot fail.
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.printed.text, "{line}");
    }

    /// `fatalsignal`.
    fn signal(&mut self, event: &Event, info: &SignalInfo, at: &Registers) {
        const SIGBUS: i32 = 7;
        const SIGSEGV: i32 = 11;
        match event.abort(self.walked) {
            Some(Abort::MorestackOnG0) => self.line(format_args!("fatal: morestack on g0")),
            Some(Abort::Unknown) => self.printed.certain = false,
            None => {}
        }
        match DeathSignal::words(info.number) {
            Some(words) => self.line(format_args!("{words}")),
            None => self.line(format_args!("Signal {}", info.number)),
        }
        let m = self.walked.m.map_or(-1, |m| m.id);
        // The runtime prints the code as an unsigned number.
        let code = i64::from(info.code) as u64;
        let faults = matches!(info.number, SIGBUS | SIGSEGV) && self.rules.prints_fault_address();
        let addr = if faults { format!(" addr={:#x}", info.word) } else { String::new() };
        self.line(format_args!("PC={} m={m} sigcode={code}{addr}", at.pc));
        if event.in_cgo(self.walked) {
            self.line(format_args!("signal arrived during cgo execution"));
        }
    }

    /// `printpanics` of the goroutine at `g`.
    fn panics(&mut self, g: u64) -> Result<(), ReadError> {
        let (Some(values), Some(layout)) = (self.values, &self.walker.process.runtime.layout.panic) else {
            self.printed.certain = false;
            return Ok(());
        };
        let Some((_, read)) = self.walker.g(g)? else {
            self.printed.certain = false;
            return Ok(());
        };
        let (chain, whole) = read_panics(self.walker.process.target, read.panic, layout)?;
        self.printed.certain &= whole && !chain.is_empty();
        let mut older: Option<Panic> = None;
        for panic in chain.iter().rev() {
            let value = if panic.goexit { None } else { Some(values.panic_value(panic.arg)?) };
            let (go_type, text, certain) = value.map_or((None, String::new(), true), |v| (v.kind, v.text, v.certain));
            self.printed.certain &= certain;
            // From 1.25 on a value that was thrown again is printed once, with the older of the two.
            let again = older.is_some_and(|older| older.is_repanicked());
            if !again {
                if older.is_some_and(|older| !older.goexit) {
                    self.printed.text.push('\t');
                }
                if !panic.goexit {
                    self.line(format_args!("panic: {text}{}", self.suffix(panic)));
                }
            }
            self.printed.panics.push(PanicValue {
                go_type,
                text,
                recovered: panic.recovered,
                repanicked: panic.is_repanicked(),
                goexit: panic.goexit,
            });
            older = Some(*panic);
        }
        Ok(())
    }

    fn suffix(&self, panic: &Panic) -> &'static str {
        let again = panic.is_repanicked() && (panic.recovered || self.rules.notes_every_repanic());
        match (again, panic.recovered) {
            (true, _) => " [recovered, repanicked]",
            (false, true) => " [recovered]",
            (false, false) => "",
        }
    }

    /// The line of the signal that a goroutine's panic came from (`dopanic_m`).
    fn fault(&mut self, g: u64) -> Result<(), ReadError> {
        let layout = &self.walker.process.runtime.layout.g;
        let bytes = self.walker.process.target.read_vec(Addr(g), layout.size as usize)?;
        let Some(Fault { signal, code, addr, pc }) = bytes.and_then(|bytes| G::fault(&bytes, layout)) else {
            return Ok(());
        };
        let number = i32::try_from(signal).unwrap_or(0);
        let name = DeathSignal::words(number).map_or_else(|| format!("{signal:#x}"), str::to_owned);
        self.line(format_args!("[signal {name} code={code:#x} addr={addr:#x} pc={pc:#x}]"));
        self.printed.fault.get_or_insert(DeathSignal {
            number,
            code: i64::try_from(code).ok(),
            addr: Some(Addr(addr)),
            pc: Some(Addr(pc)),
            sender_pid: None,
            sender_uid: None,
        });
        Ok(())
    }

    fn throw(&mut self, event: &Event, function: &str) -> Result<(), ReadError> {
        let entries = &self.walked.entries;
        let Some(Entry::Frame(frame)) = entries.get(event.at) else { return Ok(()) };
        let message = self.message(frame, function)?;
        let g = frame.on.g;
        if function == "fatal"
            && self.rules.fatal_prints_panics()
            && self.walker.g(g)?.is_some_and(|(_, read)| read.panic != 0)
        {
            // The panics that it is in are printed first, with their values as they are.
            self.panics(g)?;
            self.printed.text.push('\t');
        }
        let caller = entries.get(event.at.saturating_add(1)..).unwrap_or_default().iter();
        let caller = caller.filter_map(|entry| if let Entry::Frame(frame) = entry { Some(frame) } else { None }).next();
        let panicked = message.as_ref().is_some_and(|message| message.starts_with("panic "));
        if let (Some(caller), Some(values)) =
            (caller.filter(|f| panicked && &*f.function == "runtime.gopanic"), self.values)
        {
            // A panic where there must be none: its value is what gopanic was called with.
            if let Some(words) = self.walker.process.target.read_array::<16>(Addr(caller.fp))? {
                let value = Interface { kind: words.u64_at(0).unwrap_or(0), data: words.u64_at(8).unwrap_or(0) };
                let value = values.panic_value(value)?;
                self.printed.certain &= value.certain;
                self.line(format_args!("panic: {}", value.text));
            }
        }
        match (&message, self.values) {
            (Some(message), Some(values)) => self.line(format_args!("fatal error: {}", values.indented(message))),
            _ => {
                self.printed.certain = false;
                self.line(format_args!("fatal error: (its text is not known)"));
            }
        }
        if self.printed.message.is_none() {
            self.printed.message = message;
        }
        if g == 0 { Ok(()) } else { self.fault(g) }
    }

    /// The string that `throw` or `fatal` was called with. It is in the closure that these hand to
    /// `systemstack`, which is in their frame: the function, in `fatal` from 1.26 on the newest panic, and
    /// the string. Where the arguments themselves are is unknown: their registers have been reused by then.
    fn message(&mut self, frame: &Frame, function: &str) -> Result<Option<String>, ReadError> {
        let Some(values) = self.values else { return Ok(None) };
        let len = usize::try_from(frame.fp.saturating_sub(frame.sp).min(MAX_FRAME)).unwrap_or_default();
        let Some(bytes) = self.walker.process.target.read_vec(Addr(frame.sp), len)? else { return Ok(None) };
        let prefix = format!("runtime.{function}.func");
        let skip = if function == "fatal" && self.rules.fatal_prints_panics() { 16 } else { 8 };
        for at in (0..len).step_by(8) {
            let Some(code) = bytes.u64_at(at).filter(|&code| self.walker.is_entry(code)) else { continue };
            if !self.walker.function(code).is_some_and(|name| name.starts_with(&prefix)) {
                continue;
            }
            let string =
                bytes.u64_at(at.saturating_add(skip)).zip(bytes.u64_at(at.saturating_add(skip).saturating_add(8)));
            let Some((start, len)) = string.filter(|(_, len)| (1..=MAX_MESSAGE).contains(len)) else { continue };
            if let Some((text, certain)) = values.string(start, len)? {
                self.printed.certain &= certain;
                return Ok(Some(text));
            }
        }
        Ok(None)
    }
}
