use super::graph::{self, GraphFormat};
use super::{json, table, why};
use crate::addr::Addr;
use crate::analysis::waits::graph::WaitGraph;
use crate::analysis::waits::{ById, Chain, WaitTable};
use crate::analysis::{Diagnosis, HeapProof, Index, findings};
use crate::heap::Grade;
use crate::heap::testing::made_up_leaks;
use crate::model::testing::{GoroutineSpec, NOW_NS, SnapshotBuilder, frame, intern};
use crate::model::{
    Channel, ChannelTimer, DescriptorDetails, Direction, Goid, HolderEvidence, LikelyHolder, LockOperation, MutexState,
    ObjectState, RwMutexState, SelectCase, Snapshot, TimerSource, Wait, WaitKind, WaitObject, WaitObjectId,
    WaitUnknown,
};
use crate::report::golden::compare;
use crate::report::text::TextStyle;

const SECOND: u64 = 1_000_000_000;

struct Shop {
    snapshot: Snapshot,
}

impl Shop {
    fn object(&mut self, addr: u64, state: ObjectState, holders: &[u64]) -> WaitObjectId {
        let evidence = HolderEvidence::OnStack { at: Addr(0xc0_0004_5f10), function: None };
        let likely_holders =
            holders.iter().map(|&id| LikelyHolder { goroutine: Goid(id), evidence }).collect::<Box<[_]>>();
        let object = WaitObject::new(Addr(addr), state);
        self.snapshot.waits.add_object(WaitObject { likely_holders: Some(likely_holders), ..object })
    }

    fn mutex(&mut self, addr: u64, holders: &[u64]) -> WaitObjectId {
        let state = MutexState { locked: true, starving: holders.len() == 1, waiters: 1 };
        self.object(addr, ObjectState::Mutex(state), holders)
    }

    fn waits(&mut self, id: u64, wait: Wait) {
        let wait = self.snapshot.waits.add(wait);
        let goroutine = self.snapshot.goroutines.iter_mut().find(|goroutine| goroutine.id.0 == id).unwrap();
        goroutine.waiting_on = Some(wait);
    }
}

fn locks(object: WaitObjectId) -> Wait {
    Wait::Lock { object, operation: LockOperation::Lock }
}

