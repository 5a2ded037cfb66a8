//! What goroutines wait on in a few words, beside their state: `3/10, 4 senders`, `→ 10.0.0.7:5432`,
//! `0xc000012340, 211 wait`. The words come in parts, what says most first, so that the last ones can be left out
//! where there is no room for them. Everything is cleaned.

use super::words;
use crate::analysis::group::On;
use crate::analysis::waits::{Shared, SharedWait, left_ns};
use crate::model::{
    Activity, Channel, ChannelTimer, Direction, Goroutine, LikelyHolder, ObjectState, Snapshot, Wait, WaitKind,
    WaitObject,
};
use crate::report::clean::clean;
use crate::report::text::shorten;
use crate::report::units::{age, bytes, count};

/// Stands between a state and what is waited on, in a cell that shrinks as `Shrink::Waits`. No cleaned text has it.
pub(crate) const ON_BREAK: char = '\n';
/// Stands between the parts of that. No cleaned text has it.
pub(crate) const PART_BREAK: char = '\t';
/// The least room in which a part that has to be cut still says something.
const LEAST: usize = 20;

/// What one goroutine waits on; nothing where that is not known, or the wait reason says it all.
pub(crate) fn goroutine(snapshot: &Snapshot, goroutine: &Goroutine) -> Vec<String> {
    let Some(wait) = snapshot.waiting_on(goroutine) else { return Vec::new() };
    let reason = goroutine.wait_reason.and_then(|reason| snapshot.wait_reason(reason)).unwrap_or_default();
    let object = |id| snapshot.waits.object(id);
    let left = || left_ns(snapshot, goroutine).map(soon);
    match wait {
        Wait::Channel { channel: None, .. } if !reason.contains("nil") => vec!["nil channel".to_owned()],
        Wait::Channel { channel: None, .. } => Vec::new(),
        Wait::Channel { channel: Some(id), direction } => {
            object(*id).map_or_else(Vec::new, |of| on_object(snapshot, of, reason, Some((*direction, 1))))
        }
        Wait::Select { cases } => match cases.as_ref() {
            [] if reason.contains("no cases") => Vec::new(),
            [] => vec!["no case can be taken".to_owned()],
            [case] => object(case.channel)
                .map_or_else(Vec::new, |of| on_object(snapshot, of, reason, Some((case.direction, 1)))),
            [first, second, rest @ ..] => {
                let named = |id| object(id).map(|of| words::short_object(snapshot, of));
                let timers = cases.iter().filter_map(|case| timer(object(case.channel)?));
                let next = timers.min_by_key(|timer| timer.deadline_ns);
                let mut parts: Vec<String> = next.map(|timer| words::fires(snapshot, timer)).into_iter().collect();
                parts.push(format!("{} cases", cases.len()));
                parts.extend([first, second].into_iter().filter_map(|case| named(case.channel)));
                if !rest.is_empty() {
                    parts.push("…".to_owned());
                }
                parts
            }
        },
        Wait::Lock { object: id, .. } => object(*id).map_or_else(Vec::new, |of| on_object(snapshot, of, reason, None)),
        Wait::Poll { object: id, .. } => {
            let mut parts = object(*id).map_or_else(Vec::new, |of| on_object(snapshot, of, reason, None));
            // After the peer.
            if let Some(left) = left() {
                parts.insert(parts.len().min(1), format!("deadline {left}"));
            }
            parts
        }
        Wait::Syscall | Wait::C => match snapshot.not_in_go.get(goroutine.addr) {
            Some(outside) if outside.activity != Activity::Unknown => vec![words::outside(snapshot, outside)],
            _ => Vec::new(),
        },
        Wait::Sleep { .. } => left().map(|left| format!("wakes {left}")).into_iter().collect(),
        Wait::Coroutine { partner } => partner.map(|id| format!("goroutine {}", id.0)).into_iter().collect(),
        Wait::Runtime | Wait::Unknown { .. } => Vec::new(),
    }
}

