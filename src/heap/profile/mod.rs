//! The profiles that the runtime keeps of its own program: allocations, blocking, and locks.
//!
//! They are what `/debug/pprof/heap`, `block` and `mutex` show, read from where the runtime keeps them: the program
//! needs no endpoint, and is not stopped. The rules are those of runtime/mprof.go (1.19 to 1.27).
//!
//! It refuses to scale: samples are as the runtime has them.

mod buckets;
mod found;
mod goroutines;
mod stacks;
mod threads;
mod variables;

use std::time::{Duration, Instant};

use buckets::{Site, Sites};
pub(super) use found::FoundProfiles;
pub use goroutines::goroutines;
pub(crate) use stacks::Names;
pub use threads::threads;
use variables::Variables;

use super::recording::Held;
use crate::addr::Addr;
use crate::model::{
    AllocationProfile, AllocationSite, ContentionKind, ContentionProfile, ContentionSite, ProfileReading,
};
use crate::process::{Backend, ErrorKind, ReadError, TargetExt as _};
use crate::runtime::GoProcess;
use crate::runtime::layout::{LayoutTable, MissingField};
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::mprof::{
    BLOCK_PROFILE, BlockRecord, BlockRecordLayout, BucketLayout, FUTURES, MEM_PROFILE, MUTEX_PROFILE, MemRecordCycle,
    MemRecordCycleLayout, MemRecordLayout,
};

/// Why a profile cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The target could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The layout of its runtime lacks what every version has.
    #[error("cannot read the {profile} profile: {missing}")]
    Layout {
        /// Which.
        profile: &'static str,
        /// What is missing.
        missing: MissingField,
    },
    /// A variable of the runtime was not found.
    #[error("cannot read the {profile} profile: {variable} was not found in this program")]
    NotFound {
        /// Which.
        profile: &'static str,
        /// The variable.
        variable: &'static str,
    },
    /// The memory is not there.
    #[error("there is no {profile} profile here: {}", crate::heap::recording::NO_HEAP)]
    NoMemory {
        /// Which.
        profile: &'static str,
    },
}

impl ProfileError {
    /// Of what kind it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(error) => error.kind(),
            Self::Layout { .. } | Self::NotFound { .. } | Self::NoMemory { .. } => ErrorKind::Unsupported,
        }
    }
}

/// Where the profiles of a program are, which is worked out once.
#[derive(Clone, Copy, Debug)]
pub struct Profiles {
    layout: ProfileLayout,
    variables: Variables,
}

/// Where the fields are.
#[derive(Clone, Copy, Debug)]
struct ProfileLayout {
    bucket: BucketLayout,
    record: MemRecordLayout,
    cycle: MemRecordCycleLayout,
    block: BlockRecordLayout,
}

impl ProfileLayout {
    fn resolve(table: &LayoutTable) -> Result<Self, MissingField> {
        Ok(Self {
            bucket: BucketLayout::resolve(table)?,
            record: MemRecordLayout::resolve(table)?,
            cycle: MemRecordCycleLayout::resolve(table)?,
            block: BlockRecordLayout::resolve(table)?,
        })
    }

    /// The counts of a record that are published: those that are, and those of slot `future` or of all.
    fn counts(&self, site: &Site, bytes: &[u8], future: Option<u32>) -> Option<Counts> {
        let slot = |at: u32| MemRecordCycle::parse(Addr(0), bytes.get(at as usize..)?, &self.cycle);
        let mut sum = Counts::default();
        sum.add(&slot(self.record.active)?);
        for index in 0..FUTURES {
            if future.is_none_or(|future| future == index) {
                let at = index.checked_mul(self.cycle.size)?.checked_add(self.record.future)?;
                sum.add(&slot(at)?);
            }
        }
        if self.cycle.alloc_bytes.is_none() {
            sum.alloc_bytes = sum.allocs.wrapping_mul(site.bucket.object_size);
            sum.free_bytes = sum.frees.wrapping_mul(site.bucket.object_size);
        }
        Some(sum)
    }
}

