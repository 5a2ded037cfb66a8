//! Commands on hand-made snapshots.

use std::io::{self, Write};

use super::source::{Source, Sources, TargetSpec};
use super::streams::{ColourChoice, Environment, Streams};
use super::{Exit, Failure, run};
use crate::capture::CaptureOptions;
use crate::inspect::doctor::{Check, Doctor};
use crate::inspect::processes::{Inventory, Process, Processes};
use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};
use crate::model::{Snapshot, Status};
use crate::process::recording::ElfImage;

/// DEL, C1, bidirectional controls, and characters that cannot be seen, in and beyond the first plane.
const HOSTILE: &str = "\u{7f}\u{9b}2J\u{202e}\u{2066}\u{200b}\u{2028}\u{feff}\u{e0041}";

struct Fake(Snapshot);

struct Opened(Snapshot);

impl Sources for Fake {
    fn open(&self, wanted: &TargetSpec) -> Result<Box<dyn Source>, Failure> {
        match wanted.pid().unwrap() {
            4242 => Ok(Box::new(Opened(self.0.clone()))),
            pid => Err(Failure::new(Exit::NoProcess, format!("there is no process {pid}"))),
        }
    }

    fn record(
        &self,
        wanted: &TargetSpec,
        _: Option<crate::capture::FreezeMode>,
    ) -> Result<(ElfImage, Snapshot), Failure> {
        Err(Failure::new(Exit::NoProcess, format!("there is no {}", wanted.name())))
    }

    fn leaks(
        &self,
        wanted: &TargetSpec,
        _: bool,
        _: &mut dyn FnMut(crate::commands::source::Walking),
    ) -> Result<(Snapshot, crate::heap::Leaks), Failure> {
        Err(Failure::new(Exit::Error, format!("opened {} {:?}", wanted.name(), wanted.start_ticks)))
    }

    fn examine(&self, wanted: Option<&TargetSpec>) -> Result<(Doctor, Exit), Failure> {
        let check =
            Check { name: "process_vm_readv".into(), passed: Some(false), value: format!("refused\u{1b}{HOSTILE}") };
        let exit = if wanted.is_some() { Exit::Permission } else { Exit::Done };
        Ok((Doctor { pid: wanted.and_then(TargetSpec::pid), access: vec![check], ..Default::default() }, exit))
    }

    fn programs(&self) -> Result<Inventory, Failure> {
        let programs = self.processes()?.processes;
        Ok(Inventory { programs, ..Inventory::default() })
    }

    fn processes(&self) -> Result<Processes, Failure> {
        let process = |pid, unreadable: Option<&str>| Process {
            pid,
            user: Some("ann".into()),
            go_version: Some("go1.26.6".into()),
            module: Some("example.com/shop".into()),
            goroutines: unreadable.is_none().then_some(1_234),
            unreadable: unreadable.map(str::to_owned),
            cmdline: vec!["orders".into(), "\u{1b}[2J".into(), HOSTILE.into()],
            ..Default::default()
        };
        let processes = vec![process(4242, None), process(4243, Some("no permission\nadvice"))];
        Ok(Processes { processes, hidden: 2, refused: Some(4243), as_root: false })
    }
}

impl Source for Opened {
    fn capture(&mut self, options: &CaptureOptions) -> Result<Snapshot, Failure> {
        assert!(options.stacks);
        let mut snapshot = self.0.clone();
        snapshot.goroutines.retain(|goroutine| options.dead || !goroutine.status.is_dead());
        Ok(snapshot)
    }
}

fn snapshot(goroutines: u64) -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    for id in 1..=goroutines {
        let (reason, function) = if id % 2 == 0 { ("select", "main.even") } else { ("chan receive", "main.odd") };
        builder.add(&GoroutineSpec {
            id,
            reason: Some(reason),
            wait_ns: Some(id * 1_000_000_000),
            frames: vec![frame("runtime.gopark", "/go/proc.go", 1), frame(function, "/app/m.go", 3)],
            system: id == 2,
            ..Default::default()
        });
    }
    builder.add(&GoroutineSpec { id: 0, status: Status::Dead, ..Default::default() });
    builder.build()
}

