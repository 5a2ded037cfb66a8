//! Whether goroutines still are where they were when their waits were followed.

use super::{Answer, Following, TOGETHER, WAITING, number};
use crate::addr::Addr;
use crate::capture::recording::Recorded;
use crate::model::wait::{SelectCase, WaitUnknown};
use crate::model::{Goroutine, Wait, WaitObjectId, WarningCode, Warnings};
use crate::process::{ReadError, unlogged};
use crate::runtime::frontier::Frontier;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::g::Standing;
use crate::runtime::readers::waits::BUDGET;

/// Whether a goroutine has not gone on, by its header as it is now.
fn is_same(goroutine: &Goroutine, now: &Standing) -> bool {
    // The collector may hold it meanwhile: that is no part of the status.
    now.status() == goroutine.status
        && now.goid == goroutine.id.0
        && goroutine.wait_reason.is_none_or(|reason| reason.0 == now.waitreason)
        && goroutine.run_seq.is_none_or(|seq| seq == now.tracking_seq)
}

impl Following<'_> {
    /// Compares the headers of goroutines once more whose waits were followed.
    pub(super) fn compare_again(&mut self) -> Result<(), ReadError> {
        let layout = &self.process.runtime.layout.standing;
        // From 1.23 on the end of a sleep is in the header itself.
        let has_sleep = self.process.runtime.layout.g.sleep_when.is_some();
        let was_followed = |answer: &Answer| match answer {
            Answer::Unknown { why, .. } => *why != WaitUnknown::Moved,
            Answer::Known(id) => match self.wait(*id) {
                Some(Wait::Runtime | Wait::Syscall | Wait::C | Wait::Coroutine { partner: None }) => false,
                Some(Wait::Channel { channel: None, .. }) | None => false,
                Some(Wait::Sleep { .. }) => !has_sleep,
                Some(_) => true,
            },
        };
        let followed = self.answers.iter().enumerate().filter(|(_, answer)| was_followed(answer));
        let mut followed = followed.filter_map(|(at, _)| Some((self.goroutine(at)?.addr, number(at))));
        let mut moved: Vec<usize> = Vec::new();
        // The recording has the header as it was validated.
        let mut frontier = Frontier::new(unlogged(self.process.target), BUDGET);
        loop {
            let mut jobs: Vec<(Addr, u32)> = followed.by_ref().take(TOGETHER).collect();
            if jobs.is_empty() {
                break;
            }
            frontier.jobs(&mut jobs, layout.size as usize, |addr, at, bytes| {
                let at = at as usize;
                let now = Standing::parse(addr, bytes, layout);
                if !self.goroutine(at).zip(now).is_some_and(|(goroutine, now)| is_same(goroutine, &now)) {
                    moved.push(at);
                }
            })?;
        }
        for at in moved {
            self.moved.push(at);
            let Some(old) = self.answers.get(at).copied() else { continue };
            let old_wait = match old {
                Answer::Known(id) => self.waits.get(id.index()),
                Answer::Unknown { .. } => None,
            };
            let (one, cases): (Option<WaitObjectId>, &[SelectCase]) = match old_wait {
                Some(Wait::Channel { channel, .. }) => (*channel, &[]),
                Some(Wait::Lock { object, .. } | Wait::Poll { object, .. }) => (Some(*object), &[]),
                Some(Wait::Select { cases }) => (None, cases),
                _ => (None, &[]),
            };
            let mut kind = match old {
                Answer::Unknown { kind, .. } => kind,
                Answer::Known(_) => self.class(at).kind(),
            };
            for id in one.into_iter().chain(cases.iter().map(|case| case.channel)) {
                let Some(object) = self.objects.get_mut(id.index()) else { continue };
                object.goroutines = object.goroutines.saturating_sub(1);
                if cases.is_empty() {
                    kind = object.kind();
                }
            }
            self.set(at, Answer::Unknown { kind, why: WaitUnknown::Moved });
        }
        Ok(())
    }

    /// Warns of memory that contradicts itself, once, and notes in a recording who has moved.
    pub(super) fn report(&self, recorded: &mut Recorded, warnings: &mut Warnings) {
        for at in &self.moved {
            if let Some(goroutine) = self.goroutine(*at) {
                recorded.add_let_go(goroutine.addr, WAITING);
            }
        }
        let malformed = |answer: &&Answer| matches!(answer, Answer::Unknown { why: WaitUnknown::Malformed, .. });
        let count = self.answers.iter().filter(malformed).count() as u64;
        let first = self.answers.iter().position(|answer| malformed(&answer)).and_then(|at| self.goroutine(at));
        if let Some(first) = first {
            let message = format!("goroutine {}: what it waits for is malformed", first.id.0);
            warnings.add_many(WarningCode::GoroutineInconsistent, message, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Status;
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder};

    #[test]
    fn a_goroutine_that_went_on_is_not_the_same() {
        let mut builder = SnapshotBuilder::new();
        builder.add(&GoroutineSpec { id: 7, reason: Some("select"), ..GoroutineSpec::default() });
        let goroutine = builder.build().goroutines.remove(0);
        let reason = goroutine.wait_reason.unwrap().0;
        let same = Standing { goid: 7, atomicstatus: 4, waitreason: reason, ..Standing::default() };
        assert!(is_same(&goroutine, &same));
        // The collector looks at its stack.
        assert!(is_same(&goroutine, &Standing { atomicstatus: 0x1004, ..same }));
        assert!(!is_same(&goroutine, &Standing { tracking_seq: 1, ..same }));
        assert!(!is_same(&goroutine, &Standing { goid: 8, ..same }));
        assert!(!is_same(&goroutine, &Standing { atomicstatus: 1, ..same }));
        assert!(!is_same(&goroutine, &Standing { waitreason: reason + 1, ..same }));
        let coroutine = Goroutine { run_seq: None, ..goroutine };
        assert!(is_same(&coroutine, &Standing { tracking_seq: 1, ..same }));
        assert_eq!(coroutine.status, Status::Waiting);
    }
}
