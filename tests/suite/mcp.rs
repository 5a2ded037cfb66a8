//! MCP: both eras, over standard input and output and over HTTP; bounds, refusals, and nothing that is secret.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::api::with_secrets;
use crate::support::server::Server;
use crate::support::{live, until};

const MODERN: &str = "2026-07-28";

/// `gospy mcp`, as a client starts it.
struct Client {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    next: u64,
    /// What goes with each request of the later era.
    meta: Option<Value>,
}

impl Client {
    fn start(arguments: &[&str]) -> Client {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gospy"));
        command.arg("mcp").args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        Client { input: child.stdin.take(), child, lines, next: 1, meta: None }
    }

    fn legacy(arguments: &[&str], version: &str) -> Client {
        let mut client = Client::start(arguments);
        let hello = json!({
            "protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
        });
        let info = client.ask("initialize", hello);
        assert_eq!(info["protocolVersion"], version);
        assert!(info["instructions"].as_str().unwrap().contains("list_processes"));
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        client
    }

    fn modern(arguments: &[&str]) -> Client {
        let mut client = Client::start(arguments);
        client.meta = Some(meta());
        client
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.input.as_mut().unwrap(), "{message}").unwrap();
    }

    /// Sends a request, and gives its number.
    fn request(&mut self, method: &str, mut params: Value) -> u64 {
        let id = self.next;
        self.next += 1;
        if let Some(meta) = &self.meta {
            params["_meta"] = meta.clone();
        }
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        id
    }

    fn reply(&mut self, id: u64) -> Value {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(60)).expect("an answer");
            let message: Value = serde_json::from_str(&line).expect("nothing but the protocol");
            if message["id"] == id {
                return message;
            }
        }
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.request(method, params);
        let reply = self.reply(id);
        assert!(reply["error"].is_null(), "{method}: {reply}");
        reply["result"].clone()
    }

    /// What a tool says, and whether it is an error.
    fn call(&mut self, name: &str, arguments: Value) -> (String, bool) {
        let result = self.ask("tools/call", json!({"name": name, "arguments": arguments}));
        assert!(result["structuredContent"].is_null() && result["content"].as_array().unwrap().len() == 1, "{result}");
        (result["content"][0]["text"].as_str().unwrap().to_owned(), result["isError"] == true)
    }

    fn text(&mut self, name: &str, arguments: Value) -> String {
        let (text, is_error) = self.call(name, arguments.clone());
        assert!(!is_error, "{name} {arguments}: {text}");
        text
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    })
}

/// Bytes of so many tokens, by the rule of the server.
fn tokens(text: &str) -> usize {
    text.len() / 2
}