/// A program that is read incompletely at first, each time a second after the last.
struct Settling;

struct Readings(u64);

impl Sources for Settling {
    fn open(&self, _: &TargetSpec) -> Result<Box<dyn Source>, Failure> {
        Ok(Box::new(Readings(0)))
    }

    fn record(
        &self,
        wanted: &TargetSpec,
        freeze: Option<crate::capture::FreezeMode>,
    ) -> Result<(ElfImage, Snapshot), Failure> {
        Fake(snapshot(1)).record(wanted, freeze)
    }

    fn leaks(
        &self,
        wanted: &TargetSpec,
        _: bool,
        _: &mut dyn FnMut(crate::commands::source::Walking),
    ) -> Result<(Snapshot, crate::heap::Leaks), Failure> {
        Err(Failure::new(Exit::Error, format!("opened {} {:?}", wanted.name(), wanted.start_ticks)))
    }

    fn examine(&self, wanted: Option<&TargetSpec>) -> Result<(Doctor, Exit), Failure> {
        Fake(snapshot(1)).examine(wanted)
    }

    fn programs(&self) -> Result<Inventory, Failure> {
        Fake(snapshot(1)).programs()
    }

    fn processes(&self) -> Result<Processes, Failure> {
        Fake(snapshot(1)).processes()
    }
}

impl Source for Readings {
    fn capture(&mut self, _: &CaptureOptions) -> Result<Snapshot, Failure> {
        let mut snapshot = snapshot(3);
        snapshot.reading.consistency.moving = u64::from(self.0 == 0);
        snapshot.captured_at_unix_ns += self.0 * 1_000_000_000;
        self.0 += 1;
        Ok(snapshot)
    }
}

struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

fn gospy_on(snapshot: Snapshot, terminal: bool, line: &str) -> Ran {
    gospy_from(&Fake(snapshot), terminal, line)
}

fn gospy_from(sources: &dyn Sources, terminal: bool, line: &str) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams {
        out: &mut out,
        err: &mut err,
        input: &mut io::empty(),
        in_is_terminal: false,
        out_is_terminal: terminal,
        err_is_terminal: false,
        columns: Some(80),
        environment: Environment::default(),
        choice: ColourChoice::Auto,
    };
    let words = line.split_whitespace().map(|word| word.replace('_', " "));
    let exit = run(std::iter::once("gospy".to_owned()).chain(words), sources, &mut streams);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { exit, out: text(out), err: text(err) }
}

fn gospy(line: &str) -> Ran {
    gospy_on(snapshot(4), false, line)
}

