//! How a traceback prints the arguments of a function: the little program that the compiler leaves for
//! `runtime.printArgs` (runtime/traceback.go; written by `EmitArgInfo` in cmd/compile/internal/ssagen; the same
//! in Go 1.17 to 1.27), with what it says of the registers that still hold their arguments.
//!
//! It reads tables only. The words themselves are on a stack, and nothing here knows of any.

use super::Pclntab;
use super::function::Function;
use super::tables::{FuncData, PcData, Unreadable};
use crate::addr::LinkAddr;

/// Most bytes of the program, `abi.TraceArgsMaxLen`: ten arguments in five aggregates each, and the end.
const MAX_LEN: usize = (5 * 3 + 2) * 10 + 1;
/// Most words that it can have: each takes two bytes.
const MAX_WORDS: usize = MAX_LEN / 2;
/// Bytes of the largest bitmap.
const MAX_BITMAP: usize = MAX_WORDS.div_ceil(8);

/// `abi.TraceArgs…`; what is below is an offset.
const END: u8 = 0xff;
const OPEN: u8 = 0xfe;
const CLOSE: u8 = 0xfd;
const DOTS: u8 = 0xfc;
const TOO_FAR: u8 = 0xfb;

/// A piece of what stands in the parentheses after a function's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgumentToken {
    /// `{`: an aggregate begins.
    Open,
    /// `}`: it ends.
    Close,
    /// `...`: more than ten words, or more than five levels.
    More,
    /// `_`: a word too far from the start of the arguments to be noted.
    TooFar,
    /// A word.
    Word {
        /// Where it is, in bytes above the first argument on the stack.
        offset: u8,
        /// Its size in bytes, 0 to 8.
        size: u8,
        /// Whether it may be anything by now: its argument came in a register and was not stored, or is no
        /// longer used. Otherwise it has the value that the argument had on entry, unless it was assigned to.
        dead: bool,
    },
}

impl Pclntab {
    /// What the runtime prints of the arguments of `function`, the physical one, at `pc`; empty for a function
    /// of which the compiler has noted nothing: one without arguments, or of assembly without a prototype. For
    /// a return address, `pc` is the address minus one, and until Go 1.20 that of the outermost call inlined
    /// there ([`Pclntab::outermost_call`]).
    ///
    /// # Errors
    /// When a table is malformed or cannot be read.
    pub fn arguments(&self, function: &Function, pc: LinkAddr) -> Result<Vec<ArgumentToken>, Unreadable> {
        let Some(program) = self.funcdata(function, FuncData::ArgInfo)? else { return Ok(Vec::new()) };
        let mut bytes = [0; MAX_LEN];
        let len = self.elf.read_up_to(program, &mut bytes);
        let live = self.live_arguments(function, pc)?;
        interpret(bytes.get(..len).unwrap_or_default(), &live)
    }

    fn live_arguments(&self, function: &Function, pc: LinkAddr) -> Result<LiveArguments, Unreadable> {
        let Some(table) = self.funcdata(function, FuncData::ArgLiveInfo)? else {
            return Ok(LiveArguments { from: u8::MAX, bits: None });
        };
        let Some(&[from]) = self.elf.read(table, 1).as_deref() else { return Err(Unreadable) };
        let offset = self.pcdata(function, PcData::ArgLiveIndex, pc)?;
        let Some(offset) = u64::try_from(offset).ok().filter(|offset| *offset > 0) else {
            return Ok(LiveArguments { from, bits: None });
        };
        let at = table.0.checked_add(offset).map(LinkAddr).ok_or(Unreadable)?;
        let mut bitmap = [0; MAX_BITMAP];
        let len = self.elf.read_up_to(at, &mut bitmap);
        Ok(LiveArguments { from, bits: Some((bitmap, len)) })
    }
}

/// Which words hold what was passed in a register.
struct LiveArguments {
    /// The lowest offset of such a word.
    from: u8,
    /// A bit for each, in order, and how many bytes there are; `None` where all are live.
    bits: Option<([u8; MAX_BITMAP], usize)>,
}

