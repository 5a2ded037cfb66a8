//! Leaks that were never looked for, for tests of what is made of them.

use super::goroutines::{Blocked, Goroutine, Same, Stands};
use super::kept::KeptBytes;
use super::{Deadlock, Grade, LeakedGoroutine, Leaks, PassStats, Proof};
use crate::addr::Addr;
use crate::runtime::mirror::g::StackRoots;

/// Groups of goroutines by their ids, each with 2 KiB of stack and waiting for nothing that is known; a group keeps
/// 1 MiB of the heap, and 64 KiB more are shared.
#[must_use]
pub fn made_up_leaks(grade: Grade, groups: &[Vec<u64>], deadlocks: &[Vec<u64>]) -> Leaks {
    let leaked = |goid: u64| LeakedGoroutine {
        addr: Addr(goid << 12),
        goid,
        stack_bytes: 2048,
        objects: Vec::new(),
        goroutine: Goroutine {
            addr: goid << 12,
            goid,
            lo: 0,
            hi: 2048,
            pc: 0,
            sp: 0,
            lr: 0,
            waiting: 0,
            roots: StackRoots::default(),
            stands: Stands::Parked,
            blocked: Blocked::Channels,
            same: Same::default(),
        },
    };
    let mut leaked: Vec<LeakedGoroutine> = groups.iter().flatten().map(|id| leaked(*id)).collect();
    leaked.sort_unstable_by_key(|leaked| leaked.goid);
    let bytes =
        KeptBytes::made_up(groups.iter().filter_map(|group| group.iter().min().map(|id| (*id, 1 << 20))), 1 << 16);
    Leaks {
        proof: if grade == Grade::Certain { Proof::Quiet } else { Proof::TwoPasses },
        stats: PassStats { goroutines: 1_000, leaked_bytes: bytes.total, ..PassStats::default() },
        leaked,
        passes: 1,
        bytes: Some(bytes),
        deadlocks: Some(deadlocks.iter().map(|ids| Deadlock { goroutines: ids.clone() }).collect()),
        kept: None,
    }
}