#[test]
fn exit_statuses() {
    for (line, exit) in [
        ("summary --pid 4242", Exit::Done),
        ("s -p 4242 --json", Exit::Done),
        ("st -p 4242", Exit::Done),
        ("dump -p 4242 --strict", Exit::Done),
        ("--help", Exit::Done),
        ("--version", Exit::Done),
        ("", Exit::Done),
        ("4242", Exit::Done),
        ("-q --strict 4242 --all", Exit::Done),
        ("shop", Exit::Usage),
        ("check", Exit::Usage),
        ("0", Exit::Usage),
        ("summary 99999999999", Exit::Usage),
        ("summary 4242 --pid 4242", Exit::Usage),
        ("doctor 4242", Exit::Permission),
        ("diff 4242 4242", Exit::Done),
        ("diff 4242", Exit::Usage),
        ("diff 4242 4242 -p 4242", Exit::Usage),
        ("ps --sort goroutines --reverse", Exit::Done),
        ("ps --sort colour", Exit::Usage),
        ("summary", Exit::Usage),
        ("summary -p 0", Exit::Usage),
        ("summary -p 4242 --sort colour", Exit::Usage),
        ("summary -p 4242 --filter age>5x", Exit::Usage),
        ("summary -p 4242 --reverse", Exit::Usage),
        ("stack -p 4242 --folded --json", Exit::Usage),
        ("stack -p 4242 --max-frames 0", Exit::Usage),
        ("nonsense", Exit::NoProcess),
        ("summary -p 1", Exit::NoProcess),
        ("stack -p 4242 -g 1,99", Exit::Error),
        ("stack -p 4242 -g 2-9", Exit::Done),
        ("stack -p 4242 -g 7-9", Exit::Error),
        ("stack -p 4242 -g 3-2", Exit::Usage),
        ("stack -p 4242 -g -3", Exit::Usage),
        ("stack -p 4242 -g 1-2-3", Exit::Usage),
        ("check -p 4242 --max-wait 5s", Exit::Done),
        ("check -p 4242 --max-wait 5 --max-group 1", Exit::Failed),
        ("check -p 1 --max-group 1", Exit::NoProcess),
        ("doctor", Exit::Done),
        ("doctor -p 4242 -j", Exit::Permission),
        ("ps", Exit::Done),
        ("completions bash", Exit::Done),
        ("man", Exit::Done),
        ("schema", Exit::Done),
        ("schema diff", Exit::Done),
        ("schema check", Exit::Done),
        ("schema colour", Exit::Usage),
        ("check -p 4242 --max-group 4", Exit::Done),
        ("check -p 4242 --max-goroutines 2 -j", Exit::Failed),
        ("check -p 4242", Exit::Usage),
        ("diff -p 4242", Exit::Usage),
        ("run", Exit::Usage),
    ] {
        let ran = gospy(line);
        assert_eq!(ran.exit, exit, "{line}: {}", ran.err);
        assert_eq!(
            ran.err.is_empty(),
            matches!(exit, Exit::Done | Exit::Failed) || line.starts_with("doctor"),
            "{line}: {}",
            ran.err
        );
    }
}

#[test]
fn an_incomplete_answer_is_an_error_only_when_strict() {
    let mut incomplete = snapshot(3);
    incomplete.reading.consistency.moving = 1;
    incomplete.gc = None;
    assert_eq!(gospy_on(incomplete.clone(), false, "summary -p 4242").exit, Exit::Done);
    let ran = gospy_on(incomplete, false, "--strict summary -p 4242 --json");
    assert_eq!(ran.exit, Exit::Incomplete);
    assert!(ran.out.contains("\"complete\":false"), "the answer is given all the same");
    assert!(ran.err.contains("1 goroutines changed on every try; the garbage collector was not found"), "{}", ran.err);
}

#[test]
fn every_sample_of_a_watch_counts_when_strict() {
    let line = "check -p 4242 --watch 80ms --interval 10ms";
    let ran = gospy_from(&Settling, false, line);
    assert_eq!(ran.exit, Exit::Done, "{}{}", ran.out, ran.err);
    let ran = gospy_from(&Settling, false, &format!("{line} --strict"));
    assert_eq!(ran.exit, Exit::Incomplete, "{}{}", ran.out, ran.err);
}

#[test]
fn lists_are_filtered_sorted_and_cut() {
    let ids = |line: &str| -> Vec<u64> {
        let json: serde_json::Value = serde_json::from_str(&gospy(line).out).expect("JSON");
        assert_eq!(json["goroutines"]["total"], 4);
        json["goroutines"]["list"].as_array().expect("a list").iter().filter_map(|g| g["id"].as_u64()).collect()
    };
    assert_eq!(ids("s -j -p 4242"), [1, 2, 3, 4]);
    assert_eq!(ids("s -j -p 4242 --filter reason=select"), [2, 4]);
    assert_eq!(ids("s -j -p 4242 --filter not_system_and_age>2s"), [3, 4]);
    assert_eq!(ids("s -j -p 4242 --sort age --limit 2"), [4, 3]);
    assert_eq!(ids("s -j -p 4242 --sort id --reverse --limit 0"), [4, 3, 2, 1]);
    assert_eq!(ids("s -j -p 4242 --goid 3,1"), [1, 3]);
    assert_eq!(ids("s -j -p 4242 --goid 2-3"), [2, 3]);
    assert_eq!(ids("s -j -p 4242 --goid 3-99,1 -g 1-1"), [1, 3, 4]);
    assert_eq!(ids("s -j -p 4242 -d"), [1, 2, 3, 4, 0]);
    assert_eq!(ids("stack -j -p 4242 -g 2"), [2]);
}

