//! What goroutines wait on, in words. Everything is cleaned.

use super::brief;
use crate::addr::Arch;
use crate::analysis::Index;
use crate::analysis::waits::{ById, Chain, ChainEnd, Shared, WaitRow, WaitTable, WaitedOn};
use crate::model::Goroutine;
use crate::model::{
    Channel, ChannelTimer, DescriptorDetails, Direction, LockOperation, MutexState, ObjectState, Outside, Snapshot,
    TimerSource, Wait, WaitKind, WaitObject, WaitUnknown,
};
use crate::report::clean::clean;
use crate::report::descriptors;
use crate::report::text::{Role, shorten};
use crate::report::units::{age, count, counted};

/// The program, how many goroutines it has, and how many of those in the table wait.
pub(crate) fn title(snapshot: &Snapshot, waits: &WaitTable) -> String {
    let name = snapshot.target.name();
    let all = snapshot.goroutines.iter().filter(|goroutine| !goroutine.status.is_dead()).count();
    let all = counted(u64::try_from(all).unwrap_or(u64::MAX), "goroutine", "goroutines");
    format!("{} · pid {} · {all}, of which {} wait", clean(name), snapshot.target.pid, count(waits.waiting))
}

/// What an object is, with its address: `chan main.Job 0xc000012345`.
pub(crate) fn object(snapshot: &Snapshot, object: &WaitObject) -> String {
    named(snapshot, object, usize::MAX)
}

/// Columns of the name of a type or of a peer in a table.
pub(crate) const SHORT: usize = 20;

/// The same in a table, where names of types and files are cut.
pub(crate) fn short_object(snapshot: &Snapshot, object: &WaitObject) -> String {
    named(snapshot, object, SHORT)
}

pub(crate) fn named(snapshot: &Snapshot, object: &WaitObject, room: usize) -> String {
    let addr = object.addr;
    match &object.state {
        ObjectState::Channel(channel) => {
            format!("{} {addr}", shorten::words(&channel_type(snapshot, channel), room))
        }
        ObjectState::Mutex(_) => format!("Mutex {addr}"),
        ObjectState::RwMutex(_) => format!("RWMutex {addr}"),
        ObjectState::WaitGroup { .. } => format!("WaitGroup {addr}"),
        ObjectState::Cond { .. } => format!("Cond {addr}"),
        ObjectState::Semaphore { .. } => format!("semaphore {addr}"),
        ObjectState::Descriptor { fd, details, .. } => match details.as_deref().and_then(peer) {
            Some(peer) => format!("fd {fd} {}", shorten::words(&peer, room.saturating_mul(2))),
            None => format!("fd {fd}"),
        },
    }
}

/// `chan int`; `chan` where the element's type is not known.
pub(crate) fn channel_type(snapshot: &Snapshot, channel: &Channel) -> String {
    match channel.element_type {
        Some(name) => format!("chan {}", clean(snapshot.symbols.str(name))),
        None => "chan".to_owned(),
    }
}

/// What is at the other end of a descriptor: `→ 10.0.0.7:5432`, or where it listens, or what file it is.
pub(crate) fn peer(details: &DescriptorDetails) -> Option<String> {
    let text = match (&details.remote, &details.local, &details.path) {
        (Some(remote), ..) => format!("→ {remote}"),
        (None, _, Some(path)) => path.clone(),
        (None, Some(local), None) => format!("at {local}"),
        (None, None, None) if details.what.is_empty() => return None,
        (None, None, None) => details.what.clone(),
    };
    Some(clean(&text).into_owned())
}

/// Several objects of one kind: `1,024 connections`.
pub(crate) fn alike(kind: WaitKind, many: u64) -> String {
    let (one, several) = match kind {
        WaitKind::Network => ("connection", "connections"),
        WaitKind::File => ("file", "files"),
        _ => ("channel", "channels"),
    };
    counted(many, one, several)
}

