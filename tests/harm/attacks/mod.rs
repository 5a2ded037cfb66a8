//! Attacks on gospy while it reads: every command, everything that may happen to it, every kind of target. What the
//! target and the kernel's tables say afterwards decides whether it was harmed.
//!
//! `GOSPY_ATTACKS=10000 cargo test --test harm attacks -- --nocapture` sets how many. `GOSPY_HARM_SEED` repeats a run as
//! far as random moments can be repeated; `GOSPY_ATTACKED` is the beginning of the only commands to attack, and
//! `GOSPY_HARM_PROGRAM` another gospy, such as one that was released. After `GOSPY_HARM_SECONDS` no others are begun.

mod commands;
mod confine;
mod facts;
mod files;
mod noticed;
mod one;
mod plan;
mod target;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::commands::COMMANDS;
use self::confine::{MemoryGroup, SmallDisk};
use self::one::{Outcome, Place, carry_out};
use self::plan::{Attack, Batch, Fault, Kind, attacked, plan};
use self::target::{Target, disturb};
use super::look::left_behind;
use super::random::Random;
use super::table::Table;

/// The default: two attacks on each command.
const USUAL: usize = 2 * COMMANDS.len();
/// Targets that are attacked at the same time.
const WORKERS: usize = 4;
/// Attacks on one target at the same time, at most.
const AT_ONCE: u64 = 3;

/// How long commands take that nothing happens to, µs: so long from now, at most, something happens to the next one.
#[derive(Default)]
pub(crate) struct Typical(Mutex<BTreeMap<&'static str, u64>>);

impl Typical {
    const AT_FIRST: u64 = 150_000;

    fn of(&self, command: &str) -> u64 {
        self.0.lock().unwrap().get(command).copied().unwrap_or(Self::AT_FIRST)
    }

    fn note(&self, command: &'static str, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap();
        let mut all = self.0.lock().unwrap();
        let before = all.get(command).copied().unwrap_or(took);
        all.insert(command, (before * 3 + took) / 4);
    }
}

/// How many there were, and what came of them.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    attacks: usize,
    landed: usize,
    amid_freeze: usize,
    answered: usize,
    harmed: usize,
}

impl Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.harmed {
            0 => write!(f, "{}", self.attacks),
            harmed => write!(f, "{} ({harmed} harmed)", self.attacks),
        }
    }
}

/// Everything that is counted.
#[derive(Default)]
struct Score {
    counts: BTreeMap<(&'static str, Fault, Kind), Count>,
    wrong: Vec<String>,
    known_interruptions: u64,
}

impl Score {
    fn add(&mut self, attack: &Attack, outcome: &Outcome, harmed: bool) {
        let count = self.counts.entry((attack.command.name, attack.fault, attack.kind)).or_default();
        count.attacks += 1;
        count.landed += usize::from(outcome.landed);
        count.amid_freeze += usize::from(outcome.amid_freeze);
        count.answered += usize::from(outcome.answered);
        count.harmed += usize::from(harmed);
    }

    fn sum(&self, wanted: impl Fn(&str, Fault, Kind) -> bool) -> Count {
        let mut sum = Count::default();
        for ((command, fault, kind), count) in &self.counts {
            if wanted(command, *fault, *kind) {
                sum.attacks += count.attacks;
                sum.landed += count.landed;
                sum.amid_freeze += count.amid_freeze;
                sum.answered += count.answered;
                sum.harmed += count.harmed;
            }
        }
        sum
    }

