//! `gospy top`

use std::io::{self, IsTerminal};
use std::sync::Arc;

use super::args::TopArgs;
use super::live::Live;
use super::player::Player;
use super::repeated::Repeated;
use super::source::{Location, Source, Sources, TargetSpec};
use super::streams::Streams;
use super::{Exit, Failure, selection};
use crate::analysis::SortKey;
use crate::capture::{CaptureOptions, SourceError};
use crate::model::{ObjectAddr, Snapshot};
use crate::process::ErrorKind;
use crate::sampling::follow::{Followed, Opener, SameName};
use crate::sampling::{Sampler, SnapshotSource, SourceEnd, Successor};
use crate::top::draw::Theme;
use crate::top::event::{Leave, Settings};
use crate::top::order::{GroupSort, Order, SortName};
use crate::top::play::Playhead;
use crate::top::stream::{self, Format};
use crate::top::tab::Tab;
use crate::top::view::Selection;

/// Columns of text that goes to a file or a pipe.
const FILE_COLUMNS: u16 = 160;

pub(super) fn run(arguments: &TopArgs, sources: &dyn Sources, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    let mut settings = settings(arguments)?;
    let wanted = arguments.target.wanted();
    let options = arguments.target.options(false);
    let is_shown = streams.out_is_terminal && io::stdin().is_terminal() && !arguments.once && !arguments.json;
    if is_shown && let Some(player) = Player::of(&wanted)? {
        settings.recorded = false;
        settings.playing = Some(player.extent());
        let playhead = player.playhead.clone();
        let theme = Theme { colour: streams.out_style().colour };
        let keys = (super::save::save(wanted.clone(), None), super::leaks::for_top(wanted));
        return left(crate::top::run::run(Sampler::new(Box::new(player)), settings, theme, keys, playhead));
    }
    let source = sources.open(&wanted)?;
    let opener: Arc<dyn Opener> = Arc::new(Processes { wanted: wanted.clone(), options });
    let successor: Option<Box<dyn Successor>> = match wanted.pid() {
        Some(pid) if arguments.wait => {
            let unknown = |error: io::Error| Failure::new(Exit::Error, format!("--wait: /proc/{pid}: {error}"));
            Some(Box::new(SameName::of(Arc::clone(&opener), pid).map_err(unknown)?))
        }
        _ => None,
    };
    let source: Box<dyn SnapshotSource> = match wanted.pid() {
        Some(pid) => Box::new(Followed::new(opener, read_from(source, options, wanted.clone()), pid)),
        // What cannot be read of a file now cannot be read later either.
        None => {
            let mut source = source;
            Box::new(Recorded(Some(source.capture(&options)?)))
        }
    };
    let sampler = Sampler::new(source).with_successor(successor);

    let style = streams.out_style();
    if is_shown {
        let theme = Theme { colour: style.colour };
        let keys = (super::save::save(wanted.clone(), options.freeze), super::leaks::for_top(wanted));
        return left(crate::top::run::run(sampler, settings, theme, keys, Playhead::default()));
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
    let (mut outcome, mut sampler) = (None, sampler);
    streams.finish(|out| {
        outcome = Some(stream::run(out, &mut sampler, settings, format)?);
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

/// What to exit with once the view was left.
fn left(outcome: io::Result<Leave>) -> Result<Exit, Failure> {
    match outcome {
        Ok(Leave::Done) => Ok(Exit::Done),
        Ok(Leave::Ended(text)) => Err(Failure::new(Exit::NoProcess, text)),
        Ok(Leave::Signal(signal)) => {
            // As if it had not been caught: the sender sees that it worked.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            Ok(Exit::Error)
        }
        Err(error) => Err(Failure::new(Exit::Error, format!("the terminal cannot be used: {error}"))),
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
        let message = "--sort: a file has one snapshot, so nothing changes; use count, age or function";
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
        playing: None,
        tab: if sort.groups.is_none() { Tab::Goroutines } else { Tab::Groups },
    })
}

/// Opens processes of this machine for the live view.
struct Processes {
    wanted: TargetSpec,
    options: CaptureOptions,
}

impl Opener for Processes {
    fn open(&self, pid: i32) -> Result<Box<dyn SnapshotSource>, SourceEnd> {
        let wanted = TargetSpec { location: Location::Process(pid), ..self.wanted.clone() };
        let source = Live.open(&wanted).map_err(|failure| {
            let kind = failure.kind();
            source_end(kind, failure, &wanted)
        })?;
        Ok(read_from(source, self.options, wanted))
    }
}

/// An opened program as a source of snapshots.
fn read_from(source: Box<dyn Source>, options: CaptureOptions, wanted: TargetSpec) -> Box<dyn SnapshotSource> {
    Box::new(Running { source: Repeated::new(source, options), wanted })
}

/// A program that may end.
struct Running {
    source: Repeated,
    wanted: TargetSpec,
}

impl Running {
    fn end(&self, error: SourceError) -> SourceEnd {
        source_end(Some(error.kind()), error, &self.wanted)
    }
}

impl SnapshotSource for Running {
    fn next(&mut self) -> Result<Snapshot, SourceEnd> {
        self.source.next().map_err(|error| self.end(error))
    }

    fn next_in_full(&mut self) -> Result<Snapshot, SourceEnd> {
        self.source.next_in_full().map_err(|error| self.end(error))
    }

    fn attend(&mut self, goroutines: &[ObjectAddr]) {
        self.source.attend(goroutines);
    }
}

fn source_end(kind: Option<ErrorKind>, error: impl Into<Failure>, wanted: &TargetSpec) -> SourceEnd {
    match kind {
        Some(ErrorKind::Gone) => SourceEnd::Ended(format!("{} has ended", wanted.name())),
        _ => SourceEnd::Failed(error.into().message().lines().next().unwrap_or_default().to_owned()),
    }
}

/// A capture or core file: there is one snapshot in it.
struct Recorded(Option<Snapshot>);

impl SnapshotSource for Recorded {
    fn next(&mut self) -> Result<Snapshot, SourceEnd> {
        self.0.take().ok_or(SourceEnd::Finished)
    }
}
