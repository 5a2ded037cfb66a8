//! What the runtime does differently from version to version and no layout shows: in which order it writes
//! fields, what it counts, how it numbers functions, what it prints. Each rule names its source; what it says
//! of the latest version holds for newer ones until reviewed (`docs/new-go-version.md`).

/// The rules of one minor version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    minor: u32,
}

/// Where coroutines start (`newcoro` in runtime/coro.go; 1.22 on).
pub(crate) const COROUTINE_START: &str = "runtime.corostart";

impl Rules {
    /// Of Go 1.`minor`.
    #[must_use]
    pub const fn of(minor: u32) -> Self {
        Self { minor }
    }

    /// The minor version.
    #[must_use]
    pub const fn minor(self) -> u32 {
        self.minor
    }

    /// The id of functions that the compiler made to call others (`FuncIDWrapper` in internal/abi/symtab.go,
    /// runtime/symtab.go before). It is the last of the ids, so it moves when others are added.
    #[must_use]
    pub const fn wrapper_id(self) -> u8 {
        match self.minor {
            ..=21 => 21,
            22..=24 => 22,
            _ => 23,
        }
    }

    /// Whether `g.trackingSeq` counts going into a system call and coming back too (`casgstatus` in
    /// runtime/proc.go; to 1.25).
    #[must_use]
    pub const fn counts_syscalls(self) -> bool {
        self.minor <= 25
    }

    /// Whether a goroutine that waits for a semaphore or a `sync.Cond` has its sudog in `g.waiting`, and that names
    /// what it waits for (`semacquire1` and `notifyListWait` in runtime/sema.go; 1.26 on).
    #[must_use]
    pub const fn names_what_is_waited_for(self) -> bool {
        self.minor >= 26
    }

    /// Whether every goroutine that waits has a reason. Before 1.21 `stopTheWorldWithSema`, `gcMarkDone` and
    /// `gcAssistAlloc1` set the state without one, or the reason after the state (runtime/proc.go, mgc.go,
    /// mgcmark.go).
    #[must_use]
    pub const fn always_has_reason(self) -> bool {
        self.minor >= 21
    }

    /// Whether `newproc1` makes a goroutine runnable before it gives it its id (runtime/proc.go; to 1.23).
    #[must_use]
    pub const fn gives_id_after_state(self) -> bool {
        self.minor <= 23
    }

    /// Whether a function is one that was made to look called where its caller was interrupted
    /// (runtime/traceback.go and signal_amd64.go). Until 1.20 the runtime itself took `asyncPreempt` for a call
    /// and looked its caller up at minus one; its own dumps say so.
    #[must_use]
    pub fn is_injected(self, function: &str) -> bool {
        matches!(function, "runtime.sigpanic" | "runtime.debugCallV2")
            || (self.minor >= 21 && function == "runtime.asyncPreempt")
    }

    /// Whether a traceback looks up which arguments are live where the outermost of the inlined calls is, and
    /// not at the program counter itself (`gentraceback` in runtime/traceback.go, which uses one variable for
    /// both; to 1.20).
    #[must_use]
    pub const fn finds_live_arguments_at_outermost_call(self) -> bool {
        self.minor <= 20
    }

    /// Whether a traceback leaves the compiler's wrappers out of an ancestor's frames (`showfuncinfo` as
    /// `printAncestorTraceback` calls it, runtime/traceback.go; 1.21 on).
    #[must_use]
    pub const fn hides_wrappers_of_ancestors(self) -> bool {
        self.minor >= 21
    }

    /// Whether tracebacks can show labels: `GODEBUG=tracebacklabels` (runtime/runtime1.go; 1.26 on).
    #[must_use]
    pub const fn prints_labels(self) -> bool {
        self.minor >= 26
    }

