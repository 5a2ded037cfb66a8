//! What goroutines wait on, in words. Everything is cleaned.

use crate::analysis::waits::WaitTable;
use crate::model::Goroutine;
use crate::model::{
    Channel, ChannelTimer, DescriptorDetails, Direction, LockOperation, MutexState, ObjectState, Snapshot, TimerSource,
    Wait, WaitKind, WaitObject, WaitUnknown,
};
use crate::report::clean::clean;
use crate::report::descriptors;
use crate::report::text::shorten;
use crate::report::units::{age, count, counted};

/// The program, how many goroutines it has, and how many of those in the table wait.
pub(crate) fn title(snapshot: &Snapshot, waits: &WaitTable) -> String {
    let name = snapshot.target.exe.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("?");
    let all = snapshot.goroutines.iter().filter(|goroutine| !goroutine.status.is_dead()).count();
    let all = counted(u64::try_from(all).unwrap_or(u64::MAX), "goroutine", "goroutines");
    format!("{} · pid {} · {all}, of which {} wait", clean(name), snapshot.target.pid, count(waits.waiting))
}

/// What an object is, with its address: `chan main.Job 0xc000012345`.
pub(crate) fn object(snapshot: &Snapshot, object: &WaitObject) -> String {
    named(snapshot, object, usize::MAX)
}

/// The same in a table, where names of types and files are cut.
pub(crate) fn short_object(snapshot: &Snapshot, object: &WaitObject) -> String {
    /// Columns of a type.
    const ROOM: usize = 20;
    named(snapshot, object, ROOM)
}

fn named(snapshot: &Snapshot, object: &WaitObject, room: usize) -> String {
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
fn channel_type(snapshot: &Snapshot, channel: &Channel) -> String {
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

/// The state of an object: `3/10, 4 senders`, `locked, 211 wait`.
pub(crate) fn state(snapshot: &Snapshot, object: &WaitObject) -> String {
    let mut parts = Vec::new();
    match &object.state {
        ObjectState::Channel(channel) => channel_state(snapshot, channel, &mut parts),
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
    parts.join(", ")
}

fn channel_state(snapshot: &Snapshot, channel: &Channel, parts: &mut Vec<String>) {
    parts.push(match channel.capacity {
        0 => "unbuffered".to_owned(),
        capacity => format!("{}/{}", count(channel.length), count(capacity)),
    });
    for (number, one, many) in [(channel.senders, "sender", "senders"), (channel.receivers, "receiver", "receivers")] {
        if let Some(number) = number.filter(|number| *number > 0) {
            parts.push(counted(number, one, many));
        }
    }
    if channel.closed {
        parts.push("closed".to_owned());
    }
    parts.extend(channel.timer.map(|timer| fires(snapshot, timer)));
}

/// When a timer fires: `timer in 3s`, `context ends in 2m`.
fn fires(snapshot: &Snapshot, timer: ChannelTimer) -> String {
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
        (Wait::Syscall | Wait::C, Some(outside)) => {
            format!(
                "is in {}",
                descriptors::outside(outside, snapshot.arch(), &snapshot.descriptors, &snapshot.symbols)
            )
        }
        _ => waits_for(snapshot, wait),
    })
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
