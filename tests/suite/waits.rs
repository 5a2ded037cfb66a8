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

/// What groups are said to wait on is what their members are said to wait on, one by one: in one capture, since the
/// program goes on.
#[test]
fn groups_wait_on_what_their_members_do() {
    let folder = tempfile::tempdir().unwrap();
    let (mut shared, mut by_object) = (0, 0);
    for arguments in [&["states", "1"][..], &["deadlock"], &["healthy"]] {
        let program = live(arguments);
        let file = folder.path().join("program.capture");
        let file = file.to_str().unwrap();
        gospy(&["capture", "--pid", &program.pid().to_string(), "-o", file, "--force"]).ok();
        let document = |more: &[&str]| -> Value {
            gospy(&[&["summary", "--json", "--from", file], more].concat()).json()["goroutines"].clone()
        };
        let each = document(&[])["list"].as_array().unwrap().clone();
        // What one waits on, as far as a group's `waiting_on` can say it.
        let is_on = |goroutine: &Value, on: &Value| {
            let wait = &goroutine["waiting_on"];
            let mut cases = wait["cases"].as_array().into_iter().flatten();
            let same = |key: &str| !on[key].is_null() && wait[key] == on[key];
            match on["address"].is_null() {
                false => same("address") || cases.any(|case| case["address"] == on["address"]),
                true => same("remote") || same("local") || (wait.is_object() && wait == on),
            }
        };
        for by in ["--group", "--group=object", "--group=start"] {
            let document = document(&[by, "--limit", "0"]);
            assert_eq!(document["grouped_by"], by.strip_prefix("--group=").unwrap_or("place"));
            let groups = document["groups"].as_array().unwrap();
            let total: u64 = groups.iter().map(|group| group["count"].as_u64().unwrap()).sum();
            assert_eq!(total, u64::try_from(each.len()).unwrap());
            for group in groups {
                let ids = group["ids"].as_array().unwrap();
                let members: Vec<&Value> = each.iter().filter(|goroutine| ids.contains(&goroutine["id"])).collect();
                let waiting = members.iter().filter(|goroutine| goroutine["waiting_on"].is_object()).count();
                let on = &group["waiting_on"];
                let count = members.iter().filter(|goroutine| is_on(goroutine, on)).count();
                if on.is_null() {
                    assert!(group["waiting_on_count"].is_null(), "{group}");
                    continue;
                }
                shared += usize::from(members.len() > 1);
                by_object += usize::from(by == "--group=object" && !on["address"].is_null());
                assert_eq!(group["waiting_on_count"], count, "{group}");
                assert!(count * 10 >= waiting * 9, "{count} of {waiting}: {group}");
                let states: u64 =
                    group["states"].as_array().unwrap().iter().map(|of| of["count"].as_u64().unwrap()).sum();
                assert_eq!(group["count"], states);
            }
        }
        // Every lock on which several wait is one group, with all of them.
        let groups = document(&["--group=object", "--limit", "0"]);
        for lock in each.iter().map(|goroutine| &goroutine["waiting_on"]).filter(|wait| wait["kind"] == "mutex") {
            let count = each.iter().filter(|other| other["waiting_on"]["address"] == lock["address"]).count();
            let mut of_lock = groups["groups"].as_array().unwrap().iter();
            let group = of_lock.find(|group| group["waiting_on"]["address"] == lock["address"]).unwrap();
            assert_eq!(group["count"], count);
        }
    }
    assert!(shared > 0 && by_object > 0, "{shared} {by_object}");
}

/// The keys of groups, where they are taken.
#[test]
fn keys_of_groups() {
    let program = live(&["deadlock"]);
    let pid = program.pid().to_string();
    for (command, key) in [("summary", "object"), ("summary", "state"), ("stack", "object"), ("stack", "place")] {
        let typed = format!("--group={key}");
        let by_equals = gospy(&[command, "--json", &typed, "--pid", &pid]).json();
        assert_eq!(by_equals["goroutines"]["grouped_by"], key);
        let by_space = gospy(&[command, "--json", "--group-by", key, "--pid", &pid]).json();
        assert_eq!(by_space["goroutines"]["grouped_by"], key);
    }
    for name in ["--group-by", "--group"] {
        let refresh = gospy(&["top", "--json", "--once", name, "object", "--pid", &pid]).json();
        assert_eq!(refresh["grouped_by"], "object");
        let groups = refresh["groups"].as_array().unwrap();
        assert!(groups.iter().any(|group| group["waiting_on"]["kind"] == "mutex"), "{refresh}");
    }
    let text = gospy(&["summary", "--group=object", "--pid", &pid]).ok();
    assert!(text.contains(" objects") && text.contains("Mutex 0x") && text.contains("locked"), "{text}");
    let text = gospy(&["stack", "--group=object", "--pid", &pid]).ok();
    assert!(text.contains("sync.Mutex.Lock"), "{text}");
    // A target after the bare word is a target.
    assert_eq!(gospy(&["summary", "--json", "--group", &pid]).json()["goroutines"]["grouped_by"], "place");
    for wrong in [&["summary", "--group=colour", "--pid", &pid][..], &["diff", "--by", "object", &pid, &pid]] {
        let refused = gospy(wrong);
        assert_eq!(refused.code(), 2);
        assert!(refused.stderr.contains("object"), "{}", refused.stderr);
    }
}
