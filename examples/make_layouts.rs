//! Prints the layout table of a Go program, from its DWARF: `make_layouts PROGRAM`.
//!
//! `fixtures/layouts` runs this on a program of every supported toolchain and architecture, and
//! what it prints is checked in under `src/runtime/layouts`.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use gospy::image::build_info::BuildInfo;
use gospy::image::dwarf::Dwarf;
use gospy::image::elf::Elf;
use gospy::runtime::layout::{Layout, LayoutTable};
use gospy::runtime::version::GoVersion;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let (Some(path), None) = (args.next(), args.next()) else { bail!("usage: make_layouts PROGRAM") };
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let elf = Elf::parse(Arc::new(bytes))?;
    let info = BuildInfo::find(&elf)?.context("the program has no build info")?;
    let version = GoVersion::parse(&info.go_version).context("its build info names no version")?;
    let dwarf = Dwarf::open(&elf)?.context("the program has no DWARF")?;
    let findings = LayoutTable::find_in(&dwarf, &[])?;
    let mut table = LayoutTable::from_findings(&findings, version.to_string(), elf.arch());
    table.add_size_classes(&elf, &findings);
    Layout::resolve(table.clone()).context("the DWARF lacks what every version has")?;
    std::io::stdout().write_all(table.to_text().as_bytes())?;
    Ok(())
}
