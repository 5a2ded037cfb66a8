//! The processes of this machine that run Go programs, and what is known of them without reading much.
//!
//! Executables are looked into for what only Go programs have. A process whose executable may not be
//! opened may be one, and is kept apart. gospy itself is never listed.

use std::sync::Arc;

use nix::unistd::geteuid;
use schemars::JsonSchema;
use serde::Serialize;

use crate::analysis::Counts;
use crate::bytes::ByteSource;
use crate::capture::{CaptureOptions, OpenOptions, Session, SourceError};
use crate::image::build_info::BuildInfo;
use crate::image::elf::Elf;
use crate::process::container;
use crate::process::container_files::ContainerNames;
use crate::process::hostname::Hostnames;
use crate::process::live::LiveTarget;
use crate::process::proc_dir;
use crate::process::process_list::{ProcessEntry, ProcessList};
use crate::process::{ErrorKind, TargetError};

/// Sections that only Go programs have. Programs without any section are looked into instead.
const GO_SECTIONS: &[&str] = &[".go.buildinfo", ".gopclntab", ".data.rel.ro.gopclntab", ".note.go.buildid"];

/// A Go program that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// When it was started, clock ticks after boot: another process may get its pid.
    #[serde(skip)]
    pub start_ticks: u64,
    /// Its name as the kernel keeps it, at most 15 bytes.
    pub name: String,
    /// Its user id.
    pub uid: Option<u32>,
    /// That user's name.
    pub user: Option<String>,
    /// Version of Go, where the file says.
    pub go_version: Option<String>,
    /// Path of the main module, or else of the main package.
    pub module: Option<String>,
    /// Version of the main module.
    pub version: Option<String>,
    /// Whether it has neither symbols nor DWARF.
    pub stripped: bool,
    /// Id of the container that it runs in, or its name, as its control group shows; null where it shows
    /// none.
    pub container: Option<String>,
    /// Uid of its pod of Kubernetes, from the same place.
    pub pod_uid: Option<String>,
    /// Name of its pod of Kubernetes; null where it has none, or that could not be found out.
    pub pod: Option<String>,
    /// Namespace of Kubernetes that its pod is in; null where it has none, or that could not be found out.
    pub namespace: Option<String>,
    /// What it takes for the name of its host; null where that is the name that gospy sees too, and where
    /// it could not be found out.
    pub hostname: Option<String>,
    /// Threads.
    pub threads: u64,
    /// Goroutines, the runtime's own included; null where they could not be counted.
    pub goroutines: Option<u64>,
    /// Why they could not be counted; null where they were.
    pub unreadable: Option<String>,
    /// Path of the executable.
    pub exe: Option<String>,
    /// Whether that file was deleted or replaced.
    pub exe_deleted: bool,
    /// Arguments.
    pub cmdline: Vec<String>,
}

impl Process {
    /// Pod, host and container: what `container` orders by.
    fn place(&self) -> (&Option<String>, &Option<String>, &Option<String>) {
        (&self.pod, &self.hostname, &self.container)
    }
}

/// The Go programs that run, with their goroutines counted.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Processes {
    /// The Go programs, by pid unless another order was asked for.
    pub processes: Vec<Process>,
    /// Processes whose executable is not readable, so that it is not known what they are.
    pub hidden: u64,
    /// One of those that are not readable, to ask `doctor` about.
    #[serde(skip)]
    pub refused: Option<i32>,
    /// Whether gospy runs as root, to whom sudo is no advice.
    #[serde(skip)]
    pub as_root: bool,
}

/// An order of programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessSort {
    /// By pid.
    #[default]
    Pid,
    /// By the name that people use.
    Name,
    /// By the name of the user.
    User,
    /// By pod, then container.
    Container,
    /// Most goroutines first.
    Goroutines,
    /// Most threads first.
    Threads,
}

impl Processes {
    /// Brings them into an order; equal ones stay in that of their pids.
    pub fn sort(&mut self, by: ProcessSort, reverse: bool) {
        let all = &mut self.processes;
        all.sort_by_key(|process| process.pid);
        match by {
            ProcessSort::Pid => {}
            ProcessSort::Name => all.sort_by(|a, b| a.usual_name().cmp(b.usual_name())),
            ProcessSort::User => all.sort_by(|a, b| a.user.cmp(&b.user).then(a.uid.cmp(&b.uid))),
            ProcessSort::Container => all.sort_by(|a, b| a.place().cmp(&b.place())),
            ProcessSort::Goroutines => all.sort_by_key(|process| std::cmp::Reverse(process.goroutines)),
            ProcessSort::Threads => all.sort_by_key(|process| std::cmp::Reverse(process.threads)),
        }
        if reverse {
            all.reverse();
        }
    }

    /// Whether none of them could be read, and that for want of rights.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused.is_some() && self.processes.iter().all(|process| process.goroutines.is_none())
    }
}

