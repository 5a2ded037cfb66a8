//! The Go program inside a target: its file, where it was loaded, its function table and its
//! moduledata.
//!
//! Usually that is the executable; where the executable is not Go, it is the first mapped library
//! that holds a Go runtime (`-buildmode=c-shared`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::addr::{Addr, LinkAddr, LoadBias};
use crate::bytes::FieldsExt;
use crate::image::build_info::{BuildInfo, BuildInfoError};
use crate::image::elf::{Elf, ElfError};
use crate::image::moduledata::{MODULEDATA_KEPT, ModuleData};
use crate::image::pclntab::{Header, Pclntab};
use crate::model::TextMapping;
use crate::process::file_bytes::FileBytes;
use crate::process::remember::{Finding, damaged, remembered};
use crate::process::{ErrorKind, Mapping, ReadError, Target, TargetError};

/// A Go program that was found in a target.
#[derive(Debug)]
pub struct Program {
    /// Its file.
    pub elf: Arc<Elf>,
    /// What to add to its addresses.
    pub bias: LoadBias,
    /// Its function table, without inlined calls until `gofunc` is known.
    pub pclntab: Arc<Pclntab>,
    /// Its moduledata.
    pub module: ModuleData,
    /// Its build info, if any.
    pub build_info: Option<BuildInfo>,
    /// Why the build info could not be read, if it is there and damaged.
    pub build_info_error: Option<BuildInfoError>,
    /// The library that it is, when it is not the executable.
    pub library: Option<String>,
    /// A separate file with its symbols.
    pub symbol_file: Option<SymbolFile>,
}

/// A separate binary with symbols and DWARF (`--bin`) that belongs to the program.
#[derive(Debug)]
pub struct SymbolFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes.
    pub elf: Arc<Elf>,
    /// What to add to its addresses to get those of the program's own file (modulo 2⁶⁴).
    pub shift: u64,
}

/// Why no Go program could be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The target could not be read.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Its memory could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The executable is no ELF program that can be read.
    #[error("{exe} cannot be read: {source}")]
    Elf {
        /// The executable.
        exe: String,
        /// What is wrong with it.
        source: ElfError,
    },
    /// Neither the executable nor a library has a Go function table.
    #[error(
        "{exe} is not a Go program: neither it nor any of the {libraries} libraries it has loaded holds a Go function table (pclntab)"
    )]
    NotGo {
        /// The executable.
        exe: String,
        /// How many libraries were searched.
        libraries: usize,
    },
    /// There is a function table, and no moduledata that belongs to it.
    #[error(
        "{exe} has a Go function table at {header}, but no moduledata in its memory refers to it; the process may just be starting"
    )]
    NoModuleData {
        /// The executable or library.
        exe: String,
        /// Where the function table is.
        header: LinkAddr,
    },
    /// The mappings do not show where the file was loaded.
    #[error("cannot determine where {exe} was loaded: none of its segments is mapped")]
    NotMapped {
        /// The executable or library.
        exe: String,
    },
    /// `--bin` could not be opened.
    #[error("cannot open {}: {source}", path.display())]
    SymbolFile {
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// `--bin` is no ELF file that can be read.
    #[error("{} cannot be read: {source}", path.display())]
    SymbolFileElf {
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: ElfError,
    },
    /// `--bin` is another program.
    #[error(
        "{} is not the running program: its Go build id is {found}, the process has {expected}",
        path.display()
    )]
    OtherProgram {
        /// Its path.
        path: PathBuf,
        /// Its build id, or a substitute for it.
        found: String,
        /// The build id of the process's own file.
        expected: String,
    },
}

impl ProgramError {
    /// Of what kind it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Target(error) => error.kind(),
            Self::Read(error) => error.kind(),
            Self::Elf { .. } | Self::NotGo { .. } | Self::NoModuleData { .. } | Self::NotMapped { .. } => {
                ErrorKind::NotGo
            }
            Self::SymbolFile { .. } => ErrorKind::Read,
            Self::SymbolFileElf { .. } => ErrorKind::Damaged,
            Self::OtherProgram { .. } => ErrorKind::Unsupported,
        }
    }
}

