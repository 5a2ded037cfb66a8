use regex::Regex;

use super::{Allowance, HeapRate, Judge, Level, Outcome, Reason, Rule, Rules, Verdict};
use crate::analysis::Census;
use crate::analysis::census::Member;
use crate::analysis::series::Watching;
use crate::heap::testing::made_up_leaks;
use crate::heap::{Grade, Leaks};
use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};
use crate::model::{NotShown, Snapshot, StackState, SymbolPool};

const SECOND: u64 = 1_000_000_000;

/// Numbers of goroutines by function, and how long they are blocked.
fn snapshot(groups: &[(&str, u64, Option<u64>)]) -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    let mut id = 0;
    for &(function, count, wait_ns) in groups {
        for _ in 0..count {
            id += 1;
            builder.add(&GoroutineSpec {
                id,
                reason: Some("chan receive"),
                wait_ns,
                frames: vec![frame("runtime.gopark", "/go/proc.go", 1), frame(function, "/app/w.go", 7)],
                creator: Some(frame("main.main", "/app/m.go", 3)),
                system: function.starts_with("runtime."),
                ..Default::default()
            });
        }
    }
    builder.build()
}

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("a pattern")
}

fn judge(rules: Vec<Rule>, allow: &[&str], series: &[Snapshot], baseline: Option<&Snapshot>) -> Vec<Verdict> {
    let rules = Rules { rules, allow: allow.iter().map(|text| regex(text)).collect(), system: false };
    let mut pool = SymbolPool::default();
    let baseline = baseline.map(|snapshot| Census::of_snapshot(snapshot, "baseline", &mut pool));
    let mut judge = Judge::new(&rules, Level::Stacks);
    let mut watching = Watching::default();
    for snapshot in series {
        let observed = watching.observe(snapshot.clone());
        let census = Census::of_index(&observed.index(), "now", &mut pool);
        judge.look(&census, baseline.as_ref(), &mut pool);
    }
    judge.verdicts()
}

fn one(rule: Rule, allow: &[&str], snapshot: &Snapshot) -> Verdict {
    let mut verdicts = judge(vec![rule], allow, std::slice::from_ref(snapshot), None);
    assert_eq!(verdicts.len(), 1);
    verdicts.remove(0)
}

#[test]
fn every_rule_on_one_snapshot() {
    let now = snapshot(&[
        ("main.a", 5, Some(3 * SECOND)),
        ("main.b", 2, Some(SECOND)),
        ("runtime.sys", 9, Some(99 * SECOND)),
    ]);
    for (rule, holds, measured, offenders) in [
        (Rule::MaxGoroutines(7), true, 7.0, 0),
        (Rule::MaxGoroutines(6), false, 7.0, 2),
        (Rule::MaxGroup(5), true, 5.0, 0),
        (Rule::MaxGroup(1), false, 5.0, 2),
        (Rule::MaxWait(4 * SECOND), true, 3e9, 0),
        (Rule::MaxWait(2 * SECOND), false, 3e9, 1),
        (Rule::ForbidFunction(regex("^main\\.c$")), true, 0.0, 0),
        (Rule::ForbidFunction(regex("main\\.b")), false, 2.0, 1),
        // Anything on the stack counts, and who created it.
        (Rule::ForbidFunction(regex("gopark")), false, 7.0, 2),
        (Rule::ForbidFunction(regex("^main\\.main$")), false, 7.0, 2),
        (Rule::RequireFunction(regex("main\\.b")), true, 2.0, 0),
        (Rule::RequireFunction(regex("main\\.c")), false, 0.0, 0),
    ] {
        let name = format!("{rule:?}");
        let verdict = one(rule, &[], &now);
        assert_eq!(
            (verdict.holds(), verdict.measured, verdict.offenders.len()),
            (holds, measured, offenders),
            "{name}"
        );
        assert_eq!(verdict.excess() > 0.0, !holds, "{name}");
        assert_eq!(verdict.reason(), None, "{name}");
    }
    let worst = &one(Rule::MaxGroup(1), &[], &now).offenders[0];
    assert_eq!((worst.count, worst.ids.as_slice()), (5, &[1, 2, 3, 4, 5][..]));
}

