//! `gospy heap --objects --json`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::objects::Contents;
use crate::analysis::objects::keepers;
use crate::analysis::series::heap::KeptBy;
use crate::heap::objects::{Amount, Keeper, Root, Standing};
use crate::report::json::{SCHEMA_VERSION, schema_of, time, to_writer};
use crate::report::members::UserPlace;

/// What `gospy heap --objects --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "gospy heap --objects")]
struct Document<'a> {
    /// Raised only by a change that breaks readers.
    schema_version: u32,
    /// Version of gospy.
    gospy_version: &'static str,
    /// When the goroutines were read; RFC 3339, UTC.
    captured_at: String,
    /// Process id.
    pid: i32,
    /// Path of the executable as the kernel gives it.
    exe: &'a str,
    /// The toolchain, as in go1.26.6.
    go_version: &'a str,
    /// Since the runtime started, ns; null where that is not known.
    uptime_ns: Option<u64>,
    /// The objects.
    objects: Found<'a>,
}

/// What is on the heap. Sizes are in bytes, as the allocator rounds them up.
#[derive(Debug, Serialize, JsonSchema)]
struct Found<'a> {
    /// Whether nothing moved while the heap was read; otherwise it is an estimate.
    exact: bool,
    /// Why: frozen, core_file, quiet (no Go code ran), running. Open enumeration.
    standing: &'static str,
    /// For how long the program was stopped, ns; null where it was not.
    stopped_ns: Option<u64>,
    /// What changed meanwhile, at least; null where nothing did, or where a capture does not say.
    changed: Option<ChangedDocument>,
    /// What is reachable.
    live: AmountDocument,
    /// What is not, and is not swept yet.
    garbage: AmountDocument,
    /// What has a known type; null to Go 1.21, whose heap says none.
    typed: Option<AmountDocument>,
    /// By type, largest first; null to Go 1.21.
    types: Option<Vec<TypeDocument<'a>>>,
    /// What has no known type, by size, largest first.
    untyped: Vec<UntypedDocument>,
    /// By the root that reaches it first, largest first; it sums up to what is live.
    kept_by: Vec<KeptDocument<'a>>,
    /// What only the goroutines of --only-from keep; null where that was not asked for.
    only_from: Option<OnlyDocument<'a>>,
    /// A shortest path to what --path-to names; null where that was not asked for, or nothing live is that.
    path: Option<PathDocument<'a>>,
    /// What could not be read, so that something may be missing.
    notes: &'a [String],
    /// What gospy needed for it, bytes.
    memory_bytes: u64,
    /// How long the last mark took, ns.
    mark_ns: u64,
    /// How long it took after that to find types and paths, ns.
    types_ns: u64,
}

/// Objects and their bytes.
#[derive(Debug, Serialize, JsonSchema)]
struct AmountDocument {
    /// How many.
    objects: u64,
    /// Their bytes.
    bytes: u64,
}

impl From<Amount> for AmountDocument {
    fn from(amount: Amount) -> Self {
        Self { objects: amount.objects, bytes: amount.bytes }
    }
}

/// What changed while the heap was read, at least.
#[derive(Debug, Serialize, JsonSchema)]
struct ChangedDocument {
    /// Objects that were allocated or freed.
    objects: u64,
    /// Spans that they are in.
    spans: u64,
    /// Goroutines that ran.
    goroutines: u64,
}

/// Live objects of a type.
#[derive(Debug, Serialize, JsonSchema)]
struct TypeDocument<'a> {
    /// Its name.
    name: &'a str,
    /// How many.
    objects: u64,
    /// Their bytes.
    bytes: u64,
    /// Of them, what only the goroutines of --only-from keep; null where that was not asked for.
    only_from: Option<AmountDocument>,
}

/// Live objects of a size without a known type.
#[derive(Debug, Serialize, JsonSchema)]
struct UntypedDocument {
    /// Bytes of each; null for those that are too large for a size class.
    object_bytes: Option<u64>,
    /// Whether there are pointers in them.
    pointers: bool,
    /// How many.
    objects: u64,
    /// Their bytes.
    bytes: u64,
}

/// What a root keeps.
#[derive(Debug, Serialize, JsonSchema)]
struct KeptDocument<'a> {
    /// variables, finalizers, timers, threads, goroutines, system_goroutines, other_goroutines, only_from. Open
    /// enumeration.
    by: &'static str,
    /// Where the goroutines are, in the user's code; null for other roots, and where unknown.
    place: Option<UserPlace<'a>>,
    /// How many goroutines; null for other roots, and where they were not counted.
    goroutines: Option<u64>,
    /// Objects.
    objects: u64,
    /// Their bytes.
    bytes: u64,
}

/// What only some goroutines keep.
#[derive(Debug, Serialize, JsonSchema)]
struct OnlyDocument<'a> {
    /// Their ids.
    goroutines: &'a [u64],
    /// Objects.
    objects: u64,
    /// Their bytes.
    bytes: u64,
}