/// Largest part of one writable segment that is searched for moduledata, bytes.
const MAX_SEARCHED: u64 = 1 << 30;
/// Size of the pieces in which it is read, bytes.
const SEARCH_CHUNK: usize = 4 << 20;

impl Program {
    /// Where its code is mapped, as the kernel rounds it to pages; `exe` is the path of the executable.
    /// `None` where the file has no executable segment, or one that fits nowhere.
    #[must_use]
    pub fn text_mapping(&self, exe: &str) -> Option<TextMapping> {
        /// The smallest page there is; segments are aligned to the largest.
        const PAGE: u64 = 4096;
        let segment = self.elf.segments().iter().find(|segment| segment.executable)?;
        let into_page = segment.vaddr.0 % PAGE;
        let start = self.bias.load(LinkAddr(segment.vaddr.0.checked_sub(into_page)?));
        let size = segment.file_size.checked_add(into_page)?.checked_next_multiple_of(PAGE)?;
        Some(TextMapping {
            file: self.library.clone().unwrap_or_else(|| exe.to_owned()),
            gnu_build_id: self.elf.gnu_build_id(),
            start,
            end: Addr(start.0.checked_add(size)?),
            offset: segment.offset.checked_sub(into_page)?,
        })
    }

    /// The separate file with its symbols, and what to add to that file's addresses to get those of the
    /// program (modulo 2⁶⁴).
    #[must_use]
    pub fn symbols(&self) -> Option<(&Elf, u64)> {
        self.symbol_file.as_ref().map(|file| (file.elf.as_ref(), file.shift))
    }

    /// Finds the Go program in `target`.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn find(target: &dyn Target, symbols: Option<&Path>) -> Result<Self, ProgramError> {
        let mappings = target.mappings()?;
        let exe = target.process().exe.clone();
        let elf =
            Elf::parse(target.executable()?).map_err(|source| ProgramError::Elf { exe: in_words(&exe), source })?;
        let entry = at_entry(target);
        let own = mappings_of_executable(&exe, entry.unwrap_or(elf.entry().0), &mappings);
        if let Some(program) = Self::in_file(target, Arc::new(elf), &exe, &own, entry, symbols)? {
            return Ok(program);
        }
        let libraries = libraries(&mappings, &exe);
        for library in &libraries {
            let Some(first) = library.first() else { continue };
            // A library that cannot be opened or read is not the one searched for.
            let Ok(source) = target.mapped_file(first) else { continue };
            let Ok(elf) = Elf::parse(source) else { continue };
            if let Some(mut program) = Self::in_file(target, Arc::new(elf), &first.path, library, None, symbols)? {
                program.library = Some(first.path.clone());
                return Ok(program);
            }
        }
        Err(ProgramError::NotGo { exe: in_words(&exe), libraries: libraries.len() })
    }

    fn in_file(
        target: &dyn Target,
        elf: Arc<Elf>,
        name: &str,
        mappings: &[&Mapping],
        entry: Option<u64>,
        symbols: Option<&Path>,
    ) -> Result<Option<Self>, ProgramError> {
        let headers = function_tables(target, &elf, name)?;
        let Some(first) = headers.first() else { return Ok(None) };
        let places: Vec<(u64, u64)> = mappings.iter().map(|m| (m.start.0, m.offset)).collect();
        let bias = elf.load_bias(&places, entry).ok_or_else(|| ProgramError::NotMapped { exe: in_words(name) })?;
        for header in &headers {
            let Some(module) = find_moduledata(target, &elf, bias, header)? else { continue };
            let text = bias.unload(Addr(module.text.start));
            let symbol_file = symbols.map(|path| SymbolFile::open(path, &elf)).transpose()?;
            let (build_info, build_info_error) = match BuildInfo::find(&elf) {
                Ok(found) => (found, None),
                Err(error) => (None, Some(error)),
            };
            let pclntab = Arc::new(Pclntab::new(Arc::clone(&elf), *header, text));
            return Ok(Some(Self {
                elf,
                bias,
                pclntab,
                module,
                build_info,
                build_info_error,
                library: None,
                symbol_file,
            }));
        }
        Err(ProgramError::NoModuleData { exe: in_words(name), header: first.addr })
    }
}

