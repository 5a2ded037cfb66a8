//! Goroutines that change all the time, read while they do: not one stack may be shown that the
//! program cannot have.
//!
//! `GOSPY_CHURN_SECONDS` sets for how long, over all versions and loads together; 96 unless told.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::support::{ChainRule, Fixture, Mode, Running, VERSIONS, gospy, parse_traceback};
use gospy::capture::{CaptureOptions, OpenOptions, Session};
use gospy::model::{NotShown, Snapshot, StackId, StackState, Status};
use gospy::process::live::LiveTarget;

const SECONDS: &str = "GOSPY_CHURN_SECONDS";
const USUAL_SECONDS: u64 = 96;

/// Builds to churn, by version: what is the same in all is not tried in all.
const MODES: [Mode; 8] =
    [Mode::Default, Mode::Sw, Mode::PieSw, Mode::Cgo, Mode::CgoPieSw, Mode::Sw, Mode::CgoSw, Mode::PieSw];

#[derive(Debug, Default)]
struct Samples {
    captures: usize,
    goroutines: usize,
    stacks: usize,
    moving: usize,
    unreadable: usize,
    retried: u64,
    distinct: usize,
    /// Stacks of goroutines that wait as coroutines.
    coroutines: usize,
    illegal: BTreeMap<String, usize>,
}

impl Samples {
    fn add(&mut self, snapshot: &Snapshot, rule: &ChainRule, verdicts: &mut HashMap<StackId, Option<String>>) {
        self.captures += 1;
        self.retried += snapshot.reading.consistency.retried;
        for goroutine in &snapshot.goroutines {
            self.goroutines += 1;
            match goroutine.stack {
                StackState::Known(stack) => {
                    self.stacks += 1;
                    let reason = goroutine.wait_reason.and_then(|id| snapshot.wait_reason(id));
                    if reason == Some("coroutine") {
                        self.coroutines += 1;
                        // It may have run since any moment that the runtime knows.
                        let known = (goroutine.wait_since_ns, goroutine.blocked_before_ns, goroutine.run_seq);
                        assert_eq!(known, (None, None, None));
                    }
                    let verdict = verdicts.entry(stack).or_insert_with(|| judge(snapshot, stack, rule));
                    if let Some(what) = verdict {
                        *self.illegal.entry(format!("{} ({what})", goroutine.status.name())).or_default() += 1;
                    }
                }
                StackState::NotShown(NotShown::Moving) => self.moving += 1,
                StackState::NotShown(NotShown::Unreadable) => self.unreadable += 1,
                StackState::NotShown(NotShown::Running) => assert_eq!(goroutine.status, Status::Running),
                StackState::NotShown(NotShown::NoStack) => assert_eq!(goroutine.status, Status::Idle),
                StackState::NotShown(NotShown::NotAsked) => panic!("stacks were asked for"),
            }
        }
        self.distinct = verdicts.len();
    }
}

/// What is wrong with a stack, if anything.
fn judge(snapshot: &Snapshot, stack: StackId, rule: &ChainRule) -> Option<String> {
    let symbols = &snapshot.symbols;
    let frames = symbols.stack(stack).unwrap().frames.iter();
    let functions: Vec<&str> = frames.map(|frame| symbols.str(symbols.frame(frame.frame).unwrap().function)).collect();
    if functions.last() != Some(&"runtime.goexit") {
        return Some(format!("{functions:?} does not end where stacks end"));
    }
    rule.check(&functions).err()
}

/// Everything at once.
const MIXED: &[&str] = &["churn", "-busy", "1", "-coroutines", "2", "-spinners", "3", "-collect", "5ms"];
/// Nothing but what switches without being counted: coroutines, and goroutines that the collector
/// suspends.
const UNCOUNTED: &[&str] = &["churn", "-goroutines", "0", "-coroutines", "24", "-spinners", "2", "-collect", "1ms"];

