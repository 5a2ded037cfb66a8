//! Fits a layout table to the program at hand, where releases of one minor version differ, where an
//! experiment moved fields, or where the table is another version's.

use super::layout::{Layout, LayoutSource, LayoutTable, candidates};
use super::locate::Search;
use super::mcache::place_spans;
use super::p::read_ps;
use super::symbols::votes::{self, BALLOTS, Ballot};
use super::symbols::{Global, Symbols};
use crate::model::Warnings;
use crate::target::ReadError;

/// `GOEXPERIMENT`s that move fields of a P or an M behind those that can be checked.
const MOVING_EXPERIMENTS: &[&str] =
    &["greenteagc", "nogreenteagc", "pagetrace", "spinbitmutex", "nospinbitmutex", "staticlockranking"];

/// Fields of a P that such an experiment moves.
const MOVED_IN_P: &[&str] = &["timers", "numTimers", "goroutinesCreated"];

/// Fields that came after 1.20, which is read with the table of 1.21, and the minor version that
/// they came with. A later version that is read with an earlier one's table lacks nothing by that.
const LATER_FIELDS: &[(&str, &str, u32)] =
    &[("runtime.g", "parentGoid", 21), ("runtime.m", "isextra", 21), ("runtime.m", "isExtraInC", 21)];

impl Search<'_> {
    /// `m.alllink` and all that is behind `m.ncgocall` moved within the 1.23 and 1.24 releases; the
    /// code that links a new M says where it is.
    pub(super) fn place_alllink(&self, table: &mut LayoutTable, source: &mut LayoutSource) {
        const M: &str = "runtime.m";
        if matches!(source, LayoutSource::Dwarf) {
            return;
        }
        let (Some(was), Some(from)) = (table.offset(M, "alllink"), table.offset(M, "ncgocall")) else { return };
        let named = self.named.iter().find(|(g, _)| *g == Global::Allm).map(|(_, l)| l.addr);
        let Some(at) = self.evidence.alllink(self.parts.elf, table, named) else { return };
        let Some(shift) = i32::try_from(at).ok().zip(i32::try_from(was).ok()).map(|(at, was)| at - was) else { return };
        // More than this is no shift but a mistake.
        if shift == 0 || shift.abs() > 64 {
            return;
        }
        table.shift_fields(M, from, shift);
        source.note_moved("m.alllink".to_owned());
    }

    /// A version without a table has some structures like one table and some like another: each that
    /// functions vote on is taken from a table with which they are unanimous, or from the nearest
    /// one with one change that makes them so.
    pub(super) fn fit_structures(&self, table: &mut LayoutTable, source: &mut LayoutSource) {
        let refs = |function: &str| self.evidence.targets_of(function);
        let unanimous = |ballot: &Ballot, table: &LayoutTable| {
            votes::count(ballot, table, refs).is_some_and(|outcome| outcome.is_unanimous())
        };
        let others: Vec<LayoutTable> =
            candidates(self.version.as_ref(), table.arch).into_iter().map(|(table, _)| table).collect();
        for ballot in BALLOTS {
            if unanimous(ballot, table) {
                continue;
            }
            if let Some(other) = others.iter().find(|other| unanimous(ballot, other)) {
                for structure in std::iter::once(ballot.structure).chain(ballot.inner.iter().copied()) {
                    table.adopt(structure, other);
                }
            } else if let Some(split) = votes::split(ballot, table, refs) {
                table.shift_fields(ballot.structure, split.from, split.shift);
                let structure = ballot.structure.strip_prefix("runtime.").unwrap_or(ballot.structure);
                source.note_moved(format!("{structure}.{}", split.field));
            }
        }
    }

    /// No code is asked about spans, so what the Ps hold has to say whether their layout is right.
    pub(super) fn place_spans(&self, layout: &mut Layout, symbols: &Symbols) -> Result<(), ReadError> {
        let Some(allp) = symbols.addr(Global::Allp) else { return Ok(()) };
        let target = self.process.target;
        let ps = read_ps(target, self.process.bias.load(allp), layout, &mut Warnings::default())?;
        let tables = candidates(self.version.as_ref(), self.parts.elf.arch());
        let tables: Vec<&LayoutTable> = tables.iter().map(|(table, _)| table).collect();
        if !place_spans(target, &ps, layout, &tables)? {
            layout.mistrusted.push(("runtime.mspan", "allocCount"));
        }
        Ok(())
    }

    /// Leaves out what an experiment moves and nothing can check.
    pub(super) fn drop_moved_fields(&self, table: &mut LayoutTable, source: &LayoutSource) {
        if self.moves_fields()
            && !matches!(source, LayoutSource::Dwarf)
            && let Some(p) = table.structs.get_mut("runtime.p")
        {
            p.fields.retain(|field, _| !MOVED_IN_P.contains(&field.as_str()));
        }
    }

    /// Leaves out what the program's version does not have yet, when the table is a later version's.
    pub(super) fn drop_later_fields(&self, table: &mut LayoutTable) {
        let Some(version) = &self.version else { return };
        for (structure, field, since) in LATER_FIELDS {
            if version.minor < *since
                && let Some(layout) = table.structs.get_mut(*structure)
            {
                layout.fields.remove(*field);
            }
        }
    }

    pub(super) fn moves_fields(&self) -> bool {
        let experiments = self.version.as_ref().map_or(&[][..], |v| &v.experiments);
        experiments.iter().any(|e| MOVING_EXPERIMENTS.contains(&e.as_str()))
    }
}
