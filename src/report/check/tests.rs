use std::path::Path;

use regex::Regex;

use super::{Options, Origin, Subject, github, json, junit, text};
use crate::analysis::Census;
use crate::analysis::check::{Allowance, Judge, Level, Offender, Outcome, Reason, Rule, Rules, Verdict};
use crate::model::SymbolPool;
use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};
use crate::report::text::TextStyle;

const ORIGIN: Origin<'static> = Origin { host: "ci<1>", now_unix_ns: 1_700_000_000_000_000_000 };

fn told(write: impl Fn(&mut Vec<u8>, &Subject<'_>)) -> String {
    let mut pool = SymbolPool::default();
    let rules = vec![
        Rule::MaxGoroutines(100),
        Rule::MaxGroup(5),
        Rule::SteadyGrowth(Allowance::Count(0)),
        Rule::ForbidFunction(Regex::new("leak<T>").unwrap()),
    ];
    let rules = Rules { rules, ..Rules::default() };
    let mut judge = Judge::new(&rules, Level::Stacks);
    let mut last = None;
    for second in 0..10 {
        let mut builder = SnapshotBuilder::new();
        for id in 1..=second {
            builder.add(&GoroutineSpec {
                id,
                reason: Some("select"),
                frames: vec![
                    frame("sync.lock", "/go/sync.go", 1),
                    frame("main.(*T).leak<T>&\u{1}", "/ws/app/a,b:c.go", 7),
                ],
                creator: Some(frame("main.main", "/ws/app/m.go", 3)),
                ..Default::default()
            });
        }
        builder.edit().captured_at_unix_ns += second * 1_000_000_000;
        let census = Census::of_snapshot(&builder.build(), "pid 4242", &mut pool);
        judge.look(&census, None, &mut pool);
        last = Some(census);
    }
    let (census, verdicts) = (last.unwrap(), judge.verdicts());
    let notes = ["a note".to_owned()];
    let subject = Subject {
        name: "pid 4242",
        census: Some(&census),
        baseline: None,
        samples: 10,
        watched_ns: 9_000_000_000,
        verdicts: &verdicts,
        pool: &pool,
        notes: &notes,
        error: None,
    };
    let mut out = Vec::new();
    write(&mut out, &subject);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_text() {
    let options = Options { style: TextStyle { width: Some(80), colour: false }, system: false };
    let want = "\
3 of 4 rules failed, 10 samples in 9.00 s
  target       pid 4242: orders, go1.26.6, 2026-05-28T20:26:49Z
  ! a note

PASS  --max-goroutines 100: 9 goroutines

FAIL  --max-group 5: the largest group has 9 goroutines, 4 too many

  9 goroutines [select]
    sync.lock(...)
        /go/sync.go:1
    main.(*T).leak<T>&\\x01(...)
        /ws/app/a,b:c.go:7
    created by main.main
        /ws/app/m.go:3

FAIL  steady growth: one group grows steadily, by 9 during the watch; 0 allowed

  0 → 9 goroutines [select]: 1.00 a second (1.00 to 1.00 with 99.99 % confidence) for 9 s
    sync.lock(...)
        /go/sync.go:1
    main.(*T).leak<T>&\\x01(...)
        /ws/app/a,b:c.go:7
    created by main.main
        /ws/app/m.go:3

FAIL  --forbid-function 'leak<T>': in 9 goroutines

  9 goroutines [select]
    sync.lock(...)
        /go/sync.go:1
    main.(*T).leak<T>&\\x01(...)
        /ws/app/a,b:c.go:7
    created by main.main
        /ws/app/m.go:3
";
    assert_eq!(told(|out, subject| text(out, subject, &options).unwrap()), want);
}

#[test]
fn junit_is_well_formed_xml() {
    let xml = told(|out, subject| junit(out, subject, ORIGIN).unwrap());
    assert!(
        xml.contains(
            r#" id="0" tests="4" failures="3" errors="0" skipped="0" time="9.000" timestamp="2026-05-28T20:26:49""#
        ),
        "{xml}"
    );
    assert!(xml.contains(r#" hostname="ci&lt;1&gt;">"#), "{xml}");
    assert!(xml.contains(r#"<testcase classname="gospy.check" name="--max-goroutines 100" time="0"/>"#), "{xml}");
    assert!(
        xml.contains(r#"<failure type="max-group" message="the largest group has 9 goroutines, 4 too many">"#),
        "{xml}"
    );
    assert!(xml.contains("--forbid-function &apos;leak&lt;T&gt;&apos;"), "{xml}");
    assert!(xml.contains("main.(*T).leak&lt;T&gt;&amp;\\x01(...)"), "{xml}");
    assert!(!xml.contains(|c: char| c.is_control() && c != '\n'));
    // Every element that is opened is closed, in order.
    let mut open = Vec::new();
    for tag in xml.split('<').skip(2).filter_map(|part| part.split_once('>')).map(|(tag, _)| tag) {
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(tag.split(' ').next().unwrap()),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn annotations_point_into_the_workspace() {
    let lines = |workspace| told(|out, subject| github(out, subject, workspace).unwrap());
    let text = lines(Some(Path::new("/ws/")));
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.lines().all(|line| line.len() < 300), "{text}");
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with("::error file=app/a%2Cb%3Ac.go,line=7,title=gospy check%3A --max-group 5::the largest group"),
        "{first}"
    );
    assert!(
        first.ends_with("4 too many%0A9 [select] main.(*T).leak<T>&\\x01 (in sync.lock) app/a,b:c.go:7"),
        "{first}"
    );
    for elsewhere in [None, Some(Path::new("/w")), Some(Path::new("/other"))] {
        assert!(lines(elsewhere).starts_with("::error title="), "{elsewhere:?}");
    }
}

#[test]
fn json_has_everything() {
    let text = told(|out, subject| json(out, subject).unwrap());
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&json["passed"], &json["samples"]), (&false.into(), &10.into()));
    let names: Vec<&str> = json["rules"].as_array().unwrap().iter().filter_map(|rule| rule["name"].as_str()).collect();
    assert_eq!(names, ["max-goroutines", "max-group", "steady-growth", "forbid-function"]);
    let group = &json["rules"][1];
    assert_eq!((&group["measured"], &group["allowed"], &group["excess"]), (&9.0.into(), &5.0.into(), &4.0.into()));
    assert_eq!(json["rules"][2]["offenders"][0]["rate"]["per_second"], 1.0);
}

#[test]
fn findings_come_with_their_stacks() {
    let mut builder = SnapshotBuilder::new();
    let places = [("main.a", 7), ("main.a", 7), ("main.b", 8)];
    for (id, (function, line)) in (2..).zip(places) {
        let frames = vec![frame(function, "/ws/w.go", line)];
        builder.add(&GoroutineSpec { id, reason: Some("chan send (nil chan)"), frames, ..Default::default() });
    }
    builder.add(&GoroutineSpec { id: 9, reason: Some("select (no cases)"), ..Default::default() });
    let mut pool = SymbolPool::default();
    let census = Census::of_snapshot(&builder.build(), "pid 4242", &mut pool);
    let rules = Rules { rules: vec![Rule::NoFindings], ..Rules::default() };
    let mut judge = Judge::new(&rules, Level::Stacks);
    judge.look(&census, None, &mut pool);
    let verdicts = judge.verdicts();
    let subject = Subject {
        name: "pid 4242",
        census: Some(&census),
        baseline: None,
        samples: 1,
        watched_ns: 0,
        verdicts: &verdicts,
        pool: &pool,
        notes: &[],
        error: None,
    };
    let told = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    };
    let message = "3 goroutines are blocked forever on nil channels; \
                   goroutine 9 is blocked forever in a select without cases";
    let shown = told(&|out| text(out, &subject, &Options::default()).unwrap());
    assert!(shown.contains(&format!("FAIL  --no-findings: {message}\n")), "{shown}");
    assert!(shown.contains("\n  2 goroutines [chan send (nil chan)]: nil_channel\n    main.a(...)\n"), "{shown}");
    assert!(shown.contains("\n  1 goroutine [select (no cases)]: empty_select\n"), "{shown}");
    let xml = told(&|out| junit(out, &subject, ORIGIN).unwrap());
    assert!(xml.contains(&format!("<failure type=\"no-findings\" message=\"{message}\">")), "{xml}");
    let annotation = told(&|out| github(out, &subject, Some(Path::new("/ws"))).unwrap());
    assert!(annotation.starts_with("::error file=w.go,line=7,title=gospy check%3A --no-findings::3 "), "{annotation}");
    let json: serde_json::Value = serde_json::from_str(&told(&|out| json(out, &subject).unwrap())).unwrap();
    let rule = &json["rules"][0];
    assert_eq!((&rule["name"], &rule["measured"]), (&"no-findings".into(), &4.0.into()));
    assert_eq!((&rule["offenders"][1]["finding"], &rule["offenders"][1]["ids"]), (&"nil_channel".into(), &[4].into()));
}

#[test]
fn growth_of_all_together_is_no_group_and_one_waits() {
    let offender = Offender {
        count: 9,
        before: Some(1),
        wait: None,
        rate: None,
        finding: None,
        detail: None,
        ids: Vec::new(),
        example: None,
        heap: None,
    };
    let verdict = |rule, outcome, offenders| Verdict {
        rule,
        outcome,
        measured: 8.0,
        allowed: 0.0,
        noticed: None,
        allocated: None,
        grade: None,
        offenders,
    };
    let growth = Rule::SteadyGrowth(Allowance::Count(0));
    let fails = verdict(growth.clone(), Outcome::Fails, vec![offender.clone()]);
    assert_eq!(super::outcome(&fails), "the total grows steadily, by 8 during the watch; 0 allowed");
    let rising = super::outcome(&verdict(growth, Outcome::NotJudged(Reason::Rising), vec![offender.clone()]));
    assert!(rising.starts_with("the total rises, but too little "), "{rising}");
    let wait = |count| verdict(Rule::MaxWait(1), Outcome::Fails, vec![Offender { count, ..offender.clone() }]);
    assert!(super::outcome(&wait(1)).starts_with("1 goroutine has waited longer; "));
    assert!(super::outcome(&wait(2)).starts_with("2 goroutines have waited longer; "));
    let unknown = |goroutines| {
        super::outcome(&verdict(Rule::NoFindings, Outcome::NotJudged(Reason::UnknownStacks { goroutines }), Vec::new()))
    };
    assert_eq!(unknown(1), "1 goroutine was running; --freeze shows its stack");
    assert_eq!(unknown(3), "3 goroutines were running; --freeze shows their stacks");
}

/// A heap in which nothing was allocated has no size of growth that would have been detected.
#[test]
fn a_heap_in_which_nothing_was_allocated_is_said_to_be_one() {
    let text = |allocated, noticed| {
        super::outcome(&Verdict {
            rule: Rule::MaxHeapGrowth(crate::analysis::check::HeapRate::parse("1MiB/m").unwrap()),
            outcome: Outcome::Holds,
            measured: 0.0,
            allowed: 0.0,
            noticed,
            allocated,
            grade: None,
            offenders: Vec::new(),
        })
    };
    assert_eq!(text(Some(0), Some(0.0)), "nothing was allocated during the watch");
    assert_eq!(
        text(Some(4096), Some(4096.0)),
        "4.00 KiB allocated during the watch: the heap cannot have grown by more"
    );
    assert!(text(None, Some(4096.0)).starts_with("no steady growth; 4.00 KiB or more during the watch would have"));
}
