//! One function for each decoder of bytes that others wrote, for fuzzing. Each gives how much it found, so that a test
//! can see whether a seed gets as far as it should.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::addr::{Addr, Arch, LinkAddr};
use crate::archive::{Archive, Start};
use crate::bytes::ByteSource;
use crate::image::build_info::BuildInfo;
use crate::image::code_refs::{data_refs, linked_store};
use crate::image::dwarf::Dwarf;
use crate::image::eh_frame::{EhFrame, Row, Rule};
use crate::image::elf::Elf;
use crate::image::moduledata::ModuleData;
use crate::image::pclntab::{FuncData, Function, Header, PcData, Pclntab};
use crate::image::symtab::{Symbols, variable_at};
use crate::model::{Snapshot, SymbolPool};
use crate::process::core::{CoreError, CoreOptions, CoreTarget};
use crate::process::decoders;
#[cfg(feature = "serve")]
pub use crate::serve::testing::MadeUpServer;

/// Most bytes of a section that are looked at.
const SECTION: usize = 1 << 20;
/// Most functions that are looked at.
const FUNCTIONS: u64 = 48;
/// Most samples of a recording that are read.
const SAMPLES: u64 = 24;

/// An ELF file: headers, sections, notes, symbols.
#[must_use]
pub fn elf(source: Arc<dyn ByteSource>) -> usize {
    let Ok(elf) = Elf::parse(source) else { return 0 };
    let read = |section| elf.data_of(section, SECTION).ok().flatten().map_or(0, |data| data.len());
    let data: usize = elf.sections().iter().map(read).sum();
    let ids = [elf.go_build_id(), elf.gnu_build_id()].into_iter().flatten().count();
    let first = elf.segments().first().map_or(0, |segment| segment.vaddr.0);
    let bias = elf.load_bias(&[(first, 0)], Some(elf.entry().0)).map_or(0, |_| 1);
    let named = Symbols::load(&elf, |_| true).map_or(0, |symbols| {
        let found = symbols.function_at(&elf, elf.entry()).is_some() || symbols.get("main.main").is_some();
        usize::from(found)
    });
    let variable = usize::from(variable_at(&elf, elf.entry()).is_some());
    let memory = elf.segments().iter().filter(|segment| elf.read(segment.vaddr, 64).is_some()).count();
    1 + data + ids + bias + named + variable + memory
}

/// Build information: where it is in an ELF file, and its text.
#[must_use]
pub fn build_info(source: Arc<dyn ByteSource>) -> usize {
    let Ok(elf) = Elf::parse(source) else { return 0 };
    BuildInfo::find(&elf).ok().flatten().map_or(0, |info| count_build_info(&info))
}

/// The text of build information.
#[must_use]
pub fn mod_info(text: &str) -> usize {
    count_build_info(&BuildInfo::parse_modinfo(text))
}

fn count_build_info(info: &BuildInfo) -> usize {
    let times = [info.vcs_revision(), info.vcs_time(), info.setting("GOARCH")];
    1 + times.into_iter().flatten().count() + usize::from(info.vcs_modified().is_some())
}

/// The tables of functions of an ELF file: the header where a search finds it, and every table of some functions.
#[must_use]
pub fn pclntab(source: Arc<dyn ByteSource>) -> usize {
    let Ok(elf) = Elf::parse(source) else { return 0 };
    let elf = Arc::new(elf);
    let headers = match elf.section(".gopclntab").and_then(|section| Header::at(&elf, section.addr)) {
        Some(header) => vec![header],
        None => Header::find_all(&elf),
    };
    let start = |name| elf.section(name).map_or(LinkAddr(0), |section| section.addr);
    let (text, gofunc) = (start(".text"), start(".rodata"));
    let of_header = |header| {
        let table = Pclntab::new(Arc::clone(&elf), header, text).with_gofunc(gofunc);
        let every = (header.function_count / FUNCTIONS).max(1);
        let indexes = (0..FUNCTIONS).filter_map(|n| u32::try_from(n.checked_mul(every)?).ok());
        let functions: Vec<Function> = indexes.filter_map(|index| table.function(index)).collect();
        let named = table.find_functions(&["main.main", "runtime.gopark"]).len();
        1 + named + functions.iter().map(|function| tables_of(&table, function)).sum::<usize>()
    };
    headers.into_iter().take(4).map(of_header).sum()
}

fn tables_of(table: &Pclntab, function: &Function) -> usize {
    const FUNC_DATA: [FuncData; 6] = [
        FuncData::ArgsPointerMaps,
        FuncData::LocalsPointerMaps,
        FuncData::StackObjects,
        FuncData::InlineTree,
        FuncData::ArgInfo,
        FuncData::ArgLiveInfo,
    ];
    const PC_DATA: [PcData; 4] =
        [PcData::UnsafePoint, PcData::StackMapIndex, PcData::InlineTreeIndex, PcData::ArgLiveIndex];
    let mut found = usize::from(table.name(function).is_some());
    found += FUNC_DATA.iter().filter(|kind| table.funcdata(function, **kind).is_ok()).count();
    for step in [0, 1, 16, 200] {
        let Some(pc) = function.entry.0.checked_add(step).map(LinkAddr) else { continue };
        found += usize::from(table.function_at(pc).is_some()) + usize::from(table.is_entry(pc));
        found += usize::from(table.frame_size(function, pc).is_some());
        found += table.file_line(function, pc).0.len().min(1);
        found += table.source_frames(function, pc).len();
        found += usize::from(table.outermost_call(function, pc) == pc);
        found += table.arguments(function, pc).map_or(0, |arguments| arguments.len());
        found += PC_DATA.iter().filter(|kind| table.pcdata(function, **kind, pc).is_ok()).count();
    }
    found
}

