//! What `gospy why` prints for people.

use std::io::{self, Write};

use super::words;
use crate::analysis::diagnosis::Likely;
use crate::analysis::findings::{DEADLOCK, Found};
use crate::analysis::waits::{ById, Chain, ChainEnd, Cycle, WaitRow};
use crate::analysis::{Diagnosis, HeapProof, Index, PlaceKind};
use crate::heap::Grade;
use crate::model::{Goroutine, HolderEvidence, LikelyHolder, LockOperation, Wait, WaitKind, WaitObjectId};
use crate::report::clean::clean;
use crate::report::deadlock;
use crate::report::findings;
use crate::report::place::PlaceWords;
use crate::report::resources;
use crate::report::text::{Role, TextStyle, facts};
use crate::report::units::{age, count, counted};

/// Goroutines of a cycle that are named.
const MEMBERS: usize = 8;

/// Writes the chain of waits of one goroutine, a step with its evidence after the other, and what the heap shows of
/// it.
///
/// # Errors
/// Those of `out`.
pub fn chain(
    out: &mut dyn Write,
    style: TextStyle,
    index: &Index<'_>,
    chain: &Chain,
    proof: Option<&HeapProof<'_>>,
) -> io::Result<()> {
    for (nth, step) in chain.steps.iter().enumerate() {
        let Some(goroutine) = index.snapshot().goroutines.get(step.goroutine) else { continue };
        if let Some(holds) = step.holds {
            let others = match step.other_holders {
                0 => String::new(),
                more => format!(" ({} may hold it as well)", counted(number(more), "other", "others")),
            };
            let by = format!("likely held by goroutine {}{others}", goroutine.id.0);
            writeln!(out, "{}{}: {}", arrow(style), style.paint(Role::Attention, &by), evidence(index, holds))?;
        } else if nth == 0 {
            writeln!(out, "{}", style.paint(Role::Strong, &format!("goroutine {}", goroutine.id.0)))?;
        }
        for line in lines(index, goroutine) {
            writeln!(out, "  {line}")?;
        }
    }
    let (role, text) = end(index, chain);
    writeln!(out, "{}{}", arrow(style), style.paint(role, &text))?;
    let (Some(proof), Some(first)) = (proof, chain.steps.first()) else { return Ok(()) };
    let id = index.snapshot().goroutines.get(first.goroutine).map_or(0, |goroutine| goroutine.id.0);
    let grade = proof.leaks.proof.grade().name();
    for found in &proof.found {
        let text = match found.finding.code() == DEADLOCK.code() {
            true => deadlock::sentence(&ids(index, found)),
            false => format!("goroutine {id} {}", found.finding.one()),
        };
        writeln!(out, "{}{}", arrow(style), style.paint(Role::Bad, &format!("{grade}: {text}")))?;
        hint(out, style, found.finding.meaning())?;
    }
    if proof.found.is_empty() {
        writeln!(out, "{}goroutine {id} is not among the leaked ones", arrow(style))?;
    }
    Ok(())
}

fn arrow(style: TextStyle) -> String {
    style.paint(Role::Dim, "└ ")
}

/// What speaks for a holder.
fn evidence(index: &Index<'_>, holder: LikelyHolder) -> String {
    match holder.evidence {
        HolderEvidence::OnStack { function, .. } => {
            let at = match function {
                Some(name) => format!("in the frame of {}", clean(index.snapshot().symbols.str(name))),
                None => "on its stack".to_owned(),
            };
            format!("the lock's address is {at}, and it does not wait for it")
        }
    }
}

/// Where it is, what it waits for, and the state of that.
fn lines(index: &Index<'_>, goroutine: &Goroutine) -> Vec<String> {
    let snapshot = index.snapshot();
    let mut lines = Vec::new();
    if let Some(words) = PlaceWords::of(&snapshot.symbols, index.place(goroutine, PlaceKind::User)) {
        lines.push(format!("at {}  {}", words.line(), words.source).trim_end().to_owned());
    }
    let for_long = index.age(goroutine).map(|known| format!(", for at least {}", age(known.at_least_ns)));
    let does = words::waits(snapshot, goroutine);
    let does = does.unwrap_or_else(|| format!("is {}", clean(index.state_text(goroutine))));
    lines.push(format!("{does}{}", for_long.unwrap_or_default()));
    if let Some(wait) = snapshot.waiting_on(goroutine) {
        for (_, object) in snapshot.waits.objects_of(wait).take(4) {
            let state = words::state(snapshot, object);
            if !state.is_empty() {
                lines.push(format!("{}: {state}", words::object(snapshot, object)));
            }
        }
    }
    lines
}

