//! Snapshots without the strings of the program and of its machine, for what leaves the machine.
//!
//! What stays: names of functions, types, packages and label keys, which are the program's code; numbers, times,
//! states and addresses of memory; and texts of the runtime. What goes:
//!
//! * values of labels, which become `redacted-1`, `redacted-2`: equal ones stay equal;
//! * arguments of functions, values of panics, the command line;
//! * paths: of the executable and of libraries the last part stays, source files are named as with `-trimpath`, and of
//!   open files nothing stays;
//! * addresses of peers and sockets but for their ports; loopback and unspecified addresses stay;
//! * build settings that may hold anything (`-ldflags`), and texts of gospy with a path in them.
//!
//! Structures are taken apart field by field, so that a new field does not compile until it is decided here. Names
//! are copied one by one: a string that nothing refers to is in no redacted snapshot. Numbers of frames, stacks and
//! sets of labels stay what they were.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use crate::go_names::{self, Origins};
use crate::model::{
    AllocationProfile, ContentionProfile, Death, Descriptor, DescriptorDetails, Descriptors, ForeignFrame, Frame,
    HolderEvidence, Label, Language, LikelyHolder, ModuleInfo, NotInGo, ObjectState, PanicValue, PoolEntry, PoolId,
    PoolLen, Provenance, Reading, Snapshot, StrId, SymbolPool, TargetInfo, TextMapping, TracebackDetails, Warning,
    Warnings,
};
use crate::process::descriptor::{OpenFile, Socket, SocketName};

/// In place of what is left out.
pub const REDACTED: &str = "redacted";

/// Build settings of a few fixed values.
const SETTINGS: [&str; 16] = [
    "-asan",
    "-buildmode",
    "-compiler",
    "-cover",
    "-msan",
    "-race",
    "-trimpath",
    "CGO_ENABLED",
    "DefaultGODEBUG",
    "GOAMD64",
    "GOARCH",
    "GOARM64",
    "GOEXPERIMENT",
    "GOFIPS140",
    "GOOS",
    "vcs",
];

/// The numbers of label values. Programs that are compared share them: equal values have equal numbers in all.
#[derive(Clone, Debug, Default)]
pub struct LabelValues(Arc<Mutex<FxHashMap<Box<str>, usize>>>);

impl LabelValues {
    /// The number of a value, from 1.
    fn number(&self, value: &str) -> usize {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = numbers.get(value) {
            return *known;
        }
        let next = numbers.len().saturating_add(1);
        numbers.insert(value.into(), next);
        next
    }
}

/// Redacts snapshots of one program, one after the other: what is equal in several stays equal.
#[derive(Debug, Default)]
pub struct Redactor {
    values: LabelValues,
    /// Where the standard library's source files are.
    origins: Option<Origins>,
    /// Path of the main package.
    main_package: Option<String>,
    mirror: Option<Mirror>,
}

impl Redactor {
    /// One whose label values have the numbers of others.
    #[must_use]
    pub fn sharing(values: &LabelValues) -> Self {
        Self { values: values.clone(), ..Self::default() }
    }

    /// Redacts a snapshot.
    pub fn snapshot(&mut self, snapshot: &mut Snapshot) {
        let Snapshot {
            captured_at_unix_ns: _,
            monotonic_ns: _,
            unchanged_since_ns: _,
            target,
            reading,
            sched: _,
            heap: _,
            gc: _,
            processors: _,
            threads: _,
            goroutines,
            dead_goroutines: _,
            // The runtime's own texts.
            wait_reasons: _,
            waits,
            not_in_go,
            descriptors,
            watched: _,
            death,
            traceback,
            symbols,
            warnings,
        } = snapshot;
        redact_target(target);
        self.learn(target, symbols);
        let origins = self.origins.get_or_insert_default();
        let rules = Rules { origins, main: self.main_package.as_deref(), values: &self.values };
        let mirror = Mirror::of(&mut self.mirror, symbols, &rules);
        // To change one would copy all of them.
        if goroutines.iter().any(|goroutine| goroutine.panic.is_some()) {
            let redacted = mirror.to.intern_str(REDACTED);
            for goroutine in &mut *goroutines {
                goroutine.panic = goroutine.panic.map(|_| redacted);
            }
        }
        for object in waits.objects_mut() {
            match &mut object.state {
                ObjectState::Channel(channel) => {
                    channel.element_type = channel.element_type.map(|name| mirror.name(symbols, name));
                }
                ObjectState::Descriptor { fd: _, network: _, details } => {
                    details.iter_mut().for_each(|details| redact_details(details));
                }
                ObjectState::Mutex(_)
                | ObjectState::RwMutex(_)
                | ObjectState::WaitGroup { .. }
                | ObjectState::Cond { .. }
                | ObjectState::Semaphore { .. } => {}
            }
            for LikelyHolder { goroutine: _, evidence } in object.likely_holders.iter_mut().flatten() {
                let HolderEvidence::OnStack { at: _, function } = evidence;
                *function = function.map(|name| mirror.name(symbols, name));
            }
        }
        let outside = not_in_go.iter().cloned().map(|mut outside| {
            outside.c_function = outside.c_function.map(|frame| mirror.foreign(symbols, frame));
            outside
        });
        *not_in_go = NotInGo::new(outside.collect(), not_in_go.why_unknown().map(without_paths));
        let found = descriptors.iter().map(|(fd, descriptor)| (fd, redact_descriptor(descriptor.clone())));
        *descriptors = Descriptors::of_known(found.collect(), descriptors.why_unknown().map(without_paths));
        if let Some(death) = death {
            redact_death(death);
        }
        if let Some(TracebackDetails { arguments, labels: _, stamps: _, parameters, strings, types }) = traceback {
            (*arguments, *parameters, *strings, *types) = Default::default();
        }
        redact_reading(reading);
        *warnings = redacted_warnings(warnings);
        *symbols = Arc::new(mirror.to.view());
    }

