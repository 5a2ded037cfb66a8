//! How Go calls C: on the stack of the scheduler's goroutine, from `runtime.asmcgocall`.

use crate::addr::Arch;

/// The function from which C is called (runtime/asm_amd64.s and asm_arm64.s; Go 1.19 to 1.27).
pub(crate) const CALLER: &str = "runtime.asmcgocall";

/// Where `asmcgocall` puts the g that it came from: it leaves so much room below the scheduler's saved stack pointer,
/// aligns it, and puts the g at that offset. 64 bytes with it at 48 (amd64 until 1.21), 16 with it at 8 (amd64 from
/// 1.22 on), 16 with it at 0 (arm64).
const fn forms(arch: Arch) -> &'static [(u64, u64)] {
    match arch {
        Arch::Amd64 => &[(16, 8), (64, 48)],
        Arch::Arm64 => &[(16, 0)],
    }
}

/// Whether `sp` is where a call of C began that the goroutine at `curg` made, whose M's `g0.sched.sp` is
/// `g0_sp`. `word` gives the words of the stack.
pub(crate) fn began_at(arch: Arch, g0_sp: u64, curg: u64, sp: u64, word: impl Fn(u64) -> Option<u64>) -> bool {
    let is_form =
        |(room, at): &(u64, u64)| g0_sp.wrapping_sub(*room) & !15 == sp && word(sp.wrapping_add(*at)) == Some(curg);
    forms(arch).iter().any(is_form)
}

/// What is where a call of C, on the stack of an M whose `g0.sched.sp` is `g0_sp`, has the goroutine that made it:
/// one of them is its g. `word` gives the words of the stack.
pub(crate) fn callers(arch: Arch, g0_sp: u64, word: impl Fn(u64) -> Option<u64>) -> impl Iterator<Item = u64> {
    let place = move |(room, at): &(u64, u64)| (g0_sp.wrapping_sub(*room) & !15).wrapping_add(*at);
    forms(arch).iter().filter_map(move |form| word(place(form)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_begins_where_go_left_its_g() {
        const TOP: u64 = 0x30_0800;
        const CURG: u64 = 0x21_0000;
        let began = |arch, sp, at: u64, value: u64| began_at(arch, TOP, CURG, sp, |addr| (addr == at).then_some(value));
        assert!(began(Arch::Amd64, TOP - 16, TOP - 8, CURG));
        assert!(began(Arch::Amd64, TOP - 64, TOP - 16, CURG));
        assert!(began(Arch::Arm64, TOP - 16, TOP - 16, CURG));
        assert!(!began(Arch::Amd64, TOP - 16, TOP - 8, CURG + 8));
        assert!(!began(Arch::Amd64, TOP - 16, TOP - 16, CURG));
        assert!(!began(Arch::Amd64, TOP - 32, TOP - 24, CURG));
        assert!(!began_at(Arch::Amd64, TOP, CURG, TOP - 16, |_| None));
    }
}