#[test]
fn stacks_are_grouped_on_a_terminal_when_there_are_many() {
    let many = || snapshot(200);
    let headers = |ran: Ran| ran.out.lines().filter(|line| line.contains(" [")).count();
    assert_eq!(headers(gospy_on(many(), true, "stack -p 4242 --no-color")), 2);
    assert_eq!(headers(gospy_on(many(), true, "stack -p 4242 --all")), 199);
    assert_eq!(headers(gospy_on(many(), false, "stack -p 4242")), 199);
    assert_eq!(headers(gospy_on(many(), false, "stack -p 4242 --system")), 200);
    assert_eq!(headers(gospy_on(many(), false, "stack -p 4242 --similar")), 2);
    assert_eq!(headers(gospy_on(many(), false, "stack -p 4242 -g 2")), 1);
    let folded = gospy_on(many(), false, "stack -p 4242 --folded").out;
    assert_eq!(folded, "main.even 99\nmain.odd 100\n");
}

#[test]
fn what_a_limit_hides_is_said() {
    let many = || snapshot(200);
    let ran = gospy_on(many(), false, "stack -p 4242 --limit 5");
    assert_eq!(ran.err, "gospy: and 194 more goroutines: --limit 0 shows all\n");
    let ran = gospy_on(many(), false, "stack -p 4242 --group --limit 1");
    assert!(ran.out.ends_with("\n\n… and 1 more group with 99 goroutines (--limit 0 shows all)\n"), "{}", ran.out);
    assert_eq!(ran.err, "");
    for line in ["stack -p 4242", "stack -p 4242 --group --limit 2", "stack -p 4242 --limit 0"] {
        let ran = gospy_on(many(), false, line);
        assert!(!ran.out.contains("more") && ran.err.is_empty(), "{line}: {}{}", ran.out, ran.err);
    }
    assert_eq!(gospy_on(many(), false, "-q stack -p 4242 --limit 5").err, "");
    let json: serde_json::Value =
        serde_json::from_str(&gospy_on(many(), false, "stack -p 4242 --group --limit 1 --json").out).expect("JSON");
    let goroutines = &json["goroutines"];
    assert_eq!((&goroutines["matching"], &goroutines["group_count"]), (&200.into(), &2.into()));
    assert_eq!(goroutines["groups"].as_array().map(Vec::len), Some(1));

    let all = gospy_on(many(), false, "summary -p 4242 --all --limit 7").out;
    assert!(all.contains("… and 192 more goroutines (--limit 0 shows all)"), "{all}");
    // Of these none is shown, so that there are no more.
    assert!(all.contains("… 1 goroutine not shown (--limit 0 shows all)"), "{all}");
    let groups = gospy_on(many(), false, "summary -p 4242 --limit 1").out;
    assert!(groups.contains("… and 1 more place with 99 goroutines (--limit 0 shows all)"), "{groups}");
    assert!(groups.contains("… 1 place with 1 goroutine not shown (--limit 0 shows all)"), "{groups}");
}

