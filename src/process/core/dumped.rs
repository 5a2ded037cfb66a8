//! A core file written by a kernel, gdb or QEMU.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, OnceLock};

use super::arguments;
use super::backing::Places;
use super::files::{Files, find_program, ids_at_headers, mapped_by_headers};
use super::mappings::mappings;
use super::memory::Memory;
use super::notes::{FileNote, Notes};
use super::options::CoreOptions;
use super::target::{AT_PHDR, CoreTarget};
use crate::addr::Arch;
use crate::process::maps::DELETED;
use crate::process::{Backend, Clock, Limitation, ProcessInfo, ThreadInfo, Tid};

const AT_ENTRY: u64 = 9;
const AT_EXECFN: u64 = 31;
/// Maximum path length read from memory, bytes.
const MAX_PATH: usize = 4096;

impl CoreTarget {
    pub(super) fn of_core(
        arch: Arch,
        memory: Memory,
        notes: Notes,
        options: &CoreOptions,
        mut limitations: Vec<Limitation>,
    ) -> Self {
        let Notes { threads, process: noted, auxv, mut files, ended, .. } = notes;
        let places = Places { bin: options.bin.clone(), sysroot: options.sysroot.clone() };
        let at = |kind: u64| auxv.iter().find(|(k, _)| *k == kind).map(|(_, value)| *value);
        let entry = at(AT_ENTRY).or(at(AT_PHDR));
        let by_mapping = entry.and_then(|entry| file_at(&files, entry)).map(|file| file.path.clone());
        let by_name = || at(AT_EXECFN).and_then(|addr| memory.text(addr, MAX_PATH));
        let exe = by_mapping.or_else(by_name).unwrap_or_default();
        let mut executable = OnceLock::new();
        if files.is_empty() {
            // QEMU does not list files; derive the program's own mappings from its headers.
            let found =
                find_program(&places, &exe, &memory, at(AT_PHDR), ids_at_headers(&memory, at(AT_PHDR)).as_ref());
            if let Ok(found) = &found {
                files = mapped_by_headers(found.file.as_ref(), &exe, at(AT_PHDR));
            }
            executable = OnceLock::from(found);
        }
        if threads.is_empty() {
            let text = "the core file has no threads: none of its notes are there";
            limitations.push(Limitation::Missing(text.to_owned()));
        }
        let (noted_pid, noted_uid, name) =
            noted.as_ref().map_or((None, None, ""), |p| (Some(p.pid), Some(p.uid), p.name.as_str()));
        let pid = noted_pid.or(threads.first().map(|thread| thread.tid)).unwrap_or(0);
        let arguments = || noted.as_ref().map(|p| p.arguments.split(' ').map(str::to_owned).collect());
        let deleted = exe.strip_suffix(DELETED).map(str::to_owned);
        let process = ProcessInfo {
            pid,
            exe_deleted: deleted.is_some(),
            exe: deleted.unwrap_or_else(|| exe.clone()),
            cmdline: arguments::read(&memory, &auxv).or_else(arguments).unwrap_or_default(),
            uid: noted_uid,
            start_ticks: None,
            state: None,
            rss_bytes: None,
            // The main thread's times are the sum of all threads.
            cpu_ns: threads.iter().find(|thread| thread.tid == pid).map(|thread| thread.cpu_ns),
            ..ProcessInfo::default()
        };
        let thread_info =
            |tid: Tid| ThreadInfo { tid, state: None, name: if tid == pid { name.to_owned() } else { String::new() } };
        let mappings = mappings(&memory, &files);
        Self {
            arch,
            backend: Backend::Core,
            process,
            mappings,
            threads: threads.iter().map(|thread| thread_info(thread.tid)).collect(),
            general: threads.iter().filter_map(|thread| Some((thread.tid, thread.general.clone()?))).collect(),
            registers: threads.iter().filter_map(|thread| Some((thread.tid, thread.registers?))).collect(),
            calls: (arch == Arch::Amd64)
                .then(|| threads.iter().filter_map(|thread| Some((thread.tid, thread.call?))).collect()),
            memory,
            auxv,
            clock: Clock::default(),
            ended,
            files: Files::Outside { places, executable, others: Mutex::default() },
            remembered: BTreeMap::new(),
            limitations,
            reads: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }
}

fn file_at(files: &[FileNote], addr: u64) -> Option<&FileNote> {
    files.iter().find(|file| (file.start..file.end).contains(&addr))
}
