//! The API: documents that its own description fits, what is refused, changes as they come.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::Value;

use crate::support::server::Server;
use crate::support::{Running, gospy, live, live_program, until};

const SECRET: &str = "swordfish";

/// A program with a secret among its arguments and in its environment.
pub(crate) fn with_secrets(mode: &str) -> Running {
    let mut command = Command::new(live_program());
    command.arg0(format!("live --password={SECRET}")).arg(mode).env("PASSWORD", SECRET);
    let mut program = Running::spawn(command);
    program.wait_ready();
    for file in ["cmdline", "environ"] {
        let text = std::fs::read(format!("/proc/{}/{file}", program.pid())).unwrap();
        assert!(String::from_utf8_lossy(&text).contains(SECRET), "{file}");
    }
    program
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What of a document does not fit a schema: the part of JSON Schema that the schemas use.
fn misfits(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let Some(schema) = schema.as_object() else {
        if schema == &Value::Bool(false) {
            found.push(format!("{at}: nothing may be here"));
        }
        return;
    };
    for (key, rule) in schema {
        match key.as_str() {
            "$ref" => {
                let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                misfits(root, root.pointer(pointer).unwrap_or_else(|| panic!("{rule}")), value, at, found);
            }
            "type" => {
                let is = |kind: &Value| match kind.as_str().unwrap() {
                    "null" => value.is_null(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    "string" => value.is_string(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("type {other}"),
                };
                let fits = rule.as_array().map_or_else(|| is(rule), |kinds| kinds.iter().any(is));
                if !fits {
                    found.push(format!("{at}: {value} is no {rule}"));
                }
            }
            "required" => {
                for name in rule.as_array().unwrap().iter().map(|name| name.as_str().unwrap()) {
                    if value.is_object() && value.get(name).is_none() {
                        found.push(format!("{at}: {name} is missing"));
                    }
                }
            }
            "properties" => {
                for (name, rule) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        misfits(root, rule, value, &format!("{at}.{name}"), found);
                    }
                }
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (name, value) in value.as_object().into_iter().flatten() {
                    if known.is_none_or(|known| !known.contains_key(name)) {
                        misfits(root, rule, value, &format!("{at}.{name}"), found);
                    }
                }
            }
            "items" => {
                for (number, value) in value.as_array().into_iter().flatten().enumerate() {
                    misfits(root, rule, value, &format!("{at}[{number}]"), found);
                }
            }
            "anyOf" | "oneOf" => {
                let fits = rule.as_array().unwrap().iter().any(|rule| {
                    let mut found = Vec::new();
                    misfits(root, rule, value, at, &mut found);
                    found.is_empty()
                });
                if !fits {
                    found.push(format!("{at}: none of {key} fits"));
                }
            }
            "allOf" => rule.as_array().unwrap().iter().for_each(|rule| misfits(root, rule, value, at, found)),
            "enum" => {
                if !rule.as_array().unwrap().contains(value) {
                    found.push(format!("{at}: {value} is none of {rule}"));
                }
            }
            "const" => {
                if rule != value {
                    found.push(format!("{at}: {value} is not {rule}"));
                }
            }
            "minimum" => {
                if value.as_f64().is_some_and(|value| value < rule.as_f64().unwrap()) {
                    found.push(format!("{at}: {value} is below {rule}"));
                }
            }
            "maxLength" | "minLength" => {
                let length = value.as_str().map(|text| text.chars().count() as u64);
                let fits = |length: u64| {
                    if key == "maxLength" { length <= rule.as_u64().unwrap() } else { length >= rule.as_u64().unwrap() }
                };
                if !length.is_none_or(fits) {
                    found.push(format!("{at}: {value} against {key} {rule}"));
                }
            }
            "description" | "title" | "format" | "$defs" | "default" | "maximum" | "minItems" | "maxItems" => {}
            other => panic!("{other} is not looked at"),
        }
    }
}

#[test]
fn every_route_answers_with_a_document_of_its_schema() {
    let program = with_secrets("deadlock");
    let server = Server::start(&["--pid", &program.pid().to_string()]);
    let api = json(&server.body("/api/v1/openapi.json"));
    assert_eq!(api["openapi"], "3.1.0");
    let (mut asked, mut kinds) = (0, std::collections::BTreeSet::new());
    for (path, item) in api["paths"].as_object().unwrap() {
        let content = &item["get"]["responses"]["200"]["content"];
        if path.contains("{name}") || !content["application/json"].is_object() {
            continue;
        }
        let place = path.replace("{pid}", &program.pid().to_string());
        let queries: &[&str] = match path.rsplit('/').next().unwrap() {
            "summary" | "stacks" => {
                &["", "?group=&limit=2", "?filter=state=waiting%20and%20not%20system&sort=id&reverse"]
            }
            "why" => &["", "?leaks=true", "?goid=1"],
            "diff" => &["?seconds=2&by=place"],
            "check" => &["?max_goroutines=1&no_findings", "?max_goroutines=100000"],
            "heap" => &["?limit=3", "?objects", "?watch=2s&interval=250ms"],
            "waits" => &["", "?sort=age&limit=1"],
            _ => &[""],
        };
        for query in queries {
            let text = server.body(&format!("{place}{query}"));
            assert!(!text.contains(SECRET), "{place}{query}: {text}");
            let document = json(&text);
            assert_eq!(document["schema_version"], 1, "{place}{query}");
            let mut found = Vec::new();
            misfits(&api, &content["application/json"]["schema"], &document, "", &mut found);
            assert!(found.is_empty(), "{place}{query}: {found:#?}");
            asked += 1;
            kinds.insert(document.as_object().unwrap().keys().cloned().collect::<Vec<_>>());
        }
    }
    assert!(asked >= 19 && kinds.len() >= 9, "{asked} {}", kinds.len());
    // The validator sees what does not fit.
    let mut found = Vec::new();
    misfits(&api, &api["components"]["schemas"]["ps"], &json(r#"{"schema_version": "1"}"#), "", &mut found);
    assert!(found.len() >= 3, "{found:?}");
}

#[test]
fn documents_are_those_of_the_commands() {
    let mut program = live(&["states"]);
    program.settle();
    let pid = program.pid().to_string();
    let server = Server::start(&["--pid", &pid]);
    let by_name = server.body(&format!("/api/v1/pid/{pid}/stacks?filter=not%20system&sort=id"));
    for (path, typed) in [
        ("stacks?filter=not%20system&sort=id", vec!["stack", "--filter", "not system", "--sort", "id"]),
        ("stacks?group_by=similar", vec!["stack", "--group=similar"]),
        ("waits?filter=not%20system", vec!["waits", "--filter", "not system"]),
        ("why", vec!["why"]),
        ("summary?all", vec!["summary", "--all"]),
    ] {
        let ours = json(&server.body(&format!("/api/v1/pid/{pid}/{path}")));
        let theirs = json(&gospy(&[&typed[..], &["--json", "--pid", &pid]].concat()).stdout);
        let keys = |document: &Value| document.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&ours), keys(&theirs), "{path}");
        for part in ["/goroutines/list", "/goroutines/groups", "/waits", "/objects", "/certain"] {
            // How long they have waited goes on.
            let still = |document: &Value| document.pointer(part).map(without_times);
            assert_eq!(still(&ours), still(&theirs), "{path} {part}");
        }
    }
    assert!(by_name.len() > 1_000);
}

fn without_times(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(without_times).collect(),
        Value::Object(object) => {
            let is_time = |key: &str| key.contains("wait") || key.ends_with("_ns") || key.contains("age");
            let kept = object.iter().filter(|(key, _)| !is_time(key));
            Value::Object(kept.map(|(key, value)| (key.clone(), without_times(value))).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn what_is_refused_says_why() {
    let (program, other) = (live(&["idle"]), live(&["idle"]));
    let pid = program.pid();
    let server = Server::start(&["--pid", &pid.to_string()]);
    for (query, why) in [
        ("summary?freeze=all", "cannot be asked for over the network"),
        ("stacks?arguments", "cannot be asked for over the network"),
        ("stacks?values&strings", "cannot be asked for over the network"),
        ("stacks?bin=/etc/passwd", "cannot be asked for over the network"),
        ("check?max_growth=1&baseline=/etc/passwd", "cannot be asked for over the network"),
        ("stacks?json", "there is no such parameter"),
        ("leaks?filter=x", "leaks takes no parameters"),
        ("summary?filter=age%3E", "a value is missing"),
        ("summary?sort=colour", "colour"),
        ("summary?all=perhaps", "expected true or false"),
        ("summary?watch=2h", "at most 60s"),
        ("stacks?limit=-1", "invalid value"),
        ("stacks?reverse", "--sort"),
        ("diff?seconds=0", "from 2 to 60"),
        ("diff?by=object", "not compared by object"),
        ("check", "there is no rule"),
        ("check?forbid_function=(", "regex"),
        ("events?rate=50", "from 0.2 to 2"),
        ("events?rate=NaN", "from 0.2 to 2"),
        ("events?speed=1", "unknown field"),
    ] {
        let reply = server.get(&format!("/api/v1/pid/{pid}/{query}"));
        assert!(reply.status == 400 && reply.body.contains(why), "{query}: {reply:?}");
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    let reply = server.get(&format!("/api/v1/pid/{pid}/why?goid=99999"));
    assert!(reply.status == 404 && reply.body.contains("there is no goroutine 99999"), "{reply:?}");
    for path in [
        format!("/api/v1/pid/{}/summary", other.pid()),
        "/api/v1/pid/1/stacks".to_owned(),
        format!("/api/v1/pid/{}/events", other.pid()),
    ] {
        assert_eq!(server.get(&path).body, "no program that is served has this pid\n", "{path}");
    }
    for path in [format!("/api/v1/pid/{pid}/capture"), "/api/v1".to_owned(), "/api/v2/processes".to_owned()] {
        assert_eq!(server.get(&path).status, 404, "{path}");
    }
    let path = format!("/api/v1/pid/{pid}/summary");
    assert_eq!(server.ask("POST", &path, &[("Host", "localhost")]).status, 405);
    assert_eq!(server.ask("GET", &path, &[("Host", "evil.test")]).status, 403);
    drop(program);
    assert_eq!(server.get(&path).status, 404);
}

#[test]
fn a_large_document_is_sent_while_it_is_written() {
    let program = live(&["many", "3000"]);
    let server = Server::start(&["--pid", &program.pid().to_string()]);
    // HTTP/1.0 has no chunks: the end of the connection is the end of the document.
    let request = format!("GET /api/v1/pid/{}/stacks HTTP/1.0\r\nHost: localhost\r\n\r\n", program.pid());
    let answer = server.send(request.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.") && !head.to_ascii_lowercase().contains("content-length"), "{head}");
    let document = json(body);
    assert!(document["goroutines"]["list"].as_array().unwrap().len() >= 3_000 && body.len() > 1 << 19);
    // Callers that go amid it leave nothing running.
    for _ in 0..40 {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
    }
    until("their commands have ended", || (server.get("/api/v1/processes").status == 200).then_some(()));
}

/// Lines of a stream of events: kinds, and their data.
pub(crate) fn events(server: &Server, path: &str) -> impl Iterator<Item = (String, Value)> {
    let mut stream = server.connect();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    assert!(head[0].contains(" 200 ") && head.iter().any(|line| line == "content-type: text/event-stream"), "{head:?}");
    let mut kind = String::new();
    lines.filter_map(move |line| {
        if let Some(event) = line.strip_prefix("event: ") {
            kind = event.to_owned();
        }
        let data = line.strip_prefix("data: ")?;
        assert!(data.len() <= 10 * 1024, "{}", data.len());
        Some((kind.clone(), json(data)))
    })
}

#[test]
fn changes_come_as_they_happen_and_listeners_share_readings() {
    let program = live(&["leak", "-rate", "20"]);
    let server = Server::start(&["--pid", &program.pid().to_string()]);
    let api = json(&server.body("/api/v1/openapi.json"));
    let path = format!("/api/v1/pid/{}/events?rate=2", program.pid());
    let (mut first, mut second) = (events(&server, &path), events(&server, &path));
    let (mut seen, mut also) = (Vec::new(), Vec::new());
    for at in 0..5 {
        for (listener, times) in [(&mut first as &mut dyn Iterator<Item = _>, &mut seen), (&mut second, &mut also)] {
            let (kind, data): (String, Value) = listener.next().unwrap();
            assert_eq!(kind, if at == 0 { "state" } else { "change" });
            let mut found = Vec::new();
            misfits(&api, &api["components"]["schemas"]["event"], &data, "", &mut found);
            assert!(found.is_empty(), "{found:?}");
            if at > 0 {
                assert!(data["groups"][0]["delta"].as_i64().unwrap() > 0, "{data}");
            }
            times.push(data["at"].clone());
        }
    }
    // Each reading has its time: these were the same readings.
    let shared = seen.iter().filter(|time| also.contains(time)).count();
    assert!(shared >= 3, "{seen:?} {also:?}");
    drop(program);
    let last: Vec<String> = first.map(|(kind, _)| kind).collect();
    assert_eq!(last.last().map(String::as_str), Some("end"), "{last:?}");
}

#[test]
fn there_are_thirty_two_streams_and_their_places_come_back() {
    let program = live(&["idle"]);
    let server = Server::start(&["--pid", &program.pid().to_string()]);
    let path = format!("/api/v1/pid/{}/events?rate=2", program.pid());
    let page = format!("/pid/{}/live", program.pid());
    // Pages are among them, and share readings, too.
    let mut streams: Vec<_> = (0..32).map(|n| events(&server, if n % 2 == 0 { &path } else { &page })).collect();
    for (n, stream) in streams.iter_mut().enumerate() {
        assert_eq!(stream.next().unwrap().0, if n % 2 == 0 { "state" } else { "tick" });
    }
    for path in [&path, &page] {
        assert_eq!(server.get(path).status, 503, "{path}");
    }
    drop(program);
    for stream in streams {
        assert_eq!(stream.map(|(kind, _)| kind).last().as_deref(), Some("end"));
    }
    for path in [path, page] {
        assert_eq!(server.get(&path).status, 404, "{path}: neither a place nor the program is in the way");
    }
}
