//! Running the `gospy` program itself.

use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The exit status; a death by signal is a panic.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("gospy died: {self:?}"))
    }

    /// The standard output of a run that had to succeed.
    pub fn ok(self) -> String {
        assert!(self.status.success(), "gospy failed ({}):\n{}", self.status, self.stderr);
        self.stdout
    }

    /// The standard output of a run that had to succeed, as JSON.
    pub fn json(self) -> serde_json::Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }
}

/// Runs `gospy` with these arguments, its input empty and its outputs not terminals.
pub fn gospy(args: &[&str]) -> Output {
    gospy_with(args, |_| ())
}

/// As `gospy`, with a last say over the command (variables, directory).
pub fn gospy_with(args: &[&str], adjust: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gospy"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // What decides on colours must not depend on who runs the tests.
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "COLUMNS", "GITHUB_ACTIONS"] {
        command.env_remove(name);
    }
    adjust(&mut command);
    let mut child = command.spawn().unwrap();
    let stdout = drain(child.stdout.take().unwrap());
    let stderr = drain(child.stderr.take().unwrap());
    let deadline = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("gospy {args:?} did not end within {DEADLINE:?}");
        }
        sleep(Duration::from_millis(2));
    };
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn drain(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    })
}
