//! The full command line, from where the kernel put it: at the start of the main thread's stack,
//! below the auxiliary vector. `NT_PRPSINFO` has only 79 bytes of it.

use super::memory::Memory;
use crate::bytes::FieldsExt;

/// The kernel's limit for arguments and environment together is a quarter of the stack's; this much is
/// searched.
const MAX_VECTOR: u64 = 4 << 20;
/// Maximum arguments read.
const MAX_ARGUMENTS: usize = 100_000;
/// Longest argument (`MAX_ARG_STRLEN`).
const MAX_ARGUMENT: usize = 128 << 10;
const AT_EXECFN: u64 = 31;

/// The arguments; `None` when the stack is not in the core file or was overwritten.
pub(super) fn read(memory: &Memory, auxv: &[(u64, u64)]) -> Option<Vec<String>> {
    // The name of the program lies above everything else that the kernel puts there.
    let top = auxv.iter().find(|(kind, _)| *kind == AT_EXECFN)?.1;
    let load = memory.load_at(top)?;
    let start = load.start.max(top.saturating_sub(MAX_VECTOR)).next_multiple_of(16);
    let bytes = memory.exact(start, usize::try_from(top.checked_sub(start)?).ok()?)?;
    let needle: Vec<u8> =
        auxv.iter().take(4).flat_map(|(kind, value)| [kind.to_le_bytes(), value.to_le_bytes()].concat()).collect();
    let vector = memchr::memmem::rfind(&bytes, &needle)?;
    let word_below = |n: usize| bytes.u64_at(vector.checked_sub(n.checked_mul(8)?)?);
    // Down from the vector: NULL, the environment, NULL, the arguments, their number.
    if word_below(1)? != 0 {
        return None;
    }
    let mut at = 2;
    while word_below(at)? != 0 {
        at += 1;
    }
    let mut pointers = Vec::new();
    loop {
        at += 1;
        let word = word_below(at)?;
        if word == pointers.len() as u64 {
            break;
        }
        if pointers.len() >= MAX_ARGUMENTS {
            return None;
        }
        pointers.push(word);
    }
    pointers.iter().rev().map(|&pointer| memory.text(pointer, MAX_ARGUMENT)).collect()
}