/// What a row of the table of waits is about; names of types and peers within `room` columns.
pub(crate) fn row_object(snapshot: &Snapshot, row: &WaitRow, room: usize) -> String {
    match &row.on {
        WaitedOn::Object(id) => {
            snapshot.waits.object(*id).map_or_else(String::new, |object| named(snapshot, object, room))
        }
        WaitedOn::Alike(ids) => alike(row.kind, u64::try_from(ids.len()).unwrap_or(u64::MAX)),
        WaitedOn::NilChannel => "nil channel".to_owned(),
        WaitedOn::EmptySelect => "select without cases".to_owned(),
        WaitedOn::Other => kind(row.kind).to_owned(),
    }
}

/// The state of that: of several objects, what they have in common.
pub(crate) fn row_state(snapshot: &Snapshot, row: &WaitRow) -> String {
    row_state_parts(snapshot, row).join(", ")
}

/// The same in parts.
pub(crate) fn row_state_parts(snapshot: &Snapshot, row: &WaitRow) -> Vec<String> {
    match &row.on {
        WaitedOn::NilChannel | WaitedOn::EmptySelect => vec!["forever".to_owned()],
        WaitedOn::Object(id) => {
            snapshot.waits.object(*id).map_or_else(Vec::new, |object| state_parts(snapshot, object))
        }
        WaitedOn::Alike(_) => {
            let shared = Shared::of(snapshot, row.goroutines.iter());
            let words = shared.and_then(|shared| brief::shared(snapshot, &shared).into_iter().next());
            vec![words.unwrap_or_else(|| "one goroutine each".to_owned())]
        }
        WaitedOn::Other => Vec::new(),
    }
}

/// How that is to look.
pub(crate) fn row_role(row: &WaitRow) -> Role {
    match row.on {
        WaitedOn::NilChannel | WaitedOn::EmptySelect => Role::Bad,
        WaitedOn::Alike(_) => Role::Dim,
        WaitedOn::Object(_) | WaitedOn::Other => Role::Plain,
    }
}

/// The goroutine that probably holds the object of a row; `with_wait` adds what that waits for in turn.
pub(crate) fn row_holder(index: &Index<'_>, by_id: &ById, row: &WaitRow, with_wait: bool) -> Option<String> {
    let holders = row.holders(index);
    let first = holders.first()?;
    let mut text = match holders.len() {
        1 => format!("{}", first.goroutine.0),
        2 => format!("{} or another", first.goroutine.0),
        more => format!("{} or {} others", first.goroutine.0, more - 1),
    };
    if let Some(position) = by_id.position(first.goroutine).filter(|_| with_wait) {
        text.push_str(&format!(": {}", does(index, by_id, position)));
    }
    Some(text)
}

/// What the goroutine at `position` does, as a part of a sentence: what it waits for, or its state.
pub(crate) fn does(index: &Index<'_>, by_id: &ById, position: usize) -> String {
    let snapshot = index.snapshot();
    let Some(goroutine) = snapshot.goroutines.get(position) else { return String::new() };
    match (waits(snapshot, goroutine), Chain::from(index, by_id, position).end) {
        (Some(_), ChainEnd::Cycle(_)) => "waits in a cycle".to_owned(),
        (Some(does), _) => does,
        (None, _) => format!("is {}", clean(index.state_text(goroutine))),
    }
}

/// The state of an object: `3/10, 4 senders`, `locked, 211 wait`.
pub(crate) fn state(snapshot: &Snapshot, object: &WaitObject) -> String {
    state_parts(snapshot, object).join(", ")
}