#[test]
fn a_filter_that_matches_nothing_says_so() {
    let want = "no goroutine matches func=odd, of 4\n";
    let hint = "= needs the whole text; func~odd finds 2 goroutines\n";
    let ran = gospy("stack -p 4242 --filter func=odd");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Done, ""));
    assert_eq!(ran.err, format!("gospy: {want}gospy: {hint}"));
    for form in ["--group", "--folded", "--system"] {
        let ran = gospy(&format!("stack -p 4242 --filter func=odd {form}"));
        assert_eq!((ran.out.as_str(), ran.err), ("", format!("gospy: {want}gospy: {hint}")), "{form}");
    }
    let ran = gospy("stack -p 4242 --filter id=2");
    assert_eq!(ran.err, "gospy: id=2 matches 1 goroutine, all the runtime's own: --system shows them\n");
    let ran = gospy("summary -p 4242 --filter id=3 --goid 1");
    assert!(ran.out.contains("! id=3 matches 1 goroutine, none of those that --goid names"), "{}", ran.out);
    let ran = gospy("summary -p 4242 --filter func=odd");
    assert!(ran.out.contains(want.trim()) && ran.out.contains(hint.trim()), "{}", ran.out);
    assert!(!ran.out.contains("The program's own") && ran.err.is_empty(), "{}", ran.out);
    let ran = gospy("stack -p 4242 --filter func=odd --json");
    assert_eq!(ran.err, "");
    let json: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!((&json["goroutines"]["matching"], &json["goroutines"]["total"]), (&0.into(), &4.into()));
    let ran = gospy("top -p 4242 --once --filter func=odd");
    assert!(ran.out.contains(want.trim()) && ran.out.contains(hint.trim()), "{}", ran.out);
}

#[test]
fn groups_as_json() {
    for command in ["summary", "stack"] {
        let json: serde_json::Value =
            serde_json::from_str(&gospy(&format!("{command} -p 4242 --json --group")).out).expect("JSON");
        let groups = json["goroutines"]["groups"].as_array().expect("groups");
        assert_eq!(groups.len(), 2);
        assert_eq!((&groups[0]["count"], &groups[0]["ids"]), (&2.into(), &serde_json::json!([1, 3])));
        assert_eq!(json["goroutines"]["list"], serde_json::json!([]));
        assert_eq!(groups[0]["frames"].is_null(), command == "summary");
    }
}

/// A system goroutine is where it started, whoever shows it: they all wait in one function.
#[test]
fn a_system_goroutine_is_at_one_place_everywhere() {
    let mut builder = SnapshotBuilder::new();
    let frames = ["runtime.gopark", "runtime.bgsweep", "runtime.gcenable.gowrap1"];
    let frames = frames.map(|function| frame(function, "/usr/local/go/src/runtime/mgc.go", 300)).to_vec();
    builder.add(&GoroutineSpec { id: 3, reason: Some("GC sweep wait"), frames, system: true, ..Default::default() });
    let snapshot = builder.build();
    for line in [
        "summary -p 4242",
        "summary -p 4242 --group",
        "top -p 4242 --once --system",
        "top -p 4242 --once --system --group-by stack",
    ] {
        let text = gospy_on(snapshot.clone(), false, line).out;
        assert!(
            text.contains("runtime.bgsweep") && !text.contains("gopark") && !text.contains("gowrap"),
            "{line}: {text}"
        );
    }
    let json =
        |line: &str| serde_json::from_str::<serde_json::Value>(&gospy_on(snapshot.clone(), false, line).out).unwrap();
    let listed = &json("summary -p 4242 --json")["goroutines"]["list"][0];
    assert_eq!(
        (&listed["place"]["function"], &listed["current"]["function"]),
        (&"runtime.bgsweep".into(), &"runtime.gopark".into())
    );
    assert_eq!(json("summary -p 4242 --json --group")["goroutines"]["groups"][0]["place"], listed["place"]);
    let group = &json("top -p 4242 --json --once")["groups"][0];
    assert_eq!((&group["place"], &group["function"]), (&listed["place"], &"runtime.bgsweep".into()));
}

#[test]
fn the_creator_has_an_older_name() {
    let shown = |line: &str| gospy_on(snapshot(3), false, line);
    let creator = shown("summary -p 4242 --all --pc creator");
    assert_eq!(creator.exit, Exit::Done);
    assert_eq!(shown("summary -p 4242 --all --pc caller").out, creator.out);
    assert!(creator.out.contains("created by"), "{}", creator.out);
}

#[test]
fn unknown_ids_are_told_with_what_is_known() {
    let ran = gospy("stack -p 4242 -g 3,99,100");
    assert!(ran.out.starts_with("goroutine 3 ["), "what is there is shown");
    assert_eq!(ran.err, "gospy: there are no goroutines 99, 100 in pid 4242: the highest id alive is 4\n");
    let ran = gospy("stack -p 4242 -g 1-2,90-99");
    assert_eq!(ran.err, "gospy: there are no goroutines 90-99 in pid 4242: the highest id alive is 4\n");
}

