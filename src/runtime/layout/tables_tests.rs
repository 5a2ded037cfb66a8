use super::*;
use crate::runtime::layout::{Layout, wanted};

fn all() -> impl Iterator<Item = LayoutTable> {
    [Arch::Amd64, Arch::Arm64]
        .into_iter()
        .flat_map(|arch| SUPPORTED_MINORS.iter().map(move |minor| checked_in(*minor, arch).unwrap()))
}

fn off(table: &LayoutTable, structure: &str, field: &str) -> u32 {
    table
        .offset(structure, field)
        .unwrap_or_else(|| panic!("{} {} has no {structure}.{field}", table.release, table.arch.name()))
}

/// A structure, a field of it, and how far others are from that one.
type Distances = (&'static str, &'static str, &'static [(&'static str, i64)]);

/// Distances between fields that hold in every version; the ones that inference relies on.
const DISTANCES: &[Distances] = &[
    (
        "runtime.g",
        "goid",
        &[
            ("atomicstatus", -8),
            ("schedlink", 8),
            ("waitsince", 16),
            ("waitreason", 24),
            ("preempt", 25),
            ("asyncSafePoint", 28),
            ("param", -16),
            ("stktopsp", -24),
        ],
    ),
    (
        "runtime.g",
        "gopc",
        &[("ancestors", 8), ("startpc", 16), ("waiting", 32), ("cgoCtxt", 40), ("labels", 64), ("timer", 72)],
    ),
    ("runtime.m", "procid", &[("gsignal", 8), ("tls", 64), ("curg", 120)]),
    (
        "runtime.schedt",
        "maxmcount",
        &[
            ("nmidle", -16),
            ("nmidlelocked", -12),
            ("mnext", -8),
            ("nmsys", 4),
            ("nmfreed", 8),
            ("ngsys", 16),
            ("pidle", 24),
            ("npidle", 32),
            ("nmspinning", 36),
        ],
    ),
    ("runtime.p", "runqhead", &[("runqtail", 4), ("runq", 8), ("runnext", 2056)]),
    ("runtime.hchan", "recvq", &[("recvx", -8), ("sendx", -16), ("elemtype", -24), ("sendq", 16)]),
];

const FIXED: &[(&str, &str, u32)] = &[
    ("runtime.g", "stack", 0),
    ("runtime.g", "m", 48),
    ("runtime.g", "sched", 56),
    ("runtime.gobuf", "sp", 0),
    ("runtime.gobuf", "pc", 8),
    ("runtime.m", "g0", 0),
    ("runtime.p", "id", 0),
    ("runtime.p", "status", 4),
    ("runtime.p", "schedtick", 16),
    ("runtime.p", "syscalltick", 20),
    ("runtime.moduledata", "text", 176),
    ("runtime.moduledata", "enoptrbss", 248),
];

#[test]
fn every_table_is_whole_and_canonical() {
    for table in all() {
        Layout::resolve(table.clone()).unwrap();
        let minor = GoVersion::parse(&table.release).unwrap().minor;
        assert_eq!(table.to_text(), text(minor, table.arch).unwrap(), "{}", table.release);
        for (name, layout) in &table.structs {
            let wanted = wanted::fields(name).unwrap();
            assert!(layout.fields.keys().all(|field| wanted.contains(&field.as_str())), "{name}");
        }
        assert!(table.global_size("runtime.waitReasonStrings").unwrap().is_multiple_of(16));
        assert!(table.global_size("runtime.semtable").unwrap().is_multiple_of(251));
        assert_eq!((table.size_classes.len(), table.size_classes.first()), (68, Some(&0)));
        assert!(table.size_classes.is_sorted());
    }
}

#[test]
fn what_never_moved_has_not_moved() {
    for table in all() {
        for (structure, anchor, fields) in DISTANCES {
            for (field, distance) in *fields {
                let found = i64::from(off(&table, structure, field)) - i64::from(off(&table, structure, anchor));
                assert_eq!(found, *distance, "{} {structure}.{field} from {anchor}", table.release);
            }
        }
        for (structure, field, offset) in FIXED {
            assert_eq!(off(&table, structure, field), *offset, "{} {structure}.{field}", table.release);
        }
    }
}

#[test]
fn what_an_issue_needs_is_there() {
    // Versions in which a field came or went, from the runtime's history.
    for table in all() {
        let minor = GoVersion::parse(&table.release).unwrap().minor;
        let has = |structure, field| table.offset(structure, field).is_some();
        assert_eq!(has("runtime.g", "parentGoid"), minor >= 21);
        assert_eq!(has("runtime.g", "coroarg"), minor >= 22);
        assert_eq!(has("runtime.g", "syscallbp"), minor >= 23);
        assert_eq!(has("runtime.g", "sleepWhen"), minor >= 23);
        assert_eq!(has("runtime.g", "bubble"), minor >= 25);
        assert_eq!(has("runtime.schedt", "runqsize"), minor <= 24);
        assert_eq!(has("runtime.gQueue", "size"), minor >= 25);
        assert_eq!(has("runtime.schedt", "goroutinesCreated"), minor >= 26);
        assert_eq!(has("runtime.p", "goroutinesCreated"), minor >= 26);
        assert_eq!(has("runtime.timers", "heap"), minor >= 23);
        assert_eq!(has("runtime._panic", "deferreturn"), minor >= 22);
        assert_eq!(has("runtime._panic", "repanicked"), minor >= 25);
        assert_eq!((has("runtime._type", "str"), has("internal/abi.Type", "Str")), (minor <= 19, minor >= 21));
    }
}

fn tried(text: &str) -> Vec<String> {
    let version = GoVersion::parse(text).unwrap();
    candidates(Some(&version), Arch::Amd64)
        .into_iter()
        .map(|(table, source)| {
            let minor = GoVersion::parse(&table.release).unwrap().minor;
            format!("{minor}{}", if matches!(source, LayoutSource::Table { .. }) { "" } else { "~" })
        })
        .collect()
}

#[test]
fn the_nearest_table_is_flagged() {
    assert_eq!(tried("go1.26.1"), ["26"]);
    assert_eq!(tried("go1.20.5"), ["21~", "19~"]);
    assert_eq!(tried("go1.18"), ["19~"]);
    assert_eq!(tried("go1.28.1"), ["27~"]);
    assert_eq!(candidates(None, Arch::Arm64).len(), SUPPORTED_MINORS.len());
}
