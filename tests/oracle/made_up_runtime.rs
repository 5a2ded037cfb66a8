//! Runtimes that do not exist: real programs, as files, with memory made up around them. This is how
//! versions that nobody has released, machines that are not at hand, and processes that have just
//! begun are tried.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::{Fixture, Mode, VERSIONS};
use gospy::addr::{Addr, Arch};
use gospy::model::WarningCode;
use gospy::process::fake::FakeTarget;
use gospy::process::{Clock, Mapping, ThreadInfo};
use gospy::testing::Elf;
use gospy::testing::GoVersionSource;
use gospy::testing::Program;
use gospy::testing::symtab;
use gospy::testing::{Global, SymbolSource};
use gospy::testing::{GoRuntime, LocateOptions, RuntimeError};
use gospy::testing::{Layout, LayoutSource, LayoutTable};

const HEAP: u64 = 0xc0_0000_0000;
const GS: u64 = 24;
const TID: u64 = 1234;

fn build(version: &str, mode: Mode, arch: Arch) -> PathBuf {
    match arch {
        Arch::Amd64 => Fixture::build("tiny", version, mode),
        Arch::Arm64 => Fixture::build_arm64("tiny", version, mode),
    }
}

fn open(path: &Path) -> Arc<Elf> {
    Arc::new(Elf::parse(Arc::new(std::fs::read(path).unwrap())).unwrap())
}

/// A stripped program, where its variables are, and a layout for the memory around it.
struct World {
    version: &'static str,
    stripped: Vec<u8>,
    elf: Arc<Elf>,
    named: symtab::Symbols,
    table: LayoutTable,
}

impl World {
    fn new(version: &'static str, arch: Arch) -> Self {
        let whole = open(&build(version, Mode::Default, arch));
        let named = symtab::Symbols::load(&whole, |name| name.starts_with(b"runtime.")).unwrap();
        let table = LayoutTable::of_program(&whole).unwrap();
        let stripped = std::fs::read(build(version, Mode::Sw, arch)).unwrap();
        let elf = Arc::new(Elf::parse(Arc::new(stripped.clone())).unwrap());
        Self { version, stripped, elf, named, table }
    }

    fn addr(&self, global: Global) -> u64 {
        self.named.get(global.name()).unwrap().addr.0
    }

    fn function(&self, name: &str) -> u64 {
        self.named.get(name).unwrap().addr.0
    }

    fn offset(&self, structure: &str, field: &str) -> u64 {
        self.table.offset(structure, field).unwrap().into()
    }

    /// The process: the file's segments, and two dozen goroutines on one M and one P.
    fn process(&self) -> FakeTarget {
        let thread = ThreadInfo { tid: TID as i32, state: Some('S'), name: "tiny".into() };
        let mut target = FakeTarget::new(self.elf.arch())
            .with_executable(Arc::new(self.stripped.clone()))
            .with_auxv(vec![(9, self.elf.entry().0)])
            .with_clocks([Clock { monotonic_ns: 1_000_000, unix_ns: 1_700_000_000_000_000_000 }])
            .with_thread(thread);
        for segment in self.elf.segments() {
            let file_size = usize::try_from(segment.file_size).unwrap();
            let mut bytes = self.elf.read(segment.vaddr, file_size).unwrap();
            bytes.resize(usize::try_from(segment.mem_size).unwrap(), 0);
            target.memory(|memory| memory.put(Addr(segment.vaddr.0), &bytes));
            target = target.with_mapping(Mapping {
                start: Addr(segment.vaddr.0 & !0xfff),
                end: Addr((segment.vaddr.0 + segment.mem_size).next_multiple_of(0x1000)),
                read: true,
                write: segment.writable,
                exec: segment.executable,
                offset: segment.offset & !0xfff,
                inode: 7,
                path: "/fake".into(),
                deleted: false,
            });
        }
        let target = target.with_segment(Addr(HEAP), vec![0; 0x10_0000]);
        self.fill(&target);
        target
    }