/// What nearly all members of a group wait on.
pub(crate) fn shared(snapshot: &Snapshot, shared: &Shared) -> Vec<String> {
    let Some(example) = snapshot.goroutines.get(shared.example) else { return Vec::new() };
    let reason = example.wait_reason.and_then(|reason| snapshot.wait_reason(reason)).unwrap_or_default();
    let seen = shared.direction(snapshot).map(|direction| (direction, shared.count));
    let object = || shared.object(snapshot);
    let mut parts = match shared.on {
        SharedWait::Own => return goroutine(snapshot, example),
        SharedWait::Object(_) => object().map_or_else(Vec::new, |of| on_object(snapshot, of, reason, seen)),
        SharedWait::Peer(_) => object().and_then(peer).into_iter().collect(),
        SharedWait::Accepted(_) => {
            let local = object().and_then(crate::analysis::waits::shared::connection).and_then(|(local, _)| local);
            local.map(|local| format!("clients of {}", clean(local))).into_iter().collect()
        }
    };
    if let (Some(first), true) = (parts.first_mut(), shared.count < shared.waiting) {
        *first = format!("{} of them {first}", count(shared.count));
    }
    parts
}

/// What the members of a group wait on that is made by that, with `count` members like `example`: its name, with
/// that of a type within `room` columns, and its state.
pub(crate) fn on(snapshot: &Snapshot, on: On, example: &Goroutine, count: u64, room: usize) -> Vec<String> {
    let named =
        |object| std::iter::once(words::named(snapshot, object, room)).chain(words::state_parts(snapshot, object));
    let objects = || snapshot.waiting_on(example).into_iter().flat_map(|wait| snapshot.waits.objects_of(wait));
    match on {
        On::Object(addr) => {
            let object = objects().map(|(_, object)| object).find(|object| object.addr == addr);
            object.map_or_else(Vec::new, |object| named(object).collect())
        }
        On::Peer(_) => {
            let peer = objects().find_map(|(_, object)| peer(object)).unwrap_or_default();
            vec![format!("{} {peer}", words::alike(WaitKind::Network, count))]
        }
        On::Alike(kind, _) => match objects().next() {
            Some((_, object)) if count == 1 => named(object).collect(),
            _ => vec![words::alike(kind, count)],
        },
        On::NilChannel => vec!["nil channel".to_owned()],
        On::EmptySelect => vec!["select without cases".to_owned()],
        On::Other(kind) => vec![words::kind(kind).to_owned()],
        On::Unknown(kind) => vec![format!("unknown {}", words::kind(kind))],
        On::Nothing => vec!["nothing".to_owned()],
    }
}

/// The same in as few words as hold for all that have it in common, whatever comes and goes among them.
pub(crate) fn common(snapshot: &Snapshot, wanted: On, example: &Goroutine) -> String {
    let alike = |kind| match kind {
        WaitKind::Network => "connections",
        WaitKind::File => "files",
        _ => "channels",
    };
    let peer = || {
        let objects = snapshot.waiting_on(example).into_iter().flat_map(|wait| snapshot.waits.objects_of(wait));
        objects.into_iter().find_map(|(_, object)| peer(object)).unwrap_or_default()
    };
    match wanted {
        On::Peer(_) => format!("connections {}", peer()),
        On::Alike(kind, _) => alike(kind).to_owned(),
        wanted => on(snapshot, wanted, example, 1, usize::MAX).into_iter().next().unwrap_or_default(),
    }
}

/// The text of a cell: a state, and what is waited on as far as there will be room for it.
pub(crate) fn cell(state: &str, parts: &[String]) -> String {
    if parts.is_empty() {
        return state.to_owned();
    }
    format!("{state}{ON_BREAK}{}", parts.join(&PART_BREAK.to_string()))
}

/// As many parts as fit into `room` columns, none of them cut.
pub(crate) fn whole<P: AsRef<str>>(parts: &[P], room: usize) -> Option<String> {
    let mut text = String::new();
    for part in parts.iter().map(AsRef::as_ref) {
        let between = if text.is_empty() { "" } else { ", " };
        if shorten::width(&text) + between.len() + shorten::width(part) > room {
            break;
        }
        text.push_str(between);
        text.push_str(part);
    }
    Some(text).filter(|text| !text.is_empty())
}