/// The same in parts.
pub(crate) fn state_parts(snapshot: &Snapshot, object: &WaitObject) -> Vec<String> {
    let mut parts = Vec::new();
    match &object.state {
        ObjectState::Channel(channel) => {
            if channel.capacity == 0 && channel.timer.is_none() {
                parts.push("unbuffered".to_owned());
            }
            parts.extend(channel_parts(snapshot, channel));
        }
        ObjectState::Mutex(mutex) => mutex_state(*mutex, &mut parts),
        ObjectState::RwMutex(mutex) => {
            if mutex.readers > 0 {
                parts.push(counted(mutex.readers.into(), "reader", "readers"));
            }
            if mutex.writer_pending {
                let text = match mutex.readers {
                    0 => "locked by a writer",
                    1 => "a writer waits for it",
                    _ => "a writer waits for them",
                };
                parts.push(text.to_owned());
            }
            if mutex.waiting_readers > 0 {
                parts.push(counted(mutex.waiting_readers.into(), "waits to read", "wait to read"));
            }
            if mutex.writers.waiters > 0 {
                parts.push(counted(mutex.writers.waiters.into(), "waits to write", "wait to write"));
            }
            if parts.is_empty() {
                parts.push("unlocked".to_owned());
            }
        }
        ObjectState::WaitGroup { counter, .. } => parts.push(format!("counter {counter}")),
        ObjectState::Cond { waiters } => parts.push(format!("{} wait", count((*waiters).into()))),
        ObjectState::Semaphore { value } => parts.push(format!("value {value}")),
        ObjectState::Descriptor { details: Some(details), .. } => {
            parts.push(clean(&details.what).into_owned());
            parts.extend(details.state.as_deref().map(|state| clean(state).into_owned()));
            for (bytes, what) in [(details.receive_queue, "unread"), (details.send_queue, "unacknowledged")] {
                if let Some(bytes) = bytes.filter(|bytes| *bytes > 0) {
                    parts.push(format!("{} {what}", crate::report::units::bytes(bytes)));
                }
            }
        }
        ObjectState::Descriptor { .. } => {}
    }
    parts
}

/// The state of a channel: how full it is, who waits, and when its timer fires. Nothing of one without a buffer
/// that is seen to be waited on.
pub(crate) fn channel_parts(snapshot: &Snapshot, channel: &Channel) -> Vec<String> {
    // Of a timer's channel, that is what it is about.
    let mut parts: Vec<String> = channel.timer.map(|timer| fires(snapshot, timer)).into_iter().collect();
    if channel.capacity > 0 && channel.timer.is_none() {
        parts.push(format!("{}/{}", count(channel.length), count(channel.capacity)));
    }
    for (number, one, many) in [(channel.senders, "sender", "senders"), (channel.receivers, "receiver", "receivers")] {
        if let Some(number) = number.filter(|number| *number > 0) {
            parts.push(counted(number, one, many));
        }
    }
    if channel.closed {
        parts.push("closed".to_owned());
    }
    parts
}

/// When a timer fires: `timer in 3s`, `context ends in 2m`.
pub(crate) fn fires(snapshot: &Snapshot, timer: ChannelTimer) -> String {
    let what = match (timer.source, timer.period_ns) {
        (TimerSource::Context, _) => "context ends",
        (TimerSource::Time, 0) => "timer fires",
        (TimerSource::Time, _) => "ticks",
    };
    format!("{what} {}", from_now(snapshot.monotonic_ns, timer.deadline_ns))
}

/// `in 3s`, or `now` where that time has come.
pub(crate) fn from_now(now_ns: u64, then_ns: u64) -> String {
    match then_ns.checked_sub(now_ns) {
        Some(ns) if ns > 0 => format!("in {}", age(ns)),
        _ => "now".to_owned(),
    }
}

fn mutex_state(mutex: MutexState, parts: &mut Vec<String>) {
    parts.push(if mutex.locked { "locked" } else { "unlocked" }.to_owned());
    if mutex.starving {
        parts.push("starving".to_owned());
    }
}

/// What a goroutine waits for, as a part of a sentence: `waits to receive from chan int 0xc…`. `None` unless it
/// is blocked, and that was read.
pub(crate) fn waits(snapshot: &Snapshot, goroutine: &Goroutine) -> Option<String> {
    let wait = snapshot.waiting_on(goroutine)?;
    Some(match (wait, snapshot.not_in_go.get(goroutine.addr)) {
        (Wait::Syscall | Wait::C, Some(known)) => format!("is in {}", outside(snapshot, known)),
        _ => waits_for(snapshot, wait),
    })
}

