//! The profiles that the runtime keeps: where the program allocates and blocks, and where its threads were created.

use axum::http::StatusCode;

use super::{Named, Profiler, binary, text};
use crate::capture::{Session, SourceError};
use crate::heap::profile::{self, ProfileError, Profiles};
use crate::model::{AllocationProfile, ContentionKind, ContentionProfile, CountProfile, Snapshot};
use crate::process::clock;
use crate::report::heap;
use crate::report::profile::heap::Shown;
use crate::report::profile::{contention, counts, heap as allocations};
use crate::serve::answer::Answer;

impl Profiler<'_> {
    /// `heap` and `allocs`, which differ in what is shown first.
    pub(super) fn allocations(&self, named: Named, debug: i64) -> Result<Answer, Answer> {
        let (profile, snapshot) = (self.allocation_profile()?, self.now(debug != 0)?);
        if debug != 0 {
            return Ok(text(|body| allocations::list(body, &profile, &snapshot)));
        }
        Ok(binary(named.name(), |body| allocations::write(body, &profile, &snapshot, shown(named))))
    }

    pub(super) fn allocation_profile(&self) -> Result<AllocationProfile, Answer> {
        let profile = self.kept(|session| Profiles::find(session.process())?.allocations(session.process()))?;
        // An empty profile is that of a program that allocates nothing.
        match heap::missing(&profile).filter(|_| profile.rate == Some(0) && !profile.linked) {
            Some(why) => Err(Answer::text(StatusCode::NOT_FOUND, format!("there is no heap profile: {why}"))),
            None => Ok(profile),
        }
    }

    /// `block` and `mutex`.
    pub(super) fn contention(&self, named: Named, debug: i64) -> Result<Answer, Answer> {
        let (profile, snapshot) = (self.contention_profile(named)?, self.now(false)?);
        if debug != 0 {
            return Ok(text(|body| contention::list(body, &profile, &snapshot)));
        }
        Ok(binary(named.name(), |body| contention::write(body, &profile, &snapshot)))
    }

    pub(super) fn contention_profile(&self, named: Named) -> Result<ContentionProfile, Answer> {
        let kind = if named == Named::Block { ContentionKind::Block } else { ContentionKind::Mutex };
        self.kept(|session| {
            let process = session.process();
            let profile = Profiles::find(process)?.contention(process, kind)?;
            Ok(ContentionProfile { ticks_per_second: clock::ticks_per_second(process.arch()), ..profile })
        })
    }

    /// `threadcreate`.
    pub(super) fn threads(&self, debug: i64) -> Result<Answer, Answer> {
        let (profile, snapshot) = (self.thread_profile()?, self.now(false)?);
        if debug != 0 {
            return Ok(text(|body| counts::list(body, &profile, &snapshot)));
        }
        Ok(binary(profile.name, |body| counts::write(body, &profile, &snapshot)))
    }

    pub(super) fn thread_profile(&self) -> Result<CountProfile, Answer> {
        self.kept(|session| profile::threads(session.process()))
    }

    /// Whose the profile is, and when it was read; with the sizes of its heap as they are now, or as they were once.
    pub(super) fn now(&self, with_heap: bool) -> Result<Snapshot, Answer> {
        if with_heap {
            let snapshot = self.read(|program| program.snapshot(crate::capture::CaptureOptions::default()))?;
            return Ok(Snapshot { goroutines: Vec::new().into(), ..(*snapshot).clone() });
        }
        let description = self.read(|program| program.description())?;
        let now = self.read(|program| program.read(|session| Ok(session.target().clock())))?;
        Ok(Snapshot { captured_at_unix_ns: now.unix_ns, ..(*description).clone() })
    }

    fn kept<T>(&self, read: impl FnOnce(&Session) -> Result<T, ProfileError>) -> Result<T, Answer> {
        let read = |session: &mut Session| match read(session) {
            Err(ProfileError::Read(error)) => Err(SourceError::from(error)),
            other => Ok(other),
        };
        let profile = self.read(|program| program.read(read))?;
        profile.map_err(|error| Answer::text(StatusCode::NOT_FOUND, error.to_string()))
    }
}

/// Which of its values a heap profile shows first.
pub(super) fn shown(named: Named) -> Shown {
    if named == Named::Allocs { Shown::Allocated } else { Shown::InUse }
}
