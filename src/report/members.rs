//! Goroutines of a census in words and in JSON: what reports about several snapshots have in common.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::clean::clean;
use super::place::PlaceWords;
use super::stack_groups::waits;
use super::text::{Role, TextStyle};
use crate::analysis::WaitRange;
use crate::analysis::census::{Census, Member};
use crate::analysis::place::Place;
use crate::go_names::{minor_of, printed};
use crate::model::{FrameId, StackFrame, SymbolPool};

/// A line of source.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Line<'a> {
    /// Function.
    pub function: &'a str,
    /// Source file.
    pub file: Option<&'a str>,
    /// Line in it.
    pub line: Option<u32>,
}

/// Where a goroutine is in the user's code: the innermost frame that is not the standard library's, or
/// that of the main module which called it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UserPlace<'a> {
    /// Function.
    pub function: &'a str,
    /// Source file.
    pub file: Option<&'a str>,
    /// Line in it.
    pub line: Option<u32>,
    /// The innermost function of another module that it calls; null where it calls none.
    pub callee: Option<&'a str>,
    /// The function of the standard library that it is in; null where there is none but the runtime's.
    pub operation: Option<&'a str>,
    /// Whether it is only where it started: where it is now is not known.
    pub started_in: bool,
}

impl<'a> UserPlace<'a> {
    /// Of a place.
    #[must_use]
    pub fn of(pool: &'a SymbolPool, place: Place) -> Option<Self> {
        let spot = place.spot()?;
        let frame = pool.frame(spot.frame)?;
        let function = |frame: Option<FrameId>| frame.map(|frame| pool.function(frame));
        Some(Self {
            function: pool.str(frame.function),
            file: Some(pool.str(frame.file)).filter(|file| !file.is_empty()),
            line: Some(frame.line).filter(|line| *line > 0),
            callee: function(spot.callee),
            operation: function(spot.operation),
            started_in: matches!(place, Place::StartedIn(_)),
        })
    }
}

/// A frame of a stack.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct StackLine<'a> {
    /// Function.
    pub function: &'a str,
    /// Source file.
    pub file: Option<&'a str>,
    /// Line in it.
    pub line: Option<u32>,
    /// Whether a normal traceback leaves it out.
    pub hidden: bool,
}

/// One goroutine of a group, without what distinguishes it from the others.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Example<'a> {
    /// Its id.
    pub id: u64,
    /// Its state. Open enumeration.
    pub state: &'a str,
    /// Why it waits, in the target's own words.
    pub wait_reason: Option<&'a str>,
    /// Where it is: the innermost frame that is not the runtime's.
    pub current: Option<Line<'a>>,
    /// Where it is in the user's code; null where nothing is known.
    pub place: Option<UserPlace<'a>>,
    /// The function that it started in.
    pub start: Option<Line<'a>>,
    /// The go statement that created it.
    pub creator: Option<Line<'a>>,
    /// Its stack, innermost first; null where it is not known.
    pub frames: Option<Vec<StackLine<'a>>>,
}

/// Known waits in a group.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(crate) struct Waits {
    /// Shortest, ns.
    pub shortest_ns: u64,
    /// Longest, ns.
    pub longest_ns: u64,
    /// How many are known.
    pub known: u64,
    /// Of these, how many were measured by reading the program more than once.
    pub watched: u64,
}

impl From<WaitRange> for Waits {
    fn from(range: WaitRange) -> Self {
        Self {
            shortest_ns: range.shortest_ns,
            longest_ns: range.longest_ns,
            known: range.known,
            watched: range.watched,
        }
    }
}

/// One of the snapshots that a report is about.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Side<'a> {
    /// The file's name, or the pid in words.
    pub name: &'a str,
    /// Process id; null where it was not written down.
    pub pid: Option<i32>,
    /// Path of the executable.
    pub exe: &'a str,
    /// Go's build id.
    pub build_id: Option<&'a str>,
    /// The toolchain.
    pub go_version: &'a str,
    /// When it was read; RFC 3339, UTC.
    pub captured_at: String,
    /// What the program died of, on one line; null for one that lived.
    pub died: Option<&'a str>,
    /// Whether everything that was asked for was there.
    pub complete: bool,
    /// How many goroutines there were, the runtime's own included.
    pub total: u64,
    /// How many of them were listed.
    pub listed: u64,
}

