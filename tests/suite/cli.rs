//! The program itself: statuses, streams, and a first look at a live program.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Running, gospy, gospy_with, live, live_program};

#[test]
fn what_is_wrong_is_told_once_with_its_status() {
    let own = std::process::id().to_string();
    for (args, code, told) in [
        (vec!["summary", ""], 2, "give a pid or a name"),
        (vec!["check"], 2, "--pid <PID>"),
        (vec!["summary", "no-such-program"], 3, "no Go program is called no-such-program"),
        (vec!["sumary"], 3, "a similar command: gospy summary"),
        (vec!["4194305"], 3, "there is no process 4194305"),
        (vec!["summary", "--pid", "x"], 2, "invalid value 'x'"),
        (vec!["summary", "--pid", "4194305"], 3, "there is no process 4194305"),
        (vec!["stack", "--pid", own.as_str()], 5, "is not a Go program"),
        (vec!["doctor", "--pid", "4194305"], 3, "there is no process 4194305"),
        (vec!["summary", "--pid", own.as_str(), "--filter", "age>"], 2, "a value is missing after `>`"),
    ] {
        let output = gospy(&args);
        assert_eq!(output.code(), code, "{args:?}: {}", output.stderr);
        assert!(output.stderr.contains(told), "{args:?}: {}", output.stderr);
        assert_eq!(output.stdout, "", "{args:?}");
        assert!(!output.stderr.contains('\u{1b}'), "no colour where there is no terminal");
    }
}

#[test]
fn an_error_names_its_file_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("no-capture").display().to_string();
    for there in [false, true] {
        if there {
            std::fs::write(&file, "this is no capture").unwrap();
        }
        for args in [
            vec!["summary", "--from", &file],
            vec!["doctor", "--from", &file],
            vec!["check", "--from", &file, "--max-group", "1"],
        ] {
            let output = gospy(&args);
            assert_eq!(output.code(), 1, "{output:?}");
            // Doctor's heading names it too.
            let said =
                if args[0] == "doctor" { output.stdout.split("Problem").nth(1).unwrap_or("") } else { &output.stderr };
            assert_eq!(said.matches(&file).count(), 1, "{args:?}: {output:?}");
        }
    }
}

#[test]
fn a_zombie_has_ended() {
    let mut child = Command::new("true").spawn().unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let output = gospy(&["summary", "--pid", &child.id().to_string()]);
    assert_eq!(output.code(), 3, "{}", output.stderr);
    assert!(output.stderr.contains("is a zombie"), "{}", output.stderr);
    child.wait().unwrap();
}

#[test]
fn closed_pipes_full_disks_and_colour() {
    let gospy_binary = env!("CARGO_BIN_EXE_gospy");
    let shell = |script: &str| {
        let status = Command::new("bash").args(["-c", script, "bash", gospy_binary]).output().unwrap();
        (status.status.code(), String::from_utf8_lossy(&status.stderr).into_owned())
    };
    assert_eq!(shell("set -o pipefail; \"$1\" schema | head -n 1 >/dev/null"), (Some(0), String::new()));
    let (code, stderr) = shell("\"$1\" schema > /dev/full");
    assert_eq!(code, Some(1));
    assert_eq!(stderr, "gospy: the answer could not be written: No space left on device (os error 28)\n");
    let forced = gospy_with(&["summary", "--pid", "4194305"], |command| {
        command.env("CLICOLOR_FORCE", "1");
    });
    assert!(forced.stderr.contains("\u{1b}["));
    let refused = gospy_with(&["summary", "--pid", "4194305"], |command| {
        command.env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1");
    });
    assert!(!refused.stderr.contains('\u{1b}'));
}

/// CPU time of a process as `stat` counts it, ns.
fn cpu_by_stat(pid: i32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // Fields 14 and 15, in hundredths of a second, of which the first two are cut off.
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) as f64 * 1e7
}

