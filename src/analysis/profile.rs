//! Functions of profiles: what their samples stand for, and sums by place.

use rustc_hash::FxHashMap;

use super::index::Index;
use super::place::{Place, PlaceKind, Places, Spot, SpotKey, learn, origins_of_target};
use crate::model::{
    AllocationProfile, ContentionKind, ContentionProfile, ContentionSite, ProfileStack, SymbolPool, TargetInfo,
};

/// Objects and bytes that samples stand for: an object of `size` bytes is sampled with a probability of
/// 1 − e^(−size / rate) (`scaleHeapSample`, runtime/pprof/protomem.go; 1.19 to 1.27). With a rate of 1 all are, and
/// a rate below 1 says nothing.
#[must_use]
pub fn scaled(count: u64, bytes: u64, rate: i64) -> (u64, u64) {
    if count == 0 || bytes == 0 {
        return (0, 0);
    }
    if rate <= 1 {
        return (count, bytes);
    }
    let (count, bytes) = (count as f64, bytes as f64);
    let scale = 1.0 / (1.0 - (-(bytes / count) / rate as f64).exp());
    ((count * scale) as u64, (bytes * scale) as u64)
}

/// How many events a site has had, as the runtime has it; at least one, of those that blocked.
#[must_use]
pub fn events(profile: &ContentionProfile, site: &ContentionSite) -> u64 {
    let count = site.count.max(0.0) as u64;
    count.max(u64::from(profile.kind == ContentionKind::Block))
}

/// Events of a site, and how long they lasted altogether, ns: what the samples stand for. The time is `None` where
/// it is not known how fast the processor's clock ticks.
#[must_use]
pub fn scaled_contention(profile: &ContentionProfile, site: &ContentionSite) -> (u64, Option<u64>) {
    let ns = profile.ticks_per_second.filter(|ticks| *ticks > 0.0).map(|ticks| {
        let ns = site.cycles as f64 / (ticks / 1e9) * profile.scale as f64;
        ns.max(0.0) as u64
    });
    (events(profile, site).saturating_mul(profile.scale), ns)
}

/// What is summed up of the samples in one place.
pub trait Sum: Default {
    /// Adds another one.
    fn add(&mut self, other: &Self);

    /// What places are sorted by, largest first.
    fn weight(&self) -> u64;
}

/// Allocations in one place, scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocated {
    /// Objects in use.
    pub in_use: u64,
    /// Their bytes.
    pub in_use_bytes: u64,
    /// Objects allocated since the start.
    pub allocs: u64,
    /// Their bytes.
    pub alloc_bytes: u64,
}

impl Sum for Allocated {
    fn add(&mut self, other: &Self) {
        self.in_use = self.in_use.saturating_add(other.in_use);
        self.in_use_bytes = self.in_use_bytes.saturating_add(other.in_use_bytes);
        self.allocs = self.allocs.saturating_add(other.allocs);
        self.alloc_bytes = self.alloc_bytes.saturating_add(other.alloc_bytes);
    }

    fn weight(&self) -> u64 {
        self.in_use_bytes
    }
}

/// Contention in one place, scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contended {
    /// Events.
    pub events: u64,
    /// How long they lasted together, ns; 0 where that is not known.
    pub ns: u64,
    /// The same in ticks of the processor's clock.
    pub ticks: u64,
}

impl Sum for Contended {
    fn add(&mut self, other: &Self) {
        self.events = self.events.saturating_add(other.events);
        self.ns = self.ns.saturating_add(other.ns);
        self.ticks = self.ticks.saturating_add(other.ticks);
    }

    fn weight(&self) -> u64 {
        self.ticks
    }
}

/// The samples of one place in the user's code.
#[derive(Clone, Copy, Debug)]
pub struct PlaceSum<T> {
    /// Where; `None` for samples without a stack.
    pub spot: Option<Spot>,
    /// What they add up to.
    pub sum: T,
    /// How many stacks lead there.
    pub stacks: u64,
}

