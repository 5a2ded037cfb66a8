//! `gospy top`

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use super::args::TopArgs;
use super::live::Live;
use super::source::{Depth, Source, Sources, TargetSpec};
use super::streams::Streams;
use super::{Exit, Failure, selection};
use crate::analysis::SortKey;
use crate::model::Snapshot;
use crate::process::proc_dir::ProcDir;
use crate::process::process_list::ProcessList;
use crate::top::draw::Theme;
use crate::top::order::{GroupSort, Order, SortName};
use crate::top::picture::Selection;
use crate::top::source::{SnapshotSource, SourceEnd, Successor};
use crate::top::state::{Leave, Settings, View};
use crate::top::stream::{self, Format};
use crate::top::watch::has_started_since;

/// Columns of text that goes to a file or a pipe.
const FILE_COLUMNS: u16 = 160;

pub(super) fn run(arguments: &TopArgs, sources: &dyn Sources, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    let mut settings = settings(arguments)?;
    let wanted = arguments.target.wanted();
    let depth = arguments.target.depth(false);
    let source = sources.open(&wanted)?;
    let successor = match wanted.pid() {
        Some(pid) if arguments.wait => Some(SameName::of(pid, wanted.bin.clone(), depth)?),
        _ => None,
    };
    let source: Box<dyn SnapshotSource> = match wanted.pid() {
        Some(pid) => Box::new(Opened::new(source, pid, depth, wanted.clone())),
        // What cannot be read of a file now cannot be read later either.
        None => {
            let mut source = source;
            Box::new(Recorded(Some(source.capture(&depth)?)))
        }
    };
    let successor = successor.map(|successor| -> Box<dyn Successor> { Box::new(successor) });

    let style = streams.out_style();
    if streams.out_is_terminal && io::stdin().is_terminal() && !arguments.once && !arguments.json {
        let theme = Theme { colour: style.colour };
        let save = super::save::save(wanted, depth.freeze);
        return match crate::top::run::run(source, successor, settings, theme, save) {
            Ok(Leave::Done) => Ok(Exit::Done),
            Ok(Leave::Ended(text)) => Err(Failure::new(Exit::NoProcess, text)),
            Ok(Leave::Signal(signal)) => {
                // As if it had not been caught: whoever sent it sees that it worked.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
                Ok(Exit::Error)
            }
            Err(error) => Err(Failure::new(Exit::Error, format!("the terminal cannot be used: {error}"))),
        };
    }
    if wanted.pid().is_none() {
        settings.iterations = Some(1);
    }
    let format = if arguments.json {
        Format::Json
    } else {
        let width = style.width.and_then(|width| u16::try_from(width).ok()).unwrap_or(FILE_COLUMNS);
        Format::Text { width, colour: style.colour }
    };
    let mut outcome = None;
    streams.finish(|out| {
        outcome = Some(stream::run(out, source, successor, settings, format)?);
        Ok(())
    })?;
    match outcome {
        Some(outcome) if outcome.refreshes == 0 => Err(match outcome.end {
            Some(SourceEnd::Failed(text)) => Failure::new(Exit::Error, text),
            Some(SourceEnd::Ended(text)) => Failure::new(Exit::NoProcess, text),
            Some(SourceEnd::Finished) | None => Failure::new(Exit::Error, "there was nothing to read"),
        }),
        // The end of the target is an event, and so is a reader that went away.
        _ => Ok(Exit::Done),
    }
}