/// What follows the last step.
fn end(index: &Index<'_>, chain: &Chain) -> (Role, String) {
    let snapshot = index.snapshot();
    let id = |step: usize| {
        let step = chain.steps.get(step);
        step.and_then(|step| snapshot.goroutines.get(step.goroutine)).map_or(0, |goroutine| goroutine.id.0)
    };
    let last = chain.steps.len().saturating_sub(1);
    let (role, text) = match chain.end {
        ChainEnd::NotBlocked => (Role::Good, format!("goroutine {} is not blocked", id(last))),
        ChainEnd::Channel => {
            (Role::Plain, "any goroutine with a reference to the channel can end this wait".to_owned())
        }
        ChainEnd::Forever => (Role::Bad, "certain: this wait never ends".to_owned()),
        ChainEnd::Outside(kind) => (Role::Plain, outside(kind, has_deadline(index, chain))),
        ChainEnd::Runtime(WaitKind::Coroutine) => (Role::Plain, "the other coroutine ends this wait".to_owned()),
        ChainEnd::Runtime(_) => (Role::Plain, "the runtime ends this wait".to_owned()),
        ChainEnd::NoHolder => (Role::Plain, no_holder(index, chain)),
        ChainEnd::HolderGone => (Role::Plain, "that goroutine has ended".to_owned()),
        ChainEnd::Cycle(first) => {
            (Role::Bad, format!("likely held by goroutine {} again: a deadlock, if so", id(first)))
        }
        ChainEnd::Unknown(Some(why)) => (Role::Attention, format!("unknown: {}", words::unknown(why))),
        ChainEnd::Unknown(None) => (Role::Attention, "what it waits for is unknown".to_owned()),
        ChainEnd::TooLong => (Role::Attention, "the chain goes on".to_owned()),
    };
    (role, text)
}

/// What the last goroutine of a chain waits for.
fn last_wait<'a>(index: &Index<'a>, chain: &Chain) -> Option<&'a Wait> {
    let snapshot = index.snapshot();
    snapshot.waiting_on(snapshot.goroutines.get(chain.steps.last()?.goroutine)?)
}

fn has_deadline(index: &Index<'_>, chain: &Chain) -> bool {
    matches!(last_wait(index, chain), Some(Wait::Poll { deadline_ns: Some(_), .. }))
}

fn no_holder(index: &Index<'_>, chain: &Chain) -> String {
    let wait = last_wait(index, chain);
    if let Some(Wait::Lock { object, operation }) = wait {
        match (operation, writer(index, *object)) {
            (LockOperation::WaitForReaders, _) => {
                return "no other goroutine is known to hold a read lock: if this one does, it waits for itself"
                    .to_owned();
            }
            (LockOperation::ReadLock, Some(writer)) => {
                return format!("goroutine {} is to write first: it waits for the readers that are left", writer.id.0);
            }
            _ => {}
        }
    }
    let text = match wait.map(|wait| index.snapshot().waits.kind(wait)) {
        Some(WaitKind::WaitGroup) => "any goroutine with a reference to it may call Done",
        Some(WaitKind::Cond) => "any goroutine with a reference to it may call Signal or Broadcast",
        Some(WaitKind::Semaphore) => "any goroutine with a reference to it may release it",
        _ => "no goroutine is known to hold it",
    };
    text.to_owned()
}

/// The goroutine that has locked an `RWMutex` to write, and waits for its readers.
fn writer<'a>(index: &Index<'a>, mutex: WaitObjectId) -> Option<&'a Goroutine> {
    let snapshot = index.snapshot();
    let wait = Wait::Lock { object: mutex, operation: LockOperation::WaitForReaders };
    snapshot.goroutines.iter().find(|goroutine| snapshot.waiting_on(goroutine) == Some(&wait))
}

fn outside(kind: WaitKind, has_deadline: bool) -> String {
    let who = match kind {
        WaitKind::Network => "the peer",
        WaitKind::File => "the other end of the file",
        WaitKind::Sleep => "the clock",
        WaitKind::C => "the C code",
        _ => "the kernel",
    };
    format!("{who} ends this wait{}", if has_deadline { ", or its deadline does" } else { "" })
}

