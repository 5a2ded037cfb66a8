use proptest::prelude::*;

use super::Filter;
use crate::addr::Addr;
use crate::analysis::Index;
use crate::model::testing::{GoroutineSpec, NOW_NS, SnapshotBuilder, frame, intern};
use crate::model::{
    Channel, ChannelTimer, DescriptorDetails, Direction, Goid, HolderEvidence, LikelyHolder, LockOperation, MutexState,
    ObjectState, SelectCase, Snapshot, Status, TimerSource, Wait, WaitObject,
};

fn snapshot() -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    let minute = 60_000_000_000;
    builder
        .add(&GoroutineSpec {
            id: 1,
            reason: Some("chan receive"),
            wait_ns: Some(10 * minute),
            frames: vec![
                frame("runtime.gopark", "/go/src/runtime/proc.go", 402),
                frame("main.(*Server).Serve", "/app/server.go", 33),
                frame("main.main", "/app/main.go", 12),
            ],
            labels: vec![("user", "alice")],
            ..Default::default()
        })
        .add(&GoroutineSpec {
            id: 2,
            reason: Some("select"),
            wait_ns: Some(minute),
            parent: Some(1),
            frames: vec![frame("main.worker", "/app/worker.go", 7)],
            creator: Some(frame("main.(*Server).Serve", "/app/server.go", 40)),
            locked: true,
            ..Default::default()
        })
        .add(&GoroutineSpec {
            id: 3,
            status: Status::Running,
            parent: Some(1),
            thread: Some(2),
            frames: vec![frame("main.worker", "/app/worker.go", 9)],
            ..Default::default()
        })
        .add(&GoroutineSpec {
            id: 4,
            reason: Some("GC worker (idle)"),
            system: true,
            frames: vec![frame("runtime.gcBgMarkWorker", "/go/src/runtime/mgc.go", 1)],
            ..Default::default()
        });
    builder.build()
}

fn ids(expression: &str) -> Vec<u64> {
    let snapshot = snapshot();
    let index = Index::new(&snapshot);
    let filter = Filter::parse(expression).unwrap_or_else(|e| panic!("{expression}: {e}"));
    filter.select(&index).into_iter().map(|at| snapshot.goroutines[at].id.0).collect()
}

#[test]
fn selects() {
    let table: &[(&str, &[u64])] = &[
        ("state=waiting", &[1, 2, 4]),
        ("state=Waiting", &[1, 2, 4]),
        ("state~Waiting", &[]),
        ("state!=waiting", &[3]),
        ("reason~chan", &[1]),
        ("reason = \"chan receive\"", &[1]),
        ("reason='GC worker (idle)'", &[4]),
        ("reason~(chan|select)", &[1, 2]),
        ("reason!~.", &[3]),
        ("func~serve", &[1]),
        ("func~SERVE", &[]),
        ("worker", &[2, 3, 4]),
        ("main.worker", &[2, 3]),
        ("main.(*Server).Serve", &[1]),
        ("(main.(*Server).Serve or id=4)", &[1, 4]),
        (r"func~main\.\(\*Server", &[1]),
        ("\"main.worker\"", &[2, 3]),
        ("place~server.go:33", &[1]),
        ("place=main.worker", &[2, 3]),
        ("file~main.go", &[1]),
        ("start=main.main", &[1]),
        ("creator~serve", &[2]),
        ("label.user=alice", &[1]),
        ("label~user=a", &[1]),
        ("label.user!=alice", &[2, 3, 4]),
        ("age>5m", &[1]),
        ("age<=5m", &[2]),
        ("not age>5m", &[2, 3, 4]),
        ("id=2", &[2]),
        ("id!=2", &[1, 3, 4]),
        ("id>=2 and id<4", &[2, 3]),
        ("parent=1", &[2, 3]),
        ("parent!=1", &[]),
        ("m=2", &[3]),
        ("thread=4244", &[3]),
        ("system", &[4]),
        ("not system", &[1, 2, 3]),
        ("!system && !locked", &[1, 3]),
        ("system=false", &[1, 2, 3]),
        ("locked", &[2]),
        ("locked or system", &[2, 4]),
        ("id=1 or id=2 and locked", &[1, 2]),
        ("(id=1 or id=2) and locked", &[2]),
        ("NOT (id=1 OR id=2)", &[3, 4]),
        ("not not id=1", &[1]),
        ("stack>64", &[1]),
        ("stack>=64B", &[1, 2, 4]),
    ];
    for (expression, want) in table {
        assert_eq!(ids(expression), *want, "{expression}");
    }
}

