//! Reading back what `gospy heap --json` and `gospy heap --objects --json` wrote, for `--since`; of a snapshot in
//! JSON, the figures of its heap.
//!
//! A file is trusted as little as a process: its tokens, its size and the length of its lists are limited. A list that
//! was cut short (`--limit`) is not taken: what it leaves out would look as if it had grown since.

use std::fmt;
use std::io::Read;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, SeqAccess, Visitor};

use crate::analysis::census::{Census, Identity};
use crate::analysis::series::heap_parts::{Amounts, KeptBy, Part, summed};
use crate::analysis::series::heap_since::{HeapMoment, Walked};
use crate::heap::objects::Amount;
use crate::model::SymbolPool;
use crate::report::json::read::UserPlace;
use crate::report::json::{ReadBackError, SCHEMA_VERSION, bounded, unix_ns};

/// Most rows of a list.
const MOST_ROWS: usize = 1 << 20;

#[derive(Deserialize)]
struct Document {
    schema_version: Option<u64>,
    captured_at: Option<String>,
    pid: Option<i32>,
    exe: Option<String>,
    go_version: Option<String>,
    uptime_ns: Option<u64>,
    heap: Option<Heap>,
    objects: Option<Objects>,
    /// Of a snapshot.
    target: Option<Target>,
    gc: Option<Gc>,
}

#[derive(Deserialize)]
struct Target {
    pid: Option<i32>,
    exe: Option<String>,
    build_id: Option<String>,
    go_version: Option<String>,
    uptime_ns: Option<u64>,
}

#[derive(Deserialize)]
struct Gc {
    cycles: Option<u32>,
}

#[derive(Deserialize)]
struct Heap {
    alloc_bytes: Option<u64>,
    marked_bytes: Option<u64>,
    total_alloc_bytes: Option<u64>,
    gc_cycles: Option<u32>,
    #[serde(default)]
    size_classes: Option<Rows<Class>>,
    size_classes_missing: Option<String>,
    profile: Option<Profile>,
    profile_missing: Option<String>,
}

#[derive(Deserialize)]
struct Class {
    object_bytes: Option<u64>,
    objects: u64,
    bytes: u64,
}

#[derive(Deserialize)]
struct Profile {
    records: u64,
    places: Rows<Site>,
}

#[derive(Deserialize)]
struct Site {
    place: Option<UserPlace>,
    in_use_bytes: u64,
    in_use_objects: u64,
    stacks: u64,
}

#[derive(Clone, Copy, Deserialize)]
struct Sum {
    objects: u64,
    bytes: u64,
}

impl From<Sum> for Amount {
    fn from(sum: Sum) -> Self {
        Self { objects: sum.objects, bytes: sum.bytes }
    }
}

#[derive(Deserialize)]
struct Objects {
    exact: bool,
    live: Sum,
    garbage: Sum,
    typed: Option<Sum>,
    types: Option<Rows<Type>>,
    untyped: Rows<Untyped>,
    kept_by: Rows<Kept>,
}

#[derive(Deserialize)]
struct Type {
    name: String,
    #[serde(flatten)]
    sum: Sum,
}

#[derive(Deserialize)]
struct Untyped {
    object_bytes: Option<u64>,
    pointers: bool,
    #[serde(flatten)]
    sum: Sum,
}

#[derive(Deserialize)]
struct Kept {
    by: String,
    place: Option<UserPlace>,
    #[serde(flatten)]
    sum: Sum,
}

/// A list of at most [`MOST_ROWS`].
struct Rows<T>(Vec<T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Rows<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Limited<T>(PhantomData<T>);
        impl<'de, T: DeserializeOwned> Visitor<'de> for Limited<T> {
            type Value = Rows<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Rows<T>, A::Error> {
                let mut rows = Vec::new();
                while let Some(row) = list.next_element()? {
                    if rows.len() >= MOST_ROWS {
                        return Err(A::Error::custom(format!("a list has more than {MOST_ROWS} rows")));
                    }
                    rows.push(row);
                }
                Ok(Rows(rows))
            }
        }
        deserializer.deserialize_seq(Limited(PhantomData))
    }
}

/// What a list lacks that was cut short.
const CUT: &str = "its list was cut short by --limit; write it with --json alone";

