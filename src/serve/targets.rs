//! The programs that are served: which, and what is kept open of each.
//!
//! A program that is not chosen, or that cannot be read, is not there: to a caller both look like a pid that
//! nobody has. New ones are looked for when somebody asks for the list or for one that is not known, and not more
//! often than each few seconds; one that has ended is noticed when it is read.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::analysis::Index;
use crate::analysis::series::PlaceCounts;
use crate::capture::{CaptureOptions, OpenOptions, Session, SourceError};
use crate::inspect::processes::{Inventory, Process};
use crate::model::{RuntimeMetrics, Snapshot};
use crate::process::live::LiveTarget;
use crate::process::{Accounting, ErrorKind, Target as _, TargetError};

/// Programs to serve.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// By pid, and when it was started, in ticks after the machine's: another program that has the pid later is not
    /// chosen.
    pub pids: Vec<(i32, u64)>,
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
        self.all
            || self.pids.contains(&(process.pid, process.start_ticks))
            || self.names.iter().any(|pattern| pattern.matches(process))
    }
}

/// Most programs that are served at once; the rest are left out, newest first.
const MOST: usize = 200;
/// New programs are not looked for more often.
const PAUSE: Duration = Duration::from_secs(3);
/// Programs that are read at the same time.
const READERS: usize = 8;
/// How long a snapshot is kept for others that ask for the same.
const SHARED: Duration = Duration::from_secs(1);
/// Snapshots with more goroutines are not kept for others: who needs one of their own copies it.
const LARGEST_KEPT: usize = 200_000;

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
pub struct Program {
    /// What was found out about it from outside.
    pub(crate) process: Process,
    session: Mutex<Option<Session>>,
    latest: Mutex<Option<Latest>>,
    description: OnceLock<Arc<Snapshot>>,
    places: Mutex<PlaceCounts>,
    readers: Arc<Readers>,
    /// What it is read from, where that is no process.
    #[cfg(feature = "testing")]
    made_up: Option<OpenTarget>,
}

/// Opens what a made-up program is read from.
#[cfg(feature = "testing")]
pub(crate) type OpenTarget = Box<dyn Fn() -> Result<Box<dyn crate::process::Target>, TargetError> + Send + Sync>;

/// The latest snapshot of a program.
struct Latest {
    taken: Instant,
    options: CaptureOptions,
    /// What the use of CPU time was measured over at least.
    cpu: Duration,
    snapshot: Arc<Snapshot>,
}

impl Program {
    fn new(process: Process, readers: Arc<Readers>) -> Self {
        Self {
            process,
            session: Mutex::default(),
            latest: Mutex::default(),
            description: OnceLock::new(),
            places: Mutex::default(),
            readers,
            #[cfg(feature = "testing")]
            made_up: None,
        }
    }

    /// Reads what monitoring asks for.
    pub(super) fn metrics(&self) -> Result<(RuntimeMetrics, Option<Accounting>), Missing> {
        self.read(|session| {
            let metrics = session.metrics()?;
            // Afterwards: it says whether it was this program all the time.
            let accounting = session.target().accounting()?;
            Ok((metrics, accounting))
        })
    }

    /// Reads its goroutines, unless somebody has just done so.
    pub(super) fn snapshot(&self, options: CaptureOptions) -> Result<Arc<Snapshot>, Missing> {
        self.captured(options, Duration::ZERO).map_err(|error| Missing::from(&error))
    }

