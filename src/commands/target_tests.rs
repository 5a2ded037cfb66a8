//! Which program a word means, and what is asked where it means several.

use std::io;

use super::source::{
    HeapCosts, HeapSource, ObjectsReading, ObjectsRequest, ProfileParts, ProfileReading, Source, SourceFailure,
    Sources, TargetSpec, Walking,
};
use super::streams::{ColourChoice, Environment, Streams};
use super::{Exit, run};
use crate::capture::{FreezeMode, SourceError};
use crate::heap::Leaks;
use crate::inspect::doctor::Doctor;
use crate::inspect::processes::{Inventory, Process, Processes};
use crate::model::Snapshot;
use crate::process::TargetError;
use crate::process::recording::ElfImage;
use crate::runtime::package_variables::{FoundVariables, VariableLimits};

/// What runs. Opening a program is an error that names it.
struct Machine(Inventory);

fn named(wanted: &TargetSpec) -> SourceFailure {
    let text = format!("opened {} {:?}", wanted.name(), wanted.start_ticks);
    SourceFailure::at(&wanted.location, SourceError::from(TargetError::Unsupported(text)))
}

impl Sources for Machine {
    fn open(&self, wanted: &TargetSpec) -> Result<Box<dyn Source>, SourceFailure> {
        Err(named(wanted))
    }

    fn record(&self, wanted: &TargetSpec, _: Option<FreezeMode>) -> Result<(ElfImage, Snapshot), SourceFailure> {
        Err(named(wanted))
    }

    fn leaks(
        &self,
        wanted: &TargetSpec,
        _: bool,
        _: &mut dyn FnMut(Walking),
    ) -> Result<(Snapshot, Leaks), SourceFailure> {
        Err(named(wanted))
    }

    fn objects(
        &self,
        wanted: &TargetSpec,
        _: &ObjectsRequest,
        _: &mut dyn FnMut(Walking),
    ) -> Result<ObjectsReading, SourceFailure> {
        Err(named(wanted))
    }

    fn profiles(&self, wanted: &TargetSpec, _: ProfileParts<'_>) -> Result<ProfileReading, SourceFailure> {
        Err(named(wanted))
    }

    fn record_heap(
        &self,
        wanted: &TargetSpec,
        _: Option<crate::capture::FreezeMode>,
        _: u64,
        _: &mut dyn FnMut(HeapCosts),
    ) -> Result<(ElfImage, Snapshot), SourceFailure> {
        Err(named(wanted))
    }

    fn heap(&self, wanted: &TargetSpec) -> Result<Box<dyn HeapSource>, SourceFailure> {
        Err(named(wanted))
    }

    fn variables(
        &self,
        wanted: &TargetSpec,
        _: &[String],
        _: VariableLimits,
    ) -> Result<(Snapshot, FoundVariables), SourceFailure> {
        Err(named(wanted))
    }

    fn examine(&self, wanted: Option<&TargetSpec>) -> Result<(Doctor, Option<SourceFailure>), TargetError> {
        let name = wanted.map_or("this machine".to_owned(), TargetSpec::name);
        let ticks = wanted.and_then(|wanted| wanted.start_ticks);
        Err(TargetError::Unsupported(format!("opened {name} {ticks:?}")))
    }

    fn programs(&self) -> Result<Inventory, TargetError> {
        Ok(self.0.clone())
    }

    fn processes(&self) -> Result<Processes, TargetError> {
        let processes = self.0.programs.clone();
        Ok(Processes { processes, hidden: self.0.hidden.len() as u64, refused: None, as_root: self.0.as_root })
    }
}

fn process(pid: i32, name: &str) -> Process {
    let (name, exe) = (name.to_owned(), Some(format!("/bin/{name}")));
    let user = Some("ann".to_owned());
    Process { pid, name, exe, user, start_ticks: u64::try_from(pid).unwrap() * 10, ..Process::default() }
}

/// Pids beyond any that Linux gives, so that no process of the machine is one of them.
const BASE: i32 = 5_000_000;

fn machine(names: &[&str]) -> Machine {
    let programs = names.iter().zip(BASE + 1..).map(|(name, pid)| process(pid, name)).collect();
    Machine(Inventory { programs, ..Inventory::default() })
}

struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

/// Runs a line; `answers` are typed on a terminal, where there is one.
fn gospy_on(machine: &Machine, answers: Option<&str>, line: &str) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams {
        out: &mut out,
        err: &mut err,
        input: &mut io::Cursor::new(answers.unwrap_or("1\n").to_owned()),
        in_is_terminal: answers.is_some(),
        out_is_terminal: false,
        err_is_terminal: answers.is_some(),
        columns: Some(80),
        environment: Environment { no_color: true, ..Environment::default() },
        choice: ColourChoice::Never,
    };
    let exit = run(std::iter::once("gospy").chain(line.split_whitespace()), machine, &mut streams);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { exit, out: text(out), err: text(err) }
}

