//! Addresses as JSON has them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use crate::addr::Addr;

/// An address, written as `"0xc000012345"`. A document has one for each frame and goroutine, so its text is made
/// where it is written, and without [`std::fmt`], which costs more than all else about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HexAddr(pub Addr);

/// `0x` and the digits of the highest address.
const LONGEST: usize = 2 + 16;

impl Serialize for HexAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [b'0'; LONGEST];
        let mut rest = self.0.0;
        let mut start = LONGEST;
        for (at, digit) in text.iter_mut().enumerate().rev() {
            if rest == 0 && at < LONGEST - 1 {
                break;
            }
            let nibble = u8::try_from(rest & 0xf).unwrap_or_default();
            *digit = if nibble < 10 { b'0' + nibble } else { b'a' + (nibble - 10) };
            rest >>= 4;
            start = at;
        }
        start = start.saturating_sub(2);
        if let Some(x) = text.get_mut(start + 1) {
            *x = b'x';
        }
        let text = text.get(start..).unwrap_or_default();
        serializer.serialize_str(std::str::from_utf8(text).map_err(serde::ser::Error::custom)?)
    }
}

/// It is a string to who reads it.
impl JsonSchema for HexAddr {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::HexAddr;
    use crate::addr::Addr;

    #[test]
    fn it_is_written_as_everywhere_else() {
        for bits in 0..64 {
            for addr in [1_u64 << bits, (1 << bits) - 1, 0xfedc_ba98_7654_3210 >> bits, u64::MAX >> bits] {
                let json = serde_json::to_string(&HexAddr(Addr(addr))).expect("it is JSON");
                assert_eq!(json, format!("\"{}\"", Addr(addr)));
            }
        }
    }
}
