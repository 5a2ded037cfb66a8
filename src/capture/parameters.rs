//! Names and types of parameters, and the strings and dynamic types among the arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::addr::{Addr, LinkAddr};
use crate::bytes::FieldsExt as _;
use crate::image::dwarf::{Dwarf, DwarfError};
use crate::image::elf::Elf;
use crate::model::values::{Parameter, Value, ValueType, named, values, visit_interfaces, visit_strings};
use crate::model::{Goroutine, SymbolPool, TracebackDetails, WarningCode, Warnings};
use crate::process::{Backend, MemRange, ReadError, Target};
use crate::runtime::GoProcess;
use crate::runtime::values::Values;

/// Most bytes of a string that are read.
const MAX_STRING: u64 = 256;
/// Most strings that are read in one capture.
const MAX_STRINGS: usize = 100_000;
/// Most types of interfaces that are looked up in one capture.
const MAX_TYPES: usize = 10_000;
/// `reflect.Interface`.
const INTERFACE: u8 = 20;
/// How many strings are read in one call.
const BATCH: usize = 1000;

/// The parameters that were looked up, of one program.
#[derive(Debug, Default)]
pub(super) struct ParameterCache {
    /// Those that are not there are empty.
    known: BTreeMap<Addr, Arc<[Parameter]>>,
    /// Whether there is DWARF, once that is known.
    has_dwarf: Option<bool>,
}

impl ParameterCache {
    /// The parameters of the functions that `goroutines` are in; `None` without DWARF.
    pub(super) fn of(
        &mut self,
        process: GoProcess<'_>,
        goroutines: &[Goroutine],
        pool: &SymbolPool,
        warnings: &mut Warnings,
    ) -> Option<BTreeMap<Addr, Arc<[Parameter]>>> {
        let stacks: FxHashSet<_> = goroutines.iter().filter_map(|goroutine| goroutine.stack.known()).collect();
        let frames = stacks.iter().filter_map(|&id| pool.stack(id)).flat_map(|stack| &stack.frames);
        let entries: BTreeSet<Addr> =
            frames.filter_map(|frame| pool.frame(frame.frame)).map(|frame| frame.entry).collect();
        let missing: BTreeSet<Addr> = entries.iter().copied().filter(|at| !self.known.contains_key(at)).collect();
        if self.has_dwarf.is_none() || (self.has_dwarf == Some(true) && !missing.is_empty()) {
            match look_up(process, &missing) {
                Ok(found) => {
                    self.has_dwarf = Some(found.is_some());
                    let mut found = found.unwrap_or_default();
                    let entry = |at| (at, found.remove(&at).unwrap_or_default().into());
                    self.known.extend(missing.into_iter().map(entry));
                }
                Err(error) => {
                    self.has_dwarf = Some(false);
                    warnings.add(WarningCode::ImageMalformed, format!("names of arguments are unknown: {error}"));
                }
            }
        }
        let known = || entries.iter().filter_map(|at| Some((*at, Arc::clone(self.known.get(at)?)))).collect();
        (self.has_dwarf == Some(true)).then(known)
    }
}

/// Parameters by the entries of their functions, from the program's own DWARF or that of the separate file.
fn look_up(
    process: GoProcess<'_>,
    entries: &BTreeSet<Addr>,
) -> Result<Option<BTreeMap<Addr, Vec<Parameter>>>, DwarfError> {
    let program = process.program;
    let own = program.elf.unlogged();
    let own: &Elf = own.as_ref().unwrap_or(&program.elf);
    // Of the binary a capture holds what was read: the headers name DWARF that is not there.
    let own = (process.target.backend() != Backend::Capture).then_some((own, 0));
    for (elf, shift) in own.into_iter().chain(program.symbols()) {
        let Some(dwarf) = Dwarf::open(elf)? else { continue };
        let links: BTreeMap<LinkAddr, Addr> =
            entries.iter().map(|&at| (LinkAddr(program.bias.unload(at).0.wrapping_sub(shift)), at)).collect();
        let found = dwarf.parameters(&links.keys().copied().collect())?;
        return Ok(Some(found.into_iter().filter_map(|(link, found)| Some((*links.get(&link)?, found))).collect()));
    }
    Ok(None)
}