/// A program with every kind of wait in it.
fn shop() -> Snapshot {
    let job = intern("main.Job");
    let mut builder = SnapshotBuilder::new();
    let mut add = |id: u64, function: &str, reason: &str, seconds: u64| {
        let frames = vec![frame(function, "/src/shop/internal/store/store.go", 42)];
        let wait_ns = (seconds > 0).then_some(seconds * SECOND);
        builder.add(&GoroutineSpec { id, frames, reason: Some(reason), wait_ns, ..Default::default() });
    };
    add(1, "main.main", "chan receive (nil chan)", 400);
    add(17, "example.com/shop/internal/store.(*Store).refresh", "IO wait", 190);
    add(18, "main.transfer", "sync.Mutex.Lock", 75);
    add(19, "main.transferBack", "sync.Mutex.Lock", 75);
    for id in 20..32 {
        add(id, "example.com/shop/internal/store.(*Store).Get", "sync.Mutex.Lock", 160 + id);
    }
    for id in 40..45 {
        add(id, "example.com/shop/internal/queue.(*Worker).run", "chan receive", 10);
    }
    for id in 50..53 {
        add(id, "net/http.(*conn).serve", "IO wait", 3);
    }
    add(60, "main.poll", "select", 5);
    add(61, "main.nap", "sleep", 0);
    add(62, "main.reload", "sync.RWMutex.Lock", 2);
    add(63, "main.odd", "select", 0);
    let mut shop = Shop { snapshot: builder.build() };

    let store = shop.mutex(0xc0_0001_2340, &[17]);
    let (a, b) = (shop.mutex(0xc0_0001_2400, &[19]), shop.mutex(0xc0_0001_2500, &[18]));
    let readers = RwMutexState { readers: 3, writer_pending: true, ..RwMutexState::default() };
    let reload = shop.object(0xc0_0001_2600, ObjectState::RwMutex(readers), &[40, 41]);
    let jobs = Channel { capacity: 10, element_type: Some(job), receivers: Some(6), ..Channel::default() };
    let jobs = shop.object(0xc0_0007_e000, ObjectState::Channel(jobs), &[]);
    let timer = ChannelTimer { deadline_ns: NOW_NS + 3 * SECOND, period_ns: 0, source: TimerSource::Time };
    let timer = Channel { capacity: 1, receivers: Some(1), timer: Some(timer), ..Channel::default() };
    let timer = shop.object(0xc0_0007_f000, ObjectState::Channel(timer), &[]);
    let connection = |fd: u32, remote: &str| {
        let details = DescriptorDetails {
            what: "TCP".into(),
            state: Some("ESTABLISHED".into()),
            local: Some("10.0.0.3:41234".into()),
            remote: Some(remote.into()),
            ..DescriptorDetails::default()
        };
        ObjectState::Descriptor { fd, network: true, details: Some(Box::new(details)) }
    };
    let poll = |object| Wait::Poll { object, direction: Direction::Receive, deadline_ns: Some(NOW_NS + 30 * SECOND) };
    let database = shop.object(0x7f00_1000, connection(9, "10.0.0.7:5432"), &[]);

    shop.waits(1, Wait::Channel { channel: None, direction: Direction::Receive });
    shop.waits(17, poll(database));
    shop.waits(18, locks(a));
    shop.waits(19, locks(b));
    for id in 20..32 {
        shop.waits(id, locks(store));
    }
    for id in 40..45 {
        shop.waits(id, Wait::Channel { channel: Some(jobs), direction: Direction::Receive });
    }
    for id in 50..53_u32 {
        let client = shop.object(0x7f00_2000 + u64::from(id), connection(id, &format!("10.0.1.{id}:55000")), &[]);
        shop.waits(id.into(), poll(client));
    }
    let case = |channel| SelectCase { channel, direction: Direction::Receive };
    shop.waits(60, Wait::Select { cases: [jobs, timer].map(case).into() });
    shop.waits(61, Wait::Sleep { until_ns: NOW_NS + 9 * SECOND, bubble_now_ns: None });
    shop.waits(62, Wait::Lock { object: reload, operation: LockOperation::WaitForReaders });
    shop.waits(63, Wait::Unknown { kind: WaitKind::Select, why: WaitUnknown::Moved });
    shop.snapshot
}

fn style(width: usize) -> TextStyle {
    TextStyle { width: Some(width), colour: false }
}

