//! Reading the value of one variable, by its type.

use super::VariableLimits;
use super::scalar;
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::image::dwarf::{Form, GoField, GoType, GoVariables, TypeId};
use crate::model::VariableValue as Value;
use crate::process::{ReadError, TargetExt as _};
use crate::runtime::GoProcess;
use crate::runtime::mirror::hchan::Hchan;

/// Most bytes that are read of one variable, with all that it leads to.
const MAX_BYTES: u64 = 4 << 20;
/// Most bytes of one structure or array that are read together.
const MAX_TOGETHER: u64 = 1 << 20;
/// The package whose types are read as what they hold.
const ATOMIC: &str = "sync/atomic.";

/// Kinds of types (`reflect.Kind`) that an interface may hold as they are.
mod kind {
    pub(super) const BOOL: u8 = 1;
    pub(super) const INTS: std::ops::RangeInclusive<u8> = 2..=6;
    pub(super) const UINTS: std::ops::RangeInclusive<u8> = 7..=12;
    pub(super) const FLOAT32: u8 = 13;
    pub(super) const FLOAT64: u8 = 14;
    pub(super) const STRING: u8 = 24;
    /// Channels, functions, maps, pointers: the second word is the value itself.
    pub(super) const DIRECT: [u8; 5] = [18, 19, 21, 22, 26];
}