/// The same; the first one is cut where there is only room for most of it.
pub(crate) fn fitted<P: AsRef<str>>(parts: &[P], room: usize) -> Option<String> {
    let cut = || parts.first().filter(|_| room >= LEAST).map(|first| shorten::words(first.as_ref(), room).into_owned());
    whole(parts, room).or_else(cut)
}

/// What is known of an object. `seen` is how many are seen to wait for what: a count that is equal to that is left
/// out.
fn on_object(snapshot: &Snapshot, object: &WaitObject, reason: &str, seen: Option<(Direction, u64)>) -> Vec<String> {
    let named = |kind: &str| match reason.contains(kind) {
        true => object.addr.to_string(),
        false => words::object(snapshot, object),
    };
    let mut parts = match &object.state {
        ObjectState::Channel(channel) => {
            let mut parts = words::channel_parts(snapshot, &counted_apart(*channel, seen));
            // The address stays whole where the type has to give way.
            parts.extend([object.addr.to_string(), words::channel_type(snapshot, channel)]);
            parts
        }
        ObjectState::Mutex(mutex) => {
            let mut parts = vec![named("sync.Mutex")];
            parts.extend((mutex.waiters > 1).then(|| format!("{} wait", count(mutex.waiters.into()))));
            parts.extend(mutex.starving.then(|| "starving".to_owned()));
            parts.extend((!mutex.locked).then(|| "unlocked".to_owned()));
            parts
        }
        ObjectState::RwMutex(_) => with_state(named("sync.RWMutex"), snapshot, object),
        ObjectState::WaitGroup { .. } => with_state(named("sync.WaitGroup"), snapshot, object),
        ObjectState::Cond { .. } => with_state(named("sync.Cond"), snapshot, object),
        ObjectState::Semaphore { .. } => with_state(words::object(snapshot, object), snapshot, object),
        ObjectState::Descriptor { fd, details, .. } => {
            let mut parts: Vec<String> = peer(object).into_iter().collect();
            if let Some(details) = details.as_deref() {
                let unusual = details.state.as_deref().filter(|state| !matches!(*state, "ESTABLISHED" | "LISTEN"));
                parts.extend(unusual.map(|state| clean(state).into_owned()));
                for (queue, what) in [(details.receive_queue, "unread"), (details.send_queue, "unacknowledged")] {
                    parts.extend(queue.filter(|queue| *queue > 0).map(|queue| format!("{} {what}", bytes(queue))));
                }
            }
            parts.push(format!("fd {fd}"));
            parts
        }
    };
    parts.extend(object.likely_holders.as_deref().and_then(holder));
    parts
}

fn timer(object: &WaitObject) -> Option<ChannelTimer> {
    match &object.state {
        ObjectState::Channel(channel) => channel.timer,
        _ => None,
    }
}

/// The channel without the number of those that are seen already.
fn counted_apart(channel: Channel, seen: Option<(Direction, u64)>) -> Channel {
    let other = |direction, number: Option<u64>| number.filter(|&number| seen != Some((direction, number)));
    Channel {
        senders: other(Direction::Send, channel.senders),
        receivers: other(Direction::Receive, channel.receivers),
        ..channel
    }
}

fn with_state(name: String, snapshot: &Snapshot, object: &WaitObject) -> Vec<String> {
    std::iter::once(name).chain(words::state_parts(snapshot, object)).collect()
}

fn peer(object: &WaitObject) -> Option<String> {
    match &object.state {
        ObjectState::Descriptor { details, .. } => words::peer(details.as_deref()?),
        _ => None,
    }
}

/// Who probably holds it.
fn holder(holders: &[LikelyHolder]) -> Option<String> {
    let (first, others) = holders.split_first()?;
    Some(match others.len() {
        0 => format!("likely held by {}", first.goroutine.0),
        1 => format!("likely held by {} or another", first.goroutine.0),
        more => format!("likely held by {} or {more} others", first.goroutine.0),
    })
}

/// `in 3s`, `now`.
fn soon(left_ns: u64) -> String {
    if left_ns == 0 { "now".to_owned() } else { format!("in {}", age(left_ns)) }
}
