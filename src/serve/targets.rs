//! The programs that are served: which, and what is kept open of each.
//!
//! A program that is not chosen, or that cannot be read, is not there: to a caller both look like a pid that
//! nobody has. New ones are looked for when somebody asks for the list or for one that is not known, and not more
//! often than each few seconds; one that has ended is noticed when it is read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::capture::{OpenOptions, Session, SourceError};
use crate::inspect::processes::{Inventory, Process};
use crate::model::RuntimeMetrics;
use crate::process::live::LiveTarget;
use crate::process::{Accounting, ErrorKind, Target as _, TargetError};

/// Programs to serve.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// By pid.
    pub pids: Vec<i32>,
    /// By name.
    pub names: Vec<Pattern>,
    /// Every one that can be read.
    pub all: bool,
}

/// A name, in which `*` is any text and `?` any character.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    expression: Option<regex::Regex>,
}

impl Pattern {
    /// A pattern as it was typed. One without `*` and `?` is a name, or the start of a container's id.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let is_pattern = text.contains(['*', '?']);
        let expression = regex::escape(text).replace(r"\*", ".*").replace(r"\?", ".");
        let expression = is_pattern.then(|| regex::Regex::new(&format!("^(?s:{expression})$")).ok()).flatten();
        Self { text: text.to_owned(), expression }
    }

    fn matches(&self, process: &Process) -> bool {
        match &self.expression {
            Some(expression) => process.names().any(|name| expression.is_match(name)),
            None => process.is_called(&self.text),
        }
    }
}

impl Choice {
    fn has(&self, process: &Process) -> bool {
        self.all || self.pids.contains(&process.pid) || self.names.iter().any(|pattern| pattern.matches(process))
    }
}

/// Most programs that are served at once; the rest are left out, newest first.
const MOST: usize = 200;
/// New programs are not looked for more often.
const PAUSE: Duration = Duration::from_secs(3);

/// Why a program gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It has ended, or is another program now.
    Gone,
    /// It cannot be read.
    Unreadable,
}

impl From<&SourceError> for Missing {
    fn from(error: &SourceError) -> Self {
        match error.kind() {
            ErrorKind::Gone => Self::Gone,
            _ => Self::Unreadable,
        }
    }
}

/// A program, and what is kept open of it once it has been asked for.
pub(super) struct Program {
    /// What was found out about it from outside.
    pub(super) process: Process,
    session: Mutex<Option<Session>>,
}

impl Program {
    /// Reads what monitoring asks for. One reading at a time; whoever asks meanwhile waits.
    pub(super) fn metrics(&self) -> Result<(RuntimeMetrics, Option<Accounting>), Missing> {
        let mut session = locked(&self.session);
        let read = self.opened(&mut session).and_then(|session| {
            let metrics = session.metrics().map_err(SourceError::from)?;
            // Afterwards: it says whether it was this program all the time.
            let accounting = session.target().accounting().map_err(SourceError::from)?;
            Ok((metrics, accounting))
        });
        read.map_err(|error| {
            *session = None;
            Missing::from(&error)
        })
    }

    fn opened<'a>(&self, session: &'a mut Option<Session>) -> Result<&'a mut Session, SourceError> {
        let opened = match session.take() {
            Some(opened) => opened,
            None => {
                let pid = self.process.pid;
                let target = LiveTarget::open(pid)?;
                if target.process().start_ticks != Some(self.process.start_ticks) {
                    return Err(TargetError::NoSuchProcess { pid }.into());
                }
                Session::open(Box::new(target), &OpenOptions::default())?
            }
        };
        Ok(session.insert(opened))
    }
}

/// All that are served.
pub(super) struct Targets {
    choice: Choice,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    programs: BTreeMap<i32, Arc<Program>>,
    looked: Option<Instant>,
}

impl Targets {
    pub(super) fn new(choice: Choice) -> Self {
        Self { choice, known: Mutex::default() }
    }

    /// The program with that pid.
    pub(super) fn with_pid(&self, pid: i32) -> Option<Arc<Program>> {
        let mut known = locked(&self.known);
        if let Some(program) = known.programs.get(&pid) {
            return Some(Arc::clone(program));
        }
        self.refresh(&mut known);
        known.programs.get(&pid).cloned()
    }

    /// The programs with that name.
    pub(super) fn called(&self, name: &str) -> Vec<Arc<Program>> {
        let pattern = Pattern::new(name);
        self.all().into_iter().filter(|program| pattern.matches(&program.process)).collect()
    }

    /// All of them, by pid.
    pub(super) fn all(&self) -> Vec<Arc<Program>> {
        let mut known = locked(&self.known);
        self.refresh(&mut known);
        known.programs.values().cloned().collect()
    }

    /// How many were known when they were last looked for.
    pub(super) fn count(&self) -> usize {
        locked(&self.known).programs.len()
    }

    /// Forgets one that has ended, unless another one has its pid.
    pub(super) fn forget(&self, program: &Arc<Program>) {
        let mut known = locked(&self.known);
        if known.programs.get(&program.process.pid).is_some_and(|known| Arc::ptr_eq(known, program)) {
            known.programs.remove(&program.process.pid);
            // Its successor is there already, most likely.
            known.looked = None;
        }
    }

    fn refresh(&self, known: &mut Known) {
        if known.looked.is_some_and(|looked| looked.elapsed() < PAUSE) {
            return;
        }
        known.looked = Some(Instant::now());
        let Ok(inventory) = Inventory::take() else { return };
        let mut found: Vec<Process> =
            inventory.programs.into_iter().filter(|process| self.choice.has(process)).collect();
        found.sort_by_key(|process| (process.start_ticks, process.pid));
        found.truncate(MOST);
        let mut before = std::mem::take(&mut known.programs);
        known.programs = found
            .into_iter()
            .map(|process| {
                let same = |program: &Arc<Program>| {
                    program.process.start_ticks == process.start_ticks && program.process.exe == process.exe
                };
                let program = before.remove(&process.pid).filter(same);
                let pid = process.pid;
                (pid, program.unwrap_or_else(|| Arc::new(Program { process, session: Mutex::default() })))
            })
            .collect();
    }
}

/// A panic elsewhere leaves nothing half done: what is behind these locks is replaced whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_names_or_have_wildcards() {
        let process = Process {
            name: "server".to_owned(),
            exe: Some("/usr/bin/shop-server".to_owned()),
            module: Some("example.com/shop".to_owned()),
            ..Process::default()
        };
        for pattern in ["server", "shop-server", "shop", "shop-*", "*server", "shop?server", "*"] {
            assert!(Pattern::new(pattern).matches(&process), "{pattern}");
        }
        for pattern in ["serve", "shop-", "hop*", "server?", ".*", "", "[s]erver"] {
            assert!(!Pattern::new(pattern).matches(&process), "{pattern}");
        }
    }
}