impl<'a> Side<'a> {
    pub(super) fn of(census: &'a Census) -> Self {
        Self {
            name: &census.name,
            pid: census.program.pid,
            exe: &census.program.exe,
            build_id: census.program.build_id.as_deref(),
            go_version: &census.program.go_version,
            captured_at: super::json::time(census.captured_at_unix_ns),
            died: census.died.as_ref().map(|died| died.headline.as_str()),
            complete: census.complete,
            total: census.total,
            listed: u64::try_from(census.members.len()).unwrap_or(u64::MAX),
        }
    }

    /// `before.json: orders (pid 4242), go1.26.6, 2026-05-28T20:26:40Z`.
    pub(super) fn words(&self) -> String {
        let mut parts = Vec::new();
        let name = self.exe.rsplit('/').next().unwrap_or_default();
        let of_pid = self.pid.map(|pid| format!("pid {pid}")).filter(|pid| pid != self.name);
        match (name, of_pid) {
            ("", None) => {}
            ("", Some(pid)) => parts.push(pid),
            (name, None) => parts.push(name.to_owned()),
            (name, Some(pid)) => parts.push(format!("{name} ({pid})")),
        }
        parts.push(self.go_version.to_owned());
        parts.push(self.captured_at.split_once('.').map_or_else(|| self.captured_at.clone(), |(s, _)| format!("{s}Z")));
        parts.retain(|part| !part.is_empty());
        clean(&format!("{}: {}", self.name, parts.join(", "))).into_owned()
    }
}

/// Puts members into words: names as the runtime of their Go version prints them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    pool: &'a SymbolPool,
    minor: u32,
    system: bool,
}

impl<'a> Words<'a> {
    /// For the goroutines of a program of this version; with `system`, stacks show what a normal
    /// traceback hides.
    #[must_use]
    pub(crate) fn new(pool: &'a SymbolPool, go_version: &str, system: bool) -> Self {
        // Without a version, the rules of the newest.
        Self { pool, minor: minor_of(go_version).unwrap_or(27), system }
    }

