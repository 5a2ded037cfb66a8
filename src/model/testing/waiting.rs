//! A server with everything that goroutines wait on: for tests of what is shown of it.

use super::{GoroutineSpec, NOW_NS, SnapshotBuilder, frame, intern};
use crate::addr::Addr;
use crate::model::{
    Channel, ChannelTimer, DescriptorDetails, Direction, Goid, HolderEvidence, LikelyHolder, LockOperation, MutexState,
    ObjectState, RwMutexState, SelectCase, Snapshot, TimerSource, Wait, WaitObject, WaitObjectId,
};

const SECOND: u64 = 1_000_000_000;

/// Adds goroutines at one place that wait for one reason, and what they wait on.
struct Server {
    builder: SnapshotBuilder,
    next: u64,
}

impl Server {
    fn object(&mut self, state: ObjectState) -> WaitObjectId {
        let waits = &mut self.builder.edit().waits;
        let at = u64::try_from(waits.objects().len()).unwrap_or(0);
        waits.add_object(WaitObject::new(Addr(0xc0_0001_2000 + 0x140 * at), state))
    }

    fn connection(&mut self, local: &str, remote: Option<&str>) -> WaitObjectId {
        let fd = u32::try_from(7 + self.builder.edit().waits.objects().len()).unwrap_or(0);
        let details = DescriptorDetails {
            what: "TCP".into(),
            state: Some(if remote.is_some() { "ESTABLISHED" } else { "LISTEN" }.into()),
            local: Some(local.into()),
            remote: remote.map(Into::into),
            ..DescriptorDetails::default()
        };
        self.object(ObjectState::Descriptor { fd, network: true, details: Some(Box::new(details)) })
    }

    fn add(&mut self, (function, file, line): (&str, &str, u32), reason: &str, wait: Wait) {
        let mut frames = vec![frame("runtime.gopark", "/usr/lib/go/src/runtime/proc.go", 462)];
        if reason == "IO wait" && !function.starts_with("net/http") {
            frames.push(frame("net.(*conn).Read", "/usr/lib/go/src/net/net.go", 194));
        }
        frames.push(frame(function, file, line));
        let wait_ns = Some(75 * SECOND);
        let spec = GoroutineSpec { id: self.next, reason: Some(reason), wait_ns, frames, ..Default::default() };
        self.builder.add(&spec);
        self.next += 1;
        let snapshot = self.builder.edit();
        let wait = snapshot.waits.add(wait);
        if let Some(goroutine) = snapshot.goroutines.last_mut() {
            goroutine.waiting_on = Some(wait);
        }
    }
}

