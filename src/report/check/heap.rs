//! What is said of a heap that grows, or does not.

use schemars::JsonSchema;
use serde::Serialize;

use crate::analysis::check::{HeapOffender, Offender, Reason, Rule, Verdict};
use crate::analysis::place::Place;
use crate::analysis::series::growth::{CONFIDENCE, LEAST_SAMPLES, Rate};
use crate::analysis::series::heap::Part;
use crate::model::SymbolPool;
use crate::report::heap_part::{PartDocument, text};
use crate::report::members::UserPlace;
use crate::report::place::PlaceWords;
use crate::report::units::{bytes, counted};

/// Bytes that may be fewer than before.
pub(crate) fn signed(value: f64) -> String {
    let size = bytes(value.abs() as u64);
    if value < 0.0 { format!("-{size}") } else { size }
}

/// `1.20 MiB a minute (1.10 MiB to 1.30 MiB with 99.99 % confidence)`.
pub(crate) fn rate_text(rate: &Rate) -> String {
    let minute = |per_second: f64| signed(60.0 * per_second);
    format!(
        "{} a minute ({} to {} with {CONFIDENCE} confidence)",
        minute(rate.per_second),
        minute(rate.least_per_second),
        minute(rate.most_per_second)
    )
}

/// Why the growth of the heap could not be judged; `None` for other rules and for reasons that all of them share.
pub(super) fn reason_text(reason: Reason, verdict: &Verdict) -> Option<String> {
    match (&verdict.rule, reason) {
        (Rule::MaxHeapGrowth(_), Reason::Rising) => {
            Some("the live heap rises, but too little or too unevenly to call it a leak; watch for longer".to_owned())
        }
        (Rule::MaxHeapGrowth(_), Reason::TooNoisy { noticed }) => {
            let what = noticed
                .map_or_else(|| "growth".to_owned(), |least| format!("growth by less than {}", bytes(least as u64)));
            Some(format!(
                "the live heap fluctuates so much that {what} would go unnoticed; watch for longer, or allow more"
            ))
        }
        (Rule::MaxHeapGrowth(_), Reason::Stopped) => {
            Some("the program is stopped, so nothing is allocated; continue it (SIGCONT)".to_owned())
        }
        _ => None,
    }
}

/// How often the collector has run, and how often it has to.
pub(crate) fn too_few_cycles(seen: usize) -> String {
    let seen = counted(u64::try_from(seen).unwrap_or(u64::MAX), "GC cycle", "GC cycles");
    // One more sample is of the cycle before the watch.
    format!("{seen} seen during the watch, and growth needs {}", LEAST_SAMPLES - 1)
}

/// Why a heap of which little is known has not grown.
pub(crate) fn cannot_have_grown(allocated: u64) -> String {
    match allocated {
        0 => "nothing was allocated during the watch".to_owned(),
        _ => format!("{} allocated during the watch: the heap cannot have grown by more", bytes(allocated)),
    }
}

/// What was found, where it was judged.
pub(super) fn outcome(verdict: &Verdict) -> String {
    if verdict.holds() {
        return match (verdict.allocated, verdict.noticed) {
            (Some(allocated), _) => cannot_have_grown(allocated),
            (None, Some(noticed)) => {
                format!(
                    "no steady growth; {} or more during the watch would have been detected with {CONFIDENCE} confidence",
                    bytes(noticed as u64)
                )
            }
            (None, None) => "no steady growth".to_owned(),
        };
    }
    let is_live = |offender: &Offender| offender.heap == Some(HeapOffender::Live);
    let sites =
        verdict.offenders.iter().filter(|offender| matches!(offender.heap, Some(HeapOffender::Part(Part::Site(_)))));
    let sites = u64::try_from(sites.count()).unwrap_or(u64::MAX);
    let what = match (verdict.offenders.iter().any(is_live), sites) {
        (true, _) => "the live heap grows steadily".to_owned(),
        (false, sites) => format!("{} steadily", counted(sites, "allocation site grows", "allocation sites grow")),
    };
    let minute = |per_second: f64| bytes((60.0 * per_second) as u64);
    format!("{what}, by {} a minute; {} allowed", minute(verdict.measured), minute(verdict.allowed))
}

/// One line about what of a heap grows; `None` for goroutines.
pub(super) fn offender_line(offender: &Offender, pool: &SymbolPool) -> Option<String> {
    let what = match offender.heap? {
        HeapOffender::Live => "live in all".to_owned(),
        HeapOffender::Part(Part::SizeClass(0)) => "in objects of larger sizes".to_owned(),
        HeapOffender::Part(Part::SizeClass(size)) => format!("in objects of {}", bytes(size)),
        HeapOffender::Part(Part::Site(spot)) => {
            let words = spot.and_then(|spot| PlaceWords::of(pool, Place::At(spot)));
            let place = words.map_or_else(
                || "an unknown place".to_owned(),
                |words| {
                    if words.source.is_empty() { words.line() } else { format!("{} {}", words.line(), words.source) }
                },
            );
            format!("allocated in {place}")
        }
        HeapOffender::Part(part @ (Part::Type(_) | Part::Untyped { .. })) => {
            format!("in objects of {}", text(&part, pool))
        }
        HeapOffender::Part(part @ Part::Root(_)) => format!("kept by {}", text(&part, pool)),
    };
    let mut line = format!("{} → {} {what}", bytes(offender.before.unwrap_or(0)), bytes(offender.count));
    if let Some(rate) = &offender.rate {
        line.push_str(&format!(": {} for {:.0} s", rate_text(rate), rate.span_s));
    }
    Some(line)
}

/// File and line of the site that grows most.
pub(super) fn source<'a>(verdict: &Verdict, pool: &'a SymbolPool) -> Option<(&'a str, u32)> {
    let spot = verdict.offenders.iter().find_map(|offender| match offender.heap? {
        HeapOffender::Part(Part::Site(spot)) => spot,
        _ => None,
    })?;
    let frame = pool.frame(spot.frame)?;
    Some((pool.str(frame.file), frame.line))
}

/// What of the heap grows.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "HeapOffender")]
pub(super) struct Document<'a> {
    /// live: all that the collector keeps. site: what was allocated in one place. size_class: objects of one size.
    /// Open enumeration.
    kind: &'static str,
    /// Of a site: where, in the user's code; null where unknown, and for other kinds.
    place: Option<UserPlace<'a>>,
    /// Of a size class: the size of its objects; null for objects that are too large for any, and for other kinds.
    object_bytes: Option<u64>,
}

pub(super) fn document(heap: HeapOffender, pool: &SymbolPool) -> Document<'_> {
    match heap {
        HeapOffender::Live => Document { kind: "live", place: None, object_bytes: None },
        HeapOffender::Part(part) => {
            let PartDocument { kind, place, object_bytes, .. } = PartDocument::of(&part, pool);
            Document { kind, place, object_bytes }
        }
    }
}