/// The `nth` program of a machine, as it was opened.
fn opened(nth: i32) -> String {
    format!("gospy: opened process {} Some({})\n", BASE + nth, (BASE + nth) * 10)
}

#[test]
fn a_name_or_nothing_means_the_only_one() {
    let one = machine(&["web"]);
    for command in ["summary", "stack", "top", "capture -o x", "check --max-group 1", "doctor", "diff Cargo.toml"] {
        let named = gospy_on(&one, None, &format!("{command} web"));
        if !command.starts_with("diff") {
            assert_eq!(named.err, opened(1), "{command}");
        }
        if !command.starts_with("doctor") {
            assert_eq!(gospy_on(&one, None, &format!("{command} --name web")).err, named.err, "{command}");
        }
        // By the start of a name, what was found is named.
        let start = gospy_on(&one, None, &format!("{command} we")).err;
        assert!(start.starts_with(&format!("gospy: web, pid {}\n", BASE + 1)), "{command}: {start}");
        assert!(!gospy_on(&one, None, &format!("{command} we -q")).err.contains("web, pid"), "{command}");
    }
    for command in ["summary", "stack", "top", "capture -o x"] {
        let only = gospy_on(&one, None, command);
        assert_eq!(only.err, format!("gospy: web, pid {}\n{}", BASE + 1, opened(1)), "{command}");
    }
    assert_eq!(gospy_on(&one, None, "web").err, opened(1));
    assert_eq!(gospy_on(&one, None, "doctor").err, "gospy: opened this machine None\n");
    // By its pid, it is whichever has it.
    assert_eq!(gospy_on(&one, None, "summary 77").err, "gospy: opened process 77 None\n");
}

#[test]
fn several_are_an_error_with_the_list_where_a_question_is_impossible() {
    let three = machine(&["web", "web", "api"]);
    let ran = gospy_on(&three, None, "summary web");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Usage, ""));
    assert!(ran.err.starts_with("gospy: 2 programs match web: give the pid, for example 5000001\n"), "{}", ran.err);
    assert!(ran.err.contains("5000002") && !ran.err.contains("5000003"), "{}", ran.err);
    for command in ["summary", "stack", "top", "capture -o x"] {
        let ran = gospy_on(&three, None, command);
        assert_eq!(ran.exit, Exit::Usage);
        assert!(
            ran.err.contains("3 Go programs are running: give the pid") && ran.err.contains("5000003"),
            "{}",
            ran.err
        );
    }
    let thousands = machine(&["web"; 3_000]);
    let ran = gospy_on(&thousands, None, "web");
    assert!(ran.err.contains("3,000 programs match web") && ran.err.ends_with("… and 2,980 more\n"), "{}", ran.err);
    assert!(ran.err.lines().count() < 30, "{}", ran.err);
}

#[test]
fn several_are_a_choice_on_a_terminal() {
    let three = machine(&["web", "web", "api"]);
    for (answers, nth) in [("2\n", 2), (" 1 \n", 1), ("nonsense\n\n2\n", 2), ("5000001\n", 1), ("0\n-1\n1", 1)] {
        let ran = gospy_on(&three, Some(answers), "summary web");
        assert!(ran.err.ends_with(&opened(nth)), "{answers:?}: {}", ran.err);
        assert!(ran.err.contains("Which one? [1-2, or a pid] ") && ran.out.is_empty(), "{answers:?}: {}", ran.err);
    }
    assert!(gospy_on(&three, Some("3\n"), "top").err.ends_with(&opened(3)));
    for answers in ["", "3\n4\n5000003\n1\n", "99999999999999999999\n"] {
        let ran = gospy_on(&three, Some(answers), "web");
        assert_eq!(ran.exit, Exit::Usage, "{answers:?}: {}", ran.err);
        assert!(ran.err.ends_with("gospy: nothing was chosen\n"), "{answers:?}: {}", ran.err);
    }
    // One that the list had no room for is chosen by its pid.
    let ran = gospy_on(&machine(&["web"; 3_000]), Some("5002999\n"), "web");
    assert!(ran.err.ends_with(&opened(2_999)) && ran.err.contains("… and 2,950 more\n"), "{}", ran.err);
    // Endless input without a line's end.
    assert_eq!(gospy_on(&three, Some(&"7".repeat(100_000)), "web").exit, Exit::Usage);
}

