//! What a goroutine waits for, in the document.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;

use super::hex::HexAddr;
use crate::addr::Addr;
use crate::model::wait::{
    ChannelTimer, DescriptorDetails, Direction, HolderEvidence, LikelyHolder, LockOperation, ObjectState,
};
use crate::model::{self, Activity, ForeignFrame, Outside, Snapshot, SystemCall, Wait, WaitObject};
use crate::process::syscall_names::signature;

/// What a goroutine waits for. What does not apply to its kind is null.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct WaitingOn<'a> {
    /// channel, select, mutex, rwmutex, waitgroup, cond, semaphore, network, file, syscall, c, sleep, coroutine,
    /// runtime. Open enumeration.
    pub kind: &'static str,
    /// Why no more than the kind is known: moved, the goroutine went on, or what it waited for changed, while it
    /// was read; malformed; unreadable; not_found; no_layout; limit. Null where it is known. Open enumeration.
    pub unknown: Option<&'static str>,
    /// Address of the channel, of the sync type, of the semaphore, or of the runtime's pollDesc. Null for a nil
    /// channel, which blocks forever.
    pub address: Option<HexAddr>,
    /// How many goroutines of the snapshot wait on the same object.
    pub waiting: Option<u32>,
    /// send or receive; to write or to read, of a descriptor.
    pub direction: Option<&'static str>,
    /// lock, read_lock, wait_for_readers, wait, acquire: what waits, of a lock.
    pub operation: Option<&'static str>,
    /// Elements in the channel's buffer.
    pub length: Option<u64>,
    /// Room in the channel's buffer.
    pub capacity: Option<u64>,
    /// Name of the type of the channel's elements; null where it is not known.
    pub element_type: Option<&'a str>,
    /// Whether the channel is closed.
    pub closed: Option<bool>,
    /// How many are queued to send on the channel; null where that changed while it was read.
    pub senders: Option<u64>,
    /// How many are queued to receive from the channel, likewise.
    pub receivers: Option<u64>,
    /// The timer that wakes the channel's receivers: that of time.After, a ticker or a context.
    pub timer: Option<WaitTimer>,
    /// The cases of a select, by the addresses of their channels. Those with nil channels are left out.
    pub cases: Option<Vec<WaitCase<'a>>>,
    /// Whether the lock is held.
    pub locked: Option<bool>,
    /// Whether the mutex is handed over directly, since a goroutine has waited for more than 1 ms.
    pub starving: Option<bool>,
    /// How many wait for the lock, as it counts itself where it does.
    pub waiters: Option<u64>,
    /// How many readers hold the RWMutex.
    pub readers: Option<u32>,
    /// How many readers wait for the RWMutex.
    pub waiting_readers: Option<u32>,
    /// How many writers wait for another writer of the RWMutex.
    pub waiting_writers: Option<u32>,
    /// Whether a writer holds the RWMutex, or waits for readers.
    pub writer_pending: Option<bool>,
    /// The counter of a WaitGroup.
    pub counter: Option<i32>,
    /// The value of a semaphore.
    pub value: Option<u32>,
    /// Who probably holds the lock; null where that was not looked for.
    pub likely_holders: Option<Vec<WaitHolder<'a>>>,
    /// The kernel's number of the descriptor.
    pub fd: Option<u32>,
    /// What the descriptor is: TCP, unix, pipe, file and such; null where the kernel was not asked.
    pub descriptor: Option<Cow<'a, str>>,
    /// The own address of a socket.
    pub local: Option<Cow<'a, str>>,
    /// The peer's address.
    pub remote: Option<Cow<'a, str>>,
    /// The state of a connection.
    pub socket_state: Option<Cow<'a, str>>,
    /// Bytes that were received and not read.
    pub receive_queue: Option<u64>,
    /// Bytes that were written and not acknowledged.
    pub send_queue: Option<u64>,
    /// Path of a file or of a unix socket.
    pub path: Option<Cow<'a, str>>,
    /// What its thread does in the kernel, of a system call and of C; null where that was not asked for. The keys
    /// for a descriptor are those of the first one that the call is about.
    pub system_call: Option<WaitCall<'a>>,
    /// The innermost C function, of C; null where its thread did not show it.
    pub c_function: Option<WaitFunction<'a>>,
    /// When it ends by itself, in ns from now; negative where that time has come. Null where it does not.
    pub deadline_ns: Option<i64>,
    /// Id of the other goroutine, of a coroutine.
    pub partner_id: Option<u64>,
}

