//! Metrics of all programs in one answer, for those who can scrape the server but cannot use its list of programs:
//! Prometheus finds the pods of a DaemonSet by itself, and no list of targets in each of them.
//!
//! The labels that a program has in the list are labels of its values here. Goroutines are not read. What is not read
//! before the scraper gives up has `gospy_up` 0.

use std::time::{Duration, Instant};

use axum::http::HeaderMap;

use super::answer::Answer;
use super::call::Call;
use super::discovery;
use super::targets::{Missing, Targets};
use crate::inspect::processes::Process;
use crate::report::metrics::{self, Member};

/// In which Prometheus says for how long it waits, s.
const TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";
/// For how long others are expected to wait, as Prometheus does unless it is told otherwise.
const USUAL: Duration = Duration::from_secs(10);
/// Longest time that is spent on an answer.
const LONGEST: Duration = Duration::from_secs(60);
/// The part of that time in which programs are read; the rest is for sending.
const SHARE: f64 = 0.8;

/// Metrics of all programs that are served; `host` is the name of the machine.
pub(super) fn answer(targets: &Targets, call: &Call, host: &str) -> Answer {
    let end = Instant::now() + patience(&call.headers).mul_f64(SHARE);
    let programs = targets.all();
    let processes: Vec<&Process> = programs.iter().map(|program| &program.process).collect();
    let members = programs.iter().zip(discovery::labels(&processes, host)).filter_map(|(program, labels)| {
        let is_late = Instant::now() >= end || call.is_abandoned();
        let read = if is_late { Err(Missing::Unreadable) } else { program.metrics() };
        match read {
            // It is not there any more, which is no 0.
            Err(Missing::Gone) => {
                targets.forget(program);
                None
            }
            read => Some(Member { labels, read: read.ok() }),
        }
    });
    let members: Vec<Member> = members.collect();
    Answer::written(metrics::CONTENT_TYPE, |body| metrics::write_all(body, members))
}

/// For how long the caller waits.
fn patience(headers: &HeaderMap) -> Duration {
    let said = headers.get(TIMEOUT).and_then(|seconds| seconds.to_str().ok()?.parse().ok());
    said.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(USUAL).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_says_for_how_long_it_waits() {
        let patience =
            |said: &str| patience(&HeaderMap::from_iter([(TIMEOUT.parse().unwrap(), said.parse().unwrap())]));
        assert_eq!(patience("2.5"), Duration::from_millis(2_500));
        assert_eq!(patience("1e9"), LONGEST);
        for wrong in ["", "-1", "NaN", "x", "1e99"] {
            assert_eq!(patience(wrong), USUAL, "{wrong}");
        }
    }
}
