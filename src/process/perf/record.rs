//! Records of a ring, as the kernel writes them (linux/perf_event.h, perf_event_open(2); an interface to programs,
//! which does not change).
//!
//! Every length is checked: a record that does not fit ends its batch.

use crate::addr::{Addr, Arch};
use crate::bytes::FieldsExt as _;
use crate::process::{Registers, Tid};

/// `PERF_RECORD_*`.
mod kind {
    pub(super) const LOST: u32 = 2;
    pub(super) const COMM: u32 = 3;
    pub(super) const FORK: u32 = 7;
    pub(super) const SAMPLE: u32 = 9;
    pub(super) const LOST_SAMPLES: u32 = 13;
}

/// `PERF_RECORD_MISC_CPUMODE_MASK` and `_KERNEL`.
const MODE: u16 = 7;
const MODE_KERNEL: u16 = 1;
/// `PERF_RECORD_MISC_COMM_EXEC`: the name changed by an `execve`.
const BY_EXEC: u16 = 1 << 13;
/// `PERF_SAMPLE_REGS_ABI_64`.
const ABI_64: u64 = 2;
/// Addresses from here on are no callers: `PERF_CONTEXT_MAX`, the lowest of the marks between parts of a chain.
const CONTEXT: u64 = -4095_i64 as u64;
/// Most callers of a sample: the highest `kernel.perf_event_max_stack`, and some.
const MAX_CALLERS: u64 = 1 << 12;
/// The size of the type, the mode and the size at the start of a record.
const HEADER: usize = 8;

/// `PERF_SAMPLE_TID | TIME | CALLCHAIN | REGS_USER | STACK_USER`, in which order a sample has them.
pub(super) const SAMPLE_TYPE: u64 = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 12 | 1 << 13;

/// The registers that are asked for, by their numbers in `arch/*/include/uapi/asm/perf_regs.h`: on amd64 BP, SP, IP
/// and R14, on arm64 X28, X29, LR, SP and PC. A sample has them in order of number.
pub(super) const REGISTERS: u64 = match cfg!(target_arch = "aarch64") {
    true => 1 << 28 | 1 << 29 | 1 << 30 | 1 << 31 | 1 << 32,
    false => 1 << 6 | 1 << 7 | 1 << 8 | 1 << 22,
};

/// A sample of a thread that used a CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawCpuSample {
    /// The thread, by its id in its own pid namespace.
    pub tid: Tid,
    /// When it was taken, ns of `CLOCK_MONOTONIC` of our own time namespace.
    pub time_ns: u64,
    /// Whether the thread was in the kernel. Everything else is where it was in user mode.
    pub kernel: bool,
    /// Its registers; `None` for a thread that has none any more because it is exiting.
    pub registers: Option<Registers>,
    /// Where it was, and its callers by frame pointers, innermost first.
    pub callers: Vec<u64>,
    /// Memory from its stack pointer up.
    pub stack: Vec<u8>,
}

/// What a ring holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::process) enum Record {
    /// A sample of a thread of the process with this pid, by the ids of our namespace.
    Sample(i32, RawCpuSample),
    /// So many samples found no room.
    Lost(u64),
    /// A thread of the process `pid` started, by the ids of our namespace.
    Thread { pid: i32, tid: Tid },
    /// The process has executed another program.
    Exec,
    /// Anything else.
    Other,
}

/// Takes the records in `bytes` apart; false where what is left at the end is no whole record.
pub(in crate::process) fn records(mut bytes: &[u8], arch: Arch, mut each: impl FnMut(Record)) -> bool {
    while !bytes.is_empty() {
        let size = bytes.u16_at(6).map_or(0, usize::from);
        if size < HEADER {
            return false;
        }
        let Some((record, rest)) = bytes.split_at_checked(size) else { return false };
        let Some(record) = parse(record, arch) else { return false };
        each(record);
        bytes = rest;
    }
    true
}

fn parse(record: &[u8], arch: Arch) -> Option<Record> {
    let (kind, misc) = (record.u32_at(0)?, record.u16_at(4)?);
    let body = record.get(HEADER..)?;
    Some(match kind {
        kind::SAMPLE => {
            let (pid, sample) = sample(body, misc, arch)?;
            Record::Sample(pid, sample)
        }
        kind::LOST => Record::Lost(body.u64_at(8)?),
        kind::LOST_SAMPLES => Record::Lost(body.u64_at(0)?),
        kind::FORK => Record::Thread { pid: body.i32_at(0)?, tid: body.i32_at(8)? },
        kind::COMM if misc & BY_EXEC != 0 => Record::Exec,
        _ => Record::Other,
    })
}

