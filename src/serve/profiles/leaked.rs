//! Goroutines that can never wake, by a walk through the heap.
//!
//! The program runs on meanwhile. So what is found is certain only where no Go code ran, and otherwise confirmed by a
//! second walk; which of them it is stands in a header. The program is not stopped for a better proof.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use rustc_hash::FxHashSet;

use super::goroutines::{DUMP, own};
use super::{Profiler, binary, text};
use crate::analysis::Index;
use crate::analysis::leaks::groups;
use crate::capture::{Session, SourceError};
use crate::heap::{self, Grade, HeapError, LeakOptions, Leaks, Progress, profile};
use crate::model::{CountProfile, Snapshot};
use crate::process::ErrorKind;
use crate::report::profile::counts;
use crate::report::traceback::{self, TracebackOptions};
use crate::serve::answer::{Answer, TEXT};

/// What the list is worth: `certain`, or `confirmed`.
const GRADE: HeaderName = HeaderName::from_static("x-gospy-grade");

impl Profiler<'_> {
    pub(super) fn leaked(&self, debug: i64) -> Result<Answer, Answer> {
        if let Some(head) = self.only_head() {
            return Ok(head);
        }
        let _turn = self.turn()?;
        let (profile, snapshot, grade) = self.leaked_goroutines()?;
        let answer = match debug {
            0 => binary(profile.name, |body| counts::write(body, &profile, &snapshot)),
            ..=1 => text(|body| counts::list(body, &profile, &snapshot)),
            _ => Answer::streamed(TEXT, move |out| {
                let index = Index::new(&snapshot);
                let options = TracebackOptions::for_version(&snapshot.target.go_version);
                traceback::write_all(out, &index, &own(&snapshot), options)
            }),
        };
        Ok(answer.with(GRADE, HeaderValue::from_static(grade.name())))
    }

    /// Their profile, a snapshot of them alone, and what that is worth.
    pub(super) fn leaked_goroutines(&self) -> Result<(CountProfile, Snapshot, Grade), Answer> {
        let (leaks, mut snapshot, session) = self.walk()?;
        let leaked: FxHashSet<u64> = leaks.leaked.iter().map(|leaked| leaked.goid).collect();
        snapshot.goroutines.retain(|goroutine| leaked.contains(&goroutine.id.0));
        let counted = profile::goroutines(session.process(), &snapshot, usize::MAX);
        Ok((CountProfile { name: "goroutineleak", ..counted }, snapshot, leaks.proof.grade()))
    }

    /// Which they are, with those that wait for each other, and a snapshot that was taken afterwards.
    pub(in crate::serve) fn find_leaks(&self) -> Result<(Leaks, Snapshot), Answer> {
        let _turn = self.turn()?;
        let (mut leaks, snapshot, session) = self.walk()?;
        let groups = groups(&Index::new(&snapshot), &leaks);
        let ids: Vec<Vec<u64>> = groups.into_iter().map(|group| group.ids).collect();
        // Who waits for whom is unknown then, but not that they are leaked.
        let _ = leaks.examine(session.process(), &ids);
        Ok((leaks, snapshot))
    }

    fn walk(&self) -> Result<(Leaks, Snapshot, Session), Answer> {
        let mut session = self.read(|program| program.session())?;
        let walk = || heap::find(session.process(), &LeakOptions::default(), &Progress::default(), |_| ());
        let found = self.program.counted(walk);
        let leaks = found.map_err(|error| match error {
            HeapError::Read(error) => self.failed(&SourceError::from(error)),
            error if error.kind() == ErrorKind::Denied => Answer::text(StatusCode::FORBIDDEN, error.to_string()),
            error => Answer::text(StatusCode::NOT_FOUND, error.to_string()),
        })?;
        // What is leaked stays where it is: it is found there afterwards.
        let snapshot = self.program.counted(|| session.capture(&DUMP)).map_err(|error| self.failed(&error.into()))?;
        Ok((leaks, snapshot, session))
    }
}