/// What a site has allocated and freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    allocs: u64,
    frees: u64,
    alloc_bytes: u64,
    free_bytes: u64,
}

impl Counts {
    fn add(&mut self, slot: &MemRecordCycle) {
        let add = |to: &mut u64, count: u64| *to = to.wrapping_add(count);
        add(&mut self.allocs, slot.allocs);
        add(&mut self.frees, slot.frees);
        add(&mut self.alloc_bytes, slot.alloc_bytes.unwrap_or(0));
        add(&mut self.free_bytes, slot.free_bytes.unwrap_or(0));
    }
}

/// For how long a profile is read again because the collector finished a cycle meanwhile. Small heaps are collected
/// every millisecond.
const PATIENCE: Duration = Duration::from_secs(1);

const HEAP: &str = "heap";
const THREADCREATE: &str = "threadcreate";

impl Profiles {
    /// Looks for them.
    ///
    /// # Errors
    /// When the target could not be read, or its layout is not known.
    pub fn find(process: GoProcess<'_>) -> Result<Self, ProfileError> {
        if process.target.backend() == Backend::Capture {
            let held = Held::of(process.target)?.ok_or(ProfileError::NoMemory { profile: HEAP })?;
            let variable = "runtime.mbuckets";
            let found = held.profiles().ok_or(ProfileError::NotFound { profile: HEAP, variable })?;
            return Self::known(process, found);
        }
        let layout = ProfileLayout::resolve(&process.runtime.layout.table)
            .map_err(|missing| ProfileError::Layout { profile: HEAP, missing })?;
        let variables = Variables::find(process, &layout.bucket)?;
        Ok(Self { layout, variables })
    }

    /// With variables that were found before.
    ///
    /// # Errors
    /// When the layout of the target is not known.
    pub(super) fn known(process: GoProcess<'_>, found: FoundProfiles) -> Result<Self, ProfileError> {
        let layout = ProfileLayout::resolve(&process.runtime.layout.table)
            .map_err(|missing| ProfileError::Layout { profile: HEAP, missing })?;
        Ok(Self { layout, variables: found.into() })
    }

    /// Where they are, to be kept.
    pub(super) fn found(&self) -> FoundProfiles {
        self.variables.into()
    }

    /// Reads the heap profile, as `runtime.MemProfile` would return it now.
    ///
    /// # Errors
    /// When it cannot be read, or its variables were not found.
    pub fn allocations(&self, process: GoProcess<'_>) -> Result<AllocationProfile, ProfileError> {
        let started = Instant::now();
        let missing = |variable| ProfileError::NotFound { profile: HEAP, variable };
        let target = process.target;
        let mut out = AllocationProfile { linked: self.variables.is_linked, ..AllocationProfile::default() };
        if let Some(at) = self.variables.rate {
            out.rate = target.read_u64(at)?.map(u64::cast_signed);
        }
        if out.rate == Some(0) && !out.linked {
            return Ok(out);
        }
        let list = self.variables.allocations.ok_or_else(|| missing("runtime.mbuckets"))?;
        let cycle_at = self.variables.cycle.ok_or_else(|| missing("runtime.mProfCycle"))?;
        let nothing = || ProfileError::NoMemory { profile: HEAP };
        let first = buckets::first(target, list)?.ok_or_else(nothing)?;
        let sites = Sites::walk(target, first, MEM_PROFILE, &self.layout.bucket)?;
        if sites.sites.is_empty() && sites.incomplete {
            return Err(nothing());
        }
        out.reading.incomplete = sites.incomplete;
        let len = self.layout.record.size as usize;
        let records = loop {
            let cycle = || Ok::<_, ProfileError>(target.read_u32(cycle_at)?.ok_or_else(nothing)? >> 1);
            out.cycle = cycle()?;
            // While it is being published, the counts of this slot are in either place, and the sum is the same.
            let slot = out.cycle % FUTURES;
            let (mut read, mut moving) =
                sites.records(target, len, |site, bytes| self.layout.counts(site, bytes, Some(slot)))?;
            if read.iter().flatten().all(|counts| counts.allocs == 0 && counts.frees == 0) {
                // There was no cycle yet: the runtime shows what it has.
                (read, moving) = sites.records(target, len, |site, bytes| self.layout.counts(site, bytes, None))?;
            }
            let changed = cycle()? != out.cycle;
            out.reading.moving = if changed { sites.sites.len() as u64 } else { moving };
            if !changed || started.elapsed() > PATIENCE {
                break read;
            }
        };
        out.reading.read_ns = elapsed(started);
        let mut names = Names::new(process);
        for (site, counts) in sites.sites.into_iter().zip(records) {
            let Some(counts) = counts else {
                out.reading.incomplete = true;
                continue;
            };
            out.sites.push(AllocationSite {
                stack: names.stack(site.pcs),
                size: site.bucket.object_size,
                allocs: counts.allocs,
                frees: counts.frees,
                alloc_bytes: counts.alloc_bytes,
                free_bytes: counts.free_bytes,
            });
        }
        out.symbols = names.pool.view();
        Ok(out)
    }

