//! Package variables by name: where they are, by DWARF, and what they hold.
//!
//! It takes DWARF, of the program's own file or of a separate one of the same build: without it a program has neither
//! names nor types of its variables. What is read is bounded in depth, in length and in all; circles end with it. No
//! method of a value is run.
//!
//! It refuses to guess: a variable without DWARF has no value here.

mod read;
mod scalar;

use std::collections::BTreeSet;

use self::read::Reader;
use super::GoProcess;
use crate::addr::LinkAddr;
use crate::image::dwarf::{Dwarf, DwarfError, GoVariables};
use crate::image::elf::Elf;
use crate::model::{PackageVariable, VariableValue};
use crate::process::{Backend, ErrorKind, ReadError};

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VariableLimits {
    /// Pointers, structures, slices and arrays within each other.
    pub depth: u32,
    /// Elements of a slice or an array.
    pub elements: u64,
    /// Bytes of a string.
    pub string: u64,
    /// Values of one variable altogether.
    pub parts: u32,
}

impl Default for VariableLimits {
    fn default() -> Self {
        Self { depth: 4, elements: 16, string: 256, parts: 10_000 }
    }
}

/// Why variables cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VariableError {
    /// The target could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// DWARF is there and cannot be used.
    #[error("names and types of variables cannot be read: {0}")]
    Dwarf(#[from] DwarfError),
    /// There is none.
    #[error(
        "this program has no names and types of variables: it was built without DWARF (-ldflags=-w or -s, or stripped)\n\
         name a binary of the same build that has it: --bin FILE"
    )]
    NoDwarf,
    /// It is a capture, and there is no separate file.
    #[error(
        "a capture has no names and types of variables\n\
         name the program's binary, or one of the same build with DWARF: --bin FILE"
    )]
    NoDwarfInCapture,
    /// It is a capture, which holds nothing of these variables.
    #[error(
        "the capture does not hold {0}: of package variables, `gospy capture --heap` keeps those with pointers\n\
         a core file has all of them"
    )]
    NotInCapture(String),
}

impl VariableError {
    /// Of what kind it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(error) => error.kind(),
            Self::Dwarf(_) => ErrorKind::Damaged,
            Self::NoDwarf | Self::NoDwarfInCapture | Self::NotInCapture(_) => ErrorKind::Unsupported,
        }
    }
}

/// What was found of the variables that were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoundVariables {
    /// In the order of their names; `None` for one that the program does not have.
    pub variables: Vec<Option<PackageVariable>>,
    /// Names of variables that may have been meant by those that it does not have.
    pub similar: Vec<String>,
}

/// Reads the variables of these full names.
///
/// # Errors
/// When there is no DWARF, or it cannot be used; when the target cannot be read.
pub(crate) fn read(
    process: GoProcess<'_>,
    names: &[String],
    limits: VariableLimits,
) -> Result<FoundVariables, VariableError> {
    let (found, shift) = look_up(process, &names.iter().map(String::as_str).collect())?;
    let mut variables = Vec::new();
    for name in names {
        let Some(&(link, kind)) = found.variables.get(name) else {
            variables.push(None);
            continue;
        };
        let addr = process.program.bias.load(LinkAddr(link.0.wrapping_add(shift)));
        let described = found.kind(kind);
        variables.push(Some(PackageVariable {
            name: name.clone(),
            kind: described.map(|kind| kind.name.clone()).unwrap_or_default(),
            addr,
            size: described.map_or(0, |kind| kind.size),
            value: Reader::new(process, &found, limits).at(addr, kind)?,
        }));
    }
    let is_there = |variable: &PackageVariable| variable.value != VariableValue::Unreadable;
    let mut there = variables.iter().flatten().peekable();
    if process.target.backend() == Backend::Capture && there.peek().is_some() && !there.any(is_there) {
        return Err(VariableError::NotInCapture(names.join(", ")));
    }
    Ok(FoundVariables { variables, similar: found.similar })
}

/// In the program's own DWARF or that of the separate file, with what to add to addresses in it.
fn look_up(process: GoProcess<'_>, names: &BTreeSet<&str>) -> Result<(GoVariables, u64), VariableError> {
    let program = process.program;
    let own = program.elf.unlogged();
    let own: &Elf = own.as_ref().unwrap_or(&program.elf);
    // Of the binary a capture holds what was read: the headers name DWARF that is not there.
    let is_capture = process.target.backend() == Backend::Capture;
    let own = (!is_capture).then_some((own, 0));
    for (elf, shift) in own.into_iter().chain(program.symbols()) {
        if let Some(dwarf) = Dwarf::open(elf)? {
            return Ok((dwarf.variables(names)?, shift));
        }
    }
    Err(if is_capture { VariableError::NoDwarfInCapture } else { VariableError::NoDwarf })
}