    fn print(&self) {
        let faults = Fault::ALL.map(Fault::name);
        let kinds = Kind::ALL.map(Kind::name);
        let tail = ["all", "landed", "amid a freeze"];
        let show = |title: &str, head: &[&str], rows: Vec<(&str, Vec<Count>)>| {
            let table = Table::new(&[&[title], head, &tail].concat());
            for (name, cells) in rows {
                let sum = cells.iter().fold((0, 0, 0), |(all, landed, amid), count| {
                    (all + count.attacks, landed + count.landed, amid + count.amid_freeze)
                });
                let mut shown: Vec<&dyn Display> = cells.iter().map(|count| count as &dyn Display).collect();
                shown.extend([&sum.0 as &dyn Display, &sum.1, &sum.2]);
                table.add(name, &shown);
            }
            table.print(&format!("Attacks by {title}"));
        };
        let names = || attacked().map(|command| command.name);
        let by_fault = |name: &str| Fault::ALL.map(|fault| self.sum(|c, f, _| c == name && f == fault)).to_vec();
        let by_kind = |name: &str| Kind::ALL.map(|kind| self.sum(|c, _, k| c == name && k == kind)).to_vec();
        show("command", &faults, names().map(|name| (name, by_fault(name))).collect());
        show("command", &kinds, names().map(|name| (name, by_kind(name))).collect());
        let of_kind = |kind: Kind| Fault::ALL.map(|fault| self.sum(|_, f, k| f == fault && k == kind)).to_vec();
        show("target", &faults, Kind::ALL.map(|kind| (kind.name(), of_kind(kind))).to_vec());
    }
}

/// The attacks on one target.
struct Series<'a> {
    kind: Kind,
    place: &'a Place,
    typical: &'a Typical,
    seed: u64,
    random: Random,
    score: &'a Mutex<Score>,
}

impl Series<'_> {
    fn run(&mut self, attacks: &[Attack]) {
        let mut target = None;
        let mut left = attacks;
        while !left.is_empty() {
            let several = usize::try_from(1 + self.random.below(AT_ONCE)).unwrap().min(left.len());
            let (round, later) = left.split_at(several);
            left = later;
            let mut current = target.take().unwrap_or_else(|| Target::start(self.kind, &mut self.random));
            let is_harmed = self.round(&mut current, round);
            // One that was harmed would be so for ever.
            target = (!is_harmed && self.kind != Kind::Ends).then_some(current);
        }
        if let Some(target) = target {
            let wrong = target.account();
            let numbers = format!("attacks {:?}", attacks.iter().map(|attack| attack.number).collect::<Vec<_>>());
            self.score.lock().unwrap().wrong.extend(wrong.iter().map(|wrong| format!("{numbers}: {wrong}")));
        }
    }

    /// Some attacks at once. Whether the target was harmed, or gospy did what it must not.
    fn round(&mut self, target: &mut Target, attacks: &[Attack]) -> bool {
        target.prepare();
        let (pid, over) = (target.pid, AtomicBool::new(false));
        let mut disturbing = Random::of(self.seed, &format!("target of {}", attacks[0].number));
        let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
            let running: Vec<_> = attacks
                .iter()
                .map(|attack| {
                    let random = Random::of(self.seed, &format!("attack {}", attack.number));
                    let (place, typical) = (self.place, self.typical);
                    scope.spawn(move || carry_out(attack, pid, place, typical, random))
                })
                .collect();
            let (kind, over) = (self.kind, &over);
            let disturber = scope.spawn(move || disturb(kind, pid, &mut disturbing, over));
            let outcomes = running.into_iter().map(|attack| attack.join().unwrap()).collect();
            over.store(true, Ordering::Relaxed);
            disturber.join().unwrap();
            outcomes
        });
        let wrong = target.examine(attacks.iter().any(|attack| attack.command.stops()));
        let mut score = self.score.lock().unwrap();
        for (attack, outcome) in attacks.iter().zip(&outcomes) {
            score.add(attack, outcome, !wrong.is_empty() || !outcome.wrong.is_empty());
            let Attack { number, command, fault, kind } = attack;
            let what = format!("attack {number}, {}, {}, {}", command.name, fault.name(), kind.name());
            for wrong in wrong.iter().map(|wrong| format!("the target: {wrong}")).chain(outcome.wrong.iter().cloned()) {
                println!("{what}: {wrong}");
                score.wrong.push(format!("{what}: {wrong}"));
            }
        }
        score.known_interruptions += std::mem::take(&mut target.known_interruptions);
        !wrong.is_empty()
    }
}

