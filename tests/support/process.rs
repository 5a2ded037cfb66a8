//! A started program: its commands, its signals, and its certain end.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const READY: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(120);
const EXIT: Duration = Duration::from_secs(120);

/// A child that is no fixture, killed and reaped when dropped.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A child process, killed and reaped when dropped.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    /// What the program said with `ready`; `Null` before.
    pub ready: Value,
}

impl Running {
    pub fn spawn(mut command: Command) -> Running {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        let stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let stdin = child.stdin.take();
        let (sender, lines) = channel();
        spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        // Drained all the time: a full pipe would stop the program amid its dump.
        let stderr = spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            text
        });
        Running { child, stdin, lines, stderr: Some(stderr), ready: Value::Null }
    }

    /// Waits for the line `ready {..}`.
    pub fn wait_ready(&mut self) {
        assert!(self.is_ready_within(READY), "not ready within {READY:?}");
    }

    /// Waits for the line `ready {..}`, but not for ever.
    pub fn is_ready_within(&mut self, limit: Duration) -> bool {
        let line = match self.lines.recv_timeout(limit) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => self.ended_instead_of("ready"),
        };
        let json = line.strip_prefix("ready ").unwrap_or_else(|| panic!("not ready but {line:?}"));
        self.ready = serde_json::from_str(json).unwrap();
        true
    }

    /// Waits until one of its threads is in a read of its standard input, which is where a fixture that has
    /// said `ready` goes next.
    pub fn wait_until_it_reads(&self) {
        // The number of the system call and its first argument, as /proc has them.
        let read_of_input = if cfg!(target_arch = "x86_64") { "0 0x0 " } else { "63 0x0 " };
        let deadline = Instant::now() + READY;
        loop {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().flatten();
            let mut calls = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("syscall")).ok());
            if calls.any(|call| call.starts_with(read_of_input)) {
                return;
            }
            assert!(Instant::now() < deadline, "it does not read its standard input");
            sleep(Duration::from_millis(1));
        }
    }

    /// Waits until a fixture that has said `ready` is at rest: it may not be done with saying so, and a
    /// collection may be under way that looks into all stacks; after this one there is none.
    pub fn settle(&mut self) {
        self.ask("gc");
        self.wait_until_it_reads();
    }

    /// Has a language server answer its first request, which is when it is settled.
    pub fn greet_language_server(&mut self) {
        const HELLO: &str = concat!(
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":"#,
            r#"{"processId":null,"rootUri":null,"capabilities":{}}}"#
        );
        // The line's end counts as a part of the JSON.
        self.send(&format!("Content-Length: {}\r\n\r\n{HELLO}", HELLO.len() + 1));
        let line = self.line(READY, "initialize");
        assert!(line.starts_with("Content-Length: "), "{line:?}");
    }

    /// Sends a language server a request for what there is not, and waits until it has said something.
    pub fn ask_language_server(&mut self) {
        const NOTHING: &str = r#"{"jsonrpc":"2.0","id":2,"method":"nothing","params":{}}"#;
        self.send(&format!("Content-Length: {}\r\n\r\n{NOTHING}", NOTHING.len() + 1));
        // Messages have no end of their own: the next one's head follows on the same line.
        while !self.line(ANSWER, "nothing").contains("Content-Length: ") {}
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Sends one command and returns the answer.
    pub fn ask(&mut self, command: &str) -> Value {
        self.send(command);
        let line = self.line(ANSWER, command);
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("the answer to {command:?} is no JSON: {error}"))
    }

    /// Sends a line to the program's standard input.
    pub fn send(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("its standard input was closed");
        stdin.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdin.flush()).unwrap();
    }

    fn line(&mut self, within: Duration, what: &str) -> String {
        match self.lines.recv_timeout(within) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("no answer to {what:?} within {within:?}"),
            Err(RecvTimeoutError::Disconnected) => self.ended_instead_of(what),
        }
    }

    fn ended_instead_of(&mut self, what: &str) -> ! {
        let _ = self.child.kill();
        let status = self.child.wait();
        panic!("the program ended ({status:?}) instead of {what:?}:\n{}", self.take_stderr())
    }

    /// SIGSTOP; returns when all of its threads have stopped.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        self.wait_for_state(|state| state == 'T');
    }

    /// SIGCONT.
    pub fn cont(&self) {
        self.signal(Signal::SIGCONT);
        self.wait_for_state(|state| state != 'T');
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    fn wait_for_state(&self, wanted: impl Fn(char) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.thread_states().into_iter().all(&wanted) {
            assert!(Instant::now() < deadline, "threads are {:?}", self.thread_states());
            sleep(Duration::from_millis(1));
        }
    }

    /// The kernel's state letter of each thread.
    pub fn thread_states(&self) -> Vec<char> {
        std::fs::read_dir(format!("/proc/{}/task", self.pid()))
            .unwrap()
            .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok())
            // The name before it, in parentheses, may contain anything.
            .filter_map(|stat| stat.rsplit_once(") ")?.1.chars().next())
            .collect()
    }

    /// Sends SIGQUIT, on which a Go program prints all its goroutines and dies, and returns
    /// what it wrote to its standard error. A stopped program is continued by that: the
    /// signal is put in line before it gets to run anything else.
    pub fn sigquit_dump(mut self) -> String {
        self.signal(Signal::SIGQUIT);
        self.signal(Signal::SIGCONT);
        self.wait_exit();
        self.take_stderr()
    }

    /// Waits for its end; returns the exit status and what was written to standard error.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let status = self.wait_exit();
        (status, self.take_stderr())
    }

    /// Sends `quit` and returns the exit status and what was written to standard error.
    pub fn quit(mut self) -> (ExitStatus, String) {
        self.send("quit");
        self.stdin = None;
        let status = self.wait_exit();
        (status, self.take_stderr())
    }

    /// Waits for its end, but not for ever.
    pub fn has_ended_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.child.try_wait().unwrap().is_none() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(Duration::from_millis(5));
        }
        true
    }

    /// How it ended, if it does so in time.
    pub fn end_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.has_ended_within(limit).then(|| self.child.wait().unwrap())
    }

    fn wait_exit(&mut self) -> ExitStatus {
        assert!(self.has_ended_within(EXIT), "the program did not end within {EXIT:?}");
        self.child.wait().unwrap()
    }

    fn take_stderr(&mut self) -> String {
        let text = self.stderr.take().map(|thread| thread.join().unwrap()).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
