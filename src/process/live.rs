//! A running process as a [`Target`].
//!
//! It is read while it runs: nothing here writes to it, signals it or stops it, except [`Target::freeze`]. The
//! process is identified by its open `/proc/PID`, its start time and its stack address. So a reused pid or an
//! `execve` is noticed at every failure, and by [`LiveTarget::still_the_same`]. Call that at the end of a
//! series of reads: reading a reused pid does not fail.
//!
//! Reading a page that is backed by a device or by a file on a mount that hangs may block forever. Go has
//! nothing in such mappings: read only anonymous memory and the program's own images.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use procfs::process::Stat;

use super::accounting::{self, Accounting};
use super::blocked;
use super::clock::{MonotonicOffset, ticks_to_ns};
use super::descriptors::{self, Descriptors};
use super::file_bytes::FileBytes;
use super::freeze;
use super::maps;
use super::memory::Memory;
use super::perf::{Clocks, CpuClocks};
use super::permission;
use super::presence::{has_live_thread, refuse_unreadable, refused_or};
use super::proc_dir::{self, Identity, ProcDir, means_gone, means_refused};
use super::resources::{Meter, cpu_clock};
use super::sockets::LastSockets;
use super::thread_ids::{ThreadIds, own_id};
use super::{
    Backend, BlockedThread, Clock, FreezeOptions, FreezeWhich, Frozen, Mapping, MemRange, ProcessInfo, ReadError,
    ReadStats, Resources, Target, TargetError, ThreadActivity, ThreadInfo, Tid, Usage,
};
use crate::addr::{Addr, Arch};
use crate::bytes::{ByteSource, FieldsExt};

/// A running process.
#[derive(Debug)]
pub struct LiveTarget {
    dir: ProcDir,
    identity: Identity,
    process: ProcessInfo,
    /// The executable, opened first, so that it can be read even after the process has ended.
    exe: Result<Arc<FileBytes>, (io::ErrorKind, String)>,
    arch: Option<Arch>,
    memory: Memory,
    monotonic: MonotonicOffset,
    meter: Meter,
    thread_ids: ThreadIds,
    sockets: LastSockets,
    /// When the machine was started, s since the Unix epoch; `None` in it where that cannot be read.
    boot_time: OnceLock<Option<u64>>,
    /// Whether it may be frozen despite a seccomp filter.
    freeze_filtered: bool,
}