/// Reads one document, which is called `name`. Names are put into `pool`.
///
/// # Errors
/// With what was expected, and the line and column where it is not; when it is of a newer version.
pub(crate) fn moment(name: String, input: impl Read, pool: &mut SymbolPool) -> Result<HeapMoment, ReadBackError> {
    let mut deserializer = serde_json::Deserializer::from_reader(bounded(input));
    let document = Document::deserialize(&mut deserializer)?;
    deserializer.end()?;
    let refused = |text: &str| Err(ReadBackError::Json(serde_json::Error::custom(text)));
    match document.schema_version {
        None => return refused("it is not JSON of gospy: the key schema_version is missing"),
        Some(found) if found > u64::from(SCHEMA_VERSION) => return Err(ReadBackError::Newer { found }),
        Some(_) => {}
    }
    if document.heap.is_none() && document.objects.is_none() {
        return refused(
            "it has neither a heap nor objects: `gospy heap --json` and `gospy heap --objects --json` write them",
        );
    }
    let Some(captured_at) = document.captured_at.as_deref().and_then(unix_ns) else {
        return refused("captured_at is no time as in RFC 3339");
    };
    let target = document.target.unwrap_or(Target {
        pid: document.pid,
        exe: document.exe,
        build_id: None,
        go_version: document.go_version,
        uptime_ns: document.uptime_ns,
    });
    let program = Identity {
        pid: target.pid,
        exe: target.exe.unwrap_or_default(),
        build_id: target.build_id,
        go_version: target.go_version.unwrap_or_default(),
        uptime_ns: target.uptime_ns,
        ..Identity::default()
    };
    let of = Census { name, program, captured_at_unix_ns: captured_at, complete: true, ..Census::default() };
    let heap = document.heap;
    let mut moment = HeapMoment {
        of,
        in_use: heap.as_ref().and_then(|heap| heap.alloc_bytes),
        marked: heap.as_ref().and_then(|heap| heap.marked_bytes),
        allocated: heap.as_ref().and_then(|heap| heap.total_alloc_bytes),
        cycles: document.gc.and_then(|gc| gc.cycles).or(heap.as_ref().and_then(|heap| heap.gc_cycles)),
        walked: None,
        sites: Err("it has no heap profile: gospy heap --json writes one".to_owned()),
        survivors: Err("JSON has no count of what sweeps have left".to_owned()),
        classes: Err("it has no size classes: gospy heap --json writes them".to_owned()),
        types: Err("it has no types: gospy heap --objects --json writes them".to_owned()),
        roots: Err("it does not say what keeps objects: gospy heap --objects --json does".to_owned()),
    };
    if let Some(heap) = heap {
        add_heap(&mut moment, heap, pool);
    }
    if let Some(objects) = document.objects {
        add_objects(&mut moment, objects, pool);
    }
    Ok(moment)
}

fn add_heap(moment: &mut HeapMoment, heap: Heap, pool: &mut SymbolPool) {
    match (heap.size_classes, heap.size_classes_missing) {
        (Some(Rows(classes)), _) => {
            let part = |class: &Class| {
                let amount = Amount { objects: class.objects, bytes: class.bytes };
                (Part::SizeClass(class.object_bytes.unwrap_or(0)), amount)
            };
            moment.classes = Ok(summed(classes.iter().map(part), pool));
        }
        (None, Some(why)) => moment.classes = Err(why),
        (None, None) => {}
    }
    match (heap.profile, heap.profile_missing) {
        (Some(profile), _) => {
            let stacks = profile.places.0.iter().fold(0_u64, |sum, site| sum.saturating_add(site.stacks));
            moment.sites = if stacks == profile.records {
                let part = |site: &Site| {
                    let spot = site.place.as_ref().and_then(|place| place.intern(pool).spot());
                    (Part::Site(spot), Amount { objects: site.in_use_objects, bytes: site.in_use_bytes })
                };
                let parts: Amounts = profile.places.0.iter().map(part).collect();
                Ok(summed(parts, pool))
            } else {
                Err(CUT.to_owned())
            };
        }
        (None, Some(why)) => moment.sites = Err(why),
        (None, None) => {}
    }
}

fn add_objects(moment: &mut HeapMoment, objects: Objects, pool: &mut SymbolPool) {
    let live = Amount::from(objects.live);
    moment.walked = Some(Walked { live, garbage: objects.garbage.into(), exact: objects.exact });
    let sum = |parts: &Amounts| parts.iter().fold(Amount::default(), |sum, (_, amount)| sum.with(*amount));
    let typed = objects.types.into_iter().flat_map(|types| types.0);
    let mut types: Amounts = typed.map(|sum| (Part::Type(pool.intern_str(&sum.name)), sum.sum.into())).collect();
    let cut = objects.typed.is_some_and(|typed| sum(&types) != typed.into());
    let untyped = objects.untyped.0.iter();
    types.extend(untyped.map(|sum| (Part::Untyped { size: sum.object_bytes, pointers: sum.pointers }, sum.sum.into())));
    moment.types = if cut { Err(CUT.to_owned()) } else { Ok(summed(types, pool)) };
    let mut roots = Amounts::new();
    for kept in &objects.kept_by.0 {
        let spot = kept.place.as_ref().and_then(|place| place.intern(pool).spot());
        // What --only-from asked for apart, and what a later gospy may know.
        let Some(by) = KeptBy::named(&kept.by, spot) else { continue };
        roots.push((Part::Root(by), kept.sum.into()));
    }
    moment.roots = match sum(&roots) == live {
        true => Ok(summed(roots, pool)),
        false => Err("it does not have all that keeps objects: write it without --limit and --only-from".to_owned()),
    };
}