/// What runs, before anything was read of any memory.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Go programs, by pid.
    pub programs: Vec<Process>,
    /// Processes whose executable is not readable, by pid: they may be Go programs.
    pub hidden: Vec<Process>,
    /// Other programs, by pid.
    pub others: Vec<Process>,
    /// Whether gospy runs as root, to whom sudo is no advice.
    pub as_root: bool,
}

/// What comes after "not readable": the usual remedy, where it can be one.
#[must_use]
pub fn remedy(as_root: bool) -> &'static str {
    if as_root { "" } else { " (try sudo)" }
}

impl Inventory {
    /// Looks at every process that can be seen.
    ///
    /// # Errors
    /// When processes cannot be listed.
    pub fn take() -> Result<Self, TargetError> {
        proc_dir::usable()?;
        let list = ProcessList::new().map_err(|source| TargetError::Io { what: "/proc".to_owned(), source })?;
        let own = std::process::id();
        let mut hostnames = Hostnames::new();
        let mut all = Self { as_root: geteuid().is_root(), ..Self::default() };
        for entry in list.filter(|entry| !entry.kernel_thread && entry.state != 'Z') {
            if u32::try_from(entry.pid) == Ok(own) {
                continue;
            }
            match entry.executable() {
                Ok(bytes) => match go_program(&bytes) {
                    Some(program) => all.programs.push(program.of(entry, &mut hostnames)),
                    None => all.others.push(Program::default().of(entry, &mut hostnames)),
                },
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    all.hidden.push(Program::default().of(entry, &mut hostnames));
                }
                // It has ended.
                Err(_) => {}
            }
        }
        Ok(all)
    }

    /// Counts the goroutines of each program. One that has ended since is left out.
    #[must_use]
    pub fn counted(self) -> Processes {
        let hidden = u64::try_from(self.hidden.len()).unwrap_or(u64::MAX);
        let mut refused = self.hidden.first().map(|process| process.pid);
        let mut processes = self.programs;
        processes.retain_mut(|process| {
            match goroutines(process.pid) {
                Ok(count) => process.goroutines = Some(count),
                Err(SourceError::Target(TargetError::NoSuchProcess { .. })) => return false,
                Err(problem) => {
                    refused = refused.or((problem.kind() == ErrorKind::Denied).then_some(process.pid));
                    process.unreadable = Some(problem.to_string());
                }
            }
            true
        });
        Processes { processes, hidden, refused, as_root: self.as_root }
    }
}

/// What the file of a Go program says.
#[derive(Default)]
struct Program {
    info: Option<BuildInfo>,
    stripped: bool,
}

/// `None` for the file of any other program.
fn go_program(bytes: &Arc<dyn ByteSource>) -> Option<Program> {
    let elf = Elf::parse(Arc::clone(bytes)).ok()?;
    if !elf.sections().is_empty() && GO_SECTIONS.iter().all(|name| elf.section(name).is_none()) {
        return None;
    }
    let info = BuildInfo::find(&elf).ok().flatten();
    if info.is_none() && elf.sections().is_empty() {
        return None;
    }
    Some(Program { info, stripped: elf.section(".symtab").is_none() && !super::has_dwarf(&elf) })
}

impl Program {
    fn of(self, entry: ProcessEntry, hostnames: &mut Hostnames) -> Process {
        let module = self.info.as_ref().and_then(super::module_of);
        let dir = entry.directory().ok();
        let cgroup = dir.as_ref().and_then(|dir| dir.text("cgroup").ok());
        let container = cgroup.as_deref().and_then(container::container);
        let hostname = dir.as_ref().and_then(|dir| hostnames.of(dir));
        let (container, pod_uid) = container.map_or((None, None), |found| (Some(found.id), found.pod_uid));
        let named = dir.as_ref().filter(|_| container.is_some()).map(ContainerNames::of).unwrap_or_default();
        let hostname = hostname.or(named.hostname);
        Process {
            pid: entry.pid,
            start_ticks: entry.start_ticks,
            name: entry.comm,
            uid: entry.uid,
            user: entry.user,
            go_version: self.info.map(|info| info.go_version),
            version: module.as_ref().map(|(_, version)| version.clone()).filter(|version| !version.is_empty()),
            module: module.map(|(path, _)| path),
            stripped: self.stripped,
            // The name of the host of a pod is that of the pod, unless it shares that of its node.
            pod: hostname.clone().filter(|_| pod_uid.is_some()),
            namespace: named.namespace.filter(|_| pod_uid.is_some()),
            container,
            pod_uid,
            hostname,
            threads: entry.threads,
            goroutines: None,
            unreadable: None,
            exe: entry.exe,
            exe_deleted: entry.exe_deleted,
            cmdline: entry.cmdline,
        }
    }
}

fn goroutines(pid: i32) -> Result<u64, SourceError> {
    let target = LiveTarget::open(pid)?;
    let mut session = Session::open(Box::new(target), &OpenOptions::default())?;
    let snapshot = session.capture(&CaptureOptions::default())?;
    Ok(Counts::of(&snapshot).total)
}
