//! `gospy heap --watch`: whether the heap grows, and which parts of it.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use crate::analysis::series::growth::{CONFIDENCE, Rate};
use crate::analysis::series::heap::{Judgement, Part, Trend, Walks};
use crate::analysis::series::{HeapGrowth, HeapSeries};
use crate::model::{Snapshot, SymbolPool};
use crate::report::check::{cannot_have_grown, rate_text, signed, too_few_cycles};
use crate::report::clean::clean;
use crate::report::json::{SCHEMA_VERSION, schema_of, time, to_writer};
use crate::report::text::facts::{facts, heading, paragraph};
use crate::report::text::table::write as write_table;
use crate::report::text::{CellText, Column, Role, Shrink, TextStyle};
use crate::report::units::{bytes, count, counted, duration, percent};

use super::{PLACES, ROOTS, Rows, SIZE_CLASSES, TYPES, more};
use crate::report::heap_part::{PartDocument, text};

/// Which program was watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Program {
    pid: i32,
    exe: String,
    go_version: String,
    /// When the last reading was taken, ns since the Unix epoch.
    read_at_unix_ns: u64,
}

impl Program {
    /// That of the last reading.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        Self {
            pid: snapshot.target.pid,
            exe: snapshot.target.exe.clone(),
            go_version: snapshot.target.go_version.clone(),
            read_at_unix_ns: snapshot.captured_at_unix_ns,
        }
    }
}

/// What is said of the whole, as a sentence.
pub(crate) fn judgement_text(growth: &HeapGrowth) -> String {
    match growth.judgement {
        Judgement::Grows => match growth.live.and_then(|live| live.steady()) {
            Some(rate) => format!("the live heap grows steadily, by {}", rate_text(&rate)),
            None => "the live heap grows steadily".to_owned(),
        },
        Judgement::Rests { noticed } => {
            let share = growth.live.filter(|live| live.first > 0).map_or_else(String::new, |live| {
                format!(" ({} of what is live)", percent(noticed / live.first as f64))
            });
            let noticed = bytes(noticed as u64);
            format!(
                "no steady growth of the live heap; growth by {noticed}{share} or more would have been detected with \
                 {CONFIDENCE} confidence"
            )
        }
        Judgement::Quiet { allocated } => cannot_have_grown(allocated),
        Judgement::Rises => {
            "the live heap rises, but too little or too unevenly to call it growth; watch for longer".to_owned()
        }
        Judgement::TooNoisy { noticed } => {
            let what = noticed
                .map_or_else(|| "growth".to_owned(), |least| format!("growth by less than {}", bytes(least as u64)));
            format!("the live heap fluctuates so much that {what} would go unnoticed; watch for longer")
        }
        Judgement::TooFewCycles { seen } => format!("{}; watch for longer", too_few_cycles(seen)),
    }
}

/// Writes it for people, with at most `limit` rows of a table.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(
    out: &mut dyn Write,
    style: TextStyle,
    program: &Program,
    (series, pool): (&HeapSeries, &SymbolPool),
    growth: &HeapGrowth,
    limit: usize,
) -> io::Result<()> {
    let name = program.exe.rsplit('/').next().unwrap_or(&program.exe);
    let readings = counted(growth.readings as u64, "reading", "readings");
    let cycles = counted(u64::from(growth.cycles), "GC cycle", "GC cycles");
    writeln!(
        out,
        "{} · pid {} · {} · {readings} in {}, {cycles}",
        style.paint(Role::Strong, &clean(name)),
        program.pid,
        clean(&program.go_version),
        duration(growth.watched_ns),
    )?;
    heading(out, style, "Growth", "")?;
    let role = match growth.judgement {
        Judgement::Grows => Role::Bad,
        Judgement::Rests { .. } | Judgement::Quiet { .. } => Role::Good,
        _ => Role::Attention,
    };
    paragraph(out, style, role, &sentence(&judgement_text(growth)))?;
    let from = if growth.walks.is_some() { "by a walk over the objects" } else { "as marked by the collector" };
    let live = growth.live.map(|live| format!("{} → {}, {from}", bytes(live.first), bytes(live.last)));
    facts(out, style, "live", &[live.unwrap_or_else(|| "not found".to_owned())])?;
    facts(out, style, "allocated", &[bytes(growth.allocated)])?;
    if let Some(walks) = growth.walks {
        facts(out, style, "walks", &walks_text(walks, growth.watched_ns))?;
    }
    let of = |wanted: fn(&Part) -> bool| -> Vec<&(Part, Trend)> {
        growth.growing.iter().filter(|(part, _)| wanted(part)).collect()
    };
    let sites = of(|part| matches!(part, Part::Site(_)));
    table(out, style, ("Allocation sites that grow", "PLACE", PLACES), &sites, pool, limit)?;
    if let Some(why) = series.sites_missing() {
        paragraph(out, style, Role::Attention, &format!("There is no heap profile: {}.", clean(why)))?;
    }
    let classes = of(|part| matches!(part, Part::SizeClass(_)));
    table(out, style, ("Size classes that grow", "OBJECTS OF", SIZE_CLASSES), &classes, pool, limit)?;
    if let Some(why) = series.classes_missing() {
        paragraph(out, style, Role::Attention, &clean(why))?;
    }
    if growth.walks.is_some() {
        let types = of(|part| matches!(part, Part::Type(_) | Part::Untyped { .. }));
        table(out, style, ("Types that grow", "TYPE", TYPES), &types, pool, limit)?;
        let roots = of(|part| matches!(part, Part::Root(_)));
        table(out, style, ("Roots that grow", "BY", ROOTS), &roots, pool, limit)?;
    }
    match series.walks_missing() {
        Some(why) => {
            paragraph(out, style, Role::Attention, &format!("The objects could not be walked: {}.", clean(why)))
        }
        None => Ok(()),
    }
}