/// What a goroutine does in a system call or in C.
pub(crate) fn outside(snapshot: &Snapshot, outside: &Outside) -> String {
    let arch = if snapshot.target.arch == Arch::Arm64.name() { Arch::Arm64 } else { Arch::Amd64 };
    descriptors::outside(outside, arch, &snapshot.descriptors, &snapshot.symbols)
}

fn waits_for(snapshot: &Snapshot, wait: &Wait) -> String {
    let named = |id| snapshot.waits.object(id).map_or_else(|| "an object".to_owned(), |of| object(snapshot, of));
    match wait {
        Wait::Channel { channel: None, direction } => match direction {
            Direction::Send => "sends to a nil channel".to_owned(),
            Direction::Receive => "receives from a nil channel".to_owned(),
        },
        Wait::Channel { channel: Some(id), direction } => match direction {
            Direction::Send => format!("waits to send to {}", named(*id)),
            Direction::Receive => format!("waits to receive from {}", named(*id)),
        },
        Wait::Select { cases } if cases.is_empty() => "selects without a case that can be taken".to_owned(),
        Wait::Select { cases } => {
            /// Cases that are named.
            const NAMED: usize = 3;
            let case = |case: &crate::model::SelectCase| match case.direction {
                Direction::Send => format!("{} (send)", named(case.channel)),
                Direction::Receive => named(case.channel),
            };
            let mut names: Vec<String> = cases.iter().take(NAMED).map(case).collect();
            if let more @ 1.. = cases.len().saturating_sub(NAMED) {
                names.push(format!("{more} more"));
            }
            format!("selects on {}", names.join(", "))
        }
        Wait::Lock { object, operation } => {
            let named = named(*object);
            match operation {
                LockOperation::Lock => format!("waits to lock {named}"),
                LockOperation::ReadLock => format!("waits to read-lock {named}"),
                LockOperation::WaitForReaders => format!("waits for the readers of {named}"),
                LockOperation::Wait => format!("waits on {named}"),
                LockOperation::Acquire => format!("waits to acquire {named}"),
            }
        }
        Wait::Poll { object, direction, deadline_ns } => {
            let what = match direction {
                Direction::Send => "write to",
                Direction::Receive => "read from",
            };
            let deadline = deadline_ns.map(|at| format!(", deadline {}", from_now(snapshot.monotonic_ns, at)));
            format!("waits to {what} {}{}", named(*object), deadline.unwrap_or_default())
        }
        Wait::Syscall => "is in a system call".to_owned(),
        Wait::C => "is in C code".to_owned(),
        Wait::Sleep { until_ns, bubble_now_ns } => {
            format!("sleeps, wakes {}", from_now(bubble_now_ns.unwrap_or(snapshot.monotonic_ns), *until_ns))
        }
        Wait::Coroutine { partner: Some(partner) } => format!("has switched to goroutine {}", partner.0),
        Wait::Coroutine { partner: None } => "waits for another coroutine".to_owned(),
        Wait::Runtime => "waits for the runtime".to_owned(),
        Wait::Unknown { why, .. } => format!("waits for something unknown: {}", unknown(*why)),
    }
}

/// Why it is not known what a goroutine waits for.
pub(crate) fn unknown(why: WaitUnknown) -> &'static str {
    match why {
        WaitUnknown::Moved => "it moved while it was read",
        WaitUnknown::Malformed => "the memory contradicts itself",
        WaitUnknown::Unreadable => "the memory could not be read",
        WaitUnknown::NotFound => "nothing on its stack leads there",
        WaitUnknown::NoLayout => "this Go version's layout is not known",
        WaitUnknown::Limit => "a limit was reached",
    }
}

/// What a row about no object is called.
pub(crate) fn kind(kind: WaitKind) -> &'static str {
    match kind {
        WaitKind::Syscall => "system call",
        WaitKind::C => "C code",
        WaitKind::Sleep => "sleep",
        WaitKind::Coroutine => "coroutine",
        WaitKind::Runtime => "runtime",
        other => other.name(),
    }
}