    /// Whether the caller of a function that changes its stack pointer freely is known all the same:
    /// `cgocallback` keeps a frame for the unwinder on both stacks (runtime/asm_amd64.s, asm_arm64.s; 1.19 on).
    #[must_use]
    pub fn keeps_frame(self, function: &str) -> bool {
        function == "runtime.cgocallback"
    }

    /// Whether frame pointers lead from this function to nothing that called it: `mcall` and `morestack` have gone to
    /// the scheduler's stack for good, and a signal's handler was called by the kernel (runtime/asm_amd64.s,
    /// asm_arm64.s, sys_linux_amd64.s, sys_linux_arm64.s; 1.19 on).
    #[must_use]
    pub fn ends_frame_pointers(self, function: &str) -> bool {
        const ENDS: [&str; 5] =
            ["runtime.mcall", "runtime.morestack", "runtime.sigtramp", "runtime.cgoSigtramp", "runtime.rt0_go"];
        ENDS.contains(&function)
    }

    /// Whether this function goes on on the scheduler's stack and comes back. Until 1.20 it makes that look as if
    /// `mstart` had called it (runtime/asm_amd64.s, asm_arm64.s), so that tables of frame sizes lead to there, and not
    /// to what did.
    #[must_use]
    pub fn switches_stack(self, function: &str) -> bool {
        function == "runtime.systemstack"
    }

    /// Whether this function only asks the kernel's own code (the vDSO) for the time. While it does, the runtime's
    /// profiler takes its caller for the innermost (`sigprof` in runtime/proc.go, by `m.vdsoPC`; 1.19 on).
    #[must_use]
    pub fn asks_vdso(self, function: &str) -> bool {
        matches!(function, "time.now" | "runtime.nanotime1" | "runtime.walltime")
    }

    /// Whether `fatalsignal` prints the address of a fault (runtime/signal_unix.go; 1.22 on).
    #[must_use]
    pub const fn prints_fault_address(self) -> bool {
        self.minor >= 22
    }

    /// Whether `printpanics` notes a panic with the same value again though it is not recovered
    /// (runtime/panic.go; 1.25 only).
    #[must_use]
    pub const fn notes_every_repanic(self) -> bool {
        self.minor == 25
    }

    /// Whether `fatal` prints the panics that the goroutine is in first, so that the closure which it hands to
    /// `systemstack` has the newest of them before the text (runtime/panic.go; 1.26 on).
    #[must_use]
    pub const fn fatal_prints_panics(self) -> bool {
        self.minor >= 26
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the sources of the versions, where a rule changed.
    #[test]
    fn rules_change_where_the_runtime_did() {
        let at = |rule: fn(Rules) -> bool| -> Vec<u32> { (19..=27).filter(|minor| rule(Rules::of(*minor))).collect() };
        assert_eq!(
            (19..=27).map(|minor| Rules::of(minor).wrapper_id()).collect::<Vec<_>>(),
            [21, 21, 21, 22, 22, 22, 23, 23, 23]
        );
        assert_eq!(at(Rules::counts_syscalls), [19, 20, 21, 22, 23, 24, 25]);
        assert_eq!(at(Rules::always_has_reason), [21, 22, 23, 24, 25, 26, 27]);
        assert_eq!(at(Rules::gives_id_after_state), [19, 20, 21, 22, 23]);
        assert_eq!(at(|rules| rules.is_injected("runtime.asyncPreempt")), [21, 22, 23, 24, 25, 26, 27]);
        assert_eq!(at(Rules::finds_live_arguments_at_outermost_call), [19, 20]);
        assert_eq!(at(Rules::hides_wrappers_of_ancestors), [21, 22, 23, 24, 25, 26, 27]);
        assert_eq!(at(Rules::prints_labels), [26, 27]);
        assert_eq!(at(Rules::prints_fault_address), [22, 23, 24, 25, 26, 27]);
        assert_eq!((at(Rules::notes_every_repanic), at(Rules::fatal_prints_panics)), (vec![25], vec![26, 27]));
    }
}
