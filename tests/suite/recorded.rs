//! Every command on every capture in `fixtures/captures`: without Go, without root, and for both
//! architectures. A file that is put there is tested by being there.

use crate::snapshots::everything;
use crate::support::gospy;
use crate::support::recorded::{Recorded, all};
use gospy::capture::{OpenOptions, Session};
use gospy::model::{Snapshot, StackState, Status};
use gospy::process::core::{CoreOptions, CoreTarget};
use gospy::testing::Global;

impl Recorded {
    fn session(&self, thorough: bool) -> Session {
        let target = CoreTarget::open(&self.path, &CoreOptions::default()).unwrap();
        Session::open(Box::new(target), &OpenOptions { bin: None, thorough })
            .unwrap_or_else(|e| panic!("{}: {e}", self.path()))
    }

    fn snapshot(&self) -> Snapshot {
        self.session(false).capture(&everything()).unwrap()
    }
}

#[test]
fn captures_are_small_and_hold_whole_programs() {
    for recorded in all() {
        let label = recorded.path();
        assert!(std::fs::metadata(&recorded.path).unwrap().len() < 300 << 10, "{label} is large");
        let snapshot = recorded.snapshot();
        assert!(snapshot.target.go_version.starts_with(&format!("go{}", recorded.version)), "{label}");
        assert_eq!(snapshot.target.arch, recorded.arch, "{label}");
        assert!(snapshot.target.exe.ends_with(&recorded.program), "{label}: {}", snapshot.target.exe);
        let codes: Vec<_> = snapshot.warnings.iter().map(|w| w.code.name()).filter(|c| *c != "clock_unknown").collect();
        assert!(codes.is_empty(), "{label}: {:?}", snapshot.warnings);
        assert!(snapshot.is_complete(), "{label}");
        assert!(snapshot.sched.is_some() && snapshot.heap.is_some() && snapshot.gc.is_some(), "{label}");
        assert!(!snapshot.processors.is_empty() && !snapshot.threads.is_empty(), "{label}");
        for g in snapshot.goroutines.iter().filter(|g| !g.status.is_dead() && g.status != Status::Running) {
            let StackState::Known(stack) = g.stack else { panic!("{label}: goroutine {} has no stack", g.id.0) };
            let frames = &snapshot.symbols.stack(stack).unwrap().frames;
            assert_eq!(snapshot.symbols.function(frames.last().unwrap().frame), "runtime.goexit", "{label}");
            for frame in frames {
                let frame = snapshot.symbols.frame(frame.frame).unwrap();
                assert!(frame.line > 0 && !snapshot.symbols.str(frame.file).is_empty(), "{label}");
            }
        }
    }
}

#[test]
fn tiny_does_what_its_source_says() {
    for recorded in all().into_iter().filter(|recorded| recorded.program == "tiny") {
        let label = recorded.path();
        let snapshot = recorded.snapshot();
        let at = |function: &str| {
            let is = |g: &&gospy::model::Goroutine| g.start.is_some_and(|id| snapshot.symbols.function(id) == function);
            let found: Vec<_> = snapshot.goroutines.iter().filter(is).collect();
            assert_eq!(found.len(), 1, "{label}: {function}");
            found[0]
        };
        let reason = |g: &gospy::model::Goroutine| g.wait_reason.and_then(|id| snapshot.wait_reason(id));
        let main = at("runtime.main");
        assert_eq!((main.id.0, main.status), (1, Status::Syscall), "{label}");
        // A go statement with arguments makes a function of its own.
        let minor: u32 = recorded.version.split('.').nth(1).unwrap().parse().unwrap();
        let wrapper = |number: u32| format!("main.main.{}{number}", if minor < 22 { "func" } else { "gowrap" });
        let receive = at(&wrapper(1));
        assert_eq!((receive.status, reason(receive)), (Status::Waiting, Some("chan receive")), "{label}");
        let choose = at(&wrapper(2));
        assert_eq!((choose.status, reason(choose)), (Status::Waiting, Some("select")), "{label}");
        let current = |g: &gospy::model::Goroutine| snapshot.symbols.function(g.current.unwrap()).to_owned();
        assert_eq!((current(receive), current(choose)), ("main.receive".into(), "main.choose".into()), "{label}");
    }
}

/// The thorough search, which `doctor` makes, finds everything in a capture, and so does a second
/// capture of the first.
#[test]
fn doctor_and_a_capture_of_a_capture_find_the_same() {
    for recorded in all() {
        let label = recorded.path();
        let (plain, thorough) = (recorded.session(false), recorded.session(true));
        for global in Global::ALL {
            let found = [&plain, &thorough].map(|session| session.runtime().symbols.addr(global));
            assert_eq!(found[0], found[1], "{label}: {}", global.name());
        }
        assert!(thorough.runtime().warnings.is_empty(), "{label}: {:?}", thorough.runtime().warnings);
        // These were built with DWARF, which the capture does not have any more, but what it says.
        let layout = thorough.runtime().provenance.iter().find(|fact| fact.name == "layout").unwrap();
        assert!(layout.source.contains("DWARF"), "{label}: {layout:?}");
        let dir = tempfile::tempdir().unwrap();
        let (copy, core) = (dir.path().join("copy"), dir.path().join("core"));
        gospy(&["capture", "--from", label, "-o", copy.to_str().unwrap()]).ok();
        gospy(&["capture", "--from", label, "-o", core.to_str().unwrap(), "--uncompressed"]).ok();
        let original = recorded.snapshot();
        for path in [copy, core] {
            let again = crate::snapshots::snapshot(Box::new(CoreTarget::open(&path, &CoreOptions::default()).unwrap()));
            crate::snapshots::assert_same(label, &original, &again);
        }
    }
}

#[test]
fn every_command_runs_on_every_capture() {
    for recorded in all() {
        let from = recorded.path();
        let text = |args: &[&str]| {
            let out = gospy(&[args, &["--from", from]].concat()).ok();
            assert!(!out.is_empty(), "{from} {args:?}");
            out
        };
        assert!(text(&["summary"]).contains(&format!("go{}", recorded.version)), "{from}");
        assert!(text(&["summary", "--all", "--show-dead"]).contains("main."), "{from}");
        assert!(text(&["stack"]).contains("goroutine 1 "), "{from}");
        assert!(text(&["stack", "--all", "--system"]).contains("runtime.goexit"), "{from}");
        for args in [&["stack", "--group"][..], &["stack", "--similar"], &["stack", "--folded"], &["doctor"]] {
            text(args);
        }
        for args in [&["summary", "--json"][..], &["stack", "--json"], &["doctor", "--json"]] {
            let json: serde_json::Value = serde_json::from_str(&text(args)).unwrap();
            assert!(json.is_object(), "{from} {args:?}");
        }
        let pprof = tempfile::NamedTempFile::new().unwrap();
        gospy(&["stack", "--from", from, "--pprof", pprof.path().to_str().unwrap()]).ok();
        assert!(pprof.path().metadata().unwrap().len() > 0, "{from}");
        let diff = gospy(&["diff", from, from, "--json"]).json();
        assert!(diff.is_object(), "{from}");
        assert_eq!(gospy(&["check", "--from", from, "--max-goroutines", "100"]).code(), 0, "{from}");
        assert_eq!(gospy(&["check", "--from", from, "--max-goroutines", "1"]).code(), 7, "{from}");
    }
}