    fn fill(&self, target: &FakeTarget) {
        let put = |at: u64, value: u64| target.memory(|memory| memory.put_u64(Addr(at), value));
        let put32 = |at: u64, value: u32| target.memory(|memory| memory.put(Addr(at), &value.to_le_bytes()));
        let put8 = |at: u64, value: u8| target.memory(|memory| memory.put(Addr(at), &[value]));
        let (array, p, g0) = (HEAP + 0xf_0000, HEAP + 0xe_0000, HEAP + 0xd_0000);
        let m0 = self.addr(Global::M0);
        let allgs = self.addr(Global::Allgs);
        for (n, word) in [array, GS, 32].into_iter().enumerate() {
            put(allgs + 8 * n as u64, word);
        }
        put(self.addr(Global::Allglen), GS);
        put(self.addr(Global::Allgptr), array);
        let g = |field| self.offset("runtime.g", field);
        let (sp, pc) = (self.offset("runtime.gobuf", "sp"), self.offset("runtime.gobuf", "pc"));
        for n in 0..GS {
            let (at, stack) = (HEAP + 0x1000 * n, HEAP + 0x8_0000 + 0x800 * n);
            put(array + 8 * n, at);
            put(at, stack);
            put(at + 8, stack + 0x800);
            put(at + g("sched") + sp, stack + 0x700);
            put(at + g("sched") + pc, self.function("runtime.gopark") + 32);
            put32(at + g("atomicstatus"), 4);
            put(at + g("goid"), n + 1);
            put8(at + g("waitreason"), 3);
            put(at + g("gopc"), self.function("runtime.main") + 32);
            put(at + g("startpc"), self.function(if n == 0 { "runtime.main" } else { "runtime.forcegchelper" }));
            if n == 5 {
                put32(at + g("atomicstatus"), 3);
                put(at + g("syscallsp"), stack + 0x600);
                put(at + g("syscallpc"), self.function("runtime.gopark") + 32);
                put(at + g("m"), m0);
                put(m0 + self.offset("runtime.m", "curg"), at);
            }
        }
        put(self.addr(Global::Allp), HEAP + 0xf_8000);
        put(self.addr(Global::Allp) + 8, 1);
        put(self.addr(Global::Allp) + 16, 1);
        put(HEAP + 0xf_8000, p);
        put(p + self.offset("runtime.p", "mcache"), HEAP + 0xc_0000);
        put(p + self.offset("runtime.p", "goidcache"), GS + 2);
        put(p + self.offset("runtime.p", "goidcacheend"), GS + 8);
        put32(self.addr(Global::Gomaxprocs), 1);
        put(self.addr(Global::Allm), m0);
        put(m0, g0);
        put(m0 + self.offset("runtime.m", "procid"), TID);
        put(g0 + g("m"), m0);
        let sched = |field| self.addr(Global::Sched) + self.offset("runtime.schedt", field);
        put(sched("goidgen"), GS + 8);
        put32(sched("maxmcount"), 10_000);
        put(sched("mnext"), 1);
        put(self.addr(Global::RuntimeInitTime), 1000);
    }

    /// Looks for the runtime as it would in a live process.
    fn locate(&self, target: &FakeTarget, with_build_info: bool) -> Result<GoRuntime, RuntimeError> {
        let mut program = Program::find(target, None).unwrap();
        program.build_info = program.build_info.filter(|_| with_build_info);
        GoRuntime::locate(target, &program, &LocateOptions::default())
    }

    fn assert_all_found(&self, runtime: &GoRuntime) {
        for global in Global::ALL {
            let found = runtime.symbols.get(global);
            let found = found.unwrap_or_else(|| panic!("{}: {} was not found", self.version, global.name()));
            assert_eq!(found.addr.0, self.addr(global), "{}: {} by {}", self.version, global.name(), found.source);
            assert!(matches!(found.source, SymbolSource::Code { .. }), "{} by {}", global.name(), found.source);
        }
    }
}

#[test]
fn arm64_programs_without_symbols() {
    for version in VERSIONS {
        let world = World::new(version, Arch::Arm64);
        let runtime = world.locate(&world.process(), true).unwrap();
        world.assert_all_found(&runtime);
        assert!(matches!(runtime.layout_source, LayoutSource::Table { .. }), "{}", runtime.layout_source);
        assert!(runtime.warnings.is_empty(), "{version}: {:?}", runtime.warnings);
    }
}

