//! Values in interfaces, as the runtime prints them.
//!
//! That is what `print` and a dying program write (`printpanicval`, `printanycustomtype` and
//! `printindented` in runtime/error.go, print.go; Go 1.19 to 1.27): basic types by value, named ones
//! with their name, everything else as its type and an address. No method of a value is run; a few
//! error types of the standard library are known by their fields ([`Values::error_text`]). Names of
//! types that were made at run time, or in a plugin, are unknown.

mod numbers;

use std::ops::Range;

use super::mirror::go_type::{AbiType, TypeLayout};
use super::mirror::panic::Interface;
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::process::{ReadError, Target, TargetExt as _};

/// Longest text of a value that is read, bytes.
pub(crate) const MAX_TEXT: usize = 64 << 10;
/// Longest name of a type, bytes.
const MAX_NAME: u64 = 4096;
/// An error that holds another one.
const PATH_ERROR: &str = "*fs.PathError";

/// Kinds of types (`reflect.Kind`), the same since Go 1.0.
mod kind {
    pub(super) const BOOL: u8 = 1;
    pub(super) const INT: u8 = 2;
    pub(super) const INT64: u8 = 6;
    pub(super) const UINT: u8 = 7;
    pub(super) const UINTPTR: u8 = 12;
    pub(super) const FLOAT32: u8 = 13;
    pub(super) const FLOAT64: u8 = 14;
    pub(super) const COMPLEX64: u8 = 15;
    pub(super) const COMPLEX128: u8 = 16;
    pub(super) const STRING: u8 = 24;
}

/// Names of the basic types, which are printed without them.
const BASIC: [&str; 17] = [
    "bool",
    "int",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "uintptr",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "string",
];

/// A type that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoType {
    /// Its kind, as `reflect.Kind` counts.
    pub kind: u8,
    /// Its name as the runtime prints it (`*main.T`).
    pub name: String,
}

/// A value in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// Name of its type; `None` for nil, and where it is not known.
    pub kind: Option<String>,
    /// What the runtime prints.
    pub text: String,
    /// Whether it is certain that the runtime prints this.
    pub certain: bool,
}

/// Reads values of one program.
#[derive(Clone)]
pub struct Values<'a> {
    target: &'a dyn Target,
    layout: TypeLayout,
    /// `moduledata.types` to `etypes`.
    types: Range<u64>,
    minor: u32,
}

impl<'a> Values<'a> {
    /// For a program of Go 1.`minor` whose types are in `types`.
    #[must_use]
    pub fn new(target: &'a dyn Target, layout: TypeLayout, types: Range<u64>, minor: u32) -> Self {
        Self { target, layout, types, minor }
    }

    /// The type at `addr`; `None` where there is none that makes sense.
    ///
    /// # Errors
    /// When the target could not be read.
    pub fn go_type(&self, addr: u64) -> Result<Option<GoType>, ReadError> {
        /// The name has a `*` in front that is not a part of it (`TFlagExtraStar`).
        const EXTRA_STAR: u8 = 2;
        const KINDS: u8 = 31;
        // Names are found by their distance from the types of the module that the type itself is in
        // (`resolveNameOff` in runtime/type.go); what is elsewhere has none, or is no type.
        if !self.types.contains(&addr) {
            return Ok(None);
        }
        let Some(bytes) = self.target.read_vec(Addr(addr), self.layout.size() as usize)? else { return Ok(None) };
        let Some(AbiType { flags, kind, name }) = self.layout.parse(&bytes) else { return Ok(None) };
        // Negative ones are of types that were made at run time.
        let Some(name) = u64::try_from(name).ok().and_then(|name| self.types.start.checked_add(name)) else {
            return Ok(None);
        };
        let Some(name) = self.name(name)? else { return Ok(None) };
        let name = match flags & EXTRA_STAR {
            0 => name,
            _ => name.strip_prefix('*').unwrap_or(&name).to_owned(),
        };
        Ok(Some(GoType { kind: kind & KINDS, name }))
    }