    /// The same, with the use of CPU time measured over at least `cpu`. The program's arguments, which may hold
    /// secrets, are left out.
    pub(crate) fn captured(&self, options: CaptureOptions, cpu: Duration) -> Result<Arc<Snapshot>, SourceError> {
        // One at a time: who has waited here may take what was read meanwhile.
        let mut session = locked(&self.session);
        if let Some(latest) = locked(&self.latest).as_ref().filter(|latest| latest.serves(&options, cpu)) {
            return Ok(Arc::clone(&latest.snapshot));
        }
        self.attempt(&mut session, |session| {
            session.measure_cpu(cpu);
            let captured = session.capture(&options);
            session.measure_cpu(Duration::ZERO);
            let mut snapshot = captured?;
            snapshot.target.cmdline.clear();
            let snapshot = Arc::new(snapshot);
            if snapshot.goroutines.len() <= LARGEST_KEPT {
                let latest = Latest { taken: Instant::now(), options, cpu, snapshot: Arc::clone(&snapshot) };
                *locked(&self.latest) = Some(latest);
            }
            Ok(snapshot)
        })
    }

    /// How many places have ever more goroutines, by this snapshot and those before it that this was asked of.
    pub(super) fn growing(&self, index: &Index<'_>) -> Option<u64> {
        let mut places = locked(&self.places);
        places.add(index);
        places.growing()
    }

    /// What stays the same as long as it runs: a snapshot without goroutines, taken when first asked for.
    pub(super) fn description(&self) -> Result<Arc<Snapshot>, Missing> {
        if let Some(known) = self.description.get() {
            return Ok(Arc::clone(known));
        }
        let snapshot = self.read(|session| Ok(session.capture(&CaptureOptions::default())?))?;
        let description = Arc::new(Snapshot { goroutines: Vec::new().into(), ..snapshot });
        Ok(Arc::clone(self.description.get_or_init(|| description)))
    }

    /// Reads with the session that is kept for it. One reading at a time; others wait.
    pub(super) fn read<T>(&self, read: impl FnOnce(&mut Session) -> Result<T, SourceError>) -> Result<T, Missing> {
        self.attempt(&mut locked(&self.session), read).map_err(|error| Missing::from(&error))
    }

    fn attempt<T>(
        &self,
        session: &mut Option<Session>,
        read: impl FnOnce(&mut Session) -> Result<T, SourceError>,
    ) -> Result<T, SourceError> {
        let _turn = self.readers.turn();
        let result = self.counted(|| self.opened(session).and_then(read));
        if result.is_err() {
            *session = None;
        }
        result
    }

    /// Counts a reading, and the time that it takes.
    pub(crate) fn counted<T, E>(&self, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let started = Instant::now();
        let result = read();
        let mut readings = locked(&self.readers.readings);
        readings.all += 1;
        readings.failed += u64::from(result.is_err());
        readings.ns = readings.ns.saturating_add(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
        result
    }

    /// Another session, for what takes long.
    pub(super) fn session(&self) -> Result<Session, Missing> {
        let _turn = self.readers.turn();
        self.counted(|| self.open()).map_err(|error| Missing::from(&error))
    }

    fn opened<'a>(&self, session: &'a mut Option<Session>) -> Result<&'a mut Session, SourceError> {
        let opened = match session.take() {
            Some(opened) => opened,
            None => self.open()?,
        };
        Ok(session.insert(opened))
    }

    fn open(&self) -> Result<Session, SourceError> {
        #[cfg(feature = "testing")]
        if let Some(open) = &self.made_up {
            return Ok(Session::open(open()?, &OpenOptions::default())?);
        }
        let pid = self.process.pid;
        let target = LiveTarget::open(pid)?;
        if target.process().start_ticks != Some(self.process.start_ticks) {
            return Err(TargetError::NoSuchProcess { pid }.into());
        }
        let session = Session::open(Box::new(target), &OpenOptions::default())?;
        // Metrics do not need the file any more, and there may be hundreds of programs.
        session.forget_file();
        Ok(session)
    }

    /// Gives up the snapshot that nobody can ask for any more.
    fn tidy(&self) {
        locked(&self.latest).take_if(|latest| latest.taken.elapsed() >= SHARED);
    }
}

impl Latest {
    fn serves(&self, options: &CaptureOptions, cpu: Duration) -> bool {
        self.taken.elapsed() < SHARED && self.cpu >= cpu && self.options.includes(options)
    }
}

