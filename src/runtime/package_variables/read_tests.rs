use super::*;
use crate::addr::Arch;
use crate::process::core::{CoreOptions, CoreTarget};
use crate::process::fake::FakeTarget;
use crate::runtime::GoRuntime;
use crate::runtime::locate::LocateOptions;
use crate::runtime::program::Program;

/// Types by their numbers, which values below refer to.
const STRING: TypeId = TypeId::numbered(0);
const MAP: TypeId = TypeId::numbered(1);
const SLICE: TypeId = TypeId::numbered(2);
const CIRCLE: TypeId = TypeId::numbered(3);
const POINTER: TypeId = TypeId::numbered(4);
const HUGE: TypeId = TypeId::numbered(5);
const CHANNEL: TypeId = TypeId::numbered(6);
const INTERFACE: TypeId = TypeId::numbered(7);
const FUNCTION: TypeId = TypeId::numbered(8);

const AT: u64 = 0x1000;

fn program() -> (Program, GoRuntime) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/tiny-1.26.6-amd64.capture");
    let target = CoreTarget::open(path.as_ref(), &CoreOptions::default()).unwrap();
    let program = Program::find(&target, None).unwrap();
    let runtime = GoRuntime::locate(&target, &program, &LocateOptions::default()).unwrap();
    (program, runtime)
}

fn types() -> GoVariables {
    let kind = |name: &str, size, form| GoType { name: name.to_owned(), size, form };
    let field = |name: &str, offset, kind| GoField { name: name.to_owned(), offset, kind, embedded: false };
    GoVariables::of_types(vec![
        kind("string", 16, Form::String),
        kind("map[string]int", 8, Form::Map),
        kind("[]string", 24, Form::Slice(STRING)),
        kind("main.circle", 24, Form::Struct(vec![field("next", 0, POINTER), field("name", 8, STRING)])),
        kind("*main.circle", 8, Form::Pointer(Some(CIRCLE))),
        kind("[1099511627776]main.circle", 24 << 40, Form::Array(1 << 40, CIRCLE)),
        kind("chan int", 8, Form::Channel),
        kind("interface {}", 16, Form::Interface { methods: false }),
        kind("func()", 8, Form::Function),
    ])
}

/// What is read of a value of `kind`, whose words are these and are followed by more of the same memory.
fn read(kind: TypeId, words: &[u64], limits: VariableLimits) -> Value {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).chain([b'x'; 4096]).collect();
    let target = FakeTarget::new(Arch::Amd64).with_segment(Addr(AT), bytes);
    thread_local! {
        // Of a real one, which is not read here.
        static PROGRAM: (Program, GoRuntime) = program();
    }
    PROGRAM.with(|(program, runtime)| {
        let types = types();
        let process = GoProcess { target: &target, program, runtime };
        Reader::new(process, &types, limits).at(Addr(AT), kind).unwrap()
    })
}

fn usual(kind: TypeId, words: &[u64]) -> Value {
    read(kind, words, VariableLimits::default())
}

#[test]
fn strings_are_read_no_further_than_they_are_shown() {
    let text = |len: u64| usual(STRING, &[AT + 16, len]);
    assert_eq!(text(3), Value::String { text: "xxx".to_owned(), len: 3 });
    // Of a length that no memory has, as much as is shown.
    for len in [300, 5_000, (1 << 48) - 1] {
        assert_eq!(text(len), Value::String { text: "x".repeat(256), len }, "{len}");
    }
    for len in [1 << 48, 1 << 63, u64::MAX] {
        assert_eq!(text(len), Value::Unreadable, "{len}");
    }
    assert_eq!(usual(STRING, &[0xdead_beef_0000, 8]), Value::Unreadable);
    assert_eq!(usual(STRING, &[u64::MAX - 3, 8]), Value::Unreadable);
    // The address of no string counts for nothing.
    assert_eq!(usual(STRING, &[u64::MAX, 0]), Value::String { text: String::new(), len: 0 });
    // A character is not cut in the middle.
    let limits = VariableLimits { string: 3, ..VariableLimits::default() };
    let accents = u64::from_le_bytes(*b"\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9");
    assert_eq!(read(STRING, &[AT + 16, 8, accents], limits), Value::String { text: "é".to_owned(), len: 8 });
}

#[test]
fn maps_have_a_count_or_none() {
    let map = |addr: u64, len: u64| match usual(MAP, &[addr, len]) {
        Value::Map { len, .. } => len,
        other => panic!("{other:?}"),
    };
    assert_eq!((map(AT + 8, 7), map(0, 7)), (Some(7), Some(0)));
    assert_eq!((map(AT + 8, 1 << 48), map(AT + 8, u64::MAX)), (None, None));
    assert_eq!((map(u64::MAX, 1), map(u64::MAX - 7, 1), map(0xdead_beef_0000, 1)), (None, None, None));
}

#[test]
fn lists_and_circles_end() {
    // Its length is that of its room at most, and no room is larger than memory.
    for [len, cap] in [[2, 1], [1, 1 << 48], [u64::MAX, u64::MAX]] {
        assert_eq!(usual(SLICE, &[AT, len, cap]), Value::Unreadable, "{len} {cap}");
    }
    let Value::Slice { elements, len, .. } = usual(SLICE, &[AT + 24, 1 << 40, 1 << 41]) else { panic!() };
    assert_eq!((elements.len(), len), (16, 1 << 40));
    // Elements of 10,000 at most are asked for, of a slice whose memory is not there.
    let limits = VariableLimits { elements: 10_000, ..VariableLimits::default() };
    assert_eq!(read(SLICE, &[AT, 1 << 40, 1 << 41], limits), Value::Unreadable);
    // It points to itself, and has an enormous name.
    let limits = VariableLimits { depth: 16, ..VariableLimits::default() };
    let mut depth = 0;
    let mut value = read(CIRCLE, &[AT, AT, 1 << 47], limits);
    while let Value::Struct(mut fields) = value {
        depth += 1;
        let (name, next) = fields.swap_remove(0);
        assert_eq!(name, "next");
        let Value::Pointer { to: Some(to), .. } = next else { break };
        value = *to;
    }
    assert!((4..=16).contains(&depth), "{depth}");
    // An array that is larger than any memory: what is shown, what cannot be, and what is too much.
    let array =
        |elements, parts| read(HUGE, &[AT; 64], VariableLimits { elements, parts, ..VariableLimits::default() });
    let Value::Array { len, elements } = array(16, 10_000) else { panic!() };
    assert_eq!((len, elements.len()), (1 << 40, 16));
    assert_eq!((array(10_000, 10_000), array(u64::MAX, 10_000)), (Value::Unreadable, Value::Omitted));
    // As many parts as are allowed, and no more.
    let Value::Array { elements, .. } = array(16, 20) else { panic!() };
    assert!((1..=20).contains(&elements.len()), "{}", elements.len());
}

/// Whatever words there are, of whatever type.
#[test]
fn arbitrary_words_are_survived() {
    let mut seed = 7_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 8
    };
    let limits = VariableLimits { depth: 16, elements: 1_000, parts: 2_000, ..VariableLimits::default() };
    for _ in 0..200 {
        let words: Vec<u64> = (0..64)
            .map(|_| match random() % 5 {
                0 => random() % 64,
                1 => u64::MAX - random() % 64,
                2 => 1 << (random() % 64),
                3 => random(),
                _ => AT + 8 * (random() % 64),
            })
            .collect();
        for kind in [STRING, MAP, SLICE, CIRCLE, POINTER, HUGE, CHANNEL, INTERFACE, FUNCTION] {
            let _ = read(kind, &words, limits);
        }
    }
}
