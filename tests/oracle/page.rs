//! The page in a real browser: it shows what is there, live too; asks no other host; and pages of other sites get
//! nothing. Set `GOSPY_SHOTS` to a directory to keep pictures of it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::deaths;
use crate::support::server::{Server, fetch, token_file};
use crate::support::{Fixture, Mode, gospy, need};

/// A headless browser.
struct Browser {
    driver: Child,
    steps: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Browser {
    fn start() -> Browser {
        let driver = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/browser.js");
        let mut driver = Command::new(need("node", "nodejs"))
            .arg(driver)
            .arg(need("chromium-headless-shell", "chromium-headless-shell"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (steps, answers) = (driver.stdin.take(), BufReader::new(driver.stdout.take().unwrap()));
        let mut browser = Browser { driver, steps, answers };
        browser.size(1280, 900, false);
        browser
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["error"], Value::Null, "{answer}");
        answer
    }

    fn step(&mut self, step: Value) -> Value {
        writeln!(self.steps.as_mut().unwrap(), "{step}").unwrap();
        self.answer()
    }

    fn size(&mut self, width: u32, height: u32, dark: bool) {
        self.step(json!({"do": "size", "width": width, "height": height, "dark": dark}));
    }

    fn go(&mut self, url: &str) {
        assert_eq!(self.step(json!({"do": "go", "url": url})), Value::Null, "{url}");
    }

    /// Waits until an expression of JavaScript is true, and gives it.
    fn until(&mut self, script: &str) -> Value {
        let value = self.step(json!({"do": "until", "script": script}));
        assert!(!value.is_null(), "never true: {script}");
        value
    }

    fn evaluate(&mut self, script: &str) -> Value {
        self.step(json!({"do": "evaluate", "script": script}))
    }

    fn keys(&mut self, keys: &[&str]) {
        for key in keys {
            self.step(json!({"do": "key", "key": key}));
        }
    }

    fn shot(&mut self, name: &str) {
        if let Some(directory) = std::env::var_os("GOSPY_SHOTS") {
            self.step(json!({"do": "shot", "file": PathBuf::from(directory).join(name)}));
        }
    }

    /// What the console complained about, and the addresses that were asked for.
    fn end(mut self) -> (Vec<String>, Vec<String>) {
        drop(self.steps.take());
        let log = self.answer();
        self.driver.wait().unwrap();
        let texts = |key: &str| -> Vec<String> { serde_json::from_value(log[key].clone()).unwrap() };
        (texts("console"), texts("requests"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.steps.take());
        // It ends the browser when its input ends, and itself then.
        let _ = self.driver.wait();
    }
}

const ROWS: &str = "document.querySelectorAll('#main tr.group').length";

/// The views that a page has, each with something that has to be in it.
fn look_around(browser: &mut Browser, name: &str) {
    browser.until(ROWS);
    browser.keys(&["j", "Enter"]);
    let stack =
        browser.until("!document.getElementById('detail').hidden && document.querySelector('ol.stack').textContent");
    assert!(stack.as_str().unwrap().contains("main."), "{stack}");
    browser.shot(&format!("{name}-groups.png"));
    browser.keys(&["Escape", "2"]);
    browser.until("document.querySelectorAll('.flame .cell').length > 10");
    browser.shot(&format!("{name}-flame.png"));
    browser.evaluate("document.querySelectorAll('.flame .row')[3].querySelector('.cell').click()");
    browser.until("document.querySelectorAll('.flame .row')[3].querySelectorAll('.cell').length === 1");
    browser.keys(&["3"]);
    browser.until("document.querySelectorAll('#main svg rect').length > 3");
    browser.shot(&format!("{name}-waits.png"));
    browser.keys(&["4"]);
    browser.until("document.querySelectorAll('#main table').length === 2");
    browser.keys(&["5"]);
    browser.until("document.querySelector('#main dl dd').textContent.includes('iB')");
    browser.keys(&["1", "?"]);
    browser.until("document.getElementById('keys').open");
    browser.evaluate("document.getElementById('keys').close()");
}

#[test]
fn a_page_shows_a_program_live() {
    let mut program = Fixture::start("fx", "1.26.6", Mode::Sw, &["many", "2000"]);
    program.settle();
    let server = Server::start(&["--pid", &program.pid().to_string()]);
    let mut browser = Browser::start();
    browser.go(&format!("http://{}/", server.address));
    browser.until("document.querySelectorAll('#main tbody tr').length === 1");
    assert_eq!(browser.evaluate("getComputedStyle(document.getElementById('tabs')).display"), "none");
    browser.evaluate("document.querySelector('#main tbody tr').click()");
    look_around(&mut browser, "live");
    // The filter is that of the command line, and the server's.
    browser.evaluate("const f = document.getElementById('filter'); f.value = 'state=waiting and reason=select'; f.dispatchEvent(new Event('change'))");
    browser.until("[...document.querySelectorAll('td.state')].every((cell) => cell.textContent === 'select')");
    browser.evaluate("document.getElementById('filter').value = 'nonsense=('; document.getElementById('filter').dispatchEvent(new Event('change'))");
    browser.until("document.getElementById('notice').textContent.length > 5");
    browser.evaluate("document.getElementById('filter').value = ''; document.getElementById('filter').dispatchEvent(new Event('change'))");
    browser.until("document.getElementById('notice').textContent === ''");
    // Live: what is read later is shown without being asked for.
    browser.until("document.getElementById('facts').textContent.includes('2,0')");
    browser.keys(&["l"]);
    browser.until("page.tick !== null");
    let length = browser.evaluate("JSON.stringify(page.tick).length");
    assert!(length.as_u64().unwrap() <= 10 * 1024, "{length}");
    browser.keys(&["5"]);
    browser.until("document.querySelectorAll('#main svg polyline').length > 1");
    browser.shot("live-heap.png");
    browser.keys(&["1", "m"]);
    browser.until("document.querySelector('#main th.number + th.number').textContent === 'growth'");
    for (width, dark) in [(1280, true), (400, false), (400, true)] {
        browser.size(width, 800, dark);
        assert_eq!(browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), true, "{width}");
        browser.shot(&format!("live-{width}-{dark}.png"));
    }
    drop(program);
    browser.until("document.getElementById('notice').textContent.includes('ended')");
    let (console, requests) = browser.end();
    // The nonsense was refused, and a browser writes that down.
    let refused = |line: &&String| !line.contains("400 (Bad Request)");
    assert_eq!(console.iter().filter(refused).collect::<Vec<_>>(), Vec::<&String>::new());
    for request in requests {
        assert!(
            request.starts_with(&format!("http://{}/", server.address)) || request.starts_with("data:"),
            "{request}"
        );
    }
}

/// Of very many goroutines, a page gets no more than of a few.
#[test]
fn very_many_goroutines_are_few_bytes() {
    let mut program = Fixture::start("fx", "1.26.6", Mode::Sw, &["many", "20000"]);
    program.settle();
    let server = Server::start(&["--pid", &program.pid().to_string()]);
    let document = fetch(&server.address, &format!("/pid/{}/page.json", program.pid())).text();
    assert!(document.contains("\"total\":200"), "all of them: {document:.400}");
    assert!(document.len() <= 300_000, "{}", document.len());
    let mut stream = TcpStream::connect(&server.address).unwrap();
    write!(stream, "GET /pid/{}/live HTTP/1.0\r\nHost: localhost\r\n\r\n", program.pid()).unwrap();
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let ticks = lines.filter_map(|line| line.strip_prefix("data: ").map(str::len));
    let lengths: Vec<usize> = ticks.take(2).collect();
    assert!(lengths.len() == 2 && lengths.iter().all(|length| *length <= 10 * 1024), "{lengths:?}");
    println!("page.json {} bytes, ticks {lengths:?} bytes", document.len());
}

#[test]
fn a_page_is_one_file_without_a_network() {
    let directory = tempfile::tempdir().unwrap();
    let mut program = Fixture::start("fx", "1.19", Mode::Sw, &["many", "500"]);
    program.settle();
    let (file, capture) = (directory.path().join("page.html"), directory.path().join("capture"));
    let pid = program.pid().to_string();
    gospy(&["capture", "--pid", &pid, "-o", capture.to_str().unwrap()]).ok();
    gospy(&["summary", "--pid", &pid, "--html", file.to_str().unwrap()]).ok();
    let mut browser = Browser::start();
    browser.go(&format!("file://{}", file.display()));
    look_around(&mut browser, "file");
    // From a capture, the same.
    let later = directory.path().join("later.html");
    gospy(&["summary", "--from", capture.to_str().unwrap(), "--html", later.to_str().unwrap()]).ok();
    browser.go(&format!("file://{}", later.display()));
    browser.until(ROWS);
    browser.evaluate("document.getElementById('filter').value = 'manyselect'; document.getElementById('filter').dispatchEvent(new Event('input'))");
    browser.until("document.querySelectorAll('td.state').length > 0 && [...document.querySelectorAll('td.state')].every((cell) => cell.textContent === 'select')");
    // Of a core file, with why its program died.
    let died = directory.path().join("died.html");
    let core = deaths::die("1.26.6", Mode::Sw, "error", None);
    gospy(&["summary", "--from", core.core(), "--html", died.to_str().unwrap()]).ok();
    browser.go(&format!("file://{}", died.display()));
    browser.until("document.body.textContent.includes('It died: ')");
    let (console, requests) = browser.end();
    assert_eq!(console, Vec::<String>::new());
    assert!(requests.iter().all(|request| request.starts_with("file:")), "{requests:?}");
}

/// A page of another site cannot ask, under whatever name it reaches the server.
#[test]
fn pages_of_other_sites_get_nothing() {
    let program = Fixture::start("tiny", "1.26.6", Mode::Sw, &[]);
    let server = Server::start(&["--pid", &program.pid().to_string()]);
    let other = Server::start(&["--pid", &program.pid().to_string()]);
    let port = server.address.rsplit(':').next().unwrap();
    let mut browser = Browser::start();
    // The name of another site that leads here (DNS rebinding).
    browser.go(&format!("http://evil.test:{port}/"));
    let text = browser.until("document.body.textContent");
    assert!(text.as_str().unwrap().contains("--allow-host"), "{text}");
    // A page of another origin.
    browser.go(&format!("http://{}/", other.address));
    for mode in ["cors", "no-cors"] {
        let script = format!(
            "fetch('http://{}/pid/{}/page.json', {{ mode: '{mode}' }}).then((reply) => reply.status, (error) => 'refused')",
            server.address,
            program.pid()
        );
        let got = browser.evaluate(&script);
        assert!(got == "refused" || got == 0, "{mode}: {got}");
    }
    browser.end();
    let log = server.log();
    assert!(log.lines().all(|line| line.contains(" 403 ")), "{log}");
}

/// Where the token is needed, a browser comes in by a link, once.
#[test]
fn a_browser_comes_in_by_a_link() {
    crate::support::need_root();
    let program = Fixture::start("tiny", "1.26.6", Mode::Sw, &[]);
    let directory = tempfile::tempdir().unwrap();
    let token = "0123456789abcdef0123456789abcdef";
    let file = token_file(directory.path(), token);
    let server = Server::start(&["--pid", &program.pid().to_string(), "--token-file", file.to_str().unwrap()]);
    let link = server.body("/link");
    let (setpriv, curl) = (need("setpriv", "util-linux"), need("curl", "curl"));
    let jar = std::env::temp_dir().join(format!("gospy-cookies-{}", std::process::id()));
    let as_nobody = |url: &str| {
        let mut command = Command::new(&setpriv);
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&curl);
        command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-b"]).arg(&jar).arg("-c").arg(&jar).arg(url);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let page = format!("http://{}/", server.address);
    let link = link.trim().replace("localhost", &server.address);
    assert_eq!((as_nobody(&page), as_nobody(&link), as_nobody(&page)), ("401".into(), "303".into(), "200".into()));
    std::fs::remove_file(&jar).unwrap();
    assert_eq!((as_nobody(&link), as_nobody(&page)), ("401".into(), "401".into()), "once");
    let _ = std::fs::remove_file(&jar);
    let code = link.rsplit('=').next().unwrap();
    assert!(!server.log().contains(code), "{}", server.log());
}
