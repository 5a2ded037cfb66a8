//! Puts version, layout and symbols together for one program.

use std::collections::BTreeMap;

use super::go_runtime::{GoRuntime, RuntimeError};
use super::layout::{Layout, LayoutSource, LayoutTable, SUPPORTED_MINORS, candidates, checked_in};
use super::named::{DwarfFacts, dwarf_of, symtab_symbols};
use super::program::Program;
use super::symbols::code::CodeEvidence;
use super::symbols::probe::{Process, version_at};
use super::symbols::scan::{self, DataWords};
use super::symbols::votes::{BALLOTS, Outcome};
use super::symbols::{Global, Located, Symbols};
use super::validate::{Checker, LayoutMismatch, Sample};
use super::version::{GoVersion, GoVersionSource};
use super::wait_reason::read_wait_reasons;
use crate::addr::LinkAddr;
use crate::model::{Provenance, WarningCode, Warnings};
use crate::process::{ReadError, Target};

/// How hard to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocateOptions {
    /// Ask every source, even when the cheap ones agree: read DWARF, and search the data.
    pub thorough: bool,
}

/// What one layout led to.
struct Attempt {
    layout: Layout,
    /// Whether the layout is that of the program's version, and not of another one.
    own: bool,
    source: LayoutSource,
    symbols: Symbols,
    warnings: Warnings,
    wait_reasons: Vec<String>,
    ballots: BTreeMap<Global, Outcome>,
}

/// Everything that does not depend on the layout.
pub(super) struct Search<'a> {
    pub(super) process: Process<'a>,
    pub(super) program: &'a Program,
    pub(super) evidence: CodeEvidence,
    pub(super) named: Vec<(Global, Located)>,
    /// `allgs` and its copies, by code.
    pub(super) allgs: Vec<(Global, Located)>,
    pub(super) version: Option<GoVersion>,
    pub(super) build_version: Option<Located>,
    pub(super) thorough: bool,
}

impl GoRuntime {
    /// Finds the runtime of the program that was found in `target`.
    ///
    /// # Errors
    /// When the process cannot be read, when its list of goroutines cannot be found or is empty, or
    /// when no layout fits: then the error says what was expected and what was found.
    pub fn locate(target: &dyn Target, program: &Program, options: &LocateOptions) -> Result<Self, RuntimeError> {
        let process = Process { target, bias: program.bias };
        let evidence = CodeEvidence::collect(target, &program.elf, program.bias, &program.pclntab, &program.module)?;
        let mut named = symtab_symbols(target, program)?;
        let (version, version_source, build_version) = go_version(process, program, &evidence, &named)?;
        if let Some(v) = version.as_ref().filter(|v| v.minor < 18) {
            return Err(RuntimeError::TooOld { version: v.to_string() });
        }
        let tables = candidates(version.as_ref(), program.elf.arch());
        let certain = tables.first().is_some_and(|(_, source)| matches!(source, LayoutSource::Table { .. }))
            && version.as_ref().is_some_and(|v| !v.devel && v.experiments.is_empty());
        let mut dwarf = None;
        if options.thorough || !certain {
            dwarf = dwarf_of(target, program)?;
            named.extend(dwarf.iter().flat_map(|d| d.symbols.clone()));
        }
        let allgs = evidence.allgs(process)?;
        let build_version = evidence.build_version(process)?.map(|(located, _)| located).or(build_version);
        let mut search =
            Search { process, program, evidence, named, allgs, version, build_version, thorough: options.thorough };
        let mut chosen = search.choose(&tables, dwarf.as_ref())?;
        if dwarf.is_none() && chosen.as_ref().map_or(true, Attempt::has_dissent) {
            // The exact truth is worth its cost now, if the program carries it.
            dwarf = dwarf_of(target, program)?;
            if let Some(found) = &dwarf {
                search.named.extend(found.symbols.clone());
                if let Ok(better) = search.choose(&[], dwarf.as_ref())? {
                    chosen = Ok(better);
                }
            }
        }
        let attempt = match chosen {
            // Another version's layout may fit better once its fields are where this one has them.
            Ok(attempt) if attempt.has_dissent() && !attempt.own => match search.infer(&tables)? {
                Some(inferred) => inferred.better_of(Some(attempt)),
                None => attempt,
            },
            Ok(attempt) => attempt,
            Err(refusal) => search.infer(&tables)?.ok_or(refusal)?,
        };
        Ok(search.finish(attempt, version_source, dwarf.as_ref()))
    }
}

