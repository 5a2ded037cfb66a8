//! What the kernel puts on a stack when a signal arrives: a `ucontext` with the registers that it
//! interrupted, and a `siginfo` (arch/x86/include/uapi/asm/ucontext.h and sigcontext.h, asm-generic and
//! arch/arm64/include/uapi/asm/sigcontext.h; it is an interface to programs, and does not change).
//!
//! The runtime's handlers run on the stack of `m.gsignal` (`sigaltstack` in runtime/os_linux.go, Go 1.19 to
//! 1.27), which is described in the `ucontext` too.

use crate::addr::{Addr, Arch};
use crate::bytes::FieldsExt as _;
use crate::process::{Registers, SignalInfo};

/// Largest signal stack that is searched, bytes. The runtime's has 32 KiB, a C thread's own may have more.
pub(crate) const MAX_SIGNAL_STACK: u64 = 1 << 20;

/// Bytes from the handler's frame up that [`above_handler`] needs.
pub(crate) const FRAME: usize = 1024;

/// Offset of the description of the stack in a `ucontext`: flags and link come before its start, flags and
/// size.
const STACK_AT: usize = 16;

/// The registers that a signal interrupted whose handler runs on the stack at `lo`, `len` bytes long, of
/// which `stack` is what is above the stack pointer `sp`. `None` where no `ucontext` is there: it begins with
/// the address and the size of that same stack, which identifies it.
#[must_use]
pub(crate) fn interrupted(stack: &[u8], sp: u64, lo: u64, len: u64, arch: Arch) -> Option<Registers> {
    let context_at = |at: usize| {
        let start = at.checked_sub(STACK_AT)?;
        let context = stack.get(start..)?;
        (sp.wrapping_add(start as u64).is_multiple_of(8) && context.u64_at(STACK_AT + 16) == Some(len))
            .then_some(context)
    };
    // Of handlers that were interrupted by signals themselves, the outermost interrupted the goroutine.
    let context = memchr::memmem::find_iter(stack, &lo.to_le_bytes()).filter_map(context_at).last()?;
    registers(context, arch)
}

/// What is above the frame of the function that the kernel called for a signal (`sigtramp`), from the top of
/// that frame up: which signal, and what it interrupted. On amd64 the `ucontext` comes first, on arm64 the
/// `siginfo`.
#[must_use]
pub(crate) fn above_handler(bytes: &[u8], arch: Arch) -> Option<(SignalInfo, Registers)> {
    const CONTEXT: usize = 304;
    const INFO: usize = 128;
    let (context, info) = match arch {
        Arch::Amd64 => (bytes, bytes.get(CONTEXT..)?),
        Arch::Arm64 => (bytes.get(INFO..)?, bytes),
    };
    Some((SignalInfo::parse(info)?, registers(context, arch)?))
}

/// The general registers of a `ucontext`.
fn registers(context: &[u8], arch: Arch) -> Option<Registers> {
    let word = |first: usize, index: usize| context.u64_at(first + 8 * index).map(Addr);
    Some(match arch {
        Arch::Amd64 => {
            /// `gregs`: after flags, link and stack.
            const GREGS: usize = 40;
            Registers {
                pc: word(GREGS, 16)?,
                sp: word(GREGS, 15)?,
                lr: Addr(0),
                fp: word(GREGS, 10)?,
                g: word(GREGS, 6)?,
            }
        }
        Arch::Arm64 => {
            // After a mask of 128 bytes, aligned to 16, and the address of a fault.
            const REGS: usize = 176 + 8;
            Registers {
                pc: word(REGS, 32)?,
                sp: word(REGS, 31)?,
                lr: word(REGS, 30)?,
                fp: word(REGS, 29)?,
                g: word(REGS, 28)?,
            }
        }
    })
}
