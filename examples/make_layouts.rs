//! Prints the layout table of a Go program, from its DWARF: `make_layouts PROGRAM`.
//!
//! `fixtures/layouts` runs this on a program of every supported toolchain and architecture, and
//! what it prints is checked in under `src/runtime/layouts`.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use gospy::testing::Elf;
use gospy::testing::LayoutTable;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let (Some(path), None) = (args.next(), args.next()) else { bail!("usage: make_layouts PROGRAM") };
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let elf = Elf::parse(Arc::new(bytes))?;
    let table = LayoutTable::of_program(&elf)?;
    std::io::stdout().write_all(table.to_text().as_bytes())?;
    Ok(())
}
