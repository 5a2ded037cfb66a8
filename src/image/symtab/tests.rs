use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::image::test_elf::{PROGBITS, RX, TestElf};

/// Binding and type in one byte.
const LOCAL_FUNC: u8 = 0x02;
const GLOBAL_FUNC: u8 = 0x12;
const GLOBAL_OBJECT: u8 = 0x11;
const GLOBAL_IFUNC: u8 = 0x1a;
const GLOBAL_TLS: u8 = 0x16;

/// (name, type, section, address, size)
type Row<'a> = (&'a str, u8, u16, u64, u64);

/// A table and its names.
fn table(rows: &[Row<'_>]) -> (Vec<u8>, Vec<u8>) {
    let (mut table, mut names) = (vec![0; 24], vec![0]);
    for (name, kind, section, addr, size) in rows {
        table.extend((names.len() as u32).to_le_bytes());
        table.extend([*kind, 0]);
        table.extend(section.to_le_bytes());
        table.extend(addr.to_le_bytes());
        table.extend(size.to_le_bytes());
        names.extend(name.as_bytes());
        names.push(0);
    }
    (table, names)
}

fn elf(table_name: &str, rows: &[Row<'_>]) -> TestElf {
    let (table, names) = table(rows);
    TestElf::new()
        .load(0x1000, RX, &[0x90; 64])
        .linked_section(table_name, 2, 0, &table, 2)
        .section(".strtab", 3, 0, &names)
}

fn open(elf: &TestElf) -> Elf {
    Elf::parse(Arc::new(elf.build())).unwrap()
}

const ROWS: &[Row<'static>] = &[
    ("runtime.allgs", GLOBAL_OBJECT, 3, 0x9000, 24),
    ("runtime.allgs", GLOBAL_OBJECT, 3, 0x9999, 8),
    ("runtime.allm", GLOBAL_OBJECT, 3, 0x9100, 8),
    ("runtime.tlsg", GLOBAL_TLS, 4, 0x10, 8),
    ("puts", GLOBAL_FUNC, 0, 0, 0),
    ("main.main", GLOBAL_FUNC, 1, 0x1100, 0x20),
    ("__nanosleep", LOCAL_FUNC, 1, 0x1200, 0x10),
    ("nanosleep", GLOBAL_FUNC, 1, 0x1200, 0x10),
    ("assembly", GLOBAL_FUNC, 1, 0x1300, 0),
    ("memcpy", GLOBAL_IFUNC, 1, 0x1340, 0x10),
    ("last", GLOBAL_FUNC, 1, 0x2000, 0),
];

#[test]
fn finds_the_requested_names() {
    let elf = open(&elf(".symtab", ROWS));
    let symbols = Symbols::load(&elf, |name| name.starts_with(b"runtime.") || name == b"puts").unwrap();
    assert_eq!(symbols.get("runtime.allgs"), Some(Symbol { addr: LinkAddr(0x9000), size: 24 }), "the first counts");
    assert_eq!(symbols.get("runtime.allm"), Some(Symbol { addr: LinkAddr(0x9100), size: 8 }));
    assert_eq!(symbols.get("runtime.tlsg"), None, "an offset in thread-local storage is no address");
    assert_eq!(symbols.get("puts"), None, "another file has it");
    assert_eq!(symbols.get("main.main"), None, "not requested");
}

#[test]
fn names_the_function_that_contains_an_address() {
    for name in [".symtab", ".dynsym"] {
        let elf = open(&elf(name, ROWS));
        let symbols = Symbols::load(&elf, |_| false).unwrap();
        let at = |addr| symbols.function_at(&elf, LinkAddr(addr)).map(|f| (f.name, f.start.0));
        assert_eq!(at(0x1100), Some(("main.main".to_owned(), 0x1100)));
        assert_eq!(at(0x111f), Some(("main.main".to_owned(), 0x1100)));
        assert_eq!(at(0x1120), None, "is after its end");
        assert_eq!(at(0x1205), Some(("nanosleep".to_owned(), 0x1200)), "the global name counts");
        assert_eq!(at(0x133f), Some(("assembly".to_owned(), 0x1300)), "up to the next");
        assert_eq!(at(0x1341), Some(("memcpy".to_owned(), 0x1340)));
        assert_eq!(at(0x2fff), Some(("last".to_owned(), 0x2000)), "a while");
        assert_eq!(at(0x3000), None, "within a limit");
        assert_eq!(at(0x9000), None, "data");
        assert_eq!(at(0), None);
        assert_eq!(at(u64::MAX), None);
    }
}

#[test]
fn files_without_symbols_have_none() {
    let elf = open(&TestElf::new().load(0x1000, RX, &[0x90; 64]));
    let symbols = Symbols::load(&elf, |_| true).unwrap();
    assert_eq!(symbols.get("main.main"), None);
    assert_eq!(symbols.function_at(&elf, LinkAddr(0x1000)), None);
}

#[test]
fn invalid_names_are_skipped() {
    let (mut rows, mut names) = table(&[("first", GLOBAL_FUNC, 1, 0x1100, 8), ("second", GLOBAL_FUNC, 1, 0x1200, 8)]);
    rows[24..28].fill(0xff);
    rows.extend([1, 2, 3]); // half a row
    names.pop(); // the last name has no end
    let file = TestElf::new()
        .load(0x1000, RX, &[0x90; 64])
        .linked_section(".symtab", 2, 0, &rows, 2)
        .section(".strtab", 3, 0, &names);
    let elf = open(&file);
    let symbols = Symbols::load(&elf, |_| true).unwrap();
    assert_eq!((symbols.get("first"), symbols.get("second")), (None, None));
    assert_eq!(symbols.function_at(&elf, LinkAddr(0x1100)), None);
    // A link to a section that is not there.
    let file = TestElf::new().load(0x1000, RX, &[0x90; 64]).linked_section(".symtab", 2, 0, &rows, 99);
    assert_eq!(Symbols::load(&open(&file), |_| true).unwrap().get("first"), None);
}

proptest! {
    #[test]
    fn changed_bytes_do_no_harm(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20), addr: u64) {
        let (mut rows, mut names) = table(ROWS);
        for (at, value) in changes {
            let at = at.index(rows.len() + names.len());
            match at.checked_sub(rows.len()) {
                Some(at) => names[at] = value,
                None => rows[at] = value,
            }
        }
        let file = TestElf::new().load(0x1000, RX, &[0x90; 64]).linked_section(".symtab", 2, 0, &rows, 2).section(".strtab", PROGBITS, 0, &names);
        let elf = open(&file);
        let symbols = Symbols::load(&elf, |_| true).unwrap();
        for addr in [addr, 0x1100, 0x1205, 0x1310, 0x2fff] {
            let _ = symbols.function_at(&elf, LinkAddr(addr));
        }
    }
}