/// What a thread does in the kernel.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WaitCall<'a> {
    /// in_call; blocked, but in no system call, as in a page fault; running; moved, it went on while it was looked
    /// at; unknown. Open enumeration.
    pub activity: &'static str,
    /// Number of the system call, in the table of the program's architecture; null unless it is in one.
    pub number: Option<u64>,
    /// Its name; null where it is not known.
    pub name: Option<&'static str>,
    /// Its arguments as the kernel has them, six of a call whose name is not known.
    pub arguments: Option<Vec<HexAddr>>,
    /// The descriptors that it is about: those among its arguments, and those that it polls.
    pub descriptors: Vec<WaitDescriptor<'a>>,
}

/// A descriptor of a system call. What does not apply, and what is not known, is null.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct WaitDescriptor<'a> {
    /// The kernel's number of it.
    pub fd: u32,
    /// What it is.
    pub descriptor: Option<Cow<'a, str>>,
    /// The own address of a socket.
    pub local: Option<Cow<'a, str>>,
    /// The peer's address.
    pub remote: Option<Cow<'a, str>>,
    /// The state of a connection.
    pub socket_state: Option<Cow<'a, str>>,
    /// Bytes that were received and not read.
    pub receive_queue: Option<u64>,
    /// Bytes that were written and not acknowledged.
    pub send_queue: Option<u64>,
    /// Path of a file or of a unix socket.
    pub path: Option<Cow<'a, str>>,
}

/// A function in C.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WaitFunction<'a> {
    /// Its name; null where the file does not have it.
    pub name: Option<&'a str>,
    /// Path of the library or program that it is in; null where it is in none.
    pub library: Option<&'a str>,
    /// Program counter.
    pub pc: HexAddr,
    /// How far that is in the function, or in the file where the name is not known, bytes.
    pub offset: u64,
}

/// One case of a select.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WaitCase<'a> {
    /// Address of the channel.
    pub address: HexAddr,
    /// send or receive.
    pub direction: &'static str,
    /// Elements in the channel's buffer.
    pub length: u64,
    /// Room in the channel's buffer.
    pub capacity: u64,
    /// Name of the type of the channel's elements; null where it is not known.
    pub element_type: Option<&'a str>,
    /// Whether the channel is closed.
    pub closed: bool,
    /// How many are queued to send on the channel; null where that changed while it was read.
    pub senders: Option<u64>,
    /// How many are queued to receive from the channel, likewise.
    pub receivers: Option<u64>,
    /// The timer that wakes the channel's receivers.
    pub timer: Option<WaitTimer>,
}

/// A timer.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WaitTimer {
    /// When it is due, in ns from now; negative where that time has come.
    pub deadline_ns: i64,
    /// The interval of a ticker, ns; 0 for a timer that fires once.
    pub period_ns: u64,
    /// time, for time.After, timers and tickers; context. Open enumeration.
    pub source: &'static str,
}

/// A goroutine that probably holds a lock.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WaitHolder<'a> {
    /// Its id.
    pub goroutine_id: u64,
    /// stack: the lock's exact address is on its stack, and it does not wait for the lock. Open enumeration.
    pub evidence: &'static str,
    /// Where that is.
    pub address: HexAddr,
    /// The function whose frame that is; null where it is not known.
    pub function: Option<&'a str>,
}