fn carry_out_all(batches: &[Batch], seed: u64, limit: Duration) -> Score {
    let (score, typical, next) = (Mutex::new(Score::default()), Typical::default(), AtomicUsize::new(0));
    let total: usize = batches.iter().map(|(_, attacks)| attacks.len()).sum();
    let (started, done) = (Instant::now(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (score, typical, next, done) = (&score, &typical, &next, &done);
            scope.spawn(move || {
                let name = format!("gospy-harm-{}-{worker}", std::process::id());
                let place = Place { disk: SmallDisk::mount(), group: MemoryGroup::make(&name) };
                if worker == 0 {
                    let disk = if place.disk.is_some() { "a small file system" } else { "a limit of files" };
                    let memory = if place.group.is_some() { "a cgroup, or a limit" } else { "a limit of addresses" };
                    println!("a full disk is {disk}; no memory is {memory}");
                }
                loop {
                    if started.elapsed() > limit {
                        return;
                    }
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((kind, attacks)) = batches.get(number) else { return };
                    let random = Random::of(seed, &format!("batch {number}"));
                    Series { kind: *kind, place: &place, typical, seed, random, score }.run(attacks);
                    let before = done.fetch_add(attacks.len(), Ordering::Relaxed);
                    let now = before + attacks.len();
                    if before / 500 != now / 500 {
                        println!("{now} of {total} attacks after {} s", started.elapsed().as_secs());
                    }
                }
            });
        }
    });
    score.into_inner().unwrap()
}

#[test]
fn attacks_harm_nobody() {
    let given = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let count = given("GOSPY_ATTACKS").map_or(USUAL, |count| usize::try_from(count).unwrap());
    let limit = given("GOSPY_HARM_SECONDS").map_or(Duration::MAX, Duration::from_secs);
    let seed = Random::given_seed().unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs() ^ u64::from(now.subsec_nanos())
    });
    println!("{count} attacks, GOSPY_HARM_SEED={seed}");
    let batches = plan(count, &mut Random::of(seed, "plan"));
    let started = Instant::now();
    let score = carry_out_all(&batches, seed, limit);
    score.print();
    let all = score.sum(|_, _, _| true);
    println!(
        "{} attacks in {} s, {} landed, {} amid a freeze; {} harmed; {} calls failed with EINTR in freezes; \
         GOSPY_HARM_SEED={seed}",
        all.attacks,
        started.elapsed().as_secs(),
        all.landed,
        all.amid_freeze,
        all.harmed,
        score.known_interruptions
    );
    assert!(score.wrong.is_empty(), "{} wrong:\n{}", score.wrong.len(), score.wrong.join("\n"));
    assert!(all.attacks == count || started.elapsed() > limit, "{} attacks", all.attacks);
    assert_eq!(left_behind(), Vec::<i32>::new(), "left behind");
    // That they come while gospy runs, and that what nothing happens to succeeds.
    let ends = score.sum(|_, fault, _| matches!(fault, Fault::Kill | Fault::Term | Fault::Int));
    assert!(ends.landed * 4 >= ends.attacks, "only {} of {} signals landed", ends.landed, ends.attacks);
    let calm = score.sum(|_, fault, kind| fault == Fault::Nothing && kind.is_calm());
    assert!(calm.answered * 2 >= calm.attacks, "only {} of {} commands succeeded", calm.answered, calm.attacks);
    let stops = score.sum(|name, _, kind| kind == Kind::Block && name.contains("--freeze"));
    let most = (stops.attacks as u64).div_ceil(20);
    assert!(score.known_interruptions <= most, "{} calls failed with EINTR", score.known_interruptions);
}