/// Writes what is wrong for certain, what is likely wrong, and that all else looks healthy.
///
/// # Errors
/// Those of `out`.
pub fn diagnosis(
    out: &mut dyn Write,
    style: TextStyle,
    index: &Index<'_>,
    diagnosis: &Diagnosis<'_>,
    target: &str,
) -> io::Result<()> {
    let snapshot = index.snapshot();
    let limits = resources::limits(&snapshot.target.resources);
    let limits: Vec<String> = limits.into_iter().filter(|fact| fact.alarming).map(|fact| fact.text).collect();
    let proven = |grade: Grade| diagnosis.proof.as_ref().map_or(&[][..], |proof| proof.with_grade(grade));
    let (proven, confirmed) = (proven(Grade::Certain), proven(Grade::Confirmed));
    let is_calm = diagnosis.certain.is_empty()
        && diagnosis.likely.is_empty()
        && limits.is_empty()
        && (proven.is_empty() && confirmed.is_empty());
    if !is_calm {
        writeln!(out, "{}", words::title(snapshot, &diagnosis.waits))?;
    }
    if !diagnosis.certain.is_empty() || !limits.is_empty() || !proven.is_empty() {
        facts::heading(out, style, "Certain", "")?;
        for found in diagnosis.certain {
            facts::paragraph(out, style, Role::Bad, &findings::sentence(found, index))?;
            hint(out, style, found.finding.meaning())?;
            if let Some(first) = found.positions.first().and_then(|&at| snapshot.goroutines.get(at)) {
                more(out, style, &format!("gospy why {target} --goid {}", first.id.0))?;
            }
        }
        by_heap(out, style, index, proven, target)?;
        for text in limits {
            facts::paragraph(out, style, Role::Attention, &text)?;
        }
    }
    if !confirmed.is_empty() {
        facts::heading(out, style, "Confirmed", "found twice, a second apart")?;
        by_heap(out, style, index, confirmed, target)?;
    }
    if !diagnosis.likely.is_empty() {
        facts::heading(out, style, "Likely", "")?;
        for likely in &diagnosis.likely {
            likely_words(out, style, index, likely, target)?;
        }
        if diagnosis.more > 0 {
            let more = counted(number(diagnosis.more), "more like these", "more like these");
            hint(out, style, &format!("… and {more}: gospy waits {target}"))?;
        }
    }
    let user = snapshot.goroutines.iter().filter(|goroutine| !goroutine.system && !goroutine.status.is_dead()).count();
    let all = counted(number(user), "goroutine", "goroutines");
    let kinds = waits_on(diagnosis);
    if is_calm {
        let leaks = if diagnosis.proof.is_some() { ", none leaked" } else { "" };
        writeln!(out, "{}", style.paint(Role::Good, &format!("nothing wrong found: {all}{leaks}, {kinds}")))?;
    } else {
        facts::heading(out, style, "The rest", "")?;
        writeln!(out, "  {all} in all, {kinds}")?;
    }
    more(out, style, &format!("gospy waits {target}"))
}

/// Deadlocks and leaks that the heap shows.
fn by_heap(out: &mut dyn Write, style: TextStyle, index: &Index<'_>, found: &[Found], target: &str) -> io::Result<()> {
    /// Deadlocks that are shown.
    const MOST: usize = 5;
    let by_id = ById::of(index.snapshot());
    let is_deadlock = |found: &&Found| found.finding.code() == DEADLOCK.code();
    let deadlocks: Vec<&Found> = found.iter().filter(is_deadlock).collect();
    for deadlock in deadlocks.iter().take(MOST) {
        let ids = ids(index, deadlock);
        facts::paragraph(out, style, Role::Bad, &format!("deadlock: {}", deadlock::sentence(&ids)))?;
        for line in deadlock::members(index, &by_id, &ids) {
            hint(out, style, &line)?;
        }
    }
    if let more @ 1.. = deadlocks.len().saturating_sub(MOST) {
        let more = counted(number(more), "more deadlock", "more deadlocks");
        hint(out, style, &format!("… and {more}: gospy leaks {target}"))?;
    }
    for found in found.iter().filter(|found| !is_deadlock(found)) {
        facts::paragraph(out, style, Role::Bad, &findings::sentence(found, index))?;
        hint(out, style, found.finding.meaning())?;
        more(out, style, &format!("gospy leaks {target}"))?;
    }
    Ok(())
}

/// The ids of the goroutines that a finding is about, ascending.
fn ids(index: &Index<'_>, found: &Found) -> Vec<u64> {
    let goroutines = found.positions.iter().filter_map(|&at| index.snapshot().goroutines.get(at));
    let mut ids: Vec<u64> = goroutines.map(|goroutine| goroutine.id.0).collect();
    ids.sort_unstable();
    ids
}