/// Reads one variable.
pub(super) struct Reader<'a> {
    process: GoProcess<'a>,
    types: &'a GoVariables,
    limits: VariableLimits,
    parts: u32,
    bytes: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(process: GoProcess<'a>, types: &'a GoVariables, limits: VariableLimits) -> Self {
        Self { process, types, limits, parts: limits.parts, bytes: MAX_BYTES }
    }

    /// The value at `addr`.
    pub(super) fn at(&mut self, addr: Addr, kind: TypeId) -> Result<Value, ReadError> {
        self.value_at(addr, kind, self.limits.depth)
    }

    fn value_at(&mut self, addr: Addr, id: TypeId, depth: u32) -> Result<Value, ReadError> {
        let Some(kind) = self.types.kind(id) else { return Ok(Value::Unreadable) };
        // Of an array only what is shown is read.
        let size = match &kind.form {
            Form::Array(count, element) => {
                let each = self.types.kind(*element).map_or(0, |element| element.size);
                (*count).min(self.limits.elements).saturating_mul(each)
            }
            _ => kind.size,
        };
        match self.bytes(addr, size)? {
            Ok(bytes) => self.decode(&bytes, kind, depth),
            Err(instead) => Ok(instead),
        }
    }

    /// Bytes, or what stands in their place.
    fn bytes(&mut self, addr: Addr, size: u64) -> Result<Result<Vec<u8>, Value>, ReadError> {
        if size > MAX_TOGETHER || size > self.bytes {
            return Ok(Err(Value::Omitted));
        }
        self.bytes -= size;
        let len = usize::try_from(size).unwrap_or(0);
        Ok(self.process.target.read_vec(addr, len)?.ok_or(Value::Unreadable))
    }

    fn decode(&mut self, bytes: &[u8], kind: &GoType, depth: u32) -> Result<Value, ReadError> {
        let Some(left) = self.parts.checked_sub(1) else { return Ok(Value::Omitted) };
        self.parts = left;
        let word = |at: usize| bytes.u64_at(at).unwrap_or(0);
        let whole = usize::try_from(kind.size).ok().and_then(|size| bytes.get(..size)).unwrap_or_default();
        let scalar = |text: Option<String>| text.map_or(Value::Unreadable, Value::Scalar);
        Ok(match &kind.form {
            Form::Bool => scalar(bytes.first().map(|byte| (*byte != 0).to_string())),
            Form::Int => scalar(scalar::int(whole)),
            Form::Uint => scalar(scalar::uint(whole)),
            Form::Float => scalar(scalar::float(whole)),
            Form::Complex => scalar(scalar::complex(whole)),
            Form::Pointer(to) => self.pointer(word(0), *to, depth)?,
            Form::Function => self.function(word(0))?,
            Form::Channel => self.channel(word(0))?,
            Form::Map => self.map(word(0))?,
            Form::String => self.string(word(0), word(8))?,
            Form::Interface { methods } => self.interface(word(0), word(8), *methods)?,
            Form::Slice(element) => self.slice([word(0), word(8), word(16)], *element, depth)?,
            Form::Array(len, element) => match self.elements(bytes, *len, *element, depth)? {
                Some(elements) => Value::Array { len: *len, elements },
                None => Value::Omitted,
            },
            Form::Struct(fields) => self.structure(bytes, kind, fields, depth)?,
            Form::Other => Value::Unreadable,
        })
    }

    /// What lies a step deeper; `None` where that is too deep.
    fn deeper(depth: u32) -> Option<u32> {
        depth.checked_sub(1)
    }

    fn pointer(&mut self, addr: u64, to: Option<TypeId>, depth: u32) -> Result<Value, ReadError> {
        let to = match (to, Self::deeper(depth)) {
            (Some(to), Some(depth)) if addr != 0 => Some(Box::new(self.value_at(Addr(addr), to, depth)?)),
            _ => None,
        };
        Ok(Value::Pointer { addr: Addr(addr), to })
    }

    fn function(&mut self, addr: u64) -> Result<Value, ReadError> {
        let code = if addr == 0 { None } else { self.process.target.read_u64(Addr(addr))? };
        let program = self.process.program;
        let name = code.and_then(|code| {
            let function = program.pclntab.function_at(program.bias.unload(Addr(code)))?;
            program.pclntab.name(&function).map(|name| name.to_string())
        });
        Ok(Value::Function { addr: Addr(addr), name })
    }

    fn channel(&mut self, addr: u64) -> Result<Value, ReadError> {
        let channel = self.process.read::<Hchan>(Addr(addr))?;
        // More elements than room make no sense.
        let len_cap = channel.map(|channel| (channel.qcount, channel.dataqsiz)).filter(|(len, cap)| len <= cap);
        Ok(Value::Channel { addr: Addr(addr), len_cap })
    }

    /// How many keys it has is the first word of a map, of `runtime.hmap` (to 1.23) and of `internal/runtime/maps.Map`
    /// (1.24 on): `len` is compiled to reading it.
    fn map(&mut self, addr: u64) -> Result<Value, ReadError> {
        let len = match addr {
            0 => Some(0),
            addr => self.process.target.read_u64(Addr(addr))?.filter(|len| *len < 1 << 48),
        };
        Ok(Value::Map { addr: Addr(addr), len })
    }

    fn string(&mut self, addr: u64, len: u64) -> Result<Value, ReadError> {
        if len == 0 {
            return Ok(Value::String { text: String::new(), len });
        }
        if len >= 1 << 48 {
            return Ok(Value::Unreadable);
        }
        Ok(match self.bytes(Addr(addr), len.min(self.limits.string))? {
            Ok(bytes) => {
                let mut text = String::from_utf8_lossy(&bytes).into_owned();
                if (bytes.len() as u64) < len {
                    // Not in the middle of a character.
                    text.truncate(text.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
                }
                Value::String { text, len }
            }
            Err(instead) => instead,
        })
    }

    fn slice(&mut self, [addr, len, cap]: [u64; 3], element: TypeId, depth: u32) -> Result<Value, ReadError> {
        if len > cap || cap >= 1 << 48 {
            return Ok(Value::Unreadable);
        }
        let each = self.types.kind(element).map_or(0, |element| element.size);
        let shown = len.min(self.limits.elements);
        let mut elements = Vec::new();
        if shown > 0 && depth > 0 {
            match self.bytes(Addr(addr), shown.saturating_mul(each))? {
                Ok(bytes) => elements = self.elements(&bytes, len, element, depth)?.unwrap_or_default(),
                Err(Value::Omitted) => {}
                Err(instead) => return Ok(instead),
            }
        }
        Ok(Value::Slice { addr: Addr(addr), len, cap, elements })
    }

    /// The first of `len` elements, which are in `bytes`; `None` where they are too deep.
    fn elements(
        &mut self,
        bytes: &[u8],
        len: u64,
        element: TypeId,
        depth: u32,
    ) -> Result<Option<Vec<Value>>, ReadError> {
        let Some(depth) = Self::deeper(depth) else { return Ok(None) };
        let Some(kind) = self.types.kind(element) else { return Ok(None) };
        let each = usize::try_from(kind.size).unwrap_or(usize::MAX);
        let mut elements = Vec::new();
        for at in 0..len.min(self.limits.elements) {
            let start = usize::try_from(at).ok().and_then(|at| at.checked_mul(each));
            let part = start.and_then(|start| bytes.get(start..start.checked_add(each)?));
            let Some(part) = part.filter(|_| self.parts > 0) else { break };
            elements.push(self.decode(part, kind, depth)?);
        }
        Ok(Some(elements))
    }

    fn structure(&mut self, bytes: &[u8], kind: &GoType, fields: &[GoField], depth: u32) -> Result<Value, ReadError> {
        let Some(deeper) = Self::deeper(depth) else { return Ok(Value::Omitted) };
        let part = |field: &GoField, types: &GoVariables| {
            let size = usize::try_from(types.kind(field.kind)?.size).ok()?;
            let start = usize::try_from(field.offset).ok()?;
            bytes.get(start..start.checked_add(size)?).map(<[u8]>::to_vec)
        };
        // What these hold is all that they are.
        if let Some(field) = only_field(kind, fields) {
            let Some(bytes) = part(field, self.types) else { return Ok(Value::Unreadable) };
            return match (kind.name.as_str(), self.types.kind(field.kind)) {
                ("sync/atomic.Bool", _) => {
                    let value = scalar::uint_word(&bytes).map(|word| (word != 0).to_string());
                    Ok(value.map_or(Value::Unreadable, Value::Scalar))
                }
                (name, _) if name.starts_with("sync/atomic.Pointer[") => {
                    self.pointer(bytes.u64_at(0).unwrap_or(0), pointee(self.types, fields), depth)
                }
                ("expvar.Float", Some(_)) => Ok(scalar::float(&bytes).map_or(Value::Unreadable, Value::Scalar)),
                // One wrapper within the other is as deep as one.
                (_, Some(inner)) => self.decode(&bytes, inner, depth),
                (_, None) => Ok(Value::Unreadable),
            };
        }
        let mut values = Vec::new();
        for field in fields {
            // Blank fields pad.
            if field.name == "_" {
                continue;
            }
            let value = match (part(field, self.types), self.types.kind(field.kind)) {
                (Some(bytes), Some(kind)) => self.decode(&bytes, kind, deeper)?,
                _ => Value::Unreadable,
            };
            values.push((field.name.clone(), value));
        }
        Ok(Value::Struct(values))
    }

    fn interface(&mut self, first: u64, data: u64, methods: bool) -> Result<Value, ReadError> {
        if first == 0 {
            return Ok(Value::Nil);
        }
        let target = self.process.target;
        // The second word of an itab is the type.
        let kind = if methods { target.read_u64(Addr(first.wrapping_add(8)))? } else { Some(first) };
        let known = match (kind, self.process.values()) {
            (Some(kind), Some(values)) => values.go_type(kind)?,
            _ => None,
        };
        let Some(known) = known else {
            let value = Value::Pointer { addr: Addr(data), to: None };
            return Ok(Value::Interface { kind: None, value: Box::new(value) });
        };
        let scalar = |bytes: Option<Vec<u8>>, read: fn(&[u8]) -> Option<String>| {
            bytes.and_then(|bytes| read(&bytes)).map_or(Value::Unreadable, Value::Scalar)
        };
        let sized = |len: usize| target.read_vec(Addr(data), len);
        let int_size = |first: u8| [8, 1, 2, 4, 8, 8].get(usize::from(known.kind - first)).copied().unwrap_or(8);
        let value = match known.kind {
            kind::BOOL => scalar(sized(1)?, |bytes| Some((bytes.first() != Some(&0)).to_string())),
            number if kind::INTS.contains(&number) => scalar(sized(int_size(*kind::INTS.start()))?, scalar::int),
            number if kind::UINTS.contains(&number) => scalar(sized(int_size(*kind::UINTS.start()))?, scalar::uint),
            kind::FLOAT32 => scalar(sized(4)?, scalar::float),
            kind::FLOAT64 => scalar(sized(8)?, scalar::float),
            kind::STRING => match sized(16)? {
                Some(header) => self.string(header.u64_at(0).unwrap_or(0), header.u64_at(8).unwrap_or(0))?,
                None => Value::Unreadable,
            },
            direct if kind::DIRECT.contains(&direct) => Value::Pointer { addr: Addr(data), to: None },
            // It is known where it is, and not what it is made of.
            _ => Value::Pointer { addr: Addr(data), to: None },
        };
        Ok(Value::Interface { kind: Some(known.name), value: Box::new(value) })
    }
}

/// The field that is all that a value of this type holds, for the types of sync/atomic and for those of expvar that
/// hold one of them.
fn only_field<'f>(kind: &GoType, fields: &'f [GoField]) -> Option<&'f GoField> {
    let name = match kind.name.as_str() {
        "expvar.Int" => "i",
        "expvar.Float" => "f",
        "expvar.String" => "s",
        name if name.strip_prefix(ATOMIC).is_some_and(|name| !name.contains('.') || name.starts_with("Pointer[")) => {
            "v"
        }
        _ => return None,
    };
    fields.iter().find(|field| field.name == name)
}

/// What an `atomic.Pointer[T]` points to: its first field is a `[0]*T`, so that it cannot be converted to another.
fn pointee(types: &GoVariables, fields: &[GoField]) -> Option<TypeId> {
    fields.iter().find_map(|field| match &types.kind(field.kind)?.form {
        Form::Array(0, element) => match types.kind(*element)?.form {
            Form::Pointer(to) => to,
            _ => None,
        },
        _ => None,
    })
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
