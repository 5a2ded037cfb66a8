//! What is printed, and where: help, manual pages, profiles, colours, closed pipes, and nothing that harms a terminal.

use std::io::Write;

use super::*;

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
    assert_eq!(pages.len(), 24, "gospy and its commands: {:?}", pages.iter().map(|page| &page.0).collect::<Vec<_>>());
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

/// `--html` takes what `--json` takes: a filter, and the goroutines that are named.
#[test]
fn a_page_is_of_the_goroutines_that_were_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("page.html");
    let ran = gospy(&format!("summary -p 4242 --goid 2 --html {}", path.display()));
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Done, ""), "{}", ran.err);
    let page = std::fs::read_to_string(&path).expect("it was written");
    let data = page.split("id=\"document\">").nth(1).and_then(|rest| rest.split("</script>").next());
    let data: serde_json::Value = serde_json::from_str(data.expect("it is there")).expect("it is JSON");
    let ids: Vec<&serde_json::Value> = data["groups"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|group| group["ids"].as_array().expect("a list"))
        .collect();
    assert_eq!(ids, [2]);
    let ran = gospy(&format!("summary -p 4242 --goid 777 --html {}", path.display()));
    assert!(ran.exit == Exit::Error && ran.err.contains("777"), "{}", ran.err);
    for other in ["--json", "--all", "--system", "--limit 3"] {
        assert_eq!(gospy(&format!("summary -p 4242 {other} --html {}", path.display())).exit, Exit::Usage, "{other}");
    }
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
