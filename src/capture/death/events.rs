//! What on a thread's stacks ends a program, and which of several it was.

use super::walk::{Entry, Frame, On, Walked};
use crate::model::StackKind;
use crate::process::{Ended, Registers, SignalInfo, Tid};

/// A place from which the runtime never returns.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) kind: EventKind,
    /// Its place among the entries of its thread.
    pub(super) at: usize,
}

#[derive(Clone, Debug)]
pub(super) enum EventKind {
    /// `fatalpanic`: not recovered.
    Panic,
    /// `throw`.
    Throw,
    /// `fatal`.
    Fatal,
    /// A signal that was fatal for the runtime's handler, what it interrupted, and on which stack.
    Signal(SignalInfo, Registers, On),
    /// A signal in a thread that Go does not know.
    BadSignal,
    /// A fault that the kernel ended the process with at once.
    Kernel,
}

impl Event {
    /// The stack on which it happened.
    pub(super) fn on(&self, walked: &Walked) -> On {
        match (&self.kind, walked.entries.get(self.at)) {
            (EventKind::Signal(_, _, on), _) => *on,
            (_, Some(Entry::Frame(Frame { on, .. }) | Entry::Outside { on })) => *on,
            _ => On { kind: StackKind::Outside, g: 0 },
        }
    }

    /// Address of the g that it happened in, or for.
    pub(super) fn blamed(&self, walked: &Walked) -> Option<u64> {
        let on = self.on(walked);
        let curg = walked.m.map(|m| m.curg).filter(|&g| g != 0);
        match (&self.kind, on.kind) {
            (EventKind::BadSignal, _) => None,
            (EventKind::Signal(..), StackKind::G0 | StackKind::Outside) if !self.in_cgo(walked) => None,
            (EventKind::Panic, _) => curg,
            (_, StackKind::Goroutine) => Some(on.g),
            _ => curg,
        }
    }

    /// Whether it is a signal that hit C code which a goroutine had called.
    pub(super) fn in_cgo(&self, walked: &Walked) -> bool {
        let hit =
            matches!(&self.kind, EventKind::Signal(_, _, on) if matches!(on.kind, StackKind::G0 | StackKind::Outside));
        hit && walked.m.is_some_and(|m| m.incgo && m.curg != 0)
    }

    /// What the runtime caused itself by calling `runtime.abort`: nothing for a signal elsewhere.
    pub(super) fn abort(&self, walked: &Walked) -> Option<Abort> {
        if !matches!(self.kind, EventKind::Signal(..)) {
            return None;
        }
        let mut hit = walked.entries.get(self.at.saturating_add(1)..)?.iter();
        if !hit.next().is_some_and(|entry| is_call(entry, &["runtime.abort"])) {
            return None;
        }
        let on_g0 = |entry: &Entry| matches!(entry, Entry::Frame(frame) if frame.on.kind == StackKind::G0);
        let overflow = hit.next().is_some_and(|entry| is_call(entry, &["runtime.morestack"]) && on_g0(entry));
        Some(if overflow { Abort::MorestackOnG0 } else { Abort::Unknown })
    }

    /// Whether it is the signal by which one dying thread makes the others print their stacks, in
    /// programs that are to crash (`GOTRACEBACK=crash`, sighandler).
    fn is_relay(&self, pid: i32) -> bool {
        const SIGQUIT: i32 = 3;
        matches!(&self.kind, EventKind::Signal(info, ..)
            if info.number == SIGQUIT && info.code == 0 && info.sender().is_some_and(|(sender, _)| sender == pid))
    }
}

/// Why the runtime called `abort`, which is an instruction that faults (asm_amd64.s, asm_arm64.s).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abort {
    /// The stack of the scheduler overflowed (`badmorestackg0`, which has printed that before).
    MorestackOnG0,
    /// Not known, and neither is what was printed of it.
    Unknown,
}

/// Whether the runtime's handler can end a program because of a signal: those with `_SigThrow`, and
/// with `_SigPanic` where there can be no panic (`sigtable` in sigtab_linux_generic.go).
fn can_be_fatal(signal: i32) -> bool {
    matches!(signal, 3..=8 | 11 | 16 | 31)
}