#[test]
fn what_is_allowed_does_not_count() {
    let now = snapshot(&[("main.a", 5, Some(3 * SECOND)), ("main.b", 2, Some(0))]);
    assert!(one(Rule::MaxGoroutines(2), &["main\\.a"], &now).holds());
    assert!(one(Rule::MaxWait(SECOND), &["nothing", "^main\\.a$"], &now).holds());
    assert!(one(Rule::ForbidFunction(regex("main\\.a")), &["main\\.a"], &now).holds());
    assert!(one(Rule::RequireFunction(regex("main\\.a")), &["main\\.a"], &now).holds());
    assert!(one(Rule::MaxGoroutines(0), &["main\\.main"], &now).holds(), "by who created them");
}

#[test]
fn growth_since_a_baseline() {
    let before = snapshot(&[("main.a", 10, None)]);
    let after = [snapshot(&[("main.a", 12, None), ("main.new", 3, None)])];
    for (allowed, holds) in [("5", true), ("4", false), ("50%", true), ("49.9%", false), ("0", false)] {
        let allowed = Allowance::parse(allowed).expect("an allowance");
        let verdicts = judge(vec![Rule::MaxGrowth(allowed)], &[], &after, Some(&before));
        assert_eq!((verdicts[0].holds(), verdicts[0].measured), (holds, 5.0), "{allowed}");
        let found: Vec<_> = verdicts[0].offenders.iter().map(|o| (o.before, o.count)).collect();
        assert_eq!(found, if holds { vec![] } else { vec![(Some(0), 3), (Some(10), 12)] });
    }
    let verdicts = judge(vec![Rule::MaxGrowth(Allowance::Count(0))], &["main\\.new"], &after, Some(&before));
    assert_eq!(verdicts[0].measured, 2.0, "what is allowed counts in neither");
    let alone = judge(vec![Rule::MaxGrowth(Allowance::Count(0))], &[], &after, None);
    assert_eq!((alone.len(), alone[0].outcome, alone[0].excess()), (1, Outcome::NotJudged(Reason::ReadOnce), 0.0));
    let nothing = judge(vec![Rule::MaxGoroutines(7)], &[], &[], None);
    assert_eq!((nothing[0].outcome, nothing[0].allowed), (Outcome::NotJudged(Reason::Unread), 7.0));
    for bad in ["", "%", "-1", "x", "NaN%", "-3%", "1e999%"] {
        assert_eq!(Allowance::parse(bad), None, "{bad}");
    }
}