impl Attempt {
    fn has_dissent(&self) -> bool {
        self.ballots.values().any(|outcome| !outcome.is_unanimous())
    }

    /// Whether everything fits as it is.
    fn is_clean(&self) -> bool {
        !self.has_dissent() && !matches!(self.source, LayoutSource::Inferred { .. })
    }

    /// How many references do not agree with the layout of the structures that are read; all those to
    /// a structure that was not found.
    fn dissent(&self) -> usize {
        let read = BALLOTS.iter().filter(|ballot| ballot.global != Global::Mheap);
        read.map(|b| self.ballots.get(&b.global).map_or(b.pairs.len(), |outcome| outcome.dissent.len())).sum()
    }

    /// The one that the code agrees with more; `other`, which came first, when that is the same.
    fn better_of(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.dissent() <= self.dissent() => other,
            _ => self,
        }
    }
}

impl Search<'_> {
    /// What to call the version in an error.
    fn version_text(&self) -> String {
        self.version.as_ref().map_or_else(|| "unknown version of Go".to_owned(), GoVersion::to_string)
    }

    /// Tries DWARF and the tables, in the order of their worth. The outer error ends everything,
    /// the inner one is a refusal of all layouts.
    fn choose(
        &self,
        tables: &[(LayoutTable, LayoutSource)],
        dwarf: Option<&DwarfFacts>,
    ) -> Result<Result<Attempt, RuntimeError>, RuntimeError> {
        let exact = dwarf.map(|d| (d.table.clone(), LayoutSource::Dwarf));
        let mut refusal = None;
        let mut accepted: Option<Attempt> = None;
        // As they are, and then, where there is none for this version, with what can be made to fit.
        for fit in [false, true] {
            for (table, source) in exact.iter().chain(tables) {
                if fit && !matches!(source, LayoutSource::Nearest { .. }) {
                    continue;
                }
                match self.attempt(table.clone(), source.clone(), fit)? {
                    Ok(attempt) if attempt.is_clean() => return Ok(Ok(attempt)),
                    // It passes the checks, but another one may fit better.
                    Ok(attempt) => accepted = Some(attempt.better_of(accepted)),
                    Err(error) => refusal = refusal.or(Some(error)),
                }
            }
        }
        let nothing = || RuntimeError::NoGoroutines { version: self.version_text(), functions: 0 };
        Ok(accepted.ok_or_else(|| refusal.unwrap_or_else(nothing)))
    }

    /// Finds everything with one table, after it was made to fit if so wished, and checks that it does.
    fn attempt(
        &self,
        mut table: LayoutTable,
        mut source: LayoutSource,
        fit: bool,
    ) -> Result<Result<Attempt, RuntimeError>, RuntimeError> {
        let release = table.release.clone();
        let own = matches!(source, LayoutSource::Table { .. } | LayoutSource::Dwarf);
        self.place_alllink(&mut table, &mut source);
        let doubtful = if fit { self.fit_structures(&mut table, &mut source) } else { Vec::new() };
        let fitting = format!("{source}{}", if fit { ", fitted" } else { "" });
        self.drop_moved_fields(&mut table, &source);
        self.drop_later_fields(&mut table);
        let mut layout = match Layout::resolve(table) {
            Ok(layout) => layout,
            Err(missing) => return Ok(Err(RuntimeError::Incomplete { version: self.version_text(), missing })),
        };
        layout.unreliable.extend(doubtful);
        let mut warnings = Warnings::default();
        let ballots = self.evidence.count(&layout.table);
        let symbols = self.symbols(&layout, &fitting, &ballots, &mut warnings)?;
        let Some(allgs) = symbols.addr(Global::Allgs) else {
            let functions = self.evidence.function_count();
            return Ok(Err(RuntimeError::NoGoroutines { version: self.version_text(), functions }));
        };
        let exact = matches!(source, LayoutSource::Table { .. } | LayoutSource::Dwarf);
        let wait_reasons = self.wait_reasons(&layout, &symbols, exact)?;
        let known = (!wait_reasons.is_empty() && exact).then_some(wait_reasons.len());
        if !own {
            self.trust_likely_goal(&mut layout, &symbols)?;
            self.place_ps(&mut layout, &mut source, &symbols)?;
        }
        if !exact {
            self.place_spans(&mut layout, &symbols)?;
        }
        match self.verdict(self.checker(known), &layout, &symbols, allgs)? {
            Ok(()) => Ok(Ok(Attempt { layout, own, source, symbols, warnings, wait_reasons, ballots })),
            Err(mismatch) => Ok(Err(RuntimeError::Unsupported { version: self.version_text(), release, mismatch })),
        }
    }

    /// Whether the layout passes the checks. The program runs on, so a refusal has to be repeated to
    /// count.
    fn verdict(
        &self,
        checker: Checker<'_>,
        layout: &Layout,
        symbols: &Symbols,
        allgs: LinkAddr,
    ) -> Result<Result<(), LayoutMismatch>, RuntimeError> {
        const TRIES: usize = 3;
        let mut verdict = Ok(());
        for _ in 0..TRIES {
            let sample = Sample::read(self.process.target, self.process.bias.load(allgs))?;
            if sample.len == 0 {
                return Err(RuntimeError::NotStarted);
            }
            verdict = checker.check(layout, symbols, &sample)?;
            if verdict.is_ok() {
                break;
            }
        }
        Ok(verdict)
    }

    /// When no layout fits: those of other versions, with their fields moved to where the process
    /// has them, and of those that then pass, the one that the code agrees with most.
    fn infer(&self, tables: &[(LayoutTable, LayoutSource)]) -> Result<Option<Attempt>, RuntimeError> {
        let words = if self.allgs.is_empty() && self.named.iter().all(|(g, _)| *g != Global::Allgs) {
            self.scan_allgs()?
        } else {
            Vec::new()
        };
        let mut places = self.named.iter().chain(&self.allgs).chain(&words);
        let Some((_, allgs)) = places.find(|(global, _)| *global == Global::Allgs) else { return Ok(None) };
        let sample = Sample::read(self.process.target, self.process.bias.load(allgs.addr))?;
        let mut best: Option<Attempt> = None;
        for (table, _) in tables {
            let mut table = table.clone();
            let release = table.release.clone();
            let fields = self.checker(None).infer(&mut table, &sample)?;
            if fields.is_empty() {
                continue;
            }
            if let Ok(attempt) = self.attempt(table, LayoutSource::Inferred { release, fields }, true)? {
                best = Some(attempt.better_of(best));
            }
        }
        Ok(best)
    }

    fn checker(&self, wait_reasons: Option<usize>) -> Checker<'_> {
        Checker {
            target: self.process.target,
            bias: self.process.bias,
            pclntab: &self.program.pclntab,
            module: &self.program.module,
            wait_reasons,
        }
    }

    /// The wait reasons: as many as the table says, or as many as there can be with a table that is
    /// another version's.
    fn wait_reasons(&self, layout: &Layout, symbols: &Symbols, exact: bool) -> Result<Vec<String>, ReadError> {
        let Some(addr) = symbols.addr(Global::WaitReasonStrings) else { return Ok(Vec::new()) };
        let size = layout.table.global_size(Global::WaitReasonStrings.name()).unwrap_or(0);
        let count = if exact { size as usize / 16 } else { (size as usize / 16).saturating_add(32) };
        let mut texts =
            read_wait_reasons(self.process.target, self.process.bias.load(addr), count)?.unwrap_or_default();
        if !exact && let Some(end) = texts.iter().skip(1).position(String::is_empty) {
            texts.truncate(end + 1);
        }
        Ok(texts)
    }

    /// The runtime, with everything that should be said about how it was found.
    fn finish(self, attempt: Attempt, version_source: GoVersionSource, dwarf: Option<&DwarfFacts>) -> GoRuntime {
        let Attempt { mut layout, own: _, source, symbols, mut warnings, wait_reasons, ballots } = attempt;
        let version = self.version.clone().unwrap_or_else(|| {
            let like = GoVersion::parse(&layout.table.release).map_or(0, |v| v.minor);
            GoVersion::inferred(like)
        });
        for (global, outcome) in ballots.iter().filter(|(_, outcome)| !outcome.is_unanimous()) {
            let structure = BALLOTS.iter().find(|ballot| ballot.global == *global).map(|ballot| ballot.structure);
            layout.unreliable.extend(structure.into_iter().flat_map(|s| outcome.dissent.iter().map(move |f| (s, *f))));
            warnings.add(
                WarningCode::FieldRejected,
                format!(
                    "the {source} does not quite fit {}: {} of {} references agree, not those to {}",
                    global.name(),
                    outcome.votes,
                    outcome.asked,
                    outcome.dissent.join(", ")
                ),
            );
        }
        if let LayoutSource::Nearest { release, .. } = &source {
            warnings.add(
                WarningCode::NearestLayout,
                format!("no layouts for {version}; using those of {release}, which pass all checks"),
            );
        }
        if let LayoutSource::Inferred { release, fields } = &source
            && fields.iter().any(|field| field != "m.alllink")
        {
            warnings.add(
                WarningCode::NearestLayout,
                format!("no layout fits {version}; using that of {release} with {} moved", fields.join(", ")),
            );
        }
        if self.moves_fields() && !matches!(source, LayoutSource::Dwarf) {
            warnings.add(
                WarningCode::FieldRejected,
                format!("{version} was built with experiments that move fields of a P: its timers are unknown"),
            );
        }
        if wait_reasons.is_empty() {
            warnings.add(WarningCode::SymbolMissing, "runtime.waitReasonStrings was not found".to_owned());
        }
        let mut provenance = vec![
            Provenance {
                name: "Go version".to_owned(),
                source: version_source.name().to_owned(),
                cross_checks: self.version_checks(&version),
            },
            Provenance {
                name: "layout".to_owned(),
                source: source.to_string(),
                cross_checks: layout_checks(&layout, &source, &version, dwarf),
            },
        ];
        provenance.extend(symbols.provenance());
        GoRuntime {
            version,
            version_source,
            layout,
            layout_source: source,
            symbols,
            wait_reasons,
            warnings,
            provenance,
        }
    }

    fn version_checks(&self, version: &GoVersion) -> Vec<String> {
        let in_memory = self.evidence.build_version(self.process).ok().flatten();
        let same = in_memory.filter(|(_, found)| found.minor == version.minor && found.patch == version.patch);
        same.map(|(_, found)| format!("runtime.buildVersion is {found}")).into_iter().collect()
    }
}

