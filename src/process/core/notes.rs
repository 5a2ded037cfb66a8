//! The notes of a core file: threads with registers, the process, its auxiliary vector and its
//! mapped files. Layouts are the kernel's (`elf_prstatus`, `elf_prpsinfo`, linux/elfcore.h and
//! fs/binfmt_elf.c), which gdb and QEMU write too.

use crate::addr::{Addr, Arch};
use crate::bytes::FieldsExt;
use crate::process::{Ended, GeneralRegisters, Registers, SignalInfo, SystemCall, Tid};

const NT_PRSTATUS: u32 = 1;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_FILE: u32 = 0x4649_4c45;
const NT_SIGINFO: u32 = 0x5349_4749;

/// Owner of gospy's own notes.
pub(in crate::process) const GOSPY: &[u8] = b"GOSPY";
/// A description of the process and its recording, in JSON. The types of these notes have `GS`
/// in their upper half, because gdb and Delve check the type of a note but not its owner.
pub(in crate::process) const GOSPY_FACTS: u32 = 0x4753_0001;
/// The ranges of memory that were really read.
pub(in crate::process) const GOSPY_RANGES: u32 = 0x4753_0002;
/// An attachment from a higher layer: its name, a NUL, and its bytes.
pub(in crate::process) const GOSPY_ATTACHMENT: u32 = 0x4753_0003;
/// Their types in captures of version 1, in the same order.
const GOSPY_VERSION_1: [u32; 3] = [1, 2, 3];

/// Offset of the registers in `elf_prstatus`.
pub(in crate::process) const PR_REG: usize = 112;

/// Maximum threads, files and other items accepted.
const MAX_ENTRIES: usize = 1 << 22;

/// One thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ThreadNote {
    pub(super) tid: Tid,
    pub(super) registers: Option<Registers>,
    /// The system call that it was blocked in; always `None` on arm64, see [`blocked_call`].
    pub(super) call: Option<SystemCall>,
    /// All general ones.
    pub(super) general: Option<GeneralRegisters>,
    /// User and system time, ns; for the main thread, the sum of all threads.
    pub(super) cpu_ns: u64,
}

/// `NT_PRPSINFO`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProcessNote {
    pub(super) pid: i32,
    pub(super) uid: u32,
    pub(super) name: String,
    /// Arguments joined by spaces, truncated to 79 bytes by the kernel.
    pub(super) arguments: String,
}

/// One entry of `NT_FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileNote {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Offset in the file, bytes.
    pub(super) offset: u64,
    pub(super) path: String,
}

/// The contents of all notes.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) threads: Vec<ThreadNote>,
    pub(super) process: Option<ProcessNote>,
    pub(super) auxv: Vec<(u64, u64)>,
    pub(super) files: Vec<FileNote>,
    /// How it ended; `None` when gdb wrote the file of a live process.
    pub(super) ended: Option<Ended>,
    /// Description, ranges and attachments of a capture.
    pub(super) facts: Option<Vec<u8>>,
    pub(super) ranges: Option<Vec<u8>>,
    pub(super) attachments: Vec<(String, Vec<u8>)>,
    /// What is malformed in the notes: other tools' core files are read as far as possible, a capture is
    /// refused.
    pub(super) malformed: Option<&'static str>,
}

impl Notes {
    pub(super) fn read(parts: &[(Vec<u8>, u64)], arch: Arch) -> Self {
        let mut notes = Self::default();
        let mut ending = Ending::default();
        for (bytes, align) in parts {
            let complete = each(bytes, *align, |owner, kind, desc| {
                notes.add(owner, kind, desc, arch);
                if owner == b"CORE" {
                    ending.add(kind, desc);
                }
            });
            if !complete {
                notes.malformed = Some("a note is longer than all of them");
            }
        }
        notes.ended = ending.ended();
        notes.threads.sort_by_key(|thread| thread.tid);
        notes.threads.dedup_by_key(|thread| thread.tid);
        notes.files.sort_by_key(|file| file.start);
        notes
    }

