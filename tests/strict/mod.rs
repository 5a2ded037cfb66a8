//! Types of JSON documents that refuse what they do not know.

#![allow(unreachable_pub, missing_docs, unused_macros)]

use serde::Deserialize;

/// A key that must be there, and may be null.
pub type Known<T> = Option<T>;

/// `Option` alone would let a key be absent; this wants it there.
pub fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// A key that is there only where it is asked for, and then may be null.
pub fn asked_for<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

macro_rules! strict {
    ($($name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {
        $(#[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $name { $($(#[$attribute])* $field: $type,)* })*
    };
}