    /// The names.
    pub(super) fn pool(&self) -> &'a SymbolPool {
        self.pool
    }

    /// Why it waits, or its state.
    #[must_use]
    pub(crate) fn state(&self, member: &Member) -> String {
        clean(self.pool.str(member.reason.unwrap_or(member.state))).into_owned()
    }

    /// What stands in brackets: the state, and how long they have waited.
    pub(super) fn bracket(&self, member: &Member, wait: Option<WaitRange>, count: u64) -> String {
        match waits(wait, count) {
            Some(waited) => format!("[{}, {waited}]", self.state(member)),
            None => format!("[{}]", self.state(member)),
        }
    }

    /// Name of the function at a line.
    #[must_use]
    pub(crate) fn function(&self, line: Option<FrameId>) -> String {
        match line.map(|id| self.pool.function(id)).filter(|name| !name.is_empty()) {
            Some(name) => clean(&printed(name, self.minor)).into_owned(),
            None => "unknown".to_owned(),
        }
    }

    /// Where a member is in the user's code.
    #[must_use]
    pub(crate) fn place(&self, member: &Member) -> String {
        self.place_words(member).map_or_else(|| self.function(None), |words| words.line())
    }

    /// The same with file and line, for a cell that shrinks as a place.
    pub(super) fn place_cell(&self, member: &Member) -> String {
        self.place_words(member).map_or_else(|| self.function(None), |words| words.cell())
    }

    fn place_words(&self, member: &Member) -> Option<PlaceWords> {
        let words = PlaceWords::of(self.pool, member.place)?;
        Some(PlaceWords { function: printed(&words.function, self.minor).into_owned(), ..words })
    }

    /// File and line, where known.
    #[must_use]
    pub(crate) fn source(&self, line: Option<FrameId>) -> Option<String> {
        let frame = self.pool.frame(line?)?;
        let file = self.pool.str(frame.file);
        (!file.is_empty()).then(|| clean(&format!("{file}:{}", frame.line)).into_owned())
    }

    /// The stack of a member as the runtime prints it: each call on a line, and where below it.
    #[must_use]
    pub(crate) fn stack(&self, member: &Member) -> Vec<StackText> {
        let mut text = Vec::new();
        let mut call = |what: String, line| {
            text.push(StackText { text: what, is_source: false });
            text.extend(self.source(line).map(|text| StackText { text, is_source: true }));
        };
        match member.stack {
            Some(_) => {
                for frame in self.frames(member) {
                    call(format!("{}(...)", self.function(Some(frame.frame))), Some(frame.frame));
                }
            }
            // Nothing but its ends is known.
            None if member.current.is_some() && member.current != member.start => {
                call(format!("{}(...)", self.function(member.current)), member.current);
                call("...".to_owned(), None);
            }
            None => {}
        }
        if member.stack.is_none() && member.start.is_some() {
            call(format!("{}(...)", self.function(member.start)), member.start);
        }
        if member.creator.is_some() {
            call(format!("created by {}", self.function(member.creator)), member.creator);
        }
        text
    }

    /// The frames that are shown, innermost first.
    fn frames(&self, member: &Member) -> Vec<StackFrame> {
        let frames = member.stack.and_then(|id| self.pool.stack(id)).map_or(&[][..], |stack| &stack.frames);
        let all = self.system || frames.iter().all(|frame| frame.hidden);
        frames.iter().filter(|frame| all || !frame.hidden).copied().collect()
    }

    /// The lines of its stack that have a file, innermost first, and the `go` statement last.
    pub(crate) fn lines(&self, member: &Member) -> impl Iterator<Item = (&'a str, u32)> + use<'a> {
        let pool = self.pool;
        let frames = self.frames(member).into_iter().map(|frame| frame.frame);
        let ends = [member.current.filter(|_| member.stack.is_none()), member.start, member.creator];
        frames.chain(ends.into_iter().flatten()).filter_map(move |id| {
            let frame = pool.frame(id)?;
            Some((pool.str(frame.file), frame.line)).filter(|(file, _)| !file.is_empty())
        })
    }

    pub(super) fn example(&self, member: &Member) -> Example<'a> {
        let frames = member.stack.and_then(|id| self.pool.stack(id));
        Example {
            id: member.id,
            state: self.pool.str(member.state),
            wait_reason: member.reason.map(|id| self.pool.str(id)),
            current: self.line(member.current),
            place: UserPlace::of(self.pool, member.place),
            start: self.line(member.start),
            creator: self.line(member.creator),
            frames: frames.map(|stack| {
                let lines = stack.frames.iter().filter_map(|frame| {
                    let Line { function, file, line } = self.line(Some(frame.frame))?;
                    Some(StackLine { function, file, line, hidden: frame.hidden })
                });
                lines.collect()
            }),
        }
    }

    fn line(&self, id: Option<FrameId>) -> Option<Line<'a>> {
        let frame = self.pool.frame(id?)?;
        Some(Line {
            function: self.pool.str(frame.function),
            file: Some(self.pool.str(frame.file)).filter(|file| !file.is_empty()),
            line: Some(frame.line).filter(|line| *line > 0),
        })
    }
}

/// A line of a stack in text, cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StackText {
    /// The text.
    pub text: String,
    /// Whether it says where rather than what.
    pub is_source: bool,
}

/// Writes a stack, each line indented by `indent`.
pub(super) fn write_stack(out: &mut dyn Write, style: TextStyle, indent: &str, stack: &[StackText]) -> io::Result<()> {
    for line in stack {
        if line.is_source {
            writeln!(out, "{indent}    {}", style.paint(Role::Dim, &line.text))?;
        } else {
            writeln!(out, "{indent}{}", line.text)?;
        }
    }
    Ok(())
}

/// The same without colours, as one text.
pub(super) fn stack_text(indent: &str, stack: &[StackText]) -> String {
    let mut out = Vec::new();
    // Writing to a Vec cannot fail, and all of it is text.
    let _ = write_stack(&mut out, TextStyle::default(), indent, stack);
    String::from_utf8_lossy(&out).into_owned()
}