    fn add(&mut self, owner: &[u8], kind: u32, desc: &[u8], arch: Arch) {
        let kind = match owner {
            GOSPY if GOSPY_VERSION_1.contains(&kind) => kind | (GOSPY_FACTS & 0xffff_0000),
            _ => kind,
        };
        match (owner, kind) {
            (GOSPY, GOSPY_FACTS) => self.facts = Some(desc.to_vec()),
            (GOSPY, GOSPY_RANGES) => self.ranges = Some(desc.to_vec()),
            (GOSPY, GOSPY_ATTACHMENT) => match memchr::memchr(0, desc).and_then(|end| desc.split_at_checked(end)) {
                Some((name, bytes)) => {
                    let bytes = bytes.get(1..).unwrap_or_default();
                    self.attachments.push((String::from_utf8_lossy(name).into_owned(), bytes.to_vec()));
                }
                None => self.malformed = Some("an attachment has no name"),
            },
            (b"CORE", NT_PRSTATUS) if self.threads.len() < MAX_ENTRIES => self.threads.extend(thread(desc, arch)),
            (b"CORE", NT_PRPSINFO) => self.process = process(desc),
            (b"CORE", NT_AUXV) => self.auxv = auxv(desc),
            (b"CORE", NT_FILE) => self.files = files(desc),
            _ => {}
        }
    }
}

/// Collects how a process ended.
///
/// The kernel puts the thread that died first, with the signal that killed it (`fill_note_info`,
/// fs/binfmt_elf.c), and one `NT_SIGINFO`. gdb, which dumps live processes, starts with the process instead.
#[derive(Debug, Default)]
struct Ending {
    first: Option<u32>,
    thread: Option<(Tid, i32)>,
    info: Option<SignalInfo>,
}

impl Ending {
    fn add(&mut self, kind: u32, desc: &[u8]) {
        self.first = self.first.or(Some(kind));
        match kind {
            NT_PRSTATUS if self.thread.is_none() => {
                self.thread = desc.i32_at(32).zip(desc.u16_at(12).map(i32::from));
            }
            NT_SIGINFO if self.info.is_none() => self.info = SignalInfo::parse(desc),
            _ => {}
        }
    }

    fn ended(&self) -> Option<Ended> {
        let (thread, signal) = self.thread?;
        let by_the_kernel = self.first == Some(NT_PRSTATUS) && signal != 0;
        by_the_kernel.then_some(Ended { thread, signal, info: self.info.filter(|info| info.number == signal) })
    }
}

/// Calls `visit` with owner, type and contents of each note; false if the notes end early.
fn each(bytes: &[u8], align: u64, mut visit: impl FnMut(&[u8], u32, &[u8])) -> bool {
    let align = if align == 8 { 8_usize } else { 4 };
    let mut rest = bytes;
    while let (Some(name), Some(desc), Some(kind)) = (rest.u32_at(0), rest.u32_at(4), rest.u32_at(8)) {
        let (Ok(name), Ok(desc)) = (usize::try_from(name), usize::try_from(desc)) else { return false };
        let desc_at = 12_usize.saturating_add(name).next_multiple_of(align);
        let end = desc_at.saturating_add(desc);
        let (Some(owner), Some(contents)) = (rest.get(12..12_usize.saturating_add(name)), rest.get(desc_at..end))
        else {
            return false;
        };
        let owner = owner.split(|&b| b == 0).next().unwrap_or_default();
        visit(owner, kind, contents);
        rest = rest.get(end.next_multiple_of(align)..).unwrap_or_default();
    }
    rest.is_empty()
}

fn thread(desc: &[u8], arch: Arch) -> Option<ThreadNote> {
    let time = |at: usize| {
        let (seconds, micros) = (desc.u64_at(at).unwrap_or(0), desc.u64_at(at + 8).unwrap_or(0));
        seconds.saturating_mul(1_000_000_000).saturating_add(micros.saturating_mul(1000))
    };
    Some(ThreadNote {
        tid: desc.i32_at(32)?,
        registers: registers(desc.get(PR_REG..)?, arch),
        call: blocked_call(desc.get(PR_REG..)?, arch),
        general: general(desc.get(PR_REG..)?, arch),
        cpu_ns: time(48).saturating_add(time(64)),
    })
}

/// `user_regs_struct` of the machine.
fn registers(regs: &[u8], arch: Arch) -> Option<Registers> {
    let word = |index: usize| regs.u64_at(index * 8).map(Addr);
    Some(match arch {
        Arch::Amd64 => Registers { pc: word(16)?, sp: word(19)?, lr: Addr(0), fp: word(4)?, g: word(1)? },
        Arch::Arm64 => Registers { pc: word(32)?, sp: word(31)?, lr: word(30)?, fp: word(29)?, g: word(28)? },
    })
}

