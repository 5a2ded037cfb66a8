//! Asks all sources where the runtime's variables are: symbols and DWARF, code, and a search through the
//! data for what is still missing.

use std::collections::BTreeMap;

use super::layout::Layout;
use super::locate::Search;
use super::readers::goids::read_goids;
use super::recorded::Searched;
use super::symbols::probe::Process;
use super::symbols::scan::{self, DataWords};
use super::symbols::votes::Outcome;
use super::symbols::{Global, Located, SymbolSource, Symbols};
use crate::addr::{Addr, LinkAddr};
use crate::bytes::FieldsExt as _;
use crate::model::Warnings;
use crate::process::remember::remembered;
use crate::process::{ReadError, Target, TargetExt as _};

/// What a search through the data found.
type Found = Vec<(Global, Located)>;

fn one(global: Global, found: Option<Located>) -> Found {
    found.map(|located| (global, located)).into_iter().collect()
}

impl Search<'_> {
    /// All variables, by all sources that are asked. `fitting` names the layout in a recording.
    pub(super) fn symbols(
        &self,
        layout: &Layout,
        fitting: &str,
        ballots: &BTreeMap<Global, Outcome>,
        warnings: &mut Warnings,
    ) -> Result<Symbols, ReadError> {
        let mut symbols = Symbols::default();
        for (global, located) in self.named.iter().chain(&self.allgs) {
            symbols.add(*global, located.clone(), warnings);
        }
        for (global, outcome) in ballots {
            // A ballot that is not unanimous says that the layout is off, not that the symbol is.
            if outcome.is_unanimous() || !symbols.is_named(*global) {
                let detail = format!("functions that refer to it, {} of {}", outcome.votes, outcome.asked);
                symbols.add(*global, Located::new(outcome.addr, SymbolSource::Code { detail }), warnings);
            }
        }
        for (global, located) in self.evidence.others(self.process, layout, ballots)? {
            symbols.add(global, located, warnings);
        }
        if let Some(located) = &self.build_version {
            symbols.add(Global::BuildVersion, located.clone(), warnings);
        }
        self.search_data(layout, fitting, &mut symbols, warnings)?;
        Ok(symbols)
    }

    /// Searches the data for what is still missing, or for everything when thorough.
    fn search_data(
        &self,
        layout: &Layout,
        fitting: &str,
        symbols: &mut Symbols,
        warnings: &mut Warnings,
    ) -> Result<(), ReadError> {
        let wanted = |symbols: &Symbols, global| self.thorough || symbols.get(global).is_none();
        if wanted(symbols, Global::Allgs) {
            for (global, located) in self.scan_allgs()? {
                symbols.add(global, located, warnings);
            }
        }
        let mut words = None;
        if wanted(symbols, Global::Allp) {
            let found = self.searched(&format!("allp with {fitting}"), |process| {
                Ok(one(Global::Allp, scan::allp(process, self.words(process, &mut words)?, layout)?))
            })?;
            for (global, located) in found {
                // In some programs the first one is a copy: it says nothing about where allp is.
                if symbols.get(global).is_none_or(|known| known.addr == located.addr) {
                    symbols.add(global, located, warnings);
                }
            }
        }
        if wanted(symbols, Global::Sched)
            && let Some(allgs) = symbols.addr(Global::Allgs)
        {
            let max_goid = self.max_goid(layout, allgs)?;
            let ps = self.ps(symbols)?;
            let found = self.searched(&format!("sched with {fitting}"), |process| {
                let words = self.words(process, &mut words)?;
                Ok(one(Global::Sched, scan::sched(words, layout, max_goid, ps, process.bias)))
            })?;
            for (global, located) in found {
                symbols.add(global, located, warnings);
            }
        }
        Ok(())
    }

    /// `allgs` by what it holds. While it grows, and while the collector marks, there may be two of
    /// it for a moment.
    pub(super) fn scan_allgs(&self) -> Result<Found, ReadError> {
        const TRIES: usize = 3;
        self.searched("allgs", |process| {
            let mut found = Found::new();
            for _ in 0..TRIES {
                let again = scan::allgs(process, &self.program.module, self.words(process, &mut None)?)?;
                if again.len() > found.len() {
                    found = again;
                }
                if found.len() == 2 {
                    break;
                }
            }
            Ok(found)
        })
    }

    /// What `search` finds, or found when a recording was made. The search also reads private data, such as
    /// the environment, so a recording gets only what was found.
    fn searched(
        &self,
        what: &str,
        search: impl FnOnce(Process<'_>) -> Result<Found, ReadError>,
    ) -> Result<Found, ReadError> {
        let key = format!("search for {what}");
        let search = |target: &dyn Target| search(Process { target, bias: self.process.bias }).map(Searched);
        remembered(self.process.target, &key, search).map(|Searched(found)| found)
    }

    /// The variables of the program, which are read once.
    fn words<'w>(&self, process: Process<'_>, words: &'w mut Option<DataWords>) -> Result<&'w DataWords, ReadError> {
        Ok(match words {
            Some(words) => words,
            None => words.insert(DataWords::read(process.target, &self.program.module)?),
        })
    }

    /// The largest goroutine id there is.
    fn max_goid(&self, layout: &Layout, allgs: LinkAddr) -> Result<u64, ReadError> {
        /// Most goroutines that are asked; new ones are at the end, where old gs are not reused.
        const MAX: usize = 1 << 20;
        let target = self.process.target;
        let Some(header) = target.read_array::<16>(self.process.bias.load(allgs))? else { return Ok(0) };
        let (array, len) = (header.u64_at(0).unwrap_or(0), header.u64_at(8).unwrap_or(0));
        let count = usize::try_from(len).unwrap_or(MAX).min(MAX);
        let Some(pointers) = target.read_vec(Addr(array), count * 8)? else { return Ok(0) };
        let gs: Vec<Addr> = (0..count).filter_map(|i| pointers.u64_at(i * 8)).map(Addr).collect();
        let ids = read_goids(target, &gs, &layout.g)?;
        Ok(ids.into_iter().flatten().map(|id| id.0).max().unwrap_or(0))
    }

    fn ps(&self, symbols: &Symbols) -> Result<u64, ReadError> {
        let Some(allp) = symbols.addr(Global::Allp).and_then(|a| a.0.checked_add(8)) else { return Ok(1 << 10) };
        Ok(self.process.target.read_u64(self.process.bias.load(LinkAddr(allp)))?.unwrap_or(0))
    }
}
