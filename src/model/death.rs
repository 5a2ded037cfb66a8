//! How a program died.

use super::{Goid, StackId};
use crate::addr::Addr;

/// What ended a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeathKind {
    /// An unrecovered panic.
    Panic,
    /// An error of the runtime itself (`runtime.throw`).
    Throw,
    /// A mistake of the program that the runtime does not survive (`runtime.fatal`, 1.19 on): a
    /// deadlock, concurrent uses of a map, an unlock of an unlocked mutex.
    Fatal,
    /// A fatal signal, handled by the runtime: sent to the program, or a fault in C or in the runtime.
    Signal,
    /// A signal for which the runtime printed nothing: in a thread that Go does not know, in C without Go's
    /// handlers, or in the handler itself.
    OutsideGo,
}

impl DeathKind {
    /// A stable name for people and scripts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Throw => "throw",
            Self::Fatal => "fatal",
            Self::Signal => "signal",
            Self::OutsideGo => "outside_go",
        }
    }
}

/// Which stack a thread was on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StackKind {
    /// A goroutine's own.
    Goroutine,
    /// The scheduler's (`m.g0`).
    G0,
    /// That of signal handlers (`m.gsignal`).
    Gsignal,
    /// None that Go knows.
    Outside,
}

impl StackKind {
    /// A stable name for people and scripts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Goroutine => "goroutine",
            Self::G0 => "g0",
            Self::Gsignal => "gsignal",
            Self::Outside => "outside_go",
        }
    }
}

/// A signal of a program that died.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeathSignal {
    /// Its number.
    pub number: i32,
    /// `si_code`; `None` where it is not known.
    pub code: Option<i64>,
    /// The address of the fault; `None` for other signals.
    pub addr: Option<Addr>,
    /// The instruction that it hit; `None` where it is not known.
    pub pc: Option<Addr>,
    /// Pid of the process that sent it.
    pub sender_pid: Option<i32>,
    /// User id of that process.
    pub sender_uid: Option<u32>,
}

impl DeathSignal {
    /// `SIGSEGV: segmentation violation`, in the words of the runtime (`sigtable`, the same since 1.19);
    /// `None` for those that cannot end a program.
    #[must_use]
    pub fn words(number: i32) -> Option<&'static str> {
        Some(match number {
            1 => "SIGHUP: terminal line hangup",
            2 => "SIGINT: interrupt",
            3 => "SIGQUIT: quit",
            4 => "SIGILL: illegal instruction",
            5 => "SIGTRAP: trace trap",
            6 => "SIGABRT: abort",
            7 => "SIGBUS: bus error",
            8 => "SIGFPE: floating-point exception",
            9 => "SIGKILL: kill",
            10 => "SIGUSR1: user-defined signal 1",
            11 => "SIGSEGV: segmentation violation",
            12 => "SIGUSR2: user-defined signal 2",
            13 => "SIGPIPE: write to broken pipe",
            14 => "SIGALRM: alarm clock",
            15 => "SIGTERM: termination",
            16 => "SIGSTKFLT: stack fault",
            24 => "SIGXCPU: cpu limit exceeded",
            25 => "SIGXFSZ: file size limit exceeded",
            31 => "SIGSYS: bad system call",
            _ => return None,
        })
    }

    /// `SIGSEGV`, or `signal 40`.
    #[must_use]
    pub fn name(&self) -> String {
        let name = Self::words(self.number).and_then(|words| words.split(':').next());
        name.map_or_else(|| format!("signal {}", self.number), str::to_owned)
    }
}

/// One panic of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PanicValue {
    /// Name of the value's type. Of an error or a Stringer, `string`: the runtime has replaced it by its
    /// text.
    pub go_type: Option<String>,
    /// The value as the runtime prints it.
    pub text: String,
    /// Whether it was recovered.
    pub recovered: bool,
    /// Whether it was recovered and the same value thrown again (1.25 on).
    pub repanicked: bool,
    /// Whether it is no panic but a `runtime.Goexit`, of which nothing is printed.
    pub goexit: bool,
}

/// How a program died, by its core file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// What ended it.
    pub kind: DeathKind,
    /// What the program printed about it, without the stacks: lines with `\n` between. Empty where it printed
    /// nothing.
    pub text: String,
    /// What `throw` or `fatal` was called with.
    pub message: Option<String>,
    /// The panics of the goroutine, oldest first, where it died of one.
    pub panics: Vec<PanicValue>,
    /// The signal that caused it: sent from outside, or the fault that became a panic.
    pub signal: Option<DeathSignal>,
    /// The signal that the kernel ended it with. A program that dies by itself mostly sends itself SIGABRT in
    /// the end, for any cause.
    pub core_signal: DeathSignal,
    /// Its own pid.
    pub process: i32,
    /// The kernel's id of the thread on which it happened.
    pub thread: i32,
    /// Id of its M; `None` for a thread that Go does not know.
    pub m: Option<i64>,
    /// The stack on which it happened.
    pub stack_kind: StackKind,
    /// Path of the file whose code the signal hit, where that is not Go's.
    pub object: Option<String>,
    /// The goroutine that it happened in, or for; `None` where it was in none.
    pub goroutine: Option<Goid>,
    /// What that goroutine did, as far as it is known.
    pub stack: Option<StackId>,
    /// Whether `stack` is all of its stack.
    pub stack_complete: bool,
    /// Whether all of that is certain; else part of it is only likely.
    pub certain: bool,
}

