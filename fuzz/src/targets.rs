//! The list of targets.

use crate::{files, image, memory, requests};

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its program.
    pub name: &'static str,
    /// Takes an input; how much was found in it.
    pub run: fn(&[u8]) -> usize,
    /// Inputs that get far.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// What inputs are made of, where that is words.
    pub words: &'static [&'static [u8]],
    /// Bytes of what inputs are changes of; loads it.
    pub base: fn() -> usize,
    /// Longest input that is made, bytes.
    pub longest: usize,
    /// How many inputs a short run has for each of a target that is quick.
    pub share: f64,
}

const fn target(name: &'static str, run: fn(&[u8]) -> usize, seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, seeds, words: &[], base: || 0, longest: 4096, share: 1.0 }
}

/// All of them.
pub const ALL: &[Target] = &[
    Target { base: image::program_size, share: 0.5, ..target("elf", image::elf, image::elf_seeds) },
    Target { longest: 64 << 10, ..target("notes", files::notes, files::notes_seeds) },
    Target {
        base: image::program_size,
        share: 0.5,
        ..target("build_info", image::build_info, image::build_info_seeds)
    },
    Target { base: image::program_size, share: 0.2, ..target("pclntab", image::pclntab, image::pclntab_seeds) },
    target("moduledata", image::moduledata, image::moduledata_seeds),
    target("dwarf", image::dwarf, Vec::new),
    target("eh_frame", image::eh_frame, image::eh_frame_seeds),
    target("code_refs", image::code_refs, image::code_refs_seeds),
    Target { longest: 256 << 10, share: 0.1, ..target("capture", files::capture, files::capture_seeds) },
    Target { longest: 64 << 10, share: 0.05, ..target("archive", files::archive, files::archive_seeds) },
    Target { base: files::core_size, share: 0.02, ..target("core", files::core, files::core_seeds) },
    Target {
        words: files::JSON_WORDS,
        longest: 64 << 10,
        share: 0.05,
        ..target("json", files::json, files::json_seeds)
    },
    Target {
        words: requests::FILTER_WORDS,
        base: requests::heap_size,
        longest: 1024,
        share: 0.5,
        ..target("filter", requests::filter, requests::filter_seeds)
    },
    Target { base: requests::heap_size, share: 0.02, ..target("heap", memory::heap, memory::heap_seeds) },
    target("perf", requests::perf, requests::perf_seeds),
    target("proc", requests::proc_files, requests::proc_seeds),
    Target {
        words: requests::HTTP_WORDS,
        base: requests::heap_size,
        share: 0.1,
        ..target("http", requests::http, requests::http_seeds)
    },
    Target {
        words: requests::MCP_WORDS,
        base: requests::heap_size,
        share: 0.1,
        ..target("mcp", requests::mcp, requests::mcp_seeds)
    },
    Target { base: files::core_size, share: 0.02, ..target("whole", memory::whole, memory::whole_seeds) },
];

/// The target with this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}
