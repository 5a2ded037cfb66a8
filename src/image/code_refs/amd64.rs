//! References in x86-64 code: RIP-relative operands, and absolute ones.

use iced_x86::{
    Decoder, DecoderOptions, Instruction, InstructionInfoFactory, InstructionInfoOptions, Mnemonic, OpAccess, OpKind,
    Register,
};

use super::CodeRef;
use crate::addr::LinkAddr;

/// An absolute 32-bit operand below this is a small number or part of data, never a variable.
const LOWEST_ABSOLUTE: u64 = 0x1000;

/// The instructions of `code`; an invalid byte is skipped.
fn instructions(code: &[u8], base: LinkAddr) -> impl Iterator<Item = Instruction> {
    let mut decoder = Decoder::with_ip(64, code, base.0, DecoderOptions::NONE);
    let mut resume = 0_usize;
    std::iter::from_fn(move || {
        loop {
            // The position is within the code unless it is at its end.
            decoder.set_position(resume).ok()?;
            decoder.set_ip(base.0.wrapping_add(resume as u64));
            if !decoder.can_decode() {
                return None;
            }
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                resume = resume.checked_add(1)?;
            } else {
                resume = decoder.position();
                return Some(instruction);
            }
        }
    })
}

/// The fixed address of an instruction's memory operand.
fn fixed_address(instruction: &Instruction) -> Option<u64> {
    if instruction.is_ip_rel_memory_operand() {
        return Some(instruction.ip_rel_memory_address());
    }
    let absolute = instruction.memory_base() == Register::None
        && instruction.memory_index() == Register::None
        && instruction.segment_prefix() == Register::None
        && instruction.memory_displacement64() >= LOWEST_ABSOLUTE;
    absolute.then(|| instruction.memory_displacement64() & u64::from(u32::MAX))
}

fn is_write(access: OpAccess) -> bool {
    matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
}

fn immediate(instruction: &Instruction) -> Option<i64> {
    let operand = (0..instruction.op_count()).find(|operand| {
        matches!(
            instruction.op_kind(*operand),
            OpKind::Immediate8
                | OpKind::Immediate16
                | OpKind::Immediate32
                | OpKind::Immediate64
                | OpKind::Immediate8to16
                | OpKind::Immediate8to32
                | OpKind::Immediate8to64
                | OpKind::Immediate32to64
        )
    })?;
    let bits = instruction.immediate(operand);
    // The decoder zero-extends what is as wide as the operand; a constant means the same thing
    // whatever its width.
    Some(match instruction.op_kind(operand) {
        OpKind::Immediate8 => i64::from(bits as u8 as i8),
        OpKind::Immediate16 | OpKind::Immediate8to16 => i64::from(bits as u16 as i16),
        OpKind::Immediate32 | OpKind::Immediate8to32 => i64::from(bits as u32 as i32),
        _ => bits as i64,
    })
}

pub(super) fn data_refs(code: &[u8], base: LinkAddr) -> Vec<CodeRef> {
    let mut factory = InstructionInfoFactory::new();
    let options = InstructionInfoOptions::NO_MEMORY_USAGE | InstructionInfoOptions::NO_REGISTER_USAGE;
    let mut refs = Vec::new();
    for instruction in instructions(code, base) {
        let Some(operand) = (0..instruction.op_count()).find(|op| instruction.op_kind(*op) == OpKind::Memory) else {
            continue;
        };
        let Some(target) = fixed_address(&instruction) else { continue };
        let access = factory.info_options(&instruction, options).op_access(operand);
        // No access: `lea` takes the address, `nop` and prefetches do not even that.
        let size = match access {
            OpAccess::NoMemAccess if instruction.mnemonic() == Mnemonic::Lea => 0,
            OpAccess::NoMemAccess | OpAccess::None => continue,
            _ => u8::try_from(instruction.memory_size().size()).unwrap_or(u8::MAX),
        };
        refs.push(CodeRef {
            at: LinkAddr(instruction.ip()),
            target: LinkAddr(target),
            size,
            write: is_write(access),
            immediate: immediate(&instruction),
        });
    }
    refs
}

pub(super) fn linked_store(code: &[u8], base: LinkAddr, head: LinkAddr, at_least: u32) -> Option<u32> {
    let mut factory = InstructionInfoFactory::new();
    // The registers that hold the loaded word. Calls leave them alone: the only one between the
    // load and the store is the write barrier, which keeps every register.
    let mut holders: Vec<Register> = Vec::new();
    for instruction in instructions(code, base) {
        let is_move = instruction.mnemonic() == Mnemonic::Mov && instruction.op_count() == 2;
        let (to, from) = (instruction.op0_register(), instruction.op1_register());
        if is_move && instruction.op0_kind() == OpKind::Memory && holders.contains(&from) {
            let through = instruction.memory_base();
            let field = u32::try_from(instruction.memory_displacement64()).ok();
            let plain = through.is_gpr64() && through != Register::RSP && instruction.memory_index() == Register::None;
            if let Some(field) = field.filter(|field| plain && *field >= at_least) {
                return Some(field);
            }
        }

        let gains = is_move
            && to.is_gpr64()
            && match instruction.op1_kind() {
                OpKind::Memory => fixed_address(&instruction) == Some(head.0),
                OpKind::Register => holders.contains(&from),
                _ => false,
            };
        let info = factory.info_options(&instruction, InstructionInfoOptions::NO_MEMORY_USAGE);
        for used in info.used_registers().iter().filter(|used| is_write(used.access())) {
            holders.retain(|holder| *holder != used.register().full_register());
        }
        if gains {
            holders.push(to);
        }
    }
    None
}
