//! `gospy run`: a command that is, or starts, a Go program, watched from outside.
//!
//! Signals are passed on and its status is ours. Nothing is done to it before its time is over.

mod signals;
mod tree;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::ci_args::RunArgs;
use super::files::{make_directory, write_whole};
use super::source::{Depth, Freeze, Sources, Wanted};
use super::streams::Streams;
use super::{Exit, Failure, Global};
use crate::analysis::Index;
use crate::model::Snapshot;
use crate::report::clean::clean;
use crate::report::json::{self, JsonOptions};
use crate::report::traceback::{self, TracebackOptions};
use crate::report::units::{counted, duration};
use signals::Signals;
use tree::Tree;

/// The status of timeout(1) when time was over.
const TIMED_OUT: Exit = Exit::Command(124);
/// The status of env(1), timeout(1) and others when they fail themselves.
const FAILED: Exit = Exit::Command(125);
/// How often it is looked whether descendants, of which no signal tells, have ended.
const POLL: Duration = Duration::from_millis(50);

pub(super) fn run(
    arguments: &RunArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let failed = |failure: Failure| Failure::new(FAILED, failure.message());
    let output = arguments.output.as_deref().map(make_directory).transpose().map_err(failed)?;
    let mut child = start(arguments)?;
    // Only now, as the command would inherit it. In the moment between, a signal ends this process
    // as it would have before; that the command has ended is seen without a signal.
    let signals = Signals::block(arguments.capture_on).map_err(|error| {
        // It must not run on unseen.
        let _ = child.kill().and_then(|()| child.wait());
        Failure::new(FAILED, format!("signals cannot be waited for: {error}"))
    })?;
    let now = Instant::now();
    let mut runner = Runner {
        pid: i32::try_from(child.id()).unwrap_or(i32::MAX),
        child,
        sources,
        streams,
        quiet: global.quiet,
        output,
        written: 0,
        every: arguments.capture_every.map(Duration::from_nanos),
        next_capture: arguments.capture_every.map(|ns| now + Duration::from_nanos(ns)),
        give_up_at: arguments.timeout.and_then(|ns| now.checked_add(Duration::from_nanos(ns))),
    };
    runner.watch(arguments, &signals).map_err(failed)
}

fn start(arguments: &RunArgs) -> Result<Child, Failure> {
    let (program, rest) =
        arguments.command.split_first().ok_or_else(|| Failure::new(Exit::Usage, "there is no command to run"))?;
    Command::new(program).args(rest).spawn().map_err(|error| {
        let status = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
        let message = format!("{} cannot be run: {error}", Path::new(program).display());
        Failure::new(Exit::Command(status), message)
    })
}

struct Runner<'a, 'b> {
    pid: i32,
    child: Child,
    sources: &'a dyn Sources,
    streams: &'a mut Streams<'b>,
    quiet: bool,
    output: Option<PathBuf>,
    written: u32,
    every: Option<Duration>,
    next_capture: Option<Instant>,
    give_up_at: Option<Instant>,
}

