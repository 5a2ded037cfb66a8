//! Findings as a rule of `check`.

use crate::support::{gospy, live};
use serde_json::Value;

#[test]
fn findings_are_a_rule() {
    let running = live(&["states", "2"]);
    let pid = running.pid().to_string();
    let output = gospy(&["check", "--pid", &pid, "--no-findings", "--json"]);
    assert_eq!(output.code(), 7, "{output:?}");
    let json: Value = serde_json::from_str(&output.stdout).unwrap();
    let rule = &json["rules"][0];
    assert_eq!((&rule["name"], &rule["measured"]), (&"no-findings".into(), &6.0.into()), "{json}");
    let codes: Vec<&str> =
        rule["offenders"].as_array().unwrap().iter().map(|offender| offender["finding"].as_str().unwrap()).collect();
    assert_eq!(codes, ["nil_channel", "nil_channel", "empty_select"], "{rule}");
    assert!(rule["offenders"][0]["example"]["frames"].as_array().is_some_and(|frames| !frames.is_empty()), "{rule}");
    let allowed = ["check", "--pid", &pid, "--no-findings", "--allow", r"^main\.init\."];
    let allowed = gospy(&allowed);
    assert_eq!((allowed.code(), allowed.stdout.contains("PASS  --no-findings: none")), (0, true), "{allowed:?}");
}
