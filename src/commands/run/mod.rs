//! `gospy run`: a command that is, or starts, a Go program, watched from outside.
//!
//! Signals are passed on and its status is ours, unless it is 0 and a rule failed. Nothing is
//! done to it before its time is over, but that processes which it leaves behind become ours and not
//! init's (`PR_SET_CHILD_SUBREAPER`) while it runs: so they are judged, ended and reaped with it.

mod command;
mod judges;
mod newcomers;
mod readers;
mod signals;
#[cfg(test)]
mod tests;
mod tests_running;
mod tree;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;

use super::capture::description;
use super::ci_args::RunArgs;
use super::files::{make_directory, report_file, write_file};
use super::rules::{self, Measured, NO_RULE};
use super::source::{HeapSource, SourceFailure, Sources, TargetSpec};
use super::streams::Streams;
use super::{Exit, Failure, Global};
use crate::analysis::Index;
use crate::analysis::check::Rules;
use crate::capture::{CaptureOptions, FreezeMode};
use crate::model::Snapshot;
use crate::new_file::{Directory, Goal};
use crate::process::ErrorKind;
use crate::process::capture_file;
use crate::process::child;
use crate::process::recording::ElfImage;
use crate::report::clean::clean;
use crate::report::traceback::{self, TracebackOptions};
use crate::report::units::{bytes, counted, duration};
use crate::sampling::Pacer;
use command::Command;
use judges::{Judges, Occasion};
use newcomers::Newcomers;
use readers::Readers;
use signals::Signals;
use tree::{Born, Family};

/// The status of timeout(1) when time was over.
const TIMED_OUT: Exit = Exit::Command(124);
/// The status of env(1), timeout(1) and others when they fail themselves.
const FAILED: Exit = Exit::Command(125);
/// How often descendants are checked for having exited: no signal reports that.
const POLL: Duration = Duration::from_millis(50);
/// How long after SIGKILL is waited for the last of them. The kernel may keep one that hangs in it.
const KILLED: Duration = Duration::from_secs(5);

pub(super) fn run(
    arguments: &RunArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let failed = |failure: Failure| match failure.exit() {
        Exit::Usage => failure,
        _ => Failure::new(FAILED, failure.message()),
    };
    let rules = rules(arguments, global.strict).map_err(failed)?;
    let output = arguments.output.as_deref().map(|path| make_directory("--output", path));
    let output = output.transpose().map_err(failed)?;
    // That it cannot be written is not to be found out when it is needed.
    let dump = arguments.dump.as_deref().map(|path| report_file("--dump", path)).transpose().map_err(failed)?;
    // Blocked before the command is there, so that none is lost.
    let signals = Signals::block(arguments.capture_on)
        .map_err(|error| Failure::new(FAILED, format!("signals cannot be waited for: {error}")))?;
    let mut family = Family::new();
    // Where it is refused, orphans go to init, as without us.
    let _ = set_child_subreaper(true);
    let command = start(arguments, &signals)?;
    family.begin(command.pid());
    let now = Instant::now();
    let mut runner = Runner {
        command,
        family,
        sources,
        streams,
        quiet: global.quiet,
        output,
        dump,
        judges: rules.as_ref().map(|rules| Judges::new(rules, arguments.capture_every)),
        readers: Readers::default(),
        newcomers: (rules.is_some() && arguments.capture_every.is_some()).then(|| Newcomers::new(now)),
        written: 0,
        started: now,
        heaps: BTreeMap::new(),
        pacer: arguments.capture_every.map(|ns| {
            let every = Duration::from_nanos(ns);
            let mut pacer = Pacer::every(every);
            pacer.set_due(every);
            pacer
        }),
        freeze: arguments.freeze,
        freeze_filtered: arguments.freeze_seccomp,
        give_up_at: arguments.timeout.and_then(|ns| now.checked_add(Duration::from_nanos(ns))),
    };
    let watched = runner.watch(arguments, &signals).map_err(failed);
    let exit = watched.map_err(|failure| left_running(failure, runner.command.pid()))?;
    let ended = SystemTime::now();
    let Some(judges) = runner.judges.take() else { return Ok(exit) };
    let outcome = judges.tell(&mut *runner.streams, global, ended);
    Ok(match exit {
        Exit::Command(0) if outcome.failed => Exit::Failed,
        Exit::Command(0) if outcome.unjudged => Exit::NotJudged,
        // That the command itself failed says more.
        exit => exit,
    })
}