#[test]
fn the_same_with_parts() {
    let table: &[(&str, Option<&str>)] = &[
        ("func=worker", Some("func~worker")),
        (
            "Reason = 'chan' and (id=1 or place==main.(*Server).S)",
            Some("Reason~chan and (id=1 or place~main\\.\\(\\*Server\\)\\.S)"),
        ),
        ("label.user=\"a b\" or label='say \"x y\"'", Some("label.user~\"a b\" or label~'say \"x y\"'")),
        ("state=waiting", None),
        ("func~worker and func!=x and age>5m", None),
        ("worker", None),
    ];
    for (expression, want) in table {
        let looser = Filter::parse(expression).expect(expression).with_parts();
        assert_eq!(looser.map(|(text, _)| text).as_deref(), *want, "{expression}");
    }
    let (_, looser) = Filter::parse("func=server and reason=chan").unwrap().with_parts().unwrap();
    let snapshot = snapshot();
    assert_eq!(looser.select(&Index::new(&snapshot)), [0]);
}

#[test]
fn points_at_what_is_wrong() {
    let table: &[(&str, &str, &str)] = &[
        ("stat=waiting and age>5m", "stat", "there is no field `stat`"),
        ("state=wating", "wating", "there is no state `wating`"),
        ("age>5x", "5x", "`5x` is not a duration"),
        ("stack>5parsec", "5parsec", "`5parsec` is not a size in bytes"),
        ("id=x", "x", "`x` is not a number"),
        ("age", "age", "`age` is a field: it needs an operator and a value"),
        ("age>", "", "a value is missing after `>`"),
        ("func~(", "(", "this is not a regular expression: unclosed group"),
        ("reason=chan receive", "receive", "expected `and`, `or` or the end here"),
        ("state>running", "state", "this field is text; it has no order"),
        ("id~1", "id", "this field is a number; a regular expression does not fit"),
        ("system~x", "system", "this field is true or false"),
        ("system=maybe", "maybe", "`maybe` is neither true nor false"),
        ("a and", "", "something is missing here"),
        ("and a", "and", "a condition is missing before `and`"),
        ("=5", "=", "a field is missing before this"),
        ("(a", "", "expected `and`, `or` or `)` here"),
        ("a)", ")", "this parenthesis closes nothing"),
        ("reason=\"x", "\"x", "this quotation does not end"),
        ("", "", "something is missing here"),
    ];
    for (expression, blamed, problem) in table {
        let error = Filter::parse(expression).expect_err(expression);
        assert_eq!((expression.get(error.at()), error.problem()), (Some(*blamed), *problem), "{expression}");
    }
}

#[test]
fn an_error_shows_the_place() {
    let error = Filter::parse("func~世界 and stat=waiting").expect_err("unknown field");
    assert_eq!(
        error.to_string(),
        "there is no field `stat`\n    func~世界 and stat=waiting\n                  ^^^^\nfields: state, reason, func, \
         place, file, start, creator, label, label.KEY, age, id, parent, m, thread, bubble, stack, system, locked, kind, object, type, peer, fd, deadline, holder"
    );
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = "(".repeat(5_000);
    assert!(Filter::parse(&deep).expect_err("deep").problem().contains("deep"));
    assert!(Filter::parse(&"!".repeat(5_000)).expect_err("deep").problem().contains("deep"));
    let long = "a".repeat(100_000);
    assert!(Filter::parse(&long).expect_err("long").problem().contains("limit"));
}

