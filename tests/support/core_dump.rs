//! Core files of fixtures, by the kernel and by gdb.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::Running;
use super::tools::need;

/// A command that may write a core file of any size into `dir`, which is its working directory.
pub fn with_core_limit(program: &Path, dir: &Path) -> Command {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    assert!(
        !pattern.starts_with('|') && !pattern.contains('/'),
        "the kernel gives core files to {:?} instead of writing them where the program runs; \
         these tests need `sysctl kernel.core_pattern=core`",
        pattern.trim()
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -c unlimited && exec \"$0\" \"$@\""]).arg(program).current_dir(dir);
    command
}

/// Waits for the end of a program that was started so, and for the core file that the kernel writes
/// of it; the text is what the program said on its standard error as it died.
pub fn killed_for_core(running: Running, dir: &Path) -> (PathBuf, String) {
    let (status, text) = running.wait();
    assert!(status.core_dumped(), "no core file: {status}\n{text}");
    (core_in(dir), text)
}

/// The core file in a directory, whatever its name is.
pub fn core_in(dir: &Path) -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("core")))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// A core file of a running process by gdb's `gcore`.
pub fn gcore(pid: i32, dir: &Path) -> PathBuf {
    let output = Command::new(need("gcore", "gdb")).arg("-o").arg(dir.join("gcore")).arg(pid.to_string()).output();
    let output = output.expect("gcore was there a moment ago");
    let path = dir.join(format!("gcore.{pid}"));
    assert!(path.exists(), "gcore failed: {}", String::from_utf8_lossy(&output.stderr));
    path
}