/// The rules, if there are any.
fn rules(arguments: &RunArgs, strict: bool) -> Result<Option<Rules>, Failure> {
    let usage = |text: &str| Err(Failure::new(Exit::Usage, text));
    let rules = rules::rules(
        &arguments.rules,
        Measured { baseline: true, watched: false, repeated: arguments.capture_every.is_some() },
    )?;
    let reads = arguments.capture_every.is_some() || arguments.capture_on.is_some();
    let exempts = rules.system || !rules.allow.is_empty();
    match (rules.rules.is_empty(), reads, &arguments.output) {
        (true, _, _) if exempts => usage(NO_RULE),
        (true, true, None) => usage("captures need --output <DIRECTORY> to be written into, or rules to be judged by"),
        (false, false, _) => usage(
            "rules judge captures: give --capture-every <DURATION> or --capture-on <SIGNAL> (captures are only written \
             with --output)",
        ),
        (_, false, Some(_)) => usage(
            "--output is where captures are written: give --capture-every <DURATION> or --capture-on <SIGNAL> too",
        ),
        (true, false, _) if arguments.freeze.is_some() => usage(
            "--freeze is about captures: give --capture-every <DURATION> or --capture-on <SIGNAL> (the stacks that are \
             printed at --timeout are always read with the program stopped)",
        ),
        (true, _, _) if strict => usage("--strict is about the snapshots that rules judge: give a rule too"),
        (none, _, _) => Ok((!none).then_some(rules)),
    }
}

fn start(arguments: &RunArgs, signals: &Signals) -> Result<Command, Failure> {
    Command::start(&arguments.command, signals.before()).map_err(|error| {
        // A word with a NUL in it, which cannot be handed on, has no number.
        let error = error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw);
        let status = if error == Errno::ENOENT { 127 } else { 126 };
        let name = arguments.command.first().map(Path::new).unwrap_or(Path::new("")).display();
        Failure::new(Exit::Command(status), format!("{name} cannot be run: {}", error.desc()))
    })
}

struct Runner<'a, 'b> {
    command: Command,
    family: Family,
    sources: &'a dyn Sources,
    streams: &'a mut Streams<'b>,
    quiet: bool,
    output: Option<Arc<Directory>>,
    dump: Option<Goal>,
    judges: Option<Judges<'a>>,
    /// Programs that were opened to be judged.
    readers: Readers<'a>,
    /// Programs that were opened for their heap, by pid.
    heaps: BTreeMap<i32, Box<dyn HeapSource>>,
    newcomers: Option<Newcomers>,
    written: u32,
    started: Instant,
    pacer: Option<Pacer>,
    /// Which threads to stop for a capture.
    freeze: Option<FreezeMode>,
    freeze_filtered: bool,
    give_up_at: Option<Instant>,
}