fn sample(body: &[u8], misc: u16, arch: Arch) -> Option<(i32, RawCpuSample)> {
    let (pid, tid, time_ns) = (body.i32_at(0)?, body.i32_at(4)?, body.u64_at(8)?);
    let count = body.u64_at(16).filter(|&count| count <= MAX_CALLERS)?;
    let mut at = 24;
    let mut word = || {
        let value = body.u64_at(at);
        at += 8;
        value
    };
    let mut callers = Vec::new();
    for _ in 0..count {
        callers.push(word()?);
    }
    callers.retain(|&pc| pc < CONTEXT);
    let registers = match word()? {
        0 => None,
        ABI_64 => Some(match arch {
            Arch::Amd64 => {
                let (fp, sp, pc, g) = (Addr(word()?), Addr(word()?), Addr(word()?), Addr(word()?));
                Registers { pc, sp, lr: Addr(0), fp, g }
            }
            Arch::Arm64 => {
                let (g, fp, lr, sp) = (Addr(word()?), Addr(word()?), Addr(word()?), Addr(word()?));
                Registers { pc: Addr(word()?), sp, lr, fp, g }
            }
        }),
        // Code of 32 bits, which Go programs of these architectures do not have.
        _ => return Some((pid, RawCpuSample { tid, time_ns, kernel: false, registers: None, callers, stack: vec![] })),
    };
    let stack = match word()? {
        0 => Vec::new(),
        size => {
            let all = body.get(at..)?.get(..usize::try_from(size).ok()?)?;
            let after = at.checked_add(all.len())?;
            // As much of it as could be read.
            let filled = usize::try_from(body.u64_at(after)?).ok()?;
            all.get(..filled.min(all.len()))?.to_vec()
        }
    };
    let kernel = misc & MODE == MODE_KERNEL;
    Some((pid, RawCpuSample { tid, time_ns, kernel, registers, callers, stack }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(kind: u32, misc: u16, body: &[u8]) -> Vec<u8> {
        let size = u16::try_from(HEADER + body.len()).unwrap();
        [&kind.to_le_bytes()[..], &misc.to_le_bytes(), &size.to_le_bytes(), body].concat()
    }

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn all(bytes: &[u8], arch: Arch) -> (Vec<Record>, bool) {
        let mut found = Vec::new();
        let whole = records(bytes, arch, |record| found.push(record));
        (found, whole)
    }

    const IDS: u64 = 4242 | 4243 << 32;

    #[test]
    fn samples_are_taken_apart() {
        let body = words(&[IDS, 77, 4, -512_i64 as u64, 0x10, 0x20, 0x30, 2, 1, 2, 3, 4, 16, 0xa, 0xb, 8]);
        let (found, whole) = all(&record(9, 1, &body), Arch::Amd64);
        let registers = Registers { fp: Addr(1), sp: Addr(2), pc: Addr(3), g: Addr(4), lr: Addr(0) };
        let sample = RawCpuSample {
            tid: 4243,
            time_ns: 77,
            kernel: true,
            registers: Some(registers),
            callers: vec![0x10, 0x20, 0x30],
            stack: words(&[0xa]),
        };
        assert_eq!((found, whole), (vec![Record::Sample(4242, sample.clone())], true));
        let body = words(&[IDS, 77, 1, 0x10, 2, 1, 2, 3, 4, 5, 0]);
        let (found, _) = all(&record(9, 2, &body), Arch::Arm64);
        let registers = Registers { g: Addr(1), fp: Addr(2), lr: Addr(3), sp: Addr(4), pc: Addr(5) };
        let other =
            RawCpuSample { kernel: false, registers: Some(registers), callers: vec![0x10], stack: vec![], ..sample };
        assert_eq!(found, [Record::Sample(4242, other)]);
        // A thread that exits has neither registers nor a stack.
        let (found, _) = all(&record(9, 2, &words(&[IDS, 77, 0, 0, 0])), Arch::Amd64);
        assert!(matches!(&found[..], [Record::Sample(_, sample)] if sample.registers.is_none()), "{found:?}");
    }

    #[test]
    fn other_records_are_known() {
        let bytes = [
            record(2, 0, &words(&[1, 17])),
            record(13, 0, &words(&[3])),
            record(7, 0, &words(&[4242 | 1 << 32, 4300 | 4242 << 32, 5])),
            record(3, 1 << 13, &words(&[IDS, 0x61])),
            record(3, 0, &words(&[IDS, 0x61])),
            record(4, 0, &[]),
        ];
        let (found, whole) = all(&bytes.concat(), Arch::Amd64);
        let thread = Record::Thread { pid: 4242, tid: 4300 };
        let wanted = [Record::Lost(17), Record::Lost(3), thread, Record::Exec, Record::Other, Record::Other];
        assert_eq!((found, whole), (wanted.to_vec(), true));
    }

    #[test]
    fn what_does_not_fit_ends_the_batch() {
        let whole = record(2, 0, &words(&[1, 17]));
        for bad in [vec![0; 8], vec![9, 0, 0, 0, 0, 0, 7, 0], vec![9, 0, 0], record(9, 0, &words(&[IDS, 1, 1 << 40]))] {
            let (found, complete) = all(&[&whole[..], &bad].concat(), Arch::Amd64);
            assert_eq!((found, complete), (vec![Record::Lost(17)], false), "{bad:?}");
        }
        // A stack that says that it is longer than the record.
        let body = words(&[IDS, 77, 0, 2, 1, 2, 3, 4, u64::MAX, 0]);
        assert_eq!(all(&record(9, 0, &body), Arch::Amd64), (vec![], false));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0_u32..20) {
            let _ = all(&bytes, Arch::Amd64);
            let _ = all(&record(kind, 1, &bytes), Arch::Arm64);
        }
    }
}
