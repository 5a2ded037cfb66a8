//! `gospy run`: a command that is, or starts, a Go program, watched from outside.
//!
//! Signals are passed on and its status is ours. Nothing is done to it before its time is over.

mod command;
mod signals;
mod tree;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::capture::description;
use super::ci_args::RunArgs;
use super::files::{make_directory, write_whole};
use super::source::{Depth, Freeze, Sources, Wanted};
use super::streams::Streams;
use super::{Exit, Failure, Global};
use crate::analysis::Index;
use crate::model::Snapshot;
use crate::report::clean::clean;
use crate::report::traceback::{self, TracebackOptions};
use crate::report::units::{bytes, counted, duration};
use crate::target::capture_file;
use command::Command;
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
    // Blocked before the command is there, so that none is lost.
    let signals = Signals::block(arguments.capture_on)
        .map_err(|error| Failure::new(FAILED, format!("signals cannot be waited for: {error}")))?;
    let command = start(arguments, &signals)?;
    let now = Instant::now();
    let mut runner = Runner {
        command,
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

fn start(arguments: &RunArgs, signals: &Signals) -> Result<Command, Failure> {
    Command::start(&arguments.command, signals.before()).map_err(|error| {
        let status = if error == Errno::ENOENT { 127 } else { 126 };
        let name = arguments.command.first().map(Path::new).unwrap_or(Path::new("")).display();
        Failure::new(Exit::Command(status), format!("{name} cannot be run: {}", error.desc()))
    })
}

struct Runner<'a, 'b> {
    command: Command,
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
                return Ok(Exit::Command(status));
            }
            let now = Instant::now();
            if self.give_up_at.is_some_and(|at| at <= now) {
                self.dump(arguments);
                return self.end(Duration::from_nanos(arguments.grace), signals);
            }
            if let (Some(at), Some(every)) = (self.next_capture, self.every)
                && at <= now
            {
                self.write_captures();
                // One that took longer than the interval is not made up for.
                self.next_capture = Some((at + every).max(Instant::now()));
            }
            let due = [self.give_up_at, self.next_capture].into_iter().flatten().min();
            match signals.next(due.map(|due| due.saturating_duration_since(now))) {
                Some(received) if Some(received.signal) == arguments.capture_on => self.write_captures(),
                Some(received) => self.pass_on(received),
                None => {}
            }
        }
    }

    fn ended(&self) -> Result<Option<u8>, Failure> {
        self.command.ended().map_err(not_waited_for)
    }

    fn pass_on(&mut self, received: signals::Received) {
        // What the terminal sends, it sends to the command too.
        if received.signal != Signal::SIGCHLD && !received.by_kernel {
            tree::signal(self.command.pid(), received.signal);
        }
    }

    /// SIGTERM, and to who is left after the grace period SIGKILL.
    fn end(&mut self, grace: Duration, signals: &Signals) -> Result<Exit, Failure> {
        let tree = Tree::of(self.command.pid());
        tree.signal(Signal::SIGTERM);
        let kill_at = Instant::now() + grace;
        let mut status = None;
        while status.is_none() || tree.is_alive() {
            if Instant::now() >= kill_at {
                // Those that were started since too.
                Tree::of(self.command.pid()).signal(Signal::SIGKILL);
                tree.signal(Signal::SIGKILL);
                if status.is_none() {
                    self.command.wait().map_err(not_waited_for)?;
                }
                return Ok(TIMED_OUT);
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
        let (snapshots, problem) = self.snapshots();
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

    /// What `read` gives of every Go program of the tree, and why there is none or one is missing.
    fn each<T>(&self, read: impl Fn(&Wanted) -> Result<T, Failure>) -> (Vec<T>, Option<String>) {
        let (mut found, mut problem) = (Vec::new(), None);
        for pid in Tree::of(self.command.pid()).pids() {
            match read(&Wanted::process(pid, None)) {
                Ok(one) => found.push(one),
                // What is not Go, or has ended meanwhile, is expected in a tree.
                Err(failure) if matches!(failure.exit(), Exit::NotGo | Exit::NoProcess) => {
                    problem.get_or_insert_with(|| failure.message().to_owned());
                }
                Err(failure) => problem = Some(failure.message().to_owned()),
            }
        }
        (found, problem)
    }

    /// One of every Go program, with all threads stopped where they can be.
    fn snapshots(&self) -> (Vec<Snapshot>, Option<String>) {
        self.each(|wanted| {
            let mut source = self.sources.open(wanted)?;
            let depth = |freeze| Depth { stacks: true, dead: false, freeze, c_frames: false };
            // A stop shows running goroutines too, but is not worth to lose the others.
            source.capture(&depth(Some(Freeze::All))).or_else(|_| source.capture(&depth(None)))
        })
    }

    fn write_captures(&mut self) {
        let Some(directory) = self.output.clone() else { return };
        let number = self.written + 1;
        let (written, problem) = self.each(|wanted| {
            let (image, snapshot) = self.sources.record(wanted, None)?;
            let name = format!("{}-{}-{number:04}.capture", file_name(&snapshot), snapshot.target.pid);
            let description = description(&snapshot);
            let path = directory.join(name);
            let written = capture_file::write(&path, &image, Some(&description), false)
                .map_err(|error| Failure::new(FAILED, error.to_string()))?;
            let what = counted(description.goroutines, "goroutine", "goroutines");
            Ok(format!("{}: {what}, {}", path.display(), bytes(written.len)))
        });
        if written.is_empty() {
            let why = problem.unwrap_or_else(|| "it has ended".to_owned());
            self.note(&format!("no capture was written: {why}"));
            return;
        }
        self.written = number;
        for line in written {
            self.note(&line);
        }
    }

    fn note(&mut self, text: &str) {
        if !self.quiet {
            self.streams.note(text);
        }
    }
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
