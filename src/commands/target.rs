//! Which running program is meant: a pid, a name, or nothing where only one runs.
//!
//! A word of digits is a pid, any other a name; `--name` takes digits for a name too. Where a name, or
//! no name at all, means several programs, the user chooses on a terminal; elsewhere that is an error
//! with the list. A process that was found is held by its start time: should it end and another one get
//! its pid, that one is not read in its place.

use std::io::{BufRead, Read};
use std::path::Path;
use std::str::FromStr;

use clap::{Args, ValueHint};

use super::source::Sources;
use super::streams::Streams;
use super::{Exit, Failure, completion};
use crate::inspect::names;
use crate::inspect::processes::{Inventory, Process, remedy};
use crate::process::proc_dir::ProcDir;
use crate::report::clean::clean;
use crate::report::processes::{Numbers, write_list};
use crate::report::text::TextStyle;
use crate::report::units::counted;

/// Most rows of a list to choose from, and of one in an error.
const MOST_CHOICES: usize = 50;
const MOST_IN_ERROR: usize = 20;
/// How often a choice that is none is asked for again.
const QUESTIONS: usize = 3;
/// Most bytes of an answer.
const LONGEST_ANSWER: u64 = 1_024;
/// Most pids that are named in a sentence.
const MOST_PIDS: usize = 5;

/// A running program as it is typed without an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Digits.
    Pid(i32),
    /// Anything else.
    Name(String),
}

impl FromStr for Word {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err("give a pid or a name");
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Name(text.to_owned()));
        }
        let pid = text.parse().ok().filter(|pid| *pid > 0).map(Self::Pid);
        pid.ok_or("this is no pid; --name reads a program whose name is a number")
    }
}

/// A running program that was found by its name, or chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) pid: i32,
    /// Clock ticks after boot; `None` for a process that was named by its pid, whichever it is.
    pub(super) start_ticks: Option<u64>,
}

/// A running program, by options.
#[derive(Args, Debug)]
pub(super) struct RunningArgs {
    /// Process with this pid
    #[arg(long, short, value_name = "PID", value_hint = ValueHint::Other, add = completion::pids(), value_parser = clap::value_parser!(i32).range(1..))]
    pid: Option<i32>,
    /// Program with this name, even if it is a number
    #[arg(long, value_name = "NAME", hide_short_help = true, value_hint = ValueHint::Other, add = completion::names(), conflicts_with = "pid", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    name: Option<String>,
    #[arg(skip)]
    found: Option<Found>,
}

impl RunningArgs {
    /// The process, once names have been looked up.
    pub(super) fn process(&self) -> Option<(i32, Option<u64>)> {
        let found = self.found.map(|found| (found.pid, found.start_ticks));
        found.or(self.pid.map(|pid| (pid, None)))
    }

    /// Whether a process was named.
    pub(super) fn is_given(&self) -> bool {
        self.pid.is_some() || self.name.is_some()
    }

    /// Looks up what was typed by option or as a `word`; nothing happens where neither was.
    pub(super) fn look_up(&mut self, word: Option<&Word>, finder: &mut Finder<'_, '_>) -> Result<(), Failure> {
        match (&self.name, word) {
            (Some(name), _) => self.found = Some(finder.by_name(name)?),
            (None, Some(word)) => self.found = Some(finder.by_word(word)?),
            (None, None) => {}
        }
        Ok(())
    }

    /// The same; where neither was, the only Go program that runs, or the one that is chosen.
    pub(super) fn look_up_or_choose(
        &mut self,
        word: Option<&Word>,
        finder: &mut Finder<'_, '_>,
    ) -> Result<(), Failure> {
        self.look_up(word, finder)?;
        if self.process().is_none() {
            self.found = Some(finder.only()?);
        }
        Ok(())
    }
}

/// Finds running programs, and asks where there are several.
pub(super) struct Finder<'a, 'b> {
    pub(super) sources: &'a dyn Sources,
    pub(super) streams: &'a mut Streams<'b>,
    /// Whether nothing is said beside results and errors.
    pub(super) quiet: bool,
    /// The command that was perhaps meant by a word that is none.
    pub(super) similar_command: Option<String>,
}

impl Finder<'_, '_> {
    /// What was typed.
    pub(super) fn by_word(&mut self, word: &Word) -> Result<Found, Failure> {
        match word {
            Word::Pid(pid) => self.by_pid(*pid),
            Word::Name(name) => self.by_name(name),
        }
    }

    /// A program that is called so.
    fn by_name(&mut self, name: &str) -> Result<Found, Failure> {
        let all = self.sources.programs()?;
        let matching = names::matching(&all, name);
        match matching.as_slice() {
            [] => Err(self.none_called(&all, name)),
            [one] => {
                if !one.is_called(name) {
                    self.say_which(one);
                }
                Ok(found(one))
            }
            several => {
                let what = counted(several.len() as u64, "program matches", "programs match");
                let is_hidden = |one: &&Process| all.hidden.iter().any(|hidden| hidden.pid == one.pid);
                if several.iter().all(is_hidden) {
                    let sudo = remedy(all.as_root);
                    let message = format!("{what} {}, and none is readable{sudo}", clean(name));
                    return Err(Failure::new(Exit::Permission, message));
                }
                self.choose(several, &format!("{what} {}", clean(name)))
            }
        }
    }