impl LiveTarget {
    /// Opens process `pid` and checks that its memory can be read.
    ///
    /// # Errors
    /// [`TargetError::NoSuchProcess`]; [`TargetError::NotReadable`] for kernel threads, zombies and
    /// ids of threads; [`TargetError::Permission`] with the remedy; [`TargetError::ProcFs`].
    pub fn open(pid: i32) -> Result<Self, TargetError> {
        /// First pause between retries; the last retry comes after 127 ms.
        const PAUSES_MS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];
        proc_dir::usable()?;
        for pause in PAUSES_MS {
            match Self::look(pid) {
                // During an execve by a thread other than the main one, the main thread is briefly a zombie,
                // and then the pid briefly does not exist.
                Err(error) if seems_gone(&error) && has_live_thread(pid) => {
                    std::thread::sleep(Duration::from_millis(pause));
                }
                looked => return looked,
            }
        }
        Self::look(pid)
    }

    fn look(pid: i32) -> Result<Self, TargetError> {
        let dir = match ProcDir::open(pid) {
            Ok(dir) => dir,
            Err(e) => return Err(refused_or(pid, e, || format!("/proc/{pid}"))),
        };
        let failed = |e: io::Error, name: &str| refused_or(pid, e, || format!("/proc/{pid}/{name}"));
        let stat = dir.stat().map_err(|e| failed(e, "stat"))?;
        refuse_unreadable(pid, &stat)?;
        let status = dir.status().map_err(|e| failed(e, "status"))?;
        if status.tgid != pid {
            let what = format!("is a thread of process {tgid}; use --pid {tgid}", tgid = status.tgid);
            return Err(TargetError::NotReadable { pid, what, ended: false });
        }
        let memory = Memory::new(pid);
        probe(&dir, &memory, &stat)?;
        let identity = dir.identity().map_err(|e| failed(e, "stat"))?;
        let exe = dir.file("exe").and_then(FileBytes::from_file).map(Arc::new);
        let (exe_path, exe_deleted) = dir.exe().unwrap_or_default();
        let process = ProcessInfo {
            pid,
            own_pid: own_id(&status),
            exe: exe_path,
            exe_deleted,
            cmdline: dir.cmdline().unwrap_or_default(),
            uid: Some(status.ruid),
            start_ticks: Some(identity.start_ticks),
            state: Some(stat.state),
            rss_bytes: Some(stat.rss.saturating_mul(procfs::page_size())),
            cpu_ns: Some(ticks_to_ns(stat.utime.saturating_add(stat.stime))),
            resources: Resources::default(),
        };
        let meter = Meter::start(pid);
        let arch = exe.as_ref().ok().and_then(|file| elf_arch(file.as_ref()));
        let exe = exe.map_err(|e| (e.kind(), e.to_string()));
        let monotonic = MonotonicOffset::of(&dir);
        let thread_ids = ThreadIds::of(&status);
        let sockets = LastSockets::default();
        Ok(Self {
            dir,
            identity,
            process,
            exe,
            arch,
            memory,
            monotonic,
            meter,
            thread_ids,
            sockets,
            boot_time: OnceLock::new(),
            freeze_filtered: false,
        })
    }

    /// Allows freezing it despite a seccomp filter. After a stop, a sleep with a timeout continues through
    /// `restart_syscall(2)`, and a filter that forbids this call kills the process. Threads in such calls are
    /// left asleep, but one may enter such a call at the last moment.
    #[must_use]
    pub fn allow_freeze_of_filtered(mut self, allowed: bool) -> Self {
        self.freeze_filtered = allowed;
        self
    }

    /// The pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.dir.pid()
    }

    /// Whether the opened process still exists and runs the same program.
    #[must_use]
    pub fn still_the_same(&self) -> bool {
        self.dir.identity().is_ok_and(|now| self.identity.is_still(&now))
    }

    /// Its directory in `/proc`.
    #[must_use]
    pub fn dir(&self) -> &ProcDir {
        &self.dir
    }

    /// Turns a failure into [`ReadError::Gone`] if the process has ended or changed.
    fn classify(&self, e: ReadError) -> ReadError {
        match e {
            ReadError::Gone { .. } => e,
            _ if self.still_the_same() => e,
            _ => ReadError::Gone { pid: self.pid() },
        }
    }

    fn failed(&self, e: io::Error, name: &str) -> TargetError {
        let pid = self.pid();
        if !self.still_the_same() {
            ReadError::Gone { pid }.into()
        } else if means_refused(&e) {
            // Reading its memory was checked before.
            if name == "exe" { permission::file_refused(&self.dir, &e) } else { permission::refused(pid) }
        } else {
            TargetError::Io { what: format!("/proc/{pid}/{name}"), source: e }
        }
    }

    /// Its threads, by their ids in our pid namespace.
    pub(super) fn tids(&self) -> Result<Vec<Tid>, TargetError> {
        self.dir.tids().map_err(|e| self.failed(e, "task"))
    }

    /// The id in its own pid namespace of the thread that is `tid` in ours; `None` when it has ended.
    pub(super) fn own_tid(&self, tid: Tid) -> Option<Tid> {
        let start = self.dir.thread_stat(tid).ok()?.starttime;
        self.thread_ids.own(&self.dir, tid, start).ok()
    }

    /// Opens the file by its path in the target's root, if it is still the mapped file.
    fn by_path(&self, mapping: &Mapping) -> io::Result<FileBytes> {
        let not_found = |why: &str| io::Error::new(io::ErrorKind::NotFound, why.to_owned());
        if mapping.deleted {
            return Err(not_found("it was deleted, and only an administrator can open it by its mapping"));
        }
        let Some(inside) = mapping.path.strip_prefix('/') else {
            return Err(not_found("the mapping is of no file"));
        };
        let device = maps::device_at(self.dir.file("maps")?, mapping.start)?;
        let path = PathBuf::from(format!("/proc/{}/root", self.pid())).join(inside);
        let file = FileBytes::open(path)?;
        let (device_now, inode_now) = file.device_and_inode()?;
        // For file systems without a device (overlay, btrfs), maps and stat show different device numbers.
        let same_device = device.is_none_or(|device| {
            device.major == 0
                || (u64::from(device.major), u64::from(device.minor))
                    == (nix::sys::stat::major(device_now), nix::sys::stat::minor(device_now))
        });
        if inode_now != mapping.inode || !same_device {
            return Err(not_found("another file is at its path now"));
        }
        Ok(file)
    }
}

