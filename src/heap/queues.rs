//! Where the queues of finalizers and cleanups are that are to be called: variables that only the collector
//! refers to.
//!
//! By the symbol table, or by the code of the functions that use them, as the other variables of the runtime;
//! but only when the heap is read.

use std::collections::BTreeSet;

use super::layout::HeapLayout;
use crate::addr::{Addr, LinkAddr};
use crate::image::code_refs::{CodeRef, data_refs};
use crate::image::symtab;
use crate::runtime::GoProcess;

/// Longest function that is decoded, bytes.
const MAX_CODE: u64 = 256 << 10;

/// Addresses of the queues, in the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queues {
    /// `runtime.allfin`.
    pub(super) finalizers: Option<Addr>,
    /// `runtime.gcCleanups` (1.25 on).
    pub(super) cleanups: Option<Addr>,
}

impl Queues {
    /// Looks for them. It takes longer than a small heap, and they stay where they are.
    #[must_use]
    pub fn find(process: GoProcess<'_>, layout: &HeapLayout) -> Self {
        const ALLFIN: &str = "runtime.allfin";
        const CLEANUPS: &str = "runtime.gcCleanups";
        let elf = &process.program.elf;
        let symbols =
            symtab::Symbols::load(elf, |name| [ALLFIN, CLEANUPS].iter().any(|wanted| wanted.as_bytes() == name));
        if let Ok(symbols) = &symbols
            && let Some(finalizers) = symbols.get(ALLFIN)
        {
            let load = |symbol: symtab::Symbol| process.program.bias.load(symbol.addr);
            return Self { finalizers: Some(load(finalizers)), cleanups: symbols.get(CLEANUPS).map(load) };
        }
        Self::by_code(process, layout)
    }

    /// `allfin` is the word that `markroot` and `queuefinalizer` both read; `markroot` also reads a field of
    /// `gcCleanups`, and `freeSpecial` takes its address.
    fn by_code(process: GoProcess<'_>, layout: &HeapLayout) -> Self {
        const FUNCTIONS: [&str; 3] = ["runtime.markroot", "runtime.queuefinalizer", "runtime.freeSpecial"];
        let program = process.program;
        let found = program.pclntab.find_functions(&FUNCTIONS);
        let refs = |name: &str| -> Vec<CodeRef> {
            let Some(function) = found.get(name) else { return Vec::new() };
            let len = function.end.0.saturating_sub(function.entry.0).min(MAX_CODE);
            let code = usize::try_from(len).ok().and_then(|len| program.elf.read(function.entry, len));
            let mut refs = data_refs(process.arch(), &code.unwrap_or_default(), function.entry);
            refs.retain(|r| program.module.is_data(program.bias.load(r.target)));
            refs
        };
        let words = |refs: &[CodeRef]| -> BTreeSet<LinkAddr> {
            refs.iter().filter(|r| r.size == 8).map(|r| r.target).collect()
        };
        let marked = words(&refs("runtime.markroot"));
        let queued = words(&refs("runtime.queuefinalizer"));
        let finalizers = only(marked.intersection(&queued).copied());
        let cleanups = layout.cleanups.and_then(|cleanups| {
            let enqueued: BTreeSet<LinkAddr> = refs("runtime.freeSpecial").iter().map(|r| r.target).collect();
            let base = |at: &LinkAddr| at.0.checked_sub(cleanups.queue.all.into()).map(LinkAddr);
            only(marked.iter().filter_map(base).filter(|base| enqueued.contains(base)))
        });
        Self {
            finalizers: finalizers.map(|link| program.bias.load(link)),
            cleanups: cleanups.map(|link| program.bias.load(link)),
        }
    }
}

fn only(mut candidates: impl Iterator<Item = LinkAddr>) -> Option<LinkAddr> {
    let (Some(one), None) = (candidates.next(), candidates.next()) else { return None };
    Some(one)
}