/// Reads the beginnings of the strings among those arguments of `goroutines` whose parameters are known.
pub(super) fn read_strings(
    target: &dyn Target,
    goroutines: &[Goroutine],
    pool: &SymbolPool,
    details: &TracebackDetails,
) -> Result<FxHashMap<(u64, u64), String>, ReadError> {
    let mut wanted = FxHashSet::default();
    visit(goroutines, pool, details, &mut |kind, value| {
        visit_strings(kind, value, &mut |data, len| {
            if data != 0 && len != 0 && wanted.len() < MAX_STRINGS {
                wanted.insert((data, len));
            }
        });
    });

    let mut wanted: Vec<(u64, u64)> = wanted.into_iter().collect();
    wanted.sort_unstable();
    let mut found = FxHashMap::default();
    let most = usize::try_from(MAX_STRING).unwrap_or_default();
    let (mut buffer, mut got) = (vec![0; BATCH.saturating_mul(most)], Vec::new());
    for batch in wanted.chunks(BATCH) {
        let len = |len: u64| usize::try_from(len.min(MAX_STRING)).unwrap_or_default();
        let ranges: Vec<MemRange> =
            batch.iter().map(|&(data, bytes)| MemRange { start: Addr(data), len: len(bytes) }).collect();
        target.read_ranges(&ranges, &mut buffer, &mut got)?;
        let mut start = 0_usize;
        for ((string, range), got) in batch.iter().zip(&ranges).zip(&got) {
            // One that cannot be read whole is not one.
            if let Some(bytes) = buffer.get(start..start.saturating_add(range.len)).filter(|_| *got == range.len) {
                found.insert(*string, String::from_utf8_lossy(bytes).into_owned());
            }
            start = start.saturating_add(range.len);
        }
    }
    Ok(found)
}

/// Dynamic types of the interfaces among the arguments of `goroutines`, by their first words: the type, or an itab,
/// whose second word is the type (`runtime.eface`, `runtime.iface`; runtime2.go, 1.19 to 1.27).
pub(super) fn read_types(
    process: GoProcess<'_>,
    goroutines: &[Goroutine],
    pool: &SymbolPool,
    details: &TracebackDetails,
) -> Result<FxHashMap<u64, String>, ReadError> {
    let mut wanted = FxHashSet::default();
    visit(goroutines, pool, details, &mut |kind, value| {
        visit_interfaces(kind, value, &mut |word| {
            if word != 0 && wanted.len() < MAX_TYPES {
                wanted.insert(word);
            }
        });
    });
    let mut found = FxHashMap::default();
    let Some(values) = process.values() else { return Ok(found) };
    for word in wanted {
        if let Some(name) = dynamic_type(process.target, &values, word)? {
            found.insert(word, name);
        }
    }
    Ok(found)
}

/// The name of the type that the first word of an interface says. An itab may lie among the types: it is one where
/// its first word is the type of an interface.
fn dynamic_type(target: &dyn Target, values: &Values<'_>, word: u64) -> Result<Option<String>, ReadError> {
    let mut words = [0; 16];
    if target.read(Addr(word), &mut words)? == words.len()
        && let (Some(of_interface), Some(of_value)) = (words.u64_at(0), words.u64_at(8))
        && values.go_type(of_interface)?.is_some_and(|kind| kind.kind == INTERFACE)
    {
        return Ok(values.go_type(of_value)?.map(|kind| kind.name));
    }
    Ok(values.go_type(word)?.map(|kind| kind.name))
}

/// Calls `visit` with those arguments of `goroutines` whose parameters are known.
fn visit(
    goroutines: &[Goroutine],
    pool: &SymbolPool,
    details: &TracebackDetails,
    visit: &mut dyn FnMut(&ValueType, &Value),
) {
    let Some(parameters) = &details.parameters else { return };
    for goroutine in goroutines {
        let stack = goroutine.stack.known().and_then(|id| pool.stack(id));
        let (Some(words), Some(stack)) = (details.arguments.of(goroutine.addr), stack) else { continue };
        let physical = stack.frames.iter().filter_map(|place| Some((place, pool.frame(place.frame)?)));
        for (index, (place, frame)) in physical.filter(|(_, frame)| !frame.inlined).enumerate() {
            let found = words.frame(index, place.fp_offset).zip(parameters.get(&frame.entry));
            let Some((words, parameters)) = found else { continue };
            let (values, more) = values(&words);
            let names = named(pool.str(frame.function), parameters, (values.len(), more)).unwrap_or_default();
            for (parameter, value) in names.iter().zip(&values) {
                let Some(parameter) = parameter else { continue };
                visit(&parameter.kind, value);
            }
        }
    }
}
