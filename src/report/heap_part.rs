//! What parts of a heap are called, in text and in JSON.

use schemars::JsonSchema;
use serde::Serialize;

use crate::analysis::place::{Place, Spot};
use crate::analysis::series::heap::{KeptBy, Part};
use crate::model::SymbolPool;
use crate::report::clean::clean;
use crate::report::members::UserPlace;
use crate::report::place::PlaceWords;
use crate::report::units::{bytes, count};

/// What a part is called; a place for a cell that shrinks.
pub(crate) fn text(part: &Part, pool: &SymbolPool) -> String {
    match part {
        Part::Site(spot) => place(spot_place(*spot), pool),
        Part::SizeClass(0) => "larger sizes".to_owned(),
        Part::SizeClass(size) => bytes(*size),
        Part::Type(name) => clean(pool.str(*name)).into_owned(),
        Part::Untyped { size, pointers } => {
            let size = size.map_or_else(|| "larger".to_owned(), |size| format!("{} bytes", count(size)));
            format!("type unknown: {size}, {}", if *pointers { "with pointers" } else { "no pointers" })
        }
        Part::Root(kept) => root(*kept, None, pool),
    }
}

/// What a kind of root is called; a group of goroutines with how many there are of them.
pub(crate) fn root(kept: KeptBy, group: Option<(u64, Place)>, pool: &SymbolPool) -> String {
    match (kept, group) {
        (KeptBy::Variables, _) => "package variables".to_owned(),
        (KeptBy::Finalizers, _) => "finalizers and cleanups".to_owned(),
        (KeptBy::Timers, _) => "timers and Ps".to_owned(),
        (KeptBy::Threads, _) => "threads that run".to_owned(),
        (KeptBy::Goroutines(_), Some((goroutines, at))) => format!("{} × {}", count(goroutines), place(at, pool)),
        (KeptBy::Goroutines(spot), None) => format!("goroutines in {}", place(spot_place(spot), pool)),
        (KeptBy::SystemGoroutines, _) => "the runtime's own goroutines".to_owned(),
        (KeptBy::OtherGoroutines, _) => "other goroutines".to_owned(),
    }
}

fn spot_place(spot: Option<Spot>) -> Place {
    spot.map_or(Place::Unknown, Place::At)
}

fn place(place: Place, pool: &SymbolPool) -> String {
    let words = PlaceWords::of(pool, place);
    words.map_or_else(|| "unknown".to_owned(), |words| words.cell())
}

/// A part of the heap.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PartDocument<'a> {
    /// site: bytes in use that were allocated in one place. size_class: bytes of objects of one size. type: live
    /// objects of one type. untyped: live objects of one size without a known type. kept_by: live objects that one
    /// kind of root reaches first. Open enumeration.
    pub(crate) kind: &'static str,
    /// Where: of a site, in the user's code; of goroutines that keep objects, where they are. Null where unknown, and
    /// for other kinds.
    pub(crate) place: Option<UserPlace<'a>>,
    /// Of a size class, and of objects without a known type: the size of each; null for objects that are too large
    /// for any class, and for other kinds.
    pub(crate) object_bytes: Option<u64>,
    /// Of a type: its name; null for other kinds.
    #[serde(rename = "type")]
    pub(crate) type_name: Option<&'a str>,
    /// Of objects without a known type: whether there are pointers in them; null for other kinds.
    pub(crate) pointers: Option<bool>,
    /// What keeps them: variables, finalizers, timers, threads, goroutines, system_goroutines, other_goroutines; null
    /// for other kinds. Open enumeration.
    pub(crate) kept_by: Option<&'static str>,
}

impl<'a> PartDocument<'a> {
    /// Of a part whose names are in `pool`.
    pub(crate) fn of(part: &Part, pool: &'a SymbolPool) -> Self {
        let place = |spot: Option<Spot>| spot.and_then(|spot| UserPlace::of(pool, Place::At(spot)));
        let empty =
            Self { kind: "site", place: None, object_bytes: None, type_name: None, pointers: None, kept_by: None };
        match part {
            Part::Site(spot) => Self { place: place(*spot), ..empty },
            Part::SizeClass(size) => {
                Self { kind: "size_class", object_bytes: Some(*size).filter(|size| *size > 0), ..empty }
            }
            Part::Type(name) => Self { kind: "type", type_name: Some(pool.str(*name)), ..empty },
            Part::Untyped { size, pointers } => {
                Self { kind: "untyped", object_bytes: *size, pointers: Some(*pointers), ..empty }
            }
            Part::Root(kept) => {
                let spot = match kept {
                    KeptBy::Goroutines(spot) => *spot,
                    _ => None,
                };
                Self { kind: "kept_by", place: place(spot), kept_by: Some(kept.name()), ..empty }
            }
        }
    }
}
