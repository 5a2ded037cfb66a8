//! `gospy top` from end to end: on a pseudo terminal, and without one.

use std::time::{Duration, Instant};

use crate::support::terminal::{PATIENCE, Terminal};
use crate::support::{Running, gospy, live, live_program};
use portable_pty::{CommandBuilder, PtySize};

/// `gospy top` of a process, on a terminal.
fn top(pid: i32, arguments: &[&str]) -> Terminal {
    Terminal::gospy(&[&["top", "--pid", &pid.to_string()], arguments].concat())
}

fn leak(rate: &str) -> Running {
    live(&["leak", "-rate", rate])
}

/// The row of the table that mentions `function`, with its number from the top.
fn row(screen: &str, function: &str) -> Option<(usize, String)> {
    let head = screen.lines().position(|line| line.contains("COUNT"))?;
    let rows = screen.lines().skip(head + 1).enumerate();
    rows.map(|(at, line)| (at, line.to_owned())).find(|(_, line)| line.contains(function))
}

#[test]
fn a_leak_is_found_and_the_end_of_the_target_survived() {
    let target = leak("20");
    let pid = target.pid();
    let mut top = self::top(pid, &["--interval", "0.2", "--max-cpu", "100"]);
    top.until("the groups", |screen| row(screen, "main.worker").and(row(screen, "main.leakOne")));
    top.until_text("1.26.6");

    // Filter, with a mistake first.
    top.press("/func~wrker\r");
    top.until_text("no goroutine matches func~wrker, of ");
    top.press("/");
    top.press("\u{15}fnuc~worker\r");
    top.until_text("there is no field `fnuc`");
    // To the end, everything away.
    top.press("\u{5}\u{15}func~worker\r");
    top.until("only the workers", |screen| {
        (row(screen, "main.worker").is_some() && row(screen, "main.leakOne").is_none()).then_some(())
    });

    // Its stack.
    top.press("\r");
    top.until_text("Stack of goroutine");
    top.until_text("created by main.start");
    top.press("\u{1b}");
    top.until("the groups again", |screen| row(screen, "main.worker"));
    // An escape and a key right behind it would be one key with Alt.
    std::thread::sleep(Duration::from_millis(100));
    top.press("\u{1b}");
    top.until("all groups", |screen| row(screen, "main.leakOne"));

    // The mark, and the leak at the top with its rate.
    top.press("d");
    top.until_text("±MARK");
    let rate = |screen: &str| -> Option<f64> {
        let (at, line) = row(screen, "main.leakOne")?;
        let rate =
            line.split_whitespace().find_map(|word| word.strip_prefix('+')?.strip_suffix("/s")?.parse::<f64>().ok())?;
        let heads = screen.lines().find(|line| line.contains("COUNT"))?;
        let column = heads.split_whitespace().position(|word| word.starts_with("±MARK"))?;
        let mark: u64 = line.split_whitespace().nth(column)?.strip_prefix('+')?.replace(',', "").parse().ok()?;
        (at == 0 && mark >= 60).then_some(rate)
    };
    // It leaks 20 a second, and fewer for moments when the machine has no time for it.
    top.until("the leak at the top, with its rate", |screen| rate(screen).filter(|rate| (18.0..=22.0).contains(rate)));

    // The target ends; the last snapshot stays.
    drop(target);
    top.until_text("ENDED");
    assert!(row(&top.text(), "main.leakOne").is_some(), "{}", top.text());
    top.press("q");
    let status = top.end();
    assert!(status.success(), "{status:?}");
    top.is_restored();
}

#[test]
fn the_terminal_is_given_back_after_a_signal_and_a_stop() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let target = leak("1");
    let mut top = self::top(target.pid(), &["--interval", "0.2"]);
    top.until("the groups", |screen| row(screen, "main.worker"));
    let gospy = Pid::from_raw(i32::try_from(top.child.process_id().unwrap()).unwrap());

    // Ctrl-Z, and back.
    top.press("\u{1a}");
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{gospy}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    };
    let deadline = Instant::now() + PATIENCE;
    while state() != 'T' {
        assert!(Instant::now() < deadline, "it does not stop\n{}", top.text());
        top.take(Duration::from_millis(20));
    }
    top.settle();
    top.is_restored();
    kill(gospy, Signal::SIGCONT).unwrap();
    top.until("the groups again", |screen| row(screen, "main.worker"));
    assert!(top.screen.screen().alternate_screen());

    // The terminal changes its size.
    let (rows, cols) = (12, 50);
    top.screen.screen_mut().set_size(rows, cols);
    top.master.resize(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }).unwrap();
    top.until_text("[1:Groups]");
    top.until("a narrow header", |screen| screen.lines().all(|line| line.chars().count() <= 50).then_some(()));

    kill(gospy, Signal::SIGTERM).unwrap();
    let status = top.end();
    assert!(!status.success() && status.signal().is_some(), "{status:?}");
    top.is_restored();
}