/// The system call that a thread was blocked in when it was stopped: `orig_rax`, as long as the result in `rax`
/// says that the call was interrupted. On arm64 the kernel has forgotten the number by then (`do_signal`,
/// arch/arm64/kernel/signal.c).
fn blocked_call(regs: &[u8], arch: Arch) -> Option<SystemCall> {
    /// `EINTR`, `ERESTARTSYS`, `ERESTARTNOINTR`, `ERESTARTNOHAND`, `ERESTART_RESTARTBLOCK` (linux/errno.h).
    const INTERRUPTED: [i64; 5] = [-4, -512, -513, -514, -516];
    /// `rdi`, `rsi`, `rdx`, `r10`, `r8`, `r9` in `user_regs_struct`.
    const ARGUMENTS: [usize; 6] = [14, 13, 12, 7, 9, 8];
    const RAX: usize = 10;
    const ORIG_RAX: usize = 15;
    let word = |index: usize| regs.u64_at(index * 8);
    let number = word(ORIG_RAX)?;
    if arch != Arch::Amd64 || !INTERRUPTED.contains(&word(RAX)?.cast_signed()) || number.cast_signed() < 0 {
        return None;
    }
    let mut arguments = [0; 6];
    for (argument, index) in arguments.iter_mut().zip(ARGUMENTS) {
        *argument = word(index)?;
    }
    Some(SystemCall { number, arguments })
}

/// All general registers; on amd64 those before `orig_rax`.
fn general(regs: &[u8], arch: Arch) -> Option<GeneralRegisters> {
    let (sp, count) = if arch == Arch::Amd64 { (19, 15) } else { (31, 31) };
    let words: Option<Vec<u64>> = (0..count).map(|index| regs.u64_at(index * 8)).collect();
    Some(GeneralRegisters { sp: Addr(regs.u64_at(8 * sp)?), words: words? })
}

fn process(desc: &[u8]) -> Option<ProcessNote> {
    let text = |bytes: &[u8]| {
        let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
        String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).trim_end().to_owned()
    };
    Some(ProcessNote {
        uid: desc.u32_at(16)?,
        pid: desc.i32_at(24)?,
        name: text(desc.get(40..56)?),
        arguments: text(desc.get(56..)?.get(..80).or(desc.get(56..))?),
    })
}

fn auxv(desc: &[u8]) -> Vec<(u64, u64)> {
    let pairs = desc.chunks_exact(16).filter_map(|pair| Some((pair.u64_at(0)?, pair.u64_at(8)?)));
    pairs.take_while(|(kind, _)| *kind != 0).take(MAX_ENTRIES).collect()
}