    /// Redacts names that a profile has of its own; `target` is the program, redacted or not.
    pub fn allocations(&mut self, profile: &mut AllocationProfile, target: &TargetInfo) {
        profile.symbols = self.pool(&profile.symbols, target);
    }

    /// The same for a profile of contention.
    pub fn contention(&mut self, profile: &mut ContentionProfile, target: &TargetInfo) {
        profile.symbols = self.pool(&profile.symbols, target);
    }

    /// Names without what snapshots leave out, with the same numbers of frames, stacks and sets of labels.
    pub fn pool(&mut self, pool: &SymbolPool, target: &TargetInfo) -> SymbolPool {
        self.learn(target, pool);
        let origins = self.origins.get_or_insert_default();
        let rules = Rules { origins, main: self.main_package.as_deref(), values: &self.values };
        Mirror::of(&mut self.mirror, pool, &rules).to.view()
    }

    /// Finds out how the program's source files are named.
    fn learn(&mut self, target: &TargetInfo, pool: &SymbolPool) {
        let ModuleInfo { path, package, .. } = &target.module;
        self.main_package = package.clone().or(path.clone());
        let origins = self.origins.get_or_insert_with(|| Origins::new(path.as_deref(), package.as_deref()));
        if origins.standard_root().is_some() {
            return;
        }
        for entry in pool.entries_after(PoolLen::default()) {
            if let PoolEntry::Frame(frame) = entry
                && origins.learn(pool.str(frame.function), pool.str(frame.file))
            {
                return;
            }
        }
    }
}

/// By which names of a program are redacted.
struct Rules<'a> {
    origins: &'a Origins,
    /// Path of the main package.
    main: Option<&'a str>,
    values: &'a LabelValues,
}

/// A pool and what is made of it.
#[derive(Debug)]
struct Mirror {
    of: PoolId,
    /// How many values of it are in the other.
    known: PoolLen,
    to: SymbolPool,
    names: FxHashMap<StrId, StrId>,
    values: FxHashMap<StrId, StrId>,
    /// By function and file.
    files: FxHashMap<(StrId, StrId), StrId>,
    objects: FxHashMap<StrId, StrId>,
    /// What each new text of a function's file, or of an object, stands for: two of them stay two, or numbers of
    /// frames would move.
    taken: FxHashMap<(Option<StrId>, String), StrId>,
}

impl Mirror {
    fn new(of: PoolId) -> Self {
        Self {
            of,
            known: PoolLen::default(),
            to: SymbolPool::default(),
            names: FxHashMap::default(),
            values: FxHashMap::default(),
            files: FxHashMap::default(),
            objects: FxHashMap::default(),
            taken: FxHashMap::default(),
        }
    }