fn text(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn all(snapshot: &Snapshot) -> Vec<usize> {
    (0..snapshot.goroutines.len()).collect()
}

fn chain(snapshot: &Snapshot, id: u64) -> Chain {
    let by_id = ById::of(snapshot);
    Chain::from(&Index::new(snapshot), &by_id, by_id.position(Goid(id)).unwrap())
}

#[test]
fn the_table_looks_as_it_should() {
    let snapshot = shop();
    let index = Index::new(&snapshot);
    for width in [80, 140] {
        let waits = WaitTable::of(&index, &all(&snapshot), true);
        let shown = text(|out| table::write(out, style(width), &index, &waits, 5));
        assert!(shown.lines().all(|line| line.chars().count() <= width), "{shown}");
        compare(&format!("waits/golden/waits-{width}.txt"), &shown);
    }
}

#[test]
fn why_looks_as_it_should() {
    let snapshot = shop();
    let index = Index::new(&snapshot);
    let found = findings::of_snapshot(&index);
    let diagnosis = Diagnosis::of(&index, &found);
    compare("waits/golden/why.txt", &text(|out| why::diagnosis(out, style(100), &index, &diagnosis, "4242")));
    let mut chains = String::new();
    for id in [1, 20, 18, 40, 60, 61, 62, 63] {
        chains.push_str(&text(|out| why::chain(out, style(100), &index, &chain(&snapshot, id), None)));
        chains.push('\n');
    }
    compare("waits/golden/chains.txt", &chains);
}

#[test]
fn the_chain_of_a_leaked_goroutine_says_so() {
    let snapshot = shop();
    let index = Index::new(&snapshot);
    let said = |id: u64, grade| {
        let leaks = made_up_leaks(grade, &[vec![18, 19], vec![60]], &[vec![18, 19]]);
        let by_id = ById::of(&snapshot);
        let proof = HeapProof::of_goroutine(&index, &leaks, by_id.position(Goid(id)).unwrap());
        let shown = text(|out| why::chain(out, style(100), &index, &chain(&snapshot, id), Some(&proof)));
        let without = text(|out| why::chain(out, style(100), &index, &chain(&snapshot, id), None));
        let json = text(|out| json::chain(out, &index, &chain(&snapshot, id), Some(&proof)));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        (shown.strip_prefix(&without).unwrap().to_owned(), json)
    };
    let (text, json) = said(18, Grade::Certain);
    assert!(
        text.starts_with("└ certain: goroutines 18 and 19 wait for each other; nothing else can wake them\n"),
        "{text}"
    );
    assert_eq!((&json["chain"]["leaked"], &json["leaks_grade"]), (&true.into(), &"certain".into()));
    assert_eq!((&json["certain"][0]["code"], json["certain"].as_array().unwrap().len()), (&"deadlock".into(), 1));
    let (text, json) = said(60, Grade::Confirmed);
    assert!(text.starts_with("└ confirmed: goroutine 60 can never wake\n"), "{text}");
    assert_eq!((json["certain"].as_array().unwrap().len(), &json["confirmed"][0]["code"]), (0, &"never_wakes".into()));
    let (text, json) = said(20, Grade::Certain);
    assert_eq!(
        (text.as_str(), &json["chain"]["leaked"]),
        ("└ goroutine 20 is not among the leaked ones\n", &false.into())
    );
}

#[test]
fn a_healthy_program_gets_one_calm_line() {
    let mut snapshot = shop();
    snapshot.target.resources = crate::model::Resources::default();
    snapshot.goroutines.retain(|goroutine| (40..60).contains(&goroutine.id.0));
    let index = Index::new(&snapshot);
    let shown = text(|out| why::diagnosis(out, style(100), &index, &Diagnosis::of(&index, &[]), "4242"));
    assert_eq!(shown, "nothing wrong found: 8 goroutines, waiting: channel 5, network 3\n    more: gospy waits 4242\n");
}

#[test]
fn graphs_in_every_form() {
    let snapshot = shop();
    let index = Index::new(&snapshot);
    let waits = WaitTable::of(&index, &all(&snapshot), true);
    let graph = WaitGraph::of(&index, &waits, 6);
    for (form, ending) in [
        (GraphFormat::Dot, "dot"),
        (GraphFormat::Mermaid, "mmd"),
        (GraphFormat::Json, "json"),
        (GraphFormat::Svg, "svg"),
    ] {
        assert_eq!(GraphFormat::of_ending(ending), Some(form));
        compare(&format!("waits/golden/graph.{ending}"), &text(|out| graph::write(out, &index, &graph, form)));
    }
}

#[test]
fn json_has_what_scripts_rely_on() {
    let snapshot = shop();
    let index = Index::new(&snapshot);
    let table = WaitTable::of(&index, &all(&snapshot), false);
    let value = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let waits = value(text(|out| json::waits(out, &index, &table, usize::MAX)));
    let store = waits["waits"].as_array().unwrap().iter().find(|row| row["address"] == "0xc000012340").unwrap();
    assert_eq!((&store["kind"], &store["waiting"]), (&"mutex".into(), &12.into()));
    assert_eq!(store["holders"][0]["goroutine_id"], 17);
    assert_eq!(store["holders"][0]["chain_end"], "outside");
    assert_eq!(store["object"]["starving"], true);
    assert_eq!(waits["row_count"], waits["waits"].as_array().unwrap().len());
    let found = findings::of_snapshot(&index);
    let why = value(text(|out| json::diagnosis(out, &index, &Diagnosis::of(&index, &found))));
    let codes: Vec<&str> = why["likely"].as_array().unwrap().iter().map(|of| of["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["likely_deadlock", "lock_contention", "lock_contention"]);
    let chain = value(text(|out| json::chain(out, &index, &chain(&snapshot, 18), None)));
    assert_eq!((&chain["chain"]["end"], &chain["chain"]["cycle_goroutine_id"]), (&"cycle".into(), &18.into()));
}