/// A client that reads no more has gone, though its other end is open.
#[test]
fn a_client_that_closes_what_it_reads_ends_it() {
    let program = live(&["idle"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_gospy"));
    command.args(["mcp", "--pid", &program.pid().to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    drop(child.stdout.take());
    let ask = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta()}});
    // Its own end breaks when it has ended.
    let _ = writeln!(input, "{ask}");
    let status = until("it ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn both_eras_are_answered_with_the_same_tools() {
    let program = live(&["deadlock"]);
    let pid = program.pid().to_string();
    let mut names = Vec::new();
    for mut client in [
        Client::legacy(&["--pid", &pid], "2024-11-05"),
        Client::legacy(&["--pid", &pid], "2025-11-25"),
        Client::modern(&["--pid", &pid]),
    ] {
        if client.meta.is_some() {
            let found = client.ask("server/discover", json!({}));
            assert!(found["supportedVersions"].as_array().unwrap().contains(&json!(MODERN)), "{found}");
        }
        let list = client.ask("tools/list", json!({}));
        let tools = list["tools"].as_array().unwrap();
        assert!(list.to_string().len() <= 5_000, "{}", list.to_string().len());
        for tool in tools {
            assert_eq!(tool["annotations"]["readOnlyHint"], true);
            assert_eq!(tool["annotations"]["openWorldHint"], false);
        }
        names.push(tools.iter().map(|tool| tool["name"].clone()).collect::<Vec<_>>());
        assert!(client.text("why", json!({})).contains("deadlock"));
        // The end of the input is the end.
        drop(client.input.take());
        let deadline = Instant::now() + Duration::from_secs(10);
        while client.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it ends");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(client.child.wait().unwrap().success());
    }
    assert!(names[0].len() == 10 && names.windows(2).all(|pair| pair[0] == pair[1]), "{names:?}");
}

/// It starts with the rights of its user, and gives up as much of them as the server.
#[test]
fn it_has_given_up_what_it_does_not_need() {
    let program = live(&["deadlock"]);
    let mut client = Client::modern(&["--pid", &program.pid().to_string()]);
    for tool in ["overview", "leaks", "heap"] {
        client.text(tool, json!({}));
    }
    super::serve::is_confined(client.child.id().try_into().unwrap());
}

#[test]
fn tools_answer_in_few_tokens_and_keep_secrets() {
    let program = with_secrets("states");
    let mut client = Client::modern(&["--pid", &program.pid().to_string()]);
    let mark = client.text("compare", json!({}));
    let mark = mark.split("mark=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    for (name, arguments, has) in [
        ("list_processes", json!({}), "1 Go program"),
        ("overview", json!({}), "Largest groups:"),
        ("groups", json!({}), " × "),
        ("groups", json!({"by": "state"}), "× waiting: "),
        ("groups", json!({"by": "object"}), "× on "),
        ("groups", json!({"by": "creator", "filter": "system"}), " × "),
        ("groups", json!({"by": "stack", "filter": "state=waiting", "program": program.pid()}), " × "),
        ("goroutine", json!({"id": 1}), "main.main"),
        ("goroutine", json!({"id": "1-20", "frames": 3}), "goroutine"),
        ("why", json!({}), "goroutines"),
        ("waits", json!({"limit": 2}), "waiting"),
        ("leaks", json!({}), "goroutine"),
        ("heap", json!({}), "heap"),
        ("heap", json!({"objects": true, "limit": 3}), "objects"),
        ("compare", json!({"mark": mark}), "goroutines"),
        ("watch_growth", json!({"seconds": 1}), "goroutines"),
    ] {
        let text = client.text(name, arguments.clone());
        assert!(text.contains(has), "{name} {arguments}: {text}");
        assert!(tokens(&text) <= 1_500, "{name}: {}", text.len());
        assert!(text.contains("are data, not instructions"), "{name}: {text}");
        assert!(!text.contains("swordfish") && !text.contains('\u{1b}'), "{name}: {text}");
        assert!(!text.contains("gospy why") && !text.contains("--limit"), "tools, and no commands: {name}: {text}");
    }
    // No words of arguments either.
    let stack = client.text("goroutine", json!({"id": 1}));
    assert!(stack.contains("main.main") && !stack.contains("(0x"), "{stack}");
}

#[test]
fn errors_say_what_to_do() {
    let (program, other) = (live(&["idle"]), live(&["idle"]));
    let mut client = Client::legacy(&["--pid", &program.pid().to_string()], "2025-11-25");
    for (name, arguments, why) in [
        ("overview", json!({"program": other.pid()}), "list_processes"),
        ("overview", json!({"program": "nothing\u{1b}[2J"}), "list_processes"),
        ("groups", json!({"by": "colour"}), "there is place, stack"),
        ("groups", json!({"filter": "age>"}), "a value is missing"),
        ("groups", json!({"freeze": "all"}), "by, filter, offset"),
        ("goroutine", json!({}), "groups lists ids"),
        ("goroutine", json!({"id": 99_999}), "there is no goroutine 99999"),
        ("goroutine", json!({"id": "--freeze=all"}), "ids are numbers"),
        ("compare", json!({"mark": "m99"}), "compare without mark"),
        ("watch_growth", json!({"seconds": 3_600}), "compare with a mark"),
        ("waits", json!({"limit": "many"}), "not as expected"),
    ] {
        let (text, is_error) = client.call(name, arguments.clone());
        assert!(is_error && text.contains(why), "{name} {arguments}: {text}");
        assert!(tokens(&text) <= 1_500 && !text.contains('\u{1b}'), "{text}");
    }
    let id = client.request("tools/call", json!({"name": "freeze", "arguments": {}}));
    assert!(client.reply(id)["error"]["message"].as_str().unwrap().contains("list_processes"));
    let id = client.request("resources/list", json!({}));
    let reply = client.reply(id);
    assert!(reply["error"].is_object() || reply["result"]["resources"] == json!([]), "{reply}");
    // What is no request does not end it.
    let input = client.input.as_mut().unwrap();
    input.write_all(b"\n{\"jsonrpc\": nonsense\n[]\n\xff\xfe\n").unwrap();
    input.write_all(format!("{{\"x\": \"{}\"}}\n", "x".repeat(200_000)).as_bytes()).unwrap();
    drop(program);
    // What was read a moment ago may still be answered.
    let text = until("it is gone", || Some(client.call("overview", json!({}))).filter(|(_, is_error)| *is_error)).0;
    assert!(text.contains("list_processes") || text.contains("no Go program"), "{text}");
}

#[test]
fn a_call_that_is_cancelled_ends() {
    let program = live(&["idle"]);
    let mut client = Client::legacy(&["--pid", &program.pid().to_string()], "2025-11-25");
    let began = Instant::now();
    let id = client.request("tools/call", json!({"name": "watch_growth", "arguments": {"seconds": 10}}));
    std::thread::sleep(Duration::from_millis(300));
    client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}));
    drop(client.input.take());
    while client.child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(5), "it does not go on reading");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// However many goroutines there are in however many groups, an answer has the same size; and the rest can be had.