#[test]
fn programs_that_do_not_tell_their_version() {
    for version in VERSIONS {
        let world = World::new(version, Arch::Amd64);
        let target = world.process();
        // First the text in memory alone, then nothing at all.
        let runtime = world.locate(&target, false).unwrap();
        assert_eq!(runtime.version_source, GoVersionSource::BuildVersion);
        assert!(runtime.warnings.is_empty(), "{version}: {:?}", runtime.warnings);
        target.memory(|memory| memory.put(Addr(world.addr(Global::BuildVersion)), &[0; 16]));
        let runtime = world.locate(&target, false).unwrap();
        assert_eq!(runtime.version_source, GoVersionSource::Inferred);
        let real: u32 = version.split('.').nth(1).unwrap().parse().unwrap();
        assert_eq!(runtime.version.minor, real, "{}", runtime.version);
        let right = Layout::resolve(world.table.clone()).unwrap();
        assert_eq!((runtime.layout.g, runtime.layout.m), (right.g, right.m), "{version}");
        let codes: Vec<WarningCode> = runtime.warnings.iter().map(|w| w.code).collect();
        assert_eq!(codes, [WarningCode::NearestLayout], "{version}");
    }
}

/// Moves `fields` by `shift` bytes.
fn move_fields(table: &mut LayoutTable, structure: &str, fields: &[&str], shift: i32) {
    for field in fields {
        if let Some(offset) = table.offset(structure, field) {
            table.set_offset(structure, field, offset.checked_add_signed(shift).unwrap());
        }
    }
}

#[test]
fn fields_that_moved_are_found_again() {
    let mut world = World::new("1.26.6", Arch::Amd64);
    // Eight bytes more before goid, sixteen before gopc, and eight fewer before procid; the code still
    // has m.alllink where it was.
    table_of_a_later_version(&mut world.table);
    let runtime = world.locate(&world.process(), true).unwrap();
    let LayoutSource::Inferred { release, fields } = &runtime.layout_source else {
        panic!("{}", runtime.layout_source)
    };
    assert_eq!(
        (release.as_str(), fields.join(" ").as_str()),
        ("go1.26.6", "g.goid g.gopc g.syscallsp m.procid m.alllink")
    );
    let right = Layout::resolve(world.table.clone()).unwrap();
    let found = &runtime.layout;
    assert_eq!(found.g.goid, right.g.goid);
    assert_eq!(found.g.atomicstatus, right.g.atomicstatus);
    assert_eq!(found.g.waitreason, right.g.waitreason);
    assert_eq!(found.g.syscallpc, right.g.syscallpc);
    assert_eq!((found.g.startpc, found.g.labels), (right.g.startpc, right.g.labels));
    assert_eq!((found.m.procid, found.m.curg), (right.m.procid, right.m.curg));
    assert!(runtime.warnings.iter().any(|w| w.code == WarningCode::NearestLayout), "{:?}", runtime.warnings);
}

fn table_of_a_later_version(table: &mut LayoutTable) {
    let g = "runtime.g";
    let fields: Vec<(String, u32)> = table.structs[g].fields.iter().map(|(f, o)| (f.clone(), *o)).collect();
    let goid = table.offset(g, "syscallsp").unwrap();
    let gopc = table.offset(g, "parentGoid").unwrap();
    for (field, offset) in fields {
        let shift = if offset >= gopc {
            16
        } else if offset >= goid {
            8
        } else {
            0
        };
        move_fields(table, g, &[field.as_str()], shift);
    }
    let m: Vec<String> = table.structs["runtime.m"].fields.keys().filter(|f| *f != "g0").cloned().collect();
    let m: Vec<&str> = m.iter().map(String::as_str).filter(|f| *f != "alllink").collect();
    move_fields(table, "runtime.m", &m, -8);
}

