//! What came between two readings of one profile, as `net/http/pprof` has it with `seconds=`: the later values less
//! the earlier ones. What is less than before is negative.

use std::io::{self, Write};

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use super::builder::{Builder, Header};
use super::heap::{self, Shown};
use super::list;
use crate::addr::Addr;
use crate::analysis::profile::{scaled, scaled_contention};
use crate::model::{AllocationProfile, ContentionProfile, CountProfile, ProfileStack, Snapshot, SymbolPool};

/// Names and units of values, the one that is shown first, and the period.
#[derive(Clone, Debug)]
struct Types {
    samples: Vec<(&'static str, &'static str)>,
    default: Option<&'static str>,
    period: (&'static str, &'static str, u64),
    /// Whether the runtime's own frames at the top are left out.
    is_heap: bool,
}

/// What distinguishes samples of one program: return addresses, size of objects, labels.
type Key = (Vec<Addr>, u64, Vec<(String, String)>);

/// Its stack, and its values.
type Values = (ProfileStack, Vec<u64>);

/// One reading of a profile.
#[derive(Debug)]
pub struct Reading {
    name: &'static str,
    types: Types,
    samples: IndexMap<Key, Values, FxBuildHasher>,
    symbols: SymbolPool,
}

impl Reading {
    fn new(name: &'static str, types: Types, symbols: SymbolPool) -> Self {
        Self { name, types, samples: IndexMap::default(), symbols }
    }

    fn add(&mut self, stack: ProfileStack, size: u64, labels: Vec<(String, String)>, values: &[u64]) {
        let key = (stack.pcs.clone(), size, labels);
        let (_, sum) = self.samples.entry(key).or_insert_with(|| (stack, vec![0; values.len()]));
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum = sum.saturating_add(*value);
        }
    }

    /// Of allocations.
    #[must_use]
    pub fn of_allocations(profile: AllocationProfile, shown: Shown) -> Self {
        let rate = profile.rate.unwrap_or(0);
        let types = Types {
            samples: heap::SAMPLE_TYPES.to_vec(),
            default: Some(shown.sample_type()),
            period: ("space", "bytes", u64::try_from(rate).unwrap_or(0)),
            is_heap: true,
        };
        let mut reading = Self::new("heap", types, profile.symbols);
        for site in profile.sites {
            let (allocs, alloc_bytes) = scaled(site.allocs, site.alloc_bytes, rate);
            let (in_use, in_use_bytes) = scaled(site.in_use(), site.in_use_bytes(), rate);
            let size = if site.allocs > 0 { site.size } else { 0 };
            reading.add(site.stack, size, Vec::new(), &[allocs, alloc_bytes, in_use, in_use_bytes]);
        }
        reading
    }

    /// Of contention.
    #[must_use]
    pub fn of_contention(mut profile: ContentionProfile) -> Self {
        let types = Types {
            samples: vec![("contentions", "count"), ("delay", "nanoseconds")],
            default: Some("delay"),
            period: ("contentions", "count", 1),
            is_heap: false,
        };
        let (sites, symbols) = (std::mem::take(&mut profile.sites), std::mem::take(&mut profile.symbols));
        let mut reading = Self::new(profile.kind.name(), types, symbols);
        for site in sites {
            let (count, ns) = scaled_contention(&profile, &site);
            reading.add(site.stack, 0, Vec::new(), &[count, ns.unwrap_or(0)]);
        }
        reading
    }

    /// Of goroutines or threads.
    #[must_use]
    pub fn of_counts(profile: CountProfile) -> Self {
        let types = Types {
            samples: vec![(profile.name, "count")],
            default: None,
            period: (profile.name, "count", 1),
            is_heap: false,
        };
        let mut reading = Self::new(profile.name, types, profile.symbols);
        for counted in profile.stacks {
            reading.add(counted.stack, 0, counted.labels, &[counted.count]);
        }
        reading
    }
}

/// Writes the difference gzipped, and gives how many samples it has. `snapshot` says whose it is and when `after` was
/// read, `duration_ns` after `before`.
///
/// # Errors
/// Those of `out`.
pub fn write(
    out: &mut dyn Write,
    before: &Reading,
    after: &Reading,
    snapshot: &Snapshot,
    duration_ns: u64,
) -> io::Result<u64> {
    let header = Header {
        sample_types: &after.types.samples,
        default_sample_type: after.types.default,
        period: after.types.period,
        time_ns: snapshot.captured_at_unix_ns,
        duration_ns,
        comment: &format!("difference of the {} profile of pid {} read by gospy", after.name, snapshot.target.pid),
    };
    let mut builder = Builder::new(out, &after.symbols, &snapshot.target, &header)?;
    let nothing = vec![0; after.types.samples.len()];
    let later = after.samples.iter().map(|(key, (stack, values))| {
        let earlier = before.samples.get(key).map_or(&nothing, |(_, values)| values);
        (&after.symbols, key, stack, earlier, values)
    });
    let gone = before.samples.iter().filter(|(key, _)| !after.samples.contains_key(*key));
    let gone = gone.map(|(key, (stack, values))| (&before.symbols, key, stack, values, &nothing));
    for (symbols, (_, size, labels), stack, earlier, values) in later.chain(gone) {
        // Two's complement, as protocol buffers have negative numbers.
        let values: Vec<u64> = values.iter().zip(earlier).map(|(now, then)| now.wrapping_sub(*then)).collect();
        if values.iter().all(|value| *value == 0) {
            continue;
        }
        builder.change_pool(symbols);
        let locations = match after.types.is_heap {
            true => builder.locations(heap::shown_frames(symbols, stack))?,
            false => builder.locations(list::without_exit(symbols, stack))?,
        };
        let mut sample = Builder::<&mut dyn Write>::sample(&locations, &values);
        if *size != 0 {
            builder.number_label(&mut sample, "bytes", *size, "");
        }
        for (key, value) in labels {
            builder.text_label(&mut sample, key, value);
        }
        builder.add(&sample)?;
    }
    builder.finish()
}
