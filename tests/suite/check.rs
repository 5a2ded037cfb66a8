//! `gospy check` on programs that leak, hang, or are well.

use std::process::Command;

use crate::support::{Fixture, Output, gospy, gospy_with, live, live_program};

/// What `check` found, whatever its status.
fn found(output: &Output) -> serde_json::Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn a_leak_is_found_and_a_load_is_not() {
    let leak = live(&["leak", "-rate", "20"]);
    let healthy = live(&["healthy"]);
    let (leaking, well) = (leak.pid().to_string(), healthy.pid().to_string());
    for _ in 0..2 {
        let output = gospy(&["check", "--pid", &leaking, "--watch", "3s", "--json"]);
        assert_eq!(output.code(), 7, "{output:?}");
        let json = found(&output);
        let offender = &json["rules"][0]["offenders"][0];
        assert_eq!(offender["example"]["current"]["function"], "main.leakOne");
        let rate = offender["rate"]["per_second"].as_f64().unwrap();
        assert!((10.0..25.0).contains(&rate), "{rate}");
        let output = gospy(&["check", "--pid", &well, "--watch", "3s", "--json"]);
        assert_eq!(output.code(), 0, "{output:?}");
        assert_eq!(found(&output)["samples"], 31);
    }
    let output = gospy(&["check", "--pid", &leaking, "--watch", "2s", "--allow", r"^main\.leakOne$"]);
    assert_eq!(output.code(), 0, "{output:?}");
    let output = gospy(&["check", "--pid", &leaking, "--watch", "2s", "--max-growth", "1000"]);
    assert_eq!(output.code(), 0, "{output:?}");
}

#[test]
fn a_deadlock_is_found() {
    let running = live(&["deadlock"]);
    let pid = running.pid().to_string();
    let output = gospy(&["check", "--pid", &pid, "--forbid-function", r"^main\.transfer$"]);
    assert_eq!(output.code(), 7, "{output:?}");
    assert!(
        output.stdout.contains("FAIL  --forbid-function '^main\\.transfer$': in 2 goroutines"),
        "{}",
        output.stdout
    );
    assert!(output.stdout.contains("sync.(*Mutex).Lock(...)"), "{}", output.stdout);
    // The runtime has stamped nothing yet; that they do not run is seen.
    let waits = ["check", "--pid", &pid, "--watch", "2s", "--max-wait", "1s", "--json"];
    let output = gospy(&[&waits[..], &["--allow", "main\\.serve|Tick"]].concat());
    assert_eq!(output.code(), 7, "{output:?}");
    let offenders = found(&output)["rules"][1]["offenders"].clone();
    let locks = offenders.as_array().unwrap().iter().filter(|o| o["example"]["wait_reason"] == "sync.Mutex.Lock");
    let ends: Vec<&str> = locks.filter_map(|o| o["example"]["start"]["function"].as_str()).collect();
    assert_eq!(ends, ["main.runDeadlock.func1", "main.runDeadlock.func2"], "{offenders}");
}