/// Turns at reading, of which there are few, and what was read so far.
struct Readers {
    turns: Mutex<Turns>,
    given_back: Condvar,
    readings: Mutex<Readings>,
}

struct Turns {
    free: usize,
    /// How many threads wait for a turn. With none, the wake-up and its system call are left out.
    awaited: usize,
}

/// Readings of programs so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Readings {
    /// All of them.
    pub(super) all: u64,
    /// Of them, those that failed.
    pub(super) failed: u64,
    /// The time that they took, ns.
    pub(super) ns: u64,
}

/// A turn, until dropped.
struct Turn<'a>(&'a Readers);

impl Readers {
    fn turn(&self) -> Turn<'_> {
        let mut turns = locked(&self.turns);
        while turns.free == 0 {
            turns.awaited += 1;
            turns = self.given_back.wait(turns).unwrap_or_else(PoisonError::into_inner);
            turns.awaited -= 1;
        }
        turns.free -= 1;
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = locked(&self.0.turns);
        turns.free += 1;
        if turns.awaited > 0 {
            self.0.given_back.notify_one();
        }
    }
}

/// All that are served.
pub(super) struct Targets {
    choice: Choice,
    known: Mutex<Known>,
    readers: Arc<Readers>,
    /// Whether they stay as they are, because they are made up.
    #[cfg(feature = "testing")]
    fixed: bool,
}

#[derive(Default)]
struct Known {
    programs: BTreeMap<i32, Arc<Program>>,
    looked: Option<Instant>,
}

impl Targets {
    pub(super) fn new(choice: Choice) -> Self {
        let readers = Readers {
            turns: Mutex::new(Turns { free: READERS, awaited: 0 }),
            given_back: Condvar::new(),
            readings: Mutex::default(),
        };
        Self {
            choice,
            known: Mutex::default(),
            readers: Arc::new(readers),
            #[cfg(feature = "testing")]
            fixed: false,
        }
    }

    /// One program that does not exist, and is read from something else.
    #[cfg(feature = "testing")]
    pub(super) fn made_up(process: Process, open: OpenTarget) -> Self {
        let targets = Self { fixed: true, ..Self::new(Choice::default()) };
        let pid = process.pid;
        let program = Program { made_up: Some(open), ..Program::new(process, Arc::clone(&targets.readers)) };
        locked(&targets.known).programs.insert(pid, Arc::new(program));
        targets
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

    /// What was read of them so far, and of those that have ended.
    pub(super) fn readings(&self) -> Readings {
        *locked(&self.readers.readings)
    }

    /// Forgets one that has ended, unless another one has its pid.
    pub(super) fn forget(&self, program: &Arc<Program>) {
        #[cfg(feature = "testing")]
        if self.fixed {
            return;
        }
        let mut known = locked(&self.known);
        if known.programs.get(&program.process.pid).is_some_and(|known| Arc::ptr_eq(known, program)) {
            known.programs.remove(&program.process.pid);
            // Its successor is there already, most likely.
            known.looked = None;
        }
    }

    /// Gives up what was kept for others that ask for the same.
    pub(super) fn tidy(&self) {
        let programs: Vec<Arc<Program>> = locked(&self.known).programs.values().cloned().collect();
        programs.iter().for_each(|program| program.tidy());
    }

    fn refresh(&self, known: &mut Known) {
        #[cfg(feature = "testing")]
        if self.fixed {
            return;
        }
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
                (pid, program.unwrap_or_else(|| Arc::new(Program::new(process, Arc::clone(&self.readers)))))
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

    #[test]
    fn a_pid_is_chosen_for_one_program_only() {
        let choice = Choice { pids: vec![(42, 1000)], ..Choice::default() };
        let process = |start_ticks| Process { pid: 42, start_ticks, ..Process::default() };
        assert!(choice.has(&process(1000)) && !choice.has(&process(1001)));
    }
}