    /// The process with that pid, whether or not there is one: reading it says what is wrong.
    fn by_pid(&mut self, pid: i32) -> Result<Found, Failure> {
        let name = pid.to_string();
        if ProcDir::open(pid).is_err() && !names::matching(&self.sources.programs()?, &name).is_empty() {
            let message = format!("there is no process {pid}; --name {pid} reads the program of that name");
            return Err(Failure::new(Exit::NoProcess, message));
        }
        Ok(Found { pid, start_ticks: None })
    }

    /// The only Go program that runs, or the one that is chosen of several.
    fn only(&mut self) -> Result<Found, Failure> {
        let all = self.sources.programs()?;
        let programs: Vec<&Process> = all.programs.iter().collect();
        match programs.as_slice() {
            [] if all.hidden.is_empty() => Err(Failure::new(Exit::NoProcess, "no Go programs are running")),
            [] => Err(Failure::new(Exit::Permission, format!("no readable Go program\n{}", not_readable(&all)))),
            [one] => {
                self.say_which(one);
                Ok(found(one))
            }
            several => {
                let what = counted(several.len() as u64, "Go program is", "Go programs are");
                self.choose(several, &format!("{what} running"))
            }
        }
    }

    /// Names the program that was not typed as it is called.
    fn say_which(&mut self, process: &Process) {
        if !self.quiet {
            let which = format!("{}, pid {}", clean(process.usual_name()), process.pid);
            self.streams.note(&which);
        }
    }

    fn none_called(&self, all: &Inventory, name: &str) -> Failure {
        let mut message = format!("no Go program is called {}", clean(name));
        let others = names::others(all, name);
        let pids: Vec<String> = others.iter().take(MOST_PIDS).map(|process| process.pid.to_string()).collect();
        match others.len() {
            0 => {}
            1 => message.push_str(&format!("\nprocess {} is, but it is not a Go program", pids.join(", "))),
            n => {
                let more = if n > MOST_PIDS { ", …" } else { "" };
                message.push_str(&format!("\n{n} processes are ({}{more}), but not Go programs", pids.join(", ")));
            }
        }
        if Path::new(name).is_file() {
            message.push_str(&format!("\nto read the file: --from {}", clean(name)));
        }
        if let Some(similar) = &self.similar_command {
            message.push_str(&format!("\na similar command: gospy {similar}"));
        }
        if !all.hidden.is_empty() {
            message.push_str(&format!("\n{}", not_readable(all)));
        }
        message.push_str("\n`gospy ps` lists the Go programs that are running");
        Failure::new(Exit::NoProcess, message)
    }

    /// Asks on a terminal; elsewhere the list is in the error.
    fn choose(&mut self, several: &[&Process], what: &str) -> Result<Found, Failure> {
        if self.streams.in_is_terminal && self.streams.err_is_terminal {
            return self.ask(several, what);
        }
        let shown = several.get(..MOST_IN_ERROR).unwrap_or(several);
        let style = TextStyle { width: self.streams.out_style().width, colour: false };
        let list = list(shown, style, Numbers::None);
        let more = more(several.len(), shown.len());
        let first = several.first().map_or(0, |process| process.pid);
        let message = format!("{what}: give the pid, for example {first}\n{list}{more}");
        Err(Failure::new(Exit::Usage, message))
    }

    fn ask(&mut self, several: &[&Process], what: &str) -> Result<Found, Failure> {
        let shown = several.get(..MOST_CHOICES).unwrap_or(several);
        let style = self.streams.err_style();
        let text = format!("{what}:\n{}{}", list(shown, style, Numbers::FromOne), more(several.len(), shown.len()));
        let unwritten = |error| Failure::new(Exit::Error, format!("the terminal cannot be written to: {error}"));
        write!(self.streams.err, "{text}").map_err(unwritten)?;
        for _ in 0..QUESTIONS {
            let asked = write!(self.streams.err, "Which one? [1-{}, or a pid] ", shown.len());
            asked.and_then(|()| self.streams.err.flush()).map_err(unwritten)?;
            let mut answer = String::new();
            let read = Read::take(&mut *self.streams.input, LONGEST_ANSWER).read_line(&mut answer);
            if !read.is_ok_and(|bytes| bytes > 0) {
                // The line of the question has no end yet.
                let _ = writeln!(self.streams.err);
                break;
            }
            if let Some(chosen) = chosen(answer.trim(), shown, several) {
                return Ok(found(chosen));
            }
        }
        Err(Failure::new(Exit::Usage, "nothing was chosen"))
    }
}

/// By its number in the list, or else by its pid.
fn chosen<'p>(answer: &str, shown: &[&'p Process], all: &[&'p Process]) -> Option<&'p Process> {
    let number: i32 = answer.parse().ok()?;
    let at = usize::try_from(number).ok()?.checked_sub(1)?;
    shown.get(at).or_else(|| all.iter().find(|process| process.pid == number)).copied()
}

fn found(process: &Process) -> Found {
    Found { pid: process.pid, start_ticks: Some(process.start_ticks) }
}

fn list(processes: &[&Process], style: TextStyle, numbers: Numbers) -> String {
    let mut text = Vec::new();
    // Writing to a Vec cannot fail.
    let _ = write_list(&mut text, style, processes, numbers);
    String::from_utf8_lossy(&text).into_owned()
}

fn more(all: usize, shown: usize) -> String {
    let more = all.saturating_sub(shown) as u64;
    if more == 0 { String::new() } else { format!("… and {}\n", counted(more, "more", "more")) }
}

fn not_readable(all: &Inventory) -> String {
    let processes = counted(all.hidden.len() as u64, "process is", "processes are");
    format!("{processes} not readable{}", remedy(all.as_root))
}
