//! Tests with real children.

use super::*;
use crate::process::TargetExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::FromRead;
use std::process::{Child, Command, Stdio};

/// A child that is killed at the end of its test.
struct Killed(Child);

impl Killed {
    fn sleeping() -> Self {
        let child = Self(Command::new("sleep").arg("1000").spawn().unwrap());
        child.wait_for_exec("sleep");
        child
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn wait_for_exec(&self, name: &str) {
        // The name changes early in execve; once it sleeps, it runs its own code.
        let stat = || ProcDir::open(self.pid()).unwrap().stat().unwrap();
        wait_until(|| stat().comm == name && stat().state == 'S');
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed().as_secs() < 20, "waited for too long");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap()
}

#[test]
fn describes_a_process_and_reads_it() {
    let child = Killed::sleeping();
    let target = LiveTarget::open(child.pid()).unwrap();
    let process = target.process();
    assert_eq!(process.pid, child.pid());
    assert!(!process.exe.is_empty() && !process.exe_deleted);
    assert_eq!(process.cmdline, ["sleep", "1000"]);
    assert_eq!(process.uid, Some(nix::unistd::getuid().as_raw()));
    // The kernel's value is approximate, and may be 0 for a small process.
    assert!(process.rss_bytes.is_some());
    assert!(process.cpu_ns.unwrap() < 10_000_000_000);
    assert_eq!(target.backend(), Backend::ProcessVmReadv);
    assert_eq!(target.arch().unwrap().name(), if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" });

    let threads = target.threads().unwrap();
    assert_eq!(threads.len(), 1);
    assert_eq!((threads[0].tid, threads[0].name.as_str()), (child.pid(), "sleep"));

    // The image's first page in memory equals the file's first page.
    let maps = target.mappings().unwrap();
    assert!(maps.is_sorted_by_key(|map| map.start));
    let image = maps.iter().find(|map| map.offset == 0 && map.inode != 0 && map.path == process.exe).unwrap();
    let in_memory = target.read_vec(image.start, 4096).unwrap().unwrap();
    assert!(in_memory.starts_with(b"\x7fELF"));
    for file in [target.executable().unwrap(), target.mapped_file(image).unwrap()] {
        let mut page = vec![0; 4096];
        assert_eq!(file.read_at(0, &mut page).unwrap(), 4096);
        assert_eq!(page, in_memory);
    }
    let by_path = target.by_path(image).unwrap();
    assert_eq!(by_path.device_and_inode().unwrap().1, image.inode);

    // AT_PHDR points into the image.
    let phdr = target.auxv().into_iter().find(|&(key, _)| key == 3).unwrap().1;
    assert!(maps.iter().any(|map| map.path == process.exe && (map.start.0..map.end.0).contains(&phdr)));
    assert!(target.stats().syscalls >= 2 && target.stats().bytes >= 4096);
    assert!(target.still_the_same());
}

#[test]
fn a_mapping_whose_path_names_another_file_is_refused() {
    let child = Killed::sleeping();
    let target = LiveTarget::open(child.pid()).unwrap();
    let maps = target.mappings().unwrap();
    let image = maps.iter().find(|map| map.path == target.process().exe).unwrap();
    let other_inode = Mapping { inode: image.inode + 1, ..image.clone() };
    let deleted = Mapping { deleted: true, ..image.clone() };
    let stack = maps.iter().find(|map| map.path == "[stack]").unwrap().clone();
    for mapping in [other_inode, deleted, stack] {
        assert_eq!(target.by_path(&mapping).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

#[test]
fn a_deleted_executable_is_still_readable() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("prog ram");
    std::fs::copy(which("sleep"), &program).unwrap();
    // Another thread that forks may briefly hold the copy open for writing.
    let mut spawned = None;
    wait_until(|| {
        spawned = Command::new(&program).arg("1000").spawn().ok();
        spawned.is_some()
    });
    let child = Killed(spawned.unwrap());
    child.wait_for_exec("prog ram");
    let expected = std::fs::read(&program).unwrap();
    std::fs::remove_file(&program).unwrap();
    let target = LiveTarget::open(child.pid()).unwrap();
    assert!(target.process().exe_deleted);
    assert_eq!(target.process().exe, program.to_str().unwrap());
    let mut bytes = vec![0; expected.len() + 1];
    assert_eq!(target.executable().unwrap().read_at(0, &mut bytes).unwrap(), expected.len());
    assert!(bytes.starts_with(&expected));
    let image = target.mappings().unwrap().into_iter().find(|map| map.deleted).unwrap();
    assert_eq!(image.path, program.to_str().unwrap());
    // After its end too.
    drop(child);
    assert_eq!(target.executable().unwrap().len(), expected.len() as u64);
}

fn which(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    std::fs::canonicalize(found.unwrap()).unwrap()
}

#[test]
fn unreadable_targets_get_distinct_errors() {
    assert!(matches!(LiveTarget::open(0), Err(TargetError::NoSuchProcess { pid: 0 })));
    assert!(matches!(LiveTarget::open(-1), Err(TargetError::NoSuchProcess { pid: -1 })));
    // Above the kernel's maximum pid.
    assert!(matches!(LiveTarget::open(i32::MAX), Err(TargetError::NoSuchProcess { .. })));

    let mut child = Command::new("true").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    wait_until(|| ProcDir::open(pid).unwrap().stat().unwrap().state == 'Z');
    let error = LiveTarget::open(pid).unwrap_err().to_string();
    assert!(error.contains("zombie") && error.contains(&own_pid().to_string()), "{error}");
    child.wait().unwrap();
    assert!(matches!(LiveTarget::open(pid), Err(TargetError::NoSuchProcess { .. })));

    let (send, receive) = std::sync::mpsc::channel::<()>();
    let (send_tid, receive_tid) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        send_tid.send(nix::unistd::gettid().as_raw()).unwrap();
        let _ = receive.recv();
    });
    let error = LiveTarget::open(receive_tid.recv().unwrap()).unwrap_err().to_string();
    assert!(error.contains(&format!("is a thread of process {}", own_pid())), "{error}");
    drop(send);
    thread.join().unwrap();
}

fn stat(comm: &str, state: char, flags: u64, threads: u32) -> Stat {
    let text =
        format!("2 ({comm}) {state} 1 0 0 0 -1 {flags} 0 0 0 0 5 6 0 0 20 0 {threads} 0 2 0 0 0{}", " 0".repeat(27));
    Stat::from_read(text.as_bytes()).unwrap()
}

#[test]
fn kernel_threads_and_dead_main_threads_are_named() {
    let kernel_thread = refuse_unreadable(2, &stat("kthreadd", 'S', 0x20_8040, 1)).unwrap_err().to_string();
    assert!(kernel_thread.contains("kernel thread (kthreadd)"), "{kernel_thread}");
    let headless = refuse_unreadable(2, &stat("x", 'Z', 0, 3)).unwrap_err().to_string();
    assert!(headless.contains("main thread"), "{headless}");
    let zombie = refuse_unreadable(2, &stat("x", 'Z', 0, 1)).unwrap_err().to_string();
    assert!(zombie.contains("zombie"), "{zombie}");
    for state in ['R', 'S', 'D', 'T', 't'] {
        refuse_unreadable(2, &stat("x", state, 0x40_0000, 1)).unwrap();
    }
}

#[test]
fn a_stopped_process_is_read_and_stays_stopped() {
    let child = Killed::sleeping();
    kill(Pid::from_raw(child.pid()), Signal::SIGSTOP).unwrap();
    let state = || ProcDir::open(child.pid()).unwrap().stat().unwrap().state;
    wait_until(|| state() == 'T');
    let target = LiveTarget::open(child.pid()).unwrap();
    assert_eq!(target.process().state, Some('T'));
    assert_eq!(target.threads().unwrap()[0].state, Some('T'));
    let start = target.mappings().unwrap()[0].start;
    assert!(target.read_u64(start).unwrap().is_some());
    drop(target);
    assert_eq!(state(), 'T');
}

#[test]
fn an_end_is_noticed_everywhere() {
    let child = Killed::sleeping();
    let target = LiveTarget::open(child.pid()).unwrap();
    let mapping = target.mappings().unwrap()[0].clone();
    let gone = ReadError::Gone { pid: child.pid() };
    drop(child);
    assert!(!target.still_the_same() && !target.is_replaced());
    assert_eq!(target.read(mapping.start, &mut [0; 8]), Err(gone.clone()));
    let is_gone = |e: TargetError| matches!(e, TargetError::Read(e) if e == gone);
    assert!(is_gone(target.mappings().unwrap_err()));
    assert!(is_gone(target.threads().unwrap_err()));
    assert_eq!(target.auxv(), []);
    assert!(target.mapped_file(&mapping).is_err());
}

#[test]
fn another_program_in_the_same_process_is_noticed() {
    let mut child =
        Command::new("sh").args(["-c", "read line; exec sleep 1000"]).stdin(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    let child = Killed(child);
    child.wait_for_exec("sh");
    let target = LiveTarget::open(child.pid()).unwrap();
    assert!(target.still_the_same() && !target.is_replaced());
    std::io::Write::write_all(&mut { stdin }, b"\n").unwrap();
    child.wait_for_exec("sleep");
    assert!(!target.still_the_same() && target.is_replaced());
    drop(child);
    assert!(!target.still_the_same() && !target.is_replaced());
}

#[test]
fn only_little_endian_64_bit_elf_has_an_architecture() {
    let header = |class: u8, data: u8, machine: u16| {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', class, data];
        bytes.resize(18, 0);
        bytes.extend_from_slice(&machine.to_le_bytes());
        bytes
    };
    assert_eq!(elf_arch(&header(2, 1, 62)), Some(Arch::Amd64));
    assert_eq!(elf_arch(&header(2, 1, 183)), Some(Arch::Arm64));
    assert_eq!(elf_arch(&header(2, 1, 243)), None);
    assert_eq!(elf_arch(&header(1, 1, 62)), None);
    assert_eq!(elf_arch(&header(2, 2, 183)), None);
    assert_eq!(elf_arch(&b"\x7fELF\x02\x01".to_vec()), None);
}