    /// The one of `pool`, with all that is in it by now.
    fn of<'m>(mirror: &'m mut Option<Self>, pool: &SymbolPool, rules: &Rules<'_>) -> &'m mut Self {
        if mirror.as_ref().is_some_and(|mirror| mirror.of != pool.id()) {
            *mirror = None;
        }
        let mirror = mirror.get_or_insert_with(|| Self::new(pool.id()));
        for entry in pool.entries_after(mirror.known) {
            let entry = match entry {
                // Only strings that something refers to, each as what it is.
                PoolEntry::Str(_) => continue,
                PoolEntry::Frame(frame) => PoolEntry::Frame(mirror.frame(pool, frame, rules)),
                PoolEntry::Labels(labels) => {
                    PoolEntry::Labels(labels.into_iter().map(|label| mirror.label(pool, label, rules)).collect())
                }
                PoolEntry::Foreign(mut stack) => {
                    for frame in &mut stack.frames {
                        *frame = mirror.foreign(pool, *frame);
                    }
                    PoolEntry::Foreign(stack)
                }
                // They hold numbers of frames.
                PoolEntry::Stack(stack) => PoolEntry::Stack(stack),
                PoolEntry::Ancestors(chain) => PoolEntry::Ancestors(chain),
            };
            mirror.to.add_entry(entry);
        }
        mirror.known = mirror.known.max(pool.len());
        mirror
    }

    /// A name of the program's code.
    fn name(&mut self, pool: &SymbolPool, id: StrId) -> StrId {
        let to = &mut self.to;
        *self.names.entry(id).or_insert_with(|| to.intern_str(pool.str(id)))
    }

    fn label(&mut self, pool: &SymbolPool, Label { key, value }: Label, rules: &Rules<'_>) -> Label {
        let to = &mut self.to;
        let redacted = || format!("{REDACTED}-{}", rules.values.number(pool.str(value)));
        let value = *self.values.entry(value).or_insert_with(|| to.intern_str(&redacted()));
        Label { key: self.name(pool, key), value }
    }

    fn frame(&mut self, pool: &SymbolPool, frame: Frame, rules: &Rules<'_>) -> Frame {
        let Frame { function, file, language, .. } = frame;
        let file = match self.files.get(&(function, file)) {
            Some(known) => *known,
            None => {
                let text = match language {
                    Language::Go => source(pool.str(file), pool.str(function), rules),
                    Language::Foreign => base(pool.str(file)).to_owned(),
                };
                let new = self.unique(Some(function), text, file);
                self.files.insert((function, file), new);
                new
            }
        };
        Frame { function: self.name(pool, function), file, ..frame }
    }

    fn foreign(&mut self, pool: &SymbolPool, frame: ForeignFrame) -> ForeignFrame {
        let object = match self.objects.get(&frame.object) {
            Some(known) => *known,
            None => {
                let new = self.unique(None, base(pool.str(frame.object)).to_owned(), frame.object);
                self.objects.insert(frame.object, new);
                new
            }
        };
        ForeignFrame { function: frame.function.map(|name| self.name(pool, name)), object, ..frame }
    }

    /// The id of a text that stands for `original`, and for nothing else of `of`.
    fn unique(&mut self, of: Option<StrId>, text: String, original: StrId) -> StrId {
        let mut wanted = text.clone();
        let mut number = 1_u32;
        while *self.taken.entry((of, wanted.clone())).or_insert(original) != original {
            number = number.saturating_add(1);
            wanted = format!("{text} ({number})");
        }
        self.to.intern_str(&wanted)
    }
}

/// A source file as `-trimpath` would name it: below GOROOT and the module cache by its path there, and else by the
/// package of the function. A module outside of the cache has no version that is known, which is said where its path
/// could be one of the standard library's.
fn source(file: &str, function: &str, Rules { origins, main, .. }: &Rules<'_>) -> String {
    let Some((dir, name)) = file.rsplit_once('/') else { return file.to_owned() };
    match origins.standard_root() {
        // It was built with -trimpath.
        Some("") if !file.starts_with('/') && !dir.split('/').any(|part| part == "..") => return file.to_owned(),
        Some(root) if !root.is_empty() => {
            if let Some(below) = file.strip_prefix(root) {
                return below.to_owned();
            }
        }
        _ => {}
    }
    if let Some((_, below)) = file.rsplit_once("/pkg/mod/") {
        return below.to_owned();
    }
    let Some(package) = go_names::package(function) else { return name.to_owned() };
    if package == "main" {
        return format!("{}/{name}", main.unwrap_or("main"));
    }
    // Where GOROOT is not known, this may be the standard library's.
    let is_standard = origins.standard_root().is_none();
    let is_plain = !package.split('/').next().is_some_and(|first| first.contains('.'));
    let version = if is_plain && !is_standard && !origins.is_main(&package) { "@unknown" } else { "" };
    format!("{package}{version}/{name}")
}