/// A path from a root to an object.
#[derive(Debug, Serialize, JsonSchema)]
struct PathDocument<'a> {
    /// variable, finalizer, timer, thread, goroutine. Open enumeration.
    root: &'static str,
    /// Address of the variable; null for other roots.
    address: Option<String>,
    /// Its name; null for other roots, and without symbols.
    variable: Option<&'a str>,
    /// How far from its beginning the pointer is, bytes; null likewise.
    variable_offset: Option<u64>,
    /// Id of the goroutine; null for other roots.
    goroutine: Option<u64>,
    /// Objects, from the root on.
    steps: Vec<StepDocument<'a>>,
    /// Objects in the middle that were left out.
    left_out: u64,
}

/// An object on a path.
#[derive(Debug, Serialize, JsonSchema)]
struct StepDocument<'a> {
    /// Where it begins.
    address: String,
    /// Its bytes.
    bytes: u64,
    /// Its type; null where that is not known.
    #[serde(rename = "type")]
    type_name: Option<&'a str>,
    /// How far from its beginning the pointer to the next is, bytes; null for the last.
    offset: Option<u64>,
    /// The field that this is; null where it is not known.
    field: Option<&'a str>,
}

/// Writes it as one JSON object on one line, with at most `limit` rows of a kind.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(out: &mut dyn Write, contents: &Contents<'_>, limit: usize) -> io::Result<()> {
    let (snapshot, objects) = (contents.index.snapshot(), contents.objects);
    let (standing, stopped, changes) = match objects.standing {
        Standing::Frozen(stopped) => ("frozen", Some(stopped), None),
        Standing::CoreFile => ("core_file", None, None),
        Standing::Quiet => ("quiet", None, None),
        Standing::Running(changes) => ("running", None, Some(changes)),
        Standing::RanWhileCaptured => ("running", None, None),
    };
    let ns = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let types = objects.types.as_ref().map(|types| {
        types.iter().take(limit).map(|sum| TypeDocument {
            name: &sum.name,
            objects: sum.live.objects,
            bytes: sum.live.bytes,
            only_from: contents.only.map(|_| sum.only.into()),
        })
    });
    let untyped = objects.untyped.iter().take(limit).map(|class| UntypedDocument {
        object_bytes: class.size,
        pointers: class.pointers,
        objects: class.live.objects,
        bytes: class.live.bytes,
    });
    let kept = keepers(objects);
    let kept_by = kept.iter().take(limit).map(|(by, amount)| {
        let group = match by {
            Keeper::Group(number) => contents.groups.get(*number),
            _ => None,
        };
        let only = contents.only.filter(|_| *by == Keeper::Only).map(|(_, ids)| ids.len());
        KeptDocument {
            by: KeptBy::of(*by, contents.groups).map_or("only_from", KeptBy::name),
            place: group.and_then(|group| UserPlace::of(&snapshot.symbols, group.place?)),
            goroutines: group.map(|group| group.ids.len()).or(only).map(|count| count as u64),
            objects: amount.objects,
            bytes: amount.bytes,
        }
    });
    let path = objects.path.as_ref().map(|path| PathDocument {
        root: match path.root {
            Root::Variable(_) => "variable",
            Root::Finalizer => "finalizer",
            Root::Timer => "timer",
            Root::Thread => "thread",
            Root::Goroutine(_) => "goroutine",
        },
        address: match path.root {
            Root::Variable(addr) => Some(addr.to_string()),
            _ => None,
        },
        variable: path.variable.as_ref().map(|(name, _)| name.as_str()),
        variable_offset: path.variable.as_ref().map(|(_, offset)| *offset),
        goroutine: match path.root {
            Root::Goroutine(id) => Some(id),
            _ => None,
        },
        steps: path
            .steps
            .iter()
            .map(|step| StepDocument {
                address: step.addr.to_string(),
                bytes: step.size,
                type_name: step.type_name.as_deref(),
                offset: step.offset,
                field: step.field.as_deref(),
            })
            .collect(),
        left_out: path.left_out,
    });
    let document = Document {
        schema_version: SCHEMA_VERSION,
        gospy_version: env!("CARGO_PKG_VERSION"),
        captured_at: time(snapshot.captured_at_unix_ns),
        pid: snapshot.target.pid,
        exe: &snapshot.target.exe,
        go_version: &snapshot.target.go_version,
        uptime_ns: snapshot.target.uptime_ns,
        objects: Found {
            exact: objects.standing.is_exact(),
            standing,
            stopped_ns: stopped.map(ns),
            changed: changes.map(|changes| ChangedDocument {
                objects: changes.objects,
                spans: changes.spans,
                goroutines: changes.goroutines,
            }),
            live: objects.live.into(),
            garbage: objects.garbage.into(),
            typed: objects.types.as_ref().map(|_| objects.typed().into()),
            types: types.map(Iterator::collect),
            untyped: untyped.collect(),
            kept_by: kept_by.collect(),
            only_from: contents.only.zip(objects.only()).map(|((_, goroutines), amount)| OnlyDocument {
                goroutines,
                objects: amount.objects,
                bytes: amount.bytes,
            }),
            path,
            notes: &objects.notes,
            memory_bytes: objects.memory as u64,
            mark_ns: ns(objects.took.0),
            types_ns: ns(objects.took.1),
        },
    };
    to_writer(out, &document)?;
    writeln!(out)
}

/// The JSON Schema of what `--objects --json` prints.
#[must_use]
pub fn schema() -> schemars::Schema {
    schema_of::<Document<'_>>()
}
