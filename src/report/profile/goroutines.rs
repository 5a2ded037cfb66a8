//! The goroutine profile, as the program would write it of itself (`runtime/pprof.Lookup("goroutine").WriteTo`,
//! proto.go and pprof.go, 1.19 to 1.27): goroutines with equal stacks and labels are one sample.
//!
//! On request there is a sample for each goroutine instead, with what distinguishes it from the others.

use std::io::{self, Write};

use rustc_hash::FxHashMap;

use super::builder::{Builder, Header, Sample, shown_frames};
use crate::analysis::Index;
use crate::go_names::{minor_of, printed};
use crate::model::{Goroutine, LabelsId, StackId};

/// What a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Samples {
    /// All goroutines with the same stack and labels.
    Summed,
    /// One goroutine, with its id, state, wait and creator as labels beside its own.
    Each,
}

/// Writes the profile of the goroutines at `positions`, and gives how many samples it has.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, index: &Index<'_>, positions: &[usize], samples: Samples) -> io::Result<u64> {
    let snapshot = index.snapshot();
    let header = Header {
        sample_types: &[("goroutine", "count")],
        default_sample_type: None,
        period: ("goroutine", "count", 1),
        time_ns: snapshot.captured_at_unix_ns,
        duration_ns: snapshot.reading.duration_ns,
        comment: &format!("goroutines of pid {} read by gospy", snapshot.target.pid),
    };
    let mut profile = Profile {
        index,
        minor: minor_of(&snapshot.target.go_version).unwrap_or(u32::MAX),
        builder: Builder::new(out, &snapshot.symbols, &snapshot.target, &header)?,
        stacks: FxHashMap::default(),
    };
    let goroutines = positions.iter().filter_map(|&at| snapshot.goroutines.get(at));
    match samples {
        Samples::Summed => profile.summed(goroutines)?,
        Samples::Each => profile.each(goroutines)?,
    }
    profile.builder.finish()
}

struct Profile<'a, W: Write> {
    index: &'a Index<'a>,
    minor: u32,
    builder: Builder<'a, W>,
    stacks: FxHashMap<StackId, Vec<u64>>,
}

impl<'a, W: Write> Profile<'a, W> {
    /// The samples with the most goroutines come first, as the runtime has it.
    fn summed(&mut self, goroutines: impl Iterator<Item = &'a Goroutine>) -> io::Result<()> {
        let symbols = &self.index.snapshot().symbols;
        let mut places: FxHashMap<(Vec<u64>, Option<LabelsId>), usize> = FxHashMap::default();
        let mut counts: Vec<u64> = Vec::new();
        for goroutine in goroutines {
            let labels = goroutine.labels.filter(|&id| !symbols.labels(id).is_empty());
            let key = (self.stack(goroutine)?, labels);
            let at = *places.entry(key).or_insert(counts.len());
            match counts.get_mut(at) {
                Some(count) => *count += 1,
                None => counts.push(1),
            }
        }
        let count = |at: usize| counts.get(at).copied().unwrap_or(0);
        let mut samples: Vec<_> = places.into_iter().collect();
        samples.sort_unstable_by_key(|&(_, at): &(_, usize)| (std::cmp::Reverse(count(at)), at));
        for ((locations, labels), at) in &samples {
            let mut sample = Builder::<W>::sample(locations, &[count(*at)]);
            self.own_labels(&mut sample, *labels);
            self.builder.add(&sample)?;
        }
        Ok(())
    }

    fn each(&mut self, goroutines: impl Iterator<Item = &'a Goroutine>) -> io::Result<()> {
        for goroutine in goroutines {
            self.sample(goroutine)?;
        }
        Ok(())
    }

    fn sample(&mut self, goroutine: &Goroutine) -> io::Result<()> {
        let locations = self.stack(goroutine)?;
        let mut sample = Builder::<W>::sample(&locations, &[1]);
        self.builder.number_label(&mut sample, "id", goroutine.id.0, "id");
        self.builder.text_label(&mut sample, "state", goroutine.status.name());
        if let Some(reason) = self.index.reason(goroutine) {
            self.builder.text_label(&mut sample, "wait_reason", reason);
        }
        if let Some(ns) = self.index.wait_ns(goroutine) {
            self.builder.number_label(&mut sample, "wait_ns", ns, "nanoseconds");
        }
        let creator = self.index.function(goroutine.creator);
        if !creator.is_empty() {
            self.builder.text_label(&mut sample, "creator", &printed(creator, self.minor));
        }
        self.own_labels(&mut sample, goroutine.labels);
        self.builder.add(&sample)
    }

    /// The program's own labels.
    fn own_labels(&mut self, sample: &mut Sample, labels: Option<LabelsId>) {
        let symbols = &self.index.snapshot().symbols;
        for label in labels.map_or(&[][..], |id| symbols.labels(id)) {
            self.builder.text_label(sample, symbols.str(label.key), symbols.str(label.value));
        }
    }

    /// Locations of its stack, leaf first. Without a stack, the function that it started in.
    fn stack(&mut self, goroutine: &Goroutine) -> io::Result<Vec<u64>> {
        use crate::model::StackState;
        let id = match goroutine.stack {
            StackState::Known(id) => id,
            StackState::NotShown(_) => return self.builder.locations(goroutine.start),
        };
        if let Some(locations) = self.stacks.get(&id) {
            return Ok(locations.clone());
        }
        let locations = self.builder.locations(shown_frames(&self.index.snapshot().symbols, id))?;
        self.stacks.insert(id, locations.clone());
        Ok(locations)
    }
}