/// A file as it is called in messages: a core file may not name the executable.
fn in_words(path: &str) -> String {
    if path.is_empty() { "the executable".to_owned() } else { path.to_owned() }
}

/// The function tables of a file. Where it has no sections all of it is searched for them, so a
/// recording has what was found in place of the file.
fn function_tables(target: &dyn Target, elf: &Elf, name: &str) -> Result<Vec<Header>, ReadError> {
    let key = format!("pclntab {name}");
    let Words(found) = remembered(target, &key, |_| {
        let unlogged = elf.unlogged();
        let elf = unlogged.as_ref().unwrap_or(elf);
        let mut found = Header::find_all(elf);
        found.retain(|header| Header::at(elf, header.addr).is_some());
        Ok::<_, ReadError>(Words(found.iter().map(|header| header.addr.0).collect()))
    })?;
    let header = |addr| Header::at(elf, LinkAddr(addr)).ok_or_else(|| damaged(&key, "there is no table at its place"));
    found.into_iter().map(header).collect()
}

/// Addresses that a search found.
struct Words(Vec<u64>);

impl Finding for Words {
    fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let words = bytes.chunks(8).map(|word| word.u64_at(0)).collect::<Option<_>>();
        words.map(Self).ok_or_else(|| format!("{} bytes are not a list of addresses", bytes.len()))
    }
}

/// Where the kernel started the program, from the auxiliary vector.
fn at_entry(target: &dyn Target) -> Option<u64> {
    const AT_ENTRY: u64 = 9;
    target.auxv().iter().find(|(kind, _)| *kind == AT_ENTRY).map(|(_, value)| *value)
}

/// The mappings of the executable: those with its path, or else those of the file that holds its
/// entry point, because the kernel may name it differently here and there (overlay file systems,
/// changed roots).
fn mappings_of_executable<'m>(exe: &str, entry: u64, mappings: &'m [Mapping]) -> Vec<&'m Mapping> {
    let of_path: Vec<&Mapping> = mappings.iter().filter(|m| !m.path.is_empty() && m.path == exe).collect();
    if !of_path.is_empty() {
        return of_path;
    }
    match mappings.iter().find(|m| m.start.0 <= entry && entry < m.end.0) {
        Some(found) => mappings.iter().filter(|m| m.inode == found.inode && m.path == found.path).collect(),
        None => Vec::new(),
    }
}

/// Mapped libraries: the mappings of each file but the executable that has executable code.
fn libraries<'m>(mappings: &'m [Mapping], exe: &str) -> Vec<Vec<&'m Mapping>> {
    let mut files: Vec<Vec<&Mapping>> = Vec::new();
    for mapping in mappings.iter().filter(|m| m.inode != 0 && m.path.starts_with('/') && m.path != exe) {
        let same = |file: &&mut Vec<&Mapping>| {
            file.first().is_some_and(|first| first.path == mapping.path && first.inode == mapping.inode)
        };
        match files.iter_mut().rev().find(same) {
            Some(file) => file.push(mapping),
            None => files.push(vec![mapping]),
        }
    }
    files.retain(|file| file.iter().any(|m| m.exec));
    files
}

