//! Package variables of a program, read by their names. They are no part of a snapshot.

use crate::addr::Addr;

/// A variable.
#[derive(Clone, Debug, PartialEq)]
pub struct PackageVariable {
    /// Its full name: `main.requests`.
    pub name: String,
    /// Its type as Go writes it.
    pub kind: String,
    /// Where it is.
    pub addr: Addr,
    /// Its size, bytes.
    pub size: u64,
    /// What it holds.
    pub value: VariableValue,
}

/// What a variable, or a part of it, holds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum VariableValue {
    /// A number or a truth value, as Go's `%v` prints it.
    Scalar(String),
    /// A string: its beginning, and its length in bytes.
    String {
        /// As much of it as was read; bytes that are no UTF-8 are replaced.
        text: String,
        /// Bytes that it has.
        len: u64,
    },
    /// A pointer, 0 for nil; with what it points to, where that was followed.
    Pointer {
        /// Where it points.
        addr: Addr,
        /// What is there.
        to: Option<Box<VariableValue>>,
    },
    /// A function, 0 for nil.
    Function {
        /// Of its closure.
        addr: Addr,
        /// Its name, where that is known.
        name: Option<String>,
    },
    /// A channel, 0 for nil; with what is in its buffer, and its room.
    Channel {
        /// Of it.
        addr: Addr,
        /// Elements, and how many fit; `None` where they could not be read, and for nil.
        len_cap: Option<(u64, u64)>,
    },
    /// A map, 0 for nil, with how many keys it has.
    Map {
        /// Of it.
        addr: Addr,
        /// Keys; `None` where that could not be read; 0 for nil.
        len: Option<u64>,
    },
    /// A slice: its elements, as far as they were read.
    Slice {
        /// Where they are.
        addr: Addr,
        /// Length.
        len: u64,
        /// Capacity.
        cap: u64,
        /// The first ones.
        elements: Vec<VariableValue>,
    },
    /// An array likewise.
    Array {
        /// Length.
        len: u64,
        /// The first ones.
        elements: Vec<VariableValue>,
    },
    /// Fields, by name.
    Struct(Vec<(String, VariableValue)>),
    /// An interface: the name of its type, where that is known, and its value.
    Interface {
        /// Name of the type.
        kind: Option<String>,
        /// The value.
        value: Box<VariableValue>,
    },
    /// An interface that holds nothing.
    Nil,
    /// Not read: it is too deep, or more than is read.
    Omitted,
    /// It could not be read: it is not there, or makes no sense.
    Unreadable,
}