#[test]
fn baselines_junit_and_annotations() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (before, xml, allow) = (path("before.json"), path("gospy.xml"), path("allow"));
    let running = live(&["leak", "-rate", "200"]);
    let pid = running.pid().to_string();
    std::fs::write(&before, gospy(&["stack", "--pid", &pid, "--json"]).ok()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(600));
    let growth = ["check", "--pid", &pid, "--baseline", &before, "--max-growth", "20", "--junit", &xml];
    let output = gospy_with(&growth, |command| {
        command.env("GITHUB_ACTIONS", "true");
    });
    assert_eq!(output.code(), 7, "{output:?}");
    assert!(output.stdout.contains("goroutines since the baseline; 20 allowed"), "{}", output.stdout);
    assert!(output.stdout.contains("\n::error title=gospy check%3A --max-growth 20::"), "{}", output.stdout);
    assert!(
        output.stdout.lines().filter(|line| line.starts_with("::")).all(|line| line.len() < 1_000),
        "{}",
        output.stdout
    );
    let junit = std::fs::read_to_string(&xml).unwrap();
    assert!(junit.contains("failures=\"1\"") && junit.contains("main.leakOne(...)"), "{junit}");
    // Under --json the annotations go to standard error.
    let output = gospy(&[&growth[..], &["--json", "--github"]].concat());
    assert_eq!(found(&output)["passed"], false);
    assert!(output.stderr.starts_with("::error "), "{}", output.stderr);

    std::fs::write(&allow, "# known\n\n^main\\.leakOne$\n").unwrap();
    let output = gospy(&["check", "--pid", &pid, "--baseline", &before, "--max-growth", "30", "--allow-file", &allow]);
    assert_eq!(output.code(), 0, "{output:?}");
    // A file is judged as a process is.
    let output = gospy(&["check", "--from", &before, "--max-group", "1", "--require-function", r"main\.leaker"]);
    assert_eq!(output.code(), 7, "{output:?}");
    assert!(output.stdout.contains("PASS  --require-function"), "{}", output.stdout);

    // Other programs have other goroutines.
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/tiny-1.26.6-amd64.capture");
    let output = gospy(&["check", "--from", tiny, "--baseline", &before, "--max-growth", "10"]);
    assert_eq!(output.code(), 1, "{output:?}");
    assert!(output.stderr.contains("the baseline is another program's: "), "{}", output.stderr);
    let output = gospy(&["check", "--from", tiny, "--baseline", &before, "--max-growth", "10", "--force"]);
    assert_eq!(output.code(), 0, "{output:?}");
    let other = live(&["idle"]).pid().to_string();
    // That one has ended.
    assert_eq!(gospy(&["check", "--pid", &other, "--max-group", "1"]).code(), 3);
}