#[test]
fn a_name_without_a_program_is_said_with_what_was_perhaps_meant() {
    let mut machine = machine(&["web", "sumary"]);
    machine.0.others = vec![process(BASE + 50, "nginx"), process(BASE + 51, "bash"), process(BASE + 52, "bash")];
    machine.0.hidden = vec![process(BASE + 60, "secret")];
    for (line, wanted) in [
        ("summary nginx", "process 5000050 is, but it is not a Go program"),
        ("summary bash", "2 processes are (5000051, 5000052), but not Go programs"),
        ("stac", "a similar command: gospy stack"),
        ("nobody", "1 process is not readable (try sudo)"),
        ("nobody", "`gospy ps` lists the Go programs that are running"),
        ("summary Cargo.toml", "to read the file: --from Cargo.toml"),
    ] {
        let ran = gospy_on(&machine, Some("1\n"), line);
        assert_eq!(ran.exit, Exit::NoProcess, "{line}: {}", ran.err);
        assert!(
            ran.err.starts_with("gospy: no Go program is called ") && ran.err.contains(wanted),
            "{line}: {}",
            ran.err
        );
    }
    // What is not readable is opened where its name is exactly that, to say why.
    assert!(gospy_on(&machine, None, "secret").err.starts_with("gospy: opened process 5000060"));
    machine.0.hidden.push(process(BASE + 61, "secret"));
    let ran = gospy_on(&machine, Some("1\n"), "secret");
    let none = "gospy: 2 programs match secret, and none is readable (try sudo)\n";
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Permission, none));
    // To root, sudo is no advice.
    machine.0.as_root = true;
    let ran = gospy_on(&machine, Some("1\n"), "secret");
    assert_eq!(ran.err, "gospy: 2 programs match secret, and none is readable\n");
    let ran = gospy_on(&machine, None, "nobody");
    assert!(ran.err.contains("2 processes are not readable\n"), "{}", ran.err);
    machine.0.programs.clear();
    assert_eq!(gospy_on(&machine, None, "summary").exit, Exit::Permission);
    machine.0.hidden.clear();
    let ran = gospy_on(&machine, None, "top");
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::NoProcess, "gospy: no Go programs are running\n"));
}

#[test]
fn odd_names() {
    let odd = machine(&["-h", "5000099", "top", "we\u{1b}[2Jb\n", "--pid"]);
    for (line, nth) in [
        ("summary -- -h", 1),
        ("-- -h", 1),
        ("--name=-h", 1),
        ("summary --name=-h", 1),
        ("--name 5000099", 2),
        ("summary top", 3),
        ("stack --name top", 3),
        ("summary -- --pid", 5),
    ] {
        assert_eq!(gospy_on(&odd, None, line).err, opened(nth), "{line}");
    }
    let ran = gospy_on(&odd, None, "summary 5000099");
    assert_eq!(ran.exit, Exit::NoProcess);
    assert!(ran.err.contains("--name 5000099 reads the program of that name"), "{}", ran.err);
    // A command is a command.
    assert!(gospy_on(&odd, None, "top").err.contains("5 Go programs are running"));
    for answers in [None, Some("4\n")] {
        let ran = gospy_on(&odd, answers, "summary");
        assert!(!ran.err.contains('\u{1b}') && ran.err.contains("we\\x1b[2Jb\\n"), "{}", ran.err);
    }
    let overview = gospy_on(&odd, None, "");
    assert!(!overview.out.contains('\u{1b}') && overview.out.contains("gospy top PID"), "{}", overview.out);
    for line in ["summary --name=", "summary 0", "99999999999", "summary --pid -1", "summary web --name web"] {
        assert_eq!(gospy_on(&odd, None, line).exit, Exit::Usage, "{line}");
    }
    let nul = run(["gospy", ""], &odd, &mut streams_without_input(&mut Vec::new(), &mut Vec::new(), &mut io::empty()));
    assert_eq!(nul, Exit::Usage);
}

fn streams_without_input<'a>(out: &'a mut Vec<u8>, err: &'a mut Vec<u8>, input: &'a mut io::Empty) -> Streams<'a> {
    Streams {
        out,
        err,
        input,
        in_is_terminal: false,
        out_is_terminal: false,
        err_is_terminal: false,
        columns: None,
        environment: Environment { no_color: true, ..Environment::default() },
        choice: ColourChoice::Never,
    }
}

#[test]
fn programs_are_listed_in_the_order_that_was_asked_for() {
    let mut machine = machine(&["b", "a", "c"]);
    for (process, (threads, pod)) in machine.0.programs.iter_mut().zip([(2, None), (9, Some("p")), (5, Some("o"))]) {
        (process.threads, process.pod) = (threads, pod.map(str::to_owned));
    }
    let order = |line: &str| -> Vec<i64> {
        let json: serde_json::Value = serde_json::from_str(&gospy_on(&machine, None, line).out).expect("JSON");
        let pids = json["processes"].as_array().expect("a list").iter();
        pids.filter_map(|process| process["pid"].as_i64()).map(|pid| pid - i64::from(BASE)).collect()
    };
    assert_eq!(order("ps -j"), [1, 2, 3]);
    assert_eq!(order("ps -j -r"), [3, 2, 1]);
    assert_eq!(order("ps -j --sort name"), [2, 1, 3]);
    assert_eq!(order("ps -j --sort threads"), [2, 3, 1]);
    assert_eq!(order("ps -j --sort container"), [1, 3, 2]);
    let table = gospy_on(&machine, None, "ps").out;
    assert!(table.lines().next().is_some_and(|head| head.contains("pod") && !head.contains("container")), "{table}");
}
