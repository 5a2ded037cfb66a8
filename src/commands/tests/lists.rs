//! What is listed: filters, orders, limits and groups.

use super::*;

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
    // In a summary, goroutine 2 is the runtime's own and has a group to itself, as in text.
    for (command, groups_of_all) in [("summary", 3), ("stack", 2)] {
        let json: serde_json::Value =
            serde_json::from_str(&gospy(&format!("{command} -p 4242 --json --group")).out).expect("JSON");
        let groups = json["goroutines"]["groups"].as_array().expect("groups");
        assert_eq!(groups.len(), groups_of_all);
        assert_eq!((&groups[0]["count"], &groups[0]["ids"]), (&2.into(), &serde_json::json!([1, 3])));
        assert_eq!(json["goroutines"]["list"], serde_json::json!([]));
        assert_eq!(groups[0]["frames"].is_null(), command == "summary");
    }
}

/// A system goroutine is where it started, in every view: they all wait in one function.
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