/// What ends the program on a thread, the innermost first. A signal counts where the runtime was ending
/// the program because of it, and with `unproven` also where it had only begun to handle it: most
/// signals are of no harm, and a fault may become a panic that is recovered.
fn events(walked: &Walked, fault: bool, unproven: bool) -> Vec<Event> {
    /// What `sighandler` calls once nothing can save the program (signal_unix.go, panic.go).
    const FATAL: [&str; 5] =
        ["runtime.startpanic_m", "runtime.dopanic_m", "runtime.fatalsignal", "runtime.dieFromSignal", "runtime.crash"];
    /// `sighandler` is called by `sigtrampgo`, which `sigtramp` calls, and what it calls may be some
    /// frames further in.
    const NEAR: usize = 10;
    let mut events: Vec<Event> = Vec::new();
    if fault {
        events.push(Event { kind: EventKind::Kernel, at: 0 });
    }
    for (at, entry) in walked.entries.iter().enumerate() {
        let kind = match entry {
            Entry::Frame(frame) => match &*frame.function {
                "runtime.fatalpanic" => EventKind::Panic,
                "runtime.throw" => EventKind::Throw,
                "runtime.fatal" => EventKind::Fatal,
                "runtime.badsignal" | "runtime.raisebadsignal"
                    if !matches!(events.last(), Some(Event { kind: EventKind::BadSignal, .. })) =>
                {
                    EventKind::BadSignal
                }
                _ => continue,
            },
            // With something further in, it is where that happened and no cause of its own.
            Entry::Signal { info, at: registers, on } if events.is_empty() && can_be_fatal(info.number) => {
                let inside = walked.entries.get(at.saturating_sub(NEAR)..at).unwrap_or_default();
                let handled = inside.iter().rev().take_while(|entry| matches!(entry, Entry::Frame(_)));
                let handled = handled.into_iter().any(|entry| is_call(entry, &["runtime.sighandler"]));
                let further_in = walked.entries.get(..at).unwrap_or_default();
                let ending =
                    walked.m.is_some_and(|m| m.is_dying()) || further_in.iter().any(|entry| is_call(entry, &FATAL));
                if !handled || !(ending || unproven) {
                    continue;
                }
                EventKind::Signal(*info, *registers, *on)
            }
            _ => continue,
        };
        events.push(Event { kind, at });
    }
    events
}

fn is_call(entry: &Entry, names: &[&str]) -> bool {
    matches!(entry, Entry::Frame(frame) if names.contains(&&*frame.function))
}

fn calls(walked: &Walked, names: &[&str]) -> bool {
    walked.entries.iter().any(|entry| is_call(entry, names))
}

/// The lower, the sooner: several threads may be dying, and the first of them has printed.
fn rank(walked: &Walked) -> u8 {
    let waits = calls(walked, &["runtime.lock2", "runtime.lock"]);
    if waits && calls(walked, &["runtime.dopanic_m"]) {
        // It has printed, and lets the others print.
        return 0;
    }
    if waits && calls(walked, &["runtime.startpanic_m"]) {
        // It never got to print.
        return 4;
    }
    if walked.m.is_some_and(|m| m.is_dying()) {
        return 1;
    }
    if calls(walked, &["runtime.dieFromSignal", "runtime.raise"]) { 2 } else { 3 }
}

/// A thread that ends the program.
#[derive(Clone, Debug)]
pub(super) struct Dying<'t> {
    pub(super) tid: Tid,
    pub(super) walked: &'t Walked,
    /// Innermost first; never none.
    pub(super) events: Vec<Event>,
}

impl Dying<'_> {
    fn is_marked(&self) -> bool {
        self.walked.m.is_some_and(|m| m.is_dying())
    }

    /// Without what another dying thread has sent; `None` where nothing is left.
    fn without_relays(&self, pid: i32) -> Option<Self> {
        let mut own = self.clone();
        own.events.retain(|event| !event.is_relay(pid));
        (!own.events.is_empty()).then_some(own)
    }
}