/// Allocations by place, largest in use first.
#[must_use]
pub fn allocations(profile: &AllocationProfile, target: &TargetInfo) -> Vec<PlaceSum<Allocated>> {
    let rate = profile.rate.unwrap_or(0);
    let samples = profile.sites.iter().map(|site| {
        let (allocs, alloc_bytes) = scaled(site.allocs, site.alloc_bytes, rate);
        let (in_use, in_use_bytes) = scaled(site.in_use(), site.in_use_bytes(), rate);
        (&site.stack, Allocated { in_use, in_use_bytes, allocs, alloc_bytes })
    });
    by_place(samples, &profile.symbols, target)
}

/// Contention by place, longest first.
#[must_use]
pub fn contention(profile: &ContentionProfile, target: &TargetInfo) -> Vec<PlaceSum<Contended>> {
    let samples = profile.sites.iter().map(|site| {
        let (events, ns) = scaled_contention(profile, site);
        let ticks = u64::try_from(site.cycles).unwrap_or(0).saturating_mul(profile.scale);
        (&site.stack, Contended { events, ns: ns.unwrap_or(0), ticks })
    });
    by_place(samples, &profile.symbols, target)
}

/// Stacks of goroutines in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackBytes {
    /// Where they are.
    pub place: Place,
    /// How many goroutines are there.
    pub goroutines: u64,
    /// Bytes of their stacks.
    pub bytes: u64,
}

/// Stacks of goroutines by place, largest first.
#[must_use]
pub fn stacks(index: &Index<'_>) -> Vec<StackBytes> {
    let symbols = &index.snapshot().symbols;
    let mut sums: Vec<StackBytes> = Vec::new();
    let mut known: FxHashMap<Option<SpotKey>, usize> = FxHashMap::default();
    for goroutine in index.snapshot().goroutines.iter().filter(|goroutine| !goroutine.status.is_dead()) {
        let place = index.place(goroutine, PlaceKind::User);
        let bytes = goroutine.stack_reserved().unwrap_or(0);
        let at = *known.entry(place.spot().and_then(|spot| spot.key(symbols))).or_insert(sums.len());
        match sums.get_mut(at) {
            Some(sum) => {
                sum.goroutines += 1;
                sum.bytes = sum.bytes.saturating_add(bytes);
            }
            None => sums.push(StackBytes { place, goroutines: 1, bytes }),
        }
    }
    sums.sort_by_key(|sum| std::cmp::Reverse(sum.bytes));
    sums
}

fn by_place<'a, T: Sum>(
    samples: impl Iterator<Item = (&'a ProfileStack, T)>,
    symbols: &SymbolPool,
    target: &TargetInfo,
) -> Vec<PlaceSum<T>> {
    let samples: Vec<(&ProfileStack, T)> = samples.collect();
    let mut origins = origins_of_target(target);
    let _ =
        samples.iter().flat_map(|(stack, _)| stack.frames(symbols)).any(|frame| learn(&mut origins, symbols, frame));
    let mut places = Places::new(origins);
    let mut sums: Vec<PlaceSum<T>> = Vec::new();
    let mut known: FxHashMap<Option<SpotKey>, usize> = FxHashMap::default();
    for (stack, sum) in samples {
        let spot = places.of_stack(symbols, stack.stack);
        let at = *known.entry(spot.and_then(|spot| spot.key(symbols))).or_insert(sums.len());
        match sums.get_mut(at) {
            Some(place) => {
                place.sum.add(&sum);
                place.stacks += 1;
            }
            None => sums.push(PlaceSum { spot, sum, stacks: 1 }),
        }
    }
    // In the order of the runtime where weights are equal.
    sums.sort_by_key(|place| std::cmp::Reverse(place.sum.weight()));
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against what `scaleHeapSample` of runtime/pprof gives.
    #[test]
    fn samples_are_scaled_as_the_runtime_does() {
        assert_eq!(scaled(0, 0, 524_288), (0, 0));
        assert_eq!(scaled(7, 70, 1), (7, 70));
        assert_eq!(scaled(7, 70, 0), (7, 70));
        assert_eq!(scaled(1, 524_288, 524_288), (1, 829_411));
        assert_eq!(scaled(3, 1_536, 524_288), (3_073, 1_573_632));
    }
}