fn churn(version: &str, mode: Mode, load: &[&str], time: Duration) -> Samples {
    let mut program = Fixture::start("fx", version, mode, load);
    let rule = ChainRule::from_truth(&program.ask("truth"));
    let target = LiveTarget::open(program.pid()).unwrap();
    let mut session = Session::open(Box::new(target), &OpenOptions::default()).unwrap();
    let options = CaptureOptions { stacks: true, ..CaptureOptions::default() };
    let (mut samples, mut verdicts) = (Samples::default(), HashMap::new());
    let end = Instant::now() + time;
    let cycles = cycles(&mut program);
    while Instant::now() < end {
        samples.add(&session.capture(&options).unwrap(), &rule, &mut verdicts);
    }
    through_the_command(&program, &rule, load == MIXED);
    is_healthy(program, &rule, cycles);
    samples
}

/// It collects as fast as it can, with pauses: a measure of its work.
fn cycles(program: &mut Running) -> u64 {
    program.ask("metrics")["memstats"]["NumGC"].as_u64().unwrap()
}

/// The command shows no other stacks than the library.
fn through_the_command(program: &Running, rule: &ChainRule, many: bool) {
    let text = gospy(&["stack", "--all", "--pid", &program.pid().to_string()]).ok();
    let goroutines = parse_traceback(&text);
    assert!(goroutines.len() > if many { 1_000 } else { 2 }, "{}", goroutines.len());
    for goroutine in goroutines {
        rule.check(&goroutine.functions()).unwrap();
    }
}

/// It went on all the time, and is as it was.
fn is_healthy(mut program: Running, rule: &ChainRule, cycles_before: u64) {
    let end = Instant::now() + Duration::from_secs(30);
    while cycles(&mut program) <= cycles_before {
        assert!(Instant::now() < end, "it does not collect any more");
        std::thread::sleep(Duration::from_millis(50));
    }
    let own = program.ask("stack");
    for goroutine in parse_traceback(own["stack_text"].as_str().unwrap()) {
        if goroutine.elided.is_none() {
            rule.check(&goroutine.functions()).unwrap();
        }
    }
    let (status, stderr) = program.quit();
    assert!(status.success(), "{status}: {stderr}");
}

/// For how long each version is churned.
fn time_for_each() -> Duration {
    let seconds = std::env::var(SECONDS).ok().map_or(USUAL_SECONDS, |text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds) / u32::try_from(2 * VERSIONS.len()).unwrap()
}

#[test]
fn no_stack_is_shown_that_cannot_be() {
    let (mut all, mut illegal) = (0, Vec::new());
    for (version, mode) in VERSIONS.into_iter().zip(MODES) {
        let samples = churn(version, mode, MIXED, time_for_each());
        println!("{version} {}: {samples:?}", mode.name());
        all += samples.stacks;
        illegal.extend(samples.illegal.iter().map(|(what, count)| format!("{version}: {count} times {what}")));
        let torn = samples.moving + samples.unreadable;
        assert!(torn * 50 < samples.goroutines, "{torn} of {} goroutines are torn", samples.goroutines);
        assert!(samples.distinct > 30, "only {} stacks were met", samples.distinct);
    }
    println!("{all} stacks");
    assert!(illegal.is_empty(), "of {all} stacks some cannot be:\n{}", illegal.join("\n"));
    // Much less would prove little; how much it is depends on the machine.
    assert!(all > 50_000, "only {all} stacks were read");
}

#[test]
fn switches_that_the_runtime_does_not_count_tear_no_stack() {
    let (mut coroutines, mut illegal) = (0, Vec::new());
    for (version, mode) in VERSIONS.into_iter().zip(MODES) {
        let samples = churn(version, mode, UNCOUNTED, time_for_each());
        println!("{version} {}: {samples:?}", mode.name());
        coroutines += samples.coroutines;
        illegal.extend(samples.illegal.iter().map(|(what, count)| format!("{version}: {count} times {what}")));
        // Nearly all of them change all the time.
        let torn = samples.moving + samples.unreadable;
        assert!(torn * 5 < samples.goroutines, "{torn} of {} goroutines are torn", samples.goroutines);
    }
    println!("{coroutines} stacks of coroutines");
    assert!(illegal.is_empty(), "some stacks cannot be:\n{}", illegal.join("\n"));
    assert!(coroutines > 5_000, "only {coroutines} stacks of coroutines were read");
}