    /// A name (`abi.Name`): flags, the length in groups of seven bits, and the bytes. `None` where there is none that
    /// makes sense.
    ///
    /// # Errors
    /// When the target could not be read.
    pub(crate) fn name(&self, addr: u64) -> Result<Option<String>, ReadError> {
        if !self.types.contains(&addr) {
            return Ok(None);
        }
        let mut head = [0; 4];
        let got = self.target.read(Addr(addr), &mut head)?;
        let mut len = 0_u64;
        for (index, shift) in (1..got).zip([0, 7, 14]) {
            let Some(byte) = head.u8_at(index) else { break };
            len |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let fits = (1..=MAX_NAME).contains(&len).then(|| usize::try_from(len).ok()).flatten();
                let Some((len, start)) = fits.zip(addr.checked_add(1 + index as u64)) else { return Ok(None) };
                let bytes = self.target.read_vec(Addr(start), len)?;
                return Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()));
            }
        }
        Ok(None)
    }

    /// The string whose header (pointer and length) is at `addr`, as [`Values::string`] gives it.
    ///
    /// # Errors
    /// When the target could not be read.
    pub fn string_at(&self, addr: u64) -> Result<Option<(String, bool)>, ReadError> {
        let header: Option<[u8; 16]> = self.target.read_array(Addr(addr))?;
        match header.and_then(|header| header.u64_at(0).zip(header.u64_at(8))) {
            Some((at, len)) => self.string(at, len),
            None => Ok(None),
        }
    }

    /// The string of `len` bytes at `at`; what is too long is cut, and says so. With it, whether it is
    /// exactly that: bytes that are no UTF-8 are replaced. `None` where it is not there.
    ///
    /// # Errors
    /// When the target could not be read.
    pub fn string(&self, at: u64, len: u64) -> Result<Option<(String, bool)>, ReadError> {
        let some = usize::try_from(len).unwrap_or(usize::MAX).min(MAX_TEXT);
        let Some(bytes) = self.target.read_vec(Addr(at), some)? else { return Ok(None) };
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        let more = len.saturating_sub(some as u64);
        let cut_off = |error: std::str::Utf8Error| more > 0 && error.error_len().is_none();
        let exact = std::str::from_utf8(&bytes).map_or_else(cut_off, |_| true);
        if more > 0 {
            // Not in the middle of a character.
            text.truncate(text.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
            text.push_str(&format!("… ({more} bytes more)"));
        }
        Ok(Some((text, exact)))
    }

    /// Text with its further lines set off, as versions from 1.23 on print it.
    #[must_use]
    pub fn indented(&self, text: &str) -> String {
        if self.minor >= 23 { text.replace('\n', "\n\t") } else { text.to_owned() }
    }

    /// What the runtime prints for a value that was passed to `panic`.
    ///
    /// # Errors
    /// When the target could not be read.
    pub fn panic_value(&self, value: Interface) -> Result<Value, ReadError> {
        if value.kind == 0 {
            return Ok(Value { kind: None, text: "nil".to_owned(), certain: true });
        }
        let Some(kind) = self.go_type(value.kind)? else {
            let text = format!("(a type that is not known) {:#x}", value.data);
            return Ok(Value { kind: None, text, certain: false });
        };
        let basic = BASIC.contains(&kind.name.as_str());
        let mut certain = true;
        let text = match kind.kind {
            kind::STRING => match self.string_at(value.data)? {
                Some((text, exact)) => {
                    certain = exact;
                    let text = self.indented(&text);
                    if basic { text } else { format!("{}(\"{text}\")", kind.name) }
                }
                None => {
                    certain = false;
                    format!("({}) {:#x}", kind.name, value.data)
                }
            },
            number => match self.number(number, value.data)? {
                Some(text) if basic => text,
                // A text with its own parentheses gets no others.
                Some(text) if matches!(number, kind::COMPLEX64 | kind::COMPLEX128) => format!("{}{text}", kind.name),
                Some(text) => format!("{}({text})", kind.name),
                None => {
                    // Only what is none of these is printed as an address.
                    certain = !(kind::BOOL..=kind::COMPLEX128).contains(&number);
                    format!("({}) {:#x}", kind.name, value.data)
                }
            },
        };
        Ok(Value { kind: Some(kind.name), text, certain })
    }

    fn number(&self, kind: u8, at: u64) -> Result<Option<String>, ReadError> {
        let mut bytes = [0; 16];
        let len = match kind {
            kind::BOOL => 1,
            kind::INT..=kind::INT64 => [8, 1, 2, 4, 8].get(usize::from(kind - kind::INT)).copied().unwrap_or(8),
            kind::UINT..=kind::UINTPTR => [8, 1, 2, 4, 8, 8].get(usize::from(kind - kind::UINT)).copied().unwrap_or(8),
            kind::FLOAT32 => 4,
            kind::FLOAT64 | kind::COMPLEX64 => 8,
            kind::COMPLEX128 => 16,
            _ => return Ok(None),
        };
        let Some(buf) = bytes.get_mut(..len) else { return Ok(None) };
        if self.target.read(Addr(at), buf)? != len {
            return Ok(None);
        }
        let word = bytes.u64_at(0).unwrap_or(0);
        let unused = 64 - 8 * u32::try_from(len.min(8)).unwrap_or(8);
        let float32 = |at: usize| f32::from_bits(bytes.u32_at(at).unwrap_or(0));
        let float64 = |at: usize| f64::from_bits(bytes.u64_at(at).unwrap_or(0));
        Ok(Some(match kind {
            kind::BOOL => (word & 0xff != 0).to_string(),
            kind::INT..=kind::INT64 => ((word as i64) << unused >> unused).to_string(),
            kind::UINT..=kind::UINTPTR => word.to_string(),
            kind::FLOAT32 => numbers::float(self.minor, float32(0).into(), Some(float32(0))),
            kind::FLOAT64 => numbers::float(self.minor, float64(0), None),
            kind::COMPLEX64 => {
                let part = |at: usize| numbers::float(self.minor, float32(at).into(), Some(float32(at)));
                numbers::complex(&part(0), &part(4))
            }
            _ => numbers::complex(
                &numbers::float(self.minor, float64(0), None),
                &numbers::float(self.minor, float64(8), None),
            ),
        }))
    }

    /// The text of an error whose type is known: what its `Error` would give. `None` for others. While
    /// a panic is in flight, its value is still the error itself.
    ///
    /// # Errors
    /// When the target could not be read.
    pub fn error_text(&self, value: Interface) -> Result<Option<String>, ReadError> {
        let Some(kind) = (match value.kind {
            0 => None,
            addr => self.go_type(addr)?,
        }) else {
            return Ok(None);
        };
        let string = |at: u64| Ok(self.string_at(at)?.map(|(text, _)| text));
        Ok(match kind.name.as_str() {
            "runtime.errorString" => string(value.data)?.map(|text| format!("runtime error: {text}")),
            "runtime.errorAddressString" => string(value.data)?.map(|text| format!("runtime error: {text}")),
            "runtime.plainError" | "*errors.errorString" | "*fmt.wrapError" | "*fmt.wrapErrors" => string(value.data)?,
            "runtime.boundsError" => self.bounds_error(value.data)?,
            PATH_ERROR => self.path_error(value.data)?,
            _ => None,
        })
    }

    /// `fs.PathError`: two strings, and the error of the system, which is an interface with methods:
    /// its first word leads to a table whose second word is the type.
    fn path_error(&self, at: u64) -> Result<Option<String>, ReadError> {
        let Some(fields) = self.target.read_array::<48>(Addr(at))? else { return Ok(None) };
        let (operation, path) = (self.string_at(at)?, self.string_at(at.wrapping_add(16))?);
        let (Some(table), Some(data)) = (fields.u64_at(32), fields.u64_at(40)) else { return Ok(None) };
        let Some(kind) = self.target.read_u64(Addr(table.wrapping_add(8)))? else { return Ok(None) };
        // In hostile memory, one within another could go on forever.
        let is_path_error = self.go_type(kind)?.is_none_or(|kind| kind.name == PATH_ERROR);
        let inner = if is_path_error { None } else { self.error_text(Interface { kind, data })? };
        Ok(operation
            .zip(path)
            .zip(inner)
            .map(|(((operation, _), (path, _)), inner)| format!("{operation} {path}: {inner}")))
    }

    /// `runtime.boundsError`: x and y of eight bytes, whether x is signed, and a code.
    fn bounds_error(&self, at: u64) -> Result<Option<String>, ReadError> {
        /// By code; the second form is for a negative x.
        const FORMS: [(&str, &str); 9] = [
            ("index out of range [%x] with length %y", "index out of range [%x]"),
            ("slice bounds out of range [:%x] with length %y", "slice bounds out of range [:%x]"),
            ("slice bounds out of range [:%x] with capacity %y", "slice bounds out of range [:%x]"),
            ("slice bounds out of range [%x:%y]", "slice bounds out of range [%x:]"),
            ("slice bounds out of range [::%x] with length %y", "slice bounds out of range [::%x]"),
            ("slice bounds out of range [::%x] with capacity %y", "slice bounds out of range [::%x]"),
            ("slice bounds out of range [:%x:%y]", "slice bounds out of range [:%x:]"),
            ("slice bounds out of range [%x:%y:]", "slice bounds out of range [%x::]"),
            ("cannot convert slice with length %y to array or pointer to array with length %x", ""),
        ];
        let Some(bytes) = self.target.read_array::<18>(Addr(at))? else { return Ok(None) };
        let fields = (bytes.i64_at(0), bytes.i64_at(8), bytes.u8_at(16), bytes.u8_at(17));
        let (Some(x), Some(y), Some(signed), Some(code)) = fields else { return Ok(None) };
        let Some((form, negative)) = FORMS.get(usize::from(code)) else { return Ok(None) };
        let form = if signed != 0 && x < 0 { negative } else { form };
        let form = if code == 8 && self.minor == 19 {
            form.replace("array or pointer", "pointer")
        } else {
            (*form).to_owned()
        };
        let x = if signed != 0 { x.to_string() } else { (x as u64).to_string() };
        Ok(Some(format!("runtime error: {}", form.replace("%x", &x).replace("%y", &y.to_string()))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::addr::Arch;
    use crate::process::fake::FakeTarget;
    use crate::runtime::layout::checked_in;

    const TYPE: u64 = 0x2000;

    /// A program with one type of that name and kind, and a value of it.
    fn values(minor: u32, kind: u8, name: &str, value: &[u8], with: impl FnOnce(&Values<'_>)) {
        let mut descriptor = vec![0; 48];
        (descriptor[20], descriptor[23]) = (2, kind);
        descriptor[40..44].copy_from_slice(&0x100_i32.to_le_bytes());
        let mut bytes = vec![0, u8::try_from(name.len() + 1).unwrap(), b'*'];
        bytes.extend(name.as_bytes());
        let target = FakeTarget::new(Arch::Amd64)
            .with_segment(Addr(TYPE), descriptor)
            .with_segment(Addr(0x2100), bytes)
            .with_segment(Addr(0x3000), value.to_vec());
        let layout = TypeLayout::resolve(&checked_in(minor, Arch::Amd64).unwrap()).unwrap();
        with(&Values::new(&target, layout, 0x2000..0x3000, minor));
    }

    fn printed(minor: u32, kind: u8, name: &str, value: &[u8]) -> String {
        let mut text = String::new();
        values(minor, kind, name, value, |values| {
            text = values.panic_value(Interface { kind: TYPE, data: 0x3000 }).unwrap().text;
        });
        text
    }

    #[test]
    fn values_of_every_kind() {
        assert_eq!(printed(26, 2, "int", &(-7_i64).to_le_bytes()), "-7");
        assert_eq!(printed(19, 3, "main.small", &[0xff]), "main.small(-1)");
        assert_eq!(printed(26, 8, "uint8", &[200]), "200");
        assert_eq!(printed(26, 1, "bool", &[1]), "true");
        assert_eq!(
            printed(26, 16, "complex128", &[1.0_f64.to_le_bytes(), (-2.5_f64).to_le_bytes()].concat()),
            "(1-2.5i)"
        );
        assert_eq!(printed(25, 13, "float32", &0.5_f32.to_le_bytes()), "+5.000000e-001");
        assert_eq!(printed(26, 25, "main.pair", &[0; 16]), "(main.pair) 0x3000");
        let string = [0x3010_u64.to_le_bytes(), 3_u64.to_le_bytes()].concat();
        assert_eq!(printed(26, 24, "main.text", &[&string[..], b"a\nb"].concat()), "main.text(\"a\n\tb\")");
        assert_eq!(printed(22, 24, "string", &[&string[..], b"a\nb"].concat()), "a\nb");
        let bounds = [5_i64.to_le_bytes(), 3_i64.to_le_bytes()].concat();
        values(26, 25, "runtime.boundsError", &[&bounds[..], &[1, 0]].concat(), |values| {
            let text = values.error_text(Interface { kind: TYPE, data: 0x3000 }).unwrap();
            assert_eq!(text.as_deref(), Some("runtime error: index out of range [5] with length 3"));
        });
    }

    #[test]
    fn what_is_not_there_is_not_certain() {
        let certain = |kind, name: &str, value: &[u8]| {
            let mut certain = None;
            values(26, kind, name, value, |values| {
                certain = Some(values.panic_value(Interface { kind: TYPE, data: 0x3000 }).unwrap().certain);
            });
            certain.unwrap()
        };
        for (kind, name, len) in [(1, "bool", 1), (2, "int", 8), (5, "main.code", 4), (16, "complex128", 16)] {
            assert!(certain(kind, name, &vec![1; len]), "{name}");
            assert!(!certain(kind, name, &vec![1; len - 1]), "{name}");
        }
        // What the runtime itself prints as an address.
        assert!(certain(25, "main.pair", &[]));
        let string = |bytes: &[u8], len: u64| [&0x3010_u64.to_le_bytes(), &len.to_le_bytes(), bytes].concat();
        assert!(certain(24, "string", &string("é".as_bytes(), 2)));
        assert!(!certain(24, "string", &string("é".as_bytes(), 3)));
        assert!(!certain(24, "string", &string(b"a\xffb", 3)));
        // A cut in the middle of a character does not count.
        let long = ["x", &"é".repeat(MAX_TEXT)].concat();
        assert!(certain(24, "string", &string(long.as_bytes(), long.len() as u64)));
    }

    #[test]
    fn what_is_not_among_the_types_is_no_type() {
        let string = [0x3010_u64.to_le_bytes(), 1_u64.to_le_bytes()].concat();
        values(26, 24, "string", &[&string[..], b"a"].concat(), |values| {
            // The descriptor itself, for a program whose types begin after it.
            let elsewhere = Values { types: 0x2100..0x3000, ..values.clone() };
            assert!(values.go_type(TYPE).unwrap().is_some() && elsewhere.go_type(TYPE).unwrap().is_none());
            let value = Interface { kind: TYPE, data: 0x3000 };
            assert_eq!(values.panic_value(value).unwrap().text, "a");
            assert_eq!(elsewhere.panic_value(value).unwrap().text, "(a type that is not known) 0x3000");
        });
    }

    #[test]
    fn long_texts_are_cut() {
        let string = [0x3010_u64.to_le_bytes(), 100_000_u64.to_le_bytes()].concat();
        let text = printed(26, 24, "string", &[string, vec![b'x'; 100_000]].concat());
        assert!(text.len() < MAX_TEXT + 40 && text.ends_with("… (34464 bytes more)"), "{}", text.len());
    }

    proptest! {
        #[test]
        fn arbitrary_memory_is_survived(
            minor in prop_oneof![Just(19_u32), Just(27)],
            kind: u8,
            name in "[a-z.*]{1,40}",
            value in proptest::collection::vec(any::<u8>(), 0..64),
            type_at in prop_oneof![Just(TYPE), Just(0x3000_u64), any::<u64>()],
        ) {
            values(minor, kind, &name, &value, |values| {
                let value = Interface { kind: type_at, data: 0x3000 };
                let _ = values.panic_value(value).unwrap();
                let _ = values.error_text(value).unwrap();
            });
        }
    }
}
