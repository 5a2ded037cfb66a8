//! Everything about the process except its memory in a capture: the JSON in its first note.
//!
//! These types define the format. They are separate from the program's own types, so that a code change does
//! not change the format by accident. Fields are only ever added, as optional ones.

use serde::{Deserialize, Serialize};

use crate::addr::Addr;
use crate::process::capture_file::crc;
use crate::process::{Clock, Ended, Mapping, ProcessInfo, Remembered, Resources, SignalInfo, ThreadInfo};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::process) struct Facts {
    /// The version that recorded it.
    pub(in crate::process) gospy_version: String,
    pub(in crate::process) process: ProcessFacts,
    pub(in crate::process) clock: ClockFacts,
    pub(in crate::process) threads: Vec<ThreadFacts>,
    pub(in crate::process) mappings: Vec<MappingFacts>,
    /// Files of which parts were recorded; their numbers are those of the program headers.
    pub(in crate::process) files: Vec<FileFacts>,
    /// How the process ended, in recordings of core files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::process) ended: Option<EndedFacts>,
    /// All attachments; absent in older captures, which do not list them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::process) attachments: Option<Vec<AttachmentFacts>>,
}

/// An attachment and its checksum: in a plain core file nothing else has one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::process) struct AttachmentFacts {
    pub(in crate::process) name: String,
    /// Version of its encoding; 1 in captures without this list.
    pub(in crate::process) version: u32,
    /// CRC-32 of its bytes.
    pub(in crate::process) crc32: u32,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(in crate::process) struct EndedFacts {
    thread: i32,
    signal: i32,
    /// `si_code` and the word after it; absent when unknown.
    code: Option<i32>,
    word: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::process) struct ProcessFacts {
    pid: i32,
    #[serde(default)]
    own_pid: Option<i32>,
    exe: String,
    exe_deleted: bool,
    cmdline: Vec<String>,
    uid: Option<u32>,
    start_ticks: Option<u64>,
    state: Option<char>,
    rss_bytes: Option<u64>,
    cpu_ns: Option<u64>,
    #[serde(default)]
    resources: Resources,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::process) struct ClockFacts {
    monotonic_ns: u64,
    unix_ns: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(in crate::process) struct ThreadFacts {
    tid: i32,
    state: Option<char>,
    name: String,
    /// Whether the registers of its `NT_PRSTATUS` are real: it stood still.
    pub(in crate::process) stopped: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(in crate::process) struct MappingFacts {
    start: u64,
    end: u64,
    /// `r`, `w` and `x`, or `-` in their places.
    access: String,
    offset: u64,
    inode: u64,
    path: String,
    deleted: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::process) struct FileFacts {
    /// Its path when it was a mapped file; the executable is the first and has none.
    pub(in crate::process) path: Option<String>,
    pub(in crate::process) len: u64,
}

impl AttachmentFacts {
    pub(in crate::process) fn new(name: &str, found: &Remembered) -> Self {
        Self { name: name.to_owned(), version: found.version, crc32: crc(&[&found.bytes]) }
    }
}

impl From<Ended> for EndedFacts {
    fn from(ended: Ended) -> Self {
        let Ended { thread, signal, info } = ended;
        Self { thread, signal, code: info.map(|info| info.code), word: info.map(|info| info.word) }
    }
}

impl From<EndedFacts> for Ended {
    fn from(facts: EndedFacts) -> Self {
        let EndedFacts { thread, signal, code, word } = facts;
        let info = code.zip(word).map(|(code, word)| SignalInfo { number: signal, code, word });
        Self { thread, signal, info }
    }
}

impl From<&ProcessInfo> for ProcessFacts {
    fn from(info: &ProcessInfo) -> Self {
        Self {
            pid: info.pid,
            own_pid: info.own_pid,
            exe: info.exe.clone(),
            exe_deleted: info.exe_deleted,
            cmdline: info.cmdline.clone(),
            uid: info.uid,
            start_ticks: info.start_ticks,
            state: info.state,
            rss_bytes: info.rss_bytes,
            cpu_ns: info.cpu_ns,
            resources: info.resources,
        }
    }
}

impl From<ProcessFacts> for ProcessInfo {
    fn from(facts: ProcessFacts) -> Self {
        Self {
            pid: facts.pid,
            own_pid: facts.own_pid,
            exe: facts.exe,
            exe_deleted: facts.exe_deleted,
            cmdline: facts.cmdline,
            uid: facts.uid,
            start_ticks: facts.start_ticks,
            state: facts.state,
            rss_bytes: facts.rss_bytes,
            cpu_ns: facts.cpu_ns,
            resources: facts.resources,
        }
    }
}

impl From<Clock> for ClockFacts {
    fn from(clock: Clock) -> Self {
        Self { monotonic_ns: clock.monotonic_ns, unix_ns: clock.unix_ns }
    }
}

impl From<ClockFacts> for Clock {
    fn from(facts: ClockFacts) -> Self {
        Self { monotonic_ns: facts.monotonic_ns, unix_ns: facts.unix_ns }
    }
}

impl ThreadFacts {
    pub(in crate::process) fn new(thread: &ThreadInfo, stopped: bool) -> Self {
        Self { tid: thread.tid, state: thread.state, name: thread.name.clone(), stopped }
    }

    pub(in crate::process) fn tid(&self) -> i32 {
        self.tid
    }

    pub(in crate::process) fn info(&self) -> ThreadInfo {
        ThreadInfo { tid: self.tid, state: self.state, name: self.name.clone() }
    }
}

impl From<&Mapping> for MappingFacts {
    fn from(mapping: &Mapping) -> Self {
        let letter = |given: bool, letter: char| if given { letter } else { '-' };
        let access = [letter(mapping.read, 'r'), letter(mapping.write, 'w'), letter(mapping.exec, 'x')];
        Self {
            start: mapping.start.0,
            end: mapping.end.0,
            access: access.iter().collect(),
            offset: mapping.offset,
            inode: mapping.inode,
            path: mapping.path.clone(),
            deleted: mapping.deleted,
        }
    }
}

impl From<MappingFacts> for Mapping {
    fn from(facts: MappingFacts) -> Self {
        Self {
            start: Addr(facts.start),
            end: Addr(facts.end),
            read: facts.access.contains('r'),
            write: facts.access.contains('w'),
            exec: facts.access.contains('x'),
            offset: facts.offset,
            inode: facts.inode,
            path: facts.path,
            deleted: facts.deleted,
        }
    }
}
