//! What goroutines do in C, against what the fixture's C code is written to do.

use crate::support::{Fixture, Mode, gospy};
use serde_json::Value;

/// Number of the system call `read` on amd64.
const READ: u64 = 0;
/// Number of the system call `clock_nanosleep` on amd64.
const CLOCK_NANOSLEEP: u64 = 230;

/// Names without what the C library and cgo put around them: `__GI___libc_read` is `read`, and
/// `_cgo_0123456789ab_Cfunc_cRead` is `cRead`.
fn plain(name: &str) -> &str {
    if let Some((_, name)) = name.split_once("_Cfunc_") {
        return name;
    }
    let name = name.trim_start_matches("__GI_").trim_start_matches('_');
    name.strip_prefix("libc_").unwrap_or(name)
}

fn names(goroutine: &Value) -> Vec<Option<String>> {
    let frames = goroutine["c_frames"].as_array().unwrap();
    frames.iter().map(|frame| frame["function"].as_str().map(|name| plain(name).to_owned())).collect()
}

/// The goroutine's innermost frame in Go that the program's own dumps show.
fn shown(goroutine: &Value) -> &str {
    let frames = goroutine["frames"].as_array().into_iter().flatten();
    frames.into_iter().find(|frame| frame["hidden"] == false).and_then(|frame| frame["function"].as_str()).unwrap_or("")
}

fn check(version: &str, mode: Mode, more: &[&str]) {
    let program = Fixture::start("fx", version, mode, &["states", "1"]);
    let pid = program.pid().to_string();
    let label = format!("{version} {} {more:?}", mode.name());
    let arguments = [&["stack", "--json", "--pid", &pid], more].concat();
    let document = gospy(&arguments).json();
    let list = document["goroutines"]["list"].as_array().unwrap();
    let in_c: Vec<&Value> = list.iter().filter(|goroutine| !goroutine["c_frames"].is_null()).collect();

    let sleeps: Vec<_> = in_c.iter().filter(|goroutine| shown(goroutine) == "main._Cfunc_cSleep").collect();
    let reads: Vec<_> = in_c.iter().filter(|goroutine| shown(goroutine) == "main._Cfunc_cRead").collect();
    // A read, one on a locked thread, and one in a callback out of C. Nobody else is in C.
    assert_eq!((sleeps.len(), reads.len(), in_c.len()), (1, 3, 4), "{label}");
    let stopped = more.contains(&"--freeze=all");
    for goroutine in &in_c {
        assert_eq!(goroutine["state"], "syscall", "{label}");
        assert_eq!(goroutine["c_frames_complete"], true, "{label}: {goroutine}");
        for frame in goroutine["c_frames"].as_array().unwrap() {
            assert_eq!(frame["language"], "c");
            let object = frame["object"].as_str().unwrap();
            let libc = frame["function"].as_str().is_some_and(|name| !name.contains("_Cfunc_"));
            let wanted = if libc && mode != Mode::CgoStatic { "/libc.so.6" } else { "/fx" };
            assert!(object.ends_with(wanted), "{label}: {frame}");
        }
    }

    let some = |names: &[&str]| names.iter().map(|name| Some((*name).to_owned())).collect::<Vec<_>>();
    for goroutine in sleeps {
        // What calls sleep last of all jumps to it, and has no frame.
        let mut found = names(goroutine);
        let own = found.pop_if(|name| name.as_deref() != Some("sleep"));
        assert!(own.is_none() || own == Some(None) || own == Some(Some("cSleep".to_owned())), "{label}: {own:?}");
        assert_eq!(found, some(&["clock_nanosleep", "nanosleep", "sleep"]), "{label}");
        assert_eq!(goroutine["c_syscall"].as_u64(), (!stopped).then_some(CLOCK_NANOSLEEP), "{label}");
    }
    for goroutine in reads {
        let found = names(goroutine);
        // Without symbols the program's own C functions have names only where they are exported.
        match (mode, found.as_slice()) {
            (Mode::CgoSw | Mode::CgoPieSw, [_, None]) => assert_eq!(found, [Some("read".to_owned()), None], "{label}"),
            _ => assert_eq!(found, some(&["read", "cRead"]), "{label}"),
        }
        // A freeze leaves it asleep, so what it waits in is known then too.
        assert_eq!(goroutine["c_syscall"].as_u64(), Some(READ), "{label}");
    }
}

#[test]
fn c_functions_below_go_are_those_of_the_fixture() {
    for (version, mode) in [
        ("1.19", Mode::Cgo),
        ("1.19", Mode::CgoPieSw),
        ("1.21.13", Mode::CgoSw),
        ("1.22.10", Mode::CgoStatic),
        ("1.27.3", Mode::Cgo),
        ("1.27.3", Mode::CgoSw),
        ("1.27.3", Mode::CgoStatic),
        ("1.27.3", Mode::CgoPieSw),
    ] {
        check(version, mode, &[]);
    }
}

#[test]
fn a_freeze_shows_the_same() {
    for (version, mode) in [("1.19", Mode::Cgo), ("1.27.3", Mode::CgoPieSw)] {
        check(version, mode, &["--freeze=all"]);
    }
}

#[test]
fn text_has_them_only_when_asked_and_go_stays_as_it_is() {
    let program = Fixture::start("fx", "1.27.3", Mode::Cgo, &["states", "1"]);
    let pid = program.pid().to_string();
    let arguments = ["stack", "--pid", &pid, "--filter", "state=syscall and func~_Cfunc_"];
    let without = gospy(&arguments).ok();
    let with = gospy(&[&arguments[..], &["--c-frames"]].concat()).ok();
    assert!(!without.contains("[C]"));
    let (c, go): (Vec<&str>, Vec<&str>) = with.lines().partition(|line| line.starts_with("[C] "));
    assert_eq!(go, without.lines().collect::<Vec<_>>());
    assert!(c.iter().any(|line| line.starts_with("[C] clock_nanosleep (libc.so.6) +0x")), "{with}");
    assert!(c.iter().any(|line| line.starts_with("[C] _cgo_") && line.contains("_Cfunc_cRead (fx) +0x")), "{with}");
    assert!(!with.contains("are not known"), "{with}");
    // They stand between the header and the innermost frame of Go.
    let sleep = with.split("\n\n").find(|block| block.contains("_Cfunc_cSleep")).unwrap();
    assert!(sleep.lines().nth(1).unwrap().starts_with("[C] clock_nanosleep"), "{sleep}");
}

#[test]
fn a_program_without_c_has_none() {
    let program = Fixture::start("fx", "1.27.3", Mode::Default, &["states", "1"]);
    let document = gospy(&["stack", "--json", "--pid", &program.pid().to_string()]).json();
    let list = document["goroutines"]["list"].as_array().unwrap();
    assert!(list.len() > 20);
    assert!(list.iter().all(|goroutine| goroutine["c_frames"].is_null() && goroutine["c_syscall"].is_null()));
}