/// What walks have cost, and what they are worth.
fn walks_text(walks: Walks, watched_ns: u64) -> [String; 4] {
    let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let share = if watched_ns == 0 { 0.0 } else { ns(walks.together) as f64 / watched_ns as f64 };
    [
        count(walks.taken as u64),
        match walks.exact == walks.taken {
            true => "all exact".to_owned(),
            false => format!("{} exact, the others estimates", count(walks.exact as u64)),
        },
        format!("{} at most", duration(ns(walks.longest))),
        format!("{} of the time", percent(share)),
    ]
}

fn table(
    out: &mut dyn Write,
    style: TextStyle,
    (title, what, rows): (&str, &'static str, Rows),
    parts: &[&(Part, Trend)],
    pool: &SymbolPool,
    limit: usize,
) -> io::Result<()> {
    heading(out, style, title, if parts.is_empty() { "none" } else { "" })?;
    if parts.is_empty() {
        return Ok(());
    }
    let last = match what {
        "PLACE" | "BY" => Column::shrinking(what, Shrink::Place),
        "TYPE" => Column::shrinking(what, Shrink::Function),
        _ => Column::right(what),
    };
    let columns = [Column::right("A MINUTE"), Column::right("FROM"), Column::right("TO"), last];
    let shown = parts.len().min(limit);
    write_table(out, style, &columns, shown, &|at| {
        let Some((part, trend)) = parts.get(at) else { return Vec::new() };
        vec![
            CellText::new(Role::Strong, signed(trend.rate.map_or(0.0, |rate| 60.0 * rate.per_second))),
            CellText::plain(bytes(trend.first)),
            CellText::plain(bytes(trend.last)),
            CellText::plain(text(part, pool)),
        ]
    })?;
    more(out, parts.len() - shown, rows)
}

/// With a capital letter and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().collect::<String>()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

/// What `gospy heap --watch --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "gospy heap --watch")]
struct Document<'a> {
    /// Raised only by a change that breaks readers.
    schema_version: u32,
    /// Version of gospy.
    gospy_version: &'static str,
    /// When the last reading was taken; RFC 3339, UTC.
    captured_at: String,
    /// Process id.
    pid: i32,
    /// Path of the executable as the kernel gives it.
    exe: &'a str,
    /// The toolchain, as in go1.26.6.
    go_version: &'a str,
    /// From the first reading to the last, ns.
    watched_ns: u64,
    /// Readings.
    readings: u64,
    /// Cycles of the collector in that time.
    cycles: u32,
    /// Cycles of which there is a sample; the one before the first reading is one of them.
    samples: u64,
    /// Bytes allocated in that time.
    allocated_bytes: u64,
    /// What is said of the live heap: grows, rests, quiet (so little was allocated that it cannot have grown by
    /// more), rises, too_noisy, or too_few_cycles. Open enumeration.
    judgement: &'static str,
    /// The same in words.
    message: String,
    /// Growth by so many bytes would have been detected, with the confidence of the rates; null where that is not
    /// known.
    detectable_bytes: Option<f64>,
    /// Live bytes: with --objects those that each walk has found, else those that each cycle has marked; null where
    /// they were not found.
    live: Option<TrendDocument>,
    /// Parts of the heap that grow steadily, those that grow most first.
    growing: Vec<GrowingPart<'a>>,
    /// Why there are no allocation sites; null where there are.
    sites_missing: Option<&'a str>,
    /// Why there are no size classes; null where there are.
    size_classes_missing: Option<&'a str>,
    /// Walks over the objects; null without --objects.
    walks: Option<WalksDocument>,
    /// Why there is no last walk; null where there is one, and without --objects.
    walks_missing: Option<&'a str>,
}