#[test]
fn a_summary_shows_what_the_program_uses() {
    let running = live(&["idle", "-busy", "1"]);
    let pid = running.pid().to_string();
    let (before, started) = (cpu_by_stat(running.pid()), std::time::Instant::now());
    let mut shares = Vec::new();
    for _ in 0..5 {
        let resources = gospy(&["summary", "-p", &pid, "--json"]).json()["target"]["resources"].clone();
        let number = |key: &str| resources[key].as_u64().unwrap();
        assert!(number("cpu_interval_ns") >= 100_000_000, "{resources}");
        shares.push(number("cpu_used_ns") as f64 / number("cpu_interval_ns") as f64);
        let listed = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        assert_eq!(number("open_fds"), listed as u64);
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        assert_eq!(resources["fd_limit"].as_u64(), line.split_whitespace().nth(3).unwrap().parse().ok());
    }
    // The same time as the kernel's other count has it, whatever else this machine does.
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    let by_stat = (cpu_by_stat(running.pid()) - before) / started.elapsed().as_nanos() as f64;
    assert!((mean - by_stat).abs() < 0.35, "{shares:?}, by stat {by_stat}");
    let text = gospy(&["summary", "-p", &pid]).ok();
    assert!(text.lines().any(|line| line.starts_with("  process      CPU ") && line.contains(" % now · ")), "{text}");
    // A capture keeps what it was.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("capture").display().to_string();
    gospy(&["capture", "-p", &pid, "-o", &file]).ok();
    let kept = gospy(&["summary", "--from", &file, "--json"]).json()["target"]["resources"].clone();
    let now = gospy(&["summary", "-p", &pid, "--json"]).json()["target"]["resources"].clone();
    assert_eq!((&kept["open_fds"], &kept["fd_limit"]), (&now["open_fds"], &now["fd_limit"]));
}

