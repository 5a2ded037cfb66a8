//! Where the system refuses threads (`RLIMIT_NPROC`), answers are the same; a command that needs a thread or a process
//! of its own says that it was refused.

use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use portable_pty::CommandBuilder;
use serde_json::Value;

use crate::support::refusal::ERROR;
use crate::support::terminal::Terminal;
use crate::support::{Output, gospy, gospy_with, live, need};

/// More than are read on one thread anyway, and so many that their list is sorted in two halves.
const GOROUTINES: &str = "33000";

/// What `gospy run` ends with when it cannot start its command.
const NOT_STARTED: i32 = 125;

/// A command line that runs gospy where it may have no more threads than that, its first one included.
fn limited(most: u32, args: &[&str]) -> Vec<String> {
    need("prlimit", "util-linux");
    let mut words = Vec::new();
    if geteuid().is_root() {
        // RLIMIT_NPROC does not apply to root. This uid has no other processes, and the capabilities to read the target.
        need("setpriv", "util-linux");
        let id = (50_000 + std::process::id() % 10_000).to_string();
        let rights = "-all,+sys_ptrace,+dac_read_search";
        words.extend(
            ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--inh-caps", rights].map(str::to_owned),
        );
        words.extend(["--ambient-caps", rights].map(str::to_owned));
    }
    words.extend(["prlimit", &format!("--nproc={most}"), env!("CARGO_BIN_EXE_gospy")].map(str::to_owned));
    words.extend(args.iter().map(|arg| (*arg).to_owned()));
    words
}

fn with_threads(most: u32, args: &[&str]) -> Output {
    gospy_with(args, |command| {
        let words = limited(most, args);
        *command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    })
}

/// How many threads it may have. Where all of a user's count, there are more than one already.
fn limits() -> &'static [u32] {
    if geteuid().is_root() { &[1, 2, 3] } else { &[1] }
}

/// What an answer says of the program, without the time at which it was read.
fn said(mut answer: Value) -> Value {
    const OF_THE_TIME: [&str; 3] = ["captured_at", "reading", "target"];
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| !OF_THE_TIME.contains(&name.as_str()) && !name.ends_with("_ns"));
                fields.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut answer);
    answer
}

#[test]
fn answers_are_the_same() {
    let program = live(&["many", GOROUTINES]);
    // At rest, there is the same to say of it each time.
    kill(Pid::from_raw(program.pid()), Signal::SIGSTOP).unwrap();
    let pid = program.pid().to_string();
    let commands: [&[&str]; 4] = [
        &["summary", "--group", "--json", "--pid", &pid],
        &["stack", "--json", "--limit", "100", "--pid", &pid],
        &["leaks", "--json", "--pid", &pid],
        &["heap", "--objects", "--json", "--pid", &pid],
    ];
    for command in commands {
        let wanted = said(gospy(command).json());
        for most in limits() {
            let output = with_threads(*most, command);
            assert!(!output.stderr.contains("panicked"), "{most}, {command:?}: {}", output.stderr);
            let found = said(output.json());
            for (name, value) in wanted.as_object().unwrap() {
                assert!(found[name] == *value, "{most}, {command:?}: {name}: {} is not {value}", found[name]);
            }
        }
    }
}

#[test]
fn what_needs_threads_says_so() {
    let program = live(&["idle"]);
    let pid = program.pid().to_string();
    let socket = tempfile::tempdir().unwrap();
    // Where the user that it is for this test may make one.
    std::fs::set_permissions(socket.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let socket = format!("unix:{}/socket", socket.path().display());
    let commands: [(&[&str], i32, &str); 4] = [
        (&["summary", "--freeze=all", "--pid", &pid], ERROR, "stops the target"),
        (&["serve", "--pid", &pid, "--listen", &socket], ERROR, "cannot start the server"),
        (&["mcp", "--pid", &pid], ERROR, "cannot start the server"),
        (&["run", "--", "true"], NOT_STARTED, "signals cannot be waited for"),
    ];
    for (command, code, says) in commands {
        let output = with_threads(1, command);
        assert_eq!((output.code(), output.stdout.as_str()), (code, ""), "{output:?}");
        let message = output.stderr;
        assert!(
            message.contains(says) && message.contains("Resource temporarily unavailable"),
            "{command:?}: {message}"
        );
        assert!(!message.contains("panicked") && !message.contains("serving on"), "{command:?}: {message}");
    }
}

/// `top` gives the terminal back as it was, and then says why it ended.
#[test]
fn top_on_a_terminal_says_so() {
    let program = live(&["idle"]);
    let words = limited(1, &["top", "--pid", &program.pid().to_string()]);
    let mut command = CommandBuilder::new(&words[0]);
    command.args(&words[1..]);
    command.env("TERM", "xterm-256color");
    let mut terminal = Terminal::start(command);
    assert_eq!(terminal.end().exit_code(), u32::try_from(ERROR).unwrap(), "{}", terminal.text());
    let said = String::from_utf8_lossy(&terminal.log).into_owned();
    let (_, after) = said.rsplit_once("\x1b[?1049l").unwrap_or(("", &said));
    assert!(after.contains("Resource temporarily unavailable") && !said.contains("panicked"), "{said:?}");
    assert!(!terminal.screen.screen().alternate_screen(), "{said:?}");
}
