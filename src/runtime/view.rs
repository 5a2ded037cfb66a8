//! A Go process as a reader of its runtime sees it: the target's memory, the program in it, and where
//! its runtime keeps things.
//!
//! It is a handle of three references and is handed around by value. It walks nothing, and keeps nothing.

use std::ops::Range;

use super::go_runtime::GoRuntime;
use super::layout::Placed;
use super::mirror::labels::LabelForm;
use super::mirror::moduledata::Moduledata;
use super::program::Program;
use super::rules::Rules;
use super::symbols::Global;
use super::values::Values;
use crate::addr::{Addr, Arch};
use crate::process::{ReadError, Target, TargetExt as _, unlogged};

/// What readers of a Go runtime need.
#[derive(Clone, Copy)]
pub struct GoProcess<'a> {
    /// Its memory.
    pub target: &'a dyn Target,
    /// The program in it.
    pub program: &'a Program,
    /// Where that program's runtime keeps things.
    pub runtime: &'a GoRuntime,
}

impl<'a> GoProcess<'a> {
    /// The same process, read without a record of it; see [`crate::process::Recorder`].
    #[must_use]
    pub fn unlogged(self) -> Self {
        Self { target: unlogged(self.target), ..self }
    }

    /// What its runtime does, where that depends on the version.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.runtime.rules()
    }

    /// Its instruction set.
    #[must_use]
    pub fn arch(&self) -> Arch {
        self.program.elf.arch()
    }

    /// Whether `pc` is in the code of the Go program.
    #[must_use]
    pub fn is_go_code(&self, pc: u64) -> bool {
        self.program.module.text.contains(&pc)
    }

    /// Where a variable of the runtime is in memory; `None` where it was not found.
    #[must_use]
    pub fn addr(&self, global: Global) -> Option<Addr> {
        self.runtime.symbols.addr(global).map(|link| self.program.bias.load(link))
    }

    /// Where the field at `offset` of a variable of the runtime is in memory.
    #[must_use]
    pub fn field(&self, global: Global, offset: u32) -> Option<Addr> {
        Some(Addr(self.addr(global)?.0.wrapping_add(offset.into())))
    }

    /// How goroutines keep their pprof labels; `None` where that is in a map whose layout is not known.
    #[must_use]
    pub fn label_form(&self) -> Option<LabelForm> {
        LabelForm::of(self.rules().minor(), self.runtime.layout.hmap)
    }

    /// Addresses of the descriptors of types in the program; `None` where its layout is unknown.
    #[must_use]
    pub fn types(&self) -> Option<Range<u64>> {
        let (at, module) = (self.layout::<Moduledata>()?, &self.program.module);
        Some(module.word(at.types)?..module.word(at.etypes)?)
    }

    /// The layout of one of the runtime's types; `None` where this version does not have the type.
    #[must_use]
    pub fn layout<M: Placed>(&self) -> Option<&'a M::Layout> {
        M::layout_in(&self.runtime.layout)
    }

    /// The runtime type `M` at `addr`; `None` for nil, and where it cannot be read completely.
    ///
    /// # Errors
    /// When the target could not be read.
    pub fn read<M: Placed>(&self, addr: Addr) -> Result<Option<M>, ReadError> {
        let Some(layout) = self.layout::<M>().filter(|_| !addr.is_nil()) else { return Ok(None) };
        let bytes = self.target.read_vec(addr, M::size(layout) as usize)?;
        Ok(bytes.and_then(|bytes| M::parse(addr, &bytes, layout)))
    }

    /// Reads values of the program, such as those that it panics with; `None` where its layout is incomplete.
    #[must_use]
    pub fn values(&self) -> Option<Values<'a>> {
        Some(Values::new(self.target, self.runtime.layout.go_type?, self.types()?, self.rules().minor()))
    }

    /// The largest id of a goroutine that has been given out by now (`sched.goidgen`), where that is
    /// known.
    ///
    /// # Errors
    /// When the target could not be read.
    pub fn max_goid(&self) -> Result<Option<u64>, ReadError> {
        match self.field(Global::Sched, self.runtime.layout.sched.goidgen) {
            Some(at) => self.target.read_u64(at),
            None => Ok(None),
        }
    }
}