/// The last part of a path.
fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// A text of gospy, which may name files.
fn without_paths(text: &str) -> String {
    if text.contains('/') { REDACTED.to_owned() } else { text.to_owned() }
}

fn redact_target(target: &mut TargetInfo) {
    let TargetInfo {
        pid: _,
        exe,
        cmdline,
        build_id: _,
        text,
        go_version: _,
        go_version_source: _,
        arch: _,
        module,
        stripped: _,
        gomaxprocs: _,
        os_threads: _,
        uptime_ns: _,
        process_state: _,
        cpu_ns: _,
        rss_bytes: _,
        // Numbers.
        resources: _,
    } = target;
    *exe = base(exe).to_owned();
    cmdline.clear();
    if let Some(TextMapping { file, gnu_build_id: _, start: _, end: _, offset: _ }) = text {
        *file = base(file).to_owned();
    }
    let ModuleInfo { package: _, path: _, version: _, vcs_revision: _, vcs_time: _, vcs_modified: _, settings } =
        module;
    settings.retain(|key, _| SETTINGS.contains(&key.as_str()));
}

fn redact_reading(reading: &mut Reading) {
    let Reading {
        backend: _,
        duration_ns: _,
        syscalls: _,
        bytes: _,
        freeze: _,
        consistency: _,
        stacks: _,
        layout,
        provenance,
    } = reading;
    *layout = without_paths(layout);
    for Provenance { name: _, source, cross_checks } in provenance {
        *source = without_paths(source);
        cross_checks.iter_mut().for_each(|check| *check = without_paths(check));
    }
}

fn redacted_warnings(warnings: &Warnings) -> Warnings {
    let mut all = Warnings::default();
    for Warning { code, message, count } in warnings.iter() {
        all.add_many(*code, without_paths(message), *count);
    }
    all
}

fn redact_death(death: &mut Death) {
    let Death {
        kind: _,
        text,
        // Of the runtime.
        message: _,
        panics,
        signal: _,
        core_signal: _,
        process: _,
        thread: _,
        m: _,
        stack_kind: _,
        object,
        goroutine: _,
        stack: _,
        stack_complete: _,
        certain: _,
    } = death;
    // Without a panic, the runtime has written all of it.
    if !panics.is_empty() || death.kind == crate::model::DeathKind::Panic {
        *text = format!("panic: {REDACTED}\n");
    }
    for PanicValue { go_type: _, text, recovered: _, repanicked: _, goexit } in panics {
        if !*goexit {
            REDACTED.clone_into(text);
        }
    }
    if let Some(object) = object {
        *object = base(object).to_owned();
    }
}

fn redact_descriptor(descriptor: Descriptor) -> Descriptor {
    match descriptor {
        Descriptor::File(OpenFile { path: _, deleted, kind }) => {
            Descriptor::File(OpenFile { path: REDACTED.to_owned(), deleted, kind })
        }
        Descriptor::Socket(socket) => {
            let named = |name: Option<SocketName>| name.map(redact_socket_name);
            Descriptor::Socket(Socket { local: named(socket.local), remote: named(socket.remote), ..socket })
        }
        Descriptor::Unknown { reason } => Descriptor::Unknown { reason: without_paths(&reason) },
        Descriptor::Other { name } => Descriptor::Other { name: without_paths(&name) },
        // The kernel's names of kinds, and numbers.
        other => other,
    }
}

fn redact_socket_name(name: SocketName) -> SocketName {
    match name {
        SocketName::Ip(address) => redacted_address(address).map_or(SocketName::Ip(address), SocketName::Unix),
        SocketName::Unix(_) => SocketName::Unix(REDACTED.to_owned()),
    }
}

/// What stands for an address; `None` where it is the same on every machine.
fn redacted_address(address: SocketAddr) -> Option<String> {
    let ip = address.ip();
    let is_known = ip.is_loopback() || ip.is_unspecified();
    (!is_known).then(|| format!("{REDACTED}:{}", address.port()))
}

fn redact_details(details: &mut DescriptorDetails) {
    let DescriptorDetails { what: _, state: _, local, remote, receive_queue: _, send_queue: _, path } = details;
    for name in [local, remote].into_iter().flatten() {
        let address = name.parse::<SocketAddr>();
        match address.map(redacted_address) {
            Ok(None) => {}
            Ok(Some(redacted)) => *name = redacted,
            Err(_) => REDACTED.clone_into(name),
        }
    }
    if let Some(path) = path {
        REDACTED.clone_into(path);
    }
}