#[test]
fn it_waits_for_the_program_to_come_back() {
    // A file of its own: what other tests start is not what comes back.
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("live");
    std::fs::copy(live_program(), &program).unwrap();
    let start = || {
        let mut command = std::process::Command::new(&program);
        command.args(["leak", "-rate", "5"]);
        let mut running = Running::spawn(command);
        running.wait_ready();
        running
    };
    let target = start();
    let mut top = self::top(target.pid(), &["--interval", "0.2", "--wait"]);
    top.until("the groups", |screen| row(screen, "main.leakOne"));
    drop(target);
    top.until_text("waiting for it to restart");
    let target = start();
    top.until_text(&format!("pid {}", target.pid()));
    top.until("the groups", |screen| row(screen, "main.leakOne"));
    // Ctrl-C leaves like q.
    top.press("\u{3}");
    assert!(top.end().success());
    top.is_restored();
}

#[test]
fn a_snapshot_is_written_on_request() {
    let directory = tempfile::tempdir().unwrap();
    let target = leak("5");
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_gospy"));
    command.args(["top", "--pid", &target.pid().to_string()]);
    command.cwd(directory.path());
    let mut top = Terminal::start(command);
    top.until("the groups", |screen| row(screen, "main.leakOne"));
    top.press("w");
    top.until_text("written to gospy-");
    let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    let (name, pid) = (file.display().to_string(), target.pid());
    assert!(name.contains(&format!("/gospy-{pid}-")) && name.ends_with("Z.capture"), "{name}");
    let stacks = gospy(&["stack", "--from", &name]).ok();
    assert!(stacks.contains("main.leakOne"), "{stacks}");
    // What a paused view shows.
    let before = files.clone();
    top.press(" w");
    top.until_text(".json");
    let files = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path());
    let new: Vec<_> = files.filter(|file| !before.contains(file)).collect();
    let [json] = new.as_slice() else { panic!("{new:?}") };
    let json = json.display().to_string();
    assert!(json.ends_with("Z.json"), "{json}");
    for path in [&name, &json] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{path}");
        assert!(gospy(&["summary", "--from", path]).ok().contains(&format!("pid {pid}")));
        assert!(gospy(&["top", "--from", path]).ok().contains("main.leakOne"));
    }
    top.press("q");
    assert!(top.end().success());
}

#[test]
fn blocks_of_text_and_lines_of_json() {
    let target = leak("20");
    let pid = target.pid().to_string();
    let once = gospy(&["top", "--pid", &pid, "--once"]).ok();
    assert!(once.contains("main.leakOne") && once.contains("COUNT▼"), "{once}");
    assert!(!once.contains('\u{1b}'), "{once}");
    let blocks = gospy(&["t", "-p", &pid, "-i", "0.1", "-n", "3", "--max-cpu", "1000"]).ok();
    assert_eq!(blocks.matches("COUNT▼").count(), 3, "{blocks}");
    let lines = gospy(&["t", "-p", &pid, "-i", "0.2", "-n", "6", "--json", "--sort", "rate", "--max-cpu", "1000"]).ok();
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    for (number, line) in (1..).zip(&lines) {
        assert_eq!((&line["type"], &line["refresh"]), (&"refresh".into(), &serde_json::Value::from(number)));
        assert_eq!(line["schema_version"], 1);
        assert!(line["goroutines"]["total"].as_u64().unwrap() > 20);
    }
    let top = &lines[5]["groups"][0];
    assert_eq!(top["function"], "main.leakOne", "{top}");
    assert!((14.0..=26.0).contains(&top["rate_per_second"].as_f64().unwrap()), "{top}");
    // The end of the program ends the stream, and is no error.
    let ender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        drop(target);
    });
    let last = gospy(&["top", "-p", &pid, "-i", "0.1", "--json"]).ok();
    ender.join().unwrap();
    let last: serde_json::Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!(last["type"], "end", "{last}");
}

#[test]
fn a_recording_is_shown_as_well() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/parked.gospy");
    let once = gospy(&["top", "--from", file]).ok();
    assert_eq!(once.matches("COUNT▼").count(), 1, "{once}");
    // Those of the runtime are told by what they were started for.
    assert!(!once.contains("RATE") && !once.contains("every"), "{once}");
    let filtered = gospy(&["top", "--from", file, "--filter", "reason=sleep"]).ok();
    assert!(filtered.contains("\nFilter     reason=sleep: 625 of 5,009 goroutines\n"), "{filtered}");
    let nothing = gospy(&["top", "--from", file, "--filter", "func=bgsweep"]).ok();
    assert!(nothing.contains("no goroutine matches func=bgsweep, of "), "{nothing}");
    assert!(nothing.contains("func~bgsweep finds 1 goroutine\n"), "{nothing}");
    let refused = gospy(&["top", "--from", file, "--sort", "rate"]);
    assert_eq!(refused.status.code(), Some(2));
    // Hidden unless they are asked for.
    assert!(!once.contains("runtime.bgsweep"), "{once}");
    let once = gospy(&["top", "--from", file, "--system"]).ok();
    assert!(once.contains("runtime.bgsweep") && !once.contains("runtime.goexit"), "{once}");
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_gospy"));
    command.args(["top", "--from", file, "-i", "0.2"]);
    let mut top = Terminal::start(command);
    top.until_text("recorded 20");
    assert!(!top.text().contains("every") && !top.text().contains("of a core"), "{}", top.text());
    assert!(!top.text().contains("d mark") && !top.text().contains("RATE"), "{}", top.text());
    top.press("d");
    top.until_text("this is a recording: it does not change");
    top.press("2");
    top.until_text("[2:Goroutines]");
    top.press("q");
    assert!(top.end().success());
    top.is_restored();
}