impl Runner<'_, '_> {
    /// Until the command has ended or was given up on.
    fn watch(&mut self, arguments: &RunArgs, signals: &Signals) -> Result<Exit, Failure> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Exit::Command(status));
            }
            let now = Instant::now();
            if self.give_up_at.is_some_and(|at| at <= now) {
                self.dump(arguments);
                return self.end(Duration::from_nanos(arguments.grace), signals);
            }
            let elapsed = now.saturating_duration_since(self.started);
            if let Some(pacer) = self.pacer.as_mut().filter(|pacer| pacer.due() <= elapsed) {
                pacer.begin(elapsed);
                self.take_captures();
            }
            self.greet();
            let look = self.newcomers.as_ref().and_then(Newcomers::next);
            let next_capture = self.pacer.as_ref().and_then(|pacer| self.started.checked_add(pacer.due()));
            let due = [self.give_up_at, next_capture, look].into_iter().flatten().min();
            let now = Instant::now();
            match signals.next(due.map(|due| due.saturating_duration_since(now))) {
                Some(received) if Some(received.signal) == arguments.capture_on => self.take_captures(),
                Some(received) => self.pass_on(received),
                None => {}
            }
        }
    }

    fn ended(&mut self) -> Result<Option<u8>, Failure> {
        self.command.ended().map_err(not_waited_for)
    }

    /// Judges programs that have only just been started: they may not live until a capture is due.
    fn greet(&mut self) {
        let (Some(mut newcomers), Some(mut judges)) = (self.newcomers.take(), self.judges.take()) else { return };
        if newcomers.next().is_some_and(|next| next <= Instant::now()) {
            let mut readers = std::mem::take(&mut self.readers);
            let present = newcomers.look(&self.family, |pid| {
                let wanted = TargetSpec::process(pid, None);
                self.judge(&mut readers, &wanted, &mut judges, Occasion::Start).is_ok()
            });
            let present = || present.iter().map(|(pid, _)| *pid);
            readers.keep(present());
            self.readers = readers;
            judges.see(present(), SystemTime::now());
        }
        (self.newcomers, self.judges) = (Some(newcomers), Some(judges));
    }

    fn pass_on(&mut self, received: signals::Received) {
        // What the terminal sends, it sends to the command too.
        if received.signal != Signal::SIGCHLD && !received.by_kernel {
            self.command.signal(received.signal);
        }
    }

    /// SIGTERM, and to who is left after the grace period SIGKILL. Who is killed is reaped too: where
    /// nothing else does that, as in most containers, it would stay for ever.
    fn end(&mut self, grace: Duration, signals: &Signals) -> Result<Exit, Failure> {
        self.family.tree().signal(Signal::SIGTERM);
        let kill_at = Instant::now() + grace;
        // Those count too that were started since.
        while self.ended()?.is_none() || self.family.tree().is_alive() {
            if Instant::now() >= kill_at {
                self.kill()?;
                break;
            }
            if let Some(received) = signals.next(Some(POLL)) {
                self.pass_on(received);
            }
        }
        self.ended()?;
        Ok(TIMED_OUT)
    }

    /// SIGKILL to all who are left, and to those whom they have started meanwhile.
    fn kill(&mut self) -> Result<(), Failure> {
        let until = Instant::now() + KILLED;
        loop {
            // What it was listed without, one that was killed before may have started.
            let tree = self.family.tree();
            if (self.ended()?.is_some() && !tree.is_alive()) || Instant::now() >= until {
                return Ok(());
            }
            tree.signal(Signal::SIGKILL);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The stacks of every Go program in the tree, as far as they can be had: nothing about it may
    /// keep the command from being ended.
    fn dump(&mut self, arguments: &RunArgs) {
        let limit = duration(arguments.timeout.unwrap_or_default());
        let read = self.snapshots();
        let problem = read.why();
        let Readings { found: snapshots, problems, .. } = read;
        let mut text = Vec::new();
        for snapshot in &snapshots {
            let tests = tests_running::tests_running(snapshot);
            if !tests.is_empty() {
                self.streams.note(&format!("tests that were running in pid {}:", snapshot.target.pid));
            }
            for test in tests {
                // Nothing more can be done when stderr is closed.
                let _ = writeln!(self.streams.err, "  {test}");
            }
        }
        for snapshot in &snapshots {
            // Writing to a Vec cannot fail.
            let _ = write_stacks(&mut text, snapshot);
        }
        // A file that an earlier run left is worth more than an empty one.
        let goal = self.dump.as_ref().filter(|_| !snapshots.is_empty());
        let written = goal.map(|goal| write_file(goal, |out| out.write_all(&text)).map(|()| goal.path()));
        let in_a_file = matches!(written, Some(Ok(_)));
        let what = match (written, problem) {
            (_, Some(problem)) if snapshots.is_empty() => format!("its stacks could not be read: {problem}"),
            (None, _) => "its stacks follow".to_owned(),
            (Some(Ok(path)), _) => format!("its stacks are in {}", path.display()),
            // They are not lost for that.
            (Some(Err(failure)), _) => format!("{}; its stacks follow", failure.message()),
        };
        self.streams.note(&format!("the command did not end within {limit}; {}", clean_lines(&what)));
        for problem in problems.iter().filter(|_| !snapshots.is_empty()) {
            self.streams.note(&format!("stacks could not be read: {}", clean_lines(problem)));
        }
        if !in_a_file {
            // Nothing more can be done when stderr is closed.
            let _ = self.streams.err.write_all(&text);
        }
    }

    /// One of every Go program, with all threads stopped where they can be.
    fn snapshots(&self) -> Readings<Snapshot> {
        each(&self.family.living(), |wanted| {
            // A stop shows running goroutines too, but is not worth to lose the others. What a filter of
            // its system calls may do to it then is no loss: it is about to be ended.
            let filtered = TargetSpec { freeze_filtered: true, ..wanted.clone() };
            self.snapshot(&filtered, Some(FreezeMode::All)).or_else(|_| self.snapshot(wanted, None))
        })
    }

    /// Reads a program with the threads stopped that were asked for, and judges it.
    fn judge<'r>(
        &self,
        readers: &mut Readers<'r>,
        wanted: &TargetSpec,
        judges: &mut Judges<'r>,
        occasion: Occasion,
    ) -> Result<(), SourceFailure> {
        let options = CaptureOptions { stacks: true, waits: true, freeze: self.freeze, ..CaptureOptions::default() };
        let wanted = self.freezable(wanted);
        let is_capture = occasion == Occasion::Capture;
        let snapshot = readers.read((self.sources, &wanted), &options, judges.rules(), is_capture)?;
        judges.look(snapshot, occasion);
        Ok(())
    }

    fn freezable(&self, wanted: &TargetSpec) -> TargetSpec {
        TargetSpec { freeze_filtered: self.freeze_filtered, ..wanted.clone() }
    }

    fn snapshot(&self, wanted: &TargetSpec, freeze: Option<FreezeMode>) -> Result<Snapshot, SourceFailure> {
        let options =
            CaptureOptions { stacks: true, waits: true, traceback: true, freeze, ..CaptureOptions::default() };
        let captured = self.sources.open(wanted)?.capture(&options);
        captured.map_err(|error| SourceFailure::at(&wanted.location, error))
    }

    /// Of every Go program: judges it where there are rules, and writes it where there is a directory.
    fn take_captures(&mut self) {
        let number = self.written + 1;
        let mut judges = self.judges.take();
        let (mut heaps, mut readers) = (std::mem::take(&mut self.heaps), std::mem::take(&mut self.readers));
        let mut heap_problems = Vec::new();
        let living = self.family.living();
        readers.keep(living.iter().map(|(pid, _)| *pid));
        let read = each(&living, |wanted| {
            let mut written = None;
            match (&self.output, &mut judges) {
                (Some(directory), judges) => {
                    let (image, snapshot) = self.sources.record(&self.freezable(wanted), self.freeze)?;
                    written = Some(write_capture(&image, &snapshot, directory, number));
                    // That it could not be written is no reason not to judge it.
                    if let Some(judges) = judges {
                        judges.look(snapshot, Occasion::Capture);
                    }
                }
                (None, Some(judges)) => self.judge(&mut readers, wanted, judges, Occasion::Capture)?,
                // Nothing is written, and nothing judged.
                (None, None) => {}
            }
            if let Some(judges) = &mut judges {
                heap_problems.extend(look_at_heap(&mut heaps, self.sources, wanted, judges));
                heap_problems.extend(self.look_for_leaks(wanted, judges));
            }
            Ok(written)
        });
        if !read.problems.is_empty()
            && let Some(judges) = &mut judges
        {
            judges.miss();
        }
        self.judges = judges;
        (self.heaps, self.readers) = (heaps, readers);
        for problem in &heap_problems {
            self.streams.note(&clean_lines(problem));
        }
        let nothing = if self.output.is_some() { "no capture was written" } else { "nothing was judged this time" };
        for problem in &read.problems {
            let what = if read.found.is_empty() { nothing } else { "a process could not be read" };
            self.streams.note(&format!("{what}: {}", clean_lines(problem)));
        }
        if read.found.is_empty() && read.problems.is_empty() {
            let why = read.why().unwrap_or_else(|| "it has ended".to_owned());
            self.note(&format!("{nothing}: {}", clean_lines(&why)));
        }
        if !read.found.is_empty() {
            self.written = number;
        }
        for written in read.found.into_iter().flatten() {
            match written {
                Ok(line) => self.note(&line),
                Err(failure) => {
                    self.streams.note(&format!("a capture was not written: {}", clean_lines(failure.message())));
                }
            }
        }
    }

    /// Reads the heap for the rule that takes it once, and gives why that could not be done. What ends meanwhile had its
    /// turn.
    fn look_for_leaks(&self, wanted: &TargetSpec, judges: &mut Judges<'_>) -> Option<String> {
        let pid = wanted.pid().filter(|_| judges.take_the_heap())?;
        let freeze = self.freeze == Some(FreezeMode::All);
        match self.sources.leaks(&self.freezable(wanted), freeze, &mut |_| {}) {
            Ok((snapshot, leaks)) => {
                judges.look_for_leaks(pid, Some((&snapshot, &leaks)));
                None
            }
            Err(failure) if failure.kind() == Some(ErrorKind::Gone) => None,
            Err(failure) => {
                judges.look_for_leaks(pid, None);
                Some(format!("--no-leaks: pid {pid}: {}", Failure::from(failure).message()))
            }
        }
    }

    fn note(&mut self, text: &str) {
        if !self.quiet {
            self.streams.note(text);
        }
    }
}