/// The server.
#[must_use]
pub fn waiting_server() -> Snapshot {
    let job = intern("main.Job");
    let signal = intern("struct {}");
    let mut server = Server { builder: SnapshotBuilder::new(), next: 17 };
    let store = "/src/shop/internal/store/store.go";
    let poll = |object| Wait::Poll { object, direction: Direction::Receive, deadline_ns: None };
    let receive = |channel| SelectCase { channel, direction: Direction::Receive };

    // One that holds a lock waits for a reply, the others for the lock.
    let database = server.connection("10.0.0.3:41000", Some("10.0.0.7:5432"));
    let refresh = "example.com/shop/internal/store.(*Store).refresh";
    server.add(
        (refresh, store, 88),
        "IO wait",
        Wait::Poll { object: database, direction: Direction::Receive, deadline_ns: Some(NOW_NS + 25 * SECOND) },
    );
    let lock = server.object(ObjectState::Mutex(MutexState { locked: true, starving: true, waiters: 211 }));
    let evidence = HolderEvidence::OnStack { at: Addr(0xc0_0004_5f10), function: Some(intern(refresh)) };
    if let Some(lock) = server.builder.edit().waits.object_mut(lock) {
        lock.likely_holders = Some([LikelyHolder { goroutine: Goid(17), evidence }].into());
    }
    for _ in 0..211 {
        let wait = Wait::Lock { object: lock, operation: LockOperation::Lock };
        server.add(("example.com/shop/internal/store.(*Store).Get", store, 42), "sync.Mutex.Lock", wait);
    }
    // A pool of connections to one peer, but for one; and clients of one listener.
    for n in 0..12 {
        let peer = if n == 11 { "10.0.0.8:5432" } else { "10.0.0.7:5432" };
        let pooled = server.connection(&format!("10.0.0.3:{}", 41_001 + n), Some(peer));
        server.add(("example.com/shop/internal/store.(*Store).query", store, 120), "IO wait", poll(pooled));
    }
    for n in 0..60 {
        let client = server.connection("10.0.0.3:8080", Some(&format!("10.0.1.{n}:55000")));
        server.add(("net/http.(*conn).serve", "/usr/lib/go/src/net/http/server.go", 2109), "IO wait", poll(client));
    }
    let listener = server.connection("10.0.0.3:8080", None);
    server.add(("main.main", "/src/shop/cmd/orders/main.go", 41), "IO wait", poll(listener));

    // A queue that is full, with workers elsewhere that select on another one and on the end of a context.
    let full = Channel { length: 10, capacity: 10, element_type: Some(job), senders: Some(34), ..Channel::default() };
    let full = server.object(ObjectState::Channel(full));
    for _ in 0..34 {
        let wait = Wait::Channel { channel: Some(full), direction: Direction::Send };
        server.add(
            ("example.com/shop/internal/audit.(*Log).flush", "/src/shop/internal/audit/log.go", 58),
            "chan send",
            wait,
        );
    }
    let jobs = Channel { capacity: 64, element_type: Some(job), receivers: Some(20), ..Channel::default() };
    let jobs = server.object(ObjectState::Channel(jobs));
    let timer = ChannelTimer { deadline_ns: NOW_NS + 540 * SECOND, period_ns: 0, source: TimerSource::Context };
    let done = Channel { element_type: Some(signal), receivers: Some(20), timer: Some(timer), ..Channel::default() };
    let done = server.object(ObjectState::Channel(done));
    for _ in 0..20 {
        let wait = Wait::Select { cases: [receive(jobs), receive(done)].into() };
        server.add(
            ("example.com/shop/internal/queue.(*Worker).run", "/src/shop/internal/queue/worker.go", 71),
            "select",
            wait,
        );
    }
    // Each its own; and what is no object.
    for n in 0..5_u64 {
        let own = Channel { element_type: Some(signal), receivers: Some(1), ..Channel::default() };
        let own = server.object(ObjectState::Channel(own));
        let wait = Wait::Channel { channel: Some(own), direction: Direction::Receive };
        server.add(("main.await", "/src/shop/cmd/orders/main.go", 77), "chan receive", wait);
        let wait = Wait::Sleep { until_ns: NOW_NS + (n + 3) * SECOND, bubble_now_ns: None };
        server.add(("main.tick", "/src/shop/cmd/orders/main.go", 90), "sleep", wait);
    }
    let readers = RwMutexState { readers: 3, writer_pending: true, ..RwMutexState::default() };
    let reload = server.object(ObjectState::RwMutex(readers));
    let wait = Wait::Lock { object: reload, operation: LockOperation::WaitForReaders };
    server.add(("main.reload", "/src/shop/cmd/orders/main.go", 130), "sync.RWMutex.Lock", wait);
    let wait = Wait::Channel { channel: None, direction: Direction::Receive };
    server.add(("main.main.func3", "/src/shop/cmd/orders/main.go", 55), "chan receive (nil chan)", wait);
    let mut snapshot = server.builder.build();
    let objects = |wait| snapshot.waits.objects_of(wait).map(|(id, _)| id).collect::<Vec<_>>();
    let waited: Vec<WaitObjectId> = snapshot.waits.iter().flat_map(|(_, wait)| objects(wait)).collect();
    for id in waited {
        if let Some(object) = snapshot.waits.object_mut(id) {
            object.goroutines += 1;
        }
    }
    snapshot
}
