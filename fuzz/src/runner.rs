//! The plain loop: seeds and regressions as they are, then mutations of them.
//!
//! ```text
//! fuzz TARGET|all [--inputs N] [--seconds S] [--seed S] [--file FILE]…
//! ```
//!
//! An input that takes new ground is not noticed, as nothing is instrumented; but one that finds more than any before
//! of its target is kept as a seed for the rest of the run. What broke something is written to `artifacts/TARGET`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{self, Violation};
use crate::mutate::{Random, mutate};
use crate::targets::{self, Target};

/// Inputs of a target that is quick, where nothing else is said.
const INPUTS: u64 = 10_000;
/// Seeds that are kept in a run at most.
const KEPT: usize = 512;
/// CPU time after which an input counts as one that never ends; what it is allowed is at least that much less.
const HANGS: Duration = Duration::from_secs(120);

/// What was typed.
struct Options {
    targets: Vec<&'static Target>,
    inputs: Option<u64>,
    time: Option<Duration>,
    seed: u64,
    files: Vec<PathBuf>,
}

fn options(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { targets: Vec::new(), inputs: None, time: None, seed: 1, files: Vec::new() };
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} takes a value"));
        let number = |text: String| text.parse::<u64>().map_err(|error| format!("{argument} {text}: {error}"));
        match argument.as_str() {
            "--inputs" => options.inputs = Some(number(value()?)?),
            "--seconds" => options.time = Some(Duration::from_secs(number(value()?)?)),
            "--seed" => options.seed = number(value()?)?,
            "--file" => options.files.push(value()?.into()),
            "all" => options.targets.extend(targets::ALL),
            name => options.targets.push(targets::named(name).ok_or_else(|| {
                let names: Vec<&str> = targets::ALL.iter().map(|target| target.name).collect();
                format!("there is no target {name}; there are: all {}", names.join(" "))
            })?),
        }
    }
    if options.targets.is_empty() {
        return Err("usage: fuzz TARGET|all [--inputs N] [--seconds S] [--seed S] [--file FILE]...".to_owned());
    }
    Ok(options)
}

/// Runs what `arguments` ask for, and ends a program with the status that fits.
#[must_use]
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    match run(arguments) {
        Ok((inputs, broken)) => {
            println!("{inputs} inputs, {broken} of them broke something");
            if broken > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Runs what `arguments` ask for; how many inputs that were, and how many broke something.
///
/// # Errors
/// When they cannot be understood.
pub fn run(arguments: impl Iterator<Item = String>) -> Result<(u64, u64), String> {
    let options = options(arguments)?;
    limits::count_panics();
    watch();
    let ran = options.targets.iter().map(|target| one(target, &options));
    Ok(ran.fold((0, 0), |(inputs, broken), of| (inputs + of.0, broken + of.1)))
}

/// The input that runs now.
struct Now {
    /// How many have begun.
    begun: u64,
    /// Its target; `None` between inputs.
    name: Option<&'static str>,
    input: Vec<u8>,
}

static NOW: Mutex<Now> = Mutex::new(Now { begun: 0, name: None, input: Vec::new() });

fn now() -> MutexGuard<'static, Now> {
    NOW.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends this process where an input never ends, and writes that input. CPU time is asked for here and not for each
/// input: most of them take less than the asking.
fn watch() {
    std::thread::spawn(|| {
        let mut seen = (0, Duration::ZERO);
        loop {
            std::thread::sleep(Duration::from_secs(5));
            let (now, time) = (now(), limits::cpu_time());
            if now.begun != seen.0 {
                seen = (now.begun, time);
            } else if let Some(name) = now.name
                && time.saturating_sub(seen.1) > HANGS
            {
                report(name, &now.input, &Violation::Time(HANGS, HANGS));
                std::process::exit(1);
            }
        }
    });
}

/// Files of a target, in the order of their names.
#[must_use]
pub fn files(kind: &str, name: &str) -> Vec<PathBuf> {
    let directory = Path::new(crate::ROOT).join(kind).join(name);
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// How many inputs a target had, and how many broke something.
fn one(target: &'static Target, options: &Options) -> (u64, u64) {
    let read = |path: &PathBuf| std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let started = Instant::now();
    let mut run = Run { target, inputs: 0, broken: 0, most: 0 };
    if !options.files.is_empty() {
        for file in &options.files {
            let found = run.input(&read(file));
            println!("{}: {found:?} found", file.display());
        }
        return (run.inputs, run.broken);
    }
    (target.base)();
    for file in files("regressions", target.name) {
        run.input(&read(&file));
    }
    let mut seeds = (target.seeds)();
    seeds.extend(files("corpus", target.name).iter().map(read));
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    for seed in &seeds {
        let found = run.input(seed).unwrap_or(0);
        run.most = run.most.max(found);
    }
    assert!(run.most > 0, "no seed of {} gets anywhere", target.name);
    let mut random = Random(options.seed ^ (target.name.len() as u64) << 32);
    // Where a time is said and no number, the time alone counts.
    let inputs = match (options.inputs, options.time) {
        (None, Some(_)) => u64::MAX,
        (inputs, _) => ((inputs.unwrap_or(INPUTS) as f64 * target.share) as u64).max(seeds.len() as u64),
    };
    let mut input = Vec::new();
    while run.inputs < inputs && options.time.is_none_or(|time| started.elapsed() < time) {
        input.clone_from(&seeds[random.below(seeds.len())]);
        let other = random.below(seeds.len());
        mutate(&mut random, target, &mut input, &seeds[other]);
        let found = run.input(&input).unwrap_or(0);
        if found > run.most && seeds.len() < KEPT {
            run.most = found;
            seeds.push(input.clone());
        }
    }
    let took = started.elapsed();
    println!(
        "{:<11} {:>9} inputs  {:>6.1} s  {:>3} broke something",
        target.name,
        run.inputs,
        took.as_secs_f64(),
        run.broken
    );
    (run.inputs, run.broken)
}

struct Run {
    target: &'static Target,
    inputs: u64,
    broken: u64,
    most: usize,
}

impl Run {
    /// How much was found in an input; `None` where it did what it must not.
    fn input(&mut self, input: &[u8]) -> Option<usize> {
        self.inputs += 1;
        {
            let mut now = now();
            now.begun += 1;
            now.name = Some(self.target.name);
            input.clone_into(&mut now.input);
        }
        let result = limits::run(self.target, input);
        now().name = None;
        match result {
            Ok(found) => Some(found),
            Err(violation) => {
                self.broken += 1;
                report(self.target.name, input, &violation);
                None
            }
        }
    }
}

/// Writes an input that did what it must not, and says so.
fn report(name: &str, input: &[u8], violation: &Violation) {
    static REPORTED: AtomicU64 = AtomicU64::new(0);
    let directory = Path::new(crate::ROOT).join("artifacts").join(name);
    let file = directory.join(format!("{:08x}-{}", crate::parts::crc(input), input.len()));
    let kept = std::fs::create_dir_all(&directory).and_then(|()| std::fs::write(&file, input));
    if REPORTED.fetch_add(1, Ordering::Relaxed) < 20 {
        let mut text = format!("{name}: {violation}: {}", file.display());
        if let Err(error) = kept {
            let _ = write!(text, " (which could not be written: {error})");
        }
        eprintln!("{text}");
    }
}
