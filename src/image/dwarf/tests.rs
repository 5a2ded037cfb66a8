use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::image::test_elf::{PROGBITS, R, TestElf};

/// `DW_LANG_Go` and `DW_LANG_C99`.
const GO: u8 = 0x16;
const C99: u8 = 0x0c;

/// Abbreviations as Go's linker writes them; every number is the DWARF specification's. Each: code, tag,
/// whether it has children, and pairs of attribute and form, with one of zeros after the last.
#[rustfmt::skip]
const ABBREVIATIONS: &[u8] = &[
    1, 0x11, 1, 0x03, 0x08, 0x13, 0x0b, 0x73, 0x17, 0, 0, // compile_unit: name, language, addr_base
    2, 0x34, 0, 0x03, 0x08, 0x02, 0x18, 0x49, 0x10, 0, 0, // variable: name, location, type
    3, 0x13, 1, 0x03, 0x08, 0x0b, 0x0f, 0, 0,             // structure_type: name, byte_size
    4, 0x0d, 0, 0x03, 0x08, 0x38, 0x0f, 0x49, 0x10, 0, 0, // member: name, data_member_location, type
    5, 0x24, 0, 0x03, 0x08, 0x3e, 0x0b, 0x0b, 0x0b, 0, 0, // base_type: name, encoding, byte_size
    6, 0x16, 0, 0x03, 0x08, 0x49, 0x10, 0, 0,             // typedef: name, type
    7, 0x01, 1, 0x03, 0x08, 0x49, 0x10, 0x0b, 0x0f, 0, 0, // array_type: name, type, byte_size
    8, 0x21, 0, 0x49, 0x10, 0x37, 0x0f, 0, 0,             // subrange_type: type, count
    9, 0x0f, 0, 0x03, 0x08, 0x49, 0x10, 0, 0,             // pointer_type: name, type
    10, 0x27, 0, 0x03, 0x08, 0x49, 0x10, 0x1c, 0x0d, 0, 0, // constant: name, type, const_value
    11, 0x2e, 1, 0x03, 0x08, 0, 0,                        // subprogram: name
    12, 0x01, 1, 0x49, 0x10, 0, 0,                        // array_type: type
    13, 0x21, 0, 0x2f, 0x0b, 0, 0,                        // subrange_type: upper_bound
    14, 0x13, 0, 0x03, 0x08, 0x3c, 0x19, 0, 0,            // structure_type: name, declaration
    15, 0x2e, 1, 0x03, 0x08, 0x11, 0x01, 0, 0,            // subprogram: name, low_pc
    16, 0x05, 0, 0x03, 0x08, 0x4b, 0x0c, 0x49, 0x10, 0, 0, // formal_parameter: name, variable_parameter, type
    17, 0x24, 0, 0x03, 0x08, 0x80, 0x52, 0x0b, 0, 0,      // base_type: name, go_kind
    18, 0x13, 1, 0x03, 0x08, 0x80, 0x52, 0x0b, 0, 0,      // structure_type: name, go_kind
    19, 0x2e, 1, 0x11, 0x1b, 0, 0,                        // subprogram: low_pc by index
    20, 0x05, 0, 0x31, 0x10, 0, 0,                        // formal_parameter: abstract_origin
    0,
];

/// A writer of `.debug_info` in which types are referred to by label.
#[derive(Default)]
struct Info {
    bytes: Vec<u8>,
    labels: HashMap<&'static str, usize>,
    references: Vec<(usize, &'static str)>,
}

impl Info {
    /// Writes a unit and what `contents` puts into it.
    fn unit(mut self, version: u16, name: &str, language: u8, contents: impl FnOnce(&mut Self)) -> Self {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(version.to_le_bytes());
        match version {
            5 => self.bytes.extend([1, 8, 0, 0, 0, 0]), // DW_UT_compile, size of addresses, abbreviations
            _ => self.bytes.extend([0, 0, 0, 0, 8]),
        }
        self.entry(1, name);
        self.bytes.extend([language, 8, 0, 0, 0]); // addresses start after the header of .debug_addr
        contents(&mut self);
        self.bytes.push(0);
        let len = (self.bytes.len() - start - 4) as u32;
        self.bytes[start..start + 4].copy_from_slice(&len.to_le_bytes());
        self
    }

    fn label(&mut self, label: &'static str) -> &mut Self {
        self.labels.insert(label, self.bytes.len());
        self
    }

