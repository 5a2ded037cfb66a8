//! Core files, by the kernel and by gdb, against the live process.

use crate::snapshots::{assert_same_goroutines, difference, rest, snapshot};
use crate::support::core_dump::{gcore, killed_for_core, with_core_limit};
use crate::support::{Fixture, Mode, Running, VERSIONS, until};
use gospy::model::{Snapshot, StackState, Status};
use gospy::process::core::{CoreOptions, CoreTarget};
use gospy::process::live::LiveTarget;
use nix::sys::signal::Signal;

fn live(running: &Running) -> Snapshot {
    snapshot(Box::new(LiveTarget::open(running.pid()).unwrap()))
}

fn core(path: &std::path::Path) -> Snapshot {
    snapshot(Box::new(CoreTarget::open(path, &CoreOptions::default()).unwrap()))
}

fn start(program: &std::path::Path, dir: &std::path::Path, args: &[&str]) -> Running {
    let mut command = with_core_limit(program, dir);
    command.args(args).env("GOTRACEBACK", "crash");
    let mut running = Running::spawn(command);
    running.wait_ready();
    running.settle();
    running
}

/// Stops a program at a moment when one of its goroutines runs and none is about to: on a busy machine the
/// running one may just have been preempted, and a runnable one runs again before the process dies.
fn stopped_while_it_runs(running: &Running) -> Snapshot {
    until("a goroutine runs", || {
        running.stop();
        let live = live(running);
        let has = |status| live.goroutines.iter().any(|g| g.status == status);
        if has(Status::Running) && !has(Status::Runnable) {
            return Some(live);
        }
        running.cont();
        None
    })
}

/// A process that is stopped is the same to gdb and to us, but for what running goroutines do: only
/// a core file has their registers.
#[test]
fn gcore_of_a_stopped_process_is_the_process() {
    for version in VERSIONS {
        for mode in [Mode::Default, Mode::PieSw, Mode::Cgo] {
            let label = format!("{version} {}", mode.name());
            let dir = tempfile::tempdir().unwrap();
            let running = start(&Fixture::build("fx", version, mode), dir.path(), &["stacks", "2", "-busy", "1"]);
            let live = stopped_while_it_runs(&running);
            let core = core(&gcore(running.pid(), dir.path()));
            if let Some(text) = difference(&rest(&live), &rest(&core)) {
                panic!("{label}: {text}");
            }
            assert_same_goroutines(&label, &live, &core, |g| g.status != Status::Running);
            let running = || core.goroutines.iter().filter(|g| g.status == Status::Running);
            let exact = running().filter(|g| matches!(g.stack, StackState::Known(_)));
            assert!(exact.count() > 0, "{label}: no stack of {} running goroutines", running().count());
        }
    }
}

#[test]
fn a_core_by_the_kernel_has_the_goroutines_of_the_process() {
    for version in VERSIONS {
        for (mode, signal) in
            [(Mode::Default, Signal::SIGABRT), (Mode::Sw, Signal::SIGQUIT), (Mode::CgoPieSw, Signal::SIGABRT)]
        {
            let label = format!("{version} {}", mode.name());
            let dir = tempfile::tempdir().unwrap();
            let running = start(&Fixture::build("fx", version, mode), dir.path(), &["stacks", "2", "-busy", "1"]);
            let mut live = stopped_while_it_runs(&running);
            // A thread in C is hit by a signal before it dies, and its registers are the handler's.
            live.goroutines.iter_mut().for_each(|g| g.foreign = None);
            running.signal(signal);
            running.signal(Signal::SIGCONT);
            let (path, _) = killed_for_core(running, dir.path());
            let core = core(&path);
            assert_eq!(core.target.exe, live.target.exe, "{label}");
            assert_eq!(core.target.cmdline, live.target.cmdline, "{label}");
            assert_eq!(core.target.pid, live.target.pid, "{label}");
            assert_eq!(core.target.module, live.target.module, "{label}");
            assert_eq!(core.target.build_id, live.target.build_id, "{label}");
            let warnings: Vec<_> = core.warnings.iter().map(|w| w.code.name()).collect();
            assert_eq!(warnings, ["clock_unknown"], "{label} {:?}", core.warnings);
            // What runs, and who handles signals, moves on while the process dies.
            let stays = |g: &gospy::model::Goroutine| {
                let name = g.start.map_or("", |id| live.symbols.function(id));
                g.status != Status::Running && !name.starts_with("os/signal") && !g.status.is_dead() && !g.system
            };
            assert_same_goroutines(&label, &live, &core, stays);
        }
    }
}

/// What a goroutine did when a signal hit its thread, which ended the program.
#[test]
fn a_goroutine_that_dies_of_a_signal_has_its_stack() {
    for version in VERSIONS {
        let dir = tempfile::tempdir().unwrap();
        let program = Fixture::build("fx", version, Mode::Sw);
        let running = start(&program, dir.path(), &["states", "1", "-busy", "1"]);
        let live = stopped_while_it_runs(&running);
        let busy = live.goroutines.iter().find(|g| g.status == Status::Running).unwrap();
        let tid = live.thread_of(busy).unwrap().tid.unwrap();
        thread_signal(running.pid(), tid, Signal::SIGABRT);
        running.signal(Signal::SIGCONT);
        let core = core(&killed_for_core(running, dir.path()).0);
        let dead = core.goroutines.iter().find(|g| g.id == busy.id).unwrap();
        assert_eq!(dead.status, Status::Running, "{version}");
        let StackState::Known(stack) = dead.stack else { panic!("{version}: {:?}", dead.stack) };
        let frames = &core.symbols.stack(stack).unwrap().frames;
        let names: Vec<_> = frames.iter().map(|frame| core.symbols.function(frame.frame)).collect();
        // It computes, between two steps or in one, and at most calls what the compiler makes of that.
        let own = names.iter().position(|name| name.starts_with("main.")).unwrap_or(usize::MAX);
        let calls = names.iter().position(|name| *name == "main.busyCalls").unwrap_or(0);
        assert!(own <= 1 && own <= calls, "{version}: {names:?}");
        assert!(names[own..calls].iter().all(|name| *name == "main.busyStep"), "{version}: {names:?}");
        assert_eq!(names.get(calls + 1), Some(&"main.busy"), "{version}: {names:?}");
        assert_eq!(names.last(), Some(&"runtime.goexit"), "{version}");
    }
}

/// Sends a signal to one thread.
fn thread_signal(pid: i32, tid: i32, signal: Signal) {
    let tgkill = if cfg!(target_arch = "x86_64") { 234 } else { 131 };
    let script = format!("import ctypes; exit(ctypes.CDLL(None).syscall({tgkill}, {pid}, {tid}, {}))", signal as i32);
    assert!(std::process::Command::new("python3").args(["-c", &script]).status().unwrap().success());
}