/// Go 1.27's structures in a program that says that it is of a version to come.
#[test]
fn versions_to_come_are_told_what_can_be_proven() {
    const TEXT: &[u8] = b"go1.30.1";
    let mut world = World::new("1.27.3", Arch::Amd64);
    let process = |world: &World| {
        let target = world.process();
        target.memory(|memory| {
            memory.put(Addr(HEAP + 0xb_0000), TEXT);
            memory.put_u64(Addr(world.addr(Global::BuildVersion)), HEAP + 0xb_0000);
            memory.put_u64(Addr(world.addr(Global::BuildVersion) + 8), TEXT.len() as u64);
        });
        target
    };
    let right = Layout::resolve(world.table.clone()).unwrap();
    let target = process(&world);
    let runtime = world.locate(&target, false).unwrap();
    assert_eq!(runtime.version.text, "go1.30.1");
    assert!(matches!(&runtime.layout_source, LayoutSource::Nearest { release, .. } if release == "go1.27.3"));
    assert_eq!((runtime.layout.g, runtime.layout.m, runtime.layout.sched), (right.g, right.m, right.sched));
    assert!(runtime.layout.trusts("runtime.p", "m"));
    assert_eq!((runtime.layout.p.goidcache, runtime.layout.p.runnext), (right.p.goidcache, right.p.runnext));
    // There are no timers, and nothing that shows where they would be.
    assert_eq!((runtime.layout.p.timers_len, runtime.layout.p.goroutines_created), (None, None));

    // With one, 64 bytes from where 1.27 has it.
    let p = HEAP + 0xe_0000;
    let timers = p + world.offset("runtime.p", "timers") + 64;
    let (heap, timer) = (HEAP + 0xb_1000, HEAP + 0xb_2000);
    target.memory(|memory| {
        for (n, word) in [heap, 1, 4].into_iter().enumerate() {
            memory.put_u64(Addr(timers + world.offset("runtime.timers", "heap") + 8 * n as u64), word);
        }
        memory.put(Addr(timers + world.offset("runtime.timers", "len")), &1_u32.to_le_bytes());
        memory.put_u64(Addr(heap), timer);
        memory.put_u64(Addr(timer + world.offset("runtime.timer", "ts")), timers);
    });
    let runtime = world.locate(&target, false).unwrap();
    assert!(matches!(&runtime.layout_source, LayoutSource::Inferred { fields, .. } if fields == &["p.timers"]));
    assert_eq!(runtime.layout.p.timers_len, right.p.timers_len.map(|at| at + 64));

    // Ps that are like nobody's are not told.
    let fields = ["m", "mcache", "goidcache", "goidcacheend", "runqhead", "runqtail", "runq", "runnext"];
    move_fields(&mut world.table, "runtime.p", &fields, 8);
    let runtime = world.locate(&process(&world), false).unwrap();
    assert!(!runtime.layout.trusts("runtime.p", "m"));
    assert_eq!(runtime.layout.g, right.g);
}

#[test]
fn a_runtime_that_has_not_begun_is_told_from_a_strange_one() {
    let world = World::new("1.26.6", Arch::Amd64);
    let target = world.process();
    target.memory(|memory| memory.put(Addr(world.addr(Global::Allgs)), &[0; 24]));
    assert!(matches!(world.locate(&target, true), Err(RuntimeError::NotStarted)));

    // Ids that make no sense anywhere.
    let target = world.process();
    for n in 0..GS {
        target.memory(|memory| {
            memory.put_u64(Addr(HEAP + 0x1000 * n + world.offset("runtime.g", "goid")), u64::MAX - n);
        });
    }
    let error = world.locate(&target, true).unwrap_err();
    assert!(matches!(error, RuntimeError::Unsupported { .. }), "{error}");
    let expected = "cannot read this runtime (go1.26.6): with the layout of go1.26.6, g.goid should be a goroutine's id, \
                    and is 18446744073709551615 (right in 0 of 24)";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn nonsense_in_memory_is_an_error_or_an_answer() {
    let world = World::new("1.25.5", Arch::Amd64);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for round in 0..40_u32 {
        let target = world.process();
        // The variables that everything starts from, and what they lead to.
        for global in Global::ALL {
            if next() % 3 == 0 {
                let size = 8 * (1 + next() % 8);
                for at in (0..size).step_by(8) {
                    let values = [next(), next() % 64, HEAP + next() % 0x10_0000, u64::MAX, 1 << 40];
                    let value = values[usize::try_from(next() % 5).unwrap()];
                    target.memory(|memory| memory.put_u64(Addr(world.addr(global) + at), value));
                }
            }
        }
        for _ in 0..round * 8 {
            let (at, value) = (HEAP + ((next() % 0x10_0000) & !7), next() % 0x1_0000_0000);
            target.memory(|memory| memory.put_u64(Addr(at), value));
        }
        // It ends, and does not panic; whatever it finds has passed its checks.
        let _ = world.locate(&target, round % 2 == 0);
    }
}