/// Writes a capture, and gives a line about it.
fn write_capture(
    image: &ElfImage,
    snapshot: &Snapshot,
    directory: &Arc<Directory>,
    number: u32,
) -> Result<String, Failure> {
    let name = format!("{}-{}-{number:04}.capture", file_name(snapshot), snapshot.target.pid);
    let description = description(snapshot);
    let goal = Goal::inside(directory, &name, capture_file::replaces(false, false))?;
    let written = capture_file::write(&goal, image, Some(&description))
        .map_err(|error| Failure::new(FAILED, error.to_string()))?;
    let what = counted(description.goroutines, "goroutine", "goroutines");
    Ok(format!("{}: {what}, {}", goal.path().display(), bytes(written.len)))
}

/// What was read of the processes of the tree.
struct Readings<T> {
    found: Vec<T>,
    /// What is not Go, or has ended meanwhile, is expected in a tree: why one could not be read.
    expected: Option<String>,
    /// Why others could not be read, each with its pid.
    problems: Vec<String>,
}

impl<T> Readings<T> {
    /// Why there is none or one is missing.
    fn why(&self) -> Option<String> {
        self.problems.first().or(self.expected.as_ref()).cloned()
    }
}

/// What `read` gives of every Go program among these.
fn each<T>(living: &[Born], mut read: impl FnMut(&TargetSpec) -> Result<T, SourceFailure>) -> Readings<T> {
    let mut readings = Readings { found: Vec::new(), expected: None, problems: Vec::new() };
    for &(pid, start_ticks) in living {
        match read(&TargetSpec::process(pid, None)) {
            Ok(one) => readings.found.push(one),
            // Reading a process while it ends can fail in many ways.
            Err(failure)
                if matches!(failure.kind(), Some(ErrorKind::NotGo | ErrorKind::Gone))
                    || !child::runs(pid, start_ticks) =>
            {
                readings.expected.get_or_insert_with(|| Failure::from(failure).message().to_owned());
            }
            Err(failure) => readings.problems.push(format!("pid {pid}: {}", Failure::from(failure).message())),
        }
    }
    readings
}

