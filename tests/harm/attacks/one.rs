//! One attack: gospy is started, something happens to it, and it ends.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::counters::{Counters, Word};
use super::super::look::{eventually, held, number, program, status, threads, waited_for_cpu};
use super::super::random::Random;
use super::Typical;
use super::commands::Drive;
use super::confine::{MemoryGroup, SmallDisk, with_little_memory, with_short_files};
use super::files::{self, End};
use super::plan::{Attack, Fault, Kind};
use super::target::{STATUS, ended_as_told, ends_in, gostorm};

/// What gospy has to have ended after, whatever it does. What it does takes a second at most. The time in which it could
/// run and other processes had the CPUs does not count, up to four times that.
const HUNG: Duration = Duration::from_secs(60);

/// For how long gospy is in a group that has too little memory. The kernel takes its code away and reads it again, all
/// the time, and may need minutes to find that there is no end to it.
const STARVED: Duration = Duration::from_secs(5);

/// For how long a server serves that nothing else ends.
const SERVED: Duration = Duration::from_millis(400);

/// For how long a view is looked at that does not end by itself.
const VIEWED: Duration = Duration::from_secs(2);

/// What Rust's library says where a thread has started and there is no memory for its signal stack. Then it aborts.
const NO_STACK: &str = "failed to allocate an alternative stack";

/// Where attacks are carried out.
pub(crate) struct Place {
    pub(crate) disk: Option<SmallDisk>,
    pub(crate) group: Option<MemoryGroup>,
}

/// What came of one.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// It happened while gospy ran, or kept it from doing what it was to do.
    pub(crate) landed: bool,
    /// The target was stopped at that moment.
    pub(crate) amid_freeze: bool,
    /// gospy gave an answer.
    pub(crate) answered: bool,
    pub(crate) wrong: Vec<String>,
}

/// gospy, and what is connected with it.
struct Gospy {
    child: Child,
    /// What it says, if that is not a terminal's.
    errors: Option<std::thread::JoinHandle<String>>,
    terminal: Option<Terminal>,
}

/// The other end of its terminal, read all the time until it is closed.
struct Terminal {
    reader: std::thread::JoinHandle<String>,
    close: Arc<AtomicBool>,
    /// Has `q` pressed.
    quit: Arc<AtomicBool>,
}

/// A terminal, and its other end. What other threads start at this moment inherits neither.
fn terminal() -> (PtyMaster, File) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let mut slave = OpenOptions::new();
    slave.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits());
    let slave = slave.open(ptsname_r(&master).unwrap()).unwrap();
    (master, slave)
}

/// A program that has the terminal of its standard input.
fn on_terminal(program: &Path) -> Command {
    let mut command = Command::new("setsid");
    command.args(["--ctty", "sh", "-c", "stty rows 30 columns 100; exec \"$@\"", "sh"]).arg(program);
    command
}

impl Terminal {
    fn of(mut master: PtyMaster) -> Terminal {
        let (close, quit) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (closed, asked) = (Arc::clone(&close), Arc::clone(&quit));
        let reader = spawn(move || {
            let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
            while !closed.load(Ordering::Relaxed) {
                if asked.swap(false, Ordering::Relaxed) {
                    let _ = master.write_all(b"q");
                }
                let mut ready = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
                if poll(&mut ready, PollTimeout::from(5_u8)).unwrap_or(0) == 0 {
                    continue;
                }
                // EIO: all who had the terminal have ended.
                let Ok(count @ 1..) = master.read(&mut buffer) else { break };
                said.extend_from_slice(&buffer[..count]);
            }
            String::from_utf8_lossy(&said).into_owned()
        });
        Terminal { reader, close, quit }
    }

