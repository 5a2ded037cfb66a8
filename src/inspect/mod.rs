//! What can be found out without a snapshot to show: which Go programs run, by which names they go, and
//! how reading one of them would go.
//!
//! Inspections are data. Nothing here prints, prompts, or knows an exit status; what is found wrong
//! of one process is a gap in its entry, never the end of a list.

pub mod doctor;
pub(crate) mod names;
pub mod processes;

use crate::image::build_info::BuildInfo;
use crate::image::elf::Elf;

fn has_dwarf(elf: &Elf) -> bool {
    elf.section(".debug_info").is_some() || elf.section(".zdebug_info").is_some()
}

/// The path of the main module, or else of the main package, and its version.
fn module_of(info: &BuildInfo) -> Option<(String, String)> {
    let path = info.main_path.clone().or_else(|| info.package_path.clone())?;
    Some((path, info.main_version.clone().unwrap_or_default()))
}
