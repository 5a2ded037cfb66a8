//! Tables from a program counter to a value: alternating deltas of value and program counter, as
//! variable-length integers (`pcvalue`, runtime/symtab.go; unchanged from Go 1.16 to 1.27).

use super::Pclntab;
use super::function::Function;
use crate::addr::LinkAddr;
use crate::image::elf::Elf;

/// Maximum steps in one pc-value table; the largest functions of real programs have some 100,000.
const MAX_PCVALUE_STEPS: usize = 4 << 20;

impl Pclntab {
    /// The value that a pc-value table holds for `pc`; `None` if there is none or the table is corrupt.
    pub(super) fn pc_value(&self, function: &Function, table: u32, pc: LinkAddr) -> Option<i32> {
        if table == 0 {
            return None;
        }
        let mut bytes = Varints::new(&self.elf, self.at(self.header.pctab, table.into())?);
        let mut value = -1_i32;
        let mut end = function.entry.0;
        for step in 0..MAX_PCVALUE_STEPS {
            let delta = bytes.next()?;
            if delta == 0 && step > 0 {
                return None;
            }
            value = value.wrapping_add(zigzag(delta));
            end = end.checked_add(u64::from(bytes.next()?).checked_mul(self.header.quantum.into())?)?;
            if pc.0 < end {
                return Some(value);
            }
        }
        None
    }
}

fn zigzag(value: u32) -> i32 {
    let half = (value >> 1).cast_signed();
    if value & 1 == 0 { half } else { !half }
}

/// Variable-length integers read from the file in small windows.
struct Varints<'e> {
    elf: &'e Elf,
    next_window: u64,
    window: [u8; 64],
    len: usize,
    at: usize,
}

impl<'e> Varints<'e> {
    fn new(elf: &'e Elf, offset: u64) -> Self {
        Self { elf, next_window: offset, window: [0; 64], len: 0, at: 0 }
    }

    fn byte(&mut self) -> Option<u8> {
        if self.at == self.len {
            self.len = self.elf.bytes().read_up_to(self.next_window, &mut self.window);
            self.next_window = self.next_window.checked_add(self.len as u64)?;
            self.at = 0;
        }
        let byte = *self.window.get(..self.len)?.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn next(&mut self) -> Option<u32> {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}