#[test]
fn a_freeze_that_is_typed_as_two_words_is_explained() {
    for line in ["stack -p 4242 --freeze all", "summary --freeze running -p 4242", "diff a.json -p 4242 --freeze all"] {
        let ran = gospy(line);
        assert_eq!(ran.exit, Exit::Usage, "{line}");
        let mode = if line.contains("all") { "all" } else { "running" };
        assert!(ran.err.ends_with(&format!("after an equals sign: --freeze={mode}\n")), "{line}: {}", ran.err);
    }
    assert!(!gospy("stack -p 4242 --freeze=some").err.contains("equals sign"));
}

#[test]
fn one_syntax_of_durations() {
    // Each option that takes one, and the filter.
    let lines = [
        "summary -p 4242 --filter age>X",
        "check -p 4242 --max-wait X",
        "check -p 4242 --watch X --interval X",
        "capture -p 1 -o /nonexistent/x --repeat 2 --interval X",
        "top -p 1 --interval X",
        // It gets no further than to its directory.
        "run --timeout X --grace X --capture-every X -o /dev/null/x -- true",
        "run --capture-every X -o /dev/null/x -- true",
    ];
    for line in lines {
        for (duration, understood) in [
            ("500ms", true),
            ("2s", true),
            ("1m30s", true),
            ("1.5", true),
            ("2", true),
            ("5x", false),
            ("1s1", false),
            ("", false),
        ] {
            if line.contains("--watch") && understood {
                continue;
            }
            let ran = gospy(&line.replace('X', duration));
            assert_eq!(ran.exit != Exit::Usage, understood, "{line}, {duration}: {}", ran.err);
        }
    }
}

/// Every page, by the name of its command.
fn pages() -> Vec<(String, String)> {
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(gospy(&format!("man {}", directory.path().display())).exit, Exit::Done);
    let pages = std::fs::read_dir(directory.path()).expect("it is there").map(|entry| {
        let entry = entry.expect("an entry");
        let text = std::fs::read_to_string(entry.path()).expect("it is text");
        (entry.file_name().to_string_lossy().into_owned(), text)
    });
    pages.collect()
}

#[test]
fn every_manual_page_has_its_exit_statuses() {
    let pages = pages();
    assert_eq!(pages.len(), 15, "gospy and its commands: {:?}", pages.iter().map(|page| &page.0).collect::<Vec<_>>());
    for (name, text) in &pages {
        let (before, statuses) = text.split_once(".SH \"EXIT STATUS\"\n").unwrap_or_else(|| panic!("{name}: {text}"));
        assert!(!before.contains("Exit status"), "{name}: twice");
        let judges = matches!(name.as_str(), "gospy.1" | "gospy-check.1" | "gospy-run.1");
        assert_eq!(statuses.contains("\\fB8\\fR"), judges, "{name}: {statuses}");
        assert_eq!(statuses.contains("\\fB124\\fR"), name == "gospy-run.1", "{name}");
        assert!(statuses.contains("\\fB2\\fR\nusage error"), "{name}: {statuses}");
    }
}

#[test]
fn a_profile_goes_to_its_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("p.pb.gz");
    let ran = gospy(&format!("stack -p 4242 --pprof {}", path.display()));
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Done, ""));
    assert!(ran.err.starts_with("gospy: 3 goroutines in 2 samples written to "), "{}", ran.err);
    assert_eq!(&std::fs::read(&path).expect("it was written")[..2], [0x1f, 0x8b]);
    let ran = gospy("stack -p 4242 --pprof /nonexistent/p.pb.gz");
    assert_eq!(ran.exit, Exit::Error);
    assert!(ran.err.contains("/nonexistent/p.pb.gz cannot be written: No such file"), "{}", ran.err);
    assert_eq!(gospy_on(snapshot(1), true, "stack -p 4242 --pprof -").exit, Exit::Usage);
}

struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_is_a_success_and_a_full_disk_is_not() {
    for line in ["summary", "stack", "stack --json", "stack --folded", "stack --pprof -"] {
        for (kind, exit) in [(io::ErrorKind::BrokenPipe, Exit::Done), (io::ErrorKind::StorageFull, Exit::Error)] {
            let mut err = Vec::new();
            let mut streams = Streams {
                out: &mut Broken(kind),
                err: &mut err,
                input: &mut io::empty(),
                in_is_terminal: false,
                out_is_terminal: false,
                err_is_terminal: false,
                columns: None,
                environment: Environment::default(),
                choice: ColourChoice::Auto,
            };
            let words = ["gospy", "-q"].into_iter().chain(line.split(' ')).chain(["-p", "4242"]);
            assert_eq!(run(words, &Fake(snapshot(2_000)), &mut streams), exit, "{line}");
            assert_eq!(err.is_empty(), exit == Exit::Done, "{line}");
        }
    }
}

#[test]
fn colour_follows_the_rules() {
    let table = [
        // NO_COLOR, CLICOLOR_FORCE, dumb, choice, terminal, coloured
        (false, false, false, ColourChoice::Auto, true, true),
        (false, false, false, ColourChoice::Auto, false, false),
        (true, false, false, ColourChoice::Auto, true, false),
        (true, true, false, ColourChoice::Auto, true, false),
        (false, true, true, ColourChoice::Auto, false, true),
        (false, false, true, ColourChoice::Auto, true, false),
        (true, false, true, ColourChoice::Always, false, true),
        (false, true, false, ColourChoice::Never, true, false),
    ];
    for (no_color, force, dumb, choice, terminal, want) in table {
        let environment = Environment { no_color, force, dumb, ..Environment::default() };
        assert_eq!(environment.colours(choice, terminal), want, "{environment:?} {choice:?} {terminal}");
    }
    let coloured = |line: &str, terminal| gospy_on(snapshot(3), terminal, line).out.contains('\u{1b}');
    assert!(coloured("summary -p 4242", true) && coloured("stack -p 4242", true));
    assert!(!coloured("summary -p 4242 --no-color", true) && !coloured("--color never stack -p 4242", true));
    assert!(coloured("summary -p 4242 --color always", false) && !coloured("summary -p 4242", false));
}

#[test]
fn every_command_has_examples_and_a_manual_page() {
    let statuses = gospy("help exit").out;
    assert!(statuses.contains("Exit status:") && statuses.contains("6    the answer is incomplete"), "{statuses}");
    assert!(statuses.contains("\n  8    ") && statuses.contains("124"), "{statuses}");
    let commands = ["summary", "stack", "ps", "doctor", "diff", "check", "run", "completions", "man", "schema", "help"];
    for command in commands {
        let long = gospy(&format!("{command} --help")).out;
        assert!(long.contains("Examples:\n  ") && long.contains(&format!("gospy {command}")), "{long}");
        assert_eq!(gospy(&format!("help {command}")).out, long, "{command}");
        assert!(gospy(&format!("{command} -h")).out.lines().count() <= long.lines().count(), "{command}");
    }
    assert_eq!(gospy("help").out, gospy("--help").out);
    for (line, parts) in [
        ("help freeze", &["for less than a millisecond each", "--freeze-seccomp"][..]),
        ("help rules", &["highest sample still rises in the last quarter", "gospy run"]),
        ("help filter", &["a regular expression, found anywhere", "Examples:"]),
        ("help keys", &["label=KEY"]),
        ("help targets", &["--name 4242"]),
        ("help formats", &["NO_COLOR"]),
        ("summary --help", &["--freeze-seccomp", "--show-dead"]),
        ("summary -h", &["More options: --help"]),
    ] {
        let ran = gospy(line);
        let text = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(ran.exit == Exit::Done && parts.iter().all(|part| text.contains(part)), "{line}: {}", ran.out);
    }
    assert!(!gospy("summary -h").out.contains("--freeze-seccomp"));
    let unknown = gospy("help colour");
    assert_eq!(unknown.exit, Exit::Usage);
    assert!(unknown.err.contains("there is no help on colour: the topics are filter, keys"), "{}", unknown.err);
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(gospy(&format!("man {}", directory.path().display())).exit, Exit::Done);
    assert!(directory.path().join("gospy-stack.1").exists());
    assert!(gospy("completions bash").out.contains("_gospy()"));
}