    fn entry(&mut self, code: u8, name: &str) -> &mut Self {
        self.bytes.push(code);
        self.bytes.extend(name.as_bytes());
        self.raw(&[0])
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }

    fn reference(&mut self, label: &'static str) -> &mut Self {
        self.references.push((self.bytes.len(), label));
        self.raw(&[0; 4])
    }

    fn finish(mut self) -> Vec<u8> {
        for (at, label) in self.references {
            self.bytes[at..at + 4].copy_from_slice(&(self.labels[label] as u32).to_le_bytes());
        }
        self.bytes
    }
}

/// Two units by Go and one by C, with what the runtime's units have.
fn info(version: u16) -> Vec<u8> {
    let location = |address: u64| match version {
        5 => vec![2, 0xa1, (address - 0x9000) as u8], // DW_OP_addrx
        _ => [&[9, 0x03], &address.to_le_bytes()[..]].concat(),
    };
    Info::default()
        .unit(version, "lib.c", C99, |info| {
            info.entry(14, "runtime.g");
            info.entry(3, "runtime.g").raw(&[1, 0]);
        })
        .unit(version, "main", GO, |info| {
            info.label("u32").entry(5, "uint32").raw(&[7, 4]);
            info.label("u64").entry(5, "uint64").raw(&[7, 8]);
            info.entry(3, "main.config").raw(&[4]);
            info.entry(4, "n").raw(&[0]).reference("u32").raw(&[0]);
            info.entry(3, "runtime.g").raw(&[99, 0]);
        })
        .unit(version, "runtime", GO, |info| {
            info.entry(2, "runtime.allglen").raw(&location(0x9001)).reference("u64");
            info.entry(2, "runtime.allgs").raw(&location(0x9000)).reference("slice");
            info.entry(10, "runtime._Gwaiting").reference("u64").raw(&[4]);
            info.entry(10, "runtime.minus").reference("u64").raw(&[0x7d]);
            info.entry(11, "runtime.main");
            info.entry(2, "runtime.local").raw(&location(0x9000)).reference("u64");
            info.entry(3, "runtime.localtype").raw(&[8, 0]);
            info.raw(&[0]);
            info.label("slice").entry(3, "[]*runtime.g").raw(&[24, 0]);
            info.label("g").entry(3, "runtime.g").raw(&[0xc8, 0x03]);
            info.entry(4, "goid").raw(&[0x98, 0x01]).reference("u64");
            info.entry(4, "m").raw(&[48]).reference("pm");
            info.entry(4, "atomicstatus").raw(&[0x90, 0x01]).reference("atomic");
            info.entry(4, "tls").raw(&[16]).reference("array");
            info.entry(4, "matrix").raw(&[0x80, 0x02]).reference("matrix");
            info.entry(4, "loop").raw(&[0]).reference("loop");
            info.raw(&[0]);
            info.label("g typedef").entry(6, "runtime.g").reference("g");
            info.label("pm").entry(9, "*runtime.m").reference("g");
            info.label("atomic").entry(6, "internal/runtime/atomic.Uint32").reference("struct");
            info.label("struct").entry(3, "internal/runtime/atomic.Uint32").raw(&[4, 0]);
            info.label("array")
                .entry(7, "[6]uint64")
                .reference("u64")
                .raw(&[48])
                .raw(&[8])
                .reference("u64")
                .raw(&[6, 0]);
            info.label("matrix").raw(&[12]).reference("array").raw(&[13, 1, 0]);
            info.label("loop").entry(6, "runtime.loop").reference("loop");
        })
        .finish()
}

/// `.debug_addr`: a header and two addresses.
fn addresses() -> Vec<u8> {
    let mut out = vec![20, 0, 0, 0, 5, 0, 8, 0];
    out.extend(0x9000_u64.to_le_bytes());
    out.extend(0x9001_u64.to_le_bytes());
    out
}

fn open(info: &[u8], abbreviations: &[u8], addresses: &[u8]) -> Result<Option<Dwarf>, DwarfError> {
    let elf = TestElf::new()
        .load(0x40_0000, R, b"x")
        .section(".debug_info", PROGBITS, 0, info)
        .section(".debug_abbrev", PROGBITS, 0, abbreviations)
        .section(".debug_addr", PROGBITS, 0, addresses);
    Dwarf::open(&Elf::parse(Arc::new(elf.build())).unwrap())
}

const STRUCTS: &[&str] = &["runtime.g", "main.config", "runtime.localtype", "runtime.nothing"];
const VARIABLES: &[&str] = &["runtime.allgs", "runtime.allglen", "runtime.local", "runtime.g"];
const CONSTANTS: &[&str] = &["runtime._Gwaiting", "runtime.minus", "runtime.allgs"];

fn find(info: &[u8]) -> Result<DwarfFindings, DwarfError> {
    open(info, ABBREVIATIONS, &addresses()).unwrap().unwrap().find(STRUCTS, VARIABLES, CONSTANTS)
}

#[test]
fn finds_what_is_asked_for_in_both_versions() {
    let named = |name: &str, size| TypeInfo { name: name.to_owned(), size, array: None };
    for version in [4, 5] {
        let found = find(&info(version)).unwrap();
        let g = &found.structs["runtime.g"];
        assert_eq!(g.size, 456, "the unit of package runtime comes first");
        let names: Vec<&str> = g.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["goid", "m", "atomicstatus", "tls", "matrix"], "a type that is its own is left out");
        assert_eq!((g.field("goid").unwrap().offset, &g.field("goid").unwrap().kind), (152, &named("uint64", 8)));
        assert_eq!(g.field("m").unwrap().kind, named("*runtime.m", 8));
        assert_eq!(g.field("atomicstatus").unwrap().kind, named("internal/runtime/atomic.Uint32", 4));
        let tls = &g.field("tls").unwrap().kind;
        assert_eq!((tls.name.as_str(), tls.size), ("[6]uint64", 48));
        assert_eq!(**tls.array.as_ref().unwrap(), Array { count: 6, element: named("uint64", 8) });
        let matrix = &g.field("matrix").unwrap().kind;
        assert_eq!((matrix.name.as_str(), matrix.size), ("[2][6]uint64", 96), "from what it consists of");
        assert_eq!(matrix.array.as_ref().unwrap().element, *tls);
        assert_eq!(g.field("sched"), None);
        assert_eq!(found.structs["main.config"].fields.len(), 1);
        assert_eq!(found.structs.len(), 2, "local types are not package-level ones");

        assert_eq!(found.variables["runtime.allglen"], Variable { addr: LinkAddr(0x9001), kind: named("uint64", 8) });
        assert_eq!(
            found.variables["runtime.allgs"],
            Variable { addr: LinkAddr(0x9000), kind: named("[]*runtime.g", 24) }
        );
        assert_eq!(found.variables.len(), 2, "local variables are not package-level ones");
        let constants = [("runtime._Gwaiting".to_owned(), 4), ("runtime.minus".to_owned(), -3)];
        assert_eq!(found.constants, BTreeMap::from(constants));
        assert_eq!(found.damaged_units, 0);
    }
}