/// What else is known of the layout in use.
fn layout_checks(
    layout: &Layout,
    source: &LayoutSource,
    version: &GoVersion,
    dwarf: Option<&DwarfFacts>,
) -> Vec<String> {
    let other = match source {
        LayoutSource::Dwarf if SUPPORTED_MINORS.contains(&version.minor) => {
            checked_in(version.minor, layout.table.arch)
        }
        LayoutSource::Dwarf => None,
        _ => dwarf.map(|d| d.table.clone()),
    };
    let Some(other) = other else { return Vec::new() };
    let mut compared = 0_usize;
    let mut different = Vec::new();
    for (structure, fields) in &layout.table.structs {
        for (field, offset) in &fields.fields {
            let Some(there) = other.offset(structure, field) else { continue };
            compared += 1;
            if there != *offset {
                different.push(format!("{structure}.{field} {offset} (there {there})"));
            }
        }
    }
    let name =
        if matches!(source, LayoutSource::Dwarf) { format!("table of {}", other.release) } else { "DWARF".into() };
    match different.as_slice() {
        [] => vec![format!("{name} agrees in {compared} fields")],
        _ => vec![format!(
            "{name} agrees in {} of {compared} fields; not in {}",
            compared - different.len(),
            different.join(", ")
        )],
    }
}

/// The version by the best source there is, and `buildVersion` where it had to be found.
fn go_version(
    process: Process<'_>,
    program: &Program,
    evidence: &CodeEvidence,
    named: &[(Global, Located)],
) -> Result<(Option<GoVersion>, GoVersionSource, Option<Located>), ReadError> {
    if let Some(version) = program.build_info.as_ref().and_then(|info| GoVersion::parse(&info.go_version)) {
        return Ok((Some(version), GoVersionSource::BuildInfo, None));
    }
    if let Some((_, located)) = named.iter().find(|(g, _)| *g == Global::BuildVersion)
        && let Some(version) = version_at(process, located.addr)?
    {
        return Ok((Some(version), GoVersionSource::BuildVersion, None));
    }
    if let Some((located, version)) = evidence.build_version(process)? {
        return Ok((Some(version), GoVersionSource::BuildVersion, Some(located)));
    }
    let words = DataWords::read(process.target, &program.module)?;
    if let Some(located) = scan::build_version(process, &words)? {
        let version = version_at(process, located.addr)?;
        return Ok((version, GoVersionSource::BuildVersion, Some(located)));
    }
    Ok((None, GoVersionSource::Inferred, None))
}
