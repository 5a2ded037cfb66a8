//! Tests of the tests' own support: a harness that misreads its oracle proves nothing.

use std::collections::HashSet;

use crate::support::real::Real;
use crate::support::{ChainRule, Fixture, Mode, VERSIONS, gospy, parse_traceback};

const LEVEL_2: &str = r#"SIGQUIT: quit
PC=0x47a6e1 m=0 sigcode=0

goroutine 0 gp=0x5d1f60 m=0 mp=0x5d2c80 [idle]:
runtime.futex(0x5d2dc0, 0x80, 0x0, 0x0, 0x0, 0x0)
	runtime/sys_linux_amd64.s:557 +0x21 fp=0x7ffc sp=0x7ff8 pc=0x47a6e1

goroutine 1 gp=0xc0000021c0 m=nil [chan receive, 3 minutes, locked to thread]:
runtime.gopark(0x0?, 0x0?, 0x0?, 0x0?, 0x0?)
	runtime/proc.go:435 +0xce fp=0xc000088e58 sp=0xc000088e38 pc=0x47226e
main.blockInline(...)
	/a dir/with:colon/main.go:16
main.(*pair[...]).wait(0xc000012345, {0x1, 0x2, ...})
	/a dir/with:colon/main.go:20 +0x1d fp=0xc000088f50 sp=0xc000088f30 pc=0x4b3c5d
main.main.func1.2()
	/a dir/with:colon/main.go:30 +0x25 fp=0xc000088fe0 sp=0xc000088f50 pc=0x4b3cc5
created by main.(*T).run.func1 in goroutine 18
	/a dir/with:colon/main.go:29 +0x6b

rax    0x0
rbx    0x5d2dc0
"#;

const LEVEL_1: &str = "goroutine 34 [select (no cases), synctest bubble 1]:
main.recurse(0x0)
\tmain.go:9 +0x1
main.f[...](...)
\tmain.go:10
...53 frames elided...
created by main.start
\tmain.go:12 +0x2
[originating from goroutine 1]:
main.start(...)
\tmain.go:12 +0x2
created by runtime.main
\tproc.go:1 +0x1

goroutine 5 [chan receive (nil chan)]:
panic({0x1?, 0x2?})
\tpanic.go:1
";

#[test]
fn traceback_of_sigquit() {
    let dump = parse_traceback(LEVEL_2);
    assert_eq!(dump.len(), 2);
    let [idle, main] = dump.as_slice() else { panic!() };
    assert_eq!((idle.id, idle.state.as_str()), (0, "idle"));
    assert_eq!((main.id, main.state.as_str()), (1, "chan receive"));
    assert_eq!((main.minutes, main.locked), (Some(3), true));
    assert_eq!(main.functions(), ["runtime.gopark", "main.blockInline", "main.(*pair[...]).wait", "main.main.func1.2"]);
    assert_eq!(main.frames[0].pc, Some(0x47_226e));
    assert_eq!(main.frames[1].offset, None);
    assert_eq!(main.frames[2].arguments, "0xc000012345, {0x1, 0x2, ...}");
    assert_eq!(main.frames[2].file, "/a dir/with:colon/main.go");
    assert_eq!((main.frames[2].line, main.frames[2].offset), (20, Some(0x1d)));
    let by = main.created_by.as_ref().unwrap();
    assert_eq!((by.function.as_str(), by.goroutine), ("main.(*T).run.func1", Some(18)));
    assert_eq!((by.line, by.offset), (29, Some(0x6b)));
}

#[test]
fn traceback_of_stack() {
    let dump = parse_traceback(LEVEL_1);
    let [first, second] = dump.as_slice() else { panic!() };
    assert_eq!((first.id, first.state.as_str()), (34, "select (no cases)"));
    assert_eq!(first.extras, ["synctest bubble 1"]);
    assert_eq!(first.functions(), ["main.recurse", "main.f[...]"]);
    assert_eq!(first.elided.map(|gap| (gap.before, gap.count)), Some((2, Some(53))));
    assert_eq!(first.created_by.as_ref().unwrap().goroutine, None);
    assert_eq!(first.ancestors, [1]);
    assert_eq!(second.state, "chan receive (nil chan)");
    assert_eq!(second.functions(), ["panic"]);
    assert_eq!(second.created_by, None);
}

#[test]
fn versions_are_those_of_the_script() {
    let script = std::process::Command::new("fixtures/toolchain").arg("--list").output().unwrap();
    let listed = String::from_utf8(script.stdout).unwrap();
    assert_eq!(listed.lines().collect::<Vec<_>>(), VERSIONS);
}