/// The failure, and what has become of the command.
fn left_running(failure: Failure, pid: i32) -> Failure {
    if !child::start_ticks(pid).is_ok_and(|start_ticks| child::runs(pid, start_ticks)) {
        return failure;
    }
    Failure::new(failure.exit(), format!("{}\nthe command runs on as pid {pid}", failure.message()))
}

/// Text of several lines without anything that means something to a terminal.
fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

fn not_waited_for(error: Errno) -> Failure {
    Failure::new(FAILED, format!("the command cannot be waited for: {error}"))
}

fn write_stacks(out: &mut dyn std::io::Write, snapshot: &Snapshot) -> std::io::Result<()> {
    let target = &snapshot.target;
    let index = Index::new(snapshot);
    let goroutines = &snapshot.goroutines;
    let users: Vec<usize> = (0..goroutines.len()).filter(|&at| goroutines.get(at).is_some_and(|g| !g.system)).collect();
    let what = format!("pid {}: {} ({})", target.pid, target.cmdline.join(" "), target.go_version);
    writeln!(out, "\n{}\n", clean(&what))?;
    traceback::write_all(out, &index, &users, TracebackOptions::for_version(&target.go_version))
}

/// The executable's name, without anything that means something in a path or to a shell.
fn file_name(snapshot: &Snapshot) -> String {
    let name = snapshot.target.exe.rsplit('/').next().unwrap_or_default();
    let harmless = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    let name: String = name.chars().take(64).map(harmless).collect();
    if name.is_empty() { "go".to_owned() } else { name }
}

/// Reads the heap for the rule that takes a reading with each capture, and gives why that could not be done. What ends
/// meanwhile had its turn.
fn look_at_heap(
    heaps: &mut BTreeMap<i32, Box<dyn HeapSource>>,
    sources: &dyn Sources,
    wanted: &TargetSpec,
    judges: &mut Judges<'_>,
) -> Option<String> {
    let pid = wanted.pid().filter(|_| judges.watch_the_heap())?;
    let read = match heaps.remove(&pid) {
        Some(mut opened) => opened.read().map(|reading| (opened, reading)),
        None => sources.heap(wanted).and_then(|mut opened| opened.read().map(|reading| (opened, reading))),
    };
    match read {
        Ok((opened, reading)) => {
            judges.look_at_heap(&reading);
            heaps.insert(pid, opened);
            None
        }
        Err(failure) if failure.kind() == Some(ErrorKind::Gone) => None,
        Err(failure) => Some(format!("--max-heap-growth: pid {pid}: {}", Failure::from(failure).message())),
    }
}