proptest! {
    #[test]
    fn never_panics(expression in ".{0,60}") {
        match Filter::parse(&expression) {
            Ok(filter) => drop(filter.with_parts()),
            Err(error) => {
                prop_assert!(expression.get(error.at()).is_some());
                let _ = error.to_string();
            }
        }
    }

    #[test]
    fn never_panics_on_what_looks_right(words in proptest::collection::vec(
        prop_oneof![
            Just("state"), Just("="), Just("!="), Just("~"), Just("("), Just(")"), Just("and"), Just("or"), Just("not"),
            Just("age"), Just(">"), Just("5m"), Just("\""), Just("'"), Just("waiting"), Just("label.x"), Just("é"), Just(" "),
        ], 0..20)
    ) {
        let expression = words.concat();
        if let Ok(filter) = Filter::parse(&expression) {
            let snapshot = snapshot();
            let _ = filter.select(&Index::new(&snapshot));
            if let Some((_, looser)) = filter.with_parts() {
                let _ = looser.select(&Index::new(&snapshot));
            }
        }
        let _ = Filter::parse(&words.join(" "));
    }
}

#[test]
fn selects_by_what_is_waited_on() {
    let job = intern("main.Job");
    let mut snapshot = snapshot();
    let channel = Channel { element_type: Some(job), ..Channel::default() };
    let timer = ChannelTimer { deadline_ns: NOW_NS + 5_000_000_000, period_ns: 0, source: TimerSource::Time };
    let details = DescriptorDetails { remote: Some("10.0.0.7:5432".into()), ..DescriptorDetails::default() };
    let holder = LikelyHolder { goroutine: Goid(3), evidence: HolderEvidence::OnStack { at: Addr(1), function: None } };
    let states = [
        ObjectState::Channel(channel),
        ObjectState::Channel(Channel { timer: Some(timer), ..Channel::default() }),
        ObjectState::Descriptor { fd: 9, network: true, details: Some(Box::new(details)) },
        ObjectState::Mutex(MutexState::default()),
    ];
    let objects = states.map(|state| {
        let object = WaitObject::new(Addr(0xc0_0000_1000), state);
        snapshot.waits.add_object(WaitObject { likely_holders: Some([holder].into()), ..object })
    });
    let case = |channel| SelectCase { channel, direction: Direction::Receive };
    let waits = [
        Wait::Select { cases: [objects[0], objects[1]].map(case).into() },
        Wait::Poll { object: objects[2], direction: Direction::Receive, deadline_ns: None },
        Wait::Lock { object: objects[3], operation: LockOperation::Lock },
    ];
    for (at, wait) in waits.into_iter().enumerate() {
        snapshot.goroutines[at].waiting_on = Some(snapshot.waits.add(wait));
    }
    let index = Index::new(&snapshot);
    for (expression, wanted) in [
        ("kind=select", vec![1]),
        ("kind=network or kind=mutex", vec![2, 3]),
        ("kind!=select", vec![2, 3, 4]),
        ("type~Job", vec![1]),
        ("type=main.Job", vec![1]),
        ("peer~:5432", vec![2]),
        ("fd=9", vec![2]),
        ("fd!=9", vec![]),
        ("deadline<10s", vec![1]),
        ("deadline<4s", vec![]),
        ("holder=3 and kind=mutex", vec![3]),
        ("object=0xc000001000 and not kind=network", vec![1, 3]),
        ("object=0x1", vec![]),
    ] {
        let found = Filter::parse(expression).unwrap().select(&index);
        let ids: Vec<u64> = found.into_iter().map(|at| snapshot.goroutines[at].id.0).collect();
        assert_eq!(ids, wanted, "{expression}");
    }
    for (expression, problem) in [
        ("kind=mutexes", "there is no kind `mutexes`"),
        ("object=12", "`12` is not an address"),
        ("deadline>soon", "`soon` is not a duration"),
        ("peer>3", "this field is text; it has no order"),
    ] {
        assert_eq!(Filter::parse(expression).unwrap_err().problem(), problem);
    }
}

#[test]
fn many_patterns_take_no_more_memory_than_a_few() {
    let joined = |pattern: &str, n: usize| vec![pattern; n].join(" or ");
    assert!(Filter::parse(&joined("func~\\w{9}", 4)).is_ok());
    let error = Filter::parse(&joined("func~\\w{9}", 800)).unwrap_err();
    assert!(error.problem().contains("size limit"), "{error:?}");
    assert!(Filter::parse(&joined("http.(*conn)", 800)).is_ok(), "words are small");
}