#[test]
fn a_target_that_ends_while_it_is_watched() {
    let running = live(&["idle"]);
    let pid = running.pid().to_string();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        drop(running);
    });
    let directory = tempfile::tempdir().unwrap();
    let xml = directory.path().join("gospy.xml").display().to_string();
    let rules = ["--max-goroutines", "1000", "--json", "--junit", &xml, "--github"];
    let output = gospy(&[&["check", "--pid", &pid, "--watch", "30s", "--interval", "200ms"], &rules[..]].concat());
    killer.join().unwrap();
    assert_eq!(output.code(), 3, "{output:?}");
    assert!(output.stderr.contains("of 151 samples were taken; nothing was judged"), "{}", output.stderr);
    assert!(output.stderr.contains("::error title=gospy check::process "), "{}", output.stderr);
    let json = found(&output);
    assert_eq!(
        (&json["passed"], &json["outcome"], &json["target"]),
        (&false.into(), &"error".into(), &serde_json::Value::Null)
    );
    assert!(
        json["error"].as_str().unwrap().contains("ended while it was")
            || json["error"].as_str().unwrap().contains(&pid)
    );
    for rule in json["rules"].as_array().unwrap() {
        assert_eq!((&rule["outcome"], &rule["not_judged"]), (&"not_judged".into(), &"unread".into()), "{rule}");
    }
    let text = std::fs::read_to_string(&xml).unwrap();
    assert!(text.contains(r#"tests="2" failures="0" errors="2""#) && text.contains("nothing was judged"), "{text}");
    // One that is not there at all.
    let gone = ["check", "--pid", "4194305", "--max-group", "1", "--junit", &xml, "--json"];
    let output = gospy(&gone);
    assert_eq!((output.code(), &found(&output)["outcome"]), (3, &"error".into()));
    assert!(std::fs::read_to_string(&xml).unwrap().contains("there is no process 4194305"));
}

#[test]
fn what_cannot_be_told_in_a_watch_is_no_pass() {
    let leak = live(&["leak", "-rate", "5"]);
    let idle = live(&["idle"]);
    let (leaking, still) = (leak.pid().to_string(), idle.pid().to_string());
    let directory = tempfile::tempdir().unwrap();
    let xml = directory.path().join("gospy.xml").display().to_string();
    let output = gospy(&["check", "--pid", &leaking, "--watch", "1s", "--max-group", "100000", "--junit", &xml]);
    assert_eq!(output.code(), 8, "{output:?}");
    assert!(output.stdout.starts_with("1 rule passed, 1 was not judged, 11 samples in "), "{}", output.stdout);
    assert!(output.stdout.contains("\nNOT JUDGED  steady growth: "), "{}", output.stdout);
    assert!(output.stdout.contains("main.leakOne(...)"), "{}", output.stdout);
    let text = std::fs::read_to_string(&xml).unwrap();
    assert!(
        text.contains(r#"failures="0" errors="1""#) && text.contains(r#"<error type="rising" message="not judged: "#),
        "{text}"
    );
    // Nothing rises, but nothing could have in so short a time.
    let output = gospy(&["check", "--pid", &still, "--watch", "1s", "--json"]);
    assert_eq!(output.code(), 8, "{output:?}");
    let json = found(&output);
    assert_eq!((&json["passed"], &json["outcome"]), (&false.into(), &"not_judged".into()));
    let rule = &json["rules"][0];
    assert_eq!((&rule["passed"], &rule["not_judged"]), (&false.into(), &"too_short".into()), "{json}");
    // Long enough: what would have shown is said.
    let output = gospy(&["check", "--pid", &still, "--watch", "3s", "--json"]);
    assert_eq!(output.code(), 0, "{output:?}");
    assert!(found(&output)["rules"][0]["detectable"].as_f64().unwrap() <= 5.0, "{output:?}");
}

#[test]
fn a_program_that_is_stopped_is_not_blamed_for_waiting() {
    let running = live(&["deadlock"]);
    let pid = running.pid().to_string();
    running.stop();
    let check = ["check", "--pid", &pid, "--watch", "2s", "--max-wait", "1s"];
    let output = gospy(&check);
    assert_eq!(output.code(), 8, "{output:?}");
    let at = |text: &str| output.stdout.find(text).unwrap_or_else(|| panic!("{text}: {}", output.stdout));
    assert!(
        at("the program is stopped: every goroutine waits") < at("NOT JUDGED  --max-wait 1.00s: "),
        "{}",
        output.stdout
    );
    assert!(output.stdout.contains("NOT JUDGED  steady growth: the program is stopped"), "{}", output.stdout);
    assert!(
        output.stdout.lines().any(|line| line.contains(" goroutine") && line.ends_with("(the program is stopped)"))
    );
    // What is seen is seen, and a program that goes on is judged.
    assert_eq!(gospy(&["check", "--pid", &pid, "--max-goroutines", "1"]).code(), 7);
    running.cont();
    assert_eq!(gospy(&check).code(), 7);
}

#[test]
fn an_unknown_wait_is_no_short_one() {
    let running = live(&["deadlock"]);
    let pid = running.pid().to_string();
    // The runtime has stamped nothing yet; that is not longer ago than the start of the program.
    assert_eq!(gospy(&["check", "--pid", &pid, "--max-wait", "1h"]).code(), 0);
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    let output = gospy(&["check", "--pid", &pid, "--max-wait", "1s"]);
    assert_eq!(output.code(), 8, "{output:?}");
    assert!(output.stdout.contains(" may have waited longer ("), "{}", output.stdout);
}

#[test]
fn a_running_goroutine_may_be_in_any_function() {
    let busy = live(&["idle", "-busy", "1"]);
    let pid = busy.pid().to_string();
    let output = gospy(&["check", "--pid", &pid, "--forbid-function", r"^main\.nothing$", "--json"]);
    assert_eq!(output.code(), 8, "{output:?}");
    assert_eq!(found(&output)["rules"][0]["not_judged"], "unknown_stacks", "{output:?}");
    let output = gospy(&["check", "--pid", &pid, "--require-function", r"^main\.nothing$"]);
    assert_eq!(output.code(), 8, "{output:?}");
    assert!(output.stdout.contains(" running; --freeze shows "), "{}", output.stdout);
    // Where everything is known, it is judged.
    let output = gospy(&["check", "--pid", &pid, "--freeze", "--forbid-function", r"^main\.nothing$"]);
    assert_eq!(output.code(), 0, "{output:?}");
    let output = gospy(&["check", "--pid", &pid, "--freeze", "--require-function", r"^main\.nothing$"]);
    assert_eq!(output.code(), 7, "{output:?}");
}

#[test]
fn goroutines_that_run_do_not_wait_by_chance() {
    let churn = live(&["churn", "-goroutines", "800"]);
    let pid = churn.pid().to_string();
    // Of so many that are never still, some show an equal byte in each pair of samples.
    let watch = ["check", "--pid", &pid, "--watch", "8s", "--interval", "1s", "--max-wait", "450ms", "--json"];
    let output = gospy(&[&watch[..], &["--allow", r"^main\.main$"]].concat());
    let waits = &found(&output)["rules"][1];
    assert_eq!(waits["name"], "max-wait");
    assert!(waits["offenders"].as_array().unwrap().is_empty(), "{waits}");
}

#[test]
fn rules_that_make_no_sense_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let allow = directory.path().join("allow");
    std::fs::write(&allow, "fine\n(\n").unwrap();
    let allow = allow.display().to_string();
    for (args, code, told) in [
        (vec!["--pid", "1"], 2, "there is no rule to check"),
        (vec!["--max-group", "1"], 2, "<TARGET|--pid <PID>|--name <NAME>|--from <FILE>>"),
        (vec!["--pid", "1", "--from", "x", "--max-group", "1"], 2, "cannot be used with"),
        (vec!["--pid", "1", "--max-group", "-1"], 2, "unexpected argument '-1'"),
        (vec!["--pid", "1", "--max-group", "x"], 2, "invalid value 'x' for '--max-group <N>'"),
        (vec!["--pid", "1", "--max-growth", "x%"], 2, "invalid value 'x%' for '--max-growth <N|N%>': growth is"),
        (vec!["--pid", "1", "--max-growth", "5"], 2, "--max-growth needs something to measure from"),
        (vec!["--pid", "1", "--max-wait", "5x"], 2, "a duration is a number with a unit"),
        (
            vec!["--pid", "1", "--forbid-function", "main.("],
            2,
            "invalid value 'main.(' for '--forbid-function <REGEX>'",
        ),
        (vec!["--pid", "1", "--require-function", "*"], 2, "'--require-function <REGEX>': regex parse error"),
        (vec!["--pid", "1", "--max-group", "1", "--allow", "["], 2, "invalid value '[' for '--allow <REGEX>'"),
        (vec!["--pid", "1", "--max-group", "1", "--allow-file", &allow], 2, "line 2: regex parse error"),
        (
            vec!["--pid", "1", "--max-group", "1", "--allow-file", "/nonexistent"],
            1,
            "--allow-file /nonexistent: No such",
        ),
        (vec!["--pid", "1", "--watch", "2s", "--interval", "1s"], 2, "gives 3 samples; growth needs at least"),
        (vec!["--from", "x", "--watch", "2s", "--max-group", "1"], 2, "'--watch <DURATION>'"),
        (vec!["--pid", "1", "--baseline", "/nonexistent", "--max-growth", "1"], 1, "/nonexistent cannot be read"),
        (vec!["--pid", "1", "--baseline", "x", "--max-group", "1"], 2, "--max-growth"),
        (vec!["--from", "-", "--baseline", "-", "--max-growth", "1"], 2, "standard input can be read only once"),
        (vec!["--pid", "4194305", "--max-group", "1"], 3, "there is no process 4194305"),
    ] {
        let output = gospy(&[&["check"], &args[..]].concat());
        assert_eq!(output.code(), code, "{args:?}: {}", output.stderr);
        assert!(output.stderr.contains(told), "{args:?}: {}", output.stderr);
        assert_eq!(output.stdout, "", "{args:?}");
    }
}

/// Runs the job of docs/ci.md with `live` in the place of the service.
fn job(mode: &str, rate: &str) -> (Option<i32>, String, std::path::PathBuf, tempfile::TempDir) {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ci.md")).unwrap();
    let script = page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(page.matches("```sh\n").count(), 1);
    let directory = tempfile::tempdir().unwrap();
    let live = live_program();
    let executable = |name: &str, text: String| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    // It ends with its input, which it keeps open itself.
    let flags = if rate.is_empty() { String::new() } else { format!("-rate {rate}") };
    let service = format!("#!/bin/sh\nmkfifo in\nexec {} {mode} {flags} <> in\n", live.display());
    executable("service", service);
    executable("drive", "#!/bin/sh\nsleep 1\n".to_owned());
    std::fs::write(directory.path().join(".gospy-allow"), "# none\n").unwrap();
    std::fs::write(directory.path().join("job.sh"), script).unwrap();
    let gospy_directory = std::path::Path::new(env!("CARGO_BIN_EXE_gospy")).parent().unwrap();
    let path = format!("{}:{}", gospy_directory.display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh").arg("job.sh").current_dir(directory.path()).env("PATH", path).output().unwrap();
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let at = directory.path().to_owned();
    (output.status.code(), told, at, directory)
}

#[test]
fn the_job_of_the_documentation_fails_on_a_leak_only() {
    let (code, told, at, _keep) = job("leak", "50");
    assert_eq!(code, Some(7), "{told}");
    assert!(told.contains("steady growth") && told.contains("main.leakOne"), "{told}");
    let markdown = std::fs::read_to_string(at.join("goroutines.md")).unwrap();
    assert!(markdown.contains("`main.leakOne`"), "{markdown}");
    assert!(std::fs::read_to_string(at.join("gospy.xml")).unwrap().contains("failures=\"1\""));

    let (code, told, _, _keep) = job("deadlock", "");
    assert_eq!(code, Some(0), "{told}");
}

/// A program that has never collected has stamped no wait: reading it more than once measures them, and
/// nothing of what runs in between. How long it can be is bounded by when we started it.
#[test]
fn ages_are_measured_in_a_program_that_never_collected() {
    let started = std::time::Instant::now();
    let running = Fixture::of(&live_program()).env("GOGC", "off").run(&["deadlock"]);
    let pid = running.pid().to_string();
    let text = gospy(&["summary", "--pid", &pid]).ok();
    assert!(text.contains("ages         unknown: no GC yet (--watch 2s measures them)\n"), "{text}");
    let text = gospy(&["summary", "--pid", &pid, "--watch", "1s"]).ok();
    let age_of = |text: &str| {
        let row = text.lines().find(|line| line.contains("sync.Mutex.Lock · "));
        row.unwrap_or_else(|| panic!("no lock is waited for: {text}")).to_owned()
    };
    assert!(age_of(&text).contains("s watched") && !text.contains("unknown: no GC"), "{text}");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("watched.json");
    let json = gospy(&["summary", "--pid", &pid, "--watch", "1500ms", "--json"]).ok();
    std::fs::write(&file, &json).unwrap();
    let most = u64::try_from(started.elapsed().as_nanos()).unwrap();
    let document: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(document["gc"]["cycles"], 0);
    let goroutines = document["goroutines"]["list"].as_array().unwrap();
    let waiting_for = |reason: &'static str| goroutines.iter().filter(move |g| g["wait_reason"] == reason);
    assert_eq!(waiting_for("sync.Mutex.Lock").count(), 2);
    for goroutine in waiting_for("sync.Mutex.Lock") {
        assert_eq!(goroutine["wait_source"], "watched", "{goroutine}");
        let (least, at_most) = (goroutine["wait_ns"].as_u64().unwrap(), goroutine["wait_at_most_ns"].as_u64().unwrap());
        assert!((1_500_000_000..=most).contains(&least), "{least} of {most}");
        assert!((least..=most + 1_000_000_000).contains(&at_most), "{at_most} of {most}");
    }
    // It waits where it waited, but runs once a second: it never has waited for longer.
    for ticks in waiting_for("chan receive") {
        assert!(ticks["wait_ns"].as_u64().is_none_or(|ns| ns < 1_100_000_000), "{ticks}");
    }

    // The file says the same later, and is enough to judge by.
    let file = file.display().to_string();
    let text = gospy(&["summary", "--from", &file]).ok();
    assert!(age_of(&text).contains("s watched"), "{text}");
    let check = |most: &str| gospy(&["check", "--from", &file, "--max-wait", most]);
    assert_eq!((check("1s").code(), check("1h").code()), (7, 0));
    let watched = gospy(&["check", "--pid", &pid, "--watch", "2s", "--max-wait", "1s"]);
    assert_eq!(watched.code(), 7, "{watched:?}");
    let bracket = watched.stdout.lines().find(|line| line.contains("[sync.Mutex.Lock, ≥ "));
    assert!(bracket.is_some_and(|line| line.ends_with("s, watched]")), "{}", watched.stdout);
}

/// What a document says of how long a wait can be is what it was when it was written: without it, nothing
/// but the start of the program would bound a wait that has a stamp.
#[test]
fn a_file_says_for_how_long_goroutines_can_have_waited() {
    let mut running = live(&["deadlock"]);
    let pid = running.pid().to_string();
    std::thread::sleep(std::time::Duration::from_millis(6_500));
    // The first collection stamps nothing; the third makes the waits known. What comes then may take seconds on a
    // busy machine.
    for _ in 0..3 {
        running.ask("gc");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("now.json").display().to_string();
    std::fs::write(&file, gospy(&["stack", "--pid", &pid, "--json"]).ok()).unwrap();
    // 1 s is added for the collection's own time.
    let check = ["check", "--max-wait", "6s", "--allow", r"^main\.main$", "--json"];
    let [live, from] = [["--pid", &pid], ["--from", &file]].map(|of| found(&gospy(&[&check[..], &of].concat())));
    assert_eq!(live["rules"][0]["outcome"], from["rules"][0]["outcome"], "{live}\n{from}");
    assert_eq!(live["rules"][0]["not_judged"], from["rules"][0]["not_judged"], "{live}\n{from}");
    assert_eq!(from["rules"][0]["passed"], true, "{from}");
}

/// Leaked goroutines fail the rule, by themselves and beside others; what is allowed does not.
#[test]
fn goroutines_that_can_never_wake_fail_the_rule() {
    let stuck = live(&["deadlock"]);
    let pid = stuck.pid().to_string();
    let check = |more: &[&str]| gospy(&[&["check", "--pid", &pid, "--no-leaks"], more].concat());
    let output = check(&["--freeze=all", "--max-goroutines", "1000", "--json"]);
    assert_eq!(output.code(), 7, "{output:?}");
    let json = found(&output);
    assert_eq!(
        (&json["rules"][0]["outcome"], &json["rules"][0]["grade"]),
        (&"passed".into(), &serde_json::Value::Null)
    );
    let rule = &json["rules"][1];
    assert_eq!(
        (&rule["name"], &rule["rule"], &rule["grade"]),
        (&"no-leaks".into(), &"--no-leaks".into(), &"certain".into())
    );
    assert_eq!((&rule["measured"], &rule["excess"]), (&2.0.into(), &2.0.into()));
    let leaked = gospy(&["leaks", "--pid", &pid, "--json"]).ok();
    let leaked: serde_json::Value = serde_json::from_str(&leaked).unwrap();
    let mut theirs: Vec<u64> = Vec::new();
    for group in leaked["leaks"]["groups"].as_array().unwrap() {
        theirs.extend(group["goroutines"].as_array().unwrap().iter().filter_map(serde_json::Value::as_u64));
    }
    let offenders = rule["offenders"].as_array().unwrap();
    let ids = offenders.iter().flat_map(|offender| offender["ids"].as_array().unwrap());
    let mut ours: Vec<u64> = ids.filter_map(serde_json::Value::as_u64).collect();
    theirs.sort_unstable();
    ours.sort_unstable();
    assert_eq!(ours, theirs);
    assert!(offenders[0]["example"]["frames"].as_array().is_some_and(|frames| frames.len() > 2), "{rule}");
    let output = check(&["--freeze=all"]);
    assert!(
        output.stdout.contains("FAIL  --no-leaks: 2 goroutines are leaked, 2 of them deadlocked (certain)"),
        "{output:?}"
    );
    assert!(output.stdout.contains("sync.(*Mutex).Lock(...)"), "{output:?}");
    assert!(output.stderr.contains("the program will stand still for about "), "{output:?}");
    // The rest of the process is watched first.
    let output = check(&["--watch", "2s", "--max-growth", "1000", "--json"]);
    let json = found(&output);
    assert_eq!((output.code(), &json["rules"][1]["measured"]), (7, &2.0.into()), "{output:?}");
    let output = check(&["--allow", r"^main\.transfer$"]);
    assert_eq!((output.code(), output.stdout.contains("PASS  --no-leaks: none")), (0, true), "{output:?}");
    let healthy = live(&["healthy"]);
    let output = gospy(&["check", "--pid", &healthy.pid().to_string(), "--no-leaks"]);
    assert_eq!((output.code(), output.stdout.contains("PASS  --no-leaks: none")), (0, true), "{output:?}");
}

/// Where there is no heap to read, the rule is not judged, and the others are.
#[test]
fn leaks_are_not_judged_without_a_heap() {
    let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/tiny-1.26.6-amd64.capture");
    let output = gospy(&["check", "--from", capture, "--no-leaks", "--max-goroutines", "1000", "--json"]);
    assert_eq!(output.code(), 8, "{output:?}");
    let json = found(&output);
    assert_eq!((&json["outcome"], &json["rules"][0]["passed"]), (&"not_judged".into(), &true.into()));
    let rule = &json["rules"][1];
    assert_eq!((&rule["not_judged"], &rule["grade"]), (&"heap_not_read".into(), &serde_json::Value::Null));
    let note = json["notes"][0].as_str().unwrap();
    assert!(note.starts_with("--no-leaks: cannot walk the heap: a capture holds goroutines"), "{note}");
    let output = gospy_with(&["check", "--from", "-", "--no-leaks"], |command| {
        command.stdin(std::fs::File::open(capture).unwrap());
    });
    assert_eq!(output.code(), 8, "{output:?}");
    assert!(output.stdout.contains("not standard input"), "{output:?}");
    // Nothing can be stopped that is stopped already, and two marks of it prove nothing.
    let running = live(&["deadlock"]);
    let pid = nix::unistd::Pid::from_raw(running.pid());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let output = gospy(&["check", "--pid", &running.pid().to_string(), "--no-leaks", "--json"]);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
    let rule = &found(&output)["rules"][0];
    let proven = rule["grade"] == "certain" && output.code() == 7;
    let not_judged = rule["not_judged"] == "stopped" && output.code() == 8;
    assert!(proven || not_judged, "{output:?}");
}
