//! What `gospy check` writes for others, as those others read it.

use std::process::Command;

use crate::support::{gospy, live};

/// Every kind of outcome: a rule that fails, growth that could not be judged, a target that is gone and
/// one that ends while it is watched.
#[test]
fn junit_is_valid_under_the_schemas_of_its_readers() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (before, xml) = (path("before.json"), path("gospy.xml"));
    let leak = live(&["leak", "-rate", "200"]);
    let pid = leak.pid().to_string();
    std::fs::write(&before, gospy(&["stack", "--pid", &pid, "--json"]).ok()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(600));
    let growth = ["check", "--pid", &pid, "--baseline", &before, "--max-growth", "20", "--junit", &xml];
    assert_eq!(gospy(&growth).code(), 7);
    let junit = valid_junit(&xml);
    assert!(junit.contains("failures=\"1\"") && junit.contains("main.leakOne(...)"), "{junit}");

    let rising = live(&["leak", "-rate", "5"]);
    let slow = rising.pid().to_string();
    let watch = ["check", "--pid", &slow, "--watch", "1s", "--max-group", "100000", "--junit", &xml];
    assert_eq!(gospy(&watch).code(), 8);
    let junit = valid_junit(&xml);
    assert!(junit.contains(r#"failures="0" errors="1""#), "{junit}");

    assert_eq!(gospy(&["check", "--pid", "4194305", "--max-group", "1", "--junit", &xml, "--json"]).code(), 3);
    assert!(valid_junit(&xml).contains("there is no process 4194305"));

    let ending = live(&["idle"]);
    let pid = ending.pid().to_string();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        drop(ending);
    });
    let rules = ["--max-goroutines", "1000", "--json", "--junit", &xml, "--github"];
    let output = gospy(&[&["check", "--pid", &pid, "--watch", "30s", "--interval", "200ms"], &rules[..]].concat());
    killer.join().unwrap();
    assert_eq!(output.code(), 3, "{output:?}");
    let junit = valid_junit(&xml);
    assert!(junit.contains(r#"tests="2" failures="0" errors="2""#), "{junit}");
}

/// A script waits for it: what cannot be read often enough is not read for longer.
#[test]
fn a_watch_takes_the_time_that_was_asked_for() {
    let idle = live(&["idle"]);
    let watch = ["check", "--pid", &idle.pid().to_string(), "--watch", "2s", "--interval", "100us", "--json"];
    let began = std::time::Instant::now();
    let document = gospy(&watch).json();
    let took_ns = u64::try_from(began.elapsed().as_nanos()).unwrap();
    let (samples, watched_ns) = (document["samples"].as_u64().unwrap(), document["watched_ns"].as_u64().unwrap());
    assert!((8..20_001).contains(&samples), "{samples}");
    assert!((1_900_000_000..took_ns).contains(&watched_ns), "{watched_ns} of {took_ns}");
    let missed = 20_001 - samples;
    let notes = document["notes"].as_array().unwrap();
    let digits = |note: &serde_json::Value| note.as_str().unwrap().replace(',', "");
    let told = format!("{missed} of 20001 samples were left out");
    assert!(notes.iter().any(|note| digits(note).starts_with(&told)), "{notes:?}");
}

/// The text of a file that is valid under the schemas of Ant and Jenkins.
fn valid_junit(path: &str) -> String {
    for schema in ["ant", "jenkins"] {
        let schema = format!("{}/tests/junit/{schema}.xsd", env!("CARGO_MANIFEST_DIR"));
        let output = Command::new("xmllint")
            .args(["--noout", "--schema", &schema, path])
            .output()
            .unwrap_or_else(|error| panic!("xmllint cannot be run ({error}): install the package libxml2-utils"));
        assert!(output.status.success(), "{output:?}");
    }
    std::fs::read_to_string(path).unwrap()
}