/// What `goroutine` waits for; `None` where it is not blocked, or that was not asked for.
pub(crate) fn waiting_on<'a>(snapshot: &'a Snapshot, goroutine: &model::Goroutine) -> Option<WaitingOn<'a>> {
    let wait = snapshot.waiting_on(goroutine)?;
    let to = |deadline_ns: u64| ns_from(snapshot.monotonic_ns, deadline_ns);
    let kind = snapshot.waits.kind(wait).name();
    let mut out = match wait {
        Wait::Channel { channel, .. } => {
            channel.and_then(|id| snapshot.waits.object(id)).map(|object| of_object(snapshot, object))
        }
        Wait::Lock { object, .. } | Wait::Poll { object, .. } => {
            snapshot.waits.object(*object).map(|object| of_object(snapshot, object))
        }
        _ => None,
    }
    .unwrap_or_default();
    out.kind = kind;
    match wait {
        Wait::Channel { direction, .. } => out.direction = Some(direction.name()),
        Wait::Select { cases } => {
            let case = |case: &model::wait::SelectCase| {
                case_of(snapshot, snapshot.waits.object(case.channel)?, case.direction)
            };
            out.cases = Some(cases.iter().filter_map(case).collect());
        }
        Wait::Lock { operation, .. } => out.operation = Some(LockOperation::name(*operation)),
        Wait::Poll { direction, deadline_ns, .. } => {
            (out.direction, out.deadline_ns) = (Some(direction.name()), deadline_ns.map(to));
        }
        Wait::Sleep { until_ns, bubble_now_ns } => {
            out.deadline_ns = Some(ns_from(bubble_now_ns.unwrap_or(snapshot.monotonic_ns), *until_ns));
        }
        Wait::Coroutine { partner } => out.partner_id = partner.map(|id| id.0),
        Wait::Unknown { why, .. } => out.unknown = Some(why.name()),
        Wait::Syscall | Wait::C => {
            if let Some(outside) = snapshot.not_in_go.get(goroutine.addr) {
                out.c_function = outside.c_function.as_ref().map(|frame| function(snapshot, frame));
                let call = system_call(snapshot, outside);
                if let Some(first) = call.descriptors.first() {
                    out.set_descriptor(first.clone());
                }
                out.system_call = Some(call);
            }
        }
        Wait::Runtime => {}
    }
    Some(out)
}

impl<'a> WaitingOn<'a> {
    fn set_descriptor(&mut self, of: WaitDescriptor<'a>) {
        self.fd = Some(of.fd);
        (self.descriptor, self.local, self.remote) = (of.descriptor, of.local, of.remote);
        (self.socket_state, self.path) = (of.socket_state, of.path);
        (self.receive_queue, self.send_queue) = (of.receive_queue, of.send_queue);
    }
}

impl<'a> WaitDescriptor<'a> {
    fn of(fd: u32, details: Option<Cow<'a, DescriptorDetails>>) -> Self {
        match details {
            None => Self { fd, ..Self::default() },
            Some(Cow::Borrowed(details)) => {
                let text = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
                Self {
                    descriptor: Some(Cow::Borrowed(details.what.as_str())),
                    local: text(&details.local),
                    remote: text(&details.remote),
                    socket_state: text(&details.state),
                    path: text(&details.path),
                    receive_queue: details.receive_queue,
                    send_queue: details.send_queue,
                    fd,
                }
            }
            Some(Cow::Owned(details)) => Self {
                descriptor: Some(details.what.into()),
                local: details.local.map(Cow::Owned),
                remote: details.remote.map(Cow::Owned),
                socket_state: details.state.map(Cow::Owned),
                path: details.path.map(Cow::Owned),
                receive_queue: details.receive_queue,
                send_queue: details.send_queue,
                fd,
            },
        }
    }
}

/// What the thread of a goroutine does that is not in Go.
fn system_call<'a>(snapshot: &'a Snapshot, outside: &Outside) -> WaitCall<'a> {
    let arch = snapshot.arch();
    let call = match outside.activity {
        Activity::In(call) => Some(call),
        _ => None,
    };
    let arguments = |call: SystemCall| {
        let count = signature(arch, call.number).map_or(call.arguments.len(), |of| of.parameters.len());
        call.arguments.iter().take(count).map(|argument| HexAddr(Addr(*argument))).collect()
    };
    let descriptors = outside.descriptors(arch).filter_map(|fd| {
        let details = snapshot.descriptors.get(fd).and_then(DescriptorDetails::of);
        Some(WaitDescriptor::of(u32::try_from(fd).ok()?, details.map(Cow::Owned)))
    });
    WaitCall {
        activity: outside.activity.name(),
        number: call.map(|call| call.number),
        name: call.and_then(|call| call.name(arch)),
        arguments: call.map(arguments),
        descriptors: descriptors.collect(),
    }
}

