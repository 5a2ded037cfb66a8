use std::path::Path;

use regex::Regex;

use super::{Options, Subject, github, json, junit, text};
use crate::analysis::Census;
use crate::analysis::check::{Allowance, Judge, Level, Rule, Rules};
use crate::model::SymbolPool;
use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};
use crate::report::text::TextStyle;

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
        census: &census,
        baseline: None,
        samples: 10,
        watched_ns: 9_000_000_000,
        verdicts: &verdicts,
        pool: &pool,
        notes: &notes,
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

ok    --max-goroutines 100: 9 goroutines

FAIL  --max-group 5: the largest group has 9 goroutines, 4 too many

  9 goroutines [select]
    sync.lock(...)
        /go/sync.go:1
    main.(*T).leak<T>&\\x01(...)
        /ws/app/a,b:c.go:7
    created by main.main
        /ws/app/m.go:3

FAIL  steady growth: one group grows steadily, by 9 in the time; 0 allowed

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
    let xml = told(|out, subject| junit(out, subject).unwrap());
    assert!(
        xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"4\" failures=\"3\""),
        "{xml}"
    );
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
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with("::error file=app/a%2Cb%3Ac.go,line=7,title=gospy check%3A --max-group 5::the largest group"),
        "{first}"
    );
    assert!(
        first.contains("%0A%0A9 goroutines [select]%0Async.lock(...)%0A    /go/sync.go:1%0Amain.(*T).leak<T>"),
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
