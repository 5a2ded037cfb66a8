//! The panics that a goroutine is in, from the newest to the oldest.
//!
//! A goroutine's list begins at `g._panic` (runtime2.go and panic.go, Go 1.19 to 1.27). What is read here is
//! what is in memory; what of it the runtime prints is for those above to say.

use std::collections::HashSet;

use rustc_hash::FxBuildHasher;

use crate::addr::Addr;
use crate::process::{ReadError, Target, TargetExt as _};
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::panic::{Panic, PanicLayout};

/// Most panics of one goroutine that are followed. Each one takes frames on its stack.
const MAX_PANICS: usize = 1000;

/// Most runs of deferred calls that are passed over to find the newest panic. No version puts them on
/// the list; a value in memory may say anything.
const MAX_PASSED_OVER: usize = 16;

/// The panics from the one at `first` on, newest first; 0 for none. A list that leads in a circle, is
/// too long or leaves the memory ends there; then the second value is false.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_panics(
    target: &dyn Target,
    first: u64,
    layout: &PanicLayout,
) -> Result<(Vec<Panic>, bool), ReadError> {
    let mut panics = Vec::new();
    let mut seen: HashSet<u64, FxBuildHasher> = HashSet::default();
    let mut next = first;
    while next != 0 {
        if panics.len() >= MAX_PANICS || !seen.insert(next) {
            return Ok((panics, false));
        }
        let bytes = target.read_vec(Addr(next), layout.size as usize)?;
        let Some(panic) = bytes.and_then(|bytes| Panic::parse(Addr(next), &bytes, layout)) else {
            return Ok((panics, false));
        };
        panics.push(panic);
        next = panic.link;
    }
    Ok((panics, true))
}

/// The newest panic of a goroutine, whose list begins at `first`, from the bytes of its stack from
/// `start` up. `gopanic` has it in its own frame (`var p _panic`; runtime/panic.go, Go 1.19 to 1.27).
/// `None` where it is not among these bytes.
#[must_use]
pub(crate) fn newest_on_stack(stack: &[u8], start: u64, first: u64, layout: &PanicLayout) -> Option<Panic> {
    let mut next = first;
    for _ in 0..MAX_PASSED_OVER {
        let at = usize::try_from(next.checked_sub(start)?).ok()?;
        let panic = Panic::parse(Addr(next), stack.get(at..)?, layout)?;
        if panic.deferreturn != Some(true) {
            return Some(panic);
        }
        next = panic.link;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_taken_from_the_bytes_of_the_stack() {
        const START: u64 = 0x8000;
        let layout = PanicLayout::resolve(&checked_in(26, Arch::Amd64).unwrap()).unwrap();
        let mut stack = vec![0; 0x400];
        let mut put = |at: usize, kind: u64, deferreturn: bool, link: u64| {
            stack[at + layout.arg as usize..][..8].copy_from_slice(&kind.to_le_bytes());
            stack[at + layout.link as usize..][..8].copy_from_slice(&link.to_le_bytes());
            stack[at + layout.deferreturn.unwrap() as usize] = deferreturn.into();
        };
        put(0x100, 0, true, START + 0x200);
        put(0x200, 7, false, 0);
        // Leads to itself.
        put(0x300, 0, true, START + 0x300);
        let kind = |first: u64| newest_on_stack(&stack, START, first, &layout).map(|panic| panic.arg.kind);
        assert_eq!((kind(START + 0x200), kind(START + 0x100)), (Some(7), Some(7)));
        for nowhere in [START + 0x300, START - 8, START + 0x3f8, START + 0x400, 0, u64::MAX] {
            assert_eq!(kind(nowhere), None, "{nowhere:#x}");
        }
    }
    use crate::addr::Arch;
    use crate::process::fake::FakeTarget;
    use crate::runtime::layout::checked_in;

    #[test]
    fn a_list_that_leads_in_a_circle_ends() {
        let layout = PanicLayout::resolve(&checked_in(26, Arch::Amd64).unwrap()).unwrap();
        let panic = |link: u64, recovered: u8| {
            let mut bytes = vec![0; layout.size as usize];
            bytes[layout.arg as usize] = 7;
            bytes[layout.link as usize..][..8].copy_from_slice(&link.to_le_bytes());
            bytes[layout.recovered as usize] = recovered;
            bytes
        };
        let target = FakeTarget::new(Arch::Amd64)
            .with_segment(Addr(0x1000), panic(0x2000, 0))
            .with_segment(Addr(0x2000), panic(0x1000, 1));
        let (panics, whole) = read_panics(&target, 0x1000, &layout).unwrap();
        assert_eq!((panics.len(), whole, panics[0].recovered, panics[1].recovered), (2, false, false, true));
        assert_eq!(read_panics(&target, 0x3000, &layout).unwrap(), (Vec::new(), false));
        assert_eq!(read_panics(&target, 0, &layout).unwrap(), (Vec::new(), true));
        let target = FakeTarget::new(Arch::Amd64).with_segment(Addr(0x2000), panic(0, 0));
        assert_eq!(read_panics(&target, 0x2000, &layout).unwrap().0.len(), 1);
    }
}