/// `40 wait on channels, 12 on connections`.
fn waits_on(diagnosis: &Diagnosis<'_>) -> String {
    let mut counts: Vec<(WaitKind, u64)> = Vec::new();
    let waits = &diagnosis.waits;
    for row in waits.rows.iter().chain(&waits.others).chain(&waits.unknown) {
        match counts.iter_mut().find(|(kind, _)| *kind == row.kind) {
            Some((_, sum)) => *sum += number(row.goroutines.len()),
            None => counts.push((row.kind, number(row.goroutines.len()))),
        }
    }
    counts.sort_by_key(|(kind, sum)| (std::cmp::Reverse(*sum), *kind));
    if counts.is_empty() {
        return "none waits".to_owned();
    }
    let words: Vec<String> =
        counts.iter().map(|(kind, sum)| format!("{} {}", words::kind(*kind), count(*sum))).collect();
    format!("waiting: {}", words.join(", "))
}

fn likely_words(
    out: &mut dyn Write,
    style: TextStyle,
    index: &Index<'_>,
    likely: &Likely,
    target: &str,
) -> io::Result<()> {
    let snapshot = index.snapshot();
    match likely {
        Likely::Deadlock(cycle) => {
            facts::paragraph(out, style, Role::Attention, &deadlock(index, cycle))?;
            let first = cycle.goroutines.first().and_then(|&at| snapshot.goroutines.get(at));
            let id = first.map_or(0, |goroutine| goroutine.id.0);
            more(out, style, &format!("gospy why {target} --goid {id}"))?;
            hint(out, style, &style.paint(Role::Dim, &format!("proof: gospy leaks {target}")))
        }
        Likely::Contended(row) => {
            let object = row.object(index).map_or_else(String::new, |object| words::object(snapshot, object));
            let text = format!("{} for {object}{}", waiters(row), longest(row));
            facts::paragraph(out, style, Role::Attention, &text)?;
            if let Some(object) = row.object(index) {
                hint(out, style, &words::state(snapshot, object))?;
            }
            let by_id = ById::of(snapshot);
            let holder = row.holders(index).first();
            if let Some((holder, position)) =
                holder.and_then(|holder| Some((holder, by_id.position(holder.goroutine)?)))
            {
                let goroutine = snapshot.goroutines.get(position);
                hint(
                    out,
                    style,
                    &format!("likely held by goroutine {}: {}", holder.goroutine.0, evidence(index, *holder)),
                )?;
                for line in goroutine.map(|goroutine| lines(index, goroutine)).unwrap_or_default() {
                    hint(out, style, &format!("  {line}"))?;
                }
            }
            let first = row.goroutines.first().and_then(|&at| snapshot.goroutines.get(at));
            more(out, style, &format!("gospy why {target} --goid {}", first.map_or(0, |goroutine| goroutine.id.0)))
        }
        Likely::Backlog(row) => {
            let object = row.object(index);
            let name = object.map_or_else(String::new, |object| words::object(snapshot, object));
            let text = format!("{} to send to {name}{}: too few receive", waiters(row), longest(row));
            facts::paragraph(out, style, Role::Attention, &text)?;
            if let Some(object) = object {
                hint(out, style, &words::state(snapshot, object))?;
            }
            more(out, style, &format!("gospy waits {target}"))
        }
    }
}

fn waiters(row: &WaitRow) -> String {
    match row.goroutines.len() {
        1 => "1 goroutine waits".to_owned(),
        several => format!("{} goroutines wait", count(number(several))),
    }
}

fn longest(row: &WaitRow) -> String {
    row.longest_ns().map_or_else(String::new, |ns| format!(", the longest for at least {}", age(ns)))
}

/// `goroutines 18 and 19 wait for locks that likely are held by each other`.
fn deadlock(index: &Index<'_>, cycle: &Cycle) -> String {
    let snapshot = index.snapshot();
    let ids: Vec<String> = cycle
        .goroutines
        .iter()
        .take(MEMBERS)
        .filter_map(|&at| snapshot.goroutines.get(at))
        .map(|goroutine| goroutine.id.0.to_string())
        .collect();
    match ids.as_slice() {
        [one] => format!("goroutine {one} waits for a lock that it likely holds itself: a deadlock, if so"),
        [all @ .., last] => {
            let more = match cycle.goroutines.len().saturating_sub(ids.len()) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let all = all.join(", ");
            format!(
                "goroutines {all} and {last}{more} wait for locks that likely are held by each other: a deadlock, if so"
            )
        }
        [] => String::new(),
    }
}

/// A line below another.
fn hint(out: &mut dyn Write, style: TextStyle, text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    writeln!(out, "    {}", style.paint(Role::Plain, text))
}

/// The command that shows more.
fn more(out: &mut dyn Write, style: TextStyle, command: &str) -> io::Result<()> {
    writeln!(out, "    {}", style.paint(Role::Dim, &format!("more: {command}")))
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
