//! What the goroutines of a running program wait for, without a toolchain.

use crate::support::{Running, gospy, live};
use serde_json::Value;

fn waits(program: &Running, more: &[&str]) -> Vec<Value> {
    let pid = program.pid().to_string();
    let document = gospy(&[&["summary", "--json", "--pid", &pid], more].concat()).json();
    document["goroutines"]["list"].as_array().unwrap().clone()
}

/// The one that waits for this reason.
fn of<'w>(waits: &'w [Value], reason: &str) -> Vec<&'w Value> {
    let of_reason = waits.iter().filter(|goroutine| goroutine["wait_reason"] == reason);
    of_reason.map(|goroutine| &goroutine["waiting_on"]).collect()
}

fn check(seen: &[Value]) {
    for goroutine in seen {
        let (state, wait) = (goroutine["state"].as_str().unwrap(), &goroutine["waiting_on"]);
        assert_eq!(wait.is_object(), ["waiting", "syscall"].contains(&state), "{goroutine}");
        if wait.is_object() && goroutine["system"] == false {
            assert!(wait["unknown"].is_null(), "{goroutine}");
        }
    }
    let receivers = of(seen, "chan receive");
    assert!(!receivers.is_empty());
    for wait in receivers {
        assert_eq!((&wait["kind"], &wait["direction"]), (&"channel".into(), &"receive".into()));
        assert_eq!((&wait["senders"], &wait["closed"]), (&0.into(), &false.into()));
        assert!(wait["receivers"].as_u64().unwrap() >= 1 && wait["element_type"].is_string(), "{wait}");
    }
    for wait in of(seen, "chan send (nil chan)") {
        assert_eq!((&wait["direction"], &wait["address"]), (&"send".into(), &Value::Null));
    }
    for wait in of(seen, "select (no cases)") {
        assert_eq!(wait["cases"], Value::Array(Vec::new()));
    }
    let mutexes = of(seen, "sync.Mutex.Lock");
    assert!(!mutexes.is_empty());
    for wait in mutexes {
        assert_eq!((&wait["locked"], &wait["waiters"]), (&true.into(), &1.into()), "{wait}");
    }
    let in_the_future = of(seen, "sleep").iter().filter(|wait| wait["deadline_ns"].as_i64() > Some(0)).count();
    assert!(in_the_future > 0);
}

#[test]
fn goroutines_of_a_live_and_of_a_stopped_program() {
    let program = live(&["states", "1"]);
    let seen = waits(&program, &[]);
    check(&seen);
    check(&waits(&program, &["--freeze=all"]));
    check(&waits(&program, &["--freeze=running"]));
}

/// A pair that waits for each other's lock is likely to hold what the other waits for.
#[test]
fn likely_holders_of_a_deadlock() {
    let program = live(&["deadlock"]);
    let seen = waits(&program, &[]);
    let at_locks: Vec<&Value> = seen.iter().filter(|g| g["wait_reason"] == "sync.Mutex.Lock").collect();
    let holders = |goroutine: &Value| -> Vec<u64> {
        let holders = goroutine["waiting_on"]["likely_holders"].as_array().unwrap();
        holders.iter().map(|holder| holder["goroutine_id"].as_u64().unwrap()).collect()
    };
    let id = |goroutine: &Value| goroutine["id"].as_u64().unwrap();
    let held_by = |goroutine: &&&Value| {
        at_locks.iter().any(|other| holders(goroutine) == [id(other)] && holders(other) == [id(goroutine)])
    };
    assert_eq!(at_locks.iter().filter(held_by).count(), 2, "{at_locks:?}");
}
