//! Where the variables of the profiles are, as a capture holds it.

use serde::{Deserialize, Serialize};

use super::variables::Variables;
use crate::addr::Addr;

/// Addresses in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::heap) struct FoundProfiles {
    allocations: Option<u64>,
    block: Option<u64>,
    mutex: Option<u64>,
    cycle: Option<u64>,
    rate: Option<u64>,
    block_rate: Option<u64>,
    mutex_rate: Option<u64>,
    is_linked: bool,
}

impl From<Variables> for FoundProfiles {
    fn from(found: Variables) -> Self {
        let word = |addr: Option<Addr>| addr.map(|addr| addr.0);
        Self {
            allocations: word(found.allocations),
            block: word(found.block),
            mutex: word(found.mutex),
            cycle: word(found.cycle),
            rate: word(found.rate),
            block_rate: word(found.block_rate),
            mutex_rate: word(found.mutex_rate),
            is_linked: found.is_linked,
        }
    }
}

impl From<FoundProfiles> for Variables {
    fn from(found: FoundProfiles) -> Self {
        let addr = |word: Option<u64>| word.map(Addr);
        Self {
            allocations: addr(found.allocations),
            block: addr(found.block),
            mutex: addr(found.mutex),
            cycle: addr(found.cycle),
            rate: addr(found.rate),
            block_rate: addr(found.block_rate),
            mutex_rate: addr(found.mutex_rate),
            is_linked: found.is_linked,
        }
    }
}