/// The thread on which it happened, and whether that is certain.
pub(super) fn choose<'t>(threads: &'t [(Tid, Walked)], ended: &Ended, pid: i32) -> (Option<Dying<'t>>, bool) {
    let fault = |tid: Tid| tid == ended.thread && ended.info.is_some_and(|info| info.code > 0);
    let dying = |(tid, walked): &'t (Tid, Walked), unproven: bool| {
        let events = events(walked, fault(*tid), unproven);
        (!events.is_empty()).then_some(Dying { tid: *tid, walked, events })
    };
    let all: Vec<Dying<'t>> = threads.iter().filter_map(|thread| dying(thread, false)).collect();
    if all.is_empty() {
        // A signal that the thread which died was handling is likely the one.
        let died = threads.iter().find(|(tid, _)| *tid == ended.thread).and_then(|thread| dying(thread, true));
        let certain = died.is_none();
        return (died, certain);
    }
    let mut candidates: Vec<Dying<'t>> = all.iter().filter_map(|dying| dying.without_relays(pid)).collect();
    if candidates.is_empty() {
        // A program that sends itself SIGQUIT looks like a relay.
        candidates.extend(all.first().cloned());
    }
    if candidates.iter().all(|dying| rank(dying.walked) > 1) && all.iter().any(Dying::is_marked) {
        candidates = all.into_iter().filter(Dying::is_marked).collect();
    }
    candidates.sort_by_key(|dying| rank(dying.walked));
    let certain = match candidates.as_slice() {
        [first, second, ..] => rank(first.walked) < rank(second.walked),
        _ => true,
    };
    (candidates.into_iter().next(), certain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Addr;
    use crate::runtime::mirror::m::M;

    const PID: i32 = 77;
    const ON: On = On { kind: StackKind::Goroutine, g: 0x1000 };

    fn calls(functions: &[&str]) -> Vec<Entry> {
        let frame = |function: &&str| Frame { function: (*function).into(), pc: 1, exact: false, sp: 0, fp: 0, on: ON };
        functions.iter().map(|function| Entry::Frame(frame(function))).collect()
    }

    fn signal(number: i32, code: i32, sender: i32) -> Vec<Entry> {
        let at = Registers { pc: Addr(1), sp: Addr(2), lr: Addr(0), fp: Addr(0), g: Addr(0) };
        let info = SignalInfo { number, code, word: u64::try_from(sender).unwrap() };
        vec![Entry::Signal { info, at, on: ON }]
    }

    fn thread(tid: Tid, dying: u32, parts: &[Vec<Entry>]) -> (Tid, Walked) {
        let m = M { procid: u64::try_from(tid).unwrap(), dying: Some(dying), curg: ON.g, ..M::default() };
        (tid, Walked { m: Some(m), entries: parts.concat(), goroutine: None, cut: false })
    }

    fn chosen(threads: &[(Tid, Walked)], code: i32) -> (Option<(Tid, Vec<&'static str>)>, bool) {
        let info = SignalInfo { number: 6, code, word: 0 };
        let (dying, certain) = choose(threads, &Ended { thread: 1, signal: 6, info: Some(info) }, PID);
        let name = |event: &Event| match event.kind {
            EventKind::Panic => "panic",
            EventKind::Throw => "throw",
            EventKind::Fatal => "fatal",
            EventKind::Signal(..) => "signal",
            EventKind::BadSignal => "bad signal",
            EventKind::Kernel => "kernel",
        };
        (dying.map(|dying| (dying.tid, dying.events.iter().map(name).collect())), certain)
    }

    const HANDLER: &[&str] = &["runtime.sighandler", "runtime.sigtrampgo", "runtime.sigtramp"];
    const RAISE: &[&str] = &["runtime.raise", "runtime.dieFromSignal", "runtime.crash"];

    #[test]
    fn a_signal_that_a_dying_program_sends_itself_is_no_cause() {
        let forwarded = calls(&["runtime.raise", "runtime.sigfwdgo", "runtime.sigtrampgo", "runtime.sigtramp"]);
        let parts = [forwarded, signal(6, -6, PID), calls(RAISE), calls(&["runtime.fatalpanic", "main.f"])];
        assert_eq!(chosen(&[thread(1, 1, &parts)], -6), (Some((1, vec!["panic"])), true));
        let inside_of_it = [calls(&["runtime.throw"]), calls(HANDLER), signal(11, 1, 0), calls(&["main.f"])];
        assert_eq!(chosen(&[thread(1, 1, &inside_of_it)], -6), (Some((1, vec!["throw"])), true));
        // A fault that ended it at once is the innermost, and no cause where there is an older one.
        assert_eq!(chosen(&[thread(1, 1, &inside_of_it)], 1), (Some((1, vec!["kernel", "throw"])), true));
    }

    #[test]
    fn the_thread_that_a_signal_hit_first() {
        let hit = |tid, dying, sender| thread(tid, dying, &[calls(HANDLER), signal(3, 0, sender), calls(&["main.f"])]);
        // The others print their stacks because the first has asked for it.
        assert_eq!(chosen(&[hit(1, 0, PID), hit(2, 1, 5)], -6), (Some((2, vec!["signal"])), true));
        // It was sent by the program itself: then only the mark on the M is left.
        assert_eq!(chosen(&[hit(1, 0, PID), hit(2, 1, PID)], -6), (Some((2, vec!["signal"])), true));
        assert_eq!(chosen(&[hit(1, 0, PID), hit(2, 0, PID)], -6), (Some((1, vec!["signal"])), false));
        assert_eq!(chosen(&[thread(1, 0, &[calls(&["main.f"])])], -6), (None, true));
    }

    #[test]
    fn a_signal_that_ends_nothing_is_no_cause() {
        let hit = |tid, dying, number, inside: &[&str]| {
            thread(tid, dying, &[calls(inside), calls(HANDLER), signal(number, -6, PID), calls(&["main.f"])])
        };
        const SIGURG: i32 = 23;
        const SIGPROF: i32 = 27;
        // Preemption, profiling, and a nil dereference that may be recovered.
        for (number, inside) in
            [(SIGURG, "runtime.doSigPreempt"), (SIGPROF, "runtime.sigprof"), (11, "runtime.(*sigctxt).preparePanic")]
        {
            let harmless = hit(2, 0, number, &[inside]);
            assert_eq!(chosen(&[thread(1, 0, &[]), harmless.clone()], -6), (None, true), "{number}");
            let panics = thread(3, 1, &[calls(&["runtime.fatalpanic", "main.f"])]);
            assert_eq!(chosen(&[harmless, panics], -6), (Some((3, vec!["panic"])), true), "{number}");
        }
        // One that arrived while the program was ending.
        let late = [calls(HANDLER), signal(SIGURG, -6, PID), calls(RAISE), calls(&["runtime.throw", "main.f"])];
        assert_eq!(chosen(&[thread(1, 1, &late)], -6), (Some((1, vec!["throw"])), true));
        // The thread that died was handling a fault, and nothing shows that this was fatal.
        assert_eq!(chosen(&[hit(1, 0, 11, &[])], -6), (Some((1, vec!["signal"])), false));
        assert_eq!(chosen(&[hit(1, 0, SIGURG, &[])], -6), (None, true));
        for inside in ["runtime.startpanic_m", "runtime.dopanic_m", "runtime.fatalsignal", "runtime.crash"] {
            assert_eq!(chosen(&[hit(2, 0, 11, &[inside])], -6), (Some((2, vec!["signal"])), true), "{inside}");
        }
        assert_eq!(chosen(&[hit(2, 1, 11, &[])], -6), (Some((2, vec!["signal"])), true));
    }

    #[test]
    fn a_fault_that_the_runtime_asked_for() {
        let aborted = |caller: &str, kind| {
            let mut hit = calls(&["runtime.abort", caller]);
            for entry in &mut hit {
                if let Entry::Frame(frame) = entry {
                    frame.on.kind = kind;
                }
            }
            let (_, walked) = thread(1, 1, &[calls(RAISE), calls(HANDLER), signal(5, 128, 0), hit]);
            let events = events(&walked, false, false);
            assert_eq!(events.len(), 1);
            events[0].abort(&walked)
        };
        assert_eq!(aborted("runtime.morestack", StackKind::G0), Some(Abort::MorestackOnG0));
        assert_eq!(aborted("runtime.morestack", StackKind::Gsignal), Some(Abort::Unknown));
        assert_eq!(aborted("main.f", StackKind::G0), Some(Abort::Unknown));
        let (_, walked) = thread(1, 1, &[calls(HANDLER), signal(5, 128, 0), calls(&["main.f", "runtime.abort"])]);
        assert_eq!(events(&walked, false, false)[0].abort(&walked), None);
    }

    #[test]
    fn the_first_of_several_that_die() {
        let panics = |tid, more: &[&str]| thread(tid, 1, &[calls(more), calls(&["runtime.fatalpanic", "main.f"])]);
        let waiting_to_print = panics(1, &["runtime.lock2", "runtime.startpanic_m"]);
        let has_printed = panics(2, &["runtime.lock2", "runtime.dopanic_m"]);
        let printing = panics(3, &[]);
        let first = |threads: &[(Tid, Walked)]| chosen(threads, -6).0.map(|(tid, _)| tid);
        assert_eq!(first(&[waiting_to_print.clone(), has_printed.clone(), printing.clone()]), Some(2));
        assert_eq!(first(&[waiting_to_print, printing.clone()]), Some(3));
        let (_, certain) = chosen(&[printing.clone(), (4, printing.1)], -6);
        assert!(!certain, "nothing says which came first");
    }
}