#[test]
fn fixture_tells_the_truth() {
    let mut running = Fixture::start("fx", "1.26.6", Mode::Default, &["states", "2"]);
    let truth = running.ask("truth");
    assert_eq!(truth["pid"], running.pid());
    assert_eq!(truth["go_version"], "go1.26.6");
    let goroutines = truth["goroutines"].as_array().unwrap();
    assert_eq!(truth["num_goroutine"], goroutines.len());

    // Its parser of its own text and the one here agree.
    let dump = parse_traceback(truth["stack_text"].as_str().unwrap());
    assert_eq!(dump.len(), goroutines.len());
    for (parsed, told) in dump.iter().zip(goroutines) {
        assert_eq!(parsed.id, told["id"].as_u64().unwrap());
        assert_eq!(parsed.state, told["header_state"].as_str().unwrap());
        assert_eq!(parsed.locked, told["locked"].as_bool().unwrap());
    }
    let state_of = |kind: &str| {
        let id = truth["kinds"][kind][0].as_u64().unwrap();
        dump.iter().find(|goroutine| goroutine.id == id).unwrap().state.clone()
    };
    assert_eq!(state_of("chan receive"), "chan receive");
    assert_eq!(state_of("mutex"), "sync.Mutex.Lock");
    assert_eq!(state_of("io accept"), "IO wait");

    running.stop();
    running.cont();
    assert!(running.ask("metrics")["memstats"]["NumGC"].as_u64().unwrap() >= 1);
    let (status, stderr) = running.quit();
    assert!(status.success(), "{status}: {stderr}");
}

#[test]
fn sigquit_prints_the_same_goroutines() {
    let mut running = Fixture::new("fx", "1.26.6", Mode::Default).env("GOTRACEBACK", "all").run(&["stacks"]);
    let stack = running.ask("stack");
    let before = parse_traceback(stack["stack_text"].as_str().unwrap());
    let after = parse_traceback(&running.sigquit_dump());
    assert!(before.len() > 150, "{}", before.len());
    for goroutine in &before {
        assert!(!goroutine.frames.is_empty(), "{goroutine:?}");
        let same = after.iter().find(|other| other.id == goroutine.id);
        assert!(same.is_some_and(|other| !other.frames.is_empty()), "{goroutine:?}");
    }
}

#[test]
fn churn_keeps_its_rule() {
    let mut running = Fixture::start("fx", "1.26.6", Mode::Default, &["churn", "-busy", "1"]);
    let truth = running.ask("truth");
    let rule = ChainRule::from_truth(&truth);
    let mut stacks = HashSet::new();
    for _ in 0..5 {
        let answer = running.ask("stack");
        for goroutine in parse_traceback(answer["stack_text"].as_str().unwrap()) {
            if goroutine.elided.is_none() {
                rule.check(&goroutine.functions()).unwrap();
                stacks.insert(goroutine.functions().join(" "));
            }
        }
    }
    assert!(stacks.len() > 30, "{}", stacks.len());
    rule.check(&["runtime.gopark", "main.pingSend", "main.churnSleep", "runtime.goexit"]).unwrap_err();
    rule.check(&["runtime.gopark", "main.pingSend", "runtime.goexit"]).unwrap_err();
    rule.check(&["main.pingSend", "time.Sleep", "main.churnPing"]).unwrap_err();
    rule.check(&["main.pingSend", "main.churnPing", "main.runChurn.gowrap1", "runtime.goexit"]).unwrap();
}

#[test]
fn gospy_can_be_run() {
    assert!(gospy(&["--version"]).code() <= 2);
}

#[test]
fn other_programs_start() {
    Fixture::start("tiny", "1.26.6", Mode::Sw, &[]);
    Fixture::start("fx", "1.26.6", Mode::Default, &["bubble"]);
    let mut c_host = Fixture::start("cshared", "1.26.6", Mode::CgoSw, &["3"]);
    let answer = c_host.ask("stack");
    let dump = parse_traceback(answer["stack_text"].as_str().unwrap());
    let sleeping = dump.iter().filter(|goroutine| goroutine.state == "sleep");
    assert_eq!(sleeping.count(), 3);
}

#[test]
fn released_programs_start() {
    for (name, _) in crate::support::real::PROGRAMS {
        let real = Real::start(name);
        assert!(std::fs::read_link(format!("/proc/{}/exe", real.running.pid())).is_ok(), "{name}");
        if name == "prometheus" {
            let dump = parse_traceback(&real.get("/debug/pprof/goroutine?debug=2"));
            assert!(dump.len() > 10, "{}", dump.len());
            assert!(dump.iter().all(|goroutine| !goroutine.frames.is_empty()));
        }
    }
}

/// Of whatever is missing on a machine.
#[test]
#[should_panic(expected = "'no-such-tool' is not installed; install the package 'such-a-package'")]
fn a_missing_tool_is_named_with_its_package() {
    crate::support::need("no-such-tool", "such-a-package");
}
