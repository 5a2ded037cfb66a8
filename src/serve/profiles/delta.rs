//! What came between two readings of a profile (`seconds=`).

use std::time::Duration;

use super::goroutines::STACKS;
use super::{Named, Profiler, binary};
use crate::heap::profile;
use crate::model::{CountProfile, Snapshot};
use crate::report::profile::delta::{self, Reading};
use crate::serve::answer::Answer;

/// One reading.
struct Read {
    reading: Reading,
    /// Whose it is, and when it was read.
    snapshot: Snapshot,
}

impl Profiler<'_> {
    pub(super) fn delta(&self, named: Named, length: Duration) -> Result<Answer, Answer> {
        if let Some(head) = self.only_head() {
            return Ok(head);
        }
        let _turn = self.turn()?;
        let before = self.reading(named)?;
        if !self.wait(length) {
            return Err(Answer::failed());
        }
        let after = self.reading(named)?;
        let ns = after.snapshot.captured_at_unix_ns.saturating_sub(before.snapshot.captured_at_unix_ns);
        let name = format!("{}-delta", named.name());
        Ok(binary(&name, |body| delta::write(body, &before.reading, &after.reading, &after.snapshot, ns)))
    }

    fn reading(&self, named: Named) -> Result<Read, Answer> {
        let reading = match named {
            Named::Heap | Named::Allocs => {
                Reading::of_allocations(self.allocation_profile()?, super::kept::shown(named))
            }
            Named::Block | Named::Mutex => Reading::of_contention(self.contention_profile(named)?),
            Named::Threadcreate => Reading::of_counts(self.thread_profile()?),
            Named::Goroutine => return self.goroutine_reading(),
            Named::Goroutineleak => {
                let (profile, snapshot, _) = self.leaked_goroutines()?;
                return Ok(Read { reading: Reading::of_counts(profile), snapshot });
            }
        };
        Ok(Read { reading, snapshot: self.now(false)? })
    }

    fn goroutine_reading(&self) -> Result<Read, Answer> {
        // A difference is one of two readings, so that neither may be one that somebody else has asked for.
        let (profile, snapshot): (CountProfile, Snapshot) = self.read(|program| {
            program.read(|session| {
                let snapshot = session.capture(&STACKS)?;
                Ok((profile::goroutines(session.process(), &snapshot, usize::MAX), snapshot))
            })
        })?;
        let snapshot = Snapshot { goroutines: Vec::new().into(), ..snapshot };
        Ok(Read { reading: Reading::of_counts(profile), snapshot })
    }
}