/// A series of snapshots a second apart.
fn watch(groups: impl Fn(u64) -> Vec<(&'static str, u64, Option<u64>)>) -> Vec<Snapshot> {
    let at = |second: u64| {
        let mut snapshot = snapshot(&groups(second));
        snapshot.captured_at_unix_ns += second * SECOND;
        snapshot.monotonic_ns += second * SECOND;
        snapshot
    };
    (0..12).map(at).collect()
}

#[test]
fn steady_growth_names_the_group() {
    let leaking = watch(|second| vec![("main.leak", 10 * second, None), ("main.load", 20 + 3 * (second % 3), None)]);
    let verdicts = judge(vec![Rule::SteadyGrowth(Allowance::Count(0))], &[], &leaking, None);
    let [verdict] = verdicts.as_slice() else { panic!("{verdicts:?}") };
    assert!(!verdict.holds());
    let [leak] = verdict.offenders.as_slice() else { panic!("{verdict:?}") };
    let rate = leak.rate.expect("it was fitted");
    assert_eq!((leak.before, leak.count, rate.per_second), (Some(0), 110, 10.0));
    let allowed = |allowance| judge(vec![Rule::SteadyGrowth(allowance)], &[], &leaking, None)[0].holds();
    assert!(allowed(Allowance::Count(110)) && !allowed(Allowance::Count(109)));
    assert!(allowed(Allowance::Percent(600.0)) && !allowed(Allowance::Percent(500.0)), "of 20 at the start");
    let exempt = judge(vec![Rule::SteadyGrowth(Allowance::Count(0))], &["main\\.leak"], &leaking, None);
    assert!(exempt[0].holds() && exempt[0].noticed.is_some(), "{exempt:?}");
}

/// `samples` snapshots of a leak over so many seconds beside a load.
fn leak(samples: u64, seconds: f64, per_second: f64, load: impl Fn(u64) -> u64) -> Verdict {
    let at = |nth: u64| seconds * nth as f64 / (samples - 1) as f64;
    let series: Vec<Snapshot> = (0..samples)
        .map(|nth| {
            let leaked = (at(nth) * per_second) as u64;
            let mut snapshot = snapshot(&[("main.leak", leaked, None), ("main.load", load(nth), None)]);
            snapshot.captured_at_unix_ns += (at(nth) * 1e9) as u64;
            snapshot
        })
        .collect();
    judge(vec![Rule::SteadyGrowth(Allowance::Count(0))], &[], &series, None).remove(0)
}

#[test]
fn growth_that_could_not_be_told_is_no_pass() {
    let steady = |_| 20;
    let waves = |nth: u64| if nth % 8 < 3 { 40 + nth % 5 } else { 20 };
    // Any leak is found or in doubt, for any watch; the one of 5 a second for a second among them.
    for (samples, seconds) in [(11, 1.0), (21, 2.0), (31, 3.0), (31, 5.0), (31, 10.0), (31, 30.0), (61, 60.0)] {
        for per_second in [0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0] {
            let growth = per_second * seconds;
            for load in [&steady as &dyn Fn(u64) -> u64, &waves] {
                let verdict = leak(samples, seconds, per_second, load);
                let name = format!("{samples} samples, {seconds} s, {per_second} a second: {:?}", verdict.outcome);
                assert!(growth < 3.0 || !verdict.holds(), "{name}");
                assert!(growth < 10.0 || verdict.fails(), "{name}");
                assert!(growth >= 4.5 || !verdict.fails(), "{name}");
            }
        }
    }
    let short = leak(11, 1.0, 5.0, steady);
    assert_eq!(short.outcome, Outcome::NotJudged(Reason::Rising));
    assert_eq!((short.offenders.len(), short.offenders[0].count), (1, 5), "{short:?}");
    assert_eq!(leak(11, 1.0, 0.0, steady).outcome, Outcome::NotJudged(Reason::TooShort { span_s: 1.0 }));
    let held = leak(31, 3.0, 0.0, steady);
    assert!(held.holds() && held.noticed.is_some_and(|noticed| noticed <= 4.0), "{held:?}");
    // A load that never comes to rest hides growth.
    let noise = leak(12, 12.0, 0.0, |nth| 50 + (nth * 37) % 31);
    assert!(
        matches!(noise.outcome, Outcome::NotJudged(Reason::TooNoisy { noticed: Some(noticed) }) if noticed > 10.0),
        "{noise:?}"
    );
    // A pool that is full before the end of the watch is no leak, but that is not certain.
    for full_at in [17, 20, 23] {
        let pool = leak(31, 5.0, 0.0, |nth| 10 + 3 * nth.min(full_at));
        assert_eq!(pool.outcome, Outcome::NotJudged(Reason::Rising), "full after {full_at}");
    }
    let warm = leak(31, 5.0, 0.0, |nth| 10 + 3 * nth.min(12));
    assert!(warm.holds(), "{warm:?}");
}

#[test]
fn snapshots_that_lack_something_prove_nothing() {
    let one = |rule: Rule, census: &Census, pool: &mut SymbolPool| {
        let rules = Rules { rules: vec![rule], ..Rules::default() };
        let mut judge = Judge::new(&rules, Level::of([census]));
        judge.look(census, None, pool);
        judge.verdicts().remove(0).outcome
    };
    let mut pool = SymbolPool::default();
    let whole = snapshot(&[("main.a", 5, Some(90 * SECOND)), ("main.b", 2, None)]);
    let whole = Census::of_snapshot(&whole, "now", &mut pool);
    let partial = Census { total: 100, ..whole.clone() };
    for rule in [Rule::MaxGoroutines(50), Rule::MaxGroup(50), Rule::ForbidFunction(regex("main\\.c")), Rule::NoFindings]
    {
        assert_eq!(one(rule.clone(), &whole, &mut pool), Outcome::Holds, "{rule:?}");
        assert_eq!(one(rule, &partial, &mut pool), Outcome::NotJudged(Reason::Partial));
    }
    // What is seen is seen.
    assert_eq!(one(Rule::MaxGoroutines(2), &partial, &mut pool), Outcome::Fails);
    assert_eq!(one(Rule::RequireFunction(regex("main\\.a")), &partial, &mut pool), Outcome::Holds);
    assert_eq!(one(Rule::RequireFunction(regex("main\\.c")), &partial, &mut pool), Outcome::NotJudged(Reason::Partial));
    let places = Census { has_stacks: false, ..whole.clone() };
    let forbid = Rule::ForbidFunction(regex("main\\.c"));
    assert_eq!(one(forbid, &places, &mut pool), Outcome::NotJudged(Reason::NoStacks));
    // Two waits are not known; they began after the last collection at the earliest.
    let unknown = |goroutines, at_most_ns| Outcome::NotJudged(Reason::UnknownWaits { goroutines, at_most_ns });
    let at_most = |ns: Option<u64>, of: fn(&Member) -> bool| {
        let members = whole.members.iter();
        let members = members.map(|m| if of(m) { Member { wait_at_most_ns: ns, ..*m } } else { *m }).collect();
        Census { members, ..whole.clone() }
    };
    let unstamped = |member: &Member| member.wait_ns().is_none();
    let minutes = |most: u64| Rule::MaxWait(most * 60 * SECOND);
    let bounded = at_most(Some(120 * SECOND), unstamped);
    let unbounded = at_most(None, unstamped);
    assert_eq!(one(minutes(5), &bounded, &mut pool), Outcome::Holds);
    let longer = at_most(Some(600 * SECOND), unstamped);
    assert_eq!(one(minutes(5), &longer, &mut pool), unknown(2, Some(600 * SECOND)));
    assert_eq!(one(minutes(5), &unbounded, &mut pool), unknown(2, None));
    // Those that are known to wait for 90 s may have waited for longer.
    let stamped = at_most(Some(400 * SECOND), |member| member.wait_ns().is_some());
    assert_eq!(one(minutes(5), &stamped, &mut pool), unknown(5, Some(400 * SECOND)));
    assert_eq!(one(minutes(1), &unbounded, &mut pool), Outcome::Fails, "one that is known is too long");
    // All goroutines wait in a program that is stopped.
    let stopped = Census { stopped: true, ..bounded };
    assert_eq!(one(minutes(1), &stopped, &mut pool), Outcome::NotJudged(Reason::Stopped));
    assert_eq!(one(minutes(5), &stopped, &mut pool), Outcome::Holds);
    assert_eq!(one(Rule::MaxGoroutines(2), &stopped, &mut pool), Outcome::Fails);
}

#[test]
fn growth_of_many_small_groups_is_told_of_all_together() {
    const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let spread = watch(|second| (0..=second).map(|at| (NAMES[at as usize], 3, None)).collect());
    let verdicts = judge(vec![Rule::SteadyGrowth(Allowance::Count(0))], &[], &spread, None);
    let [all] = verdicts[0].offenders.as_slice() else { panic!("{verdicts:?}") };
    assert!(all.example.is_none() && all.rate.is_some_and(|rate| rate.per_second == 3.0));
    // Half of a series proves nothing.
    let half = judge(vec![Rule::SteadyGrowth(Allowance::Count(0))], &[], &spread[..6], None);
    assert_eq!(half[0].outcome, Outcome::NotJudged(Reason::TooFewSamples { samples: 6 }));
}

#[test]
fn a_watch_keeps_the_worst_and_knows_who_has_not_run() {
    let mut series = watch(|second| vec![("main.a", if second == 5 { 9 } else { 2 }, None)]);
    for (snapshot, second) in series.iter_mut().zip(0_u8..) {
        // The second one runs all the time.
        snapshot.goroutines[1].run_seq = Some(second);
    }
    let verdicts = judge(vec![Rule::MaxGoroutines(8), Rule::MaxWait(8 * SECOND)], &[], &series, None);
    assert_eq!((verdicts[0].holds(), verdicts[0].measured), (false, 9.0));
    let late = &verdicts[1].offenders[0];
    // Equal bytes count from the third snapshot on, which was 9 s before the last.
    assert_eq!((late.count, late.ids.as_slice(), verdicts[1].measured), (1, &[1][..], 9e9));
}

/// A byte that is equal by chance once or twice is no wait, nor is one that lasts too short.
#[test]
fn a_watch_does_not_take_chance_for_a_wait() {
    let watched = |seqs: &[u8]| {
        let mut series = watch(|_| vec![("main.a", 1, None)]);
        series.truncate(seqs.len());
        for (snapshot, &seq) in series.iter_mut().zip(seqs) {
            snapshot.goroutines[0].run_seq = Some(seq);
        }
        judge(vec![Rule::MaxWait(0)], &[], &series, None).remove(0)
    };
    for seqs in [&[3, 3][..], &[3, 3, 3], &[1, 3, 3, 4, 4, 4, 5]] {
        let verdict = watched(seqs);
        assert!(!verdict.fails() && verdict.measured == 0.0, "{seqs:?} {verdict:?}");
    }
    let verdict = watched(&[1, 3, 3, 3, 3]);
    assert_eq!((verdict.fails(), verdict.measured), (true, 1e9));
    // A stamp of the runtime is a proof at once.
    let mut series = watch(|_| vec![("main.a", 1, Some(SECOND))]);
    series.truncate(2);
    for snapshot in &mut series {
        snapshot.goroutines[0].blocked_before_ns = None;
    }
    assert_eq!(judge(vec![Rule::MaxWait(0)], &[], &series, None)[0].measured, 1e9);
}

/// One that was running when it was read, started in `main.start`, created by `main.creator`.
fn running(function: &str, why: NotShown) -> Snapshot {
    let mut snapshot = snapshot(&[(function, 1, None), ("main.start", 1, None), ("runtime.sys", 1, None)]);
    for goroutine in &mut snapshot.goroutines[1..] {
        goroutine.stack = StackState::NotShown(why);
        (goroutine.current, goroutine.innermost) = (None, None);
    }
    snapshot
}

#[test]
fn a_stack_that_is_not_known_may_hold_any_function() {
    let unknown = Outcome::NotJudged(Reason::UnknownStacks { goroutines: 1 });
    for why in [NotShown::Running, NotShown::Moving, NotShown::Unreadable] {
        let now = running("main.a", why);
        let forbid = |text| one(Rule::ForbidFunction(regex(text)), &[], &now).outcome;
        let require = |text| one(Rule::RequireFunction(regex(text)), &[], &now).outcome;
        assert_eq!((forbid("main\\.nothing"), require("main\\.nothing")), (unknown, unknown));
        // What is seen is seen; where it started and who created it are known of a running one too.
        for text in ["main\\.a", "^main\\.start$", "^main\\.main$"] {
            assert_eq!((forbid(text), require(text)), (Outcome::Fails, Outcome::Holds), "{text}");
        }
        // One that is exempt by where it started does not stand in the way.
        let allowed = one(Rule::ForbidFunction(regex("main\\.nothing")), &["^main\\.start$"], &now);
        assert_eq!(allowed.outcome, Outcome::Holds);
    }
}

#[test]
fn a_required_function_is_needed_once() {
    let rule = || vec![Rule::RequireFunction(regex("main\\.a"))];
    let (with, without) = (snapshot(&[("main.a", 1, None)]), snapshot(&[("main.b", 1, None)]));
    let unsure = running("main.b", NotShown::Running);
    let outcome = |series: &[&Snapshot]| {
        let series: Vec<Snapshot> = series.iter().map(|snapshot| (*snapshot).clone()).collect();
        judge(rule(), &[], &series, None)[0].outcome
    };
    for series in [[&with, &unsure, &without], [&unsure, &with, &without], [&without, &unsure, &with]] {
        assert_eq!(outcome(&series), Outcome::Holds);
    }
    let unknown = Outcome::NotJudged(Reason::UnknownStacks { goroutines: 1 });
    assert_eq!((outcome(&[&unsure, &without]), outcome(&[&without, &unsure])), (unknown, unknown));
    assert_eq!(outcome(&[&without, &without]), Outcome::Fails);
}

#[test]
fn a_watch_knows_nothing_of_who_may_have_run_uncounted() {
    let mut series = watch(|_| vec![("main.a", 2, None)]);
    for snapshot in &mut series {
        snapshot.goroutines[1].run_seq = None;
    }
    let verdicts = judge(vec![Rule::MaxWait(8 * SECOND)], &[], &series, None);
    assert_eq!(verdicts[0].offenders[0].ids, [1]);
}

#[test]
fn findings_are_told_by_stack() {
    let mut builder = SnapshotBuilder::new();
    for (id, reason, function) in [
        (1, "select (no cases)", "main.main"),
        (2, "chan receive (nil chan)", "main.a"),
        (3, "chan receive (nil chan)", "main.b"),
        (4, "chan receive (nil chan)", "main.b"),
        (5, "sync.Mutex.Lock", "main.c"),
    ] {
        let frames = vec![frame(function, "/app/w.go", 7)];
        builder.add(&GoroutineSpec { id, reason: Some(reason), frames, ..Default::default() });
    }
    let now = builder.build();
    let found = |verdict: &Verdict| -> Vec<(&'static str, Vec<u64>)> {
        let offenders = verdict.offenders.iter();
        offenders.map(|o| (o.finding.map_or("", |finding| finding.code()), o.ids.clone())).collect()
    };
    let verdict = one(Rule::NoFindings, &[], &now);
    assert_eq!((verdict.holds(), verdict.measured), (false, 3.0));
    assert_eq!(found(&verdict), [("nil_channel", vec![3, 4]), ("nil_channel", vec![2])]);
    assert!(one(Rule::NoFindings, &["main\\.[ab]"], &now).holds());
    // Watching shows waits that the runtime has not stamped. The first two intervals make sure that it has
    // not run.
    let series: Vec<Snapshot> = [0, 1, 2, 61, 62]
        .map(|second| {
            let mut snapshot = now.clone();
            snapshot.captured_at_unix_ns += second * SECOND;
            snapshot.monotonic_ns += second * SECOND;
            snapshot
        })
        .to_vec();
    let watched = |until| judge(vec![Rule::NoFindings], &["main\\.[ab]"], &series[..until], None);
    assert!(watched(4)[0].holds());
    assert_eq!(found(&watched(5)[0]), [("long_lock_wait", vec![5])]);
}

/// Leaks are for ever: what was found stays found, and a later look replaces one that found nothing.
#[test]
fn leaked_goroutines_fail_the_rule_and_what_is_allowed_does_not() {
    let rules = |allow: &[&str]| Rules {
        rules: vec![Rule::NoLeaks],
        allow: allow.iter().map(|text| Regex::new(text).unwrap()).collect(),
        ..Rules::default()
    };
    let mut builder = SnapshotBuilder::new();
    for id in 1..=9 {
        let function = if id < 5 { "main.a" } else { "main.b" };
        builder.add(&GoroutineSpec { id, frames: vec![frame(function, "/x.go", 1)], ..Default::default() });
    }
    let snapshot = builder.build();
    let mut stopped = snapshot.clone();
    stopped.target.process_state = Some('T');
    let groups = [vec![2, 3, 6, 7], vec![77]];
    let leaks = |grade| made_up_leaks(grade, &groups, &[vec![6, 7]]);
    let none = made_up_leaks(Grade::Certain, &[], &[]);
    let verdict = |allow: &[&str], looks: &[(&Snapshot, Option<&Leaks>)]| {
        let (rules, mut pool) = (rules(allow), SymbolPool::default());
        let mut judge = Judge::new(&rules, Level::Stacks);
        for (snapshot, leaks) in looks {
            let census = Census::of_snapshot(snapshot, "now", &mut pool);
            judge.look(&census, None, &mut pool);
            judge.look_for_leaks(&census, *leaks, &mut pool);
        }
        judge.verdicts().remove(0)
    };
    let certain = verdict(&[], &[(&snapshot, Some(&leaks(Grade::Certain)))]);
    assert_eq!((certain.fails(), certain.measured, certain.grade), (true, 5.0, Some(Grade::Certain)));
    let offenders: Vec<(u64, &str, &[u64])> =
        certain.offenders.iter().map(|o| (o.count, o.finding.unwrap().code(), o.ids.as_slice())).collect();
    // What is proven counts though the snapshot lacks it.
    assert_eq!(
        offenders,
        [(2, "deadlock", &[6, 7][..]), (2, "never_wakes", &[2, 3][..]), (1, "never_wakes", &[77][..])]
    );
    let confirmed = verdict(&[], &[(&snapshot, Some(&leaks(Grade::Confirmed)))]);
    assert_eq!((confirmed.fails(), confirmed.measured, confirmed.grade), (true, 4.0, Some(Grade::Confirmed)));
    let allowed = verdict(&["^main\\.[ab]$"], &[(&snapshot, Some(&leaks(Grade::Confirmed)))]);
    assert_eq!((allowed.holds(), allowed.grade), (true, Some(Grade::Confirmed)));
    let still = verdict(&[], &[(&stopped, Some(&leaks(Grade::Confirmed)))]);
    assert_eq!((still.reason(), still.grade), (Some(Reason::Stopped), None));
    assert!(verdict(&[], &[(&stopped, Some(&leaks(Grade::Certain)))]).fails());
    assert_eq!(verdict(&[], &[(&snapshot, None)]).reason(), Some(Reason::HeapNotRead));
    assert_eq!(verdict(&[], &[]).reason(), Some(Reason::HeapNotRead), "a snapshot alone is no pass");
    assert!(verdict(&[], &[(&snapshot, None), (&snapshot, Some(&none))]).holds());
    assert_eq!(verdict(&[], &[(&snapshot, Some(&none)), (&snapshot, None)]).reason(), Some(Reason::HeapNotRead));
    let found = Some(&leaks(Grade::Certain));
    assert!(verdict(&[], &[(&snapshot, found), (&snapshot, Some(&none)), (&snapshot, None)]).fails());
}

#[test]
fn rates_of_heaps_are_typed_as_people_write_them() {
    let rate = |text: &str| HeapRate::parse(text).map(|rate| (rate.per_second(), rate.to_string()));
    assert_eq!(rate("1MiB/m"), Some((1_048_576.0 / 60.0, "1MiB/m".to_owned())));
    assert_eq!(rate("1mb/min"), rate("1MiB/m"));
    assert_eq!(rate("500KiB/s"), Some((512_000.0, "500KiB/s".to_owned())));
    assert_eq!(rate("2GiB/24h"), Some((2_147_483_648.0 / 86_400.0, "2GiB/d".to_owned())));
    assert_eq!(rate("100/10s"), Some((10.0, "100B/10s".to_owned())));
    assert_eq!(rate("0"), Some((0.0, "0".to_owned())));
    for bad in ["", "1MiB", "1MiB/", "/m", "1MiB/0s", "1MiB/mm", "-1MiB/m", "x/m", "1MiB/m/m", "99999999999GiB/s"] {
        assert_eq!(rate(bad), None, "{bad}");
    }
}