fn seems_gone(error: &TargetError) -> bool {
    matches!(error, TargetError::NoSuchProcess { .. } | TargetError::NotReadable { ended: true, .. })
}

/// Tries to read one byte at the start of the code; only a refusal matters.
fn probe(dir: &ProcDir, memory: &Memory, stat: &Stat) -> Result<(), TargetError> {
    let range = MemRange { start: Addr(stat.startcode), len: 1 };
    match memory.read_ranges(dir, &[range], &mut [0], &mut Vec::new()) {
        Ok(()) => Ok(()),
        Err(ReadError::Gone { pid }) => Err(TargetError::NoSuchProcess { pid }),
        Err(ReadError::Denied { pid, .. }) => Err(permission::refused(pid)),
        Err(e) => Err(e.into()),
    }
}

/// `e_machine` of a little-endian 64-bit ELF file.
fn elf_arch(file: &dyn ByteSource) -> Option<Arch> {
    let mut header = [0; 20];
    if file.read_at(0, &mut header).ok()? != header.len() || !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    match header.u16_at(18)? {
        62 => Some(Arch::Amd64),
        183 => Some(Arch::Arm64),
        _ => None,
    }
}

impl Target for LiveTarget {
    fn process(&self) -> &ProcessInfo {
        &self.process
    }

    fn is_replaced(&self) -> bool {
        self.dir.identity().is_ok_and(|now| self.identity.is_replaced(&now))
    }

    fn usage(&self) -> Usage {
        let Ok(stat) = self.dir.stat() else { return Usage::default() };
        Usage {
            state: Some(stat.state),
            rss_bytes: Some(stat.rss.saturating_mul(procfs::page_size())),
            cpu_ns: Some(ticks_to_ns(stat.utime.saturating_add(stat.stime))),
        }
    }

    fn resources(&self, least: Duration) -> Resources {
        self.meter.read(&self.dir, least)
    }

    fn cpu_clock(&self) -> Option<Duration> {
        cpu_clock(self.pid())
    }

    fn accounting(&self) -> Result<Option<Accounting>, ReadError> {
        let gone = || ReadError::Gone { pid: self.pid() };
        let stat = self.dir.stat().map_err(|_| gone())?;
        if !Identity::of_living(&stat).is_some_and(|now| self.identity.is_still(&now)) {
            return Err(gone());
        }
        let boot = *self.boot_time.get_or_init(|| accounting::boot_time().ok());
        Ok(Some(Accounting::read(&self.dir, &stat, boot)))
    }

    fn arch(&self) -> Option<Arch> {
        self.arch
    }

    fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<usize, ReadError> {
        let mut got = Vec::with_capacity(1);
        self.read_ranges(&[MemRange { start: addr, len: buf.len() }], buf, &mut got)?;
        Ok(got.first().copied().unwrap_or_default())
    }

    fn read_ranges(&self, ranges: &[MemRange], buf: &mut [u8], got: &mut Vec<usize>) -> Result<(), ReadError> {
        self.memory.read_ranges(&self.dir, ranges, buf, got).map_err(|e| self.classify(e))
    }

    fn mappings(&self) -> Result<Vec<Mapping>, TargetError> {
        let found = self.dir.file("maps").and_then(maps::parse).map_err(|e| self.failed(e, "maps"))?;
        // For a process that has just ended, the file is empty without an error.
        if found.is_empty() && !self.still_the_same() {
            return Err(ReadError::Gone { pid: self.pid() }.into());
        }
        Ok(found)
    }

