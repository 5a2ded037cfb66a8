//! Fits a layout table to the program at hand, where releases of one minor version differ, where an
//! experiment moved fields, or where the table is another version's.

use super::layout::{Layout, LayoutSource, LayoutTable, candidates, wanted};
use super::locate::Search;
use super::mirror::gc_controller::GOAL_FIELDS;
use super::readers::collector::read_gc_controller;
use super::readers::processors::{place_ps, read_ps};
use super::readers::spans::place_spans;
use super::symbols::votes::{self, BALLOTS, Ballot};
use super::symbols::{Global, Symbols};
use super::timers::place_timers;
use crate::addr::Addr;
use crate::model::Warnings;
use crate::process::{ReadError, TargetExt as _};

/// `GOEXPERIMENT`s that move fields of a P or an M after those that can be checked.
const MOVING_EXPERIMENTS: &[&str] =
    &["greenteagc", "nogreenteagc", "pagetrace", "spinbitmutex", "nospinbitmutex", "staticlockranking"];

/// Fields of a P that such an experiment moves.
const MOVED_IN_P: &[&str] = &["timers", "numTimers", "goroutinesCreated"];
const _: () = wanted::check_all("runtime.p", MOVED_IN_P);

/// Fields that came after 1.20, which is read with the table of 1.21, and the minor version that
/// they came with. A later version that is read with an earlier one's table lacks nothing by that.
const LATER_FIELDS: &[(&str, &str, u32)] =
    &[("runtime.g", "parentGoid", 21), ("runtime.m", "isextra", 21), ("runtime.m", "isExtraInC", 21)];
const _: () = {
    let mut fields = LATER_FIELDS;
    while let [(structure, field, _), rest @ ..] = fields {
        wanted::check(structure, field);
        fields = rest;
    }
};

impl Search<'_> {
    /// `m.alllink` and all fields after `m.ncgocall` moved within the 1.23 and 1.24 releases; the code that
    /// links a new M says where it is.
    pub(super) fn place_alllink(&self, table: &mut LayoutTable, source: &mut LayoutSource) {
        const M: &str = "runtime.m";
        if matches!(source, LayoutSource::Dwarf) {
            return;
        }
        let (Some(was), Some(from)) = (table.offset(M, "alllink"), table.offset(M, "ncgocall")) else { return };
        let named = self.named.iter().find(|(g, _)| *g == Global::Allm).map(|(_, l)| l.addr);
        let Some(at) = self.evidence.alllink(&self.program.elf, table, named) else { return };
        let Some(shift) = i32::try_from(at).ok().zip(i32::try_from(was).ok()).map(|(at, was)| at - was) else { return };
        // More than this is no shift but a mistake.
        if shift == 0 || shift.abs() > 64 {
            return;
        }
        table.shift_fields(M, from, shift);
        source.note_moved("m.alllink".to_owned());
    }

    /// A version without a table has some structures like one table and some like another: each that
    /// functions vote on is taken from a table with which they are unanimous, or from the nearest one with
    /// one change that makes them so. Returns the fields of which it is unknown on which side of the change
    /// they are.
    pub(super) fn fit_structures(
        &self,
        table: &mut LayoutTable,
        source: &mut LayoutSource,
    ) -> Vec<(&'static str, &'static str)> {
        let mut doubtful = Vec::new();
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
                let between = |field: &&'static str| {
                    table.offset(ballot.structure, field).is_some_and(|at| split.kept < at && at < split.moved)
                };
                let fields = wanted::fields(ballot.structure).into_iter().flatten().copied().filter(between);
                doubtful.extend(fields.map(|field| (ballot.structure, field)));
                table.shift_fields(ballot.structure, split.from, split.shift);
                let structure = ballot.structure.strip_prefix("runtime.").unwrap_or(ballot.structure);
                source.note_moved(format!("{structure}.{}", split.field));
            }
        }
        doubtful
    }

    /// The goal is among what no function is asked about; what it is shows whether it is one.
    pub(super) fn trust_likely_goal(&self, layout: &mut Layout, symbols: &Symbols) -> Result<(), ReadError> {
        const STRUCTURE: &str = "runtime.gcControllerState";
        let is_of_goal = |(s, f): &(&str, &str)| *s == STRUCTURE && GOAL_FIELDS.contains(f);
        let Some(at) = symbols.addr(Global::GcController).filter(|_| layout.unreliable.iter().any(is_of_goal)) else {
            return Ok(());
        };
        let at = self.process.bias.load(at);
        let gc = read_gc_controller(self.process.target, at, layout, &mut Warnings::default())?;
        if gc.is_some_and(|gc| gc.is_goal_likely()) {
            layout.unreliable.retain(|field| !is_of_goal(field));
        }
        Ok(())
    }

    /// No code is asked about Ps, so what they hold has to say whether another version's layout is
    /// right for them. What nothing can check is left out.
    pub(super) fn place_ps(
        &self,
        layout: &mut Layout,
        source: &mut LayoutSource,
        symbols: &Symbols,
    ) -> Result<(), ReadError> {
        layout.p.goroutines_created = None;
        let Some(allp) = symbols.addr(Global::Allp).map(|allp| self.process.bias.load(allp)) else { return Ok(()) };
        let target = self.process.target;
        let goidgen = match symbols.addr(Global::Sched).map(|sched| self.process.bias.load(sched)) {
            Some(sched) => target.read_u64(Addr(sched.0.wrapping_add(layout.sched.goidgen.into())))?,
            None => None,
        };
        let tables = candidates(self.version.as_ref(), self.program.elf.arch());
        let tables: Vec<&LayoutTable> = tables.iter().map(|(table, _)| table).collect();
        if !place_ps(target, allp, goidgen.unwrap_or(u64::MAX), layout, &tables)? {
            layout.unreliable.push(("runtime.p", "m"));
            return Ok(());
        }
        let ps = read_ps(target, allp, layout, &mut Warnings::default())?;
        if place_timers(target, &ps, layout)?.is_some_and(|shift| shift != 0) {
            source.note_moved("p.timers".to_owned());
        }
        Ok(())
    }

    /// No code is asked about spans, so what the Ps hold has to say whether their layout is right.
    pub(super) fn place_spans(&self, layout: &mut Layout, symbols: &Symbols) -> Result<(), ReadError> {
        let Some(allp) = symbols.addr(Global::Allp) else { return Ok(()) };
        let target = self.process.target;
        let ps = read_ps(target, self.process.bias.load(allp), layout, &mut Warnings::default())?;
        let tables = candidates(self.version.as_ref(), self.program.elf.arch());
        let tables: Vec<&LayoutTable> = tables.iter().map(|(table, _)| table).collect();
        if !place_spans(target, &ps, layout, &tables)? {
            layout.unreliable.push(("runtime.mspan", "allocCount"));
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