    fn close(self) -> String {
        self.close.store(true, Ordering::Relaxed);
        self.reader.join().unwrap()
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    spawn(move || {
        let mut said = Vec::new();
        let _ = pipe.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    })
}

/// An attack that is under way.
struct Run<'a> {
    attack: &'a Attack,
    /// The pid of the target, where it runs already.
    pid: i32,
    directory: &'a Path,
    place: &'a Place,
    typical: &'a Typical,
    random: Random,
    outcome: Outcome,
}

/// Carries one out on the process `pid`.
pub(crate) fn carry_out(attack: &Attack, pid: i32, place: &Place, typical: &Typical, random: Random) -> Outcome {
    let mut parent = tempfile::Builder::new();
    parent.prefix("attack");
    let small = place.disk.as_ref().filter(|_| attack.fault == Fault::DiskFull && attack.command.writes());
    let directory = match small {
        Some(disk) => parent.tempdir_in(disk.path()).unwrap(),
        None => parent.tempdir().unwrap(),
    };
    let mut run = Run { attack, pid, directory: directory.path(), place, typical, random, outcome: Outcome::default() };
    run.go();
    run.outcome
}

impl Run<'_> {
    fn wrong(&mut self, what: impl Into<String>) {
        self.outcome.wrong.push(what.into());
    }

    fn has_terminal(&self) -> bool {
        self.attack.fault == Fault::Hangup || self.attack.command.drive == Drive::Terminal
    }

    /// gospy, with what confines it.
    fn command(&mut self) -> Command {
        let starts = self.attack.command.drive == Drive::Starts;
        let mut command = match self.attack.fault {
            // The command that it starts would be confined with it.
            Fault::Memory if !starts => with_little_memory(program(), self.place.group.as_ref(), &mut self.random),
            Fault::DiskFull if self.attack.command.writes() && self.place.disk.is_none() && !starts => {
                with_short_files(program())
            }
            _ if self.has_terminal() => on_terminal(program()),
            _ => Command::new(program()),
        };
        command.args(self.attack.command.arguments(self.pid, self.directory.to_str().unwrap()));
        command
    }

    fn start(&mut self, mut command: Command) -> Gospy {
        if self.has_terminal() {
            let (master, slave) = terminal();
            let end = || Stdio::from(slave.try_clone().unwrap());
            command.env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end());
            if self.attack.command.drive == Drive::Messages {
                command.stdin(Stdio::piped());
            }
            let child = command.spawn().unwrap();
            return Gospy { child, errors: None, terminal: Some(Terminal::of(master)) };
        }
        let is_full = self.attack.fault == Fault::DiskFull && !self.attack.command.writes();
        let out = if is_full { File::create("/dev/full").unwrap().into() } else { Stdio::piped() };
        let input = if self.attack.command.drive == Drive::Messages { Stdio::piped() } else { Stdio::null() };
        let mut child = command.stdin(input).stdout(out).stderr(Stdio::piped()).spawn().unwrap();
        let errors = Some(drain(child.stderr.take().unwrap()));
        Gospy { child, errors, terminal: None }
    }

    fn go(&mut self) {
        let mut command = self.command();
        let own = (self.attack.command.drive == Drive::Starts).then(|| self.add_own_target(&mut command));
        let started = Instant::now();
        let mut gospy = self.start(command);
        let over = AtomicBool::new(false);
        let ended = std::thread::scope(|scope| {
            self.converse(scope, &mut gospy, &over);
            self.inject(&mut gospy, started, own.as_ref());
            let ended = self.await_end(&mut gospy, started);
            over.store(true, Ordering::Relaxed);
            ended
        });
        let Some(status) = ended else {
            let threads = threads(i32::try_from(gospy.child.id()).unwrap());
            let _ = gospy.child.kill();
            let _ = gospy.child.wait();
            return self.wrong(format!("gospy does not end within {HUNG:?}; its threads are {threads:?}"));
        };
        if !self.outcome.landed {
            self.typical.note(self.attack.command.name, started.elapsed());
        }
        if let Some(counters) = own {
            self.judge_own_target(&counters, status);
        }
        let on_terminal = gospy.terminal.take().map(Terminal::close);
        let said = gospy.errors.take().map(|errors| errors.join().unwrap()).or(on_terminal).unwrap_or_default();
        self.judge(status, &said);
    }

    /// What `gospy run` is to start: it ends by itself a while from now, and notices what it gets.
    fn add_own_target(&mut self, command: &mut Command) -> Counters {
        let counters = Counters::new();
        // With the sender of signals that counts them there would have to be one for each.
        let work = if self.attack.kind == Kind::Signals { "timers" } else { self.attack.kind.work() };
        command.arg(gostorm()).arg(work).arg(counters.path());
        if self.attack.kind == Kind::Filtered {
            command.env("GOSTORM_SECCOMP", "1");
        }
        ends_in(command, Duration::from_millis(200) + self.random.micros(400_000));
        counters
    }

    /// It ends as if gospy had not been there; and so does gospy, if it was not killed.
    fn judge_own_target(&mut self, counters: &Counters, status: ExitStatus) {
        if counters.get(Word::Progress) == 0 && counters.get(Word::Ended) == 0 {
            // gospy was killed before it had started it, or right then.
            if self.attack.fault == Fault::Nothing {
                self.wrong("the command does nothing");
            }
            return;
        }
        if let Some(why) = ended_as_told(counters) {
            self.wrong(format!("the command: {why}"));
        }
        let found = counters.found_wrong();
        if !found.is_empty() {
            self.wrong(format!("the command found wrong: {found:?}"));
        }
        if status.code().is_some_and(|code| code != STATUS) {
            self.wrong(format!("gospy ended with {status} and not as the command"));
        }
    }

    /// Clients of a server, and a client that sends messages.
    fn converse<'scope>(
        &self,
        scope: &'scope std::thread::Scope<'scope, '_>,
        gospy: &mut Gospy,
        over: &'scope AtomicBool,
    ) {
        match self.attack.command.drive {
            Drive::Server => {
                for first in 0..2 {
                    let (socket, pid) = (self.directory.join("socket"), self.pid);
                    scope.spawn(move || ask(&socket, pid, first, over));
                }
            }
            Drive::Messages => {
                let mut input = gospy.child.stdin.take().unwrap();
                // To its end it reads what there is, and the end of it; otherwise more, in which something happens.
                let length = if self.attack.fault == Fault::Nothing { Duration::ZERO } else { SERVED };
                scope.spawn(move || {
                    let started = Instant::now();
                    loop {
                        let sent = messages().iter().try_for_each(|message| writeln!(input, "{message}"));
                        if sent.is_err() || over.load(Ordering::Relaxed) || started.elapsed() >= length {
                            return;
                        }
                        sleep(Duration::from_millis(50));
                    }
                });
            }
            Drive::Plain | Drive::Terminal | Drive::Starts => {}
        }
    }

    /// Has it happen, at a random moment or, for one that stops its target, amid that.
    fn inject(&mut self, gospy: &mut Gospy, started: Instant, own: Option<&Counters>) {
        let moment = self.random.micros(self.typical.of(self.attack.command.name));
        let signal = match self.attack.fault {
            Fault::Kill => Signal::SIGKILL,
            Fault::Term => Signal::SIGTERM,
            Fault::Int => Signal::SIGINT,
            Fault::Hangup => {
                sleep(moment.saturating_sub(started.elapsed()));
                self.outcome.landed = gospy.child.try_wait().unwrap().is_none();
                self.outcome.amid_freeze = self.tracer().is_some();
                let said = gospy.terminal.take().map(Terminal::close).unwrap_or_default();
                gospy.errors = Some(spawn(|| said));
                return;
            }
            Fault::Pipe => {
                let Some(mut out) = gospy.child.stdout.take() else { return };
                // A server's output has nothing to wait for.
                if self.attack.command.drive == Drive::Server || self.random.once_in(2) {
                    sleep(moment.saturating_sub(started.elapsed()));
                } else {
                    let mut some = vec![0; usize::try_from(self.random.below(3000)).unwrap()];
                    let _ = out.read(&mut some);
                }
                drop(out);
                self.outcome.landed = gospy.child.try_wait().unwrap().is_none();
                return;
            }
            Fault::Memory => {
                if let Some(own) = own {
                    self.take_memory_away(gospy, own, moment);
                }
                return;
            }
            Fault::Nothing | Fault::DiskFull => return,
        };
        if self.attack.command.stops() && own.is_none() && !self.random.once_in(3) {
            // The main thread is stopped with the others, and quickly asked.
            let stands = || number(self.pid, "TracerPid").is_some_and(|tracer| tracer != 0);
            while !stands() && gospy.child.try_wait().unwrap().is_none() && started.elapsed() < HUNG {
                sleep(Duration::from_micros(100));
            }
            sleep(self.random.micros(1500));
        } else {
            sleep(moment.saturating_sub(started.elapsed()));
        }
        let tracer = self.tracer();
        self.outcome.amid_freeze = tracer.is_some();
        let gospy_pid = i32::try_from(gospy.child.id()).unwrap();
        let whom = match tracer {
            Some(tracer) if signal == Signal::SIGKILL && self.random.once_in(4) => tracer,
            _ => gospy_pid,
        };
        self.outcome.landed = gospy.child.try_wait().unwrap().is_none();
        // ESRCH: it ended a moment ago.
        let _ = kill(Pid::from_raw(whom), signal);
        if whom != gospy_pid {
            self.outcome.landed = true;
        }
    }

    /// Of a process that runs, when it has started its command: what it starts later would have the same limit.
    fn take_memory_away(&mut self, gospy: &mut Gospy, own: &Counters, moment: Duration) {
        eventually(|| own.get(Word::Progress) > 0);
        sleep(moment);
        if gospy.child.try_wait().unwrap().is_none() {
            let pid = gospy.child.id().to_string();
            let limit = format!("--as={}", self.random.below(300 << 20));
            let done = Command::new("prlimit").args(["--pid", &pid, &limit]).output();
            self.outcome.landed = done.expect("prlimit is needed for this test").status.success();
        }
    }

    /// The process of this gospy's, or of another one's, that has the target now.
    fn tracer(&self) -> Option<i32> {
        let of_leader = number(self.pid, "TracerPid").filter(|&tracer| tracer != 0);
        let of_any = || held(self.pid).iter().map(|thread| thread.tracer).find(|&tracer| tracer != 0);
        let tracer = of_leader.or_else(of_any)?;
        (status(tracer, "Name")? == "gospy-freeze").then(|| number(tracer, "Tgid"))?
    }

    fn await_end(&mut self, gospy: &mut Gospy, started: Instant) -> Option<ExitStatus> {
        // Read, so that it can go on; what it says is of no matter here.
        let out = gospy.child.stdout.take().map(drain);
        let (mut told, mut starved) = (false, STARVED);
        let ended = loop {
            if let Some(status) = gospy.child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > HUNG && started.elapsed() > HUNG + waited_for_cpu(gospy.child.id()).min(4 * HUNG) {
                return None;
            }
            if self.attack.fault == Fault::Memory && started.elapsed() > starved {
                // With enough it has to come to its end. An attack at the same time may have taken it away again.
                self.outcome.landed |= self.place.group.as_ref().is_some_and(|group| group.relieve(gospy.child.id()));
                starved += Duration::from_secs(1);
            }
            // A server ends when it is told to, and so does a view of a program that has ended.
            if !told && started.elapsed() > SERVED && self.attack.command.drive == Drive::Server {
                let _ = kill(Pid::from_raw(i32::try_from(gospy.child.id()).unwrap()), Signal::SIGTERM);
                told = true;
            } else if !told && started.elapsed() > VIEWED {
                if let Some(terminal) = &gospy.terminal {
                    terminal.quit.store(true, Ordering::Relaxed);
                }
                told = true;
            }
            sleep(Duration::from_millis(1));
        };
        if let Some(out) = out.filter(|_| self.attack.command.drive != Drive::Starts) {
            self.outcome.answered = !out.join().unwrap().is_empty();
        }
        Some(ended)
    }

    /// How it ended, what it said, and what it left.
    fn judge(&mut self, status: ExitStatus, said: &str) {
        let fault = self.attack.fault;
        if matches!(fault, Fault::Memory | Fault::DiskFull) && self.attack.command.drive != Drive::Starts {
            self.outcome.landed |= !status.success();
        }
        let has_no_stack = fault == Fault::Memory && said.contains(NO_STACK);
        if said.contains("panicked") && !has_no_stack {
            self.wrong(format!("gospy panicked ({status}): {said}"));
        }
        let by_signal = status.signal().and_then(|signal| Signal::try_from(signal).ok());
        let fair = match (by_signal, fault) {
            (Some(Signal::SIGKILL), Fault::Kill | Fault::Memory) | (Some(Signal::SIGABRT), Fault::Memory) => true,
            // What the kernel cannot start for want of memory.
            (Some(Signal::SIGSEGV | Signal::SIGBUS), Fault::Memory) => said.is_empty(),
            (Some(Signal::SIGTERM), Fault::Term) | (Some(Signal::SIGINT), Fault::Int) => true,
            (Some(Signal::SIGTERM), _) => self.attack.command.drive == Drive::Server,
            (Some(Signal::SIGHUP), Fault::Hangup) => true,
            (Some(_), _) => false,
            // 2 is a wrong command line, 4 missing permission: neither is true.
            (None, Fault::Memory) => !matches!(status.code(), Some(2)),
            (None, _) => {
                let code = status.code().unwrap();
                matches!(code, 0 | 1 | 3 | 5 | 7 | 8) || self.attack.command.drive == Drive::Starts
            }
        };
        if !fair {
            self.wrong(format!("gospy ended with {status}: {said}"));
        }
        // A server that has not answered yet may not have got as far as to wait for signals.
        let is_early = self.attack.command.drive == Drive::Server && by_signal.is_some() && !said.contains(" GET ");
        let at_once =
            is_early || matches!(by_signal, Some(Signal::SIGKILL | Signal::SIGABRT | Signal::SIGSEGV | Signal::SIGBUS));
        let is_success = status.success() && self.attack.command.writes();
        self.outcome.answered |= status.success();
        for wrong in files::examine(self.directory, End { at_once, is_success }) {
            self.wrong(format!("{wrong} (gospy ended with {status}: {said})"));
        }
    }
}

/// Asks a server for one thing after the other.
fn ask(socket: &Path, pid: i32, first: usize, over: &AtomicBool) {
    const PATHS: [&str; 6] = [
        "/pid/PID/metrics",
        "/pid/PID/debug/pprof/goroutine?debug=2",
        "/api/v1/pid/PID/leaks",
        "/pid/PID/debug/pprof/heap",
        "/api/v1/pid/PID/summary",
        "/pid/PID/page.json",
    ];
    for path in PATHS.iter().cycle().skip(first * PATHS.len() / 2) {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let Ok(mut stream) = UnixStream::connect(socket) else {
            sleep(Duration::from_millis(2));
            continue;
        };
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let path = path.replace("PID", &pid.to_string());
        let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

/// What an assistant asks.
fn messages() -> Vec<serde_json::Value> {
    let meta = serde_json::json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    });
    let call = |(id, name): (usize, &&str)| {
        let params = serde_json::json!({"name": name, "arguments": {}, "_meta": meta});
        serde_json::json!({"jsonrpc": "2.0", "id": id + 1, "method": "tools/call", "params": params})
    };
    ["overview", "groups", "waits"].iter().enumerate().map(call).collect()
}
