//! Which attacks there are: commands, what is done to gospy while they run, and what they run on.

use std::collections::BTreeMap;

use super::super::random::Random;
use super::commands::{COMMANDS, Command};

/// What happens to gospy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Nothing: it reads to its end.
    Nothing,
    /// SIGKILL at a random moment; of what stops its target, now and then to the tracer.
    Kill,
    Term,
    Int,
    /// A limit of memory: of a cgroup, or of addresses.
    Memory,
    /// Its terminal is closed.
    Hangup,
    /// There is no room for what it writes.
    DiskFull,
    /// Its standard output is closed.
    Pipe,
}

impl Fault {
    pub(crate) const ALL: [Fault; 8] = [
        Fault::Nothing,
        Fault::Kill,
        Fault::Term,
        Fault::Int,
        Fault::Memory,
        Fault::Hangup,
        Fault::DiskFull,
        Fault::Pipe,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::Nothing => "none",
            Fault::Kill => "SIGKILL",
            Fault::Term => "SIGTERM",
            Fault::Int => "SIGINT",
            Fault::Memory => "no memory",
            Fault::Hangup => "terminal closed",
            Fault::DiskFull => "disk full",
            Fault::Pipe => "stdout closed",
        }
    }
}

/// What the target does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Computes, and compares the results and its own code with what they were.
    Compute,
    /// Waits in every way, in Go and in system calls.
    Block,
    /// Gets signals all the time, each of which is counted.
    Signals,
    Timers,
    /// Starts children, and looks at how they end.
    Children,
    /// Starts threads that end at once.
    Threads,
    /// Becomes another program all the time.
    Exec,
    /// Ends meanwhile.
    Ends,
    /// Is stopped by a signal, and in part continued.
    Stopped,
    /// Another tracer has it.
    Traced,
    /// Has a seccomp filter that kills it if a stop shows.
    Filtered,
    /// Is the first process of a pid namespace of its own.
    Namespace,
}

impl Kind {
    pub(crate) const ALL: [Kind; 12] = [
        Kind::Compute,
        Kind::Block,
        Kind::Signals,
        Kind::Timers,
        Kind::Children,
        Kind::Threads,
        Kind::Exec,
        Kind::Ends,
        Kind::Stopped,
        Kind::Traced,
        Kind::Filtered,
        Kind::Namespace,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Compute => "computes",
            Kind::Block => "blocks",
            Kind::Signals => "signals",
            Kind::Timers => "timers",
            Kind::Children => "forks, execs",
            Kind::Threads => "threads",
            Kind::Exec => "execs itself",
            Kind::Ends => "exits",
            Kind::Stopped => "stopped",
            Kind::Traced => "traced",
            Kind::Filtered => "seccomp",
            Kind::Namespace => "namespaces",
        }
    }

    /// What `gostorm` is told to do.
    pub(crate) fn work(self) -> &'static str {
        match self {
            Kind::Block => "block",
            Kind::Timers => "timers",
            Kind::Children => "children",
            Kind::Threads => "threads",
            Kind::Exec => "exec",
            Kind::Signals => "signals",
            Kind::Compute | Kind::Ends | Kind::Stopped | Kind::Traced | Kind::Filtered | Kind::Namespace => "compute",
        }
    }

    /// Whether reading it and stopping it succeed, but for a machine that has too much to do.
    pub(crate) fn is_calm(self) -> bool {
        matches!(self, Kind::Compute | Kind::Block | Kind::Timers | Kind::Namespace)
    }
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    pub(crate) number: usize,
    pub(crate) command: &'static Command,
    pub(crate) fault: Fault,
    pub(crate) kind: Kind,
}

/// Attacks on one target, one after the other.
pub(crate) type Batch = (Kind, Vec<Attack>);

/// As many attacks as one target is made for.
const MOST_OF_A_BATCH: usize = 30;

/// What went wrong once is always tried.
const ONCE_WRONG: [(&str, Fault, Kind); 3] =
    [("top", Fault::Hangup, Kind::Block), ("mcp", Fault::Pipe, Kind::Compute), ("serve", Fault::Hangup, Kind::Timers)];

/// Things that are dealt out in random order, all of them before any comes again.
struct Deck<T> {
    all: Vec<T>,
    left: Vec<T>,
}

impl<T: Copy> Deck<T> {
    fn new(all: impl IntoIterator<Item = T>) -> Deck<T> {
        Deck { all: all.into_iter().collect(), left: Vec::new() }
    }

    fn draw(&mut self, random: &mut Random) -> T {
        if self.left.is_empty() {
            self.left = self.all.clone();
            shuffle(&mut self.left, random);
        }
        self.left.pop().unwrap()
    }
}

fn shuffle<T>(things: &mut [T], random: &mut Random) {
    for last in (1..things.len()).rev() {
        let other = usize::try_from(random.below(last as u64 + 1)).unwrap();
        things.swap(last, other);
    }
}

/// The commands that are attacked: all, or those that `GOSPY_ATTACKED` names the beginning of.
pub(crate) fn attacked() -> impl Iterator<Item = &'static Command> + Clone {
    let only = std::env::var("GOSPY_ATTACKED").unwrap_or_default();
    COMMANDS.iter().filter(move |command| command.name.starts_with(&only))
}

/// So many attacks: what went wrong once, every combination as often as that makes, and of what is left each command, each fault and each
/// kind of target as often as the others.
pub(crate) fn plan(count: usize, random: &mut Random) -> Vec<Batch> {
    let every = attacked().flat_map(|command| {
        Fault::ALL.iter().flat_map(move |fault| Kind::ALL.iter().map(move |kind| (command, *fault, *kind)))
    });
    let every: Vec<_> = every.collect();
    let whole = count / every.len() * every.len();
    let command = |name| attacked().find(|command| command.name == name);
    let first = ONCE_WRONG.iter().filter_map(|(name, fault, kind)| Some((command(*name)?, *fault, *kind)));
    let mut commands = Deck::new(attacked());
    let (mut faults, mut kinds) = (Deck::new(Fault::ALL), Deck::new(Kind::ALL));
    let rest = (whole..count).map(|_| (commands.draw(random), faults.draw(random), kinds.draw(random)));
    let rest: Vec<_> = rest.collect();
    let all = first.chain(every.iter().copied().cycle().take(whole)).chain(rest).take(count);
    let mut by_kind: BTreeMap<Kind, Vec<Attack>> = BTreeMap::new();
    for (number, (command, fault, kind)) in all.enumerate() {
        by_kind.entry(kind).or_default().push(Attack { number, command, fault, kind });
    }
    let mut batches: Vec<Batch> = Vec::new();
    for (kind, mut attacks) in by_kind {
        shuffle(&mut attacks, random);
        batches.extend(attacks.chunks(MOST_OF_A_BATCH).map(|batch| (kind, batch.to_vec())));
    }
    shuffle(&mut batches, random);
    batches
}