fn function<'a>(snapshot: &'a Snapshot, frame: &ForeignFrame) -> WaitFunction<'a> {
    WaitFunction {
        name: frame.function.map(|name| snapshot.symbols.str(name)),
        library: Some(snapshot.symbols.str(frame.object)).filter(|path| !path.is_empty()),
        pc: HexAddr(frame.pc),
        offset: frame.offset,
    }
}

/// How far it is from one time to another, ns.
fn ns_from(now: u64, then: u64) -> i64 {
    i64::try_from(i128::from(then) - i128::from(now)).unwrap_or(if then > now { i64::MAX } else { i64::MIN })
}

fn timer(snapshot: &Snapshot, timer: ChannelTimer) -> WaitTimer {
    WaitTimer {
        deadline_ns: ns_from(snapshot.monotonic_ns, timer.deadline_ns),
        period_ns: timer.period_ns,
        source: timer.source.name(),
    }
}

fn case_of<'a>(snapshot: &'a Snapshot, object: &WaitObject, direction: Direction) -> Option<WaitCase<'a>> {
    let ObjectState::Channel(channel) = &object.state else { return None };
    Some(WaitCase {
        address: HexAddr(object.addr),
        direction: direction.name(),
        length: channel.length,
        capacity: channel.capacity,
        element_type: channel.element_type.map(|name| snapshot.symbols.str(name)),
        closed: channel.closed,
        senders: channel.senders,
        receivers: channel.receivers,
        timer: channel.timer.map(|of| timer(snapshot, of)),
    })
}

/// Who probably holds an object.
pub(crate) fn holder<'a>(snapshot: &'a Snapshot, holder: &LikelyHolder) -> WaitHolder<'a> {
    let (evidence, at, function) = match holder.evidence {
        HolderEvidence::OnStack { at, function } => ("stack", at, function.map(|name| snapshot.symbols.str(name))),
    };
    WaitHolder { goroutine_id: holder.goroutine.0, evidence, address: HexAddr(at), function }
}

/// What is known of an object.
pub(crate) fn of_object<'a>(snapshot: &'a Snapshot, object: &'a WaitObject) -> WaitingOn<'a> {
    let mut out = WaitingOn {
        kind: object.kind().name(),
        address: Some(HexAddr(object.addr)),
        waiting: Some(object.goroutines),
        locked: object.locked(),
        waiters: object.waiters(),
        likely_holders: object
            .likely_holders
            .as_ref()
            .map(|holders| holders.iter().map(|of| holder(snapshot, of)).collect()),
        ..WaitingOn::default()
    };
    match &object.state {
        ObjectState::Channel(channel) => {
            (out.length, out.capacity) = (Some(channel.length), Some(channel.capacity));
            out.element_type = channel.element_type.map(|name| snapshot.symbols.str(name));
            (out.closed, out.senders, out.receivers) = (Some(channel.closed), channel.senders, channel.receivers);
            out.timer = channel.timer.map(|of| timer(snapshot, of));
        }
        ObjectState::Mutex(mutex) => out.starving = Some(mutex.starving),
        ObjectState::RwMutex(mutex) => {
            out.starving = Some(mutex.writers.starving);
            (out.readers, out.waiting_readers) = (Some(mutex.readers), Some(mutex.waiting_readers));
            out.waiting_writers = Some(mutex.writers.waiters);
            out.writer_pending = Some(mutex.writer_pending);
        }
        ObjectState::WaitGroup { counter, .. } => out.counter = Some(*counter),
        ObjectState::Cond { .. } => {}
        ObjectState::Semaphore { value } => out.value = Some(*value),
        ObjectState::Descriptor { fd, details, .. } => {
            out.set_descriptor(WaitDescriptor::of(*fd, details.as_deref().map(Cow::Borrowed)));
        }
    }
    out
}
