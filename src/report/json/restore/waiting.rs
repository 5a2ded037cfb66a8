//! What goroutines wait for, read back.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Deserialize;

use super::convert::address;
use crate::addr::{Addr, Arch};
use crate::model::wait::{
    Channel, ChannelTimer, DescriptorDetails, Direction, HolderEvidence, LikelyHolder, LockOperation, MutexState,
    ObjectState, RwMutexState, SelectCase, TimerSource, WaitUnknown,
};
use crate::model::{
    Activity, Descriptor, Descriptors, ForeignFrame, Goid, NotInGo, Outside, SymbolPool, SystemCall, Wait, WaitId,
    WaitKind, WaitObject, WaitObjectId, Waits,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WaitingOn {
    kind: String,
    unknown: Option<String>,
    address: Option<String>,
    waiting: Option<u32>,
    direction: Option<String>,
    operation: Option<String>,
    length: Option<u64>,
    capacity: Option<u64>,
    element_type: Option<String>,
    closed: Option<bool>,
    senders: Option<u64>,
    receivers: Option<u64>,
    timer: Option<WaitTimer>,
    cases: Option<Vec<WaitCase>>,
    locked: Option<bool>,
    starving: Option<bool>,
    waiters: Option<u64>,
    readers: Option<u32>,
    waiting_readers: Option<u32>,
    waiting_writers: Option<u32>,
    writer_pending: Option<bool>,
    counter: Option<i32>,
    value: Option<u32>,
    likely_holders: Option<Vec<WaitHolder>>,
    fd: Option<u32>,
    descriptor: Option<String>,
    local: Option<String>,
    remote: Option<String>,
    socket_state: Option<String>,
    receive_queue: Option<u64>,
    send_queue: Option<u64>,
    path: Option<String>,
    system_call: Option<WaitCall>,
    c_function: Option<WaitFunction>,
    deadline_ns: Option<i64>,
    partner_id: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WaitCall {
    activity: String,
    number: Option<u64>,
    arguments: Option<Vec<String>>,
    descriptors: Vec<WaitDescriptor>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WaitDescriptor {
    fd: i32,
    descriptor: Option<String>,
    local: Option<String>,
    remote: Option<String>,
    socket_state: Option<String>,
    receive_queue: Option<u64>,
    send_queue: Option<u64>,
    path: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WaitFunction {
    name: Option<String>,
    library: Option<String>,
    pc: String,
    offset: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WaitCase {
    address: String,
    direction: String,
    length: u64,
    capacity: u64,
    element_type: Option<String>,
    closed: bool,
    senders: Option<u64>,
    receivers: Option<u64>,
    timer: Option<WaitTimer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WaitTimer {
    deadline_ns: i64,
    period_ns: u64,
    source: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WaitHolder {
    goroutine_id: u64,
    address: String,
    function: Option<String>,
}

/// Waits that were read back so far.
pub(super) struct RestoredWaits<'p> {
    pub(super) waits: Waits,
    pool: &'p mut SymbolPool,
    /// The snapshot's time, ns by the clock that it was given.
    now_ns: u64,
    objects: FxHashMap<(Addr, WaitKind), WaitObjectId>,
    arch: Arch,
    outside: Vec<Outside>,
    descriptors: BTreeMap<i32, Descriptor>,
}

impl<'p> RestoredWaits<'p> {
    pub(super) fn new(pool: &'p mut SymbolPool, now_ns: u64, arch: Arch) -> Self {
        Self {
            waits: Waits::default(),
            pool,
            now_ns,
            objects: FxHashMap::default(),
            arch,
            outside: Vec::new(),
            descriptors: BTreeMap::new(),
        }
    }

    /// All waits, the goroutines that were not in Go, and the descriptors of their system calls.
    pub(super) fn finish(self) -> (Waits, NotInGo, Descriptors) {
        (self.waits, NotInGo::new(self.outside, None), self.descriptors.into_iter().collect())
    }

    /// What the goroutine at `addr` waited for; `None` for a kind that this gospy does not know.
    pub(super) fn add(&mut self, addr: Addr, document: &WaitingOn) -> Option<WaitId> {
        let kind = WaitKind::ALL.into_iter().find(|kind| kind.name() == document.kind)?;
        let wait = self.wait(kind, document);
        if let (Wait::Syscall | Wait::C, Some(call)) = (&wait, &document.system_call) {
            self.add_outside(addr, wait == Wait::C, call, document.c_function.as_ref());
        }
        Some(self.waits.add(wait))
    }

    fn wait(&mut self, kind: WaitKind, document: &WaitingOn) -> Wait {
        if let Some(why) = &document.unknown {
            // A later gospy's reason says as much as this.
            let why = WaitUnknown::ALL.into_iter().find(|known| known.name() == why);
            return Wait::Unknown { kind, why: why.unwrap_or(WaitUnknown::NotFound) };
        }
        let direction = direction(document.direction.as_deref().unwrap_or_default());
        let deadline_ns = document.deadline_ns.map(|left| self.time(left));
        match kind {
            WaitKind::Channel => Wait::Channel { channel: self.object(kind, document), direction },
            WaitKind::Select => {
                let cases = document.cases.as_deref().unwrap_or_default();
                Wait::Select { cases: cases.iter().map(|case| self.case(case)).collect() }
            }
            WaitKind::Syscall => Wait::Syscall,
            WaitKind::C => Wait::C,
            WaitKind::Runtime => Wait::Runtime,
            WaitKind::Coroutine => Wait::Coroutine { partner: document.partner_id.map(Goid) },
            WaitKind::Sleep => Wait::Sleep { until_ns: deadline_ns.unwrap_or(self.now_ns), bubble_now_ns: None },
            _ => match self.object(kind, document) {
                Some(object) if matches!(kind, WaitKind::Network | WaitKind::File) => {
                    Wait::Poll { object, direction, deadline_ns }
                }
                Some(object) => {
                    let operation = LockOperation::ALL
                        .into_iter()
                        .find(|operation| Some(operation.name()) == document.operation.as_deref());
                    Wait::Lock { object, operation: operation.unwrap_or(LockOperation::Acquire) }
                }
                None => Wait::Unknown { kind, why: WaitUnknown::NotFound },
            },
        }
    }

    fn add_outside(&mut self, goroutine: Addr, in_c: bool, of: &WaitCall, function: Option<&WaitFunction>) {
        let call = of.number.map(|number| {
            let mut arguments = [0; 6];
            for (argument, text) in arguments.iter_mut().zip(of.arguments.iter().flatten()) {
                *argument = address(text).0;
            }
            SystemCall { number, arguments }
        });
        let own: Vec<i32> = call.map(|call| call.descriptors(self.arch).collect()).unwrap_or_default();
        let polled = of.descriptors.iter().map(|descriptor| descriptor.fd).filter(|fd| !own.contains(fd)).collect();
        for known in &of.descriptors {
            let Some(what) = known.descriptor.clone() else { continue };
            let details = DescriptorDetails {
                what,
                state: known.socket_state.clone(),
                local: known.local.clone(),
                remote: known.remote.clone(),
                receive_queue: known.receive_queue,
                send_queue: known.send_queue,
                path: known.path.clone(),
            };
            self.descriptors.insert(known.fd, details.to_descriptor());
        }
        let c_function = function.map(|function| ForeignFrame {
            function: function.name.as_deref().map(|name| self.pool.intern_str(name)),
            object: self.pool.intern_str(function.library.as_deref().unwrap_or_default()),
            pc: address(&function.pc),
            offset: function.offset,
        });
        let activity = Activity::of_name(&of.activity, call);
        self.outside.push(Outside { goroutine, in_c, activity, c_function, polled });
    }

    fn time(&self, left: i64) -> u64 {
        self.now_ns.saturating_add_signed(left)
    }

    fn timer(&self, timer: &WaitTimer) -> ChannelTimer {
        let source = if timer.source == TimerSource::Context.name() { TimerSource::Context } else { TimerSource::Time };
        ChannelTimer { deadline_ns: self.time(timer.deadline_ns), period_ns: timer.period_ns, source }
    }

    fn case(&mut self, case: &WaitCase) -> SelectCase {
        let state = Channel {
            length: case.length,
            capacity: case.capacity,
            element_type: case.element_type.as_deref().map(|name| self.pool.intern_str(name)),
            closed: case.closed,
            senders: case.senders,
            receivers: case.receivers,
            timer: case.timer.as_ref().map(|timer| self.timer(timer)),
        };
        let object = WaitObject::new(address(&case.address), ObjectState::Channel(state));
        SelectCase { channel: self.intern(WaitKind::Channel, object), direction: direction(&case.direction) }
    }

    /// The object of a wait; `None` for one without.
    fn object(&mut self, kind: WaitKind, document: &WaitingOn) -> Option<WaitObjectId> {
        let addr = address(document.address.as_deref()?);
        let waiters = document.waiters.and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
        let mutex = MutexState {
            locked: document.locked.unwrap_or(false),
            starving: document.starving.unwrap_or(false),
            waiters,
        };
        let state = match kind {
            WaitKind::Channel => ObjectState::Channel(Channel {
                length: document.length.unwrap_or(0),
                capacity: document.capacity.unwrap_or(0),
                element_type: document.element_type.as_deref().map(|name| self.pool.intern_str(name)),
                closed: document.closed.unwrap_or(false),
                senders: document.senders,
                receivers: document.receivers,
                timer: document.timer.as_ref().map(|timer| self.timer(timer)),
            }),
            WaitKind::Mutex => ObjectState::Mutex(mutex),
            WaitKind::RwMutex => ObjectState::RwMutex(RwMutexState {
                writers: MutexState { waiters: document.waiting_writers.unwrap_or(0), ..mutex },
                writer_pending: document.writer_pending.unwrap_or(false),
                readers: document.readers.unwrap_or(0),
                waiting_readers: document.waiting_readers.unwrap_or(0),
            }),
            WaitKind::WaitGroup => ObjectState::WaitGroup { counter: document.counter.unwrap_or(0), waiters },
            WaitKind::Cond => ObjectState::Cond { waiters },
            WaitKind::Semaphore => ObjectState::Semaphore { value: document.value.unwrap_or(0) },
            _ => ObjectState::Descriptor {
                fd: document.fd?,
                network: kind == WaitKind::Network,
                details: document.descriptor.as_ref().map(|what| {
                    Box::new(DescriptorDetails {
                        what: what.clone(),
                        state: document.socket_state.clone(),
                        local: document.local.clone(),
                        remote: document.remote.clone(),
                        receive_queue: document.receive_queue,
                        send_queue: document.send_queue,
                        path: document.path.clone(),
                    })
                }),
            },
        };
        let mut holder = |holder: &WaitHolder| {
            let function = holder.function.as_deref().map(|name| self.pool.intern_str(name));
            let evidence = HolderEvidence::OnStack { at: address(&holder.address), function };
            LikelyHolder { goroutine: Goid(holder.goroutine_id), evidence }
        };
        let holders = document.likely_holders.as_ref();
        let likely_holders = holders.map(|holders| holders.iter().map(&mut holder).collect());
        let goroutines = document.waiting.unwrap_or(0);
        Some(self.intern(kind, WaitObject { addr, goroutines, state, likely_holders }))
    }

    /// The object at its address. That of a case does not say how many wait; others do.
    fn intern(&mut self, kind: WaitKind, object: WaitObject) -> WaitObjectId {
        let key = (object.addr, kind);
        match self.objects.get(&key) {
            Some(&id) => {
                if let Some(known) = self.waits.object_mut(id).filter(|known| known.goroutines == 0) {
                    known.goroutines = object.goroutines;
                }
                id
            }
            None => {
                let id = self.waits.add_object(object);
                self.objects.insert(key, id);
                id
            }
        }
    }
}

fn direction(text: &str) -> Direction {
    if text == Direction::Send.name() { Direction::Send } else { Direction::Receive }
}