fn find_moduledata(
    target: &dyn Target,
    elf: &Elf,
    bias: LoadBias,
    header: &Header,
) -> Result<Option<ModuleData>, ReadError> {
    let pclntab = bias.load(header.addr);
    // In a recording there is nothing around it to be searched.
    let key = format!("moduledata {}", pclntab);
    let Words(found) = remembered(target, &key, |target| {
        // From 1.26 on it has its own section; else it is among the initialised variables.
        let by_section = elf.section(".go.module").map(|section| (section.addr, section.size));
        let writable = elf.segments().iter().filter(|s| s.writable).map(|s| (s.vaddr, s.file_size));
        for (start, size) in by_section.into_iter().chain(writable) {
            if let Some(found) = search(target, bias.load(start), size.min(MAX_SEARCHED), header, pclntab)? {
                return Ok(Words(vec![found.addr.0]));
            }
        }
        Ok::<_, ReadError>(Words(Vec::new()))
    })?;
    let Some(&addr) = found.first() else { return Ok(None) };
    match search(target, Addr(addr), MODULEDATA_KEPT as u64, header, pclntab)? {
        None if target.remembered(&key).is_some() => Err(damaged(&key, "there is no moduledata at its place")),
        found => Ok(found),
    }
}

fn search(
    target: &dyn Target,
    start: Addr,
    size: u64,
    header: &Header,
    pclntab: Addr,
) -> Result<Option<ModuleData>, ReadError> {
    let mut buf = Vec::new();
    let mut done = 0;
    while done < size {
        let want = usize::try_from(size - done).unwrap_or(SEARCH_CHUNK).min(SEARCH_CHUNK);
        let at = Addr(start.0.wrapping_add(done));
        buf.resize(want, 0);
        let got = target.read(at, &mut buf)?;
        if let Some(found) = buf.get(..got).and_then(|bytes| ModuleData::search(bytes, at, header, pclntab)) {
            return Ok(Some(found));
        }
        if got < want {
            return Ok(None);
        }
        // Pieces overlap, so that a structure on the border is seen whole.
        done += want.saturating_sub(if done + (want as u64) < size { MODULEDATA_KEPT } else { 0 }).max(1) as u64;
    }
    Ok(None)
}

impl SymbolFile {
    fn open(path: &Path, program: &Elf) -> Result<Self, ProgramError> {
        let source =
            FileBytes::open(path).map_err(|source| ProgramError::SymbolFile { path: path.to_owned(), source })?;
        let elf = Elf::parse(Arc::new(source))
            .map_err(|source| ProgramError::SymbolFileElf { path: path.to_owned(), source })?;
        let text = |elf: &Elf| elf.segments().iter().find(|s| s.executable).map(|s| s.vaddr.0);
        let named = |elf: &Elf| elf.go_build_id().unwrap_or_else(|| "(none)".to_owned());
        // The same source built with other flags for the linker (`-s`, `-w`) has another build id and
        // the same code; and the addresses of all variables are in the code.
        let same_id = elf.go_build_id().is_some_and(|found| program.go_build_id() == Some(found));
        let same = same_id || same_text(&elf, program);
        match (same, text(&elf), text(program)) {
            (true, Some(here), Some(there)) => {
                Ok(Self { path: path.to_owned(), elf: Arc::new(elf), shift: there.wrapping_sub(here) })
            }
            _ => {
                Err(ProgramError::OtherProgram { path: path.to_owned(), found: named(&elf), expected: named(program) })
            }
        }
    }
}

/// Whether two files have the same machine code: all of their executable segments, but for the first
/// page.
fn same_text(a: &Elf, b: &Elf) -> bool {
    const PIECE: u64 = 1 << 20;
    // It may hold the file's own header, which stripping changes, and the build id.
    const SKIPPED: u64 = 4096;
    let text = |elf: &Elf| {
        let segment = elf.segments().iter().find(|s| s.executable)?;
        Some((segment.vaddr.0, segment.file_size))
    };
    let (Some((here, len)), Some((there, other_len))) = (text(a), text(b)) else { return false };
    let piece = |elf: &Elf, start: u64, at: u64| {
        elf.read(LinkAddr(start.checked_add(at)?), usize::try_from(PIECE.min(len.checked_sub(at)?)).ok()?)
    };
    len == other_len
        && len > SKIPPED
        && (SKIPPED..len).step_by(PIECE as usize).all(|at| match (piece(a, here, at), piece(b, there, at)) {
            (Some(here), Some(there)) => here == there && !here.is_empty(),
            _ => false,
        })
}
