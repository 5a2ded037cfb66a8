//! Rules as they are typed to `check` and `run`.

use std::path::Path;

use regex::Regex;

use super::ci_args::RuleArgs;
use super::{Exit, Failure};
use crate::analysis::check::{Allowance, Rule, Rules};

/// What is said where no rule was given.
pub(super) const NO_RULE: &str = "there is no rule to check: give --max-goroutines, --max-growth, --max-group, \
                                  --max-wait, --forbid-function, --require-function, --no-findings, --no-leaks, --max-heap-growth";

/// What growth can be measured from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// An earlier snapshot.
    pub(super) baseline: bool,
    /// A series of snapshots, which is judged by its rate too.
    pub(super) watched: bool,
    /// Snapshots at intervals, as long as a command runs.
    pub(super) repeated: bool,
}

/// What was typed, understood before anything is read; perhaps no rule at all.
pub(super) fn rules(typed: &RuleArgs, measured: Measured) -> Result<Rules, Failure> {
    let mut rules = Vec::new();
    rules.extend(typed.max_goroutines.map(Rule::MaxGoroutines));
    if let Some(allowed) = typed.max_growth {
        if measured.baseline {
            rules.push(Rule::MaxGrowth(allowed));
        } else if !measured.watched {
            let message = "--max-growth needs something to measure from: give --baseline FILE or --watch DURATION";
            return Err(Failure::new(Exit::Usage, message));
        }
    }
    if measured.watched {
        // What was allowed since the baseline is not what is allowed within the watch.
        let allowed = typed.max_growth.filter(|_| !measured.baseline);
        rules.push(Rule::SteadyGrowth(allowed.unwrap_or(Allowance::Count(0))));
    }
    rules.extend(typed.max_group.map(Rule::MaxGroup));
    rules.extend(typed.max_wait.map(Rule::MaxWait));
    rules.extend(typed.forbid_function.iter().cloned().map(Rule::ForbidFunction));
    rules.extend(typed.require_function.iter().cloned().map(Rule::RequireFunction));
    rules.extend(typed.no_findings.then_some(Rule::NoFindings));
    rules.extend(typed.no_leaks.then_some(Rule::NoLeaks));
    if let Some(allowed) = typed.max_heap_growth {
        if !measured.watched && !measured.repeated {
            let message = "--max-heap-growth needs readings over time: give --watch DURATION, or to `gospy run` \
                           --capture-every DURATION";
            return Err(Failure::new(Exit::Usage, message));
        }
        rules.push(Rule::MaxHeapGrowth(allowed));
    }
    Ok(Rules { rules, allow: allow(typed)?, system: typed.system })
}

/// Longest file of expressions, bytes.
const LARGEST_ALLOW_FILE: u64 = 1 << 20;

fn allow(typed: &RuleArgs) -> Result<Vec<Regex>, Failure> {
    let mut allow = typed.allow.clone();
    for path in &typed.allow_file {
        allow.extend(allow_file(path)?);
    }
    Ok(allow)
}

fn allow_file(path: &Path) -> Result<Vec<Regex>, Failure> {
    use std::io::Read as _;
    let name = path.display();
    let unreadable = |error: std::io::Error| Failure::new(Exit::Error, format!("--allow-file {name}: {error}"));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let length = file.take(LARGEST_ALLOW_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
    if u64::try_from(length).is_ok_and(|length| length > LARGEST_ALLOW_FILE) {
        let message = format!("--allow-file {name}: it is longer than {LARGEST_ALLOW_FILE} bytes");
        return Err(Failure::new(Exit::Error, message));
    }
    let mut patterns = Vec::new();
    for (line, nth) in text.lines().zip(1_u32..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pattern = Regex::new(line);
        let bad = |error| Failure::new(Exit::Usage, format!("--allow-file {name}: line {nth}: {error}"));
        patterns.push(pattern.map_err(bad)?);
    }
    Ok(patterns)
}