/// What walks over the objects have cost, and what they are worth.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Walks")]
struct WalksDocument {
    /// How many there were.
    taken: u64,
    /// How many of them are exact: nothing moved meanwhile.
    exact: u64,
    /// How long the longest took, ns.
    longest_ns: u64,
    /// How long all of them took, ns.
    together_ns: u64,
}

/// How bytes have changed.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Trend")]
struct TrendDocument {
    /// At the first sample.
    first_bytes: u64,
    /// At the last one.
    last_bytes: u64,
    /// How fast; null where there were too few samples.
    rate: Option<BytesRate>,
}

/// How fast bytes change.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BytesRate {
    /// Bytes per second: the median of the slopes between all pairs of samples.
    per_second: f64,
    /// Low end of its confidence interval (99.99 %).
    least_per_second: f64,
    /// High end of its confidence interval.
    most_per_second: f64,
    /// From the first sample to the last, seconds.
    span_seconds: f64,
    /// Whether it grew all the time, rather than went up and down.
    steady: bool,
}

impl From<Rate> for BytesRate {
    fn from(rate: Rate) -> Self {
        Self {
            per_second: rate.per_second,
            least_per_second: rate.least_per_second,
            most_per_second: rate.most_per_second,
            span_seconds: rate.span_s,
            steady: rate.steady,
        }
    }
}

/// A part of the heap that grows.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Part")]
struct GrowingPart<'a> {
    /// Which.
    #[serde(flatten)]
    part: PartDocument<'a>,
    /// How it has changed.
    trend: TrendDocument,
}

impl From<&Trend> for TrendDocument {
    fn from(trend: &Trend) -> Self {
        Self { first_bytes: trend.first, last_bytes: trend.last, rate: trend.rate.map(BytesRate::from) }
    }
}

fn judgement_code(judgement: Judgement) -> (&'static str, Option<f64>) {
    match judgement {
        Judgement::Grows => ("grows", None),
        Judgement::Rests { noticed } => ("rests", Some(noticed)),
        Judgement::Quiet { allocated } => ("quiet", Some(allocated as f64)),
        Judgement::Rises => ("rises", None),
        Judgement::TooNoisy { noticed } => ("too_noisy", noticed),
        Judgement::TooFewCycles { .. } => ("too_few_cycles", None),
    }
}

/// Writes it as one JSON object on one line, with at most `limit` parts.
///
/// # Errors
/// Those of `out`.
pub(crate) fn json(
    out: &mut dyn Write,
    program: &Program,
    (series, pool): (&HeapSeries, &SymbolPool),
    growth: &HeapGrowth,
    limit: usize,
) -> io::Result<()> {
    let part = |(part, trend): &(Part, Trend)| GrowingPart { part: PartDocument::of(part, pool), trend: trend.into() };
    let (judgement, detectable_bytes) = judgement_code(growth.judgement);
    to_writer(
        out,
        &Document {
            schema_version: SCHEMA_VERSION,
            gospy_version: env!("CARGO_PKG_VERSION"),
            captured_at: time(program.read_at_unix_ns),
            pid: program.pid,
            exe: &program.exe,
            go_version: &program.go_version,
            watched_ns: growth.watched_ns,
            readings: growth.readings as u64,
            cycles: growth.cycles,
            samples: growth.samples as u64,
            allocated_bytes: growth.allocated,
            judgement,
            message: judgement_text(growth),
            detectable_bytes,
            live: growth.live.as_ref().map(TrendDocument::from),
            growing: growth.growing.iter().take(limit).map(part).collect(),
            sites_missing: series.sites_missing(),
            size_classes_missing: series.classes_missing(),
            walks: growth.walks.map(|walks| WalksDocument {
                taken: walks.taken as u64,
                exact: walks.exact as u64,
                longest_ns: u64::try_from(walks.longest.as_nanos()).unwrap_or(u64::MAX),
                together_ns: u64::try_from(walks.together.as_nanos()).unwrap_or(u64::MAX),
            }),
            walks_missing: series.walks_missing(),
        },
    )?;
    writeln!(out)
}

/// The JSON Schema of what `--watch --json` prints.
#[must_use]
pub fn schema() -> schemars::Schema {
    schema_of::<Document<'static>>()
}
