//! gospy's stacks against the program's own dump of itself, goroutine by goroutine and line by line.
//! Arguments are left aside: gospy does not print them.

// A test that cannot go on fails, and a panic is how.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use support::{DumpFrame, DumpGoroutine, Fixture, Mode, VERSIONS, gospy, parse_traceback};

const MODES: [Mode; 4] = [Mode::Default, Mode::Sw, Mode::PieSw, Mode::Cgo];

/// Go 1.19 stops after 100 physical frames, those that it does not print among them, and says so
/// only when it has printed 100. Later versions always say what they leave out.
const SILENT_CUT: usize = 95;

/// What must be the same of a frame at the level of `runtime.Stack`.
fn frame_text(frame: &DumpFrame) -> String {
    let offset = frame.offset.map(|offset| format!(" +{offset:#x}")).unwrap_or_default();
    format!("{} {}:{}{offset}", frame.function, frame.file, frame.line)
}

/// The same at the level of SIGQUIT.
fn physical_text(frame: &DumpFrame) -> String {
    format!("{} fp={:x?} sp={:x?} pc={:x?}", frame_text(frame), frame.fp, frame.sp, frame.pc)
}

fn creator_text(goroutine: &DumpGoroutine) -> Option<String> {
    let c = goroutine.created_by.as_ref()?;
    Some(format!("{} in {:?} {}:{} {:?}", c.function, c.goroutine, c.file, c.line, c.offset))
}

/// Minutes may pass between the two.
fn header_text(goroutine: &DumpGoroutine) -> String {
    let extras: Vec<&str> =
        goroutine.extras.iter().map(String::as_str).filter(|extra| !extra.ends_with(" minutes")).collect();
    format!("{} {extras:?}", goroutine.state)
}

fn by_id(text: &str) -> BTreeMap<u64, DumpGoroutine> {
    parse_traceback(text).into_iter().map(|goroutine| (goroutine.id, goroutine)).collect()
}

/// Every difference between what the program says of a goroutine and what gospy says.
fn differences(own: &DumpGoroutine, ours: &DumpGoroutine, text: fn(&DumpFrame) -> String) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, own: String, ours: String| {
        if own != ours {
            found.push(format!("goroutine {what}\n  its own: {own}\n  gospy's: {ours}"));
        }
    };
    compare("header", header_text(own), header_text(ours));
    compare("creator", format!("{:?}", creator_text(own)), format!("{:?}", creator_text(ours)));
    let own_frames: Vec<String> = own.frames.iter().map(text).collect();
    let mut our_frames: Vec<String> = ours.frames.iter().map(text).collect();
    if let Some(elided) = own.elided {
        // The program cuts long stacks; gospy does not.
        match elided.count {
            Some(count) => {
                let count = usize::try_from(count).unwrap();
                compare("depth", (own_frames.len() + count).to_string(), our_frames.len().to_string());
                our_frames.drain(elided.before..(elided.before + count).min(our_frames.len()));
            }
            None => our_frames.truncate(own_frames.len()),
        }
    } else if own_frames.len() >= SILENT_CUT {
        our_frames.truncate(own_frames.len());
    }
    compare("stack", format!("{own_frames:#?}"), format!("{our_frames:#?}"));
    found
}

struct Tally {
    goroutines: usize,
    frames: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn new() -> Self {
        Self { goroutines: 0, frames: 0, wrong: Vec::new() }
    }

    fn add(
        &mut self,
        label: &str,
        own: &str,
        ours: &str,
        skip: impl Fn(&DumpGoroutine) -> bool,
        text: fn(&DumpFrame) -> String,
    ) {
        let ours = by_id(ours);
        for (id, own) in by_id(own) {
            if skip(&own) {
                continue;
            }
            self.goroutines += 1;
            self.frames += own.frames.len();
            match ours.get(&id) {
                None => self.wrong.push(format!("{label}: goroutine {id} is missing: {}", own.header)),
                Some(ours) => {
                    let found = differences(&own, ours, text);
                    self.wrong.extend(found.into_iter().map(|d| format!("{label}: goroutine {id} {d}")));
                }
            }
        }
    }

    fn check(self, at_least: usize) {
        println!("{} goroutines and {} frames compared", self.goroutines, self.frames);
        assert!(
            self.wrong.is_empty(),
            "{} differences:\n{}",
            self.wrong.len(),
            self.wrong[..self.wrong.len().min(10)].join("\n")
        );
        assert!(self.goroutines >= at_least, "only {} goroutines were compared", self.goroutines);
    }
}

fn pid(running: &support::Running) -> String {
    running.pid().to_string()
}

#[test]
fn stacks_are_those_of_runtime_stack() {
    let mut tally = Tally::new();
    for version in VERSIONS {
        for mode in MODES {
            let mut program = Fixture::start("fx", version, mode, &["stacks", "2"]);
            let own = program.ask("stack")["stack_text"].as_str().unwrap().to_owned();
            let ours = gospy(&["stack", "--pid", &pid(&program), "--all"]).ok();
            let label = format!("{version} {}", mode.name());
            // The one that made the dump ran then and waits now.
            tally.add(&label, &own, &ours, |g| g.state == "running", frame_text);
        }
    }
    tally.check(200 * VERSIONS.len() * MODES.len());
}

#[test]
fn stacks_are_those_of_sigquit() {
    let mut tally = Tally::new();
    for version in VERSIONS {
        for mode in MODES {
            let program = Fixture::new("fx", version, mode).env("GOTRACEBACK", "system").run(&["stacks", "1"]);
            let ours = gospy(&["stack", "--pid", &pid(&program), "--all", "--system"]).ok();
            let own = program.sigquit_dump();
            let label = format!("{version} {} SIGQUIT", mode.name());
            // Goroutine 0 is the scheduler of the thread that got the signal.
            tally.add(&label, &own, &ours, |g| g.id == 0 || g.state == "running", physical_text);
        }
    }
    tally.check(100 * VERSIONS.len() * MODES.len());
}