/// The table of functions that [`moduledata`] is looked for of, in a program that is right.
#[must_use]
pub fn header_of(program: Arc<dyn ByteSource>) -> Option<Header> {
    let elf = Elf::parse(program).ok()?;
    Header::at(&elf, elf.section(".gopclntab")?.addr)
}

/// The module data of the program with this table of functions, in memory that begins at 0x5861a0.
#[must_use]
pub fn moduledata(memory: &[u8], header: &Header) -> usize {
    let Some(found) = ModuleData::search(memory, Addr(0x58_61a0), header, Addr(header.addr.0)) else { return 0 };
    let ranges = found.data_ranges().iter().filter(|range| found.is_data(Addr(range.start))).count();
    1 + ranges + (0..800).step_by(8).filter_map(|at| found.word(at)).count()
}

/// The DWARF of an ELF file: everything that is ever asked of it.
#[must_use]
pub fn dwarf(source: Arc<dyn ByteSource>) -> usize {
    let Ok(elf) = Elf::parse(source) else { return 0 };
    let Ok(Some(dwarf)) = Dwarf::open(&elf) else { return 0 };
    let structs = ["runtime.g", "runtime.m", "main.config", "internal/runtime/atomic.Uint32"];
    let variables = ["runtime.allgs", "runtime.allglen", "main.counter"];
    let found = dwarf.find(&structs, &variables, &["runtime._Gwaiting", "runtime.minus"]);
    let found = found.map_or(0, |found| found.structs.len() + found.variables.len() + found.constants.len());
    let entries: BTreeSet<LinkAddr> = (0..64).map(|n| LinkAddr(0x1000 + 16 * n)).chain([LinkAddr(0x40_1000)]).collect();
    let parameters = dwarf.parameters(&entries).map_or(0, |found| found.values().map(Vec::len).sum());
    let pointers = dwarf.variable_pointers().map_or(0, |found| found.len());
    #[cfg(feature = "cli")]
    let pointers = pointers + usize::from(dwarf.variables(&variables.into_iter().collect()).is_ok());
    1 + found + parameters + pointers
}

/// Call frame information of an ELF file; rows at the start of its text and after each of `steps` bytes.
#[must_use]
pub fn eh_frame(source: Arc<dyn ByteSource>, steps: u64) -> usize {
    let Ok(elf) = Elf::parse(source) else { return 0 };
    let Ok(Some(frames)) = EhFrame::load(&elf) else { return 0 };
    let rows = (0..steps).filter_map(|step| frames.row(LinkAddr(0x1000_u64.checked_add(step)?)));
    let known = |row: &Row| (0..33).filter(|register| row.rule(*register) != Rule::Unknown).count();
    1 + rows.map(|row| 1 + known(&row)).sum::<usize>()
}

/// Code: its references to data, and the field that a list is linked by.
#[must_use]
pub fn code_refs(code: &[u8]) -> usize {
    let base = LinkAddr(0x40_1000);
    let of = |arch| {
        let found = data_refs(arch, code, base);
        let linked = found.iter().take(4).filter_map(|found| linked_store(arch, code, base, found.target, 8)).count();
        found.len() + linked
    };
    of(Arch::Amd64) + of(Arch::Arm64)
}

/// A capture or a core file, opened.
///
/// # Errors
/// As [`CoreTarget::open`].
pub fn core(source: Arc<dyn ByteSource>) -> Result<CoreTarget, CoreError> {
    CoreTarget::from_source(source, &CoreOptions::default())
}

/// A recording: some of its samples, in the order in which commands read them.
#[must_use]
pub fn archive(source: Arc<dyn ByteSource>) -> Vec<Snapshot> {
    let Ok(mut archive) = Archive::open(source) else { return Vec::new() };
    let last = archive.samples().saturating_sub(1);
    let mut numbers = archive.leading_to(last, SAMPLES);
    for start in [Start::Beginning(1_000_000_000), Start::End(1_000_000_000), Start::Unix(archive.first().unix_ns)] {
        numbers.extend(archive.find(start));
    }
    numbers.push(0);
    numbers.into_iter().filter_map(|number| archive.read(number).ok()).collect()
}

/// JSON that gospy wrote: a snapshot for `--from` and for comparing, and what is on a heap.
#[must_use]
pub fn json(bytes: &[u8]) -> (Option<Snapshot>, usize) {
    let mut pool = SymbolPool::default();
    let census = crate::report::json::read::read(bytes, "a", &mut pool).is_ok();
    #[cfg(feature = "cli")]
    let heap = crate::report::heap::restore::moment("a".to_owned(), bytes, &mut pool).is_ok();
    #[cfg(not(feature = "cli"))]
    let heap = false;
    let snapshot = crate::report::json::restore::snapshot(bytes).ok();
    let found = [census, heap, snapshot.is_some()].into_iter().filter(|found| *found).count();
    (snapshot, found)
}

/// Records of a ring of perf events.
#[must_use]
pub fn perf(bytes: &[u8]) -> usize {
    decoders::perf(bytes)
}

/// Files of `/proc`, and what the kernel says of sockets.
#[must_use]
pub fn proc_files(bytes: &[u8]) -> usize {
    decoders::proc_files(bytes)
}
