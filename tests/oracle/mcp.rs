//! MCP with clients that others wrote: the official SDK in both eras, and the official conformance suite. Tokens are
//! counted by a tokenizer that is in use (o200k_base and cl100k_base).

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::fixture::script;
use crate::support::server::Server;
use crate::support::{Fixture, Mode, live};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/mcp_client.py");

/// What the SDK's client saw; of some tools, or of all.
fn asked(mode: &str, transport: &str, place: &str, pid: i32, tools: &str) -> Value {
    let python = script("mcp", &["python"]);
    let output = Command::new(python).args([CLIENT, mode, transport, place, &pid.to_string(), tools]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{mode} {transport}: {error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Tokens of texts, by the vocabulary of two that makes more of each.
fn tokens(texts: &[&str]) -> Vec<u64> {
    let mut counter = Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/tokens.js"))
        .arg(script("mcp", &["tokenizer"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    counter.stdin.take().unwrap().write_all(serde_json::to_string(texts).unwrap().as_bytes()).unwrap();
    let output = counter.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let counts: Vec<u64> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(counts.len(), texts.len());
    counts
}

/// Every tool answers, within its bounds.
fn check<'a>(seen: &'a Value, at: &str) {
    let tools = seen["tools"].as_object().unwrap();
    assert!(tools.len() == 10 && tools.values().all(|read_only| read_only == true), "{at}: {tools:?}");
    assert_eq!(seen["refused"], true, "{at}");
    let said = seen["said"].as_array().unwrap();
    let text = |said: &'a Value| said["text"].as_str().unwrap();
    let texts: Vec<&str> = [seen["catalogue"].as_str().unwrap()].into_iter().chain(said.iter().map(text)).collect();
    let mut counts = tokens(&texts).into_iter();
    let catalogue = counts.next().unwrap();
    println!("{at}: catalogue {catalogue} tokens");
    assert!(catalogue <= 2_000, "{at}: {catalogue}");
    for (said, tokens) in said.iter().zip(counts) {
        let text = text(said);
        println!("{at}: {} {}: {tokens} tokens, {} bytes", said["tool"], said["arguments"], text.len());
        assert_eq!(said["error"], false, "{at}: {said}");
        let most = said["arguments"]["max_tokens"].as_u64().unwrap_or(1_500);
        assert!(tokens <= most && tokens > 0, "{at}: {tokens} of {most}: {text}");
        assert!(!text.contains("swordfish"), "{at}: {text}");
    }
}

#[test]
fn the_official_client_asks_in_both_eras() {
    let program = live(&["deadlock"]);
    let pid = program.pid();
    let server = Server::start(&["--pid", &pid.to_string()]);
    let url = format!("http://{}/mcp", server.address);
    for (mode, version) in [("legacy", "2025-11-25"), ("auto", "2026-07-28"), ("2026-07-28", "2026-07-28")] {
        for (transport, place) in [("stdio", env!("CARGO_BIN_EXE_gospy")), ("http", &url)] {
            let seen = asked(mode, transport, place, pid, "");
            assert_eq!(seen["version"], version, "{mode} {transport}");
            check(&seen, &format!("{mode} {transport}"));
        }
    }
}

/// As many as there are, an answer has its bound.
#[test]
fn answers_are_as_short_for_very_many_goroutines() {
    // Walks over the heap take their time.
    const QUICK: &str = "list_processes,overview,groups,goroutine,waits,compare";
    for (many, tools) in [("10", ""), ("10000", ""), ("100000", QUICK)] {
        let mut program = Fixture::start("fx", "1.26.6", Mode::Sw, &["many", many]);
        program.settle();
        let seen = asked("auto", "stdio", env!("CARGO_BIN_EXE_gospy"), program.pid(), tools);
        check(&seen, many);
        let overview = seen["said"][1]["text"].as_str().unwrap();
        let number = overview.lines().nth(2).unwrap().split(' ').next().unwrap().replace(',', "");
        assert!(number.parse::<u64>().unwrap() >= many.parse().unwrap(), "{overview}");
    }
}

/// Scenarios of the suite that take nothing but what every server has; the others want a server made for them.
#[test]
fn the_conformance_suite_passes() {
    let program = live(&["idle"]);
    let server = Server::start(&["--pid", &program.pid().to_string()]);
    let url = format!("http://{}/mcp", server.address);
    let suite = script("mcp", &["conformance"]);
    for scenario in ["server-initialize", "ping", "tools-list"] {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("node");
        command.arg(&suite).args(["server", "--url", &url, "--scenario", scenario]).current_dir(directory.path());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("0 failed"), "{scenario}: {text} {output:?}");
    }
}