#[test]
fn processes_and_facts_are_shown_harmlessly() {
    let ps = gospy("ps").out;
    assert!(ps.contains("`gospy doctor 4243` shows which permission is missing"), "{ps}");
    assert!(
        ps.contains("1,234")
            && ps.contains("4243: no permission")
            && ps.contains("2 more processes are not readable (try sudo)"),
        "{ps}"
    );
    let doctor = gospy("doctor -p 4242").out;
    assert!(doctor.contains("refused\\x1b"), "{doctor}");
    assert!(!ps.contains('\u{1b}') && !doctor.contains('\u{1b}'));
    let json: serde_json::Value = serde_json::from_str(&gospy("ps --json").out).expect("JSON");
    assert_eq!(json["processes"][1]["goroutines"], serde_json::Value::Null);
}

#[test]
fn json_is_safe_to_print() {
    let name = |what: &str| format!("{what}{HOSTILE}\u{1b}[2J");
    let hostile = || {
        let mut builder = SnapshotBuilder::new();
        let (function, file, key, value, reason) =
            (name("main.f"), name("/app/m.go"), name("key"), name("value"), name("chan receive"));
        for id in 1..=3 {
            builder.add(&GoroutineSpec {
                id,
                reason: Some(&reason),
                frames: vec![frame(&function, &file, 3)],
                creator: Some(frame(&function, &file, 9)),
                labels: vec![(&key, &value)],
                ..Default::default()
            });
        }
        let snapshot = builder.edit();
        (snapshot.target.exe, snapshot.target.go_version) = (name("/bin/x"), name("go1.26"));
        (snapshot.target.build_id, snapshot.target.cmdline) = (Some(name("id")), vec![name("x")]);
        (snapshot.target.module.path, snapshot.target.module.version) = (Some(name("m")), Some(name("v1")));
        snapshot.warnings.add(crate::model::WarningCode::StackMalformed, name("odd"));
        builder.build()
    };
    let directory = tempfile::tempdir().expect("a directory");
    let file = |nth: u32| directory.path().join(format!("{nth}.json")).display().to_string();
    for nth in 1..=2 {
        let all = gospy_on(hostile(), false, "stack -p 4242 --json").out;
        // What is read back is the same text again.
        let all = if nth == 2 { all.replace("\"id\":3,", "\"id\":4,") } else { all };
        std::fs::write(file(nth), all).expect("the file can be written");
    }
    let differ = format!("diff {} {} --json", file(1), file(2));
    let lines = [
        "summary -p 4242 --json",
        "summary -p 4242 --json --group",
        "stack -p 4242 --json",
        "stack -p 4242 --json --similar",
        "top -p 4242 --json -n 2 -i 0.05",
        "top -p 4242 --json --once --group-by stack",
        "check -p 4242 --json --max-goroutines 1 --max-group 1",
        "ps --json",
        "doctor -p 4242 --json",
        differ.as_str(),
    ];
    for line in lines {
        let ran = gospy_on(hostile(), false, line);
        assert!(ran.out.contains("\\u009b2J\\u202e\\u2066\\u200b\\u2028\\ufeff\\udb40\\udc41"), "{line}: {}", ran.out);
        for c in HOSTILE.chars().filter(|c| !c.is_ascii_alphanumeric()).chain(['\u{1b}']) {
            assert!(!ran.out.contains(c), "{line} prints {c:?}");
        }
        for line in ran.out.lines() {
            let json: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert!(!json.is_null());
        }
        let whole = ran.out.lines().next().expect("a line");
        let texts: serde_json::Value = serde_json::from_str(whole).expect("JSON");
        assert!(texts.to_string().contains(HOSTILE), "a parser of {line} sees the text as it is");
    }
}