impl LiveArguments {
    /// Whether word number `slot` of those that came in registers is live.
    fn is_live(&self, slot: usize) -> Result<bool, Unreadable> {
        let Some((bitmap, len)) = &self.bits else { return Ok(true) };
        let byte = bitmap.get(..*len).and_then(|bytes| bytes.get(slot / 8)).ok_or(Unreadable)?;
        Ok(byte >> (slot % 8) & 1 != 0)
    }
}

/// `printArgs` without the printing.
fn interpret(program: &[u8], live: &LiveArguments) -> Result<Vec<ArgumentToken>, Unreadable> {
    let mut tokens = Vec::new();
    let mut slot = 0;
    let mut bytes = program.iter().copied().take(MAX_LEN);
    loop {
        let token = match bytes.next().ok_or(Unreadable)? {
            END => return Ok(tokens),
            OPEN => ArgumentToken::Open,
            CLOSE => ArgumentToken::Close,
            DOTS => ArgumentToken::More,
            TOO_FAR => ArgumentToken::TooFar,
            offset => {
                let size = bytes.next().ok_or(Unreadable)?.min(8);
                let in_register = offset >= live.from;
                let dead = in_register && !live.is_live(slot)?;
                slot += usize::from(in_register);
                ArgumentToken::Word { offset, size, dead }
            }
        };
        tokens.push(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL_LIVE: LiveArguments = LiveArguments { from: u8::MAX, bits: None };

    fn word(offset: u8, size: u8, dead: bool) -> ArgumentToken {
        ArgumentToken::Word { offset, size, dead }
    }

    #[test]
    fn every_opcode_has_its_token() {
        let program = [OPEN, 0, 8, 8, 8, CLOSE, 0xef, 1, TOO_FAR, DOTS, END, 7, 7];
        let tokens = interpret(&program, &ALL_LIVE).unwrap();
        let want = [
            ArgumentToken::Open,
            word(0, 8, false),
            word(8, 8, false),
            ArgumentToken::Close,
            word(0xef, 1, false),
            ArgumentToken::TooFar,
            ArgumentToken::More,
        ];
        assert_eq!(tokens, want);
        assert_eq!(interpret(&[END], &ALL_LIVE), Ok(Vec::new()));
    }

    #[test]
    fn only_words_from_registers_have_a_bit() {
        let program = [0, 8, 8, 8, 16, 8, 24, 4, END];
        let live = LiveArguments { from: 8, bits: Some(([0b101; MAX_BITMAP], 1)) };
        let want = [word(0, 8, false), word(8, 8, false), word(16, 8, true), word(24, 4, false)];
        assert_eq!(interpret(&program, &live).unwrap(), want);
    }

    #[test]
    fn a_program_without_an_end_is_unreadable() {
        for program in [&[][..], &[0], &[0, 8], &[OPEN], &[0; 400]] {
            assert_eq!(interpret(program, &ALL_LIVE), Err(Unreadable), "{program:?}");
        }
        // The end in the last place that it can have, and one after it.
        let mut longest = [OPEN; MAX_LEN + 1];
        longest[MAX_LEN - 1] = END;
        assert_eq!(interpret(&longest, &ALL_LIVE).unwrap().len(), MAX_LEN - 1);
        longest[MAX_LEN - 1] = CLOSE;
        longest[MAX_LEN] = END;
        assert_eq!(interpret(&longest, &ALL_LIVE), Err(Unreadable));
    }

    #[test]
    fn a_word_without_its_bit_is_unreadable() {
        let live = LiveArguments { from: 0, bits: Some(([0; MAX_BITMAP], 0)) };
        assert_eq!(interpret(&[0, 8, END], &live), Err(Unreadable));
    }

    proptest! {
        /// Any bytes give tokens or an error, never more tokens than bytes, and never a word wider than 8 bytes.
        #[test]
        fn any_bytes_are_bounded(program: Vec<u8>, from: u8, bits: [u8; MAX_BITMAP], len in 0..=MAX_BITMAP, live: bool) {
            let live = LiveArguments { from, bits: live.then_some((bits, len)) };
            if let Ok(tokens) = interpret(&program, &live) {
                prop_assert!(tokens.len() < MAX_LEN.min(program.len()));
                for token in tokens {
                    if let ArgumentToken::Word { offset, size, .. } = token {
                        prop_assert!(offset < TOO_FAR && size <= 8);
                    }
                }
            }
        }
    }
}
