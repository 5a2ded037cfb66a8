//! References in AArch64 code: addresses made by ADRP and ADD, and loads and stores next to them.
//!
//! An address takes two instructions here: ADRP gives a page of 4 KiB, the next one the rest. Go's assembler
//! writes them next to each other, through R27 if the address itself is not needed. Register contents are
//! tracked linearly and forgotten at calls and jumps. The encodings are those of the Arm Architecture Reference
//! Manual, chapter C4.

use super::CodeRef;
use crate::addr::LinkAddr;

/// Number of the zero register and of the stack pointer, which hold no address of interest.
const R31: u32 = 31;

/// What is known about a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    /// The page of an address, without its offset.
    Page(u64),
    /// A whole address.
    Address(u64),
}

/// One access to memory, or the making of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Access {
    target: u64,
    size: u8,
    write: bool,
    /// The general register that a load fills.
    fills: Option<u32>,
}

/// What the general registers hold.
struct Registers([Known; 32]);

fn field(word: u32, low: u32, bits: u32) -> u32 {
    (word >> low) & ((1 << bits) - 1)
}

/// The low `bits` of `value` as a signed number.
fn signed(value: u32, bits: u32) -> i64 {
    let shift = 32 - bits;
    i64::from(((value << shift) as i32) >> shift)
}

/// The immediate of ADR and ADRP.
fn adr_immediate(word: u32) -> i64 {
    signed(field(word, 5, 19) << 2 | field(word, 29, 2), 21)
}

fn bit(register: u32) -> u32 {
    1 << (register & 31)
}

fn is_call(word: u32) -> bool {
    // BL; BLR
    word & 0xfc00_0000 == 0x9400_0000 || word & 0xffff_fc1f == 0xd63f_0000
}

fn is_jump(word: u32) -> bool {
    // B; BR; RET
    word & 0xfc00_0000 == 0x1400_0000 || word & 0xffff_fc1f == 0xd61f_0000 || word & 0xffff_fc1f == 0xd65f_0000
}

/// The general registers that an instruction writes, as a mask; rather too many than too few. Excludes those a
/// called function writes.
fn written(word: u32) -> u32 {
    let rt = bit(word);
    match field(word, 25, 4) {
        // Branches and system: only MRS and SYSL write.
        0b1010 | 0b1011 if word & 0xfff0_0000 == 0xd530_0000 || word & 0xfff8_0000 == 0xd528_0000 => rt,
        0b1010 | 0b1011 => 0,
        // Loads and stores.
        op if op & 0b0101 == 0b0100 => written_by_access(word),
        // Data processing; the vector unit's too, since some of it writes a general register.
        _ => rt,
    }
}

fn written_by_access(word: u32) -> u32 {
    let (rt, rn, rt2, rs) = (bit(word), bit(word >> 5), bit(word >> 10), bit(word >> 16));
    let vector = field(word, 26, 1) == 1;
    let to_general = |mask| if vector { 0 } else { mask };
    match field(word, 27, 3) {
        // Exclusive, ordered and compare-and-swap.
        0b001 if !vector => match (field(word, 23, 1), field(word, 21, 1), field(word, 22, 1)) {
            (1, 1, _) => rs,
            (0, 1, _) if field(word, 31, 1) == 0 => rs | rs.rotate_left(1),
            (0, _, 0) => rs,
            (_, _, 0) => 0,
            _ => rt | rt2,
        },
        // Vector structures, with write-back perhaps.
        0b001 => rn,
        // Literal; the top value of its opcode is a prefetch.
        0b011 if field(word, 24, 1) == 0 => to_general(if field(word, 30, 2) == 3 { 0 } else { rt }),
        // Pairs.
        0b101 => {
            let back = if field(word, 23, 1) == 1 { rn } else { 0 };
            back | to_general(if field(word, 22, 1) == 1 { rt | rt2 } else { 0 })
        }
        0b111 => {
            let prefetch = field(word, 30, 2) == 3 && field(word, 22, 2) == 2;
            let loaded = to_general(if field(word, 22, 2) != 0 && !prefetch { rt } else { 0 });
            match (field(word, 24, 1), field(word, 21, 1), field(word, 10, 2)) {
                (1, ..) | (0, 0, 0b00 | 0b10) | (0, 1, 0b10) => loaded,
                // With write-back.
                (0, 0, _) => loaded | rn,
                // Atomics.
                (0, 1, 0b00) => rt,
                // Loads with authentication, with write-back perhaps.
                _ => rt | rn,
            }
        }
        _ => rt | rn,
    }
}

impl Registers {
    fn new() -> Self {
        Self([Known::Nothing; 32])
    }

    fn get(&self, register: u32) -> Known {
        self.0.get(register as usize).copied().unwrap_or(Known::Nothing)
    }

    fn set(&mut self, register: u32, known: Known) {
        if register != R31
            && let Some(slot) = self.0.get_mut(register as usize)
        {
            *slot = known;
        }
    }

    fn forget(&mut self, mask: u32) {
        for register in (0..32).filter(|register| mask & bit(*register) != 0) {
            self.set(register, Known::Nothing);
        }
    }