/// A count, the page size, three words for each file, and then the paths.
fn files(desc: &[u8]) -> Vec<FileNote> {
    let (Some(count), Some(page)) = (desc.u64_at(0), desc.u64_at(8)) else { return Vec::new() };
    let Some(count) = usize::try_from(count).ok().filter(|&count| count <= MAX_ENTRIES) else { return Vec::new() };
    let Some(mut names) =
        count.checked_mul(24).and_then(|len| desc.get(16..len.checked_add(16)?).and(desc.get(16 + len..)))
    else {
        return Vec::new();
    };
    let mut out = Vec::new();
    for index in 0..count {
        let word = |n: usize| desc.u64_at(16 + index * 24 + n * 8);
        let (Some(start), Some(end), Some(pages)) = (word(0), word(1), word(2)) else { break };
        let Some(nul) = memchr::memchr(0, names) else { break };
        let path = String::from_utf8_lossy(names.get(..nul).unwrap_or_default()).into_owned();
        names = names.get(nul + 1..).unwrap_or_default();
        if start < end {
            out.push(FileNote { start, end, offset: pages.saturating_mul(page), path });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn note(owner: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(u32::try_from(owner.len() + 1).unwrap().to_le_bytes());
        out.extend(u32::try_from(desc.len()).unwrap().to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(owner);
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(desc);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    #[test]
    fn registers_are_where_each_machine_has_them() {
        let mut status = vec![0; 392];
        status[32..36].copy_from_slice(&77_i32.to_le_bytes());
        status[48] = 2;
        status[56] = 5;
        for index in 0..34_u64 {
            let at = PR_REG + 8 * usize::try_from(index).unwrap();
            status[at..at + 8].copy_from_slice(&(100 + index).to_le_bytes());
        }
        let read = |arch| Notes::read(&[(note(b"CORE", NT_PRSTATUS, &status), 4)], arch).threads;
        let amd64 = read(Arch::Amd64);
        assert_eq!((amd64[0].tid, amd64[0].cpu_ns), (77, 2_000_005_000));
        let registers = amd64[0].registers.unwrap();
        assert_eq!([registers.pc.0, registers.sp.0, registers.fp.0, registers.g.0], [116, 119, 104, 101]);
        let general = amd64[0].general.clone().unwrap();
        assert_eq!((general.sp.0, general.words), (119, (100..115).collect()));
        let registers = read(Arch::Arm64)[0].registers.unwrap();
        assert_eq!([registers.pc.0, registers.sp.0, registers.lr.0, registers.g.0], [132, 131, 130, 128]);
    }

    #[test]
    fn a_system_call_is_one_that_was_interrupted() {
        let thread = |rax: i64, orig_rax: i64, arch| {
            let mut status = vec![0; 392];
            for index in 0..27_usize {
                let word = match index {
                    10 => rax.cast_unsigned(),
                    15 => orig_rax.cast_unsigned(),
                    index => 100 + index as u64,
                };
                let at = PR_REG + 8 * index;
                status[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
            Notes::read(&[(note(b"CORE", NT_PRSTATUS, &status), 4)], arch).threads[0].call
        };
        let call = SystemCall { number: 202, arguments: [114, 113, 112, 107, 109, 108] };
        for rax in [-4, -512, -513, -514, -516] {
            assert_eq!(thread(rax, 202, Arch::Amd64), Some(call), "{rax}");
        }
        // It has returned; it was in none; arm64 does not say.
        assert_eq!(thread(0, 202, Arch::Amd64), None);
        assert_eq!(thread(-11, 202, Arch::Amd64), None);
        assert_eq!(thread(-512, -1, Arch::Amd64), None);
        assert_eq!(thread(-512, 202, Arch::Arm64), None);
    }

    #[test]
    fn only_kernel_core_files_are_of_ended_processes() {
        let mut status = vec![0; 392];
        status[12] = 6;
        status[32..36].copy_from_slice(&77_i32.to_le_bytes());
        let mut info = vec![0; 128];
        info[0] = 6;
        info[8..12].copy_from_slice(&(-6_i32).to_le_bytes());
        info[16..24].copy_from_slice(&(5_u64 << 32 | 99).to_le_bytes());
        let (status, info) = (note(b"CORE", NT_PRSTATUS, &status), note(b"CORE", NT_SIGINFO, &info));
        let process = note(b"CORE", NT_PRPSINFO, &[0; 136]);
        let ended = |parts: &[&[u8]]| Notes::read(&[(parts.concat(), 4)], Arch::Amd64).ended;
        let found = ended(&[&status, &process, &info]).unwrap();
        assert_eq!((found.thread, found.signal), (77, 6));
        let info = found.info.unwrap();
        assert_eq!((info.sender(), info.fault_address()), (Some((99, 5)), None));
        assert_eq!(ended(&[&status, &process]).unwrap().info, None);
        // gdb's.
        assert_eq!(ended(&[&process, &status]), None);
        assert_eq!(SignalInfo { number: 11, code: 1, word: 8 }.fault_address(), Some(Addr(8)));
        assert_eq!(SignalInfo { number: 11, code: 128, word: 8 }.fault_address(), None);
        assert_eq!(SignalInfo { number: 11, code: 1, word: 8 }.sender(), None);
    }

    #[test]
    fn files_have_their_offset_in_bytes() {
        let mut desc = Vec::new();
        for word in [2_u64, 4096, 0x1000, 0x3000, 0, 0x3000, 0x4000, 2] {
            desc.extend(word.to_le_bytes());
        }
        desc.extend(b"/bin/a\0/bin/a\0");
        let notes = Notes::read(&[(note(b"CORE", NT_FILE, &desc), 4)], Arch::Amd64);
        let found: Vec<_> = notes.files.iter().map(|f| (f.start, f.end, f.offset, f.path.as_str())).collect();
        assert_eq!(found, [(0x1000, 0x3000, 0, "/bin/a"), (0x3000, 0x4000, 0x2000, "/bin/a")]);
    }

    proptest! {
        #[test]
        fn arbitrary_notes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), kind in 0_usize..6) {
            let kind = [NT_PRSTATUS, NT_PRPSINFO, NT_AUXV, NT_FILE, NT_SIGINFO, 99][kind];
            let mut all = note(b"CORE", kind, &bytes);
            all.extend(&bytes);
            Notes::read(&[(all, 4), (bytes, 8)], Arch::Arm64);
        }
    }
}