impl Runner<'_, '_> {
    /// Until the command has ended or was given up on.
    fn watch(&mut self, arguments: &RunArgs, signals: &Signals) -> Result<Exit, Failure> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(of_status(status));
            }
            let now = Instant::now();
            if self.give_up_at.is_some_and(|at| at <= now) {
                self.dump(arguments);
                return self.end(Duration::from_nanos(arguments.grace), signals);
            }
            if let (Some(at), Some(every)) = (self.next_capture, self.every)
                && at <= now
            {
                self.write_snapshots();
                // One that took longer than the interval is not made up for.
                self.next_capture = Some((at + every).max(Instant::now()));
            }
            let due = [self.give_up_at, self.next_capture].into_iter().flatten().min();
            match signals.next(due.map(|due| due.saturating_duration_since(now))) {
                Some(received) if Some(received.signal) == arguments.capture_on => self.write_snapshots(),
                Some(received) => self.pass_on(received),
                None => {}
            }
        }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child
            .try_wait()
            .map_err(|error| Failure::new(FAILED, format!("the command cannot be waited for: {error}")))
    }

    fn pass_on(&mut self, received: signals::Received) {
        // What the terminal sends, it sends to the command too.
        if received.signal != Signal::SIGCHLD && !received.by_kernel {
            tree::signal(self.pid, received.signal);
        }
    }

    /// SIGTERM, and to who is left after the grace period SIGKILL.
    fn end(&mut self, grace: Duration, signals: &Signals) -> Result<Exit, Failure> {
        let tree = Tree::of(self.pid);
        tree.signal(Signal::SIGTERM);
        let kill_at = Instant::now() + grace;
        let mut status = None;
        while status.is_none() || tree.is_alive() {
            if Instant::now() >= kill_at {
                // Those that were started since too.
                Tree::of(self.pid).signal(Signal::SIGKILL);
                tree.signal(Signal::SIGKILL);
                let waited = self.child.wait();
                return waited.map(|_| TIMED_OUT).map_err(|error| Failure::new(FAILED, error.to_string()));
            }
            if let Some(received) = signals.next(Some(POLL)) {
                self.pass_on(received);
            }
            if status.is_none() {
                status = self.ended()?;
            }
        }
        Ok(TIMED_OUT)
    }

    /// The stacks of every Go program in the tree, as far as they can be had: nothing about it may
    /// keep the command from being ended.
    fn dump(&mut self, arguments: &RunArgs) {
        let limit = duration(arguments.timeout.unwrap_or_default());
        let (snapshots, problem) = self.snapshots(Some(Freeze::Running));
        let mut text = Vec::new();
        for snapshot in &snapshots {
            // Writing to a Vec cannot fail.
            let _ = write_stacks(&mut text, snapshot);
        }
        let what = match (&arguments.dump, problem) {
            (_, Some(problem)) if snapshots.is_empty() => format!("its stacks cannot be told: {problem}"),
            (None, _) => "its stacks follow".to_owned(),
            (Some(path), _) => match write_whole(path, |out| out.write_all(&text)) {
                Ok(()) => format!("its stacks are in {}", path.display()),
                Err(failure) => failure.message().to_owned(),
            },
        };
        self.streams.note(&format!("the command did not end within {limit}; {}", clean(&what).replace("\\n", "\n")));
        if arguments.dump.is_none() {
            // There is nobody left to tell when stderr is closed.
            let _ = self.streams.err.write_all(&text);
        }
    }

    /// Every Go program of the tree, and why there is none or one is missing.
    fn snapshots(&self, freeze: Option<Freeze>) -> (Vec<Snapshot>, Option<String>) {
        let (mut snapshots, mut problem) = (Vec::new(), None);
        for pid in Tree::of(self.pid).pids() {
            let depth = |freeze| Depth { stacks: true, dead: false, freeze, c_frames: false };
            let snapshot = self.sources.open(&Wanted::process(pid, None)).and_then(|mut source| {
                // Running goroutines are worth a stop, but not worth to lose the others.
                source.capture(&depth(freeze)).or_else(|_| source.capture(&depth(None)))
            });
            match snapshot {
                Ok(snapshot) => snapshots.push(snapshot),
                // What is not Go, or has ended meanwhile, is expected in a tree.
                Err(failure) if matches!(failure.exit(), Exit::NotGo | Exit::NoProcess) => {
                    problem.get_or_insert_with(|| failure.message().to_owned());
                }
                Err(failure) => problem = Some(failure.message().to_owned()),
            }
        }
        (snapshots, problem)
    }

    fn write_snapshots(&mut self) {
        let Some(directory) = self.output.clone() else { return };
        let (snapshots, problem) = self.snapshots(None);
        if snapshots.is_empty() {
            let why = problem.unwrap_or_else(|| "it has ended".to_owned());
            self.note(&format!("no snapshot was written: {why}"));
            return;
        }
        self.written += 1;
        for snapshot in &snapshots {
            let path =
                directory.join(format!("{}-{}-{:04}.json", file_name(snapshot), snapshot.target.pid, self.written));
            let index = Index::new(snapshot);
            let all: Vec<usize> = (0..snapshot.goroutines.len()).collect();
            let options = JsonOptions { frames: true, ..JsonOptions::default() };
            match write_whole(&path, |out| json::write(out, &index, &all, &options)) {
                Ok(()) => {
                    let goroutines = counted(u64::try_from(all.len()).unwrap_or(u64::MAX), "goroutine", "goroutines");
                    self.note(&format!("{goroutines} written to {}", path.display()));
                }
                Err(failure) => self.note(failure.message()),
            }
        }
    }

    fn note(&mut self, text: &str) {
        if !self.quiet {
            self.streams.note(text);
        }
    }
}

fn of_status(status: ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt as _;
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Exit::Command(number.and_then(|number| u8::try_from(number).ok()).unwrap_or(u8::MAX))
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