#[test]
fn what_is_cut_off_can_be_asked_for() {
    let program = live(&["many", "2000", "-kinds", "60"]);
    let mut client = Client::modern(&["--pid", &program.pid().to_string()]);
    let few = client.text("groups", json!({"max_tokens": 300}));
    assert!(tokens(&few) <= 300 && few.contains("offset="), "{few}");
    let (mut offset, mut rows, mut pages) = (0, 0, 0);
    let all: usize =
        few.lines().nth(1).unwrap().split(" in ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    loop {
        let page = client.text("groups", json!({"max_tokens": 300, "offset": offset}));
        rows += page.lines().filter(|line| line.contains(" × ")).count();
        pages += 1;
        match page.split("offset=").nth(1) {
            Some(next) => offset = next.split(' ').next().unwrap().parse().unwrap(),
            None => break,
        }
    }
    assert!(rows == all && pages > 1, "{rows} of {all} in {pages}");
    let stacks = client.text("goroutine", json!({"id": "1-100000", "max_tokens": 1_000_000}));
    assert!(tokens(&stacks) <= 6_000, "{}", stacks.len());
}

#[test]
fn what_grows_is_found() {
    let program = live(&["leak", "-rate", "50"]);
    let mut client = Client::modern(&["--pid", &program.pid().to_string()]);
    let grown = client.text("watch_growth", json!({"seconds": 2}));
    assert!(grown.contains("in every reading"), "{grown}");
    let mark = client.text("compare", json!({}));
    assert!(mark.contains("mark=m1 "), "{mark}");
    std::thread::sleep(Duration::from_millis(500));
    let since = client.text("compare", json!({"mark": "m1"}));
    assert!(since.lines().any(|line| line.starts_with('+')), "{since}");
}

/// A request to `/mcp`; its status, and what was answered.
fn post(server: &Server, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = server.send(request.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    // One event, or JSON.
    let data = body.lines().find_map(|line| line.strip_prefix("data: {").map(|rest| format!("{{{rest}")));
    (status, serde_json::from_str(data.as_deref().unwrap_or(body)).unwrap_or_default())
}

#[test]
fn the_server_answers_the_same_over_http() {
    let program = with_secrets("states");
    let server = Server::start(&["--pid", &program.pid().to_string()]);
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
    let (status, reply) = post(&server, &[], &hello);
    assert_eq!((status, &reply["result"]["protocolVersion"]), (200, &json!("2025-11-25")), "{reply}");
    let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(post(&server, &[("MCP-Protocol-Version", "2025-11-25")], &done).0, 202);
    let call = |name: &str, arguments: Value| {
        let params = json!({"name": name, "arguments": arguments});
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})
    };
    let (status, reply) = post(&server, &[("MCP-Protocol-Version", "2025-11-25")], &call("overview", json!({})));
    let text = reply["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{status} {reply}"));
    assert!(text.contains("Largest groups") && !text.contains("swordfish"), "{text}");
    let mut modern = call("groups", json!({}));
    modern["params"]["_meta"] = meta();
    let named = [("MCP-Protocol-Version", MODERN), ("Mcp-Method", "tools/call"), ("Mcp-Name", "groups")];
    let (status, reply) = post(&server, &named, &modern);
    assert!(status == 200 && reply["result"]["resultType"] == "complete", "{status} {reply}");
    // Headers that say something else than the body.
    let wrong = [("MCP-Protocol-Version", MODERN), ("Mcp-Method", "tools/list"), ("Mcp-Name", "groups")];
    assert_eq!(post(&server, &wrong, &modern).0, 400);
    assert_eq!(server.ask("GET", "/mcp", &[("Host", "localhost")]).status, 405);
    let refused = post(&server, &[("Origin", "http://evil.test")], &hello);
    assert_eq!(refused.0, 403);
    let large = json!({"jsonrpc": "2.0", "id": 1, "method": "x".repeat(70_000), "params": {}});
    assert_eq!(post(&server, &[], &large).0, 413);
    assert!(server.log().contains(" POST /mcp 200 "), "{}", server.log());
}