impl Death {
    /// Longest text, in bytes of plain ASCII: the JSON reader accepts strings of 1 MiB, escaped and with the
    /// note that it was cut.
    const LONGEST_TEXT: usize = (512 << 10) - 64;

    /// Cuts a text that is too long for a report, and marks it as cut. Returns whether it did.
    pub fn cut(text: &mut String) -> bool {
        /// Of what may be written as `\ud834\udd73`, where of ASCII `\"` is the longest.
        const ESCAPED: usize = 6;
        let mut room = Self::LONGEST_TEXT;
        let end = text.char_indices().find_map(|(at, c)| {
            let plain = c == ' ' || c.is_ascii_graphic();
            match room.checked_sub(if plain { 1 } else { ESCAPED }) {
                Some(left) => room = left,
                None => return Some(at),
            }
            None
        });
        let Some(end) = end else { return false };
        let more = text.len().saturating_sub(end);
        text.truncate(end);
        text.push_str(&format!("… ({more} bytes more)"));
        true
    }

    /// The cause on one line, in the runtime's words where it has any.
    #[must_use]
    pub fn headline(&self) -> String {
        /// Longest line, in characters.
        const LONGEST: usize = 400;
        let lines: Vec<&str> = self.text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let mut line = match lines.as_slice() {
            [] => self.silent(),
            lines => lines.join("; "),
        };
        if let Some(pid) = self.sender() {
            line.push_str(&format!("; sent by process {pid}"));
        }
        match line.char_indices().nth(LONGEST) {
            Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
            None => line,
        }
    }

    /// The other process that sent the signal which ended it, where that is the cause.
    #[must_use]
    pub fn sender(&self) -> Option<i32> {
        let sent = matches!(self.kind, DeathKind::Signal | DeathKind::OutsideGo);
        self.signal.as_ref().filter(|_| sent).and_then(|signal| signal.sender_pid).filter(|pid| *pid != self.process)
    }

    /// For a death about which the program printed nothing.
    fn silent(&self) -> String {
        let signal = self.signal.as_ref().unwrap_or(&self.core_signal);
        let words = DeathSignal::words(signal.number).map_or_else(|| signal.name(), str::to_owned);
        let code = signal.code.map_or_else(String::new, |code| format!(" code={code}"));
        let addr = signal.addr.map_or_else(String::new, |addr| format!(" addr={addr}"));
        let pc = signal.pc.map_or_else(String::new, |pc| format!(" pc={pc}"));
        let how = match self.certain {
            true => "outside of Go; the program printed nothing",
            false => "the cause is not known: nothing on the stacks that could be read ends a Go program",
        };
        format!("{words}{code}{addr}{pc}, {how}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut() {
        for (c, kept) in
            [("x", Death::LONGEST_TEXT), ("\n", Death::LONGEST_TEXT / 6), ("é", Death::LONGEST_TEXT / 6 * 2)]
        {
            let mut text = c.repeat(kept / c.len());
            let whole = text.clone();
            assert!(!Death::cut(&mut text) && text == whole);
            text.push_str("yyyyyyyy");
            assert!(Death::cut(&mut text) && text.starts_with(&whole), "{}", text.len());
            assert!(text.ends_with(" bytes more)"), "{:?}", text.get(kept..));
        }
    }

    #[test]
    fn headlines() {
        let signal = DeathSignal { number: 11, code: Some(1), addr: Some(Addr(16)), ..DeathSignal::default() };
        let mut death = Death {
            kind: DeathKind::OutsideGo,
            text: String::new(),
            message: None,
            panics: Vec::new(),
            signal: Some(signal),
            core_signal: DeathSignal::default(),
            process: 7,
            thread: 7,
            m: None,
            stack_kind: StackKind::Outside,
            object: None,
            goroutine: None,
            stack: None,
            stack_complete: false,
            certain: true,
        };
        let silent = "SIGSEGV: segmentation violation code=1 addr=0x10, outside of Go; the program printed nothing";
        assert_eq!(death.headline(), silent);
        death.certain = false;
        assert!(death.headline().contains("addr=0x10, the cause is not known"), "{}", death.headline());
        (death.kind, death.text) = (DeathKind::Signal, "SIGQUIT: quit\nPC=0x1 m=0 sigcode=0\n".to_owned());
        death.signal = Some(DeathSignal { number: 3, sender_pid: Some(99), ..DeathSignal::default() });
        assert_eq!(death.headline(), "SIGQUIT: quit; PC=0x1 m=0 sigcode=0; sent by process 99");
        death.process = 99;
        assert_eq!(death.headline(), "SIGQUIT: quit; PC=0x1 m=0 sigcode=0");
        death.text = "é".repeat(1000);
        assert_eq!(death.headline().chars().count(), 401);
        assert_eq!(DeathSignal { number: 40, ..DeathSignal::default() }.name(), "signal 40");
    }
}