#[test]
fn programs_without_dwarf_have_none() {
    let elf = Elf::parse(Arc::new(TestElf::new().load(0x40_0000, R, b"x").build())).unwrap();
    assert!(Dwarf::open(&elf).unwrap().is_none());
}

#[test]
fn a_damaged_unit_does_not_hide_the_others() {
    let mut info = info(4);
    // The first unit refers to an abbreviation that is not there.
    info[11] = 99;
    let found = find(&info).unwrap();
    assert_eq!((found.damaged_units, found.structs["runtime.g"].size), (1, 456));
    // The list of units ends in the middle.
    let len = info.len();
    assert!(matches!(find(&info[..len - 1]), Err(DwarfError::Unit { units: 2, .. })));
}

#[test]
fn entries_without_size_and_tables_without_end_are_given_up() {
    // One abbreviation with 60 attributes that take no bytes (DW_FORM_implicit_const), and a unit of
    // entries of one byte each.
    let mut abbreviations = ABBREVIATIONS[..ABBREVIATIONS.len() - 1].to_vec();
    abbreviations.extend([30, 0x34, 0]);
    abbreviations.extend([0x3b, 0x21, 7].repeat(60));
    abbreviations.extend([0, 0, 0]);
    let long = Info::default().unit(4, "runtime", GO, |info| {
        info.raw(&[30; 30_000]);
    });
    let dwarf = open(&long.finish(), &abbreviations, &[]).unwrap().unwrap();
    assert!(matches!(dwarf.find(STRUCTS, &[], &[]), Err(DwarfError::TooMuch { .. })));

    // More attributes than any compiler writes.
    let mut abbreviations = vec![1, 0x11, 1];
    abbreviations.extend([0x3b, 0x21, 7].repeat(1000));
    abbreviations.extend([0, 0, 0]);
    let dwarf = open(&info(4), &abbreviations, &[]).unwrap().unwrap();
    assert_eq!(dwarf.find(STRUCTS, &[], &[]).unwrap().damaged_units, 3);
}