fn settings(arguments: &TopArgs) -> Result<Settings, Failure> {
    let filter = selection::filter(arguments.filter.as_deref())?;
    let sort = arguments.sort.unwrap_or(SortName { groups: Some(GroupSort::Count), goroutines: Some(SortKey::Id) });
    if sort.groups == Some(GroupSort::Mark) {
        return Err(Failure::new(
            Exit::Usage,
            "--sort mark: there is no mark at the start; growth is the change since then",
        ));
    }
    let recorded = arguments.target.wanted().pid().is_none();
    if recorded && sort.groups.is_some_and(GroupSort::is_of_change) {
        let message = "--sort: a file holds one reading, so nothing in it changes; count, age and function are there";
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(Settings {
        interval: arguments.interval,
        max_cpu: f64::from(arguments.max_cpu) / 100.0,
        selection: Selection {
            grouping: arguments.group_by.clone(),
            filter,
            no_system: arguments.no_system || !(arguments.system || arguments.json),
            group_order: Order::by(sort.groups.unwrap_or_default()),
            goroutine_order: Order::by(sort.goroutines.unwrap_or(SortKey::Id)),
        },
        iterations: if arguments.once { Some(1) } else { arguments.iterations },
        wait: arguments.wait,
        recorded,
        view: if sort.groups.is_none() { View::Goroutines } else { View::Groups },
    })
}

/// An opened program, read again and again.
struct Opened {
    source: Box<dyn Source>,
    depth: Depth,
    wanted: TargetSpec,
    /// The process, with when it was started, in clock ticks after boot: another one may get its pid.
    process: Option<(i32, u64)>,
    /// When it was last read, by the target's `nanotime`.
    last_ns: Option<u64>,
}

/// How often, and after which pauses, a process that has executed another program is looked at again
/// until the runtime of that one has started.
const LOOKS: usize = 40;
const LOOKS_AT_A_ZOMBIE: usize = 4;
const PAUSE: Duration = Duration::from_millis(50);

impl SnapshotSource for Opened {
    fn next(&mut self) -> Result<Snapshot, SourceEnd> {
        let snapshot = match self.source.capture(&self.depth) {
            Ok(snapshot) => snapshot,
            Err(failure) if failure.exit() == Exit::NoProcess => match self.executed() {
                Some(snapshot) => snapshot,
                None => return Err(SourceEnd::Ended(format!("{} has ended", self.wanted.name()))),
            },
            Err(failure) => match self.reopen() {
                Some(snapshot) => snapshot,
                None => {
                    let text = failure.message().lines().next().unwrap_or_default().to_owned();
                    return Err(SourceEnd::Failed(text));
                }
            },
        };
        self.last_ns = Some(snapshot.monotonic_ns);
        Ok(snapshot)
    }
}

impl Opened {
    fn new(source: Box<dyn Source>, pid: i32, depth: Depth, wanted: TargetSpec) -> Self {
        let started = ProcDir::open(pid).and_then(|dir| dir.stat()).ok().map(|stat| stat.starttime);
        Self { source, depth, wanted, process: started.map(|started| (pid, started)), last_ns: None }
    }

    /// What the process is now, when the program that it was is gone; `None` once the process is.
    fn executed(&mut self) -> Option<Snapshot> {
        for look in 0..LOOKS {
            let (pid, started) = self.process?;
            let stat = ProcDir::open(pid).and_then(|dir| dir.stat()).ok()?;
            // Amid an execve by another thread, the main one is a zombie for a moment.
            let has_ended = matches!(stat.state, 'Z' | 'X') && look >= LOOKS_AT_A_ZOMBIE;
            if stat.starttime != started || has_ended {
                return None;
            }
            if look > 0 {
                std::thread::sleep(PAUSE);
            }
            let snapshot = self.reopen();
            if snapshot.is_some() {
                return snapshot;
            }
        }
        None
    }

    /// Opens the process anew, in case that it has executed another program since, or itself at other
    /// addresses. Otherwise the old one stays: what it has learned is worth keeping.
    fn reopen(&mut self) -> Option<Snapshot> {
        let mut source = Live.open(&self.wanted).ok()?;
        let snapshot = source.capture(&self.depth).ok()?;
        if self.last_ns.is_some_and(|last_ns| !has_started_since(last_ns, &snapshot)) {
            return None;
        }
        self.source = source;
        Some(snapshot)
    }
}

/// A capture or core file: there is one snapshot in it.
struct Recorded(Option<Snapshot>);

impl SnapshotSource for Recorded {
    fn next(&mut self) -> Result<Snapshot, SourceEnd> {
        self.0.take().ok_or(SourceEnd::Finished)
    }
}

/// Finds a process that was started from the same file, or has the same name, after the one that
/// was looked at.
struct SameName {
    pid: i32,
    bin: Option<PathBuf>,
    depth: Depth,
    exe: Option<String>,
    comm: String,
    start_ticks: u64,
}

impl SameName {
    fn of(pid: i32, bin: Option<PathBuf>, depth: Depth) -> Result<Self, Failure> {
        let unknown = |error: io::Error| Failure::new(Exit::Error, format!("--wait: /proc/{pid}: {error}"));
        let dir = ProcDir::open(pid).map_err(unknown)?;
        let stat = dir.stat().map_err(unknown)?;
        let exe = dir.exe().ok().map(|(exe, _)| exe);
        Ok(Self { pid, bin, depth, exe, comm: stat.comm, start_ticks: stat.starttime })
    }
}

impl Successor for SameName {
    fn find(&mut self) -> Option<Box<dyn SnapshotSource>> {
        let candidates = ProcessList::new().ok()?.filter(|process| {
            let same = match (&self.exe, &process.exe) {
                (Some(then), Some(now)) => then == now,
                _ => self.comm == process.comm,
            };
            same && !process.kernel_thread
                && !matches!(process.state, 'Z' | 'X')
                && (process.start_ticks, process.pid) != (self.start_ticks, self.pid)
                && process.start_ticks >= self.start_ticks
        });
        let newest = candidates.max_by_key(|process| (process.start_ticks, process.pid))?;
        let wanted = TargetSpec::process(newest.pid, self.bin.clone());
        // One that has only just been started cannot be read yet; it is found again the next time.
        let source = Live.open(&wanted).ok()?;
        (self.pid, self.start_ticks) = (newest.pid, newest.start_ticks);
        Some(Box::new(Opened::new(source, newest.pid, self.depth, wanted)))
    }
}