    /// Reads the block or the mutex profile.
    ///
    /// # Errors
    /// When it cannot be read, or its variables were not found though something was recorded.
    pub fn contention(&self, process: GoProcess<'_>, kind: ContentionKind) -> Result<ContentionProfile, ProfileError> {
        let started = Instant::now();
        let target = process.target;
        let Variables { block, mutex, block_rate, mutex_rate, .. } = self.variables;
        let (list, rate, bucket_kind) = match kind {
            ContentionKind::Block => (block, block_rate, BLOCK_PROFILE),
            ContentionKind::Mutex => (mutex, mutex_rate, MUTEX_PROFILE),
        };
        let rate = rate.map(|at| target.read_u64(at)).transpose()?.flatten();
        let minor = process.rules().minor();
        // To 1.20 the samples of locks are scaled by who writes the profile (runtime/pprof), later by the runtime.
        let scale = if kind == ContentionKind::Mutex && minor <= 20 { rate.unwrap_or(1).max(1) } else { 1 };
        let mut out = ContentionProfile {
            kind,
            rate,
            ticks_per_second: None,
            scale,
            sites: Vec::new(),
            symbols: crate::model::SymbolPool::default(),
            reading: ProfileReading::default(),
        };
        // Without symbols, the list of a profile without events is one of several words that are 0.
        let Some(list) = list else { return Ok(out) };
        let nothing = || ProfileError::NoMemory { profile: kind.name() };
        let first = buckets::first(target, list)?.ok_or_else(nothing)?;
        let sites = Sites::walk(target, first, bucket_kind, &self.layout.bucket)?;
        if sites.sites.is_empty() && sites.incomplete {
            return Err(nothing());
        }
        out.reading.incomplete = sites.incomplete;
        let layout = &self.layout.block;
        let (records, moving) =
            sites.records(target, layout.size as usize, |_, bytes| BlockRecord::parse(Addr(0), bytes, layout))?;
        out.reading.moving = moving;
        out.reading.read_ns = elapsed(started);
        let mut names = Names::new(process);
        for (site, record) in sites.sites.into_iter().zip(records) {
            let Some(record) = record.filter(|record| record.count.is_finite()) else {
                out.reading.incomplete = true;
                continue;
            };
            let mut stack = names.stack(site.pcs);
            if minor >= 23 {
                // Of physical frames, the profile shows what they stand for.
                let frames = stack.frames(&names.pool).take(stack.recorded);
                stack.pcs = frames.filter_map(|frame| Some(names.pool.frame(frame)?.pc)).collect();
            }
            out.sites.push(ContentionSite { stack, count: record.count, cycles: record.cycles });
        }
        out.symbols = names.pool.view();
        Ok(out)
    }
}

fn elapsed(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