    /// Processes one instruction; returns its references, two for a pair.
    fn step(&mut self, pc: u64, word: u32) -> [Option<Access>; 2] {
        let (rd, rn) = (field(word, 0, 5), field(word, 5, 5));
        let accesses = self.accesses(pc, word, rd, rn);
        // Evaluate the instruction's operands before they are forgotten.
        let made = if word & 0x9f00_0000 == 0x9000_0000 {
            Known::Page((pc & !0xfff).wrapping_add_signed(adr_immediate(word) << 12))
        } else {
            match accesses {
                [Some(Access { target, size: 0, .. }), _] => Known::Address(target),
                _ => Known::Nothing,
            }
        };
        self.forget(if is_call(word) || is_jump(word) { u32::MAX } else { written(word) });
        if made != Known::Nothing {
            self.set(rd, made);
        }
        accesses
    }

    fn accesses(&self, pc: u64, word: u32, rd: u32, rn: u32) -> [Option<Access>; 2] {
        let vector = field(word, 26, 1) == 1;
        let address = |target| [Some(Access { target, size: 0, write: false, fills: None }), None];
        // ADR
        if word & 0x9f00_0000 == 0x1000_0000 {
            return address(pc.wrapping_add_signed(adr_immediate(word)));
        }
        // ADD (immediate, 64 bits)
        if word & 0xff80_0000 == 0x9100_0000 {
            let immediate = u64::from(field(word, 10, 12)) << (12 * field(word, 22, 1));
            return match self.get(rn) {
                Known::Page(page) => address(page.wrapping_add(immediate)),
                _ => [None, None],
            };
        }
        // LDR, STR (unsigned immediate), of every size
        if word & 0x3b00_0000 == 0x3900_0000 {
            let (size_field, opcode) = (field(word, 30, 2), field(word, 22, 2));
            if !vector && size_field == 3 && opcode >= 2 {
                return [None, None]; // a prefetch, or not allocated
            }
            let scale = if vector && opcode >= 2 { 4 } else { size_field };
            let offset = u64::from(field(word, 10, 12)) << scale;
            let target = match self.get(rn) {
                Known::Page(page) => page.wrapping_add(offset),
                // Fields at an offset from an address are left out: of that structure only the start is known
                // to be a variable.
                Known::Address(address) if offset == 0 => address,
                _ => return [None, None],
            };
            let write = opcode == 0 || (vector && opcode == 2);
            let fills = (!write && !vector).then_some(rd);
            return [Some(Access { target, size: 1 << scale, write, fills }), None];
        }
        let Known::Address(target) = self.get(rn) else { return [None, None] };
        // LDP, STP (no offset)
        if word & 0x3a00_0000 == 0x2800_0000 && field(word, 15, 7) == 0 {
            let (opcode, load) = (field(word, 30, 2), field(word, 22, 1) == 1);
            let size = if vector { 4 << opcode.min(2) } else { 4 << (opcode >> 1) };
            let one = |target, register| {
                Some(Access { target, size, write: !load, fills: (load && !vector).then_some(register) })
            };
            return [one(target, rd), one(target.wrapping_add(u64::from(size)), field(word, 10, 5))];
        }
        let size = 1 << field(word, 30, 2);
        // LDAR, STLR, LDXR, STXR and their like; CAS. Not their pairs.
        if word & 0x3f00_0000 == 0x0800_0000 && field(word, 21, 1) <= field(word, 23, 1) {
            let swap = field(word, 21, 1) == 1;
            let load = field(word, 22, 1) == 1 && !swap;
            return [Some(Access { target, size, write: !load, fills: load.then_some(rd) }), None];
        }
        // LDADD, SWP and their like; LDAPR among them only reads
        if word & 0x3f20_0c00 == 0x3820_0000 {
            let write = word & 0x3fff_fc00 != 0x38bf_c000;
            return [Some(Access { target, size, write, fills: Some(rd) }), None];
        }
        [None, None]
    }
}

fn instructions(code: &[u8], base: LinkAddr) -> impl Iterator<Item = (u64, u32)> {
    let words = code.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    words.enumerate().map(move |(index, word)| (base.0.wrapping_add(4 * index as u64), word))
}

pub(super) fn data_refs(code: &[u8], base: LinkAddr) -> Vec<CodeRef> {
    let mut registers = Registers::new();
    let mut refs = Vec::new();
    for (pc, word) in instructions(code, base) {
        refs.extend(registers.step(pc, word).into_iter().flatten().map(|access| CodeRef {
            at: LinkAddr(pc),
            target: LinkAddr(access.target),
            size: access.size,
            write: access.write,
            immediate: None,
        }));
    }
    refs
}

pub(super) fn linked_store(code: &[u8], base: LinkAddr, head: LinkAddr, at_least: u32) -> Option<u32> {
    let mut registers = Registers::new();
    // The registers that hold the loaded word, as a mask. Calls leave them alone: the only one
    // between the load and the store is the write barrier, which keeps every register.
    let mut holders = 0_u32;
    for (pc, word) in instructions(code, base) {
        let (rt, rn) = (field(word, 0, 5), field(word, 5, 5));
        // STR (unsigned immediate, 64 bits)
        if word & 0xffc0_0000 == 0xf900_0000 && rn != R31 && holders & bit(rt) != 0 {
            let offset = field(word, 10, 12) * 8;
            if offset >= at_least {
                return Some(offset);
            }
        }

        // MOV (register)
        let copied = word & 0xffe0_ffe0 == 0xaa00_03e0 && holders & bit(field(word, 16, 5)) != 0;
        let accesses = registers.step(pc, word);
        holders &= !written(word);
        if copied {
            holders |= bit(rt);
        }
        for access in accesses.into_iter().flatten() {
            if let Some(register) = access.fills.filter(|_| access.target == head.0 && access.size == 8) {
                holders |= bit(register);
            }
        }
        holders &= !bit(R31);
    }
    None
}