    fn threads(&self) -> Result<Vec<ThreadInfo>, TargetError> {
        let tids = self.dir.tids().map_err(|e| self.failed(e, "task"))?;
        self.thread_ids.retain(&tids);
        let mut threads = Vec::with_capacity(tids.len());
        for ours in tids {
            let read = || {
                let stat = self.dir.thread_stat(ours)?;
                let tid = self.thread_ids.own(&self.dir, ours, stat.starttime)?;
                Ok(ThreadInfo { tid, state: Some(stat.state), name: stat.comm })
            };
            match read() {
                Ok(thread) => threads.push(thread),
                Err(e) if means_gone(&e) => {}
                Err(e) => return Err(self.failed(e, &format!("task/{ours}/stat"))),
            }
        }
        threads.sort_unstable_by_key(|thread| thread.tid);
        Ok(threads)
    }

    fn executable(&self) -> Result<Arc<dyn ByteSource>, TargetError> {
        match &self.exe {
            Ok(file) => Ok(Arc::clone(file) as Arc<dyn ByteSource>),
            Err((kind, why)) => Err(self.failed(io::Error::new(*kind, why.clone()), "exe")),
        }
    }

    fn mapped_file(&self, mapping: &Mapping) -> Result<Arc<dyn ByteSource>, TargetError> {
        let by_mapping = format!("map_files/{:x}-{:x}", mapping.start.0, mapping.end.0);
        let file = match self.dir.file(&by_mapping).and_then(FileBytes::from_file) {
            Ok(file) => file,
            Err(_) => self.by_path(mapping).map_err(|source| {
                let what = format!("{} as process {} has it mapped at {}", mapping.path, self.pid(), mapping.start);
                TargetError::Io { what, source }
            })?,
        };
        Ok(Arc::new(file))
    }

    fn auxv(&self) -> Vec<(u64, u64)> {
        self.dir.auxv().unwrap_or_default()
    }

    fn clock(&self) -> Clock {
        self.monotonic.now()
    }

    fn backend(&self) -> Backend {
        self.memory.backend()
    }

    fn stats(&self) -> ReadStats {
        self.memory.stats()
    }

    fn blocked_thread(&self, tid: Tid) -> Option<BlockedThread> {
        let ours = self.thread_ids.ours(tid)?;
        // In this order; see `blocked::thread`.
        let syscall = self.dir.text(format!("task/{ours}/syscall")).ok()?;
        let status = self.dir.thread_status(ours).ok()?;
        if own_id(&status).is_some_and(|own| own != tid) {
            // Another thread has that id by now.
            return None;
        }
        let switches = status.voluntary_ctxt_switches?.wrapping_add(status.nonvoluntary_ctxt_switches?);
        blocked::thread(&syscall, switches)
    }

    fn thread_activity(&self, tid: Tid) -> ThreadActivity {
        let name = format!("task/{tid}/syscall");
        match self.dir.text(&name) {
            Ok(text) => blocked::activity(&text),
            Err(error) if means_gone(&error) => ThreadActivity::Ended,
            // The reason is the same for all threads.
            Err(error) => ThreadActivity::Unknown(self.dir.why_unreadable("task/TID/syscall", &error)),
        }
    }

    fn descriptors(&self, fds: Option<&BTreeSet<i32>>) -> Descriptors {
        match fds {
            Some(fds) => descriptors::read(&self.dir, fds, &self.sockets),
            None => descriptors::read_all(&self.dir, &self.sockets),
        }
    }

    fn cpu_clocks(&self, hz: f64) -> Result<Box<dyn CpuClocks + '_>, TargetError> {
        Ok(Box::new(Clocks::open(self, hz)?))
    }

    /// Stops threads by ptrace, without a signal; see `freeze.rs`. The guard's duration is from the first
    /// interruption to the last thread's release. A thread in an uninterruptible system call stays there and
    /// has no registers; neither has a thread that was not scheduled within 150 ms.
    fn freeze_with(&self, which: &FreezeWhich, options: &FreezeOptions) -> Result<Box<dyn Frozen + '_>, TargetError> {
        let options = FreezeOptions { resilient: self.thread_ids.all_ours(&options.resilient), ..options.clone() };
        let which = self.thread_ids.which(which);
        let frozen = freeze::freeze(&self.dir, self.identity, &which, &options, self.freeze_filtered)?;
        Ok(self.thread_ids.freeze(&self.dir, frozen))
    }
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