#[test]
fn a_live_program_is_summarised() {
    let running = live(&["states", "2"]);
    let pid = running.pid().to_string();
    for width in ["80", "140"] {
        let output = gospy_with(&["summary", "-v", "-p", &pid], |command| {
            command.env("COLUMNS", width);
        });
        assert_eq!(output.stderr, "");
        let text = output.ok();
        for part in ["go1.26.6 linux/amd64", "GOMAXPROCS", "Scheduler", "Heap", "Garbage collector", "\nPs", "\nMs"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.contains("goroutines validated") && text.contains("sync.Mutex.Lock"), "{text}");
    }
    let all = gospy(&["s", "-p", &pid, "--json"]).json();
    let total = all["goroutines"]["total"].as_u64().unwrap();
    assert_eq!(all["goroutines"]["list"].as_array().unwrap().len() as u64, total);
    let locks = gospy(&["s", "-p", &pid, "--json", "--filter", "reason=sync.Mutex.Lock and not system"]).json();
    assert_eq!(locks["goroutines"]["total"].as_u64(), Some(total));
    assert_eq!(locks["goroutines"]["matching"], all["goroutines"]["by_wait_reason"]["sync.Mutex.Lock"]);

    let ps = gospy(&["ps", "--json"]).json();
    let entry = ps["processes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["pid"] == serde_json::json!(pid.parse::<i64>().unwrap()))
        .unwrap()
        .clone();
    assert_eq!((&entry["goroutines"], &entry["stripped"]), (&total.into(), &true.into()));
    let doctor = gospy(&["doctor", "-p", &pid]).ok();
    assert!(doctor.contains("table of go1.26.6") && doctor.contains("runtime.allgs"), "{doctor}");
}

/// The live program under a name of its own, so that nothing else on the machine is called so.
fn start_as(directory: &Path, name: &str) -> Running {
    let path: PathBuf = directory.join(name);
    std::fs::copy(live_program(), &path).unwrap();
    let mut command = Command::new(&path);
    command.arg("idle");
    let mut running = Running::spawn(command);
    running.wait_ready();
    running
}

#[test]
fn programs_are_found_by_their_names() {
    let directory = tempfile::tempdir().unwrap();
    // Longer than the 15 bytes that the kernel keeps of a name, though the last one is left out.
    let name = format!("shop-server-of-{}", std::process::id());
    let one = start_as(directory.path(), &name);
    let pid = one.pid().to_string();
    for args in
        [vec![name.as_str()], vec!["summary", &name], vec!["summary", "--name", &name], vec![&pid], vec!["-p", &pid]]
    {
        let output = gospy(&args);
        assert_eq!(output.stderr, "", "{args:?}");
        assert!(output.stdout.contains(&format!("pid {pid} ")), "{args:?}: {}", output.stdout);
    }
    // By the start of its name, it is named.
    let output = gospy(&["stack", &name[..name.len() - 1]]);
    assert_eq!(output.stderr, format!("gospy: {name}, pid {pid}\n"));
    assert!(gospy(&["doctor", &name]).ok().contains("runtime.allgs"));
    assert!(gospy(&["check", &name, "--max-goroutines", "1000"]).ok().contains(&name));
    let capture = directory.path().join("x.capture").display().to_string();
    gospy(&["capture", &name, "-o", &capture, "-q"]).ok();
    assert!(gospy(&["diff", &capture, &name]).ok().contains(&pid));
    let overview = gospy(&[]).ok();
    assert!(overview.contains(&pid) && overview.contains("gospy top "), "{overview}");

    let two = start_as(directory.path(), &format!("{name}-b"));
    let ambiguous = gospy(&["top", &name[..name.len() - 1], "--once"]);
    assert_eq!((ambiguous.code(), ambiguous.stdout.as_str()), (2, ""), "{ambiguous:?}");
    for pid in [&pid, &two.pid().to_string()] {
        assert!(ambiguous.stderr.contains(pid.as_str()), "{ambiguous:?}");
    }
    // The whole name means the one.
    assert_eq!(gospy(&["stack", &name]).stderr, "");
    drop(one);
    let ended = gospy(&["summary", &name, "--strict"]);
    assert!(ended.stderr.starts_with(&format!("gospy: {name}-b, pid {}\n", two.pid())), "{ended:?}");
    drop(two);
    assert_eq!(gospy(&["summary", &name]).code(), 3);
    // gospy is a program too, though not one of Go.
    assert_eq!(gospy(&["summary", "gospy"]).code(), 3);
}

/// What bash offers at the end of a line.
fn bash_offers(line: &[&str]) -> Vec<String> {
    let script = gospy(&["completions", "bash"]).ok();
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_gospy"), directory.path().join("gospy")).unwrap();
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    let words: Vec<String> = line.iter().map(|word| format!("'{word}'")).collect();
    let program = format!(
        "{script}\nCOMP_WORDS=({}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_TYPE=9; COMP_LINE=\"${{COMP_WORDS[*]}}\"\n\
         COMP_POINT=${{#COMP_LINE}}\n$(complete -p gospy | sed 's/.*-F \\([^ ]*\\).*/\\1/') gospy \"${{COMP_WORDS[-1]}}\" ''\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" ")
    );
    let output = Command::new("bash").args(["--norc", "-c", &program]).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn shells_offer_pids_and_names() {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("cellar-{}", std::process::id());
    let program = start_as(directory.path(), &name);
    let pid = program.pid().to_string();
    let hostile = start_as(directory.path(), "a$(touch pwned);b");
    for line in [&["gospy", ""][..], &["gospy", "summary", ""], &["gospy", "top", ""], &["gospy", "check", ""]] {
        let offers = bash_offers(line);
        assert!(offers.contains(&name) && offers.contains(&pid), "{line:?}: {offers:?}");
        assert!(offers.contains(&hostile.pid().to_string()), "{offers:?}");
        assert!(offers.iter().all(|offer| !offer.contains("touch")), "{offers:?}");
    }
    let begun = bash_offers(&["gospy", "stack", "cella"]);
    assert!(!begun.is_empty() && begun.iter().all(|offer| offer.starts_with("cellar-")), "{begun:?}");
    let pids = bash_offers(&["gospy", "summary", "--pid", ""]);
    assert!(pids.contains(&pid) && pids.iter().all(|offer| offer.parse::<u32>().is_ok()), "{pids:?}");
    let names = bash_offers(&["gospy", "summary", "--name", ""]);
    assert!(names.contains(&name) && !names.contains(&pid), "{names:?}");
    assert!(bash_offers(&["gospy", ""]).contains(&"summary".to_owned()));
    assert!(bash_offers(&["gospy", "help", "fil"]).contains(&"filter".to_owned()));
    for shell in ["zsh", "fish"] {
        // What these show of a pid is its name.
        let output = gospy_with(&["--", "gospy", "summary", "--pid", ""], |command| {
            command.env("GOSPY_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", "3");
        });
        let line = output.ok().lines().find(|line| line.starts_with(&pid)).map(str::to_owned).unwrap();
        assert!(line.contains(&name), "{shell}: {line}");
        assert!(gospy(&["completions", shell]).ok().contains("GOSPY_COMPLETE"));
    }
}