/// Functions with parameters: by address, and by index of the address with the names elsewhere; a structure that
/// contains itself.
fn functions(version: u16) -> Vec<u8> {
    Info::default()
        .unit(version, "main", GO, |info| {
            info.label("int8").entry(17, "int8").raw(&[3]);
            info.label("string").entry(17, "string").raw(&[24]);
            info.label("named").entry(6, "main.name").reference("string");
            info.label("loop").entry(18, "main.loop").raw(&[25]);
            info.entry(4, "again").raw(&[0]).reference("loop");
            info.raw(&[0]);
            info.entry(15, "main.f").raw(&0x9000_u64.to_le_bytes());
            info.label("a").entry(16, "a").raw(&[0]).reference("int8");
            info.entry(16, "b").raw(&[0]).reference("named");
            info.entry(16, "result").raw(&[1]).reference("string");
            info.entry(16, "c").raw(&[0]).reference("loop");
            info.raw(&[0]);
            info.raw(&[19, 1]);
            info.raw(&[20]).reference("a");
            info.raw(&[0]);
        })
        .finish()
}

fn entries() -> BTreeSet<LinkAddr> {
    [0x9000, 0x9001, 0x9002].map(LinkAddr).into()
}

#[test]
fn parameters_are_found_by_the_entries_of_their_functions() {
    for version in [4, 5] {
        let dwarf = open(&functions(version), ABBREVIATIONS, &addresses()).unwrap().unwrap();
        let found = dwarf.parameters(&entries()).unwrap();
        assert_eq!(found.keys().map(|entry| entry.0).collect::<Vec<_>>(), [0x9000, 0x9001]);
        let of = |entry: u64| &found[&LinkAddr(entry)];
        let [a, b, c] = &of(0x9000)[..] else { panic!("{:?}", of(0x9000)) };
        assert_eq!((a.name.as_str(), a.kind.name.as_str(), &a.kind.shape), ("a", "int8", &Shape::Int(1)));
        assert_eq!((b.name.as_str(), b.kind.name.as_str(), &b.kind.shape), ("b", "main.name", &Shape::String));
        // It has no end, so what it is made of is not known from some depth on.
        assert_eq!((c.name.as_str(), c.kind.name.as_str()), ("c", "main.loop"));
        assert_eq!(of(0x9001), std::slice::from_ref(a));
    }
}

proptest! {
    #[test]
    fn changed_functions_do_not_panic(
        changes in prop::collection::vec((0..3_usize, any::<prop::sample::Index>(), any::<u8>()), 1..10),
        version in 4..6_u16,
    ) {
        let mut sections = [functions(version), ABBREVIATIONS.to_vec(), addresses()];
        for (section, at, value) in changes {
            let at = at.index(sections[section].len());
            sections[section][at] = value;
        }
        if let Ok(Some(dwarf)) = open(&sections[0], &sections[1], &sections[2]) {
            let _ = dwarf.parameters(&entries());
        }
    }

    #[test]
    fn changed_bytes_do_not_panic(
        changes in prop::collection::vec((0..3_usize, any::<prop::sample::Index>(), any::<u8>()), 1..10),
        version in 4..6_u16,
    ) {
        let mut sections = [info(version), ABBREVIATIONS.to_vec(), addresses()];
        for (section, at, value) in changes {
            let at = at.index(sections[section].len());
            sections[section][at] = value;
        }
        if let Ok(Some(dwarf)) = open(&sections[0], &sections[1], &sections[2]) {
            let _ = dwarf.find(STRUCTS, VARIABLES, CONSTANTS);
        }
    }

    #[test]
    fn sections_cut_off_anywhere_do_no_harm(at in any::<prop::sample::Index>(), section in 0..3_usize, version in 4..6_u16) {
        let mut sections = [info(version), ABBREVIATIONS.to_vec(), addresses()];
        let len = at.index(sections[section].len());
        sections[section].truncate(len);
        if let Ok(Some(dwarf)) = open(&sections[0], &sections[1], &sections[2]) {
            let _ = dwarf.find(STRUCTS, VARIABLES, CONSTANTS);
        }
    }

    #[test]
    fn random_bytes_do_not_panic(info in prop::collection::vec(any::<u8>(), 0..300), abbreviations in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(Some(dwarf)) = open(&info, &abbreviations, &[]) {
            let _ = dwarf.find(STRUCTS, VARIABLES, CONSTANTS);
        }
    }
}
